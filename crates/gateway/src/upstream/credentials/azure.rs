//! Access tokens of Entra ID: an application's secret, a federated token (workload identity), or the managed identity
//! of an Azure machine. Facts: "Microsoft identity platform and the OAuth 2.0 client credentials flow" and "How to use
//! managed identities" on learn.microsoft.com.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::SystemTime;

use canon::Secret;

use super::exchange::{Exchange, is_safe, seconds, text};
use super::token::{Fetched, Token};
use super::{Absent, CredentialSource, Search};
use crate::env::read_file;
use crate::upstream::Client;

const AUTHORITY: &str = "https://login.microsoftonline.com";
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
/// The address where machines get tokens of their managed identity.
const MACHINE: &str = "http://169.254.169.254/metadata/identity/oauth2/token";
const USUAL_LIFE: u64 = 3600;

/// The source of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    scope: String,
    way: TokenSource,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TokenSource {
    /// An application with its proof for the authority.
    Application { url: String, client_id: String, proof: Proof },
    /// App Service and Container Apps: an address and a secret header in the environment.
    Service { endpoint: String, header: Secret, client_id: Option<String> },
    /// A virtual machine.
    Machine { client_id: Option<String> },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    Secret(Secret),
    /// A file with a token of another issuer, read again for each token.
    File(PathBuf),
}

/// The credential from the settings and the environment.
pub fn find(search: Search<'_>) -> Result<CredentialSource, Absent> {
    let scope = search.get("token_scope").unwrap_or(SCOPE).to_owned();
    let found = |label: String, way: TokenSource| CredentialSource {
        label,
        recipe: super::Recipe::Azure(Recipe { scope, way }),
        implied: BTreeMap::new(),
    };
    if search.switch("managed_identity")? {
        return Ok(found("managed identity".to_owned(), managed(search)));
    }
    if let Some((way, client_id)) = application(search)? {
        let kind = match &way {
            TokenSource::Application { proof: Proof::File(_), .. } => "workload identity",
            _ => "application",
        };
        return Ok(found(format!("{kind} {client_id}"), way));
    }
    if search.environment.get("IDENTITY_ENDPOINT").is_some() {
        Ok(found("managed identity".to_owned(), managed(search)))
    } else {
        Err(incomplete(search))
    }
}

/// The tenant, the application and its proof, if all three are set.
fn application<'a>(search: Search<'a>) -> Result<Option<(TokenSource, &'a str)>, Absent> {
    let (Some(tenant), Some(client_id)) = (search.get("tenant_id"), search.get("client_id")) else {
        return Ok(None);
    };
    let proof = match (search.secret("client_secret"), search.get("federated_token_file")) {
        (Some(secret), _) => Proof::Secret(secret),
        (None, Some(file)) => Proof::File(PathBuf::from(file)),
        (None, None) => return Ok(None),
    };
    if !tenant.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err(Absent::wrong("tenant_id", "is neither the id of a tenant nor its domain"));
    }
    let authority = search.get("authority_host").unwrap_or(AUTHORITY).trim_end_matches('/');
    let url = format!("{authority}/{tenant}/oauth2/v2.0/token");
    if !is_safe(&url) {
        return Err(Absent::wrong("authority_host", "must begin with https://"));
    }
    Ok(Some((TokenSource::Application { url, client_id: client_id.to_owned(), proof }, client_id)))
}

fn managed(search: Search<'_>) -> TokenSource {
    let client_id = search.get("client_id").map(str::to_owned);
    let variable = |name| search.environment.get(name);
    match (variable("IDENTITY_ENDPOINT"), variable("IDENTITY_HEADER")) {
        (Some(endpoint), Some(header)) => {
            TokenSource::Service { endpoint: endpoint.to_owned(), header: Secret::new(header), client_id }
        }
        _ => TokenSource::Machine { client_id },
    }
}

/// Names the first missing part of an incomplete credential.
fn incomplete(search: Search<'_>) -> Absent {
    let given = |name| search.get(name).is_some();
    let begun = given("tenant_id") || given("client_secret") || given("federated_token_file");
    if !begun {
        return Absent::missing("");
    }
    let lacks = [("tenant_id", "AZURE_TENANT_ID"), ("client_id", "AZURE_CLIENT_ID")]
        .into_iter()
        .find(|(name, _)| !given(name))
        .unwrap_or(("client_secret", "AZURE_CLIENT_SECRET"));
    Absent::missing(format!("{} is not set (nor {} in the configuration)", lacks.1, lacks.0))
}

impl Recipe {
    /// A fresh token.
    pub async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        let answer = match &self.way {
            TokenSource::Application { url, client_id, proof } => {
                self.ask_authority(client, url, client_id, proof).await?
            }
            TokenSource::Service { endpoint, header, client_id } => {
                let url = self.managed_url(endpoint, "2019-08-01", client_id.as_deref());
                let exchange = Exchange::get(&url).secret_header("x-identity-header", header.expose());
                exchange.send_for_json(client).await?
            }
            TokenSource::Machine { client_id } => {
                let url = self.managed_url(MACHINE, "2018-02-01", client_id.as_deref());
                Exchange::get(&url).header("metadata", "true").send_for_json(client).await?
            }
        };
        Ok(Token::bearer(text(&answer, "access_token")?, life(&answer, now), now))
    }

    async fn ask_authority(
        &self,
        client: &Client,
        url: &str,
        client_id: &str,
        proof: &Proof,
    ) -> Fetched<serde_json::Value> {
        const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
        let file;
        let mut fields =
            vec![("grant_type", "client_credentials"), ("client_id", client_id), ("scope", &self.scope)];
        match proof {
            Proof::Secret(secret) => fields.push(("client_secret", secret.expose())),
            Proof::File(path) => {
                file = read_file(path)?;
                fields.push(("client_assertion_type", ASSERTION_TYPE));
                fields.push(("client_assertion", file.trim()));
            }
        }
        Exchange::form(url, &fields).send_for_json(client).await
    }

    fn managed_url(&self, endpoint: &str, version: &str, client_id: Option<&str>) -> String {
        let resource = self.scope.strip_suffix("/.default").unwrap_or(&self.scope);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("api-version", version).append_pair("resource", resource);
        if let Some(client_id) = client_id {
            query.append_pair("client_id", client_id);
        }
        format!("{endpoint}?{}", query.finish())
    }
}

/// `expires_in`, or App Service's `expires_on` in seconds since 1970.
fn life(answer: &serde_json::Value, now: SystemTime) -> u64 {
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let until = || seconds(answer, "expires_on").map(|until| until.saturating_sub(since));
    seconds(answer, "expires_in").or_else(until).unwrap_or(USUAL_LIFE).min(7 * 24 * 3600)
}
