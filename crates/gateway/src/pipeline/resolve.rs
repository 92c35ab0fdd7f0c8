//! From the name of a model to its possible providers.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use canon::{Error, ErrorKind, Features, ModelFacts, Operation, Retry, Target};
use catalog::Serving;
use wire::endpoints::{EndpointFacts, EndpointTarget, Part};
use wire::providers::{Call, Credential, FormatChoice};
use wire::{EncodedRequest, Headers, OWN, Protocol};

use crate::config::file::{ModelSection, Pick, TimeoutSection};
use crate::identity::Caller;
use crate::snapshot::{ProviderHandle, Snapshot};
use crate::telemetry::OTHER;

/// One model at one provider that could serve the request.
#[derive(Clone)]
pub struct Offer {
    pub provider: Arc<ProviderHandle>,
    /// The wire format of this model there.
    pub protocol: Protocol,
    /// Its entry in the catalog; none for a model that is forwarded without one.
    pub serving: Option<Arc<Serving>>,
    /// The provider's own id of the model.
    pub model: String,
    /// Facts: the catalog's, or those of the nearest known relative.
    pub facts: FactsSource,
    /// Lower tiers come first whatever the score.
    pub tier: u32,
    /// The only permitted key of the provider.
    pub key: Option<usize>,
    /// The timeouts of the alias that led here.
    pub timeouts: Option<Box<TimeoutSection>>,
}

#[derive(Clone)]
pub enum FactsSource {
    /// The entry of this or a related model.
    Serving(Arc<Serving>),
    /// Nothing is known.
    Unknown(Arc<ModelFacts>),
}

impl Offer {
    /// The labels of the permitted keys, and the index of the first one among the provider's.
    pub fn keys(&self) -> (&[String], usize) {
        let labels = &self.provider.key_labels;
        match self.key.and_then(|key| Some((labels.get(key..=key)?, key))) {
            Some(only) => only,
            None => (labels, 0),
        }
    }

    pub fn facts(&self) -> &ModelFacts {
        match &self.facts {
            FactsSource::Serving(serving) => &serving.facts,
            FactsSource::Unknown(facts) => facts,
        }
    }

    /// The model and the provider that a request is written for.
    pub fn target(&self) -> Target<'_> {
        Target { model: &self.model, facts: self.facts(), quirks: &self.provider.row.quirks }
    }

    /// The call of the provider with a request.
    pub fn call<'a>(
        &'a self,
        written: &'a EncodedRequest,
        streaming: bool,
        credential: &'a Credential,
        now: SystemTime,
    ) -> Call<'a> {
        let path = self.provider.row.path.as_deref();
        Call { streaming, path, ..self.raw_call((&written.body, &written.headers), credential, now) }
    }

    /// The call of the provider with this body and these headers of the caller.
    pub fn raw_call<'a>(
        &'a self,
        (body, passed): (&Bytes, &'a Headers),
        credential: &'a Credential,
        now: SystemTime,
    ) -> Call<'a> {
        let provider = &self.provider;
        Call {
            base_url: &provider.settings.base_url,
            protocol: self.protocol,
            model: &self.model,
            streaming: false,
            body: body.clone(),
            credential,
            auth: &provider.row.auth,
            headers: &provider.row.headers,
            passed,
            path: None,
            settings: &provider.settings.settings,
            now,
        }
    }

    /// The target of a request without a conversation.
    pub fn endpoint_target(&self) -> EndpointTarget<'_> {
        static NOTHING: LazyLock<EndpointFacts> = LazyLock::new(EndpointFacts::default);
        let facts = self.serving.as_ref().and_then(|serving| serving.endpoint.as_deref());
        let provider = &self.provider;
        EndpointTarget {
            model: provider.endpoint.name_in_body(&self.model, &provider.settings.settings),
            facts: facts.unwrap_or(&NOTHING),
            rows: &self.provider.row.operations,
        }
    }

    /// The call of the provider with a part of such a request.
    pub fn part_call<'a>(&'a self, part: &'a Part, credential: &'a Credential, now: SystemTime) -> Call<'a> {
        Call { path: Some(&part.path), ..self.raw_call((&part.body, &part.headers), credential, now) }
    }

    /// Whether both are offers of one model. Models outside of the catalog are equal only with the same name
    /// at the same provider.
    pub fn is_same_model(&self, other: &Self) -> bool {
        match (&self.serving, &other.serving) {
            (Some(serving), Some(other)) => serving.model == other.model,
            (None, None) => self.provider.id() == other.provider.id() && self.model == other.model,
            _ => false,
        }
    }

    /// The model for error messages.
    pub fn shown_model(&self) -> String {
        format!("{}/{}", self.provider.id(), self.model)
    }

    /// The label of this model in metrics. Models outside of the catalog are `other`, except at a provider
    /// that names its models itself.
    pub fn metric_label(&self) -> &str {
        match &self.serving {
            Some(serving) => &serving.model,
            None if self.provider.names_models => &self.model,
            None => OTHER,
        }
    }
}

/// The result for a model name.
pub struct Resolved {
    /// The provider that the caller chose.
    pub pinned: Option<String>,
    /// The possible offers, in no particular order; never empty.
    pub offers: Vec<Offer>,
}

/// The name with which the gateway chooses the model. An alias of this name can limit the choice.
pub const AUTO: &str = "auto";

/// Names are stored by health, metrics, log and records, and compared with the catalog: their length is
/// limited.
pub(super) const MAX_NAME_BYTES: usize = 512;

/// Resolves model names.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    pub snapshot: &'a Snapshot,
    /// The caller's request: it selects one of a provider's formats.
    pub asked: FormatChoice,
    /// Random number for weighted aliases.
    pub random: u64,
    /// The caller whose policies apply; none for commands and the operator's own lists.
    pub caller: Option<&'a Caller>,
    pub operation: Operation,
}

impl<'a> Resolver<'a> {
    /// For callers of the default format, without random choice.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let asked = FormatChoice { caller: OWN.protocol(), needs: Features::NONE, thinking: false };
        Self { snapshot, asked, random: 0, caller: None, operation: Operation::Chat }
    }
    /// Resolves the request's model and, after it, those of its `models` list as fallbacks. A model without an enabled
    /// provider is skipped if another one can serve.
    pub fn resolve_all(&self, name: &str, further: &[String]) -> Result<Resolved, Error> {
        let mut all = Resolved { pinned: None, offers: Vec::new() };
        let mut disabled = None;
        for (index, name) in std::iter::once(name).chain(further.iter().map(String::as_str)).enumerate() {
            let resolved = match self.resolve(name) {
                Ok(resolved) => resolved,
                Err(error) => {
                    let error = if index > 0 { error.at(format!("models[{}]", index - 1)) } else { error };
                    if error.retry != Retry::Elsewhere {
                        return Err(error);
                    }
                    disabled.get_or_insert(error);
                    continue;
                }
            };
            if index == 0 {
                all.pinned = resolved.pinned;
            }
            // After every tier of the earlier models: an alias in the list has several.
            let tier = all.offers.iter().map(|offer| offer.tier + 1).max().unwrap_or(0);
            all.offers.extend(resolved.offers.into_iter().map(|mut offer| {
                offer.tier += tier;
                offer
            }));
        }
        disabled.filter(|_| all.offers.is_empty()).map_or(Ok(all), Err)
    }

    /// Resolves `provider/model`, a model of the catalog, or an alias, to the offers that the caller may use.
    pub fn resolve(&self, name: &str) -> Result<Resolved, Error> {
        let mut resolved = self.find(name)?;
        self.check_operation(name, &mut resolved.offers)?;
        if let Some(caller) = self.caller
            && caller.is_restricted()
        {
            permitted(caller, name, &mut resolved.offers)?;
        }
        Ok(resolved)
    }

    /// Keeps the offers that serve the operation. For a model outside of the catalog the provider decides.
    fn check_operation(&self, name: &str, offers: &mut Vec<Offer>) -> Result<(), Error> {
        let operation = self.operation.of_model();
        let serves = |offer: &Offer| {
            let by_model = offer.serving.as_ref().is_none_or(|serving| serving.operations.has(operation));
            by_model && offer.provider.row.operations.serves(operation)
        };
        if offers.iter().all(serves) {
            return Ok(());
        }
        let refused =
            offers.iter().find(|offer| !serves(offer)).map(|offer| wrong_operation(name, offer, operation));
        offers.retain(serves);
        match (offers.is_empty(), refused) {
            (true, Some(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Result<Resolved, Error> {
        let snapshot = self.snapshot;
        if name.len() > MAX_NAME_BYTES {
            let message =
                format!("The model's name has {} bytes; at most {MAX_NAME_BYTES} are allowed.", name.len());
            return Err(Error::invalid("model", message));
        }
        if let Some(alias) = snapshot.aliases.get(name) {
            return self.alias_offers(name, alias);
        }
        if name == AUTO {
            return self.auto();
        }
        if let Some((provider, model)) = name.split_once('/')
            && let Some(handle) = snapshot.providers.get(provider)
        {
            if let Some(reason) = handle.disabled() {
                return Err(disabled(format!("The provider {provider:?} is not enabled: {reason}.")));
            }
            if model.is_empty() {
                return Err(not_found(format!("The model after \"{provider}/\" is missing.")));
            }
            return Ok(Resolved {
                pinned: Some(provider.to_owned()),
                offers: vec![self.offer(handle, model)],
            });
        }
        self.bare(name)
    }

    /// Every model of known price that an enabled provider serves; the needs of the request decide among
    /// them.
    fn auto(&self) -> Result<Resolved, Error> {
        let snapshot = self.snapshot;
        let today = crate::clock::today();
        let servings = snapshot.catalog.models().flat_map(|model| model.servings.iter());
        let serves = |serving: &Serving| serving.operations.has(self.operation.of_model());
        let usable =
            servings.filter(|serving| serving.price.is_some() && !serving.is_gone(&today) && serves(serving));
        let offers: Vec<Offer> = usable
            .filter_map(|serving| {
                let handle = snapshot.providers.get(&serving.provider)?;
                handle.disabled().is_none().then(|| self.known_offer(handle, serving))
            })
            .collect();
        if offers.is_empty() {
            Err(not_found(
                "No enabled provider serves a model of known price, so \"auto\" has no candidate.".to_owned(),
            ))
        } else {
            Ok(Resolved { pinned: None, offers })
        }
    }

    fn bare(&self, name: &str) -> Result<Resolved, Error> {
        let snapshot = self.snapshot;
        let Some(model) = snapshot.catalog.model(name) else { return Err(unknown(snapshot, name)) };
        let mut offers = Vec::new();
        let mut lacking = Vec::new();
        for serving in &model.servings {
            let Some(handle) = snapshot.providers.get(&serving.provider) else { continue };
            match handle.disabled() {
                None => offers.push(self.known_offer(handle, serving)),
                Some(reason) => lacking.push(format!("{}: {reason}", serving.provider)),
            }
        }
        if offers.is_empty() {
            return Err(disabled(format!(
                "No provider of the model {name:?} is enabled ({}).",
                lacking.join("; ")
            )));
        }
        Ok(Resolved { pinned: None, offers })
    }

    fn alias_offers(&self, name: &str, alias: &ModelSection) -> Result<Resolved, Error> {
        let mut order: Vec<usize> = (0..alias.targets.len()).collect();
        if alias.pick == Pick::Weight {
            let weight = |index: &usize| alias.weights.get(*index).copied().unwrap_or(1);
            if let Some(first) = routing::pick_weighted(&order, weight, self.random) {
                order.swap(0, first);
            }
        }
        let mut offers = Vec::new();
        let mut reasons = Vec::new();
        for (place, index) in order.into_iter().enumerate() {
            let target = &alias.targets[index];
            if self.snapshot.aliases.contains_key(target) {
                reasons.push(format!("{target}: an alias cannot name an alias"));
                continue;
            }
            match self.find(target) {
                Ok(resolved) => offers.extend(resolved.offers.into_iter().map(|mut offer| {
                    offer.tier = if alias.pick == Pick::Best { 0 } else { place as u32 };
                    offer.timeouts = alias.timeouts.map(Box::new);
                    offer
                })),
                Err(error) => reasons.push(error.message.into_owned()),
            }
        }
        if offers.is_empty() {
            Err(disabled(format!("No target of the alias {name:?} can be used: {}", reasons.join(" "))))
        } else {
            Ok(Resolved { pinned: None, offers })
        }
    }

    fn known_offer(&self, handle: &Arc<ProviderHandle>, serving: &Arc<Serving>) -> Offer {
        Offer {
            provider: handle.clone(),
            protocol: self.format(handle, &serving.upstream_id, &serving.facts),
            serving: Some(serving.clone()),
            model: serving.upstream_id.clone(),
            facts: FactsSource::Serving(serving.clone()),
            tier: 0,
            key: None,
            timeouts: None,
        }
    }

    /// The format for a model. The further formats belong to the provider's default one: a family of models
    /// with another format has only that.
    fn format(&self, handle: &ProviderHandle, model: &str, facts: &ModelFacts) -> Protocol {
        let usual = handle.endpoint.protocol(handle.row.protocol, model);
        if usual != handle.row.protocol {
            return usual;
        }
        let responses_only = facts.responses_only || handle.row.quirks.serves_by_responses_only(model);
        let format = self.asked.format(usual, &handle.row.also, facts, responses_only);
        if handle.endpoint.speaks(format, model) { format } else { usual }
    }

    /// A provider's model by its own name. An empty name means no model.
    pub(super) fn offer(&self, handle: &Arc<ProviderHandle>, model: &str) -> Offer {
        let snapshot = self.snapshot;
        if let Some(serving) = snapshot.catalog.serving(handle.id(), model) {
            return self.known_offer(handle, serving);
        }
        let protocol = self.format(handle, model, &snapshot.unknown_facts);
        // A translation needs facts, and a relative's are better than none. For a forwarded request the
        // provider decides.
        let relative =
            snapshot.catalog.relative(protocol, model).filter(|_| self.asked.caller != Some(protocol));
        let facts = match relative {
            Some(relative) => FactsSource::Serving(relative.clone()),
            None => FactsSource::Unknown(snapshot.unknown_facts.clone()),
        };
        Offer {
            provider: handle.clone(),
            protocol,
            serving: None,
            model: model.to_owned(),
            facts,
            tier: 0,
            key: None,
            timeouts: None,
        }
    }
}

/// Keeps the offers that policies allow. This is the only place: every endpoint gets its offers from here, so
/// no alias, fallback or list of models can bypass a policy.
fn permitted(caller: &Caller, name: &str, offers: &mut Vec<Offer>) -> Result<(), Error> {
    let mut refused = None;
    offers.retain(|offer| match caller.refusal(&offer.offered(name)) {
        None => true,
        Some(reason) => {
            refused.get_or_insert_with(|| (format!("{}/{}", offer.provider.id(), offer.model), reason));
            false
        }
    });
    match (offers.is_empty(), refused) {
        (true, Some((model, reason))) => {
            let shown: String = name.chars().take(100).collect();
            let message = format!("This key may not use the model {shown:?}: of {model}, {reason}.");
            Err(Error::caller(ErrorKind::Permission, message).at("model"))
        }
        _ => Ok(()),
    }
}

/// The model does not serve the operation: the error names the right route.
fn wrong_operation(name: &str, offer: &Offer, operation: Operation) -> Error {
    let shown: String = name.chars().take(100).collect();
    let known =
        offer.serving.as_ref().map(|serving| serving.operations).filter(|known| !known.has(operation));
    let message = match known {
        Some(known) => {
            let routes: Vec<_> = known.iter().map(|known| format!("POST {}", known.route())).collect();
            format!("The model {shown:?} does not serve {}; use {}.", operation.as_str(), routes.join(", "))
        }
        None => format!("The provider {:?} does not serve {}.", offer.provider.id(), operation.as_str()),
    };
    Error::invalid("model", message)
}

fn not_found(message: String) -> Error {
    Error::caller(ErrorKind::ModelNotFound, message).at("model")
}

/// Another model of the request may have an enabled provider.
fn disabled(message: String) -> Error {
    Error { retry: Retry::Elsewhere, ..not_found(message) }
}

fn unknown(snapshot: &Snapshot, name: &str) -> Error {
    let shown: String = name.chars().take(100).collect();
    let near = match name.split_once('/') {
        Some((provider, _)) => snapshot.catalog.nearest_providers(provider, 3).join(", "),
        None => snapshot.catalog.nearest_models(name, 3).join(", "),
    };
    let what = if name.contains('/') { "provider of the model" } else { "model" };
    not_found(if near.is_empty() {
        format!("The {what} {shown:?} is unknown. GET /v1/models lists the models.")
    } else {
        format!("The {what} {shown:?} is unknown. Did you mean {near}? GET /v1/models lists the models.")
    })
}
