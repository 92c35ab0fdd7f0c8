//! Streams that break, and callers that hang up.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Reply, TestGateway, Upstream, advance, advance_seconds, chunk, events, open, question, raw, settle,
    stream_head, streamed, with_held_clock,
};

const IN_STREAM_ERROR: &str =
    "data: {\"error\": {\"message\": \"The engine died.\", \"type\": \"server_error\", \"code\": null}}\n\n";

fn text(text: &str) -> String {
    chunk(json!({"role": "assistant", "content": text}), None)
}

/// The stream ended with an error event and nothing that looks like an end.
fn assert_broken(reply: &Reply) {
    assert_eq!(reply.status, 200);
    assert_eq!((reply.done(), reply.finishes()), (0, Vec::new()), "{}", reply.text());
    let last = reply.events().pop().unwrap();
    assert!(last["error"]["message"].is_string(), "{last}");
    assert!(last["error"]["type"].is_string() && last["error"]["code"].is_string(), "{last}");
    assert_eq!(reply.events().iter().filter(|event| event.get("error").is_some()).count(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_after_content_ends_with_an_error() {
    let endings = [
        ("cut between events", String::new()),
        ("cut within an event", "data: {\"id\": \"chatcmpl-up".to_owned()),
        ("an error inside", IN_STREAM_ERROR.to_owned()),
        ("no JSON", "data: {'id': 'x'}\n\n".to_owned()),
        ("a page of a proxy", "<html><body>502 Bad Gateway</body></html>\n\n".to_owned()),
    ];
    for (name, ending) in endings {
        let mut upstream = Upstream::by_hand().await;
        let gateway = TestGateway::of(&upstream).await;
        let address = gateway.address;
        let body = streamed("one/any").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        line.send([stream_head(), text("Hello.").into_bytes()].concat()).await;
        let mut reply = asked.await.unwrap();
        assert!(reply.piece().await.unwrap().contains("Hello."), "{name}");
        line.send(ending).await;
        drop(line);
        let reply = reply.rest().await;
        assert_broken(&reply);
        let record = gateway.record().await;
        assert_eq!((record.status, record.canceled), (502, false), "{name}");
        assert_eq!(record.cost, Some(canon::Cost::default()), "{name}: a failed request costs nothing");
    }
}

#[tokio::test]
async fn a_cut_after_the_finish_is_no_clean_end() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    let finish = chunk(json!({}), Some("stop"));
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::of(&upstream).await;
    let address = gateway.address;
    let body = streamed("one/any").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send(format!("{head}{}{}", piece(&text("Hello.")), piece(&finish))).await;
    let reply = asked.await.unwrap();
    drop(line);
    let reply = reply.rest().await;
    assert_eq!(reply.done(), 0, "{}", reply.text());
    assert!(reply.events().last().unwrap()["error"].is_object(), "{}", reply.text());
    assert_eq!(gateway.record().await.status, 502);
}

/// Today the finish reason counts as the terminal event of OpenAI's format: many providers send no `[DONE]`. Where the
/// body's end is the connection's end, a cut after the finish reason looks the same, and usage may be missing.
#[tokio::test]
async fn a_stream_without_done_ends_with_its_finish_reason() {
    let upstream = Upstream::playing(vec![events(&[text("Hello."), chunk(json!({}), Some("stop"))])]).await;
    let gateway = TestGateway::of(&upstream).await;
    let reply = gateway.chat(&streamed("one/any")).await;
    assert_eq!((reply.content().as_str(), reply.done()), ("Hello.", 1));
}

#[tokio::test]
async fn a_stream_that_breaks_before_content_is_a_plain_error() {
    let role = chunk(json!({"role": "assistant", "content": ""}), None);
    let beginnings = [
        ("nothing", events(&[]), 502),
        ("only the role", events(&[role]), 502),
        ("half an event", events(&["data: {\"id\":".to_owned()]), 502),
        ("an error", events(&[IN_STREAM_ERROR.to_owned()]), 502),
        ("no JSON", events(&["data: nonsense\n\n".to_owned()]), 502),
        ("empty", raw("200 OK", "content-type: text/event-stream\r\n", ""), 502),
        ("a page", raw("200 OK", "content-type: text/html\r\n", "<html></html>"), 502),
    ];
    for (name, beginning, status) in beginnings {
        let upstream = Upstream::playing(vec![beginning]).await;
        let config = format!("{}\n[routing]\nmax_retries = 0\n", upstream.provider("one", "openai-chat"));
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&streamed("one/any")).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/json"), "{name}");
        let error = reply.at("/error");
        assert!(error["type"].is_string() && error["code"] == "upstream_error", "{name}: {error}");
        assert_eq!(reply.routing().len(), 1, "{name}");
    }
}

#[tokio::test]
async fn silence_within_a_stream_is_an_error_after_the_idle_time() {
    let gateway = with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = upstream.provider("one", "openai-chat") + "\n[timeouts]\nidle = 40\n";
        let gateway = TestGateway::start(&config).await;
        let address = gateway.address;
        let body = streamed("one/any").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        line.send([stream_head(), text("Hel").into_bytes()].concat()).await;
        let mut reply = asked.await.unwrap();
        assert!(reply.piece().await.unwrap().contains("Hel"));
        for _ in 0..40 {
            advance_seconds(1).await;
        }
        let rest = reply.rest().await;
        assert_broken(&rest);
        assert_eq!(rest.text().matches(": ping\n\n").count(), 2);
        assert!(rest.text().contains("sent nothing (40 seconds)"), "{}", rest.text());
        line.hung_up().await;
        gateway
    })
    .await;
    assert_eq!(gateway.record().await.error_kind.as_deref(), Some("timeout"));
}

#[tokio::test]
async fn an_endless_stream_is_an_error_after_the_total_time() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = upstream.provider("one", "openai-chat") + "\n[timeouts]\ntotal = 60\n";
        let gateway = TestGateway::start(&config).await;
        let address = gateway.address;
        let body = streamed("one/any").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        line.send(stream_head()).await;
        line.send(text("a")).await;
        let mut reply = asked.await.unwrap();
        for _ in 0..5 {
            assert!(reply.piece().await.unwrap().contains("\"a\""));
            advance_seconds(11).await;
            line.send(text("a")).await;
        }
        assert!(reply.piece().await.unwrap().contains("\"a\""));
        advance_seconds(15).await;
        assert_broken(&reply.rest().await);
        line.hung_up().await;
    })
    .await;
}

#[tokio::test]
async fn a_silent_provider_is_an_error_after_the_first_byte_time() {
    for stream in [false, true] {
        let gateway = with_held_clock(async move {
            let mut upstream = Upstream::by_hand().await;
            let config = upstream.provider("one", "openai-chat")
                + "\n[timeouts]\nfirst_byte = 9\n[routing]\nmax_retries = 0\n";
            let gateway = TestGateway::start(&config).await;
            let address = gateway.address;
            let body = if stream { streamed("one/any") } else { question("one/any") }.to_string();
            let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
            let line = upstream.next().await;
            advance(Duration::from_millis(8_990)).await;
            assert!(!asked.is_finished());
            advance(Duration::from_millis(20)).await;
            let reply = asked.await.unwrap().rest().await;
            assert_eq!(reply.error(), (504, "upstream_error".into(), "timeout".into()), "{}", reply.text());
            assert_eq!(reply.routing(), ["one 0 timeout"]);
            line.hung_up().await;
            gateway
        })
        .await;
        assert_eq!(gateway.record().await.error_kind.as_deref(), Some("timeout"));
    }
}

#[tokio::test]
async fn an_error_after_pings_is_an_event() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let config = upstream.provider("one", "openai-chat") + "\n[routing]\nmax_retries = 0\n";
        let gateway = TestGateway::start(&config).await;
        let address = gateway.address;
        let body = streamed("one/any").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        advance_seconds(15).await;
        let reply = asked.await.unwrap();
        line.send(crate::support::error("500 Internal Server Error")).await;
        let reply = reply.rest().await;
        assert_broken(&reply);
        let last = reply.events().pop().unwrap();
        assert_eq!(last["metadata"]["routing"][0]["status_code"], 500, "{last}");
    })
    .await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_the_upstream_request() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let address = gateway.address;
    let body = streamed("openai/gpt-4o-mini").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), text("This is some text.").into_bytes()].concat()).await;
    let mut reply = asked.await.unwrap();
    assert!(reply.piece().await.unwrap().contains("some text"));
    drop(reply);
    line.hung_up().await;
    let record = gateway.record().await;
    assert_eq!(
        (record.canceled, record.status, record.error_kind.as_deref()),
        (true, 499, Some("cancelled"))
    );
    let usage = record.usage.unwrap();
    assert!(record.usage_estimated && usage.prompt_tokens() > 0, "{usage:?}");
    assert_eq!(usage.completion_tokens(), 5, "18 characters");
    assert!(record.cost.unwrap().total > canon::Pico::ZERO);
    assert_eq!(record.upstream_cost, Some(record.cost.unwrap().total));
}

#[tokio::test]
async fn a_broken_stream_costs_the_operator_and_not_the_caller() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let address = gateway.address;
    let body = streamed("openai/gpt-4o-mini").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), text("This is some text.").into_bytes()].concat()).await;
    drop(line);
    let reply = asked.await.unwrap().rest().await;
    assert_broken(&reply);
    let shown = reply.events().pop().unwrap();
    let counted = "llmgateway_upstream_cost_usd_total{provider=\"openai\",model=\"gpt-4o-mini\"}";
    assert!(gateway.metric(counted).await.unwrap() > 0.0);
    let record = gateway.record().await;
    assert_eq!(record.cost, Some(canon::Cost::default()));
    assert!(record.upstream_cost.unwrap() > canon::Pico::ZERO && record.usage_estimated);
    let metadata = &shown["metadata"];
    assert_eq!(metadata["cost_usd_total"], 0, "{shown}");
    assert_eq!(metadata["upstream_cost_usd_total"], record.upstream_cost.unwrap().as_usd(), "{shown}");
    assert_eq!(metadata["routing"][0]["error_type"], "upstream_error", "{shown}");
}

#[tokio::test]
async fn a_caller_that_hangs_up_before_the_answer_costs_nothing() {
    for body in [streamed("openai/gpt-4o-mini"), question("openai/gpt-4o-mini")] {
        let mut upstream = Upstream::by_hand().await;
        let gateway = TestGateway::start(&upstream.known("openai")).await;
        let address = gateway.address;
        let body = body.to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let line = upstream.next().await;
        settle().await;
        asked.abort();
        line.hung_up().await;
        let record = gateway.record().await;
        assert_eq!((record.canceled, record.status, record.usage), (true, 499, None));
        assert_eq!(record.cost, Some(canon::Cost::default()));
        assert!(record.upstream_cost.unwrap() > canon::Pico::ZERO, "the prompt was read");
        assert_eq!(record.attempts.len(), 1);
    }
}
