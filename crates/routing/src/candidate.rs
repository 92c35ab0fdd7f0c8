//! A candidate that can serve a request, and the needs of the request.

use canon::{Features, ModelFacts, Pico};

use crate::Warm;

/// One model at one provider that could serve the request.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub provider: &'a str,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// What the model can do there.
    pub facts: &'a ModelFacts,
    /// Features beyond the model's own: the provider adds them in the format in which it is called, for every
    /// model.
    pub granted: Features,
    /// Expected cost of this request; none when the price is unknown.
    pub cost: Option<Pico>,
    /// Expected cost with a warm prompt cache; none without a discount for cached tokens.
    pub warm_cost: Option<Pico>,
    /// The prices that `max_price` limits; none when they are unknown.
    pub prices: Option<UnitPrices>,
    /// The operator's preference: 1 is neutral, more is preferred, less is avoided.
    pub priority: f64,
    /// Candidates of a lower tier come first whatever their score. An alias that lists an order sets it.
    /// Usually 0.
    pub tier: u32,
    pub keys: &'a [String],
    /// How many losses the translation is expected to have.
    pub losses: u32,
    /// The provider is known not to train models with the data that it receives.
    pub trains_not: bool,
    /// The provider is known to store nothing.
    pub stores_nothing: bool,
    /// The provider is going to retire the model.
    pub deprecated: bool,
    /// Why it cannot be used at all; none when it can.
    pub disabled: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    /// A candidate with only its names and facts.
    pub fn new(provider: &'a str, model: &'a str, facts: &'a ModelFacts) -> Self {
        Self {
            provider,
            model,
            facts,
            granted: Features::NONE,
            cost: None,
            warm_cost: None,
            prices: None,
            priority: 1.0,
            tier: 0,
            keys: &[],
            losses: 0,
            trains_not: false,
            stores_nothing: false,
            deprecated: false,
            disabled: None,
        }
    }

    pub fn route(&self, key: usize) -> Route<'a> {
        Route { provider: self.provider, model: self.model, key: self.key(key) }
    }

    /// The label of a key; empty for a provider without keys.
    pub fn key(&self, key: usize) -> &'a str {
        self.keys.get(key).map_or("", String::as_str)
    }

    /// At least 1.
    pub fn key_count(&self) -> usize {
        self.keys.len().max(1)
    }
}

/// Prices per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitPrices {
    pub prompt: Pico,
    /// Of the answer.
    pub completion: Pico,
}

/// A provider, a model and a key: what health is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    pub provider: &'a str,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// The label of the key; empty for a provider without keys.
    pub key: &'a str,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// The model as requested: the choice is kept steady among requests of the same name.
    pub model: &'a str,
    /// Features that the model must have. Thinking and a prompt cache are hints: they never exclude a
    /// candidate.
    pub features: Features,
    /// Estimated length of the prompt.
    pub prompt_tokens: u64,
    /// Maximum length of the answer that the caller allows; none when it sets no limit.
    pub max_output_tokens: Option<u64>,
    /// The answer is streamed: the time to the first token counts.
    pub stream: bool,
    /// Where the prompt cache of this conversation is warm.
    pub warm: Option<Warm>,
}
