//! The folder of the spool, and who may use it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK_FILE: &str = "lock";

/// The folder, locked as long as this is open: two processes would delete each other's segments.
pub(super) struct Folder {
    pub(super) path: PathBuf,
    lock: File,
}

impl Folder {
    /// Creates the folder if it is missing.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // A relative path would follow the working folder into a volume that was unmounted.
        let path = std::path::absolute(path)?;
        create_private_folder(&path).map_err(|error| named(error, &path))?;
        Ok(Self { lock: lock(&path)?, path })
    }

    /// Creates and locks the folder once more if it has vanished, or if another is in its place; true if so.
    pub(super) fn restore(&mut self) -> io::Result<bool> {
        let has_vanished = !is_at(&self.lock, &self.path.join(LOCK_FILE));
        if has_vanished {
            *self = Self::open(&self.path)?;
        }
        Ok(has_vanished)
    }
}

fn lock(folder: &Path) -> io::Result<File> {
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

/// The records contain callers' requests: only the gateway's user may read them.
pub(super) fn private_file() -> OpenOptions {
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
pub(super) fn named(error: io::Error, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Whether a path leads to this open file.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(open), Ok(named)) = (file.metadata(), fs::metadata(path)) else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (open.dev(), open.ino()) == (named.dev(), named.ino())
    }
    #[cfg(not(unix))]
    {
        // An open file cannot be removed there.
        let _ = (open, named);
        true
    }
}
