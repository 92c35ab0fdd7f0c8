//! `GET /v1/models`: OpenAI's shape, plus who serves each model, for how much, and what it can do.

use canon::Pico;
use catalog::{ModelRow, Serving};
use serde_json::{Map, Value, json};

use crate::live::Live;

/// The list, of what enabled providers serve. Aliases come first.
pub fn list(live: &Live) -> Value {
    let mut data: Vec<Value> = live
        .aliases
        .iter()
        .map(|(name, alias)| json!({"id": name, "object": "model", "created": 0, "owned_by": "alias", "targets": alias.targets}))
        .collect();
    data.sort_by(|left, right| left["id"].as_str().cmp(&right["id"].as_str()));
    data.extend(live.catalog.models().filter_map(|model| entry(live, model)));
    json!({"object": "list", "data": data})
}

/// One model; none when no enabled provider serves it.
pub fn entry(live: &Live, model: &ModelRow) -> Option<Value> {
    let is_enabled = |serving: &&std::sync::Arc<Serving>| {
        live.providers.get(&serving.provider).is_some_and(|provider| provider.disabled().is_none())
    };
    let servings: Vec<_> = model.servings.iter().filter(is_enabled).collect();
    let first = servings.first()?;
    Some(json!({
        "id": model.id,
        "object": "model",
        "created": created(model.released.as_deref()),
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

/// Unix seconds of a date such as `2025-09-29`; 0 when unknown.
fn created(released: Option<&str>) -> i64 {
    let mut numbers = released.unwrap_or("").split('-').map(|part| part.parse::<i64>().unwrap_or(0));
    let (Some(year), Some(month)) = (numbers.next(), numbers.next()) else { return 0 };
    let day = numbers.next().unwrap_or(1);
    // Days from the civil date, counting years from March.
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    (days * 86_400).max(0)
}

#[cfg(test)]
mod tests {
    use super::created;

    #[test]
    fn dates_become_seconds() {
        assert_eq!(created(Some("1970-01-01")), 0);
        assert_eq!(created(Some("2024-02-29")), 1_709_164_800);
        assert_eq!(created(Some("2025-09-29")), 1_759_104_000);
        assert_eq!(created(None), 0);
    }
}
