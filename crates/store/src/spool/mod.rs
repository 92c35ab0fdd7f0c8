//! The local spool: records of finished requests, in files, until the database has them.
//!
//! Policy. A record is one line, appended with one `write(2)`, which records of requests that finish at the same time
//! may share; the kernel has it when [`Spool::append`] returns, or [`Commit`] is ready, so
//! that killing the process at any moment loses no record (a power failure may lose the last seconds). Lines go to
//! the *current* segment, the file with the highest number. The writer seals it by starting the next one, inserts
//! the sealed segment and deletes it. Segments found at start are sealed. A line without its end was being written
//! when the process died: its append never returned, so it is skipped and reported. The folder is locked: two
//! processes would delete each other's segments.

mod reader;

use std::cell::RefCell;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::Notify;

use crate::UsageRecord;
use crate::keys::random_bytes;

pub(crate) use reader::Segment;
pub use reader::SpoolReader;

const LOCK_FILE: &str = "lock";
const SEGMENT_SUFFIX: &str = ".jsonl";

/// How much the spool may hold.
#[derive(Clone, Copy, Debug)]
pub struct SpoolLimits {
    /// The size of all segments together, beyond which [`Spool::append`] fails.
    pub max_bytes: u64,
}

/// The end of the spool to which requests append. Clones share the spool.
#[derive(Clone)]
pub struct Spool {
    shared: Arc<Shared>,
}

/// Why a record was not kept.
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
}

struct Shared {
    folder: PathBuf,
    max_bytes: u64,
    /// The size of all segments.
    bytes: AtomicU64,
    /// Tells apart records of the same time and request id; starts at random, so that it does across restarts.
    nonce: AtomicI64,
    current: Mutex<Current>,
    pending: Mutex<Pending>,
    /// How many records that were pending have been written.
    written: AtomicU64,
    appended: Notify,
    /// Holds the lock of the folder until the last clone is gone.
    _lock: File,
}

/// The segment that is being written.
struct Current {
    number: u64,
    file: File,
    bytes: u64,
    /// Part of a line is at the end of the file and could not be removed: the next line must not continue it.
    torn: bool,
}

thread_local! {
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Spool {
    /// Opens the spool in `folder`, which is created if it is missing. The reader starts with the segments that an
    /// earlier process left.
    pub fn open(folder: &Path, limits: SpoolLimits) -> io::Result<(Self, SpoolReader)> {
        create_private_folder(folder).map_err(|error| named(error, folder))?;
        let lock = lock_folder(folder)?;
        let sealed = reader::leftover_segments(folder)?;
        let number = sealed.last().map_or(1, |segment| segment.number + 1);
        let current = Current::create(folder, number)?;
        let nonce = random_bytes().map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            folder: folder.to_owned(),
            max_bytes: limits.max_bytes,
            bytes: AtomicU64::new(sealed.iter().map(|segment| segment.bytes).sum()),
            nonce: AtomicI64::new(i64::from_le_bytes(nonce)),
            current: Mutex::new(current),
            pending: Mutex::default(),
            written: AtomicU64::new(0),
            appended: Notify::new(),
            _lock: lock,
        });
        Ok((Self { shared: Arc::clone(&shared) }, SpoolReader::new(shared, sealed)))
    }

    /// Appends a record. When this returns without an error, the record survives the death of the process.
    pub fn append(&self, record: &UsageRecord) -> Result<(), AppendError> {
        LINE.with_borrow_mut(|line| {
            let nonce = self.shared.nonce.fetch_add(1, Ordering::Relaxed);
            record.encode(nonce, line);
            self.shared.append_lines(line)
        })?;
        self.shared.appended.notify_one();
        Ok(())
    }

    /// Appends a record together with those of other requests that finish at the same time, with one write. The record
    /// survives the death of the process from the moment at which the returned future is ready.
    pub fn append_with_others(&self, record: &UsageRecord) -> Commit {
        LINE.with_borrow_mut(|line| {
            let nonce = self.shared.nonce.fetch_add(1, Ordering::Relaxed);
            record.encode(nonce, line);
            let mut pending = self.shared.pending();
            pending.lines.extend_from_slice(line);
            pending.taken += 1;
            Commit { shared: Arc::clone(&self.shared), number: pending.taken, has_waited: false }
        })
    }

    /// How many bytes wait for the database.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }
}

/// Lines of requests that finish at the same time.
#[derive(Default)]
struct Pending {
    lines: Vec<u8>,
    /// How many there were since the start.
    taken: u64,
}

/// Records that could not be kept.
#[derive(Debug, thiserror::Error)]
#[error("{records} usage records could not be kept: {error}")]
pub struct CommitError {
    /// How many.
    pub records: u64,
    /// Why.
    pub error: AppendError,
}

/// Ready when a record is written: see [`Spool::append_with_others`]. Dropped before, it writes at once. An error is told
/// to one of those whose records were to be written together.
#[must_use = "the record is written when this is ready or dropped"]
pub struct Commit {
    shared: Arc<Shared>,
    number: u64,
    has_waited: bool,
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
        // Nobody is left to tell, and the next write fails too.
        let _ = self.shared.commit(self.number);
    }
}

impl Shared {
    /// Writes what is pending unless the record of this number has been written.
    fn commit(&self, number: u64) -> Result<(), CommitError> {
        if self.written.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let mut pending = self.pending();
        let records = pending.taken - self.written.load(Ordering::Acquire);
        if records == 0 {
            return Ok(());
        }
        let result = self.append_lines(&mut pending.lines);
        pending.lines.clear();
        self.written.store(pending.taken, Ordering::Release);
        drop(pending);
        self.appended.notify_one();
        result.map_err(|error| CommitError { records, error })
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends whole lines.
    fn append_lines(&self, lines: &mut Vec<u8>) -> Result<(), AppendError> {
        let mut current = self.current();
        if current.torn {
            lines.insert(0, b'\n');
        }
        let length = lines.len() as u64;
        // Other than here the sum only shrinks, so that under the mutex the limit is exact.
        if self.bytes.load(Ordering::Relaxed).saturating_add(length) > self.max_bytes {
            return Err(AppendError::Full { max_bytes: self.max_bytes });
        }
        let before = current.bytes;
        let result = current.write_line(lines);
        self.bytes.fetch_add(current.bytes - before, Ordering::Relaxed);
        Ok(result?)
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Current {
    fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = segment_path(folder, number);
        let file = private_file().append(true).create_new(true).open(&path);
        Ok(Self { number, file: file.map_err(|error| named(error, &path))?, bytes: 0, torn: false })
    }

    /// One write of one line. A write that was cut short (a full disk) is undone.
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = loop {
            match self.file.write(line) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        let written = written?;
        if written < line.len() {
            if self.file.set_len(self.bytes).is_err() {
                self.bytes += written as u64;
                self.torn = true;
            }
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the disk took only a part of the line"));
        }
        self.bytes += written as u64;
        self.torn = false;
        Ok(())
    }
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}{SEGMENT_SUFFIX}"))
}

fn lock_folder(folder: &Path) -> io::Result<File> {
    let path = folder.join(LOCK_FILE);
    let file = private_file().write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| named(error, &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("another process uses the usage spool {}: give each its own folder", folder.display()),
        )),
        Err(TryLockError::Error(error)) => Err(named(error, &path)),
    }
}

/// The records say who asked for what: they are for the gateway's user only.
fn private_file() -> OpenOptions {
    let mut options = File::options();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// The system's message with the path that it is about.
fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
