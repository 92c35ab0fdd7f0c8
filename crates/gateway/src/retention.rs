//! Deletes usage records and sums by tag that are older than `database.keep_usage_days`, from time to time, on one node.

use std::convert::Infallible;
use std::time::Duration;

use store::{Expired, LookupPlace, Store, StoreError};

use crate::clock;

/// How often a node looks whether there is something to delete.
const EVERY: Duration = Duration::from_hours(1);
/// How long another node's turn lasts: less than [`EVERY`], so that a node that looks punctually is not too early for its own.
const TURN_MS: i64 = 50 * 60_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// The records of one transaction on SQLite (a few milliseconds), and how long others may write before the next.
const AT_ONCE: u32 = 500;
const LOOKUPS_AT_ONCE: u32 = 5_000;
const PAUSE: Duration = Duration::from_millis(50);

/// The task that deletes them.
pub struct Retention {
    pub store: Store,
    /// Days for which records are kept; none: for ever.
    pub keep_days: Option<u32>,
}

impl Retention {
    /// Deletes old records, as long as this is polled.
    pub async fn run(&self) -> Infallible {
        let Some(days) = self.keep_days else { return std::future::pending().await };
        loop {
            match self.expire(days, clock::now_ms()).await {
                Ok(Expired { months: 0, records: 0, .. }) => {}
                Ok(expired) => tracing::info!(
                    months = expired.months,
                    records = expired.records,
                    "usage records older than {days} days were deleted"
                ),
                Err(error) => tracing::warn!("old usage records cannot be deleted yet: {error}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// Deletes all that is old now, unless another node does.
    async fn expire(&self, days: u32, now_ms: i64) -> Result<Expired, StoreError> {
        let mut all = Expired::default();
        if !self.store.claim_usage_expiry(now_ms, now_ms - TURN_MS).await? {
            return Ok(all);
        }
        let before_ms = now_ms - i64::from(days) * DAY_MS;
        loop {
            let step = self.store.expire_usage(before_ms, AT_ONCE).await?;
            all.months += step.months;
            all.records += step.records;
            if !step.has_more {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        while self.store.expire_tag_sums(before_ms, AT_ONCE).await? >= u64::from(AT_ONCE) {
            tokio::time::sleep(PAUSE).await;
        }
        if all != Expired::default() {
            self.expire_lookups(before_ms).await?;
        }
        Ok(all)
    }

    async fn expire_lookups(&self, before_ms: i64) -> Result<(), StoreError> {
        let mut place = LookupPlace::default();
        while let Some(next) = self.store.expire_usage_lookups(before_ms, &place, LOOKUPS_AT_ONCE).await? {
            place = next;
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn request_ids(store: &Store) -> Vec<String> {
        let records = store.usage(Default::default()).await.unwrap();
        records.into_iter().map(|record| record.request_id).collect()
    }

    #[tokio::test]
    async fn old_records_go_and_one_node_deletes_them() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let now_ms = 400 * DAY_MS;
        let line = |number: i64| {
            let at_ms = now_ms - 30 * DAY_MS + (number - 1_200) * 1_000;
            serde_json::json!({"started_at_ms": at_ms, "request_id": format!("r{number}"), "nonce": number,
                "key_id": "k", "requested_model": "m", "status": 200, "tags": {"user": number.to_string()}})
            .to_string()
        };
        let lines: Vec<String> = (0..1_203).map(line).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        store.insert_usage(&lines).await.unwrap();
        store.fold_usage(0).await.unwrap();
        let tags =
            async || store.usage_tags((0, now_ms), None).await.unwrap().into_iter().collect::<Vec<_>>();
        assert_eq!(tags().await, ["user"]);
        let retention = Retention { store: store.clone(), keep_days: Some(30) };
        let expired = retention.expire(30, now_ms).await.unwrap();
        assert_eq!(expired, Expired { records: 1_200, ..Expired::default() });
        assert_eq!(request_ids(&store).await, ["r1202", "r1201", "r1200"]);
        // A node that looks a moment later leaves it to the first; an hour later it is anybody's turn.
        assert_eq!(retention.expire(29, now_ms + 1_000).await.unwrap(), Expired::default());
        assert_eq!(request_ids(&store).await.len(), 3);
        let later = now_ms + EVERY.as_millis() as i64;
        assert_eq!(tags().await, ["user"], "the day of the last three");
        assert_eq!(retention.expire(29, later).await.unwrap().records, 3);
        assert_eq!(tags().await, [""; 0]);
    }

    #[tokio::test]
    async fn the_task_deletes_what_is_old() {
        let store = Store::open("sqlite::memory:").await.unwrap();
        let old = r#"{"started_at_ms":1,"request_id":"r","nonce":1,"key_id":"k","requested_model":"m","status":200}"#;
        store.insert_usage(&[old]).await.unwrap();
        let retention = Retention { store: store.clone(), keep_days: Some(1) };
        let gone = async {
            while !request_ids(&store).await.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            never = retention.run() => match never {},
            () = gone => {}
        }
    }
}
