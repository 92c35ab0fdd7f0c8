//! Requests for thinking by fields of each family's own API.

use canon::{Effort, Field, Losses, ModelFacts, ReasoningControl, Request};
use serde_json::{Map, Value, json};

use super::family::Family;
use crate::protocols::anthropic_messages::thinking::Family as Claude;
use crate::protocols::unsupported::{BUDGET, lose_budget, lose_thinking, requested_field};

/// Anthropic's smallest budget.
const SMALLEST_BUDGET: u64 = 1024;
/// Space for the answer besides the thinking, where neither the caller nor the catalog sets a limit.
const USUAL_ANSWER: u64 = 8192;

/// The decision about thinking, and its consequences.
#[derive(Debug, Default)]
pub(super) struct Thinking {
    /// For `additionalModelRequestFields`.
    pub fields: Map<String, Value>,
    /// The model thinks and then refuses sampling parameters.
    pub is_on: bool,
    /// It thinks with a budget and cannot be forced to call a tool.
    pub has_budget: bool,
    /// The output limit that the budget requires, instead of the caller's.
    pub max_tokens: Option<u64>,
    /// No limit and no sampling parameter may be sent.
    pub no_inference_config: bool,
}

/// Decides about thinking. `blocked` is the reason why the rest of the request excludes it.
pub(super) fn decide(
    request: &Request,
    family: Family,
    facts: &ModelFacts,
    blocked: Option<&'static str>,
    losses: &mut Losses,
) -> Thinking {
    let reasoning = &request.reasoning;
    if reasoning.is_unset() {
        return Thinking::default();
    }
    if let (Some(reason), true) = (blocked, reasoning.is_on()) {
        lose_thinking(request, reason, losses);
        return Thinking::default();
    }
    let control = facts.reasoning.clone().filter(is_known).unwrap_or_else(|| usual_control(family));
    match control {
        ReasoningControl::None if !reasoning.is_on() => Thinking::default(),
        ReasoningControl::None => {
            lose_thinking(request, "The model does not think.", losses);
            Thinking::default()
        }
        ReasoningControl::Budget { min, max, can_disable } => {
            budget(request, facts, (min.max(SMALLEST_BUDGET), max), can_disable, losses)
        }
        ReasoningControl::Effort { levels } => effort(request, family, &levels, losses),
        _ => {
            lose_thinking(request, "The model always thinks, and its thinking cannot be controlled.", losses);
            Thinking::default()
        }
    }
}

/// Controls that this API supports; others in the catalog belong to other APIs.
fn is_known(control: &ReasoningControl) -> bool {
    matches!(
        control,
        ReasoningControl::None
            | ReasoningControl::Always
            | ReasoningControl::Budget { .. }
            | ReasoningControl::Effort { .. }
    )
}

/// True when thinking is controlled by a budget, if at all.
pub(super) fn takes_budget(family: Family, facts: &ModelFacts) -> bool {
    let control = facts.reasoning.clone().filter(is_known).unwrap_or_else(|| usual_control(family));
    matches!(control, ReasoningControl::Budget { .. })
}

/// The control of a family that the catalog does not describe.
fn usual_control(family: Family) -> ReasoningControl {
    use Effort::*;
    let levels = |levels: &[Effort]| ReasoningControl::Effort { levels: levels.to_vec() };
    match family {
        Family::Claude(Some(generation)) => match (generation.family, generation.version) {
            (_, version) if version < (3, 7) => ReasoningControl::None,
            (_, version) if version < (4, 6) => {
                ReasoningControl::Budget { min: SMALLEST_BUDGET, max: 65_536, can_disable: true }
            }
            (_, (4, 6)) => levels(&[None, Low, Medium, High, Max]),
            (Claude::Story, _) => levels(&[Low, Medium, High, Xhigh, Max]),
            (Claude::Opus | Claude::Sonnet, version) if version >= (5, 5) => {
                levels(&[Low, Medium, High, Xhigh, Max])
            }
            _ => levels(&[None, Low, Medium, High, Xhigh, Max]),
        },
        Family::Nova { second: true } => levels(&[None, Low, Medium, High]),
        Family::GptOss | Family::DeepSeek { r1: false } => levels(&[Low, Medium, High]),
        Family::Gpt => levels(&[None, Low, Medium, High, Xhigh]),
        Family::Qwen => levels(&[Low, High]),
        Family::DeepSeek { r1: true } => ReasoningControl::Always,
        _ => ReasoningControl::None,
    }
}

/// Claude before 4.6: a budget in tokens, smaller than the output limit.
fn budget(
    request: &Request,
    facts: &ModelFacts,
    (min, max): (u64, u64),
    can_disable: bool,
    losses: &mut Losses,
) -> Thinking {
    let reasoning = &request.reasoning;
    if !reasoning.is_on() {
        if !can_disable {
            lose_thinking(request, "The model's thinking cannot be switched off.", losses);
        }
        return Thinking::default();
    }
    let effort = reasoning.effort.unwrap_or(Effort::Medium);
    let mut budget = reasoning.budget_tokens.unwrap_or_else(|| effort.budget()).clamp(min, max.max(min));
    let asked = request.max_tokens.or(facts.max_output_tokens);
    let mut limit = asked.unwrap_or(budget + USUAL_ANSWER);
    if limit <= budget {
        limit += budget;
    }
    if let Some(most) = facts.max_output_tokens.filter(|most| *most < limit) {
        limit = most;
        budget = budget.min(most.saturating_sub(most / 4));
    }
    if budget < SMALLEST_BUDGET || budget >= limit {
        lose_thinking(request, "The model's output limit leaves no room for thinking.", losses);
        return Thinking::default();
    }
    if request.max_tokens.is_some_and(|tokens| tokens != limit) {
        losses.approximated(Field::MaxTokens, "The limit was raised: it includes the thinking budget.");
    }
    if reasoning.budget_tokens.is_some_and(|tokens| tokens != budget) {
        losses.approximated(BUDGET, "The budget was moved into the model's range.");
    }
    let thinking = json!({"type": "enabled", "budget_tokens": budget});
    Thinking {
        fields: Map::from_iter([("thinking".to_owned(), thinking)]),
        is_on: true,
        has_budget: true,
        max_tokens: Some(limit),
        no_inference_config: false,
    }
}

/// Families with effort levels.
fn effort(request: &Request, family: Family, levels: &[Effort], losses: &mut Losses) -> Thinking {
    let reasoning = &request.reasoning;
    let wanted =
        reasoning.effort.unwrap_or_else(|| Effort::of_budget(reasoning.budget_tokens.unwrap_or_default()));
    let Some(level) = wanted.nearest(levels) else {
        lose_thinking(request, "The model does not accept a level of thinking.", losses);
        return Thinking::default();
    };
    if wanted == Effort::None && level != Effort::None && family == Family::Qwen {
        lose_thinking(request, "The model cannot switch its thinking off.", losses);
        return Thinking::default();
    }
    lose_budget(request, losses);
    if level != wanted {
        losses.approximated(requested_field(request), "The nearest level that the model accepts was sent.");
    }
    let word = level.as_str();
    let mut fields = Map::new();
    let mut thinking = Thinking::default();
    match family {
        Family::Claude(..) if level == Effort::None => {
            fields.insert("thinking".to_owned(), json!({"type": "disabled"}));
        }
        Family::Claude(..) => {
            if wanted != Effort::None {
                thinking.is_on = true;
                fields.insert("thinking".to_owned(), json!({"type": "adaptive", "display": "summarized"}));
            }
            fields.insert("output_config".to_owned(), json!({"effort": word}));
        }
        Family::Nova { .. } if level == Effort::None => {
            fields.insert("reasoningConfig".to_owned(), json!({"type": "disabled"}));
        }
        Family::Nova { .. } => {
            // "When maxReasoningEffort is high, temperature, topP and maxTokens must be unset" (Nova 2 user guide).
            thinking.no_inference_config = level == Effort::High;
            fields
                .insert("reasoningConfig".to_owned(), json!({"type": "enabled", "maxReasoningEffort": word}));
        }
        Family::Gpt => {
            fields.insert("reasoning".to_owned(), json!({"effort": word}));
        }
        Family::Qwen => {
            fields.insert("reasoning_config".to_owned(), json!(word));
        }
        _ => {
            fields.insert("reasoning_effort".to_owned(), json!(word));
        }
    }
    thinking.fields = fields;
    thinking
}
