//! The content of a scenario file.

use serde::Deserialize;

/// Traffic and providers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// A single word.
    pub name: String,
    pub story: String,
    /// Simulated time.
    pub hours: f64,
    /// Mean rate of requests.
    pub requests_per_second: f64,
    /// The random seed.
    pub seed: u64,
    pub provider: Vec<Provider>,
}

/// A provider in its ordinary state.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    pub name: String,
    /// USD per million tokens of the prompt.
    pub prompt_price: f64,
    /// USD per million tokens of the answer.
    pub answer_price: f64,
    /// Median time to the first token.
    pub first_token_ms: f64,
    /// Spread of that time (of its logarithm).
    #[serde(default = "usual_spread")]
    pub spread: f64,
    pub tokens_per_second: f64,
    /// Share of requests that fail.
    #[serde(default)]
    pub failure: f64,
    /// Most requests per second; more are refused.
    pub capacity: Option<f64>,
    /// Seconds that it asks to wait after a refusal.
    pub retry_after: Option<u64>,
    /// Deviations from its ordinary state.
    #[serde(default)]
    pub event: Vec<Event>,
}

/// A period of different behaviour.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// First minute.
    pub from: f64,
    /// The minute at which it ends.
    pub to: f64,
    /// Share of requests that fail immediately.
    #[serde(default)]
    pub failure: f64,
    /// Share of requests that are never answered.
    #[serde(default)]
    pub hang: f64,
    /// Share of requests whose key is refused.
    #[serde(default)]
    pub refuse: f64,
    /// How much slower it is.
    #[serde(default = "one")]
    pub slow: f64,
}

fn usual_spread() -> f64 {
    0.35
}

fn one() -> f64 {
    1.0
}

impl Provider {
    /// The event at this time, in milliseconds.
    pub fn event_at(&self, now: u64) -> Option<&Event> {
        let minute = now as f64 / 60_000.0;
        self.event.iter().find(|event| (event.from..event.to).contains(&minute))
    }
}

impl Scenario {
    /// True when no event happened for a while, so that every policy can have settled.
    pub fn is_steady(&self, now: u64) -> bool {
        const SETTLING_MINUTES: f64 = 15.0;
        const WARM_UP_MINUTES: f64 = 5.0;
        let minute = now as f64 / 60_000.0;
        let disturbed = |event: &Event| {
            // An event that lasts for the whole scenario is part of the steady state.
            let passing = event.to < self.hours * 60.0;
            passing && (event.from..event.to + SETTLING_MINUTES).contains(&minute)
        };
        let mut events = self.provider.iter().flat_map(|provider| &provider.event);
        minute >= WARM_UP_MINUTES && !events.any(disturbed)
    }
}
