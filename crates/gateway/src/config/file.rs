//! The content of `llmgateway.toml`. Unknown keys are mistakes.

use std::collections::BTreeMap;

use catalog::wording::{Form, plain};
use limits::{Bodies, Policy, Role};
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Protocol;
use wire::providers::Auth;

use super::form::{AnyValue, DATE, OwnModel, Reference, SIZE};
use super::lines::line_of;
use crate::telemetry::access::Format;

/// The whole file.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(default)]
pub struct ConfigFile {
    /// Where and how to listen.
    pub server: ServerSection,
    /// Which callers are accepted.
    pub auth: AuthSection,
    /// The form of answers.
    pub answers: AnswersSection,
    /// Which answers are stored for later requests.
    pub responses: ResponsesSection,
    /// Where usage and keys are stored.
    pub database: DatabaseSection,
    /// The form of the log.
    pub logging: LoggingSection,
    /// How providers are chosen and retried.
    #[schemars(with = "routing::Settings")]
    pub routing: toml::Table,
    /// How long to wait for providers.
    pub timeouts: TimeoutSection,
    /// TLS to providers.
    pub tls: TlsSection,
    /// Additional files of providers and models.
    pub catalog: CatalogSection,
    /// Providers by id: settings of a known one, or a whole new one.
    pub providers: BTreeMap<String, ProviderSection>,
    /// Aliases by name.
    pub models: BTreeMap<String, ModelSection>,
    /// Teams and applications by id, with their permissions.
    pub projects: BTreeMap<String, ProjectSection>,
    /// Rules that check requests and answers, by name.
    pub guardrails: BTreeMap<String, GuardrailSection>,
    /// Where events are sent.
    pub webhooks: Vec<WebhookSection>,
    /// Which bodies and headers are kept for administrators.
    pub bodies: BodiesSection,
    /// The data that several nodes share.
    pub cluster: ClusterSection,
    /// How budgets and limits are counted.
    pub limits: LimitsSection,
    /// The size of the response cache.
    pub cache: CacheSection,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerSection {
    /// Address and port. Default `127.0.0.1:4000`.
    #[schemars(with = "Reference")]
    pub listen: String,
    /// Largest request body. Default `64MiB`.
    #[schemars(regex(pattern = SIZE))]
    pub body_limit: String,
    /// Largest form with files (recordings, images to edit). Such a form is streamed to the provider and not
    /// buffered. Default `512MiB`.
    #[schemars(regex(pattern = SIZE))]
    pub upload_limit: String,
    /// Maximum number of open connections. Default 20000.
    pub max_connections: usize,
    /// Maximum size of a request's head. Default 64 KiB.
    #[schemars(regex(pattern = SIZE))]
    pub header_limit: String,
    /// Seconds for which open streams may continue after a stop was requested. Default 30.
    pub shutdown_seconds: u64,
    /// Seconds for which all requests are still served after a stop was requested. `/ready` answers 503 meanwhile, so
    /// that load balancers redirect their traffic; `shutdown_seconds` begin after that. Default 0. Behind a load
    /// balancer, set a little more than the time in which its checks detect the 503.
    pub drain_seconds: u64,
    /// Maximum seconds in which a client sends its request head, and between two pieces of its body. Default 30.
    pub read_seconds: u64,
    /// Maximum seconds in which a client sends a whole body. Default 300.
    pub body_seconds: u64,
    /// Maximum seconds for which a client's connection is idle between two requests. Choose more than the idle time of
    /// a load balancer in front, which is usually 60. Default 75.
    pub keep_alive_seconds: u64,
    /// Maximum bytes of request bodies and whole answers in memory. An answer counts twice until it is written: as it
    /// arrived and as it is sent. Above this limit, a request waits for a moment and is then refused with 503. Default
    /// `1GiB`.
    #[schemars(regex(pattern = SIZE))]
    pub buffer_limit: String,
    /// A second address and port, only for `/metrics` and `/ready`, which are then not served at `listen`.
    /// `/health` is served at both. Always without TLS.
    pub internal_listen: Option<String>,
    /// Whether clients may use HTTP/2 without TLS by prior knowledge (h2c). Default false.
    pub h2c: bool,
    /// The certificate for callers, see below. Without it the gateway serves plain HTTP.
    pub tls: Option<ServerTlsSection>,
    /// Pages that may call from a browser, by origin: `https://app.example.com`, `http://localhost:*`,
    /// `https://*.example.com`, or `*` for all. Default: pages that this machine serves itself (`localhost`,
    /// `127.0.0.1` and `[::1]` with any port); `[]` allows none. A page needs a key like any other caller.
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
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerTlsSection {
    /// Path of a PEM file with the certificate and its chain.
    pub cert: String,
    /// Path of a PEM file with its private key.
    pub key: String,
}

/// `[auth]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AuthSection {
    /// Static keys. Keys in the database are accepted as well.
    #[schemars(with = "Vec<Reference>")]
    pub api_keys: Vec<String>,
    /// Keys for the admin routes.
    #[schemars(with = "Vec<Reference>")]
    pub admin_keys: Vec<String>,
    /// The identity provider for the dashboard, in addition to keys ([single-sign-on.md](single-sign-on.md)). Default:
    /// none.
    pub oidc: Option<OidcSection>,
}

/// `[auth.oidc]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OidcSection {
    /// The issuer URL of an OpenID Connect provider, exactly as its metadata has it:
    /// `/.well-known/openid-configuration` is below it.
    pub issuer: String,
    /// The client id of this gateway at the provider.
    pub client_id: String,
    /// The client secret. Without one, the gateway is a public client, which only PKCE protects.
    pub client_secret: Option<String>,
    /// The URL at which browsers reach the gateway, such as `https://gateway.example.com`. The redirect URI to register
    /// at the provider is `/ui/oidc/callback` there.
    pub public_url: String,
    /// Default `["openid", "profile", "email"]`.
    pub scopes: Vec<String>,
    /// The claim of the ID token, or of the provider's userinfo, whose values are the roles of an account: a name, or a
    /// path such as `realm_access.roles`. Default `roles`.
    pub roles_claim: String,
    /// Values of that claim for administrators.
    pub admins: Vec<String>,
    /// Values of that claim for viewers; `"*"` allows every account of the provider.
    pub viewers: Vec<String>,
    /// The text of the button. Default: `Sign in with` and the issuer's host.
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
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AnswersSection {
    /// The place of the gateway's object in an answer: `metadata`, `llmgateway` (for clients that validate
    /// `metadata` with OpenAI's type, a map of strings), or `none`. Default `metadata`; clients that are
    /// known to refuse it then get `llmgateway` (`catalog/clients.toml`). The header `x-llmgateway-metadata`
    /// takes precedence.
    pub metadata: MetadataPlace,
}

/// `[responses]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ResponsesSection {
    /// Whether answers of the Responses API are stored unless the request has `store: false`, so that a later request
    /// can continue one by `previous_response_id`. If false, answers have `store: false`. Default true.
    pub store: bool,
    /// Days for which an answer is stored, at least 1. Default 30.
    #[schemars(range(min = 1))]
    pub keep_days: u32,
    /// Largest stored answer, including the items that its request added. Default `32MiB`.
    #[schemars(regex(pattern = SIZE))]
    pub size_limit: String,
}

impl Default for ResponsesSection {
    fn default() -> Self {
        Self { store: true, keep_days: 30, size_limit: "32MiB".to_owned() }
    }
}

/// `[bodies]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct BodiesSection {
    /// The requests whose bodies are kept: `none`, `errors` (failed and cancelled requests) or `all`. A project's
    /// policy may set `bodies` instead. Default `none`.
    pub keep: Bodies,
    /// Days for which they are kept, at least 1. Default 7.
    #[schemars(range(min = 1))]
    pub keep_days: u32,
    /// Maximum bytes of one body; a longer one is truncated. Default `64KiB`.
    #[schemars(regex(pattern = SIZE))]
    pub size_limit: String,
    /// Names of JSON members whose values are replaced, at any depth: `["email", "user"]`.
    pub redact: Vec<String>,
}

impl Default for BodiesSection {
    fn default() -> Self {
        Self { keep: Bodies::None, keep_days: 7, size_limit: "64KiB".to_owned(), redact: Vec::new() }
    }
}

/// `[database]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DatabaseSection {
    /// `sqlite:PATH` or `postgres://…`. Default `sqlite:llmgateway.db`.
    #[schemars(with = "Reference")]
    pub url: String,
    /// Folder of the spool. Default: beside the SQLite file, else `llmgateway.spool`.
    pub spool: Option<String>,
    /// Maximum bytes of usage records that wait for the database. Default `1GiB`.
    #[schemars(regex(pattern = SIZE))]
    pub spool_limit: String,
    /// Days for which usage records are kept, at least 1
    /// ([operations.md](operations.md#usage-records-in-the-database)). Default: no limit.
    #[schemars(range(min = 1))]
    pub keep_usage_days: Option<u32>,
}

impl Default for DatabaseSection {
    fn default() -> Self {
        Self {
            url: "sqlite:llmgateway.db".to_owned(),
            spool: None,
            spool_limit: "1GiB".to_owned(),
            keep_usage_days: None,
        }
    }
}

/// `[logging]`
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LoggingSection {
    /// `text` for people, or `json`: one object per line. Default `text`.
    pub format: Format,
    /// A line for each request, at level `info`. Default true.
    pub access: bool,
    /// The share of requests, 0 to 1, whose routing decision (scores, exclusions, reasons) is stored with the
    /// record. It is always stored for requests with more than one attempt, and for those with
    /// `x-llmgateway-explain`. Default 0.01.
    #[schemars(range(min = 0, max = 1))]
    pub decisions_sample: f64,
}

impl Default for LoggingSection {
    fn default() -> Self {
        Self { format: Format::Text, access: true, decisions_sample: 0.01 }
    }
}

/// `[timeouts]`, `[providers.ID.timeouts]` and `[models.NAME.timeouts]`, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TimeoutSection {
    /// Connecting to a provider; not for aliases. Default 10.
    #[schemars(range(min = 0))]
    pub connect: Option<f64>,
    /// From sending the request to the head of the answer. Default 600.
    #[schemars(range(min = 0))]
    pub first_byte: Option<f64>,
    /// Streams: from sending the request to the first content. Default 120.
    #[schemars(range(min = 0))]
    pub first_token: Option<f64>,
    /// Between two pieces of an answer. White space that keeps the connection open counts as a piece. Default
    /// 120.
    #[schemars(range(min = 0))]
    pub idle: Option<f64>,
    /// For one attempt. Default 1800.
    #[schemars(range(min = 0))]
    pub total: Option<f64>,
    /// For all attempts of a request together; not for providers. Default 3600.
    #[schemars(range(min = 0))]
    pub request: Option<f64>,
    /// WebSockets of `/p/…`: without a byte in either direction. Default 600.
    #[schemars(range(min = 0))]
    pub websocket_idle: Option<f64>,
    /// Retry at another provider even after a timeout within a whole answer, which the first provider then
    /// bills as well. Default false.
    pub repeat_begun: Option<bool>,
}

/// `[tls]`: TLS to providers and to other servers that the gateway calls.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TlsSection {
    /// PEM file of authorities to trust, in addition to the built-in ones and the system's (`SSL_CERT_FILE`,
    /// `SSL_CERT_DIR`).
    pub ca_file: Option<String>,
}

/// `[catalog]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CatalogSection {
    /// A folder with `providers/*.toml` and `models/*.toml` that overlay the built-in catalog.
    #[schemars(with = "Option<Reference>")]
    pub overlay: Option<String>,
}

/// `[providers.ID.tls]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProviderTlsSection {
    /// PEM file of authorities to trust for this provider, in addition to all others.
    pub ca_file: Option<String>,
    /// PEM file of the client certificate and its chain.
    pub cert: Option<String>,
    /// PEM file of the client certificate's key.
    pub key: Option<String>,
}

/// `[providers.ID]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProviderSection {
    /// False disables a provider that the environment would enable.
    pub enabled: Option<bool>,
    /// One key.
    #[schemars(with = "Option<Reference>")]
    pub api_key: Option<String>,
    /// A pool of keys.
    #[schemars(with = "Option<Vec<Reference>>")]
    pub api_keys: Option<Vec<String>>,
    /// Its base URL.
    #[schemars(with = "Option<Reference>")]
    pub base_url: Option<String>,
    /// Its wire format: for an operator's own provider, or a different one for a provider at another base
    /// URL.
    pub protocol: Option<Protocol>,
    /// Further wire formats that it serves under the same base URL, such as `openai-completions`: requests in
    /// these formats are forwarded unchanged.
    pub also: Option<Vec<Protocol>>,
    /// How its key is sent, for an operator's own provider.
    pub auth: Option<Auth>,
    /// Further headers of every request. A value may be `env:NAME` or `file:PATH`.
    #[schemars(with = "BTreeMap<String, Reference>")]
    pub headers: BTreeMap<String, String>,
    /// Its deviations from the wire format. Other quirks keep the catalog's value.
    #[schemars(with = "canon::Quirks")]
    pub quirks: toml::Table,
    /// The operator's preference for this provider; 1 is neutral.
    pub priority: Option<f64>,
    /// The proxy for its connections: `http://user:password@host:port`, `https://…` or `socks5h://…`; `none`
    /// for a direct connection. Default: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` of the
    /// environment.
    pub proxy: Option<String>,
    /// True sends the request's id to it, as `x-request-id`. Default false.
    pub forward_request_id: Option<bool>,
    /// Whether it trains models with the data that it receives, by your contract with it. Default: what the
    /// catalog knows, if `base_url` is the usual one.
    pub trains_on_data: Option<bool>,
    /// Whether it stores requests or answers, by your contract with it. Default: what the catalog knows, if
    /// `base_url` is the usual one.
    pub retains_data: Option<bool>,
    /// Where it processes data, for `regions` of policies: `eu`. Default: its setting `region`, or what the
    /// catalog knows, if `base_url` is the usual one.
    pub data_region: Option<String>,
    /// Its authorities, and the client certificate for it.
    pub tls: Option<ProviderTlsSection>,
    /// Timeouts for this provider, instead of those of `[timeouts]`.
    pub timeouts: TimeoutSection,
    /// Facts of its models, by name.
    #[schemars(with = "BTreeMap<String, OwnModel>")]
    pub models: toml::Table,
    /// All other settings: `region`, `project`, `resource` …, with the names of the provider's row in the
    /// catalog.
    #[serde(flatten)]
    #[schemars(with = "BTreeMap<String, AnyValue>")]
    pub settings: BTreeMap<String, toml::Value>,
}

/// `[models.NAME]`: an alias.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelSection {
    /// Its targets: `provider/model`, or models.
    pub targets: Vec<String>,
    /// `best` (by score), `order` (in this order) or `weight`.
    pub pick: Pick,
    /// One weight per target, with `pick = "weight"`.
    pub weights: Vec<u32>,
    /// Timeouts for its answers, which take precedence over those of the providers.
    pub timeouts: Option<TimeoutSection>,
}

/// `[projects.ID]`: the permissions of a team or an application, and its keys. The fields of a policy are
/// beside `keys`.
#[derive(Clone, Debug, Default, JsonSchema)]
#[schemars(default)]
pub struct ProjectSection {
    /// Its policy.
    #[schemars(flatten)]
    pub policy: Policy,
    /// Its keys. Keys in the database may belong to it too.
    #[schemars(with = "Vec<ProjectKey>")]
    pub keys: Vec<ProjectKeySection>,
}

/// One of `keys` in `[projects.ID]`. The fields of a policy are beside these, and narrow the project's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ProjectKeySection {
    /// Its name in the log and in records.
    pub name: String,
    /// The key itself: `env:NAME`, `file:PATH`, or the literal key.
    #[schemars(with = "Reference")]
    pub key: String,
    /// Its roles: `inference`, `passthrough`, `viewer`, `admin`. Default `["inference"]`.
    pub roles: Option<Vec<Role>>,
    /// The first day (UTC) on which it is no longer valid: `2027-01-31`.
    #[schemars(regex(pattern = DATE))]
    pub expires: Option<String>,
    /// Its policy.
    #[serde(skip)]
    pub policy: Policy,
}

/// A key of a project: its own fields and those of a policy, which narrows the project's.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "the parts are read one by one; this is only their form")]
struct ProjectKey {
    #[schemars(flatten)]
    key: ProjectKeySection,
    #[schemars(flatten)]
    policy: Policy,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClusterSection {
    /// Redis or Valkey, where nodes share the counters of budgets and limits, conversations and outages: `env:NAME`,
    /// `file:PATH`, or the literal URL. `redis://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// `redis+sentinel://HOST:PORT,HOST:PORT/MASTER` or `redis+cluster://HOST:PORT,HOST:PORT`; `rediss` with TLS, for
    /// which `tls.ca_file` replaces the system's authorities. Needs PostgreSQL as the database. Default: a single node.
    #[schemars(with = "Option<Reference>")]
    pub redis: Option<String>,
}

/// `[limits]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LimitsSection {
    /// Every request reserves exactly its amount at the shared counters; a node reserves nothing in advance. This costs
    /// a round trip to Redis per request. Needs `cluster.redis`. Default false.
    pub exact: bool,
}

/// `[cache]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CacheSection {
    /// Maximum memory for answers; the least recently used ones are evicted. `0` stores none in memory. Default
    /// `256MiB`.
    #[schemars(regex(pattern = SIZE))]
    pub memory: String,
    /// Largest cached answer, as the provider sent it. Default `1MiB`.
    #[schemars(regex(pattern = SIZE))]
    pub answer_limit: String,
    /// Whether answers are also stored in `cluster.redis`, where all nodes and a restarted node find them.
    /// Default false.
    pub redis: bool,
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { memory: "256MiB".to_owned(), answer_limit: "1MiB".to_owned(), redis: false }
    }
}

/// `[guardrails.NAME]`
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(default)]
pub struct GuardrailSection {
    /// `deny` refuses the request or the answer, `redact` replaces each match by a placeholder, `check` asks
    /// the server at `url`. Default `deny`.
    pub action: GuardrailAction,
    /// What is checked: callers' requests (`input`), answers (`output`). Default `["input"]`.
    pub on: Vec<Side>,
    /// Regular expressions to search for (syntax of Rust's `regex`: without backreferences, linear time). On
    /// output a match must have a maximum length of at most 4096 bytes.
    pub patterns: Vec<String>,
    /// Words to search for, each as a whole word.
    pub words: Vec<String>,
    /// Whether the case is ignored. Default true.
    pub ignore_case: bool,
    /// The name of placeholders: `EMAIL` for `[EMAIL_1]`. Default: the rule's name in uppercase.
    pub placeholder: Option<String>,
    /// The server that `check` asks: `env:NAME`, `file:PATH`, or the literal URL.
    #[schemars(with = "Option<Reference>")]
    pub url: Option<String>,
    /// The form of the check: `openai` (OpenAI's moderations) or `webhook`. Default `openai`.
    pub form: CheckForm,
    /// The bearer token for that server: `env:NAME`, `file:PATH`, or the literal token.
    #[schemars(with = "Option<Reference>")]
    pub key: Option<String>,
    /// The model in the request, with `openai`.
    pub model: Option<String>,
    /// Its deadline in seconds. Default 2.
    pub timeout_seconds: Option<f64>,
    /// What happens to a text when the check fails: `closed` refuses it with 503, `open` lets it pass and
    /// reports it. Default `closed`.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuardrailAction {
    /// Refuses.
    Deny,
    /// Replaces.
    Redact,
    /// Asks.
    Check,
}

/// The direction that a guardrail checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What callers send.
    Input,
    /// Answers.
    Output,
}

/// How a check is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CheckForm {
    /// As OpenAI's moderations.
    Openai,
    /// As the gateway's own webhooks.
    Webhook,
}

/// What happens to a text when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// It passes.
    Open,
    /// It is refused.
    Closed,
}

/// One of `[[webhooks]]`
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebhookSection {
    /// The address, `http` or `https`: `env:NAME`, `file:PATH`, or the literal URL. A URL that is itself a
    /// secret belongs in the environment or a file.
    #[schemars(with = "Reference")]
    pub url: String,
    /// Signs each body (HMAC-SHA256): `env:NAME`, `file:PATH`, or the literal secret. `whsec_` with base64 as
    /// in Standard Webhooks, or any other text. Without it nothing is signed.
    #[schemars(with = "Option<Reference>")]
    pub secret: Option<String>,
}

/// How an alias picks among its targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Pick {
    /// The best by score.
    #[default]
    Best,
    /// The first that works.
    Order,
    /// At random in proportion to the weights.
    Weight,
}

/// One mistake with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// `providers.openai.api_key`
    pub path: String,
    /// What is wrong, and how to correct it.
    pub message: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// The keys of a section, for did-you-mean.
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
            "bodies",
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
        "bodies" => &["keep", "keep_days", "size_limit", "redact"],
        "database" => &["url", "spool", "spool_limit", "keep_usage_days"],
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

/// Keys of a project, of its keys, and of the entries of their budgets and limits.
const PROJECT_KEYS: [&str; 30] = [
    "models",
    "deny",
    "providers",
    "deny_providers",
    "regions",
    "data_collection",
    "zdr",
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
    "bodies",
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

/// The fields of a key outside of its policy.
const KEY_FIELDS: [&str; 4] = ["name", "key", "roles", "expires"];

const TIMEOUT_KEYS: [&str; 8] =
    ["connect", "first_byte", "first_token", "idle", "total", "request", "websocket_idle", "repeat_begun"];

/// The readable part of a file, with all mistakes in its form.
#[derive(Debug, Default)]
pub struct ParsedFile {
    /// The readable part, with defaults in place of wrong values.
    pub file: ConfigFile,
    /// Unknown keys and wrong types.
    pub mistakes: Vec<Mistake>,
}

impl ConfigFile {
    /// Reads the file's text, or returns all mistakes in its form.
    pub fn parse(text: &str) -> Result<Self, Vec<Mistake>> {
        let ParsedFile { file, mistakes } = Self::read(text);
        if mistakes.is_empty() { Ok(file) } else { Err(mistakes) }
    }

    /// Reads as much as possible, so that the meaning of the rest can be checked as well.
    pub fn read(text: &str) -> ParsedFile {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                return ParsedFile { file: Self::default(), mistakes: vec![not_toml(text, &error)] };
            }
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
                "bodies" => file.bodies = section(&name, value, &mut mistakes),
                "limits" => file.limits = section(&name, value, &mut mistakes),
                "cache" => file.cache = section(&name, value, &mut mistakes),
                "webhooks" => file.webhooks = list(&name, value, &mut mistakes),
                _ => mistakes.push(unknown("", &name)),
            }
        }
        ParsedFile { file, mistakes }
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

/// The most similar name, if any is similar.
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
    // Each key alone first: reading stops at the first wrong value, and further ones would not be reported.
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

/// Reads a table and notes unknown keys. An error has its place in the table.
fn read_table<T: for<'a> Deserialize<'a>>(
    table: toml::Table,
    ignored: &mut Vec<String>,
) -> Result<T, (String, String)> {
    let mut on_ignored = |path: serde_ignored::Path<'_>| ignored.push(place(&path));
    let deserializer = serde_ignored::Deserializer::new(toml::Value::Table(table), &mut on_ignored);
    let mut track = serde_path_to_error::Track::new();
    let deserializer = serde_path_to_error::Deserializer::new(deserializer, &mut track);
    T::deserialize(deserializer)
        .map_err(|error| (track.path().to_string(), plain(error.message().trim(), Form::Toml)))
}

/// A place as it is written in all errors: `budgets[0].usd`.
pub(super) fn place(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", place(parent)),
        Path::Map { parent, key } => match place(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            place(parent)
        }
    }
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

/// The place of the gateway's object in an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MetadataPlace {
    /// As `metadata`.
    #[default]
    Metadata,
    /// As `llmgateway`: for clients that validate `metadata` with OpenAI's type.
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
    fn all_mistakes_are_reported_at_once_with_suggestions() {
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
            mistakes
                .iter()
                .any(|mistake| mistake.starts_with("server.max_connections: must be a whole number")),
            "{mistakes:#?}"
        );
    }

    #[test]
    fn every_wrong_value_of_a_section_is_reported_and_the_rest_is_read() {
        let text = "[server]\nlisten = 1\nmax_connections = \"many\"\nbody_limit = \"1MiB\"\n\
                    [providers.mine]\nprotocol = \"smoke\"\npriority = \"high\"\nbase_url = \"http://h/v1\"\n";
        let ParsedFile { file, mistakes } = ConfigFile::read(text);
        let paths: Vec<&str> = mistakes.iter().map(|mistake| mistake.path.as_str()).collect();
        assert_eq!(
            paths,
            ["providers.mine.priority", "providers.mine.protocol", "server.listen", "server.max_connections"]
        );
        assert_eq!(file.server.body_limit, "1MiB");
        assert_eq!(file.providers["mine"].base_url.as_deref(), Some("http://h/v1"));
    }

    /// A file with one wrong value, and the error.
    const WRONG_TYPES: &[(&str, &str)] = &[
        (
            "[server]\nmax_connections = \"many\"",
            "server.max_connections: must be a whole number of at least 0, not text",
        ),
        (
            "[server]\nmax_connections = 1.5",
            "server.max_connections: must be a whole number of at least 0, not the number 1.5",
        ),
        (
            "[server]\nmax_connections = -1",
            "server.max_connections: must be a whole number of at least 0, not the number -1",
        ),
        ("[server]\nh2c = \"yes\"", "server.h2c: must be true or false, not text"),
        ("[server]\ntls = true", "server.tls: must be a table, not true"),
        ("[server]\nlisten = 4000", "server.listen: must be text in quotes, not the number 4000"),
        ("[auth]\napi_keys = \"sk-secret\"", "auth.api_keys: must be a list, not text"),
        ("[auth]\napi_keys = [1]", "auth.api_keys[0]: must be text in quotes, not the number 1"),
        ("[logging]\nformat = \"xml\"", "logging.format: must be one of \"text\", \"json\", not \"xml\""),
        ("[models.fast]\ntargets = {}", "models.fast.targets: must be a list, not a table"),
        (
            "[projects.a]\nbudgets = [{ usd = 5, per = \"day\" }]",
            "projects.a.budgets[0].usd: must be text in quotes, not the number 5",
        ),
        ("[projects.a]\nbudgets = [{ usd = \"5\" }]", "projects.a.budgets[0]: per is missing"),
        (
            "[projects.a]\nbudgets = [{ usd = \"5\", per = \"dya\" }]",
            "projects.a.budgets[0].per: must be one of \"day\", \"week\", \"month\", \"total\", not \"dya\"; did you mean \"day\"?",
        ),
        (
            "[projects.a]\nlimits = [{ requests = 5, per = \"day\", modle = \"x\" }]",
            "projects.a.limits[0].modle: unknown key; did you mean \"model\"?",
        ),
        ("[projects.a]\nlimits = { requests = 5 }", "projects.a.limits: must be a list, not a table"),
        (
            "[projects.a]\nlimits = [{ requests = \"5\", per = \"day\" }]",
            "projects.a.limits[0].requests: must be a whole number of at least 0, not text",
        ),
        ("[projects.a]\ntags = [\"a=b\"]", "projects.a.tags: must be a table, not a list"),
        (
            "[[projects.a.keys]]\nname = \"ci\"\nkey = \"k\"\nroles = [\"boss\"]",
            "projects.a.keys[0].roles[0]: must be one of \"inference\", \"passthrough\", \"viewer\", \"admin\", not \"boss\"",
        ),
        (
            "[guardrails.x]\ntimeout_seconds = \"1\"",
            "guardrails.x.timeout_seconds: must be a number, not text",
        ),
        ("[webhooks]\nurl = \"x\"", "webhooks: must be a list, such as [[webhooks]]"),
        ("[timeouts]\nidle = true", "timeouts.idle: must be a number, not true"),
    ];

    #[test]
    fn wrong_types_are_reported_in_plain_words() {
        for (text, expected) in WRONG_TYPES {
            let mistakes: Vec<String> =
                ConfigFile::read(text).mistakes.iter().map(Mistake::to_string).collect();
            assert_eq!(mistakes, [*expected], "{text}");
        }
    }

    #[test]
    fn broken_toml_names_the_line() {
        let mistakes = ConfigFile::parse("[server]\nlisten = \n").unwrap_err();
        assert!(mistakes[0].message.starts_with("not valid TOML in line 2"), "{mistakes:?}");
    }
}
