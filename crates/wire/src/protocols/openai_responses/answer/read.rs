//! Reads a provider's answer, whole or streamed.
//!
//! The state of a stream is kept by `output_index`: some servers change an item's id between its first and
//! its last event (recorded: GitHub Copilot). Content that arrived in pieces is not emitted again for the
//! last event of its item. Where the pieces or the last event are missing, the content is taken from the last
//! event of a part or of the item, or from the final response object.

use std::collections::{BTreeMap, BTreeSet};

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::types::{ContentPart, Item, ReportedUsage, Response, StreamEvent};
use super::super::{REASONING_FORMAT, errors};
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{List, room};
use crate::protocols::function_tools::unwrap_free_text;
use crate::protocols::repair;
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Decoder, DecoderContext, EventSink};

const ANSWER_LIMIT: usize = 64 << 20;
/// Largest arguments of a call that are checked as a whole.
const WRAPPER_LIMIT: usize = 1 << 20;
/// A function that models call without a declaration: its arguments are calls of several functions (recorded:
/// gpt-5.4).
const WRAPPERS: [&str; 2] = ["parallel", "multi_tool_use.parallel"];

pub(in super::super) struct StreamDecoder {
    sse: SseParser,
    answer: Answer,
}

impl StreamDecoder {
    pub(in super::super) fn new(decoding: &DecoderContext) -> Self {
        Self { sse: SseParser::default(), answer: Answer::new(decoding) }
    }

    /// Reads an event that another parser has found.
    pub(in super::super) fn event(&mut self, event: SseEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        self.answer.event(event, events)
    }

    /// The end of the events.
    pub(in super::super) fn end(&self) -> Result<()> {
        if self.answer.ended {
            Ok(())
        } else {
            Err(broken("The provider's stream ended before the answer was complete."))
        }
    }
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.sse.push(bytes, |event| answer.event(event, events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let answer = &mut self.answer;
        self.sse.finish(|event| answer.event(event, events))?;
        self.end()
    }
}

/// Reads a whole answer.
pub(in super::super) fn whole(decoding: &DecoderContext) -> Box<dyn Decoder> {
    Box::new(WholeDecoder::new(Answer::new(decoding)))
}

impl WholeReader for Answer {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        self.document(&body, events)
    }
}

impl Answer {
    pub(in super::super) fn document(&mut self, body: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let body = repair::valid_json(body);
        let response: Response<'_> = parse(&body)?;
        if response.output.is_none() && response.status.is_none() {
            return Err(broken("The provider's answer is not a response object."));
        }
        self.whole(response, events)
    }
}

/// The state of an answer.
#[derive(Default)]
pub(in super::super) struct Answer {
    decoding: DecoderContext,
    started: bool,
    ended: bool,
    items: BTreeMap<u64, EmittedItem>,
    /// The index of the last event's item, and the first unused index.
    place: u64,
    next_place: u64,
    /// Some text was emitted.
    spoke: bool,
    /// The ids of the calls so far, with their places.
    called: BTreeMap<String, u64>,
    /// The kinds of finished items other than messages, thinking and calls.
    kinds: BTreeSet<String>,
    /// The calls so far.
    calls: u32,
    /// The blocks of thinking so far.
    blocks: u32,
    /// Characters of text so far: annotations count from the beginning of their part.
    characters: u64,
    searches: u64,
    tier: Option<String>,
}

/// The emitted content of an item.
#[derive(Default)]
struct EmittedItem {
    /// It is complete.
    done: bool,
    call: Option<Call>,
    /// Parts of a message, sorted by `content_index`. A list, because most messages have one part.
    parts: Vec<(u64, SeenPart)>,
    thought: Option<Thought>,
}

#[derive(Default)]
struct SeenPart {
    spoke: bool,
    /// Characters of the answer before this part.
    start: u64,
    annotations: usize,
    logprobs: bool,
}

struct Thought {
    block: u32,
    /// The last summary or content with text.
    part: Option<(ThinkingPlace, u64)>,
}

/// The place of thinking text. Servers that send both repeat the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ThinkingPlace {
    Summary,
    Content,
}

/// A call in progress.
enum Call {
    /// Passed on as it arrives.
    Open { index: u32, spoke: bool },
    /// Held until it is complete.
    Held { id: String, name: String, kind: Held, arguments: String },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    /// Possibly several calls in one.
    Wrapper,
    /// A free-text tool that was sent as a function.
    FreeText,
}

impl Answer {
    pub(in super::super) fn new(decoding: &DecoderContext) -> Self {
        Self { decoding: decoding.clone(), ..Self::default() }
    }

    fn event(&mut self, event: SseEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        if self.ended || matches!(event.data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let data = repair::valid_json(event.data);
        let parsed = match serde_json::from_slice::<StreamEvent<'_>>(&data) {
            Ok(parsed) => parsed,
            // An unused field of an event may have any type.
            Err(_) if kind_of(&data).is_some_and(|kind| !is_known(&kind)) => return Ok(()),
            Err(_) => {
                return Err(broken("The provider sent an event that does not match its format."));
            }
        };
        let kind = match parsed.kind.as_deref() {
            Some(kind) => kind.to_owned(),
            None if event.event.is_empty() => String::new(),
            None => String::from_utf8_lossy(event.event).into_owned(),
        };
        self.take(&kind, parsed, &data, events)
    }

    fn take(
        &mut self,
        kind: &str,
        event: StreamEvent<'_>,
        data: &[u8],
        events: &mut dyn EventSink,
    ) -> Result<()> {
        let index = self.place_of(kind, &event);
        match kind {
            "response.created" | "response.in_progress" | "response.queued" => {
                let Some(raw) = event.response else { return Ok(()) };
                let response = parse(raw.get().as_bytes())?;
                self.start(&response, events);
            }
            "response.output_item.added" => {
                if let Some(raw) = event.item {
                    self.item_begins(index, &parse(raw.get().as_bytes())?, events);
                }
            }
            "response.output_item.done" => {
                if let Some(raw) = event.item {
                    self.item_ends(index, parse(raw.get().as_bytes())?, events)?;
                }
            }
            "response.output_text.delta" => {
                let part = event.content_index.unwrap_or(0);
                self.text((index, part), text_of(event.delta), false, events);
                self.logprobs(index, part, event.logprobs, events);
            }
            "response.refusal.delta" => {
                let part = event.content_index.unwrap_or(0);
                self.text((index, part), text_of(event.delta), true, events);
            }
            "response.output_text.annotation.added" => {
                if let Some(raw) = event.annotation {
                    self.annotation(index, event.content_index.unwrap_or(0), raw, events);
                }
            }
            "response.reasoning_summary_text.delta" => {
                let part = (ThinkingPlace::Summary, event.summary_index.unwrap_or(0));
                self.thinking(index, part, text_of(event.delta), events);
            }
            "response.reasoning_text.delta" => {
                let part = (ThinkingPlace::Content, event.content_index.unwrap_or(0));
                self.thinking(index, part, text_of(event.delta), events);
            }
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(index, text_of(event.delta), events);
            }
            "response.output_text.done" | "response.refusal.done" => {
                let part = event.content_index.unwrap_or(0);
                if !self.part(index, part).spoke {
                    let is_refusal = kind == "response.refusal.done";
                    self.text((index, part), text_of(event.text), is_refusal, events);
                }
            }
            "response.function_call_arguments.done" | "response.custom_tool_call_input.done"
                if !self.has_arguments(index) =>
            {
                self.arguments(index, text_of(event.text), events);
            }
            "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" => {
                let Some(raw) = event.response else { return Err(no_response()) };
                let mut response: Response<'_> = parse(raw.get().as_bytes())?;
                // The event's name is the status; some servers leave the old status in the object.
                response.status = kind.strip_prefix("response.").map(str::to_owned);
                return self.whole(response, events);
            }
            "error" => return Err(in_stream_error(data)),
            // A bare error, as proxies insert it into any stream.
            "" if serde_json::from_slice::<Value>(data).is_ok_and(|value| value["error"].is_object()) => {
                return Err(in_stream_error(data));
            }
            "" if event.delta.is_some() || event.item.is_some() || event.response.is_some() => {
                return Err(broken("The provider sent an event without a type."));
            }
            _ => {}
        }
        Ok(())
    }

    /// The index of an event's item. Where the event has none, an item's first event takes the next index,
    /// and all others belong to the item of the previous event.
    fn place_of(&mut self, kind: &str, event: &StreamEvent<'_>) -> u64 {
        let begins = kind == "response.output_item.added";
        let index = event.output_index.unwrap_or(if begins { self.next_place } else { self.place });
        if event.item.is_some() || event.output_index.is_some() {
            self.place = index;
            self.next_place = self.next_place.max(index.saturating_add(1));
        }
        index
    }

    fn start(&mut self, response: &Response<'_>, events: &mut dyn EventSink) {
        if self.started {
            return;
        }
        self.started = true;
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let created = response.created_at.map(|time| time as i64).filter(|time| *time > 0);
        events.push(Event::Start { id: filled(&response.id), model: filled(&response.model), created });
    }

    fn ensure_started(&mut self, events: &mut dyn EventSink) {
        if !self.started {
            self.started = true;
            events.push(Event::Start { id: None, model: None, created: None });
        }
    }

    /// A whole response, or the final one of a stream: emits the missing content, and the end.
    fn whole(&mut self, response: Response<'_>, events: &mut dyn EventSink) -> Result<()> {
        self.start(&response, events);
        let status = response.status.as_deref().unwrap_or("completed");
        if matches!(status, "failed" | "cancelled") || response.error.as_ref().is_some_and(Value::is_object) {
            let failure = response.error.unwrap_or_default();
            return Err(match status {
                "cancelled" if failure.is_null() => broken("The provider cancelled the answer."),
                _ => errors::read_failure(&failure),
            });
        }
        if matches!(status, "queued" | "in_progress") {
            return Err(broken(
                "The provider answers in the background, which the gateway does not wait for.",
            ));
        }
        self.push_missing(response.output.unwrap_or_default(), events)?;
        self.close_calls(events);
        if let Some(tier) = response.service_tier.filter(|tier| !tier.is_empty() && tier != "auto") {
            if self.tier.as_ref() != Some(&tier) {
                events.push(Event::Field { name: "service_tier", value: Json::of(&tier) });
            }
            self.tier = Some(tier);
        }
        let usage = response.usage.filter(|raw| raw.get() != "null");
        let usage: Option<ReportedUsage> = usage.and_then(|raw| serde_json::from_str(raw.get()).ok());
        if let Some(usage) = usage.and_then(|usage| usage.canonical(self.searches)) {
            events.push(Event::Usage(usage));
        }
        let (reason, native) =
            self.finish_reason(status, response.incomplete_details.and_then(|why| why.reason));
        events.push(Event::Finish { choice: 0, reason, native: Some(native) });
        self.ended = true;
        Ok(())
    }

    /// Emits the items of the response object that had no events.
    fn push_missing(&mut self, output: List<'_, Item<'_>>, events: &mut dyn EventSink) -> Result<()> {
        let came_as_events = self.items.values().any(|seen| seen.done);
        for (position, item) in output.iter().enumerate() {
            let item = item.map_err(|_| unreadable())?;
            let place = if came_as_events { self.place_of_missing(&item) } else { Some(position as u64) };
            if let Some(index) = place {
                self.item_ends(index, item, events)?;
            }
            if !came_as_events {
                // No later event can refer to it.
                self.items.remove(&(position as u64));
            }
        }
        Ok(())
    }

    /// The index for an item of the response object; none where events have already emitted it. Its position
    /// and its id may differ from those of its events, because servers omit kinds of events and change ids.
    /// Calls are therefore recognised by the id of the call, other items by their kind.
    fn place_of_missing(&mut self, item: &Item<'_>) -> Option<u64> {
        let is_said = match item.kind.as_deref().unwrap_or_default() {
            "message" => self.spoke,
            "reasoning" => self.blocks > 0,
            "function_call" | "custom_tool_call" => match &item.call_id {
                Some(id) if let Some(begun) = self.called.get(id) => return Some(*begun),
                Some(_) => false,
                None => self.calls > 0,
            },
            kind => self.kinds.contains(kind),
        };
        let place = self.next_place;
        self.next_place += 1;
        (!is_said).then_some(place)
    }

    fn finish_reason(&self, status: &str, reason: Option<String>) -> (FinishReason, String) {
        let usual = if self.calls > 0 { FinishReason::ToolCalls } else { FinishReason::Stop };
        if status != "incomplete" {
            return (usual, status.to_owned());
        }
        let found = match reason.as_deref() {
            Some("content_filter") => FinishReason::ContentFilter,
            Some("max_messages" | "steered") => usual,
            _ => FinishReason::Length,
        };
        (found, reason.unwrap_or_else(|| status.to_owned()))
    }

    // ------------------------------------------------------------------------------------------ items

    fn item_begins(&mut self, index: u64, item: &Item<'_>, events: &mut dyn EventSink) {
        self.ensure_started(events);
        let custom = match item.kind.as_deref() {
            Some("function_call") => false,
            Some("custom_tool_call") => true,
            _ => return,
        };
        // A new call may have the index of a complete one.
        if self.items.get(&index).is_some_and(|seen| seen.done) {
            self.items.remove(&index);
        }
        if self.items.get(&index).is_none_or(|seen| seen.call.is_none()) {
            self.call_begins(index, item, custom, events);
        }
    }

    /// The last event of an item. It is the only one from some servers, and in a whole answer.
    fn item_ends(&mut self, index: u64, item: Item<'_>, events: &mut dyn EventSink) -> Result<()> {
        self.ensure_started(events);
        if std::mem::replace(&mut self.items.entry(index).or_default().done, true) {
            return Ok(());
        }
        match item.kind.as_deref().unwrap_or_default() {
            "message" => self.message_ends(index, item.content, events)?,
            "reasoning" => self.reasoning_ends(index, item, events)?,
            "function_call" => self.call_ends(index, item, false, events),
            "custom_tool_call" => self.call_ends(index, item, true, events),
            kind @ "image_generation_call" => {
                self.kinds.insert(kind.to_owned());
                picture(item, events);
            }
            // Other actions of the provider: no calls for the caller.
            kind => {
                self.searches += u64::from(kind == "web_search_call");
                self.kinds.insert(kind.to_owned());
            }
        }
        Ok(())
    }

    fn message_ends(
        &mut self,
        index: u64,
        parts: List<'_, ContentPart<'_>>,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        for (position, part) in parts.iter().enumerate() {
            let (position, part) = (position as u64, part.map_err(|_| unreadable())?);
            let seen = self.part(index, position);
            let (spoke, told, has_logprobs) = (seen.spoke, seen.annotations, seen.logprobs);
            if !spoke {
                let is_refusal = part.kind.as_deref() == Some("refusal");
                let text = if is_refusal { part.refusal } else { part.text };
                self.text((index, position), text.unwrap_or_default(), is_refusal, events);
            }
            if !has_logprobs {
                self.logprobs(index, position, part.logprobs, events);
            }
            for raw in part.annotations.iter().skip(told) {
                self.annotation(index, position, raw.map_err(|_| unreadable())?, events);
            }
        }
        Ok(())
    }

    fn part(&mut self, index: u64, position: u64) -> &mut SeenPart {
        let start = self.characters;
        let parts = &mut self.items.entry(index).or_default().parts;
        let place = parts.binary_search_by_key(&position, |(known, _)| *known).unwrap_or_else(|place| {
            room::make(parts);
            parts.insert(place, (position, SeenPart { start, ..SeenPart::default() }));
            place
        });
        &mut parts[place].1
    }

    fn text(
        &mut self,
        (index, position): (u64, u64),
        text: String,
        is_refusal: bool,
        events: &mut dyn EventSink,
    ) {
        self.ensure_started(events);
        let part = self.part(index, position);
        if text.is_empty() {
            return;
        }
        part.spoke = true;
        self.spoke = true;
        if is_refusal {
            return events.push(Event::Refusal { choice: 0, text });
        }
        self.characters += text.chars().count() as u64;
        events.push(Event::Text { choice: 0, text });
    }

    fn logprobs(&mut self, index: u64, position: u64, raw: Option<&RawValue>, events: &mut dyn EventSink) {
        let Some(raw) = raw.filter(|raw| !matches!(raw.get(), "null" | "[]")) else { return };
        let Ok(tokens) = serde_json::from_str::<Vec<Value>>(raw.get()) else { return };
        if tokens.is_empty() {
            return;
        }
        self.part(index, position).logprobs = true;
        events.push(Event::Logprobs { choice: 0, logprobs: Json::of(&json!({ "content": tokens })) });
    }

    fn annotation(&mut self, index: u64, position: u64, raw: &RawValue, events: &mut dyn EventSink) {
        let part = self.part(index, position);
        part.annotations += 1;
        let start = part.start;
        if let Some(annotation) = annotation(raw, start) {
            events.push(Event::Annotation { choice: 0, annotation });
        }
    }

    // ------------------------------------------------------------------------------------------ thinking

    fn reasoning_ends(&mut self, index: u64, item: Item<'_>, events: &mut dyn EventSink) -> Result<()> {
        let has_spoken = self.items.get(&index).is_some_and(|seen| seen.thought.is_some());
        if !has_spoken {
            let (telling, parts) = if item.summary.is_empty() {
                (ThinkingPlace::Content, item.content)
            } else {
                (ThinkingPlace::Summary, item.summary)
            };
            for (position, part) in parts.iter().enumerate() {
                let part = part.map_err(|_| unreadable())?;
                self.thinking(index, (telling, position as u64), part.text.unwrap_or_default(), events);
            }
        }
        if let Some(data) = item.encrypted_content.filter(|data| !data.is_empty()) {
            let block = self.thought(index).block;
            thought(block, ReasoningDetail::Encrypted(data), events);
        }
        Ok(())
    }

    fn thought(&mut self, index: u64) -> &mut Thought {
        let blocks = &mut self.blocks;
        self.items.entry(index).or_default().thought.get_or_insert_with(|| {
            *blocks += 1;
            Thought { block: *blocks - 1, part: None }
        })
    }

    /// Parts are separated by blank lines.
    fn thinking(&mut self, index: u64, part: (ThinkingPlace, u64), text: String, events: &mut dyn EventSink) {
        self.ensure_started(events);
        if text.is_empty() {
            return;
        }
        let thinking = self.thought(index);
        let text = match thinking.part {
            Some((telling, _)) if telling != part.0 => return,
            Some((_, position)) if position != part.1 => format!("\n\n{text}"),
            _ => text,
        };
        thinking.part = Some(part);
        let block = thinking.block;
        thought(block, ReasoningDetail::Text(text), events);
    }

    // ------------------------------------------------------------------------------------------ calls

    fn call_begins(&mut self, index: u64, item: &Item<'_>, custom: bool, events: &mut dyn EventSink) {
        let name = item.name.clone().unwrap_or_default();
        // Some servers send only an item id.
        let id = item.call_id.clone().or_else(|| item.id.clone()).unwrap_or_default();
        self.called.insert(id.clone(), index);
        let name = self.decoding.tool_name(&name).to_owned();
        let held = if custom {
            None
        } else if self.decoding.custom_tools.contains(&name) {
            Some(Held::FreeText)
        } else {
            WRAPPERS.contains(&name.as_str()).then_some(Held::Wrapper)
        };
        let call = match held {
            Some(kind) => Call::Held { id, name, kind, arguments: String::new() },
            None => {
                let number = self.calls;
                self.calls += 1;
                events.push(Event::ToolCallStart {
                    choice: 0,
                    index: number,
                    id,
                    name,
                    signature: None,
                    custom,
                });
                Call::Open { index: number, spoke: false }
            }
        };
        self.items.entry(index).or_default().call = Some(call);
    }

    fn arguments(&mut self, index: u64, fragment: String, events: &mut dyn EventSink) {
        if fragment.is_empty() {
            return;
        }
        match self.items.get_mut(&index).and_then(|seen| seen.call.as_mut()) {
            Some(Call::Open { index, spoke }) => {
                *spoke = true;
                events.push(Event::ToolCallArguments { choice: 0, index: *index, fragment });
            }
            Some(Call::Held { arguments, .. }) if arguments.len() < ANSWER_LIMIT => {
                arguments.push_str(&fragment)
            }
            _ => {}
        }
    }

    /// Whether arguments have arrived, or cannot be accepted.
    fn has_arguments(&self, index: u64) -> bool {
        match self.items.get(&index).and_then(|seen| seen.call.as_ref()) {
            Some(Call::Open { spoke, .. }) => *spoke,
            Some(Call::Held { arguments, .. }) => !arguments.is_empty(),
            None => true,
        }
    }

    fn call_ends(&mut self, index: u64, item: Item<'_>, custom: bool, events: &mut dyn EventSink) {
        if self.items.get(&index).is_none_or(|seen| seen.call.is_none()) {
            self.call_begins(index, &item, custom, events);
        }
        let whole = if custom {
            item.input.unwrap_or_default()
        } else {
            repair::fragment(item.arguments.map(Json::from))
        };
        let Some(call) = self.items.get_mut(&index).and_then(|seen| seen.call.take()) else { return };
        match call {
            Call::Open { spoke: true, .. } => {}
            Call::Open { index, .. } => {
                let fragment = if whole.is_empty() && !custom { "{}".to_owned() } else { whole };
                events.push(Event::ToolCallArguments { choice: 0, index, fragment });
            }
            Call::Held { id, name, kind, arguments } => {
                let arguments = if whole.is_empty() { arguments } else { whole };
                self.release((id, name), kind, arguments, events);
            }
        }
    }

    /// Emits the calls without a last event.
    fn close_calls(&mut self, events: &mut dyn EventSink) {
        let open = self.items.values_mut().filter_map(|seen| seen.call.take());
        for call in open.collect::<Vec<_>>() {
            match call {
                Call::Open { spoke: true, .. } => {}
                Call::Open { index, .. } => {
                    events.push(Event::ToolCallArguments { choice: 0, index, fragment: "{}".to_owned() });
                }
                Call::Held { id, name, kind, arguments } => self.release((id, name), kind, arguments, events),
            }
        }
    }

    fn release(
        &mut self,
        (id, name): (String, String),
        kind: Held,
        arguments: String,
        events: &mut dyn EventSink,
    ) {
        match kind {
            Held::FreeText => self.call((id, name), unwrap_free_text(arguments), true, events),
            Held::Wrapper => match wrapped_calls(&arguments) {
                Some(calls) => {
                    for (number, (name, arguments)) in calls.into_iter().enumerate() {
                        let id = if number == 0 { id.clone() } else { format!("{id}_{}", number + 1) };
                        let name = self.decoding.tool_name(&name).to_owned();
                        self.call((id, name), arguments, false, events);
                    }
                }
                None => self.call((id, name), arguments, false, events),
            },
        }
    }

    fn call(
        &mut self,
        (id, name): (String, String),
        arguments: String,
        custom: bool,
        events: &mut dyn EventSink,
    ) {
        let index = self.calls;
        self.calls += 1;
        events.push(Event::ToolCallStart { choice: 0, index, id, name, signature: None, custom });
        events.push(Event::ToolCallArguments { choice: 0, index, fragment: arguments });
    }
}

/// `{"tool_uses":[{"recipient_name":"functions.NAME","parameters":{…}}]}`; none for other JSON.
fn wrapped_calls(arguments: &str) -> Option<Vec<(String, String)>> {
    #[derive(Deserialize)]
    struct Wrapper<'a> {
        #[serde(borrow)]
        tool_uses: Vec<Use<'a>>,
    }
    #[derive(Deserialize)]
    struct Use<'a> {
        recipient_name: String,
        #[serde(borrow)]
        parameters: &'a RawValue,
    }
    if arguments.len() > WRAPPER_LIMIT {
        return None;
    }
    let wrapper: Wrapper<'_> = serde_json::from_str(arguments).ok()?;
    let calls = wrapper.tool_uses.into_iter().map(|one| {
        let name = one.recipient_name.strip_prefix("functions.")?.to_owned();
        Some((name, one.parameters.get().to_owned()))
    });
    calls.collect::<Option<Vec<_>>>().filter(|calls| !calls.is_empty())
}

fn picture(item: Item<'_>, events: &mut dyn EventSink) {
    let Some(data) = item.result.filter(|data| !data.is_empty()) else { return };
    let mime = format!("image/{}", item.output_format.as_deref().unwrap_or("png"));
    events.push(Event::Image { choice: 0, mime, data });
}

fn thought(block: u32, detail: ReasoningDetail, events: &mut dyn EventSink) {
    events.push(Event::Reasoning { choice: 0, block, detail, format: REASONING_FORMAT });
}

/// A web citation, nested as in chat completions. `start` is the number of characters before its part.
fn annotation(raw: &RawValue, start: u64) -> Option<Json> {
    #[derive(Deserialize)]
    struct Flat {
        #[serde(rename = "type")]
        kind: String,
        url: String,
        #[serde(default)]
        title: Option<String>,
        #[serde(default)]
        start_index: Option<u64>,
        #[serde(default)]
        end_index: Option<u64>,
    }
    let flat: Flat = serde_json::from_str(raw.get()).ok()?;
    if flat.kind != "url_citation" {
        return None;
    }
    Some(Json::of(&json!({
        "type": "url_citation",
        "url_citation": {
            "url": flat.url,
            "title": flat.title.unwrap_or_default(),
            "start_index": start.saturating_add(flat.start_index.unwrap_or(0)),
            "end_index": start.saturating_add(flat.end_index.unwrap_or(0)),
        }
    })))
}

/// Live traffic nests members that are flat in the specification.
fn in_stream_error(data: &[u8]) -> Error {
    let event: Value = serde_json::from_slice(data).unwrap_or_default();
    match event.get("error") {
        Some(failure @ Value::Object(_)) => errors::read_failure(failure),
        _ => errors::read_failure(&event),
    }
}

fn text_of(raw: Option<&RawValue>) -> String {
    raw.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
}

fn kind_of(data: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Kind {
        #[serde(rename = "type")]
        kind: String,
    }
    serde_json::from_slice::<Kind>(data).ok().map(|found| found.kind)
}

fn is_known(kind: &str) -> bool {
    const KNOWN: [&str; 8] = [
        "response.created",
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.completed",
        "response.incomplete",
        "response.failed",
    ];
    KNOWN.contains(&kind)
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T> {
    serde_json::from_slice(json).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    broken("The provider's answer does not match its format.")
}

fn no_response() -> Error {
    broken("The provider ended its answer without a response object.")
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}
