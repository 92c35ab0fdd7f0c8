//! `GET /v1/models` lists what chat accepts.

use serde_json::{Value, json};

use crate::support::{KEY, TestGateway, Upstream, answer, question, raw, whole};

fn ids(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|entry| entry["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn every_listed_model_is_found_and_has_a_date() {
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
    let heard = mine.received();
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
async fn a_provider_that_does_not_list_its_models_does_not_break_the_list() {
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
async fn own_models_count_under_their_names_and_metrics_have_a_content_type() {
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

#[tokio::test]
async fn a_described_model_is_routed_priced_and_listed() {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!(
        "{}[providers.mine.models.\"org/qwen.3\"]\ncontext_tokens = 4096\nfeatures = [\"tools\"]\n\
         price = {{ input = \"1\", output = \"2\", cache_read = \"0.5\" }}\n",
        upstream.provider("mine", "openai-chat"),
    );
    let gateway = TestGateway::start(&config).await;
    for name in ["org/qwen.3", "mine/org/qwen.3"] {
        let reply = gateway.chat(&question(name)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        // 6 uncached and 4 cached tokens, 5 produced.
        assert_eq!(reply.at("/usage/cost_usd_total"), 0.000018, "{}", reply.text());
        assert_eq!(reply.at("/metadata/used_provider"), "mine");
    }
    let mut picture = question("mine/org/qwen.3");
    let url = json!({"url": "data:image/png;base64,aGVsbG8="});
    picture["messages"][0]["content"] = json!([{"type": "image_url", "image_url": url}]);
    let refused = gateway.chat(&picture).await;
    assert_eq!(refused.error(), (400, "invalid_request_error".into(), "unsupported_feature".into()));
    let mut long = question("org/qwen.3");
    long["messages"][0]["content"] = json!("word ".repeat(40_000));
    assert_eq!(gateway.chat(&long).await.error().2, "context_length_exceeded");

    let entry = gateway.get("/v1/models/mine/org/qwen.3").await.json();
    let provider = &entry["providers"][0];
    assert_eq!(provider["price_usd_per_million"], json!({"input": "1", "output": "2", "cache_read": "0.5"}));
    assert_eq!((&provider["context_tokens"], &provider["features"]), (&json!(4096), &json!(["tools"])));
    let list = gateway.get("/v1/models").await.json();
    assert!(ids(&list).contains(&"org/qwen.3"), "{list}");
    let counted = "llmgateway_cost_usd_total{provider=\"mine\",model=\"org/qwen.3\"}";
    assert!(gateway.metric(counted).await.unwrap() > 0.0);
}

/// Aliases of every operation are listed with what they serve, and prices with their units.
#[tokio::test]
async fn models_without_a_conversation_have_their_operations_and_prices() {
    let upstream = Upstream::playing(vec![]).await;
    let config = format!(
        "{}[models.vectors]\ntargets = [\"openai/text-embedding-3-small\"]\n\
         [models.both]\ntargets = [\"openai/gpt-4o-mini\", \"openai/whisper-1\"]\n\
         [models.mixed]\ntargets = [\"openai/text-embedding-3-small\", \"openai/text-embedding-3-large\"]\n",
        upstream.known("openai"),
    );
    let gateway = TestGateway::start(&config).await;
    let entry = async |id: &str| gateway.get(&format!("/v1/models/{id}")).await.json();
    assert_eq!(entry("vectors").await["operations"], json!(["embeddings"]));
    assert_eq!(entry("both").await["operations"], json!(["chat", "transcriptions", "translations"]));
    assert_eq!(gateway.get("/v1/models/mixed").await.status, 404, "no request can use it");
    let list = gateway.get("/v1/models").await.json();
    assert!(ids(&list).contains(&"vectors") && !ids(&list).contains(&"mixed"), "{list}");
    let provider = entry("openai/tts-1").await["providers"][0].clone();
    assert_eq!(provider["price_usd_per_million"], Value::Null);
    assert_eq!(provider["price_usd_per_unit"], json!({"character": "0.000015"}));

    let google = gateway.get("/v1beta/models/openai/tts-1").await.json();
    assert_eq!(google["supportedGenerationMethods"], json!([]));
    let request = format!(
        "GET /v1/models?limit=1000 HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-api-key: {KEY}\r\nanthropic-version: 2023-06-01\r\n\r\n"
    );
    let anthropic = gateway.send(request.as_bytes()).await.json();
    assert!(ids(&anthropic).contains(&"both") && !ids(&anthropic).contains(&"vectors"), "{anthropic}");
}

#[tokio::test]
async fn a_described_model_of_the_catalog_competes_by_its_price() {
    let mine = Upstream::playing(vec![answer("Mine.")]).await;
    let known = Upstream::playing(vec![answer("Known.")]).await;
    let providers = format!("{}{}", mine.provider("mine", "openai-chat"), known.known("openai"));
    for (price, used) in [("0.01", "mine"), ("900", "openai")] {
        let config = format!(
            "{providers}[providers.mine.models.\"gpt-4o-mini\"]\nprice = {{ input = \"{price}\", output = \"{price}\" }}\n"
        );
        let gateway = TestGateway::start(&config).await;
        let reply = gateway.chat(&question("gpt-4o-mini")).await;
        assert_eq!(reply.at("/metadata/used_provider"), used, "{}", reply.text());
    }
}
