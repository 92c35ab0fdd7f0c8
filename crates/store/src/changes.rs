//! Notifications of changes of keys, projects and settings by any process.

use sqlx::postgres::PgListener;

/// The setting that counts changes.
pub(crate) const MARKER: &str = "change_marker";
/// How many changes are kept. A node that is further behind reads everything again.
pub(crate) const MOST: i64 = 1000;
pub(crate) const BUMP_MARKER: &str = "UPDATE settings SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT)
    WHERE name = 'change_marker'";
pub(crate) const INSERT: &str = "INSERT INTO changes (revision, target)
    SELECT CAST(value AS BIGINT), $1 FROM settings WHERE name = 'change_marker'";
pub(crate) const DELETE_OLD: &str = "DELETE FROM changes WHERE revision <=
    (SELECT CAST(value AS BIGINT) - $1 FROM settings WHERE name = 'change_marker')";
pub(crate) const SELECT: &str =
    "SELECT target FROM changes WHERE revision > $1 AND revision <= $2 ORDER BY revision LIMIT $3";

/// Notices of changes. A notice only means that there is something to read again: a missed one is found by
/// the next check.
pub struct Changes(pub(crate) Option<PgListener>);

impl Changes {
    /// Waits for the next change. With SQLite, which sends no notifications, it never returns; an error means
    /// that the connection is lost.
    pub async fn next(&mut self) -> Result<(), crate::StoreError> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        match listener.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(crate::StoreError::Away),
        }
    }
}
