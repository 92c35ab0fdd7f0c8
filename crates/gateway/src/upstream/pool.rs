//! Idle and shared connections.
//!
//! An HTTP/1 connection serves one request at a time and waits here in between. An HTTP/2 connection stays
//! here and takes as many requests as the provider and the gateway allow; further requests open another one.
//! Where a provider may support HTTP/2, one request opens a connection and the others wait for it: a burst
//! after an idle time opens one instead of a hundred.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::uri::Authority;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::watch;
use tokio::time::Instant;

use super::connection::{Connection, Http1, RequestBody, SendError, SharedConnection, Slot};
use super::failure::Failure;
use crate::clock;

/// Idle connections are closed after this; most providers close theirs after a minute or more.
const IDLE: Duration = Duration::from_secs(55);
/// Most idle HTTP/1 connections to one provider.
const MOST_IDLE: usize = 1024;

/// The origin of connections: with TLS or without, host and port.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) authority: Authority,
}

/// Compares the text: [`Authority`] compares case-insensitively, letter by letter.
impl PartialEq for Origin {
    fn eq(&self, other: &Self) -> bool {
        (self.tls, self.authority.as_str()) == (other.tls, other.authority.as_str())
    }
}

impl Eq for Origin {}

/// Connections of one client. Clones share them.
#[derive(Clone)]
pub(super) struct Pool {
    origins: Arc<Mutex<Origins>>,
    keeps: bool,
}

#[derive(Default)]
struct Origins {
    /// A list, because a client has few origins, mostly one: a search is cheaper than a hash.
    known: Vec<(Origin, OriginConnections)>,
    /// A task closes connections that were idle for too long; without open connections there is none.
    is_swept: bool,
}

#[derive(Default)]
struct OriginConnections {
    /// The last one is the most recently used.
    http1: Vec<(Box<Http1>, Instant)>,
    /// The first one is filled first.
    http2: Vec<Arc<SharedConnection>>,
    /// The last connection used HTTP/1: each request then needs its own, and none waits for another's.
    speaks_http1: bool,
    /// A request opens a connection that others may share.
    opening: Option<watch::Receiver<Option<OpeningResult>>>,
}

/// How the opening of a connection ended.
#[derive(Clone)]
enum OpeningResult {
    Opened,
    Failed(Failure),
}

/// Which request opens the next connection.
enum OpeningRole {
    /// There is one already.
    Ready(Connection),
    /// Each request for itself.
    Alone,
    /// This request, for all waiting ones.
    Lead(Lead),
    /// Another request.
    Wait(watch::Receiver<Option<OpeningResult>>),
}

impl Pool {
    /// Keeps connections for later requests, or not.
    pub(super) fn new(keeps: bool) -> Self {
        Self { origins: Arc::default(), keeps }
    }

    /// A used connection that waits for a request; none without one.
    pub(super) fn take(&self, origin: &Origin) -> Option<Connection> {
        loop {
            let mut origins = self.lock();
            let known = origins.get(origin)?;
            if let Some(slot) = known.join() {
                return Some(Connection::Http2(slot));
            }
            let (mut connection, used) = known.http1.pop()?;
            drop(origins);
            if used.elapsed() < IDLE && connection.is_usable() {
                return Some(Connection::Http1(connection));
            }
        }
    }

    /// A connection that `open` opens, for this request or also for others.
    pub(super) async fn open<F>(&self, origin: &Origin, open: impl Fn() -> F) -> Result<Connection, Failure>
    where
        F: Future<Output = Result<Connection, Failure>>,
    {
        loop {
            match self.turn(origin) {
                OpeningRole::Ready(connection) => return Ok(connection),
                OpeningRole::Alone => return open().await,
                OpeningRole::Lead(lead) => {
                    let opened = open().await;
                    lead.land(&opened);
                    return opened;
                }
                OpeningRole::Wait(mut landing) => {
                    let landed = landing.wait_for(Option::is_some).await.map(|landed| landed.clone());
                    if let Ok(Some(OpeningResult::Failed(failure))) = landed {
                        return Err(failure);
                    }
                }
            }
        }
    }

    fn turn(&self, origin: &Origin) -> OpeningRole {
        if !origin.tls || !self.keeps {
            return OpeningRole::Alone;
        }
        let mut origins = self.lock();
        let known = origins.get_or_add(origin);
        if let Some(slot) = known.join() {
            return OpeningRole::Ready(Connection::Http2(slot));
        }
        if known.speaks_http1 {
            return OpeningRole::Alone;
        }
        if let Some(landing) = &known.opening {
            return OpeningRole::Wait(landing.clone());
        }
        let (sender, landing) = watch::channel(None);
        known.opening = Some(landing);
        OpeningRole::Lead(Lead { pool: self.clone(), origin: origin.clone(), sender, has_landed: false })
    }

    pub(super) async fn send(
        &self,
        origin: &Origin,
        connection: Connection,
        request: http::Request<RequestBody>,
    ) -> Result<Response<PooledBody>, SendError> {
        let (response, lease) = match connection {
            Connection::Http1(connection) => {
                let (response, connection) = connection.send(request).await?;
                (response, Lease::Http1 { connection, origin: origin.clone(), pool: self.clone() })
            }
            Connection::Http2(slot) => {
                let (response, slot) = slot.send(request).await?;
                (response, Lease::Http2(slot))
            }
        };
        Ok(response.map(|body| {
            let mut body = PooledBody { body, lease: Some(lease) };
            if body.is_at_end() {
                body.give_back();
            }
            body
        }))
    }

    fn put(&self, origin: Origin, connection: Box<Http1>) {
        if !self.keeps {
            return;
        }
        let mut origins = self.lock();
        let known = origins.get_or_add(&origin);
        if known.http1.len() < MOST_IDLE {
            known.http1.push((connection, clock::now()));
        }
        self.sweep(&mut origins);
    }

    fn sweep(&self, origins: &mut Origins) {
        if !origins.is_swept {
            origins.is_swept = true;
            #[expect(clippy::disallowed_methods, reason = "ends with the pool, which it holds weakly")]
            tokio::spawn(sweep(Arc::downgrade(&self.origins)));
        }
    }

    #[cfg(test)]
    pub(super) fn open_connections(&self) -> usize {
        let origins = self.lock();
        origins.known.iter().flat_map(|(_, known)| &known.http2).filter(|shared| !shared.is_closed()).count()
    }

    fn lock(&self) -> MutexGuard<'_, Origins> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OriginConnections {
    /// A place on a shared connection.
    fn join(&mut self) -> Option<Slot> {
        if self.http2.is_empty() {
            return None;
        }
        self.http2.retain(|shared| !shared.is_closed());
        self.http2.iter().find_map(SharedConnection::join)
    }
}

/// The right to open a connection for all waiting requests. If its request is dropped first, the next one
/// tries.
struct Lead {
    pool: Pool,
    origin: Origin,
    sender: watch::Sender<Option<OpeningResult>>,
    has_landed: bool,
}

impl Lead {
    fn land(mut self, opened: &Result<Connection, Failure>) {
        self.has_landed = true;
        let pool = self.pool.clone();
        let mut origins = pool.lock();
        let known = origins.get_or_add(&self.origin);
        known.opening = None;
        let landed = match opened {
            Ok(Connection::Http1(_)) => {
                known.speaks_http1 = true;
                OpeningResult::Opened
            }
            Ok(Connection::Http2(slot)) => {
                known.http2.push(slot.shared().clone());
                pool.sweep(&mut origins);
                OpeningResult::Opened
            }
            Err(failure) => OpeningResult::Failed(failure.clone()),
        };
        self.sender.send_replace(Some(landed));
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.has_landed {
            return;
        }
        if let Some(known) = self.pool.lock().get(&self.origin) {
            known.opening = None;
        }
    }
}

/// The body of an answer. It drives its connection, and returns it at the end. Dropped earlier, it closes an
/// HTTP/1 connection and ends its stream of an HTTP/2 one.
pub(super) struct PooledBody {
    body: Incoming,
    lease: Option<Lease>,
}

enum Lease {
    Http1 { connection: Box<Http1>, origin: Origin, pool: Pool },
    Http2(#[expect(dead_code, reason = "the place is taken while it is here")] Slot),
}

impl PooledBody {
    /// The connection can be returned. An HTTP/2 stream returns its place when the body reports its end, or
    /// is dropped: a check after each piece would take the connection's lock.
    fn is_at_end(&self) -> bool {
        matches!(self.lease, Some(Lease::Http1 { .. })) && self.body.is_end_stream()
    }

    fn give_back(&mut self) {
        if let Some(Lease::Http1 { mut connection, origin, pool }) = self.lease.take()
            && connection.is_usable()
        {
            pool.put(origin, connection);
        }
    }
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        let mut polled = Pin::new(&mut this.body).poll_frame(context);
        if let (Poll::Pending, Some(Lease::Http1 { connection, .. })) = (&polled, &mut this.lease) {
            connection.drive(context);
            polled = Pin::new(&mut this.body).poll_frame(context);
        }
        // A body of known length ends with its last piece, a chunked one with its end marker.
        if matches!(polled, Poll::Ready(None)) || this.is_at_end() {
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

impl Origins {
    fn get(&mut self, origin: &Origin) -> Option<&mut OriginConnections> {
        self.known.iter_mut().find(|(other, _)| other == origin).map(|(_, known)| known)
    }

    fn get_or_add(&mut self, origin: &Origin) -> &mut OriginConnections {
        let at = self.known.iter().position(|(other, _)| other == origin);
        let at = at.unwrap_or_else(|| {
            self.known.push((origin.clone(), OriginConnections::default()));
            self.known.len() - 1
        });
        &mut self.known[at].1
    }

    /// Closes connections that were idle for too long.
    fn shrink(&mut self) {
        self.known.retain_mut(|(_, known)| {
            known.http1.retain(|(_, used)| used.elapsed() < IDLE);
            known.http2.retain(|shared| !shared.is_closed() && !shared.is_idle_for(IDLE));
            !known.http1.is_empty() || !known.http2.is_empty() || known.opening.is_some()
        });
    }
}

async fn sweep(origins: Weak<Mutex<Origins>>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(origins) = origins.upgrade() else { return };
        let mut origins = origins.lock().unwrap_or_else(PoisonError::into_inner);
        origins.shrink();
        if origins.known.is_empty() {
            origins.is_swept = false;
            return;
        }
    }
}

#[cfg(test)]
mod tests;
