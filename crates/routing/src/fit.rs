//! Which candidates can serve a request at all, and the error for the caller when none can.

use canon::{Error, ErrorKind, Feature, Features, Field, OutputField};

use crate::{Candidate, Filtered, Needs, Preferences, Settings};

/// Why a candidate was left out, in the order of the checks. A candidate that fails a later check came nearer
/// to being chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// Disabled by the operator or the catalog.
    Disabled,
    /// It lacks a feature.
    Unsupported,
    /// The prompt does not fit.
    ContextTooSmall,
    /// The caller's preferences exclude it.
    Excluded,
    /// It is more expensive than the caller allows, or its price is unknown.
    TooExpensive,
    /// Prompt and longest answer together do not fit, and another candidate has room for both: this one is
    /// tried after that one.
    Tight,
    /// It failed too often.
    BreakerOpen,
    /// All its keys are in a cool-down.
    KeysCoolingDown,
    /// An administrator suspended it, or all its keys.
    Suspended,
}

/// No candidate can serve the request.
#[derive(Clone, Debug, PartialEq)]
pub struct NoCandidate {
    /// Why the nearest candidates were left out; none when there was no candidate.
    pub filter: Option<Filter>,
    /// The features that are missing when `filter` is `Unsupported`.
    pub missing: Features,
    /// Every candidate with its reason.
    pub filtered: Vec<Filtered>,
    model: String,
    prompt_tokens: u64,
    largest_context: u64,
    /// The reason of one of the nearest candidates.
    why: String,
}

impl NoCandidate {
    pub(crate) fn new(needs: &Needs<'_>, candidates: &[Candidate<'_>], filters: &[Filter]) -> Self {
        let filter = filters.iter().copied().max();
        let missing = candidates
            .iter()
            .zip(filters)
            .filter(|(_, filter)| **filter == Filter::Unsupported)
            .map(|(candidate, _)| missing(needs, candidate))
            .min_by_key(|missing| missing.iter().count());
        let contexts = candidates.iter().filter_map(|candidate| candidate.facts.context_tokens);
        let filtered = candidates.iter().zip(filters);
        let nearest = filtered.clone().find(|(_, own)| Some(**own) == filter);
        let why = nearest.map(|(candidate, filter)| left_out(candidate, *filter, needs.features).reason);
        Self {
            why: why.unwrap_or_default(),
            filter,
            missing: missing.filter(|_| filter == Some(Filter::Unsupported)).unwrap_or_default(),
            filtered: filtered
                .map(|(candidate, filter)| left_out(candidate, *filter, needs.features))
                .collect(),
            model: needs.model.to_owned(),
            prompt_tokens: needs.prompt_tokens,
            largest_context: contexts.max().unwrap_or(0),
        }
    }

    /// The error for the caller, which names what is missing.
    pub fn to_error(&self) -> Error {
        let model = &self.model;
        match self.filter {
            None => {
                let message = format!("No provider serves the model `{model}`.");
                Error::caller(ErrorKind::ModelNotFound, message).at(Field::Model)
            }
            Some(Filter::Unsupported) => self.unsupported(),
            Some(Filter::ContextTooSmall) => {
                let (prompt, context) = (self.prompt_tokens, self.largest_context);
                let message = format!(
                    "The prompt has about {prompt} tokens, but the largest context of `{model}` is {context} tokens. \
                     Shorten the prompt or choose a model with a larger context."
                );
                Error::caller(ErrorKind::ContextLength, message).at(Field::Messages)
            }
            Some(Filter::Excluded) => {
                let message = format!(
                    "The provider preferences exclude every provider that can serve this request to `{model}`."
                );
                Error::invalid("provider", message)
            }
            Some(Filter::TooExpensive) => {
                let message = format!(
                    "Every provider of `{model}` costs more than `max_price` allows, or its price is unknown."
                );
                Error::invalid("provider.max_price", message)
            }
            Some(
                Filter::Disabled
                | Filter::Tight
                | Filter::BreakerOpen
                | Filter::KeysCoolingDown
                | Filter::Suspended,
            ) => {
                let message = format!("No provider of `{model}` is available: {}.", self.why);
                Error::gateway(ErrorKind::Unavailable, message)
            }
        }
    }

    fn unsupported(&self) -> Error {
        let param = self.missing.iter().next().map_or(Field::Model, param_of);
        let model = &self.model;
        let names = names(self.missing);
        Error::unsupported(param, format!("No available provider of `{model}` supports {names}."))
    }
}

/// The first reason against a candidate, health aside.
pub(crate) fn check(
    needs: &Needs<'_>,
    candidate: &Candidate<'_>,
    preferences: &Preferences,
    settings: &Settings,
) -> Option<Filter> {
    if candidate.disabled.is_some() {
        return Some(Filter::Disabled);
    }
    if !missing(needs, candidate).is_empty() {
        return Some(Filter::Unsupported);
    }
    // The length is an estimate: a request is refused only when it is surely too long.
    let room = |context: u64| context as f64 * (1.0 + settings.context_slack);
    if candidate.facts.context_tokens.is_some_and(|context| needs.prompt_tokens as f64 > room(context)) {
        return Some(Filter::ContextTooSmall);
    }
    if !preferences.allows(candidate) {
        return Some(Filter::Excluded);
    }
    if preferences.max_price.is_some_and(|limit| !limit.allows(candidate)) {
        return Some(Filter::TooExpensive);
    }
    None
}

/// True when the request fits only if the answer is shorter than allowed.
pub(crate) fn is_tight(needs: &Needs<'_>, candidate: &Candidate<'_>) -> bool {
    let wanted = needs.max_output_tokens.unwrap_or(0);
    let total = needs.prompt_tokens.saturating_add(wanted);
    candidate.facts.context_tokens.is_some_and(|context| total > context)
        || candidate.facts.max_output_tokens.is_some_and(|most| wanted > most)
}

/// Why a candidate was left out, for people.
pub(crate) fn left_out(candidate: &Candidate<'_>, filter: Filter, needed: Features) -> Filtered {
    let context = candidate.facts.context_tokens.unwrap_or(0);
    let reason = match filter {
        Filter::Disabled => candidate.disabled.unwrap_or("disabled").to_owned(),
        Filter::Unsupported => {
            let lacking = candidate
                .facts
                .features
                .map_or(Features::NONE, |has| needed.minus(Features::IGNORED).minus(has));
            format!("does not support {}", names(lacking))
        }
        Filter::ContextTooSmall => format!("the prompt does not fit its context of {context} tokens"),
        Filter::Excluded => "excluded by the request's provider preferences".to_owned(),
        Filter::TooExpensive => match candidate.prices {
            Some(_) => "more expensive than max_price".to_owned(),
            None => "its price is unknown, and max_price is set".to_owned(),
        },
        Filter::Tight => "prompt and longest answer together do not fit".to_owned(),
        Filter::BreakerOpen => "its circuit breaker is open after repeated failures".to_owned(),
        Filter::KeysCoolingDown => "all its keys are in a cool-down after rate limits or refusals".to_owned(),
        Filter::Suspended => "suspended by an administrator".to_owned(),
    };
    Filtered { provider: candidate.provider.to_owned(), model: candidate.model.to_owned(), reason }
}

fn missing(needs: &Needs<'_>, candidate: &Candidate<'_>) -> Features {
    let has = candidate.facts.features;
    has.map_or(Features::NONE, |has| {
        needs.features.minus(Features::IGNORED).minus(has).minus(candidate.granted)
    })
}

fn names(features: Features) -> String {
    let names: Vec<_> = features.iter().map(Feature::as_str).collect();
    names.join(", ")
}

/// The request field that asks for a feature.
fn param_of(feature: Feature) -> Field {
    match feature {
        Feature::Tools => Field::Tools,
        Feature::Vision | Feature::Documents | Feature::AudioInput | Feature::Video => Field::Messages,
        Feature::AudioOutput | Feature::ImageOutput => Field::extra("modalities"),
        Feature::JsonSchema | Feature::JsonObject => Field::Output(OutputField::Whole),
        Feature::MultipleChoices => Field::N,
        Feature::Logprobs => Field::Logprobs,
        Feature::Streaming => Field::Stream,
        Feature::WebSearch => Field::extra("web_search_options"),
        Feature::Reasoning | Feature::PromptCache => Field::Model,
    }
}
