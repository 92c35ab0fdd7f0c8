//! OpenAI chat completions: relay, decoder, encoder, and requests both ways.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answer_content;
mod answers;
mod custom;
mod events;
mod foreign;
mod forward;
mod reading;
mod recorded;
mod rules;
mod strict;
mod thoughts;

pub use rules::assert_stream_rules;

use bytes::Bytes;
use canon::{Error, Event, Progress};
use serde_json::Value;
use testkit::notes::Notes;
use wire::protocols::openai_chat::{RelayParts, relay};
use wire::{AnswerForm, DecoderContext, Protocol};

/// The same notes for every answer; the ids of tool calls count up.
pub fn notes() -> Notes {
    Notes { calls: Some(Default::default()), ..Notes::default() }
}

fn form(stream: bool) -> AnswerForm {
    AnswerForm { stream, include_usage: stream, ..AnswerForm::default() }
}

/// The caller's answer for these pieces and the progress record; or the error and the output before it.
fn relayed<'a>(
    form: AnswerForm,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<(String, Progress), (Error, String)> {
    let mut relay = relay(RelayParts {
        form,
        annotator: Box::new(notes()),
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

/// The events written as an answer.
fn encoded(form: &AnswerForm, events: &[Event]) -> String {
    let dialect = wire::dialect(Protocol::OpenaiChat).unwrap();
    let mut encoder = dialect.encoder(form, Box::new(notes()));
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
