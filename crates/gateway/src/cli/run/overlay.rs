//! A temporary copy of an agent's home, with some of our settings over the user's.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;
use tempfile::TempDir;

use crate::env::{Environment, read_file};

/// Settings for agents that read them only from a file in their home.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlay {
    /// The variable with the home; without it the user's home is used.
    pub variable: &'static str,
    /// The agent's folder in it.
    pub folder: &'static str,
    /// Its settings, in JSON.
    pub file: &'static str,
    /// The settings that override the user's.
    pub settings: Value,
}

impl Overlay {
    /// Makes the home, which is removed when the value is dropped. All files of the user are linked, so that
    /// sessions and logins are shared; the settings are a merged copy.
    pub fn make(&self, environment: &Environment) -> anyhow::Result<TempDir> {
        let place = tempfile::Builder::new().prefix("llmgateway-run-").tempdir()?;
        let ours = place.path().join(self.folder);
        std::fs::create_dir(&ours)?;
        let mut settings = Value::Object(serde_json::Map::new());
        if let Some(theirs) = self.users_folder(environment) {
            self.link(&theirs, &ours)?;
            let file = theirs.join(self.file);
            if file.exists() {
                settings = read_settings(&file)?;
            }
        }
        merge(&mut settings, &self.settings);
        std::fs::write(ours.join(self.file), settings.to_string())?;
        Ok(place)
    }

    fn users_folder(&self, environment: &Environment) -> Option<PathBuf> {
        let home = environment.get(self.variable).map(PathBuf::from).or_else(|| environment.home())?;
        Some(home.join(self.folder)).filter(|folder| folder.is_dir())
    }

    #[cfg(unix)]
    fn link(&self, theirs: &Path, ours: &Path) -> std::io::Result<()> {
        for entry in std::fs::read_dir(theirs)? {
            let entry = entry?;
            if entry.file_name() != self.file {
                std::os::unix::fs::symlink(entry.path(), ours.join(entry.file_name()))?;
            }
        }
        Ok(())
    }

    /// Links need a privilege on Windows: the agent starts without its history there.
    #[cfg(not(unix))]
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "the same signature as on Unix")]
    fn link(&self, _: &Path, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

fn read_settings(file: &Path) -> anyhow::Result<Value> {
    let text = read_file(file).map_err(anyhow::Error::msg)?;
    serde_json::from_str(&without_comments(&text))
        .with_context(|| format!("{} cannot be read as JSON", file.display()))
        .map_err(|error| anyhow::anyhow!("{error:#}."))
}

/// Objects are merged, everything else is replaced.
fn merge(settings: &mut Value, ours: &Value) {
    match (settings, ours) {
        (Value::Object(settings), Value::Object(ours)) => {
            for (name, value) in ours {
                merge(settings.entry(name.clone()).or_insert(Value::Null), value);
            }
        }
        (settings, ours) => *settings = ours.clone(),
    }
}

/// Agents allow comments in their settings.
fn without_comments(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    let mut in_string = false;
    while let Some(next) = rest.chars().next() {
        let skipped = match next {
            _ if in_string && rest.starts_with('\\') => {
                // An escape has two characters, and the second may be a quote.
                let length = rest.chars().take(2).map(char::len_utf8).sum();
                plain.push_str(&rest[..length]);
                length
            }
            '/' if !in_string && rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if !in_string && rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ => {
                in_string ^= next == '"';
                plain.push(next);
                next.len_utf8()
            }
        };
        rest = &rest[skipped..];
    }
    plain
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn overlay() -> Overlay {
        let settings = json!({ "auth": { "type": "key" } });
        Overlay { variable: "AGENT_HOME", folder: ".agent", file: "settings.json", settings }
    }

    #[test]
    fn the_users_home_is_visible_and_not_changed() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(".agent");
        std::fs::create_dir(&folder).unwrap();
        let text = "{\n// mine\n\"auth\": {\"type\": \"login\", \"other\": 1}, \"theme\": \"a // b \\\" /* c\" /* x */ }";
        std::fs::write(folder.join("settings.json"), text).unwrap();
        std::fs::write(folder.join("history"), "old").unwrap();
        let environment = Environment::of(&[("HOME", home.path().to_str().unwrap())]);
        let made = overlay().make(&environment).unwrap();
        let ours = made.path().join(".agent");
        let settings: Value =
            serde_json::from_str(&std::fs::read_to_string(ours.join("settings.json")).unwrap()).unwrap();
        assert_eq!(settings, json!({ "auth": { "type": "key", "other": 1 }, "theme": "a // b \" /* c" }));
        #[cfg(unix)]
        assert_eq!(std::fs::read_to_string(ours.join("history")).unwrap(), "old");
        assert_eq!(std::fs::read_to_string(folder.join("settings.json")).unwrap(), text);
        drop(made);
        assert!(!ours.exists() && folder.join("history").exists());
    }

    #[test]
    fn a_missing_home_is_accepted_and_broken_settings_are_reported() {
        let home = tempfile::tempdir().unwrap();
        let environment = Environment::of(&[("AGENT_HOME", home.path().to_str().unwrap())]);
        assert!(overlay().make(&environment).is_ok());
        std::fs::create_dir(home.path().join(".agent")).unwrap();
        std::fs::write(home.path().join(".agent/settings.json"), "{oops").unwrap();
        let error = overlay().make(&environment).unwrap_err().to_string();
        assert!(error.contains("settings.json cannot be read as JSON"), "{error}");
    }
}
