//! The parts that are specific to PostgreSQL: connecting, migrations, the insertion of many records.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool};

use crate::StoreError;
use crate::facts::Facts;
use crate::line::PROBE_RECORD;
use crate::loan::Loan;
use crate::params::bound;
use crate::rollups::{Inserted, Rollups};

/// Parameter: a JSON array of records, as text. New ones are added to the ledger in an order that all nodes
/// share, to avoid deadlocks.
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

/// The channel of change notifications.
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
    include_str!("migrations/postgres/0014.sql"),
    include_str!("migrations/postgres/0015.sql"),
    include_str!("migrations/postgres/0016.sql"),
    include_str!("migrations/postgres/0017.sql"),
    include_str!("migrations/postgres/0018.sql"),
];
/// Any number, as long as all releases use the same.
const MIGRATION_LOCK: i64 = 0x6c_6c_6d_67_61_74_65;
const CONNECTIONS: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
pub(crate) const STEP_TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) async fn open(url: &str) -> Result<PgPool, StoreError> {
    // The parser's message may quote the invalid text, and with it the password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Url { reason: "it is not a valid PostgreSQL URL".to_owned() })?;
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

/// The pool would retry until its deadline and then report only the timeout.
async fn try_connect(options: &PgConnectOptions) -> Result<(), String> {
    match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(options)).await {
        Ok(Ok(connection)) => connection.close().await.map_err(|error| error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer".to_owned()),
    }
}

/// The stretches of time that have a partition for their records, as far as this process knows.
#[derive(Debug, Default)]
pub(crate) struct Months(Mutex<Vec<(i64, i64)>>);

impl Months {
    fn has(&self, at_ms: i64) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.iter().any(|(from, to)| (*from..*to).contains(&at_ms))
    }

    fn add(&self, month: (i64, i64)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(month);
    }

    /// True when there was something to forget.
    pub(crate) fn forget(&self) -> bool {
        !std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).is_empty()
    }
}

/// Inserts lines in one transaction. The database takes them apart: its CPU is not the gateway's.
pub(crate) async fn insert_usage(
    pool: &PgPool,
    months: &Months,
    lines: &[&str],
) -> Result<Inserted, StoreError> {
    match try_insert_usage(pool, months, lines).await {
        // Another node's retention dropped a month that was here when this process looked.
        Err(error) if lacks_partition(&error) && months.forget() => {
            try_insert_usage(pool, months, lines).await
        }
        result => result,
    }
}

/// SQLSTATE check_violation: also of a row that no partition takes.
fn lacks_partition(error: &StoreError) -> bool {
    matches!(error, StoreError::Database(sqlx::Error::Database(error)) if error.code().as_deref() == Some("23514"))
}

async fn try_insert_usage(pool: &PgPool, months: &Months, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut loan = Loan::of(pool).await?;
    // A connection that a firewall forgot would wait for ever.
    let work = async {
        add_months(loan.connection(), months, lines).await?;
        insert_lines(loan.connection(), lines).await
    };
    let inserted = tokio::time::timeout(STEP_TIMEOUT, work).await;
    loan.settle(inserted.map_err(|_| StoreError::Away)?)
}

/// Makes the partitions of the months that records are the first of.
async fn add_months(
    connection: &mut PgConnection,
    months: &Months,
    lines: &[&str],
) -> Result<(), StoreError> {
    for line in lines {
        let at_ms = Facts::of(line)?.started_at_ms;
        if !months.has(at_ms) {
            let add = "SELECT from_ms, to_ms FROM llmgateway_add_usage_month($1)";
            months.add(sqlx::query_as(add).bind(at_ms).fetch_one(&mut *connection).await?);
        }
    }
    Ok(())
}

async fn insert_lines(connection: &mut PgConnection, lines: &[&str]) -> Result<Inserted, StoreError> {
    let mut transaction = connection.begin().await?;
    let array = format!("[{}]", lines.join(","));
    let new: Vec<(i64, String, i64)> =
        sqlx::query_as(INSERT_USAGE).bind(array).fetch_all(&mut *transaction).await?;
    let records = new.len() as u64;
    // All are new, except after an interrupted batch. Only new ones are counted.
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

/// Inserts a record and rolls back.
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

/// A connection that receives change notifications.
pub(crate) async fn listen(url: &str) -> Result<PgListener, StoreError> {
    let mut listener = PgListener::connect(url).await?;
    // Its owner opens it again; a silent reconnect would hide missed notifications.
    listener.eager_reconnect(false);
    listener.listen(CHANGES).await?;
    Ok(listener)
}

/// The operator's name of the database, without the password.
fn display_name(options: &PgConnectOptions) -> String {
    let database = options.get_database().unwrap_or(options.get_username());
    format!("{}:{}/{database}", options.get_host(), options.get_port())
}

/// Checks that all usage records lie before the first month that gets a partition of its own, so that the migration that makes a
/// partition of their table need not read it under a lock. Reading and writing go on meanwhile.
async fn prepare_months(pool: &PgPool) -> Result<(), StoreError> {
    const ADD: &str = "DO $$
        BEGIN
            INSERT INTO settings (name, value)
            SELECT 'usage_months_from', CAST(
                extract(epoch FROM date_trunc('month', to_timestamp(greatest(
                    extract(epoch FROM now()), coalesce(max(started_at_ms), 0) / 1000)) AT TIME ZONE 'UTC') + interval '2 months')::bigint * 1000
                AS TEXT)
            FROM usage_records ON CONFLICT (name) DO NOTHING;
            IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'usage_records_before_months') THEN
                EXECUTE format('ALTER TABLE usage_records ADD CONSTRAINT usage_records_before_months
                    CHECK (started_at_ms < %s) NOT VALID', (SELECT value FROM settings WHERE name = 'usage_months_from'));
            END IF;
        END $$";
    const CHECK: &str = "ALTER TABLE usage_records VALIDATE CONSTRAINT usage_records_before_months";
    let kind: Option<String> = sqlx::query_scalar(
        "SELECT CAST(relkind AS TEXT) FROM pg_class WHERE oid = to_regclass('usage_records')",
    )
    .fetch_optional(pool)
    .await?;
    if kind.as_deref() != Some("r") {
        return Ok(());
    }
    let mut loan = Loan::of(pool).await?;
    let work = async {
        let connection = loan.connection();
        sqlx::query("SELECT pg_advisory_lock($1)").bind(MIGRATION_LOCK).execute(&mut *connection).await?;
        let is_there: bool = sqlx::query_scalar(
            "SELECT count(*) = 1 FROM pg_class WHERE oid = to_regclass('usage_records') AND relkind = 'r'",
        )
        .fetch_one(&mut *connection)
        .await?;
        if is_there {
            sqlx::raw_sql(ADD).execute(&mut *connection).await?;
            sqlx::raw_sql(CHECK).execute(&mut *connection).await?;
        }
        sqlx::query("SELECT pg_advisory_unlock($1)").bind(MIGRATION_LOCK).execute(&mut *connection).await
    };
    let result = work.await;
    loan.settle(result)?;
    Ok(())
}

async fn migrate(pool: &PgPool, name: &str) -> Result<(), StoreError> {
    prepare_months(pool).await?;
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
