//! Opening of new databases, old ones, and files that are no database.

use std::fs;

use sqlx::Connection;
use store::{Store, StoreError};
use tempfile::TempDir;

use crate::usage;

fn url(folder: &TempDir, name: &str) -> String {
    format!("sqlite:{}", folder.path().join(name).display())
}

async fn open_error(url: &str) -> StoreError {
    Store::open(url).await.err().unwrap()
}

#[tokio::test]
async fn a_file_and_its_folders_are_created_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder, "some/folder/usage.db");
    let first = Store::open(&url).await.unwrap();
    let (key, secret) = first.create_key("one", 1).await.unwrap();
    // Another process opens the file while the gateway runs, such as the command that lists keys.
    let second = Store::open(&url).await.unwrap();
    assert_eq!(second.list_keys().await.unwrap(), [key]);
    let hash = second.key_hasher().hash(secret.expose());
    assert_eq!(second.active_keys().await.unwrap()[0].hash, hash, "the pepper is kept");
    first.close().await;
    second.is_ready().await.unwrap();
    assert!(first.is_ready().await.is_err());
}

#[tokio::test]
async fn several_openers_may_create_the_file_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder, "usage.db");
    let stores = tokio::join!(Store::open(&url), Store::open(&url), Store::open(&url));
    let hash = |store: Result<Store, StoreError>| store.unwrap().key_hasher().hash("lgw-a");
    let hashes = [hash(stores.0), hash(stores.1), hash(stores.2)];
    assert_eq!(hashes, [hashes[0]; 3]);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "milk, bread, butter. ".repeat(100)).unwrap();
    let error = open_error(&url(&folder, "notes.txt")).await;
    assert!(matches!(error, StoreError::NotADatabase { .. }), "{error}");
    assert!(error.to_string().contains("notes.txt is not an SQLite database"), "{error}");

    fs::create_dir(folder.path().join("folder")).unwrap();
    let error = open_error(&url(&folder, "folder")).await;
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
}

#[tokio::test]
async fn the_report_is_available_as_a_view() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder, "usage.db");
    Store::open(&url).await.unwrap().insert_usage(&[usage::REPORTED]).await.unwrap();
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    let row: usage::Reported = sqlx::query_as(usage::REPORT).fetch_one(&mut connection).await.unwrap();
    assert_eq!(row, usage::reported());
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder, "usage.db");
    Store::open(&url).await.unwrap().close().await;
    let mut connection = sqlx::SqliteConnection::connect(&url).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let error = open_error(&url).await;
    assert!(matches!(error, StoreError::NewerSchema { found: 99, known: 16, .. }), "{error}");
}

#[cfg(unix)]
#[tokio::test]
async fn the_file_is_private_and_a_missing_permission_is_reported() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().unwrap();
    Store::open(&url(&folder, "usage.db")).await.unwrap();
    let mode = fs::metadata(folder.path().join("usage.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // Root ignores permissions, so the first case uses /proc, which refuses root too.
    let error = open_error("sqlite:/proc/llmgateway/usage.db").await;
    assert!(matches!(error, StoreError::Open { .. } | StoreError::Permission { .. }), "{error}");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if let Err(error) = Store::open(&url(&folder, "other.db")).await {
        assert!(matches!(error, StoreError::Permission { .. }), "{error}");
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn bad_urls_are_explained_without_the_password() {
    for bad in ["", "usage.db", "sqlite:", "mysql://u:hunter2@h/d", "postgres://u:hunter2@[bad/d"] {
        let error = open_error(bad).await;
        assert!(matches!(error, StoreError::Url { .. }), "{bad}: {error}");
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
    let error = open_error("postgres://u:hunter2@127.0.0.1:1/d").await;
    assert!(matches!(error, StoreError::Open { .. }), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1/d"), "{error}");
}

#[tokio::test]
async fn records_of_an_older_version_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let url = url(&folder, "usage.db");
    let mut old = sqlx::SqliteConnection::connect(&format!("{url}?mode=rwc")).await.unwrap();
    sqlx::raw_sql(include_str!("../../src/migrations/sqlite/0001.sql")).execute(&mut old).await.unwrap();
    let insert = r#"INSERT INTO usage_records VALUES (2, 'b', 5, 'k', '{"request_id":"b"}'), (1, 'a', 5, 'k', '{"request_id":"a"}')"#;
    sqlx::raw_sql(insert).execute(&mut old).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 1").execute(&mut old).await.unwrap();
    old.close().await.unwrap();

    let store = Store::open(&url).await.unwrap();
    assert_eq!(crate::request_ids(&store).await, ["a", "b"]);
    let again = r#"{"nonce":5,"request_id":"a","started_at_ms":1,"key_id":"k"}"#;
    assert_eq!(store.insert_usage(&[again]).await.unwrap(), 0);
}
