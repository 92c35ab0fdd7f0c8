//! API keys and settings. The functions that take a store run on both databases.

use std::collections::HashSet;

use store::{KeyHasher, Project, Store, WriteOutcome};

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

pub(crate) async fn only_changed_rows_are_read(store: &Store) {
    let project = |id: &str| Project {
        id: id.to_owned(),
        name: id.to_owned(),
        policy: "{}".to_owned(),
        version: 1,
        created_at_ms: 1,
        disabled_at_ms: None,
    };
    let mut keys = Vec::new();
    for number in 0..20 {
        store.create_project(&project(&format!("p{number}")), None).await.unwrap();
        keys.push(store.create_key(&format!("k{number}"), number).await.unwrap().0);
    }
    let before = store.change_marker().await.unwrap();
    assert_eq!(store.changed(before, before).await.unwrap().as_deref(), Some(&[][..]));
    store.revoke_key(&keys[3].id, 30).await.unwrap();
    store.rotate_key(&keys[4].id, 40, None, 31).await.unwrap();
    let mut changed = store.project("p5").await.unwrap().unwrap();
    changed.name = "other".to_owned();
    store.update_project(&changed, None, 32).await.unwrap();
    assert_eq!(store.delete_project("p6", 1, None, 33).await.unwrap(), WriteOutcome::Done);
    let now = store.change_marker().await.unwrap();
    let targets = store.changed(before, now).await.unwrap().unwrap();
    let expected = [
        format!("key:{}", keys[3].id),
        format!("key:{}", keys[4].id),
        "project:p5".into(),
        "project:p6".into(),
    ];
    assert_eq!(targets, expected);
    let ids: Vec<String> =
        store.active_keys_changed(before).await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(ids, [keys[4].id.clone()], "the revoked one is not valid");
    let names: Vec<String> =
        store.projects_changed(before).await.unwrap().into_iter().map(|it| it.name).collect();
    assert_eq!(names, ["other"]);
    // A marker of the future is that of another database, or of one that was restored.
    assert_eq!(store.changed(now + 1, now).await.unwrap(), None);
    for number in 0..1001 {
        store.set_setting("greeting", &number.to_string()).await.unwrap();
    }
    let last = store.change_marker().await.unwrap();
    assert_eq!(store.changed(now, last).await.unwrap(), None, "too many are not kept");
    assert_eq!(store.changed(last - 1000, last).await.unwrap().map(|targets| targets.len()), Some(1000));
}

#[tokio::test]
async fn on_sqlite() {
    only_changed_rows_are_read(&memory().await).await;
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
