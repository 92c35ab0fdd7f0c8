//! Recordings for providers that take no form: Deepgram's body is the recording, OpenRouter's is JSON.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::write::{push_key, push_text};
use canon::{Error, Losses, Result};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::form::FormRequest;
use super::native::TranscriptReader;
use super::transcript::TranscriptForm;
use super::{MediaFormat, MediaRow};
use crate::Headers;
use crate::endpoints::{Part, ProviderRequest};
use crate::intake::ROUTING_FIELDS;
use crate::multipart::FormPart;

const NO_SUCH_FIELD: &str = "The provider has no such field.";

/// A transcription request in the provider's own form.
struct EncodedForm {
    path: Cow<'static, str>,
    headers: Headers,
    body: Vec<u8>,
}

impl FormRequest {
    /// The request for Deepgram or OpenRouter.
    pub(super) fn without_form(
        &self,
        row: &MediaRow,
        usual: &'static str,
        model: &str,
    ) -> Result<ProviderRequest> {
        let form = self.transcript_form()?;
        let mut losses = Losses::new();
        let written = match row.format {
            MediaFormat::Deepgram => self.deepgram(row, model, form, &mut losses)?,
            _ => self.openrouter(row.path(usual), model, &mut losses)?,
        };
        let EncodedForm { path, headers, body } = written;
        let (words, segments) = (self.wants("word"), self.wants("segment"));
        Ok(ProviderRequest {
            parts: vec![Part { path, headers, body: body.into(), goes_on: false, first_input: 0 }],
            losses,
            reader: Box::new(TranscriptReader {
                format: row.format,
                form,
                words,
                segments,
                language: self.language(),
                milliseconds: self.audio_length(),
            }),
        })
    }

    fn deepgram(
        &self,
        row: &MediaRow,
        model: &str,
        form: TranscriptForm,
        losses: &mut Losses,
    ) -> Result<EncodedForm> {
        let mut query = Query::default();
        query.add("model", model);
        query.add("smart_format", "true");
        let mut source = None;
        for part in self.form.parts() {
            let (name, value) = (part.head.plain_name(), self.form.value(part));
            let text = || String::from_utf8_lossy(value);
            match name {
                "file" => source = source.or(Some((content_type(part), value.to_vec()))),
                "url" => {
                    let body = json!({ "url": text() }).to_string().into_bytes();
                    source = source.or(Some((HeaderValue::from_static("application/json"), body)));
                }
                "model" | "response_format" | "timestamp_granularities" | "stream" => {}
                "keywords" => query.add("keyterm", &text()),
                _ if ROUTING_FIELDS.contains(&name) => {}
                _ if row.drop.iter().any(|dropped| dropped == name) => {
                    losses.dropped(name.to_owned(), NO_SUCH_FIELD);
                }
                // An option that only this provider has.
                _ => query.add(name, &text()),
            }
        }
        if !query.has("language") {
            // OpenAI's models detect the language themselves. Deepgram's default is English.
            query.add("detect_language", "true");
        }
        if form.needs_times() {
            query.add("utterances", "true");
        }
        if form == TranscriptForm::Diarized {
            query.add("diarize", "true");
        }
        let Some((content_type, body)) = source else {
            return Err(Error::unsupported("file", "The provider accepts a file or a URL."));
        };
        let path = format!("/v1/listen?{}", query.text).into();
        Ok(EncodedForm { path, headers: vec![(CONTENT_TYPE, content_type)], body })
    }

    fn openrouter(&self, path: Cow<'static, str>, model: &str, losses: &mut Losses) -> Result<EncodedForm> {
        let mut source = None;
        for part in self.form.parts() {
            let name = part.head.plain_name();
            match name {
                "file" => source = source.or(Some(part)),
                "model" | "response_format" | "stream" => {}
                _ if ROUTING_FIELDS.contains(&name) => {}
                _ => losses.dropped(name.to_owned(), NO_SUCH_FIELD),
            }
        }
        let Some(part) = source else {
            return Err(Error::unsupported("file", "The provider accepts only a file."));
        };
        let recording = self.form.value(part);
        // The recording is encoded in its place: it is by far the largest part.
        let mut body = Vec::with_capacity(recording.len() / 3 * 4 + model.len() + 128);
        body.push(b'{');
        push_text(&mut body, "model", model);
        push_key(&mut body, "input_audio");
        body.push(b'{');
        push_text(&mut body, "format", &extension(part));
        push_key(&mut body, "data");
        body.push(b'"');
        let start = body.len();
        let length = base64::encoded_len(recording.len(), true).unwrap_or_default();
        body.resize(start + length, 0);
        let written = STANDARD.encode_slice(recording, &mut body[start..]).unwrap_or_default();
        body.truncate(start + written);
        body.extend_from_slice(b"\"}}");
        Ok(EncodedForm { path, headers: Headers::new(), body })
    }
}

/// A URL query.
#[derive(Default)]
struct Query {
    text: String,
}

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let and = if self.text.is_empty() { "" } else { "&" };
        self.text.push_str(&format!("{and}{}={}", name_of(name), escaped(value)));
    }

    fn has(&self, name: &str) -> bool {
        self.text.split('&').any(|pair| pair.split('=').next() == Some(name))
    }
}

/// Escapes a parameter name. Underscores stay unchanged.
fn name_of(name: &str) -> String {
    const NAME: percent_encoding::AsciiSet = NON_ALPHANUMERIC.remove(b'_');
    utf8_percent_encode(name, &NAME).to_string()
}

/// The type by the file name, as OpenAI reads it: the content types of clients are often missing.
fn extension(part: &FormPart) -> String {
    let name = part.head.file_name.as_deref().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    let of_type = || {
        let kind = part.head.content_type.as_deref()?.split(';').next()?.trim().strip_prefix("audio/")?;
        Some(kind.trim_start_matches("x-").replace("mpeg", "mp3"))
    };
    extension.or_else(of_type).unwrap_or_else(|| "wav".to_owned())
}

fn content_type(part: &FormPart) -> HeaderValue {
    let given = part.head.content_type.as_deref().filter(|kind| *kind != "application/octet-stream");
    if let Some(Ok(given)) = given.map(HeaderValue::from_str) {
        return given;
    }
    HeaderValue::from_static(match extension(part).as_str() {
        "mp3" | "mpga" | "mpeg" => "audio/mpeg",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "m4a" | "mp4" => "audio/mp4",
        "webm" => "audio/webm",
        _ => "application/octet-stream",
    })
}
