//! The rows of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::{Features, ModelFacts, Operations, Quirks};
use wire::Protocol;
use wire::endpoints::{EndpointFacts, OperationRows};
use wire::providers::{Auth, CallStyle};

use crate::PriceList;

/// A provider: how to call it.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderRow {
    /// The name in `provider/model` and in the configuration.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The wire format of its API.
    pub protocol: Protocol,
    /// How a call is made.
    pub calling: CallStyle,
    /// How the key is sent.
    pub auth: Auth,
    /// Base URL by the convention of the provider's own SDK. May hold `{variables}` that come from the settings.
    /// None when the operator has to give it.
    pub base_url: Option<String>,
    /// The path below the base URL, where it is not the protocol's usual one.
    pub path: Option<String>,
    /// Headers of every call.
    pub headers: BTreeMap<String, String>,
    /// Customary environment variables of the key; the first that is set counts.
    pub api_key_env: Vec<String>,
    /// Customary environment variables of the base URL; the first that is set counts.
    pub base_url_env: Vec<String>,
    /// What else the provider needs to know: `region`, `project`, `account_id` …
    pub settings: BTreeMap<String, SettingRow>,
    /// Base URLs by the `region` setting, where they are not a pattern of `base_url`.
    pub regions: BTreeMap<String, String>,
    /// How it differs from its protocol.
    pub quirks: Arc<Quirks>,
    /// Further wire formats that it serves below the same base URL.
    pub also: Vec<Protocol>,
    /// How it serves operations beside chat.
    pub operations: Arc<OperationRows>,
    /// What none of its models can do, whoever made them.
    pub lacks: Features,
    /// A page with the API's documentation.
    pub docs: Option<String>,
    /// It answers only with a key (or other credentials).
    pub needs_key: bool,
    /// Operator's preference: scores are multiplied by it. 1 is neutral.
    pub priority: f64,
}

/// A setting of a provider, besides key and base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// Customary environment variables; the first that is set counts.
    pub env: Vec<String>,
    /// The provider cannot be called without it. Settings that only fill in the base URL are not marked so: see
    /// [`ProviderRow::needs_setting`].
    pub required: bool,
    /// The value when nothing else is said.
    pub default: Option<String>,
    /// What it is, in one sentence.
    pub help: String,
}

/// A model and who serves it.
#[derive(Clone, Debug)]
pub struct ModelRow {
    /// The canonical id.
    pub id: String,
    /// The name for people.
    pub name: String,
    /// The family: the model file's `family`.
    pub family: String,
    /// Other names of exactly this model.
    pub aliases: Vec<String>,
    /// Release date, `YYYY-MM-DD`.
    pub released: Option<String>,
    /// Who serves it, in the file's order: the maker comes first, each provider once.
    pub servings: Vec<Arc<Serving>>,
    /// Further ids of those providers at other prices, such as regional profiles: used only when asked for by this id.
    pub by_own_id: Vec<Arc<Serving>>,
}

/// A model as one provider serves it.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The provider's id.
    pub provider: String,
    /// The model's canonical id.
    pub model: String,
    /// What the provider calls it: this goes on the wire.
    pub upstream_id: String,
    /// Further ids of the provider for this model at this price: snapshots, regional profiles. Asked for by such an
    /// id, [`Catalog::serving`](crate::Catalog::serving) gives a serving with it as `upstream_id`.
    pub also: Vec<String>,
    /// What it can do.
    pub facts: ModelFacts,
    /// What may be asked of it.
    pub operations: Operations,
    /// What operations beside chat have to know of it; none where there is nothing to say.
    pub endpoint: Option<Arc<EndpointFacts>>,
    /// What it costs; none when unknown.
    pub price: Option<PriceList>,
    /// The date from which the provider no longer serves it, `YYYY-MM-DD`.
    pub deprecated: Option<String>,
    /// It costs nothing.
    pub free: bool,
}

impl ProviderRow {
    /// A provider of which no more is known than its id and wire format: the start of an operator's own.
    pub fn new(id: impl Into<String>, protocol: Protocol) -> Self {
        let id = id.into();
        Self {
            name: id.clone(),
            id,
            protocol,
            calling: CallStyle::Compatible,
            auth: Auth::Optional,
            base_url: None,
            path: None,
            headers: BTreeMap::new(),
            api_key_env: Vec::new(),
            base_url_env: Vec::new(),
            settings: BTreeMap::new(),
            regions: BTreeMap::new(),
            quirks: Arc::default(),
            also: Vec::new(),
            operations: Arc::new(OperationRows::usual(protocol)),
            lacks: Features::NONE,
            docs: None,
            needs_key: false,
            priority: 1.0,
        }
    }

    /// True when a setting has to have a value: always, or because the base URL has a place for it and the operator
    /// gave no other.
    pub fn needs_setting(&self, name: &str, own_base_url: bool) -> bool {
        let in_url = |url: &String| url.contains(&format!("{{{name}}}"));
        let required = self.settings.get(name).is_some_and(|setting| setting.required);
        required || (!own_base_url && self.base_url.as_ref().is_some_and(in_url))
    }
}

impl Serving {
    /// True when the provider no longer serves the model on this day, `YYYY-MM-DD`. Most dates of deprecation lie ahead.
    pub fn is_gone(&self, today: &str) -> bool {
        self.deprecated.as_deref().is_some_and(|date| date <= today)
    }
}
