//! Canonical events as a text completion: chunks, or one document. Both have the same form.

use canon::{Annotator, Error, Event, FinishReason, Json};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::request::read::Prompt;
use crate::json::{Items, Members, append, push_key, push_string, push_u64, quoted};
use crate::protocols::openai_chat::{Core, write_stream_error};
use crate::{AnswerForm, Encoder};

const OBJECT: &str = "text_completion";

pub(crate) fn encoder(form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder> {
    let answer = Answer { core: Core::new(form, annotator), echo: echo(form), choices: Vec::new() };
    if form.stream { Box::new(StreamEncoder { answer }) } else { Box::new(WholeEncoder { answer }) }
}

/// The prompt, where the answer repeats it.
fn echo(form: &AnswerForm) -> String {
    #[derive(Deserialize)]
    struct PromptOnly {
        prompt: Prompt,
    }
    let asked = form.request.as_ref().and_then(|body| serde_json::from_slice::<PromptOnly>(body).ok());
    asked.map(|asked| asked.prompt.into_text()).unwrap_or_default()
}

/// The facts of an answer that both forms need.
struct Answer {
    core: Core,
    echo: String,
    choices: Vec<Choice>,
}

#[derive(Default)]
struct Choice {
    /// Text that is not written yet: everything of a whole answer.
    text: String,
    logprobs: Tokens,
    /// Characters of all tokens so far, with the echoed prompt: the offset of the next token.
    offset: u64,
    finish: Option<FinishReason>,
}

impl Answer {
    fn choice(&mut self, index: u32) -> &mut Choice {
        let index = index as usize;
        while self.choices.len() <= index {
            let offset = self.echo.chars().count() as u64;
            self.choices.push(Choice { text: self.echo.clone(), offset, ..Choice::default() });
        }
        &mut self.choices[index]
    }

    /// Takes an event; returns the choice that it extended. Thinking, calls and images cannot be part of a
    /// text.
    fn take(&mut self, event: Event) -> Option<u32> {
        match event {
            Event::Start { id, model, created } => {
                let id = id.map(own_id);
                self.core.start(id, model, created);
            }
            Event::Text { choice, text } | Event::Refusal { choice, text } => {
                self.choice(choice).text.push_str(&text);
                return (!text.is_empty()).then_some(choice);
            }
            Event::Logprobs { choice, logprobs } => {
                self.choice(choice).take_logprobs(&logprobs);
                return Some(choice);
            }
            Event::Usage(usage) => self.core.usage = Some(usage),
            Event::Finish { choice, reason, .. } => self.choice(choice).finish = Some(reason),
            Event::Field { name, value } => self.core.set_field(name, value),
            Event::Reasoning { .. }
            | Event::ToolCallStart { .. }
            | Event::ToolCallArguments { .. }
            | Event::Image { .. }
            | Event::Annotation { .. } => {}
        }
        None
    }

    /// Before the first byte: an answer has an id, and at least one choice.
    fn settle(&mut self) {
        if self.core.id.is_empty() {
            self.core.start(None, None, None);
        }
        self.core.id = own_id(std::mem::take(&mut self.core.id));
        if self.choices.is_empty() {
            self.choice(0);
        }
    }
}

/// The id for completions: a chat's has another prefix.
fn own_id(id: String) -> String {
    match id.strip_prefix("chatcmpl-") {
        Some(rest) => format!("cmpl-{rest}"),
        None => id,
    }
}

impl Choice {
    fn take_logprobs(&mut self, logprobs: &Json) {
        let content = Members::of(logprobs.as_str()).and_then(|members| members.get("content"));
        let tokens = Items::of(content.unwrap_or_default());
        for token in tokens.map_while(|token| serde_json::from_str::<Token>(token).ok()) {
            self.logprobs.add(&token, self.offset);
            self.offset += token.token.chars().count() as u64;
        }
    }

    /// Writes the new text since the last call.
    fn write(&mut self, index: usize, finish: Option<FinishReason>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"text\":");
        push_string(out, &std::mem::take(&mut self.text));
        push_key(out, "index");
        push_u64(out, index as u64);
        push_key(out, "logprobs");
        std::mem::take(&mut self.logprobs).write(out);
        push_key(out, "finish_reason");
        match finish {
            // A text contains no calls.
            Some(FinishReason::ToolCalls) => push_string(out, FinishReason::Stop.as_str()),
            Some(reason) => push_string(out, reason.as_str()),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
}

/// A token in chat's format.
#[derive(Deserialize)]
struct Token {
    token: String,
    /// Unchanged: every digit matters.
    logprob: Box<RawValue>,
    #[serde(default)]
    top_logprobs: Option<Vec<Token>>,
}

/// Log probabilities in the completions format, which has one list for each kind of value. The lists are kept
/// as text, because there may be many tokens.
#[derive(Default)]
struct Tokens {
    tokens: Vec<u8>,
    logprobs: Vec<u8>,
    alternatives: Vec<u8>,
    has_alternatives: bool,
    offsets: Vec<u8>,
}

impl Tokens {
    fn add(&mut self, token: &Token, offset: u64) {
        let is_first = self.tokens.is_empty();
        let Self { tokens, logprobs, alternatives, offsets, .. } = self;
        for list in [&mut *tokens, logprobs, alternatives, offsets] {
            append(list, if is_first { b"" } else { b"," });
        }
        append(tokens, &quoted(&token.token));
        append(logprobs, token.logprob.get().as_bytes());
        append(offsets, offset.to_string().as_bytes());
        let top = token.top_logprobs.as_deref().unwrap_or_default();
        self.has_alternatives |= !top.is_empty();
        let mut written = Vec::new();
        write_alternatives(top, &mut written);
        append(alternatives, &written);
    }

    fn write(self, out: &mut Vec<u8>) {
        if self.tokens.is_empty() {
            out.extend_from_slice(b"null");
            return;
        }
        out.extend_from_slice(b"{\"tokens\":");
        push_written(self.tokens, out);
        push_key(out, "token_logprobs");
        push_written(self.logprobs, out);
        push_key(out, "top_logprobs");
        if self.has_alternatives {
            push_written(self.alternatives, out)
        } else {
            out.extend_from_slice(b"null")
        }
        push_key(out, "text_offset");
        push_written(self.offsets, out);
        out.push(b'}');
    }
}

/// Appends a list whose items are written already.
fn push_written(items: Vec<u8>, out: &mut Vec<u8>) {
    append(out, b"[");
    append(out, &items);
    append(out, b"]");
}

/// The alternatives by name. Two tokens that are not valid text by themselves may have the same name: the
/// likelier one comes first.
fn write_alternatives(alternatives: &[Token], out: &mut Vec<u8>) {
    out.push(b'{');
    let is_first =
        |index: usize| alternatives[..index].iter().all(|token| token.token != alternatives[index].token);
    for (index, token) in alternatives.iter().enumerate().filter(|(index, _)| is_first(*index)) {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, &token.token);
        out.push(b':');
        out.extend_from_slice(token.logprob.get().as_bytes());
    }
    out.push(b'}');
}

// ---------------------------------------------------------------------------------------------- streams

struct StreamEncoder {
    answer: Answer,
}

impl Encoder for StreamEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        if let Some(choice) = self.answer.take(event) {
            self.chunk(choice as usize, None, false, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.answer.settle();
        let include_usage = self.answer.core.form.include_usage;
        let last = self.answer.choices.len() - 1;
        for index in 0..=last {
            let reason = self.answer.choices[index].finish.unwrap_or(FinishReason::Stop);
            self.chunk(index, Some(reason), index == last && !include_usage, out);
        }
        if include_usage {
            out.extend_from_slice(b"data: ");
            self.answer.core.write_identity(OBJECT, out);
            out.extend_from_slice(b",\"choices\":[]");
            self.answer.core.write_usage(out);
            self.answer.core.write_metadata(out);
            out.extend_from_slice(b"}\n\n");
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write_stream_error(error, None, out);
    }
}

impl StreamEncoder {
    fn chunk(&mut self, index: usize, finish: Option<FinishReason>, with_metadata: bool, out: &mut Vec<u8>) {
        self.answer.settle();
        out.extend_from_slice(b"data: ");
        self.answer.core.write_identity(OBJECT, out);
        out.extend_from_slice(b",\"choices\":[");
        self.answer.choices[index].write(index, finish, out);
        out.push(b']');
        if with_metadata {
            self.answer.core.write_metadata(out);
        }
        out.extend_from_slice(b"}\n\n");
    }
}

// ---------------------------------------------------------------------------------------------- whole answers

struct WholeEncoder {
    answer: Answer,
}

impl Encoder for WholeEncoder {
    fn push(&mut self, event: Event, _out: &mut Vec<u8>) {
        self.answer.take(event);
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.answer.settle();
        let Answer { core, choices, .. } = &mut self.answer;
        core.write_identity(OBJECT, out);
        out.extend_from_slice(b",\"choices\":[");
        for (index, choice) in choices.iter_mut().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            let reason = choice.finish.unwrap_or(FinishReason::Stop);
            choice.write(index, Some(reason), out);
        }
        out.push(b']');
        if core.usage.is_some() {
            core.write_usage(out);
        }
        core.write_metadata(out);
        out.push(b'}');
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}
