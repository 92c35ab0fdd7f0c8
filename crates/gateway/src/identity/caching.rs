//! What a caller may have to do with the cache of answers.

use std::time::Duration;

/// What a request may get from the cache, and leaves in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caching {
    /// How old an answer may be, and how long a new one is kept.
    pub oldest: Duration,
    /// The request waits for an equal one that is under way.
    pub share: bool,
}

/// What a request's headers say of the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheAsked {
    /// Nothing: the policy decides.
    #[default]
    Unsaid,
    /// An answer may be so many seconds old.
    Seconds(u64),
    /// Past the cache.
    No,
}
