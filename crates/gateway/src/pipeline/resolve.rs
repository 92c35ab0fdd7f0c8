//! From the name of a model to those who could serve it.

use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use bytes::Bytes;
use canon::{Error, ErrorKind, Features, ModelFacts, Operation, Target};
use catalog::Serving;
use wire::endpoints::{EndpointFacts, EndpointTarget, Part};
use wire::providers::{Call, Credential, FormatChoice};
use wire::{Headers, OWN, Protocol, Written};

use crate::config::file::{ModelSection, Pick, TimeoutSection};
use crate::identity::Caller;
use crate::snapshot::{ProviderHandle, Snapshot};
use crate::telemetry::OTHER;

/// One model at one provider that could serve the request.
#[derive(Clone)]
pub struct Offer {
    /// The provider.
    pub provider: Arc<ProviderHandle>,
    /// The wire format of this model there.
    pub protocol: Protocol,
    /// Its entry in the catalog; none for a model that is forwarded as it is.
    pub serving: Option<Arc<Serving>>,
    /// The provider's own id of the model.
    pub model: String,
    /// Facts: the catalog's, or those of the nearest known relative.
    pub facts: FactsSource,
    /// Lower comes first whatever the score.
    pub tier: u32,
    /// The only one of the provider's keys that will do.
    pub key: Option<usize>,
    /// The timeouts of the alias that led here.
    pub timeouts: Option<Box<TimeoutSection>>,
}

/// Where facts come from.
#[derive(Clone)]
pub enum FactsSource {
    /// The entry of this or a related model.
    Serving(Arc<Serving>),
    /// Nothing is known.
    Unknown(Arc<ModelFacts>),
}

impl Offer {
    /// The labels of the keys that will do, and the place of the first among the provider's.
    pub fn keys(&self) -> (&[String], usize) {
        let labels = &self.provider.key_labels;
        match self.key.and_then(|key| Some((labels.get(key..=key)?, key))) {
            Some(only) => only,
            None => (labels, 0),
        }
    }

    /// The facts.
    pub fn facts(&self) -> &ModelFacts {
        match &self.facts {
            FactsSource::Serving(serving) => &serving.facts,
            FactsSource::Unknown(facts) => facts,
        }
    }

    /// Whom a request is written for.
    pub fn target(&self) -> Target<'_> {
        Target { model: &self.model, facts: self.facts(), quirks: &self.provider.row.quirks }
    }

    /// How the provider is called with a request.
    pub fn call<'a>(
        &'a self,
        written: &'a Written,
        streaming: bool,
        credential: &'a Credential,
        now: SystemTime,
    ) -> Call<'a> {
        let path = self.provider.row.path.as_deref();
        Call { streaming, path, ..self.raw_call((&written.body, &written.headers), credential, now) }
    }

    /// How the provider is called with this body and these headers of the caller's.
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

    /// Whom a request without a conversation is written for.
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

    /// How the provider is called with a part of such a request.
    pub fn part_call<'a>(&'a self, part: &'a Part, credential: &'a Credential, now: SystemTime) -> Call<'a> {
        Call { path: Some(&part.path), ..self.raw_call((&part.body, &part.headers), credential, now) }
    }

    /// Whether both are offers of one model. Of models that the catalog does not know, only the same name at the same provider
    /// is.
    pub fn is_same_model(&self, other: &Self) -> bool {
        match (&self.serving, &other.serving) {
            (Some(serving), Some(other)) => serving.model == other.model,
            (None, None) => self.provider.id() == other.provider.id() && self.model == other.model,
            _ => false,
        }
    }

    /// The model as an error names it.
    pub fn shown_model(&self) -> String {
        format!("{}/{}", self.provider.id(), self.model)
    }

    /// The label of this model in metrics. What the catalog does not know is `other`: only at a provider that names its
    /// models itself do they count under their names.
    pub fn metric_label(&self) -> &str {
        match &self.serving {
            Some(serving) => &serving.model,
            None if self.provider.names_models => &self.model,
            None => OTHER,
        }
    }
}

/// What a model name stands for.
pub struct Resolved {
    /// The provider that the caller pinned.
    pub pinned: Option<String>,
    /// Those who could serve it, in no particular order; never empty.
    pub offers: Vec<Offer>,
}

/// The name that lets the gateway choose the model, unless an alias of this name says among which.
pub const AUTO: &str = "auto";

/// Names are kept by health, metrics, log and records, and compared with those of the catalog: they are bounded.
pub(super) const MAX_NAME_BYTES: usize = 512;

/// Finds out what model names stand for.
#[derive(Clone, Copy)]
pub struct Resolver<'a> {
    /// The configuration that the request sees.
    pub snapshot: &'a Snapshot,
    /// What the caller asks for: it decides which of a provider's formats is spoken.
    pub asked: FormatChoice,
    /// Decides weighted aliases.
    pub random: u64,
    /// Whose policies hold; none for commands and lists of the operator's own.
    pub caller: Option<&'a Caller>,
    /// What is asked of the model.
    pub operation: Operation,
}

impl<'a> Resolver<'a> {
    /// For callers of the gateway's own language, without chance.
    pub fn of(snapshot: &'a Snapshot) -> Self {
        let asked = FormatChoice { caller: OWN.protocol(), needs: Features::NONE, thinking: false };
        Self { snapshot, asked, random: 0, caller: None, operation: Operation::Chat }
    }
    /// Resolves the request's model and, behind it, those of its `models` list: the next serves when one cannot.
    pub fn resolve_all(&self, name: &str, further: &[String]) -> Result<Resolved, Error> {
        let mut resolved = self.resolve(name)?;
        for (index, name) in further.iter().enumerate() {
            // Behind every tier of those before: an alias in the list has several.
            let tier = 1 + resolved.offers.iter().map(|offer| offer.tier).max().unwrap_or(0);
            let more = self.resolve(name).map_err(|error| error.at(format!("models[{index}]")))?;
            resolved.offers.extend(more.offers.into_iter().map(|mut offer| {
                offer.tier += tier;
                offer
            }));
        }
        Ok(resolved)
    }

    /// Resolves `provider/model`, a model of the catalog, or an alias, to what the caller may use.
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

    /// Leaves the offers that serve what is asked. Of a model that the catalog does not know, its provider is the judge.
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
            let message = format!(
                "The model's name has {} bytes; a name of more than {MAX_NAME_BYTES} is none of a model.",
                name.len()
            );
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
                return Err(not_found(format!("The provider {provider:?} is not enabled: {reason}.")));
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

    /// Every model of known price that an enabled provider serves; what the request needs decides among them.
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
        match offers.is_empty() {
            true => Err(not_found(
                "No enabled provider serves a model of known price, so that \"auto\" has no choice."
                    .to_owned(),
            )),
            false => Ok(Resolved { pinned: None, offers }),
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
            return Err(not_found(format!(
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
        match offers.is_empty() {
            true => {
                Err(not_found(format!("No target of the alias {name:?} can be used: {}", reasons.join(" "))))
            }
            false => Ok(Resolved { pinned: None, offers }),
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

    /// The format in which a model is called. Further formats go with the provider's usual one: a family of models that is
    /// called otherwise has only that.
    fn format(&self, handle: &ProviderHandle, model: &str, facts: &ModelFacts) -> Protocol {
        let usual = handle.endpoint.protocol(handle.row.protocol, model);
        if usual != handle.row.protocol {
            return usual;
        }
        let responses_only = facts.responses_only || handle.row.quirks.serves_by_responses_only(model);
        let format = self.asked.format(usual, &handle.row.also, facts, responses_only);
        if handle.endpoint.speaks(format, model) { format } else { usual }
    }

    /// A provider's model by its own name. An empty name is of no model.
    pub(super) fn offer(&self, handle: &Arc<ProviderHandle>, model: &str) -> Offer {
        let snapshot = self.snapshot;
        if let Some(serving) = snapshot.catalog.serving(handle.id(), model) {
            return self.known_offer(handle, serving);
        }
        let protocol = self.format(handle, model, &snapshot.unknown_facts);
        // A translation needs facts, and a relative's are better than none. What is forwarded is left to the provider.
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

/// Leaves the offers that policies allow. This is the one place: whoever serves a request gets its offers from here, so that
/// no alias, no fallback and no list of models leads out of a policy.
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

/// The model is asked for what it does not serve: the error names the route that does.
fn wrong_operation(name: &str, offer: &Offer, operation: Operation) -> Error {
    let shown: String = name.chars().take(100).collect();
    let known =
        offer.serving.as_ref().map(|serving| serving.operations).filter(|known| !known.has(operation));
    let message = match known {
        Some(known) => {
            let routes: Vec<_> = known.iter().map(|known| format!("POST {}", known.route())).collect();
            format!(
                "The model {shown:?} does not serve {}; it is asked by {}.",
                operation.as_str(),
                routes.join(", ")
            )
        }
        None => format!("The provider {:?} does not serve {}.", offer.provider.id(), operation.as_str()),
    };
    Error::invalid("model", message)
}

fn not_found(message: String) -> Error {
    Error::caller(ErrorKind::ModelNotFound, message).at("model")
}

fn unknown(snapshot: &Snapshot, name: &str) -> Error {
    let shown: String = name.chars().take(100).collect();
    let near = match name.split_once('/') {
        Some((provider, _)) => snapshot.catalog.nearest_providers(provider, 3).join(", "),
        None => snapshot.catalog.nearest_models(name, 3).join(", "),
    };
    let what = if name.contains('/') { "provider of the model" } else { "model" };
    not_found(match near.is_empty() {
        true => format!("The {what} {shown:?} is unknown; GET /v1/models lists what there is."),
        false => format!(
            "The {what} {shown:?} is unknown; near to it: {near}. GET /v1/models lists what there is."
        ),
    })
}
