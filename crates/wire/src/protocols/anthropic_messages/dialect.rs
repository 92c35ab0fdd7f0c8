//! The caller side.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Annotator, Error, Field, Losses, Quirks, Request, Result};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::intake::intake;
use super::{AnthropicMessages, answer, errors, listing, paths, request};
use crate::json::with_member;
use crate::protocols::has_chat;
use crate::{Addressed, AnswerForm, Dialect, Encoder, Headers, IdPrefixes, Intake, Protocol};

/// The header by which callers request beta features.
pub(crate) const BETA: &str = "anthropic-beta";

impl Dialect for AnthropicMessages {
    fn protocol(&self) -> Option<Protocol> {
        Some(Protocol::AnthropicMessages)
    }

    fn intake(&self, _url: Addressed<'_>, body: &Bytes) -> Result<Intake> {
        intake(body)
    }

    fn decode(&self, intake: &Intake) -> Result<Request> {
        intake.check_schema_size()?;
        check_thread(intake)?;
        request::read::decode(intake.body())
    }

    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
        answer::write::encoder(form, annotator)
    }

    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str> {
        paths::name_of(field, request)
    }

    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes) {
        (errors::status_of(error), with_member(errors::to_json(error, member).to_string(), member).into())
    }

    fn error_event(&self, _form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes {
        let body = with_member(errors::to_json(error, member).to_string(), member);
        format!("event: error\ndata: {body}\n\n").into()
    }

    fn token_count(&self, tokens: u64, counted: Option<&[u8]>, member: Option<&[u8]>) -> Option<Bytes> {
        let counted = counted.and_then(|body| String::from_utf8(body.trim_ascii().to_vec()).ok());
        let answer = counted.unwrap_or_else(|| json!({ "input_tokens": tokens }).to_string());
        Some(with_member(answer, member).into())
    }

    /// Clients offer each of them for a conversation.
    fn model_list(&self, mut entries: Vec<Value>, query: &str) -> Result<Value> {
        entries.retain(has_chat);
        listing::page(&entries, query)
    }

    fn model_entry(&self, entry: Value) -> Value {
        listing::model(&entry)
    }

    fn travelling_headers(&self) -> &'static [&'static str] {
        &[BETA, "anthropic-version"]
    }

    /// The betas as one list, without those that the provider refuses.
    fn passed_headers(&self, given: &Headers, quirks: &Quirks, losses: &mut Losses) -> Headers {
        let (lists, mut passed): (Headers, Headers) =
            given.iter().cloned().partition(|(name, _)| name == BETA);
        let lists = lists.iter().filter_map(|(_, list)| list.to_str().ok());
        let mut betas: Vec<&str> = Vec::new();
        for beta in
            lists.clone().flat_map(|list| list.split(',')).map(str::trim).filter(|beta| !beta.is_empty())
        {
            if quirks.refuses_beta(beta) {
                losses.dropped(format!("{BETA}: {beta}"), "The provider has no such beta.")
            } else {
                let theirs = quirks.renamed_betas.get(beta).map_or(beta, String::as_str);
                if !betas.contains(&theirs) {
                    betas.push(theirs);
                }
            }
        }
        if let (false, Ok(list)) = (betas.is_empty(), HeaderValue::try_from(betas.join(","))) {
            passed.push((HeaderName::from_static(BETA), list));
        }
        passed
    }

    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "msg_", tool_call: "toolu_" }
    }

    fn request_id_header(&self) -> Option<&'static str> {
        Some("request-id")
    }

    fn ping(&self, _form: &AnswerForm) -> &'static [u8] {
        b"event: ping\ndata: {\"type\": \"ping\"}\n\n"
    }
}

/// Anthropic's own API stores threads. Elsewhere the whole conversation must be sent, which clients do after
/// this error code.
fn check_thread(intake: &Intake) -> Result<()> {
    if intake.non_null("thread").is_none() {
        return Ok(());
    }
    let message = "The provider of the model keeps no threads; send the whole conversation without thread.";
    let mut error = Error::unsupported("thread", message);
    error.code = Some("thread_unsupported_request".to_owned());
    Err(error)
}
