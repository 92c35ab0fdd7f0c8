//! Writes answers for callers of `generateContent`: pieces as server-sent events without an end marker or as
//! one list, or a single object.

mod grounding;

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};
use serde_json::{Value, json};

use super::super::{REASONING_FORMAT, errors};
use crate::json::{
    Items, Members, ValueHash, append, make_room, push_array, push_compact, push_count, push_escaped,
    push_key, push_text, push_u64, put, room,
};
use crate::protocols::envelope::{Sealing, UNKNOWN_FORMAT};
use crate::{AnswerForm, Encoder};
use grounding::Grounding;

/// Approximate length of the text around the candidates.
const AROUND: usize = 1024;
/// The same around the parts of a candidate or a piece.
const AROUND_PARTS: usize = 128;
/// The same around the text of a part.
const AROUND_TEXT: usize = 32;

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

/// One choice. Its parts are already text: a tree of values would take many times as much. Rare parts are boxed, because an answer
/// can have a thousand short choices.
#[derive(Default)]
struct Choice {
    /// The parts of a whole answer, separated by commas.
    parts: Vec<u8>,
    /// The last part can be continued with text of this kind.
    open: Option<TextKind>,
    /// A call whose arguments are incomplete.
    call: Option<Box<Call>>,
    /// The block of thinking that has text.
    thinking: Option<u32>,
    /// Thinking of other families, by block, which is sent with the next call.
    foreign: Option<Box<Sealing>>,
    grounding: Grounding,
    logprobs: Option<Box<Logprobs>>,
    finish: Option<&'static str>,
}

/// Log probabilities: the chosen tokens, and the most likely ones of each.
#[derive(Default)]
struct Logprobs {
    chosen: Vec<u8>,
    top: Vec<u8>,
}

/// The kind of a text part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextKind {
    Text,
    Thought,
}

/// An incomplete call.
struct Call {
    index: u32,
    id: String,
    name: String,
    signature: Option<String>,
    arguments: String,
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
            room::push(&mut self.choices, Choice::default());
        }
        &mut self.choices[index]
    }

    /// A complete part: written immediately, or kept for the whole answer.
    fn part(&mut self, choice: u32, write: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
        if !self.form.stream {
            let state = self.choice(choice);
            state.open = None;
            separate(&mut state.parts);
            write(&mut state.parts);
            return;
        }
        self.frames.begin(out);
        out.extend_from_slice(br#"{"candidates":[{"content":{"parts":["#);
        write(out);
        out.extend_from_slice(br#"],"role":"model"},"index":"#);
        push_u64(out, u64::from(choice));
        out.extend_from_slice(b"}]");
        self.identity(out);
        out.push(b'}');
        self.frames.close(out);
    }

    /// Makes space for a text of this length where it will be written.
    fn make_room(&mut self, choice: u32, length: usize, out: &mut Vec<u8>) {
        if self.form.stream {
            make_room(out, length + length / 16 + AROUND);
        } else {
            make_room(&mut self.choice(choice).parts, length + length / 16 + AROUND_TEXT);
        }
    }

    /// A text part, or a continuation of the last one.
    fn text_part(&mut self, choice: u32, kind: TextKind, text: &str, out: &mut Vec<u8>) {
        let is_whole = !self.form.stream;
        self.make_room(choice, text.len(), out);
        let state = self.choice(choice);
        if is_whole && state.open == Some(kind) {
            // Removes the closing quote and brace.
            state.parts.truncate(state.parts.len() - 2);
            push_escaped(&mut state.parts, text);
            state.parts.extend_from_slice(b"\"}");
            return;
        }
        self.part(choice, |out| push_text_of(kind, text, out), out);
        self.choice(choice).open = Some(kind);
    }

    fn text(&mut self, choice: u32, text: String, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.flush_call(choice, out);
        let state = self.choice(choice);
        state.grounding.text(&text);
        state.thinking = None;
        self.text_part(choice, TextKind::Text, &text, out);
    }

    fn reasoning(
        &mut self,
        (choice, block): (u32, u32),
        detail: ReasoningDetail,
        format: &str,
        out: &mut Vec<u8>,
    ) {
        self.flush_call(choice, out);
        let exclude = self.form.exclude_reasoning;
        let state = self.choice(choice);
        if format != REASONING_FORMAT {
            state.note_foreign(block, &detail, format);
        }
        match detail {
            ReasoningDetail::Text(text) => {
                let continues = state.thinking == Some(block);
                state.thinking = Some(block);
                if exclude || text.is_empty() {
                    return;
                }
                if !continues {
                    state.open = None;
                }
                self.text_part(choice, TextKind::Thought, &text, out);
            }
            ReasoningDetail::Signature(signature) if format == REASONING_FORMAT => {
                let is_of_thought = state.thinking == Some(block);
                let write = |out: &mut Vec<u8>| {
                    out.extend_from_slice(br#"{"text":"""#);
                    if is_of_thought {
                        out.extend_from_slice(br#","thought":true"#);
                    }
                    push_text(out, "thoughtSignature", &signature);
                    out.push(b'}');
                };
                self.part(choice, write, out);
            }
            // Proofs of other families are sent with the next call: here they would be returned as Google's.
            ReasoningDetail::Signature(_) | ReasoningDetail::Encrypted(_) => {}
        }
    }

    fn call_start(&mut self, choice: u32, call: Call, out: &mut Vec<u8>) {
        self.flush_call(choice, out);
        self.choice(choice).call = Some(Box::new(call));
    }

    fn call_arguments(&mut self, choice: u32, index: u32, fragment: &str) {
        if let Some(call) = &mut self.choice(choice).call
            && call.index == index
        {
            call.arguments.push_str(fragment);
        }
    }

    fn flush_call(&mut self, choice: u32, out: &mut Vec<u8>) {
        let state = self.choice(choice);
        if let Some(mut call) = state.call.take() {
            let foreign = state.foreign.take();
            if call.signature.is_none() {
                call.signature = foreign.and_then(|foreign| foreign.seal());
            }
            let length = call.arguments.len() + call.signature.as_ref().map_or(0, String::len);
            self.make_room(choice, call.id.len() + call.name.len() + length + AROUND_TEXT, out);
            self.part(choice, |out| call.write(out), out);
        }
    }

    fn logprobs(&mut self, choice: u32, logprobs: &Json) {
        let content = Members::of(logprobs.as_str()).and_then(|members| members.get("content"));
        let state = self.choice(choice).logprobs.get_or_insert_default();
        for token in Items::of(content.unwrap_or_default()) {
            let Some(token) = Members::of(token) else { continue };
            separate(&mut state.chosen);
            push_token(&token, &mut state.chosen);
            separate(&mut state.top);
            state.top.extend_from_slice(br#"{"candidates":"#);
            let top = Items::of(token.get("top_logprobs").unwrap_or_default()).filter_map(Members::of);
            push_array(&mut state.top, top, |token, out| push_token(&token, out));
            state.top.push(b'}');
        }
    }

    /// Appends the identity of the answer.
    fn identity(&self, out: &mut Vec<u8>) {
        push_text(out, "modelVersion", self.model.as_deref().unwrap_or_else(|| self.annotator.model()));
        push_text(out, "responseId", self.id.as_deref().unwrap_or_else(|| self.annotator.answer_id()));
    }
}

impl Call {
    /// Calls are written whole. Arguments that are not a JSON object, such as those of free-text tools, are
    /// wrapped into one.
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"functionCall":{"#);
        push_text(out, "id", &self.id);
        push_text(out, "name", &self.name);
        push_key(out, "args");
        let arguments = self.arguments.trim();
        if arguments.starts_with('{') && serde_json::from_str::<ValueHash>(arguments).is_ok() {
            push_compact(out, arguments);
        } else {
            out.push(b'{');
            if !arguments.is_empty() {
                push_text(out, "input", &self.arguments);
            }
            out.push(b'}');
        }
        out.push(b'}');
        if let Some(signature) = &self.signature {
            push_text(out, "thoughtSignature", signature);
        }
        out.push(b'}');
    }
}

/// Appends a text part, which ends with its quote and the brace.
fn push_text_of(kind: TextKind, text: &str, out: &mut Vec<u8>) {
    out.push(b'{');
    if kind == TextKind::Thought {
        out.extend_from_slice(br#""thought":true"#);
    }
    push_text(out, "text", text);
    out.push(b'}');
}

fn push_token(token: &Members<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (from, to) in [("token", "token"), ("logprob", "logProbability")] {
        push_key(out, to);
        out.extend_from_slice(token.get(from).unwrap_or("null").as_bytes());
    }
    out.push(b'}');
}

/// A comma, if something has been written.
fn separate(list: &mut Vec<u8>) {
    if !list.is_empty() {
        list.push(b',');
    }
}

impl Encoder for GeminiEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, .. } => (self.id, self.model) = (id, model),
            Event::Text { choice, text } | Event::Refusal { choice, text } => self.text(choice, text, out),
            Event::Reasoning { choice, block, detail, format } => {
                self.reasoning((choice, block), detail, format, out);
            }
            Event::ToolCallStart { choice, index, id, name, signature, .. } => {
                self.call_start(choice, Call { index, id, name, signature, arguments: String::new() }, out);
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                self.call_arguments(choice, index, &fragment);
            }
            Event::Image { choice, mime, data } => {
                self.flush_call(choice, out);
                self.make_room(choice, mime.len() + data.len() + AROUND_TEXT, out);
                let write = |out: &mut Vec<u8>| {
                    out.extend_from_slice(br#"{"inlineData":{"#);
                    push_text(out, "mimeType", &mime);
                    push_text(out, "data", &data);
                    out.extend_from_slice(b"}}");
                };
                self.part(choice, write, out);
            }
            Event::Annotation { choice, annotation } => {
                self.choice(choice).grounding.annotation(&annotation);
            }
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
        let room: usize = self.choices.iter().map(Choice::room).sum();
        let choices = std::mem::take(&mut self.choices).into_iter().enumerate();
        let mut text = Vec::with_capacity(room + AROUND);
        text.extend_from_slice(br#"{"candidates":"#);
        // Each choice is freed when it is written.
        push_array(&mut text, choices, |(index, choice), out| choice.write(index, out));
        self.identity(&mut text);
        if let Some(usage) = &self.usage {
            push_key(&mut text, "usageMetadata");
            text.extend_from_slice(usage_metadata(usage).to_string().as_bytes());
        }
        let facts = AnswerFacts { underlying_model: self.model.as_deref(), usage: self.usage.as_ref() };
        self.annotator.write_member_with_cost(facts, self.tier.as_deref(), &mut text);
        text.push(b'}');
        if self.form.stream {
            self.frames.write(&text, out);
            self.frames.end(out);
        } else {
            put(out, text);
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
    /// Keeps thinking of another family for the following call.
    fn note_foreign(&mut self, block: u32, detail: &ReasoningDetail, format: &str) {
        let thought = self.foreign.get_or_insert_default().block(block, format);
        // Some providers name the family only with the proof, after the text.
        if thought.format == UNKNOWN_FORMAT {
            format.clone_into(&mut thought.format);
        }
        let (place, more) = match detail {
            ReasoningDetail::Text(more) => (&mut thought.text, more),
            ReasoningDetail::Signature(more) => (&mut thought.signature, more),
            ReasoningDetail::Encrypted(more) => (&mut thought.encrypted, more),
        };
        place.push_str(more);
    }

    /// Approximate length of the output.
    fn room(&self) -> usize {
        let logprobs = self.logprobs.as_ref().map_or(0, |it| it.chosen.len() + it.top.len());
        AROUND_PARTS + self.parts.len() + self.grounding.room() + logprobs
    }

    /// Appends the whole choice, or its last piece.
    fn write(self, index: usize, out: &mut Vec<u8>) {
        let Self { parts, grounding, logprobs, finish, .. } = self;
        out.push(b'{');
        if !parts.is_empty() {
            out.extend_from_slice(br#""content":{"parts":["#);
            append(out, &parts);
            out.extend_from_slice(br#"],"role":"model"}"#);
        }
        drop(parts);
        push_text(out, "finishReason", finish.unwrap_or("STOP"));
        push_count(out, "index", index as u64);
        grounding.write(out);
        if let Some(Logprobs { chosen, top }) = logprobs.map(|it| *it).filter(|it| !it.chosen.is_empty()) {
            push_key(out, "logprobsResult");
            out.extend_from_slice(br#"{"chosenCandidates":["#);
            append(out, &chosen);
            out.extend_from_slice(br#"],"topCandidates":["#);
            append(out, &top);
            out.extend_from_slice(b"]}");
        }
        out.push(b'}');
    }
}

/// The separation of a stream's pieces: as events, or as the entries of a list (`alt=json`, the default of
/// Google's own API).
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
        self.begin(out);
        out.extend_from_slice(json);
        self.close(out);
    }

    /// Begins a piece.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let is_first = std::mem::replace(&mut self.is_first, false);
        out.extend_from_slice(match (self.is_list, is_first) {
            (false, _) => b"data: ",
            (true, true) => b"[",
            (true, false) => b",\r\n",
        });
    }

    /// Ends the piece that has begun.
    fn close(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.is_list { b"\n" } else { b"\r\n\r\n" });
    }

    /// Ends the stream.
    pub fn end(&self, out: &mut Vec<u8>) {
        if self.is_list {
            out.extend_from_slice(if self.is_first { b"[]" } else { b"]" });
        }
    }
}

/// Google's finish reason; a more specific original one is kept.
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
    // Some servers count more thinking than output tokens in total.
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
