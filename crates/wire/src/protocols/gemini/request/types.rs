//! The request body on the wire: borrowed from the canonical request wherever nothing changes.

use std::borrow::Cow;

use canon::Json;
use serde::Serialize;
use serde::ser::SerializeStruct;
use serde_json::value::RawValue;

use super::write::generation::GenerationConfig;
use super::write::tools::{ToolConfig, ToolEntry};

/// A `generateContent` body.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Body<'a> {
    pub contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system_instruction: Option<Instruction<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig>,
    #[serde(skip_serializing_if = "GenerationConfig::is_empty")]
    pub generation_config: GenerationConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety_settings: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_content: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<&'a Json>,
}

/// Instructions; they have no role.
#[derive(Debug, Default, Serialize)]
pub(super) struct Instruction<'a> {
    pub parts: Vec<Part<'a>>,
}

/// One turn.
#[derive(Debug, Serialize)]
pub(super) struct Content<'a> {
    pub role: &'static str,
    pub parts: Vec<Part<'a>>,
    /// A message of the caller: tool loops begin after it.
    #[serde(skip)]
    pub is_from_user: bool,
}

/// The role of the model's turns.
pub(super) const MODEL: &str = "model";
/// The role of every other turn.
pub(super) const USER: &str = "user";

/// One piece of a turn.
#[derive(Debug)]
pub(super) struct Part<'a> {
    pub kind: Kind<'a>,
    /// The text is thinking.
    pub thought: bool,
    pub thought_signature: Option<&'a str>,
}

/// The kind of a piece. Variants larger than a text are boxed: a conversation may have many short texts.
#[derive(Debug)]
pub(super) enum Kind<'a> {
    Text(Cow<'a, str>),
    Inline(Box<Blob<'a>>),
    File(Box<File<'a>>),
    Call(Box<Call<'a>>),
    Response(Box<Response<'a>>),
}

impl<'a> Part<'a> {
    /// A text part.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Kind::Text(text.into()).into()
    }

    /// The text of a text part.
    pub fn as_text(&self) -> Option<&Cow<'a, str>> {
        match &self.kind {
            Kind::Text(text) => Some(text),
            _ => None,
        }
    }

    /// True for a call.
    pub fn is_call(&self) -> bool {
        matches!(self.kind, Kind::Call(_))
    }
}

impl<'a> From<Kind<'a>> for Part<'a> {
    fn from(kind: Kind<'a>) -> Self {
        Self { kind, thought: false, thought_signature: None }
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut part = serializer.serialize_struct("Part", 3)?;
        match &self.kind {
            Kind::Text(text) => part.serialize_field("text", text)?,
            Kind::Inline(blob) => part.serialize_field("inlineData", blob)?,
            Kind::File(file) => part.serialize_field("fileData", file)?,
            Kind::Call(call) => part.serialize_field("functionCall", call)?,
            Kind::Response(response) => part.serialize_field("functionResponse", response)?,
        }
        if self.thought {
            part.serialize_field("thought", &true)?;
        }
        if let Some(signature) = self.thought_signature {
            part.serialize_field("thoughtSignature", signature)?;
        }
        part.end()
    }
}

/// Inline media.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    pub mime_type: Cow<'a, str>,
    pub data: Cow<'a, str>,
}

/// Media that the provider fetches or stores.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'static str>,
    pub file_uri: Cow<'a, str>,
}

/// A call that the model made. Ids are omitted: some models on Vertex AI refuse them, and calls and results
/// are matched by name and order.
#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    pub name: Cow<'a, str>,
    pub args: Cow<'a, RawValue>,
    /// Its position in the caller's request: message and index among its calls.
    #[serde(skip)]
    pub origin: (u32, u32),
}

/// The result of a call.
#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    pub name: Cow<'a, str>,
    pub response: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}
