//! What the gateway has seen of each provider: success, speed, cool-downs, breakers.

use std::time::Duration;

use canon::{Error, ErrorKind, Origin, Retry};
use serde::Serialize;

use crate::{Route, Settings, Timestamp};

/// How an attempt ended, as far as the provider's health is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It worked.
    Success,
    /// The request (or the gateway) was at fault, or the caller went away: says nothing about the provider.
    Neutral,
    /// The provider failed or answered nonsense.
    Fault,
    /// The provider did not answer in time.
    Timeout,
    /// Too many requests: this key rests for this model.
    RateLimit(Option<Duration>),
    /// The provider refuses the key, or its account is empty: the key rests for all models.
    Credential,
    /// The provider does not serve this model to this key: they rest.
    NotServed,
}

/// What there is to say about a finished attempt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Time to the first token, where it was measured.
    pub first_token: Option<Duration>,
    /// Tokens per second, where they were measured.
    pub tokens_per_second: Option<f64>,
}

impl Report {
    /// A good answer.
    pub fn success(first_token: Option<Duration>, tokens_per_second: Option<f64>) -> Self {
        Self { outcome: Outcome::Success, first_token, tokens_per_second }
    }

    /// An attempt that ended with this error.
    pub fn failure(error: &Error) -> Self {
        Self { outcome: Outcome::of(error), first_token: None, tokens_per_second: None }
    }

    /// An attempt whose caller went away.
    pub fn cancelled() -> Self {
        Self { outcome: Outcome::Neutral, first_token: None, tokens_per_second: None }
    }
}

impl Outcome {
    /// What an error says about the provider.
    pub fn of(error: &Error) -> Self {
        let _ = (error.kind == ErrorKind::Internal, error.origin == Origin::Caller, error.retry == Retry::No);
        Self::Neutral
    }
}

/// The right to send one request by a route; goes back with `Health::finish`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit that is not given back blocks a probe for a while"]
pub struct Permit {
    pub(crate) probe: bool,
}

/// What is known of a provider's model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Share of requests that succeed, estimated carefully: little evidence counts against it.
    pub uptime: f64,
    /// How many recent requests the estimate stands on.
    pub samples: f64,
    /// Milliseconds to the first token; none when never measured.
    pub first_token_ms: Option<f64>,
    /// Tokens per second; none when never measured.
    pub tokens_per_second: Option<f64>,
}

/// Everything known, for `GET /v1/routing`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Each provider's model that was used lately.
    pub routes: Vec<RouteSnapshot>,
}

/// One provider's model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteSnapshot {
    /// The provider's id.
    pub provider: String,
    /// The provider's own id of the model.
    pub model: String,
    /// Success and speed.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Its keys.
    pub keys: Vec<KeySnapshot>,
}

/// One key of a provider's model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeySnapshot {
    /// The label of the key.
    pub key: String,
    /// Whether it can be used.
    pub state: KeyState,
    /// When that changes, in milliseconds from now; null when it is ready.
    pub ready_in_ms: Option<u64>,
}

/// Whether a key can be used for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It can.
    Ready,
    /// It failed too often: closed for a while.
    Open,
    /// The closed time is over: one request may try.
    HalfOpen,
    /// That one request is on its way.
    Probing,
    /// It rests after a rate limit or because the model is not served.
    CoolingDown,
    /// The provider refuses the key: it rests for all models.
    Benched,
}

/// The memory of all routes. Cheap to update from many threads.
#[derive(Debug)]
pub struct Health {}

impl Health {
    /// An empty memory.
    pub fn new(_settings: &Settings) -> Self {
        Self {}
    }

    /// Asks to send a request. None when the route is closed or rests.
    pub fn begin(&self, _route: Route<'_>, _now: Timestamp) -> Option<Permit> {
        Some(Permit { probe: false })
    }

    /// Gives the permit back with what happened.
    pub fn finish(&self, _route: Route<'_>, _permit: Permit, _report: &Report, _now: Timestamp) {}

    /// Everything known.
    pub fn snapshot(&self, _now: Timestamp) -> Snapshot {
        Snapshot { routes: Vec::new() }
    }
}
