//! The score of a candidate: lower is better.
//!
//! Each factor is compared with the best of the candidates and lies between 0 (as good as the best) and 1
//! (far worse): for a cost of twice the cheapest, half the tokens per second, or twice the time to the first
//! token it is one half. The factors are weighted and added. Failures count more than their weight below
//! `good_uptime`. A provider that was never measured counts as slow as the slowest, with the assumed uptime
//! minus a margin: at the same price it is never preferred to a proven one, but it is not excluded.

use crate::{Candidate, Metrics, Needs, Parts, Settings};

/// Speed factor of a candidate that was never measured when no measured one is slower.
const UNKNOWN_SPEED: f64 = 0.5;
/// The assumed cost of a free candidate, as a share of the cheapest paid one: only for the ratio among the
/// paid.
const FREE_SHARE: f64 = 0.1;
/// Further losses beyond this number add nothing.
const MAX_LOSSES: u32 = 10;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subject<'c> {
    pub(crate) candidate: &'c Candidate<'c>,
    pub(crate) metrics: Metrics,
    /// The conversation's prompt cache is warm here, and the route is healthy.
    pub(crate) warm: bool,
}

impl Subject<'_> {
    /// Expected cost in USD.
    pub(crate) fn cost(&self) -> Option<f64> {
        let discounted = self.candidate.warm_cost.filter(|_| self.warm);
        discounted.or(self.candidate.cost).map(|cost| cost.as_usd().max(0.0))
    }
}

/// The best values of all candidates, with which each is compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scale {
    cost: Option<f64>,
    first_token_ms: Option<f64>,
    tokens_per_second: Option<f64>,
    slowest_start: f64,
    slowest_flow: f64,
}

impl Scale {
    pub(crate) fn of<'c>(subjects: impl Iterator<Item = Subject<'c>> + Clone) -> Self {
        let costs = subjects.clone().filter_map(|subject| subject.cost());
        let starts = subjects.clone().filter_map(|subject| subject.metrics.first_token_ms);
        let flows = subjects.filter_map(|subject| subject.metrics.tokens_per_second);
        let cheapest = costs.clone().reduce(f64::min);
        let cheapest_paid = costs.filter(|cost| *cost > 0.0).reduce(f64::min);
        let mut scale = Self {
            cost: if cheapest == Some(0.0) { cheapest_paid.map(|cost| cost * FREE_SHARE) } else { cheapest },
            first_token_ms: starts.clone().reduce(f64::min),
            tokens_per_second: flows.clone().reduce(f64::max),
            ..Self::default()
        };
        scale.slowest_start = starts.filter_map(|own| scale.start(own)).fold(UNKNOWN_SPEED, f64::max);
        scale.slowest_flow = flows.filter_map(|own| scale.flow(own)).fold(UNKNOWN_SPEED, f64::max);
        scale
    }

    /// How much more expensive than the cheapest, 0 to 1. An unknown price counts as 1 when another one is
    /// known.
    pub(crate) fn price(&self, cost: Option<f64>) -> f64 {
        match (cost, self.cost) {
            (Some(own), Some(best)) if own > best => 1.0 - best / own,
            (None, Some(_)) => 1.0,
            _ => 0.0,
        }
    }

    /// How much slower to start than the fastest, 0 to 1.
    pub(crate) fn latency(&self, metrics: &Metrics) -> f64 {
        metrics.first_token_ms.and_then(|own| self.start(own)).unwrap_or(self.slowest_start)
    }

    /// How much slower to produce than the fastest, 0 to 1.
    pub(crate) fn throughput(&self, metrics: &Metrics) -> f64 {
        metrics.tokens_per_second.and_then(|own| self.flow(own)).unwrap_or(self.slowest_flow)
    }

    fn start(&self, own: f64) -> Option<f64> {
        self.first_token_ms.map(|best| if own > best { 1.0 - best / own } else { 0.0 })
    }

    fn flow(&self, own: f64) -> Option<f64> {
        self.tokens_per_second.map(|best| if own < best { 1.0 - own / best } else { 0.0 })
    }
}

/// The contribution of each factor.
pub(crate) fn parts(subject: &Subject<'_>, scale: &Scale, needs: &Needs<'_>, settings: &Settings) -> Parts {
    let weights = &settings.weights;
    let candidate = subject.candidate;
    let latency_weight = if needs.stream { weights.latency } else { 0.0 };
    let mut other = (1.0 - candidate.priority) * settings.priority_weight;
    other += f64::from(candidate.losses.min(MAX_LOSSES)) * settings.loss_penalty;
    if candidate.deprecated {
        other += settings.deprecation_penalty;
    }
    if subject.warm {
        other -= settings.session_bonus;
    }
    Parts {
        price: weights.price * scale.price(subject.cost()),
        uptime: uptime(subject.metrics.uptime, settings),
        latency: latency_weight * scale.latency(&subject.metrics),
        throughput: weights.throughput * scale.throughput(&subject.metrics),
        other,
    }
}

/// The contribution of an uptime.
pub(crate) fn uptime(uptime: f64, settings: &Settings) -> f64 {
    let missing = (settings.good_uptime - uptime).max(0.0);
    settings.weights.uptime * (1.0 - uptime) + settings.uptime_penalty * missing
}
