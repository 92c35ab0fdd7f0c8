//! The cost of tokens: exact integers from the price list to the sum.

use std::collections::BTreeMap;

use canon::{Amount, Cost, Pico, Unit, Usage};

/// Prices per token. A bucket without a price of its own uses the fallback in its comment.
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
    /// The default prices.
    pub rates: Rates,
    /// Each request.
    pub request: Option<Pico>,
    /// Prices of units other than tokens.
    pub units: BTreeMap<Unit, Pico>,
    /// Each search that the provider runs.
    pub web_search: Option<Pico>,
    /// Prices of long prompts, the shortest first.
    pub tiers: Vec<PriceTier>,
    /// Prices by the `service_tier` that the answer names: `flex`, `priority`, `batch` …
    pub service_tiers: BTreeMap<String, PriceList>,
}

/// Prices of prompts beyond a length. They apply to the whole request, not only to the tokens beyond.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriceTier {
    /// Prompts with more tokens than this, cached ones included.
    pub above_prompt_tokens: u64,
    /// Complete: a missing price falls back within the tier.
    pub rates: Rates,
}

/// Names of the default tier: OpenAI's and Bedrock's `default`, Anthropic's and Google's `standard`, Groq's
/// `on_demand`; and names that leave the choice to the provider.
const USUAL_TIERS: [&str; 6] = ["default", "standard", "on_demand", "auto", "standard_only", ""];

impl PriceList {
    /// The prices of tokens; none for a model that is billed by other units.
    pub fn token_rates(&self) -> Option<&Rates> {
        let is_by_unit = self.rates == Rates::default() && !self.units.is_empty();
        (!is_by_unit).then_some(&self.rates)
    }

    /// The prices of everything but tokens, by the names that the catalog's files have.
    pub fn unit_prices(&self) -> Vec<(&'static str, Pico)> {
        let named = |(unit, price): (&Unit, &Pico)| match unit {
            Unit::Millisecond => ("second", *price * 1000),
            unit => (unit.as_str(), *price),
        };
        let further = [("request", self.request), ("web_search", self.web_search)];
        let further = further.into_iter().filter_map(|(name, price)| Some((name, price?)));
        self.units.iter().map(named).chain(further).collect()
    }

    /// The cost of an answer; none for a service tier with unknown prices.
    pub fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Option<Cost> {
        let rates = self.rates_for(usage.prompt_tokens(), service_tier)?;
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
        Some(Cost { total: input + output + other, input, output, cached_input, other })
    }

    /// The cost of an answer that is billed by a unit, its tokens included; none where the unit has no price.
    pub fn cost_of(&self, amount: Amount, usage: &Usage, service_tier: Option<&str>) -> Option<Cost> {
        let units = self.units_for(amount, service_tier)?;
        let mut cost = self.cost(usage, service_tier)?;
        cost.other += units;
        cost.total += units;
        Some(cost)
    }

    /// The cost of an amount; none where the unit has no price.
    pub fn units_for(&self, amount: Amount, service_tier: Option<&str>) -> Option<Pico> {
        Some(*self.by_tier(service_tier)?.units.get(&amount.unit)? * amount.count)
    }

    /// Expected cost of a request of this size in the service tier that it asks for; none where that is
    /// unknown. `cached_tokens` are part of `prompt_tokens`.
    pub fn expected(
        &self,
        prompt_tokens: u64,
        cached_tokens: u64,
        output_tokens: u64,
        service_tier: Option<&str>,
    ) -> Option<Pico> {
        let cache_read = cached_tokens.min(prompt_tokens);
        let usage = Usage {
            input: prompt_tokens - cache_read,
            cache_read,
            output: output_tokens,
            ..Usage::default()
        };
        Some(self.cost(&usage, service_tier)?.total)
    }

    /// The prices for a prompt of this length; none for a service tier with unknown prices.
    pub fn rates_for(&self, prompt_tokens: u64, service_tier: Option<&str>) -> Option<Rates> {
        let list = self.by_tier(service_tier)?;
        let tier = list.tiers.iter().rev().find(|tier| prompt_tokens > tier.above_prompt_tokens);
        Some(tier.map_or(list.rates, |tier| tier.rates))
    }

    /// The tier for estimates when a request names this one and the answer names none. A provider without
    /// tier prices has no tiers; otherwise it is the named tier.
    pub fn tier_asked<'a>(&self, name: Option<&'a str>) -> Option<&'a str> {
        name.filter(|_| !self.service_tiers.is_empty())
    }

    /// The prices of a service tier. Every provider has its own name for the default one.
    fn by_tier(&self, name: Option<&str>) -> Option<&Self> {
        let Some(name) = name else { return Some(self) };
        let listed = self.service_tiers.iter().find(|(tier, _)| tier.eq_ignore_ascii_case(name));
        let is_usual = || USUAL_TIERS.iter().any(|usual| usual.eq_ignore_ascii_case(name));
        listed.map(|(_, list)| list).or_else(|| is_usual().then_some(self))
    }

    /// True when every price is zero.
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
            && self.units.values().all(|price| *price == Pico::ZERO)
            && self.service_tiers.values().all(Self::is_free)
    }
}
