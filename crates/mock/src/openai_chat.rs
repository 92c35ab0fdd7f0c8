//! OpenAI's chat completions, as OpenAI, Azure and the many compatible providers speak it.

use crate::brain::{Answer, Called, Choice, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, data_frame, fragments, has, items, strings, text};
use crate::persona::{self, Persona};
use crate::proof::{CLAUDE, signature};
use bytes::Bytes;
use serde_json::{Map, Value, json};

/// The format; the path selects the provider's variant: see [`Persona`].
pub struct OpenAiChat;

impl Format for OpenAiChat {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        read(call)
    }

    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply {
        let writer = Writer { call, prompt, answer, persona: Persona::of(call) };
        let reply = if call.streaming {
            Reply::stream("text/event-stream; charset=utf-8", writer.stream())
        } else {
            Reply::json(200, &writer.whole())
        };
        with_headers(reply, call)
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        with_headers(Reply::json(refusal.status, &Persona::of(call).error_body(refusal)), call)
    }

    fn stream_error(&self, call: &Call) -> Bytes {
        let refusal =
            Refusal::with_status(500, "The server had an error while processing your request (on command).");
        let persona = Persona::of(call);
        let body = data_frame(&persona.error_body(&refusal));
        if persona == Persona::Groq { Bytes::from([b"event: error\n", body.as_ref()].concat()) } else { body }
    }
}

/// OpenAI's answer for an unknown path.
pub fn unknown_path(call: &Call) -> Reply {
    let refusal = Refusal::with_status(404, format!("Invalid URL ({})", call.path));
    Reply::json(404, &Persona::Plain.error_body(&refusal))
}

/// Azure keeps the model, which it calls a deployment, in the path.
pub fn deployment(path: &str) -> Option<String> {
    let (_, rest) = path.split_once("/openai/deployments/")?;
    rest.split('/').next().map(str::to_string)
}

fn with_headers(reply: Reply, call: &Call) -> Reply {
    reply
        .header("x-request-id", call.id("req_"))
        .header("openai-processing-ms", "1")
        .header("x-ratelimit-limit-requests", "30000")
        .header("x-ratelimit-remaining-requests", "29999")
        .header("x-ratelimit-reset-requests", "2ms")
}

fn read(call: &Call) -> Result<Prompt, Refusal> {
    let body = &call.body;
    if call.model.is_empty() {
        return Err(Refusal::bad("you must provide a model parameter"));
    }
    check_options(call)?;
    Persona::of(call).check(call)?;
    let mut prompt = Prompt::new();
    read_messages(items(body, "messages"), &mut prompt)?;
    prompt.tools = read_tools(body)?;
    prompt.choice = read_choice(body.get("tool_choice"));
    prompt.parallel = body.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
    prompt.json = read_json(body.get("response_format"))?;
    prompt.reasoning = match Persona::of(call) {
        Persona::DeepSeek | Persona::Moonshot => persona::thinks_unless_told_not_to(body),
        _ => wants_reasoning(body),
    };
    prompt.max_tokens =
        ["max_completion_tokens", "max_tokens"].iter().find_map(|key| body.get(*key)?.as_u64());
    prompt.stop = strings(body.get("stop"));
    prompt.count = body.get("n").and_then(Value::as_u64).unwrap_or(1) as usize;
    Ok(prompt)
}

fn check_options(call: &Call) -> Result<(), Refusal> {
    let body = &call.body;
    let missing = |name: &str| {
        Refusal::bad(format!("Missing required parameter: '{name}'."))
            .at(name)
            .code("missing_required_parameter")
    };
    if !has(body, "messages") {
        return Err(missing("messages"));
    }
    if items(body, "messages").is_empty() {
        let message = "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.";
        return Err(Refusal::bad(message).at("messages").code("empty_array"));
    }
    if has(body, "stream_options") && !call.streaming {
        let message = "The 'stream_options' parameter is only allowed when 'stream' is enabled.";
        return Err(Refusal::bad(message).at("stream_options"));
    }
    if body.get("tools").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        let message = "Invalid 'tools': empty array. Expected an array with minimum length 1.";
        return Err(Refusal::bad(message).at("tools").code("empty_array"));
    }
    if body.get("n").and_then(Value::as_u64).is_some_and(|count| !(1..=128).contains(&count)) {
        return Err(Refusal::bad("Invalid 'n': expected a value between 1 and 128.")
            .at("n")
            .code("invalid_value"));
    }
    let temperature = body.get("temperature").and_then(Value::as_f64);
    if temperature.is_some_and(|temperature| !(0.0..=2.0).contains(&temperature)) {
        let message = "Invalid 'temperature': decimal above maximum value. Expected a value <= 2.";
        return Err(Refusal::bad(message).at("temperature").code("decimal_above_max_value"));
    }
    Ok(())
}

fn read_messages(messages: &[Value], prompt: &mut Prompt) -> Result<(), Refusal> {
    let mut open: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = text(message, "role");
        if role == "tool" {
            let id = text(message, "tool_call_id");
            let Some(position) = open.iter().position(|known| *known == id) else {
                let message = "Invalid parameter: messages with role 'tool' must be a response to a preceding message with 'tool_calls'.";
                return Err(Refusal::bad(message).at(format!("messages.[{index}].role")));
            };
            open.remove(position);
            prompt.result(&plain(message.get("content")));
            continue;
        }
        if !open.is_empty() {
            return Err(unanswered(&open));
        }
        match role {
            "user" => read_user(message, prompt),
            "assistant" => {
                prompt.begin_user();
                prompt.count_text(&plain(message.get("content")));
                open = items(message, "tool_calls").iter().map(|call| text(call, "id")).collect();
            }
            "system" | "developer" => prompt.instruct(&plain(message.get("content"))),
            "function" => prompt.result(text(message, "content")),
            other => {
                let message = format!(
                    "Invalid value: '{other}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'."
                );
                return Err(Refusal::bad(message)
                    .at(format!("messages[{index}].role"))
                    .code("invalid_value"));
            }
        }
    }
    if open.is_empty() { Ok(()) } else { Err(unanswered(&open)) }
}

fn unanswered(open: &[&str]) -> Refusal {
    let ids = open.join(", ");
    let message = format!(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. \
         The following tool_call_ids did not have response messages: {ids}"
    );
    Refusal::bad(message).at("messages")
}

fn read_user(message: &Value, prompt: &mut Prompt) {
    prompt.begin_user();
    match message.get("content") {
        Some(Value::String(said)) => prompt.say(said),
        Some(Value::Array(parts)) => parts.iter().for_each(|part| read_part(part, prompt)),
        _ => {}
    }
}

fn read_part(part: &Value, prompt: &mut Prompt) {
    let inner = |key: &str| part.get(key).cloned().unwrap_or_default();
    match text(part, "type") {
        "text" => prompt.say(text(part, "text")),
        "image_url" => match part.get("image_url") {
            // Mistral also takes the bare URL.
            Some(Value::String(url)) => prompt.attach_url("image", url),
            _ => prompt.attach_url("image", text(&inner("image_url"), "url")),
        },
        "input_audio" => {
            let audio = inner("input_audio");
            prompt.attach("audio", text(&audio, "format"), text(&audio, "data"));
        }
        "file" => {
            let file = inner("file");
            let data = if has(&file, "file_data") { "file_data" } else { "file_id" };
            prompt.attach_url("document", text(&file, data));
        }
        "document_url" => prompt.attach_url("document", text(part, "document_url")),
        _ => {}
    }
}

/// The text of a content that is a string or an array of text parts.
fn plain(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(|part| text(part, "text")).collect(),
        _ => String::new(),
    }
}

fn read_tools(body: &Value) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (index, tool) in items(body, "tools").iter().enumerate() {
        let function = match text(tool, "type") {
            "function" => tool.get("function").cloned().unwrap_or_default(),
            // Its input is free text; a schema with one string represents it.
            "custom" => json!({
                "name": tool.pointer("/custom/name"),
                "parameters": { "type": "object", "properties": { "input": { "type": "string" } } }
            }),
            _ => continue,
        };
        let name = text(&function, "name").to_string();
        if name.is_empty() {
            let param = format!("tools[{index}].function.name");
            let message = format!("Missing required parameter: '{param}'.");
            return Err(Refusal::bad(message).at(param).code("missing_required_parameter"));
        }
        let schema = function.get("parameters").cloned().unwrap_or_default();
        tools.push(Tool { custom: text(tool, "type") == "custom", ..Tool::function(name, schema) });
    }
    Ok(tools)
}

fn read_choice(choice: Option<&Value>) -> Choice {
    match choice {
        Some(Value::String(word)) if word == "none" => Choice::Never,
        Some(Value::String(word)) if word == "required" || word == "any" => Choice::Any,
        Some(choice @ Value::Object(_)) => {
            let name = choice.pointer("/function/name").or_else(|| choice.pointer("/custom/name"));
            match (name.and_then(Value::as_str), choice.pointer("/allowed_tools/mode")) {
                (Some(name), _) => Choice::Named(name.to_string()),
                (None, Some(mode)) if mode == "required" => Choice::Any,
                _ => Choice::Auto,
            }
        }
        _ => Choice::Auto,
    }
}

fn read_json(format: Option<&Value>) -> Result<Json, Refusal> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(Json::No) };
    match text(format, "type") {
        "text" => Ok(Json::No),
        "json_object" => Ok(Json::AnyObject),
        "json_schema" => match format.pointer("/json_schema/schema") {
            Some(schema) => Ok(Json::Schema(schema.clone())),
            None => Err(Refusal::bad("Missing required parameter: 'response_format.json_schema'.")
                .at("response_format.json_schema")
                .code("missing_required_parameter")),
        },
        other => {
            let message = format!(
                "Invalid value: '{other}'. Supported values are: 'json_object', 'json_schema', and 'text'."
            );
            Err(Refusal::bad(message).at("response_format.type").code("invalid_value"))
        }
    }
}

/// The many ways in which compatible providers are asked for visible thinking.
fn wants_reasoning(body: &Value) -> bool {
    let effort =
        body.get("reasoning_effort").or_else(|| body.pointer("/reasoning/effort")).and_then(Value::as_str);
    let enabled = |pointer: &str| body.pointer(pointer) == Some(&Value::Bool(true));
    let thinking = body.pointer("/thinking/type").and_then(Value::as_str);
    effort.is_some_and(|effort| effort != "none")
        || matches!(thinking, Some("enabled" | "adaptive"))
        || enabled("/reasoning/enabled")
        || enabled("/enable_thinking")
        || enabled("/chat_template_kwargs/enable_thinking")
        || enabled("/chat_template_kwargs/thinking")
        || body.get("prompt_mode").is_some_and(|mode| mode == "reasoning")
}

struct Writer<'a> {
    call: &'a Call,
    prompt: &'a Prompt,
    answer: &'a Answer,
    persona: Persona,
}

impl Writer<'_> {
    fn whole(&self) -> Value {
        let choices: Vec<Value> = (0..self.prompt.count).map(|index| self.choice(index)).collect();
        let mut body = self.envelope("chat.completion");
        body.insert("choices".into(), choices.into());
        body.insert("usage".into(), self.usage());
        match self.persona {
            Persona::Azure => _ = body.insert("prompt_filter_results".into(), prompt_filter_results()),
            Persona::Perplexity => _ = body.insert("citations".into(), citations()),
            _ => {}
        }
        Value::Object(body)
    }

    fn choice(&self, index: usize) -> Value {
        let mut message = Map::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), self.whole_content(index));
        self.add_thinking(&mut message);
        message.insert("refusal".into(), Value::Null);
        message.insert("annotations".into(), json!([]));
        if !self.answer.calls.is_empty() {
            let calls = self.answer.calls.iter().enumerate();
            let calls: Vec<Value> =
                calls.map(|(number, called)| self.tool_call(index, number, called)).collect();
            message.insert("tool_calls".into(), calls.into());
        }
        let mut choice = Map::new();
        choice.insert("index".into(), index.into());
        choice.insert("message".into(), Value::Object(message));
        choice.insert("logprobs".into(), self.logprobs(&self.text(index)));
        choice.insert("finish_reason".into(), self.finish().into());
        if self.persona == Persona::Azure {
            choice.insert("content_filter_results".into(), safe());
        }
        Value::Object(choice)
    }

    fn whole_content(&self, index: usize) -> Value {
        let text = self.text(index);
        match &self.answer.thinking {
            Some(thinking) if self.persona == Persona::Mistral => {
                json!([thinking_part(thinking), { "type": "text", "text": text }])
            }
            _ if text.is_empty() && !self.answer.calls.is_empty() => Value::Null,
            _ => text.into(),
        }
    }

    fn add_thinking(&self, message: &mut Map<String, Value>) {
        let Some(thinking) = &self.answer.thinking else { return };
        match self.persona {
            Persona::Mistral => {}
            Persona::Groq | Persona::Cerebras => {
                _ = message.insert("reasoning".into(), thinking.as_str().into())
            }
            Persona::OpenRouter => {
                message.insert("reasoning".into(), thinking.as_str().into());
                message.insert("reasoning_details".into(), json!([signed_detail(thinking, thinking)]));
            }
            _ => _ = message.insert("reasoning_content".into(), thinking.as_str().into()),
        }
    }

    /// The answers of one request differ, so that mixed-up answers are noticed.
    fn text(&self, index: usize) -> String {
        if index == 0 || self.answer.text.is_empty() {
            return self.answer.text.clone();
        }
        format!("{} (choice {})", self.answer.text, index + 1)
    }

    fn tool_call(&self, index: usize, number: usize, called: &Called) -> Value {
        if let Value::String(input) = &called.arguments {
            return json!({
                "id": self.call_id(index, number), "type": "custom",
                "custom": { "name": called.name, "input": input }
            });
        }
        json!({
            "id": self.call_id(index, number), "type": "function",
            "function": { "name": called.name, "arguments": called.arguments.to_string() }
        })
    }

    fn call_id(&self, index: usize, number: usize) -> String {
        match self.persona {
            Persona::Mistral => format!("m{:05}{index}{number:02}", self.call.serial % 100_000),
            _ if self.call.asks_for("fault-same-ids") => format!("call_{number}"),
            _ => format!("call_mock{:08}_{index}_{number}", self.call.serial),
        }
    }

    fn finish(&self) -> &'static str {
        match self.answer.finish {
            Finish::Stop | Finish::StopSequence(_) => "stop",
            Finish::Length => "length",
            Finish::Calls => "tool_calls",
        }
    }

    fn logprobs(&self, text: &str) -> Value {
        if self.call.body.get("logprobs") != Some(&Value::Bool(true)) {
            return Value::Null;
        }
        let entry = |token: &str| json!({ "token": token, "logprob": -0.25, "bytes": token.as_bytes(), "top_logprobs": [] });
        json!({ "content": pieces(text).into_iter().map(entry).collect::<Vec<_>>(), "refusal": null })
    }

    fn usage(&self) -> Value {
        let answers = self.prompt.count as u64;
        let (input, thinking) = (self.answer.input_tokens, self.answer.thinking_tokens * answers);
        let output = self.answer.output_tokens * answers;
        let shown = if self.persona == Persona::Xai { output - thinking } else { output };
        let mut usage = json!({
            "prompt_tokens": input, "completion_tokens": shown, "total_tokens": input + output,
            "prompt_tokens_details": { "cached_tokens": 0, "audio_tokens": 0 },
            "completion_tokens_details": {
                "reasoning_tokens": thinking, "audio_tokens": 0,
                "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0
            }
        });
        if self.persona == Persona::DeepSeek {
            usage["prompt_cache_hit_tokens"] = 0.into();
            usage["prompt_cache_miss_tokens"] = input.into();
        }
        usage
    }

    fn envelope(&self, object: &str) -> Map<String, Value> {
        let mut envelope = Map::new();
        envelope.insert("id".into(), self.call.id("chatcmpl-").into());
        envelope.insert("object".into(), object.into());
        envelope.insert("created".into(), self.call.created.into());
        envelope.insert("model".into(), self.call.model.as_str().into());
        envelope.insert("system_fingerprint".into(), "fp_mock".into());
        envelope
    }

    fn stream(&self) -> Vec<Bytes> {
        let mut frames = Vec::new();
        if self.persona == Persona::Azure {
            frames.push(data_frame(&json!({
                "choices": [], "created": 0, "id": "", "model": "", "object": "",
                "prompt_filter_results": prompt_filter_results()
            })));
        }
        if self.persona == Persona::OpenRouter {
            frames.push(Bytes::from_static(b": OPENROUTER PROCESSING\n\n"));
        }
        (0..self.prompt.count).for_each(|index| self.stream_choice(index, &mut frames));
        self.stream_usage(&mut frames);
        if self.persona != Persona::Perplexity {
            frames.push(Bytes::from_static(b"data: [DONE]\n\n"));
        }
        frames
    }

    fn stream_choice(&self, index: usize, frames: &mut Vec<Bytes>) {
        let first = json!({ "role": "assistant", "content": "", "refusal": null });
        frames.push(self.chunk(index, first, Value::Null, None));
        for piece in pieces(self.answer.thinking.as_deref().unwrap_or_default()) {
            frames.push(self.chunk(index, self.thinking_delta(piece), Value::Null, None));
        }
        if let (Persona::OpenRouter, Some(thinking)) = (self.persona, &self.answer.thinking) {
            let signed = json!({ "reasoning_details": [signed_detail("", thinking)] });
            frames.push(self.chunk(index, signed, Value::Null, None));
        }
        for piece in pieces(&self.text(index)) {
            frames.push(self.chunk(index, json!({ "content": piece }), self.logprobs(piece), None));
        }
        for (number, called) in self.answer.calls.iter().enumerate() {
            for delta in self.call_deltas(index, number, called) {
                frames.push(self.chunk(index, json!({ "tool_calls": [delta] }), Value::Null, None));
            }
        }
        frames.push(self.chunk(index, json!({}), Value::Null, Some(self.finish())));
    }

    fn thinking_delta(&self, piece: &str) -> Value {
        match self.persona {
            Persona::Mistral => json!({ "content": [thinking_part(piece)] }),
            Persona::Groq | Persona::Cerebras => json!({ "reasoning": piece }),
            Persona::OpenRouter => {
                json!({ "reasoning": piece, "reasoning_details": [reasoning_detail(piece)] })
            }
            _ => json!({ "reasoning_content": piece }),
        }
    }

    fn call_deltas(&self, index: usize, number: usize, called: &Called) -> Vec<Value> {
        let mut first = self.tool_call(index, number, called);
        first["index"] = number.into();
        if self.persona == Persona::Mistral {
            return vec![first];
        }
        let (group, field, whole) = match &called.arguments {
            Value::String(input) => ("custom", "input", input.clone()),
            arguments => ("function", "arguments", arguments.to_string()),
        };
        first[group][field] = "".into();
        let later =
            fragments(&whole).into_iter().map(|part| json!({ "index": number, group: { field: part } }));
        std::iter::once(first).chain(later).collect()
    }

    fn chunk(&self, index: usize, delta: Value, logprobs: Value, finish: Option<&str>) -> Bytes {
        let mut choice =
            json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": finish });
        if self.persona == Persona::Azure {
            choice["content_filter_results"] = if finish.is_some() { json!({}) } else { safe() };
        }
        let mut chunk = self.envelope("chat.completion.chunk");
        chunk.insert("choices".into(), json!([choice]));
        self.decorate(&mut chunk, finish.is_some());
        data_frame(&Value::Object(chunk))
    }

    /// The members that a provider adds to every chunk.
    fn decorate(&self, chunk: &mut Map<String, Value>, finished: bool) {
        match self.persona {
            Persona::Perplexity => {
                chunk.insert("usage".into(), self.usage());
                chunk.insert("citations".into(), citations());
            }
            Persona::DeepSeek | Persona::Mistral if finished => {
                _ = chunk.insert("usage".into(), self.usage())
            }
            Persona::Groq if finished => {
                chunk.insert("x_groq".into(), json!({ "id": self.call.id("req_"), "usage": self.usage() }));
            }
            Persona::Mistral => _ = chunk.insert("p".into(), "abcdefghijklmn".into()),
            Persona::Plain => {
                chunk.insert("obfuscation".into(), "mock".into());
            }
            _ => {}
        }
        if self.include_usage() && !chunk.contains_key("usage") {
            chunk.insert("usage".into(), Value::Null);
        }
    }

    fn include_usage(&self) -> bool {
        self.call.body.pointer("/stream_options/include_usage") == Some(&Value::Bool(true))
    }

    /// The usage chunk, for callers who asked for it and did not get usage before.
    fn stream_usage(&self, frames: &mut Vec<Bytes>) {
        let has_usage = matches!(self.persona, Persona::DeepSeek | Persona::Mistral | Persona::Perplexity);
        if has_usage || !self.include_usage() {
            return;
        }
        let mut chunk = self.envelope("chat.completion.chunk");
        chunk.insert("choices".into(), json!([]));
        chunk.insert("usage".into(), self.usage());
        frames.push(data_frame(&Value::Object(chunk)));
    }
}

fn thinking_part(thinking: &str) -> Value {
    json!({ "type": "thinking", "thinking": [{ "type": "text", "text": thinking }], "closed": true })
}

fn reasoning_detail(thinking: &str) -> Value {
    json!({ "type": "reasoning.text", "text": thinking, "format": "anthropic-claude-v1", "index": 0 })
}

fn signed_detail(shown: &str, thinking: &str) -> Value {
    let mut detail = reasoning_detail(shown);
    detail["signature"] = signature(CLAUDE, thinking).into();
    detail
}

fn citations() -> Value {
    json!(["https://example.com/mock"])
}

fn safe() -> Value {
    let safe = json!({ "filtered": false, "severity": "safe" });
    json!({ "hate": safe, "self_harm": safe, "sexual": safe, "violence": safe })
}

fn prompt_filter_results() -> Value {
    let mut results = safe();
    results["jailbreak"] = json!({ "filtered": false, "detected": false });
    json!([{ "prompt_index": 0, "content_filter_results": results }])
}
