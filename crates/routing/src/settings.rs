//! Every number that routing can be tuned with: the `[routing]` table of the configuration.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the gateway chooses, measures and retries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Further attempts after the first.
    pub max_retries: u32,
    /// Weight of each factor in the score.
    pub weights: Weights,
    /// An uptime below this is penalised beyond its weight.
    pub good_uptime: f64,
    /// Points per unit of uptime that is missing to `good_uptime`: with 10, an uptime of 85 % costs a full
    /// point.
    pub uptime_penalty: f64,
    /// Share of requests that try a provider other than the best, so that its measurements stay current.
    pub exploration: f64,
    /// How much better (in points) another provider must be before it replaces the current one.
    pub hysteresis: f64,
    /// Points in favour of the provider where the conversation's prompt cache is warm.
    pub session_bonus: f64,
    /// Points against a model that its provider is going to retire.
    pub deprecation_penalty: f64,
    /// Points per unit of a provider's priority.
    pub priority_weight: f64,
    /// Points against each expected loss: small, it only breaks ties.
    pub loss_penalty: f64,
    /// By which share the estimated length of a prompt may exceed a context before the candidate is excluded.
    /// The estimate is four bytes per token, and repetitive text has far fewer tokens: uncertain cases are
    /// left to the provider.
    pub context_slack: f64,
    /// How success, speed and cool-downs are measured.
    pub health: HealthSettings,
    /// When the breaker of a route opens, and when the route is tried again.
    pub breaker: BreakerSettings,
    /// When a failed attempt is repeated.
    pub retry: RetrySettings,
    /// How conversations stay with their provider.
    pub sessions: SessionSettings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_retries: 2,
            weights: Weights::default(),
            good_uptime: 0.95,
            uptime_penalty: 10.0,
            exploration: 0.01,
            hysteresis: 0.02,
            session_bonus: 1.0,
            deprecation_penalty: 0.3,
            priority_weight: 0.5,
            loss_penalty: 0.002,
            context_slack: 3.0,
            health: HealthSettings::default(),
            breaker: BreakerSettings::default(),
            retry: RetrySettings::default(),
            sessions: SessionSettings::default(),
        }
    }
}

impl Settings {
    /// Every invalid setting, as path and message.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let share = "must lie between 0 and 1";
        let points = "must be 0 or more";
        let positive = "must be more than 0";
        let is_share = |value: f64| (0.0..=1.0).contains(&value);
        let is_points = |value: f64| value.is_finite() && value >= 0.0;
        let checks = [
            ("weights.price", is_points(self.weights.price), points),
            ("weights.uptime", is_points(self.weights.uptime), points),
            ("weights.throughput", is_points(self.weights.throughput), points),
            ("weights.latency", is_points(self.weights.latency), points),
            ("good_uptime", is_share(self.good_uptime), share),
            ("uptime_penalty", is_points(self.uptime_penalty), points),
            ("exploration", is_share(self.exploration), share),
            ("hysteresis", is_points(self.hysteresis), points),
            ("session_bonus", is_points(self.session_bonus), points),
            ("deprecation_penalty", is_points(self.deprecation_penalty), points),
            ("priority_weight", is_points(self.priority_weight), points),
            ("loss_penalty", is_points(self.loss_penalty), points),
            ("context_slack", is_points(self.context_slack), points),
            ("health.half_life_seconds", self.health.half_life_seconds > 0, positive),
            ("health.recent_half_life_seconds", self.health.recent_half_life_seconds > 0, positive),
            ("health.prior_uptime", is_share(self.health.prior_uptime), share),
            ("health.prior_weight", self.health.prior_weight > 0.0, positive),
            ("health.caution", is_points(self.health.caution), points),
            ("health.speed_smoothing", is_share(self.health.speed_smoothing), share),
            ("health.max_routes", self.health.max_routes > 0, positive),
            ("breaker.consecutive_failures", self.breaker.consecutive_failures > 0, positive),
            ("breaker.failure_ratio", is_share(self.breaker.failure_ratio), share),
            ("breaker.window", (1..=32).contains(&self.breaker.window), "must lie between 1 and 32"),
            ("retry.budget_ratio", is_points(self.retry.budget_ratio), points),
            ("retry.budget_per_second", is_points(self.retry.budget_per_second), points),
            ("retry.budget_burst", is_points(self.retry.budget_burst), points),
            ("sessions.capacity", self.sessions.capacity > 0, positive),
        ];
        checks.into_iter().filter(|(_, good, _)| !good).map(|(path, _, message)| (path, message)).collect()
    }
}

/// How much each factor counts. Each factor lies between 0 (as good as the best) and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Weights {
    /// Expected cost of the request.
    pub price: f64,
    /// Share of requests that succeed.
    pub uptime: f64,
    /// Tokens per second.
    pub throughput: f64,
    /// Time to the first token; counts only for streams.
    pub latency: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { price: 0.6, uptime: 0.5, throughput: 0.05, latency: 0.025 }
    }
}

/// How success, speed and cool-downs are measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// After this time a success or failure counts half.
    pub half_life_seconds: u64,
    /// The same for the second, quicker memory that notices a brown-out immediately.
    pub recent_half_life_seconds: u64,
    /// The uptime that is assumed for a provider without history.
    pub prior_uptime: f64,
    /// How many requests that assumption is worth.
    pub prior_weight: f64,
    /// How many standard deviations are subtracted from the estimate, so that little evidence counts against
    /// a provider.
    pub caution: f64,
    /// The share of each new sample in the averages of time to first token and tokens per second.
    pub speed_smoothing: f64,
    /// Cool-down after a rate limit without `Retry-After`; doubles with each further one.
    pub rate_limit_seconds: u64,
    /// Longest cool-down after a rate limit, also when the provider asks for more.
    pub max_rate_limit_seconds: u64,
    /// Cool-down of a key after the provider refused it, or after its account was empty.
    pub credential_seconds: u64,
    /// Cool-down of a key for a model that the provider does not serve.
    pub not_served_seconds: u64,
    /// Most pairs of provider and model to remember; the longest unused is forgotten first.
    pub max_routes: usize,
}

impl Default for HealthSettings {
    fn default() -> Self {
        Self {
            half_life_seconds: 300,
            recent_half_life_seconds: 15,
            prior_uptime: 0.97,
            prior_weight: 10.0,
            caution: 0.5,
            speed_smoothing: 0.1,
            rate_limit_seconds: 5,
            max_rate_limit_seconds: 600,
            credential_seconds: 300,
            not_served_seconds: 60,
            max_routes: 16_384,
        }
    }
}

/// When the breaker of a route (provider, model and key) opens, and when the route is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerSettings {
    /// This number of consecutive failures opens it.
    pub consecutive_failures: u32,
    /// This share of failures among the last `window` opens it.
    pub failure_ratio: f64,
    /// How many of the last requests the ratio is computed from, at most 32.
    pub window: u32,
    /// How long it stays open at first; doubles each time that the probe fails.
    pub open_seconds: u64,
    /// The longest time that it stays open.
    pub max_open_seconds: u64,
    /// A probe that has not reported by then is abandoned, and another one is let through.
    pub probe_seconds: u64,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_ratio: 0.7,
            window: 20,
            open_seconds: 10,
            max_open_seconds: 300,
            probe_seconds: 60,
        }
    }
}

/// When a failed attempt is repeated. `max_retries` limits one request, the budget limits all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Retries that each request adds to the budget.
    pub budget_ratio: f64,
    /// Retries that each second adds to the budget: the floor for a gateway with few requests.
    pub budget_per_second: f64,
    /// Most retries that can accumulate.
    pub budget_burst: f64,
    /// Wait before the first retry at the same provider; doubles with each further one, with jitter.
    pub backoff_ms: u64,
    /// Longest such wait.
    pub max_backoff_ms: u64,
    /// The longest `Retry-After` that is waited for when no other provider is left.
    pub max_wait_ms: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            budget_ratio: 0.2,
            budget_per_second: 2.0,
            budget_burst: 100.0,
            backoff_ms: 250,
            max_backoff_ms: 4_000,
            max_wait_ms: 5_000,
        }
    }
}

/// How conversations stay with their provider.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SessionSettings {
    /// Most conversations to remember; the longest unused is forgotten first.
    pub capacity: usize,
    /// How long a prompt cache is taken to be warm.
    pub ttl_seconds: u64,
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self { capacity: 65_536, ttl_seconds: 300 }
    }
}
