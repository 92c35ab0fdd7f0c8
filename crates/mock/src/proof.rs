//! Signatures of thinking and of calls, derived from the signed content, so that a changed, foreign or
//! invented one is detected.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Signs a text in the name of an issuer. Valid base64, as all formats want it.
pub fn signature(issuer: &str, text: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (issuer, text).hash(&mut hasher);
    format!("mock{:016x}", hasher.finish())
}

/// Claude's signatures are valid on every platform that runs Claude.
pub const CLAUDE: &str = "claude";

/// Claude's signature of a thought. The newest models bind it to the conversation before it.
pub fn claudes(thinking: &str, before: Option<&str>) -> String {
    let bound = before.map(|before| signature(CLAUDE, before)).unwrap_or_default();
    bound + &signature(CLAUDE, thinking)
}

/// Whether Claude signed this thought, bound to any conversation or to none.
pub fn is_claudes(given: &str, thinking: &str) -> bool {
    given
        .strip_suffix(&signature(CLAUDE, thinking))
        .is_some_and(|bound| [0, SIGNATURE].contains(&bound.len()))
}

/// Whether one of Claude's signatures is valid after this conversation.
pub fn holds_after(given: &str, thinking: &str, before: &str) -> bool {
    given == claudes(thinking, None) || given == claudes(thinking, Some(before))
}

/// The length of a signature.
const SIGNATURE: usize = 20;
