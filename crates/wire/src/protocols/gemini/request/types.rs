//! The request body as it is written: borrowed from the canonical request wherever nothing changes.

use std::borrow::Cow;

use canon::Json;
use serde::Serialize;
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
    /// The caller's own words: tool loops begin after them.
    #[serde(skip)]
    pub is_from_user: bool,
}

/// The role of the model's turns.
pub(super) const MODEL: &str = "model";
/// The role of every other turn.
pub(super) const USER: &str = "user";

/// One piece of a turn: exactly one of its kinds is set.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_data: Option<File<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<Call<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response: Option<Response<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'a, str>>,
    /// Where a call stands in the caller's request: message and position among its calls.
    #[serde(skip)]
    pub origin: (usize, usize),
}

impl<'a> Part<'a> {
    /// A text part.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: Some(text.into()), ..Self::default() }
    }
}

/// Media inside of the request.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    pub mime_type: Cow<'a, str>,
    pub data: Cow<'a, str>,
}

/// Media that the provider fetches or has.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<&'static str>,
    pub file_uri: Cow<'a, str>,
}

/// A call that the model made. Ids are left out: some models on Vertex AI refuse them, and calls and results
/// are matched by name and order.
#[derive(Debug, Serialize)]
pub(super) struct Call<'a> {
    pub name: Cow<'a, str>,
    pub args: Cow<'a, RawValue>,
}

/// The result of a call.
#[derive(Debug, Serialize)]
pub(super) struct Response<'a> {
    pub name: Cow<'a, str>,
    pub response: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}
