//! The caller side.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Annotator, Error, Field, Request, Result};
use http::StatusCode;
use serde_json::{Value, json};

use super::intake::intake;
use super::{Gemini, answer, errors, listing, paths, request};
use crate::json::with_member;
use crate::{Addressed, AnswerForm, Dialect, Encoder, IdPrefixes, Intake, Protocol};

impl Dialect for Gemini {
    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol::Gemini)
    }

    fn intake(&self, url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
        intake(url, body)
    }

    /// The method is part of the URL.
    fn refilled(&self, given: &Intake, body: &Bytes) -> Result<Intake> {
        let method = if given.form.stream { "streamGenerateContent" } else { "generateContent" };
        intake(Addressed { rest: &format!("{}:{method}", given.model), query: "" }, body)
    }

    fn decode(&self, intake: &Intake) -> Result<Request> {
        intake.check_schema_size()?;
        let mut request = request::read::decode(intake.body())?;
        intake.model.clone_into(&mut request.model);
        request.stream = intake.form.stream;
        Ok(request)
    }

    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        Box::new(answer::write::GeminiEncoder::new(form.clone(), annotator))
    }

    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str> {
        paths::name_of(field, request)
    }

    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
        let status = error.status();
        (status, with_member(errors::to_json(error, status).to_string(), member).into())
    }

    fn error_event(&self, form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes {
        let mut out = Vec::new();
        let body = with_member(errors::to_json(error, error.status()).to_string(), member);
        let mut frames = answer::write::Frames::new(form.is_list);
        frames.write(body.as_bytes(), &mut out);
        frames.end(&mut out);
        out.into()
    }

    fn token_count(&self, tokens: u64, counted: Option<&[u8]>, member: Option<&[u8]>) -> Option<Bytes> {
        let counted =
            counted.and_then(|body| std::str::from_utf8(body).ok()).map(|text| text.trim().to_owned());
        let answer = counted.unwrap_or_else(|| json!({"totalTokens": tokens}).to_string());
        Some(with_member(answer, member).into())
    }

    fn model_list(&self, entries: Vec<Value>, query: &str) -> Result<Value> {
        listing::page(entries, query)
    }

    fn model_entry(&self, entry: Value) -> Value {
        listing::model(&entry)
    }

    /// Google's ids have no prefix.
    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "", tool_call: "call_" }
    }

    /// White space within a list.
    fn ping(&self, form: &AnswerForm) -> &'static [u8] {
        if form.is_list { b"\n" } else { b": ping\n\n" }
    }

    fn stream_type(&self, form: &AnswerForm) -> &'static str {
        if form.is_list { "application/json" } else { "text/event-stream; charset=utf-8" }
    }
}
