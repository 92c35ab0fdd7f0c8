//! A WebSocket between a caller and a provider after both have agreed on it: bytes in both directions, read
//! for the cost of turns.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;
use wire::native::Realtime;

use super::permit::HeldPermit;
use crate::clock;
use crate::lifecycle::{Lifecycle, Phase};
use crate::metering::Record;

/// The buffer of each direction.
const ROOM: usize = 16 << 10;
/// How long one side may take to end after the other has.
const ENDING: Duration = Duration::from_secs(5);
/// "Going away" (RFC 6455, 7.4.1), in a server's form.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// The status that ended HTTP.
const SWITCHED: u16 = 101;

pub struct Tunnel {
    /// The caller's connection, once the answer that ends HTTP has been sent.
    pub caller: OnUpgrade,
    pub provider: OnUpgrade,
    /// The data that are settled at the end.
    pub session: Session,
    /// Ends it when the gateway stops.
    pub lifecycle: Arc<Lifecycle>,
    /// Longest silence.
    pub idle: Duration,
    pub end: Instant,
    /// Keeps the place of the caller's connection.
    pub place: Box<dyn Any + Send + Sync>,
}

/// The data that are settled at the end, in every case.
pub struct Session {
    pub record: Record,
    pub permit: HeldPermit,
    /// Reads the provider's messages.
    pub turns: Mutex<Realtime>,
}

enum TunnelOutcome {
    /// One of the two closed it.
    Closed,
    /// The provider's connection broke.
    Broke(std::io::Error),
    ByGateway,
}

impl Tunnel {
    /// Serves it in a separate task.
    pub fn start(self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "ends with either connection, or with the grace period"
        )]
        tokio::spawn(self.run());
    }

    async fn run(self) {
        let Self { caller, provider, mut session, lifecycle, idle, end, place: _place } = self;
        let both = async { tokio::try_join!(caller, provider) };
        // A caller who hangs up before the answer is sent drops the record, which then says so.
        let Ok(Ok((caller, provider))) = tokio::time::timeout_at(end, both).await else { return };
        let ended =
            between(caller, provider, &session, EndConditions { lifecycle: &lifecycle, idle, end }).await;
        session.end(ended);
    }
}

impl Session {
    fn turns(&self) -> MutexGuard<'_, Realtime> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&mut self, ended: TunnelOutcome) {
        let progress = self.turns().progress().clone();
        let has_turns = progress.usage.is_some();
        self.record.progress(&progress);
        match ended {
            TunnelOutcome::Broke(error) if !has_turns => {
                let message = format!("The provider's connection broke: {error}.");
                let error = Error::upstream(ErrorKind::Upstream, Retry::No, message);
                self.record.broke(&error);
                self.permit.failed(&error);
            }
            // The turns so far are billed.
            _ => {
                self.permit.succeeded(None);
                self.record.finish(SWITCHED);
            }
        }
    }
}

/// A dropped task ends like one whose caller hung up.
impl Drop for Session {
    fn drop(&mut self) {
        let progress = self.turns().progress().clone();
        self.record.progress(&progress);
    }
}

struct EndConditions<'a> {
    lifecycle: &'a Lifecycle,
    idle: Duration,
    end: Instant,
}

/// When data last passed.
struct LastTransfer {
    since: Instant,
    milliseconds: AtomicU64,
}

impl LastTransfer {
    fn now(&self) {
        self.milliseconds.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits for this long a silence.
    async fn silent_for(&self, idle: Duration) {
        loop {
            let last = self.since + Duration::from_millis(self.milliseconds.load(Ordering::Relaxed));
            let until = last + idle;
            if clock::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

async fn between(
    caller: Upgraded,
    provider: Upgraded,
    session: &Session,
    ends: EndConditions<'_>,
) -> TunnelOutcome {
    let (from_caller, mut to_caller) = tokio::io::split(TokioIo::new(caller));
    let (from_provider, to_provider) = tokio::io::split(TokioIo::new(provider));
    let moved = LastTransfer { since: clock::now(), milliseconds: AtomicU64::new(0) };
    let by_gateway = {
        let up = std::pin::pin!(copy(from_caller, to_provider, |_| moved.now()));
        let down = std::pin::pin!(copy(from_provider, &mut to_caller, |bytes| {
            moved.now();
            session.turns().push(bytes);
        }));
        let ended = async {
            tokio::select! {
                // The provider's last messages count, whatever happened to the caller.
                (up, down) = ended_by_caller(up, down) => down.or(up),
                () = moved.silent_for(ends.idle) => Some(TunnelOutcome::ByGateway),
                () = tokio::time::sleep_until(ends.end) => Some(TunnelOutcome::ByGateway),
                () = ends.lifecycle.reached(Phase::Finishing) => Some(TunnelOutcome::ByGateway),
            }
        };
        ended.await
    };
    let ended = by_gateway.unwrap_or(TunnelOutcome::Closed);
    if matches!(ended, TunnelOutcome::ByGateway) && session.turns().is_between_frames() {
        let closing = async {
            to_caller.write_all(&GOING_AWAY).await?;
            to_caller.shutdown().await
        };
        let _ = tokio::time::timeout(ENDING, closing).await;
    }
    ended
}

/// Waits until one direction has ended, and a moment for the other.
async fn ended_by_caller(
    up: impl Future<Output = Result<(), IoFailure>> + Unpin,
    down: impl Future<Output = Result<(), IoFailure>> + Unpin,
) -> (Option<TunnelOutcome>, Option<TunnelOutcome>) {
    let of = |result: Result<(), IoFailure>, reads_provider: bool| match result {
        Err(IoFailure { error, at_reading }) if at_reading == reads_provider => {
            Some(TunnelOutcome::Broke(error))
        }
        _ => None,
    };
    let (mut up, mut down) = (up, down);
    tokio::select! {
        result = &mut up => {
            let rest = tokio::time::timeout(ENDING, &mut down).await;
            (of(result, false), rest.ok().and_then(|result| of(result, true)))
        }
        result = &mut down => {
            let _ = tokio::time::timeout(ENDING, &mut up).await;
            (None, of(result, true))
        }
    }
}

/// Why a direction ended early.
struct IoFailure {
    error: std::io::Error,
    /// The read side broke, not the write side.
    at_reading: bool,
}

/// Copies until the end, and passes the end on.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    passed: impl Fn(&[u8]),
) -> Result<(), IoFailure> {
    let mut room = vec![0; ROOM];
    let written = |error| IoFailure { error, at_reading: false };
    loop {
        let length = from.read(&mut room).await.map_err(|error| IoFailure { error, at_reading: true })?;
        if length == 0 {
            return to.shutdown().await.map_err(written);
        }
        passed(&room[..length]);
        to.write_all(&room[..length]).await.map_err(written)?;
        to.flush().await.map_err(written)?;
    }
}
