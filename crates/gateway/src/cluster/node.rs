//! The name of this process among those that share budgets.

use std::io;
use std::path::{Path, PathBuf};

/// Its file in the folder of the spool: the names of the processes that used the spool and whose records may not all have been
/// delivered, one in a line.
const FILE: &str = "node";

/// The name of this process among those that share budgets. Each start has a new one, which stands in its usage records: so the
/// ledger knows what each has spent.
pub struct Node {
    /// The name.
    pub name: &'static str,
    file: PathBuf,
    /// Who used the same spool before, and ended.
    before: Vec<String>,
}

impl Node {
    /// Takes a name, and writes it down before it is used.
    pub fn begin(spool: &Path) -> io::Result<Self> {
        let file = spool.join(FILE);
        let before = match std::fs::read_to_string(&file) {
            Ok(text) => text.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        // Named once in the life of a process.
        let name: &'static str = Box::leak(uuid::Uuid::now_v7().simple().to_string().into_boxed_str());
        let node = Self { name, file, before };
        node.write(node.before.iter().map(String::as_str).chain([name]))?;
        Ok(node)
    }

    /// Who used the same spool before.
    pub fn before(&self) -> &[String] {
        &self.before
    }

    /// Those before have nothing more to deliver.
    pub fn forget_those_before(&mut self) -> io::Result<()> {
        self.before.clear();
        self.write([self.name].into_iter())
    }

    fn write<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
        let text: String = names.flat_map(|name| [name, "\n"]).collect();
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
    fn a_node_knows_who_was_there_before() {
        let folder = tempfile::tempdir().unwrap();
        let first = Node::begin(folder.path()).unwrap();
        assert!(first.before().is_empty());
        let second = Node::begin(folder.path()).unwrap();
        assert_eq!(second.before(), [first.name]);
        let mut third = Node::begin(folder.path()).unwrap();
        assert_eq!(third.before(), [first.name, second.name]);
        third.forget_those_before().unwrap();
        assert_eq!(Node::begin(folder.path()).unwrap().before(), [third.name]);
    }
}
