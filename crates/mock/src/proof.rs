//! Signatures of thinking and of calls: made of what they sign, so that a changed, foreign or invented one is known.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Signs a text in the name of an issuer. Valid base64, as all formats want it.
pub fn signature(issuer: &str, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (issuer, text).hash(&mut hasher);
    format!("mock{:016x}", hasher.finish())
}

/// Claude's signatures hold wherever Claude runs.
pub const CLAUDE: &str = "claude";
