//! Reads the routing facts of a completions request.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Feature, Result};

use crate::Intake;
use crate::intake::{check_kind, whole};
use crate::json::{Items, Kind, Scanner};
use crate::protocols::openai_chat::{check_field, has_true};

/// Most alternatives per token: OpenAI accepts 5 here, others 20 as in chat.
const MOST_LOGPROBS: i64 = 20;
/// Most candidates that OpenAI chooses from.
const MOST_CANDIDATES: i64 = 20;

/// Reads a request. Errors name the field by its JSON path; values that only the provider can judge are
/// passed on.
pub(super) fn intake(body: &Bytes) -> Result<Intake> {
    let mut intake = Intake::empty(body);
    intake.scan(take_field)?;
    check_whole(&intake)?;
    // The answer repeats its prompt.
    if intake.non_null("echo") == Some(b"true") {
        intake.form.request = Some(body.clone());
    }
    let text = |name| intake.string(name).map(Cow::into_owned);
    let (conversation, tier) = (text("prompt_cache_key").or_else(|| text("user")), text("service_tier"));
    intake.conversation = conversation;
    intake.service_tier = tier;
    Ok(intake)
}

fn take_field(intake: &mut Intake, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
    let kind = scanner.kind()?;
    let raw = &scanner.json()[scanner.value()?];
    if kind == Kind::Null && name != "model" {
        return Ok(());
    }
    check(name, kind, raw)?;
    match name {
        "model" => intake.take_model(raw)?,
        "prompt" => {
            intake.size.text_bytes = raw.len();
            intake.size.messages = 1;
        }
        "stream" => intake.form.stream = raw == b"true",
        "stream_options" => intake.form.include_usage |= has_true(raw, "include_usage"),
        "usage" => intake.form.include_usage |= has_true(raw, "include"),
        "max_tokens" => intake.max_output_tokens = whole(raw).and_then(|count| u64::try_from(count).ok()),
        "n" if whole(raw).is_some_and(|count| count > 1) => intake.needs.insert(Feature::MultipleChoices),
        "logprobs" => intake.needs.insert(Feature::Logprobs),
        _ => {}
    }
    Ok(())
}

fn check(name: &str, kind: Kind, raw: &[u8]) -> Result<()> {
    match name {
        "prompt" => check_prompt(kind, raw),
        "suffix" => check_kind(name, kind, Kind::String),
        "echo" => check_kind(name, kind, Kind::Bool),
        "logprobs" => check_count(name, kind, raw, 0..=MOST_LOGPROBS),
        "best_of" => check_count(name, kind, raw, 1..=MOST_CANDIDATES),
        _ => check_field(name, kind, raw),
    }
}

fn check_count(name: &str, kind: Kind, raw: &[u8], range: std::ops::RangeInclusive<i64>) -> Result<()> {
    check_kind(name, kind, Kind::Number)?;
    if whole(raw).is_some_and(|count| range.contains(&count)) {
        Ok(())
    } else {
        let message = format!("{name} must be a whole number from {} to {}.", range.start(), range.end());
        Err(Error::invalid(name.to_owned(), message))
    }
}

/// Texts or lists of token numbers, alone or in a list.
fn check_prompt(kind: Kind, raw: &[u8]) -> Result<()> {
    let items = match kind {
        Kind::String if raw == b"\"\"" => return Err(empty()),
        Kind::String => return Ok(()),
        Kind::Array => Items::of(std::str::from_utf8(raw).unwrap_or_default()),
        kind => {
            let message = format!("prompt must be a string or a list, not {}.", kind.name());
            return Err(Error::invalid("prompt", message));
        }
    };
    let first = items.clone().next();
    if matches!((first, items.clone().nth(1)), (None | Some("\"\""), None)) {
        return Err(empty());
    }
    let is_right = match first.and_then(|first| first.bytes().next()) {
        Some(b'"') => is_text,
        Some(b'[') => is_tokens,
        _ => is_token,
    };
    match items.clone().position(|item| !is_right(item)) {
        None => Ok(()),
        Some(wrong) => {
            let path = format!("prompt[{wrong}]");
            let message =
                format!("{path} must be a string, or a list of token numbers; all entries must be alike.");
            Err(Error::invalid(path, message))
        }
    }
}

fn is_text(item: &str) -> bool {
    item.starts_with('"')
}

fn is_token(item: &str) -> bool {
    item.parse::<u32>().is_ok()
}

fn is_tokens(item: &str) -> bool {
    item.starts_with('[') && Items::of(item).all(is_token)
}

fn empty() -> Error {
    Error::invalid("prompt", "prompt is empty; it needs a text that the model continues.")
}

/// Checks that need all fields.
fn check_whole(intake: &Intake) -> Result<()> {
    intake.check_model("provider/model")?;
    if intake.non_null("prompt").is_none() {
        let message = match intake.non_null("messages") {
            Some(_) => "prompt is missing; a conversation in messages goes to POST /v1/chat/completions.",
            None => "prompt is missing; it needs a text that the model continues.",
        };
        return Err(Error::invalid("prompt", message));
    }
    if intake.non_null("stream_options").is_some() && !intake.form.stream {
        let message = "stream_options is only allowed with \"stream\": true.";
        return Err(Error::invalid("stream_options", message));
    }
    let (candidates, answers) = (intake.whole("best_of"), intake.whole("n").unwrap_or(1));
    if candidates.is_some_and(|candidates| candidates < answers) {
        let message = "best_of must be at least n: that many are chosen from that many.";
        return Err(Error::invalid("best_of", message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &str) -> Result<Intake> {
        let body = format!("{{\"model\":\"m\"{fields}}}");
        intake(&Bytes::from(body))
    }

    #[test]
    fn facts_for_routing_are_read() {
        let taken = read(
            r#","prompt":["Once \"upon"],"n":2,"logprobs":0,"max_tokens":1e2,"stream":true,"user":"ann",
            "stream_options":{"include_usage":true},"echo":false,"suffix":"","best_of":null"#,
        )
        .unwrap();
        assert!(taken.form.stream && taken.form.include_usage && taken.form.request.is_none());
        let needs = [Feature::MultipleChoices, Feature::Logprobs];
        assert_eq!(taken.needs, needs.into_iter().collect());
        assert_eq!((taken.max_output_tokens, taken.size.messages), (Some(100), 1));
        assert_eq!(taken.conversation.as_deref(), Some("ann"));
        assert!(read(r#","prompt":"a","echo":true"#).unwrap().form.request.is_some());
    }

    #[test]
    fn invalid_fields_are_refused_by_name() {
        let cases = [
            ("", "prompt", "missing"),
            (r#","messages":[]"#, "prompt", "/v1/chat/completions"),
            (r#","prompt":null"#, "prompt", "missing"),
            (r#","prompt":"""#, "prompt", "empty"),
            (r#","prompt":[]"#, "prompt", "empty"),
            (r#","prompt":[""]"#, "prompt", "empty"),
            (r#","prompt":7"#, "prompt", "must be a string"),
            (r#","prompt":[true]"#, "prompt[0]", "must be a string"),
            (r#","prompt":["a",null]"#, "prompt[1]", "must be a string"),
            (r#","prompt":[1,"a"]"#, "prompt[1]", "alike"),
            (r#","prompt":[[1],[2.5]]"#, "prompt[1]", "token numbers"),
            (r#","prompt":[1,-2]"#, "prompt[1]", "token numbers"),
            (r#","prompt":"a","suffix":1"#, "suffix", "must be a string"),
            (r#","prompt":"a","echo":1"#, "echo", "must be a boolean"),
            (r#","prompt":"a","logprobs":true"#, "logprobs", "must be a number"),
            (r#","prompt":"a","logprobs":21"#, "logprobs", "from 0 to 20"),
            (r#","prompt":"a","best_of":1.5"#, "best_of", "whole number"),
            (r#","prompt":"a","best_of":2,"n":3"#, "best_of", "at least n"),
            (r#","prompt":"a","max_tokens":0"#, "max_tokens", "between"),
            (r#","prompt":"a","temperature":"hot""#, "temperature", "must be"),
            (r#","prompt":"a","stream_options":{}"#, "stream_options", "stream"),
            (r#","prompt":"a","prompt":"b""#, "prompt", "twice"),
            (r#","prompt":"\ud83d""#, "", "surrogate"),
        ];
        for (fields, param, words) in cases {
            let error = read(fields).expect_err(fields);
            assert_eq!(
                (error.status().as_u16(), &*error.param_name().unwrap_or_default()),
                (400, param),
                "{fields}"
            );
            assert!(error.message.contains(words), "{fields}: {}", error.message);
        }
        assert!(intake(&Bytes::from_static(br#"{"prompt":"a"}"#)).is_err());
    }
}
