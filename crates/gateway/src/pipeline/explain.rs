//! The dry run of a request: the plan with its reasons, and the request for the first provider.

use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use canon::{Error, Operation, Pico};
use routing::{Candidate, Moment, Reason, Score, Selection, Timestamp};
use serde_json::{Map, Value, json};
use wire::providers::FormatChoice;
use wire::{Addressed, Dialect, EncodedRequest, Exchange, Intake, OWN, RequestFacts};

use super::candidates;
use super::endpoint::check_same_model;
use super::resolve::{Offer, Resolver};
use crate::snapshot::Snapshot;
use crate::upstream::client::with_our_headers;

/// The result of a dry run.
pub struct Explanation {
    model: String,
    /// The provider, the reason and the price.
    sentence: String,
    selection: Selection,
    losses: Value,
    request: Upstream,
    /// The actions of guardrails, where that was requested.
    guardrails: Option<Vec<Value>>,
}

/// The request to the provider, with its secrets masked.
struct Upstream {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Value,
}

/// Explains a conversation, with the current health. Nothing is sent.
pub fn explain(snapshot: &Snapshot, body: &Bytes, now: Timestamp) -> Result<Explanation, Error> {
    let dialect = OWN;
    let intake = dialect.intake(Addressed::default(), body)?;
    let resolver =
        Resolver { asked: FormatChoice::of(dialect.protocol(), &intake), ..Resolver::of(snapshot) };
    explained(&resolver, &intake.facts(), now, |offer| {
        let encoded = encode(offer, dialect, &intake)?;
        let losses = serde_json::to_value(&encoded.caller_losses).unwrap_or_default();
        Ok((losses, request(offer, &intake, encoded)?))
    })
}

/// Explains a request of an endpoint without a conversation. Nothing is sent; of a request in parts, the
/// first one is shown.
pub fn explain_operation(
    snapshot: &Snapshot,
    operation: Operation,
    body: &Bytes,
    now: Timestamp,
) -> Result<Explanation, Error> {
    let request = wire::endpoints::read(operation, body)?;
    let resolver = Resolver { operation, ..Resolver::of(snapshot) };
    explained(&resolver, &request.facts(), now, |offer| {
        let written = request.write(offer.endpoint_target())?;
        let part = written.parts.first().ok_or_else(|| Error::invalid("", "The request has no input."))?;
        let credential = offer.provider.credentials.example();
        let call = offer.part_call(part, &credential, SystemTime::UNIX_EPOCH);
        let sent = offer.provider.endpoint.operation_request(&call, operation)?;
        Ok((serde_json::to_value(&written.losses).unwrap_or_default(), Upstream::of(sent)))
    })
}

/// Plans a request, and has `write` write it for the first candidate.
fn explained(
    resolver: &Resolver<'_>,
    asked: &RequestFacts<'_>,
    now: Timestamp,
    write: impl FnOnce(&Offer) -> Result<(Value, Upstream), Error>,
) -> Result<Explanation, Error> {
    let snapshot = resolver.snapshot;
    let resolved = resolver.resolve_all(asked.model, &candidates::further_models(asked)?)?;
    check_same_model(resolver.operation, &resolved)?;
    let candidates = candidates::candidates(&resolved.offers, asked);
    let settings = &snapshot.routing;
    let preferences = candidates::preferences(asked, &resolved.offers, &snapshot.catalog)?;
    let (needs, health) = (candidates::needs(asked), snapshot.health.of(resolver.operation));
    let found = routing::plan(&needs, &candidates, &preferences, settings, Moment { health, now, random: 0 });
    let plan = found.map_err(|none| none.to_error())?;
    let first = plan.order[0].index;
    let (losses, request) = write(&resolved.offers[first])?;
    Ok(Explanation {
        model: asked.model.to_owned(),
        sentence: sentence(&candidates[first], plan.reason(), asked.prompt_tokens),
        selection: plan.selection(&candidates),
        losses,
        request,
        guardrails: None,
    })
}

impl Explanation {
    /// Adds the actions of guardrails.
    pub fn guarded(self, guardrails: Option<Vec<Value>>) -> Self {
        Self { guardrails, ..self }
    }

    pub fn as_json(&self) -> Value {
        let mut object = self.object();
        if let Some(guardrails) = &self.guardrails {
            object["guardrails"] = guardrails.clone().into();
        }
        object
    }

    fn object(&self) -> Value {
        let headers: Map<String, Value> = self
            .request
            .headers
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
            .collect();
        json!({
            "model": self.model,
            "summary": self.sentence,
            "selection": self.selection,
            "losses": self.losses,
            "request": {
                "method": self.request.method,
                "url": self.request.url,
                "headers": headers,
                "body": self.request.body,
            },
        })
    }

    fn table(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scores = &self.selection.scores;
        let width =
            |name: fn(&Score) -> &String| scores.iter().map(|score| name(score).len()).max().unwrap_or(0);
        let (provider, model) = (width(|score| &score.provider).max(8), width(|score| &score.model).max(5));
        writeln!(
            f,
            "{:<provider$}  {:<model$}  {:>8}  {:>12}  {:>6}",
            "PROVIDER", "MODEL", "SCORE", "USD", "UPTIME"
        )?;
        for score in scores {
            let price = score.price.map_or_else(|| "unknown".to_owned(), |price| price.to_string());
            writeln!(
                f,
                "{:<provider$}  {:<model$}  {:>8.4}  {price:>12}  {:>5.1}%",
                score.provider,
                score.model,
                score.score,
                100.0 * score.uptime
            )?;
        }
        for left_out in &self.selection.filtered {
            writeln!(f, "left out: {}/{}: {}", left_out.provider, left_out.model, left_out.reason)?;
        }
        Ok(())
    }
}

/// For people: a sentence, then the scores, then the request.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.sentence)?;
        self.table(f)?;
        for loss in self.losses.as_array().into_iter().flatten() {
            let text = |name: &str| loss[name].as_str().unwrap_or_default();
            writeln!(f, "loss: {} is {}: {}", text("field"), text("action"), text("reason"))?;
        }
        for guardrail in self.guardrails.iter().flatten() {
            let text = |name: &str| guardrail[name].to_string().replace('"', "");
            let (name, action, on, found) = (text("guardrail"), text("action"), text("on"), text("found"));
            writeln!(f, "guardrail: {name} ({action}, on {on}) finds {found}")?;
        }
        writeln!(f, "\n{} {}", self.request.method, self.request.url)?;
        for (name, value) in &self.request.headers {
            writeln!(f, "{name}: {value}")?;
        }
        write!(f, "\n{}", serde_json::to_string_pretty(&self.request.body).unwrap_or_default())
    }
}

fn sentence(first: &Candidate<'_>, reason: Reason, prompt_tokens: u64) -> String {
    let per_million = |price: Pico| price * 1_000_000;
    let price = match (&first.prices, first.cost) {
        (Some(prices), Some(cost)) => format!(
            "at ${} per million prompt tokens and ${} per million answer tokens: about ${cost} for this request, with about {} \
             prompt tokens",
            per_million(prices.prompt),
            per_million(prices.completion),
            prompt_tokens
        ),
        (None, Some(Pico::ZERO)) => "free of charge".to_owned(),
        _ => "at a price that the catalog does not know".to_owned(),
    };
    format!("{} would serve {}, because {}, {price}.", first.provider, first.model, because(reason))
}

fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::OnlyCandidate => "no other enabled provider can",
        Reason::Score => "it has the best score",
        Reason::Incumbent => "it serves this model now and no other is better by enough to switch",
        Reason::Session => "the prompt cache of the conversation is warm there",
        Reason::Order => "the request or the alias gives this order",
        Reason::Price => "it is the cheapest",
        Reason::Throughput => "it has the most tokens per second",
        Reason::Latency => "it has the shortest time to the first token",
        Reason::Exploration => "some requests go to others so that their figures stay known",
        Reason::Probe => "it failed before and is tried again",
        Reason::LastResort => "all candidates failed recently, and it is the least bad",
    }
}

/// The request for the first provider; media that would be fetched stay URLs.
fn encode(offer: &Offer, dialect: &'static dyn Dialect, intake: &Intake) -> Result<EncodedRequest, Error> {
    let target = offer.target();
    Exchange { dialect, intake, upstream: offer.protocol, target, memory: None }.draft(false)?.write()
}

fn request(offer: &Offer, intake: &Intake, encoded: EncodedRequest) -> Result<Upstream, Error> {
    let provider = &offer.provider;
    let request = provider.endpoint.request(&offer.call(
        &encoded,
        intake.form.stream,
        &provider.credentials.example(),
        SystemTime::UNIX_EPOCH,
    ))?;
    Ok(Upstream::of(request))
}

impl Upstream {
    fn of(request: http::Request<Bytes>) -> Self {
        let request = with_our_headers(request);
        let shown = |value: &http::HeaderValue| {
            if value.is_sensitive() {
                "***".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            }
        };
        let headers = request.headers().iter().map(|(name, value)| (name.to_string(), shown(value)));
        Self {
            method: request.method().to_string(),
            url: request.uri().to_string(),
            headers: headers.collect(),
            body: serde_json::from_slice(request.body()).unwrap_or_default(),
        }
    }
}
