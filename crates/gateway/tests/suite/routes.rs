//! Routes: paths, methods, access, and CORS.

use serde_json::json;

use crate::support::{KEY, Reply, TestGateway, Upstream, answer, question};

async fn gateway(server: &str) -> (TestGateway, Upstream) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("[server]\n{server}\n{}", upstream.known("openai"));
    (TestGateway::start(&config).await, upstream)
}

async fn request(gateway: &TestGateway, line: &str, headers: &str) -> Reply {
    gateway.send(format!("{line} HTTP/1.1\r\nhost: g\r\n{headers}\r\n").as_bytes()).await
}

fn with_key(headers: &str) -> String {
    format!("authorization: Bearer {KEY}\r\n{headers}")
}

/// Codex tries a WebSocket first. Any other status makes it try seven times before it falls back.
#[tokio::test]
async fn a_websocket_is_declined_so_that_clients_fall_back_at_once() {
    let (gateway, _upstream) = gateway("").await;
    let upgrade = "connection: Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nopenai-beta: responses_websockets=2026-02-06\r\n";
    for headers in [with_key(upgrade), upgrade.to_owned()] {
        let reply = request(&gateway, "GET /v1/responses", &headers).await;
        assert_eq!((reply.status, reply.header("allow")), (426, Some("POST, OPTIONS")), "{}", reply.text());
        assert_eq!(reply.at("/error/type"), "invalid_request_error");
        assert!(reply.message().contains("websocket"), "{}", reply.text());
        assert_eq!(reply.header("upgrade"), Some("HTTP/1.1"));
    }
    let plain = request(&gateway, "GET /v1/responses", &with_key("")).await;
    assert_eq!(plain.status, 405);
    let elsewhere = request(&gateway, "GET /v1/models", &with_key(upgrade)).await;
    assert_eq!(elsewhere.status, 200, "an upgrade may be ignored");
}

#[tokio::test]
async fn a_wrong_method_is_refused_with_the_allowed_ones() {
    let (gateway, _upstream) = gateway("").await;
    for (line, allow) in [
        ("GET /v1/chat/completions", "POST, OPTIONS"),
        ("PUT /v1/chat/completions", "POST, OPTIONS"),
        ("DELETE /v1/models", "GET, HEAD, OPTIONS"),
        ("PUT /health", "GET, HEAD, OPTIONS"),
    ] {
        let reply = request(&gateway, line, "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, Some(allow)), "{line}");
        assert!(reply.message().contains(allow), "{line}: {}", reply.text());
        assert!(reply.header("x-request-id").is_some());
    }
    let reply = request(&gateway, "OPTIONS /v1/models", "").await;
    assert_eq!((reply.status, reply.header("allow")), (200, Some("GET, HEAD, OPTIONS")));
    assert_eq!(reply.header("content-length"), Some("0"));
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let (gateway, _upstream) = gateway("").await;
    for path in ["/health", "/ready", "/metrics", "/", "/v1/models", "/v1/models/gpt-4o"] {
        let get = request(&gateway, &format!("GET {path}"), &with_key("")).await;
        // The client of these tests would wait for a body of the announced length.
        let head = crate::support::head_of(&gateway, path).await;
        assert_eq!(get.status, 200, "{path}");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
        let length = get.header("content-length").unwrap();
        if path != "/metrics" {
            assert!(head.contains(&format!("content-length: {length}\r\n")), "{path}: {head}");
        }
        assert!(head.ends_with("\r\n\r\n"), "{path}: {head}");
    }
    assert_eq!(request(&gateway, "HEAD /v1/chat/completions", "connection: close\r\n").await.status, 405);
}

#[tokio::test]
async fn exactly_one_valid_host_is_required() {
    let (gateway, _upstream) = gateway("").await;
    for head in [
        "GET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: a, b\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: u@a\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost:\r\n\r\n",
    ] {
        let reply = gateway.send(head.as_bytes()).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!("host")), "{head}");
    }
    assert_eq!(gateway.send(b"GET /health HTTP/1.0\r\n\r\n").await.status, 200);
}

#[tokio::test]
async fn api_paths_accept_extra_slashes_and_other_paths_have_one_spelling() {
    let (gateway, _upstream) = gateway("").await;
    let body = question("openai/gpt-4o").to_string();
    for path in ["/v1//chat/completions", "/v1/chat/completions/", "//v1/chat/completions"] {
        let head = with_key(&format!("content-length: {}\r\n", body.len()));
        let text = format!("POST {path} HTTP/1.1\r\nhost: g\r\n{head}\r\n{body}");
        assert_eq!(gateway.send(text.as_bytes()).await.status, 200, "{path}");
    }
    for path in
        ["/metrics/", "//metrics", "/ready/", "/v1/../metrics", "/Metrics", "/%6detrics", "/metrics%2f"]
    {
        assert_eq!(request(&gateway, &format!("GET {path}"), "").await.error().0, 404, "{path}");
    }
}

#[tokio::test]
async fn a_models_id_may_be_escaped() {
    let (gateway, _upstream) = gateway("").await;
    let models = request(&gateway, "GET /v1/models", &with_key("")).await;
    let id = models.at("/data/0/id").as_str().unwrap().to_owned();
    let escaped: String = id.bytes().map(|byte| format!("%{byte:02X}")).collect();
    for path in [format!("/v1/models/{id}"), format!("/v1/models/{escaped}"), format!("/v1//models/{id}/")] {
        let reply = request(&gateway, &format!("GET {path}"), &with_key("")).await;
        assert_eq!((reply.status, reply.at("/id")), (200, json!(id)), "{path}");
    }
    assert_eq!(request(&gateway, "GET /v1/models/%ff", &with_key("")).await.error().0, 400);
}

#[tokio::test]
async fn unserved_endpoints_are_refused_by_name() {
    let (gateway, _upstream) = gateway("").await;
    for line in
        ["POST /v1/videos", "POST /v1/videos/", "POST /v1/images/variations", "GET /v1/videos/video-1"]
    {
        let reply = request(&gateway, line, "").await;
        assert_eq!(
            reply.error(),
            (404, "invalid_request_error".into(), "not_found".into()),
            "{line}: {}",
            reply.text()
        );
        let name = line.trim_end_matches('/');
        assert!(reply.message().contains(&format!("{name} is not served")), "{line}: {}", reply.text());
    }
    let long = format!("GET /{}", "x".repeat(5000));
    assert!(request(&gateway, &long, "").await.text().len() < 1000);
}

#[tokio::test]
async fn keys_are_read_from_every_header_that_clients_use() {
    let (gateway, _upstream) = gateway("").await;
    for headers in [
        format!("authorization: bearer {KEY}\r\n"),
        format!("x-api-key: {KEY}\r\n"),
        format!("api-key: {KEY}\r\n"),
        format!("x-goog-api-key: {KEY}\r\n"),
    ] {
        assert_eq!(request(&gateway, "GET /v1/models", &headers).await.status, 200, "{headers}");
    }
    assert_eq!(request(&gateway, &format!("GET /v1/models?key={KEY}"), "").await.status, 200);
    let reply = request(&gateway, "GET /v1/models?key=wrong-key-in-url", "").await;
    assert_eq!(reply.status, 401);
    assert!(!reply.text().contains("wrong-key-in-url"));
}

#[tokio::test]
async fn pages_of_listed_origins_may_call() {
    let (gateway, _upstream) = gateway("cors_origins = [\"https://app.example\"]").await;
    let asked = "origin: https://app.example\r\naccess-control-request-method: POST\r\n\
                 access-control-request-headers: authorization,content-type\r\n";
    let reply = request(&gateway, "OPTIONS /v1/chat/completions", asked).await;
    assert_eq!((reply.status, reply.header("content-length")), (200, Some("0")));
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example"),
        ("access-control-allow-methods", "POST, OPTIONS"),
        ("access-control-allow-headers", "authorization,content-type"),
    ] {
        assert_eq!(reply.header(name), Some(value));
    }
    let origin = "origin: https://app.example\r\n";
    for (line, headers) in [("GET /v1/models", with_key(origin)), ("GET /v1/models", origin.to_owned())] {
        let reply = request(&gateway, line, &headers).await;
        assert_eq!(reply.header("access-control-allow-origin"), Some("https://app.example"));
        assert!(reply.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    }
    let other = asked.replace("app.example", "evil.example");
    let reply = request(&gateway, "OPTIONS /v1/chat/completions", &other).await;
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn an_unknown_value_of_a_switch_is_refused() {
    let (gateway, upstream) = gateway("").await;
    for name in ["x-llmgateway-strict", "x-llmgateway-explain", "x-no-fallback"] {
        let reply = gateway.chat_with(&[(name, "banana")], &question("openai/gpt-4o")).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(name)), "{}", reply.text());
        assert!(reply.message().contains(name));
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn the_openapi_document_needs_no_key() {
    let (gateway, _upstream) = gateway("").await;
    let reply = request(&gateway, "GET /openapi.json", "").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let document: serde_json::Value = serde_json::from_str(&reply.text()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    assert!(document["paths"]["/v1/messages"]["post"]["requestBody"].is_object());
}
