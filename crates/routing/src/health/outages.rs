//! Reports between gateways: which routes have an open breaker or are in a cool-down, and until when.
//!
//! Each reports only outages that it met itself. A reported outage is applied once: a gateway that has since
//! found the route working ignores the same report.

use super::breaker::Gate;
use super::memory::{KeyMemory, Memory};
use super::{Health, KeyState, RefusedKey};
use crate::shards::{hash, lock};
use crate::{Route, Settings, Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outage {
    pub provider: String,
    /// The model; empty where the cool-down of the key applies to all of them.
    pub model: String,
    /// The label of the key.
    pub key: String,
    pub kind: OutageKind,
    pub until: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutageKind {
    /// Too many failures: the breaker is open.
    Open,
    /// A cool-down: after a rate limit, or because the provider does not serve the model to the key.
    CoolingDown,
    /// The provider refuses the key.
    Refused,
}

impl OutageKind {
    const ALL: [Self; 3] = [Self::Open, Self::CoolingDown, Self::Refused];

    /// The name in messages between gateways.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::CoolingDown => "cooling_down",
            Self::Refused => "refused",
        }
    }

    /// The inverse of `as_str`.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl Health {
    /// At most `most` outages that this gateway met itself.
    pub fn outages(&self, most: usize, now: Timestamp) -> Vec<Outage> {
        let mut outages = Vec::new();
        if now.0 < self.table.refused_until.load(std::sync::atomic::Ordering::Acquire) {
            let refused = lock(&self.table.refused);
            let own =
                refused.values().filter(|refusal| refusal.until > now && refusal.until != refusal.reported);
            outages.extend(own.take(most).map(RefusedKey::outage));
        }
        for shard in self.table.routes.iter() {
            for memory in shard.values().flatten() {
                let room = most.saturating_sub(outages.len());
                let of_keys = memory.keys.iter().filter_map(|key| key.outage(memory, &self.settings, now));
                outages.extend(of_keys.take(room));
            }
        }
        outages
    }

    /// Takes in an outage that another gateway met.
    pub fn learn(&self, outage: &Outage, now: Timestamp) {
        if outage.until <= now {
            return;
        }
        let Outage { provider, model, key, .. } = outage;
        if outage.kind == OutageKind::Refused {
            return self.with_refused(provider, key, now, |refusal| refusal.learn(outage.until));
        }
        let id = hash(&(provider.as_str(), model.as_str()));
        let mut shard = self.table.routes.at(id);
        if let Some(memory) = self.remember(&mut shard, id, Route { provider, model, key }, now) {
            memory.key_or_new(key, now).learn(outage, &self.settings, now);
        }
    }
}

impl RefusedKey {
    fn learn(&mut self, until: Timestamp) {
        if until > self.reported && until > self.until {
            (self.until, self.reported) = (until, until);
        }
    }

    fn outage(&self) -> Outage {
        Outage {
            provider: self.provider.to_string(),
            model: String::new(),
            key: self.key.to_string(),
            kind: OutageKind::Refused,
            until: self.until,
        }
    }
}

impl KeyMemory {
    /// The kind of the outage, if this gateway met it itself.
    fn outage(&self, memory: &Memory, settings: &Settings, now: Timestamp) -> Option<Outage> {
        let access = self.access(settings, now);
        let kind = match access.state {
            KeyState::Open => OutageKind::Open,
            KeyState::CoolingDown => OutageKind::CoolingDown,
            _ => return None,
        };
        (access.until != self.reported).then(|| Outage {
            provider: memory.provider.to_string(),
            model: memory.model.to_string(),
            key: self.label.to_string(),
            kind,
            until: access.until,
        })
    }

    fn learn(&mut self, outage: &Outage, settings: &Settings, now: Timestamp) {
        if outage.until <= self.reported {
            return;
        }
        match outage.kind {
            OutageKind::CoolingDown if outage.until > self.cooling_until => self.cooling_until = outage.until,
            OutageKind::Open if self.breaker.gate(&settings.breaker, now) == Gate::Closed => {
                self.breaker.open_until(outage.until);
            }
            // The breaker is already open at least as long, or for a reason that this gateway met itself.
            _ => return,
        }
        self.reported = outage.until;
    }
}
