//! Everything but conversations: models in the format of Google's `models.list` and `models.get`, and token
//! counts.

use canon::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::protocols::has_chat;

/// The default and the maximum page size ("models.list" in the reference).
const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// One model, from its entry in OpenAI's format. Members beyond Google's are in a separate object.
pub(super) fn model(entry: &Value) -> Value {
    let id = entry["id"].as_str().unwrap_or_default();
    let first = &entry["providers"][0];
    let features = first["features"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut model = Map::new();
    let mut put = |name: &str, value: Value| model.insert(name.to_owned(), value);
    put("name", json!(format!("models/{id}")));
    put("baseModelId", json!(id));
    put("version", json!(""));
    put("displayName", json!(entry["name"].as_str().unwrap_or(id)));
    put("description", json!(""));
    for (name, known) in
        [("inputTokenLimit", &first["context_tokens"]), ("outputTokenLimit", &first["max_output_tokens"])]
    {
        if !known.is_null() {
            put(name, known.clone());
        }
    }
    // Nothing else is served in this format.
    let methods: &[&str] =
        if has_chat(entry) { &["generateContent", "streamGenerateContent", "countTokens"] } else { &[] };
    put("supportedGenerationMethods", json!(methods));
    put("thinking", json!(features.iter().any(|feature| feature == "reasoning")));
    Value::Object(model)
}

pub(super) fn page(entries: Vec<Value>, query: &str) -> Result<Value> {
    let given = |wanted: &[&str]| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, text)| wanted.contains(name) && !text.is_empty()).map(|(_, text)| text).next()
    };
    let size = match given(&["pageSize", "page_size"]) {
        None => USUAL_PAGE,
        Some(text) => match text.parse::<usize>() {
            Ok(0) => USUAL_PAGE,
            Ok(size) => size.min(LARGEST_PAGE),
            Err(_) => return Err(Error::invalid("pageSize", "pageSize must be a whole number of models.")),
        },
    };
    let start = match given(&["pageToken", "page_token"]) {
        None => 0,
        Some(text) => {
            text.parse::<usize>().ok().filter(|start| *start <= entries.len()).ok_or_else(|| {
                Error::invalid("pageToken", "pageToken must be the nextPageToken of the page before.")
            })?
        }
    };
    let end = (start + size).min(entries.len());
    let models: Vec<Value> = entries[start..end].iter().map(model).collect();
    let mut list = json!({"models": models});
    if end < entries.len() {
        list["nextPageToken"] = json!(end.to_string());
    }
    Ok(list)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CountAnswer {
    total_tokens: u64,
}

/// The count of an answer to `countTokens`.
pub(super) fn token_count(body: &[u8]) -> Option<u64> {
    serde_json::from_slice::<CountAnswer>(body).ok().map(|counted| counted.total_tokens)
}
