//! Health as an administrator sees it.

use serde::Serialize;

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
    /// Each provider's model that was used lately, by name.
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
    /// When that changes, in milliseconds from now; null when it can be used, and when an administrator has it rest.
    pub ready_in_ms: Option<u64>,
}

/// Whether a key can be used for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyState {
    /// It can.
    Ready,
    /// The closed time is over: one request may try.
    HalfOpen,
    /// It rests after a rate limit, or because the model is not served.
    CoolingDown,
    /// One request is on its way to see whether it works again.
    Probing,
    /// It failed too often: closed for a while.
    Open,
    /// The provider refuses the key: it rests for all models.
    Benched,
    /// An administrator has it rest.
    Rested,
}
