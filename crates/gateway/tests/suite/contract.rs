//! The contents of a successful answer, whole and streamed.

use serde_json::{Value, json};

use crate::support::{
    Reply, TestGateway, Upstream, advance_seconds, answer, answer_of, at, chunk, events, open, question,
    stream_head, stream_of, streamed, whole, with_held_clock,
};

/// A model of the catalog that has a price with a lower one for cached tokens.
const PRICED: &str = "openai/gpt-4o-mini";

async fn priced(upstream: &Upstream) -> TestGateway {
    TestGateway::start(&upstream.known("openai")).await
}

#[tokio::test]
async fn the_gateways_object_is_placed_where_the_client_accepts_it() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    for (headers, place) in [
        (vec![], Some("metadata")),
        (vec![("user-agent", "pydantic-ai/2.68.0")], Some("llmgateway")),
        (vec![("x-llmgateway-metadata", "llmgateway")], Some("llmgateway")),
        (vec![("x-llmgateway-metadata", "none")], None),
    ] {
        let reply = gateway.chat_with(&headers, &question("openai/gpt-4o-mini")).await;
        let body = reply.json();
        for name in ["metadata", "llmgateway"] {
            assert_eq!(body.get(name).is_some(), place == Some(name), "{headers:?}: {body}");
        }
        if let Some(name) = place {
            assert_eq!(body[name]["used_provider"], "openai");
        }
        for (name, value) in [
            ("x-llmgateway-provider", "openai"),
            ("x-llmgateway-model", "gpt-4o-mini"),
            ("x-llmgateway-attempts", "1"),
        ] {
            assert_eq!(reply.header(name), Some(value));
        }
        let cost: f64 = reply.header("x-llmgateway-cost-usd").unwrap().parse().unwrap();
        assert_eq!(body["usage"]["cost_usd_total"].as_f64(), Some(cost));
    }
}

#[tokio::test]
async fn a_whole_answer_has_usage_cost_and_metadata() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = priced(&upstream).await;
    let reply = gateway.chat(&question(PRICED)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.at("/object"), "chat.completion");
    assert_eq!(reply.at("/choices/0/message"), json!({"role": "assistant", "content": "Hello."}));
    assert_eq!(reply.at("/choices/0/finish_reason"), "stop");
    let usage = reply.at("/usage");
    for (name, tokens) in [("prompt_tokens", 10), ("completion_tokens", 5), ("total_tokens", 15)] {
        assert_eq!(usage[name], tokens, "{usage}");
    }
    assert_eq!(at(&usage, "/prompt_tokens_details/cached_tokens"), 4);
    // 6 at 0.15, 4 at 0.075 and 5 at 0.60 dollars per million. The input cost includes cached tokens, as the count does.
    for cost in [
        r#""cost_usd_total":0.0000042,"#,
        r#""cost_usd_input":0.0000012,"#,
        r#""cost_usd_cached_input":0.0000003"#,
        r#""cost_usd_output":0.000003,"#,
    ] {
        assert!(reply.text().contains(cost), "{cost}: {}", reply.text());
    }
    assert_metadata(&reply.at("/metadata"), &reply);
}

fn assert_metadata(metadata: &Value, reply: &Reply) {
    let mut names: Vec<&String> = metadata.as_object().unwrap().keys().collect();
    names.sort();
    let expected = [
        "losses",
        "request_id",
        "requested_model",
        "requested_provider",
        "routing",
        "selection",
        "underlying_used_model",
        "used_model",
        "used_provider",
    ];
    assert_eq!(names, expected);
    assert_eq!(metadata["request_id"].as_str(), reply.header("x-request-id"));
    assert_eq!(metadata["requested_model"], PRICED);
    assert_eq!(metadata["requested_provider"], "openai");
    assert_eq!(
        (&metadata["used_provider"], &metadata["used_model"]),
        (&json!("openai"), &json!("gpt-4o-mini"))
    );
    assert_eq!(metadata["underlying_used_model"], "ran-this");
    let attempt = &metadata["routing"][0];
    assert_eq!((&attempt["status_code"], &attempt["error_type"]), (&json!(200), &json!("")));
    assert_eq!(metadata["losses"], json!([]));
    assert!(metadata["selection"]["reason"].is_string(), "{metadata}");
}

#[tokio::test]
async fn the_callers_request_id_is_kept_if_it_is_a_plain_one() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = priced(&upstream).await;
    let reply = gateway.chat_with(&[("x-request-id", "mine-1")], &question(PRICED)).await;
    assert_eq!(reply.header("x-request-id"), Some("mine-1"));
    assert_eq!(reply.at("/metadata/request_id"), "mine-1");
    let reply = gateway.chat_with(&[("x-request-id", "with a blank")], &question(PRICED)).await;
    assert!(reply.header("x-request-id").unwrap().starts_with("req_"));
}

#[tokio::test]
async fn ids_are_made_where_the_provider_gives_none() {
    let mut nameless = answer_of(json!({"role": "assistant", "content": "Hello."}), "stop");
    nameless.as_object_mut().unwrap().remove("id");
    let upstream = Upstream::playing(vec![whole("200 OK", &nameless)]).await;
    let gateway = TestGateway::of(&upstream).await;
    let id = gateway.chat(&question("one/any")).await.at("/id");
    let id = id.as_str().unwrap().to_owned();
    assert!(id.starts_with("chatcmpl-") && id.len() == 41, "{id}");
    assert_ne!(gateway.chat(&question("one/any")).await.at("/id"), json!(id));
}

#[tokio::test]
async fn an_unknown_price_is_null_and_never_zero() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let usage = gateway.chat(&question("one/any")).await.at("/usage");
    for name in ["cost_usd_input", "cost_usd_cached_input", "cost_usd_output", "cost_usd_total"] {
        assert_eq!(usage.get(name), Some(&Value::Null), "{usage}");
    }
    let metric = r#"llmgateway_unpriced_total{provider="one",model="any"}"#;
    assert_eq!(gateway.metric(metric).await, Some(1.0));
    assert_eq!(gateway.record().await.cost, None);
}

#[tokio::test]
async fn thinking_has_both_field_names() {
    let message = json!({"role": "assistant", "content": "4", "reasoning_content": "2 and 2"});
    let upstream = Upstream::playing(vec![
        whole("200 OK", &answer_of(message, "stop")),
        events(&[
            chunk(json!({"role": "assistant", "reasoning_content": "2 and 2"}), None),
            chunk(json!({"content": "4"}), Some("stop")),
            "data: [DONE]\n\n".to_owned(),
        ]),
    ])
    .await;
    let gateway = TestGateway::of(&upstream).await;
    let message = gateway.chat(&question("one/any")).await.at("/choices/0/message");
    assert_eq!(
        (&message["reasoning"], &message["reasoning_content"]),
        (&json!("2 and 2"), &json!("2 and 2"))
    );
    let first = gateway.chat(&streamed("one/any")).await.events()[0].clone();
    let delta = at(&first, "/choices/0/delta");
    assert_eq!((&delta["reasoning"], &delta["reasoning_content"]), (&json!("2 and 2"), &json!("2 and 2")));
}

#[tokio::test]
async fn finish_reasons_are_openais() {
    let message = json!({"role": "assistant", "content": "Hello."});
    for (theirs, ours) in [("stop", "stop"), ("length", "length"), ("content_filter", "content_filter")] {
        let upstream = Upstream::playing(vec![whole("200 OK", &answer_of(message.clone(), theirs))]).await;
        let gateway = TestGateway::of(&upstream).await;
        assert_eq!(gateway.chat(&question("one/any")).await.at("/choices/0/finish_reason"), ours);
    }
}

/// Checks what holds for every stream.
pub fn assert_sound(reply: &Reply) {
    assert!(reply.complete, "{}", reply.text());
    let events = reply.events();
    assert_eq!(reply.done(), 1, "{}", reply.text());
    assert_eq!(reply.data().last().map(String::as_str), Some("[DONE]"));
    for name in ["id", "model", "created", "object"] {
        assert!(
            events.iter().all(|event| event[name] == events[0][name] && !event[name].is_null()),
            "{name}"
        );
    }
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    let deltas: Vec<&Value> = events.iter().map(|event| at(event, "/choices/0/delta")).collect();
    let roles: Vec<usize> = deltas
        .iter()
        .enumerate()
        .filter(|(_, delta)| delta.get("role").is_some())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(roles, [0], "{}", reply.text());
    assert_eq!(reply.finishes().len(), 1, "{}", reply.text());
    assert_calls_are_whole(&deltas);
}

fn assert_calls_are_whole(deltas: &[&Value]) {
    let pieces = deltas.iter().filter_map(|delta| delta["tool_calls"].as_array()).flatten();
    let mut arguments: Vec<String> = Vec::new();
    for piece in pieces {
        let index = piece["index"].as_u64().unwrap() as usize;
        if index == arguments.len() {
            assert!(piece["id"].is_string() && at(piece, "/function/name").is_string(), "{piece}");
            arguments.push(String::new());
        } else {
            assert!(index < arguments.len(), "a gap before {piece}");
            assert!(piece.get("id").is_none() && at(piece, "/function/name").is_null(), "{piece}");
        }
        arguments[index].push_str(at(piece, "/function/arguments").as_str().unwrap_or_default());
    }
    for text in arguments {
        assert!(serde_json::from_str::<Value>(&text).is_ok_and(|value| value.is_object()), "{text}");
    }
}

#[tokio::test]
async fn a_stream_with_usage_ends_with_a_chunk_of_usage_and_metadata() {
    let upstream = Upstream::playing(vec![stream_of(&["Hel", "lo."])]).await;
    let gateway = priced(&upstream).await;
    let reply = gateway.chat(&streamed(PRICED)).await;
    assert!(reply.header("content-type").unwrap().starts_with("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    assert_sound(&reply);
    assert_eq!(reply.content(), "Hello.");
    let events = reply.events();
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(at(last, "/usage/total_tokens"), 15);
    assert!(at(last, "/usage/cost_usd_total").is_number(), "{last}");
    assert_metadata(&last["metadata"], &reply);
    assert!(others.iter().all(|event| event.get("metadata").is_none() && event["choices"] != json!([])));
}

#[tokio::test]
async fn a_stream_without_usage_has_no_chunk_without_choices() {
    let upstream = Upstream::playing(vec![stream_of(&["Hello."])]).await;
    let gateway = priced(&upstream).await;
    let mut body = question(PRICED);
    body["stream"] = json!(true);
    let reply = gateway.chat(&body).await;
    assert_sound(&reply);
    let events = reply.events();
    assert!(events.iter().all(|event| event["choices"] != json!([])), "{}", reply.text());
    assert!(events.iter().all(|event| event["usage"].is_null()), "{}", reply.text());
    let finish = events.iter().find(|event| at(event, "/choices/0/finish_reason").is_string()).unwrap();
    assert_metadata(&finish["metadata"], &reply);
    assert_eq!(gateway.record().await.usage.unwrap().total_tokens(), 15);
}

#[tokio::test]
async fn tool_calls_of_a_stream_count_from_zero() {
    let call = |index: usize, id: &str| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": {"name": "f", "arguments": ""}}]});
    let more = |index: usize| json!({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]});
    let upstream = Upstream::playing(vec![events(&[
        chunk(json!({"role": "assistant"}), None),
        chunk(call(0, "a"), None),
        chunk(more(0), None),
        chunk(call(1, "b"), None),
        chunk(more(1), None),
        chunk(json!({}), Some("tool_calls")),
        "data: [DONE]\n\n".to_owned(),
    ])])
    .await;
    let gateway = TestGateway::of(&upstream).await;
    let reply = gateway.chat(&streamed("one/any")).await;
    assert_sound(&reply);
    assert_eq!(reply.finishes(), ["tool_calls"]);
}

#[tokio::test]
async fn one_json_document_in_place_of_a_stream_becomes_a_stream() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::of(&upstream).await;
    let reply = gateway.chat(&streamed("one/any")).await;
    assert_sound(&reply);
    assert_eq!(reply.content(), "Hello.");
    assert_eq!(gateway.record().await.usage.unwrap().total_tokens(), 15);
}

#[tokio::test]
async fn silence_is_filled_with_pings_before_the_first_token_and_after() {
    with_held_clock(async {
        let mut upstream = Upstream::by_hand().await;
        let gateway = TestGateway::of(&upstream).await;
        let address = gateway.address;
        let body = streamed("one/any").to_string();
        let asked = tokio::spawn(async move { open(address, &[], body.as_bytes()).await });
        let mut line = upstream.next().await;
        advance_seconds(14).await;
        assert!(!asked.is_finished(), "the answer began before 15 seconds of silence");
        advance_seconds(1).await;
        let mut reply = asked.await.unwrap();
        assert_eq!(reply.status, 200);
        advance_seconds(0).await;
        assert_eq!(reply.piece().await.as_deref(), Some(": ping\n\n"));
        advance_seconds(15).await;
        assert_eq!(reply.piece().await.as_deref(), Some(": ping\n\n"));

        line.send(stream_head()).await;
        line.send(chunk(json!({"role": "assistant", "content": "Hel"}), None)).await;
        assert!(reply.piece().await.unwrap().contains("Hel"));
        advance_seconds(14).await;
        line.send(chunk(json!({"content": "lo."}), None)).await;
        assert!(reply.piece().await.unwrap().contains("lo."), "a ping came within 15 seconds");
        advance_seconds(15).await;
        assert_eq!(reply.piece().await.as_deref(), Some(": ping\n\n"));

        line.send(chunk(json!({}), Some("stop"))).await;
        line.send("data: [DONE]\n\n").await;
        drop(line);
        let rest = reply.rest().await;
        assert_eq!((rest.done(), rest.finishes()), (1, vec!["stop".to_owned()]));
    })
    .await;
}
