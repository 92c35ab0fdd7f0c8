//! The same behaviour on PostgreSQL, when `LLMGATEWAY_TEST_POSTGRES` names a database whose tables may be dropped.

use sqlx::Connection;
use store::{Expired, Store, StoreError, WriterEvent};

use crate::{
    bodies, conversations, drain, keys, migrate, projects, record, request_ids, requests, responses,
    retention, rollups, sessions, spool, usage, webhooks,
};

async fn empty(url: &str) -> Store {
    drop_all(url).await;
    Store::open(url).await.unwrap()
}

async fn drop_all(url: &str) {
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public").execute(&mut connection).await.unwrap();
}

/// One test, because all parts share the tables.
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
    usage::a_full_record_is_read_unchanged(&empty(&url).await).await;
    usage::filters_pick_the_newest(&empty(&url).await).await;
    keys::keys_are_created_listed_and_revoked(&empty(&url).await).await;
    keys::the_marker_changes_with_every_change(&empty(&url).await).await;
    keys::only_changed_rows_are_read(&empty(&url).await).await;
    responses::answers_belong_to_their_key(&empty(&url).await).await;
    responses::a_chain_of_answers_is_the_conversation(&empty(&url).await).await;
    responses::expired_answers_are_deleted_in_batches(&empty(&url).await).await;
    conversations::items_belong_to_their_conversation(&empty(&url).await).await;
    conversations::an_answer_and_its_items_are_stored_together(&empty(&url).await).await;
    conversations::concurrent_additions_lose_nothing(&empty(&url).await).await;
    projects::a_project_is_changed_only_from_its_current_version(&empty(&url).await).await;
    sessions::sessions_last_until_they_expire_or_are_ended(&empty(&url).await).await;
    projects::keys_are_rotated_with_an_overlap(&empty(&url).await).await;
    projects::the_ledger_is_the_sum_of_the_records(&empty(&url).await).await;
    requests::a_filter_returns_exactly_its_records_newest_first(&empty(&url).await).await;
    requests::a_request_is_found_by_its_id(&empty(&url).await).await;
    rollups::sums_are_those_of_the_records(&empty(&url).await).await;
    rollups::sums_by_tag_are_limited_and_expire(&empty(&url).await).await;
    rollups::rare_values_are_found_in_their_own_hours(&empty(&url).await).await;
    drop_all(&url).await;
    rollups::sums_are_whole_while_they_are_folded(&url).await;
    drop_all(&url).await;
    let execute = async |sql: &str| {
        let mut connection = sqlx::PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    };
    rollups::old_records_are_added_once(&url, async |sql| execute(sql).await).await;
    drop_all(&url).await;
    rollups::rows_that_cannot_be_folded_do_not_block_others(&url, async |sql| execute(sql).await).await;
    bodies::bodies_are_kept_until_they_expire(&empty(&url).await).await;
    webhooks::an_event_is_sent_until_it_is_delivered_and_never_again(&empty(&url).await).await;
    a_database_of_the_previous_release_is_migrated(&url).await;
    every_node_learns_of_a_revoked_key(&url).await;
    months_of_records_are_partitions_that_retention_drops(&url).await;
    opening_again_keeps_everything(&url).await;
    the_report_is_available_as_a_view(&url).await;
    a_refused_record_does_not_block_others(&url).await;
    connections_that_the_server_ends_lose_nothing(&url).await;
}

async fn a_database_of_the_previous_release_is_migrated(url: &str) {
    drop_all(url).await;
    let mut old = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(migrate::POSTGRES).execute(&mut old).await.unwrap();
    migrate::all_rows_are_migrated(&Store::open(url).await.unwrap(), migrate::POSTGRES_KEY).await;
}

async fn every_node_learns_of_a_revoked_key(url: &str) {
    let store = empty(url).await;
    let other = Store::open(url).await.unwrap();
    let (key, _) = store.create_key("one", 1).await.unwrap();
    let mut changes = other.changes().await.unwrap();
    let (heard, revoked) = tokio::join!(changes.next(), store.revoke_key(&key.id, 2));
    assert!(revoked.unwrap());
    heard.unwrap();
    assert!(other.active_keys().await.unwrap().is_empty());
}

/// The partitions, in order.
async fn partitions(operator: &mut sqlx::PgConnection) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'usage_records'::regclass ORDER BY relname",
    )
    .fetch_all(operator)
    .await
    .unwrap()
}

async fn months_of_records_are_partitions_that_retention_drops(url: &str) {
    const DAY: i64 = 86_400_000;
    // 2100-01-10 and a month later: no record of today is in these months.
    const LATER: i64 = 4_103_222_400_000;
    let store = empty(url).await;
    let other = Store::open(url).await.unwrap();
    let mut operator = sqlx::PgConnection::connect(url).await.unwrap();
    let insert = async |store: &Store, name: &str, at_ms: i64| {
        let line = serde_json::json!({
            "started_at_ms": at_ms, "request_id": name, "key_id": "k", "requested_model": "m", "status": 200,
        });
        store.insert_usage(&[&line.to_string()]).await.unwrap()
    };
    for (name, at_ms) in [("old", 5), ("one", LATER), ("two", LATER + 31 * DAY), ("far", i64::MAX - 9)] {
        assert_eq!(insert(&store, name, at_ms).await, 1, "{name}");
        assert_eq!(insert(&store, name, at_ms).await, 0, "{name}: it is there already");
    }
    insert(&other, "other", LATER + DAY).await;
    let all =
        ["usage_records_2100_01", "usage_records_2100_02", "usage_records_before", "usage_records_late"];
    assert_eq!(partitions(&mut operator).await, all);
    assert_eq!(request_ids(&store).await, ["far", "old", "one", "other", "two"]);

    // A month is dropped as a whole, once all its days are old; sums are kept.
    retention::one_process_deletes_at_a_time(&store).await;
    assert_eq!(
        retention::expire(&store, LATER + 2 * DAY).await,
        [Expired { months: 1, ..Expired::default() }]
    );
    assert_eq!(partitions(&mut operator).await, all, "the first partition is emptied");
    assert_eq!(request_ids(&store).await, ["far", "one", "other", "two"]);
    assert_eq!(
        retention::expire(&store, LATER + 25 * DAY).await,
        [Expired { months: 1, ..Expired::default() }]
    );
    assert_eq!(partitions(&mut operator).await, &all[1..]);
    assert_eq!(request_ids(&store).await, ["far", "two"]);
    assert_eq!(
        store.ledger("project:default", 0, 9).await.unwrap().iter().map(|day| day.requests).sum::<i64>(),
        5
    );
    // A record of a month that another node has dropped, and a record older than all others.
    assert_eq!(insert(&other, "late", LATER + 2 * DAY).await, 1);
    assert_eq!(insert(&other, "older", 7).await, 1);
    assert_eq!(request_ids(&store).await, ["far", "late", "older", "two"]);
    // Searches find what is left, and only that.
    assert_eq!(
        retention::expire(&store, LATER + 25 * DAY).await,
        [Expired { months: 2, ..Expired::default() }]
    );
    retention::fill(&store, [LATER + 31 * DAY, LATER + 32 * DAY, LATER + 70 * DAY]).await;
    assert_eq!(retention::of_session(&store, "s").await, 3);
    retention::expire(&store, LATER + 59 * DAY).await;
    assert_eq!(retention::of_session(&store, "s").await, 1);
    let lookups: i64 = sqlx::query_scalar("SELECT count(*) FROM usage_lookup WHERE kind = 'session'")
        .fetch_one(&mut operator)
        .await
        .unwrap();
    assert_eq!(lookups, 1);
    // A table that is in use is left for the next time.
    let mut reader = sqlx::PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT count(*) FROM usage_records").execute(&mut reader).await.unwrap();
    let error = store.expire_usage(LATER + 400 * DAY, 2).await.unwrap_err();
    assert!(error.to_string().contains("lock timeout"), "{error}");
    sqlx::raw_sql("COMMIT").execute(&mut reader).await.unwrap();
    assert_eq!(store.expire_usage(LATER + 400 * DAY, 2).await.unwrap().months, 1);
}

async fn the_report_is_available_as_a_view(url: &str) {
    empty(url).await.insert_usage(&[usage::REPORTED]).await.unwrap();
    let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
    let row: usage::Reported = sqlx::query_as(usage::REPORT).fetch_one(&mut connection).await.unwrap();
    assert_eq!(row, usage::reported());
}

async fn a_refused_record_does_not_block_others(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = empty(url).await;
    let mut operator = sqlx::PgConnection::connect(url).await.unwrap();
    let constraint = "ALTER TABLE usage_records ADD CONSTRAINT picky CHECK (request_id NOT LIKE 'bad%')";
    sqlx::raw_sql(constraint).execute(&mut operator).await.unwrap();
    let (spool, reader) = spool(&folder);
    for number in 0..300 {
        let name = if number % 97 == 50 { format!("bad-{number}") } else { format!("good-{number}") };
        spool.append(&record(&name, number)).unwrap();
    }
    let events = drain(&store, reader).await;
    assert_eq!(request_ids(&store).await.len(), 297);
    assert_eq!((spool.lost(), spool.refused(), spool.bytes()), (3, 3, 0));
    assert!(
        events.iter().any(|event| matches!(event, WriterEvent::Refused { records: 3, .. })),
        "{events:?}"
    );

    // A database that refuses every record counts as away: nothing is set aside.
    sqlx::raw_sql("ALTER TABLE usage_records RENAME TO gone").execute(&mut operator).await.unwrap();
    drop(spool);
    let (spool, reader) = crate::spool(&folder);
    spool.append(&record("waits", 1)).unwrap();
    drain(&store, reader).await;
    assert_eq!(spool.lost(), 0);
    sqlx::raw_sql("DROP TABLE gone CASCADE").execute(&mut operator).await.unwrap();
}

async fn connections_that_the_server_ends_lose_nothing(url: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = empty(url).await;
    let mut operator = sqlx::PgConnection::connect(url).await.unwrap();
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE application_name = 'llmgateway' AND pid <> pg_backend_pid()";
    let (spool, reader) = spool(&folder);
    let (sender, mut events) = tokio::sync::mpsc::unbounded_channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = store::Writer::new(store.clone(), reader, move |event| drop(sender.send(event)));
    let task = tokio::spawn(writer.run(async { drop(stopped.await) }));
    for round in 0..5 {
        (0..500).for_each(|number| spool.append(&record(&format!("{round}-{number}"), number)).unwrap());
        sqlx::raw_sql(kill).execute(&mut operator).await.unwrap();
        while !matches!(events.recv().await.unwrap(), WriterEvent::Flushed { .. }) {}
        sqlx::raw_sql(kill).execute(&mut operator).await.unwrap();
    }
    while spool.bytes() > 0 {
        events.recv().await.unwrap();
    }
    stop.send(()).unwrap();
    task.await.unwrap();
    assert_eq!(request_ids(&store).await.len(), 2500);
    assert_eq!(spool.lost(), 0);
    store.create_key("later", 1).await.unwrap();
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
