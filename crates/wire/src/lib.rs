//! Pure translation: provider bytes to canonical events and back.
//!
//! Nothing in this crate reads the clock, the environment, the disk or the network, and nothing logs. Values go
//! in, values come out; what happened on the way (losses, progress) is part of what comes out.
//!
//! * [`framing`] cuts byte streams into frames,
//! * [`protocols`] holds one folder per wire format, each with up to two faces: a [`Dialect`] towards callers and
//!   an [`Adapter`] towards providers,
//! * [`multipart`] reads and writes forms with files,
//! * [`native`] knows requests of providers' own APIs that pass as they are,
//! * [`providers`] knows how to call whom: URL, authentication, signature, as values.

pub mod endpoints;
pub mod exchange;
pub mod framing;
mod intake;
mod json;
pub mod multipart;
pub mod native;
pub mod proofs;
pub mod protocols;
pub mod providers;
pub mod replay;
pub mod texts;
pub mod tokens;
mod translate;

pub use exchange::{
    Draft, Exchange, Forwarding, MediaFile, MediaSlots, MediaUrl, ThinkingRepair, TranscoderParts, Written,
};
pub use intake::{Addressed, AnswerForm, Asked, Intake, Keeping, PromptSize, ROUTING_FIELDS, Wishes};
pub use protocols::anthropic_messages::unframed;
pub use protocols::openai_responses::kept;
pub use protocols::{OWN, Protocol, adapter, dialect, is_stream, passthrough};
pub use translate::{Translator, TranslatorParts};

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::task::{Context, Poll};

use bytes::Bytes;
use canon::{Annotator, Error, Event, Field, Losses, Progress, Quirks, Request, Result, Target};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// The caller-facing face of a wire format.
pub trait Dialect: Sync {
    /// The format of the providers that are called in it too; none where no provider is.
    fn protocol(&self) -> Option<Protocol>;
    /// Reads what has to be known before it is decided who serves the request. Errors name the field by its path.
    fn intake(&self, url: Addressed<'_>, body: &Bytes) -> Result<Intake>;
    /// The same request with another body: its media are in place.
    fn refilled(&self, intake: &Intake, body: &Bytes) -> Result<Intake> {
        self.intake(Addressed { rest: &intake.model, query: "" }, body)
    }
    /// Reads all of a request.
    fn decode(&self, intake: &Intake) -> Result<Request>;
    /// The requests that one stands for, where a provider of another format could not serve it as one.
    fn parts(&self, _intake: &Intake) -> Result<Option<Vec<Bytes>>> {
        Ok(None)
    }
    /// Joins the answers to these; none where the format has no such requests.
    fn joiner(&self, _intake: &Intake) -> Option<Box<dyn Joiner>> {
        None
    }
    /// Reads all of a request whose URL says nothing.
    fn decode_request(&self, body: &[u8]) -> Result<Request> {
        self.decode(&self.intake(Addressed::default(), &Bytes::copy_from_slice(body))?)
    }
    /// Writes an answer to a request, streamed or whole as the request asks.
    fn encoder(&self, form: &AnswerForm, annotator: Box<dyn Annotator>) -> Box<dyn Encoder>;
    /// Writes an error as this format's own JSON. `member` is the gateway's object as a further member of the body:
    /// `,"llmgateway":{…}`.
    fn error(&self, error: &Error, member: Option<&[u8]>) -> (StatusCode, Bytes);
    /// Writes an error as the event that ends a stream of this form before it had any content.
    fn error_event(&self, form: &AnswerForm, error: &Error, member: Option<&[u8]>) -> Bytes;
    /// What keeps a silent stream of this form alive.
    fn ping(&self, _form: &AnswerForm) -> &'static [u8] {
        b": ping\n\n"
    }
    /// Writes how many tokens a prompt has. `counted` is what a provider of the same format answered. `member` is the
    /// gateway's object, as for errors. None where the format has no such answer.
    fn token_count(&self, _tokens: u64, _counted: Option<&[u8]>, _member: Option<&[u8]>) -> Option<Bytes> {
        None
    }
    /// The list of models, from its entries in OpenAI's shape.
    fn model_list(&self, entries: Vec<Value>, _query: &str) -> Result<Value> {
        Ok(json!({"object": "list", "data": entries}))
    }
    /// One model, from its entry in OpenAI's shape.
    fn model_entry(&self, entry: Value) -> Value {
        entry
    }
    /// The content type of a stream.
    fn stream_type(&self, _form: &AnswerForm) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
    /// How ids begin that the gateway makes where the provider gives none.
    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "chatcmpl-", tool_call: "call_" }
    }
    /// The header by which this format's own servers tell the request's id, beside `x-request-id`.
    fn request_id_header(&self) -> Option<&'static str> {
        None
    }
    /// Headers of the caller's that go along where the provider speaks this format.
    fn travelling_headers(&self) -> &'static [&'static str] {
        &[]
    }
    /// These headers, as far as the provider takes what they say.
    fn passed_headers(&self, given: &Headers, _quirks: &Quirks, _losses: &mut Losses) -> Headers {
        given.clone()
    }
    /// Whether the gateway's object may be the answer's `metadata`: elsewhere that name is taken.
    fn leaves_metadata_free(&self) -> bool {
        false
    }
    /// The name of a field in this format's words: the path that leads the caller to its place in the body that became
    /// `request`. Without the request it names no more than what holds messages, parts and tools.
    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str>;
}

/// Some headers of a request.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Makes one answer, whole or streamed, of the answers to the parts of a request.
pub trait Joiner: Send {
    /// Takes what came of the answer to a part, in the caller's format, and appends what the caller gets. An error that ends the
    /// part's stream ends the whole.
    fn push(&mut self, part: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()>;
    /// Takes the end of the answer to a part.
    fn end(&mut self, part: usize, out: &mut Vec<u8>) -> Result<()>;
    /// Ends the answer, once all parts have ended.
    fn finish(&mut self, request_id: &str, out: &mut Vec<u8>);
    /// Where the part is in the caller's request.
    fn name_of(&self, part: usize) -> String;
}

/// How ids of a format begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefixes {
    /// Of answers.
    pub answer: &'static str,
    /// Of tool calls.
    pub tool_call: &'static str,
}

/// What a format does when both sides speak it: the request is forwarded with few edits, and of the answer only as much is
/// read as metering and the contract need.
pub trait Passthrough: Sync {
    /// Whether the model takes the request as it is. Otherwise it is translated, as between other formats.
    fn fits(&self, _intake: &Intake, _target: Target<'_>) -> bool {
        true
    }
    /// Media by URL that the provider takes only as bytes.
    fn media(&self, _intake: &Intake, _target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        None
    }
    /// The request as the provider takes it.
    fn forward(&self, intake: &Intake, forwarding: Forwarding<'_>) -> Result<Encoded>;
    /// The way of an answer that comes in the form in which the caller wants it.
    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder>;
    /// How a request is written anew after the provider refused its thinking; none when nothing would change.
    fn thinking_repair(&self, refusal: proofs::Refusal, usual: &Quirks) -> Option<ThinkingRepair> {
        let invalid = refusal == proofs::Refusal::Invalid;
        invalid.then(|| ThinkingRepair { quirks: usual.clone(), without_thinking: true })
    }
}

/// The provider-facing face of a wire format.
pub trait Adapter: Sync {
    /// Writes the request for one model at one provider. A feature that cannot be served is an error; a hint that
    /// cannot be carried is a loss.
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded>;
    /// Reads a good answer, streamed or whole.
    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder>;
    /// Reads an error answer: what it means, whether another try helps, and the provider's own words.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;
    /// The number of tokens in a good answer to a request to count them.
    fn read_token_count(&self, _body: &[u8]) -> Option<u64> {
        None
    }
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
    /// What the answer's decoder has to know.
    pub decoding: DecoderContext,
}

/// What an answer's decoder has to know of the request: what its encoder replaced, and the conversation's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecoderContext {
    /// The tool that stands in for a JSON answer: its arguments are the answer's text, and the finish reason
    /// `tool_calls` becomes `stop`.
    pub json_tool: Option<String>,
    /// Tool names that had to be changed: the provider's → the caller's.
    pub tool_names: BTreeMap<String, String>,
    /// Tools that take free text, wrapped as functions with one string property `input`.
    pub custom_tools: Vec<String>,
    /// Quirk: prompt tokens do not include those read from the cache, which have to be added.
    pub cached_outside_prompt: bool,
    /// The ids of the conversation's tool calls. A call of the answer gets another one: some providers number the calls of
    /// each answer anew, and agents take a call with a known id for the old one.
    pub taken_ids: BTreeSet<String>,
}

impl DecoderContext {
    /// Names, tools and content of the answer are the caller's own.
    pub(crate) fn is_plain(&self) -> bool {
        self.json_tool.is_none() && self.tool_names.is_empty() && self.custom_tools.is_empty()
    }

    /// The caller's name of a tool that the provider named.
    pub fn tool_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.tool_names.get(name).map_or(name, String::as_str)
    }
}

/// Takes the events of an answer as they are read. An answer may consist of many small events, which take many times their
/// text when they are kept.
pub trait EventSink {
    /// Takes the next event.
    fn push(&mut self, event: Event);
}

impl EventSink for Vec<Event> {
    fn push(&mut self, event: Event) {
        self.push(event);
    }
}

/// Reads a provider's answer. A whole answer goes the same way as a stream: it is pushed in pieces and emits its
/// events in [`finish`](Decoder::finish). Any split of the bytes gives the same events; buffers are capped.
pub trait Decoder: Send {
    /// Takes the next bytes and tells the events that they complete.
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()>;
    /// Takes the end of the answer. An error if the provider's own terminal event is missing.
    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()>;
}

/// Looks at the events of an answer before they are written for the caller. It may change them, hold them back, and end the answer
/// by an error. What the provider produced is metered, and remembered for later turns, as it came.
pub trait EventFilter: Send {
    /// Takes the next event, and gives those that the caller may have.
    fn push(&mut self, event: Event, events: &mut dyn EventSink) -> Result<()>;
    /// Takes the end of the answer.
    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()>;
    /// Ready when it waits for nobody's word about what it holds back. Until then nothing is pushed.
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut dyn EventSink) -> Poll<Result<()>>;
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
    /// The finished answer, where the gateway is to keep it.
    fn kept(&mut self) -> Option<Kept> {
        None
    }
}

/// A finished answer that the gateway is to keep, as its caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its id.
    pub id: String,
    /// The whole answer as JSON, also where it was streamed.
    pub answer: Vec<u8>,
    /// Where what was written last says that it is kept: so many bytes before its end stands `true`.
    pub said: Option<usize>,
}

impl Kept {
    /// Says in what was written that the answer is not kept after all.
    pub fn retract(&self, out: &mut Vec<u8>) {
        let Some(start) = self.said.and_then(|said| out.len().checked_sub(said)) else { return };
        if out[start..].starts_with(b"true") {
            out.splice(start..start + 4, *b"false");
        }
    }
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
    /// Content has come that the caller may have.
    fn has_begun(&self) -> bool {
        self.progress().content_started
    }
    /// Ready when nothing has to be waited for before more is pushed, or before the answer is handed over that has ended: see
    /// [`EventFilter`].
    fn poll_released(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// The finished answer, where the gateway is to keep it.
    fn kept(&mut self) -> Option<Kept> {
        None
    }
    /// What the provider will want back in the next turn, once the answer is complete.
    fn proofs(&mut self) -> Option<proofs::Proofs> {
        None
    }
}
