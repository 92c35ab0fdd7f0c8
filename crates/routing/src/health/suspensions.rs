//! Providers and keys that an administrator suspended by hand. Nothing is sent to them, not even as a last
//! resort.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::shards::lock;

/// Suspended providers and keys. Clones share the data; it is the same for all operations and outlives a
/// change of settings.
#[derive(Clone, Debug, Default)]
pub struct Suspensions(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// False most of the time, and then the lock is not needed.
    any: AtomicBool,
    /// By provider: the labels of the suspended keys, or none when the whole provider is suspended.
    providers: Mutex<HashMap<String, Option<Vec<String>>>>,
}

impl Suspensions {
    /// Replaces the list. Each entry is a provider, and a key where only that key is suspended.
    pub fn set<'a>(&self, suspensions: impl Iterator<Item = (&'a str, Option<&'a str>)>) {
        let mut providers: HashMap<String, Option<Vec<String>>> = HashMap::new();
        for (provider, key) in suspensions {
            let keys = providers.entry(provider.to_owned()).or_insert_with(|| Some(Vec::new()));
            match (key, keys.as_mut()) {
                (None, _) => *keys = None,
                (Some(key), Some(keys)) => keys.push(key.to_owned()),
                (Some(_), None) => {}
            }
        }
        let any = !providers.is_empty();
        *lock(&self.0.providers) = providers;
        self.0.any.store(any, Ordering::Release);
    }

    /// Whether this key of a provider is suspended.
    pub fn has(&self, provider: &str, key: &str) -> bool {
        if !self.0.any.load(Ordering::Acquire) {
            return false;
        }
        let providers = lock(&self.0.providers);
        providers
            .get(provider)
            .is_some_and(|keys| keys.as_ref().is_none_or(|keys| keys.iter().any(|it| it == key)))
    }
}
