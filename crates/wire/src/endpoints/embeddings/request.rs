//! The caller's request.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Result};

use super::vector::VectorForm;
use crate::intake::{Intake, check_kind};
use crate::json::{Kind, Scanner, Span};

#[derive(Clone, Debug)]
pub struct EmbeddingsRequest {
    pub(super) intake: Intake,
    /// The range of each input in the body, raw.
    pub(super) inputs: Vec<Span>,
    /// Inputs are lists of token numbers.
    pub(super) are_tokens: bool,
    pub(super) form: VectorForm,
    /// The requested length of vectors.
    pub(super) dimensions: Option<usize>,
    /// The tokens of the inputs: counted where they are token numbers, else estimated.
    pub(super) tokens: u64,
}

/// Callers' names for the purpose of a text, by provider: OpenAI's API has no such field.
pub(super) const PURPOSES: [&str; 4] = ["input_type", "task_type", "embeddingPurpose", "task"];

impl EmbeddingsRequest {
    /// Reads a request. Errors name the field; values that only the provider can judge are passed on.
    pub fn read(body: &Bytes) -> Result<Self> {
        let mut intake = Intake::empty(body);
        let mut read = Inputs::default();
        intake.scan(|intake, scanner, name| {
            let kind = scanner.kind()?;
            if name == "input" {
                return read.take(scanner, kind);
            }
            let raw = &scanner.json()[scanner.value()?];
            match name {
                "model" => {
                    check_kind(name, kind, Kind::String)?;
                    intake.take_model(raw)
                }
                "dimensions" if kind != Kind::Null => check_kind(name, kind, Kind::Number),
                "encoding_format" | "user" | "routing" if kind != Kind::Null => {
                    check_kind(name, kind, Kind::String)
                }
                name if PURPOSES.contains(&name) && kind != Kind::Null => {
                    check_kind(name, kind, Kind::String)
                }
                _ => Ok(()),
            }
        })?;
        let dimensions = dimensions(&intake)?;
        let form = form(&intake)?;
        check_whole(&intake, &read)?;
        let Inputs { places, tokens, text_bytes, .. } = read;
        let are_tokens = tokens > 0;
        let tokens = if are_tokens { tokens } else { (text_bytes as u64).div_ceil(4) };
        Ok(Self { intake, inputs: places, are_tokens, form, dimensions, tokens })
    }

    /// The purpose of the texts: the field and its value.
    pub(super) fn purpose(&self) -> Option<(&'static str, Cow<'_, str>)> {
        PURPOSES
            .into_iter()
            .find_map(|name| Some((name, self.intake.non_null(name).and(self.intake.string(name))?)))
    }

    /// The raw JSON of one input.
    pub(super) fn input(&self, place: Span) -> &[u8] {
        &self.intake.body()[place.range()]
    }
}

/// The inputs while they are read.
#[derive(Default)]
struct Inputs {
    places: Vec<Span>,
    text_bytes: usize,
    /// The number of token numbers.
    tokens: u64,
    is_given: bool,
}

impl Inputs {
    /// A text, a list of token numbers, or a list of either. `[1, 2]` is one input, `["a", "b"]` are two.
    fn take(&mut self, scanner: &mut Scanner<'_>, kind: Kind) -> Result<()> {
        let start = scanner.position();
        match kind {
            Kind::Null => return Ok(scanner.value().map(drop)?),
            Kind::String => {
                let place = scanner.value()?;
                self.text_bytes = place.len();
                self.places.push(Span::of(&place)?);
            }
            Kind::Array => {
                let mut first = None;
                scanner.array(|scanner, index| {
                    let kind = scanner.kind()?;
                    let wanted = *first.get_or_insert(kind);
                    if kind != wanted || !matches!(kind, Kind::String | Kind::Number | Kind::Array) {
                        return Err(odd(index, kind));
                    }
                    self.take_entry(scanner, index, kind)
                })?;
                if first == Some(Kind::Number) {
                    self.places.push(Span::of(&(start..scanner.position()))?);
                }
            }
            kind => {
                let message = format!("input must be a string or a list, not {}.", kind.name());
                return Err(Error::invalid("input", message));
            }
        }
        self.is_given = true;
        Ok(())
    }

    fn take_entry(&mut self, scanner: &mut Scanner<'_>, index: usize, kind: Kind) -> Result<()> {
        let start = scanner.position();
        match kind {
            Kind::String => {
                let place = scanner.value()?;
                self.text_bytes += place.len();
                self.places.push(Span::of(&place)?);
            }
            Kind::Number => self.take_token(scanner, || format!("input[{index}]"))?,
            _ => {
                let before = self.tokens;
                scanner.array(|scanner, inner| {
                    self.take_token(scanner, || format!("input[{index}][{inner}]"))
                })?;
                if self.tokens == before {
                    let path = format!("input[{index}]");
                    let message = format!("{path} is empty.");
                    return Err(Error::invalid(path, message));
                }
                self.places.push(Span::of(&(start..scanner.position()))?);
            }
        }
        Ok(())
    }

    fn take_token(&mut self, scanner: &mut Scanner<'_>, path: impl Fn() -> String) -> Result<()> {
        let is_number = scanner.kind()? == Kind::Number;
        let raw = &scanner.json()[scanner.value()?];
        let number = std::str::from_utf8(raw).ok().and_then(|text| text.parse::<u32>().ok());
        match number.filter(|_| is_number) {
            Some(_) => {
                self.tokens += 1;
                Ok(())
            }
            None => {
                let path = path();
                let message = format!("{path} must be a token number.");
                Err(Error::invalid(path, message))
            }
        }
    }
}

fn odd(index: usize, kind: Kind) -> Error {
    let path = format!("input[{index}]");
    let message = format!(
        "{path} is {}; input must be a string, a list of strings, a list of token numbers, or a list of such lists.",
        kind.name()
    );
    Error::invalid(path, message)
}

fn dimensions(intake: &Intake) -> Result<Option<usize>> {
    if intake.non_null("dimensions").is_none() {
        return Ok(None);
    }
    match intake.whole("dimensions").and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0)
    {
        Some(count) => Ok(Some(count)),
        None => Err(Error::invalid("dimensions", "dimensions must be a whole number of 1 or more.")),
    }
}

fn form(intake: &Intake) -> Result<VectorForm> {
    match intake.string("encoding_format").as_deref() {
        None | Some("float") => Ok(VectorForm::Numbers),
        Some("base64") => Ok(VectorForm::Base64),
        Some(other) => {
            let message = format!("encoding_format {other:?} is unknown; use \"float\" or \"base64\".");
            Err(Error::invalid("encoding_format", message))
        }
    }
}

fn check_whole(intake: &Intake, inputs: &Inputs) -> Result<()> {
    intake.check_model("text-embedding-3-small")?;
    if !inputs.is_given {
        let message = match intake.non_null("messages") {
            Some(_) => "input is missing; a conversation in messages goes to POST /v1/chat/completions.",
            None => "input is missing; it needs a text or a list of texts.",
        };
        return Err(Error::invalid("input", message));
    }
    if inputs.places.is_empty() {
        return Err(Error::invalid("input", "input is an empty list; it needs at least one text."));
    }
    Ok(())
}
