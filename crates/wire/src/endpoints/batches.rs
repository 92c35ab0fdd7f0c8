//! Files and batches: how providers serve them. Requests and answers pass as they are, but for their ids.

use serde::{Deserialize, Serialize};

/// Files in OpenAI's form.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesRow {}

/// How a provider serves batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchesRow {
    /// The form of its API.
    pub format: BatchesFormat,
    /// What an answer of a batch costs, in hundredths of the usual price; unknown where it is not said.
    pub price_percent: Option<u8>,
}

/// The form of an API of batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchesFormat {
    /// A file of requests.
    #[default]
    Openai,
    /// Requests in the body.
    Anthropic,
}
