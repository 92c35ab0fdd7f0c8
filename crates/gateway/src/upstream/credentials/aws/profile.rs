//! Profiles of the shared files `~/.aws/config` and `~/.aws/credentials` ("Shared config and credentials files" in the
//! reference guide of the AWS SDKs).

use std::collections::BTreeMap;
use std::path::PathBuf;

use canon::Secret;
use wire::providers::Credential;

use super::sts::Role;
use crate::env::{Environment, read_file};

/// How many profiles may refer to each other.
const MAX_DEPTH: usize = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    config: PathBuf,
    credentials: PathBuf,
}

#[derive(Debug, Default)]
pub struct Profiles {
    by_name: BTreeMap<String, BTreeMap<String, String>>,
}

/// The source of a profile's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProfileSource {
    Keys(Credential),
    /// A role is assumed with a token of another issuer.
    WebIdentity(Role, PathBuf),
    /// A role is assumed with other keys.
    Assume(Role, Box<ProfileSource>),
    Environment,
    Container,
    Machine,
}

impl Files {
    /// The default paths, or those in variables. None without a home folder.
    pub fn of(environment: &Environment) -> Option<Self> {
        let place = |variable: &str, name: &str| {
            let given = environment.get(variable).map(PathBuf::from);
            given.or_else(|| Some(environment.home()?.join(".aws").join(name)))
        };
        Some(Self {
            config: place("AWS_CONFIG_FILE", "config")?,
            credentials: place("AWS_SHARED_CREDENTIALS_FILE", "credentials")?,
        })
    }

    /// Reads both. A missing file has no profiles.
    pub fn read(&self) -> Profiles {
        let mut profiles = Profiles::default();
        profiles.add(&read_file(&self.config).unwrap_or_default(), true);
        // The credentials file takes precedence.
        profiles.add(&read_file(&self.credentials).unwrap_or_default(), false);
        profiles
    }
}

impl Profiles {
    pub fn region(&self, name: &str) -> Option<String> {
        self.by_name.get(name)?.get("region").cloned()
    }

    /// The source of a profile's keys.
    pub fn link(&self, name: &str) -> Result<ProfileSource, String> {
        self.link_at(name, 0)
    }

    fn link_at(&self, name: &str, depth: usize) -> Result<ProfileSource, String> {
        let profile = self.by_name.get(name).ok_or_else(|| format!("there is no profile {name:?}"))?;
        if depth > MAX_DEPTH {
            return Err(format!("the profile {name:?} refers to itself"));
        }
        let get = |key: &str| profile.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let Some(arn) = get("role_arn") else { return keys(name, profile) };
        let role = Role::new(arn).session(get("role_session_name")).external_id(get("external_id"));
        if let Some(file) = get("web_identity_token_file") {
            return Ok(ProfileSource::WebIdentity(role, PathBuf::from(file)));
        }
        let source = match (get("source_profile"), get("credential_source")) {
            // A profile may name itself as the source: its own keys are then used.
            (Some(source), _) if source == name => keys(name, profile)?,
            (Some(source), _) => self.link_at(source, depth + 1)?,
            (None, Some("Environment")) => ProfileSource::Environment,
            (None, Some("EcsContainer")) => ProfileSource::Container,
            (None, Some("Ec2InstanceMetadata")) => ProfileSource::Machine,
            (None, _) => return Err(format!("the profile {name:?} has a role_arn and no source_profile")),
        };
        Ok(ProfileSource::Assume(role, Box::new(source)))
    }

    /// Adds the sections of a file. In the config file all but the default one are called `profile NAME`.
    fn add(&mut self, text: &str, is_config: bool) {
        let mut current: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(header) = trimmed.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                current = section(header.trim(), is_config);
                continue;
            }
            // An indented line continues a table within a profile, which contains no keys for us.
            if line.starts_with([' ', '\t']) {
                continue;
            }
            if let (Some(name), Some((key, value))) = (&current, trimmed.split_once('=')) {
                let value =
                    value.split(" #").next().unwrap_or_default().split(" ;").next().unwrap_or_default();
                let profile = self.by_name.entry(name.clone()).or_default();
                profile.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }
}

/// The profile that a section describes.
fn section(header: &str, is_config: bool) -> Option<String> {
    match header.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t'])) {
        Some(name) if is_config => Some(name.trim().trim_matches('"').to_owned()),
        _ if is_config => (header == "default").then(|| header.to_owned()),
        _ => Some(header.to_owned()),
    }
}

fn keys(name: &str, profile: &BTreeMap<String, String>) -> Result<ProfileSource, String> {
    let get = |key: &str| profile.get(key).filter(|value| !value.is_empty());
    if let (Some(id), Some(secret)) = (get("aws_access_key_id"), get("aws_secret_access_key")) {
        return Ok(ProfileSource::Keys(Credential::Aws {
            access_key_id: id.clone(),
            secret_access_key: Secret::new(secret),
            session_token: get("aws_session_token").map(Secret::new),
        }));
    }
    let unsupported = ["sso_session", "sso_start_url", "credential_process", "login_session"]
        .into_iter()
        .find(|key| profile.contains_key(*key));
    Err(match unsupported {
        Some(key) => format!(
            "the profile {name:?} uses {key}, which is not supported; `aws configure export-credentials --profile \
             {name} --format env` gives keys"
        ),
        None => format!("the profile {name:?} has no keys"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "# comment\n[default]\nregion = eu-central-1 # here\n\n[profile dev]\nrole_arn = arn:aws:iam::1:role/dev\n\
        source_profile = base\nexternal_id=x\ns3 =\n  aws_access_key_id = wrong\n[profile sso]\nsso_session = s\n\
        [profile loop]\nrole_arn = r\nsource_profile = pool\n[profile pool]\nrole_arn = r\nsource_profile = loop\n\
        [profile pod]\nrole_arn = r\ncredential_source = EcsContainer\n[base]\naws_access_key_id = not-a-profile\n";
    const CREDENTIALS: &str = "[default]\naws_access_key_id = AKID\naws_secret_access_key = a/b+c=\n[base]\nAWS_ACCESS_KEY_ID=B\n\
        aws_secret_access_key=S\naws_session_token = T\n";

    fn profiles() -> Profiles {
        let mut profiles = Profiles::default();
        profiles.add(CONFIG, true);
        profiles.add(CREDENTIALS, false);
        profiles
    }

    fn aws(id: &str, secret: &str, token: Option<&str>) -> ProfileSource {
        ProfileSource::Keys(Credential::Aws {
            access_key_id: id.to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: token.map(Secret::new),
        })
    }

    #[test]
    fn profiles_are_read_from_both_files() {
        let profiles = profiles();
        assert_eq!(profiles.region("default").as_deref(), Some("eu-central-1"));
        assert_eq!(profiles.link("default").unwrap(), aws("AKID", "a/b+c=", None));
        let role = Role::new("arn:aws:iam::1:role/dev").external_id(Some("x"));
        assert_eq!(role.short_name(), "dev");
        assert_eq!(
            profiles.link("dev").unwrap(),
            ProfileSource::Assume(role, Box::new(aws("B", "S", Some("T"))))
        );
        assert!(
            matches!(profiles.link("pod").unwrap(), ProfileSource::Assume(_, source) if *source == ProfileSource::Container)
        );
    }

    #[test]
    fn unusable_profiles_report_the_reason() {
        let profiles = profiles();
        for (name, reason) in
            [("sso", "sso_session"), ("loop", "refers to itself"), ("none", "there is no profile")]
        {
            assert!(profiles.link(name).unwrap_err().contains(reason), "{name}");
        }
    }
}
