//! A key for the person at the terminal: created at the first start, found again at later ones.

use std::io::Write;
use std::path::{Path, PathBuf};

use canon::Secret;
use store::Store;

use super::Style;
use crate::clock::now_ms;
use crate::config::Settings;
use crate::env::Environment;

/// A working key.
#[derive(Debug)]
pub enum CallerKey {
    /// Created by this start, and written to a file where possible.
    Fresh {
        secret: Secret,
        /// The file, if it was written.
        file: Option<PathBuf>,
    },
    /// In the file of an earlier start.
    InFile(PathBuf),
    /// In this environment variable.
    InVariable(String),
    /// In the configuration file, or in a file that it names.
    InConfiguration,
    /// In the database, which has only its hash and its prefix.
    Stored { prefix: String, name: String },
}

/// The source of the configured keys, noted before the settings are used up.
pub enum Configured {
    /// There is none.
    None,
    Variable(String),
    File,
}

impl Configured {
    /// The first key of the configuration.
    pub fn of(settings: &Settings) -> Self {
        let mut keys = settings.api_keys.iter().chain(&settings.admin_keys);
        let Some(key) = keys.next() else { return Self::None };
        match Environment::of_process().get(&key.label) {
            Some(_) => Self::Variable(key.label.clone()),
            None => Self::File,
        }
    }
}

impl CallerKey {
    /// The key to show. The first start needs one: it is created here.
    pub async fn find(
        configured: Configured,
        store: &Store,
        database_url: &str,
    ) -> Result<Self, store::StoreError> {
        match configured {
            Configured::Variable(name) => return Ok(Self::InVariable(name)),
            Configured::File => return Ok(Self::InConfiguration),
            Configured::None => {}
        }
        let file = file_beside(database_url);
        let active = store.active_keys().await?;
        if active.is_empty() {
            let (_, secret) = store.create_key("first", now_ms()).await?;
            let file = file.filter(|file| write(file, &secret).is_ok());
            return Ok(Self::Fresh { secret, file });
        }
        if let Some(file) = file
            && let Ok(key) = std::fs::read_to_string(&file)
        {
            let hash = store.key_hasher().hash(key.trim());
            if active.iter().any(|row| row.hash == hash) {
                return Ok(Self::InFile(file));
            }
        }
        let listed = store.list_keys().await?;
        let first = listed.into_iter().find(|key| key.revoked_at_ms.is_none());
        let (prefix, name) = first.map_or_else(Default::default, |key| (key.prefix, key.fields.name));
        Ok(Self::Stored { prefix, name })
    }

    /// The line of the greeting.
    pub fn sentence(&self, style: Style) -> String {
        let more = "more with `llmgateway keys create NAME`";
        match self {
            Self::Fresh { secret, file: Some(file) } => {
                format!("API key  {}  (stored in {}; {more})", style.bold(secret.expose()), file.display())
            }
            Self::Fresh { secret, file: None } => {
                format!("API key  {}  (shown once; {more})", style.bold(secret.expose()))
            }
            Self::InFile(file) => format!("API key  in {}  ({more})", file.display()),
            Self::InVariable(name) => format!("API key  in the environment variable {name}"),
            Self::InConfiguration => "API key  auth.api_keys of the configuration".to_owned(),
            Self::Stored { prefix, name } => {
                format!(
                    "API key  the one that begins with {prefix} ({name:?}), shown at its creation; {more}"
                )
            }
        }
    }

    /// The key for a shell, between double quotes.
    pub fn in_shell(&self) -> String {
        match self {
            Self::Fresh { secret, .. } => secret.expose().to_owned(),
            Self::InFile(file) => format!("$(cat '{}')", file.display()),
            Self::InVariable(name) => format!("${name}"),
            Self::InConfiguration | Self::Stored { .. } => "YOUR_API_KEY".to_owned(),
        }
    }
}

/// `llmgateway.key` beside `llmgateway.db`. For a database server there is none: several gateways share its
/// keys.
pub(super) fn file_beside(database_url: &str) -> Option<PathBuf> {
    let path = database_url.strip_prefix("sqlite:")?.trim_start_matches("//").split('?').next()?;
    (!path.is_empty() && !path.contains(":memory:")).then(|| Path::new(path).with_extension("key"))
}

/// Writes a file that only its owner can read. A file of an earlier database is replaced, with its
/// permissions.
fn write(path: &Path, secret: &Secret) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(file, "{}", secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn find(store: &Store, url: &str) -> CallerKey {
        CallerKey::find(Configured::None, store, url).await.unwrap()
    }

    #[tokio::test]
    async fn the_second_start_reports_the_file_of_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("g.db").display());
        let store = Store::open(&url).await.unwrap();
        let CallerKey::Fresh { secret, file: Some(file) } = find(&store, &url).await else { panic!() };
        assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), secret.expose());
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let second = find(&store, &url).await;
        assert_eq!(second.in_shell(), format!("$(cat '{}')", file.display()));
        assert!(second.sentence(Style::PLAIN).starts_with(&format!("API key  in {}", file.display())));
        // A file with an invalid key is not shown.
        let rows = store.list_keys().await.unwrap();
        store.create_key("other", now_ms()).await.unwrap();
        store.revoke_key(&rows[0].id, now_ms()).await.unwrap();
        let third = find(&store, &url).await;
        assert!(matches!(&third, CallerKey::Stored { name, .. } if name == "other"), "{third:?}");
        assert_eq!(third.in_shell(), "YOUR_API_KEY");
        store.close().await;
    }

    #[test]
    fn a_shared_database_leaves_no_key_file() {
        assert_eq!(file_beside("postgres://u@h/db"), None);
        assert_eq!(file_beside("sqlite::memory:"), None);
        assert_eq!(file_beside("sqlite://a/b.db?mode=rwc"), Some(PathBuf::from("a/b.key")));
    }
}
