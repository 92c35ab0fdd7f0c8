//! Health as an administrator sees it.

use serde::Serialize;

/// The measurements of a provider's model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metrics {
    /// Estimated share of requests that succeed. Little evidence lowers the estimate.
    pub uptime: f64,
    /// How many recent requests the estimate is based on.
    pub samples: f64,
    /// Milliseconds to the first token; none when never measured.
    pub first_token_ms: Option<f64>,
    /// Tokens per second; none when never measured.
    pub tokens_per_second: Option<f64>,
}

/// All measurements, for `GET /v1/routing`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Snapshot {
    /// Each provider's model that was used recently, by name.
    pub routes: Vec<RouteSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RouteSnapshot {
    pub provider: String,
    pub model: String,
    #[serde(flatten)]
    pub metrics: Metrics,
    pub keys: Vec<KeySnapshot>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KeySnapshot {
    /// The label of the key.
    pub key: String,
    pub state: KeyState,
    /// Milliseconds until the state changes; null when it can be used, and when an administrator suspended
    /// it.
    pub ready_in_ms: Option<u64>,
}

/// Whether a key can be used for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    Ready,
    /// The open time of its breaker has expired: one request may try.
    HalfOpen,
    /// In a cool-down: after a rate limit, or because the provider does not serve the model.
    CoolingDown,
    /// One request is testing whether it works again.
    Probing,
    /// It failed too often: its breaker is open.
    Open,
    /// The provider refuses the key: a cool-down for all models.
    Refused,
    Suspended,
}
