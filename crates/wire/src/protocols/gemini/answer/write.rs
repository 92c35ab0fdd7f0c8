//! Answers to callers that speak `generateContent`: pieces as server-sent events without an end marker or as one list, or one
//! object.

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};
use serde_json::{Map, Value, json};

use super::super::{REASONING_FORMAT, errors};
use crate::{AnswerForm, Encoder};

/// Writes an answer, streamed or whole.
pub(crate) struct GeminiEncoder {
    form: AnswerForm,
    frames: Frames,
    annotator: Box<dyn Annotator>,
    id: Option<String>,
    model: Option<String>,
    usage: Option<Usage>,
    tier: Option<String>,
    choices: Vec<Choice>,
}

/// One choice.
#[derive(Default)]
struct Choice {
    /// All text, to count citations in bytes.
    text: String,
    /// The parts of a whole answer.
    parts: Vec<Value>,
    /// A call whose arguments are not complete yet: index, part, arguments.
    call: Option<(u32, Value, String)>,
    /// The block of thinking that has text.
    thinking: Option<u32>,
    chunks: Vec<Value>,
    supports: Vec<Value>,
    chosen: Vec<Value>,
    top: Vec<Value>,
    finish: Option<&'static str>,
}

impl GeminiEncoder {
    /// An encoder for this form of an answer.
    pub fn new(form: AnswerForm, annotator: Box<dyn Annotator>) -> Self {
        Self {
            frames: Frames::new(form.is_list),
            form,
            annotator,
            id: None,
            model: None,
            usage: None,
            tier: None,
            choices: Vec::new(),
        }
    }

    fn choice(&mut self, choice: u32) -> &mut Choice {
        let index = choice as usize;
        while self.choices.len() <= index {
            self.choices.push(Choice::default());
        }
        &mut self.choices[index]
    }

    /// A part that is complete: written at once, or kept for the whole.
    fn part(&mut self, choice: u32, part: Value, out: &mut Vec<u8>) {
        if !self.form.stream {
            self.choice(choice).parts.push(part);
            return;
        }
        let candidate = json!({"content": {"parts": [part], "role": "model"}, "index": choice});
        let answer = self.answer(vec![candidate]);
        self.frames.write(Value::Object(answer).to_string().as_bytes(), out);
    }

    fn text(&mut self, choice: u32, text: String, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.flush_call(choice, out);
        let stream = self.form.stream;
        let state = self.choice(choice);
        state.text.push_str(&text);
        state.thinking = None;
        if let (false, Some(Value::Object(last))) = (stream, state.parts.last_mut())
            && last.len() == 1
            && let Some(Value::String(before)) = last.get_mut("text")
        {
            before.push_str(&text);
            return;
        }
        self.part(choice, json!({"text": text}), out);
    }

    fn reasoning(
        &mut self,
        choice: u32,
        block: u32,
        detail: ReasoningDetail,
        format: &str,
        out: &mut Vec<u8>,
    ) {
        self.flush_call(choice, out);
        let exclude = self.form.exclude_reasoning;
        let stream = self.form.stream;
        let state = self.choice(choice);
        match detail {
            ReasoningDetail::Text(text) => {
                let continues = state.thinking == Some(block);
                state.thinking = Some(block);
                if exclude || text.is_empty() {
                    return;
                }
                if let (true, false, Some(last)) = (continues, stream, state.parts.last_mut())
                    && let Some(Value::String(before)) = last.get_mut("text")
                {
                    before.push_str(&text);
                    return;
                }
                self.part(choice, json!({"text": text, "thought": true}), out);
            }
            // Proofs of other families mean nothing to a caller of this API, and would be sent back as Google's.
            ReasoningDetail::Signature(signature) if format == REASONING_FORMAT => {
                let is_of_thought = state.thinking == Some(block);
                let part = match is_of_thought {
                    true => json!({"text": "", "thought": true, "thoughtSignature": signature}),
                    false => json!({"text": "", "thoughtSignature": signature}),
                };
                self.part(choice, part, out);
            }
            ReasoningDetail::Signature(_) | ReasoningDetail::Encrypted(_) => {}
        }
    }

    fn call_start(&mut self, start: CallStart, out: &mut Vec<u8>) {
        self.flush_call(start.choice, out);
        let mut part = json!({"functionCall": {"id": start.id, "name": start.name}});
        if let Some(signature) = start.signature {
            part["thoughtSignature"] = Value::String(signature);
        }
        self.choice(start.choice).call = Some((start.index, part, String::new()));
    }

    fn call_arguments(&mut self, choice: u32, index: u32, fragment: &str) {
        if let Some((open, _, arguments)) = &mut self.choice(choice).call
            && *open == index
        {
            arguments.push_str(fragment);
        }
    }

    /// Calls are written whole. Arguments that are no JSON object, as those of free-text tools, are put into one.
    fn flush_call(&mut self, choice: u32, out: &mut Vec<u8>) {
        let Some((_, mut part, arguments)) = self.choice(choice).call.take() else { return };
        let args = match serde_json::from_str(&arguments) {
            Ok(Value::Object(args)) => Value::Object(args),
            _ if arguments.trim().is_empty() => json!({}),
            _ => json!({"input": arguments}),
        };
        part["functionCall"]["args"] = args;
        self.part(choice, part, out);
    }

    fn annotation(&mut self, choice: u32, annotation: &Json) {
        let Ok(annotation) = annotation.to_value() else { return };
        let citation = &annotation["url_citation"];
        let state = self.choice(choice);
        let web = json!({"uri": citation["url"], "title": citation["title"]});
        let chunk = json!({"web": web});
        let position = state.chunks.iter().position(|known| *known == chunk).unwrap_or_else(|| {
            state.chunks.push(chunk);
            state.chunks.len() - 1
        });
        let byte_of = |name: &str| {
            let count = citation[name].as_u64().unwrap_or(0) as usize;
            state.text.char_indices().nth(count).map_or(state.text.len(), |(byte, _)| byte)
        };
        let (start, end) = (byte_of("start_index"), byte_of("end_index"));
        let text = state.text.get(start..end).unwrap_or_default();
        let segment = json!({"startIndex": start, "endIndex": end, "text": text});
        state.supports.push(json!({"segment": segment, "groundingChunkIndices": [position]}));
    }

    fn logprobs(&mut self, choice: u32, logprobs: &Json) {
        let Ok(logprobs) = logprobs.to_value() else { return };
        let entry = |token: &Value| json!({"token": token["token"], "logProbability": token["logprob"]});
        let state = self.choice(choice);
        for token in logprobs["content"].as_array().map(Vec::as_slice).unwrap_or_default() {
            state.chosen.push(entry(token));
            let top = token["top_logprobs"].as_array().map(Vec::as_slice).unwrap_or_default();
            state.top.push(json!({"candidates": top.iter().map(entry).collect::<Vec<_>>()}));
        }
    }

    /// A piece without usage.
    fn answer(&self, candidates: Vec<Value>) -> Map<String, Value> {
        let model = self.model.as_deref().unwrap_or_else(|| self.annotator.model());
        let id = self.id.as_deref().unwrap_or_else(|| self.annotator.answer_id());
        let mut answer = Map::new();
        answer.insert("candidates".to_owned(), Value::Array(candidates));
        answer.insert("modelVersion".to_owned(), Value::String(model.to_owned()));
        answer.insert("responseId".to_owned(), Value::String(id.to_owned()));
        answer
    }
}

/// The beginning of a call.
struct CallStart {
    choice: u32,
    index: u32,
    id: String,
    name: String,
    signature: Option<String>,
}

impl Encoder for GeminiEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, .. } => (self.id, self.model) = (id, model),
            Event::Text { choice, text } | Event::Refusal { choice, text } => self.text(choice, text, out),
            Event::Reasoning { choice, block, detail, format } => {
                self.reasoning(choice, block, detail, format, out);
            }
            Event::ToolCallStart { choice, index, id, name, signature, .. } => {
                self.call_start(CallStart { choice, index, id, name, signature }, out);
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                self.call_arguments(choice, index, &fragment);
            }
            Event::Image { choice, mime, data } => {
                self.flush_call(choice, out);
                self.part(choice, json!({"inlineData": {"mimeType": mime, "data": data}}), out);
            }
            Event::Annotation { choice, annotation } => self.annotation(choice, &annotation),
            Event::Logprobs { choice, logprobs } => self.logprobs(choice, &logprobs),
            Event::Usage(usage) => self.usage = Some(usage),
            Event::Finish { choice, reason, native } => {
                self.flush_call(choice, out);
                self.choice(choice).finish = Some(finish_word(reason, native.as_deref()));
            }
            Event::Field { name: "service_tier", value } => self.tier = value.read().ok(),
            Event::Field { .. } => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        for choice in 0..self.choices.len() as u32 {
            self.flush_call(choice, out);
        }
        let choices = std::mem::take(&mut self.choices);
        let candidates = choices.into_iter().enumerate().map(|(index, choice)| choice.candidate(index));
        let mut answer = self.answer(candidates.collect());
        if let Some(usage) = &self.usage {
            answer.insert("usageMetadata".to_owned(), usage_metadata(usage));
        }
        let mut text = Value::Object(answer).to_string().into_bytes();
        text.pop();
        let facts = AnswerFacts { underlying_model: self.model.as_deref(), usage: self.usage.as_ref() };
        self.annotator.write_member_with_cost(facts, self.tier.as_deref(), &mut text);
        text.push(b'}');
        match self.form.stream {
            true => {
                self.frames.write(&text, out);
                self.frames.end(out);
            }
            false => out.extend_from_slice(&text),
        }
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        if self.form.stream {
            self.frames.write(errors::to_json(error, error.status()).to_string().as_bytes(), out);
            self.frames.end(out);
        }
    }
}

impl Choice {
    /// The whole choice, or the last piece of it.
    fn candidate(self, index: usize) -> Value {
        let mut candidate = Map::new();
        if !self.parts.is_empty() {
            candidate.insert("content".to_owned(), json!({"parts": self.parts, "role": "model"}));
        }
        candidate.insert("finishReason".to_owned(), json!(self.finish.unwrap_or("STOP")));
        candidate.insert("index".to_owned(), json!(index));
        if !self.chunks.is_empty() {
            let grounding = json!({"groundingChunks": self.chunks, "groundingSupports": self.supports});
            candidate.insert("groundingMetadata".to_owned(), grounding);
        }
        if !self.chosen.is_empty() {
            let result = json!({"chosenCandidates": self.chosen, "topCandidates": self.top});
            candidate.insert("logprobsResult".to_owned(), result);
        }
        Value::Object(candidate)
    }
}

/// How the pieces of a stream are told apart: as events, or as the entries of a list (`alt=json`, the default of Google's
/// own API).
pub(crate) struct Frames {
    is_list: bool,
    is_first: bool,
}

impl Frames {
    /// Nothing is written yet.
    pub fn new(is_list: bool) -> Self {
        Self { is_list, is_first: true }
    }

    /// Writes one piece.
    pub fn write(&mut self, json: &[u8], out: &mut Vec<u8>) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        let (before, after): (&[u8], &[u8]) = match (self.is_list, is_first) {
            (false, _) => (b"data: ", b"\r\n\r\n"),
            (true, true) => (b"[", b"\n"),
            (true, false) => (b",\r\n", b"\n"),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(json);
        out.extend_from_slice(after);
    }

    /// Ends the stream.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.is_list {
            out.extend_from_slice(if self.is_first { b"[]" } else { b"]" });
        }
    }
}

/// Google's word; its own more exact one is kept.
fn finish_word(reason: FinishReason, native: Option<&str>) -> &'static str {
    const FILTERS: [&str; 8] = [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "MODEL_ARMOR",
        "LANGUAGE",
    ];
    match reason {
        FinishReason::Stop | FinishReason::ToolCalls => "STOP",
        FinishReason::Length => "MAX_TOKENS",
        FinishReason::ContentFilter => {
            native.and_then(|native| FILTERS.into_iter().find(|word| *word == native)).unwrap_or("SAFETY")
        }
    }
}

fn usage_metadata(usage: &Usage) -> Value {
    // Some servers count more thinking than all that they count as produced.
    let thoughts = usage.reasoning.min(usage.completion_tokens());
    let mut counts = json!({
        "promptTokenCount": usage.prompt_tokens(),
        "candidatesTokenCount": usage.completion_tokens() - thoughts,
        "totalTokenCount": usage.total_tokens(),
    });
    if usage.cache_read > 0 {
        counts["cachedContentTokenCount"] = json!(usage.cache_read);
    }
    if thoughts > 0 {
        counts["thoughtsTokenCount"] = json!(thoughts);
    }
    if usage.audio_input > 0 {
        let text = usage.prompt_tokens() - usage.audio_input;
        counts["promptTokensDetails"] = json!([
            {"modality": "TEXT", "tokenCount": text},
            {"modality": "AUDIO", "tokenCount": usage.audio_input},
        ]);
    }
    let made = [("IMAGE", usage.image_output), ("AUDIO", usage.audio_output)];
    let details: Vec<_> = made.into_iter().filter(|(_, count)| *count > 0).collect();
    if !details.is_empty() {
        let details = details.iter().map(|(kind, count)| json!({"modality": kind, "tokenCount": count}));
        counts["candidatesTokensDetails"] = Value::Array(details.collect());
    }
    counts
}
