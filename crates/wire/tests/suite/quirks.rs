//! Every quirk that the configuration offers changes something.

use crate::checks::chat_intake;
use canon::{Losses, Media, MediaKind, ModelFacts, Quirks, Source, Target};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use wire::protocols::openai_chat::forward;
use wire::{Addressed, DecoderContext, Protocol, adapter};

/// A value of each quirk, and the request fields that it needs to have an effect.
fn examples() -> Value {
    let call =
        json!({"id": "call_0123456789", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let messages = |extra: Value| json!({ "messages": [extra] });
    let tools = json!([{"type": "function", "function": {"name": "f", "strict": true}}]);
    let mut dropped = call.clone();
    dropped["x"] = json!(1);
    let format = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}});
    json!({
        "max_tokens_field": ["max_tokens", {"max_completion_tokens": 5}],
        "stream_usage": ["refused", {"stream": true}],
        "drop": [["seed"], {"seed": 1}],
        "rename": [{"seed": "random_seed"}, {"seed": 1}],
        "no_developer_role": [true, messages(json!({"role": "developer", "content": "x"}))],
        "drop_message_fields": [["name"], messages(json!({"role": "user", "name": "n", "content": "x"}))],
        "drop_call_fields": [["x"], {"tools": tools, "messages": [{"role": "assistant", "content": null, "tool_calls": [dropped]}]}],
        "drop_tool_fields": [["strict"], {"tools": tools}],
        "reasoning_field": ["reasoning", messages(json!({"role": "assistant", "reasoning_content": "r", "content": "x"}))],
        "reasoning_stand_in": [" ", messages(json!({"role": "assistant", "content": null, "tool_calls": [call]}))],
        "string_content": [true, messages(json!({"role": "user", "content": [{"type": "text", "text": "x"}]}))],
        "required_tool_choice": ["any", {"tools": tools, "tool_choice": "required"}],
        "refuses_defaults": [true, {"temperature": 1}],
        "no_forced_tool_choice": [true, {"tools": tools, "tool_choice": "required"}],
        "no_json_schema": [true, {"response_format": format}],
        "no_tools_with_response_format": [true, {"tools": tools, "response_format": format}],
        "short_tool_call_ids": [true, messages(json!({"role": "assistant", "content": null, "tool_calls": [call]}))],
        "takes_routing_fields": [true, {"models": ["a"]}],
        "single_choice": [true, {"n": 2}],
        "cached_outside_prompt": [["m*"], {}],
    })
}

/// The body for a provider with these quirks and what the decoder needs, or the refusal.
fn sent(fields: &Value, quirks: &Quirks) -> Result<(Value, DecoderContext), String> {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let body = body.to_string();
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    let encoded = forward(&chat_intake(body.as_bytes()).unwrap(), target).map_err(|error| error.message)?;
    Ok((serde_json::from_slice(&encoded.body).unwrap(), encoded.decoding))
}

fn fetches(quirks: &Quirks) -> bool {
    let source = Source::Url("https://x.test/a.png".to_owned());
    let media = Media { kind: MediaKind::Image, source, filename: None, detail: None };
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    adapter(Protocol::AnthropicMessages).wants_bytes(&media, target)
}

/// Whether the file of a raw request is fetched.
fn fetches_files(quirks: &Quirks) -> bool {
    let file = json!({"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png"}});
    let body = json!({"contents": [{"parts": [file]}]}).to_string();
    let dialect = wire::dialect(Protocol::Gemini).unwrap();
    let intake = dialect.intake(Addressed { rest: "m:generateContent", query: "" }, &body.into()).unwrap();
    let target = Target { model: "gemini-2.5-flash", facts: &ModelFacts::default(), quirks };
    wire::passthrough(Protocol::Gemini).unwrap().media(&intake, target).is_some()
}

/// The betas of a list that are sent on. The others must be losses.
fn passed_betas(list: &str, quirks: &Quirks) -> String {
    let given = vec![("anthropic-beta".parse().unwrap(), list.parse().unwrap())];
    let mut losses = canon::Losses::new();
    let dialect = wire::dialect(Protocol::AnthropicMessages).unwrap();
    let passed = dialect.passed_headers(&given, quirks, &mut losses);
    assert_eq!(losses.iter().next().unwrap().field.name(), "anthropic-beta: one-2026-01-01");
    passed[0].1.to_str().unwrap().to_owned()
}

/// Whether a cache mark of a translated request reaches the provider. If not, it must be a loss.
fn translated_marks(quirks: &Quirks) -> bool {
    let part = json!({"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}});
    let body = json!({"model": "x", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]});
    let dialect = wire::dialect(Protocol::AnthropicMessages).unwrap();
    let request = dialect.decode_request(body.to_string().as_bytes()).unwrap();
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    let encoded = adapter(Protocol::OpenaiChat).encode_request(&request, target).unwrap();
    let is_sent = String::from_utf8_lossy(&encoded.body).contains("cache_control");
    assert_eq!(is_sent, encoded.losses.is_empty());
    is_sent
}

/// Whether a chat request with these fields is forwarded rather than translated.
fn fits(fields: &Value, quirks: &Quirks) -> bool {
    let mut body = json!({"model": "x", "messages": [{"role": "user", "content": "x"}]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    wire::passthrough(Protocol::OpenaiChat)
        .unwrap()
        .fits(&chat_intake(body.to_string().as_bytes()).unwrap(), target)
}

/// Whether a hint of a caller of the Responses API reaches the provider. If not, it must be a loss.
fn sends_verbosity(quirks: &Quirks) -> bool {
    let body = json!({"model": "x", "input": "x", "text": {"verbosity": "low"}});
    let dialect = wire::dialect(Protocol::OpenaiResponses).unwrap();
    let request = dialect.decode_request(body.to_string().as_bytes()).unwrap();
    let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
    let encoded = adapter(Protocol::OpenaiChat).encode_request(&request, target).unwrap();
    let is_sent = String::from_utf8_lossy(&encoded.body).contains("verbosity");
    assert_eq!(is_sent, encoded.losses.is_empty());
    is_sent
}

#[test]
fn every_quirk_has_an_effect() {
    let Value::Object(all) = serde_json::to_value(Quirks::default()).unwrap() else { panic!() };
    let examples = examples();
    for name in all.keys() {
        // A stand-in needs the field that it is sent in.
        let mut base = Map::new();
        if name == "reasoning_stand_in" {
            base.insert("reasoning_field".to_owned(), "reasoning_content".into());
        }
        if name == "refuses_defaults" {
            base.insert("drop".to_owned(), json!(["temperature"]));
        }
        let mut with = base.clone();
        if name == "no_media_urls" {
            with.insert(name.clone(), true.into());
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            assert_ne!(fetches(&quirks), fetches(&Quirks::default()), "{name}");
            continue;
        }
        if name == "no_web_file_uris" {
            with.insert(name.clone(), true.into());
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            assert_ne!(fetches_files(&quirks), fetches_files(&Quirks::default()), "{name}");
            continue;
        }
        if name == "refused_betas" {
            with.insert(name.clone(), json!(["one-*"]));
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            assert_eq!(passed_betas("one-2026-01-01, two", &quirks), "two");
            continue;
        }
        if name == "responses_only" {
            with.insert(name.clone(), json!(["o1-pro*"]));
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            let served = ["o1-pro-2025", "o1"].map(|model| quirks.serves_by_responses_only(model));
            assert_eq!(served, [true, false]);
            continue;
        }
        if name == "renamed_betas" {
            with.insert(name.clone(), json!({"one": "uno", "due": "uno"}));
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            let given =
                vec![(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("one, due,two"))];
            let mut losses = Losses::new();
            let dialect = wire::dialect(Protocol::AnthropicMessages).unwrap();
            let passed = dialect.passed_headers(&given, &quirks, &mut losses);
            assert_eq!((passed[0].1.to_str().unwrap(), losses.is_empty()), ("uno,two", true));
            continue;
        }
        if name == "counts_input_tokens" {
            let counts = |quirks: &Quirks| {
                let target = Target { model: "m", facts: &ModelFacts::default(), quirks };
                wire::providers::endpoint(wire::providers::CallStyle::Compatible)
                    .counts_tokens(Protocol::OpenaiResponses, target)
            };
            assert!(counts(&Quirks { counts_input_tokens: true, ..Quirks::default() }));
            assert!(!counts(&Quirks::default()));
            continue;
        }
        if name == "takes_custom_tools" {
            let tool = json!({"type": "custom", "custom": {"name": "free"}});
            let (one, other) = (Quirks { takes_custom_tools: true, ..Quirks::default() }, Quirks::default());
            assert_ne!(fits(&json!({ "tools": [tool] }), &one), fits(&json!({ "tools": [tool] }), &other));
            continue;
        }
        if name == "takes_fields" {
            let quirks = Quirks { takes_fields: vec!["verbosity".to_owned()], ..Quirks::default() };
            assert!(sends_verbosity(&quirks) && !sends_verbosity(&Quirks::default()));
            continue;
        }
        if name == "takes_cache_marks" {
            with.insert(name.clone(), true.into());
            let quirks: Quirks = serde_json::from_value(with.into()).unwrap();
            assert!(translated_marks(&quirks) && !translated_marks(&Quirks::default()));
            continue;
        }
        let example =
            examples.get(name).unwrap_or_else(|| panic!("{name} has no example: is it read anywhere?"));
        with.insert(name.clone(), example[0].clone());
        let read = |quirks: Map<String, Value>| serde_json::from_value::<Quirks>(quirks.into()).unwrap();
        let (plain, changed) = (sent(&example[1], &read(base)), sent(&example[1], &read(with)));
        assert_ne!(plain, changed, "{name} has no effect");
    }
    assert_eq!(examples.as_object().unwrap().len() + 9, all.len(), "an example of a quirk that is gone");
}
