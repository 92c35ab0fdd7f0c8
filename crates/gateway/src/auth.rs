//! Who may call: static keys of the configuration and keys of the database, looked up by their keyed hash.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use canon::{Error, ErrorKind};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use store::{KeyHasher, Store};
use tokio::time::Instant;

use crate::config::KeyEntry;

/// How old the view of the database's keys may be when a request arrives. A revoked key works at most this long.
const FRESH: Duration = Duration::from_secs(2);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `static:LABEL`, or the id of the key in the database.
    pub key_id: Arc<str>,
    /// May use the admin routes.
    pub admin: bool,
}

/// Keys and whose they are, by the hash of the key.
#[derive(Default)]
pub struct Keys(HashMap<[u8; 32], Caller>);

impl Keys {
    /// The keys of the configuration.
    pub fn fixed(hasher: &KeyHasher, api_keys: &[KeyEntry], admin_keys: &[KeyEntry]) -> Self {
        let mut fixed = HashMap::new();
        for (keys, admin) in [(api_keys, false), (admin_keys, true)] {
            for key in keys {
                let caller = Caller { key_id: format!("static:{}", key.label).into(), admin };
                fixed.insert(hasher.hash(key.secret.expose()), caller);
            }
        }
        Self(fixed)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn find(&self, hash: &[u8; 32]) -> Option<Caller> {
        self.0.get(hash).cloned()
    }
}

/// Checks keys.
pub struct Auth {
    hasher: KeyHasher,
    stored: ArcSwap<Keys>,
    store: Store,
    started: Instant,
    checked_ms: AtomicU64,
    refreshing: AtomicBool,
    marker: AtomicU64,
}

impl Auth {
    /// Loads the keys of the database.
    pub async fn new(store: Store) -> Result<Arc<Self>, store::StoreError> {
        let auth = Self {
            hasher: store.key_hasher(),
            stored: ArcSwap::default(),
            store,
            started: Instant::now(),
            checked_ms: AtomicU64::new(0),
            refreshing: AtomicBool::new(false),
            marker: AtomicU64::new(u64::MAX),
        };
        auth.reload().await?;
        Ok(Arc::new(auth))
    }

    /// Whether the database has any key.
    pub fn has_keys(&self) -> bool {
        !self.stored.load().is_empty()
    }

    /// The caller of a request. The key is looked up in memory, first among those of the configuration; one that is not
    /// there is looked for in the database once, because it may have just been made.
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
        if let Some(caller) = self.find(fixed, &hash) {
            self.refresh_if_old();
            return Ok(caller);
        }
        if self.is_old(Duration::from_millis(200)) {
            // Seldom, and large: in a box, it makes no room for itself in every connection.
            Box::pin(self.reload()).await.map_err(|_| {
                Error::gateway(
                    ErrorKind::StoreUnavailable,
                    "API keys cannot be checked: the database does not answer.",
                )
            })?;
            if let Some(caller) = self.find(fixed, &hash) {
                return Ok(caller);
            }
        }
        Err(Error::caller(ErrorKind::Authentication, "The API key is not valid."))
    }

    fn find(&self, fixed: &Keys, hash: &[u8; 32]) -> Option<Caller> {
        fixed.find(hash).or_else(|| self.stored.load().find(hash))
    }

    fn is_old(&self, age: Duration) -> bool {
        let now = self.started.elapsed().as_millis() as u64;
        now.saturating_sub(self.checked_ms.load(Ordering::Relaxed)) >= age.as_millis() as u64
    }

    /// Looks after the database in the background: requests never wait for it, and nothing ticks without requests.
    fn refresh_if_old(self: &Arc<Self>) {
        if !self.is_old(FRESH) || self.refreshing.swap(true, Ordering::Relaxed) {
            return;
        }
        let auth = self.clone();
        tokio::spawn(async move {
            if let Err(error) = auth.reload().await {
                tracing::warn!(%error, "the keys of the database could not be read; the last known ones stay");
            }
            auth.refreshing.store(false, Ordering::Relaxed);
        });
    }

    /// Reads the keys of the database again, if they have changed.
    pub async fn reload(&self) -> Result<(), store::StoreError> {
        let now = self.started.elapsed().as_millis() as u64;
        let marker = self.store.change_marker().await? as u64;
        if self.marker.load(Ordering::Relaxed) != marker {
            let keys = self.store.active_keys().await?;
            let caller = |id: &str| Caller { key_id: id.into(), admin: false };
            let keys = keys.iter().map(|key| (key.hash, caller(&key.id))).collect();
            self.stored.store(Arc::new(Keys(keys)));
            self.marker.store(marker, Ordering::Relaxed);
        }
        self.checked_ms.store(now.max(1), Ordering::Relaxed);
        Ok(())
    }
}

/// The key that a request presents: `Authorization: Bearer KEY` (the scheme in any case), one of the headers that
/// clients of other APIs use, or `?key=`. The first that is there counts.
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

/// Headers that hold a key alone: of Anthropic's clients, Azure's and Google's.
const KEY_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

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
