//! The same behaviour on PostgreSQL, when `LLMGATEWAY_TEST_POSTGRES` names a database whose tables may be dropped.

use sqlx::Connection;
use store::{Store, StoreError};

use crate::{keys, usage};

async fn empty(url: &str) -> Store {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("DROP TABLE IF EXISTS schema_version, settings, api_keys, usage_records CASCADE")
        .execute(&mut connection)
        .await
        .unwrap();
    Store::open(url).await.unwrap()
}

/// One test, for all share the tables.
#[tokio::test]
async fn on_postgres() {
    #[expect(clippy::disallowed_methods, reason = "a setting of test runs, not of the gateway")]
    let url = std::env::var("LLMGATEWAY_TEST_POSTGRES");
    let Ok(url) = url else {
        eprintln!("skipped: LLMGATEWAY_TEST_POSTGRES names no database");
        return;
    };
    usage::inserts_are_idempotent(&empty(&url).await).await;
    usage::a_repeated_request_id_is_another_record(&empty(&url).await).await;
    usage::one_bad_line_refuses_the_batch(&empty(&url).await).await;
    usage::a_full_record_comes_back_as_it_was(&empty(&url).await).await;
    usage::filters_pick_the_newest(&empty(&url).await).await;
    keys::keys_are_created_listed_and_revoked(&empty(&url).await).await;
    keys::the_marker_tells_of_every_change(&empty(&url).await).await;
    opening_again_keeps_everything(&url).await;
}

async fn opening_again_keeps_everything(url: &str) {
    let store = empty(url).await;
    let hash = store.key_hasher().hash("lgw-a");
    store.create_key("one", 1).await.unwrap();
    let (second, third) = tokio::join!(Store::open(url), Store::open(url));
    assert_eq!(second.unwrap().key_hasher().hash("lgw-a"), hash);
    assert_eq!(third.unwrap().list_keys().await.unwrap().len(), 1);

    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("INSERT INTO schema_version VALUES (99)").execute(&mut connection).await.unwrap();
    let error = Store::open(url).await.err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 99, .. }), "{error}");
    sqlx::raw_sql("DELETE FROM schema_version WHERE version = 99").execute(&mut connection).await.unwrap();
    store.is_ready().await.unwrap();
}
