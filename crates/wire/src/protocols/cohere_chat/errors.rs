//! The meaning of Cohere's errors.

use canon::{Error, ErrorKind, Retry};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use crate::protocols::errors::{excerpt, upstream_error};

pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    #[derive(Default, Deserialize)]
    struct ErrorBody {
        message: Option<String>,
    }
    let error: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
    let message = error.message.unwrap_or_else(|| excerpt(body));
    let mut error = upstream_error(status, headers, None, None, message);
    // "Invalid token": the content is blocked. Other providers use this status differently.
    if status.as_u16() == 498 {
        (error.kind, error.retry) = (ErrorKind::ContentFilter, Retry::Elsewhere);
        if let Some(reply) = &mut error.upstream {
            reply.status = Some(400);
        }
    }
    error
}
