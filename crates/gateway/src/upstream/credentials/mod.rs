//! Credentials for providers.
//!
//! Their source is found once, when the configuration is read ([`find`]), without network access. A fixed key
//! is used directly. Temporary tokens and keys come from a [`TokenCache`], which renews them before they
//! expire.

mod aws;
mod azure;
pub mod exchange;
mod google;
pub mod mask;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use canon::{Error, Secret};
use wire::providers::{CallStyle, Credential};

use super::Client;
use crate::clock;
use crate::env::Environment;
use mask::Mask;
use token::{Fetched, Token, TokenCache};

/// Settings that only serve to find credentials and contain secrets. They are used only in [`find`].
pub const SECRET_SETTINGS: [&str; 6] =
    ["access_token", "access_key_id", "client_secret", "credentials", "secret_access_key", "session_token"];

/// Settings of the configuration file that choose a source of credentials.
const CHOICES: [&str; 10] = [
    "access_key_id",
    "access_token",
    "client_secret",
    "credentials",
    "federated_token_file",
    "managed_identity",
    "profile",
    "role_arn",
    "secret_access_key",
    "web_identity_token_file",
];

/// The places to search for credentials.
#[derive(Clone, Copy)]
pub struct Search<'a> {
    /// The provider's settings: those of the configuration file, else those of the environment.
    pub settings: &'a BTreeMap<String, String>,
    /// Those of the configuration file. None when it does not mention the provider.
    pub written: Option<&'a BTreeMap<String, toml::Value>>,
    pub environment: &'a Environment,
}

impl<'a> Search<'a> {
    /// True when the configuration file itself chooses the source of credentials: keys of the environment are
    /// then ignored.
    pub fn is_chosen(&self) -> bool {
        CHOICES.iter().any(|name| self.is_written(name))
    }

    fn is_written(&self, name: &str) -> bool {
        self.written.is_some_and(|written| written.contains_key(name))
    }

    /// A setting with a value.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.settings.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn secret(&self, name: &str) -> Option<Secret> {
        self.get(name).map(Secret::new)
    }

    /// A switch: on, off, or unset.
    fn switch(&self, name: &'static str) -> Result<bool, Absent> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1") => Ok(true),
            Some(_) => Err(Absent::wrong(name, "must be true or false")),
        }
    }

    /// `the configuration` or `the environment`.
    fn origin(&self, name: &str) -> &'static str {
        if self.is_written(name) { "the configuration" } else { "the environment" }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialSource {
    /// A description for people: `service account x@y`, `profile default`. Never a secret.
    pub label: String,
    /// How to get the credentials.
    pub recipe: Recipe,
    /// Settings from the source, for unset ones: a profile's region, a service account's project.
    pub implied: BTreeMap<String, String>,
}

/// Why there are no credentials. Without a reason it is just that no key is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// The setting at fault, if one is.
    pub setting: Option<&'static str>,
    /// The problem, and how to solve it.
    pub reason: String,
}

impl Absent {
    fn missing(reason: impl Into<String>) -> Self {
        Self { setting: None, reason: reason.into() }
    }

    fn wrong(setting: &'static str, reason: impl Into<String>) -> Self {
        Self { setting: Some(setting), reason: reason.into() }
    }
}

/// How to get credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    Fixed(Credential),
    Google(google::Recipe),
    Aws(Box<aws::Recipe>),
    /// Entra ID.
    Azure(azure::Recipe),
}

impl Recipe {
    async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        match self {
            Self::Fixed(credential) => Ok(Token { credential: credential.clone(), expires: None }),
            Self::Google(recipe) => recipe.fetch(client, now).await,
            Self::Aws(recipe) => recipe.fetch(client, now).await,
            Self::Azure(recipe) => recipe.fetch(client, now).await,
        }
    }
}

/// The credentials of a call style, where it supports others than API keys.
pub fn find(calling: CallStyle, search: Search<'_>) -> Option<Result<CredentialSource, Absent>> {
    match calling {
        CallStyle::Compatible | CallStyle::GoogleAiStudio => None,
        CallStyle::GoogleVertex => Some(google::find(search)),
        CallStyle::AwsBedrock => Some(aws::find(search)),
        CallStyle::Azure => Some(azure::find(search)),
    }
}

/// The credentials of a provider: one for each key.
pub struct Credentials {
    sources: Vec<Source>,
    /// Masks fixed secrets: keys, and secrets of the settings.
    mask: Arc<Mask>,
}

enum Source {
    Fixed(Credential),
    Cached(Arc<TokenCache>),
}

/// A provider's settings of credentials.
pub struct CredentialSettings<'a> {
    pub keys: Vec<&'a Secret>,
    /// The source of credentials where there is no key.
    pub recipe: Option<&'a Recipe>,
    /// Further secrets of its settings, which errors must not show.
    pub secrets: &'a [Secret],
    /// Description of the source.
    pub label: &'a str,
}

impl Credentials {
    /// The keys of the settings, else the credential that was found.
    pub fn new(given: &CredentialSettings<'_>, client: &Client) -> Self {
        let keys = given.keys.iter().copied();
        let fixed = match &given.recipe {
            Some(Recipe::Fixed(credential)) => mask::secrets(credential),
            _ => Vec::new(),
        };
        let mask = Arc::new(Mask::of(keys.chain(fixed).chain(given.secrets)));
        let key = |secret: &&Secret| Source::Fixed(Credential::Key((*secret).clone()));
        let mut sources: Vec<Source> = given.keys.iter().map(key).collect();
        if sources.is_empty() {
            sources.push(match given.recipe {
                None => Source::Fixed(Credential::None),
                Some(Recipe::Fixed(credential)) => Source::Fixed(credential.clone()),
                Some(recipe) => {
                    let label = given.label.to_owned();
                    Source::Cached(TokenCache::new(recipe.clone(), label, client.clone(), mask.clone()))
                }
            });
        }
        Self { sources, mask }
    }

    /// The credential of a key. Waits only where a token has to be fetched first. The log names the request,
    /// if there is one.
    pub async fn credential(&self, index: usize, request_id: Option<&str>) -> Result<Credential, Error> {
        match self.source(index) {
            Source::Fixed(credential) => Ok(credential.clone()),
            Source::Cached(cache) => cache.get(clock::wall(), request_id).await,
        }
    }

    /// Like [`credential`](Self::credential) at another time.
    pub async fn credential_at(&self, index: usize, now: SystemTime) -> Result<Credential, Error> {
        match self.source(index) {
            Source::Fixed(credential) => Ok(credential.clone()),
            Source::Cached(cache) => cache.get(now, None).await,
        }
    }

    /// Reports that the provider refused this credential. True when there will be another one.
    pub fn refused(&self, index: usize, credential: &Credential) -> bool {
        match self.source(index) {
            Source::Fixed(_) => false,
            Source::Cached(cache) => cache.refused(credential, clock::wall()),
        }
    }

    /// Masks this provider's secrets in an error with the provider's message.
    pub fn clean(&self, error: &mut Error) {
        self.mask.clean(error);
        for source in &self.sources {
            if let Source::Cached(cache) = source {
                Mask::of(&cache.secrets()).clean(error);
            }
        }
    }

    /// A provider's text without its secrets.
    pub fn cleaned(&self, text: &str) -> String {
        let mut text = self.mask.apply(text).into_owned();
        for source in &self.sources {
            if let Source::Cached(cache) = source {
                text = Mask::of(&cache.secrets()).apply(&text).into_owned();
            }
        }
        text
    }

    /// A credential for display: a fixed one, or an example of a fetched one.
    pub fn example(&self) -> Credential {
        match self.source(0) {
            Source::Fixed(credential) => credential.clone(),
            Source::Cached(cache) => cache.example(),
        }
    }

    fn source(&self, index: usize) -> &Source {
        // There is at least one; a missing key can only be the one that needs no label.
        self.sources.get(index).unwrap_or(&self.sources[0])
    }
}
