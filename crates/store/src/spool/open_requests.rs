//! Requests under way with a reserved cost: the record of each for the case that the process dies first.
//!
//! One file of slots. A slot holds one line, which is the JSON of a usage record, and is written when an
//! attempt begins. It has the nonce of the request's final record. So the moment of clearing a slot does not
//! matter: at the next start the remaining slots are appended to the spool, and the database recognises
//! records that it has.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use super::SpoolState;
use super::folder::{is_at, named, private_file};
use canon::Pico;

use crate::UsageRecord;
use crate::line::write_line;

const FILE: &str = "open_requests";
/// The size of a page: a line that fits is written whole or not at all when the process is killed.
const SLOT_BYTES: usize = 4096;
/// The beginning of a cleared slot: an empty line.
const EMPTY: &[u8] = b"\n";

/// The file, and its used slots.
pub(super) struct OpenRequests {
    file: RwLock<Arc<File>>,
    slots: Mutex<Slots>,
}

#[derive(Default)]
struct Slots {
    /// Whether each still holds the line of a request that ended.
    stale: Vec<bool>,
    /// Those without a request. The file stays small because the last that was freed is used first.
    free: Vec<u32>,
}

/// The slots of an earlier process: lines with their ends, and their number.
#[derive(Default)]
pub(super) struct RecoveredSlots {
    pub(super) lines: Vec<u8>,
    pub(super) records: u64,
}

impl OpenRequests {
    /// Opens the file, and reads what an earlier process left in it.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, RecoveredSlots)> {
        let (file, left) = open_file(folder)?;
        Ok((Self { file: RwLock::new(Arc::new(file)), slots: Mutex::default() }, left))
    }

    /// Opens the file again if its name leads to none or to another one. The records of requests under way
    /// are then lost with the process, up to their next attempts.
    pub(super) fn ensure_in_place(&self, folder: &Path) -> io::Result<RecoveredSlots> {
        if is_at(&self.file(), &folder.join(FILE)) {
            return Ok(RecoveredSlots::default());
        }
        let (file, left) = open_file(folder)?;
        *self.file.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(file);
        Ok(left)
    }

    /// Forgets what an earlier process left.
    pub(super) fn forget(&self) -> io::Result<()> {
        self.file().set_len(0)
    }

    fn file(&self) -> Arc<File> {
        Arc::clone(&self.file.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn take(&self) -> u32 {
        let mut slots = self.slots();
        if let Some(slot) = slots.free.pop() {
            slots.stale[slot as usize] = false;
            return slot;
        }
        slots.stale.push(false);
        slots.stale.len() as u32 - 1
    }

    fn give_back(&self, slot: u32) {
        let mut slots = self.slots();
        slots.stale[slot as usize] = true;
        slots.free.push(slot);
    }

    /// Clears the slots of requests that ended. Not done when they end, because that is one write more for each; what
    /// cannot be cleared is cleared later, and does no harm until then.
    pub(super) fn clear_stale(&self) {
        let file = self.file();
        let mut slots = self.slots();
        let Slots { stale, free } = &mut *slots;
        for slot in free.iter().rev() {
            let is_stale = &mut stale[*slot as usize];
            if *is_stale && write_at(&file, EMPTY, offset(*slot)).is_ok() {
                *is_stale = false;
            }
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request under way, as the spool knows it.
pub struct OpenRequest {
    shared: Arc<SpoolState>,
    slot: u32,
    /// That of the request's record.
    pub(super) nonce: i64,
}

impl OpenRequest {
    pub(super) fn new(shared: Arc<SpoolState>, nonce: i64) -> Self {
        Self { slot: shared.open_requests.take(), shared, nonce }
    }

    /// Stores the record for the case that this process dies before the request ends, replacing an earlier
    /// one: a record with the error `interrupted`, status 0, and this cost.
    pub fn keep(&self, record: &UsageRecord, reserved: Pico) -> io::Result<()> {
        super::LINE.with_borrow_mut(|line| {
            record.write_interrupted(self.nonce, reserved, line);
            if line.len() > SLOT_BYTES {
                let mut short = record.shortened();
                short.tags.clear();
                short.write_interrupted(self.nonce, reserved, line);
            }
            if line.len() > SLOT_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            write_at(&self.shared.open_requests.file(), line, offset(self.slot))
        })
    }
}

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.shared.open_requests.give_back(self.slot);
    }
}

fn offset(slot: u32) -> u64 {
    u64::from(slot) * SLOT_BYTES as u64
}

fn open_file(folder: &Path) -> io::Result<(File, RecoveredSlots)> {
    let path = folder.join(FILE);
    let file = private_file().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = file.map_err(|error| named(error, &path))?;
    let left = left_in(&mut file).map_err(|error| named(error, &path))?;
    Ok((file, left))
}

/// The records of all slots.
fn left_in(file: &mut File) -> io::Result<RecoveredSlots> {
    use std::io::Read;

    let mut left = RecoveredSlots::default();
    let (mut slot, mut line) = (Vec::with_capacity(SLOT_BYTES), Vec::new());
    loop {
        slot.clear();
        if file.take(SLOT_BYTES as u64).read_to_end(&mut slot)? == 0 {
            return Ok(left);
        }
        let json = &slot[..memchr::memchr(b'\n', &slot).unwrap_or(0)];
        if serde_json::from_slice::<UsageRecord>(json).is_ok() {
            write_line(&mut line, |out| out.extend_from_slice(json));
            left.lines.extend_from_slice(&line);
            left.records += 1;
        }
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        (bytes, offset) = (&bytes[written..], offset + written as u64);
    }
    Ok(())
}
