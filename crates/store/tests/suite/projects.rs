//! Projects, permissions of keys, the ledger, the audit log. The functions that take a store run on both databases.

use canon::{Cost, Pico};
use store::{Audit, KeyFields, LedgerDay, Project, Spent, Store, UsageRecord, WriteOutcome};

use crate::{memory, record, retention};

const DAY_MS: i64 = 86_400_000;

fn project(id: &str, policy: &str) -> Project {
    Project {
        id: id.to_owned(),
        name: id.to_uppercase(),
        policy: policy.to_owned(),
        version: 1,
        created_at_ms: 5,
        disabled_at_ms: None,
    }
}

fn audit(action: &'static str, target: &str) -> Audit {
    Audit { actor: "key:admin".to_owned(), action, target: target.to_owned(), detail: "{}".to_owned() }
}

pub(crate) async fn a_project_is_changed_only_from_its_current_version(store: &Store) {
    let mut one = project("team-a", r#"{"models":["a"]}"#);
    let entry = audit("project.create", "project:team-a");
    assert_eq!(store.create_project(&one, Some(&entry)).await.unwrap(), WriteOutcome::Done);
    assert_eq!(store.create_project(&one, Some(&entry)).await.unwrap(), WriteOutcome::Exists);
    assert_eq!(store.project("team-a").await.unwrap().as_ref(), Some(&one));
    one.policy = "{}".to_owned();
    one.disabled_at_ms = Some(9);
    assert_eq!(store.update_project(&one, None, 9).await.unwrap(), WriteOutcome::Done);
    assert_eq!(store.update_project(&one, None, 9).await.unwrap(), WriteOutcome::Changed);
    assert_eq!(store.update_project(&project("none", "{}"), None, 9).await.unwrap(), WriteOutcome::Absent);
    one.version = 2;
    assert_eq!(store.projects_after("", 10).await.unwrap()[1], one);
    assert_eq!(store.projects_after("default", 1).await.unwrap(), [one.clone()]);

    let fields = KeyFields { project_id: "team-a".to_owned(), ..KeyFields::named("k") };
    let (key, _) = store.create_key_with(&fields, Some(&audit("key.create", "")), 20).await.unwrap();
    assert_eq!(
        store.delete_project("team-a", 2, None, 30).await.unwrap(),
        WriteOutcome::Changed,
        "it has a key"
    );
    assert!(store.revoke_key_with(&key.id, Some(&audit("key.revoke", "key:k")), 40).await.unwrap());
    assert_eq!(store.delete_project("team-a", 2, None, 50).await.unwrap(), WriteOutcome::Done);
    assert_eq!(store.delete_project("team-a", 2, None, 50).await.unwrap(), WriteOutcome::Absent);

    let log = store.audit_before(i64::MAX, 2).await.unwrap();
    let actions: Vec<_> = log.iter().map(|row| (row.action.as_str(), row.at_ms)).collect();
    assert_eq!(actions, [("key.revoke", 40), ("key.create", 20)]);
    assert_eq!(log[1].target, format!("key:{}", key.id));
    let earlier = store.audit_before(log[1].id, 9).await.unwrap();
    assert_eq!(earlier.len(), 1);
    assert_eq!((earlier[0].action.as_str(), earlier[0].actor.as_str()), ("project.create", "key:admin"));
}

pub(crate) async fn keys_are_rotated_with_an_overlap(store: &Store) {
    let fields = KeyFields {
        roles: "inference,viewer".to_owned(),
        policy: r#"{"models":["m"]}"#.to_owned(),
        expires_at_ms: Some(1000),
        ..KeyFields::named("k")
    };
    let (mut key, first) = store.create_key_with(&fields, None, 10).await.unwrap();
    let second = store.rotate_key(&key.id, 500, None, 20).await.unwrap().unwrap();
    assert_ne!(first.expose(), second.expose());
    let active = store.active_keys().await.unwrap();
    let found = active.iter().find(|it| it.id == key.id).unwrap();
    let hash = |secret: &canon::Secret| store.key_hasher().hash(secret.expose());
    assert_eq!((found.hash, found.previous), (hash(&second), Some((hash(&first), 500))));
    assert_eq!(found.fields, fields);
    key.version = 2;
    key.fields.disabled_at_ms = Some(30);
    assert_eq!(store.update_key(&key, None, 30).await.unwrap(), WriteOutcome::Done);
    assert_eq!(store.update_key(&key, None, 30).await.unwrap(), WriteOutcome::Changed);
    assert!(store.active_keys().await.unwrap().iter().all(|it| it.id != key.id));
    assert!(store.revoke_key(&key.id, 40).await.unwrap());
    assert_eq!(store.update_key(&key, None, 30).await.unwrap(), WriteOutcome::Absent);
    assert!(store.rotate_key(&key.id, 500, None, 50).await.unwrap().is_none());
    let listed = store.key(&key.id).await.unwrap().unwrap();
    assert_eq!((listed.previous_until_ms, listed.revoked_at_ms), (Some(500), Some(40)));
    assert_eq!(store.keys_after(Some((10, &key.id)), 9).await.unwrap(), []);
    assert_eq!(store.keys_after(Some((9, "zzz")), 9).await.unwrap(), [listed]);
}

fn charged(request_id: &str, started_at_ms: i64, project: &str, cost: Option<i64>) -> UsageRecord {
    UsageRecord {
        project: project.to_owned(),
        key_id: format!("key_of_{project}"),
        cost: cost.map(|total| Cost { total: Pico(total), ..Cost::default() }),
        ..record(request_id, started_at_ms)
    }
}

/// The records as lines of the spool.
fn lines(records: &[UsageRecord]) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let (spool, _reader) = crate::spool(&folder);
    records.iter().for_each(|record| spool.append(record).unwrap());
    let files = std::fs::read_dir(folder.path().join("spool")).unwrap();
    let texts = files.filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok());
    texts.flat_map(|text| text.lines().map(|line| line[9..].to_owned()).collect::<Vec<_>>()).collect()
}

pub(crate) async fn the_ledger_is_the_sum_of_the_records(store: &Store) {
    let records = [
        charged("a", 5, "a", Some(30)),
        charged("b", DAY_MS - 1, "a", Some(4)),
        charged("c", DAY_MS, "a", None),
        charged("d", 3 * DAY_MS, "b", Some(7)),
        charged("e", 3 * DAY_MS, "a", Some(100)),
    ];
    let lines = lines(&records);
    let all: Vec<&str> = lines.iter().map(String::as_str).collect();
    assert_eq!(store.insert_usage(&all[..2]).await.unwrap(), 2);
    // An interrupted batch is delivered again: records that exist are not charged a second time.
    assert_eq!(store.insert_usage(&all).await.unwrap(), 3);
    assert_eq!(store.insert_usage(&all).await.unwrap(), 0);
    let sums = store.spent(None, [0, 1, 3]).await.unwrap();
    assert_eq!(sums["project:a"], Spent { since: [134, 100, 100], total: 134 });
    assert_eq!(sums["key:key_of_b"], Spent { since: [7, 7, 7], total: 7 });
    let one = store.spent(Some("project:a"), [0, 1, 4]).await.unwrap();
    assert_eq!(one["project:a"], Spent { since: [134, 100, 0], total: 134 });
    assert!(store.spent(Some("project:none"), [0; 3]).await.unwrap().is_empty());
    let days = store.ledger("project:a", 0, 2).await.unwrap();
    let day = |day, spent_pico, requests, unpriced| LedgerDay {
        scope: "project:a".to_owned(),
        day,
        spent_pico,
        requests,
        unpriced,
    };
    assert_eq!(days, [day(3, 100, 1, 0), day(1, 0, 1, 1)]);
    // Lines of the previous release have neither project nor sum.
    let old = r#"{"nonce":1,"started_at_ms":9,"request_id":"o","key_id":"k","cost_pico":{"total":11}}"#;
    store.insert_usage(&[old]).await.unwrap();
    assert_eq!(store.ledger("project:default", 0, 9).await.unwrap()[0].spent_pico, 11);
    // The ledger keeps the charges of deleted records.
    retention::expire(store, i64::MAX).await;
    assert_eq!(store.usage(Default::default()).await.unwrap(), []);
    assert_eq!(store.spent(Some("key:k"), [0; 3]).await.unwrap()["key:k"].total, 11);
}

#[tokio::test]
async fn on_sqlite() {
    a_project_is_changed_only_from_its_current_version(&memory().await).await;
    keys_are_rotated_with_an_overlap(&memory().await).await;
    the_ledger_is_the_sum_of_the_records(&memory().await).await;
}
