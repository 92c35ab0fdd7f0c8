//! Checks that an answer equals what the upstream sent, in OpenAI's format or in Anthropic's.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use memchr::memchr;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::answers::Format;

/// A whole answer, and a chunk of a stream.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    choices: Vec<Choice<'a>>,
    usage: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, alias = "delta")]
    message: Message<'a>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
}

/// Checks an answer to a caller of this format.
pub fn answer(caller: Format, stream: bool, body: &[u8], expected: &str) -> Result<()> {
    match (caller, stream) {
        (Format::Anthropic, false) => message(body, expected),
        (Format::Anthropic, true) => messages(body, expected),
        (Format::OpenAi | Format::Gemini, false) => whole(body, expected),
        (Format::OpenAi | Format::Gemini, true) => self::stream(body, expected),
    }
}

/// A whole message of Anthropic's, and an event of a stream.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    content: Option<Vec<Piece<'a>>>,
    #[serde(borrow)]
    delta: Option<Piece<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
    usage: Option<IgnoredAny>,
}

/// A block of content, or its delta.
#[derive(Deserialize)]
struct Piece<'a> {
    #[serde(borrow)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    stop_reason: Option<Cow<'a, str>>,
}

fn message(body: &[u8], expected: &str) -> Result<()> {
    let answer: Event = serde_json::from_slice(body).context("the answer is no message")?;
    let [block] = answer.content.as_deref().unwrap_or_default() else { bail!("not one block") };
    ensure!(block.text.as_deref() == Some(expected), "the text differs");
    ensure!(answer.stop_reason.as_deref() == Some("end_turn"), "no stop_reason");
    ensure!(answer.usage.is_some(), "no usage");
    Ok(())
}

fn messages(body: &[u8], expected: &str) -> Result<()> {
    let mut left = expected;
    let (mut stopped, mut usage, mut done) = (false, false, false);
    for data in events(body) {
        ensure!(!done, "an event after the end");
        let event: Event = serde_json::from_slice(data)
            .with_context(|| format!("no event: {}", String::from_utf8_lossy(data)))?;
        done = event.kind == "message_stop";
        usage |= event.usage.is_some();
        let Some(delta) = event.delta else { continue };
        let text = delta.text.as_deref().unwrap_or_default();
        left = left.strip_prefix(text).with_context(|| format!("the text differs at {text:?}"))?;
        stopped |= delta.stop_reason.as_deref() == Some("end_turn");
    }
    ensure!(left.is_empty(), "{} of {} bytes are missing", left.len(), expected.len());
    ensure!(stopped, "no stop_reason");
    ensure!(usage, "no usage");
    ensure!(done, "no message_stop");
    Ok(())
}

/// Checks an unstreamed answer.
pub fn whole(body: &[u8], expected: &str) -> Result<()> {
    let answer: Answer = serde_json::from_slice(body).context("the answer is no chat completion")?;
    let [choice] = answer.choices.as_slice() else { bail!("{} choices", answer.choices.len()) };
    ensure!(choice.message.content.as_deref() == Some(expected), "the text differs");
    ensure!(choice.finish_reason.as_deref() == Some("stop"), "no finish_reason");
    ensure!(answer.usage.is_some(), "no usage");
    Ok(())
}

/// Checks the events of a stream that is complete.
pub fn stream(body: &[u8], expected: &str) -> Result<()> {
    let mut left = expected;
    let (mut stopped, mut usage, mut done) = (false, false, false);
    for data in events(body) {
        ensure!(!done, "an event after the end");
        if data == b"[DONE]" {
            done = true;
            continue;
        }
        let chunk: Answer = serde_json::from_slice(data)
            .with_context(|| format!("no chunk: {}", String::from_utf8_lossy(data)))?;
        for choice in &chunk.choices {
            let text = choice.message.content.as_deref().unwrap_or_default();
            left = left.strip_prefix(text).with_context(|| format!("the text differs at {text:?}"))?;
            stopped |= choice.finish_reason.as_deref() == Some("stop");
        }
        usage |= chunk.usage.is_some();
    }
    ensure!(left.is_empty(), "{} of {} bytes are missing", left.len(), expected.len());
    ensure!(stopped, "no finish_reason");
    ensure!(usage, "no usage");
    ensure!(done, "no [DONE]");
    Ok(())
}

/// The content after each `data:`.
fn events(mut body: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        loop {
            let end = memchr(b'\n', body)?;
            let line = &body[..end];
            body = &body[end + 1..];
            if let Some(data) = line.strip_prefix(b"data:") {
                return Some(data.trim_ascii());
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answers::{Answers, Format, stream_text, whole_text};

    fn body(answer: &[u8]) -> String {
        let text = String::from_utf8(answer.to_vec()).unwrap();
        text.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    #[test]
    fn answers_of_the_upstream_are_correct() {
        let answers = Answers::of(Format::OpenAi);
        whole(body(&answers.whole).as_bytes(), &whole_text()).unwrap();
        stream(&answers.events.concat(), &stream_text()).unwrap();
    }

    #[test]
    fn answers_in_anthropics_format_are_checked() {
        let answers = Answers::of(Format::Anthropic);
        let good = body(&answers.whole);
        answer(Format::Anthropic, false, good.as_bytes(), &whole_text()).unwrap();
        answer(Format::Anthropic, true, &answers.events.concat(), &stream_text()).unwrap();
        for (from, to) in [("naïve", "naive"), ("\"end_turn\"", "null"), ("\"usage\"", "\"use\"")] {
            assert!(good.contains(from));
            message(good.replace(from, to).as_bytes(), &whole_text()).unwrap_err();
        }
        for missing in [10, 68, 69] {
            let mut cut = answers.events.clone();
            cut.remove(missing);
            messages(&cut.concat(), &stream_text()).unwrap_err();
        }
    }

    #[test]
    fn changed_and_cut_answers_are_wrong() {
        let answers = Answers::of(Format::OpenAi);
        let good = body(&answers.whole);
        for (from, to) in [("naïve", "naive"), ("\"stop\"", "null"), ("\"usage\"", "\"use\"")] {
            assert!(good.contains(from));
            whole(good.replace(from, to).as_bytes(), &whole_text()).unwrap_err();
        }
        whole(&good.as_bytes()[..good.len() - 1], &whole_text()).unwrap_err();
        let events = answers.events;
        for missing in [0, 10, 64, 65, 66] {
            let mut cut = events.clone();
            cut.remove(missing);
            stream(&cut.concat(), &stream_text()).unwrap_err();
        }
    }
}
