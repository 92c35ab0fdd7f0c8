//! Pairs results with calls, and gives each call an id that no other call of the request has.
//!
//! Callers repeat ids: some models number their calls from the start in each turn (`call_0`), some give the
//! calls of one turn the same id or none. Formats with strict ids refuse that, and others mix up the results.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use canon::{PartKind, Request, Role};

/// Writes an id in the alphabet and the length of a format. Different ids may become equal.
pub(super) type IdForm = fn(&str) -> Cow<'_, str>;

/// No call.
const NONE: u32 = u32::MAX;

/// Longer ids are not kept for the answer: no provider makes ids of this length, so no call of an answer can
/// repeat one.
pub(crate) const LONGEST_KEPT: usize = 512;

/// Pairs results with calls, in the order of the conversation. A conversation may consist of calls: each
/// takes about 20 bytes besides the entry of its id.
#[derive(Debug, Default)]
pub(super) struct Pairing<'a> {
    turn: u32,
    /// There was a call since the last result or message of the user.
    in_turn: bool,
    by_id: BTreeMap<Cow<'a, str>, CallsOfId>,
    calls: Vec<Call>,
    /// The first call of the current turn that may lack a result, for results without an id.
    first: u32,
}

/// The calls of one id.
#[derive(Clone, Copy, Debug)]
struct CallsOfId {
    /// The first one that may lack a result, in the newest turn that has one.
    open: u32,
    last: u32,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    turn: u32,
    /// The next call of this id in this turn.
    next: u32,
    /// The first open call of this id in an older turn.
    older: u32,
    is_answered: bool,
}

impl<'a> Pairing<'a> {
    /// Anything but a call: the following calls belong to another turn.
    pub fn turn_ends(&mut self) {
        self.in_turn = false;
    }

    /// The next call.
    pub fn call(&mut self, id: Cow<'a, str>) {
        let number = self.calls.len() as u32;
        if !self.in_turn {
            self.in_turn = true;
            self.turn += 1;
            self.first = number;
        }
        let mut call = Call { turn: self.turn, next: NONE, older: NONE, is_answered: false };
        let same = self.by_id.entry(id).or_insert(CallsOfId { open: NONE, last: NONE });
        match self.calls.get(same.open as usize) {
            Some(open) if open.turn == self.turn => self.calls[same.last as usize].next = number,
            _ => {
                call.older = same.open;
                same.open = number;
            }
        }
        same.last = number;
        self.calls.push(call);
    }

    /// The call that a result with this id answers: the first call with this id and without a result, in the
    /// newest turn that has one. A second result goes to the call of the first one. Where the id is missing
    /// on one side, the order decides.
    pub fn result(&mut self, id: &str) -> Option<usize> {
        let found = self
            .first_open(id)
            .or_else(|| self.by_id.get(id).map(|same| same.last as usize))
            .or_else(|| if id.is_empty() { self.first_of_turn() } else { self.first_open("") })?;
        self.calls[found].is_answered = true;
        Some(found)
    }

    fn first_open(&mut self, id: &str) -> Option<usize> {
        let same = self.by_id.get_mut(id)?;
        while let Some(call) = self.calls.get(same.open as usize).copied() {
            let number = same.open as usize;
            same.open = call.next;
            match self.calls.get_mut(call.next as usize) {
                Some(next) => next.older = call.older,
                None => same.open = call.older,
            }
            if !call.is_answered {
                return Some(number);
            }
        }
        None
    }

    fn first_of_turn(&mut self) -> Option<usize> {
        while let Some(call) = self.calls.get(self.first as usize) {
            let number = self.first as usize;
            self.first += 1;
            if !call.is_answered {
                return Some(number);
            }
        }
        None
    }
}

/// Makes ids unique. When turns are added to a conversation, the earlier ids stay the same, so that the
/// provider's cache stays valid.
pub(super) struct UniqueIds<'a> {
    form: IdForm,
    taken: BTreeSet<Cow<'a, str>>,
    /// How often an id was written, so that the search for a free one starts after the last.
    counts: BTreeMap<Cow<'a, str>, u32>,
}

impl<'a> UniqueIds<'a> {
    pub fn new(form: IdForm) -> Self {
        Self { form, taken: BTreeSet::new(), counts: BTreeMap::new() }
    }

    /// The id in the format's form, or a free one.
    pub fn next(&mut self, id: &'a str) -> Cow<'a, str> {
        let first = (self.form)(id);
        self.free(id, first)
    }

    /// The same for a temporary id.
    pub fn next_owned(&mut self, id: &str) -> Cow<'a, str> {
        let first = (self.form)(id).into_owned();
        self.free(id, first.into())
    }

    fn free(&mut self, id: &str, first: Cow<'a, str>) -> Cow<'a, str> {
        if self.taken.insert(first.clone()) {
            return first;
        }
        let count = self.counts.entry(first).or_insert(1);
        loop {
            *count += 1;
            let candidate = (self.form)(&format!("{id}_{count}")).into_owned();
            if self.taken.insert(candidate.clone().into()) {
                return candidate.into();
            }
        }
    }
}

/// A position in a request: the message, and the part in it.
type PartPosition = (usize, usize);
/// The same in half the memory.
type Short = (u32, u32);

fn short((message, part): PartPosition) -> Short {
    (message as u32, part as u32)
}

/// The calls of a request and the results that answer them.
#[derive(Debug, Default)]
pub(super) struct CallIds<'a> {
    ids: Vec<Cow<'a, str>>,
    calls: Vec<Short>,
    results: Vec<(Short, Option<u32>)>,
}

impl<'a> CallIds<'a> {
    /// The calls of a request, with ids in this form.
    pub fn of(request: &'a Request, form: IdForm) -> Self {
        let mut found = Self::with_room_for(request);
        let mut pairing = Pairing::default();
        pairing.calls.reserve_exact(found.calls.capacity());
        let mut unique = UniqueIds::new(form);
        for (index, message) in request.messages.iter().enumerate() {
            if matches!(message.role, Role::User | Role::Tool) {
                pairing.turn_ends();
            }
            for (position, part) in message.parts.iter().enumerate() {
                let place = short((index, position));
                match &part.kind {
                    PartKind::ToolCall(call) => {
                        pairing.call(Cow::Borrowed(&call.id));
                        found.calls.push(place);
                        found.ids.push(unique.next(&call.id));
                    }
                    PartKind::ToolResult(result) => {
                        let call = pairing.result(&result.call_id).map(|call| call as u32);
                        found.results.push((place, call));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    fn with_room_for(request: &Request) -> Self {
        let parts = || request.messages.iter().flat_map(|message| &message.parts);
        let calls = parts().filter(|part| matches!(part.kind, PartKind::ToolCall(_))).count();
        let results = parts().filter(|part| matches!(part.kind, PartKind::ToolResult(_))).count();
        Self {
            ids: Vec::with_capacity(calls),
            calls: Vec::with_capacity(calls),
            results: Vec::with_capacity(results),
        }
    }

    /// The id on the wire of the call at this place.
    pub fn id_at(&self, place: PartPosition) -> &str {
        let found = self.calls.binary_search(&short(place));
        found.map_or("", |number| self.id(number))
    }

    /// The index of the call that the result at this position answers.
    pub fn answered(&self, place: PartPosition) -> Option<usize> {
        let found = self.results.binary_search_by_key(&short(place), |(place, _)| *place).ok()?;
        self.results[found].1.map(|call| call as usize)
    }

    /// The id of a call on the wire.
    pub fn id(&self, number: usize) -> &str {
        self.ids.get(number).map_or("", |id| id)
    }

    /// The same as an owned value.
    pub fn kept_id(&self, number: usize) -> Cow<'a, str> {
        self.ids.get(number).cloned().unwrap_or_default()
    }
}

/// Sixteen hexadecimal digits of the FNV-1a hash: identifies a text that was shortened or cleaned.
pub(crate) fn mark_of(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// An id of at most `longest` characters of an alphabet. A changed id ends with a hash of the whole id.
pub(super) fn clean(id: &str, longest: usize, is_allowed: impl Fn(u8) -> bool) -> Cow<'_, str> {
    if !id.is_empty() && id.len() <= longest && id.bytes().all(&is_allowed) {
        return id.into();
    }
    if id.is_empty() {
        return "call".into();
    }
    let kept = id.bytes().filter(|byte| is_allowed(*byte)).map(char::from);
    let start: String = kept.take(longest - 17).collect();
    format!("{start}_{}", mark_of(id)).into()
}

/// For formats without a rule: any non-empty printable text of a sensible length.
pub(super) fn plain_id(id: &str) -> Cow<'_, str> {
    clean(id, 64, |byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The events, and the call that each result answers.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [Option<usize>]);

    fn pairs(story: &[(&str, &str)]) -> Vec<Option<usize>> {
        let mut pairing = Pairing::default();
        let mut found = Vec::new();
        for (what, id) in story {
            match *what {
                "call" => pairing.call((*id).into()),
                "result" => {
                    pairing.turn_ends();
                    found.push(pairing.result(id));
                }
                _ => pairing.turn_ends(),
            }
        }
        found
    }

    #[test]
    fn each_call_keeps_its_own_result() {
        let (c, r, u) = ("call", "result", "user");
        let cases: [Case; 9] = [
            (&[(c, "0"), (r, "0"), (c, "0"), (r, "0")], &[Some(0), Some(1)]),
            (&[(c, "0"), (c, "0"), (r, "0"), (r, "0")], &[Some(0), Some(1)]),
            // The first call has no result.
            (&[(c, "0"), (u, ""), (c, "0"), (r, "0")], &[Some(1)]),
            // Late results: the newest turn is answered first.
            (&[(c, "0"), (u, ""), (c, "0"), (r, "0"), (r, "0")], &[Some(1), Some(0)]),
            (&[(c, "a"), (c, "b"), (r, "b"), (r, "a"), (r, "b")], &[Some(1), Some(0), Some(1)]),
            (&[(c, ""), (c, ""), (r, ""), (r, "")], &[Some(0), Some(1)]),
            (&[(c, "a"), (c, "b"), (r, ""), (r, "")], &[Some(0), Some(1)]),
            (&[(c, ""), (c, ""), (r, "x"), (r, "y")], &[Some(0), Some(1)]),
            (&[(c, "a"), (r, "b")], &[None]),
        ];
        for (story, expected) in cases {
            assert_eq!(pairs(story), expected, "{story:?}");
        }
    }

    #[test]
    fn ids_are_unique_and_stay_the_same_when_the_conversation_grows() {
        let form: IdForm = |id| clean(id, 24, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let given = ["0", "0", "0_2", "0", "a:b", "a.b", "", "", &"x".repeat(99), &"x".repeat(98)];
        let ids = |count: usize| {
            let mut unique = UniqueIds::new(form);
            given[..count].iter().map(|id| unique.next(id)).collect::<Vec<_>>()
        };
        let all = ids(given.len());
        assert_eq!(all[..4], ["0", "0_2", "0_2_2", "0_3"]);
        assert!(all.iter().all(|id| !id.is_empty() && id.len() <= 24), "{all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "{all:?}");
        (0..given.len()).for_each(|count| assert_eq!(ids(count), all[..count]));
    }

    #[test]
    fn the_work_is_linear_in_the_input() {
        // Ids that collide with those that repeated ids would get.
        let mut unique = UniqueIds::new(|id| id.into());
        (2..20_000).for_each(|number| drop(unique.next_owned(&format!("a_{number}"))));
        (0..20_000).for_each(|_| drop(unique.next("a")));
        assert_eq!(unique.counts["a"], 39_998);
    }
}
