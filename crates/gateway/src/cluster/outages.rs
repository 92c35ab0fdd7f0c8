//! Open breakers, cool-downs and refused keys that nodes report to each other, so that each outage is met by
//! one node only.
//!
//! Each node keeps its own outages in one field of a hash and reads those of the others, twice a second.
//! Reports of nodes with another configuration are ignored: the same name may mean something else there.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use canon::Operation;
use redis::Cmd;
use routing::{Outage, OutageKind, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::link::Unreachable;
use super::memory::SharedMemory;
use crate::clock;
use crate::snapshot::{Current, Snapshot};

/// The report interval.
const EVERY: Duration = Duration::from_millis(500);
/// The hash with the reports of all nodes.
const NAME: &str = "llmgateway:outages";
/// Most outages in a node's report.
const MOST: usize = 1000;
/// Time to live of the hash after the last report.
const KEPT_MS: u64 = 3_600_000;

/// The report of one node.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
struct Published {
    /// A hash of its configuration.
    config: String,
    outages: Vec<ReportedOutage>,
}

/// An outage with its end in milliseconds since 1970.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct ReportedOutage {
    operation: String,
    provider: String,
    model: String,
    key: String,
    kind: String,
    until_ms: i64,
}

/// Reports outages and applies those of others.
pub struct OutageNotices {
    memory: Arc<SharedMemory>,
    current: Current,
    node: &'static str,
    /// The zero of the clock that health is measured by.
    epoch: Instant,
    /// The same in milliseconds since 1970, fixed at the start: reported times do not change when the clock
    /// is set.
    zero_ms: i64,
}

impl OutageNotices {
    /// `epoch` is the zero of the clock that health is measured by.
    pub fn new(memory: Arc<SharedMemory>, current: Current, node: &'static str, epoch: Instant) -> Self {
        let zero_ms = clock::now_ms() - epoch.elapsed().as_millis() as i64;
        Self { memory, current, node, epoch, zero_ms }
    }

    /// Exchanges reports as long as it is polled.
    pub async fn run(&self) -> Infallible {
        let mut published = Published::default();
        loop {
            tokio::time::sleep(EVERY).await;
            let now = self.now();
            let snapshot = self.current.get();
            let news = self.own(&snapshot, now);
            let is_news = news.outages != published.outages || news.config != published.config;
            if is_news && self.publish(&news).await.is_ok() {
                published = news;
            }
            // Redis is away: the last report may be lost.
            if self.receive(&snapshot, now).await.is_err() {
                published = Published::default();
            }
        }
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.epoch.elapsed().as_millis() as u64)
    }

    fn own(&self, snapshot: &Snapshot, now: Timestamp) -> Published {
        let mut outages = Vec::new();
        for (operation, health) in snapshot.health.known() {
            let of = |outage: Outage| ReportedOutage {
                operation: operation.as_str().to_owned(),
                until_ms: self.zero_ms.saturating_add(i64::try_from(outage.until.0).unwrap_or(i64::MAX)),
                provider: outage.provider,
                model: outage.model,
                key: outage.key,
                kind: outage.kind.as_str().to_owned(),
            };
            outages.extend(health.outages(MOST - outages.len(), now).into_iter().map(of));
        }
        Published { config: snapshot.config.clone(), outages }
    }

    async fn publish(&self, published: &Published) -> Result<(), Unreachable> {
        if published.outages.is_empty() {
            return self.memory.ask(Cmd::new().arg("HDEL").arg(NAME).arg(self.node)).await;
        }
        let text = serde_json::to_string(published).unwrap_or_default();
        let () = self.memory.ask(Cmd::new().arg("HSET").arg(NAME).arg(self.node).arg(text)).await?;
        self.memory.ask(Cmd::new().arg("PEXPIRE").arg(NAME).arg(KEPT_MS)).await
    }

    async fn receive(&self, snapshot: &Snapshot, now: Timestamp) -> Result<(), Unreachable> {
        let all: HashMap<String, String> = self.memory.ask(Cmd::new().arg("HGETALL").arg(NAME)).await?;
        for (node, text) in all {
            if node == self.node {
                continue;
            }
            let published: Published = serde_json::from_str(&text).unwrap_or_default();
            if published.config == snapshot.config {
                published.outages.iter().for_each(|outage| self.take(outage, snapshot, now));
            }
            // A node that has ended cannot remove its report.
            if published.outages.iter().all(|outage| outage.until_ms <= clock::now_ms()) {
                let () = self.memory.ask(Cmd::new().arg("HDEL").arg(NAME).arg(&node)).await?;
            }
        }
        Ok(())
    }

    fn take(&self, outage: &ReportedOutage, snapshot: &Snapshot, now: Timestamp) {
        let operation = Operation::ALL.into_iter().find(|operation| operation.as_str() == outage.operation);
        let (Some(operation), Some(kind)) = (operation, OutageKind::named(&outage.kind)) else { return };
        if !snapshot.providers.contains_key(&outage.provider) {
            return;
        }
        let until = Timestamp(u64::try_from(outage.until_ms - self.zero_ms).unwrap_or_default());
        let outage = Outage {
            provider: outage.provider.clone(),
            model: outage.model.clone(),
            key: outage.key.clone(),
            kind,
            until,
        };
        snapshot.health.of(operation).learn(&outage, now);
    }
}
