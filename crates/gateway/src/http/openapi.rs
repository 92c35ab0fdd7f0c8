//! The OpenAPI document, generated from the table of routes. Bodies are described loosely: their formats
//! belong to other APIs, and unknown fields pass through.

use std::sync::LazyLock;

use bytes::Bytes;
use canon::Operation;
use serde_json::{Map, Value, json};
use wire::Protocol;

use super::routes::{Access, ROUTES, Route, Serve, about};

const COMPONENTS: &str = include_str!("openapi/components.json");

/// The document as JSON.
pub fn document() -> Bytes {
    static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| written().into());
    DOCUMENT.clone()
}

fn written() -> String {
    let mut paths = Map::new();
    for route in described() {
        let path = paths.entry(route.path).or_insert_with(|| Value::Object(Map::new()));
        path[route.method.as_str().to_ascii_lowercase()] = operation(route);
    }
    let components: Value = serde_json::from_str(COMPONENTS).unwrap_or_default();
    let document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "llmgateway",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "One endpoint for all model providers, in the caller's API format.",
        },
        "paths": paths,
        "components": components,
    });
    format!("{document:#}\n")
}

/// The names of the schemas of a route's bodies.
#[derive(Default)]
struct Bodies {
    request: Option<&'static str>,
    answer: Option<&'static str>,
    /// An event of a streamed answer.
    event: Option<&'static str>,
}

fn bodies(serve: Serve) -> Bodies {
    let chat =
        |request, answer, event| Bodies { request: Some(request), answer: Some(answer), event: Some(event) };
    let answer = |answer| Bodies { answer: Some(answer), ..Bodies::default() };
    match serve {
        Serve::Chat(Protocol::AnthropicMessages) => chat("MessagesRequest", "Message", "MessagesEvent"),
        Serve::Chat(Protocol::Gemini) => {
            chat("GenerateContentRequest", "GenerateContentResponse", "GenerateContentResponse")
        }
        Serve::Chat(Protocol::OpenaiResponses) => chat("ResponsesRequest", "Response", "ResponsesEvent"),
        Serve::Chat(_) => chat("ChatCompletionRequest", "ChatCompletion", "ChatCompletionChunk"),
        Serve::Completions => chat("CompletionRequest", "Completion", "Completion"),
        Serve::CountTokens(Protocol::OpenaiResponses) => {
            Bodies { request: Some("ResponsesRequest"), ..answer("ResponsesTokenCount") }
        }
        Serve::CountTokens(_) => Bodies { request: Some("MessagesRequest"), ..answer("MessagesTokenCount") },
        Serve::Endpoint(Operation::Embeddings) => {
            Bodies { request: Some("EmbeddingsRequest"), ..answer("Embeddings") }
        }
        Serve::Endpoint(Operation::Rerank) => Bodies { request: Some("RerankRequest"), ..answer("Ranking") },
        Serve::Endpoint(Operation::Moderations) => {
            Bodies { request: Some("ModerationsRequest"), ..answer("Moderations") }
        }
        Serve::Endpoint(Operation::ImageGenerations | Operation::ImageEdits) => {
            chat("ImagesRequest", "Images", "MediaEvent")
        }
        Serve::Endpoint(Operation::Speech) => {
            Bodies { request: Some("SpeechRequest"), answer: None, event: Some("MediaEvent") }
        }
        Serve::Endpoint(Operation::Transcriptions | Operation::Translations) => {
            Bodies { event: Some("MediaEvent"), ..answer("Transcription") }
        }
        Serve::Stored => answer("Response"),
        Serve::Conversations => answer("Conversation"),
        Serve::Models(Protocol::Gemini) => answer("GeminiModelList"),
        Serve::Models(_) => answer("ModelList"),
        Serve::Model(Protocol::Gemini) => answer("GeminiModel"),
        Serve::Model(_) => answer("Model"),
        Serve::Metrics | Serve::Passthrough | Serve::NotYet => Bodies::default(),
        _ => answer("Object"),
    }
}

/// Routes of the API. Pages of the dashboard are for people.
fn described() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().filter(|route| route.serve != Serve::Console)
}

fn operation(route: &Route) -> Value {
    let serve = route.serve;
    let words = route.path.split(['/', '{', '}', '.']).filter(|word| !word.is_empty());
    let id: Vec<&str> = std::iter::once(route.method.as_str()).chain(words).collect();
    let mut operation = json!({ "operationId": id.join("_").to_ascii_lowercase() });
    if serve == Serve::NotYet {
        operation["summary"] = json!("Not served: the answer is 404.");
        operation["responses"] = json!({ "404": failure(serve) });
    } else {
        operation["summary"] = json!(about(serve));
        operation["responses"] = json!({ "200": success(serve), "default": failure(serve) });
    }
    if route.access == Access::Operator {
        operation["description"] = json!("Served only at the operator's listener if one is configured.");
    }
    if route.access == Access::Admin {
        operation["description"] = json!("Needs an admin key.");
    }
    if route.access == Access::Viewer {
        operation["description"] = json!("Needs a viewer or admin key.");
    }
    if route.access.needs_key() {
        let schemes = ["bearer", "x-api-key", "api-key", "x-goog-api-key", "key"];
        operation["security"] = schemes.map(|scheme| json!({ scheme: [] })).into();
    }
    let parameters = parameters(route);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    let writes = matches!(serve, Serve::Admin(_) | Serve::Conversations)
        && ["POST", "PATCH"].contains(&route.method.as_str());
    if let Some(name) = bodies(serve).request.or(writes.then_some("Object")) {
        let content = json!({ "application/json": { "schema": schema(name) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    if let Some(form) = form(serve) {
        let content = &mut operation["requestBody"]["content"]["multipart/form-data"];
        content["schema"] = schema(form);
        operation["requestBody"]["required"] = json!(true);
    }
    operation
}

/// The schema of a route's request as a form.
fn form(serve: Serve) -> Option<&'static str> {
    match serve {
        Serve::Endpoint(Operation::Transcriptions | Operation::Translations) => Some("TranscriptionForm"),
        Serve::Endpoint(Operation::ImageEdits) => Some("ImageEditForm"),
        _ => None,
    }
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut parameters = Vec::new();
    if let Some((_, name)) = route.path.trim_end_matches('}').split_once('{') {
        parameters.push(json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
            "description": "The remaining path, including slashes.",
        }));
    }
    if route.serve.is_answered_by_model() {
        let names =
            ["no_fallback", "strict", "explain", "cache", "no_cache", "metadata", "session", "traceparent"];
        parameters.extend(names.map(|name| json!({ "$ref": format!("#/components/parameters/{name}") })));
    }
    parameters
}

fn success(serve: Serve) -> Value {
    let mut content = Map::new();
    let Bodies { answer, event, .. } = bodies(serve);
    let types = [("application/json", answer), ("text/event-stream", event)];
    for (kind, name) in types.into_iter().filter_map(|(kind, name)| Some((kind, name?))) {
        content.insert(kind.to_owned(), json!({ "schema": schema(name) }));
    }
    if serve == Serve::Metrics {
        content.insert("text/plain".to_owned(), json!({ "schema": { "type": "string" } }));
    }
    if serve == Serve::Endpoint(Operation::Speech) {
        let sound = json!({ "type": "string", "format": "binary" });
        content.insert("audio/*".to_owned(), json!({ "schema": sound }));
    }
    if let Serve::Endpoint(Operation::Transcriptions | Operation::Translations) = serve {
        content.insert("text/plain".to_owned(), json!({ "schema": { "type": "string" } }));
    }
    let mut headers = vec!["x-request-id"];
    if serve.is_answered_by_model() {
        headers.extend([
            "x-llmgateway-provider",
            "x-llmgateway-model",
            "x-llmgateway-attempts",
            "x-llmgateway-cost-usd",
        ]);
    }
    let header = |name: &str| (name.to_owned(), json!({ "$ref": format!("#/components/headers/{name}") }));
    let headers: Map<String, Value> = headers.into_iter().map(header).collect();
    json!({ "description": "A successful answer.", "headers": headers, "content": content })
}

/// An error in the format of the route's callers.
fn failure(serve: Serve) -> Value {
    let name = match serve.dialect().protocol() {
        Some(Protocol::AnthropicMessages) => "MessagesError",
        Some(Protocol::Gemini) => "GeminiError",
        _ => "Error",
    };
    json!({
        "description": "An error; the status gives its kind.",
        "content": { "application/json": { "schema": schema(name) } },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

    fn read() -> Value {
        serde_json::from_slice(&document()).unwrap()
    }

    #[test]
    fn the_document_in_docs_is_the_table() {
        if crate::env::Environment::of_process().get("UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, document()).unwrap();
        }
        let written = std::fs::read(PAGE).unwrap_or_default();
        assert!(
            written == document(),
            "docs/openapi.json is out of date; UPDATE_DOCS=1 cargo test -p gateway openapi rewrites it"
        );
    }

    #[test]
    fn every_route_is_in_the_document_once() {
        let document = read();
        let mut ids = BTreeSet::new();
        for route in described() {
            let method = route.method.as_str().to_ascii_lowercase();
            let operation = &document["paths"][route.path][&method];
            assert!(operation["summary"].is_string(), "{method} {}", route.path);
            assert!(ids.insert(operation["operationId"].to_string()), "{operation}");
            assert_eq!(operation["security"].is_array(), route.access.needs_key(), "{}", route.path);
        }
        let count: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(count, described().count());
    }

    #[test]
    fn paths_differ_by_more_than_the_names_of_their_parameters() {
        let document = read();
        let mut templates = BTreeSet::new();
        for path in document["paths"].as_object().unwrap().keys() {
            let template = path.split('{').next().unwrap();
            assert!(templates.insert((template.to_owned(), path.contains('{'))), "{path}");
        }
    }

    #[test]
    fn every_reference_resolves() {
        fn walk(value: &Value, document: &Value) {
            if let Some(reference) = value["$ref"].as_str() {
                let found = document.pointer(reference.trim_start_matches('#'));
                assert!(found.is_some(), "{reference}");
            }
            match value {
                Value::Object(fields) => fields.values().for_each(|field| walk(field, document)),
                Value::Array(items) => items.iter().for_each(|item| walk(item, document)),
                _ => {}
            }
        }
        let document = read();
        walk(&document, &document);
    }
}
