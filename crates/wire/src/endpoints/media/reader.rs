//! Reads answers in OpenAI's format: they pass unchanged and are metered.

use bytes::Bytes;
use canon::{Error, ErrorKind, Losses, Operation, Progress, Result, Retry};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::condense::condensed;
use super::meter::Meter;
use super::relay::Relay;
use crate::endpoints::{AnswerReader, EndpointAnswer, PartAnswer};
use crate::{Protocol, Transcoder, adapter};

/// Ten images of 4K, in base64.
const IMAGES: usize = 192 << 20;
/// Hours of speech with times of every word.
const TEXTS: usize = 32 << 20;

/// See the module.
pub struct OpenaiReader {
    /// What is metered.
    pub meter: Meter,
    /// The requested content type of sound.
    pub sound: Option<&'static str>,
}

impl OpenaiReader {
    fn speaks(&self) -> bool {
        self.meter.operation == Operation::Speech
    }
}

impl AnswerReader for OpenaiReader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let mut progress = Progress { content_started: true, finished: true, ..Progress::default() };
        self.meter.start(&mut progress);
        let body = parts.first().map(|part| Bytes::clone(&part.body)).unwrap_or_default();
        if self.speaks() {
            return Err(broken("The provider answered with JSON instead of sound."));
        }
        let is_object = body.trim_ascii_start().starts_with(b"{");
        if is_object {
            self.meter.answer(&condensed(&body), &mut progress);
        } else {
            self.meter.subtitles(&body, &mut progress);
        }
        let body = if is_object { ends_with_brace(&body) } else { body.to_vec() };
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn content_type(&self, headers: &HeaderMap) -> HeaderValue {
        let given = headers.get(CONTENT_TYPE);
        let says_something =
            |value: &&HeaderValue| !media_type(value).eq_ignore_ascii_case("application/octet-stream");
        match (given.filter(says_something), self.sound) {
            (Some(given), _) => given.clone(),
            (None, Some(sound)) => HeaderValue::from_static(sound),
            (None, None) => HeaderValue::from_static("application/json"),
        }
    }

    fn transcoder(&self, headers: &HeaderMap) -> Option<Box<dyn Transcoder>> {
        let kind = headers.get(CONTENT_TYPE).map(media_type).unwrap_or_default();
        match kind.to_ascii_lowercase().as_str() {
            "text/event-stream" => Some(Box::new(Relay::of_events(self.meter.clone()))),
            "application/json" => None,
            _ if self.speaks() => Some(Box::new(Relay::of_bytes(self.meter.clone()))),
            _ => None,
        }
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }

    fn limit(&self) -> usize {
        match self.meter.operation {
            Operation::ImageGenerations | Operation::ImageEdits => IMAGES,
            _ => TEXTS,
        }
    }
}

/// The gateway's object is inserted before the last brace of an answer.
fn ends_with_brace(body: &Bytes) -> Vec<u8> {
    let trimmed = body.trim_ascii_end();
    if trimmed.ends_with(b"}") { trimmed.to_vec() } else { body.to_vec() }
}

fn media_type(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}
