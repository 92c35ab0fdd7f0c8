//! How a provider of a common wire protocol differs from it. Named differences, never provider names.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// By which name a provider takes the output limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MaxTokensField {
    /// Both names work: leave what the caller sent.
    #[default]
    AsSent,
    /// Only `max_tokens`.
    MaxTokens,
    /// Only `max_completion_tokens`.
    MaxCompletionTokens,
}

/// How a provider reports usage in a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamUsage {
    /// When asked by `stream_options.include_usage`.
    #[default]
    OnRequest,
    /// Without being asked: nothing is added to what the caller sent.
    Always,
    /// Without being asked; `stream_options` is refused and left out.
    Refused,
}

/// Differences of an OpenAI-compatible provider. Every field is optional in a provider's TOML file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Quirks {
    /// The name of the field for the output limit.
    pub max_tokens_field: MaxTokensField,
    /// How usage is requested in a stream.
    pub stream_usage: StreamUsage,
    /// Top-level fields that the provider refuses or ignores: each is left out and reported as a loss.
    pub drop: Vec<String>,
    /// Top-level fields with another name at the provider: our name → its name.
    pub rename: BTreeMap<String, String>,
    /// The provider does not know the role `developer`: `system` is sent instead.
    pub no_developer_role: bool,
    /// Fields of messages that the provider refuses, such as `name`.
    pub drop_message_fields: Vec<String>,
    /// Fields of tool calls in the history that the provider refuses, such as another provider's signatures (`extra_content`).
    pub drop_call_fields: Vec<String>,
    /// Fields of function tools that the provider refuses, such as `strict`.
    pub drop_tool_fields: Vec<String>,
    /// The provider accepts media only as bytes: the gateway fetches the media of URLs.
    pub no_media_urls: bool,
    /// For Gemini's own format: `fileUri` cannot be a web address for models before Gemini 3. The gateway fetches the
    /// file.
    pub no_web_file_uris: bool,
    /// The field of assistant messages in which the provider accepts earlier thinking: `reasoning_content`, `reasoning`
    /// or `reasoning_details`. Thinking that the caller dropped is restored beside its tool calls; thinking in other
    /// fields is sent in this one.
    pub reasoning_field: Option<String>,
    /// The text that replaces unknown thinking: a thinking model refuses tool calls without their thinking.
    pub reasoning_stand_in: Option<String>,
    /// Content must be a string: the gateway joins lists of text parts.
    pub string_content: bool,
    /// The value that is sent for `tool_choice: "required"`.
    pub required_tool_choice: Option<String>,
    /// Only `tool_choice` `auto` and `none` are served: a forced choice is approximated by `auto`.
    pub no_forced_tool_choice: bool,
    /// The provider refuses a field that it does not accept even if the value is OpenAI's default.
    pub refuses_defaults: bool,
    /// Tools that take free text (`type: "custom"`) and choices among `allowed_tools`, which came with GPT-5, are understood.
    /// Elsewhere such a tool is sent as a function with one text field, and tools that are not allowed are left out.
    pub takes_custom_tools: bool,
    /// Hints of OpenAI's own API that the provider accepts (`verbosity`, `prompt_cache_key` …), `*` for all. Such a
    /// hint of a caller of another format is sent, and is a loss at other providers. Fields of chat callers are sent to
    /// every provider.
    pub takes_fields: Vec<String>,
    /// The provider reads cache marks of Anthropic's format (`cache_control`) on content and tools. Other providers do
    /// not get them in translated requests.
    pub takes_cache_marks: bool,
    /// The provider refuses `json_schema`: `json_object` is sent, with the schema in an instruction.
    pub no_json_schema: bool,
    /// The provider refuses tools together with a response format: an instruction asks for the format.
    pub no_tools_with_response_format: bool,
    /// Tool-call ids must be exactly nine letters or digits: the gateway maps longer ids, in the same way in both
    /// directions.
    pub short_tool_call_ids: bool,
    /// Models whose `prompt_tokens` do not include tokens read from the cache: these are added. A `*` at the
    /// end of a name matches any rest.
    pub cached_outside_prompt: Vec<String>,
    /// The provider is a router itself and gets `provider`, `models` and `routing` unchanged.
    pub takes_routing_fields: bool,
    /// The provider refuses more than one answer (`n`).
    pub single_choice: bool,
    /// The provider counts the tokens of Responses requests, at `/responses/input_tokens`.
    pub counts_input_tokens: bool,
    /// Values of `anthropic-beta` that the provider refuses: each is left out as a loss. A `*` at the end of
    /// a name matches any rest.
    pub refused_betas: Vec<String>,
    /// Values of `anthropic-beta` with another name at the provider: our name → its name.
    pub renamed_betas: BTreeMap<String, String>,
    /// Models that only the Responses API serves, for a provider that has it. A `*` at the end of a name matches any
    /// rest.
    pub responses_only: Vec<String>,
}

impl Quirks {
    /// True when the provider refuses this value of `anthropic-beta`.
    pub fn refuses_beta(&self, beta: &str) -> bool {
        is_named(&self.refused_betas, beta)
    }

    /// True when this model is served by the Responses API only.
    pub fn serves_by_responses_only(&self, model: &str) -> bool {
        is_named(&self.responses_only, model)
    }

    /// True when this model's prompt tokens do not include those read from the cache.
    pub fn counts_cached_outside(&self, model: &str) -> bool {
        is_named(&self.cached_outside_prompt, model)
    }
}

/// Whether a list holds a name, or a prefix of it with a `*`.
fn is_named(list: &[String], wanted: &str) -> bool {
    list.iter().any(|name| match name.strip_suffix('*') {
        Some(beginning) => wanted.starts_with(beginning),
        None => wanted == name,
    })
}
