//! Records the received requests, without secrets, so that tests can check what a gateway sent.

use http::HeaderMap;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One request that reached the mock.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// HTTP method.
    pub method: String,
    /// Path, as it was sent.
    pub path: String,
    /// Query string with keys masked; empty when there was none.
    pub query: String,
    /// Headers in lower case; the values of secrets are masked.
    pub headers: BTreeMap<String, String>,
    /// The body as JSON, or as a string when it is not JSON; null when it is empty.
    pub body: Value,
    /// The status of the answer; 0 until there is one.
    pub status: u16,
    /// Why it was refused, in the provider's words; empty when it was not.
    pub refusal: String,
}

impl JournalEntry {
    /// The record as JSON.
    pub fn to_json(&self) -> Value {
        json!({
            "method": self.method, "path": self.path, "query": self.query,
            "headers": self.headers, "body": self.body, "status": self.status,
            "refusal": self.refusal,
        })
    }
}

/// The last requests, oldest first.
pub struct Journal {
    limit: usize,
    kept: Mutex<JournalEntries>,
}

#[derive(Default)]
struct JournalEntries {
    entries: VecDeque<JournalEntry>,
    /// The number of the oldest entry: how many entries were dropped before it.
    first: u64,
}

impl Journal {
    pub fn new(limit: usize) -> Journal {
        Journal { limit, kept: Mutex::default() }
    }

    /// Returns the number of the entry.
    pub fn record(&self, method: &str, uri: (&str, &str), headers: &HeaderMap, body: &[u8]) -> u64 {
        let (path, query) = uri;
        if self.limit == 0 {
            return 0;
        }
        let received = JournalEntry {
            method: method.to_string(),
            path: path.to_string(),
            query: masked_query(query),
            headers: headers
                .iter()
                .map(|(name, value)| (name.to_string(), masked(name.as_str(), value)))
                .collect(),
            body: readable(body),
            status: 0,
            refusal: String::new(),
        };
        let mut kept = self.lock();
        if kept.entries.len() == self.limit {
            kept.entries.pop_front();
            kept.first += 1;
        }
        kept.entries.push_back(received);
        kept.first + kept.entries.len() as u64 - 1
    }

    /// Records the answer of a request, if the request is still in the journal.
    pub fn answered(&self, number: u64, status: u16, body: &[u8]) {
        let mut kept = self.lock();
        let index = number.checked_sub(kept.first).and_then(|index| usize::try_from(index).ok());
        if let Some(received) = index.and_then(|index| kept.entries.get_mut(index)) {
            received.status = status;
            if status >= 400 {
                received.refusal = String::from_utf8_lossy(body).into_owned();
            }
        }
    }

    pub fn entries(&self) -> Vec<JournalEntry> {
        self.lock().entries.iter().cloned().collect()
    }

    pub fn clear(&self) {
        let mut kept = self.lock();
        kept.first += kept.entries.len() as u64;
        kept.entries.clear();
    }

    /// A panic elsewhere leaves the list valid: entries are added in one step.
    fn lock(&self) -> MutexGuard<'_, JournalEntries> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const SECRET_HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "x-amz-security-token",
    "cookie",
];

/// Keeps the scheme of a secret ("Bearer ***"), so that tests can see how the caller authenticated.
fn masked(name: &str, value: &http::HeaderValue) -> String {
    let value = String::from_utf8_lossy(value.as_bytes());
    if !SECRET_HEADERS.contains(&name) {
        return value.into_owned();
    }
    match value.split_once(' ') {
        Some((scheme, _)) => format!("{scheme} ***"),
        None => "***".to_string(),
    }
}

fn masked_query(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name @ ("key" | "access_token" | "api_key"), _)) => format!("{name}=***"),
        _ => pair.to_string(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

fn readable(body: &[u8]) -> Value {
    if body.is_empty() {
        return Value::Null;
    }
    serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned()))
}
