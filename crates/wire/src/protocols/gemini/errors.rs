//! Google's errors (`google.rpc.Status`): their meaning, and the gateway's errors in this format.

use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::paths;
use crate::json::Value;
use crate::protocols::errors::{excerpt, upstream_error};

/// Longer waits are not worthwhile: another provider is asked instead.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// `error` of an answer.
#[derive(Debug, Default)]
struct Status {
    code: Option<u64>,
    message: Option<String>,
    status: Option<String>,
    details: Value,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

/// Reads an error answer. Vertex AI wraps those of streams into a list.
pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let text = String::from_utf8_lossy(body);
    // Serde reads a list as a struct's fields in order, so the type is checked first.
    let wrapped = if text.trim_start().starts_with('[') {
        serde_json::from_str::<Vec<Wrapped<'_>>>(&text).ok().and_then(|list| list.into_iter().next())
    } else {
        serde_json::from_str::<Wrapped<'_>>(&text).ok()
    };
    let Some(found) = wrapped.and_then(|wrapped| read(wrapped.error)) else {
        return upstream_error(status, headers, None, None, excerpt(body));
    };
    classified(found, status, headers)
}

/// Reads an error within an answer.
pub(super) fn in_stream(error: &RawValue) -> Error {
    let found = read(error).unwrap_or_default();
    let status = found.code.and_then(|code| u16::try_from(code).ok());
    let status = status.filter(|code| (400..600).contains(code));
    let status = status.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::BAD_GATEWAY);
    classified(found, status, &HeaderMap::new())
}

/// An error is an object, or with some proxies only its text.
fn read(error: &RawValue) -> Option<Status> {
    match Value::parse_whole(error.get())? {
        Value::String(text) => Some(Status { message: Some(text), ..Status::default() }),
        Value::Object(mut error) => Some(Status {
            code: error.get("code").and_then(Value::as_u64),
            message: error.get("message").and_then(Value::as_str).map(str::to_owned),
            status: error.get("status").and_then(Value::as_str).map(str::to_owned),
            details: error.remove("details").unwrap_or_default(),
        }),
        _ => None,
    }
}

fn classified(found: Status, status: StatusCode, headers: &HeaderMap) -> Error {
    let details = found.details.as_array().unwrap_or_default();
    let reason = details.iter().find_map(|detail| detail["reason"].as_str().map(str::to_owned));
    let code = reason.clone().or_else(|| found.status.clone());
    let mut error =
        upstream_error(status, headers, code, found.status.clone(), found.message.unwrap_or_default());
    let wait = retry_delay(details).or_else(|| wait_in_words(&error.message));
    if let Some(reply) = error.upstream.as_mut() {
        reply.retry_after = reply.retry_after.or(wait);
    }
    if let Some((kind, retry)) = meaning(status, reason.as_deref(), found.status.as_deref(), &error.message) {
        (error.kind, error.retry) = (kind, retry);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        (error.kind, error.retry) = exhausted(details, wait.or(error.retry_after()));
    }
    error
}

fn meaning(
    status: StatusCode,
    reason: Option<&str>,
    name: Option<&str>,
    message: &str,
) -> Option<(ErrorKind, Retry)> {
    let text = message.to_lowercase();
    match (status.as_u16(), reason, name) {
        (_, Some("API_KEY_INVALID" | "API_KEY_EXPIRED" | "SERVICE_DISABLED"), _) => {
            Some((ErrorKind::UpstreamCredential, Retry::Elsewhere))
        }
        (400, ..) if text.contains("api key expired") || text.contains("api key not valid") => {
            Some((ErrorKind::UpstreamCredential, Retry::Elsewhere))
        }
        // Another region or an account with billing can serve it.
        (400, _, Some("FAILED_PRECONDITION")) => Some((ErrorKind::UpstreamCredential, Retry::Elsewhere)),
        (400, ..) if text.contains("token count") && text.contains("exceeds") => {
            Some((ErrorKind::ContextLength, Retry::Elsewhere))
        }
        // The signature is of another model: elsewhere it may be valid, or be removed.
        (400, ..) if text.contains("thought signature") || text.contains("thought_signature") => {
            Some((ErrorKind::InvalidRequest, Retry::Elsewhere))
        }
        (404, ..) if text.contains("models/") => Some((ErrorKind::ModelNotFound, Retry::Elsewhere)),
        _ => None,
    }
}

/// 429: a limit per minute resets soon; a limit per day or of zero does not. Vertex AI's shared capacity
/// gives no details.
fn exhausted(details: &[Value], wait: Option<Duration>) -> (ErrorKind, Retry) {
    let violations = details.iter().filter_map(|detail| detail["violations"].as_array()).flatten();
    let is_lasting = |violation: &Value| {
        violation["quotaId"].as_str().is_some_and(|id| id.contains("PerDay"))
            || violation["quotaValue"].as_str() == Some("0")
    };
    if violations.into_iter().any(is_lasting) {
        return (ErrorKind::Quota, Retry::Elsewhere);
    }
    match wait {
        Some(wait) if wait > LONGEST_WAIT => (ErrorKind::RateLimit, Retry::Elsewhere),
        Some(wait) => (ErrorKind::RateLimit, Retry::After(wait)),
        None => (ErrorKind::RateLimit, Retry::Again),
    }
}

/// `RetryInfo.retryDelay`: "34.4s".
fn retry_delay(details: &[Value]) -> Option<Duration> {
    let delay = details.iter().find_map(|detail| detail["retryDelay"].as_str())?;
    seconds(delay.strip_suffix('s')?)
}

/// "Please retry in 48.9s."
fn wait_in_words(message: &str) -> Option<Duration> {
    let rest = &message[message.find("retry in ")? + "retry in ".len()..];
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && letter != '.')?;
    rest[end..].starts_with('s').then(|| seconds(&rest[..end]))?
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

/// The gateway's errors in Google's format: the body of an answer, or the end of a stream.
pub(super) fn to_json(error: &Error, status: StatusCode) -> serde_json::Value {
    let reason = error.code.clone().unwrap_or_else(|| error.kind.as_str().to_ascii_uppercase());
    let mut details = vec![json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "llmgateway",
    })];
    if let Some(field) = error.param.as_ref().map(|field| paths::name_of(field, None)) {
        details.push(json!({
            "@type": "type.googleapis.com/google.rpc.BadRequest",
            "fieldViolations": [{"field": field, "description": error.message}],
        }));
    }
    if let Some(wait) = error.retry_after() {
        let delay = format!("{}s", wait.as_secs_f64());
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}));
    }
    let name = status_name(status);
    json!({"error": {"code": status.as_u16(), "message": error.message, "status": name, "details": details}})
}

fn status_name(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        402 | 429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        501 => "UNIMPLEMENTED",
        408 | 504 => "DEADLINE_EXCEEDED",
        502 | 503 | 529 => "UNAVAILABLE",
        400..=499 => "INVALID_ARGUMENT",
        _ => "INTERNAL",
    }
}
