//! Providers that differ only in base URL, path, header and quirks: rows of the catalog.

use bytes::Bytes;
use canon::{Error, ErrorKind, Result};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};

use super::{Auth, Call, Credential, Provider};
use crate::Protocol;

/// See the module.
pub struct Compatible;

impl Provider for Compatible {
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        let path = call.path.unwrap_or(usual_path(call.protocol));
        post(call, &format!("{}{path}", call.base_url))
    }
}

/// The path below the base URL, by the convention of each format's own SDK: Anthropic's base URL has no version.
fn usual_path(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::OpenaiChat => "/chat/completions",
        Protocol::AnthropicMessages => "/v1/messages",
        Protocol::CohereChat => "/v2/chat",
        Protocol::OllamaChat => "/api/chat",
        Protocol::Gemini | Protocol::BedrockConverse => "",
    }
}

/// A POST of the call's body with its key and headers.
pub(super) fn post(call: &Call<'_>, url: &str) -> Result<http::Request<Bytes>> {
    let mut request =
        http::Request::builder().method(Method::POST).uri(url).body(call.body.clone()).map_err(|_| {
            misconfigured(format!("The provider's URL {url:?} is not valid; check base_url."))
        })?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for (name, value) in call.headers {
        let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
            return Err(misconfigured(format!("The provider's header {name:?} is not valid.")));
        };
        headers.insert(name, value);
    }
    if let Credential::Key(key) = call.credential {
        let (name, text) = match call.auth {
            Auth::Bearer | Auth::Optional => (AUTHORIZATION, format!("Bearer {}", key.expose())),
            Auth::Header(name) => (
                HeaderName::try_from(name).map_err(|_| {
                    misconfigured(format!("The provider's key header {name:?} is not valid."))
                })?,
                key.expose().to_owned(),
            ),
        };
        let mut value = HeaderValue::try_from(text).map_err(|_| {
            misconfigured("The provider's API key contains characters that no header can hold.")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(request)
}

pub(super) fn misconfigured(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::gateway(ErrorKind::Internal, message)
}
