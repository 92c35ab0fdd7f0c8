//! A scanner that walks over JSON text and tells where things are.
//!
//! It checks the whole grammar (numbers, escapes, control characters, nesting depth) but builds nothing. UTF-8 is the
//! caller's business: it is checked once for the whole text.

use std::borrow::Cow;
use std::ops::Range;

use canon::write::plain_length;

/// Deepest nesting accepted; serde_json has the same limit.
const MAX_DEPTH: usize = 128;

/// Where and why a text is no JSON.
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
    /// The word for messages.
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

/// A string as it stands in the text: the range between its quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Between the quotes.
    pub range: Range<usize>,
    /// It contains escapes.
    pub escaped: bool,
}

/// The value of a JSON string in `json`; none if an escape stands for no character (a lone surrogate).
pub fn text_of<'a>(json: &'a [u8], text: &Text) -> Option<Cow<'a, str>> {
    let raw = json.get(text.range.clone())?;
    if !text.escaped {
        return std::str::from_utf8(raw).ok().map(Cow::Borrowed);
    }
    let quoted = json.get(text.range.start - 1..text.range.end + 1)?;
    serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned)
}

/// True for UTF-8. Most JSON is ASCII, which is seen faster.
pub fn is_utf8(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

/// Walks over JSON text. Every method leaves the position just behind what it took.
#[derive(Clone, Debug)]
pub struct Scanner<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    /// At the start of `json`.
    pub fn new(json: &'a [u8]) -> Self {
        Self { json, at: 0 }
    }

    /// The text.
    pub fn json(&self) -> &'a [u8] {
        self.json
    }

    /// The position.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Skips white space and tells the kind of the next value.
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
        self.take(b'{', "an object")?;
        self.skip_space();
        if self.take_if(b'}') {
            return Ok(());
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.take(b':', "a colon")?;
            self.skip_space();
            on_field(self, key)?;
            self.skip_space();
            if self.take_if(b',') {
                continue;
            }
            self.take(b'}', "a comma or the end of the object")?;
            return Ok(());
        }
    }

    /// Walks an array: `on_item` gets each position and must take its value.
    pub fn array<E: From<Syntax>>(
        &mut self,
        mut on_item: impl FnMut(&mut Self, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        self.skip_space();
        self.take(b'[', "an array")?;
        self.skip_space();
        if self.take_if(b']') {
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

    /// Takes a value of any kind and tells where it stands.
    pub fn value(&mut self) -> Result<Range<usize>, Syntax> {
        self.skip_space();
        let start = self.at;
        self.skip_value(MAX_DEPTH)?;
        Ok(start..self.at)
    }

    /// Takes the end of the text.
    pub fn end(&mut self) -> Result<(), Syntax> {
        self.skip_space();
        match self.at == self.json.len() {
            true => Ok(()),
            false => Err(self.expected("the end of the text")),
        }
    }

    fn skip_value(&mut self, depth: usize) -> Result<(), Syntax> {
        match self.json.get(self.at) {
            Some(b'"') => self.string().map(drop),
            Some(b'{' | b'[') if depth == 0 => Err(self.expected("less nesting")),
            Some(b'{') => self.object(|scanner, _| scanner.skip_value(depth - 1)),
            Some(b'[') => self.array(|scanner, _| scanner.skip_value(depth - 1)),
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
                let digits = self.json.get(self.at + 2..self.at + 6);
                if !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)) {
                    return Err(self.expected("four hexadecimal digits"));
                }
                6
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
        match self.take_if(byte) {
            true => Ok(()),
            false => Err(self.expected(expected)),
        }
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
    fn takes_and_refuses_what_serde_json_does() {
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
    fn nesting_is_limited() {
        let deep = |depth: usize| [b"[".repeat(depth), b"]".repeat(depth)].concat();
        assert!(accepts(&deep(128)));
        assert!(!accepts(&deep(100_000)));
    }

    proptest! {
        #[test]
        fn strings_end_where_they_end(text in ".{0,80}") {
            let json = serde_json::to_vec(&text).unwrap();
            let found = Scanner::new(&json).string().unwrap();
            prop_assert_eq!(text_of(&json, &found).unwrap(), text);
            prop_assert_eq!(found.range.end, json.len() - 1);
        }

        #[test]
        fn any_bytes_are_judged_like_serde_json_does(bytes in "[\\[\\]{}\",:0-9a-f.eE+\\- \\\\utrnl]{0,24}") {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&bytes).is_ok();
            prop_assert_eq!(accepts(bytes.as_bytes()), theirs);
        }
    }
}
