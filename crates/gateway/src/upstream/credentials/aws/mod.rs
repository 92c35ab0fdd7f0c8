//! Keys of AWS, found in the order of its SDKs ("Standardized credential providers" in the reference guide of
//! the AWS SDKs): keys, a profile of the shared files, web identity, a container's address, and the machine's
//! metadata. The last one is asked only where the configuration file mentions the provider: the network is
//! never probed.

mod profile;
mod sts;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use canon::Secret;
use serde_json::Value;
use wire::providers::Credential;

use super::exchange::{Exchange, is_safe, text, timestamp};
use super::token::{Fetched, Token};
use super::{Absent, CredentialSource, Search};
use crate::env::read_file;
use crate::upstream::Client;
use profile::{Files, ProfileSource};
use sts::{Role, Sts};

const USUAL_REGION: &str = "us-east-1";
const MACHINE: &str = "http://169.254.169.254";
const CONTAINER: &str = "http://169.254.170.2";
/// Keys of files are read again after this: login tools write new ones.
const FILE_LIFE: Duration = Duration::from_secs(600);

/// The source of keys, and the role that is assumed with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    base: Base,
    role: Option<Role>,
    sts: Sts,
    surroundings: Surroundings,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    Keys(Credential),
    Profile(Files, String),
    WebIdentity(Role, PathBuf),
    Container(Container),
    /// The metadata service of this machine.
    Machine,
}

/// The sources that a profile can refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Surroundings {
    keys: Option<Credential>,
    container: Option<Container>,
    machine: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Container {
    url: String,
    token: Option<Secret>,
    token_file: Option<PathBuf>,
}

/// The credential from the settings and the environment.
pub fn find(search: Search<'_>) -> Result<CredentialSource, Absent> {
    let surroundings = Surroundings::of(search)?;
    let mut implied = BTreeMap::new();
    let (base, mut label) = base(search, &surroundings, &mut implied)?;
    let region = search.get("region").or(implied.get("region").map(String::as_str)).unwrap_or(USUAL_REGION);
    let sts = Sts::new(region, search.environment.get("AWS_ENDPOINT_URL_STS"));
    if !is_safe(sts.url()) {
        return Err(Absent::missing("AWS_ENDPOINT_URL_STS must begin with https://"));
    }
    let role = match (search.get("role_arn"), &base) {
        // Web identity assumes the role itself.
        (None, _) | (_, Base::WebIdentity(..)) => None,
        (Some(role), _) => Some(this_role(search, role)),
    };
    if let Some(role) = &role {
        label = format!("role {} by {label}", role.short_name());
    }
    let recipe = match (base, role) {
        (Base::Keys(keys), None) => super::Recipe::Fixed(keys),
        (base, role) => super::Recipe::Aws(Box::new(Recipe { base, role, sts, surroundings })),
    };
    Ok(CredentialSource { label, recipe, implied })
}

fn base(
    search: Search<'_>,
    surroundings: &Surroundings,
    implied: &mut BTreeMap<String, String>,
) -> Result<(Base, String), Absent> {
    // A profile that the configuration file names takes precedence over keys of the environment.
    let names_profile = search.is_written("profile") && !search.is_written("access_key_id");
    if !names_profile && let Some(keys) = configured_keys(search)? {
        return Ok((Base::Keys(keys), format!("keys of {}", search.origin("access_key_id"))));
    }
    if let Some(found) = shared_profile(search, surroundings, implied)? {
        return Ok(found);
    }
    if let Some(found) = web_identity(search)? {
        return Ok(found);
    }
    if let Some(container) = &surroundings.container {
        return Ok((Base::Container(container.clone()), "container credentials".to_owned()));
    }
    let machine_is_off = search
        .environment
        .get("AWS_EC2_METADATA_DISABLED")
        .is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if search.written.is_some() && !machine_is_off {
        Ok((Base::Machine, "instance metadata".to_owned()))
    } else {
        Err(Absent::missing(
            "AWS_BEARER_TOKEN_BEDROCK is not set, and there are no AWS credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE, \
             a default profile, AWS_WEB_IDENTITY_TOKEN_FILE or a container's)",
        ))
    }
}

fn configured_keys(search: Search<'_>) -> Result<Option<Credential>, Absent> {
    match (search.get("access_key_id"), search.secret("secret_access_key")) {
        (Some(id), Some(secret)) => Ok(Some(Credential::Aws {
            access_key_id: id.to_owned(),
            secret_access_key: secret,
            session_token: session_token(search),
        })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(half("secret_access_key", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => Err(half("access_key_id", "AWS_ACCESS_KEY_ID")),
    }
}

/// The token belongs to the key: one of the environment does not fit a key of the configuration file.
fn session_token(search: Search<'_>) -> Option<Secret> {
    let same_origin = search.is_written("session_token") || !search.is_written("access_key_id");
    search.secret("session_token").filter(|_| same_origin)
}

fn half(name: &str, variable: &str) -> Absent {
    Absent::missing(format!("{variable} is not set (nor {name} in the configuration)"))
}

/// The named profile, which must exist, or the default one, which need not.
fn shared_profile(
    search: Search<'_>,
    surroundings: &Surroundings,
    implied: &mut BTreeMap<String, String>,
) -> Result<Option<(Base, String)>, Absent> {
    let named = search.get("profile");
    let Some(files) = Files::of(search.environment) else {
        return match named {
            Some(_) => Err(Absent::wrong("profile", "HOME is not set, so that no profiles are found")),
            None => Ok(None),
        };
    };
    let name = named.unwrap_or("default");
    let profiles = files.read();
    match profiles.link(name) {
        Ok(link) => {
            surroundings.check(&link).map_err(|reason| Absent::wrong("profile", reason))?;
            let region = profiles.region(name);
            implied.extend(region.map(|region| ("region".to_owned(), region)));
            Ok(Some((Base::Profile(files, name.to_owned()), format!("profile {name}"))))
        }
        Err(reason) if named.is_some() => Err(Absent::wrong("profile", reason)),
        Err(_) => Ok(None),
    }
}

fn web_identity(search: Search<'_>) -> Result<Option<(Base, String)>, Absent> {
    let Some(file) = search.get("web_identity_token_file") else { return Ok(None) };
    let Some(role) = search.get("role_arn").or(search.environment.get("AWS_ROLE_ARN")) else {
        return Err(Absent::missing("AWS_ROLE_ARN is not set, and AWS_WEB_IDENTITY_TOKEN_FILE needs it"));
    };
    let role = this_role(search, role);
    let label = format!("web identity as {}", role.short_name());
    Ok(Some((Base::WebIdentity(role, PathBuf::from(file)), label)))
}

fn this_role(search: Search<'_>, arn: &str) -> Role {
    Role::new(arn)
        .session(search.environment.get("AWS_ROLE_SESSION_NAME"))
        .external_id(search.get("external_id"))
}

impl Surroundings {
    fn of(search: Search<'_>) -> Result<Self, Absent> {
        let variable = |name| search.environment.get(name);
        let keys = match (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            (Some(id), Some(secret)) => Some(Credential::Aws {
                access_key_id: id.to_owned(),
                secret_access_key: Secret::new(secret),
                session_token: variable("AWS_SESSION_TOKEN").map(Secret::new),
            }),
            _ => None,
        };
        let relative = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let url = relative.map(|path| format!("{CONTAINER}{path}"));
        let url = url.or_else(|| variable("AWS_CONTAINER_CREDENTIALS_FULL_URI").map(str::to_owned));
        if url.as_ref().is_some_and(|url| !is_safe(url)) {
            let reason = "AWS_CONTAINER_CREDENTIALS_FULL_URI must begin with https:// or be an address of this machine";
            return Err(Absent::missing(reason));
        }
        let container = url.map(|url| Container {
            url,
            token: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN").map(Secret::new),
            token_file: variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE").map(PathBuf::from),
        });
        let machine = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(MACHINE);
        Ok(Self { keys, container, machine: machine.trim_end_matches('/').to_owned() })
    }

    /// Finds references to missing sources.
    fn check(&self, link: &ProfileSource) -> Result<(), String> {
        match link {
            ProfileSource::Environment if self.keys.is_none() => {
                Err("the environment has no AWS keys".to_owned())
            }
            ProfileSource::Container if self.container.is_none() => {
                Err("there are no container credentials".to_owned())
            }
            ProfileSource::Assume(_, source) => self.check(source),
            _ => Ok(()),
        }
    }
}

impl Recipe {
    /// Fresh keys.
    pub async fn fetch(&self, client: &Client, now: SystemTime) -> Fetched<Token> {
        let keys = match &self.base {
            Base::Keys(keys) => Token { credential: keys.clone(), expires: None },
            Base::Profile(files, name) => self.follow(&files.read().link(name)?, client, now).await?,
            Base::WebIdentity(role, file) => self.sts.with_web_identity(client, role, file).await?,
            Base::Container(container) => container.fetch(client).await?,
            Base::Machine => from_machine(client, &self.surroundings.machine).await?,
        };
        match &self.role {
            Some(role) => self.sts.assume(client, role, &keys.credential, now).await,
            None => Ok(keys),
        }
    }

    async fn follow(&self, link: &ProfileSource, client: &Client, now: SystemTime) -> Fetched<Token> {
        match link {
            ProfileSource::Keys(keys) => {
                Ok(Token { credential: keys.clone(), expires: now.checked_add(FILE_LIFE) })
            }
            ProfileSource::WebIdentity(role, file) => self.sts.with_web_identity(client, role, file).await,
            ProfileSource::Assume(role, source) => {
                let keys = Box::pin(self.follow(source, client, now)).await?;
                self.sts.assume(client, role, &keys.credential, now).await
            }
            ProfileSource::Environment => match &self.surroundings.keys {
                Some(keys) => Ok(Token { credential: keys.clone(), expires: None }),
                None => Err("the environment has no AWS keys".to_owned()),
            },
            ProfileSource::Container => match &self.surroundings.container {
                Some(container) => container.fetch(client).await,
                None => Err("there are no container credentials".to_owned()),
            },
            ProfileSource::Machine => from_machine(client, &self.surroundings.machine).await,
        }
    }
}

impl Container {
    async fn fetch(&self, client: &Client) -> Fetched<Token> {
        let token = match &self.token_file {
            Some(file) => Some(Secret::new(read_file(file)?.trim())),
            None => self.token.clone(),
        };
        let mut exchange = Exchange::get(&self.url);
        if let Some(token) = &token {
            exchange = exchange.secret_header("authorization", token.expose());
        }
        keys_of(&exchange.send_for_json(client).await?)
    }
}

/// Version 2 of the instance metadata service: a session, the name of the role, its keys.
async fn from_machine(client: &Client, endpoint: &str) -> Fetched<Token> {
    let url = format!("{endpoint}/latest/api/token");
    let session =
        Exchange::put(&url).header("x-aws-ec2-metadata-token-ttl-seconds", "300").send(client).await?;
    let session = String::from_utf8_lossy(&session).trim().to_owned();
    let get = |url| Exchange::get(url).secret_header("x-aws-ec2-metadata-token", &session);
    let roles = format!("{endpoint}/latest/meta-data/iam/security-credentials/");
    let found = get(&roles).send(client).await?;
    let found = String::from_utf8_lossy(&found);
    let role = found.lines().next().map(str::trim).filter(|role| !role.is_empty());
    let role = role.ok_or("this machine has no role")?;
    keys_of(&get(&format!("{roles}{role}")).send_for_json(client).await?)
}

/// Keys in the form of containers and machines.
fn keys_of(answer: &Value) -> Fetched<Token> {
    if let Some(code) = answer.get("Code").and_then(Value::as_str).filter(|code| *code != "Success") {
        let code: String = code.chars().filter(char::is_ascii_alphanumeric).take(60).collect();
        return Err(format!("the answer is an error: {code}"));
    }
    let expires = answer.get("Expiration").and_then(Value::as_str).map(timestamp).transpose()?;
    let credential = Credential::Aws {
        access_key_id: text(answer, "AccessKeyId")?.to_owned(),
        secret_access_key: Secret::new(text(answer, "SecretAccessKey")?),
        session_token: answer.get("Token").and_then(Value::as_str).map(Secret::new),
    };
    Ok(Token { credential, expires })
}
