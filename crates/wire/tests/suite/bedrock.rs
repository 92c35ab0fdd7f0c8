//! Bedrock Converse: recorded answers, and the rules of its requests.

use canon::*;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wire::framing::aws_eventstream::{encode_event, encode_exception};
use wire::{DecoderContext, Encoded, Protocol, adapter};

use super::caller_answer::{CallerAnswer, read_answer, read_at_every_split};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-20250514-v1:0";
const NEW_CLAUDE: &str = "anthropic.claude-opus-4-8";
const LLAMA: &str = "us.meta.llama3-3-70b-instruct-v1:0";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";

// Answers.

/// The content of a recorded message, read without the code under test.
#[derive(Debug, Default, PartialEq)]
struct Expected {
    text: String,
    reasoning: String,
    redacted: usize,
    calls: Vec<(String, Value)>,
    ids: Vec<String>,
}

fn expected(content: &[Value]) -> Expected {
    let mut expected = Expected::default();
    for block in content {
        expected.text += block["text"].as_str().unwrap_or_default();
        for piece in block["citationsContent"]["content"].as_array().into_iter().flatten() {
            expected.text += piece["text"].as_str().unwrap();
        }
        let thought = &block["reasoningContent"];
        expected.reasoning += thought["reasoningText"]["text"].as_str().unwrap_or_default();
        expected.redacted += usize::from(thought["redactedContent"].is_string());
        let call = &block["toolUse"];
        if call.is_object() && call["type"] != "server_tool_use" {
            expected.calls.push((call["name"].as_str().unwrap().to_owned(), call["input"].clone()));
            expected.ids.push(call["toolUseId"].as_str().unwrap().to_owned());
        }
    }
    expected
}

fn content(heard: &CallerAnswer) -> Expected {
    Expected {
        text: heard.text.clone(),
        reasoning: heard.reasoning(),
        redacted: heard.thoughts.values().filter(|thought| !thought.2.is_empty()).count(),
        calls: heard.parsed_calls(),
        ids: heard.calls.iter().map(|call| call.id.clone()).collect(),
    }
}

/// The frames of a stream, as event type and payload, without checks.
fn frames(mut body: &[u8]) -> Vec<(String, Value)> {
    let number = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut found = Vec::new();
    while !body.is_empty() {
        let (total, headers) = (number(body), number(&body[4..]));
        let (mut names, payload) = body[12..total - 4].split_at(headers);
        let mut event_type = String::new();
        while !names.is_empty() {
            let length = names[0] as usize;
            let size = usize::from(names[length + 2]) << 8 | usize::from(names[length + 3]);
            let (name, value) = (&names[1..=length], &names[length + 4..length + 4 + size]);
            if name == b":event-type" {
                event_type = String::from_utf8(value.to_vec()).unwrap();
            }
            names = &names[length + 4 + size..];
        }
        found.push((event_type, serde_json::from_slice(payload).unwrap()));
        body = &body[total..];
    }
    found
}

/// Assembles the frames of a stream into a whole message.
pub(super) fn assembled(body: &[u8]) -> Value {
    let mut blocks: std::collections::BTreeMap<u64, Value> = Default::default();
    let mut message = json!({});
    let append = |place: &mut Value, more: &Value| {
        let joined = place.as_str().unwrap_or_default().to_owned() + more.as_str().unwrap_or_default();
        *place = json!(joined);
    };
    for (kind, event) in frames(body) {
        let index = event["contentBlockIndex"].as_u64().unwrap_or_default();
        match kind.as_str() {
            "contentBlockStart" => drop(blocks.insert(index, event["start"].clone())),
            "contentBlockDelta" => {
                let block = blocks.entry(index).or_insert(json!({}));
                let delta = &event["delta"];
                if delta["text"].is_string() {
                    append(&mut block["text"], &delta["text"]);
                } else if delta["toolUse"].is_object() {
                    append(&mut block["toolUse"]["input"], &delta["toolUse"]["input"]);
                } else if delta["reasoningContent"]["redactedContent"].is_string() {
                    block["reasoningContent"] = delta["reasoningContent"].clone();
                } else if delta["reasoningContent"]["signature"].is_string() {
                    let signature = &mut block["reasoningContent"]["reasoningText"]["signature"];
                    append(signature, &delta["reasoningContent"]["signature"]);
                } else if delta["citation"].is_object() {
                    let citations = &mut block["citations"];
                    *citations = citations
                        .as_array()
                        .into_iter()
                        .flatten()
                        .chain([&delta["citation"]])
                        .cloned()
                        .collect();
                } else if delta["reasoningContent"]["text"].is_string() {
                    let text = &mut block["reasoningContent"]["reasoningText"]["text"];
                    append(text, &delta["reasoningContent"]["text"]);
                }
            }
            "messageStop" => message["stopReason"] = event["stopReason"].clone(),
            "metadata" => {
                for (name, value) in event.as_object().unwrap() {
                    message[name] = value.clone();
                }
            }
            _ => {}
        }
    }
    for block in blocks.values_mut().filter(|block| block["toolUse"].is_object()) {
        let text = block["toolUse"]["input"].as_str().unwrap_or("{}").to_owned();
        block["toolUse"]["input"] = serde_json::from_str(if text.is_empty() { "{}" } else { &text }).unwrap();
    }
    for block in blocks.values_mut().filter(|block| block["citations"].is_array()) {
        *block = json!({"citationsContent": {"content": [{"text": block["text"].as_str().unwrap_or_default()}], "citations": block["citations"]}});
    }
    message["output"]["message"]["content"] = blocks.into_values().collect();
    message
}

fn check_usage(heard: &CallerAnswer, native: &Value, id: &str) {
    let count = |name: &str| native[name].as_u64().unwrap_or_default();
    let usage = heard.usage.unwrap_or_else(|| panic!("{id}: no usage"));
    let prompt = count("inputTokens") + count("cacheReadInputTokens") + count("cacheWriteInputTokens");
    assert_eq!(usage.prompt_tokens(), prompt, "{id}");
    assert_eq!(usage.completion_tokens(), count("outputTokens"), "{id}");
    assert_eq!(usage.total_tokens(), count("totalTokens"), "{id}");
    assert_eq!(usage.cache_read, count("cacheReadInputTokens"), "{id}");
    assert_eq!(usage.cache_writes(), count("cacheWriteInputTokens"), "{id}");
}

#[test]
fn recorded_answers_are_understood() {
    let records = testkit::corpus::records("bedrock-converse");
    let mut count = 0;
    for record in records.iter().filter(|record| record.api.starts_with("converse") && record.status == 200) {
        count += 1;
        let id = &record.id;
        let heard = read_at_every_split(
            Protocol::BedrockConverse,
            record.streaming,
            &DecoderContext::default(),
            &record.body,
        )
        .unwrap_or_else(|error| panic!("{id}: {error}"));
        let native = if record.streaming {
            assembled(&record.body)
        } else {
            serde_json::from_slice(&record.body).unwrap()
        };
        let want = expected(native["output"]["message"]["content"].as_array().unwrap());
        assert_eq!(content(&heard), want, "{id}");
        check_usage(&heard, &native["usage"], id);
        let finish = match native["stopReason"].as_str().unwrap() {
            "max_tokens" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            "guardrail_intervened" => FinishReason::ContentFilter,
            _ => FinishReason::Stop,
        };
        assert_eq!(heard.finish.as_ref().unwrap().0, finish, "{id}");
    }
    eprintln!("{count} recorded Converse answers");
    testkit::corpus::assert_enough(count, 150);
}

#[test]
fn recorded_errors_are_understood() {
    for record in testkit::corpus::cases(["bedrock-converse"], |record| record.status >= 400) {
        let headers: HeaderMap = record
            .headers
            .iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter(Protocol::BedrockConverse).decode_error(status, &headers, &record.body);
        let native: Value = serde_json::from_slice(&record.body).unwrap();
        assert_eq!(error.message, native["message"].as_str().unwrap(), "{}", record.id);
        assert!(error.status().is_client_error() || error.refuses_gateway(), "{}", record.id);
    }
}

fn stream(events: &[(&str, Value)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, payload) in events {
        encode_event(kind, payload.to_string().as_bytes(), &mut body);
    }
    body
}

pub(super) fn call_stream() -> Vec<u8> {
    stream(&[
        ("messageStart", json!({"role": "assistant", "p": "abc"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"text": "Hm"}}})),
        (
            "contentBlockDelta",
            json!({"contentBlockIndex": 0, "delta": {"reasoningContent": {"signature": "sig"}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 0})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"text": "I look."}})),
        ("contentBlockStop", json!({"contentBlockIndex": 1})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "a", "name": "now"}}}),
        ),
        ("contentBlockStop", json!({"contentBlockIndex": 2})),
        (
            "contentBlockStart",
            json!({"contentBlockIndex": 3, "start": {"toolUse": {"toolUseId": "b", "name": "look_at"}}}),
        ),
        ("contentBlockDelta", json!({"contentBlockIndex": 3, "delta": {"toolUse": {"input": "{\"é\": "}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 3, "delta": {"toolUse": {"input": "1}"}}})),
        ("contentBlockStop", json!({"contentBlockIndex": 3})),
        ("messageStop", json!({"stopReason": "tool_use"})),
        (
            "metadata",
            json!({"usage": {"inputTokens": 1, "outputTokens": 2, "totalTokens": 15, "cacheReadInputTokens": 4,
                "cacheWriteInputTokens": 8, "cacheDetails": [{"ttl": "1h", "inputTokens": 5}]},
                "metrics": {"latencyMs": 7}, "serviceTier": {"type": "flex"}}),
        ),
    ])
}

#[test]
fn a_stream_of_calls_is_understood() {
    let decoding = DecoderContext {
        tool_names: [("look_at".into(), "look.at".into())].into_iter().collect(),
        ..DecoderContext::default()
    };
    let heard = read_at_every_split(Protocol::BedrockConverse, true, &decoding, &call_stream()).unwrap();
    assert_eq!(heard.thoughts[&0], ("Hm".to_owned(), "sig".to_owned(), String::new()));
    assert_eq!(heard.text, "I look.");
    let calls = heard.parsed_calls();
    assert_eq!(calls, [("now".to_owned(), json!({})), ("look.at".to_owned(), json!({"é": 1}))]);
    assert_eq!(heard.finish, Some((FinishReason::ToolCalls, Some("tool_use".to_owned()))));
    let usage =
        Usage { input: 1, output: 2, cache_read: 4, cache_write: 3, cache_write_1h: 5, ..Usage::default() };
    assert_eq!(heard.usage, Some(usage));
    assert_eq!(heard.fields, [("service_tier".to_owned(), "\"flex\"".to_owned())]);
}

#[test]
fn a_stream_without_its_end_is_an_error() {
    let body = stream(&[
        ("messageStart", json!({"role": "assistant"})),
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "Hel"}})),
    ]);
    let hear = |body: &[u8]| read_answer(Protocol::BedrockConverse, true, &DecoderContext::default(), [body]);
    assert_eq!(hear(&body).unwrap_err().kind, ErrorKind::Upstream);
    assert_eq!(hear(b"").unwrap_err().kind, ErrorKind::Upstream);
    let whole = call_stream();
    assert_eq!(hear(&whole[..whole.len() - 3]).unwrap_err().kind, ErrorKind::Upstream);
    let malformed = stream(&[("messageStop", json!({"stopReason": "malformed_tool_use"}))]);
    assert_eq!(hear(&malformed).unwrap_err().kind, ErrorKind::Upstream);
}

#[test]
fn an_exception_in_a_stream_is_its_error() {
    let mut body = stream(&[("messageStart", json!({"role": "assistant"}))]);
    encode_exception("throttlingException", br#"{"message":"Slow down."}"#, &mut body);
    let error =
        read_answer(Protocol::BedrockConverse, true, &DecoderContext::default(), [&body[..]]).unwrap_err();
    assert_eq!((error.kind, error.status().as_u16()), (ErrorKind::RateLimit, 429));
    assert_eq!(error.message, "Slow down.");
}

#[test]
fn invalid_frames_are_errors_and_no_panic() {
    for body in ["", "{}", "null", "[]", "{\"output\":{}}", "{\"output\":{\"message\":{\"content\":[{}]}}}"] {
        let result =
            read_answer(Protocol::BedrockConverse, false, &DecoderContext::default(), [body.as_bytes()]);
        assert_eq!(result.unwrap_err().kind, ErrorKind::Upstream, "{body}");
    }
}

#[test]
fn the_json_tool_becomes_the_text() {
    let decoding =
        DecoderContext { json_tool: Some("json_response".to_owned()), ..DecoderContext::default() };
    let start =
        json!({"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId": "a", "name": "json_response"}}});
    let body = stream(&[
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "Here it is:"}})),
        ("contentBlockStart", start),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": "{\"a\""}}})),
        ("contentBlockDelta", json!({"contentBlockIndex": 1, "delta": {"toolUse": {"input": ":1}"}}})),
        ("messageStop", json!({"stopReason": "tool_use"})),
    ]);
    let heard = read_at_every_split(Protocol::BedrockConverse, true, &decoding, &body).unwrap();
    assert_eq!((heard.text.as_str(), heard.calls.len()), ("{\"a\":1}", 0));
    assert_eq!(heard.finish.unwrap().0, FinishReason::Stop);
    let plain = stream(&[
        ("contentBlockDelta", json!({"contentBlockIndex": 0, "delta": {"text": "No."}})),
        ("messageStop", json!({"stopReason": "end_turn"})),
    ]);
    assert_eq!(read_answer(Protocol::BedrockConverse, true, &decoding, [&plain[..]]).unwrap().text, "No.");
}

// Requests.

fn try_encode(request: &Request, model: &str, facts: &ModelFacts) -> Result<Encoded> {
    let quirks = Quirks::default();
    adapter(Protocol::BedrockConverse).encode_request(request, Target { model, facts, quirks: &quirks })
}

fn encode_for(request: &Request, model: &str) -> (Value, Vec<String>, DecoderContext) {
    let encoded = try_encode(request, model, &ModelFacts::default()).unwrap();
    // All thoughts of one message are reported under one name.
    let losses = encoded.losses.named(canon::Field::name);
    let losses = losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str()));
    (serde_json::from_slice(&encoded.body).unwrap(), losses.collect(), encoded.decoding)
}

fn encode(request: &Request) -> (Value, Vec<String>, DecoderContext) {
    encode_for(request, CLAUDE)
}

fn ask(messages: Vec<Message>) -> Request {
    Request { messages, ..Request::default() }
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    PartKind::from(ToolCall { id, name, arguments, custom: false }).into()
}

fn result(id: &str, text: &str) -> Message {
    let content = vec![Part::text(text)];
    let result = ToolResult { call_id: id.into(), content, is_error: false };
    Message::new(Role::Tool, vec![PartKind::from(result).into()])
}

fn function(name: &str) -> Tool {
    let parameters = Json::parse(r#"{"type":"object","properties":{"b":{},"a":{}}}"#).ok();
    Tool {
        name: name.to_owned(),
        description: Some("Does it.".to_owned()),
        kind: ToolKind::Function { parameters, strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    }
}

fn media(kind: MediaKind, mime: &str, filename: Option<&str>) -> Part {
    let source = Source::Base64 { mime: mime.to_owned(), data: "QUJD".to_owned() };
    PartKind::from(Media { kind, source, filename: filename.map(str::to_owned), detail: None }).into()
}

#[test]
fn a_plain_request_is_fitted_to_the_limits_of_converse() {
    let request = Request {
        sampling: Sampling { temperature: Some(1.5), ..Sampling::default() },
        max_tokens: Some(9),
        stop: vec!["END".to_owned(), " ".to_owned()],
        ..ask(vec![Message::text(Role::System, "Be kind."), user("Hi"), user(" "), user("there")])
    };
    let (body, losses, _) = encode(&request);
    let want = json!({
        "system": [{"text": "Be kind."}],
        "messages": [{"role": "user", "content": [{"text": "Hi"}, {"text": "there"}]}],
        "inferenceConfig": {"maxTokens": 9, "temperature": 1.0, "stopSequences": ["END"]},
    });
    assert_eq!(body, want);
    assert_eq!(losses, ["stop dropped", "temperature approximated"]);
}

#[test]
fn a_loop_of_tools_becomes_alternating_turns() {
    let long = "x".repeat(80);
    let request = Request {
        tools: vec![function("look.at"), function(&long)],
        tool_choice: Some(ToolChoice::Named("look.at".to_owned())),
        ..ask(vec![
            user("Look."),
            Message::new(
                Role::Assistant,
                vec![
                    call("a", "look.at", "{\"z\":1,\"a\":1.0}"),
                    Part::text("I look."),
                    call("b/1", &long, ""),
                ],
            ),
            Message::text(Role::System, "Be quick."),
            user("Hurry!"),
            result("a", "seen"),
            result("b/1", ""),
        ])
    };
    let encoded = try_encode(&request, CLAUDE, &ModelFacts::default()).unwrap();
    let raw = std::str::from_utf8(&encoded.body).unwrap();
    assert!(raw.contains("{\"z\":1,\"a\":1.0}"), "arguments keep their order and numbers: {raw}");
    assert!(raw.contains(r#"{"type":"object","properties":{"b":{},"a":{}}}"#), "schemas stay raw: {raw}");
    let (body, losses, decoding) = encode(&request);
    assert_eq!(losses, ["messages[1].content[1] approximated", "messages[2].role approximated"]);
    let turns = body["messages"].as_array().unwrap();
    let roles: Vec<_> = turns.iter().map(|turn| turn["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    let kinds = |turn: &Value| -> Vec<String> {
        let blocks = turn["content"].as_array().unwrap().iter();
        blocks.map(|block| block.as_object().unwrap().keys().next().unwrap().clone()).collect()
    };
    assert_eq!(kinds(&turns[1]), ["text", "toolUse", "toolUse"]);
    assert_eq!(kinds(&turns[2]), ["toolResult", "toolResult", "text", "text"]);
    assert_eq!(turns[2]["content"][2], json!({"text": "Be quick."}));
    let wire_id = turns[1]["content"][2]["toolUse"]["toolUseId"].as_str().unwrap();
    assert_eq!(turns[2]["content"][1]["toolResult"]["toolUseId"], wire_id);
    assert_eq!(turns[2]["content"][1]["toolResult"]["content"], json!([{"text": "(no output)"}]));
    let names: Vec<_> = body["toolConfig"]["tools"].as_array().unwrap().iter().collect();
    let wire_name = names[1]["toolSpec"]["name"].as_str().unwrap();
    assert!(wire_name.len() <= 64);
    assert_eq!(decoding.tool_name(wire_name), long);
    assert_eq!(decoding.tool_name("look_at"), "look.at");
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "look_at"}}));
    assert_eq!(body.get("system"), None);
}

#[test]
fn choices_of_tools_follow_the_family_of_the_model() {
    let choose = |model: &str, choice: ToolChoice, history: bool| {
        let mut messages = vec![user("Hi")];
        if history {
            messages.push(Message::new(Role::Assistant, vec![call("a", "f", "{}")]));
            messages.push(result("a", "1"));
        }
        let request =
            Request { tools: vec![function("f"), function("g")], tool_choice: Some(choice), ..ask(messages) };
        let (body, losses, _) = encode_for(&request, model);
        let config = &body["toolConfig"];
        let count = config["tools"].as_array().map_or(0, Vec::len);
        (count, config["toolChoice"].clone(), losses)
    };
    let allowed = |required| ToolChoice::Allowed { names: vec!["g".to_owned()], required };
    let none: Vec<String> = Vec::new();
    let approximated = vec!["tool_choice approximated".to_owned()];
    assert_eq!(choose(CLAUDE, ToolChoice::Auto, false), (2, json!({"auto": {}}), none.clone()));
    assert_eq!(choose(CLAUDE, ToolChoice::Required, false), (2, json!({"any": {}}), none.clone()));
    assert_eq!(choose(LLAMA, ToolChoice::Required, false), (2, json!({"auto": {}}), approximated.clone()));
    assert_eq!(choose(CLAUDE, ToolChoice::None, false), (0, Value::Null, none.clone()));
    assert_eq!(choose(CLAUDE, ToolChoice::None, true), (2, Value::Null, approximated));
    assert_eq!(choose(CLAUDE, allowed(true), false), (1, json!({"any": {}}), none));
    let unknown = Request {
        tools: vec![function("f")],
        tool_choice: Some(ToolChoice::Named("h".to_owned())),
        ..ask(vec![user("Hi")])
    };
    assert_eq!(
        try_encode(&unknown, CLAUDE, &ModelFacts::default()).unwrap_err().kind,
        ErrorKind::InvalidRequest
    );
}

#[test]
fn calls_without_tools_get_their_tools_declared() {
    let request = ask(vec![
        user("Hi"),
        Message::new(Role::Assistant, vec![call("a", "f", "not json")]),
        result("a", "1"),
    ]);
    let (body, losses, _) = encode(&request);
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    assert_eq!(body["messages"][1]["content"][0]["toolUse"]["input"], json!({"input": "not json"}));
    assert_eq!(losses, ["tools emulated", "messages[1].tool_calls[0].function.arguments approximated"]);
}

#[test]
fn turns_begin_with_the_user() {
    let (body, losses, _) = encode(&ask(vec![Message::text(Role::System, "Only this.")]));
    assert_eq!(body, json!({"messages": [{"role": "user", "content": [{"text": "Only this."}]}]}));
    assert_eq!(losses, ["messages approximated"]);
    let request = ask(vec![
        Message::text(Role::Assistant, "Hello!"),
        user("Hi"),
        Message::text(Role::Assistant, "So: "),
    ]);
    let (body, losses, _) = encode(&request);
    let roles: Vec<_> =
        body["messages"].as_array().unwrap().iter().map(|turn| turn["role"].clone()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant"]);
    assert_eq!(body["messages"][3]["content"], json!([{"text": "So:"}]));
    assert_eq!(losses, ["messages emulated"]);
    let empty = try_encode(&ask(vec![user(" ")]), CLAUDE, &ModelFacts::default()).unwrap_err();
    assert_eq!(empty.kind, ErrorKind::InvalidRequest);
}

#[test]
fn media_are_sent_inline_with_unique_names() {
    let request = ask(vec![Message::new(
        Role::User,
        vec![
            media(MediaKind::Image, "image/jpg", None),
            media(MediaKind::Document, "application/pdf", Some("My_report.pdf")),
            media(MediaKind::Document, "application/octet-stream", Some("My_report.pdf")),
        ],
    )]);
    let (body, _, _) = encode(&request);
    let want = json!([
        {"image": {"format": "jpeg", "source": {"bytes": "QUJD"}}},
        {"document": {"format": "pdf", "name": "My-report", "source": {"bytes": "QUJD"}}},
        {"document": {"format": "pdf", "name": "My-report 2", "source": {"bytes": "QUJD"}}},
        {"text": "(See the attached document.)"},
    ]);
    assert_eq!(body["messages"][0]["content"], want);
    let link = Media {
        kind: MediaKind::Image,
        source: Source::Url("https://x.test/a.png".to_owned()),
        filename: None,
        detail: None,
    };
    let refused = |part: Part| {
        let request = ask(vec![Message::new(Role::User, vec![part])]);
        try_encode(&request, CLAUDE, &ModelFacts::default()).unwrap_err()
    };
    let error = refused(PartKind::from(link).into());
    assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
    assert_eq!(error.param_name().as_deref(), Some("messages[0].content[0]"));
    assert!(error.message.contains("data URL"));
    assert_eq!(refused(media(MediaKind::Image, "image/tiff", None)).kind, ErrorKind::UnsupportedFeature);
}

#[test]
fn thinking_is_returned_only_to_its_family() {
    let thought = |format: &str, signature: Option<&str>| Part {
        signature: signature.map(Into::into),
        ..PartKind::from(Reasoning {
            text: "Hm".to_owned(),
            format: Some(format.to_owned()),
            ..Reasoning::default()
        })
        .into()
    };
    let request = ask(vec![
        user("Hi"),
        Message::new(
            Role::Assistant,
            vec![
                thought("anthropic-claude-v1", Some("sig")),
                thought("google-gemini-v1", Some("sig")),
                thought("anthropic-claude-v1", None),
                Part::text("Hello"),
            ],
        ),
        user("Go on"),
    ]);
    let (body, losses, _) = encode(&request);
    let want = json!([
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "sig"}}},
        {"text": "Hello"},
    ]);
    assert_eq!(body["messages"][1]["content"], want);
    assert_eq!(losses, ["messages[1].reasoning dropped"]);
    assert_eq!(encode_for(&request, LLAMA).0["messages"][1]["content"], json!([{"text": "Hello"}]));
}

#[test]
fn cache_marks_become_at_most_four_cache_points() {
    let marked =
        |text: &str, ttl_seconds| Part { cache: Some(CacheMark { ttl_seconds }), ..Part::text(text) };
    let mut tool = function("f");
    tool.cache = Some(CacheMark { ttl_seconds: None });
    let texts = ["a", "b", "c"].map(|text| marked(text, None));
    let request = Request {
        tools: vec![tool],
        ..ask(vec![
            Message::new(Role::System, vec![marked("Be kind.", Some(3600))]),
            Message::new(Role::User, texts.to_vec()),
        ])
    };
    let (body, losses, _) = encode(&request);
    let point = json!({"cachePoint": {"type": "default"}});
    assert_eq!(body["toolConfig"]["tools"][1], point);
    assert_eq!(body["system"][1], json!({"cachePoint": {"type": "default", "ttl": "1h"}}));
    let want = json!([{"text": "a"}, {"text": "b"}, point, {"text": "c"}, point]);
    assert_eq!(body["messages"][0]["content"], want);
    assert_eq!(losses, ["cache_control dropped"]);
    let (body, losses, _) = encode_for(&request, LLAMA);
    assert!(!body.to_string().contains("cachePoint"));
    assert_eq!(losses, ["cache_control dropped"]);
}

#[test]
fn thinking_is_requested_by_the_fields_of_each_family() {
    let think = |model: &str, effort: Effort| {
        let reasoning = ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() };
        let request = Request { reasoning, max_tokens: Some(100), ..ask(vec![user("Hi")]) };
        let (body, losses, _) = encode_for(&request, model);
        let limit = body["inferenceConfig"]["maxTokens"].clone();
        (body["additionalModelRequestFields"].clone(), limit, losses.join(", "))
    };
    use Effort::*;
    let none = Value::Null;
    let same = json!(100);
    let adaptive = json!({"type": "adaptive", "display": "summarized"});
    let cases = [
        (
            CLAUDE,
            High,
            json!({"thinking": {"type": "enabled", "budget_tokens": 16384}}),
            json!(16484),
            "max_tokens approximated",
        ),
        (CLAUDE, None, none.clone(), same.clone(), ""),
        (
            NEW_CLAUDE,
            High,
            json!({"thinking": adaptive, "output_config": {"effort": "high"}}),
            same.clone(),
            "",
        ),
        (NEW_CLAUDE, None, json!({"thinking": {"type": "disabled"}}), same.clone(), ""),
        (
            NEW_CLAUDE,
            Minimal,
            json!({"thinking": adaptive, "output_config": {"effort": "low"}}),
            same.clone(),
            "reasoning_effort approximated",
        ),
        (
            "openai.gpt-oss-120b-1:0",
            None,
            json!({"reasoning_effort": "low"}),
            same.clone(),
            "reasoning_effort approximated",
        ),
        (
            NOVA,
            Low,
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "low"}}),
            same.clone(),
            "",
        ),
        (
            NOVA,
            High,
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
            none.clone(),
            "max_tokens dropped",
        ),
        ("qwen.qwen3-32b-v1:0", High, json!({"reasoning_config": "high"}), same.clone(), ""),
        ("us.deepseek.r1-v1:0", High, none.clone(), same.clone(), "reasoning_effort dropped"),
        (LLAMA, High, none, same, "reasoning_effort dropped"),
    ];
    for (model, effort, fields, limit, losses) in cases {
        assert_eq!(think(model, effort), (fields, limit, losses.to_owned()), "{model} {effort:?}");
    }
}

#[test]
fn thinking_excludes_sampling_and_yields_to_forced_calls() {
    let request = Request {
        reasoning: ReasoningRequest { budget_tokens: Some(2000), ..ReasoningRequest::default() },
        sampling: Sampling {
            temperature: Some(0.5),
            top_p: Some(0.5),
            top_k: Some(5),
            ..Sampling::default()
        },
        ..ask(vec![user("Hi")])
    };
    let (body, losses, _) = encode(&request);
    assert_eq!(
        body["additionalModelRequestFields"],
        json!({"thinking": {"type": "enabled", "budget_tokens": 2000}})
    );
    assert_eq!(body["inferenceConfig"], json!({"maxTokens": 10192}));
    assert_eq!(losses, ["temperature dropped", "top_p dropped", "top_k dropped"]);
    let forced = Request { tools: vec![function("f")], tool_choice: Some(ToolChoice::Required), ..request };
    let (body, losses, _) = encode(&forced);
    assert_eq!(body["additionalModelRequestFields"], json!({"top_k": 5}));
    assert_eq!(losses, ["reasoning.max_tokens dropped"]);
}

#[test]
fn open_calls_without_their_thinking_switch_thinking_off() {
    let call =
        PartKind::from(ToolCall { id: "c1".into(), name: "f".into(), arguments: "{}".into(), custom: false });
    let result =
        PartKind::from(ToolResult { call_id: "c1".into(), content: vec![Part::text("r")], is_error: false });
    let asked = |messages: Vec<Message>| Request {
        reasoning: ReasoningRequest { budget_tokens: Some(2000), ..ReasoningRequest::default() },
        tools: vec![function("f")],
        ..ask(messages)
    };
    let mut messages = vec![
        user("Hi"),
        Message::new(Role::Assistant, vec![call.into()]),
        Message::new(Role::Tool, vec![result.into()]),
    ];
    // With and without a text of the user after the results, which is in the same turn.
    for further in [vec![], vec![user("And?")]] {
        messages.extend(further);
        let (body, losses, _) = encode(&asked(messages.clone()));
        assert!(body.get("additionalModelRequestFields").is_none(), "{body}");
        assert_eq!(losses, ["reasoning.max_tokens dropped"]);
    }
    messages.extend([Message::text(Role::Assistant, "done"), user("Next")]);
    let (body, losses, _) = encode(&asked(messages));
    assert_eq!(body["additionalModelRequestFields"]["thinking"]["type"], "enabled");
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn newer_claude_allows_forced_calls_but_no_prefill_and_no_sampling() {
    let request = Request {
        reasoning: ReasoningRequest { effort: Some(Effort::High), ..ReasoningRequest::default() },
        sampling: Sampling { temperature: Some(0.5), ..Sampling::default() },
        tools: vec![function("f")],
        tool_choice: Some(ToolChoice::Required),
        ..ask(vec![user("Hi"), Message::text(Role::Assistant, "So:")])
    };
    let (body, losses, _) = encode_for(&request, NEW_CLAUDE);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"any": {}}));
    assert_eq!(body["additionalModelRequestFields"]["output_config"], json!({"effort": "high"}));
    assert_eq!(body["messages"][2], json!({"role": "user", "content": [{"text": "Continue."}]}));
    assert_eq!(losses, ["messages approximated", "temperature dropped"]);
    let (body, losses, _) = encode_for(&request, "anthropic.claude-opus-5-5");
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"auto": {}}));
    assert!(losses.contains(&"tool_choice approximated".to_owned()));
}

#[test]
fn schemas_are_fitted_to_claude() {
    let mut tool = function("f");
    let parameters = Json::parse(r#"{"anyOf":[{"required":["a"]},{"required":["b"]}]}"#).ok();
    tool.kind = ToolKind::Function { parameters, strict: None };
    let request = Request { tools: vec![tool], ..ask(vec![user("Hi")]) };
    let (body, losses, _) = encode(&request);
    let spec = &body["toolConfig"]["tools"][0]["toolSpec"];
    assert_eq!(spec["inputSchema"]["json"], json!({"type": "object"}));
    assert!(spec["description"].as_str().unwrap().contains("anyOf"));
    assert_eq!(losses, ["tools[0].function.parameters approximated"]);
    let (body, losses, _) = encode_for(&request, LLAMA);
    assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["inputSchema"]["json"]["type"], "object");
    assert!(losses.is_empty());
}

#[test]
fn structured_answers_are_native_or_by_tool_or_by_instruction() {
    let schema = r#"{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}"#;
    let output = OutputFormat::JsonSchema {
        name: "thing".to_owned(),
        description: None,
        schema: Json::parse(schema).ok(),
        strict: Some(true),
    };
    let request = Request { output, ..ask(vec![user("Hi")]) };
    let (body, losses, decoding) = encode(&request);
    assert_eq!(body["toolConfig"]["toolChoice"], json!({"tool": {"name": "json_response"}}));
    assert_eq!(decoding.json_tool.as_deref(), Some("json_response"));
    assert_eq!(losses, ["response_format emulated"]);
    let with_tools = Request { tools: vec![function("f")], ..request.clone() };
    assert_eq!(encode(&with_tools).0["toolConfig"]["toolChoice"], json!({"any": {}}));
    let same_name = Request { tools: vec![function("json_response")], ..request.clone() };
    assert_eq!(encode(&same_name).2.json_tool.as_deref(), Some("json_response_"));
    let facts = ModelFacts { features: Some(Features::all()), ..ModelFacts::default() };
    let native = try_encode(&request, CLAUDE, &facts).unwrap();
    let body: Value = serde_json::from_slice(&native.body).unwrap();
    let want = json!({"textFormat": {"type": "json_schema", "structure":
        {"jsonSchema": {"schema": schema, "name": "thing"}}}});
    assert_eq!((&body["outputConfig"], native.losses.is_empty()), (&want, true));
    let (body, _, decoding) = encode_for(&request, LLAMA);
    assert_eq!(decoding.json_tool, None);
    assert!(body["system"][0]["text"].as_str().unwrap().contains("JSON schema"));
    let any = Request { output: OutputFormat::JsonObject, ..ask(vec![user("Hi")]) };
    assert!(encode(&any).0["system"][0]["text"].as_str().unwrap().contains("JSON"));
}

#[test]
fn hints_are_reported_and_features_refused() {
    let json = |text: &str| Json::parse(text).unwrap();
    let request = Request {
        sampling: Sampling { seed: Some(1), presence_penalty: Some(1.0), ..Sampling::default() },
        user: Some("u".to_owned()),
        parallel_tool_calls: Some(false),
        extra: vec![
            ("logit_bias".to_owned(), json("{\"1\":1}")),
            ("store".to_owned(), json("false")),
            ("metadata".to_owned(), json("{\"team\":\"a b\"}")),
            ("service_tier".to_owned(), json("\"flex\"")),
            (
                "guardrailConfig".to_owned(),
                json("{\"guardrailIdentifier\":\"g\",\"guardrailVersion\":\"1\"}"),
            ),
        ],
        ..ask(vec![user("Hi")])
    };
    let (body, losses, _) = encode(&request);
    let want = [
        "presence_penalty dropped",
        "seed dropped",
        "user dropped",
        "parallel_tool_calls dropped",
        "logit_bias dropped",
    ];
    assert_eq!(losses, want);
    assert_eq!(body["requestMetadata"], json!({"team": "a b"}));
    assert_eq!(body["serviceTier"], json!({"type": "flex"}));
    assert_eq!(body["guardrailConfig"]["guardrailVersion"], "1");
    let refused = [
        ("n", Request { n: Some(2), ..ask(vec![user("Hi")]) }),
        ("logprobs", Request { logprobs: Some(true), ..ask(vec![user("Hi")]) }),
        (
            "modalities",
            Request { extra: vec![("modalities".to_owned(), json("[\"audio\"]"))], ..ask(vec![user("Hi")]) },
        ),
    ];
    for (param, request) in refused {
        let error = try_encode(&request, CLAUDE, &ModelFacts::default()).unwrap_err();
        assert_eq!((error.kind, error.param_name().as_deref()), (ErrorKind::UnsupportedFeature, Some(param)));
    }
}

#[test]
fn limits_are_filled_from_the_catalog() {
    let facts = ModelFacts {
        max_output_tokens: Some(64_000),
        context_tokens: Some(100_000),
        ..ModelFacts::default()
    };
    let encoded = try_encode(&ask(vec![user("Hi")]), CLAUDE, &facts).unwrap();
    let body: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(body["inferenceConfig"]["maxTokens"], 50_000);
}
