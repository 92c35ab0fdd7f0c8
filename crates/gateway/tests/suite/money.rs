//! The cost of answers, as shown and as recorded.

use serde_json::{Value, json};

use crate::support::{
    Native, Reply, TestGateway, Upstream, answer_of, chunk, error, events, native, question, raw, streamed,
    whole,
};

/// 600 uncached and 400 cached tokens, 100 produced.
fn usage() -> Value {
    json!({"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100,
        "prompt_tokens_details": {"cached_tokens": 400}})
}

/// An answer with this usage and this service tier.
fn answered(stream: bool, usage: &Value, tier: Option<&str>) -> Vec<u8> {
    if !stream {
        let mut body = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop");
        body["usage"] = usage.clone();
        if let Some(tier) = tier {
            body["service_tier"] = json!(tier);
        }
        return whole("200 OK", &body);
    }
    let mut last: Value = serde_json::from_str(&chunk(json!({}), None)["data: ".len()..]).unwrap();
    last["choices"] = json!([]);
    last["usage"] = usage.clone();
    if let Some(tier) = tier {
        last["service_tier"] = json!(tier);
    }
    events(&[
        chunk(json!({"role": "assistant", "content": "Hello."}), None),
        chunk(json!({}), Some("stop")),
        format!("data: {last}\n\n"),
        "data: [DONE]\n\n".to_owned(),
    ])
}

fn shown(reply: &Reply) -> Value {
    let answer = if reply.data().is_empty() { reply.json() } else { reply.events().pop().unwrap() };
    answer["usage"].clone()
}

async fn answer_and_record(
    config: &str,
    model: &str,
    stream: bool,
    tier: Option<&str>,
) -> (Value, store::UsageRecord) {
    let gateway = TestGateway::start(config).await;
    let mut body = if stream { streamed(model) } else { question(model) };
    if let Some(tier) = tier {
        body["service_tier"] = json!(tier);
    }
    if stream {
        body["stream_options"] = json!({"include_usage": true});
    }
    let reply = gateway.chat(&body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    (shown(&reply), gateway.record().await)
}

fn recorded(record: &store::UsageRecord) -> Value {
    record.cost.map_or(Value::Null, |cost| serde_json::from_str(&cost.total.to_string()).unwrap())
}

/// gpt-4o costs 2.50, 1.25 cached and 10 USD a million tokens; 4.25, 2.125 and 17 by priority.
#[tokio::test]
async fn an_answer_is_priced_by_the_service_tier_that_served() {
    let usual = json!(0.003);
    let priority = json!(0.0051);
    let cases = [
        (Some("priority"), Some("priority"), &priority),
        (Some("priority"), Some("default"), &usual),
        (Some("auto"), Some("priority"), &priority),
        (None, None, &usual),
        (Some("priority"), None, &priority),
        (None, Some("flex"), &Value::Null),
        (None, Some("scale"), &Value::Null),
    ];
    for (tier, served, expected) in cases {
        for stream in [false, true] {
            let upstream = Upstream::playing(vec![answered(stream, &usage(), served)]).await;
            let (shown, record) =
                answer_and_record(&upstream.known("openai"), "openai/gpt-4o", stream, tier).await;
            assert_eq!(shown["cost_usd_total"], *expected, "asked {tier:?}, served {served:?}: {shown}");
            assert_eq!(recorded(&record), *expected, "asked {tier:?}, served {served:?}");
        }
    }
}

/// Own providers with prices by tier: 15 tokens cost 15 µUSD, 30 by priority.
fn priced(section: &str, id: &str, usual: u32, priority: u32) -> String {
    format!(
        "{section}[providers.{id}.models.m]\nprice = {{ input = \"{usual}\", output = \"{usual}\", \
         service_tiers = {{ priority = {{ input = \"{priority}\", output = \"{priority}\" }} }} }}\n"
    )
}

#[tokio::test]
async fn the_tier_that_served_prices_answers_of_every_format() {
    let (usual, priority) = (json!(0.000015), json!(0.00003));
    let cases = [
        ("anthropic-messages", "standard", &usual),
        ("anthropic-messages", "priority", &priority),
        ("anthropic-messages", "batch", &Value::Null),
        ("gemini", "standard", &usual),
        ("gemini", "priority", &priority),
        ("gemini", "flex", &Value::Null),
        ("openai-responses", "default", &usual),
        ("openai-responses", "priority", &priority),
        ("openai-responses", "flex", &Value::Null),
    ];
    for (protocol, served, expected) in cases {
        let Native { whole: body, stream: text } = native(protocol, Some(served));
        for stream in [false, true] {
            let reply = if stream { events(std::slice::from_ref(&text)) } else { whole("200 OK", &body) };
            let upstream = Upstream::playing(vec![reply]).await;
            let config = priced(&upstream.provider("one", protocol), "one", 1, 2);
            // Providers serve what they can: a request for priority may get the usual tier, and the reverse.
            for tier in [None, Some("priority")] {
                let (shown, record) = answer_and_record(&config, "one/m", stream, tier).await;
                assert_eq!(shown["cost_usd_total"], *expected, "{protocol} {served} {tier:?}: {shown}");
                assert_eq!(recorded(&record), *expected, "{protocol} {served} {tier:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_tier_that_bedrock_served_prices_its_answer() {
    for (served, expected) in
        [("default", json!(0.000015)), ("priority", json!(0.00003)), ("flex", Value::Null)]
    {
        let body = json!({"output": {"message": {"role": "assistant", "content": [{"text": "Hello."}]}},
            "stopReason": "end_turn", "usage": {"inputTokens": 10, "outputTokens": 5, "totalTokens": 15},
            "serviceTier": {"type": served}});
        let upstream = Upstream::playing(vec![whole("200 OK", &body)]).await;
        let section =
            format!("[providers.aws-bedrock]\nbase_url = \"{}\"\napi_key = \"k\"\n", upstream.url());
        let config = priced(&section, "aws-bedrock", 1, 2);
        for tier in [None, Some("priority")] {
            let (shown, record) = answer_and_record(&config, "aws-bedrock/m", false, tier).await;
            assert_eq!(shown["cost_usd_total"], expected, "{served} {tier:?}: {shown}");
            assert_eq!(recorded(&record), expected, "{served} {tier:?}");
        }
    }
}

#[tokio::test]
async fn the_tier_that_a_request_asks_for_estimates_its_cost() {
    // 10,000 tokens cost 0.01 USD, and 0.04 by priority.
    let upstream = Upstream::playing(vec![answered(false, &usage(), None)]).await;
    let config = format!(
        "{}[projects.a]\nbudgets = [{{ usd = \"0.02\", per = \"day\" }}]\n[[projects.a.keys]]\nname = \"ci\"\nkey = \"team-key\"\n",
        priced(&upstream.provider("one", "openai-chat"), "one", 1, 4),
    );
    let gateway = TestGateway::start(&config).await;
    let mut body = question("one/m");
    body["max_tokens"] = json!(10_000);
    for (tier, status) in [("priority", 402), ("default", 200), ("auto", 200)] {
        body["service_tier"] = json!(tier);
        let reply = gateway.chat_with(&[("authorization", "Bearer team-key")], &body).await;
        assert_eq!(reply.status, status, "{tier}: {}", reply.text());
    }
    assert_eq!(upstream.received().len(), 2);

    // The cheapest provider is the cheapest in that tier.
    let other = Upstream::playing(vec![answered(false, &usage(), None)]).await;
    let config = priced(&upstream.provider("one", "openai-chat"), "one", 1, 9)
        + &priced(&other.provider("two", "openai-chat"), "two", 2, 3)
        + "[models.both]\ntargets = [\"one/m\", \"two/m\"]\n";
    let gateway = TestGateway::start(&config).await;
    for (tier, provider) in [("default", "one"), ("priority", "two")] {
        let mut body = question("both");
        body["service_tier"] = json!(tier);
        body["provider"] = json!({"sort": "price"});
        let reply = gateway.chat(&body).await;
        assert_eq!(reply.at("/metadata/used_provider"), provider, "{tier}: {}", reply.text());
    }
}

#[tokio::test]
async fn cached_tokens_outside_of_the_prompt_count_are_shown_as_recorded() {
    let usage = json!({"prompt_tokens": 205, "completion_tokens": 18, "total_tokens": 223,
        "prompt_tokens_details": {"cached_tokens": 159}});
    for stream in [false, true] {
        let upstream = Upstream::playing(vec![answered(stream, &usage, None)]).await;
        let config = upstream.known("openrouter");
        let (shown, record) = answer_and_record(&config, "openrouter/x-ai/grok-4.5", stream, None).await;
        assert_eq!(shown["prompt_tokens"], 364, "{shown}");
        assert_eq!(shown["total_tokens"], 382, "{shown}");
        let usage = record.usage.unwrap();
        assert_eq!((usage.input, usage.cache_read, usage.prompt_tokens()), (205, 159, 364));
        assert_eq!(recorded(&record), shown["cost_usd_total"]);
    }
}

#[tokio::test]
async fn impossible_counts_are_neither_shown_nor_priced() {
    for count in [json!(-5), json!(1_u64 << 60), json!(1e30)] {
        for stream in [false, true] {
            let usage = json!({"prompt_tokens": 10, "completion_tokens": count, "total_tokens": 10});
            let upstream = Upstream::playing(vec![answered(stream, &usage, None)]).await;
            let (shown, record) =
                answer_and_record(&upstream.known("openai"), "openai/gpt-4o", stream, None).await;
            assert_eq!(shown, Value::Null, "{count}");
            assert_eq!((record.usage, record.cost), (None, None), "{count}");
        }
    }
}

#[tokio::test]
async fn counts_of_another_type_are_shown_as_the_recorded_numbers() {
    let odd = [json!("10"), json!(10.0)];
    for count in odd {
        for stream in [false, true] {
            let usage = json!({"prompt_tokens": count, "completion_tokens": 2, "total_tokens": 12});
            let upstream = Upstream::playing(vec![answered(stream, &usage, None)]).await;
            let (shown, record) =
                answer_and_record(&upstream.known("openai"), "openai/gpt-4o", stream, None).await;
            assert_eq!(shown["prompt_tokens"], json!(10), "{usage}");
            assert_eq!(record.usage.unwrap().prompt_tokens(), 10, "{usage}");
        }
    }
}

#[tokio::test]
async fn a_failed_attempt_keeps_the_status_of_its_answer() {
    let redirect = raw("302 Found", "location: /elsewhere\r\n", "");
    let cases = [(redirect, 302), (broken(), 200), (raw("200 OK", "", "<p>Hello</p>"), 200)];
    for (reply, status) in cases {
        let upstream = Upstream::playing(vec![reply]).await;
        let config = upstream.known("openai") + "[routing]\nmax_retries = 0\n";
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&question("openai/gpt-4o")).await;
        assert_eq!((reply.status, &reply.at("/metadata/routing/0/status_code")), (502, &json!(status)));
        assert_eq!(gateway.record().await.attempts[0].status_code, status);
    }
}

/// An answer that breaks off in its middle.
fn broken() -> Vec<u8> {
    b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1000\r\ncontent-type: application/json\r\n\r\n{\"id\":"
        .to_vec()
}

#[tokio::test]
async fn a_failed_attempt_that_is_billed_is_shown_beside_the_cost() {
    let replies = vec![error("500 Internal Server Error"), broken(), answered(false, &usage(), None)];
    let upstream = Upstream::playing(replies).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = gateway.chat(&question("openai/gpt-4o")).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let metadata = reply.at("/metadata");
    let prompt = gateway
        .metric("llmgateway_upstream_cost_usd_total{provider=\"openai\",model=\"gpt-4o\"}")
        .await
        .unwrap();
    assert_eq!(reply.at("/usage/cost_usd_total"), metadata["cost_usd_total"]);
    let record = gateway.record().await;
    let (cost, upstream_cost) = (record.cost.unwrap().total, record.upstream_cost.unwrap());
    assert!(upstream_cost > cost, "the prompt of the broken answer is billed");
    assert_eq!(metadata["upstream_cost_usd_total"], upstream_cost.as_usd());
    assert!((prompt - upstream_cost.as_usd()).abs() < 1e-12, "{prompt} {upstream_cost}");

    // A refused request costs nothing, so nothing is shown.
    let upstream =
        Upstream::playing(vec![error("503 Service Unavailable"), answered(false, &usage(), None)]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let reply = gateway.chat(&question("openai/gpt-4o")).await;
    assert_eq!(reply.at("/metadata").get("upstream_cost_usd_total"), None, "{}", reply.text());
    let record = gateway.record().await;
    assert_eq!(Some(record.cost.unwrap().total), record.upstream_cost);
}

#[tokio::test]
async fn an_error_shows_its_cost_for_the_operator() {
    for (model, is_known) in [("openai/gpt-4o", true), ("openai/of-unknown-price", false)] {
        let upstream = Upstream::playing(vec![broken()]).await;
        let gateway = TestGateway::start(&upstream.known("openai")).await;
        let reply = gateway.chat(&question(model)).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        let metadata = reply.at("/metadata");
        assert_eq!(metadata["cost_usd_total"], 0, "{metadata}");
        let record = gateway.record().await;
        assert_eq!(record.upstream_cost.is_some(), is_known);
        let recorded = record.upstream_cost.map_or(Value::Null, |cost| json!(cost.as_usd()));
        assert_eq!(metadata["upstream_cost_usd_total"], recorded, "{metadata}");
        assert_ne!(recorded, 0.0);
    }
}
