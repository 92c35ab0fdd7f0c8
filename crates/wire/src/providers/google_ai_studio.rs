//! Gemini's own API: the model and the method are in the path.

use bytes::Bytes;
use canon::{Operation, Result, Target};

use super::compatible::post;
use super::edit::edit;
use super::segment::model_segment;
use super::{Call, Endpoint};
use crate::Protocol;

pub struct GoogleAiStudio;

impl Endpoint for GoogleAiStudio {
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let method = if call.streaming { "streamGenerateContent?alt=sse" } else { "generateContent" };
        post(call, &url(call, method)?)
    }

    fn operation_request(&self, call: &Call<'_>, _operation: Operation) -> Result<http::Request<Bytes>> {
        post(call, &url(call, call.path.unwrap_or_default())?)
    }

    fn counts_tokens(&self, protocol: Protocol, _target: Target<'_>) -> bool {
        protocol == Protocol::Gemini
    }

    /// The count takes the whole request as a member: otherwise it accepts only `contents`.
    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let model = format!("models/{}", call.model.strip_prefix("models/").unwrap_or(call.model));
        let request = edit(&call.body, &[], &[("model", &model)])?;
        let body = [b"{\"generateContentRequest\":", &request[..], b"}"].concat().into();
        post(&Call { body, ..call.clone() }, &url(call, "countTokens")?)
    }
}

fn url(call: &Call<'_>, method: &str) -> Result<String> {
    let base = call.base_url;
    let version = match base.rsplit('/').next() {
        Some("v1" | "v1beta" | "v1alpha") => "",
        _ => "/v1beta",
    };
    let model = call.model.strip_prefix("models/").unwrap_or(call.model);
    Ok(format!("{base}{version}/models/{}:{method}", model_segment(model)?))
}
