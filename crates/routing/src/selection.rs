//! Why a provider was chosen: `metadata.selection` and the output of `explain`.

use canon::Pico;
use serde::Serialize;

/// The result of one decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selection {
    /// Why the first one is first.
    pub reason: Reason,
    /// The candidates that can serve the request, best first.
    pub scores: Vec<Score>,
    /// The candidates that were left out.
    pub filtered: Vec<Filtered>,
}

/// Why the first candidate is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    OnlyCandidate,
    Score,
    /// It serves this model now, and no other is better by more than the hysteresis.
    Incumbent,
    /// The prompt cache of this conversation is warm there.
    Session,
    /// The caller or an alias gave the order.
    Order,
    /// The caller asked for the cheapest.
    Price,
    /// The caller asked for the most tokens per second.
    Throughput,
    /// The caller asked for the shortest time to the first token.
    Latency,
    /// A small share of requests tries other providers to keep their measurements current.
    Exploration,
    /// It failed before and is tried again.
    Probe,
    /// The breakers of all candidates that can serve the request are open, or all are in a cool-down: this one
    /// is the least bad.
    LastResort,
}

impl Reason {
    /// The name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OnlyCandidate => "only_candidate",
            Self::Score => "score",
            Self::Incumbent => "incumbent",
            Self::Session => "session",
            Self::Order => "order",
            Self::Price => "price",
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::Exploration => "exploration",
            Self::Probe => "probe",
            Self::LastResort => "last_resort",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    pub provider: String,
    pub model: String,
    /// Sum of `parts`: lower is better.
    pub score: f64,
    /// Expected cost of the request in USD; null when unknown.
    pub price: Option<Pico>,
    /// Estimated share of requests that succeed. Little evidence lowers the estimate.
    pub uptime: f64,
    pub latency: Option<f64>,
    pub throughput: Option<f64>,
    /// The contribution of each factor to the score.
    pub parts: Parts,
}

/// The contributions of the factors to a score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Parts {
    /// Expected cost.
    pub price: f64,
    /// Failures, and the penalty for many of them.
    pub uptime: f64,
    /// Time to the first token.
    pub latency: f64,
    /// Tokens per second.
    pub throughput: f64,
    /// Priority, deprecation, losses and the bonus of a warm cache.
    pub other: f64,
}

impl Parts {
    pub fn total(&self) -> f64 {
        self.price + self.uptime + self.latency + self.throughput + self.other
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filtered {
    pub provider: String,
    pub model: String,
    /// Why, in a short sentence.
    pub reason: String,
}
