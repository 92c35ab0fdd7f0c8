//! Usage records in the database. The functions that take a store run on both databases.

use store::{Store, StoreError, UsageFilter};

use crate::{drain, full_record, memory, record, request_ids, spool};

fn line(request_id: &str, started_at_ms: i64, nonce: i64) -> String {
    format!(
        r#"{{"nonce":{nonce},"request_id":"{request_id}","started_at_ms":{started_at_ms},"key_id":"k","status":200}}"#
    )
}

pub(crate) async fn inserts_are_idempotent(store: &Store) {
    let lines: Vec<String> =
        (0..300).map(|number| line(&format!("{number:03}"), number / 4, number)).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(store.insert_usage(&lines[..77]).await.unwrap(), 77);
    assert_eq!(store.insert_usage(&lines).await.unwrap(), 223);
    assert_eq!(store.insert_usage(&lines).await.unwrap(), 0);
    assert_eq!(store.insert_usage(&[]).await.unwrap(), 0);
    assert_eq!(request_ids(store).await.len(), 300);
}

/// A client that repeats its request id, or sends one id with every request, is metered for each request.
pub(crate) async fn a_repeated_request_id_is_another_record(store: &Store) {
    let lines = [line("same", 1, 1), line("same", 1, 2), line("same", 2, 1)];
    let lines = lines.each_ref().map(String::as_str);
    assert_eq!(store.insert_usage(&lines).await.unwrap(), 3);
    let filter = UsageFilter { request_id: Some("same".to_owned()), ..UsageFilter::default() };
    assert_eq!(store.usage(filter).await.unwrap().len(), 3);
}

pub(crate) async fn one_bad_line_refuses_the_batch(store: &Store) {
    for bad in ["", "{}", "[]", "{\"request_id\":\"x\"}", "not json"] {
        let good = line("good", 1, 1);
        assert!(store.insert_usage(&[&good, bad]).await.is_err(), "{bad:?}");
    }
    assert_eq!(request_ids(store).await, Vec::<String>::new());
}

pub(crate) async fn a_full_record_is_read_unchanged(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    spool.append(&full_record()).unwrap();
    drain(store, reader).await;
    let mut expected = full_record();
    // PostgreSQL cannot store U+0000.
    expected.session_id = Some("s\u{fffd}1".to_owned());
    assert_eq!(store.usage(UsageFilter::default()).await.unwrap(), [expected]);
}

pub(crate) async fn filters_pick_the_newest(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    for time in 0..10 {
        let mut one = record(&format!("r{time}"), time);
        one.key_id = format!("key_{}", time % 2);
        spool.append(&one).unwrap();
    }
    drain(store, reader).await;
    let ids = async |filter: UsageFilter| -> Vec<String> {
        store.usage(filter).await.unwrap().into_iter().map(|record| record.request_id).collect()
    };
    let since = UsageFilter { since_ms: Some(6), ..UsageFilter::default() };
    assert_eq!(ids(since.clone()).await, ["r9", "r8", "r7", "r6"]);
    assert_eq!(ids(UsageFilter { until_ms: Some(8), ..since.clone() }).await, ["r7", "r6"]);
    assert_eq!(ids(UsageFilter { key_id: Some("key_1".to_owned()), ..since.clone() }).await, ["r9", "r7"]);
    assert_eq!(ids(UsageFilter { limit: Some(1), ..since }).await, ["r9"]);
}

#[tokio::test]
async fn on_sqlite() {
    inserts_are_idempotent(&memory().await).await;
    a_repeated_request_id_is_another_record(&memory().await).await;
    one_bad_line_refuses_the_batch(&memory().await).await;
    a_full_record_is_read_unchanged(&memory().await).await;
    filters_pick_the_newest(&memory().await).await;
}

#[tokio::test]
async fn a_bad_line_is_identified() {
    let error = memory().await.insert_usage(&["{}"]).await.unwrap_err();
    assert!(matches!(error, StoreError::Corrupt { what: "usage line", .. }), "{error}");
}

/// A broken stream, for the view.
pub const REPORTED: &str = r#"{"request_id":"a","started_at_ms":1,"duration_ms":1500,"key_id":"k",
    "requested_model":"m","used_provider":"p","status":502,"error_kind":"upstream_error",
    "cost_pico":{"total":0,"input":0},"upstream_cost_pico":9000000000}"#;

/// Every column of the view for users of SQL. Numbers are integers on both databases.
pub const REPORT: &str = "SELECT started_at_ms, request_id, key_id, requested_model, used_provider, used_model, \
    CAST(status AS BIGINT), error_kind, duration_ms, cost_pico, upstream_cost_pico FROM usage_report \
    WHERE cost_pico = 0 AND upstream_cost_pico > 0 AND status >= 500";

pub type Reported = (
    i64,
    String,
    String,
    String,
    String,
    Option<String>,
    i64,
    Option<String>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

/// The expected row of [`REPORTED`].
pub fn reported() -> Reported {
    let text = str::to_owned;
    let error = Some(text("upstream_error"));
    (
        1,
        text("a"),
        text("k"),
        text("m"),
        text("p"),
        None,
        502,
        error,
        Some(1500),
        Some(0),
        Some(9_000_000_000),
    )
}
