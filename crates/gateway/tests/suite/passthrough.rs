//! Providers' own APIs: what is forwarded, what is withheld, what is metered, and which keys may use them.

use canon::{Pico, Usage};
use serde_json::{Value, json};
use store::UsageRecord;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    Reply, TestGateway, Upstream, advance_seconds, answer, answer_of, assert_late, chunk, connect, error,
    events, raw, send, stream_head, stream_of, whole, with_held_clock,
};

/// A configuration with a key that may use them, in a project of this policy.
fn config(providers: &str, policy: &str) -> String {
    format!(
        "{providers}[projects.a]\n{policy}\n\
         [[projects.a.keys]]\nname = \"native\"\nkey = \"native-key\"\nroles = [\"passthrough\"]\n"
    )
}

async fn openai(upstream: &Upstream) -> TestGateway {
    TestGateway::start(&config(&upstream.known("openai"), "")).await
}

/// Sends a request with these lines in the head.
async fn ask(gateway: &TestGateway, line: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "{line} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer native-key\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n",
        body.len()
    );
    send(gateway.address, &[head.as_bytes(), body].concat()).await
}

async fn post(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    ask(gateway, &format!("POST {path}"), "content-type: application/json\r\n", body.to_string().as_bytes())
        .await
}

fn question(model: &str) -> Value {
    json!({"messages": [{"role": "user", "content": "Say hello."}], "model": model, "max_tokens": 100})
}

fn cost(record: &UsageRecord) -> Option<Pico> {
    record.cost.map(|cost| cost.total)
}

fn pico(value: i64) -> Option<Pico> {
    Some(Pico(value))
}

#[tokio::test]
async fn a_request_is_forwarded_with_the_gateway_s_credential_and_the_answer_is_relayed_unchanged() {
    let body = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop");
    let body = format!(" {body}\n");
    let headers = "content-type: application/json\r\nx-ratelimit-remaining-requests: 7\r\nset-cookie: a=b\r\n\
                   openai-organization: ours\r\naccess-control-allow-origin: *\r\nx-request-id: req_provider\r\n";
    let upstream = Upstream::playing(vec![raw("200 OK", headers, &body)]).await;
    let gateway = openai(&upstream).await;
    let sent = br#"{ "messages":[{"role":"user","content":"Say hello."}],"model" : "gpt-4o-mini","own":1e3, "max_tokens":9 }"#;
    let given = "content-type: application/json\r\nx-api-key: native-key\r\napi-key: k\r\ncookie: c=1\r\n\
                 openai-beta: assistants=v2\r\nx-own: 1\r\nx-own: 2\r\nx-llmgateway-tags: team=a\r\nx-hop: 1\r\n\
                 connection: x-hop\r\nopenai-organization: theirs\r\nx-forwarded-for: 1.2.3.4\r\naccept-encoding: gzip\r\n";
    let path = "POST /p/openai/v1/chat/completions?api-version=1&key=native-key&x=%2F";
    let reply = ask(&gateway, path, given, sent).await;
    assert_eq!((reply.status, reply.text()), (200, body.clone()));
    let heard = &upstream.received()[0];
    assert_eq!(heard.body, sent);
    assert!(
        heard.head.starts_with("POST /v1/chat/completions?api-version=1&x=%2F HTTP/1.1"),
        "{}",
        heard.head
    );
    assert_eq!(heard.header("authorization"), Some("Bearer openai-key"));
    assert_eq!(heard.header("openai-beta"), Some("assistants=v2"));
    assert_eq!(heard.head.matches("x-own:").count(), 2);
    let kept_back = [
        "x-api-key",
        "api-key",
        "cookie",
        "x-llmgateway-tags",
        "x-hop",
        "openai-organization",
        "x-forwarded-for",
    ];
    for name in kept_back {
        assert_eq!(heard.header(name), None, "{name}");
    }
    assert_eq!(heard.header("accept-encoding"), Some("identity"));
    assert_eq!(reply.header("x-ratelimit-remaining-requests"), Some("7"));
    for name in ["set-cookie", "openai-organization", "access-control-allow-origin"] {
        assert_eq!(reply.header(name), None, "{name}");
    }
    assert_eq!(reply.header("x-llmgateway-provider"), Some("openai"));
    assert_ne!(reply.header("x-request-id"), Some("req_provider"));
    let record = gateway.record().await;
    assert_eq!(record.operation.as_deref(), Some("passthrough"));
    assert_eq!(record.used_model.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(record.requested_provider.as_deref(), Some("openai"));
    assert_eq!(record.usage, Some(Usage { input: 6, cache_read: 4, output: 5, ..Usage::default() }));
    assert_eq!(cost(&record), pico(6 * 150_000 + 4 * 75_000 + 5 * 600_000));
    assert_eq!(record.tags.get("team").map(String::as_str), Some("a"));
    assert_eq!(record.attempts[0].provider_request_id.as_deref(), Some("req_provider"));
}

#[tokio::test]
async fn passthrough_needs_a_key_with_the_role() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = openai(&upstream).await;
    let body = question("gpt-4o-mini").to_string();
    let reply = gateway.post("/p/openai/v1/chat/completions", body.as_bytes()).await;
    assert_eq!((reply.status, reply.at("/error/type")), (403, json!("permission_error")));
    assert!(reply.at("/error/message").as_str().unwrap().contains("\"passthrough\""));
    // The role allows nothing else.
    let reply = post(&gateway, "/v1/chat/completions", &question("openai/gpt-4o-mini")).await;
    assert_eq!(reply.status, 403);
    assert!(upstream.received().is_empty());
    assert!(gateway.records().await.is_empty());
}

#[tokio::test]
async fn a_stream_is_relayed_unchanged_and_metered() {
    let stream = stream_of(&["Hel", "lo."]);
    let expected = stream[stream_head().len()..].to_vec();
    let upstream = Upstream::playing(vec![stream]).await;
    let gateway = openai(&upstream).await;
    let mut body = question("gpt-4o-mini");
    body["stream"] = json!(true);
    let reply = post(&gateway, "/p/openai/v1/chat/completions", &body).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/event-stream")));
    assert!(reply.body == expected, "{}", reply.text());
    let record = gateway.record().await;
    assert!(record.streamed);
    assert_eq!(record.usage, Some(Usage { input: 10, output: 5, ..Usage::default() }));
    assert_eq!(cost(&record), pico(10 * 150_000 + 5 * 600_000));
}

#[tokio::test]
async fn a_broken_stream_is_recorded_as_broken() {
    let broken =
        json!({"error": {"message": "overloaded", "type": "server_error", "code": null, "param": null}});
    let begun = chunk(json!({"role": "assistant", "content": "Hel"}), None);
    for (last, kind) in [(String::new(), "upstream_error"), (format!("data: {broken}\n\n"), "")] {
        let stream = events(&[begun.clone(), last.clone()]);
        let upstream = Upstream::playing(vec![stream]).await;
        let gateway = openai(&upstream).await;
        let mut body = question("gpt-4o-mini");
        body["stream"] = json!(true);
        let reply = post(&gateway, "/p/openai/v1/chat/completions", &body).await;
        assert_eq!((reply.status, reply.text()), (200, format!("{begun}{last}")));
        assert!(!reply.complete);
        let record = gateway.record().await;
        let found = record.error_kind.unwrap();
        assert!(kind.is_empty() || found == kind, "{found}");
        assert_eq!(record.attempts[0].error_type, found);
    }
}

#[tokio::test]
async fn other_formats_are_metered_too() {
    let messages = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-20251001",
        "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn", "stop_sequence": null,
        "usage": {"input_tokens": 10, "output_tokens": 5}
    });
    let gemini = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "gemini-2.5-flash"
    });
    let responses = json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-4o-mini",
        "output": [{"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Hello.", "annotations": []}]}],
        "usage": {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}
    });
    let vectors = json!({
        "object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5, -1]}],
        "model": "text-embedding-3-small", "usage": {"prompt_tokens": 10, "total_tokens": 10}
    });
    let prompt = json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]});
    let of_claude = json!({"model": "claude-haiku-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]});
    let key = ("anthropic", "x-api-key");
    for (provider, header, path, body, answer, tokens) in [
        (key.0, key.1, "/v1/messages", of_claude, &messages, (10, 5)),
        (
            "google-ai-studio",
            "x-goog-api-key",
            "/v1beta/models/gemini-2.5-flash:generateContent",
            prompt,
            &gemini,
            (10, 5),
        ),
        (
            "openai",
            "authorization",
            "/v1/responses",
            json!({"model": "gpt-4o-mini", "input": "Hi."}),
            &responses,
            (10, 5),
        ),
        (
            "openai",
            "authorization",
            "/v1/embeddings",
            json!({"model": "text-embedding-3-small", "input": "Hi."}),
            &vectors,
            (10, 0),
        ),
    ] {
        let upstream = Upstream::playing(vec![whole("200 OK", answer)]).await;
        let provider_section =
            format!("[providers.{provider}]\nbase_url = \"{}\"\napi_key = \"its-key\"\n", upstream.url());
        let gateway =
            TestGateway::start(&config(&provider_section, "budgets = [{ usd = \"1\", per = \"day\" }]"))
                .await;
        let reply = post(&gateway, &format!("/p/{provider}{path}"), &body).await;
        assert_eq!((reply.status, reply.json()), (200, answer.clone()), "{path}");
        let heard = &upstream.received()[0];
        assert!(heard.head.starts_with(&format!("POST {path} ")), "{}", heard.head);
        assert!(heard.header(header).unwrap().ends_with("its-key"));
        let record = gateway.record().await;
        let usage = record.usage.unwrap();
        assert_eq!((usage.input, usage.output), tokens, "{path}");
        assert!(cost(&record).is_some_and(|cost| cost > Pico::ZERO), "{path}");
    }
}

#[tokio::test]
async fn every_method_is_forwarded_and_an_unmetered_answer_has_no_cost() {
    let upstream = Upstream::playing(vec![
        whole("200 OK", &json!({"object": "list", "data": []})),
        raw("204 No Content", "", ""),
        raw("302 Found", "location: https://elsewhere.test/x\r\n", "moved"),
        whole("201 Created", &json!({"id": "file-1"})),
        raw("200 OK", "content-type: application/octet-stream\r\n", b"\xff\x00\xfe"),
        raw("200 OK", "x-a: 1\r\n", ""),
    ])
    .await;
    let gateway = openai(&upstream).await;
    let marked = b"\xef\xbb\xbfa,b\n".as_slice();
    let mut statuses = Vec::new();
    for (line, body, expected) in [
        ("GET /p/openai/v1/files?limit=2", b"".as_slice(), 200),
        ("DELETE /p/openai/v1/files/file-1", b"", 204),
        ("PATCH /p/openai/v1/x", b"{}", 302),
        ("PUT /p/openai/v1/files", marked, 201),
        ("GET /p/openai/v1/files/file-1/content", b"", 200),
        ("HEAD /p/openai/v1/files", b"", 200),
    ] {
        let reply = ask(&gateway, line, "", body).await;
        assert_eq!(reply.status, expected, "{line}: {:?}", reply.body);
        statuses.push(expected);
        match line {
            "PATCH /p/openai/v1/x" => assert_eq!(reply.header("location"), Some("https://elsewhere.test/x")),
            "GET /p/openai/v1/files/file-1/content" => assert_eq!(reply.body, b"\xff\x00\xfe"),
            _ => {}
        }
    }
    let heard = upstream.received();
    assert_eq!(heard.len(), 6, "a redirect is not followed");
    assert!(heard[0].head.starts_with("GET /v1/files?limit=2 "));
    assert_eq!(heard[3].body, marked);
    let records = gateway.records().await;
    let found: Vec<u16> = records.iter().map(|record| record.status).collect();
    assert_eq!(found, statuses);
    assert!(
        records.iter().all(|record| record.cost.is_none() && record.error_kind.is_none()),
        "{records:#?}"
    );
}

#[tokio::test]
async fn a_refusal_is_relayed_unchanged_except_for_secrets() {
    let refusal = json!({"error": {"message": "No such file: openai-key and openai-key", "own": [1]}});
    let upstream = Upstream::playing(vec![whole("404 Not Found", &refusal)]).await;
    let gateway =
        TestGateway::start(&config(&upstream.known("openai").replace("openai-key", "sk-openai-secret"), ""))
            .await;
    let reply = ask(&gateway, "GET /p/openai/v1/files/x", "", b"").await;
    assert_eq!((reply.status, reply.at("/error/own")), (404, json!([1])));
    let record = gateway.record().await;
    assert_eq!((record.status, cost(&record)), (404, Some(Pico::ZERO)));
    assert_eq!(record.attempts.len(), 1);

    let echo = json!({"error": {"message": "Bad key sk-openai-secret."}});
    let upstream = Upstream::playing(vec![whole("400 Bad Request", &echo)]).await;
    let gateway =
        TestGateway::start(&config(&upstream.known("openai").replace("openai-key", "sk-openai-secret"), ""))
            .await;
    let reply = ask(&gateway, "GET /p/openai/v1/x", "", b"").await;
    assert_eq!(reply.status, 400);
    assert!(!reply.text().contains("secret"), "{}", reply.text());

    // A refused key belongs to the gateway, not to the caller.
    let upstream = Upstream::playing(vec![error("401 Unauthorized")]).await;
    let gateway = openai(&upstream).await;
    let reply = ask(&gateway, "GET /p/openai/v1/x", "", b"").await;
    assert_eq!(reply.status, 502, "{}", reply.text());
}

#[tokio::test]
async fn another_key_is_tried_if_the_provider_has_done_nothing_yet() {
    let keys = |upstream: &Upstream| {
        format!(
            "[providers.openai]\nbase_url = \"{}/v1\"\napi_keys = [\"key-a\", \"key-b\"]\n",
            upstream.url()
        )
    };
    for (status, path, attempts) in [
        ("429 Too Many Requests", "/v1/batches", 2),
        ("500 Internal Server Error", "/v1/batches", 1),
        ("500 Internal Server Error", "/v1/chat/completions", 2),
    ] {
        let upstream = Upstream::playing(vec![error(status), answer("Hello.")]).await;
        let gateway = TestGateway::start(&config(&keys(&upstream), "")).await;
        let reply = post(&gateway, &format!("/p/openai{path}"), &question("gpt-4o-mini")).await;
        let expected = if attempts == 2 { 200 } else { 500 };
        assert_eq!(reply.status, expected, "{status} {path}");
        assert_eq!(gateway.record().await.attempts.len(), attempts, "{status} {path}");
    }
}

#[tokio::test]
async fn policies_apply_to_passthrough() {
    let chat = "/p/openai/v1/chat/completions";
    let files = "/p/openai/v1/files";
    for (policy, path, body, status) in [
        ("budgets = [{ usd = \"1\", per = \"day\" }]", chat, question("gpt-4o-mini"), 200),
        ("budgets = [{ usd = \"1\", per = \"day\" }]", chat, question("gpt-nobody-knows"), 403),
        ("budgets = [{ usd = \"1\", per = \"day\" }]", files, json!({}), 403),
        ("budgets = [{ usd = \"1\", per = \"day\" }]\nunpriced = \"allow\"", files, json!({}), 200),
        ("budgets = [{ usd = \"0.0000001\", per = \"day\" }]", chat, question("gpt-4o-mini"), 402),
        ("models = [\"gpt-4o-mini\"]", chat, question("gpt-4o-mini"), 200),
        ("models = [\"gpt-4o-mini\"]", chat, question("gpt-4o"), 403),
        ("models = [\"gpt-4o-mini\"]", files, json!({}), 403),
        ("models = [\"openai/*\"]", files, json!({}), 200),
        ("deny = [\"gpt-4o\"]", files, json!({}), 403),
        ("deny = [\"gpt-4o\"]", "/p/openai/v1/audio/speech", json!({"model": "gpt-4o"}), 403),
        ("deny = [\"gpt-4o\"]", "/p/openai/v1/audio/speech", json!({"model": "tts-1"}), 200),
        ("deny_providers = [\"openai\"]", chat, question("gpt-4o-mini"), 403),
        ("limits = [{ requests = 1, per = \"day\", model = \"gpt-4o\" }]", files, json!({}), 403),
    ] {
        let upstream = Upstream::playing(vec![answer("Hello.")]).await;
        let gateway = TestGateway::start(&config(&upstream.known("openai"), policy)).await;
        let reply = post(&gateway, path, &body).await;
        assert_eq!(reply.status, status, "{policy} {path} {body}: {}", reply.text());
        assert_eq!(upstream.received().len(), usize::from(status == 200));
        let record = gateway.record().await;
        assert_eq!(record.status, status);
    }
    // Of two members with the same name the last one counts, as it does for servers.
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), "models = [\"gpt-4o-mini\"]")).await;
    let body = br#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"Hi."}],"model":"gpt-4o"}"#;
    let reply = ask(&gateway, &format!("POST {chat}"), "content-type: application/json\r\n", body).await;
    assert_eq!(reply.status, 403, "{}", reply.text());
}

#[tokio::test]
async fn request_limits_count_passthrough_requests() {
    let upstream = Upstream::playing(vec![whole("200 OK", &json!({}))]).await;
    let policy = "limits = [{ requests = 2, per = \"day\" }]";
    let gateway = TestGateway::start(&config(&upstream.known("openai"), policy)).await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(ask(&gateway, "GET /p/openai/v1/files", "", b"").await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn a_path_cannot_leave_its_provider() {
    let upstream = Upstream::playing(vec![whole("200 OK", &json!({}))]).await;
    let gateway = openai(&upstream).await;
    for path in
        ["/v1/../admin", "/..", "/v1/%2e%2e/admin", "/v1/.%2E/x", "/v1/%252e%252e/x", "/v1/..%2fx", "/./x"]
    {
        let reply = ask(&gateway, &format!("GET /p/openai{path}"), "", b"").await;
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
    }
    let reply = ask(&gateway, "GET /p/opnai/v1/models", "", b"").await;
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("openai"), "{}", reply.text());
    assert_eq!(ask(&gateway, "GET /p/anthropic/v1/models", "", b"").await.status, 404);
    assert!(upstream.received().is_empty());
    assert_eq!(ask(&gateway, "GET /p/openai", "", b"").await.status, 200);
    assert!(upstream.received()[0].head.starts_with("GET / HTTP/1.1"));
}

#[tokio::test]
async fn a_large_body_is_forwarded_as_a_stream() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = openai(&upstream).await;
    let (mut socket, length) = (connect(gateway.address).await, 3 << 20);
    let head = format!(
        "POST /p/openai/v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer native-key\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: {length}\r\n\r\n"
    );
    let sound: Vec<u8> = (0..length).map(|number| (number * 37 % 251) as u8).collect();
    let writing = async {
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&sound).await.unwrap();
    };
    let serving = async {
        let mut line = upstream.next().await;
        line.send(whole("200 OK", &json!({"id": "file-1"}))).await;
    };
    tokio::join!(writing, serving);
    let heard = &upstream.received()[0];
    assert_eq!(heard.header("content-length"), Some(length.to_string().as_str()));
    assert!(heard.body == sound);
    drop(socket);
    let record = gateway.record().await;
    assert_eq!(record.attempts.len(), 1);
}

#[tokio::test]
async fn a_streamed_body_has_a_deadline() {
    for (pause, setting) in [(31, "server.read_seconds"), (25, "server.body_seconds")] {
        with_held_clock(async move {
            let upstream = Upstream::by_hand().await;
            let server = "[server]\nread_seconds = 30\nbody_seconds = 60\n";
            let gateway = TestGateway::start(&config(&(upstream.known("openai") + server), "")).await;
            let mut caller = connect(gateway.address).await;
            let head = format!(
                "POST /p/openai/v1/files HTTP/1.1\r\nhost: g\r\nauthorization: Bearer native-key\r\ncontent-length: {}\r\n\r\n",
                5 << 20
            );
            caller.write_all(head.as_bytes()).await.unwrap();
            caller.write_all(&[b'x'; 100_000]).await.unwrap();
            for _ in 0..2 {
                advance_seconds(if pause > 30 { 0 } else { 20 }).await;
                caller.write_all(&[b'x'; 100_000]).await.unwrap();
            }
            assert_late(caller, pause, setting).await;
        })
        .await;
    }
}

/// Opens a WebSocket through the gateway. The socket is past the head of the answer.
async fn websocket(gateway: &TestGateway, path: &str, headers: &str) -> (String, TcpStream) {
    let head = format!(
        "GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer native-key\r\nconnection: keep-alive, Upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\
         sec-websocket-extensions: permessage-deflate\r\n{headers}\r\n"
    );
    let mut socket = connect(gateway.address).await;
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.unwrap());
    }
    (String::from_utf8(head).unwrap(), socket)
}

fn switching() -> &'static str {
    "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
     sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nsec-websocket-protocol: realtime\r\n\r\n"
}

/// A text message from a server.
fn frame(text: &str) -> Vec<u8> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&(text.len() as u16).to_be_bytes());
    frame.extend_from_slice(text.as_bytes());
    frame
}

fn turn_done() -> Vec<u8> {
    frame(
        &json!({"type": "response.done", "response": {"usage": {"total_tokens": 15, "input_tokens": 10, "output_tokens": 5,
            "input_token_details": {"text_tokens": 10, "audio_tokens": 0, "cached_tokens": 0},
            "output_token_details": {"text_tokens": 5, "audio_tokens": 0}}}})
        .to_string(),
    )
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_whose_turns_are_metered() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = openai(&upstream).await;
    let protocols = "sec-websocket-protocol: realtime, openai-insecure-api-key.native-key\r\n";
    let opening = websocket(&gateway, "/p/openai/v1/realtime?model=gpt-4o-mini&key=native-key", protocols);
    let serving = async {
        let mut line = upstream.next().await;
        // The first message comes with the head.
        line.send([switching().as_bytes(), &frame("hello")].concat()).await;
        line
    };
    let ((head, mut socket), mut line) = tokio::join!(opening, serving);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let head = head.to_ascii_lowercase();
    for line in [
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "sec-websocket-protocol: realtime",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    let heard = &upstream.received()[0];
    assert!(heard.head.starts_with("GET /v1/realtime?model=gpt-4o-mini HTTP/1.1"), "{}", heard.head);
    assert_eq!(heard.header("authorization"), Some("Bearer openai-key"));
    assert_eq!(heard.header("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(heard.header("sec-websocket-protocol"), Some("realtime"));
    assert_eq!(heard.header("sec-websocket-extensions"), None);
    let mut first = vec![0; frame("hello").len()];
    socket.read_exact(&mut first).await.unwrap();
    assert_eq!(first, frame("hello"));
    let asked = b"\x81\x85maskhello".as_slice();
    socket.write_all(asked).await.unwrap();
    assert_eq!(line.receive(asked.len()).await, asked);
    for _ in 0..2 {
        line.send(turn_done()).await;
        let mut turn = vec![0; turn_done().len()];
        socket.read_exact(&mut turn).await.unwrap();
        assert_eq!(turn, turn_done());
    }
    assert_eq!(gateway.api.pipeline.metering.in_flight(), 1);
    drop(socket);
    line.hung_up().await;
    while gateway.api.pipeline.metering.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let record = gateway.record().await;
    assert_eq!((record.status, record.error_kind.as_deref()), (101, None));
    assert_eq!(record.operation.as_deref(), Some("passthrough"));
    assert_eq!(record.usage, Some(Usage { input: 20, output: 10, ..Usage::default() }));
    assert_eq!(cost(&record), pico(20 * 150_000 + 10 * 600_000));
}

#[tokio::test]
async fn a_tunnel_counts_as_a_concurrent_request_and_ends_with_the_gateway() {
    let mut upstream = Upstream::by_hand().await;
    let config = config(&upstream.known("openai"), "limits = [{ concurrent = 1 }]");
    let gateway = TestGateway::start(&config).await;
    let serving = async {
        let mut line = upstream.next().await;
        line.send(switching()).await;
        line
    };
    let path = "/p/openai/v1/realtime?model=gpt-4o-mini";
    let ((head, mut socket), line) = tokio::join!(websocket(&gateway, path, ""), serving);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (head, _) = websocket(&gateway, path, "").await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let stopping = tokio::spawn(gateway.stop());
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, [0x88, 0x02, 0x03, 0xe9]);
    line.hung_up().await;
    let stopped = stopping.await.unwrap();
    assert_eq!(stopped.cut, 0);
    let statuses: Vec<u16> = stopped.records().await.iter().map(|record| record.status).collect();
    assert_eq!(statuses, [101, 429]);
}

#[tokio::test]
async fn a_provider_s_refusal_of_a_websocket_is_relayed() {
    let refusal = json!({"error": {"message": "No such model.", "type": "invalid_request_error"}});
    let upstream = Upstream::playing(vec![whole("400 Bad Request", &refusal)]).await;
    let gateway = openai(&upstream).await;
    let (head, mut socket) = websocket(&gateway, "/p/openai/v1/realtime?model=x", "").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let mut body = vec![0; refusal.to_string().len()];
    socket.read_exact(&mut body).await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), refusal);
    drop(socket);
    assert_eq!(gateway.record().await.status, 400);
}

#[tokio::test]
async fn a_silent_tunnel_is_closed() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let gateway = openai(&upstream).await;
        let serving = async {
            let mut line = upstream.next().await;
            line.send(switching()).await;
            line
        };
        let path = "/p/openai/v1/realtime?model=gpt-4o-mini";
        let ((_, mut socket), line) = tokio::join!(websocket(&gateway, path, ""), serving);
        advance_seconds(601).await;
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [0x88, 0x02, 0x03, 0xe9]);
        line.hung_up().await;
    })
    .await;
}
