//! Requests with files: recordings to transcribe and images to edit, as `multipart/form-data`.
//!
//! The form is passed on part by part, with the provider's name of the model in `model` and without fields
//! that only the gateway reads. Of a form that is not whole, the fields before the file are buffered, and the
//! file passes as it arrives.

use canon::write::quoted;
use canon::{Amount, Error, Losses, Operation, Result, Unit};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::images::{check_images, no_urls};
use super::length;
use super::meter::Meter;
use super::native::{TranscriptReader, no_stream};
use super::pictures::PictureRequest;
use super::reader::OpenaiReader;
use super::transcript::TranscriptForm;
use super::{MediaFormat, MediaRow};
use crate::endpoints::{AnswerReader, EndpointRequest, EndpointTarget, Part, ProviderRequest};
use crate::intake::{ROUTING_FIELDS, RequestFacts, RoutingFields};
use crate::multipart::{Form, FormPart};

/// Longest name of a model, in bytes.
const MODEL_LIMIT: usize = 512;
/// Produced tokens of one image, for the reservation of a budget.
const IMAGE_TOKENS: u64 = 6240;

/// Fields with a single value. A repeated field could mean one thing here and another at the provider.
const SINGLE: [&str; 13] = [
    "model",
    "prompt",
    "language",
    "response_format",
    "temperature",
    "stream",
    "n",
    "size",
    "quality",
    "file",
    "mask",
    "provider",
    "routing",
];

#[derive(Debug)]
pub struct FormRequest {
    operation: Operation,
    pub(super) form: Form,
    model: String,
    is_stream: bool,
    /// The requested timestamps of a transcript.
    granularities: Vec<String>,
    response_format: String,
    /// Estimated tokens of its texts.
    tokens: u64,
    /// Maximum duration of the recording, in milliseconds, as far as its bytes are buffered.
    milliseconds: u64,
    routing_fields: Vec<(&'static str, Vec<u8>)>,
}

impl FormRequest {
    /// Reads a form. Errors name the field; values that only the provider can judge are passed on.
    pub fn read(operation: Operation, form: Form) -> Result<Self> {
        check_single(&form)?;
        let model = form.text("model")?.map(str::trim).unwrap_or_default().to_owned();
        if model.is_empty() {
            let example = if operation == Operation::ImageEdits { "gpt-image-2" } else { "gpt-transcribe" };
            let message = format!("model is missing; it names the model, as \"{example}\".");
            return Err(Error::invalid("model", message));
        }
        if model.len() > MODEL_LIMIT {
            let message = format!("model has {} bytes; {MODEL_LIMIT} are allowed.", model.len());
            return Err(Error::invalid("model", message));
        }
        check_files(operation, &form)?;
        let images = form.parts().iter().filter(|part| part.head.plain_name() == "image").count();
        check_images("image", images)?;
        let is_stream = matches!(form.text("stream")?.map(str::trim), Some("true" | "True" | "1"));
        let texts = |part: &&FormPart| !part.head.is_file();
        let length: usize = form.parts().iter().filter(texts).map(|part| form.value(part).len()).sum();
        let milliseconds = form.parts().iter().filter(|part| part.head.plain_name() == "file");
        let milliseconds = milliseconds.map(|part| longest(part, form.value(part).len())).sum();
        let routing_fields = routing_fields(&form)?;
        let response_format = form.text("response_format")?.unwrap_or_default().trim().to_owned();
        let asked = form.parts().iter().filter(|part| part.head.plain_name() == "timestamp_granularities");
        let granularities = asked.map(|part| String::from_utf8_lossy(form.value(part)).trim().to_owned());
        let granularities = granularities.collect();
        let tokens = (length as u64).div_ceil(4);
        Ok(Self {
            operation,
            form,
            model,
            is_stream,
            granularities,
            response_format,
            tokens,
            milliseconds,
            routing_fields,
        })
    }

    fn routing_field(&self, name: &str) -> Option<&[u8]> {
        self.routing_fields.iter().find(|(known, _)| *known == name).map(|(_, raw)| &raw[..])
    }

    /// For providers that take the file in another form.
    fn check_whole(&self) -> Result<()> {
        if self.form.is_whole() {
            return Ok(());
        }
        let field = if self.is_image_edit() { "image" } else { "file" };
        let message = "The provider takes its files in another form, which has to be held, and another provider of this model does not; \
                       name the provider, or send less than 4 MiB.";
        Err(Error::unsupported(field, message))
    }

    fn is_image_edit(&self) -> bool {
        self.operation == Operation::ImageEdits
    }

    /// The duration of the recording, where its bytes contain it.
    pub(super) fn audio_length(&self) -> Option<u64> {
        let part = self.form.parts().iter().find(|part| part.head.plain_name() == "file")?;
        length::milliseconds(self.form.value(part), self.form.is_whole())
    }

    /// The language that the caller names.
    pub(super) fn language(&self) -> Option<String> {
        let named = self.form.field("language").map(|text| String::from_utf8_lossy(text).trim().to_owned());
        named.filter(|text| !text.is_empty())
    }

    /// The provider's row for the operation, and OpenAI's path.
    fn row<'a>(&self, target: EndpointTarget<'a>) -> (Option<&'a MediaRow>, &'static str) {
        match self.operation {
            Operation::ImageEdits => (target.rows.image_edits.as_ref(), "/images/edits"),
            Operation::Translations => (target.rows.translations.as_ref(), "/audio/translations"),
            _ => (target.rows.transcriptions.as_ref(), "/audio/transcriptions"),
        }
    }

    pub(super) fn wants(&self, granularity: &str) -> bool {
        self.granularities.iter().any(|asked| asked == granularity)
    }

    /// The requested format of the transcript, for providers whose answers have a format of their own.
    pub(super) fn transcript_form(&self) -> Result<TranscriptForm> {
        if self.is_stream {
            return Err(no_stream(self.operation));
        }
        TranscriptForm::of(&self.response_format)
    }

    /// The form for a provider whose answers have a format of its own.
    fn native(
        &self,
        row: &MediaRow,
        model: &str,
        losses: &mut Losses,
    ) -> Result<(Vec<u8>, TranscriptReader)> {
        let form = self.transcript_form()?;
        let (is_elevenlabs, is_xai) = (row.format == MediaFormat::Elevenlabs, row.format == MediaFormat::Xai);
        let mut is_first = true;
        let written = self.form.rewritten(|part, value, writer| {
            let name = part.head.plain_name();
            let text = || String::from_utf8_lossy(value);
            match name {
                _ if part.head.file_name.is_some() => self.form.keep(part, writer),
                "model" if is_elevenlabs => writer.text("model_id", model),
                // xAI has a single model.
                "model" if is_xai => {}
                "keywords" if is_xai => writer.text("keyterm", &text()),
                "model" => self.form.replace(part, model, writer),
                "response_format" | "stream" | "timestamp_granularities" => {}
                "language" if is_elevenlabs => writer.text("language_code", &text()),
                _ if ROUTING_FIELDS.contains(&name) => {}
                _ if row.drop.iter().any(|dropped| dropped == name) => {
                    losses.dropped(name.to_owned(), "The provider has no such field.");
                }
                _ if row.plain_lists && name != part.head.name => writer.text(name, &text()),
                _ => self.form.keep(part, writer),
            }
            // After the first part, which may be the only one before a file that is streamed.
            if name == "model" && std::mem::take(&mut is_first) {
                if form == TranscriptForm::Diarized {
                    writer.text("diarize", "true");
                }
                if !is_elevenlabs && !is_xai && form.needs_times() {
                    writer.text("timestamp_granularities", "segment");
                }
            }
            Ok(())
        })?;
        let (words, segments) = (self.wants("word"), self.wants("segment"));
        let has_words = is_elevenlabs || is_xai;
        if words && !has_words {
            losses.dropped("timestamp_granularities", "The provider reports only the times of segments.");
        }
        Ok((
            written,
            TranscriptReader {
                format: row.format,
                form,
                words: words && has_words,
                segments,
                language: self.language(),
                milliseconds: self.audio_length(),
            },
        ))
    }

    /// The form as the provider takes it.
    fn written(&self, row: &MediaRow, target: EndpointTarget<'_>, losses: &mut Losses) -> Result<Vec<u8>> {
        self.form.rewritten(|part, value, writer| {
            let name = part.head.plain_name();
            match name {
                _ if part.head.file_name.is_some() => self.form.keep(part, writer),
                "model" => self.form.replace(part, target.model, writer),
                _ if ROUTING_FIELDS.contains(&name) => {}
                _ if row.drop.iter().any(|dropped| dropped == name) => {
                    losses.dropped(name.to_owned(), "The provider has no such field.");
                }
                "response_format" if self.is_image_edit() && target.facts.image.base64_only => {
                    if value == b"url" {
                        return Err(no_urls(target.model));
                    }
                }
                _ if row.plain_lists && name != part.head.name => {
                    writer.text(name, &String::from_utf8_lossy(value));
                }
                _ => self.form.keep(part, writer),
            }
            Ok(())
        })
    }
}

impl EndpointRequest for FormRequest {
    fn operation(&self) -> Operation {
        self.operation
    }

    fn facts(&self) -> RequestFacts<'_> {
        let amount = if self.is_image_edit() {
            Amount { unit: Unit::Image, count: 1 }
        } else {
            Amount { unit: Unit::Millisecond, count: self.milliseconds }
        };
        RequestFacts {
            model: &self.model,
            prompt_tokens: self.tokens,
            reserved_tokens: self.tokens,
            max_output_tokens: self.is_image_edit().then_some(IMAGE_TOKENS),
            amount: Some(amount),
            stream: self.is_stream,
            routing_fields: RoutingFields {
                models: self.routing_field("models"),
                provider: self.routing_field("provider"),
                routing: self.routing_field("routing"),
                n: self.routing_field("n"),
            },
            ..RequestFacts::default()
        }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let (row, usual) = self.row(target);
        let default = MediaRow::default();
        let row = row.unwrap_or(&default);
        if row.format.takes_whole_forms(self.operation) {
            self.check_whole()?;
        }
        if row.format.is_of_pictures() && self.is_image_edit() {
            return PictureRequest::of_form(&self.form)?.write(self.operation, (row, usual), target);
        }
        if matches!(row.format, MediaFormat::Deepgram | MediaFormat::Openrouter) {
            return self.without_form(row, usual, target.model);
        }
        let mut losses = Losses::new();
        let (body, reader): (_, Box<dyn AnswerReader>) = match row.format {
            MediaFormat::Openai => {
                let meter =
                    Meter { operation: self.operation, characters: 0, milliseconds: self.audio_length() };
                let is_text = !self.is_image_edit() && !is_json(&self.response_format);
                let reader = OpenaiReader { meter, sound: None, is_text };
                (self.written(row, target, &mut losses)?, Box::new(reader))
            }
            _ => {
                let (body, reader) = self.native(row, target.model, &mut losses)?;
                (body, Box::new(reader))
            }
        };
        let content_type = HeaderValue::try_from(self.form.content_type())
            .map_err(|_| Error::invalid("content-type", "The boundary of the content type is not valid."))?;
        let part = Part {
            path: row.path(usual),
            headers: vec![(CONTENT_TYPE, content_type)],
            body: body.into(),
            goes_on: !self.form.is_whole(),
            first_input: 0,
        };
        Ok(ProviderRequest { parts: vec![part], losses, reader })
    }
}

/// Whether a transcript of this `response_format` is JSON. The provider is the judge of formats that are unknown
/// here.
fn is_json(response_format: &str) -> bool {
    matches!(response_format, "" | "json" | "verbose_json" | "diarized_json")
}

fn check_single(form: &Form) -> Result<()> {
    for (index, part) in form.parts().iter().enumerate() {
        let name = part.head.name.as_str();
        let is_again = || form.parts()[..index].iter().any(|before| before.head.name == name);
        if SINGLE.contains(&name) && is_again() {
            return Err(Error::invalid(name.to_owned(), format!("The field {name:?} is given twice.")));
        }
    }
    Ok(())
}

/// A recording or an image is required and must not be empty. Some providers take a URL instead. Where the
/// form is not whole, the file may still follow.
fn check_files(operation: Operation, form: &Form) -> Result<()> {
    let (name, others): (_, &[&str]) = match operation {
        Operation::ImageEdits => ("image", &["images"]),
        _ => ("file", &["url", "file_url", "file_id", "source_url"]),
    };
    let is_there = |name: &str| form.parts().iter().any(|part| part.head.plain_name() == name);
    if form.is_whole() && !is_there(name) && !others.iter().any(|other| is_there(other)) {
        return Err(Error::invalid(name, format!("{name} is missing; it needs a file.")));
    }
    let is_empty = |part: &&FormPart| part.head.is_file() && form.value(part).is_empty();
    if form.is_whole()
        && let Some(empty) = form.parts().iter().find(is_empty)
    {
        let name = empty.head.name.clone();
        return Err(Error::invalid(name.clone(), format!("{name} is an empty file.")));
    }
    Ok(())
}

/// The form's fields for the gateway, as JSON.
fn routing_fields(form: &Form) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let mut routing_fields = Vec::new();
    for name in ["models", "provider", "routing", "n"] {
        let Some(text) = form.text(name)?.map(str::trim).filter(|text| !text.is_empty()) else { continue };
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
        let raw = match (name, is_json) {
            ("routing", _) => quoted(text),
            (_, true) => text.as_bytes().to_vec(),
            ("n", false) => continue,
            (_, false) => {
                let message = format!("{name} is not valid JSON; in a form it is JSON in a text field.");
                return Err(Error::invalid(name, message));
            }
        };
        routing_fields.push((name, raw));
    }
    Ok(routing_fields)
}

/// Maximum duration of a recording of this size, in milliseconds: 32 kbit/s if compressed, else 256 kbit/s
/// (16 bits at 16 kHz).
fn longest(part: &FormPart, bytes: usize) -> u64 {
    let name = part.head.file_name.as_deref().unwrap_or_default().to_ascii_lowercase();
    let per_millisecond = if name.ends_with(".wav") || name.ends_with(".flac") { 16 } else { 4 };
    bytes as u64 / per_millisecond
}
