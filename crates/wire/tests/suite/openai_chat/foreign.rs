//! Requests of other formats' callers, as providers of OpenAI's format get them.

use canon::{ModelFacts, Quirks, Target};
use serde_json::{Value, json};
use wire::{Addressed, Protocol, adapter, dialect};

/// The request as it is sent, and the losses under their canonical names.
fn sent(format: Protocol, body: &Value, quirks: &Quirks) -> (Value, Vec<String>) {
    let dialect = dialect(format).unwrap();
    let url = Addressed { rest: "m:generateContent", query: "" };
    let request = dialect.decode(&dialect.intake(url, &body.to_string().into()).unwrap()).unwrap();
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    let encoded = adapter(Protocol::OpenaiChat).encode_request(&request, target).unwrap();
    let losses =
        encoded.losses.iter().map(|loss| format!("{} {}", loss.field.name(), loss.action.as_str())).collect();
    (serde_json::from_slice(&encoded.body).unwrap(), losses)
}

fn with_reasoning_field(name: &str) -> Quirks {
    Quirks { reasoning_field: Some(name.to_owned()), ..Quirks::default() }
}

#[test]
fn thinking_of_earlier_turns_goes_only_to_providers_that_take_it() {
    let body = json!({"model": "m", "max_tokens": 8000, "thinking": {"type": "enabled", "budget_tokens": 4096}, "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}, {"type": "text", "text": "Hi."}]},
        {"role": "user", "content": "again"},
    ]});
    let (plain, losses) = sent(Protocol::AnthropicMessages, &body, &Quirks::default());
    assert_eq!(plain["messages"][1], json!({"role": "assistant", "content": "Hi."}));
    assert_eq!((&plain["reasoning_effort"], plain.get("reasoning")), (&json!("medium"), None), "{plain}");
    assert_eq!(losses, ["messages[1].reasoning dropped", "reasoning.max_tokens approximated"]);
    let (taken, _) = sent(Protocol::AnthropicMessages, &body, &with_reasoning_field("reasoning_content"));
    assert_eq!(taken["messages"][1]["reasoning_content"], "Hm.");
}

#[test]
fn proofs_of_calls_are_not_sent_to_other_families() {
    let body = json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "c2ln"}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "x"}}}]},
    ], "tools": [{"functionDeclarations": [{"name": "f"}]}]});
    let (plain, losses) = sent(Protocol::Gemini, &body, &Quirks::default());
    assert_eq!(plain["messages"][1]["tool_calls"][0].get("extra_content"), None, "{plain}");
    assert_eq!(losses.len(), 1, "{losses:?}");
    let (router, _) = sent(Protocol::Gemini, &body, &with_reasoning_field("reasoning_details"));
    assert!(router.to_string().contains("c2ln"), "{router}");
}

#[test]
fn media_of_results_follow_them() {
    let image =
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}});
    let result =
        |id: &str, content: Value| json!({"type": "tool_result", "tool_use_id": id, "content": content});
    let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "look", "input": {}});
    let body = json!({"model": "m", "max_tokens": 9, "messages": [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call("a"), call("b")]},
        {"role": "user", "content": [result("a", json!([{"type": "text", "text": "one"}, image])), result("b", json!([image])),
            {"type": "text", "text": "Well?"}]},
    ], "tools": [{"name": "look", "input_schema": {"type": "object"}}]});
    let (plain, losses) = sent(Protocol::AnthropicMessages, &body, &Quirks::default());
    let messages = plain["messages"].as_array().unwrap();
    let roles: Vec<&str> = messages.iter().map(|message| message["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user", "user"], "{plain}");
    assert_eq!((&messages[2]["content"], &messages[3]["content"]), (&json!("one"), &json!("")));
    let shown = messages[4]["content"].as_array().unwrap();
    assert!(shown.len() == 2 && shown.iter().all(|part| part["type"] == "image_url"), "{plain}");
    assert_eq!(losses.len(), 2, "{losses:?}");
}

#[test]
fn a_choice_among_all_tools_is_written_as_a_plain_choice() {
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["g", "f"]}}});
    assert_eq!(sent(Protocol::Gemini, &body, &Quirks::default()).0["tool_choice"], "required");
}
