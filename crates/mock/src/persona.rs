//! Variants of OpenAI's chat format: what each provider refuses, and its error format. The name in the path
//! selects one (`/groq/openai/v1/…`), so that one mock can play all of them.

use crate::format::{Call, Refusal, has, items, text, unknown_key};
use crate::proof::is_claudes;
use serde_json::{Value, json};

/// Variants that break naive clients. The format itself contains what each sends differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persona {
    Plain,
    /// Content filter annotations, a first chunk without choices.
    Azure,
    /// Usage on the finish chunk, cache hits and misses.
    DeepSeek,
    /// Usage in `x_groq` as well, thinking in `reasoning`.
    Groq,
    /// Thinking as a content part, whole tool calls in one delta, padding, ids of nine characters.
    Mistral,
    /// Comments between chunks, thinking in `reasoning` and `reasoning_details`.
    OpenRouter,
    /// Cumulative usage on every chunk, citations, no `[DONE]`.
    Perplexity,
    /// Reasoning tokens are not part of the completion tokens.
    Xai,
    /// Flat errors, thinking in `reasoning`.
    Cerebras,
    /// Thinks unless thinking is off, and wants the thinking of tool calls back.
    Moonshot,
}

impl Persona {
    pub fn of(call: &Call) -> Persona {
        let path = call.path.as_str();
        if path.contains("/openai/deployments/") || path.starts_with("/openai/v1/") {
            return Persona::Azure;
        }
        match path.split('/').nth(1).unwrap_or_default() {
            "azure" => Persona::Azure,
            "deepseek" => Persona::DeepSeek,
            "groq" => Persona::Groq,
            "mistral" => Persona::Mistral,
            "openrouter" => Persona::OpenRouter,
            "perplexity" => Persona::Perplexity,
            "xai" => Persona::Xai,
            "cerebras" => Persona::Cerebras,
            "moonshot" => Persona::Moonshot,
            _ => Persona::Plain,
        }
    }

    /// Refuses requests that this provider does not take, beyond the format's own rules.
    pub fn check(self, call: &Call) -> Result<(), Refusal> {
        let body = &call.body;
        match self {
            Persona::Plain => check_reasoning_model(call).and_then(|()| check_tools_while_thinking(call)),
            Persona::Azure => check_reasoning_model(call),
            Persona::DeepSeek => check_deepseek(body),
            Persona::Groq => check_groq(body),
            Persona::Mistral => check_mistral(body),
            Persona::Perplexity => check_perplexity(body),
            Persona::Xai => check_xai(body),
            Persona::Cerebras => check_cerebras(body),
            Persona::OpenRouter => check_openrouter(body),
            Persona::Moonshot => check_moonshot(body),
        }
    }

    /// The error body in this provider's shape, as the recorded answers have it.
    pub fn error_body(self, refusal: &Refusal) -> Value {
        let (kind, code) = kind_and_code(refusal);
        let message = &refusal.message;
        let error = json!({ "message": message, "type": kind, "param": refusal.param, "code": code });
        match self {
            Persona::Cerebras => error,
            Persona::OpenRouter => json!({ "error": { "message": message, "code": refusal.status } }),
            Persona::Perplexity => {
                json!({ "error": { "message": message, "type": kind, "code": refusal.status } })
            }
            Persona::Xai => json!({ "code": xai_code(refusal.status), "error": message }),
            Persona::Mistral if refusal.status == 401 => json!({ "detail": message }),
            Persona::Mistral if refusal.status == 422 => {
                let place = json!(["body", refusal.param]);
                json!({ "detail": [{ "type": "extra_forbidden", "loc": place, "msg": message }] })
            }
            Persona::Mistral => {
                let (kind, code) =
                    if refusal.status == 429 { ("rate_limited", "1300") } else { (kind, "1000") };
                json!({
                    "object": "error", "message": message, "type": kind, "param": null, "code": code,
                    "raw_status_code": refusal.status
                })
            }
            _ => json!({ "error": error }),
        }
    }
}

fn kind_and_code(refusal: &Refusal) -> (&'static str, Option<&'static str>) {
    match refusal.status {
        401 => ("invalid_request_error", Some("invalid_api_key")),
        402 => ("insufficient_quota", Some("insufficient_quota")),
        404 => ("invalid_request_error", refusal.code.or(Some("model_not_found"))),
        429 => ("requests", Some("rate_limit_exceeded")),
        503 | 529 => ("service_unavailable_error", Some("server_is_overloaded")),
        500.. => ("server_error", None),
        _ => ("invalid_request_error", refusal.code),
    }
}

fn xai_code(status: u16) -> &'static str {
    match status {
        401 | 403 => "The caller does not have permission to execute the specified operation",
        404 => "not-found",
        429 => "resource-exhausted",
        500.. => "The service is currently unavailable",
        _ => "invalid-argument",
    }
}

/// OpenAI's reasoning models want `max_completion_tokens`, and the early ones only the default temperature.
fn check_reasoning_model(call: &Call) -> Result<(), Refusal> {
    let model = call.model.as_str();
    let reasons = ["o1", "o3", "o4", "gpt-5", "gpt-6"].iter().any(|family| model.starts_with(family));
    if reasons && has(&call.body, "max_tokens") {
        let message = "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                       'max_completion_tokens' instead.";
        return Err(Refusal::bad(message).at("max_tokens").code("unsupported_parameter"));
    }
    let fixed = reasons && !model.starts_with("gpt-5.") && !model.starts_with("gpt-6");
    let temperature = call.body.get("temperature").and_then(Value::as_f64);
    if let Some(temperature) = temperature.filter(|temperature| fixed && *temperature != 1.0) {
        let message = format!(
            "Unsupported value: 'temperature' does not support {temperature} with this model. Only the default (1) \
             value is supported."
        );
        return Err(Refusal::bad(message).at("temperature").code("unsupported_value"));
    }
    Ok(())
}

/// From GPT-5.4 on, functions and thinking go together only in the Responses API. GPT-5.4 thinks only on
/// request, later models by default.
fn check_tools_while_thinking(call: &Call) -> Result<(), Refusal> {
    let is_of = |families: &[&str]| families.iter().any(|family| call.model.starts_with(family));
    let effort = call.body.get("reasoning_effort").and_then(Value::as_str);
    let thinks = match effort {
        Some(effort) => effort != "none" && is_of(&["gpt-5.4", "gpt-5.5", "gpt-5.6", "gpt-6"]),
        None => is_of(&["gpt-5.5", "gpt-5.6", "gpt-6"]),
    };
    let functions = items(&call.body, "tools").iter().any(|tool| text(tool, "type") == "function");
    if !thinks || !functions {
        return Ok(());
    }
    let message = format!(
        "Function tools with reasoning_effort are not supported for {} in /v1/chat/completions. To use function tools, \
         use /v1/responses or set reasoning_effort to 'none'.",
        call.model
    );
    Err(Refusal::bad(message).at("reasoning_effort"))
}

fn check_deepseek(body: &Value) -> Result<(), Refusal> {
    let schema = body.pointer("/response_format/type").is_some_and(|kind| kind == "json_schema");
    if schema {
        return Err(Refusal::bad("This response_format type is unavailable now"));
    }
    let thoughtless = |call: &Value| !call.get("reasoning_content").is_some_and(Value::is_string);
    if thinks_unless_told_not_to(body) && calls(body).any(|(_, call)| thoughtless(call)) {
        Err(Refusal::bad("The `reasoning_content` in the thinking mode must be passed back to the API."))
    } else {
        Ok(())
    }
}

/// The assistant's messages that call tools, with their positions.
fn calls(body: &Value) -> impl Iterator<Item = (usize, &Value)> {
    let messages = items(body, "messages").iter().enumerate();
    messages.filter(|(_, message)| !items(message, "tool_calls").is_empty())
}

/// Providers whose models think by default.
pub fn thinks_unless_told_not_to(body: &Value) -> bool {
    let is = |pointer: &str, word: &str| body.pointer(pointer).is_some_and(|value| value == word);
    !is("/thinking/type", "disabled") && !is("/reasoning_effort", "none") && !is("/model", "deepseek-chat")
}

fn check_moonshot(body: &Value) -> Result<(), Refusal> {
    let mut thoughtless = calls(body).filter(|(_, call)| text(call, "reasoning_content").is_empty());
    match thoughtless.next().filter(|_| thinks_unless_told_not_to(body)) {
        Some((index, _)) => Err(Refusal::bad(format!(
            "thinking is enabled but reasoning_content is missing in assistant tool call message at index {index}"
        ))),
        None => Ok(()),
    }
}

/// The first field that a message of the assistant must not have, with the message's position.
fn unsupported(body: &Value, names: &[&'static str]) -> Option<(usize, &'static str)> {
    let messages = items(body, "messages").iter().enumerate();
    let mut found = messages.filter_map(|(index, message)| {
        names.iter().find(|name| message.get(**name).is_some()).map(|name| (index, *name))
    });
    found.next()
}

fn check_cerebras(body: &Value) -> Result<(), Refusal> {
    if let Some((index, name)) = unsupported(body, &["reasoning_content", "reasoning_details"]) {
        let place = format!("messages.{index}.assistant.{name}");
        return Err(
            Refusal::bad(format!("{place}: property '{place}' is unsupported")).at("validation_error")
        );
    }
    check_tools_without_format(body)
}

/// The upstream is Claude, which checks its signatures.
fn check_openrouter(body: &Value) -> Result<(), Refusal> {
    let details = items(body, "messages").iter().flat_map(|message| items(message, "reasoning_details"));
    let mut signed =
        details.filter(|detail| text(detail, "format") == "anthropic-claude-v1" && has(detail, "signature"));
    let is_sound = |detail: &Value| is_claudes(text(detail, "signature"), text(detail, "text"));
    if signed.all(is_sound) {
        Ok(())
    } else {
        Err(Refusal::bad("Provider returned error: Invalid `signature` in `thinking` block"))
    }
}

fn check_groq(body: &Value) -> Result<(), Refusal> {
    if let Some((index, name)) = unsupported(body, &["reasoning_content", "reasoning_details"]) {
        return Err(Refusal::bad(format!(
            "'messages.{index}' : for 'role:assistant' the following must be satisfied[('messages.{index}' : property \
             '{name}' is unsupported)]"
        )));
    }
    for field in ["logprobs", "top_logprobs", "logit_bias"] {
        if has(body, field) && body[field] != Value::Bool(false) {
            return Err(Refusal::bad(format!("`{field}` is not supported with this model")).at(field));
        }
    }
    if body.get("n").and_then(Value::as_u64).is_some_and(|count| count > 1) {
        return Err(Refusal::bad("'n' : number must be at most 1").at("n"));
    }
    check_tools_without_format(body)
}

fn check_tools_without_format(body: &Value) -> Result<(), Refusal> {
    let formatted = body.pointer("/response_format/type").is_some_and(|kind| kind != "text");
    if formatted && has(body, "tools") {
        return Err(Refusal::bad("json mode cannot be combined with tool/function calling"));
    }
    Ok(())
}

const MISTRAL_KEYS: [&str; 26] = [
    "model",
    "messages",
    "temperature",
    "top_p",
    "top_k",
    "max_tokens",
    "stream",
    "stop",
    "random_seed",
    "metadata",
    "response_format",
    "tools",
    "tool_choice",
    "presence_penalty",
    "frequency_penalty",
    "n",
    "prediction",
    "parallel_tool_calls",
    "reasoning_effort",
    "prompt_mode",
    "safe_prompt",
    "guardrails",
    "prompt_cache_key",
    "service_tier",
    "logprobs",
    "top_logprobs",
];

fn check_mistral(body: &Value) -> Result<(), Refusal> {
    if let Some((_, name)) =
        unsupported(body, &["reasoning", "reasoning_content", "reasoning_details", "name"])
    {
        return Err(Refusal::with_status(422, "Extra inputs are not permitted").at(name));
    }
    if let Some(key) = unknown_key(body, &MISTRAL_KEYS) {
        return Err(Refusal::with_status(422, "Extra inputs are not permitted").at(key));
    }
    let calls = items(body, "messages").iter().flat_map(|message| items(message, "tool_calls"));
    let mut ids = calls.map(|call| text(call, "id"));
    let wrong = ids.find(|id| id.len() != 9 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    wrong.map_or(Ok(()), |id| {
        let rule = "must be a-z, A-Z, 0-9, with a length of 9.";
        Err(Refusal::bad(format!("Tool call id was {id} but {rule}")))
    })
}

fn check_perplexity(body: &Value) -> Result<(), Refusal> {
    if has(body, "tools") {
        return Err(Refusal::bad("Tool calling is not supported for this model."));
    }
    if body.pointer("/response_format/type").is_some_and(|kind| kind == "json_object") {
        return Err(Refusal::bad("response_format.type must be text, json_schema or regex"));
    }
    let roles = items(body, "messages").iter().map(|message| text(message, "role"));
    let turns: Vec<&str> = roles.skip_while(|role| *role == "system").collect();
    let alternating =
        turns.iter().enumerate().all(|(index, role)| (index % 2 == 0) == (*role != "assistant"));
    if !alternating || turns.last() == Some(&"assistant") {
        return Err(Refusal::bad(
            "After the (optional) system message(s), user or tool message(s) should alternate with assistant \
             message(s).",
        ));
    }
    Ok(())
}

fn check_xai(body: &Value) -> Result<(), Refusal> {
    let refused =
        ["frequency_penalty", "presence_penalty", "stop"].into_iter().find(|field| has(body, field));
    refused.map_or(Ok(()), |field| {
        Err(Refusal::bad(format!("Model does not support parameter {field}.")).at(field))
    })
}
