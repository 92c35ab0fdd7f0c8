//! Headers of requests to providers, and of their answers.

use std::io::Write;

use serde_json::json;

use crate::support::{
    KEY, TestGateway, Upstream, answer, chunk, error, events, logged, question, start_log, streamed, whole,
};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const MODEL: &str = "mine/model";

/// The answer with further headers.
fn with(answer: Vec<u8>, headers: &str) -> Vec<u8> {
    let text = String::from_utf8(answer).unwrap();
    let (status, rest) = text.split_once("\r\n").unwrap();
    format!("{status}\r\n{headers}{rest}").into_bytes()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The answer in gzip.
fn coded(answer: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(answer).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap();
    let content_type = head.lines().find(|line| line.starts_with("content-type")).unwrap();
    let body = gzip(body.as_bytes());
    let head = format!(
        "{status}\r\n{content_type}\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

#[tokio::test]
async fn traces_and_request_ids_are_passed_both_ways() {
    let upstream = Upstream::playing(vec![
        with(error("500 Internal Server Error"), "x-request-id: theirs-1\r\n"),
        with(answer("Hello."), "request-id: theirs-2\r\n"),
    ])
    .await;
    let provider = upstream.provider("mine", "openai-chat");
    let gateway = TestGateway::start(&format!("{provider}forward_request_id = true\n")).await;
    let headers = [("traceparent", PARENT), ("tracestate", "a=b"), ("x-request-id", "ours-1")];
    let reply = gateway.chat_with(&headers, &question(MODEL)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("x-request-id"), Some("ours-1"));
    assert_eq!(reply.at("/metadata/routing/0/provider_request_id"), "theirs-1");
    assert_eq!(reply.at("/metadata/routing/1/provider_request_id"), "theirs-2");
    for heard in upstream.received() {
        assert_eq!(heard.header("traceparent"), Some(PARENT));
        assert_eq!(heard.header("tracestate"), Some("a=b"));
        assert_eq!(heard.header("x-request-id"), Some("ours-1"));
        assert_eq!(heard.header("user-agent"), Some(concat!("llmgateway/", env!("CARGO_PKG_VERSION"))));
        assert_eq!(heard.header("accept-encoding"), Some("identity"));
    }
    let record = gateway.record().await;
    let ids: Vec<_> = record.attempts.iter().map(|attempt| attempt.provider_request_id.as_deref()).collect();
    assert_eq!(ids, [Some("theirs-1"), Some("theirs-2")]);
}

#[tokio::test]
async fn a_request_that_returns_to_the_gateway_is_refused() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.provider("mine", "openai-chat")).await;
    let reply = gateway.chat_with(&[("x-llmgateway-hops", "another")], &question(MODEL)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let heard = upstream.received();
    let hops = heard[0].header("x-llmgateway-hops").unwrap();
    assert!(hops.starts_with("another,"), "{hops}");
    let reply = gateway.chat_with(&[("x-llmgateway-hops", hops)], &question(MODEL)).await;
    assert_eq!(reply.status, 508);
    assert_eq!(reply.at("/error/code"), "loop_detected");
    assert_eq!(upstream.received().len(), 1, "nothing more was sent");
}

#[tokio::test]
async fn the_request_id_is_not_sent_unless_the_operator_enables_it() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.provider("mine", "openai-chat")).await;
    let headers = [("traceparent", "banana"), ("tracestate", "a=b"), ("x-request-id", "ours-1")];
    let reply = gateway.chat_with(&headers, &question(MODEL)).await;
    assert!(reply.at("/metadata/routing/0/provider_request_id").is_null(), "there is none");
    let heard = &upstream.received()[0];
    for name in ["x-request-id", "traceparent", "tracestate"] {
        assert_eq!(heard.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn answers_in_gzip_are_read_whole_streamed_and_as_errors() {
    let stream = events(&[
        chunk(json!({"role": "assistant", "content": "Hel"}), None),
        chunk(json!({"content": "lo."}), Some("stop")),
        "data: [DONE]\n\n".to_owned(),
    ]);
    let upstream = Upstream::playing(vec![
        coded(&answer("Hello.")),
        coded(&stream),
        coded(&error("400 Bad Request")),
        with(answer("Hello."), "content-encoding: compress\r\n"),
    ])
    .await;
    let provider = upstream.provider("mine", "openai-chat");
    let gateway = TestGateway::start(&format!("{provider}[routing]\nmax_retries = 0\n")).await;
    let whole = gateway.chat(&question(MODEL)).await;
    assert_eq!((whole.status, whole.header("content-encoding")), (200, None));
    assert_eq!(whole.at("/choices/0/message/content"), "Hello.");
    let streamed = gateway.chat(&streamed(MODEL)).await;
    assert_eq!((streamed.content().as_str(), streamed.done()), ("Hello.", 1), "{}", streamed.text());
    let plain = {
        let upstream = Upstream::playing(vec![error("400 Bad Request")]).await;
        let gateway = TestGateway::start(&upstream.provider("mine", "openai-chat")).await;
        gateway.chat(&question(MODEL)).await.message()
    };
    let refused = gateway.chat(&question(MODEL)).await;
    assert_eq!((refused.status, refused.message()), (400, plain));
    let unknown = gateway.chat(&question(MODEL)).await;
    assert_eq!(unknown.status, 502);
    assert!(unknown.message().contains("\"compress\" is not supported"), "{}", unknown.message());
}

#[tokio::test]
async fn a_dead_idle_connection_does_not_count_as_a_failure() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.provider("mine", "openai-chat")).await;
    let asked = question(MODEL);
    let kept = String::from_utf8(answer("Hello.")).unwrap().replace("connection: close\r\n", "");
    start_log();
    let (first, line) = tokio::join!(gateway.chat(&asked), async {
        let mut line = upstream.next().await;
        line.send(&kept).await;
        line
    });
    assert_eq!(first.status, 200);
    // The provider reads the next request and closes the connection without an answer.
    let id = [("x-request-id", "met-a-dead-connection")];
    let (second, ()) = tokio::join!(gateway.chat_with(&id, &asked), async {
        drop(line.again().await.expect("the same connection"));
        upstream.next().await.send(&kept).await;
    });
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(second.routing().len(), 1, "one attempt: {:?}", second.routing());
    let log = logged();
    let event = log.lines().find(|line| line.contains("met-a-dead-connection") && line.contains("was dead"));
    assert!(event.is_some(), "{log}");
    assert_eq!(gateway.metric("llmgateway_upstream_errors_total").await.unwrap_or(0.0), 0.0);
}

#[tokio::test]
async fn a_loop_of_gateways_that_list_their_models_ends() {
    let list = whole("200 OK", &json!({"object": "list", "data": [{"id": "m", "object": "model"}]}));
    let upstream = Upstream::playing(vec![list]).await;
    let gateway = TestGateway::of(&upstream).await;
    assert!(gateway.get("/v1/models").await.text().contains("\"one/m\""));
    let hops = upstream.received()[0].header("x-llmgateway-hops").unwrap().to_owned();
    for path in ["/v1/models", "/v1/models/one%2Fm"] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: g\r\nauthorization: Bearer {KEY}\r\nx-llmgateway-hops: {hops}\r\n\r\n"
        );
        let again = gateway.send(head.as_bytes()).await;
        assert_eq!(again.status, 508, "{path}: {}", again.text());
    }
}
