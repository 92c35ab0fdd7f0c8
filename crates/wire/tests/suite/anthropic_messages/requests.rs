//! The rules of requests, one by one.

use canon::{
    CacheMark, Effort, Error, ErrorKind, Feature, Json, LossAction, Media, MediaKind, Message, ModelFacts,
    OutputFormat, Part, PartKind, Reasoning, ReasoningControl, ReasoningRequest, Request, Role, Source, Tool,
    ToolCall, ToolChoice, ToolKind, ToolResult,
};
use serde_json::{Value, json};
use wire::Encoded;

use super::{body, encode, encode_with};

const SONNET: &str = "claude-sonnet-4-5-20250929";

/// A description, the messages, and the expected instructions, turns and losses.
type TurnCase = (&'static str, Vec<Message>, Value, Value, &'static [&'static str]);

/// The model, the requested effort and limit, and the expected thinking, effort, limit and losses.
type ThinkingCase = (&'static str, Effort, Option<u64>, (Value, Value, u64, Vec<&'static str>));

fn user(text: &str) -> Message {
    Message::text(Role::User, text)
}

fn system(text: &str) -> Message {
    Message::text(Role::System, text)
}

fn assistant(text: &str) -> Message {
    Message::text(Role::Assistant, text)
}

fn call(id: &str, name: &str, arguments: &str) -> Part {
    let (id, name, arguments) = (id.into(), name.into(), arguments.into());
    Part::new(PartKind::from(ToolCall { id, name, arguments, custom: false }))
}

fn calls(parts: Vec<Part>) -> Message {
    Message::new(Role::Assistant, parts)
}

fn result(id: &str, text: &str) -> Message {
    let result = ToolResult { call_id: id.into(), content: vec![Part::text(text)], is_error: false };
    Message::new(Role::Tool, vec![Part::new(PartKind::from(result))])
}

fn tool(name: &str, parameters: Option<Value>) -> Tool {
    let parameters = parameters.map(|schema| Json::of(&schema));
    Tool {
        name: name.to_owned(),
        description: None,
        kind: ToolKind::Function { parameters, strict: None },
        cache: None,
        place: canon::Place::NOWHERE,
    }
}

fn of(messages: Vec<Message>) -> Request {
    Request { messages, ..Request::default() }
}

fn losses(encoded: &Encoded) -> Vec<(String, LossAction)> {
    encoded.losses.iter().map(|loss| (loss.field.to_string(), loss.action)).collect()
}

fn lost(encoded: &Encoded) -> Vec<String> {
    // All thoughts of one message are reported under one name.
    let losses = encoded.losses.clone().named(canon::Field::name);
    losses.iter().map(|loss| format!("{} {}", loss.action.as_str(), loss.field)).collect()
}

fn turns(messages: Vec<Message>) -> (Value, Value, Vec<String>) {
    let encoded = encode(&of(messages), SONNET).unwrap();
    let body = body(&encoded);
    (body["system"].clone(), body["messages"].clone(), lost(&encoded))
}

fn refusal(request: &Request, model: &str) -> Error {
    encode(request, model).unwrap_err()
}

#[test]
fn a_simple_request_gets_only_the_required_fields() {
    let request = of(vec![system("Be brief."), user("Hi")]);
    let encoded = encode(&request, SONNET).unwrap();
    let expected = json!({
        "model": SONNET,
        "max_tokens": 4096,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hi"}]
    });
    assert_eq!(body(&encoded), expected);
    assert!(encoded.losses.is_empty());
    let facts = ModelFacts { max_output_tokens: Some(64_000), ..ModelFacts::default() };
    assert_eq!(body(&encode_with(&request, SONNET, &facts).unwrap())["max_tokens"], 64_000);
}

fn text(text: &str) -> Value {
    json!({"type": "text", "text": text})
}

fn use_of(id: &str, input: Value) -> Value {
    json!({"type": "tool_use", "id": id, "name": "f", "input": input})
}

fn result_of(id: &str, answer: &str) -> Value {
    json!({"type": "tool_result", "tool_use_id": id, "content": [text(answer)]})
}

fn turns_of_text() -> Vec<TurnCase> {
    vec![
        (
            "several leading instructions",
            vec![system("a"), Message::text(Role::Developer, "b"), user("c")],
            json!([text("a"), text("b")]),
            json!([{"role": "user", "content": "c"}]),
            &[],
        ),
        (
            "instructions alone become the user's",
            vec![system("a")],
            Value::Null,
            json!([{"role": "user", "content": "a"}]),
            &["approximated messages"],
        ),
        (
            "equal roles are merged",
            vec![user("a"), user("b"), assistant("c"), assistant("d"), user("e")],
            Value::Null,
            json!([
                {"role": "user", "content": [text("a"), text("b")]},
                {"role": "assistant", "content": [text("c"), text("d")]},
                {"role": "user", "content": "e"}
            ]),
            &[],
        ),
        (
            "the assistant cannot begin",
            vec![assistant("a"), user("b")],
            Value::Null,
            json!([
                {"role": "user", "content": "(The conversation begins with the assistant.)"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": "b"}
            ]),
            &["approximated messages"],
        ),
        (
            "blank texts and the turns that they leave empty go",
            vec![user("a"), assistant(" "), user("\n"), user("b"), assistant("c \n")],
            Value::Null,
            json!([{"role": "user", "content": [text("a"), text("b")]}, {"role": "assistant", "content": "c"}]),
            &[],
        ),
    ]
}

fn turns_with_calls() -> Vec<TurnCase> {
    vec![
        (
            "results come together, in the order of the calls, in front of what the user says",
            vec![
                user("a"),
                calls(vec![call("1", "f", "{\"x\": 1.0}"), Part::text("b"), call("2", "f", "")]),
                system("c"),
                result("2", "two"),
                result("1", "one"),
                user("d"),
            ],
            Value::Null,
            json!([
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [text("b"), use_of("1", json!({"x": 1.0})), use_of("2", json!({}))]},
                {"role": "user", "content": [result_of("1", "one"), result_of("2", "two"), text("c"), text("d")]}
            ]),
            &["approximated messages[1].content[1]", "approximated messages[2].role", "approximated tools"],
        ),
        (
            "a late result finds back to its call",
            vec![user("a"), calls(vec![call("1", "f", "{}")]), user("b"), assistant("c"), result("1", "one")],
            Value::Null,
            json!([
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [use_of("1", json!({}))]},
                {"role": "user", "content": [result_of("1", "one"), text("b")]},
                {"role": "assistant", "content": "c"}
            ]),
            &["approximated tools"],
        ),
        (
            "arguments that are no object are wrapped; ids are cleaned alike on both sides",
            vec![user("a"), calls(vec![call("c:1", "f", "[1")]), result("c:1", "")],
            Value::Null,
            json!([
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": [use_of("c1_f69742190d7ddbeb", json!({"arguments": "[1"}))]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1_f69742190d7ddbeb"}]}
            ]),
            &["approximated messages[1].tool_calls[0].function.arguments", "approximated tools"],
        ),
    ]
}

#[test]
fn turns_and_instructions_are_written_in_the_form_of_messages() {
    for (name, messages, system, expected, losses) in turns_of_text().into_iter().chain(turns_with_calls()) {
        let (got_system, got, mut lost) = turns(messages);
        let mut losses = losses.to_vec();
        losses.sort_unstable();
        lost.sort_unstable();
        assert_eq!(got_system, system, "{name}");
        assert_eq!(got, expected, "{name}");
        assert_eq!(lost, losses, "{name}");
    }
}

#[test]
fn numbers_in_arguments_stay_as_written() {
    let arguments = r#"{"big":123456789012345678901234567890,"z":1.50,"a":1e2}"#;
    let request = of(vec![user("a"), calls(vec![call("1", "f", arguments)]), result("1", "ok")]);
    let encoded = encode(&request, SONNET).unwrap();
    assert!(std::str::from_utf8(&encoded.body).unwrap().contains(arguments));
}

#[test]
fn a_result_without_its_call_is_an_error() {
    let error = refusal(&of(vec![user("a"), result("1", "one")]), SONNET);
    assert_eq!(error.kind, ErrorKind::InvalidRequest);
    assert_eq!(error.param_name().as_deref(), Some("messages[1].tool_call_id"));
    let error = refusal(&of(vec![user(" ")]), SONNET);
    assert_eq!(error.param_name().as_deref(), Some("messages"));
}

#[test]
fn newer_models_get_a_user_turn_instead_of_a_prefilled_answer() {
    let request = of(vec![user("a"), assistant("b")]);
    let encoded = encode(&request, "claude-opus-4-6").unwrap();
    assert_eq!(body(&encoded)["messages"][2], json!({"role": "user", "content": "Continue."}));
    assert_eq!(lost(&encoded), ["approximated messages"]);
    assert_eq!(body(&encode(&request, SONNET).unwrap())["messages"].as_array().unwrap().len(), 2);
}

#[test]
fn thinking_goes_back_only_to_the_family_that_signed_it() {
    let thought = |text: &str, format: Option<&str>, encrypted: Option<&str>, signature: Option<&str>| Part {
        kind: PartKind::from(Reasoning {
            text: text.to_owned(),
            format: format.map(str::to_owned),
            encrypted: encrypted.map(str::to_owned),
            ..Reasoning::default()
        }),
        cache: None,
        signature: signature.map(Into::into),
        place: canon::Place::NOWHERE,
    };
    let own = Some("anthropic-claude-v1");
    let (_, turns, lost) = turns(vec![
        user("a"),
        calls(vec![
            thought("t", own, None, Some("sig")),
            thought("", own, Some("data"), None),
            thought("u", None, None, Some("sig2")),
            thought("unsigned", None, None, None),
            thought("foreign", Some("google-gemini-v1"), None, Some("sig3")),
            call("1", "f", "{}"),
        ]),
        result("1", "one"),
    ]);
    assert_eq!(
        turns[1]["content"],
        json!([
            {"type": "thinking", "thinking": "t", "signature": "sig"},
            {"type": "redacted_thinking", "data": "data"},
            {"type": "thinking", "thinking": "u", "signature": "sig2"},
            {"type": "tool_use", "id": "1", "name": "f", "input": {}}
        ])
    );
    assert_eq!(lost, ["dropped messages[1].reasoning", "approximated tools"]);
}

#[test]
fn tools_are_written_in_the_form_of_messages() {
    let schema = json!({"type": "object", "properties": {"x": {"type": "number", "minimum": 1}}});
    let request = Request {
        messages: vec![user("a")],
        tools: vec![
            tool("plain", None),
            tool("a.b", Some(schema.clone())),
            Tool {
                name: "free".into(),
                description: Some("d".into()),
                kind: ToolKind::Custom { format: None },
                cache: None,
                place: canon::Place::NOWHERE,
            },
            Tool {
                name: "web_search".into(),
                description: None,
                kind: ToolKind::Native(Json::of(
                    &json!({"type": "web_search_20250305", "name": "web_search", "max_uses": 2}),
                )),
                cache: None,
                place: canon::Place::NOWHERE,
            },
        ],
        parallel_tool_calls: Some(false),
        ..Request::default()
    };
    let encoded = encode(&request, SONNET).unwrap();
    let free = json!({
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": false
    });
    assert_eq!(
        body(&encoded)["tools"],
        json!([
            {"name": "plain", "input_schema": {"type": "object", "properties": {}}},
            {"name": "a_b", "input_schema": schema},
            {"name": "free", "description": "d", "input_schema": free},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
        ])
    );
    assert_eq!(body(&encoded)["tool_choice"], json!({"type": "auto", "disable_parallel_tool_use": true}));
    assert_eq!(encoded.decoding.tool_names.get("a_b"), Some("a.b"));
    assert_eq!(encoded.decoding.custom_tools, ["free"]);
    assert_eq!(lost(&encoded), ["emulated tools[2]"]);
    let foreign = Tool {
        kind: ToolKind::Native(Json::of(&json!({"type": "file_search"}))),
        ..tool("web_search", None)
    };
    let error = refusal(&Request { tools: vec![foreign], ..of(vec![user("a")]) }, SONNET);
    assert_eq!(
        (error.kind, error.param_name().as_deref()),
        (ErrorKind::UnsupportedFeature, Some("tools[0].type"))
    );
}

#[test]
fn every_tool_choice_has_its_form() {
    let encoded =
        |choice: Option<ToolChoice>, parallel: Option<bool>, model: &str, effort: Option<Effort>| {
            let request = Request {
                messages: vec![user("a")],
                tools: vec![tool("f", None), tool("g", None)],
                tool_choice: choice,
                parallel_tool_calls: parallel,
                reasoning: ReasoningRequest { effort, ..ReasoningRequest::default() },
                ..Request::default()
            };
            encode(&request, model)
        };
    let named = || ToolChoice::Named("g".to_owned());
    let allowed = |required| ToolChoice::Allowed { names: vec!["g".to_owned()], required };
    let cases = [
        (None, None, SONNET, None, Value::Null),
        (None, Some(true), SONNET, None, Value::Null),
        (Some(ToolChoice::Auto), None, SONNET, None, json!({"type": "auto"})),
        (Some(ToolChoice::None), Some(false), SONNET, None, json!({"type": "none"})),
        (
            Some(ToolChoice::Required),
            Some(false),
            SONNET,
            None,
            json!({"type": "any", "disable_parallel_tool_use": true}),
        ),
        (Some(named()), None, SONNET, None, json!({"type": "tool", "name": "g"})),
        (Some(allowed(true)), None, SONNET, None, json!({"type": "any"})),
        (Some(allowed(false)), None, SONNET, None, json!({"type": "auto"})),
        // A thinking budget excludes a forced call, adaptive thinking allows it, and the newest models never
        // allow it.
        (Some(named()), None, SONNET, Some(Effort::Low), json!({"type": "auto"})),
        (Some(named()), None, "claude-opus-4-6", Some(Effort::Low), json!({"type": "tool", "name": "g"})),
        (Some(named()), None, "claude-opus-5-5", None, json!({"type": "auto"})),
    ];
    for (choice, parallel, model, effort, expected) in cases {
        let encoded = encoded(choice.clone(), parallel, model, effort).unwrap();
        let body = body(&encoded);
        assert_eq!(body["tool_choice"], expected, "{choice:?} {model} {effort:?}");
        let filtered = matches!(choice, Some(ToolChoice::Allowed { .. }));
        assert_eq!(body["tools"].as_array().unwrap().len(), if filtered { 1 } else { 2 });
        let downgraded = choice == Some(named()) && expected["type"] == "auto";
        assert_eq!(
            losses(&encoded).contains(&("tool_choice".to_owned(), LossAction::Approximated)),
            downgraded
        );
    }
    let missing = Some(ToolChoice::Named("h".to_owned()));
    assert_eq!(
        encoded(missing, None, SONNET, None).unwrap_err().param_name().as_deref(),
        Some("tool_choice")
    );
}

#[test]
fn thinking_takes_the_form_of_the_model() {
    let with = |model: &str, effort: Effort, max_tokens: Option<u64>| {
        let reasoning = ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() };
        let encoded = encode(&Request { reasoning, max_tokens, ..of(vec![user("a")]) }, model).unwrap();
        let body = body(&encoded);
        (
            body["thinking"].clone(),
            body["output_config"]["effort"].clone(),
            body["max_tokens"].clone(),
            lost(&encoded),
        )
    };
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    let adaptive = || json!({"type": "adaptive", "display": "summarized"});
    let disabled = || json!({"type": "disabled"});
    let none = || Value::Null;
    let cases: Vec<ThinkingCase> = vec![
        (SONNET, Effort::Low, None, (enabled(2048), none(), 4096, vec![])),
        (SONNET, Effort::High, None, (enabled(16_384), none(), 20_480, vec![])),
        (
            SONNET,
            Effort::High,
            Some(1000),
            (enabled(16_384), none(), 17_384, vec!["approximated max_tokens"]),
        ),
        (SONNET, Effort::Minimal, Some(8000), (enabled(1024), none(), 8000, vec![])),
        (SONNET, Effort::None, None, (disabled(), none(), 4096, vec![])),
        ("claude-opus-4-6", Effort::Medium, None, (adaptive(), json!("medium"), 4096, vec![])),
        (
            "claude-opus-4-6",
            Effort::Xhigh,
            None,
            (adaptive(), json!("max"), 4096, vec!["approximated reasoning_effort"]),
        ),
        ("claude-opus-4-8", Effort::Xhigh, None, (adaptive(), json!("xhigh"), 4096, vec![])),
        (
            "claude-fable-5",
            Effort::None,
            None,
            (none(), json!("low"), 4096, vec!["approximated reasoning_effort"]),
        ),
        ("claude-sonnet-5-5", Effort::None, None, (json!({"type": "between_tools"}), none(), 4096, vec![])),
        (
            "claude-3-5-haiku-20241022",
            Effort::High,
            None,
            (none(), none(), 4096, vec!["dropped reasoning_effort"]),
        ),
        ("claude-3-5-haiku-20241022", Effort::None, None, (none(), none(), 4096, vec![])),
        ("glm-5", Effort::Medium, None, (enabled(8192), none(), 12_288, vec![])),
    ];
    for (model, effort, max_tokens, (thinking, level, most, losses)) in cases {
        let got = with(model, effort, max_tokens);
        let losses: Vec<String> = losses.into_iter().map(str::to_owned).collect();
        assert_eq!(got, (thinking, level, json!(most), losses), "{model} {effort:?} {max_tokens:?}");
    }
}

#[test]
fn a_thinking_budget_requires_the_thinking_of_earlier_calls() {
    let thought = Reasoning { text: "t".into(), ..Reasoning::default() };
    let thought = Part { signature: Some("sig".into()), ..Part::new(PartKind::from(thought)) };
    let with = |model: &str, parts: Vec<Part>| {
        let messages = vec![user("a"), calls(parts), result("1", "one")];
        let reasoning = ReasoningRequest { effort: Some(Effort::High), ..ReasoningRequest::default() };
        let tools = vec![tool("f", None)];
        let request = Request { reasoning, tools, max_tokens: Some(100), ..of(messages) };
        let encoded = encode(&request, model).unwrap();
        let body = body(&encoded);
        (body["thinking"]["type"].clone(), body["max_tokens"].clone(), losses(&encoded).len())
    };
    let made = || call("1", "f", "{}");
    assert_eq!(with(SONNET, vec![thought, made()]), (json!("enabled"), json!(16_484), 1));
    assert_eq!(with(SONNET, vec![made()]), (Value::Null, json!(100), 1));
    assert_eq!(with("claude-opus-4-6", vec![made()]), (json!("adaptive"), json!(100), 0));
}

#[test]
fn thinking_follows_the_facts_of_the_model() {
    let with =
        |reasoning: ReasoningControl, wish: ReasoningRequest, max_output: u64, max_tokens: Option<u64>| {
            let facts = ModelFacts {
                reasoning: Some(reasoning),
                max_output_tokens: Some(max_output),
                ..ModelFacts::default()
            };
            let request = Request { reasoning: wish, max_tokens, ..of(vec![user("a")]) };
            let encoded = encode_with(&request, "claude-x", &facts).unwrap();
            let body = body(&encoded);
            (body["thinking"].clone(), body["max_tokens"].as_u64().unwrap(), lost(&encoded))
        };
    let budget = || ReasoningControl::Budget { min: 1024, max: 20_000, can_disable: true };
    let tokens = |budget| ReasoningRequest { budget_tokens: Some(budget), ..ReasoningRequest::default() };
    let effort = |effort| ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() };
    let enabled = |budget: u64| json!({"type": "enabled", "budget_tokens": budget});
    assert_eq!(with(budget(), tokens(3000), 8192, None), (enabled(3000), 8192, vec![]));
    let clamped = vec!["approximated reasoning.max_tokens".to_owned()];
    assert_eq!(with(budget(), tokens(10), 8192, None), (enabled(1024), 8192, clamped));
    // The model's own limit applies: the budget is reduced.
    let raised = vec!["approximated max_tokens".to_owned()];
    assert_eq!(with(budget(), effort(Effort::High), 8192, Some(100)), (enabled(4096), 8192, raised));
    let dropped = vec!["dropped reasoning_effort".to_owned()];
    assert_eq!(
        with(ReasoningControl::None, effort(Effort::High), 8192, None),
        (Value::Null, 8192, dropped.clone())
    );
    assert_eq!(
        with(ReasoningControl::Always, effort(Effort::High), 8192, None),
        (Value::Null, 8192, dropped)
    );
}

#[test]
fn sampling_is_fitted_to_the_model() {
    let with = |model: &str, temperature: Option<f64>, top_p: Option<f64>, effort: Option<Effort>| {
        let mut request = of(vec![user("a")]);
        request.sampling.temperature = temperature;
        request.sampling.top_p = top_p;
        request.sampling.top_k = Some(5);
        request.reasoning.effort = effort;
        let encoded = encode(&request, model).unwrap();
        let body = body(&encoded);
        (body["temperature"].clone(), body["top_p"].clone(), body["top_k"].clone(), lost(&encoded).join(", "))
    };
    let none = Value::Null;
    let cases = [
        (("claude-3-opus-20240229", Some(0.2), Some(0.9), None), (json!(0.2), json!(0.9), json!(5), "")),
        ((SONNET, Some(1.5), None, None), (json!(1), none.clone(), json!(5), "approximated temperature")),
        ((SONNET, Some(0.0), Some(0.9), None), (json!(0), none.clone(), json!(5), "dropped top_p")),
        ((SONNET, None, Some(0.9), None), (none.clone(), json!(0.9), json!(5), "")),
        (
            (SONNET, Some(0.5), Some(0.9), Some(Effort::Low)),
            (none.clone(), none.clone(), none.clone(), "dropped temperature, dropped top_p, dropped top_k"),
        ),
        (
            (SONNET, Some(1.0), Some(0.95), Some(Effort::Low)),
            (none.clone(), json!(0.95), none.clone(), "dropped top_k"),
        ),
        (
            ("claude-opus-4-8", Some(0.5), Some(0.9), None),
            (none.clone(), none.clone(), none.clone(), "dropped temperature, dropped top_p, dropped top_k"),
        ),
    ];
    for ((model, temperature, top_p, effort), (t, p, k, losses)) in cases {
        let got = with(model, temperature, top_p, effort);
        assert_eq!(got, (t, p, k, losses.to_owned()), "{model} {temperature:?} {top_p:?} {effort:?}");
    }
}

#[test]
fn fields_without_a_counterpart_are_reported_or_refused() {
    let mut request = of(vec![user("a")]);
    request.sampling.seed = Some(1);
    request.sampling.frequency_penalty = Some(0.5);
    request.sampling.presence_penalty = Some(0.0);
    request.stop = vec!["END".into(), " \n".into()];
    request.user = Some("u1".into());
    request.extra = vec![
        ("service_tier".into(), Json::of("default")),
        ("store".into(), Json::of(&true)),
        ("nothing".into(), Json::of(&Value::Null)),
        ("metadata".into(), Json::of(&json!({"team": "x"}))),
        ("cache_control".into(), Json::of(&json!({"type": "ephemeral"}))),
    ];
    let encoded = encode(&request, SONNET).unwrap();
    let expected = json!({
        "model": SONNET,
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": "a"}],
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "service_tier": "standard_only",
        "cache_control": {"type": "ephemeral"}
    });
    assert_eq!(body(&encoded), expected);
    assert_eq!(
        lost(&encoded),
        ["dropped stop", "dropped metadata", "dropped frequency_penalty", "dropped seed", "dropped store"]
    );
    let audio = Media {
        kind: MediaKind::Audio,
        source: Source::Base64 { mime: "audio/wav".into(), data: "AA==".into() },
        filename: None,
        detail: None,
    };
    let said = vec![Part::text("a"), Part::new(PartKind::from(audio))];
    let cases = [
        (Request { n: Some(2), ..of(vec![user("a")]) }, "n"),
        (Request { logprobs: Some(true), ..of(vec![user("a")]) }, "logprobs"),
        (of(vec![Message::new(Role::User, said)]), "messages[0].content[1]"),
    ];
    for (request, param) in cases {
        let error = refusal(&request, SONNET);
        assert_eq!((error.kind, error.param_name().as_deref()), (ErrorKind::UnsupportedFeature, Some(param)));
    }
}

#[test]
fn a_web_search_becomes_a_tool() {
    let options =
        json!({"user_location": {"type": "approximate", "approximate": {"city": "Bonn", "country": "DE"}}});
    let extra = vec![("web_search_options".to_owned(), Json::of(&options))];
    let encoded = encode(&Request { extra, ..of(vec![user("a")]) }, SONNET).unwrap();
    assert_eq!(
        body(&encoded)["tools"],
        json!([{"type": "web_search_20250305", "name": "web_search",
            "user_location": {"type": "approximate", "city": "Bonn", "country": "DE"}}])
    );
    assert_eq!(body(&encoded)["tool_choice"], Value::Null);
    assert!(encoded.losses.is_empty());
}

#[test]
fn media_are_written_in_the_form_of_messages() {
    let part = |kind, source, filename: Option<&str>| {
        Part::new(PartKind::from(Media { kind, source, filename: filename.map(str::to_owned), detail: None }))
    };
    let inline = |mime: &str, data: &str| Source::Base64 { mime: mime.to_owned(), data: data.to_owned() };
    let parts = vec![
        part(MediaKind::Image, inline("image/jpg", "AAAA"), None),
        part(MediaKind::Image, Source::Url("https://x.test/a.png".into()), None),
        part(MediaKind::Document, inline("application/pdf", "JVBE"), Some("a.pdf")),
        part(MediaKind::Document, inline("text/csv", "YSxi"), None),
        part(MediaKind::Document, Source::Text("plain".into()), None),
        part(MediaKind::Document, Source::FileId("file_1".into()), None),
    ];
    let (_, turns, lost) = turns(vec![Message::new(Role::User, parts)]);
    assert_eq!(
        turns[0]["content"],
        json!([
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "AAAA"}},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}, "title": "a.pdf"},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a,b"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
        ])
    );
    assert!(lost.is_empty());
    for (kind, mime) in [(MediaKind::Image, "image/bmp"), (MediaKind::Document, "application/zip")] {
        let request = of(vec![Message::new(Role::User, vec![part(kind, inline(mime, "AAAA"), None)])]);
        assert_eq!(refusal(&request, SONNET).kind, ErrorKind::UnsupportedFeature);
    }
}

#[test]
fn four_cache_marks_are_kept() {
    let marked =
        |text: &str, ttl_seconds| Part { cache: Some(CacheMark { ttl_seconds }), ..Part::text(text) };
    let mut request = of(vec![
        Message::new(Role::System, vec![marked("s", Some(3600))]),
        Message::new(Role::User, vec![marked("a", None), marked("b", None), marked("c", Some(300))]),
    ]);
    request.tools = vec![Tool { cache: Some(CacheMark { ttl_seconds: None }), ..tool("f", None) }];
    let encoded = encode(&request, SONNET).unwrap();
    let body = body(&encoded);
    assert_eq!(body["tools"][0]["cache_control"], json!({"type": "ephemeral"}));
    assert_eq!(body["system"][0]["cache_control"], json!({"type": "ephemeral", "ttl": "1h"}));
    let marks: Vec<_> =
        (0..3).map(|block| body["messages"][0]["content"][block]["cache_control"].clone()).collect();
    assert_eq!(marks, [Value::Null, json!({"type": "ephemeral"}), json!({"type": "ephemeral", "ttl": "5m"})]);
    assert_eq!(lost(&encoded), ["dropped cache_control"]);
}

#[test]
fn json_answers_are_native_or_by_tool_or_by_instruction() {
    let schema =
        json!({"type": "object", "properties": {"x": {"type": "integer", "minimum": 1}}, "required": ["x"]});
    let with = |model: &str, facts: &ModelFacts, output: OutputFormat, tools: Vec<Tool>| {
        encode_with(&Request { output, tools, ..of(vec![user("a")]) }, model, facts).unwrap()
    };
    let form = |schema: &Value| OutputFormat::JsonSchema {
        name: "n".into(),
        description: None,
        schema: Some(Json::of(schema)),
        strict: Some(true),
    };
    let unknown = ModelFacts::default();
    let native = with(SONNET, &unknown, form(&schema), vec![]);
    let fitted = json!({
        "type": "object",
        "properties": {"x": {"type": "integer", "description": "{\"minimum\":1}"}},
        "required": ["x"],
        "additionalProperties": false
    });
    assert_eq!(body(&native)["output_config"], json!({"format": {"type": "json_schema", "schema": fitted}}));
    assert_eq!(lost(&native), ["approximated response_format.json_schema.schema"]);

    let lacking =
        ModelFacts { features: Some([Feature::Tools].into_iter().collect()), ..ModelFacts::default() };
    let emulated = with(SONNET, &lacking, form(&schema), vec![]);
    let sent = body(&emulated);
    assert_eq!(sent["tool_choice"], json!({"type": "tool", "name": "json_response"}));
    assert_eq!(sent["tools"][0]["input_schema"], schema);
    assert_eq!(emulated.decoding.json_tool.as_deref(), Some("json_response"));
    assert_eq!(lost(&emulated), ["emulated response_format"]);

    let beside =
        with("claude-3-5-haiku-20241022", &unknown, form(&schema), vec![tool("json_response", None)]);
    assert_eq!(body(&beside)["tool_choice"], json!({"type": "any"}));
    assert_eq!(beside.decoding.json_tool.as_deref(), Some("json_response_"));

    for output in [OutputFormat::JsonObject, form(&json!({"type": "array"}))] {
        let told = with("claude-3-5-haiku-20241022", &unknown, output, vec![]);
        assert!(body(&told)["system"].as_str().unwrap().contains("one valid JSON"));
        assert_eq!(lost(&told), ["emulated response_format"]);
    }
}
