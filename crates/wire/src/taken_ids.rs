//! The ids of a conversation's calls.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The ids of the conversation's calls, which must not recur in its answer, and those of the answer so far. They are kept as
/// hashes, because a conversation may consist of calls. A hash collision only replaces an id without need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenIds {
    /// Of the conversation, sorted. Each choice and each attempt has the same ones.
    before: Arc<[u32]>,
    /// Of the answer.
    new: BTreeSet<u32>,
}

impl TakenIds {
    /// True for an id of the conversation or of the answer.
    pub fn contains(&self, id: &str) -> bool {
        let hash = hash_of(id);
        self.before.binary_search(&hash).is_ok() || self.new.contains(&hash)
    }

    /// Takes an id of the answer. False when it is taken already.
    pub fn insert(&mut self, id: &str) -> bool {
        let hash = hash_of(id);
        self.before.binary_search(&hash).is_err() && self.new.insert(hash)
    }
}

impl<T: AsRef<str>> FromIterator<T> for TakenIds {
    fn from_iter<I: IntoIterator<Item = T>>(ids: I) -> Self {
        let mut called = CalledIds::default();
        ids.into_iter().for_each(|id| called.push(id.as_ref()));
        called.into()
    }
}

/// The same while a conversation is read.
#[derive(Debug, Default)]
pub(crate) struct CalledIds(Vec<u32>);

impl CalledIds {
    pub(crate) fn push(&mut self, id: &str) {
        self.0.push(hash_of(id));
    }
}

impl From<CalledIds> for TakenIds {
    fn from(CalledIds(mut hashes): CalledIds) -> Self {
        hashes.sort_unstable();
        hashes.dedup();
        Self { before: hashes.into(), new: BTreeSet::new() }
    }
}

fn hash_of(id: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_id_is_taken_once() {
        let mut taken: TakenIds = ["a", "b", "a"].into_iter().collect();
        assert!(taken.contains("a") && taken.contains("b") && !taken.contains("c"));
        assert_eq!(["a", "c", "c", "d"].map(|id| taken.insert(id)), [false, true, false, true]);
        assert!(taken.contains("c") && taken.contains("d"));
        assert_eq!(TakenIds::default(), [""; 0].into_iter().collect());
    }
}
