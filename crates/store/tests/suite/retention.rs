//! Old records are deleted; sums and the ledger stay.

use store::{Expired, LookupPlace, RequestFilter, Store, UsageFilter};

use crate::{drain, memory, record, request_ids, spool};

const DAY: i64 = 86_400_000;
/// In 2025.
const START: i64 = 20_400 * DAY;

/// Deletes everything before a time, in steps of two records; returns the steps.
pub(crate) async fn expire(store: &Store, before_ms: i64) -> Vec<Expired> {
    let mut steps = Vec::new();
    loop {
        let step = store.expire_usage(before_ms, 2).await.unwrap();
        steps.push(step);
        if !step.has_more {
            break;
        }
    }
    let mut place = Some(LookupPlace::default());
    while let Some(after) = place {
        place = store.expire_usage_lookups(before_ms, &after, 2).await.unwrap();
    }
    steps
}

/// How many requests of a session are found.
pub(crate) async fn of_session(store: &Store, session: &str) -> usize {
    let filter = RequestFilter::parse(&format!("session:{session}")).unwrap();
    store.requests(&filter, None, 100).await.unwrap().rows.len()
}

/// Adds a record with a session for each of these times.
pub(crate) async fn fill(store: &Store, times: impl IntoIterator<Item = i64>) {
    let folder = tempfile::tempdir().unwrap();
    let (spool, reader) = spool(&folder);
    for at_ms in times {
        let mut one = record(&format!("r{at_ms}"), at_ms);
        one.session_id = Some("s".to_owned());
        spool.append(&one).unwrap();
    }
    drain(store, reader).await;
}

/// Which of several processes deletes.
pub(crate) async fn one_process_deletes_at_a_time(store: &Store) {
    assert!(store.claim_usage_expiry(1_000, 0).await.unwrap());
    assert!(!store.claim_usage_expiry(1_100, 600).await.unwrap(), "another began at 1000");
    assert!(store.claim_usage_expiry(1_600, 1_100).await.unwrap());
    assert!(
        store.claim_usage_expiry(1_500, 1_000).await.unwrap(),
        "1600 is in the future: a clock was wrong"
    );
    let (one, other) =
        tokio::join!(store.claim_usage_expiry(3_000, 2_000), store.claim_usage_expiry(3_000, 2_000));
    assert_ne!(one.unwrap(), other.unwrap());
}

#[tokio::test]
async fn sqlite_deletes_a_few_records_at_a_time() {
    let store = memory().await;
    one_process_deletes_at_a_time(&store).await;
    fill(&store, (0..9).map(|day| START + day * DAY)).await;
    assert_eq!(of_session(&store, "s").await, 9);
    let two = Expired { records: 2, months: 0, has_more: true };
    assert_eq!(
        expire(&store, START + 5 * DAY).await,
        [two, two, Expired { records: 1, has_more: false, ..two }]
    );
    assert_eq!(request_ids(&store).await.len(), 4);
    assert_eq!(
        store.usage(UsageFilter { until_ms: Some(START + 5 * DAY), ..UsageFilter::default() }).await.unwrap(),
        []
    );
    assert_eq!(of_session(&store, "s").await, 4);
    // Sums and ledger are those of all nine.
    assert_eq!(
        store.ledger("key:static:test", 0, 20).await.unwrap().iter().map(|day| day.requests).sum::<i64>(),
        9
    );
    assert_eq!(expire(&store, START + 5 * DAY).await, [Expired::default()]);
}
