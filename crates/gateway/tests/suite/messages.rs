//! Callers that speak Anthropic's Messages.

use std::net::SocketAddr;

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
    // Paths that several APIs share have only `x-request-id`.
    assert!(reply.header("request-id").is_none_or(|id| Some(id) == reply.header("x-request-id")));
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
    assert!(body.get("metadata").is_none(), "this format has a field of that name");
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

// ------------------------------------------------------------------------------- the same format on both sides

const CLAUDE: &str = "anthropic/claude-sonnet-4-5";

fn event(kind: &str, rest: Value) -> String {
    let mut data = json!({"type": kind});
    data.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    format!("event: {kind}\ndata: {data}\n\n")
}

fn message(content: Value) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929", "content": content,
        "stop_reason": "end_turn", "stop_sequence": null, "x_new": {"a": 1.50},
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 5}
    })
}

fn stream_events() -> Vec<String> {
    let start = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1}});
    vec![
        event("message_start", json!({"message": start})),
        event("ping", json!({})),
        event("content_block_start", json!({"index": 0, "content_block": {"type": "brand_new", "x": [1]}})),
        event("content_block_delta", json!({"index": 0, "delta": {"type": "newer_delta", "y": "z"}})),
        event("content_block_stop", json!({"index": 0})),
        event("content_block_start", json!({"index": 1, "content_block": {"type": "text", "text": ""}})),
        event("content_block_delta", json!({"index": 1, "delta": {"type": "text_delta", "text": "Hello."}})),
        event("content_block_stop", json!({"index": 1})),
        event(
            "message_delta",
            json!({"delta": {"stop_reason": "end_turn", "stop_sequence": null}, "usage": {"output_tokens": 5}}),
        ),
        event("message_stop", json!({})),
    ]
}

async fn claude(replies: Vec<Vec<u8>>) -> (Upstream, TestGateway) {
    let upstream = Upstream::playing(replies).await;
    let config = format!(
        "[providers.anthropic]\nbase_url = \"http://{}\"\napi_key = \"k\"\n[routing]\nmax_retries = 0\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config).await;
    (upstream, gateway)
}

#[tokio::test]
async fn a_raw_request_keeps_fields_that_the_gateway_does_not_know() {
    let (upstream, gateway) = claude(vec![whole(
        "200 OK",
        &message(json!([{"type": "text", "text": "Hello.", "caller": 1}, {"type": "brand_new", "x": [1]}])),
    )])
    .await;
    let body = format!(
        r#"{{"model":"{CLAUDE}", "max_tokens" : 9, "provider": {{"order": ["anthropic"]}}, "messages":[{{"role":"user","content":[{{"type":"brand_new","n": 1.50}}],"output_config":{{"effort":"low"}}}}],"mcp_servers":[{{"type":"url","url":"https://x"}}],"tools":[{{"type":"web_search_20260318","name":"web_search"}}],"container":"c","x_big":12345678901234567890123}}"#
    );
    let headers = "anthropic-beta: one-2026-01-01, two-2026-01-01\r\nanthropic-beta: three\r\nanthropic-version: 2026-10-21\r\n";
    let reply = gateway.post_with(PATH, headers, body.as_bytes()).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let heard = upstream.received().remove(0);
    let expected =
        body.replace(CLAUDE, "claude-sonnet-4-5").replace(r#" "provider": {"order": ["anthropic"]},"#, "");
    let sent = String::from_utf8(heard.body.clone()).unwrap();
    assert_eq!(sent.replace(' ', ""), expected.replace(' ', ""));
    assert!(sent.contains("\"n\": 1.50") && sent.contains("12345678901234567890123"));
    assert_eq!(heard.header("anthropic-beta"), Some("one-2026-01-01,two-2026-01-01,three"));
    assert_eq!(heard.header("anthropic-version"), Some("2026-10-21"));
    assert!(
        !heard
            .head
            .to_lowercase()
            .contains("anthropic-beta: one-2026-01-01,two-2026-01-01,three\r\nanthropic-beta")
    );
    let text = reply.text();
    assert!(
        text.contains(r#""x_new":{"a":1.5}"#) && text.contains(r#"{"type":"brand_new","x":[1]}"#),
        "{text}"
    );
    let body = reply.json();
    assert_eq!((&body["usage"]["input_tokens"], &body["content"][0]["caller"]), (&json!(10), &json!(1)));
    assert_eq!(body["llmgateway"]["used_provider"], "anthropic");
    assert!(body["llmgateway"]["cost"]["usd_total"].as_f64().unwrap() > 0.0);
    let record = gateway.record().await;
    let usage = record.usage.unwrap();
    assert_eq!((usage.prompt_tokens(), usage.completion_tokens()), (14, 5));
}

#[tokio::test]
async fn a_raw_stream_is_relayed_event_by_event() {
    let (_upstream, gateway) = claude(vec![events(&stream_events())]).await;
    let reply = gateway.post(PATH, question(CLAUDE, true).to_string().as_bytes()).await;
    let text = reply.text();
    let sent = stream_events();
    for event in &sent[..sent.len() - 1] {
        assert!(text.contains(event.as_str()), "{event}\n{text}");
    }
    let last = reply.events().pop().unwrap();
    assert_eq!(
        (&last["type"], &last["llmgateway"]["used_provider"]),
        (&json!("message_stop"), &json!("anthropic"))
    );
}

#[tokio::test]
async fn a_damaged_raw_stream_is_an_error_or_is_repaired() {
    let all = stream_events();
    // Without the end of the stream, and without its stop reason.
    let (_upstream, gateway) = claude(vec![events(&all[..8])]).await;
    let events_of = |reply: &Reply| reply.events();
    let reply = gateway.post(PATH, question(CLAUDE, true).to_string().as_bytes()).await;
    assert_eq!(events_of(&reply).pop().unwrap()["type"], "error");
    // Without the end of a block, and a count.
    let mut some = all.clone();
    some[0] = event(
        "message_start",
        json!({"message": {"type": "message", "role": "assistant", "content": [], "usage": {}}}),
    );
    some[8] = event("message_delta", json!({"delta": {"stop_reason": "end_turn"}}));
    some.remove(7);
    some.push(event(
        "content_block_delta",
        json!({"index": 9, "delta": {"type": "text_delta", "text": "late"}}),
    ));
    let (_upstream, gateway) = claude(vec![events(&some)]).await;
    let reply = gateway.post(PATH, question(CLAUDE, true).to_string().as_bytes()).await;
    let events = events_of(&reply);
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds[kinds.len() - 3..],
        ["content_block_stop", "message_delta", "message_stop"],
        "{kinds:?}"
    );
    assert!(events[0]["message"]["id"].as_str().unwrap().starts_with("msg_"));
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 0);
    assert!(events[events.len() - 2]["usage"]["output_tokens"].is_u64());
}

fn thinking(signature: &str) -> Value {
    json!({"type": "thinking", "thinking": "hm", "signature": signature})
}

fn call() -> Value {
    json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}})
}

/// The second turn of a tool loop whose first answer had this content.
fn second_turn(content: Value) -> Value {
    json!({
        "model": CLAUDE, "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [
            {"role": "user", "content": "Say hello."}, {"role": "assistant", "content": content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "x"}]}
        ]
    })
}

#[tokio::test]
async fn thinking_is_remembered_restored_and_left_out() {
    let mut first = message(json!([thinking("c2ln"), call()]));
    first["stop_reason"] = json!("tool_use");
    let refused = raw(
        "400 Bad Request",
        "",
        r#"{"type":"error","error":{"type":"invalid_request_error","message":"messages.1.content.0: Invalid `signature` in `thinking` block"}}"#,
    );
    let good = whole("200 OK", &message(json!([{"type": "text", "text": "Done."}])));
    let (upstream, gateway) =
        claude(vec![whole("200 OK", &first), good.clone(), good.clone(), refused, good]).await;
    assert_eq!(ask(&gateway, &question(CLAUDE, false)).await.status, 200);
    let content = |at: usize| upstream.bodies()[at]["messages"][1]["content"].clone();
    // The caller drops the thinking.
    assert_eq!(ask(&gateway, &second_turn(json!([call()]))).await.status, 200);
    assert_eq!(content(1), json!([thinking("c2ln"), call()]));
    // The thinking of another family, with an id that the API refuses.
    let mut foreign = second_turn(
        json!([thinking("google-gemini-v1:c2ln"), {"type": "tool_use", "id": "call_x|y.0", "name": "g", "input": {}}]),
    );
    foreign["messages"][2]["content"][0]["tool_use_id"] = json!("call_x|y.0");
    let reply = ask(&gateway, &foreign).await;
    let sent = &upstream.bodies()[2]["messages"];
    assert_eq!(sent[1]["content"].as_array().unwrap().len(), 1);
    assert_eq!(sent[1]["content"][0]["id"], sent[2]["content"][0]["tool_use_id"]);
    assert!(
        sent[1]["content"][0]["id"]
            .as_str()
            .unwrap()
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    );
    assert_eq!(reply.at("/llmgateway/losses/0/field"), "messages[1].content[0]");
    // The provider refuses the thinking: one more request without it.
    let mut other = call();
    other["name"] = json!("h");
    let reply = ask(&gateway, &second_turn(json!([thinking("b3RoZXI="), other.clone()]))).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let last = upstream.bodies().pop().unwrap();
    assert_eq!((&last["messages"][1]["content"], last.get("thinking")), (&json!([other]), None));
    assert_eq!(reply.at("/llmgateway/losses/0/action"), "dropped");
}

#[tokio::test]
async fn a_request_for_another_generation_is_translated() {
    let (upstream, gateway) =
        claude(vec![whole("200 OK", &message(json!([{"type": "text", "text": "Done."}])))]).await;
    let mut body = question(CLAUDE, false);
    body["thinking"] = json!({"type": "adaptive"});
    body["max_tokens"] = json!(40000);
    assert_eq!(ask(&gateway, &body).await.status, 200);
    assert_eq!(upstream.bodies()[0]["thinking"]["type"], "enabled");
}

// ------------------------------------------------------------------------------------------- counts and lists

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_estimated() {
    let path = "/v1/messages/count_tokens";
    let (upstream, gateway) =
        claude(vec![whole("200 OK", &json!({"input_tokens": 17})), error("500 Broken")]).await;
    let body = json!({"model": CLAUDE, "max_tokens": 9, "messages": [{"role": "user", "content": "Say hello."}], "tools": []});
    let text = body.to_string();
    let reply = gateway.post(path, text.as_bytes()).await;
    assert_eq!((reply.status, reply.at("/input_tokens")), (200, json!(17)), "{}", reply.text());
    assert_eq!(
        (reply.header("x-llmgateway-count"), reply.at("/llmgateway/count")),
        (Some("exact"), json!("exact"))
    );
    let heard = upstream.received().remove(0);
    assert!(heard.head.starts_with("POST /v1/messages/count_tokens "), "{}", heard.head);
    assert!(upstream.bodies()[0].get("max_tokens").is_none());
    let reply = gateway.post(path, text.as_bytes()).await;
    assert_eq!(
        (reply.status, reply.header("x-llmgateway-count")),
        (200, Some("estimate")),
        "{}",
        reply.text()
    );
    assert!(reply.at("/input_tokens").as_u64().unwrap() > 3);
    assert_error(&gateway.post(path, b"{}").await, 400, "invalid_request_error");
    assert!(gateway.records().await.iter().all(|record| record.usage.is_none()));
}

#[tokio::test]
async fn models_are_listed_in_the_shape_of_the_callers_api() {
    let (_upstream, gateway) = claude(vec![answer("never")]).await;
    let get = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n\r\n"
        )
    };
    let first = gateway.send(get("/v1/models?limit=2").as_bytes()).await;
    let list = first.json();
    assert_eq!((list["data"].as_array().unwrap().len(), &list["has_more"]), (2, &json!(true)), "{list}");
    assert_eq!((&list["data"][0]["type"], &list["first_id"]), (&json!("model"), &list["data"][0]["id"]));
    assert!(list["data"][0]["created_at"].as_str().unwrap().ends_with('Z'));
    let last = list["last_id"].as_str().unwrap();
    let next = gateway.send(get(&format!("/v1/models?limit=1000&after_id={last}")).as_bytes()).await.json();
    assert_eq!(next["has_more"], false);
    assert!(next["data"].as_array().unwrap().iter().all(|entry| entry["id"] != list["data"][1]["id"]));
    let one = gateway.send(get(&format!("/v1/models/{last}")).as_bytes()).await;
    assert_eq!(one.json(), list["data"][1]);
    for (path, status) in [("/v1/models?limit=0", 400), ("/v1/models/nothing-such", 404)] {
        assert_eq!(gateway.send(get(path).as_bytes()).await.status, status);
    }
}

/// A request of Claude Code's kind: betas, a mark for later models, an effort for one turn.
fn agentic(model: &str, stream: bool) -> Value {
    json!({
        "model": model, "max_tokens": 2048, "stream": stream, "service_tier": "auto",
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "What is the weather in Paris?", "output_config": {"effort": "low"}}],
        "tools": [{"name": "get_weather", "description": "The weather.", "input_schema": {"type": "object",
            "properties": {"city": {"type": "string"}}}, "eager_input_streaming": true}],
    })
}

#[tokio::test]
async fn claude_on_a_cloud_gets_messages_unchanged() {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), mock::Options::plain()).await.unwrap();
    let at = mock.address();
    let config = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{at}/aws-bedrock\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\n\
         [providers.google-vertex]\nbase_url = \"http://{at}/google-vertex\"\naccess_token = \"t\"\nproject = \"p\"\n\
         [routing]\nmax_retries = 0\n"
    );
    let gateway = TestGateway::start(&config).await;
    let betas = "anthropic-beta: per-turn-control-2026-07-01, skills-2025-10-02\r\n";
    for model in [
        "aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        "google-vertex/claude-sonnet-4-5@20250929",
    ] {
        for stream in [false, true] {
            let body = agentic(model, stream).to_string();
            let request = format!(
                "POST /v1/messages HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\n{betas}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            let reply = gateway.send(request.as_bytes()).await;
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            let text = reply.text();
            for part in ["\"tool_use\"", "get_weather", "\"signature", "thinking"] {
                assert!(text.contains(part), "{model}: no {part} in {text}");
            }
            let losses = if stream {
                reply
                    .events()
                    .into_iter()
                    .find_map(|event| event.pointer("/llmgateway/losses").cloned())
                    .unwrap()
            } else {
                reply.at("/llmgateway/losses")
            };
            let fields: Vec<&str> =
                losses.as_array().unwrap().iter().map(|loss| loss["field"].as_str().unwrap()).collect();
            assert_eq!(fields, ["service_tier", "anthropic-beta: skills-2025-10-02"], "{model}");
            if stream {
                assert!(text.contains("event: message_stop"), "{text}");
            }
        }
    }
    // Features of refused betas are refused by name; the cloud's own refusals get a Messages error.
    let mut mcp = agentic("aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", false);
    mcp["mcp_servers"] = json!([{"type": "url", "url": "https://x.example", "name": "x"}]);
    let reply = gateway.post("/v1/messages", mcp.to_string().as_bytes()).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.text().contains("mcp_servers needs the beta"), "{}", reply.text());
    let mut unknown = agentic("aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0", false);
    unknown["nobody_knows"] = json!(1);
    let reply = gateway.post("/v1/messages", unknown.to_string().as_bytes()).await;
    assert_eq!(
        (reply.status, reply.at("/error/type")),
        (400, json!("invalid_request_error")),
        "{}",
        reply.text()
    );
    mock.stop().await;
}

/// Anthropic's own tool runner begins a thread, and sends the whole conversation after this error code.
#[tokio::test]
async fn threads_are_refused_with_the_code_that_clients_know() {
    let refused = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "thread: no",
        "details": {"error_code": "thread_not_found"}}});
    let (upstream, gateway) = claude(vec![whole("400 Bad Request", &refused)]).await;
    let mut body = question(CLAUDE, false);
    body["thread"] = json!({"type": "create"});
    let reply = ask(&gateway, &body).await;
    assert_eq!((reply.status, reply.at("/error/details/error_code")), (400, json!("thread_not_found")));
    assert_eq!(upstream.bodies()[0]["thread"]["type"], "create");
    let upstream = Upstream::playing(vec![answer("never")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    body["model"] = json!(MODEL);
    let reply = ask(&gateway, &body).await;
    assert_error(&reply, 400, "invalid_request_error");
    assert_eq!(reply.at("/error/details/error_code"), "thread_unsupported_request");
    assert!(upstream.received().is_empty());
    let batches = gateway.post("/v1/messages/batches", b"{}").await;
    assert_error(&batches, 400, "invalid_request_error");
    assert_eq!(batches.at("/error/message"), "No enabled provider serves /v1/messages/batches.");
}

/// Every model takes a document of text: as text where it has no documents.
#[tokio::test]
async fn documents_of_text_are_text_for_models_without_documents() {
    let text = json!({"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Paragraph one."}});
    let pieces = json!({"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "Paragraph two."}]}});
    let pdf = json!({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}});
    let body = |model: &str, document: &Value| {
        json!({"model": model, "max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}], "messages": [
            {"role": "user", "content": [text, {"type": "text", "text": "And this?"}]},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [document]}]},
        ]})
    };
    for (provider, model) in [("cohere", "command-a-03-2025"), ("groq", "llama-3.3-70b-versatile")] {
        let upstream = Upstream::playing(vec![answer("Hello.")]).await;
        let gateway = TestGateway::start(&upstream.known(provider)).await;
        let model = format!("{provider}/{model}");
        drop(gateway.post("/v1/messages", body(&model, &pieces).to_string().as_bytes()).await);
        let heard = upstream.received();
        let sent: Value = serde_json::from_slice(&heard[0].body).unwrap();
        let user = sent["messages"][0]["content"].to_string();
        assert!(user.contains("Paragraph one.") && user.contains("And this?"), "{sent}");
        assert!(sent["messages"][2]["content"].to_string().contains("Paragraph two."), "{sent}");
        let refused = gateway.post("/v1/messages", body(&model, &pdf).to_string().as_bytes()).await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.message().contains("documents"), "{}", refused.text());
    }
}
