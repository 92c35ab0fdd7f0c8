//! Deletes old usage records, and sums by tag; the other sums of hours and days, and the ledger, stay.
//!
//! PostgreSQL drops whole months. SQLite has one table: it deletes a bounded number of records at a time, so that the writer never waits
//! for long.

use crate::loan::Loan;
use crate::store::{Pool, SLOW, on_either, within};
use crate::times::DAY_MS;
use crate::{Store, StoreError, tags};

/// When a process last began to delete old records.
const EXPIRED_AT: &str = "usage_expired_at_ms";

/// A time in the future is one of a clock that was wrong.
const CLAIM: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value
    WHERE CAST(settings.value AS BIGINT) <= $3 OR CAST(settings.value AS BIGINT) > $4";

const DELETE: &str = "DELETE FROM usage_records WHERE (started_at_ms, request_id, nonce) IN (
    SELECT started_at_ms, request_id, nonce FROM usage_records WHERE started_at_ms < $1 ORDER BY started_at_ms LIMIT $2)";

const OLDEST: &str = "SELECT started_at_ms FROM usage_records ORDER BY started_at_ms LIMIT 1";

/// The last of so many entries after a place.
const LAST_LOOKUP: &str = "SELECT kind, value, started_at_ms, nonce FROM usage_lookup
    WHERE (kind, value, started_at_ms, nonce) > ($1, $2, $3, $4)
    ORDER BY kind, value, started_at_ms, nonce LIMIT 1 OFFSET $5";
const DELETE_LOOKUPS: &str =
    "DELETE FROM usage_lookup WHERE (kind, value, started_at_ms, nonce) > ($1, $2, $3, $4)
    AND (kind, value, started_at_ms, nonce) <= ($5, $6, $7, $8) AND started_at_ms < $9";
const DELETE_LAST_LOOKUPS: &str =
    "DELETE FROM usage_lookup WHERE (kind, value, started_at_ms, nonce) > ($1, $2, $3, $4)
    AND started_at_ms < $5";

/// The result of one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Months that were dropped with all their records.
    pub months: u64,
    /// Records that were deleted one by one.
    pub records: u64,
    /// There may be more.
    pub has_more: bool,
}

/// A place among the entries by which single requests are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupPlace {
    kind: String,
    value: String,
    started_at_ms: i64,
    nonce: i64,
}

impl Store {
    /// Whether this process is the one that deletes old records now: true for one process, unless another began after a time.
    pub async fn claim_usage_expiry(&self, now_ms: i64, unless_after_ms: i64) -> Result<bool, StoreError> {
        on_either!(self, SLOW, connection => sqlx::query(CLAIM)
            .bind(EXPIRED_AT)
            .bind(now_ms.to_string())
            .bind(unless_after_ms)
            .bind(now_ms)
            .execute(connection)
            .await
            .map(|result| result.rows_affected() > 0))
    }

    /// Deletes records of requests that began before a time: at most so many on SQLite, and on PostgreSQL the months that ended before it.
    pub async fn expire_usage(&self, before_ms: i64, most: u32) -> Result<Expired, StoreError> {
        // A record of an earlier release that is not in the sums yet would never be. The writer adds them.
        if self.usage_indexed_from().await?.is_some() {
            return Ok(Expired::default());
        }
        if let Pool::Postgres(pool) = &self.pool {
            let mut loan = Loan::of(pool).await?;
            let drop = sqlx::query_scalar("SELECT llmgateway_drop_usage_months($1)").bind(before_ms);
            let dropped = within(SLOW, drop.fetch_one(loan.connection())).await;
            let months: i64 = loan.settle(dropped)?;
            self.months.forget();
            return Ok(Expired { months: months.unsigned_abs(), ..Expired::default() });
        }
        let records = self.delete_slice(DELETE, before_ms, most).await?;
        Ok(Expired { records, has_more: records >= u64::from(most), ..Expired::default() })
    }

    /// Deletes sums by tag of days that ended before a time, at most so many; returns how many.
    pub async fn expire_tag_sums(&self, before_ms: i64, most: u32) -> Result<u64, StoreError> {
        self.delete_slice(tags::DELETE_EXPIRED, before_ms.div_euclid(DAY_MS), most).await
    }

    /// Deletes entries that lead to no record any more, of so many after a place. Returns where to continue; none at the end.
    pub async fn expire_usage_lookups(
        &self,
        before_ms: i64,
        after: &LookupPlace,
        most: u32,
    ) -> Result<Option<LookupPlace>, StoreError> {
        type Row = (String, String, i64, i64);
        let (last, before_ms): (Option<Row>, i64) = on_either!(self, SLOW, connection => {
            let last = sqlx::query_as(LAST_LOOKUP)
                .bind(&after.kind)
                .bind(&after.value)
                .bind(after.started_at_ms)
                .bind(after.nonce)
                .bind(i64::from(most.saturating_sub(1)))
                .fetch_optional(&mut *connection)
                .await?;
            // PostgreSQL keeps a part of a month's records for longer.
            let oldest: Option<i64> = sqlx::query_scalar(OLDEST).fetch_optional(&mut *connection).await?;
            Ok((last, oldest.map_or(before_ms, |oldest| oldest.min(before_ms))))
        })?;
        on_either!(self, SLOW, connection => {
            let delete = sqlx::query(if last.is_some() { DELETE_LOOKUPS } else { DELETE_LAST_LOOKUPS })
                .bind(&after.kind)
                .bind(&after.value)
                .bind(after.started_at_ms)
                .bind(after.nonce);
            let delete = match &last {
                Some((kind, value, started_at_ms, nonce)) => delete.bind(kind).bind(value).bind(*started_at_ms).bind(*nonce),
                None => delete,
            };
            delete.bind(before_ms).execute(connection).await.map(drop)
        })?;
        Ok(last.map(|(kind, value, started_at_ms, nonce)| LookupPlace { kind, value, started_at_ms, nonce }))
    }
}
