//! The stop of the gateway in phases: first load balancers are notified, then new requests are refused while
//! answers under way continue, finally those are cut.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Until a stop is requested.
    Serving,
    /// All requests are served, but `/ready` answers 503, so that load balancers redirect their traffic.
    Leaving,
    /// New requests are refused; answers under way continue.
    Finishing,
    /// Remaining answers end with an error.
    Cutting,
}

#[derive(Debug, Default)]
pub struct Lifecycle {
    phase: AtomicU8,
    cut: Arc<Notify>,
    steps: Notify,
}

impl Lifecycle {
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            2 => Phase::Finishing,
            _ => Phase::Cutting,
        }
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        if phase == Phase::Cutting {
            self.cut.notify_waiters();
        }
        self.steps.notify_waiters();
    }

    /// Waits for a phase, or a later one.
    pub async fn reached(&self, phase: Phase) {
        loop {
            let step = self.steps.notified();
            if self.phase() >= phase {
                return;
            }
            step.await;
        }
    }
}

/// The error for new requests.
pub fn stopping() -> Error {
    let mut error =
        Error::gateway(ErrorKind::Unavailable, "The gateway is stopping; send the request again.");
    error.retry = Retry::After(Duration::from_secs(1));
    error
}

/// The error for callers whose answers are cut.
pub fn cut_off() -> Error {
    Error::gateway(ErrorKind::Unavailable, "The gateway was stopped.")
}

/// Notifies the task of an answer when the answer is to be cut. Waking the connection is not enough: over
/// HTTP/2 each answer has its own task.
pub struct CutNotice {
    lifecycle: Arc<Lifecycle>,
    waiting: Option<Box<Registration>>,
}

/// The registration, and the task that it wakes.
struct Registration {
    notified: Pin<Box<OwnedNotified>>,
    waker: Waker,
}

impl CutNotice {
    pub fn new(lifecycle: Arc<Lifecycle>) -> Self {
        Self { lifecycle, waiting: None }
    }

    /// Whether to cut now. If not, the task is woken at that time. Only the first call costs more than a
    /// check.
    pub fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.waiting {
            Some(waiting) if waiting.waker.will_wake(context.waker()) => {}
            Some(waiting) => waiting.register(context),
            waiting => {
                let notified = Box::pin(self.lifecycle.cut.clone().notified_owned());
                let new = Registration { notified, waker: Waker::noop().clone() };
                waiting.insert(Box::new(new)).register(context);
            }
        }
        // The check comes last: a cut before the registration woke nobody.
        self.lifecycle.phase() == Phase::Cutting
    }

    /// The result of the work; none when it is cut before.
    pub async fn unless_cut<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Pending if self.is_due(context) => Poll::Ready(None),
            polled => polled.map(Some),
        })
        .await
    }
}

impl Registration {
    fn register(&mut self, context: &mut Context<'_>) {
        context.waker().clone_into(&mut self.waker);
        // The result is not needed: the phase has the state.
        let _ = self.notified.as_mut().poll(context);
    }
}
