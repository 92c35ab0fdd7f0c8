//! Towards providers.

use canon::{Error, ErrorKind, Request, Result, Retry, Target};
use http::{HeaderMap, StatusCode};

use super::types::{ErrorObject, StreamEvent};
use super::{AnthropicMessages, answer, listing, request};
use crate::protocols::errors::{excerpt, upstream_error};
use crate::{Adapter, Decoder, Encoded, Undo};

impl Adapter for AnthropicMessages {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn decoder(&self, streaming: bool, undo: &Undo) -> Box<dyn Decoder> {
        match streaming {
            true => Box::new(answer::read::StreamDecoder::new(undo)),
            false => Box::new(answer::read::WholeDecoder::new(undo)),
        }
    }

    fn read_token_count(&self, body: &[u8]) -> Option<u64> {
        listing::token_count(body)
    }

    /// The API fetches `https` itself; Claude elsewhere takes bytes.
    fn wants_bytes(&self, media: &canon::Media, target: Target<'_>) -> bool {
        let canon::Source::Url(url) = &media.source else { return false };
        target.quirks.no_media_urls || !url.starts_with("https://")
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        let Ok(event) = serde_json::from_slice::<StreamEvent<'_>>(body) else {
            return upstream_error(status, headers, None, None, excerpt(body));
        };
        read_error(status, headers, &event)
            .unwrap_or_else(|| upstream_error(status, headers, None, None, excerpt(body)))
    }
}

/// Reads an error object; none when there is none.
pub(super) fn read_error(status: StatusCode, headers: &HeaderMap, event: &StreamEvent<'_>) -> Option<Error> {
    let raw = event.error?.get();
    let object = serde_json::from_str::<ErrorObject>(raw).unwrap_or_else(|_| {
        // Some compatible hosts give a bare text.
        ErrorObject { message: serde_json::from_str(raw).ok(), ..ErrorObject::default() }
    });
    let message = object.message.unwrap_or_else(|| excerpt(raw.as_bytes()));
    let detail = object.details.and_then(|details| details.error_code);
    let mut error = upstream_error(status, headers, detail.clone().or(object.kind), None, message);
    // The type says no more than the kind does, in another protocol's words; a code says more.
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

/// Requests that are refused here and may be fine for another model: schemas that are too complex to compile, and
/// thinking that another account or model has signed.
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

/// The status that an in-stream error of this type stands for.
pub(super) fn status_of(kind: &str) -> StatusCode {
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
