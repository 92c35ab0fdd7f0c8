//! `POST /v1/chat/completions`

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use canon::{Error, ErrorKind};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::body::Pending;
use super::{ResponseBody, Site, respond, wishes};
use crate::auth::Caller;
use crate::pipeline::pump::PING_AFTER;
use crate::pipeline::{Answer, Failure, Inbound, Wishes};
use crate::snapshot::Snapshot;

/// How much of a body that is too large is read and thrown away, so that the client gets to read the answer.
const DISCARD_LIMIT: usize = 256 << 20;

/// Serves a chat request. The caller is known; the body is read here.
///
/// All that a request needs until it is answered is in one box, which goes before a stream does. What is left outside is
/// small, for the connection keeps room for it as long as it is open.
pub fn chat(
    site: &Arc<Site>,
    snapshot: Arc<Snapshot>,
    caller: Caller,
    request_id: String,
    head: Parts,
    body: Incoming,
) -> impl Future<Output = Response<ResponseBody>> + use<> {
    let streams = Arc::<AtomicBool>::default();
    let (wishes, problem) = match check_head(&head.headers) {
        Ok(wishes) => (wishes, None),
        Err(error) => (Wishes::default(), Some(error)),
    };
    let inbound =
        Inbound { request_id, snapshot, caller, body: Bytes::new(), wishes, streams: streams.clone() };
    let outcome: Pending = match problem {
        None => Box::pin(read_and_run(site.clone(), inbound, head, body)),
        Some(error) => {
            site.pipeline.refuse(&inbound, &error);
            Box::pin(std::future::ready(Err(error.into())))
        }
    };
    answered(outcome, streams)
}

async fn answered(mut outcome: Pending, streams: Arc<AtomicBool>) -> Response<ResponseBody> {
    // A stream's first content may take long: from some point on the caller is better off with a stream of pings.
    let mut patience = None;
    let result = std::future::poll_fn(|context| {
        if let Poll::Ready(result) = outcome.as_mut().poll(context) {
            return Poll::Ready(Some(result));
        }
        if !streams.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let patience = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PING_AFTER)));
        patience.as_mut().poll(context).map(|()| None)
    });
    match result.await {
        Some(result) => answer(result),
        None => respond::events(ResponseBody::waiting(outcome, respond::failure_event)),
    }
}

async fn read_and_run(
    site: Arc<Site>,
    mut inbound: Inbound,
    head: Parts,
    body: Incoming,
) -> Result<Answer, Failure> {
    let limits = inbound.snapshot.limits;
    match read_body(body, &head.headers, limits.body, limits.pause).await {
        Ok(body) => inbound.body = body,
        Err(error) => {
            site.pipeline.refuse(&inbound, &error);
            return Err(error.into());
        }
    }
    drop(head);
    site.pipeline.clone().run(inbound).await
}

fn answer(outcome: Result<Answer, Failure>) -> Response<ResponseBody> {
    match outcome {
        Ok(Answer::Whole(body)) => respond::json(http::StatusCode::OK, body),
        Ok(Answer::Stream(pump)) => respond::events(ResponseBody::Stream(pump)),
        Err(failure) => respond::failure(&failure),
    }
}

/// What can be said before the body is read.
fn check_head(headers: &HeaderMap) -> Result<Wishes, Error> {
    check_content_type(headers)?;
    wishes::wishes(headers)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match kind.as_str() {
        // curl -d without a header says the last one.
        "" | "application/json" | "text/json" | "text/plain" | "application/x-www-form-urlencoded" => Ok(()),
        kind if kind.ends_with("+json") => Ok(()),
        kind => {
            let message = format!("The content type {kind:?} is not understood; send application/json.");
            Err(Error::caller(ErrorKind::UnsupportedMedia, message).at("content-type"))
        }
    }
}

/// Reads the body, up to a limit and with a limit between two pieces.
async fn read_body(
    mut body: Incoming,
    headers: &HeaderMap,
    limit: usize,
    pause: Duration,
) -> Result<Bytes, Error> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        discard(body, pause).await;
        return Err(too_large(limit));
    }
    let mut first: Option<Bytes> = None;
    let mut joined: Option<BytesMut> = None;
    while !Pin::new(&mut body).is_end_stream() {
        let frame = match tokio::time::timeout(pause, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(Error::caller(ErrorKind::Cancelled, "The body broke off.")),
            Err(_) => return Err(Error::invalid("", "The body did not arrive in time.")),
        };
        let Ok(data) = frame.into_data() else { continue };
        let length = first.as_ref().map_or(0, Bytes::len) + joined.as_ref().map_or(0, BytesMut::len);
        if length + data.len() > limit {
            discard(body, pause).await;
            return Err(too_large(limit));
        }
        match (&mut joined, first.take()) {
            (Some(joined), _) => joined.extend_from_slice(&data),
            (None, None) => first = Some(data),
            (None, Some(begun)) => {
                let mut buffer = BytesMut::with_capacity(announced.unwrap_or(begun.len() * 4));
                buffer.extend_from_slice(&begun);
                buffer.extend_from_slice(&data);
                joined = Some(buffer);
            }
        }
    }
    Ok(joined.map(BytesMut::freeze).or(first).unwrap_or_default())
}

async fn discard(mut body: Incoming, pause: Duration) {
    let mut seen = 0;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(pause, body.frame()).await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > DISCARD_LIMIT {
            return;
        }
    }
}

fn too_large(limit: usize) -> Error {
    let message = format!("The body is larger than the limit of {limit} bytes (server.body_limit).");
    Error::caller(ErrorKind::TooLarge, message)
}
