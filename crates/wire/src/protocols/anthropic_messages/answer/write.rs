//! Writes answers for callers of this protocol, streamed or whole.
//!
//! Blocks of a stream come one after the other: each is closed before the next begins. Providers of other protocols may
//! mix the fragments of several tool calls; what comes too early waits until the call in progress is complete.

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::REASONING_FORMAT;
use super::super::errors;
use super::read::finish_reason;
use crate::json::Extent;
use crate::{AnswerForm, Encoder};

/// An encoder for the asked form.
pub(crate) fn encoder(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
    let facts = Facts::new(form, annotator);
    match form.stream {
        true => Box::new(StreamEncoder { facts, begun: false, next: 0, open: None, waiting: Vec::new() }),
        false => Box::new(WholeEncoder { facts, blocks: Vec::new() }),
    }
}

/// What both forms keep of an answer.
struct Facts {
    annotator: Box<dyn Annotator>,
    exclude_reasoning: bool,
    id: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    /// The service tier, in canonical words.
    tier: Option<String>,
    finish: Option<(FinishReason, Option<String>)>,
    tool_called: bool,
}

impl Facts {
    fn new(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Self {
        Self {
            annotator,
            exclude_reasoning: form.exclude_reasoning,
            id: None,
            model: None,
            usage: None,
            tier: None,
            finish: None,
            tool_called: false,
        }
    }

    /// Takes what is not content; gives back what is. There is one answer only: other choices are not asked for.
    fn take(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Start { id, model, .. } => {
                self.id = id;
                self.model = model;
            }
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish { choice: 0, reason, native } => self.finish = Some((reason, native)),
            Event::Field { name: "service_tier", value } => {
                self.tier = value.read::<String>().ok();
            }
            Event::Reasoning { detail: ReasoningDetail::Text(_), .. } if self.exclude_reasoning => {}
            Event::ToolCallStart { choice: 0, .. } => {
                self.tool_called = true;
                return Some(event);
            }
            Event::Text { choice: 0, .. }
            | Event::Refusal { choice: 0, .. }
            | Event::Reasoning { choice: 0, .. }
            | Event::ToolCallArguments { choice: 0, .. }
            | Event::Image { choice: 0, .. }
            | Event::Annotation { choice: 0, .. } => return Some(event),
            _ => {}
        }
        None
    }

    /// The provider's own id where it looks like one of this API's: clients tell kinds of ids apart by how they begin.
    fn id(&self) -> &str {
        let own = self.id.as_deref().filter(|id| id.starts_with("msg_"));
        own.unwrap_or_else(|| self.annotator.answer_id())
    }

    /// The message without its content.
    fn message(&self, content: Vec<Value>, stop_reason: Option<&str>) -> Value {
        json!({
            "id": self.id(),
            "type": "message",
            "role": "assistant",
            "model": self.model.as_deref().unwrap_or_else(|| self.annotator.model()),
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": null,
            "usage": self.usage(),
        })
    }

    fn usage(&self) -> Value {
        let mut value = counts(&self.usage.unwrap_or_default());
        match self.tier.as_deref() {
            Some("default") => value["service_tier"] = json!("standard"),
            Some("priority") => value["service_tier"] = json!("priority"),
            _ => {}
        }
        value
    }

    /// The provider's own word where it is one of this protocol and means the same.
    fn stop_reason(&self) -> &str {
        const NATIVE: [&str; 8] = [
            "end_turn",
            "max_tokens",
            "stop_sequence",
            "tool_use",
            "pause_turn",
            "compaction",
            "refusal",
            "model_context_window_exceeded",
        ];
        let inferred = if self.tool_called { FinishReason::ToolCalls } else { FinishReason::Stop };
        let (reason, native) =
            self.finish.as_ref().map_or((inferred, None), |(reason, native)| (*reason, native.as_deref()));
        if let Some(native) = native
            && NATIVE.contains(&native)
            && finish_reason(native, native == "tool_use") == reason
        {
            return native;
        }
        match reason {
            FinishReason::Stop => "end_turn",
            FinishReason::Length => "max_tokens",
            FinishReason::ToolCalls => "tool_use",
            FinishReason::ContentFilter => "refusal",
        }
    }

    /// Appends what the gateway says to an object that is complete otherwise.
    fn add_member(&self, out: &mut Vec<u8>) {
        if out.pop() == Some(b'}') {
            let facts = AnswerFacts { underlying_model: self.model.as_deref(), usage: self.usage.as_ref() };
            self.annotator.write_member_with_cost(facts, self.tier.as_deref(), out);
            out.push(b'}');
        }
    }
}

/// Counts in this protocol's words: `input_tokens` is without what the cache gave or took.
pub(crate) fn counts(usage: &Usage) -> Value {
    let mut value = json!({
        "input_tokens": usage.input + usage.audio_input,
        "cache_creation_input_tokens": usage.cache_writes(),
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.completion_tokens(),
    });
    if usage.reasoning > 0 {
        value["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning });
    }
    if usage.web_searches > 0 {
        value["server_tool_use"] =
            json!({ "web_search_requests": usage.web_searches, "web_fetch_requests": 0 });
    }
    value
}

/// A proof of thinking. Those of other families say whose they are, so that they find back there.
fn signed(proof: &str, format: &str) -> String {
    match format {
        REASONING_FORMAT => proof.to_owned(),
        foreign => format!("{foreign}:{proof}"),
    }
}

/// A citation in this protocol's words, out of OpenAI's.
fn citation(annotation: &Json) -> Option<Value> {
    let value = annotation.to_value().ok()?;
    let cited = value.get("url_citation")?;
    Some(json!({
        "type": "web_search_result_location",
        "url": cited.get("url")?,
        "title": cited.get("title"),
        "cited_text": "",
        "encrypted_index": "",
    }))
}

/// Answers have no picture blocks: a picture is shown as Markdown does it.
fn picture(mime: &str, data: &str) -> String {
    format!("![image](data:{mime};base64,{data})")
}

/// Writes a stream.
struct StreamEncoder {
    facts: Facts,
    begun: bool,
    /// The number of the next block.
    next: u64,
    open: Option<Open>,
    /// Events that came while a tool call was incomplete.
    waiting: Vec<Event>,
}

/// The block in progress.
enum Open {
    Text,
    Thinking { block: u32 },
    Tool { index: u32, extent: Extent },
}

impl Encoder for StreamEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        let Some(event) = self.facts.take(event) else { return };
        self.begin(out);
        self.take(event, out);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close(out);
        while !self.waiting.is_empty() {
            self.replay(out);
            self.close(out);
        }
        let delta = json!({
            "type": "message_delta",
            "delta": { "stop_reason": self.facts.stop_reason(), "stop_sequence": null },
            "usage": self.facts.usage(),
        });
        write(out, "message_delta", &delta);
        out.extend_from_slice(b"event: message_stop\ndata: {\"type\":\"message_stop\"}");
        self.facts.add_member(out);
        out.extend_from_slice(b"\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write(out, "error", &errors::to_json(error, None));
    }
}

impl StreamEncoder {
    /// The message begins with its first content, when the counts of the prompt may be known already.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            let message = self.facts.message(Vec::new(), None);
            write(out, "message_start", &json!({ "type": "message_start", "message": message }));
        }
    }

    fn take(&mut self, event: Event, out: &mut Vec<u8>) {
        if self.must_wait(&event) {
            self.waiting.push(event);
            return;
        }
        match event {
            Event::Text { text, .. } | Event::Refusal { text, .. } => self.text(&text, out),
            Event::Image { mime, data, .. } => self.text(&picture(&mime, &data), out),
            Event::Reasoning { block, detail, format, .. } => self.thought(block, detail, format, out),
            Event::ToolCallStart { index, id, name, .. } => self.tool(index, &id, &name, out),
            Event::ToolCallArguments { index, fragment, .. } => self.arguments(index, &fragment, out),
            Event::Annotation { annotation, .. } => self.annotation(&annotation, out),
            _ => {}
        }
    }

    /// Everything else waits until the tool call in progress is complete.
    fn must_wait(&self, event: &Event) -> bool {
        let Some(Open::Tool { index, extent }) = &self.open else { return false };
        if extent.is_complete() {
            return false;
        }
        !matches!(event, Event::ToolCallArguments { index: own, .. } if own == index)
    }

    /// Takes what waited, in order. What has to wait again does.
    fn replay(&mut self, out: &mut Vec<u8>) {
        for event in std::mem::take(&mut self.waiting) {
            self.take(event, out);
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(Open::Text)) {
            self.open(Open::Text, &json!({ "type": "text", "text": "" }), out);
        }
        self.delta(&TextDelta { kind: "text_delta", text }, out);
    }

    fn thought(&mut self, block: u32, detail: ReasoningDetail, format: &str, out: &mut Vec<u8>) {
        if let ReasoningDetail::Encrypted(data) = detail {
            let redacted = json!({ "type": "redacted_thinking", "data": signed(&data, format) });
            self.open(Open::Thinking { block: u32::MAX }, &redacted, out);
            self.close(out);
            return;
        }
        if !matches!(self.open, Some(Open::Thinking { block: open }) if open == block) {
            let empty = json!({ "type": "thinking", "thinking": "", "signature": "" });
            self.open(Open::Thinking { block }, &empty, out);
        }
        match detail {
            ReasoningDetail::Signature(proof) => {
                self.delta(&json!({ "type": "signature_delta", "signature": signed(&proof, format) }), out);
            }
            ReasoningDetail::Text(text) => {
                self.delta(&json!({ "type": "thinking_delta", "thinking": text }), out)
            }
            ReasoningDetail::Encrypted(_) => {}
        }
    }

    fn tool(&mut self, index: u32, id: &str, name: &str, out: &mut Vec<u8>) {
        let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
        self.open(Open::Tool { index, extent: Extent::default() }, &block, out);
    }

    fn arguments(&mut self, index: u32, fragment: &str, out: &mut Vec<u8>) {
        // What comes after a call is complete is white space.
        let Some(Open::Tool { index: open, extent }) = &mut self.open else { return };
        if *open != index {
            return;
        }
        extent.push(fragment);
        let complete = extent.is_complete();
        self.delta(&json!({ "type": "input_json_delta", "partial_json": fragment }), out);
        if complete && !self.waiting.is_empty() {
            self.replay(out);
        }
    }

    fn annotation(&mut self, annotation: &Json, out: &mut Vec<u8>) {
        let Some(citation) = citation(annotation) else { return };
        if !matches!(self.open, Some(Open::Text)) {
            self.open(Open::Text, &json!({ "type": "text", "text": "" }), out);
        }
        self.delta(&json!({ "type": "citations_delta", "citation": citation }), out);
    }

    fn open(&mut self, open: Open, block: &Value, out: &mut Vec<u8>) {
        self.close(out);
        let event = json!({ "type": "content_block_start", "index": self.next, "content_block": block });
        write(out, "content_block_start", &event);
        self.open = Some(open);
    }

    fn delta<T: Serialize>(&mut self, delta: &T, out: &mut Vec<u8>) {
        let event = BlockDelta { kind: "content_block_delta", index: self.next, delta };
        write(out, "content_block_delta", &event);
    }

    fn close(&mut self, out: &mut Vec<u8>) {
        if self.open.take().is_some() {
            write(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": self.next }));
            self.next += 1;
        }
    }
}

#[derive(Serialize)]
struct BlockDelta<'a, T> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: u64,
    delta: &'a T,
}

#[derive(Serialize)]
struct TextDelta<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: &'a str,
}

pub(crate) fn write<T: Serialize>(out: &mut Vec<u8>, event: &str, data: &T) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(event.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    append_json(out, data);
    out.extend_from_slice(b"\n\n");
}

/// Strings, numbers and maps of strings always can be written.
fn append_json<T: Serialize>(out: &mut Vec<u8>, data: &T) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, data).is_err() {
        out.truncate(start);
        out.extend_from_slice(b"{}");
    }
}

/// Writes a whole answer.
struct WholeEncoder {
    facts: Facts,
    blocks: Vec<Block>,
}

enum Block {
    Text { text: String, citations: Vec<Value> },
    Thinking { block: u32, text: String, proof: String },
    Redacted(String),
    Tool { index: u32, id: String, name: String, arguments: String },
}

impl Encoder for WholeEncoder {
    fn push(&mut self, event: Event, _out: &mut Vec<u8>) {
        let Some(event) = self.facts.take(event) else { return };
        match event {
            Event::Text { text, .. } | Event::Refusal { text, .. } => self.text(&text),
            Event::Image { mime, data, .. } => self.text(&picture(&mime, &data)),
            Event::Reasoning { block, detail, format, .. } => self.thought(block, detail, format),
            Event::ToolCallStart { index, id, name, .. } => {
                self.blocks.push(Block::Tool { index, id, name, arguments: String::new() });
            }
            Event::ToolCallArguments { index, fragment, .. } => self.arguments(index, &fragment),
            Event::Annotation { annotation, .. } => self.annotation(&annotation),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let blocks = std::mem::take(&mut self.blocks).into_iter().map(Block::json).collect();
        append_json(out, &self.facts.message(blocks, Some(self.facts.stop_reason())));
        self.facts.add_member(out);
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}

impl WholeEncoder {
    fn text(&mut self, more: &str) {
        match self.blocks.last_mut() {
            Some(Block::Text { text, .. }) => text.push_str(more),
            _ => self.blocks.push(Block::Text { text: more.to_owned(), citations: Vec::new() }),
        }
    }

    fn thought(&mut self, number: u32, detail: ReasoningDetail, format: &str) {
        if let ReasoningDetail::Encrypted(data) = detail {
            self.blocks.push(Block::Redacted(signed(&data, format)));
            return;
        }
        if !matches!(self.blocks.last(), Some(Block::Thinking { block, .. }) if *block == number) {
            self.blocks.push(Block::Thinking { block: number, text: String::new(), proof: String::new() });
        }
        let Some(Block::Thinking { text, proof, .. }) = self.blocks.last_mut() else { return };
        match detail {
            ReasoningDetail::Text(more) => text.push_str(&more),
            ReasoningDetail::Signature(more) => proof.push_str(&signed(&more, format)),
            ReasoningDetail::Encrypted(_) => {}
        }
    }

    fn arguments(&mut self, number: u32, fragment: &str) {
        let tool = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Tool { index, arguments, .. } if *index == number => Some(arguments),
            _ => None,
        });
        if let Some(arguments) = tool {
            arguments.push_str(fragment);
        }
    }

    fn annotation(&mut self, annotation: &Json) {
        let Some(citation) = citation(annotation) else { return };
        let text = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Text { citations, .. } => Some(citations),
            _ => None,
        });
        if let Some(citations) = text {
            citations.push(citation);
        }
    }
}

impl Block {
    fn json(self) -> Value {
        match self {
            Self::Text { text, citations } if citations.is_empty() => json!({ "type": "text", "text": text }),
            Self::Text { text, citations } => json!({ "type": "text", "text": text, "citations": citations }),
            Self::Thinking { text, proof, .. } => {
                json!({ "type": "thinking", "thinking": text, "signature": proof })
            }
            Self::Redacted(data) => json!({ "type": "redacted_thinking", "data": data }),
            Self::Tool { id, name, arguments, .. } => {
                json!({ "type": "tool_use", "id": id, "name": name, "input": input_of(&arguments) })
            }
        }
    }
}

/// The input is an object: what the model wrote otherwise is wrapped into one.
fn input_of(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => Value::Object(input),
        _ => json!({ "arguments": arguments }),
    }
}
