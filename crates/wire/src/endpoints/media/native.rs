//! Audio of providers with a format of their own: ElevenLabs and Mistral.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{Amount, Error, ErrorKind, Losses, Operation, Progress, Result, Retry, Unit};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;

use super::MediaFormat;
use super::transcript::{Transcript, TranscriptForm};
use crate::endpoints::{AnswerReader, EndpointAnswer, PartAnswer};
use crate::{Protocol, adapter};

/// Size limit: hours of speech with times of every word.
const TEXTS: usize = 64 << 20;

/// Reads a transcript, and writes it in the requested form.
#[derive(Debug)]
pub struct TranscriptReader {
    /// The provider's format.
    pub format: MediaFormat,
    /// The caller's form.
    pub form: TranscriptForm,
    /// Times of words are requested.
    pub words: bool,
    /// Times of segments are requested.
    pub segments: bool,
    /// The language that the caller names: used when the answer names none.
    pub language: Option<String>,
    /// The duration of the recording in milliseconds, where its bytes contain it: used when the answer has
    /// none.
    pub milliseconds: Option<u64>,
}

impl AnswerReader for TranscriptReader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let body = parts.first().map(|part| &part.body[..]).unwrap_or_default();
        let transcript = Transcript::read(self.format, body)?.or_language(self.language.as_deref());
        let count = transcript.milliseconds().or(self.milliseconds);
        let progress = Progress {
            content_started: true,
            finished: true,
            amount: count.map(|count| Amount { unit: Unit::Millisecond, count }),
            ..Progress::default()
        };
        let body = transcript.write(self.form, self.words, self.segments)?;
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn content_type(&self, _: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static(self.form.content_type())
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }

    fn limit(&self) -> usize {
        TEXTS
    }
}

/// Reads audio within JSON: `{"audio_data": "…"}`.
#[derive(Debug)]
pub struct SoundInJson {
    /// The number of spoken characters.
    pub characters: u64,
    /// The content type of the audio.
    pub sound: &'static str,
}

#[derive(Deserialize)]
struct InlineAudio<'a> {
    #[serde(borrow)]
    audio_data: std::borrow::Cow<'a, str>,
}

impl AnswerReader for SoundInJson {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let body = parts.first().map(|part| &part.body[..]).unwrap_or_default();
        let read = serde_json::from_slice::<InlineAudio<'_>>(body).ok();
        let sound = read.and_then(|read| STANDARD.decode(read.audio_data.as_bytes()).ok());
        let Some(sound) = sound.filter(|sound| !sound.is_empty()) else {
            let message = "The provider's answer has no audio.";
            return Err(Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message));
        };
        let progress = Progress {
            content_started: true,
            finished: true,
            amount: Some(Amount { unit: Unit::Character, count: self.characters }),
            ..Progress::default()
        };
        Ok(EndpointAnswer { body: sound, progress, losses: Losses::new() })
    }

    fn content_type(&self, _: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static(self.sound)
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }

    fn limit(&self) -> usize {
        TEXTS
    }
}

/// The error for a stream where the provider's own format has none.
pub fn no_stream(operation: Operation) -> Error {
    let field = if operation == Operation::Speech { "stream_format" } else { "stream" };
    Error::unsupported(field, "The provider has no such events; ask without a stream.")
}
