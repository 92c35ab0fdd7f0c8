//! The provider side: OpenAI and compatible providers.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::passthrough::forward::forward_own;
use super::{OpenaiChat, answer, errors, paths, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for OpenaiChat {
    /// Writes the request for OpenAI itself, and then forwards it like a caller's own.
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        let request::write::WrittenRequest { body, losses, custom_tools } =
            request::write::body(request, target)?;
        let mut encoded = forward_own(body, target).map_err(|error| of_request(error, request))?;
        encoded.losses = encoded.losses.with_fields(|field| paths::field_of(&field.name(), request));
        encoded.losses.extend(losses);
        encoded.decoding.custom_tools = custom_tools;
        Ok(encoded)
    }

    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        answer::read::decoder(streaming, decoding)
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }
}

/// Converts an error about the written body into one about the request: neither its field nor its message may
/// name fields that the caller did not write.
fn of_request(mut error: Error, request: &Request) -> Error {
    let Some(path) = error.param_name().filter(|path| !path.is_empty()) else { return error };
    let named = |rest: &str| error.message.strip_prefix(&*path).and_then(|behind| behind.strip_prefix(rest));
    if let Some(behind) = named(" ").or_else(|| named(": ")) {
        error.message = format!("This field {behind}").into();
    }
    error.param = Some(paths::field_of(&path, request));
    error
}
