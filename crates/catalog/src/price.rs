//! What tokens cost: exact integers from the price list to the sum.

use std::collections::BTreeMap;

use canon::{Cost, Pico, Usage};

/// Prices per token. A bucket without a price of its own costs what the note beside it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// Prompt tokens at the full price.
    pub input: Pico,
    /// Produced tokens.
    pub output: Pico,
    /// Prompt tokens read from the cache; else `input`.
    pub cache_read: Option<Pico>,
    /// Prompt tokens written to the cache; else `input`.
    pub cache_write: Option<Pico>,
    /// Prompt tokens written to the cache for an hour; else `cache_write`.
    pub cache_write_1h: Option<Pico>,
    /// Audio tokens of the prompt; else `input`.
    pub audio_input: Option<Pico>,
    /// Produced audio tokens; else `output`.
    pub audio_output: Option<Pico>,
    /// Produced image tokens; else `output`.
    pub image_output: Option<Pico>,
}

/// Prices of one model at one provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PriceList {
    /// The usual prices.
    pub rates: Rates,
    /// Each request.
    pub request: Option<Pico>,
    /// Each search that the provider runs.
    pub web_search: Option<Pico>,
    /// Prices of long prompts, the shortest first.
    pub tiers: Vec<PriceTier>,
    /// Prices by the `service_tier` that the answer names: `flex`, `priority`, `batch` …
    pub service_tiers: BTreeMap<String, PriceList>,
}

/// Prices of prompts beyond a length. They hold for the whole request, not only for the tokens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceTier {
    /// Prompts with more tokens than this, cached ones included.
    pub above_prompt_tokens: u64,
    /// The prices, complete: what is missing falls back within the tier.
    pub rates: Rates,
}

impl PriceList {
    /// What an answer cost. A service tier without prices of its own costs the usual.
    pub fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Cost {
        let rates = self.rates_for(usage.prompt_tokens(), service_tier);
        let write = rates.cache_write.unwrap_or(rates.input);
        let cached_input = rates.cache_read.unwrap_or(rates.input) * usage.cache_read;
        let input = rates.input * usage.input
            + cached_input
            + write * usage.cache_write
            + rates.cache_write_1h.unwrap_or(write) * usage.cache_write_1h
            + rates.audio_input.unwrap_or(rates.input) * usage.audio_input;
        let output = rates.output * usage.output
            + rates.audio_output.unwrap_or(rates.output) * usage.audio_output
            + rates.image_output.unwrap_or(rates.output) * usage.image_output;
        let other =
            self.request.unwrap_or_default() + self.web_search.unwrap_or_default() * usage.web_searches;
        Cost { total: input + output + other, input, output, cached_input, other }
    }

    /// What a request of this size is likely to cost. `cached_tokens` are part of `prompt_tokens`.
    pub fn expected(&self, prompt_tokens: u64, cached_tokens: u64, output_tokens: u64) -> Pico {
        let cache_read = cached_tokens.min(prompt_tokens);
        let usage = Usage {
            input: prompt_tokens - cache_read,
            cache_read,
            output: output_tokens,
            ..Usage::default()
        };
        self.cost(&usage, None).total
    }

    /// The prices for a prompt of this length.
    pub fn rates_for(&self, prompt_tokens: u64, service_tier: Option<&str>) -> Rates {
        let list = service_tier.and_then(|name| self.service_tiers.get(name)).unwrap_or(self);
        let tier = list.tiers.iter().rev().find(|tier| prompt_tokens > tier.above_prompt_tokens);
        tier.map_or(list.rates, |tier| tier.rates)
    }

    /// True when nothing costs anything.
    pub fn is_free(&self) -> bool {
        let free = |rates: &Rates| {
            let further = [
                rates.cache_read,
                rates.cache_write,
                rates.cache_write_1h,
                rates.audio_input,
                rates.audio_output,
                rates.image_output,
            ];
            let mut all = further.into_iter().flatten().chain([rates.input, rates.output]);
            all.all(|price| price == Pico::ZERO)
        };
        free(&self.rates)
            && self.tiers.iter().all(|tier| free(&tier.rates))
            && self.request.unwrap_or_default() == Pico::ZERO
            && self.web_search.unwrap_or_default() == Pico::ZERO
            && self.service_tiers.values().all(Self::is_free)
    }
}
