//! The attempts after a failure.

use std::time::Duration;

use canon::{Error, ErrorKind, Retry};
use routing::{
    Attempt, Attempts, Candidate, Moment, Next, Outcome, Preferences, Report, RetryBudget, RetrySettings,
    Settings, Timestamp,
};

use crate::support::*;

/// Runs a request whose attempts fail in this way. Returns provider and key of each attempt, and its wait.
fn story(world: &World, candidates: &[Candidate<'_>], errors: &[Error]) -> Vec<(String, Option<Duration>)> {
    run(world, candidates, errors, false)
}

fn run(
    world: &World,
    candidates: &[Candidate<'_>],
    errors: &[Error],
    no_fallback: bool,
) -> Vec<(String, Option<Duration>)> {
    let budget = RetryBudget::new(&world.settings.retry);
    let budget = budget.of("key");
    let found = world.plan(candidates, T0);
    let mut attempts = Attempts::new(&found, candidates, &world.settings).no_fallback(no_fallback);
    let mut made = Vec::new();
    let mut now = T0;
    let mut attempt = attempts.first(&world.health, now);
    for error in errors {
        now = note(&mut made, candidates, &attempt, now);
        let route = candidates[attempt.index].route(attempt.key);
        world.health.finish(route, attempt.permit, &Report::failure(error), now);
        match attempts.next(error, &budget, Moment { health: &world.health, now, random: u64::MAX }) {
            Next::GiveUp => return made,
            Next::Candidate(next) => attempt = next,
        }
    }
    note(&mut made, candidates, &attempt, now);
    made
}

fn note(
    made: &mut Vec<(String, Option<Duration>)>,
    candidates: &[Candidate<'_>],
    attempt: &Attempt,
    now: Timestamp,
) -> Timestamp {
    let candidate = &candidates[attempt.index];
    let key = candidate.key(attempt.key);
    let name =
        if key.is_empty() { candidate.provider.to_owned() } else { format!("{}/{key}", candidate.provider) };
    made.push((name, attempt.after));
    now.plus(attempt.after.unwrap_or_default())
}

fn names(story: &[(String, Option<Duration>)]) -> Vec<&str> {
    story.iter().map(|(name, _)| name.as_str()).collect()
}

fn pool(labels: &[&str]) -> Candidate<'static> {
    Candidate { keys: keys(labels), ..at("a", 1.0) }
}

#[test]
fn an_error_of_the_caller_is_never_retried() {
    let world = World::new();
    for error in [
        Error::invalid("temperature", "Too hot."),
        Error::upstream(ErrorKind::InvalidRequest, Retry::No, "Too hot."),
        Error::upstream(ErrorKind::ContentFilter, Retry::No, "No."),
        Error::upstream(ErrorKind::Cancelled, Retry::Again, "Gone."),
        Error::gateway(ErrorKind::Internal, "A bug."),
    ] {
        assert_eq!(names(&story(&world, &[at("a", 1.0), at("b", 2.0)], &[error])), ["a"]);
    }
    assert!(world.health.snapshot(T0).routes.is_empty());
}

#[test]
fn failures_are_followed_by_the_next_candidates_up_to_the_limit() {
    let world = World::new();
    let four = [at("a", 1.0), at("b", 2.0), at("c", 3.0), at("d", 4.0)];
    let made = story(&world, &four, &[fault(), fault(), fault(), fault()]);
    assert_eq!(names(&made), ["a", "b", "c"]);
    assert!(made.iter().all(|(_, wait)| wait.is_none()));
}

#[test]
fn a_single_provider_is_tried_again_after_a_growing_wait() {
    let world = World::new();
    let made = story(&world, &[at("a", 1.0)], &[fault(), fault(), fault()]);
    assert_eq!(names(&made), ["a", "a", "a"]);
    let waits: Vec<_> = made.iter().filter_map(|(_, wait)| wait.map(|wait| wait.as_millis())).collect();
    assert!((200..=275).contains(&waits[0]) && (400..=550).contains(&waits[1]), "{waits:?}");
}

#[test]
fn an_error_that_only_another_provider_can_help_is_not_retried_with_the_same_key() {
    let world = World::new();
    let error = Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, "No.");
    assert_eq!(names(&story(&world, &[at("a", 1.0)], std::slice::from_ref(&error))), ["a"]);
    assert_eq!(story(&world, &[pool(&["k1", "k2"])], &[error.clone(), error]).len(), 2);
}

#[test]
fn a_refused_key_is_followed_by_another_one_and_never_used_again() {
    let world = World::new();
    let made = story(&world, &[pool(&["k1", "k2"]), at("b", 2.0)], &[refused(), refused()]);
    let mut used = names(&made);
    assert_eq!(used.pop(), Some("b"));
    used.sort_unstable();
    assert_eq!(used, ["a/k1", "a/k2"]);
    assert_eq!(names(&story(&World::new(), &[pool(&["k1"])], &[refused()])), ["a/k1"]);
}

#[test]
fn a_refused_key_is_refused_for_the_providers_other_models_too() {
    let world = World::new();
    let own = pool(&["k1"]);
    let other = Candidate { model: "other", cost: at("a", 2.0).cost, ..own };
    assert_eq!(names(&story(&world, &[own, other, at("b", 3.0)], &[refused()])), ["a/k1", "b"]);
}

#[test]
fn a_rate_limit_is_followed_by_another_key_then_another_provider() {
    let world = World::new();
    let made = story(&world, &[pool(&["k1", "k2"]), at("b", 2.0)], &[limited(None), limited(None)]);
    assert_eq!(made.len(), 3);
    assert!(made[1].0.starts_with("a/") && made[1].0 != made[0].0);
    assert_eq!(made[2].0, "b");
}

#[test]
fn a_short_wait_is_respected_when_there_is_no_other_provider() {
    let made = story(&World::new(), &[at("a", 1.0)], &[limited(Some(2))]);
    assert_eq!(names(&made), ["a", "a"]);
    let wait = made[1].1.unwrap();
    assert!(wait >= Duration::from_secs(2) && wait <= Duration::from_millis(2_200), "{wait:?}");
    assert_eq!(names(&story(&World::new(), &[at("a", 1.0)], &[limited(Some(60))])), ["a"]);
}

#[test]
fn an_unserved_model_is_followed_only_by_the_next_candidate() {
    let error = Error::upstream(ErrorKind::ModelNotFound, Retry::Elsewhere, "Unknown model.");
    let made = story(&World::new(), &[pool(&["k1", "k2"]), at("b", 2.0)], &[error.clone(), error]);
    assert_eq!(made.len(), 2);
    assert_eq!(made[1].0, "b");
}

#[test]
fn a_key_without_access_to_the_model_is_followed_by_another_and_stays_good_for_other_models() {
    let world = World::new();
    let reply = canon::UpstreamReply { status: Some(403), ..Default::default() };
    let error = Error { upstream: Some(reply), ..refused() };
    let made = story(&world, &[pool(&["k1", "k2"]), at("b", 2.0)], &[error]);
    assert!(made.len() == 2 && made[1].0.starts_with("a/") && made[1].0 != made[0].0);
    let other_model = routing::Route { provider: "a", model: "other", key: "k1" };
    assert!(world.health.begin(other_model, T0).is_some());
}

#[test]
fn an_untranslatable_request_goes_to_the_next_candidate_without_using_the_budget() {
    let retry = RetrySettings { budget_burst: 0.0, ..RetrySettings::default() };
    let world = World::with(Settings { retry, ..settings() });
    let two = [at("a", 1.0), at("b", 2.0)];
    assert_eq!(names(&story(&world, &two, &[Error::unsupported("tools", "No tools.")])), ["a", "b"]);
    let fresh = || World::with(Settings { retry, ..settings() });
    assert_eq!(names(&story(&fresh(), &[at("a", 1.0)], &[fault()])), ["a"]);
    // In that case each provider gets at most one attempt per request.
    assert_eq!(
        names(&story(&fresh(), &two, &[fault()])),
        ["a", "b"],
        "a healthy provider is tried in any case"
    );
    assert_eq!(names(&story(&fresh(), &two, &[fault(), fault()])), ["a", "b"], "and nothing is retried");
}

#[test]
fn candidates_that_cannot_represent_the_request_use_up_no_retries() {
    let unfit = || Error::unsupported("seed", "No seed.");
    let names_of = ["a", "b", "c", "d", "e", "f", "g"];
    let seven: Vec<_> = (1..).zip(names_of).map(|(price, name)| at(name, f64::from(price))).collect();
    let errors = [unfit(), unfit(), unfit(), fault(), unfit(), fault(), fault()];
    assert_eq!(names(&story(&World::new(), &seven, &errors)), names_of);
    let errors = [fault(), unfit(), fault(), fault(), unfit()];
    assert_eq!(names(&story(&World::new(), &seven, &errors)), ["a", "b", "c", "d"], "three were sent");
}

#[test]
fn many_unfit_candidates_end_the_request() {
    let labels = (0..40).map(|index| &*format!("p{index}").leak());
    let many: Vec<_> = labels.map(|label| at(label, 1.0)).collect();
    let errors: Vec<_> = many.iter().map(|_| Error::unsupported("seed", "No seed.")).collect();
    assert_eq!(story(&World::new(), &many, &errors).len(), 17);
}

#[test]
fn without_fallback_each_key_of_the_first_is_tried_once() {
    let world = World::new();
    let made = run(&world, &[pool(&["k1", "k2"]), at("b", 2.0)], &[fault(), fault(), fault()], true);
    let mut used = names(&made);
    used.sort_unstable();
    assert_eq!(used, ["a/k1", "a/k2"]);
}

#[test]
fn fallbacks_that_the_request_forbids_are_not_made() {
    let mut world = World::new();
    world.preferences = Preferences { allow_fallbacks: false, ..Preferences::default() };
    let made = story(&world, &[at("a", 1.0), at("b", 2.0)], &[fault()]);
    assert_eq!(names(&made), ["a", "a"]);
}

#[test]
fn a_candidate_whose_breaker_opened_after_planning_is_skipped() {
    let world = World::new();
    let three = [at("a", 1.0), at("b", 2.0), at("c", 3.0)];
    let budget = RetryBudget::new(&world.settings.retry);
    let budget = budget.of("key");
    let found = world.plan(&three, T0);
    world.times(5, route("b", ""), Outcome::Fault, T0);
    let mut attempts = Attempts::new(&found, &three, &world.settings);
    let first = attempts.first(&world.health, T0);
    world.health.finish(three[0].route(0), first.permit, &Report::failure(&fault()), T0);
    let Next::Candidate(next) =
        attempts.next(&fault(), &budget, Moment { health: &world.health, now: T0, random: 0 })
    else {
        panic!()
    };
    assert_eq!(next.index, 2);
}

#[test]
fn there_is_always_a_first_attempt() {
    let world = World::new();
    let one = [at("a", 1.0)];
    let found = world.plan(&one, T0);
    world.times(5, route("a", ""), Outcome::Fault, T0);
    let attempt = Attempts::new(&found, &one, &world.settings).first(&world.health, T0);
    assert_eq!((attempt.index, attempt.permit), (0, routing::Permit::LastResort));
}

#[test]
fn a_success_as_a_last_resort_opens_the_route_again() {
    let world = World::new();
    world.times(5, route("a", ""), Outcome::Fault, T0);
    assert_eq!(world.health.begin(route("a", ""), T0), None);
    world.report(route("a", ""), Outcome::Success, T0);
    assert!(world.health.begin(route("a", ""), T0).is_some());
}

#[test]
fn a_repair_is_taken_from_the_budget_and_is_no_retry() {
    let retry = RetrySettings { budget_burst: 4.0, budget_per_second: 0.0, ..RetrySettings::default() };
    let world = World::with(Settings { max_retries: 0, retry, ..settings() });
    let budget = RetryBudget::new(&retry);
    let budget = budget.of("key");
    let candidates = [at("a", 1.0)];
    let found = world.plan(&candidates, T0);
    let mut attempts = Attempts::new(&found, &candidates, &world.settings);
    assert!(!attempts.repair(&budget, T0), "no attempt was made yet");
    let _ = attempts.first(&world.health, T0);
    assert_eq!([(); 3].map(|()| attempts.repair(&budget, T0)), [true, true, false]);
}

#[test]
fn retries_of_one_key_leave_retries_for_others() {
    let retry = RetrySettings { budget_burst: 8.0, budget_per_second: 0.0, ..RetrySettings::default() };
    let budget = RetryBudget::new(&retry);
    let taken = |key: &str| (0..100).filter(|_| budget.of(key).withdraw(T0)).count();
    assert_eq!([taken("a"), taken("b"), taken("c")], [4, 4, 0]);
    for _ in 0..11 {
        budget.of("b").deposit(T0);
    }
    assert_eq!([taken("a"), taken("b")], [0, 2], "each key may use the retries that its own requests added");
}
