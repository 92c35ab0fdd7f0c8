//! Towards providers.

use canon::{Error, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::{CohereChat, answer, errors, request};
use crate::{Adapter, Decoder, Encoded, Undo};

impl Adapter for CohereChat {
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded> {
        request::write::request(request, target)
    }

    fn decoder(&self, streaming: bool, undo: &Undo) -> Box<dyn Decoder> {
        match streaming {
            true => Box::new(answer::read::StreamDecoder::new(undo)),
            false => Box::new(answer::read::WholeDecoder::new(undo)),
        }
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        errors::decode(status, headers, body)
    }
}
