//! `GET /v1/models`: every name that a request may give as its model, in OpenAI's form (which other
//! formats convert), with providers, prices and features.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use canon::{Operation, Operations};
use catalog::{ModelRow, PriceList, Serving};
use serde_json::{Map, Value, json};
use wire::providers::ListedModel;

use crate::clock;
use crate::discovery::Lists;
use crate::identity::{Caller, Offered};
use crate::pipeline::endpoint::check_same_model;
use crate::pipeline::resolve::{AUTO, Resolver};
use crate::report::{per_million, unit_prices};
use crate::snapshot::Snapshot;

/// `created` for a name of unknown age: when this gateway began to list it.
static STARTED: LazyLock<i64> = LazyLock::new(|| clock::now_ms() / 1000);

/// The operations that models serve.
const OPERATIONS: [Operation; 9] = [
    Operation::Chat,
    Operation::Embeddings,
    Operation::Rerank,
    Operation::Moderations,
    Operation::Speech,
    Operation::ImageGenerations,
    Operation::ImageEdits,
    Operation::Transcriptions,
    Operation::Translations,
];

/// The source of the list.
pub struct Models<'a> {
    snapshot: &'a Snapshot,
    lists: &'a Lists,
    today: String,
    /// The caller whose policies apply.
    caller: Option<&'a Caller>,
}

impl<'a> Models<'a> {
    /// The models of this configuration, and of the providers with their own lists.
    pub fn new(snapshot: &'a Snapshot, lists: &'a Lists) -> Self {
        Self { snapshot, lists, today: clock::today(), caller: None }
    }

    /// Only the models that this caller may use.
    pub fn of(self, caller: Option<&'a Caller>) -> Self {
        Self { caller: caller.filter(|caller| caller.is_restricted()), ..self }
    }

    /// The list: aliases, `auto`, models of the operator's own providers, models of the catalog. With `mapped` also each
    /// of these models as `provider/model`.
    pub fn list(&self, mapped: bool) -> Vec<Value> {
        let mut data = self.aliases();
        data.extend(self.auto());
        data.extend(self.listed());
        let (models, servings): (Vec<Value>, Vec<Vec<Value>>) =
            self.snapshot.catalog.models().filter_map(|model| self.model(model)).unzip();
        data.extend(models);
        if mapped {
            data.extend(servings.into_iter().flatten());
        }
        let mut seen = HashSet::new();
        data.retain(|entry| seen.insert(entry["id"].as_str().unwrap_or_default().to_owned()));
        data
    }

    /// One model by any name that a request may use.
    pub fn find(&self, id: &str) -> Option<Value> {
        if self.snapshot.aliases.contains_key(id) {
            return self.alias(id);
        }
        if id == AUTO {
            return self.auto();
        }
        if let Some((provider, model)) = id.split_once('/')
            && self.is_enabled(provider)
        {
            let listed = self.lists.get(provider).and_then(|list| list.iter().find(|it| it.id == model));
            let known = self.snapshot.catalog.serving(provider, model).filter(|it| self.is_served(it));
            return match known {
                Some(serving) => Some(self.mapped_entry(serving, model)),
                None => listed
                    .filter(|_| self.may_use(provider, [model; 2], false))
                    .map(|listed| listed_entry(provider, listed)),
            };
        }
        self.model(self.snapshot.catalog.model(id)?).map(|(entry, _)| entry)
    }

    fn resolver(&self) -> Resolver<'_> {
        Resolver { caller: self.caller, ..Resolver::of(self.snapshot) }
    }

    fn aliases(&self) -> Vec<Value> {
        let mut names: Vec<&String> = self.snapshot.aliases.keys().collect();
        names.sort();
        names.into_iter().filter_map(|name| self.alias(name)).collect()
    }

    /// An alias; none when no target can be used now.
    fn alias(&self, name: &str) -> Option<Value> {
        let alias = self.snapshot.aliases.get(name)?;
        let mut entry = self.named_entry(name, "alias")?;
        entry["targets"] = json!(alias.targets);
        Some(entry)
    }

    fn auto(&self) -> Option<Value> {
        self.named_entry(AUTO, "llmgateway")
    }

    /// A name with a meaning of its own; none when nothing can serve it now. It has no `operations` where they
    /// are unknown.
    fn named_entry(&self, name: &str, owner: &str) -> Option<Value> {
        let (mut is_served, mut known) = (false, Vec::new());
        for operation in OPERATIONS {
            let resolver = Resolver { operation, ..self.resolver() };
            let Ok(resolved) = resolver.resolve(name) else { continue };
            if check_same_model(operation, &resolved).is_err() {
                continue;
            }
            is_served = true;
            let serves = |serving: &Arc<Serving>| serving.operations.has(operation);
            if resolved.offers.iter().any(|offer| offer.serving.as_ref().is_some_and(serves)) {
                known.push(operation.as_str());
            }
        }
        let mut entry = json!({"id": name, "object": "model", "created": *STARTED, "owned_by": owner});
        if !known.is_empty() {
            entry["operations"] = json!(known);
        }
        is_served.then_some(entry)
    }

    fn listed(&self) -> Vec<Value> {
        let mut providers: Vec<_> = self.lists.iter().filter(|(id, _)| self.is_enabled(id)).collect();
        providers.sort_by_key(|(id, _)| id.as_str());
        let entries = |(id, list): (&String, &Arc<Vec<ListedModel>>)| -> Vec<Value> {
            let known = |model: &ListedModel| self.snapshot.catalog.serving(id, &model.id);
            let entry = |model: &ListedModel| match known(model) {
                Some(serving) => self.may_use_serving(serving).then(|| self.mapped_entry(serving, &model.id)),
                None => self.may_use(id, [&model.id; 2], false).then(|| listed_entry(id, model)),
            };
            list.iter().filter_map(entry).collect()
        };
        providers.into_iter().flat_map(entries).collect()
    }

    /// A model of the catalog, and the same at each provider; none when no enabled provider serves it any
    /// more.
    fn model(&self, model: &ModelRow) -> Option<(Value, Vec<Value>)> {
        let servings: Vec<_> = model.servings.iter().filter(|serving| self.is_served(serving)).collect();
        let first = servings.first()?;
        let entry = json!({
            "id": model.id,
            "object": "model",
            "created": created(model),
            "owned_by": first.provider,
            "name": model.name,
            "family": model.family,
            "aliases": model.aliases,
            "operations": operations(servings.iter().map(|serving| serving.operations)),
            "providers": servings.iter().map(|serving| provider(serving)).collect::<Vec<_>>(),
        });
        let mapped = servings.iter().map(|serving| self.mapped_entry(serving, &serving.upstream_id));
        Some((entry, mapped.collect()))
    }

    fn mapped_entry(&self, serving: &Serving, name: &str) -> Value {
        let model = self.snapshot.catalog.model(&serving.model);
        json!({
            "id": format!("{}/{name}", serving.provider),
            "object": "model",
            "created": model.map_or(*STARTED, |model| created(model)),
            "owned_by": serving.provider,
            "name": model.map(|model| &model.name),
            "family": model.map(|model| &model.family),
            "operations": operations([serving.operations]),
            "providers": [provider(serving)],
        })
    }

    fn is_enabled(&self, provider: &str) -> bool {
        self.snapshot.providers.get(provider).is_some_and(|provider| provider.disabled().is_none())
    }

    fn is_served(&self, serving: &Serving) -> bool {
        self.is_enabled(&serving.provider) && !serving.is_gone(&self.today) && self.may_use_serving(serving)
    }

    fn may_use_serving(&self, serving: &Serving) -> bool {
        let is_priced = serving.price.is_some() || serving.free;
        self.may_use(&serving.provider, [&serving.upstream_id, &serving.model], is_priced)
    }

    fn may_use(&self, provider: &str, [own, catalog]: [&str; 2], is_priced: bool) -> bool {
        let (Some(caller), Some(handle)) = (self.caller, self.snapshot.providers.get(provider)) else {
            return self.caller.is_none();
        };
        let offered =
            Offered { provider: &handle.settings, names: ["", own, catalog], price_unknown: !is_priced };
        caller.refusal(&offered).is_none()
    }
}

/// The operations of a model at any of its providers.
fn operations(sets: impl IntoIterator<Item = Operations>) -> Vec<&'static str> {
    let every: Operations = sets.into_iter().flat_map(|set| set.iter().collect::<Vec<_>>()).collect();
    every.iter().map(Operation::as_str).collect()
}

fn created(model: &ModelRow) -> i64 {
    model.released.as_deref().and_then(clock::seconds_of).unwrap_or(*STARTED)
}

fn listed_entry(provider: &str, model: &ListedModel) -> Value {
    json!({
        "id": format!("{provider}/{}", model.id),
        "object": "model",
        "created": model.created.unwrap_or(*STARTED),
        "owned_by": provider,
        "providers": [{"provider": provider, "model": model.id, "context_tokens": model.context_tokens}],
    })
}

fn provider(serving: &Serving) -> Value {
    let facts = &serving.facts;
    json!({
        "provider": serving.provider,
        "model": serving.upstream_id,
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "features": facts.features.map(|features| features.iter().map(canon::Feature::as_str).collect::<Vec<_>>()),
        "price_usd_per_unit": serving.price.as_ref().map(unit_prices),
        "price_usd_per_million": serving.price.as_ref().and_then(PriceList::token_rates).map(|rates| {
            let mut prices = Map::new();
            let further = [
                ("input", Some(rates.input)),
                ("output", Some(rates.output)),
                ("cache_read", rates.cache_read),
                ("cache_write", rates.cache_write),
                ("cache_write_1h", rates.cache_write_1h),
                ("audio_input", rates.audio_input),
                ("audio_output", rates.audio_output),
                ("image_output", rates.image_output),
            ];
            for (name, price) in further {
                if let Some(price) = price {
                    prices.insert(name.to_owned(), Value::from(per_million(price)));
                }
            }
            prices
        }),
        "deprecated": serving.deprecated,
    })
}

#[cfg(test)]
mod tests {
    use catalog::Catalog;

    use super::*;
    use crate::config::{ConfigFile, Settings};
    use crate::env::Environment;
    use crate::snapshot::Tools;

    /// A gateway with every provider of the catalog enabled.
    fn all_enabled() -> Snapshot {
        let catalog = Catalog::embedded().unwrap();
        let mut file = String::new();
        for row in catalog.providers() {
            file += &format!("[providers.{}]\nbase_url = \"http://127.0.0.1:9\"\n", row.id);
            if !row.api_key_env.is_empty() {
                file += "api_key = \"k\"\n";
            }
            for name in row.settings.keys().filter(|name| row.needs_setting(name, true)) {
                file += &format!("{name} = \"x\"\n");
            }
        }
        let file = ConfigFile::parse(&file).unwrap();
        let settings = Settings::build(&file, &Environment::default(), catalog).unwrap();
        Snapshot::first(settings, &Tools::for_commands().unwrap())
    }

    #[test]
    fn every_listed_model_of_the_catalog_is_available_and_has_a_date() {
        let snapshot = all_enabled();
        let (lists, today) = (Lists::new(), clock::today());
        let models = Models::new(&snapshot, &lists);
        let list = models.list(true);
        assert!(list.len() > 400, "{}", list.len());
        for entry in &list {
            assert!(entry["created"].as_i64().unwrap() > 1_500_000_000, "{entry}");
            for provider in entry["providers"].as_array().into_iter().flatten() {
                let end = provider["deprecated"].as_str();
                assert!(end.is_none_or(|end| end > today.as_str()), "{entry}");
            }
            let id = entry["id"].as_str().unwrap();
            assert!(models.find(id).is_some(), "{id}");
        }
        let retired = snapshot.catalog.models().flat_map(|model| &model.servings);
        let retired: Vec<_> = retired.filter(|serving| serving.is_gone(&today)).collect();
        assert!(!retired.is_empty());
        for serving in retired {
            let id = format!("{}/{}", serving.provider, serving.upstream_id);
            assert!(list.iter().all(|entry| entry["id"] != id.as_str()), "{id}");
        }
    }
}
