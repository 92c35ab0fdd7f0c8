//! An answer between equal formats. Each piece is checked and then copied; only an invalid piece is parsed
//! and repaired.

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Error, Progress, Result};
use serde_json::value::RawValue;

use super::super::answer::normalise::{self, Chunks, broken};
use super::super::answer::usage;
use super::super::errors::write_stream_error;
use super::thoughts::Gatherer;
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{
    FastPathMiss, Kind, Object, Scanner, SeenFields, Value, append, ensure, is_utf8, plain_name,
    plain_string, push_count, push_key,
};
use crate::proofs::Proofs;
use crate::protocols::whole::check_size;
use crate::{AnswerForm, TakenIds, Transcoder};

pub struct RelayParts {
    /// Streamed or whole, with usage or without.
    pub form: AnswerForm,
    /// The gateway's additions.
    pub annotator: Box<dyn Annotator>,
    /// Thinking is collected, because the provider wants it back.
    pub gathers: bool,
    /// The model's prompt tokens exclude those read from the cache.
    pub cached_outside_prompt: bool,
    /// The ids of the conversation's calls, which must not recur in the answer.
    pub taken_ids: TakenIds,
}

impl RelayParts {
    fn usage(&self, reported: &str) -> Option<canon::Usage> {
        usage::read(reported.as_bytes(), self.cached_outside_prompt)
    }
}

/// A relay for one answer.
pub fn relay(parts: RelayParts) -> Box<dyn Transcoder> {
    if parts.form.stream {
        Box::new(StreamRelay::new(parts))
    } else {
        Box::new(WholeRelay {
            gatherer: parts.gathers.then(Gatherer::default),
            parts,
            body: Body::default(),
            progress: Progress::default(),
        })
    }
}

// ---------------------------------------------------------------------------------------------- whole answers

struct WholeRelay {
    parts: RelayParts,
    body: Body,
    progress: Progress,
    gatherer: Option<Gatherer>,
}

/// The bytes of an answer. Most arrive in one piece, which is not copied.
#[derive(Default)]
struct Body {
    first: Bytes,
    joined: Vec<u8>,
}

impl Body {
    fn push(&mut self, bytes: &Bytes) -> Result<()> {
        check_size(self.bytes().len() + bytes.len())?;
        if self.bytes().is_empty() {
            self.first = bytes.clone();
            return Ok(());
        }
        append(&mut self.joined, &std::mem::take(&mut self.first));
        append(&mut self.joined, bytes);
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        if self.joined.is_empty() { &self.first } else { &self.joined }
    }
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, _out: &mut Vec<u8>) -> Result<()> {
        self.body.push(bytes)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        match plain_completion(self.body.bytes(), self.parts.cached_outside_prompt) {
            Some(plain) if !self.parts.form.exclude_reasoning => self.copy(&plain, out),
            _ => self.repair(out)?,
        }
        self.progress.finished = true;
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.gatherer.as_mut()?.take()
    }
}

impl WholeRelay {
    /// The answer unchanged, except for its usage and the metadata at its end.
    fn copy(&mut self, plain: &PlainCompletion, out: &mut Vec<u8>) {
        let body = self.body.bytes();
        let annotator = self.parts.annotator.as_ref();
        let usage = &body[plain.usage.clone()];
        let counts = plain.counts;
        self.progress = Progress {
            content_started: true,
            finished: true,
            finish_reason: std::str::from_utf8(&body[plain.finish.clone()])
                .ok()
                .and_then(normalise::finish_reason),
            usage: Some(counts),
            amount: None,
            model: std::str::from_utf8(&body[plain.model.clone()]).ok().map(str::to_owned),
            service_tier: std::str::from_utf8(&body[plain.tier.clone()])
                .ok()
                .filter(|tier| !tier.is_empty())
                .map(str::to_owned),
            output_chars: plain.content as u64,
        };
        out.reserve(body.len() + 1024);
        out.extend_from_slice(&body[..plain.usage.start]);
        out.extend_from_slice(usage[..usage.len() - 1].trim_ascii_end());
        push_count(out, "reasoning_tokens", counts.reasoning);
        usage::write_cost(out, annotator.cost(&counts, self.progress.service_tier.as_deref()));
        out.push(b'}');
        out.extend_from_slice(body[plain.usage.end..plain.end].trim_ascii_end());
        let facts = AnswerFacts { underlying_model: self.progress.model.as_deref(), usage: Some(&counts) };
        annotator.write_member(facts, out);
        out.push(b'}');
    }

    fn repair(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let (length, parsed) = (self.body.bytes().len(), Object::parse(self.body.bytes()));
        self.body = Body::default();
        let mut body = parsed.ok_or_else(|| broken("it is not a JSON object"))?;
        let annotator = self.parts.annotator.as_ref();
        normalise::completion(&mut body, Some(annotator), &self.parts.taken_ids)?;
        let reported = body.remove("usage").filter(|usage| !usage.is_null()).map(|usage| usage.to_string());
        let counts = reported.as_ref().and_then(|usage| self.parts.usage(usage));
        self.progress = progress_of(&body);
        self.progress.usage = counts;
        if let Some(gatherer) = &mut self.gatherer {
            gatherer.note(&body, "message");
        }
        if self.parts.form.exclude_reasoning {
            without_reasoning(&mut body);
        }
        let facts = AnswerFacts { underlying_model: self.progress.model.as_deref(), usage: counts.as_ref() };
        body.remove("metadata");
        out.reserve_exact(length + length / 8 + 1024);
        body.write(out);
        out.pop();
        if let Some(counts) = &counts {
            push_key(out, "usage");
            let raw = reported.and_then(|text| RawValue::from_string(text).ok());
            let cost = annotator.cost(counts, self.progress.service_tier.as_deref());
            usage::write(out, counts, cost, raw.as_deref());
        }
        annotator.write_member(facts, out);
        out.push(b'}');
        Ok(())
    }
}

fn progress_of(body: &Object) -> Progress {
    let choices = body.get("choices").and_then(Value::as_array).unwrap_or_default();
    let length = |choice: &Value| {
        let message = &choice["message"];
        let text = |name: &str| message[name].as_str().map_or(0, str::len);
        (text("content") + text("reasoning") + 40 * message["tool_calls"].texts().count()) as u64
    };
    Progress {
        content_started: true,
        finished: false,
        finish_reason: choices
            .first()
            .and_then(|choice| normalise::finish_reason(choice["finish_reason"].as_str()?)),
        usage: None,
        amount: None,
        model: body.get("model").and_then(Value::as_str).map(str::to_owned),
        service_tier: body.get("service_tier").and_then(Value::as_str).map(str::to_owned),
        output_chars: choices.iter().map(length).sum(),
    }
}

/// Takes the thinking out; true if there was some.
fn without_reasoning(body: &mut Object) -> bool {
    let mut found = false;
    let Some(Value::Array(choices)) = body.get_mut("choices") else { return false };
    for choice in choices.iter_mut().filter_map(Value::as_object_mut) {
        for part in ["message", "delta"] {
            if let Some(message) = choice.get_mut(part).and_then(Value::as_object_mut) {
                let before = message.len();
                message.retain(|name, _| {
                    !matches!(name, "reasoning" | "reasoning_content" | "reasoning_details")
                });
                found |= message.len() < before;
            }
        }
    }
    found
}

/// False for a chunk whose only choice is empty.
fn is_worth_sending(chunk: &Object) -> bool {
    let choice = chunk.get("choices").map_or(&Value::Null, |choices| &choices[0]);
    let is_empty = choice["delta"].as_object().is_some_and(Object::is_empty);
    !is_empty || !choice["finish_reason"].is_null() || !choice["logprobs"].is_null()
}

/// Positions in a completion that is already valid.
#[derive(Debug)]
struct PlainCompletion {
    counts: canon::Usage,
    usage: std::ops::Range<usize>,
    model: std::ops::Range<usize>,
    finish: std::ops::Range<usize>,
    tier: std::ops::Range<usize>,
    /// Length of the content.
    content: usize,
    /// The position before the last brace.
    end: usize,
}

/// Checks a completion; none unless it is valid as a whole.
fn plain_completion(json: &[u8], cached_outside_prompt: bool) -> Option<PlainCompletion> {
    if !is_utf8(json) {
        return None;
    }
    let mut scanner = Scanner::new(json);
    let mut found = PlainCompletion {
        counts: canon::Usage::default(),
        usage: 0..0,
        model: 0..0,
        finish: 0..0,
        tier: 0..0,
        content: 0,
        end: 0,
    };
    let mut met = SeenFields::default();
    let walked = scanner.object(|scanner, key| {
        match plain_name(json, &key)? {
            b"id" => {
                met.once(0)?;
                ensure(!plain_string(scanner)?.is_empty())?;
            }
            b"object" => {
                met.once(1)?;
                ensure(&json[plain_string(scanner)?] == b"chat.completion")?;
            }
            b"created" => {
                met.once(2)?;
                ensure(scanner.kind()? == Kind::Number && is_integer(&json[scanner.value()?]))?;
            }
            b"model" => {
                met.once(3)?;
                found.model = plain_string(scanner)?;
            }
            b"choices" => {
                met.once(4)?;
                plain_choices(scanner, &mut found)?;
            }
            b"usage" if scanner.kind()? == Kind::Object => {
                met.once(5)?;
                let start = scanner.position();
                found.counts = usage::take_plain(scanner, cached_outside_prompt)?.ok_or(FastPathMiss)?;
                found.usage = start..scanner.position();
            }
            b"service_tier" if scanner.kind()? == Kind::String => {
                met.once(6)?;
                found.tier = plain_string(scanner)?;
            }
            b"usage" | b"error" | b"metadata" | b"base_resp" | b"citations" | b"search_results" => {
                return Err(FastPathMiss);
            }
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    });
    walked.ok()?;
    found.end = scanner.position() - 1;
    scanner.end().ok()?;
    let in_order = met.all(6) && !found.model.is_empty() && !found.finish.is_empty();
    (in_order && scanner.lone_surrogate().is_none()).then_some(found)
}

fn is_integer(number: &[u8]) -> bool {
    number.iter().all(u8::is_ascii_digit) && number != b"0"
}

fn plain_choices(scanner: &mut Scanner<'_>, found: &mut PlainCompletion) -> Result<(), FastPathMiss> {
    if scanner.kind()? != Kind::Array {
        return Err(FastPathMiss);
    }
    let json = scanner.json();
    scanner.array(|scanner, position| {
        let mut met = SeenFields::default();
        let mut finish = 0..0;
        if scanner.kind()? != Kind::Object {
            return Err(FastPathMiss);
        }
        scanner.object(|scanner, key| {
            match plain_name(json, &key)? {
                b"index" => {
                    met.once(0)?;
                    ensure(is_number(&json[scanner.value()?], position as i64))?;
                }
                b"message" => {
                    met.once(1)?;
                    found.content += plain_message(scanner)?;
                }
                b"finish_reason" => {
                    met.once(2)?;
                    finish = plain_string(scanner)?;
                }
                _ => {
                    scanner.value()?;
                }
            }
            Ok::<(), FastPathMiss>(())
        })?;
        let known = matches!(&json[finish.clone()], b"stop" | b"length" | b"content_filter");
        if found.finish.is_empty() {
            found.finish = finish;
        }
        ensure(met.all(3) && known)
    })
}

/// A message with only text. Tool calls and thinking are repaired.
fn plain_message(scanner: &mut Scanner<'_>) -> Result<usize, FastPathMiss> {
    let json = scanner.json();
    let (mut met, mut length) = (SeenFields::default(), 0);
    ensure(scanner.kind()? == Kind::Object)?;
    scanner.object(|scanner, key| {
        match plain_name(json, &key)? {
            b"role" => {
                met.once(0)?;
                ensure(&json[plain_string(scanner)?] == b"assistant")?;
            }
            b"content" => {
                met.once(1)?;
                ensure(scanner.kind()? == Kind::String)?;
                length = scanner.string()?.range.len();
            }
            b"refusal" | b"annotations" | b"audio" => {
                scanner.value()?;
            }
            _ => {
                let value = scanner.value()?;
                if !matches!(&json[value], b"null") {
                    return Err(FastPathMiss);
                }
            }
        }
        Ok(())
    })?;
    ensure(met.all(2))?;
    Ok(length)
}

// ---------------------------------------------------------------------------------------------- streams

struct StreamRelay {
    sse: SseParser,
    state: StreamState,
}

struct StreamState {
    parts: RelayParts,
    chunks: Chunks,
    repaired: Vec<Object>,
    progress: Progress,
    gatherer: Option<Gatherer>,
    done: bool,
}

impl StreamRelay {
    fn new(mut parts: RelayParts) -> Self {
        let state = StreamState {
            gatherer: parts.gathers.then(Gatherer::default),
            chunks: Chunks::besides(std::mem::take(&mut parts.taken_ids)),
            parts,
            repaired: Vec::new(),
            progress: Progress::default(),
            done: false,
        };
        Self { sse: SseParser::default(), state }
    }
}

impl Transcoder for StreamRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let state = &mut self.state;
        self.sse.push(bytes, |event| state.take(event, out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let state = &mut self.state;
        self.sse.finish(|event| state.take(event, out))?;
        state.end(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write_stream_error(error, None, out);
    }

    fn progress(&self) -> &Progress {
        &self.state.progress
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.state.gatherer.as_mut()?.take()
    }
}

impl StreamState {
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let trimmed = event.data.trim_ascii();
        if trimmed == b"[DONE]" {
            self.done = true;
            return Ok(());
        }
        if trimmed.is_empty() {
            return Ok(());
        }
        // Several lines are one event; a copy of the joined bytes would be several.
        let may_pass = !event.is_joined && event.event != b"error";
        if let Some(length) = may_pass.then(|| self.plain_length(trimmed)).flatten() {
            self.progress.output_chars += length as u64;
            self.progress.content_started = true;
            write_event(trimmed, out);
            return Ok(());
        }
        self.repair(event, out)
    }

    /// The length of the content of a chunk that can be passed on unchanged: same identity, one open choice,
    /// only text. Every other chunk is repaired.
    fn plain_length(&self, data: &[u8]) -> Option<usize> {
        let identity = self.chunks.identity()?;
        if !is_utf8(data) {
            return None;
        }
        let mut scanner = Scanner::new(data);
        let (mut met, mut length) = (SeenFields::default(), 0);
        let walked = scanner.object(|scanner, key| {
            let (bit, same) = match plain_name(data, &key)? {
                b"id" => (0, data[plain_string(scanner)?] == *identity.id.as_bytes()),
                b"object" => (1, data[plain_string(scanner)?] == *b"chat.completion.chunk"),
                b"model" => (2, data[plain_string(scanner)?] == *identity.model.as_bytes()),
                b"created" => (3, is_number(&data[scanner.value()?], identity.created)),
                b"choices" => {
                    length = self.plain_delta(scanner)?;
                    (4, true)
                }
                b"usage" => {
                    return if data[scanner.value()?] == *b"null" { Ok(()) } else { Err(FastPathMiss) };
                }
                b"error" | b"metadata" | b"citations" | b"search_results" | b"x_groq" => {
                    return Err(FastPathMiss);
                }
                _ => {
                    scanner.value()?;
                    return Ok(());
                }
            };
            met.once(bit)?;
            ensure(same)
        });
        walked.ok()?;
        scanner.end().ok()?;
        (met.all(5) && scanner.lone_surrogate().is_none()).then_some(length)
    }

    fn plain_delta(&self, scanner: &mut Scanner<'_>) -> Result<usize, FastPathMiss> {
        let data = scanner.json();
        if scanner.kind()? != Kind::Array {
            return Err(FastPathMiss);
        }
        let (mut met, mut length, mut index) = (SeenFields::default(), 0, None);
        scanner.array(|scanner, position| {
            if position > 0 || scanner.kind()? != Kind::Object {
                return Err(FastPathMiss);
            }
            scanner.object(|scanner, key| {
                match plain_name(data, &key)? {
                    b"index" => {
                        met.once(0)?;
                        index = std::str::from_utf8(&data[scanner.value()?])
                            .ok()
                            .and_then(|text| text.parse().ok())
                    }
                    b"delta" => {
                        met.once(1)?;
                        length = plain_content(scanner)?;
                    }
                    b"message" | b"usage" => return Err(FastPathMiss),
                    b"finish_reason" if data[scanner.value()?] != *b"null" => return Err(FastPathMiss),
                    b"finish_reason" => {}
                    _ => {
                        scanner.value()?;
                    }
                }
                Ok(())
            })
        })?;
        ensure(met.all(2) && index.is_some_and(|index| self.chunks.is_open(index)))?;
        Ok(length)
    }

    fn repair(&mut self, event: SseEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        let mut chunk = normalise::event(event)?;
        // An answer has one, and it is the gateway's.
        chunk.remove("metadata");
        let annotator = self.parts.annotator.as_ref();
        let mut repaired = std::mem::take(&mut self.repaired);
        if let Some(tier) = chunk.get("service_tier").and_then(Value::as_str)
            && self.progress.service_tier.as_deref() != Some(tier)
        {
            self.progress.service_tier = Some(tier.to_owned());
        }
        let result = self.chunks.push(chunk, Some(annotator), &mut repaired);
        for chunk in repaired.drain(..) {
            self.note(&chunk);
            if let Some(gatherer) = &mut self.gatherer {
                gatherer.note(&chunk, "delta");
            }
            self.write(chunk, None, out);
        }
        self.repaired = repaired;
        if self.progress.model.is_none() {
            self.progress.model = self.chunks.identity().map(|identity| identity.model.clone());
        }
        if let Some(usage) = &self.chunks.usage {
            self.progress.usage = self.parts.usage(&usage.to_string());
        }
        result
    }

    fn note(&mut self, chunk: &Object) {
        let delta = chunk.get("choices").map_or(&Value::Null, |choices| &choices[0]["delta"]);
        let text = |name: &str| delta[name].as_str().map_or(0, str::len);
        let length = |call: std::borrow::Cow<'_, Value>| {
            let function = &call["function"];
            function["arguments"].as_str().map_or(0, str::len) + function["name"].as_str().map_or(0, str::len)
        };
        let produced = text("content")
            + text("reasoning")
            + text("refusal")
            + delta["tool_calls"].items().map(length).sum::<usize>();
        self.progress.output_chars += produced as u64;
        self.progress.content_started |= delta.as_object().is_some_and(normalise::says_something);
    }

    /// The end of the caller's stream, if the provider's ended properly.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if !self.done && !self.chunks.is_finished() {
            return Err(broken("the stream ended before the answer was complete"));
        }
        if self.chunks.identity().is_none() {
            return Err(broken("the stream is empty"));
        }
        let reported = self.chunks.usage.take().map(|usage| usage.to_string());
        let counts = reported.as_ref().and_then(|usage| self.parts.usage(usage));
        self.progress.usage = counts;
        let include_usage = self.parts.form.include_usage;
        let annotator = self.parts.annotator.as_ref();
        let model = self.chunks.identity().map(|identity| identity.model.clone());
        let mut metadata = Vec::with_capacity(512);
        let facts = AnswerFacts { underlying_model: model.as_deref(), usage: counts.as_ref() };
        annotator.write_member(facts, &mut metadata);
        let mut last = self.chunks.finish_chunks(Some(annotator))?;
        self.progress.finish_reason = self.chunks.finish();
        let position = last.iter().position(is_finish_chunk);
        if let (false, Some(position)) = (include_usage, position) {
            // Members of chunks without choices (content filter results of the prompt) have no other place.
            for (name, value) in std::mem::take(&mut self.chunks.trailing) {
                last[position].or_insert(&name, || value);
            }
        }
        for (index, chunk) in last.into_iter().enumerate() {
            let rides = !include_usage && Some(index) == position;
            self.write(chunk, rides.then_some(&*metadata), out);
        }
        if include_usage {
            self.write_usage(counts, reported, &metadata, out);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
        self.progress.finished = true;
        self.progress.content_started = true;
        Ok(())
    }

    fn write(&self, mut chunk: Object, metadata: Option<&[u8]>, out: &mut Vec<u8>) {
        if self.parts.form.exclude_reasoning && without_reasoning(&mut chunk) && !is_worth_sending(&chunk) {
            return;
        }
        out.extend_from_slice(b"data: ");
        chunk.write(out);
        if let Some(metadata) = metadata {
            out.pop();
            out.extend_from_slice(metadata);
            out.push(b'}');
        }
        out.extend_from_slice(b"\n\n");
    }

    fn write_usage(
        &mut self,
        counts: Option<canon::Usage>,
        reported: Option<String>,
        metadata: &[u8],
        out: &mut Vec<u8>,
    ) {
        let Some(identity) = self.chunks.identity().cloned() else { return };
        let mut chunk = std::mem::take(&mut self.chunks.trailing);
        chunk.retain(|name, _| !matches!(name, "choices" | "usage" | "metadata"));
        chunk.insert("id", identity.id.as_str());
        chunk.insert("object", "chat.completion.chunk");
        chunk.insert("created", identity.created);
        chunk.insert("model", identity.model.as_str());
        chunk.insert("choices", Value::Array(Vec::new()));
        out.extend_from_slice(b"data: ");
        chunk.write(out);
        out.pop();
        push_key(out, "usage");
        let raw = reported.and_then(|text| RawValue::from_string(text).ok());
        match counts {
            Some(counts) => {
                let cost = self.parts.annotator.cost(&counts, self.progress.service_tier.as_deref());
                usage::write(out, &counts, cost, raw.as_deref());
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(metadata);
        out.extend_from_slice(b"}\n\n");
    }
}

fn is_finish_chunk(chunk: &Object) -> bool {
    chunk.get("choices").is_some_and(|choices| choices[0]["finish_reason"].is_string())
}

fn is_number(text: &[u8], number: i64) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse() == Ok(number))
}

fn write_event(data: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"data: ");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// A delta with only text.
fn plain_content(scanner: &mut Scanner<'_>) -> Result<usize, FastPathMiss> {
    let data = scanner.json();
    let (mut met, mut length) = (SeenFields::default(), 0);
    ensure(scanner.kind()? == Kind::Object)?;
    scanner.object(|scanner, key| {
        match (plain_name(data, &key)?, scanner.kind()?) {
            (b"content", Kind::String) => {
                met.once(0)?;
                length = scanner.string()?.range.len();
            }
            (
                b"refusal" | b"reasoning_content" | b"reasoning" | b"tool_calls" | b"function_call",
                Kind::Null,
            ) => {
                scanner.value()?;
            }
            _ => return Err(FastPathMiss),
        }
        Ok(())
    })?;
    ensure(length > 0)?;
    Ok(length)
}
