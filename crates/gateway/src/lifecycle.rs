//! The end of the gateway in phases: first what watches it learns of it, then new requests are refused while the answers
//! under way go on, and at last those are cut.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Phase {
    /// Until a stop is asked for.
    Serving,
    /// Everything is served, but `/ready` says 503, so that load balancers send their requests elsewhere.
    Leaving,
    /// New requests are refused; answers under way go on.
    Finishing,
    /// Answers that are still under way end with an error.
    Cutting,
}

/// The phase that the gateway is in.
#[derive(Debug, Default)]
pub struct Lifecycle {
    phase: AtomicU8,
    cut: Arc<Notify>,
    steps: Notify,
}

impl Lifecycle {
    /// The phase now.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Serving,
            1 => Phase::Leaving,
            2 => Phase::Finishing,
            _ => Phase::Cutting,
        }
    }

    /// Goes on to a phase.
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

/// What new requests are told.
pub fn stopping() -> Error {
    let mut error =
        Error::gateway(ErrorKind::Unavailable, "The gateway is stopping; send the request again.");
    error.retry = Retry::After(Duration::from_secs(1));
    error
}

/// What callers are told whose answers are cut.
pub fn cut_off() -> Error {
    Error::gateway(ErrorKind::Unavailable, "The gateway was stopped.")
}

/// Tells the task of one answer when the answer is to be cut. Waking the connection is not enough for this: over HTTP/2
/// each answer has a task of its own.
pub struct CutNotice {
    lifecycle: Arc<Lifecycle>,
    waiting: Option<Box<Waiting>>,
}

/// The place among those that are woken, and who is woken there.
struct Waiting {
    notified: Pin<Box<OwnedNotified>>,
    waker: Waker,
}

impl CutNotice {
    /// For one answer.
    pub fn new(lifecycle: Arc<Lifecycle>) -> Self {
        Self { lifecycle, waiting: None }
    }

    /// Whether to cut now. If not, the task is woken when the time comes. Only the first call costs more than a look.
    pub fn is_due(&mut self, context: &mut Context<'_>) -> bool {
        match &mut self.waiting {
            Some(waiting) if waiting.waker.will_wake(context.waker()) => {}
            Some(waiting) => waiting.register(context),
            waiting => {
                let notified = Box::pin(self.lifecycle.cut.clone().notified_owned());
                let new = Waiting { notified, waker: Waker::noop().clone() };
                waiting.insert(Box::new(new)).register(context);
            }
        }
        // The last step: a cut that began before the registration woke nobody.
        self.lifecycle.phase() == Phase::Cutting
    }

    /// What comes of the work; none when it is to be cut before.
    pub async fn unless_cut<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| match work.as_mut().poll(context) {
            Poll::Pending if self.is_due(context) => Poll::Ready(None),
            polled => polled.map(Some),
        })
        .await
    }
}

impl Waiting {
    fn register(&mut self, context: &mut Context<'_>) {
        context.waker().clone_into(&mut self.waker);
        // What it says is in the phase.
        let _ = self.notified.as_mut().poll(context);
    }
}
