//! The provider side.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::{CohereChat, answer, errors, request};
use crate::{Adapter, Decoder, DecoderContext, Encoded};

impl Adapter for CohereChat {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        if streaming {
            Box::new(answer::read::StreamDecoder::new(decoding))
        } else {
            answer::read::whole(decoding)
        }
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }

    fn takes_text_files(&self) -> bool {
        false
    }
}
