//! A file of the spool.
//!
//! It is read through the descriptor that wrote it: a file whose name has vanished (a clean-up job, an
//! unmounted volume) exists until it is closed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::folder::{is_at, named, private_file};
use super::open_requests::RecoveredSlots;

const SUFFIX: &str = ".jsonl";
/// A probe of this size shows whether the disk has space: more than the rest of the last page of a full one.
const PROBE_BYTES: usize = 64 << 10;
/// How much is read at a time to count the lines of a segment.
const COUNT_BYTES: usize = 256 << 10;

/// A segment, as long as the spool knows of it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(super) path: PathBuf,
    /// Open once it was written or read by this process.
    pub(super) file: Option<File>,
    /// Its size.
    pub(crate) bytes: u64,
    /// How many records are in it.
    pub(crate) records: u64,
    /// Where the next chunk starts.
    pub(crate) offset: u64,
    /// How many of its records have been moved.
    pub(crate) moved: u64,
    /// Part of a line is at the end of the file and could not be removed: the next line must not continue it.
    torn: bool,
}

/// Whole lines of a segment, and where the next chunk starts.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// Whole lines, each with its end.
    pub(crate) lines: Vec<u8>,
    /// Where the next chunk starts.
    pub(crate) next_offset: u64,
    /// The segment ends after this chunk, within a line.
    pub(crate) torn: bool,
}

/// Lines that could not be written.
#[derive(Debug)]
pub(super) struct LostLines {
    pub(super) records: u64,
    pub(super) error: io::Error,
}

impl Segment {
    /// A new, empty file.
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<Self> {
        let path = segment_path(folder, number);
        let file = private_file().read(true).append(true).create_new(true).open(&path);
        let file = file.map_err(|error| named(error, &path))?;
        Ok(Self { file: Some(file), ..Self::closed(path) })
    }

    /// One that an earlier process left.
    pub(super) fn found(path: PathBuf) -> io::Result<Self> {
        let bytes = fs::metadata(&path)?.len();
        // One that cannot be read now may be readable later.
        let records = count_lines(&path).unwrap_or(0);
        Ok(Self { bytes, records, ..Self::closed(path) })
    }

    fn closed(path: PathBuf) -> Self {
        Self { path, file: None, bytes: 0, records: 0, offset: 0, moved: 0, torn: false }
    }

    /// Whether its name leads to this file, and not to none or to another.
    pub(super) fn is_in_place(&self) -> bool {
        self.file.as_ref().is_some_and(|file| is_at(file, &self.path))
    }

    /// Appends whole lines with one write, `records` in number. A write that was cut short (a full disk) keeps the lines
    /// that are whole.
    pub(super) fn append(&mut self, lines: &mut Vec<u8>, records: u64) -> Result<(), LostLines> {
        if self.torn {
            lines.insert(0, b'\n');
        }
        let written = self.write(lines).map_err(|error| LostLines { records, error })?;
        if written == lines.len() {
            self.bytes += written as u64;
            self.records += records;
            self.torn = false;
            return Ok(());
        }
        let kept = memchr::memrchr(b'\n', &lines[..written]).map_or(0, |at| at + 1);
        let line_ends = memchr::memchr_iter(b'\n', &lines[..kept]).count() as u64;
        let whole = line_ends.saturating_sub(u64::from(self.torn));
        if self.set_length(self.bytes + kept as u64).is_ok() {
            self.bytes += kept as u64;
            self.torn &= kept == 0;
        } else {
            self.bytes += written as u64;
            self.torn = true;
        }
        self.records += whole;
        let error = io::Error::new(io::ErrorKind::StorageFull, "the disk took only a part of the line");
        Err(LostLines { records: records - whole, error })
    }

    /// Appends what requests under way left when their process died.
    pub(super) fn append_left(&mut self, mut left: RecoveredSlots) -> io::Result<()> {
        if left.records == 0 {
            return Ok(());
        }
        self.append(&mut left.lines, left.records).map_err(|lost| lost.error)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        use std::io::Write;

        let mut file = self.file()?;
        loop {
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Whether a record could be appended. Leaves nothing behind.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        let written = self.write(&vec![b' '; PROBE_BYTES])?;
        if self.set_length(self.bytes).is_err() {
            self.bytes += written as u64;
            self.torn = true;
        }
        if written == PROBE_BYTES { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.file()?.set_len(bytes)
    }

    fn file(&self) -> io::Result<&File> {
        self.file.as_ref().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Reads whole lines from where the last chunk ended.
    pub(super) fn read(&mut self, most_bytes: usize) -> io::Result<Chunk> {
        use std::io::Seek;

        if self.file.is_none() {
            self.file = Some(File::open(&self.path).map_err(|error| named(error, &self.path))?);
        }
        let mut file = self.file()?;
        file.seek(io::SeekFrom::Start(self.offset))?;
        let mut lines = Vec::new();
        let read =
            file.take(most_bytes as u64).read_to_end(&mut lines).map_err(|error| named(error, &self.path))?;
        let whole = memchr::memrchr(b'\n', &lines).map_or(0, |at| at + 1);
        let at_end = read < most_bytes;
        // A chunk without any line end can only be a damaged file: skip it rather than read it for ever.
        let torn = whole < read && (at_end || whole == 0);
        lines.truncate(whole);
        Ok(Chunk { lines, next_offset: self.offset + if torn { read } else { whole } as u64, torn })
    }

    /// Deletes the file, unless its name leads to another one.
    pub(super) fn remove(&self) -> io::Result<()> {
        if !self.is_in_place() {
            return Ok(());
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(named(error, &self.path)),
            _ => Ok(()),
        }
    }
}

/// The segments in a folder with their numbers, oldest first.
pub(super) fn segments_in(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(error, folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        segments.extend(number.map(|number| (number, entry.path())));
    }
    segments.sort_unstable();
    Ok(segments)
}

fn segment_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}{SUFFIX}"))
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; COUNT_BYTES];
    let mut lines = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(lines),
            length => lines += memchr::memchr_iter(b'\n', &buffer[..length]).count() as u64,
        }
    }
}
