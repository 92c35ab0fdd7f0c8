//! The dialect decodes what the adapter wrote to the same request.

use canon::{
    CacheMark, Effort, ErrorKind, Json, Media, MediaKind, Message, OutputFormat, Part, PartKind, Reasoning,
    ReasoningRequest, Request, Role, Sampling, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use proptest::prelude::*;
use serde_json::json;

use super::{dialect, encode};

fn again(request: &Request) -> Request {
    let encoded = encode(request, &request.model).unwrap();
    Request { format: request.format, ..dialect().decode_request(&encoded.body).unwrap() }
}

fn part(kind: PartKind, cache: Option<u32>, signature: Option<&str>) -> Part {
    let cache = cache.map(|seconds| CacheMark { ttl_seconds: Some(seconds) });
    Part { kind, cache, signature: signature.map(Into::into), place: canon::Place::NOWHERE }
}

fn call(id: &str, arguments: &str) -> Part {
    let (id, arguments) = (id.into(), arguments.into());
    Part::new(PartKind::from(ToolCall { id, name: "f".into(), arguments, custom: false }))
}

fn result(id: &str, content: Vec<Part>, is_error: bool) -> Message {
    let result = ToolResult { call_id: id.into(), content, is_error };
    Message::new(Role::Tool, vec![Part::new(PartKind::from(result))])
}

fn media(kind: MediaKind, source: Source, filename: Option<&str>) -> Part {
    Part::new(PartKind::from(Media { kind, source, filename: filename.map(str::to_owned), detail: None }))
}

fn rich() -> Request {
    let thought = |text: &str, encrypted: Option<&str>| {
        let format = Some("anthropic-claude-v1".to_owned());
        let encrypted = encrypted.map(str::to_owned);
        PartKind::from(Reasoning { text: text.to_owned(), encrypted, format, ..Reasoning::default() })
    };
    let schema = json!({"type": "object", "properties": {}, "additionalProperties": false});
    let function = ToolKind::Function { parameters: Some(Json::of(&schema)), strict: None };
    let inline = Source::Base64 { mime: "image/png".into(), data: "AAAA".into() };
    Request {
        model: "claude-sonnet-4-5".into(),
        messages: vec![
            Message::new(
                Role::System,
                vec![part(PartKind::Text("s".into()), Some(3600), None), Part::text("t")],
            ),
            Message::new(
                Role::User,
                vec![
                    Part::text("a"),
                    media(MediaKind::Image, inline.clone(), None),
                    media(MediaKind::Document, Source::Url("https://x.test/a.pdf".into()), Some("a.pdf")),
                    part(PartKind::Text("b".into()), Some(300), None),
                ],
            ),
            Message::new(
                Role::Assistant,
                vec![
                    part(thought("t", None), None, Some("sig")),
                    Part::new(thought("", Some("data"))),
                    Part::text("c"),
                    call("toolu_1", "{\"x\":1.0}"),
                    call("toolu_2", "{}"),
                ],
            ),
            result("toolu_1", vec![Part::text("r"), media(MediaKind::Image, inline, None)], false),
            result("toolu_2", vec![], true),
            Message::text(Role::User, "d"),
        ],
        tools: vec![Tool {
            name: "f".into(),
            description: Some("does".into()),
            kind: function,
            cache: None,
            place: canon::Place::NOWHERE,
        }],
        tool_choice: Some(ToolChoice::Auto),
        parallel_tool_calls: Some(false),
        output: OutputFormat::JsonSchema {
            name: "response".into(),
            description: None,
            schema: Some(Json::of(&schema)),
            strict: None,
        },
        reasoning: ReasoningRequest { budget_tokens: Some(2000), ..ReasoningRequest::default() },
        max_tokens: Some(9000),
        sampling: Sampling { top_p: Some(0.96), ..Sampling::default() },
        stop: vec!["END".into()],
        stream: true,
        user: Some("u1".into()),
        extra: vec![("container".into(), Json::of("c1"))],
        ..Request::default()
    }
}

#[test]
fn a_rich_request_survives() {
    assert_eq!(again(&rich()), rich());
}

#[test]
fn adaptive_thinking_survives() {
    let mut request = rich();
    request.model = "claude-opus-4-6".into();
    request.reasoning = ReasoningRequest { effort: Some(Effort::Low), ..ReasoningRequest::default() };
    assert_eq!(again(&request), request);
}

#[test]
fn server_tools_survive_in_their_own_protocol() {
    let block =
        json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}});
    let body = json!({
        "model": "claude-sonnet-4-5",
        "max_tokens": 10,
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [block, {"type": "text", "text": "b"}]},
            {"role": "user", "content": [{"type": "container_upload", "file_id": "f1"}]}
        ],
        "tools": [{"type": "web_search_20250305", "name": "web_search"}]
    });
    let request = dialect().decode_request(body.to_string().as_bytes()).unwrap();
    let encoded = encode(&request, &request.model).unwrap();
    assert_eq!(super::body(&encoded)["messages"], body["messages"]);
    assert_eq!(super::body(&encoded)["tools"], body["tools"]);
    assert!(encoded.losses.is_empty());
}

#[test]
fn mistakes_are_named_by_their_path() {
    let with = |name: &str, value: serde_json::Value| {
        let mut body = json!({"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "a"}]});
        body[name] = value;
        body
    };
    let said = |block: serde_json::Value| with("messages", json!([{"role": "user", "content": [block]}]));
    let cases = [
        (with("model", json!(1)), "model"),
        (with("model", json!(null)), "model"),
        (with("max_tokens", json!(-1)), "max_tokens"),
        (with("messages", json!([])), "messages"),
        (with("messages", json!({})), "messages"),
        (with("messages", json!(["a"])), "messages[0]"),
        (with("messages", json!([{"role": "x", "content": "a"}])), "messages[0].role"),
        (with("messages", json!([{"role": "user"}])), "messages[0].content"),
        (with("messages", json!([{"role": "user", "content": 1}])), "messages[0].content"),
        (said(json!({"text": "a"})), "messages[0].content[0].type"),
        (said(json!({"type": "text", "text": 1})), "messages[0].content[0].text"),
        (said(json!({"type": "nonsense"})), "messages[0].content[0].type"),
        (
            said(json!({"type": "image", "source": {"type": "base64"}})),
            "messages[0].content[0].source.media_type",
        ),
        (
            said(json!({"type": "tool_result", "content": [{"type": "text"}]})),
            "messages[0].content[0].content[0].text",
        ),
        (
            said(json!({"type": "text", "text": "a", "cache_control": {"ttl": "2h"}})),
            "messages[0].content[0].cache_control.ttl",
        ),
        (with("system", json!([{"type": "image"}])), "system[0].type"),
        (with("tools", json!([{"description": "d"}])), "tools[0].name"),
        (with("tool_choice", json!({"type": "x"})), "tool_choice.type"),
        (with("thinking", json!({"type": "x"})), "thinking.type"),
        (with("output_config", json!({"effort": "x"})), "output_config.effort"),
        (with("stop_sequences", json!("a")), "stop_sequences"),
        (with("metadata", json!({"user_id": 1})), "metadata.user_id"),
    ];
    for (body, path) in cases {
        let error = dialect().decode_request(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(
            (error.kind, error.param_name().as_deref()),
            (ErrorKind::InvalidRequest, Some(path)),
            "{body}"
        );
    }
    for body in ["", "{", "[]", "\u{0}"] {
        assert_eq!(dialect().decode_request(body.as_bytes()).unwrap_err().kind, ErrorKind::InvalidRequest);
    }
    assert!(dialect().decode_request(b"{\"model\":\"\xff\"}").is_err());
}

/// Texts that are not blank: blank ones are left out.
fn words() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\{}]{1,8}"
}

fn turn() -> impl Strategy<Value = Vec<Message>> {
    let said = prop::collection::vec(words().prop_map(Part::text), 1..3);
    let count = 0_usize..3;
    (said, prop::collection::vec(words(), 1..3), count, words()).prop_map(|(user, answer, calls, told)| {
        let mut parts: Vec<_> = answer.into_iter().map(Part::text).collect();
        parts.extend((0..calls).map(|number| call(&format!("toolu_{number}"), "{\"n\":1.50}")));
        let mut messages = vec![Message::new(Role::User, user), Message::new(Role::Assistant, parts)];
        messages.extend(
            (0..calls).map(|number| {
                result(&format!("toolu_{number}"), vec![Part::text(told.clone())], number == 1)
            }),
        );
        messages
    })
}

/// Gives distinct ids to the calls of each turn.
fn numbered(turns: Vec<Vec<Message>>) -> Vec<Message> {
    let mut messages = turns;
    for (turn, messages) in messages.iter_mut().enumerate() {
        for part in messages.iter_mut().flat_map(|message| &mut message.parts) {
            match &mut part.kind {
                PartKind::ToolCall(call) => call.id = format!("{}_{turn}", call.id).into(),
                PartKind::ToolResult(result) => {
                    result.call_id = format!("{}_{turn}", result.call_id).into();
                }
                _ => {}
            }
        }
    }
    messages.concat()
}

proptest! {
    #![proptest_config(testkit::random::cases(100))]

    #[test]
    fn any_conversation_survives(
        turns in prop::collection::vec(turn(), 1..5),
        last in words(),
        system in prop::option::of(words()),
        temperature in prop::option::of(0.0..=1.0_f64),
        max_tokens in 1..100_000_u64,
    ) {
        let mut request = rich();
        request.reasoning = ReasoningRequest::default();
        request.sampling = Sampling { temperature, ..Sampling::default() };
        request.max_tokens = Some(max_tokens);
        request.messages = system.into_iter().map(|text| Message::text(Role::System, text)).collect();
        request.messages.extend(numbered(turns));
        // In both formats, a text of the user between results and the next turn is one message.
        request.messages.push(Message::text(Role::User, last));
        let again = again(&request);
        prop_assert_eq!(again, request);
    }

    #[test]
    fn nothing_makes_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = dialect().decode_request(&bytes);
        let _ = super::decode(true, &wire::DecoderContext::default(), [bytes.as_slice()]);
        let _ = super::decode(false, &wire::DecoderContext::default(), [bytes.as_slice()]);
        let _ = super::adapter().decode_error(http::StatusCode::BAD_GATEWAY, &http::HeaderMap::new(), &bytes);
    }
}
