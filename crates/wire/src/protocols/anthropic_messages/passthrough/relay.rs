//! An answer between equal formats. Each event is read for metering and passed on unchanged; violations of
//! the format (missing ids and counts, blocks that do not end) are repaired.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Error, Progress, Result};
use memchr::memmem;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::answer::read::{Answer, PlainParts, broken, read};
use super::super::answer::write::{counts, write};
use super::super::errors;
use super::super::types::{AnswerBlock, StreamEvent};
use super::{OWN, plain};
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{Edit, mentions, put, quoted};
use crate::proofs::Proofs;
use crate::protocols::repair::{into_valid_json, valid_json};
use crate::protocols::whole::check_size;
use crate::{TakenIds, Transcoder, TranscoderParts, translate};

/// A relay for one answer.
pub(super) fn relay(parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
    let books = Books {
        answer: Answer::new(parts.decoding),
        annotator: parts.annotator,
        read: translate::Books::default(),
    };
    if parts.form.stream {
        Box::new(StreamRelay {
            parser: SseParser::default(),
            state: StreamState {
                books,
                begun: false,
                has_reason: false,
                stopped: false,
                open: BTreeSet::new(),
                called: false,
                taken: parts.decoding.taken_ids.clone(),
            },
        })
    } else {
        Box::new(WholeRelay { books, body: Vec::new(), taken: parts.decoding.taken_ids.clone() })
    }
}

/// The facts of an answer that passes.
struct Books {
    annotator: Arc<dyn Annotator + Sync>,
    answer: Answer,
    read: translate::Books,
}

impl Books {
    /// Passes a valid message on, and returns whether it was valid.
    fn pass_plain(&mut self, body: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let Some(found) = plain::message(body) else { return Ok(false) };
        let text = |range: &Range<usize>| String::from_utf8_lossy(&body[range.clone()]).into_owned();
        let message = PlainParts {
            id: text(&found.id),
            model: text(&found.model),
            stop_reason: text(&found.stop_reason),
            usage: read(&body[found.usage.clone()])?,
        };
        if !message.usage.is_whole() {
            return Ok(false);
        }
        self.answer.plain(message, &mut self.read);
        self.read.progress.output_chars += found.length as u64;
        self.read.progress.content_started |= found.length > 0;
        out.reserve_exact(body.len() + 1024);
        out.extend_from_slice(&body[..found.end]);
        self.add_member(out);
        self.read.progress.finished = true;
        Ok(true)
    }

    /// Appends the gateway's object to an otherwise complete object.
    fn add_member(&self, out: &mut Vec<u8>) {
        if out.pop() == Some(b'}') {
            let progress = &self.read.progress;
            let facts =
                AnswerFacts { underlying_model: progress.model.as_deref(), usage: progress.usage.as_ref() };
            self.annotator.write_member_with_cost(facts, progress.service_tier.as_deref(), out);
            out.push(b'}');
        }
    }
}

// ---------------------------------------------------------------------------------------------- whole answers

struct WholeRelay {
    books: Books,
    body: Vec<u8>,
    /// The ids of the conversation's calls.
    taken: TakenIds,
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, _out: &mut Vec<u8>) -> Result<()> {
        check_size(self.body.len() + bytes.len())?;
        crate::json::append(&mut self.body, bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let body = std::mem::take(&mut self.body);
        let books = &mut self.books;
        if books.pass_plain(&body, out)? {
            return Ok(());
        }
        let mut body = into_valid_json(body);
        if let Some(content) = with_new_ids(&body, &mut self.taken, &*books.annotator) {
            let mut edit = Edit::of(&body).map_err(|_| not_a_message())?;
            edit.put("content", content);
            body = edit.write(0);
        }
        books.answer.document(&body, &mut books.read)?;
        let mut edit = Edit::of(&body).map_err(|_| not_a_message())?;
        edit.remove(OWN);
        for (name, value) in missing(&body, books) {
            edit.set(name, value.to_string().as_bytes());
        }
        put(out, edit.write(1024));
        books.add_member(out);
        books.read.progress.finished = true;
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        &self.books.read.progress
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.books.read.proofs.take()
    }
}

fn not_a_message() -> Error {
    broken("The provider's answer does not match its format.")
}

/// The content of a message with new ids for calls that have none or that of another call; none when nothing
/// changes.
fn with_new_ids(message: &[u8], taken: &mut TakenIds, annotator: &dyn Annotator) -> Option<Vec<u8>> {
    #[derive(serde::Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        content: Vec<&'a RawValue>,
    }
    if !mentions(message, "tool_use") {
        return None;
    }
    let Content { content } = serde_json::from_slice(message).ok()?;
    let mut is_changed = false;
    let blocks: Vec<Cow<'_, [u8]>> = content
        .iter()
        .map(|raw| {
            let raw = raw.get().as_bytes();
            let block =
                serde_json::from_slice::<AnswerBlock<'_>>(raw).ok().filter(|block| block.kind == "tool_use");
            let id = block.map(|block| block.id.unwrap_or_default());
            match (id.filter(|id| id.is_empty() || !taken.insert(id)), Edit::of(raw)) {
                (Some(_), Ok(mut edit)) => {
                    is_changed = true;
                    let id = annotator.tool_call_id();
                    edit.set("id", &quoted(&id));
                    taken.insert(&id);
                    edit.write(32).into()
                }
                _ => raw.into(),
            }
        })
        .collect();
    is_changed.then(|| [b"[", &blocks.join(&b","[..])[..], b"]"].concat())
}

/// The members that a message must have and this one lacks.
fn missing(message: &[u8], books: &Books) -> Vec<(&'static str, Value)> {
    #[derive(serde::Deserialize)]
    struct Needed {
        id: Option<String>,
        model: Option<String>,
        usage: Option<TokenCounts>,
    }
    let Ok(found) = serde_json::from_slice::<Needed>(message) else { return Vec::new() };
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let mut missing = Vec::new();
    if !is_given(&found.id) {
        missing.push(("id", json!(books.annotator.answer_id())));
    }
    if !is_given(&found.model) {
        missing.push(("model", json!(books.annotator.model())));
    }
    if !found.usage.is_some_and(|usage| usage.is_whole()) {
        missing.push(("usage", counts(&books.read.progress.usage.unwrap_or_default())));
    }
    missing
}

#[derive(serde::Deserialize)]
struct TokenCounts {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
}

impl TokenCounts {
    fn is_whole(&self) -> bool {
        self.input_tokens.is_some() && self.output_tokens.is_some()
    }
}

// ---------------------------------------------------------------------------------------------- streams

struct StreamRelay {
    parser: SseParser,
    state: StreamState,
}

struct StreamState {
    books: Books,
    /// The message has begun.
    begun: bool,
    /// The stop reason was sent.
    has_reason: bool,
    stopped: bool,
    /// Open blocks.
    open: BTreeSet<u64>,
    /// Some tool was called.
    called: bool,
    /// The ids of the calls so far, including those of the conversation: agents take a known id for the
    /// earlier call.
    taken: TakenIds,
}

impl Transcoder for StreamRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let state = &mut self.state;
        self.parser.push(bytes, |event| state.take(event, out))
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let state = &mut self.state;
        self.parser.finish(|event| state.take(event, out))?;
        state.end(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        write(out, "error", &errors::to_json(error, None));
    }

    fn progress(&self) -> &Progress {
        &self.state.books.read.progress
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.state.books.read.proofs.take()
    }
}

impl StreamState {
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<u8>) -> Result<()> {
        let data = event.data.trim_ascii();
        // Data after the end is ignored: some compatible hosts add OpenAI's end marker, or send pings without
        // data.
        if self.stopped || matches!(data, b"" | b"[DONE]") {
            return Ok(());
        }
        if let Some((index, length)) = plain::text_delta(data).filter(|_| self.begun)
            && self.books.answer.takes_text(index)
        {
            self.books.read.progress.output_chars += length as u64;
            self.books.read.progress.content_started |= length > 0;
            append(out, "content_block_delta", data);
            return Ok(());
        }
        let mut data = valid_json(data);
        if let Some(whole) = self.whole_start(&data)? {
            data = Cow::Owned(whole);
        }
        let event: StreamEvent<'_> = read(&data)?;
        let (kind, index) = (event.kind.clone().unwrap_or_default(), event.index);
        let gives_reason = event.delta.as_ref().is_some_and(|delta| delta.stop_reason.is_some());
        let books = &mut self.books;
        books.answer.take(event, &mut books.read)?;
        match kind.as_str() {
            "message_start" if self.begun => {}
            "message_start" => {
                self.begun = true;
                append(out, &kind, &self.repaired_start(&data));
            }
            "content_block_start" => {
                self.begin(out);
                self.close(Some(index), out);
                self.open.insert(index);
                // The provider's own actions also end the wait for the first content.
                self.books.read.progress.content_started = true;
                append(out, &kind, &data);
            }
            "content_block_stop" if !self.open.remove(&index) => {}
            "content_block_delta" | "content_block_stop" => append(out, &kind, &with_index(&data, index)),
            "message_delta" => {
                self.begin(out);
                self.close(None, out);
                self.has_reason |= gives_reason;
                append(out, &kind, &self.repaired_delta(&data));
            }
            "message_stop" => self.stop(&data, out),
            // The kind becomes a line of its own in the stream.
            kind if !kind.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte)) => {}
            kind => append(out, kind, &data),
        }
        Ok(())
    }

    /// The end of the provider's stream.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let books = &mut self.books;
        books.answer.end_of_stream(&mut books.read)?;
        if !self.stopped {
            self.stop(br#"{"type":"message_stop"}"#, out);
        }
        self.books.read.progress.finished = true;
        Ok(())
    }

    fn stop(&mut self, data: &[u8], out: &mut Vec<u8>) {
        self.begin(out);
        self.close(None, out);
        if !self.has_reason {
            let reason = if self.called { "tool_use" } else { "end_turn" };
            let delta = json!({
                "type": "message_delta",
                "delta": { "stop_reason": reason, "stop_sequence": null },
                "usage": counts(&self.books.read.progress.usage.unwrap_or_default()),
            });
            write(out, "message_delta", &delta);
        }
        self.stopped = true;
        let mut text = match mentions(data, OWN).then(|| Edit::of(data)) {
            Some(Ok(mut edit)) => {
                edit.remove(OWN);
                edit.write(1024)
            }
            _ => data.to_vec(),
        };
        self.books.add_member(&mut text);
        append(out, "message_stop", &text);
    }

    /// Begins the message where the provider omitted the event.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if !std::mem::replace(&mut self.begun, true) {
            let start = br#"{"type":"message_start","message":{"type":"message","role":"assistant","content":[],"stop_reason":null,"stop_sequence":null}}"#;
            append(out, "message_start", &self.repaired_start(start));
        }
    }

    /// Ends blocks that the provider left open: this one, or all.
    fn close(&mut self, only: Option<u64>, out: &mut Vec<u8>) {
        let ended: Vec<u64> =
            self.open.iter().copied().filter(|index| only.is_none_or(|only| only == *index)).collect();
        for index in ended {
            self.open.remove(&index);
            write(out, "content_block_stop", &json!({ "type": "content_block_stop", "index": index }));
        }
    }

    /// The beginning of a block with the members that clients need: its index, its empty texts, and a new id
    /// for a call that has none or that of another call. None when it has them all.
    fn whole_start(&mut self, data: &[u8]) -> Result<Option<Vec<u8>>> {
        if memmem::find(data, b"\"content_block_start\"").is_none() {
            return Ok(None);
        }
        let event: StreamEvent<'_> = read(data)?;
        let Some(raw) = event.content_block.filter(|_| event.kind.as_deref() == Some("content_block_start"))
        else {
            return Ok(None);
        };
        let block: AnswerBlock<'_> = read(raw.get().as_bytes())?;
        let mut missing: Vec<(&str, String)> = Vec::new();
        match block.kind.as_str() {
            "text" if block.text.is_none() => missing.push(("text", String::new())),
            "thinking" => {
                let lacks = |name, value: &Option<String>| value.is_none().then(|| (name, String::new()));
                missing.extend(lacks("thinking", &block.thinking));
                missing.extend(lacks("signature", &block.signature));
            }
            "tool_use" => {
                self.called = true;
                let id = block.id.unwrap_or_default();
                if id.is_empty() || !self.taken.insert(&id) {
                    let id = self.books.annotator.tool_call_id();
                    self.taken.insert(&id);
                    missing.push(("id", id));
                }
            }
            _ => {}
        }
        if missing.is_empty() && mentions(data, "index") {
            return Ok(None);
        }
        let mut whole: Value = read(data)?;
        whole["index"] = json!(event.index);
        for (name, value) in missing {
            whole["content_block"][name] = json!(value);
        }
        Ok(Some(whole.to_string().into_bytes()))
    }

    /// The beginning of a message with the members that clients read.
    fn repaired_start<'d>(&self, data: &'d [u8]) -> Cow<'d, [u8]> {
        let Ok(event) = read::<StreamEvent<'_>>(data) else { return Cow::Borrowed(data) };
        let Some(message) = event.message else { return Cow::Borrowed(data) };
        let message = message.get().as_bytes();
        let mut missing = missing(message, &self.books);
        // Clients append the blocks to the list.
        let usual = [("type", json!("message")), ("role", json!("assistant")), ("content", json!([]))];
        missing.extend(usual.into_iter().filter(|(name, _)| !mentions(message, name)));
        if missing.is_empty() {
            return Cow::Borrowed(data);
        }
        let Ok(mut event) = read::<Value>(data) else { return Cow::Borrowed(data) };
        for (name, value) in missing {
            event["message"][name] = value;
        }
        Cow::Owned(event.to_string().into_bytes())
    }

    /// The end of a message with its counts.
    fn repaired_delta<'d>(&self, data: &'d [u8]) -> Cow<'d, [u8]> {
        #[derive(serde::Deserialize)]
        struct Delta {
            usage: Option<TokenCounts>,
        }
        let is_counted = read::<Delta>(data)
            .is_ok_and(|delta| delta.usage.is_some_and(|usage| usage.output_tokens.is_some()));
        if is_counted {
            return Cow::Borrowed(data);
        }
        match read::<Value>(data) {
            Ok(mut event) if event.is_object() => {
                event["usage"] = counts(&self.books.read.progress.usage.unwrap_or_default());
                Cow::Owned(event.to_string().into_bytes())
            }
            _ => Cow::Borrowed(data),
        }
    }
}

/// An event of a block with the block's index.
fn with_index(data: &[u8], index: u64) -> Cow<'_, [u8]> {
    match (!mentions(data, "index")).then(|| Edit::of(data)) {
        Some(Ok(mut edit)) => {
            edit.set("index", index.to_string().as_bytes());
            Cow::Owned(edit.write(32))
        }
        _ => Cow::Borrowed(data),
    }
}

/// Appends an event unchanged. White space between the lines of its data was removed.
fn append(out: &mut Vec<u8>, kind: &str, data: &[u8]) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
    let start = out.len();
    out.extend_from_slice(data);
    if data.contains(&b'\n') || data.contains(&b'\r') {
        let written = &mut out[start..];
        written.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
    }
    out.extend_from_slice(b"\n\n");
}
