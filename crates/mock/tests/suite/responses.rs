//! OpenAI's Responses API.

use crate::client::{get, plain, post, send, weather_schema};
use mock::Mock;
use serde_json::{Value, json};

const PATH: &str = "/v1/responses";

fn request(extra: Value) -> Value {
    let mut body = json!({ "model": "gpt-5.5", "input": "What's the weather in Rome?", "store": false });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    body
}

fn tools() -> Value {
    json!([{ "type": "function", "name": "get_weather", "parameters": weather_schema(), "strict": false }])
}

fn kinds(output: &Value) -> Vec<&str> {
    output.as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn answers_whole_and_takes_its_items_back() {
    let mock = plain().await;
    let wishes = json!({
        "tools": tools(), "reasoning": { "effort": "low", "summary": "auto" }, "include": ["reasoning.encrypted_content"]
    });
    let first = post(&mock, PATH, &request(wishes.clone())).await.json();
    assert_eq!((first["object"].as_str(), first["status"].as_str()), (Some("response"), Some("completed")));
    assert_eq!(kinds(&first["output"]), ["reasoning", "function_call"]);
    assert_eq!(first["output"][1]["arguments"], r#"{"location":"Rome"}"#);
    let usage = &first["usage"];
    let sum = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    let mut second = request(wishes);
    second["input"] = json!([
        { "role": "user", "content": "What's the weather in Rome?" }, first["output"][0], first["output"][1],
        { "type": "function_call_output", "call_id": first["output"][1]["call_id"], "output": "sunny" }
    ]);
    let answer = post(&mock, PATH, &second).await.json();
    assert_eq!(answer["output"][1]["content"][0]["text"], "The tool answered: sunny");
}

#[tokio::test]
async fn streams_the_items_and_ends_with_the_whole() {
    let mock = plain().await;
    let extra = json!({ "stream": true, "input": "Count to 10", "reasoning": { "effort": "none" } });
    let answer = post(&mock, PATH, &request(extra)).await;
    let events = answer.events();
    let numbers: Vec<u64> = events.iter().map(|event| event["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..events.len() as u64).collect::<Vec<_>>());
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas.map(|event| event["delta"].as_str().unwrap()).collect();
    assert_eq!(text, "1, 2, 3, 4, 5, 6, 7, 8, 9, 10");
    let done = events.iter().find(|event| event["type"] == "response.output_item.done").unwrap();
    let last = events.last().unwrap();
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["output"], json!([done["item"]]));
    assert!(answer.text().starts_with("event: response.created\ndata: "));
    assert!(!answer.text().contains("[DONE]"));
}

#[tokio::test]
async fn calls_tools_that_take_text_and_tools_of_groups() {
    let mock = plain().await;
    let exec = json!({ "type": "custom", "name": "exec", "format": { "type": "text" } });
    let group = json!({ "type": "namespace", "name": "functions", "description": "", "tools": [exec] });
    let input = json!([
        { "type": "additional_tools", "role": "developer", "tools": [group] },
        { "role": "user", "content": [{ "type": "input_text", "text": "exec this" }] }
    ]);
    let answer = post(&mock, PATH, &request(json!({ "input": input, "stream": true }))).await.events();
    let done = answer.iter().rfind(|event| event["type"] == "response.output_item.done").unwrap();
    let item = &done["item"];
    assert_eq!((item["type"].as_str(), item["name"].as_str()), (Some("custom_tool_call"), Some("exec")));
    assert_eq!((item["namespace"].as_str(), item["input"].as_str()), (Some("functions"), Some("exec this")));
    assert!(answer.iter().any(|event| event["type"] == "response.custom_tool_call_input.done"));
}

async fn refusal(mock: &Mock, extra: Value) -> String {
    let answer = post(mock, PATH, &request(extra)).await;
    assert!((400..=404).contains(&answer.status), "{}", answer.text());
    answer.json()["error"]["message"].as_str().unwrap().to_string()
}

#[tokio::test]
async fn refuses_as_openai_does() {
    let mock = plain().await;
    let cases = [
        (json!({ "stop": ["x"] }), "Unknown parameter: 'stop'."),
        (json!({ "input": null }), "Missing required parameter: 'input'."),
        (json!({ "max_output_tokens": 5 }), "Invalid 'max_output_tokens': integer below minimum value."),
        (json!({ "reasoning": { "effort": "lots" } }), "Invalid value: 'lots'."),
        (json!({ "include": ["everything"] }), "Invalid value: 'everything'."),
        (json!({ "previous_response_id": "resp_1" }), "Previous response with id 'resp_1' not found."),
        (
            json!({ "stream_options": { "include_usage": true } }),
            "Unknown parameter: 'stream_options.include_usage'.",
        ),
        (json!({ "tool_choice": "required" }), "Tool choice 'required' must be specified"),
        (
            json!({ "text": { "format": { "type": "json_schema", "schema": {} } } }),
            "Missing required parameter: 'text.format.name'.",
        ),
        (
            json!({ "tools": [{ "type": "function", "function": { "name": "f" } }] }),
            "Missing required parameter: 'tools[0].name'.",
        ),
        (json!({ "tools": [{ "type": "function", "name": "a.b" }] }), "Invalid 'tools[0].name'"),
        (
            json!({ "tools": [{ "type": "function", "name": "f", "parameters": weather_schema(), "strict": true }] }),
            "Invalid schema for function 'f'",
        ),
        (
            json!({ "tools": [{ "type": "custom", "name": "f", "format": { "type": "grammar", "syntax": "lark" } }] }),
            "Missing required parameter: 'tools[0].format.definition'.",
        ),
    ];
    for (extra, expected) in cases {
        let message = refusal(&mock, extra).await;
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn refuses_inconsistent_conversations() {
    let mock = plain().await;
    let user = json!({ "role": "user", "content": "x" });
    let called = json!({ "type": "function_call", "call_id": "c", "name": "f", "arguments": "{}" });
    let output = json!({ "type": "function_call_output", "call_id": "c", "output": "y" });
    let foreign = json!({ "type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAAx" });
    let bare = json!({ "type": "reasoning", "id": "rs_1", "summary": [] });
    let with = |key: &str, value: &str| {
        let mut changed = called.clone();
        changed[key] = value.into();
        changed
    };
    let said = json!({ "role": "assistant", "content": [{ "type": "input_text", "text": "x" }] });
    let cases = [
        (json!([user, output]), "No tool call found for function call output with call_id c."),
        (json!([user, called]), "No tool output found for function call c."),
        (
            json!([user, foreign, called, output]),
            "The encrypted content for item rs_1 could not be verified.",
        ),
        (json!([user, bare, called, output]), "Item with id 'rs_1' not found. Items are not persisted"),
        (json!([user, with("id", "call_1"), output]), "Invalid 'input[1].id': 'call_1'."),
        (json!([user, with("colour", "red"), output]), "Unknown parameter: 'input[1].colour'."),
        (json!([user, said]), "Invalid value: 'input_text'."),
        (json!([{ "type": "item_reference", "id": "msg_1" }]), "Item with id 'msg_1' not found."),
    ];
    for (input, expected) in cases {
        let message = refusal(&mock, json!({ "input": input })).await;
        assert!(message.starts_with(expected), "{message}");
    }
}

#[tokio::test]
async fn a_websocket_upgrade_is_refused_with_426() {
    let mock = plain().await;
    let upgrade =
        "GET /v1/responses HTTP/1.1\r\nhost: m\r\nconnection: upgrade, close\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(send(&mock, upgrade).await.status, 426);
}

#[tokio::test]
async fn lists_models_in_the_shape_of_each_api() {
    let mock = plain().await;
    assert_eq!(get(&mock, "/v1/models").await.json()["data"][0]["object"], "model");
    assert_eq!(get(&mock, "/v1beta/models").await.json()["models"][0]["name"], "models/echo");
    let anthropic =
        "GET /v1/models HTTP/1.1\r\nhost: m\r\nconnection: close\r\nanthropic-version: 2023-06-01\r\n\r\n";
    assert_eq!(send(&mock, anthropic).await.json()["data"][0]["type"], "model");
}
