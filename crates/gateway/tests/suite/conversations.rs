//! Behaviour across requests and models: tool loops whose callers drop proofs, lists of models, and the gateway's own choice.

use std::net::SocketAddr;

use mock::{Mock, Options};
use serde_json::{Value, json};

use crate::support::{TestGateway, Upstream, answer, error, question};

async fn native() -> Mock {
    mock::start(SocketAddr::from(([127, 0, 0, 1], 0)), Options::plain()).await.unwrap()
}

fn tool_request(model: &str, effort: Option<&str>) -> Value {
    let mut request = json!({
        "model": model,
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [{"type": "function", "function": {"name": "get_weather", "parameters":
            {"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}}],
    });
    if let Some(effort) = effort {
        request["reasoning_effort"] = effort.into();
    }
    request
}

/// The second turn of an ordinary client: the call by id, name and arguments, and nothing else.
fn second_turn(mut request: Value, reply: &Value) -> Value {
    let call = &reply["choices"][0]["message"]["tool_calls"][0];
    let kept = json!({"id": call["id"], "type": "function", "function": call["function"]});
    let messages = request["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": null, "tool_calls": [kept]}));
    messages.push(json!({"role": "tool", "tool_call_id": call["id"], "content": "18 degrees"}));
    request
}

#[tokio::test]
async fn a_dropped_thought_signature_is_restored() {
    let mock = native().await;
    let config =
        format!("[providers.google-ai-studio]\napi_key = \"k\"\nbase_url = \"http://{}\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    let request = tool_request("google-ai-studio/gemini-3-pro-preview", None);
    let first = gateway.chat(&request).await;
    assert_eq!(first.at("/choices/0/finish_reason"), "tool_calls", "{}", first.text());
    let second = gateway.chat(&second_turn(request, &first.json())).await;
    assert_eq!(second.status, 200, "{}", second.text());
    assert_eq!(second.at("/metadata/losses"), json!([]), "the real signature is sent, not a placeholder");
    let sent = mock.journal().last().unwrap().body.to_string();
    assert!(
        sent.contains("thoughtSignature") && !sent.contains("skip_thought_signature_validator"),
        "{sent}"
    );
}

#[tokio::test]
async fn dropped_thinking_is_restored_with_its_signature() {
    let mock = native().await;
    let config =
        format!("[providers.anthropic]\napi_key = \"k\"\nbase_url = \"http://{}\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    let request = tool_request("anthropic/claude-sonnet-4-5", Some("low"));
    let first = gateway.chat(&request).await;
    assert_eq!(first.at("/choices/0/finish_reason"), "tool_calls", "{}", first.text());
    let second = gateway.chat(&second_turn(request, &first.json())).await;
    assert_eq!(second.status, 200, "{}", second.text());
    let sent = mock.journal().last().unwrap().body.to_string();
    assert!(sent.contains(r#""type":"thinking""#) && sent.contains(r#""signature":"#), "{sent}");
}

#[tokio::test]
async fn a_list_of_models_is_tried_in_order_and_not_forwarded() {
    let first = Upstream::playing(vec![error("503 Service Unavailable")]).await;
    let second = Upstream::playing(vec![answer("Hello.")]).await;
    let config = first.provider("first", "openai-chat") + &second.provider("second", "openai-chat");
    let gateway = TestGateway::start(&config).await;
    let mut request = question("first/a");
    request["models"] = json!(["second/b"]);
    request["provider"] = json!({"allow_fallbacks": true});
    let reply = gateway.chat(&request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.routing(), ["first 503 overloaded", "second 200"]);
    let sent = &second.bodies()[0];
    assert!(sent.get("models").is_none() && sent.get("provider").is_none(), "{sent}");
}

#[tokio::test]
async fn fields_of_openrouters_clients_are_understood() {
    let upstream = Upstream::playing(vec![answer("Hello."), answer("Hello.")]).await;
    let config = format!("{}trains_on_data = false\n", upstream.provider("first", "openai-chat"));
    let gateway = TestGateway::start(&config).await;
    let mut request = question("first/a");
    request["usage"] = json!({"include": true});
    request["provider"] = json!({"data_collection": "deny", "order": ["FIRST", "openai"]});
    let reply = gateway.chat(&request).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.at("/metadata/losses"), json!([]));
    let sent = &upstream.bodies()[0];
    assert!(sent.get("usage").is_none() && sent.get("provider").is_none(), "{sent}");
    request["provider"] = json!({"data_collection": "allow"});
    let reply = gateway.chat(&request).await;
    assert_eq!((reply.status, reply.at("/metadata/losses")), (200, json!([])));
    for (field, name, hint) in [
        ("order", "antropic", "anthropic"),
        ("only", "Fisrt", "first"),
        ("ignore", "zzzzzzzzz", "llmgateway models"),
    ] {
        request["provider"] = json!({field: [name]});
        let reply = gateway.chat(&request).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, format!("provider.{field}").into()));
        assert!(reply.text().contains(hint), "{}", reply.text());
    }
    request["provider"] = json!({"data_collection": "maybe"});
    assert_eq!(gateway.chat(&request).await.status, 400);
}

#[tokio::test]
async fn auto_takes_the_cheapest_model_that_can_serve_the_request() {
    let upstream = Upstream::playing(vec![answer("Hello."), answer("Hello.")]).await;
    let gateway = TestGateway::start(&upstream.known("openai")).await;
    let cheapest = gateway.chat(&question("auto")).await;
    assert_eq!(cheapest.status, 200, "{}", cheapest.text());
    assert_eq!(cheapest.at("/metadata/selection/reason"), "price");
    let mut picture = question("auto");
    picture["messages"][0]["content"] =
        json!([{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]);
    let seeing = gateway.chat(&picture).await;
    assert_eq!(seeing.status, 200, "{}", seeing.text());
    let used = seeing.at("/metadata/used_model");
    let snapshot = gateway.snapshot();
    let serving = snapshot.catalog.serving("openai", used.as_str().unwrap()).unwrap();
    assert!(serving.facts.allows(canon::Feature::Vision), "{used}");
}

#[tokio::test]
async fn media_on_private_addresses_is_refused_with_the_field() {
    let mock = native().await;
    let config =
        format!("[providers.google-ai-studio]\napi_key = \"k\"\nbase_url = \"http://{}\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    for url in [
        "http://127.0.0.1:1/x.png",
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/x.png",
        "http://2130706433/x.png",
    ] {
        let mut request = question("google-ai-studio/gemini-2.5-flash");
        request["messages"][0]["content"] = json!([{"type": "image_url", "image_url": {"url": url}}]);
        let reply = gateway.chat(&request).await;
        assert_eq!((reply.status, reply.at("/error/param")), (400, json!("messages[0].content[0]")), "{url}");
    }
    assert!(mock.journal().is_empty(), "nothing went to the provider");
}

/// An agent mistakes a call with the id of an earlier call for the earlier one, and repeats it without end.
#[tokio::test]
async fn call_ids_stay_unique_if_a_provider_restarts_its_numbers_in_each_answer() {
    let mock = native().await;
    let config =
        format!("[providers.anthropic]\napi_key = \"k\"\nbase_url = \"http://{}\"\n", mock.address());
    let gateway = TestGateway::start(&config).await;
    let mut request = tool_request("anthropic/claude-fault-same-ids", None);
    request["tool_choice"] = "required".into();
    let id = "/choices/0/message/tool_calls/0/id";
    let first = gateway.chat(&request).await;
    assert_eq!(first.at(id), "toolu_0", "{}", first.text());
    let second = gateway.chat(&second_turn(request, &first.json())).await;
    assert_eq!(second.at("/choices/0/finish_reason"), "tool_calls", "{}", second.text());
    assert_ne!(second.at(id), "toolu_0");
}
