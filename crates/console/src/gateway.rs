//! The gateway as the console sees it. The gateway implements [`Gateway`]; the console knows nothing else of
//! it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use bytes::Bytes;
use limits::{Bodies, Pattern, Policy};
use serde_json::Value;

/// A future behind a trait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Everything that the pages show and that is not in the database.
pub trait Gateway: Identity + SignOn + Configuration + Routing + Models + Budgets {}

impl<T: Identity + SignOn + Configuration + Routing + Models + Budgets> Gateway for T {}

pub trait Identity: Send + Sync + 'static {
    /// Whose this key is, and what it may see.
    fn sign_in<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Subject, WrongKey>>;

    /// The current rights of a subject that signed in with a key; none when the key is gone.
    fn rights<'a>(&'a self, subject: &'a str) -> BoxFuture<'a, Option<Rights>>;

    /// Returns once the change in the database is in force on this node.
    fn in_force(&self) -> BoxFuture<'_, ()>;
}

/// Sign-in by an identity provider (OpenID Connect).
pub trait SignOn: Send + Sync + 'static {
    /// The text of its button; none where the configuration has no provider.
    fn offer(&self) -> Option<String>;

    /// Where the browser signs in.
    fn departure<'a>(&'a self, secrets: &'a SignOnSecrets) -> BoxFuture<'a, Result<String, NoSignOn>>;

    /// The subject that has returned from the provider.
    fn arrival<'a>(
        &'a self,
        secrets: &'a SignOnSecrets,
        answer: SignOnAnswer<'a>,
    ) -> BoxFuture<'a, Result<Subject, NoSignOn>>;

    /// The current rights of a subject that signed in this way; none without any.
    fn still(&self, subject: &str) -> Option<Rights>;
}

/// The random texts of one sign-in. Only the browser keeps the text that they are derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct SignOnSecrets {
    /// The provider returns it.
    pub state: String,
    /// The ID token must contain it.
    pub nonce: String,
    /// Proves that the token request comes from the browser that began the sign-in (PKCE).
    pub verifier: String,
}

/// The provider's answer, from the browser.
#[derive(Clone, Copy)]
pub struct SignOnAnswer<'a> {
    pub code: &'a str,
    /// The issuer, where the provider names itself.
    pub issuer: Option<&'a str>,
}

/// Why a sign-in by the provider failed; texts are sentences without secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoSignOn {
    /// No provider is configured.
    Off,
    /// It does not answer correctly.
    Away(String),
    /// It refused, or its answer is invalid.
    Refused(String),
    /// The person is known and has no role here.
    Role { name: String },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// For the gateway.
    pub id: String,
    /// For people.
    pub name: String,
    /// What they may do.
    pub rights: Rights,
}

/// The rights of a person in the dashboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rights {
    /// Sees everything but secrets.
    Viewer,
    /// Changes everything.
    Admin,
}

impl Rights {
    /// The value in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Admin => "admin",
        }
    }

    /// The inverse of `as_str`; an unknown value has the least rights.
    pub fn named(word: &str) -> Self {
        if word == "admin" { Self::Admin } else { Self::Viewer }
    }

    /// The lesser of two.
    pub fn and(self, other: Self) -> Self {
        if self == Self::Admin { other } else { self }
    }
}

/// Why a sign-in with a key failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WrongKey {
    /// It is unknown, has expired or is disabled.
    Unknown,
    /// It has other roles.
    Role { project: String },
    /// The database does not answer.
    Away,
}

pub trait Configuration: Send + Sync + 'static {
    /// The configuration in force, with secrets masked.
    fn in_force(&self) -> EffectiveSettings;

    /// Checks the configuration and puts it in force.
    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, String>>;

    /// The last reload of this process.
    fn last_reload(&self) -> Option<LastReload>;

    fn node(&self) -> Node;

    /// Whose bodies are kept for a project.
    fn keeps_bodies(&self, project: &str) -> Bodies;
}

#[derive(Clone, Debug, Default)]
pub struct EffectiveSettings {
    pub file: Option<String>,
    /// In the order of the file's reference.
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `routing.max_retries`
    pub path: String,
    /// As it would be written; secrets are masked.
    pub value: String,
    /// `file`, `env NAME`, `default`.
    pub source: String,
}

#[derive(Clone, Debug)]
pub struct LastReload {
    /// When, in milliseconds since 1970.
    pub at_ms: i64,
    /// Settings that need a restart, or the mistakes.
    pub result: Result<Vec<String>, String>,
}

#[derive(Clone, Debug, Default)]
pub struct Node {
    pub name: String,
    pub version: String,
    /// Bytes of usage records that wait for the database.
    pub spool_bytes: u64,
    /// Most bytes that may wait (`database.spool_limit`).
    pub spool_limit: u64,
    /// `SQLite` or `PostgreSQL`, and where it is, without a password.
    pub database: String,
    /// It has a certificate: cookies are for TLS alone.
    pub tls: bool,
}

/// Providers and their health.
pub trait Routing: Send + Sync + 'static {
    /// All providers, those that can be called first.
    fn providers(&self) -> Vec<Provider>;

    /// The dry run of a request, as `llmgateway explain --json` prints it. Nothing is sent.
    fn explain(&self, request: Bytes) -> Result<Value, canon::Error>;
}

#[derive(Clone, Debug, Default)]
pub struct Provider {
    pub id: String,
    /// Why it cannot be called.
    pub off: Option<String>,
    pub keys: Vec<String>,
    /// The measurements of its models.
    pub routes: Vec<routing::RouteSnapshot>,
    /// Suspensions of it: the whole provider, or keys.
    pub suspensions: Vec<store::Suspension>,
}

impl Provider {
    /// The suspension of the whole provider (no key), or of one of its keys.
    pub fn suspension_of(&self, key: Option<&str>) -> Option<&store::Suspension> {
        self.suspensions.iter().find(|suspension| suspension.key.as_deref() == key)
    }
}

/// The catalog in force.
pub trait Models: Send + Sync + 'static {
    /// Every model.
    fn models(&self) -> Vec<Model>;

    /// Names of aliases with their targets.
    fn aliases(&self) -> Vec<(String, Vec<String>)>;
}

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub id: String,
    pub name: String,
    /// Tokens of prompt and answer.
    pub context: Option<u64>,
    /// Tokens of an answer.
    pub longest_answer: Option<u64>,
    /// `tools`, `vision` …
    pub features: Vec<&'static str>,
    /// Who serves it.
    pub offers: Vec<Offer>,
}

#[derive(Clone, Debug, Default)]
pub struct Offer {
    pub provider: String,
    pub id: String,
    /// It can be called.
    pub on: bool,
    /// USD per million tokens: prompt, cached prompt, answer. None if the price is unknown.
    pub price: Option<Price>,
    /// Its context there.
    pub context: Option<u64>,
    /// Features of the model that it lacks there.
    pub lacks: Vec<String>,
    /// Its last day there.
    pub last_day: Option<String>,
}

/// USD per million tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    /// Of a prompt.
    pub input: canon::Pico,
    /// Of its cached part.
    pub cached: Option<canon::Pico>,
    /// Of an answer.
    pub output: canon::Pico,
}

impl Model {
    /// The cheapest offer that can be called, by a prompt six times as long as its answer.
    pub fn cheapest(&self) -> Option<&Offer> {
        let on = self.offers.iter().filter(|offer| offer.on);
        let weight = |price: &Price| price.input.0.saturating_mul(6).saturating_add(price.output.0);
        on.filter_map(|offer| Some((weight(offer.price.as_ref()?), offer)))
            .min_by_key(|it| it.0)
            .map(|it| it.1)
    }

    pub fn is_matched(&self, pattern: &Pattern) -> bool {
        pattern.matches(&self.id)
            || self.offers.iter().any(|offer| {
                pattern.matches(&offer.id)
                    || pattern.matches(&format!("{}/{}", offer.provider, offer.id))
                    || pattern.matches(&format!("{}/{}", offer.provider, self.id))
            })
    }
}

/// Projects with their counters.
pub trait Budgets: Send + Sync + 'static {
    /// Projects of the configuration file: the console shows them and changes nothing.
    fn declared(&self) -> Vec<(String, Policy)>;

    /// Ids of all projects that are in force.
    fn project_ids(&self) -> Vec<String>;

    /// The current use of the rules of a project, as this node counts.
    fn taken(&self, project: &str) -> Vec<RuleUse>;

    /// The same for a key's own rules.
    fn taken_by_key(&self, key: &str) -> Vec<RuleUse>;

    /// The policy, checked and normalised; or its mistakes.
    fn check_policy(&self, json: &str) -> Result<String, String>;

    fn wrong_project_id(&self, id: &str) -> Option<String>;

    /// The providers at which a project may use a model, and the reasons of the others.
    fn refusals(&self, policy: &Policy, model: &str) -> MayUse;
}

/// The answer to "may this project use …".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MayUse {
    /// No enabled provider serves it.
    Unknown,
    /// It may at these providers; at others not, with the reasons.
    Providers {
        allowed: Vec<String>,
        /// Refused providers, with the rule.
        refused: Vec<(String, String)>,
    },
}

/// A rule and its current use.
#[derive(Clone, Debug)]
pub struct RuleUse {
    /// The rule in words.
    pub rule: String,
    /// Money: ceiling, window, spent, reserved.
    pub money: Option<(canon::Pico, limits::Window, canon::Pico, canon::Pico)>,
    /// Requests at a time: most, now.
    pub concurrent: Option<(u64, u64)>,
}

/// The address of a request.
#[derive(Clone, Copy, Debug)]
pub struct From(pub IpAddr);
