//! Who is signed in to the dashboard. The token itself is stored nowhere: the id is its hash.

/// A session of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// The hash of the token that the browser holds.
    pub id: String,
    /// Who it is, for people.
    pub name: String,
    /// Who it is, for the gateway: a session ends when its subject loses its rights.
    pub subject: String,
    /// How they signed in: `key`, `code` or `oidc`.
    pub means: String,
    /// What they may do: `viewer` or `admin`.
    pub role: String,
    /// Where they signed in from.
    pub address: String,
    /// Since when, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Until when.
    pub expires_at_ms: i64,
}

pub(crate) type Row = (String, String, String, String, String, String, i64, i64);

pub(crate) fn from_row(row: Row) -> ConsoleSession {
    let (id, name, subject, means, role, address, created_at_ms, expires_at_ms) = row;
    ConsoleSession { id, name, subject, means, role, address, created_at_ms, expires_at_ms }
}

pub(crate) const INSERT: &str = "INSERT INTO console_sessions
    (id, name, subject, means, role, address, created_at_ms, expires_at_ms)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
pub(crate) const SELECT_ONE: &str =
    "SELECT id, name, subject, means, role, address, created_at_ms, expires_at_ms
    FROM console_sessions WHERE id = $1 AND expires_at_ms > $2";
pub(crate) const SELECT: &str = "SELECT id, name, subject, means, role, address, created_at_ms, expires_at_ms
    FROM console_sessions WHERE expires_at_ms > $1 ORDER BY created_at_ms DESC, id LIMIT 500";
pub(crate) const DELETE: &str = "DELETE FROM console_sessions WHERE id = $1";
pub(crate) const EXPIRE: &str = "DELETE FROM console_sessions WHERE expires_at_ms <= $1";
