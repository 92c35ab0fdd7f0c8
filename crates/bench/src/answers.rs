//! The answers of the mock upstream, prepared as bytes, and the requests of the load generator.

use bytes::Bytes;
use serde_json::{Value, json};

/// Content events of a stream.
pub const CHUNKS: usize = 64;

/// The wire format of an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    OpenAi,
    Anthropic,
    Gemini,
}

/// One format's answers, each a complete HTTP/1.1 response.
pub struct Answers {
    /// Head and body.
    pub whole: Vec<u8>,
    pub stream_head: Vec<u8>,
    /// One HTTP chunk for each event. The last one ends the body.
    pub events: Vec<Vec<u8>>,
    /// The whole answer without its head, for HTTP/2.
    pub body: Bytes,
    /// The events without HTTP/1.1's framing.
    pub bodies: Vec<Bytes>,
}

/// The pieces of the answer, with characters that a faulty encoder gets wrong: quotes, backslashes, control
/// characters, and characters of two, three and four bytes.
const PIECES: [&str; 16] = [
    "Here",
    " is",
    " the",
    " \"plan\"",
    ":\n",
    "1. read `a\\b`",
    ",",
    "\tthen",
    " write",
    " naïve",
    " tests",
    " → 日本",
    " 🚀",
    " </p>",
    " & rest",
    ".\n\n",
];

/// The text that a stream carries.
pub fn stream_text() -> String {
    pieces().collect()
}

/// The text of a whole answer: about 600 bytes.
pub fn whole_text() -> String {
    pieces().chain(pieces()).collect()
}

fn pieces() -> impl Iterator<Item = &'static str> {
    (0..CHUNKS).map(|at| PIECES[at % PIECES.len()])
}

impl Answers {
    pub fn of(format: Format) -> Self {
        let (whole, events) = match format {
            Format::OpenAi => (openai_whole(), openai_stream()),
            Format::Anthropic => (anthropic_whole(), anthropic_stream()),
            Format::Gemini => (gemini_object(&whole_text(), true), gemini_stream()),
        };
        let whole = whole.to_string();
        let head = format!("content-type: application/json\r\ncontent-length: {}", whole.len());
        let stream = "content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked";
        let bodies = events.iter().map(|event| Bytes::from(event.clone())).collect();
        let mut events: Vec<Vec<u8>> =
            events.iter().map(|event| format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()).collect();
        if let Some(last) = events.last_mut() {
            last.extend_from_slice(b"0\r\n\r\n");
        }
        Self {
            whole: [response_head(&head).as_bytes(), whole.as_bytes()].concat(),
            stream_head: response_head(stream).into_bytes(),
            events,
            body: whole.into(),
            bodies,
        }
    }
}

/// With as many headers as a provider's edge sends.
fn response_head(framing: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ndate: Thu, 01 Jan 2026 00:00:00 GMT\r\n{framing}\r\nserver: edge\r\n\
         x-request-id: req_00112233445566778899aabbccddeeff\r\nx-organization: org-bench\r\n\
         x-processing-ms: 412\r\nx-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\n\
         x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-requests: 9999\r\n\
         x-ratelimit-remaining-tokens: 1999850\r\nx-ratelimit-reset-requests: 6ms\r\n\
         x-content-type-options: nosniff\r\nstrict-transport-security: max-age=31536000\r\n\r\n"
    )
}

fn openai_usage(output: usize) -> Value {
    json!({
        "prompt_tokens": 104, "completion_tokens": output, "total_tokens": 104 + output,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0,
            "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    })
}

fn openai_whole() -> Value {
    json!({
        "id": "chatcmpl-bench0123456789", "object": "chat.completion", "created": 1_767_225_600,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{
            "index": 0,
            "message": {"role": "assistant", "content": whole_text(), "refusal": null, "annotations": []},
            "logprobs": null, "finish_reason": "stop"
        }],
        "usage": openai_usage(2 * CHUNKS), "service_tier": "default", "system_fingerprint": "fp_bench"
    })
}

fn openai_stream() -> Vec<String> {
    let event = |choices: Value, usage: Value| {
        let chunk = json!({
            "id": "chatcmpl-bench0123456789", "object": "chat.completion.chunk", "created": 1_767_225_600,
            "model": "gpt-4o-mini-2024-07-18", "service_tier": "default", "system_fingerprint": "fp_bench",
            "choices": choices, "usage": usage
        });
        format!("data: {chunk}\n\n")
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    let delta = |at: usize, piece: &str| match at {
        0 => json!({"role": "assistant", "content": piece, "refusal": null}),
        _ => json!({"content": piece}),
    };
    let texts = pieces().enumerate().map(|(at, piece)| choice(delta(at, piece), Value::Null));
    let mut events: Vec<String> = texts.map(|choices| event(choices, Value::Null)).collect();
    events.push(event(choice(json!({}), json!("stop")), Value::Null));
    events.push(event(json!([]), openai_usage(CHUNKS)));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn anthropic_message(content: Value, stop_reason: Value, output: usize) -> Value {
    json!({
        "id": "msg_bench0123456789", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": content, "stop_reason": stop_reason, "stop_sequence": null,
        "usage": {"input_tokens": 104, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": output, "service_tier": "standard"}
    })
}

fn anthropic_whole() -> Value {
    anthropic_message(json!([{"type": "text", "text": whole_text()}]), json!("end_turn"), 2 * CHUNKS)
}

fn anthropic_stream() -> Vec<String> {
    let event = |name: &str, rest: Value| {
        let mut data = json!({"type": name});
        if let (Value::Object(data), Value::Object(rest)) = (&mut data, rest) {
            data.extend(rest);
        }
        format!("event: {name}\ndata: {data}\n\n")
    };
    let start = anthropic_message(json!([]), Value::Null, 1);
    let block = json!({"index": 0, "content_block": {"type": "text", "text": ""}});
    let mut events = vec![event("message_start", json!({"message": start}))];
    events.push(event("content_block_start", block));
    events.push(event("ping", json!({})));
    let deltas = pieces().map(|piece| json!({"index": 0, "delta": {"type": "text_delta", "text": piece}}));
    events.extend(deltas.map(|delta| event("content_block_delta", delta)));
    events.push(event("content_block_stop", json!({"index": 0})));
    let end = json!({
        "delta": {"stop_reason": "end_turn", "stop_sequence": null},
        "usage": {"input_tokens": 104, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
            "output_tokens": CHUNKS}
    });
    events.push(event("message_delta", end));
    events.push(event("message_stop", json!({})));
    events
}

fn gemini_object(text: &str, last: bool) -> Value {
    let mut candidate = json!({"content": {"parts": [{"text": text}], "role": "model"}, "index": 0});
    if last {
        candidate["finishReason"] = json!("STOP");
    }
    json!({
        "candidates": [candidate],
        "usageMetadata": {"promptTokenCount": 104, "candidatesTokenCount": CHUNKS, "totalTokenCount": 104 + CHUNKS},
        "modelVersion": "gemini-2.5-flash", "responseId": "bench0123456789"
    })
}

fn gemini_stream() -> Vec<String> {
    let objects = pieces().enumerate().map(|(at, piece)| gemini_object(piece, at + 1 == CHUNKS));
    objects.map(|object| format!("data: {object}\r\n\r\n")).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    /// Prose of this many bytes.
    Text(usize),
    /// A picture of this many bytes in base64.
    Image(usize),
}

/// The body of a chat request in OpenAI's format.
pub fn request_body(model: &str, prompt: Prompt, stream: bool) -> Vec<u8> {
    let content = match prompt {
        Prompt::Text(length) => json!(prose(length)),
        Prompt::Image(length) => json!([
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": format!("data:image/png;base64,{}", base64(length))}}
        ]),
    };
    let mut body = json!({
        "model": model,
        "messages": [
            {"role": "system", "content": "You are a terse assistant."},
            {"role": "user", "content": content}
        ],
        "temperature": 0.7, "max_tokens": 256
    });
    if stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    body.to_string().into_bytes()
}

/// The same in Anthropic's format.
pub fn messages_body(model: &str, prompt: Prompt, stream: bool) -> Vec<u8> {
    let content = match prompt {
        Prompt::Text(length) => json!(prose(length)),
        Prompt::Image(length) => json!([
            {"type": "text", "text": "What is this?"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": base64(length)}}
        ]),
    };
    let mut body = json!({
        "model": model, "system": "You are a terse assistant.",
        "messages": [{"role": "user", "content": content}],
        "temperature": 0.7, "max_tokens": 256
    });
    if stream {
        body["stream"] = json!(true);
    }
    body.to_string().into_bytes()
}

/// Has about as many characters that need escaping as prose and code.
fn prose(length: usize) -> String {
    const SENTENCE: &str = "the gateway forwards a request, and \"streams\" the answer back in order\n";
    SENTENCE.chars().cycle().take(length).collect()
}

fn base64(length: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    (0..length / 4 * 4).map(|at| char::from(LETTERS[(at * 7 + at / 64) % 64])).collect()
}
