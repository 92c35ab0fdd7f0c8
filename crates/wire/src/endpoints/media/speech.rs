//! Speech: `POST /v1/audio/speech`.

use bytes::Bytes;
use canon::{Amount, Error, Losses, Operation, Result, Unit};

use super::meter::Meter;
use super::reader::OpenaiReader;
use super::{MediaRow, forwarded};
use crate::endpoints::{EndpointRequest, EndpointTarget, Part, ProviderRequest};
use crate::intake::{Asked, Intake, check_kind};
use crate::json::{Kind, Scanner, text_of};

/// A request for speech.
#[derive(Clone, Debug)]
pub struct SpeechRequest {
    intake: Intake,
    /// How many characters are to be spoken.
    characters: u64,
    /// The kind of sound that is asked for.
    sound: &'static str,
}

impl SpeechRequest {
    /// Reads a request. Errors name the field; what only the provider can judge is left to it.
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
        let sound = sound(intake.string("response_format").as_deref().unwrap_or("mp3"));
        Ok(Self { intake, characters, sound })
    }
}

/// The content type of a format. One that is not known is judged by the provider.
fn sound(format: &str) -> &'static str {
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

    fn asked(&self) -> Asked<'_> {
        let tokens = self.characters.div_ceil(4);
        let amount = Some(Amount { unit: Unit::Character, count: self.characters });
        Asked { prompt_tokens: tokens, reserved_tokens: tokens, amount, ..self.intake.asked() }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = MediaRow::default();
        let row = target.rows.speech.as_ref().unwrap_or(&usual);
        let mut losses = Losses::new();
        let body = forwarded(&self.intake, row, target.model, &mut losses).write(64);
        let path = row.path("/audio/speech");
        let meter = Meter { operation: Operation::Speech, characters: self.characters };
        Ok(ProviderRequest {
            parts: vec![Part {
                path,
                headers: Vec::new(),
                body: body.into(),
                goes_on: false,
                first_input: 0,
            }],
            losses,
            reader: Box::new(OpenaiReader { meter, sound: Some(self.sound) }),
        })
    }
}
