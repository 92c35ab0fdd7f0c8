//! Speech in the providers' own formats: Deepgram's, Google's, xAI's.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use canon::{Amount, Error, ErrorKind, Losses, Progress, Result, Retry, Unit};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::google::Generated;
use super::{MediaRow, SpeechRequest};
use crate::endpoints::{AnswerReader, EndpointAnswer, PartAnswer};
use crate::providers::path_segment;
use crate::{Protocol, adapter};

/// Size limit: ten minutes of 24 kHz, in base64.
const SOUND: usize = 64 << 20;
/// The sample rate of Google's models.
const RATE: u32 = 24_000;
/// OpenAI's fields. Each format has a place for them, or drops them.
const KNOWN: [&str; 7] =
    ["model", "input", "voice", "instructions", "response_format", "stream_format", "speed"];

impl SpeechRequest {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.intake.string(name).filter(|text| !text.is_empty())
    }

    /// Fields that are not OpenAI's.
    fn own_fields(&self, row: &MediaRow, losses: &mut Losses) -> Map<String, Value> {
        let mut own = Map::new();
        for (name, raw) in self.intake.fields() {
            let is_known = KNOWN.contains(&name) || crate::intake::ROUTING_FIELDS.contains(&name);
            if row.drop.iter().any(|dropped| dropped == name) && raw != b"null" {
                losses.dropped(name.to_owned(), "The provider has no such field.");
            } else if !is_known && raw != b"null" {
                own.insert(name.to_owned(), serde_json::from_slice(raw).unwrap_or_default());
            }
        }
        own
    }

    /// The path and the body for Deepgram, where each model is a voice and the query has the format of the
    /// audio.
    pub(super) fn deepgram(
        &self,
        model: &str,
        row: &MediaRow,
        losses: &mut Losses,
    ) -> Result<(String, Vec<u8>)> {
        let voice = self.voice().filter(|voice| voice.starts_with("aura"));
        let voice = match voice {
            Some(voice) => voice,
            // Deepgram's model ids contain a voice (`aura-2-thalia-en`). An id without one is a family.
            None if model.matches('-').count() > 1 => {
                if self.voice().is_some() {
                    losses.dropped("voice", "The model's id already names the voice.");
                }
                model.to_owned()
            }
            None => {
                let message = format!("{model} needs a voice of the provider's, as \"aura-2-thalia-en\".");
                return Err(Error::unsupported("voice", message));
            }
        };
        let encoding = match self.text("response_format").as_deref().unwrap_or("mp3") {
            "mp3" => "encoding=mp3",
            "opus" => "encoding=opus&container=ogg",
            "aac" => "encoding=aac",
            "flac" => "encoding=flac",
            "wav" => "encoding=linear16&container=wav&sample_rate=24000",
            "pcm" => "encoding=linear16&container=none&sample_rate=24000",
            "mulaw" => "encoding=mulaw&container=none",
            other => {
                let message = format!(
                    "The provider does not return {other}; it returns mp3, opus, aac, flac, wav and pcm."
                );
                return Err(Error::unsupported("response_format", message));
            }
        };
        let mut path = format!("/v1/speak?model={}&{encoding}", path_segment(&voice, "voice")?);
        if let Some(speed) = self.intake.read_as::<f64>("speed") {
            path.push_str(&format!("&speed={speed}"));
        }
        self.own_fields(row, losses);
        Ok((path, json!({"text": self.text("input")}).to_string().into_bytes()))
    }

    /// The body for xAI, which has a single model.
    pub(super) fn xai(&self, row: &MediaRow, losses: &mut Losses) -> Result<Vec<u8>> {
        let codec = match self.text("response_format").as_deref().unwrap_or("mp3") {
            codec @ ("mp3" | "wav" | "pcm" | "mulaw" | "alaw") => codec.to_owned(),
            other => {
                let message = format!("The provider does not return {other}; it returns mp3, wav and pcm.");
                return Err(Error::unsupported("response_format", message));
            }
        };
        let mut body = self.own_fields(row, losses);
        body.insert("text".to_owned(), json!(self.text("input")));
        body.insert("output_format".to_owned(), json!({ "codec": codec }));
        body.entry("language").or_insert_with(|| "auto".into());
        if let Some(voice) = self.voice() {
            body.insert("voice_id".to_owned(), voice.into());
        }
        if let Some(speed) = self.intake.non_null("speed") {
            body.insert("speed".to_owned(), serde_json::from_slice(speed).unwrap_or_default());
        }
        Ok(Value::Object(body).to_string().into_bytes())
    }

    /// The body for Google's generateContent, and the reader of its answer. The models produce PCM: WAV adds
    /// a header.
    pub(super) fn gemini(
        &self,
        model: &str,
        row: &MediaRow,
        losses: &mut Losses,
    ) -> Result<(Vec<u8>, GoogleSound)> {
        let is_wav = match self.text("response_format").as_deref() {
            Some("wav") => true,
            Some("pcm") => false,
            None => {
                losses.approximated(
                    "response_format",
                    "The provider has only WAV and PCM: WAV was requested instead of MP3.",
                );
                true
            }
            Some(other) => {
                let message = format!("The provider does not return {other}; it returns wav and pcm.");
                return Err(Error::unsupported("response_format", message));
            }
        };
        let input = self.text("input").unwrap_or_default();
        // Before 3.8 the style preceded the text; since then the whole text is spoken.
        let is_old = ["gemini-2.5", "gemini-3.1"].iter().any(|old| model.contains(old));
        let part = match self.text("instructions") {
            None => json!({ "text": input }),
            Some(style) if is_old => json!({"text": format!("{style}: {input}")}),
            Some(style) => json!({"text": input, "speechMetadata": {"style": style}}),
        };
        let mut config = json!({"responseModalities": ["AUDIO"]});
        if let Some(voice) = self.voice() {
            config["speechConfig"] = json!({"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}});
        }
        for name in self.own_fields(row, losses).keys() {
            losses.dropped(name.clone(), "The provider has no such field.");
        }
        if self.intake.non_null("speed").is_some() {
            losses.dropped("speed", "The provider has no such field.");
        }
        let body = json!({"contents": [{"role": "user", "parts": [part]}], "generationConfig": config});
        Ok((body.to_string().into_bytes(), GoogleSound { characters: self.characters, is_wav }))
    }
}

/// Reads audio of Google's models: a whole WAV, or PCM of 16 bits, little-endian.
#[derive(Debug)]
pub struct GoogleSound {
    /// The number of spoken characters.
    characters: u64,
    /// The caller wants WAV instead of bare samples.
    is_wav: bool,
}

impl AnswerReader for GoogleSound {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let body = parts.first().map(|part| &part.body[..]).unwrap_or_default();
        let broken = |retry, message: String| Error::upstream(ErrorKind::Upstream, retry, message);
        let other =
            |_| broken(Retry::Elsewhere, "The provider's answer is not in its own format.".to_owned());
        let read: Generated<'_> = serde_json::from_slice(body).map_err(other)?;
        let mut samples = Vec::new();
        let mut rate = RATE;
        for media in read.media().map_err(other)? {
            let sound = STANDARD.decode(media.data.as_bytes()).unwrap_or_default();
            let named =
                media.mime_type.split("rate=").nth(1).and_then(|rate| rate.split(';').next()?.parse().ok());
            let (known, data) = samples_of(&sound);
            rate = known.or(named).unwrap_or(rate);
            samples.extend_from_slice(data);
        }
        if samples.is_empty() {
            return Err(match read.refusal() {
                Some(reason) => {
                    let reason: String = reason.chars().take(200).collect();
                    let message = format!("The provider did not speak this text ({reason}).");
                    Error::upstream(ErrorKind::ContentFilter, Retry::No, message)
                }
                None => broken(Retry::Elsewhere, "The provider's answer has no audio.".to_owned()),
            });
        }
        let progress = Progress {
            content_started: true,
            finished: true,
            usage: read.usage(),
            amount: Some(Amount { unit: Unit::Character, count: self.characters }),
            ..Progress::default()
        };
        let body = if self.is_wav { [wav_head(samples.len(), rate), samples].concat() } else { samples };
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn content_type(&self, _: &HeaderMap) -> HeaderValue {
        HeaderValue::from_static(if self.is_wav { "audio/wav" } else { "audio/pcm" })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::Gemini).decode_error(status, headers, body)
    }

    fn limit(&self) -> usize {
        SOUND
    }
}

/// The samples of a WAV and their rate; of any other audio, all bytes.
fn samples_of(sound: &[u8]) -> (Option<u32>, &[u8]) {
    if !sound.starts_with(b"RIFF") || sound.get(8..12) != Some(b"WAVE") {
        return (None, sound);
    }
    let (mut rate, mut at) = (None, 12);
    while let Some(head) = sound.get(at..at + 8) {
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        let length = number(&head[4..8]) as usize;
        let chunk = &sound[at + 8..];
        match &head[..4] {
            b"fmt " => rate = chunk.get(4..8).map(number),
            // The length in the header of a streamed WAV is unknown and may exceed the file.
            b"data" => return (rate, &chunk[..length.min(chunk.len())]),
            _ => {}
        }
        // Chunks begin at even positions.
        at = at.saturating_add(8).saturating_add(length).saturating_add(length % 2);
    }
    (rate, &[])
}

/// The header of a WAV with one channel and 16 bits.
fn wav_head(length: usize, rate: u32) -> Vec<u8> {
    let length = u32::try_from(length).unwrap_or(u32::MAX - 36);
    let mut head = b"RIFF".to_vec();
    head.extend((length + 36).to_le_bytes());
    head.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    head.extend(rate.to_le_bytes());
    head.extend((rate * 2).to_le_bytes());
    head.extend(b"\x02\0\x10\0data");
    head.extend(length.to_le_bytes());
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_those_of_a_wav_or_all_bytes() {
        let wav = [wav_head(4, 16_000), vec![1, 2, 3, 4]].concat();
        assert_eq!(samples_of(&wav), (Some(16_000), &[1, 2, 3, 4][..]));
        assert_eq!(samples_of(b"\x01\x02"), (None, &[1, 2][..]));
        // The length in a streamed WAV, other chunks, and cut files.
        let mut streamed = wav.clone();
        streamed[40..44].fill(0xFF);
        assert_eq!(samples_of(&streamed).1, [1, 2, 3, 4]);
        let other = [&wav[..12], b"LIST\x03\0\0\0abc\0", &wav[12..]].concat();
        assert_eq!(samples_of(&other), (Some(16_000), &[1, 2, 3, 4][..]));
        for cut in 0..wav.len() {
            samples_of(&wav[..cut]);
        }
    }
}
