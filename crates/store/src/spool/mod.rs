//! The local spool: records of finished requests, in files, until the database has them.
//!
//! Policy. A record is one line, appended with one `write(2)`, which records of requests that finish at the same time
//! may share; the kernel has it when [`Spool::append`] returns, or [`Commit`] is ready, so
//! that killing the process at any moment loses no record (a power failure may lose the last seconds). Lines go to
//! the *current* segment, the file with the highest number. The writer seals it by starting the next one, inserts
//! the sealed segment and deletes it. Segments found at start are sealed. A line without its end was being written
//! when the process died: its append never returned, so it is skipped and reported. The folder is locked: two
//! processes would delete each other's segments. Before each write the file is looked for where it should be: when it
//! has vanished, alone or with its folder or volume, the next segment is started in a folder that is there.

mod folder;
mod open_requests;
mod reader;
mod segment;

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;

use crate::UsageRecord;
use crate::keys::random_bytes;

use folder::Folder;
pub use open_requests::OpenRequest;
use open_requests::OpenRequests;
pub use reader::SpoolReader;
pub(crate) use segment::Segment;

/// How much the spool may hold.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// The size of all segments together, beyond which [`Spool::append`] fails.
    pub max_bytes: u64,
}

/// The end of the spool to which requests append. Clones share the spool.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<SpoolState>,
}

impl std::fmt::Debug for Spool {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Spool").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The database has been away for so long that the spool holds as much as it may.
    #[error("the usage spool is full ({max_bytes} bytes): the database has been away for too long")]
    Full {
        /// The limit.
        max_bytes: u64,
    },
    /// The file system refused the write.
    #[error("the usage spool cannot be written: {0}")]
    Io(#[from] io::Error),
    /// The task that moves records into the database has ended: see the log.
    #[error("nothing moves usage records into the database any more: restart the gateway")]
    Unread,
}

struct SpoolState {
    max_bytes: u64,
    /// The size of all segments.
    bytes: AtomicU64,
    /// Tells apart records of the same time and request id; starts at random, so that it does across restarts.
    nonce: AtomicI64,
    next_number: AtomicU64,
    folder: Mutex<Folder>,
    open_requests: OpenRequests,
    /// How many requests were under way when an earlier process died.
    interrupted: u64,
    current: Mutex<Current>,
    pending: Mutex<Pending>,
    /// How many records that were pending have been written.
    written: AtomicU64,
    appended: Notify,
    /// Records that are neither here nor in the database.
    lost: AtomicU64,
    /// Those among them that the database refused for good.
    refused: AtomicU64,
    /// Sums of records that the tables of hours and days do not take.
    set_aside: AtomicU64,
    /// The last append failed.
    failing: AtomicBool,
    /// There is a reader.
    read: AtomicBool,
}

/// The segment that is being written, and those that the reader has not taken yet.
struct Current {
    segment: Segment,
    retired: Vec<Segment>,
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Spool {
    /// Opens the spool in `folder`, which is created if it is missing. The reader starts with the segments that an
    /// earlier process left.
    pub fn open(folder: &Path, limits: SpoolLimits) -> io::Result<(Self, SpoolReader)> {
        let folder = Folder::open(folder)?;
        let (mut sealed, mut last) = (Vec::new(), 0);
        for (number, path) in segment::segments_in(&folder.path)? {
            last = number;
            sealed.push(Segment::found(path)?);
        }
        let mut segment = Segment::create(&folder.path, last + 1)?;
        let (open_requests, left) = OpenRequests::open(&folder.path)?;
        let interrupted = left.records;
        segment.append_left(left)?;
        open_requests.forget()?;
        let nonce = random_bytes().map_err(io::Error::other)?;
        let shared = Arc::new(SpoolState {
            max_bytes: limits.max_bytes,
            bytes: AtomicU64::new(sealed.iter().map(|segment| segment.bytes).sum::<u64>() + segment.bytes),
            nonce: AtomicI64::new(i64::from_le_bytes(nonce)),
            next_number: AtomicU64::new(last + 2),
            folder: Mutex::new(folder),
            open_requests,
            interrupted,
            current: Mutex::new(Current { segment, retired: Vec::new() }),
            pending: Mutex::default(),
            written: AtomicU64::new(0),
            appended: Notify::new(),
            lost: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            set_aside: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            read: AtomicBool::new(true),
        });
        Ok((Self { shared: Arc::clone(&shared) }, SpoolReader::new(shared, sealed)))
    }

    /// A request that is to be recorded even if this process dies before it ends.
    pub fn open_request(&self) -> OpenRequest {
        OpenRequest::new(Arc::clone(&self.shared), self.shared.next_nonce())
    }

    /// Appends a record. When this returns without an error, the record survives the death of the process.
    pub fn append(&self, record: &UsageRecord) -> Result<(), AppendError> {
        self.append_last(record, None)
    }

    /// Appends the final record of a request, which replaces its record for the case of a crash.
    pub fn append_last(&self, record: &UsageRecord, open: Option<OpenRequest>) -> Result<(), AppendError> {
        self.append_as(record, self.shared.nonce_of(open.as_ref()))
    }

    /// Appends a record of something that is recorded once, however often it is seen: of those with the same time and id the
    /// database takes the first.
    pub fn append_once(&self, record: &UsageRecord) -> Result<(), AppendError> {
        self.append_as(record, 0)
    }

    fn append_as(&self, record: &UsageRecord, nonce: i64) -> Result<(), AppendError> {
        LINE.with_borrow_mut(|line| {
            record.encode(nonce, line);
            self.shared.append_lines(line, 1)
        })
        .map_err(|lost| lost.error)?;
        self.shared.appended.notify_one();
        Ok(())
    }

    /// Appends a record together with those of other requests that finish at the same time, with one write. The record
    /// survives the death of the process from the moment at which the returned future is ready.
    pub fn append_with_others(&self, record: &UsageRecord, open: Option<OpenRequest>) -> Commit {
        LINE.with_borrow_mut(|line| {
            record.encode(self.shared.nonce_of(open.as_ref()), line);
            let mut pending = self.shared.pending();
            pending.lines.extend_from_slice(line);
            pending.taken += 1;
            Commit { shared: Arc::clone(&self.shared), number: pending.taken, has_waited: false, _open: open }
        })
    }

    /// How many requests were under way when an earlier process died. They are recorded with what they had reserved.
    pub fn interrupted(&self) -> u64 {
        self.shared.interrupted
    }

    /// How many bytes wait for the database.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// How many records are neither here nor in the database: they could not be written, their file vanished, or the
    /// database refuses them.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// How many sums of records the tables of hours and days did not take since the start.
    pub fn sums_set_aside(&self) -> u64 {
        self.shared.set_aside.load(Ordering::Relaxed)
    }

    /// How many of the lost ones the database refused for good. They are in a file of the spool's folder.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Whether the last record was written, and a writer moves records into the database.
    pub fn keeps_records(&self) -> bool {
        !self.shared.failing.load(Ordering::Relaxed) && self.shared.read.load(Ordering::Relaxed)
    }

    /// Fails when the next record could not be written. After a failure it tries to write, because without
    /// requests nothing else would notice that the disk has space again.
    pub fn check(&self) -> Result<(), AppendError> {
        self.shared.check()
    }
}

/// Lines of requests that finish at the same time.
#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// How many there were since the start.
    taken: u64,
}

/// Records that could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{records} usage records could not be kept: {error}")]
pub struct CommitError {
    pub records: u64,
    pub error: AppendError,
}

/// Ready when a record is written: see [`Spool::append_with_others`]. Dropped earlier, it writes immediately.
/// An error is reported to one of the requests whose records were written together.
#[must_use = "the record is written when this is ready or dropped"]
pub struct Commit {
    shared: Arc<SpoolState>,
    number: u64,
    has_waited: bool,
    /// Until the record is written, the request's record for the case of a crash counts.
    _open: Option<OpenRequest>,
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    /// Lets the tasks that are ready run first. The first that comes back writes for all.
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.has_waited {
            self.has_waited = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.shared.commit(self.number))
    }
}

impl Drop for Commit {
    fn drop(&mut self) {
        // There is no receiver; lost records have been counted.
        let _ = self.shared.commit(self.number);
    }
}

impl SpoolState {
    fn next_nonce(&self) -> i64 {
        self.nonce.fetch_add(1, Ordering::Relaxed)
    }

    fn nonce_of(&self, open: Option<&OpenRequest>) -> i64 {
        open.map_or_else(|| self.next_nonce(), |open| open.nonce)
    }

    /// Writes the pending records unless the record with this number has been written.
    fn commit(&self, number: u64) -> Result<(), CommitError> {
        if self.written.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let mut pending = self.pending();
        let records = pending.taken - self.written.load(Ordering::Acquire);
        if records == 0 {
            return Ok(());
        }
        let result = self.append_lines(&mut pending.lines, records);
        pending.lines.clear();
        self.written.store(pending.taken, Ordering::Release);
        drop(pending);
        self.appended.notify_one();
        result
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends whole lines with this many records.
    fn append_lines(&self, lines: &mut Vec<u8>, records: u64) -> Result<(), CommitError> {
        let result = self.try_append(lines, records);
        self.failing.store(result.is_err(), Ordering::Relaxed);
        if let Err(lost) = &result {
            self.count_lost(lost.records);
        }
        result
    }

    fn try_append(&self, lines: &mut Vec<u8>, records: u64) -> Result<(), CommitError> {
        let mut current = self.current();
        self.ensure_in_place(&mut current).map_err(|error| CommitError { records, error: error.into() })?;
        // Other than here the sum only shrinks, so that under the mutex the limit is exact.
        if self.bytes.load(Ordering::Relaxed).saturating_add(lines.len() as u64) > self.max_bytes {
            let error = AppendError::Full { max_bytes: self.max_bytes };
            return Err(CommitError { records, error });
        }
        let before = current.segment.bytes;
        let result = current.segment.append(lines, records);
        self.bytes.fetch_add(current.segment.bytes - before, Ordering::Relaxed);
        result.map_err(|lost| CommitError { records: lost.records, error: lost.error.into() })
    }

    /// A file whose name is gone is lost with the process, and a folder under a mounted volume is not the one
    /// that the next start reads: lines go to a file in the right place. Earlier lines are read through the
    /// old descriptor.
    fn ensure_in_place(&self, current: &mut Current) -> io::Result<()> {
        if !current.segment.is_in_place() {
            let (next, found) = self.begin_segment()?;
            current.retired.push(std::mem::replace(&mut current.segment, next));
            current.retired.extend(found);
        }
        Ok(())
    }

    /// Starts a segment in the existing folder. This also finds the segments of another folder in the same
    /// place: a mounted volume. Some may be known; the database recognises records that it has.
    fn begin_segment(&self) -> io::Result<(Segment, Vec<Segment>)> {
        let mut folder = self.folder();
        let mut found = Vec::new();
        if folder.restore()? {
            for (number, path) in segment::segments_in(&folder.path)? {
                self.next_number.fetch_max(number + 1, Ordering::Relaxed);
                found.push(Segment::found(path)?);
            }
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let mut segment = Segment::create(&folder.path, number)?;
        segment.append_left(self.open_requests.ensure_in_place(&folder.path)?)?;
        let bytes = found.iter().map(|segment| segment.bytes).sum::<u64>() + segment.bytes;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok((segment, found))
    }

    fn check(&self) -> Result<(), AppendError> {
        if !self.read.load(Ordering::Relaxed) {
            return Err(AppendError::Unread);
        }
        let mut current = self.current();
        self.ensure_in_place(&mut current)?;
        if self.bytes.load(Ordering::Relaxed) >= self.max_bytes {
            return Err(AppendError::Full { max_bytes: self.max_bytes });
        }
        if self.failing.load(Ordering::Relaxed) {
            let before = current.segment.bytes;
            let result = current.segment.probe();
            self.bytes.fetch_add(current.segment.bytes - before, Ordering::Relaxed);
            result?;
            self.failing.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    fn count_lost(&self, records: u64) {
        self.lost.fetch_add(records, Ordering::Relaxed);
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self) -> MutexGuard<'_, Folder> {
        self.folder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
