//! Sessions of the dashboard. The token itself is not stored: the id is its hash.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleSession {
    /// The hash of the token that the browser holds.
    pub id: String,
    pub name: String,
    /// The subject for the gateway: a session ends when its subject loses its rights.
    pub subject: String,
    /// The means of sign-in: `key`, `code` or `oidc`.
    pub means: String,
    /// The rights: `viewer` or `admin`.
    pub role: String,
    /// The address of the sign-in.
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
