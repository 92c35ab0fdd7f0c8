//! Anthropic's Messages API: its own address, and the `rawPredict` paths of Vertex.

use crate::brain::{self, Answer, Choice, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, fragments, has, items, strings, text, unknown_key};
use crate::proof::{claudes, holds_after, is_claudes};
use bytes::Bytes;
use serde_json::{Value, json};

/// The format, on one of its two platforms.
pub struct Anthropic {
    /// Vertex keeps the model in the path and the version in the body.
    pub vertex: bool,
}

impl Format for Anthropic {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        if self.vertex && !has(&call.body, "anthropic_version") {
            return Err(Refusal::bad("anthropic_version: Field required"));
        }
        if !self.vertex && !call.headers.contains_key("anthropic-version") {
            return Err(Refusal::bad("anthropic-version: header is required"));
        }
        if !self.vertex && call.model.is_empty() {
            return Err(Refusal::bad("model: Field required"));
        }
        if !self.vertex && has(&call.body, "thread") {
            let refusal = Refusal::bad("thread: this request cannot be threaded (the mock keeps nothing)");
            return Err(refusal.code("thread_unsupported_request"));
        }
        if !has(&call.body, "max_tokens") {
            return Err(Refusal::bad("max_tokens: Field required"));
        }
        let home = if self.vertex { &["anthropic_version", "anthropic_beta"][..] } else { &["model"][..] };
        let known: Vec<&str> = KNOWN_KEYS.iter().chain(home).copied().collect();
        if let Some(key) = unknown_key(&call.body, &known) {
            return Err(extra(key));
        }
        check_betas(call)?;
        let body = without_unproved_thinking(call);
        let prompt = read(&body)?;
        if binds(call) {
            check_binding(&body)?;
        }
        Ok(prompt)
    }

    fn write(&self, call: &Call, _: &Prompt, answer: &Answer) -> Reply {
        let reply = if call.streaming {
            Reply::stream("text/event-stream; charset=utf-8", stream(call, answer))
        } else {
            Reply::json(200, &message(call, answer))
        };
        with_headers(reply, call)
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        with_headers(Reply::json(refusal.status, &error_body(call, refusal)), call)
    }

    fn too_long(&self) -> Refusal {
        Refusal::bad("prompt is too long: 1220000 tokens > 1000000 maximum")
    }

    fn stream_error(&self, call: &Call) -> Bytes {
        event(&error_body(call, &Refusal::with_status(529, "Overloaded (on command).")))
    }
}

/// `POST /v1/messages/count_tokens`.
pub fn count_tokens(call: &Call) -> Reply {
    match read(&call.body) {
        Ok(prompt) => Reply::json(200, &json!({ "input_tokens": brain::input_tokens(&prompt) })),
        Err(refusal) => Anthropic { vertex: false }.refuse(call, &refusal),
    }
}

const KNOWN_KEYS: [&str; 25] = [
    "max_tokens",
    "messages",
    "system",
    "stop_sequences",
    "stream",
    "temperature",
    "top_p",
    "top_k",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "output_format",
    "metadata",
    "service_tier",
    "speed",
    "cache_control",
    "inference_geo",
    "container",
    "context_management",
    "mcp_servers",
    "fallbacks",
    "diagnostics",
    "user_profile_id",
    "betas",
];

/// A host that signs nothing (`fault-no-proofs`) ignores returned thinking.
fn without_unproved_thinking(call: &Call) -> Value {
    let mut body = call.body.clone();
    let messages = body.get_mut("messages").and_then(Value::as_array_mut).filter(|_| !call.proves());
    for message in messages.into_iter().flatten() {
        if let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) {
            blocks.retain(|block| text(block, "type") != "thinking");
        }
    }
    body
}

/// Fields that are accepted only with a beta header.
fn check_betas(call: &Call) -> Result<(), Refusal> {
    let header = call.headers.get_all("anthropic-beta").iter().filter_map(|value| value.to_str().ok());
    let betas: Vec<String> =
        header.map(str::to_string).chain(strings(call.body.get("anthropic_beta"))).collect();
    let uses = |beta: &str| betas.iter().any(|named| named.contains(beta));
    if has(&call.body, "context_management") && !uses("context-management-") {
        return Err(extra("context_management"));
    }
    if has(&call.body, "mcp_servers") && !uses("mcp-client-") {
        return Err(extra("mcp_servers"));
    }
    let per_turn = items(&call.body, "messages").iter().position(|message| has(message, "output_config"));
    match per_turn.filter(|_| !uses("per-turn-control-") && !uses("mid-conversation-output-config-")) {
        Some(index) => Err(extra(&format!("messages.{index}.output_config"))),
        None => Ok(()),
    }
}

fn extra(place: &str) -> Refusal {
    Refusal::bad(format!("{place}: Extra inputs are not permitted"))
}

/// The fields of a message and of its blocks.
fn check_message(index: usize, message: &Value) -> Result<(), Refusal> {
    if let Some(key) = unknown_key(message, &["role", "content", "output_config"]) {
        return Err(extra(&format!("messages.{index}.{key}")));
    }
    for (number, block) in items(message, "content").iter().enumerate() {
        let kind = text(block, "type");
        let known: &[&str] = match kind {
            "text" => &["text", "citations"],
            "image" => &["source"],
            "document" => &["source", "title", "context", "citations"],
            "tool_use" => &["id", "name", "input", "caller", "toolset_name"],
            "tool_result" => &["tool_use_id", "content", "is_error"],
            "thinking" => &["thinking", "signature"],
            "redacted_thinking" => &["data"],
            _ => continue,
        };
        let thinks = kind.ends_with("thinking");
        let common = if thinks { &["type"][..] } else { &["type", "cache_control"] };
        let known: Vec<&str> = known.iter().chain(common).copied().collect();
        if let Some(key) = unknown_key(block, &known) {
            return Err(extra(&format!("messages.{index}.content.{number}.{kind}.{key}")));
        }
    }
    Ok(())
}

/// A request may have at most four cache marks.
fn check_cache_marks(body: &Value) -> Result<(), Refusal> {
    let blocks = items(body, "messages").iter().flat_map(|message| items(message, "content"));
    let inner = blocks.clone().flat_map(|block| items(block, "content"));
    let marked = items(body, "system").iter().chain(items(body, "tools")).chain(blocks).chain(inner);
    let count = marked.filter(|block| has(block, "cache_control")).count();
    if count > 4 {
        Err(Refusal::bad(format!("A maximum of 4 blocks with cache_control may be provided. Found {count}.")))
    } else {
        Ok(())
    }
}

/// Reads a tool that the caller runs. Server tools have a dated type and no schema, and the mock ignores
/// them.
fn read_tool(index: usize, tool: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    let place = format!("tools.{index}.custom");
    if has(tool, "type") && text(tool, "type") != "custom" {
        return Ok(());
    }
    if let Some(key) = unknown_key(tool, &TOOL_KEYS) {
        return Err(extra(&format!("{place}.{key}")));
    }
    if !has(tool, "input_schema") {
        return Err(Refusal::bad(format!("{place}.input_schema: Field required")));
    }
    match tool.pointer("/input_schema/type") {
        None => return Err(Refusal::bad(format!("{place}.input_schema.type: Field required"))),
        Some(kind) if kind != "object" => {
            return Err(Refusal::bad(format!("{place}.input_schema.type: Input should be 'object'")));
        }
        Some(_) => {}
    }
    let name = text(tool, "name");
    let sound = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > 128 || !name.chars().all(sound) {
        return Err(Refusal::bad(format!(
            "{place}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        )));
    }
    if prompt.tools.iter().any(|other| other.name == name) {
        return Err(Refusal::bad("tools: Tool names must be unique."));
    }
    // The model does not see tools with deferred loading.
    if tool.get("defer_loading") != Some(&Value::Bool(true)) {
        prompt.tools.push(Tool::function(name, tool["input_schema"].clone()));
    }
    Ok(())
}

const TOOL_KEYS: [&str; 10] = [
    "name",
    "description",
    "input_schema",
    "type",
    "cache_control",
    "strict",
    "defer_loading",
    "eager_input_streaming",
    "allowed_callers",
    "input_examples",
];

fn with_headers(reply: Reply, call: &Call) -> Reply {
    let reply = reply.header("request-id", call.id("req_"));
    if reply.status == 529 || reply.status == 429 || reply.status.is_server_error() {
        return reply.header("x-should-retry", "true");
    }
    reply
        .header("anthropic-ratelimit-requests-limit", "1000")
        .header("anthropic-ratelimit-requests-remaining", "999")
}

fn error_body(call: &Call, refusal: &Refusal) -> Value {
    let kind = match refusal.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    };
    let mut body = json!({
        "type": "error", "error": { "type": kind, "message": refusal.message }, "request_id": call.id("req_")
    });
    if let Some(code) = refusal.code.filter(|code| code.starts_with("thread_")) {
        body["error"]["details"] = json!({ "error_code": code });
    }
    body
}

fn read(body: &Value) -> Result<Prompt, Refusal> {
    check_sampling(body)?;
    let mut prompt = Prompt::new();
    match body.get("system") {
        Some(Value::String(system)) => prompt.instruct(system),
        _ => items(body, "system").iter().for_each(|block| prompt.instruct(text(block, "text"))),
    }
    for (index, message) in items(body, "messages").iter().enumerate() {
        check_message(index, message)?;
    }
    read_messages(items(body, "messages"), &mut prompt)?;
    check_loop(body)?;
    check_cache_marks(body)?;
    for (index, tool) in items(body, "tools").iter().enumerate() {
        read_tool(index, tool, &mut prompt)?;
    }
    read_choice(body, &mut prompt)?;
    let schema =
        body.pointer("/output_config/format/schema").or_else(|| body.pointer("/output_format/schema"));
    prompt.json = schema.map_or(Json::No, |schema| Json::Schema(schema.clone()));
    prompt.reasoning = matches!(thinking_type(body), "enabled" | "adaptive");
    prompt.max_tokens = body.get("max_tokens").and_then(Value::as_u64);
    prompt.stop = strings(body.get("stop_sequences"));
    Ok(prompt)
}

fn thinking_type(body: &Value) -> &str {
    body.pointer("/thinking/type").and_then(Value::as_str).unwrap_or_default()
}

fn check_sampling(body: &Value) -> Result<(), Refusal> {
    let temperature = body.get("temperature").and_then(Value::as_f64);
    if temperature.is_some_and(|temperature| !(0.0..=1.0).contains(&temperature)) {
        return Err(Refusal::bad("temperature: range: 0..1"));
    }
    if strings(body.get("stop_sequences")).iter().any(|stop| stop.trim().is_empty()) {
        return Err(Refusal::bad("stop_sequences: each stop sequence must contain non-whitespace"));
    }
    if thinking_type(body) != "enabled" {
        return Ok(());
    }
    let budget = body.pointer("/thinking/budget_tokens").and_then(Value::as_u64).unwrap_or(0);
    if budget < 1024 {
        return Err(Refusal::bad(
            "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        ));
    }
    if body.get("max_tokens").and_then(Value::as_u64).is_some_and(|most| most <= budget) {
        return Err(Refusal::bad("`max_tokens` must be greater than `thinking.budget_tokens`."));
    }
    if temperature.is_some_and(|temperature| temperature != 1.0) {
        return Err(Refusal::bad("`temperature` may only be set to 1 when thinking is enabled."));
    }
    Ok(())
}

/// With a budget of thinking, the calls whose results come now must begin with their thinking.
fn check_loop(body: &Value) -> Result<(), Refusal> {
    let turns = turns(items(body, "messages"));
    let [.., (_, calls), (_, results)] = turns.as_slice() else { return Ok(()) };
    let blocks = |turn: &[&Value]| -> Vec<Value> {
        turn.iter().flat_map(|message| items(message, "content").to_vec()).collect()
    };
    let in_loop = blocks(results).iter().any(|block| text(block, "type") == "tool_result");
    let calls = blocks(calls);
    let first = calls.first().map_or("text", |block| text(block, "type"));
    if thinking_type(body) == "enabled" && in_loop && !matches!(first, "thinking" | "redacted_thinking") {
        return Err(Refusal::bad(format!(
            "messages.{}.content.0.type: Expected `thinking` or `redacted_thinking`, but found `{first}`. When \
             `thinking` is enabled, a final `assistant` message must start with a thinking block (preceeding the \
             lastmost set of `tool_use` and `tool_result` blocks).",
            turns.len() - 2
        )));
    }
    Ok(())
}

fn read_choice(body: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    let Some(choice) = body.get("tool_choice") else { return Ok(()) };
    prompt.parallel = choice.get("disable_parallel_tool_use") != Some(&Value::Bool(true));
    prompt.choice = match text(choice, "type") {
        "auto" => Choice::Auto,
        "none" => Choice::Never,
        "any" => Choice::Any,
        "tool" => Choice::Named(text(choice, "name").to_string()),
        other => {
            let message = format!(
                "tool_choice: Input tag '{other}' found using 'type' does not match any of the expected tags: \
                 'any', 'auto', 'none', 'tool'"
            );
            return Err(Refusal::bad(message));
        }
    };
    let forced = matches!(prompt.choice, Choice::Any | Choice::Named(_));
    if forced && thinking_type(body) == "enabled" {
        return Err(Refusal::bad("Thinking may not be enabled when tool_choice forces tool use."));
    }
    if let Choice::Named(name) = &prompt.choice
        && !prompt.tools.iter().any(|tool| tool.name == *name)
    {
        return Err(Refusal::bad(format!("Tool '{name}' not found in provided tools")));
    }
    Ok(())
}

/// Adjacent messages of one role count as one, as they do at Anthropic.
fn turns(messages: &[Value]) -> Vec<(&str, Vec<&Value>)> {
    let mut turns: Vec<(&str, Vec<&Value>)> = Vec::new();
    for message in messages {
        let role = text(message, "role");
        match turns.last_mut() {
            Some((last, parts)) if *last == role => parts.push(message),
            _ => turns.push((role, vec![message])),
        }
    }
    turns
}

fn read_messages(messages: &[Value], prompt: &mut Prompt) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::bad("messages: at least one message is required"));
    }
    let mut open: Vec<String> = Vec::new();
    let mut ids: Vec<String> = Vec::new();
    for (index, (role, turn)) in turns(messages).into_iter().enumerate() {
        match role {
            "user" => {
                prompt.begin_user();
                read_user(index, &turn, &mut open, prompt)?;
            }
            "assistant" if index == 0 => {
                return Err(Refusal::bad("messages: first message must use the \"user\" role"));
            }
            "assistant" => {
                prompt.begin_user();
                open = read_assistant(index, &turn, prompt)?;
                if open.iter().any(|id| ids.contains(id)) {
                    return Err(Refusal::bad(format!("messages.{index}: `tool_use` ids must be unique")));
                }
                ids.extend(open.iter().cloned());
            }
            "system" => turn.iter().for_each(|message| prompt.instruct(&plain(message.get("content")))),
            _ => {
                return Err(Refusal::bad(format!(
                    "messages.{index}.role: Input should be 'user' or 'assistant'"
                )));
            }
        }
        if role == "user" && !open.is_empty() {
            let ids = open.join(", ");
            return Err(Refusal::bad(format!(
                "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {ids}. \
                 Each `tool_use` block must have a corresponding `tool_result` block in the next message."
            )));
        }
    }
    Ok(())
}

fn read_user(
    index: usize,
    turn: &[&Value],
    open: &mut Vec<String>,
    prompt: &mut Prompt,
) -> Result<(), Refusal> {
    for message in turn {
        if let Some(said) = message.get("content").and_then(Value::as_str) {
            prompt.say(non_empty(said)?);
            continue;
        }
        for (number, block) in items(message, "content").iter().enumerate() {
            match text(block, "type") {
                "text" => prompt.say(non_empty(text(block, "text"))?),
                "image" => attach("image", block, prompt),
                "document" => attach("document", block, prompt),
                "tool_result" => {
                    let id = text(block, "tool_use_id");
                    let Some(position) = open.iter().position(|known| known == id) else {
                        return Err(Refusal::bad(format!(
                            "messages.{index}.content.{number}: unexpected `tool_use_id` found in `tool_result` \
                             blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in \
                             the previous message."
                        )));
                    };
                    open.remove(position);
                    prompt.result(&plain(block.get("content")));
                }
                other => {
                    let message = format!(
                        "messages.{index}.content.{number}: Input tag '{other}' found using 'type' does not match any of the expected tags"
                    );
                    return Err(Refusal::bad(message));
                }
            }
        }
    }
    Ok(())
}

fn non_empty(said: &str) -> Result<&str, Refusal> {
    if said.trim().is_empty() {
        return Err(Refusal::bad("messages: text content blocks must be non-empty"));
    }
    Ok(said)
}

fn check_signature(place: &str, block: &Value) -> Result<(), Refusal> {
    if text(block, "type") != "thinking" {
        return Ok(());
    }
    if text(block, "signature").is_empty() {
        return Err(Refusal::bad(format!("{place}.thinking.signature: Field required")));
    }
    if is_claudes(text(block, "signature"), text(block, "thinking")) {
        Ok(())
    } else {
        Err(Refusal::bad(format!("{place}: Invalid `signature` in `thinking` block")))
    }
}

/// The newest models bind their thinking to everything before it.
fn binds(call: &Call) -> bool {
    ["opus-5-5", "sonnet-5-5", "haiku-5-5", "fable-5-1", "fable-5-2"]
        .iter()
        .any(|name| call.model.contains(name))
}

fn check_binding(body: &Value) -> Result<(), Refusal> {
    let messages = items(body, "messages");
    for (index, message) in
        messages.iter().enumerate().filter(|(_, message)| text(message, "role") == "assistant")
    {
        let before = conversation(body, &messages[..index]);
        for (number, block) in items(message, "content").iter().enumerate() {
            let (thinking, given) = (text(block, "thinking"), text(block, "signature"));
            if text(block, "type") == "thinking" && !holds_after(given, thinking, &before) {
                return Err(Refusal::bad(format!(
                    "messages.{index}.content.{number}: Invalid thinking block. The block is bound to a different \
                     conversation."
                )));
            }
        }
    }
    Ok(())
}

/// The data that thinking is bound to: instructions, tools and messages, without cache marks.
fn conversation(body: &Value, messages: &[Value]) -> String {
    let mut all = json!([body.get("system"), body.get("tools"), messages]);
    without_marks(&mut all);
    all.to_string()
}

fn without_marks(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_marks),
        Value::Object(fields) => {
            fields.remove("cache_control");
            if let Some(said) = fields.get("content").and_then(Value::as_str) {
                fields["content"] = json!([{ "type": "text", "text": said }]);
            }
            fields.values_mut().for_each(without_marks);
        }
        _ => {}
    }
}

/// Returns the ids that the next turn must answer.
fn read_assistant(index: usize, turn: &[&Value], prompt: &mut Prompt) -> Result<Vec<String>, Refusal> {
    let mut open = Vec::new();
    for message in turn {
        prompt.count_text(&plain(message.get("content")));
        for (number, block) in items(message, "content").iter().enumerate() {
            let place = format!("messages.{index}.content.{number}");
            check_signature(&place, block)?;
            if text(block, "type") != "tool_use" {
                continue;
            }
            let id = text(block, "id");
            if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                let message = format!("{place}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'");
                return Err(Refusal::bad(message));
            }
            if !block.get("input").is_some_and(Value::is_object) {
                return Err(Refusal::bad(format!(
                    "{place}.tool_use.input: Input should be a valid dictionary"
                )));
            }
            open.push(id.to_string());
        }
    }
    Ok(open)
}

fn attach(kind: &'static str, block: &Value, prompt: &mut Prompt) {
    let source = block.get("source").cloned().unwrap_or_default();
    match text(&source, "type") {
        "base64" => prompt.attach(kind, text(&source, "media_type"), text(&source, "data")),
        "text" => prompt.attach_text(kind, text(&source, "media_type"), text(&source, "data")),
        "file" => prompt.attach_address(kind, text(&source, "file_id")),
        _ => prompt.attach_address(kind, text(&source, "url")),
    }
}

fn plain(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(blocks)) => blocks.iter().map(|block| text(block, "text")).collect(),
        _ => String::new(),
    }
}

/// With `display: "omitted"` the block comes empty, but signed.
fn shown_thinking<'a>(call: &Call, answer: &'a Answer) -> Option<&'a str> {
    let omitted = call.body.pointer("/thinking/display").is_some_and(|display| display == "omitted");
    answer.thinking.as_deref().map(|thinking| if omitted { "" } else { thinking })
}

fn blocks(call: &Call, answer: &Answer) -> Vec<Value> {
    let mut blocks = Vec::new();
    if let Some(thinking) = shown_thinking(call, answer) {
        let before = binds(call).then(|| conversation(&call.body, items(&call.body, "messages")));
        let signature = if call.proves() { claudes(thinking, before.as_deref()) } else { String::new() };
        blocks.push(json!({ "type": "thinking", "thinking": thinking, "signature": signature }));
    }
    if !answer.text.is_empty() {
        blocks.push(json!({ "type": "text", "text": answer.text }));
    }
    for (number, called) in answer.calls.iter().enumerate() {
        let id = call.call_id("toolu_", number);
        blocks.push(json!({ "type": "tool_use", "id": id, "name": called.name, "input": called.arguments }));
    }
    blocks
}

fn message(call: &Call, answer: &Answer) -> Value {
    let (reason, sequence) = stop_reason(&answer.finish);
    json!({
        "model": call.model, "id": call.id("msg_"), "type": "message", "role": "assistant",
        "content": blocks(call, answer), "stop_reason": reason, "stop_sequence": sequence,
        "usage": usage(answer, answer.output_tokens)
    })
}

fn stop_reason(finish: &Finish) -> (&'static str, Option<&str>) {
    match finish {
        Finish::Stop => ("end_turn", None),
        Finish::StopSequence(sequence) => ("stop_sequence", Some(sequence)),
        Finish::Length => ("max_tokens", None),
        Finish::Calls => ("tool_use", None),
    }
}

fn usage(answer: &Answer, output: u64) -> Value {
    let mut usage = json!({
        "input_tokens": answer.input_tokens, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0,
        "cache_creation": { "ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0 },
        "output_tokens": output, "service_tier": "standard"
    });
    if answer.thinking.is_some() && output == answer.output_tokens {
        usage["output_tokens_details"] = json!({ "thinking_tokens": answer.thinking_tokens });
    }
    usage
}

fn stream(call: &Call, answer: &Answer) -> Vec<Bytes> {
    stream_documents(call, answer).iter().map(event).collect()
}

/// The events of an answer.
pub fn stream_documents(call: &Call, answer: &Answer) -> Vec<Value> {
    let mut start = message(call, answer);
    start["content"] = json!([]);
    start["stop_reason"] = Value::Null;
    start["stop_sequence"] = Value::Null;
    start["usage"] = usage(answer, 1);
    let mut frames = vec![json!({ "type": "message_start", "message": start })];
    for (index, block) in blocks(call, answer).iter().enumerate() {
        frames.push(block_start(index, block));
        if index == 0 {
            frames.push(json!({ "type": "ping" }));
        }
        for delta in deltas(block) {
            frames.push(json!({ "type": "content_block_delta", "index": index, "delta": delta }));
        }
        frames.push(json!({ "type": "content_block_stop", "index": index }));
    }
    let (reason, sequence) = stop_reason(&answer.finish);
    frames.push(json!({
        "type": "message_delta", "delta": { "stop_reason": reason, "stop_sequence": sequence },
        "usage": usage(answer, answer.output_tokens)
    }));
    frames.push(json!({ "type": "message_stop" }));
    frames
}

fn block_start(index: usize, block: &Value) -> Value {
    let mut empty = block.clone();
    match text(block, "type") {
        "thinking" => {
            empty["thinking"] = "".into();
            empty["signature"] = "".into();
        }
        "text" => empty["text"] = "".into(),
        _ => empty["input"] = json!({}),
    }
    json!({ "type": "content_block_start", "index": index, "content_block": empty })
}

/// The first fragment of a tool's input is empty, as Anthropic sends it.
fn deltas(block: &Value) -> Vec<Value> {
    match text(block, "type") {
        "thinking" => {
            let thinking = pieces(text(block, "thinking")).into_iter();
            let deltas = thinking.map(|piece| json!({ "type": "thinking_delta", "thinking": piece }));
            let signature = text(block, "signature");
            let signed = json!({ "type": "signature_delta", "signature": signature });
            deltas.chain((!signature.is_empty()).then_some(signed)).collect()
        }
        "text" => {
            let texts = pieces(text(block, "text")).into_iter();
            texts.map(|piece| json!({ "type": "text_delta", "text": piece })).collect()
        }
        _ => {
            let input = block["input"].to_string();
            let parts = if input == "{}" { Vec::new() } else { fragments(&input) };
            let parts = std::iter::once(String::new()).chain(parts);
            parts.map(|part| json!({ "type": "input_json_delta", "partial_json": part })).collect()
        }
    }
}

/// Anthropic pads its data lines with spaces of varying number.
fn event(data: &Value) -> Bytes {
    let json = data.to_string();
    let padding = " ".repeat(json.len() % 8);
    Bytes::from(format!("event: {}\ndata: {json}{padding}\n\n", text(data, "type")))
}
