//! The access log: one line per request, whatever its outcome.
//!
//! Lines are hand-written because every request has one. They use the same output as all log lines, which
//! never waits and never fails. Like standard error, the log belongs to the process.

use std::sync::OnceLock;

use canon::scan::is_word;
use canon::write::{push_escaped, push_key, push_string, push_u64};
use store::UsageRecord;
use time::OffsetDateTime;

use crate::clock;

/// The name of these lines in `LLMGATEWAY_LOG`.
pub const TARGET: &str = "access";

/// Longest text from a caller in a line.
const LONGEST: usize = 200;

/// The form of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people: `name=value`.
    #[default]
    Text,
    /// For machines: one JSON object per line.
    Json,
}

type Sink = Box<dyn Fn(&[u8]) + Send + Sync>;

static LOG: OnceLock<(Format, Sink)> = OnceLock::new();

/// Writes each request as a line to `sink` from now on. Only the first call has an effect.
pub fn start(format: Format, sink: impl Fn(&[u8]) + Send + Sync + 'static) {
    let _ = LOG.set((format, Box::new(sink)));
}

/// A request without a model: the list of models, an unknown path, a wrong key.
pub fn other(method: &str, path: &str, status: u16, request_id: &str, duration_ms: u64) {
    let Some((format, sink)) = LOG.get() else { return };
    let mut line = Line::begin(*format, clock::now_ms() - duration_ms as i64);
    line.text("method", method);
    line.text("path", path);
    line.number("status", u64::from(status));
    line.number("duration_ms", duration_ms);
    line.text("request_id", request_id);
    sink(&line.end());
}

/// A request to a model, from its usage record.
pub fn model_request(path: &str, row: &UsageRecord) {
    if let Some((format, sink)) = LOG.get() {
        sink(&of_record(*format, path, row));
    }
}

fn of_record(format: Format, path: &str, row: &UsageRecord) -> Vec<u8> {
    let mut line = Line::begin(format, row.started_at_ms);
    line.text("method", "POST");
    line.text("path", path);
    line.number("status", u64::from(row.status));
    line.number("duration_ms", row.duration_ms);
    line.text("request_id", &row.request_id);
    line.text("key", &row.key_id);
    line.text("model", &row.requested_model);
    if let (Some(provider), Some(model)) = (&row.used_provider, &row.used_model) {
        line.text("provider", provider);
        line.text("used_model", model);
    }
    line.number("attempts", row.attempts.len() as u64);
    if let Some(id) = row.attempts.last().and_then(|attempt| attempt.provider_request_id.as_deref()) {
        line.text("provider_request_id", id);
    }
    line.flag("stream", row.streamed);
    if let Some(ttft_ms) = row.ttft_ms {
        line.number("ttft_ms", ttft_ms);
    }
    if let Some(usage) = &row.usage {
        line.number("prompt_tokens", usage.prompt_tokens());
        line.number("completion_tokens", usage.completion_tokens());
    }
    if let Some(cost) = &row.cost {
        line.raw("cost_usd", |out| cost.total.push(out));
    }
    if let Some(cost) = row.upstream_cost.filter(|cost| row.cost.is_none_or(|it| it.total != *cost)) {
        line.raw("upstream_cost_usd", |out| cost.push(out));
    }
    if let Some(kind) = &row.error_kind {
        line.text("error", kind);
    }
    if !row.guardrails.is_empty() {
        let did =
            row.guardrails.iter().map(|it| format!("{}:{}:{}={}", it.guardrail, it.on, it.action, it.count));
        line.text("guardrails", &did.collect::<Vec<_>>().join(","));
    }
    line.end()
}

struct Line {
    format: Format,
    out: Vec<u8>,
}

impl Line {
    fn begin(format: Format, at_ms: i64) -> Self {
        let mut line = Self { format, out: Vec::with_capacity(384) };
        match format {
            Format::Text => {
                push_time(&mut line.out, at_ms);
                line.out.extend_from_slice(b"  INFO access:");
            }
            Format::Json => {
                line.out.extend_from_slice(b"{\"timestamp\":\"");
                push_time(&mut line.out, at_ms);
                line.out.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"access\"");
            }
        }
        line
    }

    fn end(mut self) -> Vec<u8> {
        self.out.extend_from_slice(if self.format == Format::Json { b"}\n" } else { b"\n" });
        self.out
    }

    fn key(&mut self, key: &str) {
        match self.format {
            Format::Json => push_key(&mut self.out, key),
            Format::Text => {
                self.out.push(b' ');
                self.out.extend_from_slice(key.as_bytes());
                self.out.push(b'=');
            }
        }
    }

    fn raw(&mut self, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        self.key(key);
        write(&mut self.out);
    }

    fn number(&mut self, key: &str, number: u64) {
        self.raw(key, |out| push_u64(out, number));
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.raw(key, |out| out.extend_from_slice(if flag { b"true" } else { b"false" }));
    }

    /// A value that may come from a caller: without a quote, a space or a line end that could forge a field.
    fn text(&mut self, key: &str, text: &str) {
        let shown = &text[..text.floor_char_boundary(LONGEST)];
        let is_plain = !shown.is_empty() && is_word(shown.as_bytes());
        self.raw(key, |out| match (is_plain, shown.len() < text.len()) {
            (true, false) if out.first() != Some(&b'{') => out.extend_from_slice(shown.as_bytes()),
            (_, false) => push_string(out, shown),
            (_, true) => {
                out.push(b'"');
                push_escaped(out, shown);
                out.extend_from_slice("…\"".as_bytes());
            }
        });
    }
}

/// A time such as `2025-11-26T18:20:01.023Z`.
pub fn time_text(at_ms: i64) -> String {
    let mut text = Vec::with_capacity(24);
    push_time(&mut text, at_ms);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends a time such as `2025-11-26T18:20:01.023Z`.
fn push_time(out: &mut Vec<u8>, at_ms: i64) {
    let at_ms = at_ms.max(0);
    let at = OffsetDateTime::from_unix_timestamp(at_ms / 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    let milliseconds = (at_ms % 1000) as u16;
    let mut digits = |number: u16, count: u32, end: u8| {
        out.extend((0..count).rev().map(|place| b'0' + (number / 10_u16.pow(place) % 10) as u8));
        out.push(end);
    };
    digits(year.unsigned_abs() as u16, 4, b'-');
    digits(u16::from(u8::from(month)), 2, b'-');
    digits(u16::from(day), 2, b'T');
    digits(u16::from(hour), 2, b':');
    digits(u16::from(minute), 2, b':');
    digits(u16::from(second), 2, b'.');
    digits(milliseconds, 3, b'Z');
}

#[cfg(test)]
mod tests {
    use canon::{Cost, Pico, Usage};

    use super::*;

    fn record(model: &str) -> UsageRecord {
        UsageRecord {
            request_id: "req_1".into(),
            started_at_ms: 1_764_181_201_023,
            duration_ms: 812,
            key_id: "static:key1".into(),
            requested_model: model.into(),
            used_provider: Some("openai".into()),
            used_model: Some("gpt-4o-mini".into()),
            status: 200,
            usage: Some(Usage { input: 10, output: 5, ..Usage::default() }),
            cost: Some(Cost { total: Pico(4_500_000), ..Cost::default() }),
            ..crate::metering::empty_row()
        }
    }

    #[test]
    fn the_upstream_cost_is_shown_if_it_differs() {
        let mut row = record("gpt-4o-mini");
        row.upstream_cost = row.cost.map(|cost| cost.total);
        let line = |row: &UsageRecord| {
            String::from_utf8(of_record(Format::Text, "/v1/chat/completions", row)).unwrap()
        };
        assert!(!line(&row).contains("upstream_cost"), "{}", line(&row));
        row.cost = Some(Cost::default());
        assert!(line(&row).ends_with(" cost_usd=0 upstream_cost_usd=0.0000045\n"), "{}", line(&row));
    }

    fn line(format: Format, model: &str) -> String {
        String::from_utf8(of_record(format, "/v1/chat/completions", &record(model))).unwrap()
    }

    #[test]
    fn a_line_of_text_has_its_fields() {
        assert_eq!(
            line(Format::Text, "gpt-4o-mini"),
            "2025-11-26T18:20:01.023Z  INFO access: method=POST path=/v1/chat/completions status=200 duration_ms=812 \
             request_id=req_1 key=static:key1 model=gpt-4o-mini provider=openai used_model=gpt-4o-mini attempts=0 \
             stream=false prompt_tokens=10 completion_tokens=5 cost_usd=0.0000045\n"
        );
    }

    #[test]
    fn a_line_of_json_has_its_fields() {
        let line = line(Format::Json, "gpt-4o-mini");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["timestamp"], "2025-11-26T18:20:01.023Z");
        assert_eq!((&object["status"], &object["model"]), (&200.into(), &"gpt-4o-mini".into()));
        assert_eq!(object["cost_usd"], 0.000_004_5);
    }

    #[test]
    fn names_of_callers_cannot_forge_lines_and_are_cut() {
        let forged = line(Format::Text, "a\n2025 status=200 \"");
        assert!(forged.contains(r#" model="a\n2025 status=200 \"" provider"#), "{forged}");
        assert_eq!(forged.matches('\n').count(), 1);
        for format in [Format::Text, Format::Json] {
            let long = line(format, &"é".repeat(5000));
            assert!(long.len() < 1000 && long.contains("é…\""), "{long}");
        }
        let empty = line(Format::Text, "");
        assert!(empty.contains(" model=\"\" "), "{empty}");
    }
}
