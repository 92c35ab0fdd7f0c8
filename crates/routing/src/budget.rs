//! The retry budget. All requests together may retry only so much, so that an outage never multiplies the
//! load. Each caller's key may use only a part of it, so that one caller's failures leave retries for the
//! others.

use std::sync::{Arc, Mutex};

use crate::shards::{Map, hash, lock};
use crate::{RetrySettings, Timestamp};

/// The part of the budget that one key may use.
const KEY_SHARE: f64 = 0.5;
/// Most keys to remember. Retries of further keys are counted only in the common budget.
const MAX_KEYS: usize = 65_536;

/// A token bucket for all requests, and one for each key. Each request adds a fraction of a retry, each
/// second a little more, and each retry takes one out of both.
#[derive(Debug)]
pub struct RetryBudget {
    settings: RetrySettings,
    buckets: Arc<Mutex<Buckets>>,
}

#[derive(Clone, Copy, Debug)]
pub struct KeyBudget<'a> {
    budget: &'a RetryBudget,
    key: u64,
}

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    keys: Map<Bucket>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Option<Timestamp>,
}

/// Refill rate and size of a bucket.
#[derive(Clone, Copy)]
struct Terms {
    ratio: f64,
    per_second: f64,
    burst: f64,
}

impl RetryBudget {
    pub fn new(settings: &RetrySettings) -> Self {
        let all = Bucket { tokens: settings.budget_burst, at: None };
        Self { settings: *settings, buckets: Arc::new(Mutex::new(Buckets { all, keys: Map::default() })) }
    }

    /// The same bucket under other settings. The content beyond a smaller size is lost at the next use.
    pub fn with_settings(&self, settings: &RetrySettings) -> Self {
        Self { settings: *settings, buckets: self.buckets.clone() }
    }

    pub fn of(&self, key: &str) -> KeyBudget<'_> {
        KeyBudget { budget: self, key: hash(&key) }
    }

    pub fn left(&self, now: Timestamp) -> f64 {
        let terms = self.terms();
        let all = &mut lock(&self.buckets).all;
        all.earn(terms, now);
        all.tokens
    }

    fn terms(&self) -> Terms {
        let settings = &self.settings;
        Terms {
            ratio: settings.budget_ratio,
            per_second: settings.budget_per_second,
            burst: settings.budget_burst,
        }
    }

    /// The terms of a key's bucket: everything that its own requests add, and a part of the refill per
    /// second.
    fn key_terms(&self) -> Terms {
        let Terms { ratio, per_second, burst } = self.terms();
        Terms { ratio, per_second: per_second * KEY_SHARE, burst: (burst * KEY_SHARE).max(burst.min(1.0)) }
    }
}

impl KeyBudget<'_> {
    /// Counts a request: call it once for each, before its first attempt.
    pub fn deposit(&self, now: Timestamp) {
        let (terms, key_terms) = (self.budget.terms(), self.budget.key_terms());
        let mut buckets = lock(&self.budget.buckets);
        buckets.all.deposit(terms, now);
        if let Some(own) = buckets.own(self.key, key_terms, now) {
            own.deposit(key_terms, now);
        }
    }

    /// Takes one retry out; false when none is left.
    pub fn withdraw(&self, now: Timestamp) -> bool {
        let (terms, key_terms) = (self.budget.terms(), self.budget.key_terms());
        let mut buckets = lock(&self.budget.buckets);
        buckets.all.earn(terms, now);
        if buckets.all.tokens < 1.0 {
            return false;
        }
        if let Some(own) = buckets.own(self.key, key_terms, now) {
            own.earn(key_terms, now);
            if own.tokens < 1.0 {
                return false;
            }
            own.tokens -= 1.0;
        }
        buckets.all.tokens -= 1.0;
        true
    }

    /// Puts a retry back that was not used.
    pub fn refund(&self) {
        let (terms, key_terms) = (self.budget.terms(), self.budget.key_terms());
        let mut buckets = lock(&self.budget.buckets);
        buckets.all.add(1.0, terms);
        if let Some(own) = buckets.keys.get_mut(&self.key) {
            own.add(1.0, key_terms);
        }
    }
}

impl Buckets {
    /// The bucket of a key. A full table drops the buckets that are full again: a new one is equal to them.
    fn own(&mut self, key: u64, terms: Terms, now: Timestamp) -> Option<&mut Bucket> {
        if !self.keys.contains_key(&key) {
            if self.keys.len() >= MAX_KEYS {
                self.keys.retain(|_, bucket| {
                    bucket.earn(terms, now);
                    bucket.tokens < terms.burst
                });
            }
            if self.keys.len() >= MAX_KEYS {
                return None;
            }
            self.keys.insert(key, Bucket { tokens: terms.burst, at: Some(now) });
        }
        self.keys.get_mut(&key)
    }
}

impl Bucket {
    fn deposit(&mut self, terms: Terms, now: Timestamp) {
        self.earn(terms, now);
        self.add(terms.ratio, terms);
    }

    fn earn(&mut self, terms: Terms, now: Timestamp) {
        let elapsed = self.at.map_or(0, |at| now.since(at));
        self.add(elapsed as f64 / 1000.0 * terms.per_second, terms);
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
    }

    fn add(&mut self, tokens: f64, terms: Terms) {
        self.tokens = (self.tokens + tokens).min(terms.burst);
    }
}
