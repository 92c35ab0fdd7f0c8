//! Cohere's chat, version 2, and Ollama's chat.

use crate::client::{plain, post, weather_schema};
use serde_json::{Value, json};

fn request(text: &str, extra: Value) -> Value {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": text }] });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([{ "type": "function", "function": { "name": "get_weather", "parameters": weather_schema() } }])
}

#[tokio::test]
async fn cohere_answers_whole() {
    let mock = plain().await;
    let thinking = json!({ "thinking": { "type": "enabled" } });
    let answer = post(&mock, "/v2/chat", &request("Count to 10", thinking)).await.json();
    assert_eq!(answer["message"]["content"][0]["type"], "thinking");
    assert_eq!(answer["message"]["content"][1]["text"], "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    assert_eq!(answer["finish_reason"], "COMPLETE");
    let answer =
        post(&mock, "/v2/chat", &request("Weather in Rome?", json!({ "tools": tools() }))).await.json();
    assert_eq!(answer["message"]["tool_calls"][0]["function"]["arguments"], r#"{"location":"Rome"}"#);
    assert_eq!(answer["finish_reason"], "TOOL_CALL");
}

#[tokio::test]
async fn cohere_streams() {
    let mock = plain().await;
    let body = request("Weather in Rome?", json!({ "tools": tools(), "stream": true }));
    let answer = post(&mock, "/v2/chat", &body).await;
    let events = answer.events();
    let parts = events
        .iter()
        .filter_map(|event| event.pointer("/delta/message/tool_calls/function/arguments")?.as_str());
    assert_eq!(parts.collect::<String>(), r#"{"location":"Rome"}"#);
    assert_eq!(events.last().unwrap()["delta"]["finish_reason"], "TOOL_CALL");
    assert!(answer.text().ends_with("data: [DONE]\n\n"));
    let events = post(&mock, "/v2/chat", &request("Count to 10", json!({ "stream": true }))).await.events();
    let parts = events.iter().filter_map(|event| event.pointer("/delta/message/content/text")?.as_str());
    assert_eq!(parts.collect::<String>(), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
}

#[tokio::test]
async fn cohere_refuses() {
    let mock = plain().await;
    let answer = post(&mock, "/v2/chat", &request("x", json!({ "tool_choice": "auto" }))).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["message"].as_str().unwrap().starts_with("invalid request"));
}

#[tokio::test]
async fn ollama_streams_lines_by_default() {
    let mock = plain().await;
    let answer = post(&mock, "/api/chat", &request("Count to 10", json!({ "think": true }))).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let lines: Vec<Value> = answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let text: String = lines.iter().filter_map(|line| line["message"]["content"].as_str()).collect();
    assert_eq!(text, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    assert!(lines[0]["message"]["thinking"].is_string());
    let last = lines.last().unwrap();
    assert!(last["done"] == true && last["done_reason"] == "stop" && last["eval_count"].is_u64());
    let body = request("Weather in Rome?", json!({ "stream": false, "tools": tools() }));
    let whole = post(&mock, "/api/chat", &body).await.json();
    assert_eq!(whole["message"]["tool_calls"][0]["function"]["arguments"], json!({ "location": "Rome" }));
}

#[tokio::test]
async fn ollama_refuses() {
    let mock = plain().await;
    let parts = json!({ "model": "m", "messages": [{ "role": "user", "content": [{ "type": "text", "text": "x" }] }] });
    let answer = post(&mock, "/api/chat", &parts).await;
    assert_eq!(answer.status, 400);
    assert!(answer.json()["error"].as_str().unwrap().contains("cannot unmarshal"));
}
