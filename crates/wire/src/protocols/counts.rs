//! Token counts as providers write them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An impossible count: sums of a few of them do not overflow, and [`canon::Usage::is_plausible`] refuses the
/// whole.
const IMPOSSIBLE: u64 = 1 << 48;

/// A count that some hosts write as a fraction, as text or as null. A negative value, or one that is not a
/// number, is impossible: read as zero it would lower the cost.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?
        .and_then(|value| match value {
            Value::Null => None,
            Value::Number(number) => {
                Some(number.as_u64().or_else(|| whole(number.as_f64()?)).unwrap_or(IMPOSSIBLE))
            }
            Value::String(text) => Some(text.trim().parse().ok().and_then(whole).unwrap_or(IMPOSSIBLE)),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => Some(IMPOSSIBLE),
        })
        .map(|count| count.min(IMPOSSIBLE)))
}

/// The count of a fraction.
pub(super) fn whole(count: f64) -> Option<u64> {
    (count >= 0.0).then_some(count as u64)
}
