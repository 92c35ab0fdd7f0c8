//! Errors of the database, in sentences for the operator.

/// Why the store failed. No text contains a password.
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
        path: String,
        /// The system's message.
        reason: String,
    },
    /// The file or its folder cannot be created or opened.
    #[error("the database {path} cannot be opened: {reason}")]
    Open {
        /// The file, or the host and name of the database.
        path: String,
        /// The system's message.
        reason: String,
    },
    /// The file was deleted or replaced while the gateway runs.
    #[error(
        "the database {path} was deleted or replaced under the running gateway; put it back, or restart the gateway to begin a new one"
    )]
    Moved { path: String },
    /// The file contains something else.
    #[error("{path} is not an SQLite database; move it away or set database.url to another file")]
    NotADatabase { path: String },
    /// A later release of the gateway has changed the tables.
    #[error(
        "the database {path} has schema version {found}, this release knows up to {known}; run the newer release"
    )]
    NewerSchema {
        /// The file, or the host and name of the database.
        path: String,
        /// The version of the tables.
        found: i64,
        /// The version of this release.
        known: i64,
    },
    /// A value in the database was not written by this release.
    #[error("the database holds an unreadable {what}: {reason}")]
    Corrupt {
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The system returned no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
    /// The database does not answer.
    #[error("the database does not answer")]
    Away,
    /// The database refused a statement.
    #[error("the database failed: {0}")]
    Database(#[source] sqlx::Error),
}

/// Sums that the tables refuse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedSums {
    /// Which: a row of `usage_unfolded`, or records of an earlier release.
    pub what: String,
    /// What is wrong with them.
    pub error: String,
}

impl From<getrandom::Error> for StoreError {
    fn from(error: getrandom::Error) -> Self {
        Self::Random(error)
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            // No connection could be made in time.
            sqlx::Error::PoolTimedOut => Self::Away,
            error => Self::Database(error),
        }
    }
}

impl StoreError {
    /// True when the database answers and refuses the data, so that a part of them may be accepted. All other
    /// errors mean trouble with the database, its disk or the connection, which may pass.
    pub(crate) fn is_about_the_data(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::Database(sqlx::Error::Encode(_)) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                let code = error.code().unwrap_or_default();
                match error.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                    Some(_) => code.parse().is_ok_and(|code: u32| SQLITE_DATA_CODES.contains(&(code & 0xff))),
                    None => !POSTGRES_TROUBLE.iter().any(|class| code.starts_with(class)),
                }
            }
            _ => false,
        }
    }
}

/// ERROR (also from a trigger or an expression of an index), EMPTY, TOOBIG, CONSTRAINT, MISMATCH, MISUSE, RANGE.
const SQLITE_DATA_CODES: [u32; 7] = [1, 16, 18, 19, 20, 21, 25];
/// Classes of SQLSTATE: connection, transaction state, authorization, catalog name, rollback and deadlock, resources, lock,
/// operator intervention, system error, configuration file.
const POSTGRES_TROUBLE: [&str; 10] = ["08", "25", "28", "3D", "40", "53", "55", "57", "58", "F0"];
