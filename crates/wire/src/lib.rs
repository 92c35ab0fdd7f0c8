//! Pure translation: provider bytes to canonical events and back.
//!
//! Nothing in this crate reads the clock, the environment, the disk or the network, and nothing logs. Values go
//! in, values come out; what happened on the way (losses, progress) is part of what comes out.
//!
//! * [`framing`] cuts byte streams into frames,
//! * [`protocols`] holds one folder per wire format, each with up to two faces: a [`Dialect`] towards callers and
//!   an [`Adapter`] towards providers,
//! * [`providers`] knows how to call whom: URL, authentication, signature, as values.

pub mod framing;
mod json;
pub mod proofs;
pub mod protocols;
pub mod providers;
mod translate;

pub use protocols::{Passage, Protocol, adapter, dialect, is_stream, translator};
pub use translate::{Translator, TranslatorParts};

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{Annotator, Error, Event, Field, Losses, Progress, Request, Result, Target};
use http::{HeaderMap, StatusCode};

/// The caller-facing face of a wire format.
pub trait Dialect: Sync {
    /// Reads a caller's request. Errors name the field by its JSON path.
    fn decode_request(&self, body: &[u8]) -> Result<Request>;
    /// Writes an answer to `request`, streamed or whole as the request asks.
    fn encoder(&self, request: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder>;
    /// The name of a field in this format's words: the path that leads the caller to its place in the body that became
    /// `request`. Without the request it names no more than what holds messages, parts and tools.
    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str>;
    /// Writes an error as this format's own JSON.
    fn encode_error(&self, error: &Error) -> (StatusCode, Bytes);
}

/// What an encoder needs to know of the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AnswerForm {
    /// Streamed or whole.
    pub stream: bool,
    /// A usage chunk at the end of the stream.
    pub include_usage: bool,
    /// Leave out thinking text.
    pub exclude_reasoning: bool,
}

/// The provider-facing face of a wire format.
pub trait Adapter: Sync {
    /// Writes the request for one model at one provider. A feature that cannot be served is an error; a hint that
    /// cannot be carried is a loss.
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded>;
    /// Reads a good answer, streamed or whole.
    fn decoder(&self, streaming: bool, undo: &Undo) -> Box<dyn Decoder>;
    /// Reads an error answer: what it means, whether another try helps, and the provider's own words.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;
    /// True when the format takes this media only as bytes: the gateway then fetches what is behind its URL.
    fn wants_bytes(&self, _media: &canon::Media, _target: Target<'_>) -> bool {
        false
    }
}

/// A request in a provider's format.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The JSON body.
    pub body: Bytes,
    /// What could not be carried as asked.
    pub losses: Losses,
    /// What the decoder has to undo.
    pub undo: Undo,
}

/// What a request's encoder did that its answer's decoder has to undo.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// The tool that stands in for a JSON answer: its arguments are the answer's text, and the finish reason
    /// `tool_calls` becomes `stop`.
    pub json_tool: Option<String>,
    /// Tool names that had to be changed: the provider's → the caller's.
    pub tool_names: BTreeMap<String, String>,
    /// Tools that take free text, wrapped as functions with one string property `input`.
    pub custom_tools: Vec<String>,
    /// Quirk: prompt tokens do not include those read from the cache, which have to be added.
    pub cached_outside_prompt: bool,
}

impl Undo {
    /// The caller's name of a tool that the provider named.
    pub fn tool_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.tool_names.get(name).map_or(name, String::as_str)
    }
}

/// Reads a provider's answer. A whole answer goes the same way as a stream: it is pushed in pieces and emits its
/// events in [`finish`](Decoder::finish). Any split of the bytes gives the same events; buffers are capped.
pub trait Decoder: Send {
    /// Takes the next bytes and appends the events that they complete.
    fn push(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<()>;
    /// Takes the end of the answer. An error if the provider's own terminal event is missing.
    fn finish(&mut self, events: &mut Vec<Event>) -> Result<()>;
}

/// Writes an answer for a caller.
pub trait Encoder: Send {
    /// Appends what the event adds to the answer. A whole answer appends nothing until its finish.
    fn push(&mut self, event: Event, out: &mut Vec<u8>);
    /// Ends the answer: closes every open block, writes usage, metadata and the end marker.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Ends a stream with an error event, and without the end marker. For a whole answer nothing is written: the
    /// error takes the answer's place.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>);
}

/// An answer on its way through the gateway: provider bytes in, caller bytes out. Either a [`Translator`] (decoder
/// and encoder back to back), or a relay between equal formats that edits as little as possible.
pub trait Transcoder: Send {
    /// Takes the next bytes from the provider and appends what the caller gets.
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()>;
    /// Takes the end of the provider's answer.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
    /// Ends the caller's stream with an error.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>);
    /// What is known by now.
    fn progress(&self) -> &Progress;
    /// What the provider will want back in the next turn, once the answer is complete.
    fn proofs(&mut self) -> Option<proofs::Proofs> {
        None
    }
}
