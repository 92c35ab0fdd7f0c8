//! The response cache: answers for equal requests.
//!
//! The cache stores the provider's bytes under a hash of the project and of the provider's request. An answer
//! therefore never passes to another project, and a change in the meaning of a request (an alias, a model, a
//! setting of the translation) is another hash. A cached answer is processed like a new one: from the same
//! bytes, in any caller's format, streamed or whole.
//!
//! | file | |
//! |---|---|
//! | `key` | which requests are equal |
//! | `answer` | stored answers |
//! | `flights` | equal requests at the same time |
//! | `shared` | answers that nodes share, in Redis |

mod answer;
mod flights;
mod key;
mod shared;

use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

pub use answer::CachedAnswer;
pub use flights::{Flight, FlightRole};
pub use key::{Key, KeyParts, Sent};

use crate::clock;
use crate::cluster::SharedMemory;
use crate::config::CacheSettings;
use crate::identity::Purges;
use crate::telemetry::Metrics;
use flights::Flights;
use shared::SharedAnswers;

/// The expected size of an answer; it affects only the initial size of the tables.
const USUAL_BYTES: u64 = 8 << 10;
/// Approximate size of an entry besides its answer.
const ENTRY_BYTES: u64 = 256;

pub struct ResponseCache {
    memory: Option<Cache<Key, Arc<CachedAnswer>, Bytes>>,
    shared: Option<SharedAnswers>,
    flights: Arc<Flights>,
    purges: Arc<Purges>,
    answer_limit: usize,
    metrics: Metrics,
}

/// The weight of an answer is its memory.
#[derive(Clone)]
struct Bytes;

impl Weighter<Key, Arc<CachedAnswer>> for Bytes {
    fn weight(&self, _key: &Key, answer: &Arc<CachedAnswer>) -> u64 {
        ENTRY_BYTES + answer.body.len() as u64
    }
}

impl ResponseCache {
    /// An empty cache. `shared` holds the answers that nodes share, if they do.
    pub fn new(
        settings: CacheSettings,
        shared: Option<Arc<SharedMemory>>,
        purges: Arc<Purges>,
        metrics: Metrics,
    ) -> Arc<Self> {
        let CacheSettings { memory, answer_limit, .. } = settings;
        let expected = usize::try_from(memory / USUAL_BYTES).unwrap_or(usize::MAX).max(16);
        Arc::new(Self {
            memory: (memory > 0).then(|| Cache::with_weighter(expected, memory, Bytes)),
            shared: shared.map(|memory| SharedAnswers::new(memory, metrics.clone())),
            flights: Arc::default(),
            purges,
            answer_limit,
            metrics,
        })
    }

    /// Largest answer that is kept, in bytes.
    pub fn answer_limit(&self) -> usize {
        self.answer_limit
    }

    /// When the answers of a project were purged last; 0 for never. It is a part of every key.
    pub fn purged_at(&self, project: &str) -> i64 {
        self.purges.at(project)
    }

    /// The counters of hits.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The first answer for these keys that is not older than `oldest`, with its index.
    pub async fn find(&self, keys: &[Key], oldest: Duration) -> Option<(usize, Arc<CachedAnswer>)> {
        if let Some(found) = self.in_memory(keys, oldest) {
            return Some(found);
        }
        let shared = self.shared.as_ref()?;
        let now = clock::now_ms();
        let (place, answer) = shared.find(keys, |answer| answer.is_good(now, oldest)).await?;
        let answer = Arc::new(answer);
        if let Some(memory) = &self.memory {
            memory.insert(keys[place], answer.clone());
        }
        Some((place, answer))
    }

    /// The same without waiting for other nodes.
    pub fn in_memory(&self, keys: &[Key], oldest: Duration) -> Option<(usize, Arc<CachedAnswer>)> {
        let (memory, now) = (self.memory.as_ref()?, clock::now_ms());
        keys.iter().enumerate().find_map(|(place, key)| {
            let answer = memory.get(key)?;
            answer.is_good(now, oldest).then_some((place, answer))
        })
    }

    /// Keeps an answer.
    pub fn put(self: &Arc<Self>, key: Key, answer: CachedAnswer) {
        self.metrics.response_cache("stored");
        let answer = Arc::new(answer);
        if let Some(memory) = &self.memory {
            memory.insert(key, answer.clone());
            self.metrics.response_cache_bytes().set(i64::try_from(memory.weight()).unwrap_or(i64::MAX));
        }
        if self.shared.is_some() {
            let cache = self.clone();
            #[expect(
                clippy::disallowed_methods,
                reason = "ends with the deadline of Redis; the answer does not wait for it"
            )]
            tokio::spawn(async move {
                if let Some(shared) = &cache.shared {
                    shared.put(key, &answer).await;
                }
            });
        }
    }

    /// The role of this request among equal ones.
    pub fn turn(&self, key: Key) -> FlightRole {
        self.flights.turn(key)
    }
}
