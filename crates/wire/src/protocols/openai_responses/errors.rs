//! Errors: reading providers' errors, by status or within an answer, and writing the gateway's.

use bytes::Bytes;
use canon::{Error, ErrorKind};
use http::{HeaderMap, StatusCode};
use serde_json::Value;

use super::paths;
use crate::Adapter;
use crate::json::{push_key, push_string};
use crate::protocols::errors::upstream_error;
use crate::protocols::openai_chat::{OpenaiChat, write_error};

/// An error answer in the form of OpenAI's other APIs.
pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    OpenaiChat.decode_error(status, headers, body)
}

/// An error within a stream or of a failed response: `{"code", "message", "param", "type"}`, each optional.
pub(super) fn read_failure(failure: &Value) -> Error {
    let text = |name: &str| failure[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let (code, type_name) = (text("code"), text("type"));
    // An event named `error` has that as its type, which is no information.
    let type_name = type_name.filter(|name| name != "error");
    let message = text("message").unwrap_or_else(|| "The provider's answer failed.".to_owned());
    let status = status_of(code.as_deref().or(type_name.as_deref()).unwrap_or_default());
    let mut error = upstream_error(status, &HeaderMap::new(), code.clone(), type_name, message);
    if matches!(
        code.as_deref(),
        Some("bio_policy" | "misalignment_policy_violation" | "image_content_policy_violation")
    ) {
        error.kind = ErrorKind::ContentFilter;
    }
    error.param = text("param").map(Into::into);
    error
}

/// The status that corresponds to an error within an answer. The codes are those of `ResponseError` in
/// OpenAI's SDK, and `insufficient_quota` and `context_length_exceeded`, which were recorded.
fn status_of(code: &str) -> StatusCode {
    match code {
        "rate_limit_exceeded" | "insufficient_quota" | "rate_limit_error" => StatusCode::TOO_MANY_REQUESTS,
        "invalid_prompt"
        | "context_length_exceeded"
        | "invalid_request_error"
        | "bio_policy"
        | "misalignment_policy_violation"
        | "data_residency_mismatch" => StatusCode::BAD_REQUEST,
        image if image.contains("image") => StatusCode::BAD_REQUEST,
        "vector_store_timeout" => StatusCode::GATEWAY_TIMEOUT,
        "server_is_overloaded" | "slow_down" => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// An error as the body of an answer, in the form of all of OpenAI's APIs.
pub(super) fn write(error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
    let mut out = Vec::with_capacity(256);
    write_error(&error.clone().named(|field| paths::name_of(field, None)), member, &mut out);
    (error.status(), out.into())
}

/// The event that ends a stream without earlier events.
pub(super) fn write_event(error: &Error, member: Option<&[u8]>) -> Bytes {
    let mut out = b"event: error\ndata: {\"type\":\"error\",\"sequence_number\":0".to_vec();
    write_members(error, &mut out);
    out.extend_from_slice(member.unwrap_or_default());
    out.extend_from_slice(b"}\n\n");
    out.into()
}

/// The members of an `error` event, after its type and number.
pub(super) fn write_members(error: &Error, out: &mut Vec<u8>) {
    push_key(out, "code");
    push_string(out, code(error));
    push_key(out, "message");
    push_string(out, &error.message);
    push_key(out, "param");
    let param = error.param.as_ref().map(|field| paths::name_of(field, None));
    match param.filter(|param| !param.is_empty()) {
        Some(param) => push_string(out, &param),
        None => out.extend_from_slice(b"null"),
    }
}

/// The `error` of a failed response.
pub(super) fn write_failure(error: &Error, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"code\":");
    push_string(out, code(error));
    push_key(out, "message");
    push_string(out, &error.message);
    out.push(b'}');
}

/// Codes of `ResponseError` in OpenAI's SDK, and `context_length_exceeded`, at which Codex ends a turn
/// instead of retrying.
fn code(error: &Error) -> &'static str {
    match error.kind {
        ErrorKind::RateLimit => "rate_limit_exceeded",
        ErrorKind::Quota if !error.refuses_gateway() => "insufficient_quota",
        ErrorKind::ContextLength => "context_length_exceeded",
        ErrorKind::ContentPolicy => "content_policy_violation",
        ErrorKind::InvalidRequest | ErrorKind::UnsupportedFeature | ErrorKind::ContentFilter => {
            "invalid_prompt"
        }
        _ => "server_error",
    }
}
