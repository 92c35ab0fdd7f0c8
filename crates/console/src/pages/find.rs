//! `/ui/find`: names of models, providers and projects with the page that shows them, for searches that need the server.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::encoded;
use crate::Console;
use crate::fields::Query;
use crate::session::Session;

const MOST: usize = 12;

/// Up to twelve of each kind, as JSON.
pub async fn find(State(console): State<Arc<Console>>, _session: Session, Query(query): Query) -> Response {
    let asked = query.text("q").to_lowercase();
    let mut found: Vec<Value> = Vec::new();
    let mut add = |group: &str, names: Vec<String>, url: &dyn Fn(&str) -> String| {
        let matching = names.iter().filter(|name| name.to_lowercase().contains(&asked)).take(MOST);
        found.extend(matching.map(|name| json!({"g": group, "n": name, "u": url(name)})));
    };
    if !asked.is_empty() {
        let declared = console.gateway.declared().into_iter().map(|(id, _)| id);
        let stored = console.store.projects_after("", 1000).await.unwrap_or_default();
        let mut projects: Vec<String> =
            declared.chain(stored.into_iter().map(|project| project.id)).collect();
        projects.sort();
        projects.dedup();
        add("Projects", projects, &|id| format!("/ui/projects/{}", encoded(id)));
        let providers = console.gateway.providers().into_iter().map(|provider| provider.id).collect();
        add("Providers", providers, &|id| format!("/ui/routing#{}", encoded(id)));
        let models = console.gateway.models().into_iter().map(|model| model.id).collect();
        add("Models", models, &|id| format!("/ui/models?open={0}#{0}", encoded(id)));
    }
    let kind = HeaderValue::from_static("application/json");
    ([(CONTENT_TYPE, kind)], Value::Array(found).to_string()).into_response()
}
