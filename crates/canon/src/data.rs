//! Rules about the data that providers receive.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether providers may train models with the data that they receive: in policies, and in the preferences of
/// a request, with the values that OpenRouter's clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DataCollection {
    /// They may.
    Allow,
    /// They may not; a provider of which it is unknown is refused.
    Deny,
}
