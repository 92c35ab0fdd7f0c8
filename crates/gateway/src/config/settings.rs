//! The meaning of the configuration: checked values, wrapped secrets, enabled and disabled providers with the
//! reasons.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use canon::{Quirks, Secret};
use catalog::wording::{Form, plain};
use catalog::{Catalog, DataRow, ProviderRow};
use limits::{Bodies, OnExhausted, Policy, Role, Unpriced};
use wire::Protocol;
use wire::providers::{Auth, CallStyle, UrlMatch};

use super::base_url;
use super::effective::EffectiveSettings;
use super::file::{
    BodiesSection, ConfigFile, LoggingSection, MetadataPlace, Mistake, ModelSection, OidcSection, Pick,
    ProjectKeySection, ProviderSection, ResponsesSection, ServerTlsSection, TimeoutSection, nearest, place,
};
use super::guardrail::{Guardrail, MOST_GUARDRAILS};
use super::oidc::OidcSettings;
use super::redis_url::RedisUrl;
use super::source::ConfigSource;
use super::webhook::Webhook;
use crate::clock;
use crate::cors::Cors;
use crate::env::Environment;
use crate::tls;
use crate::upstream::credentials::{self, Absent, CredentialSettings, Recipe, Search};
use crate::upstream::outbound::{OutboundSettings, ProviderOutbound};

/// The provider that serves when no other is enabled.
pub const DEMO: &str = "demo";

/// All settings of the gateway.
#[derive(Debug)]
pub struct Settings {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// Largest request body in bytes.
    pub body_limit: usize,
    /// Largest form with files in bytes.
    pub upload_limit: usize,
    /// Largest request head in bytes.
    pub header_limit: usize,
    /// Most connections at a time.
    pub max_connections: usize,
    /// How long all requests are served after a stop was requested.
    pub drain: Duration,
    /// How long open streams may continue after that.
    pub shutdown: Duration,
    /// How long a client may take to send its head, and between two pieces of its body.
    pub read_timeout: Duration,
    /// How long a client may take to send a whole body.
    pub body_timeout: Duration,
    /// How long a client's connection may be idle.
    pub keep_alive: Duration,
    /// Most bytes of request bodies at a time.
    pub buffer_limit: usize,
    /// The address of operators' routes, if separate from the callers'.
    pub internal_listen: Option<SocketAddr>,
    /// The certificate for callers.
    pub tls: Option<tls::Files>,
    /// Whether clients may use HTTP/2 without TLS.
    pub h2c: bool,
    /// The place of the gateway's object in answers.
    pub metadata: MetadataPlace,
    /// How answers are stored.
    pub keep: KeepSettings,
    /// Which bodies are kept for administrators.
    pub bodies: BodySettings,
    /// Which pages may call from a browser.
    pub cors: Cors,
    /// Keys that may call.
    pub api_keys: Vec<KeyEntry>,
    pub admin_keys: Vec<KeyEntry>,
    /// The identity provider of the dashboard.
    pub oidc: Option<OidcSettings>,
    pub projects: Vec<ProjectSettings>,
    pub guardrails: Vec<Arc<Guardrail>>,
    /// Where events are sent.
    pub webhooks: Vec<Webhook>,
    /// The server where nodes share counters; none for a single node.
    pub redis: Option<RedisUrl>,
    /// Each request asks the common counters.
    pub exact_limits: bool,
    /// Limits of the response cache.
    pub cache: CacheSettings,
    pub database_url: String,
    pub spool: PathBuf,
    /// Most bytes in the spool.
    pub spool_limit: u64,
    /// Days for which usage records are kept; none: for ever.
    pub keep_usage_days: Option<u32>,
    /// The format of the log.
    pub logging: LoggingSection,
    /// How providers are chosen and retried.
    pub routing: routing::Settings,
    /// How long to wait for providers.
    pub timeouts: Timeouts,
    /// TLS and proxies of all outgoing connections.
    pub outbound: OutboundSettings,
    /// Every provider of the catalog and of the configuration.
    pub providers: Vec<ProviderSettings>,
    pub aliases: BTreeMap<String, ModelSection>,
    /// The catalog with the operator's own providers.
    pub catalog: Catalog,
    /// The source of all this, for a reload.
    pub source: Option<ConfigSource>,
    /// The settings as people may see them.
    pub shown: Arc<EffectiveSettings>,
    /// A hash of the file; empty without one.
    pub fingerprint: String,
    /// Likely mistakes: the gateway runs, and reports them.
    pub doubts: Vec<Mistake>,
}

/// A key with a name for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyEntry {
    /// `key1`, or the name of its variable.
    pub label: String,
    pub secret: Secret,
}

#[derive(Clone, Debug)]
pub struct ProjectSettings {
    pub id: String,
    pub policy: Policy,
    pub keys: Vec<ProjectKey>,
}

#[derive(Clone, Debug)]
pub struct ProjectKey {
    pub name: String,
    pub secret: Secret,
    /// Its roles, separated by commas.
    pub roles: String,
    /// The time from which it is invalid, in milliseconds since 1970.
    pub expires_at_ms: Option<i64>,
    pub policy: Policy,
}

/// How long to wait for providers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timeouts {
    pub connect: Duration,
    /// To the head of an answer.
    pub first_byte: Duration,
    /// Streams: to the first content.
    pub first_token: Duration,
    /// Between two pieces.
    pub idle: Duration,
    /// For one attempt.
    pub total: Duration,
    /// For all attempts of a request.
    pub request: Duration,
    /// WebSockets: without a byte in either direction.
    pub websocket_idle: Duration,
    /// Retry a whole answer at another provider although the first one had begun it.
    pub repeat_begun: bool,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            first_token: Duration::from_secs(120),
            idle: Duration::from_secs(120),
            total: Duration::from_secs(1800),
            request: Duration::from_secs(3600),
            websocket_idle: Duration::from_secs(600),
            repeat_begun: false,
        }
    }
}

impl TimeoutSection {
    /// These timeouts, with the others' values where they are not given.
    pub fn over(&self, base: Timeouts) -> Timeouts {
        let given = |seconds: Option<f64>, base: Duration| seconds.and_then(limit).unwrap_or(base);
        Timeouts {
            connect: given(self.connect, base.connect),
            first_byte: given(self.first_byte, base.first_byte),
            first_token: given(self.first_token, base.first_token),
            idle: given(self.idle, base.idle),
            total: given(self.total, base.total),
            request: given(self.request, base.request),
            websocket_idle: given(self.websocket_idle, base.websocket_idle),
            repeat_begun: self.repeat_begun.unwrap_or(base.repeat_begun),
        }
    }

    fn seconds(&self) -> [(&'static str, Option<f64>); 7] {
        [
            ("connect", self.connect),
            ("first_byte", self.first_byte),
            ("first_token", self.first_token),
            ("idle", self.idle),
            ("total", self.total),
            ("request", self.request),
            ("websocket_idle", self.websocket_idle),
        ]
    }
}

/// A valid time limit: positive, and within the range of the clock.
fn limit(seconds: f64) -> Option<Duration> {
    let limit = Duration::try_from_secs_f64(seconds).ok()?;
    (limit > Duration::ZERO && limit <= Duration::from_secs(366 * 24 * 3600)).then_some(limit)
}

#[derive(Clone, PartialEq)]
pub struct ProviderSettings {
    pub row: Arc<ProviderRow>,
    /// Its base URL without a trailing slash.
    pub base_url: String,
    /// The source of the base URL if it is not the catalog: a variable, or the configuration.
    pub base_url_source: Option<String>,
    /// Region, project and other settings.
    pub settings: BTreeMap<String, String>,
    pub keys: Vec<KeyEntry>,
    /// Secrets besides the keys that a provider could quote: in the settings, and in headers from references.
    pub secrets: Vec<Secret>,
    /// How to fetch credentials, where there is no key.
    pub recipe: Option<Recipe>,
    /// Why it cannot be used; none when it can.
    pub disabled: Option<String>,
    /// The source of the credential, for the banner. Never the secret.
    pub credential_source: String,
    /// Its TLS and its proxy.
    pub outbound: ProviderOutbound,
    /// It gets the id of each request.
    pub forward_request_id: bool,
    pub timeouts: Timeouts,
    /// Whether it trains models with the data that it receives; none when unknown.
    pub trains_on_data: Option<bool>,
    /// Whether it stores requests or answers; none when unknown.
    pub retains_data: Option<bool>,
    /// Where it processes data, by the configuration.
    data_region: Option<String>,
}

impl ProviderSettings {
    /// The region that serves a model; none when unknown.
    pub fn region<'a>(&'a self, model: &'a str) -> Option<Cow<'a, str>> {
        if let Some(region) = &self.data_region {
            return Some(Cow::Borrowed(region));
        }
        let known = wire::providers::endpoint(self.row.calling).region(model, &self.settings);
        known.or_else(|| self.known_data().region.as_deref().map(Cow::Borrowed))
    }

    /// The catalog's facts about the provider, where its address is the catalog's.
    fn known_data(&self) -> &DataRow {
        static UNKNOWN: DataRow = DataRow { trains: None, retains: None, region: None, source: None };
        if self.base_url_source.is_none() { &self.row.data } else { &UNKNOWN }
    }

    /// The source of its credential, and its address where it is not the default.
    pub fn origin(&self) -> String {
        match &self.base_url_source {
            Some(source) => format!("{}, at {} by {source}", self.credential_source, self.base_url),
            None => self.credential_source.clone(),
        }
    }

    /// The inputs of its credentials.
    pub fn credential_settings(&self) -> CredentialSettings<'_> {
        CredentialSettings {
            keys: self.keys.iter().map(|entry| &entry.secret).collect(),
            recipe: self.recipe.as_ref(),
            secrets: &self.secrets,
            label: &self.credential_source,
        }
    }

    /// True when credentials of the other settings are valid for these.
    pub fn is_same_access(&self, other: &Self) -> bool {
        self.keys == other.keys
            && self.recipe == other.recipe
            && self.credential_source == other.credential_source
            && self.secrets == other.secrets
    }

    /// True when connections of the other settings can be reused for these.
    pub fn has_same_way(&self, other: &Self) -> bool {
        self.outbound == other.outbound && self.timeouts.connect == other.timeouts.connect
    }

    /// True when measurements of the other provider apply to this one.
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.is_same_access(other) && self.base_url == other.base_url && self.settings == other.settings
    }
}

/// Only the names of settings: a value may be secret.
impl fmt::Debug for ProviderSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProviderSettings")
            .field("id", &self.row.id)
            .field("base_url", &self.base_url)
            .field("settings", &self.settings.keys())
            .field("keys", &self.keys)
            .field("disabled", &self.disabled)
            .field("credential_source", &self.credential_source)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// Checks a configuration. Reports all mistakes.
    pub fn build(
        file: &ConfigFile,
        environment: &Environment,
        catalog: Catalog,
    ) -> Result<Self, Vec<Mistake>> {
        let server = &file.server;
        let mut check = Check { environment, listen: ANY, mistakes: Vec::new(), doubts: Vec::new() };
        let mut catalog = catalog;
        check.listen = check.address("server.listen", &server.listen);
        check.own_providers(file, &mut catalog);
        check.described_models(file, &mut catalog);
        let timeouts = check.timeouts("timeouts", &file.timeouts, Timeouts::default());
        let providers = check.providers(file, &catalog, timeouts);
        let database_url = check.database_url(&file.database.url);
        let mut settings = Self {
            listen: check.listen,
            body_limit: check.bytes("server.body_limit", &server.body_limit) as usize,
            upload_limit: check.bytes("server.upload_limit", &server.upload_limit) as usize,
            header_limit: check.bytes("server.header_limit", &server.header_limit).clamp(8 << 10, 1 << 20)
                as usize,
            max_connections: server.max_connections.max(1),
            drain: Duration::from_secs(server.drain_seconds),
            shutdown: Duration::from_secs(server.shutdown_seconds),
            read_timeout: Duration::from_secs(server.read_seconds.max(1)),
            body_timeout: Duration::from_secs(server.body_seconds.max(1)),
            keep_alive: Duration::from_secs(server.keep_alive_seconds.max(1)),
            buffer_limit: check.bytes("server.buffer_limit", &server.buffer_limit) as usize,
            internal_listen: server
                .internal_listen
                .as_ref()
                .map(|address| check.address("server.internal_listen", address)),
            tls: check.tls(server.tls.as_ref()),
            h2c: server.h2c,
            metadata: file.answers.metadata,
            keep: check.keep(&file.responses),
            bodies: check.bodies(&file.bodies),
            cors: check.cors(&server.cors_origins),
            api_keys: check.api_keys(&file.auth.api_keys),
            admin_keys: check.keys("auth.admin_keys", &file.auth.admin_keys),
            oidc: check.oidc(file.auth.oidc.as_ref()),
            projects: check.projects(file),
            guardrails: check.guardrails(file),
            webhooks: check.webhooks(file),
            redis: check.redis(file, &database_url),
            exact_limits: file.limits.exact,
            cache: check.cache(file),
            spool: check.spool(file, &database_url),
            spool_limit: check.bytes("database.spool_limit", &file.database.spool_limit),
            keep_usage_days: check.keep_usage_days(file),
            database_url,
            logging: check.logging(&file.logging),
            routing: check.routing(&file.routing),
            timeouts,
            aliases: check.aliases(file, &catalog, &providers),
            outbound: check.outbound(&file.tls),
            providers,
            catalog,
            source: None,
            shown: Arc::default(),
            fingerprint: String::new(),
            doubts: Vec::new(),
        };
        check.exposure(&settings);
        settings.doubts = check.doubts;
        if check.mistakes.is_empty() {
            return Ok(settings);
        }
        check.mistakes.append(&mut settings.doubts);
        Err(check.mistakes)
    }
}

impl Settings {
    /// The settings that only a restart can change, as names and values.
    pub fn fixed(&self) -> Vec<(&'static str, String)> {
        vec![
            ("server.listen", self.listen.to_string()),
            ("server.internal_listen", self.internal_listen.map_or_else(String::new, |at| at.to_string())),
            ("server.tls", format!("{:?}", self.tls)),
            ("server.h2c", self.h2c.to_string()),
            ("server.keep_alive_seconds", self.keep_alive.as_secs().to_string()),
            ("server.read_seconds", self.read_timeout.as_secs().to_string()),
            ("server.buffer_limit", self.buffer_limit.to_string()),
            ("server.header_limit", self.header_limit.to_string()),
            ("server.max_connections", self.max_connections.to_string()),
            ("server.drain_seconds", self.drain.as_secs().to_string()),
            ("server.shutdown_seconds", self.shutdown.as_secs().to_string()),
            ("database.url", self.database_url.clone()),
            ("database.spool", self.spool.display().to_string()),
            ("database.spool_limit", self.spool_limit.to_string()),
            ("database.keep_usage_days", format!("{:?}", self.keep_usage_days)),
            ("logging", format!("{:?} {}", self.logging.format, self.logging.access)),
            ("cluster.redis", format!("{:?}", self.redis)),
            ("limits.exact", self.exact_limits.to_string()),
            ("cache", format!("{:?}", self.cache)),
        ]
    }
}

/// Before the address is known.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(super) struct Check<'a> {
    pub(super) environment: &'a Environment,
    listen: SocketAddr,
    mistakes: Vec<Mistake>,
    doubts: Vec<Mistake>,
}

/// The path of the warning that a key in the database resolves.
pub const EXPOSURE: &str = "server.listen";

/// Takes precedence over `server.listen`; `--listen` sets it.
pub const LISTEN_VARIABLE: &str = "LLMGATEWAY_LISTEN";

/// Takes precedence over `database.url`.
pub const DATABASE_VARIABLE: &str = "LLMGATEWAY_DATABASE_URL";

/// The variable with a key for callers when the file has none.
pub const API_KEY_VARIABLE: &str = "LLMGATEWAY_API_KEY";

impl Check<'_> {
    pub(super) fn mistake(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.mistakes.push(Mistake { path: path.into(), message: message.into() });
    }

    fn doubt(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.doubts.push(Mistake { path: path.into(), message: message.into() });
    }

    pub(super) fn text(&mut self, path: &str, text: &str) -> String {
        self.environment.resolve(text).unwrap_or_else(|message| {
            self.mistake(path, message);
            String::new()
        })
    }

    fn tls(&mut self, section: Option<&ServerTlsSection>) -> Option<tls::Files> {
        let section = section?;
        for (name, path) in [("cert", &section.cert), ("key", &section.key)] {
            if path.is_empty() {
                self.mistake(format!("server.tls.{name}"), "is missing; it is the path of a PEM file");
            }
        }
        Some(tls::Files { cert: PathBuf::from(&section.cert), key: PathBuf::from(&section.key) })
    }

    fn address(&mut self, path: &str, text: &str) -> SocketAddr {
        let given = self.environment.get(LISTEN_VARIABLE).filter(|_| path == "server.listen");
        let text = match given {
            Some(given) => given.to_owned(),
            None => self.text(path, text),
        };
        text.replace("localhost", "127.0.0.1").parse().unwrap_or_else(|_| {
            self.mistake(path, format!("{text:?} is not an address with a port, such as 127.0.0.1:4000"));
            SocketAddr::from(([127, 0, 0, 1], 4000))
        })
    }

    fn cors(&mut self, origins: &[String]) -> Cors {
        let mut patterns = Vec::new();
        for (index, origin) in origins.iter().enumerate() {
            match origin.parse() {
                Ok(pattern) => patterns.push(pattern),
                Err(message) => self.mistake(format!("server.cors_origins[{index}]"), message),
            }
        }
        Cors::new(patterns)
    }

    fn bytes(&mut self, path: &str, text: &str) -> u64 {
        parse_bytes(text).unwrap_or_else(|| {
            self.mistake(path, format!("{text:?} is not a valid size, such as 64MiB"));
            1 << 20
        })
    }

    fn logging(&mut self, section: &LoggingSection) -> LoggingSection {
        if !(0.0..=1.0).contains(&section.decisions_sample) {
            self.mistake("logging.decisions_sample", "must be a share from 0 to 1".to_owned());
        }
        *section
    }

    fn keep_usage_days(&mut self, file: &ConfigFile) -> Option<u32> {
        if file.database.keep_usage_days == Some(0) {
            self.mistake(
                "database.keep_usage_days",
                "must be at least 1; without it records stay".to_owned(),
            );
        }
        file.database.keep_usage_days
    }

    fn bodies(&mut self, section: &BodiesSection) -> BodySettings {
        if section.keep_days == 0 {
            self.mistake("bodies.keep_days", "must be at least 1; keep = \"none\" keeps nothing".to_owned());
        }
        let size_limit = self.bytes("bodies.size_limit", &section.size_limit);
        if size_limit > MOST_BODY_BYTES {
            self.mistake("bodies.size_limit", "must be at most 8MiB".to_owned());
        }
        BodySettings {
            keep: section.keep,
            days: Duration::from_hours(24) * section.keep_days,
            size_limit: size_limit as usize,
            redact: section.redact.as_slice().into(),
        }
    }

    fn keep(&mut self, section: &ResponsesSection) -> KeepSettings {
        if section.keep_days == 0 {
            self.mistake("responses.keep_days", "must be at least 1; store = false keeps nothing".to_owned());
        }
        KeepSettings {
            store: section.store,
            keep: Duration::from_hours(24) * section.keep_days,
            size_limit: self.bytes("responses.size_limit", &section.size_limit) as usize,
        }
    }

    /// Other machines can reach the gateway, and there is no key yet. The database may still contain one.
    fn exposure(&mut self, settings: &Settings) {
        let listen = settings.listen;
        if !listen.ip().is_loopback() && settings.api_keys.is_empty() && settings.admin_keys.is_empty() {
            self.doubt(
                EXPOSURE,
                format!(
                    "{listen} can be reached from other machines, and there is no API key; set auth.api_keys or \
                     {API_KEY_VARIABLE}, or run `llmgateway keys create NAME`"
                ),
            );
        }
    }

    fn database_url(&mut self, text: &str) -> String {
        let url = match self.environment.get(DATABASE_VARIABLE) {
            Some(given) => given.to_owned(),
            None => self.text("database.url", text),
        };
        let scheme = url.split_once(':').map(|(scheme, _)| scheme);
        let is_known = matches!(scheme, Some("sqlite" | "postgres" | "postgresql"));
        if !is_known && !self.mistakes.iter().any(|mistake| mistake.path == "database.url") {
            // Only the scheme is shown: a database URL often contains a password.
            let given = scheme.map_or("a URL without a scheme".to_owned(), |scheme| format!("{scheme:?}"));
            self.mistake(
                "database.url",
                format!("{given} is not supported; use sqlite:PATH or postgres://USER@HOST/NAME"),
            );
        }
        url
    }

    /// The keys of the file, else the one of the environment.
    fn api_keys(&mut self, keys: &[String]) -> Vec<KeyEntry> {
        let from_environment = [format!("env:{API_KEY_VARIABLE}")];
        let keys = match self.environment.get(API_KEY_VARIABLE) {
            Some(_) if keys.is_empty() => &from_environment[..],
            _ => keys,
        };
        self.keys("auth.api_keys", keys)
    }

    fn keys(&mut self, path: &str, keys: &[String]) -> Vec<KeyEntry> {
        let mut entries = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let secret = self.text(&place, key).trim().to_owned();
            let label = key.strip_prefix("env:").map_or_else(|| format!("key{}", index + 1), str::to_owned);
            if let Some(wrong) = wrong_key(&secret)
                && !self.mistakes.iter().any(|mistake| mistake.path == place)
            {
                self.mistake(place, format!("the key {wrong}"));
            }
            entries.push(KeyEntry { label, secret: Secret::new(secret) });
        }
        entries
    }

    fn projects(&mut self, file: &ConfigFile) -> Vec<ProjectSettings> {
        let mut projects = Vec::new();
        for (id, section) in &file.projects {
            let path = format!("projects.{id}");
            if let Some(wrong) = wrong_project_id(id) {
                self.mistake(&path, wrong);
            }
            self.policy(&path, &section.policy, file);
            let mut names = HashSet::new();
            let keys = section.keys.iter().enumerate().map(|(index, key)| {
                let path = format!("{path}.keys[{index}]");
                if key.name.is_empty() || !names.insert(&key.name) {
                    self.mistake(
                        format!("{path}.name"),
                        "is missing, or is used by another key of the project",
                    );
                }
                self.project_key(&path, key, file)
            });
            let keys = keys.collect();
            projects.push(ProjectSettings { id: id.clone(), policy: section.policy.clone(), keys });
        }
        projects
    }

    fn redis(&mut self, file: &ConfigFile, database_url: &str) -> Option<RedisUrl> {
        let Some(text) = &file.cluster.redis else {
            if file.limits.exact {
                self.mistake("limits.exact", "needs cluster.redis, where nodes share their counters");
            }
            return None;
        };
        let url = self.text("cluster.redis", text);
        if url.is_empty() {
            return None;
        }
        if !database_url.starts_with("postgres") {
            let message =
                "needs database.url to be PostgreSQL's: nodes that share counters share the ledger too";
            self.mistake("cluster.redis", message);
        }
        RedisUrl::parse(url.trim()).map_err(|message| self.mistake("cluster.redis", message)).ok()
    }

    fn cache(&mut self, file: &ConfigFile) -> CacheSettings {
        let section = &file.cache;
        if section.redis && file.cluster.redis.is_none() {
            self.mistake("cache.redis", "needs cluster.redis, the address of Redis");
        }
        CacheSettings {
            memory: self.bytes("cache.memory", &section.memory),
            answer_limit: self.bytes("cache.answer_limit", &section.answer_limit) as usize,
            redis: section.redis,
        }
    }

    fn guardrails(&mut self, file: &ConfigFile) -> Vec<Arc<Guardrail>> {
        if file.guardrails.len() > MOST_GUARDRAILS {
            self.mistake("guardrails", format!("has more than {MOST_GUARDRAILS} guardrails"));
        }
        let mut found = Vec::new();
        for (name, section) in &file.guardrails {
            let path = format!("guardrails.{name}");
            let mut mistakes = Vec::new();
            let resolve = |field: &str, text: &str| self.text(&format!("{path}.{field}"), text);
            found.extend(Guardrail::new(name, section, resolve, &mut mistakes).map(Arc::new));
            for mistake in mistakes {
                let dot = if mistake.path.is_empty() { "" } else { "." };
                self.mistake(format!("{path}{dot}{}", mistake.path), mistake.message);
            }
        }
        found
    }

    fn oidc(&mut self, section: Option<&OidcSection>) -> Option<OidcSettings> {
        let mut mistakes = Vec::new();
        let resolve = |field: &str, text: &str| self.text(&format!("auth.oidc.{field}"), text);
        let settings = OidcSettings::new(section?, resolve, &mut mistakes);
        for mistake in mistakes {
            let dot = if mistake.path.is_empty() { "" } else { "." };
            self.mistake(format!("auth.oidc{dot}{}", mistake.path), mistake.message);
        }
        Some(settings)
    }

    fn webhooks(&mut self, file: &ConfigFile) -> Vec<Webhook> {
        let mut webhooks = Vec::new();
        for (index, section) in file.webhooks.iter().enumerate() {
            let path = format!("webhooks[{index}]");
            let url = self.text(&format!("{path}.url"), &section.url);
            let secret = section.secret.as_ref().map(|text| self.text(&format!("{path}.secret"), text));
            match Webhook::new(&url, &Secret::new(secret.unwrap_or_default())) {
                Ok(webhook) => webhooks.push(webhook),
                Err(message) => self.mistake(format!("{path}.url"), message),
            }
        }
        webhooks
    }

    fn project_key(&mut self, path: &str, key: &ProjectKeySection, file: &ConfigFile) -> ProjectKey {
        self.policy(path, &key.policy, file);
        let place = format!("{path}.key");
        let secret = self.text(&place, &key.key).trim().to_owned();
        if let Some(wrong) = wrong_key(&secret)
            && !self.mistakes.iter().any(|mistake| mistake.path == place)
        {
            self.mistake(place, format!("the key {wrong}"));
        }
        let expires_at_ms = key.expires.as_deref().map(|day| {
            let seconds = clock::seconds_of(day).unwrap_or_default();
            if seconds <= 0 || day.len() != "2027-01-31".len() {
                self.mistake(
                    format!("{path}.expires"),
                    format!("{day:?} is not a valid date; write it as 2027-01-31"),
                );
            }
            seconds.saturating_mul(1000)
        });
        let roles = key.roles.clone().unwrap_or_else(|| vec![Role::Inference]);
        let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        ProjectKey {
            name: key.name.clone(),
            secret: Secret::new(secret),
            roles: roles.join(","),
            expires_at_ms,
            policy: key.policy.clone(),
        }
    }

    /// A policy's values, and its references: an alias that serves when a budget is exhausted must exist.
    fn policy(&mut self, path: &str, policy: &Policy, file: &ConfigFile) {
        for mistake in policy_mistakes(policy, file) {
            self.mistake(format!("{path}.{}", mistake.path), mistake.message);
        }
        let is_soft = |budget: &limits::Budget| budget.on_exhausted != OnExhausted::Block;
        if !policy.budgets.is_empty() && policy.budgets.iter().all(is_soft) {
            let message =
                "none of the budgets blocks, so spending has no ceiling; add one without on_exhausted";
            self.doubt(format!("{path}.budgets"), message);
        }
        if !policy.budgets.is_empty() && policy.unpriced == Some(Unpriced::Allow) {
            let message = "models of unknown price do not count against the budgets";
            self.doubt(format!("{path}.unpriced"), message);
        }
    }

    fn spool(&mut self, file: &ConfigFile, url: &str) -> PathBuf {
        if let Some(folder) = &file.database.spool {
            return PathBuf::from(folder);
        }
        match url
            .strip_prefix("sqlite:")
            .map(|path| path.trim_start_matches("//").split('?').next().unwrap_or(path))
        {
            Some(path) if !path.contains(":memory:") => PathBuf::from(format!("{path}.spool")),
            _ => PathBuf::from("llmgateway.spool"),
        }
    }

    fn routing(&mut self, table: &toml::Table) -> routing::Settings {
        let parsed: Result<routing::Settings, _> =
            serde_path_to_error::deserialize(toml::Value::Table(table.clone()));
        let settings = parsed.unwrap_or_else(|error| {
            let inner = error.path().to_string();
            let path = if inner == "." { "routing".to_owned() } else { format!("routing.{inner}") };
            self.mistake(path, error.into_inner().to_string().trim().to_owned());
            routing::Settings::default()
        });
        for (path, message) in settings.mistakes() {
            self.mistake(format!("routing.{path}"), message);
        }
        settings
    }

    fn timeouts(&mut self, path: &str, section: &TimeoutSection, base: Timeouts) -> Timeouts {
        for (name, seconds) in section.seconds() {
            if seconds.is_some_and(|seconds| limit(seconds).is_none()) {
                let message = "must be a number of seconds greater than 0, at most a year";
                self.mistake(format!("{path}.{name}"), message);
            }
        }
        section.over(base)
    }

    fn provider_timeouts(&mut self, id: &str, section: &ProviderSection, base: Timeouts) -> Timeouts {
        let path = format!("providers.{id}.timeouts");
        self.useless_timeout(&path, "request", section.timeouts.request);
        self.timeouts(&path, &section.timeouts, base)
    }

    /// Reports a timeout that has no effect.
    fn useless_timeout(&mut self, path: &str, name: &str, given: Option<f64>) {
        if given.is_some() {
            self.mistake(format!("{path}.{name}"), "has no effect here; set it in [timeouts]");
        }
    }

    fn aliases(
        &mut self,
        file: &ConfigFile,
        catalog: &Catalog,
        providers: &[ProviderSettings],
    ) -> BTreeMap<String, ModelSection> {
        for (name, section) in &file.models {
            let path = format!("models.{name}.targets");
            if section.targets.is_empty() {
                self.mistake(&path, "an alias needs at least one target, such as \"demo/echo\"");
            }
            let mut unavailable = Vec::new();
            for (index, target) in section.targets.iter().enumerate() {
                match target_state(target, file, catalog, providers) {
                    Target::Enabled => {}
                    Target::Disabled(reason) => unavailable.push(reason),
                    Target::Wrong(message) => self.mistake(format!("{path}[{index}]"), message),
                }
            }
            if !unavailable.is_empty() && unavailable.len() == section.targets.len() {
                let message = format!("no target can be used now: {}", unavailable.join("; "));
                self.doubt(&path, message);
            }
            self.weights(name, section);
            if let Some(timeouts) = &section.timeouts {
                let path = format!("models.{name}.timeouts");
                self.timeouts(&path, timeouts, Timeouts::default());
                self.useless_timeout(&path, "connect", timeouts.connect);
            }
        }
        file.models.clone()
    }

    fn weights(&mut self, name: &str, section: &ModelSection) {
        let path = format!("models.{name}.weights");
        if section.weights.is_empty() {
            return;
        }
        if section.weights.len() != section.targets.len() {
            self.mistake(&path, "there must be one weight for each target");
        }
        if section.weights.iter().all(|weight| *weight == 0) {
            self.mistake(&path, "at least one weight must be greater than 0");
        }
        if section.pick != Pick::Weight {
            self.mistake(path, "weights have no effect without pick = \"weight\"");
        }
    }

    /// Providers that are not in the catalog: they need a protocol and a base URL.
    fn own_providers(&mut self, file: &ConfigFile, catalog: &mut Catalog) {
        for (id, section) in &file.providers {
            if catalog.provider(id).is_some() {
                continue;
            }
            let Some(protocol) = section.protocol else {
                self.mistake(format!("providers.{id}"), unknown_provider(id, catalog));
                self.unknown_keys(id, section, catalog);
                continue;
            };
            let mut row = ProviderRow::new(id.clone(), protocol);
            row.calling = wire::providers::usual_call_style(protocol);
            row.auth = section.auth.clone().unwrap_or_else(|| wire::providers::usual_auth(protocol));
            row.headers = wire::providers::usual_headers(protocol);
            catalog.add_provider(row);
        }
    }

    /// Prices and facts of models in the file.
    fn described_models(&mut self, file: &ConfigFile, catalog: &mut Catalog) {
        for (id, section) in file.providers.iter().filter(|(_, section)| !section.models.is_empty()) {
            // An unknown provider is reported separately.
            if catalog.provider(id).is_some() {
                let found = catalog.describe(id, &section.models, &format!("providers.{id}.models"));
                found.into_iter().for_each(|mistake| self.mistake(mistake.path, mistake.message));
            }
        }
    }

    /// Keys of an unknown provider that no provider has.
    fn unknown_keys(&mut self, id: &str, section: &ProviderSection, catalog: &Catalog) {
        for name in section.settings.keys() {
            if !catalog.providers().any(|row| row.settings.contains_key(name)) {
                self.mistake(format!("providers.{id}.{name}"), unknown_key(name, PROVIDER_KEYS.into_iter()));
            }
        }
    }

    fn providers(
        &mut self,
        file: &ConfigFile,
        catalog: &Catalog,
        timeouts: Timeouts,
    ) -> Vec<ProviderSettings> {
        let none = ProviderSection::default();
        let mut found: Vec<ProviderSettings> = catalog
            .providers()
            .map(|row| {
                let section = file.providers.get(&row.id);
                let own = section.unwrap_or(&none);
                let mut provider = self.provider(row, own, section.is_some());
                provider.timeouts = self.provider_timeouts(&row.id, own, timeouts);
                provider
            })
            .collect();
        let others = found.iter().any(|provider| provider.row.id != DEMO && provider.disabled.is_none());
        let asked = file.providers.contains_key(DEMO);
        if let (true, false, Some(demo)) =
            (others, asked, found.iter_mut().find(|provider| provider.row.id == DEMO))
        {
            demo.disabled = Some("not needed: another provider is enabled".to_owned());
        }
        found
    }

    fn provider(
        &mut self,
        row: &Arc<ProviderRow>,
        section: &ProviderSection,
        mentioned: bool,
    ) -> ProviderSettings {
        let row = self.adjusted(row, section);
        let mut settings = self.call_settings(&row, section);
        let access = self.access(&row, section, mentioned, &mut settings);
        let has_own_url = section.base_url.is_some() || self.environment.first(&row.base_url_env).is_some();
        let missing = self.complete(&row, has_own_url, &mut settings);
        let outbound = self.provider_outbound(&row.id, section);
        let address = self.address_of(&row, section, &settings);
        let secrets = self.further_secrets(&row, section, &settings);
        settings.retain(|name, _| !credentials::SECRET_SETTINGS.contains(&name.as_str()));
        let disabled = if section.enabled == Some(false) {
            Some("switched off in the configuration".to_owned())
        } else if let Some(reason) = access.absent {
            Some(reason)
        } else if let Some(missing) = missing {
            Some(missing)
        } else if let Some(wrong) = address.wrong {
            Some(wrong)
        } else if address.url.is_none() && row.id != DEMO {
            Some(format!("set base_url in [providers.{}]", row.id))
        } else if !row.needs_key
            && !mentioned
            && address.source.is_none()
            && access.keys.is_empty()
            && row.id != DEMO
        {
            let names = row.base_url_env.first().map(|name| format!(" or set {name}")).unwrap_or_default();
            Some(format!("add [providers.{}] to the configuration{names}", row.id))
        } else {
            None
        };
        let mut provider = ProviderSettings {
            row,
            base_url: address.url.unwrap_or_default(),
            base_url_source: address.source,
            settings,
            keys: access.keys,
            secrets,
            recipe: access.recipe,
            disabled,
            credential_source: access.source,
            outbound,
            forward_request_id: section.forward_request_id.unwrap_or(false),
            timeouts: Timeouts::default(),
            trains_on_data: section.trains_on_data,
            retains_data: section.retains_data,
            data_region: section.data_region.clone(),
        };
        let known = provider.known_data();
        let (trains, retains) = (known.trains, known.retains);
        provider.trains_on_data = provider.trains_on_data.or(trains);
        provider.retains_data = provider.retains_data.or(retains);
        provider
    }

    /// Keys, or else the credential of the call style. Adds the settings that come with it.
    fn access(
        &mut self,
        row: &ProviderRow,
        section: &ProviderSection,
        mentioned: bool,
        settings: &mut BTreeMap<String, String>,
    ) -> Access {
        let own_keys = section.api_key.is_some() || section.api_keys.is_some();
        let written = mentioned.then_some(&section.settings);
        let search = Search { settings, written, environment: self.environment };
        let keys =
            if own_keys || !search.is_chosen() { self.provider_keys(row, section) } else { Vec::new() };
        let found = if keys.is_empty() { credentials::find(row.calling, search) } else { None };
        match found {
            Some(Ok(found)) => {
                for (name, value) in found.implied {
                    if row.settings.contains_key(&name) {
                        settings.entry(name).or_insert(value);
                    }
                }
                Access { keys, recipe: Some(found.recipe), source: found.label, absent: None }
            }
            Some(Err(absent)) if row.needs_key => {
                if let Some(name) = absent.setting.filter(|name| section.settings.contains_key(*name)) {
                    self.mistake(format!("providers.{}.{name}", row.id), &absent.reason);
                }
                Access::without(without_key(row, &absent))
            }
            None if wrong_variable(&keys).is_some() => {
                Access::without(wrong_variable(&keys).unwrap_or_default())
            }
            None if row.needs_key && keys.is_empty() => Access::without(without_key(row, &Absent::default())),
            _ => Access { source: source_of(&keys), keys, recipe: None, absent: None },
        }
    }

    /// The row with the configuration's changes.
    fn adjusted(&mut self, row: &Arc<ProviderRow>, section: &ProviderSection) -> Arc<ProviderRow> {
        let other_protocol = section.protocol.filter(|protocol| *protocol != row.protocol);
        let changes = section.priority.is_some()
            || !section.quirks.is_empty()
            || !section.headers.is_empty()
            || section.auth.is_some()
            || section.also.is_some()
            || section.protocol.is_some();
        if !changes {
            return row.clone();
        }
        let mut row = ProviderRow::clone(row);
        if let Some(protocol) = other_protocol {
            self.speak(&mut row, protocol, section);
        }
        if section.protocol.is_some() {
            // An explicit format is used for all models.
            row.also.clear();
        }
        if let Some(also) = &section.also {
            row.also.clone_from(also);
        }
        row.priority = section.priority.unwrap_or(row.priority);
        let path = format!("providers.{}", row.id);
        for (name, value) in &section.headers {
            let value = self.header(&format!("{path}.headers.{name}"), name, value);
            row.headers.insert(name.to_ascii_lowercase(), value);
        }
        row.quirks = self.quirks(&format!("{path}.quirks"), &row.quirks, &section.quirks);
        if let Some(auth) = &section.auth {
            row.auth = auth.clone();
        }
        Arc::new(row)
    }

    /// Sets another format than the catalog's, for servers that support several.
    fn speak(&mut self, row: &mut ProviderRow, protocol: Protocol, section: &ProviderSection) {
        let is_plain = |calling| calling == CallStyle::Compatible;
        if row.also.contains(&protocol) {
            row.protocol = protocol;
            return;
        }
        if !is_plain(row.calling) || !is_plain(wire::providers::usual_call_style(protocol)) {
            let message = format!(
                "{} is not called in this format; for another API add a provider with a name of your own",
                row.name
            );
            return self.mistake(format!("providers.{}.protocol", row.id), message);
        }
        if section.base_url.is_none() && row.base_url.is_some() {
            let message = "needs a base_url too: the usual address speaks the usual format";
            return self.mistake(format!("providers.{}.protocol", row.id), message);
        }
        // Path, quirks and headers of the catalog belong to the default format.
        row.protocol = protocol;
        row.path = None;
        row.quirks = Arc::default();
        row.auth = match (&row.auth, wire::providers::usual_auth(protocol)) {
            (_, auth @ Auth::Header(_)) => auth,
            (Auth::Header(_) | Auth::Scheme(_), auth) => auth,
            (usual, _) => usual.clone(),
        };
        row.headers = wire::providers::usual_headers(protocol);
    }

    fn header(&mut self, path: &str, name: &str, value: &str) -> String {
        let value = self.text(path, value);
        if http::HeaderName::try_from(name).is_err() {
            self.mistake(path, format!("{name:?} is not a valid name of an HTTP header"));
        } else if http::HeaderValue::from_str(&value).is_err() {
            self.mistake(path, "contains a character that is not allowed in an HTTP header");
        }
        value
    }

    /// The catalog's quirks, overridden by those of the configuration.
    fn quirks(&mut self, path: &str, usual: &Arc<Quirks>, given: &toml::Table) -> Arc<Quirks> {
        if given.is_empty() {
            return usual.clone();
        }
        let Ok(mut merged) = toml::Table::try_from(&**usual) else { return usual.clone() };
        for (name, value) in given {
            merged.insert(name.clone(), value.clone());
        }
        match serde_path_to_error::deserialize::<_, Quirks>(toml::Value::Table(merged)) {
            Ok(quirks) => Arc::new(quirks),
            Err(error) => {
                let inner = error.path().to_string();
                let path = if inner == "." { path.to_owned() } else { format!("{path}.{inner}") };
                self.mistake(path, plain(error.into_inner().message().trim(), Form::Toml));
                usual.clone()
            }
        }
    }

    /// The settings from the configuration or the environment.
    fn call_settings(&mut self, row: &ProviderRow, section: &ProviderSection) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        for (name, value) in &section.settings {
            let path = format!("providers.{}.{name}", row.id);
            if !row.settings.contains_key(name) {
                let known = row.settings.keys().map(String::as_str).chain(PROVIDER_KEYS);
                self.mistake(path, unknown_key(name, known));
                continue;
            }
            flatten(name, value, &mut settings);
            if let Some(text) = settings.get(name).cloned() {
                let text = self.text(&path, &text);
                if HEADER_SETTINGS.contains(&name.as_str())
                    && let Some(wrong) = wrong_key(text.trim())
                    && !self.mistakes.iter().any(|mistake| mistake.path == path)
                {
                    self.mistake(&path, wrong);
                }
                settings.insert(name.clone(), text);
            }
        }
        for (name, setting) in &row.settings {
            if !has_setting(&settings, name)
                && let Some((_, value)) = self.environment.first(&setting.env)
            {
                settings.insert(name.clone(), value.to_owned());
            }
        }
        settings
    }

    /// Adds defaults, and reports a missing setting.
    fn complete(
        &self,
        row: &ProviderRow,
        own_url: bool,
        settings: &mut BTreeMap<String, String>,
    ) -> Option<String> {
        let mut missing = None;
        for (name, setting) in &row.settings {
            if has_setting(settings, name) {
                continue;
            }
            match &setting.default {
                Some(default) => drop(settings.insert(name.clone(), default.clone())),
                None if row.needs_setting(name, own_url) => {
                    let variable = setting.env.first().map(|name| format!(" or {name}")).unwrap_or_default();
                    missing.get_or_insert(format!("set {name} in [providers.{}]{variable}", row.id));
                }
                None => {}
            }
        }
        missing
    }

    /// The provider's address: from the configuration, else the environment, else the catalog.
    fn address_of(
        &mut self,
        row: &ProviderRow,
        section: &ProviderSection,
        settings: &BTreeMap<String, String>,
    ) -> Address {
        let path = format!("providers.{}.base_url", row.id);
        let (own, source) = match (&section.base_url, self.environment.first(&row.base_url_env)) {
            (Some(url), _) => (Some(self.text(&path, url)), Some("the configuration".to_owned())),
            (None, Some((name, url))) => (Some(url.to_owned()), Some(name.to_owned())),
            (None, None) => (None, None),
        };
        let by_region = settings.get("region").and_then(|region| row.regions.get(region)).cloned();
        let usual = by_region.or_else(|| row.base_url.clone());
        let fill = |mut url: String| {
            for (name, value) in settings {
                url = url.replace(&format!("{{{name}}}"), value);
            }
            url
        };
        let Some(own) = own.map(fill) else {
            let url = usual.map(fill).map(|url| url.trim_end_matches('/').to_owned());
            return Address { url, source, wrong: None };
        };
        let wrong = match base_url::mistake(&own.replace(['{', '}'], "")) {
            None if base_url::leads_to(&own, self.listen) => {
                Some("is the address of this gateway itself: each request would come back to it")
            }
            wrong => wrong,
        };
        if let Some(wrong) = wrong {
            if section.base_url.is_some() && !self.mistakes.iter().any(|mistake| mistake.path == path) {
                self.mistake(path, wrong);
            }
            let wrong = format!("{} {wrong}", source.as_deref().unwrap_or_default());
            return Address { url: None, source, wrong: Some(wrong) };
        }
        let place = UrlMatch {
            calling: row.calling,
            protocol: row.protocol,
            path: row.path.as_deref(),
            usual: usual.as_deref(),
        };
        Address { url: Some(place.base_url(&own)), source, wrong: None }
    }

    fn further_secrets(
        &self,
        row: &ProviderRow,
        section: &ProviderSection,
        settings: &BTreeMap<String, String>,
    ) -> Vec<Secret> {
        // The id of an AWS key is not secret, and credentials are the path of a file or its whole text.
        const NO_SECRETS: [&str; 2] = ["access_key_id", "credentials"];
        let of_settings = settings.iter().filter(|(name, _)| {
            let name = name.as_str();
            credentials::SECRET_SETTINGS.contains(&name) && !NO_SECRETS.contains(&name)
        });
        let is_secret =
            |name: &str, value: &str| is_elsewhere(value) || name.eq_ignore_ascii_case("authorization");
        let names = section.headers.iter().filter(|(name, value)| is_secret(name, value));
        let of_headers = names.filter_map(|(name, _)| row.headers.get(&name.to_ascii_lowercase()));
        // For "Basic xyz" the part after the scheme could be quoted.
        let of_headers = of_headers.map(|value| value.rsplit(' ').next().unwrap_or(value));
        of_settings.map(|(_, value)| value.trim()).chain(of_headers).map(Secret::new).collect()
    }

    fn provider_keys(&mut self, row: &ProviderRow, section: &ProviderSection) -> Vec<KeyEntry> {
        let path = format!("providers.{}.api_key", row.id);
        if let Some(key) = &section.api_key {
            return self.keys(&path, std::slice::from_ref(key));
        }
        if let Some(keys) = &section.api_keys {
            return self.keys(&format!("{path}s"), keys);
        }
        let found = self.environment.first(&row.api_key_env);
        found
            .map(|(name, key)| KeyEntry { label: name.to_owned(), secret: Secret::new(key) })
            .into_iter()
            .collect()
    }
}

/// Keys of a provider's section that are not settings of its own.
const PROVIDER_KEYS: [&str; 18] = [
    "enabled",
    "api_key",
    "api_keys",
    "base_url",
    "protocol",
    "also",
    "auth",
    "headers",
    "quirks",
    "priority",
    "proxy",
    "tls",
    "forward_request_id",
    "trains_on_data",
    "retains_data",
    "data_region",
    "timeouts",
    "models",
];

enum Target {
    Enabled,
    /// Known and disabled, with the reason.
    Disabled(String),
    Wrong(String),
}

fn target_state(
    target: &str,
    file: &ConfigFile,
    catalog: &Catalog,
    providers: &[ProviderSettings],
) -> Target {
    if file.models.contains_key(target) {
        return Target::Wrong(format!("{target:?} is an alias, and an alias cannot name an alias"));
    }
    let why_not = |id: &str| providers.iter().find(|provider| provider.row.id == id)?.disabled.clone();
    if let Some((provider, model)) = target.split_once('/') {
        if model.is_empty() {
            return Target::Wrong(format!("{target:?} lacks the model after \"{provider}/\""));
        }
        // A section that could not be read is reported separately.
        if catalog.provider(provider).is_none() && !file.providers.contains_key(provider) {
            return Target::Wrong(unknown_target(target, &catalog.nearest_providers(provider, 3)));
        }
        return match why_not(provider) {
            None => Target::Enabled,
            Some(reason) => Target::Disabled(format!("{provider}: {reason}")),
        };
    }
    let Some(model) = catalog.model(target) else {
        return Target::Wrong(unknown_target(target, &catalog.nearest_models(target, 3)));
    };
    if model.servings.iter().all(|serving| why_not(&serving.provider).is_some()) {
        Target::Disabled(format!("no provider of {target} is enabled"))
    } else {
        Target::Enabled
    }
}

fn unknown_target(target: &str, near: &[&str]) -> String {
    match near {
        [] => format!("{target:?} is unknown; `llmgateway models --all` lists the models"),
        near => format!("{target:?} is unknown; did you mean {}?", near.join(" or ")),
    }
}

fn unknown_provider(id: &str, catalog: &Catalog) -> String {
    let near = match catalog.nearest_providers(id, 1).first() {
        Some(near) => format!("; did you mean {near:?}?"),
        None => ".".to_owned(),
    };
    format!(
        "this provider is not in the catalog{near} A provider of your own needs `protocol` and `base_url`"
    )
}

fn unknown_key<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match nearest(name, known) {
        Some(near) => format!("unknown key; did you mean {near:?}?"),
        None => "unknown key".to_owned(),
    }
}

struct Address {
    url: Option<String>,
    /// Its source; none for the catalog.
    source: Option<String>,
    /// Why it cannot be used.
    wrong: Option<String>,
}

/// Secret settings that are sent in a header.
const HEADER_SETTINGS: [&str; 3] = ["access_key_id", "access_token", "session_token"];

/// The credentials for a provider.
struct Access {
    keys: Vec<KeyEntry>,
    recipe: Option<Recipe>,
    source: String,
    /// Why a required credential is missing.
    absent: Option<String>,
}

impl Access {
    fn without(reason: String) -> Self {
        Self { keys: Vec::new(), recipe: None, source: "none".to_owned(), absent: Some(reason) }
    }
}

/// Why the keys cannot be used. Keys in the file are already checked: this is for the customary variables.
fn wrong_variable(keys: &[KeyEntry]) -> Option<String> {
    let wrong = |key: &KeyEntry| Some(format!("{} {}", key.label, wrong_key(key.secret.expose())?));
    keys.iter().find_map(wrong)
}

/// True for a value that is a reference.
fn is_elsewhere(value: &str) -> bool {
    value.starts_with("env:") || value.starts_with("file:")
}

fn source_of(keys: &[KeyEntry]) -> String {
    match keys {
        [] => "none needed".to_owned(),
        [key] => key.label.clone(),
        [key, others @ ..] => format!("{} and {} more", key.label, others.len()),
    }
}

fn without_key(row: &ProviderRow, absent: &Absent) -> String {
    let names = row.api_key_env.join(" or ");
    match (absent.reason.as_str(), names.as_str()) {
        ("", "") => "no key is configured".to_owned(),
        ("", names) => format!("{names} is not set"),
        (reason, _) => reason.to_owned(),
    }
}

fn has_setting(settings: &BTreeMap<String, String>, name: &str) -> bool {
    let is_within =
        |key: &String| key.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    settings.keys().any(is_within)
}

/// A value as text; tables become `name.key`.
fn flatten(name: &str, value: &toml::Value, settings: &mut BTreeMap<String, String>) {
    match value {
        toml::Value::String(text) => drop(settings.insert(name.to_owned(), text.clone())),
        toml::Value::Table(table) => {
            for (key, value) in table {
                flatten(&format!("{name}.{key}"), value, settings);
            }
        }
        other => drop(settings.insert(name.to_owned(), other.to_string())),
    }
}

/// The names that a policy may use.
pub trait Names {
    fn has_alias(&self, name: &str) -> bool;
    fn has_guardrail(&self, name: &str) -> bool;
}

impl Names for ConfigFile {
    fn has_alias(&self, name: &str) -> bool {
        self.models.contains_key(name)
    }

    fn has_guardrail(&self, name: &str) -> bool {
        self.guardrails.contains_key(name)
    }
}

impl Names for Settings {
    fn has_alias(&self, name: &str) -> bool {
        self.aliases.contains_key(name)
    }

    fn has_guardrail(&self, name: &str) -> bool {
        self.guardrails.iter().any(|guardrail| *guardrail.name == *name)
    }
}

/// All mistakes of a policy, given these names.
pub fn policy_mistakes(policy: &Policy, names: &impl Names) -> Vec<limits::Mistake> {
    let mut mistakes = policy.mistakes();
    for (index, budget) in policy.budgets.iter().enumerate() {
        if let OnExhausted::Downgrade(alias) = &budget.on_exhausted
            && !names.has_alias(alias)
        {
            let path = format!("budgets[{index}].on_exhausted");
            let message = format!("there is no alias {alias:?}; add [models.{alias}]");
            mistakes.push(limits::Mistake { path, message });
        }
    }
    for (index, name) in policy.guardrails.iter().enumerate().filter(|(_, name)| !names.has_guardrail(name)) {
        let message = format!("there is no guardrail {name:?}; add [guardrails.{name}]");
        mistakes.push(limits::Mistake { path: format!("guardrails[{index}]"), message });
    }
    mistakes
}

/// An error in JSON with its place.
pub fn plain_json(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let (path, message) = (error.path().to_string(), error.inner().to_string());
    if !error.inner().is_data() {
        return message;
    }
    // The library appends the place, which the path says better.
    let message = plain(message.rsplit_once(" at line ").map_or(&*message, |(text, _)| text), Form::Json);
    let names_field = message.contains(" is unknown; ");
    if path == "." || names_field { message } else { format!("{path}: {message}") }
}

/// Reads a policy from JSON; the error lists all its mistakes.
pub fn read_policy(json: &str, names: &impl Names) -> Result<Policy, String> {
    // The library would read a list as the members in their order.
    if json.trim_start().starts_with('[') {
        return Err("must be an object, not a list".to_owned());
    }
    let mut unknown = Vec::new();
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let mut on_unknown = |path: serde_ignored::Path<'_>| unknown.push(place(&path));
    let read = serde_ignored::Deserializer::new(&mut deserializer, &mut on_unknown);
    let policy: Policy = serde_path_to_error::deserialize(read).map_err(|error| plain_json(&error))?;
    deserializer.end().map_err(|error| error.to_string())?;
    let mut wrong: Vec<String> = unknown.iter().map(|path| format!("{path}: unknown key")).collect();
    let mistakes = policy_mistakes(&policy, names);
    wrong.extend(mistakes.into_iter().map(|mistake| format!("{}: {}", mistake.path, mistake.message)));
    if wrong.is_empty() { Ok(policy) } else { Err(wrong.join("; ")) }
}

/// Why a text cannot be a project's id: ids are used in paths, labels and records.
pub fn wrong_project_id(id: &str) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let is_good = (1..=64).contains(&id.len()) && id.bytes().all(is_plain);
    (!is_good).then(|| {
        "the id of a project has 1 to 64 lower-case letters, digits, hyphens, underscores and dots".to_owned()
    })
}

/// Why a text cannot be a key. The message has only the position of the character, not the key.
fn wrong_key(key: &str) -> Option<String> {
    if key.is_empty() {
        return Some("is empty".to_owned());
    }
    let impossible = |letter: &(usize, char)| !letter.1.is_ascii_graphic() && letter.1 != ' ';
    let (index, letter) = key.chars().enumerate().find(impossible)?;
    let code = u32::from(letter);
    Some(format!(
        "contains a character that is not allowed in an HTTP header (U+{code:04X}, character {} of {})",
        index + 1,
        key.chars().count()
    ))
}

/// `64MiB`, `1GiB`, `512KiB`, `10MB`, or a plain number of bytes.
fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit)
}

/// Limits of the response cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheSettings {
    /// Most bytes in memory.
    pub memory: u64,
    /// Most bytes of an answer.
    pub answer_limit: usize,
    /// Whether answers are also stored in Redis.
    pub redis: bool,
}

/// How answers are stored for callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepSettings {
    /// Whether answers are stored at all.
    pub store: bool,
    /// For how long.
    pub keep: Duration,
    /// Most bytes of one answer with the items that its request added.
    pub size_limit: usize,
}

/// Requests hold their bodies in memory until they end.
const MOST_BODY_BYTES: u64 = 8 << 20;

/// Which bodies and headers of requests are kept for administrators.
#[derive(Clone, Debug)]
pub struct BodySettings {
    /// Of which requests, where no policy says otherwise.
    pub keep: Bodies,
    /// For how long.
    pub days: Duration,
    /// Most bytes of one body.
    pub size_limit: usize,
    /// JSON members whose values are replaced.
    pub redact: Arc<[String]>,
}

impl KeepSettings {
    /// The expiry of an answer that is stored now.
    pub fn expires_at_ms(&self, now_ms: i64) -> i64 {
        now_ms.saturating_add(i64::try_from(self.keep.as_millis()).unwrap_or(i64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(text: &str, variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
        let file = ConfigFile::parse(text).expect("valid file");
        Settings::build(&file, &Environment::of(variables), Catalog::embedded().expect("catalog"))
            .map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect())
    }

    fn enabled(settings: &Settings) -> Vec<&str> {
        settings
            .providers
            .iter()
            .filter(|provider| provider.disabled.is_none())
            .map(|provider| provider.row.id.as_str())
            .collect()
    }

    #[test]
    fn an_empty_configuration_enables_the_demo() {
        let settings = build("", &[]).unwrap();
        assert_eq!(enabled(&settings), ["demo"]);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:4000");
        assert_eq!(settings.body_limit, 64 << 20);
    }

    #[test]
    fn variables_enable_their_providers() {
        let settings = build("", &[("ANTHROPIC_API_KEY", "k"), ("OPENAI_API_KEY", "")]).unwrap();
        assert_eq!(enabled(&settings), ["anthropic"]);
        let openai = settings.providers.iter().find(|provider| provider.row.id == "openai").unwrap();
        assert!(openai.disabled.as_deref().unwrap().contains("OPENAI_API_KEY is not set"));
    }

    #[test]
    fn what_the_catalog_knows_of_data_is_about_its_own_address() {
        let provider = |file: &str, id: &str| {
            let settings = build(file, &[]).unwrap();
            settings.providers.iter().find(|provider| provider.row.id == id).unwrap().clone()
        };
        let openai = provider("[providers.openai]\napi_key = \"k\"\n", "openai");
        assert_eq!(
            (openai.trains_on_data, openai.retains_data, openai.region("gpt-4o")),
            (Some(false), None, None)
        );
        assert_eq!(
            provider("[providers.fireworks]\napi_key = \"k\"\n", "fireworks").retains_data,
            Some(false)
        );
        let elsewhere = "[providers.openai]\napi_key = \"k\"\nbase_url = \"https://proxy.example/v1\"\n";
        assert_eq!(provider(elsewhere, "openai").trains_on_data, None);
        let said = provider(&format!("{elsewhere}trains_on_data = false\ndata_region = \"eu\"\n"), "openai");
        assert_eq!((said.trains_on_data, said.region("gpt-4o").as_deref()), (Some(false), Some("eu")));
        let own =
            "[providers.mine]\nprotocol = \"openai-chat\"\nbase_url = \"https://h/v1\"\napi_key = \"k\"\n";
        assert_eq!((provider(own, "mine").trains_on_data, provider(own, "mine").region("m")), (None, None));
        let bedrock =
            provider("[providers.aws-bedrock]\napi_key = \"k\"\nregion = \"eu-central-1\"\n", "aws-bedrock");
        assert_eq!(bedrock.region("amazon.nova-lite-v1:0").as_deref(), Some("eu-central-1"));
        assert_eq!(bedrock.region("global.anthropic.claude-opus-4-6-v1").as_deref(), Some("global"));
        assert_eq!(bedrock.region("arn:aws:bedrock:eu-central-1:1:application-inference-profile/x"), None);
    }

    #[test]
    fn all_mistakes_of_meaning_are_found_at_once() {
        let bad = "[database]\nurl = \"mysql://user:hunter2@h/db\"\nkeep_usage_days = 0\n[auth]\napi_keys = [\"  \"]\n\
                   [providers.opnai]\napi_kee = \"x\"\n[providers.openai]\nprotocol = \"gemini\"\n\
                   [models.a]\ntargets = [\"demo/echo\", \"openai/gpt-4o\"]\nweights = [1, 2]\n\
                   [models.b]\ntargets = [\"a\", \"gpt-4oo\", \"openai/\"]\npick = \"weight\"\nweights = [0, 0]\n";
        let mistakes = build(bad, &[]).unwrap_err();
        for start in [
            "database.url: \"mysql\" is not supported",
            "database.keep_usage_days: must be at least 1",
            "auth.api_keys[0]: the key is empty",
            "providers.opnai: this provider is not in the catalog; did you mean \"openai\"?",
            "providers.opnai.api_kee: unknown key; did you mean \"api_key\"?",
            "providers.openai.protocol: ",
            "models.a.weights: weights have no effect without pick",
            "models.b.targets[0]: \"a\" is an alias",
            "models.b.targets[1]: \"gpt-4oo\" is unknown; did you mean gpt-4o",
            "models.b.targets[2]: \"openai/\" lacks the model",
            "models.b.weights: there must be one weight for each target",
            "models.b.weights: at least one weight must be greater than 0",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start}: {mistakes:#?}");
        }
        assert!(!mistakes.join(" ").contains("hunter2"), "{mistakes:#?}");
    }

    #[test]
    fn an_identity_provider_is_read_and_its_mistakes_are_reported() {
        let good = "[auth.oidc]\nissuer = \"https://id.example.com/realms/a\"\nclient_id = \"gateway\"\nclient_secret = \"env:OIDC\"\n\
                    public_url = \"https://gateway.example.com/\"\nadmins = [\"boss\"]\n";
        let settings = build(good, &[("OIDC", "hunter2")]).unwrap();
        let oidc = settings.oidc.unwrap();
        assert_eq!(oidc.redirect_url, "https://gateway.example.com/ui/oidc/callback");
        assert_eq!(
            (oidc.label.as_str(), oidc.scopes.as_str()),
            ("Sign in with id.example.com", "openid profile email")
        );
        assert!(!format!("{oidc:?}").contains("hunter2"));
        for (from, to, start) in [
            (
                "https://id.example.com/realms/a",
                "http://id.example.com",
                "auth.oidc.issuer: must be an https://",
            ),
            ("https://id.example.com/realms/a", "", "auth.oidc.issuer: is missing or empty"),
            (
                "https://gateway.example.com/",
                "https://gateway.example.com/llm",
                "auth.oidc.public_url: must be",
            ),
            ("\"gateway\"", "\"\"", "auth.oidc.client_id: is missing"),
            ("env:OIDC", "env:NOT_SET", "auth.oidc.client_secret: "),
            ("[\"boss\"]", "[]", "auth.oidc: needs admins or viewers"),
            ("[\"boss\"]", "[\"*\"]", "auth.oidc.admins: must not hold"),
            ("[\"boss\"]", "[\"a\"]\nscopes = [\"email\"]", "auth.oidc.scopes: must contain"),
            (
                "[\"boss\"]",
                "[\"a\"]\nclock_skew_seconds = 3000",
                "auth.oidc.clock_skew_seconds: must be at most 300",
            ),
        ] {
            let mistakes = build(&good.replace(from, to), &[("OIDC", "hunter2")]).unwrap_err();
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start}: {mistakes:#?}");
        }
    }

    #[test]
    fn unknown_keys_of_optional_sections_have_their_path() {
        for (text, wanted) in [
            ("[auth.oidc]\nadmin = [\"a\"]\n", "auth.oidc.admin: unknown key; did you mean \"admins\"?"),
            ("[server.tls]\ncrt = \"a\"\n", "server.tls.crt: unknown key; did you mean \"cert\"?"),
        ] {
            let mistakes = ConfigFile::parse(text).unwrap_err();
            assert_eq!(mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(), [wanted]);
        }
    }

    #[test]
    fn an_alias_without_an_enabled_target_is_a_warning() {
        let text = "[models.fast]\ntargets = [\"groq/llama-3.3-70b-versatile\", \"claude-sonnet-4-5\"]\n";
        let doubts = |variables: &[(&str, &str)]| build(text, variables).unwrap().doubts;
        let [doubt] = &doubts(&[])[..] else { panic!("{:?}", doubts(&[])) };
        assert_eq!(doubt.path, "models.fast.targets");
        assert!(doubt.message.contains("GROQ_API_KEY is not set"), "{doubt}");
        assert_eq!(doubts(&[("GROQ_API_KEY", "k")]), []);
        assert_eq!(doubts(&[("ANTHROPIC_API_KEY", "k")]), []);
    }

    #[test]
    fn a_public_address_without_a_key_is_a_warning() {
        let doubts = |text: &str| build(text, &[]).unwrap().doubts.len();
        assert_eq!(doubts("[server]\nlisten = \"0.0.0.0:4000\"\n"), 1);
        assert_eq!(doubts("[server]\nlisten = \"[::]:4000\"\n"), 1);
        assert_eq!(doubts("[server]\nlisten = \"0.0.0.0:4000\"\n[auth]\napi_keys = [\"k\"]\n"), 0);
        assert_eq!(doubts("[server]\nlisten = \"[::1]:4000\"\n"), 0);
    }

    #[test]
    fn the_key_of_the_environment_is_taken_when_the_file_has_none() {
        let labels = |text: &str| -> Vec<String> {
            let settings = build(text, &[(API_KEY_VARIABLE, "k1"), ("OTHER", "k2")]).unwrap();
            settings.api_keys.iter().map(|key| key.label.clone()).collect()
        };
        assert_eq!(labels(""), [API_KEY_VARIABLE]);
        assert_eq!(labels("[auth]\napi_keys = [\"env:OTHER\"]\n"), ["OTHER"]);
    }

    #[test]
    fn an_own_provider_is_read_and_its_mistakes_are_reported() {
        let own =
            "[providers.my-vllm]\nprotocol = \"openai-chat\"\nbase_url = \"http://10.0.0.5:8000/v1/\"\n";
        let settings = build(own, &[]).unwrap();
        let mine = settings.providers.iter().find(|provider| provider.row.id == "my-vllm").unwrap();
        assert_eq!((mine.base_url.as_str(), mine.disabled.as_deref()), ("http://10.0.0.5:8000/v1", None));

        let bad = "[server]\nlisten = \"nowhere\"\nbody_limit = \"lots\"\n[auth]\napi_keys = [\"env:NOT_SET\"]\n\
                   [providers.opnai]\napi_key = \"x\"\n[providers.openai]\nbase_ulr = \"x\"\n[models.fast]\ntargets = [\"nobody/x\"]\n";
        let mistakes = build(bad, &[]).unwrap_err();
        for start in [
            "server.listen",
            "server.body_limit",
            "auth.api_keys[0]: the environment variable NOT_SET",
            "providers.opnai",
            "providers.openai.base_ulr: unknown key; did you mean \"base_url\"?",
            "models.fast.targets",
        ] {
            assert!(mistakes.iter().any(|mistake| mistake.starts_with(start)), "{start}: {mistakes:#?}");
        }
    }

    fn provider<'a>(settings: &'a Settings, id: &str) -> &'a ProviderSettings {
        settings.providers.iter().find(|provider| provider.row.id == id).unwrap()
    }

    #[test]
    fn values_from_outside_are_trimmed_and_blank_ones_are_unset() {
        let settings = build(
            "[auth]\napi_keys = [\"env:MINE\", \" plain \"]\n",
            &[
                ("OPENAI_API_KEY", " sk-abc\r\n"),
                ("OPENAI_BASE_URL", "https://proxy.test/v1\n"),
                ("GROQ_API_KEY", " \n"),
                ("MINE", "secret\n"),
            ],
        )
        .unwrap();
        let openai = provider(&settings, "openai");
        assert_eq!(openai.keys[0].secret.expose(), "sk-abc");
        assert_eq!(openai.base_url, "https://proxy.test/v1");
        assert_eq!(openai.origin(), "OPENAI_API_KEY, at https://proxy.test/v1 by OPENAI_BASE_URL");
        assert_eq!(provider(&settings, "groq").disabled.as_deref(), Some("GROQ_API_KEY is not set"));
        let keys: Vec<&str> = settings.api_keys.iter().map(|key| key.secret.expose()).collect();
        assert_eq!(keys, ["secret", "plain"]);
    }

    #[test]
    fn the_defaults_of_waiting_are_those_of_the_documentation() {
        let settings = build("", &[]).unwrap();
        let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md"));
        let documented = |name: &str| {
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |"))).unwrap();
            let default = row.rsplit_once("Default ").unwrap().1;
            let seconds: f64 = default.trim_end_matches(". |").parse().unwrap();
            Duration::from_secs_f64(seconds)
        };
        let Timeouts { connect, first_byte, first_token, idle, total, request, .. } = settings.timeouts;
        for (name, value, seconds) in [
            ("connect", connect, 10),
            ("first_byte", first_byte, 600),
            ("first_token", first_token, 120),
            ("idle", idle, 120),
            ("total", total, 1800),
            ("request", request, 3600),
            ("keep_alive_seconds", settings.keep_alive, 75),
            ("read_seconds", settings.read_timeout, 30),
        ] {
            assert_eq!((value, documented(name)), (Duration::from_secs(seconds), value), "{name}");
        }
    }

    #[test]
    fn a_key_that_no_header_can_carry_is_refused_by_name() {
        let settings = build("", &[("OPENAI_API_KEY", "sk-canary\u{7}x"), ("GROQ_API_KEY", "good")]).unwrap();
        assert_eq!(enabled(&settings), ["groq"], "a broken provider does not disable the others");
        let reason = provider(&settings, "openai").disabled.as_deref().unwrap();
        assert!(reason.starts_with("OPENAI_API_KEY contains a character"), "{reason}");
        assert!(reason.contains("U+0007, character 10 of 11") && !reason.contains("canary"), "{reason}");

        let file = "[auth]\napi_keys = [\"sch\u{fc}ssel\"]\n[providers.openai]\napi_keys = [\"good\", \"env:BAD\"]\n\
                    [providers.google-vertex]\nproject = \"p\"\naccess_token = \"canary\\u0001\"\n";
        let mistakes = build(file, &[("BAD", "canary\nx")]).unwrap_err();
        for path in
            ["auth.api_keys[0]", "providers.openai.api_keys[1]", "providers.google-vertex.access_token"]
        {
            let mistake = mistakes.iter().find(|mistake| mistake.starts_with(path));
            let mistake = mistake.unwrap_or_else(|| panic!("{path}: {mistakes:#?}"));
            assert!(
                mistake.contains("is not allowed in an HTTP header") && !mistake.contains("canary"),
                "{mistake}"
            );
        }
    }

    #[test]
    fn base_urls_are_refused_alike_from_the_file_and_from_a_variable() {
        let wrong = [
            "api.test/v1",
            "localhost:8000",
            "ftp://api.test",
            "http://svc:canary@api.test/v1",
            "http://svc:canary@api.test/v1 x",
            "https://api.test/v1?key=canary",
            "http://127.0.0.1:4000/v1",
            "http://localhost:4000",
        ];
        for url in wrong {
            let settings = build("", &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", url)]).unwrap();
            let reason = provider(&settings, "openai").disabled.as_deref();
            let reason = reason.unwrap_or_else(|| panic!("{url} is used"));
            assert!(reason.starts_with("OPENAI_BASE_URL ") && !reason.contains("canary"), "{reason}");
            assert_eq!(provider(&settings, "openai").base_url, "");
            let file = format!("[providers.openai]\napi_key = \"k\"\nbase_url = \"{url}\"\n");
            let mistakes = build(&file, &[]).unwrap_err();
            assert!(mistakes[0].starts_with("providers.openai.base_url: "), "{mistakes:?}");
            assert!(!mistakes[0].contains("canary"), "{mistakes:?}");
        }
        // Another port is another server, and an unknown port cannot match.
        let other = "[server]\nlisten = \"127.0.0.1:0\"\n";
        let settings =
            build(other, &[("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "http://127.0.0.1:4000")]).unwrap();
        assert_eq!(provider(&settings, "openai").base_url, "http://127.0.0.1:4000/v1");
    }

    #[test]
    fn quirks_of_a_section_override_those_of_the_catalog() {
        let usual = build("", &[]).unwrap();
        let usual = &provider(&usual, "mistral").row.quirks;
        let settings = build("[providers.mistral.quirks]\nno_media_urls = true\n", &[]).unwrap();
        let changed = &provider(&settings, "mistral").row.quirks;
        assert_ne!(**usual, Quirks::default(), "the test needs a provider with quirks of its own");
        assert_eq!(**changed, Quirks { no_media_urls: true, ..Quirks::clone(usual) });
        let mistakes = build("[providers.mistral.quirks]\nno_media_url = true\n", &[]).unwrap_err();
        assert!(mistakes[0].starts_with("providers.mistral.quirks"), "{mistakes:?}");
    }

    #[test]
    fn another_protocol_of_a_known_provider_is_honoured_or_refused() {
        let text = "[providers.ollama]\nprotocol = \"ollama-chat\"\nbase_url = \"http://h:11434/v1\"\n\
                    [providers.deepseek]\napi_key = \"k\"\nprotocol = \"anthropic-messages\"\n\
                    base_url = \"https://api.deepseek.test/anthropic/v1\"\n";
        let settings = build(text, &[]).unwrap();
        let ollama = provider(&settings, "ollama");
        assert_eq!((ollama.row.protocol, ollama.base_url.as_str()), (Protocol::OllamaChat, "http://h:11434"));
        let deepseek = provider(&settings, "deepseek");
        assert_eq!(deepseek.row.protocol, Protocol::AnthropicMessages);
        assert_eq!(deepseek.base_url, "https://api.deepseek.test/anthropic");
        assert_eq!(deepseek.row.auth, Auth::Header("x-api-key".to_owned()));
        assert!(deepseek.row.headers.contains_key("anthropic-version"));

        for (text, word) in [
            ("[providers.google-vertex]\nprotocol = \"anthropic-messages\"\n", "name of your own"),
            ("[providers.openai]\nprotocol = \"gemini\"\nbase_url = \"http://h\"\n", "name of your own"),
            ("[providers.openai]\nprotocol = \"anthropic-messages\"\n", "base_url"),
        ] {
            let mistakes = build(text, &[]).unwrap_err();
            assert!(mistakes[0].contains(".protocol: ") && mistakes[0].contains(word), "{mistakes:?}");
        }
    }

    #[test]
    fn headers_may_come_from_the_environment() {
        let text = "[providers.openai]\napi_key = \"k\"\n[providers.openai.headers]\nX-Team = \"env:TEAM\"\n";
        let settings = build(text, &[("TEAM", "blue\n")]).unwrap();
        assert_eq!(provider(&settings, "openai").row.headers["x-team"], "blue");
        let wrong =
            "[providers.openai.headers]\n\"x y\" = \"a\"\nx-team = \"env:NOT_SET\"\nx-bad = \"a\\nb\"\n";
        let mistakes = build(wrong, &[]).unwrap_err();
        assert_eq!(mistakes.len(), 3, "{mistakes:#?}");
    }
}
