//! Recorded answers are decoded correctly in pieces of any size.

use canon::{ErrorKind, Event, FinishReason, ReasoningDetail};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use testkit::corpus::{Record, cases};
use testkit::split::pieces;
use wire::DecoderContext;

use super::{adapter, decode, dialect, documents, joined, write};

fn messages(is_case: impl Fn(&Record) -> bool) -> Vec<Record> {
    cases(["anthropic"], |record| record.api == "messages" && is_case(record))
}

fn good() -> Vec<Record> {
    messages(|record| record.status == 200)
}

fn is_stream(record: &Record) -> bool {
    record.streaming && !record.body.starts_with(b"{")
}

/// The content of an answer, read without the code under test.
#[derive(Debug, Default, PartialEq)]
struct AnswerContent {
    text: String,
    thinking: String,
    calls: Vec<(String, String, Value)>,
    input: u64,
    output: u64,
    stop_reason: Option<String>,
}

fn content_of_record(record: &Record) -> AnswerContent {
    let text = String::from_utf8(record.body.clone()).unwrap();
    if !is_stream(record) {
        return content_of_message(&serde_json::from_str(&text).unwrap());
    }
    let mut message = serde_json::json!({"content": [], "usage": {}});
    let mut inputs: Vec<String> = Vec::new();
    for event in documents(&text) {
        let index = event["index"].as_u64().unwrap_or(0) as usize;
        match event["type"].as_str().unwrap() {
            "message_start" => message["usage"] = event["message"]["usage"].clone(),
            "content_block_start" => {
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                inputs.push(String::new());
            }
            "content_block_delta" => {
                for (name, value) in event["delta"].as_object().unwrap() {
                    let Some(value) = value.as_str() else { continue };
                    match name.as_str() {
                        "partial_json" => inputs[index].push_str(value),
                        "text" | "thinking" => {
                            let before =
                                message["content"][index][name].as_str().unwrap_or_default().to_owned();
                            message["content"][index][name] = Value::String(before + value);
                        }
                        _ => {}
                    }
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (name, value) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = value.clone();
                }
            }
            // One recording holds the streams of three turns; the answer ends with the first.
            "message_stop" => break,
            _ => {}
        }
    }
    for (block, input) in message["content"].as_array_mut().unwrap().iter_mut().zip(inputs) {
        if !input.is_empty() {
            block["input"] = serde_json::from_str(&input).unwrap();
        }
    }
    content_of_message(&message)
}

fn content_of_message(message: &Value) -> AnswerContent {
    let mut said = AnswerContent::default();
    for block in message["content"].as_array().unwrap() {
        let text = |name: &str| block[name].as_str().unwrap_or_default().to_owned();
        match block["type"].as_str().unwrap() {
            "text" => said.text.push_str(&text("text")),
            "thinking" => said.thinking.push_str(&text("thinking")),
            "tool_use" => said.calls.push((text("id"), text("name"), block["input"].clone())),
            _ => {}
        }
    }
    let usage = &message["usage"];
    let count = |usage: &Value, name: &str| usage[name].as_u64().unwrap_or(0);
    let prompt = |usage: &Value| {
        ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
            .iter()
            .map(|name| count(usage, name))
            .sum::<u64>()
    };
    said.input = prompt(usage);
    said.output = count(usage, "output_tokens");
    for iteration in
        usage["iterations"].as_array().into_iter().flatten().filter(|one| one["type"] == "compaction")
    {
        said.input += prompt(iteration);
        said.output += count(iteration, "output_tokens");
    }
    said.stop_reason = message["stop_reason"].as_str().map(str::to_owned);
    said
}

fn content_of_events(events: &[Event]) -> AnswerContent {
    let mut said = AnswerContent::default();
    let mut arguments: Vec<String> = Vec::new();
    for event in events {
        match event {
            Event::Text { text, .. } => said.text.push_str(text),
            Event::Reasoning { detail: ReasoningDetail::Text(text), .. } => said.thinking.push_str(text),
            Event::ToolCallStart { id, name, index, .. } => {
                assert_eq!(*index as usize, arguments.len());
                said.calls.push((id.clone(), name.clone(), Value::Null));
                arguments.push(String::new());
            }
            Event::ToolCallArguments { index, fragment, .. } => arguments[*index as usize].push_str(fragment),
            Event::Usage(usage) => {
                (said.input, said.output) = (usage.prompt_tokens(), usage.completion_tokens())
            }
            Event::Finish { native, .. } => said.stop_reason = native.clone(),
            _ => {}
        }
    }
    for (call, arguments) in said.calls.iter_mut().zip(arguments) {
        call.2 = serde_json::from_str(&arguments).unwrap();
    }
    said
}

#[test]
fn recorded_answers_are_decoded_as_an_independent_reader_reads_them() {
    let mut count = 0;
    for record in good() {
        let (events, end) = decode(is_stream(&record), &DecoderContext::default(), [record.body.as_slice()]);
        assert_eq!(end, Ok(()), "{}", record.id);
        assert_eq!(content_of_events(&events), content_of_record(&record), "{}", record.id);
        let starts = events.iter().filter(|event| matches!(event, Event::Start { .. })).count();
        let finishes: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Finish { reason, native, .. } => Some((*reason, native.as_deref())),
                _ => None,
            })
            .collect();
        assert!(starts == 1 && matches!(events[0], Event::Start { .. }), "{}", record.id);
        let reason = match finishes.as_slice() {
            [(reason, Some("tool_use"))] => *reason == FinishReason::ToolCalls,
            [(reason, Some("max_tokens"))] => *reason == FinishReason::Length,
            [(reason, Some("end_turn" | "stop_sequence" | "pause_turn"))] => *reason == FinishReason::Stop,
            _ => false,
        };
        assert!(reason, "{} {finishes:?}", record.id);
        count += 1;
    }
    eprintln!("{count} good answers");
}

#[test]
fn every_split_gives_the_same_events() {
    for (number, record) in good().into_iter().enumerate() {
        let streaming = is_stream(&record);
        let whole = decode(streaming, &DecoderContext::default(), [record.body.as_slice()]);
        let seed = number as u64 + 1;
        assert_eq!(
            decode(streaming, &DecoderContext::default(), pieces(&record.body, 60, seed)),
            whole,
            "{}",
            record.id
        );
        if streaming && record.body.len() < 50_000 {
            assert_eq!(
                decode(streaming, &DecoderContext::default(), record.body.chunks(1)),
                whole,
                "{}",
                record.id
            );
        }
    }
}

#[test]
fn cut_streams_are_errors_and_never_panic() {
    for record in messages(|record| record.status == 200 && is_stream(record)) {
        let text = String::from_utf8_lossy(&record.body);
        let Some(said) = text.find("event: message_delta").or_else(|| text.find("\"message_delta\"")) else {
            continue;
        };
        for cut in [said / 4, said / 2, said - 30.min(said)] {
            let (_, end) = decode(true, &DecoderContext::default(), [&record.body[..cut]]);
            assert_eq!(
                end.map_err(|error| error.kind),
                Err(ErrorKind::Upstream),
                "{} cut at {cut}",
                record.id
            );
        }
    }
}

#[test]
fn errors_are_understood() {
    for record in messages(|record| record.status >= 400) {
        let headers: HeaderMap = record
            .headers
            .iter()
            .filter_map(|(name, value)| {
                Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
            })
            .collect();
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter().decode_error(status, &headers, &record.body);
        let expected = match record.status {
            400 if error.message.contains("prompt is too long") => ErrorKind::ContextLength,
            400 => ErrorKind::InvalidRequest,
            401 => ErrorKind::UpstreamCredential,
            404 => ErrorKind::ModelNotFound,
            other => panic!("{} has status {other}", record.id),
        };
        assert_eq!(error.kind, expected, "{}", record.id);
        // A provider's refusal of the gateway's credential is not the caller's fault.
        let told = if error.refuses_gateway() { StatusCode::BAD_GATEWAY } else { status };
        assert_eq!(error.status(), told, "{}", record.id);
        let body: Value = serde_json::from_slice(&record.body).unwrap();
        assert_eq!(error.message, body["error"]["message"].as_str().unwrap(), "{}", record.id);
    }
}

#[test]
fn recorded_requests_are_understood_and_can_be_sent_again() {
    let mut count = 0;
    for record in good() {
        let Some(request) = &record.request else { continue };
        let bytes = serde_json::to_vec(request).unwrap();
        let decoded =
            dialect().decode_request(&bytes).unwrap_or_else(|error| panic!("{}: {error:?}", record.id));
        let model = decoded.model.clone();
        let encoded = match super::encode(&decoded, &model) {
            Ok(encoded) => encoded,
            // One recorder mixed up the ids of a call and its result.
            Err(error) if error.message.contains("toolu_01DYJo37oETVsCdLTTcCWcdq") => continue,
            Err(error) => panic!("{}: {error:?}", record.id),
        };
        let again = dialect().decode_request(&encoded.body).unwrap();
        assert_eq!(again.model, decoded.model);
        count += 1;
    }
    eprintln!("{count} requests");
}

#[test]
fn answers_survive_being_written_again() {
    for record in good() {
        let (events, _) = decode(is_stream(&record), &DecoderContext::default(), [record.body.as_slice()]);
        let annotated = events.iter().any(|event| matches!(event, Event::Annotation { .. }));
        for stream in [true, false] {
            let written = write(stream, &events);
            let (again, end) = decode(stream, &DecoderContext::default(), [written.as_bytes()]);
            assert_eq!(end, Ok(()), "{}", record.id);
            assert_eq!(content_of_events(&again), content_of_events(&events), "{}", record.id);
            if !annotated {
                assert_eq!(content(&again), content(&events), "{}", record.id);
            }
        }
    }
}

/// The content in order, without the events that another form of answer has at other places.
fn content(events: &[Event]) -> Vec<Event> {
    let mut content: Vec<_> = joined(events)
        .into_iter()
        .filter(|event| {
            !matches!(
                event,
                Event::Usage(_) | Event::Field { .. } | Event::Finish { .. } | Event::Refusal { .. }
            )
        })
        .collect();
    content = joined(&content);
    for event in &mut content {
        if let Event::ToolCallArguments { fragment, .. } = event {
            *fragment = serde_json::from_str::<Value>(fragment).unwrap().to_string();
        }
    }
    content
}
