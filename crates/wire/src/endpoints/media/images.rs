//! Images: `POST /v1/images/generations`, and `POST /v1/images/edits` with a JSON body.

use bytes::Bytes;
use canon::write::quoted;
use canon::{Amount, Error, Losses, Operation, Result, Unit};

use super::meter::Meter;
use super::native::no_stream;
use super::pictures::PictureRequest;
use super::reader::OpenaiReader;
use super::{MediaRow, SizeField, forwarded};
use crate::endpoints::{EndpointRequest, EndpointTarget, Part, ProviderRequest};
use crate::intake::{Intake, RequestFacts, check_kind};
use crate::json::{Edit, Kind, Scanner, text_of};

#[derive(Clone, Debug)]
pub struct ImagesRequest {
    intake: Intake,
    operation: Operation,
    /// Estimated tokens of the prompt.
    tokens: u64,
    response_format: Option<String>,
    /// Width and height, where the request has them.
    size: Option<(u64, u64)>,
}

/// Produced tokens of one image, for the reservation of a budget: a large one of high quality.
const IMAGE_TOKENS: u64 = 6240;

/// Most images of an edit. OpenAI, which accepts the most, accepts 16.
const MOST_IMAGES: usize = 64;

/// The ratios of width and height that providers support.
pub(super) const RATIOS: [(u64, u64); 10] =
    [(1, 1), (2, 3), (3, 2), (3, 4), (4, 3), (4, 5), (5, 4), (9, 16), (16, 9), (21, 9)];

impl ImagesRequest {
    /// Reads a request. Errors name the field; values that only the provider can judge are passed on.
    pub fn read(operation: Operation, body: &Bytes) -> Result<Self> {
        let mut intake = Intake::empty(body);
        let mut prompt = None;
        intake.scan(|intake, scanner, name| {
            let kind = scanner.kind()?;
            let raw = &scanner.json()[scanner.value()?];
            match name {
                "model" => {
                    check_kind(name, kind, Kind::String)?;
                    intake.take_model(raw)
                }
                "prompt" => {
                    check_kind(name, kind, Kind::String)?;
                    let text = Scanner::new(raw).string()?;
                    prompt = Some(text_of(raw, &text).map_or(0, |text| text.len()));
                    Ok(())
                }
                "n" | "partial_images" | "output_compression" if kind != Kind::Null => {
                    check_kind(name, kind, Kind::Number)
                }
                "size" | "quality" | "background" | "response_format" | "output_format" | "moderation"
                | "style" | "user" | "routing"
                    if kind != Kind::Null =>
                {
                    check_kind(name, kind, Kind::String)
                }
                "stream" if kind != Kind::Null => check_kind(name, kind, Kind::Bool),
                "images" if kind != Kind::Null => {
                    check_kind(name, kind, Kind::Array)?;
                    check_images(name, items(raw)?)
                }
                "image" if kind == Kind::Array => check_images(name, items(raw)?),
                _ => Ok(()),
            }
        })?;
        intake.check_model("gpt-image-2")?;
        match prompt {
            Some(0) => return Err(Error::invalid("prompt", "prompt is empty; it needs a text.")),
            None => return Err(Error::invalid("prompt", "prompt is missing; it needs a text.")),
            Some(_) => {}
        }
        let is_edit = operation == Operation::ImageEdits;
        let is_without = |name: &&str| intake.non_null(name).is_none_or(is_empty_list);
        if is_edit && ["images", "image"].iter().all(is_without) {
            let message = "images is missing; it needs a list of {\"image_url\": …} or {\"file_id\": …}.";
            return Err(Error::invalid("images", message));
        }
        check_count(&intake)?;
        intake.form.stream = intake.non_null("stream") == Some(b"true");
        let response_format = intake.string("response_format").map(|text| text.into_owned());
        check_response_format(response_format.as_deref())?;
        let size = intake.string("size").and_then(|text| parsed(&text));
        let tokens = (prompt.unwrap_or_default() as u64).div_ceil(4);
        Ok(Self { intake, operation, tokens, response_format, size })
    }

    fn sized(&self, edit: &mut Edit<'_>, row: &MediaRow, losses: &mut Losses) {
        if row.size == SizeField::Size || self.intake.non_null("size").is_none() {
            return;
        }
        edit.remove("size");
        match (row.size, self.size) {
            // The provider's own choice.
            (_, None) if self.intake.string("size").as_deref() == Some("auto") => {}
            // A value that only the provider can interpret.
            (_, None) => losses.dropped("size", "The provider accepts only numbers."),
            (SizeField::WidthHeight, Some((width, height))) => {
                edit.set("width", width.to_string().as_bytes());
                edit.set("height", height.to_string().as_bytes());
            }
            (_, Some((width, height))) => {
                let (wide, high) = nearest(&RATIOS, width, height);
                edit.set("aspect_ratio", format!("\"{wide}:{high}\"").as_bytes());
                losses.approximated("size", "The provider accepts only a ratio of width and height.");
            }
        }
    }

    fn returned(&self, edit: &mut Edit<'_>, row: &MediaRow, target: EndpointTarget<'_>) -> Result<()> {
        let Some(asked) = self.response_format.as_deref() else { return Ok(()) };
        if target.facts.image.base64_only || row.base64_only {
            if asked == "url" {
                return Err(no_urls(target.model));
            }
            edit.remove("response_format");
        } else if let (Some(word), "b64_json") = (&row.base64_word, asked) {
            edit.set("response_format", &quoted(word));
        }
        Ok(())
    }
}

impl EndpointRequest for ImagesRequest {
    fn operation(&self) -> Operation {
        self.operation
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            prompt_tokens: self.tokens,
            reserved_tokens: self.tokens,
            max_output_tokens: Some(IMAGE_TOKENS),
            amount: Some(Amount { unit: Unit::Image, count: 1 }),
            ..self.intake.facts()
        }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = MediaRow::default();
        let (row, path) = match self.operation {
            Operation::ImageEdits => (&target.rows.image_edits, "/images/edits"),
            _ => (&target.rows.image_generations, "/images/generations"),
        };
        let row = row.as_ref().unwrap_or(&usual);
        if row.format.is_of_pictures() {
            return PictureRequest::of_json(&self.intake)?.write(self.operation, (row, path), target);
        }
        let mut losses = Losses::new();
        let mut edit = forwarded(&self.intake, row, target.model, &mut losses);
        self.returned(&mut edit, row, target)?;
        self.sized(&mut edit, row, &mut losses);
        if row.base64_only && self.intake.form.stream {
            return Err(no_stream(self.operation));
        }
        let body = edit.write(64).into();
        let meter = Meter { operation: self.operation, characters: 0, milliseconds: None };
        Ok(ProviderRequest {
            parts: vec![Part {
                path: row.path(path),
                headers: Vec::new(),
                body,
                goes_on: false,
                first_input: 0,
            }],
            losses,
            reader: Box::new(OpenaiReader { meter, sound: None, is_text: false }),
        })
    }
}

fn is_empty_list(raw: &[u8]) -> bool {
    raw.strip_prefix(b"[").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"]"))
}

/// The error for a URL of an image at a provider that makes none.
pub(super) fn no_urls(model: &str) -> Error {
    let message = format!("{model} returns images as b64_json only, never as a URL.");
    Error::unsupported("response_format", message)
}

/// Only a provider knows its largest number.
fn check_count(intake: &Intake) -> Result<()> {
    match intake.non_null("n") {
        Some(_) if intake.whole("n").is_none_or(|count| count < 1) => {
            Err(Error::invalid("n", "n must be a whole number of 1 or more."))
        }
        _ => Ok(()),
    }
}

/// Refuses more images than any provider accepts.
pub(super) fn check_images(name: &str, count: usize) -> Result<()> {
    if count <= MOST_IMAGES {
        return Ok(());
    }
    Err(Error::invalid(name.to_owned(), format!("{name} has {count} images; {MOST_IMAGES} are allowed.")))
}

/// The number of items of a list.
fn items(raw: &[u8]) -> Result<usize> {
    let mut count = 0;
    Scanner::new(raw).array(|scanner, _| {
        count += 1;
        scanner.value().map(drop)
    })?;
    Ok(count)
}

fn check_response_format(asked: Option<&str>) -> Result<()> {
    match asked {
        None | Some("url" | "b64_json") => Ok(()),
        Some(other) => {
            let message = format!("response_format {other:?} is unknown; use \"b64_json\" or \"url\".");
            Err(Error::invalid("response_format", message))
        }
    }
}

/// `1024x768`.
pub(super) fn parsed(size: &str) -> Option<(u64, u64)> {
    let (width, height) = size.split_once('x')?;
    let number = |text: &str| text.parse::<u64>().ok().filter(|number| (1..=65_536).contains(number));
    Some((number(width)?, number(height)?))
}

/// The nearest known ratio, by the quotient of the two ratios.
pub(super) fn nearest(known: &[(u64, u64)], width: u64, height: u64) -> (u64, u64) {
    let distance = |(wide, high): &(u64, u64)| {
        let (asked, known) = (width * high, height * wide);
        // In thousandths: the larger ratio divided by the smaller one.
        asked.max(known) * 1000 / asked.min(known).max(1)
    };
    known.iter().copied().min_by_key(distance).unwrap_or((1, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_nearest_ratio() {
        for (size, ratio) in [
            ("1024x1024", (1, 1)),
            ("1536x1024", (3, 2)),
            ("1024x1536", (2, 3)),
            ("1792x1024", (16, 9)),
            ("3840x1600", (21, 9)),
            ("1x65536", (9, 16)),
        ] {
            let (width, height) = parsed(size).unwrap();
            assert_eq!(nearest(&RATIOS, width, height), ratio, "{size}");
        }
        for odd in ["auto", "x", "0x10", "10x", "1024X1024", "-1x4", "99999x1"] {
            assert_eq!(parsed(odd), None, "{odd}");
        }
    }
}
