//! The items of the input as messages.
//!
//! The model's text, thinking and calls are separate items; adjacent ones of one turn become one message.

use std::collections::BTreeMap;

use canon::{
    Error, Json, Media, MediaKind, Message, Part, PartKind, Place, Reasoning, Request, Result, Role, Source,
    ToolCall, ToolResult,
};

use super::super::super::REASONING_FORMAT;
use super::tools::CallerTools;
use crate::json::{Items, room};
use crate::protocols::envelope::{self, Proof};
use crate::protocols::fields::Fields;
use crate::protocols::media_types::{data_url, document_type, with_plain_scheme};

/// Reads `input`.
pub(super) fn input(body: &Fields<'_>, tools: &CallerTools, request: &mut Request) -> Result<()> {
    let Some(raw) = body.raw("input") else {
        return Err(body.wrong("input", "is required: a string, or a list of items."));
    };
    if raw.starts_with('"') {
        let text = serde_json::from_str::<String>(raw)
            .map_err(|_| body.wrong("input", "holds text that is not valid Unicode."))?;
        request.messages.push(Message::new(Role::User, vec![Part::text(text)]));
        return Ok(());
    }
    if !raw.starts_with('[') {
        return Err(body.wrong("input", "must be a string or a list of items."));
    }
    let items = Items::of(raw);
    if items.count() == 0 {
        return Err(body.wrong("input", "must hold at least one item."));
    }
    request.messages.reserve_exact(items.filter(|item| begins_message(item)).count());
    let mut reader =
        Reader { tools, request, is_open: false, place: Place::NOWHERE, signatures: BTreeMap::new() };
    for (index, raw) in items.enumerate() {
        let item = Fields::parse(raw, format!("input[{index}]"))?;
        reader.place = Place::entry(index);
        reader.item(item, raw)?;
    }
    Ok(())
}

/// Whether an item is a message of its own, most likely: the model's items are joined.
fn begins_message(item: &str) -> bool {
    item.contains("\"role\"") || item.contains("_output\"")
}

struct Reader<'a, 'b> {
    tools: &'a CallerTools,
    request: &'b mut Request,
    /// The last message is the model's, and further output is added to it.
    is_open: bool,
    /// The place of the current item.
    place: Place,
    /// Proofs of following calls, by the call's id.
    signatures: BTreeMap<String, String>,
}

impl Reader<'_, '_> {
    fn item(&mut self, item: Fields<'_>, raw: &str) -> Result<()> {
        let kind = match item.opt_text("type")? {
            Some(kind) => kind,
            None if item.raw("role").is_some() => "message".to_owned(),
            None => return Err(item.wrong("type", "is required.")),
        };
        match kind.as_str() {
            "message" => self.message(&item),
            "reasoning" => self.reasoning(&item),
            "function_call" => self.call(&item, "name", "arguments", false),
            "custom_tool_call" => self.call(&item, "name", "input", true),
            "local_shell_call" => self.machine_call(&item, "local_shell", "action"),
            "shell_call" => self.machine_call(&item, "shell", "action"),
            "apply_patch_call" => self.machine_call(&item, "apply_patch", "operation"),
            "tool_search_call" if item.raw("call_id").is_some() => {
                self.machine_call(&item, "tool_search", "arguments")
            }
            "computer_call" => self.machine_call(&item, "computer", "action"),
            "function_call_output"
            | "custom_tool_call_output"
            | "local_shell_call_output"
            | "shell_call_output"
            | "apply_patch_call_output"
            | "computer_call_output" => self.output(&item),
            "tool_search_output" if item.raw("call_id").is_some() => self.tools_found(&item),
            // Their tools have been read already.
            "additional_tools" | "tool_search_output" | "tool_search_call" => Ok(()),
            "item_reference" => {
                let message = format!("{} refers to a stored item; send the item itself.", item.path("id"));
                Err(Error::invalid(item.path("id"), message))
            }
            "compaction_trigger" => Err(Error::unsupported(
                item.path("type"),
                "compaction_trigger is served by OpenAI only; let the client compact the conversation by itself.",
            )),
            // Calls of hosted tools, compacted conversations, and new kinds: only this format has them.
            _ => {
                self.push_part(Part::new(PartKind::Native(Json::copy_of(raw))));
                Ok(())
            }
        }
    }

    /// Adds to the model's message.
    fn push_part(&mut self, mut part: Part) {
        if part.place.is_nowhere() {
            part.place = self.place;
        }
        match self.request.messages.last_mut().filter(|_| self.is_open) {
            Some(message) => room::push(&mut message.parts, part),
            None => {
                room::push(
                    &mut self.request.messages,
                    Message::new(Role::Assistant, vec![part]).at(self.place),
                );
            }
        }
        self.is_open = true;
    }

    fn message(&mut self, item: &Fields<'_>) -> Result<()> {
        let role = match item.text("role")?.as_str() {
            "user" => Role::User,
            "system" => Role::System,
            "developer" => Role::Developer,
            "assistant" => Role::Assistant,
            _ => return Err(item.wrong("role", "must be user, assistant, system or developer.")),
        };
        let parts = match item.raw("content") {
            None => Vec::new(),
            Some(raw) => content(raw, &item.path("content"), self.place)?,
        };
        self.note_unread(item, &["type", "role", "content", "id", "status", "phase"]);
        if role == Role::Assistant {
            if parts.is_empty() {
                return Ok(());
            }
            parts.into_iter().for_each(|part| self.push_part(part));
            return Ok(());
        }
        self.is_open = false;
        room::push(&mut self.request.messages, Message::new(role, parts).at(self.place));
        Ok(())
    }

    /// Reports unread fields. Clients mark fields for their own vendor's servers: those are not requests of
    /// the caller.
    fn note_unread(&mut self, item: &Fields<'_>, known: &[&str]) {
        for (name, value) in item.others(known).filter(|(name, _)| !name.starts_with("internal_")) {
            if !matches!(value, "null" | "[]" | "{}" | "\"\"") {
                let reason = "Only providers of the Responses API have such a field.";
                self.request.losses.dropped(item.path(&name), reason);
            }
        }
    }

    fn reasoning(&mut self, item: &Fields<'_>) -> Result<()> {
        let mut text = texts(item, "summary")?;
        if text.is_empty() {
            text = texts(item, "content")?;
        }
        let id = item.opt_text("id")?;
        let mut thought = Reasoning { text, id, ..Reasoning::default() };
        let mut signature = None;
        match item.opt_text("encrypted_content")?.filter(|data| !data.is_empty()) {
            None => {}
            Some(data) => match envelope::open(&data) {
                None => {
                    thought.format = Some(REASONING_FORMAT.to_owned());
                    thought.encrypted = Some(data);
                }
                Some(Proof::Call { id, signature }) => {
                    self.signatures.insert(id, signature);
                    return Ok(());
                }
                Some(Proof::Signature { format, signature: proof, text })
                    if text == envelope::mark(&thought.text) =>
                {
                    thought.format = Some(format);
                    signature = Some(proof);
                    thought.id = None;
                }
                Some(Proof::Encrypted { format, data }) => {
                    thought.format = Some(format);
                    thought.encrypted = Some(data);
                    thought.id = None;
                }
                // The client changed the signed content.
                Some(Proof::Signature { .. } | Proof::Broken) => {}
            },
        }
        if thought.text.is_empty() && thought.encrypted.is_none() && signature.is_none() {
            return Ok(());
        }
        if thought.encrypted.is_none() {
            thought.id = None;
        }
        self.push_part(Part { signature: signature.map(Into::into), ..Part::new(PartKind::from(thought)) });
        Ok(())
    }

    fn call(&mut self, item: &Fields<'_>, name: &str, arguments: &str, custom: bool) -> Result<()> {
        let called = item.text(name)?;
        let namespace = item.opt_text("namespace")?;
        let name = self.tools.flat(namespace.as_deref(), called);
        let arguments = match item.raw(arguments) {
            None => String::new(),
            // Text in the format; an object in its place is accepted.
            Some(raw) => serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned()),
        };
        self.note_unread(
            item,
            &[
                "type",
                "id",
                "status",
                "name",
                "call_id",
                "arguments",
                "input",
                "namespace",
                "caller",
                "async",
            ],
        );
        let (id, name) = (item.text("call_id")?.into(), name.into());
        self.called(ToolCall { id, name, arguments: arguments.into(), custom });
        Ok(())
    }

    fn called(&mut self, call: ToolCall) {
        let signature = self.signatures.remove(&*call.id);
        self.push_part(Part { signature: signature.map(Into::into), ..Part::new(PartKind::from(call)) });
    }

    /// A call of a tool that the caller's machine runs: the action becomes its arguments.
    fn machine_call(&mut self, item: &Fields<'_>, name: &str, action: &str) -> Result<()> {
        let arguments = item.raw(action).unwrap_or("{}").into();
        let id = item.opt_text("call_id")?.or(item.opt_text("id")?).unwrap_or_default().into();
        self.called(ToolCall { id, name: name.into(), arguments, custom: false });
        Ok(())
    }

    fn output(&mut self, item: &Fields<'_>) -> Result<()> {
        let call_id = match item.opt_text("call_id")? {
            Some(id) => id,
            // `local_shell_call_output` has the call's id in this member.
            None => item
                .opt_text("id")?
                .ok_or_else(|| item.wrong("call_id", "is required and must be a string."))?,
        };
        let content = match item.raw("output") {
            None => Vec::new(),
            Some(raw) => output_parts(raw, item, self.place)?,
        };
        self.note_unread(
            item,
            &[
                "type",
                "id",
                "call_id",
                "output",
                "status",
                "name",
                "caller",
                "max_output_length",
                "acknowledged_safety_checks",
            ],
        );
        self.result(call_id, content);
        Ok(())
    }

    fn result(&mut self, call_id: String, content: Vec<Part>) {
        self.is_open = false;
        let result = ToolResult { call_id: call_id.into(), content, is_error: false };
        let part = Part::new(PartKind::from(result)).at(self.place);
        room::push(&mut self.request.messages, Message::new(Role::Tool, vec![part]).at(self.place));
    }

    /// The tools that a search found are now tools of the request: the model gets their names.
    fn tools_found(&mut self, item: &Fields<'_>) -> Result<()> {
        let mut names = Vec::new();
        for (index, raw) in item.list("tools")?.enumerate() {
            let tool = Fields::parse(raw, format!("{}[{index}]", item.path("tools")))?;
            names.extend(tool.opt_text("name")?);
        }
        let text = if names.is_empty() {
            "No tools were found.".to_owned()
        } else {
            format!("These tools are available now: {}.", names.join(", "))
        };
        let id = item.text("call_id")?;
        self.result(id, vec![Part::text(text)]);
        Ok(())
    }
}

/// The texts of a list of parts, joined by line breaks.
fn texts(item: &Fields<'_>, name: &str) -> Result<String> {
    let mut texts = String::new();
    for (index, raw) in item.list(name)?.enumerate() {
        let part = Fields::parse(raw, format!("{}[{index}]", item.path(name)))?;
        if index > 0 {
            texts.push_str("\n\n");
        }
        texts.push_str(&part.word("text")?.unwrap_or_default());
    }
    Ok(texts)
}

/// A string, a list of content parts, or, for tools of the caller's machine, any other value, which is passed
/// on as JSON.
fn output_parts(raw: &str, item: &Fields<'_>, place: Place) -> Result<Vec<Part>> {
    let json = || vec![Part::text(raw)];
    match raw.as_bytes().first() {
        Some(b'"') => content(raw, &item.path("output"), place),
        Some(b'[') if item.opt_text("type")?.as_deref() != Some("shell_call_output") => {
            content(raw, &item.path("output"), place)
        }
        Some(b'{') => {
            let output = Fields::parse(raw, item.path("output"))?;
            match output.opt_text("type")?.as_deref() {
                Some("computer_screenshot" | "input_image") => Ok(vec![part(&output)?]),
                _ => Ok(json()),
            }
        }
        _ => Ok(json()),
    }
}

/// A string or a list of parts.
fn content(raw: &str, path: &str, place: Place) -> Result<Vec<Part>> {
    let wrong = || Error::invalid(path.to_owned(), format!("{path} must be a string or a list of parts."));
    if raw.starts_with('"') {
        let text: String = serde_json::from_str(raw).map_err(|_| wrong())?;
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text).at(place)] });
    }
    if !raw.starts_with('[') {
        return Err(wrong());
    }
    let items = Items::of(raw);
    let mut parts = Vec::with_capacity(items.count());
    for (index, raw) in items.enumerate() {
        let fields = Fields::parse(raw, format!("{path}[{index}]"))?;
        parts.push(part(&fields)?.at(place.piece(index)));
    }
    Ok(parts)
}

fn part(fields: &Fields<'_>) -> Result<Part> {
    let kind = match fields.text("type")?.as_str() {
        "input_text" | "output_text" | "text" | "summary_text" | "reasoning_text" => {
            PartKind::Text(fields.text("text")?.into())
        }
        "refusal" => PartKind::Refusal(fields.text("refusal")?.into()),
        "input_image" | "computer_screenshot" => PartKind::from(image(fields)?),
        "input_file" => PartKind::from(file(fields)?),
        "input_audio" => PartKind::from(audio(fields)?),
        _ => {
            return Err(
                fields.wrong("type", "must be input_text, input_image, input_file, output_text or refusal.")
            );
        }
    };
    Ok(Part::new(kind))
}

fn image(fields: &Fields<'_>) -> Result<Media> {
    let source = match (fields.opt_text("image_url")?, fields.opt_text("file_id")?) {
        (Some(url), _) => source(&url, fields, "image_url")?,
        (None, Some(id)) => Source::FileId(id),
        (None, None) => return Err(fields.wrong("image_url", "is required: an address, or a data URL.")),
    };
    Ok(Media { kind: MediaKind::Image, source, filename: None, detail: fields.opt_text("detail")? })
}

fn file(fields: &Fields<'_>) -> Result<Media> {
    let filename = fields.opt_text("filename")?;
    let by_name = filename.as_deref().and_then(document_type);
    let data = fields.opt_text("file_data")?;
    let source = match (data, fields.opt_text("file_url")?, fields.opt_text("file_id")?) {
        (Some(data), ..) if data_url(&data).is_some() => source(&data, fields, "file_data")?,
        // The type of bare base64 is guessed from the name, else it is a PDF, which clients usually mean.
        (Some(data), ..) => Source::Base64 { mime: by_name.unwrap_or("application/pdf").to_owned(), data },
        (None, Some(url), _) => source(&url, fields, "file_url")?,
        (None, None, Some(id)) => Source::FileId(id),
        (None, None, None) => {
            return Err(fields.wrong("file_data", "is missing; a file has file_data, file_url or file_id."));
        }
    };
    let source = match source {
        Source::Base64 { mime, data } if mime == UNKNOWN_TYPE => {
            Source::Base64 { mime: by_name.unwrap_or(UNKNOWN_TYPE).to_owned(), data }
        }
        source => source,
    };
    Ok(Media { kind: MediaKind::Document, source, filename, detail: None })
}

fn audio(fields: &Fields<'_>) -> Result<Media> {
    let audio = fields.fields("input_audio")?;
    let mime = format!("audio/{}", audio.text("format")?.trim().to_ascii_lowercase());
    let source = Source::Base64 { mime, data: audio.text("data")? };
    Ok(Media { kind: MediaKind::Audio, source, filename: None, detail: None })
}

/// The type of unknown content.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// A `data:` URL becomes inline bytes; everything else must be a web address.
fn source(url: &str, fields: &Fields<'_>, name: &str) -> Result<Source> {
    if let Some(found) = data_url(url) {
        let Some(found) = found.filter(|found| found.is_base64 && !found.data.is_empty()) else {
            return Err(fields.wrong(name, "must be a data URL with base64 data."));
        };
        let plain =
            |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_');
        if !found.data.as_bytes().iter().all(plain) {
            return Err(fields.wrong(name, "holds data that is not base64."));
        }
        let mime = if found.mime.is_empty() { UNKNOWN_TYPE.to_owned() } else { found.mime };
        return Ok(Source::Base64 { mime, data: found.data.to_owned() });
    }
    let url = with_plain_scheme(url);
    match url.split_once("://") {
        Some(("http" | "https" | "gs" | "s3", rest)) if !rest.is_empty() => Ok(Source::Url(url)),
        _ => {
            Err(fields
                .wrong(name, "must be an http(s) address or a data URL such as data:image/png;base64,…."))
        }
    }
}
