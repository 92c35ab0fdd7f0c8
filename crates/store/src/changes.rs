//! Notifications of changes of keys, projects and settings by any process.

use sqlx::postgres::PgListener;

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
