//! Answers that pass unchanged and are read for their cost.

use bytes::Bytes;
use canon::{Error, Event, Progress, Result, Usage};
use serde::Deserialize;

use super::Metered;
use super::picker::Picker;
use crate::protocols::anthropic_messages::unframed;
use crate::protocols::{adapter, is_stream};
use crate::translate::note;
use crate::{Decoder, DecoderContext, EventSink, Protocol, Transcoder};

/// A whole answer is read up to this size. A longer one also passes, without known tokens.
const READ: usize = 8 << 20;

/// The reader of an answer. `streams`: a stream was requested.
pub fn tap(metered: Option<Metered>, content_type: &str, streams: bool) -> Box<dyn Transcoder> {
    let reading = match metered {
        None | Some(Metered::Turns) => TapState::Nothing,
        Some(Metered::Embeddings) => TapState::Vectors(Box::new(Picker::new(&["usage", "model"]))),
        Some(Metered::Conversation(protocol)) => {
            TapState::Unbegun { protocol, content_type: content_type.to_owned(), streams }
        }
    };
    Box::new(Tap { reading, progress: Progress::default() })
}

struct Tap {
    reading: TapState,
    progress: Progress,
}

/// The state of reading.
enum TapState {
    Nothing,
    /// Nothing has arrived yet that shows whether it is a stream.
    Unbegun {
        protocol: Protocol,
        content_type: String,
        streams: bool,
    },
    Stream(Box<dyn Transcoder>),
    Whole {
        reader: Box<dyn Transcoder>,
        left: usize,
    },
    Vectors(Box<Picker>),
    /// The provider reported a failure within the stream.
    Failed(Box<Error>),
}

impl Tap {
    fn read(&mut self, bytes: &Bytes) {
        if let TapState::Unbegun { protocol, content_type, streams } = &self.reading {
            // White space before an answer keeps the connection open and says nothing about the answer.
            if bytes.trim_ascii().is_empty() {
                return;
            }
            let streams = is_stream(*protocol, content_type, bytes, *streams);
            let decoder = adapter(*protocol).decoder(streams, &DecoderContext::default());
            let reader = Box::new(Reader { decoder, progress: Progress::default() });
            let reader = unframed(*protocol, bytes, reader);
            self.reading =
                if streams { TapState::Stream(reader) } else { TapState::Whole { reader, left: READ } };
        }
        match &mut self.reading {
            TapState::Stream(reader) => match reader.push(bytes, &mut Vec::new()) {
                Ok(()) => {}
                Err(error) => {
                    self.progress.clone_from(reader.progress());
                    // An unreadable answer passes; a provider's error is an error.
                    self.reading = if error.upstream.is_some() {
                        TapState::Failed(Box::new(error))
                    } else {
                        TapState::Nothing
                    };
                }
            },
            TapState::Whole { reader, left } => {
                let fits = bytes.len() <= *left && reader.push(bytes, &mut Vec::new()).is_ok();
                *left = left.saturating_sub(bytes.len());
                if !fits {
                    self.reading = TapState::Nothing;
                    self.progress.content_started = true;
                    self.progress.output_chars = READ as u64;
                }
            }
            TapState::Vectors(picker) => picker.push(bytes),
            TapState::Nothing | TapState::Unbegun { .. } | TapState::Failed(_) => {}
        }
    }
}

impl Transcoder for Tap {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(bytes);
        self.read(bytes);
        Ok(())
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        match std::mem::replace(&mut self.reading, TapState::Nothing) {
            // A stream without its own end was cut off, however the connection was closed.
            TapState::Stream(mut reader) => {
                let ended = reader.finish(&mut Vec::new());
                self.progress.clone_from(reader.progress());
                ended
            }
            TapState::Whole { mut reader, .. } => {
                if reader.finish(&mut Vec::new()).is_ok() {
                    self.progress.clone_from(reader.progress());
                }
                Ok(())
            }
            TapState::Vectors(picker) => {
                self.progress.usage = usage_of_vectors(&picker);
                self.progress.model = picker.found("model").and_then(|raw| serde_json::from_slice(raw).ok());
                Ok(())
            }
            TapState::Failed(error) => Err(*error),
            TapState::Nothing | TapState::Unbegun { .. } => Ok(()),
        }
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        match &self.reading {
            TapState::Stream(reader) => reader.progress(),
            _ => &self.progress,
        }
    }
}

/// OpenAI sends both counts; some providers send one of them.
#[derive(Deserialize)]
pub(super) struct UsageOfVectors {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
}

impl UsageOfVectors {
    /// None without counts, or with impossible ones.
    pub(super) fn usage(self) -> Option<Usage> {
        let usage = Usage { input: self.prompt_tokens.or(self.total_tokens)?, ..Usage::default() };
        usage.is_plausible().then_some(usage)
    }
}

fn usage_of_vectors(picker: &Picker) -> Option<Usage> {
    serde_json::from_slice::<UsageOfVectors>(picker.found("usage")?).ok()?.usage()
}

/// Reads an answer and writes nothing.
pub(super) struct Reader {
    pub(super) decoder: Box<dyn Decoder>,
    pub(super) progress: Progress,
}

struct ProgressSink<'a>(&'a mut Progress);

impl EventSink for ProgressSink<'_> {
    fn push(&mut self, event: Event) {
        note(self.0, &event);
    }
}

impl Transcoder for Reader {
    fn push(&mut self, bytes: &Bytes, _out: &mut Vec<u8>) -> Result<()> {
        self.decoder.push(bytes, &mut ProgressSink(&mut self.progress))
    }

    fn finish(&mut self, _out: &mut Vec<u8>) -> Result<()> {
        self.decoder.finish(&mut ProgressSink(&mut self.progress))?;
        self.progress.finished = true;
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        &self.progress
    }
}
