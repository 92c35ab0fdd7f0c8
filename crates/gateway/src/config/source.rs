//! Where the configuration comes from: a file, the environment, or both. Read at the start and at each reload.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::env::Environment;

/// The file that is read where nothing else is said, if there is one.
const USUAL_FILE: &str = "llmgateway.toml";
/// Names another file.
const FILE_VARIABLE: &str = "LLMGATEWAY_CONFIG";

/// Where the configuration comes from.
#[derive(Clone, Debug)]
pub struct ConfigSource {
    /// None where the environment alone decides.
    pub(super) path: Option<PathBuf>,
    pub(super) environment: Environment,
}

impl ConfigSource {
    /// The given file, else the one of `LLMGATEWAY_CONFIG`, else `llmgateway.toml` in this folder.
    pub fn new(given: Option<PathBuf>, environment: Environment) -> Self {
        let named = given.or_else(|| environment.get(FILE_VARIABLE).map(PathBuf::from));
        let usual = || Path::new(USUAL_FILE).exists().then(|| PathBuf::from(USUAL_FILE));
        Self { path: named.or_else(usual), environment }
    }

    /// The state of every file that the configuration was read from. Another state means that one of them was written
    /// or replaced. Files that cannot be read have a state too.
    pub fn state(&self) -> Vec<Option<(SystemTime, u64)>> {
        let files = self.path.iter().cloned().chain(self.environment.files_read());
        files.map(|path| state(&path)).collect()
    }
}

fn state(path: &Path) -> Option<(SystemTime, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}
