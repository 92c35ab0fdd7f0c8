//! `/p/{provider}/…`: a provider's own API, with the gateway's credential instead of the caller's.

use std::pin::pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use canon::{Error, ErrorKind, Operation};
use http::header::{
    ACCEPT_ENCODING, ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST,
    ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, REFERER, SET_COOKIE, STRICT_TRANSPORT_SECURITY, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::header::{SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::upgrade::OnUpgrade;
use limits::Role;
use wire::native::{Metered, NativeForm};
use wire::providers::NativeCall;
use wire::{Dialect, Headers, OWN};

use super::connections::InFlight;
use super::options;
use super::request_body::{self, BodyHeaders, ReceivedBody};
use super::{Api, ResponseBody, path, respond};
use crate::buffers::Held;
use crate::clock;
use crate::config::MetadataPlace;
use crate::identity::{Caller, Denied};
use crate::incoming::{broken, late, leave_unread, too_large_upload};
use crate::lifecycle::CutNotice;
use crate::metering::Arrival;
use crate::pipeline::native::{NativeAnswer, NativeBody, NativeQuestion, TunnelEnd};
use crate::pipeline::{Failure, Inbound, RequestOptions};
use crate::snapshot::{ProviderHandle, Snapshot};
use crate::upstream::upload::{Bounds, UnreadBody, Upload};

/// A body up to this size is buffered: it can be sent again.
const HELD: usize = 1 << 20;
/// The limit where the body may name the model.
const HELD_FOR_MODEL: usize = 4 << 20;

/// The caller, and the names of the request.
pub struct NativeContext {
    pub snapshot: Arc<Snapshot>,
    pub request_id: String,
    /// When its head was there.
    pub received: tokio::time::Instant,
    /// The path of the route.
    pub path: &'static str,
}

/// The connection of the request, and the notice that cuts its answer.
pub struct Connection<'a> {
    pub in_flight: &'a InFlight,
    pub cut: &'a mut CutNotice,
}

pub async fn serve(
    api: &Arc<Api>,
    asking: NativeContext,
    (mut head, body): (Parts, Incoming),
    connection: Connection<'_>,
) -> Response<ResponseBody> {
    let caller = match admit(api, &asking.snapshot, &head, Role::Passthrough).await {
        Ok(caller) => caller,
        Err(denied) => {
            leave_unread(body);
            return denied_answer(api, OWN, *denied);
        }
    };
    let rates = caller.rates();
    let mut inbound = inbound(asking, caller);
    let tunnel = tunnel(api, &mut head, connection.in_flight);
    let answer = asked(api, &mut inbound, (head, tunnel), body);
    let response = respond::unless_cut(connection.cut, pin!(answer), OWN).await;
    respond::rates(response, rates)
}

/// The answer to an admitted request.
async fn asked(
    api: &Arc<Api>,
    inbound: &mut Inbound,
    head: (Parts, Option<TunnelEnd>),
    body: Incoming,
) -> Response<ResponseBody> {
    match question(api, inbound, head, body).await {
        Ok(question) => {
            let dialect = inbound.dialect;
            match api.pipeline.clone().pass(inbound, question).await {
                Ok(answer) => answered(answer),
                Err(failure) => respond::failure(dialect, &failure),
            }
        }
        Err(error) => {
            api.pipeline.refuse(inbound, Operation::Passthrough, &error);
            respond::failure(inbound.dialect, &Failure::from(error))
        }
    }
}

/// The answer to a request that is not admitted.
pub(super) fn denied_answer(api: &Api, dialect: &dyn Dialect, denied: Denied) -> Response<ResponseBody> {
    api.metrics.refused(denied.error.kind.as_str());
    respond::rates(respond::error(dialect, &denied.error), denied.rates)
}

pub(super) async fn admit(
    api: &Api,
    snapshot: &Snapshot,
    head: &Parts,
    role: Role,
) -> Result<Caller, Box<Denied>> {
    let caller = api.auth.admit(&snapshot.keys, &head.headers, head.uri.query()).await?;
    caller.checked(|caller| {
        caller.check_role(role)?;
        if caller.is_guarded() {
            let message = "Guardrails check the requests of this key, but cannot check files, batches and requests to a provider's own API; \
                           use the gateway's other endpoints, or a key without guardrails.";
            return Err(Error::caller(ErrorKind::Permission, message));
        }
        Ok(())
    })
}

pub(super) fn inbound(asking: NativeContext, caller: Caller) -> Inbound {
    let NativeContext { snapshot, request_id, received, path } = asking;
    Inbound {
        request_id,
        path,
        snapshot,
        caller,
        dialect: OWN,
        options: RequestOptions::default(),
        keep: None,
        cache: None,
        elsewhere: None,
        tags: Default::default(),
        guard: None,
        capture: None,
        arrival: Arrival { received, admitted: clock::now() },
    }
}

/// Reads the facts of a request before it is forwarded.
async fn question(
    api: &Api,
    inbound: &mut Inbound,
    (head, tunnel): (Parts, Option<TunnelEnd>),
    body: Incoming,
) -> Result<NativeQuestion, Error> {
    let addressed = addressed(api, inbound, &head);
    let (provider, path) = match addressed {
        Ok(addressed) => addressed,
        Err(error) => {
            leave_unread(body);
            return Err(error);
        }
    };
    let mut form = NativeForm::of(&head.method, &path);
    let mut headers = passed(&head.headers);
    let here = here(api, &head, &provider);
    if tunnel.is_some() {
        let pairs = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        let model = pairs.into_iter().find(|(name, _)| name == "model").map(|(_, model)| model.into_owned());
        form = NativeForm { metered: Some(Metered::Turns), model, streams: Some(true) };
        headers.extend(of_websocket(&head.headers));
    }
    let held = Buffering::of(&provider, inbound, &form).read(api, inbound, &head.headers, body).await?;
    let BufferedStart { bytes, held, length, upload } = held;
    Ok(NativeQuestion {
        operation: Operation::Passthrough,
        asks_no_model: false,
        key: None,
        query: query(head.uri.query().unwrap_or_default()),
        headers,
        here,
        tunnel,
        provider,
        method: head.method,
        path,
        form,
        body: bytes,
        length,
        held,
        upload,
    })
}

/// The provider and the path in the URL, and the gateway's headers.
fn addressed(api: &Api, inbound: &mut Inbound, head: &Parts) -> Result<(Arc<ProviderHandle>, String), Error> {
    let rest = head.uri.path().strip_prefix("/p/").unwrap_or_default();
    let (id, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let id = path::unescape(id).unwrap_or_default();
    let snapshot = &inbound.snapshot;
    let not_found = |message: String| Error::caller(ErrorKind::NotFound, message);
    let Some(provider) = snapshot.providers.get(&*id) else {
        let shown: String = id.chars().take(100).collect();
        let near = snapshot.catalog.nearest_providers(&id, 3).join(", ");
        let hint = if near.is_empty() { String::new() } else { format!(" Did you mean {near}?") };
        return Err(not_found(format!("The provider {shown:?} in the path is unknown.{hint}")));
    };
    inbound.dialect = wire::dialect(provider.row.protocol).unwrap_or(OWN);
    if let Some(reason) = provider.disabled() {
        return Err(not_found(format!("The provider {:?} is not enabled: {reason}.", provider.id())));
    }
    if NativeCall::is_ambiguous(path) {
        let message =
            "The path contains a dot segment, which some servers resolve; write the path without it.";
        return Err(Error::invalid("path", message));
    }
    let provider = provider.clone();
    read_options(api, inbound, &head.headers)?;
    Ok((provider, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

/// Where the caller reaches the provider: its URL of the gateway. A proxy that ends TLS says so.
fn here(api: &Api, head: &Parts, provider: &ProviderHandle) -> Option<String> {
    let in_header = || head.headers.get(HOST)?.to_str().ok();
    let host = head.uri.authority().map(|authority| authority.as_str()).or_else(in_header)?;
    let forwarded = head.headers.get("x-forwarded-proto").and_then(|value| value.to_str().ok());
    let is_secure = api.tls || forwarded.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    Some(format!("{}://{host}/p/{}", if is_secure { "https" } else { "http" }, provider.id()))
}

/// The options in the headers.
pub(super) fn read_options(api: &Api, inbound: &mut Inbound, headers: &HeaderMap) -> Result<(), Error> {
    inbound.options = options::options(headers, &api.pipeline.hops, inbound.snapshot.metadata)?;
    if inbound.options.metadata == MetadataPlace::Metadata {
        inbound.options.metadata = MetadataPlace::Llmgateway;
    }
    inbound.tags = inbound.caller.tags(inbound.options.tags.as_deref())?;
    Ok(())
}

/// The query without parameters that may contain a key of the caller.
fn query(query: &str) -> String {
    let is_key = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = path::unescape(name).unwrap_or_default();
        matches!(&*name, "key" | "access_token" | "api_key" | "api-key")
    };
    query.split('&').filter(|pair| !is_key(pair)).collect::<Vec<_>>().join("&")
}

/// Headers that are not forwarded: those of one connection, those that identify the caller, credentials, and
/// the gateway's own.
const KEPT_BACK: [HeaderName; 15] = [
    ACCEPT_ENCODING,
    AUTHORIZATION,
    CONNECTION,
    CONTENT_LENGTH,
    COOKIE,
    EXPECT,
    FORWARDED,
    HOST,
    ORIGIN,
    PROXY_AUTHORIZATION,
    REFERER,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
/// The same by names without a constant. Trace and request id are added anew; the gateway's credential
/// decides on the billed account.
const KEPT_BACK_TOO: [&str; 22] = [
    "api-key",
    "keep-alive",
    "openai-organization",
    "openai-project",
    "proxy-connection",
    "traceparent",
    "tracestate",
    "via",
    "x-amz-content-sha256",
    "x-amz-date",
    "x-amz-security-token",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-user-project",
    "x-no-cache",
    "x-no-fallback",
    "x-real-ip",
    "x-request-id",
    "x-session-id",
    "xi-api-key",
    "x-csrf-token",
    "http2-settings",
];
/// And those with these prefixes.
const KEPT_BACK_FROM: [&str; 4] = ["x-llmgateway-", "x-forwarded-", "sec-", "cf-"];

/// The caller's headers that are forwarded.
pub(super) fn passed(headers: &HeaderMap) -> Headers {
    let of_connection = named_by_connection(headers);
    let goes = |name: &HeaderName| {
        let text = name.as_str();
        !KEPT_BACK.contains(name)
            && !KEPT_BACK_TOO.contains(&text)
            && !KEPT_BACK_FROM.iter().any(|start| text.starts_with(start))
            && !of_connection.iter().any(|named| named.eq_ignore_ascii_case(text))
    };
    headers.iter().filter(|(name, _)| goes(name)).map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The headers that `Connection` names: they are of this connection (RFC 9110, 7.6.1).
fn named_by_connection(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|name| !name.is_empty()).collect()
}

pub fn wants_websocket(head: &Parts) -> bool {
    let asked = head.headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    asked.is_some_and(|asked| asked.eq_ignore_ascii_case("websocket"))
}

/// The caller's side of a WebSocket, where it asks for one. HTTP/2 has another mechanism for that, which is
/// not supported.
fn tunnel(api: &Api, head: &mut Parts, in_flight: &InFlight) -> Option<TunnelEnd> {
    let upgrade = head.extensions.remove::<OnUpgrade>()?;
    let asks = wants_websocket(head) && head.method == Method::GET && head.version == Version::HTTP_11;
    asks.then(|| TunnelEnd {
        upgrade,
        lifecycle: api.lifecycle.clone(),
        place: Box::new(in_flight.further()),
    })
}

/// The headers that the two sides of a WebSocket negotiate. Browsers can put a key only among the protocols;
/// extensions would hide the text of frames.
fn of_websocket(headers: &HeaderMap) -> Headers {
    let mut all: Headers = Vec::new();
    for name in [SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION] {
        all.extend(headers.get(&name).map(|value| (name.clone(), value.clone())));
    }
    let given = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let is_kept_back = |protocol: &&str| {
        const OF_CALLER: [&str; 3] = ["openai-insecure-api-key.", "openai-organization.", "openai-project."];
        OF_CALLER.iter().any(|start| protocol.starts_with(start))
    };
    let protocols: Vec<&str> = given
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !is_kept_back(protocol))
        .collect();
    if let (false, Ok(value)) = (protocols.is_empty(), HeaderValue::from_str(&protocols.join(", "))) {
        all.push((SEC_WEBSOCKET_PROTOCOL, value));
    }
    all
}

/// How much of a body is buffered.
struct Buffering {
    /// All of it, or the request fails.
    whole: bool,
    names_model: bool,
}

/// The buffered part of a body.
struct BufferedStart {
    bytes: Bytes,
    held: Held,
    length: usize,
    upload: Option<Upload>,
}

impl Buffering {
    fn of(provider: &ProviderHandle, inbound: &Inbound, form: &NativeForm) -> Self {
        Self {
            whole: NativeQuestion::must_be_whole(provider, inbound, form),
            names_model: form.metered.is_some() && form.model.is_none(),
        }
    }

    async fn read(
        self,
        api: &Api,
        inbound: &Inbound,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<BufferedStart, Error> {
        let limits = inbound.snapshot.limits;
        let length = request_body::announced_length(headers);
        let is_small = length.is_some_and(|length| length <= HELD) || body.is_end_stream();
        if self.whole || is_small {
            let announced = BodyHeaders::as_it_is(headers, limits.body)?;
            let ReceivedBody { bytes, held } =
                request_body::read(body, announced, limits, &api.buffers).await?;
            return Ok(BufferedStart { length: bytes.len(), bytes, held, upload: None });
        }
        if length.is_some_and(|length| length > limits.upload) {
            leave_unread(body);
            return Err(too_large_upload(limits.upload));
        }
        let end = clock::now() + limits.whole;
        let bounds = Bounds { length, limit: limits.upload, pause: limits.pause, end };
        let mut begun =
            BodyStart { body, bytes: BytesMut::new(), held: api.buffers.nothing(), is_whole: false };
        if self.names_model
            && let Err(error) = begun.read(bounds).await
        {
            // No further wait for a client that was already too slow.
            if !matches!(error.kind, ErrorKind::RequestTimeout | ErrorKind::Cancelled) {
                leave_unread(begun.body);
            }
            return Err(error);
        }
        let BodyStart { body, bytes, held, is_whole } = begun;
        let came = bytes.len();
        let upload = if is_whole { None } else { Some(Upload::new(UnreadBody::plain(body, came, bounds))) };
        Ok(BufferedStart { bytes: bytes.freeze(), held, length: length.unwrap_or(came), upload })
    }
}

/// The beginning of a body.
struct BodyStart {
    body: Incoming,
    bytes: BytesMut,
    held: Held,
    is_whole: bool,
}

impl BodyStart {
    /// Reads until there is enough, or the end.
    async fn read(&mut self, bounds: Bounds) -> Result<(), Error> {
        while self.bytes.len() < HELD_FOR_MODEL {
            let until = bounds.end.min(clock::now() + bounds.pause);
            let frame = match tokio::time::timeout_at(until, self.body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => {
                    self.is_whole = true;
                    return Ok(());
                }
                Ok(Some(Err(error))) => return Err(broken(&error)),
                Err(_) => return Err(late(bounds.end <= clock::now())),
            };
            let Ok(data) = frame.into_data() else { continue };
            self.held.grow(data.len()).await?;
            self.bytes.extend_from_slice(&data);
        }
        Ok(())
    }
}

/// The provider's answer without headers of its connection, or about its caller, which is the gateway.
pub(super) fn answered(answer: NativeAnswer) -> Response<ResponseBody> {
    let NativeAnswer { status, headers, body, served, .. } = answer;
    let body = match body {
        NativeBody::Whole(bytes) => ResponseBody::whole(bytes),
        NativeBody::Stream(pump) => ResponseBody::Stream(pump),
    };
    let is_whole = matches!(body, ResponseBody::Whole(_));
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let of_connection = named_by_connection(&headers);
    for (name, value) in &headers {
        // The length of a body that was read and cleaned may have changed.
        if is_passed(name, &of_connection) && (name != CONTENT_LENGTH || !is_whole) {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    if status == StatusCode::SWITCHING_PROTOCOLS {
        *response.body_mut() = ResponseBody::Whole(None);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
    }
    respond::served(response, served.as_ref())
}

/// Whether the caller gets this header of the provider.
fn is_passed(name: &HeaderName, of_connection: &[&str]) -> bool {
    let text = name.as_str();
    let is_kept = KEPT_FROM_CALLER.contains(name) || KEPT_FROM_CALLER_TOO.contains(&text);
    let is_of_connection = of_connection.iter().any(|named| named.eq_ignore_ascii_case(text));
    !is_kept && !is_of_connection && !text.starts_with("access-control-")
}

const KEPT_FROM_CALLER: [HeaderName; 8] = [
    ALT_SVC,
    CONNECTION,
    PROXY_AUTHENTICATE,
    SET_COOKIE,
    STRICT_TRANSPORT_SECURITY,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];
const KEPT_FROM_CALLER_TOO: [&str; 6] = [
    "anthropic-organization-id",
    "keep-alive",
    "openai-organization",
    "openai-project",
    "proxy-connection",
    "x-request-id",
];
