//! Access tokens of Google Cloud, found as "application default credentials" (AIP-4110): a file that the
//! configuration or `GOOGLE_APPLICATION_CREDENTIALS` names, the file that `gcloud auth application-default
//! login` writes, or the metadata server. The metadata server is never probed: it is asked only if the
//! configuration or the variables of Google's own platforms say so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use canon::Secret;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wire::providers::Credential;

use super::exchange::{Exchange, is_safe, seconds, text, timestamp};
use super::token::{Fetched, Token};
use super::{Absent, CredentialSource, Search};
use crate::env::{Environment, read_file};
use crate::upstream::Client;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
const METADATA_HOST: &str = "metadata.google.internal";
const TOKEN_URL: &str = "https://oauth2.googleapis.com/token";
/// The longest life that Google allows a signed claim.
const CLAIM_SECONDS: u64 = 3600;
/// The assumed lifetime of an answer without one.
const USUAL_LIFE: u64 = 3600;

/// The source of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// A file, read again for each token.
    File(PathBuf),
    /// The text of such a file.
    Inline(Secret),
    /// The metadata server at this host.
    Metadata(String),
}

/// The credential from the settings and the environment.
pub fn find(search: Search<'_>) -> Result<CredentialSource, Absent> {
    if let Some(token) = search.secret("access_token") {
        let label = format!("access token of {}", search.origin("access_token"));
        let recipe = super::Recipe::Fixed(Credential::Token(token));
        return Ok(CredentialSource { label, recipe, implied: BTreeMap::new() });
    }
    if let Some(given) = search.get("credentials") {
        return configured_credentials(given, search.environment);
    }
    if let Some(file) = gcloud_file(search.environment)
        && file.is_file()
    {
        return document(Recipe::File(file)).map_err(Absent::missing);
    }
    if runs_on_google(search.environment) {
        Ok(metadata(search.environment))
    } else {
        Err(Absent::missing(
            "GOOGLE_APPLICATION_CREDENTIALS is not set and `gcloud auth application-default login` was not run; \
             on Google Cloud set credentials = \"metadata\"",
        ))
    }
}

fn configured_credentials(given: &str, environment: &Environment) -> Result<CredentialSource, Absent> {
    let wrong = |reason| Absent::wrong("credentials", reason);
    if given == "metadata" {
        return Ok(metadata(environment));
    }
    if given.starts_with('{') {
        document(Recipe::Inline(Secret::new(given))).map_err(wrong)
    } else {
        document(Recipe::File(PathBuf::from(given))).map_err(wrong)
    }
}

/// Reads the document once, so that its errors are known at the start.
fn document(recipe: Recipe) -> Result<CredentialSource, String> {
    let document = recipe.document()?;
    document.check()?;
    Ok(CredentialSource {
        label: document.label(),
        implied: document.implied(),
        recipe: super::Recipe::Google(recipe),
    })
}

fn metadata(environment: &Environment) -> CredentialSource {
    let named = environment.get("GCE_METADATA_HOST").or_else(|| environment.get("GCE_METADATA_IP"));
    CredentialSource {
        label: "metadata server".to_owned(),
        recipe: super::Recipe::Google(Recipe::Metadata(named.unwrap_or(METADATA_HOST).to_owned())),
        implied: BTreeMap::new(),
    }
}

fn gcloud_file(environment: &Environment) -> Option<PathBuf> {
    const NAME: &str = "application_default_credentials.json";
    let folder = environment
        .get("CLOUDSDK_CONFIG")
        .map(PathBuf::from)
        .or_else(|| environment.get("APPDATA").map(|folder| Path::new(folder).join("gcloud")))
        .or_else(|| environment.home().map(|home| home.join(".config").join("gcloud")));
    folder.map(|folder| folder.join(NAME))
}

/// Variables of Compute Engine's tools, Cloud Run and App Engine.
fn runs_on_google(environment: &Environment) -> bool {
    const SIGNS: [&str; 5] =
        ["GCE_METADATA_HOST", "GCE_METADATA_IP", "K_SERVICE", "CLOUD_RUN_JOB", "GAE_SERVICE"];
    environment.get("NO_GCE_CHECK").is_none() && SIGNS.iter().any(|name| environment.get(name).is_some())
}

impl Recipe {
    /// A fresh token.
    pub async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        match self {
            Self::Metadata(host) => from_metadata(client, host, now).await,
            Self::File(_) | Self::Inline(_) => self.document()?.fetch(client, now).await,
        }
    }

    fn document(&self) -> Fetched<Document> {
        match self {
            Self::File(path) => Document::parse(&read_file(path)?),
            Self::Inline(text) => Document::parse(text.expose()),
            Self::Metadata(_) => Err("the metadata server has no file".to_owned()),
        }
    }
}

/// A credentials file, by its `type`.
enum Document {
    ServiceAccount(ServiceAccount),
    AuthorizedUser(AuthorizedUser),
    ExternalAccount(ExternalAccount),
    Impersonated(Impersonated),
}

#[derive(Deserialize)]
struct ServiceAccount {
    client_email: String,
    private_key: Secret,
    private_key_id: Option<String>,
    token_uri: Option<String>,
    project_id: Option<String>,
}

#[derive(Deserialize)]
struct AuthorizedUser {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    token_uri: Option<String>,
    quota_project_id: Option<String>,
}

#[derive(Deserialize)]
struct ExternalAccount {
    audience: String,
    subject_token_type: String,
    token_url: String,
    service_account_impersonation_url: Option<String>,
    credential_source: SubjectSource,
}

#[derive(Deserialize)]
struct SubjectSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    format: Option<SubjectFormat>,
}

#[derive(Deserialize)]
struct SubjectFormat {
    subject_token_field_name: Option<String>,
}

#[derive(Deserialize)]
struct Impersonated {
    service_account_impersonation_url: String,
    #[serde(default)]
    delegates: Vec<String>,
    source_credentials: Value,
}

impl Document {
    fn parse(text: &str) -> Fetched<Self> {
        let value = serde_json::from_str(text).map_err(|_| "the credentials are not JSON".to_owned())?;
        Self::of(&value)
    }

    fn of(value: &Value) -> Fetched<Self> {
        match value.get("type").and_then(Value::as_str) {
            Some("service_account") => Ok(Self::ServiceAccount(fields(value)?)),
            Some("authorized_user") => Ok(Self::AuthorizedUser(fields(value)?)),
            Some("external_account") => Ok(Self::ExternalAccount(fields(value)?)),
            Some("impersonated_service_account") => Ok(Self::Impersonated(fields(value)?)),
            Some(_) => Err("the credentials are of a type that is not supported".to_owned()),
            None => Err("the credentials have no type".to_owned()),
        }
    }

    fn label(&self) -> String {
        match self {
            Self::ServiceAccount(account) => format!("service account {}", account.client_email),
            Self::AuthorizedUser(_) => "gcloud user".to_owned(),
            Self::ExternalAccount(account) => match &account.service_account_impersonation_url {
                Some(url) => format!("workload identity as {}", impersonated_name(url)),
                None => "workload identity".to_owned(),
            },
            Self::Impersonated(account) => {
                format!("impersonated {}", impersonated_name(&account.service_account_impersonation_url))
            }
        }
    }

    fn implied(&self) -> BTreeMap<String, String> {
        let (name, value) = match self {
            Self::ServiceAccount(account) => ("project", &account.project_id),
            Self::AuthorizedUser(user) => ("quota_project", &user.quota_project_id),
            Self::ExternalAccount(_) | Self::Impersonated(_) => return BTreeMap::new(),
        };
        value.iter().map(|value| (name.to_owned(), value.clone())).collect()
    }

    /// Finds errors that would fail every fetch.
    fn check(&self) -> Fetched<()> {
        match self {
            Self::ServiceAccount(account) => {
                account.key()?;
                safe(account.token_url())
            }
            Self::AuthorizedUser(user) => safe(user.token_url()),
            Self::ExternalAccount(account) => {
                let source = &account.credential_source;
                if source.file.is_none() && source.url.is_none() {
                    return Err("only subject tokens from a file or a URL are supported".to_owned());
                }
                safe(&account.token_url)
            }
            Self::Impersonated(account) => {
                safe(&account.service_account_impersonation_url)?;
                Self::of(&account.source_credentials)?.check()
            }
        }
    }

    async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        self.check()?;
        match self {
            Self::ServiceAccount(account) => account.fetch(client, now).await,
            Self::AuthorizedUser(user) => user.fetch(client, now).await,
            Self::ExternalAccount(account) => account.fetch(client, now).await,
            Self::Impersonated(account) => {
                let source = Self::of(&account.source_credentials)?;
                let token = Box::pin(source.fetch(client, now)).await?;
                impersonate(client, &account.service_account_impersonation_url, &account.delegates, &token)
                    .await
            }
        }
    }
}

impl ServiceAccount {
    fn token_url(&self) -> &str {
        self.token_uri.as_deref().unwrap_or(TOKEN_URL)
    }

    /// The signing key. Variables often contain the line ends of the PEM text as `\n`.
    fn key(&self) -> Fetched<RsaKeyPair> {
        let wrong = || "the private_key is not an RSA key in PEM".to_owned();
        let pem = self.private_key.expose().replace("\\n", "\n");
        match PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())? {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(|_| wrong()),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        let assertion = self.assertion(now)?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("assertion", assertion.as_str()),
        ];
        let answer = Exchange::form(self.token_url(), &fields).send_for_json(client).await?;
        bearer(&answer, now)
    }

    /// The claim that is exchanged for a token, signed with RS256 (RFC 7523).
    fn assertion(&self, now: SystemTime) -> Fetched<String> {
        let issued = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.private_key_id {
            header["kid"] = id.as_str().into();
        }
        let claims = json!({
            "iss": self.client_email,
            "scope": SCOPE,
            "aud": self.token_url(),
            "iat": issued,
            "exp": issued + CLAIM_SECONDS,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let key = self.key()?;
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .map_err(|_| "the private_key does not sign".to_owned())?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

impl AuthorizedUser {
    fn token_url(&self) -> &str {
        self.token_uri.as_deref().unwrap_or(TOKEN_URL)
    }

    async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("client_secret", self.client_secret.expose()),
            ("refresh_token", self.refresh_token.expose()),
        ];
        let answer = Exchange::form(self.token_url(), &fields).send_for_json(client).await?;
        bearer(&answer, now)
    }
}

impl ExternalAccount {
    async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        let subject = self.credential_source.subject(client).await?;
        let fields = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("audience", &self.audience),
            ("scope", SCOPE),
            ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("subject_token", subject.expose()),
            ("subject_token_type", &self.subject_token_type),
        ];
        let answer = Exchange::form(&self.token_url, &fields).send_for_json(client).await?;
        let token = bearer(&answer, now)?;
        match &self.service_account_impersonation_url {
            Some(url) => impersonate(client, url, &[], &token).await,
            None => Ok(token),
        }
    }
}

impl SubjectSource {
    async fn subject(&self, client: &Client) -> Fetched<Secret> {
        let found = match (&self.file, &self.url) {
            (Some(file), _) => read_file(file)?,
            (None, Some(url)) => {
                let headers = self.headers.iter();
                let exchange = headers
                    .fold(Exchange::get(url), |exchange, (name, value)| exchange.secret_header(name, value));
                String::from_utf8_lossy(&exchange.send(client).await?).into_owned()
            }
            (None, None) => return Err("there is no source of subject tokens".to_owned()),
        };
        let field = self.format.as_ref().and_then(|format| format.subject_token_field_name.as_deref());
        match field {
            None => Ok(Secret::new(found.trim())),
            Some(field) => {
                let value: Value =
                    serde_json::from_str(&found).map_err(|_| "the subject token is not JSON".to_owned())?;
                text(&value, field).map(Secret::new)
            }
        }
    }
}

/// Exchanges a token for one of a service account.
async fn impersonate(client: &Client, url: &str, delegates: &[String], token: &Token) -> Fetched<Token> {
    safe(url)?;
    let Credential::Token(source) = &token.credential else {
        return Err("there is no token for the impersonation".to_owned());
    };
    let authorization = format!("Bearer {}", source.expose());
    let body = json!({"scope": [SCOPE], "lifetime": format!("{CLAIM_SECONDS}s"), "delegates": delegates});
    let exchange = Exchange::json(url, &body).secret_header("authorization", &authorization);
    let answer = exchange.send_for_json(client).await?;
    let credential = Credential::Token(Secret::new(text(&answer, "accessToken")?));
    Ok(Token { credential, expires: Some(timestamp(text(&answer, "expireTime")?)?) })
}

async fn from_metadata(client: &Client, host: &str, now: SystemTime) -> Fetched<Token> {
    let url = format!("http://{host}/computeMetadata/v1/instance/service-accounts/default/token");
    let answer = Exchange::get(&url).header("metadata-flavor", "Google").send_for_json(client).await?;
    bearer(&answer, now)
}

fn bearer(answer: &Value, now: SystemTime) -> Fetched<Token> {
    let life = seconds(answer, "expires_in").unwrap_or(USUAL_LIFE);
    let life = life.min(Duration::from_secs(24 * 3600).as_secs());
    Ok(Token::bearer(text(answer, "access_token")?, life, now))
}

/// The name in `…/serviceAccounts/NAME:generateAccessToken`.
fn impersonated_name(url: &str) -> &str {
    let name = url.rsplit('/').next().unwrap_or_default();
    name.split(':').next().unwrap_or_default()
}

fn safe(url: &str) -> Fetched<()> {
    if is_safe(url) { Ok(()) } else { Err("the token URL must begin with https://".to_owned()) }
}

/// The fields of a document. Errors name a missing field, never a value.
fn fields<T: DeserializeOwned>(value: &Value) -> Fetched<T> {
    T::deserialize(value).map_err(|error| {
        let error = error.to_string();
        if error.starts_with("missing field") {
            format!("the credentials are incomplete: {error}")
        } else {
            "a field of the credentials has a wrong type".to_owned()
        }
    })
}
