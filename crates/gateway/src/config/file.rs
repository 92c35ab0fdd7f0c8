//! What can be written in `llmgateway.toml`. Unknown keys are mistakes.

use std::collections::BTreeMap;

use limits::{Policy, Role};
use serde::Deserialize;
use wire::Protocol;
use wire::providers::Auth;

use super::lines::line_of;
use crate::telemetry::access::Format;

/// The whole file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ConfigFile {
    /// Where and how to listen.
    pub server: ServerSection,
    /// Who may call.
    pub auth: AuthSection,
    /// What answers look like.
    pub answers: AnswersSection,
    /// Which answers are kept for later requests.
    pub responses: ResponsesSection,
    /// Where usage and keys are kept.
    pub database: DatabaseSection,
    /// What the log looks like.
    pub logging: LoggingSection,
    /// How providers are chosen and retried.
    pub routing: toml::Table,
    /// How long to wait for providers.
    pub timeouts: TimeoutSection,
    /// TLS to providers.
    pub tls: TlsSection,
    /// Further files of providers and models.
    pub catalog: CatalogSection,
    /// Providers by id: settings of a known one, or a whole new one.
    pub providers: BTreeMap<String, ProviderSection>,
    /// Aliases by name.
    pub models: BTreeMap<String, ModelSection>,
    /// Teams and applications by id: what they may do.
    #[serde(skip)]
    pub projects: BTreeMap<String, ProjectSection>,
    /// What is looked for in requests and answers, by name.
    pub guardrails: BTreeMap<String, GuardrailSection>,
    /// Where events are sent.
    #[serde(skip)]
    pub webhooks: Vec<WebhookSection>,
    /// What several nodes share.
    pub cluster: ClusterSection,
    /// How budgets and limits are counted.
    pub limits: LimitsSection,
    /// How much room answers have that are kept for equal requests.
    pub cache: CacheSection,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ServerSection {
    /// Address and port. Default `127.0.0.1:4000`.
    pub listen: String,
    /// Largest request body. Default `64MiB`.
    pub body_limit: String,
    /// Largest form with files (recordings, images to edit). Such a form passes to the provider as it comes, and is not held.
    /// Default `512MiB`.
    pub upload_limit: String,
    /// Most connections at a time. Default 20000.
    pub max_connections: usize,
    /// Largest request head in bytes. Default 64 KiB.
    pub header_limit: String,
    /// How long streams may go on after a stop was asked for, in seconds. Default 30.
    pub shutdown_seconds: u64,
    /// How long everything is served on after a stop was asked for, in seconds, while `/ready` says 503 and load balancers
    /// turn away; then `shutdown_seconds` begin. Default 0; with a load balancer in front, a little more than its checks
    /// take to notice.
    pub drain_seconds: u64,
    /// How long a client may take to send its request head, and its body between two pieces, in seconds. Default 30.
    pub read_seconds: u64,
    /// How long a client may take to send a whole body, in seconds. Default 300.
    pub body_seconds: u64,
    /// How long a client's connection may be idle between two requests, in seconds; more than the idle time of a load
    /// balancer in front, which is 60 mostly. Default 75.
    pub keep_alive_seconds: u64,
    /// Most bytes of request bodies and whole answers that are held at a time. An answer counts twice until it is written:
    /// as it came and as it is sent. Beyond, a request waits a moment and is refused with 503. Default `1GiB`.
    pub buffer_limit: String,
    /// Another address and port, for `/metrics` and `/ready` alone; they are not served at `listen` then. `/health` is
    /// served at both. Always without TLS.
    pub internal_listen: Option<String>,
    /// Whether clients may speak HTTP/2 without TLS when they know beforehand that the gateway does (h2c by prior
    /// knowledge). Default false.
    pub h2c: bool,
    /// The certificate for callers, see below. Without it the gateway speaks plain HTTP.
    pub tls: Option<ServerTlsSection>,
    /// Pages that may call from a browser, by origin: `https://app.example.com`, `http://localhost:*`,
    /// `https://*.example.com`, or `*` for all. Default: pages that this machine serves itself (`localhost`, `127.0.0.1`
    /// and `[::1]` with any port); `[]` allows none. A page needs a key as everybody does.
    pub cors_origins: Vec<String>,
}

impl Default for ServerSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:4000".to_owned(),
            body_limit: "64MiB".to_owned(),
            upload_limit: "512MiB".to_owned(),
            max_connections: 20_000,
            header_limit: "64KiB".to_owned(),
            shutdown_seconds: 30,
            drain_seconds: 0,
            read_seconds: 30,
            body_seconds: 300,
            keep_alive_seconds: 75,
            buffer_limit: "1GiB".to_owned(),
            internal_listen: None,
            h2c: false,
            tls: None,
            cors_origins: ["http://localhost:*", "http://127.0.0.1:*", "http://[::1]:*"]
                .map(str::to_owned)
                .to_vec(),
        }
    }
}

/// `[server.tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ServerTlsSection {
    /// Path of a PEM file with the certificate and those that it is signed by.
    pub cert: String,
    /// Path of a PEM file with its private key.
    pub key: String,
}

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AuthSection {
    /// Static keys. Keys in the database work as well.
    pub api_keys: Vec<String>,
    /// Keys for the admin routes.
    pub admin_keys: Vec<String>,
    /// Who signs people in to the dashboard, besides keys ([single-sign-on.md](single-sign-on.md)). Default: nobody.
    pub oidc: Option<OidcSection>,
}

/// `[auth.oidc]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct OidcSection {
    /// URL of an OpenID Connect provider, exactly as it names itself: `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// What the provider calls this gateway.
    pub client_id: String,
    /// The client's secret; without one it is a public client, which PKCE alone protects.
    pub client_secret: Option<String>,
    /// Where browsers reach the gateway, such as `https://gateway.example.com`. The redirect URI to register at the provider is
    /// `/ui/oidc/callback` there.
    pub public_url: String,
    /// Default `["openid", "profile", "email"]`.
    pub scopes: Vec<String>,
    /// The claim of the ID token, or of the provider's userinfo, whose values say what somebody may do: a name, or a path such
    /// as `realm_access.roles`. Default `roles`.
    pub roles_claim: String,
    /// Values of that claim for administrators.
    pub admins: Vec<String>,
    /// Values of that claim for viewers; `"*"` is everybody whom the provider signs in.
    pub viewers: Vec<String>,
    /// The words of the button. Default: `Sign in with` and the issuer's host.
    pub label: Option<String>,
    /// How far the provider's clock may differ, in seconds, at most 300. Default 60.
    pub clock_skew_seconds: u64,
}

impl Default for OidcSection {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            client_id: String::new(),
            client_secret: None,
            public_url: String::new(),
            scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
            roles_claim: "roles".to_owned(),
            admins: Vec::new(),
            viewers: Vec::new(),
            label: None,
            clock_skew_seconds: 60,
        }
    }
}

/// `[answers]`
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub struct AnswersSection {
    /// Where an answer has the gateway's object: as `metadata`, as `llmgateway` (for clients that validate `metadata` by
    /// OpenAI's type, a map of strings), or nowhere. Default `metadata`; clients that are known to refuse it get
    /// `llmgateway` then (`catalog/clients.toml`). The header `x-llmgateway-metadata` goes before the setting.
    pub metadata: MetadataPlace,
}

/// `[responses]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct ResponsesSection {
    /// Whether answers of the Responses API are kept where the request does not say `store: false`, so that a later request
    /// can name one as `previous_response_id`. Without, an answer says `store: false`. Default true.
    pub store: bool,
    /// How many days an answer is kept: at least one. Default 30.
    pub keep_days: u32,
    /// Largest answer that is kept, with what its request added. Default `32MiB`.
    pub size_limit: String,
}

impl Default for ResponsesSection {
    fn default() -> Self {
        Self { store: true, keep_days: 30, size_limit: "32MiB".to_owned() }
    }
}

/// `[database]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct DatabaseSection {
    /// `sqlite:PATH` or `postgres://…`. Default `sqlite:llmgateway.db`.
    pub url: String,
    /// Folder of the spool. Default: beside the SQLite file, else `llmgateway.spool`.
    pub spool: Option<String>,
    /// Most bytes that wait for the database. Default `1GiB`.
    pub spool_limit: String,
}

impl Default for DatabaseSection {
    fn default() -> Self {
        Self { url: "sqlite:llmgateway.db".to_owned(), spool: None, spool_limit: "1GiB".to_owned() }
    }
}

/// `[logging]`
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
pub struct LoggingSection {
    /// `text` for people, or `json`: one object a line. Default `text`.
    pub format: Format,
    /// A line for each request, at level `info`. Default true.
    pub access: bool,
    /// The share of requests, 0 to 1, whose routing decision (scores, exclusions, reasons) is kept with the record. It is always kept
    /// of requests with more than one attempt, and of those with `x-llmgateway-explain`. Default 0.01.
    pub decisions_sample: f64,
}

impl Default for LoggingSection {
    fn default() -> Self {
        Self { format: Format::Text, access: true, decisions_sample: 0.01 }
    }
}

/// `[timeouts]`, `[providers.ID.timeouts]` and `[models.NAME.timeouts]`, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct TimeoutSection {
    /// To connect to a provider; not for aliases. Default 10.
    pub connect: Option<f64>,
    /// From sending the request to the head of the answer. Default 600.
    pub first_byte: Option<f64>,
    /// Streams: from sending the request to the first content. Default 120.
    pub first_token: Option<f64>,
    /// Between two pieces of an answer. White space that keeps the connection is a piece. Default 120.
    pub idle: Option<f64>,
    /// For one attempt. Default 1800.
    pub total: Option<f64>,
    /// For all attempts of a request together; not for providers. Default 3600.
    pub request: Option<f64>,
    /// WebSockets of `/p/…`: without a byte either way. Default 600.
    pub websocket_idle: Option<f64>,
    /// Ask another provider also after a timeout within a whole answer, which the first one then bills as well.
    /// Default false.
    pub repeat_begun: Option<bool>,
}

/// `[tls]`: TLS to providers and to whatever else the gateway calls.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct TlsSection {
    /// PEM file of authorities to trust, beside the built-in ones and the system's (`SSL_CERT_FILE`, `SSL_CERT_DIR`).
    pub ca_file: Option<String>,
}

/// `[catalog]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct CatalogSection {
    /// A folder with `providers/*.toml` and `models/*.toml`, laid over the built-in catalog.
    pub overlay: Option<String>,
}

/// `[providers.ID.tls]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProviderTlsSection {
    /// PEM file of authorities to trust for this provider, beside all others.
    pub ca_file: Option<String>,
    /// PEM file of the client certificate and its chain.
    pub cert: Option<String>,
    /// PEM file of the client certificate's key.
    pub key: Option<String>,
}

/// `[providers.ID]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProviderSection {
    /// False switches a provider off that the environment would enable.
    pub enabled: Option<bool>,
    /// One key.
    pub api_key: Option<String>,
    /// A pool of keys.
    pub api_keys: Option<Vec<String>>,
    /// Where it is.
    pub base_url: Option<String>,
    /// Its wire format: of a provider of one's own, or another one of a provider that is called at a base URL.
    pub protocol: Option<Protocol>,
    /// Further wire formats that it serves below the same base URL, such as `openai-completions`: callers of these get their
    /// requests through as they are.
    pub also: Option<Vec<Protocol>>,
    /// How its key is sent, for a provider of one's own.
    pub auth: Option<Auth>,
    /// Further headers of every request. A value may be `env:NAME` or `file:PATH`.
    pub headers: BTreeMap<String, String>,
    /// How it differs from its wire format. What is not given stays as in the catalog.
    pub quirks: toml::Table,
    /// The operator's liking: 1 is neutral.
    pub priority: Option<f64>,
    /// The proxy that leads to it: `http://user:password@host:port`, `https://…` or `socks5h://…`; `none` for a direct
    /// connection. Default: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the environment.
    pub proxy: Option<String>,
    /// True sends the request's id along, as `x-request-id`. Default false.
    pub forward_request_id: Option<bool>,
    /// Its authorities, and our certificate for it.
    pub tls: Option<ProviderTlsSection>,
    /// How long to wait for it, where `[timeouts]` does not fit.
    pub timeouts: TimeoutSection,
    /// What is known of its models, by their names.
    pub models: toml::Table,
    /// Everything else: `region`, `project`, `resource` …, as the provider's row in the catalog names them.
    #[serde(flatten)]
    pub settings: BTreeMap<String, toml::Value>,
}

/// `[models.NAME]`: an alias.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ModelSection {
    /// What it stands for: `provider/model`, or models.
    pub targets: Vec<String>,
    /// `best` (by score), `order` (in this order) or `weight`.
    pub pick: Pick,
    /// One weight for each target, with `pick = "weight"`.
    pub weights: Vec<u32>,
    /// How long to wait for its answers: goes before the timeouts of the providers.
    pub timeouts: Option<TimeoutSection>,
}

/// `[projects.ID]`: what a team or an application may do, and its keys. The fields of a policy stand beside `keys`.
#[derive(Clone, Debug, Default)]
pub struct ProjectSection {
    /// What it may do.
    pub policy: Policy,
    /// Its keys. Keys in the database may belong to it too.
    pub keys: Vec<ProjectKeySection>,
}

/// One of `keys` in `[projects.ID]`. The fields of a policy stand beside these, and narrow the project's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ProjectKeySection {
    /// What it is called in the log and in records.
    pub name: String,
    /// The key itself: `env:NAME`, `file:PATH`, or as it is.
    pub key: String,
    /// What it is for: `inference`, `passthrough`, `viewer`, `admin`. Default `["inference"]`.
    pub roles: Option<Vec<Role>>,
    /// The first day (UTC) on which it is not good any more: `2027-01-31`.
    pub expires: Option<String>,
    /// What it may do.
    #[serde(skip)]
    pub policy: Policy,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClusterSection {
    /// Redis or Valkey, where nodes share the counters of budgets and limits, and what they know of conversations and outages: `env:NAME`, `file:PATH`, or as it is.
    /// `redis://USER:PASSWORD@HOST:PORT/DATABASE`, `redis+sentinel://HOST:PORT,HOST:PORT/MASTER` or
    /// `redis+cluster://HOST:PORT,HOST:PORT`; `rediss` with TLS, for which `tls.ca_file` replaces the system's authorities. Needs
    /// PostgreSQL as the database. Default: this node is alone.
    pub redis: Option<String>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LimitsSection {
    /// Every request asks the common counters for exactly what it needs, and a node keeps nothing at hand, at the price of a
    /// round trip to Redis for each request. Needs `cluster.redis`. Default false.
    pub exact: bool,
}

/// `[cache]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct CacheSection {
    /// Most memory for answers; those that were not asked for the longest make room. `0` keeps none in memory. Default `256MiB`.
    pub memory: String,
    /// Largest answer that is kept, as it came from the provider. Default `1MiB`.
    pub answer_limit: String,
    /// Whether answers are kept in `cluster.redis` too, where every node finds them, and a node that begins anew. Default false.
    pub redis: bool,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { memory: "256MiB".to_owned(), answer_limit: "1MiB".to_owned(), redis: false }
    }
}

/// `[guardrails.NAME]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct GuardrailSection {
    /// `deny` refuses the request or the answer, `redact` puts a placeholder in the place of each match, `check` asks the server
    /// at `url`. Default `deny`.
    pub action: GuardrailAction,
    /// What is looked at: what callers send, and answers. Default `["input"]`.
    pub on: Vec<Side>,
    /// What to look for, as regular expressions (syntax of Rust's `regex`: without backreferences, linear time). On output a match
    /// must have a longest length, at most 4096 bytes.
    pub patterns: Vec<String>,
    /// Words to look for, each as a whole word.
    pub words: Vec<String>,
    /// Whether capitals make no difference. Default true.
    pub ignore_case: bool,
    /// The name of placeholders: `EMAIL` for `[EMAIL_1]`. Default: the rule's name in capitals.
    pub placeholder: Option<String>,
    /// Whom `check` asks: `env:NAME`, `file:PATH`, or as it is.
    pub url: Option<String>,
    /// How it is asked: `openai` (as OpenAI's moderations) or `webhook`. Default `openai`.
    pub form: CheckForm,
    /// Sent there as a bearer token: `env:NAME`, `file:PATH`, or as it is.
    pub key: Option<String>,
    /// The model to name in OpenAI's form.
    pub model: Option<String>,
    /// How long it may take to answer, in seconds. Default 2.
    pub timeout_seconds: Option<f64>,
    /// What becomes of a text when it does not answer: `closed` refuses with 503, `open` lets it pass and says so. Default
    /// `closed`.
    pub on_error: OnError,
}

impl Default for GuardrailSection {
    fn default() -> Self {
        Self {
            action: GuardrailAction::Deny,
            on: vec![Side::Input],
            patterns: Vec::new(),
            words: Vec::new(),
            ignore_case: true,
            placeholder: None,
            url: None,
            form: CheckForm::Openai,
            key: None,
            model: None,
            timeout_seconds: None,
            on_error: OnError::Closed,
        }
    }
}

/// What a guardrail does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuardrailAction {
    /// Refuses.
    Deny,
    /// Replaces.
    Redact,
    /// Asks.
    Check,
}

/// What a guardrail looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What callers send.
    Input,
    /// Answers.
    Output,
}

/// How a check is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckForm {
    /// As OpenAI's moderations.
    Openai,
    /// As the gateway's own webhooks.
    Webhook,
}

/// What becomes of a text when a check does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It passes.
    Open,
    /// It is refused.
    Closed,
}

/// One of `[[webhooks]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WebhookSection {
    /// The address, `http` or `https`: `env:NAME`, `file:PATH`, or as it is. A URL that is a secret itself belongs into the
    /// environment or a file.
    pub url: String,
    /// Signs each body (HMAC-SHA256): `env:NAME`, `file:PATH`, or as it is. `whsec_` with base64 as Standard Webhooks has it,
    /// or any other text. Without it nothing is signed.
    pub secret: Option<String>,
}

/// How an alias picks among its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// The best by score.
    #[default]
    Best,
    /// The first that works.
    Order,
    /// By chance in proportion to the weights.
    Weight,
}

/// One mistake with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `providers.openai.api_key`
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// The keys that a section knows, for did-you-mean.
pub(super) fn known_keys(section: &str) -> &'static [&'static str] {
    match section {
        "" => &[
            "server",
            "auth",
            "answers",
            "responses",
            "database",
            "logging",
            "routing",
            "timeouts",
            "tls",
            "catalog",
            "providers",
            "models",
            "projects",
            "guardrails",
            "webhooks",
            "cluster",
            "limits",
            "cache",
        ],
        "server" => &[
            "listen",
            "body_limit",
            "upload_limit",
            "max_connections",
            "header_limit",
            "shutdown_seconds",
            "drain_seconds",
            "read_seconds",
            "body_seconds",
            "keep_alive_seconds",
            "buffer_limit",
            "internal_listen",
            "h2c",
            "tls",
            "cors_origins",
        ],
        "server.tls" => &["cert", "key"],
        "auth" => &["api_keys", "admin_keys", "oidc"],
        "auth.oidc" => &OIDC_KEYS,
        "answers" => &["metadata"],
        "responses" => &["store", "keep_days", "size_limit"],
        "database" => &["url", "spool", "spool_limit"],
        "logging" => &["format", "access", "decisions_sample"],
        "timeouts" => &TIMEOUT_KEYS,
        "tls" => &["ca_file"],
        "catalog" => &["overlay"],
        "cluster" => &["redis"],
        "limits" => &["exact"],
        "cache" => &["memory", "answer_limit", "redis"],
        section if section.starts_with("guardrails.") => &GUARDRAIL_KEYS,
        section if section.starts_with("webhooks") => &["url", "secret"],
        section if section.starts_with("projects.") => &PROJECT_KEYS,
        section if section.starts_with("providers.") => &["ca_file", "cert", "key"],
        _ => &["targets", "pick", "weights", "timeouts"],
    }
}

const OIDC_KEYS: [&str; 10] = [
    "issuer",
    "client_id",
    "client_secret",
    "public_url",
    "scopes",
    "roles_claim",
    "admins",
    "viewers",
    "label",
    "clock_skew_seconds",
];

const GUARDRAIL_KEYS: [&str; 12] = [
    "action",
    "on",
    "patterns",
    "words",
    "ignore_case",
    "placeholder",
    "url",
    "form",
    "key",
    "model",
    "timeout_seconds",
    "on_error",
];

/// Of a project, of its keys, and of the entries of their budgets and limits.
const PROJECT_KEYS: [&str; 26] = [
    "models",
    "deny",
    "providers",
    "deny_providers",
    "budgets",
    "limits",
    "tags",
    "unpriced",
    "stored_responses",
    "counters_away",
    "cache",
    "seconds",
    "share",
    "guardrails",
    "keys",
    "name",
    "key",
    "roles",
    "expires",
    "usd",
    "per",
    "on_exhausted",
    "requests",
    "tokens",
    "concurrent",
    "model",
];

/// The fields of a key that are no policy.
const KEY_FIELDS: [&str; 4] = ["name", "key", "roles", "expires"];

const TIMEOUT_KEYS: [&str; 8] =
    ["connect", "first_byte", "first_token", "idle", "total", "request", "websocket_idle", "repeat_begun"];

/// A file as far as it can be read, with everything that is wrong with its form.
#[derive(Debug, Default)]
pub struct Reading {
    /// What could be read; the default where something is wrong.
    pub file: ConfigFile,
    /// Unknown keys and wrong types.
    pub mistakes: Vec<Mistake>,
}

impl ConfigFile {
    /// Reads the file's text, or says everything that is wrong with its form.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let Reading { file, mistakes } = Self::read(text);
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    /// Reads as much as can be read, so that what is left can be checked for its meaning as well.
    pub fn read(text: &str) -> Reading {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => return Reading { file: Self::default(), mistakes: vec![not_toml(text, &error)] },
        };
        let mut mistakes = Vec::new();
        let mut file = Self::default();
        for (name, value) in table {
            match name.as_str() {
                "server" => file.server = section(&name, value, &mut mistakes),
                "answers" => file.answers = section(&name, value, &mut mistakes),
                "responses" => file.responses = section(&name, value, &mut mistakes),
                "auth" => file.auth = section(&name, value, &mut mistakes),
                "database" => file.database = section(&name, value, &mut mistakes),
                "logging" => file.logging = section(&name, value, &mut mistakes),
                "timeouts" => file.timeouts = section(&name, value, &mut mistakes),
                "tls" => file.tls = section(&name, value, &mut mistakes),
                "catalog" => file.catalog = section(&name, value, &mut mistakes),
                "routing" => file.routing = section(&name, value, &mut mistakes),
                "providers" => file.providers = sections(&name, value, &mut mistakes),
                "models" => file.models = sections(&name, value, &mut mistakes),
                "guardrails" => file.guardrails = sections(&name, value, &mut mistakes),
                "projects" => file.projects = projects(value, &mut mistakes),
                "cluster" => file.cluster = section(&name, value, &mut mistakes),
                "limits" => file.limits = section(&name, value, &mut mistakes),
                "cache" => file.cache = section(&name, value, &mut mistakes),
                "webhooks" => file.webhooks = list(&name, value, &mut mistakes),
                _ => mistakes.push(unknown("", &name)),
            }
        }
        Reading { file, mistakes }
    }
}

fn not_toml(text: &str, error: &toml::de::Error) -> Mistake {
    let place = error.span().map_or(String::new(), |span| format!(" in line {}", line_of(text, span.start)));
    Mistake { path: String::new(), message: format!("not valid TOML{place}: {}", error.message().trim()) }
}

fn unknown(section: &str, key: &str) -> Mistake {
    let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
    let known = if key.starts_with("timeouts.") { &TIMEOUT_KEYS } else { known_keys(section) };
    let own = key.rsplit('.').next().unwrap_or(key);
    let message = match nearest(own, known.iter().copied()) {
        Some(name) => format!("unknown key; did you mean {name:?}?"),
        None => format!("unknown key; known are {}", known.join(", ")),
    };
    Mistake { path, message }
}

/// The name most like `word`, if any is like it.
pub fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::damerau_levenshtein(word, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

/// A section without its wrong values: each of them is reported, and the others are read.
fn section<T: Default + for<'a> Deserialize<'a>>(
    name: &str,
    value: toml::Value,
    mistakes: &mut Vec<Mistake>,
) -> T {
    let toml::Value::Table(table) = value else {
        let message = format!("must be a table, such as [{name}]");
        mistakes.push(Mistake { path: name.to_owned(), message });
        return T::default();
    };
    // Each key alone first: reading stops at the first wrong value, and the others would go unseen.
    let is_right = |key: &String, value: &toml::Value, mistakes: &mut Vec<Mistake>| {
        let alone = toml::Table::from_iter([(key.clone(), value.clone())]);
        let Err((place, message)) = read_table::<T>(alone, &mut Vec::new()) else { return true };
        let inner = if place.starts_with(key.as_str()) { place } else { key.clone() };
        mistakes.push(Mistake { path: format!("{name}.{inner}"), message });
        false
    };
    let right = table.into_iter().filter(|(key, value)| is_right(key, value, mistakes)).collect();
    let mut ignored = Vec::new();
    let read = read_table(right, &mut ignored);
    mistakes.extend(ignored.iter().map(|key| match key.rsplit_once('.') {
        Some((inner, key)) => unknown(&format!("{name}.{inner}"), key),
        None => unknown(name, key),
    }));
    read.unwrap_or_else(|(_, message)| {
        mistakes.push(Mistake { path: name.to_owned(), message });
        T::default()
    })
}

/// Reads a table and notes the keys that nothing reads. An error comes with its place in the table.
fn read_table<T: for<'a> Deserialize<'a>>(
    table: toml::Table,
    ignored: &mut Vec<String>,
) -> Result<T, (String, String)> {
    // The library writes `?` where an optional section begins.
    let mut on_ignored = |path: serde_ignored::Path<'_>| ignored.push(path.to_string().replace(".?", ""));
    let deserializer = serde_ignored::Deserializer::new(toml::Value::Table(table), &mut on_ignored);
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    T::deserialize(deserializer)
        .map_err(|error| (track.path().to_string(), error.message().trim().to_owned()))
}

fn sections<T: Default + for<'a> Deserialize<'a>>(
    name: &str,
    value: toml::Value,
    mistakes: &mut Vec<Mistake>,
) -> BTreeMap<String, T> {
    let toml::Value::Table(table) = value else {
        mistakes.push(Mistake { path: name.to_owned(), message: "must be a table".to_owned() });
        return BTreeMap::new();
    };
    table
        .into_iter()
        .map(|(id, value)| (id.clone(), section(&format!("{name}.{id}"), value, mistakes)))
        .collect()
}

/// The tables of a list, such as `[[webhooks]]`.
fn list<T: Default + for<'a> Deserialize<'a>>(
    name: &str,
    value: toml::Value,
    mistakes: &mut Vec<Mistake>,
) -> Vec<T> {
    let toml::Value::Array(tables) = value else {
        let message = format!("must be a list, such as [[{name}]]");
        mistakes.push(Mistake { path: name.to_owned(), message });
        return Vec::new();
    };
    let tables = tables.into_iter().enumerate();
    tables.map(|(index, table)| section(&format!("{name}[{index}]"), table, mistakes)).collect()
}

fn projects(value: toml::Value, mistakes: &mut Vec<Mistake>) -> BTreeMap<String, ProjectSection> {
    let toml::Value::Table(table) = value else {
        mistakes.push(Mistake { path: "projects".to_owned(), message: "must be a table".to_owned() });
        return BTreeMap::new();
    };
    let project = |(id, value): (String, toml::Value)| {
        let path = format!("projects.{id}");
        let mut value = value;
        let keys = value.as_table_mut().and_then(|table| table.remove("keys"));
        let keys = match keys {
            None => Vec::new(),
            Some(toml::Value::Array(keys)) => {
                let key = |(index, key)| project_key(&format!("{path}.keys[{index}]"), key, mistakes);
                keys.into_iter().enumerate().map(key).collect()
            }
            Some(_) => {
                let message = "must be a list, such as [{ name = \"ci\", key = \"env:CI_KEY\" }]".to_owned();
                mistakes.push(Mistake { path: format!("{path}.keys"), message });
                Vec::new()
            }
        };
        (id, ProjectSection { policy: section(&path, value, mistakes), keys })
    };
    table.into_iter().map(project).collect()
}

fn project_key(path: &str, mut value: toml::Value, mistakes: &mut Vec<Mistake>) -> ProjectKeySection {
    let mut own = toml::Table::new();
    if let Some(table) = value.as_table_mut() {
        for name in KEY_FIELDS {
            own.extend(table.remove(name).map(|value| (name.to_owned(), value)));
        }
    }
    let policy = section(path, value, mistakes);
    ProjectKeySection { policy, ..section(path, own.into(), mistakes) }
}

/// Where an answer has the gateway's object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetadataPlace {
    /// As `metadata`.
    #[default]
    Metadata,
    /// As `llmgateway`: for clients that validate `metadata` by OpenAI's type.
    Llmgateway,
    /// Nowhere.
    None,
}

impl MetadataPlace {
    /// The name of the object.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Metadata => Some("metadata"),
            Self::Llmgateway => Some("llmgateway"),
            Self::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_at_once_with_suggestions() {
        let text = "[server]\nlisten = \"x\"\nbody_limits = \"1MiB\"\nmax_connections = \"many\"\n[sever]\n[auth]\napikeys = []\n[models.fast]\ntarget = []\n";
        let mistakes: Vec<String> =
            ConfigFile::parse(text).unwrap_err().iter().map(Mistake::to_string).collect();
        let expected = [
            "server.body_limits: unknown key; did you mean \"body_limit\"?",
            "sever: unknown key; did you mean \"server\"?",
            "auth.apikeys: unknown key; did you mean \"api_keys\"?",
            "models.fast.target: unknown key; did you mean \"targets\"?",
        ];
        for line in expected {
            assert!(mistakes.iter().any(|mistake| mistake == line), "{line}\n{mistakes:#?}");
        }
        assert!(
            mistakes.iter().any(|mistake| mistake.starts_with("server.max_connections: invalid type")),
            "{mistakes:#?}"
        );
    }

    #[test]
    fn every_wrong_value_of_a_section_is_reported_and_the_rest_is_read() {
        let text = "[server]\nlisten = 1\nmax_connections = \"many\"\nbody_limit = \"1MiB\"\n\
                    [providers.mine]\nprotocol = \"smoke\"\npriority = \"high\"\nbase_url = \"http://h/v1\"\n";
        let Reading { file, mistakes } = ConfigFile::read(text);
        let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(
            paths,
            ["providers.mine.priority", "providers.mine.protocol", "server.listen", "server.max_connections"]
        );
        assert_eq!(file.server.body_limit, "1MiB");
        assert_eq!(file.providers["mine"].base_url.as_deref(), Some("http://h/v1"));
    }

    #[test]
    fn broken_toml_names_the_line() {
        let mistakes = ConfigFile::parse("[server]\nlisten = \n").unwrap_err();
        assert!(mistakes[0].message.starts_with("not valid TOML in line 2"), "{mistakes:?}");
    }
}
