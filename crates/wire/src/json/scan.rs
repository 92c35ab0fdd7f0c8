//! A scanner that walks over JSON text and reports positions.
//!
//! It checks the whole grammar (numbers, escapes, control characters, nesting depth) but builds nothing. The
//! caller checks UTF-8 once for the whole text.

use std::borrow::Cow;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;

use canon::scan::ascii_length;
use canon::write::plain_length;

use super::room;

/// Deepest nesting accepted; serde_json has the same limit for values.
const MAX_DEPTH: usize = 127;

/// Up to this many names of an object are compared in pairs; beyond it a hash is faster.
const FEW_NAMES: usize = 8;
/// From this number on, the names of one object are kept as hashes of four bytes, because a member may be as
/// short as seven bytes.
const MANY_NAMES: usize = 512;
/// The most names in one object whose duplicates are searched: this bounds the memory.
const MOST_NAMES: usize = 1 << 15;

/// The place and the reason of invalid JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    /// Byte offset.
    pub at: usize,
    /// What was expected there.
    pub expected: &'static str,
}

/// The kind of a JSON value, known from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `"…"`
    String,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// `null`
    Null,
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

impl Kind {
    /// The name in messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "a string",
            Self::Number => "a number",
            Self::Bool => "a boolean",
            Self::Null => "null",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }

    /// The kind of a value that begins with this byte.
    pub fn of(first: u8) -> Option<Self> {
        Some(match first {
            b'"' => Self::String,
            b'-' | b'0'..=b'9' => Self::Number,
            b't' | b'f' => Self::Bool,
            b'n' => Self::Null,
            b'[' => Self::Array,
            b'{' => Self::Object,
            _ => return None,
        })
    }
}

/// A string in the text: the range between its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Between the quotes.
    pub range: Range<usize>,
    /// It contains escapes.
    pub escaped: bool,
}

/// The value of a JSON string in `json`; none if an escape is not a character (a lone surrogate).
pub fn text_of<'a>(json: &'a [u8], text: &Text) -> Option<Cow<'a, str>> {
    let raw = json.get(text.range.clone())?;
    if !text.escaped {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    let quoted = json.get(text.range.start - 1..text.range.end + 1)?;
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

/// An unescaped name or word; unchanged where it is not valid Unicode.
pub fn word<'a>(json: &'a [u8], text: &Text) -> Cow<'a, [u8]> {
    match text_of(json, text) {
        Some(Cow::Owned(word)) => Cow::Owned(word.into_bytes()),
        _ => Cow::Borrowed(&json[text.range.clone()]),
    }
}

/// True for UTF-8. Most texts are pure ASCII, which is the fastest check; others are checked in vector
/// registers.
pub fn is_utf8(bytes: &[u8]) -> bool {
    let rest = &bytes[ascii_length(bytes)..];
    rest.is_empty() || simdutf8::basic::from_utf8(rest).is_ok()
}

/// The position of a name in eight bytes. Each field of the open objects has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name(u64);

impl Name {
    fn of(text: &Text) -> Result<Self, Syntax> {
        let start = u32::try_from(text.range.start);
        let length = u32::try_from(text.range.len()).ok().filter(|length| *length < 1 << 31);
        match (start, length) {
            (Ok(start), Some(length)) => {
                Ok(Self(u64::from(start) << 32 | u64::from(length) << 1 | u64::from(text.escaped)))
            }
            _ => Err(Syntax { at: text.range.start, expected: "less than 4 GiB of text" }),
        }
    }

    fn is_escaped(self) -> bool {
        self.0 & 1 == 1
    }

    fn text(self) -> Text {
        let start = (self.0 >> 32) as usize;
        let length = (self.0 as u32 >> 1) as usize;
        Text { range: start..start + length, escaped: self.is_escaped() }
    }
}

/// The names of the open objects, where duplicates are refused.
#[derive(Clone, Debug, Default)]
struct Names {
    /// Names of objects with a usual number of fields.
    few: Vec<Name>,
    /// Names of objects with many fields, as hashes.
    many: Vec<u32>,
    /// Each text has its own random key, so that callers cannot construct names that share a hash.
    state: RandomState,
}

/// Where the names of one object begin in the lists.
#[derive(Clone, Copy, Debug)]
struct FirstName {
    /// The position of the object.
    object: usize,
    few: usize,
    /// Where its hashes begin, if it has many names.
    many: Option<usize>,
}

impl Names {
    fn first(&self, object: usize) -> FirstName {
        FirstName { object, few: self.few.len(), many: None }
    }

    fn push(&mut self, json: &[u8], key: &Text, first: &mut FirstName) -> Result<(), Syntax> {
        if first.many.is_none() {
            self.few.push(Name::of(key)?);
            if self.few.len() - first.few > MANY_NAMES {
                first.many = Some(self.many.len());
                for at in first.few..self.few.len() {
                    let hash = self.hash(json, &self.few[at].text());
                    room::push(&mut self.many, hash as u32);
                }
                self.few.truncate(first.few);
            }
            return Ok(());
        }
        if first.many.is_some_and(|many| self.many.len() - many == MOST_NAMES) {
            return Err(Syntax { at: key.range.start, expected: "fewer names in one object" });
        }
        let hash = self.hash(json, key);
        room::push(&mut self.many, hash as u32);
        Ok(())
    }

    fn hash(&self, json: &[u8], text: &Text) -> u64 {
        self.state.hash_one(text_of(json, text))
    }

    /// Ends an object. True when two of its names are equal.
    fn end(&mut self, json: &[u8], first: FirstName) -> bool {
        let is_twice = match first.many {
            None => self.is_twice(json, first.few),
            Some(many) => self.is_twice_among_many(json, first.object, many),
        };
        self.few.truncate(first.few);
        self.many.truncate(first.many.unwrap_or(self.many.len()));
        is_twice
    }

    fn is_twice(&mut self, json: &[u8], first: usize) -> bool {
        let Self { few, state, .. } = self;
        let names = &mut few[first..];
        if names.len() > FEW_NAMES || names.iter().any(|name| name.is_escaped()) {
            names.iter_mut().for_each(|name| *name = Name(state.hash_one(text_of(json, &name.text()))));
            return has_twice(names);
        }
        let raw = |name: Name| &json[name.text().range];
        let is_again = |at: usize| {
            let name = names[at];
            names[..at].iter().any(|before| before.0 as u32 == name.0 as u32 && raw(*before) == raw(name))
        };
        (1..names.len()).any(is_again)
    }

    /// Two of an object's many names share half of a hash by chance in one of some hundred objects. A second
    /// pass then compares the whole hashes.
    fn is_twice_among_many(&mut self, json: &[u8], object: usize, first: usize) -> bool {
        let hashes = &mut self.many[first..];
        if !has_twice(hashes) {
            return false;
        }
        let shared: Vec<u32> =
            hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let mut whole = Vec::new();
        let mut scanner = Scanner { at: object, ..Scanner::new(json) };
        let walked = scanner.object(|scanner, key| {
            let hash = self.hash(json, &key);
            if shared.binary_search(&(hash as u32)).is_ok() {
                room::push(&mut whole, hash);
            }
            scanner.value().map(drop)
        });
        walked.is_err() || has_twice(&mut whole)
    }
}

/// Sorts a list. True when it contains an item twice.
fn has_twice<T: Ord>(list: &mut [T]) -> bool {
    list.sort_unstable();
    list.windows(2).any(|pair| pair[0] == pair[1])
}

/// The UTF-16 unit of an escape at the start of the text.
fn escaped_unit(text: &[u8]) -> Option<u16> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    let digit = |unit: u16, byte: &u8| Some(unit << 4 | char::from(*byte).to_digit(16)? as u16);
    digits.iter().try_fold(0, digit)
}

fn is_low_half(text: &[u8]) -> bool {
    matches!(escaped_unit(text), Some(0xdc00..0xe000))
}

/// The text with replacement characters (U+FFFD) for the parts that strict parsers refuse in otherwise valid
/// text: bytes that are not UTF-8, and escapes that are half of a surrogate pair. Models emit both when a
/// token ends inside of a character. None when there is nothing to repair.
pub fn repaired(json: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(json);
    let json = text.as_bytes();
    let mut repaired = Vec::with_capacity(json.len());
    let mut copied = 0;
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json[at..]) {
        at += found;
        at += match escaped_unit(&json[at..]) {
            Some(0xd800..0xdc00) if is_low_half(&json[at + 6..]) => 12,
            Some(0xd800..0xe000) => {
                repaired.extend_from_slice(&json[copied..at]);
                repaired.extend_from_slice(b"\\ufffd");
                copied = at + 6;
                6
            }
            _ => 2.min(json.len() - at),
        };
    }
    if copied == 0 {
        return match text {
            Cow::Borrowed(_) => None,
            Cow::Owned(text) => Some(text.into_bytes()),
        };
    }
    repaired.extend_from_slice(&json[copied..]);
    Some(repaired)
}

/// Walks over JSON text. Every method leaves the position after the part that it took.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
    depth: usize,
    values: usize,
    lone_surrogate: Option<usize>,
    has_escaped_name: bool,
    /// The names of the open objects, where duplicates are refused.
    names: Option<Names>,
}

impl<'a> Scanner<'a> {
    /// At the start of `json`.
    pub fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0, depth: 0, values: 0, lone_surrogate: None, has_escaped_name: false, names: None }
    }

    /// At the start of `json`, whose objects must not have duplicate names: readers differ in which of the
    /// two they use (RFC 8259, 4).
    pub fn strict(json: &'a [u8]) -> Self {
        Self { names: Some(Names::default()), ..Self::new(json) }
    }

    /// The text.
    pub fn json(&self) -> &'a [u8] {
        self.json
    }

    pub fn position(&self) -> usize {
        self.at
    }

    /// The position of the last escape that is half of a surrogate pair. RFC 8259 (8.2) allows it and leaves
    /// its meaning open: strict parsers refuse it.
    pub fn lone_surrogate(&self) -> Option<usize> {
        self.lone_surrogate
    }

    /// The number of skipped values, nested ones included.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Some name was written with escapes.
    pub fn has_escaped_name(&self) -> bool {
        self.has_escaped_name
    }

    /// Skips white space and returns the kind of the next value.
    pub fn kind(&mut self) -> Result<Kind, Syntax> {
        self.skip_space();
        self.json.get(self.at).and_then(|first| Kind::of(*first)).ok_or(self.expected("a value"))
    }

    /// Walks an object: `on_field` gets each key and must take its value.
    pub fn object<E: From<Syntax>>(
        &mut self,
        mut on_field: impl FnMut(&mut Self, Text) -> Result<(), E>,
    ) -> Result<(), E> {
        self.skip_space();
        let mut first_name = self.names.as_ref().map(|names| names.first(self.at));
        self.take(b'{', "an object")?;
        self.descend()?;
        self.skip_space();
        if self.take_if(b'}') {
            self.depth -= 1;
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.has_escaped_name |= key.escaped;
            if let (Some(names), Some(first)) = (&mut self.names, &mut first_name) {
                names.push(self.json, &key, first)?;
            }
            self.skip_space();
            self.take(b':', "a colon")?;
            self.skip_space();
            on_field(self, key)?;
            self.skip_space();
            if self.take_if(b',') {
                continue;
            }
            self.take(b'}', "a comma or the end of the object")?;
            self.depth -= 1;
            self.refuse_duplicates(first_name)?;
            return Ok(());
        }
    }

    /// Walks an array: `on_item` gets each index and must take its value.
    pub fn array<E: From<Syntax>>(
        &mut self,
        mut on_item: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.skip_space();
        self.take(b'[', "an array")?;
        self.descend()?;
        self.skip_space();
        if self.take_if(b']') {
            self.depth -= 1;
            return Ok(());
        }
        for index in 0.. {
            self.skip_space();
            on_item(self, index)?;
            self.skip_space();
            if !self.take_if(b',') {
                break;
            }
        }
        self.take(b']', "a comma or the end of the array")?;
        self.depth -= 1;
        Ok(())
    }

    /// Takes a string.
    pub fn string(&mut self) -> Result<Text, Syntax> {
        self.take(b'"', "a string")?;
        let start = self.at;
        let mut escaped = false;
        loop {
            self.at += plain_length(&self.json[self.at..]);
            match self.json.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Text { range: start..self.at - 1, escaped });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => return Err(self.expected("the end of the string (control characters must be escaped)")),
            }
        }
    }

    /// Takes a value of any kind and returns its range.
    pub fn value(&mut self) -> Result<Range<usize>, Syntax> {
        self.skip_space();
        let start = self.at;
        self.skip_value()?;
        Ok(start..self.at)
    }

    /// Takes the end of the text.
    pub fn end(&mut self) -> Result<(), Syntax> {
        self.skip_space();
        if self.at == self.json.len() { Ok(()) } else { Err(self.expected("the end of the text")) }
    }

    fn descend(&mut self) -> Result<(), Syntax> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.expected("less nesting")) } else { Ok(()) }
    }

    fn refuse_duplicates(&mut self, first: Option<FirstName>) -> Result<(), Syntax> {
        let (Some(names), Some(first)) = (&mut self.names, first) else { return Ok(()) };
        if names.end(self.json, first) {
            return Err(self.expected("different names in the object that ends"));
        }
        Ok(())
    }

    fn skip_value(&mut self) -> Result<(), Syntax> {
        self.values += 1;
        match self.json.get(self.at) {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(|scanner, _| scanner.skip_value()),
            Some(b'[') => self.array(|scanner, _| scanner.skip_value()),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.expected("a value")),
        }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Syntax> {
        if !self.json[self.at..].starts_with(word) {
            return Err(self.expected("true, false or null"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Syntax> {
        self.take_if(b'-');
        if !self.take_if(b'0') {
            self.digits()?;
        }
        if self.take_if(b'.') {
            self.digits()?;
        }
        if self.take_if(b'e') || self.take_if(b'E') {
            let _sign = self.take_if(b'+') || self.take_if(b'-');
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), Syntax> {
        let count = self.json[self.at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count == 0 {
            return Err(self.expected("a digit"));
        }
        self.at += count;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Syntax> {
        let length = match self.json.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') => {
                let unit =
                    escaped_unit(&self.json[self.at..]).ok_or(self.expected("four hexadecimal digits"))?;
                match unit {
                    0xd800..0xdc00 if is_low_half(&self.json[self.at + 6..]) => 12,
                    0xd800..0xe000 => {
                        self.lone_surrogate = Some(self.at);
                        6
                    }
                    _ => 6,
                }
            }
            _ => return Err(self.expected("a valid escape")),
        };
        self.at += length;
        Ok(())
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.json.get(self.at) {
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8, expected: &'static str) -> Result<(), Syntax> {
        if self.take_if(byte) { Ok(()) } else { Err(self.expected(expected)) }
    }

    #[inline]
    fn take_if(&mut self, byte: u8) -> bool {
        let found = self.json.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn expected(&self, expected: &'static str) -> Syntax {
        Syntax { at: self.at, expected }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(json: &[u8]) -> bool {
        let mut scanner = Scanner::new(json);
        scanner.value().and_then(|_| scanner.end()).is_ok()
    }

    #[test]
    fn the_scanner_accepts_exactly_what_serde_json_accepts() {
        let cases: [&[u8]; 42] = [
            b"{}",
            b"[]",
            b"0",
            b"-0",
            b"01",
            b"1.",
            b"1.5e+7",
            b"1e",
            b"-",
            b"+1",
            b".5",
            b"true",
            b"tru",
            b"null",
            b"nul",
            b"\"\"",
            b"\"",
            b"\"a\nb\"",
            b"\"a\\nb\"",
            b"\"\\u00e9\"",
            b"\"\\u00g9\"",
            b"\"\\x\"",
            b"{\"a\":1}",
            b"{\"a\":1,}",
            b"{\"a\" 1}",
            b"{a:1}",
            b"[1,]",
            b"[1 2]",
            b"[,1]",
            b" [ 1 , 2 ] ",
            b"{} {}",
            b"",
            b" ",
            b"[",
            b"{",
            b"{\"a\"",
            b"{\"a\":",
            b"[[[[]]]]",
            b"{\"a\":{\"b\":[1,\"2\",null,true]}}",
            b"nan",
            b"\"0123456789abcdef0123456789\\\"abcdef\"",
            b"\"0123456789abcde\x01f\"",
        ];
        for json in cases {
            let theirs = serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok();
            assert_eq!(accepts(json), theirs, "{}", String::from_utf8_lossy(json));
        }
    }

    #[test]
    fn half_a_surrogate_pair_is_detected_and_repaired() {
        let cases = [
            (r#""\ud83d\ude00""#, None),
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\ude00\ud83d""#, Some(r#""\ufffd\ufffd""#)),
            (r#""\ud83d\ud83d\ude00x""#, Some(r#""\ufffd\ud83d\ude00x""#)),
            (r#""\\ud83d""#, None),
            (r#""\uD83Dx\u00e9""#, Some(r#""\ufffdx\u00e9""#)),
        ];
        for (json, expected) in cases {
            let mut scanner = Scanner::new(json.as_bytes());
            scanner.value().and_then(|_| scanner.end()).unwrap();
            assert_eq!(scanner.lone_surrogate().is_some(), expected.is_some(), "{json}");
            let found = repaired(json.as_bytes()).map(|json| String::from_utf8(json).unwrap());
            assert_eq!(found.as_deref(), expected, "{json}");
        }
        assert_eq!(repaired(b"\"a\xe2\x82\"").unwrap(), "\"a\u{fffd}\"".as_bytes());
        assert_eq!(repaired(b"\\"), None);
    }

    #[test]
    fn duplicate_names_are_refused_at_every_depth() {
        let many: String = (0..20).map(|index| format!("\"k{index}\":0,")).collect();
        let cases = [
            (r#"{"a":1,"b":{"a":[{"a":1},{"a":1}]}}"#.to_owned(), true),
            (r#"{"a":{"b":1,"c":2,"b":3}}"#.to_owned(), false),
            (r#"[{"a":[{"\u0062":1,"b":2}]}]"#.to_owned(), false),
            (format!(r#"{{{many}"k20":0}}"#), true),
            (format!(r#"{{{many}"k7":0}}"#), false),
        ];
        for (json, is_fine) in cases {
            let mut scanner = Scanner::strict(json.as_bytes());
            assert_eq!(scanner.value().is_ok(), is_fine, "{json}");
            assert!(Scanner::new(json.as_bytes()).value().is_ok(), "{json}");
        }
        let names: String = (0..=MOST_NAMES).map(|index| format!(",\"{index}\":0")).collect();
        let fault = Scanner::strict(format!("{{{}}}", &names[1..]).as_bytes()).value().unwrap_err();
        assert_eq!(fault.expected, "fewer names in one object");
    }

    #[test]
    fn many_names_are_compared_too() {
        let members = |count: usize| (0..count).map(|at| format!("\"{at}\":{{\"a\":0}}")).collect::<Vec<_>>();
        let is_fine = |json: &str| Scanner::strict(json.as_bytes()).value().is_ok();
        for count in [MANY_NAMES - 1, MANY_NAMES, MANY_NAMES + 1, 5000] {
            let all = members(count).join(",");
            assert!(
                is_fine(&format!("[{{{all}}},{{{all}}},{{\"x\":{{{all}}},\"y\":{{{all}}}}}]")),
                "{count}"
            );
            for again in ["\"7\":0", "\"\\u0037\":0"] {
                assert!(!is_fine(&format!("{{{all},{again}}}")), "{count}");
                assert!(!is_fine(&format!("{{{again},{all}}}")), "{count}");
                assert!(!is_fine(&format!("{{{all},\"x\":{{{again},{all}}}}}")), "{count}");
            }
        }
    }

    #[test]
    fn names_with_a_shared_hash_are_not_duplicates() {
        let object = br#" {"a":0,"b":{"a":1}}"#;
        let mut names = Names::default();
        let hash = |names: &Names, name: &str| {
            let at = object.windows(3).position(|text| text == format!("\"{name}\"").as_bytes()).unwrap() + 1;
            names.hash(object, &Text { range: at..at + 1, escaped: false }) as u32
        };
        let shared = hash(&names, "a");
        names.many = vec![shared, shared, hash(&names, "b")];
        assert!(!names.is_twice_among_many(object, 1, 0));
        let twice = br#" {"a":0,"b":0,"\u0061":0}"#;
        names.many = vec![shared, shared, 1];
        assert!(names.is_twice_among_many(twice, 1, 0));
    }

    #[test]
    fn nesting_is_limited() {
        let deep = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(accepts(&deep(127)) && serde_json::from_slice::<serde_json::Value>(&deep(127)).is_ok());
        assert!(!accepts(&deep(128)) && serde_json::from_slice::<serde_json::Value>(&deep(128)).is_err());
        assert!(!accepts(&deep(100_000)));
    }

    proptest! {
        #![proptest_config(testkit::random::cases(256))]

        #[test]
        fn strings_end_at_their_closing_quote(text in ".{0,80}") {
            let json = serde_json::to_vec(&text).unwrap();
            let found = Scanner::new(&json).string().unwrap();
            prop_assert_eq!(text_of(&json, &found).unwrap(), text);
            prop_assert_eq!(found.range.end, json.len() - 1);
        }

        #[test]
        fn random_bytes_are_accepted_exactly_as_by_serde_json(bytes in "[\\[\\]{}\",:0-9a-f.eE+\\- \\\\utrnl]{0,24}") {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(accepts(bytes.as_bytes()), theirs);
        }
    }
}
