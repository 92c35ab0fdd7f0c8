//! The gateway's additions to an answer: ids, cost, and the metadata.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use canon::write::{push_array, push_count, push_key, push_text};
use canon::{Annotator, AnswerFacts, Cost, Json, Losses, Pico, Usage};
use routing::Reason;
use store::AttemptRecord;
use tokio::time::Instant;
use wire::IdPrefixes;

use crate::config::MetadataPlace;
use crate::guardrails::Guard;
use crate::metering::{CacheUse, Pricing, Record, UpstreamCost};

pub struct Envelope {
    pub request_id: String,
    /// The place of the gateway's object.
    pub place: MetadataPlace,
    /// The answer's id where the provider gives none; created on first use.
    pub answer_id: OnceLock<String>,
    pub ids: IdPrefixes,
    /// Unix seconds.
    pub created: i64,
    /// The model as the caller wrote it.
    pub requested_model: String,
    /// The provider that the caller chose.
    pub requested_provider: Option<String>,
    /// The model in the provider's request.
    pub used_model: String,
    /// The provider that answered.
    pub used_provider: String,
    /// The label of the key that was used.
    pub key: String,
    /// The provider's own id of the request.
    pub provider_request_id: Option<String>,
    /// The attempts before this one.
    pub earlier: Vec<AttemptRecord>,
    /// The effect of the cache; none where it was not used.
    pub cache: Option<CacheUse>,
    /// When this attempt began.
    pub attempt_started: Instant,
    /// The reason for this provider.
    pub selection: Selection,
    pub losses: Losses,
    pub pricing: Pricing,
    pub earlier_cost: EarlierCost,
    /// The guardrails of the answer.
    pub guard: Option<Arc<Guard>>,
}

/// The cost of attempts that failed before the answer. It is added to the cost of the answer.
pub struct EarlierCost {
    /// None when it is unknown.
    pub cost: Option<Pico>,
    shown: Mutex<Option<Cost>>,
}

impl EarlierCost {
    pub fn new(cost: Option<Pico>) -> Self {
        Self { cost, shown: Mutex::new(None) }
    }

    fn is_zero(&self) -> bool {
        self.cost == Some(Pico::ZERO)
    }
}

impl Annotator for Envelope {
    fn answer_id(&self) -> &str {
        self.answer_id.get_or_init(|| format!("{}{}", self.ids.answer, uuid::Uuid::now_v7().simple()))
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn model(&self) -> &str {
        &self.used_model
    }

    fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Option<Cost> {
        let cost = self.pricing.cost(usage, service_tier);
        if !self.earlier_cost.is_zero() {
            *self.earlier_cost.shown.lock().unwrap_or_else(PoisonError::into_inner) = cost;
        }
        cost
    }

    fn metadata_name(&self) -> Option<&'static str> {
        self.place.name()
    }

    /// Hand-written instead of serde: every answer has it, and it is a tenth of the cost of an answer.
    fn write_metadata(&self, facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        out.push(b'{');
        push_text(out, "request_id", &self.request_id);
        push_text(out, "requested_model", &self.requested_model);
        match &self.requested_provider {
            Some(provider) => push_text(out, "requested_provider", provider),
            None => out.extend_from_slice(b",\"requested_provider\":null"),
        }
        push_text(out, "used_model", &self.used_model);
        push_text(out, "used_provider", &self.used_provider);
        push_text(out, "underlying_used_model", facts.underlying_model.unwrap_or(&self.used_model));
        push_key(out, "routing");
        match self.cache {
            Some(CacheUse::Hit) => out.extend_from_slice(b"[]"),
            _ => push_array(out, self.earlier.iter().chain([&self.this_attempt()]), write_attempt),
        }
        if let Some(cache) = self.cache {
            push_text(out, "cache", cache.as_str());
        }
        push_key(out, "selection");
        self.selection.write(out);
        if !self.earlier_cost.is_zero() {
            write_cost(self.upstream_cost(facts.usage), out);
        }
        write_losses(&self.losses, out);
        write_guard(self.guard.as_ref(), out);
        out.push(b'}');
    }

    fn tool_call_id(&self) -> String {
        format!("{}{}", self.ids.tool_call, uuid::Uuid::now_v7().simple())
    }
}

impl Envelope {
    fn upstream_cost(&self, usage: Option<&Usage>) -> UpstreamCost {
        let shown = *self.earlier_cost.shown.lock().unwrap_or_else(PoisonError::into_inner);
        // The cost of an answer without requested usage has not been computed yet.
        let charged = shown.or_else(|| self.pricing.cost(usage?, None)).map(|cost| cost.total);
        let upstream = charged.zip(self.earlier_cost.cost).map(|(answer, earlier)| answer + earlier);
        UpstreamCost { charged, upstream }
    }

    fn this_attempt(&self) -> AttemptRecord {
        AttemptRecord {
            provider: self.used_provider.clone(),
            model: self.used_model.clone(),
            key: self.key.clone(),
            status_code: 200,
            error_type: String::new(),
            start_ms: 0,
            latency_ms: self.attempt_started.elapsed().as_millis() as u64,
            provider_request_id: self.provider_request_id.clone(),
        }
    }
}

/// The reason for a provider: `metadata.selection`.
#[derive(Clone)]
pub enum Selection {
    Reason(Reason),
    /// With every candidate and its score, as JSON.
    Explained(Json),
}

impl Selection {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Reason(reason) => {
                out.push(b'{');
                push_text(out, "reason", reason.as_str());
                out.push(b'}');
            }
            Self::Explained(json) => out.extend_from_slice(json.as_str().as_bytes()),
        }
    }
}

/// The gateway's object of an error, as a further member of its body: the attempts and their cost.
pub fn failure_member(name: &str, record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    push_key(&mut out, name);
    out.push(b'{');
    push_text(&mut out, "request_id", record.request_id());
    push_text(&mut out, "requested_model", record.requested_model());
    push_key(&mut out, "routing");
    push_array(&mut out, record.attempts(), write_attempt);
    if let Some(cost) = record.upstream_cost_beside() {
        write_cost(cost, &mut out);
    }
    write_losses(&Losses::new(), &mut out);
    write_guard(record.guard(), &mut out);
    out.push(b'}');
    out
}

/// The gateway's object of a whole answer without a conversation, as a further member of its body. The record is settled.
pub fn push_answer_member(
    name: &str,
    record: &Record,
    selection: &Selection,
    losses: &Losses,
    out: &mut Vec<u8>,
) {
    push_key(out, name);
    out.push(b'{');
    push_text(out, "request_id", record.request_id());
    push_text(out, "requested_model", record.requested_model());
    push_optional(out, "requested_provider", record.requested_provider());
    let used = record.used();
    push_optional(out, "used_model", used.map(|(_, model)| model));
    push_optional(out, "used_provider", used.map(|(provider, _)| provider));
    push_optional(out, "underlying_used_model", record.underlying_model().or(used.map(|(_, model)| model)));
    push_key(out, "routing");
    push_array(out, record.attempts(), write_attempt);
    if let Some(cache) = record.cache_use() {
        push_text(out, "cache", cache.as_str());
    }
    push_key(out, "selection");
    selection.write(out);
    let charged = record.served().and_then(|served| served.cost).map(|cost| cost.total);
    match record.upstream_cost_beside() {
        Some(cost) => write_cost(cost, out),
        None => write_amount("cost_usd_total", charged, out),
    }
    if record.is_estimated() {
        push_key(out, "usage_estimated");
        out.extend_from_slice(b"true");
    }
    write_losses(losses, out);
    write_guard(record.guard(), out);
    out.push(b'}');
}

fn push_optional(out: &mut Vec<u8>, name: &str, text: Option<&str>) {
    match text {
        Some(text) => push_text(out, name, text),
        None => {
            push_key(out, name);
            out.extend_from_slice(b"null");
        }
    }
}

/// Adds the member to the JSON of the event that begins at `start`. An error member stays the last one, so
/// that readers of a stream's end find it.
pub fn add_to_event(out: &mut Vec<u8>, start: usize, member: &[u8]) {
    let event = &out[start..];
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n' | b']');
    let Some(last) = event.iter().rposition(|byte| !is_end(byte)).filter(|last| event[*last] == b'}') else {
        return;
    };
    let first = event.iter().position(|byte| *byte == b'{').unwrap_or(last);
    let Some(bare) = member.strip_prefix(b",") else { return };
    if event[first..].starts_with(b"{\"error\":") {
        let place = start + first + 1;
        out.splice(place..place, bare.iter().chain(b",").copied());
    } else {
        out.splice(start + last..start + last, member.iter().copied());
    }
}

fn write_cost(cost: UpstreamCost, out: &mut Vec<u8>) {
    write_amount("cost_usd_total", cost.charged, out);
    write_amount("upstream_cost_usd_total", cost.upstream, out);
}

fn write_amount(name: &str, amount: Option<Pico>, out: &mut Vec<u8>) {
    push_key(out, name);
    match amount {
        Some(amount) => amount.push(out),
        None => out.extend_from_slice(b"null"),
    }
}

/// One entry of `metadata.routing`.
fn write_attempt(attempt: &AttemptRecord, out: &mut Vec<u8>) {
    out.push(b'{');
    push_text(out, "provider", &attempt.provider);
    push_text(out, "model", &attempt.model);
    push_count(out, "status_code", u64::from(attempt.status_code));
    push_text(out, "error_type", &attempt.error_type);
    push_count(out, "latency_ms", attempt.latency_ms);
    push_text(out, "key", &attempt.key);
    if let Some(id) = &attempt.provider_request_id {
        push_text(out, "provider_request_id", id);
    }
    out.push(b'}');
}

fn write_guard(guard: Option<&Arc<Guard>>, out: &mut Vec<u8>) {
    if let Some(guard) = guard {
        guard.write(out);
    }
}

fn write_losses(losses: &Losses, out: &mut Vec<u8>) {
    push_key(out, "losses");
    push_array(out, losses.iter(), |loss, out| {
        out.push(b'{');
        push_text(out, "field", &loss.field.name());
        push_text(out, "action", loss.action.as_str());
        push_text(out, "reason", &loss.reason);
        out.push(b'}');
    });
}
