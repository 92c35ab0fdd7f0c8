//! Anthropic's Messages API, at Anthropic and on Vertex.

use crate::client::{get, plain, post, send, weather_schema};
use serde_json::{Value, json};

fn request(extra: Value) -> Value {
    let mut body = json!({
        "model": "claude-sonnet-4-5", "max_tokens": 2000,
        "messages": [{ "role": "user", "content": "What's the weather in Rome?" }]
    });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([{ "name": "get_weather", "input_schema": weather_schema() }])
}

#[tokio::test]
async fn answers_whole() {
    let mock = plain().await;
    let answer = post(&mock, "/v1/messages", &request(json!({ "tools": tools() }))).await.json();
    assert_eq!(answer["type"], "message");
    assert_eq!(answer["stop_reason"], "tool_use");
    assert_eq!(answer["content"][0]["input"], json!({ "location": "Rome" }));
    assert!(answer["usage"]["input_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn streams_thinking_text_and_its_end() {
    let mock = plain().await;
    let extra = json!({ "thinking": { "type": "enabled", "budget_tokens": 1024 }, "stream": true });
    let answer = post(&mock, "/v1/messages", &request(extra)).await;
    let events = answer.events();
    let types: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types[0], "message_start");
    assert_eq!(events[1]["content_block"]["type"], "thinking");
    assert_eq!(types[types.len() - 2..], ["message_delta", "message_stop"]);
    let delta = |kind: &str, field: &str| -> String {
        let of_kind = events.iter().filter(|event| event["delta"]["type"] == kind);
        of_kind.map(|event| event["delta"][field].as_str().unwrap()).collect()
    };
    assert_eq!(delta("text_delta", "text"), "You said: What's the weather in Rome?");
    assert!(delta("thinking_delta", "thinking").starts_with("The user wants"));
    assert!(!delta("signature_delta", "signature").is_empty());
    assert!(answer.text().starts_with("event: message_start\ndata: "));
}

#[tokio::test]
async fn streams_a_call_in_fragments() {
    let mock = plain().await;
    let body = request(json!({ "tools": tools(), "tool_choice": { "type": "any" }, "stream": true }));
    let events = post(&mock, "/v1/messages", &body).await.events();
    let input: String =
        events.iter().filter_map(|event| event.pointer("/delta/partial_json")?.as_str()).collect();
    assert_eq!(input, r#"{"location":"Rome"}"#);
    assert_eq!(events[1]["content_block"]["input"], json!({}));
}

#[tokio::test]
async fn serves_vertex_and_counts_tokens() {
    let mock = plain().await;
    let path =
        "/v1/projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-4-6:streamRawPredict";
    let mut body = request(json!({ "anthropic_version": "vertex-2023-10-16", "stream": true }));
    body.as_object_mut().unwrap().shift_remove("model");
    let events = post(&mock, path, &body).await.events();
    assert_eq!(events[0]["message"]["model"], "claude-opus-4-6");
    let counted = post(&mock, "/v1/messages/count_tokens", &request(json!({}))).await.json();
    assert!(counted["input_tokens"].as_u64().unwrap() > 0);
    let token = post(&mock, "/oauth2/v2.0/token", &json!({})).await.json();
    assert_eq!(token["token_type"], "Bearer");
    assert_eq!(get(&mock, "/v1/messages").await.status, 404);
}

#[tokio::test]
async fn refuses_as_anthropic_does() {
    let mock = plain().await;
    let refuse = async |body: Value| {
        let answer = post(&mock, "/v1/messages", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        answer.json()["error"]["message"].as_str().unwrap().to_string()
    };
    assert_eq!(refuse(request(json!({ "max_tokens": null }))).await, "max_tokens: Field required");
    assert_eq!(refuse(request(json!({ "n": 2 }))).await, "n: Extra inputs are not permitted");
    assert_eq!(refuse(request(json!({ "temperature": 1.5 }))).await, "temperature: range: 0..1");
    let orphan = json!({ "messages": [{ "role": "user", "content": [
        { "type": "tool_result", "tool_use_id": "toolu_1", "content": "x" }
    ] }] });
    assert!(refuse(request(orphan)).await.contains("unexpected `tool_use_id`"));
    let unanswered = json!({ "messages": [
        { "role": "user", "content": "x" },
        { "role": "assistant", "content": [{ "type": "tool_use", "id": "toolu_1", "name": "f", "input": {} }] },
        { "role": "user", "content": "y" }
    ] });
    assert!(refuse(request(unanswered)).await.contains("`tool_use` ids were found"));
    let marked = |count: usize| -> Value {
        let block = json!({ "type": "text", "text": "x", "cache_control": { "type": "ephemeral" } });
        json!({ "messages": [{ "role": "user", "content": vec![block; count] }] })
    };
    assert_eq!(post(&mock, "/v1/messages", &request(marked(4))).await.status, 200);
    assert!(refuse(request(marked(5))).await.contains("A maximum of 4 blocks"));
    let coloured = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x", "colour": 1 }] }] });
    let message = refuse(request(coloured)).await;
    assert_eq!(message, "messages.0.content.0.text.colour: Extra inputs are not permitted");
    let untyped = json!({ "tools": [{ "name": "f", "input_schema": {} }] });
    assert!(refuse(request(untyped)).await.ends_with("input_schema.type: Field required"));
    let twice = json!({ "tools": [tools()[0], tools()[0]] });
    assert_eq!(refuse(request(twice)).await, "tools: Tool names must be unique.");
    let beta = json!({ "context_management": { "edits": [] } });
    assert_eq!(refuse(request(beta)).await, "context_management: Extra inputs are not permitted");
    let no_version = "POST /v1/messages HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-type: application/json\r\n\
                      content-length: 2\r\n\r\n{}";
    assert!(send(&mock, no_version).await.text().contains("anthropic-version: header is required"));
}
