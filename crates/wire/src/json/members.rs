//! Objects and lists that are read in place, one level at a time.

use std::borrow::Cow;

use super::{Kind, Scanner, Syntax, text_of};

/// Most objects have at most this many members.
const FEW: usize = 8;

/// From this number on, the further members are counted before they are listed.
const MANY: usize = 64;

/// How many members follow in the rest of an object, behind a value.
fn further(mut rest: &str) -> usize {
    fn behind(rest: &str) -> Option<&str> {
        let value = behind_value(rest.trim_start().strip_prefix(',')?)?;
        behind_value(value.trim_start().strip_prefix(':')?)
    }
    fn behind_value(rest: &str) -> Option<&str> {
        let range = Scanner::new(rest.as_bytes()).value().ok()?;
        Some(&rest[range.end..])
    }
    let mut count = 0;
    while let Some(behind) = behind(rest) {
        (rest, count) = (behind, count + 1);
    }
    count
}

/// The members of one object, by their positions in its text: 16 bytes each.
pub struct Members<'a> {
    json: &'a str,
    places: Vec<MemberPosition>,
}

#[derive(Clone, Copy)]
struct MemberPosition {
    /// Between the quotes.
    name: (u32, u32),
    value: (u32, u32),
}

impl<'a> Members<'a> {
    /// None when the text is not an object, or has half of a surrogate pair.
    pub fn of(json: &'a str) -> Option<Self> {
        let mut scanner = Scanner::new(json.as_bytes());
        let mut places = Vec::with_capacity(FEW);
        let number =
            |at: usize| u32::try_from(at).map_err(|_| Syntax { at, expected: "less than 4 GiB of text" });
        let walked = scanner.object(|scanner, key| {
            let value = scanner.value()?;
            let place = MemberPosition {
                name: (number(key.range.start)?, number(key.range.end)?),
                value: (number(value.start)?, number(value.end)?),
            };
            if places.len() == MANY {
                // A list that grows is held twice.
                places.reserve_exact(1 + further(&json[value.end..]));
            }
            places.push(place);
            Ok::<(), Syntax>(())
        });
        walked.ok()?;
        scanner.end().ok()?;
        scanner.lone_surrogate().is_none().then_some(Self { json, places })
    }

    /// The names with the texts of the values.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        self.places.iter().map(|place| (self.name(place), self.value(place)))
    }

    /// The names with the texts of the whole members.
    pub fn texts(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        let whole = |place: &MemberPosition| &self.json[place.name.0 as usize - 1..place.value.1 as usize];
        self.places.iter().map(move |place| (self.name(place), whole(place)))
    }

    /// The text of a member's value.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let found = self.places.iter().find(|place| self.is(place, name))?;
        Some(self.value(found))
    }

    /// The same for the last member of this name.
    pub fn last(&self, name: &str) -> Option<&'a str> {
        let found = self.places.iter().rev().find(|place| self.is(place, name))?;
        Some(self.value(found))
    }

    /// The name and the value's text of the member at this index.
    pub fn at(&self, place: usize) -> (Cow<'a, str>, &'a str) {
        (self.name(&self.places[place]), self.value(&self.places[place]))
    }

    /// True when there is such a member.
    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// True without members.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn is(&self, place: &MemberPosition, name: &str) -> bool {
        let (start, end) = place.name;
        let raw = &self.json[start as usize..end as usize];
        // Names with escapes are rare, and longer than their meaning.
        raw == name || (raw.len() > name.len() && self.name(place) == name)
    }

    fn name(&self, place: &MemberPosition) -> Cow<'a, str> {
        let (start, end) = place.name;
        let raw = &self.json[start as usize..end as usize];
        if !raw.contains('\\') {
            return Cow::Borrowed(raw);
        }
        let quoted = &self.json[start as usize - 1..end as usize + 1];
        string(quoted).unwrap_or(Cow::Borrowed(raw))
    }

    fn value(&self, place: &MemberPosition) -> &'a str {
        &self.json[place.value.0 as usize..place.value.1 as usize]
    }
}

/// The items of a list, as texts; none for another type.
#[derive(Clone, Copy)]
pub struct Items<'a> {
    /// The text after the items so far.
    json: &'a str,
}

impl<'a> Items<'a> {
    /// For a text without surrounding white space.
    pub fn of(json: &'a str) -> Self {
        Self { json: json.strip_prefix('[').unwrap_or_default() }
    }

    /// The rest of a list, from the beginning of an item.
    pub fn from(json: &'a str) -> Self {
        Self { json }
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut scanner = Scanner::new(self.json.as_bytes());
        let range = scanner.value().ok()?;
        let item = &self.json[range.clone()];
        let behind = self.json[range.end..].trim_start();
        self.json = behind.strip_prefix(',').unwrap_or_default();
        Some(item)
    }
}

/// The value of a text that is a string.
pub fn string(json: &str) -> Option<Cow<'_, str>> {
    let mut scanner = Scanner::new(json.as_bytes());
    if scanner.kind().ok()? != Kind::String {
        return None;
    }
    let text = scanner.string().ok()?;
    if text.escaped { text_of(json.as_bytes(), &text) } else { Some(Cow::Borrowed(&json[text.range])) }
}

/// Whether a value is this string.
pub fn is_text(json: &str, text: &str) -> bool {
    string(json).as_deref() == Some(text)
}

/// Appends a value without white space between its tokens.
pub fn push_compact(out: &mut Vec<u8>, json: &str) {
    let mut rest = json;
    while let Some(at) = rest.find(['"', ' ', '\n', '\r', '\t']) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain.as_bytes());
        let length = if special.starts_with('"') {
            Scanner::new(special.as_bytes()).value().map_or(special.len(), |range| range.end)
        } else {
            1
        };
        if special.starts_with('"') {
            out.extend_from_slice(&special.as_bytes()[..length]);
        }
        rest = &special[length..];
    }
    out.extend_from_slice(rest.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_by_their_unescaped_names() {
        let members = Members::of(r#" { "a" : 1 , "b\u0063":{"x":[]}, "é":"\n" } "#).unwrap();
        let found: Vec<_> = members.iter().map(|(name, value)| (name.into_owned(), value)).collect();
        let expected = [("a", "1"), ("bc", r#"{"x":[]}"#), ("é", r#""\n""#)];
        assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value)));
        assert_eq!((members.get("bc"), members.has("b"), members.len()), (Some(r#"{"x":[]}"#), false, 3));
        assert!(Members::of("{}").unwrap().is_empty());
        for other in ["[]", "1", "{\"a\":}", "{} {}", "{\"a\":\"\\ud83d\"}"] {
            assert!(Members::of(other).is_none(), "{other}");
        }
    }

    #[test]
    fn many_members_are_listed_without_spare_room() {
        for count in [MANY, MANY + 1, 3 * MANY] {
            let inner: Vec<_> = (0..count).map(|at| format!(r#" "n{at}" : [{at},{{"x":"}},"}}] "#)).collect();
            let json = format!("{{{}}}", inner.join(","));
            let members = Members::of(&json).unwrap();
            assert_eq!(members.len(), count);
            assert_eq!(
                members.get(&format!("n{}", count - 1)).map(|value| value.starts_with('[')),
                Some(true)
            );
            assert!(members.places.capacity() <= count.max(MANY), "{}", members.places.capacity());
        }
    }

    #[test]
    fn items_and_strings_are_read() {
        assert_eq!(Items::of("[ 1 ,[2] , \"a,]\" ]").collect::<Vec<_>>(), ["1", "[2]", "\"a,]\""]);
        assert_eq!(Items::of("[ ]").count() + Items::of("{}").count(), 0);
        assert_eq!(string(r#""a\u00e9""#).as_deref(), Some("aé"));
        assert_eq!(string("1"), None);
    }

    #[test]
    fn white_space_outside_of_strings_is_removed() {
        let mut out = Vec::new();
        push_compact(&mut out, "{ \"a b\" :\n[ 1 , \"\\\" x\" ] }");
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a b\":[1,\"\\\" x\"]}");
    }
}
