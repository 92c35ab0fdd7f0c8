//! One limit for the bytes of requests and whole answers in memory (`server.buffer_limit`). A body takes its
//! share as it arrives. A request's share is returned when it has been answered, and an answer's when it has
//! been sent. Above the limit, reading pauses for a moment, which slows the sender; then the request is
//! refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry, UpstreamReply};
use tokio::sync::Notify;

use crate::clock;
use crate::memory::Freed;

/// How long a request waits for memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// When a retry is worthwhile.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The least share of a request, with everything that is made for it.
const LEAST: usize = 16 << 10;

/// The bytes in memory.
#[derive(Clone, Debug)]
pub struct Buffers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    freed: Notify,
    memory: Arc<Freed>,
}

/// A share of the bytes, returned when it is dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    inner: Arc<Inner>,
}

impl Buffers {
    /// At most `limit` bytes at a time.
    pub fn new(limit: usize) -> Self {
        let inner = Inner {
            limit,
            used: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            freed: Notify::new(),
            memory: Arc::default(),
        };
        Self(Arc::new(inner))
    }

    /// An empty share, which can grow.
    pub fn nothing(&self) -> Held {
        Held { bytes: 0, inner: self.0.clone() }
    }

    /// Counts the bytes that were freed.
    pub fn memory(&self) -> Arc<Freed> {
        self.0.memory.clone()
    }

    /// The current number of bytes.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// Takes bytes if there are enough. A failed attempt changes nothing, so that it wakes no waiter.
    fn take(&self, bytes: usize) -> bool {
        let more = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }
}

impl Held {
    /// Another, empty share of the same limit.
    pub fn further(&self) -> Held {
        Held { bytes: 0, inner: self.inner.clone() }
    }

    /// Takes a piece of an answer, twice: as it arrived, and as it is written.
    pub async fn grow_answer(&mut self, piece: usize) -> Result<(), Error> {
        self.grow(2 * piece).await.map_err(|_| answer_is_full())
    }

    /// Takes another share over.
    pub fn join(&mut self, mut other: Held) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Bytes whose share is returned when they are dropped.
    pub fn keep(mut self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        let length = bytes.as_ref().len();
        match self.bytes.checked_sub(length) {
            Some(rest) => self.inner.give_back(rest),
            // They already exist: it is too late to refuse them.
            None => drop(self.inner.used.fetch_add(length - self.bytes, Ordering::AcqRel)),
        }
        self.bytes = length;
        Bytes::from_owner(CountedBytes { bytes, _held: self })
    }

    /// Takes more, and waits for a moment if necessary.
    pub async fn grow(&mut self, bytes: usize) -> Result<(), Error> {
        if self.inner.take(bytes) {
            self.bytes += bytes;
            return Ok(());
        }
        // Boxed because it is rare: unboxed it would enlarge every request's future.
        let inner = self.inner.clone();
        Box::pin(wait(inner, bytes)).await?;
        self.bytes += bytes;
        Ok(())
    }
}

struct CountedBytes<B> {
    bytes: B,
    _held: Held,
}

impl<B: AsRef<[u8]>> AsRef<[u8]> for CountedBytes<B> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

fn full() -> Error {
    let mut error = Error::gateway(
        ErrorKind::Unavailable,
        "The gateway holds as many bytes of requests and answers as it may (server.buffer_limit); try again.",
    );
    error.retry = Retry::After(RETRY_AFTER);
    error
}

/// The provider has answered and charged: another provider would charge too, and its answer would not fit
/// either.
fn answer_is_full() -> Error {
    let reply = UpstreamReply { retry_after: Some(RETRY_AFTER), ..UpstreamReply::default() };
    Error { retry: Retry::No, upstream: Some(reply), ..full() }
}

async fn wait(inner: Arc<Inner>, bytes: usize) -> Result<(), Error> {
    let _waiting = WaiterCount::new(&inner.waiting);
    let end = clock::now() + PATIENCE;
    loop {
        // Register first, then check: a release in between is noticed.
        let freed = inner.freed.notified();
        if inner.take(bytes) {
            return Ok(());
        }
        if tokio::time::timeout_at(end, freed).await.is_err() {
            return if inner.take(bytes) { Ok(()) } else { Err(full()) };
        }
    }
}

struct WaiterCount<'a>(&'a AtomicUsize);

impl<'a> WaiterCount<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(count)
    }
}

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.inner.give_back(self.bytes);
            self.inner.memory.note(self.bytes.max(LEAST));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_fit_waits_and_is_then_refused() {
        let buffers = Buffers::new(100);
        let mut first = buffers.nothing();
        first.grow(60).await.unwrap();
        let mut second = buffers.nothing();
        assert!(second.grow(60).await.is_err());
        assert_eq!(buffers.used(), 60);

        let waiting = tokio::spawn(async move {
            second.grow(60).await.unwrap();
            second
        });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waiting.await.unwrap().bytes, 60);
        assert_eq!(buffers.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_held_until_it_is_sent() {
        let buffers = Buffers::new(100);
        let mut answer = buffers.nothing().further();
        answer.grow_answer(40).await.unwrap();
        assert_eq!(buffers.used(), 80);
        let bytes = answer.keep(vec![0; 50]);
        assert_eq!((buffers.used(), bytes.len()), (50, 50));
        let error = buffers.nothing().grow_answer(40).await.unwrap_err();
        assert_eq!((error.retry, error.retry_after()), (Retry::No, Some(RETRY_AFTER)));
        let sent = bytes.slice(10..);
        drop(bytes);
        assert_eq!(buffers.used(), 50, "a part of the answer is not sent yet");
        drop(sent);
        assert_eq!(buffers.used(), 0);
        let larger = buffers.nothing().keep(vec![0; 120]);
        assert_eq!(buffers.used(), 120);
        drop(larger);
        assert_eq!(buffers.used(), 0);
    }
}
