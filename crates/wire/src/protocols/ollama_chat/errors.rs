//! The meaning of Ollama's errors.

use canon::Error;
use http::{HeaderMap, StatusCode};

use crate::json::Value;
use crate::protocols::errors::{excerpt, upstream_error};

pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    let told = std::str::from_utf8(body).ok().and_then(Value::parse_whole).and_then(|told| {
        let error = &told["error"];
        error.as_str().or_else(|| error["message"].as_str()).map(str::to_owned)
    });
    upstream_error(status, headers, None, None, told.unwrap_or_else(|| excerpt(body)))
}
