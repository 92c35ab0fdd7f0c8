//! Projects and the audit log.

/// The default project of keys.
pub const DEFAULT_PROJECT: &str = "default";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Names it in configuration, records and commands.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// Its policy, as JSON, which the store does not parse.
    pub policy: String,
    /// Grows with every change.
    pub version: i64,
    /// When it was made, in milliseconds since 1970.
    pub created_at_ms: i64,
    /// Since when its keys are refused.
    pub disabled_at_ms: Option<i64>,
}

/// The result of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    Done,
    /// The object does not exist.
    Absent,
    /// It was changed after it was read.
    Changed,
    /// The name is already used.
    Exists,
}

/// An entry for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The actor: `key:ID`, or `cli:USER`.
    pub actor: String,
    /// The action: `project.create`, `key.revoke` …
    pub action: &'static str,
    /// The object: `project:ID` or `key:ID`.
    pub target: String,
    /// More, as JSON. Never a secret.
    pub detail: String,
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    pub actor: String,
    pub action: String,
    pub target: String,
    /// More, as JSON.
    pub detail: String,
}

pub(crate) type Row = (String, String, String, i64, i64, Option<i64>);

pub(crate) const SELECT: &str =
    "SELECT id, name, policy, version, created_at_ms, disabled_at_ms FROM projects
    WHERE id > $1 ORDER BY id LIMIT $2";
pub(crate) const SELECT_ONE: &str =
    "SELECT id, name, policy, version, created_at_ms, disabled_at_ms FROM projects WHERE id = $1";
/// Those that changed after a marker.
pub(crate) const CHANGED: &str =
    "SELECT id, name, policy, version, created_at_ms, disabled_at_ms FROM projects
    WHERE id IN (SELECT substr(target, 9) FROM changes WHERE revision > $1 AND target LIKE 'project:%')";
pub(crate) const INSERT: &str = "INSERT INTO projects (id, name, policy, version, created_at_ms)
    VALUES ($1, $2, $3, 1, $4) ON CONFLICT DO NOTHING";
pub(crate) const UPDATE: &str =
    "UPDATE projects SET name = $1, policy = $2, disabled_at_ms = $3, version = version + 1
    WHERE id = $4 AND version = $5";
pub(crate) const DELETE: &str = "DELETE FROM projects WHERE id = $1 AND version = $2
    AND NOT EXISTS (SELECT 1 FROM api_keys WHERE project_id = $1 AND revoked_at_ms IS NULL)";
pub(crate) const AUDIT: &str =
    "INSERT INTO audit_log (at_ms, actor, action, target, detail) VALUES ($1, $2, $3, $4, $5)";
pub(crate) const AUDITED: &str = "SELECT id, at_ms, actor, action, target, detail FROM audit_log
    WHERE id < $1 ORDER BY id DESC LIMIT $2";

pub(crate) type AuditedRow = (i64, i64, String, String, String, String);

pub(crate) fn from_row((id, name, policy, version, created_at_ms, disabled_at_ms): Row) -> Project {
    Project { id, name, policy, version, created_at_ms, disabled_at_ms }
}

pub(crate) fn audited((id, at_ms, actor, action, target, detail): AuditedRow) -> AuditRow {
    AuditRow { id, at_ms, actor, action, target, detail }
}

/// Settings with the times at which the caches of projects were purged: this and the project's id.
const PURGED: &str = "cache_purged:";

/// The name of the setting of a project.
pub(crate) fn purged(id: &str) -> String {
    format!("{PURGED}{id}")
}

/// The project's id of such a setting.
pub(crate) fn purged_project(name: &str) -> Option<&str> {
    name.strip_prefix(PURGED)
}

pub(crate) const PURGE: &str = "INSERT INTO settings (name, value) VALUES ($1, $2)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value";
/// Up to the character after the colon.
pub(crate) const PURGES: &str = "SELECT name, CAST(value AS BIGINT) FROM settings WHERE name >= 'cache_purged:' AND name < 'cache_purged;'";
