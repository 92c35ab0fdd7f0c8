//! The request as providers take it, and the answer as the caller wants it.

use std::borrow::Cow;

use canon::write::{push_count, push_key, push_string, push_text};
use canon::{Error, Losses, Progress, Result, Usage};
use http::{HeaderMap, StatusCode};

use super::request::PURPOSES;
use super::vector::{VectorForm, push_vector};
use super::{EmbeddingsFormat, EmbeddingsRequest, EmbeddingsRow};
use crate::endpoints::{AnswerReader, EndpointAnswer, EndpointTarget, Part, PartAnswer, ProviderRequest};
use crate::json::Edit;
use crate::{ROUTING_FIELDS, adapter};

/// Most inputs of one request to a provider whose limit is not known.
const MANY: usize = 2048;

/// Writes the request for a provider.
pub(super) fn write(request: &EmbeddingsRequest, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
    let usual = EmbeddingsRow::default();
    let row = target.rows.embeddings.as_ref().unwrap_or(&usual);
    let mut losses = Losses::new();
    request.intake.note_routing_losses(&mut losses);
    check(request, row, target)?;
    let most = target.facts.embedding.max_inputs.or(row.max_inputs).unwrap_or(MANY).max(1);
    let path: Cow<'static, str> = row.path.clone().map_or(row.format.usual_path().into(), Into::into);
    let mut parts = Vec::new();
    for (number, _) in request.inputs.chunks(most).enumerate() {
        let first_input = number * most;
        let is_all = request.inputs.len() <= most;
        let body = match row.format {
            EmbeddingsFormat::Openai => {
                let mut edit = forwarded(request, row, target.model, &mut losses);
                if !is_all {
                    edit.set("input", &list(request, first_input, most));
                }
                edit.write(64)
            }
        };
        let path = Cow::clone(&path);
        parts.push(Part { path, headers: Vec::new(), body: body.into(), first_input });
    }
    let reader = Reader {
        format: row.format,
        counts: request.inputs.chunks(most).map(<[_]>::len).collect(),
        form: request.form,
        dimensions: request.dimensions.or(target.facts.embedding.default_dimensions),
        estimate: request.tokens,
        model: target.model.to_owned(),
    };
    Ok(ProviderRequest { parts, losses, reader: Box::new(reader) })
}

/// Refuses what this model cannot do at this provider.
fn check(request: &EmbeddingsRequest, row: &EmbeddingsRow, target: EndpointTarget<'_>) -> Result<()> {
    let facts = &target.facts.embedding;
    if request.are_tokens && !row.token_lists {
        let message = format!("{} takes texts here, and no lists of token numbers.", target.model);
        return Err(Error::unsupported("input", message));
    }
    let Some(asked) = request.dimensions else { return Ok(()) };
    if facts.default_dimensions == Some(asked) {
        return Ok(());
    }
    let message = match &facts.dimensions {
        _ if row.dimensions_field.is_empty() => "has vectors of one length here".to_owned(),
        Some(known) if known.is_empty() => "has vectors of one length".to_owned(),
        _ => return Ok(()),
    };
    let length = facts.default_dimensions.map_or(String::new(), |length| format!(", {length} numbers"));
    Err(Error::unsupported("dimensions", format!("{} {message}{length}.", target.model)))
}

/// The body as it came, with the few fields that differ.
fn forwarded<'a>(
    request: &'a EmbeddingsRequest,
    row: &'a EmbeddingsRow,
    model: &str,
    losses: &mut Losses,
) -> Edit<'a> {
    let mut edit = request.intake.edit();
    let mut quoted = Vec::new();
    push_string(&mut quoted, model);
    edit.set("model", &quoted);
    for name in ROUTING_FIELDS {
        edit.remove(name);
    }
    for (name, value) in request.intake.fields() {
        if value == b"null" {
            edit.remove(name);
        }
    }
    if !row.encoding_format {
        edit.remove("encoding_format");
    }
    match request.intake.given("dimensions") {
        Some(_) if row.dimensions_field.is_empty() => drop(edit.remove("dimensions")),
        Some(value) => edit.rename("dimensions", &row.dimensions_field, value),
        None => {}
    }
    let Some(field) = &row.input_type_field else { return edit };
    for name in PURPOSES {
        match request.intake.given(name) {
            Some(value) if !field.is_empty() => edit.rename(name, field, value),
            Some(_) => {
                edit.remove(name);
                losses.dropped(name, "The provider does not ask what a text is embedded for.");
            }
            None => {}
        }
    }
    edit
}

/// Some of the inputs as a JSON list.
fn list(request: &EmbeddingsRequest, first: usize, most: usize) -> Vec<u8> {
    let mut list = vec![b'['];
    for (index, place) in request.inputs.iter().skip(first).take(most).enumerate() {
        if index > 0 {
            list.push(b',');
        }
        list.extend_from_slice(request.input(place));
    }
    list.push(b']');
    list
}

struct Reader {
    format: EmbeddingsFormat,
    /// How many inputs each part has.
    counts: Vec<usize>,
    form: VectorForm,
    /// How long vectors are, where that is known.
    dimensions: Option<usize>,
    model: String,
    /// How many tokens the inputs have, where the provider does not count them.
    estimate: u64,
}

impl AnswerReader for Reader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let room = parts.iter().map(|part| part.body.len() + 64).sum::<usize>();
        let mut body = Vec::with_capacity(room + 512);
        body.extend_from_slice(b"{\"object\":\"list\",\"data\":[");
        let (mut index, mut tokens, mut model) = (0, Some(0), None);
        for (part, count) in parts.iter().zip(&self.counts) {
            let read = self.format.answer().read(&part.body, *count)?;
            for vector in &read.vectors {
                if index > 0 {
                    body.push(b',');
                }
                body.extend_from_slice(b"{\"object\":\"embedding\"");
                push_count(&mut body, "index", index);
                push_key(&mut body, "embedding");
                push_vector(&mut body, vector, self.form, self.dimensions)?;
                body.push(b'}');
                index += 1;
            }
            // A sum of some of them would be a count of something else.
            tokens = tokens.zip(read.tokens).map(|(sum, tokens): (u64, u64)| sum + tokens);
            model = model.or(read.model.map(Cow::into_owned));
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

    /// 2,048 vectors of 3,072 numbers of some 22 characters each.
    fn limit(&self) -> usize {
        160 << 20
    }
}
