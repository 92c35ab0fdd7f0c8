//! The end of the spool from which the writer task takes sealed segments.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::SpoolState;
use super::folder::{named, private_file};
use super::segment::{Chunk, Segment};

/// How much of a segment is in memory at a time: some hundred records, enough that the cost of a statement vanishes.
const CHUNK_BYTES: usize = 512 * 1024;
/// While the database is away, a segment grows to this size before the next is started.
const SEGMENT_BYTES: u64 = 8 << 20;
/// Lines that no database takes are moved here, for a person to look at.
const REJECTED_FILE: &str = "rejected.jsonl";

/// The end of the spool from which the [`Writer`](crate::Writer) reads; there is one.
pub struct SpoolReader {
    shared: Arc<SpoolState>,
    sealed: VecDeque<Segment>,
}

impl SpoolReader {
    pub(super) fn new(shared: Arc<SpoolState>, sealed: Vec<Segment>) -> Self {
        Self { shared, sealed: sealed.into() }
    }

    /// Returns after the next append, or at once when there was one since the last call.
    pub(crate) async fn appended(&self) {
        self.shared.appended.notified().await;
    }

    /// Takes the complete segments. The current one is sealed if it is not empty, and if no other waits, it
    /// is large, or `forced`: while the database is away, there are few segments. Returns true when nothing
    /// is left unsealed.
    pub(crate) fn seal(&mut self, forced: bool) -> io::Result<bool> {
        self.shared.open_requests.clear_stale();
        let (retired, bytes) = {
            let mut current = self.shared.current();
            (std::mem::take(&mut current.retired), current.segment.bytes)
        };
        self.sealed.extend(retired);
        if bytes == 0 {
            return Ok(true);
        }
        if !forced && !self.sealed.is_empty() && bytes < SEGMENT_BYTES {
            return Ok(false);
        }
        // The file is made outside the mutex: requests wait for the exchange of two values only.
        let (next, found) = self.shared.begin_segment()?;
        let mut current = self.shared.current();
        let full = std::mem::replace(&mut current.segment, next);
        let retired = std::mem::take(&mut current.retired);
        drop(current);
        self.sealed.extend(retired);
        self.sealed.push_back(full);
        self.sealed.extend(found);
        Ok(true)
    }

    /// How many sealed segments there are.
    pub(crate) fn len(&self) -> usize {
        self.sealed.len()
    }

    /// A sealed segment; the oldest is the first.
    pub(crate) fn segment(&mut self, index: usize) -> Option<&mut Segment> {
        self.sealed.get_mut(index)
    }

    /// Reads whole lines of a segment. One whose file has vanished has no more.
    pub(crate) fn read(&mut self, index: usize) -> io::Result<Chunk> {
        let Some(segment) = self.sealed.get_mut(index) else { return Ok(Chunk::default()) };
        match segment.read(CHUNK_BYTES) {
            Err(error) if error.kind() == io::ErrorKind::NotFound || !segment.path.exists() => {
                Ok(Chunk { next_offset: segment.offset, ..Chunk::default() })
            }
            result => result,
        }
    }

    /// Deletes a segment that has been read to its end. Returns how many of its records were missing, which
    /// are counted as lost.
    pub(crate) fn finish(&mut self, index: usize) -> io::Result<u64> {
        let Some(segment) = self.sealed.get(index) else { return Ok(0) };
        segment.remove()?;
        let missing = segment.records.saturating_sub(segment.moved);
        self.shared.bytes.fetch_sub(segment.bytes, Ordering::Relaxed);
        self.shared.count_lost(missing);
        self.sealed.remove(index);
        Ok(missing)
    }

    /// Keeps lines that no database takes, up to the limit of the spool. Returns where.
    pub(crate) fn set_aside(&self, lines: &[u8]) -> io::Result<PathBuf> {
        use std::io::Write;

        let path = self.shared.folder().path.join(REJECTED_FILE);
        let file = private_file().append(true).create(true).open(&path);
        let mut file = file.map_err(|error| named(error, &path))?;
        let length = fs::metadata(&path)?.len();
        if length + lines.len() as u64 > self.shared.max_bytes {
            return Ok(path);
        }
        let written = file.write_all(lines);
        if written.is_err() {
            // The lines are retried, so a partial write is removed to avoid duplicates.
            file.set_len(length)?;
        }
        written.map_err(|error| named(error, &path))?;
        Ok(path)
    }

    /// Counts records that the database refuses for good.
    pub(crate) fn count_set_aside(&self) {
        self.shared.set_aside.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_refused(&self, records: u64) {
        self.shared.refused.fetch_add(records, Ordering::Relaxed);
        self.shared.count_lost(records);
    }
}

impl Drop for SpoolReader {
    /// From now on nothing empties the spool.
    fn drop(&mut self) {
        self.shared.read.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use crate::UsageRecord;
    use crate::spool::{Spool, SpoolLimits};

    #[test]
    fn segments_stay_few_while_the_database_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let (spool, mut reader) = Spool::open(folder.path(), SpoolLimits { max_bytes: 1 << 30 }).unwrap();
        let record = UsageRecord { request_id: "x".repeat(1000), ..UsageRecord::default() };
        for _ in 0..20 {
            spool.append(&record).unwrap();
            reader.seal(false).unwrap();
        }
        assert_eq!(reader.len(), 1);
        while spool.bytes() < super::SEGMENT_BYTES + (1 << 20) {
            spool.append(&record).unwrap();
        }
        reader.seal(false).unwrap();
        assert_eq!(reader.len(), 2);
    }
}
