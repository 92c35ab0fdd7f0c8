//! Facts about a model as one provider serves it: what translation and routing need to know.

use serde::{Deserialize, Serialize};

use crate::{Effort, Quirks};

/// A capability that a request may need and that not every model or provider has. A request that needs a
/// missing feature is refused, never served without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Feature {
    /// Tool calls.
    Tools,
    /// Pictures in the prompt.
    Vision,
    /// PDF files in the prompt.
    Documents,
    /// Audio in the prompt.
    AudioInput,
    /// Video in the prompt.
    Video,
    /// Audio in the answer.
    AudioOutput,
    /// Pictures in the answer.
    ImageOutput,
    /// An answer that fits a JSON schema.
    JsonSchema,
    /// Any JSON object as the answer.
    JsonObject,
    /// Several answers (`n` > 1).
    MultipleChoices,
    /// Log probabilities.
    Logprobs,
    /// A stream.
    Streaming,
    /// Thinking. A hint: a request for it never fails.
    Reasoning,
    /// A web search by the provider.
    WebSearch,
    /// A prompt cache.
    PromptCache,
}

impl Feature {
    /// Every feature, in the order of the documentation.
    pub const ALL: [Self; 15] = [
        Self::Tools,
        Self::Vision,
        Self::Documents,
        Self::AudioInput,
        Self::Video,
        Self::AudioOutput,
        Self::ImageOutput,
        Self::JsonSchema,
        Self::JsonObject,
        Self::MultipleChoices,
        Self::Logprobs,
        Self::Streaming,
        Self::Reasoning,
        Self::WebSearch,
        Self::PromptCache,
    ];

    /// How a request is treated that uses the feature when the model lacks it.
    pub const fn when_missing(self) -> WhenMissing {
        match self {
            _ if Features::IGNORED.has(self) => WhenMissing::Ignored,
            _ if Features::EMULATED.has(self) => WhenMissing::Emulated,
            _ => WhenMissing::Refused,
        }
    }

    /// The name in the catalog, in JSON and in messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Vision => "vision",
            Self::Documents => "documents",
            Self::AudioInput => "audio_input",
            Self::Video => "video",
            Self::AudioOutput => "audio_output",
            Self::ImageOutput => "image_output",
            Self::JsonSchema => "json_schema",
            Self::JsonObject => "json_object",
            Self::MultipleChoices => "multiple_choices",
            Self::Logprobs => "logprobs",
            Self::Streaming => "streaming",
            Self::Reasoning => "reasoning",
            Self::WebSearch => "web_search",
            Self::PromptCache => "prompt_cache",
        }
    }
}

/// How a request is treated when its model lacks a feature that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenMissing {
    /// It is served without the feature: a hint, and at most a loss.
    Ignored,
    /// The gateway emulates it by other means: a loss.
    Emulated,
    /// It is refused.
    Refused,
}

/// A set of features.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u32);

impl Features {
    /// No feature.
    pub const NONE: Self = Self(0);
    /// Features that are [ignored](WhenMissing::Ignored) where a model lacks them.
    pub const IGNORED: Self = Self::NONE.with(Feature::Reasoning).with(Feature::PromptCache);
    /// Features that are [emulated](WhenMissing::Emulated) where a model lacks them.
    pub const EMULATED: Self = Self::NONE.with(Feature::JsonSchema).with(Feature::JsonObject);

    /// Every feature.
    pub fn all() -> Self {
        Feature::ALL.into_iter().collect()
    }

    /// This set and one more.
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u32)
    }

    /// This set without one.
    pub const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u32))
    }

    /// Adds one.
    pub fn insert(&mut self, feature: Feature) {
        *self = self.with(feature);
    }

    /// True when the feature is in the set.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & (1 << feature as u32) != 0
    }

    /// The features of this set that are not in `other`.
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The features that are in either set.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True when there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The features in the set.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.has(*feature))
    }
}

impl FromIterator<Feature> for Features {
    fn from_iter<I: IntoIterator<Item = Feature>>(features: I) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

impl std::fmt::Debug for Features {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// How a model is controlled in how much it thinks. The adapter turns an effort or a budget into the form
/// that the model takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ReasoningControl {
    /// It does not think: the request for thinking is a loss.
    None,
    /// It always thinks and takes no control: the request for thinking is a loss.
    Always,
    /// A level out of `levels` (OpenAI's `reasoning_effort`, Gemini's `thinkingLevel`, Anthropic's `effort`
    /// with adaptive thinking). `none` among the levels means that thinking can be switched off.
    Effort {
        /// Accepted levels.
        levels: Vec<Effort>,
    },
    /// A number of tokens (Anthropic's `budget_tokens`, Gemini's `thinkingBudget`).
    Budget {
        /// Smallest accepted.
        min: u64,
        /// Largest accepted.
        max: u64,
        /// Thinking can be switched off.
        can_disable: bool,
    },
    /// On or off (`thinking: {"type": "enabled"}`), optionally with effort levels.
    Toggle {
        /// Thinking can be switched off.
        can_disable: bool,
        /// Effort levels that may be sent with it; empty means none.
        #[serde(default)]
        levels: Vec<Effort>,
    },
    /// `enable_thinking: true` with an optional `thinking_budget`.
    EnableThinking,
    /// `chat_template_kwargs: {"enable_thinking": …}`, with this key.
    ChatTemplate {
        /// `enable_thinking` or `thinking`.
        key: String,
    },
    /// `reasoning: {"enabled": …}`, optionally with effort levels in `reasoning.effort` (`object`).
    Object {
        /// Accepted levels; empty means only on and off.
        #[serde(default)]
        levels: Vec<Effort>,
    },
}

/// Facts about a model as one provider serves it. `None` and "unknown" mean that the provider decides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelFacts {
    /// Largest prompt plus answer, in tokens.
    pub context_tokens: Option<u64>,
    /// Largest answer, in tokens.
    pub max_output_tokens: Option<u64>,
    /// None when the model is unknown to the catalog.
    pub features: Option<Features>,
    /// How its thinking is controlled; none when unknown.
    pub reasoning: Option<ReasoningControl>,
    /// Request fields that this model refuses (`temperature`, `stop`): left out, each a loss. `tool_choice`
    /// means a forced call, which becomes a free choice.
    pub rejects: Vec<String>,
    /// Request fields that it refuses only while it thinks.
    pub rejects_thinking: Vec<String>,
    /// It thinks when the request does not mention thinking.
    pub thinks_by_default: bool,
    /// It refuses function tools while it thinks: with tools, thinking is switched off.
    pub functions_exclude_thinking: bool,
    /// It is served by its provider's Responses API only.
    pub responses_only: bool,
    /// It completes texts and holds no conversations: it is served at `/completions` only.
    pub completions_only: bool,
    /// Results of tools may hold text only, whatever the provider's API allows.
    pub no_media_in_results: bool,
    /// It enforces a subset of JSON schema and refuses a strict schema outside of it as a whole.
    pub strict_subset: bool,
}

impl ModelFacts {
    /// True unless the catalog says that the model lacks the feature.
    pub fn allows(&self, feature: Feature) -> bool {
        self.features.is_none_or(|features| features.has(feature))
    }

    /// True when the model refuses this request field.
    pub fn rejects(&self, field: &str) -> bool {
        self.rejects.iter().any(|name| name == field)
    }
}

/// One model at one provider for which a request is translated.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// The provider's own id of the model, which is sent.
    pub model: &'a str,
    /// What the model can do.
    pub facts: &'a ModelFacts,
    /// How the provider differs from its protocol.
    pub quirks: &'a Quirks,
}
