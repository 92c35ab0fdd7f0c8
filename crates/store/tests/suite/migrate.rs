//! Databases of release 0.1 are migrated. Its binary made the dumps: three keys, one of them revoked, and four requests of
//! the first key.

use sqlx::Connection;
use store::{DEFAULT_PROJECT, Store, UsageQuery};

pub(crate) const SQLITE: &str = include_str!("../data/release-0.1-sqlite.sql");
pub(crate) const POSTGRES: &str = include_str!("../data/release-0.1-postgres.sql");

/// The first keys of the two dumps.
const SQLITE_KEY: &str = "lgw-WgOUAYWZnHSHzOzBAUdqZdv_7u556VYwgo8qrQEgVoM";
pub(crate) const POSTGRES_KEY: &str = "lgw--OU61SrzGo_wEOPCHu1J3TgAZa5M4A4P32NYe_vab6s";

pub(crate) async fn all_rows_are_migrated(store: &Store, key: &str) {
    let hash = store.key_hasher().hash(key);
    let active = store.active_keys().await.unwrap();
    assert_eq!(active.len(), 2, "one is revoked");
    let first = active.iter().find(|key| key.hash == hash).unwrap();
    assert_eq!((first.fields.name.as_str(), first.fields.roles.as_str()), ("first", "inference"));
    assert_eq!((first.fields.project_id.as_str(), first.fields.policy.as_str()), (DEFAULT_PROJECT, "{}"));
    assert_eq!(store.projects_after("", 9).await.unwrap().len(), 1);

    let records = store.usage(Default::default()).await.unwrap();
    assert_eq!(records.len(), 4);
    assert!(records.iter().all(|record| record.key_id == first.id && record.project.is_empty()));
    let total: i64 = records.iter().filter_map(|record| record.cost).map(|cost| cost.total.0).sum();
    for scope in ["project:default".to_owned(), format!("key:{}", first.id)] {
        let days = store.ledger(&scope, 0, 9).await.unwrap();
        assert_eq!(days.iter().map(|day| day.requests).sum::<i64>(), 4, "{scope}");
        assert_eq!(days.iter().map(|day| day.spent_pico).sum::<i64>(), total, "{scope}");
    }
    while store.index_old_usage(1).await.unwrap() {}
    let query = UsageQuery { until_ms: i64::MAX, ..UsageQuery::default() };
    let sums = store.usage_sums(&query).await.unwrap();
    assert_eq!((sums[0].sums.requests(), sums[0].sums.cost().0), (4, total));
}

#[tokio::test]
async fn on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("old.db").display());
    let mut old = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    sqlx::raw_sql(SQLITE).execute(&mut old).await.unwrap();
    old.close().await.unwrap();
    all_rows_are_migrated(&Store::open(&url).await.unwrap(), SQLITE_KEY).await;
    all_rows_are_migrated(&Store::open(&url).await.unwrap(), SQLITE_KEY).await;
}
