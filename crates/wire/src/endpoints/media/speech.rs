//! Speech: `POST /v1/audio/speech`.

use std::borrow::Cow;

use bytes::Bytes;
use canon::write::quoted;
use canon::{Amount, Error, Losses, Operation, Result, Unit};

use super::meter::Meter;
use super::native::{SoundInJson, no_stream};
use super::reader::OpenaiReader;
use super::{MediaFormat, MediaRow, forwarded};
use crate::endpoints::{AnswerReader, EndpointRequest, EndpointTarget, Part, ProviderRequest};
use crate::intake::{Intake, RequestFacts, check_kind};
use crate::json::{Kind, Scanner, text_of};
use crate::providers::path_segment;

const PATH: &str = "/audio/speech";

#[derive(Clone, Debug)]
pub struct SpeechRequest {
    pub(super) intake: Intake,
    /// The number of characters to speak.
    pub(super) characters: u64,
    /// The requested content type of audio.
    sound: &'static str,
}

impl SpeechRequest {
    /// Reads a request. Errors name the field; values that only the provider can judge are passed on.
    pub fn read(body: &Bytes) -> Result<Self> {
        let mut intake = Intake::empty(body);
        let mut characters = None;
        intake.scan(|intake, scanner, name| {
            let kind = scanner.kind()?;
            let raw = &scanner.json()[scanner.value()?];
            match name {
                "model" => {
                    check_kind(name, kind, Kind::String)?;
                    intake.take_model(raw)
                }
                "input" => {
                    check_kind(name, kind, Kind::String)?;
                    let text = Scanner::new(raw).string()?;
                    let count = text_of(raw, &text).map_or(0, |text| text.chars().count() as u64);
                    characters = Some(count);
                    Ok(())
                }
                "voice" if kind == Kind::Object || kind == Kind::Null => Ok(()),
                "voice" => check_kind(name, kind, Kind::String),
                "instructions" | "response_format" | "stream_format" | "routing" if kind != Kind::Null => {
                    check_kind(name, kind, Kind::String)
                }
                "speed" if kind != Kind::Null => check_kind(name, kind, Kind::Number),
                _ => Ok(()),
            }
        })?;
        intake.check_model("gpt-4o-mini-tts")?;
        let characters = match characters {
            Some(0) => return Err(Error::invalid("input", "input is empty; it needs the text to speak.")),
            Some(count) => count,
            None => return Err(Error::invalid("input", "input is missing; it needs the text to speak.")),
        };
        intake.form.stream = intake.string("stream_format").as_deref() == Some("sse");
        let sound = media_type(intake.string("response_format").as_deref().unwrap_or("mp3"));
        Ok(Self { intake, characters, sound })
    }
}

/// The content type of a format. An unknown format is judged by the provider.
fn media_type(format: &str) -> &'static str {
    match format {
        "mp3" => "audio/mpeg",
        "opus" | "ogg" => "audio/ogg",
        "aac" => "audio/aac",
        "flac" => "audio/flac",
        "wav" => "audio/wav",
        "pcm" | "raw" => "audio/pcm",
        "mulaw" => "audio/basic",
        _ => "application/octet-stream",
    }
}

impl EndpointRequest for SpeechRequest {
    fn operation(&self) -> Operation {
        Operation::Speech
    }

    fn facts(&self) -> RequestFacts<'_> {
        let tokens = self.characters.div_ceil(4);
        let amount = Some(Amount { unit: Unit::Character, count: self.characters });
        RequestFacts { prompt_tokens: tokens, reserved_tokens: tokens, amount, ..self.intake.facts() }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = MediaRow::default();
        let row = target.rows.speech.as_ref().unwrap_or(&usual);
        let mut losses = Losses::new();
        let (body, path, reader): (Vec<u8>, _, Box<dyn AnswerReader>) = match row.format {
            MediaFormat::Mistral => {
                self.check_whole()?;
                let body = forwarded(&self.intake, row, target.model, &mut losses).write(64);
                let reader = SoundInJson { characters: self.characters, sound: self.sound };
                (body, row.path(PATH), Box::new(reader))
            }
            MediaFormat::Elevenlabs => {
                self.check_whole()?;
                let body = self.elevenlabs(target.model, row, &mut losses)?;
                (body, self.elevenlabs_path()?.into(), Box::new(self.sound_reader()))
            }
            MediaFormat::Deepgram => {
                self.check_whole()?;
                let (path, body) = self.deepgram(target.model, row, &mut losses)?;
                (body, path.into(), Box::new(self.sound_reader()))
            }
            MediaFormat::Xai => {
                self.check_whole()?;
                (self.xai(row, &mut losses)?, row.path("/tts"), Box::new(self.sound_reader()))
            }
            MediaFormat::Gemini => {
                self.check_whole()?;
                let (body, reader) = self.gemini(target.model, row, &mut losses)?;
                (body, "generateContent".into(), Box::new(reader))
            }
            _ => {
                let body = forwarded(&self.intake, row, target.model, &mut losses).write(64);
                (body, row.path(PATH), Box::new(self.sound_reader()))
            }
        };
        Ok(ProviderRequest {
            parts: vec![Part {
                path,
                headers: Vec::new(),
                body: body.into(),
                goes_on: false,
                first_input: 0,
            }],
            losses,
            reader,
        })
    }
}

impl SpeechRequest {
    fn sound_reader(&self) -> OpenaiReader {
        let meter = Meter { operation: Operation::Speech, characters: self.characters, milliseconds: None };
        OpenaiReader { meter, sound: Some(self.sound), is_text: false }
    }

    fn check_whole(&self) -> Result<()> {
        if self.intake.form.stream { Err(no_stream(Operation::Speech)) } else { Ok(()) }
    }

    /// The id of the voice.
    pub(super) fn voice(&self) -> Option<String> {
        let object: Option<VoiceId> = self.intake.read_as("voice");
        let voice = self.intake.string("voice").map(Cow::into_owned).or(object.map(|voice| voice.id));
        voice.filter(|voice| !voice.is_empty())
    }

    /// The voice is in the path, and the audio format in the query.
    fn elevenlabs_path(&self) -> Result<String> {
        let Some(voice) = self.voice() else {
            let message = "voice is missing; it needs the id of one of the provider's voices.";
            return Err(Error::unsupported("voice", message));
        };
        let voice = path_segment(&voice, "voice")?;
        let format = match self.intake.string("response_format").as_deref().unwrap_or("mp3") {
            "mp3" => "mp3_44100_128",
            "opus" => "opus_48000_128",
            "wav" => "wav_24000",
            "pcm" => "pcm_24000",
            // A format name of the provider's own.
            own if own.contains('_')
                && own.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') =>
            {
                return Ok(format!("/v1/text-to-speech/{voice}?output_format={own}"));
            }
            other => {
                let message =
                    format!("The provider does not return {other}; it returns mp3, opus, wav and pcm.");
                return Err(Error::unsupported("response_format", message));
            }
        };
        Ok(format!("/v1/text-to-speech/{voice}?output_format={format}"))
    }

    fn elevenlabs(&self, model: &str, row: &MediaRow, losses: &mut Losses) -> Result<Vec<u8>> {
        let mut body = forwarded(&self.intake, row, model, losses);
        for name in ["model", "voice", "response_format", "stream_format", "input", "speed"] {
            body.remove(name);
        }
        body.set("model_id", &quoted(model));
        if let Some(text) = self.intake.field("input") {
            body.set("text", text);
        }
        if let Some(speed) = self.intake.read_as::<f64>("speed") {
            let own: Option<serde_json::Map<String, serde_json::Value>> =
                self.intake.read_as("voice_settings");
            let mut settings = own.unwrap_or_default();
            let within = speed.clamp(0.7, 1.2);
            if within != speed {
                losses.approximated("speed", "The provider's range is 0.7 to 1.2.");
            }
            settings.insert("speed".to_owned(), within.into());
            body.set("voice_settings", serde_json::Value::Object(settings).to_string().as_bytes());
        }
        Ok(body.write(128))
    }
}

/// A voice that is given as an object.
#[derive(serde::Deserialize)]
struct VoiceId {
    id: String,
}
