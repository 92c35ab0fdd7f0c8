//! The provider side.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::{Gemini, answer, errors, listing, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for Gemini {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn read_token_count(&self, body: &[u8]) -> Option<u64> {
        listing::token_count(body)
    }

    fn wants_bytes(&self, media: &canon::Media, _target: Target<'_>) -> bool {
        request::write::media::wants_bytes(media)
    }

    fn decoder(&self, _streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        Box::new(answer::read::GeminiDecoder::new(decoding.clone()))
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }
}
