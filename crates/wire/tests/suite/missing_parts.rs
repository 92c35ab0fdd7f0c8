//! Streams with one part missing: an event that the provider left out, or a member of one. In every case the
//! caller gets a stream that coding agents can use (complete by the rules that agents were observed to need),
//! or an error in its format.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use canon::Quirks;
use serde_json::{Value, json};
use wire::exchange::transcoder;
use wire::framing::aws_eventstream::encode_event;
use wire::{AnswerForm, DecoderContext, Protocol, TranscoderParts, dialect};

use super::caller_answer::{CallerAnswer, read_answer};
use super::checks::notes;

const CALLERS: [Protocol; 4] =
    [Protocol::OpenaiChat, Protocol::AnthropicMessages, Protocol::OpenaiResponses, Protocol::Gemini];

/// A provider's stream: thinking, a text in two pieces, a call in two pieces, the end, the counts.
struct Stream {
    upstream: Protocol,
    events: Vec<Value>,
}

impl Stream {
    fn bytes(&self, events: &[Value]) -> Vec<u8> {
        let mut body = Vec::new();
        for event in events {
            match self.upstream {
                Protocol::BedrockConverse => {
                    // The type of a frame is not a member of its payload.
                    let Some((kind, payload)) = event.as_object().and_then(|event| event.iter().next())
                    else {
                        continue;
                    };
                    encode_event(kind, payload.to_string().as_bytes(), &mut body);
                }
                Protocol::OllamaChat => body.extend_from_slice(format!("{event}\n").as_bytes()),
                _ => body.extend_from_slice(format!("data: {}\n\n", plain(event)).as_bytes()),
            }
        }
        body
    }
}

/// The text of an event that is not JSON.
pub(super) fn plain(event: &Value) -> String {
    event.as_str().map_or_else(|| event.to_string(), str::to_owned)
}

fn streams() -> Vec<Stream> {
    let stream = |upstream, events| Stream { upstream, events };
    vec![
        stream(Protocol::OpenaiChat, chat()),
        stream(Protocol::AnthropicMessages, messages()),
        stream(Protocol::OpenaiResponses, responses()),
        stream(Protocol::Gemini, gemini()),
        stream(Protocol::BedrockConverse, bedrock()),
        stream(Protocol::CohereChat, cohere()),
        stream(Protocol::OllamaChat, ollama()),
    ]
}

pub(super) fn chat() -> Vec<Value> {
    let chunk = |choices: Value| json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "m", "choices": choices});
    let delta = |delta: Value| chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]));
    let call = |call: Value| delta(json!({"tool_calls": [call]}));
    let mut counts = chunk(json!([]));
    counts["usage"] = json!({"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13});
    vec![
        delta(json!({"role": "assistant", "reasoning_content": "Hmm."})),
        delta(json!({"content": "I lo"})),
        delta(json!({"content": "ok."})),
        call(
            json!({"index": 0, "id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}),
        ),
        call(json!({"index": 0, "function": {"arguments": "{\"at\":"}})),
        call(json!({"index": 0, "function": {"arguments": "1}"}})),
        chunk(json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])),
        counts,
        json!("[DONE]"),
    ]
}

pub(super) fn messages() -> Vec<Value> {
    let begin = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
    let delta =
        |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
    let stop = |index: u64| json!({"type": "content_block_stop", "index": index});
    vec![
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "content": [],
            "model": "m", "stop_reason": null, "stop_sequence": null,
            "usage": {"input_tokens": 9, "output_tokens": 1}}}),
        begin(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
        delta(0, json!({"type": "thinking_delta", "thinking": "Hmm."})),
        delta(0, json!({"type": "signature_delta", "signature": "sig"})),
        stop(0),
        begin(1, json!({"type": "text", "text": ""})),
        delta(1, json!({"type": "text_delta", "text": "I lo"})),
        delta(1, json!({"type": "text_delta", "text": "ok."})),
        stop(1),
        begin(2, json!({"type": "tool_use", "id": "call_1", "name": "look", "input": {}})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "{\"at\":"})),
        delta(2, json!({"type": "input_json_delta", "partial_json": "1}"})),
        stop(2),
        json!({"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": null},
            "usage": {"output_tokens": 4}}),
        json!({"type": "message_stop"}),
    ]
}

pub(super) fn responses() -> Vec<Value> {
    let event = |kind: &str, mut members: Value| {
        members["type"] = json!(format!("response.{kind}"));
        members
    };
    let response = |status: &str, output: &[Value], usage: Value| {
        json!({"id": "resp_1", "object": "response", "created_at": 7, "status": status, "model": "m",
            "output": output, "usage": usage})
    };
    let thought = json!({"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hmm."}],
        "encrypted_content": "gAAA"});
    let part = json!({"type": "output_text", "text": "I look.", "annotations": []});
    let message = json!({"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]});
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "look",
        "arguments": "{\"at\":1}", "status": "completed"});
    let begun = |item: &Value, name: &str, empty: Value| {
        let mut begun = item.clone();
        begun[name] = empty;
        begun
    };
    let at = |index: u64, id: &str, more: Value| {
        let mut members = json!({"output_index": index, "item_id": id});
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let item = |index: u64, item: &Value| json!({"output_index": index, "item": item});
    let text = |more: Value| {
        let mut members = at(1, "msg_1", json!({"content_index": 0}));
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let all = [thought.clone(), message.clone(), call.clone()];
    let counts = json!({"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1}, "total_tokens": 13});
    let events = [
        event("created", json!({"response": response("in_progress", &[], Value::Null)})),
        event("output_item.added", item(0, &begun(&thought, "summary", json!([])))),
        event(
            "reasoning_summary_part.added",
            at(0, "rs_1", json!({"summary_index": 0, "part": {"type": "summary_text", "text": ""}})),
        ),
        event("reasoning_summary_text.delta", at(0, "rs_1", json!({"summary_index": 0, "delta": "Hmm."}))),
        event("reasoning_summary_text.done", at(0, "rs_1", json!({"summary_index": 0, "text": "Hmm."}))),
        event(
            "reasoning_summary_part.done",
            at(0, "rs_1", json!({"summary_index": 0, "part": thought["summary"][0]})),
        ),
        event("output_item.done", item(0, &thought)),
        event("output_item.added", item(1, &begun(&message, "content", json!([])))),
        event(
            "content_part.added",
            text(json!({"part": {"type": "output_text", "text": "", "annotations": []}})),
        ),
        event("output_text.delta", text(json!({"delta": "I lo"}))),
        event("output_text.delta", text(json!({"delta": "ok."}))),
        event("output_text.done", text(json!({"text": "I look."}))),
        event("content_part.done", text(json!({"part": part}))),
        event("output_item.done", item(1, &message)),
        event("output_item.added", item(2, &begun(&call, "arguments", json!("")))),
        event("function_call_arguments.delta", at(2, "fc_1", json!({"delta": "{\"at\":"}))),
        event("function_call_arguments.delta", at(2, "fc_1", json!({"delta": "1}"}))),
        event("function_call_arguments.done", at(2, "fc_1", json!({"arguments": "{\"at\":1}"}))),
        event("output_item.done", item(2, &call)),
        event("completed", json!({"response": response("completed", &all, counts)})),
    ];
    let number = |(number, mut event): (usize, Value)| {
        event["sequence_number"] = json!(number);
        event
    };
    events.into_iter().enumerate().map(number).collect()
}

fn gemini() -> Vec<Value> {
    let piece = |parts: Value| {
        json!({"candidates": [{"content": {"role": "model", "parts": parts}, "index": 0}],
        "modelVersion": "m", "responseId": "r"})
    };
    let mut last = piece(
        json!([{"functionCall": {"id": "call_1", "name": "look", "args": {"at": 1}}, "thoughtSignature": "c2ln"}]),
    );
    last["candidates"][0]["finishReason"] = json!("STOP");
    last["usageMetadata"] = json!({"promptTokenCount": 9, "candidatesTokenCount": 4, "totalTokenCount": 13});
    vec![
        piece(json!([{"text": "Hmm.", "thought": true}])),
        piece(json!([{"text": "I lo"}])),
        piece(json!([{"text": "ok."}])),
        last,
    ]
}

fn bedrock() -> Vec<Value> {
    let delta =
        |index: u64, delta: Value| json!({"contentBlockDelta": {"contentBlockIndex": index, "delta": delta}});
    let stop = |index: u64| json!({"contentBlockStop": {"contentBlockIndex": index}});
    vec![
        json!({"messageStart": {"role": "assistant"}}),
        delta(0, json!({"reasoningContent": {"text": "Hmm."}})),
        delta(0, json!({"reasoningContent": {"signature": "sig"}})),
        stop(0),
        delta(1, json!({"text": "I lo"})),
        delta(1, json!({"text": "ok."})),
        stop(1),
        json!({"contentBlockStart": {"contentBlockIndex": 2, "start": {"toolUse": {"toolUseId": "call_1", "name": "look"}}}}),
        delta(2, json!({"toolUse": {"input": "{\"at\":"}})),
        delta(2, json!({"toolUse": {"input": "1}"}})),
        stop(2),
        json!({"messageStop": {"stopReason": "tool_use"}}),
        json!({"metadata": {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {"latencyMs": 7}}}),
    ]
}

fn cohere() -> Vec<Value> {
    let content = |kind: &str, index: u64, content: Value| {
        let kind = format!("content-{kind}");
        json!({"type": kind, "index": index, "delta": {"message": {"content": content}}})
    };
    let call = |kind: &str, call: Value| {
        let kind = format!("tool-call-{kind}");
        json!({"type": kind, "index": 2, "delta": {"message": {"tool_calls": call}}})
    };
    vec![
        json!({"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant", "content": [],
            "tool_plan": "", "tool_calls": [], "citations": []}}}),
        content("start", 0, json!({"type": "thinking", "thinking": ""})),
        content("delta", 0, json!({"thinking": "Hmm."})),
        json!({"type": "content-end", "index": 0}),
        content("start", 1, json!({"type": "text", "text": ""})),
        content("delta", 1, json!({"text": "I lo"})),
        content("delta", 1, json!({"text": "ok."})),
        json!({"type": "content-end", "index": 1}),
        call(
            "start",
            json!({"id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}),
        ),
        call("delta", json!({"function": {"arguments": "{\"at\":"}})),
        call("delta", json!({"function": {"arguments": "1}"}})),
        json!({"type": "tool-call-end", "index": 2}),
        json!({"type": "message-end", "delta": {"finish_reason": "TOOL_CALL",
            "usage": {"tokens": {"input_tokens": 9, "output_tokens": 4}}}}),
    ]
}

fn ollama() -> Vec<Value> {
    let line = |message: Value| json!({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": false});
    vec![
        line(json!({"role": "assistant", "thinking": "Hmm."})),
        line(json!({"role": "assistant", "content": "I lo"})),
        line(json!({"role": "assistant", "content": "ok."})),
        line(json!({"role": "assistant", "content": "",
            "tool_calls": [{"function": {"name": "look", "arguments": {"at": 1}}}]})),
        json!({"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": ""},
            "done": true, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 4}),
    ]
}

/// The stream with one part missing, with a description of the part.
fn damaged(events: &[Value]) -> Vec<(String, Vec<Value>)> {
    let mut found = Vec::new();
    for (place, event) in events.iter().enumerate() {
        let mut rest = events.to_vec();
        rest.remove(place);
        found.push((format!("event {place}"), rest));
        let mut paths = Vec::new();
        members(event, String::new(), &mut paths);
        // Without `thought`, a thought would be valid text.
        for path in paths.iter().filter(|path| !path.ends_with("/thought")) {
            let mut changed = events.to_vec();
            let (parent, name) = path.rsplit_once('/').unwrap();
            let parent = changed[place].pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().remove(name);
            found.push((format!("event {place} without {path}"), changed));
        }
    }
    found
}

/// The pointers of all members of an object.
fn members(value: &Value, path: String, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let path = format!("{path}/{name}");
                found.push(path.clone());
                members(value, path, found);
            }
        }
        Value::Array(list) => {
            for (place, value) in list.iter().enumerate() {
                members(value, format!("{path}/{place}"), found);
            }
        }
        _ => {}
    }
}

/// The answer that the caller gets, and whether it is marked as complete.
fn translated(caller: Protocol, upstream: Protocol, body: Vec<u8>) -> (Vec<u8>, bool) {
    let mut transcoder = transcoder(TranscoderParts {
        caller: dialect(caller).unwrap(),
        upstream,
        upstream_streams: true,
        form: AnswerForm { stream: true, include_usage: true, ..AnswerForm::default() },
        decoding: &DecoderContext::default(),
        quirks: &Quirks::default(),
        annotator: Arc::new(notes()),
        filter: None,
    });
    let mut out = Vec::new();
    let result = transcoder.push(&Bytes::from(body), &mut out).and_then(|()| transcoder.finish(&mut out));
    if let Err(error) = &result {
        transcoder.fail(error, &mut out);
    }
    (out, result.is_ok())
}

// ---------------------------------------------------------------------------------------------- what agents need

type Checked = Result<(), String>;

fn ensure(is_so: bool, what: impl Into<String>) -> Checked {
    if is_so { Ok(()) } else { Err(what.into()) }
}

pub(super) fn documents(body: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let lines = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let read = |data: &str| match data {
        "[DONE]" => Ok(json!(data)),
        data => serde_json::from_str(data).map_err(|error| format!("{data}: {error}")),
    };
    lines.map(read).collect()
}

/// Checks that a stream keeps to its format, as far as agents were observed to need it.
fn check(caller: Protocol, body: &[u8], is_complete: bool) -> Checked {
    let events = documents(body)?;
    match caller {
        Protocol::OpenaiChat => check_chat(&events, is_complete),
        Protocol::AnthropicMessages => check_messages(&events, is_complete),
        Protocol::OpenaiResponses => check_responses(&events, is_complete),
        _ => check_gemini(&events, is_complete),
    }
}

fn check_chat(events: &[Value], is_complete: bool) -> Checked {
    let last = events.last().ok_or("nothing")?;
    if !is_complete {
        return ensure(events.iter().any(|event| event["error"]["message"].is_string()), "no error");
    }
    ensure(last == "[DONE]", "no [DONE]")?;
    let chunks = &events[..events.len() - 1];
    for chunk in chunks {
        let is_named = chunk["id"].is_string() && chunk["model"].is_string() && chunk["created"].is_i64();
        ensure(is_named && chunk["object"] == "chat.completion.chunk", format!("unnamed: {chunk}"))?;
    }
    let finished = |chunk: &&Value| chunk["choices"][0]["finish_reason"].is_string();
    ensure(chunks.iter().filter(finished).count() == 1, "not one finish reason")?;
    let counts = chunks.iter().filter(|chunk| chunk["choices"] == json!([])).count();
    ensure(counts == 1, "not one chunk of usage")
}

fn check_messages(events: &[Value], is_complete: bool) -> Checked {
    let last = events.last().ok_or("nothing")?;
    if !is_complete {
        let is_error = last["type"] == "error" && last["error"]["message"].is_string();
        return ensure(is_error, format!("no error at the end: {last}"));
    }
    let message = &events[0]["message"];
    ensure(events[0]["type"] == "message_start", "no message_start")?;
    let is_counted = |usage: &Value| usage["output_tokens"].is_u64();
    let is_named = message["id"].is_string() && message["model"].is_string();
    let is_message =
        message["type"] == "message" && message["role"] == "assistant" && message["content"] == json!([]);
    ensure(is_named && is_message, format!("beginning: {message}"))?;
    ensure(
        is_counted(&message["usage"]) && message["usage"]["input_tokens"].is_u64(),
        "no counts at the start",
    )?;
    let (mut open, mut delta) = (BTreeMap::new(), None);
    for event in &events[1..] {
        let index = event["index"].as_u64();
        match event["type"].as_str().ok_or("no type")? {
            "content_block_start" => {
                let block = &event["content_block"];
                let needed: &[&str] = match block["type"].as_str().ok_or("a block without a type")? {
                    "text" => &["text"],
                    "thinking" => &["thinking", "signature"],
                    "redacted_thinking" => &["data"],
                    _ => &["id", "name"],
                };
                ensure(needed.iter().all(|name| block[*name].is_string()), format!("block: {block}"))?;
                ensure(open.insert(index.ok_or("no index")?, block["type"].clone()).is_none(), "twice open")?;
            }
            "content_block_delta" => {
                ensure(open.contains_key(&index.ok_or("no index")?), format!("not open: {event}"))?;
            }
            "content_block_stop" => {
                ensure(open.remove(&index.ok_or("no index")?).is_some(), format!("not open: {event}"))?;
            }
            "message_delta" => {
                ensure(open.is_empty(), "open blocks at the end")?;
                delta = Some(event);
            }
            _ => {}
        }
    }
    ensure(last["type"] == "message_stop", "no message_stop")?;
    let delta = delta.ok_or("no message_delta")?;
    ensure(delta["delta"]["stop_reason"].is_string(), "no stop_reason")?;
    ensure(is_counted(&delta["usage"]), "no counts at the end")
}

fn check_responses(events: &[Value], is_complete: bool) -> Checked {
    let last = events.last().ok_or("nothing")?;
    let numbers: Vec<_> = events.iter().map(|event| event["sequence_number"].as_u64()).collect();
    ensure(
        numbers.iter().all(Option::is_some) && numbers.is_sorted_by(|a, b| a < b),
        format!("{numbers:?}"),
    )?;
    if !is_complete {
        let is_failure = last["type"] == "response.failed" || last["type"] == "error";
        return ensure(is_failure, format!("no failure at the end: {last}"));
    }
    ensure(events[0]["type"] == "response.created", "no response.created")?;
    let (mut open, mut done) = (BTreeMap::new(), BTreeMap::new());
    for event in &events[1..events.len() - 1] {
        let kind = event["type"].as_str().ok_or("no type")?;
        let Some(index) = event["output_index"].as_u64() else {
            ensure(kind == "response.in_progress", format!("no place: {event}"))?;
            continue;
        };
        match kind {
            "response.output_item.added" => {
                ensure(event["item"]["type"].is_string(), "an item without a type")?;
                ensure(open.insert(index, ItemContent::default()).is_none(), "added twice")?;
            }
            "response.output_item.done" => {
                let said = open.remove(&index).ok_or(format!("done before added: {event}"))?;
                check_item(&event["item"], &said)?;
                done.insert(index, event["item"].clone());
            }
            _ => open.get_mut(&index).ok_or(format!("not added: {event}"))?.take(kind, event)?,
        }
    }
    ensure(open.is_empty(), "an item without output_item.done")?;
    ensure(last["type"] == "response.completed", format!("end: {last}"))?;
    let response = &last["response"];
    let all: Vec<&Value> = done.values().collect();
    let output: Vec<&Value> = response["output"].as_array().ok_or("no output")?.iter().collect();
    ensure(output.len() == all.len(), format!("output: {output:?}, not {all:?}"))?;
    let counts = &response["usage"];
    ensure(counts["input_tokens"].is_u64() && counts["output_tokens"].is_u64(), "no counts")
}

/// The content in the events of one item.
#[derive(Default)]
struct ItemContent {
    parts: usize,
    text: String,
}

impl ItemContent {
    fn take(&mut self, kind: &str, event: &Value) -> Checked {
        let delta = || event["delta"].as_str().ok_or(format!("no delta: {event}"));
        match kind {
            "response.content_part.added" | "response.reasoning_summary_part.added" => self.parts += 1,
            "response.output_text.delta" | "response.reasoning_summary_text.delta" => {
                ensure(self.parts == 1, format!("text of no part: {event}"))?;
                self.text += delta()?;
            }
            "response.function_call_arguments.delta" => self.text += delta()?,
            _ => {}
        }
        Ok(())
    }
}

fn check_item(item: &Value, said: &ItemContent) -> Checked {
    let text = match item["type"].as_str() {
        Some("message") => &item["content"][0]["text"],
        Some("reasoning") => &item["summary"][0]["text"],
        Some("function_call") => {
            ensure(item["call_id"].is_string() && item["name"].is_string(), format!("call: {item}"))?;
            &item["arguments"]
        }
        _ => return Err(format!("no type: {item}")),
    };
    let text = text.as_str().unwrap_or_default();
    ensure(text.contains(&said.text) || text == "{}", format!("{text:?} was told as {:?}", said.text))
}

fn check_gemini(events: &[Value], is_complete: bool) -> Checked {
    let last = events.last().ok_or("nothing")?;
    if !is_complete {
        return ensure(last["error"]["message"].is_string(), format!("no error at the end: {last}"));
    }
    ensure(events.iter().all(|event| event["responseId"].is_string()), "no responseId")?;
    let finished = |event: &&Value| event["candidates"][0]["finishReason"].is_string();
    ensure(events.iter().filter(finished).count() == 1, "not one finishReason")
}

// ---------------------------------------------------------------------------------------------- the tests

/// Texts of the answer that several events may carry.
const CONTENT: [&str; 7] = ["Hmm.", "I lo", "ok.", "look", "at", "1}", "call_1"];

fn read_stream(upstream: Protocol, body: &[u8]) -> Option<CallerAnswer> {
    read_answer(upstream, true, &DecoderContext::default(), [body]).ok()
}

fn content(answer: &CallerAnswer) -> (String, Vec<(String, String)>) {
    let call = |call: &super::caller_answer::Call| (call.name.clone(), call.arguments.clone());
    (answer.text.clone(), answer.calls.iter().map(call).collect())
}

/// Whether the missing content is nowhere else in the stream, or only where no reader can detect the gap.
fn is_lost(whole: &[Value], rest: &[Value]) -> bool {
    let texts = |events: &[Value]| events.iter().map(plain).collect::<String>();
    let (whole, rest) = (texts(whole), texts(rest));
    CONTENT.iter().any(|word| whole.matches(word).count() != rest.matches(word).count())
}

#[test]
fn a_missing_part_is_repaired_or_reported() {
    let mut wrong = Vec::new();
    for stream in streams() {
        let original = content(&read_stream(stream.upstream, &stream.bytes(&stream.events)).unwrap());
        for (what, rest) in damaged(&stream.events) {
            for caller in CALLERS {
                let (out, is_complete) = translated(caller, stream.upstream, stream.bytes(&rest));
                let mut checked = check(caller, &out, is_complete);
                if checked.is_ok() && is_complete && !is_lost(&stream.events, &rest) {
                    let is = read_stream(caller, &out).map(|answer| content(&answer));
                    checked = ensure(is.as_ref() == Some(&original), format!("says {is:?}"));
                }
                if let Err(why) = checked {
                    wrong.push(format!("{} → {}: {what}: {why}", stream.upstream.as_str(), caller.as_str()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}
