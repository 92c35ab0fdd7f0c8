//! Reports between gateways.

use std::time::Duration;

use routing::{Outage, OutageKind, Outcome, Report, SessionSettings, Sessions};

use crate::support::*;

/// Reports the outages of one gateway to the other.
fn report(from: &World, to: &World, now: routing::Timestamp) -> Vec<Outage> {
    let outages = from.health.outages(100, now);
    outages.iter().for_each(|outage| to.health.learn(outage, now));
    outages
}

#[test]
fn a_breaker_that_opened_elsewhere_is_open_here_until_its_probe() {
    let (one, other) = (World::new(), World::new());
    let a = route("a", "k");
    assert!(report(&one, &other, T0).is_empty());
    one.times(5, a, Outcome::Fault, T0);
    let reported = report(&one, &other, T0);
    assert_eq!(
        (reported.len(), reported[0].kind, reported[0].until),
        (1, OutageKind::Open, T0.plus_ms(10_000))
    );
    assert_eq!(other.health.begin(a, T0.plus_ms(9_999)), None);
    assert!(other.health.outages(100, T0).is_empty(), "a report is not passed on");
    let later = T0.plus_ms(10_000);
    let probe = other.health.begin(a, later).unwrap();
    assert!(is_probe(&probe));
    assert_eq!(other.health.begin(a, later), None);
    other.health.finish(a, probe, &Report::success(None, None), later);
    assert!(!is_probe(&other.health.begin(a, later).unwrap()));
    // It reports the outages that it meets itself.
    other.times(5, a, Outcome::Fault, later);
    assert_eq!(report(&other, &one, later).len(), 1);
}

#[test]
fn a_gateway_that_found_the_route_working_ignores_the_same_report() {
    let (one, other) = (World::new(), World::new());
    let a = route("a", "k");
    one.times(5, a, Outcome::Fault, T0);
    report(&one, &other, T0);
    let soon = T0.plus_ms(1000);
    other.report(a, Outcome::Success, soon);
    assert!(other.health.begin(a, soon).is_some(), "a last resort that worked");
    report(&one, &other, soon);
    assert!(other.health.begin(a, soon).is_some());
    // The next outage is a new one.
    one.times(1, a, Outcome::Fault, T0.plus_ms(10_001));
    report(&one, &other, T0.plus_ms(10_001));
    assert_eq!(other.health.begin(a, T0.plus_ms(10_002)), None);
}

#[test]
fn cool_downs_and_refused_keys_apply_at_all_gateways() {
    let (one, other) = (World::new(), World::new());
    let (slow, refused) = (route("a", "k1"), route("a", "k2"));
    one.report(slow, Outcome::RateLimit(Some(Duration::from_secs(7))), T0);
    one.report(refused, Outcome::Credential, T0);
    let kinds: Vec<_> = report(&one, &other, T0).into_iter().map(|outage| outage.kind).collect();
    assert_eq!(kinds, [OutageKind::Refused, OutageKind::CoolingDown]);
    for key in [slow, refused] {
        assert_eq!(other.health.begin(key, T0.plus_ms(6_999)), None);
    }
    assert!(other.health.begin(slow, T0.plus_ms(7_000)).is_some());
    // The cool-down of the key is for all models.
    let elsewhere = routing::Route { model: "other", ..refused };
    assert_eq!(other.health.begin(elsewhere, T0.plus_ms(1)), None);
    assert!(other.health.outages(100, T0).is_empty());
    other.report(refused, Outcome::Success, T0.plus_ms(1));
    report(&one, &other, T0.plus_ms(1));
    assert!(other.health.begin(refused, T0.plus_ms(2)).is_some(), "the key was tried and works");
}

#[test]
fn a_table_full_of_keys_whose_rest_is_over_takes_new_ones() {
    let (world, other) = (World::new(), World::new());
    for number in 0..4_096 {
        let key = format!("k{number}");
        world.report(routing::Route { key: &key, ..route("a", "") }, Outcome::Credential, T0);
    }
    let (heard, met) = (route("b", "heard"), route("b", "met"));
    other.report(heard, Outcome::Credential, T0);
    report(&other, &world, T0);
    assert!(world.health.begin(heard, T0).is_some(), "all keys of the table still rest");
    let late = T0.plus_ms(301_000);
    other.report(heard, Outcome::Credential, late);
    report(&other, &world, late);
    world.report(met, Outcome::Credential, late);
    assert_eq!(world.health.begin(heard, late.plus_ms(1)), None);
    assert_eq!(world.health.begin(met, late.plus_ms(1)), None);
}

#[test]
fn an_expired_or_shorter_report_changes_nothing() {
    let world = World::new();
    let a = route("a", "k");
    world.report(a, Outcome::RateLimit(Some(Duration::from_secs(60))), T0);
    let outage = |kind, seconds: u64| Outage {
        provider: "a".into(),
        model: MODEL.into(),
        key: "k".into(),
        kind,
        until: T0.plus_ms(seconds * 1000),
    };
    world.health.learn(&outage(OutageKind::CoolingDown, 30), T0);
    let own = world.health.outages(100, T0);
    assert_eq!((own.len(), own[0].until), (1, T0.plus_ms(60_000)), "its own outage is still reported");
    let late = T0.plus_ms(100_000);
    world.health.learn(&outage(OutageKind::Open, 100), late);
    assert!(world.health.begin(a, late).is_some());
    assert_eq!(world.health.outages(0, T0).len(), 0);
}

#[test]
fn a_conversation_is_reported_when_it_moves_and_periodically() {
    let settings = SessionSettings { ttl_seconds: 400, ..SessionSettings::default() };
    let (one, other) = (Sessions::new(&settings), Sessions::new(&settings));
    let warm = one.put("caller", "s", route("a", "k"), T0).expect("the conversation is new");
    assert_eq!(one.put("caller", "s", route("a", "k"), T0.plus_ms(1)), None);
    assert_eq!(one.put("caller", "s", route("a", "k"), T0.plus_ms(99_999)), None);
    assert!(one.put("caller", "s", route("a", "k"), T0.plus_ms(100_000)).is_some());
    assert!(one.put("caller", "s", route("b", "k"), T0.plus_ms(100_001)).is_some());
    other.learn("caller", "s", routing::Warm::of_numbers(warm.numbers()), T0);
    assert_eq!(other.get("caller", "s", T0), Some(warm));
    assert_eq!(
        other.put("caller", "s", route("a", "k"), T0.plus_ms(1)),
        None,
        "the other gateways know it already"
    );
    assert_eq!(other.get("caller", "s", T0.plus_ms(400_001)), None);
}
