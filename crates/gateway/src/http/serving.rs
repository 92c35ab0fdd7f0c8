//! One connection while it is served. It ends on request, when it is idle for too long, and when a head takes
//! too long.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::connections::{ConnectionPermit, Slot};
use crate::clock;
use crate::telemetry::Metrics;

/// How long a connection may be idle.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Between two requests.
    pub keep_alive: Duration,
    /// From the first byte of a head to its end.
    pub head: Duration,
}

/// How long a connection without a request in flight may take to close. HTTP/2 waits for the peer.
const CLOSING: Duration = Duration::from_secs(5);

/// A connection that serves requests.
pub trait Protocol: Future<Output = Result<(), Self::Error>> + Unpin {
    /// Why it fails.
    type Error: std::fmt::Display;

    /// Whether bytes between two requests are the beginning of the next one.
    const HEADS_ARE_BYTES: bool;

    /// Closes immediately when idle, else after the answers under way.
    fn close(&mut self);
}

pub struct Serving<C> {
    connection: C,
    place: Arc<ConnectionPermit>,
    metrics: Metrics,
    times: Times,
    /// Fires when something may have taken too long. It is not moved for each request.
    timer: Pin<Box<Sleep>>,
    is_armed: bool,
    /// The head that the timer watches: the number of requests before it, and its deadline.
    head: Option<(u32, Instant)>,
    is_closing: bool,
}

impl<C: Protocol> Serving<C> {
    pub fn new(connection: C, place: Arc<ConnectionPermit>, metrics: Metrics, times: Times) -> Self {
        metrics.connections().inc();
        let timer = Box::pin(tokio::time::sleep(times.keep_alive));
        Self { connection, place, metrics, times, timer, is_armed: false, head: None, is_closing: false }
    }

    fn slot(&self) -> &Arc<Slot> {
        self.place.slot()
    }

    fn close(&mut self) {
        self.is_closing = true;
        self.connection.close();
        self.timer.as_mut().reset(clock::now() + CLOSING);
    }

    /// An incomplete head has its own deadline.
    fn watch_head(&mut self) {
        let before = self.slot().begun();
        if C::HEADS_ARE_BYTES
            && !self.is_closing
            && self.slot().is_in_head()
            && self.head.is_none_or(|(begun, _)| begun != before)
        {
            let end = clock::now() + self.times.head;
            self.head = Some((before, end));
            self.timer.as_mut().reset(end);
        }
    }

    /// The timer has fired. False when the connection is to be dropped.
    fn is_in_time(&mut self) -> bool {
        let now = clock::now();
        let slot = self.slot();
        if !slot.is_idle() {
            self.timer.as_mut().reset(now + self.times.keep_alive);
            return true;
        }
        if self.is_closing {
            return false;
        }
        if let Some((before, end)) = self.head
            && slot.is_in_head()
            && slot.begun() == before
        {
            return now < end;
        }
        match self.times.keep_alive.checked_sub(slot.idle_for()) {
            Some(left) if !left.is_zero() => self.timer.as_mut().reset(now + left),
            _ => {
                slot.close();
                self.close();
            }
        }
        true
    }
}

impl<C: Protocol> Future for Serving<C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.slot().woken_by(context.waker());
        loop {
            if this.slot().is_closing() && !this.is_closing {
                this.close();
            }
            if let Poll::Ready(result) = Pin::new(&mut this.connection).poll(context) {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended with an error");
                }
                return Poll::Ready(());
            }
            // Hyper treats a connection that never had a request as busy.
            if this.is_closing && this.slot().begun() == 0 {
                return Poll::Ready(());
            }
            this.watch_head();
            // Once the timer has the task's waker, which stays the same, it is polled again only when it has
            // fired.
            if this.is_armed && !this.timer.is_elapsed() {
                return Poll::Pending;
            }
            this.is_armed = this.timer.as_mut().poll(context).is_pending();
            if this.is_armed {
                return Poll::Pending;
            }
            if !this.is_in_time() {
                return Poll::Ready(());
            }
        }
    }
}

impl<C> Drop for Serving<C> {
    fn drop(&mut self) {
        self.metrics.connections().dec();
    }
}
