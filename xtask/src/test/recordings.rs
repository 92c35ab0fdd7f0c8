//! Recorded traffic, which is not in the repository: whether it exists here, and the cases that are not run
//! without it.

use std::path::{Path, PathBuf};

use super::place::Workspace;

/// The variable with the folder of recordings; tests read it.
pub const VARIABLE: &str = "LLMGATEWAY_CORPUS";
/// A folder that does not exist: tests with this folder have no recordings.
pub const NOWHERE: &str = "/nonexistent/recordings";

/// Whether this machine has recordings; the same rule as in `crates/testkit/src/corpus.rs`.
#[expect(clippy::disallowed_methods, reason = "a setting of test runs")]
pub fn are_here(place: &Workspace) -> bool {
    std::env::var_os(VARIABLE).map_or_else(|| place.root.join("../shared/corpus"), PathBuf::from).is_dir()
}

/// How many recorded exchanges there are.
pub fn count() -> usize {
    let lines = include_str!("../../../crates/testkit/recordings.txt").lines();
    lines.filter_map(|line| line.split_once(' ')?.1.parse::<usize>().ok()).sum()
}

/// The packages whose tests use recordings, by their manifests.
pub fn users(root: &Path) -> Vec<String> {
    let Ok(folders) = std::fs::read_dir(root.join("crates")) else { return Vec::new() };
    let uses = |folder: &PathBuf| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.starts_with("testkit"))
    };
    let folders = folders.flatten().map(|entry| entry.path()).filter(uses);
    let name = |folder: PathBuf| Some(folder.file_name()?.to_str()?.to_owned());
    let mut names: Vec<String> = folders.filter_map(name).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_and_their_users_are_found() {
        let place = Workspace::find();
        let users = users(&place.root);
        for name in ["wire", "catalog", "gateway"] {
            assert!(users.iter().any(|user| user == name), "{users:?}");
        }
        assert!(count() > 3000, "{}", count());
    }
}
