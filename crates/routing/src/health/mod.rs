//! Measurements of each provider: success, speed, cool-downs, breakers.
//!
//! Success and speed are kept for each provider and model, breakers and cool-downs for each of their keys.
//! The cool-down of a key that the provider refuses applies to all models. Errors that the caller caused change nothing.
//! Every call takes one short lock of one part of the table and allocates only when it meets a name for the
//! first time.

mod breaker;
mod incumbent;
mod memory;
mod outages;
mod snapshot;
mod suspensions;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use canon::{Error, ErrorKind, Origin, Retry};

pub(crate) use self::incumbent::Incumbents;
pub(crate) use self::memory::Access;
use self::memory::Memory;
pub use self::outages::{Outage, OutageKind};
pub use self::snapshot::{KeySnapshot, KeyState, Metrics, RouteSnapshot, Snapshot};
pub use self::suspensions::Suspensions;
use crate::shards::{Map, Shards, hash, lock};
use crate::{Candidate, Route, Settings, Timestamp, Warm};

/// Most refused keys to remember.
const MAX_REFUSED: usize = 4_096;

/// How an attempt ended, as far as the provider's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Success,
    /// The request or the gateway was at fault, or the caller hung up: no information about the provider.
    Neutral,
    /// The provider failed or sent an invalid answer.
    Fault,
    /// The provider did not answer in time.
    Timeout,
    /// Too many requests: a cool-down of this key for this model.
    RateLimit(Option<Duration>),
    /// The provider refuses the key, or its account is empty: a cool-down of the key for all models.
    Credential,
    /// The provider does not serve this model to this key: a cool-down of the key for this model.
    NotServed,
}

impl Outcome {
    /// What an error says about the provider.
    pub fn of(error: &Error) -> Self {
        if error.origin != Origin::Upstream {
            return Self::Neutral;
        }
        match error.kind {
            ErrorKind::RateLimit => Self::RateLimit(error.retry_after()),
            ErrorKind::Timeout => Self::Timeout,
            // A key without access to one model may have access to others.
            ErrorKind::ModelNotFound | ErrorKind::Permission => Self::NotServed,
            ErrorKind::UpstreamCredential if is_forbidden(error) => Self::NotServed,
            ErrorKind::UpstreamCredential | ErrorKind::Quota | ErrorKind::Authentication => Self::Credential,
            ErrorKind::Upstream
            | ErrorKind::Overloaded
            | ErrorKind::StoreUnavailable
            | ErrorKind::Unavailable
            | ErrorKind::LoopDetected
            | ErrorKind::Internal => Self::Fault,
            ErrorKind::InvalidRequest
            | ErrorKind::UnsupportedFeature
            | ErrorKind::ContextLength
            | ErrorKind::ContentFilter
            | ErrorKind::ContentPolicy
            | ErrorKind::NotFound
            | ErrorKind::MethodNotAllowed
            | ErrorKind::UnsupportedMedia
            | ErrorKind::RequestTimeout
            | ErrorKind::TooLarge => {
                // Some providers send a bare 400 when they are unhealthy; the decoder marks those as
                // retryable.
                if matches!(error.retry, Retry::Again | Retry::After(_)) {
                    Self::Fault
                } else {
                    Self::Neutral
                }
            }
            ErrorKind::Cancelled => Self::Neutral,
        }
    }
}

/// The report of a finished attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    pub outcome: Outcome,
    /// Time to the first token, where it was measured.
    pub first_token: Option<Duration>,
    /// Tokens per second, where they were measured.
    pub tokens_per_second: Option<f64>,
}

impl Report {
    pub fn success(first_token: Option<Duration>, tokens_per_second: Option<f64>) -> Self {
        Self { outcome: Outcome::Success, first_token, tokens_per_second }
    }

    /// An attempt that ended with this error.
    pub fn failure(error: &Error) -> Self {
        Self { outcome: Outcome::of(error), first_token: None, tokens_per_second: None }
    }

    /// An attempt whose caller hung up.
    pub fn cancelled() -> Self {
        Self { outcome: Outcome::Neutral, first_token: None, tokens_per_second: None }
    }
}

/// Permission to send one request by a route. Must be returned with `Health::finish`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a probe whose permit is not returned blocks the route for a while"]
#[non_exhaustive]
pub enum Permit {
    /// The route is healthy.
    Normal,
    /// The breaker was open: this request tests whether the route works again.
    Probe,
    /// The probe's answer has begun, so other requests may try too.
    Begun,
    /// The breaker of the route is open, but there is no other route.
    LastResort,
}

/// A key in a cool-down for all models.
#[derive(Debug)]
struct RefusedKey {
    provider: Box<str>,
    key: Box<str>,
    until: Timestamp,
    /// The end that another gateway reported last.
    reported: Timestamp,
}

impl RefusedKey {
    fn new(provider: &str, key: &str, until: Timestamp) -> Self {
        Self { provider: provider.into(), key: key.into(), until, reported: Timestamp(0) }
    }
}

/// The state of a candidate: the key to use, and whether it can be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CandidateStatus {
    pub(crate) metrics: Metrics,
    pub(crate) key: usize,
    pub(crate) access: Access,
}

/// Measurements of all routes, seen under one set of settings. Cheap to update from many threads.
#[derive(Debug)]
pub struct Health {
    settings: Settings,
    table: Arc<Table>,
    suspensions: Suspensions,
}

/// Shared by all views ([`Health::with_settings`]).
#[derive(Debug)]
struct Table {
    routes: Shards<Vec<Memory>>,
    refused: Mutex<Map<RefusedKey>>,
    /// When the last entry of `refused` expires: usually past, and then the lock is not needed.
    refused_until: AtomicU64,
    incumbents: Incumbents,
}

impl Health {
    pub fn new(settings: &Settings) -> Self {
        let table = Table {
            routes: Shards::new(),
            refused: Mutex::default(),
            refused_until: AtomicU64::new(0),
            incumbents: Incumbents::new(),
        };
        Self { settings: settings.clone(), table: Arc::new(table), suspensions: Suspensions::default() }
    }

    /// Adds the routes that an administrator suspended.
    pub fn with_suspensions(self, suspensions: Suspensions) -> Self {
        Self { suspensions, ..self }
    }

    /// The same memory under other settings: all views share their measurements.
    pub fn with_settings(&self, settings: &Settings) -> Self {
        Self { settings: settings.clone(), table: self.table.clone(), suspensions: self.suspensions.clone() }
    }

    /// Forgets a provider whose address or keys have changed: old measurements do not apply to the new ones.
    pub fn forget(&self, provider: &str, keys: &[String]) {
        for mut shard in self.table.routes.iter() {
            shard.retain(|_, memories| {
                memories.retain(|memory| *memory.provider != *provider);
                !memories.is_empty()
            });
        }
        let mut refused = lock(&self.table.refused);
        for key in keys {
            refused.remove(&key_hash(provider, key));
        }
    }

    /// Asks for permission to send a request. None when the breaker of the route is open, or in a cool-down or suspension.
    pub fn begin(&self, route: Route<'_>, now: Timestamp) -> Option<Permit> {
        if self.suspensions.has(route.provider, route.key)
            || self.refused_until(route.provider, route.key, now).is_some()
        {
            return None;
        }
        self.with(route.provider, route.model, |memory| {
            let Some(key) = memory.and_then(|memory| memory.key_mut(route.key)) else {
                return Some(Permit::Normal);
            };
            match key.access(&self.settings, now).state {
                KeyState::Ready => Some(Permit::Normal),
                KeyState::HalfOpen => {
                    key.breaker.probe(now);
                    Some(Permit::Probe)
                }
                _ => None,
            }
        })
    }

    /// Permission for a route whose breaker may be open, when there is no other.
    pub fn begin_last_resort(&self, route: Route<'_>, now: Timestamp) -> Permit {
        self.begin(route, now).unwrap_or(Permit::LastResort)
    }

    /// The first content of an answer has arrived. A route whose breaker was open lets the next probe through,
    /// because the end of this answer may take minutes.
    pub fn begun(&self, route: Route<'_>, permit: &mut Permit, now: Timestamp) {
        if *permit != Permit::Probe {
            return;
        }
        *permit = Permit::Begun;
        self.with(route.provider, route.model, |memory| {
            if let Some(key) = memory.and_then(|memory| memory.key_mut(route.key)) {
                key.breaker.release(now);
            }
        });
    }

    /// Returns the permit with the outcome.
    pub fn finish(&self, route: Route<'_>, permit: Permit, report: &Report, now: Timestamp) {
        if report.outcome == Outcome::Credential {
            self.refuse(route, now);
        }
        let remembers = !matches!(report.outcome, Outcome::Neutral | Outcome::Credential);
        let id = hash(&(route.provider, route.model));
        let mut shard = self.table.routes.at(id);
        let memory = if remembers {
            self.remember(&mut shard, id, route, now)
        } else {
            find(&mut shard, id, route.provider, route.model)
        };
        if let Some(memory) = memory {
            memory.finish(route.key, (&permit, report), &self.settings, now);
        }
        drop(shard);
        if report.outcome == Outcome::Success && self.refused_until(route.provider, route.key, now).is_some()
        {
            // The end time stays, so that the gateway which reported it may report it again.
            if let Some(refusal) = lock(&self.table.refused).get_mut(&key_hash(route.provider, route.key)) {
                refusal.until = now;
            }
        }
    }

    /// Measurements of a provider's model; neutral assumptions when it was never used.
    pub fn metrics(&self, provider: &str, model: &str, now: Timestamp) -> Metrics {
        self.with(provider, model, |memory| self.metrics_of(memory.as_deref(), now))
    }

    pub fn snapshot(&self, now: Timestamp) -> Snapshot {
        let mut routes = Vec::new();
        for shard in self.table.routes.iter() {
            routes.extend(shard.values().flatten().map(|memory| self.describe(memory, now)));
        }
        routes.sort_by(|a: &RouteSnapshot, b| (&a.provider, &a.model).cmp(&(&b.provider, &b.model)));
        Snapshot { routes }
    }

    /// The best key of a candidate. Keys take turns by `turn`, except that a warm one is kept.
    pub(crate) fn status(
        &self,
        candidate: &Candidate<'_>,
        warm: Option<Warm>,
        turn: usize,
        now: Timestamp,
    ) -> CandidateStatus {
        self.with(candidate.provider, candidate.model, |memory| {
            let memory = memory.as_deref();
            let metrics = self.metrics_of(memory, now);
            let access = |key: usize| self.access(memory, candidate.route(key), now);
            let count = candidate.key_count();
            if let Some(key) = warm.and_then(|warm| (0..count).find(|key| warm.has_key(candidate.key(*key))))
                && access(key).state == KeyState::Ready
            {
                return CandidateStatus { metrics, key, access: Access::READY };
            }
            let (key, best) = best_key(count, turn, access);
            CandidateStatus { metrics, key, access: best }
        })
    }

    /// Whether a key can be used now, and when that changes.
    pub(crate) fn key_access(&self, route: Route<'_>, now: Timestamp) -> (KeyState, Timestamp) {
        let access =
            self.with(route.provider, route.model, |memory| self.access(memory.as_deref(), route, now));
        (access.state, access.until)
    }

    pub(crate) fn incumbents(&self) -> &Incumbents {
        &self.table.incumbents
    }

    fn metrics_of(&self, memory: Option<&Memory>, now: Timestamp) -> Metrics {
        match memory {
            Some(memory) => memory.metrics(&self.settings.health, now),
            None => Memory::new("", "", now).metrics(&self.settings.health, now),
        }
    }

    /// Whether an administrator suspended all keys of a candidate.
    pub(crate) fn is_suspended(&self, candidate: &Candidate<'_>) -> bool {
        (0..candidate.key_count()).all(|key| self.suspensions.has(candidate.provider, candidate.key(key)))
    }

    fn access(&self, memory: Option<&Memory>, route: Route<'_>, now: Timestamp) -> Access {
        if self.suspensions.has(route.provider, route.key) {
            return Access { state: KeyState::Suspended, until: now };
        }
        if let Some(until) = self.refused_until(route.provider, route.key, now) {
            return Access { state: KeyState::Refused, until };
        }
        memory
            .and_then(|memory| memory.key(route.key))
            .map_or(Access::READY, |key| key.access(&self.settings, now))
    }

    fn with<T>(&self, provider: &str, model: &str, then: impl FnOnce(Option<&mut Memory>) -> T) -> T {
        let id = hash(&(provider, model));
        let mut shard = self.table.routes.at(id);
        then(find(&mut shard, id, provider, model))
    }

    /// The memory of a route's model; a new model gets one. Callers can name any model, so a full shard
    /// evicts the entries that were unused the longest.
    fn remember<'s>(
        &self,
        shard: &'s mut Map<Vec<Memory>>,
        id: u64,
        route: Route<'_>,
        now: Timestamp,
    ) -> Option<&'s mut Memory> {
        if find(shard, id, route.provider, route.model).is_none() {
            if shard.len() >= Shards::<Memory>::share(self.settings.health.max_routes) {
                let last_use = |memories: &Vec<Memory>| memories.iter().map(|memory| memory.used).max();
                let oldest = shard.iter().min_by_key(|(_, memories)| last_use(memories)).map(|(id, _)| *id);
                oldest.and_then(|id| shard.remove(&id));
            }
            shard.entry(id).or_default().push(Memory::new(route.provider, route.model, now));
        }
        find(shard, id, route.provider, route.model)
    }

    fn refuse(&self, route: Route<'_>, now: Timestamp) {
        let until = now.plus(Duration::from_secs(self.settings.health.credential_seconds));
        self.with_refused(route.provider, route.key, now, |refusal| refusal.until = until);
    }

    /// Changes the entry of a refused key; a new key gets an entry. A full table first evicts the keys whose
    /// cool-down has ended. If no cool-down has ended, the new key is not added.
    fn with_refused(&self, provider: &str, key: &str, now: Timestamp, change: impl FnOnce(&mut RefusedKey)) {
        let mut refused = lock(&self.table.refused);
        let id = key_hash(provider, key);
        if refused.len() >= MAX_REFUSED && !refused.contains_key(&id) {
            refused.retain(|_, refusal| refusal.until > now);
            if refused.len() >= MAX_REFUSED {
                return;
            }
        }
        let refusal = refused.entry(id).or_insert_with(|| RefusedKey::new(provider, key, now));
        change(refusal);
        self.table.refused_until.fetch_max(refusal.until.0, Ordering::Release);
    }

    fn refused_until(&self, provider: &str, key: &str, now: Timestamp) -> Option<Timestamp> {
        if now.0 >= self.table.refused_until.load(Ordering::Acquire) {
            return None;
        }
        let until = lock(&self.table.refused).get(&key_hash(provider, key))?.until;
        (now < until).then_some(until)
    }

    fn describe(&self, memory: &Memory, now: Timestamp) -> RouteSnapshot {
        let keys = memory.keys.iter().map(|key| {
            let route = Route { provider: &memory.provider, model: &memory.model, key: &key.label };
            let access = self.access(Some(memory), route, now);
            let waits = !matches!(access.state, KeyState::Ready | KeyState::HalfOpen | KeyState::Suspended);
            KeySnapshot {
                key: key.label.to_string(),
                state: access.state,
                ready_in_ms: waits.then(|| access.until.since(now)),
            }
        });
        RouteSnapshot {
            provider: memory.provider.to_string(),
            model: memory.model.to_string(),
            metrics: memory.metrics(&self.settings.health, now),
            keys: keys.collect(),
        }
    }
}

/// The key whose turn it is when it can be used or probed; otherwise the next that can; otherwise the one
/// that is ready first. The candidate's access is the best of all its keys: while another key is ready, a
/// probe does not make the candidate risky.
fn best_key(count: usize, turn: usize, access: impl Fn(usize) -> Access) -> (usize, Access) {
    let first = turn % count;
    let (mut key, mut best) = (first, access(first));
    let own_turn = matches!(best.state, KeyState::Ready | KeyState::HalfOpen);
    for offset in 1..count {
        if best.state == KeyState::Ready {
            break;
        }
        let other = (first + offset) % count;
        let found = access(other);
        if rank(found) < rank(best) {
            best = found;
            key = if own_turn { key } else { other };
        }
    }
    (key, best)
}

fn rank(access: Access) -> (u8, Timestamp) {
    match access.state {
        KeyState::Ready => (0, access.until),
        KeyState::HalfOpen => (1, access.until),
        KeyState::CoolingDown | KeyState::Probing | KeyState::Open => (2, access.until),
        KeyState::Refused => (3, access.until),
        KeyState::Suspended => (4, access.until),
    }
}

fn find<'s>(shard: &'s mut Map<Vec<Memory>>, id: u64, provider: &str, model: &str) -> Option<&'s mut Memory> {
    let found = shard.get_mut(&id)?;
    found.iter_mut().find(|memory| *memory.provider == *provider && *memory.model == *model)
}

fn is_forbidden(error: &Error) -> bool {
    error.upstream.as_ref().and_then(|reply| reply.status) == Some(403)
}

fn key_hash(provider: &str, key: &str) -> u64 {
    hash(&(provider, key))
}
