//! Gemini's own API: the model and the method are in the path.

use bytes::Bytes;
use canon::Result;

use super::compatible::post;
use super::{Call, Provider};

/// See the module.
pub struct GoogleAiStudio;

impl Provider for GoogleAiStudio {
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let base = call.base_url;
        let version = match base.rsplit('/').next() {
            Some("v1" | "v1beta" | "v1alpha") => "",
            _ => "/v1beta",
        };
        let method = match call.streaming {
            true => "streamGenerateContent?alt=sse",
            false => "generateContent",
        };
        let model = call.model.strip_prefix("models/").unwrap_or(call.model);
        post(call, &format!("{base}{version}/models/{}:{method}", escape_segment(model)))
    }
}

/// Percent-encodes what must not stand in one path segment.
pub(super) fn escape_segment(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                escaped.push(byte as char)
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
