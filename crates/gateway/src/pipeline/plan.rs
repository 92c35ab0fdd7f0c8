//! From offers to routing's candidates, and the caller's wishes about providers.

use canon::{Error, Pico};
use routing::{Candidate, Needs, Preferences, UnitPrices};
use wire::protocols::openai_chat::Outline;

use super::resolve::Offer;

/// Tokens that an answer is expected to have when the caller sets no limit: prices are compared by it.
const EXPECTED_OUTPUT: u64 = 500;

/// The candidates of these offers for this request.
pub fn candidates<'a>(offers: &'a [Offer], outline: &Outline<'_>) -> Vec<Candidate<'a>> {
    let prompt = outline.estimated_prompt_tokens();
    let output = outline.max_tokens.unwrap_or(EXPECTED_OUTPUT).min(EXPECTED_OUTPUT);
    offers.iter().map(|offer| candidate(offer, prompt, output)).collect()
}

fn candidate(offer: &Offer, prompt: u64, output: u64) -> Candidate<'_> {
    let provider = &offer.provider;
    let mut candidate = Candidate::new(provider.id(), &offer.model, offer.facts());
    candidate.tier = offer.tier;
    candidate.priority = provider.row.priority;
    candidate.keys = &provider.key_labels;
    let Some(serving) = &offer.serving else { return candidate };
    candidate.deprecated = serving.deprecated.is_some();
    if let Some(price) = &serving.price {
        let rates = price.rates_for(prompt, None);
        candidate.cost = Some(price.expected(prompt, 0, output));
        candidate.warm_cost = Some(price.expected(prompt, prompt, output));
        candidate.prices = Some(UnitPrices { prompt: rates.input, completion: rates.output });
    } else if serving.free {
        candidate.cost = Some(Pico::ZERO);
    }
    candidate
}

/// What the request needs.
pub fn needs<'a>(outline: &'a Outline<'_>) -> Needs<'a> {
    Needs {
        model: &outline.model,
        features: outline.needs,
        prompt_tokens: outline.estimated_prompt_tokens(),
        max_output_tokens: outline.max_tokens,
        stream: outline.stream,
        warm: None,
    }
}

/// The caller's wishes: the `provider` object in the words of OpenRouter's clients, or `routing` with one word.
pub fn preferences(outline: &Outline<'_>) -> Result<Preferences, Error> {
    let mut preferences = match outline.given("provider") {
        Some(raw) => serde_json::from_slice(raw).map_err(|error| {
            let cause = error.to_string();
            let cause = cause.split(" at line").next().unwrap_or(&cause);
            Error::invalid("provider", format!("provider: {cause}."))
        })?,
        None => Preferences::default(),
    };
    if let Some(word) = outline.string("routing") {
        preferences.sort = Some(serde_json::from_value(word.as_ref().into()).map_err(|_| {
            Error::invalid(
                "routing",
                format!("routing {word:?} is unknown; use price, throughput or latency."),
            )
        })?);
    }
    Ok(preferences)
}
