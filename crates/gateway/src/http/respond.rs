//! Responses.

use std::future::Future;
use std::pin::Pin;

use bytes::Bytes;
use canon::write::push_u64;
use canon::{Error, ErrorKind};
use http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use limits::Remaining;
use wire::Dialect;

use super::ResponseBody;
use super::request_body::ACCEPTED;
use crate::admission;
use crate::clock;
use crate::identity::Rates;
use crate::lifecycle::{CutNotice, cut_off};
use crate::metering::Served;
use crate::pipeline::Failure;
use crate::pipeline::count::CountSource;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<ResponseBody> {
    with_type(status, JSON, ResponseBody::whole(body))
}

/// A text response of this kind.
pub fn text(content_type: &'static str, body: impl Into<Bytes>) -> Response<ResponseBody> {
    with_type(StatusCode::OK, HeaderValue::from_static(content_type), ResponseBody::whole(body))
}

/// A response without a body.
pub fn empty(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::Whole(None));
    *response.status_mut() = status;
    response
}

/// A stream that proxies must not buffer.
pub fn stream(content_type: &'static str, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = with_type(StatusCode::OK, HeaderValue::from_static(content_type), body);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

/// Sets the content type.
pub fn typed(mut response: Response<ResponseBody>, content_type: HeaderValue) -> Response<ResponseBody> {
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

const PROVIDER: HeaderName = HeaderName::from_static("x-llmgateway-provider");
const MODEL: HeaderName = HeaderName::from_static("x-llmgateway-model");
const CACHE: HeaderName = HeaderName::from_static("x-llmgateway-cache");
const ATTEMPTS: HeaderName = HeaderName::from_static("x-llmgateway-attempts");
const COUNT: HeaderName = HeaderName::from_static("x-llmgateway-count");
const COST: HeaderName = HeaderName::from_static("x-llmgateway-cost-usd");

/// Reports in headers who served a request, for clients that do not see the body.
pub fn served(mut response: Response<ResponseBody>, served: Option<&Served>) -> Response<ResponseBody> {
    let Some(served) = served else { return response };
    let headers = response.headers_mut();
    let cost = served.cost.map(|cost| cost.total.to_string());
    for (name, value) in
        [(PROVIDER, Some(&served.provider)), (MODEL, Some(&served.model)), (COST, cost.as_ref())]
    {
        // A model's name may contain characters that a header cannot; the body then has it.
        let present = value.filter(|value| !value.is_empty());
        if let Some(value) = present.and_then(|value| HeaderValue::from_bytes(value.as_bytes()).ok()) {
            headers.insert(name, value);
        }
    }
    headers.insert(ATTEMPTS, HeaderValue::from(served.attempts));
    if let Some(cache) = served.cache {
        headers.insert(CACHE, HeaderValue::from_static(cache.as_str()));
    }
    if let Some(remaining) = &served.limits {
        limits(headers, remaining);
    }
    response
}

/// Adds the remaining limits of the caller to an answer for which nothing was reserved.
pub fn rates(mut response: Response<ResponseBody>, rates: Option<Rates>) -> Response<ResponseBody> {
    let headers = response.headers_mut();
    if let Some(rates) = rates
        && !headers.contains_key(&REQUESTS[0])
        && !headers.contains_key(&TOKENS[0])
    {
        limits(headers, &rates.left(clock::now_ms()));
    }
    response
}

/// The remaining limits, with OpenAI's names of these headers. The three values share a buffer, because each
/// answer of a key with limits has them.
fn limits(headers: &mut HeaderMap, remaining: &Remaining) {
    for (names, figure) in [(REQUESTS, remaining.requests), (TOKENS, remaining.tokens)] {
        let Some(figure) = figure else { continue };
        let mut text = Vec::with_capacity(48);
        push_u64(&mut text, figure.limit);
        let limit = text.len();
        push_u64(&mut text, figure.remaining);
        let left = text.len();
        admission::push_duration(&mut text, figure.reset_ms);
        let text = Bytes::from(text);
        let values = [text.slice(..limit), text.slice(limit..left), text.slice(left..)];
        for (name, value) in names.into_iter().zip(values) {
            if let Ok(value) = HeaderValue::from_maybe_shared(value) {
                headers.insert(name, value);
            }
        }
    }
}

const REQUESTS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

/// Reports the source of a token count.
pub fn counted(mut response: Response<ResponseBody>, source: CountSource) -> Response<ResponseBody> {
    response.headers_mut().insert(COUNT, HeaderValue::from_static(source.as_str()));
    response
}

/// An error in the caller's format.
pub fn error(dialect: &dyn Dialect, error: &Error) -> Response<ResponseBody> {
    failure(dialect, &Failure::from(error.clone()))
}

/// An answer, or the error that replaces it when the gateway stops.
pub async fn unless_cut(
    cut: &mut CutNotice,
    answer: Pin<&mut impl Future<Output = Response<ResponseBody>>>,
    dialect: &dyn Dialect,
) -> Response<ResponseBody> {
    match cut.unless_cut(answer).await {
        Some(response) => response,
        None => error(dialect, &cut_off()),
    }
}

/// An error with the attempts.
pub fn failure(dialect: &dyn Dialect, failure: &Failure) -> Response<ResponseBody> {
    let (status, body) = dialect.error(&failure.error, failure.metadata.as_deref());
    let response = json(status, body);
    let mut response = served(response, failure.served.as_ref());
    if let Some(remaining) = &failure.limits {
        limits(response.headers_mut(), remaining);
    }
    if failure.error.kind == ErrorKind::UnsupportedMedia {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    if let Some(wait) = failure.error.retry_after() {
        let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: ResponseBody) -> Response<ResponseBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
