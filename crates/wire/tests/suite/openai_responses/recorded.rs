//! Recorded traffic: its content is decoded the same for every cut, and survives being written again.

use canon::{ErrorKind, Event, FinishReason, ReasoningDetail};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use testkit::corpus::{Record, assert_enough, cases};
use testkit::split::pieces;
use wire::{DecoderContext, Protocol};

use super::{adapter, decode, dialect, documents, write};

const PROVIDERS: [&str; 10] = [
    "openai-responses",
    "azure",
    "xai",
    "chatgpt-codex",
    "copilot",
    "bedrock-mantle",
    "deepseek",
    "openrouter",
    "lmstudio",
    "mistralrs",
];

fn exchanges(is_case: impl Fn(&Record) -> bool) -> Vec<Record> {
    cases(PROVIDERS, |record| record.api == "responses" && is_case(record))
}

/// Complete answers. Some others were recorded while the provider still worked in the background.
fn good() -> Vec<Record> {
    exchanges(|record| record.status == 200 && last_response(record).is_some())
}

fn is_stream(record: &Record) -> bool {
    !record.body.starts_with(b"{")
}

/// The response object at the end, and the items that came before it.
fn last_response(record: &Record) -> Option<Value> {
    let mut response: Value = if is_stream(record) {
        let text = String::from_utf8_lossy(&record.body);
        let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
        let events: Vec<Value> = data.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let is_end = |event: &Value| {
            matches!(event["type"].as_str(), Some("response.completed" | "response.incomplete"))
        };
        let end = events.iter().position(is_end)?;
        let mut response = events[end]["response"].clone();
        let done = events[..end].iter().filter(|event| event["type"] == "response.output_item.done");
        response["output"] = done.map(|event| event["item"].clone()).collect();
        response
    } else {
        serde_json::from_slice(&record.body).ok()?
    };
    matches!(response["status"].as_str(), Some("completed" | "incomplete")).then(|| response.take())
}

/// The content of an answer.
#[derive(Debug, Default, PartialEq)]
struct AnswerContent {
    text: String,
    refusal: String,
    thinking: String,
    encrypted: Vec<String>,
    calls: Vec<(String, String, String)>,
    input: u64,
    output: u64,
}

/// The content, read without the code under test.
fn content_of_record(record: &Record) -> AnswerContent {
    let response = last_response(record).unwrap();
    let mut said = AnswerContent::default();
    for item in response["output"].as_array().unwrap() {
        let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
        let joined = |name: &str| {
            let parts = item[name].as_array().into_iter().flatten();
            parts.filter_map(|part| part["text"].as_str()).collect::<Vec<_>>().join("\n\n")
        };
        match item["type"].as_str().unwrap() {
            "message" => {
                for part in item["content"].as_array().unwrap() {
                    said.text.push_str(part["text"].as_str().unwrap_or_default());
                    said.refusal.push_str(part["refusal"].as_str().unwrap_or_default());
                }
            }
            "reasoning" => {
                let summary = joined("summary");
                said.thinking.push_str(&if summary.is_empty() { joined("content") } else { summary });
                said.encrypted.extend(item["encrypted_content"].as_str().map(str::to_owned));
            }
            "function_call" => said.calls.push((text("call_id"), text("name"), text("arguments"))),
            "custom_tool_call" => said.calls.push((text("call_id"), text("name"), text("input"))),
            _ => {}
        }
    }
    said.input = response["usage"]["input_tokens"].as_u64().unwrap_or(0);
    said.output = response["usage"]["output_tokens"].as_u64().unwrap_or(0);
    said
}

fn content_of_events(events: &[Event]) -> AnswerContent {
    let mut said = AnswerContent::default();
    for event in events {
        match event {
            Event::Text { text, .. } => said.text.push_str(text),
            Event::Refusal { text, .. } => said.refusal.push_str(text),
            Event::Reasoning { detail, .. } => match detail {
                ReasoningDetail::Text(text) => said.thinking.push_str(text),
                ReasoningDetail::Encrypted(data) => said.encrypted.push(data.clone()),
                ReasoningDetail::Signature(_) => panic!("this format has no signatures"),
            },
            Event::ToolCallStart { id, name, index, .. } => {
                assert_eq!(*index as usize, said.calls.len());
                said.calls.push((id.clone(), name.clone(), String::new()));
            }
            Event::ToolCallArguments { index, fragment, .. } => {
                said.calls[*index as usize].2.push_str(fragment)
            }
            Event::Usage(usage) => {
                (said.input, said.output) = (usage.prompt_tokens(), usage.completion_tokens());
            }
            _ => {}
        }
    }
    said
}

/// Models call a function that was not declared, and put the calls into its arguments.
fn is_wrapped(said: &AnswerContent) -> bool {
    said.calls.iter().any(|(_, name, _)| name == "parallel")
}

#[test]
fn recorded_answers_are_decoded_as_an_independent_reader_reads_them() {
    let mut count = 0;
    for record in good() {
        let (events, end) = decode(is_stream(&record), &DecoderContext::default(), [record.body.as_slice()]);
        assert_eq!(end, Ok(()), "{}", record.id);
        let (expected, said) = (content_of_record(&record), content_of_events(&events));
        if is_wrapped(&expected) {
            assert!(said.calls.len() > expected.calls.len(), "{}: {said:?}", record.id)
        } else {
            assert_eq!(said, expected, "{}", record.id)
        }
        assert!(matches!(events[0], Event::Start { .. }), "{}", record.id);
        let reasons: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Finish { reason, .. } => Some(*reason),
                _ => None,
            })
            .collect();
        let status = last_response(&record).unwrap();
        let expected = match status["incomplete_details"]["reason"].as_str() {
            Some("content_filter") => FinishReason::ContentFilter,
            Some(_) => FinishReason::Length,
            None if said.calls.is_empty() => FinishReason::Stop,
            None => FinishReason::ToolCalls,
        };
        assert_eq!(reasons, [expected], "{}", record.id);
        count += 1;
    }
    assert_enough(count, 400);
}

#[test]
fn every_split_gives_the_same_events() {
    for (number, record) in good().into_iter().enumerate() {
        let streaming = is_stream(&record);
        let whole = decode(streaming, &DecoderContext::default(), [record.body.as_slice()]);
        let cut = decode(streaming, &DecoderContext::default(), pieces(&record.body, 60, number as u64 + 1));
        assert_eq!(cut, whole, "{}", record.id);
        if streaming && record.body.len() < 20_000 {
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
fn cut_streams_are_errors() {
    for record in
        exchanges(|record| record.status == 200 && is_stream(record) && last_response(record).is_some())
    {
        let text = String::from_utf8_lossy(&record.body);
        let Some(end) = text.find("response.completed").or_else(|| text.find("response.incomplete")) else {
            continue;
        };
        for cut in [end / 4, end / 2, end - 30.min(end)] {
            let (_, result) = decode(true, &DecoderContext::default(), [&record.body[..cut]]);
            assert_eq!(result.map_err(|error| error.kind), Err(ErrorKind::Upstream), "{}", record.id);
        }
    }
}

#[test]
fn errors_are_understood() {
    for record in exchanges(|record| record.status >= 400) {
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter().decode_error(status, &HeaderMap::new(), &record.body);
        let expected = match record.status {
            _ if error.message.contains("API key") => ErrorKind::UpstreamCredential,
            401 => ErrorKind::UpstreamCredential,
            _ if error.message.contains("does not exist") => ErrorKind::ModelNotFound,
            _ => ErrorKind::InvalidRequest,
        };
        assert_eq!(error.kind, expected, "{}: {error:?}", record.id);
        let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
        if let Some(message) = body["error"]["message"].as_str() {
            assert_eq!(error.message, wire::protocols::errors::without_secrets(message), "{}", record.id);
        }
    }
}

#[test]
fn answers_survive_being_written_again() {
    for record in good() {
        let (events, _) = decode(is_stream(&record), &DecoderContext::default(), [record.body.as_slice()]);
        let said = content_of_events(&events);
        for stream in [true, false] {
            let written = write(stream, &events);
            let (again, end) = decode(stream, &DecoderContext::default(), [written.as_bytes()]);
            assert_eq!(end, Ok(()), "{}", record.id);
            assert_eq!(content_of_events(&again), said, "{}", record.id);
        }
        // The last event of the stream is the whole answer.
        let streamed = documents(&write(true, &events)).pop().unwrap();
        let whole: Value = serde_json::from_str(&write(false, &events)).unwrap();
        assert_eq!(streamed["response"], whole, "{}", record.id);
    }
}

/// Fields that refer to data that only the provider stores.
const NOT_HERE: [&str; 4] = ["previous_response_id", "conversation", "prompt", "background"];

#[test]
fn recorded_requests_are_understood_and_can_be_sent_again() {
    let mut count = 0;
    for record in exchanges(|record| record.status == 200) {
        let Some(request) = record.request.as_ref().filter(|request| request["input"] != Value::Null) else {
            continue;
        };
        let read = dialect().decode_request(request.to_string().as_bytes());
        let stored = NOT_HERE.iter().any(|name| request.get(*name).is_some_and(|value| !value.is_null()))
            || request.to_string().contains("\"item_reference\"");
        let Ok(read) = read else {
            assert!(stored, "{}: {read:?}", record.id);
            continue;
        };
        let encoded = super::encode(&read).unwrap_or_else(|error| panic!("{}: {error:?}", record.id));
        let again = dialect().decode_request(&encoded.body).unwrap();
        assert_eq!(again.messages.len(), read.messages.len(), "{}", record.id);
        assert_eq!(again.tools.len(), read.tools.len(), "{}", record.id);
        count += 1;
    }
    assert_enough(count, 350);
}

/// Requests of coding agents: our own, and the recorded ones, with the tools that a recording refers to
/// filled in.
fn agents() -> Vec<(String, Value)> {
    let own = cases(["agents"], |record| record.api == "responses");
    let own = own.into_iter().filter_map(|record| Some((record.id, record.request?)));
    own.chain(recorded_agents()).collect()
}

fn recorded_agents() -> Vec<(String, Value)> {
    let Some(folder) = testkit::corpus::folder() else { return Vec::new() };
    let folder = folder.with_file_name("corpus-agents");
    let load =
        |path: &std::path::Path| -> Option<Value> { serde_json::from_slice(&std::fs::read(path).ok()?).ok() };
    let mut found = Vec::new();
    for agent in ["codex", "opencode-responses"] {
        let mut paths: Vec<_> = walk(&folder.join(agent));
        paths.sort();
        for path in paths {
            let Some(record) = load(&path).filter(|record| record["request"]["method"] == "POST") else {
                continue;
            };
            let mut body = record["request"]["body"].clone();
            if body["input"].is_null() {
                continue;
            }
            for place in ["/tools", "/input/0/tools"] {
                let elsewhere = body.pointer(place).and_then(Value::as_str).map(str::to_owned);
                if let Some(file) = elsewhere.as_deref().and_then(|text| text.split(" in ").nth(1)) {
                    let name = file.trim_end_matches(')').split(' ').next().unwrap();
                    let other = load(&folder.join(name)).unwrap();
                    let tools = other["request"]["body"]
                        .pointer(place)
                        .or(other["request"]["body"].pointer("/tools"));
                    *body.pointer_mut(place).unwrap() = tools.cloned().unwrap_or_else(|| json!([]));
                }
            }
            found.push((path.display().to_string(), body));
        }
    }
    found
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.flatten().map(|entry| entry.path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

/// Every request of Codex and OpenCode reaches every format, with its tools.
#[test]
fn requests_of_agents_reach_every_format() {
    let mut count = 0;
    for (name, body) in agents() {
        let text = body.to_string();
        let read = match dialect().decode_request(text.as_bytes()) {
            Ok(read) => read,
            Err(_) if text.contains("\"compaction_trigger\"") => continue,
            Err(error) => panic!("{name}: {error:?}"),
        };
        for protocol in Protocol::ALL {
            let (facts, quirks) = Default::default();
            let target = canon::Target { model: "m", facts: &facts, quirks: &quirks };
            let encoded = wire::adapter(protocol).encode_request(&read, target);
            let encoded = encoded.unwrap_or_else(|error| panic!("{name}, {protocol:?}: {error:?}"));
            let written = String::from_utf8(encoded.body.to_vec()).unwrap();
            for tool in &read.tools {
                let is_function = !matches!(tool.kind, canon::ToolKind::Native(_));
                assert!(!is_function || written.contains(&tool.name), "{name}, {protocol:?}: {}", tool.name);
            }
        }
        count += 1;
    }
    assert_enough(count, 30);
}
