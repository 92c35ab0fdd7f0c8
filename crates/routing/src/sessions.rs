//! Where the prompt cache of each conversation is warm.

use std::sync::Arc;

use crate::shards::{Map, Shards, hash};
use crate::{Route, SessionSettings, Timestamp};

/// A route where a prompt cache is warm. Names are kept as hashes: a collision costs only a cache miss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Warm {
    provider_model: u64,
    key: u64,
}

impl Warm {
    pub fn at(route: Route<'_>) -> Self {
        Self { provider_model: hash(&(route.provider, route.model)), key: hash(route.key) }
    }

    /// The two hashes, to be sent to other gateways.
    pub fn numbers(self) -> [u64; 2] {
        [self.provider_model, self.key]
    }

    /// The inverse of [`Warm::numbers`].
    pub fn of_numbers([provider_model, key]: [u64; 2]) -> Self {
        Self { provider_model, key }
    }

    pub(crate) fn is_at(&self, route: Route<'_>) -> bool {
        self.provider_model == hash(&(route.provider, route.model))
    }

    pub(crate) fn has_key(&self, label: &str) -> bool {
        self.key == hash(label)
    }
}

/// Which conversation is warm where. Bounded; each entry expires.
#[derive(Debug)]
pub struct Sessions {
    settings: SessionSettings,
    entries: Arc<Shards<Entry>>,
}

#[derive(Debug)]
struct Entry {
    warm: Warm,
    used: Timestamp,
    /// When it was last reported to other gateways.
    reported: Timestamp,
}

impl Sessions {
    pub fn new(settings: &SessionSettings) -> Self {
        Self { settings: *settings, entries: Arc::new(Shards::new()) }
    }

    /// The same memory under other settings.
    pub fn with_settings(&self, settings: &SessionSettings) -> Self {
        Self { settings: *settings, entries: self.entries.clone() }
    }

    /// Where this conversation is warm. The scope separates callers: two of them may use the same session id.
    pub fn get(&self, scope: &str, session: &str, now: Timestamp) -> Option<Warm> {
        let id = hash(&(scope, session));
        let shard = self.entries.at(id);
        let entry = shard.get(&id).filter(|entry| self.is_fresh(entry, now))?;
        Some(entry.warm)
    }

    /// Remembers that the conversation was just served by this route. Do not call it when `Plan::is_trial` is
    /// true: a conversation must not stay where it was sent as an experiment. Returns the route when it
    /// should be reported to other gateways: the conversation has moved, or its last report is older than a
    /// quarter of the time to live.
    pub fn put(&self, scope: &str, session: &str, route: Route<'_>, now: Timestamp) -> Option<Warm> {
        let warm = Warm::at(route);
        let known = self.keep(hash(&(scope, session)), warm, now, |before| match before {
            Some(before) if before.warm == warm && !self.is_old_news(before, now) => before.reported,
            _ => now,
        });
        (known == now).then_some(warm)
    }

    /// Takes in a report of another gateway, which served the conversation.
    pub fn learn(&self, scope: &str, session: &str, warm: Warm, now: Timestamp) {
        self.keep(hash(&(scope, session)), warm, now, |_| now);
    }

    pub fn ttl(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.settings.ttl_seconds)
    }

    fn is_old_news(&self, entry: &Entry, now: Timestamp) -> bool {
        now.since(entry.reported) >= self.settings.ttl_seconds.saturating_mul(250)
    }

    /// Returns the time of the last report, as `reported` decides.
    fn keep(
        &self,
        id: u64,
        warm: Warm,
        now: Timestamp,
        reported: impl FnOnce(Option<&Entry>) -> Timestamp,
    ) -> Timestamp {
        let mut shard = self.entries.at(id);
        if shard.len() >= Shards::<Entry>::share(self.settings.capacity) && !shard.contains_key(&id) {
            self.make_room(&mut shard, now);
        }
        let reported = reported(shard.get(&id));
        shard.insert(id, Entry { warm, used: now, reported });
        reported
    }

    /// Evicts expired entries, and when that is not enough, the half that was unused the longest.
    fn make_room(&self, shard: &mut Map<Entry>, now: Timestamp) {
        let before = shard.len();
        shard.retain(|_, entry| self.is_fresh(entry, now));
        if shard.len() < before {
            return;
        }
        let mut uses: Vec<_> = shard.values().map(|entry| entry.used).collect();
        let middle = uses.len() / 2;
        let (_, median, _) = uses.select_nth_unstable(middle);
        let median = *median;
        let mut surplus = before - middle;
        shard.retain(|_, entry| {
            let drop = surplus > 0 && entry.used <= median;
            surplus -= usize::from(drop);
            !drop
        });
    }

    fn is_fresh(&self, entry: &Entry, now: Timestamp) -> bool {
        now.since(entry.used) < self.settings.ttl_seconds.saturating_mul(1000)
    }
}
