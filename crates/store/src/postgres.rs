//! What is particular to PostgreSQL: connecting, migrations, the insertion of many records.

use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::StoreError;
use crate::facts::Facts;
use crate::line::PROBE_RECORD;
use crate::loan::Loan;
use crate::params::bound;
use crate::rollups::{Inserted, Rollups};

/// Parameter: a JSON array of records, as text. New ones are added to the ledger, in an order that all nodes share: else two
/// of them could wait for each other.
const INSERT_USAGE: &str = "WITH new AS (
        INSERT INTO usage_records (started_at_ms, request_id, nonce, key_id, record, indexed)
        SELECT (line ->> 'started_at_ms')::bigint, line ->> 'request_id', coalesce((line ->> 'nonce')::bigint, 0),
            line ->> 'key_id', line, 1
        FROM jsonb_array_elements($1::text::jsonb) AS line
        ON CONFLICT DO NOTHING
        RETURNING started_at_ms, request_id, nonce, key_id, record
    ), charges AS (
        SELECT scope, started_at_ms / 86400000 AS day, record ->> 'node' AS node,
            (record -> 'cost_pico' ->> 'total')::bigint AS spent
        FROM new CROSS JOIN LATERAL (
            VALUES ('key:' || key_id), ('project:' || coalesce(record ->> 'project', 'default'))
        ) AS scopes (scope)
    ), ledger_rows AS (
        INSERT INTO ledger (scope, day, spent_pico, requests, unpriced)
        SELECT scope, day, sum(coalesce(spent, 0))::bigint, count(*), count(*) - count(spent)
        FROM charges GROUP BY scope, day ORDER BY scope, day
        ON CONFLICT (scope, day) DO UPDATE SET spent_pico = ledger.spent_pico + excluded.spent_pico,
            requests = ledger.requests + excluded.requests, unpriced = ledger.unpriced + excluded.unpriced
    ), node_rows AS (
        INSERT INTO node_ledger (scope, day, node, spent_pico)
        SELECT scope, day, node, sum(spent)::bigint
        FROM charges WHERE node IS NOT NULL AND spent <> 0 GROUP BY scope, day, node ORDER BY scope, day, node
        ON CONFLICT (scope, day, node) DO UPDATE SET spent_pico = node_ledger.spent_pico + excluded.spent_pico
    )
    SELECT started_at_ms, request_id, nonce FROM new";

/// What nodes are told changes by.
const CHANGES: &str = "llmgateway_changes";

const MIGRATIONS: &[&str] = &[
    include_str!("migrations/postgres/0001.sql"),
    include_str!("migrations/postgres/0002.sql"),
    include_str!("migrations/postgres/0003.sql"),
    include_str!("migrations/postgres/0004.sql"),
    include_str!("migrations/postgres/0005.sql"),
    include_str!("migrations/postgres/0006.sql"),
    include_str!("migrations/postgres/0007.sql"),
    include_str!("migrations/postgres/0008.sql"),
    include_str!("migrations/postgres/0009.sql"),
    include_str!("migrations/postgres/0010.sql"),
    include_str!("migrations/postgres/0011.sql"),
    include_str!("migrations/postgres/0012.sql"),
    include_str!("migrations/postgres/0013.sql"),
];
/// Any number, as long as all releases use the same.
const MIGRATION_LOCK: i64 = 0x6c_6c_6d_67_61_74_65;
const CONNECTIONS: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn open(url: &str) -> Result<PgPool, StoreError> {
    // The parser's message may quote what it could not read, and with it the password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Url { reason: "it is no valid PostgreSQL URL".to_owned() })?;
    let options = options.application_name("llmgateway").disable_statement_logging();
    let name = display_name(&options);
    try_connect(&options).await.map_err(|reason| StoreError::Open { path: name.clone(), reason })?;
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_lazy_with(options);
    migrate(&pool, &name).await?;
    Ok(pool)
}

/// The pool would try again until its time is over and then say only that it is over.
async fn try_connect(options: &PgConnectOptions) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => connection.close().await.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// Inserts lines in one transaction. The database takes them apart: its CPU is not the gateway's.
pub(crate) async fn insert_usage(pool: &PgPool, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut loan = Loan::of(pool).await?;
    // A connection that a firewall forgot would wait for ever.
    let inserted = tokio::time::timeout(STEP_TIMEOUT, insert_lines(loan.connection(), lines)).await;
    loan.settle(inserted.map_err(|_| StoreError::Away)?)
}

async fn insert_lines(connection: &mut PgConnection, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut transaction = connection.begin().await?;
    let array = format!("[{}]", lines.join(","));
    let new: Vec<(i64, String, i64)> =
        sqlx::query_as(INSERT_USAGE).bind(array).fetch_all(&mut *transaction).await?;
    let records = new.len() as u64;
    // All are new, but after a batch that was interrupted. Only new ones are counted.
    let mut new: Option<HashSet<(i64, String, i64)>> =
        (new.len() < lines.len()).then(|| new.into_iter().collect());
    let mut rollups = Rollups::default();
    for line in lines {
        let facts = Facts::of(line)?;
        let place = || (facts.started_at_ms, facts.request_id.clone().into_owned(), facts.nonce);
        if new.as_mut().is_none_or(|new| new.remove(&place())) {
            rollups.add(&facts);
        }
    }
    let (statements, pending_bytes) = rollups.statements()?;
    for (sql, params) in statements {
        bound!(sqlx::query(sql), params).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(Inserted { records, pending_bytes })
}

/// Inserts a record and takes it back.
pub(crate) async fn try_insert(pool: &PgPool) -> Result<(), StoreError> {
    let mut loan = Loan::of(pool).await?;
    let work = async {
        let mut transaction = loan.connection().begin().await?;
        let array = format!("[{PROBE_RECORD}]");
        sqlx::query(INSERT_USAGE).bind(array).execute(&mut *transaction).await?;
        transaction.rollback().await
    };
    let tried = tokio::time::timeout(STEP_TIMEOUT, work).await.map_err(|_| StoreError::Away)?;
    Ok(loan.settle(tried)?)
}

/// A connection that hears of changes.
pub(crate) async fn listen(url: &str) -> Result<PgListener, StoreError> {
    let mut listener = PgListener::connect(url).await?;
    // It is asked again by its owner; a connection that is opened in silence would hide what was missed.
    listener.eager_reconnect(false);
    listener.listen(CHANGES).await?;
    Ok(listener)
}

/// What an operator recognises the database by, without the password.
fn display_name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

async fn migrate(pool: &PgPool, name: &str) -> Result<(), StoreError> {
    let mut transaction = pool.begin().await?;
    // Several nodes may start at the same moment: one migrates, the others wait. The lock ends with the transaction.
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *transaction).await?;
    sqlx::raw_sql("CREATE TABLE IF NOT EXISTS schema_version (version BIGINT NOT NULL)")
        .execute(&mut *transaction)
        .await?;
    let version: Option<i64> =
        sqlx::query_scalar("SELECT max(version) FROM schema_version").fetch_one(&mut *transaction).await?;
    let (version, known) = (version.unwrap_or(0), MIGRATIONS.len() as i64);
    if version > known {
        return Err(StoreError::NewerSchema { path: name.to_owned(), found: version, known });
    }
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
        sqlx::raw_sql(*migration).execute(&mut *transaction).await?;
    }
    if version < known {
        let insert = "INSERT INTO schema_version (version) VALUES ($1)";
        sqlx::query(insert).bind(known).execute(&mut *transaction).await?;
    }
    transaction.commit().await?;
    Ok(())
}
