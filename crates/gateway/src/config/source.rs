//! The source of the configuration: a file, the environment, or both. Read at the start and at each reload.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::env::Environment;

/// The default file, if it exists.
const USUAL_FILE: &str = "llmgateway.toml";
/// The variable with the path of another file.
const FILE_VARIABLE: &str = "LLMGATEWAY_CONFIG";

#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// None for the environment alone.
    pub(super) path: Option<PathBuf>,
    pub(super) environment: Environment,
}

impl ConfigSource {
    /// The given file, else that of `LLMGATEWAY_CONFIG`, else `llmgateway.toml` in this folder.
    pub fn new(given: Option<PathBuf>, environment: Environment) -> Self {
        let named = given.or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
        let usual = || Path::new(USUAL_FILE).exists().then(|| PathBuf::from(USUAL_FILE));
        Self { path: named.or_else(usual), environment }
    }

    /// The state of every file that the configuration was read from. A different state means that a file was
    /// written or replaced. Unreadable files have a state too.
    pub fn state(&self) -> Vec<Option<(SystemTime, u64)>> {
        let files = self.path.iter().cloned().chain(self.environment.files_read());
        files.map(|path| state(&path)).collect()
    }
}

fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
