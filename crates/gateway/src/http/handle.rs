//! One request from its head to its answer.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Operation, Retry};
use http::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_LENGTH, EXPECT, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use limits::Role;
use tokio::time::Instant;
use wire::{Dialect, OWN};

use super::chat::Address;
use super::connections::InFlight;
use super::models::Models;
use super::request_body::BodyHeaders;
use super::routes::{self, Access, Resource, Route, RouteMatch, Serve};
use super::{
    ResponseBody, admin, chat, conversations, files_and_batches, host, native, openapi, path, request_body,
    respond, stored_answers,
};
use crate::bodies::Capture;
use crate::buffers::Buffers;
use crate::clock;
use crate::console::ConsoleService;
use crate::cors::Cors;
use crate::discovery::{Discovery, Lists};
use crate::identity::{Auth, Caller, Denied};
use crate::incoming::leave_unread;
use crate::lifecycle::{CutNotice, Lifecycle, Phase, stopping};
use crate::nodes::ThisNode;
use crate::pipeline::Pipeline;
use crate::pipeline::pump::BrokenOff;
use crate::reload::Reloader;
use crate::report;
use crate::responses::KeepFor;
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::{Metrics, access};

/// The data that routes need.
pub struct Api {
    /// Serves chat requests.
    pub pipeline: Arc<Pipeline>,
    /// Checks keys.
    pub auth: Arc<Auth>,
    pub metrics: Metrics,
    /// Lists of models of providers outside of the catalog.
    pub discovery: Discovery,
    /// For readiness.
    pub store: store::Store,
    /// The configuration in force.
    pub current: Current,
    pub reloader: Arc<Reloader>,
    pub console: ConsoleService,
    /// The limit of bytes in memory.
    pub buffers: Buffers,
    /// The phase of a stop.
    pub lifecycle: Arc<Lifecycle>,
    /// This process among those on the database.
    pub node: Arc<ThisNode>,
    /// Callers come over TLS.
    pub tls: bool,
}

/// The listener of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenerRole {
    /// The only listener.
    Only,
    /// The callers' listener, beside one for operators.
    Callers,
    /// The operators' listener.
    Operators,
}

/// The body of an answer. Its end is the end of the request.
pub struct Tracked {
    body: ResponseBody,
    cut: CutNotice,
    _in_flight: InFlight,
}

/// Serves one request. One async fn: hyper stores this future per connection, and each nested async fn would
/// hold another copy of the request.
pub async fn handle(
    api: Arc<Api>,
    door: ListenerRole,
    in_flight: InFlight,
    request: Request<Incoming>,
) -> Result<Response<Tracked>, Infallible> {
    let (head, body) = request.into_parts();
    let is_h2 = head.version == Version::HTTP_2;
    let waits_for_continue = !is_h2 && head.headers.contains_key(EXPECT);
    let received = clock::now();
    let request_id = request_id(&head.headers);
    let header = HeaderValue::try_from(request_id.as_str()).ok();
    let snapshot = api.current.get();
    let origin = snapshot.cors.origin(&head.headers);
    let is_head = head.method == Method::HEAD;
    let mut cut = CutNotice::new(api.lifecycle.clone());
    let is_finishing = api.lifecycle.phase() >= Phase::Finishing;
    let found = match route(&api, door, &head, origin.is_some()) {
        Ok(route) if is_finishing && route.access.needs_key() => {
            Err(refuse_early(&api, &snapshot, &head, &stopping()))
        }
        Ok(route) if in_flight.needs_room(route.access) && !in_flight.has_room().await => {
            Err(full(&api, &snapshot, &head))
        }
        found => found,
    };
    let request_id_header = spoken(&found, &head).request_id_header();
    let (mut response, unread) = match found {
        Ok(Route { serve, path, .. }) if serve.is_answered_by_model() => match asks(&api, &snapshot, &head)
            .await
        {
            Ok(caller) => {
                let rates = caller.rates();
                let dialect = serve.dialect();
                let operation = serve.operation();
                let accepted =
                    chat::accept(dialect, operation, (&head.headers, &api.pipeline.hops), &snapshot);
                let address = address(&head);
                let capture = Capture::begin(&snapshot.bodies, &caller, (&head.headers, head.uri.query()));
                drop(head);
                let caller =
                    chat::Caller { snapshot, caller, request_id, path, dialect, address, capture, received };
                let (response, unread) = match accepted {
                    Ok(accepted) => {
                        let answer = pin!(chat::chat(&api, caller, accepted, operation, body));
                        (respond::unless_cut(&mut cut, answer, dialect).await, None)
                    }
                    Err(error) => (chat::refuse(&api, caller, operation, error), Some(body)),
                };
                (respond::rates(response, rates), unread)
            }
            Err(denied) => (noted(&head, &request_id, None, deny(&api, &head, *denied)), Some(body)),
        },
        Ok(route) if matches!(route.serve, Serve::Kept(_) | Serve::Passthrough) => {
            let asking = native::NativeContext { snapshot, request_id, received, path: route.path };
            let connection = native::Connection { in_flight: &in_flight, cut: &mut cut };
            (Box::pin(passed(&api, route.serve, asking, (head, body), connection)).await, None)
        }
        Ok(route) if matches!(route.serve, Serve::Admin(_) | Serve::Conversations | Serve::Console) => {
            (Box::pin(with_body(&api, &snapshot, route, in_flight.slot().peer(), (&head, body))).await, None)
        }
        Ok(route) => (Box::pin(served(&api, &snapshot, route, &head, &request_id)).await, Some(body)),
        Err(response) => (noted(&head, &request_id, None, response), Some(body)),
    };
    match unread {
        // A client that waits for permission to send its body now has its answer, and may send the body or
        // not: the connection cannot be reused.
        Some(body) if waits_for_continue && !body.is_end_stream() => {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
        Some(body) => leave_unread(body),
        None => {}
    }
    if is_finishing {
        in_flight.slot().close();
        if !is_h2 {
            response.headers_mut().insert(CONNECTION, CLOSE);
        }
    }
    if is_head {
        leave_body(&mut response);
    }
    add_id(&mut response, header, request_id_header);
    if let Some(origin) = origin {
        Cors::allow(origin, response.headers_mut());
    }
    Ok(response.map(|body| Tracked { body, cut, _in_flight: in_flight }))
}

/// Serves requests that are forwarded nearly unchanged.
async fn passed(
    api: &Arc<Api>,
    serve: Serve,
    asking: native::NativeContext,
    request: (Parts, Incoming),
    connection: native::Connection<'_>,
) -> Response<ResponseBody> {
    match serve {
        Serve::Kept(resource) => {
            files_and_batches::serve(api, resource, asking, request, connection.cut).await
        }
        _ => native::serve(api, asking, request, connection).await,
    }
}

/// Adds the id of the request, in the gateway's header and in that of the caller's format.
fn add_id(response: &mut Response<ResponseBody>, id: Option<HeaderValue>, further: Option<&'static str>) {
    let Some(id) = id else { return };
    if let Some(name) = further {
        response.headers_mut().insert(name, id.clone());
    }
    response.headers_mut().insert(respond::REQUEST_ID, id);
}

/// The format of a route's callers, or of a path without a route.
fn spoken(found: &Result<&Route, Response<ResponseBody>>, head: &Parts) -> &'static dyn Dialect {
    match found {
        Ok(route) => route.serve.dialect(),
        Err(_) => routes::dialect_of(&path::spelling(head.uri.path()), &head.method),
    }
}

impl Body for Tracked {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let this = &mut *self;
        if this.body.is_stream() && this.cut.is_due(context) {
            this.body.cut();
        }
        Pin::new(&mut this.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl InFlight {
    /// Above `server.max_connections` only routes without a key are served.
    fn needs_room(&self, access: Access) -> bool {
        !self.slot().is_regular() && access.needs_key()
    }

    /// Boxed because it is rare: unboxed it would enlarge every connection.
    fn has_room(&self) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.slot().become_regular())
    }
}

impl ListenerRole {
    fn leads_to(self, access: Access) -> bool {
        match (self, access) {
            (Self::Only, _) | (_, Access::Anyone) => true,
            (Self::Callers, access) => access != Access::Operator,
            (Self::Operators, access) => access == Access::Operator,
        }
    }
}

fn full(api: &Api, snapshot: &Snapshot, head: &Parts) -> Response<ResponseBody> {
    let mut error = Error::gateway(
        ErrorKind::Unavailable,
        "The gateway has reached server.max_connections, and no connection is idle; try again.",
    );
    error.retry = Retry::After(Duration::from_secs(1));
    let mut response = refuse_early(api, snapshot, head, &error);
    if head.version != Version::HTTP_2 {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Some clients of the Responses API try a WebSocket first. Codex falls back immediately on 426, and only
/// after some attempts on other statuses.
fn no_websocket(api: &Api, head: &Parts, path: &str, allowed: &routes::Allowed) -> Response<ResponseBody> {
    let message = format!("{path} is not served over a websocket; send {} requests.", allowed.as_str());
    let mut response = refuse(api, head, &Error::caller(ErrorKind::MethodNotAllowed, message));
    *response.status_mut() = StatusCode::UPGRADE_REQUIRED;
    // RFC 9110, 15.5.22: the protocol to use instead.
    if head.version == Version::HTTP_11 {
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("HTTP/1.1"));
    }
    response.headers_mut().insert(ALLOW, allowed.header());
    response
}

/// The route of a request, or the answer where there is none.
fn route(
    api: &Api,
    door: ListenerRole,
    head: &Parts,
    is_origin_allowed: bool,
) -> Result<&'static Route, Response<ResponseBody>> {
    host::check(head.version, &head.headers).map_err(|error| refuse(api, head, &error))?;
    let path = path::spelling(head.uri.path());
    let is_options = head.method == Method::OPTIONS;
    match routes::find(&path, &head.method) {
        RouteMatch::Route(route, _) if route.serve == Serve::NotYet => {
            Err(refuse(api, head, &not_yet(head, &path)))
        }
        RouteMatch::Route(route, _) if !door.leads_to(route.access) => {
            Err(refuse(api, head, &unknown_route(head, &path)))
        }
        RouteMatch::Route(route, _) => Ok(route),
        RouteMatch::OtherMethods(allowed) if is_options => {
            // Not 204: it has no length, and simple clients would wait for the end of the connection.
            let mut response = respond::empty(StatusCode::OK);
            if is_origin_allowed && Cors::is_preflight(&head.headers) {
                Cors::allow_preflight(&head.headers, allowed.header(), response.headers_mut());
            }
            response.headers_mut().insert(ALLOW, allowed.header());
            Err(response)
        }
        RouteMatch::OtherMethods(allowed) if native::wants_websocket(head) => {
            Err(no_websocket(api, head, &path, &allowed))
        }
        RouteMatch::OtherMethods(allowed) => {
            let message = format!("{path} does not accept {}; it accepts {}.", head.method, allowed.as_str());
            let mut response = refuse(api, head, &Error::caller(ErrorKind::MethodNotAllowed, message));
            response.headers_mut().insert(ALLOW, allowed.header());
            Err(response)
        }
        RouteMatch::Nothing => Err(refuse(api, head, &unknown_route(head, &path))),
    }
}

/// Logs a request without a usage record.
fn noted(
    head: &Parts,
    request_id: &str,
    started: Option<Instant>,
    response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let duration_ms = started.map_or(0, |started| started.elapsed().as_millis() as u64);
    let status = response.status().as_u16();
    access::other(head.method.as_str(), head.uri.path(), status, request_id, duration_ms);
    response
}

async fn served(
    api: &Arc<Api>,
    snapshot: &Snapshot,
    route: &Route,
    head: &Parts,
    request_id: &str,
) -> Response<ResponseBody> {
    let started = clock::now();
    let response = serve(api, snapshot, route, head).await;
    noted(head, request_id, Some(started), response)
}

/// Serves routes with a body that no model answers. Boxed by its caller because it is rare.
async fn with_body(
    api: &Arc<Api>,
    snapshot: &Arc<Snapshot>,
    route: &Route,
    peer: Option<IpAddr>,
    (head, body): (&Parts, Incoming),
) -> Response<ResponseBody> {
    match route.serve {
        Serve::Admin(resource) => administered(api, snapshot, (route.access, resource), head, body).await,
        Serve::Console if head.method == Method::POST && head.uri.path() == "/ui/playground/ask" => {
            asked_from_playground(api, snapshot.clone(), head, body).await
        }
        Serve::Console => page(api, snapshot, peer, head, body).await,
        _ => conversation(api, snapshot, head, body).await,
    }
}

/// Serves the dashboard's playground: a conversation like any other, with the session instead of a key.
async fn asked_from_playground(
    api: &Arc<Api>,
    snapshot: Arc<Snapshot>,
    head: &Parts,
    body: Incoming,
) -> Response<ResponseBody> {
    let received = clock::now();
    let name = match api.console.may_ask(head).await {
        Ok(name) => name,
        Err(refused) => return refused.map(|body| ResponseBody::Page(Box::pin(body))),
    };
    let query = head.uri.query().unwrap_or_default();
    let project = form_urlencoded::parse(query.as_bytes()).find(|(field, _)| field == "project");
    let project = project.map_or(store::DEFAULT_PROJECT.into(), |(_, project)| project);
    let Some(caller) = api.auth.of_session(&snapshot.keys, &name, &project) else {
        let message = format!("There is no project {:?}.", shown(&project));
        return respond::error(Serve::Console.dialect(), &Error::invalid("project", message));
    };
    let dialect = Serve::Chat(wire::Protocol::OpenaiChat).dialect();
    let request_id = request_id(&head.headers);
    let header = HeaderValue::try_from(request_id.as_str()).ok();
    let accepted = chat::accept(dialect, Operation::Chat, (&head.headers, &api.pipeline.hops), &snapshot);
    let path = "/ui/playground/ask";
    let address = Address::default();
    let capture = Capture::begin(&snapshot.bodies, &caller, (&head.headers, None));
    let caller = chat::Caller { snapshot, caller, request_id, path, dialect, address, capture, received };
    let mut response = match accepted {
        Ok(accepted) => chat::chat(api, caller, accepted, Operation::Chat, body).await,
        Err(error) => chat::refuse(api, caller, Operation::Chat, error),
    };
    if let Some(header) = header {
        response.headers_mut().insert(respond::REQUEST_ID, header);
    }
    response
}

/// Serves a page of the dashboard.
async fn page(
    api: &Api,
    snapshot: &Snapshot,
    peer: Option<IpAddr>,
    head: &Parts,
    body: Incoming,
) -> Response<ResponseBody> {
    let started = clock::now();
    let read = async {
        let announced = BodyHeaders::read(&head.headers, console::BODY_LIMIT)?;
        request_body::read(body, announced, snapshot.limits, &api.buffers).await
    };
    let response = match read.await {
        Ok(received) => {
            let page = api.console.serve(head, peer, received.bytes).await;
            page.map(|body| ResponseBody::Page(Box::pin(body)))
        }
        Err(error) => refuse(api, head, &error),
    };
    let request_id =
        head.headers.get(respond::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    noted(head, request_id, Some(started), response)
}

/// Serves the admin API.
async fn administered(
    api: &Api,
    snapshot: &Snapshot,
    (access, resource): (Access, Resource),
    head: &Parts,
    body: Incoming,
) -> Response<ResponseBody> {
    let started = clock::now();
    let admitted = match access {
        Access::Admin => administrator(api, snapshot, head).await,
        _ => viewer(api, snapshot, head).await,
    };
    let response = match admitted {
        Ok(caller) => {
            let rates = caller.rates();
            let read = async {
                let announced = BodyHeaders::read(&head.headers, admin::BODY_LIMIT)?;
                request_body::read(body, announced, snapshot.limits, &api.buffers).await
            };
            let response = match read.await {
                Ok(received) => {
                    let body = &received.bytes;
                    let asked = admin::AdminRequest { api, snapshot, caller: &caller, head, body };
                    let answer = asked.serve(resource, &admin::rest_of(head)).await;
                    answer.unwrap_or_else(|refused| refused.response())
                }
                Err(error) => refuse(api, head, &error),
            };
            respond::rates(response, rates)
        }
        Err(denied) => deny(api, head, *denied),
    };
    let request_id =
        head.headers.get(respond::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    noted(head, request_id, Some(started), response)
}

/// Serves a stored conversation.
async fn conversation(
    api: &Api,
    snapshot: &Snapshot,
    head: &Parts,
    body: Incoming,
) -> Response<ResponseBody> {
    let started = clock::now();
    let served = async |caller: &Caller| {
        let announced = BodyHeaders::read(&head.headers, snapshot.limits.body)?;
        let received = request_body::read(body, announced, snapshot.limits, &api.buffers).await?;
        let whose = KeepFor {
            owner: &caller.owner,
            may_store: caller.may_store(),
            settings: snapshot.keep,
            body_limit: snapshot.limits.body,
        };
        conversations::serve(api, whose, head, &received.bytes).await
    };
    let response = match asks(api, snapshot, head).await {
        Ok(caller) => {
            let response = served(&caller).await.unwrap_or_else(|error| refuse(api, head, &error));
            respond::rates(response, caller.rates())
        }
        Err(denied) => deny(api, head, *denied),
    };
    let request_id =
        head.headers.get(respond::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    noted(head, request_id, Some(started), response)
}

async fn viewer(api: &Api, snapshot: &Snapshot, head: &Parts) -> Result<Caller, Box<Denied>> {
    admit(api, snapshot, head).await?.checked(|caller| caller.check_role(Role::Viewer))
}

/// Serves every route but chat.
async fn serve(api: &Arc<Api>, snapshot: &Snapshot, route: &Route, head: &Parts) -> Response<ResponseBody> {
    let admitted = match route.access {
        Access::Anyone | Access::Operator => Ok(None),
        Access::Key => admit(api, snapshot, head).await.map(Some).map_err(Box::from),
        Access::Viewer => viewer(api, snapshot, head).await.map(Some),
        Access::Admin => administrator(api, snapshot, head).await.map(Some),
    };
    let caller = match admitted {
        Ok(caller) => caller,
        Err(denied) => return deny(api, head, *denied),
    };
    let rates = caller.as_ref().and_then(Caller::rates);
    let response = match route.serve {
        Serve::Stored => {
            let owner = caller.map_or_else(|| "".into(), |caller| caller.owner);
            match stored_answers::serve(api, snapshot, &owner, head).await {
                Ok(response) => response,
                Err(error) => refuse(api, head, &error),
            }
        }
        Serve::Models(_) => {
            let list =
                ModelListRequest { caller: caller.as_ref(), dialect: route.serve.dialect_for(&head.headers) };
            models(api, snapshot, head, list).await
        }
        Serve::Model(_) => {
            let list =
                ModelListRequest { caller: caller.as_ref(), dialect: route.serve.dialect_for(&head.headers) };
            model(api, snapshot, head, list).await
        }
        Serve::Routing => routing(api, snapshot),
        Serve::Health => respond::json(StatusCode::OK, r#"{"status":"ok"}"#),
        Serve::Ready => ready(api).await,
        Serve::Reload => reload(api, head).await,
        Serve::Metrics => metrics(api, head),
        Serve::OpenApi => respond::json(StatusCode::OK, openapi::document()),
        Serve::Root => respond::json(StatusCode::OK, r#"{"name":"llmgateway","api":"/v1"}"#),
        Serve::Admin(_)
        | Serve::Console
        | Serve::Chat(_)
        | Serve::Completions
        | Serve::Conversations
        | Serve::CountTokens(_)
        | Serve::Endpoint(_)
        | Serve::Passthrough
        | Serve::Kept(_)
        | Serve::NotYet => refuse(api, head, &not_yet(head, route.path)),
    };
    respond::rates(response, rates)
}

async fn admit(api: &Api, snapshot: &Snapshot, head: &Parts) -> Result<Caller, Error> {
    api.auth.admit(&snapshot.keys, &head.headers, head.uri.query()).await
}

/// The caller of a model.
async fn asks(api: &Api, snapshot: &Snapshot, head: &Parts) -> Result<Caller, Box<Denied>> {
    admit(api, snapshot, head).await?.checked(|caller| caller.check_role(Role::Inference))
}

async fn administrator(api: &Api, snapshot: &Snapshot, head: &Parts) -> Result<Caller, Box<Denied>> {
    admit(api, snapshot, head).await?.checked(|caller| {
        let message = "This route needs an admin key (auth.admin_keys).";
        let refused = || Error::caller(ErrorKind::Permission, message);
        caller.admin.then_some(()).ok_or_else(refused)
    })
}

/// The refusal of a request, with the limits of its key.
fn deny(api: &Api, head: &Parts, denied: Denied) -> Response<ResponseBody> {
    respond::rates(refuse(api, head, &denied.error), denied.rates)
}

/// The refusal of a request whose key is not checked, with the limits of a known key.
fn refuse_early(api: &Api, snapshot: &Snapshot, head: &Parts, error: &Error) -> Response<ResponseBody> {
    let caller = api.auth.known(&snapshot.keys, &head.headers, head.uri.query());
    respond::rates(refuse(api, head, error), caller.and_then(|caller| caller.rates()))
}

/// An error in the format that callers of the path speak.
fn refuse(api: &Api, head: &Parts, error: &Error) -> Response<ResponseBody> {
    api.metrics.refused(error.kind.as_str());
    respond::error(routes::dialect_of(&path::spelling(head.uri.path()), &head.method), error)
}

/// The parts of the URL besides the route.
fn address(head: &Parts) -> Address {
    let path = path::spelling(head.uri.path());
    match routes::find(&path, &head.method) {
        RouteMatch::Route(_, rest) if !rest.is_empty() => Address {
            rest: path::unescape(rest).unwrap_or_default().into_owned(),
            query: head.uri.query().unwrap_or_default().to_owned(),
        },
        _ => Address::default(),
    }
}

/// The caller of the list of models, and its format.
struct ModelListRequest<'a> {
    caller: Option<&'a Caller>,
    dialect: &'static dyn Dialect,
}

async fn models(
    api: &Api,
    snapshot: &Snapshot,
    head: &Parts,
    ModelListRequest { caller, dialect }: ModelListRequest<'_>,
) -> Response<ResponseBody> {
    let query = head.uri.query().unwrap_or_default();
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let mapped = fields.any(|(name, value)| name == "mapped" && matches!(&*value, "true" | "1"));
    let lists = match lists(api, snapshot, head).await {
        Ok(lists) => lists,
        Err(error) => return refuse(api, head, &error),
    };
    match dialect.model_list(Models::new(snapshot, &lists).of(caller).list(mapped), query) {
        Ok(list) => respond::json(StatusCode::OK, list.to_string()),
        Err(error) => refuse(api, head, &error),
    }
}

async fn model(
    api: &Api,
    snapshot: &Snapshot,
    head: &Parts,
    ModelListRequest { caller, dialect }: ModelListRequest<'_>,
) -> Response<ResponseBody> {
    let path = path::spelling(head.uri.path());
    let part = match routes::find(&path, &Method::GET) {
        RouteMatch::Route(_, rest) => rest,
        _ => "",
    };
    let Some(id) = path::unescape(part) else {
        return refuse(
            api,
            head,
            &Error::invalid("model", "The model's id in the path is not UTF-8 after unescaping."),
        );
    };
    let lists = match lists(api, snapshot, head).await {
        Ok(lists) => lists,
        Err(error) => return refuse(api, head, &error),
    };
    match Models::new(snapshot, &lists).of(caller).find(&id) {
        Some(entry) => respond::json(StatusCode::OK, dialect.model_entry(entry).to_string()),
        None => {
            let message = format!("The model {:?} is unknown. GET /v1/models lists the models.", shown(&id));
            refuse(api, head, &Error::caller(ErrorKind::ModelNotFound, message).at("model"))
        }
    }
}

/// The models of providers that are asked for them, unless the request comes back from such a provider.
async fn lists(api: &Api, snapshot: &Snapshot, head: &Parts) -> Result<Lists, Error> {
    let hops = &api.pipeline.hops;
    let passed = hops.passed(&head.headers)?;
    Ok(api.discovery.lists(snapshot, hops.onward(passed.as_deref())).await)
}

/// In the format that the scraper prefers: Prometheus asks for OpenMetrics first, others use the older text
/// format.
fn metrics(api: &Api, head: &Parts) -> Response<ResponseBody> {
    api.metrics.set_suspensions(&api.auth.active_suspensions());
    let mut accepted = head.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.any(|value| value.to_ascii_lowercase().contains("application/openmetrics-text")) {
        respond::text(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            api.metrics.open_metrics(),
        )
    } else {
        respond::text("text/plain; version=0.0.4; charset=utf-8", api.metrics.prometheus_text())
    }
}

fn routing(api: &Api, snapshot: &Snapshot) -> Response<ResponseBody> {
    let health = snapshot.health.of(Operation::Chat).snapshot(api.pipeline.now());
    let mut state = serde_json::to_value(&health).unwrap_or_default();
    state["suspensions"] = api.auth.active_suspensions().iter().map(report::suspension_object).collect();
    respond::json(StatusCode::OK, state.to_string())
}

/// Reloads the configuration. One with mistakes changes nothing, and the answer contains them.
async fn reload(api: &Api, head: &Parts) -> Response<ResponseBody> {
    match api.reloader.reload().await {
        Ok(done) => {
            let answer = serde_json::json!({"reloaded": true, "needs_restart": done.needs_restart});
            respond::json(StatusCode::OK, answer.to_string())
        }
        Err(reason) => refuse(api, head, &Error::caller(ErrorKind::InvalidRequest, reason)),
    }
}

async fn ready(api: &Api) -> Response<ResponseBody> {
    if api.lifecycle.phase() != Phase::Serving {
        return respond::error(OWN, &stopping());
    }
    if api.pipeline.metering.check().is_err() {
        // The reason is in the log, because this route needs no key.
        let message = "Usage records cannot be written; the log has the reason.";
        return respond::error(OWN, &Error::gateway(ErrorKind::StoreUnavailable, message));
    }
    match api.store.is_ready().await {
        Ok(()) => match &api.pipeline.leases {
            None => respond::json(StatusCode::OK, r#"{"status":"ready"}"#),
            // A node that counts alone serves what policies allow in that case: its requests need not be
            // redirected.
            Some(leases) if leases.is_away() => {
                respond::json(StatusCode::OK, r#"{"status":"ready","counters":"away"}"#)
            }
            Some(_) => respond::json(StatusCode::OK, r#"{"status":"ready","counters":"shared"}"#),
        },
        Err(_) => {
            respond::error(OWN, &Error::gateway(ErrorKind::StoreUnavailable, "The database does not answer."))
        }
    }
}

fn unknown_route(head: &Parts, path: &str) -> Error {
    let message = format!(
        "There is no route {} {}; models are served at {}.",
        head.method,
        shown(path),
        routes::apis()
    );
    Error::caller(ErrorKind::NotFound, message)
}

fn not_yet(head: &Parts, path: &str) -> Error {
    let message = format!(
        "{} {} is not served by this version of llmgateway; models are served at {}.",
        head.method,
        shown(path),
        routes::apis()
    );
    Error::caller(ErrorKind::NotFound, message)
}

/// A text from outside for an error message, shortened.
fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(200)]
}

/// `HEAD` gets the headers of `GET` without the body.
fn leave_body(response: &mut Response<ResponseBody>) {
    if let Some(length) = response.body().size_hint().exact()
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    *response.body_mut() = ResponseBody::Whole(None);
}

/// The caller's own id if it is valid, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let own = headers.get(respond::REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    own.filter(plain).map_or_else(|| format!("req_{}", uuid::Uuid::now_v7().simple()), str::to_owned)
}
