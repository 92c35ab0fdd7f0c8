//! Moves a stream from the provider to the caller, without a task, a channel or a timer per piece: the
//! caller's connection polls this body, and everything that has arrived is sent in one write.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use canon::Error;
use http::StatusCode;
use http_body::{Body, Frame};
use tokio::time::{Instant, Sleep};
use wire::{StoredAnswer, Transcoder};

use super::annotate::{add_to_event, failure_member};
use super::chat::StartedAnswer;
use super::deadlines::Deadlines;
use super::permit::HeldPermit;
use super::{Inbound, Pipeline};
use crate::bodies::Capture;
use crate::buffers::Held;
use crate::clock;
use crate::config::MetadataPlace;
use crate::metering::Record;
use crate::responses::Keep;
use crate::telemetry::log::excerpt;
use crate::upstream::client::{AnswerBody, cut};

/// After this silence the caller gets a ping, so that proxies keep the connection open.
pub const PING_AFTER: Duration = Duration::from_secs(15);
/// Arrived pieces are joined up to about this size.
const JOIN_LIMIT: usize = 64 << 10;

/// How many turns without new data to wait for more before the data are sent. The caller's connection polls
/// several times in one turn, so with fewer nothing else would run in between.
const PATIENCE: u8 = 8;

/// The body of a streamed response.
pub struct Pump {
    /// The rest of the provider's answer; none when it is complete.
    body: Option<AnswerBody>,
    /// The provider's answer is complete, and its held part is being checked.
    is_complete: bool,
    transcoder: Box<dyn Transcoder>,
    /// A ping in the caller's format.
    ping: &'static [u8],
    /// See [`StartedAnswer::breaks_off`].
    breaks_off: bool,
    /// The status that the caller has got.
    status: u16,
    /// The next output.
    out: Vec<u8>,
    /// The share of memory of the bytes before the stream began.
    _held: Held,
    record: Record,
    permit: HeldPermit,
    pipeline: Arc<Pipeline>,
    /// How the answer is stored, until the storing begins.
    keep: Option<Arc<Keep>>,
    saving: Option<PendingSave>,
    /// The bodies of the request; none where they are not kept.
    capture: Option<Arc<Capture>>,
    /// The place of the gateway's object.
    place: MetadataPlace,
    deadlines: Deadlines,
    timer: Pin<Box<Sleep>>,
    last_output: Instant,
    /// How many turns have passed since new data arrived.
    turns: u8,
    has_failed: bool,
    /// The data before the failure had a turn to be sent.
    is_flushed: bool,
    closed: bool,
}

/// A stream ended early, and the caller must not treat it as complete.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokenOff;

/// A finished answer that is being stored.
struct PendingSave {
    kept: Arc<StoredAnswer>,
    stored: Pin<Box<dyn Future<Output = bool> + Send>>,
}

impl Pump {
    /// Continues a stream that has begun.
    pub fn new(
        begun: StartedAnswer,
        record: Record,
        mut permit: HeldPermit,
        pipeline: Arc<Pipeline>,
        inbound: &Inbound,
    ) -> Self {
        let now = clock::now();
        permit.begun();
        Self {
            body: begun.body,
            is_complete: false,
            transcoder: begun.transcoder,
            ping: begun.ping,
            breaks_off: begun.breaks_off,
            status: 200,
            out: begun.out,
            _held: begun.held,
            record,
            permit,
            pipeline,
            keep: inbound.keep.clone(),
            saving: None,
            capture: inbound.capture.clone(),
            place: inbound.options.metadata,
            deadlines: begun.deadlines,
            timer: Box::pin(tokio::time::sleep_until(begun.deadlines.next().min(now + PING_AFTER))),
            last_output: now,
            turns: 0,
            has_failed: false,
            is_flushed: false,
            closed: false,
        }
    }

    /// With a status other than 200.
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self
    }

    /// Takes all data that have arrived.
    fn drain(&mut self, cx: &mut Context<'_>) {
        while !self.ended() && (self.is_complete || self.out.len() < JOIN_LIMIT) {
            match self.transcoder.poll_released(cx, &mut self.out) {
                Poll::Pending => return,
                Poll::Ready(Err(error)) => return self.fail(error),
                Poll::Ready(Ok(())) if self.is_complete => return self.close(),
                Poll::Ready(Ok(())) => {}
            }
            let Some(body) = &mut self.body else { return };
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return,
                Poll::Ready(None) => self.end(),
                Poll::Ready(Some(Err(error))) => self.fail(cut(&error)),
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    self.deadlines.input();
                    if let Err(error) = self.transcoder.push(&data, &mut self.out) {
                        self.fail(error);
                    }
                }
            }
        }
    }

    /// True while it is worthwhile to let other tasks run once more: a provider that writes piece by piece is
    /// about to write the next one, and a write to the caller costs far more than a turn.
    fn waits_for_more(&mut self, length_before: usize) -> bool {
        if self.ended() || self.out.len() >= JOIN_LIMIT {
            return false;
        }
        if self.out.len() > length_before {
            self.turns = 0;
        }
        self.turns += 1;
        self.turns <= PATIENCE
    }

    /// The provider's stream has ended.
    fn ended(&self) -> bool {
        self.body.is_none()
    }

    fn end(&mut self) {
        match self.transcoder.finish(&mut self.out) {
            Ok(()) => self.is_complete = true,
            Err(error) => self.fail(error),
        }
    }

    fn close(&mut self) {
        self.pipeline.keep_proofs(&self.record, self.transcoder.as_mut());
        self.body = None;
    }

    /// Stores the answer before the caller has the last byte, if it is to be stored and is complete.
    fn poll_save(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(keep) = self.keep.take()
            && let Some(kept) = self.transcoder.stored_answer()
        {
            let (pipeline, kept) = (self.pipeline.clone(), Arc::new(kept));
            let answer = kept.clone();
            let stored = Box::pin(async move { pipeline.responses.save(&keep, &answer).await });
            self.saving = Some(PendingSave { kept, stored });
        }
        if let Some(saving) = &mut self.saving {
            if !std::task::ready!(saving.stored.as_mut().poll(cx)) {
                saving.kept.retract(&mut self.out);
            }
            self.saving = None;
        }
        Poll::Ready(())
    }

    /// Keeps the next output, where bodies are kept.
    fn capture(&self) {
        if let Some(capture) = &self.capture {
            capture.answer(&self.out);
        }
    }

    /// Ends the stream for a reason of the gateway, if it has not ended.
    pub fn stop(&mut self, error: Error) {
        if !self.ended() {
            self.fail(error);
        }
    }

    /// Ends the caller's stream with an error, and the provider's by dropping it.
    fn fail(&mut self, error: Error) {
        let error = &self.permit.cleaned(error);
        let start = self.out.len();
        self.transcoder.fail(error, &mut self.out);
        self.body = None;
        self.record.progress(self.transcoder.progress());
        self.capture();
        self.record.broke(error);
        self.has_failed = true;
        if let Some(name) = self.place.name()
            && !self.breaks_off
        {
            add_to_event(&mut self.out, start, &failure_member(name, &self.record));
        }
        self.permit.failed(error);
        let request_id = self.record.request_id();
        tracing::warn!(request_id, kind = error.kind.as_str(), "a stream broke: {}", excerpt(&error.message));
    }

    /// Breaks the caller's connection, after a turn in which earlier data are sent.
    fn break_off(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if !std::mem::replace(&mut self.is_flushed, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.closed = true;
        Poll::Ready(Some(Err(BrokenOff)))
    }

    /// Nothing has arrived: a ping is due, or the provider has been silent for too long.
    fn wait(&mut self, cx: &mut Context<'_>) {
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = clock::now();
            if let Err(error) = self.deadlines.check(now) {
                return self.fail(error);
            }
            if now >= self.last_output + PING_AFTER {
                self.out.extend_from_slice(self.ping);
                self.last_output = now;
            }
            let next = self.deadlines.next().min(self.last_output + PING_AFTER);
            self.timer.as_mut().reset(next);
        }
    }
}

/// The caller hung up: the record contains the output so far.
impl Drop for Pump {
    fn drop(&mut self) {
        self.record.progress(self.transcoder.progress());
    }
}

impl Body for Pump {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.closed {
            return Poll::Ready(None);
        }
        let length = this.out.len();
        this.drain(cx);
        if !this.out.is_empty() && this.waits_for_more(length) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        this.turns = 0;
        if this.out.is_empty() && !this.ended() {
            this.wait(cx);
            if this.out.is_empty() && !this.ended() {
                return Poll::Pending;
            }
        }
        if this.ended() {
            std::task::ready!(this.poll_save(cx));
        }
        this.capture();
        if this.ended() {
            this.record.progress(this.transcoder.progress());
            this.permit.succeeded(this.record.tokens_per_second());
            // The record is durable before the caller has the last byte.
            this.record.finish(this.status);
            if this.breaks_off && this.has_failed && this.out.is_empty() {
                return this.break_off(cx);
            }
            this.closed = !(this.breaks_off && this.has_failed);
        }
        this.last_output = clock::now();
        let bytes = Bytes::from(std::mem::take(&mut this.out));
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }
}
