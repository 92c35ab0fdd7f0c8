//! The only place that reads environment variables and secret files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The environment as values, so that tests can pass their own.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    /// The files that values were read from. Clones share them.
    files: Arc<Mutex<BTreeSet<PathBuf>>>,
}

impl Environment {
    /// The environment of the process. Variables that are not Unicode are ignored.
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    pub fn of_process() -> Self {
        let unicode = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(unicode).collect(), ..Self::default() }
    }

    /// An environment of these variables.
    pub fn of(variables: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Self { variables: variables.iter().map(owned).collect(), ..Self::default() }
    }

    /// The same with another value of a variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Notes a file, or a folder, that the configuration was read from.
    pub fn note_file(&self, path: &Path) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned());
    }

    /// The files that values have been read from.
    pub fn files_read(&self) -> BTreeSet<PathBuf> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A variable that is set and not blank, trimmed: values from files and secret managers end with a
    /// newline.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The first of these variables that is set, with its name.
    pub fn first<'a>(&'a self, names: &'a [String]) -> Option<(&'a str, &'a str)> {
        names.iter().find_map(|name| Some((name.as_str(), self.get(name)?)))
    }

    pub fn home(&self) -> Option<PathBuf> {
        self.get("HOME").or_else(|| self.get("USERPROFILE")).map(PathBuf::from)
    }

    /// Resolves a string of the configuration: `env:NAME` and `file:PATH` are replaced by what they name,
    /// trimmed.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        if let Some(name) = text.strip_prefix("env:") {
            return self
                .get(name)
                .map(str::to_owned)
                .ok_or_else(|| format!("the environment variable {name} is not set"));
        }
        if let Some(path) = text.strip_prefix("file:") {
            self.note_file(Path::new(path));
            let text = read_file(Path::new(path))?;
            return match text.trim() {
                "" => Err(format!("the file {path} is empty")),
                text => Ok(text.to_owned()),
            };
        }
        Ok(text.to_owned())
    }
}

/// The text of a small file, such as a token or a key.
pub fn read_file(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path)
        .map_err(|error| format!("the file {} cannot be read: {error}", path.display()))
}
