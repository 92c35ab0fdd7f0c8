//! The conversation as Gemini's turns.
//!
//! There are two roles, `user` and `model`. Consecutive turns of one role are one turn. The calls of a model
//! turn are answered in the very next turn: as many results as calls, in the same order, matched by name.
//! Leading instructions are separate; later ones become text of the user, but never between calls and their
//! results.
//!
//! Each part is written when it is read. Parts that wait for results are remembered by their position in the
//! request.

use std::borrow::Cow;

use canon::{
    CallField, Error, Field, Losses, Media, Message, MessageField, PartField, Reasoning, Request, Result,
    Role, Target,
};
use canon::{Part, PartKind, ToolCall, ToolResult};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::media::{inline_mime, media_part};
use crate::json::{Output, room};
use crate::protocols::call_ids::CallIds;
use crate::protocols::gemini::model::{Generation, is_gemma};
use crate::protocols::gemini::request::types::{MODEL, USER};
use crate::protocols::gemini::{REASONING_FORMAT, SKIP_SIGNATURE};
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::OF_ANOTHER_FORMAT;

/// The instructions before a conversation, which are written after it.
pub(super) struct Instructions<'a>(&'a [Message]);

impl Instructions<'_> {
    /// Appends the instructions, together with one of the adapter.
    pub fn write(&self, told: Option<&str>, out: &mut Output) -> Result<()> {
        if told.is_none() && !self.0.iter().any(|message| has_content(&message.parts)) {
            return Ok(());
        }
        out.raw("systemInstruction", r#"{"parts":["#);
        for (index, message) in self.0.iter().enumerate() {
            write_content(&message.parts, |part| Field::part(index, part), out)?;
        }
        if let Some(text) = told {
            out.comma();
            write_text(text, false, None, out);
        }
        out.push(b"]}");
        Ok(())
    }
}

/// The messages of a request.
pub(super) struct History<'a> {
    request: &'a Request,
    ids: CallIds<'a>,
}

impl<'a> History<'a> {
    /// With the ids of its calls.
    pub fn of(request: &'a Request) -> Self {
        Self { request, ids: CallIds::of(request, |id| id.into()) }
    }

    /// Appends the messages as the items of a list.
    pub fn write(
        self,
        target: Target<'_>,
        names: &Names<'_>,
        losses: &mut Losses,
        out: &mut Output,
    ) -> Result<Instructions<'a>> {
        let Self { request, ids } = self;
        let generation = Generation::of(target.model);
        let leading = if is_gemma(target.model) {
            0
        } else {
            request.messages.iter().take_while(|message| message.role.is_instruction()).count()
        };
        let mut writer = Writer {
            messages: &request.messages,
            ids,
            calls: 0,
            turn: None,
            open: None,
            signs_calls: generation.at_least(3, 0),
            unsigned: Vec::new(),
            answers_with_media: generation.at_least(3, 0),
            names,
            losses,
            out,
        };
        for (index, message) in request.messages.iter().enumerate() {
            writer.message(index, message, index < leading)?;
        }
        writer.close(true)?;
        writer.complete(&request.messages[..leading])
    }
}

struct Writer<'a, 'b> {
    messages: &'a [Message],
    ids: CallIds<'a>,
    /// Calls so far.
    calls: usize,
    /// The open turn.
    turn: Option<Turn>,
    /// The calls of the last model turn, until they are answered.
    open: Option<UnansweredCalls>,
    /// From Gemini 3 on, the first call of each model turn since the user's last message must have a
    /// signature. Earlier calls without one get the stand-in too: the bytes of earlier turns must not change,
    /// because the provider caches them.
    signs_calls: bool,
    /// The calls since the user's last message that got the stand-in: message, and position among its calls.
    unsigned: Vec<(u32, u32)>,
    /// Results may contain media (Gemini 3 and later).
    answers_with_media: bool,
    names: &'b Names<'b>,
    losses: &'b mut Losses,
    out: &'b mut Output,
}

struct Turn {
    role: &'static str,
    has_call: bool,
}

/// Calls without results.
#[derive(Default)]
struct UnansweredCalls {
    /// The number of the first call; the others are numbered without gaps.
    first: usize,
    calls: Vec<CallPosition>,
    /// For each result: the index of its call, and its position.
    results: Vec<(u32, PartIndex)>,
    /// The user's messages that came before all results were given.
    later: Vec<u32>,
    later_is_from_user: bool,
}

/// The index of a message, and of a part of it.
type PartIndex = (u32, u32);

struct CallPosition {
    place: PartIndex,
    /// The position among the calls of its message.
    number: u32,
    is_answered: bool,
}

impl UnansweredCalls {
    fn is_untouched(&self) -> bool {
        self.later.is_empty() && self.results.is_empty()
    }

    fn is_complete(&self) -> bool {
        self.results.len() >= self.calls.len() && self.calls.iter().all(|call| call.is_answered)
    }
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, index: usize, message: &'a Message, leading: bool) -> Result<()> {
        if message.name.is_some() {
            let reason = "The provider has no names of participants.";
            self.losses.dropped(Field::of_message(index, MessageField::Name), reason);
        }
        match message.role {
            Role::System | Role::Developer if leading => {
                self.note_content(|part| Field::part(index, part), &message.parts);
                Ok(())
            }
            Role::System | Role::Developer => {
                if has_content(&message.parts) {
                    let reason = "Instructions inside the conversation are sent as the user's text.";
                    self.losses.approximated(Field::of_message(index, MessageField::Role), reason);
                }
                self.user(index, message, false)
            }
            Role::User => self.user(index, message, true),
            Role::Assistant => self.assistant(index, message),
            Role::Tool => self.tool(index, message),
        }
    }

    /// Records the losses of text and media of a message that is not the model's.
    fn note_content(&mut self, field: impl Fn(usize) -> Field, parts: &[Part]) {
        for (position, part) in parts.iter().enumerate() {
            self.note_mark(part);
            if let PartKind::Media(media) = &part.kind {
                self.note_media(media, field(position));
            }
        }
    }

    fn note_mark(&mut self, part: &Part) {
        if part.cache.is_some() {
            self.losses.dropped(Field::CacheMark, "The provider itself decides what it caches.");
        }
    }

    fn note_media(&mut self, media: &Media, field: Field) {
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            let detail = field.clone().with(PartField::Detail(media.kind));
            self.losses.dropped(detail, "The provider has no detail setting per image.");
        }
        if media.filename.is_some() {
            self.losses.dropped(field.with(PartField::Filename), "The provider does not accept file names.");
        }
    }

    /// A message of the user, held back while calls wait for results.
    fn user(&mut self, index: usize, message: &Message, is_from_user: bool) -> Result<()> {
        self.note_content(|part| Field::part(index, part), &message.parts);
        if !has_content(&message.parts) {
            return Ok(());
        }
        if self.open.as_ref().is_some_and(UnansweredCalls::is_complete) {
            self.close(false)?;
        }
        match &mut self.open {
            Some(open) => {
                room::push(&mut open.later, index as u32);
                open.later_is_from_user |= is_from_user;
                Ok(())
            }
            None => self.push_message(index, message, is_from_user),
        }
    }

    fn push_message(&mut self, index: usize, message: &Message, is_from_user: bool) -> Result<()> {
        self.begin(USER);
        if is_from_user {
            self.unsigned.clear();
        }
        write_content(&message.parts, |part| Field::part(index, part), self.out)
    }

    fn assistant(&mut self, index: usize, message: &'a Message) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| !open.is_untouched()) {
            self.close(false)?;
        }
        message.parts.iter().for_each(|part| self.note_mark(part));
        self.note_thinking(index, message);
        let mut is_empty = true;
        said_by_model(&message.parts, |_| {
            is_empty = false;
            Ok(())
        })?;
        if is_empty {
            return Ok(());
        }
        let calls = message.tool_calls().count();
        if calls == 0 {
            self.close(false)?;
        } else {
            let first = self.calls;
            let open =
                self.open.get_or_insert_with(|| UnansweredCalls { first, ..UnansweredCalls::default() });
            open.calls.reserve_exact(calls);
        }
        self.begin(MODEL);
        let mut number = 0;
        said_by_model(&message.parts, |said| {
            self.out.comma();
            match said {
                ModelPart::Text(text, signature) => write_text(text, false, signature, self.out),
                ModelPart::Thought(text, signature) => write_text(text, true, signature, self.out),
                ModelPart::Media(position, media) => {
                    return write_media(media, Field::part(index, position), self.out);
                }
                ModelPart::Call(position, call, signature) => {
                    let call = Calling { call, place: (index as u32, position as u32), number };
                    number += 1;
                    self.call(&call, signature);
                }
            }
            Ok(())
        })
    }

    fn call(&mut self, calling: &Calling<'_>, signature: Option<&str>) {
        let Calling { call, place, number } = *calling;
        let (args, wrapped) = arguments(call);
        if wrapped {
            let field = Field::call(place.0 as usize, number as usize, CallField::Arguments);
            self.losses.approximated(field, "The arguments are not a JSON object: they were wrapped in one.");
        }
        self.out.push(br#"{"functionCall":{"#);
        self.out.text("name", self.names.wire(&call.name));
        self.out.raw("args", args.get());
        self.out.push(b"}");
        let is_first = self.turn.as_mut().is_some_and(|turn| !std::mem::replace(&mut turn.has_call, true));
        let mut signature = signature;
        if is_first && self.signs_calls && signature.is_none() {
            signature = Some(SKIP_SIGNATURE);
            room::push(&mut self.unsigned, (place.0, number));
        }
        self.out.opt_text("thoughtSignature", signature);
        self.out.push(b"}");
        if let Some(open) = &mut self.open {
            open.calls.push(CallPosition { place, number, is_answered: false });
        }
        self.calls += 1;
    }

    fn note_thinking(&mut self, index: usize, message: &Message) {
        for (position, part) in message.parts.iter().enumerate() {
            let reason = match &part.kind {
                PartKind::Native(_) => OF_ANOTHER_FORMAT,
                PartKind::Reasoning(thought) if is_kept(thought, part.signature.as_deref()) => continue,
                PartKind::Reasoning(thought) => match thought.format.as_deref() {
                    Some(REASONING_FORMAT) | None => {
                        "Thinking without its signature is of no use to the model."
                    }
                    Some(_) => "The thinking of another family of models is of no use to this one.",
                },
                _ => continue,
            };
            self.losses.dropped(Field::thinking(index, position), reason);
        }
    }

    fn tool(&mut self, index: usize, message: &'a Message) -> Result<()> {
        for (position, part) in message.parts.iter().enumerate() {
            self.note_mark(part);
            if let PartKind::ToolResult(result) = &part.kind {
                self.result((index, position), result)?;
            }
        }
        Ok(())
    }

    fn result(&mut self, (index, position): (usize, usize), result: &ToolResult) -> Result<()> {
        let number = self.ids.answered((index, position));
        let waiting = self.open.as_ref().and_then(|open| {
            let waiting = number?.checked_sub(open.first)?;
            (waiting < open.calls.len()).then_some(waiting)
        });
        let (Some(waiting), Some(open)) = (waiting, &mut self.open) else {
            let message = format!(
                "The result does not answer a tool call of the assistant message before it: no call there has the id \"{}\".",
                result.call_id
            );
            return Err(Error::invalid(Field::of_message(index, MessageField::CallId), message));
        };
        open.calls[waiting].is_answered = true;
        room::push(&mut open.results, (waiting as u32, (index as u32, position as u32)));
        self.note_content(|part| Field::result_part(index, part), &result.content);
        Ok(())
    }

    /// Writes the turn that answers the open calls. The last calls of the conversation may stay without
    /// results.
    fn close(&mut self, at_end: bool) -> Result<()> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        if at_end && open.is_untouched() {
            return Ok(());
        }
        open.results.sort_by_key(|(waiting, _)| *waiting);
        self.begin(USER);
        let mut rest = &open.results[..];
        for (waiting, call) in open.calls.iter().enumerate() {
            let count = rest.iter().take_while(|(of, _)| *of as usize == waiting).count();
            let (answers, behind) = rest.split_at(count);
            rest = behind;
            self.answer(call, answers)?;
        }
        for (_, place) in &open.results {
            let within = self.answers_with_media;
            let (parts, field) = content_of(self.messages, *place);
            for (position, media) in
                media_of(parts).filter(|(_, media)| !(within && is_allowed_in_result(media)))
            {
                self.out.comma();
                write_media(media, field(position), self.out)?;
            }
        }
        for index in open.later {
            self.push_message(index as usize, &self.messages[index as usize], open.later_is_from_user)?;
        }
        Ok(())
    }

    /// Appends the result of a call, or its joined results.
    fn answer(&mut self, call: &CallPosition, results: &[(u32, PartIndex)]) -> Result<()> {
        self.out.comma();
        self.out.push(br#"{"functionResponse":{"#);
        let (message, part) = call.place;
        if let PartKind::ToolCall(call) = &self.messages[message as usize].parts[part as usize].kind {
            self.out.text("name", self.names.wire(&call.name));
        }
        if results.is_empty() {
            // The API requires a result for every call, and the caller gave none.
            let field = Field::call(message as usize, call.number as usize, CallField::Whole);
            self.losses.approximated(field, "The tool call has no result: it was sent as failed.");
            self.out.raw("response", r#"{"error":"The tool gave no result."}"#);
        } else {
            self.response(results)?;
        }
        self.out.push(b"}}");
        Ok(())
    }

    fn response(&mut self, results: &[(u32, PartIndex)]) -> Result<()> {
        let given = || results.iter().map(|(_, place)| content_of(self.messages, *place));
        let texts = given().flat_map(|(parts, _)| texts_of(parts));
        let is_error = results
            .iter()
            .any(|(_, place)| result_at(self.messages, *place).is_some_and(|result| result.is_error));
        self.out.key("response");
        write_response(&joined(texts), is_error, self.out);
        let (within, mut is_open) = (self.answers_with_media, false);
        for (parts, field) in given() {
            for (position, media) in
                media_of(parts).filter(|(_, media)| within && is_allowed_in_result(media))
            {
                if std::mem::replace(&mut is_open, true) {
                    self.out.push(b",")
                } else {
                    self.out.raw("parts", "[")
                }
                write_media(media, field(position), self.out)?;
            }
        }
        if is_open {
            self.out.push(b"]");
        }
        Ok(())
    }

    /// Continues the open turn if it has this role, otherwise begins one. A conversation begins with the
    /// user.
    fn begin(&mut self, role: &'static str) {
        match &self.turn {
            Some(turn) if turn.role == role => return,
            Some(_) => self.out.push(b"]},"),
            None if role == MODEL => {
                self.losses.approximated(
                    Field::message(0),
                    "A conversation must begin with the user: a user turn \".\" was added in front.",
                );
                self.out.push(br#"{"role":"user","parts":[{"text":"."}]},"#);
            }
            None => {}
        }
        self.turn = Some(Turn { role, has_call: false });
        self.out.push(b"{");
        self.out.text("role", role);
        self.out.raw("parts", "[");
    }

    /// Rules for the whole: a request needs more than instructions, and calls need signatures.
    fn complete(mut self, leading: &'a [Message]) -> Result<Instructions<'a>> {
        let is_alone = self.turn.is_none();
        if is_alone {
            if !leading.iter().any(|message| has_content(&message.parts)) {
                return Err(Error::invalid(
                    Field::Messages,
                    "There is nothing to answer: all messages are empty.",
                ));
            }
            self.losses.approximated(
                Field::of_message(0, MessageField::Role),
                "Instructions without a conversation were sent as a user turn.",
            );
            for (index, message) in leading.iter().enumerate().filter(|(_, one)| has_content(&one.parts)) {
                self.push_message(index, message, true)?;
            }
        }
        for (message, call) in self.unsigned {
            self.losses.approximated(
                Field::call(message as usize, call as usize, CallField::Whole),
                "The tool call has no thought signature of the model: the documented placeholder was sent.",
            );
        }
        self.out.push(b"]}");
        Ok(Instructions(if is_alone { &[] } else { leading }))
    }
}

/// A call with its place, and its position among the calls of the message.
struct Calling<'a> {
    call: &'a ToolCall,
    place: PartIndex,
    number: u32,
}

/// A part of the model's message, as it is written.
enum ModelPart<'a> {
    Text(&'a str, Option<&'a str>),
    Thought(&'a str, Option<&'a str>),
    Media(usize, &'a Media),
    Call(usize, &'a ToolCall, Option<&'a str>),
}

/// Calls back with the parts of a model's message in the order in which they are written. A signature without
/// a text of its own is attached to the next text. Without a following text it gets an empty one before the
/// calls, as the provider itself sends it.
fn said_by_model<'a>(parts: &'a [Part], mut on_part: impl FnMut(ModelPart<'a>) -> Result<()>) -> Result<()> {
    let mut waiting: Option<&str> = None;
    let mut has_called = false;
    for (position, part) in parts.iter().enumerate() {
        let signature = part.signature.as_deref();
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => {
                if signature.is_some() {
                    alone(waiting.take().filter(|_| !has_called), &mut on_part)?;
                }
                let signature = signature.or(waiting.take());
                if !text.trim().is_empty() || signature.is_some() {
                    on_part(ModelPart::Text(text, signature))?;
                }
            }
            PartKind::Media(media) => on_part(ModelPart::Media(position, media))?,
            PartKind::ToolCall(call) => {
                if !std::mem::replace(&mut has_called, true) {
                    for proof in unclaimed(waiting, &parts[position..]) {
                        alone(Some(proof), &mut on_part)?;
                    }
                }
                on_part(ModelPart::Call(position, call, signature))?;
            }
            PartKind::Reasoning(reasoning) if !is_kept(reasoning, signature) => {}
            PartKind::Reasoning(reasoning) if reasoning.text.is_empty() => {
                alone(waiting.take().filter(|_| !has_called), &mut on_part)?;
                waiting = signature;
            }
            PartKind::Reasoning(reasoning) => on_part(ModelPart::Thought(&reasoning.text, signature))?,
            PartKind::ToolResult(_) | PartKind::Native(_) => {}
        }
    }
    alone(waiting.filter(|_| !has_called), &mut on_part)
}

fn alone<'a>(
    signature: Option<&'a str>,
    on_part: &mut impl FnMut(ModelPart<'a>) -> Result<()>,
) -> Result<()> {
    signature.map_or(Ok(()), |signature| on_part(ModelPart::Text("", Some(signature))))
}

/// The signatures without a following text: the waiting one, and those of these parts.
fn unclaimed<'a>(waiting: Option<&'a str>, parts: &'a [Part]) -> impl Iterator<Item = &'a str> {
    let mut waiting = waiting;
    let next = move |part: &'a Part| {
        let signature = part.signature.as_deref();
        match &part.kind {
            PartKind::Text(_) | PartKind::Refusal(_) => waiting.take().filter(|_| signature.is_some()),
            PartKind::Reasoning(reasoning) if reasoning.text.is_empty() && is_kept(reasoning, signature) => {
                std::mem::replace(&mut waiting, signature)
            }
            _ => None,
        }
    };
    let last = last_waiting(waiting, parts);
    parts.iter().filter_map(next).chain(last)
}

fn last_waiting<'a>(waiting: Option<&'a str>, parts: &'a [Part]) -> Option<&'a str> {
    parts.iter().fold(waiting, |waiting, part| match &part.kind {
        PartKind::Text(_) | PartKind::Refusal(_) => None,
        PartKind::Reasoning(reasoning)
            if reasoning.text.is_empty() && is_kept(reasoning, part.signature.as_deref()) =>
        {
            part.signature.as_deref()
        }
        _ => waiting,
    })
}

/// Thoughts are sent back unchanged ("return the entire response with all parts"); most have no signature.
fn is_kept(reasoning: &Reasoning, signature: Option<&str>) -> bool {
    reasoning.format.as_deref() == Some(REASONING_FORMAT)
        && (signature.is_some() || !reasoning.text.is_empty())
}

/// Whether there is text or media to write.
fn has_content(parts: &[Part]) -> bool {
    parts.iter().any(|part| is_text(part).is_some() || matches!(part.kind, PartKind::Media(_)))
}

fn is_text(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => {
            Some(&**text).filter(|text| !text.trim().is_empty())
        }
        _ => None,
    }
}

fn texts_of(parts: &[Part]) -> impl Iterator<Item = &str> {
    parts.iter().filter_map(is_text)
}

fn media_of(parts: &[Part]) -> impl Iterator<Item = (usize, &Media)> {
    parts.iter().enumerate().filter_map(|(position, part)| match &part.kind {
        PartKind::Media(media) => Some((position, &**media)),
        _ => None,
    })
}

/// Whether a result may contain this file: pictures, PDF and plain text.
fn is_allowed_in_result(media: &Media) -> bool {
    const ACCEPTED: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];
    inline_mime(media).is_some_and(|mime| ACCEPTED.contains(&&*mime))
}

fn result_at(messages: &[Message], (message, part): PartIndex) -> Option<&ToolResult> {
    match &messages[message as usize].parts[part as usize].kind {
        PartKind::ToolResult(result) => Some(result),
        _ => None,
    }
}

/// The content of a result, and the fields of its parts.
fn content_of(messages: &[Message], place: PartIndex) -> (&[Part], impl Fn(usize) -> Field + use<>) {
    let parts = result_at(messages, place).map_or(&[][..], |result| &result.content);
    (parts, move |part| Field::result_part(place.0 as usize, part))
}

/// Appends text and media as parts of a turn.
fn write_content(parts: &[Part], field: impl Fn(usize) -> Field, out: &mut Output) -> Result<()> {
    for (position, part) in parts.iter().enumerate() {
        if let Some(text) = is_text(part) {
            out.comma();
            write_text(text, false, None, out);
        } else if let PartKind::Media(media) = &part.kind {
            out.comma();
            write_media(media, field(position), out)?;
        }
    }
    Ok(())
}

fn write_text(text: &str, is_thought: bool, signature: Option<&str>, out: &mut Output) {
    out.push(b"{");
    out.text("text", text);
    if is_thought {
        out.raw("thought", "true");
    }
    out.opt_text("thoughtSignature", signature);
    out.push(b"}");
}

fn write_media(media: &Media, field: Field, out: &mut Output) -> Result<()> {
    out.value(&media_part(media, field)?)
}

/// The arguments as a JSON object, and whether they were wrapped into one.
fn arguments(call: &ToolCall) -> (Cow<'_, RawValue>, bool) {
    let text = call.arguments.trim();
    if call.custom {
        return (raw(&json!({"input": call.arguments})), false);
    }
    if text.is_empty() {
        return (raw(&json!({})), false);
    }
    match as_object(text) {
        Some(object) => (Cow::Borrowed(object), false),
        None => {
            let value = serde_json::from_str(text).unwrap_or_else(|_| json!(call.arguments));
            (raw(&json!({"input": value})), true)
        }
    }
}

fn as_object(text: &str) -> Option<&RawValue> {
    if !text.starts_with('{') {
        return None;
    }
    serde_json::from_str::<&RawValue>(text).ok()
}

/// Appends an object, which the API requires. A result that is a JSON object stays unchanged.
fn write_response(text: &str, is_error: bool, out: &mut Output) {
    let trimmed = text.trim();
    let is_json = |opening: char| {
        !is_error && trimmed.starts_with(opening) && serde_json::from_str::<&RawValue>(trimmed).is_ok()
    };
    if is_json('{') {
        return out.push(trimmed.as_bytes());
    }
    out.push(b"{");
    if is_error {
        out.text("error", text);
    } else if is_json('[') {
        out.raw("output", trimmed);
    } else {
        out.text("output", text);
    }
    out.push(b"}");
}

fn raw<T: serde::Serialize>(value: &T) -> Cow<'static, RawValue> {
    match to_raw_value(value) {
        Ok(raw) => Cow::Owned(raw),
        Err(_) => Cow::Owned(RawValue::NULL.to_owned()),
    }
}

fn joined<'a>(mut texts: impl Iterator<Item = &'a str>) -> Cow<'a, str> {
    let Some(first) = texts.next() else { return Cow::Borrowed("") };
    texts.fold(Cow::Borrowed(first), |all, text| all + text)
}
