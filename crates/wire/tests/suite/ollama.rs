//! Ollama's own chat API: recorded answers, and the rules of its requests.

use canon::*;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use wire::{DecoderContext, Protocol, adapter};

use super::caller_answer::{read_answer, read_at_every_split};

#[test]
fn recorded_answers_are_understood() {
    let records = testkit::corpus::records("ollama");
    let mut count = 0;
    for record in records.iter().filter(|record| record.api == "chat-native" && record.status == 200) {
        count += 1;
        let id = &record.id;
        let heard = read_at_every_split(
            Protocol::OllamaChat,
            record.streaming,
            &DecoderContext::default(),
            &record.body,
        )
        .unwrap_or_else(|error| panic!("{id}: {error}"));
        let documents = serde_json::Deserializer::from_slice(&record.body).into_iter::<Value>();
        let documents: Vec<Value> = documents.map(Result::unwrap).collect();
        let joined = |name: &str| -> String {
            documents.iter().filter_map(|document| document["message"][name].as_str()).collect()
        };
        assert_eq!((heard.text.clone(), heard.reasoning()), (joined("content"), joined("thinking")), "{id}");
        let calls: Vec<_> = documents
            .iter()
            .filter_map(|document| document["message"]["tool_calls"].as_array())
            .flatten()
            .map(|call| {
                let function = &call["function"];
                (function["name"].as_str().unwrap().to_owned(), function["arguments"].clone())
            })
            .collect();
        assert_eq!(heard.parsed_calls(), calls, "{id}");
        let last = documents.last().unwrap();
        assert_eq!(heard.model.as_deref(), last["model"].as_str(), "{id}");
        let reason = match last["done_reason"].as_str() {
            Some("length") => FinishReason::Length,
            _ if !calls.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        assert_eq!(heard.finish.as_ref().unwrap().0, reason, "{id}");
        let usage = heard.usage.unwrap();
        let count = |name: &str| last[name].as_u64().unwrap_or_default();
        assert_eq!((usage.input, usage.output), (count("prompt_eval_count"), count("eval_count")), "{id}");
    }
    eprintln!("{count} recorded Ollama answers");
    testkit::corpus::assert_enough(count, 20);
}

#[test]
fn errors_are_understood() {
    let error = |status, body: &[u8]| {
        let status = StatusCode::from_u16(status).unwrap();
        adapter(Protocol::OllamaChat).decode_error(status, &HeaderMap::new(), body)
    };
    let missing = error(404, br#"{"error":"model 'x' not found"}"#);
    assert_eq!((missing.kind, missing.message.as_ref()), (ErrorKind::ModelNotFound, "model 'x' not found"));
    let plain = error(400, br#"{"error":"x does not support tools"}"#);
    assert_eq!((plain.kind, plain.retry), (ErrorKind::InvalidRequest, Retry::No));
    assert_eq!(error(503, br#"{"error":{"message":"busy"}}"#).message, "busy");
}

#[test]
fn broken_answers_are_errors() {
    let hear = |streaming, body: &str| {
        read_answer(Protocol::OllamaChat, streaming, &DecoderContext::default(), [body.as_bytes()])
            .unwrap_err()
    };
    let line = "{\"model\":\"m\",\"message\":{\"content\":\"Hel\"},\"done\":false}\n";
    assert_eq!(hear(true, line).kind, ErrorKind::Upstream);
    assert_eq!(hear(true, "").kind, ErrorKind::Upstream);
    assert_eq!(hear(true, &format!("{line}{{\"error\":\"It broke.\"}}\n")).message, "It broke.");
    assert_eq!(hear(true, &format!("{line}nonsense")).kind, ErrorKind::Upstream);
    for body in ["", "[]", "{}", "{\"message\":{}}", "{\"done\":true"] {
        assert_eq!(hear(false, body).kind, ErrorKind::Upstream, "{body}");
    }
}

#[test]
fn a_last_line_without_its_end_counts() {
    let body = "{\"model\":\"m\",\"message\":{\"thinking\":\"Hm\",\"tool_calls\":[{\"function\":{\"name\":\"f\"}}]}}\r\n\
                {\"done\":true,\"done_reason\":\"stop\",\"eval_count\":2}";
    let heard =
        read_at_every_split(Protocol::OllamaChat, true, &DecoderContext::default(), body.as_bytes()).unwrap();
    assert_eq!(heard.parsed_calls(), [("f".to_owned(), json!({}))]);
    assert_eq!(heard.finish.unwrap().0, FinishReason::ToolCalls);
    assert_eq!(heard.usage.unwrap().output, 2);
}

#[test]
fn requests_and_losses_are_as_in_the_table() {
    let call = ToolCall { id: "a".into(), name: "f".into(), arguments: "{\"x\":1.0}".into(), custom: false };
    let result = ToolResult { call_id: "a".into(), content: vec![Part::text("seen")], is_error: false };
    let picture = |source: Source| {
        let media = Media { kind: MediaKind::Image, source, filename: None, detail: None };
        Message::new(Role::User, vec![Part::text("Look."), PartKind::from(media).into()])
    };
    let inline = Source::Base64 { mime: "image/png".to_owned(), data: "QUJD".to_owned() };
    let tool = |name: &str| Tool {
        name: name.to_owned(),
        description: Some("Does it.".to_owned()),
        kind: ToolKind::Function { parameters: Json::parse("{\"type\":\"object\"}").ok(), strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    };
    let request = Request {
        messages: vec![
            Message::new(Role::System, vec![Part::text("Be kind."), Part::text("Be quick.")]),
            picture(inline),
            Message::new(Role::Assistant, vec![PartKind::from(call).into()]),
            Message::new(Role::Tool, vec![PartKind::from(result).into()]),
        ],
        tools: vec![tool("f"), tool("g")],
        tool_choice: Some(ToolChoice::Named("g".to_owned())),
        sampling: Sampling { temperature: Some(2.0), seed: Some(3), ..Sampling::default() },
        max_tokens: Some(10),
        output: OutputFormat::JsonObject,
        reasoning: ReasoningRequest { effort: Some(Effort::Max), ..ReasoningRequest::default() },
        extra: vec![
            ("num_ctx".to_owned(), Json::parse("8192").unwrap()),
            ("keep_alive".to_owned(), Json::parse("\"5m\"").unwrap()),
            ("logit_bias".to_owned(), Json::parse("{\"1\":1}").unwrap()),
        ],
        ..Request::default()
    };
    let encode = |request: &Request, model: &str| {
        let (facts, quirks) = (ModelFacts::default(), Quirks::default());
        let target = Target { model, facts: &facts, quirks: &quirks };
        adapter(Protocol::OllamaChat).encode_request(request, target)
    };
    let encoded = encode(&request, "gpt-oss:20b").unwrap();
    let want = json!({
        "model": "gpt-oss:20b",
        "messages": [
            {"role": "system", "content": "Be kind.\nBe quick."},
            {"role": "user", "content": "Look.", "images": ["QUJD"]},
            {"role": "assistant", "content": "", "tool_calls":
                [{"id": "a", "function": {"name": "f", "arguments": {"x": 1.0}}}]},
            {"role": "tool", "content": "seen", "tool_name": "f", "tool_call_id": "a"},
        ],
        "stream": false,
        "tools": [{"type": "function", "function":
            {"name": "g", "description": "Does it.", "parameters": {"type": "object"}}}],
        "format": "json",
        "options": {"num_predict": 10, "temperature": 2.0, "seed": 3, "num_ctx": 8192},
        "think": "high",
        "keep_alive": "5m",
    });
    assert_eq!(serde_json::from_slice::<Value>(&encoded.body).unwrap(), want);
    let losses: Vec<_> = encoded.losses.iter().map(|loss| loss.field.name()).collect();
    assert_eq!(losses, ["tool_choice", "reasoning_effort", "logit_bias"]);
    let body: Value = serde_json::from_slice(&encode(&request, "qwen3").unwrap().body).unwrap();
    assert_eq!(body["think"], true);
    let link = picture(Source::Url("https://x.test/a.png".to_owned()));
    let refused = encode(&Request { messages: vec![link], ..Request::default() }, "qwen3").unwrap_err();
    assert_eq!(refused.param_name().as_deref(), Some("messages[0].content[1]"));
}
