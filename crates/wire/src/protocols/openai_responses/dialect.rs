//! The caller side.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Annotator, Error, Field, Request, Result};
use http::StatusCode;

use super::answer::write::{Echo, encoder};
use super::{OpenaiResponses, errors, intake, paths, request};
use crate::{Addressed, AnswerForm, Dialect, Encoder, IdPrefixes, Intake, Protocol};

impl Dialect for OpenaiResponses {
    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol::OpenaiResponses)
    }

    fn intake(&self, _url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
        intake::intake(body)
    }

    fn decode(&self, intake: &Intake) -> Result<Request> {
        intake.check_schema_size()?;
        request::read::request(intake.body())
    }

    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        let mut echo = form.request.as_ref().map(|body| Echo::of(body)).unwrap_or_default();
        echo.stored = form.kept;
        encoder(form, echo, annotator)
    }

    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
        errors::write(error, member)
    }

    fn error_event(&self, _form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes {
        errors::write_event(error, member)
    }

    fn token_count(&self, tokens: u64, counted: Option<&[u8]>, member: Option<&[u8]>) -> Option<Bytes> {
        let counted = counted.map(<[u8]>::trim_ascii).filter(|body| body.ends_with(b"}"));
        let own =
            || format!("{{\"object\":\"response.input_tokens\",\"input_tokens\":{tokens}}}").into_bytes();
        let mut answer = counted.map_or_else(own, <[u8]>::to_vec);
        answer.pop();
        answer.extend_from_slice(member.unwrap_or_default());
        answer.push(b'}');
        Some(answer.into())
    }

    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "resp_", tool_call: "call_" }
    }

    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str> {
        paths::name_of(field, request)
    }
}
