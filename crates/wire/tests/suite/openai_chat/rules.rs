//! The rules that the gateway's own streams keep.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Asserts the rules of streams that callers rely on.
pub fn assert_stream_rules(text: &str, include_usage: bool) {
    assert!(text.ends_with("data: [DONE]\n\n"), "the end marker comes last");
    assert_eq!(text.matches("data: [DONE]").count(), 1, "there is one end marker");
    let events: Vec<Value> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").expect("one data line per event"))
        .filter(|data| *data != "[DONE]")
        .map(|data| serde_json::from_str(data).expect("events are JSON"))
        .collect();
    let first = &events[0];
    for name in ["id", "model"] {
        assert!(first[name].as_str().is_some_and(|text| !text.is_empty()), "{name}");
    }
    assert!(first["created"].as_i64().is_some_and(|created| created > 0), "created");
    let (mut open, mut ended) = (BTreeSet::new(), BTreeMap::new());
    let mut calls = BTreeMap::<u64, u64>::new();
    for (position, event) in events.iter().enumerate() {
        for name in ["id", "model", "created"] {
            assert_eq!(event[name], first[name], "{name} never changes");
        }
        assert_eq!(event["object"], "chat.completion.chunk");
        let choices = event["choices"].as_array().expect("choices");
        let is_last = position + 1 == events.len();
        assert_eq!(
            choices.is_empty(),
            include_usage && is_last,
            "only the usage chunk has no choices: {event}"
        );
        assert!(is_last && include_usage || event["usage"].is_null(), "usage comes last");
        for choice in choices {
            let index = choice["index"].as_u64().expect("an index");
            assert!(!ended.contains_key(&index), "nothing follows a choice's end: {event}");
            let role = choice["delta"].get("role");
            assert_eq!(role.is_some(), open.insert(index), "the role comes first and once: {event}");
            assert!(role.is_none_or(|role| role == "assistant"));
            for call in choice["delta"]["tool_calls"].as_array().into_iter().flatten() {
                let known = calls.entry(index).or_default();
                let inner = if call["custom"].is_object() { &call["custom"] } else { &call["function"] };
                if call["index"] == *known {
                    *known += 1;
                    assert!(call["id"].as_str().is_some_and(|id| !id.is_empty()), "{call}");
                    assert!(inner["name"].as_str().is_some_and(|name| !name.is_empty()), "{call}");
                } else {
                    assert!(call["index"].as_u64().unwrap() < *known, "{call}");
                    assert!(call.get("id").is_none() && inner.get("name").is_none(), "{call}");
                }
            }
            if let Some(finish) = choice["finish_reason"].as_str() {
                ended.insert(index, finish.to_owned());
            }
        }
    }
    assert_eq!(open.len(), ended.len(), "every choice ends");
    let with_metadata = events.iter().filter(|event| event.get("metadata").is_some()).count();
    assert_eq!(with_metadata, 1, "metadata comes once");
}
