//! An answer between equal formats: each piece is read for metering, proofs and errors, and passed on
//! unchanged. The gateway adds its object at the end, and an id where the provider gives none.

use std::sync::Arc;

use bytes::Bytes;
use canon::write::{push_key, push_string};
use canon::{Annotator, AnswerFacts, Error, Progress, Result};
use serde_json::value::RawValue;

use super::super::answer::read::{AnswerState, malformed, too_large};
use super::super::answer::write::Frames;
use super::super::errors;
use crate::framing::sse::{EVENT_LIMIT, SseParser};
use crate::json::{mentions, put};
use crate::proofs::Proofs;
use crate::protocols::repair::valid_json;
use crate::providers::edit;
use crate::translate::Books;
use crate::{AnswerForm, Transcoder, TranscoderParts};

/// Passes an answer on.
pub(super) struct Relay {
    incoming: Incoming,
    pieces: RelayState,
}

enum Incoming {
    Unknown,
    Events(SseParser),
    Json(Vec<u8>),
}

/// Room in a piece for what the gateway adds.
const MORE: usize = 512;

/// The state of the pieces.
struct RelayState {
    form: AnswerForm,
    frames: Frames,
    annotator: Arc<dyn Annotator + Sync>,
    state: AnswerState,
    books: Books,
    /// A piece that may be the last: the gateway's object is then added to it.
    held: Option<Vec<u8>>,
    is_ending: bool,
}

impl Relay {
    /// A relay for one answer.
    pub fn new(parts: TranscoderParts<'_>) -> Self {
        let TranscoderParts { form, annotator, decoding, .. } = parts;
        let pieces = RelayState {
            frames: Frames::new(form.is_list),
            form,
            annotator,
            state: AnswerState::new(decoding.clone()),
            books: Books::default(),
            held: None,
            is_ending: false,
        };
        Self { incoming: Incoming::Unknown, pieces }
    }
}

impl Transcoder for Relay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        let mut bytes = &bytes[..];
        if let Incoming::Unknown = self.incoming {
            bytes = bytes.trim_ascii_start();
            self.incoming = match bytes.first() {
                None => return Ok(()),
                Some(b'{' | b'[') => Incoming::Json(Vec::new()),
                Some(_) => Incoming::Events(SseParser::default()),
            };
        }
        let pieces = &mut self.pieces;
        match &mut self.incoming {
            Incoming::Events(parser) => parser.push(bytes, |event| pieces.document(event.data, out)),
            Incoming::Json(body) if body.len() + bytes.len() > EVENT_LIMIT => Err(too_large()),
            Incoming::Json(body) => {
                crate::json::append(body, bytes);
                Ok(())
            }
            Incoming::Unknown => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let pieces = &mut self.pieces;
        match std::mem::replace(&mut self.incoming, Incoming::Unknown) {
            Incoming::Events(mut parser) => parser.finish(|event| pieces.document(event.data, out))?,
            Incoming::Json(body) => pieces.document(&body, out)?,
            Incoming::Unknown => {}
        }
        pieces.finish(out)
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let pieces = &mut self.pieces;
        if pieces.form.stream {
            // The caller gets the pieces so far, even from an incomplete answer.
            pieces.release(out);
            pieces.frames.write(errors::to_json(error, error.status()).to_string().as_bytes(), out);
            pieces.frames.end(out);
        }
    }

    fn progress(&self) -> &Progress {
        &self.pieces.books.progress
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.pieces.books.proofs.take()
    }
}

impl RelayState {
    /// One piece of the answer, or a list of pieces.
    fn document(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let data = &*valid_json(data.trim_ascii());
        if data.is_empty() || data == b"[DONE]" {
            return Ok(());
        }
        if data.starts_with(b"[") {
            let pieces: Vec<&RawValue> = serde_json::from_slice(data).map_err(|_| malformed())?;
            return pieces.into_iter().try_for_each(|piece| self.piece(piece.get().as_bytes(), out));
        }
        self.piece(data, out)
    }

    fn piece(&mut self, data: &[u8], out: &mut Vec<u8>) -> Result<()> {
        self.state.document(data, &mut self.books)?;
        let mut piece = self.cleaned(data)?;
        self.release(out);
        self.is_ending |= mentions(data, "finishReason") || mentions(data, "blockReason");
        if !mentions(data, "responseId") {
            piece.pop();
            push_key(&mut piece, "responseId");
            push_string(&mut piece, self.annotator.answer_id());
            piece.push(b'}');
        }
        if self.is_ending || !self.form.stream {
            self.held = Some(piece)
        } else {
            self.frames.write(&piece, out)
        }
        Ok(())
    }

    /// The piece on one line, as events require, and without a member that has the name of the gateway's own:
    /// another gateway may be the upstream.
    fn cleaned(&self, data: &[u8]) -> Result<Vec<u8>> {
        let mut piece = match self.annotator.metadata_name().filter(|name| mentions(data, name)) {
            Some(name) => edit::edit(data, &[name], &[]).map_err(|_| malformed())?.to_vec(),
            None => {
                let mut piece = Vec::with_capacity(data.len() + MORE);
                piece.extend_from_slice(data);
                piece
            }
        };
        if self.form.stream && !self.form.is_list {
            // Outside of strings line ends are white space; within strings they are escaped.
            piece.iter_mut().filter(|byte| matches!(byte, b'\r' | b'\n')).for_each(|byte| *byte = b' ');
        }
        Ok(piece)
    }

    /// Writes the piece that was held as the possible last one.
    fn release(&mut self, out: &mut Vec<u8>) {
        if let Some(held) = self.held.take() {
            self.frames.write(&held, out);
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.state.finish(&mut self.books)?;
        let progress = &mut self.books.progress;
        progress.finished = true;
        let mut last = self.held.take().unwrap_or_else(|| b"{}".to_vec());
        last.pop();
        if last.trim_ascii_end().ends_with(b"{") {
            // The gateway's object must follow a member.
            last.extend_from_slice(b"\"candidates\":[]");
        }
        let facts =
            AnswerFacts { underlying_model: progress.model.as_deref(), usage: progress.usage.as_ref() };
        self.annotator.write_member_with_cost(facts, progress.service_tier.as_deref(), &mut last);
        last.push(b'}');
        if self.form.stream {
            self.frames.write(&last, out);
            self.frames.end(out);
        } else {
            put(out, last);
        }
        Ok(())
    }
}
