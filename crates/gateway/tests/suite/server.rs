//! Connections: keep-alive, limits, and the end.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    KEY, Reply, TestGateway, Upstream, advance_seconds, answer, answer_of, at, chunk, connect, get, open,
    question, read_head, settle, stream_head, streamed, with_held_clock,
};

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("[server]\nheader_limit = \"16KiB\"\n{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    let head = format!("GET /health HTTP/1.1\r\nhost: g\r\nx-long: {}\r\n\r\n", "x".repeat(40 << 10));
    let mut socket = connect(gateway.address).await;
    // The gateway answers and closes before it has read everything.
    let _ = socket.write_all(head.as_bytes()).await;
    let mut start = [0; 12];
    socket.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 431");
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let mut socket = connect(gateway.address).await;
    let requests = "GET /health HTTP/1.1\r\nhost: g\r\n\r\n".repeat(3);
    socket.write_all(requests.as_bytes()).await.unwrap();
    let mut seen = String::new();
    while seen.matches(r#"{"status":"ok"}"#).count() < 3 {
        let mut buffer = [0; 1024];
        let length = socket.read(&mut buffer).await.unwrap();
        assert!(length > 0, "closed after {seen}");
        seen.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
}

#[tokio::test]
async fn an_upstream_connection_is_used_again() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::of(&upstream).await;
    let body = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop").to_string();
    let kept = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = gateway.address;
    let ask = || {
        tokio::spawn(async move {
            open(address, &[], question("one/any").to_string().as_bytes()).await.rest().await
        })
    };
    let first = ask();
    let mut line = upstream.next().await;
    line.send(&kept).await;
    assert_eq!(first.await.unwrap().status, 200);
    let second = ask();
    let mut line = line.again().await.expect("the same connection");
    line.send(&kept).await;
    assert_eq!(second.await.unwrap().status, 200);
}

async fn is_closed(socket: &mut TcpStream) -> bool {
    let mut byte = [0; 1];
    let read = socket.read(&mut byte);
    settle().await;
    tokio::select! {
        biased;
        read = read => matches!(read, Ok(0) | Err(_)),
        () = settle() => false,
    }
}

#[tokio::test]
async fn a_full_gateway_answers_health_checks_and_closes_idle_connections_first() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!(
        "[server]\nmax_connections = 2\n{}[projects.default]\nlimits = [{{ requests = 60, per = \"day\" }}]\n",
        upstream.provider("one", "openai-chat")
    );
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let ask = move || {
        tokio::spawn(async move {
            open(address, &[], question("one/any").to_string().as_bytes()).await.rest().await
        })
    };
    let answer = answer("Hello.");
    let (first, second) = (ask(), ask());
    let (mut one, mut two) = (upstream.next().await, upstream.next().await);
    // Both connections are busy: health is served, and requests with a key get `Retry-After`.
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    let refused = gateway.chat(&question("one/any")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert!(refused.message().contains("server.max_connections"));
    assert_eq!(refused.header("x-ratelimit-remaining-requests"), Some("58"));
    one.send(&answer).await;
    two.send(&answer).await;
    assert_eq!((first.await.unwrap().status, second.await.unwrap().status), (200, 200));
    // Idle connections make room.
    let mut idle = Vec::new();
    for _ in 0..5 {
        idle.push(connect(gateway.address).await);
    }
    let third = ask();
    upstream.next().await.send(&answer).await;
    assert_eq!(third.await.unwrap().status, 200);
    assert!(is_closed(&mut idle[0]).await, "the longest idle one goes first");
}

/// More idle connections than the reserve for health checks has places.
#[tokio::test]
async fn many_idle_connections_keep_no_health_check_out() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[server]\nmax_connections = 1\n{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let asked = tokio::spawn(async move {
        open(address, &[], question("one/any").to_string().as_bytes()).await.rest().await
    });
    let mut line = upstream.next().await;
    let mut idle = Vec::new();
    for _ in 0..150 {
        idle.push(connect(address).await);
    }
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(get(address, path).await.status, 200, "{path}");
    }
    line.send(answer("Hello.")).await;
    assert_eq!(asked.await.unwrap().status, 200, "the busy connection is kept");
}

#[tokio::test]
async fn an_idle_connection_lives_as_long_as_its_setting_says() {
    with_held_clock(async {
        let gateway = TestGateway::start("[server]\nkeep_alive_seconds = 75\nread_seconds = 10\n").await;
        let request = b"GET /health HTTP/1.1\r\nhost: g\r\n\r\n";
        let mut used = connect(gateway.address).await;
        let mut unused = connect(gateway.address).await;
        let mut slow = connect(gateway.address).await;
        for _ in 0..2 {
            used.write_all(request).await.unwrap();
            let mut answer = [0; 400];
            assert!(used.read(&mut answer).await.unwrap() > 0);
            slow.write_all(b"G").await.unwrap();
            advance_seconds(8).await;
        }
        // A client that has sent half a head is not idle.
        advance_seconds(3).await;
        assert!(is_closed(&mut slow).await);
        advance_seconds(62).await;
        assert!(is_closed(&mut unused).await);
        assert!(!is_closed(&mut used).await, "71 seconds after its last request");
        advance_seconds(5).await;
        assert!(is_closed(&mut used).await);
    })
    .await;
}

#[tokio::test]
async fn operators_may_have_a_listener_of_their_own() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config =
        format!("[server]\ninternal_listen = \"127.0.0.1:0\"\n{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    let internal = gateway.internal.unwrap();
    for (path, inside, outside) in
        [("/metrics", 200, 404), ("/ready", 200, 404), ("/health", 200, 200), ("/v1/models", 404, 200)]
    {
        assert_eq!(get(internal, path).await.status, inside, "{path}");
        assert_eq!(gateway.get(path).await.status, outside, "{path}");
    }
    let asked = open(internal, &[], question("one/any").to_string().as_bytes()).await.rest().await;
    assert_eq!(asked.status, 404);
}

#[tokio::test]
async fn a_stop_lets_streams_finish_and_keeps_their_records() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let address = gateway.address;
    let body = streamed("openai/gpt-4o-mini").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let mut reply = asked.await.unwrap();
    assert!(reply.piece().await.unwrap().contains("Hel"));
    let stopping = tokio::spawn(gateway.stop());
    settle().await;
    // Health checks and new requests learn that the gateway stops, and their connections close.
    for (path, status) in [("/ready", 503), ("/health", 200), ("/v1/models", 503)] {
        let reply = get(address, path).await;
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{path}");
    }
    let refused =
        open(address, &[], question("openai/gpt-4o-mini").to_string().as_bytes()).await.rest().await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    // A connection without a request does not delay the stop.
    let _silent = connect(address).await;
    line.send(chunk(json!({"content": "lo."}), None)).await;
    line.send(chunk(json!({}), Some("stop"))).await;
    line.send("data: [DONE]\n\n").await;
    drop(line);
    let rest = reply.rest().await;
    assert_eq!((rest.content().as_str(), rest.done()), ("lo.", 1));
    let stopped = stopping.await.unwrap();
    assert_eq!(stopped.cut, 0);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still accepts connections");
    let records = stopped.records().await;
    assert_eq!((records.len(), records[0].status), (1, 200));
}

/// Ends with one error event in OpenAI's shape, and without the `[DONE]` of a complete stream.
fn assert_cut(reply: &Reply) {
    let events = reply.events();
    let last = events.last().unwrap();
    assert_eq!(at(last, "/error/code"), "unavailable", "{}", reply.text());
    assert!(at(last, "/error/message").as_str().unwrap().contains("stopped"), "{}", reply.text());
    assert_eq!((reply.done(), reply.complete), (0, true), "{}", reply.text());
}

#[tokio::test]
async fn a_stream_that_outlives_the_stop_ends_with_an_error_and_has_its_record() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[server]\nshutdown_seconds = 0\n{}", upstream.known("openai"));
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let body = streamed("openai/gpt-4o-mini").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let reply = asked.await.unwrap();
    let stopped = gateway.stop().await;
    let rest = reply.rest().await;
    assert_eq!((stopped.cut, rest.content().as_str()), (1, "Hel"));
    assert_cut(&rest);
    line.hung_up().await;
    let records = stopped.records().await;
    let [record] = &records[..] else { panic!("{records:#?}") };
    assert_eq!(record.attempts[0].error_type, "unavailable", "{record:#?}");
    assert!(!record.canceled && record.usage_estimated, "{record:#?}");
    assert_eq!(record.usage.unwrap().completion_tokens(), 1);
}

/// The last event of a cut stream in each format of callers.
#[tokio::test]
async fn a_cut_stream_ends_with_the_error_event_of_its_format() {
    let messages = json!([{"role": "user", "content": "Hi"}]);
    let cases = [
        (
            "/v1/messages",
            json!({"model": "one/m", "max_tokens": 9, "stream": true, "messages": messages}),
            json!({"type": "error", "error": {"type": "overloaded_error"}}),
        ),
        (
            "/v1/responses",
            json!({"model": "one/m", "stream": true, "input": "Hi"}),
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error"}}}),
        ),
        (
            "/v1beta/models/one%2Fm:streamGenerateContent?alt=sse",
            json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]}),
            json!({"error": {"code": 503, "status": "UNAVAILABLE"}}),
        ),
        (
            "/v1/completions",
            json!({"model": "one/m", "prompt": ["a", "b"], "stream": true}),
            json!({"error": {"code": "unavailable"}}),
        ),
    ];
    for (path, body, expected) in cases {
        let mut upstream = Upstream::by_hand().await;
        let config = format!("[server]\nshutdown_seconds = 0\n{}", upstream.provider("one", "openai-chat"));
        let gateway = TestGateway::start(&config).await;
        let body = body.to_string();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: g\r\nx-api-key: {KEY}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = connect(gateway.address).await;
        socket.write_all(request.as_bytes()).await.unwrap();
        let parts = if path == "/v1/completions" { 2 } else { 1 };
        let mut lines = Vec::new();
        for _ in 0..parts {
            let mut line = upstream.next().await;
            line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
            lines.push(line);
        }
        let open = read_head(socket).await;
        settle().await;
        assert_eq!(gateway.stop().await.cut, 1, "{path}");
        let reply = open.rest().await;
        let text = reply.text();
        assert_eq!((reply.status, reply.complete, reply.done()), (200, true, 0), "{path}: {text}");
        assert!(text.contains("Hel"), "{path}: {text}");
        let last = reply.events().pop().unwrap();
        assert!(contains(&last, &expected), "{path}: {last}");
        assert!(last.to_string().contains("The gateway was stopped."), "{path}: {last}");
    }
}

/// Whether a value has all members of another one.
fn contains(value: &Value, expected: &Value) -> bool {
    match expected.as_object() {
        Some(members) => members.iter().all(|(name, member)| contains(&value[name], member)),
        None => value == expected,
    }
}

#[tokio::test]
async fn a_second_signal_also_cuts_requests_without_an_answer() {
    let mut upstream = Upstream::by_hand().await;
    let config =
        format!("[server]\ndrain_seconds = 600\nshutdown_seconds = 600\n{}", upstream.known("openai"));
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let ask = |body: Value| {
        tokio::spawn(async move { open(address, &[], body.to_string().as_bytes()).await.rest().await })
    };
    let stream = ask(streamed("openai/gpt-4o-mini"));
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let whole = ask(question("openai/gpt-4o-mini"));
    let _silent = upstream.next().await;
    settle().await;
    let stopped = gateway.stop_at_once().await;
    assert_eq!(stopped.cut, 2);
    assert_cut(&stream.await.unwrap());
    let refused = whole.await.unwrap();
    assert_eq!(
        (refused.status, refused.at("/error/code")),
        (503, "unavailable".into()),
        "{}",
        refused.text()
    );
    assert_eq!(stopped.records().await.len(), 2);
}

#[tokio::test]
async fn a_stream_that_waits_for_its_first_content_is_cut_like_others() {
    let (stopping, _line) = with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = format!("[server]\nshutdown_seconds = 0\n{}", upstream.known("openai"));
        let gateway = TestGateway::start(&config).await;
        let address = gateway.address;
        let body = streamed("openai/gpt-4o-mini").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let line = upstream.next().await;
        advance_seconds(16).await;
        let mut reply = asked.await.unwrap();
        advance_seconds(1).await;
        assert!(reply.piece().await.unwrap().starts_with(':'));
        let stopping = tokio::spawn(gateway.stop());
        // Even a wait of no time needs the clock to move: timers have a resolution of one millisecond.
        advance_seconds(1).await;
        assert_cut(&reply.rest().await);
        (stopping, line)
    })
    .await;
    assert_eq!(stopping.await.unwrap().cut, 1);
}

#[tokio::test]
async fn streams_over_http2_are_cut_as_well() {
    use http_body_util::{BodyExt, Full};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[server]\nh2c = true\nshutdown_seconds = 0\n{}", upstream.known("openai"));
    let gateway = TestGateway::start(&config).await;
    let io = TokioIo::new(connect(gateway.address).await);
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::post(format!("http://{}/v1/chat/completions", gateway.address))
        .header("authorization", format!("Bearer {KEY}"))
        .body(Full::new(bytes::Bytes::from(streamed("openai/gpt-4o-mini").to_string())))
        .unwrap();
    let asked = tokio::spawn(sender.send_request(request));
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let mut answer = asked.await.unwrap().unwrap().into_body();
    let first = answer.frame().await.unwrap().unwrap().into_data().unwrap();
    assert!(String::from_utf8_lossy(&first).contains("Hel"));
    // Nothing else wakes the stream's task.
    settle().await;
    assert_eq!(gateway.stop().await.cut, 1);
    let rest = String::from_utf8(answer.collect().await.unwrap().to_bytes().to_vec()).unwrap();
    let event: Value = serde_json::from_str(rest.trim().strip_prefix("data: ").unwrap()).unwrap();
    assert!(event["error"]["message"].is_string() && !rest.contains("[DONE]"), "{rest}");
}

#[tokio::test]
async fn readiness_fails_for_a_while_before_requests_are_refused() {
    let (stopping, _upstream) = with_held_clock(async {
        let upstream = Upstream::playing(vec![answer("Hello.")]).await;
        let config = format!("[server]\ndrain_seconds = 20\n{}", upstream.known("openai"));
        let gateway = TestGateway::start(&config).await;
        let address = gateway.address;
        assert_eq!(get(address, "/ready").await.status, 200);
        let stopping = tokio::spawn(gateway.stop());
        advance_seconds(15).await;
        // A busy machine begins the stop only after the request.
        let mut ready = get(address, "/ready").await;
        for _ in 0..100 {
            if ready.status == 503 {
                break;
            }
            settle().await;
            ready = get(address, "/ready").await;
        }
        assert_eq!(ready.status, 503);
        let body = question("openai/gpt-4o-mini").to_string();
        assert_eq!(open(address, &[], body.as_bytes()).await.rest().await.status, 200);
        advance_seconds(10).await;
        (stopping, upstream)
    })
    .await;
    assert_eq!(stopping.await.unwrap().cut, 0);
}

#[tokio::test]
async fn half_a_request_leaves_nothing_behind() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let mut socket = connect(gateway.address).await;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\ncontent-length: 500\r\n\r\n{{\"mo"
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    settle().await;
    drop(socket);
    settle().await;
    assert_eq!(gateway.get("/health").await.status, 200);
    assert_eq!(gateway.metric("llmgateway_active_requests").await, Some(0.0));
    assert!(upstream.received().is_empty());
}
