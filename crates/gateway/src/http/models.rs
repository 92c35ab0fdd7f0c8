//! `GET /v1/models`: OpenAI's shape, plus who serves each model, for how much, and what it can do.

use canon::Pico;
use catalog::{ModelRow, Serving};
use serde_json::{Map, Value, json};

use crate::calendar;
use crate::snapshot::Snapshot;

/// The list, of what enabled providers serve. Aliases come first.
pub fn list(snapshot: &Snapshot) -> Value {
    let mut data: Vec<Value> = snapshot
        .aliases
        .iter()
        .map(|(name, alias)| json!({"id": name, "object": "model", "created": 0, "owned_by": "alias", "targets": alias.targets}))
        .collect();
    data.sort_by(|left, right| left["id"].as_str().cmp(&right["id"].as_str()));
    data.extend(snapshot.catalog.models().filter_map(|model| entry(snapshot, model)));
    json!({"object": "list", "data": data})
}

/// One model; none when no enabled provider serves it.
pub fn entry(snapshot: &Snapshot, model: &ModelRow) -> Option<Value> {
    let is_enabled = |serving: &&std::sync::Arc<Serving>| {
        snapshot.providers.get(&serving.provider).is_some_and(|provider| provider.disabled().is_none())
    };
    let servings: Vec<_> = model.servings.iter().filter(is_enabled).collect();
    let first = servings.first()?;
    Some(json!({
        "id": model.id,
        "object": "model",
        "created": model.released.as_deref().map_or(0, calendar::seconds_of),
        "owned_by": first.provider,
        "name": model.name,
        "family": model.family,
        "aliases": model.aliases,
        "providers": servings.iter().map(|serving| provider(serving)).collect::<Vec<_>>(),
    }))
}

fn provider(serving: &Serving) -> Value {
    let facts = &serving.facts;
    json!({
        "provider": serving.provider,
        "model": serving.upstream_id,
        "context_tokens": facts.context_tokens,
        "max_output_tokens": facts.max_output_tokens,
        "features": facts.features.map(|features| features.iter().map(canon::Feature::as_str).collect::<Vec<_>>()),
        "price_usd_per_million": serving.price.as_ref().map(|price| {
            let rates = &price.rates;
            let mut prices = Map::new();
            let further = [
                ("input", Some(rates.input)),
                ("output", Some(rates.output)),
                ("cache_read", rates.cache_read),
                ("cache_write", rates.cache_write),
                ("cache_write_1h", rates.cache_write_1h),
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

/// A price per token as a decimal string per million tokens.
pub fn per_million(price: Pico) -> String {
    (price * 1_000_000).to_string()
}
