//! The one place that chooses how a request and its answer pass between a caller and a provider: forwarded
//! and relayed where both use the same format, otherwise translated through the canonical request and events.

use std::sync::Arc;

use bytes::Bytes;
use canon::{
    Annotator, Feature, Field, Losses, Media, MediaKind, Part, PartKind, Quirks, Request, Result, Source,
    Target,
};

use crate::json::room;
use crate::proofs::{self, Memory, Refusal};
use crate::{
    Adapter, AnswerForm, DecoderContext, Dialect, Encoded, EventFilter, Headers, Intake, Passthrough,
    Protocol, TakenIds, Transcoder, Translator, TranslatorParts, adapter, passthrough,
};

/// One request between one caller and one provider.
#[derive(Clone, Copy)]
pub struct Exchange<'a> {
    /// The caller's format.
    pub dialect: &'static dyn Dialect,
    /// The caller's request.
    pub intake: &'a Intake,
    /// The provider's format.
    pub upstream: Protocol,
    /// The model at the provider.
    pub target: Target<'a>,
    /// Earlier answers that the conversation quotes; none when nothing is known.
    pub memory: Option<Memory<'a>>,
}

/// The inputs of a transcoder.
pub struct TranscoderParts<'a> {
    /// The caller's format.
    pub caller: &'static dyn Dialect,
    /// The provider's format.
    pub upstream: Protocol,
    /// The provider's answer is a stream.
    pub upstream_streams: bool,
    /// How the caller wants the answer.
    pub form: AnswerForm,
    /// Changes by the request's encoder that have to be undone.
    pub decoding: &'a DecoderContext,
    /// The provider's quirks.
    pub quirks: &'a Quirks,
    /// Information that the gateway adds.
    pub annotator: Arc<dyn Annotator + Sync>,
    /// Checks the answer before the caller gets it. The answer is then translated, also between equal
    /// formats.
    pub filter: Option<Box<dyn EventFilter>>,
}

/// How a request is rewritten after the provider refused the thinking of earlier turns.
pub struct ThinkingRepair {
    /// The quirks that follow from the refusal.
    pub quirks: Quirks,
    /// Without all thinking and all signatures.
    pub without_thinking: bool,
}

impl<'a> Exchange<'a> {
    /// The request, ready to be written except for media that have to be fetched.
    pub fn draft(&self, without_thinking: bool) -> Result<Draft<'a>> {
        let way = match self.passthrough() {
            Some(format) => {
                Mode::Forwarded { format, slots: format.media(self.intake, self.target), body: None }
            }
            None => {
                let mut request = Box::new(self.dialect.decode(self.intake)?);
                if let Some(memory) = self.memory {
                    proofs::restore(&mut request, self.upstream, memory);
                }
                if without_thinking {
                    proofs::strip(&mut request);
                }
                let adapter = adapter(self.upstream);
                if !adapter.takes_text_files() || !self.target.facts.allows(Feature::Documents) {
                    send_as_text(&mut request);
                }
                Mode::Translated { adapter, request }
            }
        };
        Ok(Draft { exchange: *self, without_thinking, way })
    }

    /// How the request can be retried after the provider refused its thinking: without signatures that only
    /// their issuer can verify, and with or without fields that a provider requires or does not know. None
    /// when nothing would change.
    pub fn thinking_repair(&self, refusal: Refusal) -> Option<ThinkingRepair> {
        let usual = self.target.quirks;
        match self.passthrough() {
            Some(format) => format.thinking_repair(refusal, usual),
            None if refusal == Refusal::Invalid => {
                Some(ThinkingRepair { quirks: usual.clone(), without_thinking: true })
            }
            None => None,
        }
    }

    /// The passthrough, if the raw body is forwarded.
    fn passthrough(&self) -> Option<&'static dyn Passthrough> {
        passthrough(self.upstream)
            .filter(|_| self.dialect.protocol() == Some(self.upstream))
            .filter(|format| format.fits(self.intake, self.target))
    }
}

/// The transcoder from the provider's answer to the caller's.
pub fn transcoder(parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
    // Renamed tools and replacements have to be undone, which only the translator does.
    let is_same = parts.caller.protocol() == Some(parts.upstream)
        && parts.decoding.is_plain()
        && parts.filter.is_none();
    match passthrough(parts.upstream).filter(|_| is_same && parts.upstream_streams == parts.form.stream) {
        Some(format) => format.relay(parts),
        None => translator(parts),
    }
}

/// The transcoder through canonical events.
pub fn translator(parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
    let ids = parts.annotator.clone();
    let taken = parts.decoding.taken_ids.clone();
    Box::new(Translator::new(TranslatorParts {
        decoder: adapter(parts.upstream).decoder(parts.upstream_streams, parts.decoding),
        encoder: parts.caller.encoder(&parts.form, Box::new(parts.annotator)),
        ids: Box::new(move || ids.tool_call_id()),
        taken,
        filter: parts.filter,
    }))
}

/// A request on its way to a provider. Media are fetched between reading and writing.
pub struct Draft<'a> {
    exchange: Exchange<'a>,
    without_thinking: bool,
    way: Mode,
}

enum Mode {
    Forwarded {
        format: &'static dyn Passthrough,
        slots: Option<Box<dyn MediaSlots>>,
        /// The body with its media; none when it is the caller's own.
        body: Option<Bytes>,
    },
    Translated {
        adapter: &'static dyn Adapter,
        request: Box<Request>,
    },
}

/// Media that a request has by URL and that the provider takes only as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUrl {
    /// Its place in the request, in the caller's terms.
    pub path: String,
    pub url: String,
    /// The expected kind.
    pub kind: MediaKind,
}

/// The file of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaFile {
    /// MIME type.
    pub mime: String,
    /// Standard base64.
    pub data: String,
}

/// The positions in a raw body where media replace their URLs.
pub trait MediaSlots: Send {
    /// The URLs, in order.
    fn urls(&self) -> Vec<MediaUrl>;
    /// The body with the files, given in the order of the URLs.
    fn fill(self: Box<Self>, intake: &Intake, files: Vec<MediaFile>) -> Vec<u8>;
}

impl Draft<'_> {
    /// The media to fetch.
    pub fn media(&mut self) -> Vec<MediaUrl> {
        let target = self.exchange.target;
        match &mut self.way {
            Mode::Forwarded { slots, .. } => slots.as_ref().map(|slots| slots.urls()).unwrap_or_default(),
            Mode::Translated { adapter, request } => {
                let mut places = Vec::new();
                for_each_url(request, |place, media| {
                    if adapter.wants_bytes(media, target) {
                        room::push(&mut places, place);
                    }
                });
                let dialect = self.exchange.dialect;
                let found = places.iter().filter_map(|place| {
                    let media = place.media(request)?;
                    let Source::Url(url) = &media.source else { return None };
                    let path = dialect.name_of(&place.field(), Some(request)).into_owned();
                    Some(MediaUrl { path, url: url.clone(), kind: media.kind })
                });
                let mut urls = Vec::with_capacity(places.len());
                urls.extend(found);
                urls
            }
        }
    }

    /// Inserts the files for [`media`](Self::media), in the same order.
    pub fn fill(&mut self, files: Vec<MediaFile>) {
        let Exchange { intake, target, .. } = self.exchange;
        match &mut self.way {
            Mode::Forwarded { slots, body, .. } => {
                *body = slots.take().map(|slots| slots.fill(intake, files).into())
            }
            Mode::Translated { adapter, request } => {
                let mut files = files.into_iter();
                for_each_url(request, |_, media| {
                    if adapter.wants_bytes(media, target)
                        && let Some(MediaFile { mime, data }) = files.next()
                    {
                        media.source = Source::Base64 { mime, data };
                    }
                });
            }
        }
    }

    /// The request in the provider's format. Errors name the field in the caller's terms.
    pub fn write(self) -> Result<EncodedRequest> {
        let Exchange { dialect, intake, upstream, target, .. } = self.exchange;
        let mut written = self.write_body()?;
        if dialect.protocol() == Some(upstream) && !intake.headers.is_empty() {
            let mut losses = Losses::new();
            written.headers = dialect.passed_headers(&intake.headers, target.quirks, &mut losses);
            written.losses.extend(losses.clone());
            written.caller_losses.extend(losses);
        }
        Ok(written)
    }

    fn write_body(self) -> Result<EncodedRequest> {
        let Exchange { dialect, intake, target, memory, .. } = self.exchange;
        let options = PassthroughInputs { target, memory, without_thinking: self.without_thinking };
        match self.way {
            Mode::Translated { adapter, mut request } => {
                let mut losses = std::mem::take(&mut request.losses);
                let name = |field: &Field| dialect.name_of(field, Some(&request));
                let mut encoded =
                    adapter.encode_request(&request, target).map_err(|error| error.named(name))?;
                losses.extend(encoded.losses);
                encoded.decoding.taken_ids = called(&request);
                let told = losses.named(name);
                drop(request);
                // Two fields may go by one name.
                encoded.losses = losses.named(Field::name);
                Ok(EncodedRequest::new(encoded, told))
            }
            Mode::Forwarded { format, body: None, .. } => {
                format.forward(intake, options).map(EncodedRequest::forwarded)
            }
            Mode::Forwarded { format, body: Some(body), .. } => {
                format.forward(&dialect.refilled(intake, &body)?, options).map(EncodedRequest::forwarded)
            }
        }
    }
}

/// A request in the provider's format.
#[derive(Clone, Debug)]
pub struct EncodedRequest {
    /// The JSON body, in the provider's format.
    pub body: Bytes,
    /// The changes that the answer's decoder has to undo.
    pub decoding: DecoderContext,
    /// Fields that could not be carried, by the names in records and metrics.
    pub losses: Losses,
    /// The same in the caller's terms.
    pub caller_losses: Losses,
    /// Headers of the caller that are passed on.
    pub headers: Headers,
}

impl EncodedRequest {
    fn new(encoded: Encoded, caller_losses: Losses) -> Self {
        let Encoded { body, decoding, losses } = encoded;
        Self { body, decoding, losses, caller_losses, headers: Headers::new() }
    }

    /// A forwarded request is already in the caller's terms.
    fn forwarded(encoded: Encoded) -> Self {
        let caller_losses = encoded.losses.clone();
        Self::new(encoded, caller_losses)
    }
}

/// The inputs of a passthrough.
#[derive(Clone, Copy)]
pub struct PassthroughInputs<'a> {
    /// The model.
    pub target: Target<'a>,
    /// Earlier answers that the conversation quotes.
    pub memory: Option<Memory<'a>>,
    /// Without all thinking and all signatures.
    pub without_thinking: bool,
}

/// The ids of all tool calls of a conversation.
fn called(request: &Request) -> TakenIds {
    request.messages.iter().flat_map(|message| message.tool_calls()).map(|call| &call.id).collect()
}

/// Where media are in a request: the message, the part, and the part of a result.
struct MediaPlace {
    message: u32,
    part: u32,
    inner: Option<u32>,
}

impl MediaPlace {
    fn field(&self) -> Field {
        match self.inner {
            Some(inner) => Field::result_part(self.message as usize, inner as usize),
            None => Field::part(self.message as usize, self.part as usize),
        }
    }

    fn media<'a>(&self, request: &'a Request) -> Option<&'a Media> {
        let part = request.messages.get(self.message as usize)?.parts.get(self.part as usize)?;
        let part = match (&part.kind, self.inner) {
            (PartKind::ToolResult(result), Some(inner)) => result.content.get(inner as usize)?,
            _ => part,
        };
        match &part.kind {
            PartKind::Media(media) => Some(media),
            _ => None,
        }
    }
}

/// Files of text become text, for models that take no documents.
fn send_as_text(request: &mut Request) {
    let mut losses = std::mem::take(&mut request.losses);
    for_each_media(request, |place, part| {
        let PartKind::Media(media) = &mut part.kind else { return };
        let Source::Text(text) = &mut media.source else { return };
        part.kind = PartKind::Text(std::mem::take(text).into());
        losses.approximated(place.field(), "The provider does not accept text files: sent as plain text.");
    });
    request.losses = losses;
}

/// Calls back for every media of the request that has an address, with its place.
fn for_each_url(request: &mut Request, mut on_media: impl FnMut(MediaPlace, &mut Media)) {
    for_each_media(request, |place, part| {
        if let PartKind::Media(media) = &mut part.kind
            && matches!(media.source, Source::Url(_))
        {
            on_media(place, media);
        }
    });
}

fn for_each_media(request: &mut Request, mut on_media: impl FnMut(MediaPlace, &mut Part)) {
    for (index, message) in request.messages.iter_mut().enumerate() {
        for (position, part) in message.parts.iter_mut().enumerate() {
            let is_result = matches!(part.kind, PartKind::ToolResult(_));
            let parts: &mut [Part] = match &mut part.kind {
                PartKind::ToolResult(result) => &mut result.content,
                _ => std::slice::from_mut(part),
            };
            for (inner, part) in parts.iter_mut().enumerate() {
                if matches!(part.kind, PartKind::Media(_)) {
                    let inner = is_result.then_some(inner as u32);
                    on_media(MediaPlace { message: index as u32, part: position as u32, inner }, part);
                }
            }
        }
    }
}

impl<'a> Exchange<'a> {
    /// The same request with other quirks.
    pub fn with_quirks(self, quirks: &'a Quirks) -> Self {
        Self { target: Target { quirks, ..self.target }, ..self }
    }
}
