//! Embeddings: `POST /v1/embeddings` as OpenAI's API has it, and what providers take and answer.

pub mod answer;
mod format;
mod native;
mod purpose;
mod request;
pub mod vector;
mod write;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use format::EmbeddingsFormat;
pub use purpose::Purpose;
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
    /// The provider's words for that.
    pub input_types: BTreeMap<Purpose, String>,
    /// The field for the form of vectors.
    pub encoding_field: String,
    /// The forms that may be asked for. Another one is left out, and vectors become what the caller wants.
    pub encodings: Vec<String>,
    /// What base64 holds.
    pub base64: Element,
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
            input_types: BTreeMap::new(),
            encoding_field: "encoding_format".to_owned(),
            encodings: vec!["float".to_owned(), "base64".to_owned()],
            base64: Element::Float32,
        }
    }
}

impl EmbeddingsRow {
    /// Of a provider of this format.
    pub fn of(format: EmbeddingsFormat) -> Self {
        Self { format, ..Self::default() }
    }
}

/// What the bytes of a vector are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// Four bytes a number, as OpenAI's.
    #[default]
    Float32,
    /// One byte a number.
    Int8,
}

/// What is known of a model that embeds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingFacts {
    /// The format, where the provider's usual one is another.
    pub format: Option<EmbeddingsFormat>,
    /// Most inputs of one request, where that is less than the provider's limit.
    pub max_inputs: Option<usize>,
    /// Longest input in tokens.
    pub max_input_tokens: Option<u64>,
    /// The length of vectors where the caller names none.
    pub default_dimensions: Option<usize>,
    /// The lengths that may be asked for; empty where the length is fixed, none where nothing is known or any will do.
    pub dimensions: Option<Vec<usize>>,
    /// Vectors shorter than the usual ones come without unit length, and are given it: OpenAI's have it.
    pub scaled: bool,
    /// What texts are for is said in front of them, and not in a field.
    pub purpose_in_text: bool,
    /// What texts are for has to be said: this where the caller says nothing.
    pub default_purpose: Option<Purpose>,
}
