//! Conversations. The functions that take a store run on both databases.

use store::{Addition, Conversation, Store, StoredItem, StoredResponse};

use crate::memory;

const KEY: &str = "static:test";

fn conversation(id: &str, expires_at_ms: i64) -> Conversation {
    Conversation {
        id: id.to_owned(),
        key_id: KEY.to_owned(),
        created_at_ms: 1,
        expires_at_ms,
        metadata: r#"{"topic":"é"}"#.to_owned(),
    }
}

fn items(ids: &[&str]) -> Vec<StoredItem> {
    let item = |id: &&str| StoredItem { id: (*id).to_owned(), item: format!("{{\"id\":\"{id}\"}}") };
    ids.iter().map(item).collect()
}

fn addition<'a>(conversation: &'a str, items: &'a [StoredItem]) -> Addition<'a> {
    Addition { conversation, key_id: KEY, now_ms: 50, expires_at_ms: 200, items }
}

async fn ids(store: &Store, id: &str) -> Vec<String> {
    store.conversation_items(id).await.unwrap().into_iter().map(|item| item.id).collect()
}

pub(crate) async fn items_belong_to_their_conversation(store: &Store) {
    store.create_conversation(&conversation("one", 100), &items(&["a", "b"])).await.unwrap();
    store.create_conversation(&conversation("two", 100), &items(&["a"])).await.unwrap();
    assert!(
        store.create_conversation(&conversation("two", 100), &[]).await.is_err(),
        "an id is used only once"
    );
    assert_eq!(store.conversation(KEY, "one", 99).await.unwrap(), Some(conversation("one", 100)));
    assert_eq!(store.conversation(KEY, "one", 100).await.unwrap(), None, "its time is over");
    assert_eq!(store.conversation("static:other", "one", 1).await.unwrap(), None);
    assert!(store.has_conversation("one").await.unwrap() && !store.has_conversation("none").await.unwrap());
    let more = items(&["c", "a", "d"]);
    assert!(store.add_to_conversation(&addition("one", &more)).await.unwrap());
    assert_eq!(ids(store, "one").await, ["a", "b", "c", "d"]);
    assert_eq!(store.conversation(KEY, "one", 199).await.unwrap(), Some(conversation("one", 200)));
    assert_eq!(store.conversation_bytes("one").await.unwrap(), 4 * 10);
    let foreign = Addition { key_id: "static:other", ..addition("one", &more) };
    assert!(!store.add_to_conversation(&foreign).await.unwrap());
    assert!(!store.add_to_conversation(&addition("none", &more)).await.unwrap());
    assert!(store.delete_conversation_item("one", "b").await.unwrap());
    assert!(!store.delete_conversation_item("one", "b").await.unwrap());
    assert!(store.add_to_conversation(&addition("one", &items(&["b"]))).await.unwrap());
    assert_eq!(ids(store, "one").await, ["a", "c", "d", "b"]);
    assert!(store.describe_conversation(KEY, "two", 1, "{}").await.unwrap());
    assert!(!store.describe_conversation("static:other", "two", 1, "{}").await.unwrap());
    assert_eq!(store.conversation(KEY, "two", 1).await.unwrap().unwrap().metadata, "{}");
    assert!(!store.delete_conversation("static:other", "one", 1).await.unwrap());
    assert!(store.delete_conversation(KEY, "one", 1).await.unwrap());
    assert_eq!((ids(store, "one").await.len(), ids(store, "two").await.len()), (0, 1));
    assert_eq!(store.delete_expired_conversations(99, 10).await.unwrap(), 0);
    assert_eq!(store.delete_expired_conversations(100, 10).await.unwrap(), 1);
    assert_eq!(ids(store, "two").await.len(), 0);
}

pub(crate) async fn an_answer_and_its_items_are_stored_together(store: &Store) {
    store.create_conversation(&conversation("one", 100), &[]).await.unwrap();
    let answer = StoredResponse {
        id: "resp_1".to_owned(),
        key_id: KEY.to_owned(),
        previous_id: None,
        model: "m".to_owned(),
        created_at_ms: 1,
        expires_at_ms: 100,
        input: "[]".to_owned(),
        response: "{}".to_owned(),
    };
    let added = items(&["a", "b"]);
    let gone = addition("none", &added);
    assert!(!store.put_response(&answer, &["x".to_owned()], Some(&gone)).await.unwrap());
    assert_eq!(store.response(KEY, "resp_1", 1).await.unwrap(), None, "nothing half stored");
    assert!(store.put_response(&answer, &[], Some(&addition("one", &added))).await.unwrap());
    assert!(store.response(KEY, "resp_1", 1).await.unwrap().is_some());
    assert!(store.put_response(&answer, &[], Some(&addition("one", &items(&["c"])))).await.is_err());
    assert_eq!(ids(store, "one").await, ["a", "b"]);
}

pub(crate) async fn concurrent_additions_lose_nothing(store: &Store) {
    store.create_conversation(&conversation("one", 100), &[]).await.unwrap();
    let all: Vec<_> = (0..20).map(|number| items(&[&format!("{number}a"), &format!("{number}b")])).collect();
    let mut tasks = Vec::new();
    for part in all {
        let store = store.clone();
        tasks.push(tokio::spawn(async move { store.add_to_conversation(&addition("one", &part)).await }));
    }
    for task in tasks {
        assert!(task.await.unwrap().unwrap());
    }
    let found = ids(store, "one").await;
    assert_eq!(found.len(), 40);
    for pair in found.chunks(2) {
        assert_eq!(pair[0].trim_end_matches('a'), pair[1].trim_end_matches('b'), "{found:?}");
    }
}

#[tokio::test]
async fn on_sqlite() {
    items_belong_to_their_conversation(&memory().await).await;
    an_answer_and_its_items_are_stored_together(&memory().await).await;
    concurrent_additions_lose_nothing(&memory().await).await;
}
