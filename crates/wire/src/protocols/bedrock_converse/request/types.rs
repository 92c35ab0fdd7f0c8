//! The structures that are written. Binary data are base64 strings in this API's JSON, so that media pass
//! unchanged.

use std::borrow::Cow;
use std::collections::BTreeMap;

use canon::{CacheMark, Json, Proof};
use serde::Serialize;
use serde::ser::SerializeStruct;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::protocols::stop_texts::StopTexts;

/// A request body without messages and instructions.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Settings<'a> {
    #[serde(skip_serializing_if = "InferenceConfig::is_empty")]
    pub inference_config: InferenceConfig<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_config: Option<ToolConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub additional_model_request_fields: Map<String, Value>,
    /// Fields of this API that the caller sent by their own names.
    #[serde(flatten)]
    pub native: BTreeMap<&'a str, Json>,
}

/// One block of content: an object with one key. Variants larger than a text are boxed: a conversation may
/// have many short texts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image(Box<MediaBlock<'a>>),
    Document(Box<MediaBlock<'a>>),
    Video(Box<MediaBlock<'a>>),
    Audio(Box<MediaBlock<'a>>),
    ToolUse(Box<ToolUse<'a>>),
    ReasoningContent(ReasoningContent<'a>),
    CachePoint(CachePoint),
}

#[derive(Debug, Serialize)]
pub(super) struct MediaBlock<'a> {
    pub format: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub source: MediaSource<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum MediaSource<'a> {
    Bytes(Cow<'a, str>),
    S3Location { uri: &'a str },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    pub tool_use_id: Cow<'a, str>,
    pub name: String,
    pub input: Cow<'a, RawValue>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ReasoningContent<'a> {
    ReasoningText { text: &'a String, signature: &'a Proof },
    RedactedContent(&'a String),
}

/// "Cache up to here": follows the cached part.
#[derive(Debug)]
pub(super) struct CachePoint {
    for_an_hour: bool,
}

impl CachePoint {
    /// The API supports five minutes, the default, and one hour.
    pub fn of(mark: &CacheMark) -> Self {
        Self { for_an_hour: mark.ttl_seconds.is_some_and(|seconds| seconds > 300) }
    }
}

impl Serialize for CachePoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_struct("CachePoint", 2)?;
        object.serialize_field("type", "default")?;
        if self.for_an_hour {
            object.serialize_field("ttl", "1h")?;
        }
        object.end()
    }
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct InferenceConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    #[serde(skip_serializing_if = "StopTexts::is_empty")]
    pub stop_sequences: StopTexts<'a>,
}

impl InferenceConfig<'_> {
    fn is_empty(&self) -> bool {
        self.max_tokens.is_none()
            && self.temperature.is_none()
            && self.top_p.is_none()
            && self.stop_sequences.is_empty()
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolConfig<'a> {
    pub tools: Vec<ToolEntry<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Choice>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum ToolEntry<'a> {
    ToolSpec(ToolSpec<'a>),
    CachePoint(CachePoint),
    /// A tool of the provider, as the caller wrote it.
    #[serde(untagged)]
    Native(&'a Json),
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolSpec<'a> {
    pub name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    pub input_schema: InputSchema,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strict: Option<bool>,
}

#[derive(Debug, Serialize)]
pub(super) struct InputSchema {
    pub json: Json,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Choice {
    Auto {},
    Any {},
    Tool { name: String },
}

impl Choice {
    /// True when the answer must contain a call.
    pub fn is_forced(&self) -> bool {
        !matches!(self, Self::Auto {})
    }
}
