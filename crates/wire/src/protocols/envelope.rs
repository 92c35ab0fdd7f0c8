//! Proofs of one family of models in the format of another.
//!
//! A caller may use models of other families than that of its format. Their proofs (signatures of thinking
//! and of calls, redacted thinking) travel in the format's own field, in an envelope of the gateway that
//! names the family, and are unpacked when the caller sends them back.
//!
//! The Responses API has `encrypted_content`, in an item of its own. The signed text is not repeated there:
//! it is in the item's summary, and a hash shows whether it is unchanged. Gemini's API has `thoughtSignature`
//! on the part of a call, and its clients do not return thoughts reliably: the thinking is in the envelope.
//! The field is of type `bytes`, so the envelope is base64 as a whole.

use base64::Engine;
use base64::engine::general_purpose::{GeneralPurpose, STANDARD, URL_SAFE_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use canon::{Part, PartKind, Reasoning};
use serde::{Deserialize, Serialize};

use crate::json::append;
use crate::protocols::call_ids::mark_of;

/// The prefix of all envelopes. OpenAI's own begin with `gAAAA`.
const PREFIX: &str = "llmgateway.1.";

/// The same in base64.
const BYTES_PREFIX: &str = "bGxtZ2F0ZXdheS4x";
/// Base64 with and without padding: clients re-encode bytes.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Most bytes of thinking that travel with a call: they return with each request.
const MOST_THINKING: usize = 1 << 18;

/// The content of an envelope.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Proof {
    /// A signature of the item's own text, which has this hash.
    #[serde(rename = "s")]
    Signature { format: String, signature: String, text: String },
    /// Thinking that only its family can read.
    #[serde(rename = "e")]
    Encrypted { format: String, data: String },
    /// A signature of the call with this id, which follows the envelope.
    #[serde(rename = "c")]
    Call { id: String, signature: String },
    /// An envelope that was damaged.
    #[serde(skip)]
    Broken,
}

/// A hash of a text.
pub(crate) fn mark(text: &str) -> String {
    mark_of(text)
}

/// Writes an envelope.
pub(crate) fn seal(proof: &Proof) -> String {
    let json = serde_json::to_vec(proof).unwrap_or_default();
    format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(json))
}

/// Opens an envelope; none for other data.
pub(crate) fn open(data: &str) -> Option<Proof> {
    let sealed = data.strip_prefix(PREFIX)?;
    let json = URL_SAFE_NO_PAD.decode(sealed).ok();
    Some(json.and_then(|json| serde_json::from_slice(&json).ok()).unwrap_or(Proof::Broken))
}

/// A block of thinking with its proof.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thought {
    #[serde(rename = "f")]
    pub format: String,
    #[serde(rename = "t", default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    #[serde(rename = "s", default, skip_serializing_if = "String::is_empty")]
    pub signature: String,
    #[serde(rename = "e", default, skip_serializing_if = "String::is_empty")]
    pub encrypted: String,
}

impl Thought {
    pub(crate) fn is_proven(&self) -> bool {
        !self.signature.is_empty() || !self.encrypted.is_empty()
    }

    /// The thinking as a part of a message.
    pub(crate) fn into_part(self) -> Part {
        let filled = |text: String| (!text.is_empty()).then_some(text);
        let thought = Reasoning {
            text: self.text,
            format: Some(self.format),
            encrypted: filled(self.encrypted),
            ..Reasoning::default()
        };
        Part { signature: filled(self.signature).map(Into::into), ..Part::new(PartKind::from(thought)) }
    }
}

/// The family of thinking without a proof is unknown.
pub(crate) const UNKNOWN_FORMAT: &str = "unknown";

/// Thinking on its way into an envelope, as bytes in base64. Complete blocks are already text.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    sealed: Vec<u8>,
    open: Option<(u32, Thought)>,
}

impl Sealing {
    /// This block, which can still grow; those before it are complete.
    pub(crate) fn block(&mut self, number: u32, format: &str) -> &mut Thought {
        if self.open.as_ref().is_some_and(|(open, _)| *open != number) {
            self.close();
        }
        let new = || (number, Thought { format: format.to_owned(), ..Thought::default() });
        &mut self.open.get_or_insert_with(new).1
    }

    /// Only thinking with a proof of a known family is of use later.
    fn close(&mut self) {
        let Some((_, thought)) = self.open.take() else { return };
        if !thought.is_proven() || thought.format == UNKNOWN_FORMAT || self.is_too_large() {
            return;
        }
        let before = if self.sealed.is_empty() { format!("{PREFIX}[") } else { ",".to_owned() };
        append(&mut self.sealed, before.as_bytes());
        append(&mut self.sealed, &serde_json::to_vec(&thought).unwrap_or_default());
    }

    fn is_too_large(&self) -> bool {
        self.sealed.len() > PREFIX.len() + MOST_THINKING
    }

    /// The envelope; none without proofs, and none when it is too large.
    pub(crate) fn seal(mut self) -> Option<String> {
        self.close();
        if self.sealed.is_empty() {
            return None;
        }
        self.sealed.push(b']');
        (!self.is_too_large()).then(|| STANDARD.encode(&self.sealed))
    }
}

/// Whether bytes in base64 are an envelope of ours.
pub(crate) fn holds_thoughts(data: &str) -> bool {
    data.starts_with(BYTES_PREFIX)
}

/// Opens an envelope of thinking; none when it is damaged.
pub(crate) fn open_thoughts(data: &str) -> Option<Vec<Thought>> {
    let data = data.replace('-', "+").replace('_', "/");
    let bytes = LENIENT.decode(data).ok()?;
    serde_json::from_slice(bytes.strip_prefix(PREFIX.as_bytes())?).ok()
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

    fn seal_all(thoughts: &[Thought]) -> Option<String> {
        let mut sealing = Sealing::default();
        for (number, thought) in thoughts.iter().enumerate() {
            *sealing.block(number as u32, &thought.format) = thought.clone();
        }
        sealing.seal()
    }

    #[test]
    fn thoughts_come_back_as_bytes_do() {
        let thought = |text: &str, signature: &str, encrypted: &str| Thought {
            format: "f".to_owned(),
            text: text.to_owned(),
            signature: signature.to_owned(),
            encrypted: encrypted.to_owned(),
        };
        let thoughts = vec![thought("é>?>?", "a+/=", ""), thought("", "", "d")];
        let sealed = seal_all(&thoughts).unwrap();
        assert!(holds_thoughts(&sealed) && !holds_thoughts("c2lnbmF0dXJl"));
        assert_eq!(STANDARD.encode(STANDARD.decode(&sealed).unwrap()), sealed);
        let other = sealed.trim_end_matches('=').replace('+', "-").replace('/', "_");
        assert_eq!([open_thoughts(&sealed), open_thoughts(&other)], [Some(thoughts.clone()), Some(thoughts)]);
        assert_eq!(open_thoughts(&sealed[..sealed.len() - 8]), None);
        assert_eq!(seal_all(&[thought(&"x".repeat(MOST_THINKING), "s", "")]), None);
        assert_eq!(seal_all(&[thought("no proof", "", "")]), None);
    }
}
