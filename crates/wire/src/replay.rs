//! Replays a provider's answer to a later, equal request: the definition of equality, and a new id for every
//! answer.

use bytes::Bytes;
use canon::Event;
use http::{HeaderMap, HeaderValue};
use memchr::memmem;

use crate::endpoints::{PartAnswer, TOKENS_HEADER};
use crate::json::{Members, push_compact};
use crate::{DecoderContext, EventSink, Protocol, adapter};

/// Fields of a request that affect the transport of its answer, not the content.
const TRAVEL: [&str; 2] = ["stream", "stream_options"];
/// A shorter id may occur elsewhere in the answer by chance.
const SHORTEST_ID: usize = 8;
/// The bytes of a length in the text of several answers.
const LENGTH_BYTES: usize = 8;

/// The canonical form of a provider's request: members in the order of their names, without white space, and
/// without the fields that only ask for a stream. A text that is not an object stays unchanged.
pub fn canonical_request(body: &[u8]) -> Vec<u8> {
    let Some(members) = str::from_utf8(body).ok().and_then(Members::of) else { return body.to_vec() };
    let mut sorted: Vec<_> = members.iter().filter(|(name, _)| !TRAVEL.contains(&name.as_ref())).collect();
    sorted.sort_by(|(left, _), (right, _)| left.cmp(right));
    let mut out = Vec::with_capacity(body.len());
    for (name, value) in sorted {
        out.extend_from_slice(&(name.len() as u64).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        push_compact(&mut out, value);
        out.push(b'\n');
    }
    out
}

/// The provider's id of its answer, if the bytes contain one.
pub fn answer_id(protocol: Protocol, streams: bool, body: &[u8]) -> Option<String> {
    let mut first = FirstId::default();
    let mut decoder = adapter(protocol).decoder(streams, &DecoderContext::default());
    // An unreadable answer has no id.
    let _ = decoder.push(body, &mut first).and_then(|()| decoder.finish(&mut first));
    first.id.filter(|id| is_replaceable(id))
}

/// Answers to the parts of a request as one text: of each, the header that readers read, and the body.
pub fn of_parts(parts: &[PartAnswer]) -> Bytes {
    let mut out = Vec::with_capacity(length_of(parts));
    for part in parts {
        for text in [counted_tokens(part), &part.body] {
            out.extend_from_slice(&(text.len() as u64).to_le_bytes());
            out.extend_from_slice(text);
        }
    }
    out.into()
}

/// The length of that text.
pub fn length_of(parts: &[PartAnswer]) -> usize {
    parts.iter().map(|part| 2 * LENGTH_BYTES + counted_tokens(part).len() + part.body.len()).sum()
}

/// The answers in such a text. None if it is damaged.
pub fn parts_of(kept: &Bytes) -> Option<Vec<PartAnswer>> {
    let mut rest = kept.clone();
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (tokens, body) = (take_text(&mut rest)?, take_text(&mut rest)?);
        let mut headers = HeaderMap::new();
        if !tokens.is_empty() {
            headers.insert(TOKENS_HEADER, HeaderValue::from_maybe_shared(tokens).ok()?);
        }
        parts.push(PartAnswer { headers, body });
    }
    (!parts.is_empty()).then_some(parts)
}

fn counted_tokens(part: &PartAnswer) -> &[u8] {
    part.headers.get(TOKENS_HEADER).map_or(b"", HeaderValue::as_bytes)
}

fn take_text(rest: &mut Bytes) -> Option<Bytes> {
    let length = u64::from_le_bytes(rest.get(..LENGTH_BYTES)?.try_into().ok()?);
    let end = usize::try_from(length).ok()?.checked_add(LENGTH_BYTES)?;
    let text = rest.get(LENGTH_BYTES..end).map(|text| rest.slice_ref(text))?;
    *rest = rest.slice(end..);
    Some(text)
}

/// The id of an answer without a conversation, if it has one that can be replaced.
pub fn top_id(body: &[u8]) -> Option<String> {
    let members = Members::of(str::from_utf8(body).ok()?)?;
    let id = members.get("id")?.strip_prefix('"')?.strip_suffix('"')?;
    is_replaceable(id).then(|| id.to_owned())
}

/// The answer with another id: `unique` after the old one's prefix, such as `chatcmpl-`.
pub fn with_id(body: &Bytes, old: &str, unique: &str) -> Bytes {
    let quoted = format!("\"{old}\"");
    let new = format!("\"{}{unique}\"", prefix(old));
    let mut out = Vec::new();
    let mut rest = 0;
    for at in memmem::find_iter(body, &quoted) {
        out.extend_from_slice(&body[rest..at]);
        out.extend_from_slice(new.as_bytes());
        rest = at + quoted.len();
    }
    if rest == 0 {
        return body.clone();
    }
    out.extend_from_slice(&body[rest..]);
    out.into()
}

/// The prefix of ids of this kind: a word and a separator.
fn prefix(id: &str) -> &str {
    let word = id.bytes().take_while(u8::is_ascii_lowercase).count();
    match id.as_bytes().get(word) {
        Some(b'-' | b'_') if word > 0 => &id[..=word],
        _ => "",
    }
}

fn is_replaceable(id: &str) -> bool {
    id.len() >= SHORTEST_ID && id.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[derive(Default)]
struct FirstId {
    id: Option<String>,
}

impl EventSink for FirstId {
    fn push(&mut self, event: Event) {
        if let Event::Start { id: Some(id), .. } = event
            && self.id.is_none()
        {
            self.id = Some(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_requests_have_one_form() {
        let one =
            canonical_request(br#"{"model":"m","messages":[{"role":"user","content":"a b"}],"stream":true}"#);
        let other = canonical_request(
            b"{ \"messages\": [ {\"role\":\"user\", \"content\":\"a b\"} ],\n \"model\": \"m\", \"stream_options\":{\"include_usage\":true} }",
        );
        assert_eq!(String::from_utf8_lossy(&one), String::from_utf8_lossy(&other));
        let further = canonical_request(br#"{"model":"m","messages":[{"role":"user","content":"a  b"}]}"#);
        assert_ne!(one, further, "white space in texts counts");
        // A name must not be confused with another name and its value.
        assert_ne!(canonical_request(br#"{"a":1,"b":2}"#), canonical_request(br#"{"a":"1\n","b":2}"#));
        assert_eq!(canonical_request(b"no json"), b"no json");
    }

    #[test]
    fn each_replayed_answer_gets_a_new_id() {
        let whole = Bytes::from_static(
            br#"{"id":"chatcmpl-12345678","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
        );
        let id = answer_id(Protocol::OpenaiChat, false, &whole).unwrap();
        assert_eq!(id, "chatcmpl-12345678");
        let fresh = String::from_utf8(with_id(&whole, &id, "new").to_vec()).unwrap();
        assert!(fresh.starts_with(r#"{"id":"chatcmpl-new","object""#), "{fresh}");
        assert_eq!(answer_id(Protocol::OpenaiChat, false, b"{}"), None);
        for (id, expected) in [("msg_01", "msg_"), ("AbC-1", ""), ("resp-a_b", "resp-"), ("0f-1", "")] {
            assert_eq!(prefix(id), expected);
        }
    }

    #[test]
    fn answers_to_parts_are_read_as_they_were_written() {
        let part = |tokens: Option<&'static str>, body: &'static str| {
            let headers =
                tokens.map(|tokens| (TOKENS_HEADER.parse().unwrap(), HeaderValue::from_static(tokens)));
            PartAnswer { headers: headers.into_iter().collect(), body: Bytes::from_static(body.as_bytes()) }
        };
        let parts = [part(Some("12"), "{}"), part(None, "[1]"), part(None, "")];
        let kept = of_parts(&parts);
        assert_eq!(kept.len(), length_of(&parts));
        let read = parts_of(&kept).unwrap();
        assert_eq!(format!("{read:?}"), format!("{parts:?}"));
        // Only a cut at a boundary is another list of answers.
        let whole = (0..kept.len()).filter(|end| parts_of(&kept.slice(..*end)).is_some()).count();
        assert_eq!(whole, 2);
        for (body, id) in [
            (r#"{"id":"modr-12345678","results":[]}"#, Some("modr-12345678")),
            (r#"{"results":[{"id":"modr-12345678"}]}"#, None),
            (r#"{"id":"short"}"#, None),
            (r#"{"id":12345678}"#, None),
            ("[]", None),
        ] {
            assert_eq!(top_id(body.as_bytes()).as_deref(), id, "{body}");
        }
    }

    #[test]
    fn the_id_of_a_stream_is_in_all_of_its_events() {
        let chunk = |rest: &str| format!("data: {{\"id\":\"gen-123456789\",\"model\":\"m\",{rest}}}\n\n");
        let stream = [
            chunk(r#""choices":[{"index":0,"delta":{"role":"assistant","content":"hi"}}]"#),
            chunk(r#""choices":[{"index":0,"delta":{},"finish_reason":"stop"}]"#),
            "data: [DONE]\n\n".to_owned(),
        ];
        let body = Bytes::from(stream.concat());
        let id = answer_id(Protocol::OpenaiChat, true, &body).unwrap();
        let fresh = String::from_utf8(with_id(&body, &id, "x").to_vec()).unwrap();
        assert_eq!((fresh.matches("gen-x").count(), fresh.matches("gen-123456789").count()), (2, 0));
    }
}
