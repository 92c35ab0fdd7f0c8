//! Finds the native API of a path. Prefixes are free: `/groq/openai/v1/chat/completions` works as well.

use crate::anthropic::{self, Anthropic};
use crate::bedrock::{self, Converse, Invoke};
use crate::cohere::Cohere;
use crate::endpoints;
use crate::file_routes;
use crate::format::{Call, Format, Reply};
use crate::gemini::{self, Gemini};
use crate::media;
use crate::models;
use crate::ollama::Ollama;
use crate::openai_chat::{self, OpenAiChat};
use crate::openai_completions::OpenAiCompletions;
use crate::openai_responses::{self, OpenAiResponses};
use http::Method;
use serde_json::json;

/// The endpoint of a path.
pub struct Route {
    pub target: Target,
    /// The model, for formats that keep it in the path.
    pub model: Option<String>,
    /// Whether the path asks for a stream, for formats that put it there.
    pub streaming: Option<bool>,
    /// The meaning of an absent `stream` in the body.
    pub streams_by_default: bool,
}

/// The kinds of endpoints.
pub enum Target {
    Chat(&'static dyn Format),
    Page(fn(&Call) -> Reply),
    /// Objects that callers store: files, uploads, batches.
    Kept(file_routes::Page),
    Nothing,
}

/// Finds the endpoint of a request.
pub fn find(method: &Method, path: &str) -> Route {
    if let Some((page, ..)) = file_routes::find(path) {
        return to(Target::Kept(page));
    }
    if let Some(page) = endpoints::find(method, path) {
        let model = path
            .rsplit_once(':')
            .filter(|(before, _)| before.contains("/models/"))
            .and_then(|(before, _)| before.rsplit('/').next());
        return Route {
            model: model.map(decoded).or(openai_chat::deployment(path)),
            ..to(Target::Page(page))
        };
    }
    match *method {
        Method::POST => post(path),
        Method::GET if path.ends_with("/responses") => to(Target::Page(openai_responses::websocket)),
        Method::GET if path.ends_with("/models") => to(Target::Page(models::list)),
        Method::GET if path.contains("/models/") => to(Target::Page(models::one)),
        Method::GET if path == "/health" => to(Target::Page(health)),
        _ => to(Target::Nothing),
    }
}

fn post(path: &str) -> Route {
    if let Some((before, method)) = path.rsplit_once(':').filter(|(before, _)| before.contains("/models/")) {
        return google(before, method);
    }
    if let Some(route) = path.split_once("/model/").and_then(|(_, rest)| bedrock(rest)) {
        return route;
    }
    if path.ends_with("/chat/completions") {
        return Route { model: openai_chat::deployment(path), ..to(Target::Chat(&OpenAiChat)) };
    }
    if path.ends_with("/completions") {
        return Route { model: openai_chat::deployment(path), ..to(Target::Chat(&OpenAiCompletions)) };
    }
    if path.ends_with("/responses") {
        return to(Target::Chat(&OpenAiResponses));
    }
    if path.ends_with("/responses/input_tokens") {
        return to(Target::Page(openai_responses::input_tokens));
    }
    if path.ends_with("/messages/count_tokens") {
        return to(Target::Page(anthropic::count_tokens));
    }
    if path.ends_with("/messages") {
        return to(Target::Chat(&Anthropic { vertex: false }));
    }
    if path.ends_with("/v2/chat") {
        return to(Target::Chat(&Cohere));
    }
    if path.ends_with("/api/chat") {
        return Route { streams_by_default: true, ..to(Target::Chat(&Ollama)) };
    }
    // Writer's path for OpenAI's format.
    if path.ends_with("/v1/chat") {
        return to(Target::Chat(&OpenAiChat));
    }
    if path.ends_with("/audio/speech") {
        return to(Target::Page(media::speech));
    }
    if path.contains("/text-to-speech/") {
        return to(Target::Page(media::elevenlabs_speech));
    }
    if path.ends_with("/speech-to-text") {
        return to(Target::Page(media::elevenlabs_transcript));
    }
    if path.ends_with("/audio/transcriptions") || path.ends_with("/audio/translations") {
        return to(Target::Page(media::transcript));
    }
    // OpenRouter has one path for both.
    if path.ends_with("/images/generations")
        || path.ends_with("/images/edits")
        || path.ends_with("/api/v1/images")
    {
        return to(Target::Page(media::images));
    }
    if path.ends_with("/text_to_image") {
        return to(Target::Page(media::flux));
    }
    if path.contains("/workflows/") {
        let is_question = path.ends_with("/get_result");
        return to(Target::Page(if is_question { media::kontext_result } else { media::kontext }));
    }
    if path.ends_with("/speak") || path.ends_with("/tts") {
        return to(Target::Page(media::spoken));
    }
    if path.ends_with("/listen") {
        return to(Target::Page(media::deepgram_transcript));
    }
    if path.ends_with("/stt") {
        return to(Target::Page(media::xai_transcript));
    }
    if path.ends_with("/token") {
        return to(Target::Page(access_token));
    }
    to(Target::Nothing)
}

/// `…/models/M:method`, at AI Studio and at Vertex.
fn google(before: &str, method: &str) -> Route {
    let model = before.rsplit('/').next().map(decoded);
    let (target, streaming) = match method {
        "generateContent" => (Target::Chat(&Gemini), Some(false)),
        "streamGenerateContent" => (Target::Chat(&Gemini), Some(true)),
        "countTokens" => (Target::Page(gemini::count_tokens), None),
        // The body selects the stream; the path must agree, which clients ensure.
        "rawPredict" if model.as_deref() == Some("count-tokens") => {
            (Target::Page(anthropic::count_tokens), None)
        }
        "rawPredict" => (Target::Chat(&Anthropic { vertex: true }), Some(false)),
        "streamRawPredict" => (Target::Chat(&Anthropic { vertex: true }), Some(true)),
        _ => (Target::Nothing, None),
    };
    Route { model, streaming, ..to(target) }
}

/// `M/converse`, `M/invoke` and their streams, and `M/count-tokens`; the model is one percent-encoded segment.
fn bedrock(rest: &str) -> Option<Route> {
    let (model, action) = rest.rsplit_once('/')?;
    if action == "invoke"
        && let Some(page) = endpoints::invoked(&decoded(model))
    {
        return Some(Route { model: Some(decoded(model)), ..to(Target::Page(page)) });
    }
    let (format, streaming): (&'static dyn Format, bool) = match action {
        "count-tokens" => return Some(to(Target::Page(bedrock::count_tokens))),
        "converse" => (&Converse, false),
        "converse-stream" => (&Converse, true),
        "invoke" => (&Invoke, false),
        "invoke-with-response-stream" => (&Invoke, true),
        _ => return None,
    };
    Some(Route { model: Some(decoded(model)), streaming: Some(streaming), ..to(Target::Chat(format)) })
}

/// Decodes percent-encoding; an invalid encoding stays as it is.
fn decoded(segment: &str) -> String {
    let bytes = segment.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut position = 0;
    while position < bytes.len() {
        let code = segment.get(position + 1..position + 3).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code.filter(|_| bytes[position] == b'%') {
            Some(byte) => {
                plain.push(byte);
                position += 3;
            }
            None => {
                plain.push(bytes[position]);
                position += 1;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn health(_: &Call) -> Reply {
    Reply::json(200, &json!({ "status": "ok" }))
}

/// A token endpoint in the shape that all OAuth servers share.
fn access_token(_: &Call) -> Reply {
    Reply::json(
        200,
        &json!({ "access_token": "mock-access-token", "token_type": "Bearer", "expires_in": 3600 }),
    )
}

fn to(target: Target) -> Route {
    Route { target, model: None, streaming: None, streams_by_default: false }
}
