//! The body of a reply: frames at a chosen pace, with the ending that the caller requested.

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Sleep;

/// How a body ends after its last frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the protocol requires.
    Complete,
    /// The connection is closed in the middle.
    Cut,
    /// Nothing more is sent, and the connection stays open.
    Hang,
}

/// Frames that are sent one by one.
pub struct PacedBody {
    frames: VecDeque<Bytes>,
    ending: Ending,
    delay: Duration,
    pause: Option<Pin<Box<Sleep>>>,
    started: bool,
}

/// Frames before a cut must leave the write buffer first: hyper drops the buffer together with the
/// connection.
const PAUSE_BEFORE_CUT: Duration = Duration::from_millis(15);

impl PacedBody {
    pub fn new(frames: Vec<Bytes>, ending: Ending, delay: Duration) -> PacedBody {
        PacedBody { frames: frames.into(), ending, delay, pause: None, started: false }
    }

    pub fn nothing() -> PacedBody {
        PacedBody::new(Vec::new(), Ending::Complete, Duration::ZERO)
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = self.pause.as_mut() {
            if pause.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.pause = None;
        }
        Poll::Ready(())
    }

    fn pause_for(&mut self, duration: Duration) {
        if !duration.is_zero() {
            self.pause = Some(Box::pin(tokio::time::sleep(duration)));
        }
    }

    fn after_last(&mut self) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.ending {
            Ending::Complete => Poll::Ready(None),
            Ending::Hang => Poll::Pending,
            Ending::Cut => Poll::Ready(Some(Err(io::Error::other("cut on command")))),
        }
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let delay = self.delay;
        if !self.started {
            self.started = true;
            let cut_at_once = self.frames.is_empty() && self.ending == Ending::Cut;
            self.pause_for(if cut_at_once { PAUSE_BEFORE_CUT } else { Duration::ZERO });
        }
        if self.wait(context).is_pending() {
            return Poll::Pending;
        }
        let Some(frame) = self.frames.pop_front() else { return self.after_last() };
        let last_before_cut = self.frames.is_empty() && self.ending == Ending::Cut;
        self.pause_for(if last_before_cut { delay.max(PAUSE_BEFORE_CUT) } else { delay });
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.ending == Ending::Complete
    }

    fn size_hint(&self) -> SizeHint {
        match (self.ending, self.frames.len()) {
            (Ending::Complete, 0) => SizeHint::with_exact(0),
            (Ending::Complete, 1) => SizeHint::with_exact(self.frames[0].len() as u64),
            _ => SizeHint::default(),
        }
    }
}
