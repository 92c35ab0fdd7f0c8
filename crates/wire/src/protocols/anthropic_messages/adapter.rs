//! STUB
use canon::{Error, ErrorKind, Request, Result, Target};
use http::{HeaderMap, StatusCode};

use super::AnthropicMessages;
use crate::{Adapter, Decoder, Encoded, Undo};

impl Adapter for AnthropicMessages {
    fn encode_request(&self, _request: &Request, _target: Target<'_>) -> Result<Encoded> {
        Err(Error::gateway(ErrorKind::Internal, "stub"))
    }
    fn decoder(&self, _streaming: bool, _undo: &Undo) -> Box<dyn Decoder> {
        panic!("stub")
    }
    fn decode_error(&self, _status: StatusCode, _headers: &HeaderMap, _body: &[u8]) -> Error {
        Error::gateway(ErrorKind::Internal, "stub")
    }
}
