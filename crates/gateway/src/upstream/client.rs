//! The HTTP client: pooled connections, TLS, HTTP/2 where the provider speaks it, and no Nagle delay.

use std::time::Duration;

use bytes::Bytes;
use canon::{Error, ErrorKind, Retry};
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// Idle connections are closed after this; most providers close theirs after a minute or more.
const POOL_IDLE: Duration = Duration::from_secs(55);

/// Sends requests to providers.
#[derive(Clone)]
pub struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// A client that gives up connecting after `connect_timeout`.
    pub fn new(connect_timeout: Duration) -> Self {
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(connector(connect_timeout));
        let inner = legacy::Client::builder(TokioExecutor::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(1024)
            .build(https);
        Self { inner }
    }

    /// Sends a request and returns the head of the answer. The request dies with the returned future or body.
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        self.inner.request(request.map(Full::new)).await.map_err(|error| failure(&error))
    }

    /// Sends a request and reads the whole of a small answer. The error is the reason in words, without a secret.
    pub async fn exchange(&self, request: Request<Bytes>, limit: usize) -> Result<Response<Bytes>, String> {
        let response =
            self.inner.request(request.map(Full::new)).await.map_err(|error| root_cause(&error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, limit).collect().await.map_err(|error| root_cause(error.as_ref()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
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

/// What a failed exchange means: nothing came back, so another provider can be asked.
fn failure(error: &legacy::Error) -> Error {
    let reason = root_cause(error);
    if error.is_connect() {
        let timed_out = reason.contains("timed out") || reason.contains("deadline");
        let kind = if timed_out { ErrorKind::Timeout } else { ErrorKind::Upstream };
        return Error::upstream(kind, Retry::Again, format!("The provider could not be reached: {reason}."));
    }
    Error::upstream(
        ErrorKind::Upstream,
        Retry::Again,
        format!("The connection to the provider broke: {reason}."),
    )
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
