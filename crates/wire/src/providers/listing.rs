//! A provider's list of models: the request and the answer.

use bytes::Bytes;
use canon::Result;
use http::Method;
use http::header::CONTENT_TYPE;
use serde::Deserialize;

use super::Call;
use super::compatible::post;
use crate::Protocol;

/// Most models that are taken from one list.
pub const MOST_MODELS: usize = 1000;
/// Longest id of a model that is taken.
const LONGEST_ID: usize = 512;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedModel {
    /// The provider's own id.
    pub id: String,
    /// Creation time in Unix seconds, where the list has it.
    pub created: Option<i64>,
    /// Prompt and answer together, where the list has it.
    pub context_tokens: Option<u64>,
}

/// The request for the list; none for a format without a supported list. Only base URL, protocol, credential
/// and headers of the call are used.
pub fn list_request(call: &Call<'_>) -> Option<Result<http::Request<Bytes>>> {
    let path = match call.protocol {
        Protocol::OpenaiChat | Protocol::OpenaiCompletions => "/models",
        Protocol::AnthropicMessages => "/v1/models",
        Protocol::OllamaChat => "/api/tags",
        _ => return None,
    };
    Some(post(call, &format!("{}{path}", call.base_url)).map(|mut request| {
        *request.method_mut() = Method::GET;
        *request.body_mut() = Bytes::new();
        request.headers_mut().remove(CONTENT_TYPE);
        request
    }))
}

/// Reads a list. Entries that are not understood are skipped; none when the body is not a list.
pub fn read_list(body: &[u8]) -> Option<Vec<ListedModel>> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Data { data: Vec<serde_json::Value> },
        Models { models: Vec<serde_json::Value> },
        Bare(Vec<serde_json::Value>),
    }
    let (List::Data { data: list } | List::Models { models: list } | List::Bare(list)) =
        serde_json::from_slice(body).ok()?;
    Some(list.iter().filter_map(model).take(MOST_MODELS).collect())
}

fn model(entry: &serde_json::Value) -> Option<ListedModel> {
    let id = ["id", "name", "model"].iter().find_map(|name| entry.get(name)?.as_str())?;
    let is_plain = (1..=LONGEST_ID).contains(&id.len()) && !id.chars().any(char::is_control);
    let number = |names: &[&str]| names.iter().find_map(|name| entry.get(name)?.as_u64());
    is_plain.then(|| ListedModel {
        id: id.to_owned(),
        created: entry.get("created").and_then(serde_json::Value::as_i64).filter(|created| *created > 0),
        context_tokens: number(&["max_model_len", "context_length", "context_window", "max_context_length"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(body: &str) -> Vec<String> {
        read_list(body.as_bytes()).unwrap().into_iter().map(|model| model.id).collect()
    }

    #[test]
    fn lists_of_every_form_are_read() {
        let openai = r#"{"object":"list","data":[{"id":"qwen","created":1700000000,"max_model_len":32768},{"id":""},{"x":1}]}"#;
        assert_eq!(
            read_list(openai.as_bytes()).unwrap(),
            [ListedModel { id: "qwen".into(), created: Some(1_700_000_000), context_tokens: Some(32_768) }]
        );
        assert_eq!(
            ids(r#"{"models":[{"name":"llama3.2:latest","model":"llama3.2:latest"}]}"#),
            ["llama3.2:latest"]
        );
        assert_eq!(ids(r#"[{"id":"a"},{"id":"b\nc"}]"#), ["a"]);
        assert_eq!(read_list(b"<html>"), None);
    }

    #[test]
    fn a_list_is_bounded() {
        let entries: Vec<String> = (0..5000).map(|number| format!(r#"{{"id":"m{number}"}}"#)).collect();
        assert_eq!(ids(&format!(r#"{{"data":[{}]}}"#, entries.join(","))).len(), MOST_MODELS);
        let long = "x".repeat(LONGEST_ID + 1);
        assert!(ids(&format!(r#"{{"data":[{{"id":"{long}"}}]}}"#)).is_empty());
    }
}
