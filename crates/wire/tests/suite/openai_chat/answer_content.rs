//! The content of an OpenAI-like answer, read in the simplest way and without the code under test.

use std::collections::BTreeMap;

use canon::{Event, FinishReason, ReasoningDetail, Usage};
use serde_json::Value;

/// A tool call: id, name, arguments.
pub type Call = (String, String, String);

/// One choice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Choice {
    pub text: String,
    pub refusal: String,
    pub reasoning: String,
    /// Thinking of servers that have no other place for it; the gateway repeats proven thinking here.
    details: String,
    pub calls: Vec<Call>,
    pub finish: Option<String>,
    pub logprobs: usize,
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerContent {
    pub choices: BTreeMap<u64, Choice>,
    pub usage: Value,
    pub error: Option<String>,
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            parts.iter().map(|part| part["text"].as_str().or(part.as_str()).unwrap_or_default()).collect()
        }
        _ => String::new(),
    }
}

impl Choice {
    fn take_message(&mut self, message: &Value) {
        self.text += &text_of(&message["content"]);
        self.refusal += message["refusal"].as_str().unwrap_or_default();
        let field = |name: &str| message[name].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let thinking_parts = || -> String {
            let parts = message["content"].as_array().into_iter().flatten();
            parts.map(|part| text_of(&part["thinking"])).collect()
        };
        let details = || -> String {
            let details = message["reasoning_details"].as_array().into_iter().flatten();
            details.filter_map(|item| item["text"].as_str().or(item["summary"].as_str())).collect()
        };
        self.reasoning +=
            &field("reasoning_content").or_else(|| field("reasoning")).unwrap_or_else(thinking_parts);
        self.details += &details();
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            self.take_call(call);
        }
    }

    fn take_call(&mut self, call: &Value) {
        let custom = call["custom"]["name"] != "" && call["custom"].is_object();
        let inner = &call[if custom { "custom" } else { "function" }];
        let text = match &inner[if custom { "input" } else { "arguments" }] {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let (id, name) =
            (call["id"].as_str().unwrap_or_default(), inner["name"].as_str().unwrap_or_default());
        let is_new = !name.is_empty() && self.calls.last().is_none_or(|last| last.0 != id || id.is_empty());
        if is_new {
            self.calls.push((id.to_owned(), name.to_owned(), text));
            return;
        }
        let position = call["index"].as_u64().map(|index| index as usize).filter(|at| *at < self.calls.len());
        let last = self.calls.len().saturating_sub(1);
        if let Some(known) = self.calls.get_mut(position.unwrap_or(last)) {
            known.2 += &text;
        }
    }
}

/// Reads the documents of an answer: its events, or the one of a whole answer.
pub fn content_of_documents(documents: &[Value]) -> AnswerContent {
    let mut said = AnswerContent::default();
    for document in documents {
        let error = &document["error"];
        if let Some(words) = error["message"].as_str().or(error.as_str()).filter(|words| !words.is_empty()) {
            said.error = Some(words.to_owned());
        }
        for choice in document["choices"].as_array().into_iter().flatten() {
            let known = said.choices.entry(choice["index"].as_u64().unwrap_or_default()).or_default();
            // Perplexity sends both: in a stream the message repeats the deltas before it.
            let is_whole = document["object"] == "chat.completion" && documents.len() == 1;
            let is_delta = choice["delta"].is_object() && !(is_whole && choice["message"].is_object());
            let message = &choice[if is_delta { "delta" } else { "message" }];
            known.take_message(message);
            known.logprobs += choice["logprobs"]["content"].as_array().map_or(0, Vec::len);
            if let Some(finish) = choice["finish_reason"].as_str().filter(|finish| !finish.is_empty()) {
                known.finish = Some(finish.to_owned());
            }
        }
        for usage in [&document["usage"], &document["x_groq"]["usage"], &document["choices"][0]["usage"]] {
            if usage["prompt_tokens"].is_number() {
                said.usage = usage.clone();
                break;
            }
        }
    }
    for choice in said.choices.values_mut() {
        let details = std::mem::take(&mut choice.details);
        if choice.reasoning.is_empty() {
            choice.reasoning = details;
        }
    }
    said
}

impl AnswerContent {
    /// Normalised as the gateway does: finish reasons of OpenAI, arguments never empty.
    pub fn in_our_words(mut self) -> Self {
        for choice in self.choices.values_mut() {
            let native = choice.finish.take().unwrap_or_default();
            let word = match native.as_str() {
                "length" | "max_tokens" | "model_length" => "length",
                "content_filter" => "content_filter",
                _ if !choice.calls.is_empty() => "tool_calls",
                "function_call" => "function_call",
                _ => "stop",
            };
            choice.finish = Some(word.to_owned());
            for call in &mut choice.calls {
                if call.2.trim().is_empty() {
                    call.2 = "{}".to_owned();
                }
            }
        }
        self
    }
}

fn at(choices: &mut BTreeMap<u64, Choice>, choice: u32) -> &mut Choice {
    choices.entry(choice.into()).or_default()
}

/// The same content, read from canonical events.
pub fn content_of_events(events: &[Event]) -> (BTreeMap<u64, Choice>, Option<Usage>) {
    let mut choices = BTreeMap::<u64, Choice>::new();
    let mut usage = None;
    for event in events.iter().cloned() {
        match event {
            Event::Text { choice, text } => at(&mut choices, choice).text += &text,
            Event::Refusal { choice, text } => at(&mut choices, choice).refusal += &text,
            Event::Reasoning { choice, detail: ReasoningDetail::Text(text), .. } => {
                at(&mut choices, choice).reasoning += &text
            }
            Event::ToolCallStart { choice, index, id, name, .. } => {
                let choice = at(&mut choices, choice);
                assert_eq!(choice.calls.len(), index as usize, "calls are counted without gaps");
                choice.calls.push((id, name, String::new()));
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                at(&mut choices, choice).calls[index as usize].2 += &fragment;
            }
            Event::Logprobs { choice, logprobs } => {
                at(&mut choices, choice).logprobs +=
                    logprobs.to_value().unwrap()["content"].as_array().map_or(0, Vec::len);
            }
            Event::Finish { choice, reason, .. } => {
                let known = at(&mut choices, choice);
                assert_eq!(known.finish, None, "a choice ends once");
                known.finish = Some(reason.as_str().to_owned());
            }
            Event::Usage(counts) => usage = Some(counts),
            _ => {}
        }
    }
    (choices, usage)
}

/// OpenAI's name of a reason, for choices that may end by a legacy function call.
pub fn is_reason(word: &str, reason: FinishReason) -> bool {
    word == reason.as_str() || (word == "function_call" && reason == FinishReason::ToolCalls)
}
