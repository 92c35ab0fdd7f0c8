//! Answers of providers that do not speak OpenAI's chat format. Each says "Hello." with 10 tokens of the prompt and 5
//! produced.

use serde_json::{Value, json};

/// One answer as a whole and as a stream.
pub struct Native {
    pub whole: Value,
    pub stream: String,
}

/// The answer in this format, served by this tier.
pub fn native(protocol: &str, tier: Option<&str>) -> Native {
    match protocol {
        "anthropic-messages" => anthropic(tier),
        "gemini" => gemini(tier),
        "openai-responses" => responses(tier),
        _ => panic!("{protocol}"),
    }
}

fn event(data: &Value) -> String {
    let name = data["type"].as_str().map_or_else(String::new, |name| format!("event: {name}\n"));
    format!("{name}data: {data}\n\n")
}

fn anthropic(tier: Option<&str>) -> Native {
    let usage = |output: u64| json!({"input_tokens": 10, "output_tokens": output, "service_tier": tier});
    let message = |content: Value, stop: Option<&str>, output: u64| {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
            "stop_reason": stop, "stop_sequence": null, "usage": usage(output)})
    };
    let events = [
        json!({"type": "message_start", "message": message(json!([]), None, 1)}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello."}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": 5}}),
        json!({"type": "message_stop"}),
    ];
    Native {
        whole: message(json!([{"type": "text", "text": "Hello."}]), Some("end_turn"), 5),
        stream: events.iter().map(event).collect(),
    }
}

fn gemini(tier: Option<&str>) -> Native {
    let mut whole = json!({
        "candidates": [{"content": {"role": "model", "parts": [{"text": "Hello."}]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15},
        "modelVersion": "m", "responseId": "r"
    });
    if let Some(tier) = tier {
        whole["usageMetadata"]["serviceTier"] = json!(tier);
    }
    Native { stream: event(&whole), whole }
}

fn responses(tier: Option<&str>) -> Native {
    let part = json!({"type": "output_text", "text": "Hello.", "annotations": []});
    let item = |status: &str, content: Value| json!({"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": content});
    let done = item("completed", json!([part]));
    let response = |status: &str, output: Value| {
        let mut response = json!({"id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status,
            "model": "m", "output": output, "error": null, "service_tier": tier});
        if status == "completed" {
            response["usage"] = json!({"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15});
        }
        response
    };
    let whole = response("completed", json!([done]));
    let at = |mut event: Value| {
        for (name, value) in
            [("item_id", json!("msg_1")), ("output_index", json!(0)), ("content_index", json!(0))]
        {
            event[name] = value;
        }
        event
    };
    let mut events = [
        json!({"type": "response.created", "response": response("in_progress", json!([]))}),
        json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([]))}),
        at(
            json!({"type": "response.content_part.added", "part": {"type": "output_text", "text": "", "annotations": []}}),
        ),
        at(json!({"type": "response.output_text.delta", "delta": "Hello."})),
        at(json!({"type": "response.output_text.done", "text": "Hello."})),
        at(json!({"type": "response.content_part.done", "part": part})),
        json!({"type": "response.output_item.done", "output_index": 0, "item": done}),
        json!({"type": "response.completed", "response": whole}),
    ];
    for (number, event) in events.iter_mut().enumerate() {
        event["sequence_number"] = json!(number);
    }
    Native { stream: events.iter().map(event).collect(), whole }
}
