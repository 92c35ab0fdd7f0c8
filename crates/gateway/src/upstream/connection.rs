//! Connections to providers, and those that are idle.
//!
//! An HTTP/1 connection has no task of its own: whoever waits for the answer drives it, so that bytes go from the
//! provider's socket to the caller's without a change of tasks, and all that has arrived is there at once. An HTTP/2
//! connection is shared by many requests and has a task.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// Idle connections are closed after this; most providers close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(55);
/// Most idle connections to one provider.
const MOST_IDLE: usize = 1024;

/// A socket to a provider, with TLS or without.
pub(super) type Socket = MaybeHttpsStream<TokioIo<TcpStream>>;
/// What is sent.
pub(super) type RequestBody = Full<Bytes>;

/// Where connections lead: with TLS or without, and to whom.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) authority: Authority,
}

/// By the text as it stands: [`Authority`] itself hashes letter by letter, whatever their case.
impl Hash for Origin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.tls, self.authority.as_str()).hash(state);
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.tls, self.authority.as_str()) == (other.tls, other.authority.as_str())
    }
}

impl Eq for Origin {}

/// Why a request got no answer.
pub(super) enum SendError {
    /// Nothing of it was sent: the connection had ended before.
    Unsent(Box<Request<RequestBody>>, hyper::Error),
    /// The connection broke.
    Broken(hyper::Error),
}

impl From<TrySendError<Request<RequestBody>>> for SendError {
    fn from(mut error: TrySendError<Request<RequestBody>>) -> Self {
        match error.take_message() {
            Some(request) => Self::Unsent(Box::new(request), error.into_error()),
            None => Self::Broken(error.into_error()),
        }
    }
}

/// A connection that can take a request.
pub(super) enum Connection {
    Http1(Box<Http1>),
    Http2(http2::SendRequest<RequestBody>),
}

impl Connection {
    /// Speaks HTTP/2 on the socket if that was agreed on, else HTTP/1.
    pub(super) async fn open(socket: Socket, http2: bool) -> hyper::Result<Self> {
        if http2 {
            // In a box: with it, opening would take as much memory as a buffer of hyper's, 8 KiB. The allocator would
            // give the place to such a buffer next, with all of its pages written to, of which the buffer uses one.
            return Box::pin(Self::open_http2(socket)).await;
        }
        let (sender, driver) = http1::handshake(socket).await?;
        Ok(Self::Http1(Box::new(Http1 { sender, driver, is_over: false })))
    }

    async fn open_http2(socket: Socket) -> hyper::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        let (sender, driver) = builder.timer(TokioTimer::new()).handshake(socket).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "an HTTP/2 connection to a provider ended with an error");
            }
        });
        Ok(Self::Http2(sender))
    }
}

/// An HTTP/1 connection.
pub(super) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<Socket, RequestBody>,
    is_over: bool,
}

impl Http1 {
    /// Reads and writes what can be.
    fn drive(&mut self, context: &mut Context<'_>) {
        self.is_over = self.is_over || Pin::new(&mut self.driver).poll(context).is_ready();
    }

    /// True if it can take a request, as far as can be known without sending one.
    fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }

    async fn send(&mut self, request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        let mut answer = std::pin::pin!(self.sender.try_send_request(request));
        let (driver, is_over) = (&mut self.driver, &mut self.is_over);
        let answered = std::future::poll_fn(|context| {
            *is_over = *is_over || Pin::new(&mut *driver).poll(context).is_ready();
            answer.as_mut().poll(context)
        });
        Ok(answered.await?)
    }
}

/// The body of an answer. It drives the connection that it comes from, and gives it back at its end; dropped before
/// that, it closes the connection.
pub struct AnswerBody {
    body: Incoming,
    lease: Option<Lease>,
}

struct Lease {
    connection: Box<Http1>,
    origin: Origin,
    pool: Pool,
}

impl AnswerBody {
    fn give_back(&mut self) {
        if let Some(mut lease) = self.lease.take()
            && lease.connection.is_usable()
        {
            lease.pool.put(lease.origin, lease.connection);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if let (Poll::Pending, Some(lease)) = (&polled, &mut this.lease) {
            lease.connection.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        // A body of known length ends with its last piece, one in chunks tells that it has ended.
        if matches!(polled, Poll::Ready(None)) || this.body.is_end_stream() {
            this.give_back();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Idle connections. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pool {
    origins: Arc<Mutex<Origins>>,
}

#[derive(Default)]
struct Origins {
    idle: HashMap<Origin, Idle>,
    /// A task closes what has been idle for too long; there is none while nothing is idle.
    is_swept: bool,
}

#[derive(Default)]
struct Idle {
    /// The last is the one that was used last.
    http1: Vec<(Box<Http1>, Instant)>,
    http2: Option<(http2::SendRequest<RequestBody>, Instant)>,
}

impl Pool {
    /// A connection that waits for a request; none if there is none.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut origins = self.lock();
            let idle = origins.idle.get_mut(origin)?;
            if let Some((sender, used)) = idle.http2.as_mut().filter(|(sender, _)| sender.is_ready()) {
                *used = Instant::now();
                return Some(Connection::Http2(sender.clone()));
            }
            let (mut connection, used) = idle.http1.pop()?;
            drop(origins);
            if used.elapsed() < IDLE && connection.is_usable() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    /// Sends a request over a connection of this pool's.
    pub(super) async fn send(
        &self,
        origin: &Origin,
        connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<AnswerBody>, SendError> {
        match connection {
            Connection::Http1(mut connection) => {
                let response = connection.send(request).await?;
                let lease = Lease { connection, origin: origin.clone(), pool: self.clone() };
                Ok(response.map(|body| {
                    let mut body = AnswerBody { body, lease: Some(lease) };
                    if body.is_end_stream() {
                        body.give_back();
                    }
                    body
                }))
            }
            Connection::Http2(mut sender) => {
                if let Err(error) = sender.ready().await {
                    return Err(SendError::Unsent(Box::new(request), error));
                }
                let answer = sender.try_send_request(request);
                self.share(origin.clone(), sender);
                Ok(answer.await?.map(|body| AnswerBody { body, lease: None }))
            }
        }
    }

    fn put(&self, origin: Origin, connection: Box<Http1>) {
        let mut origins = self.lock();
        let idle = origins.idle.entry(origin).or_default();
        if idle.http1.len() < MOST_IDLE {
            idle.http1.push((connection, Instant::now()));
        }
        self.sweep(&mut origins);
    }

    /// Others may use the connection at the same time.
    fn share(&self, origin: Origin, sender: http2::SendRequest<RequestBody>) {
        let mut origins = self.lock();
        match origins.idle.entry(origin) {
            Entry::Occupied(idle)
                if idle.get().http2.as_ref().is_some_and(|(known, _)| !known.is_closed()) => {}
            entry => entry.or_default().http2 = Some((sender, Instant::now())),
        }
        self.sweep(&mut origins);
    }

    fn sweep(&self, origins: &mut Origins) {
        if !origins.is_swept {
            origins.is_swept = true;
            tokio::spawn(sweep(Arc::downgrade(&self.origins)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Origins> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origins {
    /// Closes what has been idle for too long.
    fn shrink(&mut self) {
        self.idle.retain(|_, idle| {
            idle.http1.retain(|(_, used)| used.elapsed() < IDLE);
            idle.http2.take_if(|(sender, used)| sender.is_closed() || used.elapsed() >= IDLE);
            !idle.http1.is_empty() || idle.http2.is_some()
        });
    }
}

async fn sweep(origins: Weak<Mutex<Origins>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(origins) = origins.upgrade() else { return };
        let mut origins = origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.shrink();
        if origins.idle.is_empty() {
            origins.is_swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use http_body_util::BodyExt;
    use hyper::service::service_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::upstream::Client;

    /// Answers each request of a connection with the next of the texts, then closes it. Returns how many connections
    /// there were, once all texts are used.
    async fn server(
        connections: &'static [&'static [&'static str]],
    ) -> (String, tokio::task::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let served = tokio::spawn(async move {
            for answers in connections {
                let (mut socket, _) = listener.accept().await.unwrap();
                for answer in *answers {
                    let mut request = Vec::new();
                    while !request.ends_with(b"hello") {
                        assert!(socket.read_buf(&mut request).await.unwrap() > 0, "the request broke off");
                    }
                    assert!(request.starts_with(b"POST /v1 HTTP/1.1\r\n"));
                    socket.write_all(answer.as_bytes()).await.unwrap();
                }
            }
            connections.len()
        });
        (url, served)
    }

    fn request(url: &str) -> Request<Bytes> {
        Request::post(url).body(Bytes::from_static(b"hello")).unwrap()
    }

    async fn ask(client: &Client, url: &str) -> Result<Bytes, String> {
        client.exchange(request(url), 1 << 20).await.map(http::Response::into_body)
    }

    const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

    #[tokio::test]
    async fn one_connection_serves_one_request_after_another() {
        const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
        const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
        let (url, served) = server(&[&[OK, CHUNKED, EMPTY, OK]]).await;
        let client = Client::new(Duration::from_secs(5));
        for expected in ["ok", "ok", "", "ok"] {
            assert_eq!(ask(&client, &url).await.unwrap(), expected);
        }
        assert_eq!(served.await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_connection_that_ended_while_idle_is_replaced() {
        let (url, served) =
            server(&[&[OK], &["HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nok"], &[OK]]).await;
        let client = Client::new(Duration::from_secs(5));
        for _ in 0..3 {
            assert_eq!(ask(&client, &url).await.unwrap(), "ok");
        }
        assert_eq!(served.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn an_answer_that_is_not_read_to_its_end_closes_its_connection() {
        let (url, served) = server(&[&["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"], &[OK]]).await;
        let client = Client::new(Duration::from_secs(5));
        let mut answer = client.send(request(&url)).await.unwrap().into_body();
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "ok");
        drop(answer);
        assert_eq!(ask(&client, &url).await.unwrap(), "ok");
        assert_eq!(served.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn a_broken_answer_is_an_error_and_is_not_asked_for_again() {
        let (url, served) =
            server(&[&["HTTP/1.1 200"], &["HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok"]]).await;
        let client = Client::new(Duration::from_secs(5));
        assert!(client.send(request(&url)).await.is_err());
        let answer = client.send(request(&url)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.into_body().collect().await.is_err());
        assert_eq!(served.await.unwrap(), 2);
    }

    #[tokio::test]
    async fn many_requests_share_a_connection_of_http2() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (socket, _) = listener.accept().await.unwrap();
            let echo = service_fn(|request: Request<Incoming>| async {
                assert_eq!(request.uri().path(), "/v1");
                Ok::<_, hyper::Error>(Response::new(Full::new(request.collect().await?.to_bytes())))
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            server.serve_connection(TokioIo::new(socket), echo).await
        });
        let socket = MaybeHttpsStream::Http(TokioIo::new(TcpStream::connect(address).await.unwrap()));
        let origin = Origin { tls: false, authority: Authority::from_static("example.test") };
        let pool = Pool::default();
        let mut connection = Connection::open(socket, true).await.ok();
        for _ in 0..3 {
            // There is one listener for one connection: the second request must find it in the pool.
            let connection = connection.take().or_else(|| pool.take(&origin)).unwrap();
            let request =
                Request::post("http://example.test/v1").body(Full::new(Bytes::from("hello"))).unwrap();
            let answer = pool.send(&origin, connection, request).await.ok().unwrap();
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
        }
    }
}
