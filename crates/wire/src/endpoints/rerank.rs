//! Rerank: `POST /v1/rerank` and `/v2/rerank`, in the shape that Cohere's and Jina's clients share.

use std::borrow::Cow;

use bytes::Bytes;
use canon::write::{push_array, push_count, push_key, push_string, push_text};
use canon::{Amount, Error, ErrorKind, Losses, Operation, Progress, Result, Retry, Unit, Usage};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    AnswerReader, EndpointAnswer, EndpointRequest, EndpointTarget, Part, PartAnswer, ProviderRequest,
};
use crate::intake::{Intake, RequestFacts, check_kind};
use crate::json::{Kind, List, Members, Scanner, Span};
use crate::protocols::counts::{IMPOSSIBLE, count_of};
use crate::{Protocol, ROUTING_FIELDS, adapter};

/// Documents of one search unit, as Cohere bills them.
const DOCUMENTS_OF_A_UNIT: usize = 100;

/// How a provider serves rerank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RerankRow {
    pub format: RerankFormat,
    /// The path below the base URL, where it is not the format's default.
    pub path: Option<String>,
    /// The field for the number of results.
    pub top_field: String,
    /// Documents may be objects.
    pub objects: bool,
}

impl Default for RerankRow {
    fn default() -> Self {
        Self { format: RerankFormat::Jina, path: None, top_field: "top_n".to_owned(), objects: false }
    }
}

/// A provider's format of rerank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RerankFormat {
    /// `query`, `documents` and `top_n`: Jina's format, which most providers share.
    #[default]
    Jina,
    /// Cohere's API, version 2: documents are texts and are not returned.
    Cohere,
    /// Models at Amazon Bedrock, by InvokeModel.
    Bedrock,
    /// Text Embeddings Inference.
    Tei,
    /// DeepInfra's own: a score for each document, in the order of the documents.
    Scores,
}

impl RerankFormat {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Jina, Self::Cohere, Self::Bedrock, Self::Tei, Self::Scores];

    fn usual_path(self) -> &'static str {
        match self {
            Self::Jina | Self::Tei => "/rerank",
            Self::Cohere => "/v2/rerank",
            Self::Bedrock => "invoke",
            Self::Scores => "/inference/{model}",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Jina | Self::Tei | Self::Scores => Protocol::OpenaiChat,
            Self::Cohere => Protocol::CohereChat,
            Self::Bedrock => Protocol::BedrockConverse,
        }
    }
}

#[derive(Clone, Debug)]
pub struct RerankRequest {
    intake: Intake,
    /// The range of each document in the body, raw.
    documents: Vec<Span>,
    /// The requested number of results.
    top: Option<usize>,
    tokens: u64,
}

impl RerankRequest {
    /// Reads a request. Errors name the field.
    pub fn read(body: &Bytes) -> Result<Self> {
        let mut intake = Intake::empty(body);
        let (mut documents, mut text_bytes, mut is_given) = (Vec::new(), 0, false);
        intake.scan(|intake, scanner, name| {
            let kind = scanner.kind()?;
            if name == "documents" && kind != Kind::Null {
                check_kind(name, kind, Kind::Array)?;
                is_given = true;
                return take_documents(scanner, &mut documents, &mut text_bytes);
            }
            let raw = &scanner.json()[scanner.value()?];
            match name {
                "model" => {
                    check_kind(name, kind, Kind::String)?;
                    intake.take_model(raw)
                }
                "query" if kind != Kind::Null => {
                    text_bytes += raw.len();
                    match kind {
                        Kind::String | Kind::Object => Ok(()),
                        kind => check_kind(name, kind, Kind::String),
                    }
                }
                "top_n" | "top_k" if kind != Kind::Null => check_kind(name, kind, Kind::Number),
                "return_documents" if kind != Kind::Null => check_kind(name, kind, Kind::Bool),
                _ => Ok(()),
            }
        })?;
        for (name, is_missing) in [
            ("model", intake.model.is_empty()),
            ("query", intake.non_null("query").is_none()),
            ("documents", !is_given),
        ] {
            if is_missing {
                return Err(Error::invalid(name, format!("The field {name} is missing.")));
            }
        }
        if documents.is_empty() {
            return Err(Error::invalid("documents", "documents is an empty list; it needs at least one."));
        }
        let top = top(&intake)?;
        Ok(Self { intake, documents, top, tokens: (text_bytes as u64).div_ceil(4) })
    }

    fn document(&self, place: Span) -> &str {
        text_at(self.intake.body(), place)
    }

    fn returns_documents(&self) -> bool {
        self.intake.non_null("return_documents") == Some(b"true")
    }
}

fn take_documents(scanner: &mut Scanner<'_>, documents: &mut Vec<Span>, bytes: &mut usize) -> Result<()> {
    scanner.array(|scanner, index| {
        let kind = scanner.kind()?;
        if !matches!(kind, Kind::String | Kind::Object) {
            let path = format!("documents[{index}]");
            let message = format!("{path} must be a text or an object, not {}.", kind.name());
            return Err(Error::invalid(path, message));
        }
        let place = scanner.value()?;
        *bytes += place.len();
        documents.push(Span::of(&place)?);
        Ok(())
    })
}

fn top(intake: &Intake) -> Result<Option<usize>> {
    for name in ["top_n", "top_k"] {
        if intake.non_null(name).is_none() {
            continue;
        }
        // 0 is passed on: some providers accept it and return no results.
        return match intake.whole(name).and_then(|count| usize::try_from(count).ok()) {
            Some(count) => Ok(Some(count)),
            None => Err(Error::invalid(name, format!("{name} must be a whole number, not below 0."))),
        };
    }
    Ok(None)
}

impl EndpointRequest for RerankRequest {
    fn operation(&self) -> Operation {
        Operation::Rerank
    }

    fn facts(&self) -> RequestFacts<'_> {
        let (prompt_tokens, reserved_tokens) = (self.tokens, self.tokens);
        let amount = Some(Amount { unit: Unit::SearchUnit, count: search_units(self.documents.len()) });
        RequestFacts {
            prompt_tokens,
            reserved_tokens,
            max_output_tokens: Some(0),
            amount,
            ..self.intake.facts()
        }
    }

    fn write(&self, target: EndpointTarget<'_>) -> Result<ProviderRequest> {
        let usual = RerankRow::default();
        let row = target.rows.rerank.as_ref().unwrap_or(&usual);
        let mut losses = Losses::new();
        let body = RerankWriter { request: self, row, model: target.model, losses: &mut losses }.body()?;
        let path = row.path.clone().map_or(Cow::Borrowed(row.format.usual_path()), Cow::Owned);
        let part = Part { path, headers: Vec::new(), body: body.into(), goes_on: false, first_input: 0 };
        let returned = self.returns_documents().then(|| (self.intake.body().clone(), self.documents.clone()));
        let reader = Reader {
            format: row.format,
            count: self.documents.len(),
            returned,
            top: self.top,
            model: target.model.to_owned(),
            estimate: self.tokens,
        };
        Ok(ProviderRequest { parts: vec![part], losses, reader: Box::new(reader) })
    }
}

/// A value of a request.
fn text_at(body: &[u8], place: Span) -> &str {
    std::str::from_utf8(&body[place.range()]).unwrap_or("null")
}

/// The text of a document or a query that is an object, as JSON.
fn text_of_object(raw: &str) -> Option<&str> {
    Members::of(raw).and_then(|members| members.get("text")).filter(|text| text.starts_with('"'))
}

/// The number of billed search units for this many documents.
fn search_units(documents: usize) -> u64 {
    documents.div_ceil(DOCUMENTS_OF_A_UNIT) as u64
}

struct RerankWriter<'a> {
    request: &'a RerankRequest,
    row: &'a RerankRow,
    model: &'a str,
    losses: &'a mut Losses,
}

impl<'a> RerankWriter<'a> {
    fn body(mut self) -> Result<Vec<u8>> {
        let format = self.row.format;
        let query = self.query()?;
        let mut out = vec![b'{'];
        if matches!(format, RerankFormat::Jina | RerankFormat::Cohere) {
            push_text(&mut out, "model", self.model);
        }
        match format {
            RerankFormat::Scores => {
                push_key(&mut out, "queries");
                out.push(b'[');
                out.extend_from_slice(query.as_bytes());
                out.push(b']');
            }
            _ => {
                push_key(&mut out, "query");
                out.extend_from_slice(query.as_bytes());
            }
        }
        push_key(&mut out, if format == RerankFormat::Tei { "texts" } else { "documents" });
        self.documents(&mut out);
        // Where the number cannot be passed on, all results come back and only the first of them go to the
        // caller.
        if let Some(top) =
            self.request.top.filter(|_| !matches!(format, RerankFormat::Tei | RerankFormat::Scores))
        {
            push_count(&mut out, &self.row.top_field, top as u64);
        }
        // Amazon's own model has no versions.
        if format == RerankFormat::Bedrock && self.model.contains("cohere.") {
            push_count(&mut out, "api_version", 2);
        }
        self.further(&mut out);
        out.push(b'}');
        Ok(out)
    }

    /// The query as raw JSON.
    fn query(&self) -> Result<&'a str> {
        let request = self.request;
        let raw = request.intake.non_null("query").unwrap_or_default();
        let raw = std::str::from_utf8(raw).unwrap_or_default();
        if raw.starts_with('"') || self.row.objects {
            return Ok(raw);
        }
        text_of_object(raw)
            .ok_or_else(|| Error::unsupported("query", format!("{} accepts only a text query.", self.model)))
    }

    /// Writes the documents. For a provider that takes only texts, an object becomes its `text`, or else its
    /// JSON.
    fn documents(&mut self, out: &mut Vec<u8>) {
        let (request, takes_objects) = (self.request, self.row.objects);
        let mut is_lossy = false;
        push_array(out, request.documents.iter().copied(), |place, out| {
            let raw = request.document(place);
            if raw.starts_with('"') || takes_objects {
                return out.extend_from_slice(raw.as_bytes());
            }
            match text_of_object(raw) {
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => {
                    is_lossy = true;
                    push_string(out, raw);
                }
            }
        });
        if is_lossy {
            self.losses
                .approximated("documents", "The provider accepts texts: objects were sent as JSON text.");
        }
    }

    /// Fields besides the known ones: forwarded where the format is open, otherwise a loss.
    fn further(&mut self, out: &mut Vec<u8>) {
        const KNOWN: [&str; 6] = ["model", "query", "documents", "top_n", "top_k", "return_documents"];
        for (name, value) in self.request.intake.fields() {
            if KNOWN.contains(&name) || ROUTING_FIELDS.contains(&name) || value == b"null" {
                continue;
            }
            let passes = match self.row.format {
                RerankFormat::Jina => true,
                RerankFormat::Cohere => ["max_tokens_per_doc", "priority", "relevant_spans"].contains(&name),
                RerankFormat::Bedrock => name == "max_tokens_per_doc",
                RerankFormat::Tei => ["raw_scores", "truncate", "truncation_direction"].contains(&name),
                RerankFormat::Scores => ["instruction", "service_tier"].contains(&name),
            };
            if passes {
                push_key(out, name);
                out.extend_from_slice(value);
            } else {
                self.losses.dropped(name.to_owned(), "The provider's own API has no such field.")
            }
        }
    }
}

struct Reader {
    format: RerankFormat,
    /// How many documents there are.
    count: usize,
    /// The request and the places of its documents, where the caller wants them returned.
    returned: Option<(Bytes, Vec<Span>)>,
    top: Option<usize>,
    model: String,
    estimate: u64,
}

#[derive(Deserialize)]
struct RerankAnswer<'a> {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    model: Value,
    #[serde(borrow, default)]
    results: Option<List<'a, Scored<'a>>>,
    #[serde(borrow, default)]
    data: Option<List<'a, Scored<'a>>>,
    #[serde(borrow, default)]
    scores: Option<List<'a, &'a RawValue>>,
    #[serde(default)]
    input_tokens: Value,
    #[serde(default)]
    usage: Value,
    #[serde(default)]
    meta: Value,
}

#[derive(Default, Deserialize)]
struct Scored<'a> {
    index: usize,
    #[serde(borrow, default)]
    relevance_score: Option<&'a RawValue>,
    /// Bedrock's name of the score.
    #[serde(borrow, default, rename = "relevanceScore")]
    relevance: Option<&'a RawValue>,
    /// The name at Text Embeddings Inference.
    #[serde(borrow, default)]
    score: Option<&'a RawValue>,
    /// NVIDIA's name of the score.
    #[serde(borrow, default)]
    logit: Option<&'a RawValue>,
    #[serde(borrow, default)]
    relevant_spans: Option<&'a RawValue>,
}

impl Scored<'_> {
    /// The score as text. Some servers write it under two names.
    fn score_text(&self) -> &str {
        let named = self.relevance_score.or(self.relevance).or(self.score).or(self.logit);
        named.map_or("null", RawValue::get)
    }
}

impl AnswerReader for Reader {
    fn read(&self, parts: &[PartAnswer]) -> Result<EndpointAnswer> {
        let raw = parts.first().map_or(&b""[..], |part| &part.body);
        let mut whole = match raw.trim_ascii_start().first() {
            Some(b'[') => RerankAnswer { results: Some(parse(raw)?), ..parse(b"{}")? },
            _ => parse::<RerankAnswer<'_>>(raw)?,
        };
        let results = self.results(&mut whole)?;
        let (usage, amount) = self.billed(&whole);
        let mut body = vec![b'{'];
        if let Some(id) = whole.id.as_str() {
            push_text(&mut body, "id", id);
        }
        push_text(&mut body, "object", "list");
        push_text(&mut body, "model", whole.model.as_str().unwrap_or(&self.model));
        push_key(&mut body, "results");
        push_array(&mut body, &results, |result, out| self.write_result(result, out));
        push_key(&mut body, "meta");
        body.extend_from_slice(b"{\"api_version\":{\"version\":\"2\"}");
        if let Some(amount) = amount {
            push_key(&mut body, "billed_units");
            body.push(b'{');
            push_count(&mut body, "search_units", amount.count);
            body.push(b'}');
        }
        body.push(b'}');
        if amount.is_none() {
            let tokens = usage.map_or(self.estimate, |usage| usage.input);
            push_key(&mut body, "usage");
            body.push(b'{');
            push_count(&mut body, "prompt_tokens", tokens);
            push_count(&mut body, "total_tokens", tokens);
            body.push(b'}');
        }
        body.push(b'}');
        let model = whole.model.as_str().map(str::to_owned);
        let progress =
            Progress { content_started: true, finished: true, usage, amount, model, ..Progress::default() };
        Ok(EndpointAnswer { body, progress, losses: Losses::new() })
    }

    fn error(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Error {
        adapter(self.format.protocol()).decode_error(status, headers, body)
    }
}

impl Reader {
    /// The results, best first, at most the requested number. Scores are the provider's own: those of two
    /// models are not comparable.
    fn results<'a>(&self, whole: &mut RerankAnswer<'a>) -> Result<Vec<Scored<'a>>> {
        let mut results = match (whole.results.take().or(whole.data.take()), whole.scores.take()) {
            (Some(results), _) => self.listed(results.iter())?,
            (None, Some(scores)) => {
                let scored = |(index, score): (usize, serde_json::Result<&'a RawValue>)| {
                    Ok(Scored { index, score: Some(score?), ..Scored::default() })
                };
                self.listed(scores.iter().enumerate().map(scored))?
            }
            (None, None) => return Err(broken("The provider's answer has no results.".to_owned())),
        };
        results.sort_by(|left, right| {
            let (left, right) = (score(left).unwrap_or_default(), score(right).unwrap_or_default());
            right.total_cmp(&left)
        });
        results.truncate(self.top.unwrap_or(usize::MAX));
        Ok(results)
    }

    /// One result at most for each document.
    fn listed<'a>(
        &self,
        results: impl Iterator<Item = serde_json::Result<Scored<'a>>>,
    ) -> Result<Vec<Scored<'a>>> {
        let (mut listed, mut seen) = (Vec::new(), vec![false; self.count]);
        for result in results {
            let result = result.map_err(unreadable)?;
            match seen.get_mut(result.index) {
                Some(seen) if !*seen => *seen = true,
                _ => {
                    return Err(broken(format!(
                        "The provider's answer refers to a document {} that does not exist, or twice to it.",
                        result.index
                    )));
                }
            }
            score(&result)?;
            listed.push(result);
        }
        Ok(listed)
    }

    /// The billed quantity: tokens where they are counted, else search units, as Bedrock and Cohere bill.
    fn billed(&self, whole: &RerankAnswer<'_>) -> (Option<Usage>, Option<Amount>) {
        let RerankAnswer { usage, meta, input_tokens, .. } = whole;
        let billed = &meta["billed_units"];
        let counts = [&usage["prompt_tokens"], &usage["total_tokens"], &billed["input_tokens"], input_tokens];
        let tokens = counts.into_iter().find_map(count_of);
        let computed = || {
            let is_by_unit = self.format == RerankFormat::Bedrock;
            is_by_unit.then(|| search_units(self.count))
        };
        let units = count_of(&billed["search_units"]).filter(|units| *units < IMPOSSIBLE).or_else(computed);
        let usage = tokens.map(|input| Usage { input, ..Usage::default() }).filter(Usage::is_plausible);
        (usage, units.map(|count| Amount { unit: Unit::SearchUnit, count }))
    }

    fn write_result(&self, result: &Scored<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        push_count(out, "index", result.index as u64);
        push_key(out, "relevance_score");
        out.extend_from_slice(result.score_text().as_bytes());
        if let Some(spans) = result.relevant_spans {
            push_key(out, "relevant_spans");
            out.extend_from_slice(spans.get().as_bytes());
        }
        if let Some((body, places)) = &self.returned
            && let Some(place) = places.get(result.index)
        {
            let document = text_at(body, *place);
            push_key(out, "document");
            if document.starts_with('"') {
                out.extend_from_slice(b"{\"text\":");
                out.extend_from_slice(document.as_bytes());
                out.push(b'}');
            } else {
                out.extend_from_slice(document.as_bytes())
            }
        }
        out.push(b'}');
    }
}

fn score(result: &Scored<'_>) -> Result<f64> {
    let number = result.score_text().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| broken("The provider's answer has a score that is not a number.".to_owned()))
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(unreadable)
}

fn unreadable(error: serde_json::Error) -> Error {
    broken(format!("The provider's ranking cannot be read: {error}."))
}

fn broken(message: String) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}
