//! OpenAI's chat completions and its variants at other providers.

use crate::client::{get, plain, post, weather_schema, with};
use mock::Options;
use serde_json::{Value, json};

fn user(text: &str) -> Value {
    json!([{ "role": "user", "content": text }])
}

fn weather_tool() -> Value {
    json!([{ "type": "function", "function": { "name": "get_weather", "parameters": weather_schema() } }])
}

fn streamed_text(events: &[Value]) -> String {
    events.iter().filter_map(|event| event.pointer("/choices/0/delta/content")?.as_str()).collect()
}

#[tokio::test]
async fn answers_whole() {
    let mock = plain().await;
    let body = json!({ "model": "gpt-4o", "messages": user("What is the capital of France?") });
    let answer = post(&mock, "/v1/chat/completions", &body).await;
    let json = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(json["object"], "chat.completion");
    assert_eq!(json["choices"][0]["message"]["content"], "The capital of France is Paris.");
    assert_eq!(json["choices"][0]["finish_reason"], "stop");
    let usage = &json["usage"];
    let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
}

#[tokio::test]
async fn the_demo_identifies_itself() {
    let mock = with(Options::demo()).await;
    let body = json!({ "model": "echo", "messages": user("Good morning") });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.contains("demo") && text.ends_with("You said: Good morning"), "{text}");
    assert!(mock.journal().is_empty());
}

#[tokio::test]
async fn streams_in_small_chunks() {
    let mock = plain().await;
    let body = json!({
        "model": "m", "messages": user("Count to 10"), "stream": true, "stream_options": { "include_usage": true }
    });
    let answer = post(&mock, "/v1/chat/completions", &body).await;
    let events = answer.events();
    assert!(answer.complete && answer.text().ends_with("data: [DONE]\n\n"));
    assert_eq!(streamed_text(&events), "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    assert!(events.len() > 5);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(events[events.len() - 2]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[events.len() - 1]["choices"], json!([]));
    assert!(events[events.len() - 1]["usage"]["total_tokens"].as_u64().unwrap() > 0);
}

#[tokio::test]
async fn calls_a_tool_and_quotes_its_result() {
    let mock = plain().await;
    let mut messages = user("What's the weather in Rome?");
    let body = json!({ "model": "m", "messages": messages, "tools": weather_tool() });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    let message = answer["choices"][0]["message"].clone();
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    assert_eq!(message["content"], Value::Null);
    assert_eq!(message["tool_calls"][0]["function"]["name"], "get_weather");
    assert_eq!(message["tool_calls"][0]["function"]["arguments"], r#"{"location":"Rome"}"#);

    let id = message["tool_calls"][0]["id"].clone();
    let list = messages.as_array_mut().unwrap();
    list.push(message);
    list.push(json!({ "role": "tool", "tool_call_id": id, "content": "18 degrees" }));
    let body = json!({ "model": "m", "messages": messages, "tools": weather_tool() });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "The tool answered: 18 degrees");
}

#[tokio::test]
async fn streams_parallel_calls_in_fragments() {
    let mock = plain().await;
    let body = json!({
        "model": "m", "messages": user("Weather in Paris and San Francisco?"), "tools": weather_tool(), "stream": true
    });
    let events = post(&mock, "/v1/chat/completions", &body).await.events();
    let mut arguments = vec![String::new(), String::new()];
    for call in events.iter().filter_map(|event| event.pointer("/choices/0/delta/tool_calls/0")) {
        let index = call["index"].as_u64().unwrap() as usize;
        arguments[index].push_str(call["function"]["arguments"].as_str().unwrap());
    }
    assert_eq!(arguments, [r#"{"location":"Paris"}"#, r#"{"location":"San Francisco"}"#]);
    assert_eq!(events.last().unwrap()["choices"][0]["finish_reason"], "tool_calls");
}

#[tokio::test]
async fn obeys_tool_choice() {
    let mock = plain().await;
    let ask = async |choice: Value, text: &str| {
        let body =
            json!({ "model": "m", "messages": user(text), "tools": weather_tool(), "tool_choice": choice });
        post(&mock, "/v1/chat/completions", &body).await.json()["choices"][0]["finish_reason"].clone()
    };
    assert_eq!(ask(json!("auto"), "Hello").await, "stop");
    assert_eq!(ask(json!("none"), "What's the weather?").await, "stop");
    assert_eq!(ask(json!("required"), "Hello").await, "tool_calls");
    let named = json!({ "type": "function", "function": { "name": "get_weather" } });
    assert_eq!(ask(named, "Hello").await, "tool_calls");
}

#[tokio::test]
async fn answers_in_json() {
    let mock = plain().await;
    let schema = json!({
        "type": "object", "required": ["name", "age", "tags", "pet"],
        "properties": {
            "name": { "type": "string" }, "age": { "type": "integer", "maximum": 30 },
            "tags": { "type": "array", "items": { "enum": ["a", "b"] }, "minItems": 2 },
            "pet": { "$ref": "#/$defs/pet" }
        },
        "$defs": { "pet": { "anyOf": [{ "type": "null" }, { "type": "object", "properties": { "ok": { "type": "boolean" } } }] } }
    });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "profile", "schema": schema } });
    let body =
        json!({ "model": "m", "messages": user("Generate a user profile"), "response_format": format });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    let content: Value =
        serde_json::from_str(answer["choices"][0]["message"]["content"].as_str().unwrap()).unwrap();
    let expected = json!({ "name": "Ada Lovelace", "age": 30, "tags": ["a", "a"], "pet": { "ok": true } });
    assert_eq!(content, expected);

    let format = json!({ "type": "json_object" });
    let body = json!({ "model": "m", "messages": user("Hi"), "response_format": format });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"answer":"You said: Hi"}"#);
}

#[tokio::test]
async fn answers_in_json_when_the_system_prompt_asks_for_it() {
    let mock = plain().await;
    let instruction = r#"Answer with JSON only, after this schema: {"type":"object","properties":{"city":{"type":"string"}}}."#;
    let body = json!({ "model": "m", "messages": [
        { "role": "system", "content": instruction }, { "role": "user", "content": "Hi" }
    ] });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], r#"{"city":"Paris"}"#);
}

#[tokio::test]
async fn describes_attachments() {
    let mock = plain().await;
    let body = json!({ "model": "m", "messages": [{ "role": "user", "content": [
        { "type": "text", "text": "What is this?" },
        { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
        { "type": "image_url", "image_url": { "url": "https://example.com/cat.jpg" } }
    ] }] });
    let answer = post(&mock, "/v1/chat/completions", &body).await.json();
    let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_string();
    assert!(
        text.ends_with("I received 2 images (image/png, 8 bytes; https://example.com/cat.jpg)."),
        "{text}"
    );
}

#[tokio::test]
async fn honours_n_stop_and_the_limit() {
    let mock = plain().await;
    let ask = async |extra: Value| {
        let mut body = json!({ "model": "m", "messages": user("Count to 10") });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        post(&mock, "/v1/chat/completions", &body).await.json()["choices"].clone()
    };
    let choices = ask(json!({ "n": 2 })).await;
    assert_eq!(choices[1]["index"], 1);
    assert_ne!(choices[0]["message"]["content"], choices[1]["message"]["content"]);
    let choices = ask(json!({ "stop": [", 4"] })).await;
    assert_eq!(choices[0]["message"]["content"], "1, 2, 3");
    let choices = ask(json!({ "max_completion_tokens": 2 })).await;
    assert_eq!(
        (&choices[0]["message"]["content"], &choices[0]["finish_reason"]),
        (&json!("1, 2, 3,"), &json!("length"))
    );
}

#[tokio::test]
async fn plays_the_variants_of_other_providers() {
    let mock = plain().await;
    let ask = async |path: &str| {
        let body = json!({
            "model": "m", "messages": user("Hello there my friend"), "stream": true, "reasoning_effort": "low"
        });
        post(&mock, path, &body).await
    };
    let azure = ask("/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21").await.events();
    assert_eq!(azure[0]["choices"], json!([]));
    assert!(azure[0]["prompt_filter_results"].is_array());
    assert_eq!(azure[1]["model"], "gpt-4o");
    let openrouter = ask("/openrouter/api/v1/chat/completions").await;
    assert!(openrouter.text().starts_with(": OPENROUTER PROCESSING\n\n"));
    assert!(openrouter.events()[1].pointer("/choices/0/delta/reasoning").is_some());
    let perplexity = ask("/perplexity/chat/completions").await;
    assert!(!perplexity.text().contains("[DONE]") && perplexity.events()[0]["usage"].is_object());
    let mistral = ask("/mistral/v1/chat/completions").await.events();
    assert_eq!(mistral[1].pointer("/choices/0/delta/content/0/type"), Some(&json!("thinking")));
    let groq = ask("/groq/openai/v1/chat/completions").await.events();
    assert!(groq.iter().any(|event| event.pointer("/x_groq/usage").is_some()));
    let deepseek = ask("/deepseek/chat/completions").await.events();
    assert!(deepseek[1].pointer("/choices/0/delta/reasoning_content").is_some());
    assert!(deepseek.last().unwrap()["usage"]["prompt_cache_miss_tokens"].is_u64());
}

#[tokio::test]
async fn refuses_as_openai_does() {
    let mock = plain().await;
    let refuse = async |body: Value| {
        let answer = post(&mock, "/v1/chat/completions", &body).await;
        assert_eq!(answer.status, 400, "{body}");
        answer.json()["error"].clone()
    };
    assert_eq!(refuse(json!({ "model": "m" })).await["param"], "messages");
    assert_eq!(
        refuse(json!({ "model": "m", "messages": user("x"), "temperature": 3 })).await["param"],
        "temperature"
    );
    let orphan = json!([{ "role": "tool", "tool_call_id": "x", "content": "y" }]);
    assert!(
        refuse(json!({ "model": "m", "messages": orphan })).await["message"]
            .as_str()
            .unwrap()
            .contains("'tool'")
    );
    let unanswered = json!([
        { "role": "user", "content": "x" },
        { "role": "assistant", "tool_calls": [{ "id": "a", "function": { "name": "f", "arguments": "{}" } }] },
        { "role": "user", "content": "y" }
    ]);
    let error = refuse(json!({ "model": "m", "messages": unanswered })).await;
    assert!(error["message"].as_str().unwrap().ends_with("did not have response messages: a"));
}

#[tokio::test]
async fn lists_models_and_remembers_requests_without_secrets() {
    let mock = plain().await;
    assert_eq!(get(&mock, "/v1/models").await.json()["object"], "list");
    let body = json!({ "model": "m", "messages": user("x") });
    post(&mock, "/v1/chat/completions?key=secret&a=b", &body).await;
    let journal = mock.journal();
    assert_eq!(journal.len(), 2);
    assert_eq!(
        (journal[1].path.as_str(), journal[1].query.as_str()),
        ("/v1/chat/completions", "key=***&a=b")
    );
    assert_eq!(journal[1].headers["authorization"], "Bearer ***");
    assert_eq!(journal[1].body, body);
    let page = get(&mock, "/__mock/journal").await;
    assert!(!page.text().contains("secret"));
    assert_eq!(page.json()[1]["body"], body);
    mock.stop().await;
}

#[tokio::test]
async fn the_variants_refuse_like_their_providers() {
    let mock = plain().await;
    let refuse = async |path: &str, extra: Value| {
        let mut body = json!({ "model": "m", "messages": user("x") });
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = post(&mock, &format!("{path}/chat/completions"), &body).await;
        (answer.status, answer.json())
    };
    let (status, body) = refuse("/mistral/v1", json!({ "stream_options": null })).await;
    assert_eq!((status, &body["detail"][0]["loc"]), (422, &json!(["body", "stream_options"])));
    let (status, body) = refuse("/xai/v1", json!({ "stop": ["x"] })).await;
    assert_eq!((status, &body["code"]), (400, &json!("invalid-argument")));
    let format = json!({ "response_format": { "type": "json_object" }, "tools": weather_tool() });
    assert_eq!(refuse("/groq/openai/v1", format.clone()).await.0, 400);
    assert!(refuse("/cerebras/v1", format).await.1["message"].is_string());
    assert_eq!(refuse("/perplexity", json!({ "tools": weather_tool() })).await.1["error"]["code"], 400);
    let schema = json!({ "response_format": { "type": "json_schema", "json_schema": { "schema": {} } } });
    assert_eq!(refuse("/deepseek", schema).await.0, 400);
    let (_, body) = refuse("/v1", json!({ "model": "o3-mini", "max_tokens": 5 })).await;
    assert_eq!(body["error"]["code"], "unsupported_parameter");
    let (status, body) = refuse("/openrouter/api/v1", json!({ "model": "x/fault-402" })).await;
    assert_eq!((status, &body["error"]["code"]), (402, &json!(402)));
}

#[tokio::test]
async fn functions_and_thinking_go_together_only_in_responses() {
    let mock = plain().await;
    let status = async |model: &str, effort: Option<&str>, tools: Value| {
        let mut body = json!({ "model": model, "messages": user("weather in Rome"), "tools": tools });
        if let Some(effort) = effort {
            body["reasoning_effort"] = effort.into();
        }
        post(&mock, "/v1/chat/completions", &body).await.status
    };
    let custom = json!([{ "type": "custom", "custom": { "name": "get_weather" } }]);
    assert_eq!(status("gpt-5.5", None, weather_tool()).await, 400);
    assert_eq!(status("gpt-5.5", Some("none"), weather_tool()).await, 200);
    assert_eq!(status("gpt-5.5", None, custom).await, 200);
    assert_eq!(status("gpt-5.4", None, weather_tool()).await, 200);
    assert_eq!(status("gpt-5.4", Some("low"), weather_tool()).await, 400);
    assert_eq!(status("gpt-5", Some("low"), weather_tool()).await, 200);
}
