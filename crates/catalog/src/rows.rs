//! The rows of the catalog.

use std::collections::BTreeMap;
use std::sync::Arc;

use canon::{Features, ModelFacts, Operations, Quirks};
use serde::Deserialize;
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
    /// Base URL by the convention of the provider's own SDK. May hold `{variables}` that come from the
    /// settings. None when the operator has to set it.
    pub base_url: Option<String>,
    /// The path below the base URL, where it differs from the protocol's default.
    pub path: Option<String>,
    /// Headers of every call.
    pub headers: BTreeMap<String, String>,
    /// Customary environment variables of the key; the first that is set is used.
    pub api_key_env: Vec<String>,
    /// Customary environment variables of the base URL; the first that is set is used.
    pub base_url_env: Vec<String>,
    /// Further settings of the provider: `region`, `project`, `account_id` …
    pub settings: BTreeMap<String, SettingRow>,
    /// Base URLs by the `region` setting, where they are not a pattern of `base_url`.
    pub regions: BTreeMap<String, String>,
    /// How it differs from its protocol.
    pub quirks: Arc<Quirks>,
    /// Further wire formats that it serves under the same base URL.
    pub also: Vec<Protocol>,
    /// How it serves operations beside chat.
    pub operations: Arc<OperationRows>,
    /// Features that none of its models has, independent of their vendor.
    pub lacks: Features,
    /// Its known policy about the data that it receives.
    pub data: DataRow,
    /// A page with the API's documentation.
    pub docs: Option<String>,
    /// It answers only with a key or other credentials.
    pub needs_key: bool,
    /// Operator's preference, which enters the score. 1 is neutral.
    pub priority: f64,
}

/// A provider's statements about the data that it receives at its usual address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataRow {
    /// Whether it trains models with them, or may; none when unknown.
    pub trains: Option<bool>,
    /// Where it processes them, for providers without a setting `region`: a country or a group of them (`cn`,
    /// `eu`); none when unknown.
    pub region: Option<String>,
    /// Whether it stores requests or answers once they are answered; none when unknown.
    pub retains: Option<bool>,
    /// Its own page that says so.
    pub source: Option<String>,
}

/// A setting of a provider besides key and base URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingRow {
    /// Customary environment variables; the first that is set is used.
    pub env: Vec<String>,
    /// The provider cannot be called without it. Settings that are only part of the base URL are not marked:
    /// see [`ProviderRow::needs_setting`].
    pub required: bool,
    /// The value when none is set.
    pub default: Option<String>,
    /// Description in one sentence.
    pub help: String,
}

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
    /// Its providers in the file's order: the maker comes first, each provider once.
    pub servings: Vec<Arc<Serving>>,
    /// Further ids of those providers at other prices, such as regional profiles. Used only when a request
    /// names exactly this id.
    pub by_own_id: Vec<Arc<Serving>>,
}

/// A model as one provider serves it.
#[derive(Clone, Debug)]
pub struct Serving {
    /// The provider's id.
    pub provider: String,
    /// The model's canonical id.
    pub model: String,
    /// The provider's name of the model, which is sent.
    pub upstream_id: String,
    /// Further ids of the provider for this model at this price: snapshots, regional profiles. For such an
    /// id, [`Catalog::serving`](crate::Catalog::serving) returns a serving with it as `upstream_id`.
    pub also: Vec<String>,
    /// The capabilities of the model there.
    pub facts: ModelFacts,
    pub operations: Operations,
    /// Facts for operations other than chat; none where there are none.
    pub endpoint: Option<Arc<EndpointFacts>>,
    /// None when unknown.
    pub price: Option<PriceList>,
    /// The date from which the provider no longer serves it, `YYYY-MM-DD`.
    pub deprecated: Option<String>,
    /// It costs nothing.
    pub free: bool,
}

impl ProviderRow {
    /// A provider with only an id and a wire format: the base of an operator's own.
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
            data: DataRow::default(),
            docs: None,
            needs_key: false,
            priority: 1.0,
        }
    }

    /// True when a setting needs a value: always, or because the base URL contains it and the operator set no
    /// other URL.
    pub fn needs_setting(&self, name: &str, own_base_url: bool) -> bool {
        let in_url = |url: &String| url.contains(&format!("{{{name}}}"));
        let required = self.settings.get(name).is_some_and(|setting| setting.required);
        required || (!own_base_url && self.base_url.as_ref().is_some_and(in_url))
    }
}

impl Serving {
    /// True when the provider no longer serves the model on this day, `YYYY-MM-DD`. Most dates of deprecation
    /// are in the future.
    pub fn is_gone(&self, today: &str) -> bool {
        self.deprecated.as_deref().is_some_and(|date| date <= today)
    }
}
