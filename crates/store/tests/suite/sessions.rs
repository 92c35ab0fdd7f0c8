//! Sessions of the dashboard. The function that takes a store runs on both databases.

use store::{Audit, ConsoleSession, Store};

use crate::memory;

fn session(id: &str, created_at_ms: i64) -> ConsoleSession {
    ConsoleSession {
        id: id.to_owned(),
        name: "<b>Mara</b>".to_owned(),
        subject: "key_1".to_owned(),
        means: "key".to_owned(),
        role: "viewer".to_owned(),
        address: "::1".to_owned(),
        created_at_ms,
        expires_at_ms: created_at_ms + 100,
    }
}

fn audit(action: &'static str) -> Audit {
    Audit { actor: "key:key_1".to_owned(), action, target: "session:a".to_owned(), detail: "{}".to_owned() }
}

pub(crate) async fn sessions_last_until_they_expire_or_are_ended(store: &Store) {
    let (one, two) = (session("a", 1000), session("b", 1050));
    store.create_session(&one, audit("session.create")).await.unwrap();
    store.create_session(&two, audit("session.create")).await.unwrap();
    assert_eq!(store.session("a", 1099).await.unwrap().as_ref(), Some(&one));
    assert_eq!(store.session("a", 1100).await.unwrap(), None);
    assert_eq!(store.sessions(1060).await.unwrap(), [two.clone(), one]);
    assert!(store.end_session("b", audit("session.end"), 1060).await.unwrap());
    assert!(!store.end_session("b", audit("session.end"), 1060).await.unwrap());
    assert_eq!(store.session("b", 1060).await.unwrap(), None);
    let log = store.audit_before(i64::MAX, 10).await.unwrap();
    let actions: Vec<&str> = log.iter().map(|row| row.action.as_str()).collect();
    assert_eq!(actions, ["session.end", "session.create", "session.create"]);
    // A new session removes expired ones.
    store.create_session(&session("c", 2000), audit("session.create")).await.unwrap();
    assert_eq!(store.sessions(0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn on_sqlite() {
    sessions_last_until_they_expire_or_are_ended(&memory().await).await;
}
