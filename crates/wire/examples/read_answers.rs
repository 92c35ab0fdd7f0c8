//! Prints how this crate reads bytes of providers, so that tests in other languages can compare it with other
//! readers.
//!
//! One JSON object per line on standard input, and one per line on standard output:
//!
//! * `{"protocol": "gemini", "stream": true, "status": 200, "headers": {…}, "body": base64}`: an answer or an error,
//! * `{…, "caller": "anthropic-messages", "caller_streams": true}`: the same answer as a caller of this format gets it,
//! * `{"framing": "sse" | "aws-eventstream", "body": base64}`: frames.
//!
//! `"piece": n` cuts the body into pieces of n bytes.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Cost, Error, Event, Quirks, ReasoningDetail, Usage};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::exchange::transcoder;
use wire::framing::aws_eventstream::{self, EventStreamParser};
use wire::framing::sse::SseParser;
use wire::{AnswerForm, DecoderContext, Protocol, TranscoderParts, adapter, dialect};

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// A line of standard input.
#[derive(Deserialize)]
struct InputLine {
    protocol: Option<Protocol>,
    framing: Option<String>,
    #[serde(default)]
    stream: bool,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    piece: Option<usize>,
    caller: Option<Protocol>,
    #[serde(default)]
    caller_streams: bool,
}

fn main() -> AnyResult<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: InputLine = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut output, &answer(&asked)?)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(asked: &InputLine) -> AnyResult<Value> {
    let body = BASE64.decode(&asked.body)?;
    let pieces = body.chunks(asked.piece.unwrap_or(body.len()).max(1));
    match (asked.protocol, asked.framing.as_deref()) {
        (Some(protocol), None) if asked.caller.is_some() => rendered(asked, protocol, pieces),
        (Some(protocol), None) => match asked.status.unwrap_or(200) {
            200..=299 => Ok(content(protocol, asked.stream, pieces)),
            status => refusal(protocol, status, &asked.headers, &body),
        },
        (None, Some("sse")) => Ok(server_sent(pieces)),
        (None, Some("aws-eventstream")) => Ok(event_stream(pieces)),
        _ => Err("neither a protocol nor a framing that is known".into()),
    }
}

/// The content of an answer, including the part before an error.
fn content<'a>(protocol: Protocol, stream: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Value {
    let mut decoder = adapter(protocol).decoder(stream, &DecoderContext::default());
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| decoder.push(piece, &mut events));
    }
    result = result.and_then(|()| decoder.finish(&mut events));
    let mut heard = JoinedContent::default();
    events.into_iter().for_each(|event| heard.take(event));
    let mut said = heard.top;
    said.insert("choices".to_owned(), heard.choices.into_values().collect());
    said.insert("error".to_owned(), result.err().as_ref().map_or(Value::Null, error_object));
    Value::Object(said)
}

/// The answer as the caller gets it, including the part before an error.
fn rendered<'a>(
    asked: &InputLine,
    upstream: Protocol,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> AnyResult<Value> {
    let caller = asked.caller.and_then(dialect).ok_or("no format of callers")?;
    let mut transcoder = transcoder(TranscoderParts {
        caller,
        upstream,
        upstream_streams: asked.stream,
        form: AnswerForm { stream: asked.caller_streams, include_usage: true, ..AnswerForm::default() },
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: Arc::new(Gateway {
            calls: AtomicU32::default(),
            is_chat: asked.caller == Some(Protocol::OpenaiChat),
        }),
        filter: None,
    });
    let mut bytes = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| transcoder.push(&Bytes::copy_from_slice(piece), &mut bytes));
    }
    result = result.and_then(|()| transcoder.finish(&mut bytes));
    Ok(
        json!({ "answer": String::from_utf8(bytes)?, "error": result.err().as_ref().map_or(Value::Null, error_object) }),
    )
}

/// The gateway's side of an answer: each call gets a new id.
struct Gateway {
    calls: AtomicU32,
    is_chat: bool,
}

impl Annotator for Gateway {
    fn answer_id(&self) -> &str {
        "chatcmpl-1"
    }
    fn created(&self) -> i64 {
        1_700_000_000
    }
    fn model(&self) -> &str {
        "model"
    }
    fn cost(&self, _usage: &Usage, _tier: Option<&str>) -> Option<Cost> {
        None
    }
    fn metadata_name(&self) -> Option<&'static str> {
        Some(if self.is_chat { "metadata" } else { "llmgateway" })
    }
    fn write_metadata(&self, _facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{}");
    }
    fn tool_call_id(&self) -> String {
        format!("call_{}", self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

/// The content of an error answer.
fn refusal(
    protocol: Protocol,
    status: u16,
    headers: &BTreeMap<String, String>,
    body: &[u8],
) -> AnyResult<Value> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(HeaderName::from_bytes(name.as_bytes())?, HeaderValue::from_str(value)?);
    }
    let error = adapter(protocol).decode_error(StatusCode::from_u16(status)?, &map, body);
    Ok(json!({ "choices": [], "error": error_object(&error) }))
}

fn error_object(error: &Error) -> Value {
    json!({
        "kind": error.kind.as_str(),
        "status": error.status().as_u16(),
        "message": error.message,
        "code": error.code,
        "type": error.type_name,
        "param": error.param_name(),
    })
}

/// The content of the events, joined by concatenation alone.
#[derive(Default)]
struct JoinedContent {
    top: Map<String, Value>,
    choices: BTreeMap<u32, Value>,
}

impl JoinedContent {
    fn take(&mut self, event: Event) {
        match event {
            Event::Start { id, model, created } => {
                self.top.extend([
                    ("id".to_owned(), json!(id)),
                    ("model".to_owned(), json!(model)),
                    ("created".to_owned(), json!(created)),
                ]);
            }
            Event::Usage(usage) => drop(self.top.insert("usage".to_owned(), json!(usage))),
            Event::Field { name, value } => drop(self.top.insert(name.to_owned(), parsed(value.as_str()))),
            Event::Text { choice, text } => append(&mut self.choice(choice)["text"], &text),
            Event::Refusal { choice, text } => append(&mut self.choice(choice)["refusal"], &text),
            Event::Reasoning { choice, block, detail, .. } => {
                let thought = entry(&mut self.choice(choice)["reasoning"], block);
                match detail {
                    ReasoningDetail::Text(text) => append(&mut thought["text"], &text),
                    ReasoningDetail::Signature(proof) => append(&mut thought["signature"], &proof),
                    ReasoningDetail::Encrypted(data) => append(&mut thought["encrypted"], &data),
                }
            }
            Event::ToolCallStart { choice, index, id, name, signature, custom } => {
                let call = entry(&mut self.choice(choice)["calls"], index);
                *call = json!({ "id": id, "name": name, "signature": signature, "custom": custom, "arguments": "" });
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                append(&mut entry(&mut self.choice(choice)["calls"], index)["arguments"], &fragment);
            }
            Event::Image { choice, mime, data } => {
                push(&mut self.choice(choice)["images"], json!({ "mime": mime, "data": data }));
            }
            Event::Annotation { choice, annotation } => {
                push(&mut self.choice(choice)["annotations"], parsed(annotation.as_str()));
            }
            Event::Logprobs { choice, logprobs } => {
                push(&mut self.choice(choice)["logprobs"], parsed(logprobs.as_str()));
            }
            Event::Finish { choice, reason, native } => {
                push(
                    &mut self.choice(choice)["finishes"],
                    json!({ "reason": reason.as_str(), "native": native }),
                );
            }
        }
    }

    fn choice(&mut self, index: u32) -> &mut Value {
        self.choices.entry(index).or_insert_with(|| {
            json!({
                "index": index, "text": "", "refusal": "", "reasoning": [], "calls": [], "images": [],
                "annotations": [], "logprobs": [], "finishes": [],
            })
        })
    }
}

/// The item of a list, which is extended to this index.
fn entry(list: &mut Value, index: u32) -> &mut Value {
    if let Value::Array(items) = list {
        while items.len() <= index as usize {
            items.push(json!({}));
        }
    }
    &mut list[index as usize]
}

fn append(place: &mut Value, more: &str) {
    *place = json!(place.as_str().unwrap_or_default().to_owned() + more);
}

fn push(list: &mut Value, item: Value) {
    if let Value::Array(items) = list {
        items.push(item);
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_default()
}

// Frames. The frames before an error are reported with it.

fn server_sent<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Value {
    let mut parser = SseParser::default();
    let mut frames = Vec::new();
    let mut note = |event: wire::framing::sse::SseEvent<'_>| {
        frames.push(json!({ "event": BASE64.encode(event.event), "data": BASE64.encode(event.data) }));
        Ok(())
    };
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| parser.push(piece, &mut note));
    }
    result = result.and_then(|()| parser.finish(&mut note));
    json!({ "frames": frames, "error": result.err().as_ref().map(error_object) })
}

fn event_stream<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Value {
    let mut parser = EventStreamParser::default();
    let mut frames = Vec::new();
    let mut note = |message: aws_eventstream::Message<'_>| {
        let headers: Vec<Value> =
            message.headers.iter().map(|(name, value)| json!([name, header_value(value)])).collect();
        frames.push(json!({ "headers": headers, "payload": BASE64.encode(message.payload) }));
        Ok(())
    };
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| parser.push(piece, &mut note));
    }
    result = result.and_then(|()| parser.finish());
    json!({ "frames": frames, "error": result.err().as_ref().map(error_object) })
}

/// Texts, numbers and booleans unchanged; bytes as `{"bytes": base64}`.
fn header_value(value: &aws_eventstream::HeaderValue<'_>) -> Value {
    use aws_eventstream::HeaderValue::*;
    match value {
        Bool(truth) => json!(truth),
        Byte(number) => json!(number),
        Short(number) => json!(number),
        Int(number) => json!(number),
        Long(number) | Timestamp(number) => json!(number),
        Text(text) => json!(text),
        Bytes(bytes) => json!({ "bytes": BASE64.encode(bytes) }),
        Uuid(bytes) => json!({ "bytes": BASE64.encode(bytes) }),
    }
}
