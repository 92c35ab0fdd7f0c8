//! The caller side.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Annotator, Error, Field, Request, Result};
use http::StatusCode;

use super::{OpenaiCompletions, answer, intake, request, several};
use crate::protocols::openai_chat;
use crate::{Addressed, AnswerForm, Dialect, Encoder, IdPrefixes, Intake, Joiner, Protocol};

impl Dialect for OpenaiCompletions {
    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol::OpenaiCompletions)
    }

    fn intake(&self, _url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
        intake::intake(body)
    }

    fn decode(&self, intake: &Intake) -> Result<Request> {
        request::read::read(intake)
    }

    fn parts(&self, intake: &Intake) -> Result<Option<Vec<Bytes>>> {
        several::split(intake)
    }

    fn joiner(&self, intake: &Intake) -> Option<Box<dyn Joiner>> {
        Some(several::joiner(intake))
    }

    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        answer::write::encoder(form, annotator)
    }

    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
        let mut out = Vec::with_capacity(256);
        openai_chat::write_error(error, member, &mut out);
        (error.status(), Bytes::from(out))
    }

    fn error_event(&self, _form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes {
        let mut out = Vec::with_capacity(256);
        openai_chat::write_stream_error(error, member, &mut out);
        Bytes::from(out)
    }

    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "cmpl-", tool_call: "call_" }
    }

    /// The conversation is one message with one text, which is the prompt.
    fn name_of(&self, field: &Field, _request: Option<&Request>) -> Cow<'static, str> {
        match field {
            Field::Messages
            | Field::Message { .. }
            | Field::Part { .. }
            | Field::ResultPart { .. }
            | Field::ToolCall { .. } => "prompt".into(),
            Field::Logprobs | Field::TopLogprobs => "logprobs".into(),
            field => field.name(),
        }
    }
}
