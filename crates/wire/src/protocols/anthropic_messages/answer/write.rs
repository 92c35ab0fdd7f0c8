//! Writes answers for callers of this protocol, streamed or whole.
//!
//! Blocks of a stream come one after the other: each is closed before the next begins. Providers of other
//! protocols may interleave the fragments of several tool calls; early fragments wait until the current call
//! is complete.

use std::collections::{BTreeMap, HashMap, VecDeque};

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};
use serde::Serialize;
use serde_json::{Value, json};

use super::super::REASONING_FORMAT;
use super::super::errors;
use super::read::finish_reason;
use crate::json::{Extent, ValueHash, push_array, push_compact, push_key, push_text, room};
use crate::{AnswerForm, Encoder};

/// An encoder for the requested form.
pub(crate) fn encoder(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
    let facts = Facts::new(form, annotator);
    if form.stream {
        Box::new(StreamEncoder {
            facts,
            begun: false,
            next: 0,
            open: None,
            waiting: VecDeque::new(),
            early: BTreeMap::new(),
        })
    } else {
        Box::new(WholeEncoder { facts, blocks: Vec::new(), calls: HashMap::new(), last_text: None })
    }
}

/// The facts that both forms need.
struct Facts {
    annotator: Box<dyn Annotator>,
    exclude_reasoning: bool,
    id: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    /// The service tier, in canonical terms.
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

    /// Takes events without content and returns the others. There is one answer only: further choices are
    /// never requested.
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

    /// The provider's own id if it looks like one of this API: clients distinguish kinds of ids by their
    /// prefix.
    fn id(&self) -> &str {
        let own = self.id.as_deref().filter(|id| id.starts_with("msg_"));
        own.unwrap_or_else(|| self.annotator.answer_id())
    }

    /// The beginning of the message.
    fn message(&self) -> Value {
        json!({
            "id": self.id(),
            "type": "message",
            "role": "assistant",
            "model": self.model.as_deref().unwrap_or_else(|| self.annotator.model()),
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": self.usage(),
        })
    }

    /// Appends the whole message.
    fn write_message(&self, content: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        out.push(b'{');
        push_text(out, "id", self.id());
        push_text(out, "type", "message");
        push_text(out, "role", "assistant");
        push_text(out, "model", self.model.as_deref().unwrap_or_else(|| self.annotator.model()));
        push_key(out, "content");
        content(out);
        push_text(out, "stop_reason", self.stop_reason());
        push_key(out, "stop_sequence");
        out.extend_from_slice(b"null");
        push_key(out, "usage");
        append_json(out, &self.usage());
        out.push(b'}');
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

    /// The provider's own stop reason if this protocol has it with the same meaning.
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

    /// Appends the gateway's object to an otherwise complete object.
    fn add_member(&self, out: &mut Vec<u8>) {
        if out.pop() == Some(b'}') {
            let facts = AnswerFacts { underlying_model: self.model.as_deref(), usage: self.usage.as_ref() };
            self.annotator.write_member_with_cost(facts, self.tier.as_deref(), out);
            out.push(b'}');
        }
    }
}

/// Counts in this protocol's fields: `input_tokens` excludes tokens read from and written to the cache.
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

/// A proof of thinking. A proof of another family is prefixed with the family, so that it finds its way back.
fn signed(proof: &str, format: &str) -> String {
    match format {
        REASONING_FORMAT => proof.to_owned(),
        foreign => format!("{foreign}:{proof}"),
    }
}

/// A citation in this format, from OpenAI's.
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

/// Answers have no image blocks: an image is written as Markdown.
fn picture(mime: &str, data: &str) -> String {
    format!("![image](data:{mime};base64,{data})")
}

/// Writes a stream.
struct StreamEncoder {
    facts: Facts,
    begun: bool,
    /// The index of the next block.
    next: u64,
    open: Option<OpenBlock>,
    /// Events that arrived while a tool call was incomplete, except arguments.
    waiting: VecDeque<Event>,
    /// Arguments of waiting calls, by index.
    early: BTreeMap<u32, String>,
}

/// The current block.
enum OpenBlock {
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
    /// The message begins with its first content, when the counts of the prompt may already be known.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            self.begun = true;
            let message = self.facts.message();
            write(out, "message_start", &json!({ "type": "message_start", "message": message }));
        }
    }

    /// While a tool call is incomplete, everything but its arguments waits.
    fn take(&mut self, event: Event, out: &mut Vec<u8>) {
        match (event, self.incomplete()) {
            (Event::ToolCallArguments { index, fragment, .. }, Some(open)) if open != index => {
                self.early.entry(index).or_default().push_str(&fragment);
            }
            (Event::ToolCallArguments { index, fragment, .. }, _) => {
                self.arguments(index, &fragment, out);
                self.replay(out);
            }
            (event, Some(_)) => self.waiting.push_back(event),
            (event, None) => {
                self.write(event, out);
                self.replay(out);
            }
        }
    }

    /// The incomplete tool call.
    fn incomplete(&self) -> Option<u32> {
        match &self.open {
            Some(OpenBlock::Tool { index, extent }) if !extent.is_complete() => Some(*index),
            _ => None,
        }
    }

    /// Writes the waiting events in order, until a tool call is incomplete again.
    fn replay(&mut self, out: &mut Vec<u8>) {
        while self.incomplete().is_none()
            && let Some(event) = self.waiting.pop_front()
        {
            self.write(event, out);
        }
    }

    fn write(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Text { text, .. } | Event::Refusal { text, .. } => self.text(&text, out),
            Event::Image { mime, data, .. } => self.text(&picture(&mime, &data), out),
            Event::Reasoning { block, detail, format, .. } => self.thought(block, detail, format, out),
            Event::ToolCallStart { index, id, name, .. } => {
                self.tool(index, &id, &name, out);
                if let Some(early) = self.early.remove(&index) {
                    self.arguments(index, &early, out);
                }
            }
            Event::Annotation { annotation, .. } => self.annotation(&annotation, out),
            _ => {}
        }
    }

    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        if !matches!(self.open, Some(OpenBlock::Text)) {
            self.open(OpenBlock::Text, &json!({ "type": "text", "text": "" }), out);
        }
        self.delta(&TextDelta { kind: "text_delta", text }, out);
    }

    fn thought(&mut self, block: u32, detail: ReasoningDetail, format: &str, out: &mut Vec<u8>) {
        if let ReasoningDetail::Encrypted(data) = detail {
            let redacted = json!({ "type": "redacted_thinking", "data": signed(&data, format) });
            self.open(OpenBlock::Thinking { block: u32::MAX }, &redacted, out);
            self.close(out);
            return;
        }
        if !matches!(self.open, Some(OpenBlock::Thinking { block: open }) if open == block) {
            let empty = json!({ "type": "thinking", "thinking": "", "signature": "" });
            self.open(OpenBlock::Thinking { block }, &empty, out);
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
        self.open(OpenBlock::Tool { index, extent: Extent::default() }, &block, out);
    }

    fn arguments(&mut self, index: u32, fragment: &str, out: &mut Vec<u8>) {
        // After a call is complete, only white space follows.
        let Some(OpenBlock::Tool { index: open, extent }) = &mut self.open else { return };
        if *open != index {
            return;
        }
        extent.push(fragment);
        self.delta(&json!({ "type": "input_json_delta", "partial_json": fragment }), out);
    }

    fn annotation(&mut self, annotation: &Json, out: &mut Vec<u8>) {
        let Some(citation) = citation(annotation) else { return };
        if !matches!(self.open, Some(OpenBlock::Text)) {
            self.open(OpenBlock::Text, &json!({ "type": "text", "text": "" }), out);
        }
        self.delta(&json!({ "type": "citations_delta", "citation": citation }), out);
    }

    fn open(&mut self, open: OpenBlock, block: &Value, out: &mut Vec<u8>) {
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

/// Serialising strings, numbers and maps of strings cannot fail.
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
    /// The block of each call.
    calls: HashMap<u32, usize>,
    /// The last block of text.
    last_text: Option<usize>,
}

enum Block {
    Text {
        text: String,
        /// JSON, separated by commas.
        citations: Vec<u8>,
    },
    Thinking {
        block: u32,
        text: String,
        proof: String,
    },
    Redacted(String),
    Tool {
        id: String,
        name: String,
        arguments: String,
    },
}

impl Encoder for WholeEncoder {
    fn push(&mut self, event: Event, _out: &mut Vec<u8>) {
        let Some(event) = self.facts.take(event) else { return };
        match event {
            Event::Text { text, .. } | Event::Refusal { text, .. } => self.text(&text),
            Event::Image { mime, data, .. } => self.text(&picture(&mime, &data)),
            Event::Reasoning { block, detail, format, .. } => self.thought(block, detail, format),
            Event::ToolCallStart { index, id, name, .. } => {
                self.calls.insert(index, self.blocks.len());
                room::push(&mut self.blocks, Block::Tool { id, name, arguments: String::new() });
            }
            Event::ToolCallArguments { index, fragment, .. } => self.arguments(index, &fragment),
            Event::Annotation { annotation, .. } => self.annotation(&annotation),
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        let blocks = std::mem::take(&mut self.blocks);
        let room: usize = blocks.iter().map(Block::room).sum();
        out.reserve_exact(room + room / 16 + AROUND);
        // Each block is freed when it is written.
        self.facts.write_message(|out| push_array(out, blocks, |block, out| block.write(out)), out);
        self.facts.add_member(out);
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}

impl WholeEncoder {
    fn text(&mut self, more: &str) {
        match self.blocks.last_mut() {
            Some(Block::Text { text, .. }) => text.push_str(more),
            _ => {
                self.last_text = Some(self.blocks.len());
                room::push(&mut self.blocks, Block::Text { text: more.to_owned(), citations: Vec::new() });
            }
        }
    }

    fn thought(&mut self, number: u32, detail: ReasoningDetail, format: &str) {
        if let ReasoningDetail::Encrypted(data) = detail {
            room::push(&mut self.blocks, Block::Redacted(signed(&data, format)));
            return;
        }
        if !matches!(self.blocks.last(), Some(Block::Thinking { block, .. }) if *block == number) {
            let thinking = Block::Thinking { block: number, text: String::new(), proof: String::new() };
            room::push(&mut self.blocks, thinking);
        }
        let Some(Block::Thinking { text, proof, .. }) = self.blocks.last_mut() else { return };
        match detail {
            ReasoningDetail::Text(more) => text.push_str(&more),
            ReasoningDetail::Signature(more) => proof.push_str(&signed(&more, format)),
            ReasoningDetail::Encrypted(_) => {}
        }
    }

    fn arguments(&mut self, number: u32, fragment: &str) {
        let block = self.calls.get(&number).and_then(|place| self.blocks.get_mut(*place));
        if let Some(Block::Tool { arguments, .. }) = block {
            arguments.push_str(fragment);
        }
    }

    fn annotation(&mut self, annotation: &Json) {
        let Some(citation) = citation(annotation) else { return };
        let block = self.last_text.and_then(|place| self.blocks.get_mut(place));
        if let Some(Block::Text { citations, .. }) = block {
            if !citations.is_empty() {
                citations.push(b',');
            }
            append_json(citations, &citation);
        }
    }
}

/// Approximate length of the text around the blocks.
const AROUND: usize = 1024;
/// The same around the texts of a block.
const AROUND_BLOCK: usize = 64;

impl Block {
    /// Approximate length of the output.
    fn room(&self) -> usize {
        let texts = match self {
            Self::Text { text, citations } => text.len() + citations.len(),
            Self::Thinking { text, proof, .. } => text.len() + proof.len(),
            Self::Redacted(data) => data.len(),
            Self::Tool { id, name, arguments } => id.len() + name.len() + arguments.len(),
        };
        AROUND_BLOCK + texts
    }

    fn write(self, out: &mut Vec<u8>) {
        out.push(b'{');
        match self {
            Self::Text { text, citations } => {
                push_text(out, "type", "text");
                push_text(out, "text", &text);
                if !citations.is_empty() {
                    push_key(out, "citations");
                    out.push(b'[');
                    out.extend_from_slice(&citations);
                    out.push(b']');
                }
            }
            Self::Thinking { text, proof, .. } => {
                push_text(out, "type", "thinking");
                push_text(out, "thinking", &text);
                push_text(out, "signature", &proof);
            }
            Self::Redacted(data) => {
                push_text(out, "type", "redacted_thinking");
                push_text(out, "data", &data);
            }
            Self::Tool { id, name, arguments } => {
                push_text(out, "type", "tool_use");
                push_text(out, "id", &id);
                push_text(out, "name", &name);
                push_key(out, "input");
                push_input(&arguments, out);
            }
        }
        out.push(b'}');
    }
}

/// Appends the input, which is an object; other JSON is wrapped into one.
fn push_input(arguments: &str, out: &mut Vec<u8>) {
    if arguments.trim().is_empty() {
        return out.extend_from_slice(b"{}");
    }
    if arguments.trim_start().starts_with('{') && serde_json::from_str::<ValueHash>(arguments).is_ok() {
        return push_compact(out, arguments);
    }
    out.push(b'{');
    push_text(out, "arguments", arguments);
    out.push(b'}');
}
