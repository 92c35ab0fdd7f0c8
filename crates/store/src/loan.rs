//! Connections of a pool, on loan.

use sqlx::pool::PoolConnection;
use sqlx::{Database, Pool, Postgres, Sqlite};

use crate::StoreError;

/// A connection that returns to its pool only after success. One that had an error, or whose user was dropped
/// in between, may be in an open transaction: SQLite itself rolls back when the disk is full, sqlx then fails
/// to, and every later "transaction" is a savepoint within one that is never committed. It is closed, which
/// rolls back.
pub(crate) struct Loan<D: Loaned> {
    connection: PoolConnection<D>,
    /// Closing it deletes its database.
    holds_data: bool,
    settled: bool,
}

/// A database whose connections are lent.
pub(crate) trait Loaned: Database {
    /// True for a database that lives in its connection.
    fn lives_in_connection(_pool: &Pool<Self>) -> bool {
        false
    }
}

impl Loaned for Postgres {}

impl Loaned for Sqlite {
    fn lives_in_connection(pool: &Pool<Self>) -> bool {
        pool.options().get_max_connections() == 1
    }
}

impl<D: Loaned> Loan<D> {
    pub(crate) async fn of(pool: &Pool<D>) -> Result<Self, StoreError> {
        let holds_data = D::lives_in_connection(pool);
        Ok(Self { connection: pool.acquire().await?, holds_data, settled: false })
    }

    pub(crate) fn connection(&mut self) -> &mut D::Connection {
        &mut self.connection
    }

    /// The result of its use.
    pub(crate) fn settle<T, E>(mut self, result: Result<T, E>) -> Result<T, E> {
        self.settled = result.is_ok();
        result
    }
}

impl<D: Loaned> Drop for Loan<D> {
    fn drop(&mut self) {
        if !self.settled && !self.holds_data {
            self.connection.close_on_drop();
        }
    }
}
