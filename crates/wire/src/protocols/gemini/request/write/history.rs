//! The conversation as Gemini's turns.
//!
//! There are two roles, `user` and `model`. Consecutive turns of one role are one turn. The calls of a model
//! turn are answered in the very next turn: as many results as calls, in the same order, matched by name.
//! Leading instructions are separate; later ones become text of the user, but never between calls and their
//! results.

use std::borrow::Cow;

use canon::{
    CallField, Error, Field, Losses, Message, MessageField, PartField, Reasoning, Request, Result, Role,
    Target,
};
use canon::{Part as Given, PartKind, ToolCall, ToolResult};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use super::media::media_part;
use super::names::Names;
use crate::json::room;
use crate::protocols::call_ids::CallIds;
use crate::protocols::gemini::model::{Generation, is_gemma};
use crate::protocols::gemini::request::types::{
    Call, Content, Instruction, Kind, MODEL, Part, Response, USER,
};
use crate::protocols::gemini::{REASONING_FORMAT, SKIP_SIGNATURE};

/// The translated messages.
#[derive(Debug)]
pub(super) struct History<'a> {
    pub instruction: Option<Instruction<'a>>,
    pub contents: Vec<Content<'a>>,
}

/// Translates the messages.
pub(super) fn history<'a>(
    request: &'a Request,
    target: Target<'_>,
    names: &mut Names,
    losses: &mut Losses,
) -> Result<History<'a>> {
    let takes_instruction = !is_gemma(target.model);
    let generation = Generation::of(target.model);
    let mut writer = Writer {
        ids: CallIds::of(request, |id| id.into()),
        calls: 0,
        instruction: Instruction::default(),
        contents: Vec::new(),
        open: None,
        answers_with_media: generation.at_least(3, 0),
        names,
        losses,
    };
    let mut leading = takes_instruction;
    for (index, message) in request.messages.iter().enumerate() {
        leading &= message.role.is_instruction();
        writer.message(index, message, leading)?;
    }
    writer.close(true);
    writer.complete(generation.at_least(3, 0))
}

struct Writer<'a, 'b> {
    ids: CallIds<'a>,
    /// Calls so far.
    calls: usize,
    instruction: Instruction<'a>,
    contents: Vec<Content<'a>>,
    /// The calls of the last model turn, until they are answered.
    open: Option<Open<'a>>,
    /// Results may contain media themselves (Gemini 3 and later).
    answers_with_media: bool,
    names: &'b mut Names,
    losses: &'b mut Losses,
}

/// Calls without results.
#[derive(Default)]
struct Open<'a> {
    /// The index of the first call; the others follow without gaps.
    first: usize,
    calls: Vec<Waiting<'a>>,
    /// Content of the user before all results arrived.
    later: Vec<Part<'a>>,
    later_is_from_user: bool,
}

struct Waiting<'a> {
    name: Cow<'a, str>,
    origin: (u32, u32),
    answer: Option<Answer<'a>>,
}

/// The result of a tool: the parts of one or several results.
#[derive(Default)]
struct Answer<'a> {
    parts: Vec<Part<'a>>,
    is_error: bool,
}

impl Open<'_> {
    fn is_untouched(&self) -> bool {
        self.later.is_empty() && self.calls.iter().all(|call| call.answer.is_none())
    }

    fn is_complete(&self) -> bool {
        self.calls.iter().all(|call| call.answer.is_some())
    }
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, index: usize, message: &'a Message, leading: bool) -> Result<()> {
        if message.name.is_some() {
            let reason = "The provider has no names of participants.";
            self.losses.dropped(Field::of_message(index, MessageField::Name), reason);
        }
        match message.role {
            Role::System | Role::Developer if leading => self.lead(index, message),
            Role::System | Role::Developer => self.instruct_later(index, message),
            Role::User => {
                let parts = self.content(|part| Field::part(index, part), &message.parts)?;
                self.user(parts, true);
                Ok(())
            }
            Role::Assistant => self.assistant(index, message),
            Role::Tool => self.tool(index, message),
        }
    }

    fn lead(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let parts = self.content(|part| Field::part(index, part), &message.parts)?;
        append(&mut self.instruction.parts, parts);
        Ok(())
    }

    fn instruct_later(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let parts = self.content(|part| Field::part(index, part), &message.parts)?;
        if !parts.is_empty() {
            let reason = "Instructions inside of the conversation are told as the user's text.";
            self.losses.approximated(Field::of_message(index, MessageField::Role), reason);
        }
        self.user(parts, false);
        Ok(())
    }

    /// Text and media of a message that is not the model's.
    fn content(&mut self, field: impl Fn(usize) -> Field, given: &'a [Given]) -> Result<Vec<Part<'a>>> {
        let mut parts = Vec::with_capacity(given.len());
        for (position, part) in given.iter().enumerate() {
            self.note_marks(part);
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) if text.trim().is_empty() => {}
                PartKind::Text(text) | PartKind::Refusal(text) => parts.push(Part::text(&**text)),
                PartKind::Media(media) => {
                    self.note_media(media, field(position));
                    parts.push(media_part(media, field(position))?);
                }
                PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Reasoning(_) => {}
            }
        }
        Ok(parts)
    }

    fn note_marks(&mut self, part: &Given) {
        if part.cache.is_some() {
            self.losses.dropped(Field::CacheMark, "The provider decides itself what it caches.");
        }
    }

    fn note_media(&mut self, media: &canon::Media, field: Field) {
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            let detail = field.clone().with(PartField::Detail(media.kind));
            self.losses.dropped(detail, "The provider has no detail of single pictures.");
        }
        if media.filename.is_some() {
            self.losses.dropped(field.with(PartField::Filename), "The provider takes no file names.");
        }
    }

    /// Content of the user; held back while calls wait for results.
    fn user(&mut self, parts: Vec<Part<'a>>, is_from_user: bool) {
        if parts.is_empty() {
            return;
        }
        if self.open.as_ref().is_some_and(Open::is_complete) {
            self.close(false);
        }
        match &mut self.open {
            Some(open) => {
                append(&mut open.later, parts);
                open.later_is_from_user |= is_from_user;
            }
            None => self.turn(USER, parts, is_from_user),
        }
    }

    fn assistant(&mut self, index: usize, message: &'a Message) -> Result<()> {
        if self.open.as_ref().is_some_and(|open| !open.is_untouched()) {
            self.close(false);
        }
        let calls = message.tool_calls().count();
        let mut turn = ModelTurn {
            parts: Vec::with_capacity(message.parts.len()),
            calls: Vec::with_capacity(calls),
            signature: None,
        };
        for (position, part) in message.parts.iter().enumerate() {
            self.note_marks(part);
            let signature = part.signature.as_deref();
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => turn.text(text, signature),
                PartKind::Media(media) => turn.parts.push(media_part(media, Field::part(index, position))?),
                PartKind::ToolCall(call) => self.call(index, call, signature, &mut turn),
                PartKind::Reasoning(reasoning) => {
                    self.reasoning(Field::thinking(index, position), reasoning, signature, &mut turn)
                }
                PartKind::ToolResult(_) => {}
            }
        }
        turn.flush_signature();
        if turn.parts.is_empty() {
            return Ok(());
        }
        if turn.calls.is_empty() {
            self.close(false);
        } else {
            let first = self.calls - turn.calls.len();
            let open = self.open.get_or_insert_with(|| Open { first, ..Open::default() });
            append(&mut open.calls, turn.calls);
        }
        self.turn(MODEL, turn.parts, false);
        Ok(())
    }

    fn call(
        &mut self,
        index: usize,
        call: &'a ToolCall,
        signature: Option<&'a str>,
        turn: &mut ModelTurn<'a>,
    ) {
        let origin = (index as u32, turn.calls.len() as u32);
        let name = self.names.wire(&call.name);
        let (args, wrapped) = arguments(call);
        if wrapped {
            let field = Field::call(index, turn.calls.len(), CallField::Arguments);
            self.losses.approximated(field, "Arguments that are no JSON object are sent inside of one.");
        }
        let call = Kind::Call(Box::new(Call { name: name.clone(), args, origin }));
        turn.parts.push(Part { thought_signature: signature, ..call.into() });
        turn.calls.push(Waiting { name, origin, answer: None });
        self.calls += 1;
    }

    fn reasoning(
        &mut self,
        field: Field,
        reasoning: &'a Reasoning,
        signature: Option<&'a str>,
        turn: &mut ModelTurn<'a>,
    ) {
        match (reasoning.format.as_deref(), signature) {
            (Some(REASONING_FORMAT), Some(signature)) if reasoning.text.is_empty() => {
                turn.flush_signature();
                turn.signature = Some(signature);
            }
            // Thoughts are returned unchanged ("return the entire response with all parts"), most of them
            // unsigned.
            (Some(REASONING_FORMAT), signature) if signature.is_some() || !reasoning.text.is_empty() => {
                let text = Part::text(reasoning.text.as_str());
                turn.parts.push(Part { thought: true, thought_signature: signature, ..text });
            }
            (Some(REASONING_FORMAT) | None, _) => {
                self.losses.dropped(field, "Thinking without its signature is of no use to the model.");
            }
            (Some(_), _) => {
                self.losses
                    .dropped(field, "The thinking of another family of models is of no use to this one.");
            }
        }
    }

    fn tool(&mut self, index: usize, message: &'a Message) -> Result<()> {
        for (position, part) in message.parts.iter().enumerate() {
            self.note_marks(part);
            if let PartKind::ToolResult(result) = &part.kind {
                self.result((index, position), result)?;
            }
        }
        Ok(())
    }

    fn result(&mut self, (index, position): (usize, usize), result: &'a ToolResult) -> Result<()> {
        let number = self.ids.answered((index, position));
        let waiting = self.open.as_ref().and_then(|open| {
            let waiting = number?.checked_sub(open.first)?;
            (waiting < open.calls.len()).then_some(waiting)
        });
        let Some(waiting) = waiting else {
            let message = format!(
                "The result does not answer a tool call of the assistant message before it: no call there has the id \"{}\".",
                result.call_id
            );
            return Err(Error::invalid(Field::of_message(index, MessageField::CallId), message));
        };
        let parts = self.content(|part| Field::result_part(index, part), &result.content)?;
        let Some(open) = &mut self.open else { return Ok(()) };
        let answer = open.calls[waiting].answer.get_or_insert_default();
        append(&mut answer.parts, parts);
        answer.is_error |= result.is_error;
        Ok(())
    }

    /// The part with a tool's result, and the media beside it.
    fn response(&self, name: Cow<'a, str>, answer: Answer<'a>) -> (Part<'a>, Vec<Part<'a>>) {
        let (texts, mut media): (Vec<_>, Vec<_>) =
            answer.parts.into_iter().partition(|part| part.as_text().is_some());
        let parts = if self.answers_with_media { take_within(&mut media) } else { Vec::new() };
        let response = Response { name, response: response_object(joined(texts), answer.is_error), parts };
        (Kind::Response(Box::new(response)).into(), media)
    }

    /// Writes the turn that answers the open calls. At the end of the conversation calls may stay unanswered.
    fn close(&mut self, at_end: bool) {
        let Some(open) = self.open.take() else { return };
        if at_end && open.is_untouched() {
            return;
        }
        let mut parts = Vec::with_capacity(open.calls.len());
        let mut beside = Vec::new();
        for call in open.calls {
            match call.answer {
                Some(answer) => {
                    let (part, media) = self.response(call.name, answer);
                    parts.push(part);
                    beside.extend(media);
                }
                None => parts.push(self.missing(call.name, call.origin)),
            }
        }
        parts.append(&mut beside);
        self.turn(USER, parts, false);
        self.turn(USER, open.later, open.later_is_from_user);
    }

    /// Every call needs a result: this is the placeholder for a missing one.
    fn missing(&mut self, name: Cow<'a, str>, (message, call): (u32, u32)) -> Part<'a> {
        let field = Field::call(message as usize, call as usize, CallField::Whole);
        self.losses.approximated(field, "The call has no result: it is told as failed.");
        let response = raw(&json!({"error": "The tool gave no result."}));
        let response = Response { name, response, parts: Vec::new() };
        Kind::Response(Box::new(response)).into()
    }

    /// Adds to the last turn if it is of the same role.
    fn turn(&mut self, role: &'static str, parts: Vec<Part<'a>>, is_from_user: bool) {
        if parts.is_empty() {
            return;
        }
        match self.contents.last_mut() {
            Some(last) if last.role == role => {
                append(&mut last.parts, parts);
                last.is_from_user |= is_from_user;
            }
            _ => room::push(&mut self.contents, Content { role, parts, is_from_user }),
        }
    }

    /// The rules for the whole: a user's turn first, instructions never alone, signed calls.
    fn complete(mut self, wants_signatures: bool) -> Result<History<'a>> {
        if self.contents.is_empty() {
            let parts = std::mem::take(&mut self.instruction.parts);
            if parts.is_empty() {
                return Err(Error::invalid(
                    Field::Messages,
                    "There is nothing to answer: all messages are empty.",
                ));
            }
            self.losses.approximated(
                Field::of_message(0, MessageField::Role),
                "Instructions alone are told as the user's text.",
            );
            self.turn(USER, parts, true);
        }
        if self.contents[0].role == MODEL {
            self.losses
                .approximated(Field::message(0), "A conversation begins with the user: \".\" was put first.");
            self.contents.insert(0, Content { role: USER, parts: vec![Part::text(".")], is_from_user: true });
        }
        if wants_signatures {
            self.sign_calls();
        }
        let instruction = Some(self.instruction).filter(|instruction| !instruction.parts.is_empty());
        Ok(History { instruction, contents: self.contents })
    }

    /// From Gemini 3 on the first call of each turn since the user's last message must have its signature.
    /// Earlier calls get the placeholder too, so that the sent prefix stays the same for the provider's
    /// cache.
    fn sign_calls(&mut self) {
        let start = self.contents.iter().rposition(|content| content.is_from_user).unwrap_or(0);
        for (position, content) in self.contents.iter_mut().enumerate() {
            let Some(part) = content.parts.iter_mut().find(|part| part.is_call()) else { continue };
            if let (Kind::Call(found), None) = (&part.kind, part.thought_signature) {
                let (message, call) = found.origin;
                part.thought_signature = Some(SKIP_SIGNATURE);
                if position < start {
                    continue;
                }
                self.losses.approximated(
                    Field::call(message as usize, call as usize, CallField::Whole),
                    "The call has no thought signature of the model: the documented stand-in is sent.",
                );
            }
        }
    }
}

fn append<T>(list: &mut Vec<T>, mut more: Vec<T>) {
    room::append(list, &mut more);
}

/// A turn of the model under construction.
struct ModelTurn<'a> {
    parts: Vec<Part<'a>>,
    calls: Vec<Waiting<'a>>,
    /// A signature that belongs to the next text.
    signature: Option<&'a str>,
}

impl<'a> ModelTurn<'a> {
    fn text(&mut self, text: &'a str, signature: Option<&'a str>) {
        if signature.is_some() {
            self.flush_signature();
        }
        let signature = signature.or(self.signature.take());
        if text.trim().is_empty() && signature.is_none() {
            return;
        }
        self.parts.push(Part { thought_signature: signature, ..Part::text(text) });
    }

    /// A signature without a following text is sent on an empty one, as the provider itself does.
    fn flush_signature(&mut self) {
        if let Some(signature) = self.signature.take() {
            let part = Part { thought_signature: Some(signature), ..Part::text("") };
            let calls = self.parts.iter().position(Part::is_call);
            self.parts.insert(calls.unwrap_or(self.parts.len()), part);
        }
    }
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

/// `response` must be an object. A result that is one stays unchanged.
fn response_object(text: Cow<'_, str>, is_error: bool) -> Cow<'_, RawValue> {
    if is_error {
        return raw(&json!({"error": text}));
    }
    let trimmed = text.trim();
    if as_object(trimmed).is_some() {
        return match text {
            Cow::Borrowed(text) => as_object(text.trim()).map_or_else(|| raw(&json!({})), Cow::Borrowed),
            Cow::Owned(ref text) => {
                as_object(text.trim()).map_or_else(|| raw(&json!({})), |object| Cow::Owned(object.to_owned()))
            }
        };
    }
    if trimmed.starts_with('[')
        && let Ok(list) = serde_json::from_str::<&RawValue>(trimmed)
    {
        return raw(&Output { output: list });
    }
    raw(&json!({"output": text}))
}

#[derive(serde::Serialize)]
struct Output<'a> {
    output: &'a RawValue,
}

fn raw<T: serde::Serialize>(value: &T) -> Cow<'static, RawValue> {
    match to_raw_value(value) {
        Ok(raw) => Cow::Owned(raw),
        Err(_) => Cow::Owned(RawValue::NULL.to_owned()),
    }
}

fn joined(parts: Vec<Part<'_>>) -> Cow<'_, str> {
    let mut texts = parts.into_iter().filter_map(|part| match part.kind {
        Kind::Text(text) => Some(text),
        _ => None,
    });
    let Some(first) = texts.next() else { return Cow::Borrowed("") };
    texts.fold(first, |all, text| all + text)
}

/// The media that a result may contain itself: images, PDF and plain text.
fn take_within<'a>(media: &mut Vec<Part<'a>>) -> Vec<Part<'a>> {
    let fits = |part: &Part<'_>| match &part.kind {
        Kind::Inline(blob) => {
            let accepted = ["image/png", "image/jpeg", "image/webp", "application/pdf", "text/plain"];
            accepted.contains(&blob.mime_type.as_ref())
        }
        _ => false,
    };
    let (within, beside) = std::mem::take(media).into_iter().partition(fits);
    *media = beside;
    within
}
