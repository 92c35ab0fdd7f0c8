//! Hears of changes of keys, projects and settings that any process makes.

use sqlx::postgres::PgListener;

/// Notices of changes. What it says is only that there is something to read again: whoever misses one reads at the next look.
pub struct Changes(pub(crate) Option<PgListener>);

impl Changes {
    /// Waits for the next change. With SQLite, which tells nobody, it waits for ever; an error says that the connection is
    /// lost.
    pub async fn next(&mut self) -> Result<(), crate::StoreError> {
        let Some(listener) = &mut self.0 else { return std::future::pending().await };
        match listener.try_recv().await? {
            Some(_) => Ok(()),
            None => Err(crate::StoreError::Away),
        }
    }
}
