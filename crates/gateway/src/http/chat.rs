//! Conversations with a model, in every caller's format.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::{Error, ErrorKind, Operation};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Response};
use hyper::body::Incoming;
use tokio::time::Instant;
use wire::multipart::Boundary;
use wire::{Addressed, AnswerForm, Dialect, Headers, Intake};

use super::request_body::{self, BodyHeaders, ReceivedBody};
use super::{Api, ResponseBody, options, respond, upload};
use crate::bodies::Capture;
use crate::buffers::Held;
use crate::clock;
use crate::config::MetadataPlace;
use crate::guardrails::Guard;
use crate::hops::Hops;
use crate::identity;
use crate::metering::Arrival;
use crate::pipeline::pump::PING_AFTER;
use crate::pipeline::split_request::Several;
use crate::pipeline::{
    Answer, Failure, Inbound, Pending, Pipeline, Question, RequestOptions, takes_whole_forms,
};
use crate::responses::{KeepFor, Prepared};
use crate::snapshot::Snapshot;

/// A request whose head was accepted.
pub struct Accepted {
    options: RequestOptions,
    announced: BodyHeaders,
    passed: Headers,
}

/// The caller, its format, and the names of the request.
pub struct Caller {
    pub snapshot: Arc<Snapshot>,
    pub caller: identity::Caller,
    pub request_id: String,
    pub path: &'static str,
    pub dialect: &'static dyn Dialect,
    pub address: Address,
    /// Its bodies; none where they are not kept.
    pub capture: Option<Arc<Capture>>,
    /// When the head was complete.
    pub received: Instant,
}

/// The URL, for formats that name model and method there.
#[derive(Clone, Debug, Default)]
pub struct Address {
    /// The part of the path for the braces in the route, unescaped.
    pub rest: String,
    pub query: String,
}

/// Checks the head: everything that can be refused before the body is read.
pub fn accept(
    dialect: &dyn Dialect,
    operation: Operation,
    (headers, hops): (&HeaderMap, &Hops),
    snapshot: &Snapshot,
) -> Result<Accepted, Error> {
    let boundary = boundary(operation, headers)?;
    let mut options = options::options(headers, hops, snapshot.metadata)?;
    if options.metadata == MetadataPlace::Metadata && !dialect.leaves_metadata_free() {
        options.metadata = MetadataPlace::Llmgateway;
    }
    let of_name = |name: &'static str| {
        headers.get_all(name).iter().map(move |value| (HeaderName::from_static(name), value.clone()))
    };
    let passed = dialect.travelling_headers().iter().flat_map(|name| of_name(name)).collect();
    let announced = match boundary {
        Some(boundary) => BodyHeaders::of_form(headers, boundary, snapshot.limits)?,
        None => BodyHeaders::read(headers, snapshot.limits.body)?,
    };
    Ok(Accepted { options, announced, passed })
}

/// The boundary of a body that is a form, where the operation takes one; any other body is JSON.
fn boundary(operation: Operation, headers: &HeaderMap) -> Result<Option<Boundary>, Error> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = content_type.get(..19).is_some_and(|kind| kind.eq_ignore_ascii_case("multipart/form-data"));
    if is_form && wire::endpoints::takes_forms(operation) {
        Boundary::of(content_type).map(Some)
    } else {
        check_content_type(headers).map(|()| None)
    }
}

/// Refuses a request by its head. It gets a record nevertheless.
pub fn refuse(api: &Api, caller: Caller, operation: Operation, error: Error) -> Response<ResponseBody> {
    let (inbound, _) = caller.inbound(RequestOptions::default());
    api.pipeline.refuse(&inbound, operation, &error);
    respond::error(inbound.dialect, &error)
}

impl Caller {
    fn inbound(self, options: RequestOptions) -> (Inbound, Address) {
        let Self { snapshot, caller, request_id, path, dialect, address, capture, received } = self;
        let tags = BTreeMap::new();
        let inbound = Inbound {
            request_id,
            path,
            snapshot,
            caller,
            dialect,
            options,
            keep: None,
            elsewhere: None,
            cache: None,
            tags,
            guard: None,
            capture,
            arrival: Arrival { received, admitted: clock::now() },
        };
        (inbound, address)
    }
}

/// Serves a chat request. The caller is known; the body is read here.
///
/// The data of a request are in one box at a time, which is freed before a stream begins. This future must
/// stay small, because hyper keeps it for as long as the connection is open.
pub async fn chat(
    api: &Arc<Api>,
    caller: Caller,
    accepted: Accepted,
    operation: Operation,
    body: Incoming,
) -> Response<ResponseBody> {
    if !matches!(operation, Operation::Chat | Operation::CountTokens) {
        return Box::pin(endpoint(api, caller, accepted, operation, body)).await;
    }
    let is_count = operation == Operation::CountTokens;
    let (inbound, address) = caller.inbound(accepted.options);
    let dialect = inbound.dialect;
    let read =
        match Box::pin(read(api, inbound, Unread { address, announced: accepted.announced, is_count, body }))
            .await
        {
            Ok(mut read) => {
                read.intake.headers = accepted.passed;
                read
            }
            Err(error) => return respond::error(dialect, &error),
        };
    let form = read.intake.form.clone();
    if form.counts {
        return Box::pin(count(api.pipeline.clone(), read)).await;
    }
    let mut outcome: Pending = Box::pin(run(api.pipeline.clone(), read));
    if !form.stream {
        return answer(dialect, form, outcome.await);
    }
    // A stream's first content may take long: after a while the caller gets a stream of pings.
    match Box::pin(tokio::time::timeout(PING_AFTER, &mut outcome)).await {
        Ok(result) => answer(dialect, form, result),
        Err(_) => respond::stream(dialect.stream_type(&form), ResponseBody::waiting(outcome, dialect, form)),
    }
}

/// A request whose body is still to be read.
struct Unread {
    address: Address,
    announced: BodyHeaders,
    /// Only the tokens of the prompt are asked for.
    is_count: bool,
    body: Incoming,
}

/// A request with its body.
struct Read {
    inbound: Inbound,
    intake: Intake,
    /// The body's share of memory: held until the request is answered or its stream has begun.
    held: Held,
}

/// Reads the body and the intake, before a provider is chosen.
async fn read(
    api: &Api,
    mut inbound: Inbound,
    Unread { address, announced, is_count, body }: Unread,
) -> Result<Box<Read>, Error> {
    let read = async {
        inbound.tags = inbound.caller.tags(inbound.options.tags.as_deref())?;
        inbound.cache = inbound.caller.caching(inbound.options.cache);
        let ReceivedBody { bytes, held } =
            request_body::read(body, announced, inbound.snapshot.limits, &api.buffers).await?;
        inbound.capture_unguarded(&bytes);
        let url = Addressed { rest: &address.rest, query: &address.query };
        let mut intake = inbound.dialect.intake(url, &bytes)?;
        if is_count {
            intake.only_counts();
        }
        inbound.guard = inbound.snapshot.guard(&inbound.caller, &inbound.request_id)?;
        let mut held = held;
        if !intake.keeping.as_ref().is_some_and(|keeping| keeping.is_used()) {
            if let Some(guard) = &inbound.guard {
                intake = Box::pin(guarded(&inbound, guard, intake, &mut held)).await?;
            }
            return Ok((Prepared::as_it_is(intake), held));
        }
        let whose = KeepFor {
            owner: &inbound.caller.owner,
            may_store: inbound.caller.may_store(),
            settings: inbound.snapshot.keep,
            body_limit: inbound.snapshot.limits.body,
        };
        let mut prepared = Box::pin(api.pipeline.responses.prepare(whose, intake, &mut held)).await?;
        // The gateway stores the caller's original text: a conversation is checked each time that it is sent.
        if let Some(guard) = &inbound.guard {
            prepared.intake = Box::pin(guarded(&inbound, guard, prepared.intake, &mut held)).await?;
        }
        Ok((prepared, held))
    };
    match read.await {
        Ok((Prepared { intake, keep, elsewhere }, held)) => {
            inbound.keep = keep;
            inbound.elsewhere = elsewhere;
            Ok(Box::new(Read { inbound, intake, held }))
        }
        Err(error) => {
            api.pipeline.refuse(&inbound, Operation::Chat, &error);
            Err(error)
        }
    }
}

/// The request after its guardrails.
async fn guarded(
    inbound: &Inbound,
    guard: &Arc<Guard>,
    intake: Intake,
    held: &mut Held,
) -> Result<Intake, Error> {
    let guarded = guard.guarded(intake.body()).await?;
    if let Some(capture) = &inbound.capture {
        capture.request(guarded.as_ref().unwrap_or(intake.body()));
    }
    let Some(body) = guarded else { return Ok(intake) };
    held.grow(body.len()).await?;
    let mut other = inbound.dialect.refilled(&intake, &body)?;
    // Where an answer repeats parts of its request, it repeats the caller's text.
    (other.form, other.headers, other.keeping) = (intake.form, intake.headers, intake.keeping);
    Ok(other)
}

/// Serves a request of an endpoint without a conversation, whose body is JSON or a form.
async fn endpoint(
    api: &Arc<Api>,
    caller: Caller,
    accepted: Accepted,
    operation: Operation,
    body: Incoming,
) -> Response<ResponseBody> {
    let (mut inbound, _) = caller.inbound(accepted.options);
    let dialect = inbound.dialect;
    // `metadata` has no meaning here; only chat completions ever had it in answers.
    if inbound.options.metadata == MetadataPlace::Metadata {
        inbound.options.metadata = MetadataPlace::Llmgateway;
    }
    let read = async {
        inbound.tags = inbound.caller.tags(inbound.options.tags.as_deref())?;
        inbound.cache = inbound.caller.caching(inbound.options.cache).filter(|_| operation.is_cached());
        let (limits, buffers) = (inbound.snapshot.limits, &api.buffers);
        inbound.guard = inbound.snapshot.guard(&inbound.caller, &inbound.request_id)?;
        let guard = inbound.guard.as_deref();
        if accepted.announced.form.is_some() {
            let takes_whole = |model: &str| takes_whole_forms(&inbound, operation, model);
            let within = (limits, buffers, guard);
            return upload::read(operation, body, accepted.announced, &takes_whole, within).await;
        }
        let ReceivedBody { mut bytes, mut held } =
            request_body::read(body, accepted.announced, limits, buffers).await?;
        inbound.capture_unguarded(&bytes);
        if let Some(guard) = &inbound.guard
            && wire::endpoints::read(operation, &bytes).is_ok()
        {
            if let Some(other) = Box::pin(guard.guarded(&bytes)).await? {
                held.grow(other.len()).await?;
                bytes = other;
            }
            if let Some(capture) = &inbound.capture {
                capture.request(&bytes);
            }
        }
        Ok(Question { request: wire::endpoints::read(operation, &bytes)?, held, upload: None })
    };
    match read.await {
        Ok(question) => match api.pipeline.clone().ask(inbound, question).await {
            Ok((whole_or_stream, content_type)) => {
                let response = answer(dialect, AnswerForm::default(), Ok(whole_or_stream));
                respond::typed(response, content_type)
            }
            Err(failure) => respond::failure(dialect, &failure),
        },
        Err(error) => {
            api.pipeline.refuse(&inbound, operation, &error);
            respond::error(dialect, &error)
        }
    }
}

/// Serves a request for the number of tokens.
async fn count(pipeline: Arc<Pipeline>, read: Box<Read>) -> Response<ResponseBody> {
    let Read { inbound, intake, held } = *read;
    let dialect = inbound.dialect;
    let counted = pipeline.count(&inbound, &intake, &held).await;
    let count = match counted {
        Ok(count) => count,
        Err(failure) => return respond::failure(dialect, &failure),
    };
    match count.written(&inbound) {
        Some(body) => {
            let response = respond::json(http::StatusCode::OK, body);
            respond::counted(respond::served(response, count.served.as_ref()), count.source)
        }
        None => {
            let message = "This format has no token counts.";
            respond::error(dialect, &Error::gateway(ErrorKind::Internal, message))
        }
    }
}

async fn run(pipeline: Arc<Pipeline>, read: Box<Read>) -> Result<Answer, Failure> {
    let Read { inbound, intake, held } = *read;
    match pipeline.parts(&inbound, &intake) {
        Ok(None) => pipeline.run(inbound, intake, held).await,
        Ok(Some(parts)) => {
            Box::pin(Several::new(pipeline, inbound, &intake, parts, held)).await?.begin().await
        }
        Err(error) => {
            pipeline.refuse(&inbound, Operation::Chat, &error);
            Err(error.into())
        }
    }
}

fn answer(
    dialect: &dyn Dialect,
    form: AnswerForm,
    outcome: Result<Answer, Failure>,
) -> Response<ResponseBody> {
    match outcome {
        Ok(Answer::Whole(body, served)) => {
            respond::served(respond::json(http::StatusCode::OK, body), served.as_ref())
        }
        Ok(Answer::Stream(pump, served)) => {
            let body = ResponseBody::Stream(pump);
            respond::served(respond::stream(dialect.stream_type(&form), body), served.as_ref())
        }
        Ok(Answer::Several(several, served)) => {
            let body = ResponseBody::Several(several);
            respond::served(respond::stream(dialect.stream_type(&form), body), served.as_ref())
        }
        Err(failure) => respond::failure(dialect, &failure),
    }
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Error> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let kind = value.to_str().unwrap_or("").split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match kind.as_str() {
        // curl -d without a header sends the last one.
        "" | "application/json" | "text/json" | "text/plain" | "application/x-www-form-urlencoded" => Ok(()),
        kind if kind.ends_with("+json") => Ok(()),
        kind => {
            let message = format!("The content type {kind:?} is not supported; send application/json.");
            Err(Error::caller(ErrorKind::UnsupportedMedia, message).at("content-type"))
        }
    }
}
