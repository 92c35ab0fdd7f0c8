//! The canonical chat request.

use crate::{CacheMark, Json, Losses, Message, Place, Spellings};

/// A chat request, independent of any provider's format.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The name of the caller's wire format (`anthropic-messages`); empty where it is none of the gateway's.
    /// Native tools and further fields may mean nothing in another format.
    pub format: &'static str,
    /// The model as the caller addressed it (`provider/model`, a bare id, an alias).
    pub model: String,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Tools that the model may call.
    pub tools: Vec<Tool>,
    /// Which tool to call; none means the provider's default.
    pub tool_choice: Option<ToolChoice>,
    /// Whether several calls in one turn are allowed.
    pub parallel_tool_calls: Option<bool>,
    /// Text, JSON, or JSON of a schema.
    pub output: OutputFormat,
    /// How much to think.
    pub reasoning: ReasoningRequest,
    /// Most tokens to produce, thinking included.
    pub max_tokens: Option<u64>,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Number of answers.
    pub n: Option<u32>,
    /// Return log probabilities.
    pub logprobs: Option<bool>,
    /// How many alternatives per token.
    pub top_logprobs: Option<u32>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The caller wants a usage chunk at the end of the stream.
    pub include_usage: bool,
    /// The end user, as an opaque id.
    pub user: Option<String>,
    /// All other top-level fields in the caller's order, as raw JSON: hints that an adapter carries by name
    /// or reports as lost.
    pub extra: Vec<(String, Json)>,
    /// Losses from reading the caller's format. Adapters report them together with their own.
    pub losses: Losses,
    /// Fields that the caller wrote by a name other than the dialect's usual one.
    pub spellings: Spellings,
}

impl Request {
    /// The raw value of a further field.
    pub fn extra(&self, name: &str) -> Option<&Json> {
        self.extra.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }
}

/// Sampling parameters; none of them has a default here.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampling {
    /// 0 to 2 in OpenAI's convention.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// Number of candidates (a de-facto extension).
    pub top_k: Option<u64>,
    /// -2 to 2.
    pub frequency_penalty: Option<f64>,
    /// -2 to 2.
    pub presence_penalty: Option<f64>,
    /// For repeatable answers.
    pub seed: Option<i64>,
}

/// A tool that the model may call.
#[derive(Clone, Debug, PartialEq)]
pub struct Tool {
    /// Its name.
    pub name: String,
    /// What it does.
    pub description: Option<String>,
    /// The form of its input.
    pub kind: ToolKind,
    /// The caller wants the prompt cached up to this tool.
    pub cache: Option<CacheMark>,
    /// Where the caller wrote it.
    pub place: Place,
}

/// The form of a tool's input.
#[derive(Clone, Debug, PartialEq)]
pub enum ToolKind {
    /// A JSON object.
    Function {
        /// JSON schema; none means no parameters.
        parameters: Option<Json>,
        /// The arguments must fit the schema.
        strict: Option<bool>,
    },
    /// Free text (OpenAI's custom tools).
    Custom {
        /// The grammar, as the caller gave it.
        format: Option<Json>,
    },
    /// A tool that the provider itself runs, or one of an unknown type; the whole entry as sent.
    Native(Json),
}

/// Which tool to call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    Auto,
    /// No tool.
    None,
    /// At least one tool.
    Required,
    /// This tool.
    Named(String),
    /// Only these tools.
    Allowed {
        /// Names of the allowed tools.
        names: Vec<String>,
        /// At least one must be called.
        required: bool,
    },
}

/// The form of the answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum OutputFormat {
    /// Free text.
    #[default]
    Text,
    /// Any JSON object.
    JsonObject,
    /// JSON that fits a schema.
    JsonSchema {
        /// A name for it.
        name: String,
        /// Its purpose.
        description: Option<String>,
        /// The schema; none is allowed by OpenAI.
        schema: Option<Json>,
        /// The answer must fit exactly.
        strict: Option<bool>,
    },
}

/// How much to think, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effort {
    /// Do not think.
    None,
    /// As little as possible.
    Minimal,
    /// A little.
    Low,
    /// The usual amount.
    Medium,
    /// A lot.
    High,
    /// More.
    Xhigh,
    /// As much as possible.
    Max,
}

impl Effort {
    /// Every level, weakest first.
    pub const ALL: [Self; 7] =
        [Self::None, Self::Minimal, Self::Low, Self::Medium, Self::High, Self::Xhigh, Self::Max];

    /// The name in OpenAI's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Minimal => "minimal",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Xhigh => "xhigh",
            Self::Max => "max",
        }
    }

    /// Reads OpenAI's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|effort| effort.as_str() == name)
    }

    /// The thinking tokens that correspond to this effort, for providers without a table of their own.
    pub fn budget(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Minimal => 1024,
            Self::Low => 2048,
            Self::Medium => 8192,
            Self::High => 16_384,
            Self::Xhigh => 32_768,
            Self::Max => 65_536,
        }
    }

    /// The weakest effort whose budget has so many thinking tokens.
    pub fn of_budget(tokens: u64) -> Self {
        Self::ALL.into_iter().find(|effort| effort.budget() >= tokens).unwrap_or(Self::Max)
    }

    /// The nearest of `levels`: itself, else the next stronger one, else the strongest. `None` (off) is never
    /// chosen for another level.
    pub fn nearest(self, levels: &[Effort]) -> Option<Effort> {
        if levels.contains(&self) {
            return Some(self);
        }
        let mut on: Vec<_> = levels.iter().copied().filter(|level| *level != Self::None).collect();
        on.sort_unstable();
        on.iter().copied().find(|level| *level > self).or_else(|| on.last().copied())
    }
}

/// The caller's settings for thinking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReasoningRequest {
    /// `reasoning_effort`, or `reasoning.effort`.
    pub effort: Option<Effort>,
    /// A budget in tokens (`reasoning.max_tokens`, `thinking.budget_tokens`).
    pub budget_tokens: Option<u64>,
    /// Do not return the thinking text (`reasoning.exclude`).
    pub exclude: bool,
    /// How thinking is reported (`reasoning.summary`: `auto`, `concise`, `detailed`), where a provider
    /// returns it only on request.
    pub summary: Option<String>,
}

impl ReasoningRequest {
    /// True when the caller said nothing.
    pub fn is_unset(&self) -> bool {
        self.effort.is_none() && self.budget_tokens.is_none()
    }

    /// True when the caller wants thinking.
    pub fn is_on(&self) -> bool {
        self.budget_tokens.is_some_and(|budget| budget > 0)
            || self.effort.is_some_and(|effort| effort != Effort::None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn efforts_and_budgets_correspond() {
        for effort in Effort::ALL {
            assert_eq!(Effort::of_budget(effort.budget()), effort);
        }
        for (tokens, effort) in [
            (1, Effort::Minimal),
            (1025, Effort::Low),
            (8193, Effort::High),
            (65_537, Effort::Max),
            (u64::MAX, Effort::Max),
        ] {
            assert_eq!(Effort::of_budget(tokens), effort, "{tokens}");
        }
    }
}
