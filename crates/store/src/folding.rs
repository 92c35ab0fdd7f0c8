//! Folds sums of new records into the tables of hours and days, and adds the records of an earlier release.
//!
//! Policy: sums that the tables refuse (an unreadable row, an overflow) do not delay others. A failed step is
//! retried with half as many rows, down to the faulty row. That row is moved to `usage_unfolded` with the
//! reason, counted, and named in the log; the records themselves stay. Nothing is moved when the tables
//! accept no sums at all: the database is then at fault.

use std::mem;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use sqlx::Connection;

use crate::error::RejectedSums;
use crate::facts::Facts;
use crate::loan::Loan;
use crate::params::bound;
use crate::rollups::{Hours, Rollups};
use crate::store::{Pool, SLOW, corrupt, on_either};
use crate::{Store, StoreError, postgres, sqlite, tags};

/// The time from which on all records are in the sums, while those of an earlier release are added.
const INDEXED_FROM: &str = "usage_indexed_from";

/// How many rows of sums are folded in one transaction.
const FOLDED_AT_ONCE: usize = 1_000;

/// Sums the values of tags that exceed the limit together. The table is read in the transaction that writes it.
macro_rules! limit_tags {
    ($transaction:ident, $hours:expr) => {
        let mut known = tags::KnownTags::new();
        for place in $hours.tags.places() {
            let values = sqlx::query_as(tags::VALUES)
                .bind(place.0)
                .bind(&place.1)
                .fetch_all(&mut *$transaction)
                .await?;
            known.insert(place, values);
        }
        $hours.tags.limit(known);
    };
}

/// One step of [`Store::index_old_usage`] within a transaction: whether there are more. The setting is read and written in it, and
/// locked, so that each record is added once, however many processes run.
macro_rules! index_step {
    ($transaction:ident, $lock:literal, ($most:expr, $skips:expr)) => {{
        let from: Option<String> =
            sqlx::query_scalar(concat!("SELECT value FROM settings WHERE name = $1", $lock))
                .bind(INDEXED_FROM)
                .fetch_optional(&mut *$transaction)
                .await?;
        let from: Option<i64> = from.and_then(|from| from.parse().ok());
        match from {
            None => false,
            Some(from) => {
                let to: Option<i64> = sqlx::query_scalar(
                    "SELECT started_at_ms FROM usage_records WHERE started_at_ms < $1
                    ORDER BY started_at_ms DESC LIMIT 1 OFFSET $2",
                )
                .bind(from)
                .bind(i64::from($most))
                .fetch_optional(&mut *$transaction)
                .await?;
                let records: Vec<String> = sqlx::query_scalar(
                    "SELECT CAST(record AS TEXT) FROM usage_records
                    WHERE started_at_ms >= $1 AND started_at_ms < $2 AND indexed IS NULL",
                )
                .bind(to.unwrap_or(i64::MIN))
                .bind(from)
                .fetch_all(&mut *$transaction)
                .await?;
                let mut rollups = Rollups::default();
                // A record that is none is left out, as everywhere.
                for facts in records.iter().filter(|_| !$skips).filter_map(|record| Facts::of(record).ok()) {
                    rollups.add(&facts);
                }
                limit_tags!($transaction, rollups.hours);
                for (sql, params) in rollups.folded() {
                    bound!(sqlx::query(sql), params).execute(&mut *$transaction).await?;
                }
                let sql = match to {
                    Some(_) => "UPDATE settings SET value = $2 WHERE name = $1",
                    None => "DELETE FROM settings WHERE name = $1 AND value <> $2",
                };
                sqlx::query(sql)
                    .bind(INDEXED_FROM)
                    .bind(to.map(|to| to.to_string()).unwrap_or_default())
                    .execute(&mut *$transaction)
                    .await?;
                to.is_some()
            }
        }
    }};
}

/// Runs a step in a transaction of either database. PostgreSQL has a limited time for it: a connection that a firewall forgot
/// would wait for ever, and the writer with it.
macro_rules! in_transaction {
    ($store:expr, $transaction:ident => { sqlite: $sqlite:expr, postgres: $postgres:expr, }) => {
        match &$store.pool {
            Pool::Sqlite(database) => {
                let mut loan = database.connection().await?;
                let step = async {
                    let mut $transaction = loan.connection().begin_with(sqlite::BEGIN).await?;
                    let has_more = $sqlite;
                    $transaction.commit().await?;
                    Ok(has_more)
                };
                let result: Result<bool, StoreError> = step.await;
                loan.settle(result)
            }
            Pool::Postgres(pool) => {
                let mut loan = Loan::of(pool).await?;
                let step = async {
                    let mut $transaction = loan.connection().begin().await?;
                    let result: Result<bool, StoreError> = async { Ok($postgres) }.await;
                    // The next step passes over rows that are locked still, as they are until the server hears of the end.
                    match result {
                        Ok(_) => $transaction.commit().await?,
                        Err(_) => $transaction.rollback().await?,
                    }
                    result
                };
                let result = tokio::time::timeout(postgres::STEP_TIMEOUT, step).await;
                let result: Result<bool, StoreError> = result.unwrap_or(Err(StoreError::Away));
                loan.settle(result)
            }
        }
    };
}

/// One step of [`Store::fold_usage`] within a transaction; it leaves the ids of the rows in `$ids`.
macro_rules! fold_step {
    ($transaction:ident, $lock:literal, ($ids:ident, $most:expr)) => {{
        let pending: Vec<(i64, String, Option<String>)> = sqlx::query_as(concat!(
            "DELETE FROM usage_pending WHERE id IN (SELECT id FROM usage_pending ORDER BY id LIMIT $1",
            $lock,
            ") RETURNING id, sums, tags"
        ))
        .bind($most as i64)
        .fetch_all(&mut *$transaction)
        .await?;
        $ids.extend(pending.iter().map(|(id, ..)| *id));
        let mut hours = Hours::default();
        for (_, json, tags) in &pending {
            hours.add_pending(json, tags.as_deref())?;
        }
        limit_tags!($transaction, hours);
        for (sql, params) in hours.fold() {
            bound!(sqlx::query(sql), params).execute(&mut *$transaction).await?;
        }
        true
    }};
}

impl Store {
    /// Folds the sums of new records into the tables of hours and days, once there are so many bytes of them, or it is not known how
    /// many.
    pub async fn fold_usage(&self, from_bytes: u64) -> Result<(), StoreError> {
        if self.pending_bytes.load(Ordering::Relaxed) < from_bytes {
            return Ok(());
        }
        let bytes = self.pending_bytes.swap(0, Ordering::Relaxed);
        let result = self.fold_pending().await;
        if result.is_err() {
            self.pending_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        result
    }

    async fn fold_pending(&self) -> Result<(), StoreError> {
        let mut most = FOLDED_AT_ONCE;
        loop {
            let mut ids = Vec::new();
            match (self.fold_some(most, &mut ids).await, ids.as_slice()) {
                (Ok(_), ids) if ids.len() < most => return Ok(()),
                (Ok(_), _) => most = (most * 2).min(FOLDED_AT_ONCE),
                (Err(error), []) => return Err(error),
                (Err(error), _) if !error.is_about_the_data() => return Err(error),
                (Err(error), [id]) => {
                    self.takes_sums().await?;
                    self.set_row_aside(*id, &error).await?;
                    most = 1;
                }
                (Err(_), ids) => most = ids.len() / 2,
            }
        }
    }

    async fn fold_some(&self, most: usize, ids: &mut Vec<i64>) -> Result<bool, StoreError> {
        in_transaction!(self, transaction => {
            sqlite: fold_step!(transaction, "", (ids, most)),
            postgres: fold_step!(transaction, " FOR UPDATE SKIP LOCKED", (ids, most)),
        })
    }

    /// Tests whether the tables accept writes: adds empty sums and rolls back.
    async fn takes_sums(&self) -> Result<(), StoreError> {
        let statements = Hours::nothing().fold();
        on_either!(self, SLOW, connection => {
            let mut transaction = connection.begin().await?;
            for (sql, params) in &statements {
                bound!(sqlx::query(*sql), params).execute(&mut *transaction).await?;
            }
            transaction.rollback().await
        })
    }

    async fn set_row_aside(&self, id: i64, error: &StoreError) -> Result<(), StoreError> {
        let reason = error.to_string();
        let kept: Option<i64> = on_either!(self, SLOW, connection => {
            let mut transaction = connection.begin().await?;
            let kept = sqlx::query_scalar("INSERT INTO usage_unfolded (sums, tags, reason)
                SELECT sums, tags, $2 FROM usage_pending WHERE id = $1 RETURNING id")
                .bind(id)
                .bind(&reason)
                .fetch_optional(&mut *transaction)
                .await?;
            let deleted =
                sqlx::query("DELETE FROM usage_pending WHERE id = $1").bind(id).execute(&mut *transaction).await?;
            // Another process had it in between.
            if deleted.rows_affected() == 0 {
                transaction.rollback().await?;
                return Ok(None);
            }
            transaction.commit().await?;
            Ok(kept)
        })?;
        if let Some(kept) = kept {
            self.note_set_aside(format!("row {kept} of usage_unfolded"), reason);
        }
        Ok(())
    }

    fn note_set_aside(&self, what: String, error: String) {
        self.set_aside.lock().unwrap_or_else(PoisonError::into_inner).push(RejectedSums { what, error });
    }

    /// What was set aside since this was asked last.
    pub(crate) fn take_set_aside(&self) -> Vec<RejectedSums> {
        mem::take(&mut self.set_aside.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// While the records of an earlier release are added to the sums: from this time on, in milliseconds since 1970, all are in
    /// them. None once all are.
    pub async fn usage_indexed_from(&self) -> Result<Option<i64>, StoreError> {
        if self.is_indexed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let from = self.setting(INDEXED_FROM).await?;
        if from.is_none() {
            self.is_indexed.store(true, Ordering::Relaxed);
        }
        from.map(|from| from.parse().map_err(|error| corrupt("state of the sums", error))).transpose()
    }

    /// Adds some of the records of an earlier release to the sums, about so many, the newest first. False when there are no more.
    pub async fn index_old_usage(&self, most: u32) -> Result<bool, StoreError> {
        let mut most = most;
        loop {
            let Some(from) = self.usage_indexed_from().await? else { return Ok(false) };
            match self.index_some(most, false).await {
                Err(error) if !error.is_about_the_data() => return Err(error),
                Err(_) if most > 1 => most /= 2,
                Err(error) => {
                    self.takes_sums().await?;
                    let has_more = self.index_some(1, true).await?;
                    let to = self.usage_indexed_from().await?.unwrap_or(i64::MIN);
                    let what = format!("usage_records from {to} to before {from} (started_at_ms)");
                    self.note_set_aside(what, error.to_string());
                    return Ok(has_more);
                }
                Ok(has_more) => return Ok(has_more),
            }
        }
    }

    async fn index_some(&self, most: u32, skips: bool) -> Result<bool, StoreError> {
        in_transaction!(self, transaction => {
            sqlite: index_step!(transaction, "", (most, skips)),
            postgres: index_step!(transaction, " FOR UPDATE", (most, skips)),
        })
    }
}
