//! Decides which requests are equal.

use wire::Headers;
use wire::replay::canonical_request;

/// Raised when the meaning of stored answers or of keys changes.
const FORM: &[u8] = b"llmgateway response 3";

/// A request to a provider, for one project: equal ones have the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key(blake3::Hash);

pub struct KeyParts<'a> {
    /// The caller's project.
    pub project: &'a str,
    /// When its answers were purged last.
    pub purged_at: i64,
    pub provider: &'a str,
    /// The model, as sent to the provider.
    pub model: &'a str,
    /// The format of the request, or the operation of an endpoint without a conversation.
    pub format: &'a str,
    /// The request: one, or the parts that it is split into.
    pub sent: &'a [Sent<'a>],
}

/// A request as it is sent to the provider.
pub struct Sent<'a> {
    /// Below the base URL; empty where the format determines it.
    pub path: &'a str,
    /// Besides those of every request.
    pub headers: &'a Headers,
    /// The body.
    pub body: &'a [u8],
}

impl Key {
    /// The key of a request. Each part is hashed with its length, so that different requests cannot have the
    /// same input.
    pub fn of(parts: &KeyParts<'_>) -> Self {
        let KeyParts { project, purged_at, provider, model, format, sent } = parts;
        let mut hasher = blake3::Hasher::new();
        let mut part = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        };
        part(FORM);
        part(&purged_at.to_le_bytes());
        for text in [project, provider, model, format] {
            part(text.as_bytes());
        }
        for Sent { path, headers, body } in *sent {
            part(path.as_bytes());
            part(&headers.len().to_le_bytes());
            for (name, value) in sorted(headers) {
                part(name.as_bytes());
                part(value);
            }
            part(&canonical_request(body));
        }
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
    use http::{HeaderName, HeaderValue};

    use super::*;

    static NO_HEADERS: Headers = Headers::new();

    fn sent(body: &str) -> [Sent<'_>; 1] {
        [Sent { path: "", headers: &NO_HEADERS, body: body.as_bytes() }]
    }

    fn key(project: &str, provider: &str, model: &str, sent: &[Sent<'_>]) -> Key {
        purged(project, 0, (provider, model, sent))
    }

    fn purged(project: &str, purged_at: i64, (provider, model, sent): (&str, &str, &[Sent<'_>])) -> Key {
        Key::of(&KeyParts { project, purged_at, provider, model, format: "openai-chat", sent })
    }

    #[test]
    fn only_an_equal_request_of_the_same_project_has_the_same_key() {
        let one = sent(r#"{"messages":[],"stream":true}"#);
        let same = key("a", "p", "m", &one);
        assert_eq!(same, key("a", "p", "m", &sent(r#"{ "messages": [] }"#)));
        let beta = vec![(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("x"))];
        let body: &[u8] = br#"{"messages":[]}"#;
        let plain = || Sent { path: "", headers: &NO_HEADERS, body };
        let with_header = [Sent { headers: &beta, ..plain() }];
        let with_path = [Sent { path: "/embed", ..plain() }];
        let of_endpoint = KeyParts {
            project: "a",
            purged_at: 0,
            provider: "p",
            model: "m",
            format: "embeddings",
            sent: &one,
        };
        let others = [
            key("b", "p", "m", &one),
            purged("a", 1, ("p", "m", &one)),
            key("a", "q", "m", &one),
            key("a", "p", "n", &one),
            key("ap", "", "m", &one),
            key("a", "pm", "", &one),
            key("a", "p", "m", &with_header),
            key("a", "p", "m", &with_path),
            key("a", "p", "m", &[plain(), plain()]),
            Key::of(&of_endpoint),
            key("a", "p", "m", &sent(r#"{"messages":[1]}"#)),
        ];
        assert!(others.iter().all(|other| *other != same));
        assert_eq!(same.hex().len(), 64);
    }
}
