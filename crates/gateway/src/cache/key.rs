//! Which requests are equal.

use wire::replay::canonical_request;
use wire::{Headers, Protocol, Written};

/// Raised when the meaning of stored answers or of keys changes.
const FORM: &[u8] = b"llmgateway response 2";

/// A request to a provider, for one project: equal ones have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(blake3::Hash);

/// The parts of a key.
pub struct KeyParts<'a> {
    /// The caller's project.
    pub project: &'a str,
    /// When its answers were purged last.
    pub purged_at: i64,
    /// The provider.
    pub provider: &'a str,
    /// The model, as sent to the provider.
    pub model: &'a str,
    /// The format of the request.
    pub protocol: Protocol,
    /// The request.
    pub written: &'a Written,
}

impl Key {
    /// The key of a request. Each part is hashed with its length, so that different requests cannot have the
    /// same input.
    pub fn of(parts: &KeyParts<'_>) -> Self {
        let KeyParts { project, purged_at, provider, model, protocol, written } = parts;
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(FORM);
        part(&purged_at.to_le_bytes());
        for text in [project, provider, model, &protocol.as_str()] {
            part(text.as_bytes());
        }
        for (name, value) in sorted(&written.headers) {
            part(name.as_bytes());
            part(value);
        }
        part(&canonical_request(&written.body));
        Self(hasher.finalize())
    }

    /// As text.
    pub fn hex(&self) -> String {
        self.0.to_hex().to_string()
    }
}

fn sorted(headers: &Headers) -> Vec<(&str, &[u8])> {
    let mut headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    headers.sort_unstable();
    headers
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use canon::Losses;
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn written(body: &'static str) -> Written {
        Written {
            body: Bytes::from_static(body.as_bytes()),
            decoding: Default::default(),
            losses: Losses::new(),
            caller_losses: Losses::new(),
            headers: Headers::new(),
        }
    }

    fn key(project: &str, provider: &str, model: &str, written: &Written) -> Key {
        purged(project, 0, (provider, model, written))
    }

    fn purged(project: &str, purged_at: i64, (provider, model, written): (&str, &str, &Written)) -> Key {
        Key::of(&KeyParts { project, purged_at, provider, model, protocol: Protocol::OpenaiChat, written })
    }

    #[test]
    fn only_an_equal_request_of_the_same_project_has_the_same_key() {
        let one = written(r#"{"messages":[],"stream":true}"#);
        let same = key("a", "p", "m", &one);
        assert_eq!(same, key("a", "p", "m", &written(r#"{ "messages": [] }"#)));
        let mut with_header = written(r#"{"messages":[]}"#);
        let beta = (HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("x"));
        with_header.headers.push(beta);
        let others = [
            key("b", "p", "m", &one),
            purged("a", 1, ("p", "m", &one)),
            key("a", "q", "m", &one),
            key("a", "p", "n", &one),
            key("ap", "", "m", &one),
            key("a", "pm", "", &one),
            key("a", "p", "m", &with_header),
            key("a", "p", "m", &written(r#"{"messages":[1]}"#)),
        ];
        assert!(others.iter().all(|other| *other != same));
        assert_eq!(same.hex().len(), 64);
    }
}
