//! Edits of an object's top-level fields in its raw text.

use std::borrow::Cow;
use std::ops::Range;

use super::{Scanner, Syntax, room, string};

/// Replaces, removes and adds fields of a JSON object; everything else is copied unchanged.
#[derive(Debug)]
pub struct Edit<'a> {
    json: &'a [u8],
    /// The fields, in their order.
    places: Vec<FieldPosition>,
    /// Replacements and additions.
    changes: Vec<Change<'a>>,
}

/// The position of a field. An object may have many, so each takes 16 bytes.
#[derive(Clone, Copy, Debug)]
struct FieldPosition {
    /// The key's opening quote.
    start: u32,
    /// The key's closing quote.
    key_end: u32,
    /// The value's end.
    end: u32,
    fate: FieldAction,
}

/// The treatment of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldAction {
    Keep,
    Remove,
    /// The change with this index replaces it.
    Replace(u16),
}

#[derive(Debug)]
struct Change<'a> {
    name: Cow<'a, str>,
    value: Cow<'a, [u8]>,
    /// It comes after the existing fields.
    is_added: bool,
}

/// A piece of the edited object.
enum Piece<'e> {
    Kept(Range<usize>),
    Changed(&'e Change<'e>),
}

/// An edit as the ranges that move within the text, and the texts that are written between them.
#[derive(Debug)]
pub struct Splices {
    moves: Vec<Move>,
    /// Texts with their positions in the edited text.
    texts: Vec<(usize, Vec<u8>)>,
    /// The length of the edited text.
    length: usize,
}

#[derive(Debug)]
struct Move {
    start: usize,
    end: usize,
    to: usize,
}

/// The field that a name refers to.
enum FieldMatch {
    Place(usize),
    Added(usize),
}

/// Positions are 32 bits: texts of 4 GiB are refused.
pub const TOO_LONG: Syntax = Syntax { at: u32::MAX as usize, expected: "less than 4 GiB of text" };

impl<'a> Edit<'a> {
    /// An edit of `json`, which is less than 4 GiB. Each field is given by its key, between the quotes, and
    /// the end of its value.
    pub fn new(json: &'a [u8], fields: impl ExactSizeIterator<Item = (Range<usize>, usize)>) -> Self {
        let mut places = Vec::with_capacity(fields.len());
        places.extend(fields.map(|(key, end)| FieldPosition::of(&key, end)));
        Self { json, places, changes: Vec::new() }
    }

    /// An edit of the object in `json`.
    pub fn of(json: &'a [u8]) -> Result<Self, Syntax> {
        if u32::try_from(json.len()).is_err() {
            return Err(TOO_LONG);
        }
        let mut scanner = Scanner::new(json);
        let mut places = Vec::with_capacity(FEW);
        scanner.object(|scanner, key| {
            let end = scanner.value()?.end;
            room::push(&mut places, FieldPosition::of(&key.range, end));
            Ok::<(), Syntax>(())
        })?;
        scanner.end()?;
        Ok(Self { json, places, changes: Vec::new() })
    }

    /// Removes the field. False if there is none.
    pub fn remove(&mut self, name: &str) -> bool {
        match self.find(name) {
            Some(FieldMatch::Place(at)) => self.places[at].fate = FieldAction::Remove,
            Some(FieldMatch::Added(at)) => self.changes[at].is_added = false,
            None => return false,
        }
        true
    }

    /// Sets the field to a raw value, in its old place or at the end.
    pub fn set(&mut self, name: impl Into<Cow<'a, str>>, value: &[u8]) {
        self.put(name, value.to_vec());
    }

    /// Sets the field to a raw value, which may be long.
    pub fn put(&mut self, name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, [u8]>>) {
        let (name, value) = (name.into(), value.into());
        match self.find(&name) {
            Some(FieldMatch::Place(at)) => self.replace(at, name, value),
            Some(FieldMatch::Added(at)) => self.changes[at].value = value,
            None => self.changes.push(Change { name, value, is_added: true }),
        }
    }

    /// Renames the field and drops an existing field with the new name. Nothing happens if there is none.
    pub fn rename(&mut self, name: &str, new_name: &str, value: &[u8]) {
        if !self.has(name) || name == new_name {
            return;
        }
        self.remove(new_name);
        let (new_name, value) = (Cow::Owned(new_name.to_owned()), Cow::Owned(value.to_vec()));
        match self.find(name) {
            Some(FieldMatch::Place(at)) => self.replace(at, new_name, value),
            Some(FieldMatch::Added(at)) => {
                self.changes[at] = Change { name: new_name, value, is_added: true }
            }
            None => {}
        }
    }

    /// True when the field exists and is kept.
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Writes the object, with room for `spare` more bytes.
    pub fn write(&self, spare: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.length() + spare);
        out.push(b'{');
        self.pieces(|piece| {
            comma(&mut out);
            match piece {
                Piece::Kept(range) => out.extend_from_slice(&self.json[range]),
                Piece::Changed(change) => change.write(&mut out),
            }
        });
        out.push(b'}');
        out
    }

    /// The same edit in place, for a text of which there is no second copy.
    pub fn splices(&self) -> Splices {
        let mut splices = Splices { moves: Vec::new(), texts: Vec::new(), length: 1 };
        self.pieces(|piece| {
            let to = splices.length + usize::from(splices.length > 1);
            splices.length = match piece {
                Piece::Kept(Range { start, end }) => {
                    splices.moves.push(Move { start, end, to });
                    to + end - start
                }
                Piece::Changed(change) => {
                    let mut text = Vec::new();
                    change.write(&mut text);
                    let end = to + text.len();
                    splices.texts.push((to, text));
                    end
                }
            };
        });
        splices.length += 1;
        splices
    }

    /// Calls back with the pieces of the object, between its braces and without commas.
    fn pieces(&self, mut on_piece: impl FnMut(Piece<'_>)) {
        let mut pending: Option<Range<usize>> = None;
        for place in &self.places {
            match place.fate {
                // Adjacent fields that stay are copied at once, with the text between them.
                FieldAction::Keep => match &mut pending {
                    Some(range) => range.end = place.end as usize,
                    None => pending = Some(place.start as usize..place.end as usize),
                },
                FieldAction::Remove => pending.take().map(Piece::Kept).into_iter().for_each(&mut on_piece),
                FieldAction::Replace(number) => {
                    pending.take().map(Piece::Kept).into_iter().for_each(&mut on_piece);
                    on_piece(Piece::Changed(&self.changes[usize::from(number)]));
                }
            }
        }
        pending.take().map(Piece::Kept).into_iter().for_each(&mut on_piece);
        self.changes.iter().filter(|change| change.is_added).map(Piece::Changed).for_each(on_piece);
    }

    /// The maximum length of the object.
    fn length(&self) -> usize {
        // The object may be a small part of the text. Replaced fields are not written.
        let before = self.places.first().map_or(0, |place| place.start as usize);
        let behind = self.places.last().map_or(0, |place| place.end as usize);
        let gone = self.places.iter().filter(|place| place.fate != FieldAction::Keep);
        let gone: usize = gone.map(|place| (place.end - place.start) as usize).sum();
        let changes = self.changes.iter().map(|change| change.name.len() + change.value.len() + 4);
        behind.saturating_sub(before + gone) + changes.sum::<usize>() + 2
    }

    fn find(&self, name: &str) -> Option<FieldMatch> {
        let is_it = |place: &FieldPosition| match place.fate {
            FieldAction::Keep => place.is(self.json, name),
            FieldAction::Remove => false,
            FieldAction::Replace(number) => self.changes[usize::from(number)].name == name,
        };
        let place = self.places.iter().position(is_it).map(FieldMatch::Place);
        place.or_else(|| {
            let is_it = |change: &Change<'_>| change.is_added && change.name == name;
            self.changes.iter().position(is_it).map(FieldMatch::Added)
        })
    }

    fn replace(&mut self, at: usize, name: Cow<'a, str>, value: Cow<'a, [u8]>) {
        let change = Change { name, value, is_added: false };
        match self.places[at].fate {
            FieldAction::Replace(number) => self.changes[usize::from(number)] = change,
            // Only our own code makes changes, and it makes fewer.
            _ => {
                self.places[at].fate =
                    u16::try_from(self.changes.len()).map_or(FieldAction::Keep, FieldAction::Replace);
                self.changes.push(change);
            }
        }
    }
}

/// Most objects have at most this many fields.
const FEW: usize = 8;

impl FieldPosition {
    fn of(key: &Range<usize>, end: usize) -> Self {
        // The caller has checked the length of the text.
        let [start, key_end, end] = [key.start - 1, key.end, end].map(|at| at as u32);
        Self { start, key_end, end, fate: FieldAction::Keep }
    }

    fn is(&self, json: &[u8], name: &str) -> bool {
        let quoted = &json[self.start as usize..=self.key_end as usize];
        let raw = &quoted[1..quoted.len() - 1];
        if raw == name.as_bytes() {
            return !raw.contains(&b'\\');
        }
        // Names with escapes are rare, and longer than their meaning.
        raw.len() > name.len()
            && raw.contains(&b'\\')
            && std::str::from_utf8(quoted).ok().and_then(string).is_some_and(|given| given == name)
    }
}

impl Splices {
    /// Edits the text for which they were made.
    pub fn apply(self, mut body: Vec<u8>) -> Vec<u8> {
        let more = self.length.saturating_sub(body.len());
        body.reserve_exact(more);
        body.resize(body.len() + more, 0);
        // Ranges that move left are copied from left to right, ranges that move right from right to left: a
        // copy then never overwrites a range that still has to move.
        let (left, right): (Vec<&Move>, Vec<&Move>) = self.moves.iter().partition(|one| one.to <= one.start);
        for one in left.into_iter().chain(right.into_iter().rev()) {
            body.copy_within(one.start..one.end, one.to);
        }
        body[0] = b'{';
        for to in self.moves.iter().map(|one| one.to).chain(self.texts.iter().map(|(to, _)| *to)) {
            if to > 1 {
                body[to - 1] = b',';
            }
        }
        for (to, text) in &self.texts {
            body[*to..*to + text.len()].copy_from_slice(text);
        }
        body[self.length - 1] = b'}';
        body.truncate(self.length);
        body
    }
}

impl Change<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(b'"');
        out.extend_from_slice(self.name.as_bytes());
        out.extend_from_slice(b"\":");
        out.extend_from_slice(&self.value);
    }
}

fn comma(out: &mut Vec<u8>) {
    if out.len() > 1 {
        out.push(b',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_in_place_equals_a_written_copy() {
        type Change = fn(&mut Edit<'_>);
        let changes: [Change; 6] = [
            |_| {},
            |edit| edit.set("a", b"[1,2,3,4,5,6,7,8,9]"),
            |edit| edit.set("bb", b"0"),
            |edit| {
                edit.remove("a");
                edit.remove("d");
            },
            |edit| edit.rename("c", "a_much_longer_name", b"{}"),
            |edit| edit.set("new", b"\"a long value at the end\""),
        ];
        let json = br#"  { "a" : 1, "bb":"some longer text" , "c":[] , "d":{"a":0}} "#;
        for first in changes {
            for second in changes {
                for third in changes {
                    let mut edit = Edit::of(json).unwrap();
                    [first, second, third].iter().for_each(|change| change(&mut edit));
                    let (expected, splices) = (edit.write(0), edit.splices());
                    let found = splices.apply(json.to_vec());
                    assert_eq!(String::from_utf8(found).unwrap(), String::from_utf8(expected).unwrap());
                }
            }
        }
        let mut edit = Edit::of(b"{\"a\":1}").unwrap();
        edit.remove("a");
        assert_eq!(edit.splices().apply(b"{\"a\":1}".to_vec()), b"{}");
    }
}
