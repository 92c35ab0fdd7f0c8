//! The end of the spool from which the writer task takes sealed segments.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Current, SEGMENT_SUFFIX, Shared, named, private_file, segment_path};

/// How much of a segment is in memory at a time: some hundred records, enough that the cost of a statement vanishes.
const CHUNK_BYTES: usize = 512 * 1024;
/// Lines that no database takes are moved here, for a person to look at.
const REJECTED_FILE: &str = "rejected.jsonl";

/// The end of the spool from which the [`Writer`](crate::Writer) reads; there is one.
pub struct SpoolReader {
    shared: Arc<Shared>,
    sealed: VecDeque<Segment>,
}

/// A segment to which nothing is appended any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
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

impl SpoolReader {
    pub(super) fn new(shared: Arc<Shared>, sealed: Vec<Segment>) -> Self {
        Self { shared, sealed: sealed.into() }
    }

    /// Returns after the next append, or at once when there was one since the last call.
    pub(crate) async fn appended(&self) {
        self.shared.appended.notified().await;
    }

    /// Seals the current segment, if it holds anything.
    pub(crate) fn seal(&mut self) -> io::Result<()> {
        let (number, bytes) = {
            let current = self.shared.current();
            (current.number, current.bytes)
        };
        if bytes == 0 {
            return Ok(());
        }
        // The file is made outside the mutex: requests wait for the exchange of two values only.
        let mut next = Current::create(&self.shared.folder, number + 1)?;
        std::mem::swap(&mut *self.shared.current(), &mut next);
        self.sealed.push_back(Segment { number: next.number, bytes: next.bytes });
        Ok(())
    }

    /// The oldest sealed segment.
    pub(crate) fn oldest(&self) -> Option<Segment> {
        self.sealed.front().copied()
    }

    /// Reads whole lines of a segment.
    pub(crate) fn read(&self, segment: Segment, offset: u64) -> io::Result<Chunk> {
        let path = segment_path(&self.shared.folder, segment.number);
        read_chunk(&path, offset, CHUNK_BYTES).map_err(|error| named(error, &path))
    }

    /// Deletes the oldest sealed segment: the database has it.
    pub(crate) fn delete(&mut self, segment: Segment) -> io::Result<()> {
        let path = segment_path(&self.shared.folder, segment.number);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(error, &path)),
            _ => {}
        }
        self.sealed.retain(|sealed| *sealed != segment);
        self.shared.bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a line that no database takes.
    pub(crate) fn reject(&self, line: &[u8]) -> io::Result<()> {
        use std::io::Write;

        let path = self.shared.folder.join(REJECTED_FILE);
        let mut file =
            private_file().append(true).create(true).open(&path).map_err(|error| named(error, &path))?;
        file.write_all(line)
    }
}

/// The segments in a folder, oldest first.
pub(super) fn leftover_segments(folder: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| named(error, folder))? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(SEGMENT_SUFFIX)?.parse().ok());
        if let Some(number) = number {
            segments.push(Segment { number, bytes: entry.metadata()?.len() });
        }
    }
    segments.sort_unstable_by_key(|segment| segment.number);
    Ok(segments)
}

fn read_chunk(path: &Path, offset: u64, most_bytes: usize) -> io::Result<Chunk> {
    use std::io::Seek;

    let mut file = File::open(path)?;
    file.seek(io::SeekFrom::Start(offset))?;
    let mut lines = Vec::new();
    let read = file.take(most_bytes as u64).read_to_end(&mut lines)?;
    let whole = memchr::memrchr(b'\n', &lines).map_or(0, |at| at + 1);
    let at_end = read < most_bytes;
    // A chunk without any line end can only be a damaged file: skip it rather than read it for ever.
    let torn = whole < read && (at_end || whole == 0);
    lines.truncate(whole);
    Ok(Chunk { lines, next_offset: offset + if torn { read } else { whole } as u64, torn })
}
