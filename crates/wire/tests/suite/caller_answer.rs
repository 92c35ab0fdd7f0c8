//! The content of an answer, assembled from its events; and the ways to cut its bytes.

use std::collections::BTreeMap;

use canon::{Event, FinishReason, ReasoningDetail, Result, Usage};
use serde_json::Value;
use testkit::split::pieces;
use wire::{DecoderContext, Protocol, adapter};

/// One tool call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub arguments: String,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallerAnswer {
    pub id: Option<String>,
    pub model: Option<String>,
    pub text: String,
    /// By block: text, signature, redacted content.
    pub thoughts: BTreeMap<u32, (String, String, String)>,
    pub calls: Vec<Call>,
    pub annotations: Vec<Value>,
    pub images: Vec<(String, String)>,
    /// Log probabilities, token by token.
    pub logprobs: Vec<Value>,
    pub usage: Option<Usage>,
    pub finish: Option<(FinishReason, Option<String>)>,
    pub fields: Vec<(String, String)>,
}

impl CallerAnswer {
    /// All thinking, in order.
    pub fn reasoning(&self) -> String {
        self.thoughts.values().map(|(text, ..)| text.as_str()).collect()
    }

    /// Name and arguments of each call.
    pub fn parsed_calls(&self) -> Vec<(String, Value)> {
        let parse = |call: &Call| (call.name.clone(), serde_json::from_str(&call.arguments).unwrap());
        self.calls.iter().map(parse).collect()
    }

    /// The content of these events.
    pub fn of(events: impl IntoIterator<Item = Event>) -> Self {
        let mut heard = Self::default();
        events.into_iter().for_each(|event| heard.take(event));
        heard
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Start { id, model, .. } => (self.id, self.model) = (id, model),
            Event::Text { text, .. } | Event::Refusal { text, .. } => self.text += &text,
            Event::Reasoning { block, detail, .. } => {
                let thought = self.thoughts.entry(block).or_default();
                match detail {
                    ReasoningDetail::Text(text) => thought.0 += &text,
                    ReasoningDetail::Signature(text) => thought.1 += &text,
                    ReasoningDetail::Encrypted(text) => thought.2 += &text,
                }
            }
            Event::ToolCallStart { index, id, name, .. } => {
                assert_eq!(index as usize, self.calls.len(), "calls are counted without gaps");
                self.calls.push(Call { id, name, arguments: String::new() });
            }
            Event::ToolCallArguments { index, fragment, .. } => {
                self.calls[index as usize].arguments += &fragment;
            }
            Event::Annotation { annotation, .. } => self.annotations.push(annotation.to_value().unwrap()),
            Event::Image { mime, data, .. } => self.images.push((mime, data)),
            Event::Logprobs { logprobs, .. } => {
                let entries = logprobs.to_value().unwrap();
                self.logprobs.extend(entries["content"].as_array().into_iter().flatten().cloned());
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish { reason, native, .. } => {
                assert_eq!(self.finish, None, "a choice ends once");
                self.finish = Some((reason, native));
            }
            Event::Field { name, value } => {
                self.fields.push((name.to_owned(), value.as_str().to_owned()));
            }
        }
    }
}

/// Decodes an answer that arrives in these pieces.
pub fn read_answer<'a>(
    protocol: Protocol,
    streaming: bool,
    decoding: &DecoderContext,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<CallerAnswer> {
    let mut decoder = adapter(protocol).decoder(streaming, decoding);
    let mut events = Vec::new();
    for piece in pieces {
        decoder.push(piece, &mut events)?;
    }
    decoder.finish(&mut events)?;
    assert!(matches!(events.first(), Some(Event::Start { .. })), "an answer begins with its start");
    let starts = events.iter().filter(|event| matches!(event, Event::Start { .. })).count();
    assert_eq!(starts, 1, "an answer starts once");
    Ok(CallerAnswer::of(events))
}

/// Decodes an answer whole, byte by byte and in several random cuts, which must all give the same.
pub fn read_at_every_split(
    protocol: Protocol,
    streaming: bool,
    decoding: &DecoderContext,
    body: &[u8],
) -> Result<CallerAnswer> {
    let whole = read_answer(protocol, streaming, decoding, [body]);
    assert_eq!(read_answer(protocol, streaming, decoding, body.chunks(1)), whole, "byte by byte");
    for seed in 0..8 {
        let cut = pieces(body, 1 << (seed % 4 * 3 + 1), seed);
        assert_eq!(read_answer(protocol, streaming, decoding, cut), whole, "pieces of seed {seed}");
    }
    whole
}
