//! Reads Converse answers, whole or as an event stream.

use std::collections::BTreeMap;

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry};
use serde::Deserialize;
use serde_json::json;

use super::super::errors;
use super::super::request::write::messages::CLAUDE_FORMAT;
use super::types::*;
use crate::framing::aws_eventstream::{EventStreamParser, Message};
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
        let body = valid_json(&body);
        let whole: WholeAnswer<'_> = read(&body)?;
        let message = whole
            .output
            .and_then(|output| output.message)
            .ok_or_else(|| broken("The provider's answer holds no message."))?;
        self.start(events);
        for (index, block) in message.content.into_iter().enumerate() {
            self.whole_block(index, read(block.get().as_bytes())?, events)?;
        }
        if let Some(usage) = whole.usage {
            events.push(Event::Usage(usage.disjoint()));
        }
        tier(whole.service_tier, events);
        self.stop(whole.stop_reason.as_deref(), events)
    }
}

/// Reads a stream of binary messages.
pub(crate) struct StreamDecoder {
    parser: EventStreamParser,
    answer: Answer,
}

impl StreamDecoder {
    pub fn new(decoding: &DecoderContext) -> Self {
        Self { parser: EventStreamParser::default(), answer: Answer::new(decoding) }
    }
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.parser.push(bytes, |message| answer.message(&message, events))
    }

    fn finish(&mut self, _events: &mut dyn EventSink) -> Result<()> {
        self.parser.finish()?;
        if self.answer.is_stopped {
            Ok(())
        } else {
            Err(broken("The provider's stream ended before the answer was complete."))
        }
    }
}

/// The state of the answer so far.
struct Answer {
    decoding: DecoderContext,
    is_started: bool,
    is_stopped: bool,
    /// Open blocks by the provider's index.
    blocks: BTreeMap<u64, OpenBlock>,
    /// Calls of the caller's tools so far.
    calls: u32,
    /// Blocks of thinking so far.
    thoughts: u32,
    /// The tool that replaces a JSON answer was called.
    has_json: bool,
    /// Text that arrived while the JSON tool may still be called; it does not belong to a JSON answer.
    held_text: String,
}

/// An open block.
enum OpenBlock {
    Text,
    Thinking(u32),
    /// A call, and whether it has arguments.
    Call {
        index: u32,
        has_arguments: bool,
    },
    /// A call of a tool that takes free text, whose wrapped arguments are collected.
    FreeText {
        index: u32,
        arguments: String,
    },
    /// A call of the tool that replaces a JSON answer.
    JsonAnswer {
        has_arguments: bool,
    },
    /// Not part of the caller's answer: calls that the provider ran itself, and their results.
    Ignored,
}

impl Answer {
    fn new(decoding: &DecoderContext) -> Self {
        Self {
            decoding: decoding.clone(),
            is_started: false,
            is_stopped: false,
            blocks: BTreeMap::new(),
            calls: 0,
            thoughts: 0,
            has_json: false,
            held_text: String::new(),
        }
    }

    /// The API sends neither an id nor a model.
    fn start(&mut self, events: &mut dyn EventSink) {
        if !self.is_started {
            self.is_started = true;
            events.push(Event::Start { id: None, model: None, created: None });
        }
    }

    fn message(&mut self, message: &Message<'_>, events: &mut dyn EventSink) -> Result<()> {
        errors::check(message)?;
        self.start(events);
        let payload = valid_json(message.payload);
        match message.text(":event-type").unwrap_or_default() {
            "contentBlockStart" => self.block_start(read(&payload)?, events),
            "contentBlockDelta" => return self.block_delta(read(&payload)?, events),
            "contentBlockStop" => {
                let stop: BlockStop = read(&payload)?;
                self.block_stop(stop.content_block_index, events);
            }
            "messageStop" => {
                let stop: MessageStop = read(&payload)?;
                return self.stop(stop.stop_reason.as_deref(), events);
            }
            "metadata" => self.metadata(read(&payload)?, events),
            // `messageStart` contains only the role; unknown events are for newer clients.
            _ => {}
        }
        Ok(())
    }

    fn block_start(&mut self, start: BlockStart, events: &mut dyn EventSink) {
        let index = start.content_block_index;
        let Some(kind) = start.start else { return };
        if let Some(call) = kind.tool_use {
            self.call(index, call, events);
        } else if kind.tool_result.is_some() {
            self.blocks.insert(index, OpenBlock::Ignored);
        } else if let Some(image) = kind.image {
            picture(image, events);
        }
    }

    fn block_delta(&mut self, delta: BlockDelta, events: &mut dyn EventSink) -> Result<()> {
        let index = delta.content_block_index;
        let Some(delta) = delta.delta else { return Ok(()) };
        if let Some(text) = delta.text {
            self.text(index, text, events);
        } else if let Some(call) = delta.tool_use {
            self.arguments(index, repair::fragment(call.input), events)?;
        } else if let Some(thought) = delta.reasoning_content {
            self.thought_delta(index, thought, events);
        } else if let Some(citation) = delta.citation {
            annotate(&citation, events);
        } else if let Some(image) = delta.image {
            picture(image, events);
        }
        Ok(())
    }

    fn whole_block(&mut self, index: usize, block: WholeBlock, events: &mut dyn EventSink) -> Result<()> {
        let index = index as u64;
        if let Some(text) = block.text {
            self.text(index, text, events);
        } else if let Some(mut call) = block.tool_use {
            let input = call.input.take();
            self.call(index, call, events);
            let arguments = input.map(|input| repair::arguments(input.as_str()).into_owned());
            self.arguments(index, arguments.unwrap_or_default(), events)?;
        } else if let Some(thought) = block.reasoning_content {
            self.whole_thought(index, thought, events);
        } else if let Some(cited) = block.citations_content {
            for piece in cited.content {
                self.text(index, piece.text.unwrap_or_default(), events);
            }
            cited.citations.iter().for_each(|citation| annotate(citation, events));
        } else if let Some(image) = block.image {
            picture(image, events);
        }
        self.block_stop(index, events);
        Ok(())
    }

    fn text(&mut self, index: u64, text: String, events: &mut dyn EventSink) {
        if matches!(self.blocks.entry(index).or_insert(OpenBlock::Text), OpenBlock::Ignored)
            || text.is_empty()
        {
            return;
        }
        if self.decoding.json_tool.is_some() {
            self.held_text.push_str(&text);
        } else {
            events.push(Event::Text { choice: 0, text });
        }
    }

    fn call(&mut self, block: u64, call: CallStart, events: &mut dyn EventSink) {
        let wire_name = call.name.unwrap_or_default();
        let open = if call.kind.as_deref() == Some("server_tool_use") {
            OpenBlock::Ignored
        } else if self.decoding.json_tool.as_deref() == Some(wire_name.as_str()) {
            self.has_json = true;
            self.held_text.clear();
            OpenBlock::JsonAnswer { has_arguments: false }
        } else {
            let name = self.decoding.tool_name(&wire_name).to_owned();
            let index = self.calls;
            self.calls += 1;
            let custom = self.decoding.custom_tools.contains(&name);
            let open = if custom {
                OpenBlock::FreeText { index, arguments: String::new() }
            } else {
                OpenBlock::Call { index, has_arguments: false }
            };
            let id = call.tool_use_id.unwrap_or_default();
            events.push(Event::ToolCallStart { choice: 0, index, id, name, signature: None, custom });
            open
        };
        self.blocks.insert(block, open);
    }

    fn arguments(&mut self, block: u64, fragment: String, events: &mut dyn EventSink) -> Result<()> {
        if fragment.is_empty() {
            return Ok(());
        }
        match self.blocks.get_mut(&block) {
            Some(OpenBlock::Call { index, has_arguments }) => {
                *has_arguments = true;
                events.push(Event::ToolCallArguments { choice: 0, index: *index, fragment });
            }
            Some(OpenBlock::FreeText { arguments, .. }) => arguments.push_str(&fragment),
            Some(OpenBlock::JsonAnswer { has_arguments }) => {
                *has_arguments = true;
                events.push(Event::Text { choice: 0, text: fragment });
            }
            Some(OpenBlock::Ignored) => {}
            _ => return Err(broken("The provider sent arguments of a tool call that had not begun.")),
        }
        Ok(())
    }

    fn thought_delta(&mut self, index: u64, thought: ThoughtDelta, events: &mut dyn EventSink) {
        let block = self.thought_block(index);
        if let Some(text) = thought.text.filter(|text| !text.is_empty()) {
            think(block, ReasoningDetail::Text(text), events);
        }
        if let Some(signature) = thought.signature.filter(|signature| !signature.is_empty()) {
            think(block, ReasoningDetail::Signature(signature), events);
        }
        if let Some(data) = thought.redacted_content.filter(|data| !data.is_empty()) {
            think(block, ReasoningDetail::Encrypted(data), events);
        }
    }

    fn whole_thought(&mut self, index: u64, thought: WholeThought, events: &mut dyn EventSink) {
        let text = thought.reasoning_text.unwrap_or_default();
        let redacted_content = thought.redacted_content;
        let delta = ThoughtDelta { text: text.text, signature: text.signature, redacted_content };
        self.thought_delta(index, delta, events);
    }

    /// The index of the thinking block for the provider's block.
    fn thought_block(&mut self, index: u64) -> u32 {
        if let Some(OpenBlock::Thinking(block)) = self.blocks.get(&index) {
            return *block;
        }
        let block = self.thoughts;
        self.thoughts += 1;
        self.blocks.insert(index, OpenBlock::Thinking(block));
        block
    }

    fn block_stop(&mut self, index: u64, events: &mut dyn EventSink) {
        let arguments = |index, fragment| Event::ToolCallArguments { choice: 0, index, fragment };
        match self.blocks.remove(&index) {
            // A tool without arguments has no delta.
            Some(OpenBlock::Call { index, has_arguments: false }) => {
                events.push(arguments(index, "{}".to_owned()));
            }
            Some(OpenBlock::FreeText { index, arguments: wrapped }) => {
                events.push(arguments(index, unwrap_free_text(wrapped)));
            }
            Some(OpenBlock::JsonAnswer { has_arguments: false }) => {
                events.push(Event::Text { choice: 0, text: "{}".to_owned() });
            }
            _ => {}
        }
    }

    fn metadata(&mut self, metadata: Metadata, events: &mut dyn EventSink) {
        if let Some(usage) = metadata.usage {
            events.push(Event::Usage(usage.disjoint()));
        }
        tier(metadata.service_tier, events);
    }

    fn stop(&mut self, native: Option<&str>, events: &mut dyn EventSink) -> Result<()> {
        let Some(native) = native else {
            return Err(broken("The provider's answer has no finish reason."));
        };
        if self.is_stopped {
            return Ok(());
        }
        self.is_stopped = true;
        while let Some(index) = self.blocks.keys().next().copied() {
            self.block_stop(index, events);
        }
        let held_text = std::mem::take(&mut self.held_text);
        if !held_text.is_empty() && !self.has_json {
            events.push(Event::Text { choice: 0, text: held_text });
        }
        let reason = match native {
            "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
            "guardrail_intervened" | "content_filtered" => FinishReason::ContentFilter,
            "malformed_model_output" | "malformed_tool_use" => {
                return Err(broken("The model's output was malformed; try again."));
            }
            _ if self.calls > 0 => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        events.push(Event::Finish { choice: 0, reason, native: Some(native.to_owned()) });
        Ok(())
    }
}

fn think(block: u32, detail: ReasoningDetail, events: &mut dyn EventSink) {
    events.push(Event::Reasoning { choice: 0, block, detail, format: CLAUDE_FORMAT });
}

fn picture(image: Image, events: &mut dyn EventSink) {
    let data = image.source.and_then(|source| source.bytes).unwrap_or_default();
    if !data.is_empty() {
        let mime = format!("image/{}", image.format.as_deref().unwrap_or("png"));
        events.push(Event::Image { choice: 0, mime, data });
    }
}

/// Web citations become OpenAI's annotations; citations of the caller's documents have no such form.
fn annotate(citation: &Citation, events: &mut dyn EventSink) {
    let web = citation.location.as_ref().and_then(|location| location.web.as_ref());
    let Some(url) = web.and_then(|web| web.url.as_deref()) else { return };
    let title = citation.title.as_deref().or(web.and_then(|web| web.domain.as_deref())).unwrap_or_default();
    let annotation = json!({
        "type": "url_citation",
        "url_citation": {"url": url, "title": title, "start_index": 0, "end_index": 0},
    });
    events.push(Event::Annotation { choice: 0, annotation: Json::of(&annotation) });
}

fn tier(tier: Option<Tier>, events: &mut dyn EventSink) {
    if let Some(name) = tier.and_then(|tier| tier.kind) {
        events.push(Event::Field { name: "service_tier", value: Json::of(&name) });
    }
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|_| broken("The provider's answer cannot be parsed."))
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}
