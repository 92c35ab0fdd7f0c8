//! Reads answers in OpenAI's format: they pass unchanged and are metered.

use canon::{Error, ErrorKind, Losses, Operation, Progress, Result, Retry};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::IgnoredAny;

use super::condense::condensed;
use super::meter::Meter;
use super::relay::Relay;
use super::shape::completed;
use crate::endpoints::{AnswerReader, EndpointAnswer, PartAnswer};
use crate::{Protocol, Transcoder, adapter};

/// Size limit: ten images of 4K, in base64.
const IMAGES: usize = 192 << 20;
/// Size limit: hours of speech with times of every word.
const TEXTS: usize = 32 << 20;

pub struct OpenaiReader {
    pub meter: Meter,
    /// The requested content type of audio.
    pub sound: Option<&'static str>,
    /// A text was requested, which need not be JSON.
    pub is_text: bool,
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
        let Some(PartAnswer { headers, body }) = parts.first() else {
            return Err(broken("The provider's answer is empty."));
        };
        let kind = headers.get(CONTENT_TYPE).map(media_type).unwrap_or_default();
        if self.speaks() {
            return Err(broken("The provider's answer is no audio."));
        }
        let condensed = condensed(body);
        if !is_object(&condensed) {
            if !self.is_text || kind.eq_ignore_ascii_case("text/html") {
                return Err(broken("The provider's answer is not in its own format."));
            }
            self.meter.subtitles(body, &mut progress);
            return Ok(EndpointAnswer { body: body.to_vec(), progress, losses: Losses::new() });
        }
        if !self.meter.answer(&condensed, &mut progress) {
            return Err(broken("The provider's answer has no result."));
        }
        let shaped = match self.meter.operation {
            Operation::ImageGenerations | Operation::ImageEdits => {
                completed(body, &condensed, progress.usage.as_ref(), headers)
            }
            _ => None,
        };
        let body = shaped.unwrap_or_else(|| body.trim_ascii_end().to_vec());
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
            kind if kind.starts_with("text/") || kind.ends_with("json") => None,
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

fn is_object(json: &[u8]) -> bool {
    json.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<IgnoredAny>(json).is_ok()
}

fn media_type(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim()
}

fn broken(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}
