//! The task that moves records from the spool into the database.
//!
//! Policy. It sleeps without a timer while nothing is appended. After the first record it waits a little, so that
//! many share one statement. While the database is away it tries again, ever less often, and the records stay in
//! the spool. A record that the database refuses while it takes others is set aside: it holds up nothing. A file that
//! cannot be read holds up no other. When it is asked to stop, it moves the remaining records, with a few tries.

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::line::record_of;
use crate::{RejectedSums, SpoolReader, Store, StoreError};

/// How long records are gathered after the first.
const GATHER: Duration = Duration::from_millis(500);
const FIRST_RETRY: Duration = Duration::from_millis(250);
const LAST_RETRY: Duration = Duration::from_secs(10);
/// How often it is tried at the end: the first try may only find out that a connection is dead.
const LAST_TRIES: u32 = 3;
/// How many records of an earlier release are added to the sums in one transaction, and how long others may write in between.
const OLD_AT_ONCE: u32 = 2_000;
const OLD_PAUSE: Duration = Duration::from_millis(20);

/// This many bytes of sums are folded together: hundreds of batches, so that thousands of requests share the
/// cost of changing the wide rows of hours and days; and few enough that a query reads them in a millisecond
/// or two.
const FOLD_BYTES: u64 = 256 * 1024;

/// Events for the writer's owner, who logs and counts them.
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
        /// Its message, without secrets.
        error: String,
    },
    /// The last line of a segment was not finished when the process died.
    TornLine,
    /// A line was no record; it was moved to `rejected.jsonl` in the spool's folder.
    Rejected,
    /// The database refuses records for good; they are counted as lost, and were moved to a file.
    Refused {
        records: u64,
        file: PathBuf,
        /// The database's message about the last one.
        error: String,
    },
    /// Sums of records are in no table of hours and days; the records themselves are in the database.
    SumsSetAside { what: String, error: String },
    /// A file of the spool was deleted or damaged from outside before its records had been moved; they are counted as
    /// lost.
    Vanished { records: u64 },
}

/// The task that moves records from the spool into the database.
pub struct Writer {
    store: Store,
    reader: SpoolReader,
    on_event: Box<dyn Fn(WriterEvent) + Send + Sync>,
    /// There may be records of an earlier release that are not in the sums yet.
    has_old_usage: bool,
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
        Self { store, reader, on_event: Box::new(on_event), has_old_usage: true }
    }

    /// Moves all records once. Returns whether the database has everything; if not, it is retried later.
    pub async fn catch_up(&mut self) -> bool {
        let result = self.drain().await;
        if let Err(error) = &result {
            self.away(error);
        }
        result.is_ok()
    }

    /// Runs as [`run`](Self::run) does, on a thread of its own of lower priority: requests take precedence.
    /// The returned future is ready when it has finished; an error means that it failed. A database in memory
    /// has one connection, which cannot change its runtime: there it is a task.
    pub fn start(
        mut self,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<oneshot::Receiver<()>> {
        let (sender, done) = oneshot::channel();
        if self.store.is_in_memory() {
            #[expect(clippy::disallowed_methods, reason = "ends with `stop`; the caller waits for `done`")]
            tokio::spawn(async move {
                self.run(stop).await;
                let _ = sender.send(());
            });
            return Ok(done);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        #[expect(clippy::disallowed_methods, reason = "ends with `stop`; the caller waits for `done`")]
        std::thread::Builder::new().name("usage-writer".to_owned()).spawn(move || {
            lower_priority();
            runtime.block_on(async {
                let mut stop = std::pin::pin!(stop);
                match self.reopen_store(stop.as_mut()).await {
                    Ok(()) => {
                        let store = self.store.clone();
                        self.run(stop).await;
                        store.close().await;
                    }
                    Err(Stopped) => self.reopen_at_last().await,
                }
            });
            let _ = sender.send(());
        })?;
        Ok(done)
    }

    /// Opens its own connections: the thread that runs SQLite inherits its priority from the one that opens
    /// it.
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

    /// The end came while the database was away: it may be back.
    async fn reopen_at_last(mut self) {
        match self.store.reopened().await {
            Ok(store) => {
                self.store = store.clone();
                self.finish().await;
                store.close().await;
            }
            Err(error) => self.away(&error.into()),
        }
    }

    /// Runs until `stop` is ready, then moves the remaining records, and returns. Nothing must be appended
    /// after `stop`; such records wait for the next start.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        while self.run_once(stop.as_mut()).await.is_ok() {}
        self.finish().await;
    }

    /// Moves the remaining records.
    async fn finish(&mut self) {
        for _ in 0..LAST_TRIES {
            let Err(error) = self.drain().await else { return };
            self.away(&error);
            tokio::time::sleep(FIRST_RETRY).await;
        }
    }

    /// Moves what there is, waits for a record, lets others gather.
    async fn run_once(&mut self, mut stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Stopped> {
        self.drain_with_retries(stop.as_mut()).await?;
        // Sums that cannot be folded now are folded later, and are part of all queries meanwhile.
        if let Err(error) = self.store.fold_usage(FOLD_BYTES).await {
            self.away(&error.into());
        }
        self.report_set_aside();
        if self.has_old_usage {
            return self.index_old_usage(stop).await;
        }
        tokio::select! {
            biased;
            () = stop.as_mut() => return Err(Stopped),
            () = self.reader.appended() => {}
        }
        sleep(GATHER, stop).await
    }

    /// Adds some records of an earlier release to the sums, between the new ones.
    async fn index_old_usage(&mut self, stop: Pin<&mut impl Future<Output = ()>>) -> Result<(), Stopped> {
        match self.store.index_old_usage(OLD_AT_ONCE).await {
            Ok(has_more) => {
                self.has_old_usage = has_more;
                if has_more { sleep(OLD_PAUSE, stop).await } else { Ok(()) }
            }
            Err(error) => {
                // The database would refuse the same data again.
                self.has_old_usage = !error.is_about_the_data();
                self.away(&error.into());
                sleep(FIRST_RETRY, stop).await
            }
        }
    }

    async fn drain_with_retries(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), Stopped> {
        let mut delay = FIRST_RETRY;
        while let Err(error) = self.drain().await {
            self.away(&error);
            sleep(delay, stop.as_mut()).await?;
            delay = (delay * 2).min(LAST_RETRY);
        }
        Ok(())
    }

    /// Moves every segment, the current one included.
    async fn drain(&mut self) -> Result<(), WriteError> {
        let all = self.reader.seal(false)?;
        let mut result = self.move_segments().await;
        // The current one was left while others waited. The database takes records again: now it is its turn.
        if !all && !matches!(result, Err(WriteError::Store(_))) {
            self.reader.seal(true)?;
            result = self.move_segments().await;
        }
        result
    }

    /// Moves the sealed segments. One that fails to be read is left behind, and said last.
    async fn move_segments(&mut self) -> Result<(), WriteError> {
        let (mut index, mut unread) = (0, Ok(()));
        while index < self.reader.len() {
            match self.move_segment(index).await {
                Ok(()) => {}
                Err(WriteError::Spool(error)) => {
                    unread = Err(WriteError::Spool(error));
                    index += 1;
                }
                Err(error) => return Err(error),
            }
        }
        unread
    }

    async fn move_segment(&mut self, index: usize) -> Result<(), WriteError> {
        loop {
            // Read here and not on another thread: it comes from the page cache, in less time than a thread takes to wake.
            let chunk = self.reader.read(index)?;
            let moved = if chunk.lines.is_empty() { 0 } else { self.insert(&chunk.lines).await? };
            if chunk.torn {
                (self.on_event)(WriterEvent::TornLine);
            }
            let Some(segment) = self.reader.segment(index) else { return Ok(()) };
            segment.moved += moved;
            if chunk.next_offset == segment.offset {
                let missing = self.reader.finish(index)?;
                if missing > 0 {
                    (self.on_event)(WriterEvent::Vanished { records: missing });
                }
                return Ok(());
            }
            segment.offset = chunk.next_offset;
        }
    }

    /// Returns how many of the lines were records; the database has them, or they are set aside.
    async fn insert(&self, lines: &[u8]) -> Result<u64, WriteError> {
        let (mut records, mut damaged) = (Vec::new(), Vec::new());
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            match line.strip_suffix(b"\n").and_then(record_of) {
                Some(record) => records.push(Line { line, record }),
                None => damaged.push(line),
            }
        }
        let refused = self.insert_records(&records).await?;
        if !damaged.is_empty() {
            self.reader.set_aside(&damaged.concat())?;
            damaged.iter().for_each(|_| (self.on_event)(WriterEvent::Rejected));
        }
        if let Some(error) = &refused.error {
            let file = self.reader.set_aside(&refused.lines)?;
            self.reader.count_refused(refused.records);
            let (records, error) = (refused.records, error.to_string());
            (self.on_event)(WriterEvent::Refused { records, file, error });
        }
        let all = records.len() as u64;
        let flushed = all - refused.records;
        (self.on_event)(WriterEvent::Flushed { records: flushed, bytes: lines.len() as u64 });
        Ok(all)
    }

    /// Inserts records together. When the database refuses something, it gets halves of them, down to the record that it
    /// refuses.
    async fn insert_records(&self, records: &[Line<'_>]) -> Result<RefusedRecords, StoreError> {
        let mut refused = RefusedRecords::default();
        let mut parts = vec![records];
        while let Some(part) = parts.pop() {
            let texts: Vec<&str> = part.iter().map(|line| line.record).collect();
            match self.store.insert_usage(&texts).await {
                Ok(_) => {}
                Err(error) if !error.is_about_the_data() => return Err(error),
                Err(error) => match part {
                    [] => {}
                    [line] => {
                        // A database that takes no record at all is at fault itself.
                        self.store.try_insert().await?;
                        refused.lines.extend_from_slice(line.line);
                        refused.records += 1;
                        refused.error = Some(error);
                    }
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(refused)
    }

    fn report_set_aside(&self) {
        for RejectedSums { what, error } in self.store.take_set_aside() {
            self.reader.count_set_aside();
            (self.on_event)(WriterEvent::SumsSetAside { what, error });
        }
    }

    fn away(&self, error: &WriteError) {
        (self.on_event)(WriterEvent::DatabaseAway { error: error.to_string() });
    }
}

/// A line of the spool, and the record in it.
struct Line<'a> {
    line: &'a [u8],
    record: &'a str,
}

#[derive(Default)]
struct RefusedRecords {
    lines: Vec<u8>,
    records: u64,
    /// Its message about the last one.
    error: Option<StoreError>,
}

/// Lowers the priority to about a tenth of a processor under full load, which is enough to keep up with the
/// requests.
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
