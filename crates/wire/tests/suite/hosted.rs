//! Tools that a provider runs, and other features of one format, at providers of every format: served there
//! by the provider's own tool of that kind, or refused by name. They are never left out silently, and never
//! sent in another format's terms.

use canon::{ErrorKind, Event, Field, ModelFacts, Quirks, Request, Target};
use serde_json::{Value, json};
use wire::{Encoded, Protocol};

const CALLERS: [Protocol; 3] = [Protocol::AnthropicMessages, Protocol::OpenaiResponses, Protocol::Gemini];

/// A request with these tools and further fields in the caller's format.
fn body(caller: Protocol, tools: &[Value], further: &Value) -> Value {
    let mut body = match caller {
        Protocol::AnthropicMessages => {
            json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]})
        }
        Protocol::OpenaiResponses => json!({"model": "m", "input": "a"}),
        _ => json!({"model": "m", "contents": [{"role": "user", "parts": [{"text": "a"}]}]}),
    };
    if !tools.is_empty() {
        body["tools"] = json!(tools);
    }
    body.as_object_mut().unwrap().extend(further.as_object().unwrap().clone());
    body
}

fn read(caller: Protocol, body: &Value) -> Request {
    wire::dialect(caller).unwrap().decode_request(body.to_string().as_bytes()).unwrap()
}

/// A field under the name that the caller's format has for it.
fn name_of(caller: Protocol, body: &Value, field: &Field) -> String {
    wire::dialect(caller).unwrap().name_of(field, Some(&read(caller, body))).into_owned()
}

fn sent(caller: Protocol, provider: Protocol, body: &Value) -> canon::Result<Encoded> {
    let request = read(caller, body);
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    wire::adapter(provider).encode_request(&request, target)
}

fn function(caller: Protocol) -> Value {
    match caller {
        Protocol::AnthropicMessages => json!({"name": "f", "input_schema": {"type": "object"}}),
        Protocol::OpenaiResponses => {
            json!({"type": "function", "name": "f", "parameters": {"type": "object"}})
        }
        _ => json!({"functionDeclarations": [{"name": "f"}]}),
    }
}

/// Tools that only one format has, with their names in the error.
fn lonely() -> Vec<(Protocol, Value, &'static str)> {
    let dated = |kind: &'static str, name: &str| {
        (Protocol::AnthropicMessages, json!({"type": kind, "name": name}), kind)
    };
    let typed = |kind: &'static str| (Protocol::OpenaiResponses, json!({"type": kind}), kind);
    let google = |name: &'static str| (Protocol::Gemini, json!({name: {}}), name);
    vec![
        dated("computer_20250124", "computer"),
        dated("bash_20250124", "bash"),
        dated("text_editor_20250728", "str_replace_based_edit_tool"),
        dated("memory_20250818", "memory"),
        (Protocol::AnthropicMessages, json!({"type": "mcp_toolset", "mcp_server_name": "x"}), "mcp_toolset"),
        (Protocol::AnthropicMessages, json!({"type": "x_new_29990101", "name": "x"}), "x_new_29990101"),
        (
            Protocol::OpenaiResponses,
            json!({"type": "mcp", "server_label": "x", "server_url": "https://x.test"}),
            "mcp",
        ),
        (Protocol::OpenaiResponses, json!({"type": "file_search", "vector_store_ids": ["v"]}), "file_search"),
        typed("image_generation"),
        typed("computer_use_preview"),
        typed("x_new"),
        google("googleMaps"),
        google("fileSearch"),
        google("computerUse"),
        google("xNew"),
    ]
}

#[test]
fn a_tool_of_one_format_is_refused_by_name_elsewhere() {
    for (caller, tool, name) in lonely() {
        for provider in Protocol::ALL.into_iter().filter(|provider| *provider != caller) {
            for tools in [vec![tool.clone()], vec![function(caller), tool.clone()]] {
                let body = body(caller, &tools, &json!({}));
                let error = match sent(caller, provider, &body) {
                    Err(error) => error,
                    Ok(encoded) => {
                        panic!("{name} at {provider:?}: {}", String::from_utf8_lossy(&encoded.body))
                    }
                };
                assert_eq!(error.kind, ErrorKind::UnsupportedFeature, "{name} at {provider:?}: {error}");
                assert!(error.to_string().contains(name), "{name} at {provider:?}: {error}");
                let param = name_of(caller, &body, &error.param.unwrap());
                assert!(param.starts_with("tools["), "{name} at {provider:?}: {param}");
            }
        }
    }
}

fn search(caller: Protocol) -> Value {
    match caller {
        Protocol::AnthropicMessages => json!({"type": "web_search_20250305", "name": "web_search"}),
        Protocol::OpenaiResponses => json!({"type": "web_search"}),
        _ => json!({"googleSearch": {}}),
    }
}

#[test]
fn a_web_search_is_served_by_the_tool_of_the_provider() {
    let own = |provider, body: &Value| match provider {
        Protocol::OpenaiChat => body["web_search_options"] == json!({}) && body.get("tools").is_none(),
        Protocol::OpenaiResponses => body["tools"] == json!([{"type": "web_search"}]),
        Protocol::AnthropicMessages => body["tools"][0]["type"] == "web_search_20250305",
        _ => body["tools"] == json!([{"googleSearch": {}}]),
    };
    for caller in CALLERS {
        for provider in Protocol::ALL {
            let result = sent(caller, provider, &body(caller, &[search(caller)], &json!({})));
            match provider {
                Protocol::BedrockConverse | Protocol::CohereChat | Protocol::OllamaChat => {
                    let error = result.err().unwrap_or_else(|| panic!("{caller:?} at {provider:?}"));
                    assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
                }
                _ => {
                    let sent: Value = serde_json::from_slice(&result.unwrap().body).unwrap();
                    assert!(own(provider, &sent), "{caller:?} at {provider:?}: {sent}");
                }
            }
        }
    }
}

#[test]
fn a_web_search_beside_functions_is_optional_for_the_model() {
    for caller in CALLERS {
        let tools = [function(caller), search(caller)];
        let encoded = sent(caller, Protocol::OpenaiChat, &body(caller, &tools, &json!({}))).unwrap();
        let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(sent["tools"].as_array().map(Vec::len), Some(1), "{caller:?}: {sent}");
        let told: Vec<_> = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
        assert_eq!(told, ["tools[1]"], "{caller:?}");
    }
}

#[test]
fn settings_of_a_search_that_the_provider_lacks_are_reported() {
    let search = json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 3, "blocked_domains": ["x.test"],
        "user_location": {"type": "approximate", "city": "Paris"}});
    let caller = Protocol::AnthropicMessages;
    let body = body(caller, &[search], &json!({}));
    let encoded = sent(caller, Protocol::OpenaiChat, &body).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    let place = json!({"user_location": {"type": "approximate", "approximate": {"city": "Paris"}}});
    assert_eq!(sent["web_search_options"], place);
    let told: Vec<_> = encoded.losses.iter().map(|loss| name_of(caller, &body, &loss.field)).collect();
    assert_eq!(told, ["tools[0].blocked_domains", "tools[0].max_uses"]);
}

#[test]
fn a_feature_that_is_a_field_is_refused_by_name_elsewhere() {
    let features = [
        (
            Protocol::AnthropicMessages,
            json!({"mcp_servers": [{"type": "url", "url": "https://x.test", "name": "x"}]}),
        ),
        (Protocol::AnthropicMessages, json!({"container": "c"})),
        (Protocol::Gemini, json!({"cachedContent": "cachedContents/x"})),
    ];
    for (caller, further) in features {
        let name = further.as_object().unwrap().keys().next().unwrap().clone();
        for provider in Protocol::ALL {
            let result = sent(caller, provider, &body(caller, &[], &further));
            if provider == caller {
                assert!(result.is_ok(), "{name}");
                continue;
            }
            let error = result.err().unwrap_or_else(|| panic!("{name} at {provider:?}"));
            assert_eq!(error.kind, ErrorKind::UnsupportedFeature);
            assert_eq!(error.param.unwrap().name(), name);
        }
    }
}

#[test]
fn fields_of_other_formats_do_not_reach_chat_completions() {
    let further = json!({"context_management": {"edits": [{"type": "x"}]}, "x_new": 1, "service_tier": "standard_only"});
    let caller = Protocol::AnthropicMessages;
    let encoded = sent(caller, Protocol::OpenaiChat, &body(caller, &[], &further)).unwrap();
    let sent: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert!(sent.get("context_management").is_none() && sent.get("x_new").is_none(), "{sent}");
    let told: Vec<_> = encoded.losses.iter().map(|loss| loss.field.to_string()).collect();
    assert_eq!(told, ["context_management", "x_new"]);
}

#[test]
fn a_tool_that_takes_free_text_is_a_function_where_the_provider_has_only_functions() {
    let patch = json!({"type": "custom", "name": "patch", "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"a\""}});
    let past = json!([
        {"role": "user", "content": "a"},
        {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": "old \"text\""},
        {"type": "custom_tool_call_output", "call_id": "c1", "output": "ok"},
    ]);
    let choice =
        json!({"type": "allowed_tools", "mode": "required", "tools": [{"type": "custom", "name": "patch"}]});
    let caller = Protocol::OpenaiResponses;
    let tools = [patch, function(caller)];
    let body = body(caller, &tools, &json!({"input": past, "tool_choice": choice}));
    let encoded = sent(caller, Protocol::OpenaiChat, &body).unwrap();
    let written: Value = serde_json::from_slice(&encoded.body).unwrap();
    let tools = written["tools"].as_array().unwrap();
    assert_eq!((tools.len(), &tools[0]["type"]), (1, &json!("function")), "{written}");
    assert_eq!(tools[0]["function"]["parameters"]["required"], json!(["input"]));
    assert_eq!(written["tool_choice"], "required");
    let call = &written["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(call["arguments"], json!({"input": "old \"text\""}).to_string());
    let told: Vec<_> = encoded.losses.iter().map(|loss| name_of(caller, &body, &loss.field)).collect();
    assert_eq!(told, ["tools[0].format", "tools[0]"]);

    let arguments = json!({"input": "new\n\"text\""}).to_string();
    let called = |arguments: &str| json!({"index": 0, "id": "c2", "type": "function", "function": {"name": "patch", "arguments": arguments}});
    let chunk = |delta: Value, finish: Value| json!({"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    let more = json!({"index": 0, "function": {"arguments": &arguments[5..]}});
    let stream = [
        chunk(json!({"role": "assistant", "tool_calls": [called(&arguments[..5])]}), Value::Null),
        chunk(json!({"tool_calls": [more]}), Value::Null),
        chunk(json!({}), json!("tool_calls")),
    ];
    let stream: String = stream.iter().map(|chunk| format!("data: {chunk}\n\n")).collect();
    let message = json!({"role": "assistant", "content": null, "tool_calls": [called(&arguments)]});
    let whole = json!({"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]});
    for (streaming, answer) in [(true, format!("{stream}data: [DONE]\n\n")), (false, whole.to_string())] {
        let mut decoder = wire::adapter(Protocol::OpenaiChat).decoder(streaming, &encoded.decoding);
        let mut events = Vec::new();
        decoder.push(answer.as_bytes(), &mut events).unwrap();
        decoder.finish(&mut events).unwrap();
        let is_start = |event: &&Event| matches!(event, Event::ToolCallStart { name, custom: true, .. } if name == "patch");
        assert_eq!(events.iter().filter(is_start).count(), 1, "{events:?}");
        let text: String = events
            .iter()
            .filter_map(|event| match event {
                Event::ToolCallArguments { fragment, .. } => Some(fragment.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(text, "new\n\"text\"");
    }
}

/// Each is kept as sent until the provider is chosen, and providers have about a dozen.
#[test]
fn many_hosted_tools_are_refused_in_every_format() {
    let message = json!({"role": "user", "content": "x"});
    let formats = [
        (Protocol::OpenaiChat, json!({"model": "m", "messages": [message]}), json!({"type": "web_search"})),
        (
            Protocol::AnthropicMessages,
            json!({"model": "m", "max_tokens": 9, "messages": [message]}),
            json!({"type": "web_search_20250305", "name": "web_search"}),
        ),
        (Protocol::OpenaiResponses, json!({"model": "m", "input": "x"}), json!({"type": "image_generation"})),
        (Protocol::Gemini, json!({"contents": [{"parts": [{"text": "x"}]}]}), json!({"googleSearch": {}})),
    ];
    for (protocol, mut body, tool) in formats {
        let mut read = |count: usize| {
            body["tools"] = json!(vec![&tool; count]);
            wire::dialect(protocol).unwrap().decode_request(body.to_string().as_bytes())
        };
        assert_eq!(read(256).unwrap().tools.len(), 256, "{protocol:?}");
        let error = read(257).unwrap_err();
        assert_eq!(error.message, "`tools` has more than 256 tools that providers run.", "{protocol:?}");
    }
}

/// Two searches of a request are one at a provider of another format: two tools of one name would be refused.
#[test]
fn two_searches_become_one() {
    for caller in CALLERS {
        let search = |date: &str| match caller {
            Protocol::AnthropicMessages => json!({"type": format!("web_search_{date}"), "name": date}),
            Protocol::OpenaiResponses => json!({"type": "web_search"}),
            _ => json!({"googleSearch": {}}),
        };
        let body = body(caller, &[search("20250305"), search("20260209")], &json!({}));
        for provider in
            [Protocol::AnthropicMessages, Protocol::OpenaiResponses, Protocol::Gemini, Protocol::OpenaiChat]
        {
            if provider == caller {
                continue;
            }
            let encoded = sent(caller, provider, &body).unwrap();
            let text = String::from_utf8(encoded.body.to_vec()).unwrap();
            let written: Value = serde_json::from_str(&text).unwrap();
            let count = match provider {
                Protocol::OpenaiChat => text.matches("web_search_options").count(),
                _ => written["tools"].as_array().map_or(0, Vec::len),
            };
            assert_eq!(count, 1, "{caller:?} {provider:?}: {text}");
            let lost = |field: &Field| name_of(caller, &body, field).starts_with("tools");
            let read = read(caller, &body).losses;
            let mut losses = encoded.losses.iter().chain(read.iter());
            assert!(losses.any(|loss| lost(&loss.field)), "{caller:?} {provider:?}: {text}");
        }
    }
}
