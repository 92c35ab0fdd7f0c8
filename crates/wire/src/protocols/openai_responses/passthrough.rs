//! Between callers and providers that both speak this format: the raw body is forwarded with few edits, and answers are
//! relayed event by event. Only the last event is changed: it gets the gateway's object.
//!
//! Answers that the gateway keeps go the same way. The provider is asked to keep nothing, and to encrypt its thinking, so
//! that the conversation can be sent again as a whole; the response objects say what the gateway does.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use canon::{
    Annotator, AnswerFacts, Error, Event, Field, Losses, Progress, ReasoningControl, Result, Target,
};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::read::{self, StreamDecoder};
use super::answer::write::{self, fail_relayed};
use super::{OpenaiResponses, REASONING_FORMAT, envelope, kept};
use crate::framing::sse::SseParser;
use crate::json::{Edit, Scanner, quoted};
use crate::proofs::{CallName, Memory, Proofs};
use crate::protocols::repair;
use crate::{
    DecoderContext, Encoded, Encoder, Forwarding, Intake, Kept, Passthrough, ROUTING_FIELDS, Transcoder,
    TranscoderParts, Translator, TranslatorParts,
};

impl Passthrough for OpenaiResponses {
    fn forward(&self, intake: &Intake, forwarding: Forwarding<'_>) -> Result<Encoded> {
        let target = forwarding.target;
        let mut losses = Losses::new();
        let mut edit = intake.edit();
        edit.set("model", &quoted(target.model));
        if !target.quirks.takes_routing_fields {
            for name in ROUTING_FIELDS {
                edit.remove(name);
            }
        }
        for name in target.quirks.drop.iter().chain(&target.facts.rejects) {
            if intake.given(name).is_some() && edit.remove(name) {
                losses.dropped(Field::extra(name.clone()), "The provider or the model does not take it.");
            }
        }
        let sifting = Sifting { memory: forwarding.memory, without_thinking: forwarding.without_thinking };
        if let Some(input) = intake.given("input").and_then(|input| sifting.input(input, &mut losses)) {
            edit.set("input", &input);
        }
        if intake.form.kept {
            edit.set("store", b"false");
            if thinks(intake, target)
                && let Some(include) = with_encrypted(intake.given("include"))
            {
                edit.set("include", &include);
            }
        }
        let body = Bytes::from(edit.write(target.model.len() + 64));
        Ok(Encoded { body, losses, decoding: DecoderContext::default() })
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        let decoder: Box<dyn crate::Decoder> = match parts.form.stream {
            true => Box::new(StreamDecoder::new(parts.decoding)),
            false => read::whole(parts.decoding),
        };
        let ids = parts.annotator.clone();
        let listener = Translator::new(TranslatorParts {
            decoder,
            encoder: Box::new(Silence),
            taken: Default::default(),
            ids: Box::new(move || ids.tool_call_id()),
        });
        let form = &parts.form;
        let keeping = form.kept.then(|| KeptAnswer::of(form.request.as_ref()));
        let ending = Ending { annotator: parts.annotator, keeping, kept: None };
        match parts.form.stream {
            true => {
                Box::new(StreamRelay { sse: SseParser::default(), listener, ending, events: 0, ended: false })
            }
            false => Box::new(WholeRelay { body: Vec::new(), listener, ending }),
        }
    }
}

// ---------------------------------------------------------------------------------------------- requests

/// Models that do not think refuse to encrypt their thinking ("Encrypted content is not supported with this model").
fn thinks(intake: &Intake, target: Target<'_>) -> bool {
    match &target.facts.reasoning {
        Some(control) => *control != ReasoningControl::None,
        None => intake.asks_for_thinking(),
    }
}

/// `include` with encrypted thinking; none where it asks for that already.
fn with_encrypted(given: Option<&[u8]>) -> Option<Vec<u8>> {
    const ENCRYPTED: &str = "reasoning.encrypted_content";
    let mut list: Vec<&RawValue> = given.map(serde_json::from_slice).transpose().ok()?.unwrap_or_default();
    let is_it =
        |item: &&RawValue| serde_json::from_str(item.get()).is_ok_and(|text: String| text == ENCRYPTED);
    if list.iter().any(is_it) {
        return None;
    }
    let encrypted = serde_json::value::to_raw_value(ENCRYPTED).ok()?;
    list.push(&encrypted);
    serde_json::to_vec(&list).ok()
}

/// Takes thinking out of the input that is known to be of no use to the provider.
struct Sifting<'a> {
    memory: Option<Memory<'a>>,
    without_thinking: bool,
}

#[derive(Deserialize)]
struct ReasoningItem<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_content: Option<Cow<'a, str>>,
}

impl ReasoningItem<'_> {
    /// Without its encrypted form the provider looks it up by its id, which it must have given itself.
    fn may_be_known(&self) -> bool {
        self.id.as_deref().is_some_and(|id| !id.is_empty() && kept::answers_of(id).is_empty())
    }
}

impl Sifting<'_> {
    /// The input without it; none when it can stay as it is.
    fn input(&self, input: &[u8], losses: &mut Losses) -> Option<Vec<u8>> {
        let mentions = |name: &str| crate::json::mentions(input, name);
        let has_calls = self.without_thinking && mentions("call_id");
        if !input.starts_with(b"[") || !has_calls && !mentions("reasoning") {
            return None;
        }
        let items: Vec<&RawValue> = serde_json::from_slice(input).ok()?;
        let is_kept: Vec<bool> = items.iter().map(|item| self.keeps(item)).collect();
        if !has_calls && is_kept.iter().all(|kept| *kept) {
            return None;
        }
        let mut out = Vec::with_capacity(input.len());
        out.push(b'[');
        for (index, (item, kept)) in items.iter().zip(is_kept).enumerate() {
            if !kept {
                let reason = "It is thinking that is of no use to this provider.";
                losses.dropped(format!("input[{index}]"), reason);
                continue;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&self.sent(item));
        }
        out.push(b']');
        Some(out)
    }

    /// An item as it is sent. By the id of a call the provider knows the thinking that led to it, and wants both or neither.
    fn sent<'t>(&self, item: &'t RawValue) -> Cow<'t, [u8]> {
        let raw = item.get().as_bytes();
        if !self.without_thinking || !crate::json::mentions(raw, "call_id") {
            return raw.into();
        }
        let Ok(mut edit) = Edit::of(raw) else { return raw.into() };
        match edit.remove("id") {
            true => edit.write(0).into(),
            false => raw.into(),
        }
    }

    fn keeps(&self, item: &RawValue) -> bool {
        if !crate::json::mentions(item.get().as_bytes(), "reasoning") {
            return true;
        }
        let Ok(item) = serde_json::from_str::<ReasoningItem<'_>>(item.get()) else { return true };
        if item.kind.as_deref() != Some("reasoning") {
            return true;
        }
        if self.without_thinking {
            return false;
        }
        let may_be_known = item.may_be_known();
        let Some(data) = item.encrypted_content.filter(|data| !data.is_empty()) else { return may_be_known };
        if envelope::open(&data).is_some() {
            return false;
        }
        // Encrypted by another provider of this format.
        let thought = canon::Reasoning {
            encrypted: Some(data.into_owned()),
            format: Some(REASONING_FORMAT.to_owned()),
            ..canon::Reasoning::default()
        };
        let name = CallName::of_proof(&canon::PartKind::from(thought).into());
        let issued = self.memory.zip(name).and_then(|(memory, name)| Some((memory, (memory.find)(&name)?)));
        issued.is_none_or(|(memory, proofs)| memory.is_issuer(&proofs))
    }
}

// ---------------------------------------------------------------------------------------------- answers

/// Writes nothing: who listens to an answer only wants to know what it says.
struct Silence;

impl Encoder for Silence {
    fn push(&mut self, _event: Event, _out: &mut Vec<u8>) {}
    fn finish(&mut self, _out: &mut Vec<u8>) {}
    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}
}

type SharedAnnotator = Arc<dyn Annotator + Sync>;

/// What is written of the response object that ends an answer.
struct Ending {
    annotator: SharedAnnotator,
    /// What response objects say of an answer that the gateway keeps; none where it keeps none.
    keeping: Option<KeptAnswer>,
    /// The finished answer, where the gateway is to keep it.
    kept: Option<Kept>,
}

/// What the gateway's keeping changes in response objects.
struct KeptAnswer {
    /// The caller's `previous_response_id`, as raw JSON: the provider got the whole conversation in its place.
    previous: Option<String>,
    /// The caller's conversation, as raw JSON: likewise.
    conversation: Option<String>,
    /// The finished items of a stream.
    items: Vec<Vec<u8>>,
}

impl KeptAnswer {
    fn of(request: Option<&Bytes>) -> Self {
        #[derive(Deserialize)]
        struct Previous<'a> {
            #[serde(borrow, default)]
            previous_response_id: Option<&'a RawValue>,
            #[serde(borrow, default)]
            conversation: Option<&'a RawValue>,
        }
        let read = request.and_then(|body| serde_json::from_slice::<Previous<'_>>(body).ok());
        let (previous, conversation) =
            read.map(|read| (read.previous_response_id, read.conversation)).unwrap_or_default();
        Self {
            previous: previous.map(|id| id.get().to_owned()),
            conversation: conversation.map(|named| write::conversation(named.get())),
            items: Vec::new(),
        }
    }

    /// A response object that says so. None where it is no object.
    fn said(&self, response: &[u8], output: Option<&[u8]>) -> Option<Vec<u8>> {
        let mut edit = Edit::of(response).ok()?;
        edit.set("store", b"true");
        if let Some(previous) = &self.previous {
            edit.set("previous_response_id", previous.as_bytes());
        }
        if let Some(conversation) = &self.conversation {
            edit.set("conversation", conversation.as_bytes());
        }
        if let Some(output) = output {
            edit.set("output", output);
        }
        Some(edit.write(64))
    }
}

/// What is read of a finished response object.
#[derive(Deserialize)]
struct Finished<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    output: Option<Vec<&'a RawValue>>,
}

impl Ending {
    /// Writes the response object of an answer that is still going on.
    fn begin(&self, response: &[u8], out: &mut Vec<u8>) {
        match self.keeping.as_ref().and_then(|keeping| keeping.said(response, None)) {
            Some(said) => out.extend_from_slice(&said),
            None => out.extend_from_slice(response),
        }
    }

    /// Writes the last response object with the gateway's own object. `after` is how much follows it.
    fn finish(&mut self, response: &[u8], progress: &Progress, after: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let kept = self.keeping.as_ref().and_then(|keeping| keeping.complete(response));
        let said = kept.as_ref().map_or(response, |(_, said)| said);
        out.extend_from_slice(said);
        annotate(&self.annotator, progress, out);
        let answer = &out[start..];
        self.kept = kept.map(|(id, _)| Kept {
            id,
            answer: answer.to_vec(),
            said: member(answer, b"store").map(|value| answer.len() - value.start + after),
        });
    }
}

impl KeptAnswer {
    /// Notes a finished item: some servers leave them out of the response object that ends a stream.
    fn note_item(&mut self, data: &[u8]) {
        if let Some(item) = member(data, b"item") {
            self.items.push(data[item].to_vec());
        }
    }

    /// The id of a complete answer, and its object as the gateway keeps it.
    fn complete(&self, response: &[u8]) -> Option<(String, Vec<u8>)> {
        let Finished { id, status, output } = serde_json::from_slice(response).ok()?;
        let id = id.filter(|id| !id.is_empty())?;
        if !matches!(status.as_deref(), None | Some("completed" | "incomplete")) {
            return None;
        }
        let missing = output.is_none_or(|output| output.is_empty()).then(|| {
            let items = self.items.join(&b","[..]);
            [&b"["[..], &items, b"]"].concat()
        });
        Some((id.into_owned(), self.said(response, missing.as_deref())?))
    }
}

/// Appends the gateway's object to a response object that ends at the end of `out`.
fn annotate(annotator: &SharedAnnotator, progress: &Progress, out: &mut Vec<u8>) {
    if out.pop_if(|last| *last == b'}').is_none() {
        return;
    }
    let facts = AnswerFacts { underlying_model: progress.model.as_deref(), usage: progress.usage.as_ref() };
    annotator.write_member_with_cost(facts, progress.service_tier.as_deref(), out);
    out.push(b'}');
}

struct StreamRelay {
    sse: SseParser,
    listener: Translator,
    ending: Ending,
    /// How many events were passed on: the number of the next, should we have to end the stream.
    events: u64,
    ended: bool,
}

impl StreamRelay {
    fn pass(&mut self, event: &[u8], data: &[u8], out: &mut Vec<u8>) {
        let data = one_line(repair::sound(data));
        if self.ended || matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return;
        }
        let kind = kind_of(&data).unwrap_or_else(|| String::from_utf8_lossy(event).into_owned());
        // A failure is told in the gateway's words, after the listener has read it.
        if matches!(kind.as_str(), "error" | "response.failed" | "response.cancelled") {
            self.ended = true;
            return;
        }
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        let response = is_about_all(&kind).then(|| member(&data, b"response")).flatten();
        match response.filter(|range| data[range.clone()].starts_with(b"{")) {
            Some(response) => self.response(&kind, &data, response, out),
            None => out.extend_from_slice(&data),
        }
        if let Some(keeping) = &mut self.ending.keeping
            && kind == "response.output_item.done"
        {
            keeping.note_item(&data);
        }
        out.extend_from_slice(EVENT_END);
        self.ended = is_last(&kind);
        self.events += 1;
    }

    /// An event with the response object.
    fn response(&mut self, kind: &str, data: &[u8], response: Range<usize>, out: &mut Vec<u8>) {
        let (before, after) = (&data[..response.start], &data[response.end..]);
        out.extend_from_slice(before);
        match is_last(kind) {
            true => {
                let progress = self.listener.progress();
                self.ending.finish(&data[response], progress, after.len() + EVENT_END.len(), out);
            }
            false => self.ending.begin(&data[response], out),
        }
        out.extend_from_slice(after);
    }
}

/// What ends an event.
const EVENT_END: &[u8] = b"\n\n";

fn is_last(kind: &str) -> bool {
    matches!(kind, "response.completed" | "response.incomplete")
}

/// Whether an event is about the response as a whole.
fn is_about_all(kind: &str) -> bool {
    is_last(kind) || matches!(kind, "response.created" | "response.queued" | "response.in_progress")
}

/// Data is one line in every answer that we write.
fn one_line(data: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'\n', b'\r', &data) {
        None => data,
        Some(_) => data.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect(),
    }
}

/// The type that an event names itself.
fn kind_of(data: &[u8]) -> Option<String> {
    let mut scanner = Scanner::new(data);
    let mut kind = None;
    let scanned = scanner.object(|scanner, key| {
        let is_type = &data[key.range] == b"type";
        let value = scanner.value()?;
        if is_type {
            kind = serde_json::from_slice(&data[value]).ok();
        }
        Ok::<(), crate::json::Syntax>(())
    });
    scanned.ok().and(kind)
}

/// Where the value of a member of an object stands.
fn member(data: &[u8], name: &[u8]) -> Option<Range<usize>> {
    let mut scanner = Scanner::new(data);
    let mut found = None;
    let scanned = scanner.object(|scanner, key| {
        let is_it = &data[key.range] == name;
        let value = scanner.value()?;
        if is_it {
            found = Some(value);
        }
        Ok::<(), crate::json::Syntax>(())
    });
    scanned.ok().and(found)
}

impl Transcoder for StreamRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        // The listener first: the last event tells what the answer cost.
        let listened = self.listener.push(bytes, &mut Vec::new());
        let mut found = Vec::new();
        self.sse.push(bytes, |event| {
            found.push((event.event.to_vec(), event.data.to_vec()));
            Ok(())
        })?;
        found.iter().for_each(|(event, data)| self.pass(event, data, out));
        listened
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let listened = self.listener.finish(&mut Vec::new());
        let mut found = Vec::new();
        self.sse.finish(|event| {
            found.push((event.event.to_vec(), event.data.to_vec()));
            Ok(())
        })?;
        found.iter().for_each(|(event, data)| self.pass(event, data, out));
        listened
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let model = self.progress().model.clone();
        fail_relayed(error, self.events, model, Box::new(self.ending.annotator.clone()), out);
    }

    fn progress(&self) -> &Progress {
        self.listener.progress()
    }

    fn kept(&mut self) -> Option<Kept> {
        self.ending.kept.take()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.listener.proofs()
    }
}

struct WholeRelay {
    body: Vec<u8>,
    listener: Translator,
    ending: Ending,
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        // The listener holds the limit of an answer's size.
        self.listener.push(bytes, out)?;
        crate::json::append(&mut self.body, bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.listener.finish(out)?;
        let body = std::mem::take(&mut self.body);
        self.ending.finish(&repair::sound(body.trim_ascii()), self.listener.progress(), 0, out);
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        self.listener.progress()
    }

    fn kept(&mut self) -> Option<Kept> {
        self.ending.kept.take()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.listener.proofs()
    }
}
