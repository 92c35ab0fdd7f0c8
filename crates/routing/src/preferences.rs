//! The caller's preferences about providers: the `provider` object of a request, with the names that
//! OpenRouter introduced.

use canon::DataCollection;
use serde::{Deserialize, Serialize};

use crate::Candidate;

/// By default there are none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// Providers to try first, in this order.
    pub order: Vec<String>,
    /// Only these providers.
    pub only: Vec<String>,
    /// None of these providers.
    pub ignore: Vec<String>,
    /// Whether others may serve when the first (or those of `order`) cannot.
    pub allow_fallbacks: bool,
    /// The highest acceptable prices.
    pub max_price: Option<MaxPrice>,
    /// The factor that decides alone instead of the weighted score.
    pub sort: Option<Sort>,
    /// Whether providers may train models with the data that they receive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_collection: Option<DataCollection>,
    /// Only providers that are known to store nothing (zero data retention).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zdr: Option<bool>,
    /// Only providers that take all fields of the request: a loss is an error, as with
    /// `x-llmgateway-strict`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_parameters: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Self {
            order: Vec::new(),
            only: Vec::new(),
            ignore: Vec::new(),
            allow_fallbacks: true,
            max_price: None,
            sort: None,
            data_collection: None,
            zdr: None,
            require_parameters: false,
        }
    }
}

impl Preferences {
    /// The names of providers, with the field that lists them.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let lists = [("order", &self.order), ("only", &self.only), ("ignore", &self.ignore)];
        lists.into_iter().flat_map(|(field, names)| names.iter().map(move |name| (field, name.as_str())))
    }

    /// True when the caller allows this provider.
    pub(crate) fn allows(&self, candidate: &Candidate<'_>) -> bool {
        let provider = candidate.provider;
        (candidate.trains_not || self.data_collection != Some(DataCollection::Deny))
            && (candidate.stores_nothing || self.zdr != Some(true))
            && (self.only.is_empty() || listed(&self.only, provider).is_some())
            && listed(&self.ignore, provider).is_none()
    }

    /// The place of a provider in `order`; providers that are not listed come last.
    pub(crate) fn place(&self, provider: &str) -> usize {
        listed(&self.order, provider).unwrap_or(self.order.len())
    }
}

fn listed(names: &[String], provider: &str) -> Option<usize> {
    names.iter().position(|name| name.eq_ignore_ascii_case(provider))
}

/// A factor that decides alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Cheapest first.
    Price,
    /// Most tokens per second first.
    Throughput,
    /// Shortest time to the first token first.
    Latency,
}

/// The highest acceptable prices. A candidate with an unknown price is refused when any of them is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxPrice {
    /// USD per million tokens of the prompt.
    pub prompt: Option<f64>,
    /// USD per million tokens of the answer.
    pub completion: Option<f64>,
    /// Maximum expected cost of the whole request, in USD.
    pub request: Option<f64>,
}

impl MaxPrice {
    /// True when the candidate is certainly within every limit.
    pub(crate) fn allows(&self, candidate: &Candidate<'_>) -> bool {
        let per_million = |price: canon::Pico| price.as_usd() * 1e6;
        within(self.prompt, candidate.prices.map(|prices| per_million(prices.prompt)))
            && within(self.completion, candidate.prices.map(|prices| per_million(prices.completion)))
            && within(self.request, candidate.cost.map(canon::Pico::as_usd))
    }
}

fn within(limit: Option<f64>, price: Option<f64>) -> bool {
    limit.is_none_or(|limit| price.is_some_and(|price| price <= limit * (1.0 + 1e-9)))
}
