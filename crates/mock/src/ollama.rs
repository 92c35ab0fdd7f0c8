//! Ollama's native chat: JSON lines, whole tool calls, arguments as objects.

use crate::brain::{Answer, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, items, strings, text};
use bytes::Bytes;
use serde_json::{Value, json};

pub struct Ollama;

impl Format for Ollama {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        read(call)
    }

    fn write(&self, call: &Call, _: &Prompt, answer: &Answer) -> Reply {
        if !call.streaming {
            return Reply::json(200, &last_line(call, answer, whole_message(call, answer)));
        }
        let mut lines = Vec::new();
        for piece in pieces(answer.thinking.as_deref().unwrap_or_default()) {
            lines.push(line(call, json!({ "role": "assistant", "content": "", "thinking": piece })));
        }
        for piece in pieces(&answer.text) {
            lines.push(line(call, json!({ "role": "assistant", "content": piece })));
        }
        for called in tool_calls(call, answer) {
            lines.push(line(call, json!({ "role": "assistant", "content": "", "tool_calls": [called] })));
        }
        lines.push(last_line(call, answer, json!({ "role": "assistant", "content": "" })));
        let frames = lines.iter().map(|line| Bytes::from(format!("{line}\n"))).collect();
        Reply::stream("application/x-ndjson", frames)
    }

    fn refuse(&self, _: &Call, refusal: &Refusal) -> Reply {
        Reply::json(refusal.status, &json!({ "error": refusal.message }))
    }

    fn stream_error(&self, _: &Call) -> Bytes {
        Bytes::from_static(b"{\"error\":\"an error was encountered while running the model (on command)\"}\n")
    }
}

fn read(call: &Call) -> Result<Prompt, Refusal> {
    let body = &call.body;
    if call.model.is_empty() {
        return Err(Refusal::bad("model is required"));
    }
    let mut prompt = Prompt::new();
    for message in items(body, "messages") {
        read_message(message, &mut prompt)?;
    }
    for tool in items(body, "tools") {
        let function = tool.get("function").cloned().unwrap_or_default();
        let schema = function.get("parameters").cloned().unwrap_or_default();
        prompt.tools.push(Tool::function(text(&function, "name"), schema));
    }
    prompt.json = match body.get("format") {
        Some(Value::String(word)) if word == "json" => Json::AnyObject,
        Some(schema @ Value::Object(_)) => Json::Schema(schema.clone()),
        _ => Json::No,
    };
    prompt.reasoning = match body.get("think") {
        Some(Value::Bool(think)) => *think,
        Some(Value::String(_)) => true,
        _ => false,
    };
    prompt.max_tokens = body.pointer("/options/num_predict").and_then(Value::as_u64);
    prompt.stop = strings(body.pointer("/options/stop"));
    Ok(prompt)
}

fn read_message(message: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    if message.get("content").is_some_and(|content| !content.is_string() && !content.is_null()) {
        return Err(wrong_type("content", "string"));
    }
    let content = text(message, "content");
    match text(message, "role") {
        "user" => {
            prompt.begin_user();
            prompt.say(content);
        }
        "assistant" => {
            prompt.begin_user();
            prompt.count_text(content);
            let calls = items(message, "tool_calls").iter();
            let mut arguments = calls.filter_map(|call| call.pointer("/function/arguments"));
            if arguments.any(|arguments| !arguments.is_object()) {
                return Err(wrong_type("tool_calls.function.arguments", "map[string]interface {}"));
            }
        }
        "tool" => prompt.result(content),
        _ => prompt.instruct(content),
    }
    for image in items(message, "images") {
        let Some(data) = image.as_str().filter(|data| !data.contains(':')) else {
            return Err(Refusal::bad("illegal base64 data at input byte 4"));
        };
        prompt.attach("image", "image", data);
    }
    Ok(())
}

/// The error text of Go's JSON decoder.
fn wrong_type(field: &str, wanted: &str) -> Refusal {
    Refusal::bad(format!(
        "json: cannot unmarshal value into Go struct field ChatRequest.messages.{field} of type {wanted}"
    ))
}

fn whole_message(call: &Call, answer: &Answer) -> Value {
    let mut message = json!({ "role": "assistant", "content": answer.text });
    if let Some(thinking) = &answer.thinking {
        message["thinking"] = thinking.as_str().into();
    }
    if !answer.calls.is_empty() {
        message["tool_calls"] = tool_calls(call, answer).into();
    }
    message
}

fn tool_calls(call: &Call, answer: &Answer) -> Vec<Value> {
    let calls = answer.calls.iter().enumerate();
    calls
        .map(|(number, called)| {
            let function = json!({ "index": number, "name": called.name, "arguments": called.arguments });
            json!({ "id": call.id(&format!("call_{number}")), "function": function })
        })
        .collect()
}

fn line(call: &Call, message: Value) -> Value {
    json!({ "model": call.model, "created_at": "2025-01-31T12:00:00.000001Z", "message": message, "done": false })
}

fn last_line(call: &Call, answer: &Answer, message: Value) -> Value {
    let mut line = line(call, message);
    line["done"] = true.into();
    line["done_reason"] = if answer.finish == Finish::Length { "length".into() } else { "stop".into() };
    for (name, count) in [
        ("total_duration", 2_000_000),
        ("load_duration", 1_000_000),
        ("prompt_eval_count", answer.input_tokens),
        ("prompt_eval_duration", 500_000),
        ("eval_count", answer.output_tokens),
        ("eval_duration", 500_000),
    ] {
        line[name] = count.into();
    }
    line
}
