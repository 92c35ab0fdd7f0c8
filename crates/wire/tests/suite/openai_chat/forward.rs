//! Requests between equal formats: fields that the gateway does not know pass byte for byte.

use crate::checks::chat_intake;
use canon::{ModelFacts, Quirks, Target};
use proptest::prelude::*;
use serde_json::Value;
use wire::protocols::openai_chat::forward;

use super::super::generate::json_value;

/// JSON as people and programs write it: unusual spaces, escapes, numbers.
fn odd_json() -> impl Strategy<Value = String> {
    let number =
        prop::sample::select(vec!["1.0e3", "-0", "0.10", "1E+2", "123456789012345678901234567890", "5e-324"]);
    let text = prop::sample::select(vec![
        r#""\u00e9\/""#,
        r#""\ud83d\ude00""#,
        "\"é😀\"",
        r#""\"\\""#,
        "\"\"",
        r#""\u0000""#,
    ]);
    let leaf = prop_oneof![
        number.prop_map(str::to_owned),
        text.prop_map(str::to_owned),
        json_value().prop_map(|value| value.to_string()),
        Just("true".to_owned()),
    ];
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|items| format!("[ {} ]", items.join(" ,\n"))),
            prop::collection::vec(inner, 0..3).prop_map(|items| {
                let fields: Vec<_> =
                    items.iter().enumerate().map(|(index, item)| format!("\"k{index}\"\t: {item}")).collect();
                format!("{{\r\n{} }}", fields.join(" , "))
            }),
        ]
    })
    .prop_filter("a null says nothing", |text| text != "null")
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["", " ", "\n\t", "\r\n  "])
}

proptest! {
    #![proptest_config(testkit::random::cases(300))]

    #[test]
    fn only_the_model_changes(
        fields in prop::collection::vec(odd_json(), 0..4),
        in_message in odd_json(),
        in_part in odd_json(),
        spaces in prop::collection::vec(space(), 3),
        position in 0..5_usize,
    ) {
        let [a, b, c] = [spaces[0], spaces[1], spaces[2]];
        let message = format!(r#"{{{a}"role":{b}"user","x_model":"model","model":"inner","x_new":{in_message}{c},"content":[{{"type":"text","text":"\u0068","model":{in_part}}}]}}"#);
        let mut parts: Vec<_> =
            fields.iter().enumerate().map(|(index, value)| format!("\"x_{index}\"{a}:{b}{value}")).collect();
        parts.push(format!("\"messages\"{b}:{c}[{message}]"));
        let at = position.min(parts.len());
        parts.insert(at, format!("\"model\"{a}:{b}\"asked\""));
        let separator = format!("{c},{a}");
        let body = format!("{b}{{{}}}{a}", parts.join(&separator));

        let intake = chat_intake(body.as_bytes()).unwrap();
        let target = Target { model: "served", facts: &ModelFacts::default(), quirks: &Quirks::default() };
        let encoded = forward(&intake, target).unwrap();
        let sent = std::str::from_utf8(&encoded.body).unwrap();
        prop_assert!(encoded.losses.is_empty());
        prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(sent).is_ok(), "{}", sent);
        let again = chat_intake(sent.as_bytes()).unwrap();
        prop_assert_eq!(again.model.as_str(), "served");
        prop_assert_eq!(again.field("model"), Some(&b"\"served\""[..]));
        for (index, value) in fields.iter().enumerate() {
            prop_assert_eq!(again.field(&format!("x_{index}")), Some(value.as_bytes()));
        }
        let messages = format!("[{message}]");
        prop_assert_eq!(again.field("messages"), Some(messages.as_bytes()));
    }

    /// The result is JSON without duplicate fields, for any fields that the quirks remove, rename or add.
    #[test]
    fn edits_leave_valid_json_without_duplicates(
        chosen in prop::collection::vec((prop::sample::select(NAMES.to_vec()), json_value()), 0..6),
        renamed in prop::collection::btree_map(prop::sample::select(NAMES[..3].to_vec()), prop::sample::select(vec!["y_a", "y_b"]), 0..3),
        dropped in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..3),
        rejected in prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..3),
        limits in prop::sample::select(vec!["as_sent", "max_tokens", "max_completion_tokens"]),
        stream in any::<bool>(),
    ) {
        let mut body = serde_json::Map::new();
        body.insert("model".to_owned(), "m".into());
        body.insert("messages".to_owned(), serde_json::json!([{"role": "user", "content": "a"}]));
        body.insert("stream".to_owned(), stream.into());
        for (name, value) in chosen {
            let value = if name.starts_with("max") { Value::from(7) } else { value };
            body.insert(name.to_owned(), value);
        }
        let text = serde_json::to_vec(&body).unwrap();
        let quirks: Quirks = serde_json::from_value(serde_json::json!({
            "rename": renamed, "drop": dropped, "max_tokens_field": limits,
        })).unwrap();
        let facts = ModelFacts { rejects: rejected.into_iter().map(str::to_owned).collect(), ..ModelFacts::default() };
        let intake = chat_intake(&text).unwrap();
        let encoded = forward(&intake, Target { model: "n", facts: &facts, quirks: &quirks }).unwrap();
        let sent = chat_intake(&encoded.body);
        prop_assert!(sent.is_ok(), "{:?}: {}", sent, String::from_utf8_lossy(&encoded.body));
        // A missing field was null, or is reported.
        let sent = sent.unwrap();
        for (name, value) in &body {
            let is_renamed = quirks.rename.get(name).is_some_and(|new| sent.field(new).is_some());
            let is_there = sent.field(name).is_some() || is_renamed;
            let is_limit = name.starts_with("max") && sent.fields().any(|(name, _)| name.starts_with("max"));
            let new_name = quirks.rename.get(name);
            let is_of_field = |lost: &str| {
                lost == name || new_name.is_some_and(|new_name| lost == new_name)
                    || lost.starts_with("max") && name.starts_with("max")
            };
            let is_reported = encoded.losses.iter().any(|loss| is_of_field(&loss.field.name()));
            let is_fine = is_there || is_limit || is_reported || value.is_null();
            prop_assert!(is_fine, "{} of {}", name, String::from_utf8_lossy(&text));
        }
    }
}

const NAMES: [&str; 7] = ["x_a", "x_b", "x_c", "y_a", "y_b", "max_tokens", "max_completion_tokens"];

#[test]
fn a_refused_limit_is_sent_by_its_new_name() {
    let body = br#"{"model":"m","messages":[{"role":"user","content":"a"}],"max_tokens":7}"#;
    let facts = ModelFacts { rejects: vec!["max_tokens".to_owned()], ..ModelFacts::default() };
    let intake = chat_intake(body).unwrap();
    let encoded = forward(&intake, Target { model: "n", facts: &facts, quirks: &Quirks::default() }).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!((&sent["max_completion_tokens"], encoded.losses.len()), (&Value::from(7), 0), "{sent}");
}

#[test]
fn fields_refused_only_while_the_model_thinks_depend_on_the_effort() {
    use canon::{Effort, ModelFacts, Quirks, ReasoningControl, Target};
    use serde_json::{Value, json};
    let facts = |thinks_by_default, functions_exclude_thinking| ModelFacts {
        reasoning: Some(ReasoningControl::Effort { levels: vec![Effort::None, Effort::Low, Effort::High] }),
        rejects_thinking: ["temperature", "logprobs", "top_logprobs"].map(str::to_owned).to_vec(),
        thinks_by_default,
        functions_exclude_thinking,
        ..ModelFacts::default()
    };
    let sent = |facts: &ModelFacts, fields: Value| -> (Value, Vec<String>) {
        let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "x"}]});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let body = body.to_string();
        let intake = crate::checks::chat_intake(body.as_bytes()).unwrap();
        let target = Target { model: "m", facts, quirks: &Quirks::default() };
        let encoded = wire::protocols::openai_chat::forward(&intake, target).unwrap();
        let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
        body.as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(name.as_str(), "model" | "messages" | "tools"));
        (body, encoded.losses.iter().map(|loss| loss.field.to_string()).collect())
    };
    let asleep = facts(false, false);
    let warm = json!({"temperature": 0.2, "logprobs": true, "top_logprobs": 2});
    assert_eq!(sent(&asleep, warm.clone()), (warm.clone(), vec![]));
    let with = |effort: &str| {
        let mut fields = warm.clone();
        fields["reasoning_effort"] = effort.into();
        fields
    };
    assert_eq!(sent(&asleep, with("none")), (with("none"), vec![]));
    let lost = ["temperature", "logprobs", "top_logprobs"].map(str::to_owned).to_vec();
    assert_eq!(sent(&asleep, with("high")), (json!({"reasoning_effort": "high"}), lost.clone()));
    // The default value is no request and is not refused (recorded for temperature at OpenAI).
    let usual = json!({"temperature": 1, "logprobs": false, "reasoning_effort": "low"});
    assert_eq!(sent(&asleep, usual.clone()), (usual, vec![]));
    let awake = facts(true, false);
    assert_eq!(sent(&awake, warm.clone()), (json!({}), lost));
    assert_eq!(sent(&awake, with("none")), (with("none"), vec![]));
    // With function tools the model does not think, and then it takes every other field.
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let mut asked = with("high");
    asked["tools"] = tools.clone();
    let off = json!({"temperature": 0.2, "logprobs": true, "top_logprobs": 2, "reasoning_effort": "none"});
    let exclusive = facts(true, true);
    assert_eq!(sent(&exclusive, asked), (off.clone(), vec!["reasoning_effort".to_owned()]));
    let mut unasked = warm.clone();
    unasked["tools"] = tools;
    assert_eq!(sent(&exclusive, unasked), (off, vec![]));
    let custom = json!({"tools": [{"type": "custom", "custom": {"name": "c"}}], "reasoning_effort": "high"});
    assert_eq!(sent(&exclusive, custom), (json!({"reasoning_effort": "high"}), vec![]));
}

/// The body with these fields for a model that enforces a subset of JSON schema, and the losses.
fn enforced(fields: &str) -> (String, Vec<String>) {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{fields}}}"#);
    let facts = ModelFacts { strict_subset: true, ..ModelFacts::default() };
    let target = Target { model: "m", facts: &facts, quirks: &Quirks::default() };
    let encoded = forward(&chat_intake(body.as_bytes()).unwrap(), target).unwrap();
    let losses =
        encoded.losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str())).collect();
    (String::from_utf8(encoded.body.to_vec()).unwrap(), losses)
}

const SOUND: &str = r#"{ "type" : "object", "properties":{"a":{"type":["string","null"]}}, "required":["a"],"additionalProperties":false}"#;
const OPTIONAL: &str =
    r#"{ "type" : "object", "properties":{"a":{"type":"string"}}, "additionalProperties":false}"#;

#[test]
fn a_schema_that_would_be_refused_is_not_enforced() {
    let format = |strict: &str, schema: &str| {
        format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n", "strict" : {strict} , "schema":{schema}}}}}"#
        )
    };
    // A schema that is in the subset, need not be enforced, or cannot be judged here stays as the caller
    // wrote it.
    for (strict, schema) in
        [("true", SOUND), ("false", OPTIONAL), ("null", OPTIONAL), ("true", "null"), ("true", "[1]")]
    {
        let fields = format(strict, schema);
        let (sent, losses) = enforced(&fields);
        assert!(sent.contains(&fields) && losses.is_empty(), "{sent} {losses:?}");
    }
    let (sent, losses) = enforced(&format("true", OPTIONAL));
    assert!(sent.contains(&format("false", OPTIONAL)), "{sent}");
    assert_eq!(losses, ["response_format.json_schema.strict dropped"]);
    // A list is not a JSON object, and the form of an answer can only be an object: the schema becomes an
    // instruction.
    let (sent, losses) = enforced(&format("true", r#"{"type":"array","items":{"type":"string"}}"#));
    let sent: Value = serde_json::from_str(&sent).unwrap();
    assert_eq!((sent.get("response_format"), losses), (None, vec!["response_format emulated".to_owned()]));
    assert!(sent["messages"][0]["content"].as_str().unwrap().contains(r#"{"type":"array""#), "{sent}");
}

#[test]
fn a_tool_that_would_be_refused_is_not_strict() {
    let tool = |strict: &str, parameters: &str| {
        format!(
            r#"{{"type":"function","function":{{"name":"f","strict": {strict},"parameters":{parameters} }}}}"#
        )
    };
    let custom = r#"{"type":"custom","custom":{"name":"c"}}"#;
    let list = |inner: [String; 4]| format!(r#""tools":[{}, {custom}]"#, inner.join(" , "));
    let root = r#"{"anyOf":[]}"#;
    let sound =
        list([tool("true", SOUND), tool("false", OPTIONAL), tool("null", OPTIONAL), tool("true", root)]);
    let (sent, losses) = enforced(&sound);
    assert!(sent.contains(&sound) && losses.is_empty(), "{sent} {losses:?}");
    let (sent, losses) = enforced(&list([
        tool("true", OPTIONAL),
        tool("true", SOUND),
        tool("true", OPTIONAL),
        tool("true", SOUND),
    ]));
    let expected =
        list([tool("false", OPTIONAL), tool("true", SOUND), tool("false", OPTIONAL), tool("true", SOUND)]);
    assert!(sent.contains(&expected), "{sent}");
    assert_eq!(losses, ["tools[0].function.strict dropped", "tools[2].function.strict dropped"]);
}

#[test]
fn strict_tools_of_another_format_follow_the_same_rules() {
    let body = format!(
        r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":"x"}}],"tools":[{{"name":"f","strict":true,"input_schema":{OPTIONAL}}}]}}"#
    );
    let dialect = wire::dialect(wire::Protocol::AnthropicMessages).unwrap();
    let request = dialect.decode_request(body.as_bytes()).unwrap();
    let facts = ModelFacts { strict_subset: true, ..ModelFacts::default() };
    let target = Target { model: "m", facts: &facts, quirks: &Quirks::default() };
    let encoded = wire::adapter(wire::Protocol::OpenaiChat).encode_request(&request, target).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(sent["tools"][0]["function"]["strict"], false, "{sent}");
    assert!(encoded.losses.iter().any(|loss| loss.field.name() == "tools[0].function.strict"));
}

#[test]
fn a_forced_call_ends_thinking_that_was_not_requested() {
    use canon::{Effort, ReasoningControl};
    use serde_json::json;
    let facts = |reasoning, thinks_by_default| ModelFacts {
        reasoning: Some(reasoning),
        rejects_thinking: vec!["temperature".to_owned(), "tool_choice".to_owned()],
        thinks_by_default,
        ..ModelFacts::default()
    };
    let toggle = || ReasoningControl::Toggle { can_disable: true, levels: vec![Effort::High] };
    let tool = r#""tools":[{"type":"function","function":{"name":"f"}}]"#;
    let sent = |facts: &ModelFacts, fields: &str| {
        let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"x"}}],{tool},{fields}}}"#);
        let target = Target { model: "m", facts, quirks: &Quirks::default() };
        let encoded = forward(&chat_intake(body.as_bytes()).unwrap(), target).unwrap();
        let mut body: Value = serde_json::from_slice(&encoded.body).unwrap();
        body.as_object_mut()
            .unwrap()
            .retain(|name, _| !matches!(name.as_str(), "model" | "messages" | "tools"));
        let losses: Vec<String> =
            encoded.losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str())).collect();
        (body, losses.join(","))
    };
    let by_default = facts(toggle(), true);
    let named = r#"{"type":"function","function":{"name":"f"}}"#;
    for choice in ["\"required\"", named] {
        let choice_value: Value = serde_json::from_str(choice).unwrap();
        let forced = format!(r#""tool_choice":{choice},"temperature":0.5"#);
        // The caller did not request thinking: without it the model takes every other field.
        let off = json!({"tool_choice": choice_value, "temperature": 0.5, "thinking": {"type": "disabled"}});
        assert_eq!(sent(&by_default, &forced), (off.clone(), String::new()));
        // The caller switched it off already, by any field.
        assert_eq!(
            sent(&by_default, &format!(r#"{forced},"thinking":{{"type":"disabled"}}"#)),
            (off, String::new())
        );
        let template = json!({"tool_choice": choice_value, "temperature": 0.5, "chat_template_kwargs": {"enable_thinking": false}});
        let asked = format!(r#"{forced},"chat_template_kwargs":{{"enable_thinking":false}}"#);
        assert_eq!(sent(&by_default, &asked), (template, String::new()));
        // The caller requests thinking: the call cannot be forced.
        let lost = "tool_choice approximated,temperature dropped".to_owned();
        let on = json!({"tool_choice": "auto", "thinking": {"type": "enabled"}, "reasoning_effort": "high"});
        let asked = format!(r#"{forced},"reasoning_effort":"high""#);
        assert_eq!(sent(&by_default, &asked), (on, lost.clone()));
        let on = json!({"tool_choice": "auto", "thinking": {"type": "enabled"}});
        let asked = format!(r#"{forced},"thinking":{{"type":"enabled"}}"#);
        assert_eq!(sent(&by_default, &asked), (on, lost.clone()));
        // Thinking cannot be switched off.
        let always = facts(ReasoningControl::Always, false);
        assert_eq!(sent(&always, &forced), (json!({"tool_choice": "auto"}), lost.clone()));
        let levels = facts(ReasoningControl::Effort { levels: vec![Effort::Low, Effort::High] }, true);
        assert_eq!(sent(&levels, &forced), (json!({"tool_choice": "auto"}), lost));
        // A model that does not think by default gets no parameter against it.
        let asleep = facts(ReasoningControl::EnableThinking, false);
        let same = json!({"tool_choice": choice_value, "temperature": 0.5});
        assert_eq!(sent(&asleep, &forced), (same, String::new()));
    }
    // A free choice is accepted while the model thinks.
    let free = json!({"tool_choice": "auto"});
    assert_eq!(sent(&by_default, r#""tool_choice":"auto""#), (free, String::new()));
}
