//! The deadlines of an attempt, phase by phase.
//!
//! 1. To the head of the answer: `first_byte`; for a stream to its first content: `first_token`.
//! 2. Between two pieces: `idle`. White space that keeps the connection open is a piece.
//! 3. The attempt as a whole: `total`; the request with all its attempts: `request`.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use tokio::time::{Instant, Sleep};

use crate::clock;
use crate::config::settings::Timeouts;

/// The deadlines of one attempt.
#[derive(Clone, Copy)]
pub struct Deadlines {
    limits: Timeouts,
    /// When the attempt began.
    started: Instant,
    /// When the request was sent, including the time for its body.
    sent: Instant,
    /// The deadline of the request with all its attempts.
    request: Instant,
    /// When something last arrived.
    last_input: Instant,
    phase: Phase,
    stream: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Head,
    Content,
    More,
}

impl Deadlines {
    /// The deadlines of an attempt that begins now.
    pub fn new(limits: Timeouts, started: Instant, request: Instant, stream: bool) -> Self {
        Self { limits, started, sent: started, request, last_input: started, phase: Phase::Head, stream }
    }

    /// A piece of the request was sent.
    pub fn sent(&mut self, at: Instant) {
        self.sent = at;
    }

    /// The head of the answer has arrived.
    pub fn head(&mut self) {
        self.phase = Phase::Content;
        self.last_input = clock::now();
    }

    /// The first content of a stream has arrived.
    pub fn content(&mut self) {
        self.phase = Phase::More;
        self.last_input = clock::now();
    }

    /// Something arrived.
    pub fn input(&mut self) {
        self.last_input = clock::now();
    }

    /// The next time to check.
    pub fn next(&self) -> Instant {
        self.all().into_iter().map(|(at, ..)| at).min().unwrap_or(self.request)
    }

    /// The error of a deadline that has passed.
    pub fn check(&self, now: Instant) -> Result<(), Error> {
        let passed = self.all().into_iter().find(|(at, ..)| now >= *at);
        passed.map_or(Ok(()), |(_, what, limit)| Err(self.passed(what, limit)))
    }

    /// The deadlines of this phase, each with its event.
    fn all(&self) -> [(Instant, TimeoutEvent, Duration); 4] {
        let limits = &self.limits;
        let total = (self.started + limits.total, TimeoutEvent::Total, limits.total);
        let idle = (self.last_input + limits.idle, TimeoutEvent::Idle, limits.idle);
        let head = (self.sent + limits.first_byte, TimeoutEvent::Head, limits.first_byte);
        let content = (self.sent + limits.first_token, TimeoutEvent::Content, limits.first_token);
        let (first, second) = match (self.phase, self.stream) {
            (Phase::Head, false) => (head, head),
            (Phase::Head, true) => (head, content),
            (Phase::Content, true) => (content, idle),
            (Phase::Content, false) | (Phase::More, _) => (idle, idle),
        };
        [first, second, total, (self.request, TimeoutEvent::Request, limits.request)]
    }

    fn passed(&self, what: TimeoutEvent, limit: Duration) -> Error {
        let seconds = limit.as_secs_f64();
        if what == TimeoutEvent::Request {
            let message = format!("The request took longer than the gateway allows ({seconds} seconds).");
            return Error::gateway(ErrorKind::Timeout, message);
        }
        // A whole answer that the provider has begun is billed; a retry elsewhere would be billed a second
        // time.
        let is_begun = self.phase != Phase::Head && !self.stream;
        let retry = if is_begun && !self.limits.repeat_begun { Retry::No } else { Retry::Again };
        let message = match what {
            TimeoutEvent::Head => format!("The provider did not answer within {seconds} seconds."),
            TimeoutEvent::Content => {
                format!("The provider's stream had no content within {seconds} seconds.")
            }
            TimeoutEvent::Idle => format!("The provider sent nothing ({seconds} seconds)."),
            TimeoutEvent::Total | TimeoutEvent::Request => {
                format!("The answer took longer than the gateway allows ({seconds} seconds).")
            }
        };
        Error::upstream(ErrorKind::Timeout, retry, message)
    }
}

/// The event that did not happen in time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeoutEvent {
    Head,
    Content,
    Idle,
    Total,
    Request,
}

/// Deadlines with the timer that watches them.
pub struct Watch<'a> {
    deadlines: &'a mut Deadlines,
    timer: Pin<&'a mut Sleep>,
}

impl<'a> Watch<'a> {
    /// Watches these deadlines.
    pub fn new(deadlines: &'a mut Deadlines, mut timer: Pin<&'a mut Sleep>) -> Self {
        timer.as_mut().reset(deadlines.next());
        Self { deadlines, timer }
    }

    /// Changes the deadlines.
    pub fn set(&mut self, change: impl FnOnce(&mut Deadlines)) {
        change(self.deadlines);
        self.timer.as_mut().reset(self.deadlines.next());
    }

    /// Something arrived. Deadlines only move later, so the timer need not be reset.
    pub fn input(&mut self) {
        self.deadlines.input();
    }

    /// Waits until the future is ready or a deadline passes.
    pub async fn until<F: Future>(&mut self, future: F) -> Result<F::Output, Error> {
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => self.poll_deadlines(cx).map(Err),
        })
        .await
    }

    fn poll_deadlines(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if let Err(error) = self.deadlines.check(clock::now()) {
                return Poll::Ready(error);
            }
            self.timer.as_mut().reset(self.deadlines.next());
        }
        Poll::Pending
    }
}
