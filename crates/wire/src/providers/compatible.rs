//! Providers that differ only in base URL, path, header and quirks: rows of the catalog.

use bytes::Bytes;
use canon::{Error, ErrorKind, Result, Retry, Target};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::edit::{edit, only};
use super::segment::model_segment;
use super::{Auth, Call, Credential, Endpoint};
use crate::Protocol;

pub struct Compatible;

impl Endpoint for Compatible {
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let path = call.path.unwrap_or(usual_path(call.protocol));
        post(call, &format!("{}{path}", call.base_url))
    }

    fn counts_tokens(&self, protocol: Protocol, target: Target<'_>) -> bool {
        match protocol {
            Protocol::AnthropicMessages => true,
            Protocol::OpenaiResponses => target.quirks.counts_input_tokens,
            _ => false,
        }
    }

    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let (path, body) = match call.protocol {
            Protocol::OpenaiResponses => ("/input_tokens", only(&call.body, &COUNTED_BY_RESPONSES)?),
            _ => ("/count_tokens", counted_by_messages(&call.body)?),
        };
        let usual = call.path.unwrap_or(usual_path(call.protocol));
        let url = format!("{}{usual}{path}", call.base_url);
        post(&Call { body, ..call.clone() }, &url)
    }
}

/// A POST to the operation's path below the base URL, in which `{model}` is replaced by the model.
pub(super) fn operation_request(call: &Call<'_>) -> Result<http::Request<Bytes>> {
    let (mut base, mut path) = (call.base_url, call.path.unwrap_or_default());
    // An operation's path may replace the last segment of the base URL instead of extending it.
    while let (Some(rest), Some((above, _))) = (path.strip_prefix("/.."), base.rsplit_once('/')) {
        (base, path) = (above, rest);
    }
    if path.contains("{model}") {
        post(call, &format!("{base}{}", path.replace("{model}", &model_path(call.model)?)))
    } else {
        post(call, &format!("{base}{path}"))
    }
}

/// A model at the end of a path: its slashes stay.
fn model_path(model: &str) -> Result<String> {
    Ok(model_segment(model)?.replace("%2F", "/"))
}

/// The body of a Messages request for the count, which refuses fields that concern only the answer.
pub(super) fn counted_by_messages(body: &[u8]) -> Result<Bytes> {
    const OF_ANSWERS: [&str; 8] = [
        "max_tokens",
        "stream",
        "metadata",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "service_tier",
    ];
    edit(body, &OF_ANSWERS, &[])
}

/// The fields of a Responses request that the count takes.
const COUNTED_BY_RESPONSES: [&str; 11] = [
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "reasoning",
    "text",
    "truncation",
    "previous_response_id",
    "conversation",
];

/// The path below the base URL, by the convention of each format's own SDK: Anthropic's base URL has no
/// version, so the path has it.
pub(super) fn usual_path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenaiChat => "/chat/completions",
        Protocol::OpenaiResponses => "/responses",
        Protocol::AnthropicMessages => "/v1/messages",
        Protocol::CohereChat => "/v2/chat",
        Protocol::OllamaChat => "/api/chat",
        Protocol::OpenaiCompletions => "/completions",
        Protocol::Gemini | Protocol::BedrockConverse => "",
    }
}

/// A POST of the call's body with its key and headers.
pub(super) fn post(call: &Call<'_>, url: &str) -> Result<http::Request<Bytes>> {
    let mut request =
        http::Request::builder().method(Method::POST).uri(url).body(call.body.clone()).map_err(|_| {
            // The URL itself is not shown: it may contain a password.
            misconfigured("The provider's URL is not valid; check its base_url.")
        })?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in call.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(misconfigured(format!("The provider's header {name:?} is not valid.")));
        };
        headers.insert(name, value);
    }
    for (name, value) in call.passed {
        headers.insert(name, value.clone());
    }
    authorize(call, headers)?;
    Ok(request)
}

/// Adds the key or the token.
pub(super) fn authorize(call: &Call<'_>, headers: &mut HeaderMap) -> Result<()> {
    let (name, text) = match (call.credential, call.auth) {
        (Credential::None, _) => return Ok(()),
        (Credential::Token(token), _) => (AUTHORIZATION, format!("Bearer {}", token.expose())),
        (Credential::Key(key), Auth::Bearer | Auth::Optional) => {
            (AUTHORIZATION, format!("Bearer {}", key.expose()))
        }
        (Credential::Key(key), Auth::Scheme(scheme)) => (AUTHORIZATION, format!("{scheme} {}", key.expose())),
        (Credential::Key(key), Auth::Header(name)) => {
            let name = HeaderName::try_from(name)
                .map_err(|_| misconfigured(format!("The provider's key header {name:?} is not valid.")))?;
            (name, key.expose().to_owned())
        }
        (Credential::Aws { .. }, _) => {
            return Err(refused_key("The provider needs an API key, but AWS keys are configured."));
        }
    };
    headers.insert(name, secret_value(text)?);
    Ok(())
}

/// A header value that debug output does not show.
pub(super) fn secret_value(text: String) -> Result<HeaderValue> {
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        refused_key("The provider's API key contains a character that is not allowed in an HTTP header.")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// The provider cannot be called with this configuration. Another one may serve the request: routing treats
/// it as down.
pub(super) fn misconfigured(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, message)
}

/// The credential can never be accepted. Routing treats it as refused: another key or provider serves.
fn refused_key(message: &'static str) -> Error {
    Error::upstream(ErrorKind::UpstreamCredential, Retry::Elsewhere, message)
}
