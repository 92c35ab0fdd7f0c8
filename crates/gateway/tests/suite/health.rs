//! Which answers count for the health of providers, and when.

use canon::Operation;
use routing::{KeyState, RouteSnapshot};
use serde_json::json;

use crate::support::{
    TestGateway, Upstream, advance_seconds, answer, chunk, error, open, question, settle, stream_head,
    stream_of, streamed, with_held_clock,
};

/// A provider whose breaker opens after two failures and lets a probe through after one second.
fn breaking(upstream: &Upstream) -> String {
    upstream.provider("one", "openai-chat")
        + "[routing]\nmax_retries = 0\n[routing.breaker]\nconsecutive_failures = 2\nopen_seconds = 1\n"
}

fn seen(gateway: &TestGateway) -> RouteSnapshot {
    let pipeline = &gateway.api.pipeline;
    let mut routes = gateway.api.current.get().health.of(Operation::Chat).snapshot(pipeline.now()).routes;
    assert_eq!(routes.len(), 1, "{routes:#?}");
    routes.remove(0)
}

fn content() -> Vec<u8> {
    chunk(json!({"role": "assistant", "content": "This is some text of a few tokens."}), None).into_bytes()
}

#[tokio::test]
async fn a_probe_whose_caller_hangs_up_allows_the_next_probe() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let gateway = TestGateway::start(&breaking(&upstream)).await;
        let address = gateway.address;
        let ask = move || {
            let body = question("one/any").to_string();
            tokio::spawn(async move { open(address, &[], body.as_bytes()).await })
        };
        for _ in 0..2 {
            let asked = ask();
            upstream.next().await.send(error("500 Internal Server Error")).await;
            assert_eq!(asked.await.unwrap().status, 500);
        }
        advance_seconds(1).await;
        assert_eq!(seen(&gateway).keys[0].state, KeyState::HalfOpen);
        let asked = ask();
        let line = upstream.next().await;
        assert_eq!(seen(&gateway).keys[0].state, KeyState::Probing);
        asked.abort();
        line.hung_up().await;
        settle().await;
        assert_eq!(seen(&gateway).keys[0].state, KeyState::HalfOpen);
        let asked = ask();
        upstream.next().await.send(answer("Hello.")).await;
        assert_eq!(asked.await.unwrap().status, 200);
        assert_eq!(seen(&gateway).keys[0].state, KeyState::Ready);
    })
    .await;
}

#[tokio::test]
async fn streams_that_break_after_their_first_content_open_the_breaker() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&breaking(&upstream)).await;
    for _ in 0..2 {
        let (address, body) = (gateway.address, streamed("one/any").to_string());
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        line.send([stream_head(), content()].concat()).await;
        drop(line);
        let reply = asked.await.unwrap().rest().await;
        assert!(reply.events().last().unwrap()["error"].is_object(), "{}", reply.text());
    }
    let route = seen(&gateway);
    assert_eq!(route.keys[0].state, KeyState::Open);
    assert!(route.metrics.uptime < 0.9, "{route:#?}");
    assert_eq!((route.metrics.first_token_ms, route.metrics.tokens_per_second), (None, None));
    let errors = "llmgateway_errors_total{provider=\"one\",model=\"any\",kind=\"upstream_error\"}";
    assert_eq!(gateway.metric(errors).await, Some(2.0));
    for record in gateway.records().await {
        assert_eq!(
            (record.attempts[0].status_code, &*record.attempts[0].error_type),
            (200, "upstream_error")
        );
    }
}

#[tokio::test]
async fn a_stream_whose_caller_hangs_up_does_not_affect_health() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&breaking(&upstream)).await;
    let (address, body) = (gateway.address, streamed("one/any").to_string());
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), content()].concat()).await;
    let mut reply = asked.await.unwrap();
    assert!(reply.piece().await.is_some());
    drop(reply);
    line.hung_up().await;
    settle().await;
    let pipeline = &gateway.api.pipeline;
    assert!(gateway.api.current.get().health.of(Operation::Chat).snapshot(pipeline.now()).routes.is_empty());
}

#[tokio::test]
async fn a_complete_stream_counts_once_and_is_measured() {
    let upstream = Upstream::playing(vec![stream_of(&["Hello, ", "you."])]).await;
    let gateway = TestGateway::of(&upstream).await;
    assert_eq!(gateway.chat(&streamed("one/any")).await.done(), 1);
    let route = seen(&gateway);
    assert!((0.9..=1.0).contains(&route.metrics.samples), "{route:#?}");
    assert!(route.metrics.first_token_ms.is_some());
}
