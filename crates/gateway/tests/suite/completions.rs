//! Legacy text completions over HTTP: any provider, its errors, streams and records.

use serde_json::{Value, json};

use crate::support::{KEY, Reply, TestGateway, Upstream, answer, error, stream_of, whole};

async fn complete(gateway: &TestGateway, body: &Value) -> Reply {
    let body = body.to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    gateway.send(format!("{head}{body}").as_bytes()).await
}

fn prompt(model: &str) -> Value {
    json!({"model": model, "prompt": "Once upon a time", "max_tokens": 20})
}

#[tokio::test]
async fn a_prompt_is_completed_by_any_provider() {
    let messages = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "there was a king."}], "usage": {"input_tokens": 4, "output_tokens": 6}});
    let chat = Upstream::playing(vec![error("503 Service Unavailable"), answer("there was a queen.")]).await;
    let claude = Upstream::playing(vec![whole("200 OK", &messages), whole("200 OK", &messages)]).await;
    let config = chat.provider("first", "openai-chat") + &claude.provider("second", "anthropic-messages");
    let gateway = TestGateway::start(&config).await;
    let mut asked = prompt("first/a");
    asked["models"] = json!(["second/b"]);
    let fallen = complete(&gateway, &asked).await;
    assert_eq!(fallen.status, 200, "{}", fallen.text());
    assert_eq!(
        fallen.at("/choices"),
        json!([{"text": "there was a king.", "index": 0, "logprobs": null, "finish_reason": "stop"}])
    );
    assert_eq!(
        (fallen.at("/object"), fallen.at("/usage/total_tokens")),
        (json!("text_completion"), json!(10))
    );
    assert_eq!(fallen.at("/llmgateway/used_provider"), "second");
    assert_eq!(fallen.at("/metadata"), Value::Null);
    let plain = complete(&gateway, &prompt("first/a")).await;
    assert_eq!(plain.at("/choices/0/text"), "there was a queen.", "{}", plain.text());
    assert_eq!(chat.bodies()[1]["messages"], json!([{"role": "user", "content": "Once upon a time"}]));
    let mut lossy = prompt("second/b");
    lossy["logit_bias"] = json!({"5": 1});
    lossy["best_of"] = json!(2);
    let told = complete(&gateway, &lossy).await;
    let mut fields: Vec<Value> =
        told.at("/llmgateway/losses").as_array().unwrap().iter().map(|loss| loss["field"].clone()).collect();
    fields.sort_by_key(Value::to_string);
    assert_eq!(fields, ["best_of", "logit_bias"]);
    let records = gateway.records().await;
    assert_eq!(records.len(), 3);
}

#[tokio::test]
async fn a_stream_has_the_legacy_chunks() {
    let upstream = Upstream::playing(vec![stream_of(&["there ", "was"])]).await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    let mut asked = prompt("first/a");
    asked["stream"] = json!(true);
    asked["echo"] = json!(true);
    let reply = complete(&gateway, &asked).await;
    assert_eq!((reply.status, reply.done()), (200, 1), "{}", reply.text());
    let events = reply.events();
    let text: String = events.iter().filter_map(|event| event.pointer("/choices/0/text")?.as_str()).collect();
    assert_eq!(text, "Once upon a timethere was");
    assert!(events.iter().all(|event| event["object"] == "text_completion"), "{}", reply.text());
    assert_eq!(events.last().unwrap()["llmgateway"]["used_provider"], "first");
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_by_name_before_anybody_is_asked() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&upstream.provider("first", "openai-chat")).await;
    for (field, value) in [("prompt", json!(["a", "b"])), ("prompt", json!([1, 2])), ("suffix", json!("end"))]
    {
        let mut asked = prompt("first/a");
        asked[field] = value;
        let reply = complete(&gateway, &asked).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(field)), "{}", reply.text());
        assert_eq!(reply.at("/error/code"), "unsupported_feature");
    }
    let reply =
        gateway.send(b"POST /v1/completions HTTP/1.1\r\nhost: g\r\ncontent-length: 2\r\n\r\n{}").await;
    assert_eq!((reply.status, reply.at("/error/code")), (401, json!("invalid_api_key")));
    assert!(upstream.bodies().is_empty());
}
