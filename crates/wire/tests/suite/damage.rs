//! Damaged answers: decoders end in an answer or an error, and never panic.

use wire::framing::aws_eventstream::encode_event;
use wire::{DecoderContext, Protocol, adapter};

const CONVERSE: &str = r#"{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":
    {"text":"Hm","signature":"s"}}},{"text":"é"},{"toolUse":{"toolUseId":"a","name":"f","input":{"x":[1,null]}}},
    {"citationsContent":{"content":[{"text":"t"}],"citations":[{"location":{"web":{"url":"u"}}}]}}]}},
    "stopReason":"tool_use","usage":{"inputTokens":1,"outputTokens":2,"cacheDetails":[{"ttl":"1h"}]}}"#;
const COHERE: &str = r#"{"id":"m","message":{"role":"assistant","tool_plan":"p","content":[{"type":"text","text":"é"},
    {"type":"thinking","thinking":"t"}],"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{}"}}],
    "citations":[{"start":0,"sources":[{"document":{"url":"u"}}]}]},"finish_reason":"TOOL_CALL",
    "usage":{"tokens":{"input_tokens":1,"output_tokens":2},"cached_tokens":1}}"#;
const COHERE_STREAM: &str = r#"data: {"type":"message-start","id":"m"}

data: {"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"é"}}}}

data: {"type":"tool-call-start","index":1,"delta":{"message":{"tool_calls":{"id":"a","function":{"name":"f"}}}}}

data: {"type":"tool-call-delta","index":1,"delta":{"message":{"tool_calls":{"function":{"arguments":"{}"}}}}}

data: {"type":"message-end","delta":{"finish_reason":"TOOL_CALL","usage":{"tokens":{"input_tokens":1}}}}

"#;
const OLLAMA: &str = r#"{"model":"m","message":{"content":"é","thinking":"t","tool_calls":[{"function":{"name":"f",
    "arguments":{"x":1}}}]},"done":true,"done_reason":"stop","prompt_eval_count":1,"eval_count":2}"#;

/// The bytes that replace each byte in turn.
const REPLACEMENTS: &[u8] = b"\"{}[],:0x\\-\n\0\xff";

fn decode(protocol: Protocol, streaming: bool, body: &[u8]) {
    let mut decoder = adapter(protocol).decoder(streaming, &DecoderContext::default());
    let mut events = Vec::new();
    if decoder.push(body, &mut events).is_ok() {
        let _ = decoder.finish(&mut events);
    }
}

fn damage(body: &[u8], mut decode: impl FnMut(&[u8])) {
    for at in 0..body.len() {
        decode(&body[..at]);
        let mut damaged = body.to_vec();
        for replacement in REPLACEMENTS {
            damaged[at] = *replacement;
            decode(&damaged);
        }
        damaged.remove(at);
        decode(&damaged);
    }
}

#[test]
fn damaged_answers_do_not_panic() {
    let cases = [
        (Protocol::BedrockConverse, false, CONVERSE),
        (Protocol::CohereChat, false, COHERE),
        (Protocol::CohereChat, true, COHERE_STREAM),
        (Protocol::OllamaChat, false, OLLAMA),
        (Protocol::OllamaChat, true, OLLAMA),
    ];
    for (protocol, streaming, body) in cases {
        damage(body.as_bytes(), |damaged| decode(protocol, streaming, damaged));
    }
}

#[test]
fn damaged_events_in_good_frames_do_not_panic() {
    let start = r#"{"contentBlockIndex":0,"start":{"toolUse":{"toolUseId":"a","name":"f"}}}"#;
    let events = [
        ("contentBlockStart", start),
        ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"toolUse":{"input":"{}"}}}"#),
        ("contentBlockDelta", r#"{"contentBlockIndex":1,"delta":{"reasoningContent":{"text":"t"}}}"#),
        ("contentBlockStop", r#"{"contentBlockIndex":0}"#),
        ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ("metadata", r#"{"usage":{"inputTokens":1,"outputTokens":2}}"#),
    ];
    for (kind, payload) in events {
        damage(payload.as_bytes(), |damaged| {
            let mut body = Vec::new();
            encode_event("contentBlockStart", start.as_bytes(), &mut body);
            encode_event(kind, damaged, &mut body);
            encode_event(kind, damaged, &mut body);
            decode(Protocol::BedrockConverse, true, &body);
        });
    }
}
