//! `GET /v1/models` lists what chat accepts.

use serde_json::{Value, json};

use crate::support::{KEY, TestGateway, Upstream, answer, question, raw, whole};

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn whatever_is_listed_is_found_and_has_a_date() {
    let list = json!({"data": [{"id": "org/qwen", "created": 1_700_000_000}, {"id": "other"}]});
    let mine = Upstream::playing(vec![whole("200 OK", &list)]).await;
    let known = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!(
        "{}{}[models.fast]\ntargets = [\"mine/org/qwen\"]\n[models.gone]\ntargets = [\"groq/llama-3.3-70b-versatile\"]\n",
        mine.provider("mine", "openai-chat"),
        known.known("openai")
    );
    let gateway = TestGateway::start(&config).await;
    let list = gateway.get("/v1/models?mapped=true").await.json();
    let ids = ids(&list);
    assert_eq!(ids[..4], ["fast", "auto", "mine/org/qwen", "mine/other"], "{ids:?}");
    assert!(ids.contains(&"gpt-4o-mini") && ids.contains(&"openai/gpt-4o-mini"), "{ids:?}");
    // No target of this alias can be used, and this provider is not enabled: chat would refuse both.
    assert!(!ids.contains(&"gone") && !ids.iter().any(|id| id.starts_with("anthropic/")), "{ids:?}");
    let unmapped = gateway.get("/v1/models").await.json();
    assert!(!unmapped.to_string().contains("\"id\":\"openai/"), "{unmapped}");
    for entry in list["data"].as_array().unwrap() {
        assert!(entry["created"].as_i64().unwrap() > 0, "{entry}");
        let id = entry["id"].as_str().unwrap();
        for path in [format!("/v1/models/{id}"), format!("/v1/models/{}", id.replace('/', "%2F"))] {
            let found = gateway.get(&path).await;
            assert_eq!((found.status, found.json()["id"].as_str()), (200, Some(id)), "{path}");
        }
    }
    // The list was asked for once, without a body.
    let heard = mine.heard();
    assert_eq!(heard.len(), 1);
    assert!(heard[0].head.starts_with("GET /v1/models HTTP/1.1"), "{}", heard[0].head);
    assert_eq!(heard[0].header("authorization"), Some("Bearer mine-key"));
    let unknown = gateway.get("/v1/models/mine/nobody").await;
    assert_eq!(unknown.status, 404);
    assert!(!unknown.text().contains(KEY));
}

#[tokio::test]
async fn retired_models_are_not_listed() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("anthropic")).await;
    let snapshot = gateway.snapshot();
    let retired = snapshot
        .catalog
        .models()
        .flat_map(|model| &model.servings)
        .find(|serving| serving.provider == "anthropic" && serving.is_gone("2026-01-01"));
    let retired = retired.expect("a model that its maker has switched off").clone();
    let list = gateway.get("/v1/models?mapped=true").await.json();
    let id = format!("anthropic/{}", retired.upstream_id);
    assert!(!ids(&list).contains(&id.as_str()) && !ids(&list).contains(&retired.model.as_str()), "{id}");
    assert_eq!(gateway.get(&format!("/v1/models/{id}")).await.status, 404);
}

#[tokio::test]
async fn a_provider_that_does_not_list_its_models_does_not_spoil_the_list() {
    for reply in
        [raw("500 Oops", "", "no"), raw("200 OK", "", "<html>"), whole("200 OK", &json!({"data": 5}))]
    {
        let upstream = Upstream::playing(vec![reply]).await;
        let gateway = TestGateway::of(&upstream).await;
        let reply = gateway.get("/v1/models").await;
        assert_eq!((reply.status, ids(&reply.json()).len()), (200, 0));
    }
}

#[tokio::test]
async fn own_models_count_under_their_names_and_metrics_say_what_they_are() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let gateway = TestGateway::start(&format!(
        "{}{}",
        upstream.provider("one", "openai-chat"),
        upstream.known("openai")
    ))
    .await;
    assert_eq!(gateway.chat(&question("one/my-model")).await.status, 200);
    assert_eq!(gateway.chat(&question("openai/no-such-model")).await.status, 200);
    for labels in ["provider=\"one\",model=\"my-model\"", "provider=\"openai\",model=\"other\""] {
        let count = gateway.metric(&format!("llmgateway_requests_total{{{labels}}}")).await;
        assert_eq!(count, Some(1.0), "{labels}");
    }
    let scraped = gateway.get("/metrics").await;
    assert_eq!(scraped.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let request = "GET /metrics HTTP/1.1\r\nhost: g\r\nconnection: close\r\naccept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.1\r\n\r\n";
    let open = gateway.send(request.as_bytes()).await;
    assert_eq!(
        open.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.text().ends_with("# EOF\n"));
}
