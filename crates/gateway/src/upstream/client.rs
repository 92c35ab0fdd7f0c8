//! The HTTP client: pooled connections, HTTP/2 where the provider supports it, decoded answers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, HOST, PROXY_AUTHORIZATION, USER_AGENT,
};
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1;

use super::address_guard::Guard;
use super::connect::Connector;
use super::connection::{Connection, ForwardProxy, RequestBody, SendError};
use super::failure::{Failure, is_timeout, root_cause};
use super::outbound::Route;
use super::pool::{Origin, Pool, PooledBody};
use super::upload::Upload;
use crate::bounded;
use crate::clock;
use crate::content_coding::{CodingError, Decoder, Limits};

/// The gateway's name in requests to providers.
const PRODUCT: HeaderValue = HeaderValue::from_static(concat!("llmgateway/", env!("CARGO_PKG_VERSION")));
/// No content coding: early tokens are more important than small answers.
const IDENTITY: HeaderValue = HeaderValue::from_static("identity");

/// An idle connection that ends without a byte within this time had been closed by the provider before.
/// Later, the provider may have processed the request, and sending it again could be billed twice.
const STALE: Duration = Duration::from_secs(10);

/// The limits for decoded answers.
const DECODED: Limits = Limits { total: 1 << 30, ratio: 100, free: 16 << 20 };

/// Sends requests to providers. Clones share their connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    connector: Connector,
    pool: Pool,
}

impl Client {
    /// A client whose connections use this route.
    pub fn new(route: Route) -> Self {
        Self { inner: Arc::new(Inner { connector: Connector::new(route, None), pool: Pool::new(true) }) }
    }

    /// A client for addresses that a guard must allow. It keeps no connections, because a kept one could lead
    /// to an address that was public only earlier.
    pub(super) fn guarded(route: Route, guard: Guard) -> Self {
        let connector = Connector::new(route, Some(guard));
        Self { inner: Arc::new(Inner { connector, pool: Pool::new(false) }) }
    }

    /// How many HTTP/2 connections accept requests.
    #[cfg(test)]
    pub(super) fn open_connections(&self) -> usize {
        self.inner.pool.open_connections()
    }

    /// True for clones of one client.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Sends a request and returns the head of the answer. `make` makes the request, and makes it again in
    /// the rare case that it has to be sent again: a copy for that case would cost each request a dozen
    /// allocations. Dropping the returned future or body cancels the request. The log identifies it by
    /// `request_id`.
    pub async fn send(
        &self,
        request_id: Option<&str>,
        make: impl Fn() -> Result<Request<Bytes>, Error>,
    ) -> Result<Response<AnswerBody>, Error> {
        let whole = |request: Request<Bytes>| request.map(RequestBody::from);
        let sent = self.try_send(request_id, whole(make()?), || make().ok().map(whole)).await;
        let response = sent.map_err(Failure::into_error)?;
        decoded(response).map_err(|error| cut(&AnswerError::Coding(error)))
    }

    /// Sends a request whose body continues with the caller's upload. It is sent once, because the upload
    /// cannot be read again.
    pub async fn send_upload(
        &self,
        request_id: Option<&str>,
        request: Request<Bytes>,
        upload: &Upload,
    ) -> Result<Response<AnswerBody>, Error> {
        let (head, beginning) = request.into_parts();
        let body = RequestBody::Upload(Box::new(upload.body(beginning)?));
        let sent = self.try_send(request_id, Request::from_parts(head, body), || None).await;
        let response = sent.map_err(|failure| upload.failed(failure.into_error()))?;
        decoded(response).map_err(|error| cut(&AnswerError::Coding(error)))
    }

    /// Sends a request whose answer may end HTTP on its connection, which is opened for it.
    pub async fn upgrade(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        self.try_upgrade(request).await.map_err(Failure::into_error)
    }

    async fn try_upgrade(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Failure> {
        let origin = origin(request.uri()).ok_or_else(Failure::url)?;
        let (socket, forwarding) = self.inner.connector.open_to_upgrade(origin.uri()).await?;
        let (mut sender, driver) = http1::handshake(socket).await.map_err(|error| Failure::broken(&error))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the answer, or when the connection is taken over"
        )]
        tokio::spawn(driver.with_upgrades());
        let path = request.uri().path_and_query().cloned();
        let mut request = with_our_headers(request.map(Full::new));
        address_http1(&mut request, &origin, path.as_ref(), forwarding.as_deref());
        sender.send_request(request).await.map_err(|error| Failure::broken(&error))
    }

    /// Like [`send`](Self::send). The error is the reason as text, without secrets.
    pub(super) async fn fetch(&self, request: Request<Bytes>) -> Result<Response<AnswerBody>, String> {
        let whole = |request: Request<Bytes>| request.map(RequestBody::from);
        let copy = request.clone();
        let sent = self.try_send(None, whole(request), || Some(whole(copy.clone()))).await;
        let response = sent.map_err(|failure| failure.reason)?;
        decoded(response).map_err(|error| error.to_string())
    }

    /// Sends a request and reads a small answer completely. The error is the reason as text, without secrets.
    pub async fn exchange(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        let (head, body) = self.fetch(request).await?.into_parts();
        let body = bounded::read(body, limit).await.map_err(|error| root_cause(error.as_ref()))?;
        Ok(Response::from_parts(head, body))
    }

    /// Takes an idle connection, and another one if that has ended meanwhile; opens one when there is none.
    ///
    /// A request that the provider has not seen is sent again immediately, and once more if its idle
    /// connection was dead: neither is a failure of the provider, nor an attempt.
    async fn try_send(
        &self,
        request_id: Option<&str>,
        request: Request<RequestBody>,
        again: impl Fn() -> Option<Request<RequestBody>>,
    ) -> Result<Response<PooledBody>, Failure> {
        let pool = &self.inner.pool;
        let origin = origin(request.uri()).ok_or_else(Failure::url)?;
        let path = request.uri().path_and_query().cloned();
        let mut request = with_our_headers(request);
        let again = || again().map(with_our_headers);
        // A request that can be sent only once uses a connection that is known to work.
        let mut may_be_stale = matches!(request.body(), RequestBody::Whole(_));
        let mut refusals = 0;
        let (mut opening, mut took) = (None, None);
        loop {
            let idle = if may_be_stale { pool.take(&origin) } else { None };
            let was_idle = idle.is_some();
            let connection = match idle {
                Some(connection) => connection,
                // Boxed because it is rare and large: unboxed it would enlarge every request's future.
                None => {
                    let began = *opening.get_or_insert_with(clock::now);
                    let opened =
                        Box::pin(pool.open(&origin, || self.inner.connector.open(origin.uri()))).await?;
                    took = Some(Connected(began.elapsed()));
                    opened
                }
            };
            request = addressed(request, &origin, path.as_ref(), &connection);
            let started = clock::now();
            let error = match pool.send(&origin, connection, request).await {
                Ok(mut response) => {
                    if let Some(took) = took {
                        response.extensions_mut().insert(took);
                    }
                    return Ok(response);
                }
                Err(error) => error,
            };
            (request, may_be_stale) = match error {
                SendError::Unsent(Some(unsent), _) if was_idle => (*unsent, true),
                SendError::Unsent(None, error) if refusals == 0 => {
                    refusals += 1;
                    (again().ok_or_else(|| Failure::broken(&error))?, true)
                }
                SendError::Silent(error) if was_idle && started.elapsed() < STALE => {
                    tracing::debug!(request_id, %error, "an idle connection to a provider was dead; sent again");
                    (again().ok_or_else(|| Failure::broken(&error))?, false)
                }
                SendError::Unsent(_, error) | SendError::Silent(error) | SendError::Broken(error) => {
                    return Err(Failure::broken(&error));
                }
            };
        }
    }
}

/// The time to open the connection of an answer, as an extension of the answer's head. Absent for an open
/// connection.
#[derive(Clone, Copy, Debug)]
pub struct Connected(pub Duration);

fn origin(uri: &Uri) -> Option<Origin> {
    Some(Origin { tls: uri.scheme() == Some(&Scheme::HTTPS), authority: uri.authority()?.clone() })
}

impl Origin {
    fn scheme(&self) -> Scheme {
        if self.tls { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The host for the header: without a user, and without the default port.
    fn host(&self) -> &str {
        let usual = if self.tls { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port == usual => self.authority.host(),
            _ => self.authority.as_str().rsplit('@').next().unwrap_or_default(),
        }
    }

    /// The origin alone, for the connector.
    fn uri(&self) -> Uri {
        self.uri_with(Some(&PathAndQuery::from_static("/")))
    }

    fn uri_with(&self, path: Option<&PathAndQuery>) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// The request with the gateway's own headers. A catalog row or the configuration may override them.
pub fn with_our_headers<B>(mut request: Request<B>) -> Request<B> {
    let headers = request.headers_mut();
    headers.entry(USER_AGENT).or_insert(PRODUCT);
    headers.entry(ACCEPT_ENCODING).or_insert(IDENTITY);
    request
}

/// The request with its address in the form of the connection's protocol.
fn addressed(
    mut request: Request<RequestBody>,
    origin: &Origin,
    path: Option<&PathAndQuery>,
    connection: &Connection,
) -> Request<RequestBody> {
    let forwarding = match connection {
        Connection::Http1(connection) => connection.forwarding.as_deref(),
        // The form in which requests are made. Only a request that was on its way over HTTP/1 has another
        // form.
        Connection::Http2(_) if request.uri().authority().is_some() => return request,
        Connection::Http2(_) => {
            request.headers_mut().remove(HOST);
            *request.uri_mut() = origin.uri_with(path);
            return request;
        }
    };
    address_http1(&mut request, origin, path, forwarding);
    request
}

/// HTTP/1 has the host in a header, and a proxy needs the whole URL.
fn address_http1<B>(
    request: &mut Request<B>,
    origin: &Origin,
    path: Option<&PathAndQuery>,
    forwarding: Option<&ForwardProxy>,
) {
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::try_from(origin.host()) {
        headers.insert(HOST, host);
    }
    *request.uri_mut() = match forwarding {
        Some(ForwardProxy { auth }) => {
            if let Some(auth) = auth {
                headers.insert(PROXY_AUTHORIZATION, auth.clone());
            }
            origin.uri_with(path)
        }
        None => path.map(|path| Uri::from(path.clone())).unwrap_or_default(),
    };
}

/// The body of an answer, without a content coding.
pub struct AnswerBody {
    body: PooledBody,
    /// Boxed because it is rare and large.
    decoder: Option<Box<Decoder>>,
}

/// Why an answer broke off.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The connection broke.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// Its content coding is invalid.
    #[error(transparent)]
    Coding(#[from] CodingError),
}

/// Providers are asked for answers without a content coding, but some use one nevertheless.
fn decoded(response: Response<PooledBody>) -> Result<Response<AnswerBody>, CodingError> {
    let (mut head, body) = response.into_parts();
    let decoder = if head.headers.contains_key(CONTENT_ENCODING) {
        Decoder::of(&head.headers, DECODED)?.filter(|_| !body.is_end_stream()).map(Box::new)
    } else {
        None
    };
    if decoder.is_some() {
        without_coding(&mut head.headers);
    }
    Ok(Response::from_parts(head, AnswerBody { body, decoder }))
}

fn without_coding(headers: &mut HeaderMap) {
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
}

impl AnswerBody {
    /// The decoded bytes of a piece; none when more input is needed.
    fn decode(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, AnswerError>> {
        let Some(decoder) = &mut self.decoder else { return Some(Ok(frame)) };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(trailers) => return Some(Ok(trailers)),
        };
        let mut out = Vec::new();
        match decoder.push(&data, &mut out) {
            Ok(()) if out.is_empty() => None,
            Ok(()) => Some(Ok(Frame::data(out.into()))),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// The rest of the decoder at the end.
    fn finish(&mut self) -> Option<Result<Frame<Bytes>, AnswerError>> {
        let mut out = Vec::new();
        match self.decoder.take()?.finish(&mut out) {
            Ok(()) => (!out.is_empty()).then(|| Ok(Frame::data(out.into()))),
            Err(error) => Some(Err(error.into())),
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = AnswerError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, AnswerError>>> {
        if self.decoder.is_none() {
            return Pin::new(&mut self.body).poll_frame(context).map_err(AnswerError::from);
        }
        loop {
            match std::task::ready!(Pin::new(&mut self.body).poll_frame(context)) {
                None => return Poll::Ready(self.finish()),
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Some(Ok(frame)) => {
                    if let Some(decoded) = self.decode(frame) {
                        return Poll::Ready(Some(decoded));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        match self.decoder {
            None => self.body.size_hint(),
            Some(_) => SizeHint::default(),
        }
    }
}

/// The connection broke within an answer.
pub fn cut(error: &AnswerError) -> Error {
    let kind = if is_timeout(error) { ErrorKind::Timeout } else { ErrorKind::Upstream };
    let message = format!("The provider's answer broke off: {}.", root_cause(error));
    Error::upstream(kind, Retry::Again, message)
}
