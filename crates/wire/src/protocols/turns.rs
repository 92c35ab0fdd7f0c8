//! Strictly alternating turns, for formats that require the results of calls first in the user's turn and
//! calls last in the model's.
//!
//! A conversation may consist of very short messages. Turns therefore store only positions in the request,
//! and each block is read from there when it is written.

use std::ops::Range;

use canon::{
    Error, Field, Message, MessageField, Part, PartKind, Request, Result, Role, ToolCall, ToolResult,
};

use super::call_ids::CallIds;
use crate::json::room;

/// The position of a part: the message, and the part in it.
pub(super) type PartPosition = (usize, usize);

/// The turns of a request.
pub(super) struct Turns<'a> {
    messages: &'a [Message],
    pub ids: CallIds<'a>,
    turns: Vec<Start>,
    /// The call that each result answers, and the result's position, in the order of the calls.
    results: Vec<(u32, (u32, u32))>,
    /// The number of messages before the first turn.
    leading: usize,
}

/// The beginning of a turn.
struct Start {
    message: u32,
    /// The number of calls before it.
    calls: u32,
    is_users: bool,
}

pub(super) struct Turn<'t> {
    pub is_users: bool,
    messages: Range<usize>,
    /// The number of its first call.
    first_call: usize,
    results: &'t [(u32, (u32, u32))],
}

impl<'a> Turns<'a> {
    /// The turns of a request. `is_content` decides whether a part that is neither a call nor a result is
    /// written at all.
    pub fn of(request: &'a Request, ids: CallIds<'a>, is_content: impl Fn(&Part) -> bool) -> Result<Self> {
        let messages = &request.messages[..];
        let mut found = Self { messages, ids, turns: Vec::new(), results: Vec::new(), leading: 0 };
        let mut calls = 0;
        for (index, message) in messages.iter().enumerate() {
            let is_users = message.role != Role::Assistant;
            for (position, part) in message.parts.iter().enumerate() {
                match &part.kind {
                    PartKind::ToolCall(_) => {
                        found.begin(false, index, calls);
                        calls += 1;
                    }
                    PartKind::ToolResult(result) => found.result((index, position), result, calls)?,
                    _ if message.role.is_instruction() && found.turns.is_empty() => {}
                    _ if is_content(part) => found.begin(is_users, index, calls),
                    _ => {}
                }
            }
            if found.turns.is_empty() {
                found.leading = index + 1;
            }
        }
        found.results.sort_by_key(|(call, _)| *call);
        Ok(found)
    }

    fn begin(&mut self, is_users: bool, message: usize, calls: u32) {
        if self.turns.last().is_none_or(|turn| turn.is_users != is_users) {
            room::push(&mut self.turns, Start { message: message as u32, calls, is_users });
        }
    }

    /// A result belongs to the turn after its call, at any position in the request.
    fn result(&mut self, place: PartPosition, result: &ToolResult, calls: u32) -> Result<()> {
        let number = self.ids.answered(place).map(|number| number as u32).filter(|number| *number < calls);
        let Some(number) = number else {
            let message =
                format!("No assistant message before this one has a tool call {:?}.", result.call_id);
            return Err(Error::invalid(Field::of_message(place.0, MessageField::CallId), message));
        };
        if self.turns.last().is_some_and(|turn| !turn.is_users && turn.calls <= number) {
            self.begin(true, place.0, calls);
        }
        room::push(&mut self.results, (number, (place.0 as u32, place.1 as u32)));
        Ok(())
    }

    /// The messages before the first turn.
    pub fn leading(&self) -> &'a [Message] {
        &self.messages[..self.leading]
    }

    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// The turns in order.
    pub fn iter(&self) -> impl Iterator<Item = Turn<'_>> {
        let mut results = &self.results[..];
        self.turns.iter().enumerate().map(move |(at, turn)| {
            let next = self.turns.get(at + 1).map_or(self.messages.len(), |next| next.message as usize);
            let mut of_turn = &results[..0];
            if turn.is_users {
                let count = results.partition_point(|(call, _)| *call < turn.calls);
                (of_turn, results) = results.split_at(count);
            }
            Turn {
                is_users: turn.is_users,
                // The message that begins the next turn may contain parts of this turn before it.
                messages: turn.message as usize..next,
                first_call: turn.calls as usize,
                results: of_turn,
            }
        })
    }

    /// The results of a turn in the order of their calls: the index of each call, and all its results.
    pub fn results<'t>(&self, turn: &Turn<'t>) -> impl Iterator<Item = (usize, ResultsOf<'a, 't>)> {
        let messages = self.messages;
        turn.results
            .chunk_by(|one, other| one.0 == other.0)
            .map(move |places| (places[0].0 as usize, ResultsOf { messages, places }))
    }

    /// The parts of a turn that are neither calls nor results, with their places.
    pub fn parts(&self, turn: &Turn<'_>) -> impl Iterator<Item = (PartPosition, &'a Part)> {
        let is_users = turn.is_users;
        self.parts_of(turn).filter(move |((message, _), part)| {
            let is_other = matches!(part.kind, PartKind::ToolCall(_) | PartKind::ToolResult(_));
            !is_other && (self.messages[*message].role != Role::Assistant) == is_users
        })
    }

    /// The calls of a turn with their places and numbers.
    pub fn calls(
        &self,
        turn: &Turn<'_>,
    ) -> impl Iterator<Item = (PartPosition, usize, &'a Part, &'a ToolCall)> {
        let calls = self.parts_of(turn).filter_map(|(place, part)| match &part.kind {
            PartKind::ToolCall(call) => Some((place, part, &**call)),
            _ => None,
        });
        let numbered = calls.zip(turn.first_call..);
        numbered.map(|((place, part, call), number)| (place, number, part, call))
    }

    fn parts_of(&self, turn: &Turn<'_>) -> impl Iterator<Item = (PartPosition, &'a Part)> + use<'a> {
        let messages = self.messages;
        turn.messages.clone().flat_map(move |index| {
            let parts = messages[index].parts.iter().enumerate();
            parts.map(move |(position, part)| ((index, position), part))
        })
    }
}

/// The results of one call.
#[derive(Clone, Copy)]
pub(super) struct ResultsOf<'a, 't> {
    messages: &'a [Message],
    places: &'t [(u32, (u32, u32))],
}

impl<'a, 't> ResultsOf<'a, 't> {
    /// Each result with its position and its part.
    pub fn iter(&self) -> impl Iterator<Item = (PartPosition, &'a Part, &'a ToolResult)> + use<'a, 't> {
        let messages = self.messages;
        self.places.iter().filter_map(move |(_, (message, position))| {
            let place = (*message as usize, *position as usize);
            let part = &messages[place.0].parts[place.1];
            match &part.kind {
                PartKind::ToolResult(result) => Some((place, part, &**result)),
                _ => None,
            }
        })
    }

    /// The content of the results: each part with its field.
    pub fn content(&self) -> impl Iterator<Item = (Field, &'a Part)> + use<'a, 't> {
        self.iter().flat_map(|((message, _), _, result)| {
            let parts = result.content.iter().enumerate();
            parts.map(move |(position, part)| (Field::result_part(message, position), part))
        })
    }
}
