//! The processes on this database: each writes a row periodically.

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Identifies the process: a new one after each start.
    pub id: String,
    pub name: String,
    pub version: String,
    /// A hash of the configuration file in force; empty without one. Consistent nodes have the same hash.
    pub config: String,
    /// When it started, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// When it last wrote the row.
    pub seen_at_ms: i64,
    /// `serving`, `draining` or `stopped`.
    pub state: String,
    /// Records that wait for the database, in bytes.
    pub spool_bytes: i64,
    /// The result of the last reload, as JSON.
    pub reload: String,
}

/// A node that was not seen for so long has ended without reporting it: four heartbeats of five seconds.
const GONE_MS: i64 = 20_000;
/// The state of a node that has reported its end.
pub const STOPPED: &str = "stopped";

impl Node {
    /// The state as of now: what the node reported, or `gone`.
    pub fn state_at(&self, now_ms: i64) -> &str {
        let is_gone = self.state != STOPPED && now_ms - self.seen_at_ms > GONE_MS;
        if is_gone { "gone" } else { &self.state }
    }
}

pub(crate) type Row = (String, String, String, String, i64, i64, String, i64, String);

pub(crate) const UPSERT: &str =
    "INSERT INTO nodes (id, name, version, config, started_at_ms, seen_at_ms, state, spool_bytes, reload)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET config = excluded.config,
    seen_at_ms = excluded.seen_at_ms, state = excluded.state, spool_bytes = excluded.spool_bytes,
    reload = excluded.reload";
pub(crate) const DELETE: &str = "DELETE FROM nodes WHERE id = $1 AND seen_at_ms < $2";
/// Zero: not seen for longer than any.
pub(crate) const FORGET: &str = "UPDATE nodes SET seen_at_ms = 0 WHERE id = $1 AND seen_at_ms < $2";
pub(crate) const SELECT: &str =
    "SELECT id, name, version, config, started_at_ms, seen_at_ms, state, spool_bytes, reload
    FROM nodes ORDER BY name, started_at_ms";

pub(crate) fn from_row(row: Row) -> Node {
    let (id, name, version, config, started_at_ms, seen_at_ms, state, spool_bytes, reload) = row;
    Node { id, name, version, config, started_at_ms, seen_at_ms, state, spool_bytes, reload }
}

/// A short hash that distinguishes texts.
pub fn fingerprint(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..12].to_owned()
}
