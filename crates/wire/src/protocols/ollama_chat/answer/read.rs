//! Reads Ollama answers: one document, or one document per line.

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry, Usage};
use serde::Deserialize;

use crate::framing::json_lines::JsonLines;
use crate::protocols::counts::count;
use crate::protocols::errors::{classify, without_secrets};
use crate::protocols::function_tools::unwrap_free_text;
use crate::protocols::repair::{self, valid_json};
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Decoder, DecoderContext, EventSink};

/// Reads a whole answer.
pub(crate) fn whole(decoding: &DecoderContext) -> Box<dyn Decoder> {
    Box::new(WholeDecoder::new(Answer::new(decoding)))
}

impl WholeReader for Answer {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        self.document(&body, events)?;
        self.end()
    }
}

pub(crate) struct StreamDecoder {
    lines: JsonLines,
    answer: Answer,
}

impl StreamDecoder {
    pub fn new(decoding: &DecoderContext) -> Self {
        Self { lines: JsonLines::default(), answer: Answer::new(decoding) }
    }
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.lines.push(bytes, |line| answer.document(line, events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.lines.finish(|line| answer.document(line, events))?;
        answer.end()
    }
}

struct Answer {
    decoding: DecoderContext,
    is_started: bool,
    is_done: bool,
    calls: u32,
}

impl Answer {
    fn new(decoding: &DecoderContext) -> Self {
        Self { decoding: decoding.clone(), is_started: false, is_done: false, calls: 0 }
    }

    fn document(&mut self, text: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let document: Document = serde_json::from_slice(&valid_json(text))
            .map_err(|_| broken("The provider's answer cannot be parsed."))?;
        if let Some(words) = document.error {
            return Err(failed(&words));
        }
        if !self.is_started {
            self.is_started = true;
            events.push(Event::Start { id: None, model: document.model.clone(), created: None });
        }
        let message = document.message.unwrap_or_default();
        if let Some(text) = message.thinking.filter(|text| !text.is_empty()) {
            let detail = ReasoningDetail::Text(text);
            events.push(Event::Reasoning { choice: 0, block: 0, detail, format: "unknown" });
        }
        if let Some(text) = message.content.filter(|text| !text.is_empty()) {
            events.push(Event::Text { choice: 0, text });
        }
        for call in message.tool_calls.unwrap_or_default() {
            self.call(call, events);
        }
        if document.done == Some(true) && !self.is_done {
            self.is_done = true;
            self.done(document.done_reason, document.prompt_eval_count, document.eval_count, events);
        }
        Ok(())
    }

    /// Calls come whole; only newer versions send ids.
    fn call(&mut self, call: Call, events: &mut dyn EventSink) {
        let function = call.function.unwrap_or_default();
        let name = self.decoding.tool_name(&function.name.unwrap_or_default()).to_owned();
        let arguments = function.arguments.map(|given| repair::arguments(given.as_str()).into_owned());
        let mut fragment = arguments.filter(|text| !text.is_empty()).unwrap_or_else(|| "{}".to_owned());
        let custom = self.decoding.custom_tools.contains(&name);
        if custom {
            fragment = unwrap_free_text(fragment);
        }
        let index = self.calls;
        self.calls += 1;
        let id = call.id.unwrap_or_default();
        events.push(Event::ToolCallStart { choice: 0, index, id, name, signature: None, custom });
        events.push(Event::ToolCallArguments { choice: 0, index, fragment });
    }

    fn done(
        &mut self,
        native: Option<String>,
        prompt: Option<u64>,
        produced: Option<u64>,
        events: &mut dyn EventSink,
    ) {
        let reason = match native.as_deref() {
            Some("length") => FinishReason::Length,
            _ if self.calls > 0 => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        events.push(Event::Finish { choice: 0, reason, native });
        if prompt.is_some() || produced.is_some() {
            let (input, output) = (prompt.unwrap_or_default(), produced.unwrap_or_default());
            events.push(Event::Usage(Usage { input, output, ..Usage::default() }));
        }
    }

    fn end(&self) -> Result<()> {
        if self.is_done {
            Ok(())
        } else {
            Err(broken("The provider's stream ended before the answer was complete."))
        }
    }
}

fn failed(words: &str) -> Error {
    let (kind, retry) = classify(200, None, words);
    Error::upstream(kind, retry, without_secrets(words))
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

// The structures that are read. Every field is optional: missing and new ones must not fail an answer.

#[derive(Deserialize)]
struct Document {
    model: Option<String>,
    message: Option<Message>,
    done: Option<bool>,
    done_reason: Option<String>,
    #[serde(default, deserialize_with = "count")]
    prompt_eval_count: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    eval_count: Option<u64>,
    error: Option<String>,
}

#[derive(Default, Deserialize)]
struct Message {
    content: Option<String>,
    thinking: Option<String>,
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Option<CallFunction>,
}

#[derive(Default, Deserialize)]
struct CallFunction {
    name: Option<String>,
    arguments: Option<Json>,
}
