//! The structures that are read. Every field is optional: missing and new ones must not fail an answer.

use canon::{Json, Usage};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::protocols::counts::count;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WholeAnswer<'a> {
    #[serde(borrow)]
    pub output: Option<Output<'a>>,
    pub stop_reason: Option<String>,
    pub usage: Option<NativeUsage>,
    pub service_tier: Option<Tier>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub message: Option<WholeMessage<'a>>,
}

#[derive(Deserialize)]
pub(super) struct WholeMessage<'a> {
    /// Each is a [`WholeBlock`], parsed individually.
    #[serde(default, borrow)]
    pub content: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WholeBlock {
    pub text: Option<String>,
    pub tool_use: Option<CallStart>,
    pub reasoning_content: Option<WholeThought>,
    pub citations_content: Option<CitationsContent>,
    pub image: Option<Image>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CallStart {
    pub tool_use_id: Option<String>,
    pub name: Option<String>,
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub input: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WholeThought {
    pub reasoning_text: Option<ThoughtText>,
    pub redacted_content: Option<String>,
}

#[derive(Default, Deserialize)]
pub(super) struct ThoughtText {
    pub text: Option<String>,
    pub signature: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct CitationsContent {
    #[serde(default)]
    pub content: Vec<CitedText>,
    #[serde(default)]
    pub citations: Vec<Citation>,
}

#[derive(Deserialize)]
pub(super) struct CitedText {
    pub text: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Citation {
    pub title: Option<String>,
    pub location: Option<Location>,
}

#[derive(Deserialize)]
pub(super) struct Location {
    pub web: Option<Web>,
}

#[derive(Deserialize)]
pub(super) struct Web {
    pub url: Option<String>,
    pub domain: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Image {
    pub format: Option<String>,
    pub source: Option<ImageSource>,
}

#[derive(Deserialize)]
pub(super) struct ImageSource {
    pub bytes: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStart {
    #[serde(default)]
    pub content_block_index: u64,
    pub start: Option<StartKind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct StartKind {
    pub tool_use: Option<CallStart>,
    pub tool_result: Option<serde::de::IgnoredAny>,
    pub image: Option<Image>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockDelta {
    #[serde(default)]
    pub content_block_index: u64,
    pub delta: Option<DeltaKind>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeltaKind {
    pub text: Option<String>,
    pub tool_use: Option<CallDelta>,
    pub reasoning_content: Option<ThoughtDelta>,
    pub citation: Option<Citation>,
    pub image: Option<Image>,
}

#[derive(Deserialize)]
pub(super) struct CallDelta {
    pub input: Option<Json>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThoughtDelta {
    pub text: Option<String>,
    pub signature: Option<String>,
    pub redacted_content: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BlockStop {
    #[serde(default)]
    pub content_block_index: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageStop {
    pub stop_reason: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    pub usage: Option<NativeUsage>,
    pub service_tier: Option<Tier>,
}

#[derive(Deserialize)]
pub(super) struct Tier {
    #[serde(rename = "type")]
    pub kind: Option<String>,
}

/// `inputTokens` excludes tokens read from and written to the cache.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct NativeUsage {
    #[serde(default, deserialize_with = "count")]
    pub input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub output_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub cache_read_input_tokens: Option<u64>,
    #[serde(default, deserialize_with = "count")]
    pub cache_write_input_tokens: Option<u64>,
    pub cache_details: Option<Vec<CacheDetail>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CacheDetail {
    pub ttl: Option<String>,
    #[serde(default, deserialize_with = "count")]
    pub input_tokens: Option<u64>,
}

impl NativeUsage {
    /// The same counts in disjoint buckets.
    pub fn disjoint(self) -> Usage {
        let written = self.cache_write_input_tokens.unwrap_or_default();
        let details = self.cache_details.unwrap_or_default();
        let for_an_hour = details.iter().filter(|detail| detail.ttl.as_deref() == Some("1h"));
        let for_an_hour = for_an_hour.filter_map(|detail| detail.input_tokens).sum::<u64>().min(written);
        Usage {
            input: self.input_tokens.unwrap_or_default(),
            cache_read: self.cache_read_input_tokens.unwrap_or_default(),
            cache_write: written - for_an_hour,
            cache_write_1h: for_an_hour,
            output: self.output_tokens.unwrap_or_default(),
            ..Usage::default()
        }
    }
}
