//! From an answer to the next turn: the parts of an answer that a caller sends back reach the provider that
//! needs them.

use std::sync::Arc;

use bytes::Bytes;
use canon::{ModelFacts, Quirks, Target};
use serde_json::{Value, json};
use wire::{
    Addressed, AnswerForm, DecoderContext, EncodedRequest, Exchange, Intake, Protocol, TranscoderParts,
    dialect,
};

use super::checks::notes;
use super::missing_parts::{chat, documents, messages, plain, responses};

fn intake(caller: Protocol, body: &Value) -> Intake {
    let url = Addressed { rest: "m:generateContent", query: "" };
    dialect(caller).unwrap().intake(url, &Bytes::from(body.to_string())).unwrap()
}

fn sent(caller: Protocol, body: &Value, upstream: Protocol, model: &str) -> EncodedRequest {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let exchange = Exchange {
        dialect: dialect(caller).unwrap(),
        intake: &intake(caller, body),
        upstream,
        target: Target { model, facts: &facts, quirks: &quirks },
        memory: None,
    };
    exchange.draft(false).unwrap().write().unwrap()
}

fn translated(
    caller: Protocol,
    upstream: Protocol,
    decoding: &DecoderContext,
    stream: bool,
    body: String,
) -> String {
    let mut transcoder = wire::exchange::transcoder(TranscoderParts {
        filter: None,
        caller: dialect(caller).unwrap(),
        upstream,
        upstream_streams: stream,
        form: AnswerForm { stream, include_usage: true, ..AnswerForm::default() },
        decoding,
        quirks: &Quirks::default(),
        annotator: Arc::new(notes()),
    });
    let mut out = Vec::new();
    transcoder.push(&Bytes::from(body), &mut out).unwrap();
    transcoder.finish(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {}\n\n", plain(event))).collect()
}

/// The parts of an answer to a Gemini caller.
fn gemini_parts(upstream: Protocol, events: &[Value]) -> Vec<Value> {
    let out = translated(Protocol::Gemini, upstream, &DecoderContext::default(), true, stream(events));
    let pieces = documents(out.as_bytes()).unwrap();
    let parts = |piece: &Value| piece["candidates"][0]["content"]["parts"].as_array().cloned();
    pieces.iter().filter_map(parts).flatten().collect()
}

fn gemini_turn(parts: &[Value]) -> Value {
    json!({"contents": [
        {"role": "user", "parts": [{"text": "Look."}]},
        {"role": "model", "parts": parts},
        {"role": "user", "parts": [{"functionResponse": {"id": "call_1", "name": "look", "response": {"output": "x"}}}]},
    ], "tools": [{"functionDeclarations": [{"name": "look", "parametersJsonSchema": {"type": "object"}}]}],
    "generationConfig": {"thinkingConfig": {"thinkingBudget": 2048}}})
}

#[test]
fn proofs_of_other_families_come_back_from_gemini_callers() {
    let claude = gemini_parts(Protocol::AnthropicMessages, &messages());
    let of_call = |parts: &[Value]| -> Value {
        parts.iter().find(|part| part["functionCall"].is_object()).unwrap().clone()
    };
    let call = of_call(&claude);
    assert!(call["thoughtSignature"].as_str().unwrap().starts_with("bGxtZ2F0ZXdheS4x"), "{call}");
    // Gemini CLI does not send thoughts back, opencode does.
    for kept in [vec![call.clone()], claude.clone()] {
        let written =
            sent(Protocol::Gemini, &gemini_turn(&kept), Protocol::AnthropicMessages, "claude-sonnet-4-5");
        let body: Value = serde_json::from_slice(&written.body).unwrap();
        let thinking = json!({"type": "thinking", "thinking": "Hmm.", "signature": "sig"});
        assert_eq!(body["messages"][1]["content"][0], thinking, "{body}");
        let thoughts = body["messages"][1]["content"].as_array().unwrap();
        assert_eq!(thoughts.iter().filter(|block| block["type"] == "thinking").count(), 1);
        assert_eq!(body["thinking"]["type"], "enabled");
        assert!(
            !written.losses.iter().any(|loss| loss.field.to_string().contains("thoughtSignature")),
            "{:?}",
            written.losses
        );
    }
    let call = of_call(&gemini_parts(Protocol::OpenaiResponses, &responses()));
    let written = sent(Protocol::Gemini, &gemini_turn(&[call]), Protocol::OpenaiResponses, "gpt-5");
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let thought = body["input"].as_array().unwrap().iter().find(|item| item["type"] == "reasoning").unwrap();
    assert_eq!(thought["encrypted_content"], "gAAA");
}

/// A gateway of OpenAI's format names the family with some pieces of the thinking and not with all of them.
#[test]
fn thinking_whose_family_is_named_late_is_one_block() {
    let chunk = |delta: Value, finish: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})
    };
    let detail = |more: Value| {
        let mut detail = json!({"type": "reasoning.text", "index": 0});
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"reasoning_details": [detail]})
    };
    let call = json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function",
        "function": {"name": "look", "arguments": "{}"}}]});
    let events = [
        chunk(detail(json!({"text": "Hm"})), Value::Null),
        chunk(detail(json!({"text": "m.", "format": "anthropic-claude-v1"})), Value::Null),
        chunk(detail(json!({"signature": "sig", "format": "anthropic-claude-v1"})), Value::Null),
        chunk(call, json!("tool_calls")),
    ];
    let parts = gemini_parts(Protocol::OpenaiChat, &events);
    let call = parts.iter().find(|part| part["functionCall"].is_object()).unwrap().clone();
    let model = "claude-sonnet-4-5";
    let written = sent(Protocol::Gemini, &gemini_turn(&[call]), Protocol::AnthropicMessages, model);
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let thinking = json!({"type": "thinking", "thinking": "Hmm.", "signature": "sig"});
    assert_eq!(body["messages"][1]["content"][0], thinking, "{body}");
}

#[test]
fn google_gets_no_proof_of_another_family() {
    let call = gemini_parts(Protocol::AnthropicMessages, &messages()).pop().unwrap();
    assert!(call["thoughtSignature"].is_string(), "{call}");
    let written =
        sent(Protocol::Gemini, &gemini_turn(std::slice::from_ref(&call)), Protocol::Gemini, "gemini-3-pro");
    let body: Value = serde_json::from_slice(&written.body).unwrap();
    let signature = &body["contents"][1]["parts"][0]["thoughtSignature"];
    assert_eq!(signature, "skip_thought_signature_validator");
    assert!(
        written
            .caller_losses
            .iter()
            .any(|loss| loss.field.to_string() == "contents[1].parts[0].thoughtSignature")
    );
    let mut damaged = call;
    let sealed = damaged["thoughtSignature"].as_str().unwrap();
    damaged["thoughtSignature"] = json!(sealed[..sealed.len() - 12]);
    let written = sent(Protocol::Gemini, &gemini_turn(&[damaged]), Protocol::OpenaiChat, "m");
    assert!(
        written
            .caller_losses
            .iter()
            .any(|loss| loss.field.to_string() == "contents[1].parts[0].thoughtSignature")
    );
}

/// Agents take a call with a known id for a repetition, and drop it.
#[test]
fn repeated_ids_of_calls_are_replaced_between_equal_formats() {
    let turn = json!({"model": "m", "tools": [{"type": "function", "function": {"name": "look"}}], "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ]});
    let whole = json!({"id": "c", "object": "chat.completion", "created": 7, "model": "m", "choices": [{"index": 0,
        "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}}]});
    check_ids(Protocol::OpenaiChat, &turn, &chat(), &whole);

    let turn = json!({"model": "m", "max_tokens": 9, "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    "messages": [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "call_1", "name": "look", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1", "content": "x"}]},
    ]});
    let whole = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "content": [{"type": "tool_use", "id": "call_1", "name": "look", "input": {}}],
        "usage": {"input_tokens": 1, "output_tokens": 1}});
    check_ids(Protocol::AnthropicMessages, &turn, &messages(), &whole);
}

fn check_ids(format: Protocol, turn: &Value, events: &[Value], whole: &Value) {
    let known = sent(format, turn, format, "m").decoding;
    let mut first = turn.clone();
    first["messages"].as_array_mut().unwrap().truncate(1);
    let new = sent(format, &first, format, "m").decoding;
    for (stream_form, body) in [(true, stream(events)), (false, whole.to_string())] {
        let again = translated(format, format, &known, stream_form, body.clone());
        assert!(again.contains("\"call_ours\"") && !again.contains("\"call_1\""), "{again}");
        let kept = translated(format, format, &new, stream_form, body);
        assert!(kept.contains("\"call_1\"") && !kept.contains("\"call_ours\""), "{kept}");
    }
}

/// Some servers name the arguments of a function `input`, or the input of a custom tool `arguments`.
#[test]
fn the_arguments_of_a_tool_are_read_by_either_name() {
    let function =
        json!({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "input": {"x": 1}}});
    let custom =
        json!({"index": 1, "id": "b", "type": "custom", "custom": {"name": "g", "arguments": "text"}});
    let message = |name: &str| {
        json!({"id": "c", "object": "chat.completion", "created": 7, "model": "m", "choices": [
            {"index": 0, "finish_reason": "tool_calls", name: {"role": "assistant", "tool_calls": [function, custom]}}]})
    };
    let events = [message("delta"), json!("[DONE]")];
    for (stream_form, body) in [(true, stream(&events)), (false, message("message").to_string())] {
        let out = translated(
            Protocol::OpenaiChat,
            Protocol::OpenaiChat,
            &DecoderContext::default(),
            stream_form,
            body.clone(),
        );
        assert!(out.contains(r#""arguments":"{\"x\":1}""#) && out.contains(r#""input":"text""#), "{out}");
        let out = translated(
            Protocol::OpenaiResponses,
            Protocol::OpenaiChat,
            &DecoderContext::default(),
            stream_form,
            body,
        );
        assert!(out.contains(r#""arguments":"{\"x\":1}""#) && out.contains(r#""input":"text""#), "{out}");
    }
}

/// A turn in which a tool returns a text and a picture, and another tool a text, in a caller's format.
fn with_picture(caller: Protocol, picture: &str) -> Value {
    let url = format!("data:image/png;base64,{picture}");
    match caller {
        Protocol::OpenaiChat => json!({"model": "m", "messages": [
            {"role": "user", "content": "look"},
            {"role": "assistant", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": [
                {"type": "text", "text": "seen"}, {"type": "image_url", "image_url": {"url": url}}]},
            {"role": "tool", "tool_call_id": "b", "content": "nothing"},
            {"role": "user", "content": "go on"}]}),
        Protocol::AnthropicMessages => json!({"model": "m", "max_tokens": 9, "messages": [
            {"role": "user", "content": "look"},
            {"role": "assistant", "content": [
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
                {"type": "tool_use", "id": "b", "name": "f", "input": {}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": [
                    {"type": "text", "text": "seen"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": picture}}]},
                {"type": "tool_result", "tool_use_id": "b", "content": "nothing"},
                {"type": "text", "text": "go on"}]}]}),
        Protocol::OpenaiResponses => json!({"model": "m", "input": [
            {"type": "message", "role": "user", "content": "look"},
            {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "a", "output": [
                {"type": "input_text", "text": "seen"}, {"type": "input_image", "image_url": url}]},
            {"type": "function_call_output", "call_id": "b", "output": "nothing"},
            {"type": "message", "role": "user", "content": "go on"}]}),
        _ => json!({"contents": [
            {"role": "user", "parts": [{"text": "look"}]},
            {"role": "model", "parts": [
                {"functionCall": {"id": "a", "name": "f", "args": {}}},
                {"functionCall": {"id": "b", "name": "f", "args": {}}}]},
            {"role": "user", "parts": [
                {"functionResponse": {"id": "a", "name": "f", "response": {"output": "seen"},
                    "parts": [{"inlineData": {"mimeType": "image/png", "data": picture}}]}},
                {"functionResponse": {"id": "b", "name": "f", "response": {"output": "nothing"}}}]},
            {"role": "user", "parts": [{"text": "go on"}]}]}),
    }
}

/// A picture that a tool returns reaches every provider: in the result, or behind the results, which is reported
/// by the caller's name of the part.
#[test]
fn pictures_of_tools_reach_every_provider_from_every_caller() {
    let picture =
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII=";
    let callers =
        [Protocol::OpenaiChat, Protocol::AnthropicMessages, Protocol::OpenaiResponses, Protocol::Gemini];
    let upstreams = [
        (Protocol::OpenaiChat, "gpt-5.1"),
        (Protocol::AnthropicMessages, "claude-sonnet-4-5"),
        (Protocol::OpenaiResponses, "gpt-5.1"),
        (Protocol::Gemini, "gemini-3-pro-preview"),
        (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (Protocol::CohereChat, "command-a-vision-07-2025"),
        (Protocol::OllamaChat, "llava"),
    ];
    for caller in callers {
        for (upstream, model) in upstreams {
            let written = sent(caller, &with_picture(caller, picture), upstream, model);
            let body = String::from_utf8(written.body.to_vec()).unwrap();
            let texts: Vec<_> = ["seen", "nothing", "go on"].map(|text| body.find(text)).into();
            assert!(texts.iter().all(Option::is_some), "{caller:?} {upstream:?}: {body}");
            assert!(texts.is_sorted(), "{caller:?} {upstream:?}: {body}");
            assert_eq!(body.matches(picture).count(), 1, "{caller:?} {upstream:?}: {body}");
            let is_behind = body.find(picture) > body.find("nothing");
            let losses: Vec<_> =
                written.caller_losses.iter().filter(|loss| loss.reason.contains("sent after")).collect();
            assert_eq!(
                losses.len(),
                usize::from(is_behind && caller != upstream),
                "{caller:?} {upstream:?}: {losses:?}"
            );
        }
    }
    let body = sent(
        callers[1],
        &with_picture(callers[1], picture),
        Protocol::CohereChat,
        "command-a-vision-07-2025",
    )
    .body;
    let body: Value = serde_json::from_slice(&body).unwrap();
    let roles: Vec<_> =
        body["messages"].as_array().unwrap().iter().map(|turn| turn["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user", "user"]);
    assert_eq!(body["messages"][2]["content"], "seen");
    assert_eq!(body["messages"][4]["content"][0]["type"], "image_url");
}
