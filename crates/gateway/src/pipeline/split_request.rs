//! A request that is split into several, each served like any other: with its own attempts, reservation and
//! record. A few are under way at a time. A failed one ends the whole; the others are then dropped, and their
//! records say so.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use canon::{Cost, Error, ErrorKind, Field};
use http_body::{Body, Frame};
use wire::{AnswerForm, Intake, Joiner};

use super::pump::{BrokenOff, Pump};
use super::{Answer, Failure, Inbound, Pending, Pipeline, resolver};
use crate::buffers::Held;
use crate::metering::Served;

/// How many parts are under way at a time: providers limit the concurrent requests of a key.
const AT_ONCE: usize = 4;

/// The joined answers to the parts of a request.
pub struct Several {
    pipeline: Arc<Pipeline>,
    inbound: Inbound,
    form: AnswerForm,
    held: Held,
    waiting: VecDeque<(usize, Intake)>,
    running: Vec<(usize, Part)>,
    joiner: Box<dyn Joiner>,
    /// The next output.
    out: Vec<u8>,
    served: Option<Served>,
    is_closed: bool,
}

enum Part {
    Pending(Pending),
    Streaming(Box<Pump>),
}

impl Pipeline {
    /// The parts of a request that no possible provider serves as one; none where it is sent whole.
    pub fn parts(self: &Arc<Self>, inbound: &Inbound, intake: &Intake) -> Result<Option<Vec<Intake>>, Error> {
        let dialect = inbound.dialect;
        let Some(bodies) = dialect.parts(intake)? else { return Ok(None) };
        let resolver = resolver(inbound, intake, 0);
        let further = super::candidates::further_models(&intake.facts())?;
        let resolved = resolver.resolve_all(&intake.model, &further)?;
        if resolved.offers.iter().any(|offer| Some(offer.protocol) == dialect.protocol()) {
            return Ok(None);
        }
        let part = |body: Bytes| {
            let mut part = dialect.intake(wire::Addressed::default(), &body)?;
            part.headers.clone_from(&intake.headers);
            Ok(part)
        };
        bodies.into_iter().map(part).collect::<Result<_, Error>>().map(Some)
    }
}

impl Several {
    /// The parts of a request, none of them started yet.
    pub async fn new(
        pipeline: Arc<Pipeline>,
        inbound: Inbound,
        whole: &Intake,
        parts: Vec<Intake>,
        mut held: Held,
    ) -> Result<Self, Error> {
        let joiner = inbound.dialect.joiner(whole).ok_or_else(|| {
            Error::gateway(ErrorKind::Internal, "The answers to the parts of a request cannot be joined.")
        })?;
        held.grow(parts.iter().map(|part| part.body().len()).sum()).await?;
        Ok(Self {
            pipeline,
            inbound,
            form: AnswerForm { request: None, ..whole.form.clone() },
            held,
            waiting: parts.into_iter().enumerate().collect(),
            running: Vec::new(),
            joiner,
            out: Vec::new(),
            served: None,
            is_closed: false,
        })
    }

    /// The whole answer, or a stream that has begun.
    pub async fn begin(mut self) -> Result<Answer, Failure> {
        let is_stream = self.form.stream;
        poll_fn(|cx| match self.poll_parts(cx) {
            Err(failure) => Poll::Ready(Err(*failure)),
            Ok(()) if self.is_closed || is_stream && !self.out.is_empty() => Poll::Ready(Ok(())),
            Ok(()) => Poll::Pending,
        })
        .await?;
        let served = self.served.take();
        Ok(if is_stream {
            Answer::Several(Box::new(self), served)
        } else {
            Answer::Whole(self.held.further().keep(std::mem::take(&mut self.out)), served)
        })
    }

    /// Takes the parts' new data, and starts further parts in place of ended ones.
    fn poll_parts(&mut self, cx: &mut Context<'_>) -> Result<(), Box<Failure>> {
        let mut index = 0;
        while !self.is_closed {
            while self.running.len() < AT_ONCE
                && let Some((part, intake)) = self.waiting.pop_front()
            {
                let pending = self.pipeline.clone().run(self.inbound.part(part), intake, self.held.further());
                self.running.push((part, Part::Pending(Box::pin(pending))));
            }
            let Some((number, part)) = self.running.get_mut(index) else {
                if self.running.is_empty() {
                    self.joiner.finish(&self.inbound.request_id, &mut self.out);
                    self.is_closed = true;
                }
                return Ok(());
            };
            let number = *number;
            match part.poll(cx) {
                Poll::Pending => index += 1,
                Poll::Ready(Err(failure)) => return Err(self.of_part(*failure, number).into()),
                Poll::Ready(Ok(Step::Began(pump, served))) => {
                    self.joined(served);
                    self.running[index].1 = Part::Streaming(pump);
                }
                Poll::Ready(Ok(Step::Bytes(bytes))) => self.take(number, &bytes)?,
                Poll::Ready(Ok(Step::Whole(bytes, served))) => {
                    self.joined(served);
                    self.take(number, &bytes)?;
                    self.end(index)?;
                }
                Poll::Ready(Ok(Step::Ended)) => self.end(index)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, number: usize, bytes: &[u8]) -> Result<(), Box<Failure>> {
        self.joiner.push(number, bytes, &mut self.out).map_err(|error| Box::new(error.into()))
    }

    fn end(&mut self, index: usize) -> Result<(), Box<Failure>> {
        let (number, _) = self.running.remove(index);
        self.joiner.end(number, &mut self.out).map_err(|error| Box::new(error.into()))
    }

    /// Who served the first answered part, with the attempts and the cost of all.
    fn joined(&mut self, next: Option<Served>) {
        let Some(next) = next else { return };
        let Some(served) = &mut self.served else {
            self.served = Some(next);
            return;
        };
        served.attempts += next.attempts;
        served.limits = next.limits.or(served.limits.take());
        served.cost = served.cost.take().zip(next.cost).map(|(sum, cost)| added(sum, cost));
    }

    /// The failure with the part that it belongs to.
    fn of_part(&self, mut failure: Failure, number: usize) -> Failure {
        let name = self.joiner.name_of(number);
        let error = &mut failure.error;
        error.message = format!("{name}: {}", error.message).into();
        error.param.get_or_insert(Field::Verbatim(name.into()));
        failure
    }

    /// Ends the stream with an error, and all parts with it.
    pub fn stop(&mut self, failure: &Failure) {
        if self.is_closed {
            return;
        }
        self.running.clear();
        self.waiting.clear();
        self.is_closed = true;
        let dialect = self.inbound.dialect;
        self.out.extend(dialect.error_event(&self.form, &failure.error, failure.metadata.as_deref()));
    }
}

fn added(sum: Cost, cost: Cost) -> Cost {
    Cost {
        total: sum.total + cost.total,
        input: sum.input + cost.input,
        output: sum.output + cost.output,
        cached_input: sum.cached_input + cost.cached_input,
        other: sum.other + cost.other,
    }
}

/// The result of a part.
enum Step {
    Began(Box<Pump>, Option<Served>),
    Bytes(Bytes),
    Whole(Bytes, Option<Served>),
    Ended,
}

impl Part {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Box<Failure>>> {
        match self {
            Self::Pending(pending) => pending
                .as_mut()
                .poll(cx)
                .map_ok(|answer| match answer {
                    Answer::Whole(bytes, served) => Step::Whole(bytes, served),
                    Answer::Stream(pump, served) => Step::Began(pump, served),
                    Answer::Several(..) => Step::Ended,
                })
                .map_err(Box::new),
            Self::Streaming(pump) => Pin::new(&mut **pump).poll_frame(cx).map(|frame| match frame {
                Some(Ok(frame)) => Ok(frame.into_data().map_or(Step::Ended, Step::Bytes)),
                // Conversations have events, which can contain a failure: none is broken off.
                Some(Err(_)) | None => Ok(Step::Ended),
            }),
        }
    }
}

impl Inbound {
    /// The same for a part of the request. Records are identified by the id.
    fn part(&self, number: usize) -> Self {
        Self {
            request_id: format!("{}-{number}", self.request_id),
            path: self.path,
            snapshot: self.snapshot.clone(),
            caller: self.caller.clone(),
            dialect: self.dialect,
            options: self.options.clone(),
            keep: None,
            elsewhere: None,
            // Equal parts of one request need separate answers.
            cache: None,
            tags: self.tags.clone(),
            guard: self.guard.clone(),
            capture: self.capture.as_ref().map(|capture| capture.part()),
            arrival: self.arrival,
        }
    }
}

impl Body for Several {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Err(failure) = self.poll_parts(cx) {
            self.stop(&failure);
        }
        match (self.out.is_empty(), self.is_closed) {
            (false, _) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.out).into())))),
            (true, true) => Poll::Ready(None),
            (true, false) => Poll::Pending,
        }
    }
}
