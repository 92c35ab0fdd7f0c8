//! Calls and their results: each call keeps its own result in every format, whatever ids the caller gives.

use canon::{Message, ModelFacts, Part, PartKind, Quirks, Request, Role, Target, ToolCall, ToolResult};
use serde_json::{Value, json};
use wire::{DecoderContext, Protocol};

use crate::caller_answer::read_at_every_split;
use wire::framing::aws_eventstream::encode_event;

/// The calls and results that a format writes: the ids of the calls in order, and the text of each result
/// with the position of its call.
type CallsAndResults = (Vec<String>, Vec<(usize, String)>);

fn call(id: &str, argument: &str) -> Part {
    let (name, arguments) = (format!("get_{argument}").into(), format!("{{\"q\":{argument:?}}}").into());
    PartKind::from(ToolCall { id: id.into(), name, arguments, custom: false }).into()
}

fn result(id: &str, text: &str) -> Message {
    let content = vec![Part::text(text)];
    let result = ToolResult { call_id: id.into(), content, is_error: false };
    Message::new(Role::Tool, vec![PartKind::from(result).into()])
}

fn written(request: &Request, protocol: Protocol, model: &str) -> Value {
    let target = Target { model, facts: &ModelFacts::default(), quirks: &Quirks::default() };
    let encoded = wire::adapter(protocol).encode_request(request, target).unwrap();
    serde_json::from_slice(&encoded.body).unwrap()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// Calls and results that refer to each other by id.
fn by_id(calls: Vec<String>, results: Vec<(String, String)>) -> CallsAndResults {
    let position = |id: &String| calls.iter().position(|call| call == id).unwrap();
    let results = results.iter().map(|(id, text)| (position(id), text.clone())).collect();
    (calls, results)
}

fn openai_like(body: &Value) -> CallsAndResults {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for message in list(&body["messages"]) {
        calls.extend(list(&message["tool_calls"]).map(|call| text(&call["id"])));
        if message["role"] == "tool" {
            results.push((text(&message["tool_call_id"]), text(&message["content"])));
        }
    }
    by_id(calls, results)
}

fn anthropic(body: &Value) -> CallsAndResults {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for block in list(&body["messages"]).flat_map(|turn| list(&turn["content"])) {
        match block["type"].as_str() {
            Some("tool_use") => calls.push(text(&block["id"])),
            Some("tool_result") => {
                let said = list(&block["content"]).map(|inner| text(&inner["text"])).collect();
                results.push((text(&block["tool_use_id"]), said));
            }
            _ => {}
        }
    }
    by_id(calls, results)
}

fn bedrock(body: &Value) -> CallsAndResults {
    let (mut calls, mut results) = (Vec::new(), Vec::new());
    for block in list(&body["messages"]).flat_map(|turn| list(&turn["content"])) {
        if let Some(call) = block.get("toolUse") {
            calls.push(text(&call["toolUseId"]));
        }
        if let Some(result) = block.get("toolResult") {
            let said = list(&result["content"]).map(|inner| text(&inner["text"])).collect();
            results.push((text(&result["toolUseId"]), said));
        }
    }
    by_id(calls, results)
}

/// By position: the results of a turn answer the calls of the previous turn, in order.
fn gemini(body: &Value) -> CallsAndResults {
    let (mut calls, mut results, mut answered) = (Vec::new(), Vec::new(), 0);
    for part in list(&body["contents"]).flat_map(|turn| list(&turn["parts"])) {
        if let Some(call) = part.get("functionCall") {
            calls.push(format!("{} {}", calls.len(), text(&call["name"])));
        }
        if let Some(response) = part.get("functionResponse") {
            assert!(calls[answered].ends_with(&text(&response["name"])), "{body}");
            results.push((answered, text(&response["response"]["output"])));
            answered += 1;
        }
    }
    (calls, results)
}

/// A format, a model, and how to read what is written for it.
type Format = (Protocol, &'static str, fn(&Value) -> CallsAndResults);

const FORMATS: [Format; 7] = [
    (Protocol::OpenaiChat, "m", openai_like),
    (Protocol::AnthropicMessages, "claude-sonnet-4-5", anthropic),
    (Protocol::BedrockConverse, "anthropic.claude-sonnet-4-5-20250929-v1:0", bedrock),
    (Protocol::BedrockConverse, "mistral.mistral-large-2407-v1:0", bedrock),
    (Protocol::Gemini, "gemini-2.5-flash", gemini),
    (Protocol::CohereChat, "command-a-03-2025", openai_like),
    (Protocol::OllamaChat, "qwen3", openai_like),
];

#[test]
fn each_call_keeps_its_own_result_in_every_format() {
    let user = || Message::text(Role::User, "hi");
    let assistant = |calls: Vec<Part>| Message::new(Role::Assistant, calls);
    let long = "call_0123456789abcdef__thought__".to_owned() + &"Zx9".repeat(500);
    let stories = [
        (
            "repeated in each turn",
            vec![
                user(),
                assistant(vec![call("call_0", "a")]),
                result("call_0", "A"),
                assistant(vec![call("call_0", "b")]),
                result("call_0", "B"),
            ],
        ),
        (
            "repeated within a turn",
            vec![
                user(),
                assistant(vec![call("call_0", "a"), call("call_0", "b")]),
                result("call_0", "A"),
                result("call_0", "B"),
            ],
        ),
        (
            "missing",
            vec![user(), assistant(vec![call("", "a"), call("", "b")]), result("", "A"), result("", "B")],
        ),
        (
            "in the way of a repeated one",
            vec![
                user(),
                assistant(vec![call("x", "a"), call("x_2", "b"), call("x", "c")]),
                result("x", "A"),
                result("x", "C"),
                result("x_2", "B"),
            ],
        ),
        (
            "with characters that formats refuse, alike but for these",
            vec![
                user(),
                assistant(vec![call("a:1", "a"), call("a.1", "b"), call("a|é 1", "c")]),
                result("a:1", "A"),
                result("a.1", "B"),
                result("a|é 1", "C"),
            ],
        ),
        (
            "too long, alike at the beginning",
            vec![
                user(),
                assistant(vec![call(&format!("{long}1"), "a"), call(&format!("{long}2"), "b")]),
                result(&format!("{long}1"), "A"),
                result(&format!("{long}2"), "B"),
            ],
        ),
        (
            "answered twice",
            vec![
                user(),
                assistant(vec![call("p", "a"), call("q", "b")]),
                result("p", "A"),
                result("q", "B"),
                result("p", "A"),
            ],
        ),
    ];
    for (name, messages) in stories {
        let request = Request { model: "m".into(), messages, ..Request::default() };
        for (protocol, model, read) in FORMATS {
            let (calls, mut results) = read(&written(&request, protocol, model));
            let mut unique = calls.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), calls.len(), "{name}, {protocol:?}: {calls:?}");
            results.sort();
            for (position, text) in &results {
                let letter = char::from(b'A' + *position as u8);
                assert!(text.chars().all(|said| said == letter), "{name}, {protocol:?}: {results:?}");
            }
            results.dedup_by_key(|(position, _)| *position);
            assert_eq!(results.len(), calls.len(), "{name}, {protocol:?}: {results:?}");
        }
    }
}

#[test]
fn ids_keep_to_the_rules_of_the_format() {
    let ids = ["", "é", "a b/c", "call_1", &"x".repeat(300), "call_1"];
    let calls = ids.iter().map(|id| call(id, "a")).collect();
    let mut messages = vec![Message::text(Role::User, "hi"), Message::new(Role::Assistant, calls)];
    messages.extend(ids.iter().map(|id| result(id, "r")));
    let request = Request { model: "m".into(), messages, ..Request::default() };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    for (protocol, model, read) in FORMATS {
        let (written, _) = read(&written(&request, protocol, model));
        for id in written {
            let fits = match (protocol, model.starts_with("mistral")) {
                (Protocol::AnthropicMessages, _) => id.len() <= 64 && id.bytes().all(plain),
                (_, true) => id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()),
                (Protocol::BedrockConverse, _) => {
                    id.len() <= 64 && id.bytes().all(|byte| plain(byte) || b".:".contains(&byte))
                }
                (Protocol::OpenaiChat, _) => id.len() <= 40,
                _ => true,
            };
            assert!(fits && !id.is_empty(), "{protocol:?} {model}: {id:?}");
        }
    }
}

/// An answer with calls, as the translator writes it for a caller of OpenAI's format.
fn answered(protocol: Protocol, body: &Value) -> Value {
    answered_raw(protocol, body.to_string().as_bytes())
}

fn answered_raw(protocol: Protocol, body: &[u8]) -> Value {
    let mut translator = wire::exchange::translator(wire::TranscoderParts {
        caller: wire::dialect(Protocol::OpenaiChat).unwrap(),
        upstream: protocol,
        upstream_streams: false,
        form: wire::AnswerForm::default(),
        decoding: &wire::DecoderContext::default(),
        quirks: &canon::Quirks::default(),
        annotator: std::sync::Arc::new(super::openai_chat::notes()),
        filter: None,
    });
    let mut out = Vec::new();
    translator.push(&body.to_vec().into(), &mut out).unwrap();
    translator.finish(&mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn calls_of_one_answer_have_different_ids_at_every_provider() {
    let use_of = |id: &str| json!({"type": "tool_use", "id": id, "name": "f", "input": {}});
    let ollama = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": {}}});
    let bedrock = |id: &str| json!({"toolUse": {"toolUseId": id, "name": "f", "input": {}}});
    let gemini = |id: &str| json!({"functionCall": {"id": id, "name": "f", "args": {}}});
    let cohere = |id: &str| json!({"id": id, "function": {"name": "f", "arguments": "{}"}});
    let cases = [
        (
            Protocol::AnthropicMessages,
            json!({"type": "message", "role": "assistant", "stop_reason": "tool_use",
                "content": (["a", "a", ""].map(use_of))}),
        ),
        (
            Protocol::BedrockConverse,
            json!({"output": {"message": {"content": (["a", "a", ""].map(bedrock))}}, "stopReason": "tool_use"}),
        ),
        (
            Protocol::Gemini,
            json!({"candidates": [{"content": {"parts": (["a", "a", ""].map(gemini))}, "finishReason": "STOP"}]}),
        ),
        (
            Protocol::CohereChat,
            json!({"message": {"tool_calls": (["a", "a", ""].map(cohere))}, "finish_reason": "TOOL_CALL"}),
        ),
        (
            Protocol::OllamaChat,
            json!({"message": {"tool_calls": (["a", "a", ""].map(ollama))}, "done": true}),
        ),
    ];
    for (protocol, body) in cases {
        let answer = answered(protocol, &body);
        let calls = list(&answer["choices"][0]["message"]["tool_calls"]);
        let ids: Vec<_> = calls.map(|call| call["id"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "call_ours0", "call_ours1"], "{protocol:?}");
    }
}

#[test]
fn arguments_as_text_in_a_string_are_unwrapped_in_every_format() {
    let text = "{\"a\":1}";
    let cases = [
        (
            Protocol::AnthropicMessages,
            json!({"type": "message", "stop_reason": "tool_use",
                "content": [{"type": "tool_use", "id": "t", "name": "f", "input": text}]}),
        ),
        (
            Protocol::BedrockConverse,
            json!({"output": {"message": {"content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": text}}]}},
                "stopReason": "tool_use"}),
        ),
        (
            Protocol::Gemini,
            json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f", "args": text}}]},
                "finishReason": "STOP"}]}),
        ),
        (
            Protocol::CohereChat,
            json!({"message": {"tool_calls": [{"id": "t", "function": {"name": "f", "arguments": {"a": 1}}}]},
                "finish_reason": "TOOL_CALL"}),
        ),
        (
            Protocol::OllamaChat,
            json!({"message": {"tool_calls": [{"function": {"name": "f", "arguments": text}}]}, "done": true}),
        ),
        (
            Protocol::OpenaiChat,
            json!({"id": "i", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
                "finish_reason": "tool_calls", "message": {"role": "assistant", "tool_calls": [
                    {"id": "t", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}}]}),
        ),
    ];
    for (protocol, body) in cases {
        let answer = answered(protocol, &body);
        let call = &answer["choices"][0]["message"]["tool_calls"][0];
        assert_eq!(call["function"]["arguments"], text, "{protocol:?}");
    }
}

#[test]
fn an_incomplete_character_becomes_a_replacement_character() {
    // Half of a surrogate pair, and the first two bytes of a character.
    for half in [&b"\\ud83d"[..], b"\xf0\x9f"] {
        let cases: [(Protocol, &[u8], &[u8]); 6] = [
            (
                Protocol::AnthropicMessages,
                br#"{"type":"message","stop_reason":"end_turn","content":[{"type":"text","text":"a"#,
                br#""}]}"#,
            ),
            (
                Protocol::BedrockConverse,
                br#"{"output":{"message":{"content":[{"text":"a"#,
                br#""}]}},"stopReason":"end_turn"}"#,
            ),
            (
                Protocol::Gemini,
                br#"{"candidates":[{"content":{"parts":[{"text":"a"#,
                br#""}]},"finishReason":"STOP"}]}"#,
            ),
            (
                Protocol::CohereChat,
                br#"{"message":{"content":[{"type":"text","text":"a"#,
                br#""}]},"finish_reason":"COMPLETE"}"#,
            ),
            (Protocol::OllamaChat, br#"{"message":{"content":"a"#, br#""},"done":true}"#),
            (
                Protocol::OpenaiChat,
                br#"{"id":"i","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"a"#,
                br#""}}]}"#,
            ),
        ];
        for (protocol, before, after) in cases {
            let answer = answered_raw(protocol, &[before, half, after].concat());
            assert_eq!(answer["choices"][0]["message"]["content"], "a\u{fffd}", "{protocol:?}");
        }
    }
}

/// A stream with this text at the place of `@`: lines of JSON, framed as the format frames them.
fn stream_with(protocol: Protocol, text: &[u8]) -> Vec<u8> {
    let events: &[(&str, &str)] = match protocol {
        Protocol::AnthropicMessages => &[
            (
                "message_start",
                r#"{"type":"message_start","message":{"id":"m","model":"m","role":"assistant","content":[],"usage":{"input_tokens":1,"output_tokens":1}}}"#,
            ),
            (
                "content_block_start",
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ),
            (
                "content_block_delta",
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a@"}}"#,
            ),
            ("content_block_stop", r#"{"type":"content_block_stop","index":0}"#),
            (
                "message_delta",
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
            ),
            ("message_stop", r#"{"type":"message_stop"}"#),
        ],
        Protocol::OpenaiResponses => &[
            (
                "response.created",
                r#"{"type":"response.created","sequence_number":0,"response":{"id":"r","object":"response","status":"in_progress","model":"m","output":[]}}"#,
            ),
            (
                "response.output_item.added",
                r#"{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"type":"message","id":"msg","role":"assistant","status":"in_progress","content":[]}}"#,
            ),
            (
                "response.output_text.delta",
                r#"{"type":"response.output_text.delta","sequence_number":2,"item_id":"msg","output_index":0,"content_index":0,"delta":"a@"}"#,
            ),
            (
                "response.completed",
                r#"{"type":"response.completed","sequence_number":3,"response":{"id":"r","object":"response","status":"completed","model":"m","output":[{"type":"message","id":"msg","role":"assistant","status":"completed","content":[{"type":"output_text","text":"a@","annotations":[]}]}],"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}}}"#,
            ),
        ],
        Protocol::Gemini => {
            &[("", r#"{"candidates":[{"content":{"parts":[{"text":"a@"}]},"finishReason":"STOP"}]}"#)]
        }
        Protocol::CohereChat => &[
            ("", r#"{"type":"message-start","id":"m"}"#),
            ("", r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a@"}}}}"#),
            ("", r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#),
        ],
        Protocol::BedrockConverse => &[
            ("messageStart", r#"{"role":"assistant"}"#),
            ("contentBlockDelta", r#"{"contentBlockIndex":0,"delta":{"text":"a@"}}"#),
            ("messageStop", r#"{"stopReason":"end_turn"}"#),
        ],
        Protocol::OllamaChat => &[
            ("", r#"{"message":{"content":"a@"},"done":false}"#),
            ("", r#"{"message":{"content":""},"done":true,"done_reason":"stop"}"#),
        ],
        Protocol::OpenaiChat => &[(
            "",
            r#"{"id":"i","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"a@"},"finish_reason":"stop"}]}"#,
        )],
        Protocol::OpenaiCompletions => &[(
            "",
            r#"{"id":"i","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"a@","finish_reason":"stop"}]}"#,
        )],
    };
    let mut body = Vec::new();
    for (kind, json) in events {
        let data = json.split('@').map(str::as_bytes).collect::<Vec<_>>().join(text);
        match protocol {
            Protocol::BedrockConverse => encode_event(kind, &data, &mut body),
            Protocol::OllamaChat => body.extend([&data, &b"\n"[..]].concat()),
            _ => body.extend([b"event: ", kind.as_bytes(), b"\ndata: ", &data, b"\n\n"].concat()),
        }
    }
    if matches!(protocol, Protocol::OpenaiChat | Protocol::OpenaiCompletions) {
        body.extend_from_slice(b"data: [DONE]\n\n");
    }
    body
}

#[test]
fn an_incomplete_character_in_a_stream_becomes_a_replacement_character() {
    for half in [&b"\\ud83d"[..], b"\\ude00", b"\xf0\x9f"] {
        for protocol in Protocol::ALL.into_iter().chain([Protocol::OpenaiCompletions]) {
            let body = stream_with(protocol, half);
            let answer = read_at_every_split(protocol, true, &DecoderContext::default(), &body);
            assert_eq!(answer.map(|answer| answer.text).as_deref(), Ok("a\u{fffd}"), "{protocol:?} {half:?}");
        }
    }
}

#[test]
fn calls_that_the_provider_ran_itself_are_not_passed_as_calls() {
    let cases = [
        (
            Protocol::AnthropicMessages,
            json!({"type": "message", "stop_reason": "end_turn", "content": [
                {"type": "server_tool_use", "id": "s", "name": "code_execution", "input": {"code": "1"}},
                {"type": "text", "text": "1"}]}),
        ),
        (
            Protocol::BedrockConverse,
            json!({"output": {"message": {"content": [
                {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "type": "server_tool_use", "input": {}}},
                {"text": "1"}]}}, "stopReason": "tool_use"}),
        ),
        (
            Protocol::Gemini,
            json!({"candidates": [{"content": {"parts": [
                {"executableCode": {"language": "PYTHON", "code": "1"}}, {"text": "1"}]}, "finishReason": "STOP"}]}),
        ),
        (
            Protocol::OpenaiChat,
            json!({"id": "i", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0,
                "finish_reason": "tool_calls", "message": {"role": "assistant", "content": "1", "tool_calls": [
                    {"id": "s", "type": "code_interpreter", "code_interpreter": {"input": "1"}}]}}]}),
        ),
    ];
    for (protocol, body) in cases {
        let answer = answered(protocol, &body);
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "stop", "{protocol:?}: {answer}");
        assert_eq!(list(&choice["message"]["tool_calls"]).count(), 0, "{protocol:?}: {answer}");
    }
}

#[test]
fn text_after_calls_is_moved_and_reported() {
    let said = |text: &str| Part::text(text);
    let messages = vec![
        Message::text(Role::User, "hi"),
        Message::new(Role::Assistant, vec![said("one"), call("a", "x"), said("two"), call("b", "y")]),
        result("a", "A"),
        result("b", "B"),
    ];
    let request = Request { model: "m".into(), messages, ..Request::default() };
    for (protocol, model, _) in [FORMATS[1], FORMATS[2]] {
        let target = Target { model, facts: &ModelFacts::default(), quirks: &Quirks::default() };
        let encoded = wire::adapter(protocol).encode_request(&request, target).unwrap();
        let lost: Vec<_> = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
        assert!(lost.contains(&"messages[1].content[2]".to_owned()), "{protocol:?}: {lost:?}");
        assert!(!lost.contains(&"messages[1].content[0]".to_owned()), "{protocol:?}: {lost:?}");
    }
}
