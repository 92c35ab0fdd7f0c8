//! The task that moves records from the spool into the database.
//!
//! Policy. It sleeps without a timer while nothing is appended. After the first record it waits a little, so that
//! many share one statement. While the database is away it tries again, ever less often, and the records stay in
//! the spool. When it is told to stop it moves what there is, trying once.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::line::record_of;
use crate::spool::Segment;
use crate::{SpoolReader, Store, StoreError};

/// How long records are gathered after the first.
const GATHER: Duration = Duration::from_millis(200);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What the writer tells its owner, who logs and counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriterEvent {
    /// The database has these records.
    Flushed {
        /// How many; those of an interrupted earlier attempt count again.
        records: u64,
        /// The size of their lines.
        bytes: u64,
    },
    /// The database, or the folder of the spool, is away; the records stay in the spool.
    DatabaseAway {
        /// What it said, without secrets.
        error: String,
    },
    /// The last line of a segment was not finished when the process died.
    TornLine,
    /// A line was no record; it was moved to `rejected.jsonl` in the spool's folder.
    Rejected,
}

/// The task that moves records from the spool into the database.
pub struct Writer {
    store: Store,
    reader: SpoolReader,
    on_event: Box<dyn Fn(WriterEvent) + Send + Sync>,
}

/// The owner asked the writer to stop.
struct Stopped;

impl Writer {
    /// A writer that is not running yet.
    pub fn new(
        store: Store,
        reader: SpoolReader,
        on_event: impl Fn(WriterEvent) + Send + Sync + 'static,
    ) -> Self {
        Self { store, reader, on_event: Box::new(on_event) }
    }

    /// Runs as [`run`](Self::run) does, on a thread of its own of lower priority: answering comes first. The returned
    /// future is ready when it is through; an error says that it died. A database in memory has one connection, which
    /// cannot change its runtime: there it is a task.
    pub fn start(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<oneshot::Receiver<()>> {
        let (sender, done) = oneshot::channel();
        if self.store.is_in_memory() {
            tokio::spawn(async move {
                self.run(stop).await;
                let _ = sender.send(());
            });
            return Ok(done);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("usage-writer".to_owned()).spawn(move || {
            lower_priority();
            runtime.block_on(async {
                let mut stop = std::pin::pin!(stop);
                if self.reopen_store(stop.as_mut()).await.is_ok() {
                    let store = self.store.clone();
                    self.run(stop).await;
                    store.close().await;
                }
            });
            let _ = sender.send(());
        })?;
        Ok(done)
    }

    /// Takes connections of its own: the thread that runs SQLite inherits its priority from the one that opens it.
    async fn reopen_store(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Stopped> {
        let mut delay = FIRST_RETRY;
        loop {
            match self.store.reopened().await {
                Ok(store) => {
                    self.store = store;
                    return Ok(());
                }
                Err(error) => self.away(&error.into()),
            }
            sleep(delay, stop.as_mut()).await?;
            delay = (delay * 2).min(LAST_RETRY);
        }
    }

    /// Runs until `stop` is ready, then moves what is left, and returns. Nothing must be appended after `stop`;
    /// what is, waits for the next start.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        while self.run_once(stop.as_mut()).await.is_ok() {}
        if let Err(error) = self.drain(&mut Position::default()).await {
            self.away(&error);
        }
    }

    /// Moves what there is, waits for a record, lets others gather.
    async fn run_once(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Stopped> {
        self.drain_with_retries(stop.as_mut()).await?;
        tokio::select! {
            biased;
            () = stop.as_mut() => return Err(Stopped),
            () = self.reader.appended() => {}
        }
        sleep(GATHER, stop).await
    }

    async fn drain_with_retries(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Stopped> {
        let mut position = Position::default();
        let mut delay = FIRST_RETRY;
        while let Err(error) = self.drain(&mut position).await {
            self.away(&error);
            sleep(delay, stop.as_mut()).await?;
            delay = (delay * 2).min(LAST_RETRY);
        }
        Ok(())
    }

    /// Moves every segment, the current one included. After an error `position` says where to go on.
    async fn drain(&mut self, position: &mut Position) -> Result<(), WriteError> {
        self.reader.seal()?;
        while let Some(segment) = self.reader.oldest() {
            if position.segment != Some(segment) {
                *position = Position { segment: Some(segment), offset: 0 };
            }
            self.move_segment(segment, position).await?;
        }
        Ok(())
    }

    async fn move_segment(&mut self, segment: Segment, position: &mut Position) -> Result<(), WriteError> {
        loop {
            // Read here and not on another thread: it comes from the page cache, in less time than a thread takes to wake.
            let chunk = self.reader.read(segment, position.offset)?;
            if !chunk.lines.is_empty() {
                self.insert(&chunk.lines).await?;
            }
            if chunk.torn {
                (self.on_event)(WriterEvent::TornLine);
            }
            if chunk.next_offset == position.offset {
                return Ok(self.reader.delete(segment)?);
            }
            position.offset = chunk.next_offset;
        }
    }

    async fn insert(&self, lines: &[u8]) -> Result<(), WriteError> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n").and_then(record_of) {
                Some(record) => records.push(record),
                None => damaged.push(line),
            }
        }
        self.store.insert_usage(&records).await?;
        for line in damaged {
            self.reader.reject(line)?;
            (self.on_event)(WriterEvent::Rejected);
        }
        (self.on_event)(WriterEvent::Flushed { records: records.len() as u64, bytes: lines.len() as u64 });
        Ok(())
    }

    fn away(&self, error: &WriteError) {
        (self.on_event)(WriterEvent::DatabaseAway { error: error.to_string() });
    }
}

/// How far the oldest segment has been moved.
#[derive(Default)]
struct Position {
    segment: Option<Segment>,
    offset: u64,
}

/// A share of the processor of about a tenth where requests want all of it, which is enough to keep up with them.
fn lower_priority() {
    #[cfg(target_os = "linux")]
    if rustix::process::nice(10).is_err() {
        // Nothing is wrong but the order of things.
    }
}

#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the usage spool failed: {0}")]
    Spool(#[from] io::Error),
}

async fn sleep(time: Duration, stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Stopped> {
    tokio::select! {
        biased;
        () = stop => Err(Stopped),
        () = tokio::time::sleep(time) => Ok(()),
    }
}
