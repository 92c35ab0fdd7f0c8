//! Pure translation: provider bytes to canonical events and back.
//!
//! Nothing in this crate reads the clock, the environment, the disk or the network, and nothing logs. Values
//! go in, values come out; losses and progress are part of the result.
//!
//! * [`framing`] cuts byte streams into frames,
//! * [`protocols`] holds one folder per wire format, each with up to two faces: a [`Dialect`] towards callers and
//!   an [`Adapter`] towards providers,
//! * [`multipart`] reads and writes forms with files,
//! * [`native`] handles requests of providers' own APIs that pass unchanged,
//! * [`providers`] builds calls of providers: URL, authentication, signature, as values.

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
mod taken_ids;
pub mod texts;
pub mod tokens;
mod translate;

pub use exchange::{
    Draft, EncodedRequest, Exchange, MediaFile, MediaSlots, MediaUrl, PassthroughInputs, ThinkingRepair,
    TranscoderParts,
};
pub use intake::{
    Addressed, AnswerForm, Intake, PromptSize, ROUTING_FIELDS, RequestFacts, RoutingFields, StoredAnswerUse,
};
pub use protocols::anthropic_messages::unframed;
pub use protocols::openai_responses::stored_items;
pub use protocols::{OWN, Protocol, adapter, dialect, is_stream, passthrough};
pub use taken_ids::TakenIds;
pub use translate::{Translator, TranslatorParts};

use std::borrow::Cow;
use std::task::{Context, Poll};

use bytes::Bytes;
use canon::{Annotator, Error, Event, Field, Losses, Progress, Quirks, Request, Result, Target};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};

/// The caller-facing face of a wire format.
pub trait Dialect: Sync {
    /// The same format on the provider side; none where no provider uses it.
    fn protocol(&self) -> Option<Protocol>;
    /// Reads the facts that are needed before a provider is chosen. Errors name the field by its path.
    fn intake(&self, url: Addressed<'_>, body: &Bytes) -> Result<Intake>;
    /// The same request with another body, which contains its media.
    fn refilled(&self, intake: &Intake, body: &Bytes) -> Result<Intake> {
        self.intake(Addressed { rest: &intake.model, query: "" }, body)
    }
    /// Reads the whole request.
    fn decode(&self, intake: &Intake) -> Result<Request>;
    /// The separate requests that one request is equivalent to, where a provider of another format cannot
    /// serve it as one.
    fn parts(&self, _intake: &Intake) -> Result<Option<Vec<Bytes>>> {
        Ok(None)
    }
    /// Joins the answers to these requests; none where the format has no such requests.
    fn joiner(&self, _intake: &Intake) -> Option<Box<dyn Joiner>> {
        None
    }
    /// Reads a whole request without information in the URL.
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
    /// The bytes that keep a silent stream of this form alive.
    fn ping(&self, _form: &AnswerForm) -> &'static [u8] {
        b": ping\n\n"
    }
    /// Writes the token count of a prompt. `counted` is the answer of a provider of the same format. `member`
    /// is the gateway's object, as for errors. None where the format has no such answer.
    fn token_count(&self, _tokens: u64, _counted: Option<&[u8]>, _member: Option<&[u8]>) -> Option<Bytes> {
        None
    }
    /// The list of models, from its entries in OpenAI's format.
    fn model_list(&self, entries: Vec<Value>, _query: &str) -> Result<Value> {
        Ok(json!({"object": "list", "data": entries}))
    }
    /// One model, from its entry in OpenAI's format.
    fn model_entry(&self, entry: Value) -> Value {
        entry
    }
    /// The content type of a stream.
    fn stream_type(&self, _form: &AnswerForm) -> &'static str {
        "text/event-stream; charset=utf-8"
    }
    /// The prefixes of ids that the gateway makes where the provider gives none.
    fn ids(&self) -> IdPrefixes {
        IdPrefixes { answer: "chatcmpl-", tool_call: "call_" }
    }
    /// The header with the request's id on this format's own servers, besides `x-request-id`.
    fn request_id_header(&self) -> Option<&'static str> {
        None
    }
    /// Headers of the caller that are passed on to a provider of this format.
    fn travelling_headers(&self) -> &'static [&'static str] {
        &[]
    }
    /// These headers, reduced to the values that the provider takes.
    fn passed_headers(&self, given: &Headers, _quirks: &Quirks, _losses: &mut Losses) -> Headers {
        given.clone()
    }
    /// Whether the gateway's object may be the answer's `metadata`: in other formats that name is used.
    fn leaves_metadata_free(&self) -> bool {
        false
    }
    /// The name of a field in this format: the path to its place in the body that became `request`. Without
    /// the request it names only the list that holds messages, parts or tools.
    fn name_of(&self, field: &Field, request: Option<&Request>) -> Cow<'static, str>;
}

/// Some headers of a request.
pub type Headers = Vec<(HeaderName, HeaderValue)>;

/// Makes one answer, whole or streamed, from the answers to the parts of a request.
pub trait Joiner: Send {
    /// Takes a piece of the answer to a part, in the caller's format, and appends the caller's output. An
    /// error that ends the part's stream ends the whole answer.
    fn push(&mut self, part: usize, bytes: &[u8], out: &mut Vec<u8>) -> Result<()>;
    /// Takes the end of the answer to a part.
    fn end(&mut self, part: usize, out: &mut Vec<u8>) -> Result<()>;
    /// Ends the answer, once all parts have ended.
    fn finish(&mut self, request_id: &str, out: &mut Vec<u8>);
    /// Where the part is in the caller's request.
    fn name_of(&self, part: usize) -> String;
}

/// The id prefixes of a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdPrefixes {
    pub answer: &'static str,
    pub tool_call: &'static str,
}

/// The handling of equal formats on both sides: the request is forwarded with few edits, and the answer is
/// read only as far as metering and the contract need.
pub trait Passthrough: Sync {
    /// Whether the model takes the request without translation. Otherwise it is translated, as between
    /// different formats.
    fn fits(&self, _intake: &Intake, _target: Target<'_>) -> bool {
        true
    }
    /// Media by URL that the provider takes only as bytes.
    fn media(&self, _intake: &Intake, _target: Target<'_>) -> Option<Box<dyn MediaSlots>> {
        None
    }
    /// The request as the provider takes it.
    fn forward(&self, intake: &Intake, forwarding: PassthroughInputs<'_>) -> Result<Encoded>;
    /// The relay of an answer that already has the form that the caller wants.
    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder>;
    /// How a request is rewritten after the provider refused its thinking; none when nothing would change.
    fn thinking_repair(&self, refusal: proofs::Refusal, usual: &Quirks) -> Option<ThinkingRepair> {
        let invalid = refusal == proofs::Refusal::Invalid;
        invalid.then(|| ThinkingRepair { quirks: usual.clone(), without_thinking: true })
    }
}

/// The provider-facing face of a wire format.
pub trait Adapter: Sync {
    /// Writes the request for one model at one provider. A missing feature is an error; a hint that cannot be
    /// carried is a loss.
    fn encode_request(&self, request: &Request, target: Target<'_>) -> Result<Encoded>;
    /// Reads a successful answer, streamed or whole.
    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder>;
    /// Reads an error answer: its kind, whether a retry can help, and the provider's message.
    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error;
    /// The number of tokens in a successful answer to a counting request.
    fn read_token_count(&self, _body: &[u8]) -> Option<u64> {
        None
    }
    /// True when the format takes this media only as bytes: the gateway then fetches its URL.
    fn wants_bytes(&self, _media: &canon::Media, _target: Target<'_>) -> bool {
        false
    }
    /// True when the format has files of text. Elsewhere they are sent as text.
    fn takes_text_files(&self) -> bool {
        true
    }
}

/// A request in a provider's format.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The JSON body.
    pub body: Bytes,
    /// Fields that could not be carried as requested.
    pub losses: Losses,
    /// Information for the answer's decoder.
    pub decoding: DecoderContext,
}

/// The information about a request that the answer's decoder needs: replacements by the encoder, and the
/// conversation's ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DecoderContext {
    /// The tool that replaces a JSON answer: its arguments are the answer's text, and the finish reason
    /// `tool_calls` becomes `stop`.
    pub json_tool: Option<String>,
    /// Changed tool names: the provider's → the caller's.
    pub tool_names: ToolNames,
    /// Tools that take free text, wrapped as functions with one string property `input`.
    pub custom_tools: Vec<String>,
    /// Quirk: prompt tokens exclude those read from the cache, which are added.
    pub cached_outside_prompt: bool,
    /// The ids of the conversation's tool calls. A call of the answer with such an id gets another one: some
    /// providers number the calls of each answer from the start, and agents take a known id for the earlier
    /// call.
    pub taken_ids: TakenIds,
}

impl DecoderContext {
    /// Names, tools and content of the answer are the caller's own.
    pub(crate) fn is_plain(&self) -> bool {
        self.json_tool.is_none() && self.tool_names.is_empty() && self.custom_tools.is_empty()
    }

    /// The caller's name of a tool.
    pub fn tool_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.tool_names.get(name).unwrap_or(name)
    }
}

/// Changed names of tools: the provider's → the caller's. A list, sorted by the provider's: a tree takes twice the memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolNames(Vec<(Box<str>, Box<str>)>);

impl ToolNames {
    /// The caller's name for the provider's; none where it is the same.
    pub fn get(&self, name: &str) -> Option<&str> {
        let place = self.0.binary_search_by(|(wire, _)| (**wire).cmp(name)).ok()?;
        Some(&self.0[place].1)
    }

    /// True when no name was changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Box<str>, Box<str>)> for ToolNames {
    fn from_iter<I: IntoIterator<Item = (Box<str>, Box<str>)>>(names: I) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        Self(names)
    }
}

/// Takes the events of an answer one by one. An answer may consist of many small events, which need many
/// times the memory of their text.
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
    /// Takes the next bytes and emits the events that they complete.
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()>;
    /// Takes the end of the answer. An error if the provider's own terminal event is missing.
    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()>;
}

/// Filters the events of an answer before they are written for the caller. It may change them, hold them
/// back, and end the answer with an error. Metering and the memory for later turns use the provider's
/// unfiltered events.
pub trait EventFilter: Send {
    /// Takes the next event, and emits those that the caller may get.
    fn push(&mut self, event: Event, events: &mut dyn EventSink) -> Result<()>;
    /// Takes the end of the answer.
    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()>;
    /// Ready unless it waits for a decision about held events. Until then nothing is pushed.
    fn poll(&mut self, cx: &mut Context<'_>, events: &mut dyn EventSink) -> Poll<Result<()>>;
}

/// Writes an answer for a caller.
pub trait Encoder: Send {
    /// Appends the output of the event. A whole answer is written at its finish.
    fn push(&mut self, event: Event, out: &mut Vec<u8>);
    /// Ends the answer: closes every open block, writes usage, metadata and the end marker.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Ends a stream with an error event, and without the end marker. For a whole answer nothing is written:
    /// the error replaces the answer.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>);
    /// The finished answer, where the gateway stores it.
    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        None
    }
}

/// A finished answer that the gateway stores, as its caller gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub id: String,
    /// The whole answer as JSON, also where it was streamed.
    pub answer: Vec<u8>,
    /// The position of the flag that reports the storage, as a distance from the end of the output: it is
    /// `true` there.
    pub said: Option<usize>,
}

impl StoredAnswer {
    /// Changes the flag in the output: the answer is not stored after all.
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
    /// Takes the next bytes from the provider and appends the caller's output.
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()>;
    /// Takes the end of the provider's answer.
    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()>;
    /// Ends the caller's stream with an error.
    fn fail(&mut self, error: &Error, out: &mut Vec<u8>);
    /// The facts so far.
    fn progress(&self) -> &Progress;
    /// The caller may get content by now.
    fn has_begun(&self) -> bool {
        self.progress().content_started
    }
    /// Ready when nothing holds back further bytes, or the end of the answer: see [`EventFilter`].
    fn poll_released(&mut self, _cx: &mut Context<'_>, _out: &mut Vec<u8>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }
    /// The finished answer, where the gateway stores it.
    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        None
    }
    /// The proofs for the next turn, once the answer is complete.
    fn proofs(&mut self) -> Option<proofs::Proofs> {
        None
    }
}
