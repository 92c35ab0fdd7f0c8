//! Prompt caching: marks reach the providers that take them, and a longer conversation begins with the bytes
//! of the shorter one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::checks::chat_intake;
use canon::{ModelFacts, Quirks, Request, Target};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::proofs::{CallName, Collector, Memory, restore};
use wire::protocols::openai_chat::{OpenaiChat, forward};
use wire::{Dialect, Encoded, Protocol, adapter};

const CLAUDE: [(Protocol, &str); 3] = [
    (Protocol::AnthropicMessages, "claude-opus-4-6"),
    // On Vertex.
    (Protocol::AnthropicMessages, "claude-sonnet-4-5@20250929"),
    (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
];

fn decoded(body: &Value) -> Request {
    OpenaiChat.decode_request(body.to_string().as_bytes()).unwrap()
}

fn encoded(protocol: Protocol, model: &str, request: &Request) -> Encoded {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    adapter(protocol).encode_request(request, Target { model, facts: &facts, quirks: &quirks }).unwrap()
}

fn body(encoded: &Encoded) -> Value {
    serde_json::from_slice(&encoded.body).unwrap()
}

/// A request with a text in every place that can be marked; `marked` decides which of them have a mark.
fn request(marked: impl Fn(&str) -> bool) -> Value {
    let text = |place: &str| {
        let mut part = json!({"type": "text", "text": place});
        if marked(place) {
            part["cache_control"] = json!({"type": "ephemeral"});
        }
        part
    };
    let tool = |place: &str| {
        let mut tool =
            json!({"type": "function", "function": {"name": place, "parameters": {"type": "object"}}});
        if marked(place) {
            tool["cache_control"] = json!({"type": "ephemeral"});
        }
        tool
    };
    let call = json!({"id": "a", "type": "function", "function": {"name": "tool-1", "arguments": "{}"}});
    json!({
        "model": "x",
        "tools": [tool("tool-1"), tool("tool-2")],
        "messages": [
            {"role": "system", "content": [text("system-1"), text("system-2")]},
            {"role": "user", "content": [text("user-1"), text("user-2")]},
            {"role": "assistant", "content": [text("assistant")], "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": [text("result")]},
            {"role": "user", "content": [text("user-3")]},
        ],
    })
}

const PLACES: [&str; 9] =
    ["tool-1", "tool-2", "system-1", "system-2", "user-1", "user-2", "assistant", "result", "user-3"];

/// The places that are marked, in the order of the provider's cache: tools, system, messages.
fn marks(protocol: Protocol, body: &Value) -> Vec<String> {
    let (tools, names) = match protocol {
        Protocol::BedrockConverse => (&body["toolConfig"]["tools"], "/toolSpec/name"),
        _ => (&body["tools"], "/name"),
    };
    let mut found = Vec::new();
    let mut last = String::new();
    for tool in tools.as_array().into_iter().flatten() {
        if let Some(name) = tool.pointer(names).and_then(Value::as_str) {
            last = name.to_owned();
        }
        found.extend(is_marked(tool).then(|| last.clone()));
    }
    walk(&body["system"], &mut last, &mut found);
    walk(&body["messages"], &mut last, &mut found);
    found
}

fn is_marked(value: &Value) -> bool {
    !value["cache_control"].is_null() || !value["cachePoint"].is_null()
}

fn walk(value: &Value, last: &mut String, found: &mut Vec<String>) {
    for item in value.as_array().into_iter().flatten() {
        if let Some(text) = item["text"].as_str().or(item["content"].as_str()) {
            text.clone_into(last);
        }
        walk(&item["content"], last, found);
        walk(&item["toolResult"]["content"], last, found);
        found.extend(is_marked(item).then(|| last.clone()));
    }
}

#[test]
fn a_mark_on_any_part_reaches_claude() {
    for (protocol, model) in CLAUDE {
        for place in PLACES {
            let encoded = encoded(protocol, model, &decoded(&request(|marked| marked == place)));
            let body = body(&encoded);
            assert_eq!(marks(protocol, &body), [place], "{model}: {body}");
            assert!(encoded.losses.is_empty(), "{model} {place}: {:?}", encoded.losses);
        }
    }
}

/// Four marks are kept: those of tools and instructions, which every conversation shares, then the last ones.
#[test]
fn of_too_many_marks_those_on_the_longest_prefixes_are_kept() {
    let cases: [(&[&str], &[&str]); 3] = [
        (&PLACES, &["tool-2", "system-2", "result", "user-3"]),
        (
            &["tool-2", "system-2", "user-1", "user-2", "assistant", "result", "user-3"],
            &["tool-2", "system-2", "result", "user-3"],
        ),
        (
            &["user-1", "user-2", "assistant", "result", "user-3"],
            &["user-2", "assistant", "result", "user-3"],
        ),
    ];
    for (protocol, model) in CLAUDE {
        for (given, kept) in cases {
            let encoded = encoded(protocol, model, &decoded(&request(|place| given.contains(&place))));
            assert_eq!(marks(protocol, &body(&encoded)), kept, "{model}");
            let losses: Vec<_> = encoded.losses.iter().map(|loss| loss.field.name()).collect();
            assert_eq!(losses, ["cache_control"], "{model}: {:?}", encoded.losses);
        }
    }
}

/// Turns of a tool loop with everything that is generated or restored: ids that must be rewritten, names that
/// are too long or have forbidden characters, custom tools, files, instructions in the middle.
fn conversation(turns: usize) -> Value {
    let long = format!("a_tool_with_a_name_{}", "x".repeat(80));
    let mut messages = vec![
        json!({"role": "system", "content": "Be brief."}),
        json!({"role": "user", "content": [{"type": "text", "text": "Hello"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}),
    ];
    for turn in 0..turns {
        let arguments = format!("{{\"z\": {turn}, \"a\": {{\"y\": 1.50, \"b\": []}}}}");
        messages.push(json!({"role": "assistant", "content": format!("Step {turn}"), "tool_calls": [
            {"id": format!("call:{turn}/with|odd letters"), "type": "function", "function": {"name": long, "arguments": arguments}},
            {"id": format!("b{turn}"), "type": "custom", "custom": {"name": "free.text", "input": "one\ntwo"}}]}));
        messages.push(json!({"role": "tool", "tool_call_id": format!("b{turn}"), "content": "second"}));
        messages.push(json!({"role": "tool", "tool_call_id": format!("call:{turn}/with|odd letters"),
            "content": "{\"z\": 1, \"a\": 2}"}));
        if turn % 2 == 1 {
            messages.push(json!({"role": "assistant", "content": "Done."}));
            messages.push(json!({"role": "developer", "content": "Now in French."}));
            messages.push(json!({"role": "user", "name": "ann", "content": format!("Question {turn}")}));
        }
    }
    json!({
        "model": "x",
        "messages": messages,
        "temperature": 0.5,
        "user": "ann",
        "metadata": {"z": "1", "a": "2"},
        "tools": [
            {"type": "function", "function": {"name": long, "parameters": {"type": "object", "properties":
                {"z": {"type": "integer"}, "a": {"$ref": "#/$defs/thing"}}, "$defs": {"thing": {"type": "object", "properties":
                {"y": {"type": "number"}, "b": {"type": "array", "items": {"type": "string"}}}}}}}},
            {"type": "custom", "custom": {"name": "free.text"}}],
    })
}

/// Proofs for the first call of each turn. They are in memory, so every request has the same ones.
fn remembered(format: &'static str) -> impl Fn(&CallName) -> Option<Arc<wire::proofs::Proofs>> {
    use canon::{Event, ReasoningDetail};
    let all: Vec<_> = (0..8)
        .map(|turn| {
            let mut collector = Collector::default();
            let details = [
                ReasoningDetail::Text(format!("thought {turn}")),
                ReasoningDetail::Signature(format!("c2ln{turn}")),
            ];
            for detail in details {
                collector.note(&Event::Reasoning { choice: 0, block: 0, detail, format });
            }
            let (id, signature) = (format!("call:{turn}/with|odd letters"), Some(format!("c2ln{turn}")));
            let name = format!("a_tool_with_a_name_{}", "x".repeat(80));
            collector.note(&Event::ToolCallStart { choice: 0, index: 0, id, name, signature, custom: false });
            let fragment = format!("{{\"z\":{turn},\"a\":{{\"y\":1.5,\"b\":[]}}}}");
            collector.note(&Event::ToolCallArguments { choice: 0, index: 0, fragment });
            let mut proofs = collector.take().unwrap();
            proofs.issuer = "here".to_owned();
            Arc::new(proofs)
        })
        .collect();
    move |name| all.iter().find(|proofs| proofs.calls[0].0 == *name).cloned()
}

fn bytes(protocol: Protocol, model: &str, turns: usize, restored: bool) -> Vec<u8> {
    let body = conversation(turns);
    if protocol == Protocol::OpenaiChat {
        let text = body.to_string();
        let (facts, quirks) = (ModelFacts::default(), Quirks::default());
        let target = Target { model, facts: &facts, quirks: &quirks };
        return forward(&chat_intake(text.as_bytes()).unwrap(), target).unwrap().body.to_vec();
    }
    let mut request = decoded(&body);
    if restored {
        let format = if protocol == Protocol::Gemini { "google-gemini-v1" } else { "anthropic-claude-v1" };
        let find = remembered(format);
        restore(&mut request, protocol, Memory { provider: "here", model: "", find: &find });
    }
    encoded(protocol, model, &request).body.to_vec()
}

#[test]
fn a_longer_conversation_begins_with_the_bytes_of_the_shorter_one() {
    let cases = [
        (Protocol::OpenaiChat, "gpt-5.1"),
        (Protocol::AnthropicMessages, "claude-sonnet-4-5"),
        (Protocol::AnthropicMessages, "claude-opus-4-6"),
        (Protocol::BedrockConverse, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        (Protocol::Gemini, "gemini-3-pro-preview"),
        (Protocol::Gemini, "gemini-2.5-flash"),
        (Protocol::CohereChat, "command-a-03-2025"),
        (Protocol::OllamaChat, "qwen3"),
    ];
    for (protocol, model) in cases {
        // Cohere and Ollama do not take all of it (custom tools, images): only the part that they take is
        // compared.
        for restored in [false, true] {
            let mut shorter: Option<Vec<u8>> = None;
            for turns in 0..6 {
                let longer = bytes(protocol, model, turns, restored);
                assert_eq!(
                    longer,
                    bytes(protocol, model, turns, restored),
                    "{model}: the same input, the same bytes"
                );
                if let Some(shorter) = shorter {
                    let shared =
                        longer.iter().zip(&shorter).take_while(|(left, right)| left == right).count();
                    let end = end_of_conversation(protocol, &shorter);
                    let shown = String::from_utf8_lossy(&shorter[shared..]);
                    assert!(shared >= end, "{model} {turns} {restored}: {shared} of {end}; then {shown}");
                }
                shorter = Some(longer);
            }
        }
    }
}

/// The position where the last message ends.
fn end_of_conversation(protocol: Protocol, body: &[u8]) -> usize {
    let name = if protocol == Protocol::Gemini { "contents" } else { "messages" };
    let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(body).unwrap();
    let messages: Vec<&RawValue> = serde_json::from_str(fields[name].get()).unwrap();
    let last = messages[messages.len() - 1].get();
    let at = last.as_ptr() as usize - body.as_ptr() as usize;
    // The closing brackets of the last turn do not count: the longer conversation may continue this turn.
    at + last.trim_end_matches(['}', ']']).len()
}
