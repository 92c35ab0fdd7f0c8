//! A provider's answer as a sequence of events.

use crate::{Json, Usage};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It was complete, or a stop text was met.
    Stop,
    /// The token limit or the context was exhausted.
    Length,
    /// The model waits for the results of its tool calls.
    ToolCalls,
    /// The provider withheld content.
    ContentFilter,
}

impl FinishReason {
    /// The name in OpenAI's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::ContentFilter => "content_filter",
        }
    }
}

/// A structured piece of thinking, to be sent back unchanged in a later turn.
#[derive(Clone, Debug, PartialEq)]
pub enum ReasoningDetail {
    /// A piece of readable text of block `index`.
    Text(String),
    /// The proof of the text of block `index`; follows its text.
    Signature(String),
    /// Redacted or encrypted content.
    Encrypted(String),
}

/// One event of an answer. Deltas are never accumulated: each contains only the new piece. `choice` counts
/// from 0.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The answer begins. Comes first and once.
    Start {
        /// The provider's id of the answer.
        id: Option<String>,
        /// The model that the provider reports.
        model: Option<String>,
        /// Unix seconds.
        created: Option<i64>,
    },
    /// Text.
    Text {
        /// Which choice.
        choice: u32,
        /// The new piece.
        text: String,
    },
    /// The text of a refusal by the model.
    Refusal {
        /// Which choice.
        choice: u32,
        /// The new piece.
        text: String,
    },
    /// Thinking. Text, its signature and redacted content arrive as pieces of numbered blocks.
    Reasoning {
        /// Which choice.
        choice: u32,
        /// Which block of thinking, counted from 0 within the choice.
        block: u32,
        /// The new piece.
        detail: ReasoningDetail,
        /// The family of models that wrote it (`anthropic-claude-v1`, `google-gemini-v1`): proofs are valid
        /// only there.
        format: &'static str,
    },
    /// A tool call begins.
    ToolCallStart {
        /// Which choice.
        choice: u32,
        /// Position among the choice's calls, counted from 0 without gaps.
        index: u32,
        /// The provider's id; empty where it gives none, and then filled with a unique one by the translator.
        id: String,
        /// The tool.
        name: String,
        /// An opaque proof that must be sent back with the call (thought signature).
        signature: Option<String>,
        /// A custom tool: the arguments are free text, not JSON.
        custom: bool,
    },
    /// A piece of a call's arguments; all pieces together are JSON text, or the free text of a custom tool.
    ToolCallArguments {
        /// Which choice.
        choice: u32,
        /// Which call.
        index: u32,
        /// The new piece.
        fragment: String,
    },
    /// A picture that the model made.
    Image {
        /// Which choice.
        choice: u32,
        /// MIME type.
        mime: String,
        /// Standard base64.
        data: String,
    },
    /// A citation in OpenAI's `annotations` form (`{"type":"url_citation","url_citation":{…}}`).
    Annotation {
        /// Which choice.
        choice: u32,
        /// The annotation.
        annotation: Json,
    },
    /// Log probabilities in OpenAI's form (`{"content":[…]}`).
    Logprobs {
        /// Which choice.
        choice: u32,
        /// The value of `logprobs`.
        logprobs: Json,
    },
    /// Token counts. May come several times; each replaces the previous one.
    Usage(Usage),
    /// A choice ended. Once per choice.
    Finish {
        /// Which choice.
        choice: u32,
        /// Why.
        reason: FinishReason,
        /// The provider's own name of the reason.
        native: Option<String>,
    },
    /// A top-level field that OpenAI clients know (`service_tier`, `system_fingerprint`).
    Field {
        /// Its name.
        name: &'static str,
        /// Its value.
        value: Json,
    },
}
