//! Requests page by page. The functions that take a store run on both databases.

use canon::{Cost, Pico, Usage};
use store::{AttemptRecord, Cursor, LossRecord, RequestFilter, Store, UsageRecord};

use crate::{drain, memory, record, spool};

/// Records that differ in every field that a filter uses.
fn varied(number: i64) -> UsageRecord {
    let mut one = record(&format!("r{number:03}"), 1_000 + number / 3);
    let attempt =
        |provider: &str| AttemptRecord { provider: provider.to_owned(), ..AttemptRecord::default() };
    one.project = ["default", "team-a", "team_b"][number as usize % 3].to_owned();
    one.key_id = format!("key_{}", number % 4);
    one.requested_model = ["fast", "gpt-4o", "GPT-4o-mini"][number as usize / 2 % 3].to_owned();
    one.used_model = Some("gpt-4o-2024".to_owned());
    one.used_provider = Some(["openai", "azure"][number as usize / 3 % 2].to_owned());
    one.attempts = vec![attempt("openai")];
    if number % 5 == 0 {
        one.attempts.push(attempt("azure"));
    }
    if number % 7 == 0 {
        (one.status, one.error_kind) = (503, Some("overloaded".to_owned()));
    } else if number % 11 == 0 {
        (one.status, one.canceled, one.error_kind) = (499, true, Some("cancelled".to_owned()));
    }
    one.cost = (number % 6 != 0).then(|| Cost { total: Pico(number * 1_000_000_000), ..Cost::default() });
    one.duration_ms = number as u64 * 100;
    one.ttft_ms = (number % 2 == 0).then_some(number as u64 * 100);
    one.usage = Some(Usage { cache_read: number as u64 % 2, ..Usage::default() });
    if number % 8 == 0 {
        one.losses = vec![LossRecord { field: "seed".into(), ..LossRecord::default() }];
    }
    if number % 9 == 0 {
        one.session_id = Some(format!("100% \"s\" {number}"));
    }
    one.tags = [("env".to_owned(), ["prod", "dev"][number as usize % 2].to_owned())].into();
    one.cache = [None, Some("hit".into()), Some("miss".into())][number as usize % 3].clone();
    one.operation = (number % 10 == 3).then(|| "embeddings".into());
    one
}

async fn filled(store: &Store) -> Vec<UsageRecord> {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let mut records: Vec<UsageRecord> = (0..100).map(varied).collect();
    records.iter().for_each(|one| spool.append(one).unwrap());
    drain(store, reader).await;
    records.reverse();
    records
}

/// The ids of all records that pass the filter, read in pages of this size.
async fn paged(store: &Store, filter: &RequestFilter, size: u32) -> Vec<String> {
    let (mut ids, mut before): (Vec<String>, Option<Cursor>) = (Vec::new(), None);
    loop {
        let page = store.requests(filter, before, size).await.unwrap();
        assert!(page.rows.len() <= size as usize);
        ids.extend(page.rows.into_iter().map(|row| row.record.request_id));
        match page.next {
            Some(next) => before = Some(next),
            None => return ids,
        }
    }
}

pub(crate) async fn a_filter_returns_exactly_its_records_newest_first(store: &Store) {
    type Passes = fn(&UsageRecord) -> bool;
    let records = filled(store).await;
    let has_failed: Passes = |one| one.error_kind.as_deref().is_some_and(|kind| kind != "cancelled");
    let cases: [(&str, Passes); 26] = [
        ("", |_| true),
        ("model:gpt-4o", |one| one.requested_model == "gpt-4o"),
        ("model:gpt-4o*", |_| true),
        ("model:GPT-4O-MINI,fast", |one| one.requested_model != "gpt-4o"),
        ("provider:azure !project:team-a", |one| {
            one.used_provider.as_deref() == Some("azure") && one.project != "team-a"
        }),
        ("project:team_b", |one| one.project == "team_b"),
        ("project:team-*", |one| one.project == "team-a"),
        ("key:key_2", |one| one.key_id == "key_2"),
        ("status:503", |one| one.status == 503),
        ("status:4xx", |one| one.status == 499),
        ("status:>400", |one| one.status > 400),
        ("error:*", |one| one.error_kind.is_some()),
        ("!error:*", |one| one.error_kind.is_none()),
        ("is:failed", has_failed),
        ("is:recovered", |one| one.error_kind.is_none() && one.attempts.len() > 1),
        ("outcome:cancelled", |one| one.canceled),
        ("loss:seed", |one| !one.losses.is_empty()),
        ("!is:lossy is:cached", |one| one.losses.is_empty() && one.usage.unwrap().cache_read > 0),
        ("is:hit", |one| one.cache.as_deref() == Some("hit")),
        ("cache:* !cache:hit", |one| one.cache.as_deref() == Some("miss")),
        ("is:unpriced", |one| one.cost.is_none()),
        ("cost:>0.05", |one| one.cost.is_some_and(|cost| cost.total.0 > 50_000_000_000)),
        ("is:slow duration:<9s", |one| one.ttft_ms.is_some_and(|ms| ms > 5120) && one.duration_ms < 9000),
        ("tag:env=dev session:*%*", |one| one.tags["env"] == "dev" && one.session_id.is_some()),
        ("operation:embeddings", |one| one.operation.is_some()),
        ("100% tag:env", |one| one.session_id.is_some()),
    ];
    for (text, passes) in cases {
        let filter = RequestFilter::parse(text).unwrap();
        let mut expected: Vec<&UsageRecord> = records.iter().filter(|one| passes(one)).collect();
        assert!(!expected.is_empty(), "{text}");
        for size in [7, 500] {
            let found = paged(store, &filter, size).await;
            let times: Vec<String> = found.clone();
            let mut sorted = found;
            sorted.sort();
            expected.sort_by(|left, right| left.request_id.cmp(&right.request_id));
            let ids: Vec<&str> = expected.iter().map(|one| one.request_id.as_str()).collect();
            assert_eq!(sorted, ids, "{text}, pages of {size}");
            let start = |id: &String| records.iter().find(|one| one.request_id == *id).unwrap().started_at_ms;
            assert!(times.is_sorted_by_key(|id| -start(id)), "{text}: {times:?}");
        }
    }
    let stretch = RequestFilter { since_ms: Some(1_010), until_ms: Some(1_012), ..RequestFilter::default() };
    assert_eq!(paged(store, &stretch, 4).await.len(), 6);
    assert_eq!(paged(store, &stretch.clone().with(store::Field::Model, "fast"), 4).await.len(), 2);
}

pub(crate) async fn a_request_is_found_by_its_id(store: &Store) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    let own = "req_019acd3f1c2a7b9e8c1d001122334455";
    let time = 0x019a_cd3f_1c2a;
    for (id, at) in [(own, time + 20), ("mine", time), ("mine", 5), (own, 77)] {
        spool.append(&record(id, at)).unwrap();
    }
    drain(store, reader).await;
    let times = async |id: &str| -> Vec<i64> {
        let rows = store.request(id).await.unwrap();
        assert!(rows.iter().all(|row| row.record.started_at_ms == row.cursor.started_at_ms));
        rows.into_iter().map(|row| row.record.started_at_ms).collect()
    };
    assert_eq!(times(own).await, [time + 20, 77]);
    assert_eq!(times("mine").await, [time, 5]);
    assert_eq!(times("m%").await, Vec::<i64>::new());
}

#[tokio::test]
async fn on_sqlite() {
    a_filter_returns_exactly_its_records_newest_first(&memory().await).await;
    a_request_is_found_by_its_id(&memory().await).await;
}
