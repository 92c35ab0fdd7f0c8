//! Objects that callers store at a provider: files, uploads, batches.
//!
//! Each belongs to the part of the path before its resource, so that a mock of several providers keeps their files apart.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;

/// Bytes of files that are kept; the oldest are forgotten first.
const MOST_BYTES: usize = 256 << 20;
/// Entries of each kind that are kept.
const MOST: usize = 10_000;

/// The objects that a mock stores for its callers.
#[derive(Default)]
pub struct Shelf {
    kept: Mutex<ShelfContents>,
}

#[derive(Default)]
pub struct ShelfContents {
    pub files: Entries<File>,
    pub uploads: Entries<Upload>,
    pub batches: Entries<Batch>,
}

/// Entries by place and id, oldest first.
pub struct Entries<T> {
    all: VecDeque<Entry<T>>,
}

struct Entry<T> {
    place: String,
    id: String,
    what: T,
}

/// A file, and how its provider describes it.
pub struct File {
    pub about: Value,
    pub content: Bytes,
}

/// A file that comes in parts.
pub struct Upload {
    pub about: Value,
    pub parts: Vec<(String, Bytes)>,
}

/// A batch, and what it gives in the end.
pub struct Batch {
    pub about: Value,
    /// Its next states, one for each request about it.
    pub steps: VecDeque<Value>,
    pub output: Bytes,
}

impl Shelf {
    /// A panic elsewhere leaves the lists whole: entries are added in one step.
    pub fn lock(&self) -> MutexGuard<'_, ShelfContents> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShelfContents {
    pub fn add_file(&mut self, place: &str, id: &str, file: File) {
        self.files.add(place, id, file);
        let mut bytes: usize = self.files.all.iter().map(|entry| entry.what.content.len()).sum();
        while bytes > MOST_BYTES
            && let Some(oldest) = self.files.all.pop_front()
        {
            bytes -= oldest.what.content.len();
        }
    }
}

impl<T> Entries<T> {
    pub fn add(&mut self, place: &str, id: &str, what: T) {
        if self.all.len() == MOST {
            self.all.pop_front();
        }
        self.all.push_back(Entry { place: place.to_owned(), id: id.to_owned(), what });
    }

    pub fn get(&mut self, place: &str, id: &str) -> Option<&mut T> {
        let found = self.all.iter_mut().find(|entry| entry.id == id && entry.place == place);
        found.map(|entry| &mut entry.what)
    }

    /// Whether it was there.
    pub fn remove(&mut self, place: &str, id: &str) -> bool {
        let found = self.all.iter().position(|entry| entry.id == id && entry.place == place);
        found.is_some_and(|index| self.all.remove(index).is_some())
    }

    /// Those of a place, newest first.
    pub fn of<'a>(&'a self, place: &'a str) -> impl Iterator<Item = &'a T> {
        self.all.iter().rev().filter(move |entry| entry.place == place).map(|entry| &entry.what)
    }
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { all: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_oldest_files_are_evicted() {
        let shelf = Shelf::default();
        let content = Bytes::from(vec![0; MOST_BYTES / 2 + 1]);
        for id in ["a", "b"] {
            shelf.lock().add_file("", id, File { about: Value::Null, content: content.clone() });
        }
        assert!(shelf.lock().files.get("", "a").is_none());
        assert!(shelf.lock().files.get("", "b").is_some());
        assert!(shelf.lock().files.get("/elsewhere", "b").is_none());
    }
}
