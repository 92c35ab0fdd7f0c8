//! The amount of thinking: levels for Gemini 3 and later, token budgets for 2.5, nothing before.
//!
//! The catalog's facts take precedence. Without them the model's name decides (Google's table of thinking
//! levels and budgets). A control that the model does not support is an error there, so in doubt nothing is
//! sent.

use canon::{Effort, Losses, ReasoningControl, Request, Target};
use serde::Serialize;

use crate::protocols::gemini::model::Generation;
use crate::protocols::unsupported::{BUDGET, EFFORT, lose_budget, lose_thinking, requested_field};

/// `generationConfig.thinkingConfig`. Budget and level exclude each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ThinkingConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub include_thoughts: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_budget: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thinking_level: Option<&'static str>,
}

/// The control for the caller's request; none when there is no request for thinking.
pub(super) fn thinking_config(
    request: &Request,
    target: Target<'_>,
    losses: &mut Losses,
) -> Option<ThinkingConfig> {
    let reasoning = &request.reasoning;
    if reasoning.is_unset() {
        return None;
    }
    let control = target.facts.reasoning.clone().or_else(|| control_of_name(target.model));
    let mut config = match control {
        Some(ReasoningControl::Budget { min, max, can_disable }) => {
            by_budget(request, Limits { min, max, can_disable }, losses)
        }
        Some(
            ReasoningControl::Effort { levels }
            | ReasoningControl::Object { levels }
            | ReasoningControl::Toggle { levels, .. },
        ) if !levels.is_empty() => by_level(request, &levels, losses),
        Some(ReasoningControl::None) => {
            if reasoning.is_on() {
                lose_thinking(request, "The model does not think.", losses);
            }
            return None;
        }
        _ => {
            lose_thinking(request, "This model's parameter for the amount of thinking is unknown.", losses);
            return None;
        }
    };
    if reasoning.is_on() && !reasoning.exclude {
        config.include_thoughts = Some(true);
    }
    Some(config)
}

#[derive(Clone, Copy)]
struct Limits {
    min: u64,
    max: u64,
    can_disable: bool,
}

fn by_budget(request: &Request, limits: Limits, losses: &mut Losses) -> ThinkingConfig {
    let reasoning = &request.reasoning;
    let budget = match (reasoning.effort, reasoning.budget_tokens) {
        (Some(Effort::None), _) | (None, Some(0)) => off_budget(reasoning.effort.is_some(), limits, losses),
        (_, Some(asked)) => {
            let budget = asked.clamp(limits.min.max(1), limits.max);
            if budget != asked {
                let reason =
                    format!("The model's thinking budget is {} to {} tokens.", limits.min, limits.max);
                losses.approximated(BUDGET, reason);
            }
            budget
        }
        (Some(effort), None) => budget_of(effort, limits),
        (None, None) => limits.max,
    };
    ThinkingConfig { thinking_budget: Some(budget), ..ThinkingConfig::default() }
}

fn off_budget(by_effort: bool, limits: Limits, losses: &mut Losses) -> u64 {
    if limits.can_disable {
        return 0;
    }
    let field = if by_effort { EFFORT } else { BUDGET };
    losses.approximated(field, "The model's thinking cannot be switched off: its minimum was sent.");
    limits.min
}

/// Google's own table, which differs from the usual one.
fn budget_of(effort: Effort, limits: Limits) -> u64 {
    let tokens = match effort {
        Effort::None => 0,
        Effort::Minimal => 128,
        Effort::Low => 1024,
        Effort::Medium => 8192,
        Effort::High => 16384,
        Effort::Xhigh | Effort::Max => u64::MAX,
    };
    tokens.clamp(limits.min, limits.max)
}

fn by_level(request: &Request, levels: &[Effort], losses: &mut Losses) -> ThinkingConfig {
    let reasoning = &request.reasoning;
    lose_budget(request, losses);
    let field = requested_field(request);
    let asked = reasoning.effort.unwrap_or_else(|| effort_of(reasoning.budget_tokens.unwrap_or_default()));
    if asked == Effort::None && levels.contains(&Effort::None) {
        return ThinkingConfig { thinking_budget: Some(0), ..ThinkingConfig::default() };
    }
    let weakest = levels.iter().copied().filter(|level| *level != Effort::None).min();
    let level = if asked == Effort::None { weakest } else { asked.nearest(levels) };
    let level = level.unwrap_or(Effort::High);
    if level != asked {
        let reason = match asked {
            Effort::None => "The model's thinking cannot be switched off: its minimum was sent.".to_owned(),
            _ => format!("The nearest level of the model is {}.", level.as_str()),
        };
        losses.approximated(field, reason);
    }
    ThinkingConfig { thinking_level: Some(level.as_str()), ..ThinkingConfig::default() }
}

/// The level that corresponds to a number of tokens, likewise.
fn effort_of(budget: u64) -> Effort {
    match budget {
        0 => Effort::None,
        1..2048 => Effort::Low,
        2048..16384 => Effort::Medium,
        _ => Effort::High,
    }
}

/// Google's table, by name. None when the name has no version.
fn control_of_name(model: &str) -> Option<ReasoningControl> {
    use Effort::{High, Low, Medium, Minimal};
    let name = model.to_ascii_lowercase();
    let generation = Generation::of(&name);
    let is = |part: &str| name.contains(part);
    if is("gemma") || (generation.major > 0 && !generation.at_least(2, 5)) {
        return Some(ReasoningControl::None);
    }
    if generation.major == 0 {
        return None;
    }
    if is("image") || is("-tts") {
        return Some(ReasoningControl::None);
    }
    let levels: &[Effort] = match (generation.major, generation.minor) {
        (2, _) => return Some(budget_of_name(&name)),
        (3, 0) if is("pro") => &[Low, High],
        (3, 0..=6) if is("flash") => &[Minimal, Low, Medium, High],
        _ => &[Low, Medium, High],
    };
    Some(ReasoningControl::Effort { levels: levels.to_vec() })
}

fn budget_of_name(name: &str) -> ReasoningControl {
    let (min, max, can_disable) = if name.contains("flash-lite") {
        (512, 24576, true)
    } else if name.contains("flash") {
        (1, 24576, true)
    } else {
        (128, 32768, false)
    };
    ReasoningControl::Budget { min, max, can_disable }
}

#[cfg(test)]
mod tests {
    use canon::{ModelFacts, Quirks, ReasoningRequest};

    use super::*;

    fn written(model: &str, effort: Effort) -> (Option<ThinkingConfig>, usize) {
        let facts = ModelFacts::default();
        let quirks = Quirks::default();
        let reasoning = ReasoningRequest { effort: Some(effort), ..ReasoningRequest::default() };
        let request = Request { reasoning, ..Request::default() };
        let mut losses = Losses::new();
        let config = thinking_config(&request, Target { model, facts: &facts, quirks: &quirks }, &mut losses);
        (config, losses.len())
    }

    #[test]
    fn efforts_become_budgets_or_levels_by_the_models_name() {
        let budget = |model, effort| written(model, effort).0.unwrap().thinking_budget.unwrap();
        assert_eq!(budget("gemini-2.5-flash", Effort::None), 0);
        assert_eq!(budget("gemini-2.5-flash", Effort::Minimal), 128);
        assert_eq!(budget("gemini-2.5-flash-lite", Effort::Minimal), 512);
        assert_eq!(budget("gemini-2.5-pro", Effort::Low), 1024);
        assert_eq!(budget("gemini-2.5-pro", Effort::Max), 32768);
        assert_eq!(written("gemini-2.5-pro", Effort::None).1, 1);
        let level = |model, effort| written(model, effort).0.unwrap().thinking_level.unwrap();
        assert_eq!(level("gemini-3-pro-preview", Effort::Medium), "high");
        assert_eq!(level("gemini-3.1-pro-preview", Effort::Medium), "medium");
        assert_eq!(level("gemini-3-flash-preview", Effort::None), "minimal");
        assert_eq!(level("gemini-3.7-flash", Effort::Minimal), "low");
        assert_eq!(level("gemini-3.7-flash", Effort::Xhigh), "high");
        assert_eq!(written("gemini-2.0-flash", Effort::High), (None, 1));
        assert_eq!(written("my-model", Effort::High), (None, 1));
    }

    #[test]
    fn thoughts_are_requested_where_thinking_is() {
        assert_eq!(written("gemini-2.5-flash", Effort::Low).0.unwrap().include_thoughts, Some(true));
        assert_eq!(written("gemini-2.5-flash", Effort::None).0.unwrap().include_thoughts, None);
    }
}
