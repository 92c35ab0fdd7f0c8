//! Bodies and headers of requests, where a setting keeps them: one row per request, deleted at its expiry.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptBodies {
    /// The id of the request, which its caller may choose.
    pub request_id: String,
    /// The time of its record: it distinguishes requests with the same id.
    pub started_at_ms: i64,
    /// The expiry of the row.
    pub expires_at_ms: i64,
    /// Headers and bodies, as a JSON object.
    pub content: String,
}

/// Two requests with the same id in the same millisecond: the first one is kept.
pub(crate) const INSERT: &str =
    "INSERT INTO request_bodies (request_id, started_at_ms, expires_at_ms, content) VALUES ($1, $2, $3, $4)
    ON CONFLICT DO NOTHING";

pub(crate) const SELECT: &str = "SELECT content FROM request_bodies
    WHERE request_id = $1 AND started_at_ms = $2 AND expires_at_ms > $3";

pub(crate) const DELETE_EXPIRED: &str = "DELETE FROM request_bodies WHERE (request_id, started_at_ms) IN (
    SELECT request_id, started_at_ms FROM request_bodies WHERE expires_at_ms <= $1
    ORDER BY expires_at_ms LIMIT $2)";
