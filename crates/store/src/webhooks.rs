//! Deliveries to webhooks.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names what happened: the same event is sent once to the same address.
    pub event: String,
    /// Names the address.
    pub endpoint: String,
    pub body: String,
    /// When it was noticed, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// How often it was tried.
    pub attempts: i64,
}

pub(crate) type Row = (String, String, String, i64, i64);

pub(crate) fn from_row((event, endpoint, body, created_at_ms, attempts): Row) -> Delivery {
    Delivery { event, endpoint, body, created_at_ms, attempts }
}

pub(crate) const INSERT: &str =
    "INSERT INTO webhook_deliveries (event, endpoint, body, created_at_ms, attempts, next_at_ms)
    VALUES ($1, $2, $3, $4, 0, $4) ON CONFLICT DO NOTHING";

/// Takes due deliveries, and schedules the next attempt in case that no result is reported. The time is
/// checked twice because another node may take the row between the two.
pub(crate) const TAKE: &str = "UPDATE webhook_deliveries SET next_at_ms = $2, attempts = attempts + 1
    WHERE next_at_ms <= $1 AND (event, endpoint) IN
        (SELECT event, endpoint FROM webhook_deliveries WHERE next_at_ms <= $1 ORDER BY next_at_ms LIMIT $3)
    RETURNING event, endpoint, body, created_at_ms, attempts";

pub(crate) const PUT_OFF: &str =
    "UPDATE webhook_deliveries SET next_at_ms = $3 WHERE event = $1 AND endpoint = $2";

pub(crate) const FORGET: &str =
    "DELETE FROM webhook_deliveries WHERE created_at_ms < $1 AND next_at_ms IS NULL AND event NOT LIKE $2";
