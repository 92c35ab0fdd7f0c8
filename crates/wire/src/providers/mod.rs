//! How to call whom: URL, headers and signature of a request, as values.
//!
//! Most providers are rows of the catalog and are served by [`compatible`]. What needs more (a signature, a model in
//! the path, a host by region) has a file of its own and one line in [`provider`].

mod compatible;
mod google_ai_studio;

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use canon::{Result, Secret};
use serde::{Deserialize, Serialize};

use crate::Protocol;

/// Which way a provider is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Calling {
    /// Base URL plus a fixed path, a key in a header.
    #[default]
    Compatible,
    /// Gemini: the model is in the path.
    GoogleAiStudio,
    /// Vertex AI: project, region, publisher and model are in the path.
    GoogleVertex,
    /// Amazon Bedrock: signed, the model is in the path.
    AwsBedrock,
    /// Azure OpenAI: the deployment is the model.
    Azure,
}

/// How the key is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// The key alone in this header.
    Header(String),
    /// No key is needed; one that is configured is sent as a bearer token.
    Optional,
}

/// What proves to a provider that we may call it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    /// A key.
    Key(Secret),
}

/// One call of one model.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Base URL without a slash at its end, by the convention of the provider's own SDK.
    pub base_url: &'a str,
    /// The wire format of the body.
    pub protocol: Protocol,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// The answer is to be streamed.
    pub streaming: bool,
    /// The body.
    pub body: Bytes,
    /// What proves that we may call.
    pub credential: &'a Credential,
    /// How the key is sent.
    pub auth: &'a Auth,
    /// Further headers of the catalog row.
    pub headers: &'a BTreeMap<String, String>,
    /// The path below the base URL, where it is not the protocol's usual one.
    pub path: Option<&'a str>,
    /// Provider settings of the configuration: `region`, `project`, `api_version` …
    pub settings: &'a BTreeMap<String, String>,
    /// For signatures.
    pub now: SystemTime,
}

/// A way to call a provider.
pub trait Provider: Sync {
    /// The wire format for this model, where it depends on the model.
    fn protocol(&self, usual: Protocol, _model: &str) -> Protocol {
        usual
    }
    /// The HTTP request. Errors are ours (a base URL that is no URL), never the caller's.
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>>;
}

/// The provider of a way of calling.
pub fn provider(calling: Calling) -> &'static dyn Provider {
    match calling {
        Calling::Compatible | Calling::GoogleVertex | Calling::AwsBedrock | Calling::Azure => {
            &compatible::Compatible
        }
        Calling::GoogleAiStudio => &google_ai_studio::GoogleAiStudio,
    }
}

/// How a provider of one's own is called that speaks this format.
pub fn usual_calling(protocol: Protocol) -> Calling {
    match protocol {
        Protocol::Gemini => Calling::GoogleAiStudio,
        _ => Calling::Compatible,
    }
}

/// How a provider of one's own that speaks this format usually takes its key.
pub fn usual_auth(protocol: Protocol) -> Auth {
    match protocol {
        Protocol::AnthropicMessages => Auth::Header("x-api-key".to_owned()),
        Protocol::Gemini => Auth::Header("x-goog-api-key".to_owned()),
        _ => Auth::Optional,
    }
}

/// Headers that a format asks for.
pub fn usual_headers(protocol: Protocol) -> BTreeMap<String, String> {
    match protocol {
        Protocol::AnthropicMessages => {
            BTreeMap::from([("anthropic-version".to_owned(), "2023-06-01".to_owned())])
        }
        _ => BTreeMap::new(),
    }
}
