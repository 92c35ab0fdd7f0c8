//! A compiled policy.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::DataCollection;
use limits::{Bodies, CachePolicy, CountersAway, Pattern, Policy, Rule, Scope, Unpriced};

use crate::admission::Book;
use crate::config::settings::ProviderSettings;

/// A compiled policy.
#[derive(Default)]
pub struct Terms {
    models: Vec<Pattern>,
    deny: Vec<Pattern>,
    providers: Vec<Pattern>,
    deny_providers: Vec<Pattern>,
    regions: Vec<Pattern>,
    /// Only providers that are known not to train models with the data that they receive.
    denies_collection: bool,
    /// Only providers that are known to store nothing.
    denies_retention: bool,
    /// It can refuse something: models, providers, or unknown prices.
    pub restricts: bool,
    has_budget: bool,
    /// Budgets and limits, with their accounts in the project's book.
    pub rules: Vec<Rule>,
    /// Tags of every request.
    pub tags: BTreeMap<String, String>,
    /// Whether models of unknown price may be used; none if unset.
    pub unpriced: Option<Unpriced>,
    /// Whether answers may be stored.
    pub stored_responses: bool,
    /// The policy while shared counters do not answer; none if unset.
    pub counters_away: Option<CountersAway>,
    /// How answers are cached for equal requests; none if unset.
    pub cache: Option<CachePolicy>,
    /// The guardrails of requests and answers.
    pub guardrails: Vec<String>,
    /// Whose bodies are kept; none if unset.
    pub bodies: Option<Bodies>,
}

/// A model at a provider, under all of its names.
pub struct Offered<'a> {
    pub provider: &'a ProviderSettings,
    /// The requested name (empty for `auto`), the provider's own, the catalog's.
    pub names: [&'a str; 3],
    pub price_unknown: bool,
}

impl Offered<'_> {
    /// Whether the pattern matches it, with or without the provider prefix.
    pub fn matches(&self, pattern: &Pattern) -> bool {
        self.names.iter().any(|name| pattern.matches(name))
            || self.names[1..].iter().any(|name| pattern.matches(&format!("{}/{name}", self.provider.row.id)))
    }
}

impl Terms {
    /// The terms of a policy, with accounts in this book.
    pub fn new(policy: &Policy, scope: &Scope, book: &Book) -> Self {
        let has_budget = !policy.budgets.is_empty();
        let patterns = |list: &[String]| list.iter().map(|pattern| Pattern::new(pattern)).collect();
        Self {
            models: patterns(&policy.models),
            deny: patterns(&policy.deny),
            providers: patterns(&policy.providers),
            deny_providers: patterns(&policy.deny_providers),
            regions: patterns(&policy.regions),
            denies_collection: policy.data_collection == Some(DataCollection::Deny),
            denies_retention: policy.zdr == Some(true),
            restricts: policy.restricts_models() || has_budget || policy.unpriced == Some(Unpriced::Block),
            has_budget,
            rules: book.rules(scope, policy),
            tags: policy.tags.clone(),
            unpriced: policy.unpriced,
            stored_responses: policy.stored_responses.unwrap_or(true),
            counters_away: policy.counters_away,
            cache: policy.cache,
            guardrails: policy.guardrails.clone(),
            bodies: policy.bodies,
        }
    }

    /// The policy of a key; none for an empty one.
    pub fn of_key(policy: &Policy, key_id: &Arc<str>, book: &Book) -> Option<Arc<Self>> {
        (*policy != Policy::default()).then(|| Arc::new(Self::new(policy, &Scope::Key(key_id.clone()), book)))
    }

    /// Whether money is counted.
    pub fn has_budget(&self) -> bool {
        self.has_budget
    }

    /// Whether it allows only some models.
    pub fn singles_out_models(&self) -> bool {
        !self.deny.is_empty() || self.rules.iter().any(|rule| rule.model.is_some())
    }

    /// Whether `models` names it by a pattern other than `*`.
    pub fn names(&self, alias: &str) -> bool {
        self.models.iter().any(|pattern| pattern.as_str() != "*" && pattern.matches(alias))
    }

    /// The rule that refuses a provider for this model, as written; without a model, for every one.
    pub fn provider_refusal(&self, provider: &ProviderSettings, model: &str) -> Option<String> {
        let id = provider.row.id.as_str();
        if let Some(pattern) = self.deny_providers.iter().find(|pattern| pattern.matches(id)) {
            return Some(format!("deny_providers = {:?}", pattern.as_str()));
        }
        if !self.providers.is_empty() && !self.providers.iter().any(|pattern| pattern.matches(id)) {
            return Some(format!("providers = {}", list(&self.providers)));
        }
        self.region_refusal(provider, model).or_else(|| self.data_refusal(provider))
    }

    fn region_refusal(&self, provider: &ProviderSettings, model: &str) -> Option<String> {
        if self.regions.is_empty() {
            return None;
        }
        let served = provider.region(model);
        let is_allowed = |region: &str| self.regions.iter().any(|pattern| pattern.matches(region));
        let reason = match served.as_deref() {
            Some(region) if is_allowed(region) => return None,
            Some(region) => format!("the region of {:?} is {region:?}", provider.row.id),
            None => format!("the region of {:?} is unknown", provider.row.id),
        };
        Some(format!("regions = {}; {reason}", list(&self.regions)))
    }

    fn data_refusal(&self, provider: &ProviderSettings) -> Option<String> {
        let id = &provider.row.id;
        let refused = |rule: &str, does: Option<bool>, what: &str| match does {
            Some(false) => None,
            Some(true) => Some(format!("{rule}; {id:?} {what}")),
            None => Some(format!("{rule}; it is unknown whether {id:?} {what}")),
        };
        let training =
            || refused("data_collection = \"deny\"", provider.trains_on_data, "trains models with data");
        let retention = || refused("zdr = true", provider.retains_data, "stores data");
        let by_training = if self.denies_collection { training() } else { None };
        by_training.or_else(|| if self.denies_retention { retention() } else { None })
    }

    /// The rule that refuses an offer, as written.
    pub fn refusal(&self, offered: &Offered<'_>) -> Option<String> {
        if let Some(pattern) = self.deny.iter().find(|pattern| offered.matches(pattern)) {
            return Some(format!("deny = {:?}", pattern.as_str()));
        }
        if let Some(rule) = self.provider_refusal(offered.provider, offered.names[1]) {
            return Some(rule);
        }
        let is_allowed = self.models.is_empty() || self.models.iter().any(|pattern| offered.matches(pattern));
        (!is_allowed).then(|| format!("models = {}", list(&self.models)))
    }
}

/// The list as written, shortened.
fn list(patterns: &[Pattern]) -> String {
    let shown: Vec<String> =
        patterns.iter().take(8).map(|pattern| format!("{:?}", pattern.as_str())).collect();
    let more = if patterns.len() > 8 { ", …" } else { "" };
    format!("[{}{more}]", shown.join(", "))
}
