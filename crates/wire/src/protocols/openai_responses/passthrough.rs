//! Between callers and providers that both speak this format: the raw body is forwarded with few edits, and answers are
//! relayed event by event. Only the last event is changed: it gets the gateway's object.

use std::sync::Arc;

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Error, Event, Field, Losses, Progress, Result, Target};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::answer::read::{StreamDecoder, WholeDecoder};
use super::answer::write::fail_relayed;
use super::{OpenaiResponses, REASONING_FORMAT, envelope};
use crate::exchange::translator;
use crate::framing::sse::SseParser;
use crate::json::{Scanner, push_string};
use crate::proofs::{CallName, Memory, Proofs};
use crate::protocols::repair;
use crate::{
    DecoderContext, Encoded, Encoder, Forwarding, Intake, Passthrough, ROUTING_FIELDS, Transcoder,
    TranscoderParts, Translator, TranslatorParts,
};

impl Passthrough for OpenaiResponses {
    /// Answers that the gateway keeps have ids of its own: they are written anew.
    fn fits(&self, intake: &Intake, _target: Target<'_>) -> bool {
        !intake.form.kept
    }

    fn forward(&self, intake: &Intake, forwarding: Forwarding<'_>) -> Result<Encoded> {
        let target = forwarding.target;
        let mut losses = Losses::new();
        let mut edit = intake.edit();
        let mut model = Vec::with_capacity(target.model.len() + 2);
        push_string(&mut model, target.model);
        edit.set("model", &model);
        for name in ROUTING_FIELDS {
            edit.remove(name);
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
        let body = Bytes::from(edit.write(target.model.len() + 64));
        Ok(Encoded { body, losses, decoding: DecoderContext::default() })
    }

    fn relay(&self, parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
        if parts.form.kept {
            return translator(parts);
        }
        let decoder: Box<dyn crate::Decoder> = match parts.form.stream {
            true => Box::new(StreamDecoder::new(parts.decoding)),
            false => Box::new(WholeDecoder::new(parts.decoding)),
        };
        let ids = parts.annotator.clone();
        let listener = Translator::new(TranslatorParts {
            decoder,
            encoder: Box::new(Silence),
            taken: Default::default(),
            ids: Box::new(move || ids.tool_call_id()),
        });
        let annotator = parts.annotator;
        match parts.form.stream {
            true => Box::new(StreamRelay {
                sse: SseParser::default(),
                listener,
                annotator,
                events: 0,
                ended: false,
            }),
            false => Box::new(WholeRelay { body: Vec::new(), listener, annotator }),
        }
    }
}

// ---------------------------------------------------------------------------------------------- requests

/// Takes thinking out of the input that is known to be of no use to the provider.
struct Sifting<'a> {
    memory: Option<Memory<'a>>,
    without_thinking: bool,
}

#[derive(Deserialize)]
struct ReasoningItem<'a> {
    #[serde(rename = "type", borrow, default)]
    kind: Option<std::borrow::Cow<'a, str>>,
    #[serde(borrow, default)]
    encrypted_content: Option<std::borrow::Cow<'a, str>>,
}

impl Sifting<'_> {
    /// The input without it; none when it can stay as it is.
    fn input(&self, input: &[u8], losses: &mut Losses) -> Option<Vec<u8>> {
        if !input.starts_with(b"[") || !crate::protocols::mentions(input, "reasoning") {
            return None;
        }
        let items: Vec<&RawValue> = serde_json::from_slice(input).ok()?;
        let is_kept: Vec<bool> = items.iter().map(|item| self.keeps(item)).collect();
        if is_kept.iter().all(|kept| *kept) {
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
            out.extend_from_slice(item.get().as_bytes());
        }
        out.push(b']');
        Some(out)
    }

    fn keeps(&self, item: &RawValue) -> bool {
        if !crate::protocols::mentions(item.get().as_bytes(), "reasoning") {
            return true;
        }
        let Ok(item) = serde_json::from_str::<ReasoningItem<'_>>(item.get()) else { return true };
        if item.kind.as_deref() != Some("reasoning") {
            return true;
        }
        if self.without_thinking {
            return false;
        }
        let Some(data) = item.encrypted_content.filter(|data| !data.is_empty()) else { return true };
        if envelope::open(&data).is_some() {
            return false;
        }
        // Encrypted by another provider of this format.
        let thought = canon::Reasoning {
            encrypted: Some(data.into_owned()),
            format: Some(REASONING_FORMAT.to_owned()),
            ..canon::Reasoning::default()
        };
        let name = CallName::of_proof(&canon::PartKind::Reasoning(thought).into());
        let issued = self.memory.zip(name).and_then(|(memory, name)| Some((memory, (memory.find)(&name)?)));
        issued.is_none_or(|(memory, proofs)| proofs.issuer == memory.provider)
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
    annotator: SharedAnnotator,
    /// How many events were passed on: the number of the next, should we have to end the stream.
    events: u64,
    ended: bool,
}

impl StreamRelay {
    fn pass(&mut self, event: &[u8], data: &[u8], out: &mut Vec<u8>) {
        let data = repair::sound(data);
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
        if matches!(kind.as_str(), "response.completed" | "response.incomplete") {
            self.ended = true;
            self.last(&data, out);
        } else {
            push_line(&data, out);
        }
        out.extend_from_slice(b"\n\n");
        self.events += 1;
    }

    /// The last event: the gateway's object goes into its response.
    fn last(&self, data: &[u8], out: &mut Vec<u8>) {
        let Some(response) = response_range(data) else { return push_line(data, out) };
        push_line(&data[..response.end], out);
        annotate(&self.annotator, self.listener.progress(), out);
        push_line(&data[response.end..], out);
    }
}

/// Data is one line in every answer that we write.
fn push_line(data: &[u8], out: &mut Vec<u8>) {
    match memchr::memchr2(b'\n', b'\r', data) {
        None => out.extend_from_slice(data),
        Some(_) => {
            out.extend(data.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }))
        }
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

/// Where the `response` object of an event stands.
fn response_range(data: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut scanner = Scanner::new(data);
    let mut found = None;
    let scanned = scanner.object(|scanner, key| {
        let is_response = &data[key.range] == b"response";
        let value = scanner.value()?;
        if is_response && data[value.clone()].starts_with(b"{") {
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
        fail_relayed(error, self.events, model, Box::new(self.annotator.clone()), out);
    }

    fn progress(&self) -> &Progress {
        self.listener.progress()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.listener.proofs()
    }
}

struct WholeRelay {
    body: Vec<u8>,
    listener: Translator,
    annotator: SharedAnnotator,
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        // The listener holds the limit of an answer's size.
        self.listener.push(bytes, out)?;
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        self.listener.finish(out)?;
        out.extend_from_slice(repair::sound(self.body.trim_ascii()).as_ref());
        annotate(&self.annotator, self.listener.progress(), out);
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        self.listener.progress()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.listener.proofs()
    }
}
