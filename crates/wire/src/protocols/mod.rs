//! One folder per wire format.

pub mod anthropic_messages;
pub mod bedrock_converse;
mod cache_marks;
pub(crate) mod call_ids;
pub mod cohere_chat;
pub(crate) mod counts;
mod envelope;
pub mod errors;
mod fields;
mod function_tools;
pub mod gemini;
mod hosted;
mod media_slots;
pub(crate) mod media_types;
mod offered;
pub mod ollama_chat;
pub mod openai_chat;
pub mod openai_completions;
pub mod openai_responses;
mod repair;
mod stop_texts;
mod strict_schema;
mod tool_names;
mod turns;
mod unsupported;
mod whole;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Adapter, Dialect, Passthrough};

/// Whether an entry of the list of models, in OpenAI's format, has conversations. An entry without operations
/// is a model of which nothing is known.
pub(crate) fn has_chat(entry: &serde_json::Value) -> bool {
    entry["operations"].as_array().is_none_or(|operations| operations.iter().any(|name| name == "chat"))
}

/// A wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// OpenAI chat completions.
    OpenaiChat,
    /// OpenAI Responses.
    OpenaiResponses,
    /// Anthropic messages.
    AnthropicMessages,
    /// Google `generateContent`.
    Gemini,
    /// Amazon Bedrock Converse.
    BedrockConverse,
    /// Cohere v2 chat.
    CohereChat,
    /// Ollama's own `/api/chat`.
    OllamaChat,
    /// OpenAI's legacy text completions.
    OpenaiCompletions,
}

impl Protocol {
    /// Every wire format of conversations.
    pub const ALL: [Self; 7] = [
        Self::OpenaiChat,
        Self::OpenaiResponses,
        Self::AnthropicMessages,
        Self::Gemini,
        Self::BedrockConverse,
        Self::CohereChat,
        Self::OllamaChat,
    ];

    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenaiChat => "openai-chat",
            Self::OpenaiResponses => "openai-responses",
            Self::AnthropicMessages => "anthropic-messages",
            Self::Gemini => "gemini",
            Self::BedrockConverse => "bedrock-converse",
            Self::CohereChat => "cohere-chat",
            Self::OllamaChat => "ollama-chat",
            Self::OpenaiCompletions => "openai-completions",
        }
    }
}

/// The provider-facing face of a wire format.
pub fn adapter(protocol: Protocol) -> &'static dyn Adapter {
    match protocol {
        Protocol::OpenaiChat => &openai_chat::OpenaiChat,
        Protocol::OpenaiResponses => &openai_responses::OpenaiResponses,
        Protocol::AnthropicMessages => &anthropic_messages::AnthropicMessages,
        Protocol::Gemini => &gemini::Gemini,
        Protocol::BedrockConverse => &bedrock_converse::BedrockConverse,
        Protocol::CohereChat => &cohere_chat::CohereChat,
        Protocol::OllamaChat => &ollama_chat::OllamaChat,
        Protocol::OpenaiCompletions => &openai_completions::OpenaiCompletions,
    }
}

/// The caller-facing face of a wire format, where it has one.
pub fn dialect(protocol: Protocol) -> Option<&'static dyn Dialect> {
    match protocol {
        Protocol::OpenaiChat => Some(&openai_chat::OpenaiChat),
        Protocol::AnthropicMessages => Some(&anthropic_messages::AnthropicMessages),
        Protocol::Gemini => Some(&gemini::Gemini),
        Protocol::OpenaiResponses => Some(&openai_responses::OpenaiResponses),
        Protocol::OpenaiCompletions => Some(&openai_completions::OpenaiCompletions),
        Protocol::BedrockConverse | Protocol::CohereChat | Protocol::OllamaChat => None,
    }
}

/// The gateway's default format, for callers whose format is unknown.
pub static OWN: &dyn Dialect = &openai_chat::OpenaiChat;

/// The passthrough of a wire format, where it is better than a translation.
pub fn passthrough(protocol: Protocol) -> Option<&'static dyn Passthrough> {
    match protocol {
        Protocol::OpenaiChat => Some(&openai_chat::OpenaiChat),
        Protocol::OpenaiResponses => Some(&openai_responses::OpenaiResponses),
        Protocol::OpenaiCompletions => Some(&openai_completions::OpenaiCompletions),
        Protocol::AnthropicMessages => Some(&anthropic_messages::AnthropicMessages),
        Protocol::Gemini => Some(&gemini::Gemini),
        Protocol::BedrockConverse | Protocol::CohereChat | Protocol::OllamaChat => None,
    }
}

/// Whether an answer is a stream, by its content type and by how it begins. The bytes decide: providers send
/// streams without a request for one, answer a stream request with one document, and mislabel both. `asked`
/// decides where neither gives an answer.
pub fn is_stream(protocol: Protocol, content_type: &str, beginning: &[u8], asked: bool) -> bool {
    let beginning = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning);
    let first = beginning.trim_ascii_start().first().copied();
    match (protocol, first) {
        // JSON lines begin like one document, which reads as a single line.
        (Protocol::OllamaChat, _) => asked || content_type.contains("ndjson"),
        // Google streams a list where `alt=sse` is missing.
        (Protocol::Gemini, Some(b'[')) => true,
        (_, Some(b'{' | b'[')) => false,
        // A binary frame begins with its length.
        (Protocol::BedrockConverse, Some(_)) => asked || content_type.contains("eventstream"),
        // A comment, or the fields of an event: data, event, id, retry.
        (_, Some(b':' | b'd' | b'e' | b'i' | b'r')) => true,
        _ => asked,
    }
}
