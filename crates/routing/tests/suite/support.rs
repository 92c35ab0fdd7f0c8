//! Shorthands of the tests.

use std::time::Duration;

use canon::{Error, ErrorKind, ModelFacts, Pico, Retry};
use routing::{
    Candidate, Health, Moment, Needs, Outcome, Permit, Plan, Preferences, Report, Route, Settings, Timestamp,
    plan,
};

pub const MODEL: &str = "model";
pub const T0: Timestamp = Timestamp(1_000_000);

pub fn facts() -> &'static ModelFacts {
    static FACTS: std::sync::LazyLock<ModelFacts> = std::sync::LazyLock::new(ModelFacts::default);
    &FACTS
}

pub fn keys(labels: &[&str]) -> &'static [String] {
    let labels: Vec<String> = labels.iter().map(|label| (*label).to_owned()).collect();
    labels.leak()
}

/// A candidate at this price in USD for the request.
pub fn at(provider: &'static str, usd: f64) -> Candidate<'static> {
    Candidate { cost: Some(Pico((usd * 1e12) as i64)), ..Candidate::new(provider, MODEL, facts()) }
}

pub fn needs() -> Needs<'static> {
    Needs { model: MODEL, stream: true, prompt_tokens: 100, ..Needs::default() }
}

/// Settings without random exploration.
pub fn settings() -> Settings {
    Settings { exploration: 0.0, ..Settings::default() }
}

pub struct World {
    pub health: Health,
    pub settings: Settings,
    pub preferences: Preferences,
}

impl World {
    pub fn new() -> Self {
        Self::with(settings())
    }

    pub fn with(settings: Settings) -> Self {
        Self { health: Health::new(&settings), settings, preferences: Preferences::default() }
    }

    pub fn plan(&self, candidates: &[Candidate<'_>], now: Timestamp) -> Plan {
        plan(
            &needs(),
            candidates,
            &self.preferences,
            &self.settings,
            Moment { health: &self.health, now, random: 1 },
        )
        .expect("one can serve")
    }

    /// The providers in the order of the plan.
    pub fn order<'c>(&self, candidates: &[Candidate<'c>], now: Timestamp) -> Vec<&'c str> {
        self.plan(candidates, now).order.iter().map(|choice| candidates[choice.index].provider).collect()
    }

    pub fn report(&self, route: Route<'_>, outcome: Outcome, now: Timestamp) {
        let report = Report { outcome, first_token: None, tokens_per_second: None };
        let permit = self.health.begin_last_resort(route, now);
        self.health.finish(route, permit, &report, now);
    }

    pub fn times(&self, count: usize, route: Route<'_>, outcome: Outcome, now: Timestamp) {
        for _ in 0..count {
            self.report(route, outcome, now);
        }
    }

    /// Records successful answers with these measurements. `measured` is the time to the first token in
    /// milliseconds and the tokens per second.
    pub fn measure(&self, route: Route<'_>, measured: (u64, f64), count: usize, now: Timestamp) {
        let (first_token_ms, speed) = measured;
        let report = Report::success(Some(Duration::from_millis(first_token_ms)), Some(speed));
        for _ in 0..count {
            let permit = self.health.begin(route, now).expect("the route takes requests");
            self.health.finish(route, permit, &report, now);
        }
    }
}

pub fn route(provider: &'static str, key: &'static str) -> Route<'static> {
    Route { provider, model: MODEL, key }
}

pub fn fault() -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, "The provider failed.")
}

pub fn refused() -> Error {
    Error::upstream(ErrorKind::UpstreamCredential, Retry::Elsewhere, "The provider refuses the key.")
}

pub fn limited(wait: Option<u64>) -> Error {
    let retry = wait.map_or(Retry::Again, |seconds| Retry::After(Duration::from_secs(seconds)));
    Error::upstream(ErrorKind::RateLimit, retry, "Too many requests.")
}

pub fn is_probe(permit: &Permit) -> bool {
    *permit == Permit::Probe
}
