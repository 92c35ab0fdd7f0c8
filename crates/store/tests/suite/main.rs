//! Tests of the store: the spool, the writer, both databases.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a helper of a test that panics fails the test"
)]

mod bodies;
mod conversations;
mod keys;
mod migrate;
mod open;
mod postgres;
mod projects;
mod requests;
mod responses;
mod retention;
mod rollups;
mod sessions;
mod spool;
mod trouble;
mod usage;
mod webhooks;
mod writer;

use canon::{Amount, Cost, Pico, Unit, Usage};
use store::{
    AttemptRecord, LossRecord, Spool, SpoolLimits, SpoolReader, Store, UsageRecord, Writer, WriterEvent,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

const PLENTY: SpoolLimits = SpoolLimits { max_bytes: 64 << 20 };

/// A record with little in it.
fn record(request_id: &str, started_at_ms: i64) -> UsageRecord {
    UsageRecord {
        request_id: request_id.to_owned(),
        started_at_ms,
        key_id: "static:test".to_owned(),
        requested_model: "demo/echo".to_owned(),
        status: 200,
        ..UsageRecord::default()
    }
}

/// A record with everything in it.
fn full_record() -> UsageRecord {
    UsageRecord {
        request_id: "chatcmpl-1".to_owned(),
        started_at_ms: 1_760_000_000_123,
        duration_ms: 812,
        ttft_ms: Some(0),
        key_id: "key_0123456789abcdef".to_owned(),
        requested_model: "fäst \"model\"\n".to_owned(),
        requested_provider: Some("alpha".to_owned()),
        used_model: Some("one".to_owned()),
        used_provider: Some("beta".to_owned()),
        underlying_model: Some("one-2025".to_owned()),
        attempts: vec![
            AttemptRecord {
                provider: "alpha".to_owned(),
                model: "one".to_owned(),
                key: String::new(),
                status_code: 503,
                error_type: "upstream_error".to_owned(),
                start_ms: 3,
                latency_ms: 12,
                provider_request_id: Some("req_1".to_owned()),
            },
            AttemptRecord { provider: "beta".to_owned(), status_code: 200, ..AttemptRecord::default() },
        ],
        status: 200,
        error_kind: Some("upstream".to_owned()),
        canceled: true,
        streamed: true,
        usage: Some(Usage {
            input: 1,
            cache_read: 2,
            output: u64::from(u32::MAX),
            reasoning: 3,
            ..Usage::default()
        }),
        usage_estimated: true,
        amount: Some(Amount { unit: Unit::SearchUnit, count: 4 }),
        operation: Some("rerank".into()),
        cost: Some(Cost { total: Pico(i64::MAX), input: Pico(1), other: Pico(2), ..Cost::default() }),
        upstream_cost: Some(Pico(i64::MAX)),
        finish_reason: Some("stop".to_owned()),
        losses: vec![LossRecord {
            field: "seed".into(),
            action: "dropped".into(),
            reason: "no such field".into(),
        }],
        session_id: Some("s\u{0}1".to_owned()),
        project: "team-a".to_owned(),
        node: Some("01a21c04e6ec712bb946971ee3bda9f0".into()),
        tags: [("env".to_owned(), "prød".to_owned()), ("team".to_owned(), "a".to_owned())].into(),
        dialect: Some("gemini".into()),
        cache: Some("miss".into()),
        phases: Some([1, 2, 3, 4, 5, 6, 7, u64::from(u32::MAX)].into()),
        guardrails: vec![store::GuardrailRecord {
            guardrail: "email".to_owned(),
            on: "input".into(),
            action: "redacted".into(),
            count: 2,
        }],
        decision: Some(serde_json::json!({"reason": "best \"score\"", "scores": [1.5]})),
    }
}

fn spool(folder: &TempDir) -> (Spool, SpoolReader) {
    Spool::open(&folder.path().join("spool"), PLENTY).unwrap()
}

async fn memory() -> Store {
    Store::open("sqlite::memory:").await.unwrap()
}

/// Moves everything into the store, as at a graceful stop; returns the writer's events.
async fn drain(store: &Store, reader: SpoolReader) -> Vec<WriterEvent> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    Writer::new(store.clone(), reader, move |event| sender.send(event).unwrap()).run(async {}).await;
    let mut events = Vec::new();
    while let Some(event) = receiver.recv().await {
        events.push(event);
    }
    events
}

/// The request ids in the store, in order.
async fn request_ids(store: &Store) -> Vec<String> {
    let mut ids: Vec<String> =
        store.usage(Default::default()).await.unwrap().into_iter().map(|record| record.request_id).collect();
    ids.sort();
    ids
}
