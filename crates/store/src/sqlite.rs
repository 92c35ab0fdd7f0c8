//! The parts that are specific to SQLite: opening the file, migrations, the insertion of many records.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};

use crate::StoreError;
use crate::facts::Facts;
use crate::ledger::{Charged, Charges};
use crate::line::PROBE_RECORD;
use crate::loan::Loan;
use crate::params::bound;
use crate::rollups::{Inserted, Rollups};

/// How many records one statement inserts at most; a power of two. Rows as parameters, parsing included, cost little
/// more than half the CPU of a JSON array that SQLite takes apart (4.4 and 7.7 µs per record, measured side by
/// side); with 20 rows it is 7.3 µs, for sqlx runs each statement on another thread.
const MOST_ROWS: usize = 128;
/// Statements for 1, 2, 4 … [`MOST_ROWS`] records, so that few are ever prepared. (`INSERT OR IGNORE` would also
/// pass over records that lack something.)
static INSERTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sizes = (0..=MOST_ROWS.ilog2()).map(|power| 1 << power);
    sizes
        .map(|rows| {
            format!(
                "INSERT INTO usage_records (started_at_ms, request_id, nonce, key_id, record, indexed)
                VALUES {} ON CONFLICT DO NOTHING",
                vec!["(?, ?, ?, ?, ?, 1)"; rows].join(", ")
            )
        })
        .collect()
});
/// The same for rows of the ledger: a batch has two, mostly, and a statement costs more than a row.
static CHARGES: LazyLock<Vec<String>> = LazyLock::new(|| {
    let sizes = (0..=MOST_ROWS.ilog2()).map(|power| 1 << power);
    sizes
        .map(|rows| {
            format!(
                "INSERT INTO ledger (scope, day, spent_pico, requests, unpriced)
                VALUES {} ON CONFLICT (scope, day) DO UPDATE SET spent_pico = spent_pico + excluded.spent_pico,
                requests = requests + excluded.requests, unpriced = unpriced + excluded.unpriced",
                vec!["(?, ?, ?, ?, ?)"; rows].join(", ")
            )
        })
        .collect()
});
/// In order; the number of those that ran is `PRAGMA user_version`.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/sqlite/0001.sql"),
    include_str!("migrations/sqlite/0002.sql"),
    include_str!("migrations/sqlite/0003.sql"),
    include_str!("migrations/sqlite/0004.sql"),
    include_str!("migrations/sqlite/0005.sql"),
    include_str!("migrations/sqlite/0006.sql"),
    include_str!("migrations/sqlite/0007.sql"),
    include_str!("migrations/sqlite/0008.sql"),
    include_str!("migrations/sqlite/0009.sql"),
    include_str!("migrations/sqlite/0010.sql"),
    include_str!("migrations/sqlite/0011.sql"),
    include_str!("migrations/sqlite/0012.sql"),
    include_str!("migrations/sqlite/0013.sql"),
    include_str!("migrations/sqlite/0014.sql"),
    include_str!("migrations/sqlite/0015.sql"),
    include_str!("migrations/sqlite/0016.sql"),
];
/// The lock comes first: one that is taken in the middle of a transaction is refused without waiting for other writers.
pub(crate) const BEGIN: &str = "BEGIN IMMEDIATE";
/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long until the file is tried again.
const BUSY_PAUSE: Duration = Duration::from_millis(20);
/// Twice SQLite's default. With 16 KiB an empty database takes 0.8 MB for its fifty tables and indices, and a request costs the same
/// (1,375,640 and 1,367,897 instructions, unoptimised).
const PAGE_BYTES: u32 = 8192;
/// After the disk was full so many batches are written in small transactions, with the log cut off after each.
const SPARING_BATCHES: u32 = 64;
/// The records of such a transaction.
const SPARING_LINES: usize = 64;
/// One writes, one reads at the same time.
const CONNECTIONS: u32 = 2;

/// An open database.
#[derive(Clone)]
pub(crate) struct Sqlite {
    pub(crate) pool: SqlitePool,
    /// Where its file is; none for one in memory.
    place: Option<OpenedFile>,
    /// The disk was full a while ago: so many more batches are written sparingly.
    sparing: Arc<AtomicU32>,
}

impl Sqlite {
    /// A connection. Fails if the database file was deleted or replaced: writes to a deleted file are lost when the
    /// process ends.
    pub(crate) async fn connection(&self) -> Result<Loan<sqlx::Sqlite>, StoreError> {
        self.place.as_ref().map_or(Ok(()), OpenedFile::check)?;
        Loan::of(&self.pool).await
    }
}

/// Which file a path led to when it was opened.
#[derive(Clone)]
struct OpenedFile {
    path: Arc<str>,
    file: FileId,
}

/// Device and number of a file. Asking for them takes no descriptor of the file, whose closing would drop SQLite's locks.
#[cfg(unix)]
type FileId = (u64, u64);
#[cfg(not(unix))]
type FileId = ();

#[cfg(unix)]
fn file_id(path: &str) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// An open file can be neither deleted nor replaced there.
#[cfg(not(unix))]
fn file_id(_path: &str) -> io::Result<FileId> {
    Ok(())
}

impl OpenedFile {
    fn of(path: &str) -> Result<Self, StoreError> {
        // A relative path would follow the working folder into a volume that was unmounted.
        let path = std::path::absolute(path).map_err(|error| open_error(path, &error))?;
        let path = path.display().to_string();
        let file = file_id(&path).map_err(|error| open_error(&path, &error))?;
        Ok(Self { path: path.into(), file })
    }

    fn check(&self) -> Result<(), StoreError> {
        let is_there = file_id(&self.path).is_ok_and(|file| file == self.file);
        if is_there { Ok(()) } else { Err(StoreError::Moved { path: self.path.to_string() }) }
    }
}

/// Opens the file, and waits for another process that is creating it: SQLite itself does not wait when the journal of a new
/// file is set up.
#[expect(clippy::disallowed_methods, reason = "how long it has waited")]
pub(crate) async fn open(path: &str) -> Result<Sqlite, StoreError> {
    let give_up = Instant::now() + BUSY_TIMEOUT;
    loop {
        match try_open(path).await {
            Err(error) if is_busy(&error) && Instant::now() < give_up => tokio::time::sleep(BUSY_PAUSE).await,
            result => return result,
        }
    }
}

async fn try_open(path: &str) -> Result<Sqlite, StoreError> {
    let in_memory = path == ":memory:";
    // `sqlite://PATH` is how other tools write it.
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() {
        return Err(StoreError::Url { reason: "the path of the file is missing".to_owned() });
    }
    let options = if in_memory {
        SqliteConnectOptions::new().in_memory(true)
    } else {
        create_file(Path::new(path)).map_err(|error| open_error(path, &error))?;
        SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal)
    };
    let options = options
        .page_size(PAGE_BYTES)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY_TIMEOUT)
        .disable_statement_logging();
    let pool = SqlitePoolOptions::new()
        // A database in memory belongs to its connection: there is exactly one.
        .max_connections(if in_memory { 1 } else { CONNECTIONS })
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| database_error(path, error))?;
    migrate(&pool, path).await?;
    let place = if in_memory { None } else { Some(OpenedFile::of(path)?) };
    Ok(Sqlite { pool, place, sparing: Arc::default() })
}

/// Inserts lines, in one transaction unless the disk was full a while ago.
pub(crate) async fn insert_usage(database: &Sqlite, lines: &[&str]) -> Result<Inserted, StoreError> {
    let left = database.sparing.load(Ordering::Relaxed);
    let result = match left {
        0 => insert_batch(database, lines).await,
        _ => insert_sparingly(database, lines).await,
    };
    match &result {
        Ok(_) => database.sparing.store(left.saturating_sub(1), Ordering::Relaxed),
        Err(error) if is_full(error) => {
            database.sparing.store(SPARING_BATCHES, Ordering::Relaxed);
            empty_log(&database.pool).await;
        }
        Err(_) => {}
    }
    result
}

/// The same for a disk that is nearly full. A large transaction needs space for each page twice: in the log,
/// and in the file when the log is moved. Small ones, with the log truncated after each, need it once. Lines
/// before an error are inserted, and are skipped when they come again.
async fn insert_sparingly(database: &Sqlite, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut all = Inserted::default();
    for lines in lines.chunks(SPARING_LINES) {
        let inserted = insert_batch(database, lines).await?;
        all.records += inserted.records;
        all.pending_bytes += inserted.pending_bytes;
        empty_log(&database.pool).await;
    }
    Ok(all)
}

async fn insert_batch(database: &Sqlite, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut loan = database.connection().await?;
    let result = insert_lines(loan.connection(), lines).await;
    loan.settle(result)
}

async fn insert_lines(connection: &mut SqliteConnection, lines: &[&str]) -> Result<Inserted, StoreError> {
    if let Some(inserted) = insert_new_lines(connection, lines).await? {
        return Ok(inserted);
    }
    // Some are there already: a batch was interrupted. One by one the database says which, and only new ones are counted.
    let mut transaction = connection.begin_with(BEGIN).await?;
    let (mut records, mut sums) = (0, Sums::default());
    for line in lines {
        let facts = Facts::of(line)?;
        if insert(&INSERTS[0], &[(facts, *line)], &mut transaction).await? > 0 {
            sums.add(&Facts::of(line)?);
            records += 1;
        }
    }
    let pending_bytes = sums.write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Inserted { records, pending_bytes })
}

/// Inserts lines in one transaction. None, and nothing changed, when one of them exists already.
async fn insert_new_lines(
    connection: &mut SqliteConnection,
    lines: &[&str],
) -> Result<Option<Inserted>, StoreError> {
    let mut transaction = connection.begin_with(BEGIN).await?;
    let mut sums = Sums::default();
    let mut rest = lines;
    while !rest.is_empty() {
        let power = rest.len().min(MOST_ROWS).ilog2();
        let (rows, others) = rest.split_at(1 << power);
        rest = others;
        let mut parsed = Vec::with_capacity(rows.len());
        for line in rows {
            let facts = Facts::of(line)?;
            sums.add(&facts);
            parsed.push((facts, *line));
        }
        if insert(&INSERTS[power as usize], &parsed, &mut transaction).await? < rows.len() as u64 {
            transaction.rollback().await?;
            return Ok(None);
        }
    }
    let pending_bytes = sums.write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(Some(Inserted { records: lines.len() as u64, pending_bytes }))
}

async fn insert(
    sql: &'static str,
    rows: &[(Facts<'_>, &str)],
    connection: &mut SqliteConnection,
) -> Result<u64, StoreError> {
    let mut query = sqlx::query(sql);
    for (facts, line) in rows {
        query = query
            .bind(facts.started_at_ms)
            .bind(facts.request_id.as_ref().to_owned())
            .bind(facts.nonce)
            .bind(facts.key_id.as_ref().to_owned())
            .bind((*line).to_owned());
    }
    Ok(query.execute(connection).await?.rows_affected())
}

/// The rows that new records add to other tables.
#[derive(Default)]
struct Sums<'a> {
    charges: Charges,
    rollups: Rollups<'a>,
}

impl<'a> Sums<'a> {
    fn add(&mut self, facts: &Facts<'a>) {
        self.charges.add(&facts.charge());
        self.rollups.add(facts);
    }

    /// Returns the size of the sums that are to be folded.
    async fn write(self, connection: &mut SqliteConnection) -> Result<u64, StoreError> {
        charge(self.charges, connection).await?;
        let (statements, pending_bytes) = self.rollups.statements()?;
        for (sql, params) in statements {
            bound!(sqlx::query(sql), params).execute(&mut *connection).await?;
        }
        Ok(pending_bytes)
    }
}

/// Adds to the ledger what new records are charged.
async fn charge(charges: Charges, connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let days = |(scope, days): (String, BTreeMap<i64, Charged>)| {
        days.into_iter().map(move |(day, charge)| (scope.clone(), day, charge))
    };
    let mut rows: Vec<_> = charges.scopes.into_iter().flat_map(days).collect();
    while !rows.is_empty() {
        let power = rows.len().min(MOST_ROWS).ilog2();
        let mut query = sqlx::query(CHARGES[power as usize].as_str());
        for (scope, day, charge) in rows.drain(..1 << power) {
            query =
                query.bind(scope).bind(day).bind(charge.spent).bind(charge.requests).bind(charge.unpriced);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Inserts a record and takes it back.
pub(crate) async fn try_insert(database: &Sqlite) -> Result<(), StoreError> {
    let mut loan = database.connection().await?;
    let result = async {
        let mut transaction = loan.connection().begin_with(BEGIN).await?;
        let insert = sqlx::query(INSERTS[0].as_str()).bind(0).bind("").bind(0).bind("").bind(PROBE_RECORD);
        insert.execute(&mut *transaction).await?;
        transaction.rollback().await
    };
    let result = result.await;
    Ok(loan.settle(result)?)
}

/// The file contains hashes of keys and callers' requests: only the gateway's user may read it. SQLite would
/// create it readable for everybody.
///
/// A file that exists is not even opened. The system drops all locks that a process holds on a file when the process closes
/// any descriptor of it, those of SQLite too: from then on every other process believes that the database is unused, and
/// deletes its log when it closes it.
fn create_file(path: &Path) -> io::Result<()> {
    /// Between creation and closing nothing in this process may open the new file.
    static CREATING: Mutex<()> = Mutex::new(());

    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut options = fs::File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let _creating = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map(drop),
    }
}

async fn migrate(pool: &SqlitePool, path: &str) -> Result<(), StoreError> {
    let failed = |error| database_error(path, error);
    // Another process may start at the same moment: the lock comes before the look at the version.
    let mut transaction = pool.begin_with(BEGIN).await.map_err(failed)?;
    let version: i64 =
        sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(failed)?;
    let known = MIGRATIONS.len() as i64;
    if version > known {
        return Err(StoreError::NewerSchema { path: path.to_owned(), found: version, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(failed)?;
    }
    if version < known {
        let sql = sqlx::AssertSqlSafe(format!("PRAGMA user_version = {known}"));
        sqlx::raw_sql(sql).execute(&mut *transaction).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    if version < known {
        empty_log(pool).await;
    }
    Ok(())
}

/// Moves the write-ahead log into the file, and truncates it. SQLite would let it grow to 16 MB, more than a
/// full disk has. A failure is retried later.
async fn empty_log(pool: &SqlitePool) {
    if let Ok(mut loan) = Loan::of(pool).await {
        let result = sqlx::raw_sql("PRAGMA wal_checkpoint(TRUNCATE)").execute(loan.connection()).await;
        let _ = loan.settle(result);
    }
}

fn open_error(path: &str, error: &io::Error) -> StoreError {
    let (path, reason) = (path.to_owned(), error.to_string());
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Permission { path, reason }
        }
        _ => StoreError::Open { path, reason },
    }
}

fn is_busy(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(error) if result_code(error) == Some(5))
}

fn is_full(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(error) if result_code(error) == Some(13))
}

/// SQLite's primary result code: the low byte.
fn result_code(error: &sqlx::Error) -> Option<u32> {
    Some(error.as_database_error()?.code()?.parse::<u32>().ok()? & 0xff)
}

/// SQLite's result codes that the operator can act on.
fn database_error(path: &str, error: sqlx::Error) -> StoreError {
    let path = path.to_owned();
    match result_code(&error) {
        Some(26) => StoreError::NotADatabase { path },
        Some(3 | 8 | 23) => StoreError::Permission { path, reason: error.to_string() },
        Some(14) => StoreError::Open { path, reason: error.to_string() },
        _ => StoreError::Database(error),
    }
}
