//! The gateway and the key for an agent.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use canon::Secret;
use http::{Request, StatusCode, header};

use super::agent::KEY_VARIABLE;
use super::listing::Listing;
use crate::cli::{banner, caller_key};
use crate::config::Settings;
use crate::env::Environment;
use crate::upstream::client::Client;
use crate::upstream::outbound::Route;

/// A gateway and a key for it.
pub struct Target {
    /// Without a trailing slash.
    pub url: String,
    pub key: Key,
}

/// A key and its source.
#[derive(Debug)]
pub struct Key {
    /// The key itself.
    pub secret: Secret,
    /// For a shell between double quotes, as a reference where possible.
    pub in_shell: String,
}

/// The gateway's deadline for its list of models.
const PATIENCE: Duration = Duration::from_secs(10);
/// Largest list of models.
const LIST_LIMIT: usize = 16 << 20;

impl Target {
    /// The gateway at this URL, which may be another machine: only a key that was meant for it is sent.
    pub fn elsewhere(url: &str, environment: &Environment) -> anyhow::Result<Self> {
        let url = url.trim_end_matches('/').trim_end_matches("/v1");
        let parsed: http::Uri = url.parse().map_err(|_| bad_url(url))?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
            return Err(bad_url(url));
        }
        let Some(key) = Key::of_environment(environment) else {
            anyhow::bail!("There is no key for {url}: set {KEY_VARIABLE}.");
        };
        Ok(Self { url: url.to_owned(), key })
    }

    /// The gateway that this configuration describes.
    pub fn of_settings(settings: &Settings, environment: &Environment) -> anyhow::Result<Self> {
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let url = local_url(scheme, settings.listen);
        let key = Key::of_environment(environment)
            .or_else(|| Key::of_configuration(settings, environment))
            .or_else(|| Key::in_file(&settings.database_url));
        let Some(key) = key else {
            anyhow::bail!(
                "There is no API key for an agent. Start the gateway once (`llmgateway serve`), which creates one \
                 in this folder, or set {KEY_VARIABLE} to a key from `llmgateway keys create NAME`."
            );
        };
        Ok(Self { url, key })
    }

    /// Its models. The error states what to do when no gateway answers or when it refuses the key.
    pub async fn models(&self, route: Route) -> anyhow::Result<Listing> {
        let url = format!("{}/v1/models", self.url);
        let bearer = format!("Bearer {}", self.key.secret.expose());
        let request = Request::get(&url).header(header::AUTHORIZATION, bearer).body(Bytes::new())?;
        let client = Client::new(route);
        let answer = match tokio::time::timeout(PATIENCE, client.exchange(request, LIST_LIMIT)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(reason)) => anyhow::bail!("{}", self.silent(&reason)),
            Err(_) => anyhow::bail!("{}", self.silent(&format!("no answer in {} s", PATIENCE.as_secs()))),
        };
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow::bail!(
                "The gateway at {} refuses the key. Set {KEY_VARIABLE} to a valid one: `llmgateway keys create NAME`.",
                self.url
            ),
            other => anyhow::bail!("{url} answered with status {}: is a gateway there?", other.as_u16()),
        }
        Listing::read(answer.body())
            .ok_or_else(|| anyhow::anyhow!("{url} did not answer with a list of models: is a gateway there?"))
    }

    fn silent(&self, reason: &str) -> String {
        format!(
            "No gateway answers at {} ({reason}). Start one in another terminal: `llmgateway serve`. Select another one \
             by --url.",
            self.url
        )
    }
}

fn bad_url(url: &str) -> anyhow::Error {
    anyhow::anyhow!("{url:?} is not the URL of a gateway, such as https://gateway.example.com.")
}

fn local_url(scheme: &str, listen: SocketAddr) -> String {
    format!("{scheme}://{}", banner::reachable(listen))
}

impl Key {
    fn of_environment(environment: &Environment) -> Option<Self> {
        let secret = Secret::new(environment.get(KEY_VARIABLE)?);
        Some(Self { secret, in_shell: format!("${KEY_VARIABLE}") })
    }

    fn of_configuration(settings: &Settings, environment: &Environment) -> Option<Self> {
        let entry = settings.api_keys.first()?;
        let in_shell = match environment.get(&entry.label) {
            Some(_) => format!("${}", entry.label),
            None => "YOUR_API_KEY".to_owned(),
        };
        Some(Self { secret: entry.secret.clone(), in_shell })
    }

    /// The key that the first start wrote beside the database.
    fn in_file(database_url: &str) -> Option<Self> {
        let file: PathBuf = caller_key::file_beside(database_url)?;
        let text = std::fs::read_to_string(&file).ok()?;
        let key = text.trim();
        (!key.is_empty())
            .then(|| Self { secret: Secret::new(key), in_shell: format!("$(cat '{}')", file.display()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_gateway_gets_only_the_key_that_was_set_for_it() {
        let environment = Environment::of(&[(KEY_VARIABLE, "llmg-remote")]);
        let target = Target::elsewhere("https://gateway.example.com/v1/", &environment).unwrap();
        assert_eq!(target.url, "https://gateway.example.com");
        assert_eq!(target.key.in_shell, "$LLMGATEWAY_API_KEY");
        let error = Target::elsewhere("https://gateway.example.com", &Environment::of(&[])).err().unwrap();
        assert!(error.to_string().contains("set LLMGATEWAY_API_KEY"), "{error}");
        for bad in ["gateway.example.com", "ftp://x", "http://", "not a url"] {
            let error = Target::elsewhere(bad, &environment).err().unwrap();
            assert!(error.to_string().contains("is not the URL"), "{bad}: {error}");
        }
    }

    #[test]
    fn the_key_of_the_first_start_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("g.db").display());
        assert!(Key::in_file(&url).is_none());
        std::fs::write(folder.path().join("g.key"), "llmg-first\n").unwrap();
        let key = Key::in_file(&url).unwrap();
        assert_eq!(key.secret.expose(), "llmg-first");
        assert!(key.in_shell.starts_with("$(cat '"), "{}", key.in_shell);
    }
}
