//! Classes of outcomes, breakers, cool-downs, bounded memory.

use std::time::Duration;

use canon::{Error, ErrorKind, Origin, Retry};
use routing::{HealthSettings, KeyState, Outcome, Report, Settings, Timestamp};

use crate::support::*;

#[test]
fn errors_are_classified() {
    use ErrorKind as K;
    let of = |kind, retry| Outcome::of(&Error::upstream(kind, retry, "x"));
    assert_eq!(of(K::Upstream, Retry::Again), Outcome::Fault);
    assert_eq!(of(K::Overloaded, Retry::Again), Outcome::Fault);
    assert_eq!(of(K::Timeout, Retry::Again), Outcome::Timeout);
    assert_eq!(of(K::UpstreamCredential, Retry::Elsewhere), Outcome::Credential);
    assert_eq!(of(K::Quota, Retry::Elsewhere), Outcome::Credential);
    assert_eq!(of(K::ModelNotFound, Retry::Elsewhere), Outcome::NotServed);
    assert_eq!(of(K::InvalidRequest, Retry::No), Outcome::Neutral);
    // A bare 400 of an unhealthy provider does not prove that it is healthy.
    assert_eq!(of(K::InvalidRequest, Retry::Again), Outcome::Fault);
    let wait = Duration::from_secs(7);
    assert_eq!(of(K::RateLimit, Retry::After(wait)), Outcome::RateLimit(Some(wait)));
}

#[test]
fn only_upstream_errors_affect_health() {
    for kind in ErrorKind::ALL {
        for origin in [Origin::Caller, Origin::Gateway] {
            let error = Error { origin, ..Error::upstream(kind, Retry::Again, "x") };
            assert_eq!(Outcome::of(&error), Outcome::Neutral, "{kind:?} {origin:?}");
        }
    }
}

#[test]
fn errors_of_the_caller_change_no_health() {
    let world = World::new();
    world.times(50, route("a", "k"), Outcome::Neutral, T0);
    assert!(world.health.snapshot(T0).routes.is_empty());
    world.times(5, route("a", "k"), Outcome::Success, T0);
    let before = world.health.snapshot(T0);
    world.times(50, route("a", "k"), Outcome::Neutral, T0);
    assert_eq!(world.health.snapshot(T0), before);
}

#[test]
fn half_open_admits_one_probe() {
    let world = World::new();
    let a = route("a", "k");
    world.times(5, a, Outcome::Fault, T0);
    assert_eq!(world.health.begin(a, T0.plus_ms(9_999)), None);
    let later = T0.plus_ms(10_000);
    let probe = world.health.begin(a, later).unwrap();
    assert!(is_probe(&probe));
    assert_eq!(world.health.begin(a, later), None);
    world.health.finish(a, probe, &Report::success(None, None), later);
    assert!(!is_probe(&world.health.begin(a, later).unwrap()));
}

#[test]
fn an_inconclusive_probe_allows_the_next() {
    let world = World::new();
    let a = route("a", "k");
    world.times(5, a, Outcome::Fault, T0);
    let later = T0.plus_ms(10_000);
    let probe = world.health.begin(a, later).unwrap();
    world.health.finish(a, probe, &Report::cancelled(), later);
    assert!(is_probe(&world.health.begin(a, later).unwrap()));
}

/// A long answer shows only at its end whether the route works. Until then other requests may probe.
#[test]
fn a_probe_whose_answer_has_begun_allows_the_next_and_still_decides() {
    let later = T0.plus_ms(10_000);
    for (report, passes) in [(Report::success(None, None), true), (Report::failure(&fault()), false)] {
        let world = World::new();
        let a = route("a", "k");
        world.times(5, a, Outcome::Fault, T0);
        let mut first = world.health.begin(a, later).unwrap();
        world.health.begun(a, &mut first, later);
        let second = world.health.begin(a, later).unwrap();
        assert!(is_probe(&second), "one probe at a time");
        assert_eq!(world.health.begin(a, later), None);
        world.health.finish(a, first, &report, later);
        assert_eq!(world.health.begin(a, later).is_some(), passes);
        world.health.finish(a, second, &Report::cancelled(), later);
        assert_eq!(world.health.begin(a, later).is_some(), passes, "the second changes nothing");
    }
}

#[test]
fn each_key_has_its_own_breaker() {
    let world = World::new();
    world.times(5, route("a", "k1"), Outcome::Timeout, T0);
    assert_eq!(world.health.begin(route("a", "k1"), T0), None);
    assert!(world.health.begin(route("a", "k2"), T0).is_some());
}

#[test]
fn a_rate_limit_is_a_cool_down_for_this_model_as_long_as_asked() {
    let world = World::new();
    let a = route("a", "k");
    world.report(a, Outcome::RateLimit(Some(Duration::from_secs(30))), T0);
    assert_eq!(world.health.begin(a, T0.plus_ms(29_999)), None);
    assert!(world.health.begin(a, T0.plus_ms(30_000)).is_some());
    let other_model = routing::Route { model: "other", ..a };
    assert!(world.health.begin(other_model, T0).is_some());
    assert!(world.health.metrics("a", MODEL, T0).uptime > 0.9, "a rate limit is not a failure");
}

#[test]
fn rate_limits_without_a_wait_cause_longer_cool_downs_each_time() {
    let world = World::new();
    let a = route("a", "k");
    let mut now = T0;
    for seconds in [5, 10, 20] {
        world.report(a, Outcome::RateLimit(None), now);
        world.report(a, Outcome::RateLimit(None), now);
        assert_eq!(world.health.begin(a, now.plus_ms(seconds * 1000 - 1)), None, "{seconds}");
        now = now.plus_ms(seconds * 1000);
        assert!(world.health.begin(a, now).is_some(), "{seconds}");
    }
    world.report(a, Outcome::Success, now);
    world.report(a, Outcome::RateLimit(None), now);
    assert!(world.health.begin(a, now.plus_ms(5_000)).is_some());
}

#[test]
fn a_refused_key_is_in_a_cool_down_for_all_models() {
    let world = World::new();
    let a = route("a", "k");
    world.report(a, Outcome::Credential, T0);
    let other_model = routing::Route { model: "other", ..a };
    assert_eq!(world.health.begin(other_model, T0.plus_ms(299_999)), None);
    assert!(world.health.begin(route("a", "k2"), T0).is_some());
    assert!(world.health.begin(route("b", "k"), T0).is_some());
    assert!(world.health.begin(a, T0.plus_ms(300_000)).is_some());
}

#[test]
fn a_refused_key_that_works_again_ends_its_cool_down() {
    let world = World::new();
    let a = route("a", "k");
    world.report(a, Outcome::Credential, T0);
    world.report(a, Outcome::Success, T0);
    assert!(world.health.begin(a, T0).is_some());
}

#[test]
fn the_snapshot_has_states_and_waits() {
    let world = World::new();
    world.report(route("b", "limited"), Outcome::RateLimit(Some(Duration::from_secs(30))), T0);
    world.times(5, route("b", "broken"), Outcome::Fault, T0);
    world.measure(route("a", "good"), (200, 50.0), 3, T0);
    let snapshot = world.health.snapshot(T0.plus_ms(1_000));
    let names: Vec<_> = snapshot.routes.iter().map(|route| route.provider.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(snapshot.routes[0].metrics.first_token_ms, Some(200.0));
    let keys: Vec<_> = snapshot.routes[1].keys.iter().map(|key| (key.state, key.ready_in_ms)).collect();
    assert_eq!(keys, [(KeyState::CoolingDown, Some(29_000)), (KeyState::Open, Some(9_000))]);
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!(json["routes"][1]["keys"][0]["state"], "cooling_down");
    assert_eq!(json["routes"][0]["tokens_per_second"], 50.0);
}

#[test]
fn the_memory_is_bounded_and_forgets_the_longest_unused() {
    let health = HealthSettings { max_routes: 320, ..HealthSettings::default() };
    let world = World::with(Settings { health, ..settings() });
    for step in 0..5_000u64 {
        let model = format!("model-{step}");
        let route = routing::Route { provider: "a", model: &model, key: "k" };
        world.report(route, Outcome::Success, Timestamp(step));
        let kept = routing::Route { provider: "a", model: "kept", key: "k" };
        world.report(kept, Outcome::Success, Timestamp(step));
    }
    let snapshot = world.health.snapshot(Timestamp(5_000));
    assert!(snapshot.routes.len() <= 320, "{}", snapshot.routes.len());
    assert!(snapshot.routes.iter().any(|route| route.model == "kept"));
}

#[test]
fn health_can_be_shared_by_threads() {
    let world = World::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| world.times(1_000, route("a", "k"), Outcome::Success, T0));
        }
    });
    assert_eq!(world.health.snapshot(T0).routes[0].metrics.samples, 4_000.0);
}
