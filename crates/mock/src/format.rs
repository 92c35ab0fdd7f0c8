//! The interface of native formats: read a request, write an answer, refuse.

use crate::body::Ending;
use crate::brain::{Answer, Prompt};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde_json::Value;

/// One provider's native API.
pub trait Format: Sync {
    /// Reads a request into a prompt, or refuses it as the provider would.
    fn read(&self, call: &Call) -> Result<Prompt, Refusal>;
    /// Writes the answer, whole or as a stream.
    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply;
    /// The provider's error shape.
    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply;
    /// The provider's error for a prompt that is longer than the model's context.
    fn too_long(&self) -> Refusal {
        Refusal::bad("This model's maximum context length is 1000000 tokens. However, your messages resulted in 1220000 \
                      tokens. Please reduce the length of the messages.")
            .at("messages")
            .code("context_length_exceeded")
    }

    /// The frame by which the provider reports an error in the middle of a stream.
    fn stream_error(&self, call: &Call) -> Bytes;
}

/// One request to a format's endpoint.
pub struct Call {
    pub path: String,
    pub query: String,
    pub headers: HeaderMap,
    pub body: Value,
    /// From the path or the body, wherever the format keeps it.
    pub model: String,
    /// Whether the path or the body asks for a stream.
    pub streaming: bool,
    /// Counts the requests of one mock, for unique and predictable ids.
    pub serial: u64,
    /// Seconds since 1970.
    pub created: u64,
}

impl Call {
    /// A value of the query string, as it was sent.
    pub fn query_value(&self, name: &str) -> Option<&str> {
        self.query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, v)| v)
    }

    /// An id with the provider's customary prefix.
    pub fn id(&self, prefix: &str) -> String {
        format!("{prefix}mock{:08}", self.serial)
    }

    /// Whether the model's name or the path contains this name.
    pub fn asks_for(&self, name: &str) -> bool {
        self.model.contains(name) || self.path.contains(name)
    }

    /// The id of a tool call: unique, unless the request asks for repeated ids.
    pub fn call_id(&self, prefix: &str, number: usize) -> String {
        if self.asks_for("fault-same-ids") {
            format!("{prefix}{number}")
        } else {
            self.id(&format!("{prefix}{number}"))
        }
    }

    /// Whether thinking is signed. With `fault-no-proofs` nothing is, and returned thinking is not checked.
    pub fn proves(&self) -> bool {
        !self.asks_for("fault-no-proofs")
    }
}

/// Why a request is refused.
#[derive(Clone, Debug)]
pub struct Refusal {
    pub status: u16,
    pub message: String,
    pub param: Option<String>,
    pub code: Option<&'static str>,
}

impl Refusal {
    /// A mistake in the request.
    pub fn bad(message: impl Into<String>) -> Refusal {
        Refusal { status: 400, message: message.into(), param: None, code: None }
    }

    pub fn with_status(status: u16, message: impl Into<String>) -> Refusal {
        Refusal { status, message: message.into(), param: None, code: None }
    }

    pub fn at(mut self, param: impl Into<String>) -> Refusal {
        self.param = Some(param.into());
        self
    }

    pub fn code(mut self, code: &'static str) -> Refusal {
        self.code = Some(code);
        self
    }
}

/// The reply to the client.
pub struct Reply {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub frames: Vec<Bytes>,
    pub ending: Ending,
}

impl Reply {
    pub fn whole(status: u16, content_type: &str, body: impl Into<Bytes>) -> Reply {
        Reply {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers: vec![("content-type", content_type.to_string())],
            frames: vec![body.into()],
            ending: Ending::Complete,
        }
    }

    /// A whole JSON body.
    pub fn json(status: u16, body: &Value) -> Reply {
        Reply::whole(status, "application/json", body.to_string())
    }

    /// A stream, one frame per event.
    pub fn stream(content_type: &str, frames: Vec<Bytes>) -> Reply {
        Reply { frames, ..Reply::whole(200, content_type, Bytes::new()) }
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Reply {
        self.headers.push((name, value.into()));
        self
    }
}

/// One server-sent event without a name.
pub fn data_frame(data: &Value) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

/// The elements of an array member; none when it is absent.
pub fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A string member; empty when it is absent.
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Whether a member exists and is not null.
pub fn has(value: &Value, key: &str) -> bool {
    value.get(key).is_some_and(|member| !member.is_null())
}

/// A string, or the strings of an array: how most formats write stop sequences.
pub fn strings(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(many)) => {
            many.iter().filter_map(|item| item.as_str().map(str::to_string)).collect()
        }
        _ => Vec::new(),
    }
}

/// The first top-level key that the provider does not know.
pub fn unknown_key<'a>(body: &'a Value, known: &[&str]) -> Option<&'a str> {
    body.as_object()?.keys().map(String::as_str).find(|key| !known.contains(key))
}

/// Pieces of at most six characters, so that arguments are split anywhere.
pub fn fragments(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(6).map(|chunk| chunk.iter().collect()).collect()
}
