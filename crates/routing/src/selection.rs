//! Why a provider was chosen, in words: `metadata.selection` and the output of `explain`.

use canon::Pico;
use serde::Serialize;

/// The story of one decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Selection {
    /// Why the first one is first.
    pub reason: Reason,
    /// Those that can serve the request, best first.
    pub scores: Vec<Score>,
    /// Those that were left out.
    pub filtered: Vec<Filtered>,
}

/// Why the first one is first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was the only one.
    OnlyCandidate,
    /// It has the best score.
    Score,
    /// It serves this model now, and no other is better by enough to switch.
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
    /// One of few requests that keep the numbers of the others known.
    Exploration,
    /// It failed before and is tried again.
    Probe,
    /// All that can serve the request are closed after failures: this is the least bad.
    LastResort,
}

impl Reason {
    /// The word in JSON.
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

/// One that can serve the request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// The provider's id.
    pub provider: String,
    /// The provider's own id of the model.
    pub model: String,
    /// Sum of `parts`: less is better.
    pub score: f64,
    /// Expected cost of the request in USD; null when unknown.
    pub price: Option<Pico>,
    /// Share of requests that succeed, estimated carefully: little evidence counts against it.
    pub uptime: f64,
    /// Milliseconds to the first token; null when unknown.
    pub latency: Option<f64>,
    /// Tokens per second; null when unknown.
    pub throughput: Option<f64>,
    /// What each factor adds to the score.
    pub parts: Parts,
}

/// What each factor adds to a score.
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
    /// The sum.
    pub fn total(&self) -> f64 {
        self.price + self.uptime + self.latency + self.throughput + self.other
    }
}

/// One that was left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Filtered {
    /// The provider's id.
    pub provider: String,
    /// The provider's own id of the model.
    pub model: String,
    /// Why, in a short sentence.
    pub reason: String,
}
