//! A decoder and an encoder back to back.

use std::collections::BTreeSet;

use bytes::Bytes;
use canon::{Error, Event, Progress, Result};

use crate::proofs::{Collector, Proofs};
use crate::{Decoder, Encoder, Kept, Transcoder};

/// Translates an answer between two formats by way of canonical events.
pub struct Translator {
    decoder: Box<dyn Decoder>,
    encoder: Box<dyn Encoder>,
    ids: Box<dyn Fn() -> String + Send>,
    /// The ids of the conversation's calls, which calls of the answer must not have.
    taken: BTreeSet<String>,
    /// The ids of the calls so far, by choice.
    called: BTreeSet<(u32, String)>,
    events: Vec<Event>,
    progress: Progress,
    proofs: Collector,
}

/// What a translator is made of.
pub struct TranslatorParts {
    /// Reads the provider's format.
    pub decoder: Box<dyn Decoder>,
    /// Writes the caller's format.
    pub encoder: Box<dyn Encoder>,
    /// Makes a new tool-call id, unique across users, for providers that give none.
    pub ids: Box<dyn Fn() -> String + Send>,
    /// The ids of the conversation's calls, which calls of the answer must not have.
    pub taken: BTreeSet<String>,
}

impl Translator {
    /// Puts a decoder and an encoder back to back.
    pub fn new(parts: TranslatorParts) -> Self {
        Self {
            decoder: parts.decoder,
            encoder: parts.encoder,
            ids: parts.ids,
            taken: parts.taken,
            called: BTreeSet::new(),
            events: Vec::with_capacity(16),
            progress: Progress::default(),
            proofs: Collector::default(),
        }
    }

    fn drain(&mut self, out: &mut Vec<u8>) {
        for mut event in self.events.drain(..) {
            if matches!(&event, Event::Usage(usage) if !usage.is_plausible()) {
                continue;
            }
            note(&mut self.progress, &event);
            if let Event::ToolCallStart { choice, id, .. } = &mut event {
                // Some providers give the calls of one answer no ids, or the same, or the same in each answer.
                if id.is_empty()
                    || self.taken.contains(id.as_str())
                    || !self.called.insert((*choice, id.clone()))
                {
                    *id = (self.ids)();
                }
            }
            self.proofs.note(&event);
            self.encoder.push(event, out);
        }
    }
}

impl Transcoder for Translator {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let result = self.decoder.push(bytes, &mut self.events);
        self.drain(out);
        result
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let result = self.decoder.finish(&mut self.events);
        self.drain(out);
        result?;
        self.progress.finished = true;
        self.encoder.finish(out);
        Ok(())
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        self.encoder.fail(error, out);
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn kept(&mut self) -> Option<Kept> {
        self.encoder.kept()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.proofs.take()
    }
}

/// Keeps the books of an answer.
pub(crate) fn note(progress: &mut Progress, event: &Event) {
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
