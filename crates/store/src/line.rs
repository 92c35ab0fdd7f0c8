//! A record as one line: a checksum, and JSON that begins with the fields with columns in the table.
//! Hand-written on both sides because every request pays for it.

use std::sync::LazyLock;

use canon::scan::may_have_unicode_escape;
use canon::write::{self, push_count, push_key, push_list, push_u64};
use canon::{Cost, Pico, Usage};
use memchr::memmem::Finder;

use crate::record::{AttemptRecord, GuardrailRecord, LossRecord, Phases, UsageRecord};

/// Longer lines are shortened: see [`UsageRecord::shortened`].
const MAX_LINE_BYTES: usize = 64 * 1024;
/// The stored length of a text that callers or providers choose: no real model has a longer name.
const MAX_TEXT_BYTES: usize = 512;
/// Eight hexadecimal digits and a space.
const CHECKSUM_BYTES: usize = 9;

/// The error of a request whose process died, with the following members up to the cost.
const INTERRUPTED: &[u8] =
    br#","error_kind":"interrupted","status":0,"usage_estimated":true,"cost_pico":{"total":"#;
const INTERRUPTED_OTHER: &[u8] = br#","other":"#;

/// A record that every working database accepts.
pub(crate) const PROBE_RECORD: &str =
    r#"{"nonce":0,"started_at_ms":0,"request_id":"","key_id":"","requested_model":"","status":0}"#;

impl UsageRecord {
    /// Writes the record to `line`, with its line end, replacing what was there. `nonce` distinguishes it from another
    /// record of the same millisecond and request id.
    pub(crate) fn encode(&self, nonce: i64, line: &mut Vec<u8>) {
        self.encode_any_length(nonce, line);
        if line.len() > MAX_LINE_BYTES {
            self.shortened().encode_any_length(nonce, line);
        }
    }

    /// Writes the record of a request whose process dies: that a provider was asked, and the reserved amount.
    /// It lacks the attempts, the values that are known only at the end, and a checksum, because each attempt
    /// pays for this.
    pub(crate) fn write_interrupted(&self, nonce: i64, reserved: Pico, out: &mut Vec<u8>) {
        out.clear();
        self.write_columns(nonce, Some(reserved), out);
        push_text(out, "requested_model", &self.requested_model);
        for (name, text) in [("used_model", &self.used_model), ("used_provider", &self.used_provider)] {
            push_text(out, name, text.as_deref().unwrap_or_default());
        }
        if let Some(session) = &self.session_id {
            push_text(out, "session_id", session);
        }
        out.extend_from_slice(INTERRUPTED);
        push_u64(out, reserved.0.unsigned_abs());
        out.extend_from_slice(INTERRUPTED_OTHER);
        push_u64(out, reserved.0.unsigned_abs());
        out.push(b'}');
        push_count(out, "upstream_cost_pico", reserved.0.unsigned_abs());
        self.write_tags(out);
        out.extend_from_slice(b"}\n");
    }

    fn encode_any_length(&self, nonce: i64, line: &mut Vec<u8>) {
        write_line(line, |out| self.write(nonce, out));
    }

    /// The fields with columns in the table, which are read without the rest.
    fn write_columns(&self, nonce: i64, charged: Option<Pico>, out: &mut Vec<u8>) {
        out.push(b'{');
        push_integer(out, "nonce", nonce);
        push_integer(out, "started_at_ms", self.started_at_ms);
        push_text(out, "request_id", &self.request_id);
        push_text(out, "key_id", &self.key_id);
        push_text(out, "project", &self.project);
        if let Some(charged) = charged {
            push_integer(out, "charged_pico", charged.0);
        }
        if let Some(node) = &self.node {
            push_text(out, "node", node);
        }
    }

    fn write_tags(&self, out: &mut Vec<u8>) {
        if !self.tags.is_empty() {
            push_key(out, "tags");
            out.push(b'{');
            self.tags.iter().for_each(|(name, value)| push_text(out, name, value));
            out.push(b'}');
        }
    }

    /// The JSON. Members that are zero, empty or none are omitted, which makes it a third shorter.
    fn write(&self, nonce: i64, out: &mut Vec<u8>) {
        self.write_columns(nonce, self.cost.map(|cost| cost.total), out);
        push_count(out, "duration_ms", self.duration_ms);
        if let Some(ttft_ms) = self.ttft_ms {
            push_count(out, "ttft_ms", ttft_ms);
        }
        push_text(out, "requested_model", &self.requested_model);
        for (name, text) in [
            ("requested_provider", &self.requested_provider),
            ("used_model", &self.used_model),
            ("used_provider", &self.used_provider),
            ("underlying_model", &self.underlying_model),
            ("error_kind", &self.error_kind),
            ("finish_reason", &self.finish_reason),
            ("session_id", &self.session_id),
        ] {
            if let Some(text) = text {
                push_text(out, name, text);
            }
        }
        push_list(out, "attempts", &self.attempts, write_attempt);
        push_count(out, "status", u64::from(self.status));
        for (name, flag) in [
            ("canceled", self.canceled),
            ("streamed", self.streamed),
            ("usage_estimated", self.usage_estimated),
        ] {
            if flag {
                push_key(out, name);
                out.extend_from_slice(b"true");
            }
        }
        if let Some(usage) = &self.usage {
            push_key(out, "usage");
            write_usage(usage, out);
        }
        if let Some(amount) = &self.amount {
            push_key(out, "amount");
            out.push(b'{');
            push_text(out, "unit", amount.unit.as_str());
            push_count(out, "count", amount.count);
            out.push(b'}');
        }
        if let Some(operation) = &self.operation {
            push_text(out, "operation", operation);
        }
        if let Some(cost) = &self.cost {
            push_key(out, "cost_pico");
            write_cost(cost, out);
        }
        if let Some(cost) = &self.upstream_cost {
            push_integer(out, "upstream_cost_pico", cost.0);
        }
        push_list(out, "losses", &self.losses, write_loss);
        if !self.guardrails.is_empty() {
            push_list(out, "guardrails", &self.guardrails, write_guardrail);
        }
        self.write_tags(out);
        if let Some(dialect) = &self.dialect {
            push_text(out, "dialect", dialect);
        }
        if let Some(cache) = &self.cache {
            push_text(out, "cache", cache);
        }
        if let Some(phases) = &self.phases {
            write_phases(phases, out);
        }
        if let Some(decision) = &self.decision {
            push_key(out, "decision");
            out.extend_from_slice(decision.to_string().as_bytes());
        }
        out.push(b'}');
    }
}

/// Writes a line with its end, replacing what was there.
pub(crate) fn write_line(line: &mut Vec<u8>, json: impl FnOnce(&mut Vec<u8>)) {
    line.clear();
    line.extend_from_slice(b"00000000 ");
    json(line);
    replace_nul(line);
    let checksum = checksum(&line[CHECKSUM_BYTES..]);
    line[..CHECKSUM_BYTES].copy_from_slice(&checksum);
    line.push(b'\n');
}

/// A text, up to [`MAX_TEXT_BYTES`].
fn push_text(out: &mut Vec<u8>, name: &str, text: &str) {
    let text =
        if text.len() > MAX_TEXT_BYTES { &text[..text.floor_char_boundary(MAX_TEXT_BYTES)] } else { text };
    write::push_text(out, name, text);
}

fn push_integer(out: &mut Vec<u8>, name: &str, number: i64) {
    push_key(out, name);
    if number < 0 {
        out.push(b'-');
    }
    push_u64(out, number.unsigned_abs());
}

fn write_attempt(attempt: &AttemptRecord, out: &mut Vec<u8>) {
    out.push(b'{');
    push_text(out, "provider", &attempt.provider);
    push_text(out, "model", &attempt.model);
    for (name, text) in [("key", &attempt.key), ("error_type", &attempt.error_type)] {
        if !text.is_empty() {
            push_text(out, name, text);
        }
    }
    push_count(out, "status_code", u64::from(attempt.status_code));
    if attempt.start_ms > 0 {
        push_count(out, "start_ms", attempt.start_ms);
    }
    push_count(out, "latency_ms", attempt.latency_ms);
    if let Some(id) = &attempt.provider_request_id {
        push_text(out, "provider_request_id", id);
    }
    out.push(b'}');
}

fn write_phases(phases: &Phases, out: &mut Vec<u8>) {
    push_key(out, "phases");
    for (index, time) in phases.list().into_iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        push_u64(out, time);
    }
    out.push(b']');
}

fn write_loss(loss: &LossRecord, out: &mut Vec<u8>) {
    out.push(b'{');
    push_text(out, "field", &loss.field);
    push_text(out, "action", &loss.action);
    push_text(out, "reason", &loss.reason);
    out.push(b'}');
}

fn write_guardrail(record: &GuardrailRecord, out: &mut Vec<u8>) {
    out.push(b'{');
    push_text(out, "guardrail", &record.guardrail);
    push_text(out, "on", &record.on);
    push_text(out, "action", &record.action);
    push_count(out, "count", record.count);
    out.push(b'}');
}

fn write_usage(usage: &Usage, out: &mut Vec<u8>) {
    out.push(b'{');
    for (name, count) in [
        ("input", usage.input),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("cache_write_1h", usage.cache_write_1h),
        ("audio_input", usage.audio_input),
        ("output", usage.output),
        ("audio_output", usage.audio_output),
        ("image_output", usage.image_output),
        ("reasoning", usage.reasoning),
        ("web_searches", usage.web_searches),
    ] {
        if count != 0 {
            push_count(out, name, count);
        }
    }
    out.push(b'}');
}

fn write_cost(cost: &Cost, out: &mut Vec<u8>) {
    out.push(b'{');
    push_integer(out, "total", cost.total.0);
    for (name, amount) in [
        ("input", cost.input),
        ("output", cost.output),
        ("cached_input", cost.cached_input),
        ("other", cost.other),
    ] {
        if amount.0 != 0 {
            push_integer(out, name, amount.0);
        }
    }
    out.push(b'}');
}

static NUL: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"\\u0000"));

/// PostgreSQL cannot store U+0000, and one such record would block all that follow: it is replaced by U+FFFD.
fn replace_nul(line: &mut [u8]) {
    if !may_have_unicode_escape(line) {
        return;
    }
    let mut from = 0;
    while let Some(found) = NUL.find(&line[from..]) {
        let at = from + found;
        line[at + 2..at + 6].copy_from_slice(b"fffd");
        from = at + 6;
    }
}

fn checksum(json: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let sum = crc32fast::hash(json);
    let digit = |index: usize| char::from_digit(sum >> (28 - 4 * index) & 15, 16).map_or(b' ', |it| it as u8);
    std::array::from_fn(|index| if index < 8 { digit(index) } else { b' ' })
}

/// The JSON of a line without its line end; none if the line is damaged.
pub(crate) fn record_of(line: &[u8]) -> Option<&str> {
    let (sum, json) = line.split_at_checked(CHECKSUM_BYTES)?;
    if sum != checksum(json) {
        return None;
    }
    str::from_utf8(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_bit_is_noticed() {
        let mut line = Vec::new();
        UsageRecord { key_id: "k".to_owned(), ..UsageRecord::default() }.encode(1, &mut line);
        line.pop();
        assert!(record_of(&line).is_some());
        for bit in 0..line.len() * 8 {
            let mut damaged = line.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(record_of(&damaged).is_none(), "bit {bit}");
        }
        assert!((0..line.len()).all(|length| record_of(&line[..length]).is_none()));
    }
}
