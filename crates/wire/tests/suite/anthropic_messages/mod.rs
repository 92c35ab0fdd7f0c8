//! Anthropic's Messages API.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod answers;
mod framed;
mod recorded;
mod requests;
mod round_trip;

use canon::{Error, Event, ModelFacts, Quirks, Request, Target};
use serde_json::Value;
use testkit::notes::Notes;
use wire::{AnswerForm, DecoderContext, Encoded, Protocol};

fn adapter() -> &'static dyn wire::Adapter {
    wire::adapter(Protocol::AnthropicMessages)
}

fn dialect() -> &'static dyn wire::Dialect {
    wire::dialect(Protocol::AnthropicMessages).unwrap()
}

/// Encodes a request for a model that the catalog does not know.
fn encode(request: &Request, model: &str) -> Result<Encoded, Error> {
    encode_with(request, model, &ModelFacts::default())
}

fn encode_with(request: &Request, model: &str, facts: &ModelFacts) -> Result<Encoded, Error> {
    adapter().encode_request(request, Target { model, facts, quirks: &Quirks::default() })
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

/// Decodes an answer that arrives in these pieces.
fn decode<'a>(
    streaming: bool,
    decoding: &DecoderContext,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Event>, Result<(), Error>) {
    crate::decoding::decode(adapter(), streaming, decoding, pieces)
}

fn notes() -> Notes {
    Notes { answer_id: "msg_ours", created: 0, tool_call_id: "toolu_ours", ..Notes::default() }
}

/// Writes events as an answer.
fn write(stream: bool, events: &[Event]) -> String {
    let form = AnswerForm { stream, ..AnswerForm::default() };
    let mut encoder = dialect().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    for event in events {
        encoder.push(event.clone(), &mut out);
    }
    encoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

/// The data of every event of a stream.
fn documents(stream: &str) -> Vec<Value> {
    stream
        .lines()
        .filter_map(|line| line.strip_prefix("data:"))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// Joins neighbouring pieces of text, so that sequences with the same meaning are equal.
fn joined(events: &[Event]) -> Vec<Event> {
    let mut joined: Vec<Event> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(Event::Text { text, .. }), Event::Text { text: more, .. }) => text.push_str(more),
            (
                Some(Event::ToolCallArguments { index, fragment, .. }),
                Event::ToolCallArguments { index: same, fragment: more, .. },
            ) if index == same => fragment.push_str(more),
            (
                Some(Event::Reasoning { block, detail: canon::ReasoningDetail::Text(text), .. }),
                Event::Reasoning { block: same, detail: canon::ReasoningDetail::Text(more), .. },
            ) if block == same => text.push_str(more),
            _ => joined.push(event.clone()),
        }
    }
    joined
}
