//! Every route: its path, its method, its access rule, its handler. 404 and 405, `Allow`, `OPTIONS` and the
//! answers to preflight requests come from this table.

use canon::Operation;
use http::{HeaderMap, HeaderValue, Method};
use wire::protocols::openai_completions::OpenaiCompletions;
use wire::{Dialect, OWN, Protocol};

use super::files_and_batches;

#[derive(Debug)]
pub struct Route {
    /// The path. A part in braces at its end matches the rest of the path, slashes included.
    pub path: &'static str,
    /// The method. A route for `GET` also takes `HEAD`.
    pub method: Method,
    pub access: Access,
    pub serve: Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody.
    Anyone,
    /// Everybody who reaches the operator's listener; on the callers' listener only without an operator's
    /// listener.
    Operator,
    /// Callers with a key.
    Key,
    /// Callers with an admin key, or a viewer's.
    Viewer,
    /// Callers with an admin key.
    Admin,
}

impl Access {
    pub fn needs_key(self) -> bool {
        matches!(self, Self::Key | Self::Viewer | Self::Admin)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serve {
    /// A conversation with a model, in this format.
    Chat(Protocol),
    /// A text that a model continues, in the format of OpenAI's legacy completions.
    Completions,
    Stored,
    Conversations,
    /// The token count of a prompt, in this format.
    CountTokens(Protocol),
    /// An operation without a conversation.
    Endpoint(Operation),
    /// Files and batches.
    Kept(files_and_batches::Resource),
    /// A provider's own API.
    Passthrough,
    /// The list of models, in this format.
    Models(Protocol),
    /// One model, in this format.
    Model(Protocol),
    Routing,
    /// Liveness.
    Health,
    /// Readiness.
    Ready,
    /// Projects, keys and usage.
    Admin(Resource),
    Reload,
    /// Prometheus metrics.
    Metrics,
    /// A page of the dashboard.
    Console,
    /// The document of all routes.
    OpenApi,
    /// A description of this server.
    Root,
    /// Not implemented: a known request of other APIs that this version does not serve.
    NotYet,
}

/// A resource of the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Projects,
    Project,
    /// All keys of the database.
    Keys,
    Key,
    /// Budgets and limits with their current use.
    Budgets,
    /// The ledger, and usage by dimension.
    Usage,
    /// Requests, the newest first.
    Requests,
    Request,
    /// Models at their providers.
    Models,
    Providers,
    Routing,
    Suspensions,
    Suspension,
    /// The cached answers of a project.
    Cache,
    /// The dry run of a request.
    Explain,
    /// The processes on the database.
    Nodes,
    Node,
    /// The log of changes.
    Audit,
}

const fn route(method: Method, path: &'static str, access: Access, serve: Serve) -> Route {
    Route { path, method, access, serve }
}

const fn not_yet(method: Method, path: &'static str) -> Route {
    route(method, path, Access::Anyone, Serve::NotYet)
}

const fn passthrough(method: Method) -> Route {
    route(method, "/p/{provider}", Access::Key, Serve::Passthrough)
}

const CHAT: Serve = Serve::Chat(Protocol::OpenaiChat);
const FILES: Serve = Serve::Kept(files_and_batches::Resource::Files);
const UPLOADS: Serve = Serve::Kept(files_and_batches::Resource::Uploads);
const BATCHES: Serve = Serve::Kept(files_and_batches::Resource::Batches);
const MESSAGE_BATCHES: Serve = Serve::Kept(files_and_batches::Resource::MessageBatches);
const MODELS: Serve = Serve::Models(Protocol::OpenaiChat);

/// All routes. The first one is the most frequent.
pub static ROUTES: &[Route] = &[
    route(Method::POST, "/v1/chat/completions", Access::Key, CHAT),
    route(Method::POST, "/chat/completions", Access::Key, CHAT),
    route(Method::POST, "/v1/messages", Access::Key, Serve::Chat(Protocol::AnthropicMessages)),
    route(
        Method::POST,
        "/v1/messages/count_tokens",
        Access::Key,
        Serve::CountTokens(Protocol::AnthropicMessages),
    ),
    route(Method::POST, "/v1/completions", Access::Key, Serve::Completions),
    route(Method::POST, "/v1beta/models/{model}", Access::Key, Serve::Chat(Protocol::Gemini)),
    route(Method::POST, "/v1/models/{model}", Access::Key, Serve::Chat(Protocol::Gemini)),
    route(Method::GET, "/v1/models", Access::Key, MODELS),
    route(Method::GET, "/models", Access::Key, MODELS),
    route(Method::GET, "/v1/models/{model}", Access::Key, Serve::Model(Protocol::OpenaiChat)),
    route(Method::GET, "/v1beta/models", Access::Key, Serve::Models(Protocol::Gemini)),
    route(Method::GET, "/v1beta/models/{model}", Access::Key, Serve::Model(Protocol::Gemini)),
    route(Method::GET, "/v1/routing", Access::Admin, Serve::Routing),
    route(Method::POST, "/admin/v1/reload", Access::Admin, Serve::Reload),
    route(Method::GET, "/admin/v1/projects", Access::Viewer, Serve::Admin(Resource::Projects)),
    route(Method::POST, "/admin/v1/projects", Access::Admin, Serve::Admin(Resource::Projects)),
    route(Method::GET, "/admin/v1/projects/{id}", Access::Viewer, Serve::Admin(Resource::Project)),
    route(Method::PATCH, "/admin/v1/projects/{id}", Access::Admin, Serve::Admin(Resource::Project)),
    route(Method::DELETE, "/admin/v1/projects/{id}", Access::Admin, Serve::Admin(Resource::Project)),
    route(Method::GET, "/admin/v1/keys", Access::Viewer, Serve::Admin(Resource::Keys)),
    route(Method::POST, "/admin/v1/keys", Access::Admin, Serve::Admin(Resource::Keys)),
    route(Method::GET, "/admin/v1/keys/{id}", Access::Viewer, Serve::Admin(Resource::Key)),
    route(Method::PATCH, "/admin/v1/keys/{id}", Access::Admin, Serve::Admin(Resource::Key)),
    route(Method::DELETE, "/admin/v1/keys/{id}", Access::Admin, Serve::Admin(Resource::Key)),
    route(Method::POST, "/admin/v1/keys/{id}", Access::Admin, Serve::Admin(Resource::Key)),
    route(Method::GET, "/admin/v1/budgets", Access::Viewer, Serve::Admin(Resource::Budgets)),
    route(Method::GET, "/admin/v1/usage", Access::Viewer, Serve::Admin(Resource::Usage)),
    route(Method::GET, "/admin/v1/requests", Access::Viewer, Serve::Admin(Resource::Requests)),
    route(Method::GET, "/admin/v1/requests/{id}", Access::Viewer, Serve::Admin(Resource::Request)),
    route(Method::GET, "/admin/v1/models", Access::Viewer, Serve::Admin(Resource::Models)),
    route(Method::GET, "/admin/v1/providers", Access::Viewer, Serve::Admin(Resource::Providers)),
    route(Method::GET, "/admin/v1/routing", Access::Viewer, Serve::Admin(Resource::Routing)),
    route(Method::GET, "/admin/v1/suspensions", Access::Viewer, Serve::Admin(Resource::Suspensions)),
    route(Method::POST, "/admin/v1/suspensions", Access::Admin, Serve::Admin(Resource::Suspensions)),
    route(Method::DELETE, "/admin/v1/suspensions/{id}", Access::Admin, Serve::Admin(Resource::Suspension)),
    route(Method::DELETE, "/admin/v1/cache/{id}", Access::Admin, Serve::Admin(Resource::Cache)),
    route(Method::POST, "/admin/v1/explain", Access::Viewer, Serve::Admin(Resource::Explain)),
    route(Method::GET, "/admin/v1/nodes", Access::Viewer, Serve::Admin(Resource::Nodes)),
    route(Method::DELETE, "/admin/v1/nodes/{id}", Access::Admin, Serve::Admin(Resource::Node)),
    route(Method::GET, "/admin/v1/audit", Access::Viewer, Serve::Admin(Resource::Audit)),
    route(Method::GET, "/health", Access::Anyone, Serve::Health),
    route(Method::GET, "/ready", Access::Operator, Serve::Ready),
    route(Method::GET, "/metrics", Access::Operator, Serve::Metrics),
    route(Method::GET, "/openapi.json", Access::Anyone, Serve::OpenApi),
    route(Method::GET, "/", Access::Anyone, Serve::Root),
    route(Method::POST, "/v1/responses", Access::Key, Serve::Chat(Protocol::OpenaiResponses)),
    route(
        Method::POST,
        "/v1/responses/input_tokens",
        Access::Key,
        Serve::CountTokens(Protocol::OpenaiResponses),
    ),
    route(Method::GET, "/v1/responses/{id}", Access::Key, Serve::Stored),
    route(Method::POST, "/v1/responses/{id}", Access::Key, Serve::Stored),
    route(Method::DELETE, "/v1/responses/{id}", Access::Key, Serve::Stored),
    route(Method::POST, "/v1/conversations", Access::Key, Serve::Conversations),
    route(Method::GET, "/v1/conversations/{id}", Access::Key, Serve::Conversations),
    route(Method::POST, "/v1/conversations/{id}", Access::Key, Serve::Conversations),
    route(Method::DELETE, "/v1/conversations/{id}", Access::Key, Serve::Conversations),
    route(Method::POST, "/v1/embeddings", Access::Key, Serve::Endpoint(Operation::Embeddings)),
    route(Method::POST, "/embeddings", Access::Key, Serve::Endpoint(Operation::Embeddings)),
    route(Method::POST, "/v1/rerank", Access::Key, Serve::Endpoint(Operation::Rerank)),
    route(Method::POST, "/v2/rerank", Access::Key, Serve::Endpoint(Operation::Rerank)),
    route(Method::POST, "/rerank", Access::Key, Serve::Endpoint(Operation::Rerank)),
    route(Method::POST, "/v1/moderations", Access::Key, Serve::Endpoint(Operation::Moderations)),
    route(Method::POST, "/v1/images/generations", Access::Key, Serve::Endpoint(Operation::ImageGenerations)),
    route(Method::POST, "/v1/images/edits", Access::Key, Serve::Endpoint(Operation::ImageEdits)),
    passthrough(Method::GET),
    passthrough(Method::POST),
    passthrough(Method::PUT),
    passthrough(Method::PATCH),
    passthrough(Method::DELETE),
    route(Method::GET, "/ui", Access::Anyone, Serve::Console),
    route(Method::GET, "/ui/", Access::Anyone, Serve::Console),
    route(Method::GET, "/ui/{page}", Access::Anyone, Serve::Console),
    route(Method::POST, "/ui/{page}", Access::Anyone, Serve::Console),
    not_yet(Method::POST, "/v1/images/variations"),
    route(Method::POST, "/v1/audio/speech", Access::Key, Serve::Endpoint(Operation::Speech)),
    route(Method::POST, "/v1/audio/transcriptions", Access::Key, Serve::Endpoint(Operation::Transcriptions)),
    route(Method::POST, "/v1/audio/translations", Access::Key, Serve::Endpoint(Operation::Translations)),
    route(Method::POST, "/v1/files", Access::Key, FILES),
    route(Method::GET, "/v1/files", Access::Key, FILES),
    route(Method::GET, "/v1/files/{id}", Access::Key, FILES),
    route(Method::DELETE, "/v1/files/{id}", Access::Key, FILES),
    route(Method::POST, "/v1/uploads", Access::Key, UPLOADS),
    route(Method::POST, "/v1/uploads/{id}", Access::Key, UPLOADS),
    route(Method::POST, "/v1/batches", Access::Key, BATCHES),
    route(Method::GET, "/v1/batches", Access::Key, BATCHES),
    route(Method::GET, "/v1/batches/{id}", Access::Key, BATCHES),
    route(Method::POST, "/v1/batches/{id}", Access::Key, BATCHES),
    route(Method::POST, "/v1/messages/batches", Access::Key, MESSAGE_BATCHES),
    route(Method::GET, "/v1/messages/batches", Access::Key, MESSAGE_BATCHES),
    route(Method::GET, "/v1/messages/batches/{id}", Access::Key, MESSAGE_BATCHES),
    route(Method::POST, "/v1/messages/batches/{id}", Access::Key, MESSAGE_BATCHES),
    route(Method::DELETE, "/v1/messages/batches/{id}", Access::Key, MESSAGE_BATCHES),
    not_yet(Method::GET, "/v1/realtime"),
    not_yet(Method::POST, "/v1/videos"),
    not_yet(Method::GET, "/v1/videos/{id}"),
];

impl Serve {
    pub fn is_answered_by_model(self) -> bool {
        matches!(self, Self::Chat(_) | Self::Completions | Self::CountTokens(_) | Self::Endpoint(_))
    }

    pub fn operation(self) -> Operation {
        match self {
            Self::CountTokens(_) => Operation::CountTokens,
            Self::Endpoint(operation) => operation,
            _ => Operation::Chat,
        }
    }

    fn has_dialect(self) -> bool {
        self.is_answered_by_model()
            || matches!(
                self,
                Self::Kept(_) | Self::Stored | Self::Conversations | Self::Models(_) | Self::Model(_)
            )
    }

    /// The format of its callers.
    pub fn dialect(self) -> &'static dyn Dialect {
        match self {
            Self::Chat(protocol)
            | Self::CountTokens(protocol)
            | Self::Models(protocol)
            | Self::Model(protocol) => wire::dialect(protocol).unwrap_or(OWN),
            Self::Kept(files_and_batches::Resource::MessageBatches) => {
                Self::Chat(Protocol::AnthropicMessages).dialect()
            }
            Self::Completions => &OpenaiCompletions,
            Self::Stored | Self::Conversations => Self::Chat(Protocol::OpenaiResponses).dialect(),
            _ => OWN,
        }
    }
}

impl Serve {
    /// The format for the list of models: several APIs have theirs at `/v1/models`, and their clients can be
    /// recognised by a header.
    pub fn dialect_for(self, headers: &HeaderMap) -> &'static dyn Dialect {
        let is_googles =
            ["x-goog-api-client", "x-goog-api-key"].iter().any(|name| headers.contains_key(*name));
        match self {
            Self::Models(Protocol::OpenaiChat) | Self::Model(Protocol::OpenaiChat)
                if headers.contains_key("anthropic-version") =>
            {
                wire::dialect(Protocol::AnthropicMessages).unwrap_or(OWN)
            }
            Self::Models(Protocol::OpenaiChat) | Self::Model(Protocol::OpenaiChat) if is_googles => {
                wire::dialect(Protocol::Gemini).unwrap_or(OWN)
            }
            _ => self.dialect(),
        }
    }
}

/// The format of error answers for this path.
pub fn dialect_of(path: &str, method: &Method) -> &'static dyn Dialect {
    let speaks = |route: &&Route| route.serve.has_dialect() && route.rest(path).is_some();
    let asked = ROUTES.iter().filter(speaks).find(|route| route.takes(method));
    match asked.or_else(|| ROUTES.iter().find(speaks)) {
        Some(route) => route.serve.dialect(),
        // Only Google's API has this version.
        None if path.starts_with("/v1beta/") => wire::dialect(Protocol::Gemini).unwrap_or(OWN),
        // Unsupported parts of Anthropic's API, such as its batches.
        None if path.starts_with("/v1/messages/") => {
            wire::dialect(Protocol::AnthropicMessages).unwrap_or(OWN)
        }
        None => OWN,
    }
}

/// The routes of models, for error messages: `POST /v1/chat/completions, POST /v1/messages, …`. Of several
/// paths with the same handler, the first.
pub fn apis() -> String {
    let mut listed: Vec<&Route> = Vec::new();
    for route in ROUTES.iter().filter(|route| route.serve.is_answered_by_model() || route.serve == MODELS) {
        if !listed.iter().any(|other| other.serve == route.serve) {
            listed.push(route);
        }
    }
    let names: Vec<String> = listed.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    names.join(", ")
}

/// The result of a lookup.
#[derive(Debug)]
pub enum RouteMatch<'a> {
    /// A route, and the part for its braces, still escaped.
    Route(&'static Route, &'a str),
    /// The path has routes, but none for this method.
    OtherMethods(Allowed),
    Nothing,
}

/// The methods of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed(String);

impl Allowed {
    /// As the value of `Allow`.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static("OPTIONS"))
    }

    /// `GET, HEAD, OPTIONS`
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Route {
    /// The part for the braces; empty without braces. None when this is another path.
    fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        match self.path.split_once('{') {
            None => (self.path == path).then_some(""),
            Some((start, _)) => path.strip_prefix(start).filter(|rest| !rest.is_empty()),
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.method == *method || (self.method == Method::GET && *method == Method::HEAD)
    }
}

/// Finds the route of a path in the table's spelling.
pub fn find<'a>(path: &'a str, method: &Method) -> RouteMatch<'a> {
    let mut others = None;
    for route in ROUTES {
        let Some(rest) = route.rest(path) else { continue };
        if route.takes(method) {
            return RouteMatch::Route(route, rest);
        }
        // A request that is not implemented does not exist, whatever the method.
        if others.is_none_or(|other: &Route| other.serve == Serve::NotYet) {
            others = Some(route);
        }
    }
    match others {
        Some(route) if route.serve == Serve::NotYet => RouteMatch::Route(route, ""),
        Some(_) => RouteMatch::OtherMethods(allowed(path)),
        None => RouteMatch::Nothing,
    }
}

fn allowed(path: &str) -> Allowed {
    let serves = |route: &&Route| route.rest(path).is_some() && route.serve != Serve::NotYet;
    let mut methods: Vec<&str> = Vec::new();
    for route in ROUTES.iter().filter(serves) {
        methods.push(route.method.as_str());
        if route.method == Method::GET {
            methods.push("HEAD");
        }
    }
    methods.push("OPTIONS");
    Allowed(methods.join(", "))
}

/// Description of a route for the documents.
pub(super) fn about(serve: Serve) -> &'static str {
    match serve {
        Serve::Chat(Protocol::OpenaiChat) => "a conversation, in the format of OpenAI's chat completions",
        Serve::Chat(Protocol::AnthropicMessages) => "a conversation, in the format of Anthropic's Messages",
        Serve::Chat(Protocol::Gemini) => {
            "a conversation, in the format of Google's Gemini API; the method follows the model: `MODEL:generateContent`, `MODEL:streamGenerateContent`, `MODEL:countTokens`"
        }
        Serve::Chat(Protocol::OpenaiResponses) => "a conversation, in the format of OpenAI's Responses",
        Serve::Chat(_) => "a conversation",
        Serve::Completions => "a continuation of a text, in the format of OpenAI's legacy completions",
        Serve::Console => "the dashboard ([dashboard.md](dashboard.md))",
        Serve::Conversations => {
            "stored conversations: `POST` to create one; `GET`, `POST` and `DELETE ID`; `GET` and `POST ID/items`; `GET` and `DELETE ID/items/ITEM` ([responses.md](responses.md))"
        }
        Serve::Stored => {
            "stored answers: `GET ID`, `GET ID/input_items`, `DELETE ID`, `POST ID/cancel` ([responses.md](responses.md))"
        }
        Serve::CountTokens(_) => {
            "the number of tokens of a request; the header `x-llmgateway-count` is `exact` or `estimate`"
        }
        Serve::Endpoint(Operation::Embeddings) => "embeddings of texts, in the format of OpenAI's embeddings",
        Serve::Endpoint(Operation::Rerank) => {
            "documents ranked by relevance to a query, in the format of Cohere's and Jina's rerank"
        }
        Serve::Endpoint(Operation::Moderations) => {
            "moderation of texts and images, in the format of OpenAI's moderations"
        }
        Serve::Endpoint(Operation::Speech) => {
            "speech from a text: audio while it is generated, or events with `stream_format: sse` ([media.md](media.md))"
        }
        Serve::Endpoint(Operation::ImageGenerations) => {
            "images from a text; with `stream`, as events ([media.md](media.md))"
        }
        Serve::Endpoint(Operation::ImageEdits) => {
            "images from images and a text, as a form or JSON; with `stream`, as events ([media.md](media.md))"
        }
        Serve::Endpoint(Operation::Transcriptions) => {
            "the transcription of a recording, sent as a form: a text, subtitles, or events with `stream` ([media.md](media.md))"
        }
        Serve::Endpoint(_) => "the English translation of a recording, sent as a form ([media.md](media.md))",
        Serve::Kept(files_and_batches::Resource::Files) => {
            "files for batches: `POST` a form to create one, `GET` to list them, `GET ID`, `DELETE ID`, `GET ID/content` ([batches.md](batches.md))"
        }
        Serve::Kept(files_and_batches::Resource::Uploads) => {
            "files uploaded in parts: `POST` to start, `POST ID/parts` with a form, `POST ID/complete`, `POST ID/cancel` ([batches.md](batches.md))"
        }
        Serve::Kept(files_and_batches::Resource::Batches) => {
            "batches, in OpenAI's format: `POST` to create one, `GET` to list them, `GET ID`, `POST ID/cancel` ([batches.md](batches.md))"
        }
        Serve::Kept(files_and_batches::Resource::MessageBatches) => {
            "batches, in Anthropic's format: `POST` to create one, `GET` to list them, `GET ID`, `DELETE ID`, `GET ID/results`, `POST ID/cancel` ([batches.md](batches.md))"
        }
        Serve::Passthrough => {
            "the provider's own API: the path after the provider's name is the path there, and the gateway adds its credential; for keys with the role `passthrough` ([passthrough.md](passthrough.md))"
        }
        Serve::Models(Protocol::Gemini) => "the list of models, in Google's format, in pages",
        Serve::Models(_) => "the list of models",
        Serve::Model(Protocol::Gemini) => "one model, in Google's format",
        Serve::Model(_) => "one model; its id may contain slashes, plain or as `%2F`",
        Serve::Routing => "the health of providers and models",
        Serve::Health => "200 while the process runs",
        Serve::Ready => "200 while the node accepts requests, else 503",
        Serve::Admin(resource) => about_resource(resource),
        Serve::Reload => "reloads the configuration",
        Serve::Metrics => "Prometheus metrics",
        Serve::OpenApi => "the OpenAPI 3.1 document of all routes",
        Serve::Root => "the name of the server and the base path of its API",
        Serve::NotYet => "",
    }
}

fn about_resource(resource: Resource) -> &'static str {
    match resource {
        Resource::Projects => "the projects ([governance.md](governance.md)); `POST` creates one",
        Resource::Project => {
            "one project; `PATCH` changes it (with `If-Match`, only if unchanged), `DELETE` deletes it if it has no active key"
        }
        Resource::Keys => {
            "the keys of the database, with `project=ID` those of one project; `POST` creates one and returns its secret once"
        }
        Resource::Key => {
            "one key; `PATCH` changes it (with `If-Match`, only if unchanged), `DELETE` revokes it, `POST ID/rotate` creates a new secret"
        }
        Resource::Budgets => {
            "the budgets and limits of projects and keys, with the counts of this node; with `project=ID` or `key=ID` only theirs"
        }
        Resource::Usage => {
            "usage from `since` (or the last `days`) to `until`, grouped by `group=project,key,model,provider,operation,outcome` or `tag:NAME`, and by `bucket=hour` or `day`, filtered by `project=ID` or another dimension; with `scope=project:ID` or `key:ID` the amounts charged on each of the last `days`"
        }
        Resource::Requests => {
            "requests, newest first: `filter=model:gpt-* status:5xx …`, `since`, `until`, `limit`, `after` ([governance.md](governance.md#requests-and-usage))"
        }
        Resource::Models => {
            "models of enabled providers, in pages; `all=true` includes disabled providers, `provider=ID` selects one provider"
        }
        Resource::Providers => "the providers; a disabled one has the reason",
        Resource::Routing => "this node's routing measurements, by provider, model and operation",
        Resource::Suspensions => {
            "suspended providers and keys; `POST` suspends a `provider`, or one `key` of it by its label, on all nodes, with a `reason`, for `seconds` or until it is resumed; reloads and restarts do not end a suspension"
        }
        Resource::Suspension => {
            "`DELETE` ends the suspension of a provider (`PROVIDER`) or of one of its keys (`PROVIDER/KEY`)"
        }
        Resource::Cache => "`DELETE` removes the cached answers of a project on every node",
        Resource::Explain => {
            "a dry run of the request in the body: the provider that would serve it, the reason, and the request to that provider with masked secrets; nothing is sent. Other endpoints: `operation=embeddings` and so on"
        }
        Resource::Nodes => {
            "the nodes of this database: release, hash of the configuration file, uptime, spool, last reload; `gone` means not seen for 20 seconds"
        }
        Resource::Node => {
            "`DELETE` declares a node lost that was not seen for 15 minutes: within a minute the others release what it holds of budgets"
        }
        Resource::Request => "one request with its complete record",
        Resource::Audit => "changes and their authors, newest first",
    }
}

#[cfg(test)]
mod tests {
    use super::super::path;
    use super::*;

    fn serve(path: &str, method: &Method) -> Option<(Serve, String)> {
        match find(&path::spelling(path), method) {
            RouteMatch::Route(route, rest) => Some((route.serve, rest.to_owned())),
            _ => None,
        }
    }

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/routes.md");

    fn page() -> String {
        let mut page = String::from(INTRODUCTION);
        let (known, served): (Vec<&Route>, Vec<&Route>) =
            ROUTES.iter().partition(|route| route.serve == Serve::NotYet);
        for Route { path, method, access, serve } in served {
            let access = match access {
                Access::Anyone => "nothing",
                Access::Operator => "nothing; only at the operator's listener where there is one",
                Access::Key => "a key",
                Access::Viewer => "a viewer or admin key",
                Access::Admin => "an admin key",
            };
            page += &format!("| `{path}` | {method} | {access} | {} |\n", about(*serve));
        }
        page += "\n## Known and not served\n\nThe answer is 404 with an error that names the route.\n\n| path | method |\n|---|---|\n";
        for Route { path, method, .. } in known {
            page += &format!("| `{path}` | {method} |\n");
        }
        page
    }

    const INTRODUCTION: &str = "# Routes

<!-- Written by `UPDATE_DOCS=1 cargo test -p gateway routes_page` from the table of routes; a test compares it. -->

A part in braces matches the rest of the path. `HEAD` is served wherever `GET` is, and `OPTIONS` everywhere. Another method gets
405 with `Allow`, another path 404, both in the format of the path's callers. Below `/v1`, doubled slashes and a slash at the end are
accepted.

Headers and the gateway's own object in answers are in [http-api.md](http-api.md). Every format of conversations reaches every
provider and every model.

A prompt of the legacy completions is sent as a message of the user. A list of up to 128 prompts is sent as separate requests, four at
a time, each with its own record. Usage and cost are their sum, the choices of prompt `p` begin at `p * n`, and if one fails, all fail.
Prompts of token numbers, `suffix`, and `echo` together with `logprobs` are refused; `best_of` above `n` is a loss; `max_tokens` has
no default.

| path | method | needs | serves |
|---|---|---|---|
";

    #[test]
    fn routes_page_is_the_table() {
        let page = page();
        if crate::env::Environment::of_process().get("UPDATE_DOCS").is_some() {
            std::fs::write(PAGE, &page).unwrap();
        }
        let written = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            written == page,
            "docs/routes.md is out of date; UPDATE_DOCS=1 cargo test -p gateway routes_page rewrites it"
        );
    }

    #[test]
    fn an_unknown_path_gets_the_list_of_apis() {
        let listed = apis();
        for path in ["/v1/chat/completions", "/v1/messages", "/v1/completions", "GET /v1/models"] {
            assert!(listed.contains(path), "{path}: {listed}");
        }
        assert_eq!(listed.matches("chat/completions").count(), 1, "{listed}");
    }

    #[test]
    fn paths_under_v1_may_have_extra_slashes() {
        for path in [
            "/v1/chat/completions",
            "/v1/chat/completions/",
            "//v1/chat/completions",
            "/v1//chat/completions",
            "/v1/chat//completions//",
        ] {
            assert_eq!(serve(path, &Method::POST), Some((CHAT, String::new())), "{path}");
        }
    }

    #[test]
    fn a_gemini_model_with_a_slash_may_omit_its_collection() {
        let gemini = |model: &str| Some((Serve::Chat(Protocol::Gemini), model.to_owned()));
        for method in ["generateContent", "streamGenerateContent", "countTokens"] {
            let model = format!("openai/gpt-4o:{method}");
            assert_eq!(serve(&format!("/v1beta/{model}"), &Method::POST), gemini(&model));
            assert_eq!(serve(&format!("/v1beta/models/{model}"), &Method::POST), gemini(&model));
        }
        for path in ["/v1beta/cachedContents", "/v1beta/openai/chat/completions", "/v1beta/files/x:download"]
        {
            assert_eq!(serve(path, &Method::POST), None, "{path}");
        }
    }

    #[test]
    fn an_id_may_contain_slashes() {
        let rest = |path| serve(path, &Method::GET);
        assert_eq!(rest("/v1/models/a/b"), Some((Serve::Model(Protocol::OpenaiChat), "a/b".into())));
        assert_eq!(rest("/v1//models//a/b/"), Some((Serve::Model(Protocol::OpenaiChat), "a/b".into())));
        assert_eq!(rest("/v1/models/a%2Fb"), Some((Serve::Model(Protocol::OpenaiChat), "a%2Fb".into())));
        assert_eq!(rest("/v1/models/"), Some((MODELS, String::new())));
    }

    #[test]
    fn other_paths_have_one_spelling() {
        for path in ["/metrics", "/ready", "/health"] {
            assert!(serve(path, &Method::GET).is_some(), "{path}");
            for other in [
                format!("{path}/"),
                format!("/{path}"),
                format!("//{path}"),
                format!("{path}//"),
                path.to_uppercase(),
                path.replace('e', "%65"),
                format!("/v1/..{path}"),
                format!("/v1/../{path}"),
                format!("/.{path}"),
                format!("{path};x"),
            ] {
                assert_eq!(serve(&other, &Method::GET), None, "{other}");
            }
        }
        assert_eq!(serve("//", &Method::GET), None);
    }

    #[test]
    fn head_is_served_like_get_and_other_methods_get_the_allowed_ones() {
        for route in ROUTES.iter().filter(|route| route.method == Method::GET) {
            let path = route.path.replace(['{', '}'], "");
            assert_eq!(serve(&path, &Method::HEAD), serve(&path, &Method::GET), "{path}");
        }
        let allow = |path, method: Method| match find(path, &method) {
            RouteMatch::OtherMethods(allowed) => allowed.as_str().to_owned(),
            other => panic!("{path}: {other:?}"),
        };
        assert_eq!(allow("/v1/chat/completions", Method::PUT), "POST, OPTIONS");
        assert_eq!(allow("/v1/models", Method::POST), "GET, HEAD, OPTIONS");
        assert_eq!(allow("/v1/models/x", Method::PUT), "POST, GET, HEAD, OPTIONS");
        assert_eq!(allow("/", Method::POST), "GET, HEAD, OPTIONS");
        assert!(matches!(serve("/v1/images/variations", &Method::GET), Some((Serve::NotYet, _))));
    }
}
