//! The database behind one type. The SQL that both databases share is here, with `$1` for parameters, which
//! both understand; the differences are in `sqlite.rs` and `postgres.rs`.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use canon::Secret;
use sqlx::{Connection, PgPool};

use crate::bodies::{self, KeptBodies};
use crate::changes::{self, Changes};
use crate::conversations::{self, Addition, Conversation, StoredItem};
use crate::error::RejectedSums;
use crate::keys::{self, KeyFields, KeyHash, KeyHasher, KeyRow, NewKey, random_bytes};
use crate::ledger::{self, LedgerDay, Spent};
use crate::nodes::{self, Node};
use crate::projects::{self, Audit, AuditRow, Project, WriteOutcome};
use crate::responses::{self, Chain, StoredResponse};
use crate::sessions::{self, ConsoleSession};
use crate::sqlite::Sqlite;
use crate::suspensions::{self, Suspension};
use crate::webhooks::{self, Delivery};
use crate::{StoreError, UsageRecord, postgres, sqlite};

/// The database. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pub(crate) pool: Pool,
    hasher: KeyHasher,
    url: Secret,
    /// All records are in the sums.
    pub(crate) is_indexed: Arc<AtomicBool>,
    /// About how large the sums are that are not in the tables yet; [`UNKNOWN_BYTES`] or more while that is not known.
    pub(crate) pending_bytes: Arc<AtomicU64>,
    /// Sums that the tables do not take, until the writer reports them.
    pub(crate) set_aside: Arc<Mutex<Vec<RejectedSums>>>,
    /// Which months of usage records have a partition; only with PostgreSQL.
    pub(crate) months: Arc<postgres::Months>,
}

#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(Sqlite),
    Postgres(PgPool),
}

/// Rows that an earlier process left to fold.
const UNKNOWN_BYTES: u64 = u64::MAX / 2;

/// How long a statement may take: a connection that a firewall forgot would wait for ever.
pub(crate) const QUICK: Duration = Duration::from_secs(15);
pub(crate) const SLOW: Duration = Duration::from_mins(5);

/// Runs the same code on a connection of either pool, for so long at most. The two have different types, so that a
/// function would have to be generic over a page of trait bounds.
macro_rules! on_either {
    ($store:expr, $limit:expr, $connection:ident => $code:expr) => {
        match &$store.pool {
            $crate::store::Pool::Sqlite(database) => {
                let mut loan = database.connection().await?;
                let $connection = loan.connection();
                let result = $crate::store::within($limit, async { $code }).await;
                loan.settle(result)
            }
            $crate::store::Pool::Postgres(pool) => {
                let mut loan = $crate::loan::Loan::of(pool).await?;
                let $connection = loan.connection();
                let result = $crate::store::within($limit, async { $code }).await;
                loan.settle(result)
            }
        }
    };
}

pub(crate) use on_either;

/// Adds items to a conversation within a transaction; without the conversation nothing is changed, and the function returns
/// false. Touching the conversation first has others wait who add to it at the same time.
macro_rules! add_to_conversation {
    ($transaction:ident, $addition:expr) => {
        let addition: &Addition<'_> = $addition;
        let touched = sqlx::query(conversations::TOUCH)
            .bind(addition.conversation)
            .bind(addition.key_id)
            .bind(addition.now_ms)
            .bind(addition.expires_at_ms)
            .execute(&mut *$transaction)
            .await?;
        if touched.rows_affected() == 0 {
            $transaction.rollback().await?;
            return Ok(false);
        }
        let (next,): (i64,) = sqlx::query_as(conversations::NEXT)
            .bind(addition.conversation)
            .fetch_one(&mut *$transaction)
            .await?;
        for (position, item) in (next..).zip(addition.items) {
            sqlx::query(conversations::INSERT_ITEM)
                .bind(addition.conversation)
                .bind(position)
                .bind(&item.id)
                .bind(&item.item)
                .execute(&mut *$transaction)
                .await?;
        }
    };
}

/// Notifies all processes of the change of an object (`key:ID`, `project:ID` …), within a transaction.
macro_rules! announce {
    ($transaction:ident, $target:expr) => {
        // First the marker: its row is locked until the end of the transaction, so that revisions are
        // in the order of the commits.
        sqlx::query(changes::BUMP_MARKER).execute(&mut *$transaction).await?;
        sqlx::query(changes::INSERT).bind($target).execute(&mut *$transaction).await?;
        sqlx::query(changes::DELETE_OLD).bind(changes::MOST).execute(&mut *$transaction).await?;
    };
}

/// Runs one statement, logs the actor, announces the change of the object, and commits. False, without any
/// change, when the statement changes no row.
macro_rules! change {
    ($store:expr, $target:expr, $statement:expr, $audit:expr, $now_ms:expr) => {
        on_either!($store, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            if $statement.execute(&mut *transaction).await?.rows_affected() == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            let audit: Option<Audit> = $audit;
            if let Some(audit) = audit {
                sqlx::query(projects::AUDIT)
                    .bind($now_ms)
                    .bind(audit.actor)
                    .bind(audit.action)
                    .bind(audit.target)
                    .bind(audit.detail)
                    .execute(&mut *transaction)
                    .await?;
            }
            announce!(transaction, $target);
            transaction.commit().await?;
            Ok(true)
        })
    };
}

pub(crate) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    Ok(tokio::time::timeout(limit, work).await.map_err(|_| StoreError::Away)??)
}

impl Store {
    /// Opens `sqlite:PATH` (created with its folders if it is missing), `sqlite::memory:` or `postgres://…`, and
    /// brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let pool = match url.split_once(':') {
            Some(("sqlite", path)) => Pool::Sqlite(sqlite::open(path).await?),
            Some(("postgres" | "postgresql", _)) => Pool::Postgres(postgres::open(url).await?),
            Some((scheme, _)) => {
                return Err(StoreError::Url { reason: format!("{scheme:?} is not a supported database") });
            }
            None => return Err(StoreError::Url { reason: "it has no scheme".to_owned() }),
        };
        let mut store = Self {
            pool,
            hasher: KeyHasher::new([0; 32]),
            url: Secret::new(url),
            is_indexed: Arc::default(),
            pending_bytes: Arc::new(AtomicU64::new(UNKNOWN_BYTES)),
            set_aside: Arc::default(),
            months: Arc::default(),
        };
        store.hasher = KeyHasher::new(store.pepper().await?);
        Ok(store)
    }

    /// True for a database that is gone with its connection.
    pub(crate) fn is_in_memory(&self) -> bool {
        self.url.expose() == "sqlite::memory:"
    }

    /// The same database by other connections.
    pub(crate) async fn reopened(&self) -> Result<Self, StoreError> {
        let set_aside = self.set_aside.clone();
        Ok(Self { set_aside, ..Self::open(self.url.expose()).await? })
    }

    /// Hashes keys as they are stored here.
    pub fn key_hasher(&self) -> KeyHasher {
        self.hasher.clone()
    }

    /// Fails when the database does not answer.
    pub async fn is_ready(&self) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => sqlx::query("SELECT 1").execute(connection).await.map(drop))
    }

    /// Closes the connections, so that SQLite writes its log back into the file.
    pub async fn close(&self) {
        match &self.pool {
            Pool::Sqlite(database) => database.pool.close().await,
            Pool::Postgres(pool) => pool.close().await,
        }
    }

    // Usage records

    /// Inserts records, each given as JSON, with as few statements as possible and in one
    /// transaction. Records that are there already are left as they are. Returns how many were new.
    pub async fn insert_usage(&self, records: &[&str]) -> Result<u64, StoreError> {
        let inserted = match &self.pool {
            Pool::Sqlite(database) => sqlite::insert_usage(database, records).await,
            Pool::Postgres(pool) => postgres::insert_usage(pool, &self.months, records).await,
        }?;
        self.pending_bytes.fetch_add(inserted.pending_bytes, Ordering::Relaxed);
        Ok(inserted.records)
    }

    /// Whether the database takes a record: inserts one and takes it back.
    pub(crate) async fn try_insert(&self) -> Result<(), StoreError> {
        match &self.pool {
            Pool::Sqlite(database) => sqlite::try_insert(database).await,
            Pool::Postgres(pool) => postgres::try_insert(pool).await,
        }
    }

    // API keys

    /// Makes an API key of the default project. The secret is returned this once and stored nowhere.
    pub async fn create_key(&self, name: &str, now_ms: i64) -> Result<(KeyRow, Secret), StoreError> {
        self.create_key_with(&KeyFields::named(name), None, now_ms).await
    }

    /// Makes an API key. The secret is returned this once and stored nowhere.
    pub async fn create_key_with(
        &self,
        fields: &KeyFields,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<(KeyRow, Secret), StoreError> {
        let NewKey { id, prefix, secret } = NewKey::generate()?;
        let hash = self.hasher.hash(secret.expose());
        let audit = audit.map(|audit| Audit { target: format!("key:{id}"), ..audit.clone() });
        change!(
            self,
            format!("key:{id}"),
            sqlx::query(keys::INSERT)
                .bind(&id)
                .bind(&fields.name)
                .bind(&prefix)
                .bind(hash.as_slice())
                .bind(now_ms)
                .bind(&fields.project_id)
                .bind(&fields.roles)
                .bind(&fields.policy)
                .bind(fields.expires_at_ms)
                .bind(fields.disabled_at_ms),
            audit,
            now_ms
        )?;
        let row = KeyRow {
            id,
            fields: fields.clone(),
            prefix,
            version: 1,
            created_at_ms: now_ms,
            previous_until_ms: None,
            revoked_at_ms: None,
        };
        Ok((row, secret))
    }

    /// Every key, also revoked ones, the oldest first.
    pub async fn list_keys(&self) -> Result<Vec<KeyRow>, StoreError> {
        self.keys_after(None, u32::MAX).await
    }

    /// A page of keys, including revoked ones, the oldest first, after the one with this time and id.
    pub async fn keys_after(&self, after: Option<(i64, &str)>, most: u32) -> Result<Vec<KeyRow>, StoreError> {
        let (created_at_ms, id) = after.unwrap_or((i64::MIN, ""));
        let rows: Vec<keys::ListedRow> = on_either!(self, QUICK, connection => sqlx::query_as(keys::SELECT)
            .bind(created_at_ms)
            .bind(id)
            .bind(i64::from(most))
            .fetch_all(connection)
            .await)?;
        Ok(rows.into_iter().map(keys::listed).collect())
    }

    pub async fn key(&self, id: &str) -> Result<Option<KeyRow>, StoreError> {
        if has_nul(id) {
            return Ok(None);
        }
        let row: Option<keys::ListedRow> = on_either!(self, QUICK, connection => {
            sqlx::query_as(keys::SELECT_ONE).bind(id).fetch_optional(connection).await
        })?;
        Ok(row.map(keys::listed))
    }

    /// Changes the properties of a key, if it has this version. Its project stays.
    pub async fn update_key(
        &self,
        row: &KeyRow,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<WriteOutcome, StoreError> {
        let fields = &row.fields;
        let written = change!(
            self,
            format!("key:{}", row.id),
            sqlx::query(keys::UPDATE)
                .bind(&fields.name)
                .bind(&fields.roles)
                .bind(&fields.policy)
                .bind(fields.expires_at_ms)
                .bind(fields.disabled_at_ms)
                .bind(&row.id)
                .bind(row.version),
            audit.cloned(),
            now_ms
        )?;
        if written {
            Ok(WriteOutcome::Done)
        } else {
            let active = self.key(&row.id).await?.filter(|key| key.revoked_at_ms.is_none());
            Ok(if active.is_some() { WriteOutcome::Changed } else { WriteOutcome::Absent })
        }
    }

    /// Replaces a key's secret. The old one stays valid until the given time. None when there is no such active key.
    pub async fn rotate_key(
        &self,
        id: &str,
        previous_until_ms: i64,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<Option<Secret>, StoreError> {
        let NewKey { prefix, secret, .. } = NewKey::generate()?;
        let hash = self.hasher.hash(secret.expose());
        let is_done = change!(
            self,
            format!("key:{id}"),
            sqlx::query(keys::ROTATE).bind(previous_until_ms).bind(hash.as_slice()).bind(&prefix).bind(id),
            audit.cloned(),
            now_ms
        )?;
        Ok(is_done.then_some(secret))
    }

    /// Revokes a key. False when there is no such active key.
    pub async fn revoke_key(&self, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        self.revoke_key_with(id, None, now_ms).await
    }

    /// The same, with an entry in the audit log.
    pub async fn revoke_key_with(
        &self,
        id: &str,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        change!(
            self,
            format!("key:{id}"),
            sqlx::query(keys::REVOKE).bind(now_ms).bind(id),
            audit.cloned(),
            now_ms
        )
    }

    /// The keys that may be used, with their hashes. Those that expire are among them.
    pub async fn active_keys(&self) -> Result<Vec<KeyHash>, StoreError> {
        let rows: Vec<keys::ActiveRow> =
            on_either!(self, SLOW, connection => sqlx::query_as(keys::ACTIVE).fetch_all(connection).await)?;
        rows.into_iter().map(read_key).collect()
    }

    /// Those of them that changed after this marker.
    pub async fn active_keys_changed(&self, after: i64) -> Result<Vec<KeyHash>, StoreError> {
        let rows: Vec<keys::ActiveRow> = on_either!(self, QUICK, connection => {
            sqlx::query_as(keys::ACTIVE_CHANGED).bind(after).fetch_all(connection).await
        })?;
        rows.into_iter().map(read_key).collect()
    }

    // Projects

    /// The projects that changed after this marker.
    pub async fn projects_changed(&self, after: i64) -> Result<Vec<Project>, StoreError> {
        let rows: Vec<projects::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(projects::CHANGED).bind(after).fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(projects::from_row).collect())
    }

    /// A page of projects in the order of their ids, after this one.
    pub async fn projects_after(&self, id: &str, most: u32) -> Result<Vec<Project>, StoreError> {
        let rows: Vec<projects::Row> = on_either!(self, QUICK, connection => sqlx::query_as(projects::SELECT)
            .bind(id)
            .bind(i64::from(most))
            .fetch_all(connection)
            .await)?;
        Ok(rows.into_iter().map(projects::from_row).collect())
    }

    pub async fn project(&self, id: &str) -> Result<Option<Project>, StoreError> {
        if has_nul(id) {
            return Ok(None);
        }
        let row: Option<projects::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(projects::SELECT_ONE).bind(id).fetch_optional(connection).await
        })?;
        Ok(row.map(projects::from_row))
    }

    pub async fn create_project(
        &self,
        project: &Project,
        audit: Option<&Audit>,
    ) -> Result<WriteOutcome, StoreError> {
        let is_new = change!(
            self,
            format!("project:{}", project.id),
            sqlx::query(projects::INSERT)
                .bind(&project.id)
                .bind(&project.name)
                .bind(&project.policy)
                .bind(project.created_at_ms),
            audit.cloned(),
            project.created_at_ms
        )?;
        Ok(if is_new { WriteOutcome::Done } else { WriteOutcome::Exists })
    }

    /// Changes a project, if it has this version.
    pub async fn update_project(
        &self,
        project: &Project,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<WriteOutcome, StoreError> {
        let is_done = change!(
            self,
            format!("project:{}", project.id),
            sqlx::query(projects::UPDATE)
                .bind(&project.name)
                .bind(&project.policy)
                .bind(project.disabled_at_ms)
                .bind(&project.id)
                .bind(project.version),
            audit.cloned(),
            now_ms
        )?;
        self.written(is_done, &project.id).await
    }

    /// Deletes a project of this version that has no active key.
    pub async fn delete_project(
        &self,
        id: &str,
        version: i64,
        audit: Option<&Audit>,
        now_ms: i64,
    ) -> Result<WriteOutcome, StoreError> {
        let is_done = change!(
            self,
            format!("project:{id}"),
            sqlx::query(projects::DELETE).bind(id).bind(version),
            audit.cloned(),
            now_ms
        )?;
        self.written(is_done, id).await
    }

    async fn written(&self, is_done: bool, id: &str) -> Result<WriteOutcome, StoreError> {
        if is_done {
            return Ok(WriteOutcome::Done);
        }
        let exists = self.project(id).await?.is_some();
        Ok(if exists { WriteOutcome::Changed } else { WriteOutcome::Absent })
    }

    /// Writes an audit entry for an action that changes nothing in the database.
    pub async fn note(&self, audit: Audit, now_ms: i64) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(projects::AUDIT)
            .bind(now_ms)
            .bind(audit.actor)
            .bind(audit.action)
            .bind(audit.target)
            .bind(audit.detail)
            .execute(connection)
            .await
            .map(drop))
    }

    /// A page of the audit log before this entry, newest first.
    pub async fn audit_before(&self, id: i64, most: u32) -> Result<Vec<AuditRow>, StoreError> {
        let rows: Vec<projects::AuditedRow> = on_either!(self, QUICK, connection => sqlx::query_as(projects::AUDITED)
                .bind(id)
                .bind(i64::from(most))
                .fetch_all(connection)
                .await)?;
        Ok(rows.into_iter().map(projects::audited).collect())
    }

    // Sessions of the dashboard

    /// Begins a session, and forgets those that are over.
    pub async fn create_session(&self, session: &ConsoleSession, audit: Audit) -> Result<(), StoreError> {
        let now_ms = session.created_at_ms;
        on_either!(self, QUICK, connection => {
            sqlx::query(sessions::EXPIRE).bind(now_ms).execute(connection).await.map(drop)
        })?;
        change!(
            self,
            "session",
            sqlx::query(sessions::INSERT)
                .bind(&session.id)
                .bind(&session.name)
                .bind(&session.subject)
                .bind(&session.means)
                .bind(&session.role)
                .bind(&session.address)
                .bind(session.created_at_ms)
                .bind(session.expires_at_ms),
            Some(audit),
            now_ms
        )?;
        Ok(())
    }

    /// A session that is not over.
    pub async fn session(&self, id: &str, now_ms: i64) -> Result<Option<ConsoleSession>, StoreError> {
        let row: Option<sessions::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(sessions::SELECT_ONE).bind(id).bind(now_ms).fetch_optional(connection).await
        })?;
        Ok(row.map(sessions::from_row))
    }

    /// The sessions that are not over, the newest first.
    pub async fn sessions(&self, now_ms: i64) -> Result<Vec<ConsoleSession>, StoreError> {
        let rows: Vec<sessions::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(sessions::SELECT).bind(now_ms).fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(sessions::from_row).collect())
    }

    /// Ends a session. False when there is none.
    pub async fn end_session(&self, id: &str, audit: Audit, now_ms: i64) -> Result<bool, StoreError> {
        change!(self, "session", sqlx::query(sessions::DELETE).bind(id), Some(audit), now_ms)
    }

    // The ledger

    /// The charges of a scope (`project:ID`, `key:ID`), from each of three first days on and in all time;
    /// without a scope, those of all scopes.
    pub async fn spent(
        &self,
        scope: Option<&str>,
        days: [i64; 3],
    ) -> Result<HashMap<String, Spent>, StoreError> {
        let rows: Vec<ledger::SpentRow> = match scope {
            Some(scope) => on_either!(self, QUICK, connection => sqlx::query_as(ledger::SPENT_OF)
                .bind(days[0])
                .bind(days[1])
                .bind(days[2])
                .bind(scope)
                .fetch_all(connection)
                .await)?,
            None => on_either!(self, SLOW, connection => sqlx::query_as(ledger::SPENT)
                .bind(days[0])
                .bind(days[1])
                .bind(days[2])
                .fetch_all(connection)
                .await)?,
        };
        Ok(rows.into_iter().map(ledger::spent).collect())
    }

    /// The charges of each process that shares budgets in a scope from a day on, and under the name "" all
    /// others. Only PostgreSQL is shared.
    pub async fn spent_by_node(&self, scope: &str, since: i64) -> Result<Vec<(String, i64)>, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query_as(ledger::BY_NODE)
            .bind(scope)
            .bind(since)
            .fetch_all(connection)
            .await)
    }

    /// Whether other processes on other machines can use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(self.pool, Pool::Postgres(_))
    }

    /// The days of a scope from one on, the newest first.
    pub async fn ledger(&self, scope: &str, since: i64, most: u32) -> Result<Vec<LedgerDay>, StoreError> {
        let rows: Vec<(String, i64, i64, i64, i64)> = on_either!(self, QUICK, connection => sqlx::query_as(ledger::DAYS)
                .bind(scope)
                .bind(since)
                .bind(i64::from(most))
                .fetch_all(connection)
                .await)?;
        let day = |(scope, day, spent_pico, requests, unpriced)| LedgerDay {
            scope,
            day,
            spent_pico,
            requests,
            unpriced,
        };
        Ok(rows.into_iter().map(day).collect())
    }

    /// Notifications of changes by any process. SQLite sends none: its users have to check.
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        Ok(Changes(match &self.pool {
            Pool::Sqlite(_) => None,
            Pool::Postgres(_) => Some(postgres::listen(self.url.expose()).await?),
        }))
    }

    // Stored responses

    /// Stores an answer, with the ids of items that lead to it, and its additions to its conversation: all or
    /// nothing. False, without any change, when the conversation no longer exists.
    pub async fn put_response(
        &self,
        response: &StoredResponse,
        items: &[String],
        addition: Option<&Addition<'_>>,
    ) -> Result<bool, StoreError> {
        let bytes = response.bytes() as i64;
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            sqlx::query(responses::INSERT)
                .bind(&response.id)
                .bind(&response.key_id)
                .bind(&response.previous_id)
                .bind(&response.model)
                .bind(response.created_at_ms)
                .bind(response.expires_at_ms)
                .bind(bytes)
                .bind(&response.input)
                .bind(&response.response)
                .execute(&mut *transaction)
                .await?;
            for item in items {
                sqlx::query(responses::INSERT_ITEM)
                    .bind(&response.id)
                    .bind(item)
                    .bind(&response.key_id)
                    .execute(&mut *transaction)
                    .await?;
            }
            if let Some(addition) = addition {
                add_to_conversation!(transaction, addition);
            }
            transaction.commit().await.map(|()| true)
        })
    }

    /// Whether any caller has an answer with this id.
    pub async fn has_response(&self, id: &str) -> Result<bool, StoreError> {
        let row: Option<(i32,)> = on_either!(self, QUICK, connection => sqlx::query_as(responses::EXISTS)
            .bind(id)
            .fetch_optional(connection)
            .await)?;
        Ok(row.is_some())
    }

    /// The id of this key's answer that has an item of this id.
    pub async fn answer_of_item(&self, key_id: &str, item_id: &str) -> Result<Option<String>, StoreError> {
        let row: Option<(String,)> = on_either!(self, QUICK, connection => sqlx::query_as(responses::OF_ITEM)
            .bind(key_id)
            .bind(item_id)
            .fetch_optional(connection)
            .await)?;
        Ok(row.map(|(id,)| id))
    }

    /// The answer of this id, if it is this key's and its time is not over.
    pub async fn response(
        &self,
        key_id: &str,
        id: &str,
        now_ms: i64,
    ) -> Result<Option<StoredResponse>, StoreError> {
        let row: Option<responses::Row> = on_either!(self, QUICK, connection => sqlx::query_as(responses::SELECT)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .fetch_optional(connection)
            .await)?;
        Ok(row.map(responses::from_row))
    }

    /// The conversation up to the answer of this id, if it is this key's and its time is not over. More than `most_bytes`
    /// are not loaded.
    pub async fn response_chain(
        &self,
        key_id: &str,
        id: &str,
        now_ms: i64,
        most_bytes: u64,
    ) -> Result<Chain, StoreError> {
        let links: Vec<responses::ChainLink> = on_either!(self, QUICK, connection => sqlx::query_as(responses::LINKS)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .bind(responses::most_links())
            .fetch_all(connection)
            .await)?;
        if let Some(trouble) = responses::check(id, &links, most_bytes) {
            return Ok(trouble);
        }
        let rows: Vec<responses::Row> = on_either!(self, QUICK, connection => sqlx::query_as(responses::CHAIN)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .bind(responses::most_links())
            .fetch_all(connection)
            .await)?;
        Ok(responses::chain(id, rows.into_iter().map(responses::from_row).collect()))
    }

    /// Deletes an answer. False when this key has none of this id.
    pub async fn delete_response(&self, key_id: &str, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(responses::DELETE)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .execute(connection)
            .await
            .map(|result| result.rows_affected() > 0))
    }

    /// Deletes expired answers, at most `most`; returns how many. Fewer than `most` does not mean that all
    /// are deleted: an answer is deleted once no later one continues it. None means that.
    pub async fn delete_expired_responses(&self, now_ms: i64, most: u32) -> Result<u64, StoreError> {
        self.delete_slice(responses::DELETE_EXPIRED, now_ms, most).await
    }

    /// Runs a statement that deletes at most `most` rows from before a time, in its unit; returns how many.
    pub(crate) async fn delete_slice(
        &self,
        statement: &'static str,
        before_ms: i64,
        most: u32,
    ) -> Result<u64, StoreError> {
        on_either!(self, SLOW, connection => sqlx::query(statement)
            .bind(before_ms)
            .bind(i64::from(most))
            .execute(connection)
            .await
            .map(|result| result.rows_affected()))
    }

    // Bodies of requests

    /// Stores the bodies of requests.
    pub async fn put_bodies(&self, all: &[KeptBodies]) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            for kept in all {
                sqlx::query(bodies::INSERT)
                    .bind(&kept.request_id)
                    .bind(kept.started_at_ms)
                    .bind(kept.expires_at_ms)
                    .bind(&kept.content)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }

    /// The bodies of a request, if they were kept and have not expired.
    pub async fn bodies(
        &self,
        request_id: &str,
        started_at_ms: i64,
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query_scalar(bodies::SELECT)
            .bind(request_id)
            .bind(started_at_ms)
            .bind(now_ms)
            .fetch_optional(connection)
            .await)
    }

    /// Deletes expired bodies, at most `most`; returns how many.
    pub async fn delete_expired_bodies(&self, now_ms: i64, most: u32) -> Result<u64, StoreError> {
        self.delete_slice(bodies::DELETE_EXPIRED, now_ms, most).await
    }

    // Webhooks

    /// Stores deliveries. A delivery that any process has stored before is not stored again.
    pub async fn add_deliveries(&self, deliveries: &[Delivery]) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            for delivery in deliveries {
                sqlx::query(webhooks::INSERT)
                    .bind(&delivery.event)
                    .bind(&delivery.endpoint)
                    .bind(&delivery.body)
                    .bind(delivery.created_at_ms)
                    .execute(&mut *transaction)
                    .await?;
            }
            transaction.commit().await
        })
    }

    /// Takes due deliveries, at most `most`. No other process gets them before `again_at_ms`.
    pub async fn take_deliveries(
        &self,
        now_ms: i64,
        again_at_ms: i64,
        most: u32,
    ) -> Result<Vec<Delivery>, StoreError> {
        let rows: Vec<webhooks::Row> = on_either!(self, QUICK, connection => sqlx::query_as(webhooks::TAKE)
            .bind(now_ms)
            .bind(again_at_ms)
            .bind(i64::from(most))
            .fetch_all(connection)
            .await)?;
        Ok(rows.into_iter().map(webhooks::from_row).collect())
    }

    /// Says when a delivery is tried next; none when it was taken, or is given up.
    pub async fn put_off_delivery(
        &self,
        delivery: &Delivery,
        next_at_ms: Option<i64>,
    ) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(webhooks::PUT_OFF)
            .bind(&delivery.event)
            .bind(&delivery.endpoint)
            .bind(next_at_ms)
            .execute(connection)
            .await
            .map(drop))
    }

    /// Deletes deliveries that are over and older than this, but for events like `lasting` (a pattern of `LIKE`).
    pub async fn forget_deliveries(&self, before_ms: i64, lasting: &str) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(webhooks::FORGET)
            .bind(before_ms)
            .bind(lasting)
            .execute(connection)
            .await
            .map(drop))
    }

    // Conversations

    /// Makes a conversation of these items.
    pub async fn create_conversation(
        &self,
        conversation: &Conversation,
        items: &[StoredItem],
    ) -> Result<(), StoreError> {
        let addition = Addition {
            conversation: &conversation.id,
            key_id: &conversation.key_id,
            now_ms: conversation.created_at_ms,
            expires_at_ms: conversation.expires_at_ms,
            items,
        };
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            sqlx::query(conversations::INSERT)
                .bind(&conversation.id)
                .bind(&conversation.key_id)
                .bind(conversation.created_at_ms)
                .bind(conversation.expires_at_ms)
                .bind(&conversation.metadata)
                .execute(&mut *transaction)
                .await?;
            add_to_conversation!(transaction, &addition);
            transaction.commit().await.map(|()| true)
        })?;
        Ok(())
    }

    /// The conversation of this id, if it is this key's and its time is not over.
    pub async fn conversation(
        &self,
        key_id: &str,
        id: &str,
        now_ms: i64,
    ) -> Result<Option<Conversation>, StoreError> {
        let row: Option<conversations::Row> = on_either!(self, QUICK, connection => sqlx::query_as(conversations::SELECT)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .fetch_optional(connection)
            .await)?;
        Ok(row.map(conversations::from_row))
    }

    /// Whether any caller has a conversation with this id.
    pub async fn has_conversation(&self, id: &str) -> Result<bool, StoreError> {
        let row: Option<(i32,)> = on_either!(self, QUICK, connection => sqlx::query_as(conversations::EXISTS)
            .bind(id)
            .fetch_optional(connection)
            .await)?;
        Ok(row.is_some())
    }

    /// The bytes of a conversation's items.
    pub async fn conversation_bytes(&self, id: &str) -> Result<u64, StoreError> {
        let (bytes,): (i64,) = on_either!(self, QUICK, connection => sqlx::query_as(conversations::BYTES)
            .bind(id)
            .fetch_one(connection)
            .await)?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    /// A conversation's items, the first one first.
    pub async fn conversation_items(&self, id: &str) -> Result<Vec<StoredItem>, StoreError> {
        let rows: Vec<(String, String)> = on_either!(self, QUICK, connection => sqlx::query_as(conversations::ITEMS)
            .bind(id)
            .fetch_all(connection)
            .await)?;
        Ok(rows.into_iter().map(|(id, item)| StoredItem { id, item }).collect())
    }

    /// Adds items. False when there is no such conversation.
    pub async fn add_to_conversation(&self, addition: &Addition<'_>) -> Result<bool, StoreError> {
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            add_to_conversation!(transaction, addition);
            transaction.commit().await.map(|()| true)
        })
    }

    /// Sets a conversation's metadata. False when this key has none of this id.
    pub async fn describe_conversation(
        &self,
        key_id: &str,
        id: &str,
        now_ms: i64,
        metadata: &str,
    ) -> Result<bool, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(conversations::DESCRIBE)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .bind(metadata)
            .execute(connection)
            .await
            .map(|result| result.rows_affected() > 0))
    }

    /// Deletes a conversation with its items. False when this key has none of this id.
    pub async fn delete_conversation(&self, key_id: &str, id: &str, now_ms: i64) -> Result<bool, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(conversations::DELETE)
            .bind(id)
            .bind(key_id)
            .bind(now_ms)
            .execute(connection)
            .await
            .map(|result| result.rows_affected() > 0))
    }

    /// Deletes an item. False when the conversation has none of this id.
    pub async fn delete_conversation_item(&self, id: &str, item_id: &str) -> Result<bool, StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(conversations::DELETE_ITEM)
            .bind(id)
            .bind(item_id)
            .execute(connection)
            .await
            .map(|result| result.rows_affected() > 0))
    }

    /// Deletes expired conversations, at most `most`; returns how many.
    pub async fn delete_expired_conversations(&self, now_ms: i64, most: u32) -> Result<u64, StoreError> {
        on_either!(self, SLOW, connection => sqlx::query(conversations::DELETE_EXPIRED)
            .bind(now_ms)
            .bind(i64::from(most))
            .execute(connection)
            .await
            .map(|result| result.rows_affected()))
    }

    // The response cache

    /// Has every node forget the cached answers of a project.
    pub async fn purge_cache(&self, project: &str, audit: Audit, now_ms: i64) -> Result<(), StoreError> {
        change!(
            self,
            format!("cache:{project}"),
            sqlx::query(projects::PURGE).bind(projects::purged(project)).bind(now_ms.to_string()),
            Some(audit),
            now_ms
        )?;
        Ok(())
    }

    /// When the cached answers of projects were purged last.
    pub async fn cache_purges(&self) -> Result<HashMap<String, i64>, StoreError> {
        let rows: Vec<(String, i64)> = on_either!(self, QUICK, connection => {
            sqlx::query_as(projects::PURGES).fetch_all(connection).await
        })?;
        let project = |(name, at): (String, i64)| Some((projects::purged_project(&name)?.to_owned(), at));
        Ok(rows.into_iter().filter_map(project).collect())
    }

    // Suspensions

    /// All suspensions, including expired ones.
    pub async fn suspensions(&self) -> Result<Vec<Suspension>, StoreError> {
        let rows: Vec<suspensions::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(suspensions::SELECT).fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(suspensions::from_row).collect())
    }

    /// Suspends a provider or a key; replaces an earlier suspension of it.
    pub async fn suspend(&self, suspension: &Suspension, audit: Audit) -> Result<(), StoreError> {
        let now_ms = suspension.since_ms;
        change!(
            self,
            "suspensions",
            sqlx::query(suspensions::UPSERT)
                .bind(&suspension.provider)
                .bind(suspension.key.as_deref().unwrap_or_default())
                .bind(&suspension.reason)
                .bind(&suspension.actor)
                .bind(suspension.since_ms)
                .bind(suspension.until_ms),
            Some(audit),
            now_ms
        )?;
        Ok(())
    }

    /// Ends a suspension. False when there is none.
    pub async fn end_suspension(
        &self,
        provider: &str,
        key: Option<&str>,
        audit: Audit,
        now_ms: i64,
    ) -> Result<bool, StoreError> {
        let key = key.unwrap_or_default();
        change!(
            self,
            "suspensions",
            sqlx::query(suspensions::DELETE).bind(provider).bind(key),
            Some(audit),
            now_ms
        )
    }

    // Nodes

    /// Writes the row of a process.
    pub async fn report_node(&self, node: &Node) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => sqlx::query(nodes::UPSERT)
            .bind(&node.id)
            .bind(&node.name)
            .bind(&node.version)
            .bind(&node.config)
            .bind(node.started_at_ms)
            .bind(node.seen_at_ms)
            .bind(&node.state)
            .bind(node.spool_bytes)
            .bind(&node.reload)
            .execute(connection)
            .await
            .map(drop))
    }

    /// Declares a process lost that was not seen since a time: the running ones then release what it holds.
    pub async fn forget_node(
        &self,
        id: &str,
        before_ms: i64,
        audit: Audit,
        now_ms: i64,
    ) -> Result<WriteOutcome, StoreError> {
        if change!(self, "node", sqlx::query(nodes::FORGET).bind(id).bind(before_ms), Some(audit), now_ms)? {
            return Ok(WriteOutcome::Done);
        }
        let is_known = self.nodes().await?.iter().any(|node| node.id == id);
        Ok(if is_known { WriteOutcome::Changed } else { WriteOutcome::Absent })
    }

    /// Deletes the row of a process, if it was not seen since a time.
    pub async fn delete_node(&self, id: &str, before_ms: i64) -> Result<(), StoreError> {
        on_either!(self, QUICK, connection => {
            sqlx::query(nodes::DELETE).bind(id).bind(before_ms).execute(connection).await.map(drop)
        })
    }

    /// The processes on this database, by the names of their machines.
    pub async fn nodes(&self) -> Result<Vec<Node>, StoreError> {
        let rows: Vec<nodes::Row> = on_either!(self, QUICK, connection => {
            sqlx::query_as(nodes::SELECT).fetch_all(connection).await
        })?;
        Ok(rows.into_iter().map(nodes::from_row).collect())
    }

    // Settings

    /// A number that changes with every change of a key or a setting, by whichever process.
    pub async fn change_marker(&self) -> Result<i64, StoreError> {
        let marker = self.setting(changes::MARKER).await?.unwrap_or_default();
        marker.parse().map_err(|error| corrupt("change marker", error))
    }

    /// The objects that changed after one marker and up to another: `key:ID`, `project:ID` … None when they are
    /// not all known: too many, or the database was restored, or an old release changed some of them.
    pub async fn changed(&self, after: i64, until: i64) -> Result<Option<Vec<String>>, StoreError> {
        let targets: Vec<String> = on_either!(self, QUICK, connection => sqlx::query_scalar(changes::SELECT)
            .bind(after)
            .bind(until)
            .bind(changes::MOST)
            .fetch_all(connection)
            .await)?;
        let is_complete = usize::try_from(until - after).is_ok_and(|count| count == targets.len());
        Ok(is_complete.then_some(targets))
    }

    /// The value of a setting.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, StoreError> {
        const SQL: &str = "SELECT value FROM settings WHERE name = $1";
        on_either!(self, QUICK, connection => {
            sqlx::query_scalar(SQL).bind(name).fetch_optional(connection).await
        })
    }

    pub async fn set_setting(&self, name: &str, value: &str) -> Result<(), StoreError> {
        const SQL: &str = "INSERT INTO settings (name, value) VALUES ($1, $2)
            ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        on_either!(self, QUICK, connection => {
            let mut transaction = connection.begin().await?;
            sqlx::query(SQL).bind(name).bind(value).execute(&mut *transaction).await?;
            announce!(transaction, format!("setting:{name}"));
            transaction.commit().await
        })
    }

    /// The secret with which keys are hashed. The first process creates it.
    async fn pepper(&self) -> Result<[u8; 32], StoreError> {
        const SQL: &str = "INSERT INTO settings (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
        if self.setting(PEPPER).await?.is_none() {
            let pepper = blake3::Hash::from_bytes(random_bytes()?).to_hex();
            on_either!(self, QUICK, connection => {
                sqlx::query(SQL).bind(PEPPER).bind(pepper.as_str()).execute(connection).await.map(drop)
            })?;
        }
        let hex = self.setting(PEPPER).await?.unwrap_or_default();
        let pepper =
            blake3::Hash::from_hex(hex).map_err(|error| corrupt("pepper of the key hashes", error))?;
        Ok(*pepper.as_bytes())
    }
}

const PEPPER: &str = "key_pepper";

fn read_key(row: keys::ActiveRow) -> Result<KeyHash, StoreError> {
    keys::active(row).ok_or_else(|| corrupt("hash of an API key", "it is not 32 bytes long"))
}

pub(crate) fn read_record(record: &str) -> Result<UsageRecord, StoreError> {
    serde_json::from_str(record).map_err(|error| corrupt("usage record", error))
}

pub(crate) fn corrupt(what: &'static str, reason: impl ToString) -> StoreError {
    StoreError::Corrupt { what, reason: reason.to_string() }
}

/// PostgreSQL has no texts with this character, and reports an error instead of finding nothing.
fn has_nul(text: &str) -> bool {
    text.contains('\0')
}
