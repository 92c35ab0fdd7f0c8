//! The Security Token Service: keys of a role. Facts: the actions AssumeRole and AssumeRoleWithWebIdentity in its API
//! reference.

use std::path::Path;
use std::time::SystemTime;

use canon::Secret;
use wire::providers::Credential;

use crate::env::read_file;
use crate::upstream::Client;
use crate::upstream::credentials::exchange::{Exchange, tag, timestamp};
use crate::upstream::credentials::token::{Fetched, Token};

const VERSION: &str = "2011-06-15";
const SESSION: &str = "llmgateway";

/// The address of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sts {
    url: String,
    region: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    arn: String,
    session: String,
    external_id: Option<String>,
}

impl Role {
    pub fn new(arn: &str) -> Self {
        Self { arn: arn.to_owned(), session: SESSION.to_owned(), external_id: None }
    }

    /// Another session name in the logs of AWS.
    pub fn session(mut self, name: Option<&str>) -> Self {
        if let Some(name) = name {
            self.session = name.to_owned();
        }
        self
    }

    /// The external id that the owner of the role requires.
    pub fn external_id(mut self, id: Option<&str>) -> Self {
        self.external_id = id.map(str::to_owned);
        self
    }

    /// The last part of the ARN.
    pub fn short_name(&self) -> &str {
        self.arn.rsplit('/').next().unwrap_or_default()
    }
}

impl Sts {
    /// The region's service, or the one at this URL.
    pub fn new(region: &str, url: Option<&str>) -> Self {
        let ending = if region.starts_with("cn-") { ".cn" } else { "" };
        let usual = || format!("https://sts.{region}.amazonaws.com{ending}");
        let url = url.map_or_else(usual, |url| url.trim_end_matches('/').to_owned());
        Self { url: format!("{url}/"), region: region.to_owned() }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Keys of a role, by other keys.
    pub async fn assume(
        &self,
        client: &Client,
        role: &Role,
        keys: &Credential,
        now: SystemTime,
    ) -> Fetched<Token> {
        let mut fields = self.fields("AssumeRole", role);
        if let Some(id) = &role.external_id {
            fields.push(("ExternalId", id));
        }
        let mut exchange = Exchange::form(&self.url, &fields).header("accept", "text/xml");
        if let Credential::Aws { secret_access_key, session_token, .. } = keys {
            exchange = exchange.secret(secret_access_key.expose());
            exchange = session_token.iter().fold(exchange, |exchange, token| exchange.secret(token.expose()));
        }
        let mut request = exchange.request()?;
        wire::providers::sign_for_aws(&mut request, keys, "sts", &self.region, now)
            .map_err(|error| error.message.trim_end_matches('.').to_owned())?;
        keys_of(&exchange.send_request(client, request).await?)
    }

    /// Keys of a role, by a token of another issuer. The file is read each time because such tokens are
    /// short-lived.
    pub async fn with_web_identity(&self, client: &Client, role: &Role, file: &Path) -> Fetched<Token> {
        let token = read_file(file)?;
        let mut fields = self.fields("AssumeRoleWithWebIdentity", role);
        fields.push(("WebIdentityToken", token.trim()));
        let exchange = Exchange::form(&self.url, &fields).header("accept", "text/xml");
        keys_of(&exchange.send(client).await?)
    }

    fn fields<'a>(&self, action: &'a str, role: &'a Role) -> Vec<(&'static str, &'a str)> {
        vec![
            ("Action", action),
            ("Version", VERSION),
            ("RoleArn", &role.arn),
            ("RoleSessionName", &role.session),
        ]
    }
}

fn keys_of(answer: &[u8]) -> Fetched<Token> {
    let answer = String::from_utf8_lossy(answer);
    let field = |name: &str| {
        let found = tag(&answer, name).filter(|text| !text.is_empty());
        found.ok_or_else(|| format!("the answer has no {name}"))
    };
    let credential = Credential::Aws {
        access_key_id: field("AccessKeyId")?.to_owned(),
        secret_access_key: Secret::new(field("SecretAccessKey")?),
        session_token: Some(Secret::new(field("SessionToken")?)),
    };
    Ok(Token { credential, expires: Some(timestamp(field("Expiration")?)?) })
}
