//! Which native API a path belongs to. Prefixes are free: `/groq/openai/v1/chat/completions` works as well.

use crate::format::{Call, Format, Reply};
use crate::openai_chat;
use http::Method;
use serde_json::json;

/// What a path leads to.
pub struct Route {
    pub target: Target,
    /// The model, for formats that keep it in the path.
    pub model: Option<String>,
    /// Whether the path asks for a stream, for formats that say it there.
    pub streaming: Option<bool>,
    /// What an absent `stream` means.
    pub format_streams_by_default: bool,
}

/// The kinds of endpoints.
pub enum Target {
    Chat(&'static dyn Format),
    Page(fn(&Call) -> Reply),
    Nothing,
}

/// Finds the endpoint of a request.
pub fn find(method: &Method, path: &str) -> Route {
    match *method {
        Method::POST => post(path),
        Method::GET if path.ends_with("/models") => page(openai_chat::models),
        _ => route(Target::Nothing),
    }
}

fn post(path: &str) -> Route {
    if path.ends_with("/chat/completions") {
        return openai(path);
    }
    if path.ends_with("/token") {
        return page(access_token);
    }
    route(Target::Nothing)
}

fn openai(path: &str) -> Route {
    Route { model: openai_chat::deployment(path), ..route(Target::Chat(&openai_chat::OpenAiChat)) }
}

/// A token endpoint in the shape that all OAuth servers share.
fn access_token(_: &Call) -> Reply {
    Reply::json(
        200,
        &json!({ "access_token": "mock-access-token", "token_type": "Bearer", "expires_in": 3600 }),
    )
}

fn route(target: Target) -> Route {
    Route { target, model: None, streaming: None, format_streams_by_default: false }
}

fn page(page: fn(&Call) -> Reply) -> Route {
    route(Target::Page(page))
}
