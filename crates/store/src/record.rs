//! The record of a request. `line.rs` writes it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use canon::{Amount, Cost, Loss, Pico, Usage};
use serde::{Deserialize, Deserializer};

/// The length of a text, and of a list, in a record whose line is too long.
const SHORT_TEXT_BYTES: usize = 256;
const SHORT_LIST_ITEMS: usize = 32;

/// One usage record: the caller, the request, the events and the cost.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct UsageRecord {
    /// The id that the response carried. Clients may choose it, so that it need not be unique.
    pub request_id: String,
    /// When the request arrived, in milliseconds since 1970.
    pub started_at_ms: i64,
    /// From the arrival to the last byte.
    pub duration_ms: u64,
    /// From the arrival to the first produced token.
    pub ttft_ms: Option<u64>,
    /// `static:<label>` or the id of a key in the database; never the key itself.
    pub key_id: String,
    pub project: String,
    /// The process that served it, where several share budgets.
    pub node: Option<Cow<'static, str>>,
    /// The model as the client wrote it.
    pub requested_model: String,
    /// The provider that the client chose.
    pub requested_provider: Option<String>,
    /// The model that answered.
    pub used_model: Option<String>,
    /// The provider that answered.
    pub used_provider: Option<String>,
    /// The model that the provider reported.
    pub underlying_model: Option<String>,
    /// Every attempt, in order.
    pub attempts: Vec<AttemptRecord>,
    /// The HTTP status that the client got.
    pub status: u16,
    /// The kind of the error, if the request failed.
    pub error_kind: Option<String>,
    /// True when the client hung up before the end.
    pub canceled: bool,
    /// True for a streamed answer.
    pub streamed: bool,
    pub usage: Option<Usage>,
    /// True when the provider reported no counts and they were estimated.
    pub usage_estimated: bool,
    /// The quantity of a unit other than tokens.
    pub amount: Option<Amount>,
    /// The operation, if it is not a conversation: `embeddings`, `rerank` …
    pub operation: Option<Cow<'static, str>>,
    /// The cost in 10⁻¹² USD; `None` when a price is unknown.
    #[serde(deserialize_with = "read_cost", rename = "cost_pico")]
    pub cost: Option<Cost>,
    /// The providers' bill, as far as it is known, in 10⁻¹² USD, including broken and cancelled answers,
    /// which are not charged. `None` when a price is unknown.
    #[serde(deserialize_with = "read_amount", rename = "upstream_cost_pico")]
    pub upstream_cost: Option<Pico>,
    /// Why the answer ended.
    pub finish_reason: Option<String>,
    pub losses: Vec<LossRecord>,
    /// The session that the client named.
    pub session_id: Option<String>,
    /// The tags: those of the project, of the key, and of the request itself.
    pub tags: BTreeMap<String, String>,
    /// The caller's format, if it is not OpenAI's chat completions.
    pub dialect: Option<Cow<'static, str>>,
    /// The time by phase; absent in records of earlier releases.
    pub phases: Option<Phases>,
    pub guardrails: Vec<GuardrailRecord>,
    /// Scores, exclusions and reasons of routing; stored for some requests.
    pub decision: Option<serde_json::Value>,
    /// The effect of the response cache: `hit` or `miss`; none where it was not used.
    pub cache: Option<Cow<'static, str>>,
}

/// The time of a request by phase, in microseconds. From `plan` on the phases add up to the duration; earlier
/// ones are not part of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "[u64; 8]")]
pub struct Phases {
    /// Until the caller was identified: the key, a free place for the request.
    pub admission: u64,
    /// Until the body was read.
    pub reading: u64,
    /// Until the first attempt: the names of models, the choice, budgets and limits.
    pub plan: u64,
    /// Between attempts, by rule.
    pub queue: u64,
    /// Connections to providers that had to be opened.
    pub connect: u64,
    /// Attempts without connecting: until a stream's first content, a whole answer or a failure.
    pub wait: u64,
    /// From a stream's first content to its end.
    pub stream: u64,
    /// From a whole answer to the record.
    pub settle: u64,
}

impl From<[u64; 8]> for Phases {
    fn from([admission, reading, plan, queue, connect, wait, stream, settle]: [u64; 8]) -> Self {
        Self { admission, reading, plan, queue, connect, wait, stream, settle }
    }
}

impl Phases {
    /// In the order of time.
    pub fn list(&self) -> [u64; 8] {
        let Self { admission, reading, plan, queue, connect, wait, stream, settle } = *self;
        [admission, reading, plan, queue, connect, wait, stream, settle]
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    pub provider: String,
    /// The model, as the provider calls it.
    pub model: String,
    /// The label of the key that was used; empty for a provider without keys. Never the key.
    pub key: String,
    /// The upstream's HTTP status; 0 when there was none.
    pub status_code: u16,
    /// The kind of the error; empty on success.
    pub error_type: String,
    /// When the attempt began, in milliseconds after the request.
    pub start_ms: u64,
    /// How long the attempt took.
    pub latency_ms: u64,
    /// The provider's own id of the request, if it gave one.
    pub provider_request_id: Option<String>,
}

/// A loss of the translation: a [`Loss`] that can be deserialised.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LossRecord {
    /// The request field, as a JSON path.
    pub field: Cow<'static, str>,
    /// `dropped`, `approximated` or `emulated`.
    pub action: Cow<'static, str>,
    /// Why, in a short sentence.
    pub reason: Cow<'static, str>,
}

/// An action of a guardrail, without the matched text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct GuardrailRecord {
    pub guardrail: String,
    /// `input` or `output`.
    pub on: Cow<'static, str>,
    /// `redacted`, `denied`, `unchecked` or `unavailable`.
    pub action: Cow<'static, str>,
    pub count: u64,
}

impl From<&Loss> for LossRecord {
    fn from(loss: &Loss) -> Self {
        Self { field: loss.field.name(), action: loss.action.as_str().into(), reason: loss.reason.clone() }
    }
}

impl UsageRecord {
    /// The record with shortened texts and lists. Clients choose some of them (the model, the session), and
    /// no single request may fill the disk.
    pub(crate) fn shortened(&self) -> Self {
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
        record.decision = None;
        record.attempts.truncate(SHORT_LIST_ITEMS);
        record.losses.truncate(SHORT_LIST_ITEMS);
        record.guardrails.truncate(SHORT_LIST_ITEMS);
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

fn read_amount<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pico>, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.map(Pico))
}

/// Money as integers of 10⁻¹² USD: exact, and cheap to sum in SQL.
fn read_cost<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cost>, D::Error> {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Amounts {
        total: i64,
        input: i64,
        output: i64,
        cached_input: i64,
        other: i64,
    }
    let amounts = Option::<Amounts>::deserialize(deserializer)?;
    Ok(amounts.map(|amounts| Cost {
        total: Pico(amounts.total),
        input: Pico(amounts.input),
        output: Pico(amounts.output),
        cached_input: Pico(amounts.cached_input),
        other: Pico(amounts.other),
    }))
}
