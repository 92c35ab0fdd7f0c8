//! Recorded exchanges with real providers. They live outside of the repository; tests that need them say that they
//! skipped when they are absent. `LLMGATEWAY_CORPUS` overrides where they are looked for.

use std::path::PathBuf;

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub struct Record {
    /// `provider/source--test--n`.
    pub id: String,
    /// Who answered.
    pub provider: String,
    /// Which API: `chat`, `messages`, `generateContent`, `converse-stream` …
    pub api: String,
    /// The model asked for.
    pub model: String,
    /// The answer is a stream.
    pub streaming: bool,
    /// HTTP status.
    pub status: u16,
    /// Response headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The response body as it went over the wire.
    pub body: Vec<u8>,
    /// The JSON body of the request, where recorded.
    pub request: Option<Value>,
    /// What the exchange shows (`tools`, `thinking`, `sse_crlf` …).
    pub features: Vec<String>,
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    provider: String,
    api: String,
    model: Option<String>,
    streaming: bool,
    request: Option<Value>,
    response: Value,
    #[serde(default)]
    features: Vec<String>,
}

/// The folder of recordings, if there is one.
#[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
pub fn folder() -> Option<PathBuf> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    let folder = std::env::var_os("LLMGATEWAY_CORPUS").map_or_else(default, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// Every record of a provider that has a body, in the order of file names. Empty, with a word on standard error, when
/// there are no recordings on this machine.
pub fn records(provider: &str) -> Vec<Record> {
    let Some(folder) = folder() else {
        let count = listed().find(|(name, _)| *name == provider).map_or(0, |(_, count)| count);
        eprintln!("skipped: {count} recorded exchanges with {provider} (set LLMGATEWAY_CORPUS)");
        return Vec::new();
    };
    let Ok(entries) = std::fs::read_dir(folder.join(provider)) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| read(path)).collect()
}

/// Every record of other endpoints than conversations that has a body, in both folders of recordings.
#[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
pub fn other_records(provider: &str) -> Vec<Record> {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus-other"));
    let other = std::env::var_os("LLMGATEWAY_CORPUS_OTHER").map_or_else(default, PathBuf::from);
    let folders = [Some(other), folder()];
    let entries =
        folders.into_iter().flatten().filter_map(|folder| std::fs::read_dir(folder.join(provider)).ok());
    let mut paths: Vec<_> = entries.flat_map(|entries| entries.flatten().map(|entry| entry.path())).collect();
    paths.sort();
    if paths.is_empty() {
        eprintln!("skipped: recorded exchanges with {provider} (set LLMGATEWAY_CORPUS_OTHER)");
    }
    paths.iter().filter_map(|path| read(path)).collect()
}

/// How many exchanges there are of each provider: what a machine without recordings did not run.
pub fn listed() -> impl Iterator<Item = (&'static str, usize)> {
    let lines = include_str!("../recordings.txt").lines();
    lines.filter_map(|line| {
        let (provider, count) = line.split_once(' ')?;
        Some((provider, count.parse().ok()?))
    })
}

fn read(path: &std::path::Path) -> Option<Record> {
    let raw: Raw = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let response = raw.response;
    let body = body_of(&response, &raw.api)?;
    let headers = response["headers"].as_object().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    Value::Array(values) => values.first().and_then(Value::as_str).unwrap_or_default(),
                    value => value.as_str().unwrap_or_default(),
                };
                (name.to_lowercase(), value.to_owned())
            })
            .collect()
    });
    Some(Record {
        id: raw.id,
        provider: raw.provider,
        api: raw.api,
        model: raw.model.unwrap_or_default(),
        streaming: raw.streaming,
        status: response["status"].as_u64().unwrap_or(200) as u16,
        headers,
        body,
        request: raw.request.map(|mut request| request["body"].take()).filter(|body| !body.is_null()),
        features: raw.features,
    })
}

fn body_of(response: &Value, api: &str) -> Option<Vec<u8>> {
    if let Some(text) = response["body_text"].as_str() {
        return Some(text.as_bytes().to_vec());
    }
    if let Some(text) = response["body_base64"].as_str() {
        return base64::engine::general_purpose::STANDARD.decode(text).ok();
    }
    if let Some(chunks) = response["chunks"].as_array() {
        return framed(chunks, api);
    }
    let body = response.get("body")?;
    serde_json::to_vec(body).ok()
}

/// Events whose framing was not recorded, framed as server-sent events. None for binary streams.
fn framed(chunks: &[Value], api: &str) -> Option<Vec<u8>> {
    if api.contains("converse") || api.contains("invoke") {
        return None;
    }
    let mut body = String::new();
    for chunk in chunks {
        if let (Some(kind), "messages" | "responses" | "chat-native") = (chunk["type"].as_str(), api) {
            body.push_str(&format!("event: {kind}\n"));
        }
        body.push_str(&format!("data: {chunk}\n\n"));
    }
    if api == "chat" {
        body.push_str("data: [DONE]\n\n");
    }
    Some(body.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_recording_is_missing_where_there_are_any() {
        let Some(folder) = folder() else { return };
        for (provider, count) in listed() {
            let found = std::fs::read_dir(folder.join(provider)).map_or(0, Iterator::count);
            assert!(found >= count, "{provider}: {found} of {count} recordings");
        }
    }
}
