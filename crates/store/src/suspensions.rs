//! Suspensions by administrators.

use crate::projects::Audit;

/// A provider that gets no requests for a while, or one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    pub provider: String,
    /// The label of the key; none when the whole provider is suspended.
    pub key: Option<String>,
    /// The reason, for people.
    pub reason: String,
    pub actor: String,
    /// Since when, in milliseconds since 1970.
    pub since_ms: i64,
    /// The end; none until it is ended by hand.
    pub until_ms: Option<i64>,
}

/// The longest reason, in bytes.
const REASON_BYTES: usize = 500;
/// The longest suspension that ends by itself, in seconds: a leap year.
const MOST_SECONDS: i64 = 366 * 24 * 3600;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSuspension {
    pub provider: String,
    /// The label of the key; none for all of the provider.
    pub key: Option<String>,
    pub reason: String,
    /// For how long; none: until somebody ends it.
    pub seconds: Option<i64>,
}

/// The mistake in a requested suspension: the field, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidSuspension {
    /// `reason`, `seconds`.
    pub field: &'static str,
    /// A whole sentence.
    pub message: String,
}

impl NewSuspension {
    /// The suspension from now on, with its entry in the audit log: the same limits for the API, the dashboard and the command line.
    pub fn begin(self, actor: &str, now_ms: i64) -> Result<(Suspension, Audit), InvalidSuspension> {
        let wrong = |field, message: String| Err(InvalidSuspension { field, message });
        if self.reason.len() > REASON_BYTES {
            return wrong("reason", format!("The reason may have at most {REASON_BYTES} bytes."));
        }
        if self.reason.contains('\0') {
            return wrong("reason", "The reason contains the character U+0000.".to_owned());
        }
        if self.seconds.is_some_and(|seconds| !(1..=MOST_SECONDS).contains(&seconds)) {
            let message =
                format!("A suspension lasts from 1 to {MOST_SECONDS} seconds (366 days), or has no end.");
            return wrong("seconds", message);
        }
        let audit = Audit {
            actor: actor.to_owned(),
            action: "routing.suspend",
            target: Suspension::target(&self.provider, self.key.as_deref()),
            detail: serde_json::json!({"reason": self.reason, "seconds": self.seconds}).to_string(),
        };
        let suspension = Suspension {
            provider: self.provider,
            key: self.key,
            reason: self.reason,
            actor: actor.to_owned(),
            since_ms: now_ms,
            until_ms: self.seconds.map(|seconds| now_ms + seconds * 1000),
        };
        Ok((suspension, audit))
    }
}

impl Suspension {
    /// The entry of the audit log for the end of a suspension.
    pub fn end(provider: &str, key: Option<&str>, actor: &str) -> Audit {
        Audit {
            actor: actor.to_owned(),
            action: "routing.suspension_end",
            target: Self::target(provider, key),
            detail: "{}".to_owned(),
        }
    }

    /// The suspended provider or key, in the audit log.
    fn target(provider: &str, key: Option<&str>) -> String {
        match key {
            Some(key) => format!("provider:{provider}/{key}"),
            None => format!("provider:{provider}"),
        }
    }

    /// Whether it is not over.
    pub fn is_active(&self, now_ms: i64) -> bool {
        self.until_ms.is_none_or(|until| until > now_ms)
    }
}

pub(crate) type Row = (String, String, String, String, i64, Option<i64>);

pub(crate) fn from_row((provider, key, reason, actor, since_ms, until_ms): Row) -> Suspension {
    Suspension { provider, key: Some(key).filter(|key| !key.is_empty()), reason, actor, since_ms, until_ms }
}

pub(crate) const UPSERT: &str = "INSERT INTO rests (provider, key, reason, actor, since_ms, until_ms)
    VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (provider, key) DO UPDATE SET reason = excluded.reason,
    actor = excluded.actor, since_ms = excluded.since_ms, until_ms = excluded.until_ms";
pub(crate) const SELECT: &str =
    "SELECT provider, key, reason, actor, since_ms, until_ms FROM rests ORDER BY provider, key";
pub(crate) const DELETE: &str = "DELETE FROM rests WHERE provider = $1 AND key = $2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_has_a_short_reason_and_ends_within_a_year_or_not_at_all() {
        let asked = |reason: usize, seconds| NewSuspension {
            provider: "mine".to_owned(),
            key: Some("key2".to_owned()),
            reason: "x".repeat(reason),
            seconds,
        };
        let (suspension, audit) = asked(500, Some(31_622_400)).begin("cli", 1_000).unwrap();
        assert_eq!((suspension.since_ms, suspension.until_ms), (1_000, Some(31_622_401_000)));
        assert_eq!((audit.target.as_str(), audit.actor.as_str()), ("provider:mine/key2", "cli"));
        assert!(audit.detail.contains("\"seconds\":31622400"), "{}", audit.detail);
        assert_eq!(asked(0, None).begin("cli", 1_000).unwrap().0.until_ms, None);
        for (reason, seconds, field) in [
            (501, None, "reason"),
            (0, Some(0), "seconds"),
            (0, Some(-5), "seconds"),
            (0, Some(31_622_401), "seconds"),
        ] {
            assert_eq!(asked(reason, seconds).begin("cli", 1_000).unwrap_err().field, field);
        }
    }
}
