//! Embeddings: `POST /v1/embeddings` as OpenAI's API has it, and what providers take and answer.

pub mod answer;
mod request;
pub mod vector;
mod write;

use serde::{Deserialize, Serialize};

use crate::Protocol;
use answer::AnswerFormat;

pub use request::EmbeddingsRequest;

/// How a provider serves embeddings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingsRow {
    /// The format.
    pub format: EmbeddingsFormat,
    /// The path below the base URL, where it is not the format's usual one.
    pub path: Option<String>,
    /// Most inputs of one request: a longer list goes in parts. None where the provider takes any number.
    pub max_inputs: Option<usize>,
    /// Lists of token numbers are taken in place of texts.
    pub token_lists: bool,
    /// The field for the length of vectors; empty where there is none.
    pub dimensions_field: String,
    /// The field for what a text is embedded for; empty where there is none. A provider of which this is not known gets the
    /// caller's fields as they are.
    pub input_type_field: Option<String>,
    /// `encoding_format` is taken. Elsewhere vectors come as numbers, and become what the caller wants.
    pub encoding_format: bool,
}

impl Default for EmbeddingsRow {
    fn default() -> Self {
        Self {
            format: EmbeddingsFormat::Openai,
            path: None,
            max_inputs: None,
            token_lists: true,
            dimensions_field: "dimensions".to_owned(),
            input_type_field: None,
            encoding_format: true,
        }
    }
}

/// A provider's format of embeddings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbeddingsFormat {
    /// OpenAI's API.
    #[default]
    Openai,
}

impl EmbeddingsFormat {
    fn usual_path(self) -> &'static str {
        match self {
            Self::Openai => "/embeddings",
        }
    }

    fn answer(self) -> AnswerFormat {
        match self {
            Self::Openai => AnswerFormat::Openai,
        }
    }

    /// The chat format of the same API: errors are alike.
    fn protocol(self) -> Protocol {
        match self {
            Self::Openai => Protocol::OpenaiChat,
        }
    }
}

/// What is known of a model that embeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingFacts {
    /// Most inputs of one request, where the provider's limit is not the model's.
    pub max_inputs: Option<usize>,
    /// Longest input in tokens.
    pub max_input_tokens: Option<u64>,
    /// The length of vectors where the caller names none.
    pub default_dimensions: Option<usize>,
    /// The lengths that may be asked for; empty where the length is fixed, none where nothing is known.
    pub dimensions: Option<Vec<usize>>,
}
