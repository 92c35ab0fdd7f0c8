//! Files and batches: how providers serve them. Requests and answers pass unchanged except for their ids.

use serde::{Deserialize, Serialize};

/// Files in OpenAI's form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesRow {
    /// A file may come in parts (`/uploads`).
    pub parts: bool,
}

impl Default for FilesRow {
    fn default() -> Self {
        Self { parts: true }
    }
}

/// How a provider serves batches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BatchesRow {
    /// The format of its API.
    pub format: BatchesFormat,
    /// The price of a batched answer in per cent of the usual price; none when unknown.
    pub price_percent: Option<u8>,
}

/// The format of a batch API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchesFormat {
    /// A file of requests.
    #[default]
    Openai,
    /// Requests in the body.
    Anthropic,
}
