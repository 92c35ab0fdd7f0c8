//! The lists of models, in the shape of the API that the caller speaks.

use crate::format::{Call, Reply};
use serde_json::{Value, json};

const NAMES: [&str; 2] = ["echo", "mock-model"];

/// `GET …/models`: Anthropic's list for callers who send its version header, Google's under `/v1beta`, else
/// OpenAI's.
pub fn list(call: &Call) -> Reply {
    let data: Vec<Value> = NAMES.iter().map(|name| model(call, name)).collect();
    let list = match shape(call) {
        ListShape::Anthropic => {
            json!({ "data": data, "has_more": false, "first_id": NAMES[0], "last_id": NAMES[NAMES.len() - 1] })
        }
        ListShape::Google => json!({ "models": data }),
        ListShape::OpenAi => json!({ "object": "list", "data": data }),
    };
    Reply::json(200, &list)
}

/// `GET …/models/NAME`: every name is a model.
pub fn one(call: &Call) -> Reply {
    let name = call.path.split_once("/models/").map_or("", |(_, name)| name);
    Reply::json(200, &model(call, name))
}

enum ListShape {
    Anthropic,
    Google,
    OpenAi,
}

fn shape(call: &Call) -> ListShape {
    if call.headers.contains_key("anthropic-version") {
        return ListShape::Anthropic;
    }
    if call.path.contains("/v1beta/") { ListShape::Google } else { ListShape::OpenAi }
}

fn model(call: &Call, name: &str) -> Value {
    match shape(call) {
        ListShape::Anthropic => json!({
            "type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"
        }),
        ListShape::Google => json!({
            "name": format!("models/{name}"), "version": "001", "displayName": name,
            "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536,
            "supportedGenerationMethods": ["generateContent", "countTokens"]
        }),
        ListShape::OpenAi => {
            json!({ "id": name, "object": "model", "created": call.created, "owned_by": "mock" })
        }
    }
}
