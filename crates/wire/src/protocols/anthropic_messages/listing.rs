//! Everything but conversations: models as `GET /v1/models` lists them for callers of this format, and token
//! counts.

use canon::{Error, Result};
use serde::Deserialize;
use serde_json::{Value, json};

/// The default and the maximum page size ("List models" in the reference).
const USUAL_PAGE: usize = 20;
const LARGEST_PAGE: usize = 1000;

/// One model, from its entry in OpenAI's format.
pub(super) fn model(entry: &Value) -> Value {
    let best = |name: &str| {
        let providers = entry["providers"].as_array().map(Vec::as_slice).unwrap_or_default();
        providers.iter().filter_map(|provider| provider[name].as_u64()).max()
    };
    json!({
        "type": "model",
        "id": entry["id"],
        "display_name": entry["name"].as_str().or(entry["id"].as_str()),
        "created_at": time_of(entry["created"].as_i64().unwrap_or(0).max(0)),
        "max_input_tokens": best("context_tokens"),
        "max_tokens": best("max_output_tokens"),
    })
}

/// A page of the list: `limit`, `after_id`, `before_id`.
pub(super) fn page(entries: &[Value], query: &str) -> Result<Value> {
    let given = |wanted: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, text)| *name == wanted && !text.is_empty()).map(|(_, text)| text)
    };
    let limit = match given("limit").map(str::parse::<usize>) {
        None => USUAL_PAGE,
        Some(Ok(limit)) if (1..=LARGEST_PAGE).contains(&limit) => limit,
        Some(_) => {
            let message = format!("limit must be a number from 1 to {LARGEST_PAGE}.");
            return Err(Error::invalid("limit", message));
        }
    };
    let place = |id: &str| {
        let id = id.replace("%2F", "/").replace("%2f", "/").replace("%3A", ":").replace("%3a", ":");
        entries.iter().position(|entry| entry["id"] == id.as_str())
    };
    let start = given("after_id").and_then(place).map_or(0, |at| at + 1);
    let end = given("before_id").and_then(place).unwrap_or(entries.len()).max(start);
    let (first, last) = match given("before_id") {
        Some(_) => (end.saturating_sub(limit).max(start), end),
        None => (start, end.min(start + limit)),
    };
    let has_more = if given("before_id").is_some() { first > start } else { last < end };
    let data: Vec<Value> = entries[first..last].iter().map(model).collect();
    let id = |entry: Option<&Value>| entry.map_or(Value::Null, |entry| entry["id"].clone());
    Ok(
        json!({ "first_id": id(data.first()), "last_id": id(data.last()), "has_more": has_more, "data": data }),
    )
}

/// A provider's count.
pub(super) fn token_count(body: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    serde_json::from_slice::<Count>(body).ok().map(|count| count.input_tokens)
}

/// Unix seconds as `2025-11-26T18:20:01Z`.
fn time_of(seconds: i64) -> String {
    let (date, rest) = (canon::date::date_of(seconds / 86_400), seconds % 86_400);
    let (hours, minutes, seconds) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{date}T{hours:02}:{minutes:02}:{seconds:02}Z")
}
