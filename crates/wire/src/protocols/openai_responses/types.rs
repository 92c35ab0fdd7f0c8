//! The wire structures of answers. Every field is optional: compatible servers omit or null any of them.

use canon::Usage;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::json::List;

/// A response object, in whole answers and within events.
#[derive(Debug, Deserialize)]
pub(super) struct Response<'a> {
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub model: Option<String>,
    #[serde(default)]
    pub created_at: Option<f64>,
    #[serde(default)]
    pub status: Option<String>,
    #[serde(default)]
    pub error: Option<Value>,
    #[serde(default)]
    pub incomplete_details: Option<IncompleteDetails>,
    #[serde(default, borrow)]
    pub output: Option<List<'a, Item<'a>>>,
    #[serde(default, borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(default)]
    pub service_tier: Option<String>,
}

/// Why a response is incomplete.
#[derive(Debug, Default, Deserialize)]
pub(super) struct IncompleteDetails {
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub output_index: Option<u64>,
    #[serde(default)]
    pub content_index: Option<u64>,
    #[serde(default)]
    pub summary_index: Option<u64>,
    /// Text in the events that are read; any type in others.
    #[serde(default, borrow)]
    pub delta: Option<&'a RawValue>,
    /// The complete text, arguments or input, in its last event.
    #[serde(default, borrow, alias = "arguments", alias = "input", alias = "refusal")]
    pub text: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub logprobs: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub annotation: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub item: Option<&'a RawValue>,
    #[serde(default, borrow)]
    pub response: Option<&'a RawValue>,
}

/// An item of the output.
#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub call_id: Option<String>,
    #[serde(default)]
    pub id: Option<String>,
    #[serde(default)]
    pub name: Option<String>,
    /// Text in the format; an object from some servers.
    #[serde(default, borrow)]
    pub arguments: Option<&'a RawValue>,
    #[serde(default)]
    pub input: Option<String>,
    #[serde(default, borrow)]
    pub content: List<'a, ContentPart<'a>>,
    #[serde(default, borrow)]
    pub summary: List<'a, ContentPart<'a>>,
    #[serde(default)]
    pub encrypted_content: Option<String>,
    /// The bytes of an image.
    #[serde(default)]
    pub result: Option<String>,
    #[serde(default)]
    pub output_format: Option<String>,
}

/// A part of a message, of thinking or of its summary.
#[derive(Debug, Deserialize)]
pub(super) struct ContentPart<'a> {
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub refusal: Option<String>,
    #[serde(default, borrow)]
    pub annotations: List<'a, &'a RawValue>,
    #[serde(default, borrow)]
    pub logprobs: Option<&'a RawValue>,
}

/// Token counts. The prompt includes cached tokens, the output includes thinking.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ReportedUsage {
    input_tokens: Option<u64>,
    input_tokens_details: Option<InputDetails>,
    output_tokens: Option<u64>,
    output_tokens_details: Option<OutputDetails>,
    server_side_tool_usage_details: Option<HostedCalls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

/// xAI.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct HostedCalls {
    web_search_calls: Option<u64>,
}

impl ReportedUsage {
    /// The counts in disjoint buckets; `searches` were counted in the output. None without reported counts.
    pub(super) fn canonical(&self, searches: u64) -> Option<Usage> {
        let prompt = self.input_tokens?;
        let inputs = self.input_tokens_details.as_ref();
        let cached = inputs.and_then(|details| details.cached_tokens).unwrap_or(0).min(prompt);
        let written = inputs.and_then(|details| details.cache_write_tokens).unwrap_or(0).min(prompt - cached);
        let audio =
            inputs.and_then(|details| details.audio_tokens).unwrap_or(0).min(prompt - cached - written);
        let completion = self.output_tokens.unwrap_or(0);
        let outputs = self.output_tokens_details.as_ref();
        let image = outputs.and_then(|details| details.image_tokens).unwrap_or(0).min(completion);
        let hosted = self.server_side_tool_usage_details.as_ref().and_then(|calls| calls.web_search_calls);
        let usage = Usage {
            input: prompt - cached - written - audio,
            cache_read: cached,
            cache_write: written,
            audio_input: audio,
            output: completion - image,
            image_output: image,
            reasoning: outputs.and_then(|details| details.reasoning_tokens).unwrap_or(0),
            web_searches: hosted.unwrap_or(0).max(searches),
            ..Usage::default()
        };
        usage.is_plausible().then_some(usage)
    }
}
