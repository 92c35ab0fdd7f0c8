//! The provider side, for callers of this format whose answer comes in another form than they asked for.
//! Conversations are not converted to texts: only the provider knows a model's template.

use canon::{Error, Event, FinishReason, Json, Request, Result, Target};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::OpenaiCompletions;
use super::passthrough::MOST_CHOICES;
use crate::framing::sse::{SseEvent, SseParser};
use crate::json::Object;
use crate::protocols::openai_chat::{OpenaiChat, broken, error_in, event, finish_reason, usage};
use crate::protocols::whole::{ReadWhole, WholeDecoder};
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
struct Document {
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    created: Option<i64>,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    text: Option<String>,
    #[serde(default)]
    logprobs: Option<Logprobs>,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Logprobs {
    #[serde(default)]
    tokens: Vec<String>,
    #[serde(default)]
    token_logprobs: Vec<Option<f64>>,
    #[serde(default)]
    top_logprobs: Option<Vec<Option<std::collections::BTreeMap<String, f64>>>>,
}

impl Logprobs {
    /// In chat's form. The first token of an echoed prompt has no probability.
    fn as_chat(&self) -> Json {
        let top = self.top_logprobs.as_deref().unwrap_or_default();
        let tokens: Vec<_> = self
            .tokens
            .iter()
            .enumerate()
            .map(|(index, token)| {
                let alternatives = top.get(index).and_then(Option::as_ref).into_iter().flatten();
                let alternatives: Vec<_> = alternatives
                    .map(|(token, logprob)| json!({"token": token, "logprob": logprob}))
                    .collect();
                let logprob = self.token_logprobs.get(index).copied().flatten();
                json!({"token": token, "logprob": logprob, "top_logprobs": alternatives})
            })
            .collect();
        Json::from(&json!({"content": tokens}))
    }
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
    fn take(&mut self, object: &Object, events: &mut dyn EventSink) -> Result<()> {
        let mut text = Vec::new();
        object.write(&mut text);
        let document: Document =
            serde_json::from_slice(&text).map_err(|_| broken("it is no text completion"))?;
        if !self.started {
            self.started = true;
            let Document { id, model, created, .. } = &document;
            events.push(Event::Start { id: id.clone(), model: model.clone(), created: *created });
        }
        for Choice { index: choice, text, logprobs, finish_reason: native } in document.choices {
            if choice as usize >= MOST_CHOICES {
                return Err(broken("it has too many choices"));
            }
            let ended = self.ended.entry(choice).or_default();
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                events.push(Event::Text { choice, text });
            }
            if let Some(logprobs) = logprobs.filter(|logprobs| !logprobs.tokens.is_empty()) {
                events.push(Event::Logprobs { choice, logprobs: logprobs.as_chat() });
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
            _ => self.take(&event(found)?, events),
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

impl ReadWhole for Reader {
    fn read_whole(&mut self, body: &[u8], events: &mut dyn EventSink) -> Result<()> {
        let object = Object::parse(body).ok_or_else(|| broken("it is not a JSON object"))?;
        if let Some(error) = error_in(&object) {
            return Err(error);
        }
        self.take(&object, events)?;
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
