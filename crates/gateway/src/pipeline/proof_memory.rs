//! Proofs of thinking and tool calls, kept for the next turn of a tool loop: most callers drop them, and some providers
//! refuse a turn without them.
//!
//! Limited in number, bytes and time, and separate for each caller: a key gets back only what was sent to it.
//! Used entries are kept longer, so that a continuing conversation keeps its beginning.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use routing::Timestamp;
use wire::proofs::{CallName, Proofs};

/// Maximum number of tool calls and signatures.
const MOST_CALLS: usize = 50_000;
/// Maximum memory in bytes.
const MOST_BYTES: usize = 64 << 20;
/// How long an answer is kept after its last use.
const KEPT_MS: u64 = 60 * 60 * 1000;

#[derive(Default)]
pub struct ProofMemory {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Answers by their calls and signatures.
    calls: HashMap<u64, Arc<Answer>>,
    /// Every answer, in the order of eviction checks.
    queue: VecDeque<Queued>,
    bytes: usize,
}

struct Answer {
    proofs: Arc<Proofs>,
    /// When it was last stored or used, in milliseconds.
    used: AtomicU64,
}

struct Queued {
    answer: Arc<Answer>,
    names: Vec<u64>,
    size: usize,
    /// The value of `used` when it was queued.
    since: u64,
}

impl ProofMemory {
    /// Stores the proofs of an answer under its tool calls and signatures.
    pub fn put(&self, caller: &str, proofs: Proofs, now: Timestamp) {
        let size = proofs.size();
        let names: Vec<u64> = proofs.names().map(|name| self.key(caller, name)).collect();
        let answer = Arc::new(Answer { proofs: Arc::new(proofs), used: AtomicU64::new(now.0) });
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.calls.extend(names.iter().map(|name| (*name, answer.clone())));
        state.bytes += size;
        state.queue.push_back(Queued { answer, names, size, since: now.0 });
        state.forget(now);
    }

    /// The proofs of the answer that made this call, or that contained this signature.
    pub fn find(&self, caller: &str, call: &CallName, now: Timestamp) -> Option<Arc<Proofs>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = state.calls.get(&self.key(caller, call))?;
        if is_over(answer.used.load(Ordering::Relaxed), now) {
            return None;
        }
        answer.used.store(now.0, Ordering::Relaxed);
        Some(answer.proofs.clone())
    }

    /// True when nothing is stored: the common case costs one lock.
    pub fn is_empty(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).calls.is_empty()
    }

    fn key(&self, caller: &str, call: &CallName) -> u64 {
        self.hasher.hash_one((caller, call))
    }
}

fn is_over(used: u64, now: Timestamp) -> bool {
    now.since(Timestamp(used)) >= KEPT_MS
}

impl State {
    /// Evicts expired answers, then the oldest until the limits hold. An answer that was used since it was
    /// queued goes to the back once more (second chance).
    fn forget(&mut self, now: Timestamp) {
        while let Some(first) = self.queue.front() {
            let too_much = self.bytes > MOST_BYTES || self.calls.len() > MOST_CALLS;
            if !too_much && !is_over(first.since, now) {
                return;
            }
            let Some(mut first) = self.queue.pop_front() else { return };
            let used = first.answer.used.load(Ordering::Relaxed);
            if used > first.since && !is_over(used, now) {
                first.since = used;
                self.queue.push_back(first);
            } else {
                self.remove(&first);
            }
        }
    }

    fn remove(&mut self, queued: &Queued) {
        self.bytes -= queued.size;
        for name in &queued.names {
            // A later answer may have replaced it under this name.
            if self.calls.get(name).is_some_and(|answer| Arc::ptr_eq(answer, &queued.answer)) {
                self.calls.remove(name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(id: u64) -> CallName {
        CallName::new(&format!("call{id}"), "f", "{}")
    }

    fn proofs(id: u64) -> Proofs {
        Proofs { calls: vec![(name(id), Some("proof".to_owned()))], ..Proofs::default() }
    }

    fn knows(proof_memory: &ProofMemory, id: u64, at: u64) -> bool {
        proof_memory.find("alice", &name(id), Timestamp(at)).is_some()
    }

    #[test]
    fn proofs_belong_to_their_caller_and_expire() {
        let proof_memory = ProofMemory::default();
        proof_memory.put("alice", proofs(1), Timestamp(0));
        assert_eq!(proof_memory.find("alice", &name(1), Timestamp(5)).as_deref(), Some(&proofs(1)));
        assert_eq!(proof_memory.find("bob", &name(1), Timestamp(5)), None);
        assert!(knows(&proof_memory, 1, KEPT_MS), "inbound for it keeps it on");
        assert!(!knows(&proof_memory, 1, 3 * KEPT_MS));
        proof_memory.put("alice", proofs(2), Timestamp(3 * KEPT_MS));
        assert_eq!(proof_memory.state.lock().unwrap().queue.len(), 1, "expired answers are evicted");
    }

    #[test]
    fn the_memory_is_bounded_and_evicts_unused_answers() {
        let proof_memory = ProofMemory::default();
        let last = 2 * MOST_CALLS as u64;
        for id in 0..=last {
            proof_memory.put("alice", proofs(id), Timestamp(id));
            assert!(knows(&proof_memory, 7, id) || id < 7);
        }
        let state = proof_memory.state.lock().unwrap();
        assert!(state.calls.len() <= MOST_CALLS && state.queue.len() <= MOST_CALLS);
        drop(state);
        assert!(knows(&proof_memory, last, last) && !knows(&proof_memory, 8, last));
    }

    #[test]
    fn long_thoughts_count_by_their_length() {
        let proof_memory = ProofMemory::default();
        for id in 0..200 {
            let thought = canon::Reasoning { text: "x".repeat(1 << 20), ..Default::default() };
            let thinking = vec![canon::PartKind::from(thought).into()];
            proof_memory.put("alice", Proofs { thinking, ..proofs(id) }, Timestamp(id));
        }
        assert!(proof_memory.state.lock().unwrap().bytes <= MOST_BYTES);
        assert!(knows(&proof_memory, 199, 200) && !knows(&proof_memory, 100, 200));
    }
}
