//! A decoder and an encoder back to back.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use canon::{Error, Event, Progress, Result};

use crate::proofs::{Collector, Proofs};
use crate::{Decoder, Encoder, EventFilter, EventSink, StoredAnswer, TakenIds, Transcoder};

/// Translates an answer between two formats through canonical events.
pub struct Translator {
    decoder: Box<dyn Decoder>,
    writing: EventWriter,
}

/// The part of a translator that takes events.
struct EventWriter {
    encoder: Box<dyn Encoder>,
    ids: Box<dyn Fn() -> String + Send>,
    /// The ids of the conversation's calls, which must not recur in the answer.
    taken: TakenIds,
    /// The ids of the calls so far with their choices, as hashes. A hash collision only replaces an id
    /// without need.
    called: BTreeSet<u64>,
    progress: Progress,
    proofs: Collector,
    filter: Option<Filtering>,
}

/// The filter of the events, and its result.
struct Filtering {
    filter: Box<dyn EventFilter>,
    /// The error of the filter: a decoder cannot be stopped within its bytes.
    refused: Option<Error>,
    /// The provider's answer is complete.
    is_ended: bool,
    /// Content has been let through.
    has_begun: bool,
}

pub struct TranslatorParts {
    /// Reads the provider's format.
    pub decoder: Box<dyn Decoder>,
    /// Writes the caller's format.
    pub encoder: Box<dyn Encoder>,
    /// Makes a new tool-call id, unique across users, for providers that give none.
    pub ids: Box<dyn Fn() -> String + Send>,
    /// The ids of the conversation's calls, which must not recur in the answer.
    pub taken: TakenIds,
    /// Filters the events before they are written.
    pub filter: Option<Box<dyn EventFilter>>,
}

impl Translator {
    /// Puts a decoder and an encoder back to back.
    pub fn new(parts: TranslatorParts) -> Self {
        Self {
            decoder: parts.decoder,
            writing: EventWriter {
                encoder: parts.encoder,
                ids: parts.ids,
                taken: parts.taken,
                called: BTreeSet::new(),
                progress: Progress::default(),
                proofs: Collector::default(),
                filter: parts.filter.map(|filter| Filtering {
                    filter,
                    refused: None,
                    is_ended: false,
                    has_begun: false,
                }),
            },
        }
    }
}

impl EventWriter {
    fn write(&mut self, mut event: Event, out: &mut Vec<u8>) {
        if !note(&mut self.progress, &event) {
            return;
        }
        if let Event::ToolCallStart { choice, id, .. } = &mut event {
            // Some providers send the calls of one answer without ids, or with the same id, or with the same
            // ids in each answer.
            if id.is_empty()
                || self.taken.contains(id)
                || !self.called.insert(hash_of(&(*choice, id.as_str())))
            {
                *id = (self.ids)();
            }
        }
        self.proofs.note(&event);
        match &mut self.filter {
            None => self.encoder.push(event, out),
            Some(filtering) => filtering.push(event, &mut Released { encoder: &mut *self.encoder, out }),
        }
    }

    /// The error with which the filter ended the answer.
    fn check(&mut self) -> Result<()> {
        match self.filter.as_mut().and_then(|filtering| filtering.refused.take()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Takes the end of the provider's answer.
    fn end(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let Some(filtering) = &mut self.filter else {
            self.encoder.finish(out);
            return Ok(());
        };
        filtering.is_ended = true;
        filtering.filter.finish(&mut Released { encoder: &mut *self.encoder, out })
    }

    fn poll_released(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<()>> {
        let Some(filtering) = &mut self.filter else { return Poll::Ready(Ok(())) };
        let start = out.len();
        let released = &mut Released { encoder: &mut *self.encoder, out };
        ready!(filtering.filter.poll(cx, released))?;
        filtering.has_begun |= out.len() > start;
        if std::mem::take(&mut filtering.is_ended) {
            self.encoder.finish(out);
        }
        Poll::Ready(Ok(()))
    }
}

impl Filtering {
    fn push(&mut self, event: Event, released: &mut Released<'_>) {
        if self.refused.is_some() {
            return;
        }
        let is_content = !matches!(event, Event::Start { .. } | Event::Usage(_) | Event::Field { .. });
        let start = released.out.len();
        self.refused = self.filter.push(event, released).err();
        self.has_begun |= is_content && released.out.len() > start;
    }
}

/// Writes the events that the filter lets through.
struct Released<'a> {
    encoder: &'a mut dyn Encoder,
    out: &'a mut Vec<u8>,
}

impl EventSink for Released<'_> {
    fn push(&mut self, event: Event) {
        self.encoder.push(event, self.out);
    }
}

fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Writes each event when it arrives.
struct DirectSink<'a> {
    writing: &'a mut EventWriter,
    out: &'a mut Vec<u8>,
}

impl EventSink for DirectSink<'_> {
    fn push(&mut self, event: Event) {
        self.writing.write(event, self.out);
    }
}

impl Transcoder for Translator {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let read = self.decoder.push(bytes, &mut DirectSink { writing: &mut self.writing, out });
        self.writing.check()?;
        read
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let read = self.decoder.finish(&mut DirectSink { writing: &mut self.writing, out });
        self.writing.check()?;
        read?;
        self.writing.progress.finished = true;
        self.writing.end(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.writing.encoder.fail(error, out);
    }

    fn progress(&self) -> &Progress {
        &self.writing.progress
    }

    fn has_begun(&self) -> bool {
        match &self.writing.filter {
            None => self.writing.progress.content_started,
            Some(filtering) => filtering.has_begun,
        }
    }

    fn poll_released(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Poll<Result<()>> {
        self.writing.poll_released(cx, out)
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.writing.encoder.stored_answer()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.writing.proofs.take()
    }
}

/// The facts that a relay reads from an answer. Each event is recorded when it is read, and none is kept.
#[derive(Default)]
pub(crate) struct Books {
    /// The reported facts.
    pub progress: Progress,
    /// The proofs for the next turn.
    pub proofs: Collector,
}

impl EventSink for Books {
    fn push(&mut self, event: Event) {
        if note(&mut self.progress, &event) {
            self.proofs.note(&event);
        }
    }
}

/// Records an event. False for impossible counts: they are ignored.
pub(crate) fn note(progress: &mut Progress, event: &Event) -> bool {
    let is_meant = !matches!(event, Event::Usage(usage) if !usage.is_plausible());
    if is_meant {
        enter(progress, event);
    }
    is_meant
}

fn enter(progress: &mut Progress, event: &Event) {
    let produced = match event {
        Event::Start { model, .. } => {
            progress.model.clone_from(model);
            return;
        }
        Event::Usage(usage) => {
            progress.usage = Some(*usage);
            return;
        }
        Event::Finish { choice, reason, .. } => {
            if *choice == 0 || progress.finish_reason.is_none() {
                progress.finish_reason = Some(*reason);
            }
            return;
        }
        Event::Field { name: "service_tier", value } => {
            progress.service_tier = value.read().ok();
            return;
        }
        Event::Field { .. } => return,
        Event::Text { text, .. } | Event::Refusal { text, .. } => text.len(),
        Event::Reasoning { detail, .. } => match detail {
            canon::ReasoningDetail::Text(text) => text.len(),
            _ => 0,
        },
        Event::ToolCallStart { name, .. } => name.len(),
        Event::ToolCallArguments { fragment, .. } => fragment.len(),
        Event::Image { .. } | Event::Annotation { .. } | Event::Logprobs { .. } => 0,
    };
    progress.output_chars += produced as u64;
    progress.content_started = true;
}
