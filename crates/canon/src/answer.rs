//! The data that the gateway adds to an answer and reads from it.

use crate::write::push_key;
use crate::{Amount, Cost, FinishReason, Json, Usage};

/// The facts about an answer while it passes through: the source of the usage record.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    /// The caller can see that something has been produced: from here on there is no fallback.
    pub content_started: bool,
    /// The provider said that the answer is complete.
    pub finished: bool,
    /// Why it ended (the first choice's reason).
    pub finish_reason: Option<FinishReason>,
    /// Token counts, as last reported.
    pub usage: Option<Usage>,
    /// Use that is billed by a unit other than tokens.
    pub amount: Option<Amount>,
    /// The model that the provider reports.
    pub model: Option<String>,
    /// The service tier that the provider reports.
    pub service_tier: Option<String>,
    /// Characters produced so far (text, thinking, arguments): the basis of an estimate when no counts
    /// arrive.
    pub output_chars: u64,
}

/// The facts that an answer's metadata may depend on.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnswerFacts<'a> {
    /// The model that the provider reports.
    pub underlying_model: Option<&'a str>,
    /// Token counts, if known by now.
    pub usage: Option<&'a Usage>,
}

/// Information that the gateway adds to an answer. The wire format decides on the place, the gateway on the
/// content.
pub trait Annotator: Send {
    /// The id of the answer where the provider gave none.
    fn answer_id(&self) -> &str;
    /// Unix seconds at which the request arrived.
    fn created(&self) -> i64;
    /// The model to name where the provider names none.
    fn model(&self) -> &str;
    /// The cost of the tokens in the service tier that the answer names; none when a price is unknown.
    fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Option<Cost>;
    /// The name of the gateway's object in an answer of OpenAI's format; none where the caller wants none.
    fn metadata_name(&self) -> Option<&'static str> {
        Some("metadata")
    }
    /// Appends the gateway's object, under its name, to an object that already has members.
    fn write_member(&self, facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        if let Some(name) = self.metadata_name() {
            push_key(out, name);
            self.write_metadata(facts, out);
        }
    }
    /// The same with the cost of the answer as `cost`, for formats whose usage has no field for it.
    fn write_member_with_cost(&self, facts: AnswerFacts<'_>, service_tier: Option<&str>, out: &mut Vec<u8>) {
        if self.metadata_name().is_none() {
            return;
        }
        let cost = facts.usage.and_then(|usage| self.cost(usage, service_tier));
        self.write_member(facts, out);
        if out.last() != Some(&b'}') {
            return;
        }
        out.pop();
        push_key(out, "cost");
        let amounts = cost.map(|cost| {
            [
                ("usd_total", cost.total),
                ("usd_input", cost.input),
                ("usd_output", cost.output),
                ("usd_cached_input", cost.cached_input),
            ]
        });
        match amounts {
            None => out.extend_from_slice(b"null"),
            Some(amounts) => {
                out.push(b'{');
                for (name, amount) in amounts {
                    push_key(out, name);
                    amount.push(out);
                }
                out.push(b'}');
            }
        }
        out.push(b'}');
    }
    /// Appends the `metadata` object, as JSON.
    fn write_metadata(&self, facts: AnswerFacts<'_>, out: &mut Vec<u8>);
    /// The `metadata` object as a value.
    fn metadata(&self, facts: AnswerFacts<'_>) -> Json {
        let mut out = Vec::new();
        self.write_metadata(facts, &mut out);
        String::from_utf8(out).ok().and_then(|text| Json::parse(text).ok()).unwrap_or_else(|| Json::of(&()))
    }
    /// A new tool-call id, unique across users.
    fn tool_call_id(&self) -> String;
}

impl<A: Annotator + Sync + ?Sized> Annotator for std::sync::Arc<A> {
    fn answer_id(&self) -> &str {
        (**self).answer_id()
    }
    fn created(&self) -> i64 {
        (**self).created()
    }
    fn model(&self) -> &str {
        (**self).model()
    }
    fn cost(&self, usage: &Usage, service_tier: Option<&str>) -> Option<Cost> {
        (**self).cost(usage, service_tier)
    }
    fn metadata_name(&self) -> Option<&'static str> {
        (**self).metadata_name()
    }
    fn write_metadata(&self, facts: AnswerFacts<'_>, out: &mut Vec<u8>) {
        (**self).write_metadata(facts, out);
    }
    fn tool_call_id(&self) -> String {
        (**self).tool_call_id()
    }
}
