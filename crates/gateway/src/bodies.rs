//! Bodies and headers of requests for administrators, where `[bodies]` or a policy keeps them.
//!
//! Policy. Nothing is kept by default. A request that is kept is copied into a [`Capture`] on its way, each
//! body up to a limit; when its record ends, the capture becomes one JSON object in a bounded queue, which a
//! task writes to the database. These rows are no accounting: when the queue is full or the database fails,
//! they are dropped and counted, and no request waits for them. Secrets are masked by value (the caller's
//! key, the provider's credential) and by the names of headers. A request is kept as it left the guardrails.
//! The caller gets the originals of their placeholders back, so the answer to such a request is not kept.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use canon::Secret;
use http::{HeaderMap, StatusCode};
use limits::Bodies;
use serde_json::{Value, json};
use store::{KeptBodies, Store, UsageRecord};
use tokio::sync::mpsc::{self, Receiver, Sender};

use crate::clock::now_ms;
use crate::config::BodySettings;
use crate::expiry;
use crate::guardrails::Guard;
use crate::identity::{Caller, presented};
use crate::telemetry::Metrics;
use crate::upstream::credentials::Credentials;
use crate::upstream::credentials::mask::Mask;

/// Most rows in the queue, and most bytes of them.
const QUEUED: usize = 4096;
const QUEUED_BYTES: usize = 64 << 20;
/// How many rows one transaction writes, and one statement deletes.
const BATCH: usize = 200;
/// Most attempts of one request: the first ones, and the last one.
const MOST_ATTEMPTS: usize = 8;

/// The replacement of a header's value, and of a named member of JSON.
const MASK: &str = "***";
/// A header whose name has one of these contains a secret.
const SECRET_WORDS: [&str; 8] =
    ["auth", "key", "token", "secret", "cookie", "password", "credential", "signature"];

/// One request, on its way.
pub struct Capture {
    head: Arc<Head>,
    state: Mutex<State>,
}

/// What the parts of a request share.
struct Head {
    which: Bodies,
    settings: BodySettings,
    /// Masks the caller's key.
    mask: Mask,
    headers: Value,
}

#[derive(Default)]
struct State {
    request: Option<Clip>,
    attempts: Vec<SentAttempt>,
    answer: Clip,
    /// The record has ended.
    is_over: bool,
}

/// What one provider got, and its answer if that was an error.
struct SentAttempt {
    provider: String,
    headers: Value,
    body: Value,
    status: Option<u16>,
    answer_headers: Value,
    error: Option<Value>,
}

/// The beginning of a body.
#[derive(Clone, Default)]
struct Clip {
    kept: Vec<u8>,
    bytes: usize,
}

impl Clip {
    fn push(&mut self, bytes: &[u8], limit: usize) {
        let room = limit.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        self.bytes += bytes.len();
    }

    fn of(bytes: &[u8], limit: usize) -> Self {
        let mut clip = Self::default();
        clip.push(bytes, limit);
        clip
    }

    /// The text up to its last whole character; none for bytes that are no text.
    fn text(&self) -> Option<&str> {
        match std::str::from_utf8(&self.kept) {
            Ok(text) => Some(text),
            Err(error) if error.error_len().is_none() && self.bytes > self.kept.len() => {
                std::str::from_utf8(&self.kept[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        }
    }
}

impl Capture {
    /// For a request of this caller; none where nothing of it is kept.
    pub fn begin(
        settings: &BodySettings,
        caller: &Caller,
        (headers, query): (&HeaderMap, Option<&str>),
    ) -> Option<Arc<Self>> {
        let which = caller.bodies(settings.keep);
        if which == Bodies::None {
            return None;
        }
        let secret = presented(headers, query).map(|key| Secret::new(&*key));
        let mask = Mask::of(&secret);
        let headers = listed(headers, |text| mask.apply(text).into_owned());
        let head = Arc::new(Head { which, settings: settings.clone(), mask, headers });
        Some(Arc::new(Self { head, state: Mutex::default() }))
    }

    /// For a part of the request, which has its own record.
    pub fn part(&self) -> Arc<Self> {
        let state = State { request: self.state().request.clone(), ..State::default() };
        Arc::new(Self { head: self.head.clone(), state: Mutex::new(state) })
    }

    fn limit(&self) -> usize {
        self.head.settings.size_limit
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The body of the request, after its guardrails.
    pub fn request(&self, body: &[u8]) {
        self.state().request = Some(Clip::of(body, self.limit()));
    }

    pub fn sent(&self, provider: &str, credentials: &Credentials, request: &http::Request<bytes::Bytes>) {
        let clean = |text: &str| credentials.cleaned(text);
        let attempt = SentAttempt {
            provider: provider.to_owned(),
            headers: listed(request.headers(), clean),
            body: self.body(&Clip::of(request.body(), self.limit()), clean),
            status: None,
            answer_headers: Value::Null,
            error: None,
        };
        let mut state = self.state();
        state.attempts.truncate(MOST_ATTEMPTS - 1);
        state.attempts.push(attempt);
    }

    /// The head of a provider's answer, and its body if that is an error.
    pub fn answered(
        &self,
        credentials: &Credentials,
        (status, headers): (StatusCode, &HeaderMap),
        error: Option<&[u8]>,
    ) {
        let clean = |text: &str| credentials.cleaned(text);
        let (headers, error) =
            (listed(headers, clean), error.map(|error| self.body(&Clip::of(error, self.limit()), clean)));
        if let Some(attempt) = self.state().attempts.last_mut() {
            (attempt.status, attempt.answer_headers, attempt.error) = (Some(status.as_u16()), headers, error);
        }
    }

    /// A part of the caller's answer.
    pub fn answer(&self, bytes: &[u8]) {
        let mut state = self.state();
        if !state.is_over {
            state.answer.push(bytes, self.limit());
        }
    }

    /// What is kept of the request; nothing is added afterwards.
    fn end(&self, record: &UsageRecord, guard: Option<&Guard>) -> Option<KeptBodies> {
        let mut state = self.state();
        if std::mem::replace(&mut state.is_over, true)
            || self.head.which == Bodies::Errors && record.error_kind.is_none()
        {
            return None;
        }
        let plain = |text: &str| text.to_owned();
        let attempts = std::mem::take(&mut state.attempts);
        let is_restored = guard.is_some_and(Guard::has_placeholders);
        let answer = if is_restored { Value::Null } else { self.body(&state.answer, plain) };
        let content = json!({
            "request": {
                "headers": self.head.headers,
                "body": state.request.as_ref().map(|request| self.body(request, plain)),
            },
            "attempts": attempts.into_iter().map(SentAttempt::into_json).collect::<Vec<_>>(),
            "answer": answer,
            "answer_withheld": is_restored.then_some("A guardrail replaced parts of the request, and the answer may repeat them."),
        });
        let keep_ms = i64::try_from(self.head.settings.days.as_millis()).unwrap_or(i64::MAX);
        Some(KeptBodies {
            request_id: record.request_id.clone(),
            started_at_ms: record.started_at_ms,
            expires_at_ms: now_ms().saturating_add(keep_ms),
            content: content.to_string(),
        })
    }

    /// A body with its whole length, without secrets and without the members that the settings name.
    fn body(&self, clip: &Clip, clean: impl Fn(&str) -> String) -> Value {
        let text = clip.text().map(|text| {
            let text = clean(&self.head.mask.apply(text));
            let names = &self.head.settings.redact;
            if names.is_empty() { text } else { without_members(&text, names) }
        });
        json!({"bytes": clip.bytes, "is_cut": clip.kept.len() < clip.bytes, "text": text})
    }
}

impl SentAttempt {
    fn into_json(self) -> Value {
        let Self { provider, headers, body, status, answer_headers, error } = self;
        json!({
            "provider": provider,
            "headers": headers,
            "body": body,
            "status": status,
            "answer_headers": answer_headers,
            "error": error,
        })
    }
}

/// Names and values, without secrets.
fn listed(headers: &HeaderMap, clean: impl Fn(&str) -> String) -> Value {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let is_secret = SECRET_WORDS.iter().any(|word| name.as_str().contains(word));
        let value =
            if is_secret { MASK.to_owned() } else { clean(&String::from_utf8_lossy(value.as_bytes())) };
        json!([name.as_str(), value])
    };
    headers.iter().map(pair).collect()
}

/// The text with `"***"` in place of the values of these JSON members, at any depth. It works on tokens, so
/// that it also handles a body that is cut, and the lines of a stream.
fn without_members(text: &str, names: &[String]) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(quote) = rest.find('"') {
        let (before, string) = rest.split_at(quote);
        let end = string_end(string);
        let (string, after) = string.split_at(end);
        out.push_str(before);
        out.push_str(string);
        rest = after;
        let value = after.trim_start().strip_prefix(':').map(str::trim_start);
        if let Some(value) = value
            && serde_json::from_str::<String>(string).is_ok_and(|name| names.contains(&name))
        {
            out.push_str(": \"");
            out.push_str(MASK);
            out.push('"');
            rest = &value[value_end(value)..];
        }
    }
    out.push_str(rest);
    out
}

/// The end of a JSON string that begins here.
fn string_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
}

/// The end of a JSON value that begins here.
fn value_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += string_end(&text[at..]);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 1 => depth -= 1,
            b'}' | b']' if depth == 1 => return at + 1,
            b',' | b'}' | b']' | b'\n' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    text.len()
}

/// The queue of rows for the database. Clones share it.
#[derive(Clone)]
pub struct BodyLog {
    shared: Arc<BodyQueue>,
}

struct BodyQueue {
    sender: Sender<KeptBodies>,
    receiver: tokio::sync::Mutex<Receiver<KeptBodies>>,
    bytes: AtomicUsize,
    metrics: Metrics,
}

impl BodyLog {
    /// An empty queue.
    pub fn new(metrics: Metrics) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUED);
        let receiver = tokio::sync::Mutex::new(receiver);
        Self { shared: Arc::new(BodyQueue { sender, receiver, bytes: AtomicUsize::new(0), metrics }) }
    }

    /// Bytes that wait for the database.
    pub fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Queues the bodies of a request whose record has ended.
    pub fn put(&self, capture: &Capture, record: &UsageRecord, guard: Option<&Guard>) {
        let Some(row) = capture.end(record, guard) else { return };
        let BodyQueue { sender, bytes, metrics, .. } = &*self.shared;
        let size = row.content.len();
        let has_room = bytes.fetch_add(size, Ordering::Relaxed) + size <= QUEUED_BYTES;
        if !has_room || sender.try_send(row).is_err() {
            bytes.fetch_sub(size, Ordering::Relaxed);
            metrics.kept_bodies("dropped", 1);
        }
    }

    /// Writes to the database and deletes expired rows, as long as this is polled.
    pub async fn run(&self, store: &Store) -> Infallible {
        let write = async {
            loop {
                let mut rows = Vec::new();
                self.shared.receiver.lock().await.recv_many(&mut rows, BATCH).await;
                self.write(store, rows).await;
            }
        };
        let expired = || store.delete_expired_bodies(now_ms(), BATCH as u32);
        tokio::select! {
            never = write => never,
            never = expiry::run("bodies of requests", expired) => never,
        }
    }

    /// Writes what is queued when the gateway stops.
    pub async fn flush(&self, store: &Store) {
        let mut rows = Vec::new();
        while let Ok(row) = self.shared.receiver.lock().await.try_recv() {
            rows.push(row);
        }
        if !rows.is_empty() {
            self.write(store, rows).await;
        }
    }

    async fn write(&self, store: &Store, rows: Vec<KeptBodies>) {
        let size = rows.iter().map(|row| row.content.len()).sum();
        let written = store.put_bodies(&rows).await;
        self.shared.bytes.fetch_sub(size, Ordering::Relaxed);
        let outcome = match written {
            Ok(()) => "stored",
            Err(error) => {
                tracing::warn!(requests = rows.len(), "bodies of requests are not kept: {error}");
                "failed"
            }
        };
        self.shared.metrics.kept_bodies(outcome, rows.len() as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_members_are_replaced_whatever_their_value_is() {
        let names = ["email".to_owned(), "user".to_owned()];
        let of = |text| without_members(text, &names);
        assert_eq!(of(r#"{"email": "a\"b", "x": 1}"#), r#"{"email": "***", "x": 1}"#);
        assert_eq!(of(r#"{"a":{"user":{"email":["x","}"]}},"b":2}"#), r#"{"a":{"user": "***"},"b":2}"#);
        assert_eq!(of(r#"{"user":null}"#), r#"{"user": "***"}"#);
        assert_eq!(
            of("data: {\"user\":17}\n\ndata: {\"x\":\"user\"}\n"),
            "data: {\"user\": \"***\"}\n\ndata: {\"x\":\"user\"}\n"
        );
        // Cut within the value, within the name, and escaped.
        assert_eq!(of(r#"{"email":"jane@exam"#), r#"{"email": "***""#);
        assert_eq!(of(r#"{"emai"#), r#"{"emai"#);
        assert_eq!(of(r#"{"\u0065mail":"x"}"#), r#"{"\u0065mail": "***"}"#);
    }

    #[test]
    fn a_clip_has_whole_characters_and_the_whole_length() {
        let clip = Clip::of("aé".as_bytes(), 2);
        assert_eq!((clip.text(), clip.bytes), (Some("a"), 3));
        assert_eq!(Clip::of(&[0xff, 0xfe, 1], 8).text(), None);
        assert_eq!(
            Clip::of(&[b'a', 0xc3], 8).text(),
            None,
            "it ends within a character, and nothing was cut"
        );
    }
}
