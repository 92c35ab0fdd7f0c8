//! Errors: status, type, code and message of each kind.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

use crate::support::{
    KEY, TestGateway, Upstream, answer, connect, error, question, raw, read_head, streamed, whole,
};

const INVALID: &str = "invalid_request_error";

async fn gateway() -> (TestGateway, Upstream) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!(
        "[server]\nbody_limit = \"64KiB\"\n{}{}",
        upstream.known("openai"),
        upstream.known("anthropic").replace("/v1", "")
    );
    (TestGateway::start(&config).await, upstream)
}

#[tokio::test]
async fn a_wrong_field_is_named() {
    let (gateway, upstream) = gateway().await;
    let user = json!([{"role": "user", "content": "hi"}]);
    let cases = [
        (json!({"messages": user}), "model"),
        (json!({"model": 5, "messages": user}), "model"),
        (json!({"model": "openai/gpt-4o"}), "messages"),
        (json!({"model": "openai/gpt-4o", "messages": "hi"}), "messages"),
        (json!({"model": "openai/gpt-4o", "messages": user, "stream": "yes"}), "stream"),
        (json!({"model": "openai/gpt-4o", "messages": user, "provider": 5}), "provider"),
        (json!({"model": "openai/gpt-4o", "messages": user, "routing": "best"}), "routing"),
        (
            json!({"model": "anthropic/claude-sonnet-4-5", "messages": user, "temperature": "hot"}),
            "temperature",
        ),
        (
            json!({"model": "anthropic/claude-sonnet-4-5", "messages": [{"role": "user", "content": 5}]}),
            "messages[0].content",
        ),
    ];
    for (body, param) in cases {
        let reply = gateway.chat(&body).await;
        assert_eq!(
            reply.error(),
            (400, INVALID.into(), "invalid_parameters".into()),
            "{body}: {}",
            reply.text()
        );
        assert_eq!(reply.at("/error/param"), param, "{}", reply.text());
        assert!(reply.message().contains(param.split(['[', '.']).next().unwrap()), "{}", reply.text());
    }
    for text in ["", "{", "nonsense", "[]", "null", "\"text\"", "{\"model\":\"openai/gpt-4o\",}"] {
        let reply = gateway.chat_bytes(text.as_bytes()).await;
        assert_eq!(
            reply.error(),
            (400, INVALID.into(), "invalid_parameters".into()),
            "{text}: {}",
            reply.text()
        );
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn a_feature_that_the_provider_lacks_is_refused() {
    let (gateway, upstream) = gateway().await;
    let mut body = question("anthropic/claude-sonnet-4-5");
    body["n"] = json!(2);
    let reply = gateway.chat(&body).await;
    assert_eq!(reply.error(), (400, INVALID.into(), "unsupported_feature".into()), "{}", reply.text());
    assert_eq!(reply.at("/error/param"), "n");
    let mut body = question("anthropic/claude-sonnet-4-5");
    body["seed"] = json!(7);
    let reply = gateway.chat_with(&[("x-llmgateway-strict", "true")], &body).await;
    assert_eq!(reply.error(), (400, INVALID.into(), "unsupported_feature".into()), "{}", reply.text());
    assert_eq!(reply.at("/error/param"), "seed");
    body["provider"] = json!({"require_parameters": true});
    let reply = gateway.chat(&body).await;
    assert_eq!(reply.error(), (400, INVALID.into(), "unsupported_feature".into()), "{}", reply.text());
    assert!(reply.message().contains("provider.require_parameters is set"), "{}", reply.text());
    assert!(upstream.received().is_empty());
    body["models"] = json!(["openai/gpt-4o"]);
    let reply = gateway.chat(&body).await;
    assert_eq!(
        (reply.status, reply.at("/metadata/used_provider")),
        (200, json!("openai")),
        "{}",
        reply.text()
    );
}

#[tokio::test]
async fn unknown_names_get_suggestions() {
    let (gateway, _upstream) = gateway().await;
    for (model, near) in [
        ("gpt-4o-mimi", "gpt-4o-mini"),
        ("opnai/gpt-4o", "openai"),
        ("groq/llama-3.3-70b-versatile", "GROQ_API_KEY is not set"),
        ("openai/", "missing"),
    ] {
        let reply = gateway.chat(&question(model)).await;
        assert_eq!(reply.error(), (404, INVALID.into(), "model_not_found".into()), "{}", reply.text());
        assert!(reply.message().contains(near), "{near}: {}", reply.text());
        assert_eq!(reply.at("/error/param"), "model");
    }
}

#[tokio::test]
async fn keys_are_checked_before_the_body_is_read() {
    let (gateway, _upstream) = gateway().await;
    for key in ["", "authorization: Bearer wrong\r\n", "authorization: Basic abc\r\n", "x-api-key: wrong\r\n"]
    {
        // A long body is announced and never sent. A gateway that waited for it would not answer.
        let head =
            format!("POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\n{key}content-length: 60000\r\n\r\n");
        let reply = gateway.send(head.as_bytes()).await;
        assert_eq!(reply.error(), (401, "authentication_error".into(), "invalid_api_key".into()), "{key}");
    }
    for headers in [[("authorization", format!("bEaReR {KEY}"))], [("x-api-key", KEY.to_owned())]] {
        let [(name, value)] = &headers;
        let mut sent = vec![(*name, value.as_str())];
        if *name == "x-api-key" {
            sent.push(("authorization", ""));
        }
        assert_eq!(gateway.chat_with(&sent, &question("openai/gpt-4o")).await.status, 200, "{name}");
    }
    for path in ["/v1/models", "/v1/models/gpt-4o", "/v1/routing"] {
        let reply = gateway.send(format!("GET {path} HTTP/1.1\r\nhost: g\r\n\r\n").as_bytes()).await;
        assert_eq!(reply.status, 401, "{path}");
    }
    assert_eq!(gateway.get("/v1/routing").await.error().0, 403);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_answer_can_be_read() {
    let (gateway, _upstream) = gateway().await;
    let text = "x".repeat(1 << 20);
    let mut body = question("openai/gpt-4o");
    body["messages"][0]["content"] = json!(text);
    let reply = gateway.chat(&body).await;
    assert_eq!(reply.error(), (413, INVALID.into(), "request_too_large".into()));

    let mut socket = connect(gateway.address).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len()).as_bytes()).await.unwrap();
    let reply = read_head(socket).await.rest().await;
    assert_eq!(
        reply.error(),
        (413, INVALID.into(), "request_too_large".into()),
        "without an announced length"
    );
}

#[tokio::test]
async fn other_content_types_routes_and_methods_are_refused() {
    let (gateway, _upstream) = gateway().await;
    let reply = gateway.chat_with(&[("content-type", "image/png")], &question("openai/gpt-4o")).await;
    assert_eq!(reply.error(), (415, INVALID.into(), "unsupported_media_type".into()));
    assert!(reply.message().contains("application/json"));
    assert_eq!(gateway.get("/v1/nothing").await.error(), (404, INVALID.into(), "not_found".into()));
    assert_eq!(gateway.get("/v1/chat/completions").await.error().0, 405);
    assert_eq!(gateway.get("/health").await.status, 200);
    assert_eq!(gateway.get("/ready").await.status, 200);
}

/// A gateway that tries once.
async fn once(upstream: &Upstream) -> TestGateway {
    let config = upstream.provider("one", "openai-chat") + "[routing]\nmax_retries = 0\n";
    TestGateway::start(&config).await
}

#[tokio::test]
async fn a_providers_error_keeps_its_status() {
    let statuses = [
        ("400 Bad Request", 400),
        ("404 Not Found", 404),
        ("422 Unprocessable Entity", 422),
        ("429 Too Many Requests", 429),
        ("500 Internal Server Error", 500),
        ("503 Service Unavailable", 503),
        ("529 Overloaded", 529),
    ];
    for (line, status) in statuses {
        let upstream = Upstream::playing(vec![error(line)]).await;
        let gateway = once(&upstream).await;
        for body in [question("one/any"), streamed("one/any")] {
            let reply = gateway.chat(&body).await;
            assert_eq!(reply.status, status, "{}", reply.text());
            assert!(reply.message().contains(&format!("status {line}")), "{}", reply.text());
            assert_eq!(reply.at("/metadata/routing/0/status_code"), status, "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn a_wait_that_the_provider_asks_for_is_passed_on() {
    let body = json!({"error": {"message": "slow down", "type": "requests", "code": "rate_limit_exceeded"}});
    let reply = raw(
        "429 Too Many Requests",
        "content-type: application/json\r\nretry-after: 33\r\n",
        body.to_string(),
    );
    let upstream = Upstream::playing(vec![reply]).await;
    let gateway = once(&upstream).await;
    let reply = gateway.chat(&question("one/any")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("33")));
    assert_eq!(reply.routing(), ["one 429 rate_limit"]);
}

#[tokio::test]
async fn broken_answers_are_bad_gateways() {
    let json = "content-type: application/json\r\n";
    let choiceless = json!({"id": "x", "object": "chat.completion", "choices": []});
    let inside = json!({"error": {"message": "Overloaded inside.", "type": "server_error", "code": null}});
    let answers: [(&str, Vec<u8>); 8] = [
        ("a page with 502", raw("502 Bad Gateway", "content-type: text/html\r\n", "<html>502</html>")),
        ("a page with 200", raw("200 OK", "content-type: text/html\r\n", "<html>hello</html>")),
        ("nothing", raw("200 OK", json, "")),
        ("half of it", raw("200 OK", json, "{\"id\": \"chatcmpl-1\", \"choi")),
        ("no object", raw("200 OK", json, "[1, 2]")),
        ("no choices", whole("200 OK", &choiceless)),
        ("an error inside", whole("200 OK", &inside)),
        ("a redirect", raw("307 Temporary Redirect", "location: http://127.0.0.1:1/\r\n", "")),
    ];
    for (name, answer) in answers {
        let upstream = Upstream::playing(vec![answer]).await;
        let gateway = once(&upstream).await;
        let reply = gateway.chat(&question("one/any")).await;
        assert_eq!(reply.status, 502, "{name}: {}", reply.text());
        assert!(reply.at("/error/type").is_string(), "{name}: {}", reply.text());
        assert_eq!(reply.routing().len(), 1, "{name}");
        assert_eq!(gateway.record().await.cost, Some(canon::Cost::default()), "{name}");
    }
}

#[tokio::test]
async fn a_whole_answer_that_is_cut_is_a_bad_gateway() {
    let cut =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n{\"id\":".to_vec();
    let head_only = b"HTTP/1.1 200 OK\r\ncontent-ty".to_vec();
    let garbage = b"SSH-2.0-OpenSSH_9.6\r\n".to_vec();
    for answer in [cut, head_only, garbage] {
        let upstream = Upstream::playing(vec![answer]).await;
        let gateway = once(&upstream).await;
        let reply = gateway.chat(&question("one/any")).await;
        assert_eq!(
            reply.error(),
            (502, "upstream_error".into(), "upstream_error".into()),
            "{}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn a_provider_that_is_not_there_is_a_bad_gateway() {
    // Bound but not listening. If the port were free, another test's server could get it.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = socket.local_addr().unwrap();
    let config = format!(
        "[providers.one]\nprotocol = \"openai-chat\"\nbase_url = \"http://{address}/v1\"\n[routing]\nmax_retries = 0\n"
    );
    let gateway = TestGateway::start(&config).await;
    let reply = gateway.chat(&question("one/any")).await;
    assert_eq!(reply.error(), (502, "upstream_error".into(), "upstream_error".into()), "{}", reply.text());
    assert_eq!(reply.routing(), ["one 0 upstream_error"]);
    let metadata = reply.at("/metadata");
    assert_eq!(metadata["requested_model"], "one/any");
    assert_ne!(metadata["request_id"], Value::Null);
}
