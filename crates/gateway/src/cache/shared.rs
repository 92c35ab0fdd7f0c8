//! Answers that nodes share.

use std::sync::Arc;

use super::answer::CachedAnswer;
use super::key::Key;
use crate::cluster::SharedMemory;
use crate::telemetry::Metrics;

pub struct SharedAnswers {
    memory: Arc<SharedMemory>,
    metrics: Metrics,
}

impl SharedAnswers {
    pub fn new(memory: Arc<SharedMemory>, metrics: Metrics) -> Self {
        Self { memory, metrics }
    }

    /// The first of these keys with a valid answer.
    pub async fn find(
        &self,
        keys: &[Key],
        is_good: impl Fn(&CachedAnswer) -> bool,
    ) -> Option<(usize, CachedAnswer)> {
        for (place, key) in keys.iter().enumerate() {
            let found = self.memory.get(&name(key)).await;
            let found = found.inspect_err(|_| self.metrics.response_cache("away")).ok()?;
            if let Some(answer) = found.and_then(CachedAnswer::read).filter(&is_good) {
                return Some((place, answer));
            }
        }
        None
    }

    /// Stores an answer for its time to live.
    pub async fn put(&self, key: Key, answer: &CachedAnswer) {
        if self.memory.put(&name(&key), &answer.write(), answer.keep).await.is_err() {
            self.metrics.response_cache("away");
        }
    }
}

fn name(key: &Key) -> String {
    format!("llmgateway:response:{}", key.hex())
}
