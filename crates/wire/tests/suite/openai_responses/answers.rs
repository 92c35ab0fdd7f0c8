//! Answers, in both directions.

use canon::{Error, ErrorKind, Event, FinishReason, Json, ReasoningDetail, Retry};
use serde_json::{Value, json};
use wire::{AnswerForm, DecoderContext};

use super::{decode, dialect, documents, notes, write};
use crate::caller_answer::{CallerAnswer, read_at_every_split};

fn sse(events: &[Value]) -> Vec<u8> {
    let event = |event: &Value| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap());
    events.iter().map(event).collect::<String>().into_bytes()
}

fn read_answer(body: &[u8]) -> CallerAnswer {
    read_at_every_split(wire::Protocol::OpenaiResponses, true, &DecoderContext::default(), body).unwrap()
}

/// Some servers leave out one kind of event: each kind is left out in turn.
#[test]
fn events_that_a_stream_lacks_are_restored_from_its_last_events() {
    let message = json!({"type": "message", "id": "m1", "content": [{"type": "output_text", "text": "Hello",
        "annotations": [{"type": "url_citation", "url": "https://x.test", "title": "X", "start_index": 0, "end_index": 5}]}]});
    let call =
        json!({"type": "function_call", "id": "fc", "call_id": "c1", "name": "f", "arguments": "{\"a\":1}"});
    let thought = json!({"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "Hm"}],
        "encrypted_content": "new"});
    let events = [
        json!({"type": "response.created", "response": {"id": "r", "model": "gpt", "created_at": 7}}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs",
            "summary": [], "encrypted_content": "old"}}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "H"}),
        json!({"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "m"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": thought}),
        json!({"type": "response.output_item.added", "output_index": 1, "item": {"type": "message", "content": []}}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "Hel"}),
        json!({"type": "response.output_text.delta", "output_index": 1, "content_index": 0, "delta": "lo"}),
        json!({"type": "response.output_text.annotation.added", "output_index": 1, "content_index": 0,
            "annotation_index": 0, "annotation": message["content"][0]["annotations"][0]}),
        json!({"type": "response.output_item.done", "output_index": 1, "item": message}),
        json!({"type": "response.output_item.added", "output_index": 2, "item": {"type": "function_call", "id": "fc",
            "call_id": "c1", "name": "f", "arguments": ""}}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": "{\"a\""}),
        json!({"type": "response.function_call_arguments.delta", "output_index": 2, "delta": ":1}"}),
        json!({"type": "response.output_item.done", "output_index": 2, "item": call}),
        json!({"type": "response.completed", "response": {"id": "r", "status": "completed", "output": [thought, message, call],
            "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 4}, "output_tokens": 3, "total_tokens": 12,
                "output_tokens_details": {"reasoning_tokens": 1}}}}),
    ];
    let whole = read_answer(&sse(&events));
    assert_eq!((whole.text.as_str(), whole.calls.len(), whole.annotations.len()), ("Hello", 1, 1));
    assert_eq!(whole.thoughts[&0], ("Hm".to_owned(), String::new(), "new".to_owned()));
    let usage = whole.usage.unwrap();
    assert_eq!((usage.input, usage.cache_read, usage.output, usage.reasoning), (5, 4, 3, 1));
    assert_eq!(whole.finish, Some((FinishReason::ToolCalls, Some("completed".to_owned()))));
    let kinds = [
        "response.created",
        "response.output_item.added",
        "response.reasoning_summary_text.delta",
        "response.output_text.delta",
        "response.output_text.annotation.added",
        "response.function_call_arguments.delta",
        "response.output_item.done",
    ];
    for kind in kinds {
        let left: Vec<Value> = events.iter().filter(|event| event["type"] != kind).cloned().collect();
        let heard = read_answer(&sse(&left));
        assert_eq!(
            (&heard.text, &heard.calls, &heard.thoughts),
            (&whole.text, &whole.calls, &whole.thoughts),
            "{kind}"
        );
        assert_eq!((&heard.annotations, &heard.usage), (&whole.annotations, &whole.usage), "{kind}");
    }
    // Only the items, and an empty output at the end.
    let mut left: Vec<Value> =
        events.iter().filter(|event| event["type"].as_str().unwrap().ends_with(".done")).cloned().collect();
    left.push(json!({"type": "response.completed", "response": {"output": []}}));
    let heard = read_answer(&sse(&left));
    assert_eq!((heard.text, heard.calls), (whole.text, whole.calls));
}

#[test]
fn several_calls_inside_of_one_call_are_separated() {
    let arguments = json!({"tool_uses": [
        {"recipient_name": "functions.f", "parameters": {"a": 1}},
        {"recipient_name": "functions.g", "parameters": {}},
    ]});
    let item = |arguments: &Value| json!({"type": "function_call", "call_id": "c", "name": "parallel", "arguments": arguments.to_string()});
    let answer = |arguments: &Value| json!({"status": "completed", "output": [item(arguments)]}).to_string();
    let heard = |arguments: &Value| {
        let body = answer(arguments);
        read_at_every_split(
            wire::Protocol::OpenaiResponses,
            false,
            &DecoderContext::default(),
            body.as_bytes(),
        )
        .unwrap()
    };
    let calls = heard(&arguments).calls;
    let told: Vec<_> = calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
    assert_eq!(told, [("c", "f", "{\"a\":1}"), ("c_2", "g", "{}")]);
    // The caller's own tool with the same name.
    let calls = heard(&json!({"a": 1})).calls;
    assert_eq!((&*calls[0].name, &*calls[0].arguments), ("parallel", "{\"a\":1}"));
}

#[test]
fn failures_are_errors_in_either_shape() {
    let created = json!({"type": "response.created", "response": {"id": "r"}});
    let cases = [
        (
            json!({"type": "error", "code": "rate_limit_exceeded", "message": "slow down", "param": null}),
            ErrorKind::RateLimit,
        ),
        (
            json!({"type": "error", "error": {"type": "x", "code": "insufficient_quota", "message": "no money"}}),
            ErrorKind::Quota,
        ),
        (
            json!({"type": "response.failed", "response": {"status": "failed", "error": {"code": "server_error", "message": "m"}}}),
            ErrorKind::Upstream,
        ),
        (
            json!({"type": "response.failed", "response": {"status": "failed",
                "error": {"code": "context_length_exceeded", "message": "too long"}}}),
            ErrorKind::ContextLength,
        ),
        (
            json!({"type": "response.failed", "response": {"error": {"code": "bio_policy", "message": "no"}}}),
            ErrorKind::ContentFilter,
        ),
        (json!({"type": "response.failed", "response": {}}), ErrorKind::Upstream),
    ];
    for (event, kind) in cases {
        let (_, end) =
            decode(true, &DecoderContext::default(), [&sse(&[created.clone(), event.clone()])[..]]);
        assert_eq!(end.map_err(|error| error.kind), Err(kind), "{event}");
    }
    for body in
        [json!({"status": "in_progress", "output": []}), json!({"status": "cancelled"}), json!({"id": "x"})]
    {
        let (_, end) = decode(false, &DecoderContext::default(), [body.to_string().as_bytes()]);
        assert!(end.is_err(), "{body}");
    }
}

#[test]
fn unknown_events_are_ignored() {
    let events = [
        json!({"type": "response.new_thing.delta", "delta": {"a": 1}, "output_index": "x"}),
        json!({"type": "response.output_item.done", "output_index": 0, "item": {"type": "new_item", "content": 7}}),
        json!({"type": "response.completed", "response": {"output": []}}),
    ];
    let (_, end) = decode(true, &DecoderContext::default(), [&sse(&events[..1])[..], &sse(&events[2..])[..]]);
    assert_eq!(end, Ok(()));
}

// ---------------------------------------------------------------------------------------------- writing

fn events() -> Vec<Event> {
    let thought =
        |block, detail| Event::Reasoning { choice: 0, block, detail, format: "openai-responses-v1" };
    let text = |text: &str| Event::Text { choice: 0, text: text.into() };
    vec![
        Event::Start { id: Some("msg_1".into()), model: Some("claude".into()), created: Some(9) },
        thought(0, ReasoningDetail::Text("H".into())),
        thought(0, ReasoningDetail::Text("m".into())),
        thought(0, ReasoningDetail::Encrypted("enc".into())),
        text("Hel"),
        text("lo"),
        Event::Annotation {
            choice: 0,
            annotation: Json::of(
                &json!({"type": "url_citation", "url_citation": {"url": "https://x.test", "title": "X"}}),
            ),
        },
        Event::ToolCallStart {
            choice: 0,
            index: 0,
            id: "a".into(),
            name: "f".into(),
            signature: None,
            custom: false,
        },
        Event::ToolCallArguments { choice: 0, index: 0, fragment: "{\"x\"".into() },
        Event::ToolCallStart {
            choice: 0,
            index: 1,
            id: "b".into(),
            name: "free".into(),
            signature: None,
            custom: true,
        },
        Event::ToolCallArguments { choice: 0, index: 1, fragment: "te".into() },
        // Calls may arrive interleaved.
        Event::ToolCallArguments { choice: 0, index: 0, fragment: ":1}".into() },
        Event::ToolCallArguments { choice: 0, index: 1, fragment: "xt".into() },
        Event::Image { choice: 0, mime: "image/png".into(), data: "AAAA".into() },
        Event::Usage(canon::Usage { input: 5, cache_read: 4, output: 3, reasoning: 1, ..Default::default() }),
        Event::Finish { choice: 0, reason: FinishReason::ToolCalls, native: None },
    ]
}

#[test]
fn items_are_opened_filled_and_closed_in_order() {
    let stream = documents(&write(true, &events()));
    let names: Vec<_> = stream
        .iter()
        .map(|event| event["type"].as_str().unwrap().strip_prefix("response.").unwrap().to_owned())
        .collect();
    let expected = [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "output_item.added",
        "custom_tool_call_input.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "custom_tool_call_input.delta",
        "output_item.added",
        "image_generation_call.completed",
        "output_item.done",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ];
    assert_eq!(names, expected);
    let last = &stream.last().unwrap()["response"];
    assert_eq!(last["llmgateway"], json!({"request_id": "r1", "cost": null}));
    assert_eq!(last["usage"]["input_tokens"], 9);
    assert_eq!(last["usage"]["input_tokens_details"]["cached_tokens"], 4);
    assert_eq!(
        (&last["id"], &last["model"], &last["created_at"]),
        (&json!("resp_0123abcd"), &json!("claude"), &json!(9))
    );
    let kinds: Vec<_> =
        last["output"].as_array().unwrap().iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call", "custom_tool_call", "image_generation_call"]);
    assert_eq!(last["output"][0]["encrypted_content"], "enc");
    assert_eq!(last["output"][2]["arguments"], "{\"x\":1}");
    assert_eq!(last["output"][3]["input"], "text");
    assert!(stream[0]["response"].get("llmgateway").is_none());
    // Every item that was announced is completed, under the same id.
    for added in stream.iter().filter(|event| event["type"] == "response.output_item.added") {
        let done: Vec<_> = stream
            .iter()
            .filter(|event| {
                event["type"] == "response.output_item.done" && event["output_index"] == added["output_index"]
            })
            .collect();
        assert_eq!(done.len(), 1);
        assert_eq!(done[0]["item"]["id"], added["item"]["id"]);
        assert_eq!(last["output"][added["output_index"].as_u64().unwrap() as usize], done[0]["item"]);
    }
}

#[test]
fn limits_and_filters_leave_an_answer_incomplete() {
    for (reason, told) in
        [(FinishReason::Length, "max_output_tokens"), (FinishReason::ContentFilter, "content_filter")]
    {
        let events =
            [Event::Text { choice: 0, text: "a".into() }, Event::Finish { choice: 0, reason, native: None }];
        let last = documents(&write(true, &events)).pop().unwrap();
        assert_eq!(last["type"], "response.incomplete");
        assert_eq!(last["response"]["status"], "incomplete");
        assert_eq!(last["response"]["incomplete_details"], json!({"reason": told}));
    }
}

#[test]
fn an_answer_that_breaks_off_has_the_status_failed() {
    let form = AnswerForm { stream: true, ..AnswerForm::default() };
    let fail = |events: &[Event], error: &Error| {
        let mut encoder = dialect().encoder(&form, Box::new(notes()));
        let mut out = Vec::new();
        events.iter().for_each(|event| encoder.push(event.clone(), &mut out));
        encoder.fail(error, &mut out);
        documents(std::str::from_utf8(&out).unwrap()).pop().unwrap()
    };
    let error = |kind| Error::upstream(kind, Retry::No, "It broke.");
    let cases = [
        (ErrorKind::Upstream, "server_error"),
        (ErrorKind::RateLimit, "rate_limit_exceeded"),
        (ErrorKind::ContextLength, "context_length_exceeded"),
    ];
    for (kind, code) in cases {
        let last = fail(&events()[..5], &error(kind));
        assert_eq!(
            (&last["type"], &last["response"]["status"]),
            (&json!("response.failed"), &json!("failed"))
        );
        assert_eq!(last["response"]["error"], json!({"code": code, "message": "It broke."}));
        let first = fail(&[], &error(kind));
        assert_eq!(
            first,
            json!({"type": "error", "sequence_number": 0, "code": code, "message": "It broke.", "param": null})
        );
    }
    let (status, body) = dialect().error(&Error::invalid("input", "No."), None);
    assert_eq!(status.as_u16(), 400);
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["param"], "input");
}
