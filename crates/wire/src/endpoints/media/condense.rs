//! JSON without the content of its long strings: enough for metering an answer with megabytes of images or
//! audio.

use memchr::memchr2;

/// The kept length of a string.
const KEPT: usize = 256;
/// The next byte selects the kind of escape. More than the remaining bytes of any escape.
const ESCAPED: u8 = 5;

/// Shortens the strings of JSON that arrives in pieces.
#[derive(Clone, Debug, Default)]
pub struct Condenser {
    /// Within a string: the kept length so far.
    string: Option<usize>,
    /// The rest of the string is left out.
    is_cut: bool,
    /// How many bytes of an escape are still to come.
    escape: u8,
}

impl Condenser {
    /// Takes a piece, and appends the kept part of it.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let Some(&byte) = bytes.first() {
            match self.string {
                None => {
                    let quote = memchr::memchr(b'"', bytes);
                    let end = quote.map_or(bytes.len(), |at| at + 1);
                    out.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    if quote.is_some() {
                        *self = Self { string: Some(0), ..Self::default() };
                    }
                }
                Some(kept) if !self.is_cut && !self.may_cut(kept, byte) => {
                    self.keep(byte, kept);
                    out.push(byte);
                    bytes = &bytes[1..];
                }
                Some(_) => {
                    self.is_cut = true;
                    bytes = self.skip(bytes, out);
                }
            }
        }
    }

    /// Not within a character, an escape, or the two escapes of one character.
    fn may_cut(&self, kept: usize, next: u8) -> bool {
        let is_within_character = next & 0xC0 == 0x80;
        kept >= KEPT && self.escape == 0 && next != b'\\' && !is_within_character
    }

    fn keep(&mut self, byte: u8, kept: usize) {
        self.string = match (self.escape, byte) {
            (0, b'"') => None,
            _ => Some(kept + 1),
        };
        self.escape = match (self.escape, byte) {
            (0, b'\\') => ESCAPED,
            (ESCAPED, b'u') => 4,
            (ESCAPED, _) => 0,
            (left, _) => left.saturating_sub(1),
        };
    }

    /// Skips to the end of the string.
    fn skip<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        if self.escape > 0 {
            self.escape = 0;
            return &bytes[1..];
        }
        let Some(at) = memchr2(b'"', b'\\', bytes) else { return &[] };
        match bytes[at] {
            b'"' => {
                out.push(b'"');
                *self = Self::default();
            }
            _ => self.escape = ESCAPED,
        }
        &bytes[at + 1..]
    }
}

/// Whole JSON without the content of its long strings.
pub fn condensed(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Condenser::default().push(json, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn long_strings_are_cut_and_nothing_else_is() {
        let long = "ü\\\"\u{1F600}\n".repeat(900);
        for lead in 0..12 {
            let shifted = format!("{}{long}", "x".repeat(lead));
            let whole =
                json!({"a": shifted, "b": [1, "short \" \\"], "usage": {"n": 7}, "c\"": "\\"}).to_string();
            let cut: Value = serde_json::from_slice(&condensed(whole.as_bytes())).unwrap();
            assert_eq!(cut["usage"], json!({"n": 7}));
            assert_eq!((&cut["b"][1], &cut["c\""]), (&json!("short \" \\"), &json!("\\")));
            let kept = cut["a"].as_str().unwrap();
            assert!(shifted.starts_with(kept) && kept.len() < 400, "{kept}");
        }
    }

    #[test]
    fn pieces_give_the_same_result_as_the_whole() {
        let text =
            format!("{{\"a\":\"{}\\u00e9\\\\\",\"b\":\"\\\"{}\"}}", "é".repeat(200), "\\\\".repeat(300));
        let whole = condensed(text.as_bytes());
        for at in 0..text.len() {
            let (mut condenser, mut out) = (Condenser::default(), Vec::new());
            condenser.push(&text.as_bytes()[..at], &mut out);
            condenser.push(&text.as_bytes()[at..], &mut out);
            assert_eq!(out, whole, "{at}");
        }
        assert!(serde_json::from_slice::<Value>(&whole).is_ok());
    }
}
