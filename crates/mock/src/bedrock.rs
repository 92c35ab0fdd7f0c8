//! Bedrock's Converse API with its binary event stream, and InvokeModel for Claude.

use crate::anthropic::{Anthropic, stream_documents};
use crate::brain::{self, Answer, Choice, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, fragments, has, items, strings, text, unknown_key};
use crate::proof::{claudes, is_claudes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub struct Converse;

impl Format for Converse {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        if let Some(key) = unknown_key(&call.body, &KNOWN_KEYS) {
            return Err(Refusal::bad(format!("The request holds the unknown field {key}.")));
        }
        read(&call.body)
    }

    fn write(&self, call: &Call, _: &Prompt, answer: &Answer) -> Reply {
        let reply = if call.streaming {
            Reply::stream("application/vnd.amazon.eventstream", stream(call, answer))
        } else {
            Reply::json(200, &whole(call, answer))
        };
        with_headers(reply, call)
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        let kind = error_type(refusal.status);
        let reply = Reply::json(refusal.status, &json!({ "message": refusal.message }));
        let kind = format!("{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/");
        with_headers(reply, call).header("x-amzn-errortype", kind)
    }

    fn too_long(&self) -> Refusal {
        Refusal::bad("Input is too long for requested model.")
    }

    fn stream_error(&self, _: &Call) -> Bytes {
        let headers = [
            (":exception-type", "internalServerException"),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        ];
        let payload = json!({ "message": "The system encountered an unexpected error (on command)." });
        frame(&headers, payload.to_string().as_bytes())
    }
}

/// InvokeModel with a model of Anthropic's: the Messages API, with streams in binary frames.
pub struct Invoke;

/// Betas that exist only on Anthropic's own platform; the cloud refuses them.
const REFUSED_BETAS: [&str; 6] =
    ["code-execution-", "files-api-", "mcp-client-", "per-turn-control-", "skills-", "advanced-tool-use-"];

impl Format for Invoke {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        if call.headers.contains_key("anthropic-beta") || call.headers.contains_key("anthropic-version") {
            return Err(Refusal::bad("anthropic-beta and anthropic-version belong into the body here."));
        }
        let betas = strings(call.body.get("anthropic_beta"));
        if betas.iter().any(|beta| REFUSED_BETAS.iter().any(|refused| beta.starts_with(refused))) {
            return Err(Refusal::bad("invalid beta flag"));
        }
        if let Some(key) = ["model", "stream", "service_tier"].into_iter().find(|key| has(&call.body, key)) {
            return Err(Refusal::bad(format!("{key}: Extra inputs are not permitted")));
        }
        Anthropic { vertex: true }.read(call)
    }

    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply {
        let reply = if call.streaming {
            let frames = stream_documents(call, answer).iter().map(chunk).collect();
            Reply::stream("application/vnd.amazon.eventstream", frames)
        } else {
            Anthropic { vertex: true }.write(call, prompt, answer)
        };
        with_headers(reply, call)
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        Converse.refuse(call, refusal)
    }

    fn too_long(&self) -> Refusal {
        Converse.too_long()
    }

    fn stream_error(&self, call: &Call) -> Bytes {
        Converse.stream_error(call)
    }
}

/// One event of the Messages API in a frame.
fn chunk(document: &Value) -> Bytes {
    let bytes = STANDARD.encode(document.to_string());
    let headers =
        [(":event-type", "chunk"), (":content-type", "application/json"), (":message-type", "event")];
    frame(&headers, json!({ "bytes": bytes, "p": "abcdef" }).to_string().as_bytes())
}

/// `…/model/M/count-tokens`.
pub fn count_tokens(call: &Call) -> Reply {
    let converse = call.body.pointer("/input/converse").cloned().unwrap_or_default();
    match read(&converse) {
        Ok(prompt) => {
            with_headers(Reply::json(200, &json!({ "inputTokens": brain::input_tokens(&prompt) })), call)
        }
        Err(refusal) => Converse.refuse(call, &refusal),
    }
}

const KNOWN_KEYS: [&str; 13] = [
    "messages",
    "system",
    "inferenceConfig",
    "toolConfig",
    "guardrailConfig",
    "additionalModelRequestFields",
    "additionalModelResponseFieldPaths",
    "outputConfig",
    "serviceTier",
    "performanceConfig",
    "requestMetadata",
    "promptVariables",
    "modelId",
];

fn with_headers(reply: Reply, call: &Call) -> Reply {
    reply.header("x-amzn-requestid", format!("00000000-0000-4000-8000-{:012}", call.serial))
}

fn error_type(status: u16) -> &'static str {
    match status {
        401 => "UnrecognizedClientException",
        402 | 403 => "AccessDeniedException",
        404 => "ResourceNotFoundException",
        408 => "ModelTimeoutException",
        424 => "ModelErrorException",
        429 => "ThrottlingException",
        503 | 529 => "ServiceUnavailableException",
        500.. => "InternalServerException",
        _ => "ValidationException",
    }
}

fn read(body: &Value) -> Result<Prompt, Refusal> {
    let mut prompt = Prompt::new();
    items(body, "system").iter().for_each(|block| prompt.instruct(text(block, "text")));
    let tools = body.get("toolConfig").cloned().unwrap_or_default();
    read_messages(items(body, "messages"), !tools.is_null(), &mut prompt)?;
    if !tools.is_null() && items(&tools, "tools").is_empty() {
        return Err(Refusal::bad(
            "1 validation error detected: Value at 'toolConfig.tools' failed to satisfy constraint: Member must have length greater than or equal to 1",
        ));
    }
    for tool in items(&tools, "tools").iter().filter_map(|tool| tool.get("toolSpec")) {
        let schema = tool.pointer("/inputSchema/json").cloned();
        let Some(schema) = schema.filter(Value::is_object) else {
            return Err(Refusal::bad(
                "The toolConfig.tools.toolSpec.inputSchema.json field must be a JSON object.",
            ));
        };
        prompt.tools.push(Tool::function(text(tool, "name"), schema));
    }
    let choice = tools.get("toolChoice").cloned().unwrap_or_default();
    prompt.choice = match choice.pointer("/tool/name").and_then(Value::as_str) {
        Some(name) => Choice::Named(name.to_string()),
        None if has(&choice, "any") => Choice::Any,
        None => Choice::Auto,
    };
    prompt.json = read_json(body)?;
    let extra = body.get("additionalModelRequestFields").cloned().unwrap_or_default();
    prompt.reasoning = wants_reasoning(&extra);
    check_loop(items(body, "messages"), &extra)?;
    prompt.parallel = extra.pointer("/tool_choice/disable_parallel_tool_use") != Some(&Value::Bool(true));
    prompt.max_tokens = body.pointer("/inferenceConfig/maxTokens").and_then(Value::as_u64);
    if prompt.max_tokens == Some(0) {
        return Err(Refusal::bad(
            "1 validation error detected: Value at 'inferenceConfig.maxTokens' failed to satisfy constraint: Member must have value greater than or equal to 1",
        ));
    }
    prompt.stop = strings(body.pointer("/inferenceConfig/stopSequences"));
    Ok(prompt)
}

/// With a budget of thinking, the calls whose results come now must begin with their thinking.
fn check_loop(messages: &[Value], extra: &Value) -> Result<(), Refusal> {
    let [.., calls, results] = messages else { return Ok(()) };
    let has_budget = extra.pointer("/thinking/type").is_some_and(|kind| kind == "enabled");
    let in_loop = items(results, "content").iter().any(|block| has(block, "toolResult"));
    let thought = items(calls, "content").first().is_some_and(|block| has(block, "reasoningContent"));
    if has_budget && in_loop && !thought {
        return Err(Refusal::bad(format!(
            "The model returned the following errors: messages.{}.content.0.type: Expected `thinking` or \
             `redacted_thinking`, but found `tool_use`. When `thinking` is enabled, a final `assistant` message must \
             start with a thinking block.",
            messages.len() - 2
        )));
    }
    Ok(())
}

fn wants_reasoning(extra: &Value) -> bool {
    let enabled = |pointer: &str| {
        let kind = extra.pointer(pointer).and_then(Value::as_str);
        matches!(kind, Some("enabled" | "adaptive"))
    };
    enabled("/thinking/type")
        || enabled("/reasoningConfig/type")
        || has(extra, "reasoning_config")
        || has(extra, "reasoning")
        || extra.get("reasoning_effort").is_some_and(|effort| effort != "none")
}

/// The schema arrives as a string.
fn read_json(body: &Value) -> Result<Json, Refusal> {
    let Some(schema) = body.pointer("/outputConfig/textFormat/structure/jsonSchema/schema") else {
        return Ok(Json::No);
    };
    let parsed = schema.as_str().and_then(|schema| serde_json::from_str(schema).ok());
    parsed.map(Json::Schema).ok_or_else(|| {
        Refusal::bad("The outputConfig.textFormat.structure.jsonSchema.schema field must be a string with a JSON schema.")
    })
}

fn read_messages(messages: &[Value], tools_given: bool, prompt: &mut Prompt) -> Result<(), Refusal> {
    if messages.is_empty() {
        return Err(Refusal::bad("The messages field must hold at least one message."));
    }
    let mut open: Vec<&str> = Vec::new();
    let mut expected = "user";
    for (index, message) in messages.iter().enumerate() {
        let role = text(message, "role");
        if role != expected {
            return Err(Refusal::bad(wrong_role(index, role)));
        }
        expected = if role == "user" { "assistant" } else { "user" };
        let blocks = items(message, "content");
        if blocks.is_empty() {
            let message = format!(
                "The content field in the Message object at messages.{index} is empty. Add a ContentBlock object to the content field and try again."
            );
            return Err(Refusal::bad(message));
        }
        prompt.begin_user();
        let mut answered = Vec::new();
        for (number, block) in blocks.iter().enumerate() {
            let place = format!("messages.{index}.content.{number}");
            if (has(block, "toolUse") || has(block, "toolResult")) && !tools_given {
                return Err(Refusal::bad(
                    "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
                ));
            }
            check_block(block, &place)?;
            answered.extend(block.pointer("/toolResult/toolUseId").and_then(Value::as_str));
            read_block(role, block, prompt);
        }
        check_results(index, &open, &answered)?;
        let calls = blocks.iter().filter_map(|block| block.pointer("/toolUse/toolUseId")?.as_str());
        open = calls.collect();
    }
    Ok(())
}

fn wrong_role(index: usize, role: &str) -> &'static str {
    match (index, role) {
        (0, "assistant") => {
            "A conversation must start with a user message. Try again with a conversation that starts with a user message."
        }
        (_, "user" | "assistant") => {
            "A conversation must alternate between user and assistant roles. Make sure the conversation alternates \
             between user and assistant roles and try again."
        }
        _ => {
            "1 validation error detected: Value at 'messages.role' failed to satisfy constraint: Member must satisfy \
             enum value set: [user, assistant]"
        }
    }
}

fn check_results(index: usize, open: &[&str], answered: &[&str]) -> Result<(), Refusal> {
    let missing: Vec<&str> = open.iter().filter(|id| !answered.contains(id)).copied().collect();
    if !missing.is_empty() {
        let ids = missing.join(", ");
        return Err(Refusal::bad(format!(
            "Expected toolResult blocks at messages.{index}.content for the following Ids: {ids}"
        )));
    }
    if answered.len() > open.len() {
        return Err(Refusal::bad(format!(
            "The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse blocks of \
             previous turn."
        )));
    }
    Ok(())
}

fn check_block(block: &Value, place: &str) -> Result<(), Refusal> {
    if block.as_object().is_none_or(|object| object.len() != 1) {
        return Err(Refusal::bad(format!(
            "The ContentBlock object at {place} must set exactly one of the fields."
        )));
    }
    if block.get("text").is_some_and(|said| said.as_str().is_none_or(|said| said.trim().is_empty())) {
        return Err(Refusal::bad(format!(
            "The text field in the ContentBlock object at {place} is blank. Add text to the text field, and try again."
        )));
    }
    if block.get("image").is_some_and(|image| {
        image.pointer("/source/bytes").is_none() && image.pointer("/source/s3Location").is_none()
    }) {
        return Err(Refusal::bad(format!("The image source at {place} must hold bytes or an s3Location.")));
    }
    if block.get("document").is_some_and(|document| text(document, "name").is_empty()) {
        return Err(Refusal::bad(format!("The document at {place} must have a name.")));
    }
    if block.get("toolUse").is_some_and(|call| !call.get("input").is_some_and(Value::is_object)) {
        return Err(Refusal::bad(format!(
            "The input of the toolUse block at {place} must be a JSON object."
        )));
    }
    let reasoning = block.pointer("/reasoningContent/reasoningText");
    if reasoning.is_some_and(|reasoning| text(reasoning, "signature").is_empty()) {
        return Err(Refusal::bad(format!("The reasoningContent block at {place} must have a signature.")));
    }
    if reasoning.is_some_and(|reasoning| !is_claudes(text(reasoning, "signature"), text(reasoning, "text"))) {
        return Err(Refusal::bad(format!(
            "The model returned the following errors: {place}: Invalid `signature` in `thinking` block"
        )));
    }
    Ok(())
}

fn read_block(role: &str, block: &Value, prompt: &mut Prompt) {
    if let Some(said) = block.get("text").and_then(Value::as_str) {
        if role == "user" { prompt.say(said) } else { prompt.count_text(said) }
    }
    for kind in ["image", "document", "audio", "video"] {
        let Some(media) = block.get(kind) else { continue };
        match media.pointer("/source/bytes").and_then(Value::as_str) {
            Some(bytes) => prompt.attach(kind, text(media, "format"), bytes),
            None => prompt.attach_address(kind, text(media, "format")),
        }
    }
    if let Some(result) = block.get("toolResult") {
        let texts = items(result, "content").iter().map(|item| match item.get("json") {
            Some(json) => json.to_string(),
            None => text(item, "text").to_string(),
        });
        prompt.result(&texts.collect::<String>());
    }
}

fn tool_use(call: &Call, number: usize, name: &str) -> Value {
    json!({ "toolUseId": call.id(&format!("tooluse_{number}")), "name": name })
}

fn whole(call: &Call, answer: &Answer) -> Value {
    let mut content = Vec::new();
    if let Some(thinking) = &answer.thinking {
        let reasoning =
            json!({ "reasoningText": { "text": thinking, "signature": claudes(thinking, None) } });
        content.push(json!({ "reasoningContent": reasoning }));
    }
    if !answer.text.is_empty() {
        content.push(json!({ "text": answer.text }));
    }
    for (number, called) in answer.calls.iter().enumerate() {
        let mut block = tool_use(call, number, &called.name);
        block["input"] = called.arguments.clone();
        content.push(json!({ "toolUse": block }));
    }
    json!({
        "metrics": { "latencyMs": 1 }, "output": { "message": { "content": content, "role": "assistant" } },
        "stopReason": stop_reason(&answer.finish), "usage": usage(answer)
    })
}

fn stop_reason(finish: &Finish) -> &'static str {
    match finish {
        Finish::Stop => "end_turn",
        Finish::StopSequence(_) => "stop_sequence",
        Finish::Length => "max_tokens",
        Finish::Calls => "tool_use",
    }
}

fn usage(answer: &Answer) -> Value {
    json!({
        "inputTokens": answer.input_tokens, "outputTokens": answer.output_tokens,
        "totalTokens": answer.input_tokens + answer.output_tokens,
        "cacheReadInputTokens": 0, "cacheWriteInputTokens": 0
    })
}

fn stream(call: &Call, answer: &Answer) -> Vec<Bytes> {
    let mut events = Events::default();
    events.add("messageStart", json!({ "role": "assistant" }));
    if let Some(thinking) = &answer.thinking {
        let texts =
            pieces(thinking).into_iter().map(|piece| json!({ "reasoningContent": { "text": piece } }));
        let signed = texts.chain([json!({ "reasoningContent": { "signature": claudes(thinking, None) } })]);
        events.add_block(None, signed.collect());
    }
    if !answer.text.is_empty() {
        let texts = pieces(&answer.text).into_iter().map(|piece| json!({ "text": piece }));
        events.add_block(None, texts.collect());
    }
    for (number, called) in answer.calls.iter().enumerate() {
        let arguments = called.arguments.to_string();
        // A call without arguments has no delta.
        let parts = if arguments == "{}" { Vec::new() } else { fragments(&arguments) };
        let deltas = parts.iter().map(|part| json!({ "toolUse": { "input": part } })).collect();
        events.add_block(Some(tool_use(call, number, &called.name)), deltas);
    }
    events.add("messageStop", json!({ "stopReason": stop_reason(&answer.finish) }));
    events.add("metadata", json!({ "usage": usage(answer), "metrics": { "latencyMs": 1 } }));
    events.frames
}

/// Frames under construction.
#[derive(Default)]
struct Events {
    frames: Vec<Bytes>,
    blocks: usize,
}

impl Events {
    /// Only tool calls have a start event.
    fn add_block(&mut self, tool_use: Option<Value>, deltas: Vec<Value>) {
        let index = self.blocks;
        self.blocks += 1;
        if let Some(tool_use) = tool_use {
            let start = json!({ "contentBlockIndex": index, "start": { "toolUse": tool_use } });
            self.add("contentBlockStart", start);
        }
        for delta in deltas {
            self.add("contentBlockDelta", json!({ "contentBlockIndex": index, "delta": delta }));
        }
        self.add("contentBlockStop", json!({ "contentBlockIndex": index }));
    }

    /// Every payload has padding `p` of varying length, so that frame sizes reveal nothing.
    fn add(&mut self, event_type: &str, mut payload: Value) {
        const PADDING: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        let length = 4 + self.frames.len() * 7 % 52;
        if let Some(object) = payload.as_object_mut() {
            pad(object, &PADDING[..length]);
        }
        let headers =
            [(":event-type", event_type), (":content-type", "application/json"), (":message-type", "event")];
        self.frames.push(frame(&headers, payload.to_string().as_bytes()));
    }
}

fn pad(object: &mut Map<String, Value>, padding: &str) {
    object.insert("p".into(), padding.into());
}

/// One message of `application/vnd.amazon.eventstream`; all header values are strings (type 7).
fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Bytes {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(name.len() as u8);
        encoded.extend_from_slice(name.as_bytes());
        encoded.push(7);
        encoded.extend_from_slice(&(value.len() as u16).to_be_bytes());
        encoded.extend_from_slice(value.as_bytes());
    }
    let total = 12 + encoded.len() + payload.len() + 4;
    let mut message = Vec::with_capacity(total);
    message.extend_from_slice(&(total as u32).to_be_bytes());
    message.extend_from_slice(&(encoded.len() as u32).to_be_bytes());
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(&encoded);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    Bytes::from(message)
}
