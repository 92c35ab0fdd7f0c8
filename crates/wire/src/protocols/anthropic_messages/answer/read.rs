//! Reads answers, streamed or whole. Both use the same methods: a whole block begins with all of its content.

use std::collections::BTreeMap;

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry};
use http::HeaderMap;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::super::REASONING_FORMAT;
use super::super::errors::{read_error, status_of_type};
use super::super::types::{AnswerBlock, Citation, Delta, ErrorObject, Message, StreamEvent, WireUsage};
use crate::framing::sse::SseParser;
use crate::protocols::repair::{self, valid_json};
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Decoder, DecoderContext, EventSink};

pub(crate) struct StreamDecoder {
    parser: SseParser,
    answer: Answer,
}

impl StreamDecoder {
    pub(crate) fn new(decoding: &DecoderContext) -> Self {
        Self { parser: SseParser::default(), answer: Answer::new(decoding) }
    }
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.parser.push(bytes, |event| answer.event(&valid_json(event.data), events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.parser.finish(|event| answer.event(&valid_json(event.data), events))?;
        answer.end_of_stream(events)
    }
}

/// Reads a whole answer.
pub(crate) fn whole(decoding: &DecoderContext) -> Box<dyn Decoder> {
    Box::new(WholeDecoder::new(Answer::new(decoding)))
}

impl WholeReader for Answer {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        self.document(&valid_json(&body), events)
    }
}

/// An open block.
enum OpenBlock {
    Text {
        /// The start of its text within the answer's text, in characters.
        start: usize,
        citations: Vec<Citation>,
    },
    Thinking {
        block: u32,
    },
    Tool {
        index: u32,
        /// The start contained everything; otherwise fragments follow.
        filled: bool,
        any: bool,
    },
    /// The tool that replaces a JSON answer.
    JsonTool {
        filled: bool,
        any: bool,
    },
    /// A tool of free text, whose text is within its arguments.
    Custom {
        index: u32,
        filled: bool,
        arguments: String,
    },
    /// Calls of the provider's own tools.
    Ignored,
}

/// The facts of a message whose texts pass unread.
pub(crate) struct PlainParts {
    pub id: String,
    pub model: String,
    pub stop_reason: String,
    pub usage: WireUsage,
}

/// The state of the answer so far.
pub(crate) struct Answer {
    decoding: DecoderContext,
    started: bool,
    finished: bool,
    usage: WireUsage,
    reported_tier: bool,
    open: BTreeMap<u64, OpenBlock>,
    /// Characters of text so far.
    text_chars: usize,
    /// Text that waits for the JSON tool: if the tool is called, its input is the answer and this text is
    /// dropped.
    held: String,
    thoughts: u32,
    tools: u32,
    json_called: bool,
    stop_reason: Option<String>,
}

impl Answer {
    pub(crate) fn new(decoding: &DecoderContext) -> Self {
        Self {
            decoding: decoding.clone(),
            started: false,
            finished: false,
            usage: WireUsage::default(),
            reported_tier: false,
            open: BTreeMap::new(),
            text_chars: 0,
            held: String::new(),
            thoughts: 0,
            tools: 0,
            json_called: false,
            stop_reason: None,
        }
    }

    /// A whole message whose texts pass unread.
    pub(crate) fn plain(&mut self, message: PlainParts, events: &mut dyn EventSink) {
        self.started = true;
        let (id, model) = (Some(message.id), Some(message.model));
        events.push(Event::Start { id, model, created: None });
        self.stop_reason = Some(message.stop_reason);
        self.merge_usage(message.usage, events);
        self.end(events);
    }

    /// Whether text of this block belongs to the answer.
    pub(crate) fn takes_text(&self, index: u64) -> bool {
        self.decoding.json_tool.is_none() && matches!(self.open.get(&index), Some(OpenBlock::Text { .. }))
    }

    fn event(&mut self, data: &[u8], events: &mut dyn EventSink) -> Result<()> {
        // Data after the end is ignored: some compatible hosts add OpenAI's end marker, or send pings without
        // data.
        if self.finished || matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        self.take(read(data)?, events)
    }

    /// Takes a parsed event.
    pub(crate) fn take(&mut self, mut event: StreamEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        let Some(kind) = event.kind.take() else {
            return Err(broken("The provider sent an event without a type."));
        };
        match kind.as_str() {
            "message_start" => self.message_start(&event, events),
            "content_block_start" => {
                let Some(block) = event.content_block else {
                    return Err(broken("The provider began a block without its index."));
                };
                self.block_start(event.index, read(block.get().as_bytes())?, events)
            }
            "content_block_delta" => self.block_delta(event.index, event.delta.unwrap_or_default(), events),
            "content_block_stop" => {
                self.block_stop(event.index, events);
                Ok(())
            }
            "message_delta" => self.message_delta(event.delta.unwrap_or_default(), event.usage, events),
            "message_stop" => {
                self.end(events);
                Ok(())
            }
            "error" => Err(in_answer_error(&event)),
            _ => Ok(()),
        }
    }

    /// The end of a stream. Without its last event it is complete if a stop reason was sent.
    pub(crate) fn end_of_stream(&mut self, events: &mut dyn EventSink) -> Result<()> {
        if !self.finished && self.stop_reason.is_none() {
            return Err(broken("The provider's stream ended before its answer was complete."));
        }
        self.end(events);
        Ok(())
    }

    /// Reads a whole answer.
    pub(crate) fn document(&mut self, body: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let message: Message<'_> = read(body)?;
        match message.kind.as_deref() {
            Some("message") => self.whole(message, events),
            Some("error") => Err(in_answer_error(&read(body)?)),
            _ => Err(broken("The provider's answer is not a message.")),
        }
    }

    fn whole(&mut self, message: Message<'_>, events: &mut dyn EventSink) -> Result<()> {
        let Some(content) = &message.content else {
            return Err(broken("The provider's answer has no content."));
        };
        self.start(&message, events);
        for (index, block) in content.iter().enumerate() {
            let block = block.map_err(|_| malformed())?;
            self.block_start(index as u64, read(block.get().as_bytes())?, events)?;
            self.block_stop(index as u64, events);
        }
        let delta = Delta {
            stop_reason: message.stop_reason,
            stop_details: message.stop_details,
            ..Delta::default()
        };
        self.message_delta(delta, message.usage, events)?;
        self.end(events);
        Ok(())
    }

    /// Some hosts send it twice; the second one only updates the counts.
    fn message_start(&mut self, event: &StreamEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        let Some(raw) = event.message else {
            return Err(broken("The provider began an answer without a message."));
        };
        let message: Message<'_> = read(raw.get().as_bytes())?;
        self.start(&message, events);
        self.report_usage(message.usage, events)
    }

    fn start(&mut self, message: &Message<'_>, events: &mut dyn EventSink) {
        if !self.started {
            self.started = true;
            let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
            events.push(Event::Start {
                id: filled(&message.id),
                model: filled(&message.model),
                created: None,
            });
        }
    }

    /// Answers always begin, even when the provider omitted the event.
    fn ensure_started(&mut self, events: &mut dyn EventSink) {
        if !self.started {
            self.started = true;
            events.push(Event::Start { id: None, model: None, created: None });
        }
    }

    fn block_start(&mut self, index: u64, block: AnswerBlock<'_>, events: &mut dyn EventSink) -> Result<()> {
        self.ensure_started(events);
        self.block_stop(index, events);
        let open = match block.kind.as_str() {
            "text" => self.text_start(block, events),
            "thinking" => self.thinking_start(block, events),
            "redacted_thinking" => {
                let data = block.data.and_then(|raw| serde_json::from_str(raw.get()).ok());
                let number = self.next_thought();
                self.thought(number, ReasoningDetail::Encrypted(data.unwrap_or_default()), events);
                OpenBlock::Ignored
            }
            "tool_use" => self.tool_start(block, events)?,
            "" => return Err(broken("The provider sent a block without a type.")),
            // Server tools, their results and other actions of the provider: no calls for the caller.
            _ => OpenBlock::Ignored,
        };
        self.open.insert(index, open);
        Ok(())
    }

    fn text_start(&mut self, block: AnswerBlock<'_>, events: &mut dyn EventSink) -> OpenBlock {
        let start = self.text_chars;
        self.text(block.text.unwrap_or_default(), events);
        let citations = block.citations.unwrap_or_default();
        OpenBlock::Text { start, citations: citations.into_iter().filter_map(citation).collect() }
    }

    fn thinking_start(&mut self, block: AnswerBlock<'_>, events: &mut dyn EventSink) -> OpenBlock {
        let number = self.next_thought();
        self.thought(number, ReasoningDetail::Text(block.thinking.unwrap_or_default()), events);
        self.thought(number, ReasoningDetail::Signature(block.signature.unwrap_or_default()), events);
        OpenBlock::Thinking { block: number }
    }

    fn tool_start(&mut self, block: AnswerBlock<'_>, events: &mut dyn EventSink) -> Result<OpenBlock> {
        let Some(name) = block.name.filter(|name| !name.is_empty()) else {
            return Err(broken("The provider called a tool without its name."));
        };
        // An empty input is a placeholder: the arguments follow as text.
        let input = block.input.map(|input| repair::arguments(input.get()));
        let input = input.filter(|input| !matches!(&**input, "" | "{}"));
        let filled = input.is_some();
        if self.decoding.json_tool.as_deref() == Some(&name) {
            self.json_called = true;
            self.json_text(input.unwrap_or_default().into_owned(), events);
            return Ok(OpenBlock::JsonTool { filled, any: filled });
        }
        let index = self.tools;
        self.tools += 1;
        let name = self.decoding.tool_name(&name).to_owned();
        let custom = self.decoding.custom_tools.contains(&name);
        let id = block.id.unwrap_or_default();
        events.push(Event::ToolCallStart { choice: 0, index, id, name, signature: None, custom });
        if custom {
            return Ok(OpenBlock::Custom {
                index,
                filled,
                arguments: input.unwrap_or_default().into_owned(),
            });
        }
        if let Some(input) = input {
            arguments(index, input.into_owned(), events);
        }
        Ok(OpenBlock::Tool { index, filled, any: filled })
    }

    fn block_delta(&mut self, index: u64, delta: Delta<'_>, events: &mut dyn EventSink) -> Result<()> {
        let kind = delta.kind.as_deref().unwrap_or_default();
        match kind {
            "text_delta" => self.text_delta(index, delta.text.unwrap_or_default(), events),
            "thinking_delta" => {
                self.thinking_delta(index, ReasoningDetail::Text(delta.thinking.unwrap_or_default()), events)
            }
            "signature_delta" => self.thinking_delta(
                index,
                ReasoningDetail::Signature(delta.signature.unwrap_or_default()),
                events,
            ),
            "input_json_delta" => self.input_delta(index, delta.partial_json.unwrap_or_default(), events),
            "citations_delta" => {
                if let (Some(OpenBlock::Text { citations, .. }), Some(raw)) =
                    (self.open.get_mut(&index), delta.citation)
                {
                    citations.extend(citation(raw));
                }
                Ok(())
            }
            "" => Err(broken("The provider sent a change without a type.")),
            _ => Ok(()),
        }
    }

    fn text_delta(&mut self, index: u64, text: String, events: &mut dyn EventSink) -> Result<()> {
        match self.open.get(&index) {
            Some(OpenBlock::Text { .. }) => self.text(text, events),
            Some(OpenBlock::Ignored) => {}
            _ => return Err(stray()),
        }
        Ok(())
    }

    fn thinking_delta(
        &mut self,
        index: u64,
        detail: ReasoningDetail,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        match self.open.get(&index) {
            Some(OpenBlock::Thinking { block }) => {
                let block = *block;
                self.thought(block, detail, events);
            }
            Some(OpenBlock::Ignored) => {}
            _ => return Err(stray()),
        }
        Ok(())
    }

    fn input_delta(&mut self, index: u64, fragment: String, events: &mut dyn EventSink) -> Result<()> {
        match self.open.get_mut(&index) {
            Some(
                OpenBlock::Tool { filled: true, .. }
                | OpenBlock::JsonTool { filled: true, .. }
                | OpenBlock::Custom { filled: true, .. },
            ) => {}
            _ if fragment.is_empty() => {}
            Some(OpenBlock::Tool { index, any, .. }) => {
                *any = true;
                arguments(*index, fragment, events);
            }
            Some(OpenBlock::JsonTool { any, .. }) => {
                *any = true;
                self.json_text(fragment, events);
            }
            Some(OpenBlock::Custom { arguments, .. }) => arguments.push_str(&fragment),
            Some(OpenBlock::Ignored) => {}
            _ => return Err(stray()),
        }
        Ok(())
    }

    fn block_stop(&mut self, index: u64, events: &mut dyn EventSink) {
        match self.open.remove(&index) {
            Some(OpenBlock::Text { start, citations }) => {
                for citation in citations {
                    events.push(Event::Annotation {
                        choice: 0,
                        annotation: annotation(&citation, start, self.text_chars),
                    });
                }
            }
            Some(OpenBlock::Tool { index, any: false, .. }) => arguments(index, "{}".to_owned(), events),
            Some(OpenBlock::JsonTool { any: false, .. }) => self.json_text("{}".to_owned(), events),
            Some(OpenBlock::Custom { index, arguments: text, .. }) => {
                arguments(index, free_text(text), events)
            }
            _ => {}
        }
    }

    fn message_delta(
        &mut self,
        delta: Delta<'_>,
        usage: Option<&RawValue>,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        self.ensure_started(events);
        if delta.stop_reason.is_some() {
            self.stop_reason = delta.stop_reason;
        }
        if let Some(text) = delta.stop_details.and_then(|details| details.explanation)
            && !text.is_empty()
        {
            events.push(Event::Refusal { choice: 0, text });
        }
        self.report_usage(usage, events)
    }

    fn report_usage(&mut self, usage: Option<&RawValue>, events: &mut dyn EventSink) -> Result<()> {
        let Some(raw) = usage.filter(|raw| raw.get() != "null") else { return Ok(()) };
        self.merge_usage(read(raw.get().as_bytes())?, events);
        Ok(())
    }

    fn merge_usage(&mut self, usage: WireUsage, events: &mut dyn EventSink) {
        self.usage.merge(usage);
        events.push(Event::Usage(self.usage.canonical()));
        let tier = match self.usage.service_tier.as_deref() {
            Some("standard") => "default",
            Some(other) => other,
            None => return,
        };
        if !self.reported_tier {
            self.reported_tier = true;
            events.push(Event::Field { name: "service_tier", value: Json::of(tier) });
        }
    }

    /// The end of the message: closes open blocks and emits the finish reason.
    fn end(&mut self, events: &mut dyn EventSink) {
        if self.finished {
            return;
        }
        self.finished = true;
        self.ensure_started(events);
        while let Some(index) = self.open.keys().next().copied() {
            self.block_stop(index, events);
        }
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() && !self.json_called {
            events.push(Event::Text { choice: 0, text: held });
        }
        let native = self.stop_reason.take();
        let reason = finish_reason(native.as_deref().unwrap_or("end_turn"), self.tools > 0);
        events.push(Event::Finish { choice: 0, reason, native });
    }

    fn text(&mut self, text: String, events: &mut dyn EventSink) {
        if text.is_empty() {
            return;
        }
        self.text_chars += text.chars().count();
        match self.decoding.json_tool {
            Some(_) => self.held.push_str(&text),
            None => events.push(Event::Text { choice: 0, text }),
        }
    }

    fn json_text(&mut self, text: String, events: &mut dyn EventSink) {
        if !text.is_empty() {
            events.push(Event::Text { choice: 0, text });
        }
    }

    fn next_thought(&mut self) -> u32 {
        self.thoughts += 1;
        self.thoughts - 1
    }

    fn thought(&self, block: u32, detail: ReasoningDetail, events: &mut dyn EventSink) {
        let (ReasoningDetail::Text(text)
        | ReasoningDetail::Signature(text)
        | ReasoningDetail::Encrypted(text)) = &detail;
        if !text.is_empty() {
            events.push(Event::Reasoning { choice: 0, block, detail, format: REASONING_FORMAT });
        }
    }
}

/// The finish reason. A called tool takes precedence over the provider's reason, except for a cut or a
/// refusal.
pub(crate) fn finish_reason(native: &str, tools_called: bool) -> FinishReason {
    match native {
        "max_tokens" | "model_context_window_exceeded" => FinishReason::Length,
        "refusal" => FinishReason::ContentFilter,
        _ if tools_called => FinishReason::ToolCalls,
        // `tool_use` without a call of the caller's tools was the JSON tool's. `pause_turn` ends a long turn
        // of server tools; `compaction` ends a turn that only compacted the context.
        _ => FinishReason::Stop,
    }
}

fn arguments(index: u32, fragment: String, events: &mut dyn EventSink) {
    events.push(Event::ToolCallArguments { choice: 0, index, fragment });
}

/// The text of a free-text tool, from `{"input": …}`.
fn free_text(arguments: String) -> String {
    #[derive(Deserialize)]
    struct Wrapped {
        input: String,
    }
    serde_json::from_str::<Wrapped>(&arguments).map_or(arguments, |wrapped| wrapped.input)
}

/// A web citation.
fn citation(raw: &RawValue) -> Option<Citation> {
    let citation: Citation = serde_json::from_str(raw.get()).ok()?;
    let is_web = |url: &String| url.starts_with("http://") || url.starts_with("https://");
    citation.url.as_ref().or(citation.source.as_ref()).is_some_and(is_web).then_some(citation)
}

fn annotation(citation: &Citation, start: usize, end: usize) -> Json {
    let url = citation.url.as_ref().or(citation.source.as_ref());
    Json::of(&json!({
        "type": "url_citation",
        "url_citation": {
            "url": url,
            "title": citation.title.as_deref().unwrap_or_default(),
            "start_index": start,
            "end_index": end,
        }
    }))
}

fn in_answer_error(event: &StreamEvent<'_>) -> Error {
    let object: ErrorObject =
        event.error.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
    let status = status_of_type(object.kind.as_deref().unwrap_or_default());
    read_error(status, &HeaderMap::new(), event)
        .unwrap_or_else(|| broken("The provider reported an error without its details."))
}

pub(crate) fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|_| malformed())
}

fn malformed() -> Error {
    broken("The provider's answer does not match its format.")
}

fn stray() -> Error {
    broken("The provider changed a block that had not begun.")
}

pub(crate) fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}
