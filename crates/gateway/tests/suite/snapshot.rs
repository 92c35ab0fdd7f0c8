//! State that passes from one snapshot of the configuration to the next.

use std::sync::Arc;

use canon::{Error, ErrorKind, Operation, Retry};
use catalog::Catalog;
use gateway::config::{ConfigFile, Settings};
use gateway::env::Environment;
use gateway::snapshot::{Current, ProviderHandle, Snapshot, Tools};
use routing::{Report, Route, Timestamp};

const NOW: Timestamp = Timestamp(1_000_000);

fn settings(text: &str) -> Settings {
    let file = ConfigFile::parse(text).unwrap();
    Settings::build(&file, &Environment::default(), Catalog::embedded().unwrap()).unwrap()
}

fn tools() -> Tools {
    Tools::for_commands().unwrap()
}

fn two(first: &str, second: &str) -> String {
    format!(
        "[providers.first]\nprotocol = \"openai-chat\"\nbase_url = \"http://127.0.0.1:1\"\n{first}\n\
         [providers.second]\nprotocol = \"openai-chat\"\nbase_url = \"http://127.0.0.1:2\"\n{second}\n"
    )
}

fn handle<'a>(snapshot: &'a Snapshot, id: &str) -> &'a Arc<ProviderHandle> {
    &snapshot.providers[id]
}

fn refuse(snapshot: &Snapshot, provider: &str) {
    let route = Route { provider, model: "m", key: "key1" };
    let error = Error::upstream(ErrorKind::UpstreamCredential, Retry::Elsewhere, "no");
    let permit = snapshot.health.of(Operation::Chat).begin_last_resort(route, NOW);
    snapshot.health.of(Operation::Chat).finish(route, permit, &Report::failure(&error), NOW);
}

fn is_refused(snapshot: &Snapshot, provider: &str) -> bool {
    snapshot.health.of(Operation::Chat).begin(Route { provider, model: "m", key: "key1" }, NOW).is_none()
}

#[test]
fn an_unchanged_provider_is_the_same_object_in_the_next_snapshot() {
    let tools = tools();
    let old = Snapshot::first(settings(&two("api_key = \"a\"", "api_key = \"b\"\npriority = 1.0\n")), &tools);
    let next =
        Snapshot::next(&old, settings(&two("api_key = \"a\"", "api_key = \"b\"\npriority = 2.0\n")), &tools);
    assert!(Arc::ptr_eq(handle(&old, "first"), handle(&next, "first")));
    // Another priority makes another handle with the same credentials and counters.
    let (before, after) = (handle(&old, "second"), handle(&next, "second"));
    assert!(!Arc::ptr_eq(before, after));
    assert!(Arc::ptr_eq(&before.credentials, &after.credentials));
    assert!(Arc::ptr_eq(&before.metrics, &after.metrics));
    assert!((after.row.priority - 2.0).abs() < f64::EPSILON);
}

#[test]
fn a_new_key_has_new_credentials_and_no_failures() {
    let tools = tools();
    let old = Snapshot::first(settings(&two("api_key = \"a\"", "api_key = \"b\"")), &tools);
    refuse(&old, "first");
    refuse(&old, "second");
    let next = Snapshot::next(&old, settings(&two("api_key = \"new\"", "api_key = \"b\"")), &tools);
    assert!(!Arc::ptr_eq(&handle(&old, "first").credentials, &handle(&next, "first").credentials));
    assert!(!is_refused(&next, "first"), "the new key was never refused");
    assert!(is_refused(&next, "second"), "the measurements of an unchanged provider are kept");
}

#[test]
fn views_of_health_share_one_memory_and_have_their_own_settings() {
    let tools = tools();
    let config = two("api_key = \"a\"", "api_key = \"b\"");
    let old = Snapshot::first(settings(&config), &tools);
    let longer = format!("{config}[routing.health]\ncredential_seconds = 5000\n");
    let next = Snapshot::next(&old, settings(&longer), &tools);
    // A request of the old snapshot still reports, and the new snapshot sees it.
    refuse(&old, "first");
    assert!(is_refused(&next, "first"));
    refuse(&next, "second");
    let later = Timestamp(NOW.0 + 4_000_000);
    let route = |provider| Route { provider, model: "m", key: "key1" };
    assert!(old.health.of(Operation::Chat).begin(route("first"), later).is_some());
    assert!(old.health.of(Operation::Chat).begin(route("second"), later).is_none());
}

#[test]
fn a_request_keeps_the_snapshot_that_it_began_with() {
    let tools = tools();
    let current = Current::new(Snapshot::first(settings("[server]\nbody_limit = \"1MiB\"\n"), &tools));
    let seen = current.get();
    current.set(Snapshot::next(&seen, settings("[server]\nbody_limit = \"2MiB\"\n"), &tools));
    assert_eq!(seen.limits.body, 1 << 20);
    assert_eq!(current.get().limits.body, 2 << 20);
}
