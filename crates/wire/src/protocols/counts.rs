//! Token counts as providers write them.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// An impossible count: sums of a few of them do not overflow, and [`canon::Usage::is_plausible`] refuses the
/// whole.
pub(crate) const IMPOSSIBLE: u64 = 1 << 48;

/// A count that some hosts write as a fraction, as text or as null. A negative value, or one that is not a
/// number, is impossible: read as zero it would lower the cost.
pub(crate) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    Ok(Option::<Value>::deserialize(deserializer)?.as_ref().and_then(count_of))
}

/// See [`count`].
pub(crate) fn count_of(value: &Value) -> Option<u64> {
    let count = match value {
        Value::Null => return None,
        Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
        Value::String(text) => text.trim().parse().ok().and_then(whole),
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    Some(count.unwrap_or(IMPOSSIBLE).min(IMPOSSIBLE))
}

/// The count of a fraction.
pub(super) fn whole(count: f64) -> Option<u64> {
    (count >= 0.0).then_some(count as u64)
}
