//! Opens connections: through a proxy where one is set, with TLS where the origin requires it, all within one
//! time limit.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connection as _, HttpConnector};
use hyper_util::client::proxy::matcher::Intercept;
use tower_service::Service;

use super::address_guard::{Guard, Resolver};
use super::connection::{Connection, ForwardProxy, Outer, Socket};
use super::failure::{Failure, root_cause};
use super::outbound::{Proxies, Route};

type BoxError = Box<dyn StdError + Send + Sync>;

#[derive(Clone)]
pub(super) struct Connector {
    tls: HttpsConnector<Outlet>,
    /// The same without HTTP/2: a connection that another protocol takes over later.
    http1: HttpsConnector<Outlet>,
    proxies: Proxies,
    limit: Duration,
}

impl Connector {
    pub(super) fn new(route: Route, guard: Option<Guard>) -> Self {
        let connector = || HttpsConnectorBuilder::new().with_tls_config(route.tls.clone()).https_or_http();
        let (connector, to_upgrade) = (connector(), connector());
        let outlet = Outlet {
            direct: tcp(Resolver(guard.clone()), route.limit),
            to_proxy: HttpsConnectorBuilder::new()
                .with_tls_config(route.tls.clone())
                .https_or_http()
                .enable_http1()
                .wrap_connector(tcp(Resolver(None), route.limit)),
            to_socks: tcp(Resolver(None), route.limit),
            proxies: route.proxies.clone(),
            guard,
        };
        Self {
            http1: to_upgrade.enable_http1().wrap_connector(outlet.clone()),
            tls: connector.enable_http1().enable_http2().wrap_connector(outlet),
            proxies: route.proxies,
            limit: route.limit,
        }
    }

    /// A connection that can take a request. The limit covers everything: name, TCP, proxy, TLS, the start of
    /// HTTP/2.
    pub(super) async fn open(&self, origin: Uri) -> Result<Connection, Failure> {
        match tokio::time::timeout(self.limit, self.open_unlimited(origin)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::connect_timeout(self.limit)),
        }
    }

    /// A socket for one request whose answer ends HTTP on it.
    pub(super) async fn open_to_upgrade(
        &self,
        origin: Uri,
    ) -> Result<(Socket, Option<Box<ForwardProxy>>), Failure> {
        let forwarding = self.forwarding(&origin);
        match tokio::time::timeout(self.limit, call(self.http1.clone(), origin)).await {
            Ok(Ok(socket)) => Ok((socket, forwarding)),
            Ok(Err(error)) => Err(Failure::connect(error.as_ref())),
            Err(_) => Err(Failure::connect_timeout(self.limit)),
        }
    }

    async fn open_unlimited(&self, origin: Uri) -> Result<Connection, Failure> {
        let forwarding = self.forwarding(&origin);
        let socket =
            call(self.tls.clone(), origin).await.map_err(|error| Failure::connect(error.as_ref()))?;
        if socket.connected().is_negotiated_h2() {
            Connection::open_http2(socket).await
        } else {
            Connection::open_http1(socket, forwarding).await
        }
    }

    /// The proxy for an origin, if requests to it have whole URLs.
    fn forwarding(&self, origin: &Uri) -> Option<Box<ForwardProxy>> {
        if origin.scheme() == Some(&Scheme::HTTPS) {
            return None;
        }
        let proxy = self.proxies.lead_to(origin).filter(|proxy| !is_socks(proxy))?;
        Some(Box::new(ForwardProxy { auth: proxy.basic_auth().cloned() }))
    }
}

fn is_socks(proxy: &Intercept) -> bool {
    proxy.uri().scheme_str().is_some_and(|scheme| scheme.starts_with("socks"))
}

/// Opens TCP connections without delay for small pieces.
fn tcp(resolver: Resolver, limit: Duration) -> HttpConnector<Resolver> {
    let mut connector = HttpConnector::new_with_resolver(resolver);
    connector.set_nodelay(true);
    connector.enforce_http(false);
    // Shared by the addresses of a name: one that does not answer leaves time for the next.
    connector.set_connect_timeout(Some(limit));
    connector.set_keepalive(Some(Duration::from_secs(30)));
    connector
}

async fn call<S>(mut service: S, uri: Uri) -> Result<S::Response, BoxError>
where
    S: Service<Uri>,
    S::Error: Into<BoxError>,
{
    std::future::poll_fn(|context| service.poll_ready(context)).await.map_err(Into::into)?;
    service.call(uri).await.map_err(Into::into)
}

/// Opens the transport below TLS to the origin: TCP to the origin, or a tunnel through a proxy.
#[derive(Clone)]
struct Outlet {
    direct: HttpConnector<Resolver>,
    to_proxy: HttpsConnector<HttpConnector<Resolver>>,
    to_socks: HttpConnector<Resolver>,
    proxies: Proxies,
    guard: Option<Guard>,
}

impl Outlet {
    async fn open(self, origin: Uri) -> Result<Outer, BoxError> {
        let Some(proxy) = self.proxies.lead_to(&origin) else {
            return Ok(MaybeHttpsStream::Http(call(self.direct, origin).await?));
        };
        if let Some(guard) = &self.guard {
            guard.check_for_proxy(origin.host().unwrap_or_default()).await?;
        }
        let name = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
        self.through(&proxy, origin).await.map_err(|error| {
            let reason = root_cause(error.as_ref());
            format!("the proxy {name} does not lead there ({reason})").into()
        })
    }

    async fn through(self, proxy: &Intercept, origin: Uri) -> Result<Outer, BoxError> {
        let address = proxy.uri().clone();
        if is_socks(proxy) {
            // The proxy resolves names for `socks5` too: resolving here would block the runtime.
            let mut socks = SocksV5::new(address, self.to_socks);
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            return Ok(MaybeHttpsStream::Http(call(socks, origin).await?));
        }
        if origin.scheme() != Some(&Scheme::HTTPS) {
            return call(self.to_proxy, address).await;
        }
        let mut tunnel = Tunnel::new(address, self.to_proxy);
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        call(tunnel, origin).await
    }
}

impl Service<Uri> for Outlet {
    type Response = Outer;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Outer, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        Box::pin(self.clone().open(origin))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn connections_to_providers_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri: Uri = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
        let stream = call(tcp(Resolver(None), Duration::from_secs(5)), uri).await.unwrap();
        assert!(stream.inner().nodelay().unwrap());
    }
}
