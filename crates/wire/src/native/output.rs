//! The cost of the answers in a batch's output: one JSON object per line, in the formats of OpenAI's and
//! Anthropic's batches. Only the current line is buffered.

use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{Progress, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::tap::{Reader, UsageOfVectors};
use crate::protocols::adapter;
use crate::{DecoderContext, Protocol, Transcoder};

/// Longest line that is read.
const LONGEST: usize = 16 << 20;

#[derive(Default)]
pub struct BatchOutput {
    line: Vec<u8>,
    /// The line is longer than the limit.
    skips: bool,
    used: BTreeMap<String, Usage>,
    unread: u64,
}

impl BatchOutput {
    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.take(&rest[..end]);
            self.end_line();
            rest = &rest[end + 1..];
        }
        self.take(rest);
    }

    /// Takes the end of the output.
    pub fn finish(&mut self) {
        self.end_line();
    }

    /// The tokens of each model, by its name in the answers.
    pub fn used(&self) -> &BTreeMap<String, Usage> {
        &self.used
    }

    /// The number of successful answers without readable token counts.
    pub fn unread(&self) -> u64 {
        self.unread
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.line.len() + bytes.len() > LONGEST {
            self.skips = true
        } else {
            self.line.extend_from_slice(bytes)
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        if std::mem::take(&mut self.skips) {
            self.unread += 1;
            return;
        }
        if line.trim_ascii().is_empty() {
            return;
        }
        match read(&line) {
            Some((model, usage)) => *self.used.entry(model).or_default() += usage,
            // A failed request has no answer and costs nothing.
            None if has_answer(&line) => self.unread += 1,
            None => {}
        }
    }
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    result: Option<Outcome<'a>>,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(default)]
    status_code: Option<u16>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    message: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    usage: Option<UsageOfVectors>,
}

/// The successful answer of a line, if any.
fn answer<'a>(line: &Line<'a>) -> Option<(&'a RawValue, bool)> {
    if let Some(response) = &line.response {
        let is_good = response.status_code.is_none_or(|status| status < 400);
        return response.body.filter(|_| is_good).map(|body| (body, false));
    }
    line.result.as_ref()?.message.map(|message| (message, true))
}

fn has_answer(line: &[u8]) -> bool {
    serde_json::from_slice::<Line<'_>>(line).is_ok_and(|line| answer(&line).is_some())
}

fn read(line: &[u8]) -> Option<(String, Usage)> {
    let line: Line<'_> = serde_json::from_slice(line).ok()?;
    let (answer, is_message) = answer(&line)?;
    let body: Body = serde_json::from_str(answer.get()).ok()?;
    let protocol = match (is_message, body.object.as_deref()) {
        (true, _) => Protocol::AnthropicMessages,
        (_, Some("response")) => Protocol::OpenaiResponses,
        (_, Some("text_completion")) => Protocol::OpenaiCompletions,
        (_, Some("list")) => return Some((body.model?, body.usage?.usage()?)),
        _ => Protocol::OpenaiChat,
    };
    let decoder = adapter(protocol).decoder(false, &DecoderContext::default());
    let mut reader = Reader { decoder, progress: Progress::default() };
    reader.push(&Bytes::copy_from_slice(answer.get().as_bytes()), &mut Vec::new()).ok()?;
    reader.finish(&mut Vec::new()).ok()?;
    Some((reader.progress.model.or(body.model)?, reader.progress.usage?))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn chat(model: &str, tokens: u64) -> Value {
        json!({"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": tokens, "completion_tokens": 5, "total_tokens": tokens + 5}})
    }

    #[test]
    fn each_model_has_its_sum_however_the_output_is_split() {
        let of = |body: Value| json!({"id": "batch_req_1", "custom_id": "a", "response": {"status_code": 200, "body": body}, "error": null});
        let vectors = json!({"object": "list", "data": [], "model": "text-embedding-3-small", "usage": {"prompt_tokens": 7, "total_tokens": 7}});
        let message = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5", "content": [{"type": "text", "text": "Hi."}],
            "stop_reason": "end_turn", "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 2}});
        let lines = [
            of(chat("gpt-4o-mini", 10)).to_string(),
            of(chat("gpt-4o-mini", 20)).to_string(),
            String::new(),
            of(vectors).to_string(),
            json!({"custom_id": "b", "response": {"status_code": 400, "body": {"error": {}}}, "error": null})
                .to_string(),
            json!({"custom_id": "c", "response": null, "error": {"code": "batch_expired"}}).to_string(),
            json!({"custom_id": "d", "result": {"type": "succeeded", "message": message}}).to_string(),
            json!({"custom_id": "e", "result": {"type": "errored", "error": {}}}).to_string(),
            of(json!({"object": "chat.completion", "model": "gpt-4o-mini"})).to_string(),
        ];
        let text = lines.join("\n");
        for size in [1, 13, 400, text.len()] {
            let mut output = BatchOutput::default();
            text.as_bytes().chunks(size).for_each(|piece| output.push(piece));
            output.finish();
            let used = |model: &str| output.used()[model];
            assert_eq!(used("gpt-4o-mini"), Usage { input: 30, output: 10, ..Usage::default() });
            assert_eq!(used("text-embedding-3-small"), Usage { input: 7, ..Usage::default() });
            assert_eq!(used("claude-haiku-4-5"), Usage { input: 3, output: 2, ..Usage::default() });
            assert_eq!((output.used().len(), output.unread()), (3, 1), "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_not_read() {
        let mut output = BatchOutput::default();
        output.push(&vec![b'x'; LONGEST + 1]);
        output.push(b"\n\n");
        output.finish();
        assert_eq!((output.used().len(), output.unread()), (0, 1));
    }
}
