//! An OpenAI-like answer as canonical events. It is repaired first, so that only one form has to be read.

use canon::{Event, FinishReason, Json, ReasoningDetail, Result};

use super::normalise::{self, Chunks, broken};
use super::usage;
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{Object, Value};
use crate::protocols::function_tools::unwrap_free_text;
use crate::protocols::media_types::data_url;
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Decoder, DecoderContext, EventSink, TakenIds};

/// The family of thinking text without a proof is unknown.
const UNKNOWN_FORMAT: &str = "unknown";

/// The decoder for one answer.
pub(crate) fn decoder(streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
    let pieces = DeltaReader { decoding: decoding.clone(), ..DeltaReader::default() };
    if streaming {
        Box::new(StreamDecoder {
            sse: SseParser::default(),
            state: StreamState { chunks: Chunks::default(), repaired: Vec::new(), pieces, done: false },
        })
    } else {
        Box::new(WholeDecoder::new(pieces))
    }
}

// ---------------------------------------------------------------------------------------------- streams

struct StreamDecoder {
    sse: SseParser,
    state: StreamState,
}

struct StreamState {
    chunks: Chunks,
    repaired: Vec<Object>,
    pieces: DeltaReader,
    done: bool,
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let state = &mut self.state;
        self.sse.push(bytes, |event| state.take(event, events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let state = &mut self.state;
        self.sse.finish(|event| state.take(event, events))?;
        state.end(events)
    }
}

impl StreamState {
    fn take(&mut self, event: SseEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        let data = event.data.trim_ascii();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let chunk = normalise::event(event)?;
        let told = DeltaReader::fields_of(&chunk);
        let result = self.chunks.push(chunk, None, &mut self.repaired);
        for mut chunk in self.repaired.drain(..) {
            self.pieces.start(&chunk, events);
            self.pieces.take_choices(&mut chunk, "delta", events);
        }
        // Some report the tier only with the usage, after the finish; some before the answer begins.
        if self.pieces.started {
            self.pieces.take_fields(told, events)
        } else {
            self.pieces.early.extend(told)
        }
        result
    }

    fn end(&mut self, events: &mut dyn EventSink) -> Result<()> {
        if !self.done && !self.chunks.is_finished() {
            return Err(broken("the stream ended before the answer was complete"));
        }
        if !self.pieces.started {
            return Err(broken("the stream is empty"));
        }
        for mut chunk in self.chunks.finish_chunks(None)? {
            self.pieces.take_choices(&mut chunk, "delta", events);
        }
        self.pieces.release(None, events);
        if let Some(usage) = self.chunks.usage.as_ref().and_then(|usage| self.pieces.usage(usage)) {
            events.push(Event::Usage(usage));
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------- whole answers

impl WholeReader for DeltaReader {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        let parsed = Object::parse(&body);
        drop(body);
        let mut body = parsed.ok_or_else(|| broken("it is not a JSON object"))?;
        normalise::completion(&mut body, None, &TakenIds::default())?;
        self.start(&body, events);
        self.take_choices(&mut body, "message", events);
        self.release(None, events);
        if let Some(usage) = body.get("usage").and_then(|usage| self.usage(usage)) {
            events.push(Event::Usage(usage));
        }
        Ok(())
    }
}

// ---------------------------------------------------------------------------------------------- pieces

/// Converts repaired messages and deltas into events.
#[derive(Default)]
struct DeltaReader {
    decoding: DecoderContext,
    started: bool,
    /// Top-level fields from before the answer began.
    early: Vec<(&'static str, Json)>,
    /// Top-level fields as last reported.
    fields: Vec<(&'static str, Json)>,
    /// Choices that use the function calls that preceded tool calls.
    legacy: Vec<u32>,
    /// Calls of free-text tools that were sent as functions, by choice and index: complete arguments are
    /// unwrapped.
    held: Vec<(u32, u32, String)>,
}

impl DeltaReader {
    /// The start event, and the fields besides the choices, whichever chunk has them.
    fn start(&mut self, body: &Object, events: &mut dyn EventSink) {
        if !self.started {
            self.started = true;
            events.push(Self::beginning(body));
            let early = std::mem::take(&mut self.early);
            self.take_fields(early, events);
        }
        self.take_fields(Self::fields_of(body), events);
    }

    fn usage(&self, reported: &Value) -> Option<canon::Usage> {
        usage::read(reported.to_string().as_bytes(), self.decoding.cached_outside_prompt)
    }

    fn fields_of(body: &Object) -> Vec<(&'static str, Json)> {
        let value = |name: &str| body.get(name).filter(|value| !value.is_null()).map(Json::from);
        ["service_tier", "system_fingerprint"]
            .into_iter()
            .filter_map(|name| Some((name, value(name)?)))
            .collect()
    }

    fn take_fields(&mut self, told: Vec<(&'static str, Json)>, events: &mut dyn EventSink) {
        for (name, value) in told {
            if !self.fields.iter().any(|(known, old)| *known == name && *old == value) {
                self.fields.retain(|(known, _)| *known != name);
                self.fields.push((name, value.clone()));
                events.push(Event::Field { name, value });
            }
        }
    }

    fn beginning(body: &Object) -> Event {
        let text = |name: &str| {
            body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let created = body.get("created").and_then(Value::as_f64).map(|time| time as i64);
        Event::Start { id: text("id"), model: text("model"), created: created.filter(|time| *time > 0) }
    }

    /// Takes the choices out of the body: each is freed when its events have been emitted.
    fn take_choices(&mut self, body: &mut Object, part: &str, events: &mut dyn EventSink) {
        let Value::Array(choices) = body.take("choices") else { return };
        for choice in choices {
            let Value::Object(mut choice) = choice else { continue };
            let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0) as u32;
            if let Value::Object(message) = choice.take(part) {
                self.take_message(index, message, events);
            }
            if let Some(logprobs) = choice.get("logprobs").filter(|value| !value.is_null()) {
                events.push(Event::Logprobs { choice: index, logprobs: Json::from(logprobs) });
            }
            if let Some(native) = choice.get("finish_reason").and_then(Value::as_str) {
                self.release(Some(index), events);
                let reason = normalise::finish_reason(native).unwrap_or(FinishReason::Stop);
                let reason = normalise::with_calls(
                    reason,
                    reason == FinishReason::ToolCalls || self.legacy.contains(&index),
                );
                events.push(Event::Finish { choice: index, reason, native: Some(native.to_owned()) });
            }
        }
    }

    fn take_message(&mut self, choice: u32, mut message: Object, events: &mut dyn EventSink) {
        if let Some(text) = take_text(&mut message, "reasoning") {
            // The same text.
            message.take("reasoning_content");
            let detail = ReasoningDetail::Text(text);
            events.push(Event::Reasoning { choice, block: 0, detail, format: UNKNOWN_FORMAT });
        }
        self.take_proofs(choice, &message.take("reasoning_details"), events);
        if let Some(text) = take_text(&mut message, "content") {
            events.push(Event::Text { choice, text });
        }
        if let Some(text) = take_text(&mut message, "refusal") {
            events.push(Event::Refusal { choice, text });
        }
        for (position, call) in message.take("tool_calls").items().enumerate() {
            let index = call["index"].as_u64().map_or(position as u32, |index| index as u32);
            self.take_call(choice, index, &call, events);
        }
        let function = message.take("function_call");
        if function.is_object() {
            self.take_legacy_call(choice, &function, events);
        }
        for annotation in message.take("annotations").texts().filter_map(|text| Json::parse(text).ok()) {
            events.push(Event::Annotation { choice, annotation });
        }
        for image in message.take("images").items() {
            take_image(choice, &image, events);
        }
    }

    /// Signatures and encrypted thinking of servers that pass them on.
    fn take_proofs(&self, choice: u32, details: &Value, events: &mut dyn EventSink) {
        for (position, item) in details.items().enumerate() {
            let block = item["index"].as_u64().map_or(position as u32, |index| index as u32);
            let format = known_format(item["format"].as_str().unwrap_or(""));
            let proofs = [
                item["signature"].as_str().map(|text| ReasoningDetail::Signature(text.to_owned())),
                item["data"].as_str().map(|data| ReasoningDetail::Encrypted(data.to_owned())),
            ];
            for detail in proofs.into_iter().flatten() {
                events.push(Event::Reasoning { choice, block, detail, format });
            }
        }
    }

    /// The name and then pieces of arguments, without index and id.
    fn take_legacy_call(&mut self, choice: u32, function: &Value, events: &mut dyn EventSink) {
        if !self.legacy.contains(&choice) {
            self.legacy.push(choice);
            let name = self.decoding.tool_name(function["name"].as_str().unwrap_or("")).to_owned();
            let (index, id) = (0, String::new());
            events.push(Event::ToolCallStart { choice, index, id, name, signature: None, custom: false });
        }
        let fragment = normalise::arguments_text(function.get("arguments"));
        if !fragment.is_empty() {
            events.push(Event::ToolCallArguments { choice, index: 0, fragment });
        }
    }

    fn take_call(&mut self, choice: u32, index: u32, call: &Value, events: &mut dyn EventSink) {
        let custom = normalise::is_custom(call);
        let inner = normalise::called(call);
        if let Some(name) = inner["name"].as_str() {
            let name = self.decoding.tool_name(name).to_owned();
            let is_wrapped = !custom && self.decoding.custom_tools.contains(&name);
            if is_wrapped {
                self.held.push((choice, index, String::new()));
            }
            events.push(Event::ToolCallStart {
                choice,
                index,
                id: call["id"].as_str().unwrap_or("").to_owned(),
                name,
                signature: call["extra_content"]["google"]["thought_signature"].as_str().map(str::to_owned),
                custom: custom || is_wrapped,
            });
        }
        let fragment = inner[if custom { "input" } else { "arguments" }].as_str().unwrap_or("");
        if fragment.is_empty() {
            return;
        }
        match self.held.iter_mut().find(|(of, at, _)| (*of, *at) == (choice, index)) {
            Some((.., held)) => held.push_str(fragment),
            None => events.push(Event::ToolCallArguments { choice, index, fragment: fragment.to_owned() }),
        }
    }

    /// Emits the held arguments of one choice or of all.
    fn release(&mut self, of: Option<u32>, events: &mut dyn EventSink) {
        for (choice, index, wrapped) in
            self.held.extract_if(.., |(choice, ..)| of.is_none_or(|of| of == *choice))
        {
            let fragment = unwrap_free_text(wrapped);
            if !fragment.is_empty() {
                events.push(Event::ToolCallArguments { choice, index, fragment });
            }
        }
    }
}

/// Takes a text out, unless it is empty.
fn take_text(message: &mut Object, name: &str) -> Option<String> {
    match message.take(name) {
        Value::String(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

/// The possible formats of a proof; it is only returned to the family that wrote it.
fn known_format(format: &str) -> &'static str {
    const KNOWN: [&str; 4] =
        ["anthropic-claude-v1", "google-gemini-v1", "openai-responses-v1", "xai-responses-v1"];
    KNOWN.into_iter().find(|known| *known == format).unwrap_or(UNKNOWN_FORMAT)
}

fn take_image(choice: u32, image: &Value, events: &mut dyn EventSink) {
    let url = image["image_url"]["url"].as_str().unwrap_or("");
    if let Some(Some(found)) = data_url(url).filter(|found| found.as_ref().is_some_and(|url| url.is_base64)) {
        events.push(Event::Image { choice, mime: found.mime, data: found.data.to_owned() });
    }
}
