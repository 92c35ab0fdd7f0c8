//! Requests and usage in the form that the admin API and the command line share.

use canon::{Cost, Feature, Pico, Usage};
use catalog::{ModelRow, PriceList, Serving};
use serde_json::{Map, Value, json};
use store::{
    AttemptRecord, Bucket, Dim, Histogram, LossRecord, Phases, RequestRow, UsageQuery, UsageRecord, UsageRow,
};
use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};

/// The default number of days.
pub const DAYS: i64 = 30;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// A query about usage in text form.
#[derive(Clone, Debug, Default)]
pub struct UsageWords {
    /// Only records from this time on.
    pub since: Option<String>,
    /// Only records before this time.
    pub until: Option<String>,
    /// Instead of `since`: this many days, today included.
    pub days: Option<i64>,
    /// The dimensions to group by, separated by commas; `tag:NAME` groups by the values of a tag.
    pub group: Option<String>,
    /// `hour` or `day`.
    pub bucket: Option<String>,
    /// Only these values.
    pub of: Vec<(Dim, String)>,
}

/// An invalid parameter: its name, and the error sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidParameter(pub &'static str, pub String);

impl UsageWords {
    /// The query for the store. Without an end it ends with the current hour.
    pub fn read(self, now_ms: i64) -> Result<UsageQuery, InvalidParameter> {
        let today = now_ms.div_euclid(DAY_MS);
        let since_ms = match (&self.since, self.days) {
            (Some(_), Some(_)) => {
                return Err(InvalidParameter("days", "days and since exclude each other.".to_owned()));
            }
            (Some(since), None) => read_time("since", since)?,
            (None, days) => (today - days.unwrap_or(DAYS) + 1) * DAY_MS,
        };
        let (group, tag) = read_group(self.group.as_deref().unwrap_or_default())?;
        let until_ms = match &self.until {
            Some(until) => read_time("until", until)?,
            None if tag.is_some() => (today + 1) * DAY_MS,
            None => (now_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS,
        };
        if until_ms < since_ms {
            return Err(InvalidParameter("until", "until lies before since.".to_owned()));
        }
        let bucket = match self.bucket.as_deref() {
            None => None,
            Some("hour") => Some(Bucket::Hour),
            Some("day") => Some(Bucket::Day),
            Some(_) => return Err(InvalidParameter("bucket", "bucket must be hour or day.".to_owned())),
        };
        let query = UsageQuery { since_ms, until_ms, of: self.of, group, bucket, tag };
        check_tag(&query)?;
        Ok(query)
    }
}

/// The dimensions, and the tag whose values are grouped by.
fn read_group(text: &str) -> Result<(Vec<Dim>, Option<String>), InvalidParameter> {
    let (mut group, mut tag) = (Vec::new(), None);
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if let Some(name) = name.strip_prefix("tag:").filter(|name| !name.is_empty()) {
            if tag.replace(name.to_owned()).is_some_and(|before| before != name) {
                return Err(InvalidParameter("group", "group has several tags; it may have one.".to_owned()));
            }
            continue;
        }
        let dim = Dim::ALL.into_iter().find(|dim| dim.as_str() == name).ok_or_else(|| {
            let known = Dim::ALL.map(Dim::as_str).join(", ");
            InvalidParameter("group", format!("group has {name:?}; it may have {known}, and tag:NAME."))
        })?;
        if !group.contains(&dim) {
            group.push(dim);
        }
    }
    Ok((group, tag))
}

/// Sums by tag exist for whole days, and by project.
fn check_tag(query: &UsageQuery) -> Result<(), InvalidParameter> {
    let dims = query.group.iter().chain(query.of.iter().map(|(dim, _)| dim));
    let wrong = |name, reason: &str| Err(InvalidParameter(name, format!("Sums by tag {reason}.")));
    match query.tag {
        None => Ok(()),
        Some(_) if dims.into_iter().any(|dim| *dim != Dim::Project) => {
            wrong("group", "can be grouped and selected by project only")
        }
        Some(_) if query.bucket == Some(Bucket::Hour) => {
            wrong("bucket", "are of whole days: bucket must be day")
        }
        Some(_) if query.since_ms.rem_euclid(DAY_MS) > 0 => {
            wrong("since", "are of whole days: since must be midnight, UTC")
        }
        Some(_) if query.until_ms.rem_euclid(DAY_MS) > 0 => {
            wrong("until", "are of whole days: until must be midnight, UTC")
        }
        Some(_) => Ok(()),
    }
}

/// Milliseconds since 1970 of a time in seconds since 1970, a date (its beginning, UTC), or a date and a time as in RFC 3339.
pub fn read_time(name: &'static str, text: &str) -> Result<i64, InvalidParameter> {
    let seconds = text.parse::<i64>().ok().and_then(|seconds| seconds.checked_mul(1000));
    let time =
        || OffsetDateTime::parse(text, &Rfc3339).ok().map(|time| time.unix_timestamp_nanos() / 1_000_000);
    let date = || {
        let date = Date::parse(text, &Iso8601::DATE).ok()?;
        Some(date.midnight().assume_utc().unix_timestamp() * 1000)
    };
    let read = seconds.or_else(|| i64::try_from(time()?).ok()).or_else(date);
    let limits = -62_135_596_800_000..=253_402_300_799_999;
    read.filter(|ms| limits.contains(ms)).ok_or_else(|| {
        InvalidParameter(
            name,
            format!("{name} must be a date, a time as in 2026-11-27T10:00:00Z, or seconds since 1970."),
        )
    })
}

/// A time as in RFC 3339, to the millisecond.
pub fn time_text(ms: i64) -> String {
    let (day, in_day) = (ms.div_euclid(DAY_MS), ms.rem_euclid(DAY_MS));
    let (hours, minutes) = (in_day / HOUR_MS, in_day / 60_000 % 60);
    let (seconds, millis) = (in_day / 1000 % 60, in_day % 1000);
    format!("{}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z", canon::date::date_of(day))
}

/// A sum as JSON.
pub fn usage_object(query: &UsageQuery, row: &UsageRow) -> Value {
    let sums = &row.sums;
    let mut object = Map::new();
    object.insert("object".to_owned(), "usage".into());
    if let (Some(start), Some(bucket)) = (row.start_ms, query.bucket) {
        object.insert("start".to_owned(), (start / 1000).into());
        object.insert("end".to_owned(), ((start + bucket.ms()) / 1000).into());
    }
    for (dim, value) in query.group.iter().zip(&row.of) {
        object.insert(dim.as_str().to_owned(), value.as_str().into());
    }
    if let (Some(tag), Some(value)) = (&query.tag, row.of.last()) {
        object.insert("tag".to_owned(), tag.as_str().into());
        object.insert("value".to_owned(), value.as_str().into());
    }
    let counted = json!({
        "requests": sums.requests(),
        "attempts": sums.attempts(),
        "streamed_requests": sums.streamed(),
        "lossy_requests": sums.lossy(),
        "estimated_requests": sums.estimated(),
        "unpriced_requests": sums.unpriced(),
        "cost_usd": sums.cost().to_string(),
        "upstream_cost_usd": sums.upstream_cost().to_string(),
        "upstream_unpriced_requests": sums.upstream_unpriced(),
        "usage": tokens(&sums.usage()),
        "ttft_ms": times(&sums.ttft()),
        "duration_ms": times(&sums.duration()),
    });
    if let Value::Object(counted) = counted {
        object.extend(counted);
    }
    Value::Object(object)
}

fn times(histogram: &Histogram) -> Value {
    let at = |share| histogram.quantile(share);
    json!({
        "count": histogram.count(),
        "mean": histogram.mean(),
        "p50": at(0.5),
        "p90": at(0.9),
        "p95": at(0.95),
        "p99": at(0.99),
    })
}

fn tokens(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens(),
        "completion_tokens": usage.completion_tokens(),
        "input": usage.input,
        "cache_read": usage.cache_read,
        "cache_write": usage.cache_write,
        "cache_write_1h": usage.cache_write_1h,
        "audio_input": usage.audio_input,
        "output": usage.output,
        "audio_output": usage.audio_output,
        "image_output": usage.image_output,
        "reasoning": usage.reasoning,
        "web_searches": usage.web_searches,
    })
}

/// The outcome of a request, as the sums group it.
pub fn outcome(record: &UsageRecord) -> &str {
    match &record.error_kind {
        _ if record.canceled => "cancelled",
        Some(kind) => kind,
        None if record.attempts.len() > 1 => "recovered",
        None => "ok",
    }
}

/// A request as JSON, with all its fields.
pub fn request_object(row: &RequestRow) -> Value {
    let record = &row.record;
    json!({
        "object": "request",
        "id": record.request_id,
        "cursor": row.cursor.to_string(),
        "started_at": time_text(record.started_at_ms),
        "started_at_ms": record.started_at_ms,
        "duration_ms": record.duration_ms,
        "ttft_ms": record.ttft_ms,
        "project": if record.project.is_empty() { store::DEFAULT_PROJECT } else { &record.project },
        "key": record.key_id,
        "operation": record.operation.as_deref().unwrap_or("chat"),
        "dialect": record.dialect.as_deref().unwrap_or("openai-chat"),
        "requested_model": record.requested_model,
        "requested_provider": record.requested_provider,
        "used_model": record.used_model,
        "used_provider": record.used_provider,
        "underlying_model": record.underlying_model,
        "status": record.status,
        "outcome": outcome(record),
        "error": record.error_kind,
        "streamed": record.streamed,
        "finish_reason": record.finish_reason,
        "session": record.session_id,
        "tags": record.tags,
        "usage": record.usage.as_ref().map(tokens),
        "usage_estimated": record.usage_estimated,
        "amount": record.amount.map(|amount| json!({"unit": amount.unit.as_str(), "count": amount.count})),
        "cost_usd": usd(record.cost.map(|cost| cost.total)),
        "cost": record.cost.as_ref().map(cost_parts),
        "upstream_cost_usd": usd(record.upstream_cost),
        "attempts": record.attempts.iter().map(attempt).collect::<Vec<_>>(),
        "losses": record.losses.iter().map(loss).collect::<Vec<_>>(),
        "guardrails": record.guardrails.iter().map(guardrail).collect::<Vec<_>>(),
        "phases_us": record.phases.map(phases),
        "cache": record.cache,
        "decision": record.decision,
    })
}

fn guardrail(record: &store::GuardrailRecord) -> Value {
    json!({"guardrail": record.guardrail, "on": record.on, "action": record.action, "count": record.count})
}

fn usd(amount: Option<Pico>) -> Option<String> {
    amount.map(|amount| amount.to_string())
}

fn cost_parts(cost: &Cost) -> Value {
    json!({
        "input_usd": cost.input.to_string(),
        "output_usd": cost.output.to_string(),
        "cached_input_usd": cost.cached_input.to_string(),
        "other_usd": cost.other.to_string(),
    })
}

fn attempt(attempt: &AttemptRecord) -> Value {
    let non_empty = |text: &String| (!text.is_empty()).then(|| text.clone());
    json!({
        "provider": attempt.provider,
        "model": attempt.model,
        "key": non_empty(&attempt.key),
        "status": (attempt.status_code > 0).then_some(attempt.status_code),
        "error": non_empty(&attempt.error_type),
        "start_ms": attempt.start_ms,
        "latency_ms": attempt.latency_ms,
        "provider_request_id": attempt.provider_request_id,
    })
}

/// A model at a provider as JSON.
pub fn serving_object(model: &ModelRow, serving: &Serving, is_enabled: bool) -> Value {
    let price = serving.price.as_ref();
    let rates = price.and_then(PriceList::token_rates);
    json!({
        "model": model.id,
        "provider": serving.provider,
        "upstream_model": serving.upstream_id,
        "name": model.name,
        "enabled": is_enabled,
        "context_tokens": serving.facts.context_tokens,
        "max_output_tokens": serving.facts.max_output_tokens,
        "input_usd_per_million": rates.map(|rates| per_million(rates.input)),
        "output_usd_per_million": rates.map(|rates| per_million(rates.output)),
        "usd_per_unit": price.map(unit_prices),
        "features": serving.facts.features.map(|features| features.iter().map(Feature::as_str).collect::<Vec<_>>()),
        "deprecated": serving.deprecated,
    })
}

fn phases(phases: Phases) -> Value {
    json!({
        "admission": phases.admission,
        "reading": phases.reading,
        "plan": phases.plan,
        "queue": phases.queue,
        "connect": phases.connect,
        "wait": phases.wait,
        "stream": phases.stream,
        "settle": phases.settle,
    })
}

fn loss(loss: &LossRecord) -> Value {
    json!({"field": loss.field, "action": loss.action, "reason": loss.reason})
}

/// A price per token as a decimal string per million tokens.
/// See [`PriceList::unit_prices`].
pub fn unit_prices(price: &PriceList) -> Map<String, Value> {
    let prices = price.unit_prices();
    prices.into_iter().map(|(name, price)| (name.to_owned(), price.to_string().into())).collect()
}

pub fn per_million(price: Pico) -> String {
    (price * 1_000_000).to_string()
}

/// An entry of the audit log.
pub fn audit_object(row: &store::AuditRow) -> Value {
    json!({
        "object": "audit_entry",
        "id": row.id.to_string(),
        "at": row.at_ms / 1000,
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "detail": serde_json::from_str::<Value>(&row.detail).unwrap_or_default(),
    })
}

/// A process on the database.
pub fn node_object(node: &store::Node, now_ms: i64) -> Value {
    json!({
        "object": "node",
        "id": node.id,
        "name": node.name,
        "version": node.version,
        "config": node.config,
        "started_at": node.started_at_ms / 1000,
        "uptime_seconds": (node.seen_at_ms - node.started_at_ms).max(0) / 1000,
        "seen_at": node.seen_at_ms / 1000,
        "state": node.state_at(now_ms),
        "spool_bytes": node.spool_bytes,
        "last_reload": serde_json::from_str::<Value>(&node.reload).unwrap_or_default(),
    })
}

/// A suspension by an administrator.
pub fn suspension_object(suspension: &store::Suspension) -> Value {
    json!({
        "object": "suspension",
        "provider": suspension.provider,
        "key": suspension.key,
        "reason": suspension.reason,
        "actor": suspension.actor,
        "since": suspension.since_ms / 1000,
        "until": suspension.until_ms.map(|until| until / 1000),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        let read = |text| read_time("since", text).ok();
        assert_eq!(read("2026-11-27"), Some(1_795_737_600_000));
        assert_eq!(read("2026-11-27T01:00:00.5+01:00"), Some(1_795_737_600_500));
        assert_eq!(read("1795737600"), Some(1_795_737_600_000));
        assert_eq!((read("yesterday"), read("99999999999999999"), read("")), (None, None, None));
        assert_eq!(time_text(1_795_737_600_007), "2026-11-27T00:00:00.007Z");
        assert_eq!(time_text(-1), "1969-12-31T23:59:59.999Z");
    }

    #[test]
    fn queries_are_read() {
        let now = 1_795_737_600_007;
        let query =
            UsageWords { days: Some(1), group: Some("model,key".to_owned()), ..UsageWords::default() };
        let query = query.read(now).unwrap();
        assert_eq!((query.since_ms, query.until_ms), (now - 7, now - 7 + HOUR_MS));
        assert_eq!(query.group, [Dim::Model, Dim::Key]);
        let wrong = |words: UsageWords| words.read(now).unwrap_err().0;
        assert_eq!(wrong(UsageWords { group: Some("color".to_owned()), ..UsageWords::default() }), "group");
        assert_eq!(wrong(UsageWords { bucket: Some("week".to_owned()), ..UsageWords::default() }), "bucket");
        let by = |group: &str| UsageWords { group: Some(group.to_owned()), ..UsageWords::default() };
        let query = by("project,tag:team").read(now).unwrap();
        assert_eq!((query.tag.as_deref(), query.group.as_slice()), (Some("team"), &[Dim::Project][..]));
        assert_eq!((query.since_ms % DAY_MS, query.until_ms), (0, now - 7 + DAY_MS));
        assert_eq!(wrong(by("tag:team,model")), "group");
        assert_eq!(wrong(by("tag:team,tag:env")), "group");
        assert_eq!(wrong(by("tag:")), "group");
        assert_eq!(wrong(UsageWords { bucket: Some("hour".to_owned()), ..by("tag:team") }), "bucket");
        let noon = || Some("2026-11-26T12:00:00Z".to_owned());
        assert_eq!(wrong(UsageWords { since: noon(), ..by("tag:team") }), "since");
        assert_eq!(wrong(UsageWords { until: noon(), ..by("tag:team") }), "until");
        assert_eq!(wrong(UsageWords { of: vec![(Dim::Key, "k".to_owned())], ..by("tag:team") }), "group");
        let turned = UsageWords {
            since: Some("2026-11-27".to_owned()),
            until: Some("2026-11-26".to_owned()),
            ..UsageWords::default()
        };
        assert_eq!(wrong(turned), "until");
    }
}
