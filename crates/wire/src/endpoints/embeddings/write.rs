//! The request in the provider's format, and the answer in the caller's form.

use std::borrow::Cow;

use canon::write::{push_count, push_key, push_text, quoted};
use canon::{Error, Losses, Operation, Progress, Result, Usage};
use http::{HeaderMap, StatusCode};

use super::native::NativeInput;
use super::request::PURPOSES;
use super::vector::{VectorFormat, push_vector};
use super::{EmbeddingFacts, EmbeddingsFormat, EmbeddingsRequest, EmbeddingsRow, Purpose};
use crate::endpoints::{
    AnswerReader, EndpointAnswer, EndpointRequest, EndpointTarget, Part, PartAnswer, ProviderRequest,
    TOKENS_HEADER, of_part,
};
use crate::intake::RequestFacts;
use crate::json::{Edit, Span};
use crate::{ROUTING_FIELDS, adapter};

/// Most inputs of one request to a provider with an unknown limit.
const MANY: usize = 2048;

impl EndpointRequest for EmbeddingsRequest {
    fn operation(&self) -> Operation {
        Operation::Embeddings
    }

    fn facts(&self) -> RequestFacts<'_> {
        RequestFacts {
            prompt_tokens: self.tokens,
            reserved_tokens: self.tokens,
            max_output_tokens: Some(0),
            ..self.intake.facts()
        }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        write(self, target)
    }
}

/// Writes the request for a provider.
fn write(request: &EmbeddingsRequest, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
    let usual = EmbeddingsRow::default();
    let row = target.rows.embeddings.as_ref().unwrap_or(&usual);
    let facts = &target.facts.embedding;
    let format = facts.format.unwrap_or(row.format).of_model(target.model);
    let writing = EmbeddingsWriter { request, row, facts, format, model: target.model };
    writing.check()?;
    let mut losses = Losses::new();
    let limits = [facts.max_inputs, row.max_inputs, format.max_inputs()];
    let most = limits.into_iter().flatten().min().unwrap_or(MANY).max(1);
    let split = request.split(most, facts.max_request_tokens.or(row.max_request_tokens))?;
    let bodies = match format {
        EmbeddingsFormat::Openai => writing.forwarded(&split, &mut losses),
        _ => writing.native(&split, &mut losses),
    };
    let path = || match &row.path {
        Some(path) => Cow::Owned(path.clone()),
        None => Cow::Borrowed(format.usual_path()),
    };
    let counts: Vec<usize> = split.iter().map(|inputs| inputs.len()).collect();
    let mut first_input = 0;
    let part = |(body, count): (Vec<u8>, &usize)| {
        let part = Part { path: path(), headers: Vec::new(), body: body.into(), goes_on: false, first_input };
        first_input += count;
        part
    };
    let parts = bodies.into_iter().zip(&counts).map(part).collect();
    let is_shorter = |asked: &usize| facts.default_dimensions.is_some_and(|usual| *asked < usual);
    let reader = Reader {
        format,
        counts,
        reading: VectorFormat {
            form: request.form,
            dimensions: request.dimensions.or(facts.default_dimensions),
            element: row.base64,
            may_be_float64: format == EmbeddingsFormat::Openai,
            scaled: facts.scaled && request.dimensions.as_ref().is_some_and(is_shorter),
        },
        dimensions: request.dimensions,
        model: target.model.to_owned(),
        estimate: request.tokens,
    };
    Ok(ProviderRequest { parts, losses, reader: Box::new(reader) })
}

struct EmbeddingsWriter<'a> {
    request: &'a EmbeddingsRequest,
    row: &'a EmbeddingsRow,
    facts: &'a EmbeddingFacts,
    format: EmbeddingsFormat,
    model: &'a str,
}

impl EmbeddingsWriter<'_> {
    /// Refuses requests that this model does not support at this provider.
    fn check(&self) -> Result<()> {
        let is_openai = self.format == EmbeddingsFormat::Openai;
        if self.request.are_tokens && !(is_openai && self.row.token_lists) {
            let message = format!("{} accepts only texts here, not lists of token numbers.", self.model);
            return Err(Error::unsupported("input", message));
        }
        let usual = self.facts.default_dimensions;
        let Some(asked) = self.request.dimensions.filter(|asked| usual != Some(*asked)) else {
            return Ok(());
        };
        let lengths = match &self.facts.dimensions {
            Some(known) if !known.is_empty() => known.iter().map(usize::to_string).collect::<Vec<_>>(),
            None if !(is_openai && self.row.dimensions_field.is_empty()) => return Ok(()),
            _ => Vec::new(),
        };
        if lengths.contains(&asked.to_string()) {
            return Ok(());
        }
        let known = match (lengths.is_empty(), usual) {
            (false, _) => format!("of these lengths: {}", lengths.join(", ")),
            (true, Some(usual)) => format!("of {usual} numbers only"),
            (true, None) => "of one length only".to_owned(),
        };
        Err(Error::unsupported("dimensions", format!("{} has vectors {known}.", self.model)))
    }

    /// The length to request. The default length is not sent where the provider has no field for it.
    fn dimensions(&self) -> Option<usize> {
        let is_fixed = self.facts.dimensions.as_ref().is_some_and(Vec::is_empty);
        self.request.dimensions.filter(|_| !is_fixed)
    }

    /// Copies of the caller's body with the few fields that differ.
    fn forwarded(&self, split: &[&[Span]], losses: &mut Losses) -> Vec<Vec<u8>> {
        let edit = self.edited(losses);
        if split.len() == 1 {
            return vec![edit.write(64)];
        }
        let part = |inputs: &&[_]| {
            let mut edit = self.edited(&mut Losses::new());
            edit.set("input", &self.list(inputs));
            edit.write(64)
        };
        split.iter().map(part).collect()
    }

    fn edited(&self, losses: &mut Losses) -> Edit<'_> {
        let intake = &self.request.intake;
        let mut edit = intake.addressed_to(self.model);
        intake.leave_out_nulls(&mut edit);
        let encoding = intake.string("encoding_format");
        match encoding.filter(|word| self.row.encodings.iter().any(|known| known == word)) {
            Some(word) if self.row.encoding_field != "encoding_format" => {
                edit.rename("encoding_format", &self.row.encoding_field, &quoted(&word));
            }
            Some(_) => {}
            None => {
                edit.remove("encoding_format");
            }
        }
        match (intake.non_null("dimensions"), self.dimensions()) {
            (Some(value), Some(_)) if !self.row.dimensions_field.is_empty() => {
                edit.rename("dimensions", &self.row.dimensions_field, value);
            }
            _ => {
                edit.remove("dimensions");
            }
        }
        let Some(field) = &self.row.input_type_field else { return edit };
        let word = self.purpose_word(losses).map(Cow::into_owned);
        for name in PURPOSES {
            edit.remove(name);
        }
        if let Some(word) = word.filter(|_| !field.is_empty()) {
            edit.set(field.as_str(), &quoted(&word));
        }
        edit
    }

    fn native(&self, split: &[&[Span]], losses: &mut Losses) -> Vec<Vec<u8>> {
        let known = ["model", "input", "dimensions", "encoding_format"];
        for (name, value) in self.request.intake.fields() {
            let is_known = known.contains(&name)
                || PURPOSES.contains(&name)
                || ROUTING_FIELDS.contains(&name)
                || self.format.passes().contains(&name)
                || name == "title" && self.format.word(Purpose::Document) == Some("RETRIEVAL_DOCUMENT");
            if !is_known && value != b"null" {
                losses.dropped(name.to_owned(), "The provider's own API has no such field.");
            }
        }
        let in_text = self.facts.purpose_in_text;
        let prefix = match self.purpose().filter(|_| in_text) {
            Some(purpose) => purpose.prefix(),
            None => "",
        };
        let word = if in_text { None } else { self.purpose_word(losses) };
        let part = |inputs: &&[Span]| {
            let (request, format, model) = (self.request, self.format, self.model);
            let (dimensions, purpose) = (self.dimensions(), word.as_deref());
            NativeInput { request, format, model, inputs, dimensions, purpose, prefix }.body()
        };
        split.iter().map(part).collect()
    }

    /// The named purpose, or the default one.
    fn purpose(&self) -> Option<Purpose> {
        let named = self.request.purpose().and_then(|(_, word)| Purpose::of_word(&word));
        named.or(self.facts.default_purpose).or(self.format.default_purpose())
    }

    /// The provider's name of the purpose. An unknown value is passed on.
    fn purpose_word(&self, losses: &mut Losses) -> Option<Cow<'_, str>> {
        let own_word = |purpose| match self.format {
            EmbeddingsFormat::Openai => self.row.input_types.get(&purpose).map(String::as_str),
            format => format.word(purpose),
        };
        let takes_words = match self.format {
            EmbeddingsFormat::Openai => {
                self.row.input_type_field.as_ref().is_some_and(|name| !name.is_empty())
            }
            format => format.word(Purpose::Query).is_some(),
        };
        let fallback = self.facts.default_purpose.or(self.format.default_purpose()).and_then(own_word);
        let Some((name, word)) = self.request.purpose() else { return fallback.map(Cow::Borrowed) };
        match Purpose::of_word(&word) {
            _ if !takes_words => {
                losses.dropped(name, "The provider has no field for the purpose of a text.");
                None
            }
            None => Some(word),
            Some(_) if self.format.knows(&word) => Some(word),
            Some(purpose) => {
                let own = own_word(purpose).or_else(|| {
                    losses.approximated(name, format!("The provider has no value for {word:?}."));
                    fallback
                });
                own.map(Cow::Borrowed)
            }
        }
    }

    /// Some of the inputs as a JSON list.
    fn list(&self, inputs: &[Span]) -> Vec<u8> {
        let mut list = vec![b'['];
        for (index, place) in inputs.iter().copied().enumerate() {
            if index > 0 {
                list.push(b',');
            }
            list.extend_from_slice(self.request.input(place));
        }
        list.push(b']');
        list
    }
}

struct Reader {
    format: EmbeddingsFormat,
    /// The number of inputs in each part.
    counts: Vec<usize>,
    reading: VectorFormat,
    /// The length that the caller requested.
    dimensions: Option<usize>,
    model: String,
    /// An estimate of the tokens, where the provider does not count them.
    estimate: u64,
}

impl AnswerReader for Reader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let room = parts.iter().map(|part| part.body.len() + 64).sum::<usize>();
        let mut body = Vec::with_capacity(room + 512);
        body.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        let (mut index, mut first_input, mut tokens, mut model) = (0, 0, Some(0), None);
        for (part, count) in parts.iter().zip(&self.counts) {
            let read = self.format.answer().read(&part.body, *count);
            let read =
                read.map_err(|error| if parts.len() > 1 { of_part(error, first_input) } else { error })?;
            first_input += count;
            for vector in &read.vectors {
                if index > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(b"{\"object\":\"embedding\"");
                push_count(&mut body, "index", index);
                push_key(&mut body, "embedding");
                self.check_length(push_vector(&mut body, vector, self.reading)?)?;
                body.push(b'}');
                index += 1;
            }
            // A sum without some of the counts would be wrong.
            let counted = read.tokens.or_else(|| in_header(&part.headers));
            tokens = tokens.zip(counted).map(|(sum, tokens): (u64, u64)| sum.saturating_add(tokens));
            model = model.or(read.model);
        }
        body.push(b']');
        let usage = tokens.map(|input| Usage { input, ..Usage::default() }).filter(Usage::is_plausible);
        push_text(&mut body, "model", model.as_deref().unwrap_or(&self.model));
        push_key(&mut body, "usage");
        body.push(b'{');
        let tokens = usage.map_or(self.estimate, |usage| usage.input);
        push_count(&mut body, "prompt_tokens", tokens);
        push_count(&mut body, "total_tokens", tokens);
        body.extend_from_slice(b"}}");
        let progress =
            Progress { content_started: true, finished: true, usage, model, ..Progress::default() };
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(self.format.protocol()).decode_error(status, headers, body)
    }

    /// 2,048 vectors of 3,072 numbers of about 22 characters each.
    fn limit(&self) -> usize {
        160 << 20
    }
}

impl Reader {
    /// Many servers ignore a length that they do not support.
    fn check_length(&self, length: usize) -> Result<()> {
        match self.dimensions {
            Some(asked) if asked != length => {
                let message = format!("{} answered with vectors of {length} numbers.", self.model);
                Err(Error::unsupported("dimensions", message))
            }
            _ => Ok(()),
        }
    }
}

fn in_header(headers: &HeaderMap) -> Option<u64> {
    headers.get(TOKENS_HEADER)?.to_str().ok()?.trim().parse().ok()
}
