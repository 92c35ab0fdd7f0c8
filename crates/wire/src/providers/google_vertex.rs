//! Vertex AI: the host contains the location, the path the publisher, and an access token of Google Cloud is
//! the credential. Facts: "Send requests to models" in the Vertex AI documentation, and the clients of Google
//! and Anthropic.
//!
//! Settings: `project`; `region`, a location such as `us-central1`, `eu` or `global` (the default);
//! `quota_project`, which is billed instead of the project of the token.

use std::collections::BTreeMap;

use bytes::Bytes;
use canon::{Operation, Result, Target};

use super::compatible::{counted_by_messages, misconfigured, post};
use super::edit::{messages_of_a_cloud, only_of_googles};
use super::segment::{escape_segment, model_segment};
use super::{Auth, Call, Endpoint, NativeCall, is_host_label, native};
use crate::{Headers, Protocol};

/// The version of Anthropic's API, which goes into the body here.
const ANTHROPIC_VERSION: &str = "vertex-2023-10-16";

/// The host of most locations.
const USUAL_BASE: &str = "https://{region}-aiplatform.googleapis.com";

pub struct GoogleVertex;

impl Endpoint for GoogleVertex {
    fn protocol(&self, usual: Protocol, model: &str) -> Protocol {
        match Publisher::of(model) {
            Publisher::Google | Publisher::Tuned => usual,
            Publisher::Anthropic => Protocol::AnthropicMessages,
            Publisher::Mistral | Publisher::OpenApi => Protocol::OpenaiChat,
        }
    }

    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let url = format!("{}/{}", base_url(call)?, path(call)?);
        let mut body = call.body.clone();
        if Publisher::of(call.model) == Publisher::Anthropic {
            body = messages_of_a_cloud(&body, ANTHROPIC_VERSION, &["model"], call.passed)?;
        }
        let headers = headers(call);
        let passed = passed(call);
        post(&Call { body, auth: &Auth::Bearer, headers: &headers, passed: &passed, ..call.clone() }, &url)
    }

    fn operation_request(&self, call: &Call<'_>, _operation: Operation) -> Result<http::Request<Bytes>> {
        let (place, model) = (place(call)?, model_segment(call.model)?);
        let method = call.path.unwrap_or_default();
        let url = format!("{}/{place}/publishers/google/models/{model}:{method}", base_url(call)?);
        post(&Call { auth: &Auth::Bearer, headers: &headers(call), ..call.clone() }, &url)
    }

    fn native_request(&self, call: &Call<'_>, native: &NativeCall<'_>) -> Result<http::Request<Bytes>> {
        let base = base_url(call)?;
        let headers = headers(call);
        let call = Call { auth: &Auth::Bearer, headers: &headers, ..call.clone() };
        native::request(&call, native, native::root(&base, None))
    }

    fn counts_tokens(&self, protocol: Protocol, target: Target<'_>) -> bool {
        match Publisher::of(target.model) {
            Publisher::Google | Publisher::Tuned => protocol == Protocol::Gemini,
            Publisher::Anthropic => protocol == Protocol::AnthropicMessages,
            Publisher::Mistral | Publisher::OpenApi => false,
        }
    }

    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let headers = headers(call);
        let of_body = |body, path: &str, passed| {
            let url = format!("{}/{path}", base_url(call)?);
            post(&Call { body, auth: &Auth::Bearer, headers: &headers, passed, ..call.clone() }, &url)
        };
        if Publisher::of(call.model) == Publisher::Anthropic {
            // The model stays in the body here: the path names the operation instead.
            let body = counted_by_messages(&call.body)?;
            let body = messages_of_a_cloud(&body, ANTHROPIC_VERSION, &[], call.passed)?;
            let path = format!("{}/publishers/anthropic/models/count-tokens:rawPredict", place(call)?);
            return of_body(body, &path, &passed(call));
        }
        // "CountTokens" takes these fields of a request and refuses others.
        const COUNTED: [&str; 4] = ["contents", "systemInstruction", "tools", "generationConfig"];
        let path = path(&Call { streaming: false, ..call.clone() })?;
        let body = only_of_googles(&call.body, &COUNTED)?;
        of_body(body, &path.replace(":generateContent", ":countTokens"), call.passed)
    }
}

/// The caller's headers that are passed on. The version is in the body here. Betas are sent in both places:
/// some are read only from the header.
fn passed(call: &Call<'_>) -> Headers {
    call.passed.iter().filter(|(name, _)| name != "anthropic-version").cloned().collect()
}

/// The part of the path with project and location.
fn place(call: &Call<'_>) -> Result<String> {
    let project = call.setting("project").ok_or_else(|| {
        misconfigured("No project is configured; set project to the id of a Google Cloud project.")
    })?;
    Ok(format!("projects/{}/locations/{}", escape_segment(project), location(call)?))
}

/// The publisher of a model, which decides on the path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Publisher {
    Google,
    Anthropic,
    Mistral,
    /// A tuned model by the number of its endpoint.
    Tuned,
    /// `publisher/model`: all others, under one OpenAI-compatible path.
    OpenApi,
}

impl Publisher {
    fn of(model: &str) -> Self {
        if model.contains('/') {
            Self::OpenApi
        } else if model.starts_with("claude") {
            Self::Anthropic
        } else if ["mistral", "codestral", "ministral"].iter().any(|name| model.starts_with(name)) {
            Self::Mistral
        } else if !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_digit()) {
            Self::Tuned
        } else {
            Self::Google
        }
    }
}

fn path(call: &Call<'_>) -> Result<String> {
    let place = place(call)?;
    let generate = if call.streaming { "streamGenerateContent?alt=sse" } else { "generateContent" };
    let predict = if call.streaming { "streamRawPredict" } else { "rawPredict" };
    let publisher = Publisher::of(call.model);
    if publisher == Publisher::OpenApi {
        return Ok(format!("{place}/endpoints/openapi/chat/completions"));
    }
    let model = model_segment(call.model)?;
    Ok(match publisher {
        Publisher::Google | Publisher::OpenApi => {
            format!("{place}/publishers/google/models/{model}:{generate}")
        }
        Publisher::Tuned => format!("{place}/endpoints/{model}:{generate}"),
        Publisher::Anthropic => format!("{place}/publishers/anthropic/models/{model}:{predict}"),
        Publisher::Mistral => format!("{place}/publishers/mistralai/models/{model}:{predict}"),
    })
}

/// Scheme, host and version.
fn base_url(call: &Call<'_>) -> Result<String> {
    let location = location(call)?;
    let base = match call.base_url {
        base if base.is_empty() || base == USUAL_BASE => match location {
            "global" => "https://aiplatform.googleapis.com".to_owned(),
            // Multi-region locations have their own hosts.
            "us" | "eu" => format!("https://aiplatform.{location}.rep.googleapis.com"),
            region => format!("https://{region}-aiplatform.googleapis.com"),
        },
        base => base.replace("{region}", location),
    };
    Ok(match base.rsplit('/').next() {
        Some("v1" | "v1beta1") => base,
        _ => format!("{base}/v1"),
    })
}

fn location<'a>(call: &'a Call<'_>) -> Result<&'a str> {
    let location = call.setting("region").or_else(|| call.setting("location")).unwrap_or("global");
    if is_host_label(location) {
        Ok(location)
    } else {
        Err(misconfigured(format!("The region {location:?} is not the name of a location.")))
    }
}

fn headers(call: &Call<'_>) -> BTreeMap<String, String> {
    let mut headers = call.headers.clone();
    if let Some(project) = call.setting("quota_project") {
        headers.insert("x-goog-user-project".to_owned(), project.to_owned());
    }
    headers
}
