//! The caller side.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Annotator, Error, Field, Request, Result};
use http::StatusCode;

use super::intake::intake;
use super::{OpenaiChat, answer, errors, paths, request};
use crate::{Addressed, AnswerForm, Dialect, Encoder, Intake, Protocol};

impl Dialect for OpenaiChat {
    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol::OpenaiChat)
    }

    fn intake(&self, _url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
        intake(body)
    }

    fn decode(&self, intake: &Intake) -> Result<Request> {
        request::read::decode(intake)
    }

    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        answer::write::encoder(form, annotator)
    }

    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
        let mut out = Vec::with_capacity(256);
        errors::write_error(error, member, &mut out);
        (error.status(), Bytes::from(out))
    }

    fn error_event(&self, _form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes {
        let mut out = Vec::with_capacity(256);
        errors::write_stream_error(error, member, &mut out);
        Bytes::from(out)
    }

    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str> {
        paths::name_of(field, request)
    }

    fn leaves_metadata_free(&self) -> bool {
        true
    }
}
