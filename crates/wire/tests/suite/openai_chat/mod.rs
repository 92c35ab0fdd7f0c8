//! OpenAI chat completions: relay, decoder, encoder, and requests both ways.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod custom;
mod events;
mod foreign;
mod forward;
mod reading;
mod recorded;
mod rules;
mod said;
mod strict;
mod thoughts;

pub use rules::assert_stream_rules;

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Cost, Error, Event, Progress, Usage};
use serde_json::Value;
use wire::protocols::openai_chat::{RelayParts, relay};
use wire::{AnswerForm, DecoderContext, Protocol};

/// The same words for every answer; tool-call ids count up.
#[derive(Default)]
pub struct Notes(AtomicU32);

impl Annotator for Notes {
    fn answer_id(&self) -> &str {
        "chatcmpl-ours"
    }
    fn created(&self) -> i64 {
        1_700_000_000
    }
    fn model(&self) -> &str {
        "ours"
    }
    fn cost(&self, _usage: &Usage, _tier: Option<&str>) -> Option<Cost> {
        None
    }
    fn write_metadata(&self, _facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"request_id":"r1"}"#);
    }
    fn tool_call_id(&self) -> String {
        format!("call_ours{}", self.0.fetch_add(1, Ordering::Relaxed))
    }
}

fn form(stream: bool) -> AnswerForm {
    AnswerForm { stream, include_usage: stream, ..AnswerForm::default() }
}

/// What the caller gets of an answer that arrives in these pieces, and the books; or the error and what came before it.
fn relayed<'a>(
    form: AnswerForm,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Progress), (Error, String)> {
    let mut relay = relay(RelayParts {
        form,
        annotator: Box::new(Notes::default()),
        gathers: true,
        cached_outside_prompt: false,
        taken_ids: Default::default(),
    });
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| relay.push(&Bytes::copy_from_slice(piece), &mut out));
    }
    result = result.and_then(|()| relay.finish(&mut out));
    let text = String::from_utf8(out).unwrap();
    match result {
        Ok(()) => Ok((text, relay.progress().clone())),
        Err(error) => Err((error, text)),
    }
}

/// The events of an answer that arrives in these pieces.
fn decoded<'a>(
    streaming: bool,
    decoding: &DecoderContext,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Vec<Event>, Error> {
    let mut decoder = wire::adapter(Protocol::OpenaiChat).decoder(streaming, decoding);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut events)?;
    }
    decoder.finish(&mut events)?;
    Ok(events)
}

/// The events as an answer.
fn encoded(form: &AnswerForm, events: &[Event]) -> String {
    let dialect = wire::dialect(Protocol::OpenaiChat).unwrap();
    let mut encoder = dialect.encoder(form, Box::new(Notes::default()));
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.push(event.clone(), &mut out));
    encoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

/// A stream of these events.
fn stream(events: &[Value]) -> String {
    let mut text: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    text.push_str("data: [DONE]\n\n");
    text
}

/// The JSON documents of a body: the events of a stream, or the one of a whole answer.
fn documents(streaming: bool, body: &str) -> Vec<Value> {
    if !streaming {
        return vec![serde_json::from_str(body).unwrap()];
    }
    let lines = body.lines().filter_map(|line| line.strip_prefix("data:")).map(str::trim);
    lines
        .filter(|data| !data.is_empty() && *data != "[DONE]")
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}
