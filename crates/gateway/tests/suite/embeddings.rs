//! Embeddings: which provider is asked, in how many parts, and the answer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::Operation;
use catalog::{Catalog, ProviderRow};
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
async fn an_answer_has_vectors_usage_cost_and_provider() {
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
    let heard = &upstream.received()[0];
    let sent: Value = serde_json::from_slice(&heard.body).unwrap();
    assert_eq!(sent, json!({"model": "text-embedding-3-small", "input": ["a", "b"], "user": "ann"}));
    let record = gateway.record().await;
    assert_eq!((record.operation.as_deref(), record.status), (Some("embeddings"), 200));
    assert_eq!(record.usage.map(|usage| (usage.input, usage.output)), Some((1000, 0)));
}

#[tokio::test]
async fn a_model_at_the_wrong_endpoint_is_refused_with_the_right_one() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&openai(&upstream)).await;
    let chat = json!({"model": "text-embedding-3-small", "messages": [{"role": "user", "content": "hi"}]});
    let reply = gateway.post("/v1/chat/completions", chat.to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("model")));
    assert!(reply.message().contains("POST /v1/embeddings"), "{}", reply.text());
    let reply = embed(&gateway, &json!({"model": "gpt-5.4-mini", "input": "a"})).await;
    assert_eq!(reply.status, 400);
    assert!(reply.message().contains("POST /v1/chat/completions"), "{}", reply.text());
    assert!(upstream.received().is_empty());
}

/// Every provider of the catalog that embeds, played by the mock in its own format: each embeds 130 texts, which most take in
/// parts, in both forms.
#[tokio::test]
async fn every_provider_serves_embeddings() {
    let mock =
        mock::start(std::net::SocketAddr::from(([127, 0, 0, 1], 0)), mock::Options::default()).await.unwrap();
    let catalog = Catalog::embedded().unwrap();
    let rows: Vec<_> = catalog.providers().filter(|row| row.operations.embeddings.is_some()).collect();
    assert!(rows.len() > 25, "{}", rows.len());
    let file: String = rows.iter().map(|row| section(row, mock.address())).collect();
    let gateway = TestGateway::start(&file).await;
    let texts: Vec<String> = (0..130).map(|number| format!("the text of number {number}")).collect();
    for row in rows {
        let models = catalog.models().flat_map(|model| &model.servings);
        let served = models.filter(|it| it.provider == row.id && it.operations.has(Operation::Embeddings));
        let mut models: Vec<String> = served.map(|serving| serving.upstream_id.clone()).collect();
        if models.is_empty() {
            models.push("some-embedder".to_owned());
        }
        for (number, model) in models.iter().enumerate() {
            // The first model gets several parts. The others get few texts, to save time.
            let texts = if number == 0 { &texts[..] } else { &texts[..3] };
            let last = texts.len() - 1;
            let model = format!("{}/{model}", row.id);
            let mut body = json!({"model": model, "input": texts, "input_type": "query"});
            let reply = embed(&gateway, &body).await;
            assert_eq!(reply.status, 200, "{model}: {}", reply.text());
            let first = reply.at(&format!("/data/{last}/embedding"));
            assert_eq!(reply.at(&format!("/data/{last}/index")), json!(last), "{model}");
            assert!(
                reply.at("/usage/prompt_tokens").as_u64().unwrap() > last as u64,
                "{model}: {}",
                reply.at("/usage")
            );
            body["encoding_format"] = json!("base64");
            body["input"] = json!(texts[last]);
            let reply = embed(&gateway, &body).await;
            let bytes = STANDARD.decode(reply.at("/data/0/embedding").as_str().unwrap()).unwrap();
            let numbers = bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap()));
            let expected: Vec<f32> =
                first.as_array().unwrap().iter().map(|number| number.to_string().parse().unwrap()).collect();
            assert!(numbers.collect::<Vec<_>>() == expected, "{model}");
        }
    }
}

/// A section of the configuration that leads a provider to the mock.
fn section(row: &ProviderRow, mock: std::net::SocketAddr) -> String {
    let path = match &row.base_url {
        Some(url) => {
            url.split("://").nth(1).and_then(|rest| rest.split_once('/')).map_or("", |(_, path)| path)
        }
        None => "v1",
    };
    let path = if path.contains('{') || row.id == "azure" { "" } else { path };
    let mut section = format!("[providers.{}]\nbase_url = \"http://{mock}/{path}\"\n", row.id);
    section = section.replace("/\"\n", "\"\n");
    if row.id == "aws-bedrock" {
        section += "access_key_id = \"AKIDEXAMPLE\"\nsecret_access_key = \"secret\"\n";
    } else if row.id == "google-vertex" {
        section += "access_token = \"t\"\n";
    } else {
        section += "api_key = \"k\"\n";
    }
    for name in row.settings.keys().filter(|name| row.needs_setting(name, true)) {
        section += &format!("{name} = \"x\"\n");
    }
    section
}

#[tokio::test]
async fn a_long_list_is_split_and_one_failed_part_fails_the_request() {
    let upstream = Upstream::playing(vec![vectors(&[1.0]), vectors(&[2.0]), vectors(&[3.0])]).await;
    let own = "[providers.openai.models.small]\noperations = [\"embeddings\"]\nendpoint = { embedding = { max_inputs = 1 } }\n";
    let gateway = TestGateway::start(&(openai(&upstream) + own)).await;
    let reply = embed(&gateway, &json!({"model": "openai/small", "input": ["a", "b", "c"]})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/usage/prompt_tokens"), json!(3000), "the sum of the parts");
    let heard = upstream.received();
    assert_eq!(heard.len(), 3);
    let record = gateway.record().await;
    assert_eq!((record.attempts.len(), record.usage.map(|usage| usage.input)), (1, Some(3000)));

    let refused = json!({"error": {"message": "too long", "type": "invalid_request_error", "param": null, "code": null}});
    let refused = || whole("400 Bad Request", &refused);
    let upstream = Upstream::playing(vec![refused(), refused(), refused()]).await;
    let gateway = TestGateway::start(&(openai(&upstream) + own)).await;
    let reply = embed(&gateway, &json!({"model": "openai/small", "input": ["a", "b", "c"]})).await;
    assert_eq!(reply.status, 400, "{}", reply.text());
    assert!(reply.message().contains("input[") && reply.message().contains("too long"), "{}", reply.text());
}

/// The first part fails by its answer, not by its status.
#[tokio::test]
async fn a_broken_answer_to_a_part_names_its_input() {
    let own = "[providers.openai.models.small]\noperations = [\"embeddings\"]\nendpoint = { embedding = { max_inputs = 2 } }\n";
    for answer in [vectors(&[1.0]), whole("200 OK", &json!({"error": {"message": "no"}}))] {
        let upstream = Upstream::playing(vec![answer, vectors(&[2.0])]).await;
        let gateway = TestGateway::start(&(openai(&upstream) + own)).await;
        let reply = embed(&gateway, &json!({"model": "openai/small", "input": ["a", "b", "c"]})).await;
        assert_eq!(reply.status, 502, "{}", reply.text());
        assert!(reply.message().contains("begins at input["), "{}", reply.text());
    }
}

/// Many servers ignore `dimensions`: their vectors would not fit the caller's index.
#[tokio::test]
async fn vectors_of_another_length_than_requested_are_refused() {
    let upstream = Upstream::playing(vec![vectors(&[1.0]), vectors(&[1.0])]).await;
    let gateway = TestGateway::start(&upstream.provider("one", "openai-chat")).await;
    let ask = async |length: u32| {
        embed(&gateway, &json!({"model": "one/m", "input": "a", "dimensions": length})).await
    };
    assert_eq!(ask(1).await.status, 200);
    let reply = ask(2).await;
    assert_eq!((reply.status, reply.at("/error/param")), (400, json!("dimensions")), "{}", reply.text());
}

/// The limit of the sum of tokens is a fact of the provider or of the model.
#[tokio::test]
async fn a_list_with_too_many_tokens_is_split_in_order() {
    let mut upstream = Upstream::by_hand().await;
    let own = "[providers.openai.models.small]\noperations = [\"embeddings\"]\nendpoint = { embedding = { max_request_tokens = 5 } }\n";
    let gateway = TestGateway::start(&(openai(&upstream) + own)).await;
    let body =
        json!({"model": "openai/small", "input": [[1, 2], [3], [4, 5, 6], [7, 8, 9], [10]]}).to_string();
    let asking = tokio::spawn(async move { gateway.post(PATH, body.as_bytes()).await });
    let mut lines = [upstream.next().await, upstream.next().await, upstream.next().await];
    let mut sent: Vec<Value> = upstream
        .received()
        .iter()
        .map(|heard| serde_json::from_slice::<Value>(&heard.body).unwrap()["input"].take())
        .collect();
    sent.sort_by_key(|input| input[0][0].as_u64());
    assert_eq!(sent, [json!([[1, 2], [3]]), json!([[4, 5, 6]]), json!([[7, 8, 9], [10]])]);
    // The parts are answered in another order than they were sent.
    for (line, heard) in lines.iter_mut().zip(upstream.received()).rev() {
        let inputs = serde_json::from_slice::<Value>(&heard.body).unwrap()["input"].take();
        let firsts: Vec<f64> =
            inputs.as_array().unwrap().iter().map(|input| input[0].as_f64().unwrap()).collect();
        line.send(vectors(&firsts)).await;
    }
    let reply = asking.await.unwrap();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let firsts: Vec<Value> = (0..5).map(|index| reply.at(&format!("/data/{index}/embedding/0"))).collect();
    assert_eq!(firsts, [1.0, 3.0, 4.0, 7.0, 10.0]);
    let indexes: Vec<Value> = (0..5).map(|index| reply.at(&format!("/data/{index}/index"))).collect();
    assert_eq!(indexes, [0, 1, 2, 3, 4]);
    assert_eq!(reply.at("/usage/total_tokens"), json!(3000));
}

/// Each text is read by itself: their sum is no prompt, and the provider judges a text that is too long.
#[tokio::test]
async fn many_texts_may_together_be_longer_than_the_context() {
    let upstream = Upstream::playing(vec![vectors(&[0.5; 300])]).await;
    let gateway = TestGateway::start(&openai(&upstream)).await;
    let texts = vec!["word ".repeat(200); 300];
    let reply = embed(&gateway, &json!({"model": "text-embedding-3-small", "input": texts})).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/data").as_array().map(Vec::len), Some(300));
}

#[tokio::test]
async fn a_choice_of_several_models_is_refused() {
    let upstream = Upstream::playing(vec![]).await;
    let alias = "[models.vectors]\ntargets = [\"text-embedding-3-small\", \"text-embedding-3-large\"]\n";
    let gateway = TestGateway::start(&(openai(&upstream) + alias)).await;
    for body in [
        json!({"model": "vectors", "input": "a"}),
        json!({"model": "text-embedding-3-small", "models": ["text-embedding-3-large"], "input": "a"}),
    ] {
        let reply = embed(&gateway, &body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!("model")), "{}", reply.text());
        assert!(reply.message().contains("cannot be compared"), "{}", reply.text());
    }
    assert!(upstream.received().is_empty());
}

#[tokio::test]
async fn mistakes_name_their_field() {
    let upstream = Upstream::playing(vec![]).await;
    let gateway = TestGateway::start(&openai(&upstream)).await;
    for (fields, param) in [
        (json!({}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": null}), "input"),
        (json!({"input": 7}), "input"),
        (json!({"input": ["a", 1]}), "input[1]"),
        (json!({"input": [1, -2]}), "input[1]"),
        (json!({"input": [[1], []]}), "input[1]"),
        (json!({"input": [[1], ["a"]]}), "input[1][0]"),
        (json!({"input": "a", "dimensions": 0}), "dimensions"),
        (json!({"input": "a", "dimensions": 1.5}), "dimensions"),
        (json!({"input": "a", "encoding_format": "hex"}), "encoding_format"),
        (json!({"input": "a", "model": "text-embedding-ada-002", "dimensions": 256}), "dimensions"),
    ] {
        let mut body = json!({"model": "text-embedding-3-small"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = embed(&gateway, &body).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!(param)), "{body}: {}", reply.text());
    }
    assert!(upstream.received().is_empty());
}
