//! The wire structures. Written ones borrow from the request; read ones are tolerant: every field is
//! optional, and unknown ones are skipped.

use std::borrow::Cow;

/// Marks a file that goes to the provider's code sandbox rather than to the model.
pub(super) const CONTAINER_UPLOAD: &str = "container_upload";

use canon::{CacheMark, Json, Proof, Usage};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::json::List;
use crate::protocols::stop_texts::StopTexts;

/// A request body without the turns, which are written separately.
#[derive(Debug, Default, Serialize)]
pub(super) struct Body<'a> {
    pub model: &'a str,
    pub max_tokens: u64,
    #[serde(skip_serializing_if = "is_false")]
    pub stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_config: Option<OutputConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<Number>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u64>,
    #[serde(skip_serializing_if = "StopTexts::is_empty")]
    pub stop_sequences: StopTexts<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Metadata<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_tier: Option<&'static str>,
    /// Fields of this protocol that pass unchanged.
    #[serde(flatten, serialize_with = "as_members")]
    pub own: Vec<(&'a str, &'a Json)>,
}

/// A number, written without a fraction when it is whole.
pub(super) type Number = serde_json::Number;

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<Block<'a>>),
}

/// A piece of content. Variants larger than a text are boxed: a conversation may have many short texts.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Image {
        source: Box<Source<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    Document {
        source: Box<Source<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<&'a String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ContainerUpload {
        file_id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
    ToolUse(Box<ToolUse<'a>>),
    Thinking {
        thinking: &'a String,
        signature: &'a Proof,
    },
    RedactedThinking {
        data: &'a str,
    },
    #[serde(untagged)]
    Raw(&'a Json),
}

/// A call.
#[derive(Debug, Serialize)]
pub(super) struct ToolUse<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub input: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

impl Block<'_> {
    /// The cache mark of this block, if it may have one.
    pub(super) fn cache_mark(&mut self) -> Option<&mut Option<CacheControl>> {
        match self {
            Self::Text { cache_control, .. }
            | Self::Image { cache_control, .. }
            | Self::Document { cache_control, .. }
            | Self::ContainerUpload { cache_control, .. } => Some(cache_control),
            Self::ToolUse(call) => Some(&mut call.cache_control),
            Self::Thinking { .. } | Self::RedactedThinking { .. } | Self::Raw(_) => None,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: &'a str, data: &'a str },
    Url { url: &'a str },
    File { file_id: &'a str },
    Text { media_type: &'static str, data: Cow<'a, str> },
}

/// A cache mark. The time is written only where the caller set one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CacheControl {
    Untimed,
    Minutes,
    Hour,
}

impl From<&CacheMark> for CacheControl {
    fn from(mark: &CacheMark) -> Self {
        match mark.ttl_seconds {
            None => Self::Untimed,
            Some(seconds) if seconds > 300 => Self::Hour,
            Some(_) => Self::Minutes,
        }
    }
}

impl Serialize for CacheControl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let ttl = match self {
            Self::Untimed => None,
            Self::Minutes => Some("5m"),
            Self::Hour => Some("1h"),
        };
        let mut object = serializer.serialize_struct("CacheControl", 2)?;
        object.serialize_field("type", "ephemeral")?;
        if let Some(ttl) = ttl {
            object.serialize_field("ttl", ttl)?;
        }
        object.end()
    }
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Tool<'a> {
    Client(ClientTool<'a>),
    /// A tool of the provider, as the caller wrote it except for its cache mark.
    Server {
        #[serde(flatten, serialize_with = "as_members")]
        members: Vec<(String, Json)>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<CacheControl>,
    },
}

impl Tool<'_> {
    pub(super) fn cache_mark(&mut self) -> &mut Option<CacheControl> {
        match self {
            Self::Client(tool) => &mut tool.cache_control,
            Self::Server { cache_control, .. } => cache_control,
        }
    }
}

#[derive(Debug, Serialize)]
pub(super) struct ClientTool<'a> {
    pub name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<Cow<'a, str>>,
    pub input_schema: Json,
    #[serde(skip_serializing_if = "is_false")]
    pub strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<CacheControl>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ToolChoice {
    Auto {
        #[serde(skip_serializing_if = "is_false")]
        disable_parallel_tool_use: bool,
    },
    Any {
        #[serde(skip_serializing_if = "is_false")]
        disable_parallel_tool_use: bool,
    },
    Tool {
        name: String,
        #[serde(skip_serializing_if = "is_false")]
        disable_parallel_tool_use: bool,
    },
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Thinking {
    Enabled { budget_tokens: u64 },
    Adaptive { display: &'static str },
    BetweenTools,
    Disabled,
}

#[derive(Debug, Default, Serialize)]
pub(super) struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<OutputSchema>,
    #[serde(flatten, serialize_with = "as_members")]
    pub own: Vec<(String, Json)>,
}

#[derive(Debug, Serialize)]
pub(super) struct OutputSchema {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub schema: Json,
}

#[derive(Debug, Serialize)]
pub(super) struct Metadata<'a> {
    pub user_id: Cow<'a, str>,
}

/// Writes pairs as members of the object around them.
fn as_members<S, K, V>(pairs: &[(K, V)], serializer: S) -> Result<S::Ok, S::Error>
where
    S: serde::Serializer,
    K: Serialize,
    V: Serialize,
{
    serializer.collect_map(pairs.iter().map(|(name, value)| (name, value)))
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// One event of a stream; also, with `type` `error`, the body of an error answer.
#[derive(Debug, Deserialize)]
pub(super) struct StreamEvent<'a> {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub index: u64,
    #[serde(borrow)]
    pub message: Option<&'a RawValue>,
    #[serde(borrow)]
    pub content_block: Option<&'a RawValue>,
    #[serde(borrow)]
    pub delta: Option<Delta<'a>>,
    #[serde(borrow)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    pub request_id: Option<String>,
}

/// The delta of a block or of the message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Delta<'a> {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub text: Option<String>,
    pub thinking: Option<String>,
    pub signature: Option<String>,
    pub partial_json: Option<String>,
    #[serde(borrow)]
    pub citation: Option<&'a RawValue>,
    pub stop_reason: Option<String>,
    pub stop_details: Option<StopDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct StopDetails {
    pub explanation: Option<String>,
}

/// A message: a whole answer, or the beginning of a stream.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub id: Option<String>,
    pub model: Option<String>,
    #[serde(borrow)]
    pub content: Option<List<'a, &'a RawValue>>,
    pub stop_reason: Option<String>,
    pub stop_details: Option<StopDetails>,
    #[serde(borrow)]
    pub usage: Option<&'a RawValue>,
}

/// A block of an answer, whole or as it begins.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct AnswerBlock<'a> {
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
    #[serde(borrow)]
    pub citations: Option<Vec<&'a RawValue>>,
    pub thinking: Option<String>,
    pub signature: Option<String>,
    #[serde(borrow)]
    pub data: Option<&'a RawValue>,
    pub id: Option<String>,
    pub name: Option<String>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Citation {
    pub url: Option<String>,
    pub source: Option<String>,
    pub title: Option<String>,
}

/// The reported token counts; missing ones were not reported.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct WireUsage {
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub cache_read_input_tokens: Option<u64>,
    pub cache_creation: Option<CacheCreation>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub output_tokens: Option<u64>,
    pub output_tokens_details: Option<OutputDetails>,
    pub server_tool_use: Option<ServerToolUse>,
    pub service_tier: Option<String>,
    pub iterations: Option<Vec<Iteration>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CacheCreation {
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub ephemeral_1h_input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub ephemeral_5m_input_tokens: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OutputDetails {
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub thinking_tokens: Option<u64>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServerToolUse {
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub web_search_requests: Option<u64>,
}

/// One of several model calls behind an answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Iteration {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub cache_creation_input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub cache_read_input_tokens: Option<u64>,
    #[serde(deserialize_with = "crate::protocols::counts::count")]
    pub output_tokens: Option<u64>,
}

impl WireUsage {
    /// Merges a later report. A zero never replaces a prompt count: some hosts repeat the fields empty.
    pub(super) fn merge(&mut self, later: Self) {
        let keep = |old: &mut Option<u64>, new: Option<u64>| {
            if new.is_some_and(|count| count > 0) || old.is_none() {
                *old = new.or(*old);
            }
        };
        keep(&mut self.input_tokens, later.input_tokens);
        keep(&mut self.cache_creation_input_tokens, later.cache_creation_input_tokens);
        keep(&mut self.cache_read_input_tokens, later.cache_read_input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation = later.cache_creation.or_else(|| self.cache_creation.take());
        self.output_tokens_details =
            later.output_tokens_details.or_else(|| self.output_tokens_details.take());
        self.server_tool_use = later.server_tool_use.or_else(|| self.server_tool_use.take());
        self.service_tier = later.service_tier.or_else(|| self.service_tier.take());
        self.iterations = later.iterations.or_else(|| self.iterations.take());
    }

    /// Whether it has the fields that every count has.
    pub(crate) fn is_whole(&self) -> bool {
        self.input_tokens.is_some() && self.output_tokens.is_some()
    }

    /// The counts in disjoint buckets. `input_tokens` excludes tokens read from and written to the cache.
    pub(super) fn canonical(&self) -> Usage {
        let split = self.cache_creation.clone().unwrap_or_default();
        let hour = split.ephemeral_1h_input_tokens.unwrap_or(0);
        let five = split.ephemeral_5m_input_tokens.unwrap_or(0);
        let written = self.cache_creation_input_tokens.unwrap_or(0).max(hour + five);
        let details = self.output_tokens_details.clone().unwrap_or_default();
        let searches = self.server_tool_use.as_ref().and_then(|tools| tools.web_search_requests);
        let mut usage = Usage {
            input: self.input_tokens.unwrap_or(0),
            cache_read: self.cache_read_input_tokens.unwrap_or(0),
            cache_write: written - hour,
            cache_write_1h: hour,
            output: self.output_tokens.unwrap_or(0),
            reasoning: details.thinking_tokens.unwrap_or(0),
            web_searches: searches.unwrap_or(0),
            ..Usage::default()
        };
        for iteration in self.compactions() {
            usage.input += iteration.input_tokens.unwrap_or(0);
            usage.cache_read += iteration.cache_read_input_tokens.unwrap_or(0);
            usage.cache_write += iteration.cache_creation_input_tokens.unwrap_or(0);
            usage.output += iteration.output_tokens.unwrap_or(0);
        }
        usage
    }

    /// Compactions are billed and are not part of the counts above them (recorded: ruby_llm, compaction), unless
    /// the answer came from a fallback model.
    fn compactions(&self) -> impl Iterator<Item = &Iteration> {
        let all = self.iterations.as_deref().unwrap_or_default();
        let fallback = all.iter().any(|iteration| iteration.kind == "fallback_message");
        all.iter().filter(move |iteration| !fallback && iteration.kind == "compaction")
    }
}

/// An error's own object.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorObject {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    pub message: Option<String>,
    pub details: Option<ErrorDetails>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ErrorDetails {
    pub error_code: Option<String>,
}
