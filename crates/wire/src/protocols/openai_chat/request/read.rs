//! Reads callers' chat completions requests.

mod ignored_fields;

use canon::{
    CacheMark, Effort, Error, Json, Losses, Media, MediaKind, Message, OutputFormat, Part, PartKind, Place,
    Reasoning, ReasoningRequest, Request, Result, Role, Sampling, Source, Spellings, Tool, ToolCall,
    ToolChoice, ToolKind, ToolResult,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::super::types::{self, Content};
use crate::json::{Items, room};
use crate::protocols::Protocol;
use crate::protocols::fields::{MOST_TEXTS, texts_of};
use crate::protocols::hosted;
use crate::protocols::media_types::{after_scheme, data_url, document_type, with_plain_scheme};
use crate::{Intake, ROUTING_FIELDS};
use ignored_fields::ObjectKind;

/// Fields with a counterpart in a canonical request; all others are kept unchanged.
const KNOWN: [&str; 24] = [
    "model",
    "messages",
    "tools",
    "functions",
    "tool_choice",
    "function_call",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "reasoning",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "top_k",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "stop",
    "n",
    "logprobs",
    "top_logprobs",
    "stream",
    "stream_options",
];

/// Reads a whole request.
pub(crate) fn decode(intake: &Intake) -> Result<Request> {
    intake.check_schema_size()?;
    // Ranges were checked when the intake was read.
    let limit = intake.whole("max_completion_tokens").or(intake.whole("max_tokens"));
    let (logprobs, top_logprobs) = logprobs(intake)?;
    let (turns, declared) = (items(intake, "messages")?, items(intake, "tools")?);
    Ok(Request {
        format: Protocol::OpenaiChat.as_str(),
        model: intake.model.clone(),
        messages: messages(turns)?,
        tools: tools(intake, declared)?,
        tool_choice: tool_choice(intake)?,
        parallel_tool_calls: optional(intake, "parallel_tool_calls")?,
        output: output(intake)?,
        reasoning: reasoning(intake)?,
        max_tokens: limit.and_then(|limit| u64::try_from(limit).ok()),
        sampling: Sampling {
            temperature: optional(intake, "temperature")?,
            top_p: optional(intake, "top_p")?,
            top_k: top_k(intake)?,
            frequency_penalty: optional(intake, "frequency_penalty")?,
            presence_penalty: optional(intake, "presence_penalty")?,
            seed: intake.whole("seed"),
        },
        stop: stop(intake)?,
        n: intake.whole("n").and_then(|count| u32::try_from(count).ok()),
        logprobs,
        top_logprobs,
        stream: intake.form.stream,
        include_usage: intake.form.include_usage,
        user: optional(intake, "user")?,
        extra: extra(intake, &KNOWN)?,
        losses: losses(intake, turns, declared),
        spellings: Spellings::default(),
    })
}

/// Whether log probabilities are requested, and how many: some servers take the count instead of the switch.
fn logprobs(intake: &Intake) -> Result<(Option<bool>, Option<u32>)> {
    let count = |name: &str| intake.whole(name).and_then(|count| u32::try_from(count).ok());
    let most = count("top_logprobs");
    match intake.non_null("logprobs") {
        Some(b"true" | b"false") | None => Ok((optional(intake, "logprobs")?, most)),
        Some(_) => {
            let asked = count("logprobs")
                .ok_or_else(|| Error::invalid("logprobs", "logprobs must be a boolean or a whole number."))?;
            Ok((Some(asked > 0), most.or(Some(asked)).filter(|count| *count > 0)))
        }
    }
}

/// vLLM and others write -1 or 0 for all tokens, which is the default.
fn top_k(intake: &Intake) -> Result<Option<u64>> {
    match (intake.non_null("top_k"), intake.whole("top_k")) {
        (None, _) => Ok(None),
        (Some(_), Some(count)) => Ok(u64::try_from(count).ok().filter(|count| *count > 0)),
        (Some(_), None) => Err(Error::invalid("top_k", "top_k must be a whole number.")),
    }
}

/// Reads a value; the error of a wrong type names its place.
fn read<'a, T: Deserialize<'a>>(json: &'a str, path: &str) -> Result<T> {
    // The place of a fault is searched only on failure: tracking it costs as much as reading.
    if let Ok(value) = serde_json::from_str(json) {
        return Ok(value);
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|fault| {
        let inner = fault.path().to_string();
        let place = match inner.as_str() {
            "." => path.to_owned(),
            inner if inner.starts_with('[') => format!("{path}{inner}"),
            inner => format!("{path}.{inner}"),
        };
        let cause = fault.into_inner().to_string();
        let cause = cause.split(" at line ").next().unwrap_or(&cause);
        Error::invalid(place.clone(), format!("{place}: {cause}."))
    })
}

pub(crate) fn optional<T: DeserializeOwned>(intake: &Intake, name: &str) -> Result<Option<T>> {
    match intake.non_null(name).map(std::str::from_utf8) {
        Some(Ok(json)) => read(json, name).map(Some),
        _ => Ok(None),
    }
}

/// The items of an array field as raw JSON.
fn items<'a>(intake: &'a Intake, name: &str) -> Result<Items<'a>> {
    match intake.non_null(name).map(std::str::from_utf8) {
        None => Ok(Items::of("")),
        Some(Ok(json)) if json.starts_with('[') => Ok(Items::of(json)),
        _ => Err(Error::invalid(name.to_owned(), format!("{name} must be an array."))),
    }
}

/// Every field that is not among the known ones, unchanged.
pub(crate) fn extra(intake: &Intake, known: &[&str]) -> Result<Vec<(String, Json)>> {
    let mut extra = Vec::new();
    for (name, value) in intake.fields() {
        if known.contains(&name) || ROUTING_FIELDS.contains(&name) || name == "user" || value == b"null" {
            continue;
        }
        let text = String::from_utf8_lossy(value).into_owned();
        let json = Json::parse(text)
            .map_err(|_| Error::invalid(name.to_owned(), format!("{name} is not valid JSON.")))?;
        extra.push((name.to_owned(), json));
    }
    Ok(extra)
}

/// Fields without a place in a canonical request.
fn losses(intake: &Intake, turns: Items<'_>, declared: Items<'_>) -> Losses {
    const KEPT: [&str; 4] = ["effort", "max_tokens", "exclude", "enabled"];
    let mut losses = Losses::new();
    for (name, shape, items) in
        [("messages", ObjectKind::Message, turns), ("tools", ObjectKind::Tool, declared)]
    {
        for (index, raw) in items.enumerate() {
            // Tools of other types pass whole.
            if shape.is_read(raw) {
                ignored_fields::note(raw, shape, &|| format!("{name}[{index}]"), &mut losses);
            }
        }
    }
    let Some(reasoning) = intake.read_as::<serde_json::Value>("reasoning") else { return losses };
    match reasoning.as_object() {
        Some(fields) => {
            for (name, _) in
                fields.iter().filter(|(name, value)| !KEPT.contains(&name.as_str()) && !value.is_null())
            {
                losses
                    .dropped(format!("reasoning.{name}"), "Only the provider's own format has such a field.");
            }
        }
        None => losses.dropped("reasoning", "The value is not an object."),
    }
    losses
}

fn items_of(json: &[u8]) -> Items<'_> {
    Items::of(std::str::from_utf8(json).unwrap_or_default())
}

pub(crate) fn stop(intake: &Intake) -> Result<Vec<String>> {
    match intake.non_null("stop") {
        Some([b'"', ..]) => Ok(optional::<String>(intake, "stop")?.into_iter().collect()),
        Some(list) if items_of(list).nth(MOST_TEXTS).is_some() => {
            Err(Error::invalid("stop", format!("stop has more than {MOST_TEXTS} entries.")))
        }
        Some(list) => match texts_of(items_of(list)) {
            Some(texts) => Ok(texts),
            None => Ok(optional::<Vec<String>>(intake, "stop")?.unwrap_or_default()),
        },
        None => Ok(Vec::new()),
    }
}

fn reasoning(intake: &Intake) -> Result<ReasoningRequest> {
    let object: types::ReasoningObject = match intake.non_null("reasoning") {
        Some([b'{', ..]) => optional(intake, "reasoning")?.unwrap_or_default(),
        _ => types::ReasoningObject::default(),
    };
    let by_field: Option<String> = optional(intake, "reasoning_effort")?;
    let (path, name) = match (by_field, object.effort) {
        (Some(name), _) => ("reasoning_effort", Some(name)),
        (None, name) => ("reasoning.effort", name),
    };
    let effort = name.map(|name| {
        Effort::parse(&name).ok_or_else(|| {
            let message =
                format!("{path} {name:?} is unknown; use none, minimal, low, medium, high, xhigh or max.");
            Error::invalid(path, message)
        })
    });
    let switched = match (object.enabled, object.max_tokens) {
        (Some(false), _) => Some(Effort::None),
        (Some(true), None) => Some(Effort::Medium),
        _ => None,
    };
    Ok(ReasoningRequest {
        effort: effort.transpose()?.or(switched),
        budget_tokens: object.max_tokens,
        exclude: object.exclude.unwrap_or(false),
        summary: None,
    })
}

fn output(intake: &Intake) -> Result<OutputFormat> {
    let Some(format) = optional::<types::ResponseFormat>(intake, "response_format")? else {
        return Ok(OutputFormat::Text);
    };
    match (format.kind.as_str(), format.json_schema) {
        ("text", _) => Ok(OutputFormat::Text),
        ("json_object", _) => Ok(OutputFormat::JsonObject),
        ("json_schema", Some(found)) => Ok(OutputFormat::JsonSchema {
            name: found.name,
            description: found.description,
            schema: found.schema.filter(|schema| !schema.is_null()),
            strict: found.strict,
        }),
        ("json_schema", None) => Err(Error::invalid(
            "response_format.json_schema",
            "response_format.json_schema is missing; it holds the name and the schema.",
        )),
        (kind, _) => Err(Error::invalid(
            "response_format.type",
            format!("response_format.type {kind:?} is unknown; use text, json_object or json_schema."),
        )),
    }
}

// ---------------------------------------------------------------------------------------------- tools

fn tools(intake: &Intake, declared: Items<'_>) -> Result<Vec<Tool>> {
    let functions = items(intake, "functions")?;
    let mut tools = Vec::with_capacity(declared.count() + functions.count());
    for (index, raw) in declared.enumerate() {
        let tool = tool(raw, &format!("tools[{index}]"))?;
        hosted::push(&mut tools, Tool { place: Place::entry(index), ..tool })?;
    }
    for (index, raw) in functions.enumerate() {
        let path = format!("functions[{index}]");
        let function: types::FunctionTool = read(raw, &path)?;
        tools.push(function_tool(function, &path, None)?);
    }
    Ok(tools)
}

fn tool(raw: &str, path: &str) -> Result<Tool> {
    let found: types::Tool = read(raw, path)?;
    let cache = found.cache_control.as_ref().map(cache_mark);
    match (found.kind.as_str(), found.function, found.custom) {
        ("function" | "", Some(function), _) => function_tool(function, &format!("{path}.function"), cache),
        ("custom", _, Some(custom)) => Ok(Tool {
            name: custom.name,
            description: custom.description,
            kind: ToolKind::Custom { format: custom.format },
            cache,
            place: Place::NOWHERE,
        }),
        ("function" | "custom" | "", ..) => Err(Error::invalid(
            format!("{path}.{}", if found.kind == "custom" { "custom" } else { "function" }),
            format!(
                "{path} has no definition; it needs a type and an object of that name with at least a name."
            ),
        )),
        (kind, ..) => {
            let kind = kind.to_owned();
            let native = ToolKind::Native(Json::copy_of(raw));
            Ok(Tool { name: kind, description: None, kind: native, cache, place: Place::NOWHERE })
        }
    }
}

fn function_tool(function: types::FunctionTool, path: &str, cache: Option<CacheMark>) -> Result<Tool> {
    let parameters = function.parameters.filter(|schema| !schema.is_null());
    if parameters.as_ref().is_some_and(|schema| !schema.as_str().starts_with('{')) {
        let message = format!("{path}.parameters must be a JSON schema, an object.");
        return Err(Error::invalid(format!("{path}.parameters"), message));
    }
    Ok(Tool {
        name: function.name,
        description: function.description,
        kind: ToolKind::Function { parameters, strict: function.strict },
        cache,
        place: Place::NOWHERE,
    })
}

fn tool_choice(intake: &Intake) -> Result<Option<ToolChoice>> {
    let name = if intake.non_null("tool_choice").is_some() { "tool_choice" } else { "function_call" };
    match intake.non_null(name) {
        None => Ok(None),
        Some([b'{', ..]) if name == "function_call" => {
            Ok(optional::<types::Name>(intake, name)?.map(|named| ToolChoice::Named(named.name)))
        }
        Some([b'{', ..]) => named_choice(optional(intake, name)?),
        Some(_) => match optional::<String>(intake, name)?.as_deref() {
            Some("auto") => Ok(Some(ToolChoice::Auto)),
            Some("none") => Ok(Some(ToolChoice::None)),
            Some("required" | "any") => Ok(Some(ToolChoice::Required)),
            _ => Err(Error::invalid(name, format!("{name} must be auto, none, required or an object."))),
        },
    }
}

fn named_choice(choice: Option<types::NamedChoice>) -> Result<Option<ToolChoice>> {
    let Some(choice) = choice else { return Ok(None) };
    if let Some(allowed) = choice.allowed_tools {
        let name = |tool: types::NamedChoice| tool.function.or(tool.custom).map(|named| named.name);
        let names = allowed.tools.into_iter().filter_map(name).collect();
        return Ok(Some(ToolChoice::Allowed { names, required: allowed.mode == "required" }));
    }
    match choice.function.or(choice.custom) {
        Some(named) => Ok(Some(ToolChoice::Named(named.name))),
        None => Err(Error::invalid(
            "tool_choice",
            format!(
                "tool_choice of type {:?} names no tool; use {{\"type\":\"function\",\"function\":{{\"name\":…}}}}.",
                choice.kind
            ),
        )),
    }
}

// ---------------------------------------------------------------------------------------------- messages

fn messages(turns: Items<'_>) -> Result<Vec<Message>> {
    let mut messages = Vec::with_capacity(turns.count());
    for (index, raw) in turns.enumerate() {
        let path = format!("messages[{index}]");
        let found: types::Message = read(raw, &path)?;
        messages.push(message(found, &path, Place::entry(index))?);
    }
    Ok(messages)
}

fn message(found: types::Message<'_>, path: &str, place: Place) -> Result<Message> {
    let role = match found.role.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" | "function" => return tool_message(found, path, place),
        role => {
            let message =
                format!("{path}.role {role:?} is unknown; use system, developer, user, assistant or tool.");
            return Err(Error::invalid(format!("{path}.role"), message));
        }
    };
    let name = found.name.as_deref().map(Box::from);
    let mut parts = Vec::new();
    if role == Role::Assistant {
        reasoning_parts(&found, path, &mut parts)?;
    }
    content(found.content, path, place, &mut parts)?;
    if role == Role::Assistant {
        if let Some(refusal) = found.refusal.filter(|text| !text.is_empty()) {
            parts.push(PartKind::Refusal(refusal.into()).into());
        }
        let before = parts.len();
        calls(found.tool_calls, found.function_call, path, &mut parts)?;
        for (index, call) in parts[before..].iter_mut().enumerate() {
            call.place = place.piece(index);
        }
    }
    if let (Some(mark), Some(last)) = (&found.cache_control, parts.last_mut()) {
        last.cache = Some(cache_mark(mark));
    }
    Ok(Message { role, name, parts, place })
}

fn tool_message(found: types::Message<'_>, path: &str, place: Place) -> Result<Message> {
    // Legacy `function` messages name the function instead of the call.
    let call_id = match (found.tool_call_id, &found.name, found.role.as_str()) {
        (Some(id), ..) => id,
        (None, Some(name), "function") => format!("function_{name}"),
        (None, ..) => {
            let param = format!("{path}.tool_call_id");
            let message = format!("{param} is missing; a tool message answers a call by its id.");
            return Err(Error::invalid(param, message));
        }
    };
    let mut parts = Vec::new();
    content(found.content, path, place, &mut parts)?;
    let cache =
        parts.iter_mut().find_map(|part| part.cache.take()).or(found.cache_control.as_ref().map(cache_mark));
    let mut part =
        Part::new(PartKind::from(ToolResult { call_id: call_id.into(), content: parts, is_error: false }));
    part.cache = cache;
    Ok(Message { role: Role::Tool, name: found.name.map(Box::from), parts: vec![part], place })
}

fn reasoning_parts(found: &types::Message<'_>, path: &str, parts: &mut Vec<Part>) -> Result<()> {
    parts.reserve_exact(found.reasoning_details.items().count());
    for (index, item) in found.reasoning_details.items().enumerate() {
        let detail: types::ReasoningDetail = read(item, &format!("{path}.reasoning_details[{index}]"))?;
        room::push(parts, detail_part(detail));
    }
    let text = found.reasoning_content.as_ref().or(found.reasoning.as_ref()).filter(|text| !text.is_empty());
    if let (true, Some(text)) = (parts.is_empty(), text) {
        parts.push(Reasoning { text: text.clone(), ..Reasoning::default() }.into());
    }
    Ok(())
}

/// An entry of `reasoning_details`.
pub(crate) fn detail_part(detail: types::ReasoningDetail) -> Part {
    let mut part = Part::new(PartKind::from(Reasoning {
        text: detail.text.or(detail.summary).unwrap_or_default(),
        encrypted: detail.data,
        format: detail.format.filter(|format| format != "unknown"),
        id: detail.id,
    }));
    part.signature = detail.signature.map(Into::into);
    part
}

fn calls(
    found: types::List<'_>,
    legacy: Option<types::Function>,
    path: &str,
    parts: &mut Vec<Part>,
) -> Result<()> {
    parts.reserve_exact(found.items().count());
    for (index, item) in found.items().enumerate() {
        let call: types::ToolCall = read(item, &format!("{path}.tool_calls[{index}]"))?;
        let signature =
            call.extra_content.and_then(|extra| extra.google).and_then(|google| google.thought_signature);
        let (name, arguments, custom) = match (call.function, call.custom) {
            (Some(function), _) => (function.name, arguments(function.arguments), false),
            (None, Some(custom)) => (custom.name, custom.input, true),
            (None, None) => {
                let param = format!("{path}.tool_calls[{index}].function");
                let message = format!("{param} is missing; a call names its function and its arguments.");
                return Err(Error::invalid(param, message));
            }
        };
        let (id, name, arguments) = (call.id.into(), name.into(), arguments.into());
        let call = Part::from(ToolCall { id, name, arguments, custom });
        room::push(parts, Part { signature: signature.map(Into::into), ..call });
    }
    if let Some(function) = legacy {
        let id = format!("function_{}", function.name).into();
        let arguments = arguments(function.arguments).into();
        room::push(parts, ToolCall { id, name: function.name.into(), arguments, custom: false }.into());
    }
    Ok(())
}

/// Arguments are JSON text in a string; an object in its place is accepted.
fn arguments(found: Option<Json>) -> String {
    match found {
        None => String::new(),
        Some(json) if json.is_null() => String::new(),
        Some(json) => json.read::<String>().unwrap_or_else(|_| json.as_str().to_owned()),
    }
}

fn content(found: Content<'_>, path: &str, place: Place, parts: &mut Vec<Part>) -> Result<()> {
    match found {
        Content::None => {}
        Content::Text(text) if text.is_empty() => {}
        Content::Text(text) => room::push(parts, Part::text(text).at(place)),
        Content::Parts(list) => {
            parts.reserve_exact(list.items().count());
            for (index, item) in list.items().enumerate() {
                let path = format!("{path}.content[{index}]");
                let item: types::Part = read(item, &path)?;
                let cache = item.cache_control.as_ref().map(cache_mark);
                let kind = part(item, &path)?;
                room::push(parts, Part { cache, place: place.piece(index), ..Part::new(kind) });
            }
        }
    }
    Ok(())
}

fn cache_mark(control: &types::CacheControl) -> CacheMark {
    let ttl_seconds = match control.ttl.as_deref() {
        Some("1h") => Some(3600),
        Some("5m") => Some(300),
        _ => None,
    };
    CacheMark { ttl_seconds }
}

fn part(item: types::Part, path: &str) -> Result<PartKind> {
    let missing =
        |field: &str| Error::invalid(format!("{path}.{field}"), format!("{path}.{field} is missing."));
    match item.kind.as_str() {
        "text" | "input_text" | "output_text" => {
            item.text.map(|text| PartKind::Text(text.into())).ok_or_else(|| missing("text"))
        }
        "refusal" => {
            item.refusal.map(|text| PartKind::Refusal(text.into())).ok_or_else(|| missing("refusal"))
        }
        "image_url" => {
            let url = item.image_url.ok_or_else(|| missing("image_url"))?;
            url_media(MediaKind::Image, url, &format!("{path}.image_url.url"))
        }
        "video_url" => {
            let url = item.video_url.ok_or_else(|| missing("video_url"))?;
            url_media(MediaKind::Video, url, &format!("{path}.video_url.url"))
        }
        "input_audio" => {
            let audio = item.input_audio.ok_or_else(|| missing("input_audio"))?;
            let mime = format!("audio/{}", audio.format.trim().to_ascii_lowercase());
            Ok(media(MediaKind::Audio, Source::Base64 { mime, data: audio.data }, None))
        }
        "file" => file(item.file.ok_or_else(|| missing("file"))?, path),
        kind => Err(Error::invalid(
            format!("{path}.type"),
            format!("{path}.type {kind:?} is unknown; use text, image_url, input_audio or file."),
        )),
    }
}

fn media(kind: MediaKind, source: Source, filename: Option<String>) -> PartKind {
    PartKind::from(Media { kind, source, filename, detail: None })
}

fn url_media(kind: MediaKind, found: types::Url, path: &str) -> Result<PartKind> {
    let source = source(&found.url, path)?;
    Ok(PartKind::from(Media { kind, source, filename: None, detail: found.detail }))
}

/// A `data:` URL becomes inline bytes; everything else must be a web address.
fn source(url: &str, path: &str) -> Result<Source> {
    let invalid = |message: String| Error::invalid(path.to_owned(), message);
    if let Some(found) = data_url(url) {
        let found = found.ok_or_else(|| invalid(format!("{path} is a data URL without data.")))?;
        if !found.is_base64 {
            return Err(invalid(format!("{path} is a data URL that is not base64.")));
        }
        let plain =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
        if found.data.is_empty() || !found.data.as_bytes().iter().all(plain) {
            return Err(invalid(format!("{path} holds data that is not base64.")));
        }
        let mime = if found.mime.is_empty() { UNKNOWN_TYPE.to_owned() } else { found.mime };
        return Ok(Source::Base64 { mime, data: found.data.to_owned() });
    }
    let url = with_plain_scheme(url);
    match url.split_once("://") {
        Some(("http" | "https" | "gs" | "s3", rest)) if !rest.is_empty() => Ok(Source::Url(url)),
        _ => Err(invalid(format!(
            "{path} must be an http(s) address or a data URL such as data:image/png;base64,…."
        ))),
    }
}

/// The type of unknown content.
const UNKNOWN_TYPE: &str = "application/octet-stream";

fn file(found: types::File, path: &str) -> Result<PartKind> {
    let by_name = found.filename.as_deref().and_then(document_type);
    let source = match (found.file_data, found.file_id) {
        (Some(data), _) if data.contains("://") || after_scheme(&data, "data").is_some() => {
            source(&data, &format!("{path}.file.file_data"))?
        }
        // The type of bare base64 is guessed from the name, else it is a PDF, which clients usually mean.
        (Some(data), _) => Source::Base64 { mime: by_name.unwrap_or("application/pdf").to_owned(), data },
        (None, Some(id)) => Source::FileId(id),
        (None, None) => {
            let param = format!("{path}.file");
            let message = format!("{param} needs file_data (a data URL) or file_id.");
            return Err(Error::invalid(param, message));
        }
    };
    let source = match source {
        Source::Base64 { mime, data } if mime == UNKNOWN_TYPE => {
            Source::Base64 { mime: by_name.unwrap_or(UNKNOWN_TYPE).to_owned(), data }
        }
        source => source,
    };
    let source = match source {
        Source::Base64 { mime, data } if mime == "text/plain" => text_file(mime, data),
        source => source,
    };
    Ok(media(MediaKind::Document, source, found.filename))
}

/// Plain text travels as text if it is valid text. Other formats keep their type: some providers distinguish
/// them.
fn text_file(mime: String, data: String) -> Source {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(&data).ok();
    match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(text) => Source::Text(text),
        None => Source::Base64 { mime, data },
    }
}
