//! What requests see of the configuration: one snapshot, taken at a request's start.

use std::collections::HashMap;
use std::sync::Arc;

use canon::ModelFacts;
use catalog::{Catalog, ProviderRow};
use wire::providers::Provider;

use crate::config::file::ModelSection;
use crate::config::{ProviderSettings, Settings};
use crate::telemetry::RouteMetrics;
use crate::upstream::Client;
use crate::upstream::credentials::Credentials;

/// One consistent view of catalog, providers and aliases.
pub struct Live {
    /// Models, prices and facts.
    pub catalog: Catalog,
    /// Providers by id.
    pub providers: HashMap<String, Arc<ProviderHandle>>,
    /// Aliases by name.
    pub aliases: HashMap<String, ModelSection>,
    /// Facts of models that nothing is known of.
    pub unknown_facts: Arc<ModelFacts>,
}

/// A provider, ready to be called.
pub struct ProviderHandle {
    /// Its row in the catalog.
    pub row: Arc<ProviderRow>,
    /// Where it is, and its settings.
    pub settings: ProviderSettings,
    /// How it is called.
    pub calling: &'static dyn Provider,
    /// One credential for each key; at least one.
    pub credentials: Credentials,
    /// The labels of the keys.
    pub key_labels: Vec<String>,
    /// Counters of this provider by model.
    pub metrics: RouteMetrics,
}

impl ProviderHandle {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.row.id
    }

    /// Why it cannot be used; none when it can.
    pub fn disabled(&self) -> Option<&str> {
        self.settings.disabled.as_deref()
    }

    fn new(settings: &ProviderSettings, client: &Client, metrics: &crate::telemetry::Metrics) -> Self {
        Self {
            row: settings.row.clone(),
            settings: settings.clone(),
            calling: wire::providers::provider(settings.row.calling),
            credentials: Credentials::new(settings, client),
            key_labels: settings.keys.iter().map(|key| key.label.clone()).collect(),
            metrics: metrics.provider(&settings.row.id),
        }
    }
}

impl Live {
    /// The view that these settings give.
    pub fn new(settings: &mut Settings, client: &Client, metrics: &crate::telemetry::Metrics) -> Self {
        let providers = settings
            .providers
            .iter()
            .map(|provider| {
                (provider.row.id.clone(), Arc::new(ProviderHandle::new(provider, client, metrics)))
            })
            .collect();
        Self {
            catalog: std::mem::take(&mut settings.catalog),
            providers,
            aliases: settings.aliases.clone().into_iter().collect(),
            unknown_facts: Arc::default(),
        }
    }

    /// Providers that can be called.
    pub fn enabled(&self) -> impl Iterator<Item = &Arc<ProviderHandle>> {
        self.providers.values().filter(|provider| provider.disabled().is_none())
    }
}
