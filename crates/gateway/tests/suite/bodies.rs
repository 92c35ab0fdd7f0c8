//! Request bodies: limits, codings, deadlines, and answers that do not wait for them.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{
    KEY, TestGateway, Upstream, advance_seconds, answer, connect, question, read_head, settle, streamed,
    with_held_clock,
};

async fn gateway(server: &str) -> (TestGateway, Upstream) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("[server]\n{server}\n{}", upstream.known("openai"));
    (TestGateway::start(&config).await, upstream)
}

/// A question of about this many bytes.
fn long_question(bytes: usize) -> Vec<u8> {
    let mut body = question("openai/gpt-4o");
    body["messages"][0]["content"] = json!("x ".repeat(bytes / 2));
    body.to_string().into_bytes()
}

fn head(path: &str, key: &str, more: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {key}\r\n{more}\r\n")
}

/// Everything received until the connection ends.
async fn rest_of(mut socket: TcpStream) -> String {
    let mut text = Vec::new();
    let _ = socket.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_early_answer_reaches_a_client_that_is_still_sending() {
    let (gateway, _upstream) = gateway("body_limit = \"1MiB\"").await;
    let body = vec![b'x'; 12 << 20];
    let length = format!("content-length: {}\r\n", body.len());
    for (path, key, more, status) in [
        ("/v1/chat/completions", "wrong", "", 401),
        ("/v1/nothing", KEY, "", 404),
        ("/v1/models", KEY, "", 405),
        ("/v1/chat/completions", KEY, "content-type: image/png\r\n", 415),
        ("/v1/chat/completions", KEY, "content-encoding: compress\r\n", 415),
        ("/v1/chat/completions", KEY, "x-llmgateway-strict: banana\r\n", 400),
        ("/v1/chat/completions", KEY, "", 413),
    ] {
        let mut socket = connect(gateway.address).await;
        socket.write_all(head(path, key, &format!("{length}{more}")).as_bytes()).await.unwrap();
        // Like Python's http.client, the client reads nothing before it has sent everything.
        socket.write_all(&body).await.unwrap_or_else(|error| panic!("{status}: {error}"));
        // The connection stays usable.
        socket.write_all(b"GET /health HTTP/1.1\r\nhost: g\r\nconnection: close\r\n\r\n").await.unwrap();
        let text = rest_of(socket).await;
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {text}");
        assert!(text.contains("HTTP/1.1 200 OK") && text.contains(r#"{"status":"ok"}"#), "{status}: {text}");
    }
    // Chunks that grow beyond the limit.
    let mut socket = connect(gateway.address).await;
    let chunked = head("/v1/chat/completions", KEY, "transfer-encoding: chunked\r\nconnection: close\r\n");
    socket.write_all(chunked.as_bytes()).await.unwrap();
    socket.write_all(format!("{:x}\r\n", body.len()).as_bytes()).await.unwrap();
    socket.write_all(&body).await.unwrap();
    socket.write_all(b"\r\n0\r\n\r\n").await.unwrap();
    assert!(rest_of(socket).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn an_answer_to_bytes_that_are_not_http_reaches_a_client_that_is_still_sending() {
    let (gateway, _upstream) = gateway("").await;
    let mut socket = connect(gateway.address).await;
    socket.write_all(b"GET /health HTTP/9.9 x\r\nbroken\r\n\r\n").await.unwrap();
    socket.write_all(&vec![b'x'; 4 << 20]).await.unwrap();
    socket.shutdown().await.unwrap();
    assert!(rest_of(socket).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn expect_continue_gets_the_final_answer_without_the_body() {
    let (gateway, _upstream) = gateway("").await;
    let body = question("openai/gpt-4o").to_string();
    let more = format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len());
    for (path, key, status) in
        [("/v1/chat/completions", "wrong", 401), ("/v1/nothing", KEY, 404), ("/v1/models", KEY, 405)]
    {
        let mut socket = connect(gateway.address).await;
        socket.write_all(head(path, key, &more).as_bytes()).await.unwrap();
        let reply = read_head(socket).await.rest().await;
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{path}");
    }
    let mut socket = connect(gateway.address).await;
    socket.write_all(head("/v1/chat/completions", KEY, &more).as_bytes()).await.unwrap();
    let mut permission = [0; 25];
    socket.read_exact(&mut permission).await.unwrap();
    assert_eq!(&permission, b"HTTP/1.1 100 Continue\r\n\r\n");
    socket.write_all(body.as_bytes()).await.unwrap();
    assert_eq!(read_head(socket).await.rest().await.status, 200);
}

fn zlib(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
}

/// One uncompressed block (RFC 7932, section 9.2), and an empty last one.
fn brotli(text: &[u8]) -> Vec<u8> {
    let head = (text.len() as u32 - 1) << 4 | 1 << 20;
    [&head.to_le_bytes()[..3], text, b"\x03"].concat()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn coded_bodies_are_decoded_within_limits() {
    let (gateway, upstream) = gateway("body_limit = \"2MiB\"").await;
    let plain = question("openai/gpt-4o").to_string().into_bytes();
    let marked = [b"\xef\xbb\xbf".as_slice(), &plain].concat();
    let long = long_question(100 << 10);
    let post = async |coding: &str, body: &[u8]| {
        crate::support::open(gateway.address, &[("content-encoding", coding)], body).await.rest().await
    };
    for (coding, body) in [
        ("gzip", gzip(&plain)),
        ("x-gzip", gzip(&plain)),
        ("gzip, gzip", gzip(&gzip(&plain))),
        ("deflate", zlib(&plain)),
        ("deflate", zlib(&long)),
        ("zstd", zstd(&plain)),
        ("zstd", zstd(&long)),
        ("br", brotli(&plain)),
        ("br, zstd", zstd(&brotli(&plain))),
        ("identity", plain.clone()),
        ("identity", marked.clone()),
        ("gzip", gzip(&marked)),
        ("gzip", gzip(&long)),
    ] {
        let reply = post(coding, &body).await;
        assert_eq!(reply.status, 200, "{coding}: {}", reply.text());
    }
    let sent: Value = upstream.bodies().pop().unwrap();
    assert_eq!(sent["messages"][0]["content"].as_str().unwrap().len(), 100 << 10);
    let unknown = post("compress", &plain).await;
    assert_eq!((unknown.status, unknown.at("/error/param")), (415, json!("content-encoding")));
    assert!(unknown.message().contains("gzip, deflate, br, zstd"));
    assert_eq!(unknown.header("accept-encoding"), Some("gzip, deflate, br, zstd"));
    assert_eq!(post("gzip", b"no gzip at all").await.error().0, 415);
    assert_eq!(post("br", &[0xff; 50]).await.error().0, 415);
    // Beyond the limit once decoded; and within the limit, but grown a thousandfold.
    assert_eq!(post("gzip", &gzip(&long_question(3 << 20))).await.error().0, 413);
    for (coding, coded) in [("gzip", gzip as fn(&[u8]) -> Vec<u8>), ("deflate", zlib), ("zstd", zstd)] {
        assert_eq!(post(coding, &coded(&vec![b' '; 3 << 19])).await.error().0, 413, "{coding}");
        assert_eq!(post(coding, b"something else").await.error().0, 415, "{coding}");
    }
}

#[tokio::test]
async fn a_broken_chunk_is_a_bad_request() {
    let (gateway, _upstream) = gateway("").await;
    for chunks in
        ["zz\r\n{}\r\n0\r\n\r\n", "2\r\n{}garbage\r\n0\r\n\r\n", "-1\r\n\r\n", "ffffffffffffffffff\r\n{}\r\n"]
    {
        let text = head("/v1/chat/completions", KEY, "transfer-encoding: chunked\r\n") + chunks;
        let reply = gateway.send(text.as_bytes()).await;
        assert_eq!(reply.status, 400, "{chunks:?}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_whole_body_has_a_deadline() {
    with_held_clock(async {
        let (gateway, _upstream) = gateway("read_seconds = 30\nbody_seconds = 60").await;
        let mut socket = connect(gateway.address).await;
        let start = head("/v1/chat/completions", KEY, "content-length: 500\r\n") + "{";
        socket.write_all(start.as_bytes()).await.unwrap();
        // A byte every 20 seconds stays within `read_seconds`.
        for _ in 0..2 {
            advance_seconds(20).await;
            socket.write_all(b" ").await.unwrap();
        }
        settle().await;
        advance_seconds(25).await;
        let reply = read_head(socket).await.rest().await;
        assert_eq!(reply.error().0, 408, "{}", reply.text());
        assert!(reply.message().contains("server.body_seconds"), "{}", reply.text());

        let mut socket = connect(gateway.address).await;
        socket.write_all(start.as_bytes()).await.unwrap();
        settle().await;
        advance_seconds(31).await;
        let reply = read_head(socket).await.rest().await;
        assert_eq!(reply.error().0, 408, "{}", reply.text());
        assert!(reply.message().contains("server.read_seconds"), "{}", reply.text());
    })
    .await;
}

#[tokio::test]
async fn answers_count_towards_the_buffer_limit() {
    with_held_clock(async {
        let long = "x ".repeat(100 << 10);
        let upstream = Upstream::playing(vec![answer(&long), answer(&long), answer("Hello.")]).await;
        let config = format!("[server]\nbuffer_limit = \"256KiB\"\n{}", upstream.known("openai"));
        let gateway = TestGateway::start(&config).await;
        for (number, body) in [question("openai/gpt-4o"), streamed("openai/gpt-4o")].iter().enumerate() {
            let mut socket = connect(gateway.address).await;
            let body = body.to_string();
            let start = head("/v1/chat/completions", KEY, &format!("content-length: {}\r\n", body.len()));
            socket.write_all((start + &body).as_bytes()).await.unwrap();
            while gateway.api.buffers.used() < 128 << 10 {
                settle().await;
            }
            settle().await;
            advance_seconds(3).await;
            let reply = read_head(socket).await.rest().await;
            assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
            assert!(reply.message().contains("server.buffer_limit"), "{}", reply.text());
            assert_eq!(
                upstream.received().len(),
                number + 1,
                "an answer that cost money is not requested again"
            );
        }
        assert_eq!(gateway.chat(&question("openai/gpt-4o")).await.status, 200);
        settle().await;
        assert_eq!(gateway.api.buffers.used(), 0);
    })
    .await;
}

#[tokio::test]
async fn request_bodies_stay_within_the_buffer_limit() {
    with_held_clock(async {
        let (gateway, upstream) = gateway("buffer_limit = \"256KiB\"").await;
        let mut holder = connect(gateway.address).await;
        let body = long_question(200 << 10);
        let start = head("/v1/chat/completions", KEY, &format!("content-length: {}\r\n", body.len()));
        holder.write_all(start.as_bytes()).await.unwrap();
        holder.write_all(&body[..body.len() - 1]).await.unwrap();
        while gateway.api.buffers.used() < body.len() - 1 {
            settle().await;
        }
        let mut second = connect(gateway.address).await;
        second.write_all(start.as_bytes()).await.unwrap();
        second.write_all(&body).await.unwrap();
        settle().await;
        advance_seconds(3).await;
        let reply = read_head(second).await.rest().await;
        assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{}", reply.text());
        assert!(reply.message().contains("server.buffer_limit"));
        assert_eq!(gateway.chat(&question("openai/gpt-4o")).await.status, 200, "a short one has room");

        holder.write_all(&body[body.len() - 1..]).await.unwrap();
        assert_eq!(read_head(holder).await.rest().await.status, 200);
        assert_eq!(upstream.received().len(), 2);
        settle().await;
        assert_eq!(gateway.api.buffers.used(), 0);
    })
    .await;
}
