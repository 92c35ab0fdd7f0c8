//! Repairs of providers' slightly invalid output. The relay between equal formats repairs the same.

use std::borrow::Cow;

use canon::Json;
use canon::scan::may_have_unicode_escape;

use crate::json::{is_utf8, repaired};

/// JSON that a strict parser accepts: models cut characters in half when a token ends within one, and some
/// servers pass the halves on. The check costs a fraction of the parsing, and nearly always finds nothing.
pub(super) fn valid_json(json: &[u8]) -> Cow<'_, [u8]> {
    if is_utf8(json) && !may_have_unicode_escape(json) {
        return Cow::Borrowed(json);
    }
    repaired(json).map_or(Cow::Borrowed(json), Cow::Owned)
}

/// The same for a body of one's own.
pub(super) fn into_valid_json(json: Vec<u8>) -> Vec<u8> {
    let repaired = match valid_json(&json) {
        Cow::Owned(repaired) => Some(repaired),
        Cow::Borrowed(_) => None,
    };
    repaired.unwrap_or(json)
}

/// The arguments of a call as JSON text, where the format has a JSON value: some servers send its text in a
/// string. Empty for none.
pub(super) fn arguments(given: &str) -> Cow<'_, str> {
    let given = given.trim();
    match given.as_bytes().first() {
        None | Some(b'n') => Cow::Borrowed(""),
        Some(b'"') => {
            let inner: String = serde_json::from_str(given).unwrap_or_default();
            let text = inner.trim();
            if text.is_empty() || text.starts_with('{') && Json::parse(text.to_owned()).is_ok() {
                Cow::Owned(text.to_owned())
            } else {
                Cow::Borrowed(given)
            }
        }
        _ => Cow::Borrowed(given),
    }
}

/// The same where the format has a string, and some servers send the value.
pub(super) fn fragment(given: Option<Json>) -> String {
    match given {
        None => String::new(),
        Some(json) if json.is_null() => String::new(),
        Some(json) => json.read::<String>().unwrap_or_else(|_| json.as_str().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_characters_are_replaced() {
        assert!(matches!(valid_json(br#"{"a":"b\n"}"#), Cow::Borrowed(_)));
        assert!(matches!(valid_json(r#"{"a":"\ud83d\ude00é"}"#.as_bytes()), Cow::Borrowed(_)));
        assert_eq!(&*valid_json(br#"{"a":"\ud83d"}"#), br#"{"a":"\ufffd"}"#);
        assert_eq!(&*valid_json(b"{\"a\":\"\xf0\x9f\"}"), "{\"a\":\"\u{fffd}\"}".as_bytes());
    }

    #[test]
    fn arguments_in_a_string_are_unwrapped() {
        let cases = [
            (r#"{"a": 1}"#, r#"{"a": 1}"#),
            (r#""{\"a\":1}""#, r#"{"a":1}"#),
            (r#"" {\"a\":1}\n""#, r#"{"a":1}"#),
            (r#""""#, ""),
            ("null", ""),
            ("", ""),
            (r#""free text""#, r#""free text""#),
            (r#""{broken""#, r#""{broken""#),
            ("[1]", "[1]"),
        ];
        for (given, expected) in cases {
            assert_eq!(arguments(given), expected, "{given}");
        }
    }
}
