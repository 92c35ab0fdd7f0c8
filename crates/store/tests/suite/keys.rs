//! API keys and settings. The functions that take a store run on both databases.

use std::collections::HashSet;

use store::{KeyHasher, Store};

use crate::memory;

pub(crate) async fn keys_are_created_listed_and_revoked(store: &Store) {
    let (first, secret) = store.create_key("first", 10).await.unwrap();
    let (second, other) = store.create_key("second", 20).await.unwrap();
    let key = secret.expose();
    assert!(key.starts_with("lgw-") && key.len() == 47, "the shape of a key");
    assert!(key[4..].bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_ne!(key, other.expose());
    assert_eq!(first.prefix, key[..8]);
    assert_eq!(store.list_keys().await.unwrap(), [first.clone(), second.clone()]);

    let active = store.active_keys().await.unwrap();
    let hash = store.key_hasher().hash(key);
    let found = active.iter().find(|key| key.hash == hash).unwrap();
    assert_eq!((found.id.as_str(), found.fields.name.as_str()), (first.id.as_str(), "first"));

    assert!(store.revoke_key(&first.id, 30).await.unwrap());
    assert!(!store.revoke_key(&first.id, 40).await.unwrap(), "only once");
    assert!(!store.revoke_key("key_none", 40).await.unwrap());
    let active: Vec<String> = store.active_keys().await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(active, [second.id]);
    assert_eq!(store.list_keys().await.unwrap()[0].revoked_at_ms, Some(30));
}

pub(crate) async fn the_marker_changes_with_every_change(store: &Store) {
    let mut seen = HashSet::from([store.change_marker().await.unwrap()]);
    let (key, _) = store.create_key("one", 1).await.unwrap();
    assert!(seen.insert(store.change_marker().await.unwrap()));
    store.revoke_key(&key.id, 2).await.unwrap();
    assert!(seen.insert(store.change_marker().await.unwrap()));
    store.set_setting("greeting", "hello").await.unwrap();
    assert!(seen.insert(store.change_marker().await.unwrap()));
    store.revoke_key(&key.id, 3).await.unwrap();
    assert!(!seen.insert(store.change_marker().await.unwrap()), "nothing changed");
    assert_eq!(store.setting("greeting").await.unwrap().as_deref(), Some("hello"));
    assert_eq!(store.setting("none").await.unwrap(), None);
}

#[tokio::test]
async fn on_sqlite() {
    keys_are_created_listed_and_revoked(&memory().await).await;
    the_marker_changes_with_every_change(&memory().await).await;
}

#[test]
fn hashes_depend_on_the_pepper() {
    let (one, other) = (KeyHasher::new([1; 32]), KeyHasher::new([2; 32]));
    assert_eq!(one.hash("lgw-a"), one.clone().hash("lgw-a"));
    assert_ne!(one.hash("lgw-a"), other.hash("lgw-a"));
    assert_ne!(one.hash("lgw-a"), one.hash("lgw-b"));
    assert_ne!(KeyHasher::random().unwrap().hash(""), KeyHasher::random().unwrap().hash(""));
}
