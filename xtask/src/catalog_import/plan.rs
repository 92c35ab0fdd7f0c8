//! `catalog/import.toml`: maps keys of the packages to our entries, and lists models to add.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The packages' names for each provider's models.
    pub providers: BTreeMap<String, Source>,
    /// Keys that do not follow their provider's pattern: `provider/id` → litellm's key.
    #[serde(default)]
    pub keys: BTreeMap<String, String>,
    /// Entries (`provider/id`) with better facts than the packages have: never changed.
    #[serde(default)]
    pub keep: Vec<String>,
    #[serde(default)]
    pub add: Vec<Addition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// litellm's key, with `{id}` for the provider's id of the model; the first that exists is used.
    #[serde(default)]
    pub litellm: Vec<String>,
    /// The provider's id in genai-prices.
    pub genai: Option<String>,
    /// Context sizes that litellm gives for the prompt alone, without the answer.
    #[serde(default)]
    pub prompt_only: Vec<u64>,
    /// How searches are charged.
    #[serde(default)]
    pub search: Search,
    /// litellm's output limits are mostly copies of the context here: they are ignored.
    #[serde(default)]
    pub no_output_limits: bool,
}

#[derive(Clone, Copy, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Search {
    /// Unknown, or not reported by the provider.
    #[default]
    Ignored,
    /// Each search that an answer reports.
    Counted,
    /// Each request searches; the price of the smallest search context.
    WithRequest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Addition {
    /// The file below `catalog/models`, without its ending: the family.
    pub file: String,
    pub model: String,
    pub name: String,
    /// `provider` or `provider=its-own-id`; the maker first.
    pub on: Vec<String>,
}

impl Plan {
    pub fn read(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as it should be", path.display()))
    }

    /// The keys under which litellm may know a model.
    pub fn litellm_keys(&self, provider: &str, id: &str) -> Vec<String> {
        let exact = self.keys.get(&format!("{provider}/{id}")).cloned();
        let patterns = self.providers.get(provider).map(|source| source.litellm.as_slice());
        let usual = patterns.unwrap_or_default().iter().map(|pattern| pattern.replace("{id}", id));
        exact.into_iter().chain(usual).collect()
    }

    pub fn keeps(&self, provider: &str, id: &str) -> bool {
        self.keep.contains(&format!("{provider}/{id}"))
    }
}
