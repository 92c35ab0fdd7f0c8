//! Prometheus metrics with bounded labels: providers of the configuration, models of the catalog, and the
//! first [`MOST_OWN_MODELS`] models of each provider without models in the catalog; every other model counts
//! as `other`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Metric, Registry, Unit};
use store::Spool;

use super::log;

/// The label of models without a label of their own.
pub const OTHER: &str = "other";
/// Most models with labels of their own at one provider. The catalog lists fewer for each.
const MOST_OWN_MODELS: usize = 200;
/// Longest name of a model that becomes a label.
const LONGEST_LABEL: usize = 200;

/// Provider and model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    provider: String,
    model: String,
}

/// Provider, model and a word from a closed set.
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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GuardrailLabels {
    guardrail: String,
    on: &'static str,
    action: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SuspendedLabels {
    provider: String,
    key: String,
}

type Histograms = Family<Route, Histogram, fn() -> Histogram>;

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
    upstream_cost: Family<Route, Counter<f64, std::sync::atomic::AtomicU64>>,
    unpriced: Family<Route, Counter>,
    losses: Family<RouteWith, Counter>,
    first_token: Histograms,
    upstream: Histograms,
    overhead: Histograms,
    refused: Family<Kind, Counter>,
    stored_responses: Family<Kind, Counter>,
    kept_bodies: Family<Kind, Counter>,
    guardrails: Family<GuardrailLabels, Counter>,
    shared_counters: Family<Kind, Counter>,
    shared_counters_up: Gauge,
    response_cache: Family<Kind, Counter>,
    response_cache_bytes: Gauge,
    shared_memory_up: Gauge,
    suspended: Family<SuspendedLabels, Gauge>,
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

/// A new metric of this name.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

/// Durations: to the first token, of an attempt, and before the first attempt.
fn times(registry: &mut Registry) -> [Histograms; 3] {
    let mut time = |name: &str, help: &str, make: fn() -> Histogram| {
        let metric = Histograms::new_with_constructor(make);
        registry.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    };
    [
        time(
            "first_token",
            "Time to the first content of a stream, or to the end of a whole answer",
            seconds,
        ),
        time(
            "upstream",
            "Time of an attempt: to the first content of a stream, to the end of a whole answer, or to its failure",
            seconds,
        ),
        time("overhead", "Time spent in the gateway before the first attempt", microseconds),
    ]
}

/// Actions of guardrails.
fn guardrails(registry: &mut Registry) -> Family<GuardrailLabels, Counter> {
    registered(
        registry,
        "guardrails",
        "Actions of guardrails: `redacted` (each match), `denied`, `unchecked` when a check failed and the text passed, `unavailable` when it was refused",
    )
}

/// Shared counters of budgets and limits.
fn shared_counters(registry: &mut Registry) -> (Family<Kind, Counter>, Gauge) {
    let requests = registered(
        registry,
        "shared_counters",
        "Requests for which this node's part of shared counters was too small: `asked` for more, `refused` or `allowed` while the counters did not answer",
    );
    let up = registered(
        registry,
        "shared_counters_up",
        "1 while the counters that nodes share answer; 0 when they do not, or are not shared",
    );
    (requests, up)
}

fn shared_memory_up(registry: &mut Registry) -> Gauge {
    registered(
        registry,
        "shared_memory_up",
        "1 while the data that nodes share besides counters are available: cached answers, conversations, outages; 0 when they are not, or nothing is shared",
    )
}

fn response_cache(registry: &mut Registry) -> (Family<Kind, Counter>, Gauge) {
    let requests = registered(
        registry,
        "response_cache",
        "Requests that may be answered from the cache: `hit`, `miss`, `waited` for an equal one, and what became of new answers: `stored`, `too_large`; `away` when Redis did not answer",
    );
    let bytes = registered(registry, "response_cache_bytes", "Memory of the answers that are kept");
    (requests, bytes)
}

impl Metrics {
    /// Metrics at zero, for a gateway without usage records.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// Metrics at zero, with those of the usage log.
    pub fn of(spool: Spool) -> Self {
        Self::with(Some(spool))
    }

    fn with(spool: Option<Spool>) -> Self {
        let mut registry = Registry::with_prefix("llmgateway");
        let requests = registered(
            &mut registry,
            "requests",
            "Requests to a provider: one per attempt, including failed ones",
        );
        let errors = registered(&mut registry, "errors", "Failed attempts by kind of error");
        let tokens = registered(&mut registry, "tokens", "Tokens by bucket");
        let cost = registered(
            &mut registry,
            "cost_usd",
            "Charge to callers in USD: the cost of complete and of cancelled answers",
        );
        let upstream_cost = registered(
            &mut registry,
            "upstream_cost_usd",
            "Known bill of providers in USD, including broken answers and failed attempts",
        );
        let unpriced = registered(&mut registry, "unpriced", "Answers whose price is unknown");
        let losses =
            registered(&mut registry, "losses", "Fields that a translation could not carry, by action");
        let [first_token, upstream, overhead] = times(&mut registry);
        let refused =
            registered(&mut registry, "refused", "Requests that reached no provider, by kind of error");
        let stored_responses = registered(
            &mut registry,
            "stored_responses",
            "Answers to be stored, by result: `stored`, `too_large`, or `failed` when the database refused them",
        );
        let kept_bodies = registered(
            &mut registry,
            "kept_bodies",
            "Requests whose bodies were to be kept, by result: `stored`, `dropped` when too many were waiting, or `failed` when the database refused them",
        );
        let guardrails = guardrails(&mut registry);
        let (shared_counters, shared_counters_up) = shared_counters(&mut registry);
        let (response_cache, response_cache_bytes) = response_cache(&mut registry);
        let shared_memory_up = shared_memory_up(&mut registry);
        let suspended = registered(
            &mut registry,
            "suspended",
            "1 for each provider or key that an administrator suspended (`key` is empty for a whole provider)",
        );
        let active =
            registered(&mut registry, "active_requests", "Requests for models that are not answered yet");
        let connections = registered(&mut registry, "connections", "Open client connections");
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
                upstream_cost,
                unpriced,
                losses,
                first_token,
                upstream,
                overhead,
                refused,
                stored_responses,
                kept_bodies,
                guardrails,
                shared_counters,
                shared_counters_up,
                response_cache,
                response_cache_bytes,
                shared_memory_up,
                suspended,
                active,
                connections,
            }),
        }
    }

    /// The metrics in OpenMetrics' format.
    pub fn open_metrics(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.inner.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }

    /// The metrics in Prometheus' older text format.
    pub fn prometheus_text(&self) -> String {
        as_prometheus_text(&self.open_metrics())
    }

    pub fn provider(&self, id: &str) -> RouteMetrics {
        RouteMetrics { metrics: self.clone(), provider: id.to_owned(), models: RwLock::default() }
    }

    /// A request that reached no provider.
    pub fn refused(&self, kind: &'static str) {
        self.inner.refused.get_or_create(&Kind { kind }).inc();
    }

    /// The result of storing an answer.
    pub fn stored_response(&self, kind: &'static str) {
        self.inner.stored_responses.get_or_create(&Kind { kind }).inc();
    }

    /// The result of keeping the bodies of some requests.
    pub fn kept_bodies(&self, kind: &'static str, times: u64) {
        self.inner.kept_bodies.get_or_create(&Kind { kind }).inc_by(times);
    }

    /// Counts actions of a guardrail.
    pub fn guardrail(&self, name: &str, on: &'static str, action: &'static str, times: u64) {
        let labels = GuardrailLabels { guardrail: name.to_owned(), on, action };
        self.inner.guardrails.get_or_create(&labels).inc_by(times);
    }

    /// A request for which this node's part of shared counters was too small.
    pub fn shared_counters(&self, kind: &'static str) {
        self.inner.shared_counters.get_or_create(&Kind { kind }).inc();
    }

    pub fn shared_counters_up(&self) -> &Gauge {
        &self.inner.shared_counters_up
    }

    /// A request that may be answered from the cache, or a new answer.
    pub fn response_cache(&self, kind: &'static str) {
        self.inner.response_cache.get_or_create(&Kind { kind }).inc();
    }

    /// Memory of the cached answers.
    pub fn response_cache_bytes(&self) -> &Gauge {
        &self.inner.response_cache_bytes
    }

    /// Whether the data that nodes share besides counters are available.
    pub fn shared_memory_up(&self) -> &Gauge {
        &self.inner.shared_memory_up
    }

    pub fn set_suspensions(&self, suspensions: &[store::Suspension]) {
        self.inner.suspended.clear();
        for suspension in suspensions {
            let labels = SuspendedLabels {
                provider: suspension.provider.clone(),
                key: suspension.key.clone().unwrap_or_default(),
            };
            self.inner.suspended.get_or_create(&labels).set(1);
        }
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

/// Values that are read where they are counted, so that nothing is counted twice or late: the usage log and
/// the log.
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
                "Of these, records that the database refused and that were moved to rejected.jsonl",
                spool.refused(),
            ),
            (
                "usage_sums_set_aside",
                "Sums of records that the tables of hours and days do not take; they were moved to the table usage_unfolded",
                spool.sums_set_aside(),
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
    pub written_tokens: Counter,
    pub output_tokens: Counter,
    /// Cost in USD.
    pub cost: Counter<f64, std::sync::atomic::AtomicU64>,
    /// The provider's bill in USD.
    pub upstream_cost: Counter<f64, std::sync::atomic::AtomicU64>,
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
    /// The counters of a model by its label. Above the limit, and for names that are too long, those of
    /// `other`.
    pub fn model(&self, model: &str) -> Arc<RouteCounters> {
        let known = self.models.read().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        known.unwrap_or_else(|| {
            let mut models = self.models.write().unwrap_or_else(PoisonError::into_inner);
            let is_label = model.len() <= LONGEST_LABEL && models.len() < MOST_OWN_MODELS;
            let label = if is_label || models.contains_key(model) { model } else { OTHER };
            models.entry(label.to_owned()).or_insert_with(|| Arc::new(self.counters(label))).clone()
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
            upstream_cost: inner.upstream_cost.get_or_create(&route).clone(),
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

    pub fn loss(&self, action: &'static str) {
        self.metrics.inner.losses.get_or_create(&self.with(action)).inc();
    }

    fn with(&self, kind: &'static str) -> RouteWith {
        RouteWith { provider: self.route.provider.clone(), model: self.route.model.clone(), kind }
    }
}

/// OpenMetrics names a counter's family without the `_total` of its samples; the older format has one name
/// for both, and neither units nor an end marker.
fn as_prometheus_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                text += &format!("# HELP {name}{suffix} {help}\n");
            }
            text += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            text += line;
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_bound_count_together() {
        let metrics = Metrics::new();
        let route = metrics.provider("mine");
        for number in 0..3 * MOST_OWN_MODELS {
            route.model(&format!("m{number}")).requests.inc();
        }
        route.model(&"x".repeat(LONGEST_LABEL + 1)).requests.inc();
        let text = metrics.prometheus_text();
        let labels = text.lines().filter(|line| line.starts_with("llmgateway_requests_total{")).count();
        assert_eq!(labels, MOST_OWN_MODELS + 1);
        let others = 2 * MOST_OWN_MODELS + 1;
        let line = format!("llmgateway_requests_total{{provider=\"mine\",model=\"other\"}} {others}\n");
        assert!(text.contains(&line), "{text}");
    }

    #[test]
    fn each_format_names_its_counters_in_its_own_way() {
        let metrics = Metrics::new();
        metrics.provider("mine").model("m").requests.inc();
        let open = metrics.open_metrics();
        assert!(open.contains("# TYPE llmgateway_requests counter\n") && open.ends_with("# EOF\n"), "{open}");
        let older = metrics.prometheus_text();
        assert!(older.contains("# TYPE llmgateway_requests_total counter\n"), "{older}");
        assert!(!older.contains("# EOF") && !older.contains("# UNIT"), "{older}");
        assert_eq!(older.matches("# HELP").count(), older.matches("# TYPE").count());
    }
}
