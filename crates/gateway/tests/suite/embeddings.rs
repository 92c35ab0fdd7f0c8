//! Embeddings: whom they ask, in how many parts, and what comes back.

use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, whole};

const PATH: &str = "/v1/embeddings";

async fn embed(gateway: &TestGateway, body: &Value) -> Reply {
    gateway.post(PATH, body.to_string().as_bytes()).await
}

fn openai(upstream: &Upstream) -> String {
    format!("[providers.openai]\nbase_url = \"http://{}/v1\"\napi_key = \"k\"\n", upstream.address)
}

fn vectors(numbers: &[f64]) -> Vec<u8> {
    let entry = |(index, number)| json!({"object": "embedding", "index": index, "embedding": [number]});
    let data: Vec<Value> = numbers.iter().enumerate().map(entry).collect();
    let usage = json!({"prompt_tokens": 1000, "total_tokens": 1000});
    whole(
        "200 OK",
        &json!({"object": "list", "data": data, "model": "text-embedding-3-small", "usage": usage}),
    )
}

#[tokio::test]
async fn an_answer_has_vectors_usage_cost_and_who_served() {
    let upstream = Upstream::playing(vec![vectors(&[0.5, -0.25])]).await;
    let gateway = TestGateway::start(&openai(&upstream)).await;
    let body = json!({"model": "text-embedding-3-small", "input": ["a", "b"], "user": "ann", "models": []});
    let reply = embed(&gateway, &body).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/data/1/embedding"), json!([-0.25]));
    assert_eq!(reply.at("/usage"), json!({"prompt_tokens": 1000, "total_tokens": 1000}));
    assert_eq!(reply.at("/llmgateway/used_provider"), json!("openai"));
    assert_eq!(reply.at("/llmgateway/cost_usd_total"), json!(0.00002), "{}", reply.text());
    assert_eq!(reply.header("x-llmgateway-cost-usd"), Some("0.00002"));
    let heard = &upstream.heard()[0];
    let sent: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(sent, json!({"model": "text-embedding-3-small", "input": ["a", "b"], "user": "ann"}));
    let record = gateway.record().await;
    assert_eq!((record.operation.as_deref(), record.status), (Some("embeddings"), 200));
    assert_eq!(record.usage.map(|usage| (usage.input, usage.output)), Some((1000, 0)));
}

#[tokio::test]
async fn a_model_at_the_wrong_endpoint_is_told_the_right_one() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&openai(&upstream)).await;
    let chat = json!({"model": "text-embedding-3-small", "messages": [{"role": "user", "content": "hi"}]});
    let reply = gateway.post("/v1/chat/completions", chat.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("model")));
    assert!(reply.message().contains("POST /v1/embeddings"), "{}", reply.text());
    let reply = embed(&gateway, &json!({"model": "gpt-5.4-mini", "input": "a"})).await;
    assert_eq!(reply.status, 400);
    assert!(reply.message().contains("POST /v1/chat/completions"), "{}", reply.text());
    assert!(upstream.heard().is_empty());
}
