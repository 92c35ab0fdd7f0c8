//! Google's generateContent between equal formats: what is forwarded unchanged, what is edited, and what is
//! read on the way.
#![allow(clippy::unwrap_used, reason = "helpers of tests may")]

use std::sync::Arc;

use bytes::Bytes;
use canon::*;
use serde_json::{Value, json};
use testkit::corpus::{Record, cases};
use testkit::notes::Notes;
use wire::exchange::{self, Exchange, TranscoderParts};
use wire::proofs::{CallName, Memory, Proofs};
use wire::{Addressed, AnswerForm, DecoderContext, EncodedRequest, Intake, Protocol, Transcoder, dialect};

const FLASH: &str = "gemini-2.5-flash";
const THREE: &str = "gemini-3-flash-preview";

fn notes() -> Notes {
    let (metadata_name, metadata) = (Some("llmgateway"), "{\"request_id\":\"r\"}");
    Notes { answer_id: "ours", metadata_name, metadata, ..Notes::default() }
}

fn intake(body: &str) -> Intake {
    let url = Addressed { rest: "m:generateContent", query: "" };
    dialect(Protocol::Gemini).unwrap().intake(url, &Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

struct Sending<'a> {
    model: &'a str,
    facts: ModelFacts,
    memory: Option<Memory<'a>>,
    without_thinking: bool,
}

impl Sending<'_> {
    fn to(model: &str) -> Sending<'_> {
        Sending { model, facts: ModelFacts::default(), memory: None, without_thinking: false }
    }

    fn written(&self, body: &str) -> EncodedRequest {
        let (intake, quirks) = (intake(body), Quirks::default());
        let exchange = Exchange {
            dialect: dialect(Protocol::Gemini).unwrap(),
            intake: &intake,
            upstream: Protocol::Gemini,
            target: Target { model: self.model, facts: &self.facts, quirks: &quirks },
            memory: self.memory,
        };
        exchange.draft(self.without_thinking).unwrap().write().unwrap()
    }

    fn sent(&self, body: &str) -> (String, Vec<String>) {
        let written = self.written(body);
        let losses =
            written.caller_losses.iter().map(|loss| format!("{} {}", loss.field, loss.action.as_str()));
        (String::from_utf8(written.body.to_vec()).unwrap(), losses.collect())
    }
}

#[test]
fn a_request_is_forwarded_unchanged() {
    let body = r#"{ "contents": [{"role":"user","parts":[{"text":"é \u00e9", "own": 1.0e2}]}],
 "tools":[{"googleSearch":{}},{"code_execution":{}},{"urlContext":{}},{"computerUse":{"environment":"ENVIRONMENT_BROWSER"}}],
 "safetySettings":[{"category":"X","threshold":"Y"}], "cachedContent":"cachedContents/1", "system_instruction":{"parts":{"text":"s"}},
 "generationConfig":{"top_k": 12345678901234567890.5, "speechConfig":{}}, "brandNew":{"a":[1,null]}}"#;
    let (sent, losses) = Sending::to(FLASH).sent(body);
    let value = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    assert_eq!(value(&sent), value(body));
    assert!(
        sent.contains(r#""top_k": 12345678901234567890.5"#) && sent.contains(r#"é \u00e9", "own": 1.0e2"#)
    );
    assert!(losses.is_empty());
}

#[test]
fn fields_for_the_gateway_are_not_forwarded() {
    let body = r#"{"model":"models/alias","contents":[],"models":["b"],"provider":{"only":["x"],"data_collection":"deny"},"routing":"r","usage":{}}"#;
    let (sent, losses) = Sending::to(FLASH).sent(body);
    assert_eq!(sent, r#"{"contents":[]}"#);
    assert!(losses.is_empty(), "{losses:?}");
}

#[test]
fn fields_that_the_model_refuses_are_left_out() {
    let facts =
        ModelFacts { rejects: vec!["presence_penalty".into(), "top_k".into()], ..ModelFacts::default() };
    let body = r#"{"contents":[],"generation_config":{"presencePenalty": 1,"temperature": 1.0,"top_k":3}}"#;
    let (sent, losses) = Sending { facts, ..Sending::to(FLASH) }.sent(body);
    assert_eq!(sent, r#"{"contents":[],"generation_config":{"temperature": 1.0}}"#);
    assert_eq!(losses, ["generationConfig.presencePenalty dropped", "generationConfig.topK dropped"]);
}

/// A tool loop whose call has this signature.
fn tool_loop(signature: Option<&str>) -> String {
    let mut call = json!({"functionCall": {"name": "f", "args": {"a": 1}}});
    if let Some(signature) = signature {
        call["thoughtSignature"] = json!(signature);
    }
    json!({"contents": [
        {"role": "user", "parts": [{"text": "hi"}]},
        {"role": "model", "parts": [{"text": "hm", "thought": true}, call, {"functionCall": {"name": "g"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {}}},
            {"functionResponse": {"name": "g", "response": {}}}]},
    ]})
    .to_string()
}

fn signatures(body: &str) -> Vec<Option<String>> {
    let body: Value = serde_json::from_str(body).unwrap();
    let parts = body["contents"][1]["parts"].as_array().unwrap();
    parts.iter().map(|part| part["thoughtSignature"].as_str().map(str::to_owned)).collect()
}

#[test]
fn dropped_signatures_are_restored_and_foreign_ones_removed() {
    let proofs = |issuer: &str| {
        let calls = vec![
            (CallName::new("", "f", r#"{"a":1}"#), Some("kept".to_owned())),
            (CallName::new("", "g", "{}"), None),
        ];
        Some(Arc::new(Proofs { issuer: issuer.to_owned(), calls, ..Proofs::default() }))
    };
    let (own, foreign) = (|_: &CallName| proofs("here"), |_: &CallName| proofs("there"));
    let here =
        |find| Sending { memory: Some(Memory { provider: "here", model: "", find }), ..Sending::to(THREE) };
    let (sent, losses) = here(&own).sent(&tool_loop(None));
    assert_eq!((signatures(&sent), losses.len()), (vec![None, Some("kept".into()), None], 0));
    let untouched = tool_loop(Some("theirs"));
    assert_eq!(here(&own).sent(&untouched), (untouched.clone(), vec![]));
    let stand_in = Some("skip_thought_signature_validator".to_owned());
    // That another provider made the same call does not show who made this signature.
    assert_eq!(here(&foreign).sent(&untouched), (untouched, vec![]));
    let (sent, losses) = here(&foreign).sent(&tool_loop(Some("kept")));
    assert_eq!(signatures(&sent), [None, stand_in.clone(), None]);
    assert_eq!(losses, ["contents[1].parts[1].thoughtSignature dropped"]);
    // The memory has no entry for the call: Gemini 3 needs the stand-in, earlier models need nothing.
    let (sent, losses) = Sending::to(THREE).sent(&tool_loop(None));
    assert_eq!((signatures(&sent)[1].clone(), losses.len()), (stand_in, 1));
    assert_eq!(Sending::to(FLASH).sent(&tool_loop(None)), (tool_loop(None), vec![]));
}

#[test]
fn a_refused_signature_is_left_out_once() {
    let refused =
        |model| Sending { without_thinking: true, ..Sending::to(model) }.sent(&tool_loop(Some("old")));
    let (sent, losses) = refused(FLASH);
    assert_eq!(signatures(&sent), [None, None, None]);
    assert_eq!(losses, ["contents[1].parts[1].thoughtSignature dropped"]);
    assert_eq!(signatures(&refused(THREE).0)[1].as_deref(), Some("skip_thought_signature_validator"));
    assert!(exchange_retells());
}

fn exchange_retells() -> bool {
    let (intake, facts, quirks) = (intake(&tool_loop(None)), ModelFacts::default(), Quirks::default());
    let target = Target { model: THREE, facts: &facts, quirks: &quirks };
    let dialect = dialect(Protocol::Gemini).unwrap();
    let exchange = Exchange { dialect, intake: &intake, upstream: Protocol::Gemini, target, memory: None };
    exchange
        .thinking_repair(wire::proofs::Refusal::Invalid)
        .is_some_and(|thinking_repair| thinking_repair.without_thinking)
}

// Answers.

fn relay(stream: bool, is_list: bool) -> Box<dyn Transcoder> {
    exchange::transcoder(TranscoderParts {
        filter: None,
        caller: dialect(Protocol::Gemini).unwrap(),
        upstream: Protocol::Gemini,
        upstream_streams: stream,
        form: AnswerForm { stream, is_list, ..AnswerForm::default() },
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: Arc::new(notes()),
    })
}

fn passed(relay: &mut dyn Transcoder, pieces: &[&[u8]]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for piece in pieces {
        relay.push(&Bytes::copy_from_slice(piece), &mut out)?;
    }
    relay.finish(&mut out)?;
    Ok(out)
}

/// The documents of an answer, read without the code under test.
fn documents(body: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(body).unwrap();
    match serde_json::from_str(text) {
        Ok(Value::Array(documents)) => documents,
        Ok(document) => vec![document],
        Err(_) => {
            let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
            lines.map(|line| serde_json::from_str(line).unwrap()).collect()
        }
    }
}

fn recorded() -> Vec<Record> {
    cases(["google-ai-studio", "vertex-gemini"], |record| {
        record.status == 200 && matches!(record.api.as_str(), "generateContent" | "streamGenerateContent")
    })
}

#[test]
fn recorded_answers_are_relayed_unchanged() {
    let mut count = 0;
    for record in recorded() {
        let mut translator =
            wire::adapter(Protocol::Gemini).decoder(record.streaming, &DecoderContext::default());
        let mut events = Vec::new();
        let read = translator.push(&record.body, &mut events).and_then(|()| translator.finish(&mut events));
        let mut relay = relay(record.streaming, false);
        let out = passed(&mut *relay, &[&record.body]);
        assert_eq!(out.is_ok(), read.is_ok(), "{}", record.id);
        let Ok(out) = out else { continue };
        let mut found = documents(&out);
        let own = found.last_mut().unwrap().as_object_mut().unwrap().shift_remove("llmgateway");
        assert_eq!(own.unwrap()["request_id"], "r", "{}", record.id);
        let mut expected = documents(&record.body);
        for piece in &mut expected {
            let piece = piece.as_object_mut().unwrap();
            piece.entry("responseId").or_insert_with(|| json!("ours"));
        }
        assert_eq!(found, expected, "{}", record.id);
        let usage = events.iter().rev().find_map(|event| match event {
            Event::Usage(usage) => Some(*usage),
            _ => None,
        });
        let progress = relay.progress();
        assert_eq!((progress.usage, progress.finished), (usage, true), "{}", record.id);
        count += 1;
    }
    testkit::corpus::assert_enough(count, 20);
}

#[test]
fn recorded_streams_are_relayed_the_same_for_every_cut() {
    let mut streams = recorded();
    streams.retain(|record| record.streaming);
    streams.sort_by_key(|record| record.body.len());
    for record in streams.iter().take(4) {
        for is_list in [false, true] {
            let whole = passed(&mut *relay(true, is_list), &[&record.body]).unwrap();
            let bytes: Vec<&[u8]> = record.body.chunks(1).collect();
            assert_eq!(passed(&mut *relay(true, is_list), &bytes).unwrap(), whole, "{}", record.id);
            for cut in (1..record.body.len()).step_by(13) {
                let (left, right) = record.body.split_at(cut);
                assert_eq!(
                    passed(&mut *relay(true, is_list), &[left, right]).unwrap(),
                    whole,
                    "{}",
                    record.id
                );
            }
        }
    }
}

#[test]
fn a_damaged_answer_is_an_error_and_never_an_end() {
    let piece = json!({"candidates": [{"content": {"role": "model", "parts": [{"text": "a"}]}, "index": 0}], "responseId": "r"});
    let error = json!({"error": {"code": 503, "message": "Overloaded.", "status": "UNAVAILABLE"}});
    for body in [
        format!("data: {piece}\n\n"),
        format!("data: {piece}\n\ndata: {{\"candidates\": [\n\n"),
        format!("data: {piece}\n\ndata: {error}\n\n"),
        format!("data: {piece}\n\ndata: [1]\n\n"),
    ] {
        let mut relay = relay(true, false);
        let mut out = Vec::new();
        let mut result = relay.push(&Bytes::from(body.clone()), &mut out);
        result = result.and_then(|()| relay.finish(&mut out));
        let error = result.unwrap_err();
        assert!(!relay.progress().finished);
        relay.fail(&error, &mut out);
        let found = documents(&out);
        assert_eq!((found.len(), &found[0]), (2, &piece), "{body}");
        assert!(found[1]["error"]["code"].is_u64(), "{body}");
    }
}

#[test]
fn the_object_of_another_gateway_is_replaced_and_empty_lines_are_no_events() {
    let body = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\\ud83d\"}]},\r\ndata: \"finishReason\":\"STOP\"}],\ndata: \"llmgateway\":{\"request_id\":\"other\"}}\n\n";
    let out = passed(&mut *relay(true, false), &[body.as_bytes()]).unwrap();
    let text = String::from_utf8(out.clone()).unwrap();
    assert_eq!(text.matches("llmgateway").count(), 1, "{text}");
    let found = documents(&out);
    assert_eq!(found[0]["llmgateway"]["request_id"], "r");
    assert_eq!(found[0]["candidates"][0]["content"]["parts"][0]["text"], "a\u{fffd}");
}

#[test]
fn signatures_in_relayed_answers_are_remembered() {
    let parts = json!([{"functionCall": {"name": "f", "args": {"a": 1}}, "thoughtSignature": "kept"}]);
    let body = json!({"candidates": [{"content": {"parts": parts}, "finishReason": "STOP"}]}).to_string();
    let mut relay = relay(false, false);
    passed(&mut *relay, &[body.as_bytes()]).unwrap();
    let proofs = relay.proofs().unwrap();
    assert_eq!(proofs.calls, [(CallName::new("", "f", r#"{"a":1}"#), Some("kept".to_owned()))]);
}

#[test]
fn files_with_web_urls_are_fetched_where_the_host_does_not_fetch_them() {
    let quirks = Quirks { no_web_file_uris: true, ..Quirks::default() };
    let facts = ModelFacts::default();
    let body = json!({"contents": [{"role": "user", "parts": [
        {"text": "Look."},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.test/a.png"}, "videoMetadata": {"fps": 1.0}},
        {"file_data": {"file_uri": "http://x.test/b"}},
        {"fileData": {"fileUri": "https://www.youtube.com/watch?v=1"}},
        {"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/x"}},
    ]}]});
    let intake = intake(&body.to_string());
    let draft = |model: &'static str, quirks| {
        let target = Target { model, facts: &facts, quirks };
        let dialect = dialect(Protocol::Gemini).unwrap();
        Exchange { dialect, intake: &intake, upstream: Protocol::Gemini, target, memory: None }
            .draft(false)
            .unwrap()
    };
    let mut fetching = draft(FLASH, &quirks);
    let named: Vec<_> = fetching.media().into_iter().map(|media| (media.path, media.url)).collect();
    let path = |position: u32| format!("contents[0].parts[{position}].fileData.fileUri");
    let url = |url: &str| url.to_owned();
    assert_eq!(named, [(path(1), url("https://x.test/a.png")), (path(2), url("http://x.test/b"))]);
    let file = |mime: &str| wire::MediaFile { mime: mime.to_owned(), data: "AA==".to_owned() };
    fetching.fill(vec![file("image/png"), file("application/pdf")]);
    let sent: Value = serde_json::from_slice(&fetching.write().unwrap().body).unwrap();
    let mut expected = body.clone();
    let inline = |mime: &str| json!({"mimeType": mime, "data": "AA=="});
    expected["contents"][0]["parts"][1] =
        json!({"videoMetadata": {"fps": 1.0}, "inlineData": inline("image/png")});
    expected["contents"][0]["parts"][2] = json!({"inlineData": inline("application/pdf")});
    assert_eq!(sent, expected);
    // Gemini 3 fetches the web itself, and so does Vertex.
    assert!(draft(THREE, &quirks).media().is_empty());
    assert!(draft(FLASH, &Quirks::default()).media().is_empty());
}
