//! One usage record per request, including failed and cancelled ones. The same record feeds the log and the
//! metrics.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use canon::{Cost, Error, ErrorKind, FinishReason, Losses, Operation, Pico, Progress, Usage};
use catalog::Serving;
use http::StatusCode;
use limits::Remaining;
use store::{AttemptRecord, Commit, OpenRequest, Phases, Spool, UsageRecord};
use tokio::time::Instant;

use crate::admission::{self, Grant};
use crate::bodies::{BodyLog, Capture};
use crate::clock;
use crate::guardrails::Guard;
use crate::identity::Caller;
use crate::telemetry::{Metrics, RouteCounters, access};

/// The prices of an answer: the displayed, recorded and counted cost comes from here.
#[derive(Clone, Default)]
pub struct Pricing {
    /// The model at its provider; none for a model outside of the catalog.
    pub serving: Option<Arc<Serving>>,
    /// The service tier of the provider's request.
    pub asked_tier: Option<String>,
    /// No provider was asked, and nothing is billed.
    is_nothing: bool,
}

impl Pricing {
    /// By these prices.
    pub fn new(serving: Option<Arc<Serving>>, asked_tier: Option<String>) -> Self {
        Self { serving, asked_tier, is_nothing: false }
    }

    /// The prices of a free answer.
    pub fn nothing() -> Self {
        Self { is_nothing: true, ..Self::default() }
    }

    /// The cost of these tokens in the tier that the answer names, else in the requested one. None when the
    /// price is unknown.
    pub fn cost(&self, usage: &Usage, served_tier: Option<&str>) -> Option<Cost> {
        if self.is_nothing {
            return Some(Cost::default());
        }
        let price = self.serving.as_ref()?.price.as_ref()?;
        price.cost(usage, served_tier.or_else(|| price.tier_asked(self.asked_tier.as_deref())))
    }

    /// The known cost of an answer: its tokens, and its units. None when it is unknown.
    fn cost_of(&self, progress: &Progress) -> Option<Cost> {
        if self.is_nothing {
            return Some(Cost::default());
        }
        let tier = progress.service_tier.as_deref();
        let Some(amount) = progress.amount else { return self.cost_by_tokens(progress, tier) };
        let price = self.serving.as_ref()?.price.as_ref()?;
        let tier = tier.or_else(|| price.tier_asked(self.asked_tier.as_deref()));
        // An answer may have several measures; the price list decides which one is billed.
        let by_unit = price.cost_of(amount, &progress.usage.unwrap_or_default(), tier);
        by_unit.or_else(|| price.cost(&progress.usage?, tier))
    }

    /// The cost of an answer without counted units: unknown where units have a price.
    fn cost_by_tokens(&self, progress: &Progress, tier: Option<&str>) -> Option<Cost> {
        let cost = self.cost(&progress.usage?, tier)?;
        let price = self.serving.as_ref()?.price.as_ref()?;
        (price.units.is_empty() || cost.total > Pico::ZERO).then_some(cost)
    }
}

/// Writes usage records.
#[derive(Clone)]
pub struct Metering {
    spool: Spool,
    metrics: Metrics,
    bodies: BodyLog,
    node: Option<&'static str>,
    /// Requests in flight. Separate from the metric: a metric never steers.
    in_flight: Arc<AtomicUsize>,
    /// When a loss of records was last logged, in milliseconds since 1970.
    lost_said: Arc<AtomicI64>,
}

/// The beginning of a record.
pub struct Begin<'a> {
    /// The id that the answer carries.
    pub request_id: &'a str,
    /// The path of the route.
    pub path: &'static str,
    pub caller: &'a Caller,
    /// The model as the caller wrote it.
    pub model: &'a str,
    pub stream: bool,
    /// The session that the caller named.
    pub session: Option<String>,
    /// The estimated length of the prompt.
    pub prompt_tokens: u64,
    pub operation: Operation,
    /// The tags of the request.
    pub tags: BTreeMap<String, String>,
    /// The format of the caller; none for OpenAI's chat completions.
    pub dialect: Option<&'static str>,
    /// The guardrails of the request.
    pub guard: Option<Arc<Guard>>,
    /// Its bodies; none where they are not kept.
    pub capture: Option<Arc<Capture>>,
    /// When the request arrived, and when its caller was identified.
    pub arrival: Arrival,
}

/// When a request arrived, and when its caller was identified.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// Its head was complete.
    pub received: Instant,
    /// The caller was identified.
    pub admitted: Instant,
}

impl Metering {
    /// Appends to this spool and counts in these metrics. `node` names this process in its records, where
    /// several share budgets.
    pub fn new(spool: Spool, metrics: Metrics, node: Option<&'static str>) -> Self {
        let bodies = BodyLog::new(metrics.clone());
        Self { spool, metrics, bodies, node, in_flight: Arc::default(), lost_said: Arc::default() }
    }

    /// A record that ends with `finish`, `fail`, or when it is dropped because the caller hung up.
    pub fn begin(&self, begin: Begin<'_>) -> Record {
        self.metrics.active().inc();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let started = clock::now();
        let Arrival { received, admitted } = begin.arrival;
        let phases = Phases {
            admission: micros(admitted.saturating_duration_since(received)),
            reading: micros(started.saturating_duration_since(admitted)),
            ..Phases::default()
        };
        Record {
            metering: self.clone(),
            started,
            phases,
            attempt_ended: 0,
            path: begin.path,
            prompt_tokens: begin.prompt_tokens,
            counters: None,
            pricing: Pricing::default(),
            is_at_work: false,
            is_under_way: false,
            failed_cost: Some(Pico::ZERO),
            closed: false,
            progress: Progress::default(),
            grant: None,
            open: None,
            limits: None,
            downgrade: Downgrade::No,
            cache: None,
            guard: begin.guard,
            capture: begin.capture,
            price_percent: None,
            row: UsageRecord {
                request_id: begin.request_id.to_owned(),
                started_at_ms: clock::now_ms(),
                key_id: begin.caller.key_id.to_string(),
                project: begin.caller.project.id.to_string(),
                node: self.node.map(Cow::Borrowed),
                tags: begin.tags,
                requested_model: begin.model.to_owned(),
                streamed: begin.stream,
                session_id: begin.session,
                operation: begin.operation.of_record(),
                dialect: begin.dialect.map(Into::into),
                ..empty_row()
            },
        }
    }

    /// Ends the record of a complete answer, which is sent once this is ready: the record is then durable, or
    /// counted as lost. While several requests are in flight their records are written together.
    pub async fn finish(&self, record: &mut Record) {
        // Not from the metric: a metric never steers.
        if self.in_flight.load(Ordering::Relaxed) <= 1 {
            return record.finish(200);
        }
        if let Err(error) = record.finish_with_others(200).await {
            self.report_lost(&error, Some(record.request_id()));
        }
    }

    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The bodies that wait for the database.
    pub fn bodies(&self) -> &BodyLog {
        &self.bodies
    }

    /// Bytes of records that wait for the database.
    pub fn spool_bytes(&self) -> u64 {
        self.spool.bytes()
    }

    /// Fails when the next record could not be written.
    pub fn check(&self) -> Result<(), store::AppendError> {
        self.spool.check().inspect_err(|error| self.report_lost(error, None))
    }

    fn keep(&self, row: &UsageRecord, open: Option<OpenRequest>) {
        if let Err(error) = self.spool.append_last(row, open) {
            self.report_lost(&error, Some(&row.request_id));
        }
    }

    /// The metric counts each lost record. A log line for each would fill the full disk further.
    fn report_lost(&self, error: &dyn std::fmt::Display, request_id: Option<&str>) {
        let (now, last) = (clock::now_ms(), self.lost_said.load(Ordering::Relaxed));
        if now.saturating_sub(last) >= LOST_SAID_EVERY_MS {
            self.lost_said.store(now, Ordering::Relaxed);
            tracing::error!(
                request_id,
                lost_in_all = self.spool.lost(),
                "usage records cannot be kept: {error}"
            );
        }
    }
}

/// The effect of the cache on a request: `metadata.cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// The answer came from the cache.
    Hit,
    /// The cache had none.
    Miss,
}

impl CacheUse {
    /// The word in metadata, headers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Who served a request, for response headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// The provider of the last attempt.
    pub provider: String,
    /// The model that was asked of it.
    pub model: String,
    /// How many attempts there were.
    pub attempts: usize,
    /// The cost of a whole answer, where its price is known.
    pub cost: Option<Cost>,
    pub limits: Option<Box<Remaining>>,
    pub cache: Option<CacheUse>,
}

const LOST_SAID_EVERY_MS: i64 = 10_000;

pub(crate) fn empty_row() -> UsageRecord {
    UsageRecord {
        request_id: String::new(),
        started_at_ms: 0,
        duration_ms: 0,
        ttft_ms: None,
        key_id: String::new(),
        project: store::DEFAULT_PROJECT.to_owned(),
        node: None,
        tags: BTreeMap::new(),
        requested_model: String::new(),
        requested_provider: None,
        used_model: None,
        used_provider: None,
        underlying_model: None,
        attempts: Vec::new(),
        status: 0,
        error_kind: None,
        canceled: false,
        streamed: false,
        usage: None,
        usage_estimated: false,
        amount: None,
        operation: None,
        cost: None,
        upstream_cost: None,
        finish_reason: None,
        losses: Vec::new(),
        session_id: None,
        dialect: None,
        phases: None,
        guardrails: Vec::new(),
        decision: None,
        cache: None,
    }
}

/// The record of one request.
pub struct Record {
    metering: Metering,
    started: Instant,
    phases: Phases,
    /// When the last attempt ended, in microseconds after the start.
    attempt_ended: u64,
    path: &'static str,
    prompt_tokens: u64,
    counters: Option<Arc<RouteCounters>>,
    pricing: Pricing,
    progress: Progress,
    /// The provider has received the request, or has begun a successful answer: it bills the prompt.
    is_at_work: bool,
    /// An attempt began and did not end.
    is_under_way: bool,
    /// The cost of the failed attempts; none when the price of one is unknown.
    failed_cost: Option<Pico>,
    closed: bool,
    /// The reservations of budgets and limits.
    grant: Option<Grant>,
    /// The record in case the process dies; none without reserved money.
    open: Option<OpenRequest>,
    limits: Option<Box<Remaining>>,
    downgrade: Downgrade,
    cache: Option<CacheUse>,
    guard: Option<Arc<Guard>>,
    capture: Option<Arc<Capture>>,
    /// The share of the price that the answer costs, in per cent; 0 where nothing is billed.
    price_percent: Option<u8>,
    row: UsageRecord,
}

/// Whether an exhausted budget has another model serve.
enum Downgrade {
    No,
    /// To this alias, from the next attempt on.
    To(String),
    Done,
}

impl Record {
    /// When the request arrived, in milliseconds since 1970.
    pub fn started_at_ms(&self) -> i64 {
        self.row.started_at_ms
    }

    pub fn grant(&self) -> Option<&Grant> {
        self.grant.as_ref()
    }

    /// Takes over the reservations until the record ends.
    pub fn granted(&mut self, grant: Grant, remaining: Remaining) {
        self.grant = Some(grant);
        self.limits = admission::in_answer(remaining);
    }

    /// A further attempt may cost more than the reservation.
    pub fn raised(&mut self, money: Option<Pico>) {
        if let Some(grant) = &mut self.grant {
            grant.reserved = grant.reserved.max(money);
        }
    }

    /// Nothing more can be reserved.
    pub fn refused_with(&mut self, remaining: Remaining) {
        self.limits = admission::in_answer(remaining);
    }

    /// The guardrails of the request.
    pub fn guard(&self) -> Option<&Arc<Guard>> {
        self.guard.as_ref()
    }

    /// The remaining limits.
    pub fn limits(&self) -> Option<Box<Remaining>> {
        self.limits.clone()
    }

    /// A budget is exhausted, and this alias serves instead.
    pub fn downgrade_to(&mut self, alias: String) {
        self.downgrade = Downgrade::To(alias);
    }

    /// The alias that serves from now on, if the last attempt was refused for a budget.
    pub fn take_downgrade(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.downgrade, Downgrade::No) {
            Downgrade::To(alias) => {
                self.downgrade = Downgrade::Done;
                Some(alias)
            }
            other => {
                self.downgrade = other;
                None
            }
        }
    }

    /// Whether a model other than the requested one serves.
    pub fn is_downgraded(&self) -> bool {
        matches!(self.downgrade, Downgrade::Done)
    }

    /// When the request arrived.
    pub fn started(&self) -> Instant {
        self.started
    }

    pub fn request_id(&self) -> &str {
        &self.row.request_id
    }

    /// The model as the caller wrote it.
    pub fn requested_model(&self) -> &str {
        &self.row.requested_model
    }

    /// The id of the caller's key.
    pub fn caller(&self) -> &str {
        &self.row.key_id
    }

    /// The provider and the model that answer.
    pub fn used(&self) -> Option<(&str, &str)> {
        Some((self.row.used_provider.as_deref()?, self.row.used_model.as_deref()?))
    }

    /// The provider that the caller pinned.
    pub fn requested_provider(&self) -> Option<&str> {
        self.row.requested_provider.as_deref()
    }

    /// The model that the provider reported.
    pub fn underlying_model(&self) -> Option<&str> {
        self.row.underlying_model.as_deref()
    }

    /// Whether tokens were estimated because the provider sent no counts.
    pub fn is_estimated(&self) -> bool {
        self.row.usage_estimated
    }

    /// Who serves the request, and the settled cost.
    pub fn served(&self) -> Option<Served> {
        let (provider, model) = self.used()?;
        Some(Served {
            provider: provider.to_owned(),
            model: model.to_owned(),
            attempts: self.row.attempts.len(),
            cost: self.row.cost,
            limits: self.limits.clone(),
            cache: self.cache,
        })
    }

    /// The effect of the cache; none where it was not used.
    pub fn cache_use(&self) -> Option<CacheUse> {
        self.cache
    }

    /// Sets the effect of the cache.
    pub fn used_cache(&mut self, what: CacheUse) {
        self.cache = Some(what);
        self.row.cache = Some(what.as_str().into());
    }

    /// The answer is a cached one of this model at this provider.
    pub fn answers_from(&mut self, provider: &str, model: &str) {
        self.row.used_provider = Some(provider.to_owned());
        self.row.used_model = Some(model.to_owned());
    }

    /// The attempts so far.
    pub fn attempts(&self) -> &[AttemptRecord] {
        &self.row.attempts
    }

    /// The caller chose this provider.
    pub fn pinned(&mut self, provider: &str) {
        self.row.requested_provider = Some(provider.to_owned());
    }

    /// Stores scores, exclusions and reasons, once.
    pub fn decided(&mut self, selection: impl FnOnce() -> routing::Selection) {
        if self.row.decision.is_none() {
            self.row.decision = serde_json::to_value(selection()).ok();
        }
    }

    /// The time to open a connection.
    pub fn connected(&mut self, time: Duration) {
        self.phases.connect += micros(time);
    }

    /// An attempt begins now.
    pub fn attempt(&mut self, route: routing::Route<'_>, counters: Arc<RouteCounters>, now: Instant) {
        let before = now.saturating_duration_since(self.started);
        let start = micros(before);
        if self.counters.is_none() {
            counters.overhead.observe(before.as_secs_f64());
        }
        if self.row.attempts.is_empty() {
            self.phases.plan = start
        } else {
            self.phases.queue += start.saturating_sub(self.attempt_ended)
        }
        counters.requests.inc();
        self.is_at_work = false;
        self.is_under_way = true;
        self.row.used_provider = Some(route.provider.to_owned());
        self.row.used_model = Some(route.model.to_owned());
        self.counters = Some(counters);
        self.row.attempts.push(AttemptRecord {
            provider: route.provider.to_owned(),
            model: route.model.to_owned(),
            key: route.key.to_owned(),
            status_code: 0,
            error_type: String::new(),
            start_ms: start / 1000,
            latency_ms: 0,
            provider_request_id: None,
        });
        if let Some(reserved) = self.grant.as_ref().and_then(|grant| grant.reserved) {
            self.outlive(reserved);
        }
    }

    /// Writes the record for the case that the process dies: the cost of the answer is then unknown, and the
    /// budgets must count at least the reservation.
    fn outlive(&mut self, reserved: Pico) {
        let open = self.open.get_or_insert_with(|| self.metering.spool.open_request());
        let kept = open.keep(&self.row, reserved);
        if let Err(error) = kept {
            self.metering.report_lost(&error, Some(&self.row.request_id));
        }
    }

    /// The head of the attempt's answer has this status. It stays the attempt's status if the answer then fails.
    pub fn head_status(&mut self, status: StatusCode) {
        if let Some(attempt) = self.row.attempts.last_mut() {
            attempt.status_code = status.as_u16();
        }
    }

    /// The provider's own id of the attempt's request.
    pub fn provider_request_id(&mut self, id: Option<String>) {
        if let Some(attempt) = self.row.attempts.last_mut() {
            attempt.provider_request_id = id;
        }
    }

    /// The provider has the request, or has begun a successful answer: if the attempt fails, its prompt is
    /// billed nevertheless.
    pub fn is_at_work(&mut self) {
        self.is_at_work = true;
    }

    /// The known cost of the failed attempts so far: the prompts of those that the provider had begun. None
    /// when a price is unknown.
    pub fn failed_cost(&self) -> Option<Pico> {
        self.failed_cost
    }

    /// The providers' bill, where it differs from the caller's charge. Settled with the record.
    pub fn upstream_cost_beside(&self) -> Option<UpstreamCost> {
        let row = &self.row;
        let charged = row.cost.map(|cost| cost.total);
        (charged != row.upstream_cost).then_some(UpstreamCost { charged, upstream: row.upstream_cost })
    }

    /// The attempt has an answer, or failed: the time to its head or first token. `status` is none where the
    /// status of its head counts, or where it has none.
    pub fn attempt_ended(&mut self, status: Option<u16>, error: Option<&Error>, since: Instant) {
        let elapsed = since.elapsed();
        self.is_under_way = false;
        self.phases.wait += micros(elapsed);
        self.attempt_ended = micros(since.saturating_duration_since(self.started) + elapsed);
        if let Some(attempt) = self.row.attempts.last_mut() {
            attempt.status_code = status.unwrap_or(attempt.status_code);
            attempt.error_type = error.map_or(String::new(), |error| error.kind.as_str().to_owned());
            attempt.latency_ms = elapsed.as_millis() as u64;
        }
        if let Some(counters) = &self.counters {
            counters.upstream.observe(elapsed.as_secs_f64());
            if let Some(error) = error {
                counters.error(error.kind.as_str());
            }
        }
        // A provider that refuses a request bills nothing.
        if error.is_some_and(|error| error.upstream.is_none()) && self.is_at_work {
            self.is_at_work = false;
            let is_withheld = error.is_some_and(|error| error.kind == ErrorKind::ContentPolicy);
            if is_withheld {
                self.estimate_usage();
            }
            let cost =
                if is_withheld { self.answer_cost().map(|cost| cost.total) } else { self.prompt_cost() };
            self.bill(cost);
            self.failed_cost = sum(self.failed_cost, cost);
        }
    }

    /// Counts the bill of the last attempt's provider.
    fn bill(&self, cost: Option<Pico>) {
        if let (Some(counters), Some(cost)) = (&self.counters, cost) {
            counters.upstream_cost.inc_by(cost.as_usd());
        }
    }

    /// The last attempt's cost at its provider.
    fn last_attempt_cost(&mut self, cost: Option<Pico>) {
        self.bill(cost);
        self.row.upstream_cost = sum(self.failed_cost, cost);
    }

    /// Sets the prices for the answer of this attempt.
    pub fn priced_by(&mut self, pricing: Pricing) {
        self.pricing = pricing;
    }

    /// The prices for the answer of this attempt.
    pub fn pricing(&self) -> &Pricing {
        &self.pricing
    }

    pub fn losses(&mut self, losses: &Losses) {
        if let Some(counters) = &self.counters {
            losses.iter().for_each(|loss| counters.loss(loss.action.as_str()));
        }
        self.row.losses = losses.iter().map(Into::into).collect();
    }

    /// The first token arrived.
    pub fn first_token(&mut self) {
        let elapsed = self.started.elapsed();
        self.row.ttft_ms = Some(elapsed.as_millis() as u64);
        if let Some(counters) = &self.counters {
            counters.first_token.observe(elapsed.as_secs_f64());
        }
    }

    /// The progress of the answer: its output counts even if the caller hangs up.
    pub fn progress(&mut self, progress: &Progress) {
        self.progress.clone_from(progress);
    }

    /// Output tokens per second since the first token, once measurable.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let first = self.row.ttft_ms?;
        let elapsed = (self.started.elapsed().as_millis() as u64).checked_sub(first)?;
        let tokens =
            self.progress.usage.map(|usage| usage.completion_tokens()).filter(|tokens| *tokens > 4)?;
        (elapsed > 20).then(|| tokens as f64 * 1000.0 / elapsed as f64)
    }

    /// The answer is complete. The record is durable before the caller has the last byte.
    pub fn finish(&mut self, status: u16) {
        if self.closed {
            return;
        }
        self.row.status = status;
        self.settle();
        self.last_attempt_cost(self.row.cost.map(|cost| cost.total));
        self.close();
    }

    /// A free request is answered, such as a token count.
    pub fn finish_free(&mut self, status: u16) {
        self.row.status = status;
        self.row.cost = Some(Cost::default());
        self.last_attempt_cost(Some(Pico::ZERO));
        self.close();
    }

    /// The answer is complete, and is sent when the returned future is ready: the record is then durable,
    /// written together with those of other requests.
    fn finish_with_others(&mut self, status: u16) -> Commit {
        self.row.status = status;
        self.settle();
        self.last_attempt_cost(self.row.cost.map(|cost| cost.total));
        self.end();
        self.metering.spool.append_with_others(&self.row, self.open.take())
    }

    /// The request failed, before or during the answer. A failed request costs nothing; the output of a
    /// broken stream is counted, but not charged.
    pub fn fail(&mut self, error: &Error) {
        self.last_attempt_cost(Some(Pico::ZERO));
        self.failed(error);
    }

    /// The same for a failure that the caller gets with the provider's own status.
    pub fn fail_with(&mut self, error: &Error, status: u16) {
        self.last_attempt_cost(Some(Pico::ZERO));
        self.failed_with(error, status);
    }

    fn failed(&mut self, error: &Error) {
        self.failed_with(error, error.status().as_u16());
    }

    fn failed_with(&mut self, error: &Error, status: u16) {
        self.row.status = status;
        self.row.error_kind = Some(error.kind.as_str().to_owned());
        if self.row.attempts.is_empty() {
            self.metering.metrics.refused(error.kind.as_str());
        }
        self.row.underlying_model.clone_from(&self.progress.model);
        self.row.usage = self.progress.usage;
        self.count_tokens();
        // The provider produced the answer that a guardrail withholds. Otherwise a caller could spend more
        // than a budget by repeating such requests.
        let is_withheld = error.kind == ErrorKind::ContentPolicy && self.progress.content_started;
        self.row.cost = Some(Cost::default());
        if is_withheld {
            self.row.cost = self.answer_cost();
            self.count_cost();
        }
        self.close();
    }

    /// A stream broke after its first content: its attempt failed.
    pub fn broke(&mut self, error: &Error) {
        if let Some(attempt) = self.row.attempts.last_mut() {
            error.kind.as_str().clone_into(&mut attempt.error_type);
        }
        if let Some(counters) = &self.counters {
            counters.error(error.kind.as_str());
        }
        self.estimate_usage();
        self.last_attempt_cost(self.answer_cost().map(|cost| cost.total));
        self.failed(error);
    }

    /// The cost of the answer so far; none when it is unknown.
    fn answer_cost(&self) -> Option<Cost> {
        match self.price_percent {
            None => self.pricing.cost_of(&self.progress),
            Some(0) => Some(Cost::default()),
            Some(percent) => self.pricing.cost_of(&self.progress).map(|cost| cost.share(percent)),
        }
    }

    /// The share of its price that the answer costs, in per cent.
    pub fn costs_percent(&mut self, percent: u8) {
        self.price_percent = Some(percent);
    }

    /// Records a past event once, however often it is observed: of records with the same time and id, the
    /// database keeps the first.
    pub fn finish_once(mut self, started_at_ms: i64) {
        self.row.status = 200;
        self.settle();
        self.last_attempt_cost(self.row.cost.map(|cost| cost.total));
        self.row.started_at_ms = started_at_ms;
        self.end();
        if let Err(error) = self.metering.spool.append_once(&self.row) {
            self.metering.report_lost(&error, Some(&self.row.request_id));
        }
    }

    /// The progress of a whole answer without a conversation. Tokens without a provider's count are
    /// estimated, where nothing else is billed.
    pub fn answered(&mut self, progress: Progress) {
        self.progress = progress;
        if self.progress.amount.is_none() {
            self.estimate_usage();
        }
    }

    /// Estimates the output where the provider's counts never arrived.
    fn estimate_usage(&mut self) {
        if self.progress.content_started && self.progress.usage.is_none() {
            self.assume_usage();
        }
    }

    /// Uses the estimate of the prompt and of the output as the provider's count.
    fn assume_usage(&mut self) {
        self.row.usage_estimated = true;
        self.progress.usage = Some(Usage {
            input: self.prompt_tokens,
            output: self.progress.output_chars.div_ceil(4),
            ..Usage::default()
        });
    }

    /// The bill of a provider that has read the prompt and sent no known answer.
    fn prompt_cost(&self) -> Option<Pico> {
        let read = Usage { input: self.prompt_tokens, ..Usage::default() };
        Some(self.pricing.cost(&read, None)?.total)
    }

    /// Counts tokens and cost.
    fn settle(&mut self) {
        // A budget would not see an answer without the provider's token counts.
        if self.grant.is_some() {
            self.estimate_usage();
        }
        let progress = &self.progress;
        self.row.underlying_model.clone_from(&progress.model);
        self.row.finish_reason = progress.finish_reason.map(FinishReason::as_str).map(str::to_owned);
        self.row.usage = progress.usage;
        self.row.amount = progress.amount;
        self.row.cost = self.answer_cost();
        self.count_tokens();
        self.count_cost();
    }

    /// Counts the caller's charge.
    fn count_cost(&self) {
        let Some(counters) = &self.counters else { return };
        match self.row.cost {
            Some(cost) => drop(counters.cost.inc_by(cost.total.as_usd())),
            None => drop(counters.unpriced.inc()),
        }
    }

    fn count_tokens(&self) {
        let (Some(counters), Some(usage)) = (&self.counters, &self.row.usage) else { return };
        counters.input_tokens.inc_by(usage.input + usage.audio_input);
        counters.cached_tokens.inc_by(usage.cache_read);
        counters.written_tokens.inc_by(usage.cache_writes());
        counters.output_tokens.inc_by(usage.completion_tokens());
    }

    fn close(&mut self) {
        if !self.closed {
            self.end();
            self.metering.keep(&self.row, self.open.take());
        }
    }

    fn end(&mut self) {
        self.closed = true;
        if let Some(guard) = &self.guard {
            self.row.guardrails = guard.records();
        }
        let elapsed = self.started.elapsed();
        self.row.duration_ms = elapsed.as_millis() as u64;
        self.row.phases = Some(self.phases_at_end(micros(elapsed)));
        if let Some(mut grant) = self.grant.take() {
            let cost = self.row.cost.map_or(Pico::ZERO, |cost| cost.total);
            // Tokens of a cached answer were counted when it was new.
            let usage = self.row.usage.as_ref().filter(|_| self.cache != Some(CacheUse::Hit));
            grant.settle(cost, usage);
        }
        if let Some(capture) = self.capture.take() {
            self.metering.bodies.put(&capture, &self.row, self.guard.as_deref());
        }
        access::model_request(self.path, &self.row);
        self.metering.metrics.active().dec();
        self.metering.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    fn phases_at_end(&self, all: u64) -> Phases {
        let mut phases = self.phases;
        if self.row.attempts.is_empty() {
            phases.plan = all;
            return phases;
        }
        let rest = all.saturating_sub(phases.plan + phases.queue + phases.wait);
        if self.row.streamed && self.row.ttft_ms.is_some() {
            phases.stream = rest;
        } else if self.is_under_way {
            // The caller hung up before the attempt ended.
            phases.wait += rest;
        } else {
            phases.settle = rest;
        }
        // Opening a connection is a part of an attempt.
        phases.connect = phases.connect.min(phases.wait);
        phases.wait -= phases.connect;
        phases
    }

    /// The caller hung up: the prompt was read, and the output so far was produced.
    fn cancelled(&mut self) {
        self.row.canceled = true;
        self.row.status = 499;
        self.row.error_kind = Some("cancelled".to_owned());
        self.estimate_usage();
        let is_asked = self.row.attempts.last().is_some_and(|last| last.error_type.is_empty());
        let is_charged = self.progress.content_started || is_asked && self.reserves_money();
        if is_charged {
            if !self.progress.content_started {
                // Otherwise a caller who always hangs up before the first word could spend more than a
                // budget.
                self.assume_usage();
            }
            self.settle();
            self.last_attempt_cost(self.row.cost.map(|cost| cost.total));
        } else {
            self.row.cost = Some(Cost::default());
            self.last_attempt_cost(if is_asked { self.prompt_cost() } else { Some(Pico::ZERO) });
        }
        self.close();
    }

    /// Whether a budget applies.
    fn reserves_money(&self) -> bool {
        self.grant.as_ref().is_some_and(|grant| grant.reserved.is_some())
    }
}

fn micros(time: Duration) -> u64 {
    time.as_micros() as u64
}

/// The sum; none where an operand is unknown.
fn sum(left: Option<Pico>, right: Option<Pico>) -> Option<Pico> {
    Some(left? + right?)
}

/// The caller's charge and the providers' bill, where the two differ. None is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UpstreamCost {
    /// The cost of the answer.
    pub charged: Option<Pico>,
    /// The cost of the answer, and of failed or broken attempts before it.
    pub upstream: Option<Pico>,
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.closed {
            self.cancelled();
        }
    }
}
