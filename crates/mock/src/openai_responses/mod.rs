//! OpenAI's Responses API, whole and as a stream. Nothing is stored: a request that refers to an earlier
//! response is refused like an unknown id at OpenAI.

mod read;
mod write;

use crate::brain::{self, Answer, Prompt};
use crate::faults::Fault;
use crate::format::{Call, Format, Refusal, Reply, items, text};
use crate::persona::Persona;
use crate::proof::signature;
use bytes::Bytes;
use serde_json::{Value, json};

pub struct OpenAiResponses;

impl Format for OpenAiResponses {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        read::read(call)
    }

    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply {
        let writer = write::Writer { call, prompt, answer };
        let reply = if call.streaming {
            Reply::stream("text/event-stream; charset=utf-8", writer.stream())
        } else {
            Reply::json(200, &writer.whole())
        };
        with_headers(reply, call)
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        with_headers(Reply::json(refusal.status, &Persona::Plain.error_body(refusal)), call)
    }

    /// OpenAI reports a failure twice: as an event and as the response that failed.
    fn stream_error(&self, call: &Call) -> Bytes {
        let position = match Fault::asked_for(call) {
            Some(Fault::StreamError(frames)) => frames,
            _ => 0,
        };
        let message = "The server had an error while processing your request (on command).";
        let error =
            json!({ "type": "server_error", "code": "server_error", "message": message, "param": null });
        let mut failed = write::envelope(call, "failed");
        failed["error"] = json!({ "code": "server_error", "message": message });
        let first = write::event(position, json!({ "type": "error", "error": error }));
        let second = write::event(position + 1, json!({ "type": "response.failed", "response": failed }));
        Bytes::from([first, second].concat())
    }
}

/// `GET …/responses`: a request for a WebSocket, which clients try before they post.
pub fn websocket(_: &Call) -> Reply {
    let message = "This endpoint does not speak the websocket protocol. Use POST.";
    let error = json!({ "message": message, "type": "invalid_request_error", "param": null, "code": "upgrade_required" });
    Reply::json(426, &json!({ "error": error }))
}

/// `POST …/responses/input_tokens`.
pub fn input_tokens(call: &Call) -> Reply {
    match read::read(call) {
        Ok(prompt) => Reply::json(
            200,
            &json!({ "object": "response.input_tokens", "input_tokens": brain::input_tokens(&prompt) }),
        ),
        Err(refusal) => OpenAiResponses.refuse(call, &refusal),
    }
}

fn with_headers(reply: Reply, call: &Call) -> Reply {
    reply
        .header("x-request-id", call.id("req_"))
        .header("openai-processing-ms", "1")
        .header("x-ratelimit-limit-requests", "30000")
        .header("x-ratelimit-remaining-requests", "29999")
        .header("x-ratelimit-reset-requests", "2ms")
}

/// Whether the last item asks for compaction of the history.
fn wants_compaction(call: &Call) -> bool {
    items(&call.body, "input").last().is_some_and(|item| text(item, "type") == "compaction_trigger")
}

/// Encrypts a text, as far as a test needs it: only the mock can read it, and a change is detected.
fn sealed(plain: &str) -> String {
    let hex: String = plain.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("gAAAA{}{hex}", signature(OPENAI, plain))
}

/// The inverse of `sealed`; none for a text that was not made here.
fn opened(encrypted: &str) -> Option<String> {
    let rest = encrypted.strip_prefix("gAAAA")?;
    let (proof, hex) = rest.split_at_checked(signature(OPENAI, "").len())?;
    let bytes: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    let plain = String::from_utf8(bytes?).ok()?;
    (signature(OPENAI, &plain) == proof).then_some(plain)
}

const OPENAI: &str = "openai";

/// A value that the request must hold.
fn is_true(value: &Value, key: &str) -> bool {
    value.get(key) == Some(&Value::Bool(true))
}
