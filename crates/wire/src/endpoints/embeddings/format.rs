//! The providers' request formats for embeddings.

use serde::{Deserialize, Serialize};

use super::Purpose;
use super::answer::AnswerFormat;
use crate::Protocol;

/// A provider's format of embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingsFormat {
    /// OpenAI's API.
    #[default]
    Openai,
    /// Google's Gemini API: `:batchEmbedContents`.
    Gemini,
    /// Vertex AI: `:predict`.
    VertexPredict,
    /// Vertex AI's newer models: `:embedContent`, one text at a time.
    VertexContent,
    /// Amazon Bedrock: the format is that of the model's family.
    Bedrock,
    /// Amazon Titan, one text at a time.
    Titan,
    /// Amazon Nova, one text at a time.
    Nova,
    /// Cohere's models at Bedrock.
    BedrockCohere,
    /// Cohere's API.
    Cohere,
    /// Ollama's own API.
    Ollama,
    /// Text Embeddings Inference's own API.
    Tei,
}

impl EmbeddingsFormat {
    /// All formats.
    pub const ALL: [Self; 11] = [
        Self::Openai,
        Self::Gemini,
        Self::VertexPredict,
        Self::VertexContent,
        Self::Bedrock,
        Self::Titan,
        Self::Nova,
        Self::BedrockCohere,
        Self::Cohere,
        Self::Ollama,
        Self::Tei,
    ];

    /// The format for a model, where it depends on the model's family.
    pub(super) fn of_model(self, model: &str) -> Self {
        match self {
            Self::Bedrock if model.contains("cohere.") => Self::BedrockCohere,
            Self::Bedrock if model.contains("nova") => Self::Nova,
            Self::Bedrock => Self::Titan,
            other => other,
        }
    }

    /// The path below the base URL, or the method after the model.
    pub(super) fn usual_path(self) -> &'static str {
        match self {
            Self::Openai => "/embeddings",
            Self::Gemini => "batchEmbedContents",
            Self::VertexPredict => "predict",
            Self::VertexContent => "embedContent",
            Self::Bedrock | Self::Titan | Self::Nova | Self::BedrockCohere => "invoke",
            Self::Cohere => "/v2/embed",
            Self::Ollama => "/api/embed",
            Self::Tei => "/embed",
        }
    }

    /// Most texts of one request.
    pub(super) fn max_inputs(self) -> Option<usize> {
        match self {
            Self::Titan | Self::Nova | Self::VertexContent => Some(1),
            Self::Cohere | Self::BedrockCohere => Some(96),
            Self::Gemini => Some(100),
            Self::VertexPredict => Some(250),
            Self::Openai | Self::Bedrock | Self::Ollama | Self::Tei => None,
        }
    }

    /// The field for the length of vectors.
    pub(super) fn dimensions_field(self) -> &'static str {
        match self {
            Self::Gemini | Self::VertexPredict | Self::VertexContent => "outputDimensionality",
            Self::Cohere | Self::BedrockCohere => "output_dimension",
            Self::Nova => "embeddingDimension",
            Self::Openai | Self::Titan | Self::Bedrock | Self::Ollama | Self::Tei => "dimensions",
        }
    }

    pub(super) fn answer(self) -> AnswerFormat {
        match self {
            Self::Openai => AnswerFormat::Openai,
            Self::Gemini | Self::VertexContent => AnswerFormat::Gemini,
            Self::VertexPredict => AnswerFormat::VertexPredict,
            Self::Titan | Self::Bedrock => AnswerFormat::Titan,
            Self::Nova => AnswerFormat::Nova,
            Self::Cohere | Self::BedrockCohere => AnswerFormat::Cohere,
            Self::Ollama => AnswerFormat::Ollama,
            Self::Tei => AnswerFormat::List,
        }
    }

    /// The chat format of the same API, whose error format is the same. Other APIs report errors in forms
    /// that OpenAI's reader knows.
    pub(super) fn protocol(self) -> Protocol {
        match self {
            Self::Openai | Self::Tei => Protocol::OpenaiChat,
            Self::Gemini | Self::VertexPredict | Self::VertexContent => Protocol::Gemini,
            Self::Bedrock | Self::Titan | Self::Nova | Self::BedrockCohere => Protocol::BedrockConverse,
            Self::Cohere => Protocol::CohereChat,
            Self::Ollama => Protocol::OllamaChat,
        }
    }

    /// The format's name for a purpose; none where it has none.
    pub(super) fn word(self, purpose: Purpose) -> Option<&'static str> {
        match self {
            Self::Gemini | Self::VertexPredict | Self::VertexContent => Some(match purpose {
                Purpose::Query => "RETRIEVAL_QUERY",
                Purpose::Document => "RETRIEVAL_DOCUMENT",
                Purpose::Classification => "CLASSIFICATION",
                Purpose::Clustering => "CLUSTERING",
                Purpose::Similarity => "SEMANTIC_SIMILARITY",
                Purpose::Question => "QUESTION_ANSWERING",
                Purpose::FactCheck => "FACT_VERIFICATION",
                Purpose::CodeQuery => "CODE_RETRIEVAL_QUERY",
            }),
            Self::Cohere | Self::BedrockCohere => match purpose {
                Purpose::Query | Purpose::Question | Purpose::CodeQuery => Some("search_query"),
                Purpose::Document => Some("search_document"),
                Purpose::Classification => Some("classification"),
                Purpose::Clustering => Some("clustering"),
                Purpose::Similarity | Purpose::FactCheck => None,
            },
            Self::Nova => match purpose {
                Purpose::Query | Purpose::Question | Purpose::CodeQuery => Some("GENERIC_RETRIEVAL"),
                Purpose::Document => Some("GENERIC_INDEX"),
                Purpose::Classification => Some("CLASSIFICATION"),
                Purpose::Clustering => Some("CLUSTERING"),
                Purpose::Similarity | Purpose::FactCheck => None,
            },
            _ => None,
        }
    }

    /// Whether a word is the format's own, though another one has nearly the same meaning.
    pub(super) fn knows(self, word: &str) -> bool {
        self == Self::Nova && word == "TEXT_RETRIEVAL"
    }

    /// The default purpose where the format requires one. A document's does the least harm: a query among
    /// documents is not found.
    pub(super) fn default_purpose(self) -> Option<Purpose> {
        matches!(self, Self::Cohere | Self::BedrockCohere | Self::Nova).then_some(Purpose::Document)
    }

    /// Callers' fields that pass unchanged, besides OpenAI's.
    pub(super) fn passes(self) -> &'static [&'static str] {
        match self {
            Self::Cohere => &["truncate", "max_tokens", "priority"],
            Self::BedrockCohere => &["truncate", "max_tokens"],
            Self::Titan => &["normalize"],
            Self::Ollama => &["truncate", "options", "keep_alive"],
            Self::Tei => &["normalize", "truncate", "truncation_direction", "prompt_name"],
            _ => &[],
        }
    }
}
