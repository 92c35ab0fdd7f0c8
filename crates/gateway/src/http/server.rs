//! Accepts connections, within limits, and lets them finish when the gateway stops.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::connections::{ConnectionPermit, Connections};
use super::handle::ListenerRole;
use super::serving::{Protocol, Serving, Times};
use super::socket::Socket;
use super::{Api, handle};
use crate::lifecycle::Phase;
use crate::tls::Tls;

/// A listening socket and its settings.
pub struct Listener {
    pub socket: TcpListener,
    /// The routes that are served here.
    pub door: ListenerRole,
    /// TLS, with HTTP/1.1 and HTTP/2.
    pub tls: Option<Tls>,
    /// Whether clients may use HTTP/2 without TLS by prior knowledge.
    pub h2c: bool,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Most connections at a time.
    pub max_connections: usize,
    /// Largest request head in bytes.
    pub header_limit: usize,
    /// How long a connection may be idle.
    pub times: Times,
    /// How long all requests are served after a stop was requested.
    pub drain: Duration,
    /// How long answers may continue after that.
    pub shutdown: Duration,
}

/// Connections of an operator's listener: a scraper and some probes.
const OPERATORS: usize = 256;

/// Requests at a time on one HTTP/2 connection.
const STREAMS: u32 = 256;

/// How long the last bytes of cut answers may take.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Serves until `stop` is ready, then refuses new requests and waits for the answers under way. They are cut
/// when they take too long, or when `at_once`, which is polled only then, is ready. Returns how many were
/// cut.
pub async fn serve(
    listeners: Vec<Listener>,
    api: Arc<Api>,
    limits: Limits,
    stop: impl Future<Output = ()>,
    at_once: impl Future<Output = ()>,
) -> usize {
    let lifecycle = api.lifecycle.clone();
    let mut entrances = Vec::new();
    let mut accepting = tokio::task::JoinSet::new();
    for listener in listeners {
        let most = if listener.door == ListenerRole::Operators { OPERATORS } else { limits.max_connections };
        let connections = Connections::new(most, api.buffers.memory());
        entrances.push(connections.clone());
        let entrance = ListenerContext { listener, api: api.clone(), limits, connections };
        accepting.spawn(async move { entrance.accept().await });
    }
    stop.await;
    let finished = async {
        if !limits.drain.is_zero() {
            lifecycle.enter(Phase::Leaving);
            tokio::time::sleep(limits.drain).await;
        }
        lifecycle.enter(Phase::Finishing);
        let _ = tokio::time::timeout(limits.shutdown, all_served(&entrances)).await;
    };
    tokio::select! {
        () = finished => {}
        () = at_once => {}
    }
    let cut = entrances.iter().map(|connections| connections.answering()).sum();
    lifecycle.enter(Phase::Cutting);
    if cut > 0 {
        let _ = tokio::time::timeout(LAST_WRITES, all_served(&entrances)).await;
    }
    // The listening sockets close with their tasks.
    accepting.shutdown().await;
    cut
}

/// Closes the connections when their answers end.
async fn all_served(entrances: &[Arc<Connections>]) {
    entrances.iter().for_each(|connections| connections.close_all());
    for connections in entrances {
        connections.all_served().await;
    }
}

/// A listener and the data for its connections.
struct ListenerContext {
    listener: Listener,
    api: Arc<Api>,
    limits: Limits,
    connections: Arc<Connections>,
}

impl ListenerContext {
    async fn accept(&self) {
        loop {
            self.connections.room().await;
            match accept(&self.listener.socket).await {
                Ok(stream) => {
                    let peer = stream.peer_addr().ok().map(|address| address.ip());
                    self.connection(stream, Arc::new(self.connections.open(peer)));
                }
                Err(error) => {
                    // Usually out of file descriptors: an immediate retry would spin.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn connection(&self, stream: TcpStream, place: Arc<ConnectionPermit>) {
        let desk =
            ConnectionHandler { api: self.api.clone(), place: place.clone(), door: self.listener.door };
        let socket = Socket::new(stream, place.slot().clone());
        let (limits, metrics) = (self.limits, self.api.metrics.clone());
        match &self.listener.tls {
            Some(tls) => {
                let acceptor = tls.acceptor();
                #[expect(
                    clippy::disallowed_methods,
                    reason = "ends with the connection, which its place counts"
                )]
                tokio::spawn(async move {
                    // A handshake has the time limit of a head.
                    let handshake = acceptor.accept(socket);
                    let stream = match tokio::time::timeout(limits.times.head, handshake).await {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(error)) => return tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => return tracing::debug!("a TLS handshake took too long"),
                    };
                    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    if is_h2 {
                        Serving::new(http2(stream, desk, limits), place, metrics, limits.times).await
                    } else {
                        Serving::new(http1(stream, desk, limits), place, metrics, limits.times).await
                    }
                });
            }
            None if self.listener.h2c => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "ends with the connection, which its place counts"
                )]
                tokio::spawn(Serving::new(either(socket, desk, limits), place, metrics, limits.times));
            }
            None => {
                #[expect(
                    clippy::disallowed_methods,
                    reason = "ends with the connection, which its place counts"
                )]
                tokio::spawn(Serving::new(http1(socket, desk, limits), place, metrics, limits.times));
            }
        }
    }
}

/// Accepts a connection with TCP_NODELAY: without it, each small piece waits up to 40 ms for the peer's
/// acknowledgement of the previous one.
async fn accept(listener: &TcpListener) -> std::io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY could not be set");
    }
    Ok(stream)
}

/// The handler of a connection's requests.
struct ConnectionHandler {
    api: Arc<Api>,
    place: Arc<ConnectionPermit>,
    door: ListenerRole,
}

/// HTTP/1. [`Serving`] watches the time of heads and pauses, because hyper has a single setting for both.
fn http1<I>(io: I, desk: ConnectionHandler, limits: Limits) -> impl Protocol + Send
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        handle(desk.api.clone(), desk.door, desk.place.begin(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(limits.header_limit.max(16 << 10))
        .half_close(false)
        .serve_connection(TokioIo::new(io), service)
        .with_upgrades();
    Inline { connection, close: |connection| connection.graceful_shutdown() }
}

fn http2<I>(io: I, desk: ConnectionHandler, limits: Limits) -> impl Protocol + Send
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        handle(desk.api.clone(), desk.door, desk.place.begin(), request)
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(limits.header_limit.try_into().unwrap_or(u32::MAX))
        .serve_connection(TokioIo::new(io), service);
    Boxed { connection: Box::pin(connection), close: |connection| connection.graceful_shutdown() }
}

/// HTTP/1, or HTTP/2 by prior knowledge.
fn either<I>(io: I, desk: ConnectionHandler, limits: Limits) -> impl Protocol + Send
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.times.keep_alive.max(limits.times.head))
        .max_buf_size(limits.header_limit.max(16 << 10))
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(limits.header_limit.try_into().unwrap_or(u32::MAX));
    let service = service_fn(move |request: Request<Incoming>| {
        handle(desk.api.clone(), desk.door, desk.place.begin(), request)
    });
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service).into_owned();
    Boxed { connection: Box::pin(connection), close: |connection| connection.graceful_shutdown() }
}

/// A connection of hyper's that is `Unpin`.
struct Inline<C> {
    connection: C,
    close: fn(Pin<&mut C>),
}

/// A connection of hyper's that is not.
struct Boxed<C> {
    connection: Pin<Box<C>>,
    close: fn(Pin<&mut C>),
}

impl<C: Future + Unpin> Future for Inline<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.connection).poll(context)
    }
}

impl<C: Future> Future for Boxed<C> {
    type Output = C::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.connection.as_mut().poll(context)
    }
}

impl<C, E> Protocol for Inline<C>
where
    C: Future<Output = Result<(), E>> + Unpin,
    E: std::fmt::Display,
{
    type Error = E;

    const HEADS_ARE_BYTES: bool = true;

    fn close(&mut self) {
        (self.close)(Pin::new(&mut self.connection));
    }
}

impl<C, E> Protocol for Boxed<C>
where
    C: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    type Error = E;

    const HEADS_ARE_BYTES: bool = false;

    fn close(&mut self) {
        (self.close)(self.connection.as_mut());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn accepted_connections_do_not_wait_for_acknowledgements() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (peer, stream) =
            tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), accept(&listener));
        assert!(stream.unwrap().nodelay().unwrap());
        drop(peer);
    }
}
