//! The persona of a coding agent's model, the same in every format.

use crate::client::{post, with};
use mock::{Mock, Options};
use serde_json::{Value, json};

const TASK: &str = "Read `/w/a.txt`, replace `beta` with `gamma`, run `cat /w/a.txt`.";

fn schema() -> Value {
    let text = json!({ "type": "string" });
    json!({ "type": "object", "properties": { "file_path": text, "old_string": text, "new_string": text, "command": text } })
}

const NAMES: [&str; 3] = ["Read", "Edit", "Bash"];

async fn agent() -> Mock {
    with(Options::agent()).await
}

/// Plays the caller's side until the model ends its turn; returns the names of the calls.
async fn play(
    mut body: Value,
    list: &str,
    send: impl AsyncFn(&Value) -> Value,
    turn: impl Fn(&Value) -> Option<(String, Vec<Value>)>,
) -> Vec<String> {
    let mut names = Vec::new();
    while let Some((name, more)) = turn(&send(&body).await) {
        names.push(name);
        body[list].as_array_mut().unwrap().extend(more);
        assert!(names.len() < 10);
    }
    names
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn works_as_claude() {
    let mock = agent().await;
    let tools: Vec<Value> =
        NAMES.iter().map(|name| json!({ "name": name, "input_schema": schema() })).collect();
    let body = json!({
        "model": "claude-opus-5-5", "max_tokens": 4000, "tools": tools, "thinking": { "type": "adaptive" },
        "messages": [{ "role": "user", "content": TASK }]
    });
    let names = play(
        body,
        "messages",
        async |body| post(&mock, "/v1/messages", body).await.json(),
        |answer| {
            let content = answer["content"].as_array().unwrap();
            let call = content.iter().find(|block| block["type"] == "tool_use")?;
            let result = json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "ok" });
            let more = vec![
                json!({ "role": "assistant", "content": content }),
                json!({ "role": "user", "content": [result] }),
            ];
            Some((text(&call["name"]), more))
        },
    );
    assert_eq!(names.await, NAMES);
}

#[tokio::test]
async fn works_as_gpt() {
    let mock = agent().await;
    let tools: Vec<Value> = NAMES
        .iter()
        .map(|name| json!({ "type": "function", "name": name, "parameters": schema() }))
        .collect();
    let body = json!({
        "model": "gpt-5.5", "tools": tools, "store": false, "include": ["reasoning.encrypted_content"],
        "input": [{ "role": "user", "content": TASK }]
    });
    let names = play(
        body,
        "input",
        async |body| post(&mock, "/v1/responses", body).await.json(),
        |answer| {
            let mut items = answer["output"].as_array().unwrap().clone();
            let call = items.iter().find(|item| item["type"] == "function_call")?.clone();
            items.push(json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "ok" }));
            Some((text(&call["name"]), items))
        },
    );
    assert_eq!(names.await, NAMES);
}

#[tokio::test]
async fn works_as_gemini() {
    let mock = agent().await;
    let tools: Vec<Value> =
        NAMES.iter().map(|name| json!({ "name": name, "parametersJsonSchema": schema() })).collect();
    let body = json!({
        "contents": [{ "role": "user", "parts": [{ "text": TASK }] }], "tools": [{ "functionDeclarations": tools }],
        "generationConfig": { "thinkingConfig": { "includeThoughts": true, "thinkingLevel": "HIGH" } }
    });
    let path = "/v1beta/models/gemini-3.5-pro:generateContent";
    let names = play(
        body,
        "contents",
        async |body| post(&mock, path, body).await.json(),
        |answer| {
            let content = &answer["candidates"][0]["content"];
            let parts = content["parts"].as_array().unwrap();
            let call = &parts.iter().find(|part| part.get("functionCall").is_some())?["functionCall"];
            let result = json!({ "id": call["id"], "name": call["name"], "response": { "output": "ok" } });
            let more =
                vec![content.clone(), json!({ "role": "user", "parts": [{ "functionResponse": result }] })];
            Some((text(&call["name"]), more))
        },
    );
    assert_eq!(names.await, NAMES);
}

#[tokio::test]
async fn works_as_a_compatible_chat_model_by_its_name() {
    let mock = with(Options::plain()).await;
    let tools: Vec<Value> = NAMES
        .iter()
        .map(|name| json!({ "type": "function", "function": { "name": name, "parameters": schema() } }))
        .collect();
    let body = json!({ "model": "org/mock-agent", "messages": [{ "role": "user", "content": TASK }], "tools": tools });
    let names = play(
        body,
        "messages",
        async |body| post(&mock, "/v1/chat/completions", body).await.json(),
        |answer| {
            let message = answer["choices"][0]["message"].clone();
            let call = message.get("tool_calls")?[0].clone();
            let more = vec![message, json!({ "role": "tool", "tool_call_id": call["id"], "content": "ok" })];
            Some((text(&call["function"]["name"]), more))
        },
    );
    assert_eq!(names.await, NAMES);
}

#[tokio::test]
async fn titles_summaries_and_plain_questions_are_answered() {
    let mock = agent().await;
    let ask =
        async |body: Value| post(&mock, "/v1/messages", &body).await.json()["content"][0]["text"].clone();
    let body = |said: &str| json!({ "model": "claude-haiku-4-5", "max_tokens": 400, "messages": [{ "role": "user", "content": said }] });
    assert_eq!(ask(body(TASK)).await, "Edit a.txt");
    let summary = ask(body(&format!("{TASK} Now respond with TEXT ONLY."))).await;
    assert!(summary.as_str().unwrap().ends_with("Steps done: 0.</summary>"), "{summary}");
    assert_eq!(ask(body("What is the capital of France?")).await, "The capital of France is Paris.");
}

#[tokio::test]
async fn a_session_continues_from_a_compaction_of_one_sealed_item() {
    let mock = agent().await;
    let tools = json!([{ "type": "function", "name": "Read", "parameters": schema() }]);
    let body = |input: Value| json!({ "model": "gpt-5.5", "store": false, "tools": tools, "input": input });
    let called = json!({ "type": "function_call", "call_id": "c", "name": "Read", "arguments": "{}" });
    let history = json!([
        { "role": "user", "content": TASK }, called, { "type": "function_call_output", "call_id": "c", "output": "x" },
        { "type": "compaction_trigger" }
    ]);
    let compacted = post(&mock, "/v1/responses", &body(history)).await.json();
    let output = compacted["output"].as_array().unwrap();
    assert_eq!((output.len(), output[0]["type"].as_str()), (1, Some("compaction")));
    let next = post(&mock, "/v1/responses", &body(json!([output[0]]))).await.json();
    // The first step is done. The second step needs a tool that is missing.
    let said = next["output"][1]["content"][0]["text"].as_str().unwrap();
    assert_eq!(said, "I cannot do it: no tool for step 2 among Read.");
}

#[tokio::test]
async fn faults_may_begin_at_a_later_turn_and_ids_may_repeat() {
    let mock = agent().await;
    let body = |model: &str, results: usize| {
        let mut messages = vec![json!({ "role": "user", "content": TASK })];
        for index in 0..results {
            let id = format!("toolu_{index}x");
            let call = json!({ "type": "tool_use", "id": id, "name": "Read", "input": {} });
            messages.push(json!({ "role": "assistant", "content": [call] }));
            let result = json!({ "type": "tool_result", "tool_use_id": id, "content": "ok" });
            messages.push(json!({ "role": "user", "content": [result] }));
        }
        let tools: Vec<Value> =
            NAMES.iter().map(|name| json!({ "name": name, "input_schema": schema() })).collect();
        json!({ "model": model, "max_tokens": 4000, "messages": messages, "tools": tools })
    };
    let send = async |model: &str, results: usize| post(&mock, "/v1/messages", &body(model, results)).await;
    assert_eq!(send("claude-fault-turn-2-529", 1).await.status, 200);
    assert_eq!(send("claude-fault-turn-2-529", 2).await.status, 529);
    let id = async |results| send("claude-fault-same-ids", results).await.json()["content"][1]["id"].clone();
    assert_eq!(id(0).await, id(1).await);
    let thinks = json!({ "type": "adaptive" });
    let mut unsigned = body("claude-fault-no-proofs", 0);
    unsigned["thinking"] = thinks;
    let answer = post(&mock, "/v1/messages", &unsigned).await.json();
    assert_eq!(answer["content"][0]["signature"], "");
}
