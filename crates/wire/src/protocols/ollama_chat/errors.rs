//! What Ollama's errors mean.

use canon::Error;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::protocols::errors::{excerpt, upstream_error};

pub(super) fn decode(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: Value,
    }
    let told = serde_json::from_slice::<ErrorBody>(body).ok().and_then(|told| {
        let words = told.error.as_str().or_else(|| told.error["message"].as_str());
        words.map(str::to_owned)
    });
    upstream_error(status, headers, None, None, told.unwrap_or_else(|| excerpt(body)))
}
