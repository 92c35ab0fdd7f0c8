//! Moves a stream from the provider to the caller. No task, no channel, no timer for each piece: the caller's connection
//! polls this body, and everything that has already arrived goes out in one write.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use wire::Transcoder;

use super::Pipeline;
use super::attempt::cut;
use crate::metering::Record;
use crate::snapshot::Snapshot;
use crate::upstream::client::AnswerBody;

/// After so much silence the caller gets a comment, so that proxies keep the connection.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// The comment.
pub const PING: &[u8] = b": ping\n\n";
/// Pieces that have arrived are joined up to about this size.
const JOIN_LIMIT: usize = 64 << 10;

/// How many fruitless turns to wait for more before what has arrived goes out. The caller's connection polls several times in
/// one turn, so that with fewer nothing else would run in between.
const PATIENCE: u8 = 8;

/// A stream that has begun.
pub struct PumpParts {
    /// What the provider still sends; none when all of it is there.
    pub body: Option<AnswerBody>,
    /// Turns it into what the caller gets.
    pub transcoder: Box<dyn Transcoder>,
    /// What the caller gets already.
    pub out: Vec<u8>,
    /// The transcoder has been finished.
    pub ended: bool,
}

/// The body of a streamed response.
pub struct Pump {
    parts: PumpParts,
    record: Record,
    pipeline: Arc<Pipeline>,
    snapshot: Arc<Snapshot>,
    timer: Pin<Box<Sleep>>,
    last_input: Instant,
    last_output: Instant,
    /// How often it has run since something new arrived.
    turns: u8,
    closed: bool,
}

impl Pump {
    /// Goes on with a stream that has begun.
    pub fn new(parts: PumpParts, record: Record, pipeline: Arc<Pipeline>, snapshot: Arc<Snapshot>) -> Self {
        let now = Instant::now();
        Self {
            parts,
            record,
            pipeline,
            snapshot,
            timer: Box::pin(tokio::time::sleep(PING_AFTER)),
            last_input: now,
            last_output: now,
            turns: 0,
            closed: false,
        }
    }

    /// Takes everything that has arrived.
    fn drain(&mut self, cx: &mut Context<'_>) {
        while !self.parts.ended && self.parts.out.len() < JOIN_LIMIT {
            let Some(body) = &mut self.parts.body else { return self.end() };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(Err(error))) => self.fail(&cut(&error)),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.last_input = Instant::now();
                    if let Err(error) = self.parts.transcoder.push(&data, &mut self.parts.out) {
                        self.fail(&error);
                    }
                }
            }
        }
    }

    /// True while it is worth letting the other tasks run once more: a provider that writes piece by piece is about to write
    /// the next, and a write to the caller costs far more than a turn.
    fn waits_for_more(&mut self, length_before: usize) -> bool {
        if self.parts.ended || self.parts.out.len() >= JOIN_LIMIT {
            return false;
        }
        if self.parts.out.len() > length_before {
            self.turns = 0;
        }
        self.turns += 1;
        self.turns <= PATIENCE
    }

    fn end(&mut self) {
        match self.parts.transcoder.finish(&mut self.parts.out) {
            Ok(()) => {
                self.pipeline.keep_proofs(&self.record, self.parts.transcoder.as_mut());
                self.parts.ended = true;
                self.parts.body = None;
            }
            Err(error) => self.fail(&error),
        }
    }

    /// Ends the caller's stream with an error, and the provider's by dropping it.
    fn fail(&mut self, error: &Error) {
        self.parts.transcoder.fail(error, &mut self.parts.out);
        self.parts.ended = true;
        self.parts.body = None;
        self.record.progress(self.parts.transcoder.progress());
        self.record.fail(error);
        tracing::warn!(kind = error.kind.as_str(), "a stream broke: {}", error.message);
    }

    /// Nothing has arrived: a ping is due, or the provider has been silent for too long.
    fn wait(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let timeouts = self.snapshot.timeouts;
            if now >= self.record.started() + timeouts.total {
                return self
                    .fail(&timed_out("The answer took longer than the gateway allows", timeouts.total));
            }
            if now >= self.last_input + timeouts.idle {
                return self.fail(&timed_out("The provider sent nothing", timeouts.idle));
            }
            if now >= self.last_output + PING_AFTER {
                self.parts.out.extend_from_slice(PING);
                self.last_output = now;
            }
            let next = (self.last_output + PING_AFTER)
                .min(self.last_input + timeouts.idle)
                .min(self.record.started() + timeouts.total);
            self.timer.as_mut().reset(next);
        }
    }
}

/// The caller went away: what was produced by now is what the record says.
impl Drop for Pump {
    fn drop(&mut self) {
        self.record.progress(self.parts.transcoder.progress());
    }
}

fn timed_out(what: &str, limit: Duration) -> Error {
    Error::upstream(ErrorKind::Timeout, Retry::Again, format!("{what} ({} seconds).", limit.as_secs_f64()))
}

impl Body for Pump {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.closed {
            return Poll::Ready(None);
        }
        let length = this.parts.out.len();
        this.drain(cx);
        if !this.parts.out.is_empty() && this.waits_for_more(length) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.turns = 0;
        if this.parts.out.is_empty() && !this.parts.ended {
            this.wait(cx);
            if this.parts.out.is_empty() && !this.parts.ended {
                return Poll::Pending;
            }
        }
        if this.parts.ended {
            this.record.progress(this.parts.transcoder.progress());
            Pipeline::note_speed(&this.snapshot, &this.record);
            // The record is safe before the caller has the last byte.
            this.record.finish(200);
            this.closed = true;
        }
        this.last_output = Instant::now();
        let bytes = Bytes::from(std::mem::take(&mut this.parts.out));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
