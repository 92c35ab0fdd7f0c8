//! Answers that nodes share, in Redis. It is a convenience: where it does not answer, a request goes on without.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::Cmd;

use super::answer::CachedAnswer;
use super::key::Key;
use crate::clock;
use crate::cluster::{Away, Link, Patience};
use crate::telemetry::Metrics;

/// While it is away, one request after so long finds out whether it is back.
const AGAIN: Duration = Duration::from_secs(1);

/// Answers in Redis.
pub struct SharedAnswers {
    link: Link,
    metrics: Metrics,
    /// When it may be asked again while it is away, in milliseconds since 1970.
    again_at_ms: AtomicI64,
}

impl SharedAnswers {
    /// Behind this link.
    pub fn new(link: Link, metrics: Metrics) -> Self {
        Self { link, metrics, again_at_ms: AtomicI64::new(0) }
    }

    /// The first of these that has a good answer.
    pub async fn find(
        &self,
        keys: &[Key],
        is_good: impl Fn(&CachedAnswer) -> bool,
    ) -> Option<(usize, CachedAnswer)> {
        for (place, key) in keys.iter().enumerate() {
            let found: Option<Vec<u8>> = self.ask(Cmd::new().arg("GET").arg(name(key))).await.ok()?;
            if let Some(answer) = found.and_then(CachedAnswer::read).filter(&is_good) {
                return Some((place, answer));
            }
        }
        None
    }

    /// Keeps an answer for as long as it says.
    pub async fn put(&self, key: Key, answer: &CachedAnswer) {
        let ms = u64::try_from(answer.keep.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut command = Cmd::new();
        command.arg("SET").arg(name(&key)).arg(answer.write()).arg("PX").arg(ms);
        let _: Result<(), Away> = self.ask(&command).await;
    }

    async fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let patience = match self.link.is_away() {
            true if !self.may_try_again() => return Err(Away),
            true => Patience::Report,
            false => Patience::Request,
        };
        let result = self.link.command(command, patience).await;
        if result.is_err() {
            self.metrics.response_cache("away");
        }
        result
    }

    fn may_try_again(&self) -> bool {
        let (now, at) = (clock::now_ms(), self.again_at_ms.load(Ordering::Relaxed));
        let next = now + AGAIN.as_millis() as i64;
        now >= at && self.again_at_ms.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

fn name(key: &Key) -> String {
    format!("llmgateway:response:{}", key.hex())
}
