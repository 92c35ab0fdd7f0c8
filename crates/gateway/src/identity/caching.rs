//! A caller's permissions for the response cache.

use std::time::Duration;

/// The permissions of a request to read and write the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// The maximum age of an answer, and the time to live of a new one.
    pub oldest: Duration,
    /// The request waits for an equal one that is under way.
    pub share: bool,
}

/// The request's header for the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheDirective {
    /// None: the policy decides.
    #[default]
    Unsaid,
    /// An answer may be this many seconds old.
    Seconds(u64),
    /// Bypass the cache.
    No,
}
