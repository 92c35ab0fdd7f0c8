//! The request body on the wire: borrowed from the canonical request wherever nothing changes.

use std::borrow::Cow;

use canon::Json;
use serde::Serialize;

use super::write::generation::GenerationConfig;
use super::write::tools::ToolConfig;

/// A `generateContent` body without the conversation.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings<'a> {
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

/// The role of the model's turns.
pub(super) const MODEL: &str = "model";
/// The role of every other turn.
pub(super) const USER: &str = "user";

/// A part of media.
#[derive(Debug, Serialize)]
pub(super) enum Kind<'a> {
    #[serde(rename = "inlineData")]
    Inline(Blob<'a>),
    #[serde(rename = "fileData")]
    File(File<'a>),
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
