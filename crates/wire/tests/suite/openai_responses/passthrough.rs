//! Between equal formats.

use std::sync::Arc;

use canon::{ModelFacts, Quirks, Target};
use serde_json::{Value, json};
use testkit::split::pieces;
use wire::{Addressed, AnswerForm, DecoderContext, Exchange, Protocol, TranscoderParts};

use super::{dialect, documents, notes};

fn forwarded(body: &str) -> (Value, Vec<String>) {
    forwarded_as(body, false)
}

fn forwarded_as(body: &str, kept: bool) -> (Value, Vec<String>) {
    let mut intake = dialect().intake(Addressed::default(), &body.to_owned().into()).unwrap();
    intake.form.kept = kept;
    let quirks = Quirks { drop: vec!["user".into()], ..Quirks::default() };
    let facts = ModelFacts::default();
    let target = Target { model: "gpt-5", facts: &facts, quirks: &quirks };
    let exchange = Exchange {
        dialect: dialect(),
        intake: &intake,
        upstream: Protocol::OpenaiResponses,
        target,
        memory: None,
    };
    let written = exchange.draft(false).unwrap().write().unwrap();
    let losses = written.losses.iter().map(|loss| loss.field.to_string()).collect();
    (serde_json::from_slice(&written.body).unwrap(), losses)
}

#[test]
fn requests_are_forwarded_as_they_are() {
    let body = json!({
        "model": "openai/gpt-5",
        "input": [
            {"type": "a_new_item", "x": 1.0},
            {"role": "user", "content": "hi", "internal_x": {"y": null}},
            {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA", "content": null},
            {"role": "assistant", "content": "a"},
        ],
        "previous_response_id": "resp_1",
        "a_new_field": [1e3],
        "user": "ann",
        "provider": {"sort": "price"},
    });
    let (sent, losses) = forwarded(&body.to_string());
    let mut expected = body;
    expected["model"] = json!("gpt-5");
    expected.as_object_mut().unwrap().retain(|name, _| !matches!(name.as_str(), "user" | "provider"));
    assert_eq!((sent, losses), (expected, vec!["user".to_owned()]));
}

#[test]
fn a_provider_does_not_store_answers_that_the_gateway_stores() {
    let body = json!({"model": "m", "input": "hi", "store": true, "a_new_field": 1.0});
    let (sent, losses) = forwarded_as(&body.to_string(), true);
    assert_eq!(
        (sent, losses),
        (json!({"model": "gpt-5", "input": "hi", "store": false, "a_new_field": 1.0}), vec![])
    );
    let thinking = json!({"model": "m", "input": "hi", "reasoning": {"effort": "low"}, "include": ["x"]});
    let (sent, _) = forwarded_as(&thinking.to_string(), true);
    assert_eq!(
        (&sent["store"], &sent["include"]),
        (&json!(false), &json!(["x", "reasoning.encrypted_content"]))
    );
    let asked =
        json!({"model": "m", "input": "hi", "reasoning": {}, "include": ["reasoning.encrypted_content"]});
    assert_eq!(forwarded_as(&asked.to_string(), true).0["include"], json!(["reasoning.encrypted_content"]));
    assert_eq!(forwarded(&body.to_string()).0["store"], json!(true), "nothing is kept here");
}

#[test]
fn relayed_answers_are_stored_as_their_callers_get_them() {
    let response = json!({"id": "resp_theirs", "object": "response", "status": "completed", "store": false,
        "previous_response_id": null, "model": "gpt-5", "output": [{"type": "message", "id": "msg_1", "role": "assistant",
        "status": "completed", "content": [{"type": "output_text", "text": "Hi.", "annotations": []}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}});
    let request = json!({"model": "m", "input": "x", "previous_response_id": "resp_0"}).to_string();
    // Some servers leave the items out of the last event, and even the status.
    let mut bare = response.clone();
    bare["output"] = json!([]);
    let item = &response["output"][0];
    let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap());
    let streamed = |last: &Value| {
        event(json!({"type": "response.created", "sequence_number": 0, "response": bare}))
            + &event(
                json!({"type": "response.output_item.added", "output_index": 0, "item": item, "sequence_number": 1}),
            )
            + &event(
                json!({"type": "response.output_item.done", "output_index": 0, "item": item, "sequence_number": 2}),
            )
            + &event(json!({"type": "response.completed", "response": last, "sequence_number": 3}))
    };
    let cases = [(false, response.to_string()), (true, streamed(&response)), (true, streamed(&bare))];
    for (stream, body) in cases {
        let mut transcoder = wire::exchange::transcoder(TranscoderParts {
            caller: dialect(),
            upstream: Protocol::OpenaiResponses,
            upstream_streams: stream,
            form: AnswerForm {
                stream,
                kept: true,
                request: Some(request.clone().into()),
                ..AnswerForm::default()
            },
            decoding: &DecoderContext::default(),
            quirks: &Quirks::default(),
            annotator: Arc::new(notes()),
            filter: None,
        });
        let mut out = Vec::new();
        transcoder.push(&body.into(), &mut out).unwrap();
        transcoder.finish(&mut out).unwrap();
        let kept = transcoder.stored_answer().unwrap();
        let last = |out: &[u8]| {
            if stream {
                documents(std::str::from_utf8(out).unwrap()).pop().unwrap()["response"].take()
            } else {
                serde_json::from_slice(out).unwrap()
            }
        };
        let answer: Value = serde_json::from_slice(&kept.answer).unwrap();
        assert_eq!((last(&out), kept.id.as_str()), (answer.clone(), "resp_theirs"));
        assert_eq!((&answer["store"], &answer["previous_response_id"]), (&json!(true), &json!("resp_0")));
        assert_eq!(&answer["output"][0], item);
        kept.retract(&mut out);
        assert_eq!(last(&out)["store"], json!(false));
    }
}

#[test]
fn proofs_of_other_families_are_not_forwarded() {
    let body = json!({"model": "m", "input": [
        {"role": "user", "content": "reasoning"},
        {"type": "reasoning", "summary": [], "encrypted_content": "llmgateway.1.e30"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "reasoning"},
    ]});
    let (sent, losses) = forwarded(&body.to_string());
    assert_eq!(sent["input"].as_array().unwrap().len(), 3);
    assert_eq!(losses, ["input[1]"]);
}

fn relayed(stream: bool, pieces: Vec<&[u8]>) -> (Vec<u8>, canon::Result<()>, canon::Progress) {
    let mut transcoder = wire::exchange::transcoder(TranscoderParts {
        caller: dialect(),
        upstream: Protocol::OpenaiResponses,
        upstream_streams: stream,
        form: AnswerForm { stream, ..AnswerForm::default() },
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: Arc::new(notes()),
        filter: None,
    });
    let mut out = Vec::new();
    let mut result = Ok(());
    for piece in pieces {
        result = result.and_then(|()| transcoder.push(&piece.to_vec().into(), &mut out));
    }
    let result = result.and_then(|()| transcoder.finish(&mut out));
    if let Err(error) = &result {
        transcoder.fail(error, &mut out);
    }
    let progress = transcoder.progress().clone();
    (out, result, progress)
}

#[test]
fn answers_are_relayed_with_the_gateways_object() {
    let is_case = |record: &testkit::corpus::Record| record.api == "responses" && record.status == 200;
    for record in testkit::corpus::cases(["openai-responses"], is_case) {
        let stream = !record.body.starts_with(b"{");
        let (out, result, progress) = relayed(stream, vec![&record.body]);
        let (again, _, _) = relayed(stream, pieces(&record.body, 40, 7));
        assert_eq!(out, again, "{}: in pieces", record.id);
        if result.is_err() {
            continue;
        }
        let mut last: Value = if stream {
            let text = std::str::from_utf8(&out).unwrap();
            let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
            serde_json::from_str::<Value>(data).unwrap()["response"].take()
        } else {
            serde_json::from_slice(&out).unwrap()
        };
        let ours = last.as_object_mut().unwrap().shift_remove("llmgateway");
        assert_eq!(ours, Some(json!({"request_id": "r1", "cost": null})), "{}", record.id);
        assert_eq!(progress.usage.is_some(), last["usage"].is_object(), "{}", record.id);
        assert!(progress.finished, "{}", record.id);
        if !stream {
            assert_eq!(last, serde_json::from_slice::<Value>(&record.body).unwrap(), "{}", record.id);
        }
    }
}

#[test]
fn a_failure_is_sent_once_with_the_next_sequence_number() {
    let created = "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_x\",\"model\":\"gpt\",\"output\":[]}}\n\n";
    let failures = [
        "event: error\ndata: {\"type\":\"error\",\"sequence_number\":1,\"error\":{\"code\":\"rate_limit_exceeded\",\"message\":\"slow\"}}\n\n",
        "data: {\"type\":\"response.failed\",\"response\":{\"error\":{\"code\":\"context_length_exceeded\",\"message\":\"long\"}}}\n\n",
        "",
    ];
    for (failure, code) in
        failures.iter().zip(["rate_limit_exceeded", "context_length_exceeded", "server_error"])
    {
        let body = format!("{created}{failure}");
        let (out, result, _) = relayed(true, vec![body.as_bytes()]);
        assert!(result.is_err());
        let events = documents(std::str::from_utf8(&out).unwrap());
        assert_eq!(events.len(), 2, "{events:?}");
        assert_eq!(
            (&events[1]["type"], &events[1]["response"]["error"]["code"]),
            (&json!("response.failed"), &json!(code))
        );
    }
}

/// LM Studio sends thinking in parts of the content; its summary stays empty.
#[test]
fn thinking_without_a_summary_is_relayed_unchanged() {
    let response =
        json!({"id": "resp_1", "object": "response", "status": "in_progress", "model": "m", "output": []});
    let begun = json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": []});
    let part = json!({"type": "reasoning_text", "text": "Hmm."});
    let done = json!({"type": "reasoning", "id": "rs_1", "summary": [], "content": [part]});
    let mut last = response.clone();
    last["status"] = json!("completed");
    last["output"] = json!([done]);
    last["usage"] = json!({"input_tokens": 1, "output_tokens": 1, "total_tokens": 2});
    let at = json!({"output_index": 0, "item_id": "rs_1", "content_index": 0});
    let event = |kind: &str, members: Value| {
        let mut event = members;
        event["type"] = json!(format!("response.{kind}"));
        event
    };
    let of_part = |kind: &str, name: &str, value: Value| {
        let mut members = at.clone();
        members[name] = value;
        event(kind, members)
    };
    let events = [
        event("created", json!({"response": response})),
        event("output_item.added", json!({"output_index": 0, "item": begun})),
        of_part("content_part.added", "part", json!({"type": "reasoning_text", "text": ""})),
        of_part("reasoning_text.delta", "delta", json!("Hmm.")),
        of_part("content_part.done", "part", part.clone()),
        event("output_item.done", json!({"output_index": 0, "item": done})),
        event("completed", json!({"response": last})),
    ];
    let number = |(number, event): (usize, &Value)| {
        let mut event = event.clone();
        event["sequence_number"] = json!(number);
        format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap())
    };
    let body: String = events.iter().enumerate().map(number).collect();
    let (out, result, _) = relayed(true, vec![body.as_bytes()]);
    assert!(result.is_ok());
    let told = documents(std::str::from_utf8(&out).unwrap());
    assert_eq!(told.len(), events.len());
    assert_eq!(told[5]["item"], done);
}
