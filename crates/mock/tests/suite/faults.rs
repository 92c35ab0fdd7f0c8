//! Faults on demand.

use crate::client::{Answer, plain, post, send};
use mock::Mock;
use serde_json::json;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

async fn ask(mock: &Mock, model: &str, stream: bool) -> Answer {
    let body = json!({ "model": model, "stream": stream, "messages": [{ "role": "user", "content": "Count to 10" }] });
    post(mock, "/v1/chat/completions", &body).await
}

#[tokio::test]
async fn errors_have_the_shape_of_each_format() {
    let mock = plain().await;
    let answer = ask(&mock, "fault-429", false).await;
    assert_eq!((answer.status, answer.headers["retry-after"].as_str()), (429, "7"));
    assert_eq!(answer.json()["error"]["code"], "rate_limit_exceeded");
    for status in [401, 402, 500, 503, 529] {
        assert_eq!(ask(&mock, &format!("org/fault-{status}"), true).await.status, status);
    }
    let body = json!({ "model": "fault-529", "max_tokens": 1, "messages": [] });
    assert_eq!(post(&mock, "/v1/messages", &body).await.json()["error"]["type"], "overloaded_error");
    let gemini = post(&mock, "/v1beta/models/fault-429:generateContent", &json!({})).await;
    assert_eq!(gemini.json()["error"]["details"][0]["retryDelay"], "7s");
    let bedrock = post(&mock, "/model/fault-429/converse", &json!({})).await;
    assert!(bedrock.headers["x-amzn-errortype"].starts_with("ThrottlingException"));
    let cohere = post(&mock, "/v2/chat", &json!({ "model": "fault-500" })).await;
    assert!(cohere.json()["message"].is_string());
    let ollama = post(&mock, "/api/chat", &json!({ "model": "fault-500" })).await;
    assert!(ollama.json()["error"].is_string());
}

#[tokio::test]
async fn streams_are_cut_after_some_frames() {
    let mock = plain().await;
    let answer = ask(&mock, "fault-cut-3", true).await;
    assert!(!answer.complete);
    assert_eq!(answer.events().len(), 3);
    let whole = ask(&mock, "fault-cut-3", false).await;
    assert!(!whole.complete && !whole.body.is_empty());
    let at_once = ask(&mock, "fault-cut-0", true).await;
    assert!(!at_once.complete && at_once.body.is_empty());
}

#[tokio::test]
async fn errors_come_inside_streams() {
    let mock = plain().await;
    let answer = ask(&mock, "fault-stream-error-2", true).await;
    let events = answer.events();
    assert!(answer.complete && events.len() == 3 && !answer.text().contains("[DONE]"));
    assert_eq!(events[2]["error"]["type"], "server_error");
    assert_eq!(ask(&mock, "fault-stream-error-2", false).await.status, 500);
}

#[tokio::test]
async fn a_hanging_stream_stays_open() {
    let mock = plain().await;
    let body = r#"{"model":"fault-hang-1","stream":true,"messages":[{"role":"user","content":"x"}]}"#;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\ncontent-type: application/json\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut socket = tokio::net::TcpStream::connect(mock.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"}\n\n\r\n") {
        socket.read_buf(&mut received).await.unwrap();
    }
    let more = tokio::time::timeout(Duration::from_millis(30), socket.read_buf(&mut received)).await;
    assert!(more.is_err(), "neither bytes nor an end");
    mock.stop().await;
    let end = tokio::time::timeout(Duration::from_secs(5), socket.read_buf(&mut received)).await.unwrap();
    assert_eq!(end.unwrap_or(0), 0, "stopping the mock closes its connections");
}

#[tokio::test]
async fn unusable_answers_may_look_like_successes() {
    let mock = plain().await;
    let html = ask(&mock, "fault-html", false).await;
    assert_eq!((html.status, html.headers["content-type"].as_str()), (502, "text/html"));
    let empty = ask(&mock, "fault-empty", true).await;
    assert_eq!((empty.status, empty.body.len(), empty.complete), (200, 0, true));
    let garbage = ask(&mock, "fault-garbage", false).await;
    assert_eq!(garbage.status, 200);
    assert!(serde_json::from_slice::<serde_json::Value>(&garbage.body).is_err());
    let inside = ask(&mock, "fault-200-error", false).await;
    assert_eq!(inside.status, 200);
    assert!(inside.json()["error"].is_object());
    let slow = ask(&mock, "fault-slow-5", false).await;
    assert_eq!(slow.json()["choices"][0]["finish_reason"], "stop");
}

#[tokio::test]
async fn a_stream_may_lack_a_kind_of_event_or_a_member() {
    let mock = plain().await;
    let text = async |name: &str| String::from_utf8(ask(&mock, name, true).await.body.to_vec()).unwrap();
    let whole = text("m").await;
    let part = "\"finish_reason\"";
    assert!(whole.contains(part) && whole.contains("[DONE]"), "{whole}");
    let without = text("fault-without-finish_reason").await;
    assert!(!without.contains(part) && without.contains("[DONE]"), "{without}");
    assert_eq!(text("fault-without-nonsense").await.matches(part).count(), whole.matches(part).count());
    let body = json!({"model": "fault-without-content_block_stop", "max_tokens": 9, "stream": true,
        "messages": [{"role": "user", "content": "hi"}]});
    let answer = post(&mock, "/v1/messages", &body).await;
    let events = String::from_utf8(answer.body.to_vec()).unwrap();
    assert!(
        events.contains("event: content_block_start") && events.contains("event: message_stop"),
        "{events}"
    );
    assert!(!events.contains("event: content_block_stop"), "{events}");
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused() {
    let mock = plain().await;
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: m\r\nconnection: close\r\ncontent-length: 2\r\n";
    assert_eq!(send(&mock, &format!("{head}content-type: text/plain\r\n\r\n{{}}")).await.status, 415);
    let answer = send(&mock, &format!("{head}content-type: application/json\r\n\r\n{{x")).await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("could not parse the JSON body"));
}

#[tokio::test]
async fn a_base_url_can_select_a_fault_and_the_journal_has_the_status() {
    let mock = plain().await;
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": "x" }] });
    assert_eq!(post(&mock, "/fault-529/v1/chat/completions", &body).await.status, 529);
    assert_eq!(post(&mock, "/v1/chat/completions", &body).await.status, 200);
    let statuses: Vec<u16> = mock.journal().iter().map(|received| received.status).collect();
    assert_eq!(statuses, [529, 200]);
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_refused_with_each_providers_error() {
    let mock = plain().await;
    let messages = json!([{ "role": "user", "content": "x" }]);
    let claude = json!({ "model": "fault-context", "max_tokens": 9, "messages": messages });
    let answer = post(&mock, "/v1/messages", &claude).await;
    assert!(
        answer.text().contains("prompt is too long: 1220000 tokens > 1000000 maximum"),
        "{}",
        answer.text()
    );
    let gpt = json!({ "model": "fault-context", "input": "x" });
    assert_eq!(post(&mock, "/v1/responses", &gpt).await.json()["error"]["code"], "context_length_exceeded");
    let gemini = json!({ "contents": [{ "parts": [{ "text": "x" }] }] });
    let answer = post(&mock, "/v1beta/models/fault-context:generateContent", &gemini).await;
    assert!(answer.text().contains("exceeds the maximum number of tokens"), "{}", answer.text());
}
