//! Gemini's own API: the model and the method are in the path.

use bytes::Bytes;
use canon::Result;

use super::compatible::post;
use super::segment::model_segment;
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
        post(call, &format!("{base}{version}/models/{}:{method}", model_segment(model)?))
    }
}
