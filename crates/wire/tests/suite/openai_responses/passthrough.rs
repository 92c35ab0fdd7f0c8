//! Between equal formats.

use std::sync::Arc;

use canon::{ModelFacts, Quirks, Target};
use serde_json::{Value, json};
use testkit::split::pieces;
use wire::{Addressed, AnswerForm, DecoderContext, Exchange, Protocol, TranscoderParts};

use super::{Notes, dialect, documents};

fn forwarded(body: &str) -> (Value, Vec<String>) {
    let intake = dialect().intake(Addressed::default(), &body.to_owned().into()).unwrap();
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
fn proofs_of_other_families_stay_behind() {
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
        annotator: Arc::new(Notes),
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
fn answers_are_relayed_with_the_gateway_s_object() {
    for record in
        testkit::corpus::records("openai-responses").into_iter().filter(|record| record.api == "responses")
    {
        let stream = !record.body.starts_with(b"{");
        if record.status != 200 {
            continue;
        }
        let (out, result, progress) = relayed(stream, vec![&record.body]);
        let (again, _, _) = relayed(stream, pieces(&record.body, 40, 7));
        assert_eq!(out, again, "{}: in pieces", record.id);
        if result.is_err() {
            continue;
        }
        let mut last: Value = match stream {
            false => serde_json::from_slice(&out).unwrap(),
            true => {
                let text = std::str::from_utf8(&out).unwrap();
                let data = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap();
                serde_json::from_str::<Value>(data).unwrap()["response"].take()
            }
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
fn a_failure_is_told_once_with_the_next_number() {
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
