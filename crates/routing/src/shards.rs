//! A table in several parts, each with its own lock, to keep contention between threads low.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};

const SHARDS: usize = 32;

/// A map by hash. The hasher has fixed keys: the same steps give the same order in every process.
pub(crate) type Map<V> = HashMap<u64, V, BuildHasherDefault<DefaultHasher>>;

/// A table by hash.
#[derive(Debug)]
pub(crate) struct Shards<V>([Mutex<Map<V>>; SHARDS]);

impl<V> Shards<V> {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }

    /// The part that holds this hash.
    pub(crate) fn at(&self, id: u64) -> MutexGuard<'_, Map<V>> {
        lock(&self.0[(id >> 32) as usize % SHARDS])
    }

    /// Every part, one after the other.
    pub(crate) fn iter(&self) -> impl Iterator<Item = MutexGuard<'_, Map<V>>> {
        self.0.iter().map(lock)
    }

    /// The share of one part in a total capacity, at least 1.
    pub(crate) fn share(capacity: usize) -> usize {
        capacity.div_ceil(SHARDS).max(1)
    }
}

/// Ignores poisoning: every update here is complete in itself, so the data of a panicked thread is valid.
pub(crate) fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
