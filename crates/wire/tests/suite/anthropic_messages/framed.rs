//! Event streams in Amazon's binary frames.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use canon::{ErrorKind, Quirks};
use serde_json::json;
use testkit::split::pieces;
use wire::framing::aws_eventstream::{encode_event, encode_exception};
use wire::{AnswerForm, DecoderContext, Protocol, Transcoder, TranscoderParts, unframed};

use super::{dialect, notes};

fn transcoder(beginning: &[u8]) -> Box<dyn Transcoder> {
    let parts = TranscoderParts {
        filter: None,
        caller: dialect(),
        upstream: Protocol::AnthropicMessages,
        upstream_streams: true,
        form: AnswerForm { stream: true, ..AnswerForm::default() },
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: std::sync::Arc::new(notes()),
    };
    unframed(Protocol::AnthropicMessages, beginning, wire::exchange::transcoder(parts))
}

fn passed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (String, canon::Result<()>) {
    let mut pieces = pieces.into_iter().peekable();
    let mut transcoder = transcoder(pieces.peek().unwrap());
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| transcoder.push(&piece.to_vec().into(), &mut out));
    }
    let result = result.and_then(|()| transcoder.finish(&mut out));
    (String::from_utf8(out).unwrap(), result)
}

/// The events of a short answer.
fn events() -> Vec<serde_json::Value> {
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hé\nllo."}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ]
}

fn framed(events: &[serde_json::Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for event in events {
        let payload = json!({"bytes": STANDARD.encode(event.to_string()), "p": "abc"});
        encode_event("chunk", payload.to_string().as_bytes(), &mut out);
    }
    out
}

#[test]
fn frames_read_like_the_stream_itself() {
    let plain: String = events()
        .iter()
        .map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()))
        .collect();
    let (expected, end) = passed([plain.as_bytes()]);
    assert_eq!(end, Ok(()));
    assert!(expected.contains("message_stop"), "{expected}");
    let stream = framed(&events());
    assert_eq!(passed([&stream[..]]), (expected.clone(), Ok(())));
    for size in [1, 7, 64] {
        assert_eq!(passed(pieces(&stream, size, 1)), (expected.clone(), Ok(())), "in pieces of {size}");
    }
}

#[test]
fn an_exception_ends_the_stream_after_the_events_before_it() {
    let mut stream = framed(&events()[..3]);
    encode_exception("throttlingException", br#"{"message":"Too many tokens."}"#, &mut stream);
    let (out, end) = passed([&stream[..]]);
    assert!(out.contains("llo."), "{out}");
    assert_eq!(end.unwrap_err().kind, ErrorKind::RateLimit);
    let cut = framed(&events());
    assert!(passed([&cut[..cut.len() - 5]]).1.is_err(), "cut in a frame");
    assert!(passed([&framed(&events()[..3])[..]]).1.is_err(), "no end");
    let mut empty = Vec::new();
    encode_event("chunk", b"{\"bytes\":\"?\"}", &mut empty);
    assert!(passed([&empty[..]]).1.is_err());
}
