//! Which provider serves a model now. Nearly equal providers must not alternate with every measurement.

use std::hash::Hash;

use crate::shards::{Shards, hash};

/// Most models to remember. They come from the catalog and the aliases; this only bounds the memory.
const CAPACITY: usize = 8_192;

#[derive(Debug)]
pub(crate) struct Incumbents(Shards<u64>);

impl Incumbents {
    pub(crate) fn new() -> Self {
        Self(Shards::new())
    }

    /// The hash of the route that was best for this kind of request last time.
    pub(crate) fn get(&self, kind: &impl Hash) -> Option<u64> {
        let id = hash(kind);
        self.0.at(id).get(&id).copied()
    }

    /// Remembers the best route.
    pub(crate) fn set(&self, kind: &impl Hash, route: u64) {
        let id = hash(kind);
        let mut shard = self.0.at(id);
        if shard.len() >= Shards::<u64>::share(CAPACITY) && !shard.contains_key(&id) {
            shard.clear();
        }
        shard.insert(id, route);
    }
}
