//! Answers on the wire, read tolerantly: every field is optional, because Google omits or nulls any of them.

use std::fmt;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::List;
use crate::protocols::counts::count;

/// A `GenerateContentResponse`: a whole answer, or a piece of a stream.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Answer<'a> {
    /// The choices, or their deltas.
    #[serde(borrow)]
    pub candidates: List<'a, Candidate<'a>>,
    /// Why the prompt was refused.
    pub prompt_feedback: Option<PromptFeedback>,
    /// Token counts, cumulative in a stream.
    pub usage_metadata: Option<UsageMetadata>,
    /// The model that ran.
    pub model_version: Option<String>,
    pub response_id: Option<String>,
    /// An error instead of an answer, or in the middle of a stream.
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// One choice.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Candidate<'a> {
    /// Missing when the answer was withheld.
    #[serde(borrow)]
    pub content: Option<Content<'a>>,
    /// Why it ended.
    #[serde(deserialize_with = "finish_word")]
    pub finish_reason: Option<String>,
    /// The reason as text for people.
    pub finish_message: Option<String>,
    /// Which choice; missing means the first.
    pub index: Option<u32>,
    /// Sources of the answer, from a search.
    #[serde(borrow)]
    pub grounding_metadata: Option<GroundingMetadata<'a>>,
    /// Sources that the answer quotes.
    #[serde(borrow)]
    pub citation_metadata: Option<CitationMetadata<'a>>,
    #[serde(borrow)]
    pub logprobs_result: Option<LogprobsResult<'a>>,
}

/// The parts of a choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content<'a> {
    /// In order.
    #[serde(borrow)]
    pub parts: List<'a, Part<'a>>,
}

/// One piece of content.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Part<'a> {
    /// Text, or thinking.
    pub text: Option<String>,
    /// The text is thinking.
    #[serde(deserialize_with = "or_default")]
    pub thought: bool,
    /// Must be returned with the part.
    pub thought_signature: Option<String>,
    /// A picture.
    pub inline_data: Option<Blob>,
    /// The caller is to run a function.
    #[serde(borrow)]
    pub function_call: Option<FunctionCall<'a>>,
    /// Code that the provider ran.
    pub executable_code: Option<ExecutableCode>,
    /// Output of that code.
    pub code_execution_result: Option<CodeExecutionResult>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Blob {
    pub mime_type: String,
    /// Base64.
    pub data: String,
}

/// A call, whole or in pieces.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct FunctionCall<'a> {
    /// Often missing.
    pub id: Option<String>,
    /// Missing in the later pieces of a call.
    pub name: Option<String>,
    /// The arguments; missing means none.
    #[serde(borrow)]
    pub args: Option<&'a RawValue>,
    /// Pieces of arguments.
    #[serde(borrow)]
    pub partial_args: List<'a, PartialArg>,
    /// More pieces follow.
    #[serde(deserialize_with = "or_default")]
    pub will_continue: bool,
}

/// A piece of one argument.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartialArg {
    /// Which: `$.city`, `$.list[0].name`.
    pub json_path: String,
    /// A piece of a text.
    pub string_value: Option<String>,
    pub number_value: Option<serde_json::Number>,
    /// True or false.
    pub bool_value: Option<bool>,
}

/// Code that the provider ran.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ExecutableCode {
    /// `PYTHON`.
    pub language: Option<String>,
    pub code: Option<String>,
}

/// Output of executed code.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct CodeExecutionResult {
    /// What it printed.
    pub output: Option<String>,
}

/// Why a prompt was refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PromptFeedback {
    /// `SAFETY`, `PROHIBITED_CONTENT` …
    #[serde(deserialize_with = "block_word")]
    pub block_reason: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct UsageMetadata {
    /// The prompt, including cached tokens.
    #[serde(deserialize_with = "count")]
    pub prompt_token_count: Option<u64>,
    /// The cached part of it.
    #[serde(deserialize_with = "count")]
    pub cached_content_token_count: Option<u64>,
    /// Tokens that the provider's tools added to the prompt.
    #[serde(deserialize_with = "count")]
    pub tool_use_prompt_token_count: Option<u64>,
    /// The answer, normally without thinking.
    #[serde(deserialize_with = "count")]
    pub candidates_token_count: Option<u64>,
    #[serde(deserialize_with = "count")]
    pub thoughts_token_count: Option<u64>,
    /// Everything.
    #[serde(deserialize_with = "count")]
    pub total_token_count: Option<u64>,
    /// The prompt by kind of media.
    #[serde(deserialize_with = "or_default")]
    pub prompt_tokens_details: Modalities,
    /// The cached part of the prompt by kind of media.
    #[serde(deserialize_with = "or_default")]
    pub cache_tokens_details: Modalities,
    /// The answer by kind of media.
    #[serde(deserialize_with = "or_default")]
    pub candidates_tokens_details: Modalities,
    /// AI Studio: `standard`, `flex`, `priority`.
    #[serde(deserialize_with = "tier_word")]
    pub service_tier: Option<String>,
    /// Vertex AI: `ON_DEMAND`, `ON_DEMAND_FLEX`, `ON_DEMAND_PRIORITY`, `PROVISIONED_THROUGHPUT`.
    #[serde(deserialize_with = "traffic_word")]
    pub traffic_type: Option<String>,
}

impl UsageMetadata {
    /// The service tier in OpenAI's terms; none where the answer names none. The default one is named too: it may
    /// serve a request for another one, which is then billed at the usual price.
    pub fn tier(&self) -> Option<String> {
        let word = self.traffic_type.as_deref().or(self.service_tier.as_deref())?.to_ascii_lowercase();
        let word = match word.strip_prefix("on_demand") {
            Some("") => "standard",
            Some(more) => more.trim_start_matches('_'),
            None => word.trim_start_matches("service_tier_"),
        };
        match word {
            "" | "unspecified" | "traffic_type_unspecified" => None,
            "standard" => Some("default".to_owned()),
            other => Some(other.to_owned()),
        }
    }
}

/// Tokens of the kinds of media with their own prices, summed up from a list of kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modalities {
    pub audio: u64,
    /// Of pictures.
    pub image: u64,
}

/// Tokens of one kind of media.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ModalityCount {
    /// `TEXT`, `IMAGE`, `AUDIO` …
    #[serde(deserialize_with = "modality_word")]
    modality: String,
    #[serde(deserialize_with = "or_default")]
    token_count: u64,
}

impl<'de> Deserialize<'de> for Modalities {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        struct Sums;
        impl<'de> Visitor<'de> for Sums {
            type Value = Modalities;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of kinds of media")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut counts: A) -> Result<Modalities, A::Error> {
                let mut sums = Modalities::default();
                while let Some(ModalityCount { modality, token_count }) = counts.next_element()? {
                    let sum = match modality.as_str() {
                        "AUDIO" => &mut sums.audio,
                        "IMAGE" => &mut sums.image,
                        _ => continue,
                    };
                    *sum = sum.saturating_add(token_count);
                }
                Ok(sums)
            }
        }
        source.deserialize_seq(Sums)
    }
}

/// Sources of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroundingMetadata<'a> {
    #[serde(borrow)]
    pub web_search_queries: List<'a, IgnoredAny>,
    #[serde(borrow)]
    pub grounding_chunks: List<'a, GroundingChunk>,
    /// Which source supports which piece of text.
    #[serde(borrow)]
    pub grounding_supports: List<'a, GroundingSupport<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroundingChunk {
    pub web: Option<Link>,
    /// A file of the caller's.
    pub retrieved_context: Option<Link>,
    pub maps: Option<Link>,
}

/// Where a source is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Its address.
    pub uri: Option<String>,
    pub title: Option<String>,
}

/// Sources of a piece of text.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroundingSupport<'a> {
    /// Which text.
    pub segment: Segment,
    /// Which sources.
    #[serde(borrow)]
    pub grounding_chunk_indices: List<'a, usize>,
}

/// A piece of text, counted in bytes of UTF-8.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Segment {
    /// First byte; missing means 0.
    pub start_index: usize,
    /// Byte after the last.
    pub end_index: usize,
    /// The text itself.
    pub text: Option<String>,
}

/// Quoted sources.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CitationMetadata<'a> {
    #[serde(alias = "citationSources", borrow)]
    pub citations: List<'a, Citation>,
}

/// A quoted source.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Citation {
    /// First byte of the quotation.
    pub start_index: usize,
    /// Byte after the last.
    pub end_index: usize,
    /// Its address.
    pub uri: Option<String>,
    pub title: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogprobsResult<'a> {
    /// The tokens of the answer.
    #[serde(borrow)]
    pub chosen_candidates: List<'a, TokenLogprob>,
    /// For each of them the alternatives.
    #[serde(borrow)]
    pub top_candidates: List<'a, TopCandidates<'a>>,
}

/// Alternatives of one token.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TopCandidates<'a> {
    /// Likeliest first.
    #[serde(borrow)]
    pub candidates: List<'a, TokenLogprob>,
}

/// A token and its log probability.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TokenLogprob {
    /// The token's text.
    pub token: String,
    pub log_probability: f64,
}

/// Null is the default.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(source: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

/// With `enum-encoding=int` the service writes enums as numbers, as in recorded answers.
fn enum_word<'de, D: Deserializer<'de>>(source: D, names: &[&str]) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Word {
        Name(String),
        Number(u32),
    }
    Ok(match Option::<Word>::deserialize(source)? {
        Some(Word::Name(name)) if !name.is_empty() => Some(name),
        Some(Word::Number(number)) if number > 0 => {
            let name = names.get(number as usize - 1);
            Some(name.map_or_else(|| number.to_string(), |name| (*name).to_owned()))
        }
        _ => None,
    })
}

fn finish_word<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    const NAMES: [&str; 10] = [
        "STOP",
        "MAX_TOKENS",
        "SAFETY",
        "RECITATION",
        "OTHER",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "MALFORMED_FUNCTION_CALL",
        "MODEL_ARMOR",
    ];
    enum_word(source, &NAMES)
}

fn block_word<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    enum_word(source, &["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT"])
}

fn tier_word<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    enum_word(source, &["STANDARD", "FLEX", "PRIORITY"])
}

fn traffic_word<'de, D: Deserializer<'de>>(source: D) -> Result<Option<String>, D::Error> {
    enum_word(source, &["ON_DEMAND", "PROVISIONED_THROUGHPUT"])
}

fn modality_word<'de, D: Deserializer<'de>>(source: D) -> Result<String, D::Error> {
    let word = enum_word(source, &["TEXT", "IMAGE", "VIDEO", "AUDIO", "DOCUMENT"])?;
    Ok(word.unwrap_or_default())
}
