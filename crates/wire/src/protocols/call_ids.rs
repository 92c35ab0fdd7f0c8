//! Which result answers which call, and an id for each call that no other call of the request has.
//!
//! Callers repeat ids: some models count their calls anew in each turn (`call_0`), some give the calls of one turn the
//! same id or none. Formats with strict ids refuse that, and the others mix up the results.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use canon::{PartKind, Request, Role};

/// Writes an id in the alphabet and the length that a format takes. Different ids may become the same one.
pub(super) type IdForm = fn(&str) -> String;

/// Pairs results with calls, in the order of the conversation.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    count: usize,
    turn: u32,
    /// The model has called something since the last result or word of the user.
    in_turn: bool,
    /// Calls without a result, by id: the turns, and the calls of each in order.
    open: BTreeMap<String, Vec<(u32, VecDeque<usize>)>>,
    /// The last call of each id.
    last: BTreeMap<String, usize>,
    /// The calls of the current turn in order, for results that name none.
    current: VecDeque<usize>,
    answered: Vec<bool>,
}

impl Pairing {
    /// Anything but a call: calls that follow are of another turn.
    pub fn turn_ends(&mut self) {
        self.in_turn = false;
    }

    /// The next call.
    pub fn call(&mut self, id: &str) {
        if !self.in_turn {
            self.in_turn = true;
            self.turn += 1;
            self.current.clear();
        }
        let number = self.count;
        self.count += 1;
        self.answered.push(false);
        self.current.push_back(number);
        self.last.insert(id.to_owned(), number);
        let turns = self.open.entry(id.to_owned()).or_default();
        match turns.last_mut() {
            Some((turn, calls)) if *turn == self.turn => calls.push_back(number),
            _ => turns.push((self.turn, VecDeque::from([number]))),
        }
    }

    /// The call that a result with this id answers: of the calls with its id the first one without a result in the newest
    /// turn that has one. A second result goes to the call that has the first one. An id that is missing on one of the two
    /// sides is no obstacle: then the order decides.
    pub fn result(&mut self, id: &str) -> Option<usize> {
        let found = self
            .first_open(id)
            .or_else(|| self.last.get(id).copied())
            .or_else(|| if id.is_empty() { self.first_of_turn() } else { self.first_open("") })?;
        self.answered[found] = true;
        Some(found)
    }

    fn first_open(&mut self, id: &str) -> Option<usize> {
        let turns = self.open.get_mut(id)?;
        while let Some((_, calls)) = turns.last_mut() {
            match calls.pop_front() {
                Some(number) if !self.answered[number] => return Some(number),
                Some(_) => {}
                None => drop(turns.pop()),
            }
        }
        None
    }

    fn first_of_turn(&mut self) -> Option<usize> {
        while let Some(number) = self.current.pop_front() {
            if !self.answered[number] {
                return Some(number);
            }
        }
        None
    }
}

/// Gives ids that are different from each other. The same conversation with more turns at its end keeps the ids of its
/// beginning, so that what a provider has cached of it stays valid.
pub(super) struct UniqueIds {
    form: IdForm,
    taken: BTreeSet<String>,
    /// How often an id was written, so that the search for a free one begins behind the last.
    counts: BTreeMap<String, u32>,
}

impl UniqueIds {
    /// Ids in this form.
    pub fn new(form: IdForm) -> Self {
        Self { form, taken: BTreeSet::new(), counts: BTreeMap::new() }
    }

    /// The id itself in the format's form, else one that is free.
    pub fn next(&mut self, id: &str) -> String {
        let first = (self.form)(id);
        if self.taken.insert(first.clone()) {
            return first;
        }
        let count = self.counts.entry(first).or_insert(1);
        loop {
            *count += 1;
            let candidate = (self.form)(&format!("{id}_{count}"));
            if self.taken.insert(candidate.clone()) {
                return candidate;
            }
        }
    }
}

/// A place in a request: the message, and the part in it.
type Place = (usize, usize);

/// The calls of a request and the results that answer them.
#[derive(Debug, Default)]
pub(super) struct CallIds {
    ids: Vec<String>,
    calls: Vec<Place>,
    results: Vec<(Place, Option<usize>)>,
}

impl CallIds {
    /// Those of a request, with ids in this form.
    pub fn of(request: &Request, form: IdForm) -> Self {
        let mut found = Self::default();
        let mut pairing = Pairing::default();
        let mut unique = UniqueIds::new(form);
        for (index, message) in request.messages.iter().enumerate() {
            if matches!(message.role, Role::User | Role::Tool) {
                pairing.turn_ends();
            }
            for (position, part) in message.parts.iter().enumerate() {
                match &part.kind {
                    PartKind::ToolCall(call) => {
                        pairing.call(&call.id);
                        found.calls.push((index, position));
                        found.ids.push(unique.next(&call.id));
                    }
                    PartKind::ToolResult(result) => {
                        found.results.push(((index, position), pairing.result(&result.call_id)));
                    }
                    _ => {}
                }
            }
        }
        found
    }

    /// The id on the wire of the call at this place.
    pub fn id_at(&self, place: Place) -> &str {
        let found = self.calls.binary_search(&place);
        found.map_or("", |number| self.id(number))
    }

    /// The number of the call that the result at this place answers; calls are counted from 0.
    pub fn answered(&self, place: Place) -> Option<usize> {
        let found = self.results.binary_search_by_key(&place, |(place, _)| *place).ok()?;
        self.results[found].1
    }

    /// The id of a call on the wire.
    pub fn id(&self, number: usize) -> &str {
        self.ids.get(number).map_or("", String::as_str)
    }
}

/// Sixteen hexadecimal digits of the FNV-1a hash: a mark of a text that had to be shortened or cleaned.
pub(super) fn mark_of(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// An id of at most `longest` characters of an alphabet. What has to be changed ends in a mark of the whole id.
pub(super) fn clean(id: &str, longest: usize, is_allowed: impl Fn(u8) -> bool) -> String {
    if !id.is_empty() && id.len() <= longest && id.bytes().all(&is_allowed) {
        return id.to_owned();
    }
    if id.is_empty() {
        return "call".to_owned();
    }
    let kept = id.bytes().filter(|byte| is_allowed(*byte)).map(char::from);
    let start: String = kept.take(longest - 17).collect();
    format!("{start}_{}", mark_of(id))
}

/// For formats that state no rule: any printable text of a sensible length, but not nothing.
pub(super) fn plain_id(id: &str) -> String {
    clean(id, 64, |byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens, and which call each result answers.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a [Option<usize>]);

    fn pairs(story: &[(&str, &str)]) -> Vec<Option<usize>> {
        let mut pairing = Pairing::default();
        let mut found = Vec::new();
        for (what, id) in story {
            match *what {
                "call" => pairing.call(id),
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
            // The first was never answered.
            (&[(c, "0"), (u, ""), (c, "0"), (r, "0")], &[Some(1)]),
            // Late: the newest turn is answered first.
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
    fn ids_are_unique_and_stay_when_the_conversation_grows() {
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
    fn the_work_grows_with_the_input_only() {
        // Ids that lie in the way of the ones that repeated ids would get.
        let mut unique = UniqueIds::new(|id| id.to_owned());
        (2..20_000).for_each(|number| drop(unique.next(&format!("a_{number}"))));
        (0..20_000).for_each(|_| drop(unique.next("a")));
        assert_eq!(unique.counts["a"], 39_998);
    }
}
