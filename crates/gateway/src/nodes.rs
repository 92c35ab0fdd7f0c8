//! This process among the processes on the same database.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Audit, Node, STOPPED, Store, WriteOutcome};

use crate::clock;
use crate::cluster::Leases;
use crate::identity::Auth;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metering::Metering;
use crate::reload::Reloader;
use crate::snapshot::Current;

/// The interval of writing the row.
const BEAT: Duration = Duration::from_secs(5);
/// How long a stop waits for the row.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long rows are kept. A node that was not seen for so long is lost.
const KEPT_MS: i64 = 24 * 3_600_000;
/// Every how many beats the node looks for lost nodes: once a minute.
const LOOK_EVERY: u64 = 12;

/// The identity of this process.
pub struct ThisNode {
    /// New at each start.
    id: &'static str,
    name: String,
    started_at_ms: i64,
}

impl Default for ThisNode {
    fn default() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // Usage records contain it too; it is created once per process.
        let id = Box::leak(format!("node_{}", uuid::Uuid::now_v7().simple()).into_boxed_str());
        Self { id, name, started_at_ms: clock::now_ms() }
    }
}

impl ThisNode {
    pub fn id(&self) -> &'static str {
        self.id
    }
}

/// The result of the last reload: `at`, `reloaded`, and the settings that need a restart or the reason of a
/// failure. Null before the first.
fn last_reload(reloader: &Reloader) -> Value {
    match reloader.last() {
        None => Value::Null,
        Some((at_ms, Ok(done))) => {
            json!({"at": at_ms / 1000, "reloaded": true, "needs_restart": done.needs_restart})
        }
        Some((at_ms, Err(reason))) => json!({"at": at_ms / 1000, "reloaded": false, "reason": reason}),
    }
}

/// Reports to the others that this process is alive.
pub struct Heartbeat {
    pub node: Arc<ThisNode>,
    /// The database with the row.
    pub store: Store,
    /// The configuration in force.
    pub current: Current,
    /// Has the result of reloads.
    pub reloader: Arc<Reloader>,
    /// Has the spool.
    pub metering: Metering,
    /// Knows whether it serves.
    pub lifecycle: Arc<Lifecycle>,
    /// Picks up changes by other processes.
    pub auth: Arc<Auth>,
    /// The parts of shared budgets; none for a single node.
    pub leases: Option<Arc<Leases>>,
}

/// Declares a node lost; refused while it may still spend what it holds.
pub async fn forget(store: &Store, id: &str, actor: &str) -> Result<WriteOutcome, store::StoreError> {
    let now = clock::now_ms();
    let target = format!("node:{id}");
    let audit = Audit { actor: actor.to_owned(), action: "node.forget", target, detail: "{}".to_owned() };
    store.forget_node(id, now - limits::LOST_MS, audit, now).await
}

/// Why a node is not forgotten.
pub fn not_forgotten(id: &str) -> String {
    let minutes = limits::LOST_MS / 60_000;
    format!(
        "The node {id:?} was seen in the last {minutes} minutes: it may still spend what it holds of budgets"
    )
}

impl Heartbeat {
    /// Writes the row periodically, as long as this is polled.
    pub async fn beat(&self) -> Infallible {
        let mut is_said = false;
        for beat in 0_u64.. {
            if beat.is_multiple_of(LOOK_EVERY) {
                self.release_lost_nodes().await;
            }
            let state = if self.lifecycle.phase() == Phase::Serving { "serving" } else { "draining" };
            match self.report(state).await {
                Ok(()) => is_said = false,
                Err(error) if !is_said => {
                    is_said = true;
                    tracing::warn!(%error, "the state of this node cannot be reported to the others: the database does not answer");
                }
                Err(_) => {}
            }
            // SQLite notifies nobody of changes, and requests with keys of the configuration do not check for
            // them.
            self.auth.look();
            tokio::time::sleep(BEAT).await;
        }
        std::future::pending().await
    }

    /// Deletes the rows of lost nodes, once their parts of budgets are free.
    async fn release_lost_nodes(&self) {
        let before = clock::now_ms() - KEPT_MS;
        let Ok(nodes) = self.store.nodes().await else { return };
        for node in nodes.iter().filter(|node| node.seen_at_ms < before) {
            let is_free = match &self.leases {
                Some(leases) => leases.release(std::slice::from_ref(&node.id)).await.unwrap_or(false),
                None => true,
            };
            if is_free && let Err(error) = self.store.delete_node(&node.id, before).await {
                tracing::warn!(%error, node = node.id, "the row of a lost node cannot be deleted yet");
            }
        }
    }

    /// Reports that it has ended.
    pub async fn stop(&self) {
        // If the database does not answer, the age of the row shows the end.
        let _ = tokio::time::timeout(LAST_WORD, self.report(STOPPED)).await;
    }

    async fn report(&self, state: &str) -> Result<(), store::StoreError> {
        let now = clock::now_ms();
        let node = Node {
            id: self.node.id.to_owned(),
            name: self.node.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            config: self.current.get().config.clone(),
            started_at_ms: self.node.started_at_ms,
            seen_at_ms: now,
            state: state.to_owned(),
            spool_bytes: i64::try_from(self.metering.spool_bytes()).unwrap_or(i64::MAX),
            reload: last_reload(&self.reloader).to_string(),
        };
        self.store.report_node(&node).await
    }
}
