//! Metadata of an identity provider: its endpoints and keys (OpenID Connect Discovery 1.0).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::token::KeySet;
use crate::clock;
use crate::upstream::Client;
use crate::upstream::credentials::exchange::{Exchange, is_safe, text};

/// How long the metadata are used.
const FRESH: Duration = Duration::from_hours(1);
/// The minimum interval between two requests for the metadata, for all sign-ins and tokens together.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub struct ProviderMetadata {
    pub authorization_endpoint: String,
    /// Where codes become tokens.
    pub token_endpoint: String,
    /// Where more is known of somebody.
    pub userinfo_endpoint: Option<String>,
    /// The client's secret is sent in a header, else in the form.
    pub takes_basic: bool,
    /// Its answers contain its issuer.
    pub names_itself: bool,
    pub keys: KeySet,
}

/// The metadata, or the reason of their absence.
type Answer = Result<Arc<ProviderMetadata>, String>;

/// A provider with its cached metadata.
pub struct Provider {
    issuer: String,
    /// One request at a time; other callers wait for its answer.
    asking: tokio::sync::Mutex<()>,
    last: Mutex<Option<(Instant, Answer)>>,
}

impl Provider {
    pub fn new(issuer: String) -> Self {
        Self { issuer, asking: tokio::sync::Mutex::default(), last: Mutex::default() }
    }

    /// The metadata, or the reason of their absence.
    pub async fn known(&self, client: &Client) -> Answer {
        let is_good =
            |asked: Instant, result: &Answer| asked.elapsed() < if result.is_ok() { FRESH } else { PAUSE };
        self.unless(is_good, client).await
    }

    /// Newer metadata than `before`, which turned out to be outdated.
    pub async fn renewed(&self, client: &Client, before: &ProviderMetadata) -> Answer {
        let is_good = |asked: Instant, result: &Answer| {
            let is_other = result.as_ref().is_ok_and(|known| !std::ptr::eq(&**known, before));
            is_other || asked.elapsed() < PAUSE
        };
        self.unless(is_good, client).await
    }

    /// The last answer if it is usable, else a new one.
    async fn unless(&self, is_good: impl Fn(Instant, &Answer) -> bool, client: &Client) -> Answer {
        let last = || {
            let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            last.clone().filter(|(asked, result)| is_good(*asked, result))
        };
        if let Some((_, result)) = last() {
            return result;
        }
        let _asking = self.asking.lock().await;
        if let Some((_, result)) = last() {
            return result;
        }
        let result = self.ask(client).await.map(Arc::new);
        if let Err(reason) = &result {
            tracing::warn!(issuer = self.issuer, reason, "the identity provider could not be asked");
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((clock::now(), result.clone()));
        result
    }

    async fn ask(&self, client: &Client) -> Result<ProviderMetadata, String> {
        let url = format!("{}/.well-known/openid-configuration", self.issuer.trim_end_matches('/'));
        let document = Exchange::get(&url).send_for_json(client).await?;
        // A document with another issuer would let that issuer sign in people (4.3).
        let issuer = text(&document, "issuer")?;
        if issuer != self.issuer {
            let shown: String = issuer.chars().filter(|letter| !letter.is_control()).take(200).collect();
            return Err(format!(
                "the provider calls itself {shown:?}; write exactly that in auth.oidc.issuer"
            ));
        }
        let keys_url = address(&document, "jwks_uri")?;
        let keys = Exchange::get(&keys_url).send_for_json(client).await?;
        let methods = document.get("token_endpoint_auth_methods_supported").and_then(Value::as_array);
        Ok(ProviderMetadata {
            authorization_endpoint: address(&document, "authorization_endpoint")?,
            token_endpoint: address(&document, "token_endpoint")?,
            userinfo_endpoint: match document.get("userinfo_endpoint") {
                Some(_) => Some(address(&document, "userinfo_endpoint")?),
                None => None,
            },
            // This method is the default.
            takes_basic: methods.is_none_or(|all| {
                let has = |name: &str| all.iter().any(|method| method == name);
                has("client_secret_basic") || !has("client_secret_post")
            }),
            names_itself: document.get("authorization_response_iss_parameter_supported")
                == Some(&Value::Bool(true)),
            keys: KeySet::read(&keys).ok_or("the provider's keys (jwks_uri) are not a JWK set")?,
        })
    }
}

/// An endpoint of the document. Codes, secrets and tokens are sent to it, so it must be secure.
fn address(document: &Value, name: &str) -> Result<String, String> {
    let url = text(document, name)?;
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic()) && !url.contains('#');
    if is_plain && is_safe(url) {
        Ok(url.to_owned())
    } else {
        Err(format!("the provider's {name} is not an https:// URL"))
    }
}
