//! Shared parts of the tests: a gateway in this process, a client that sees every byte, providers that play a script, and a
//! clock that is moved by hand.

mod client;
mod clock;
mod gateway;
mod log;
mod native;
mod program;
mod upstream;

pub use client::{Reply, assert_late, chat, connect, get, head_of, open, read_head, send};
pub use clock::{advance, advance_seconds, eventually, settle, with_held_clock};
pub use gateway::{KEY, TestGateway};
pub use log::{logged, start_log};
pub use native::{Native, native};
pub use program::Program;
pub use upstream::{
    Upstream, answer, answer_of, chunk, error, events, nothing, raw, stream_head, stream_of, whole,
};

use serde_json::{Value, json};

pub fn question(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
}

/// The same as a stream with usage at its end.
pub fn streamed(model: &str) -> Value {
    let mut body = question(model);
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    body
}

/// The value at a JSON pointer, or null.
pub fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}
