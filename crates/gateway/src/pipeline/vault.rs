//! Proofs of thinking and tool calls, kept for the next turn of a tool loop: most callers drop them, and some providers
//! refuse a turn without them.
//!
//! Bounded in number and time, and kept apart by caller: a key only ever gets back what it was sent itself.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use routing::Timestamp;
use wire::proofs::Proofs;

/// Most answers that are remembered.
const CAPACITY: usize = 20_000;
/// How long an answer is remembered.
const KEPT_MS: u64 = 60 * 60 * 1000;

/// See the module.
#[derive(Default)]
pub struct Vault {
    hasher: RandomState,
    entries: Mutex<HashMap<u64, Entry>>,
}

struct Entry {
    proofs: Arc<Proofs>,
    expires: Timestamp,
}

impl Vault {
    /// Remembers the proofs of an answer by the ids of its tool calls.
    pub fn put(&self, caller: &str, proofs: Proofs, now: Timestamp) {
        let proofs = Arc::new(proofs);
        let expires = now.plus_ms(KEPT_MS);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() + proofs.calls.len() > CAPACITY {
            shrink(&mut entries, now);
        }
        for (id, _) in &proofs.calls {
            entries.insert(self.name(caller, id), Entry { proofs: proofs.clone(), expires });
        }
    }

    /// The proofs of the answer that made this call.
    pub fn find(&self, caller: &str, call: &str, now: Timestamp) -> Option<Proofs> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.get(&self.name(caller, call)).filter(|entry| entry.expires > now)?;
        Some(Proofs::clone(&entry.proofs))
    }

    /// True when nothing is remembered: the common case costs one lock.
    pub fn is_empty(&self) -> bool {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    fn name(&self, caller: &str, call: &str) -> u64 {
        self.hasher.hash_one((caller, call))
    }
}

/// Drops what has expired, and the older half when that is not enough.
fn shrink(entries: &mut HashMap<u64, Entry>, now: Timestamp) {
    entries.retain(|_, entry| entry.expires > now);
    if entries.len() < CAPACITY / 2 {
        return;
    }
    let mut times: Vec<Timestamp> = entries.values().map(|entry| entry.expires).collect();
    let middle = times.len() / 2;
    let (_, median, _) = times.select_nth_unstable(middle);
    let median = *median;
    entries.retain(|_, entry| entry.expires > median);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proofs(id: usize) -> Proofs {
        Proofs { thinking: Vec::new(), calls: vec![(format!("call{id}"), Some("proof".to_owned()))] }
    }

    #[test]
    fn proofs_belong_to_their_caller_and_expire() {
        let vault = Vault::default();
        vault.put("alice", proofs(1), Timestamp(0));
        assert_eq!(vault.find("alice", "call1", Timestamp(5)), Some(proofs(1)));
        assert_eq!(vault.find("bob", "call1", Timestamp(5)), None);
        assert_eq!(vault.find("alice", "call1", Timestamp(KEPT_MS)), None);
    }

    #[test]
    fn the_vault_is_bounded_and_forgets_the_oldest() {
        let vault = Vault::default();
        for id in 0..3 * CAPACITY {
            vault.put("alice", proofs(id), Timestamp(id as u64));
        }
        assert!(vault.entries.lock().unwrap().len() <= CAPACITY);
        assert!(
            vault
                .find("alice", &format!("call{}", 3 * CAPACITY - 1), Timestamp(3 * CAPACITY as u64))
                .is_some()
        );
        assert!(vault.find("alice", "call0", Timestamp(3 * CAPACITY as u64)).is_none());
    }
}
