//! Cached answers to equal requests without a conversation.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Reply, TestGateway, Upstream, error, settle, whole};

const CACHED: &str = "cache = { seconds = 600 }";
const MODEL: &str = "text-embedding-3-small";

fn config(provider: &str, one: &str, other: &str) -> String {
    let project = |id: &str, policy: &str| {
        format!("[projects.{id}]\n{policy}\n[[projects.{id}.keys]]\nname = \"k\"\nkey = \"key-{id}\"\n")
    };
    format!("{provider}{}{}", project("a", one), project("b", other))
}

async fn ask(gateway: &TestGateway, project: &str, path: &str, body: &Value) -> Reply {
    let head = format!("authorization: Bearer key-{project}\r\n");
    gateway.post_with(path, &head, body.to_string().as_bytes()).await
}

async fn embed(gateway: &TestGateway, project: &str, body: &Value) -> Reply {
    ask(gateway, project, "/v1/embeddings", body).await
}

fn used(reply: &Reply) -> Option<&str> {
    reply.header("x-llmgateway-cache")
}

fn vectors(numbers: &[f64]) -> Vec<u8> {
    let entry = |(index, number)| json!({"object": "embedding", "index": index, "embedding": [number]});
    let data: Vec<Value> = numbers.iter().enumerate().map(entry).collect();
    let usage = json!({"prompt_tokens": 1000, "total_tokens": 1000});
    whole("200 OK", &json!({"object": "list", "data": data, "model": MODEL, "usage": usage}))
}

#[tokio::test]
async fn equal_embeddings_are_answered_once_per_project_at_no_cost() {
    let upstream = Upstream::playing(vec![vectors(&[0.5]), vectors(&[0.25])]).await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), CACHED, CACHED)).await;
    let body = json!({"model": MODEL, "input": "a"});
    let first = embed(&gateway, "a", &body).await;
    assert_eq!(
        (first.status, used(&first), first.at("/llmgateway/cache")),
        (200, Some("miss"), json!("miss"))
    );
    assert_eq!(first.header("x-llmgateway-cost-usd"), Some("0.00002"));
    let again = embed(&gateway, "a", &json!({"input": "a", "model": MODEL})).await;
    assert_eq!((again.status, used(&again), again.at("/llmgateway/cache")), (200, Some("hit"), json!("hit")));
    assert_eq!((again.at("/data"), again.at("/usage")), (first.at("/data"), first.at("/usage")));
    assert_eq!(again.at("/llmgateway/cost_usd_total"), json!(0));
    assert_eq!(again.header("x-llmgateway-cost-usd"), Some("0"));
    assert_eq!(
        (again.at("/llmgateway/routing"), again.at("/llmgateway/used_provider")),
        (json!([]), json!("openai"))
    );
    let other = embed(&gateway, "b", &body).await;
    assert_eq!((used(&other), other.at("/data/0/embedding")), (Some("miss"), json!([0.25])));
    assert_eq!(upstream.received().len(), 2);
    let records = gateway.records().await;
    let hit = records.iter().find(|record| record.cache.as_deref() == Some("hit")).unwrap();
    assert_eq!((hit.operation.as_deref(), hit.attempts.len()), (Some("embeddings"), 0));
    assert_eq!(hit.usage.map(|usage| usage.input), Some(1000));
    assert_eq!((hit.cost.unwrap().total.0, hit.upstream_cost.unwrap().0), (0, 0));
}

#[tokio::test]
async fn other_inputs_lengths_and_purposes_are_other_requests() {
    let upstream = Upstream::playing(vec![vectors(&[0.5])]).await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), CACHED, "")).await;
    let bodies = [
        json!({"model": MODEL, "input": "a"}),
        json!({"model": MODEL, "input": ["a "]}),
        json!({"model": MODEL, "input": "a", "dimensions": 1}),
        json!({"model": MODEL, "input": [1]}),
        json!({"model": "text-embedding-3-large", "input": "a"}),
        json!({"model": MODEL, "input": "a", "encoding_format": "base64"}),
    ];
    for body in &bodies {
        let reply = embed(&gateway, "a", body).await;
        assert_eq!((reply.status, used(&reply)), (200, Some("miss")), "{body}: {}", reply.text());
    }
    for body in &bodies {
        assert_eq!(used(&embed(&gateway, "a", body).await), Some("hit"), "{body}");
    }
    assert_eq!(upstream.received().len(), bodies.len());
}

#[tokio::test]
async fn without_a_policy_or_a_header_nothing_is_cached() {
    let upstream = Upstream::playing(vec![vectors(&[0.5])]).await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), "", "cache = { seconds = 0 }")).await;
    let body = json!({"model": MODEL, "input": "a"}).to_string();
    let asked = async |project: &str, header: &str| {
        let head = format!("authorization: Bearer key-{project}\r\n{header}");
        let reply = gateway.post_with("/v1/embeddings", &head, body.as_bytes()).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        assert_eq!(reply.at("/llmgateway/cache").as_str(), used(&reply));
        used(&reply).map(str::to_owned)
    };
    assert_eq!(asked("a", "").await, None);
    assert_eq!(asked("a", "x-llmgateway-cache: 60\r\n").await.as_deref(), Some("miss"));
    assert_eq!(asked("a", "x-llmgateway-cache: 60\r\n").await.as_deref(), Some("hit"));
    assert_eq!(asked("a", "x-llmgateway-cache: 60\r\nx-no-cache: true\r\n").await, None);
    assert_eq!(asked("b", "x-llmgateway-cache: 60\r\n").await, None, "the policy forbids it");
    assert_eq!(upstream.received().len(), 4);
}

#[tokio::test]
async fn all_parts_of_a_split_request_are_one_entry() {
    let upstream = Upstream::playing(vec![vectors(&[1.0]), vectors(&[2.0])]).await;
    let own = "[providers.openai.models.small]\noperations = [\"embeddings\"]\nendpoint = { embedding = { max_inputs = 1 } }\n";
    let gateway = TestGateway::start(&config(&(upstream.known("openai") + own), CACHED, "")).await;
    let body = json!({"model": "openai/small", "input": ["a", "b"]});
    let (first, again) = (embed(&gateway, "a", &body).await, embed(&gateway, "a", &body).await);
    assert_eq!((used(&first), used(&again)), (Some("miss"), Some("hit")), "{}", first.text());
    assert_eq!((again.at("/data"), again.at("/usage")), (first.at("/data"), first.at("/usage")));
    assert_eq!((again.at("/usage/prompt_tokens"), upstream.received().len()), (json!(2000), 2));
}

#[tokio::test]
async fn tokens_that_a_header_counts_are_cached_with_the_answer() {
    let body = json!({"embeddings": {"float": [[0.5]]}, "id": "x", "response_type": "embeddings_by_type", "texts": ["a"]}).to_string();
    let reply = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-amzn-bedrock-input-token-count: 7\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let upstream = Upstream::playing(vec![reply.into_bytes()]).await;
    let provider = format!(
        "[providers.aws-bedrock]\nbase_url = \"http://{}\"\naccess_key_id = \"A\"\nsecret_access_key = \"s\"\n",
        upstream.address
    );
    let gateway = TestGateway::start(&config(&provider, CACHED, "")).await;
    let body = json!({"model": "aws-bedrock/cohere.embed-v4:0", "input": "a"});
    let (first, again) = (embed(&gateway, "a", &body).await, embed(&gateway, "a", &body).await);
    assert_eq!((used(&first), used(&again)), (Some("miss"), Some("hit")), "{}", first.text());
    for reply in [&first, &again] {
        assert_eq!(reply.at("/usage/prompt_tokens"), json!(7), "{}", reply.text());
    }
    // The provider gets the same request for vectors in either form.
    let mut body = body;
    body["encoding_format"] = json!("base64");
    let packed = embed(&gateway, "a", &body).await;
    assert_eq!((used(&packed), packed.at("/data/0/embedding")), (Some("hit"), json!("AAAAPw==")));
    assert_eq!(upstream.received().len(), 1);
}

#[tokio::test]
async fn rankings_and_moderations_are_cached_with_new_ids() {
    let ranking = json!({"id": "07734bd2-2473-4f07", "results": [{"index": 0, "relevance_score": 0.5}],
        "meta": {"billed_units": {"search_units": 1}}});
    let judged = json!({"id": "modr-1234567890", "model": "omni-moderation-latest",
        "results": [{"flagged": false, "categories": {}, "category_scores": {}}]});
    let cases = [
        (
            "cohere",
            "/v1/rerank",
            json!({"model": "cohere/rerank-v3.5", "query": "q", "documents": ["d"]}),
            ranking,
        ),
        ("openai", "/v1/moderations", json!({"model": "omni-moderation-latest", "input": "x"}), judged),
    ];
    for (provider, path, body, answer) in cases {
        let upstream = Upstream::playing(vec![whole("200 OK", &answer)]).await;
        let gateway = TestGateway::start(&config(&upstream.known(provider), CACHED, "")).await;
        let mut ids = BTreeSet::new();
        for said in ["miss", "hit", "hit"] {
            let reply = ask(&gateway, "a", path, &body).await;
            assert_eq!((reply.status, used(&reply)), (200, Some(said)), "{path}: {}", reply.text());
            assert_eq!(reply.at("/results/0/index").is_null(), answer["results"][0]["index"].is_null());
            ids.insert(reply.at("/id").to_string());
        }
        assert_eq!((ids.len(), upstream.received().len()), (3, 1), "{ids:?}");
    }
}

#[tokio::test]
async fn speech_and_images_are_not_cached() {
    let image = json!({"created": 1, "data": [{"b64_json": "AAAA"}]});
    let upstream = Upstream::playing(vec![whole("200 OK", &image)]).await;
    let gateway = TestGateway::start(&config(&upstream.known("openai"), CACHED, "")).await;
    for _ in 0..2 {
        let body = json!({"model": "gpt-image-1.5", "prompt": "a cat"});
        let reply = ask(&gateway, "a", "/v1/images/generations", &body).await;
        assert_eq!((reply.status, used(&reply)), (200, None), "{}", reply.text());
    }
    assert_eq!(upstream.received().len(), 2);
}

#[tokio::test]
async fn errors_and_large_answers_are_not_cached() {
    let large = vectors(&[0.123; 100]);
    for (first, settings) in [(error("400 Bad Request"), ""), (large, "[cache]\nanswer_limit = \"1KiB\"\n")] {
        let upstream = Upstream::playing(vec![first, vectors(&[0.5; 100])]).await;
        let config = config(&upstream.known("openai"), CACHED, "") + settings;
        let gateway = TestGateway::start(&config).await;
        let body = json!({"model": MODEL, "input": vec!["a"; 100]});
        embed(&gateway, "a", &body).await;
        let next = embed(&gateway, "a", &body).await;
        assert_eq!((next.status, used(&next)), (200, Some("miss")), "{}", next.text());
        assert_eq!(upstream.received().len(), 2);
    }
}

#[tokio::test]
async fn concurrent_equal_embeddings_are_sent_once() {
    let mut upstream = Upstream::by_hand().await;
    let gateway =
        std::sync::Arc::new(TestGateway::start(&config(&upstream.known("openai"), CACHED, "")).await);
    let asked: Vec<_> = (0..4)
        .map(|_| {
            let gateway = gateway.clone();
            tokio::spawn(async move { embed(&gateway, "a", &json!({"model": MODEL, "input": "a"})).await })
        })
        .collect();
    let mut line = upstream.next().await;
    settle().await;
    line.send(error("400 Bad Request")).await;
    // The first one fails; one of the others is sent.
    let mut line = upstream.next().await;
    settle().await;
    line.send(vectors(&[0.5])).await;
    let mut outcomes = Vec::new();
    for asked in asked {
        let reply = asked.await.unwrap();
        outcomes.push((reply.status, used(&reply).map(str::to_owned)));
    }
    outcomes.sort();
    let said = |status, used: &str| (status, Some(used.to_owned()));
    assert_eq!(outcomes[..3], [said(200, "hit"), said(200, "hit"), said(200, "miss")]);
    assert_eq!((outcomes[3].0, upstream.received().len()), (400, 2));
}
