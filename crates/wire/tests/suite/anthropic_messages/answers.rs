//! Answers: our own fixtures, whole and cut at any byte.

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Retry, Usage};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::time::Duration;
use wire::{AnswerForm, DecoderContext};

use super::{adapter, decode, dialect, documents, joined, notes, write};

/// A stream of these events, as the provider frames them, with padding and pings, some of them without data.
fn stream(events: &[Value]) -> String {
    let mut text = String::new();
    for event in events {
        let kind = event["type"].as_str().unwrap();
        text.push_str(&format!(
            "event: {kind}\ndata: {event}   \n\nevent: ping\ndata: {{\"type\":\"ping\"}}\n\nevent: ping\ndata:\n\n"
        ));
    }
    text
}

fn start() -> Value {
    json!({"type": "message_start", "message": {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "content": [], "stop_reason": null,
        "usage": {"input_tokens": 10, "cache_creation_input_tokens": 7, "cache_read_input_tokens": 3, "output_tokens": 1,
            "cache_creation": {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 2}}
    }})
}

fn block(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

fn end(reason: &str) -> [Value; 2] {
    let usage =
        json!({"output_tokens": 20, "input_tokens": 0, "output_tokens_details": {"thinking_tokens": 4}});
    [
        json!({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}),
        json!({"type": "message_stop"}),
    ]
}

fn text_delta(text: &str) -> Event {
    Event::Text { choice: 0, text: text.to_owned() }
}

fn thought(block: u32, detail: ReasoningDetail) -> Event {
    Event::Reasoning { choice: 0, block, detail, format: "anthropic-claude-v1" }
}

fn called(index: u32, id: &str, name: &str) -> Event {
    let (id, name) = (id.to_owned(), name.to_owned());
    Event::ToolCallStart { choice: 0, index, id, custom: name == "free", name, signature: None }
}

fn arguments(index: u32, fragment: &str) -> Event {
    Event::ToolCallArguments { choice: 0, index, fragment: fragment.to_owned() }
}

fn finished(reason: FinishReason, native: &str) -> Event {
    Event::Finish { choice: 0, reason, native: Some(native.to_owned()) }
}

fn rich_stream() -> String {
    let mut events = vec![
        start(),
        block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hm é"})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        block(1, json!({"type": "redacted_thinking", "data": "secret"})),
        stop(1),
        block(2, json!({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"query\":\"q\"}"})),
        stop(2),
        block(3, json!({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []})),
        stop(3),
        block(4, json!({"type": "text", "text": "", "citations": []})),
        delta(
            4,
            json!({"type": "citations_delta", "citation": {
                "type": "web_search_result_location", "url": "https://x.test", "title": "X", "cited_text": "c", "encrypted_index": "e"
            }}),
        ),
        delta(4, json!({"type": "text_delta", "text": "Grün"})),
        stop(4),
        block(5, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(5, json!({"type": "input_json_delta", "partial_json": ""})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(5, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(5),
        block(6, json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}})),
        delta(6, json!({"type": "input_json_delta", "partial_json": ""})),
        stop(6),
        block(7, json!({"type": "tool_use", "id": "toolu_3", "name": "h", "input": {"b": 2}})),
        stop(7),
        json!({"type": "something_new", "index": 7}),
    ];
    events.extend(end("tool_use"));
    stream(&events)
}

fn rich_events() -> Vec<Event> {
    let usage =
        Usage { input: 10, cache_read: 3, cache_write: 5, cache_write_1h: 2, output: 1, ..Usage::default() };
    vec![
        Event::Start { id: Some("msg_1".into()), model: Some("claude-x".into()), created: None },
        Event::Usage(usage),
        thought(0, ReasoningDetail::Text("Hm é".into())),
        thought(0, ReasoningDetail::Signature("sig".into())),
        thought(1, ReasoningDetail::Encrypted("secret".into())),
        text_delta("Grün"),
        Event::Annotation {
            choice: 0,
            annotation: Json::of(&json!({
                "type": "url_citation",
                "url_citation": {"url": "https://x.test", "title": "X", "start_index": 0, "end_index": 4}
            })),
        },
        called(0, "toolu_1", "f"),
        arguments(0, "{\"a\":"),
        arguments(0, "1}"),
        called(1, "toolu_2", "g"),
        arguments(1, "{}"),
        called(2, "toolu_3", "h"),
        arguments(2, "{\"b\":2}"),
        Event::Usage(Usage { output: 20, reasoning: 4, ..usage }),
        finished(FinishReason::ToolCalls, "tool_use"),
    ]
}

#[test]
fn every_kind_of_block_is_read_from_pieces_of_any_size() {
    let text = rich_stream();
    let bytes = text.as_bytes();
    assert_eq!(decode(true, &DecoderContext::default(), [bytes]), (rich_events(), Ok(())));
    assert_eq!(decode(true, &DecoderContext::default(), bytes.chunks(1)), (rich_events(), Ok(())));
    for cut in 0..bytes.len() {
        let (left, right) = bytes.split_at(cut);
        assert_eq!(
            decode(true, &DecoderContext::default(), [left, right]),
            (rich_events(), Ok(())),
            "cut at {cut}"
        );
    }
    let crlf = text.replace('\n', "\r\n");
    assert_eq!(decode(true, &DecoderContext::default(), [crlf.as_bytes()]), (rich_events(), Ok(())));
}

#[test]
fn a_stream_that_ends_early_is_an_error() {
    let text = rich_stream();
    let said = text.find("event: message_delta").unwrap();
    for cut in 0..said {
        let (_, end) = decode(true, &DecoderContext::default(), [&text.as_bytes()[..cut]]);
        assert_eq!(end.map_err(|error| error.kind), Err(ErrorKind::Upstream), "cut at {cut}");
    }
    // The finish reason has arrived: only the end marker is missing.
    let marker = text.find("event: message_stop").unwrap();
    let (events, end) = decode(true, &DecoderContext::default(), [&text.as_bytes()[..marker]]);
    assert_eq!((events, end), (rich_events(), Ok(())));
}

#[test]
fn invalid_answers_are_errors() {
    let cases = [
        "data: {\n\n",
        "data: not json\n\n",
        "data: {\"no\":\"type\"}\n\n",
        "data: [1]\n\n",
        "<html>Bad gateway</html>",
        "data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n",
        "data: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"tool_use\",\"input\":{}}}\n\n",
        "",
    ];
    for case in cases {
        let (_, end) = decode(true, &DecoderContext::default(), [case.as_bytes()]);
        assert_eq!(end.map_err(|error| error.kind), Err(ErrorKind::Upstream), "{case}");
    }
    for case in
        ["", "{", "{}", "[]", "{\"type\":\"message\"}", "{\"type\":\"message\",\"content\":[{}]}", "<html>"]
    {
        let (_, end) = decode(false, &DecoderContext::default(), [case.as_bytes()]);
        assert_eq!(end.map_err(|error| error.kind), Err(ErrorKind::Upstream), "{case}");
    }
}

#[test]
fn an_error_inside_of_a_stream_keeps_its_kind() {
    let cases = [
        ("overloaded_error", "Overloaded", ErrorKind::Overloaded, 529, Retry::Again),
        ("rate_limit_error", "Slow down", ErrorKind::RateLimit, 429, Retry::Again),
        ("api_error", "Internal server error", ErrorKind::Upstream, 500, Retry::Again),
        (
            "invalid_request_error",
            "prompt is too long: 2 > 1",
            ErrorKind::ContextLength,
            400,
            Retry::Elsewhere,
        ),
    ];
    for (kind, message, expected, status, retry) in cases {
        let failure =
            json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
        let text = stream(&[start(), failure]);
        let (_, end) = decode(true, &DecoderContext::default(), [text.as_bytes()]);
        let error = end.unwrap_err();
        assert_eq!((error.kind, error.retry, error.message.as_ref()), (expected, retry, message));
        let reply = error.upstream.unwrap();
        assert_eq!((reply.status, reply.request_id.as_deref()), (Some(status), Some("req_1")));
    }
}

#[test]
fn a_repeated_beginning_is_tolerated_and_a_refusal_has_no_blocks() {
    let refusal = json!({"type": "message_delta", "delta": {
        "stop_reason": "refusal", "stop_details": {"type": "refusal", "category": "bio", "explanation": "No."}
    }, "usage": {"output_tokens": 0}});
    let text = stream(&[start(), start(), refusal, json!({"type": "message_stop"})]);
    let (events, end) = decode(true, &DecoderContext::default(), [text.as_bytes()]);
    assert_eq!(end, Ok(()));
    let visible: Vec<_> =
        events.into_iter().filter(|event| !matches!(event, Event::Usage(_) | Event::Start { .. })).collect();
    let expected =
        [Event::Refusal { choice: 0, text: "No.".into() }, finished(FinishReason::ContentFilter, "refusal")];
    assert_eq!(visible, expected);
}

#[test]
fn names_and_tools_that_the_request_replaced_are_restored() {
    let decoding = DecoderContext {
        json_tool: Some("json_response".into()),
        tool_names: [("a_b".into(), "a.b".into())].into_iter().collect(),
        custom_tools: vec!["free".into()],
        ..DecoderContext::default()
    };
    let answer = |content: Value| {
        let usage = json!({"input_tokens": 1, "output_tokens": 1});
        let message =
            json!({"type": "message", "content": content, "stop_reason": "tool_use", "usage": usage});
        let (events, end) = decode(false, &decoding, [message.to_string().as_bytes()]);
        assert_eq!(end, Ok(()));
        events
            .into_iter()
            .filter(|event| !matches!(event, Event::Usage(_) | Event::Start { .. }))
            .collect::<Vec<_>>()
    };
    let chatter = json!({"type": "text", "text": "Here it is:"});
    let json_call = json!({"type": "tool_use", "id": "1", "name": "json_response", "input": {"x": 1.0}});
    assert_eq!(
        answer(json!([chatter, json_call])),
        [text_delta("{\"x\":1.0}"), finished(FinishReason::Stop, "tool_use")]
    );
    let named = json!({"type": "tool_use", "id": "1", "name": "a_b", "input": {}});
    let free = json!({"type": "tool_use", "id": "2", "name": "free", "input": {"input": "line\n\"two\""}});
    assert_eq!(
        answer(json!([chatter, named, free])),
        [
            called(0, "1", "a.b"),
            arguments(0, "{}"),
            called(1, "2", "free"),
            arguments(1, "line\n\"two\""),
            text_delta("Here it is:"),
            finished(FinishReason::ToolCalls, "tool_use"),
        ]
    );
}

#[test]
fn a_json_answer_streams_as_text() {
    let decoding = DecoderContext { json_tool: Some("json_response".into()), ..DecoderContext::default() };
    let mut events = vec![
        start(),
        block(0, json!({"type": "tool_use", "id": "1", "name": "json_response", "input": {}})),
        delta(0, json!({"type": "input_json_delta", "partial_json": "{\"x\""})),
        delta(0, json!({"type": "input_json_delta", "partial_json": ":1}"})),
        stop(0),
    ];
    events.extend(end("tool_use"));
    let (events, end) = decode(true, &decoding, [stream(&events).as_bytes()]);
    assert_eq!(end, Ok(()));
    let texts: Vec<_> = events.iter().filter(|event| matches!(event, Event::Text { .. })).cloned().collect();
    assert_eq!(texts, [text_delta("{\"x\""), text_delta(":1}")]);
    assert_eq!(events.last(), Some(&finished(FinishReason::Stop, "tool_use")));
}

#[test]
fn error_answers_become_errors_with_kind_retry_and_message() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("12"));
    headers.insert("request-id", HeaderValue::from_static("req_1"));
    let decoded = |status: u16, headers: &HeaderMap, body: &str| {
        adapter().decode_error(StatusCode::from_u16(status).unwrap(), headers, body.as_bytes())
    };
    let body = |kind: &str, message: &str| {
        json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_2"})
            .to_string()
    };
    let error = decoded(429, &headers, &body("rate_limit_error", "This request would exceed your limit."));
    assert_eq!((error.kind, error.retry), (ErrorKind::RateLimit, Retry::After(Duration::from_secs(12))));
    assert_eq!(error.upstream.unwrap().request_id.as_deref(), Some("req_1"));
    let none = HeaderMap::new();
    let spent = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Limit reached.",
        "details": {"error_code": "enforced_spend_limit_reached"}}});
    let error = decoded(429, &none, &spent.to_string());
    assert_eq!((error.kind, error.retry), (ErrorKind::Quota, Retry::Elsewhere));
    assert_eq!(error.code.as_deref(), Some("enforced_spend_limit_reached"));
    let cases = [
        (400, "invalid_request_error", "Your credit balance is too low", ErrorKind::Quota, Retry::Elsewhere),
        (400, "invalid_request_error", "max_tokens: Field required", ErrorKind::InvalidRequest, Retry::No),
        (
            400,
            "invalid_request_error",
            "Compiled grammar is too large",
            ErrorKind::InvalidRequest,
            Retry::Elsewhere,
        ),
        (401, "authentication_error", "invalid x-api-key", ErrorKind::UpstreamCredential, Retry::Elsewhere),
        (403, "permission_error", "Not allowed", ErrorKind::UpstreamCredential, Retry::Elsewhere),
        (404, "not_found_error", "model: claude-9", ErrorKind::ModelNotFound, Retry::Elsewhere),
        (413, "request_too_large", "Request too large", ErrorKind::TooLarge, Retry::No),
        (529, "overloaded_error", "Overloaded", ErrorKind::Overloaded, Retry::Again),
        (500, "api_error", "Internal server error", ErrorKind::Upstream, Retry::Again),
    ];
    for (status, kind, message, expected, retry) in cases {
        let error = decoded(status, &none, &body(kind, message));
        assert_eq!((error.kind, error.retry), (expected, retry), "{status} {message}");
        assert_eq!(error.message, message);
        assert_eq!(error.upstream.unwrap().request_id.as_deref(), Some("req_2"));
    }
    let error = decoded(502, &none, "<html><h1>502 Bad Gateway</h1></html>");
    assert_eq!((error.kind, error.message.as_ref()), (ErrorKind::Upstream, "502 Bad Gateway"));
    assert_eq!(decoded(500, &none, "{\"error\":\"plain words\"}").message, "plain words");
    assert_eq!(decoded(500, &none, "{\"detail\":\"else\"}").message, "{\"detail\":\"else\"}");
}

#[test]
fn written_streams_open_and_close_every_block() {
    let text = write(true, &rich_events());
    let documents = documents(&text);
    let kinds: Vec<_> = documents.iter().map(|event| event["type"].as_str().unwrap()).collect();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(kinds, names);
    assert_eq!(kinds[0], "message_start");
    assert_eq!(kinds[kinds.len() - 2..], ["message_delta", "message_stop"]);
    let mut open = None;
    let mut next = 0;
    for event in &documents {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!((open, event["index"].as_u64()), (None, Some(next)));
                open = Some(next);
                next += 1;
            }
            "content_block_delta" => assert_eq!(open, event["index"].as_u64()),
            "content_block_stop" => assert_eq!(open.take(), event["index"].as_u64()),
            _ => assert_eq!(open, None),
        }
    }
    assert_eq!(next, 6);
    assert_eq!(documents[0]["message"]["usage"]["input_tokens"], 10);
    let last = &documents[documents.len() - 2];
    assert_eq!(last["delta"], json!({"stop_reason": "tool_use", "stop_sequence": null}));
    assert_eq!(last["usage"]["output_tokens"], 20);
    assert_eq!(documents[documents.len() - 1]["metadata"], json!({"request_id": "r1", "cost": null}));
}

#[test]
fn events_survive_being_written_and_read() {
    for stream in [true, false] {
        let written = write(stream, &rich_events());
        let (events, end) = decode(stream, &DecoderContext::default(), [written.as_bytes()]);
        assert_eq!(end, Ok(()));
        let without_counts = |events: &[Event]| {
            let events: Vec<_> =
                events.iter().filter(|event| !matches!(event, Event::Usage(_))).cloned().collect();
            joined(&events)
        };
        assert_eq!(without_counts(&events), without_counts(&rich_events()));
        let counts = |events: &[Event]| {
            events.iter().rev().find_map(|event| match event {
                Event::Usage(usage) => Some(*usage),
                _ => None,
            })
        };
        assert_eq!(counts(&events), counts(&rich_events()));
    }
}

#[test]
fn mixed_fragments_of_parallel_calls_are_put_in_order() {
    let events = [
        called(0, "1", "f"),
        called(1, "2", "g"),
        arguments(0, "{\"a\":"),
        arguments(1, "{\"b\":\"}"),
        arguments(0, "1}"),
        arguments(1, "\"}"),
        text_delta("after"),
    ];
    for stream in [true, false] {
        let written = write(stream, &events);
        let (again, end) = decode(stream, &DecoderContext::default(), [written.as_bytes()]);
        assert_eq!(end, Ok(()));
        let content: Vec<_> = joined(&again)
            .into_iter()
            .filter(|event| !matches!(event, Event::Usage(_) | Event::Start { .. } | Event::Finish { .. }))
            .collect();
        let expected = [
            called(0, "1", "f"),
            arguments(0, "{\"a\":1}"),
            called(1, "2", "g"),
            arguments(1, "{\"b\":\"}\"}"),
            text_delta("after"),
        ];
        assert_eq!(content, expected);
    }
}

#[test]
fn a_failed_stream_ends_with_an_error_event() {
    let form = AnswerForm { stream: true, ..AnswerForm::default() };
    let mut encoder = dialect().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    encoder.push(text_delta("a"), &mut out);
    encoder.fail(&Error::upstream(ErrorKind::Overloaded, Retry::Again, "Busy."), &mut out);
    let text = String::from_utf8(out).unwrap();
    let documents = documents(&text);
    assert_eq!(
        *documents.last().unwrap(),
        json!({"type": "error", "error": {"type": "overloaded_error", "message": "Busy."}})
    );
    assert!(!text.contains("message_stop"));
    let (status, body) = dialect().error(&Error::invalid("max_tokens", "must be positive."), None);
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["error"],
        json!({"type": "invalid_request_error", "message": "max_tokens: must be positive."})
    );
}

#[test]
fn excluded_thinking_keeps_its_proof() {
    let form = AnswerForm { stream: false, exclude_reasoning: true, ..AnswerForm::default() };
    let mut encoder = dialect().encoder(&form, Box::new(notes()));
    let mut out = Vec::new();
    for event in rich_events() {
        encoder.push(event, &mut out);
    }
    encoder.finish(&mut out);
    let message: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(message["content"][0], json!({"type": "thinking", "thinking": "", "signature": "sig"}));
}

#[test]
fn proofs_of_other_families_carry_the_name_of_their_family() {
    let foreign = |detail| Event::Reasoning { choice: 0, block: 0, detail, format: "google-gemini-v1" };
    let events =
        [foreign(ReasoningDetail::Text("t".into())), foreign(ReasoningDetail::Signature("sig".into()))];
    let message: Value = serde_json::from_str(&write(false, &events)).unwrap();
    assert_eq!(message["content"][0]["signature"], "google-gemini-v1:sig");
    let request = json!({"model": "m", "messages": [
        {"role": "user", "content": "a"}, {"role": "assistant", "content": message["content"]}
    ]});
    let request = dialect().decode_request(request.to_string().as_bytes()).unwrap();
    let part = &request.messages[1].parts[0];
    assert_eq!(part.signature.as_deref(), Some("sig"));
    assert!(matches!(&part.kind, canon::PartKind::Reasoning(thought)
        if thought.format.as_deref() == Some("google-gemini-v1")));
}
