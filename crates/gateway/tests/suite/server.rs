//! Connections: keep-alive, limits, and the end.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    KEY, Stopped, TestGateway, Upstream, advance_seconds, answer, answer_of, chunk, connect, get, open,
    question, settle, stream_head, streamed, with_held_clock,
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

/// Whether the peer has closed.
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
async fn a_full_gateway_answers_what_watches_it_and_closes_idle_connections_first() {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[server]\nmax_connections = 2\n{}", upstream.provider("one", "openai-chat"));
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
    // Both connections are busy: health is served, and who needs a key is told to come again.
    for path in ["/health", "/ready", "/metrics"] {
        assert_eq!(gateway.get(path).await.status, 200, "{path}");
    }
    let refused = gateway.chat(&question("one/any")).await;
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{}", refused.text());
    assert!(refused.message().contains("server.max_connections"));
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
        // Half a head is not idleness.
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
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "still accepts connections");
    line.send(chunk(json!({"content": "lo."}), None)).await;
    line.send(chunk(json!({}), Some("stop"))).await;
    line.send("data: [DONE]\n\n").await;
    drop(line);
    let rest = reply.rest().await;
    assert_eq!((rest.content().as_str(), rest.done()), ("lo.", 1));
    let records = stopping.await.unwrap().records().await;
    assert_eq!((records.len(), records[0].status), (1, 200));
}

/// What a gateway leaves whose process ends within a stream, right after the stop.
async fn stopped_within_a_stream() -> Stopped {
    let mut upstream = Upstream::by_hand().await;
    let config = format!("[server]\nshutdown_seconds = 0\n{}", upstream.known("openai"));
    let gateway = TestGateway::start(&config).await;
    let address = gateway.address;
    let body = streamed("openai/gpt-4o-mini").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hel"}), None).into_bytes()].concat()).await;
    let _reply = asked.await.unwrap();
    gateway.stop().await
}

#[test]
fn a_stop_cuts_what_takes_too_long_and_its_record_is_there_after_the_next_start() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // All tasks of the first gateway end with its runtime, as they would with its process.
    let stopped = runtime().block_on(stopped_within_a_stream());
    let record = runtime().block_on(async { stopped.start_again("").await.record().await });
    assert!(record.canceled && record.usage_estimated, "{record:#?}");
    assert_eq!(record.usage.unwrap().completion_tokens(), 1);
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
    assert!(upstream.heard().is_empty());
}
