//! Filters, order and reasons of plans.

use std::time::Duration;

use canon::{ErrorKind, Feature, Features, ModelFacts, Pico};
use routing::{
    Attempts, Candidate, Filter, Health, KeyState, MaxPrice, Moment, Needs, Next, Outcome, Preferences,
    Reason, RetryBudget, Sessions, Settings, Sort, Suspensions, UnitPrices, Warm, plan,
};

use crate::support::*;

fn facts_with(features: Features, context: u64) -> &'static ModelFacts {
    Box::leak(Box::new(ModelFacts {
        features: Some(features),
        context_tokens: Some(context),
        ..ModelFacts::default()
    }))
}

#[test]
fn the_cheapest_is_first_when_nothing_is_measured() {
    let world = World::new();
    assert_eq!(world.order(&[at("a", 3.0), at("b", 1.0), at("c", 2.0)], T0), ["b", "c", "a"]);
    assert_eq!(world.plan(&[at("a", 3.0), at("b", 1.0)], T0).reason(), Reason::Score);
    assert_eq!(world.plan(&[at("a", 3.0)], T0).reason(), Reason::OnlyCandidate);
}

#[test]
fn a_missing_feature_is_named() {
    let world = World::new();
    let text = facts_with(Features::NONE.with(Feature::Tools), 1000);
    let needs = Needs { features: Features::NONE.with(Feature::Vision).with(Feature::Tools), ..needs() };
    let blind = Candidate::new("a", MODEL, text);
    let no = plan(
        &needs,
        &[blind],
        &world.preferences,
        &world.settings,
        Moment { health: &world.health, now: T0, random: 1 },
    )
    .unwrap_err();
    assert_eq!((no.filter, no.missing), (Some(Filter::Unsupported), Features::NONE.with(Feature::Vision)));
    let error = no.to_error();
    assert_eq!(
        (error.kind, error.param_name().as_deref()),
        (ErrorKind::UnsupportedFeature, Some("messages"))
    );
    assert!(error.message.contains("vision"), "{}", error.message);

    let seeing = Candidate::new("b", MODEL, facts());
    let found = plan(
        &needs,
        &[blind, seeing],
        &world.preferences,
        &world.settings,
        Moment { health: &world.health, now: T0, random: 1 },
    )
    .unwrap();
    assert_eq!(found.order[0].index, 1);
    let selection = found.selection(&[blind, seeing]);
    assert_eq!(selection.filtered[0].reason, "does not support vision");
}

#[test]
fn thinking_is_a_hint_and_excludes_no_candidate() {
    let world = World::new();
    let plain = Candidate::new("a", MODEL, facts_with(Features::NONE, 1000));
    let needs = Needs { features: Features::NONE.with(Feature::Reasoning), ..needs() };
    assert!(
        plan(
            &needs,
            &[plain],
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: 1 }
        )
        .is_ok()
    );
}

#[test]
fn a_prompt_that_is_too_long_is_refused_with_numbers() {
    let world = World::new();
    let small = Candidate::new("a", MODEL, facts_with(Features::all(), 1000));
    let ask = |tokens| {
        let needs = Needs { prompt_tokens: tokens, ..needs() };
        plan(
            &needs,
            &[small],
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: 1 },
        )
    };
    assert!(ask(3900).is_ok(), "an estimate may be wrong: the provider counts");
    let error = ask(4100).unwrap_err().to_error();
    assert_eq!(error.kind, ErrorKind::ContextLength);
    assert!(error.message.contains("4100") && error.message.contains("1000"), "{}", error.message);
}

#[test]
fn room_for_the_answer_is_preferred_but_not_required() {
    let world = World::new();
    let needs = Needs { prompt_tokens: 900, max_output_tokens: Some(500), ..needs() };
    let small = Candidate::new("a", MODEL, facts_with(Features::all(), 1000));
    let large = Candidate::new("b", MODEL, facts_with(Features::all(), 10_000));
    let go = |candidates: &[Candidate<'_>]| {
        let plan = plan(
            &needs,
            candidates,
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: 1 },
        )
        .unwrap();
        plan.order.iter().map(|choice| choice.index).collect::<Vec<_>>()
    };
    assert_eq!(go(&[small, large]), [1, 0]);
    assert_eq!(go(&[small]), [0]);
}

#[test]
fn preferences_are_honoured() {
    let mut world = World::new();
    let three = [at("a", 3.0), at("b", 1.0), at("c", 2.0)];
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    world.preferences = Preferences { order: names(&["C"]), ..Preferences::default() };
    assert_eq!(world.order(&three, T0), ["c", "b", "a"]);
    assert_eq!(world.plan(&three, T0).reason(), Reason::Order);
    world.preferences.allow_fallbacks = false;
    assert_eq!(world.order(&three, T0), ["c"]);
    world.preferences = Preferences { only: names(&["a", "c"]), ..Preferences::default() };
    assert_eq!(world.order(&three, T0), ["c", "a"]);
    world.preferences = Preferences { ignore: names(&["b"]), ..Preferences::default() };
    assert_eq!(world.order(&three, T0), ["c", "a"]);
    world.preferences = Preferences { allow_fallbacks: false, ..Preferences::default() };
    assert_eq!(world.order(&three, T0), ["b"]);
    world.preferences = Preferences { only: names(&["z"]), ..Preferences::default() };
    let no = plan(
        &needs(),
        &three,
        &world.preferences,
        &world.settings,
        Moment { health: &world.health, now: T0, random: 1 },
    )
    .unwrap_err();
    assert_eq!(
        (no.filter, no.to_error().param_name().as_deref()),
        (Some(Filter::Excluded), Some("provider"))
    );
}

#[test]
fn max_price_excludes_expensive_and_unpriced_candidates() {
    let mut world = World::new();
    let priced = |name, prompt: &str| Candidate {
        prices: Some(UnitPrices { prompt: Pico::per_token(prompt).unwrap(), completion: Pico::ZERO }),
        ..at(name, 1.0)
    };
    let candidates = [priced("dear", "2"), priced("exact", "1.5"), at("unknown", 0.1)];
    let limit = MaxPrice { prompt: Some(1.5), ..MaxPrice::default() };
    world.preferences = Preferences { max_price: Some(limit), ..Preferences::default() };
    assert_eq!(world.order(&candidates, T0), ["exact"]);
    let filtered = world.plan(&candidates, T0).selection(&candidates).filtered;
    assert_eq!(filtered.len(), 2);
    assert!(filtered[1].reason.contains("unknown"));
}

#[test]
fn preferences_are_read_from_the_request() {
    let json = r#"{"order":["a"],"allow_fallbacks":false,"max_price":{"prompt":1,"completion":2.5},"sort":"latency"}"#;
    let preferences: Preferences = serde_json::from_str(json).unwrap();
    assert_eq!(preferences.sort, Some(Sort::Latency));
    assert_eq!(preferences.max_price.unwrap().completion, Some(2.5));
    assert!(!preferences.allow_fallbacks);
    assert!(serde_json::from_str::<Preferences>("{}").unwrap().allow_fallbacks);
    assert!(serde_json::from_str::<Preferences>(r#"{"sorted":"price"}"#).is_err());
}

#[test]
fn free_candidates_are_first_by_price_and_by_score() {
    let mut world = World::new();
    let candidates = [at("paid", 0.000001), at("free", 0.0), at("dear", 5.0)];
    assert_eq!(world.order(&candidates, T0), ["free", "paid", "dear"]);
    world.preferences.sort = Some(Sort::Price);
    assert_eq!(world.order(&candidates, T0), ["free", "paid", "dear"]);
    let unknown = [Candidate::new("unknown", MODEL, facts()), at("dear", 5.0)];
    assert_eq!(world.order(&unknown, T0), ["dear", "unknown"]);
}

#[test]
fn candidates_are_sorted_by_speed() {
    let mut world = World::new();
    let candidates = [at("slow", 1.0), at("quick", 9.0)];
    world.measure(route("slow", ""), (1000, 20.0), 5, T0);
    world.measure(route("quick", ""), (100, 10.0), 5, T0);
    assert_eq!(world.order(&candidates, T0), ["slow", "quick"]);
    world.preferences.sort = Some(Sort::Latency);
    assert_eq!(world.order(&candidates, T0), ["quick", "slow"]);
    world.preferences.sort = Some(Sort::Throughput);
    assert_eq!(world.order(&candidates, T0), ["slow", "quick"]);
}

#[test]
fn tiers_come_before_scores() {
    let world = World::new();
    let candidates = [Candidate { tier: 1, ..at("cheap", 1.0) }, at("first", 9.0)];
    assert_eq!(world.order(&candidates, T0), ["first", "cheap"]);
}

#[test]
fn fewer_losses_deprecation_and_priority_break_ties() {
    let world = World::new();
    assert_eq!(world.order(&[Candidate { losses: 2, ..at("a", 1.0) }, at("b", 1.0)], T0), ["b", "a"]);
    assert_eq!(world.order(&[Candidate { deprecated: true, ..at("a", 1.0) }, at("b", 1.0)], T0), ["b", "a"]);
    assert_eq!(world.order(&[Candidate { priority: 0.5, ..at("a", 1.0) }, at("b", 1.0)], T0), ["b", "a"]);
}

#[test]
fn an_unmeasured_candidate_is_not_preferred_to_a_proven_one() {
    let world = World::new();
    world.measure(route("proven", ""), (5_000, 5.0), 100, T0);
    assert_eq!(world.order(&[at("unknown", 1.0), at("proven", 1.0)], T0), ["proven", "unknown"]);
    assert_eq!(world.order(&[at("unknown", 0.5), at("proven", 1.0)], T0), ["unknown", "proven"]);
}

#[test]
fn a_provider_with_an_open_breaker_is_left_out_and_tried_again_later() {
    let world = World::new();
    let candidates = [at("cheap", 1.0), at("dear", 2.0)];
    world.times(100, route("dear", ""), Outcome::Success, T0);
    world.times(5, route("cheap", ""), Outcome::Fault, T0);
    assert_eq!(world.order(&candidates, T0), ["dear"]);
    let filtered = world.plan(&candidates, T0).selection(&candidates).filtered;
    assert_eq!(filtered[0].reason, "its circuit breaker is open after repeated failures");
    let later = T0.plus_ms(10_000);
    assert_eq!(world.order(&candidates, later), ["cheap", "dear"]);
    assert_eq!(world.plan(&candidates, later).reason(), Reason::Probe);
    let probe = world.health.begin(route("cheap", ""), later).unwrap();
    assert_eq!(world.order(&candidates, later), ["dear"]);
    world.health.finish(route("cheap", ""), probe, &routing::Report::success(None, None), later);
    assert_eq!(world.order(&candidates, later), ["dear", "cheap"], "one lucky probe is not enough");
    assert_eq!(world.order(&candidates, later.plus_ms(60_000)), ["cheap", "dear"]);
}

#[test]
fn without_fallback_there_is_no_exploration() {
    let mut world = World::with(Settings { exploration: 1.0, ..settings() });
    let candidates = [at("cheap", 1.0), at("dear", 1.1)];
    let explored = |world: &World| {
        let plans = (0..200).map(|seed| {
            let settings = &world.settings;
            plan(
                &needs(),
                &candidates,
                &world.preferences,
                settings,
                Moment { health: &world.health, now: T0, random: seed },
            )
            .unwrap()
        });
        plans.filter(|plan| plan.reason() == Reason::Exploration && plan.is_trial()).count()
    };
    assert!(explored(&world) > 100);
    world.preferences.allow_fallbacks = false;
    assert_eq!(explored(&world), 0);
}

#[test]
fn when_all_breakers_are_open_the_least_bad_is_tried() {
    let world = World::new();
    let candidates = [at("dead", 1.0), at("half", 2.0), at("limited", 0.5), at("refused", 0.1)];
    world.times(50, route("half", ""), Outcome::Success, T0);
    world.times(5, route("dead", ""), Outcome::Fault, T0);
    world.times(5, route("half", ""), Outcome::Fault, T0);
    world.report(route("limited", ""), Outcome::RateLimit(Some(Duration::from_secs(60))), T0);
    world.report(route("refused", ""), Outcome::Credential, T0);
    assert_eq!(world.order(&candidates, T0), ["half", "dead", "limited", "refused"]);
    assert_eq!(world.plan(&candidates, T0).reason(), Reason::LastResort);
}

#[test]
fn resting_keys_are_avoided() {
    let world = World::new();
    let keys = keys(&["k1", "k2"]);
    let candidates = [Candidate { keys, ..at("a", 1.0) }, at("b", 2.0)];
    world.report(route("a", "k1"), Outcome::RateLimit(Some(Duration::from_secs(60))), T0);
    for seed in 0..20 {
        let found = plan(
            &needs(),
            &candidates,
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: seed },
        )
        .unwrap();
        assert_eq!((found.order[0].index, found.order[0].key), (0, 1));
    }
    world.report(route("a", "k2"), Outcome::Credential, T0);
    assert_eq!(world.order(&candidates, T0), ["b"]);
}

#[test]
fn keys_take_turns() {
    let world = World::new();
    let candidates = [Candidate { keys: keys(&["k1", "k2", "k3"]), ..at("a", 1.0) }];
    let mut used = [0; 3];
    for seed in 0..300 {
        let found = plan(
            &needs(),
            &candidates,
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: seed },
        )
        .unwrap();
        used[found.order[0].key] += 1;
    }
    assert!(used.iter().all(|count| *count > 60), "{used:?}");
}

#[test]
fn a_conversation_stays_where_its_cache_is_warm_unless_that_is_unhealthy() {
    let world = World::new();
    let sessions = Sessions::new(&world.settings.sessions);
    let keys = keys(&["k1", "k2"]);
    let candidates = [at("cheap", 1.0), Candidate { keys, warm_cost: Some(Pico::USD), ..at("dear", 5.0) }];
    sessions.put("caller", "s", route("dear", "k2"), T0);
    assert_eq!(sessions.get("other caller", "s", T0), None);
    let warm = sessions.get("caller", "s", T0);
    let go = |warm: Option<Warm>, now| {
        let needs = Needs { warm, ..needs() };
        plan(
            &needs,
            &candidates,
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now, random: 1 },
        )
        .unwrap()
    };
    let found = go(warm, T0);
    assert_eq!((found.order[0].index, found.order[0].key, found.reason()), (1, 1, Reason::Session));
    assert_eq!(found.selection(&candidates).scores[0].price, Some(Pico::USD));
    world.times(5, route("dear", "k2"), Outcome::Fault, T0);
    world.times(5, route("dear", "k1"), Outcome::Fault, T0);
    assert_eq!(go(warm, T0).order[0].index, 0);
    assert_eq!(sessions.get("caller", "s", T0.plus_ms(300_000)), None);
}

#[test]
fn conversations_are_forgotten_oldest_first() {
    let settings = routing::SessionSettings { capacity: 640, ..routing::SessionSettings::default() };
    let sessions = Sessions::new(&settings);
    for step in 0..10_000u64 {
        sessions.put("caller", &step.to_string(), route("a", "k"), T0.plus_ms(step));
    }
    let now = T0.plus_ms(10_000);
    let known =
        (0..10_000u64).filter(|step| sessions.get("caller", &step.to_string(), now).is_some()).count();
    assert!((320..=640).contains(&known), "{known}");
    assert!(sessions.get("caller", "9999", now).is_some() && sessions.get("caller", "0", now).is_none());
}

#[test]
fn nearly_equal_candidates_do_not_alternate() {
    let world = World::new();
    let candidates = [at("a", 1.0), at("b", 1.0)];
    let mut switches = 0;
    let mut last = "";
    for step in 0..2_000u64 {
        let now = T0.plus_ms(step * 200);
        for (name, phase) in [("a", 0), ("b", 1)] {
            let swing = if (step / 7) % 2 == phase { 220 } else { 180 };
            world.measure(route(name, ""), (swing, 50.0), 1, now);
        }
        let first = world.order(&candidates, now)[0];
        switches += usize::from(first != last);
        last = first;
    }
    assert!(switches <= 2, "{switches}");
    assert!(world.order(&[at("a", 1.0), at("b", 0.5)], T0.plus_ms(400_000))[0] == "b");
}

#[test]
fn the_selection_serialises_to_json() {
    let world = World::new();
    let candidates = [at("a", 0.000026), Candidate { disabled: Some("no key"), ..at("b", 1.0) }];
    let json = serde_json::to_value(world.plan(&candidates, T0).selection(&candidates)).unwrap();
    assert_eq!(json["reason"], "only_candidate");
    assert_eq!(json["scores"][0]["price"], "0.000026");
    assert_eq!(json["scores"][0]["latency"], serde_json::Value::Null);
    assert_eq!(json["filtered"][0]["reason"], "no key");
}

#[test]
fn unknown_and_impossible_settings_are_refused() {
    assert_eq!(Settings::default().mistakes(), []);
    let read: Settings = toml::from_str("max_retries = 3\n[breaker]\nwindow = 10\n").unwrap();
    assert_eq!((read.max_retries, read.breaker.window, read.breaker.open_seconds), (3, 10, 10));
    assert!(toml::from_str::<Settings>("max_retrys = 3").is_err());
    let bad = Settings { exploration: 2.0, hysteresis: f64::NAN, ..Settings::default() };
    let paths: Vec<_> = bad.mistakes().iter().map(|(path, _)| *path).collect();
    assert_eq!(paths, ["exploration", "hysteresis"]);
}

/// A provider that an administrator suspended gets nothing, not even as a last resort.
#[test]
fn a_suspended_provider_is_left_out() {
    let suspensions = Suspensions::default();
    let settings = settings();
    let health = Health::new(&settings).with_settings(&settings).with_suspensions(suspensions.clone());
    let world = World { health, ..World::with(settings) };
    let keyed = Candidate { keys: keys(&["k1", "k2"]), ..at("a", 1.0) };
    let candidates = [keyed, at("b", 2.0)];
    assert_eq!(world.order(&candidates, T0), ["a", "b"]);

    // One key is suspended: the other is used whatever its state.
    suspensions.set([("a", Some("k1"))].into_iter());
    for seed in 0..20 {
        let found = plan(
            &needs(),
            &candidates,
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: seed },
        );
        assert_eq!((found.unwrap().order[0].index, seed), (0, seed));
        let found = plan(
            &needs(),
            &[keyed],
            &world.preferences,
            &world.settings,
            Moment { health: &world.health, now: T0, random: seed },
        );
        assert_eq!(found.unwrap().order[0].key, 1);
    }
    let only = [keyed];
    let found = world.plan(&only, T0);
    let mut attempts = Attempts::new(&found, &only, &world.settings);
    let first = attempts.first(&world.health, T0);
    let report = routing::Report::failure(&limited(None));
    world.health.finish(keyed.route(first.key), first.permit, &report, T0);
    let retries = RetryBudget::new(&world.settings.retry);
    if let Next::Candidate(next) = attempts.next(
        &limited(None),
        &retries.of("caller"),
        Moment { health: &world.health, now: T0, random: 1 },
    ) {
        assert_eq!(next.key, 1);
    }

    // The whole provider is suspended.
    suspensions.set([("a", None), ("a", Some("k1"))].into_iter());
    let found = world.plan(&candidates, T0);
    assert_eq!(found.order.iter().map(|choice| choice.index).collect::<Vec<_>>(), [1]);
    let selection = found.selection(&candidates);
    assert_eq!(selection.filtered[0].reason, "suspended by an administrator");
    assert_eq!(selection.scores.len(), 1);
    assert!(world.health.begin(keyed.route(1), T0).is_none());
    let seen = world.health.snapshot(T0);
    let route = seen.routes.iter().find(|route| route.provider == "a").unwrap();
    assert_eq!((route.keys[0].state, route.keys[0].ready_in_ms), (KeyState::Suspended, None));

    // Every provider is suspended.
    suspensions.set([("a", None), ("b", None)].into_iter());
    let no = plan(
        &needs(),
        &candidates,
        &world.preferences,
        &world.settings,
        Moment { health: &world.health, now: T0, random: 1 },
    )
    .unwrap_err();
    assert_eq!(no.filter, Some(Filter::Suspended));
    let error = no.to_error();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.message.contains("suspended by an administrator"), "{}", error.message);

    suspensions.set(std::iter::empty());
    assert_eq!(world.plan(&candidates, T0).order.len(), 2);
}

/// A suspended candidate does not count as one with room for the answer: a smaller one is then chosen like
/// any other, not as a last resort.
#[test]
fn a_suspended_candidate_does_not_make_others_look_too_small() {
    let suspensions = Suspensions::default();
    let settings = settings();
    let health = Health::new(&settings).with_suspensions(suspensions.clone());
    let world = World { health, ..World::with(settings) };
    let small: &'static ModelFacts =
        Box::leak(Box::new(ModelFacts { context_tokens: Some(95), ..ModelFacts::default() }));
    let tight = Candidate { facts: small, ..at("tight", 1.0) };
    let candidates = [at("roomy", 2.0), tight];
    assert_eq!(world.plan(&candidates, T0).order[0].index, 0);
    suspensions.set([("roomy", None)].into_iter());
    let found = world.plan(&candidates, T0);
    assert_eq!(found.order.iter().map(|choice| choice.index).collect::<Vec<_>>(), [1]);
    assert!(!found.is_trial(), "{:?}", found.reason());
    assert_eq!(found.selection(&candidates).filtered[0].reason, "suspended by an administrator");
}
