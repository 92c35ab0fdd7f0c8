//! Google's dialect as callers meet it: methods, streams of either form, the gateway's object, counts, models, errors.

use std::net::SocketAddr;

use mock::{Mock, Options};
use serde_json::{Value, json};

use crate::support::{KEY, Reply, TestGateway, Upstream, answer, error};

const OWN: &str = "google-ai-studio/gemini-2.5-flash";

async fn post(gateway: &TestGateway, path: &str, headers: &str, body: &[u8]) -> Reply {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-goog-api-key: {KEY}\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    gateway.send(&[head.as_bytes(), body].concat()).await
}

async fn ask(gateway: &TestGateway, model: &str, method: &str) -> Reply {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "Say hello."}]}]});
    post(gateway, &format!("/v1beta/models/{model}:{method}"), "", body.to_string().as_bytes()).await
}

async fn of_mock() -> (Mock, TestGateway) {
    let mock = mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap();
    let address = mock.address();
    let config = format!(
        "[providers.openai]\nbase_url = \"http://{address}/openai-like/v1\"\napi_key = \"k\"\n\
         [providers.google-ai-studio]\nbase_url = \"http://{address}\"\napi_key = \"k\"\n\
         [providers.mistral]\nbase_url = \"http://{address}/openai-like/v1\"\napi_key = \"k\"\n\
         [routing]\nmax_retries = 0\n"
    );
    (mock, TestGateway::start(&config).await)
}

#[tokio::test]
async fn a_stream_comes_as_events_or_as_one_list() {
    let (_mock, gateway) = of_mock().await;
    for model in [OWN, "openai/gpt-4o-mini"] {
        let whole = ask(&gateway, model, "generateContent").await;
        assert_eq!(whole.status, 200, "{}", whole.text());
        let events = ask(&gateway, model, "streamGenerateContent?alt=sse").await;
        assert_eq!(events.header("content-type"), Some("text/event-stream; charset=utf-8"));
        let listed = ask(&gateway, model, "streamGenerateContent").await;
        assert_eq!(listed.header("content-type"), Some("application/json"));
        let list: Vec<Value> = serde_json::from_str(&listed.text()).unwrap();
        let text = |pieces: &[Value]| -> String {
            let parts =
                pieces.iter().map(|piece| piece["candidates"][0]["content"]["parts"][0]["text"].as_str());
            parts.map(Option::unwrap_or_default).collect()
        };
        assert_eq!(text(&list), text(&events.events()), "{model}");
        assert_eq!(text(&list), text(&[whole.json()]), "{model}");
        for last in [list.last().unwrap(), events.events().last().unwrap(), &whole.json()] {
            assert_eq!(last["llmgateway"]["used_model"], model.split_once('/').unwrap().1, "{last}");
            assert!(last["llmgateway"]["cost"]["usd_total"].as_f64().unwrap() > 0.0, "{last}");
            assert!(last["responseId"].as_str().is_some_and(|id| !id.is_empty()), "{last}");
            assert!(last.get("metadata").is_none(), "{last}");
        }
        let pieces = [&list[..list.len() - 1], &events.events()[..1]].concat();
        assert!(pieces.iter().all(|piece| piece.get("llmgateway").is_none()), "once, at the end");
    }
}

#[tokio::test]
async fn the_gateways_object_can_be_left_out() {
    let (_mock, gateway) = of_mock().await;
    let body = br#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
    for model in [OWN, "openai/gpt-4o-mini"] {
        for method in
            ["generateContent", "streamGenerateContent", "streamGenerateContent?alt=sse", "countTokens"]
        {
            let path = format!("/v1beta/models/{model}:{method}");
            let reply = post(&gateway, &path, "x-llmgateway-metadata: none\r\n", body).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            assert!(!reply.text().contains("llmgateway"), "{}", reply.text());
        }
    }
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_or_estimated_as_such() {
    let (mock, gateway) = of_mock().await;
    let counted = ask(&gateway, OWN, "countTokens").await;
    assert_eq!((counted.status, counted.header("x-llmgateway-count")), (200, Some("exact")));
    assert!(counted.at("/totalTokens").as_u64().unwrap() > 0, "{}", counted.text());
    assert_eq!(counted.at("/llmgateway/count"), "exact");
    let sent = mock.journal().pop().unwrap().body;
    assert_eq!(sent["generateContentRequest"]["model"], "models/gemini-2.5-flash");
    // Google's own clients send the whole request in one member.
    let body = json!({"generateContentRequest": {"model": "models/x", "contents": [{"parts": [{"text": "Say hello."}]}]}});
    let path = format!("/v1beta/models/{OWN}:countTokens");
    let whole = post(&gateway, &path, "", body.to_string().as_bytes()).await;
    assert_eq!(whole.at("/totalTokens"), counted.at("/totalTokens"), "{}", whole.text());
    let elsewhere = ask(&gateway, "openai/gpt-4o-mini", "countTokens").await;
    assert_eq!(elsewhere.header("x-llmgateway-count"), Some("exact"), "{}", elsewhere.text());
    let estimated = ask(&gateway, "mistral/mistral-small-latest", "countTokens").await;
    assert_eq!((estimated.status, estimated.header("x-llmgateway-count")), (200, Some("estimate")));
    assert!(estimated.at("/totalTokens").as_u64().unwrap() > 0);
    assert_eq!(estimated.at("/llmgateway/count"), "estimate");
    let unknown = ask(&gateway, "no-such-model", "countTokens").await;
    assert_eq!((unknown.status, unknown.at("/error/status")), (404, json!("NOT_FOUND")));
}

#[tokio::test]
async fn a_count_that_the_provider_refuses_is_an_estimate() {
    let upstream = Upstream::playing(vec![error("500 Oops")]).await;
    let gateway = TestGateway::start(&upstream.known("google-ai-studio")).await;
    let reply = ask(&gateway, OWN, "countTokens").await;
    assert_eq!((reply.status, reply.header("x-llmgateway-count")), (200, Some("estimate")));
}

#[tokio::test]
async fn models_are_listed_in_googles_shape_page_by_page() {
    let (_mock, gateway) = of_mock().await;
    let mut names = Vec::new();
    let mut token = String::new();
    loop {
        let reply = gateway.get(&format!("/v1beta/models?pageSize=7&pageToken={token}")).await;
        let page = reply.json();
        let models = page["models"].as_array().unwrap();
        assert!(models.len() <= 7);
        for model in models {
            let name = model["name"].as_str().unwrap();
            let methods = model["supportedGenerationMethods"].as_array().unwrap();
            if name == "models/gemini-2.5-flash" {
                assert!(methods.contains(&json!("generateContent")), "{model}");
            } else if name.contains("embedding") {
                assert!(methods.is_empty(), "{model}");
            }
            names.push(name.to_owned());
        }
        match page["nextPageToken"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert!(names.contains(&"models/gemini-2.5-flash".to_owned()) && names.len() > 14);
    // Google's client and OpenAI's client use the same path.
    let head =
        format!("GET /v1/models HTTP/1.1\r\nhost: g\r\nconnection: close\r\nx-goog-api-key: {KEY}\r\n\r\n");
    let listed = gateway.send(head.as_bytes()).await;
    assert!(listed.at("/models/0/name").is_string(), "{}", listed.text());
    let one = gateway.get("/v1beta/models/openai/gpt-4o-mini").await;
    assert_eq!(one.at("/name"), "models/openai/gpt-4o-mini", "{}", one.text());
    assert!(one.at("/inputTokenLimit").as_u64().unwrap() > 0);
    for (path, status) in [
        ("/v1beta/models/nothing", 404),
        ("/v1beta/models?pageSize=x", 400),
        ("/v1beta/models?pageToken=-1", 400),
    ] {
        let reply = gateway.get(path).await;
        assert_eq!(
            (reply.status, reply.at("/error/code")),
            (status, json!(status)),
            "{path}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn unserved_methods_are_refused_by_name_in_googles_shape() {
    let (_mock, gateway) = of_mock().await;
    for method in ["embedContent", "batchGenerateContent", "foo"] {
        let reply = ask(&gateway, OWN, method).await;
        assert_eq!((reply.status, reply.at("/error/status")), (404, json!("NOT_FOUND")), "{}", reply.text());
        assert!(reply.message().contains(method), "{}", reply.text());
    }
    let reply = gateway.get("/v1beta/files").await;
    assert_eq!((reply.status, reply.at("/error/status")), (404, json!("NOT_FOUND")), "{}", reply.text());
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_googles_error_and_the_attempts() {
    let piece = |text: &str| json!({"choices": [{"index": 0, "delta": {"content": text}}], "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"});
    let body = format!("data: {}\n\n", piece("Hel"));
    let broken = crate::support::raw("200 OK", "content-type: text/event-stream\r\n", body);
    for (method, is_list) in [("streamGenerateContent?alt=sse", false), ("streamGenerateContent", true)] {
        let upstream = Upstream::playing(vec![broken.clone()]).await;
        let gateway = TestGateway::start(&upstream.known("openai")).await;
        let reply = ask(&gateway, "openai/gpt-4o", method).await;
        let pieces: Vec<Value> =
            if is_list { serde_json::from_str(&reply.text()).unwrap() } else { reply.events() };
        let last = pieces.last().unwrap();
        assert_eq!(last["error"]["status"], "UNAVAILABLE", "{}", reply.text());
        assert_eq!(last["llmgateway"]["routing"][0]["provider"], "openai", "{}", reply.text());
    }
}

#[tokio::test]
async fn errors_have_googles_shape_and_retry_after() {
    let limited = crate::support::raw(
        "429 Too Many Requests",
        "retry-after: 7\r\ncontent-type: application/json\r\n",
        json!({"error": {"message": "Slow down.", "type": "rate_limit_error"}}).to_string(),
    );
    let upstream = Upstream::playing(vec![limited, answer("Hello.")]).await;
    let gateway =
        TestGateway::start(&format!("{}[routing]\nmax_retries = 0\n", upstream.known("openai"))).await;
    let reply = ask(&gateway, "openai/gpt-4o", "generateContent").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("7")), "{}", reply.text());
    assert_eq!(reply.at("/error/status"), "RESOURCE_EXHAUSTED");
    let details = reply.at("/error/details");
    assert!(details.as_array().unwrap().iter().any(|detail| detail["retryDelay"] == "7s"), "{details}");
    assert_eq!(reply.at("/llmgateway/routing/0/status_code"), 429);
}
