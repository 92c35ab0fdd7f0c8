//! `POST /v1/chat/completions`

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use bytes::Bytes;
use canon::{Error, ErrorKind};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use hyper::body::Incoming;

use super::body::Pending;
use super::request_body::{self, Announced, Received};
use super::{ResponseBody, Site, respond, wishes};
use crate::auth::Caller;
use crate::hops::Hops;
use crate::pipeline::pump::PING_AFTER;
use crate::pipeline::{Answer, Failure, Inbound, Wishes};
use crate::snapshot::Snapshot;

/// What the head of a request says, once it is understood.
pub struct Accepted {
    wishes: Wishes,
    announced: Announced,
}

/// Reads the head: everything that can be refused before the body is read.
pub fn accept(headers: &HeaderMap, snapshot: &Snapshot, hops: &Hops) -> Result<Accepted, Error> {
    check_content_type(headers)?;
    Ok(Accepted {
        wishes: Wishes { hops: hops.passed(headers)?, ..wishes::wishes(headers, snapshot.metadata)? },
        announced: Announced::read(headers, snapshot.limits.body)?,
    })
}

/// Who asks, and how the request is called.
pub struct Asking {
    pub snapshot: Arc<Snapshot>,
    pub caller: Caller,
    pub request_id: String,
}

/// Refuses a request by its head. It leaves a record all the same.
pub fn refuse(site: &Site, asking: Asking, error: Error) -> Response<ResponseBody> {
    site.pipeline.refuse(&inbound(site, asking, Wishes::default(), Arc::default()), &error);
    respond::error(&error)
}

/// Serves a chat request. The caller is known; the body is read here.
///
/// All that a request needs until it is answered is in one box, which goes before a stream does. What is left outside is
/// small, for the connection keeps room for it as long as it is open.
pub fn chat(
    site: &Arc<Site>,
    asking: Asking,
    accepted: Accepted,
    body: Incoming,
) -> impl Future<Output = Response<ResponseBody>> + use<> {
    let streams = Arc::<AtomicBool>::default();
    let inbound = inbound(site, asking, accepted.wishes, streams.clone());
    answered(Box::pin(read_and_run(site.clone(), inbound, accepted.announced, body)), streams)
}

fn inbound(site: &Site, asking: Asking, wishes: Wishes, streams: Arc<AtomicBool>) -> Inbound {
    let Asking { snapshot, caller, request_id } = asking;
    let held = site.buffers.nothing();
    Inbound { request_id, snapshot, caller, body: Bytes::new(), held, wishes, streams }
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
    announced: Announced,
    body: Incoming,
) -> Result<Answer, Failure> {
    let limits = inbound.snapshot.limits;
    match request_body::read(body, announced, limits, &site.buffers).await {
        Ok(Received { bytes, held }) => {
            inbound.body = bytes;
            inbound.held = held;
        }
        Err(error) => {
            site.pipeline.refuse(&inbound, &error);
            return Err(error.into());
        }
    }
    site.pipeline.clone().run(inbound).await
}

fn answer(outcome: Result<Answer, Failure>) -> Response<ResponseBody> {
    match outcome {
        Ok(Answer::Whole(body, served)) => {
            respond::served(respond::json(http::StatusCode::OK, body), served.as_ref())
        }
        Ok(Answer::Stream(pump, served)) => {
            respond::served(respond::events(ResponseBody::Stream(pump)), served.as_ref())
        }
        Err(failure) => respond::failure(&failure),
    }
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
