//! Between callers and providers that both use text completions: the request is forwarded with only its model
//! changed, and the answer with only the gateway's additions.

use std::collections::BTreeMap;

use bytes::Bytes;
use canon::write::quoted;
use canon::{Annotator, AnswerFacts, Error, Losses, Progress, Quirks, Result, StreamUsage, Target, Usage};
use serde_json::Map;
use serde_json::value::RawValue;

use super::OpenaiCompletions;
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{Object, Value, append, push_key};
use crate::proofs::Refusal;
use crate::protocols::openai_chat::write_stream_error;
use crate::protocols::openai_chat::{broken, error_in, event, finish_reason, usage};
use crate::protocols::whole::check_size;
use crate::{
    AnswerForm, DecoderContext, Encoded, Intake, Passthrough, PassthroughInputs, ROUTING_FIELDS,
    ThinkingRepair, Transcoder, TranscoderParts,
};

/// Several prompts with several answers each.
pub(super) const MOST_CHOICES: usize = 16 << 10;
/// The name of an answer. Some servers have another one, such as `text.completion`.
const OBJECT: &str = "text_completion";

impl Passthrough for OpenaiCompletions {
    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded> {
        let Target { model, quirks, .. } = forwarding.target;
        let (mut edit, losses) = (intake.edit(), Losses::new());
        edit.set("model", &quoted(model));
        if !quirks.takes_routing_fields {
            // The gateway itself has read them.
            for name in ROUTING_FIELDS {
                edit.remove(name);
            }
        }
        intake.leave_out_nulls(&mut edit);
        // Usage is always requested: the gateway meters it even when the caller does not want it.
        if intake.form.stream && quirks.stream_usage == StreamUsage::OnRequest {
            let mut options: Map<String, serde_json::Value> =
                intake.read_as("stream_options").unwrap_or_default();
            options.insert("include_usage".to_owned(), true.into());
            edit.set("stream_options", &serde_json::to_vec(&options).unwrap_or_default());
        }
        let decoding = DecoderContext {
            cached_outside_prompt: quirks.counts_cached_outside(model),
            ..DecoderContext::default()
        };
        Ok(Encoded { body: edit.write(160).into(), losses, decoding })
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        let answer = Answer {
            form: parts.form,
            annotator: Box::new(parts.annotator),
            cached_outside_prompt: parts.decoding.cached_outside_prompt,
            progress: Progress::default(),
        };
        if answer.form.stream {
            Box::new(StreamRelay { sse: SseParser::default(), stream: Stream::of(answer) })
        } else {
            Box::new(WholeRelay { answer, body: Vec::new() })
        }
    }

    /// Texts contain no thinking.
    fn thinking_repair(&self, _refusal: Refusal, _usual: &Quirks) -> Option<ThinkingRepair> {
        None
    }
}

/// The facts of an answer that both forms need.
struct Answer {
    form: AnswerForm,
    annotator: Box<dyn Annotator>,
    cached_outside_prompt: bool,
    progress: Progress,
}

impl Answer {
    /// Sets the name and the identity of the object, and records its facts.
    fn take(&mut self, object: &mut Object) -> Result<()> {
        object.insert("object", OBJECT);
        if object.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
            object.insert("id", self.annotator.answer_id());
        }
        object.or_insert("created", || self.annotator.created().into());
        object.or_insert("model", || self.annotator.model().into());
        // An answer has one, and it is the gateway's.
        if let Some(name) = self.annotator.metadata_name() {
            object.remove(name);
        }
        if let Some(model) = object.get("model").and_then(Value::as_str) {
            self.progress.model = Some(model.to_owned());
        }
        if let Some(tier) = object.get("service_tier").and_then(Value::as_str) {
            self.progress.service_tier = Some(tier.to_owned());
        }
        let choices = object.get("choices").map(Value::items).into_iter().flatten();
        for (position, choice) in choices.enumerate() {
            if position == MOST_CHOICES {
                return Err(broken("it has too many choices"));
            }
            if !choice.is_object() {
                return Err(broken("a choice is no object"));
            }
            let length = choice["text"].as_str().map_or(0, str::len);
            self.progress.output_chars += length as u64;
            self.progress.content_started |= length > 0;
            if let Some(native) = choice["finish_reason"].as_str() {
                let reason = finish_reason(native)
                    .ok_or_else(|| broken("it was broken off, as its finish_reason says"))?;
                let first = choice["index"].as_u64().unwrap_or(0) == 0;
                if first || self.progress.finish_reason.is_none() {
                    self.progress.finish_reason = Some(reason);
                }
            }
        }
        Ok(())
    }

    fn counts(&self, reported: &str) -> Option<Usage> {
        usage::read(reported.as_bytes(), self.cached_outside_prompt)
    }

    fn facts(&self) -> AnswerFacts<'_> {
        AnswerFacts { underlying_model: self.progress.model.as_deref(), usage: self.progress.usage.as_ref() }
    }

    /// The object with its usage and the gateway's own object, where they belong to it.
    fn write(&self, object: &Object, reported: Option<&str>, is_last: bool, out: &mut Vec<u8>) {
        object.write(out);
        out.pop();
        if let (Some(reported), Some(counts)) = (reported, &self.progress.usage) {
            push_key(out, "usage");
            let raw = RawValue::from_string(reported.to_owned()).ok();
            let cost = self.annotator.cost(counts, self.progress.service_tier.as_deref());
            usage::write(out, counts, cost, raw.as_deref());
        }
        if is_last {
            self.annotator.write_member(self.facts(), out);
        }
        out.push(b'}');
    }
}

/// Takes the usage out of an object.
fn reported(object: &mut Object) -> Option<String> {
    object.remove("usage").filter(Value::is_object).map(|usage| usage.to_string())
}

struct WholeRelay {
    answer: Answer,
    body: Vec<u8>,
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, _out: &mut Vec<u8>) -> Result<()> {
        check_size(self.body.len() + bytes.len())?;
        append(&mut self.body, bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let body = std::mem::take(&mut self.body);
        let (length, parsed) = (body.len(), Object::parse(&body));
        drop(body);
        let mut object = parsed.ok_or_else(|| broken("it is not a JSON object"))?;
        if let Some(error) = error_in(&object) {
            return Err(error);
        }
        if object.get("choices").is_none_or(|choices| choices.items().next().is_none()) {
            return Err(broken("it has no choices"));
        }
        self.answer.take(&mut object)?;
        let reported = reported(&mut object);
        self.answer.progress.usage = reported.as_deref().and_then(|usage| self.answer.counts(usage));
        self.answer.progress.content_started = true;
        self.answer.progress.finished = true;
        out.reserve_exact(length + length / 16 + 1024);
        self.answer.write(&object, reported.as_deref(), true, out);
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        &self.answer.progress
    }
}

struct StreamRelay {
    sse: SseParser,
    stream: Stream,
}

struct Stream {
    answer: Answer,
    /// Whether each choice has ended.
    ended: BTreeMap<u64, bool>,
    /// The last chunk that ends a choice: the very last chunk has the gateway's object.
    held: Option<Object>,
    /// Identity of the answer, for a chunk of the gateway.
    first: Option<Object>,
    reported: Option<String>,
    done: bool,
}

impl Stream {
    fn of(answer: Answer) -> Self {
        Self { answer, ended: BTreeMap::new(), held: None, first: None, reported: None, done: false }
    }

    fn take(&mut self, found: SseEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        if self.done || found.data.trim_ascii().is_empty() {
            return Ok(());
        }
        if found.data.trim_ascii() == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        let mut chunk = event(found)?;
        self.answer.take(&mut chunk)?;
        if let Some(usage) = reported(&mut chunk) {
            self.answer.progress.usage = self.answer.counts(&usage);
            self.reported = Some(usage);
        }
        let ends = self.note(&chunk);
        if self.first.is_none() {
            let mut first = chunk.clone();
            first.retain(|name, _| {
                matches!(name, "id" | "object" | "created" | "model" | "system_fingerprint")
            });
            self.first = Some(first);
        }
        // A chunk without choices has the usage, which comes at the end.
        let Some(ends) = ends else { return Ok(()) };
        if let Some(held) = self.held.take() {
            self.send(&held, None, false, out);
        }
        if ends {
            self.held = Some(chunk)
        } else {
            self.send(&chunk, None, false, out)
        }
        Ok(())
    }

    /// Whether the chunk ends a choice; none without a choice.
    fn note(&mut self, chunk: &Object) -> Option<bool> {
        let mut ends = None;
        for choice in chunk.get("choices").map(Value::items).into_iter().flatten() {
            let is_end = choice["finish_reason"].is_string();
            let index = choice["index"].as_u64().unwrap_or(0);
            if self.ended.len() < MOST_CHOICES || self.ended.contains_key(&index) {
                *self.ended.entry(index).or_default() |= is_end;
            }
            ends = Some(ends.unwrap_or(false) || is_end);
        }
        ends
    }

    fn send(&self, chunk: &Object, reported: Option<&str>, is_last: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"data: ");
        self.answer.write(chunk, reported, is_last, out);
        out.extend_from_slice(b"\n\n");
    }

    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let is_complete = !self.ended.is_empty() && self.ended.values().all(|ended| *ended);
        if !self.done && !is_complete {
            return Err(broken("the stream ended before the answer was complete"));
        }
        let Some(mut first) = self.first.take() else { return Err(broken("the stream is empty")) };
        let include_usage = self.answer.form.include_usage;
        if let Some(held) = self.held.take() {
            self.send(&held, None, !include_usage, out);
        }
        if include_usage {
            first.insert("choices", Value::Array(Vec::new()));
            self.send(&first, self.reported.as_deref(), true, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        self.answer.progress.content_started = true;
        self.answer.progress.finished = true;
        Ok(())
    }
}

impl Transcoder for StreamRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let stream = &mut self.stream;
        self.sse.push(bytes, |event| stream.take(event, out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let stream = &mut self.stream;
        self.sse.finish(|event| stream.take(event, out))?;
        stream.end(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write_stream_error(error, None, out);
    }

    fn progress(&self) -> &Progress {
        &self.stream.answer.progress
    }
}
