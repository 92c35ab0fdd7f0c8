//! The cost of a decision: `cargo bench -p routing --bench decision`.

#![allow(clippy::print_stdout, reason = "a benchmark prints")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use canon::{ModelFacts, Pico};
use routing::{
    Attempts, Candidate, Health, Moment, Needs, Preferences, Report, RetryBudget, Settings, Timestamp, plan,
};

const ROUNDS: u32 = 200_000;

fn main() {
    let settings = Settings { exploration: 0.0, ..Settings::default() };
    let facts = ModelFacts::default();
    let keys = ["main".to_owned()];
    let names = ["first-provider", "second-provider", "third-provider", "fourth-provider"];
    let make = |(place, name)| Candidate {
        cost: Some(Pico(1_000_000 * (place as i64 + 1))),
        keys: &keys,
        ..Candidate::new(name, "a-model-with-a-long-name-20250101", &facts)
    };
    let four: Vec<Candidate<'_>> = names.into_iter().enumerate().map(make).collect();
    let health = Health::new(&settings);
    let budget = RetryBudget::new(&settings.retry);
    let budget = budget.of("key");
    let needs = Needs { model: "a-model", stream: true, ..Needs::default() };
    let wishes = Preferences::default();
    let report = Report::success(Some(Duration::from_millis(300)), Some(80.0));
    let decide = |candidates: &[Candidate<'_>], step: u32| {
        let moment = Moment { health: &health, now: Timestamp(u64::from(step)), random: u64::from(step) };
        plan(&needs, candidates, &wishes, &settings, moment)
    };
    measure("begin and finish", |step| {
        let now = Timestamp(u64::from(step));
        if let Some(permit) = health.begin(four[0].route(0), now) {
            health.finish(four[0].route(0), permit, &report, now);
        }
    });
    measure("finish", |step| {
        let now = Timestamp(u64::from(step));
        let permit = routing::Permit::Normal;
        health.finish(four[0].route(0), permit, &report, now);
    });
    measure("plan, one candidate", |step| drop(black_box(decide(&four[..1], step))));
    measure("plan, four candidates", |step| drop(black_box(decide(&four, step))));
    measure("a whole request, one candidate", |step| {
        let now = Timestamp(u64::from(step));
        budget.deposit(now);
        let Ok(found) = decide(&four[..1], step) else { return };
        let attempt = Attempts::new(&found, &four, &settings).first(&health, now);
        health.finish(four[attempt.index].route(attempt.key), attempt.permit, &report, now);
    });
    if let Ok(found) = decide(&four, 0) {
        measure("selection, four candidates", |_| drop(black_box(found.selection(&four))));
    }
}

/// Reports the best of several rounds: other work on the machine can only add time.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
fn measure(what: &str, mut work: impl FnMut(u32)) {
    let best = (0..7).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(&mut work);
        start.elapsed().as_nanos() / u128::from(ROUNDS)
    });
    println!("{what:32} {:>6} ns", best.min().unwrap_or(0));
}
