//! Custom tools: OpenAI callers get free text as free text, whichever format the call came from.

use canon::Event;
use serde_json::{Value, json};
use wire::{DecoderContext, Protocol, adapter};

use super::answer_content::content_of_documents;
use super::{assert_stream_rules, decoded, documents, encoded, form, stream};

const TEXT: &str = "line \"one\"\n";

/// The answer of each provider's format that calls the custom tool `free` and then the function `f`.
fn answers() -> Vec<(Protocol, Vec<u8>)> {
    let wrapped = json!({"input": TEXT});
    let function = |arguments: Value, name: &str| json!({"id": name, "type": "function", "function": {"name": name, "arguments": arguments}});
    let documents = [
        (
            Protocol::AnthropicMessages,
            json!({"type": "message", "id": "m", "model": "c", "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1}, "content": [
                {"type": "tool_use", "id": "free", "name": "free", "input": wrapped},
                {"type": "tool_use", "id": "f", "name": "f", "input": {}}]}),
        ),
        (
            Protocol::Gemini,
            json!({"candidates": [{"finishReason": "STOP", "content": {"parts": [
                {"functionCall": {"id": "free", "name": "free", "args": wrapped}}, {"functionCall": {"id": "f", "name": "f"}}]}}]}),
        ),
        (
            Protocol::BedrockConverse,
            json!({"stopReason": "tool_use", "output": {"message": {"role": "assistant", "content": [
                {"toolUse": {"toolUseId": "free", "name": "free", "input": wrapped}}, {"toolUse": {"toolUseId": "f", "name": "f", "input": {}}}]}}}),
        ),
        (
            Protocol::CohereChat,
            json!({"id": "m", "finish_reason": "TOOL_CALL", "message": {"role": "assistant", "tool_calls": [
                function(wrapped.to_string().into(), "free"), function("{}".into(), "f")]}}),
        ),
        (
            Protocol::OllamaChat,
            json!({"model": "m", "done": true, "done_reason": "stop", "message": {"role": "assistant", "tool_calls": [
                function(wrapped.clone(), "free"), function(json!({}), "f")]}}),
        ),
    ];
    documents.into_iter().map(|(protocol, document)| (protocol, document.to_string().into_bytes())).collect()
}

fn assert_written(protocol: Protocol, events: &[Event]) {
    let whole: Value = serde_json::from_str(&encoded(&form(false), events)).unwrap();
    let calls = &whole["choices"][0]["message"]["tool_calls"];
    assert_eq!(
        calls[0],
        json!({"id": "free", "type": "custom", "custom": {"name": "free", "input": TEXT}}),
        "{protocol:?}"
    );
    assert_eq!(calls[1]["type"], "function", "{protocol:?}");
    assert_eq!(calls[1]["function"], json!({"name": "f", "arguments": "{}"}), "{protocol:?}");
    let text = encoded(&form(true), events);
    assert_stream_rules(&text, true);
    let read = content_of_documents(&documents(true, &text));
    assert_eq!(read.choices[&0].calls[0].2, TEXT, "{protocol:?}");
    assert_eq!(
        decoded(true, &DecoderContext::default(), [text.as_bytes()]).map(calls_of),
        Ok(calls_of(events.to_vec()))
    );
    let text = whole.to_string();
    assert_eq!(
        decoded(false, &DecoderContext::default(), [text.as_bytes()]).map(calls_of),
        Ok(calls_of(events.to_vec()))
    );
}

/// The events of calls, without empty pieces.
fn calls_of(events: Vec<Event>) -> Vec<Event> {
    let is_call =
        |event: &Event| matches!(event, Event::ToolCallStart { .. } | Event::ToolCallArguments { .. });
    events.into_iter().filter(is_call).collect()
}

#[test]
fn free_text_of_every_format_reaches_the_caller_as_free_text() {
    let decoding = DecoderContext { custom_tools: vec!["free".into()], ..DecoderContext::default() };
    for (protocol, body) in answers() {
        let mut decoder = adapter(protocol).decoder(false, &decoding);
        let mut events = Vec::new();
        decoder.push(&body, &mut events).unwrap();
        decoder.finish(&mut events).unwrap_or_else(|error| panic!("{protocol:?}: {error}"));
        assert_written(protocol, &events);
    }
}

#[test]
fn streamed_free_text_stays_free_text() {
    let delta = |delta: Value| json!({"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta}]});
    let last = json!({"id": "a", "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let body = stream(&[
        delta(json!({"role": "assistant", "content": null})),
        delta(
            json!({"tool_calls": [{"index": 0, "id": "free", "type": "custom", "custom": {"name": "free", "input": ""}}]}),
        ),
        delta(json!({"tool_calls": [{"index": 0, "custom": {"input": "line \"one\""}}]})),
        delta(json!({"tool_calls": [{"index": 0, "custom": {"input": "\n"}}]})),
        last,
    ]);
    let events = decoded(true, &DecoderContext::default(), [body.as_bytes()]).unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::ToolCallStart { custom: true, .. })));
    let (relayed, _) = super::relayed(form(true), [body.as_bytes()]).unwrap();
    assert_stream_rules(&relayed, true);
    let read = content_of_documents(&documents(true, &relayed));
    assert_eq!(read.choices[&0].calls, [("free".to_owned(), "free".to_owned(), TEXT.to_owned())]);
}
