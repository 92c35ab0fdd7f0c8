//! Answers between equal formats: events pass unchanged. The exceptions are the last event, which gets the
//! gateway's object, and events that the format requires and the provider omitted.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use canon::{Annotator, AnswerFacts, Error, Progress, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::answer::read::{Answer, StreamDecoder};
use super::super::answer::write::{self, fail_relayed};
use super::items::{Changes, EventMembers, Items};
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{Edit, List, Scanner, quoted};
use crate::proofs::Proofs;
use crate::protocols::repair;
use crate::protocols::whole::check_size;
use crate::translate::Books;
use crate::{StoredAnswer, Transcoder, TranscoderParts};

/// A relay for one answer.
pub(super) fn relay(parts: TranscoderParts<'_>) -> Box<dyn Transcoder> {
    let form = &parts.form;
    let keeping = form.kept.then(|| KeptAnswer::of(form.request.as_ref()));
    let ending = FinalChanges { annotator: parts.annotator, keeping, kept: None };
    if !form.stream {
        let answer = Answer::new(parts.decoding);
        return Box::new(WholeRelay { body: Vec::new(), answer, books: Books::default(), ending });
    }
    let events = EventRelay {
        listener: StreamDecoder::new(parts.decoding),
        books: Books::default(),
        fault: None,
        ending,
        items: Items::default(),
        begun: false,
        next_number: 0,
        shift: 0,
        ended: false,
    };
    Box::new(StreamRelay { sse: SseParser::default(), events })
}

type SharedAnnotator = Arc<dyn Annotator + Sync>;

/// The changes to the final response object.
struct FinalChanges {
    annotator: SharedAnnotator,
    /// The members of response objects for an answer that the gateway stores; none where it does not.
    keeping: Option<KeptAnswer>,
    /// The finished answer, where the gateway stores it.
    kept: Option<StoredAnswer>,
}

/// The changes to response objects of stored answers.
struct KeptAnswer {
    /// The caller's `previous_response_id`, as raw JSON: the provider got the whole conversation instead.
    previous: Option<String>,
    /// The caller's conversation, as raw JSON: likewise.
    conversation: Option<String>,
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
        }
    }

    /// A response object with these changes. None where it is not an object.
    fn with_changes(&self, response: &[u8]) -> Option<Vec<u8>> {
        let mut edit = Edit::of(response).ok()?;
        edit.set("store", b"true");
        if let Some(previous) = &self.previous {
            edit.set("previous_response_id", previous.as_bytes());
        }
        if let Some(conversation) = &self.conversation {
            edit.set("conversation", conversation.as_bytes());
        }
        Some(edit.write(64))
    }
}

/// The members of a finished response object that are read.
#[derive(Deserialize)]
struct Finished<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    output: List<'a, &'a RawValue>,
    #[serde(default)]
    usage: Option<TokenCounts>,
}

/// The counts that clients require: opencode repeats the request where they are missing.
#[derive(Deserialize)]
struct TokenCounts {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// A finished response object with the counts and items that it lacks; none where nothing is missing.
fn completed(
    response: &[u8],
    finished: &Finished<'_>,
    items: &Items,
    progress: &Progress,
) -> Option<Vec<u8>> {
    let is_counted = |usage: &TokenCounts| usage.input_tokens.is_some() && usage.output_tokens.is_some();
    let lacks_counts = !finished.usage.as_ref().is_some_and(is_counted);
    let lacks_output = finished.output.is_empty();
    let output = lacks_output.then(|| items.output()).flatten();
    if !lacks_counts && output.is_none() {
        return None;
    }
    let mut edit = Edit::of(response).ok()?;
    if let Some(output) = &output {
        edit.set("output", output);
    }
    if lacks_counts {
        edit.set("usage", &write::usage(&progress.usage.unwrap_or_default()));
    }
    Some(edit.write(256))
}

impl FinalChanges {
    /// Writes the response object of an unfinished answer.
    fn begin(&self, response: &[u8], out: &mut Vec<u8>) {
        match self.keeping.as_ref().and_then(|keeping| keeping.with_changes(response)) {
            Some(said) => out.extend_from_slice(&said),
            None => out.extend_from_slice(response),
        }
    }

    /// Writes the last response object with the gateway's own object. `after` is the length of the following
    /// text.
    fn finish(&mut self, response: &[u8], progress: &Progress, after: usize, out: &mut Vec<u8>) {
        let start = out.len();
        let kept = self.keeping.as_ref().and_then(|keeping| keeping.complete(response));
        let said = kept.as_ref().map_or(response, |(_, said)| said);
        out.reserve_exact(said.len() + 1024);
        out.extend_from_slice(said);
        annotate(&self.annotator, progress, out);
        let answer = &out[start..];
        self.kept = kept.map(|(id, _)| StoredAnswer {
            id,
            answer: answer.to_vec(),
            said: member(answer, b"store").map(|value| answer.len() - value.start + after),
        });
    }
}

impl KeptAnswer {
    /// The id of a complete answer, and its object in the stored form.
    fn complete(&self, response: &[u8]) -> Option<(String, Vec<u8>)> {
        let Finished { id, status, .. } = serde_json::from_slice(response).ok()?;
        let id = id.filter(|id| !id.is_empty())?;
        if !matches!(status.as_deref(), None | Some("completed" | "incomplete")) {
            return None;
        }
        Some((id.into_owned(), self.with_changes(response)?))
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
    events: EventRelay,
}

/// Reads and passes one event after another.
struct EventRelay {
    listener: StreamDecoder,
    books: Books,
    /// Why an event could not be read.
    fault: Option<Error>,
    ending: FinalChanges,
    items: Items,
    /// The response was created.
    begun: bool,
    /// The number of the next event.
    next_number: u64,
    /// How many events were inserted before those of the provider.
    shift: u64,
    ended: bool,
}

impl EventRelay {
    fn take(&mut self, event: SseEvent<'_>, out: &mut Vec<u8>) {
        // The error for an event that could not be read ends the answer: nothing that arrived with it follows.
        if self.fault.is_some() {
            return;
        }
        // It is read first: the last event contains the cost.
        self.fault = self.listener.event(event, &mut self.books).err();
        self.pass(event.event, event.data, out);
    }

    fn pass(&mut self, event: &[u8], data: &[u8], out: &mut Vec<u8>) {
        let data = one_line(repair::valid_json(data));
        if self.ended || matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return;
        }
        // The listener has reported unreadable data.
        let Ok(members) = serde_json::from_slice::<EventMembers<'_>>(&data) else { return };
        let mut changes = Changes::new();
        let kind = match &members.kind {
            Some(kind) => kind.to_string(),
            None => {
                let kind = String::from_utf8_lossy(event).into_owned();
                changes.push(("type", quoted(&kind)));
                kind
            }
        };
        match kind.as_str() {
            // The kind becomes a line of its own in the stream.
            kind if kind.is_empty() || kind.contains(['\n', '\r']) => {}
            // A failure is reported in the gateway's own form, after the listener has read it.
            "error" | "response.failed" | "response.cancelled" => self.ended = true,
            kind if is_last(kind) => self.last((kind, &data), &members, changes, out),
            kind if is_about_all(kind) => {
                let is_object = members.response.is_some_and(|response| response.get().starts_with('{'));
                if is_object {
                    self.begun |= kind == "response.created";
                    self.begin(out);
                    self.about_all((kind, &data), &members, changes, out);
                }
            }
            kind => {
                let mut missing = Vec::new();
                let taken = self.items.take(kind, &members, &mut missing);
                if let Some(taken) = taken {
                    self.begin(out);
                    self.insert_all(missing, out);
                    changes.extend(taken);
                    let data = self.changed(&data, &members, changes);
                    write_event(kind, &data, out);
                }
            }
        }
    }

    /// Creates the response where the provider omitted the event.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        let model = self.books.progress.model.clone();
        let response = write::begun(model, Box::new(self.ending.annotator.clone()));
        let mut members = b",\"response\":".to_vec();
        self.ending.begin(&response, &mut members);
        self.insert("response.created", &members, out);
    }

    /// Writes events that the provider omitted.
    fn insert_all(&mut self, missing: Vec<(&'static str, Vec<u8>)>, out: &mut Vec<u8>) {
        missing.iter().for_each(|(kind, members)| self.insert(kind, members, out));
    }

    fn insert(&mut self, kind: &str, members: &[u8], out: &mut Vec<u8>) {
        let number = self.next_number;
        let data = format!("{{\"type\":\"{kind}\",\"sequence_number\":{number}");
        write_event(kind, &[data.as_bytes(), members, b"}"].concat(), out);
        self.next_number += 1;
        self.shift += 1;
    }

    /// An event with these changes, and with the next number.
    fn changed<'d>(
        &mut self,
        data: &'d [u8],
        members: &EventMembers<'_>,
        mut changes: Changes,
    ) -> Cow<'d, [u8]> {
        let shifted = members.sequence_number.map(|number| number.saturating_add(self.shift));
        let number = shifted.filter(|number| *number >= self.next_number).unwrap_or(self.next_number);
        self.next_number = number.saturating_add(1);
        if members.sequence_number != Some(number) {
            changes.push(("sequence_number", number.to_string().into_bytes()));
        }
        match Edit::of(data) {
            Ok(mut edit) if !changes.is_empty() => {
                changes.iter().for_each(|(name, value)| edit.set(*name, value));
                Cow::Owned(edit.write(64))
            }
            _ => Cow::Borrowed(data),
        }
    }

    /// An event with the response object of an unfinished answer.
    fn about_all(
        &mut self,
        (kind, data): (&str, &[u8]),
        members: &EventMembers<'_>,
        changes: Changes,
        out: &mut Vec<u8>,
    ) {
        let data = self.changed(data, members, changes);
        let Some(response) = member(&data, b"response") else { return };
        write_start(kind, out);
        out.extend_from_slice(&data[..response.start]);
        self.ending.begin(&data[response.clone()], out);
        out.extend_from_slice(&data[response.end..]);
        out.extend_from_slice(EVENT_END);
    }

    /// The event that ends the answer.
    fn last(
        &mut self,
        (kind, data): (&str, &[u8]),
        members: &EventMembers<'_>,
        mut changes: Changes,
        out: &mut Vec<u8>,
    ) {
        self.ended = true;
        let Some(response) = members.response.map(|response| response.get().as_bytes()) else { return };
        let Ok(finished) = serde_json::from_slice::<Finished<'_>>(response) else { return };
        self.begin(out);
        let mut missing = Vec::new();
        let output: Vec<&RawValue> = finished.output.iter().flatten().collect();
        self.items.finish(&output, &mut missing);
        self.insert_all(missing, out);
        let progress = self.books.progress.clone();
        changes.extend(
            completed(response, &finished, &self.items, &progress).map(|response| ("response", response)),
        );
        let data = self.changed(data, members, changes);
        let Some(response) = member(&data, b"response") else { return };
        write_start(kind, out);
        out.extend_from_slice(&data[..response.start]);
        let after = data.len() - response.end + EVENT_END.len();
        self.ending.finish(&data[response.clone()], &progress, after, out);
        out.extend_from_slice(&data[response.end..]);
        out.extend_from_slice(EVENT_END);
    }
}

fn write_start(kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\ndata: ");
}

fn write_event(kind: &str, data: &[u8], out: &mut Vec<u8>) {
    write_start(kind, out);
    out.extend_from_slice(data);
    out.extend_from_slice(EVENT_END);
}

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

/// The range of a member's value in an object.
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
        let events = &mut self.events;
        self.sse.push(bytes, |event| {
            events.take(event, out);
            Ok(())
        })?;
        events.fault.take().map_or(Ok(()), Err)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let events = &mut self.events;
        self.sse.finish(|event| {
            events.take(event, out);
            Ok(())
        })?;
        events.fault.take().map_or(Ok(()), Err)?;
        events.listener.end()?;
        events.books.progress.finished = true;
        Ok(())
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        let EventRelay { books, next_number, ending, .. } = &self.events;
        let model = books.progress.model.clone();
        fail_relayed(error, *next_number, model, Box::new(ending.annotator.clone()), out);
    }

    fn progress(&self) -> &Progress {
        &self.events.books.progress
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.events.ending.kept.take()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.events.books.proofs.take()
    }
}

struct WholeRelay {
    body: Vec<u8>,
    answer: Answer,
    books: Books,
    ending: FinalChanges,
}

impl Transcoder for WholeRelay {
    fn push(&mut self, bytes: &Bytes, _out: &mut Vec<u8>) -> Result<()> {
        check_size(self.body.len() + bytes.len())?;
        crate::json::append(&mut self.body, bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let body = std::mem::take(&mut self.body);
        self.answer.document(&body, &mut self.books)?;
        self.books.progress.finished = true;
        let body = repair::valid_json(body.trim_ascii());
        let progress = &self.books.progress;
        let completed = match serde_json::from_slice(&body) {
            Ok(finished) => completed(&body, &finished, &Items::default(), progress),
            Err(_) => None,
        };
        self.ending.finish(completed.as_deref().unwrap_or(&body), progress, 0, out);
        Ok(())
    }

    fn fail(&mut self, _error: &Error, _out: &mut Vec<u8>) {}

    fn progress(&self) -> &Progress {
        &self.books.progress
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.ending.kept.take()
    }

    fn proofs(&mut self) -> Option<Proofs> {
        self.books.proofs.take()
    }
}
