//! What is kept of each request, and its form as one line of JSON.

use std::borrow::Cow;

use canon::{Cost, Loss, Pico, Usage};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::StoreError;

/// Longer lines are shortened: see [`UsageRecord::shortened`].
const MAX_LINE_BYTES: usize = 64 * 1024;
/// What is kept of a text, and of a list, in a record whose line is too long.
const SHORT_TEXT_BYTES: usize = 256;
const SHORT_LIST_ITEMS: usize = 32;

/// One usage record: who asked for what, what happened, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageRecord {
    /// The id that the response carried. Clients may choose it, so that it need not be unique.
    pub request_id: String,
    /// When the request arrived, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// From the arrival to the last byte.
    pub duration_ms: u64,
    /// From the arrival to the first produced token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttft_ms: Option<u64>,
    /// `static:<label>` or the id of a key in the database; never the key itself.
    pub key_id: String,
    /// The model as the client wrote it.
    pub requested_model: String,
    /// The provider that the client pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requested_provider: Option<String>,
    /// The model that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_model: Option<String>,
    /// The provider that answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used_provider: Option<String>,
    /// The model that the provider said it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underlying_model: Option<String>,
    /// Every attempt, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptRecord>,
    /// The HTTP status that the client got.
    pub status: u16,
    /// The kind of the error, if the request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_kind: Option<String>,
    /// True when the client hung up before the end.
    #[serde(skip_serializing_if = "is_false")]
    pub canceled: bool,
    /// True for a streamed answer.
    #[serde(skip_serializing_if = "is_false")]
    pub streamed: bool,
    /// The tokens.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "usage_without_zeros")]
    pub usage: Option<Usage>,
    /// True when the provider reported no counts and they were estimated.
    #[serde(skip_serializing_if = "is_false")]
    pub usage_estimated: bool,
    /// The cost in 10⁻¹² USD; `None` when a price is unknown.
    #[serde(skip_serializing_if = "Option::is_none", with = "cost_pico", rename = "cost_pico")]
    pub cost: Option<Cost>,
    /// Why the answer ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
    /// What the translation could not carry.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<LossRecord>,
    /// The session that the client named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// One attempt at a provider.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    /// The provider.
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// The label of the key that was used; empty for a provider without keys. Never the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The upstream's HTTP status; 0 when there was none.
    pub status_code: u16,
    /// The kind of the error; empty on success.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error_type: String,
    /// How long the attempt took.
    pub latency_ms: u64,
}

/// One thing that the translation could not carry: a [`Loss`] that can be read back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LossRecord {
    /// The request field, as a JSON path.
    pub field: Cow<'static, str>,
    /// `dropped`, `approximated` or `emulated`.
    pub action: Cow<'static, str>,
    /// Why, in a short sentence.
    pub reason: Cow<'static, str>,
}

impl From<&Loss> for LossRecord {
    fn from(loss: &Loss) -> Self {
        Self { field: loss.field.clone(), action: loss.action.as_str().into(), reason: loss.reason.clone() }
    }
}

impl UsageRecord {
    /// Writes the record to `line` as one line of JSON with its line end, replacing what was there. `nonce` tells
    /// it apart from another record of the same millisecond and request id.
    pub(crate) fn encode(&self, nonce: i64, line: &mut Vec<u8>) -> serde_json::Result<()> {
        self.encode_any_length(nonce, line)?;
        if line.len() > MAX_LINE_BYTES {
            self.shortened().encode_any_length(nonce, line)?;
        }
        Ok(())
    }

    fn encode_any_length(&self, nonce: i64, line: &mut Vec<u8>) -> serde_json::Result<()> {
        use std::io::Write;

        line.clear();
        write!(line, "{{\"nonce\":{nonce}").map_err(serde_json::Error::io)?;
        let start = line.len();
        serde_json::to_writer(&mut *line, self)?;
        line[start] = b',';
        replace_nul(line);
        line.push(b'\n');
        Ok(())
    }

    /// The record with short texts and lists. Clients choose some of them (the model, the session), and none may
    /// fill the disk with one request.
    fn shortened(&self) -> Self {
        let mut record = self.clone();
        let texts = [&mut record.request_id, &mut record.key_id, &mut record.requested_model];
        let optional = [
            &mut record.requested_provider,
            &mut record.used_model,
            &mut record.used_provider,
            &mut record.underlying_model,
            &mut record.error_kind,
            &mut record.finish_reason,
            &mut record.session_id,
        ];
        record.attempts.truncate(SHORT_LIST_ITEMS);
        record.losses.truncate(SHORT_LIST_ITEMS);
        let attempts = record.attempts.iter_mut();
        let of_attempts = attempts.flat_map(|one| [&mut one.provider, &mut one.model, &mut one.error_type]);
        let losses = record.losses.iter_mut();
        let of_losses = losses.flat_map(|one| [one.field.to_mut(), one.action.to_mut(), one.reason.to_mut()]);
        for text in
            texts.into_iter().chain(optional.into_iter().flatten()).chain(of_attempts).chain(of_losses)
        {
            text.truncate(text.floor_char_boundary(SHORT_TEXT_BYTES));
        }
        record
    }
}

/// What the table has columns for, of a line.
#[derive(Deserialize)]
pub(crate) struct Columns<'a> {
    #[serde(default)]
    pub(crate) nonce: i64,
    pub(crate) started_at_ms: i64,
    #[serde(borrow)]
    pub(crate) request_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) key_id: Cow<'a, str>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(line: &'a str) -> Result<Self, StoreError> {
        serde_json::from_str(line)
            .map_err(|error| StoreError::Corrupt { what: "usage line", reason: error.to_string() })
    }
}

/// True for a line that any database takes and that can be read again.
pub(crate) fn is_record(line: &[u8]) -> bool {
    std::str::from_utf8(line)
        .is_ok_and(|line| Columns::of(line).is_ok() && serde_json::from_str::<UsageRecord>(line).is_ok())
}

/// PostgreSQL cannot store U+0000, and one such record would hold up all that follow: it becomes U+FFFD.
fn replace_nul(line: &mut [u8]) {
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(&line[from..], b"\\u0000") {
        let at = from + found;
        line[at + 2..at + 6].copy_from_slice(b"fffd");
        from = at + 6;
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Most buckets are zero in most records: leaving them out makes lines a third shorter.
fn usage_without_zeros<S: Serializer>(usage: &Option<Usage>, serializer: S) -> Result<S::Ok, S::Error> {
    let usage = usage.unwrap_or_default();
    let buckets = [
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
    ];
    let mut map = serializer.serialize_map(None)?;
    for (name, count) in buckets.into_iter().filter(|(_, count)| *count != 0) {
        map.serialize_entry(name, &count)?;
    }
    map.end()
}

/// Money as integers of 10⁻¹² USD: exact, and cheap to sum in SQL.
mod cost_pico {
    use super::*;

    #[derive(Default, Serialize, Deserialize)]
    #[serde(default)]
    struct Line {
        total: i64,
        #[serde(skip_serializing_if = "is_zero")]
        input: i64,
        #[serde(skip_serializing_if = "is_zero")]
        output: i64,
        #[serde(skip_serializing_if = "is_zero")]
        cached_input: i64,
        #[serde(skip_serializing_if = "is_zero")]
        other: i64,
    }

    fn is_zero(amount: &i64) -> bool {
        *amount == 0
    }

    pub(super) fn serialize<S: Serializer>(cost: &Option<Cost>, serializer: S) -> Result<S::Ok, S::Error> {
        cost.map(|cost| Line {
            total: cost.total.0,
            input: cost.input.0,
            output: cost.output.0,
            cached_input: cost.cached_input.0,
            other: cost.other.0,
        })
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cost>, D::Error> {
        let line = Option::<Line>::deserialize(deserializer)?;
        Ok(line.map(|line| Cost {
            total: Pico(line.total),
            input: Pico(line.input),
            output: Pico(line.output),
            cached_input: Pico(line.cached_input),
            other: Pico(line.other),
        }))
    }
}
