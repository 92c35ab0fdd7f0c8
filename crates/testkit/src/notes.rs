//! The gateway's additions to an answer, the same in every test.

use std::sync::atomic::{AtomicU32, Ordering};

use canon::{Annotator, AnswerFacts, Cost, Usage};

/// Annotates answers with fixed values.
#[derive(Debug)]
pub struct Notes {
    pub answer_id: &'static str,
    pub created: i64,
    pub model: &'static str,
    /// The price of every answer.
    pub cost: Option<Cost>,
    pub metadata_name: Option<&'static str>,
    /// The gateway's object, as JSON.
    pub metadata: &'static str,
    pub tool_call_id: &'static str,
    /// Numbers the calls, if each call needs an id of its own: the number is appended to `tool_call_id`.
    pub calls: Option<AtomicU32>,
}

impl Default for Notes {
    fn default() -> Self {
        Self {
            answer_id: "chatcmpl-ours",
            created: 1_700_000_000,
            model: "ours",
            cost: None,
            metadata_name: Some("metadata"),
            metadata: "{\"request_id\":\"r1\"}",
            tool_call_id: "call_ours",
            calls: None,
        }
    }
}

impl Annotator for Notes {
    fn answer_id(&self) -> &str {
        self.answer_id
    }
    fn created(&self) -> i64 {
        self.created
    }
    fn model(&self) -> &str {
        self.model
    }
    fn cost(&self, _usage: &Usage, _tier: Option<&str>) -> Option<Cost> {
        self.cost
    }
    fn metadata_name(&self) -> Option<&'static str> {
        self.metadata_name
    }
    fn write_metadata(&self, _facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(self.metadata.as_bytes());
    }
    fn tool_call_id(&self) -> String {
        match &self.calls {
            Some(calls) => format!("{}{}", self.tool_call_id, calls.fetch_add(1, Ordering::Relaxed)),
            None => self.tool_call_id.to_owned(),
        }
    }
}
