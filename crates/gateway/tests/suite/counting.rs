//! Counts of tokens: which provider is asked, what is recorded, and what callers see of failures.

use canon::Operation;
use gateway::snapshot::Snapshot;
use routing::Timestamp;
use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, error, raw, whole};

const MESSAGES: &str = "/v1/messages/count_tokens";
const RESPONSES: &str = "/v1/responses/input_tokens";

fn prompt(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "Say hello."}]})
}

async fn count(gateway: &TestGateway, path: &str, body: &Value) -> Reply {
    gateway.post(path, body.to_string().as_bytes()).await
}

fn counted(tokens: u64) -> Vec<u8> {
    whole("200 OK", &json!({"input_tokens": tokens}))
}

fn anthropic(upstream: &Upstream, keys: &str) -> String {
    format!(
        "[providers.anthropic]\nbase_url = \"http://{}\"\napi_keys = {keys}\n[routing]\nmax_retries = 1\n",
        upstream.address
    )
}

/// The number of models that health knows.
fn known(snapshot: &Snapshot) -> usize {
    snapshot.health.of(Operation::Chat).snapshot(Timestamp(0)).routes.len()
}

#[tokio::test]
async fn a_count_is_retried_and_recorded_apart_from_chat() {
    let refused =
        json!({"type": "error", "error": {"type": "authentication_error", "message": "invalid x-api-key"}});
    let upstream = Upstream::playing(vec![whole("401 Unauthorized", &refused), counted(17)]).await;
    let gateway = TestGateway::start(&anthropic(&upstream, "[\"first\", \"second\"]")).await;
    let reply = count(&gateway, MESSAGES, &prompt("anthropic/claude-sonnet-4-5")).await;
    assert_eq!((reply.status, reply.at("/input_tokens")), (200, json!(17)), "{}", reply.text());
    assert_eq!(reply.header("x-llmgateway-count"), Some("exact"));
    assert_eq!(reply.header("x-llmgateway-provider"), Some("anthropic"));
    assert_eq!(reply.header("x-llmgateway-attempts"), Some("2"));
    let heard = upstream.received();
    assert!(heard.iter().all(|heard| heard.header("x-llmgateway-hops").is_some()));
    assert_ne!(heard[0].header("x-api-key"), heard[1].header("x-api-key"));
    assert_eq!(known(&gateway.snapshot()), 0, "counts do not affect the health of chat");
    let record = gateway.record().await;
    let attempts: Vec<u16> = record.attempts.iter().map(|attempt| attempt.status_code).collect();
    assert_eq!((attempts, record.status, record.usage), (vec![401, 200], 200, None));
    assert_eq!(record.cost.map(|cost| cost.total.to_string()), Some("0".to_owned()));
}

#[tokio::test]
async fn a_provider_s_refusal_to_count_reaches_the_caller() {
    let message = "messages.0: all messages must have non-empty content";
    let refused = json!({"type": "error", "error": {"type": "invalid_request_error", "message": message}});
    let upstream = Upstream::playing(vec![whole("400 Bad Request", &refused)]).await;
    let gateway = TestGateway::start(&anthropic(&upstream, "[\"k\"]")).await;
    let reply = count(&gateway, MESSAGES, &prompt("anthropic/claude-sonnet-4-5")).await;
    assert_eq!((reply.status, reply.at("/error/type")), (400, json!("invalid_request_error")));
    assert!(reply.message().contains(message), "{}", reply.text());
    assert_eq!((upstream.received().len(), gateway.record().await.status), (1, 400));
}

#[tokio::test]
async fn a_count_is_estimated_if_the_provider_cannot_count() {
    for reply in [error("500 Broken"), error("405 No"), raw("404 Not Found", "", "no such page")] {
        let upstream = Upstream::playing(vec![reply.clone(), reply]).await;
        let gateway = TestGateway::start(&anthropic(&upstream, "[\"k\"]")).await;
        let reply = count(&gateway, MESSAGES, &prompt("anthropic/claude-sonnet-4-5")).await;
        assert_eq!((reply.status, reply.header("x-llmgateway-count")), (200, Some("estimate")));
        assert!(reply.at("/input_tokens").as_u64().unwrap() >= 10, "{}", reply.text());
        let record = gateway.record().await;
        assert_eq!((record.status, record.attempts.len()), (200, upstream.received().len()));
    }
}

#[tokio::test]
async fn models_with_different_tokens_are_estimated() {
    let upstream = Upstream::playing(vec![counted(3)]).await;
    let config = format!(
        "{}[models.either]\ntargets = [\"anthropic/claude-sonnet-4-5\", \"anthropic/claude-opus-4-1\"]\n",
        anthropic(&upstream, "[\"k\"]")
    );
    let gateway = TestGateway::start(&config).await;
    let reply = count(&gateway, MESSAGES, &prompt("either")).await;
    assert_eq!((reply.status, reply.header("x-llmgateway-count")), (200, Some("estimate")));
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn each_provider_is_asked_at_its_own_address() {
    let input = json!({"inputTokens": 5});
    let upstream = Upstream::playing(vec![whole("200 OK", &input), counted(5), counted(5), counted(5)]).await;
    let address = upstream.address;
    let config = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [providers.google-vertex]\nbase_url = \"http://{address}\"\nproject = \"p\"\nregion = \"eu\"\naccess_token = \"t\"\n\
         [providers.azure]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [providers.openai]\nbase_url = \"http://{address}/v1\"\napi_key = \"k\"\n"
    );
    let gateway = TestGateway::start(&config).await;
    let cases = [
        (
            "aws-bedrock/eu.anthropic.claude-sonnet-4-20250514-v1:0",
            "/model/anthropic.claude-sonnet-4-20250514-v1%3A0/count-tokens",
        ),
        (
            "google-vertex/claude-sonnet-4-5",
            "/v1/projects/p/locations/eu/publishers/anthropic/models/count-tokens:rawPredict",
        ),
        ("azure/claude-sonnet-4-5", "/anthropic/v1/messages/count_tokens"),
        ("openai/gpt-4o-mini", "/v1/responses/input_tokens"),
    ];
    for (index, (model, path)) in cases.into_iter().enumerate() {
        let mut body = prompt(model);
        body["system"] = json!("Be brief.");
        let reply = count(&gateway, MESSAGES, &body).await;
        assert_eq!(reply.header("x-llmgateway-count"), Some("exact"), "{model}: {}", reply.text());
        assert_eq!(reply.at("/input_tokens"), 5);
        let head = &upstream.received()[index].head;
        assert!(head.starts_with(&format!("POST {path} ")), "{head}");
    }
    let bodies = upstream.bodies();
    assert_eq!(bodies[0]["input"]["converse"]["system"][0]["text"], "Be brief.");
    assert!(bodies[0]["input"]["converse"].get("inferenceConfig").is_none());
    assert_eq!(bodies[1]["model"], "claude-sonnet-4-5@20250929");
    assert_eq!(bodies[1]["anthropic_version"], "vertex-2023-10-16");
    assert!(bodies.iter().all(|body| body.get("max_tokens").is_none() && body.get("stream").is_none()));
    assert_eq!((&bodies[3]["model"], bodies[3].get("store")), (&json!("gpt-4o-mini"), None));
}

#[tokio::test]
async fn responses_requests_are_counted_in_their_own_format() {
    let answer = json!({"object": "response.input_tokens", "input_tokens": 12, "new": [1]});
    let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let body = json!({"model": "openai/gpt-4o-mini", "input": "Say hello.", "max_output_tokens": 9, "temperature": 1});
    let reply = count(&gateway, RESPONSES, &body).await;
    assert_eq!((reply.status, reply.header("x-llmgateway-count")), (200, Some("exact")));
    assert_eq!((reply.at("/input_tokens"), reply.at("/new/0")), (json!(12), json!(1)));
    assert_eq!(reply.at("/llmgateway/count"), "exact");
    assert_eq!(upstream.bodies()[0], json!({"model": "gpt-4o-mini", "input": "Say hello."}));
    let model = json!({"model": "mistral/mistral-small-latest", "input": "Say hello."});
    let upstream = Upstream::playing(vec![error("500 Never")]).await;
    let gateway = TestGateway::start(&upstream.known("mistral")).await;
    let reply = count(&gateway, RESPONSES, &model).await;
    assert_eq!((reply.status, reply.header("x-llmgateway-count")), (200, Some("estimate")));
    assert_eq!(reply.at("/object"), "response.input_tokens");
    assert!(reply.at("/input_tokens").as_u64().unwrap() > 3 && upstream.received().is_empty());
    let refused =
        count(&gateway, RESPONSES, &json!({"model": "mistral/mistral-small-latest", "input": 7})).await;
    assert_eq!((refused.status, refused.at("/error/type")), (400, json!("invalid_request_error")));
}
