//! Each request has one usage record, and the metrics agree with it.

use std::collections::BTreeSet;

use serde_json::json;

use crate::support::{
    TestGateway, Upstream, answer, chunk, error, events, open, question, settle, stream_head, stream_of,
    streamed,
};

const PRICED: &str = "openai/gpt-4o-mini";

#[tokio::test]
async fn every_request_leaves_one_record() {
    let upstream = Upstream::playing(vec![
        answer("Hello."),
        stream_of(&["Hello."]),
        error("400 Bad Request"),
        error("500 Internal Server Error"),
    ])
    .await;
    let config =
        format!("[server]\nbody_limit = \"4KiB\"\n{}[routing]\nmax_retries = 0\n", upstream.known("openai"));
    let gateway = TestGateway::start(&config).await;
    let long = json!({"model": PRICED, "messages": [{"role": "user", "content": "x".repeat(5000)}]});
    let bodies = [
        ("200", question(PRICED)),
        ("200", streamed(PRICED)),
        ("400", question(PRICED)),
        ("500", question(PRICED)),
        ("404", question("nothing-like-it")),
        ("400", json!({"model": PRICED, "messages": 5})),
        ("413", long),
    ];
    let mut expected = Vec::new();
    for (status, body) in bodies {
        let reply = gateway.chat(&body).await;
        assert_eq!(reply.status.to_string(), status, "{}", reply.text());
        expected.push((reply.header("x-request-id").unwrap().to_owned(), reply.status));
    }
    let reply = gateway.chat_with(&[("content-type", "image/png")], &question(PRICED)).await;
    expected.push((reply.header("x-request-id").unwrap().to_owned(), 415));
    // A request without a valid key leaves none.
    gateway.chat_with(&[("authorization", "Bearer wrong")], &question(PRICED)).await;
    let active = gateway.metric("llmgateway_active_requests").await;
    assert_eq!(active, Some(0.0));
    let records = gateway.records().await;
    let mut found: Vec<(String, u16)> =
        records.iter().map(|record| (record.request_id.clone(), record.status)).collect();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let keys: BTreeSet<&str> = records.iter().map(|record| record.key_id.as_str()).collect();
    assert_eq!(keys, BTreeSet::from(["static:key1"]));
}

#[tokio::test]
async fn the_answer_and_the_record_agree() {
    let upstream = Upstream::playing(vec![answer("Hello."), stream_of(&["Hello."])]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let whole = gateway.chat_with(&[("x-session-id", "s1")], &question(PRICED)).await;
    let stream = gateway.chat(&streamed(PRICED)).await;
    let usages = [whole.at("/usage"), stream.events().pop().unwrap()["usage"].clone()];
    let records = gateway.records().await;
    for (usage, record) in usages.iter().zip(&records) {
        let cost = record.cost.unwrap();
        assert_eq!(usage["cost_usd_total"].as_f64(), Some(cost.total.as_usd()), "{usage}");
        assert_eq!(usage["cost_usd_input"].as_f64(), Some(cost.input.as_usd()));
        assert_eq!(usage["cost_usd_output"].as_f64(), Some(cost.output.as_usd()));
        assert_eq!(usage["total_tokens"].as_u64(), Some(record.usage.unwrap().total_tokens()));
        assert_eq!((record.status, record.error_kind.as_deref(), record.canceled), (200, None, false));
        assert_eq!(record.requested_model, PRICED);
        assert_eq!(
            (record.used_provider.as_deref(), record.used_model.as_deref()),
            (Some("openai"), Some("gpt-4o-mini"))
        );
        assert_eq!(record.underlying_model.as_deref(), Some("ran-this"));
        assert_eq!(record.finish_reason.as_deref(), Some("stop"));
        assert!(record.ttft_ms.is_some() && record.attempts.len() == 1);
    }
    assert_eq!(records.iter().map(|record| record.streamed).collect::<Vec<_>>(), [false, true]);
    assert_eq!(records[0].session_id.as_deref(), Some("s1"));
}

#[tokio::test]
async fn a_failed_request_costs_nothing_and_counts_no_tokens() {
    let upstream = Upstream::playing(vec![error("500 Internal Server Error")]).await;
    let config = upstream.known("openai") + "[routing]\nmax_retries = 0\n";
    let gateway = TestGateway::start(&config).await;
    gateway.chat(&question(PRICED)).await;
    let labels = r#"{provider="openai",model="gpt-4o-mini"}"#;
    assert_eq!(gateway.metric(&format!("llmgateway_cost_usd_total{labels}")).await, Some(0.0));
    let record = gateway.record().await;
    assert_eq!((record.cost, record.usage), (Some(canon::Cost::default()), None));
}

#[tokio::test]
async fn metrics_count_requests_tokens_cost_and_time() {
    let upstream =
        Upstream::playing(vec![answer("Hello."), stream_of(&["Hello."]), error("429 Too Many Requests")])
            .await;
    let gateway = TestGateway::start(&(upstream.known("openai") + "[routing]\nmax_retries = 0\n")).await;
    for body in [question(PRICED), streamed(PRICED), question(PRICED)] {
        gateway.chat(&body).await;
    }
    let labels = r#"provider="openai",model="gpt-4o-mini""#;
    let expected = [
        (format!("requests_total{{{labels}}}"), 3.0),
        (format!("errors_total{{{labels},kind=\"rate_limit\"}}"), 1.0),
        (format!("tokens_total{{{labels},kind=\"input\"}}"), 16.0),
        (format!("tokens_total{{{labels},kind=\"cache_read\"}}"), 4.0),
        (format!("tokens_total{{{labels},kind=\"output\"}}"), 10.0),
        (format!("first_token_seconds_count{{{labels}}}"), 2.0),
        (format!("upstream_seconds_count{{{labels}}}"), 3.0),
        (format!("overhead_seconds_count{{{labels}}}"), 3.0),
        ("active_requests".to_owned(), 0.0),
        ("unrecorded_total".to_owned(), 0.0),
    ];
    for (name, value) in expected {
        assert_eq!(gateway.metric(&format!("llmgateway_{name}")).await, Some(value), "{name}");
    }
    let cost = gateway.metric(&format!("llmgateway_cost_usd_total{{{labels}}}")).await.unwrap();
    let records = gateway.records().await;
    let sum: canon::Pico = records.iter().filter_map(|record| Some(record.cost?.total)).sum();
    assert!((cost - sum.as_usd()).abs() < 1e-12, "{cost} {sum}");
}

#[tokio::test]
async fn labels_are_bounded() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    for number in 0..20 {
        gateway.chat(&question(&format!("openai/made-up-{number}"))).await;
        gateway.chat(&question(&format!("unknown-{number}"))).await;
    }
    let metrics = gateway.get("/metrics").await.text();
    assert!(!metrics.contains("made-up") && !metrics.contains("unknown-"), "{metrics}");
    let other = r#"llmgateway_requests_total{provider="openai",model="other"}"#;
    assert_eq!(gateway.metric(other).await, Some(20.0));
    assert_eq!(gateway.metric(r#"llmgateway_refused_total{kind="model_not_found"}"#).await, Some(20.0));
}

#[tokio::test]
async fn a_refusal_before_the_model_is_known_is_counted() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    gateway.chat_with(&[("content-type", "image/png")], &question(PRICED)).await;
    gateway.chat_bytes(b"{").await;
    gateway.chat_with(&[("authorization", "Bearer wrong")], &question(PRICED)).await;
    for (kind, count) in [("unsupported_media_type", 1.0), ("invalid_request", 1.0), ("authentication", 1.0)]
    {
        let name = format!("llmgateway_refused_total{{kind=\"{kind}\"}}");
        assert_eq!(gateway.metric(&name).await, Some(count), "{kind}");
    }
}

#[tokio::test]
async fn active_requests_are_a_gauge_of_streams_too() {
    let mut upstream = Upstream::by_hand().await;
    let gateway = TestGateway::of(&upstream).await;
    let address = gateway.address;
    let body = streamed("one/any").to_string();
    let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
    let mut line = upstream.next().await;
    line.send([stream_head(), chunk(json!({"content": "Hello."}), None).into_bytes()].concat()).await;
    let reply = asked.await.unwrap();
    assert_eq!(gateway.metric("llmgateway_active_requests").await, Some(1.0));
    line.send(
        events(&[chunk(json!({}), Some("stop")), "data: [DONE]\n\n".to_owned()])[stream_head().len()..]
            .to_vec(),
    )
    .await;
    drop(line);
    reply.rest().await;
    settle().await;
    assert_eq!(gateway.metric("llmgateway_active_requests").await, Some(0.0));
}

/// The phases of a record add up to its duration. The decision is kept after a failure or when the caller asks for it.
#[tokio::test]
async fn records_have_phases_and_the_routing_decision() {
    let upstream = Upstream::playing(vec![
        answer("Hello."),
        stream_of(&["Hello."]),
        error("500 Internal Server Error"),
        answer("At the second try."),
        answer("Explained."),
    ])
    .await;
    let config = upstream.known("openai") + "[logging]\ndecisions_sample = 0.0\n";
    let gateway = TestGateway::start(&config).await;
    for body in [question(PRICED), streamed(PRICED), question(PRICED)] {
        assert_eq!(gateway.chat(&body).await.status, 200);
    }
    gateway.chat_with(&[("x-llmgateway-explain", "true")], &question(PRICED)).await;
    let records = gateway.records().await;
    let kept: Vec<bool> = records.iter().map(|record| record.decision.is_some()).collect();
    assert_eq!(kept, [false, false, true, true]);
    let decision = records[2].decision.as_ref().unwrap();
    assert_eq!(decision["scores"][0]["provider"], "openai", "{decision}");
    for record in &records {
        let phases = record.phases.unwrap();
        let all = phases.list();
        let whole: u64 = all[2..].iter().sum();
        assert_eq!(whole / 1000, record.duration_ms, "{phases:?}");
        assert!(phases.wait > 0 && phases.plan > 0, "{phases:?}");
    }
    let opened: Vec<bool> = records.iter().map(|record| record.phases.unwrap().connect > 0).collect();
    assert!(opened[0], "the first request opens a connection");
    assert!(records[1].phases.unwrap().settle == 0 && records[0].phases.unwrap().stream == 0);
    let starts: Vec<u64> = records[2].attempts.iter().map(|attempt| attempt.start_ms).collect();
    assert!(starts.len() == 2 && starts.is_sorted());
}

#[tokio::test]
async fn a_sample_of_decisions_is_kept() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = upstream.known("openai") + "[logging]\ndecisions_sample = 1.0\n";
    let gateway = TestGateway::start(&config).await;
    gateway.chat(&question(PRICED)).await;
    assert_eq!(gateway.record().await.decision.unwrap()["filtered"], json!([]));
}
