//! Finds the caller: keys of the configuration and of the database, looked up by their keyed hash.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet, VecDeque};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use canon::{Error, ErrorKind};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use routing::Suspensions;
use store::{KeyHash, KeyHasher, Project, Store, StoreError, Suspension};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Caller, Keys, Purges, Roles, caller};
use crate::admission::Books;
use crate::clock;

/// The maximum age of the keys in memory when a request is answered with them. A revoked key works for at
/// most this long.
const FRESH: Duration = Duration::from_secs(1);
/// From this age on they are renewed in the background, so that under traffic no request waits.
const RENEW: Duration = Duration::from_millis(500);
/// The minimum time between two checks of the database: five queries per second, however many unknown keys
/// arrive.
const PAUSE: Duration = Duration::from_millis(200);
/// How long a request waits for the database.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a read of all keys may take: 100,000 keys on a loaded machine.
const FULL_PATIENCE: Duration = Duration::from_mins(2);
/// For this time after a failure requests do not wait for the database, nor while it is asked again.
const AWAY: Duration = Duration::from_secs(1);
/// How long a key that is not in the database is refused without another check: keys are random, so it
/// becomes valid only when an older database is restored.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);
/// A lost connection for notifications is reopened after this time. Checks continue meanwhile.
const LISTEN_AGAIN: Duration = Duration::from_secs(2);
/// Maximum number of remembered unknown keys.
const UNKNOWN_KEYS: usize = 10_000;

/// Checks keys.
pub struct Auth {
    hasher: KeyHasher,
    source: Box<dyn KeySource>,
    books: Books,
    stored: ArcSwap<Stored>,
    suspensions: Suspensions,
    purges: Arc<Purges>,
    /// The last check of the database.
    looked: watch::Sender<DatabaseCheck>,
    /// Held by a check: of two at once, the one that read first could end last.
    turn: tokio::sync::Mutex<()>,
    /// The next check reads everything.
    reads_all: AtomicBool,
    unknown: Mutex<Unknown>,
}

/// Keys as they are stored.
pub struct KeyList {
    /// Changes with every change of a key.
    pub marker: i64,
    /// None when the given marker is current.
    pub known: Option<DatabaseState>,
}

/// The database's data for routing and the admission of requests.
#[derive(Default)]
pub struct DatabaseState {
    /// The keys and projects that it describes; none: all.
    pub changed: Option<Changed>,
    pub keys: Vec<KeyHash>,
    pub projects: Vec<Project>,
    pub suspensions: Vec<Suspension>,
    /// When the caches of projects were purged.
    pub purges: HashMap<String, i64>,
}

/// The ids of keys and projects that were created, changed or deleted.
#[derive(Default)]
pub struct Changed {
    pub keys: HashSet<String>,
    pub projects: HashSet<String>,
}

/// The content of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notification {
    Change,
    /// The connection was lost: the database may be another one that lacks the last changes.
    Reconnected,
}

pub trait KeySource: Send + Sync + 'static {
    /// The changes since the marker; everything without a marker.
    fn keys_since(&self, marker: Option<i64>) -> BoxFuture<'_, Result<KeyList, StoreError>>;

    /// Calls back on every notified change. Sources without notifications never do; checks find their
    /// changes.
    fn listen<'a>(&'a self, _heard: &'a (dyn Fn(Notification) + Send + Sync)) -> BoxFuture<'a, Infallible> {
        Box::pin(std::future::pending())
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

impl KeySource for Store {
    fn keys_since(&self, marker: Option<i64>) -> BoxFuture<'_, Result<KeyList, StoreError>> {
        Box::pin(async move {
            // The marker comes first: a change in between is found by the next check.
            let now = self.change_marker().await?;
            if marker == Some(now) {
                return Ok(KeyList { marker: now, known: None });
            }
            let changed = match marker {
                Some(marker) => self.changed(marker, now).await?.map(|targets| (marker, targets)),
                None => None,
            };
            let (changed, keys, projects) = match changed {
                Some((marker, targets)) => {
                    let changed = Changed::of(&targets);
                    let keys = self.active_keys_changed(marker).await?;
                    (Some(changed), keys, self.projects_changed(marker).await?)
                }
                None => (None, self.active_keys().await?, self.projects_after("", u32::MAX).await?),
            };
            let (suspensions, purges) = (self.suspensions().await?, self.cache_purges().await?);
            Ok(KeyList {
                marker: now,
                known: Some(DatabaseState { changed, keys, projects, suspensions, purges }),
            })
        })
    }

    fn listen<'a>(&'a self, heard: &'a (dyn Fn(Notification) + Send + Sync)) -> BoxFuture<'a, Infallible> {
        Box::pin(async move {
            // Changes before the start of listening are found by the following check.
            let mut first = Notification::Change;
            loop {
                if let Ok(mut changes) = self.changes().await {
                    heard(std::mem::replace(&mut first, Notification::Reconnected));
                    while changes.next().await.is_ok() {
                        heard(Notification::Change);
                    }
                }
                tokio::time::sleep(LISTEN_AGAIN).await;
            }
        })
    }
}

impl Changed {
    fn of(targets: &[String]) -> Self {
        let mut changed = Self::default();
        for target in targets {
            match target.split_once(':') {
                Some(("key", id)) => changed.keys.insert(id.to_owned()),
                Some(("project", id)) => changed.projects.insert(id.to_owned()),
                _ => false,
            };
        }
        changed
    }
}

/// The keys and projects of the database.
#[derive(Default)]
pub struct Stored {
    pub keys: Keys,
    suspensions: Vec<Suspension>,
    marker: Option<i64>,
}

/// A check of the database.
#[derive(Clone, Copy)]
struct DatabaseCheck {
    /// The keys in memory are those of this time.
    as_of: Instant,
    /// When the last check began, or ended if it failed.
    began: Instant,
    failed: Option<Instant>,
    /// A task has begun one, or is about to.
    running: bool,
}

/// The database does not answer.
struct Unreachable;

impl Auth {
    /// Has the secret of the installation.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }

    /// Loads the keys of the database.
    pub async fn new(store: Store, books: Books) -> Result<Arc<Self>, StoreError> {
        Self::with_source(store.key_hasher(), Box::new(store), books).await
    }

    /// Loads the keys of any source.
    pub async fn with_source(
        hasher: KeyHasher,
        source: Box<dyn KeySource>,
        books: Books,
    ) -> Result<Arc<Self>, StoreError> {
        let now = clock::now();
        let auth = Self {
            hasher,
            source,
            books,
            stored: ArcSwap::default(),
            suspensions: Suspensions::default(),
            purges: Arc::default(),
            looked: watch::Sender::new(DatabaseCheck {
                as_of: now,
                began: now,
                failed: None,
                running: false,
            }),
            turn: tokio::sync::Mutex::default(),
            reads_all: AtomicBool::new(false),
            unknown: Mutex::default(),
        };
        auth.reload().await?;
        Ok(Arc::new(auth))
    }

    /// The caller of a request. Keys of the configuration are looked up first. The database's keys in memory
    /// are used while they are fresh. An unknown key causes one check, because it may be new.
    pub async fn admit(
        self: &Arc<Self>,
        fixed: &Keys,
        headers: &HeaderMap,
        query: Option<&str>,
    ) -> Result<Caller, Error> {
        let Some(key) = presented(headers, query) else {
            return Err(Error::caller(
                ErrorKind::Authentication,
                "The API key is missing; send it as \"Authorization: Bearer KEY\".",
            ));
        };
        let hash = self.hasher.hash(&key);
        let fixed_key = fixed.keys.get(&hash);
        if fixed_key.is_some_and(|known| known.project.is_some()) {
            // The configuration has all the data.
            return self.find(fixed, &hash).unwrap_or_else(|| Err(not_valid()));
        }
        let now = clock::now();
        if fixed_key.is_some() || self.stored.load().keys.contains(&hash) {
            let age = now.saturating_duration_since(self.looked.borrow().as_of);
            if fixed_key.is_some() {
                // Its project is the database's default; the key itself is valid without the database.
                if age > FRESH {
                    self.look();
                }
            } else if age > FRESH {
                // Boxed because it is rare and large: unboxed it would enlarge the future of every
                // connection.
                Box::pin(self.renewed()).await;
            } else if age > RENEW {
                self.look();
            }
            return self.find(fixed, &hash).unwrap_or_else(|| Err(not_valid()));
        }
        if self.unknown().contains(&hash, now) {
            return Err(not_valid());
        }
        Box::pin(self.unknown_key(fixed, &hash, now)).await
    }

    /// The caller with a key that is in memory, without a check of the database.
    pub fn known(&self, fixed: &Keys, headers: &HeaderMap, query: Option<&str>) -> Option<Caller> {
        let hash = self.hasher.hash(&presented(headers, query)?);
        self.find(fixed, &hash)?.ok()
    }

    /// No request came for a while: a key may have been revoked since. While the database is away the last
    /// known keys stay in force.
    async fn renewed(self: &Arc<Self>) {
        let fresh_enough = clock::now().checked_sub(FRESH).unwrap_or_else(clock::now);
        let _ = self.knowledge_of(fresh_enough).await;
    }

    async fn unknown_key(
        self: &Arc<Self>,
        fixed: &Keys,
        hash: &[u8; 32],
        now: Instant,
    ) -> Result<Caller, Error> {
        self.knowledge_of(now).await.map_err(|Unreachable| {
            let message = "API keys cannot be checked: the database does not answer.";
            Error::gateway(ErrorKind::StoreUnavailable, message)
        })?;
        self.find(fixed, hash).unwrap_or_else(|| {
            self.unknown().insert(*hash, now);
            Err(not_valid())
        })
    }

    /// Waits until the keys in memory are those of this time or later. All waiting requests share a check.
    async fn knowledge_of(self: &Arc<Self>, time: Instant) -> Result<(), Unreachable> {
        let mut looked = self.looked.subscribe();
        let answer = async {
            let begins = clock::now();
            loop {
                let look = *looked.borrow_and_update();
                if look.as_of >= time {
                    return Ok(());
                }
                let is_away = look.failed.is_some_and(|at| {
                    let since = begins.saturating_duration_since(at);
                    at >= begins || since < AWAY || (look.running && since < AWAY + PATIENCE)
                });
                self.look();
                if is_away || looked.changed().await.is_err() {
                    return Err(Unreachable);
                }
            }
        };
        tokio::time::timeout(PATIENCE, answer).await.unwrap_or(Err(Unreachable))
    }

    /// The caller of a dashboard session, for a project; none when the project is not in force.
    pub fn of_session(&self, fixed: &Keys, name: &str, project: &str) -> Option<Caller> {
        let stored = self.stored.load();
        let found = fixed.projects().get(project).or_else(|| stored.keys.projects().get(project))?;
        let project = found.clone();
        (!project.is_disabled).then(|| Caller {
            key_id: "console".into(),
            owner: format!("console:{name}").into(),
            admin: false,
            roles: Roles::INFERENCE,
            project,
            own: None,
        })
    }

    /// The current roles of this owner, as fresh as for a request; none when the key is deleted, expired or
    /// disabled.
    pub async fn roles_of(self: &Arc<Self>, fixed: &Keys, owner: &str) -> Option<Roles> {
        if let Some(roles) = fixed.roles_of(owner) {
            return Some(roles);
        }
        if clock::now().saturating_duration_since(self.looked.borrow().as_of) > FRESH {
            self.renewed().await;
        }
        self.stored.load().keys.roles_of(owner)
    }

    fn find(&self, fixed: &Keys, hash: &[u8; 32]) -> Option<Result<Caller, Error>> {
        caller(fixed, &self.stored.load().keys, hash)
    }

    /// Checks on every notification of a change, as long as this is polled.
    pub async fn listen(self: &Arc<Self>) -> Infallible {
        let heard = |heard: Notification| {
            if heard == Notification::Reconnected {
                self.reads_all.store(true, Ordering::Relaxed);
            }
            self.look();
        };
        self.source.listen(&heard).await
    }

    /// Starts a check of the database, unless one is running. Without requests there are no checks.
    pub fn look(self: &Arc<Self>) {
        let begins = self.looked.send_if_modified(|look| !std::mem::replace(&mut look.running, true));
        if !begins {
            return;
        }
        let running = RunningCheck(self.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "one check of the database; dropping `running` reports its end"
        )]
        tokio::spawn(async move {
            let auth = &running.0;
            let last = auth.looked.borrow().began;
            tokio::time::sleep_until(last + PAUSE).await;
            if let Err(error) = auth.reload().await {
                tracing::warn!(%error, "the keys of the database could not be read; the last known ones stay");
            }
        });
    }

    /// Reads what has changed in the database since the last check.
    pub async fn reload(&self) -> Result<(), StoreError> {
        let _turn = self.turn.lock().await;
        let began = clock::now();
        self.looked.send_modify(|look| look.began = began);
        let stored = self.stored.load_full();
        let reads_all = self.reads_all.swap(false, Ordering::Relaxed);
        let marker = stored.marker.filter(|_| !reads_all);
        let patience = if marker.is_some() { PATIENCE } else { FULL_PATIENCE };
        let answer = tokio::time::timeout(patience, self.source.keys_since(marker)).await;
        match answer.unwrap_or(Err(StoreError::Away)) {
            Ok(KeyList { marker, known }) => {
                if let Some(DatabaseState { changed, keys, projects, suspensions, purges }) = known {
                    self.purges.set(purges);
                    let keys = match changed {
                        Some(changed) => stored.keys.changed(&changed, &keys, &projects, &self.books),
                        None => Keys::stored(&keys, &projects, &self.books),
                    };
                    // A budget that is new here must know its earlier spending before it is in force.
                    if let Err(error) = self.books.load().await {
                        self.failed();
                        return Err(error);
                    }
                    self.stored.store(Arc::new(Stored { keys, suspensions, marker: Some(marker) }));
                }
                // Also without changes: a suspension may have expired.
                let suspensions = self.active_suspensions();
                self.suspensions.set(
                    suspensions
                        .iter()
                        .map(|suspension| (suspension.provider.as_str(), suspension.key.as_deref())),
                );
                self.looked.send_modify(|look| {
                    look.as_of = look.as_of.max(began);
                    look.failed = None;
                    look.running = false;
                });
                Ok(())
            }
            Err(error) => {
                self.reads_all.fetch_or(reads_all, Ordering::Relaxed);
                self.failed();
                Err(error)
            }
        }
    }

    fn failed(&self) {
        self.looked.send_modify(|look| {
            look.failed = Some(clock::now());
            look.running = false;
        });
    }

    /// The suspensions, for routing.
    pub fn suspensions(&self) -> &Suspensions {
        &self.suspensions
    }

    /// The purges, for the response cache.
    pub fn purges(&self) -> &Arc<Purges> {
        &self.purges
    }

    /// The suspensions as of the last check.
    pub fn active_suspensions(&self) -> Vec<Suspension> {
        let (stored, now) = (self.stored.load(), clock::now_ms());
        stored.suspensions.iter().filter(|suspension| suspension.is_active(now)).cloned().collect()
    }

    /// The database's keys and projects as of the last check.
    pub fn stored(&self) -> Arc<Stored> {
        self.stored.load_full()
    }

    fn unknown(&self) -> MutexGuard<'_, Unknown> {
        self.unknown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_valid() -> Error {
    Error::caller(ErrorKind::Authentication, "The API key is not valid.")
}

/// A check that has begun. Its failure ends it too: the next one may begin.
struct RunningCheck(Arc<Auth>);

impl Drop for RunningCheck {
    fn drop(&mut self) {
        self.0.looked.send_if_modified(|look| std::mem::replace(&mut look.running, false));
    }
}

/// Keys that the database does not have, the oldest first.
#[derive(Default)]
struct Unknown {
    since: HashMap<[u8; 32], Instant>,
    order: VecDeque<[u8; 32]>,
}

impl Unknown {
    fn contains(&self, hash: &[u8; 32], now: Instant) -> bool {
        self.since.get(hash).is_some_and(|since| now.saturating_duration_since(*since) < UNKNOWN_FOR)
    }

    fn insert(&mut self, hash: [u8; 32], now: Instant) {
        if self.since.insert(hash, now).is_none() {
            self.order.push_back(hash);
        }
        if self.order.len() > UNKNOWN_KEYS
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
        }
    }
}

/// The key that a request presents: `Authorization: Bearer KEY` (the scheme in any case), one of the headers
/// that clients of other APIs use, or `?key=`. The first one is used.
pub fn presented<'a>(headers: &'a HeaderMap, query: Option<&'a str>) -> Option<Cow<'a, str>> {
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, key) = value.trim().split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let filled = |key: &&str| !key.is_empty();
    let other = |name: &HeaderName| headers.get(name)?.to_str().ok().map(str::trim).filter(filled);
    let header = bearer.filter(filled).or_else(|| KEY_HEADERS.iter().find_map(other));
    header.map(Cow::Borrowed).or_else(|| {
        let pairs = form_urlencoded::parse(query?.as_bytes());
        pairs.into_iter().find(|(name, key)| name == "key" && !key.is_empty()).map(|(_, key)| key)
    })
}

/// Headers with a bare key: of Anthropic's clients, Azure's and Google's.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;
    use store::KeyFields;

    use super::*;

    /// A database of keys.
    #[derive(Clone, Default)]
    struct Fake(Arc<Mutex<State>>);

    #[derive(Default)]
    struct State {
        marker: i64,
        keys: Vec<KeyHash>,
        looks: usize,
        fails: bool,
        takes: Duration,
    }

    impl KeySource for Fake {
        fn keys_since(&self, marker: Option<i64>) -> BoxFuture<'_, Result<KeyList, StoreError>> {
            Box::pin(async move {
                let takes = {
                    let mut state = self.0.lock().unwrap();
                    state.looks += 1;
                    state.takes
                };
                tokio::time::sleep(takes).await;
                let state = self.0.lock().unwrap();
                if state.fails {
                    return Err(StoreError::Away);
                }
                let known = (marker != Some(state.marker))
                    .then(|| DatabaseState { keys: state.keys.clone(), ..DatabaseState::default() });
                Ok(KeyList { marker: state.marker, known })
            })
        }
    }

    impl Fake {
        fn change(&self, change: impl FnOnce(&mut State)) {
            let mut state = self.0.lock().unwrap();
            change(&mut state);
            state.marker += 1;
        }

        fn looks(&self) -> usize {
            self.0.lock().unwrap().looks
        }

        async fn auth(&self) -> Arc<Auth> {
            let hasher = KeyHasher::new([7; 32]);
            Auth::with_source(hasher, Box::new(self.clone()), Books::default()).await.unwrap()
        }
    }

    fn key(name: &str) -> KeyHash {
        let hash = KeyHasher::new([7; 32]).hash(name);
        KeyHash { id: name.to_owned(), fields: KeyFields::named(name), hash, previous: None }
    }

    async fn ask(auth: &Arc<Auth>, key: &str) -> Result<(), ErrorKind> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", HeaderValue::try_from(key).unwrap());
        auth.admit(&Keys::default(), &headers, None).await.map(drop).map_err(|error| error.kind)
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_key_is_refused_at_the_first_request_after_two_seconds() {
        for quiet in [Duration::from_millis(2001), Duration::from_secs(3600)] {
            let fake = Fake::default();
            fake.change(|state| state.keys = vec![key("a"), key("b")]);
            let auth = fake.auth().await;
            assert_eq!(ask(&auth, "a").await, Ok(()));
            fake.change(|state| state.keys = vec![key("b")]);
            assert_eq!(ask(&auth, "a").await, Ok(()), "the key was checked a moment ago");
            tokio::time::advance(quiet).await;
            let many = (0..50).map(|_| {
                let auth = auth.clone();
                tokio::spawn(async move { ask(&auth, "a").await })
            });
            for answer in many.collect::<Vec<_>>() {
                assert_eq!(answer.await.unwrap(), Err(ErrorKind::Authentication));
            }
            assert_eq!(ask(&auth, "b").await, Ok(()));
            assert_eq!(fake.looks(), 2, "the requests share one read of the keys");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn under_traffic_no_request_waits_for_the_database() {
        let fake = Fake::default();
        fake.change(|state| state.keys = vec![key("a")]);
        let auth = fake.auth().await;
        fake.change(|state| state.takes = Duration::from_millis(500));
        for _ in 0..600 {
            let before = Instant::now();
            assert_eq!(ask(&auth, "a").await, Ok(()));
            assert_eq!(before, Instant::now());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!((60..=121).contains(&fake.looks()), "{}", fake.looks());
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_keys_share_a_few_reads_and_a_new_key_works_at_once() {
        let fake = Fake::default();
        let auth = fake.auth().await;
        let started = Instant::now();
        for round in 0..20 {
            let many = (0..100).map(|number| {
                let auth = auth.clone();
                tokio::spawn(async move { ask(&auth, &format!("{round}-{number}")).await })
            });
            for answer in many.collect::<Vec<_>>() {
                assert_eq!(answer.await.unwrap(), Err(ErrorKind::Authentication));
            }
        }
        assert!(fake.looks() <= 2 + started.elapsed().as_millis() as usize / 200, "{}", fake.looks());
        // Unknown keys that were asked before cause no check.
        let (before, now) = (fake.looks(), Instant::now());
        for number in 0..100 {
            assert_eq!(ask(&auth, &format!("3-{number}")).await, Err(ErrorKind::Authentication));
        }
        assert_eq!((fake.looks(), Instant::now()), (before, now));
        fake.change(|state| state.keys = vec![key("new")]);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(ask(&auth, "new").await, Ok(()));
        assert!(auth.unknown().order.len() <= UNKNOWN_KEYS);
    }

    #[tokio::test(start_paused = true)]
    async fn the_memory_of_unknown_keys_is_bounded_and_expires() {
        let mut unknown = Unknown::default();
        let now = Instant::now();
        let hash = |number: usize| *blake_like(number).first_chunk::<32>().unwrap();
        (0..2 * UNKNOWN_KEYS).for_each(|number| unknown.insert(hash(number), now));
        assert_eq!((unknown.since.len(), unknown.order.len()), (UNKNOWN_KEYS, UNKNOWN_KEYS));
        assert!(!unknown.contains(&hash(0), now) && unknown.contains(&hash(2 * UNKNOWN_KEYS - 1), now));
        assert!(!unknown.contains(&hash(2 * UNKNOWN_KEYS - 1), now + UNKNOWN_FOR));
    }

    fn blake_like(number: usize) -> Vec<u8> {
        number.to_le_bytes().repeat(4)
    }

    #[tokio::test(start_paused = true)]
    async fn without_the_database_known_keys_work_and_unknown_ones_get_store_unavailable() {
        let fake = Fake::default();
        fake.change(|state| state.keys = vec![key("a")]);
        let auth = fake.auth().await;
        fake.change(|state| state.fails = true);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(ask(&auth, "a").await, Ok(()));
            assert_eq!(ask(&auth, "other").await, Err(ErrorKind::StoreUnavailable));
        }
        // Requests wait only once for a database that does not answer at all.
        fake.change(|state| state.takes = Duration::from_secs(3600));
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let (before, mut waits) = (Instant::now(), 0);
        for _ in 0..100 {
            let asked = Instant::now();
            assert_eq!(ask(&auth, "a").await, Ok(()));
            waits += usize::from(asked != Instant::now());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(waits <= 1 && before.elapsed() < Duration::from_secs(20), "{waits} {:?}", before.elapsed());
        fake.change(|state| (state.fails, state.takes) = (false, Duration::ZERO));
        tokio::time::sleep(Duration::from_secs(7200)).await;
        fake.change(|state| state.keys = vec![key("other")]);
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert_eq!(ask(&auth, "a").await, Err(ErrorKind::Authentication));
        assert_eq!(ask(&auth, "other").await, Ok(()));
    }

    /// The meaning of every key, and the projects in force.
    fn meaning(keys: &Keys, secrets: &[[u8; 32]]) -> Vec<String> {
        let of = |hash: &[u8; 32]| match caller(&Keys::default(), keys, hash) {
            None => "unknown".to_owned(),
            Some(Err(error)) => error.message.into_owned(),
            Some(Ok(caller)) => format!(
                "{} {:?} {:?} {}",
                caller.key_id,
                caller.project.policy,
                caller.roles,
                caller.own.is_some_and(|own| own.singles_out_models())
            ),
        };
        let mut projects: Vec<&str> = keys.projects().keys().map(|id| &**id).collect();
        projects.sort_unstable();
        secrets.iter().map(of).chain([projects.join(" ")]).collect()
    }

    /// A random change: what, which key, which project, which policy.
    type Step = (u8, prop::sample::Index, u8, u8);

    #[derive(Default)]
    struct CreatedKeys {
        ids: Vec<String>,
        hashes: Vec<[u8; 32]>,
    }

    proptest! {
        #![proptest_config(testkit::random::cases(24))]
        #[test]
        fn after_any_changes_the_keys_are_those_of_a_full_read_and_only_changed_rows_are_read(
            steps in prop::collection::vec(prop::collection::vec((0..8_u8, any::<prop::sample::Index>(), 0..5_u8, 0..3_u8), 1..4), 1..30)
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(follow(&steps));
        }
    }

    async fn follow(steps: &[Vec<Step>]) {
        let (store, books) = (Store::open("sqlite::memory:").await.unwrap(), Books::default());
        let (mut made, mut marker, mut keys) = (CreatedKeys::default(), None, Keys::default());
        for step in steps {
            for change in step {
                make(&store, &mut made, change).await;
            }
            let all = store.keys_since(None).await.unwrap().known.unwrap();
            let list = store.keys_since(marker).await.unwrap();
            if let Some(known) = list.known {
                let rows = known.keys.len() + known.projects.len();
                assert!(marker.is_none() || rows <= step.len(), "{rows} rows after {step:?}");
                keys = match known.changed {
                    Some(changed) => keys.changed(&changed, &known.keys, &known.projects, &books),
                    None => Keys::stored(&known.keys, &known.projects, &books),
                };
            }
            marker = Some(list.marker);
            let full = Keys::stored(&all.keys, &all.projects, &books);
            assert_eq!(meaning(&keys, &made.hashes), meaning(&full, &made.hashes), "after {step:?}");
        }
    }

    async fn make(store: &Store, made: &mut CreatedKeys, (what, key, project, policy): &Step) {
        let policy = ["{}", r#"{"deny":["a"]}"#, r#"{"deny":1}"#][usize::from(*policy)].to_owned();
        let project = format!("p{project}");
        let id = made.ids.get(key.index(made.ids.len().max(1))).cloned().unwrap_or_default();
        let row = store.project(&project).await.unwrap();
        match (what, store.key(&id).await.unwrap(), row) {
            (2, Some(_), _) => drop(store.revoke_key(&id, 1).await.unwrap()),
            (3, Some(_), _) => {
                let until = if policy == "{}" { 1 } else { i64::MAX };
                let secret = store.rotate_key(&id, until, None, 1).await.unwrap();
                made.hashes.extend(secret.map(|secret| store.key_hasher().hash(secret.expose())));
            }
            (4, Some(mut row), _) => {
                row.fields.disabled_at_ms = row.fields.disabled_at_ms.xor(Some(1));
                row.fields.policy = policy;
                store.update_key(&row, None, 1).await.unwrap();
            }
            (5, _, Some(mut row)) => {
                row.disabled_at_ms = row.disabled_at_ms.xor(Some(1));
                row.policy = policy;
                store.update_project(&row, None, 1).await.unwrap();
            }
            (6, _, Some(row)) => drop(store.delete_project(&project, row.version, None, 1).await.unwrap()),
            (5..=7, _, None) => {
                let (name, version, created_at_ms) = (project.clone(), 1, 1);
                let row = Project { id: project, name, policy, version, created_at_ms, disabled_at_ms: None };
                store.create_project(&row, None).await.unwrap();
            }
            _ => {
                let fields = KeyFields { project_id: project, policy, ..KeyFields::named("k") };
                let (row, secret) = store.create_key_with(&fields, None, 1).await.unwrap();
                made.ids.push(row.id);
                made.hashes.push(store.key_hasher().hash(secret.expose()));
            }
        }
    }

    #[test]
    fn keys_are_found_in_either_header_and_any_case() {
        let cases = [
            ("authorization", "Bearer abc", Some("abc")),
            ("authorization", "bearer  abc ", Some("abc")),
            ("authorization", "BEARER abc", Some("abc")),
            ("authorization", "Basic abc", None),
            ("authorization", "Bearer ", None),
            ("authorization", "abc", None),
            ("x-api-key", " abc", Some("abc")),
            ("x-api-key", "", None),
            ("api-key", "abc", Some("abc")),
            ("x-goog-api-key", "abc", Some("abc")),
            ("x-other-key", "abc", None),
        ];
        for (name, value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(presented(&headers, None).as_deref(), expected, "{name}: {value}");
            headers.append("x-goog-api-key", HeaderValue::from_static("other"));
            if name != "x-goog-api-key" {
                assert_eq!(
                    presented(&headers, None).as_deref(),
                    expected.or(Some("other")),
                    "{name}: {value}"
                );
            }
        }
    }

    #[test]
    fn a_key_may_be_in_the_query() {
        let cases = [
            ("key=abc", Some("abc")),
            ("alt=sse&key=a%2Bb", Some("a+b")),
            ("key=", None),
            ("keys=abc", None),
            ("", None),
        ];
        for (query, expected) in cases {
            assert_eq!(presented(&HeaderMap::new(), Some(query)).as_deref(), expected, "{query}");
        }
    }
}
