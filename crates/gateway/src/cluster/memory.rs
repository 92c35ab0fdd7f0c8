//! Shared data besides counters: answers, conversations, proofs of thinking, outages. They are an
//! optimisation: where Redis does not answer, each node continues with its own knowledge.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use redis::{Cmd, FromRedisValue};

use super::link::{Link, Patience, Unreachable};
use crate::clock;

/// While Redis is away, one call per interval checks whether it is back.
const AGAIN: Duration = Duration::from_secs(1);

/// Shared values by name.
pub struct SharedMemory {
    link: Link,
    /// The time of the next attempt while Redis is away, in milliseconds since 1970.
    again_at_ms: AtomicI64,
}

impl SharedMemory {
    /// Uses its own link: large values would delay the counters.
    pub fn new(link: Link) -> Arc<Self> {
        Arc::new(Self { link, again_at_ms: AtomicI64::new(0) })
    }

    /// The value of this name.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Unreachable> {
        self.ask(Cmd::new().arg("GET").arg(name)).await
    }

    /// The values of these names, in their order. In a cluster all names need the same text in braces.
    pub async fn get_all(&self, names: &[String]) -> Result<Vec<Option<Vec<u8>>>, Unreachable> {
        match names {
            [] => Ok(Vec::new()),
            names => self.ask(Cmd::new().arg("MGET").arg(names)).await,
        }
    }

    /// Stores a value with a time to live.
    pub async fn put(&self, name: &str, value: &[u8], keep: Duration) -> Result<(), Unreachable> {
        let ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX).max(1);
        self.ask(Cmd::new().arg("SET").arg(name).arg(value).arg("PX").arg(ms)).await
    }

    /// The same without waiting.
    pub fn put_later(self: &Arc<Self>, values: Vec<(String, Vec<u8>)>, keep: Duration) {
        let memory = self.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the deadline of Redis; the caller does not wait for it"
        )]
        tokio::spawn(async move {
            for (name, value) in values {
                if memory.put(&name, &value, keep).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Runs any command.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Unreachable> {
        let is_away = self.link.is_away();
        if is_away && !self.may_try_again() {
            return Err(Unreachable);
        }
        let patience = if is_away { Patience::Report } else { Patience::Request };
        self.link.command(command, patience).await
    }

    fn may_try_again(&self) -> bool {
        let (now, at) = (clock::now_ms(), self.again_at_ms.load(Ordering::Relaxed));
        let next = now + AGAIN.as_millis() as i64;
        now >= at && self.again_at_ms.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
