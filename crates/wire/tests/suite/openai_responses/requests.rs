//! Requests, in both directions.

use canon::{
    Effort, Error, ErrorKind, Json, LossAction, Message, ModelFacts, Part, PartKind, Quirks, Reasoning,
    ReasoningControl, ReasoningRequest, Request, Role, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use serde_json::{Value, json};
use wire::Protocol;

use super::{body, dialect, encode, encode_with, read};

fn losses(encoded: &wire::Encoded) -> Vec<String> {
    let line = |loss: &canon::Loss| format!("{} {}", loss.action.as_str(), loss.field);
    encoded.losses.iter().map(line).collect()
}

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn call(id: &str, name: &str, custom: bool) -> Part {
    let arguments = if custom { "free text" } else { "{\"a\":1}" }.into();
    PartKind::from(ToolCall { id: id.into(), name: name.into(), arguments, custom }).into()
}

fn result(id: &str, text: &str) -> Message {
    let result = ToolResult { call_id: id.into(), content: vec![Part::text(text)], is_error: false };
    Message::new(Role::Tool, vec![PartKind::from(result).into()])
}

fn thought(text: &str, encrypted: Option<&str>, format: Option<&str>) -> Part {
    let owned = |text: &str| text.to_owned();
    let (encrypted, format) = (encrypted.map(owned), format.map(owned));
    PartKind::from(Reasoning { text: text.into(), encrypted, format, ..Reasoning::default() }).into()
}

#[test]
fn a_conversation_is_written_as_items() {
    let encrypted = thought("", Some("enc"), Some("openai-responses-v1"));
    let request = Request {
        messages: vec![
            Message::text(Role::System, "be brief"),
            user("hi"),
            Message::new(
                Role::Assistant,
                vec![encrypted, Part::text("so"), call("c1", "f", false), call("c2", "free", true)],
            ),
            result("c2", "B"),
            result("c1", "A"),
        ],
        ..Request::default()
    };
    let encoded = encode(&request).unwrap();
    let sent = body(&encoded);
    assert_eq!(
        sent["input"],
        json!([
            {"type": "message", "role": "system", "content": "be brief"},
            {"type": "message", "role": "user", "content": "hi"},
            {"type": "reasoning", "summary": [], "encrypted_content": "enc"},
            {"type": "message", "role": "assistant", "content": "so"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "free", "input": "free text"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": "B"},
            {"type": "function_call_output", "call_id": "c1", "output": "A"},
        ])
    );
    // The provider must not store anything, so thinking must come back encrypted.
    assert_eq!((&sent["store"], &sent["include"]), (&json!(false), &json!(["reasoning.encrypted_content"])));
    assert!(encoded.losses.is_empty(), "{:?}", encoded.losses);
}

#[test]
fn only_thinking_of_the_models_own_family_is_sent() {
    let parts = vec![
        thought("unproven", None, None),
        thought("", Some("enc"), Some("google-gemini-v1")),
        Part::text("so"),
    ];
    let request =
        Request { messages: vec![user("hi"), Message::new(Role::Assistant, parts)], ..Request::default() };
    let encoded = encode(&request).unwrap();
    assert_eq!(body(&encoded)["input"].as_array().unwrap().len(), 2);
    assert_eq!(losses(&encoded), ["dropped messages[1].reasoning"]);
    // Hosts of open models read the text itself.
    let quirks = Quirks { reasoning_field: Some("reasoning_content".into()), ..Quirks::default() };
    let sent = body(&encode_with(&request, &ModelFacts::default(), &quirks).unwrap());
    let content = json!([{"type": "reasoning_text", "text": "unproven"}]);
    assert_eq!(sent["input"][1], json!({"type": "reasoning", "summary": [], "content": content}));
    // Thinking text that another format sent separately from its proof becomes the summary of the encrypted
    // item.
    let parts = vec![
        thought("told", None, None),
        thought("", Some("enc"), Some("openai-responses-v1")),
        Part::text("so"),
    ];
    let request =
        Request { messages: vec![user("hi"), Message::new(Role::Assistant, parts)], ..Request::default() };
    let encoded = encode(&request).unwrap();
    assert_eq!(body(&encoded)["input"][1]["summary"], json!([{"type": "summary_text", "text": "told"}]));
    assert!(encoded.losses.is_empty());
}

#[test]
fn tools_and_choices_are_written_in_flat_form() {
    let schema = || Some(Json::of(&json!({"type": "object", "properties": {"a": {"type": "string"}}})));
    let tool = |name: &str, kind| Tool {
        name: name.into(),
        description: Some("d".into()),
        kind,
        cache: None,
        place: Default::default(),
    };
    let grammar = json!({"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: \"a\""}});
    let native = |raw: Value| ToolKind::Native(Json::of(&raw));
    let request = Request {
        messages: vec![user("hi")],
        tools: vec![
            tool("f", ToolKind::Function { parameters: schema(), strict: None }),
            tool("look up!", ToolKind::Function { parameters: None, strict: Some(true) }),
            tool("free", ToolKind::Custom { format: Some(Json::of(&grammar)) }),
            tool("image_generation", native(json!({"type": "image_generation", "size": "auto"}))),
            tool(
                "web_search",
                native(json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2,
                    "allowed_domains": ["a.test"]})),
            ),
            tool("googleSearch", native(json!({"googleSearch": {}}))),
        ],
        tool_choice: Some(ToolChoice::Allowed { names: vec!["f".into(), "free".into()], required: true }),
        parallel_tool_calls: Some(false),
        ..Request::default()
    };
    let encoded = encode(&request).unwrap();
    let sent = body(&encoded);
    assert_eq!(
        sent["tools"],
        json!([
            {"type": "function", "name": "f", "description": "d", "strict": false,
                "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}},
            {"type": "function", "name": "look_up_", "description": "d", "strict": true,
                "parameters": {"type": "object", "properties": {}}},
            {"type": "custom", "name": "free", "description": "d",
                "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"a\""}},
            {"type": "image_generation", "size": "auto"},
            {"type": "web_search", "filters": {"allowed_domains": ["a.test"]}},
        ])
    );
    assert_eq!(
        sent["tool_choice"],
        json!({"type": "allowed_tools", "mode": "required",
            "tools": [{"type": "function", "name": "f"}, {"type": "custom", "name": "free"}]})
    );
    assert_eq!(sent["parallel_tool_calls"], false);
    assert_eq!(losses(&encoded), ["dropped tools[4].function.max_uses", "dropped tools[5]"]);
    assert_eq!(encoded.decoding.tool_name("look_up_"), "look up!");
    let computer = tool("computer", native(json!({"type": "computer_20250124", "name": "computer"})));
    let error = encode(&Request { tools: vec![computer], ..request }).unwrap_err();
    assert!(error.kind == ErrorKind::UnsupportedFeature && error.message.contains("computer_20250124"));
}

#[test]
fn efforts_and_limits_are_what_the_model_takes() {
    let of = |effort, levels: Option<Vec<Effort>>, max_tokens| {
        let reasoning = ReasoningRequest { effort, ..ReasoningRequest::default() };
        let control = levels.map(|levels| ReasoningControl::Effort { levels });
        let facts = ModelFacts { reasoning: control, ..ModelFacts::default() };
        let request = Request { messages: vec![user("a")], reasoning, max_tokens, ..Request::default() };
        encode_with(&request, &facts, &Quirks::default()).unwrap()
    };
    let encoded = of(Some(Effort::Max), Some(vec![Effort::Low, Effort::High]), Some(5));
    let sent = body(&encoded);
    assert_eq!(sent["reasoning"], json!({"effort": "high"}));
    assert_eq!(sent["max_output_tokens"], 16, "the API refuses smaller ones");
    assert_eq!(losses(&encoded), ["approximated reasoning_effort", "approximated max_tokens"]);
    // A model that does not think refuses to encrypt its thinking.
    let facts = ModelFacts { reasoning: Some(ReasoningControl::None), ..ModelFacts::default() };
    let request = Request { messages: vec![user("a")], ..Request::default() };
    let sent = body(&encode_with(&request, &facts, &Quirks::default()).unwrap());
    assert_eq!((&sent["include"], &sent["reasoning"]), (&Value::Null, &Value::Null));
    let sent = body(&of(None, Some(vec![Effort::Low]), None));
    assert_eq!(sent["include"], json!(["reasoning.encrypted_content"]));
}

#[test]
fn fields_that_a_model_refuses_are_left_out() {
    let facts = ModelFacts {
        rejects: vec!["top_p".into()],
        rejects_thinking: vec!["temperature".into()],
        thinks_by_default: true,
        ..ModelFacts::default()
    };
    let mut request = Request { messages: vec![user("a")], stop: vec!["x".into()], ..Request::default() };
    request.sampling.temperature = Some(0.5);
    request.sampling.top_p = Some(0.5);
    let encoded = encode_with(&request, &facts, &Quirks::default()).unwrap();
    let sent = body(&encoded);
    assert!(sent.get("temperature").is_none() && sent.get("top_p").is_none() && sent.get("stop").is_none());
    assert_eq!(losses(&encoded), ["dropped stop", "dropped top_p", "dropped temperature"]);
}

// ---------------------------------------------------------------------------------------------- reading

#[test]
fn every_item_is_understood() {
    let request = read(&json!({
        "model": "m",
        "instructions": "be brief",
        "input": [
            {"role": "developer", "content": "d"},
            {"role": "user", "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"},
            ]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}], "content": null,
                "encrypted_content": "enc"},
            {"type": "message", "role": "assistant", "id": "msg_1", "status": "completed", "phase": "commentary",
                "content": [{"type": "output_text", "text": "b", "annotations": []}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}", "id": "fc_1", "status": "completed"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "free", "input": "x"},
            {"type": "local_shell_call", "call_id": "c3", "status": "completed",
                "action": {"type": "exec", "command": ["ls"], "env": {}}},
            {"type": "function_call_output", "call_id": "c1", "output": "A"},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "B"}]},
            {"type": "local_shell_call_output", "id": "c3", "output": "C"},
            {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}},
            {"type": "a_new_item", "x": 1},
            {"type": "reasoning", "summary": [], "encrypted_content": null},
            {"role": "user", "content": "go on"},
        ],
    }));
    let roles: Vec<_> = request.messages.iter().map(|message| message.role).collect();
    use Role::{Assistant, Developer, System, Tool, User};
    assert_eq!(roles, [System, Developer, User, Assistant, Tool, Tool, Tool, Assistant, User]);
    let said = &request.messages[3];
    let kinds: Vec<_> = said
        .parts
        .iter()
        .map(|part| match &part.kind {
            PartKind::Reasoning(thought) => format!("{} {:?}", thought.text, thought.encrypted),
            PartKind::Text(text) => text.to_string(),
            PartKind::ToolCall(call) => format!("{} {} {}", call.id, call.name, call.custom),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["t Some(\"enc\")", "b", "c1 f false", "c2 free true", "c3 local_shell false"]);
    // Items that only this format has are written back unchanged.
    let sent = body(&encode(&request).unwrap());
    assert!(sent["input"].as_array().unwrap().contains(&json!({"type": "a_new_item", "x": 1})));
    assert!(request.losses.is_empty(), "{:?}", request.losses);
    use canon::{CallField, Field, MediaKind, MessageField, PartField};
    let names = [
        (Field::of_message(0, MessageField::Content), "instructions"),
        (Field::of_message(1, MessageField::Role), "input[0].role"),
        (Field::part(2, 1).with(PartField::Detail(MediaKind::Image)), "input[1].content[1].detail"),
        (Field::of_message(3, MessageField::Thinking), "input[2]"),
        (Field::call(3, 1, CallField::Arguments), "input[5].arguments"),
        (Field::result_part(5, 0), "input[8].output[0]"),
        (Field::of_message(7, MessageField::Thinking), "input[10]"),
        (Field::MaxTokens, "max_output_tokens"),
    ];
    for (field, name) in names {
        assert_eq!(dialect().name_of(&field, Some(&request)), name);
    }
}

#[test]
fn tools_are_found_in_every_place_of_a_request() {
    let request = read(&json!({
        "model": "m",
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": false},
            {"type": "namespace", "name": "agents", "tools": [
                {"type": "function", "name": "f", "parameters": {"type": "object"}},
                {"type": "function", "name": "spawn"},
            ]},
            {"type": "tool_search", "execution": "client", "description": "find", "parameters": {"type": "object"}},
            {"type": "local_shell"},
            {"type": "apply_patch"},
            {"type": "shell", "environment": {"type": "container_auto"}},
        ],
        "input": [
            {"type": "additional_tools", "role": "developer", "tools": [{"type": "namespace", "name": "functions", "tools": [
                {"type": "custom", "name": "exec", "format": {"type": "grammar", "syntax": "lark", "definition": "d"}}]}]},
            {"role": "user", "content": "hi"},
            {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "q"}, "status": "completed"},
            {"type": "tool_search_output", "call_id": "c1", "execution": "client", "tools": [
                {"type": "function", "name": "found", "parameters": {"type": "object"}}]},
            {"type": "function_call", "call_id": "c2", "namespace": "agents", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c2", "output": "done"},
        ],
    }));
    let names: Vec<_> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
    assert_eq!(
        names,
        ["f", "agents__f", "spawn", "tool_search", "local_shell", "apply_patch", "shell", "exec", "found"]
    );
    let hosted = |tool: &&Tool| matches!(tool.kind, ToolKind::Native(_));
    assert_eq!(request.tools.iter().filter(hosted).map(|tool| &*tool.name).collect::<Vec<_>>(), ["shell"]);
    let calls: Vec<_> =
        request.messages.iter().flat_map(Message::tool_calls).map(|call| &*call.name).collect();
    assert_eq!(calls, ["tool_search", "agents__f"]);
    let PartKind::ToolResult(found) = &request.messages[2].parts[0].kind else { panic!("no result") };
    assert_eq!(found.content, [Part::text("These tools are available now: found.")]);
}

#[test]
fn a_search_is_required_without_other_tools_and_optional_beside_them() {
    let search = json!({"type": "web_search", "search_context_size": "low",
        "user_location": {"type": "approximate", "country": "DE"}});
    let with = |tools: Value| read(&json!({"model": "m", "input": "hi", "tools": tools}));
    let alone = with(json!([search]));
    assert!(alone.tools.is_empty());
    assert_eq!(
        alone.extra("web_search_options").unwrap().to_value().unwrap(),
        json!({"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"country": "DE"}}})
    );
    let offered = with(json!([search, {"type": "function", "name": "f"}]));
    let (facts, quirks) = Default::default();
    for protocol in Protocol::ALL {
        let target = canon::Target { model: "m", facts: &facts, quirks: &quirks };
        let encoded = wire::adapter(protocol).encode_request(&offered, target).unwrap();
        let text = String::from_utf8(encoded.body.to_vec()).unwrap();
        let is_left_out = encoded
            .losses
            .iter()
            .any(|loss| loss.field.name() == "tools[0]" && loss.action == LossAction::Dropped);
        let is_there = text.contains("web_search") || text.contains("googleSearch");
        assert!(is_left_out != is_there, "{protocol:?}: {text}");
        // Without other tools the search is required: served, or refused by its name in the caller's format.
        if let Err(error) = wire::adapter(protocol).encode_request(&alone, target) {
            let field = error.param.expect("a field");
            assert_eq!(dialect().name_of(&field, Some(&alone)), "tools", "{protocol:?}");
        }
    }
}

#[test]
fn foreign_proofs_travel_in_envelopes() {
    let signed = canon::Event::Reasoning {
        choice: 0,
        block: 0,
        detail: canon::ReasoningDetail::Signature("sig=".into()),
        format: "anthropic-claude-v1",
    };
    let events = [
        canon::Event::Start { id: None, model: None, created: None },
        canon::Event::Reasoning {
            choice: 0,
            block: 0,
            detail: canon::ReasoningDetail::Text("let me see".into()),
            format: "anthropic-claude-v1",
        },
        signed,
        canon::Event::Reasoning {
            choice: 0,
            block: 1,
            detail: canon::ReasoningDetail::Encrypted("redacted".into()),
            format: "anthropic-claude-v1",
        },
        canon::Event::ToolCallStart {
            choice: 0,
            index: 0,
            id: "c1".into(),
            name: "f".into(),
            signature: Some("call sig".into()),
            custom: false,
        },
        canon::Event::ToolCallArguments { choice: 0, index: 0, fragment: "{}".into() },
    ];
    let answer: Value = serde_json::from_str(&super::write(false, &events)).unwrap();
    let sent_back = |output: &Value| {
        let mut input = vec![json!({"role": "user", "content": "hi"})];
        input.extend(output.as_array().unwrap().iter().cloned());
        input.push(json!({"type": "function_call_output", "call_id": "c1", "output": "A"}));
        read(&json!({"model": "m", "input": input})).messages.remove(1).parts
    };
    let parts = sent_back(&answer["output"]);
    let mut own = thought("let me see", None, Some("anthropic-claude-v1"));
    own.signature = Some("sig=".into());
    let mut called = call("c1", "f", false);
    called.signature = Some("call sig".into());
    let PartKind::ToolCall(inner) = &mut called.kind else { panic!("a call") };
    inner.arguments = "{}".into();
    assert_eq!(parts, [own, thought("", Some("redacted"), Some("anthropic-claude-v1")), called]);
    // The signature does not cover a text that the client changed.
    let mut changed = answer["output"].clone();
    changed[0]["summary"][0]["text"] = json!("let me think");
    assert_eq!(sent_back(&changed)[0], thought("let me think", None, None));
}

#[test]
fn mistakes_are_named_by_their_path() {
    let refused =
        |body: Value| -> Error { dialect().decode_request(body.to_string().as_bytes()).unwrap_err() };
    let item = |item: Value| json!({"model": "m", "input": [item]});
    let cases = [
        (json!({"input": "hi"}), "model"),
        (json!({"model": "m"}), "input"),
        (json!({"model": "m", "input": []}), "input"),
        (json!({"model": "m", "input": 7}), "input"),
        (json!({"model": "m", "input": "a", "max_output_tokens": "x"}), "max_output_tokens"),
        (json!({"model": "m", "input": "a", "background": true}), "background"),
        (json!({"model": "m", "input": "a", "previous_response_id": "resp_1"}), "previous_response_id"),
        (json!({"model": "m", "input": "a", "prompt": {"id": "p"}}), "prompt"),
        (json!({"model": "m", "input": "a", "text": {"format": {"type": "xml"}}}), "text.format.type"),
        (json!({"model": "m", "input": "a", "reasoning": {"effort": "lots"}}), "reasoning.effort"),
        (json!({"model": "m", "input": "a", "tools": [{"type": "function"}]}), "tools[0].name"),
        (
            json!({"model": "m", "input": "a", "tool_choice": {"type": "function", "name": "g"}}),
            "tool_choice.name",
        ),
        (item(json!({"x": 1})), "input[0].type"),
        (item(json!({"role": "tool", "content": "a"})), "input[0].role"),
        (item(json!({"role": "user", "content": [{"type": "video"}]})), "input[0].content[0].type"),
        (
            item(json!({"role": "user", "content": [{"type": "input_image"}]})),
            "input[0].content[0].image_url",
        ),
        (
            item(json!({"role": "user", "content": [{"type": "input_image", "image_url": "ftp://a"}]})),
            "input[0].content[0].image_url",
        ),
        (item(json!({"type": "function_call", "name": "f", "arguments": "{}"})), "input[0].call_id"),
        (item(json!({"type": "function_call_output", "output": "a"})), "input[0].call_id"),
        (item(json!({"type": "item_reference", "id": "msg_1"})), "input[0].id"),
        (item(json!({"type": "compaction_trigger"})), "input[0].type"),
    ];
    for (body, path) in cases {
        let error = refused(body.clone());
        assert_eq!(error.param.unwrap().name(), path, "{body}");
        assert_eq!(error.kind.status().as_u16(), 400);
        assert!(!error.message.is_empty());
    }
    for body in ["", "{", "[]", "null", "{\"model\":\"m\",\"input\":\"\\ud800\"}"] {
        assert!(dialect().decode_request(body.as_bytes()).is_err(), "{body}");
    }
}
