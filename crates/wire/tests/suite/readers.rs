//! A second opinion on what our adapters write: small readers of the formats that have no dialect. They share
//! no code with the adapters and know only what the adapters write.

use canon::{
    CacheMark, Effort, Json, Media, MediaKind, Message, OutputFormat, Part, PartKind, Reasoning, Request,
    Role, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use serde_json::{Map, Value};

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not a text: {value}")).to_owned()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn media(kind: MediaKind, source: Source, filename: Option<String>, detail: Option<String>) -> Part {
    PartKind::from(Media { kind, source, filename, detail }).into()
}

fn call(id: &Value, name: &Value, arguments: String) -> Part {
    let (id, name) = (text_of(id).into(), text_of(name).into());
    PartKind::from(ToolCall { id, name, arguments: arguments.into(), custom: false }).into()
}

fn result(id: &Value, content: Vec<Part>, is_error: bool) -> Message {
    let result = ToolResult { call_id: text_of(id).into(), content, is_error };
    Message::new(Role::Tool, vec![PartKind::from(result).into()])
}

fn tool(spec: &Value, schema: &Value, strict: bool) -> Tool {
    let description = spec["description"].as_str().map(str::to_owned);
    let kind = ToolKind::Function { parameters: Some(Json::of(schema)), strict: Some(strict) };
    Tool { name: text_of(&spec["name"]), description, kind, cache: None, place: canon::Place::NOWHERE }
}

fn stops(value: &Value) -> Vec<String> {
    list(value).iter().map(text_of).collect()
}

fn schema_output(schema: Value) -> OutputFormat {
    let schema = Some(Json::of(&schema));
    OutputFormat::JsonSchema { name: "answer".into(), description: None, schema, strict: None }
}

/// A picture's address or its bytes.
fn from_url(url: &str) -> Source {
    match url.strip_prefix("data:").and_then(|rest| rest.split_once(";base64,")) {
        Some((mime, data)) => Source::Base64 { mime: mime.to_owned(), data: data.to_owned() },
        None => Source::Url(url.to_owned()),
    }
}

/// The fields of a body that no other reader takes, and that therefore are fields of unknown names.
fn others(body: &Value, known: &[&str]) -> Vec<(String, Json)> {
    let fields = body.as_object().unwrap().iter();
    fields
        .filter(|(name, _)| !known.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), Json::of(value)))
        .collect()
}

// ------------------------------------------------------------------------------------------------- Bedrock

/// Amazon's Converse.
pub fn bedrock(body: &Value) -> Request {
    let mut request = Request::default();
    let system = bedrock_parts(&body["system"]);
    if !system.is_empty() {
        request.messages.push(Message::new(Role::System, system));
    }
    for turn in list(&body["messages"]) {
        bedrock_turn(turn, &mut request.messages);
    }
    let config = &body["inferenceConfig"];
    request.max_tokens = config["maxTokens"].as_u64();
    request.sampling.temperature = config["temperature"].as_f64();
    request.sampling.top_p = config["topP"].as_f64();
    request.stop = stops(&config["stopSequences"]);
    bedrock_tools(&body["toolConfig"], &mut request);
    let format = &body["outputConfig"]["textFormat"]["structure"]["jsonSchema"];
    if let Some(schema) = format["schema"].as_str() {
        request.output = OutputFormat::JsonSchema {
            name: text_of(&format["name"]),
            description: format["description"].as_str().map(str::to_owned),
            schema: Some(Json::parse(schema).unwrap()),
            strict: None,
        };
    }
    bedrock_model_fields(&body["additionalModelRequestFields"], &mut request);
    if !body["requestMetadata"].is_null() {
        request.extra.push(("metadata".into(), Json::of(&body["requestMetadata"])));
    }
    if !body["serviceTier"].is_null() {
        request.extra.push(("service_tier".into(), Json::of(&body["serviceTier"]["type"])));
    }
    request
}

fn bedrock_turn(turn: &Value, messages: &mut Vec<Message>) {
    let role = if turn["role"] == "assistant" { Role::Assistant } else { Role::User };
    let mut rest = Vec::new();
    for block in list(&turn["content"]) {
        if let Some(answer) = block.get("toolResult") {
            let mut content = bedrock_parts(&answer["content"]);
            content.retain(|part| !matches!(&part.kind, PartKind::Text(text) if **text == *"(no output)"));
            messages.push(result(&answer["toolUseId"], content, answer["status"] == "error"));
        } else if let (Some(point), true, Some(last)) =
            (block.get("cachePoint"), rest.is_empty(), messages.last_mut())
        {
            last.parts[0].cache = Some(bedrock_mark(point));
        } else {
            rest.push(block.clone());
        }
    }
    if !rest.is_empty() {
        messages.push(Message::new(role, bedrock_parts(&Value::Array(rest))));
    }
}

fn bedrock_mark(point: &Value) -> CacheMark {
    CacheMark { ttl_seconds: Some(if point["ttl"] == "1h" { 3600 } else { 300 }) }
}

fn bedrock_parts(blocks: &Value) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    for block in list(blocks) {
        let (kind, value) = block.as_object().unwrap().iter().next().unwrap();
        let thought = &value["reasoningText"];
        let part = match kind.as_str() {
            "text" if value == "(See the attached document.)" => continue,
            "text" => Part::text(text_of(value)),
            "image" => bedrock_media(MediaKind::Image, "image", value),
            "document" => bedrock_media(MediaKind::Document, "document", value),
            "video" => bedrock_media(MediaKind::Video, "video", value),
            "audio" => bedrock_media(MediaKind::Audio, "audio", value),
            "toolUse" => call(&value["toolUseId"], &value["name"], value["input"].to_string()),
            "reasoningContent" if thought.is_null() => {
                let encrypted = Some(text_of(&value["redactedContent"]));
                PartKind::from(Reasoning { encrypted, ..Reasoning::default() }).into()
            }
            "reasoningContent" => {
                let reasoning = Reasoning { text: text_of(&thought["text"]), ..Reasoning::default() };
                Part {
                    signature: Some(text_of(&thought["signature"]).into()),
                    ..Part::new(PartKind::from(reasoning))
                }
            }
            "cachePoint" => {
                parts.last_mut().unwrap().cache = Some(bedrock_mark(value));
                continue;
            }
            other => panic!("an unknown block: {other}"),
        };
        parts.push(part);
    }
    parts
}

fn bedrock_media(kind: MediaKind, family: &str, value: &Value) -> Part {
    let source = match value["source"]["bytes"].as_str() {
        Some(data) => {
            Source::Base64 { mime: format!("{family}/{}", text_of(&value["format"])), data: data.to_owned() }
        }
        None => Source::Url(text_of(&value["source"]["s3Location"]["uri"])),
    };
    // Every document has a name: the default one means none, and a number distinguishes two of the same name.
    let name = value["name"]
        .as_str()
        .map(|name| name.trim_end_matches(|letter: char| letter == ' ' || letter.is_ascii_digit()));
    media(kind, source, name.filter(|name| *name != "document").map(str::to_owned), None)
}

fn bedrock_tools(config: &Value, request: &mut Request) {
    for entry in list(&config["tools"]) {
        if let Some(point) = entry.get("cachePoint") {
            request.tools.last_mut().unwrap().cache = Some(bedrock_mark(point));
            continue;
        }
        let spec = &entry["toolSpec"];
        request.tools.push(tool(spec, &spec["inputSchema"]["json"], spec["strict"] == true));
    }
    request.tool_choice =
        config["toolChoice"].as_object().map(|choice| match choice.keys().next().unwrap().as_str() {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            _ => ToolChoice::Named(text_of(&choice["tool"]["name"])),
        });
}

fn bedrock_model_fields(fields: &Value, request: &mut Request) {
    let nova = &fields["inferenceConfig"]["topK"];
    let top_k = [&fields["top_k"], &fields["k"], nova];
    request.sampling.top_k = top_k.into_iter().find_map(Value::as_u64);
    let wish = &mut request.reasoning;
    match fields["thinking"]["type"].as_str().or(fields["reasoningConfig"]["type"].as_str()) {
        Some("disabled") => wish.effort = Some(Effort::None),
        Some("enabled") => wish.budget_tokens = fields["thinking"]["budget_tokens"].as_u64(),
        _ => {}
    }
    let effort = [
        &fields["output_config"]["effort"],
        &fields["reasoningConfig"]["maxReasoningEffort"],
        &fields["reasoning"]["effort"],
        &fields["reasoning_config"],
        &fields["reasoning_effort"],
    ];
    if let Some(word) = effort.into_iter().find_map(Value::as_str) {
        wish.effort = Effort::parse(word);
    }
}

// ------------------------------------------------------------------------------------------------- Cohere

/// Cohere's v2 chat.
pub fn cohere(body: &Value) -> Request {
    let mut request = Request {
        max_tokens: body["max_tokens"].as_u64(),
        stop: stops(&body["stop_sequences"]),
        logprobs: body["logprobs"].as_bool(),
        stream: body["stream"] == true,
        ..Request::default()
    };
    let sampling = &mut request.sampling;
    sampling.temperature = body["temperature"].as_f64();
    sampling.top_p = body["p"].as_f64();
    sampling.top_k = body["k"].as_u64();
    sampling.frequency_penalty = body["frequency_penalty"].as_f64();
    sampling.presence_penalty = body["presence_penalty"].as_f64();
    sampling.seed = body["seed"].as_i64();
    request.messages = list(&body["messages"]).iter().map(cohere_message).collect();
    let strict = body["strict_tools"] == true;
    let tools = list(&body["tools"]).iter().map(|entry| &entry["function"]);
    request.tools = tools.map(|function| tool(function, &function["parameters"], strict)).collect();
    request.tool_choice = match body["tool_choice"].as_str() {
        Some("NONE") => Some(ToolChoice::None),
        Some("REQUIRED") => Some(ToolChoice::Required),
        _ => None,
    };
    match (&body["response_format"]["type"], &body["response_format"]["json_schema"]) {
        (Value::Null, _) => {}
        (_, Value::Null) => request.output = OutputFormat::JsonObject,
        (_, schema) => request.output = schema_output(schema.clone()),
    }
    request.reasoning.budget_tokens = body["thinking"]["token_budget"].as_u64();
    if body["thinking"]["type"] == "disabled" {
        request.reasoning.effort = Some(Effort::None);
    }
    let known = [
        "model",
        "messages",
        "stream",
        "tools",
        "tool_choice",
        "strict_tools",
        "response_format",
        "thinking",
        "max_tokens",
        "stop_sequences",
        "temperature",
        "p",
        "k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "logprobs",
    ];
    request.extra = others(body, &known);
    request
}

fn cohere_message(message: &Value) -> Message {
    let role = match message["role"].as_str().unwrap() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => {
            let content = cohere_content(&message["content"]);
            return result(&message["tool_call_id"], content, false);
        }
    };
    let mut parts = Vec::new();
    // A plan is the model's text, or its thinking, before its calls.
    if let Some(plan) = message["tool_plan"].as_str() {
        parts.push(Part::text(plan));
    }
    parts.extend(cohere_content(&message["content"]));
    for made in list(&message["tool_calls"]) {
        let function = &made["function"];
        parts.push(call(&made["id"], &function["name"], text_of(&function["arguments"])));
    }
    Message::new(role, parts)
}

fn cohere_content(content: &Value) -> Vec<Part> {
    if let Some(text) = content.as_str() {
        return vec![Part::text(text)];
    }
    let part = |part: &Value| match part["type"].as_str().unwrap() {
        "text" => Part::text(text_of(&part["text"])),
        _ => {
            let picture = &part["image_url"];
            let detail = picture["detail"].as_str().map(str::to_owned);
            media(MediaKind::Image, from_url(picture["url"].as_str().unwrap()), None, detail)
        }
    };
    list(content).iter().map(part).collect()
}

// ------------------------------------------------------------------------------------------------- Ollama

/// Ollama's own `/api/chat`.
pub fn ollama(body: &Value) -> Request {
    let options = body["options"].as_object().cloned().unwrap_or_else(Map::new);
    let number = |name: &str| options.get(name).and_then(Value::as_f64);
    let mut request = Request {
        messages: list(&body["messages"]).iter().map(ollama_message).collect(),
        max_tokens: options.get("num_predict").and_then(Value::as_u64),
        stop: options.get("stop").map(stops).unwrap_or_default(),
        stream: body["stream"] == true,
        ..Request::default()
    };
    let sampling = &mut request.sampling;
    sampling.temperature = number("temperature");
    sampling.top_p = number("top_p");
    sampling.top_k = number("top_k").map(|number| number as u64);
    sampling.frequency_penalty = number("frequency_penalty");
    sampling.presence_penalty = number("presence_penalty");
    sampling.seed = options.get("seed").and_then(Value::as_i64);
    let tools = list(&body["tools"]).iter().map(|entry| &entry["function"]);
    request.tools = tools.map(|function| tool(function, &function["parameters"], false)).collect();
    match &body["format"] {
        Value::Null => {}
        Value::String(_) => request.output = OutputFormat::JsonObject,
        schema => request.output = schema_output(schema.clone()),
    }
    request.reasoning.effort = match &body["think"] {
        Value::Null => None,
        Value::Bool(on) => Some(if *on { Effort::High } else { Effort::None }),
        word => Effort::parse(word.as_str().unwrap()),
    };
    request.extra = others(body, &["model", "messages", "stream", "tools", "format", "options", "think"]);
    request
}

fn ollama_message(message: &Value) -> Message {
    let mut content = Vec::new();
    if let Some(text) = message["content"].as_str().filter(|text| !text.is_empty()) {
        content.push(Part::text(text));
    }
    for picture in list(&message["images"]) {
        // Only the bytes are given: the type of the picture is read from them.
        let source = Source::Base64 { mime: "image/png".into(), data: text_of(picture) };
        content.push(media(MediaKind::Image, source, None, None));
    }
    let role = match message["role"].as_str().unwrap() {
        "system" => Role::System,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        _ => return result(&message["tool_call_id"], content, false),
    };
    if let Some(text) = message["thinking"].as_str() {
        content.push(PartKind::from(Reasoning { text: text.to_owned(), ..Reasoning::default() }).into());
    }
    for made in list(&message["tool_calls"]) {
        let function = &made["function"];
        content.push(call(&made["id"], &function["name"], function["arguments"].to_string()));
    }
    Message::new(role, content)
}

/// Undoes in the request what the answer's decoder would undo: changed names of tools, and the tool that
/// replaces a JSON answer.
pub fn undone(mut request: Request, decoding: &wire::DecoderContext) -> Request {
    if let Some(stand_in) = &decoding.json_tool {
        request.tools.retain(|tool| tool.name != *stand_in);
        request.tool_choice = match request.tool_choice {
            Some(ToolChoice::Named(name)) if name == *stand_in => Some(ToolChoice::None),
            Some(ToolChoice::Required) => Some(ToolChoice::Auto),
            other => other,
        };
    }
    let rename = |name: &mut String| *name = decoding.tool_name(name).to_owned();
    request.tools.iter_mut().for_each(|tool| rename(&mut tool.name));
    match &mut request.tool_choice {
        Some(ToolChoice::Named(name)) => rename(name),
        Some(ToolChoice::Allowed { names, .. }) => names.iter_mut().for_each(rename),
        _ => {}
    }
    for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
        if let PartKind::ToolCall(call) = &mut part.kind {
            call.name = decoding.tool_name(&call.name).into();
        }
    }
    request
}

/// The part of a `generateContent` body that its dialect does not read: arguments are checked for all tools
/// at once, including those that were requested as strict.
pub fn gemini_strictness(body: &Value, asked: &Request, got: &mut Request) {
    let mode = &body["toolConfig"]["functionCallingConfig"]["mode"];
    if mode != "VALIDATED" && mode != "ANY" {
        return;
    }
    for tool in &mut got.tools {
        let same = asked.tools.iter().find(|asked| asked.name == tool.name);
        if let (Some(ToolKind::Function { strict: asked, .. }), ToolKind::Function { strict, .. }) =
            (same.map(|tool| &tool.kind), &mut tool.kind)
        {
            *strict = *asked;
        }
    }
}
