//! The HTTP client: pooled connections, TLS, HTTP/2 where the provider speaks it, and no Nagle delay.

use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http::header::HOST;
use http::uri::{PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use tower_service::Service;

use super::connection::{Connection, Origin, Pool, RequestBody, SendError};

pub use super::connection::AnswerBody;

/// Sends requests to providers.
#[derive(Clone)]
pub struct Client {
    connector: HttpsConnector<HttpConnector>,
    pool: Pool,
}

/// Why there is no answer.
enum Failure {
    /// The provider could not be reached.
    Connect(Box<dyn StdError + Send + Sync>),
    /// The connection broke before an answer came.
    Broken(hyper::Error),
    /// The URL names no host.
    Url,
}

impl Client {
    /// A client that gives up connecting after `connect_timeout`.
    pub fn new(connect_timeout: Duration) -> Self {
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector(connect_timeout));
        Self { connector, pool: Pool::default() }
    }

    /// Sends a request and returns the head of the answer. The request dies with the returned future or body.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<AnswerBody>, Error> {
        self.try_send(request).await.map_err(|failure| failure.into_error())
    }

    /// Sends a request and reads the whole of a small answer. The error is the reason in words, without a secret.
    pub async fn exchange(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        let response = self.try_send(request).await.map_err(|failure| failure.reason())?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| root_cause(error.as_ref()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    /// Takes an idle connection, and another if that has ended meanwhile; opens one when there is none.
    async fn try_send(&self, request: Request<Bytes>) -> Result<Response<AnswerBody>, Failure> {
        let origin = origin(request.uri()).ok_or(Failure::Url)?;
        let mut request = request.map(Full::new);
        loop {
            let idle = self.pool.take(&origin);
            let was_idle = idle.is_some();
            let connection = match idle {
                Some(connection) => connection,
                // Seldom, and large: in a box, it makes no room for itself in every request.
                None => Box::pin(self.connect(&origin)).await?,
            };
            request = addressed(request, &origin, &connection);
            match self.pool.send(&origin, connection, request).await {
                Ok(response) => return Ok(response),
                Err(SendError::Unsent(unsent, _)) if was_idle => request = *unsent,
                Err(SendError::Unsent(_, error) | SendError::Broken(error)) => {
                    return Err(Failure::Broken(error));
                }
            }
        }
    }

    async fn connect(&self, origin: &Origin) -> Result<Connection, Failure> {
        let mut connector = self.connector.clone();
        std::future::poll_fn(|context| connector.poll_ready(context)).await.map_err(Failure::Connect)?;
        let socket = connector.call(origin.uri()).await.map_err(Failure::Connect)?;
        let http2 = socket.connected().is_negotiated_h2();
        Connection::open(socket, http2).await.map_err(Failure::Broken)
    }
}

/// Opens connections that send small pieces at once.
fn connector(connect_timeout: Duration) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(connect_timeout));
    connector.set_keepalive(Some(Duration::from_secs(30)));
    connector
}

fn origin(uri: &Uri) -> Option<Origin> {
    Some(Origin { tls: uri.scheme() == Some(&Scheme::HTTPS), authority: uri.authority()?.clone() })
}

impl Origin {
    fn scheme(&self) -> Scheme {
        if self.tls { Scheme::HTTPS } else { Scheme::HTTP }
    }

    /// The host as the header has it: without a user, and without the usual port.
    fn host(&self) -> &str {
        let usual = if self.tls { 443 } else { 80 };
        match self.authority.port_u16() {
            Some(port) if port == usual => self.authority.host(),
            _ => self.authority.as_str().rsplit('@').next().unwrap_or_default(),
        }
    }

    /// The origin alone, for the connector.
    fn uri(&self) -> Uri {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static("/"));
        Uri::from_parts(parts).unwrap_or_default()
    }
}

/// The request with its address in the form of the connection's protocol: HTTP/1 has the host in a header.
fn addressed(
    mut request: Request<RequestBody>,
    origin: &Origin,
    connection: &Connection,
) -> Request<RequestBody> {
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = request.uri().path_and_query().cloned();
    match connection {
        Connection::Http1(_) => {
            if let Ok(host) = HeaderValue::try_from(origin.host()) {
                request.headers_mut().insert(HOST, host);
            }
        }
        Connection::Http2(_) => {
            request.headers_mut().remove(HOST);
            parts.scheme = Some(origin.scheme());
            parts.authority = Some(origin.authority.clone());
        }
    }
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    request
}

impl Failure {
    /// What it means: nothing came back, so another provider can be asked.
    fn into_error(self) -> Error {
        let reason = self.reason();
        let (kind, message) = match self {
            Self::Connect(_) => {
                let timed_out = reason.contains("timed out") || reason.contains("deadline");
                let kind = if timed_out { ErrorKind::Timeout } else { ErrorKind::Upstream };
                (kind, format!("The provider could not be reached: {reason}."))
            }
            Self::Broken(_) => {
                (ErrorKind::Upstream, format!("The connection to the provider broke: {reason}."))
            }
            Self::Url => (ErrorKind::Internal, format!("The provider's base_url is not valid: {reason}.")),
        };
        Error::upstream(kind, Retry::Again, message)
    }

    fn reason(&self) -> String {
        match self {
            Self::Connect(error) => root_cause(error.as_ref()),
            Self::Broken(error) => root_cause(error),
            Self::Url => "it names no host".to_owned(),
        }
    }
}

/// The connection broke within an answer.
pub fn cut(error: &hyper::Error) -> Error {
    let message = format!("The provider's answer broke off: {}.", root_cause(error));
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

/// The innermost cause in words; it never holds a header or a body.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_to_providers_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: http::Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let connector = TowerToHyperService::new(connector(Duration::from_secs(5)));
        let stream = connector.call(uri).await.unwrap();
        assert!(stream.inner().nodelay().unwrap());
    }
}
