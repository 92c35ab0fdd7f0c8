//! Moderations: `POST /v1/moderations` as OpenAI's API has it.

use std::borrow::Cow;

use bytes::Bytes;
use canon::write::quoted;
use canon::{Error, ErrorKind, Losses, Operation, Progress, Result, Retry, Usage};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::{
    AnswerReader, EndpointAnswer, EndpointRequest, EndpointTarget, Part, PartAnswer, ProviderRequest,
};
use crate::intake::{Intake, RequestFacts, check_kind};
use crate::json::{Kind, mentions};
use crate::protocols::counts::count_of;
use crate::{Protocol, adapter};

/// The default model, as at OpenAI.
const USUAL_MODEL: &str = "omni-moderation-latest";

/// How a provider serves moderations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModerationsRow {
    /// The path below the base URL, where it is not `/moderations`.
    pub path: Option<String>,
    pub text_only: bool,
    /// The provider's categories with OpenAI's names of them. A category without an entry keeps its name.
    pub categories: std::collections::BTreeMap<String, String>,
}

/// A request to moderate.
#[derive(Clone, Debug)]
pub struct ModerationsRequest {
    intake: Intake,
    has_images: bool,
    /// The number of expected results: a list of parts is one input.
    inputs: usize,
    tokens: u64,
}

impl ModerationsRequest {
    /// Reads a request. Errors name the field.
    pub fn read(body: &Bytes) -> Result<Self> {
        let mut intake = Intake::empty(body);
        let (mut inputs, mut bytes, mut has_images) = (0, 0, false);
        intake.scan(|intake, scanner, name| {
            let kind = scanner.kind()?;
            let raw = &scanner.json()[scanner.value()?];
            match name {
                "model" if kind != Kind::Null => {
                    check_kind(name, kind, Kind::String)?;
                    intake.take_model(raw)
                }
                "input" => {
                    bytes = raw.len();
                    (inputs, has_images) = count(kind, raw)?;
                    Ok(())
                }
                _ => Ok(()),
            }
        })?;
        if inputs == 0 {
            return Err(Error::invalid(
                "input",
                "input is missing or empty; it needs a text, a list of texts, or a list of parts.",
            ));
        }
        if intake.model.is_empty() {
            intake.address(USUAL_MODEL)?;
        }
        Ok(Self { intake, has_images, inputs, tokens: (bytes as u64).div_ceil(4) })
    }
}

/// The number of inputs, and whether there are images among them.
fn count(kind: Kind, raw: &[u8]) -> Result<(usize, bool)> {
    match kind {
        Kind::String => return Ok((1, false)),
        Kind::Null => return Ok((0, false)),
        Kind::Array => {}
        kind => return check_kind("input", kind, Kind::String).map(|()| (0, false)),
    }
    let items: Vec<&RawValue> = serde_json::from_slice(raw).unwrap_or_default();
    let is_text = |item: &&RawValue| item.get().starts_with('"');
    let is_part = |item: &&RawValue| item.get().starts_with('{');
    if items.iter().all(is_text) {
        return Ok((items.len(), false));
    }
    let begins_with_text = items.first().is_some_and(is_text);
    let is_unlike = |item: &&RawValue| if begins_with_text { !is_text(item) } else { !is_part(item) };
    match items.iter().position(is_unlike) {
        None => Ok((1, mentions(raw, "image_url"))),
        Some(index) => {
            let path = format!("input[{index}]");
            let message =
                format!("{path} must be like the others: input is a list of texts, or a list of parts.");
            Err(Error::invalid(path, message))
        }
    }
}

impl EndpointRequest for ModerationsRequest {
    fn operation(&self) -> Operation {
        Operation::Moderations
    }

    fn asked(&self) -> RequestFacts<'_> {
        let (prompt_tokens, reserved_tokens) = (self.tokens, self.tokens);
        RequestFacts { prompt_tokens, reserved_tokens, max_output_tokens: Some(0), ..self.intake.asked() }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = ModerationsRow::default();
        let row = target.rows.moderations.as_ref().unwrap_or(&usual);
        if self.has_images && row.text_only {
            return Err(Error::unsupported("input", format!("{} moderates only texts.", target.model)));
        }
        let losses = Losses::new();
        let mut edit = self.intake.addressed_to(target.model);
        if row.text_only && self.intake.given("input").is_some_and(|raw| raw.starts_with(b"[{")) {
            edit.set("input", &joined_text(self.intake.given("input").unwrap_or_default()));
        }
        let path = row.path.clone().map_or(Cow::Borrowed("/moderations"), Cow::Owned);
        let part =
            Part { path, headers: Vec::new(), body: edit.write(64).into(), goes_on: false, first_input: 0 };
        let reader = Reader { row: row.clone(), inputs: self.inputs, model: target.model.to_owned() };
        Ok(ProviderRequest { parts: vec![part], losses, reader: Box::new(reader) })
    }
}

/// The texts of a list of parts as one text, for providers that take no parts.
fn joined_text(raw: &[u8]) -> Vec<u8> {
    let parts: Vec<Value> = serde_json::from_slice(raw).unwrap_or_default();
    let texts: Vec<&str> = parts.iter().filter_map(|part| part["text"].as_str()).collect();
    quoted(&texts.join("\n"))
}

struct Reader {
    row: ModerationsRow,
    inputs: usize,
    model: String,
}

impl AnswerReader for Reader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let raw = parts.first().map_or(&b""[..], |part| &part.body);
        let mut body: Map<String, Value> = serde_json::from_slice(raw)
            .map_err(|error| broken(format!("The provider's moderation cannot be read: {error}.")))?;
        let results = body.get_mut("results").and_then(Value::as_array_mut);
        let Some(results) = results.filter(|results| results.len() == self.inputs) else {
            let message =
                format!("The provider's answer does not have one result for each of {} inputs.", self.inputs);
            return Err(broken(message));
        };
        // A result without a judgement would pass for a harmless one.
        if !results.iter().all(|result| result["flagged"].is_boolean() || result["categories"].is_object()) {
            return Err(broken("The provider's answer has a result without a judgement.".to_owned()));
        }
        let is_own = !self.row.categories.is_empty();
        let mut losses = Losses::new();
        if is_own {
            results.iter_mut().for_each(|result| self.rename(result));
            losses.approximated(
                "categories",
                "The provider has its own categories; OpenAI's categories that it does not judge are absent.",
            );
        }
        let model = body.get("model").and_then(Value::as_str).map(str::to_owned);
        if is_own && model.is_none() {
            body.insert("model".to_owned(), self.model.as_str().into());
        }
        let tokens = body.get("usage").and_then(|usage| count_of(&usage["prompt_tokens"]));
        let usage = tokens.map(|input| Usage { input, ..Usage::default() }).filter(Usage::is_plausible);
        let progress =
            Progress { content_started: true, finished: true, usage, model, ..Progress::default() };
        let body = if is_own {
            serde_json::to_vec(&body).unwrap_or_default()
        } else {
            // Unchanged: scores keep their digits.
            raw.trim_ascii().to_vec()
        };
        Ok(EndpointAnswer { body, progress, losses })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }
}

impl Reader {
    /// Renames the categories to OpenAI's: where two get the same name, it is true if either is.
    fn rename(&self, result: &mut Value) {
        let (mut flags, mut scores) = (Map::new(), Map::new());
        for (name, flag) in result["categories"].as_object().into_iter().flatten() {
            let name = self.row.categories.get(name).unwrap_or(name);
            let before = flags.get(name).and_then(Value::as_bool).unwrap_or(false);
            flags.insert(name.clone(), (before || flag.as_bool().unwrap_or(false)).into());
        }
        for (name, score) in result["category_scores"].as_object().into_iter().flatten() {
            let name = self.row.categories.get(name).unwrap_or(name);
            let before = scores.get(name).and_then(Value::as_f64).unwrap_or(f64::MIN);
            if score.as_f64().is_some_and(|score| score > before) {
                scores.insert(name.clone(), score.clone());
            }
        }
        let flagged = result["flagged"].as_bool().unwrap_or_else(|| flags.values().any(|flag| *flag == true));
        *result = json!({"flagged": flagged, "categories": flags, "category_scores": scores});
    }
}

fn broken(message: String) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}
