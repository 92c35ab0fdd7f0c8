//! Configuration, routing and budgets for the dashboard.

use bytes::Bytes;
use canon::{Error, Operation, Pico};
use console::gateway::{
    BoxFuture, Budgets, Configuration, EffectiveSettings, LastReload, MayUse, Node, Provider, Routing,
    RuleUse, Setting,
};
use limits::{Bodies, Policy, Quantity, Scope, Unpriced};
use serde_json::Value;

use super::View;
use crate::admission::Book;
use crate::clock::now_ms;
use crate::config::settings::{read_policy, wrong_project_id};
use crate::identity::{Offered, Terms};
use crate::pipeline::explain;
use crate::pipeline::resolve::Resolver;

impl Configuration for View {
    fn in_force(&self) -> EffectiveSettings {
        let shown = self.current.get().shown.clone();
        let setting = |it: &crate::config::effective::ShownSetting| Setting {
            path: it.path.clone(),
            value: it.value.clone(),
            source: it.source.clone(),
        };
        EffectiveSettings { file: shown.file.clone(), settings: shown.settings.iter().map(setting).collect() }
    }

    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        Box::pin(async move {
            let done = self.reloader.reload().await?;
            Ok(done.needs_restart.iter().map(|name| (*name).to_owned()).collect())
        })
    }

    fn last_reload(&self) -> Option<LastReload> {
        self.reloader.last().map(|(at_ms, result)| LastReload {
            at_ms,
            result: result.map(|done| done.needs_restart.iter().map(|name| (*name).to_owned()).collect()),
        })
    }

    fn node(&self) -> Node {
        Node {
            name: self.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            spool_bytes: self.metering.spool_bytes(),
            spool_limit: self.spool_limit,
            database: self.database.clone(),
            tls: self.tls,
        }
    }

    fn keeps_bodies(&self, id: &str) -> Bodies {
        let (snapshot, stored) = (self.current.get(), self.auth.stored());
        let found = snapshot.keys.projects().get(id).or_else(|| stored.keys.projects().get(id));
        found.and_then(|project| project.terms.bodies).unwrap_or(snapshot.bodies.keep)
    }
}

impl View {
    fn now(&self) -> routing::Timestamp {
        let since = crate::clock::now().saturating_duration_since(self.epoch);
        routing::Timestamp(since.as_millis() as u64)
    }
}

impl Routing for View {
    fn providers(&self) -> Vec<Provider> {
        let snapshot = self.current.get();
        let health = snapshot.health.of(Operation::Chat).snapshot(self.now());
        let suspensions = self.auth.active_suspensions();
        let provider = |handle: &std::sync::Arc<crate::snapshot::ProviderHandle>| Provider {
            suspensions: suspensions
                .iter()
                .filter(|suspension| suspension.provider == handle.id())
                .cloned()
                .collect(),
            id: handle.id().to_owned(),
            off: handle.disabled().map(str::to_owned),
            keys: handle.key_labels.clone(),
            routes: health.routes.iter().filter(|route| route.provider == handle.id()).cloned().collect(),
        };
        let mut providers: Vec<Provider> = snapshot.providers.values().map(provider).collect();
        providers
            .sort_by(|left, right| (left.off.is_some(), &left.id).cmp(&(right.off.is_some(), &right.id)));
        providers
    }

    fn explain(&self, request: Bytes) -> Result<Value, Error> {
        Ok(explain::explain(&self.current.get(), &request, self.now())?.as_json())
    }
}

impl Budgets for View {
    fn declared(&self) -> Vec<(String, Policy)> {
        let snapshot = self.current.get();
        let projects = snapshot.keys.projects().values();
        projects.map(|project| (project.id.to_string(), project.policy.clone())).collect()
    }

    fn project_ids(&self) -> Vec<String> {
        let (snapshot, stored) = (self.current.get(), self.auth.stored());
        let all = snapshot.keys.projects().keys().chain(stored.keys.projects().keys());
        let mut ids: Vec<String> = all.map(|id| id.to_string()).collect();
        ids.sort();
        ids.dedup();
        ids
    }

    fn taken(&self, id: &str) -> Vec<RuleUse> {
        let (snapshot, stored) = (self.current.get(), self.auth.stored());
        let found = snapshot.keys.projects().get(id).or_else(|| stored.keys.projects().get(id));
        found.map(|project| taken(&project.book, &project.terms.rules)).unwrap_or_default()
    }

    fn taken_by_key(&self, id: &str) -> Vec<RuleUse> {
        let (snapshot, stored) = (self.current.get(), self.auth.stored());
        let Some((project, rules)) = stored.keys.rules_of_key(id) else { return Vec::new() };
        let found = snapshot.keys.projects().get(project).or_else(|| stored.keys.projects().get(project));
        found.map(|project| taken(&project.book, rules)).unwrap_or_default()
    }

    fn check_policy(&self, json: &str) -> Result<String, String> {
        let snapshot = self.current.get();
        let policy = read_policy(json, &*snapshot)?;
        Ok(serde_json::to_string(&policy).unwrap_or_default())
    }

    fn wrong_project_id(&self, id: &str) -> Option<String> {
        wrong_project_id(id)
    }

    fn refusals(&self, policy: &Policy, model: &str) -> MayUse {
        let snapshot = self.current.get();
        let Ok(resolved) = Resolver::of(&snapshot).resolve(model) else { return MayUse::Unknown };
        let terms = Terms::new(policy, &Scope::Project, &Book::default());
        let blocks_unpriced = match policy.unpriced {
            Some(unpriced) => unpriced == Unpriced::Block,
            None => !policy.budgets.is_empty(),
        };
        let (mut allowed, mut refused) = (Vec::new(), Vec::new());
        for offer in &resolved.offers {
            let serving = offer.serving.as_deref();
            let price_unknown = serving.is_none_or(|serving| serving.price.is_none() && !serving.free);
            let offered = Offered {
                provider: &offer.provider.settings,
                names: [model, &offer.model, serving.map_or("", |serving| &serving.model)],
                price_unknown,
            };
            let name = format!("{}/{}", offer.provider.id(), offer.model);
            match terms.refusal(&offered) {
                Some(rule) => refused.push((name, rule)),
                None if price_unknown && blocks_unpriced => {
                    refused.push((name, "its price is unknown (unpriced)".to_owned()));
                }
                None => allowed.push(name),
            }
        }
        MayUse::Providers { allowed, refused }
    }
}

fn taken(book: &Book, rules: &[limits::Rule]) -> Vec<RuleUse> {
    let book = book.lock();
    let taken = |rule: &limits::Rule| {
        let (money, concurrent) = match &rule.quantity {
            Quantity::Money { ceiling, per, .. } => {
                let (spent, reserved) = book.spent(rule.account(), now_ms()).unwrap_or_default();
                (Some((*ceiling, *per, spent, reserved)), None)
            }
            Quantity::Concurrent(most) => {
                (None, Some((*most, book.held(rule.account()).unwrap_or_default())))
            }
            Quantity::Requests(..) | Quantity::Tokens(..) => (None, None),
        };
        RuleUse { rule: rule.words(), money, concurrent }
    };
    rules.iter().map(taken).collect()
}

/// A price per token as one per million.
pub(super) fn per_million(price: Pico) -> Pico {
    Pico(price.0.saturating_mul(1_000_000))
}
