//! Whether an answer in OpenAI's format is what the upstream sent.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use memchr::memchr;
use serde::Deserialize;
use serde::de::IgnoredAny;

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

/// Checks an answer that came whole.
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

/// What stands behind each `data:`.
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
    fn what_the_upstream_sends_is_right() {
        let answers = Answers::of(Format::OpenAi);
        whole(body(&answers.whole).as_bytes(), &whole_text()).unwrap();
        stream(&answers.events.concat(), &stream_text()).unwrap();
    }

    #[test]
    fn what_is_changed_or_cut_is_wrong() {
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
