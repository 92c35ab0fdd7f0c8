//! What administrators have rest by hand.

/// A provider that gets no requests for a while, or one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The provider's id.
    pub provider: String,
    /// The label of the key; none when all of the provider rests.
    pub key: Option<String>,
    /// Why, for people.
    pub reason: String,
    /// Who wanted it.
    pub actor: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// Until when; none: until somebody ends it.
    pub until_ms: Option<i64>,
}

impl Rest {
    /// Whether it is not over.
    pub fn is_active(&self, now_ms: i64) -> bool {
        self.until_ms.is_none_or(|until| until > now_ms)
    }
}

pub(crate) type Row = (String, String, String, String, i64, Option<i64>);

pub(crate) fn from_row((provider, key, reason, actor, since_ms, until_ms): Row) -> Rest {
    Rest { provider, key: Some(key).filter(|key| !key.is_empty()), reason, actor, since_ms, until_ms }
}

pub(crate) const UPSERT: &str = "INSERT INTO rests (provider, key, reason, actor, since_ms, until_ms)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (provider, key) DO UPDATE SET reason = excluded.reason,
    actor = excluded.actor, since_ms = excluded.since_ms, until_ms = excluded.until_ms";
pub(crate) const SELECT: &str =
    "SELECT provider, key, reason, actor, since_ms, until_ms FROM rests ORDER BY provider, key";
pub(crate) const DELETE: &str = "DELETE FROM rests WHERE provider = $1 AND key = $2";
