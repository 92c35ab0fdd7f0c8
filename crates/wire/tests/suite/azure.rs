//! Azure: recorded answers and errors of its OpenAI chat completions.

use std::collections::BTreeMap;

use canon::FinishReason;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use wire::{DecoderContext, Protocol, adapter};

use super::caller_answer::read_at_every_split;

/// The parts of a recorded answer, read without the code under test. A whole answer is one part.
fn parts(streaming: bool, body: &[u8]) -> Vec<Value> {
    if !streaming {
        return vec![serde_json::from_slice(body).unwrap()];
    }
    let text = std::str::from_utf8(body).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix("data:"));
    lines.filter(|data| data.trim() != "[DONE]").map(|data| serde_json::from_str(data).unwrap()).collect()
}

#[test]
fn recorded_answers_are_understood() {
    let records = testkit::corpus::records("azure");
    let mut count = 0;
    for record in records.iter().filter(|record| record.api == "chat" && record.status == 200) {
        let id = &record.id;
        let parts = parts(record.streaming, &record.body);
        if parts
            .iter()
            .flat_map(|part| part["choices"].as_array())
            .flatten()
            .any(|choice| choice["index"] != 0)
        {
            continue; // Answers with several choices are not read.
        }
        count += 1;
        let heard = read_at_every_split(
            Protocol::OpenaiChat,
            record.streaming,
            &DecoderContext::default(),
            &record.body,
        );
        if let Some(message) = parts[0]["error"]["message"].as_str() {
            assert_eq!(heard.unwrap_err().message, message, "{id}: an error with a good status");
            continue;
        }
        let heard = heard.unwrap_or_else(|error| panic!("{id}: {error}"));
        let (mut text, mut calls) = (String::new(), BTreeMap::<u64, (String, String)>::new());
        let (mut finish, mut usage) = (Value::Null, Value::Null);
        for part in &parts {
            let choice = &part["choices"][0];
            let message = if record.streaming { &choice["delta"] } else { &choice["message"] };
            text += message["content"].as_str().unwrap_or_default();
            text += message["refusal"].as_str().unwrap_or_default();
            for (position, call) in message["tool_calls"].as_array().into_iter().flatten().enumerate() {
                let entry = calls.entry(call["index"].as_u64().unwrap_or(position as u64)).or_default();
                entry.0 += call["function"]["name"].as_str().unwrap_or_default();
                entry.1 += call["function"]["arguments"].as_str().unwrap_or_default();
            }
            let keep = |place: &mut Value, value: &Value| {
                if !value.is_null() {
                    *place = value.clone();
                }
            };
            keep(&mut finish, &choice["finish_reason"]);
            keep(&mut usage, &part["usage"]);
        }
        assert_eq!(heard.text, text, "{id}");
        let got: Vec<_> =
            heard.calls.iter().map(|call| (call.name.clone(), call.arguments.clone())).collect();
        assert_eq!(got, calls.into_values().collect::<Vec<_>>(), "{id}");
        let reason = match finish.as_str().unwrap() {
            "length" => FinishReason::Length,
            "content_filter" => FinishReason::ContentFilter,
            "tool_calls" | "function_call" => FinishReason::ToolCalls,
            _ if !got.is_empty() => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        assert_eq!(heard.finish.as_ref().unwrap().0, reason, "{id}");
        if let Some(prompt) = usage["prompt_tokens"].as_u64() {
            // Grok counts cached tokens outside the prompt: their number can exceed the prompt's.
            let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap_or_default();
            let prompt = if cached > prompt { prompt + cached } else { prompt };
            assert_eq!(heard.usage.unwrap().prompt_tokens(), prompt, "{id}");
            let completion = usage["completion_tokens"].as_u64().unwrap();
            assert!(heard.usage.unwrap().completion_tokens() >= completion, "{id}");
        }
    }
    eprintln!("{count} recorded Azure answers");
    testkit::corpus::assert_enough(count, 50);
}

#[test]
fn recorded_errors_are_understood() {
    let is_case = |record: &testkit::corpus::Record| record.api == "chat" && record.status >= 400;
    for record in testkit::corpus::cases(["azure"], is_case) {
        let status = StatusCode::from_u16(record.status).unwrap();
        let error = adapter(Protocol::OpenaiChat).decode_error(status, &HeaderMap::new(), &record.body);
        let native: Value = serde_json::from_slice(&record.body).unwrap_or_default();
        if let Some(message) = native["error"]["message"].as_str() {
            assert_eq!(error.message, message, "{}", record.id);
        }
        assert_eq!(error.status(), status, "{}", record.id);
    }
}
