//! Answers: server-sent events, one JSON object, or a JSON array of pieces (a stream without `alt=sse`). The
//! first byte decides.

mod candidate;
mod citations;
mod partial_args;

use canon::{Error, ErrorKind, Event, Result, Retry, Usage};
use serde_json::value::RawValue;

use super::super::errors;
use super::super::model::Generation;
use super::types::{Answer, UsageMetadata};
use crate::framing::sse::{EVENT_LIMIT, SseParser};
use crate::json::append;
use crate::protocols::repair::valid_json;
use crate::{Decoder, DecoderContext, EventSink};
use candidate::CandidateState;

/// An index beyond this is invalid.
const CHOICE_LIMIT: usize = 64;
/// A count beyond this is invalid, and would overflow in sums.
const COUNT_LIMIT: u64 = 1 << 40;

/// Reads an answer, streamed or whole.
pub(crate) struct GeminiDecoder {
    form: Form,
    state: AnswerState,
}

enum Form {
    Unknown,
    Events(SseParser),
    Json(Vec<u8>),
}

impl GeminiDecoder {
    /// A decoder that undoes the changes of the request's encoder.
    pub fn new(decoding: DecoderContext) -> Self {
        Self { form: Form::Unknown, state: AnswerState::new(decoding) }
    }
}

impl Decoder for GeminiDecoder {
    fn push(&mut self, mut bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        if let Form::Unknown = self.form {
            bytes = bytes.trim_ascii_start();
            self.form = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Form::Json(Vec::new()),
                Some(_) => Form::Events(SseParser::default()),
            };
        }
        match &mut self.form {
            Form::Events(parser) => parser.push(bytes, |event| self.state.document(event.data, events)),
            Form::Json(body) if body.len() + bytes.len() > EVENT_LIMIT => Err(too_large()),
            Form::Json(body) => {
                append(body, bytes);
                Ok(())
            }
            Form::Unknown => Ok(()),
        }
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        match &mut self.form {
            Form::Events(parser) => parser.finish(|event| self.state.document(event.data, events))?,
            Form::Json(body) => {
                let body = std::mem::take(body);
                self.state.document(&body, events)?;
            }
            Form::Unknown => {}
        }
        self.state.finish(events)
    }
}

/// The state of an answer so far.
pub(crate) struct AnswerState {
    decoding: DecoderContext,
    started: bool,
    generation: Generation,
    candidates: Vec<CandidateState>,
    /// The reason why the prompt was refused, in the provider's term.
    blocked: Option<String>,
    usage: Option<UsageMetadata>,
    /// The service tier as last reported.
    tier: Option<String>,
}

impl AnswerState {
    /// Nothing has arrived yet.
    pub fn new(decoding: DecoderContext) -> Self {
        Self {
            decoding,
            started: false,
            generation: Generation::of(""),
            candidates: Vec::new(),
            blocked: None,
            usage: None,
            tier: None,
        }
    }

    /// One piece of the answer, or a list of pieces.
    pub fn document(&mut self, data: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let data = &*valid_json(data.trim_ascii());
        // Undocumented for this API, but it would have the same meaning as for others.
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        if data.starts_with(b"[") {
            let pieces: Vec<&RawValue> = serde_json::from_slice(data).map_err(|_| malformed())?;
            return pieces.into_iter().try_for_each(|piece| self.object(piece.get().as_bytes(), events));
        }
        self.object(data, events)
    }

    fn object(&mut self, data: &[u8], events: &mut dyn EventSink) -> Result<()> {
        // Serde would read a list as a struct's fields in order.
        if !data.starts_with(b"{") {
            return Err(malformed());
        }
        let answer: Answer<'_> = serde_json::from_slice(data).map_err(|_| malformed())?;
        if let Some(error) = answer.error {
            return Err(errors::in_stream(error));
        }
        self.answer(answer, events)
    }

    fn answer(&mut self, answer: Answer<'_>, events: &mut dyn EventSink) -> Result<()> {
        if !self.started {
            self.started = true;
            self.generation = Generation::of(answer.model_version.as_deref().unwrap_or_default());
            events.push(Event::Start { id: answer.response_id, model: answer.model_version, created: None });
        }
        if let Some(reason) = answer.prompt_feedback.and_then(|feedback| feedback.block_reason) {
            self.blocked = Some(reason);
        }
        for (position, candidate) in answer.candidates.iter().enumerate() {
            let candidate = candidate.map_err(|_| malformed())?;
            // Only the first may omit its index.
            let index = candidate.index.unwrap_or(position as u32) as usize;
            if index >= CHOICE_LIMIT {
                return Err(malformed());
            }
            while self.candidates.len() <= index {
                self.candidates.push(CandidateState::new(self.candidates.len() as u32));
            }
            self.candidates[index].push(candidate, &self.decoding, events)?;
        }
        if let Some(usage) = answer.usage_metadata.filter(|usage| self.usage.as_ref() != Some(usage)) {
            if usage.prompt_token_count.is_some() || usage.candidates_token_count.is_some() {
                events.push(Event::Usage(self.count(&usage)));
            }
            if let Some(tier) = usage.tier().filter(|tier| Some(tier) != self.tier.as_ref()) {
                events.push(Event::Field { name: "service_tier", value: canon::Json::of(&tier) });
                self.tier = Some(tier);
            }
            self.usage = Some(usage);
        }
        Ok(())
    }

    /// The end of the answer.
    pub fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        if let (true, Some(reason)) = (self.candidates.is_empty(), self.blocked.take()) {
            let reason = Some(reason);
            events.push(Event::Finish {
                choice: 0,
                reason: canon::FinishReason::ContentFilter,
                native: reason,
            });
            return Ok(());
        }
        if self.candidates.is_empty() {
            return Err(Error::upstream(
                ErrorKind::Upstream,
                Retry::Again,
                "The provider's answer has no content and no reason for it.",
            ));
        }
        for candidate in &mut self.candidates {
            candidate.finish(events)?;
        }
        // The number of searches is known only now.
        if let Some(usage) = self.usage.take()
            && self.candidates.iter().any(|candidate| candidate.searches() > 0)
        {
            events.push(Event::Usage(self.count(&usage)));
        }
        Ok(())
    }

    /// Disjoint buckets. The prompt's count includes cached tokens. The answer's count excludes thinking,
    /// except from some models, which the total reveals.
    fn count(&self, usage: &UsageMetadata) -> Usage {
        let known = |count: Option<u64>| count.unwrap_or(0).min(COUNT_LIMIT);
        let prompt = known(usage.prompt_token_count);
        let cached = known(usage.cached_content_token_count).min(prompt);
        let candidates = known(usage.candidates_token_count);
        let thoughts = known(usage.thoughts_token_count);
        let all_in = prompt + known(usage.tool_use_prompt_token_count);
        let thoughts_included = usage.total_token_count.is_some_and(|total| {
            thoughts > 0
                && candidates >= thoughts
                && (total == prompt + candidates || total == all_in + candidates)
        });
        let output = if thoughts_included { candidates } else { candidates + thoughts };
        let audio = usage.prompt_tokens_details.audio;
        let audio_input = audio.saturating_sub(usage.cache_tokens_details.audio).min(all_in - cached);
        let image_output = usage.candidates_tokens_details.image.min(output);
        let audio_output = usage.candidates_tokens_details.audio.min(output - image_output);
        let queries: u64 = self.candidates.iter().map(CandidateState::searches).sum();
        Usage {
            input: all_in - cached - audio_input,
            cache_read: cached,
            audio_input,
            output: output - image_output - audio_output,
            audio_output,
            image_output,
            reasoning: thoughts,
            // Before Gemini 3 a grounded answer is billed once; since then every query is billed.
            web_searches: if self.generation.at_least(3, 0) { queries } else { queries.min(1) },
            ..Usage::default()
        }
    }
}

/// The error for data in another format.
pub(crate) fn malformed() -> Error {
    let message = "The provider sent an answer that is not in its own format.";
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

pub(crate) fn too_large() -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, "The provider sent an answer that is too large.")
}
