//! This process among those on the same database.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::{Node, Store};

use crate::clock;
use crate::identity::Auth;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metering::Metering;
use crate::reload::Reloader;
use crate::snapshot::Current;

/// How often a row is written.
const BEAT: Duration = Duration::from_secs(5);
/// Whoever was not seen for so long is gone without a word.
const GONE_MS: i64 = 20_000;
/// How long a stop waits for the row.
const LAST_WORD: Duration = Duration::from_secs(1);
/// How long rows stay.
const KEPT_MS: i64 = 24 * 3_600_000;

/// Who this process is.
pub struct ThisNode {
    /// New at each start.
    id: &'static str,
    name: String,
    started_at_ms: i64,
}

impl Default for ThisNode {
    fn default() -> Self {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        // Usage records have it too; it is made once in the life of a process.
        let id = Box::leak(format!("node_{}", uuid::Uuid::now_v7().simple()).into_boxed_str());
        Self { id, name, started_at_ms: clock::now_ms() }
    }
}

impl ThisNode {
    /// Its id.
    pub fn id(&self) -> &'static str {
        self.id
    }
}

/// What became of the last reload: `at`, `reloaded`, and what needs a restart or why nothing has changed. Null before the first.
fn last_reload(reloader: &Reloader) -> Value {
    match reloader.last() {
        None => Value::Null,
        Some((at_ms, Ok(done))) => {
            json!({"at": at_ms / 1000, "reloaded": true, "needs_restart": done.needs_restart})
        }
        Some((at_ms, Err(reason))) => json!({"at": at_ms / 1000, "reloaded": false, "reason": reason}),
    }
}

/// The state of a node as of now.
pub fn state_of(node: &Node, now_ms: i64) -> &str {
    if node.state != STOPPED && now_ms - node.seen_at_ms > GONE_MS { "gone" } else { &node.state }
}

const STOPPED: &str = "stopped";

/// Tells the others that this process is there.
pub struct Heart {
    /// Who it is.
    pub node: Arc<ThisNode>,
    /// Where it is told.
    pub store: Store,
    /// The configuration in force.
    pub current: Current,
    /// What became of reloads.
    pub reloader: Arc<Reloader>,
    /// Has the spool.
    pub metering: Metering,
    /// Whether it serves.
    pub lifecycle: Arc<Lifecycle>,
    /// Looks after what other processes have changed.
    pub auth: Arc<Auth>,
}

impl Heart {
    /// Writes the row again and again, for as long as this is polled.
    pub async fn beat(&self) -> Infallible {
        let mut is_said = false;
        loop {
            let state = if self.lifecycle.phase() == Phase::Serving { "serving" } else { "draining" };
            match self.tell(state).await {
                Ok(()) => is_said = false,
                Err(error) if !is_said => {
                    is_said = true;
                    tracing::warn!(%error, "other nodes do not hear of this one: the database does not answer");
                }
                Err(_) => {}
            }
            // SQLite tells nobody of changes, and requests with keys of the configuration do not look for them.
            self.auth.look();
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Says that it has ended.
    pub async fn stop(&self) {
        // Whoever looks sees by the time that it is gone, if the database does not answer.
        let _ = tokio::time::timeout(LAST_WORD, self.tell(STOPPED)).await;
    }

    async fn tell(&self, state: &str) -> Result<(), store::StoreError> {
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
        self.store.tell_node(&node, now - KEPT_MS).await
    }
}
