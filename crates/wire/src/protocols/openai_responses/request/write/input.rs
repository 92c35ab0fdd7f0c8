//! The conversation as items. Texts are borrowed: they are the largest part of a request.

use std::borrow::Cow;

use canon::{
    Error, Field, Losses, Media, MediaKind, Message, MessageField, Part, PartKind, Reasoning, Request,
    Result, Role, Source, Target, ToolCall, ToolResult,
};
use serde::Serialize;

use super::super::super::REASONING_FORMAT;
use crate::json::Output;
use crate::protocols::Protocol;
use crate::protocols::call_ids::{CallIds, mark_of, plain_id};
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::OF_ANOTHER_FORMAT;

/// A call of a function or of a free-text tool.
#[derive(Serialize)]
struct CallItem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    call_id: Cow<'a, str>,
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    input: Option<&'a str>,
}

#[derive(Serialize)]
struct ReasoningItem<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    summary: Vec<ContentPart<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    content: Vec<ContentPart<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted_content: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    InputText {
        text: &'a str,
    },
    InputImage {
        detail: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        image_url: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_data: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_url: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        file_id: Option<&'a str>,
    },
    OutputText {
        text: &'a str,
        annotations: [(); 0],
    },
    Refusal {
        refusal: &'a str,
    },
    SummaryText {
        text: &'a str,
    },
    ReasoningText {
        text: &'a str,
    },
}

/// Begins the body with the items of a conversation, each of which is written when it is made: there may be
/// many short ones.
pub(super) fn input<'a>(
    request: &'a Request,
    target: Target<'_>,
    names: &'a Names<'a>,
    losses: &mut Losses,
    output: &mut Output,
) -> Result<()> {
    let mut writer = Writer {
        output,
        ids: CallIds::of(request, plain_id),
        custom: request.messages.iter().flat_map(Message::tool_calls).map(|call| call.custom).collect(),
        names,
        has_own_items: request.format == Protocol::OpenaiResponses.as_str(),
        no_developer: target.quirks.no_developer_role,
        // Hosts of open models accept the text of thinking.
        takes_text: target.quirks.reasoning_field.is_some(),
        text_only_results: target.facts.no_media_in_results,
        losses,
    };
    writer.output.push(br#"{"input":["#);
    for (index, message) in request.messages.iter().enumerate() {
        match message.role {
            Role::Assistant => writer.assistant(index, message)?,
            Role::Tool => writer.results(index, message)?,
            Role::System | Role::Developer | Role::User => writer.push_message(index, message)?,
        }
    }
    writer.output.push(b"]");
    Ok(())
}

struct Writer<'a, 'b> {
    output: &'b mut Output,
    ids: CallIds<'a>,
    /// For each call in order: whether it is one of a free-text tool.
    custom: Vec<bool>,
    names: &'a Names<'a>,
    /// Items that only one format has are of this one.
    has_own_items: bool,
    no_developer: bool,
    takes_text: bool,
    text_only_results: bool,
    losses: &'b mut Losses,
}

impl<'a> Writer<'a, '_> {
    fn push_message(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let role = match message.role {
            Role::User => "user",
            Role::Developer if !self.no_developer => "developer",
            _ => "system",
        };
        self.begin_message(role, None);
        self.content(&message.parts, |position| Field::part(index, position))?;
        self.output.push(b"}");
        Ok(())
    }

    /// Appends a message up to its content. The complete form of a model's message has an id.
    fn begin_message(&mut self, role: &str, id: Option<&str>) {
        self.output.comma();
        self.output.push(br#"{"type":"message""#);
        self.output.opt_text("id", id);
        self.output.text("role", role);
        self.output.opt_text("status", id.and(Some("completed")));
        self.output.key("content");
    }

    /// Appends a string for one text, else parts, each when it is read: there may be many short ones.
    fn content(&mut self, parts: &'a [Part], path: impl Fn(usize) -> Field) -> Result<()> {
        if let [Part { kind: PartKind::Text(text) | PartKind::Refusal(text), .. }] = parts {
            self.output.string(text);
            return Ok(());
        }
        self.parts(parts, path, |_| true)
    }

    /// Appends those of the parts that are chosen.
    fn parts(
        &mut self,
        parts: &'a [Part],
        path: impl Fn(usize) -> Field,
        is_chosen: impl Fn(&Part) -> bool,
    ) -> Result<()> {
        self.output.push(b"[");
        for (position, part) in parts.iter().enumerate().filter(|(_, part)| is_chosen(part)) {
            let written = self.part(part, || path(position))?;
            self.output.item(&written)?;
        }
        self.output.push(b"]");
        Ok(())
    }

    fn part(&mut self, part: &'a Part, path: impl FnOnce() -> Field) -> Result<ContentPart<'a>> {
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => Ok(ContentPart::InputText { text }),
            PartKind::Media(media) => self.media(media, path()),
            PartKind::ToolCall(_)
            | PartKind::ToolResult(_)
            | PartKind::Reasoning(_)
            | PartKind::Native(_) => Err(Error::invalid(path(), "This kind of content is not allowed here.")),
        }
    }

    fn media(&mut self, media: &'a Media, path: Field) -> Result<ContentPart<'a>> {
        if let Source::Text(text) = &media.source {
            self.losses.approximated(path, "Text files are sent as plain text.");
            return Ok(ContentPart::InputText { text });
        }
        let is_picture = matches!(&media.source, Source::Base64 { mime, .. } if mime.starts_with("image/"));
        match media.kind {
            MediaKind::Document if !is_picture => Ok(document(media)),
            MediaKind::Image | MediaKind::Document => Ok(picture(media)),
            MediaKind::Audio => Err(Error::unsupported(path, "The Responses API does not accept audio.")),
            MediaKind::Video => Err(Error::unsupported(path, "The Responses API does not accept video.")),
        }
    }

    // ------------------------------------------------------------------------------------------ the model's turns

    fn assistant(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let mut said = 0;
        let mut thinking: Option<&'a str> = None;
        for (position, part) in message.parts.iter().enumerate() {
            if !matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_)) {
                self.spoken(&message.parts[said..position], (index, position))?;
                said = position + 1;
            }
            match &part.kind {
                PartKind::Text(_) | PartKind::Refusal(_) => {}
                PartKind::Reasoning(thought) => {
                    let text = thinking.take();
                    // Formats with a separate proof of thinking send the text first.
                    let next = message.parts.get(position + 1).map(|part| &part.kind);
                    let proof_follows = matches!(next, Some(PartKind::Reasoning(next)) if next.text.is_empty() && is_own_proof(next));
                    if is_plain(thought, part) && proof_follows {
                        thinking = Some(&thought.text)
                    } else {
                        self.thought(index, thought, part, text)?
                    }
                }
                PartKind::ToolCall(call) => {
                    let id = self.ids.id_at((index, position)).into();
                    self.output.item(&call_item(call, id, self.names))?;
                }
                PartKind::Media(media) => {
                    let path = Field::part(index, position);
                    let part = self.media(media, path.clone())?;
                    self.losses.approximated(path, "Images from the model were sent as user messages.");
                    self.begin_message("user", None);
                    self.output.push(b"[");
                    self.output.item(&part)?;
                    self.output.push(b"]}");
                }
                PartKind::ToolResult(result) => self.result((index, position), result)?,
                PartKind::Native(item) if self.has_own_items => self.output.item(item)?,
                PartKind::Native(_) => {
                    self.losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT);
                }
            }
        }
        self.spoken(&message.parts[said..], (index, message.parts.len()))
    }

    /// The model's text so far, as one message. Several texts need the complete form, which has an id; ids of
    /// messages are not looked up (recorded: Codex makes its own).
    fn spoken(&mut self, parts: &'a [Part], (index, position): (usize, usize)) -> Result<()> {
        let said = |part: &'a Part| match &part.kind {
            PartKind::Text(text) if text.is_empty() => None,
            PartKind::Text(text) => Some(ContentPart::OutputText { text, annotations: [] }),
            PartKind::Refusal(refusal) => Some(ContentPart::Refusal { refusal }),
            _ => None,
        };
        let mut texts = parts.iter().filter_map(said);
        match (texts.next(), texts.next()) {
            (None, _) => return Ok(()),
            (Some(ContentPart::OutputText { text, .. }), None) => {
                self.begin_message("assistant", None);
                self.output.string(text);
            }
            _ => {
                let id = format!("msg_{}", mark_of(&format!("{index}.{position}")));
                self.begin_message("assistant", Some(&id));
                self.output.push(b"[");
                for text in parts.iter().filter_map(said) {
                    self.output.item(&text)?;
                }
                self.output.push(b"]");
            }
        }
        self.output.push(b"}");
        Ok(())
    }

    fn thought(
        &mut self,
        index: usize,
        thought: &'a Reasoning,
        part: &'a Part,
        before: Option<&'a str>,
    ) -> Result<()> {
        let field = || Field::of_message(index, MessageField::Thinking);
        let id = thought.id.as_deref().filter(|id| id.starts_with("rs_"));
        let text = before.or(Some(thought.text.as_str())).filter(|text| !text.is_empty());
        let item = |summary, content, encrypted_content| ReasoningItem {
            kind: "reasoning",
            id,
            summary,
            content,
            encrypted_content,
        };
        let encrypted = thought.encrypted.as_ref().filter(|data| !data.is_empty());
        match (thought.format.as_deref(), encrypted) {
            (None | Some(REASONING_FORMAT), Some(data)) => {
                let summary = text.map(|text| ContentPart::SummaryText { text }).into_iter().collect();
                self.output.item(&item(summary, Vec::new(), Some(data)))?;
            }
            (None, None) if self.takes_text && part.signature.is_none() => {
                let content = text.map(|text| ContentPart::ReasoningText { text }).into_iter().collect();
                self.output.item(&item(Vec::new(), content, None))?;
            }
            (Some(format), ..) if format != REASONING_FORMAT => {
                let reason = "Thinking of another family of models is not accepted.";
                self.losses.dropped(field(), reason);
            }
            _ => self.losses.dropped(field(), "Thinking without its encrypted form is not accepted."),
        }
        Ok(())
    }

    // ------------------------------------------------------------------------------------------ results of tools

    fn results(&mut self, index: usize, message: &'a Message) -> Result<()> {
        for (position, part) in message.parts.iter().enumerate() {
            let PartKind::ToolResult(result) = &part.kind else { continue };
            self.result((index, position), result)?;
        }
        Ok(())
    }

    fn result(&mut self, place: (usize, usize), result: &'a ToolResult) -> Result<()> {
        let number = self.ids.answered(place);
        let call_id = number.map_or_else(|| plain_id(&result.call_id), |number| self.ids.kept_id(number));
        let is_custom = number.and_then(|number| self.custom.get(number)).copied().unwrap_or(false);
        let kind = if is_custom { "custom_tool_call_output" } else { "function_call_output" };
        let path = |position| Field::result_part(place.0, position);
        self.output.comma();
        self.output.push(b"{");
        self.output.text("type", kind);
        self.output.text("call_id", &call_id);
        self.output.key("output");
        match (self.text_only_results, &result.content[..]) {
            // An empty list is refused as an output.
            (_, []) => self.output.string(""),
            (false, parts) => self.content(parts, path)?,
            (true, parts) => self.texts_of(parts, path)?,
        }
        self.output.push(b"}");
        if !self.text_only_results || !result.content.iter().any(is_media) {
            return Ok(());
        }
        // Media that cannot be in the result follow it in a message.
        self.begin_message("user", None);
        self.parts(&result.content, path, is_media)?;
        self.output.push(b"}");
        Ok(())
    }

    /// Appends the texts of a result.
    fn texts_of(&mut self, parts: &'a [Part], path: impl Fn(usize) -> Field) -> Result<()> {
        let mut texts = parts.iter().filter(|part| !is_media(part));
        match (texts.next(), texts.next()) {
            (None, _) => self.output.string(""),
            (Some(one), None) => self.content(std::slice::from_ref(one), path)?,
            _ => self.parts(parts, path, |part| !is_media(part))?,
        }
        Ok(())
    }
}

fn is_media(part: &Part) -> bool {
    matches!(part.kind, PartKind::Media(_))
}

fn call_item<'a>(call: &'a ToolCall, call_id: Cow<'a, str>, names: &'a Names<'_>) -> CallItem<'a> {
    let name = names.wire(&call.name).into();
    if call.custom {
        CallItem { kind: "custom_tool_call", call_id, name, arguments: None, input: Some(&call.arguments) }
    } else {
        let arguments = if call.arguments.trim().is_empty() { "{}" } else { &call.arguments };
        CallItem { kind: "function_call", call_id, name, arguments: Some(arguments), input: None }
    }
}

fn is_plain(thought: &Reasoning, part: &Part) -> bool {
    thought.format.is_none()
        && thought.encrypted.is_none()
        && part.signature.is_none()
        && !thought.text.is_empty()
}

fn is_own_proof(thought: &Reasoning) -> bool {
    thought.encrypted.is_some() && thought.format.as_deref().is_none_or(|format| format == REASONING_FORMAT)
}

fn picture(media: &Media) -> ContentPart<'_> {
    let detail = media.detail.as_deref().unwrap_or("auto");
    let (image_url, file_id) = match &media.source {
        Source::Url(url) => (Some(Cow::Borrowed(url.as_str())), None),
        Source::Base64 { mime, data } => (Some(Cow::Owned(format!("data:{mime};base64,{data}"))), None),
        Source::FileId(id) => (None, Some(id.as_str())),
        Source::Text(_) => (None, None),
    };
    ContentPart::InputImage { detail, image_url, file_id }
}

fn document(media: &Media) -> ContentPart<'_> {
    let filename = media.filename.as_deref();
    let file = |filename, file_data, file_url, file_id| ContentPart::InputFile {
        filename,
        file_data,
        file_url,
        file_id,
    };
    match &media.source {
        Source::Url(url) => file(filename, None, Some(url), None),
        Source::FileId(id) => file(filename, None, None, Some(id)),
        Source::Base64 { mime, data } => {
            // The API requires a name beside the bytes, and derives the kind of file from it.
            let filename = filename.or(Some(usual_name(mime)));
            file(filename, Some(format!("data:{mime};base64,{data}")), None, None)
        }
        Source::Text(_) => file(filename, None, None, None),
    }
}

fn usual_name(mime: &str) -> &'static str {
    match mime {
        "application/pdf" => "document.pdf",
        "text/html" => "document.html",
        "text/csv" => "document.csv",
        "text/markdown" => "document.md",
        "application/json" => "document.json",
        _ => "document.txt",
    }
}
