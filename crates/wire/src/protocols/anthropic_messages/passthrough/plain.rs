//! Messages and events with only text, which are most answers: checked in place and passed on unchanged.

use std::ops::Range;

use super::OWN;
use crate::json::{FastPathMiss, Kind, Scanner, SeenFields, ensure, is_utf8, plain_name, plain_string};

/// A whole message of texts.
pub(super) struct PlainMessage {
    pub id: Range<usize>,
    pub model: Range<usize>,
    pub stop_reason: Range<usize>,
    pub usage: Range<usize>,
    /// The length of the texts as written.
    pub length: usize,
    /// The position after the last brace.
    pub end: usize,
}

/// Checks a message; none unless it is valid as a whole.
pub(super) fn message(json: &[u8]) -> Option<PlainMessage> {
    if !is_utf8(json) {
        return None;
    }
    let mut scanner = Scanner::new(json);
    let mut found = PlainMessage { id: 0..0, model: 0..0, stop_reason: 0..0, usage: 0..0, length: 0, end: 0 };
    let mut met = SeenFields::default();
    let walked = scanner.object(|scanner, key| {
        match plain_name(json, &key)? {
            b"type" => {
                met.once(0)?;
                ensure(&json[plain_string(scanner)?] == b"message")?;
            }
            b"id" => {
                met.once(1)?;
                found.id = plain_string(scanner)?;
            }
            b"model" => {
                met.once(2)?;
                found.model = plain_string(scanner)?;
            }
            b"content" => {
                met.once(3)?;
                ensure(scanner.kind()? == Kind::Array)?;
                scanner.array(|scanner, _| {
                    found.length += text_of(scanner, b"text", |value| matches!(value, b"null" | b"[]"))?;
                    Ok::<(), FastPathMiss>(())
                })?;
            }
            b"stop_reason" => {
                met.once(4)?;
                found.stop_reason = plain_string(scanner)?;
            }
            b"usage" => {
                met.once(5)?;
                ensure(scanner.kind()? == Kind::Object)?;
                found.usage = scanner.value()?;
            }
            b"stop_details" => ensure(&json[scanner.value()?] == b"null")?,
            b"error" => return Err(FastPathMiss),
            name if name == OWN.as_bytes() => return Err(FastPathMiss),
            _ => {
                scanner.value()?;
            }
        }
        Ok(())
    });
    walked.ok()?;
    found.end = scanner.position();
    scanner.end().ok()?;
    let in_order = met.all(6) && !found.id.is_empty() && !found.model.is_empty();
    (in_order && scanner.lone_surrogate().is_none()).then_some(found)
}

/// The length of the text in an object of this type, whose other members are empty (`citations: null`).
fn text_of(
    scanner: &mut Scanner<'_>,
    kind: &[u8],
    says_nothing: fn(&[u8]) -> bool,
) -> Result<usize, FastPathMiss> {
    let json = scanner.json();
    let (mut met, mut length) = (SeenFields::default(), 0);
    ensure(scanner.kind()? == Kind::Object)?;
    scanner.object(|scanner, key| {
        match plain_name(json, &key)? {
            b"type" => {
                met.once(0)?;
                ensure(&json[plain_string(scanner)?] == kind)?;
            }
            b"text" => {
                met.once(1)?;
                ensure(scanner.kind()? == Kind::String)?;
                length = scanner.string()?.range.len();
            }
            _ => ensure(says_nothing(&json[scanner.value()?]))?,
        }
        Ok::<(), FastPathMiss>(())
    })?;
    ensure(met.all(2))?;
    Ok(length)
}

/// A piece of text: the index of its block, and its length as written.
pub(super) fn text_delta(json: &[u8]) -> Option<(u64, usize)> {
    let mut scanner = Scanner::new(json);
    let (mut met, mut index, mut length) = (SeenFields::default(), 0..0, 0);
    let walked = scanner.object(|scanner, key| {
        match plain_name(json, &key)? {
            b"type" => {
                met.once(0)?;
                ensure(&json[plain_string(scanner)?] == b"content_block_delta")?;
            }
            b"index" => {
                met.once(1)?;
                ensure(scanner.kind()? == Kind::Number)?;
                index = scanner.value()?;
            }
            b"delta" => {
                met.once(2)?;
                length = text_of(scanner, b"text_delta", |_| false)?;
            }
            _ => return Err(FastPathMiss),
        }
        Ok(())
    });
    walked.ok()?;
    scanner.end().ok()?;
    if !met.all(3) || scanner.lone_surrogate().is_some() || !is_utf8(json) {
        return None;
    }
    let index = std::str::from_utf8(&json[index]).ok()?.parse().ok()?;
    Some((index, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#" {"type":"message","id":"m","model":"c","role":"assistant","new":{"a":1},"content":[{"type":"text","text":"Hi\n","citations":null}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}} "#;

    #[test]
    fn messages_of_text_are_plain() {
        let found = message(MESSAGE.as_bytes()).unwrap();
        let text = |range: Range<usize>| &MESSAGE[range];
        assert_eq!((text(found.id), text(found.model), text(found.stop_reason)), ("m", "c", "end_turn"));
        assert_eq!(text(found.usage), r#"{"input_tokens":1,"output_tokens":2}"#);
        assert_eq!((found.length, &MESSAGE[found.end - 1..]), (4, "} "));
    }

    #[test]
    fn all_other_messages_are_not_plain() {
        for (from, to) in [
            (r#""type":"message""#, r#""type":"error""#),
            (r#""id":"m""#, r#""id":"""#),
            (r#""id":"m","#, ""),
            (r#""id":"m""#, r#""id":"m","id":"n""#),
            (r#""model""#, r#""mod\u0065l""#),
            (r#""type":"text""#, r#""type":"thinking""#),
            (r#""citations":null"#, r#""citations":[{}]"#),
            (r#""stop_reason":"end_turn""#, r#""stop_reason":null"#),
            (r#""stop_sequence":null"#, r#""stop_details":{}"#),
            (r#""new":{"a":1}"#, r#""llmgateway":{}"#),
            (r#""Hi\n""#, r#""\ud83d""#),
            ("}} ", "}} x"),
        ] {
            assert!(MESSAGE.contains(from), "{from}");
            assert!(message(MESSAGE.replace(from, to).as_bytes()).is_none(), "{to}");
        }
    }

    #[test]
    fn pieces_of_text_are_plain() {
        let plain = r#"{"type":"content_block_delta","index":3,"delta":{"type":"text_delta","text":"é\n"}}"#;
        assert_eq!(text_delta(plain.as_bytes()), Some((3, 4)));
        for (from, to) in [
            ("text_delta", "thinking_delta"),
            ("content_block_delta", "content_block_start"),
            (":3", ":3.5"),
            (r#""index":3"#, r#""index":3,"index":4"#),
            (r#""index":3,"#, ""),
            (r#"\n"#, r#"\ud83d"#),
            ("}}", r#"},"further":1}"#),
            ("}}", "}"),
        ] {
            assert!(text_delta(plain.replace(from, to).as_bytes()).is_none(), "{to}");
        }
    }
}
