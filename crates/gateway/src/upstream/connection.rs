//! Connections to providers.
//!
//! An HTTP/1 connection has no task of its own: the task that waits for the answer drives it, so that bytes
//! go from the provider's socket to the caller's without a change of tasks, and everything that has arrived
//! is available immediately. An HTTP/2 connection is shared by many requests and has a task.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::failure::Failure;
use super::upload::{UploadBody, UploadError};
use crate::clock;

/// A connection to an origin or to a proxy before it, with TLS to the proxy or without.
pub(super) type Outer = MaybeHttpsStream<TokioIo<TcpStream>>;

/// A connection to an origin, with TLS or without.
pub(super) type Socket = MaybeHttpsStream<Outer>;

/// A proxy that gets whole URLs: for plain HTTP.
#[derive(Clone, Debug)]
pub(super) struct ForwardProxy {
    /// `Proxy-Authorization`
    pub(super) auth: Option<HeaderValue>,
}

/// Most requests that share an HTTP/2 connection, if the provider allows as many. Most providers allow 100 to
/// 128.
const MOST_STREAMS: usize = 100;
/// How much of an answer is buffered for a caller who does not read.
const STREAM_WINDOW: u32 = 512 << 10;
/// As much as all streams of a connection together, so that callers who do not read never delay the others.
const CONNECTION_WINDOW: u32 = MOST_STREAMS as u32 * STREAM_WINDOW;
/// A silent provider gets a PING after this time …
const PING_AFTER: Duration = Duration::from_secs(30);
/// … and the connection is closed without an answer in this time.
const PING_ANSWER: Duration = Duration::from_secs(15);

/// The body that is sent.
pub(super) enum RequestBody {
    Whole(Full<Bytes>),
    /// The rest comes from the caller. Boxed because it is rare and large.
    Upload(Box<UploadBody>),
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self::Whole(Full::new(bytes))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = UploadError;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadError>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context).map_err(|never| match never {}),
            Self::Upload(body) => Pin::new(&mut **body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Upload(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Upload(body) => body.size_hint(),
        }
    }
}

/// Why a request got no answer.
pub(super) enum SendError {
    /// Nothing of it was sent, because the connection had ended before; or the provider reports that it did
    /// not process it.
    Unsent(Option<Box<Request<RequestBody>>>, hyper::Error),
    /// The connection ended without a byte of an answer.
    Silent(hyper::Error),
    Broken(hyper::Error),
}

/// A connection that can take a request.
pub(super) enum Connection {
    Http1(Box<Http1>),
    Http2(Slot),
}

impl Connection {
    pub(super) async fn open_http1(
        socket: Socket,
        forwarding: Option<Box<ForwardProxy>>,
    ) -> Result<Self, Failure> {
        let (sender, driver) = http1::handshake(socket).await.map_err(|error| Failure::broken(&error))?;
        Ok(Self::Http1(Box::new(Http1 { sender, driver, is_over: false, forwarding })))
    }

    /// Boxed: unboxed, this future falls into the allocator's 8 KiB class, which hyper's buffers share. They
    /// would inherit its touched pages: 3.6 KiB more resident memory per stream.
    pub(super) async fn open_http2(socket: Socket) -> Result<Self, Failure> {
        Box::pin(async move { Ok(Self::Http2(SharedConnection::open(socket).await?)) }).await
    }
}

pub(super) struct Http1 {
    sender: http1::SendRequest<RequestBody>,
    driver: http1::Connection<Socket, RequestBody>,
    is_over: bool,
    pub(super) forwarding: Option<Box<ForwardProxy>>,
}

impl Http1 {
    /// Reads and writes as far as possible.
    pub(super) fn drive(&mut self, context: &mut Context<'_>) {
        self.is_over = self.is_over || Pin::new(&mut self.driver).poll(context).is_ready();
    }

    /// True if it can take a request, as far as that can be known without sending one.
    pub(super) fn is_usable(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }

    /// Sends a request and waits for the head of the answer.
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Box<Self>), SendError> {
        let answered = {
            let mut answer = std::pin::pin!(self.sender.try_send_request(request));
            let (driver, is_over) = (&mut self.driver, &mut self.is_over);
            std::future::poll_fn(|context| {
                *is_over = *is_over || Pin::new(&mut *driver).poll(context).is_ready();
                answer.as_mut().poll(context)
            })
            .await
        };
        match answered {
            Ok(response) => Ok((response, self)),
            Err(error) => Err(self.judge(error)),
        }
    }

    fn judge(self, mut error: TrySendError<Request<RequestBody>>) -> SendError {
        if let Some(request) = error.take_message() {
            return SendError::Unsent(Some(Box::new(request)), error.into_error());
        }
        let error = error.into_error();
        // Remaining bytes are the beginning of an answer.
        let is_silent = self.driver.into_parts().read_buf.is_empty() && !error.is_parse() && !error.is_user();
        if is_silent { SendError::Silent(error) } else { SendError::Broken(error) }
    }
}

/// An HTTP/2 connection that requests share.
pub(super) struct SharedConnection {
    sender: http2::SendRequest<RequestBody>,
    /// How many requests use it.
    streams: AtomicUsize,
    /// The provider's limit; follows its settings.
    allowed: watch::Receiver<usize>,
    used: Mutex<Instant>,
}

impl SharedConnection {
    /// Begins HTTP/2 and waits for the provider's settings, which limit how many requests may share the connection.
    async fn open(socket: Socket) -> Result<Slot, Failure> {
        let starter = Starter::default();
        let mut builder = http2::Builder::new(starter.clone());
        builder
            .timer(TokioTimer::new())
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_ANSWER)
            .keep_alive_while_idle(true);
        let (sender, driver) = builder.handshake(socket).await.map_err(|error| Failure::broken(&error))?;
        let (announce, mut allowed) = watch::channel(0);
        #[expect(clippy::disallowed_methods, reason = "ends with the connection")]
        tokio::spawn(drive(driver, starter, announce));
        if allowed.wait_for(|allowed| *allowed > 0).await.is_err() {
            return Err(Failure::ended_early());
        }
        let shared = Self { sender, streams: AtomicUsize::new(1), allowed, used: Mutex::new(clock::now()) };
        Ok(Slot(Arc::new(shared)))
    }

    /// A place for one more request; none when the connection is full or ends.
    pub(super) fn join(self: &Arc<Self>) -> Option<Slot> {
        if self.is_closed() {
            return None;
        }
        let most = MOST_STREAMS.min(*self.allowed.borrow());
        let more = |streams: usize| (streams < most).then_some(streams + 1);
        self.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot(self.clone()))
    }

    /// It accepts no more requests: it broke, or the provider ends it (GOAWAY).
    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// True when it has been unused for this long.
    pub(super) fn is_idle_for(&self, time: Duration) -> bool {
        let used = *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        self.streams.load(Ordering::Acquire) == 0 && used.elapsed() >= time
    }
}

/// Drives a connection and announces the provider's limit of requests.
async fn drive(
    mut driver: http2::Connection<Socket, RequestBody, Starter>,
    starter: Starter,
    announce: watch::Sender<usize>,
) {
    let mut announced = 0;
    let ended = std::future::poll_fn(|context| {
        let polled = Pin::new(&mut driver).poll(context);
        let allowed = driver.current_max_send_streams();
        if std::mem::replace(&mut announced, allowed) != allowed {
            starter.has_settings.store(true, Ordering::Relaxed);
            announce.send_replace(allowed);
        }
        polled
    });
    let mut ended = std::pin::pin!(ended);
    let ended = loop {
        tokio::select! {
            ended = &mut ended => break ended,
            () = starter.came.notified() => {}
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP/2 connection to a provider ended with an error");
    }
}

/// Spawns the tasks of an HTTP/2 connection. hyper reads the socket in one of them and does not report the
/// provider's settings, so until they have arrived, each turn of that task lets [`drive`] check.
#[derive(Clone, Default)]
struct Starter {
    came: Arc<Notify>,
    has_settings: Arc<AtomicBool>,
}

impl<F> Executor<F> for Starter
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        if self.has_settings.load(Ordering::Relaxed) {
            #[expect(
                clippy::disallowed_methods,
                reason = "ends with the connection: hyper starts its own tasks here"
            )]
            tokio::spawn(future);
            return;
        }
        let (starter, mut future) = (self.clone(), Box::pin(future));
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with the connection: hyper starts its own tasks here"
        )]
        tokio::spawn(std::future::poll_fn(move |context| {
            let polled = future.as_mut().poll(context);
            if !starter.has_settings.load(Ordering::Relaxed) {
                starter.came.notify_one();
            }
            polled
        }));
    }
}

/// The place of one request on a shared connection.
pub(super) struct Slot(Arc<SharedConnection>);

impl Slot {
    pub(super) fn shared(&self) -> &Arc<SharedConnection> {
        &self.0
    }

    /// Sends a request and waits for the head of the answer. The place is taken until the slot is dropped.
    pub(super) async fn send(
        self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Self), SendError> {
        let mut sender = self.0.sender.clone();
        if let Err(error) = sender.ready().await {
            return Err(SendError::Unsent(Some(Box::new(request)), error));
        }
        match sender.try_send_request(request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => Err(match error.take_message() {
                Some(request) => SendError::Unsent(Some(Box::new(request)), error.into_error()),
                None => judge_http2(error.into_error()),
            }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        *self.0.used.lock().unwrap_or_else(PoisonError::into_inner) = clock::now();
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The provider's report about a request without an answer (RFC 9113, 8.7): a refused stream was not
/// processed, nor one after the last stream of a GOAWAY.
fn judge_http2(error: hyper::Error) -> SendError {
    let Some(reason) = error.source().and_then(|source| source.downcast_ref::<h2::Error>()) else {
        return SendError::Broken(error);
    };
    let is_refused = reason.is_reset() && reason.reason() == Some(h2::Reason::REFUSED_STREAM);
    let is_after_the_last = reason.is_go_away() && reason.reason() == Some(h2::Reason::NO_ERROR);
    if reason.is_remote() && (is_refused || is_after_the_last) {
        return SendError::Unsent(None, error);
    }
    if reason.is_io() { SendError::Silent(error) } else { SendError::Broken(error) }
}
