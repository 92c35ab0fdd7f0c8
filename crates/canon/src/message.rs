//! Messages and their parts.
//!
//! Normal form, which every dialect decodes to and every adapter may rely on: a message of role
//! [`Role::Tool`] has exactly one part, a [`PartKind::ToolResult`]; tool calls and reasoning occur only in
//! messages of role [`Role::Assistant`]; empty content is an empty list of parts.

use std::fmt;
use std::ops::Deref;

use crate::{Json, Place};

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Instructions (`system`).
    System,
    /// Instructions by the newer name (`developer`).
    Developer,
    /// The end user.
    User,
    /// The model.
    Assistant,
    /// The answer to one tool call.
    Tool,
}

impl Role {
    /// System and developer: instructions rather than conversation.
    pub fn is_instruction(self) -> bool {
        matches!(self, Self::System | Self::Developer)
    }
}

/// One message of the conversation.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// The participant's name, where the caller gave one.
    pub name: Option<Box<str>>,
    /// The content in order.
    pub parts: Vec<Part>,
    /// Where the caller wrote it.
    pub place: Place,
}

impl Message {
    /// A message of one text.
    pub fn text(role: Role, text: impl Into<Box<str>>) -> Self {
        Self::new(role, vec![Part::text(text)])
    }

    /// A message of these parts.
    pub fn new(role: Role, parts: Vec<Part>) -> Self {
        Self { role, name: None, parts, place: Place::NOWHERE }
    }

    /// The message at this place in the caller's body.
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// The texts, joined without anything between them.
    pub fn joined_text(&self) -> String {
        let mut joined = String::new();
        for part in &self.parts {
            if let PartKind::Text(text) = &part.kind {
                joined.push_str(text);
            }
        }
        joined
    }

    /// The tool calls, in order.
    pub fn tool_calls(&self) -> impl Iterator<Item = &ToolCall> {
        self.parts.iter().filter_map(|part| match &part.kind {
            PartKind::ToolCall(call) => Some(&**call),
            _ => None,
        })
    }
}

/// An opaque proof. Boxed because few parts have one: it takes one word in all others.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
#[expect(clippy::box_collection, reason = "a text of its own would take two words more in each part")]
pub struct Proof(Box<String>);

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Deref for Proof {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Proof {
    /// Appends a piece.
    pub fn push_str(&mut self, piece: &str) {
        self.0.push_str(piece);
    }
}

impl From<String> for Proof {
    fn from(text: String) -> Self {
        Self(Box::new(text))
    }
}

impl From<&str> for Proof {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<Proof> for String {
    fn from(proof: Proof) -> Self {
        *proof.0
    }
}

/// One piece of a message, and the marks that any piece can have.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The piece itself.
    pub kind: PartKind,
    /// The caller wants the prompt cached up to and including this part.
    pub cache: Option<CacheMark>,
    /// An opaque proof that the provider attached to this part and wants back with it.
    pub signature: Option<Proof>,
    /// Where the caller wrote it. A part of a tool's result counts within the result.
    pub place: Place,
}

impl Part {
    /// A part without marks.
    pub fn new(kind: PartKind) -> Self {
        Self { kind, cache: None, signature: None, place: Place::NOWHERE }
    }

    /// The part at this place in the caller's body.
    pub fn at(mut self, place: Place) -> Self {
        self.place = place;
        self
    }

    /// A text part.
    pub fn text(text: impl Into<Box<str>>) -> Self {
        Self::new(PartKind::Text(text.into()))
    }
}

impl From<PartKind> for Part {
    fn from(kind: PartKind) -> Self {
        Self::new(kind)
    }
}

macro_rules! boxed {
    ($($kind:ident),*) => {$(
        impl From<$kind> for PartKind {
            fn from(content: $kind) -> Self {
                Self::$kind(Box::new(content))
            }
        }

        impl From<$kind> for Part {
            fn from(content: $kind) -> Self {
                Self::new(content.into())
            }
        }
    )*};
}

boxed!(Media, ToolCall, ToolResult, Reasoning);

/// A request to cache the prompt up to a part (`cache_control`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheMark {
    /// How long, in seconds; none means the provider's default (usually 300).
    pub ttl_seconds: Option<u32>,
}

/// The kinds of content. Variants larger than a text are boxed: a conversation has many small parts.
#[derive(Clone, Debug, PartialEq)]
pub enum PartKind {
    /// Plain text.
    Text(Box<str>),
    /// A refusal that the model gave earlier.
    Refusal(Box<str>),
    /// An image, audio clip, document or video.
    Media(Box<Media>),
    /// The model calls a tool.
    ToolCall(Box<ToolCall>),
    /// The caller's answer to a tool call.
    ToolResult(Box<ToolResult>),
    /// The model's thinking.
    Reasoning(Box<Reasoning>),
    /// Output of the model that exists only in the caller's format, [`crate::Request::format`], as it was sent:
    /// the call of a tool that the provider ran, or a kind that is not known.
    Native(Json),
}

/// What kind of media a part holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    /// A picture.
    Image,
    /// An audio clip.
    Audio,
    /// A PDF or text file.
    Document,
    /// A video.
    Video,
}

/// Media content.
#[derive(Clone, Debug, PartialEq)]
pub struct Media {
    /// What it is.
    pub kind: MediaKind,
    /// Where its bytes are.
    pub source: Source,
    /// File name, for documents.
    pub filename: Option<String>,
    /// OpenAI's `detail` of an image: `auto`, `low`, `high`, `original`.
    pub detail: Option<String>,
}

/// Where the bytes of media are.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// To be fetched from this URL (never a `data:` URL).
    Url(String),
    /// Inline, as base64 text that passes unchanged.
    Base64 {
        /// MIME type, such as `image/png`.
        mime: String,
        /// Standard base64, without the `data:` prefix.
        data: String,
    },
    /// A file uploaded to the provider before.
    FileId(String),
    /// Inline plain text (documents).
    Text(String),
}

/// The model calls a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolCall {
    /// The id that the result refers to.
    pub id: Box<str>,
    /// The tool's name.
    pub name: Box<str>,
    /// The arguments as JSON text, as the model wrote it: possibly invalid JSON. Free text for custom tools.
    pub arguments: Box<str>,
    /// True for OpenAI's custom (free-text) tools.
    pub custom: bool,
}

impl ToolCall {
    /// The arguments as a JSON object, if they are one. Empty text means no arguments.
    pub fn arguments_object(&self) -> Option<serde_json::Map<String, serde_json::Value>> {
        if self.arguments.trim().is_empty() {
            return Some(serde_json::Map::new());
        }
        serde_json::from_str(&self.arguments).ok()
    }
}

/// The caller's answer to a tool call.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolResult {
    /// The call that this answers.
    pub call_id: Box<str>,
    /// Text and media parts.
    pub content: Vec<Part>,
    /// The tool failed.
    pub is_error: bool,
}

/// The model's thinking and its proof.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reasoning {
    /// The readable text; may be empty when the provider only gives a signature.
    pub text: String,
    /// Encrypted or redacted content in place of text.
    pub encrypted: Option<String>,
    /// Which family of models wrote it, such as `anthropic-claude-v1`; signatures are valid only there.
    pub format: Option<String>,
    /// The provider's id of this item, where it has one.
    pub id: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A short message is 30 bytes of the caller's text.
    #[test]
    fn messages_and_parts_are_small() {
        assert!(size_of::<PartKind>() <= 24, "{}", size_of::<PartKind>());
        assert!(size_of::<Part>() <= 48, "{}", size_of::<Part>());
        assert!(size_of::<Message>() <= 56, "{}", size_of::<Message>());
        assert!(size_of::<ToolCall>() <= 56, "{}", size_of::<ToolCall>());
        assert!(size_of::<ToolResult>() <= 48, "{}", size_of::<ToolResult>());
    }
}
