//! Reads callers' requests.

mod ignored_fields;

use std::iter::Enumerate;

use canon::{
    Effort, Error, ErrorKind, Field, Json, Media, MediaKind, Message, OutputField, OutputFormat, Part,
    PartKind, Place, Reasoning, ReasoningRequest, Request, Result, Role, Sampling, Source, Tool, ToolCall,
    ToolChoice, ToolKind, ToolResult,
};

use super::super::REASONING_FORMAT;
use super::super::types::CONTAINER_UPLOAD;
use crate::json::{Items, is_text, room, string};
use crate::protocols::Protocol;
use crate::protocols::fields::Fields;
use crate::protocols::hosted;
use crate::protocols::media_types::{media_type, with_plain_scheme};

/// Top-level fields with a counterpart in a canonical request.
const KNOWN: [&str; 15] = [
    "model",
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
];

/// Reads a whole request.
pub(crate) fn decode(body: &[u8]) -> Result<Request> {
    let malformed = |_| Error::caller(ErrorKind::InvalidRequest, "The body is not valid JSON.");
    let body = std::str::from_utf8(body).map_err(malformed)?.trim();
    let fields = Fields::parse(body, String::new())?;
    let mut request = Request {
        format: Protocol::AnthropicMessages.as_str(),
        model: fields.text("model")?,
        max_tokens: fields.opt_count("max_tokens")?,
        stream: fields.opt_flag("stream")?.unwrap_or(false),
        stop: fields.opt_texts("stop_sequences")?.unwrap_or_default(),
        sampling: Sampling {
            temperature: fields.opt_number("temperature")?,
            top_p: fields.opt_number("top_p")?,
            top_k: fields.opt_count("top_k")?,
            ..Sampling::default()
        },
        ..Request::default()
    };
    if let Some(system) = fields.raw("system") {
        let parts = system_parts(system)?;
        request.messages.push(Message::new(Role::System, parts).at(Place::INSTRUCTIONS));
    }
    let Some(messages) = fields.opt_list("messages")? else {
        return Err(fields.wrong("messages", "is required and must be a list."));
    };
    request.messages.reserve_exact(messages.count());
    for (index, raw) in messages.enumerate() {
        let fields = Fields::parse(raw, format!("messages[{index}]"))?;
        message(&fields, Place::entry(index), &mut request)?;
    }
    if messages.count() == 0 {
        return Err(fields.wrong("messages", "must hold at least one message."));
    }
    tools(&fields, &mut request)?;
    choice(&fields, &mut request)?;
    let mut extra = reasoning_and_format(&fields, &mut request)?;
    extra.extend(metadata(&fields, &mut request)?);
    request.extra = fields.into_members(&KNOWN);
    for (name, tier) in &mut request.extra {
        // The name in other formats.
        if name == "service_tier" && is_text(tier.as_str(), "standard_only") {
            *tier = Json::of("default");
        }
    }
    request.extra.extend(extra);
    request.losses = ignored_fields::losses(body);
    Ok(request)
}

fn system_parts(raw: &str) -> Result<Vec<Part>> {
    let blocks = content(raw, "system")?;
    let mut parts = Vec::with_capacity(blocks.count_all());
    for (index, block) in blocks.enumerate() {
        match block? {
            Content::Text(text) => parts.push(Part::text(text).at(Place::INSTRUCTIONS)),
            Content::Block(block) => match block.text("type")?.as_str() {
                "text" => parts.push(text(&block)?.at(Place::INSTRUCTIONS.piece(index))),
                _ => return Err(block.wrong("type", "must be \"text\".")),
            },
        }
    }
    Ok(parts)
}

/// A content string, or one of a list of blocks.
enum Content<'a> {
    Text(String),
    Block(Fields<'a>),
}

fn content<'a>(raw: &'a str, path: &'a str) -> Result<Contents<'a>> {
    match raw.as_bytes().first() {
        Some(b'"' | b'[') => Ok(Contents {
            path,
            text: raw.starts_with('"').then_some(raw),
            blocks: Items::of(raw).enumerate(),
        }),
        _ => Err(Error::invalid(
            path.to_owned(),
            format!("{path} must be a string or a list of content blocks."),
        )),
    }
}

/// The blocks of a content, read one at a time.
#[derive(Clone)]
struct Contents<'a> {
    path: &'a str,
    text: Option<&'a str>,
    blocks: Enumerate<Items<'a>>,
}

impl Contents<'_> {
    /// Approximate number of parts.
    fn count_all(&self) -> usize {
        usize::from(self.text.is_some()) + self.blocks.clone().count()
    }
}

impl<'a> Iterator for Contents<'a> {
    type Item = Result<Content<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let path = self.path;
        if let Some(text) = self.text.take() {
            let wrong = || Error::invalid(path.to_owned(), format!("{path} must be valid Unicode."));
            return Some(string(text).map(|text| Content::Text(text.into_owned())).ok_or_else(wrong));
        }
        let (index, block) = self.blocks.next()?;
        Some(Fields::parse(block, format!("{path}[{index}]")).map(Content::Block))
    }
}

fn message(fields: &Fields<'_>, place: Place, request: &mut Request) -> Result<()> {
    let role = match fields.text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        _ => return Err(fields.wrong("role", "must be \"user\" or \"assistant\".")),
    };
    let Some(raw) = fields.raw("content") else {
        return Err(fields.wrong("content", "is required."));
    };
    let path = fields.path("content");
    let blocks = content(raw, &path)?;
    let count = blocks.count_all();
    let mut parts = Vec::new();
    let before = request.messages.len();
    for (index, block) in blocks.enumerate() {
        let block = match block? {
            Content::Text(text) => {
                parts = vec![Part::text(text).at(place)];
                continue;
            }
            Content::Block(block) => block,
        };
        let place = place.piece(index);
        let kind = block.text("type")?;
        if role == Role::User && kind == "tool_result" {
            // A result is a separate message, and so are the parts before it.
            if !parts.is_empty() {
                room::push(&mut request.messages, Message::new(role, std::mem::take(&mut parts)).at(place));
            }
            let result = tool_result(&block)?.at(place);
            room::push(&mut request.messages, Message::new(Role::Tool, vec![result]).at(place));
            continue;
        }
        if parts.capacity() == 0 {
            parts.reserve_exact(count - index);
        }
        if role == Role::Assistant {
            parts.push(assistant_part(&kind, block)?.at(place));
        } else {
            read_content(&kind, &block, place, &mut parts)?;
        }
    }
    if !parts.is_empty() || request.messages.len() == before {
        room::push(&mut request.messages, Message::new(role, parts).at(place));
    }
    Ok(())
}

fn text(block: &Fields<'_>) -> Result<Part> {
    Ok(Part { cache: block.cache_mark()?, ..Part::text(block.text("text")?) })
}

fn assistant_part(kind: &str, block: Fields<'_>) -> Result<Part> {
    match kind {
        "text" => text(&block),
        "thinking" => {
            let (signature, format) = proof(block.opt_text("signature")?);
            let text = block.opt_text("thinking")?.unwrap_or_default();
            let thought = Reasoning { text, format, ..Reasoning::default() };
            Ok(Part { signature: signature.map(Into::into), ..Part::new(PartKind::from(thought)) })
        }
        "redacted_thinking" => {
            let (encrypted, format) = proof(Some(block.text("data")?));
            let thought = Reasoning { encrypted, format, ..Reasoning::default() };
            Ok(Part::new(PartKind::from(thought)))
        }
        "tool_use" => {
            let arguments = block.raw("input").unwrap_or("{}").into();
            let (id, name) = (block.text("id")?.into(), block.text("name")?.into());
            let call = ToolCall { id, name, arguments, custom: false };
            Ok(Part { cache: block.cache_mark()?, ..Part::new(PartKind::from(call)) })
        }
        "image" | "document" => {
            let mut parts = Vec::new();
            read_content(kind, &block, Place::NOWHERE, &mut parts)?;
            parts.pop().ok_or_else(|| block.wrong("type", "has no content."))
        }
        // A server tool's call or result, or a new kind: only this protocol can take it back.
        _ => {
            let raw = block.object_of_others(&[]).unwrap_or_else(|| Json::copy_of("{}"));
            Ok(Part::new(PartKind::Native(raw)))
        }
    }
}

/// A proof of thinking and its family; see the module above.
fn proof(proof: Option<String>) -> (Option<String>, Option<String>) {
    let Some(proof) = proof.filter(|proof| !proof.is_empty()) else { return (None, None) };
    match proof.split_once(':') {
        Some((format, proof)) => (Some(proof.to_owned()), Some(format.to_owned())),
        None => (Some(proof), Some(REASONING_FORMAT.to_owned())),
    }
}

fn tool_result(block: &Fields<'_>) -> Result<Part> {
    let mut parts = Vec::new();
    if let Some(raw) = block.raw("content") {
        let path = block.path("content");
        let blocks = content(raw, &path)?;
        parts.reserve_exact(blocks.count_all());
        for (index, inner) in blocks.enumerate() {
            let place = Place::NOWHERE.piece(index);
            match inner? {
                Content::Text(text) => parts.push(Part::text(text)),
                Content::Block(inner) => read_content(&inner.text("type")?, &inner, place, &mut parts)?,
            }
        }
    }
    let result = ToolResult {
        call_id: block.text("tool_use_id")?.into(),
        content: parts,
        is_error: block.opt_flag("is_error")?.unwrap_or(false),
    };
    Ok(Part { cache: block.cache_mark()?, ..Part::new(PartKind::from(result)) })
}

/// Content of a user or a tool: text, images, documents.
fn read_content(kind: &str, block: &Fields<'_>, place: Place, parts: &mut Vec<Part>) -> Result<()> {
    let before = parts.len();
    let cache = block.cache_mark()?;
    let media = |kind, source, filename, detail| {
        let media = Media { kind, source, filename, detail };
        Part { cache: cache.clone(), ..Part::new(PartKind::from(media)) }
    };
    match kind {
        "text" => parts.push(text(block)?),
        "image" => parts.push(media(MediaKind::Image, source(&block.fields("source")?)?, None, None)),
        "document" => {
            // The document's context is text for the model.
            if let Some(context) = block.opt_text("context")? {
                parts.push(Part::text(context));
            }
            let source = source(&block.fields("source")?)?;
            parts.push(media(MediaKind::Document, source, block.opt_text("title")?, None));
        }
        "container_upload" => {
            let source = Source::FileId(block.text("file_id")?);
            parts.push(media(MediaKind::Document, source, None, Some(CONTAINER_UPLOAD.to_owned())));
        }
        "search_result" => parts.push(Part { cache, ..search_result(block)? }),
        // References to tools: the model reads their names.
        "tool_reference" => parts.push(Part::text(block.text("tool_name")?)),
        "tool_addition" => {
            let tool = block.fields("tool")?;
            parts.push(Part::text(format!("The tool {} is available now.", tool.text("name")?)));
        }
        _ => return Err(block.wrong("type", "names no content block that is allowed here.")),
    }
    parts[before..].iter_mut().for_each(|part| part.place = place);
    Ok(())
}

fn source(fields: &Fields<'_>) -> Result<Source> {
    Ok(match fields.text("type")?.as_str() {
        "base64" => {
            Source::Base64 { mime: media_type(&fields.text("media_type")?), data: fields.text("data")? }
        }
        "url" => Source::Url(with_plain_scheme(&fields.text("url")?)),
        "file" => Source::FileId(fields.text("file_id")?),
        "text" => Source::Text(fields.text("data")?),
        "content" => {
            let Some(raw) = fields.raw("content") else {
                return Err(fields.wrong("content", "is required."));
            };
            Source::Text(joined(raw, &fields.path("content"))?)
        }
        _ => {
            return Err(
                fields.wrong("type", "must be \"base64\", \"url\", \"file\", \"text\" or \"content\".")
            );
        }
    })
}

/// The texts of a content, joined by line breaks.
fn joined(raw: &str, path: &str) -> Result<String> {
    let mut joined = String::new();
    for (index, block) in content(raw, path)?.enumerate() {
        let text = match block? {
            Content::Text(text) => text,
            Content::Block(block) if block.text("type")? == "text" => block.text("text")?,
            Content::Block(block) => return Err(block.wrong("type", "must be \"text\" here.")),
        };
        if index > 0 {
            joined.push('\n');
        }
        joined.push_str(&text);
    }
    Ok(joined)
}

fn search_result(block: &Fields<'_>) -> Result<Part> {
    let mut lines = Vec::new();
    lines.extend(block.opt_text("title")?);
    lines.extend(block.opt_text("source")?);
    if let Some(raw) = block.raw("content") {
        lines.push(joined(raw, &block.path("content"))?);
    }
    Ok(Part::text(lines.join("\n")))
}

fn tools(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let tools = fields.list("tools")?;
    request.tools.reserve_exact(tools.count());
    for (index, raw) in tools.enumerate() {
        let tool = Fields::parse(raw, format!("tools[{index}]"))?;
        let kind = tool.opt_text("type")?.filter(|kind| kind != "custom");
        let decoded = match kind {
            None => Tool {
                name: tool.text("name")?,
                description: tool.opt_text("description")?,
                kind: ToolKind::Function {
                    parameters: tool.opt_schema("input_schema")?,
                    strict: tool.opt_flag("strict")?,
                },
                cache: tool.cache_mark()?,
                place: Place::entry(index),
            },
            Some(kind) => Tool {
                name: tool.opt_text("name")?.unwrap_or(kind),
                description: None,
                kind: ToolKind::Native(Json::copy_of(raw)),
                cache: tool.cache_mark()?,
                place: Place::entry(index),
            },
        };
        hosted::push(&mut request.tools, decoded)?;
    }
    Ok(())
}

fn choice(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let Some(choice) = fields.opt_fields("tool_choice")? else { return Ok(()) };
    request.tool_choice = Some(match choice.text("type")?.as_str() {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "tool" => ToolChoice::Named(choice.text("name")?),
        "none" => ToolChoice::None,
        _ => return Err(choice.wrong("type", "must be \"auto\", \"any\", \"tool\" or \"none\".")),
    });
    request.parallel_tool_calls = choice.opt_flag("disable_parallel_tool_use")?.map(|disabled| !disabled);
    Ok(())
}

/// `thinking` and `output_config`. Other members of the latter are returned, to pass unchanged.
fn reasoning_and_format(fields: &Fields<'_>, request: &mut Request) -> Result<Vec<(String, Json)>> {
    let mut extra = Vec::new();
    let mut format = fields.opt_fields("output_format")?;
    let mut is_older = format.is_some();
    let mut effort = None;
    if let Some(config) = fields.opt_fields("output_config")? {
        if let Some(name) = config.opt_text("effort")? {
            let level = Effort::parse(&name);
            effort = Some(level.ok_or_else(|| {
                config.wrong("effort", "must be \"low\", \"medium\", \"high\", \"xhigh\" or \"max\".")
            })?);
        }
        let newer = config.opt_fields("format")?;
        is_older &= newer.is_none();
        format = newer.or(format);
        let own = config.object_of_others(&["effort", "format"]);
        extra.extend(own.map(|own| ("output_config".to_owned(), own)));
    }
    if let Some(format) = format {
        if format.text("type")? != "json_schema" {
            return Err(format.wrong("type", "must be \"json_schema\"."));
        }
        let schema = format.opt_json("schema");
        if is_older {
            request.spellings.note(Field::Output(OutputField::Whole), "output_format");
            request.spellings.note(Field::Output(OutputField::Schema), "output_format.schema");
        }
        request.output =
            OutputFormat::JsonSchema { name: "response".to_owned(), description: None, schema, strict: None };
    }
    request.reasoning = reasoning(fields, effort)?;
    if effort.is_none_or(|effort| request.reasoning.effort != Some(effort)) {
        request.spellings.note(Field::ReasoningEffort, "thinking");
    }
    Ok(extra)
}

fn reasoning(fields: &Fields<'_>, effort: Option<Effort>) -> Result<ReasoningRequest> {
    let Some(thinking) = fields.opt_fields("thinking")? else {
        return Ok(ReasoningRequest { effort, ..ReasoningRequest::default() });
    };
    let exclude = thinking.opt_text("display")?.as_deref() == Some("omitted");
    let reasoning =
        |effort, budget_tokens| ReasoningRequest { effort, budget_tokens, exclude, summary: None };
    Ok(match thinking.text("type")?.as_str() {
        "enabled" => {
            let budget = thinking.opt_count("budget_tokens")?;
            reasoning(effort.or(budget.is_none().then_some(Effort::Medium)), budget)
        }
        // Without an effort the model thinks as much as by default, which is a lot.
        "adaptive" => reasoning(effort.or(Some(Effort::High)), None),
        "disabled" | "between_tools" => reasoning(Some(Effort::None), None),
        _ => {
            return Err(thinking
                .wrong("type", "must be \"enabled\", \"adaptive\", \"between_tools\" or \"disabled\"."));
        }
    })
}

/// `metadata.user_id` is the user; other labels pass unchanged.
fn metadata(fields: &Fields<'_>, request: &mut Request) -> Result<Option<(String, Json)>> {
    let Some(metadata) = fields.opt_fields("metadata")? else { return Ok(None) };
    request.user = metadata.opt_text("user_id")?;
    Ok(metadata.object_of_others(&["user_id"]).map(|own| ("metadata".to_owned(), own)))
}
