//! Stored answers. The functions that take a store run on both databases.

use store::{Chain, Store, StoredResponse};

use crate::memory;

const PLENTY: u64 = 1 << 20;

fn answer(id: &str, previous: Option<&str>, expires_at_ms: i64) -> StoredResponse {
    StoredResponse {
        id: id.to_owned(),
        key_id: "static:test".to_owned(),
        previous_id: previous.map(str::to_owned),
        model: "demo/echo".to_owned(),
        created_at_ms: 1,
        expires_at_ms,
        input: format!(r#"[{{"text":"to {id} \u0000 é"}}]"#),
        response: format!(r#"{{"id":"{id}"}}"#),
    }
}

async fn ids(store: &Store, id: &str, now_ms: i64) -> Result<Vec<String>, Chain> {
    match store.response_chain("static:test", id, now_ms, PLENTY).await.unwrap() {
        Chain::Whole(answers) => Ok(answers.into_iter().map(|answer| answer.id).collect()),
        other => Err(other),
    }
}

fn missing(id: &str) -> Result<Vec<String>, Chain> {
    Err(Chain::Missing(id.to_owned()))
}

pub(crate) async fn answers_belong_to_their_key(store: &Store) {
    let one = answer("one", None, 100);
    store.put_response(&one, &[], None).await.unwrap();
    assert_eq!(store.response("static:test", "one", 99).await.unwrap(), Some(one.clone()));
    assert_eq!(store.response("static:test", "one", 100).await.unwrap(), None, "its time is over");
    assert_eq!(store.response("static:other", "one", 1).await.unwrap(), None);
    let chain = store.response_chain("static:other", "one", 1, PLENTY).await.unwrap();
    assert_eq!(chain, Chain::Missing("one".to_owned()));
    assert!(store.put_response(&one, &[], None).await.is_err(), "an id is used only once");
    assert!(!store.delete_response("static:other", "one", 1).await.unwrap());
    assert!(!store.delete_response("static:test", "one", 100).await.unwrap());
    assert!(store.delete_response("static:test", "one", 1).await.unwrap());
    assert!(!store.delete_response("static:test", "one", 1).await.unwrap(), "only once");
    assert_eq!(store.response("static:test", "one", 1).await.unwrap(), None);
}

pub(crate) async fn a_chain_of_answers_is_the_conversation(store: &Store) {
    for (id, previous) in [("a", None), ("b", Some("a")), ("c", Some("b")), ("fork", Some("a"))] {
        store.put_response(&answer(id, previous, 100), &[], None).await.unwrap();
    }
    assert_eq!(ids(store, "c", 1).await.unwrap(), ["a", "b", "c"]);
    assert_eq!(ids(store, "fork", 1).await.unwrap(), ["a", "fork"]);
    assert_eq!(ids(store, "none", 1).await, missing("none"));
    let bytes = 3 * answer("a", None, 1).bytes() as u64;
    let chain = store.response_chain("static:test", "c", 1, bytes - 1).await.unwrap();
    assert_eq!(chain, Chain::TooLarge { bytes });
    assert!(matches!(
        store.response_chain("static:test", "c", 1, bytes).await.unwrap(),
        Chain::Whole(answers) if answers == [answer("a", None, 100), answer("b", Some("a"), 100), answer("c", Some("b"), 100)]
    ));

    // An answer of another key does not belong to the conversation, even if it is named.
    let foreign = StoredResponse { key_id: "static:other".to_owned(), ..answer("x", None, 100) };
    store.put_response(&foreign, &[], None).await.unwrap();
    store.put_response(&answer("thief", Some("x"), 100), &[], None).await.unwrap();
    assert_eq!(ids(store, "thief", 1).await, missing("x"));

    store.delete_response("static:test", "b", 1).await.unwrap();
    assert_eq!(ids(store, "c", 1).await, missing("b"));
    assert_eq!(ids(store, "fork", 1).await.unwrap(), ["a", "fork"]);
}

pub(crate) async fn expired_answers_are_deleted_in_batches(store: &Store) {
    for number in 0..5 {
        store.put_response(&answer(&format!("old{number}"), None, 10), &[], None).await.unwrap();
    }
    store.put_response(&answer("begun", None, 10), &[], None).await.unwrap();
    store.put_response(&answer("ended", Some("begun"), 20), &[], None).await.unwrap();
    store.put_response(&answer("goes on", Some("begun"), 100), &[], None).await.unwrap();
    assert_eq!(store.delete_expired_responses(50, 4).await.unwrap(), 4);
    assert_eq!(store.delete_expired_responses(50, 4).await.unwrap(), 2);
    assert_eq!(store.delete_expired_responses(50, 4).await.unwrap(), 0);
    assert_eq!(ids(store, "goes on", 50).await.unwrap(), ["begun", "goes on"]);
    assert_eq!(ids(store, "begun", 50).await, missing("begun"), "the answer itself has expired");
    assert_eq!(store.delete_expired_responses(100, 4).await.unwrap(), 1);
    assert_eq!(store.delete_expired_responses(100, 4).await.unwrap(), 1);
    assert_eq!(store.delete_expired_responses(100, 4).await.unwrap(), 0);
}

#[tokio::test]
async fn on_sqlite() {
    answers_belong_to_their_key(&memory().await).await;
    a_chain_of_answers_is_the_conversation(&memory().await).await;
    expired_answers_are_deleted_in_batches(&memory().await).await;
}

#[tokio::test]
async fn an_answer_outlives_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("usage.db").display());
    let first = Store::open(&url).await.unwrap();
    first.put_response(&answer("a", None, 100), &[], None).await.unwrap();
    first.close().await;
    let second = Store::open(&url).await.unwrap();
    second.put_response(&answer("b", Some("a"), 100), &[], None).await.unwrap();
    assert_eq!(ids(&second, "b", 1).await.unwrap(), ["a", "b"]);
}
