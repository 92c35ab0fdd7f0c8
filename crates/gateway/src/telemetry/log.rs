//! The output of log lines. A line that cannot be written is dropped and counted: no answer fails or waits
//! because of the log.
//!
//! A line is written immediately where the system accepts it without waiting. Otherwise (a pipe whose reader
//! is slow or stalled) lines are buffered up to a limit, and a thread writes them as fast as they are
//! accepted.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use canon::scan::is_printable;
use tracing_subscriber::fmt::MakeWriter;

/// A ready pipe accepts this much without waiting (`PIPE_BUF` of Linux).
const PIECE_BYTES: usize = 4096;
/// The buffer for a slow reader.
const BACKLOG_BYTES: usize = 1 << 20;
const EXCERPT_BYTES: usize = 2048;
/// Longer lines are cut.
const LINE_BYTES: usize = 64 << 10;
/// How long the end of the process waits for a slow reader.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Lines that were dropped since the process began. Like standard error, the log belongs to the process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// How many lines could not be written.
pub fn lost_lines() -> u64 {
    LOST.load(Ordering::Relaxed)
}

/// An excerpt of another party's text for the log, such as a provider's error.
pub fn excerpt(text: &str) -> &str {
    &text[..text.floor_char_boundary(EXCERPT_BYTES)]
}

/// The target of log lines.
pub trait Output: Send + 'static {
    /// Whether a write of [`PIECE_BYTES`] would be accepted without waiting.
    fn is_ready(&self) -> bool;
    /// Writes some of the bytes; may wait.
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;
}

/// A writer of log lines that never fails.
pub struct LogWriter<O> {
    shared: Arc<LogQueue<O>>,
    /// The formatter colours lines, so its escape sequences have to pass.
    ansi: bool,
}

struct LogQueue<O> {
    output: O,
    backlog: Mutex<Backlog>,
    emptied: Condvar,
}

/// Lines that wait for a slow reader.
#[derive(Default)]
struct Backlog {
    bytes: Vec<u8>,
    /// A thread is writing.
    draining: bool,
}

/// On drop, waits a moment until the buffered lines are written.
pub struct LastLines<O: Output + Sync>(Arc<LogQueue<O>>);

impl<O> Clone for LogWriter<O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), ansi: self.ansi }
    }
}

impl LogWriter<StandardError> {
    /// Writes to standard error.
    pub fn standard_error(ansi: bool) -> io::Result<Self> {
        Ok(Self::new(StandardError::open()?, ansi))
    }
}

impl<O: Output + Sync> LogWriter<O> {
    pub fn new(output: O, ansi: bool) -> Self {
        let shared = LogQueue { output, backlog: Mutex::default(), emptied: Condvar::new() };
        Self { shared: Arc::new(shared), ansi }
    }

    /// Writes a whole line.
    pub fn put(&self, line: &[u8]) {
        LogQueue::put(&self.shared, &one_line(line, self.ansi));
    }

    /// A guard that the process keeps until its end.
    pub fn last_lines(&self) -> LastLines<O> {
        LastLines(Arc::clone(&self.shared))
    }
}

impl<'a, O: Output + Sync> MakeWriter<'a> for LogWriter<O> {
    type Writer = LineWriter<'a, O>;

    fn make_writer(&'a self) -> Self::Writer {
        LineWriter(self)
    }
}

/// Takes whole lines.
pub struct LineWriter<'a, O>(&'a LogWriter<O>);

impl<O: Output + Sync> Write for LineWriter<'_, O> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<O: Output + Sync> LogQueue<O> {
    fn put(shared: &Arc<Self>, line: &[u8]) {
        let mut backlog = shared.backlog();
        let written = if backlog.bytes.is_empty() && !backlog.draining {
            // Under the mutex, so that lines of several threads are not interleaved.
            shared.write_while_ready(line)
        } else {
            Ok(0)
        };
        let rest = match written {
            Ok(written) => &line[written..],
            Err(_) => return lose(),
        };
        if rest.is_empty() {
            return;
        }
        if backlog.bytes.len() + rest.len() > BACKLOG_BYTES {
            return lose();
        }
        backlog.bytes.extend_from_slice(rest);
        if !backlog.draining {
            backlog.draining = true;
            drop(backlog);
            let drained = Arc::clone(shared);
            let thread = std::thread::Builder::new().name("log".to_owned());
            #[expect(clippy::disallowed_methods, reason = "ends with the backlog")]
            if thread.spawn(move || drained.drain()).is_err() {
                // The next line tries again.
                shared.backlog().draining = false;
            }
        }
    }

    /// How much was written without waiting.
    fn write_while_ready(&self, line: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < line.len() && self.output.is_ready() {
            let end = line.len().min(written + PIECE_BYTES);
            match self.output.write(&line[written..end]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Another process made it non-blocking: it is full, not broken.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(written)
    }

    fn drain(&self) {
        loop {
            let mut backlog = self.backlog();
            if backlog.bytes.is_empty() {
                backlog.draining = false;
                drop(backlog);
                self.emptied.notify_all();
                return;
            }
            let bytes = std::mem::take(&mut backlog.bytes);
            drop(backlog);
            self.write_waiting(&bytes);
        }
    }

    fn write_waiting(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.output.write(&bytes[..bytes.len().min(PIECE_BYTES)]) {
                Ok(length @ 1..) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                Ok(_) | Err(_) => {
                    let lines = memchr::memchr_iter(b'\n', bytes).count();
                    LOST.fetch_add(lines as u64, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Output + Sync> Drop for LastLines<O> {
    fn drop(&mut self) {
        let backlog = self.0.backlog();
        let waited = self.0.emptied.wait_timeout_while(backlog, LAST_WAIT, |backlog| backlog.draining);
        drop(waited);
    }
}

fn lose() {
    LOST.fetch_add(1, Ordering::Relaxed);
}

/// One line: texts of callers and providers must not begin another. Control characters and characters that
/// some viewers treat as line ends are escaped; an overlong line is cut.
fn one_line(line: &[u8], ansi: bool) -> Cow<'_, [u8]> {
    let text = line.strip_suffix(b"\n").unwrap_or(line);
    let is_coloured = || ansi && text.split(|byte| *byte == 0x1b).all(is_printable);
    if text.len() < line.len() && text.len() < LINE_BYTES && (is_printable(text) || is_coloured()) {
        return Cow::Borrowed(line);
    }
    let text = String::from_utf8_lossy(text);
    let kept = &text[..text.floor_char_boundary(LINE_BYTES)];
    let mut out = String::with_capacity(kept.len() + 16);
    for character in kept.chars() {
        let breaks_lines = matches!(character, '\u{2028}' | '\u{2029}');
        if (character.is_control() || breaks_lines) && !(ansi && character == '\u{1b}') {
            out.extend(character.escape_default())
        } else {
            out.push(character)
        }
    }
    if kept.len() < text.len() {
        out.push('…');
    }
    out.push('\n');
    Cow::Owned(out.into_bytes())
}

/// Standard error, without the lock of `std::io::stderr`, which a waiting write would hold.
pub struct StandardError(File);

impl StandardError {
    #[cfg(unix)]
    fn open() -> io::Result<Self> {
        use std::os::fd::AsFd;

        Ok(Self(File::from(io::stderr().as_fd().try_clone_to_owned()?)))
    }

    #[cfg(windows)]
    fn open() -> io::Result<Self> {
        use std::os::windows::io::AsHandle;

        Ok(Self(File::from(io::stderr().as_handle().try_clone_to_owned()?)))
    }
}

impl Output for StandardError {
    #[cfg(unix)]
    fn is_ready(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};

        let mut polled = [PollFd::new(&self.0, PollFlags::OUT)];
        // The write reports errors.
        poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }

    #[cfg(not(unix))]
    fn is_ready(&self) -> bool {
        true
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.0).write(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that accepts what the test permits.
    struct Scripted {
        ready: bool,
        room: Mutex<mpsc::Receiver<io::Result<usize>>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Output for Scripted {
        fn is_ready(&self) -> bool {
            self.ready
        }

        fn write(&self, bytes: &[u8]) -> io::Result<usize> {
            let room = self.room.lock().unwrap().recv().unwrap_or(Ok(usize::MAX))?.min(bytes.len());
            self.written.lock().unwrap().extend_from_slice(&bytes[..room]);
            Ok(room)
        }
    }

    struct LogFixture {
        log: LogWriter<Scripted>,
        room: mpsc::Sender<io::Result<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl LogFixture {
        fn new(ready: bool) -> Self {
            let (room, receiver) = mpsc::channel();
            let written = Arc::<Mutex<Vec<u8>>>::default();
            let output = Scripted { ready, room: Mutex::new(receiver), written: written.clone() };
            Self { log: LogWriter::new(output, false), room, written }
        }

        fn write(&self, line: &str) {
            self.log.make_writer().write_all(line.as_bytes()).unwrap();
        }

        /// The whole output, once all lines are written.
        fn written(self) -> String {
            drop(self.room);
            drop(self.log.last_lines());
            String::from_utf8(self.written.lock().unwrap().clone()).unwrap()
        }
    }

    #[test]
    fn lines_that_cannot_be_written_are_dropped_and_later_ones_follow() {
        let rig = LogFixture::new(true);
        let before = lost_lines();
        rig.room.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        rig.room.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        rig.room.send(Ok(0)).unwrap();
        for _ in 0..3 {
            rig.write("lost\n");
        }
        assert!(lost_lines() >= before + 3);
        rig.room.send(Ok(2)).unwrap();
        rig.room.send(Err(io::ErrorKind::Interrupted.into())).unwrap();
        rig.room.send(Ok(100)).unwrap();
        rig.write("written\n");
        assert_eq!(rig.written(), "written\n");
    }

    #[test]
    fn a_stalled_reader_delays_nothing() {
        let rig = LogFixture::new(false);
        let before = lost_lines();
        let line = format!("{}\n", "x".repeat(1000));
        // The output accepts nothing: this would hang if it waited.
        let written = BACKLOG_BYTES * 3 / line.len();
        (0..written).for_each(|_| rig.write(&line));
        assert!(lost_lines() > before);
        // The reader continues: it gets the buffered lines, each of them whole.
        let text = rig.written();
        assert!(text.lines().all(|line| line.len() == 1000));
        assert!((BACKLOG_BYTES - line.len()..=2 * BACKLOG_BYTES).contains(&text.len()), "{}", text.len());
    }

    #[test]
    fn one_event_is_one_line() {
        let cases = [
            ("plain é\n", "plain é\n"),
            (
                "a\nWARN forged\r\x1b[2J\u{85}\u{2028}\x07\n",
                "a\\nWARN forged\\r\\u{1b}[2J\\u{85}\\u{2028}\\u{7}\n",
            ),
            ("no end", "no end\n"),
        ];
        for (event, line) in cases {
            let rig = LogFixture::new(true);
            rig.room.send(Ok(usize::MAX)).unwrap();
            rig.write(event);
            assert_eq!(rig.written(), line);
        }
        let cut = one_line("é".repeat(LINE_BYTES).as_bytes(), false).into_owned();
        assert!(cut.len() < LINE_BYTES + 8 && cut.ends_with("é…\n".as_bytes()));
        let coloured = "\x1b[33m WARN\x1b[0m x\n";
        assert_eq!(one_line(coloured.as_bytes(), true), coloured.as_bytes());
    }
}
