//! Foreign proofs in `encrypted_content`.
//!
//! A caller of this format may talk to other families of models through the gateway. Their proofs (signatures of thinking
//! and of calls, redacted thinking) travel in `encrypted_content` in an envelope of ours, which says whose they are, and
//! are unpacked when the caller sends the item back. What a signature proves is not repeated: the text is in the item's
//! summary, and a mark of it tells whether it is still the same.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::protocols::call_ids::mark_of;

/// What all envelopes begin with. OpenAI's own begin with `gAAAA`.
const PREFIX: &str = "llmgateway.1.";

/// What is in an envelope.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Proof {
    /// A signature of the item's own text, which has this mark.
    #[serde(rename = "s")]
    Signature { format: String, signature: String, text: String },
    /// Thinking that only its family can read.
    #[serde(rename = "e")]
    Encrypted { format: String, data: String },
    /// A signature of the call with this id, which follows.
    #[serde(rename = "c")]
    Call { id: String, signature: String },
    /// An envelope that was damaged.
    #[serde(skip)]
    Broken,
}

/// A mark of a text.
pub(super) fn mark(text: &str) -> String {
    mark_of(text)
}

/// Writes an envelope.
pub(super) fn seal(proof: &Proof) -> String {
    let json = serde_json::to_vec(proof).unwrap_or_default();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
}

/// Opens an envelope; none for what is not one of ours.
pub(super) fn open(data: &str) -> Option<Proof> {
    let sealed = data.strip_prefix(PREFIX)?;
    let json = URL_SAFE_NO_PAD.decode(sealed).ok();
    Some(json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(Proof::Broken))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proofs_come_back_as_they_were_sealed() {
        let text = |text: &str| text.to_owned();
        let proofs = [
            Proof::Signature {
                format: text("anthropic-claude-v1"),
                signature: text("a+/="),
                text: mark("é"),
            },
            Proof::Encrypted { format: text("f"), data: text("d") },
            Proof::Call { id: text("call_1"), signature: text("s") },
        ];
        for proof in proofs {
            let sealed = seal(&proof);
            assert!(sealed.starts_with(PREFIX) && sealed.is_ascii(), "{sealed}");
            assert_eq!(open(&sealed), Some(proof));
        }
        assert_eq!(open("gAAAA"), None);
        for damaged in ["llmgateway.1.", "llmgateway.1.!", "llmgateway.1.e30"] {
            assert_eq!(open(damaged), Some(Proof::Broken), "{damaged}");
        }
    }
}
