//! Connections: keep-alive, limits, and the end.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{
    KEY, Stopped, TestGateway, Upstream, answer, answer_of, chunk, connect, open, question, read_head,
    settle, stream_head, streamed,
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

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("[server]\nmax_connections = 1\n{}", upstream.provider("one", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    let request = b"GET /health HTTP/1.1\r\nhost: g\r\n\r\n";
    let mut first = connect(gateway.address).await;
    first.write_all(request).await.unwrap();
    let mut byte = [0; 1];
    first.read_exact(&mut byte).await.unwrap();
    let mut second = connect(gateway.address).await;
    second.write_all(request).await.unwrap();
    let answered = tokio::spawn(async move { read_head(second).await.rest().await });
    settle().await;
    assert!(!answered.is_finished(), "the second connection was served beside the first");
    drop(first);
    assert_eq!(answered.await.unwrap().status, 200);
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
