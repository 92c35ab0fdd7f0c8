//! Rerank and moderations: requests to providers, and answers to callers.

use canon::Operation;
use catalog::Catalog;
use gateway::pipeline::explain::explain_operation;
use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, whole};

async fn post(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    gateway.post(path, body.to_string().as_bytes()).await
}

#[tokio::test]
async fn a_ranking_is_sorted_priced_by_search_units_and_has_its_documents() {
    let results = json!([{"index": 2, "relevance_score": 0.25}, {"index": 0, "relevance_score": 0.998}]);
    let meta = json!({"api_version": {"version": "2"}, "billed_units": {"search_units": 1}});
    let answer = whole("200 OK", &json!({"id": "r-1", "results": results, "meta": meta}));
    let upstream = Upstream::playing(vec![answer]).await;
    let file = format!("[providers.cohere]\nbase_url = \"http://{}\"\napi_key = \"k\"\n", upstream.address);
    let gateway = TestGateway::start(&file).await;
    let documents = json!(["Paris", {"text": "Rome", "page": 2}, {"page": 3}]);
    let body = json!({"model": "cohere/rerank-v3.5", "query": "capital", "documents": documents, "top_n": 2,
        "return_documents": true, "rank_fields": ["text"]});
    let reply = post(&gateway, "/v1/rerank", &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(
        reply.at("/results"),
        json!([
            {"index": 0, "relevance_score": 0.998, "document": {"text": "Paris"}},
            {"index": 2, "relevance_score": 0.25, "document": {"page": 3}},
        ])
    );
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.002), "{}", reply.text());
    let losses = reply.at("/llmgateway/losses");
    let lost: Vec<&Value> = losses.as_array().unwrap().iter().map(|loss| &loss["field"]).collect();
    assert_eq!(lost, [&json!("documents"), &json!("rank_fields")]);
    let heard = &upstream.received()[0];
    let sent: Value = serde_json::from_slice(&heard.body).unwrap();
    let texts = json!(["Paris", "Rome", "{\"page\":3}"]);
    assert_eq!(sent, json!({"model": "rerank-v3.5", "query": "capital", "documents": texts, "top_n": 2}));
    let record = gateway.record().await;
    assert_eq!(record.operation.as_deref(), Some("rerank"));
    assert_eq!(record.amount.map(|amount| amount.count), Some(1));
    assert_eq!((record.usage, record.usage_estimated), (None, false));
}

#[tokio::test]
async fn mistakes_name_their_field() {
    let upstream = Upstream::playing(vec![]).await;
    let file = format!("[providers.cohere]\nbase_url = \"http://{}\"\napi_key = \"k\"\n", upstream.address);
    let gateway = TestGateway::start(&file).await;
    for (body, param) in [
        (json!({"query": "q", "documents": ["a"]}), "model"),
        (json!({"model": "cohere/rerank-v3.5", "documents": ["a"]}), "query"),
        (json!({"model": "cohere/rerank-v3.5", "query": "q"}), "documents"),
        (json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": []}), "documents"),
        (json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a", 1]}), "documents[1]"),
        (json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["a"], "top_n": -1}), "top_n"),
        (json!({"model": "cohere/rerank-v3.5", "query": {"image": "u"}, "documents": ["a"]}), "query"),
        (json!({"model": "cohere/embed-v4.0", "query": "q", "documents": ["a"]}), "model"),
    ] {
        let reply = post(&gateway, "/v2/rerank", &body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)), "{body}: {}", reply.text());
    }
    assert!(upstream.received().is_empty());
}

/// A result without a judgement would pass for a harmless one.
#[tokio::test]
async fn a_moderation_without_a_judgement_is_an_error() {
    for (result, status) in [
        (json!({"flagged": false}), 200),
        (json!({"categories": {"violence": false}}), 200),
        (Value::Null, 502),
        (json!({}), 502),
        (json!({"flagged": "no"}), 502),
    ] {
        for name in ["openai", "mistral"] {
            let answer = whole("200 OK", &json!({"id": "m", "results": [result]}));
            let upstream = Upstream::playing(vec![answer]).await;
            let gateway = TestGateway::start(&upstream.known(name)).await;
            let body = json!({"model": format!("{name}/m"), "input": "a"});
            let reply = post(&gateway, "/v1/moderations", &body).await;
            assert_eq!(reply.status, status, "{name} {result}: {}", reply.text());
        }
    }
    let gateway = TestGateway::start(&Upstream::playing(vec![]).await.known("openai")).await;
    let reply = post(&gateway, "/v1/moderations", &json!({"input": ["a", 5]})).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("input[1]")));
}

/// Some servers write a score under two names.
#[tokio::test]
async fn scores_of_any_name_are_read() {
    let results = json!([{"index": 0, "score": 0.5, "relevance_score": 0.5}, {"index": 1, "score": 0.9}]);
    let upstream = Upstream::playing(vec![whole("200 OK", &json!({ "results": results }))]).await;
    let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
    let body = json!({"model": "one/m", "query": "q", "documents": ["a", "b"]});
    let reply = post(&gateway, "/v1/rerank", &body).await;
    assert_eq!(reply.at("/results/0"), json!({"index": 1, "relevance_score": 0.9}), "{}", reply.text());
}

#[tokio::test]
async fn a_moderation_needs_no_model_and_costs_nothing() {
    let result = json!({"flagged": false, "categories": {"hate/threatening": false}, "category_scores": {"hate/threatening": 1.5e-7}});
    let answer =
        whole("200 OK", &json!({"id": "modr-1", "model": "omni-moderation-latest", "results": [result]}));
    let upstream = Upstream::playing(vec![answer]).await;
    let file =
        format!("[providers.openai]\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", upstream.address);
    let gateway = TestGateway::start(&file).await;
    let reply = post(&gateway, "/v1/moderations", &json!({"input": "hello"})).await;
    assert_eq!((reply.status, reply.at("/results/0")), (200, result), "{}", reply.text());
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0));
    let sent: Value = serde_json::from_slice(&upstream.received()[0].body).unwrap();
    assert_eq!(sent, json!({"input": "hello", "model": "omni-moderation-latest"}));
    for body in [json!({}), json!({"input": []}), json!({"input": ["a", 1]}), json!({"input": 7})] {
        assert_eq!(post(&gateway, "/v1/moderations", &body).await.status, 400, "{body}");
    }
}

#[tokio::test]
async fn explain_shows_the_request_that_would_be_sent() {
    let upstream = Upstream::playing(vec![]).await;
    let file = format!("[providers.cohere]\nbase_url = \"http://{}\"\napi_key = \"k\"\n", upstream.address);
    let gateway = TestGateway::start(&file).await;
    assert!(Catalog::embedded().unwrap().serving("cohere", "embed-v4.0").is_some());
    let body = json!({"model": "cohere/embed-v4.0", "input": "a", "user": "ann"}).to_string();
    let explained =
        explain_operation(&gateway.snapshot(), Operation::Embeddings, &body.into(), routing::Timestamp(0));
    let told = explained.unwrap_or_else(|error| panic!("{}", error.message)).as_json();
    assert!(told["request"]["url"].as_str().unwrap().ends_with("/v2/embed"), "{told}");
    assert_eq!(told["request"]["body"]["input_type"], "search_document");
    assert_eq!(told["losses"][0]["field"], "user");
    assert!(upstream.received().is_empty());
}
