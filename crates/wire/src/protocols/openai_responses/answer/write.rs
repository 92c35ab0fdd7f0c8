//! Writes an answer for a caller: the events of a stream, or one response object.
//!
//! Both forms come from one state machine that opens, fills and closes the items of the output. A whole
//! answer is the content of the last event of its stream.

mod echo;
mod item;

use std::ops::Range;

use canon::{Annotator, AnswerFacts, Error, Event, FinishReason, Json, ReasoningDetail, Usage};

use memchr::memmem;

pub(in super::super) use echo::{Echo, conversation};
use item::{CallItem, EVENT_END, Events, ItemInProgress, MessageItem, PictureItem, ReasoningItem};

use super::super::errors;
use super::super::request::read::CallForm;
use crate::json::{append, push_key, push_string, push_u64, room};
use crate::protocols::envelope::{self, Proof};
use crate::{AnswerForm, Encoder, StoredAnswer};

/// The encoder for one answer. `echo` contains the members that the answer repeats from its request.
pub(in super::super) fn encoder(
    form: &AnswerForm,
    echo: Echo,
    annotator: Box<dyn Annotator>,
) -> Box<dyn Encoder> {
    Box::new(ResponseEncoder { hides_thinking: form.exclude_reasoning, ..new(form.stream, echo, annotator) })
}

fn new(stream: bool, echo: Echo, annotator: Box<dyn Annotator>) -> ResponseEncoder {
    ResponseEncoder {
        next_event: stream.then_some(0),
        hides_thinking: false,
        echo,
        annotator,
        facts: Facts::default(),
        open: Vec::new(),
        done: Vec::new(),
        kept: None,
    }
}

/// Ends a stream of which this many events were passed on from a provider.
pub(in super::super) fn fail_relayed(
    error: &Error,
    events: u64,
    model: Option<String>,
    annotator: Box<dyn Annotator>,
    out: &mut Vec<u8>,
) {
    let mut encoder = new(true, Echo::default(), annotator);
    encoder.next_event = Some(events);
    encoder.facts.begun = events > 0;
    encoder.start(None, model, None);
    encoder.fail(error, out);
}

/// The response object of an answer that has just begun.
pub(in super::super) fn begun(model: Option<String>, annotator: Box<dyn Annotator>) -> Vec<u8> {
    let mut encoder = new(true, Echo::default(), annotator);
    encoder.start(None, model, None);
    let mut response = Vec::new();
    encoder.write_response(Status::InProgress, None, &mut response);
    response
}

/// Counts in the form of a response object.
pub(in super::super) fn usage(counts: &Usage) -> Vec<u8> {
    let mut out = Vec::new();
    write_usage(counts, &mut out);
    out
}

/// Approximate length of the text around the output.
const AROUND: usize = 1024;
/// The flag that reports the storage, and the position of its value.
const STORED: &[u8] = b",\"store\":true,\"background\":false";
const STORE_KEY: usize = b",\"store\":".len();

struct ResponseEncoder {
    /// The number of the next event of a stream; none for a whole answer.
    next_event: Option<u64>,
    hides_thinking: bool,
    echo: Echo,
    annotator: Box<dyn Annotator>,
    facts: Facts,
    /// Items in progress, in the order of their indexes.
    open: Vec<ItemInProgress>,
    /// Finished items as JSON, by their indexes.
    done: Vec<(u64, Box<[u8]>)>,
    /// The finished answer, where the gateway stores it.
    kept: Option<StoredAnswer>,
}

/// The facts of the answer.
#[derive(Default)]
struct Facts {
    begun: bool,
    /// The unique part of every id.
    base: String,
    id: String,
    model: String,
    underlying_model: Option<String>,
    created: i64,
    usage: Option<Usage>,
    finish: Option<(FinishReason, Option<String>)>,
    tier: Option<String>,
    /// The index of the next item.
    next: u64,
}

/// The state of the answer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Status {
    InProgress,
    Completed,
    Incomplete(&'static str),
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Incomplete(_) => "incomplete",
            Self::Failed => "failed",
        }
    }
}

impl Encoder for ResponseEncoder {
    fn push(&mut self, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Start { id, model, created } => self.start(id, model, created),
            Event::Usage(usage) => self.facts.usage = Some(usage),
            Event::Finish { choice: 0, reason, native } => self.facts.finish = Some((reason, native)),
            Event::Field { name: "service_tier", value } => self.facts.tier = value.read().ok(),
            Event::Text { choice: 0, text } => self.text(&text, false, out),
            Event::Refusal { choice: 0, text } => self.text(&text, true, out),
            Event::Reasoning { choice: 0, block, detail, format } => {
                self.thinking(block, detail, format, out)
            }
            Event::ToolCallStart { choice: 0, index, id, name, signature, custom } => {
                self.sign_call(&id, signature, out);
                self.call(index, id, (&name, custom), out);
            }
            Event::ToolCallArguments { choice: 0, index, fragment } => self.arguments(index, &fragment, out),
            Event::Image { choice: 0, mime, data } => self.picture(&mime, data, out),
            Event::Annotation { choice: 0, annotation } => self.annotation(&annotation, out),
            Event::Logprobs { choice: 0, logprobs } => self.logprobs(&logprobs, out),
            // The format has a single answer, and no other fields.
            _ => {}
        }
    }

    fn finish(&mut self, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_all(out);
        let status = self.status();
        let name = if matches!(status, Status::Incomplete(_)) {
            "response.incomplete"
        } else {
            "response.completed"
        };
        let start = out.len();
        if self.next_event.is_none() {
            self.write_response(status, None, out);
            self.keep(&out[start..], 0);
            return;
        }
        let response = self.response_event(name, status, None, out);
        self.keep(&out[response], EVENT_END.len());
    }

    fn stored_answer(&mut self) -> Option<StoredAnswer> {
        self.kept.take()
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        if self.next_event.is_none() {
            return;
        }
        if !self.facts.begun {
            return self.events(out).send("error", |out| errors::write_members(error, out));
        }
        self.response_event("response.failed", Status::Failed, Some(error), out);
    }
}

// ---------------------------------------------------------------------------------------------- the response object

impl ResponseEncoder {
    fn start(&mut self, id: Option<String>, model: Option<String>, created: Option<i64>) {
        let facts = &mut self.facts;
        let own = self.annotator.answer_id();
        facts.base = own.rsplit(['-', '_']).next().unwrap_or(own).to_owned();
        facts.id = match id {
            // Stored answers have the gateway's own ids: only these are unique, and they lead from items to
            // answers.
            Some(id) if id.starts_with("resp_") && !self.echo.stored => id,
            _ => format!("resp_{}", facts.base),
        };
        facts.model = model
            .clone()
            .filter(|model| !model.is_empty())
            .unwrap_or_else(|| self.annotator.model().to_owned());
        facts.created = created.filter(|created| *created > 0).unwrap_or_else(|| self.annotator.created());
        facts.underlying_model = model;
    }

    /// The answer begins with its first content.
    fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.facts.begun, true) {
            return;
        }
        if self.facts.id.is_empty() {
            self.start(None, None, None);
        }
        if self.next_event.is_some() {
            self.response_event("response.created", Status::InProgress, None, out);
            self.response_event("response.in_progress", Status::InProgress, None, out);
        }
    }

    fn status(&self) -> Status {
        match &self.facts.finish {
            Some((FinishReason::Length, _)) => Status::Incomplete("max_output_tokens"),
            Some((FinishReason::ContentFilter, _)) => Status::Incomplete("content_filter"),
            _ => Status::Completed,
        }
    }

    /// Writes an event about the response as a whole, and returns the range of the response in it.
    fn response_event(
        &mut self,
        name: &str,
        status: Status,
        error: Option<&Error>,
        out: &mut Vec<u8>,
    ) -> Range<usize> {
        let Some(next) = &mut self.next_event else { return 0..0 };
        item::start_event(name, next, out);
        push_key(out, "response");
        let start = out.len();
        self.write_response(status, error, out);
        let end = out.len();
        out.extend_from_slice(EVENT_END);
        start..end
    }

    /// Keeps the finished answer, which ends this many bytes before the end of the output.
    fn keep(&mut self, response: &[u8], behind: usize) {
        if !self.echo.stored {
            return;
        }
        let said = memmem::rfind(response, STORED).map(|at| response.len() - at - STORE_KEY + behind);
        self.kept = Some(StoredAnswer { id: self.facts.id.clone(), answer: response.to_vec(), said });
    }

    fn write_response(&self, status: Status, error: Option<&Error>, out: &mut Vec<u8>) {
        let facts = &self.facts;
        out.extend_from_slice(b"{\"id\":");
        push_string(out, &facts.id);
        out.extend_from_slice(b",\"object\":\"response\",\"created_at\":");
        push_u64(out, facts.created.max(0) as u64);
        push_key(out, "status");
        push_string(out, status.as_str());
        push_key(out, "error");
        match error {
            Some(error) => errors::write_failure(error, out),
            None => out.extend_from_slice(b"null"),
        }
        push_key(out, "incomplete_details");
        match status {
            Status::Incomplete(reason) => {
                out.extend_from_slice(b"{\"reason\":");
                push_string(out, reason);
                out.push(b'}');
            }
            _ => out.extend_from_slice(b"null"),
        }
        push_key(out, "model");
        push_string(out, &facts.model);
        push_key(out, "output");
        self.write_output(out);
        let is_over = status != Status::InProgress;
        self.echo.write(is_over, facts.tier.as_deref(), out);
        push_key(out, "usage");
        match (facts.usage.filter(|_| is_over), status) {
            (Some(usage), _) => write_usage(&usage, out),
            // The AI SDK accepts no finished answer without counts: opencode would repeat the request.
            (None, Status::Completed | Status::Incomplete(_)) => write_usage(&Usage::default(), out),
            (None, _) => out.extend_from_slice(b"null"),
        }
        if is_over {
            let known = AnswerFacts {
                underlying_model: facts.underlying_model.as_deref(),
                usage: facts.usage.as_ref(),
            };
            self.annotator.write_member_with_cost(known, facts.tier.as_deref(), out);
        }
        out.push(b'}');
    }

    fn write_output(&self, out: &mut Vec<u8>) {
        out.reserve_exact(self.done.iter().map(|(_, item)| item.len() + 1).sum::<usize>() + AROUND);
        out.push(b'[');
        for (position, (_, item)) in self.done.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(item);
        }
        out.push(b']');
    }

    /// The target of the next events.
    fn events<'a>(&'a mut self, out: &'a mut Vec<u8>) -> Events<'a> {
        Events { next: self.next_event.as_mut(), out }
    }
}

/// Counts in this format's convention: the prompt includes cached tokens, the output includes thinking.
fn write_usage(usage: &Usage, out: &mut Vec<u8>) {
    let count = |out: &mut Vec<u8>, name: &str, count: u64| {
        push_key(out, name);
        push_u64(out, count);
    };
    out.push(b'{');
    count(out, "input_tokens", usage.prompt_tokens());
    out.extend_from_slice(b",\"input_tokens_details\":{");
    count(out, "cached_tokens", usage.cache_read);
    count(out, "cache_write_tokens", usage.cache_writes());
    out.push(b'}');
    count(out, "output_tokens", usage.completion_tokens());
    out.extend_from_slice(b",\"output_tokens_details\":{");
    count(out, "reasoning_tokens", usage.reasoning);
    out.push(b'}');
    count(out, "total_tokens", usage.total_tokens());
    out.push(b'}');
}

// ---------------------------------------------------------------------------------------------- items

impl ResponseEncoder {
    fn next_index(&mut self) -> u64 {
        let index = self.facts.next;
        self.facts.next += 1;
        index
    }

    fn item_id(&self, prefix: &str, index: u64) -> String {
        format!("{prefix}_{}{index:02}", self.facts.base)
    }

    fn added(&mut self, index: u64, out: &mut Vec<u8>, write_item: impl FnOnce(&mut Vec<u8>)) {
        self.events(out).send("response.output_item.added", |out| {
            push_key(out, "output_index");
            push_u64(out, index);
            push_key(out, "item");
            write_item(out);
        });
    }

    /// An item is complete.
    fn close(&mut self, open: ItemInProgress, out: &mut Vec<u8>) {
        let index = open.index();
        let mut events = self.events(out);
        open.send_last(&mut events);
        let mut item = Vec::new();
        open.write(&mut item);
        drop(open);
        events.send("response.output_item.done", |out| {
            push_key(out, "output_index");
            push_u64(out, index);
            push_key(out, "item");
            append(out, &item);
        });
        let place = self.done.partition_point(|(known, _)| *known < index);
        room::make(&mut self.done);
        self.done.insert(place, (index, item.into_boxed_slice()));
    }

    fn close_where(&mut self, is_over: impl Fn(&ItemInProgress) -> bool, out: &mut Vec<u8>) {
        let (over, open) = std::mem::take(&mut self.open).into_iter().partition(is_over);
        self.open = open;
        let over: Vec<ItemInProgress> = over;
        over.into_iter().for_each(|item| self.close(item, out));
    }

    fn close_all(&mut self, out: &mut Vec<u8>) {
        self.close_where(|_| true, out);
    }

    /// Text and thinking end where something else begins. Calls may continue beside it.
    fn close_words(&mut self, out: &mut Vec<u8>) {
        self.close_where(|open| !matches!(open, ItemInProgress::Call(_)), out);
    }

    // ------------------------------------------------------------------------------------------ texts

    fn text(&mut self, text: &str, is_refusal: bool, out: &mut Vec<u8>) {
        if text.is_empty() {
            return;
        }
        self.begin(out);
        self.close_where(|open| matches!(open, ItemInProgress::Reasoning(_)), out);
        let position = self.open_message(out);
        let Some(ItemInProgress::Message(message)) = self.open.get_mut(position) else { return };
        message.say(text, is_refusal, &mut Events { next: self.next_event.as_mut(), out });
    }

    /// The place of the current message.
    fn open_message(&mut self, out: &mut Vec<u8>) -> usize {
        if let Some(position) = self.open.iter().position(|open| matches!(open, ItemInProgress::Message(_))) {
            return position;
        }
        let index = self.next_index();
        let message = MessageItem::new(index, self.item_id("msg", index));
        self.added(index, out, |out| message.write_start(out));
        self.open.push(ItemInProgress::Message(message));
        self.open.len() - 1
    }

    fn annotation(&mut self, annotation: &Json, out: &mut Vec<u8>) {
        let Some(annotation) = item::flat_annotation(annotation) else { return };
        self.begin(out);
        let position = self.open_message(out);
        let Some(ItemInProgress::Message(message)) = self.open.get_mut(position) else { return };
        message.annotate(&annotation, &mut Events { next: self.next_event.as_mut(), out });
    }

    fn logprobs(&mut self, logprobs: &Json, out: &mut Vec<u8>) {
        let Some(tokens) = item::Tokens::of(logprobs) else { return };
        self.begin(out);
        let position = self.open_message(out);
        if let Some(ItemInProgress::Message(message)) = self.open.get_mut(position) {
            item::add_tokens(&tokens, &mut message.logprobs);
        }
    }

    fn picture(&mut self, mime: &str, data: String, out: &mut Vec<u8>) {
        self.begin(out);
        self.close_words(out);
        let index = self.next_index();
        let picture = PictureItem::new(index, self.item_id("ig", index), mime, data);
        self.added(index, out, |out| picture.write_start(out));
        self.close(ItemInProgress::Picture(picture), out);
    }

    // ------------------------------------------------------------------------------------------ thinking

    fn thinking(&mut self, block: u32, detail: ReasoningDetail, format: &'static str, out: &mut Vec<u8>) {
        self.begin(out);
        let is_other = |open: &ItemInProgress| match open {
            ItemInProgress::Reasoning(item) => item.block != Some(block),
            ItemInProgress::Message(_) | ItemInProgress::Picture(_) => true,
            ItemInProgress::Call(_) => false,
        };
        self.close_where(is_other, out);
        let position = match self.open.iter().position(|open| matches!(open, ItemInProgress::Reasoning(_))) {
            Some(position) => position,
            None => self.open_reasoning(Some(block), out),
        };
        let Some(ItemInProgress::Reasoning(item)) = self.open.get_mut(position) else { return };
        let mut events = Events { next: self.next_event.as_mut(), out };
        match detail {
            ReasoningDetail::Text(_) if self.hides_thinking => {}
            ReasoningDetail::Text(text) => item.think(&text, &mut events),
            ReasoningDetail::Signature(proof) => item.sign(&proof, format),
            ReasoningDetail::Encrypted(data) => item.encrypt(&data, format),
        }
    }

    fn open_reasoning(&mut self, block: Option<u32>, out: &mut Vec<u8>) -> usize {
        let index = self.next_index();
        let reasoning = ReasoningItem::new(index, self.item_id("rs", index), block);
        self.added(index, out, |out| reasoning.write_start(out));
        self.open.push(ItemInProgress::Reasoning(reasoning));
        self.open.len() - 1
    }

    // ------------------------------------------------------------------------------------------ calls

    /// A call has no field for its proof: it precedes the call.
    fn sign_call(&mut self, id: &str, signature: Option<String>, out: &mut Vec<u8>) {
        let Some(signature) = signature else { return };
        self.begin(out);
        self.close_words(out);
        let position = self.open_reasoning(None, out);
        if let ItemInProgress::Reasoning(mut item) = self.open.remove(position) {
            item.sealed = Some(envelope::seal(&Proof::Call { id: id.to_owned(), signature }));
            self.close(ItemInProgress::Reasoning(item), out);
        }
    }

    fn call(&mut self, number: u32, id: String, (name, custom): (&str, bool), out: &mut Vec<u8>) {
        self.begin(out);
        self.close_words(out);
        let index = self.next_index();
        let mut caller = self.echo.caller_name(name);
        if custom {
            caller.form = CallForm::Custom;
        }
        let item_id = self.item_id(CallItem::prefix(caller.form), index);
        let call = CallItem::new(number, index, item_id, id, caller);
        if call.is_streamed() {
            self.added(index, out, |out| call.write_start(out));
        }
        self.open.push(ItemInProgress::Call(call));
    }

    fn arguments(&mut self, number: u32, fragment: &str, out: &mut Vec<u8>) {
        if fragment.is_empty() {
            return;
        }
        let is_this =
            |open: &ItemInProgress| matches!(open, ItemInProgress::Call(call) if call.number == number);
        let Some(position) = self.open.iter().position(is_this) else { return };
        let Some(ItemInProgress::Call(call)) = self.open.get_mut(position) else { return };
        call.push(fragment, &mut Events { next: self.next_event.as_mut(), out });
        let is_complete = call.is_complete();
        if is_complete {
            let item = self.open.remove(position);
            self.close(item, out);
        }
    }
}
