//! The processes that used the same spool before.

use std::io;
use std::path::{Path, PathBuf};

/// A file in the folder of the spool: the ids of the earlier processes whose records may not all have been
/// delivered, one per line.
const FILE: &str = "nodes";

/// Earlier processes with the same spool. Each start has a new id, which is in its usage records: so the
/// ledger knows the spending of each.
pub struct Predecessors {
    own: &'static str,
    file: PathBuf,
    ids: Vec<String>,
}

impl Predecessors {
    /// Reads the ids, and adds the id of this process before it is used.
    pub fn of(spool: &Path, own: &'static str) -> io::Result<Self> {
        let file = spool.join(FILE);
        let ids: Vec<String> = match std::fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let known = Self { own, file, ids };
        known.write()?;
        Ok(known)
    }

    pub fn ids(&self) -> &[String] {
        &self.ids
    }

    /// All their records have been delivered.
    pub fn forget(&mut self) -> io::Result<()> {
        self.ids.clear();
        self.write()
    }

    fn write(&self) -> io::Result<()> {
        let ids = self.ids.iter().map(String::as_str).chain([self.own]);
        let text: String = ids.flat_map(|id| [id, "\n"]).collect();
        let new = self.file.with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::File::open(&new)?.sync_all()?;
        std::fs::rename(&new, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_predecessors() {
        let folder = tempfile::tempdir().unwrap();
        let known = |own| Predecessors::of(folder.path(), own).unwrap();
        assert!(known("one").ids().is_empty());
        assert_eq!(known("two").ids(), ["one"]);
        let mut third = known("three");
        assert_eq!(third.ids(), ["one", "two"]);
        third.forget().unwrap();
        assert_eq!(known("four").ids(), ["three"]);
    }
}
