//! What is particular to PostgreSQL: connecting, migrations, the insertion of many records.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions, PgPool};

use crate::StoreError;

/// Parameter: a JSON array of records, as text.
pub(crate) const INSERT_USAGE: &str = "INSERT INTO usage_records
        (started_at_ms, request_id, nonce, key_id, record)
    SELECT (line ->> 'started_at_ms')::bigint, line ->> 'request_id', coalesce((line ->> 'nonce')::bigint, 0),
        line ->> 'key_id', line
    FROM jsonb_array_elements($1::text::jsonb) AS line
    ON CONFLICT DO NOTHING";

const MIGRATIONS: &[&str] = &[include_str!("migrations/postgres/0001.sql")];
/// Any number, as long as all releases use the same.
const MIGRATION_LOCK: i64 = 0x6c_6c_6d_67_61_74_65;
const CONNECTIONS: u32 = 4;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn open(url: &str) -> Result<PgPool, StoreError> {
    // The parser's message may quote what it could not read, and with it the password.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| StoreError::Url { reason: "it is no valid PostgreSQL URL".to_owned() })?;
    let name = display_name(&options);
    let pool = PgPoolOptions::new()
        .max_connections(CONNECTIONS)
        .acquire_timeout(CONNECT_TIMEOUT)
        .connect_with(options.application_name("llmgateway").disable_statement_logging())
        .await
        .map_err(|error| StoreError::Open { path: name.clone(), reason: error.to_string() })?;
    migrate(&pool, &name).await?;
    Ok(pool)
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
