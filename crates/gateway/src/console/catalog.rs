//! The catalog in force, for the dashboard.

use canon::Feature;
use catalog::{ModelRow, Serving};
use console::gateway::{Model, Models, Offer, Price};

use super::View;
use super::operations::per_million;
use crate::snapshot::Snapshot;

impl Models for View {
    fn models(&self) -> Vec<Model> {
        let snapshot = self.current.get();
        let today = crate::clock::today();
        snapshot.catalog.models().map(|row| model(&snapshot, row, &today)).collect()
    }

    fn aliases(&self) -> Vec<(String, Vec<String>)> {
        let snapshot = self.current.get();
        let mut aliases: Vec<_> =
            snapshot.aliases.iter().map(|(name, alias)| (name.clone(), alias.targets.clone())).collect();
        aliases.sort();
        aliases
    }
}

fn model(snapshot: &Snapshot, row: &ModelRow, today: &str) -> Model {
    let facts = row.servings.first().map(|serving| &serving.facts);
    let has = |serving: &Serving, feature: Feature| {
        serving.facts.features.is_some_and(|features| features.has(feature))
    };
    let features: Vec<Feature> = Feature::ALL
        .into_iter()
        .filter(|feature| row.servings.iter().any(|serving| has(serving, *feature)))
        .collect();
    let offer = |serving: &Serving| Offer {
        provider: serving.provider.clone(),
        id: serving.upstream_id.clone(),
        on: !serving.is_gone(today)
            && snapshot.providers.get(&serving.provider).is_some_and(|it| it.disabled().is_none()),
        price: price(serving),
        context: serving.facts.context_tokens,
        lacks: features
            .iter()
            .filter(|feature| !has(serving, **feature))
            .map(|feature| feature.as_str().to_owned())
            .collect(),
        last_day: serving.deprecated.clone(),
    };
    Model {
        id: row.id.clone(),
        name: row.name.clone(),
        context: facts.and_then(|facts| facts.context_tokens),
        longest_answer: facts.and_then(|facts| facts.max_output_tokens),
        offers: row.servings.iter().map(|serving| offer(serving)).collect(),
        features: features.into_iter().map(Feature::as_str).collect(),
    }
}

fn price(serving: &Serving) -> Option<Price> {
    match &serving.price {
        Some(list) => list.token_rates().map(|rates| Price {
            input: per_million(rates.input),
            cached: rates.cache_read.map(per_million),
            output: per_million(rates.output),
        }),
        None if serving.free => Some(Price { input: canon::Pico(0), cached: None, output: canon::Pico(0) }),
        None => None,
    }
}
