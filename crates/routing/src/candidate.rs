//! What the gateway offers for a request, and what the request needs.

use canon::{Features, ModelFacts, Pico};

use crate::Warm;

/// One model at one provider that could serve the request.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// The provider's id.
    pub provider: &'a str,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// What the model can do there.
    pub facts: &'a ModelFacts,
    /// What it can do besides: its provider's doing in the format in which it is called, whatever the model.
    pub granted: Features,
    /// What this request is expected to cost; none when the price is unknown.
    pub cost: Option<Pico>,
    /// What it is expected to cost when the prompt cache is warm; none when there is no such discount.
    pub warm_cost: Option<Pico>,
    /// The prices that `max_price` speaks of; none when they are unknown.
    pub prices: Option<UnitPrices>,
    /// The operator's liking: 1 is neutral, more is preferred, less is avoided.
    pub priority: f64,
    /// Candidates of a lower tier come first whatever their score: how an alias says "in this order". Usually 0.
    pub tier: u32,
    /// Labels of the provider's keys; empty for a provider without keys, which counts as one key without a label.
    pub keys: &'a [String],
    /// How many losses the translation is expected to have.
    pub losses: u32,
    /// The provider is going to retire the model.
    pub deprecated: bool,
    /// Why it cannot be used at all; none when it can.
    pub disabled: Option<&'a str>,
}

impl<'a> Candidate<'a> {
    /// A candidate of which nothing but the names and the facts is known.
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
            deprecated: false,
            disabled: None,
        }
    }

    /// The way to it by one of its keys.
    pub fn route(&self, key: usize) -> Route<'a> {
        Route { provider: self.provider, model: self.model, key: self.key(key) }
    }

    /// The label of a key; empty for a provider without keys.
    pub fn key(&self, key: usize) -> &'a str {
        self.keys.get(key).map_or("", String::as_str)
    }

    /// The number of keys, at least 1.
    pub fn key_count(&self) -> usize {
        self.keys.len().max(1)
    }
}

/// Prices per token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitPrices {
    /// Of the prompt.
    pub prompt: Pico,
    /// Of the answer.
    pub completion: Pico,
}

/// A provider, a model and a key: what health is kept for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route<'a> {
    /// The provider's id.
    pub provider: &'a str,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// The label of the key; empty for a provider without keys.
    pub key: &'a str,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs<'a> {
    /// The model as requested: the choice is kept steady among requests of the same name.
    pub model: &'a str,
    /// What the model must be able to do. Thinking and a prompt cache are wishes: they never exclude a candidate.
    pub features: Features,
    /// Length of the prompt, estimated.
    pub prompt_tokens: u64,
    /// Length of the answer that the caller allows; none when it says nothing.
    pub max_output_tokens: Option<u64>,
    /// The answer is streamed: the time to the first token counts.
    pub stream: bool,
    /// Where the prompt cache of this conversation is warm.
    pub warm: Option<Warm>,
}
