//! Sign-in to the dashboard by OpenID Connect: the client's side of the authorization code flow with PKCE.
//!
//! The browser is sent to the provider with a random state, nonce and PKCE challenge, and returns with a
//! code. The gateway exchanges the code for an ID token and checks it. The provider's metadata (endpoints and
//! keys) are fetched at a sign-in and kept for an hour; keys are fetched again when a token names an unknown
//! key.

mod discovery;
mod roles;
mod signature;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use console::gateway::{NoSignOn, Rights, SignOnAnswer, SignOnSecrets, Subject};
use form_urlencoded::{Serializer, byte_serialize};
use serde_json::Value;

use crate::clock;
use crate::config::OidcSettings;
use crate::snapshot::Snapshot;
use crate::upstream::Client;
use crate::upstream::credentials::exchange::Exchange;
use crate::upstream::outbound::Outbound;
use discovery::{Provider, ProviderMetadata};
use token::{Claims, Expected, WrongToken};

/// Signs people in by the configured provider.
#[derive(Default)]
pub struct SignOn {
    current: Mutex<Option<Arc<RelyingParty>>>,
}

impl SignOn {
    /// The client for this configuration; it is kept as long as its settings do not change.
    pub fn of(&self, snapshot: &Snapshot) -> Option<Arc<RelyingParty>> {
        let settings = snapshot.oidc.as_ref()?;
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |party: &&Arc<RelyingParty>| {
            party.settings == *settings && Arc::ptr_eq(&party.outbound, &snapshot.outbound)
        };
        if let Some(party) = current.as_ref().filter(same) {
            return Some(party.clone());
        }
        let party = Arc::new(RelyingParty::new(settings.clone(), snapshot.outbound.clone()));
        *current = Some(party.clone());
        Some(party)
    }
}

/// The present rights of a session's subject.
pub fn rights_of(settings: Option<&OidcSettings>, subject: &str) -> Option<Rights> {
    roles::rights_of(settings, subject)
}

/// A client of one provider.
pub struct RelyingParty {
    settings: OidcSettings,
    outbound: Arc<Outbound>,
    client: Client,
    provider: Provider,
}

impl RelyingParty {
    fn new(settings: OidcSettings, outbound: Arc<Outbound>) -> Self {
        let client = Client::new(outbound.route());
        let provider = Provider::new(settings.issuer.clone());
        Self { settings, outbound, client, provider }
    }

    /// The address at the provider to which the browser is sent.
    pub async fn departure(&self, secrets: &SignOnSecrets) -> Result<String, NoSignOn> {
        let known = self.provider.known(&self.client).await.map_err(NoSignOn::Away)?;
        let challenge = ring::digest::digest(&ring::digest::SHA256, secrets.verifier.as_bytes());
        let query = Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", &self.settings.redirect_url)
            .append_pair("scope", &self.settings.scopes)
            .append_pair("state", &secrets.state)
            .append_pair("nonce", &secrets.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256")
            .finish();
        let joint = if known.authorization_endpoint.contains('?') { '&' } else { '?' };
        Ok(format!("{}{joint}{query}", known.authorization_endpoint))
    }

    /// The person who returned with a code.
    pub async fn arrival(
        &self,
        secrets: &SignOnSecrets,
        answer: SignOnAnswer<'_>,
    ) -> Result<Subject, NoSignOn> {
        let known = self.provider.known(&self.client).await.map_err(NoSignOn::Away)?;
        self.check_issuer(&known, answer.issuer)?;
        let tokens = self.tokens(&known, secrets, answer.code).await?;
        let text = |name: &str| tokens.get(name).and_then(Value::as_str);
        let id_token = text("id_token").ok_or_else(|| {
            NoSignOn::Refused(
                "The identity provider sent no ID token; auth.oidc.scopes must contain openid.".to_owned(),
            )
        })?;
        let mut claims = self.id_claims(&known, secrets, id_token).await?;
        let name = &self.settings.roles_claim;
        if roles::values(&claims, name).is_none() {
            let access = text("access_token").unwrap_or_default();
            self.add_user_info(&known, access, &mut claims).await?;
        }
        let values = roles::values(&claims, name).unwrap_or_default();
        roles::subject(&self.settings, &claims, &values)
            .ok_or_else(|| NoSignOn::Role { name: roles::name(&claims) })
    }

    /// Refuses an answer of another provider (RFC 9207).
    fn check_issuer(&self, known: &ProviderMetadata, issuer: Option<&str>) -> Result<(), NoSignOn> {
        let is_ours = match issuer {
            Some(issuer) => issuer == self.settings.issuer,
            None => !known.names_itself,
        };
        is_ours.then_some(()).ok_or_else(|| {
            NoSignOn::Refused("The answer is from another identity provider (iss).".to_owned())
        })
    }

    async fn tokens(
        &self,
        known: &ProviderMetadata,
        secrets: &SignOnSecrets,
        code: &str,
    ) -> Result<Value, NoSignOn> {
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.settings.redirect_url),
            ("code_verifier", &secrets.verifier),
        ];
        let secret = self.settings.client_secret.as_ref().map(|secret| secret.expose());
        let basic = secret.filter(|_| known.takes_basic).map(|secret| {
            let escaped = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
            let pair = format!("{}:{}", escaped(&self.settings.client_id), escaped(secret));
            format!("Basic {}", STANDARD.encode(pair))
        });
        if basic.is_none() {
            fields.push(("client_id", &self.settings.client_id));
            fields.extend(secret.map(|secret| ("client_secret", secret)));
        }
        let mut exchange = Exchange::form(&known.token_endpoint, &fields);
        if let Some(secret) = secret {
            exchange = exchange.secret(secret);
        }
        if let Some(basic) = &basic {
            exchange = exchange.secret_header("authorization", basic);
        }
        let refused =
            |words: &str| NoSignOn::Refused(format!("The identity provider returned no token: {words}."));
        let answer = exchange.ask(&self.client).await.map_err(NoSignOn::Away)?;
        let answer = answer.map_err(|reason| refused(&reason))?;
        serde_json::from_slice(&answer).map_err(|_| refused("its answer is not JSON"))
    }

    async fn id_claims(
        &self,
        known: &ProviderMetadata,
        secrets: &SignOnSecrets,
        id_token: &str,
    ) -> Result<Claims, NoSignOn> {
        let expected = Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            nonce: &secrets.nonce,
            now_s: u64::try_from(clock::now_ms() / 1000).unwrap_or_default(),
            skew_s: self.settings.clock_skew_seconds,
        };
        let read = match token::claims(id_token, &known.keys, &expected) {
            // The provider may have changed its keys since they were fetched.
            Err(WrongToken::Key) => {
                let known = self.provider.renewed(&self.client, known).await.map_err(NoSignOn::Away)?;
                token::claims(id_token, &known.keys, &expected)
            }
            read => read,
        };
        read.map_err(|wrong| {
            NoSignOn::Refused(match wrong {
                WrongToken::Key => {
                    "The ID token is not signed with a key of the identity provider.".to_owned()
                }
                WrongToken::Invalid(words) => format!("The ID token {words}."),
            })
        })
    }

    /// Some providers put all claims except the subject there.
    async fn add_user_info(
        &self,
        known: &ProviderMetadata,
        access: &str,
        claims: &mut Claims,
    ) -> Result<(), NoSignOn> {
        let Some(url) = known.userinfo_endpoint.as_deref().filter(|_| !access.is_empty()) else {
            return Ok(());
        };
        let bearer = format!("Bearer {access}");
        let exchange = Exchange::get(url).secret_header("authorization", &bearer);
        let userinfo = exchange.send_for_json(&self.client).await.map_err(NoSignOn::Away)?;
        let Value::Object(userinfo) = userinfo else { return Ok(()) };
        if userinfo.get("sub") != claims.get("sub") {
            let words = "The identity provider's userinfo and its ID token name different accounts (sub).";
            return Err(NoSignOn::Refused(words.to_owned()));
        }
        for (name, value) in userinfo {
            claims.entry(name).or_insert(value);
        }
        Ok(())
    }
}
