//! Rankings in the formats of providers.

use crate::client::{plain, post};
use serde_json::json;

#[tokio::test]
async fn deepinfra_scores_documents_in_their_order() {
    let mock = plain().await;
    let path = "/v1/inference/Qwen/Qwen3-Reranker-8B";
    let documents = json!(["Invoices are paid.", "The capital of France is Paris."]);
    let body = json!({"queries": ["capital of France"], "documents": documents});
    let answer = post(&mock, path, &body).await.json();
    let scores = answer["scores"].as_array().unwrap();
    assert_eq!(scores.len(), 2);
    assert!(scores[0].as_f64() < scores[1].as_f64(), "{answer}");
    assert!(answer["input_tokens"].as_u64() > Some(0), "{answer}");
    let refused = post(&mock, path, &json!({"queries": [], "documents": documents})).await;
    assert_eq!(refused.status, 400);
}
