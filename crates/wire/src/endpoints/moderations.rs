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
use crate::json::{Items, Kind, List, Members, Scanner};
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
    let (mut items, mut first) = (0, None);
    Scanner::new(raw).array(|scanner, index| {
        let kind = scanner.kind()?;
        let wanted = *first.get_or_insert(kind);
        if kind != wanted || !matches!(kind, Kind::String | Kind::Object) {
            let path = format!("input[{index}]");
            let message =
                format!("{path} must be like the others: input is a list of texts, or a list of parts.");
            return Err(Error::invalid(path, message));
        }
        scanner.value()?;
        items += 1;
        Ok(())
    })?;
    match first {
        Some(Kind::Object) => Ok((1, has_image(raw))),
        _ => Ok((items, false)),
    }
}

fn has_image(parts: &[u8]) -> bool {
    let mut parts = Items::of(std::str::from_utf8(parts).unwrap_or_default()).filter_map(Members::of);
    parts.any(|part| part.has("image_url"))
}

impl EndpointRequest for ModerationsRequest {
    fn operation(&self) -> Operation {
        Operation::Moderations
    }

    fn facts(&self) -> RequestFacts<'_> {
        let (prompt_tokens, reserved_tokens) = (self.tokens, self.tokens);
        RequestFacts { prompt_tokens, reserved_tokens, max_output_tokens: Some(0), ..self.intake.facts() }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = ModerationsRow::default();
        let row = target.rows.moderations.as_ref().unwrap_or(&usual);
        if self.has_images && row.text_only {
            return Err(Error::unsupported("input", format!("{} moderates only texts.", target.model)));
        }
        let losses = Losses::new();
        let mut edit = self.intake.addressed_to(target.model);
        if row.text_only && self.intake.non_null("input").is_some_and(|raw| raw.starts_with(b"[{")) {
            edit.set("input", &joined_text(self.intake.non_null("input").unwrap_or_default()));
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
        let unreadable = |error| broken(format!("The provider's moderation cannot be read: {error}."));
        let whole: ModerationsAnswer<'_> = serde_json::from_slice(raw).map_err(unreadable)?;
        if whole.results.as_ref().is_none_or(|results| results.iter().count() != self.inputs) {
            let message =
                format!("The provider's answer does not have one result for each of {} inputs.", self.inputs);
            return Err(broken(message));
        }
        // A result without a judgement would pass for a harmless one.
        if !whole
            .results
            .iter()
            .flat_map(List::iter)
            .all(|result| result.is_ok_and(|result| result.is_judged()))
        {
            return Err(broken("The provider's answer has a result without a judgement.".to_owned()));
        }
        let tokens = count_of(&whole.usage["prompt_tokens"]);
        let usage = tokens.map(|input| Usage { input, ..Usage::default() }).filter(Usage::is_plausible);
        let model = whole.model.as_str().map(str::to_owned);
        let mut losses = Losses::new();
        let body = if self.row.categories.is_empty() {
            // Unchanged: scores keep their digits.
            raw.trim_ascii().to_vec()
        } else {
            losses.approximated(
                "categories",
                "The provider has its own categories; OpenAI's categories that it does not judge are absent.",
            );
            self.renamed(raw).map_err(unreadable)?
        };
        let progress =
            Progress { content_started: true, finished: true, usage, model, ..Progress::default() };
        Ok(EndpointAnswer { body, progress, losses })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(Protocol::OpenaiChat).decode_error(status, headers, body)
    }
}

#[derive(Deserialize)]
struct ModerationsAnswer<'a> {
    #[serde(borrow, default)]
    results: Option<List<'a, Judgement<'a>>>,
    #[serde(default)]
    model: Value,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Judgement<'a> {
    #[serde(borrow, default)]
    flagged: Option<&'a RawValue>,
    #[serde(borrow, default)]
    categories: Option<&'a RawValue>,
}

impl Judgement<'_> {
    fn is_judged(&self) -> bool {
        self.flagged.is_some_and(|flag| matches!(flag.get(), "true" | "false"))
            || self.categories.is_some_and(|names| names.get().starts_with('{'))
    }
}

impl Reader {
    /// The answer with OpenAI's names of categories.
    fn renamed(&self, raw: &[u8]) -> serde_json::Result<Vec<u8>> {
        let mut body: Map<String, Value> = serde_json::from_slice(raw)?;
        if let Some(results) = body.get_mut("results").and_then(Value::as_array_mut) {
            results.iter_mut().for_each(|result| self.rename(result));
        }
        if !body.get("model").is_some_and(Value::is_string) {
            body.insert("model".to_owned(), self.model.as_str().into());
        }
        serde_json::to_vec(&body)
    }

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
