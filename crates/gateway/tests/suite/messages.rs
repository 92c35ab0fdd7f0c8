//! Callers that speak Anthropic's Messages.

use serde_json::{Value, json};

use crate::support::{
    KEY, Reply, TestGateway, Upstream, answer, answer_of, chunk, error, events, raw, stream_of, whole,
};

const PATH: &str = "/v1/messages";
const MODEL: &str = "openai/gpt-4o-mini";

fn question(model: &str, stream: bool) -> Value {
    json!({"model": model, "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "Say hello."}]})
}

async fn ask(gateway: &TestGateway, body: &Value) -> Reply {
    gateway.post(PATH, body.to_string().as_bytes()).await
}

/// An error in Anthropic's shape.
fn assert_error(reply: &Reply, status: u16, kind: &str) {
    let body = reply.json();
    assert_eq!(
        (reply.status, &body["type"], &body["error"]["type"]),
        (status, &json!("error"), &json!(kind)),
        "{body}"
    );
    assert!(body["error"]["message"].as_str().is_some_and(|text| text.len() > 5), "{body}");
    assert!(body.get("metadata").is_none(), "{body}");
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
    assert!(reply.header("request-id").is_some());
}

#[tokio::test]
async fn a_whole_answer_of_another_format_is_a_message() {
    let mut made = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop");
    made.as_object_mut().unwrap().remove("id");
    let upstream = Upstream::playing(vec![whole("200 OK", &made)]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = ask(&gateway, &question(MODEL, false)).await;
    let body = reply.json();
    assert_eq!(reply.status, 200, "{body}");
    assert!(body["id"].as_str().unwrap().starts_with("msg_"), "{body}");
    assert_eq!(
        (&body["type"], &body["role"], &body["stop_reason"]),
        (&json!("message"), &json!("assistant"), &json!("end_turn"))
    );
    assert_eq!(body["content"], json!([{"type": "text", "text": "Hello."}]));
    let usage = &body["usage"];
    assert_eq!(
        (&usage["input_tokens"], &usage["cache_read_input_tokens"], &usage["output_tokens"]),
        (&json!(6), &json!(4), &json!(5))
    );
    assert!(body.get("metadata").is_none(), "the name is taken in this format");
    let own = &body["llmgateway"];
    assert_eq!((&own["used_provider"], &own["requested_model"]), (&json!("openai"), &json!(MODEL)));
    let cost: f64 = reply.header("x-llmgateway-cost-usd").unwrap().parse().unwrap();
    assert_eq!(own["cost"]["usd_total"].as_f64(), Some(cost));
    assert_eq!(reply.header("request-id"), reply.header("x-request-id"));
}

#[tokio::test]
async fn the_gateways_object_is_on_the_last_event_or_nowhere() {
    let upstream = Upstream::playing(vec![stream_of(&["Hel", "lo."])]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    for (headers, given) in [
        ("", true),
        ("x-llmgateway-metadata: metadata\r\n", true),
        ("x-llmgateway-metadata: none\r\n", false),
    ] {
        let body = question(MODEL, true).to_string();
        let reply = gateway.post_with(PATH, headers, body.as_bytes()).await;
        let events = reply.events();
        let (last, before) = events.split_last().unwrap();
        assert_eq!(last["type"], "message_stop");
        assert_eq!(last.get("llmgateway").is_some(), given, "{headers}: {last}");
        if given {
            assert!(last["llmgateway"]["cost"]["usd_total"].is_number(), "{last}");
        }
        assert!(
            before.iter().all(|event| event.get("llmgateway").is_none() && event.get("metadata").is_none())
        );
        assert_eq!(before.last().unwrap()["usage"]["input_tokens"], 10);
    }
}

#[tokio::test]
async fn calls_without_an_id_get_one_of_this_format() {
    let call = json!({"index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let stream = [
        chunk(json!({"role": "assistant", "tool_calls": [call]}), None),
        chunk(json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ];
    let upstream = Upstream::playing(vec![events(&stream)]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = ask(&gateway, &question(MODEL, true)).await;
    let events = reply.events();
    let block = events.iter().find(|event| event["type"] == "content_block_start").unwrap();
    assert!(block["content_block"]["id"].as_str().unwrap().starts_with("toolu_"), "{block}");
}

#[tokio::test]
async fn errors_have_the_formats_own_shape() {
    let upstream = Upstream::playing(vec![
        raw("429 Too Many Requests", "retry-after: 7\r\ncontent-type: application/json\r\n", r#"{"error":{"message":"slow down"}}"#),
        error("503 Service Unavailable"),
        error("401 Unauthorized"),
        raw("400 Bad Request", "", r#"{"error":{"message":"This model's maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.","code":"context_length_exceeded"}}"#),
        answer("never"),
    ])
    .await;
    let settings = format!("{}[routing]\nmax_retries = 0\n", upstream.known("openai"));
    let gateway = TestGateway::start(&settings).await;
    let body = question(MODEL, false);
    let reply = ask(&gateway, &body).await;
    assert_error(&reply, 429, "rate_limit_error");
    assert_eq!(reply.header("retry-after"), Some("7"));
    assert_eq!(reply.at("/llmgateway/routing/0/provider"), "openai");
    let reply = ask(&gateway, &body).await;
    assert!([503, 529].contains(&reply.status), "{}", reply.text());
    assert_error(&ask(&gateway, &body).await, 502, "api_error");
    let reply = ask(&gateway, &body).await;
    assert_error(&reply, 400, "invalid_request_error");
    assert!(
        reply.message().starts_with("prompt is too long: 9001 tokens > 8192 maximum"),
        "{}",
        reply.text()
    );

    assert_error(&ask(&gateway, &question("openai/", false)).await, 404, "not_found_error");
    let text = body.to_string();
    let length = text.len();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: g\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{text}"
    );
    assert_error(&gateway.send(head.as_bytes()).await, 401, "authentication_error");
    let reply = gateway.post_with(PATH, "content-type: image/png\r\n", text.as_bytes()).await;
    assert_error(&reply, 415, "invalid_request_error");
    let head = format!("GET {PATH} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\n\r\n");
    assert_error(&gateway.send(head.as_bytes()).await, 405, "invalid_request_error");
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_error_event() {
    let stream = [chunk(json!({"role": "assistant", "content": "Hel"}), None)];
    let upstream = Upstream::playing(vec![events(&stream)]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = ask(&gateway, &question(MODEL, true)).await;
    let events = reply.events();
    let last = events.last().unwrap();
    assert_eq!((&last["type"], &last["error"]["type"]), (&json!("error"), &json!("api_error")), "{last}");
    assert_eq!(last["llmgateway"]["routing"][0]["provider"], "openai");
    assert!(events.iter().all(|event| event["type"] != "message_stop"));
    assert!(reply.text().contains("event: error\n"));
}
