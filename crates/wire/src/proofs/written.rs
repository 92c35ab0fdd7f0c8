//! The byte form of proofs, for other gateways.

use canon::{Json, Part, PartKind, Reasoning};
use serde::{Deserialize, Serialize};

use super::{CallName, Proofs};

#[derive(Serialize, Deserialize)]
struct StoredProofs {
    issuer: String,
    model: String,
    thinking: Vec<Thought>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Json>,
    calls: Vec<(String, u64, Option<String>)>,
    signatures: Vec<u64>,
}

#[derive(Serialize, Deserialize)]
struct Thought {
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    encrypted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
}

impl Proofs {
    /// As bytes.
    pub fn write(&self) -> Vec<u8> {
        let thinking = self.thinking.iter().filter_map(|part| match &part.kind {
            PartKind::Reasoning(thought) => {
                Some(Thought::of(thought, part.signature.clone().map(Into::into)))
            }
            _ => None,
        });
        let written = StoredProofs {
            issuer: self.issuer.clone(),
            model: self.model.clone(),
            thinking: thinking.collect(),
            details: self.details.clone(),
            calls: self
                .calls
                .iter()
                .map(|(name, signature)| (name.id.clone(), name.content, signature.clone()))
                .collect(),
            signatures: self.signatures.iter().map(|name| name.content).collect(),
        };
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// Reads these bytes; none for any other content.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let StoredProofs { issuer, model, thinking, details, calls, signatures } =
            serde_json::from_slice(bytes).ok()?;
        Some(Self {
            issuer,
            model,
            thinking: thinking.into_iter().map(Thought::part).collect(),
            details,
            calls: calls
                .into_iter()
                .map(|(id, content, signature)| (CallName { id, content }, signature))
                .collect(),
            signatures: signatures
                .into_iter()
                .map(|content| CallName { id: String::new(), content })
                .collect(),
        })
    }
}

impl Thought {
    fn of(thought: &Reasoning, signature: Option<String>) -> Self {
        let Reasoning { text, encrypted, format, id } = thought.clone();
        Self { text, encrypted, format, id, signature }
    }

    fn part(self) -> Part {
        let Self { text, encrypted, format, id, signature } = self;
        let thought = Reasoning { text, encrypted, format, id };
        Part { signature: signature.map(Into::into), ..PartKind::from(thought).into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_proofs_are_read_back_unchanged() {
        let thought = Reasoning {
            text: "Hm.".to_owned(),
            encrypted: Some("secret".to_owned()),
            format: Some("anthropic-claude-v1".to_owned()),
            id: Some("rs_1".to_owned()),
        };
        let part = Part { signature: Some("proof".into()), ..PartKind::from(thought).into() };
        let proofs = Proofs {
            issuer: "anthropic".to_owned(),
            model: "m".to_owned(),
            thinking: vec![part],
            details: Json::parse("[1]".to_owned()).ok(),
            calls: vec![
                (CallName::new("call_1", "f", "{}"), Some("signed".to_owned())),
                (CallName::new("call_2", "f", r#"{"a":1}"#), None),
            ],
            signatures: vec![CallName::of_signature("proof")],
        };
        assert_eq!(Proofs::read(&proofs.write()), Some(proofs));
        assert_eq!(Proofs::read(b"{}"), None);
    }
}
