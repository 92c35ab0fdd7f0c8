//! STUB
use bytes::Bytes;
use canon::{Annotator, Error, ErrorKind, Request, Result};
use http::StatusCode;

use super::OpenaiChat;
use crate::{AnswerForm, Dialect, Encoder};

impl Dialect for OpenaiChat {
    fn decode_request(&self, _body: &[u8]) -> Result<Request> {
        Err(Error::gateway(ErrorKind::Internal, "stub"))
    }
    fn encoder(&self, _form: &AnswerForm, _annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        panic!("stub")
    }
    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes) {
        (error.status(), Bytes::new())
    }
}
