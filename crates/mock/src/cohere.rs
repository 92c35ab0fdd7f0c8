//! Cohere's native chat, version 2.

use crate::brain::{Answer, Choice, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, fragments, has, items, strings, text};
use bytes::Bytes;
use serde_json::{Value, json};

pub struct Cohere;

impl Format for Cohere {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        read(call)
    }

    fn write(&self, call: &Call, _: &Prompt, answer: &Answer) -> Reply {
        if call.streaming {
            return Reply::stream("text/event-stream", stream(call, answer));
        }
        let mut message = json!({ "role": "assistant" });
        if answer.calls.is_empty() {
            message["content"] = content(answer).into();
        } else {
            message["tool_plan"] = plan(answer).into();
            let calls = answer.calls.iter().enumerate();
            let calls: Vec<Value> = calls
                .map(|(number, called)| tool_call(call, number, &called.name, &called.arguments.to_string()))
                .collect();
            message["tool_calls"] = calls.into();
        }
        Reply::json(
            200,
            &json!({
                "id": id(call), "message": message, "finish_reason": finish_reason(&answer.finish),
                "usage": usage(answer)
            }),
        )
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        Reply::json(refusal.status, &json!({ "id": id(call), "message": refusal.message }))
    }

    fn stream_error(&self, _: &Call) -> Bytes {
        event(&json!({
            "type": "message-end",
            "delta": { "finish_reason": "ERROR", "error": "An internal error occurred (on command)." }
        }))
    }
}

fn id(call: &Call) -> String {
    format!("00000000-0000-4000-8000-{:012}", call.serial)
}

fn read(call: &Call) -> Result<Prompt, Refusal> {
    let body = &call.body;
    if call.model.is_empty() {
        return Err(Refusal::bad("invalid request: model is required"));
    }
    if has(body, "n") {
        return Err(Refusal::with_status(422, "invalid request: unknown field: n"));
    }
    let mut prompt = Prompt::new();
    read_messages(items(body, "messages"), &mut prompt)?;
    for tool in items(body, "tools") {
        let function = tool.get("function").cloned().unwrap_or_default();
        let schema = function.get("parameters").cloned().unwrap_or_default();
        prompt.tools.push(Tool::function(text(&function, "name"), schema));
    }
    prompt.choice = match body.get("tool_choice") {
        None | Some(Value::Null) => Choice::Auto,
        Some(choice) if choice == "NONE" => Choice::Never,
        Some(choice) if choice == "REQUIRED" => Choice::Any,
        Some(other) => {
            return Err(Refusal::bad(format!("invalid request: tool_choice {other} is not supported")));
        }
    };
    let format = body.get("response_format").cloned().unwrap_or_default();
    prompt.json = match (text(&format, "type"), format.get("json_schema").or_else(|| format.get("schema"))) {
        ("json_object", Some(schema)) => Json::Schema(schema.clone()),
        ("json_object", None) => Json::AnyObject,
        ("json_schema", _) => {
            return Err(Refusal::bad("invalid request: response_format.type must be text or json_object"));
        }
        _ => Json::No,
    };
    if !prompt.tools.is_empty() && !matches!(prompt.json, Json::No) {
        return Err(Refusal::bad("invalid request: cannot specify response_format with tools"));
    }
    prompt.reasoning = body.pointer("/thinking/type").is_some_and(|kind| kind == "enabled");
    prompt.max_tokens = body.get("max_tokens").and_then(Value::as_u64);
    prompt.stop = strings(body.get("stop_sequences"));
    Ok(prompt)
}

fn read_messages(messages: &[Value], prompt: &mut Prompt) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::bad("invalid request: messages must not be empty"));
    }
    let mut open: Vec<&str> = Vec::new();
    for message in messages {
        match text(message, "role") {
            "user" => {
                prompt.begin_user();
                read_user(message, prompt);
            }
            "assistant" => {
                prompt.begin_user();
                prompt.count_text(&plain(message.get("content")));
                open = items(message, "tool_calls").iter().map(|call| text(call, "id")).collect();
            }
            "system" | "developer" => prompt.instruct(&plain(message.get("content"))),
            "tool" if open.contains(&text(message, "tool_call_id")) => {
                prompt.result(&plain(message.get("content")))
            }
            "tool" => {
                let id = text(message, "tool_call_id");
                return Err(Refusal::bad(format!(
                    "invalid request: no tool call with id {id} in the previous turn"
                )));
            }
            other => return Err(Refusal::bad(format!("invalid request: unknown role {other:?}"))),
        }
    }
    Ok(())
}

fn read_user(message: &Value, prompt: &mut Prompt) {
    if let Some(said) = message.get("content").and_then(Value::as_str) {
        return prompt.say(said);
    }
    for part in items(message, "content") {
        match part.pointer("/image_url/url").and_then(Value::as_str) {
            Some(url) => prompt.attach_url("image", url),
            None => prompt.say(text(part, "text")),
        }
    }
}

fn plain(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            parts.iter().map(|part| document(part).unwrap_or(text(part, "text"))).collect()
        }
        _ => String::new(),
    }
}

/// A result of a tool may come as a document.
fn document(part: &Value) -> Option<&str> {
    part.pointer("/document/data")?.as_str()
}

fn content(answer: &Answer) -> Vec<Value> {
    let thinking = answer.thinking.iter().map(|thinking| json!({ "type": "thinking", "thinking": thinking }));
    thinking.chain([json!({ "type": "text", "text": answer.text })]).collect()
}

fn plan(answer: &Answer) -> String {
    let names: Vec<&str> = answer.calls.iter().map(|call| call.name.as_str()).collect();
    format!("I will use {}.", names.join(" and "))
}

fn tool_call(call: &Call, number: usize, name: &str, arguments: &str) -> Value {
    json!({
        "id": call.id(&format!("{name}_{number}")), "type": "function",
        "function": { "name": name, "arguments": arguments }
    })
}

fn finish_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "COMPLETE",
        Finish::StopSequence(_) => "STOP_SEQUENCE",
        Finish::Length => "MAX_TOKENS",
        Finish::Calls => "TOOL_CALL",
    }
}

/// The billed input excludes the preamble; the counted input includes it.
fn usage(answer: &Answer) -> Value {
    let mut tokens = json!({ "input_tokens": answer.input_tokens, "output_tokens": answer.output_tokens });
    if answer.thinking.is_some() {
        tokens["reasoning_tokens"] = answer.thinking_tokens.into();
    }
    json!({
        "billed_units": { "input_tokens": answer.input_tokens.div_ceil(2), "output_tokens": answer.output_tokens },
        "tokens": tokens, "cached_tokens": 0
    })
}

fn stream(call: &Call, answer: &Answer) -> Vec<Bytes> {
    let message =
        json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
    let mut frames =
        vec![event(&json!({ "id": id(call), "type": "message-start", "delta": { "message": message } }))];
    let mut index = 0;
    let thinking = answer.thinking.as_deref().map(|thinking| ("thinking", thinking));
    let said = (!answer.text.is_empty()).then_some(("text", answer.text.as_str()));
    for (kind, whole) in thinking.into_iter().chain(said) {
        stream_content(index, kind, whole, &mut frames);
        index += 1;
    }
    if !answer.calls.is_empty() {
        let plan = plan(answer);
        let delta = |piece: &str| json!({ "type": "tool-plan-delta", "delta": { "message": { "tool_plan": piece } } });
        frames.extend(pieces(&plan).into_iter().map(|piece| event(&delta(piece))));
    }
    for (number, called) in answer.calls.iter().enumerate() {
        let opening = tool_call(call, number, &called.name, "");
        stream_call(index, opening, &called.arguments.to_string(), &mut frames);
        index += 1;
    }
    frames.push(event(&json!({
        "type": "message-end", "delta": { "finish_reason": finish_reason(&answer.finish), "usage": usage(answer) }
    })));
    frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
    frames
}

fn stream_content(index: usize, kind: &str, whole: &str, frames: &mut Vec<Bytes>) {
    let content = |content: Value| json!({ "message": { "content": content } });
    let start = content(json!({ "type": kind, kind: "" }));
    frames.push(event(&json!({ "type": "content-start", "index": index, "delta": start })));
    for piece in pieces(whole) {
        let delta = content(json!({ kind: piece }));
        frames.push(event(&json!({ "type": "content-delta", "index": index, "delta": delta })));
    }
    frames.push(event(&json!({ "type": "content-end", "index": index })));
}

fn stream_call(index: usize, opening: Value, arguments: &str, frames: &mut Vec<Bytes>) {
    let calls = |call: Value| json!({ "message": { "tool_calls": call } });
    frames.push(event(&json!({ "type": "tool-call-start", "index": index, "delta": calls(opening) })));
    for part in fragments(arguments) {
        let delta = calls(json!({ "function": { "arguments": part } }));
        frames.push(event(&json!({ "type": "tool-call-delta", "index": index, "delta": delta })));
    }
    frames.push(event(&json!({ "type": "tool-call-end", "index": index })));
}

fn event(data: &Value) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {data}\n\n", text(data, "type")))
}
