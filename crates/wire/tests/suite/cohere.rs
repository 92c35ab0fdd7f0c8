//! Cohere v2 chat: recorded answers, and the rules of its requests.

use canon::*;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wire::{DecoderContext, Protocol, adapter};

use super::caller_answer::{CallerAnswer, read_answer, read_at_every_split};

/// The `data:` documents of a recorded stream, read without the code under test.
pub(super) fn documents(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.filter(|data| data.trim() != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

/// Assembles a recorded stream into a whole answer.
pub(super) fn assembled(events: &[Value]) -> Value {
    let mut blocks: std::collections::BTreeMap<u64, Value> = Default::default();
    let mut calls: std::collections::BTreeMap<u64, Value> = Default::default();
    let (mut plan, mut whole, mut citations) = (String::new(), json!({}), Vec::new());
    let append = |place: &mut Value, more: &Value| {
        *place = json!(place.as_str().unwrap_or_default().to_owned() + more.as_str().unwrap_or_default());
    };
    for event in events {
        let index = event["index"].as_u64().unwrap_or_default();
        let message = &event["delta"]["message"];
        match event["type"].as_str().unwrap() {
            "message-start" => whole["id"] = event["id"].clone(),
            "content-start" | "content-delta" => {
                let block = blocks.entry(index).or_insert(json!({}));
                append(&mut block["text"], &message["content"]["text"]);
                append(&mut block["thinking"], &message["content"]["thinking"]);
            }
            "tool-plan-delta" => plan += message["tool_plan"].as_str().unwrap(),
            "tool-call-start" => drop(calls.insert(index, message["tool_calls"].clone())),
            "tool-call-delta" => {
                let call = calls.get_mut(&index).unwrap();
                let more = &message["tool_calls"]["function"]["arguments"];
                append(&mut call["function"]["arguments"], more);
            }
            "citation-start" => citations.push(message["citations"].clone()),
            "message-end" => {
                whole["finish_reason"] = event["delta"]["finish_reason"].clone();
                whole["usage"] = event["delta"]["usage"].clone();
            }
            _ => {}
        }
    }
    whole["message"]["citations"] = citations.into();
    whole["message"]["tool_plan"] = json!(plan);
    whole["message"]["content"] = blocks.into_values().collect();
    whole["message"]["tool_calls"] = calls.into_values().collect();
    whole
}

fn check(heard: &CallerAnswer, native: &Value, id: &str) {
    let message = &native["message"];
    let joined = |name: &str| -> String {
        let blocks = message["content"].as_array().into_iter().flatten();
        blocks.filter_map(|block| block[name].as_str()).collect()
    };
    assert_eq!(heard.text, joined("text"), "{id}");
    let plan = message["tool_plan"].as_str().unwrap_or_default();
    let mut thoughts: String = joined("thinking");
    if heard.reasoning() != thoughts {
        thoughts = plan.to_owned() + &thoughts;
    }
    assert_eq!(heard.reasoning(), thoughts, "{id}");
    let calls: Vec<_> = message["tool_calls"].as_array().into_iter().flatten().collect();
    assert_eq!(heard.calls.len(), calls.len(), "{id}");
    for (call, native) in heard.parsed_calls().iter().zip(&calls) {
        assert_eq!(call.0, native["function"]["name"].as_str().unwrap(), "{id}");
        let arguments = native["function"]["arguments"].as_str().unwrap_or_default();
        let arguments = if matches!(arguments, "" | "null") { "{}" } else { arguments };
        assert_eq!(call.1, serde_json::from_str::<Value>(arguments).unwrap(), "{id}");
    }
    for (call, native) in heard.calls.iter().zip(&calls) {
        assert_eq!(call.id, native["id"].as_str().unwrap(), "{id}");
    }
    assert_eq!(heard.id.as_deref(), native["id"].as_str(), "{id}");
    let reason = match native["finish_reason"].as_str().unwrap() {
        "MAX_TOKENS" => FinishReason::Length,
        "TOOL_CALL" => FinishReason::ToolCalls,
        _ => FinishReason::Stop,
    };
    assert_eq!(heard.finish.as_ref().unwrap().0, reason, "{id}");
    if let Some(tokens) = native["usage"]["tokens"].as_object() {
        let usage = heard.usage.unwrap();
        let number = |name: &str| tokens.get(name).and_then(Value::as_f64).unwrap_or_default();
        let pictures = tokens.contains_key("image_tokens");
        let prompt = if pictures { &native["usage"]["billed_units"] } else { &native["usage"]["tokens"] };
        assert_eq!(Some(usage.prompt_tokens() as f64), prompt["input_tokens"].as_f64(), "{id}");
        assert_eq!(usage.reasoning as f64, number("reasoning_tokens"), "{id}");
        assert_eq!(Some(usage.completion_tokens() as f64), tokens["output_tokens"].as_f64(), "{id}");
        let cached = native["usage"]["cached_tokens"].as_f64().unwrap_or_default();
        assert_eq!(usage.cache_read as f64, cached, "{id}");
    }
}

#[test]
fn recorded_answers_are_understood() {
    let records = testkit::corpus::records("cohere");
    let mut count = 0;
    for record in records.iter().filter(|record| record.api == "chat-native" && record.status == 200) {
        let is_framed = record.body.starts_with(b"data:") || record.body.starts_with(b"event:");
        if record.streaming && !is_framed {
            continue;
        }
        let native = if record.streaming {
            assembled(&documents(&record.body))
        } else {
            serde_json::from_slice(&record.body).unwrap()
        };
        if !native["message"].is_object() {
            continue; // Version 1 of the API.
        }
        count += 1;
        let heard = read_at_every_split(
            Protocol::CohereChat,
            record.streaming,
            &DecoderContext::default(),
            &record.body,
        )
        .unwrap_or_else(|error| panic!("{}: {error}", record.id));
        check(&heard, &native, &record.id);
    }
    eprintln!("{count} recorded Cohere answers");
    testkit::corpus::assert_enough(count, 50);
}

#[test]
fn recorded_errors_are_understood() {
    for record in testkit::corpus::cases(["cohere"], |record| record.status >= 400) {
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter(Protocol::CohereChat).decode_error(status, &HeaderMap::new(), &record.body);
        let native: Value = serde_json::from_slice(&record.body).unwrap();
        assert_eq!(error.message, native["message"].as_str().unwrap(), "{}", record.id);
        // A provider's refusal of the gateway's credential is not the caller's fault.
        let told = if error.refuses_gateway() { StatusCode::BAD_GATEWAY } else { status };
        assert_eq!(error.status(), told, "{}", record.id);
        let kind = if status == 401 { ErrorKind::UpstreamCredential } else { ErrorKind::ModelNotFound };
        assert_eq!(error.kind, kind, "{}", record.id);
    }
    let blocked = adapter(Protocol::CohereChat).decode_error(
        StatusCode::from_u16(498).unwrap(),
        &HeaderMap::new(),
        br#"{"message":"invalid token"}"#,
    );
    assert_eq!((blocked.kind, blocked.status().as_u16()), (ErrorKind::ContentFilter, 400));
}

pub(super) fn sse(events: &[Value]) -> Vec<u8> {
    events.iter().map(|event| format!("data: {event}\r\n\r\n")).collect::<String>().into_bytes()
}

pub(super) fn call_stream() -> Vec<Value> {
    let call = |index: u64, function: Value, id: Option<&str>| {
        json!({"type": if id.is_some() { "tool-call-start" } else { "tool-call-delta" }, "index": index,
            "delta": {"message": {"tool_calls": {"id": id, "type": "function", "function": function}}}})
    };
    vec![
        json!({"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": [],
            "tool_plan": "", "tool_calls": [], "citations": []}}}),
        json!({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I look."}}}),
        call(1, json!({"name": "now", "arguments": ""}), Some("a")),
        call(1, json!({"arguments": "nu"}), None),
        call(1, json!({"arguments": "ll"}), None),
        json!({"type": "tool-call-end", "index": 1}),
        call(2, json!({"name": "look", "arguments": ""}), Some("b")),
        call(2, json!({"arguments": "{\"é\""}), None),
        call(2, json!({"arguments": ":1}"}), None),
        json!({"type": "tool-call-end", "index": 2}),
        json!({"type": "citation-start", "index": 0, "delta": {"message": {"citations": {"start": 1, "end": 2,
            "sources": [{"type": "document", "document": {"url": "https://x.test", "title": "X"}}]}}}}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL", "usage":
            {"billed_units": {"input_tokens": 1, "output_tokens": 2},
            "tokens": {"input_tokens": 10.0, "output_tokens": 2, "image_tokens": 7, "reasoning_tokens": 1},
            "cached_tokens": 4}}}),
    ]
}

#[test]
fn a_stream_of_calls_is_understood() {
    let body = sse(&call_stream());
    let heard = read_at_every_split(Protocol::CohereChat, true, &DecoderContext::default(), &body).unwrap();
    let calls = heard.parsed_calls();
    assert_eq!(calls, [("now".to_owned(), json!({})), ("look".to_owned(), json!({"é": 1}))]);
    assert_eq!((heard.reasoning().as_str(), heard.id.as_deref()), ("I look.", Some("m")));
    let usage = Usage { input: 13, cache_read: 4, output: 2, reasoning: 1, ..Usage::default() };
    assert_eq!(heard.usage, Some(usage));
    assert_eq!(heard.annotations[0]["url_citation"]["url"], "https://x.test");
    assert_eq!(heard.finish.unwrap().0, FinishReason::ToolCalls);
}

#[test]
fn broken_answers_are_errors() {
    let stream = call_stream();
    let hear = |events: &[Value]| {
        read_answer(Protocol::CohereChat, true, &DecoderContext::default(), [&sse(events)[..]])
    };
    assert_eq!(hear(&stream[..stream.len() - 1]).unwrap_err().kind, ErrorKind::Upstream);
    assert_eq!(hear(&[]).unwrap_err().kind, ErrorKind::Upstream);
    let end =
        |reason| json!({"type": "message-end", "delta": {"finish_reason": reason, "error": "It broke."}});
    let error = hear(&[end("ERROR")]).unwrap_err();
    assert_eq!((error.kind, error.message.as_ref()), (ErrorKind::Upstream, "It broke."));
    assert_eq!(hear(&[end("TIMEOUT")]).unwrap_err().kind, ErrorKind::Timeout);
    for body in ["", "null", "{}", "{\"message\":{}}", "{\"message\":{\"content\":3}}"] {
        let whole = super::caller_answer::read_answer(
            Protocol::CohereChat,
            false,
            &DecoderContext::default(),
            [body.as_bytes()],
        );
        assert_eq!(whole.unwrap_err().kind, ErrorKind::Upstream, "{body}");
    }
}

fn encode(request: &Request) -> (Value, Vec<String>) {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "command-a-reasoning-08-2025", facts: &facts, quirks: &quirks };
    let encoded = adapter(Protocol::CohereChat).encode_request(request, target).unwrap();
    let losses = encoded.losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str()));
    (serde_json::from_slice(&encoded.body).unwrap(), losses.collect())
}

#[test]
fn requests_and_losses_are_as_in_the_table() {
    let call = ToolCall { id: "a".into(), name: "f".into(), arguments: "{\"x\":1}".into(), custom: false };
    let result = ToolResult { call_id: "a".into(), content: vec![Part::text("seen")], is_error: false };
    let picture = Media {
        kind: MediaKind::Image,
        source: Source::Base64 { mime: "image/png".to_owned(), data: "QUJD".to_owned() },
        filename: None,
        detail: Some("low".to_owned()),
    };
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: None,
        kind: ToolKind::Function { parameters: None, strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let request = Request {
        messages: vec![
            Message::text(Role::Developer, "Be kind."),
            Message::new(Role::User, vec![Part::text("Look."), PartKind::from(picture).into()]),
            Message::new(Role::Assistant, vec![Part::text("I look."), PartKind::from(call).into()]),
            Message::new(Role::Tool, vec![PartKind::from(result).into()]),
        ],
        tools: vec![tool("f"), tool("g")],
        tool_choice: Some(ToolChoice::Named("f".to_owned())),
        sampling: Sampling {
            temperature: Some(2.0),
            top_p: Some(0.5),
            top_k: Some(7),
            seed: Some(3),
            ..Sampling::default()
        },
        stop: vec!["END".to_owned()],
        max_tokens: Some(1000),
        reasoning: ReasoningRequest { effort: Some(Effort::High), ..ReasoningRequest::default() },
        stream: true,
        user: Some("u".to_owned()),
        ..Request::default()
    };
    let (body, losses) = encode(&request);
    let want = json!({
        "model": "command-a-reasoning-08-2025",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": [
                {"type": "text", "text": "Look."},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
            ]},
            {"role": "assistant", "tool_plan": "I look.", "tool_calls":
                [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
            {"role": "tool", "content": "seen", "tool_call_id": "a"},
        ],
        "stream": true,
        "tools": [{"type": "function", "function":
            {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
        "tool_choice": "REQUIRED",
        "thinking": {"type": "enabled", "token_budget": 750},
        "max_tokens": 1000,
        "stop_sequences": ["END"],
        "temperature": 1.0, "p": 0.5, "k": 7, "seed": 3,
    });
    assert_eq!(body, want);
    assert_eq!(losses, ["temperature approximated", "user dropped"]);
}

#[test]
fn log_probabilities_are_requested_and_read() {
    let asked = Request {
        messages: vec![Message::text(Role::User, "Hi")],
        logprobs: Some(true),
        ..Request::default()
    };
    let (body, losses) = encode(&asked);
    assert_eq!((&body["logprobs"], losses.len()), (&json!(true), 0));
    let refused = |request: &Request, facts: ModelFacts| {
        let target = Target { model: "m", facts: &facts, quirks: &Quirks::default() };
        adapter(Protocol::CohereChat).encode_request(request, target).unwrap_err().param_name()
    };
    let with_others = Request { top_logprobs: Some(2), ..asked.clone() };
    assert_eq!(refused(&with_others, ModelFacts::default()).as_deref(), Some("top_logprobs"));
    let without = ModelFacts { features: Some(Features::NONE), ..ModelFacts::default() };
    assert_eq!(refused(&asked, without).as_deref(), Some("logprobs"));

    // A piece of text may consist of several tokens.
    let items = [
        json!({"text": "Hé", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}),
        json!({"text": "!", "token_ids": [3], "logprobs": [-1.0]}),
    ];
    let whole = json!({"id": "m", "message": {"role": "assistant", "content": [{"type": "text", "text": "Hé!"}]},
        "logprobs": items, "finish_reason": "COMPLETE"});
    let piece = |item: &Value| json!({"type": "content-delta", "index": 0, "logprobs": item, "delta": {"message": {"content": {"text": item["text"]}}}});
    let end = json!({"type": "message-end", "delta": {"finish_reason": "COMPLETE"}});
    let stream = sse(&[json!({"type": "message-start", "id": "m"}), piece(&items[0]), piece(&items[1]), end]);
    let decoding = DecoderContext::default();
    let told = read_answer(Protocol::CohereChat, false, &decoding, [whole.to_string().as_bytes()]).unwrap();
    assert_eq!(told, read_at_every_split(Protocol::CohereChat, true, &decoding, &stream).unwrap());
    let entry = |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": token.as_bytes(), "top_logprobs": []});
    assert_eq!(told.logprobs, [entry("Hé", -0.75), entry("!", -1.0)]);
}

#[test]
fn json_answers_exclude_tools() {
    let schema = Json::parse(r#"{"type":"object"}"#).ok();
    let output = OutputFormat::JsonSchema { name: String::new(), description: None, schema, strict: None };
    let request = Request { output, messages: vec![Message::text(Role::User, "Hi")], ..Request::default() };
    let (body, losses) = encode(&request);
    let want = json!({"type": "json_object", "json_schema": {"type": "object"}});
    assert_eq!((&body["response_format"], losses.len()), (&want, 0));
    let tool = Tool {
        name: "f".to_owned(),
        description: None,
        kind: ToolKind::Function { parameters: None, strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let (body, losses) = encode(&Request { tools: vec![tool], ..request });
    assert_eq!(body["response_format"], Value::Null);
    assert!(body["messages"][0]["content"].as_str().unwrap().contains("JSON schema"));
    assert_eq!(losses, ["response_format emulated"]);
}
