//! Exchanges with providers that tests replay: a few of our own in `fixtures`, and many recordings of real
//! providers, which are not in the repository. Both have the same form and run through the same tests, so
//! that each test proves something on every machine. `LLMGATEWAY_CORPUS` overrides the folder of recordings.

use std::path::{Path, PathBuf};

use base64::Engine;
use serde::Deserialize;
use serde_json::Value;

/// One recorded exchange.
#[derive(Debug)]
pub struct Record {
    /// `provider/source--test--n`.
    pub id: String,
    /// The provider that answered.
    pub provider: String,
    /// Which API: `chat`, `messages`, `generateContent`, `converse-stream` …
    pub api: String,
    /// The requested model.
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

impl Record {
    /// Whether it is of our own making: its token counts were not measured.
    pub fn is_own(&self) -> bool {
        self.id.starts_with("own/")
    }
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
pub fn folder() -> Option<PathBuf> {
    Some(place()).filter(|folder| folder.is_dir())
}

/// The folder in which recordings are searched.
#[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
fn place() -> PathBuf {
    let default = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/corpus"));
    std::env::var_os("LLMGATEWAY_CORPUS").map_or_else(default, PathBuf::from)
}

/// Every exchange with a provider that has a body: our own first, then the recordings, in the order of file names.
/// Standard error names the recordings that are not on this machine.
pub fn records(provider: &str) -> Vec<Record> {
    let own = paths(&fixtures().join(provider));
    let recorded = match folder() {
        Some(folder) => paths(&folder.join(provider)),
        None => {
            let count = listed().find(|(name, _)| *name == provider).map_or(0, |(_, count)| count);
            eprintln!("not run: {count} recorded exchanges with {provider} (set LLMGATEWAY_CORPUS)");
            Vec::new()
        }
    };
    own.iter().chain(&recorded).filter_map(|path| read(path)).collect()
}

/// The exchanges of these providers that a test is about. At least one of our own is always included.
#[track_caller]
pub fn cases<'a>(
    providers: impl IntoIterator<Item = &'a str>,
    is_case: impl Fn(&Record) -> bool,
) -> Vec<Record> {
    let cases: Vec<_> = providers.into_iter().flat_map(records).filter(is_case).collect();
    assert!(!cases.is_empty(), "no exchange of our own is a case of this test");
    cases
}

/// The folder of exchanges of our own making.
pub fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// Fails unless a test had enough cases: at least one of our own, and with recordings on this machine at least
/// `recorded` in all.
#[track_caller]
pub fn assert_enough(cases: usize, recorded: usize) {
    let least = if folder().is_some() { recorded.max(1) } else { 1 };
    assert!(cases >= least, "{cases} cases, at least {least} were expected");
}

fn paths(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Every exchange with other endpoints than conversations that has a body: our own, and recordings from
/// `corpus-other` beside the folder of recordings and from that folder itself.
pub fn other_records(provider: &str) -> Vec<Record> {
    let folders = [Some(fixtures()), Some(place().with_file_name("corpus-other")), folder()];
    let mut paths: Vec<_> =
        folders.into_iter().flatten().flat_map(|folder| paths(&folder.join(provider))).collect();
    paths.sort();
    if paths.iter().all(|path| path.starts_with(fixtures())) {
        eprintln!("not run: recorded exchanges with {provider} (set LLMGATEWAY_CORPUS)");
    }
    paths.iter().filter_map(|path| read(path)).collect()
}

/// The number of exchanges of each provider: the cases that a machine without recordings did not run.
pub fn listed() -> impl Iterator<Item = (&'static str, usize)> {
    let lines = include_str!("../recordings.txt").lines();
    lines.filter_map(|line| {
        let (provider, count) = line.split_once(' ')?;
        Some((provider, count.parse().ok()?))
    })
}

fn read(path: &Path) -> Option<Record> {
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
        return Some(framed(chunks, api));
    }
    let body = response.get("body")?;
    serde_json::to_vec(body).ok()
}

/// Events without their framing, framed as the API does.
fn framed(chunks: &[Value], api: &str) -> Vec<u8> {
    if api.starts_with("converse") {
        return event_stream(chunks);
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
    body.into_bytes()
}

/// Events `{"kind": payload}` as messages of `application/vnd.amazon.eventstream`: lengths, headers and checksums as in
/// the specification of Smithy's event streams.
fn event_stream(events: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, payload) in events.iter().filter_map(Value::as_object).flatten() {
        let mut headers = Vec::new();
        let described =
            [(":event-type", &**kind), (":content-type", "application/json"), (":message-type", "event")];
        for (name, value) in described {
            headers.push(name.len() as u8);
            headers.extend_from_slice(name.as_bytes());
            headers.push(7); // The type of a string.
            headers.extend_from_slice(&(value.len() as u16).to_be_bytes());
            headers.extend_from_slice(value.as_bytes());
        }
        let payload = payload.to_string();
        let start = body.len();
        let total = 12 + headers.len() + payload.len() + 4;
        body.extend_from_slice(&(total as u32).to_be_bytes());
        body.extend_from_slice(&(headers.len() as u32).to_be_bytes());
        body.extend_from_slice(&crc32fast::hash(&body[start..]).to_be_bytes());
        body.extend_from_slice(&headers);
        body.extend_from_slice(payload.as_bytes());
        body.extend_from_slice(&crc32fast::hash(&body[start..]).to_be_bytes());
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_own_exchange_can_be_read_and_has_the_path_of_its_id() {
        let mut count = 0;
        for folder in paths(&fixtures()) {
            for path in paths(&folder) {
                let record = read(&path).unwrap_or_else(|| panic!("{}", path.display()));
                let place = path.strip_prefix(fixtures()).unwrap().with_extension("");
                assert_eq!(format!("own/{}", place.display()), record.id);
                assert!(record.status >= 400 || record.request.is_some(), "{}: no request", record.id);
                count += 1;
            }
        }
        assert!(count > 100, "{count}");
    }

    #[test]
    fn a_folder_of_recordings_is_complete() {
        let Some(folder) = folder() else { return };
        for (provider, count) in listed() {
            let found = std::fs::read_dir(folder.join(provider)).map_or(0, Iterator::count);
            assert!(found >= count, "{provider}: {found} of {count} recordings");
        }
    }
}
