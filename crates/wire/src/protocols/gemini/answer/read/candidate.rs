//! One choice of an answer, from its parts to events.

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Result, Retry};
use serde_json::Value;

use super::citations::Citations;
use super::partial_args::PartialArgs;
use crate::json::Output;
use crate::protocols::gemini::REASONING_FORMAT;
use crate::protocols::gemini::answer::types::{
    Blob, Candidate, FunctionCall, LogprobsResult, Part, TokenLogprob,
};
use crate::protocols::repair;
use crate::{DecoderContext, EventSink};

/// The state of a choice so far.
pub(super) struct CandidateState {
    choice: u32,
    calls: u32,
    /// The number of thinking blocks so far.
    blocks: u32,
    /// The last part was thinking: further thinking belongs to the same block.
    is_thinking: bool,
    has_content: bool,
    /// A call whose arguments arrive in pieces.
    open_call: Option<OpenCall>,
    /// A call replaces a JSON answer.
    finish: Option<(String, Option<String>)>,
    citations: Citations,
}

/// A call with all of its arguments, as JSON.
struct WholeCall<'a> {
    name: &'a str,
    id: String,
    signature: Option<String>,
    args: String,
}

struct OpenCall {
    name: String,
    id: String,
    signature: Option<String>,
    args: PartialArgs,
}

impl CandidateState {
    pub fn new(choice: u32) -> Self {
        Self {
            choice,
            calls: 0,
            blocks: 0,
            is_thinking: false,
            has_content: false,
            open_call: None,
            finish: None,
            citations: Citations::default(),
        }
    }

    /// How many searches the provider ran for it.
    pub fn searches(&self) -> u64 {
        self.citations.searches()
    }

    /// Takes the next piece. The finish reason is only stored: recorded streams continue after it.
    pub fn push(
        &mut self,
        candidate: Candidate<'_>,
        decoding: &DecoderContext,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        for part in candidate.content.unwrap_or_default().parts.iter() {
            self.part(part.map_err(|_| super::malformed())?, decoding, events)?;
        }
        if let Some(logprobs) = candidate.logprobs_result {
            let logprobs = openai_logprobs(&logprobs).map_err(|_| super::malformed())?;
            events.push(Event::Logprobs { choice: self.choice, logprobs });
        }
        let noted = self.citations.note(candidate.grounding_metadata, candidate.citation_metadata);
        noted.map_err(|_| super::malformed())?;
        if let Some(reason) = candidate.finish_reason {
            self.finish = Some((reason, candidate.finish_message));
        }
        Ok(())
    }

    /// The answer is at its end.
    pub fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let Some((native, message)) = self.finish.take() else {
            let message = "The provider's answer broke off before its end.";
            return Err(Error::upstream(ErrorKind::Upstream, Retry::Again, message));
        };
        if self.open_call.is_some() {
            let message = "The provider's answer broke off inside of a tool call.";
            return Err(Error::upstream(ErrorKind::Upstream, Retry::Again, message));
        }
        if is_failure(&native) && !self.has_content && self.calls == 0 {
            let words = message.unwrap_or_default();
            let message = format!("The model failed to answer ({native}). {words}");
            let error = Error::upstream(ErrorKind::Upstream, Retry::Again, message.trim_end().to_owned());
            return Err(error);
        }
        self.citations.events(self.choice, events);
        let reason = finish_reason(&native, self.calls > 0);
        events.push(Event::Finish { choice: self.choice, reason, native: Some(native) });
        Ok(())
    }

    fn part(&mut self, part: Part<'_>, decoding: &DecoderContext, events: &mut dyn EventSink) -> Result<()> {
        if let Some(call) = part.function_call {
            self.is_thinking = false;
            return self.call(call, part.thought_signature, decoding, events);
        }
        if let Some(text) = part.text {
            if part.thought {
                self.thought(text, part.thought_signature, events)
            } else {
                self.text(text, part.thought_signature, events)
            }
        } else if let Some(blob) = part.inline_data {
            // Images in thoughts are drafts of the following one.
            if !part.thought {
                self.blob(blob, events)?;
            }
        } else if let Some(code) = part.executable_code {
            let language = code.language.unwrap_or_default().to_ascii_lowercase();
            let code = code.code.unwrap_or_default();
            self.text(fenced(&language, &code), None, events);
        } else if let Some(result) = part.code_execution_result {
            let output = result.output.unwrap_or_default();
            self.text(fenced("", &output), None, events);
        } else if let (true, Some(signature)) = (part.thought, part.thought_signature) {
            self.thought(String::new(), Some(signature), events);
        }
        // All other parts are tools that the provider runs itself, and their results.
        Ok(())
    }

    fn text(&mut self, text: String, signature: Option<String>, events: &mut dyn EventSink) {
        if !text.is_empty() {
            self.is_thinking = false;
            self.has_content |= !text.trim().is_empty();
            self.citations.text(&text);
            events.push(Event::Text { choice: self.choice, text });
        }
        // The proof of a text is a separate block: it belongs to no thinking.
        if let Some(signature) = signature {
            self.is_thinking = false;
            self.begin_block();
            self.reasoning(ReasoningDetail::Signature(signature), events);
            self.is_thinking = false;
        }
    }

    fn thought(&mut self, text: String, signature: Option<String>, events: &mut dyn EventSink) {
        self.begin_block();
        if !text.is_empty() {
            self.reasoning(ReasoningDetail::Text(text), events);
        }
        if let Some(signature) = signature {
            self.reasoning(ReasoningDetail::Signature(signature), events);
            self.is_thinking = false;
        }
    }

    fn begin_block(&mut self) {
        if !self.is_thinking {
            self.blocks += 1;
            self.is_thinking = true;
        }
    }

    fn reasoning(&self, detail: ReasoningDetail, events: &mut dyn EventSink) {
        let block = self.blocks.saturating_sub(1);
        events.push(Event::Reasoning { choice: self.choice, block, detail, format: REASONING_FORMAT });
    }

    fn blob(&mut self, blob: Blob, events: &mut dyn EventSink) -> Result<()> {
        self.is_thinking = false;
        self.has_content = true;
        if !blob.mime_type.starts_with("image/") {
            let message = format!("The provider answered with {}, which cannot be carried.", blob.mime_type);
            return Err(Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message));
        }
        events.push(Event::Image { choice: self.choice, mime: blob.mime_type, data: blob.data });
        Ok(())
    }

    fn call(
        &mut self,
        call: FunctionCall<'_>,
        signature: Option<String>,
        decoding: &DecoderContext,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        let is_piece = call.will_continue || !call.partial_args.is_empty();
        if is_piece || (self.open_call.is_some() && call.name.is_none()) {
            return self.piece(call, signature, decoding, events);
        }
        let Some(name) = call.name else { return Err(super::malformed()) };
        let args = match call.args {
            Some(args) => minified(&repair::arguments(args.get())),
            None => String::new(),
        };
        let args = if args.is_empty() { "{}".to_owned() } else { args };
        let id = call.id.unwrap_or_default();
        self.emit(WholeCall { name: &name, id, signature, args }, decoding, events);
        Ok(())
    }

    /// A piece of a call: `name`, then arguments by path, then an empty piece.
    fn piece(
        &mut self,
        call: FunctionCall<'_>,
        signature: Option<String>,
        decoding: &DecoderContext,
        events: &mut dyn EventSink,
    ) -> Result<()> {
        if let Some(name) = call.name.filter(|name| !name.is_empty()) {
            if self.open_call.is_some() {
                return Err(super::malformed());
            }
            let id = call.id.unwrap_or_default();
            self.open_call = Some(OpenCall { name, id, signature: None, args: PartialArgs::default() });
        }
        let Some(open) = &mut self.open_call else { return Err(super::malformed()) };
        if signature.is_some() {
            open.signature = signature;
        }
        for piece in call.partial_args.iter() {
            open.args.set(piece.map_err(|_| super::malformed())?).ok_or_else(super::malformed)?;
        }
        if !call.will_continue
            && let Some(open) = self.open_call.take()
        {
            let OpenCall { name, id, signature, args } = open;
            let call = WholeCall { name: &name, id, signature, args: args.into_json() };
            self.emit(call, decoding, events);
        }
        Ok(())
    }

    fn emit(
        &mut self,
        WholeCall { name, id, signature, args }: WholeCall<'_>,
        decoding: &DecoderContext,
        events: &mut dyn EventSink,
    ) {
        if decoding.json_tool.as_deref() == Some(name) {
            self.text(args, None, events);
            return;
        }
        let name = decoding.tool_name(name).to_owned();
        let custom = decoding.custom_tools.contains(&name);
        let (choice, index) = (self.choice, self.calls);
        self.calls += 1;
        events.push(Event::ToolCallStart { choice, index, id, name, signature, custom });
        let fragment = if custom { free_text(args) } else { args };
        events.push(Event::ToolCallArguments { choice, index, fragment });
    }
}

/// The free text of a tool that was wrapped as a function.
fn free_text(args: String) -> String {
    match serde_json::from_str::<Value>(&args) {
        Ok(Value::Object(mut args)) => match args.remove("input") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => String::new(),
        },
        _ => args,
    }
}

fn fenced(language: &str, code: &str) -> String {
    let end = if code.ends_with('\n') { "" } else { "\n" };
    format!("\n```{language}\n{code}{end}```\n")
}

/// The provider pretty-prints whole answers: white space between the tokens of arguments is removed.
fn minified(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for letter in text.chars() {
        if in_string {
            in_string = escaped || letter != '"';
            escaped = !escaped && letter == '\\';
        } else if letter.is_ascii_whitespace() {
            continue;
        } else {
            in_string = letter == '"';
        }
        out.push(letter);
    }
    out
}

/// The API reference's finish reasons.
fn finish_reason(native: &str, has_calls: bool) -> FinishReason {
    match native {
        "MAX_TOKENS" | "CONTINUATION" => FinishReason::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "LANGUAGE"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED" => FinishReason::ContentFilter,
        _ if has_calls => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    }
}

/// The model failed; a retry may help.
fn is_failure(native: &str) -> bool {
    matches!(
        native,
        "MALFORMED_FUNCTION_CALL"
            | "UNEXPECTED_TOOL_CALL"
            | "TOO_MANY_TOOL_CALLS"
            | "MALFORMED_RESPONSE"
            | "MISSING_THOUGHT_SIGNATURE"
    )
}

/// Log probabilities in OpenAI's format; only one token is parsed at a time.
fn openai_logprobs(result: &LogprobsResult<'_>) -> serde_json::Result<Json> {
    let length = result.chosen_candidates.as_str().len() + result.top_candidates.as_str().len();
    let mut out = Output::expecting(length);
    out.push(br#"{"content":["#);
    let mut alternatives = result.top_candidates.iter();
    for chosen in result.chosen_candidates.iter() {
        out.comma();
        write_token(&chosen?, &mut out);
        out.key("top_logprobs");
        out.push(b"[");
        let top = alternatives.next().transpose()?.unwrap_or_default();
        for token in top.candidates.iter() {
            out.comma();
            write_token(&token?, &mut out);
            out.push(b"}");
        }
        out.push(b"]}");
    }
    out.push(br#"],"refusal":null}"#);
    Json::parse(String::from_utf8_lossy(&out.into_bytes()))
}

/// A token as an object that is left open.
fn write_token(token: &TokenLogprob, out: &mut Output) {
    let TokenLogprob { token, log_probability } = token;
    out.push(b"{");
    out.text("token", token);
    out.raw("logprob", &Value::from(*log_probability).to_string());
    out.key("bytes");
    out.push(b"[");
    for byte in token.bytes() {
        out.comma();
        out.push(byte.to_string().as_bytes());
    }
    out.push(b"]");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_between_tokens_is_removed() {
        assert_eq!(minified("{\n  \"a b\": [1, \"x \\\" y\\\\\" ]\n}"), r#"{"a b":[1,"x \" y\\"]}"#);
    }

    #[test]
    fn free_text_is_unwrapped() {
        assert_eq!(free_text(r#"{"input":"a \"b\""}"#.into()), "a \"b\"");
        assert_eq!(free_text(r#"{"input":5}"#.into()), "5");
        assert_eq!(free_text("{}".into()), "");
    }
}
