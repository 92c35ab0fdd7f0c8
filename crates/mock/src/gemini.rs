//! Google's `generateContent`: AI Studio and Vertex.

use crate::brain::{self, Answer, Choice, Finish, Json, Prompt, Tool, pieces};
use crate::format::{Call, Format, Refusal, Reply, has, items, strings, text, unknown_key};
use crate::proof::signature;
use bytes::Bytes;
use serde_json::{Map, Value, json};

pub struct Gemini;

impl Format for Gemini {
    fn read(&self, call: &Call) -> Result<Prompt, Refusal> {
        read(call)
    }

    fn write(&self, call: &Call, prompt: &Prompt, answer: &Answer) -> Reply {
        if let Some(made) = crate::media::gemini(call) {
            return made;
        }
        if !call.streaming {
            let parts = parts(call, answer);
            return Reply::whole(200, JSON, response(call, prompt, answer, &parts, true).to_string());
        }
        let chunks = chunks(call, prompt, answer);
        if events_wanted(call) {
            let frames = chunks.iter().map(|chunk| Bytes::from(format!("data: {chunk}\r\n\r\n"))).collect();
            return Reply::stream("text/event-stream", frames);
        }
        Reply::stream(JSON, array_frames(&chunks))
    }

    fn refuse(&self, call: &Call, refusal: &Refusal) -> Reply {
        let body = error_body(refusal);
        // Without server-sent events a stream is an array, and so is its error.
        let body = if call.streaming && !events_wanted(call) { json!([body]) } else { body };
        Reply::whole(refusal.status, JSON, body.to_string())
    }

    fn too_long(&self) -> Refusal {
        Refusal::bad(
            "The input token count (1220000) exceeds the maximum number of tokens allowed (1000000).",
        )
    }

    fn stream_error(&self, call: &Call) -> Bytes {
        let body = error_body(&Refusal::with_status(503, "The model is overloaded (on command)."));
        if events_wanted(call) {
            return Bytes::from(format!("data: {body}\r\n\r\n"));
        }
        Bytes::from(format!(",\r\n{body}\n]"))
    }
}

/// `…:countTokens`.
pub fn count_tokens(call: &Call) -> Reply {
    let mut prompt = Prompt::new();
    let body = camel(&call.body);
    // The request may be nested as a whole.
    let body = body.get("generateContentRequest").cloned().unwrap_or(body);
    let read = read_contents(call, &body, &mut prompt).and_then(|()| read_tools(&body, &mut prompt));
    match read {
        Ok(()) => Reply::json(200, &json!({ "totalTokens": brain::input_tokens(&prompt) })),
        Err(refusal) => Gemini.refuse(call, &refusal),
    }
}

const JSON: &str = "application/json; charset=UTF-8";

const KNOWN_KEYS: [&str; 12] = [
    "contents",
    "systemInstruction",
    "tools",
    "toolConfig",
    "safetySettings",
    "generationConfig",
    "cachedContent",
    "labels",
    "serviceTier",
    "store",
    "continuationToken",
    "modelArmorConfig",
];

const KNOWN_CONFIG_KEYS: [&str; 22] = [
    "temperature",
    "topP",
    "topK",
    "maxOutputTokens",
    "candidateCount",
    "stopSequences",
    "presencePenalty",
    "frequencyPenalty",
    "seed",
    "responseLogprobs",
    "logprobs",
    "responseMimeType",
    "responseSchema",
    "responseJsonSchema",
    "responseModalities",
    "thinkingConfig",
    "speechConfig",
    "imageConfig",
    "mediaResolution",
    "audioTimestamp",
    "enableEnhancedCivicAnswers",
    "routingConfig",
];

/// Keywords that Google's own schema language does not have (`responseJsonSchema` does).
const FOREIGN_KEYWORDS: [&str; 8] = [
    "$schema",
    "oneOf",
    "allOf",
    "not",
    "const",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "patternProperties",
];

fn events_wanted(call: &Call) -> bool {
    call.query_value("alt") == Some("sse")
}

fn error_body(refusal: &Refusal) -> Value {
    let status = match refusal.status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        402 | 403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        429 => "RESOURCE_EXHAUSTED",
        503 | 529 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        500.. => "INTERNAL",
        _ => "INVALID_ARGUMENT",
    };
    let mut error = json!({ "code": refusal.status, "message": refusal.message, "status": status });
    if refusal.status == 429 {
        error["details"] =
            json!([{ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s" }]);
    }
    json!({ "error": error })
}

fn read(call: &Call) -> Result<Prompt, Refusal> {
    let body = &camel(&call.body);
    let config = body.get("generationConfig").cloned().unwrap_or_default();
    check_keys(body, &config)?;
    let mut prompt = Prompt::new();
    read_contents(call, body, &mut prompt)?;
    read_tools(body, &mut prompt)?;
    read_choice(body, &mut prompt);
    prompt.json = read_json(&config)?;
    let thinking = config.get("thinkingConfig").cloned().unwrap_or_default();
    if has(&thinking, "thinkingBudget") && has(&thinking, "thinkingLevel") {
        return Err(Refusal::bad("You can only set only one of thinking budget and thinking level."));
    }
    let level = text(&thinking, "thinkingLevel").to_ascii_uppercase();
    if !["", "MINIMAL", "LOW", "MEDIUM", "HIGH", "THINKING_LEVEL_UNSPECIFIED"].contains(&level.as_str()) {
        return Err(Refusal::bad(format!(
            "Invalid value at 'generation_config.thinking_config.thinking_level': {level}"
        )));
    }
    prompt.reasoning = thinking.get("includeThoughts") == Some(&Value::Bool(true));
    prompt.max_tokens = config.get("maxOutputTokens").and_then(Value::as_u64);
    prompt.stop = strings(config.get("stopSequences"));
    prompt.count = config.get("candidateCount").and_then(Value::as_u64).unwrap_or(1).clamp(1, 8) as usize;
    Ok(prompt)
}

/// Members with names of the caller's own: their keys stay unchanged.
const FREE_FORM: [&str; 7] = [
    "parameters",
    "parametersJsonSchema",
    "responseSchema",
    "responseJsonSchema",
    "args",
    "response",
    "labels",
];

/// Google takes snake case as well, and its own SDK sends some of it.
fn camel(value: &Value) -> Value {
    match value {
        Value::Array(list) => list.iter().map(camel).collect(),
        Value::Object(object) => {
            let members = object.iter().map(|(key, inner)| {
                let key = camel_key(key);
                let inner = if FREE_FORM.contains(&key.as_str()) { inner.clone() } else { camel(inner) };
                (key, inner)
            });
            Value::Object(members.collect())
        }
        other => other.clone(),
    }
}

fn camel_key(key: &str) -> String {
    let mut words = key.split('_');
    let first = words.next().unwrap_or_default().to_string();
    words.fold(first, |mut joined, word| {
        let mut characters = word.chars();
        joined.extend(characters.next().map(|letter| letter.to_ascii_uppercase()));
        joined.push_str(characters.as_str());
        joined
    })
}

fn unknown_name(key: &str, place: &str) -> Refusal {
    Refusal::bad(format!("Invalid JSON payload received. Unknown name \"{key}\"{place}: Cannot find field."))
}

fn check_keys(body: &Value, config: &Value) -> Result<(), Refusal> {
    if let Some(key) = unknown_key(body, &KNOWN_KEYS) {
        return Err(unknown_name(key, ""));
    }
    if let Some(key) = unknown_key(config, &KNOWN_CONFIG_KEYS) {
        return Err(unknown_name(key, " at 'generation_config'"));
    }
    Ok(())
}

fn check_schema(schema: &Value, place: &str) -> Result<(), Refusal> {
    match schema {
        Value::Object(object) => {
            if let Some(key) = object.keys().find(|key| FOREIGN_KEYWORDS.contains(&key.as_str())) {
                return Err(unknown_name(key, &format!(" at '{place}'")));
            }
            if object.get("type").is_some_and(Value::is_array) {
                let message = format!(
                    "Invalid value at '{place}.type': Proto field is not repeating, cannot start list."
                );
                return Err(Refusal::bad(message));
            }
            object.values().try_for_each(|inner| check_schema(inner, place))
        }
        Value::Array(list) => list.iter().try_for_each(|inner| check_schema(inner, place)),
        _ => Ok(()),
    }
}

fn read_contents(call: &Call, body: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    let system = body.get("systemInstruction").cloned().unwrap_or_default();
    items(&system, "parts").iter().for_each(|part| prompt.instruct(text(part, "text")));
    let contents = items(body, "contents");
    if contents.is_empty() {
        return Err(Refusal::bad("* GenerateContentRequest.contents: contents is not specified"));
    }
    let mut open = 0;
    let asks = |content: &Value| {
        text(content, "role") != "model"
            && !items(content, "parts").iter().any(|part| has(part, "functionResponse"))
    };
    let turn = contents.iter().rposition(asks).unwrap_or(0);
    for (index, content) in contents.iter().enumerate() {
        let parts = items(content, "parts");
        if parts.is_empty() {
            let message = format!(
                "* GenerateContentRequest.contents[{index}].parts: contents.parts must not be empty."
            );
            return Err(Refusal::bad(message));
        }
        prompt.begin_user();
        let results = parts.iter().filter(|part| has(part, "functionResponse")).count();
        if results != open {
            return Err(Refusal::bad(
                "Please ensure that the number of function response parts is equal to the number of function call \
                 parts of the function call turn.",
            ));
        }
        open = parts.iter().filter(|part| has(part, "functionCall")).count();
        let after_user = index > 0 && text(&contents[index - 1], "role") != "model";
        if open > 0 && !after_user {
            return Err(Refusal::bad(
                "Please ensure that function call turn comes immediately after a user turn or after a function response \
                 turn.",
            ));
        }
        parts.iter().try_for_each(|part| check_part_keys(index, part))?;
        match text(content, "role") {
            "" | "user" | "function" => parts.iter().try_for_each(|part| read_part(part, prompt))?,
            "model" => read_model_turn(call, index, index > turn, parts, prompt)?,
            _ => return Err(Refusal::bad("Please use a valid role: user, model.")),
        }
    }
    Ok(())
}

fn check_part_keys(index: usize, part: &Value) -> Result<(), Refusal> {
    let known = [
        "text",
        "thought",
        "thoughtSignature",
        "inlineData",
        "fileData",
        "functionCall",
        "functionResponse",
        "executableCode",
        "codeExecutionResult",
        "toolCall",
        "toolResponse",
        "videoMetadata",
        "mediaResolution",
        "partMetadata",
    ];
    match unknown_key(part, &known) {
        Some(key) => Err(unknown_name(key, &format!(" at 'contents[{index}].parts'"))),
        None => Ok(()),
    }
}

fn read_part(part: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    if let Some(said) = part.get("text").and_then(Value::as_str) {
        prompt.say(said);
    } else if let Some(data) = part.get("inlineData") {
        let media_type = text(data, "mimeType");
        prompt.attach(kind_of(media_type), media_type, text(data, "data"));
    } else if let Some(file) = part.get("fileData") {
        prompt.attach_address(kind_of(text(file, "mimeType")), text(file, "fileUri"));
    } else if let Some(result) = part.get("functionResponse") {
        if text(result, "name").is_empty() {
            return Err(Refusal::bad(
                "* GenerateContentRequest.contents.parts.function_response.name: Name cannot be empty.",
            ));
        }
        let Some(response) = result.get("response").filter(|response| response.is_object()) else {
            let message = "Invalid value at 'contents.parts.function_response.response' (type.googleapis.com/google.protobuf.Struct)";
            return Err(Refusal::bad(message));
        };
        prompt.result(&result_text(response));
    } else {
        let message =
            "* GenerateContentRequest.contents.parts: contents.parts must have one initialized field: data";
        return Err(Refusal::bad(message));
    }
    Ok(())
}

/// The single value of `{"output": …}`; any other response as JSON.
fn result_text(response: &Value) -> String {
    let only =
        response.as_object().filter(|object| object.len() == 1).and_then(|object| object.values().next());
    only.and_then(Value::as_str).map_or_else(|| response.to_string(), str::to_string)
}

fn kind_of(media_type: &str) -> &'static str {
    let family = media_type.split('/').next().unwrap_or_default();
    ["image", "audio", "video"].into_iter().find(|kind| *kind == family).unwrap_or("document")
}

/// From Gemini 3 on, the first call of each step since the user's last message must carry the signature that
/// came with it.
fn read_model_turn(
    call: &Call,
    index: usize,
    is_current: bool,
    parts: &[Value],
    prompt: &mut Prompt,
) -> Result<(), Refusal> {
    parts.iter().for_each(|part| prompt.count_text(text(part, "text")));
    let first_call = parts.iter().find(|part| has(part, "functionCall"));
    let is_checked = is_current && signs(call);
    if let Some(part) = first_call.filter(|part| is_checked && text(part, "thoughtSignature").is_empty()) {
        let name = part.pointer("/functionCall/name").and_then(Value::as_str).unwrap_or_default();
        return Err(Refusal::bad(format!(
            "Function call is missing a thought_signature in functionCall parts. This is required for tools to work \
             correctly. Function call `default_api:{name}`, position {index}."
        )));
    }
    if parts.iter().all(|part| is_sound(call, part)) {
        Ok(())
    } else {
        Err(Refusal::bad("Corrupted thought signature."))
    }
}

/// A signature is our own, or one of the documented placeholders. Signatures of AI Studio are not valid at
/// Vertex, nor those of one model for another.
fn is_sound(call: &Call, part: &Value) -> bool {
    let given = text(part, "thoughtSignature");
    let stand_ins = ["", "skip_thought_signature_validator", "context_engineering_is_the_way_to_go"];
    !call.proves() || stand_ins.contains(&given) || given == sign(call, part)
}

fn sign(call: &Call, part: &Value) -> String {
    let home = if call.path.contains("/projects/") { "vertex" } else { "ai-studio" };
    let empty = json!({});
    let signed = match part.get("functionCall") {
        Some(function) => format!("{} {}", text(function, "name"), function.get("args").unwrap_or(&empty)),
        // The signature of a text comes at its end, in a chunk of its own.
        None => "text".to_string(),
    };
    signature(&format!("{home} {}", call.model), &signed)
}

fn signs(call: &Call) -> bool {
    call.proves() && (call.model.contains("gemini-3") || call.model.contains("gemini-4"))
}

fn read_tools(body: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    for tool in items(body, "tools") {
        for declaration in items(tool, "functionDeclarations") {
            let place = "tools.function_declarations";
            if let Some(key) = unknown_key(declaration, &DECLARATION_KEYS) {
                return Err(unknown_name(key, &format!(" at '{place}'")));
            }
            if let Some(parameters) = declaration.get("parameters") {
                check_schema(parameters, "tools.function_declarations.parameters")?;
            }
            if has(declaration, "parameters") && has(declaration, "parametersJsonSchema") {
                return Err(Refusal::bad(format!(
                    "{place}: parameters and parameters_json_schema are exclusive."
                )));
            }
            let schema = declaration.get("parametersJsonSchema").or_else(|| declaration.get("parameters"));
            let name = text(declaration, "name");
            check_function_name(name)?;
            if prompt.tools.iter().any(|other| other.name == name) {
                return Err(Refusal::bad(format!("Duplicate function declaration found: {name}")));
            }
            prompt.tools.push(Tool::function(name, schema.cloned().unwrap_or_default()));
        }
    }
    Ok(())
}

const DECLARATION_KEYS: [&str; 7] = [
    "name",
    "description",
    "parameters",
    "parametersJsonSchema",
    "response",
    "responseJsonSchema",
    "behavior",
];

fn check_function_name(name: &str) -> Result<(), Refusal> {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let sound = |c: char| c.is_ascii_alphanumeric() || "_.:-".contains(c);
    if begins && name.len() <= 128 && name.chars().all(sound) {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "Invalid function name: {name}. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, \
         0-9), underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128."
    )))
}

fn read_choice(body: &Value, prompt: &mut Prompt) {
    let config = body.pointer("/toolConfig/functionCallingConfig").cloned().unwrap_or_default();
    let allowed = strings(config.get("allowedFunctionNames"));
    prompt.choice = match (text(&config, "mode"), allowed.as_slice()) {
        ("NONE", _) => Choice::Never,
        ("ANY", [only]) => Choice::Named(only.clone()),
        ("ANY", _) => Choice::Any,
        _ => Choice::Auto,
    };
}

fn read_json(config: &Value) -> Result<Json, Refusal> {
    let schema = config.get("responseJsonSchema").or_else(|| config.get("responseSchema"));
    if let Some(native) = config.get("responseSchema") {
        check_schema(native, "generation_config.response_schema")?;
    }
    match (text(config, "responseMimeType"), schema) {
        ("application/json", Some(schema)) => Ok(Json::Schema(schema.clone())),
        ("application/json", None) => Ok(Json::AnyObject),
        (_, Some(_)) => Err(Refusal::bad(
            "GenerateContentRequest.generation_config.response_schema: response_mime_type must be application/json",
        )),
        (_, None) => Ok(Json::No),
    }
}

fn parts(call: &Call, answer: &Answer) -> Vec<Value> {
    let mut parts = Vec::new();
    if let Some(thinking) = &answer.thinking {
        parts.push(json!({ "text": thinking, "thought": true }));
    }
    if !answer.text.is_empty() {
        let mut part = json!({ "text": answer.text });
        if signs(call) && answer.thinking.is_some() {
            part["thoughtSignature"] = sign(call, &part).into();
        }
        parts.push(part);
    }
    for (number, called) in answer.calls.iter().enumerate() {
        let mut part = json!({ "functionCall": { "name": called.name, "args": called.arguments } });
        if signs(call) || call.asks_for("fault-same-ids") {
            part["functionCall"]["id"] = call.call_id("call", number).into();
            if number == 0 && signs(call) {
                part["thoughtSignature"] = sign(call, &part).into();
            }
        }
        parts.push(part);
    }
    parts
}

fn response(call: &Call, prompt: &Prompt, answer: &Answer, parts: &[Value], last: bool) -> Value {
    let candidates: Vec<Value> =
        (0..prompt.count).map(|index| candidate(index, answer, parts, last)).collect();
    let mut response = Map::new();
    response.insert("candidates".into(), candidates.into());
    response.insert("usageMetadata".into(), usage(call, prompt, answer));
    response.insert("modelVersion".into(), call.model.as_str().into());
    response.insert("responseId".into(), call.id("resp").into());
    Value::Object(response)
}

fn candidate(index: usize, answer: &Answer, parts: &[Value], last: bool) -> Value {
    let mut candidate = json!({ "content": { "parts": parts, "role": "model" } });
    if last {
        let length = answer.finish == Finish::Length;
        candidate["finishReason"] = if length { "MAX_TOKENS".into() } else { "STOP".into() };
    }
    candidate["index"] = index.into();
    candidate
}

fn usage(call: &Call, prompt: &Prompt, answer: &Answer) -> Value {
    let answers = prompt.count as u64;
    let thoughts = answer.thinking_tokens * answers;
    let candidates = answer.output_tokens * answers - thoughts;
    let mut usage = json!({
        "promptTokenCount": answer.input_tokens, "candidatesTokenCount": candidates,
        "totalTokenCount": answer.input_tokens + candidates + thoughts,
        "promptTokensDetails": [{ "modality": "TEXT", "tokenCount": answer.input_tokens }]
    });
    if thoughts > 0 {
        usage["thoughtsTokenCount"] = thoughts.into();
    }
    if call.path.contains("/projects/") {
        usage["trafficType"] = "ON_DEMAND".into();
    }
    usage
}

/// Text comes in pieces, calls come whole, and the last chunk has the finish reason.
fn chunks(call: &Call, prompt: &Prompt, answer: &Answer) -> Vec<Value> {
    let mut pieced: Vec<Value> = Vec::new();
    for part in parts(call, answer) {
        let Some(whole) = part.get("text").and_then(Value::as_str) else {
            pieced.push(part);
            continue;
        };
        for piece in pieces(whole) {
            let mut smaller = json!({ "text": piece });
            if let Some(thought) = part.get("thought") {
                smaller["thought"] = thought.clone();
            }
            pieced.push(smaller);
        }
        if let Some(signature) = part.get("thoughtSignature") {
            pieced.push(json!({ "text": "", "thoughtSignature": signature }));
        }
    }
    if pieced.is_empty() {
        pieced.push(json!({ "text": "" }));
    }
    let count = pieced.len();
    let numbered = pieced.into_iter().enumerate();
    numbered.map(|(number, part)| response(call, prompt, answer, &[part], number + 1 == count)).collect()
}

fn array_frames(chunks: &[Value]) -> Vec<Bytes> {
    let opened = chunks.iter().enumerate().map(|(number, chunk)| {
        let before = if number == 0 { "[" } else { ",\r\n" };
        Bytes::from(format!("{before}{chunk}\n"))
    });
    opened.chain([Bytes::from_static(b"]")]).collect()
}
