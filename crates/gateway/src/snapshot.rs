//! The configuration as a request sees it: one snapshot, taken when the request begins.
//!
//! A reload makes the [next](Snapshot::next) snapshot, which replaces the old one. Requests that have begun
//! keep theirs. Measurements are not part of the configuration and are carried over: health, sessions and the
//! retry budget are views of the same memory under the new settings, and a provider with unchanged settings
//! keeps its tokens and counters.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use canon::{Error, ModelFacts, Operation};
use catalog::{Catalog, ProviderRow};
use routing::{Health, RetryBudget, Sessions, Suspensions};
use store::KeyHasher;
use wire::providers::Endpoint;

use crate::admission::Books;
use crate::config::effective::EffectiveSettings;
use crate::config::file::ModelSection;
use crate::config::settings::{DEMO, Names, Timeouts};
use crate::config::{
    BodySettings, KeepSettings, MetadataPlace, OidcSettings, ProviderSettings, Settings, Webhook,
};
use crate::cors::Cors;
use crate::guardrails::{Guard, Guardrails};
use crate::identity::{Caller, Keys};
use crate::telemetry::{Metrics, RouteMetrics};
use crate::upstream::Client;
use crate::upstream::credentials::Credentials;
use crate::upstream::outbound::Outbound;

/// One consistent view of everything that a reload can change.
pub struct Snapshot {
    /// Models, prices and facts.
    pub catalog: Catalog,
    /// Providers by id.
    pub providers: HashMap<String, Arc<ProviderHandle>>,
    /// Aliases by name.
    pub aliases: HashMap<String, ModelSection>,
    pub unknown_facts: Arc<ModelFacts>,
    /// How providers are chosen and retried.
    pub routing: routing::Settings,
    /// Measurements of providers, by operation.
    pub health: HealthByOperation,
    /// Which conversation is warm where.
    pub sessions: Sessions,
    /// Keeps retries from multiplying an outage.
    pub retries: RetryBudget,
    /// How long to wait for providers.
    pub timeouts: Timeouts,
    pub limits: RequestLimits,
    /// The place of the gateway's object in answers.
    pub metadata: MetadataPlace,
    /// How answers are stored.
    pub keep: KeepSettings,
    /// Which bodies are kept for administrators.
    pub bodies: BodySettings,
    /// A hash of the configuration file; empty without one.
    pub config: String,
    /// The share of requests whose decision is stored.
    pub decisions_sample: Sample,
    /// Which pages may call from a browser.
    pub cors: Cors,
    pub keys: Keys,
    /// Who signs people in to the dashboard.
    pub oidc: Option<OidcSettings>,
    /// What is looked for in requests and answers.
    pub guardrails: Guardrails,
    /// Where events are sent.
    pub webhooks: Vec<Webhook>,
    /// TLS and proxies of all outgoing connections.
    pub outbound: Arc<Outbound>,
    /// The settings as people may see them.
    pub shown: Arc<EffectiveSettings>,
}

#[derive(Clone, Copy, Debug)]
pub struct RequestLimits {
    /// Largest request body in bytes.
    pub body: usize,
    /// Largest form with files in bytes.
    pub upload: usize,
    /// Longest pause within a body.
    pub pause: Duration,
    /// Longest time for a whole body.
    pub whole: Duration,
}

/// A random share of requests.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The upper limit of a random number; none for all requests.
    below: Option<u64>,
}

impl Names for Snapshot {
    fn has_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }

    fn has_guardrail(&self, name: &str) -> bool {
        self.guardrails.has(name)
    }
}

impl Sample {
    /// A share from 0 to 1.
    pub fn of(share: f64) -> Self {
        Self { below: (share < 1.0).then_some((share.max(0.0) * u64::MAX as f64) as u64) }
    }

    /// Whether the request with this random number is in the share. Other choices depend on the same number,
    /// so it is mixed again.
    pub fn takes(self, seed: u64) -> bool {
        self.below.is_none_or(|below| routing::chance::mixed(!seed) < below)
    }
}

/// The inputs of a snapshot besides the settings.
#[derive(Clone)]
pub struct Tools {
    /// The counters of providers.
    pub metrics: Metrics,
    /// Hashes the keys of the configuration.
    pub hasher: KeyHasher,
    /// The counters of projects.
    pub books: Books,
    pub suspensions: Suspensions,
}

impl Tools {
    /// For commands that do not serve.
    pub fn for_commands() -> anyhow::Result<Self> {
        Ok(Self {
            metrics: Metrics::new(),
            hasher: KeyHasher::random()?,
            books: Books::default(),
            suspensions: Suspensions::default(),
        })
    }
}

impl Snapshot {
    pub fn first(settings: Settings, tools: &Tools) -> Self {
        let routing = &settings.routing;
        let learnt = MeasuredState {
            health: HealthByOperation::new(routing, tools.suspensions.clone()),
            sessions: Sessions::new(&routing.sessions),
            retries: RetryBudget::new(&routing.retry),
        };
        Self::make(None, learnt, settings, tools)
    }

    /// The snapshot of other settings, with the measurements under the previous ones. Health forgets a
    /// provider whose address or keys have changed.
    pub fn next(previous: &Self, settings: Settings, tools: &Tools) -> Self {
        let routing = &settings.routing;
        let learnt = MeasuredState {
            health: previous.health.with_settings(routing),
            sessions: previous.sessions.with_settings(&routing.sessions),
            retries: previous.retries.with_settings(&routing.retry),
        };
        let next = Self::make(Some(previous), learnt, settings, tools);
        for (id, old) in &previous.providers {
            let is_same = |new: &Arc<ProviderHandle>| new.settings.is_same_place(&old.settings);
            if !next.providers.get(id).is_some_and(is_same) {
                next.health.forget(id, &old.key_labels);
            }
        }
        next
    }

    fn make(previous: Option<&Self>, learnt: MeasuredState, settings: Settings, tools: &Tools) -> Self {
        let same = previous.filter(|previous| *previous.outbound.settings() == settings.outbound);
        let outbound = match same {
            Some(previous) => previous.outbound.clone(),
            None => Arc::new(Outbound::new(settings.outbound)),
        };
        let handle = |provider: ProviderSettings| {
            let before = previous.and_then(|previous| previous.providers.get(&provider.row.id));
            let same_ways = before.filter(|before| same.is_some() && before.settings.has_same_way(&provider));
            let client = match same_ways {
                Some(before) => before.client.clone(),
                None => Client::new(outbound.provider_route(&provider.outbound, provider.timeouts.connect)),
            };
            let names_models = names_its_models(&provider.row, &settings.catalog);
            (provider.row.id.clone(), ProviderHandle::next(before, provider, client, names_models, tools))
        };
        Self {
            providers: settings.providers.into_iter().map(handle).collect(),
            outbound: outbound.clone(),
            catalog: settings.catalog,
            aliases: settings.aliases.into_iter().collect(),
            unknown_facts: Arc::default(),
            routing: settings.routing,
            health: learnt.health,
            sessions: learnt.sessions,
            retries: learnt.retries,
            timeouts: settings.timeouts,
            limits: RequestLimits {
                body: settings.body_limit,
                upload: settings.upload_limit,
                pause: settings.read_timeout,
                whole: settings.body_timeout,
            },
            metadata: settings.metadata,
            keep: settings.keep,
            bodies: settings.bodies,
            config: settings.fingerprint,
            decisions_sample: Sample::of(settings.logging.decisions_sample),
            cors: settings.cors,
            guardrails: Guardrails::new(settings.guardrails, &outbound, &tools.metrics),
            oidc: settings.oidc,
            webhooks: settings.webhooks,
            shown: settings.shown,
            keys: Keys::fixed(
                &tools.hasher,
                &settings.api_keys,
                &settings.admin_keys,
                &settings.projects,
                &tools.books,
            ),
        }
    }

    /// The timeouts of a request for this model, or alias.
    pub fn timeouts_of(&self, model: &str) -> Timeouts {
        let own = self.aliases.get(model).and_then(|alias| alias.timeouts);
        own.map_or(self.timeouts, |own| own.over(self.timeouts))
    }

    /// The guardrails of a caller, from its policies; none where they name none.
    pub fn guard(&self, caller: &Caller, request_id: &str) -> Result<Option<Arc<Guard>>, Error> {
        if caller.is_guarded() {
            self.guardrails.guard(caller.guardrails(), &caller.project.id, request_id).map(Arc::new).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Providers that can be called.
    pub fn enabled(&self) -> impl Iterator<Item = &Arc<ProviderHandle>> {
        self.providers.values().filter(|provider| provider.disabled().is_none())
    }
}

/// Health by operation: failures of token counts or embeddings must not affect a provider's conversations.
pub struct HealthByOperation {
    chat: Health,
    /// For other operations, created on first use: each takes memory per processor.
    others: [OnceLock<Health>; Operation::ALL.len()],
    settings: routing::Settings,
    suspensions: Suspensions,
}

impl HealthByOperation {
    fn new(settings: &routing::Settings, suspensions: Suspensions) -> Self {
        let chat = Health::new(settings).with_suspensions(suspensions.clone());
        Self { chat, others: Default::default(), settings: settings.clone(), suspensions }
    }

    pub fn of(&self, operation: Operation) -> &Health {
        match operation {
            Operation::Chat => &self.chat,
            other => {
                let new = || Health::new(&self.settings).with_suspensions(self.suspensions.clone());
                self.others[other as usize].get_or_init(new)
            }
        }
    }

    /// The operations in use, and chat.
    pub fn known(&self) -> impl Iterator<Item = (Operation, &Health)> {
        let others = Operation::ALL.into_iter().zip(&self.others);
        let known = others.filter_map(|(operation, health)| Some((operation, health.get()?)));
        std::iter::once((Operation::Chat, &self.chat)).chain(known)
    }

    /// The same memory under other settings.
    fn with_settings(&self, settings: &routing::Settings) -> Self {
        let others = self.others.each_ref().map(|health| match health.get() {
            Some(health) => OnceLock::from(health.with_settings(settings)),
            None => OnceLock::new(),
        });
        let (chat, suspensions) = (self.chat.with_settings(settings), self.suspensions.clone());
        Self { chat, others, settings: settings.clone(), suspensions }
    }

    fn forget(&self, provider: &str, keys: &[String]) {
        self.known().for_each(|(_, health)| health.forget(provider, keys));
    }
}

/// The state that passes from one snapshot to the next.
struct MeasuredState {
    health: HealthByOperation,
    sessions: Sessions,
    retries: RetryBudget,
}

/// A provider, ready to be called.
pub struct ProviderHandle {
    pub row: Arc<ProviderRow>,
    /// Its address, and its settings.
    pub settings: ProviderSettings,
    /// How it is called.
    pub endpoint: &'static dyn Endpoint,
    pub client: Client,
    /// One credential per key; at least one.
    pub credentials: Arc<Credentials>,
    pub key_labels: Vec<String>,
    /// Counters of this provider by model.
    pub metrics: Arc<RouteMetrics>,
    /// Only the provider itself knows its models: it is the operator's own, or the catalog does not list
    /// them.
    pub names_models: bool,
}

fn names_its_models(row: &ProviderRow, catalog: &Catalog) -> bool {
    let is_own = row.docs.is_none() && row.id != DEMO;
    is_own || !catalog.has_servings(&row.id)
}

impl ProviderHandle {
    pub fn id(&self) -> &str {
        &self.row.id
    }

    /// Why it cannot be used; none when it can.
    pub fn disabled(&self) -> Option<&str> {
        self.settings.disabled.as_deref()
    }

    /// The handle of these settings, reusing parts of the previous one.
    fn next(
        before: Option<&Arc<Self>>,
        settings: ProviderSettings,
        client: Client,
        names_models: bool,
        tools: &Tools,
    ) -> Arc<Self> {
        if let Some(before) = before
            && before.settings == settings
            && before.names_models == names_models
            && before.client.is_same(&client)
        {
            return before.clone();
        }
        // Tokens are fetched over the provider's own connections.
        let same_access = before
            .filter(|before| before.settings.is_same_access(&settings) && before.client.is_same(&client));
        Arc::new(Self {
            row: settings.row.clone(),
            endpoint: wire::providers::endpoint(settings.row.calling),
            credentials: match same_access {
                Some(before) => before.credentials.clone(),
                None => Arc::new(Credentials::new(&settings.credential_settings(), &client)),
            },
            key_labels: settings.keys.iter().map(|key| key.label.clone()).collect(),
            metrics: match before {
                Some(before) => before.metrics.clone(),
                None => Arc::new(tools.metrics.provider(&settings.row.id)),
            },
            client,
            settings,
            names_models,
        })
    }
}

/// The snapshot in force. Clones refer to the same one.
#[derive(Clone)]
pub struct Current(Arc<ArcSwap<Snapshot>>);

impl Current {
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// The snapshot for a request that begins now.
    pub fn get(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// Puts another snapshot in its place.
    pub fn set(&self, next: Snapshot) {
        self.0.store(Arc::new(next));
    }
}
