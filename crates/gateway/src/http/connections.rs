//! The open connections of a listener: their limit, the idle ones, and the request to close.
//!
//! At most `server.max_connections` are open. Above that, the longest idle connection is closed for a new
//! one. Where none is idle, a few more are accepted: they can use the routes that need no key, so that a full
//! gateway still answers health checks; other requests wait a moment for a free place.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock;
use crate::memory::Freed;

/// Connections above the limit.
const RESERVE: usize = 64;

/// Requests above the limit that may wait at a time.
const MOST_WAITING: usize = RESERVE / 2;

/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(1);

/// A connection that is idle for a shorter time may be about to send a request.
const IDLE_AT_LEAST: u64 = 50;

/// About the memory of a connection: its task, and its buffers for reading and writing.
const MEMORY: usize = 16 << 10;

/// All connections of a listener.
#[derive(Debug)]
pub struct Connections {
    limit: usize,
    epoch: Instant,
    /// Connections that count towards the limit.
    regular: AtomicUsize,
    /// All of them.
    open: AtomicUsize,
    waiting: AtomicUsize,
    closed: Notify,
    slots: Mutex<Slots>,
    memory: Arc<Freed>,
}

/// Slots by index, with the free ones.
#[derive(Debug, Default)]
struct Slots {
    all: Vec<Option<Arc<Slot>>>,
    free: Vec<usize>,
}

#[derive(Debug)]
pub struct Slot {
    connections: Arc<Connections>,
    /// Requests in flight: one at most over HTTP/1.
    requests: AtomicU32,
    /// Requests that have begun.
    begun: AtomicU32,
    /// When the last request ended, in milliseconds since the listener began.
    idle_since: AtomicU64,
    /// Whether bytes have arrived since then.
    has_bytes: AtomicBool,
    /// Whether it counts towards the limit.
    regular: AtomicBool,
    closing: AtomicBool,
    waker: OnceLock<Waker>,
    peer: Option<IpAddr>,
}

/// A connection's place, returned when it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit {
    index: usize,
    slot: Arc<Slot>,
}

/// A request in flight. It keeps the connection's place: a tunnel outlives the service of its request.
#[derive(Debug)]
pub struct InFlight(Arc<ConnectionPermit>);

impl Connections {
    /// The memory of closed connections is counted as freed.
    pub fn new(limit: usize, memory: Arc<Freed>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            epoch: clock::now(),
            regular: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            closed: Notify::new(),
            slots: Mutex::default(),
            memory,
        })
    }

    /// Waits until one more connection may be accepted.
    pub async fn room(&self) {
        loop {
            let closed = self.closed.notified();
            if self.open.load(Ordering::Acquire) < self.limit + RESERVE {
                return;
            }
            self.close_idle();
            // Connections become idle without a notification.
            let _ = tokio::time::timeout(Duration::from_millis(IDLE_AT_LEAST), closed).await;
        }
    }

    /// A place for an accepted connection.
    pub fn open(self: &Arc<Self>, peer: Option<IpAddr>) -> ConnectionPermit {
        self.open.fetch_add(1, Ordering::AcqRel);
        let regular = self.take();
        if !regular {
            self.close_idle();
        }
        let slot = Arc::new(Slot {
            connections: self.clone(),
            requests: AtomicU32::new(0),
            begun: AtomicU32::new(0),
            idle_since: AtomicU64::new(self.now()),
            has_bytes: AtomicBool::new(false),
            regular: AtomicBool::new(regular),
            closing: AtomicBool::new(false),
            waker: OnceLock::new(),
            peer,
        });
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let index = slots.free.pop().unwrap_or_else(|| {
            slots.all.push(None);
            slots.all.len() - 1
        });
        slots.all[index] = Some(slot.clone());
        drop(slots);
        ConnectionPermit { index, slot }
    }

    /// Asks all connections to close: immediately where idle, else after the answers under way.
    pub fn close_all(&self) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.all.iter().flatten().for_each(|slot| slot.close());
    }

    /// Waits until all connections that had a request are closed. Others, such as new ones, are ignored.
    pub async fn all_served(&self) {
        loop {
            let closed = self.closed.notified();
            if self.count_slots(|slot| slot.begun() > 0) == 0 {
                return;
            }
            closed.await;
        }
    }

    /// How many connections have an answer under way.
    pub fn answering(&self) -> usize {
        self.count_slots(|slot| !slot.is_idle())
    }

    fn count_slots(&self, is_counted: impl Fn(&Slot) -> bool) -> usize {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.all.iter().flatten().filter(|slot| is_counted(slot)).count()
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    fn take(&self) -> bool {
        let more = |count: usize| (count < self.limit).then_some(count + 1);
        self.regular.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_ok()
    }

    /// Closes the connection that has been idle for longest.
    fn close_idle(&self) {
        let latest = self.now().saturating_sub(IDLE_AT_LEAST);
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = slots.all.iter().flatten().filter_map(|slot| Some((slot.idle_since()?, slot)));
        let longest = idle.filter(|(since, _)| *since <= latest).min_by_key(|(since, _)| *since);
        if let Some((_, slot)) = longest {
            slot.close();
        }
    }
}

impl Slot {
    /// The client's address.
    pub fn peer(&self) -> Option<IpAddr> {
        self.peer
    }

    pub fn begun(&self) -> u32 {
        self.begun.load(Ordering::Relaxed)
    }

    /// Whether no request is in flight.
    pub fn is_idle(&self) -> bool {
        self.requests.load(Ordering::Acquire) == 0
    }

    /// Notes that bytes arrived: between two requests, a head begins.
    pub fn note_bytes(&self) {
        if self.is_idle() {
            self.has_bytes.store(true, Ordering::Relaxed);
        }
    }

    /// Whether a head has begun since the last request.
    pub fn is_in_head(&self) -> bool {
        self.is_idle() && self.has_bytes.load(Ordering::Relaxed)
    }

    /// How long it has been idle.
    pub fn idle_for(&self) -> Duration {
        let since = self.idle_since.load(Ordering::Relaxed);
        Duration::from_millis(self.connections.now().saturating_sub(since))
    }

    /// Since when it is idle; none when it is not, or is already closing.
    fn idle_since(&self) -> Option<u64> {
        (self.is_idle() && !self.is_closing()).then(|| self.idle_since.load(Ordering::Relaxed))
    }

    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Asks the connection to close once it is idle.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
    }

    /// Sets the waker for closing: that of the connection's task.
    pub fn woken_by(&self, waker: &Waker) {
        self.waker.get_or_init(|| waker.clone());
    }

    /// Whether it counts towards the limit. Other connections can use only routes without a key.
    pub fn is_regular(&self) -> bool {
        self.regular.load(Ordering::Relaxed)
    }

    /// Waits a moment for a place within the limit. False when there is none.
    pub async fn become_regular(&self) -> bool {
        let connections = &self.connections;
        if connections.waiting.fetch_add(1, Ordering::AcqRel) >= MOST_WAITING {
            connections.waiting.fetch_sub(1, Ordering::AcqRel);
            return false;
        }
        let _waiting = WaiterCount(&connections.waiting);
        let end = clock::now() + PATIENCE;
        loop {
            let closed = connections.closed.notified();
            if connections.take() {
                self.regular.store(true, Ordering::Relaxed);
                return true;
            }
            if clock::now() >= end {
                return false;
            }
            connections.close_idle();
            let _ = tokio::time::timeout(Duration::from_millis(IDLE_AT_LEAST), closed).await;
        }
    }
}

impl ConnectionPermit {
    pub fn slot(&self) -> &Arc<Slot> {
        &self.slot
    }

    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.slot.requests.fetch_add(1, Ordering::AcqRel);
        self.slot.begun.fetch_add(1, Ordering::Relaxed);
        self.slot.has_bytes.store(false, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let connections = &self.slot.connections;
        let mut slots = connections.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.all[self.index] = None;
        slots.free.push(self.index);
        drop(slots);
        if self.slot.is_regular() {
            connections.regular.fetch_sub(1, Ordering::AcqRel);
        }
        connections.open.fetch_sub(1, Ordering::AcqRel);
        connections.closed.notify_waiters();
        connections.memory.note(MEMORY);
    }
}

impl InFlight {
    pub fn slot(&self) -> &Arc<Slot> {
        &self.0.slot
    }

    /// For a tunnel, which continues when HTTP has ended on the connection.
    pub fn further(&self) -> Self {
        self.slot().requests.fetch_add(1, Ordering::AcqRel);
        Self(self.0.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let slot = &self.0.slot;
        slot.idle_since.store(slot.connections.now(), Ordering::Relaxed);
        slot.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

struct WaiterCount<'a>(&'a AtomicUsize);

impl Drop for WaiterCount<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
