//! Properties that hold for every input.

use std::time::Duration;

use canon::{Error, ErrorKind, Feature, Features, ModelFacts, Pico, Retry};
use proptest::prelude::*;
use routing::{
    Attempts, Candidate, KeyState, Moment, Needs, Next, Outcome, Preferences, Reason, Report, RetryBudget,
    RetrySettings, Settings, Timestamp, pick_weighted, plan,
};

use crate::support::*;

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// A candidate and what happened to it.
#[derive(Clone, Debug)]
struct Past {
    usd: Option<f64>,
    able: bool,
    good: usize,
    bad: usize,
    first_token_ms: u64,
    speed: f64,
}

fn past() -> impl Strategy<Value = Past> {
    let usd = prop_oneof![3 => (0.0..10.0).prop_map(Some), 1 => Just(Some(0.0)), 1 => Just(None)];
    (usd, prop::bool::weighted(0.8), 0..40usize, 0..8usize, 1..5_000u64, 1.0..500.0).prop_map(
        |(usd, able, good, bad, first_token_ms, speed)| Past { usd, able, good, bad, first_token_ms, speed },
    )
}

fn candidates(pasts: &[Past]) -> Vec<Candidate<'static>> {
    let facts = |able: bool| {
        let features = if able { Features::all() } else { Features::NONE };
        &*Box::leak(Box::new(ModelFacts { features: Some(features), ..ModelFacts::default() }))
    };
    let cost = |usd: Option<f64>| usd.map(|usd| Pico((usd * 1e12) as i64));
    let make = |(past, name): (&Past, &'static str)| Candidate {
        cost: cost(past.usd),
        ..Candidate::new(name, MODEL, facts(past.able))
    };
    pasts.iter().zip(NAMES).map(make).collect()
}

fn live(world: &World, pasts: &[Past], now: Timestamp) {
    for (past, name) in pasts.iter().zip(NAMES) {
        let report = Report::success(Some(Duration::from_millis(past.first_token_ms)), Some(past.speed));
        for _ in 0..past.good {
            let permit = world.health.begin_last_resort(route(name, ""), now);
            world.health.finish(route(name, ""), permit, &report, now);
        }
        world.times(past.bad, route(name, ""), Outcome::Fault, now);
    }
}

fn tools() -> Needs<'static> {
    Needs { features: Features::NONE.with(Feature::Tools), ..needs() }
}

fn any_error() -> impl Strategy<Value = Error> {
    let retry = prop_oneof![
        Just(Retry::No),
        Just(Retry::Elsewhere),
        Just(Retry::Again),
        (0..10u64).prop_map(|seconds| Retry::After(Duration::from_secs(seconds)))
    ];
    (0..ErrorKind::ALL.len(), retry)
        .prop_map(|(kind, retry)| Error::upstream(ErrorKind::ALL[kind], retry, "x"))
}

/// The score of one candidate against a fixed rival, for this change of its past or facts.
fn score_of(own: Candidate<'static>, live: impl Fn(&World)) -> f64 {
    let world = World::new();
    world.measure(route("rival", ""), (300, 60.0), 50, T0);
    live(&world);
    let two = [own, at("rival", 2.0)];
    let selection = world.plan(&two, T0).selection(&two);
    selection.scores.iter().find(|score| score.provider == "own").map_or(f64::INFINITY, |score| score.score)
}

proptest! {
    #![proptest_config(testkit::random::cases(128))]

    #[test]
    fn incapable_candidates_or_open_breakers_are_never_picked_while_another_serves(
        pasts in prop::collection::vec(past(), 1..6), later in 0..20_000u64, seed: u64,
    ) {
        let world = World::with(Settings { exploration: 0.3, ..Settings::default() });
        live(&world, &pasts, T0);
        let all = candidates(&pasts);
        let now = T0.plus_ms(later);
        let found = plan(&tools(), &all, &world.preferences, &world.settings, Moment { health: &world.health, now, random: seed });
        let capable: Vec<_> = (0..all.len()).filter(|index| pasts[*index].able).collect();
        let Ok(found) = found else {
            prop_assert!(capable.is_empty());
            return Ok(());
        };
        prop_assert!(!found.order.is_empty());
        let snapshot = world.health.snapshot(now);
        let state = |index: usize| {
            let own = snapshot.routes.iter().find(|route| route.provider == NAMES[index]);
            own.map_or(KeyState::Ready, |route| route.keys[0].state)
        };
        for choice in &found.order {
            prop_assert!(pasts[choice.index].able);
        }
        let usable = |state: KeyState| matches!(state, KeyState::Ready | KeyState::HalfOpen);
        if capable.iter().any(|index| usable(state(*index))) {
            prop_assert!(found.order.iter().all(|choice| usable(state(choice.index))));
        }
        if capable.iter().any(|index| state(*index) == KeyState::Ready) && found.reason() != Reason::Probe {
            prop_assert_eq!(state(found.order[0].index), KeyState::Ready);
        }
    }

    #[test]
    fn the_same_state_time_and_seed_give_the_same_plan(
        pasts in prop::collection::vec(past(), 1..6), seed: u64,
    ) {
        let make = || {
            let world = World::with(Settings { exploration: 0.5, ..Settings::default() });
            live(&world, &pasts, T0);
            let all = candidates(&pasts);
            plan(&tools(), &all, &world.preferences, &world.settings, Moment { health: &world.health, now: T0, random: seed })
                .map(|found| (found.order.clone(), found.selection(&all)))
        };
        prop_assert_eq!(make(), make());
    }

    #[test]
    fn a_higher_price_is_never_better(cheap in 0.0..5.0f64, more in 0.0..5.0f64) {
        let score = |usd| score_of(at("own", usd), |_| {});
        prop_assert!(score(cheap) <= score(cheap + more));
    }

    #[test]
    fn more_failures_are_never_better(good in 0..60usize, bad in 0..4usize) {
        let score = |bad| score_of(at("own", 1.0), |world: &World| {
            world.times(bad, route("own", ""), Outcome::Fault, T0);
            world.times(good, route("own", ""), Outcome::Success, T0);
        });
        prop_assert!(score(bad) < score(bad + 1));
    }

    #[test]
    fn slower_is_never_better(wait in 1..2_000u64, more in 0..2_000u64, speed in 1.0..200.0f64, less in 0.1..1.0f64) {
        let score = |wait, speed| score_of(at("own", 1.0), |world: &World| {
            world.measure(route("own", ""), (wait, speed), 10, T0);
        });
        prop_assert!(score(wait, speed) <= score(wait + more, speed));
        prop_assert!(score(wait, speed) <= score(wait, speed * less));
    }

    #[test]
    fn losses_deprecation_and_low_priority_never_help(losses in 0..20u32, priority in 0.0..2.0f64) {
        let score = |losses, priority, deprecated| {
            score_of(Candidate { losses, priority, deprecated, ..at("own", 1.0) }, |_| {})
        };
        prop_assert!(score(losses, priority, false) <= score(losses + 1, priority, false));
        prop_assert!(score(losses, priority, false) <= score(losses, priority, true));
        prop_assert!(score(losses, priority, false) <= score(losses, priority - 0.1, false));
    }

    #[test]
    fn an_unmeasured_candidate_never_beats_a_proven_one_at_the_same_price(
        good in 30..500usize, wait in 1..60_000u64, speed in 0.1..500.0f64, usd in 0.0..9.0f64,
    ) {
        let world = World::new();
        world.measure(route("proven", ""), (wait, speed), good, T0);
        prop_assert_eq!(world.order(&[at("unknown", usd), at("proven", usd)], T0)[0], "proven");
    }

    #[test]
    fn attempts_follow_the_rules(
        pasts in prop::collection::vec(past(), 1..5), key_count in 1..4usize,
        errors in prop::collection::vec((any_error(), any::<u64>()), 6), no_fallback: bool,
    ) {
        let world = World::new();
        live(&world, &pasts, T0);
        let labels = keys(&["k1", "k2", "k3"][..key_count]);
        let all: Vec<_> = candidates(&pasts).iter().map(|one| Candidate { keys: labels, ..*one }).collect();
        let Ok(found) = plan(&tools(), &all, &Preferences::default(), &world.settings, Moment { health: &world.health, now: T0, random: 1 }) else {
            return Ok(());
        };
        let budget = RetryBudget::new(&world.settings.retry);
    let budget = budget.of("key");
        let mut attempts = Attempts::new(&found, &all, &world.settings).no_fallback(no_fallback);
        let mut attempt = attempts.first(&world.health, T0);
        let (mut now, mut made, mut refused) = (T0, 1, Vec::new());
        for (error, random) in errors {
            let route = all[attempt.index].route(attempt.key);
            prop_assert!(pasts[attempt.index].able);
            prop_assert!(!refused.contains(&(route.provider, route.key)));
            prop_assert!(!no_fallback || attempt.index == found.order[0].index);
            if matches!(error.kind, ErrorKind::UpstreamCredential | ErrorKind::Quota | ErrorKind::Permission) {
                refused.push((route.provider, route.key));
            }
            world.health.finish(route, attempt.permit, &Report::failure(&error), now);
            match attempts.next(&error, &budget, Moment { health: &world.health, now, random }) {
                Next::GiveUp => return Ok(()),
                Next::Candidate(next) => attempt = next,
            }
            prop_assert!(Outcome::of(&error) != Outcome::Neutral || error.retry == Retry::Elsewhere);
            let longest = Duration::from_millis(world.settings.retry.max_wait_ms).mul_f64(1.1);
            prop_assert!(attempt.after.unwrap_or_default() <= longest);
            now = now.plus(attempt.after.unwrap_or_default());
            made += 1;
            prop_assert!(made <= world.settings.max_retries + 1);
        }
    }

    #[test]
    fn neutral_outcomes_never_change_health(pasts in prop::collection::vec(past(), 1..5), times in 1..50usize) {
        let world = World::new();
        live(&world, &pasts, T0);
        let before = world.health.snapshot(T0);
        for name in NAMES {
            world.times(times, route(name, ""), Outcome::Neutral, T0);
        }
        prop_assert_eq!(world.health.snapshot(T0), before);
    }

    #[test]
    fn the_retry_budget_is_a_bound(steps in prop::collection::vec((any::<bool>(), 0..500u64), 1..400)) {
        let settings = RetrySettings { budget_burst: 5.0, ..RetrySettings::default() };
        let budget = RetryBudget::new(&settings);
    let budget = budget.of("key");
        let (mut now, mut requests, mut retries) = (T0, 0.0, 0.0);
        for (is_request, wait) in steps {
            now = now.plus_ms(wait);
            if is_request {
                budget.deposit(now);
                requests += 1.0;
            } else if budget.withdraw(now) {
                retries += 1.0;
            }
            let seconds = now.since(T0) as f64 / 1000.0;
            let bound = settings.budget_burst + settings.budget_ratio * requests + settings.budget_per_second * seconds;
            prop_assert!(retries <= bound + 1e-6);
        }
    }

    #[test]
    fn half_open_admits_exactly_one(count in 1..50usize) {
        let world = World::new();
        world.times(5, route("a", "k"), Outcome::Fault, T0);
        let later = T0.plus_ms(10_000);
        let admitted = (0..count).filter_map(|_| world.health.begin(route("a", "k"), later)).count();
        prop_assert_eq!(admitted, 1);
    }

    #[test]
    fn a_weighted_pick_never_takes_a_weight_of_zero(weights in prop::collection::vec(0..5u32, 0..6), random: u64) {
        match pick_weighted(&weights, |weight| *weight, random) {
            Some(index) => prop_assert!(weights[index] > 0),
            None => prop_assert!(weights.iter().all(|weight| *weight == 0)),
        }
    }
}
