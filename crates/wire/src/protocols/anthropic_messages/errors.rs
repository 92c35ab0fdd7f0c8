//! Errors: reading providers' errors, by status or within an answer, and writing the gateway's errors in this
//! format.

use canon::{Error, ErrorKind, Retry};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::paths;
use super::types::{ErrorObject, StreamEvent};
use crate::protocols::bedrock_converse;
use crate::protocols::errors::{excerpt, upstream_error};

/// Reads an answer with an error status. Clouds refuse some requests in their own format, before Anthropic's
/// part sees them.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    if headers.contains_key("x-amzn-errortype") {
        return bedrock_converse::errors::decode(status, headers, body);
    }
    let Ok(event) = serde_json::from_slice::<StreamEvent<'_>>(body) else {
        return upstream_error(status, headers, None, None, excerpt(body));
    };
    read_error(status, headers, &event)
        .unwrap_or_else(|| upstream_error(status, headers, None, None, excerpt(body)))
}

/// Reads an error object; none when there is none.
pub(super) fn read_error(status: StatusCode, headers: &HeaderMap, event: &StreamEvent<'_>) -> Option<Error> {
    let raw = event.error?.get();
    let object = serde_json::from_str::<ErrorObject>(raw).unwrap_or_else(|_| {
        // Some compatible hosts send a bare text.
        ErrorObject { message: serde_json::from_str(raw).ok(), ..ErrorObject::default() }
    });
    let message = object.message.unwrap_or_else(|| excerpt(raw.as_bytes()));
    let detail = object.details.and_then(|details| details.error_code);
    let mut error = upstream_error(status, headers, detail.clone().or(object.kind), None, message);
    // The type only repeats the kind in the terms of another protocol; a code is more specific.
    error.code = detail;
    if error.kind == ErrorKind::InvalidRequest && helps_elsewhere(&error.message) {
        error.retry = Retry::Elsewhere;
    }
    if let Some(reply) = &mut error.upstream
        && reply.request_id.is_none()
    {
        reply.request_id = event.request_id.clone();
    }
    Some(error)
}

/// Requests that another model may accept: schemas that are too complex to compile, and thinking that another
/// account or model has signed.
fn helps_elsewhere(message: &str) -> bool {
    const PATTERNS: [&str; 7] = [
        "grammar is too large",
        "Overloaded grammar",
        "too many optional parameters",
        "with union types",
        "Too many strict tools",
        "bound to a different conversation",
        "`signature` in `thinking`",
    ];
    PATTERNS.iter().any(|pattern| message.contains(pattern))
}

/// The status that corresponds to an in-stream error of this type.
pub(super) fn status_of_type(kind: &str) -> StatusCode {
    let status = match kind {
        "invalid_request_error" => 400,
        "authentication_error" => 401,
        "billing_error" => 402,
        "permission_error" => 403,
        "not_found_error" => 404,
        "conflict_error" => 409,
        "request_too_large" => 413,
        "rate_limit_error" => 429,
        "timeout_error" => 504,
        "overloaded_error" => 529,
        _ => 500,
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The API has its own status for an overload. A provider's status is kept.
pub(super) fn status_of(error: &Error) -> StatusCode {
    let is_told = error.upstream.as_ref().is_some_and(|reply| reply.status.is_some());
    match error.kind {
        ErrorKind::Overloaded if !is_told => {
            StatusCode::from_u16(529).unwrap_or(StatusCode::SERVICE_UNAVAILABLE)
        }
        _ => error.status(),
    }
}

/// An error in this format. `member` is the gateway's object as a further member, which has the request's id.
pub(super) fn to_json(error: &Error, member: Option<&[u8]>) -> Value {
    let kind = match error.kind {
        // An SDK would read the other types as a fault of the caller's own key or account.
        _ if error.refuses_gateway() => "api_error",
        ErrorKind::InvalidRequest
        | ErrorKind::UnsupportedFeature
        | ErrorKind::ContextLength
        | ErrorKind::ContentFilter
        | ErrorKind::ContentPolicy
        | ErrorKind::UnsupportedMedia
        | ErrorKind::MethodNotAllowed
        | ErrorKind::RequestTimeout => "invalid_request_error",
        ErrorKind::Authentication => "authentication_error",
        ErrorKind::Permission => "permission_error",
        // Some providers answer an unknown model with 400: the type follows the status.
        ErrorKind::ModelNotFound | ErrorKind::NotFound if error.status() == StatusCode::BAD_REQUEST => {
            "invalid_request_error"
        }
        ErrorKind::ModelNotFound | ErrorKind::NotFound => "not_found_error",
        ErrorKind::TooLarge => "request_too_large",
        ErrorKind::RateLimit => "rate_limit_error",
        ErrorKind::Quota => "billing_error",
        ErrorKind::Timeout => "timeout_error",
        ErrorKind::Overloaded | ErrorKind::StoreUnavailable | ErrorKind::Unavailable => "overloaded_error",
        ErrorKind::UpstreamCredential
        | ErrorKind::Upstream
        | ErrorKind::LoopDetected
        | ErrorKind::Internal
        | ErrorKind::Cancelled => "api_error",
    };
    // There is no field for the path: it precedes the message, as in the API itself.
    let param = error.param.as_ref().map(|field| paths::name_of(field, None));
    let message = match param.filter(|param| !param.is_empty() && !error.message.contains(&**param)) {
        Some(param) => format!("{param}: {}", error.message),
        None if error.kind == ErrorKind::ContextLength => too_long(&error.message),
        None => error.message.to_string(),
    };
    let mut body = json!({ "type": "error", "error": { "type": kind, "message": message } });
    // Anthropic's own clients evaluate the code, where there is one.
    if let Some(code) = error.code.as_deref().filter(|code| code.starts_with("thread_")) {
        body["error"]["details"] = json!({ "error_code": code });
    }
    if let Some(id) = member.and_then(request_id) {
        body["request_id"] = json!(id);
    }
    body
}

/// The request's id in the gateway's object.
fn request_id(member: &[u8]) -> Option<String> {
    let object = [b"{", member.strip_prefix(b",")?, b"}"].concat();
    let parsed: Value = serde_json::from_slice(&object).ok()?;
    parsed.as_object()?.values().next()?.get("request_id")?.as_str().map(str::to_owned)
}

/// Clients recognise a prompt that is too long by the API's own sentence and read its numbers: they then
/// shorten the conversation instead of repeating the request.
fn too_long(message: &str) -> String {
    const SENTENCE: &str = "prompt is too long";
    if message.starts_with(SENTENCE) {
        return message.to_owned();
    }
    /// Smaller numbers belong to names and versions.
    const LEAST: u64 = 256;
    let numbers = message.split(|letter: char| !letter.is_ascii_digit());
    let mut counts: Vec<u64> =
        numbers.filter_map(|number| number.parse().ok()).filter(|count| *count >= LEAST).collect();
    counts.sort_unstable();
    counts.dedup();
    match (counts.first(), counts.last()) {
        (Some(limit), Some(length)) if limit < length => {
            format!("{SENTENCE}: {length} tokens > {limit} maximum ({message})")
        }
        _ => format!("{SENTENCE}: {message}"),
    }
}
