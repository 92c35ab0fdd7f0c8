//! Conversations that nodes share: where each is warm, and the proofs of its earlier thinking.

use std::sync::Arc;
use std::time::Duration;

use routing::Warm;
use wire::proofs::{CallName, Proofs};

use super::memory::SharedMemory;

/// How long proofs are kept.
const PROOFS_KEPT: Duration = Duration::from_hours(4);
/// Most proofs that are looked up at a time. Conversations may quote any number of calls.
const MOST_NAMES: usize = 512;

/// Conversations that may continue on another node.
#[derive(Clone)]
pub struct SharedConversations(Arc<SharedMemory>);

impl SharedConversations {
    pub fn new(memory: Arc<SharedMemory>) -> Self {
        Self(memory)
    }

    /// Where a caller's conversation is warm.
    pub async fn warm(&self, caller: &str, session: &str) -> Option<Warm> {
        let value = self.0.get(&session_name(caller, session)).await.ok()??;
        let (provider, key) = str::from_utf8(&value).ok()?.split_once(' ')?;
        Some(Warm::of_numbers([provider.parse().ok()?, key.parse().ok()?]))
    }

    /// Reports it to the others, without waiting.
    pub fn report_warm(&self, caller: &str, session: &str, warm: Warm, keep: Duration) {
        let [provider, key] = warm.numbers();
        let value = format!("{provider} {key}").into_bytes();
        self.0.put_later(vec![(session_name(caller, session), value)], keep);
    }

    /// The proofs of other nodes' answers for these names, each once.
    pub async fn proofs(&self, caller: &str, names: &[CallName]) -> Vec<Proofs> {
        let names: Vec<String> = names.iter().take(MOST_NAMES).map(|name| proof_name(caller, name)).collect();
        let Ok(answers) = self.0.get_all(&names).await else { return Vec::new() };
        let mut answers: Vec<String> =
            answers.into_iter().flatten().filter_map(|name| String::from_utf8(name).ok()).collect();
        answers.sort_unstable();
        answers.dedup();
        let Ok(values) = self.0.get_all(&answers).await else { return Vec::new() };
        values.into_iter().flatten().filter_map(|value| Proofs::read(&value)).collect()
    }

    /// Reports them to the others, without waiting.
    pub fn report_proofs(&self, caller: &str, proofs: &Proofs) {
        let answer = format!("llmgateway:{{{caller}}}:answer:{}", uuid::Uuid::now_v7().simple());
        let mut values = vec![(answer.clone(), proofs.write())];
        let names = proofs.names().take(MOST_NAMES);
        values.extend(names.map(|name| (proof_name(caller, name), answer.clone().into_bytes())));
        self.0.put_later(values, PROOFS_KEPT);
    }
}

fn session_name(caller: &str, session: &str) -> String {
    format!("llmgateway:{{{caller}}}:session:{}", blake3::hash(session.as_bytes()).to_hex())
}

fn proof_name(caller: &str, name: &CallName) -> String {
    let (id, content) = name.parts();
    let mut hasher = blake3::Hasher::new();
    hasher.update(&content.to_le_bytes()).update(id.as_bytes());
    format!("llmgateway:{{{caller}}}:proof:{}", hasher.finalize().to_hex())
}
