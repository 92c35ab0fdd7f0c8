//! Clients that need answers in a different form: `catalog/clients.toml`.

use std::sync::LazyLock;

use serde::Deserialize;

const FILE: &str = include_str!("../../../catalog/clients.toml");

static CLIENTS: LazyLock<Clients> = LazyLock::new(|| toml::from_str(FILE).unwrap_or_default());

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clients {
    strict: Vec<Strict>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    user_agent: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people who read the file"))]
    source: String,
}

/// Whether the client with this `User-Agent` refuses answers whose `metadata` is more than a map of strings.
pub fn is_strict(user_agent: &[u8]) -> bool {
    CLIENTS.strict.iter().any(|client| user_agent.starts_with(client.user_agent.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strict_clients_are_recognised_by_their_user_agent() {
        let clients: Clients = toml::from_str(FILE).unwrap();
        assert!(clients.strict.iter().all(|client| client.user_agent.len() > 3 && !client.source.is_empty()));
        assert!(is_strict(b"pydantic-ai/2.68.0"));
        assert!(!is_strict(b"OpenAI/Python 2.1.0"));
        assert!(!is_strict(b""));
    }
}
