//! Bodies of responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Interval, MissedTickBehavior};
use wire::{AnswerForm, Dialect};

use crate::lifecycle::cut_off;
use crate::pipeline::pump::{BrokenOff, PING_AFTER, Pump};
use crate::pipeline::split_request::Several;
use crate::pipeline::{Answer, Failure, Pending};

pub enum ResponseBody {
    Whole(Option<Bytes>),
    Stream(Box<Pump>),
    /// Streams of the parts of a request, as one.
    Several(Box<Several>),
    Page(Pin<Box<axum::body::Body>>),
    /// A stream before its first content: the caller gets pings.
    Waiting(Box<PendingAnswer>),
}

/// See [`ResponseBody::Waiting`].
pub struct PendingAnswer {
    outcome: Pending,
    pings: Interval,
    dialect: &'static dyn Dialect,
    form: AnswerForm,
}

impl ResponseBody {
    pub fn whole(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// A body that pings until the outcome is known. An error then becomes the stream's last event.
    pub fn waiting(outcome: Pending, dialect: &'static dyn Dialect, form: AnswerForm) -> Self {
        let mut pings = tokio::time::interval(PING_AFTER);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self::Waiting(Box::new(PendingAnswer {
            outcome,
            pings,
            dialect,
            form: AnswerForm { request: None, ..form },
        }))
    }

    /// Whether it is sent over time.
    pub fn is_stream(&self) -> bool {
        !matches!(self, Self::Whole(_) | Self::Page(_))
    }

    /// Ends a stream with an error because the gateway stops.
    pub fn cut(&mut self) {
        match self {
            // Browsers retry.
            Self::Whole(_) | Self::Page(_) => {}
            Self::Stream(pump) => pump.stop(cut_off()),
            Self::Several(several) => several.stop(&cut_off().into()),
            Self::Waiting(waiting) => *self = Self::whole(waiting.failure_event(&cut_off().into())),
        }
    }
}

impl PendingAnswer {
    /// The event that ends a stream without content.
    fn failure_event(&self, failure: &Failure) -> Bytes {
        self.dialect.error_event(&self.form, &failure.error, failure.metadata.as_deref())
    }
}

type PolledFrame = Poll<Option<Result<Frame<Bytes>, BrokenOff>>>;

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PolledFrame {
        loop {
            match &mut *self {
                Self::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
                Self::Stream(pump) => return Pin::new(&mut **pump).poll_frame(cx),
                Self::Several(several) => return Pin::new(&mut **several).poll_frame(cx),
                Self::Page(page) => {
                    return page.as_mut().poll_frame(cx).map_err(|_| BrokenOff);
                }
                Self::Waiting(waiting) => {
                    let next = match waiting.outcome.as_mut().poll(cx) {
                        Poll::Ready(Ok(Answer::Stream(pump, _))) => Self::Stream(pump),
                        Poll::Ready(Ok(Answer::Several(several, _))) => Self::Several(several),
                        Poll::Ready(Ok(Answer::Whole(body, _))) => Self::whole(body),
                        Poll::Ready(Err(failure)) => Self::whole(waiting.failure_event(&failure)),
                        Poll::Pending => {
                            std::task::ready!(waiting.pings.poll_tick(cx));
                            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(
                                waiting.dialect.ping(&waiting.form),
                            )))));
                        }
                    };
                    *self = next;
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            _ => SizeHint::default(),
        }
    }
}
