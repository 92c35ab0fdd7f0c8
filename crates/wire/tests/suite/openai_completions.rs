//! Legacy text completions towards callers: requests over every format of providers, answers from events.

use canon::{Error, Event, FinishReason, Json, LossAction, ModelFacts, Quirks, Target, Usage};
use serde_json::{Value, json};
use wire::protocols::openai_completions::OpenaiCompletions;
use wire::{Addressed, AnswerForm, Dialect, Protocol, adapter};

use super::checks::notes;

fn body(fields: Value) -> Vec<u8> {
    let mut body = json!({"model": "m", "prompt": "Once upon a time"});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    body.to_string().into_bytes()
}

fn form(fields: Value) -> AnswerForm {
    OpenaiCompletions.intake(Addressed::default(), &body(fields).into()).unwrap().form
}

/// The answer to a request, as its caller gets it.
fn answer(fields: Value, events: &[Event]) -> String {
    let mut encoder = OpenaiCompletions.encoder(&form(fields), Box::new(notes()));
    let mut out = Vec::new();
    events.iter().for_each(|event| encoder.push(event.clone(), &mut out));
    encoder.finish(&mut out);
    String::from_utf8(out).unwrap()
}

fn chunks(stream: &str) -> Vec<Value> {
    let mut lines: Vec<&str> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(lines.pop(), Some("[DONE]"), "{stream}");
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text_delta(choice: u32, text: &str) -> Event {
    Event::Text { choice, text: text.to_owned() }
}

fn ended(choice: u32, reason: FinishReason) -> Event {
    Event::Finish { choice, reason, native: None }
}

fn started() -> Event {
    Event::Start { id: Some("chatcmpl-7".into()), model: Some("m-1".into()), created: Some(5) }
}

fn logprobs(value: &Value) -> Event {
    Event::Logprobs { choice: 0, logprobs: Json::from(value) }
}

#[test]
fn a_prompt_is_a_user_message_for_every_provider() {
    let asked =
        body(json!({"max_tokens": 50, "temperature": 0.5, "stop": ["END"], "user": "ann", "seed": 3}));
    let request = OpenaiCompletions.decode_request(&asked).unwrap();
    let listed = br#"{"model":"m","prompt":["Once upon a time"],"max_tokens":50,"temperature":0.5,"stop":"END","user":"ann","seed":3}"#;
    assert_eq!(OpenaiCompletions.decode_request(listed).unwrap(), request);
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    for protocol in Protocol::ALL {
        let encoded = adapter(protocol).encode_request(&request, target).unwrap();
        let sent = String::from_utf8(encoded.body.to_vec()).unwrap();
        assert!(sent.contains("Once upon a time") && sent.contains("50") && sent.contains("0.5"), "{sent}");
        assert!(!sent.contains("\"prompt\""), "{sent}");
        for loss in encoded.losses.iter() {
            let name = OpenaiCompletions.name_of(&loss.field, Some(&request));
            assert!(["seed", "user", "stop"].contains(&&*name), "{protocol:?}: {name}");
        }
    }
}

#[test]
fn losses_and_refusals_have_the_names_of_completions() {
    let (facts, quirks) = (ModelFacts::default(), Quirks::default());
    let target = Target { model: "m", facts: &facts, quirks: &quirks };
    let write = |protocol, fields: Value| {
        let request = OpenaiCompletions.decode_request(&body(fields)).unwrap();
        let name = |field: &canon::Field| OpenaiCompletions.name_of(field, Some(&request));
        match adapter(protocol).encode_request(&request, target) {
            Ok(encoded) => Ok(encoded.losses.named(name)),
            Err(error) => Err(error.named(name)),
        }
    };
    let losses = write(Protocol::OpenaiChat, json!({"best_of": 3, "n": 2})).unwrap();
    let told: Vec<_> = losses.iter().map(|loss| (loss.field.name().into_owned(), loss.action)).collect();
    assert_eq!(told, [("best_of".to_owned(), LossAction::Dropped)]);
    assert!(write(Protocol::OpenaiChat, json!({"best_of": 2, "n": 2})).unwrap().is_empty());
    let refused = |protocol, fields| write(protocol, fields).unwrap_err().param_name().unwrap().into_owned();
    assert_eq!(refused(Protocol::AnthropicMessages, json!({"n": 2})), "n");
    match write(Protocol::AnthropicMessages, json!({"logprobs": 2})) {
        Ok(losses) => {
            let names: Vec<_> = losses.iter().map(|loss| loss.field.name().into_owned()).collect();
            assert_eq!(names, ["logprobs"]);
        }
        Err(error) => assert_eq!(error.param_name().as_deref(), Some("logprobs")),
    }
    // A provider of the chat format gets the fields that it knows, under its own names.
    let request =
        OpenaiCompletions.decode_request(&body(json!({"logprobs": 2, "logit_bias": {"5": 1}}))).unwrap();
    let sent: Value =
        serde_json::from_slice(&adapter(Protocol::OpenaiChat).encode_request(&request, target).unwrap().body)
            .unwrap();
    assert_eq!((&sent["logprobs"], &sent["top_logprobs"]), (&json!(true), &json!(2)));
    assert_eq!(sent["logit_bias"], json!({"5": 1}));
}

#[test]
fn a_whole_answer_has_the_legacy_shape() {
    let usage = Usage { input: 4, output: 2, ..Usage::default() };
    let events = [
        started(),
        text_delta(0, "there "),
        text_delta(1, "a king"),
        text_delta(0, "was"),
        Event::Usage(usage),
        ended(0, FinishReason::Length),
        ended(1, FinishReason::ToolCalls),
    ];
    let found: Value = serde_json::from_str(&answer(json!({"n": 2}), &events)).unwrap();
    assert_eq!(
        found["choices"],
        json!([
            {"text": "there was", "index": 0, "logprobs": null, "finish_reason": "length"},
            {"text": "a king", "index": 1, "logprobs": null, "finish_reason": "stop"},
        ])
    );
    let head = (&found["id"], &found["object"], &found["created"], &found["model"]);
    assert_eq!(head, (&json!("cmpl-7"), &json!("text_completion"), &json!(5), &json!("m-1")));
    let counts = (&found["usage"]["prompt_tokens"], &found["usage"]["completion_tokens"]);
    assert_eq!(counts, (&json!(4), &json!(2)));
    let echoed: Value = serde_json::from_str(&answer(json!({"echo": true}), &events)).unwrap();
    assert_eq!(echoed["choices"][0]["text"], "Once upon a timethere was");
    // An answer without text is valid.
    let nothing: Value = serde_json::from_str(&answer(json!({}), &[])).unwrap();
    assert_eq!(nothing["choices"][0]["text"], "");
    assert!(nothing["id"].as_str().unwrap().starts_with("cmpl-"));
}

#[test]
fn a_stream_has_the_content_of_the_whole_answer() {
    let top = |token: &str| json!([{"token": token, "logprob": -0.10}, {"token": "x", "logprob": -3.5}]);
    let events = [
        started(),
        text_delta(0, "thé "),
        logprobs(&json!({"content": [{"token": "thé ", "logprob": -0.10, "top_logprobs": top("thé ")}]})),
        text_delta(0, "re"),
        logprobs(&json!({"content": [{"token": "re", "logprob": -1e-05, "top_logprobs": top("re")}]})),
        Event::Usage(Usage { input: 4, output: 2, ..Usage::default() }),
        ended(0, FinishReason::Stop),
    ];
    let whole: Value = serde_json::from_str(&answer(json!({"logprobs": 2}), &events)).unwrap();
    let found = &whole["choices"][0]["logprobs"];
    assert_eq!(found["tokens"], json!(["thé ", "re"]));
    assert_eq!(found["text_offset"], json!([0, 4]));
    assert_eq!(found["top_logprobs"][1], json!({"re": -0.10, "x": -3.5}));
    for include_usage in [false, true] {
        let asked =
            json!({"logprobs": 2, "stream": true, "stream_options": {"include_usage": include_usage}});
        let stream = answer(asked, &events);
        let chunks = chunks(&stream);
        let mut text = String::new();
        let mut joined = json!({"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []});
        for choice in chunks.iter().flat_map(|chunk| chunk["choices"].as_array().unwrap()) {
            text.push_str(choice["text"].as_str().unwrap());
            for (name, list) in joined.as_object_mut().unwrap() {
                let more = choice["logprobs"][name].as_array().cloned().unwrap_or_default();
                list.as_array_mut().unwrap().extend(more);
            }
        }
        assert_eq!(text, whole["choices"][0]["text"].as_str().unwrap());
        assert_eq!(&joined, found);
        assert!(chunks.iter().all(|chunk| chunk["object"] == "text_completion" && chunk["id"] == "cmpl-7"));
        let reasons: Vec<&Value> =
            chunks.iter().filter_map(|chunk| chunk.pointer("/choices/0/finish_reason")).collect();
        assert_eq!(reasons.iter().filter(|reason| !reason.is_null()).count(), 1);
        let last = chunks.last().unwrap();
        assert!(last.get("metadata").is_some(), "{last}");
        assert_eq!(last["usage"]["total_tokens"] == json!(6), include_usage);
    }
    let echoed = answer(json!({"stream": true, "echo": true}), &events);
    assert_eq!(chunks(&echoed)[0]["choices"][0]["text"], "Once upon a timethé ");
}

#[test]
fn a_failed_stream_ends_with_the_error_alone() {
    let mut encoder = OpenaiCompletions.encoder(&form(json!({"stream": true})), Box::new(notes()));
    let mut out = Vec::new();
    encoder.push(started(), &mut out);
    encoder.push(text_delta(0, "a"), &mut out);
    encoder.fail(&Error::gateway(canon::ErrorKind::Timeout, "Too late."), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"error\":{\"message\":\"Too late.\"") && !text.contains("[DONE]"), "{text}");
}

/// Recorded completions are relayed unchanged, except for the name of the object, usage and the gateway's
/// object; and the decoder reads the same texts.
#[test]
fn recorded_completions_are_relayed_unchanged() {
    let providers: Vec<&str> = testkit::corpus::listed().map(|(provider, _)| provider).collect();
    let mut relayed = 0;
    for record in providers.into_iter().flat_map(testkit::corpus::records) {
        if record.api != "completions" || record.status != 200 || record.model.is_empty() {
            continue;
        }
        let form = AnswerForm { stream: record.streaming, include_usage: true, ..AnswerForm::default() };
        let (decoding, quirks) = (wire::DecoderContext::default(), Quirks::default());
        let parts = || wire::exchange::TranscoderParts {
            filter: None,
            caller: &OpenaiCompletions,
            upstream: Protocol::OpenaiCompletions,
            upstream_streams: record.streaming,
            form: form.clone(),
            decoding: &decoding,
            quirks: &quirks,
            annotator: std::sync::Arc::new(notes()),
        };
        let read = |out: &[u8]| {
            let out = String::from_utf8(out.to_vec()).unwrap();
            let documents =
                if record.streaming { chunks(&out) } else { vec![serde_json::from_str(&out).unwrap()] };
            let choices = documents.iter().filter_map(|document| document["choices"].as_array()).flatten();
            let texts: Vec<String> =
                choices.filter_map(|choice| Some(choice["text"].as_str()?.to_owned())).collect();
            assert!(
                documents.iter().all(|document| document["object"] == "text_completion"),
                "{}",
                record.id
            );
            texts.concat()
        };
        for piece in [1, 7, record.body.len().max(1)] {
            let mut found = Vec::new();
            for mut transcoder in [wire::exchange::transcoder(parts()), wire::exchange::translator(parts())] {
                let mut out = Vec::new();
                for piece in record.body.chunks(piece) {
                    transcoder.push(&bytes::Bytes::copy_from_slice(piece), &mut out).unwrap();
                }
                transcoder
                    .finish(&mut out)
                    .unwrap_or_else(|error| panic!("{}: {}", record.id, error.message));
                let has_usage = String::from_utf8_lossy(&record.body).contains("\"prompt_tokens\"");
                assert_eq!(transcoder.progress().usage.is_some(), has_usage, "{}", record.id);
                found.push(read(&out));
            }
            assert_eq!(found[0], found[1], "{}", record.id);
        }
        relayed += 1;
    }
    eprintln!("{relayed} recorded text completions were relayed");
    testkit::corpus::assert_enough(relayed, 5);
}
