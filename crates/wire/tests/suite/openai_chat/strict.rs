//! A strict parser can read the output for any input.

use canon::Error;
use serde_json::Value;

use super::{assert_stream_rules, documents, form, relayed};

const OPENING: &str = r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#;
const ENDING: &str = r#"{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#;

/// The documents that a caller gets from a stream in which these bytes are the data of one event between
/// valid events.
fn streamed(data: &[u8]) -> Result<Vec<Value>, Error> {
    let head = format!("data: {OPENING}\n\ndata: ");
    let tail = format!("\n\ndata: {ENDING}\n\ndata: [DONE]\n\n");
    let body = [head.as_bytes(), data, tail.as_bytes()].concat();
    let (text, _) = relayed(form(true), [&body[..]]).map_err(|(error, _)| error)?;
    assert_stream_rules(&text, true);
    Ok(documents(true, &text))
}

fn chunk(delta: &str) -> String {
    format!(
        r#"{{"id":"a","object":"chat.completion.chunk","created":1,"model":"m","choices":[{{"index":0,"delta":{delta},"finish_reason":null}}]}}"#
    )
}

fn whole(body: &[u8]) -> Result<Value, Error> {
    let (text, _) = relayed(form(false), [body]).map_err(|(error, _)| error)?;
    Ok(documents(false, &text).remove(0))
}

fn completion(content: &str) -> String {
    format!(
        r#"{{"id":"a","object":"chat.completion","created":1,"model":"m","choices":[{{"index":0,"message":{{"role":"assistant","content":"{content}"}},"finish_reason":"stop"}}],"usage":{{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}}}"#
    )
}

/// Found by `mutated::damaged_relays_pass_the_checks`: one byte of an escaped emoji was changed.
#[test]
fn half_a_surrogate_pair_becomes_a_replacement_character() {
    for (escapes, expected) in
        [(r"\ud83d", "\u{fffd}"), (r"a\ude00b", "a\u{fffd}b"), (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}")]
    {
        let documents = streamed(chunk(&format!(r#"{{"content":"{escapes}"}}"#)).as_bytes()).unwrap();
        assert_eq!(documents[1]["choices"][0]["delta"]["content"], expected);
        let answer = whole(completion(escapes).as_bytes()).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], expected);
    }
    // Also in a field that the gateway does not read.
    let odd = chunk(r#"{"content":"x"}"#).replace(r#""created""#, r#""odd":["\udc00"],"created""#);
    assert_eq!(streamed(odd.as_bytes()).unwrap()[1]["odd"][0], "\u{fffd}");
}

#[test]
fn a_cut_in_a_character_becomes_a_replacement_character() {
    let cut = |text: String| text.replace('é', "\u{1}").into_bytes();
    let broken = |text: String| -> Vec<u8> {
        cut(text).iter().map(|byte| if *byte == 1 { 0xc3 } else { *byte }).collect()
    };
    let documents = streamed(&broken(chunk(r#"{"content":"né"}"#))).unwrap();
    assert_eq!(documents[1]["choices"][0]["delta"]["content"], "n\u{fffd}");
    let answer = whole(&broken(completion("né"))).unwrap();
    assert_eq!(answer["choices"][0]["message"]["content"], "n\u{fffd}");
}

#[test]
fn unreadable_events_are_errors() {
    for content in ["\\x", "\u{1}", "\\u12", "\\"] {
        assert!(streamed(chunk(&format!(r#"{{"content":"{content}"}}"#)).as_bytes()).is_err(), "{content:?}");
        assert!(whole(completion(content).as_bytes()).is_err(), "{content:?}");
    }
}

/// Server-sent events end a field at each line end: joined lines cannot be copied as they are.
#[test]
fn an_event_of_several_lines_stays_one_event() {
    let data = chunk(r#"{"content":"x"}"#).replace(r#","created""#, ",\ndata: \"created\"");
    assert_eq!(streamed(data.as_bytes()).unwrap()[1]["choices"][0]["delta"]["content"], "x");
}

/// Readers differ on duplicate fields and on names with escapes: the output must have neither.
#[test]
fn duplicate_and_escaped_names_are_removed() {
    let documents =
        streamed(chunk(r#"{"content":"x"}"#).replace(r#""model":"m""#, r#""id":"a""#).as_bytes()).unwrap();
    assert_eq!(documents[1]["model"], "m", "an id that comes twice stands for no model");
    let documents = streamed(chunk(r#"{"content":"x","content":"y"}"#).as_bytes()).unwrap();
    assert_eq!(documents[1]["choices"][0]["delta"]["content"], "y");
    let twice = completion("x")
        .replace(r#""created":1"#, r#""m\u0065tadata":1,"created":1"#)
        .replace(r#","message""#, r#","message":{"role":"assistant","content":"first"},"message""#);
    let (text, _) = relayed(form(false), [twice.as_bytes()]).unwrap();
    assert_eq!(text.matches("metadata").count(), 1, "{text}");
    assert_eq!(text.matches("\"message\"").count(), 1, "{text}");
    let error =
        chunk(r#"{"content":"x"}"#).replace(r#""created""#, r#""\u0065rror":{"message":"no"},"created""#);
    assert!(streamed(error.as_bytes()).is_err());
}
