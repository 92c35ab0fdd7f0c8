//! How to call providers: URL, headers and signature of a request, as values.
//!
//! Most providers are rows of the catalog and are served by [`compatible`]. A provider that needs more (a
//! signature, a model in the path, a host by region) has a file of its own and one line in [`endpoint`].

mod azure;
mod base_url;
mod bedrock;
mod compatible;
pub(crate) mod edit;
mod google_ai_studio;
mod google_vertex;
mod listing;
mod native;
mod segment;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use canon::{Feature, Features, ModelFacts, Operation, Result, Secret, Target};
use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Intake, Protocol};

pub use base_url::UrlMatch;
pub use bedrock::{inference_profile, sign_for_aws};
pub use listing::{ListedModel, MOST_MODELS, list_request, read_list};
pub use native::NativeCall;

/// How a provider is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallStyle {
    /// Base URL plus a fixed path, a key in a header.
    #[default]
    Compatible,
    /// Gemini: the model is in the path.
    GoogleAiStudio,
    /// Vertex AI: host by location, path by family of models, an access token.
    GoogleVertex,
    /// Amazon Bedrock: host by region, the model in the path, a signature or an API key.
    AwsBedrock,
    /// Azure OpenAI and Microsoft Foundry: host by resource, deployments in place of models.
    Azure,
}

/// How the key is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `Authorization: Bearer KEY`.
    #[default]
    Bearer,
    /// The key alone in this header.
    Header(String),
    /// `Authorization: SCHEME KEY`.
    Scheme(String),
    /// No key is needed; a configured one is sent as a bearer token.
    Optional,
}

/// The credential for a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// Nothing.
    None,
    Key(Secret),
    /// An access token of limited life, always sent as `Authorization: Bearer TOKEN`.
    Token(Secret),
    /// Amazon's keys, which sign each request.
    Aws {
        /// Identifies the secret key.
        access_key_id: String,
        /// Signs the request.
        secret_access_key: Secret,
        /// Accompanies temporary keys.
        session_token: Option<Secret>,
    },
}

/// One call of one model.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Base URL without a trailing slash, by the convention of the provider's own SDK. Empty where the
    /// provider builds it from its settings.
    pub base_url: &'a str,
    /// The wire format of the body.
    pub protocol: Protocol,
    /// The provider's own id of the model.
    pub model: &'a str,
    /// The answer is to be streamed.
    pub streaming: bool,
    pub body: Bytes,
    pub credential: &'a Credential,
    /// How the key is sent.
    pub auth: &'a Auth,
    /// Further headers of the catalog row.
    pub headers: &'a BTreeMap<String, String>,
    /// Headers of the caller that are passed on.
    pub passed: &'a [(HeaderName, HeaderValue)],
    /// The path below the base URL, where it is not the protocol's default.
    pub path: Option<&'a str>,
    /// Provider settings of the configuration: `region`, `project`, `api_version` … A setting that is a table is
    /// flattened: `deployments.MODEL`.
    pub settings: &'a BTreeMap<String, String>,
    /// For signatures.
    pub now: SystemTime,
}

impl Call<'_> {
    /// A setting that exists and is not empty.
    fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }
}

/// How requests to a provider are addressed and authorised.
pub trait Endpoint: Sync {
    /// The wire format for this model, where it depends on the model.
    fn protocol(&self, usual: Protocol, _model: &str) -> Protocol {
        usual
    }
    /// Whether this model is also served in a further format of the provider.
    fn speaks(&self, _protocol: Protocol, _model: &str) -> bool {
        true
    }
    /// The HTTP request. Errors are the gateway's (an invalid base URL), or the caller's where a model is not
    /// valid in a path.
    fn request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>>;
    /// The HTTP request for an operation without a conversation. Its [`path`](Call::path) is set.
    fn operation_request(&self, call: &Call<'_>, _operation: Operation) -> Result<http::Request<Bytes>> {
        compatible::operation_request(call)
    }
    /// The HTTP request for a call of the provider's own API.
    fn native_request(&self, call: &Call<'_>, native: &NativeCall<'_>) -> Result<http::Request<Bytes>> {
        native::request(call, native, native::root_of(call.base_url, native))
    }
    /// The model for a name in a body or a path: the inverse of [`name_in_body`](Self::name_in_body).
    fn model_named<'a>(&self, name: &'a str, _settings: &'a BTreeMap<String, String>) -> &'a str {
        name
    }
    /// The name of a model in a body.
    fn name_in_body<'a>(&self, model: &'a str, _settings: &'a BTreeMap<String, String>) -> &'a str {
        model
    }
    /// The region that serves a model, as the provider names it, or several as one (`eu`, `global`); none when neither
    /// the settings nor the model say it.
    fn region<'a>(&self, _model: &'a str, settings: &'a BTreeMap<String, String>) -> Option<Cow<'a, str>> {
        settings.get("region").map(|region| Cow::Borrowed(region.as_str()))
    }
    /// Whether the provider counts the tokens of prompts for this model.
    fn counts_tokens(&self, _protocol: Protocol, _target: Target<'_>) -> bool {
        false
    }
    /// The HTTP request that counts the tokens of a prompt, for models whose tokens the provider counts. The
    /// body is that of the request for an answer.
    fn count_request(&self, call: &Call<'_>) -> Result<http::Request<Bytes>> {
        self.request(call)
    }
}

/// The facts of a request that select the format in which a provider is called.
#[derive(Clone, Copy, Debug)]
pub struct FormatChoice {
    /// The caller's format, where providers speak it too.
    pub caller: Option<Protocol>,
    /// What the request needs.
    pub needs: Features,
    /// The request asks for thinking.
    pub thinking: bool,
}

impl FormatChoice {
    /// Of a request.
    pub fn of(caller: Option<Protocol>, intake: &Intake) -> Self {
        Self { caller, needs: intake.needs, thinking: intake.asks_for_thinking() }
    }

    /// The format for a model whose provider has a default format and further ones under the same base URL.
    /// The caller's own carries most. Otherwise the Responses API is used where a model is served only there,
    /// and where chat completions refuse functions while the model thinks (recorded: gpt-5.4 and later).
    pub fn format(
        &self,
        usual: Protocol,
        also: &[Protocol],
        facts: &ModelFacts,
        responses_only: bool,
    ) -> Protocol {
        if facts.completions_only {
            return Protocol::OpenaiCompletions;
        }
        let responses = Protocol::OpenaiResponses;
        if let Some(own) = self.caller.filter(|own| also.contains(own)) {
            return own;
        }
        if !also.contains(&responses) {
            return usual;
        }
        // Several answers and audio exist only in chat completions.
        let beyond = [Feature::MultipleChoices, Feature::AudioInput, Feature::AudioOutput];
        let fits = !beyond.into_iter().any(|feature| self.needs.has(feature));
        let thinks = facts.thinks_by_default || self.thinking;
        let excluded = facts.functions_exclude_thinking && thinks && self.needs.has(Feature::Tools);
        let searches = self.needs.has(Feature::WebSearch) && !facts.allows(Feature::WebSearch);
        if responses_only || fits && (excluded || searches) { responses } else { usual }
    }
}

/// Features that a provider adds for any model in a format: a web search is a tool of the Responses API.
pub fn granted(format: Protocol) -> Features {
    let mut features = Features::NONE;
    if format == Protocol::OpenaiResponses {
        features.insert(Feature::WebSearch);
    }
    features
}

/// A caller's or a provider's text as one segment of a path; an error that names the field where it would
/// change the path.
pub fn path_segment(text: &str, field: &'static str) -> Result<String> {
    segment::model_segment(text).map_err(|_| {
        canon::Error::invalid(field, format!("{field} {text:?} is not valid in a path of the provider."))
    })
}

pub fn endpoint(style: CallStyle) -> &'static dyn Endpoint {
    match style {
        CallStyle::Compatible => &compatible::Compatible,
        CallStyle::GoogleAiStudio => &google_ai_studio::GoogleAiStudio,
        CallStyle::GoogleVertex => &google_vertex::GoogleVertex,
        CallStyle::AwsBedrock => &bedrock::Bedrock,
        CallStyle::Azure => &azure::Azure,
    }
}

/// True for characters of a host name: no setting can redirect a request to another host.
fn is_host_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The call style of an operator's own provider with this format.
pub fn usual_call_style(protocol: Protocol) -> CallStyle {
    match protocol {
        Protocol::Gemini => CallStyle::GoogleAiStudio,
        Protocol::BedrockConverse => CallStyle::AwsBedrock,
        _ => CallStyle::Compatible,
    }
}

/// The usual key header of an operator's own provider with this format.
pub fn usual_auth(protocol: Protocol) -> Auth {
    match protocol {
        Protocol::AnthropicMessages => Auth::Header("x-api-key".to_owned()),
        Protocol::Gemini => Auth::Header("x-goog-api-key".to_owned()),
        _ => Auth::Optional,
    }
}

/// Headers that a format requires.
pub fn usual_headers(protocol: Protocol) -> BTreeMap<String, String> {
    match protocol {
        Protocol::AnthropicMessages => {
            BTreeMap::from([("anthropic-version".to_owned(), "2023-06-01".to_owned())])
        }
        _ => BTreeMap::new(),
    }
}
