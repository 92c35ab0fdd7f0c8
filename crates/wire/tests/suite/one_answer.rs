//! The same answer in every dialect, whole and streamed: the same text, thinking, calls, end, price and usage
//! record. Each recorded good answer is translated for each kind of caller, and read back by the adapter of
//! the caller's own format.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Cost, Event, FinishReason, Pico, Progress, Quirks, Usage};
use serde_json::{Value, json};
use testkit::corpus::{Record, assert_enough, listed, records};
use wire::exchange::translator;
use wire::{AnswerForm, DecoderContext, Protocol, TranscoderParts, adapter, dialect};

use super::caller_answer::CallerAnswer;

const CALLERS: [Protocol; 4] =
    [Protocol::OpenaiChat, Protocol::AnthropicMessages, Protocol::Gemini, Protocol::OpenaiResponses];

/// A gateway with a new id for each call and a different price for each kind of token.
#[derive(Default)]
struct Gateway {
    calls: AtomicU32,
}

/// In 10⁻¹² USD. The prices are primes, so that no two mistakes cancel each other out.
fn price(usage: &Usage) -> Cost {
    let sum = |terms: &[(u64, i64)]| Pico(terms.iter().map(|(count, rate)| (*count as i64) * rate).sum());
    let cached_input = sum(&[(usage.cache_read, 100_003)]);
    let input = sum(&[
        (usage.input, 1_000_003),
        (usage.cache_read, 100_003),
        (usage.cache_write, 1_250_009),
        (usage.cache_write_1h, 2_000_003),
        (usage.audio_input, 10_000_019),
    ]);
    let output =
        sum(&[(usage.output, 5_000_011), (usage.audio_output, 20_000_003), (usage.image_output, 30_000_001)]);
    let other = sum(&[(usage.web_searches, 10_000_000_019)]);
    Cost { total: Pico(input.0 + output.0 + other.0), input, output, cached_input, other }
}

impl Annotator for Gateway {
    fn answer_id(&self) -> &str {
        "chatcmpl-ours"
    }
    fn created(&self) -> i64 {
        1_700_000_000
    }
    fn model(&self) -> &str {
        "ours"
    }
    fn cost(&self, usage: &Usage, _tier: Option<&str>) -> Option<Cost> {
        Some(price(usage))
    }
    fn metadata_name(&self) -> Option<&'static str> {
        Some("llmgateway")
    }
    /// The price at the moment when the encoder writes the gateway's object.
    fn write_metadata(&self, facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        let total = facts.usage.map(|usage| price(usage).total.to_string());
        out.extend_from_slice(json!({"price": total}).to_string().as_bytes());
    }
    fn tool_call_id(&self) -> String {
        format!("call_ours{}", self.calls.fetch_add(1, Ordering::Relaxed))
    }
}

/// An answer as its caller gets it, and the figures that the gateway records of it.
struct CallerView {
    bytes: Vec<u8>,
    books: Progress,
}

fn translate(caller: Protocol, stream: bool, upstream: Protocol, record: &Record) -> Option<CallerView> {
    let form = AnswerForm { stream, include_usage: true, ..AnswerForm::default() };
    let mut transcoder = translator(TranscoderParts {
        caller: dialect(caller).unwrap(),
        upstream,
        upstream_streams: record.streaming,
        form,
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: Arc::new(Gateway::default()),
        filter: None,
    });
    let mut bytes = Vec::new();
    transcoder.push(&Bytes::copy_from_slice(&record.body), &mut bytes).ok()?;
    transcoder.finish(&mut bytes).ok()?;
    Some(CallerView { bytes, books: transcoder.progress().clone() })
}

/// The content of an answer that every dialect can express.
#[derive(Debug, PartialEq)]
struct AnswerContent {
    text: String,
    thinking: String,
    /// Id, name, arguments.
    calls: Vec<(String, String, Value)>,
    finish: Option<FinishReason>,
    price: Option<String>,
}

fn content(caller: Protocol, usage: Option<Usage>, heard: &CallerAnswer) -> AnswerContent {
    let arguments =
        |text: &str| serde_json::from_str(if text.is_empty() { "{}" } else { text }).unwrap_or(json!(text));
    let call =
        |call: &super::caller_answer::Call| (call.id.clone(), call.name.clone(), arguments(&call.arguments));
    AnswerContent {
        text: heard.text.clone(),
        thinking: heard.reasoning(),
        calls: heard.calls.iter().map(call).collect(),
        finish: heard.finish.as_ref().map(|(reason, _)| *reason),
        price: usage.map(|usage| price(&expressible_usage(caller, usage)).total.to_string()),
    }
}

/// The counts that a dialect has names for. The price in the gateway's object includes all counts in every
/// dialect.
fn expressible_usage(caller: Protocol, usage: Usage) -> Usage {
    let mut usage = Usage { web_searches: 0, reasoning: 0, ..usage };
    let fold = |from: &mut u64, to: &mut u64| *to += std::mem::take(from);
    match caller {
        Protocol::AnthropicMessages => {
            fold(&mut usage.audio_input, &mut usage.input);
            fold(&mut usage.audio_output, &mut usage.output);
            fold(&mut usage.image_output, &mut usage.output);
        }
        _ => {
            fold(&mut usage.cache_write_1h, &mut usage.cache_write);
            if caller == Protocol::Gemini {
                fold(&mut usage.cache_write, &mut usage.input);
            }
            if caller == Protocol::OpenaiResponses {
                fold(&mut usage.cache_write, &mut usage.input);
                fold(&mut usage.audio_input, &mut usage.input);
                fold(&mut usage.audio_output, &mut usage.output);
                fold(&mut usage.image_output, &mut usage.output);
            }
        }
    }
    usage
}

/// Whether the calls are the same. Cut-off arguments are not JSON; formats whose arguments are objects hold
/// them as one text.
fn same_calls(is: &[(String, String, Value)], wanted: &[(String, String, Value)]) -> bool {
    let same_arguments = |is: &Value, wanted: &Value| {
        let only = is.as_object().filter(|is| is.len() == 1).and_then(|is| is.values().next());
        is == wanted || wanted.is_string() && only == Some(wanted)
    };
    is.len() == wanted.len()
        && is
            .iter()
            .zip(wanted)
            .all(|(is, wanted)| (&is.0, &is.1) == (&wanted.0, &wanted.1) && same_arguments(&is.2, &wanted.2))
}

fn read_back(caller: Protocol, stream: bool, bytes: &[u8]) -> Result<CallerAnswer, String> {
    let mut decoder = adapter(caller).decoder(stream, &DecoderContext::default());
    let mut events: Vec<Event> = Vec::new();
    let read = decoder.push(bytes, &mut events).and_then(|()| decoder.finish(&mut events));
    read.map_err(|error| error.message.into_owned())?;
    Ok(CallerAnswer::of(events))
}

/// The price in the gateway's object: of a stream, in the last event that has one.
fn stated_price(stream: bool, bytes: &[u8]) -> Option<Value> {
    let text = String::from_utf8_lossy(bytes);
    let place = |document: Value| {
        ["/llmgateway/price", "/response/llmgateway/price"]
            .iter()
            .find_map(|at| document.pointer(at).cloned())
    };
    if stream {
        text.lines()
            .rev()
            .filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?).ok())
            .find_map(place)
    } else {
        place(serde_json::from_str(&text).ok()?)
    }
}

/// The differences by dialect and form. None for an answer that cannot be translated, or that has several
/// choices.
fn differences(upstream: Protocol, record: &Record) -> Option<Vec<(String, String)>> {
    let mut decoder = adapter(upstream).decoder(record.streaming, &DecoderContext::default());
    let mut events = Vec::new();
    decoder.push(&record.body, &mut events).ok()?;
    decoder.finish(&mut events).ok()?;
    let is_special = |event: &Event| match event {
        Event::Text { choice, .. } | Event::Finish { choice, .. } => *choice > 0,
        Event::ToolCallStart { custom, choice, .. } => *custom || *choice > 0,
        _ => false,
    };
    if events.iter().any(is_special) {
        return None;
    }
    let original = CallerAnswer::of(events);
    let usage = original.usage.filter(Usage::is_plausible);
    let reference = translate(Protocol::OpenaiChat, false, upstream, record)?;
    let ids = read_back(Protocol::OpenaiChat, false, &reference.bytes).ok()?.calls;
    let total = usage.map(|usage| price(&usage).total.to_string());
    let mut found = Vec::new();
    for (caller, stream) in CALLERS.iter().flat_map(|caller| [(*caller, false), (*caller, true)]) {
        let mut note = |what: &str, is_same: bool, is: &dyn Debug, wanted: &dyn Debug| {
            if !is_same {
                let (is, wanted) = (format!("{is:?}"), format!("{wanted:?}"));
                let place = format!("{} {} {what}", caller.as_str(), if stream { "stream" } else { "whole" });
                found.push((place, format!("is {is:.300}, not {wanted:.300}")));
            }
        };
        let Some(told) = translate(caller, stream, upstream, record) else {
            note("answer", false, &"none", &"one");
            continue;
        };
        note("books", told.books == reference.books, &told.books, &reference.books);
        match read_back(caller, stream, &told.bytes) {
            Ok(heard) => {
                let mut wanted = content(caller, usage, &original);
                // The gateway makes ids where the provider gives none.
                for (call, known) in wanted.calls.iter_mut().zip(&ids) {
                    call.0.clone_from(&known.id);
                }
                let is = content(caller, heard.usage.map(|usage| expressible_usage(caller, usage)), &heard);
                wanted.finish = wanted.finish.or(Some(FinishReason::Stop));
                // Messages has no pictures in answers: they become text.
                if caller != Protocol::AnthropicMessages || original.images.is_empty() {
                    note("text", is.text == wanted.text, &is.text, &wanted.text);
                }
                note("thinking", is.thinking == wanted.thinking, &is.thinking, &wanted.thinking);
                note("calls", same_calls(&is.calls, &wanted.calls), &is.calls, &wanted.calls);
                note("finish", is.finish == wanted.finish, &is.finish, &wanted.finish);
                note("usage", usage.is_none() || is.price == wanted.price, &is.price, &wanted.price);
            }
            Err(error) => note("answer", false, &error, &""),
        }
        if let Some(total) = &total {
            let found = stated_price(stream, &told.bytes);
            note("told price", found.as_ref().is_some_and(|found| found == total), &found, total);
        }
    }
    Some(found)
}

fn format_of(record: &Record) -> Option<Protocol> {
    Some(match (record.api.as_str(), record.provider.as_str()) {
        ("chat", _) => Protocol::OpenaiChat,
        ("messages", "anthropic") => Protocol::AnthropicMessages,
        ("responses", _) => Protocol::OpenaiResponses,
        ("generateContent" | "streamGenerateContent", _) => Protocol::Gemini,
        ("converse" | "converse-stream", _) => Protocol::BedrockConverse,
        ("chat-native", "cohere") => Protocol::CohereChat,
        ("chat-native", "ollama") => Protocol::OllamaChat,
        _ => return None,
    })
}

#[test]
fn every_recorded_answer_is_the_same_to_every_caller() {
    let mut by_place: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut compared = 0;
    for (provider, _) in listed() {
        for record in records(provider).into_iter().filter(|record| record.status == 200) {
            let Some(upstream) = format_of(&record) else { continue };
            let Some(found) = differences(upstream, &record) else { continue };
            compared += 1;
            for (place, difference) in found {
                by_place.entry(place).or_default().push(format!("{}: {difference}", record.id));
            }
        }
    }
    eprintln!("{compared} recorded answers were told to every kind of caller");
    let told: String = by_place
        .iter()
        .map(|(place, all)| {
            format!("{place}: {}\n    {}\n", all.len(), all[..all.len().min(4)].join("\n    "))
        })
        .collect();
    assert!(by_place.is_empty(), "{told}");
    assert_enough(compared, 2_000);
}

/// A stream of chat with everything that it can hold at once, for machines without recordings.
#[test]
fn a_full_answer_is_the_same_to_every_caller() {
    let chunk = |delta: Value| {
        json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
    };
    let call = |index: u64, id: Option<&str>, function: Value| json!({"tool_calls": [{"index": index, "id": id, "type": "function", "function": function}]});
    let end = json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m",
        "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]});
    let counts = json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": [],
        "usage": {"prompt_tokens": 90, "completion_tokens": 40, "total_tokens": 130,
            "prompt_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 20, "audio_tokens": 5},
            "completion_tokens_details": {"reasoning_tokens": 45, "image_tokens": 4}}});
    let documents = [
        chunk(json!({"role": "assistant", "reasoning_content": "Let me "})),
        chunk(json!({"reasoning_content": "think."})),
        chunk(json!({"content": "I look, \u{1f600} "})),
        chunk(json!({"content": "\"up\"."})),
        chunk(call(0, Some("call_1"), json!({"name": "look_up", "arguments": ""}))),
        chunk(call(0, None, json!({"arguments": "{\"word\":"}))),
        chunk(call(0, None, json!({"arguments": "\"a\"}"}))),
        chunk(call(1, Some("call_1"), json!({"name": "list", "arguments": "{}"}))),
        end,
        counts,
    ];
    let mut body: String = documents.iter().map(|document| format!("data: {document}\n\n")).collect();
    body += "data: [DONE]\n\n";
    let record = Record {
        id: "own".to_owned(),
        provider: "openai".to_owned(),
        api: "chat".to_owned(),
        model: "m".to_owned(),
        streaming: true,
        status: 200,
        headers: Vec::new(),
        body: body.into_bytes(),
        request: None,
        features: Vec::new(),
    };
    let found = differences(Protocol::OpenaiChat, &record);
    assert_eq!(found, Some(Vec::new()));
}
