//! Prometheus metrics with bounded labels: providers of the configuration and models of the catalog; every other model
//! counts as `other`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use store::Spool;

use super::log;

/// Provider and model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    provider: String,
    model: String,
}

/// Provider, model and one more word out of a closed set.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteWith {
    provider: String,
    model: String,
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

type Histograms = Family<Route, Histogram, fn() -> Histogram>;

/// All metrics.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    requests: Family<Route, Counter>,
    errors: Family<RouteWith, Counter>,
    tokens: Family<RouteWith, Counter>,
    cost: Family<Route, Counter<f64, std::sync::atomic::AtomicU64>>,
    unpriced: Family<Route, Counter>,
    losses: Family<RouteWith, Counter>,
    first_token: Histograms,
    upstream: Histograms,
    overhead: Histograms,
    refused: Family<Kind, Counter>,
    /// Requests in flight.
    active: Gauge,
    connections: Gauge,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

fn microseconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_01, 2.0, 16))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Fresh metrics, all at zero, of a gateway that keeps no usage records.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// Fresh metrics, and those of the usage log.
    pub fn of(spool: Spool) -> Self {
        Self::with(Some(spool))
    }

    fn with(spool: Option<Spool>) -> Self {
        let mut registry = Registry::with_prefix("llmgateway");
        let requests = Family::default();
        registry.register("requests", "Requests to a provider: one for each attempt", requests.clone());
        let errors = Family::default();
        registry.register("errors", "Failed attempts by kind of error", errors.clone());
        let tokens = Family::default();
        registry.register("tokens", "Tokens by bucket", tokens.clone());
        let cost = Family::default();
        registry.register("cost_usd", "Cost of answers in USD", cost.clone());
        let unpriced = Family::default();
        registry.register("unpriced", "Answers whose price is unknown", unpriced.clone());
        let losses = Family::default();
        registry.register("losses", "What translations could not carry, by action", losses.clone());
        let first_token = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        registry.register_with_unit(
            "first_token",
            "Time to the first token",
            Unit::Seconds,
            first_token.clone(),
        );
        let upstream = Histograms::new_with_constructor(seconds as fn() -> Histogram);
        registry.register_with_unit(
            "upstream",
            "Time spent waiting for the provider",
            Unit::Seconds,
            upstream.clone(),
        );
        let overhead = Histograms::new_with_constructor(microseconds as fn() -> Histogram);
        registry.register_with_unit(
            "overhead",
            "Time spent in the gateway until the first attempt",
            Unit::Seconds,
            overhead.clone(),
        );
        let refused = Family::default();
        registry.register("refused", "Requests that the gateway refused, by kind of error", refused.clone());
        let active = Gauge::default();
        registry.register("active_requests", "Requests in flight", active.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open client connections", connections.clone());
        if let Some(spool) = spool {
            registry.register_collector(Box::new(UsageLog(spool)));
        }
        Self {
            inner: Arc::new(Inner {
                registry,
                requests,
                errors,
                tokens,
                cost,
                unpriced,
                losses,
                first_token,
                upstream,
                overhead,
                refused,
                active,
                connections,
            }),
        }
    }

    /// The text for Prometheus.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.inner.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// The counters of a provider.
    pub fn provider(&self, id: &str) -> RouteMetrics {
        RouteMetrics { metrics: self.clone(), provider: id.to_owned(), models: RwLock::default() }
    }

    /// A request that no provider saw.
    pub fn refused(&self, kind: &'static str) {
        self.inner.refused.get_or_create(&Kind { kind }).inc();
    }

    /// Open client connections.
    pub fn connections(&self) -> &Gauge {
        &self.inner.connections
    }

    /// Requests in flight.
    pub fn active(&self) -> &Gauge {
        &self.inner.active
    }
}

/// What is read where it is counted, so that nothing is counted twice or late: the usage log and the log.
#[derive(Debug)]
struct UsageLog(Spool);

impl Collector for UsageLog {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Self(spool) = self;
        let gauges = [
            ("spool_bytes", "Usage records that wait for the database, in bytes", spool.bytes()),
            (
                "usage_log_writable",
                "1 while usage records can be kept, 0 when the last one was lost",
                u64::from(spool.keeps_records()),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("unrecorded", "Usage records that are not in the database and will not be", spool.lost()),
            (
                "unrecorded_refused",
                "Those of them that the database refused and that were moved to rejected.jsonl",
                spool.refused(),
            ),
            ("log_lines_lost", "Log lines that could not be written", log::lost_lines()),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}

/// The counters of one provider, by model.
pub struct RouteMetrics {
    metrics: Metrics,
    provider: String,
    models: RwLock<HashMap<String, Arc<RouteCounters>>>,
}

/// The counters of one model at one provider, resolved once.
pub struct RouteCounters {
    metrics: Metrics,
    route: Route,
    /// Requests that reached the provider.
    pub requests: Counter,
    /// Uncached prompt tokens.
    pub input_tokens: Counter,
    /// Cached prompt tokens.
    pub cached_tokens: Counter,
    /// Tokens written to a cache.
    pub written_tokens: Counter,
    /// Produced tokens.
    pub output_tokens: Counter,
    /// Cost in USD.
    pub cost: Counter<f64, std::sync::atomic::AtomicU64>,
    /// Answers of unknown price.
    pub unpriced: Counter,
    /// Seconds to the first token.
    pub first_token: Histogram,
    /// Seconds spent waiting.
    pub upstream: Histogram,
    /// Seconds until the first attempt.
    pub overhead: Histogram,
}

impl RouteMetrics {
    /// The counters of a model: its catalog id, or `other`.
    pub fn model(&self, model: &str) -> Arc<RouteCounters> {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        known.unwrap_or_else(|| {
            let counters = Arc::new(self.counters(model));
            let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
            models.entry(model.to_owned()).or_insert(counters).clone()
        })
    }

    fn counters(&self, model: &str) -> RouteCounters {
        let inner = &self.metrics.inner;
        let route = Route { provider: self.provider.clone(), model: model.to_owned() };
        let tokens = |kind: &'static str| {
            let labels = RouteWith { provider: route.provider.clone(), model: route.model.clone(), kind };
            inner.tokens.get_or_create(&labels).clone()
        };
        RouteCounters {
            requests: inner.requests.get_or_create(&route).clone(),
            input_tokens: tokens("input"),
            cached_tokens: tokens("cache_read"),
            written_tokens: tokens("cache_write"),
            output_tokens: tokens("output"),
            cost: inner.cost.get_or_create(&route).clone(),
            unpriced: inner.unpriced.get_or_create(&route).clone(),
            first_token: inner.first_token.get_or_create(&route).clone(),
            upstream: inner.upstream.get_or_create(&route).clone(),
            overhead: inner.overhead.get_or_create(&route).clone(),
            metrics: self.metrics.clone(),
            route,
        }
    }
}

impl RouteCounters {
    /// A failed attempt.
    pub fn error(&self, kind: &'static str) {
        self.metrics.inner.errors.get_or_create(&self.with(kind)).inc();
    }

    /// A loss.
    pub fn loss(&self, action: &'static str) {
        self.metrics.inner.losses.get_or_create(&self.with(action)).inc();
    }

    fn with(&self, kind: &'static str) -> RouteWith {
        RouteWith { provider: self.route.provider.clone(), model: self.route.model.clone(), kind }
    }
}
