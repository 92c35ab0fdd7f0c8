//! The retry budget: all requests together may retry only so much, so that an outage never multiplies the load.

use std::sync::{Arc, Mutex};

use crate::shards::lock;
use crate::{RetrySettings, Timestamp};

/// A token bucket. Each request adds a fraction of a retry, each second a little more, each retry takes one out.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetrySettings,
    bucket: Arc<Mutex<Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Option<Timestamp>,
}

impl RetryBudget {
    /// A full bucket.
    pub fn new(settings: &RetrySettings) -> Self {
        let bucket = Bucket { tokens: settings.budget_burst, at: None };
        Self { settings: *settings, bucket: Arc::new(Mutex::new(bucket)) }
    }

    /// The same bucket under other settings. What it holds beyond a smaller size is lost at the next use.
    pub fn with_settings(&self, settings: &RetrySettings) -> Self {
        Self { settings: *settings, bucket: self.bucket.clone() }
    }

    /// Counts a request: call it once for each, before its first attempt.
    pub fn deposit(&self, now: Timestamp) {
        self.update(now, |bucket, settings| {
            bucket.tokens = (bucket.tokens + settings.budget_ratio).min(settings.budget_burst);
        });
    }

    /// Takes one retry out; false when there is none left.
    pub fn withdraw(&self, now: Timestamp) -> bool {
        self.update(now, |bucket, _| {
            let enough = bucket.tokens >= 1.0;
            if enough {
                bucket.tokens -= 1.0;
            }
            enough
        })
    }

    /// Puts a retry back that was not made.
    pub fn refund(&self) {
        let mut bucket = lock(&self.bucket);
        bucket.tokens = (bucket.tokens + 1.0).min(self.settings.budget_burst);
    }

    /// How many retries are left.
    pub fn left(&self, now: Timestamp) -> f64 {
        self.update(now, |bucket, _| bucket.tokens)
    }

    fn update<T>(&self, now: Timestamp, change: impl FnOnce(&mut Bucket, &RetrySettings) -> T) -> T {
        let mut bucket = lock(&self.bucket);
        let elapsed = bucket.at.map_or(0, |at| now.since(at));
        let earned = elapsed as f64 / 1000.0 * self.settings.budget_per_second;
        bucket.tokens = (bucket.tokens + earned).min(self.settings.budget_burst);
        bucket.at = Some(bucket.at.map_or(now, |at| at.max(now)));
        change(&mut bucket, &self.settings)
    }
}
