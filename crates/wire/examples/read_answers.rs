//! Says how this crate reads bytes of providers, so that tests in other languages can compare it with other readers.
//!
//! One JSON object a line on standard input, one a line on standard output:
//!
//! * `{"protocol": "gemini", "stream": true, "status": 200, "headers": {…}, "body": base64}`: an answer or an error,
//! * `{"framing": "sse" | "aws-eventstream", "body": base64}`: frames.
//!
//! `"piece": n` cuts the body into pieces of n bytes.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use canon::{Error, Event, ReasoningDetail};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::framing::aws_eventstream::{self, EventStreamParser};
use wire::framing::sse::SseParser;
use wire::{DecoderContext, Protocol, adapter};

type AnyResult<T> = Result<T, Box<dyn std::error::Error>>;

/// What is asked.
#[derive(Deserialize)]
struct Asked {
    protocol: Option<Protocol>,
    framing: Option<String>,
    #[serde(default)]
    stream: bool,
    status: Option<u16>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: String,
    piece: Option<usize>,
}

fn main() -> AnyResult<()> {
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line?)?;
        serde_json::to_writer(&mut output, &answer(&asked)?)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn answer(asked: &Asked) -> AnyResult<Value> {
    let body = BASE64.decode(&asked.body)?;
    let pieces = body.chunks(asked.piece.unwrap_or(body.len()).max(1));
    match (asked.protocol, asked.framing.as_deref()) {
        (Some(protocol), None) => match asked.status.unwrap_or(200) {
            200..=299 => Ok(content(protocol, asked.stream, pieces)),
            status => refusal(protocol, status, &asked.headers, &body),
        },
        (None, Some("sse")) => Ok(server_sent(pieces)),
        (None, Some("aws-eventstream")) => Ok(event_stream(pieces)),
        _ => Err("neither a protocol nor a framing that is known".into()),
    }
}

/// What an answer says. What came before an error is part of it.
fn content<'a>(protocol: Protocol, stream: bool, pieces: impl Iterator<Item = &'a [u8]>) -> Value {
    let mut decoder = adapter(protocol).decoder(stream, &DecoderContext::default());
    let mut events = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| decoder.push(piece, &mut events));
    }
    result = result.and_then(|()| decoder.finish(&mut events));
    let mut heard = Heard::default();
    events.into_iter().for_each(|event| heard.take(event));
    let mut said = heard.top;
    said.insert("choices".to_owned(), heard.choices.into_values().collect());
    said.insert("error".to_owned(), result.err().as_ref().map_or(Value::Null, told));
    Value::Object(said)
}

/// What an error answer says.
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
    Ok(json!({ "choices": [], "error": told(&error) }))
}

fn told(error: &Error) -> Value {
    json!({
        "kind": error.kind.as_str(),
        "status": error.status().as_u16(),
        "message": error.message,
        "code": error.code,
        "type": error.type_name,
        "param": error.param_name(),
    })
}

/// Everything that events say, put together by concatenation alone.
#[derive(Default)]
struct Heard {
    top: Map<String, Value>,
    choices: BTreeMap<u32, Value>,
}

impl Heard {
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

/// The item of a list that is filled up to it.
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

// Frames. Those before an error are told with it.

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
    json!({ "frames": frames, "error": result.err().as_ref().map(told) })
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
    json!({ "frames": frames, "error": result.err().as_ref().map(told) })
}

/// Texts, numbers and truths as such; bytes as `{"bytes": base64}`.
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
