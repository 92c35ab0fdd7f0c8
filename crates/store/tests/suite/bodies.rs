//! Bodies of requests. The functions that take a store run on both databases.

use store::{KeptBodies, Store};

use crate::memory;

fn bodies_of(request_id: &str, started_at_ms: i64, expires_at_ms: i64) -> KeptBodies {
    let content = format!("{{\"of\":\"{request_id} {started_at_ms}\"}}");
    KeptBodies { request_id: request_id.to_owned(), started_at_ms, expires_at_ms, content }
}

pub(crate) async fn bodies_are_kept_until_they_expire(store: &Store) {
    let all = [bodies_of("a", 1, 100), bodies_of("a", 2, 200), bodies_of("b", 1, 100)];
    store.put_bodies(&all).await.unwrap();
    // The first of the same id and time stays.
    store.put_bodies(&[KeptBodies { content: "{}".to_owned(), ..all[0].clone() }]).await.unwrap();
    let found = async |id: &str, at: i64, now: i64| store.bodies(id, at, now).await.unwrap();
    assert_eq!(found("a", 1, 50).await.as_ref(), Some(&all[0].content));
    assert_eq!(found("a", 2, 50).await.as_ref(), Some(&all[1].content));
    assert_eq!(found("c", 1, 50).await, None);
    assert_eq!(found("a", 1, 100).await, None, "it has expired, and is not deleted yet");
    assert_eq!(store.delete_expired_bodies(100, 1).await.unwrap(), 1);
    assert_eq!(store.delete_expired_bodies(100, 10).await.unwrap(), 1);
    assert_eq!(store.delete_expired_bodies(100, 10).await.unwrap(), 0);
    assert_eq!(found("b", 1, 50).await, None);
    assert_eq!(found("a", 2, 100).await.as_ref(), Some(&all[1].content));
}

#[tokio::test]
async fn on_sqlite() {
    bodies_are_kept_until_they_expire(&memory().await).await;
}
