//! What the gateway adds to an answer: ids, cost, and the metadata that tells what it did.

use std::sync::{Arc, OnceLock};

use canon::{Annotator, AnswerFacts, Cost, Json, Losses, Usage};
use catalog::Serving;
use store::AttemptRecord;
use tokio::time::Instant;

/// The envelope of one answer.
pub struct Envelope {
    /// The request's id.
    pub request_id: String,
    /// The answer's id where the provider gives none; made when it is asked for.
    pub answer_id: OnceLock<String>,
    /// Unix seconds.
    pub created: i64,
    /// The model as the caller wrote it.
    pub requested_model: String,
    /// The provider that the caller pinned.
    pub requested_provider: Option<String>,
    /// The model that was asked of the provider.
    pub used_model: String,
    /// Who answered.
    pub used_provider: String,
    /// The label of the key that was used.
    pub key: String,
    /// The attempts before this one.
    pub earlier: Vec<AttemptRecord>,
    /// When this attempt began.
    pub attempt_started: Instant,
    /// Why this provider, as JSON.
    pub selection: Json,
    /// What the translation lost.
    pub losses: Losses,
    /// Prices.
    pub serving: Option<Arc<Serving>>,
}

impl Annotator for Envelope {
    fn answer_id(&self) -> &str {
        self.answer_id.get_or_init(|| format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()))
    }

    fn created(&self) -> i64 {
        self.created
    }

    fn model(&self) -> &str {
        &self.used_model
    }

    fn cost(&self, usage: &Usage) -> Option<Cost> {
        Some(self.serving.as_ref()?.price.as_ref()?.cost(usage, None))
    }

    fn metadata(&self, facts: AnswerFacts<'_>) -> Json {
        let this = AttemptRecord {
            provider: self.used_provider.clone(),
            model: self.used_model.clone(),
            key: self.key.clone(),
            status_code: 200,
            error_type: String::new(),
            latency_ms: self.attempt_started.elapsed().as_millis() as u64,
        };
        Json::of(&Metadata {
            request_id: &self.request_id,
            requested_model: &self.requested_model,
            requested_provider: self.requested_provider.as_deref(),
            used_model: &self.used_model,
            used_provider: &self.used_provider,
            underlying_used_model: facts.underlying_model.unwrap_or(&self.used_model),
            routing: self.earlier.iter().chain(std::iter::once(&this)).map(Attempt::of).collect(),
            selection: &self.selection,
            losses: &self.losses,
        })
    }

    fn tool_call_id(&self) -> String {
        format!("call_{}", uuid::Uuid::now_v7().simple())
    }
}

/// `metadata` of a response.
#[derive(serde::Serialize)]
struct Metadata<'a> {
    request_id: &'a str,
    requested_model: &'a str,
    requested_provider: Option<&'a str>,
    used_model: &'a str,
    used_provider: &'a str,
    underlying_used_model: &'a str,
    routing: Vec<Attempt<'a>>,
    selection: &'a Json,
    losses: &'a Losses,
}

/// One entry of `metadata.routing`.
#[derive(serde::Serialize)]
pub struct Attempt<'a> {
    provider: &'a str,
    model: &'a str,
    status_code: u16,
    error_type: &'a str,
    latency_ms: u64,
    key: &'a str,
}

impl<'a> Attempt<'a> {
    /// The entry of an attempt.
    pub fn of(attempt: &'a AttemptRecord) -> Self {
        Self {
            provider: &attempt.provider,
            model: &attempt.model,
            status_code: attempt.status_code,
            error_type: &attempt.error_type,
            latency_ms: attempt.latency_ms,
            key: &attempt.key,
        }
    }
}
