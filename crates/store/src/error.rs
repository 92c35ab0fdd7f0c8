//! What can go wrong with the database, in sentences for the operator.

/// Why the store could not do what it was asked. No text ever holds a password.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The URL names no database that is supported.
    #[error(
        "database.url is not understood: {reason}; write sqlite:PATH, sqlite::memory: or postgres://USER:PASSWORD@HOST/NAME"
    )]
    Url {
        /// What is wrong with it.
        reason: String,
    },
    /// The file or its folder may not be read or written.
    #[error(
        "no permission to use the database {path}: {reason}; give the user of the gateway access or set database.url"
    )]
    Permission {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file or its folder cannot be created or opened.
    #[error("the database {path} cannot be opened: {reason}")]
    Open {
        /// The file, or the host and name of the database.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file holds something else.
    #[error("{path} is not an SQLite database; move it away or set database.url to another file")]
    NotADatabase {
        /// The file.
        path: String,
    },
    /// A later release of the gateway has changed the tables.
    #[error(
        "the database {path} has schema version {found}, this release knows up to {known}; run the newer release"
    )]
    NewerSchema {
        /// The file, or the host and name of the database.
        path: String,
        /// The version of the tables.
        found: i64,
        /// The version that this release makes.
        known: i64,
    },
    /// A value in the database is not what this release wrote.
    #[error("the database holds an unreadable {what}: {reason}")]
    Corrupt {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database is away or refused a statement.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
}

impl From<getrandom::Error> for StoreError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}
