//! Queued webhooks. The functions that take a store run on both databases.

use store::{Delivery, Store};

use crate::memory;

fn delivery(event: &str, created_at_ms: i64) -> Delivery {
    Delivery {
        event: event.to_owned(),
        endpoint: "e".to_owned(),
        body: format!("{{\"event\":{event:?}}}"),
        created_at_ms,
        attempts: 0,
    }
}

async fn due(store: &Store, now_ms: i64) -> Vec<(String, i64)> {
    let taken = store.take_deliveries(now_ms, now_ms + 100, 10).await.unwrap();
    let mut events: Vec<_> = taken.into_iter().map(|delivery| (delivery.event, delivery.attempts)).collect();
    events.sort();
    events
}

pub(crate) async fn an_event_is_sent_until_it_is_delivered_and_never_again(store: &Store) {
    let deliveries = [delivery("a", 10), delivery("b", 10), delivery("c", 1000)];
    store.add_deliveries(&deliveries).await.unwrap();
    // A second node may notice the same event.
    store.add_deliveries(&deliveries).await.unwrap();
    assert_eq!(due(store, 50).await, [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(due(store, 60).await, [], "the delivery is under way");
    store.put_off_delivery(&deliveries[0], None).await.unwrap();
    store.put_off_delivery(&deliveries[1], Some(70)).await.unwrap();
    assert_eq!(due(store, 75).await, [("b".to_owned(), 2)]);
    // The node that took it died.
    assert_eq!(due(store, 200).await, [("b".to_owned(), 3)]);
    store.add_deliveries(&deliveries).await.unwrap();
    assert_eq!(due(store, 250).await, []);

    store.put_off_delivery(&deliveries[1], None).await.unwrap();
    store.forget_deliveries(5000, "b%").await.unwrap();
    store.add_deliveries(&deliveries).await.unwrap();
    let left = [("a".to_owned(), 1), ("c".to_owned(), 1)];
    assert_eq!(due(store, 5000).await, left, "a is forgotten, b lasts, c is under way");
}

#[tokio::test]
async fn on_sqlite() {
    an_event_is_sent_until_it_is_delivered_and_never_again(&memory().await).await;
}
