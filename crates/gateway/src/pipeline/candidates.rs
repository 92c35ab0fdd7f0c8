//! Converts offers to routing's candidates, and reads the caller's provider preferences.

use canon::{Error, Feature, Features, ModelFacts, Pico, WhenMissing};
use catalog::{Catalog, Rates};
use routing::{Candidate, Needs, Preferences, Sort, UnitPrices};
use wire::RequestFacts;

use super::resolve::{AUTO, Offer};
use crate::clock;

/// Expected output tokens when the caller sets no limit: used to compare prices.
const EXPECTED_OUTPUT: u64 = 500;

static UNKNOWN: ModelFacts = ModelFacts {
    context_tokens: None,
    max_output_tokens: None,
    features: None,
    reasoning: None,
    rejects: Vec::new(),
    rejects_thinking: Vec::new(),
    thinks_by_default: false,
    functions_exclude_thinking: false,
    responses_only: false,
    completions_only: false,
    no_media_in_results: false,
    strict_subset: false,
};

/// The candidates of these offers for this request.
pub fn candidates<'a>(offers: &'a [Offer], asked: &RequestFacts<'_>) -> Vec<Candidate<'a>> {
    let prompt = asked.prompt_tokens;
    let output = asked.max_output_tokens.unwrap_or(EXPECTED_OUTPUT).min(EXPECTED_OUTPUT);
    let tier = asked.service_tier;
    let emulated = |offer: &Offer| {
        let is_emulated = |feature: &Feature| feature.when_missing() == WhenMissing::Emulated;
        asked.needs.iter().filter(is_emulated).filter(|feature| !offer.facts().allows(*feature)).count()
    };
    offers
        .iter()
        .map(|offer| Candidate { losses: emulated(offer) as u32, ..candidate(offer, prompt, output, tier) })
        .collect()
}

fn candidate<'a>(offer: &'a Offer, prompt: u64, output: u64, tier: Option<&str>) -> Candidate<'a> {
    let provider = &offer.provider;
    // For a model outside of the catalog, the provider is the judge.
    let facts = if offer.serving.is_some() { offer.facts() } else { &UNKNOWN };
    let mut candidate = Candidate::new(provider.id(), &offer.model, facts);
    candidate.granted = wire::providers::granted(offer.protocol);
    candidate.tier = offer.tier;
    candidate.priority = provider.row.priority;
    // A router applies these preferences itself.
    let is_router = provider.row.quirks.takes_routing_fields;
    candidate.trains_not = is_router || provider.settings.trains_on_data == Some(false);
    candidate.stores_nothing = is_router || provider.settings.retains_data == Some(false);
    candidate.keys = offer.keys().0;
    let Some(serving) = &offer.serving else { return candidate };
    candidate.deprecated = serving.deprecated.is_some() && serving.is_gone(&clock::today());
    if let Some(price) = &serving.price {
        let tier = price.tier_asked(tier);
        candidate.cost = price.expected(prompt, 0, output, tier);
        candidate.warm_cost = price.expected(prompt, prompt, output, tier);
        let prices = |rates: Rates| UnitPrices { prompt: rates.input, completion: rates.output };
        candidate.prices = price.rates_for(prompt, tier).map(prices);
    } else if serving.free {
        candidate.cost = Some(Pico::ZERO);
    }
    candidate
}

pub fn needs<'a>(asked: &RequestFacts<'a>) -> Needs<'a> {
    Needs {
        model: asked.model,
        features: asked.needs.minus(Features::EMULATED),
        prompt_tokens: asked.context_tokens,
        max_output_tokens: asked.max_output_tokens,
        stream: asked.stream,
        warm: None,
    }
}

/// The models to try after the first, in the caller's order (`models`, with the names of OpenRouter's
/// clients).
pub fn further_models(asked: &RequestFacts<'_>) -> Result<Vec<String>, Error> {
    let Some(raw) = asked.routing_fields.models else { return Ok(Vec::new()) };
    let models: Vec<String> = serde_json::from_slice(raw)
        .map_err(|_| Error::invalid("models", "models must be an array of model names."))?;
    match models.len() {
        0..=10 => Ok(models.into_iter().filter(|model| *model != asked.model).collect()),
        _ => Err(Error::invalid("models", "models lists more than 10 models.")),
    }
}

/// The caller's preferences: the `provider` object of OpenRouter's clients, or `routing` with one word. A
/// provider that is a router itself gets them unchanged.
pub fn preferences(
    asked: &RequestFacts<'_>,
    offers: &[Offer],
    catalog: &Catalog,
) -> Result<Preferences, Error> {
    let mut preferences = Preferences::default();
    if asked.model == AUTO {
        preferences.sort = Some(Sort::Price);
    }
    if let [only] = offers
        && only.provider.row.quirks.takes_routing_fields
    {
        return Ok(preferences);
    }
    if let Some(raw) = asked.routing_fields.provider {
        let sort = preferences.sort;
        preferences = serde_json::from_slice(raw).map_err(|error| {
            let cause = error.to_string();
            let cause = cause.split(" at line").next().unwrap_or(&cause);
            let unknown = cause.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'));
            let param = unknown.map_or("provider".to_owned(), |(name, _)| format!("provider.{name}"));
            Error::invalid(param, format!("provider: {cause}."))
        })?;
        preferences.sort = preferences.sort.or(sort);
        check_names(&preferences, catalog)?;
    }
    if let Some(word) = asked.routing_fields.routing() {
        preferences.sort = Some(serde_json::from_value(word.as_ref().into()).map_err(|_| {
            Error::invalid(
                "routing",
                format!("routing {word:?} is unknown; use price, throughput or latency."),
            )
        })?);
    }
    Ok(preferences)
}

/// Most providers that a caller may name.
const MOST_NAMES: usize = 200;

/// An unknown provider is a typing mistake: with it, `only` would allow none and `order` would have no
/// effect.
fn check_names(preferences: &Preferences, catalog: &Catalog) -> Result<(), Error> {
    for (count, (field, name)) in preferences.names().enumerate() {
        let param = format!("provider.{field}");
        if count == MOST_NAMES {
            return Err(Error::invalid(param, format!("provider names more than {MOST_NAMES} providers.")));
        }
        if catalog.provider(name).or_else(|| catalog.provider(&name.to_ascii_lowercase())).is_some() {
            continue;
        }
        let shown: String = name.chars().take(100).collect();
        let near = catalog.nearest_providers(name, 3);
        let hint = if near.is_empty() {
            "`llmgateway models` lists the providers".to_owned()
        } else {
            format!("did you mean {}", near.join(" or "))
        };
        let message = format!("provider.{field} contains {shown:?}, which is not a provider; {hint}.");
        return Err(Error::invalid(param, message));
    }
    Ok(())
}
