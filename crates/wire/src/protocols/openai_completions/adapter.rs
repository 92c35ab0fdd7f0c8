//! The provider side, for callers of this format whose answer has another form than they requested.
//! Conversations are not converted to texts: only the provider knows a model's template.

use canon::{Error, Event, FinishReason, Json, Request, Result, Target};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::OpenaiCompletions;
use super::passthrough::MOST_CHOICES;
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::{Items, List, Members, Object, append, make_room, push_key, push_text, string};
use crate::protocols::openai_chat::{OpenaiChat, broken, error_in, event, finish_reason, usage};
use crate::protocols::whole::{WholeDecoder, WholeReader};
use crate::{Adapter, Decoder, DecoderContext, Encoded, EventSink};

impl Adapter for OpenaiCompletions {
    fn encode_request(&self, _request: &Request, target: Target<'_>) -> Result<Encoded> {
        let message = format!(
            "The model {:?} completes texts and holds no conversations; send a prompt to POST /v1/completions.",
            target.model
        );
        Err(Error::unsupported("model", message))
    }

    fn decoder(&self, streaming: bool, decoding: &DecoderContext) -> Box<dyn Decoder> {
        let reader = Reader { cached_outside_prompt: decoding.cached_outside_prompt, ..Reader::default() };
        if streaming {
            Box::new(StreamDecoder { sse: SseParser::default(), reader })
        } else {
            Box::new(WholeDecoder::new(reader))
        }
    }

    fn decode_error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        OpenaiChat.decode_error(status, headers, body)
    }
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    model: Option<String>,
    #[serde(borrow, default)]
    choices: List<'a, Choice<'a>>,
    #[serde(borrow, default)]
    usage: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    text: Option<String>,
    #[serde(borrow, default)]
    logprobs: Option<&'a RawValue>,
    #[serde(default)]
    finish_reason: Option<String>,
}

/// Log probabilities in chat's form, which lists the tokens with what belongs to each; none without tokens. The first token of an
/// echoed prompt has no probability. Written token by token: as values they would take many times their text.
fn as_chat(given: &str) -> Result<Option<Json>> {
    let members = Members::of(given).ok_or_else(no_completion)?;
    let list = |name: &str| match members.get(name) {
        None | Some("null") => Ok(Items::of("")),
        Some(list) if list.starts_with('[') => Ok(Items::of(list)),
        Some(_) => Err(no_completion()),
    };
    let (mut chosen, mut top) = (list("token_logprobs")?, list("top_logprobs")?);
    let mut tokens = list("tokens")?.peekable();
    if tokens.peek().is_none() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(given.len() + AROUND_TOKEN);
    out.extend_from_slice(br#"{"content":["#);
    for (index, token) in tokens.enumerate() {
        if index > 0 {
            append(&mut out, b",");
        }
        let token = string(token).ok_or_else(no_completion)?;
        push_token(&mut out, &token, chosen.next().unwrap_or("null"))?;
        append(&mut out, br#","top_logprobs":["#);
        let alternatives = match top.next() {
            None | Some("null") => None,
            Some(alternatives) => Some(Members::of(alternatives).ok_or_else(no_completion)?),
        };
        for (index, (token, logprob)) in alternatives.iter().flat_map(Members::iter).enumerate() {
            if index > 0 {
                append(&mut out, b",");
            }
            push_token(&mut out, &token, logprob)?;
            append(&mut out, b"}");
        }
        append(&mut out, b"]}");
    }
    append(&mut out, b"]}");
    Ok(String::from_utf8(out).ok().and_then(|text| Json::parse(text).ok()))
}

/// The text around a token in chat's form, about.
const AROUND_TOKEN: usize = 64;

/// Appends a token, which stays open.
fn push_token(out: &mut Vec<u8>, token: &str, logprob: &str) -> Result<()> {
    if logprob != "null" && !logprob.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        return Err(no_completion());
    }
    make_room(out, token.len() + logprob.len() + AROUND_TOKEN);
    out.push(b'{');
    push_text(out, "token", token);
    push_key(out, "logprob");
    out.extend_from_slice(logprob.as_bytes());
    Ok(())
}

fn no_completion() -> Error {
    broken("it is no text completion")
}

#[derive(Default)]
struct Reader {
    cached_outside_prompt: bool,
    started: bool,
    done: bool,
    /// Whether each choice has ended.
    ended: std::collections::BTreeMap<u32, bool>,
}

impl Reader {
    fn take(&mut self, document: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let document: Document<'_> = serde_json::from_slice(document).map_err(|_| no_completion())?;
        if !self.started {
            self.started = true;
            let Document { id, model, created, .. } = &document;
            events.push(Event::Start { id: id.clone(), model: model.clone(), created: *created });
        }
        for item in document.choices.iter() {
            let Choice { index: choice, text, logprobs, finish_reason: native } =
                item.map_err(|_| no_completion())?;
            if choice as usize >= MOST_CHOICES {
                return Err(broken("it has too many choices"));
            }
            let ended = self.ended.entry(choice).or_default();
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                events.push(Event::Text { choice, text });
            }
            if let Some(logprobs) = logprobs.map(|raw| as_chat(raw.get())).transpose()?.flatten() {
                events.push(Event::Logprobs { choice, logprobs });
            }
            if let (Some(native), false) = (native, *ended) {
                *ended = true;
                let reason: FinishReason = finish_reason(&native)
                    .ok_or_else(|| broken("it was broken off, as its finish_reason says"))?;
                events.push(Event::Finish { choice, reason, native: Some(native) });
            }
        }
        if let Some(counts) =
            document.usage.and_then(|usage| usage::read(usage.get().as_bytes(), self.cached_outside_prompt))
        {
            events.push(Event::Usage(counts));
        }
        Ok(())
    }

    fn event(&mut self, found: SseEvent<'_>, events: &mut dyn EventSink) -> Result<()> {
        match found.data.trim_ascii() {
            _ if self.done => Ok(()),
            b"" => Ok(()),
            b"[DONE]" => {
                self.done = true;
                Ok(())
            }
            _ => {
                let mut text = Vec::new();
                event(found)?.write(&mut text);
                self.take(&text, events)
            }
        }
    }

    fn end(&self) -> Result<()> {
        let is_complete = !self.ended.is_empty() && self.ended.values().all(|ended| *ended);
        if self.started && (self.done || is_complete) {
            Ok(())
        } else {
            Err(broken("the stream ended before the answer was complete"))
        }
    }
}

impl WholeReader for Reader {
    fn read_whole(&mut self, body: Vec<u8>, events: &mut dyn EventSink) -> Result<()> {
        let (length, parsed) = (body.len(), Object::parse(&body));
        drop(body);
        let object = parsed.ok_or_else(|| broken("it is not a JSON object"))?;
        if let Some(error) = error_in(&object) {
            return Err(error);
        }
        // Repaired, and each name once.
        let mut text = Vec::with_capacity(length);
        object.write(&mut text);
        drop(object);
        self.take(&text, events)?;
        self.done = !self.ended.is_empty();
        self.end()
    }
}

struct StreamDecoder {
    sse: SseParser,
    reader: Reader,
}

impl Decoder for StreamDecoder {
    fn push(&mut self, bytes: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let reader = &mut self.reader;
        self.sse.push(bytes, |found| reader.event(found, events))
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let reader = &mut self.reader;
        self.sse.finish(|found| reader.event(found, events))?;
        reader.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_have_chats_form_or_are_refused() {
        let given = r#"{"tokens":["a"],"token_logprobs":[-0.5],"top_logprobs":[{"a":-0.5,"b":-1}]}"#;
        let chat = r#"{"content":[{"token":"a","logprob":-0.5,"top_logprobs":[{"token":"a","logprob":-0.5},{"token":"b","logprob":-1}]}]}"#;
        assert_eq!(as_chat(given).unwrap().unwrap().as_str(), chat);
        assert_eq!(as_chat(r#"{"tokens":[],"top_logprobs":null}"#).unwrap(), None);
        for wrong in [
            "[]",
            r#"{"tokens":"a"}"#,
            r#"{"tokens":[1]}"#,
            r#"{"tokens":["a"],"token_logprobs":{}}"#,
            r#"{"tokens":["a"],"token_logprobs":["x"]}"#,
            r#"{"tokens":["a"],"top_logprobs":[1]}"#,
            r#"{"tokens":["a"],"top_logprobs":[{"a":"x"}]}"#,
        ] {
            assert!(as_chat(wrong).is_err(), "{wrong}");
        }
    }
}
