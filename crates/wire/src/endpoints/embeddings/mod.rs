//! Embeddings: `POST /v1/embeddings` of OpenAI's API, and the providers' formats.

pub mod answer;
mod format;
mod native;
mod purpose;
mod request;
mod split;
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
    pub format: EmbeddingsFormat,
    /// The path below the base URL, where it is not the format's default.
    pub path: Option<String>,
    /// Most inputs of one request: a longer list is sent in parts. None where the provider takes any number.
    pub max_inputs: Option<usize>,
    /// Most tokens of all inputs of one request, likewise.
    pub max_request_tokens: Option<u64>,
    /// Lists of token numbers are accepted instead of texts.
    pub token_lists: bool,
    /// The field for the length of vectors; empty where there is none.
    pub dimensions_field: String,
    /// The field for the purpose of a text; empty where there is none. A provider without this information
    /// gets the caller's fields unchanged.
    pub input_type_field: Option<String>,
    /// The provider's names of the purposes.
    pub input_types: BTreeMap<Purpose, String>,
    /// The field for the encoding of vectors.
    pub encoding_field: String,
    /// The encodings that the provider accepts. Another one is not sent, and the gateway converts the
    /// vectors.
    pub encodings: Vec<String>,
    /// The number type in base64.
    pub base64: Element,
}

impl Default for EmbeddingsRow {
    fn default() -> Self {
        Self {
            format: EmbeddingsFormat::Openai,
            path: None,
            max_inputs: None,
            max_request_tokens: None,
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
    /// The defaults of this format.
    pub fn of(format: EmbeddingsFormat) -> Self {
        Self { format, ..Self::default() }
    }
}

/// The number type of a vector's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Element {
    /// Four bytes a number, as OpenAI's.
    #[default]
    Float32,
    /// One byte a number.
    Int8,
}

/// Facts of an embedding model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EmbeddingFacts {
    /// The format, where it differs from the provider's default.
    pub format: Option<EmbeddingsFormat>,
    /// Most inputs of one request, where that is less than the provider's limit.
    pub max_inputs: Option<usize>,
    /// Most tokens of all inputs of one request, where that differs from the provider's limit.
    pub max_request_tokens: Option<u64>,
    /// Longest input in tokens.
    pub max_input_tokens: Option<u64>,
    /// The length of vectors where the caller names none.
    pub default_dimensions: Option<usize>,
    /// The lengths that may be requested; empty where the length is fixed, none where nothing is known or any
    /// length is accepted.
    pub dimensions: Option<Vec<usize>>,
    /// Vectors that are shorter than the default length are normalised to unit length here: OpenAI's are.
    pub scaled: bool,
    /// The purpose is a prefix of the text, not a field.
    pub purpose_in_text: bool,
    /// The purpose is required: this one is used where the caller names none.
    pub default_purpose: Option<Purpose>,
}
