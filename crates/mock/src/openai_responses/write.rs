//! Writes an answer: the items of the output, whole or as the events that build them up.

use super::{sealed, wants_compaction};
use crate::agent;
use crate::brain::{Answer, Called, Finish, Prompt, pieces};
use crate::format::{Call, fragments, strings, text};
use bytes::Bytes;
use serde_json::{Value, json};

pub struct Writer<'a> {
    pub call: &'a Call,
    pub prompt: &'a Prompt,
    pub answer: &'a Answer,
}

impl Writer<'_> {
    pub fn whole(&self) -> Value {
        let incomplete = self.answer.finish == Finish::Length;
        let mut response = envelope(self.call, if incomplete { "incomplete" } else { "completed" });
        if incomplete {
            response["incomplete_details"] = json!({ "reason": "max_output_tokens" });
        } else {
            response["completed_at"] = self.call.created.into();
        }
        response["output"] = self.items().into();
        response["usage"] = self.usage();
        response
    }

    fn usage(&self) -> Value {
        let (input, output) = (self.answer.input_tokens, self.answer.output_tokens);
        json!({
            "input_tokens": input, "input_tokens_details": { "cached_tokens": 0, "cache_write_tokens": 0 },
            "output_tokens": output, "output_tokens_details": { "reasoning_tokens": self.answer.thinking_tokens },
            "total_tokens": input + output
        })
    }

    fn items(&self) -> Vec<Value> {
        if wants_compaction(self.call) {
            let summary = agent::summary_of(&self.prompt.story);
            let id = self.call.id("cmp_");
            return vec![json!({ "type": "compaction", "id": id, "encrypted_content": sealed(&summary) })];
        }
        let mut items = Vec::new();
        if let Some(thinking) = &self.answer.thinking {
            items.push(self.reasoning(thinking));
        }
        if !self.answer.text.is_empty() {
            items.push(json!({
                "type": "message", "id": self.call.id("msg_"), "status": "completed", "role": "assistant",
                "content": [{ "type": "output_text", "text": self.answer.text, "annotations": [], "logprobs": [] }]
            }));
        }
        let calls = self.answer.calls.iter().enumerate();
        items.extend(calls.map(|(number, called)| self.called(number, called)));
        items
    }

    /// The summary is included for callers who ask for it, the sealed thinking for those who will send it
    /// back.
    fn reasoning(&self, thinking: &str) -> Value {
        let id = self.call.id("rs_");
        let body = &self.call.body;
        let wants_summary = body.pointer("/reasoning/summary").is_some_and(Value::is_string);
        let summary =
            if wants_summary { json!([{ "type": "summary_text", "text": thinking }]) } else { json!([]) };
        let mut item = json!({ "type": "reasoning", "id": id, "summary": summary });
        let wants_proof =
            strings(body.get("include")).iter().any(|wish| wish == "reasoning.encrypted_content");
        if wants_proof && self.call.proves() {
            item["encrypted_content"] = sealed(&format!("{id} {thinking}")).into();
        }
        item
    }

    fn called(&self, number: usize, called: &Called) -> Value {
        let call_id = self.call.call_id("call_", number);
        let mut item = match &called.arguments {
            Value::String(input) => json!({
                "type": "custom_tool_call", "id": self.call.id(&format!("ctc_{number}")), "status": "completed",
                "call_id": call_id, "name": called.name, "input": input
            }),
            arguments => json!({
                "type": "function_call", "id": self.call.id(&format!("fc_{number}")), "status": "completed",
                "call_id": call_id, "name": called.name, "arguments": arguments.to_string()
            }),
        };
        let tool = self.prompt.tools.iter().find(|tool| tool.name == called.name);
        if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_deref()) {
            item["namespace"] = namespace.into();
        }
        item
    }

    pub fn stream(&self) -> Vec<Bytes> {
        let mut events = Vec::new();
        let begun = envelope(self.call, "in_progress");
        events.push(json!({ "type": "response.created", "response": begun }));
        events.push(json!({ "type": "response.in_progress", "response": begun }));
        for (index, item) in self.items().into_iter().enumerate() {
            stream_item(index, item, &mut events);
        }
        let whole = self.whole();
        let end = format!("response.{}", text(&whole, "status"));
        events.push(json!({ "type": end, "response": whole }));
        events.into_iter().enumerate().map(|(number, data)| event(number, data)).collect()
    }
}

/// A response without output.
pub fn envelope(call: &Call, status: &str) -> Value {
    let body = &call.body;
    let given = |name: &str, default: Value| {
        body.get(name).filter(|value| !value.is_null()).cloned().unwrap_or(default)
    };
    json!({
        "id": call.id("resp_"), "object": "response", "created_at": call.created, "status": status,
        "background": false, "completed_at": null, "error": null, "incomplete_details": null,
        "instructions": given("instructions", Value::Null),
        "max_output_tokens": given("max_output_tokens", Value::Null),
        "max_tool_calls": given("max_tool_calls", Value::Null), "model": call.model, "output": [],
        "parallel_tool_calls": given("parallel_tool_calls", true.into()), "previous_response_id": null,
        "prompt_cache_key": given("prompt_cache_key", Value::Null),
        "reasoning": given("reasoning", json!({ "effort": null, "summary": null })),
        "safety_identifier": given("safety_identifier", Value::Null), "service_tier": "default",
        "store": given("store", true.into()), "temperature": given("temperature", json!(1.0)),
        "text": given("text", json!({ "format": { "type": "text" }, "verbosity": "medium" })),
        "tool_choice": given("tool_choice", "auto".into()), "tools": given("tools", json!([])),
        "top_logprobs": given("top_logprobs", 0.into()), "top_p": given("top_p", json!(1.0)),
        "truncation": given("truncation", "disabled".into()), "usage": null,
        "user": given("user", Value::Null), "metadata": given("metadata", json!({}))
    })
}

/// One event with its name and number.
pub fn event(number: usize, mut data: Value) -> Bytes {
    data["sequence_number"] = number.into();
    Bytes::from(format!("event: {}\ndata: {data}\n\n", text(&data, "type")))
}

/// An item appears empty, grows, and is sent complete when it is done.
fn stream_item(index: usize, item: Value, events: &mut Vec<Value>) {
    let mut empty = item.clone();
    if item.get("status").is_some() {
        empty["status"] = "in_progress".into();
    }
    let kind = text(&item, "type");
    match kind {
        "message" => empty["content"] = json!([]),
        "function_call" => empty["arguments"] = "".into(),
        "custom_tool_call" => empty["input"] = "".into(),
        "reasoning" => empty["summary"] = json!([]),
        _ => {}
    }
    events.push(json!({ "type": "response.output_item.added", "output_index": index, "item": empty }));
    let growth = match kind {
        "message" => text_events(&item["content"][0]),
        "function_call" => input_events(&item, "function_call_arguments", "arguments"),
        "custom_tool_call" => input_events(&item, "custom_tool_call_input", "input"),
        "reasoning" => crate::format::items(&item, "summary").iter().flat_map(summary_events).collect(),
        _ => Vec::new(),
    };
    for mut data in growth {
        data["item_id"] = item["id"].clone();
        data["output_index"] = index.into();
        events.push(data);
    }
    events.push(json!({ "type": "response.output_item.done", "output_index": index, "item": item }));
}

fn text_events(part: &Value) -> Vec<Value> {
    let mut empty = part.clone();
    empty["text"] = "".into();
    let whole = text(part, "text");
    let begin = json!({ "type": "response.content_part.added", "content_index": 0, "part": empty });
    let deltas = pieces(whole).into_iter().map(|piece| {
        json!({ "type": "response.output_text.delta", "content_index": 0, "delta": piece, "logprobs": [] })
    });
    let end = [
        json!({ "type": "response.output_text.done", "content_index": 0, "text": whole, "logprobs": [] }),
        json!({ "type": "response.content_part.done", "content_index": 0, "part": part }),
    ];
    std::iter::once(begin).chain(deltas).chain(end).collect()
}

fn input_events(item: &Value, event: &str, field: &str) -> Vec<Value> {
    let whole = text(item, field);
    let deltas = fragments(whole).into_iter();
    let deltas = deltas.map(|part| json!({ "type": format!("response.{event}.delta"), "delta": part }));
    let mut done = json!({ "type": format!("response.{event}.done") });
    done[field] = whole.into();
    deltas.chain([done]).collect()
}

fn summary_events(part: &Value) -> Vec<Value> {
    let whole = text(part, "text");
    let empty = json!({ "type": "summary_text", "text": "" });
    let begin = json!({ "type": "response.reasoning_summary_part.added", "summary_index": 0, "part": empty });
    let deltas = pieces(whole).into_iter().map(|piece| {
        json!({ "type": "response.reasoning_summary_text.delta", "summary_index": 0, "delta": piece })
    });
    let end = [
        json!({ "type": "response.reasoning_summary_text.done", "summary_index": 0, "text": whole }),
        json!({ "type": "response.reasoning_summary_part.done", "summary_index": 0, "part": part }),
    ];
    std::iter::once(begin).chain(deltas).chain(end).collect()
}
