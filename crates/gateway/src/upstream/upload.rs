//! The rest of a caller's body, on its way to a provider: large bodies are not buffered.
//!
//! A provider's connection asks for the next piece when it has space, and only then the caller's connection
//! is read. Sent pieces cannot be read again, so an attempt can be repeated only while nothing has been read.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep};
use wire::multipart;

use crate::clock;
use crate::incoming::{broken, late, leave_unread, too_large_upload};

/// The rest of a caller's body. Clones share it.
#[derive(Clone)]
pub struct Upload(Arc<Mutex<UploadState>>);

struct UploadState {
    /// The rest, while no attempt has it.
    unread: Option<UnreadBody>,
    /// Something of it was read.
    is_begun: bool,
    /// It is no longer wanted.
    is_over: bool,
    /// Why it ended early: a fault of the caller.
    failure: Option<Error>,
    /// When data last passed.
    moved: Instant,
}

pub struct UnreadBody {
    body: Option<Incoming>,
    /// Checks a form while it passes.
    form: Option<multipart::FormChecker>,
    /// How many bytes came before.
    came: usize,
    bounds: Bounds,
}

/// Limits of a body's size and time.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The total length, if the caller announced it.
    pub length: Option<usize>,
    /// The maximum length.
    pub limit: usize,
    /// Longest pause.
    pub pause: Duration,
    /// The deadline for all of it.
    pub end: Instant,
}

impl UnreadBody {
    /// The rest of `form`, which holds everything that has arrived.
    pub fn new(body: Incoming, form: &multipart::Form, bounds: Bounds) -> Self {
        Self { body: Some(body), form: Some(form.rest()), came: form.len(), bounds }
    }

    /// The rest of a body that is not parsed, of which `came` bytes are buffered.
    pub fn plain(body: Incoming, came: usize, bounds: Bounds) -> Self {
        Self { body: Some(body), form: None, came, bounds }
    }

    fn left(&self) -> Option<u64> {
        Some(self.bounds.length?.saturating_sub(self.came) as u64)
    }

    /// Takes a piece.
    fn take(&mut self, data: &Bytes) -> Result<(), Error> {
        self.came += data.len();
        if self.came > self.bounds.limit {
            return Err(too_large_upload(self.bounds.limit));
        }
        let Some(form) = &mut self.form else { return Ok(()) };
        form.push(data)?;
        // A body of known length is not read beyond it: its end is detected here.
        if self.bounds.length == Some(self.came) { form.finish() } else { Ok(()) }
    }

    fn finish(&self) -> Result<(), Error> {
        self.form.as_ref().map_or(Ok(()), multipart::FormChecker::finish)
    }
}

impl Drop for UnreadBody {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            leave_unread(body);
        }
    }
}

impl Upload {
    /// The rest of a body for the attempts of its request.
    pub fn new(rest: UnreadBody) -> Self {
        Self(Arc::new(Mutex::new(UploadState {
            unread: Some(rest),
            is_begun: false,
            is_over: false,
            failure: None,
            moved: clock::now(),
        })))
    }

    /// A body that begins with these bytes.
    pub(super) fn body(&self, beginning: Bytes) -> Result<UploadBody, Error> {
        let rest = self.lock().unread.take();
        let rest = rest.ok_or_else(|| {
            let message = "The body was already sent to a provider and cannot be sent again.";
            Error::gateway(ErrorKind::Upstream, message)
        })?;
        let timer = Box::pin(tokio::time::sleep_until(clock::now() + rest.bounds.pause));
        Ok(UploadBody {
            beginning: (!beginning.is_empty()).then_some(beginning),
            rest: Some(rest),
            timer,
            upload: self.clone(),
        })
    }

    /// Why an attempt failed: a fault of the caller takes precedence. If a part of the body was sent, no
    /// other provider can be asked.
    pub fn failed(&self, mut error: Error) -> Error {
        let mut shared = self.lock();
        shared.is_over |= shared.is_begun;
        if let Some(failure) = shared.failure.take() {
            return failure;
        }
        if shared.is_begun {
            error.retry = Retry::No;
        }
        error
    }

    /// When data last passed.
    pub fn moved(&self) -> Instant {
        self.lock().moved
    }

    fn lock(&self) -> MutexGuard<'_, UploadState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The body of a request to a provider: buffered bytes, and the rest of the caller's body.
pub(super) struct UploadBody {
    beginning: Option<Bytes>,
    /// None at the end.
    rest: Option<UnreadBody>,
    /// Fires when the caller has been silent for too long.
    timer: Pin<Box<Sleep>>,
    upload: Upload,
}

/// The body ended early. The upload has the reason.
#[derive(Debug, thiserror::Error)]
#[error("the caller's upload ended early")]
pub(super) struct UploadError;

impl UploadBody {
    fn fail(&mut self, error: Error) -> UploadError {
        // No further wait for a caller who was too slow or hung up.
        if matches!(error.kind, ErrorKind::RequestTimeout | ErrorKind::Cancelled)
            && let Some(rest) = &mut self.rest
        {
            rest.body = None;
        }
        self.rest = None;
        self.upload.lock().failure = Some(error);
        UploadError
    }

    fn poll_rest(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        let Some(rest) = &mut self.rest else { return Poll::Ready(None) };
        loop {
            let Some(body) = &mut rest.body else { return Poll::Ready(None) };
            let polled = Pin::new(body).poll_frame(context);
            let Poll::Ready(frame) = polled else {
                ready!(self.timer.as_mut().poll(context));
                return Poll::Ready(Some(Err(late(rest.bounds.end <= clock::now()))));
            };
            let now = clock::now();
            self.timer.as_mut().reset(rest.bounds.end.min(now + rest.bounds.pause));
            match frame {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    {
                        let mut shared = self.upload.lock();
                        (shared.is_begun, shared.moved) = (true, now);
                    }
                    return Poll::Ready(Some(rest.take(&data).map(|()| data)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(&error)))),
                None => {
                    rest.body = None;
                    let ended = rest.finish();
                    return Poll::Ready(ended.err().map(Err));
                }
            }
        }
    }
}

impl Body for UploadBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        let this = &mut *self;
        if let Some(beginning) = this.beginning.take() {
            return Poll::Ready(Some(Ok(Frame::data(beginning))));
        }
        if this.upload.lock().is_over {
            this.rest = None;
            return Poll::Ready(Some(Err(UploadError)));
        }
        match ready!(this.poll_rest(context)) {
            Some(Ok(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Err(error)) => Poll::Ready(Some(Err(this.fail(error)))),
            None => {
                this.rest = None;
                Poll::Ready(None)
            }
        }
    }

    /// The announced length, if there is one.
    fn size_hint(&self) -> SizeHint {
        let beginning = self.beginning.as_ref().map_or(0, Bytes::len) as u64;
        match self.rest.as_ref().map_or(Some(0), UnreadBody::left) {
            Some(left) => SizeHint::with_exact(beginning + left),
            None => SizeHint::default(),
        }
    }
}

/// An attempt that has read nothing leaves everything to the next one.
impl Drop for UploadBody {
    fn drop(&mut self) {
        let Some(rest) = self.rest.take() else { return };
        let mut shared = self.upload.lock();
        if !shared.is_begun {
            shared.unread = Some(rest);
        }
    }
}
