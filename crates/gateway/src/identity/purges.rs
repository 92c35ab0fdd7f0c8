//! When the answers of projects were purged.

use std::collections::HashMap;

use arc_swap::ArcSwap;

/// The time of each project's last purge, in milliseconds since 1970. It is a part of the keys of answers: what was
/// stored before is never found again, also an answer that is under way, and expires.
#[derive(Default)]
pub struct Purges(ArcSwap<HashMap<String, i64>>);

impl Purges {
    /// Replaces all of them.
    pub fn set(&self, purges: HashMap<String, i64>) {
        self.0.store(purges.into());
    }

    /// That of a project; 0 without one.
    pub fn at(&self, project: &str) -> i64 {
        self.0.load().get(project).copied().unwrap_or(0)
    }
}
