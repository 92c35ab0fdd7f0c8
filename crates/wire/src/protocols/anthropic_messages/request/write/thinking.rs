//! The amount of thinking: from the caller's request to the parameters of a model generation.
//!
//! Up to 4.5 a model takes a budget in tokens (`thinking: enabled`); from 4.6 on it takes an effort
//! (`thinking: adaptive` and `output_config.effort`). The catalog decides; for models that are not in it, the
//! name.

use canon::{Effort, Field, Json, Losses, ReasoningControl, ReasoningRequest, Request, Target};
use serde::Deserialize;

use crate::protocols::anthropic_messages::types::Thinking;
use crate::protocols::unsupported::{BUDGET, EFFORT, lose_budget, lose_thinking, requested_field};

/// The smallest budget that the API accepts.
const LEAST_BUDGET: u64 = 1024;
/// The default where the model's own limit is unknown.
const USUAL_MAX_TOKENS: u64 = 4096;
/// The largest budget without another limit.
const LARGEST_BUDGET: u64 = 32_000;

/// The parameters on the wire.
#[derive(Debug)]
pub(super) struct Plan {
    pub thinking: Option<Thinking>,
    pub effort: Option<&'static str>,
    pub max_tokens: u64,
}

impl Plan {
    /// Thinking was requested.
    pub(super) fn is_on(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Enabled { .. } | Thinking::Adaptive { .. }))
    }

    /// A thinking budget requires the thinking of earlier calls. Without it, thinking is off for the rest of
    /// the tool calls.
    pub(super) fn give_up(&mut self, request: &Request) -> Losses {
        let mut losses = Losses::new();
        lose_thinking(request, "The thinking in front of the last tool calls is missing.", &mut losses);
        self.thinking = None;
        self.max_tokens = request.max_tokens.unwrap_or(self.max_tokens);
        losses
    }

    /// Thinking with a budget, which excludes a forced tool.
    pub(super) fn has_budget(&self) -> bool {
        matches!(self.thinking, Some(Thinking::Enabled { .. }))
    }
}

/// Families of Claude models.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// Large.
    Opus,
    /// Middle.
    Sonnet,
    /// Small.
    Haiku,
    /// Fable and Mythos: always thinking.
    Story,
    /// No known family name.
    Other,
}

/// A number of at most two digits.
fn number(word: &[u8]) -> Option<u32> {
    if word.is_empty() || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |number, digit| 10 * number + u32::from(digit - b'0')))
}

/// A generation of Claude models, from the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation {
    pub family: Family,
    /// Major and minor version.
    pub version: (u32, u32),
}

impl Generation {
    /// Reads `claude-3-5-haiku-20241022`, `us.anthropic.claude-opus-4-6-v1:0`, `claude-sonnet-4@20250514` and the like.
    /// None for models that are not Claude or whose name has no version.
    pub(crate) fn of(model: &str) -> Option<Self> {
        const NAME: &[u8] = b"claude";
        let model = model.as_bytes();
        let start = model.windows(NAME.len()).position(|word| word.eq_ignore_ascii_case(NAME))?;
        let mut family = Family::Other;
        let (mut numbers, mut count) = ([0, 0], 0);
        for word in model[start..].split(|byte| b"-.@:_/".contains(byte)) {
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            match word.len() {
                4 if is("opus") => family = Family::Opus,
                6 if is("sonnet") => family = Family::Sonnet,
                5 if is("haiku") => family = Family::Haiku,
                5 if is("fable") => family = Family::Story,
                6 if is("mythos") => family = Family::Story,
                0..=2 if count < 2 => match number(word) {
                    Some(found) => {
                        numbers[count] = found;
                        count += 1;
                    }
                    None if count == 0 => {}
                    None => break,
                },
                _ if count == 0 => {}
                _ => break,
            }
        }
        // `claude-3-5-sonnet` has its version first, `claude-sonnet-4-5` last; both leave the numbers in order.
        (count > 0).then_some(Self { family, version: (numbers[0], numbers[1]) })
    }

    /// `temperature`, `top_p` and `top_k` are refused.
    pub(crate) fn refuses_sampling(self) -> bool {
        self.version >= (4, 7)
    }

    /// `temperature` and `top_p` together are refused.
    pub(crate) fn refuses_both_samplings(self) -> bool {
        self.version >= (4, 1)
    }

    /// `tool_choice` `any` and `tool` are refused.
    pub(crate) fn refuses_forced_tools(self) -> bool {
        match self.family {
            Family::Opus | Family::Sonnet => self.version >= (5, 5),
            Family::Story => self.version >= (5, 1),
            Family::Haiku | Family::Other => false,
        }
    }

    /// A conversation must not end with a message of the model.
    pub(crate) fn refuses_prefill(self) -> bool {
        self.version >= (4, 6)
    }

    /// `output_config.format` is supported.
    pub(crate) fn has_output_schema(self) -> bool {
        match self.family {
            Family::Opus => self.version >= (4, 1),
            _ => self.version >= (4, 5),
        }
    }

    pub(crate) fn thinks_by_default(self) -> bool {
        self.version >= (5, 0)
    }

    /// The largest `max_tokens` that it accepts.
    fn most_tokens(self) -> u64 {
        match (self.family, self.version) {
            (_, version) if version >= (4, 6) => 128_000,
            (_, version) if version >= (4, 5) => 64_000,
            (Family::Opus, version) if version >= (4, 0) => 32_000,
            (_, version) if version >= (3, 7) => 64_000,
            (_, version) if version >= (3, 5) => 8192,
            _ => 4096,
        }
    }

    fn control(self) -> Option<Control> {
        use Effort::{High, Low, Max, Medium, Xhigh};
        let adaptive = |levels: &[Effort], off| Control::Adaptive { levels: levels.to_vec(), off };
        let every = [Low, Medium, High, Xhigh, Max];
        let control = match (self.family, self.version) {
            (Family::Story, _) => adaptive(&every, DisablingMethod::Never),
            (Family::Opus, version) if version >= (5, 5) => adaptive(&every, DisablingMethod::Never),
            (Family::Sonnet, version) if version >= (5, 5) => adaptive(&every, DisablingMethod::BetweenTools),
            (_, version) if version >= (4, 7) => adaptive(&every, DisablingMethod::Disabled),
            (_, (4, 6)) => adaptive(&[Low, Medium, High, Max], DisablingMethod::Disabled),
            (_, version) if version >= (3, 7) => {
                Control::Budget { min: LEAST_BUDGET, max: LARGEST_BUDGET, off: DisablingMethod::Disabled }
            }
            _ => return None,
        };
        Some(control)
    }
}

/// The form of control.
#[derive(Clone, Debug)]
enum Control {
    Budget { min: u64, max: u64, off: DisablingMethod },
    Adaptive { levels: Vec<Effort>, off: DisablingMethod },
}

/// How thinking is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DisablingMethod {
    Disabled,
    BetweenTools,
    Never,
}

/// Decides how much to think and how many tokens to allow.
pub(super) fn plan(request: &Request, target: Target<'_>, losses: &mut Losses) -> Plan {
    let limit = most_tokens(target);
    let usual = target.facts.max_output_tokens.unwrap_or(USUAL_MAX_TOKENS);
    let max_tokens = request.max_tokens.unwrap_or(usual);
    let mut plan = Plan { thinking: None, effort: None, max_tokens };
    let reasoning = reasoning(request);
    if reasoning.is_unset() {
        return plan;
    }
    match control(target) {
        None if reasoning.is_on() || always_thinks(target) => {
            lose_thinking(request, "The model does not allow control of its thinking.", losses);
        }
        None => {}
        Some(control) if !reasoning.is_on() => switch_off(request, &control, &mut plan, losses),
        Some(Control::Adaptive { levels, .. }) => {
            lose_budget(request, losses);
            adapt(&reasoning, &levels, &mut plan, losses);
        }
        Some(Control::Budget { min, max, .. }) => {
            let asked = reasoning.budget_tokens;
            let wanted = asked.unwrap_or_else(|| match reasoning.effort.unwrap_or(Effort::Medium) {
                Effort::Max => max,
                effort => effort.budget(),
            });
            let budget = wanted.clamp(min, max.max(min));
            if asked.is_some_and(|asked| asked != budget) {
                losses.approximated(BUDGET, format!("The model's thinking budget is {min} to {max} tokens."));
            }
            spend(request, budget, limit, &mut plan, losses);
        }
    }
    plan
}

/// The values of `thinking.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThinkingKind {
    Enabled,
    Adaptive,
    Disabled,
    BetweenTools,
}

impl ThinkingKind {
    /// By its name on the wire.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "enabled" => Self::Enabled,
            "adaptive" => Self::Adaptive,
            "disabled" => Self::Disabled,
            "between_tools" => Self::BetweenTools,
            _ => return None,
        })
    }
}

/// Whether a model accepts this kind of thinking, as far as that is known.
pub(crate) fn takes_kind(kind: ThinkingKind, target: Target<'_>) -> bool {
    if target.facts.reasoning.is_none() && Generation::of(target.model).is_none() {
        return true;
    }
    // 4.6 accepts both.
    let takes_both = Generation::of(target.model).is_some_and(|generation| generation.version == (4, 6));
    match (control(target), kind) {
        (None, kind) => kind == ThinkingKind::Disabled,
        (Some(Control::Budget { .. }), ThinkingKind::Enabled) => true,
        (Some(Control::Budget { .. }), ThinkingKind::Adaptive) => takes_both,
        (Some(Control::Adaptive { .. }), ThinkingKind::Enabled) => takes_both,
        (Some(Control::Adaptive { .. }), ThinkingKind::Adaptive) => true,
        (Some(Control::Budget { off, .. } | Control::Adaptive { off, .. }), ThinkingKind::Disabled) => {
            off == DisablingMethod::Disabled
        }
        (Some(Control::Budget { off, .. } | Control::Adaptive { off, .. }), ThinkingKind::BetweenTools) => {
            off == DisablingMethod::BetweenTools
        }
    }
}

/// Whether a model accepts `output_config.effort`, as far as that is known.
pub(crate) fn takes_effort(target: Target<'_>) -> bool {
    Generation::of(target.model).is_none_or(|generation| {
        generation.version >= (4, 6) || (generation.family == Family::Opus && generation.version == (4, 5))
    })
}

/// The caller's settings for thinking: canonical fields, else this protocol's own object in another
/// protocol's request.
fn reasoning(request: &Request) -> ReasoningRequest {
    #[derive(Deserialize)]
    struct Own {
        #[serde(rename = "type")]
        kind: String,
        budget_tokens: Option<u64>,
    }
    if !request.reasoning.is_unset() {
        return request.reasoning.clone();
    }
    let own = request.extra("thinking").and_then(|json: &Json| json.read::<Own>().ok());
    let effort = match own.as_ref().map(|own| own.kind.as_str()) {
        Some("disabled" | "between_tools") => Some(Effort::None),
        Some("adaptive") => Some(Effort::High),
        Some("enabled") if own.as_ref().is_some_and(|own| own.budget_tokens.is_none()) => {
            Some(Effort::Medium)
        }
        _ => None,
    };
    ReasoningRequest { effort, budget_tokens: own.and_then(|own| own.budget_tokens), ..Default::default() }
}

fn always_thinks(target: Target<'_>) -> bool {
    matches!(target.facts.reasoning, Some(ReasoningControl::Always))
}

/// From the catalog, else from the name.
fn control(target: Target<'_>) -> Option<Control> {
    let generation = Generation::of(target.model);
    match &target.facts.reasoning {
        Some(ReasoningControl::None | ReasoningControl::Always) => None,
        Some(ReasoningControl::Effort { levels }) => {
            let off = match levels.contains(&Effort::None) {
                true => DisablingMethod::Disabled,
                false
                    if matches!(
                        generation,
                        Some(Generation { family: Family::Sonnet, version: (5, 5..) })
                    ) =>
                {
                    DisablingMethod::BetweenTools
                }
                false => DisablingMethod::Never,
            };
            let levels = levels.iter().copied().filter(|level| *level != Effort::None).collect();
            Some(Control::Adaptive { levels, off })
        }
        Some(ReasoningControl::Budget { min, max, can_disable }) => {
            let off = if *can_disable { DisablingMethod::Disabled } else { DisablingMethod::Never };
            Some(Control::Budget { min: (*min).max(LEAST_BUDGET), max: *max, off })
        }
        Some(_) => {
            Some(Control::Budget { min: LEAST_BUDGET, max: LARGEST_BUDGET, off: DisablingMethod::Disabled })
        }
        None => by_name(target.model, generation),
    }
}

/// An unknown Claude is a new one; other models with this protocol take budgets.
fn by_name(model: &str, generation: Option<Generation>) -> Option<Control> {
    if let Some(generation) = generation {
        return generation.control();
    }
    if model.to_ascii_lowercase().contains("claude") {
        let levels = vec![Effort::Low, Effort::Medium, Effort::High, Effort::Max];
        return Some(Control::Adaptive { levels, off: DisablingMethod::Disabled });
    }
    Some(Control::Budget { min: LEAST_BUDGET, max: LARGEST_BUDGET, off: DisablingMethod::Disabled })
}

/// The model's own limit, as far as it is known.
fn most_tokens(target: Target<'_>) -> Option<u64> {
    let by_name = || Generation::of(target.model).map(Generation::most_tokens);
    target.facts.max_output_tokens.or_else(by_name)
}

fn switch_off(request: &Request, control: &Control, plan: &mut Plan, losses: &mut Losses) {
    let (Control::Budget { off, .. } | Control::Adaptive { off, .. }) = control;
    match off {
        DisablingMethod::Disabled => plan.thinking = Some(Thinking::Disabled),
        DisablingMethod::BetweenTools => plan.thinking = Some(Thinking::BetweenTools),
        DisablingMethod::Never => {
            losses.approximated(
                requested_field(request),
                "The model's thinking cannot be switched off: its minimum was sent.",
            );
            if let Control::Adaptive { levels, .. } = control {
                plan.effort = levels.iter().min().copied().map(Effort::as_str);
            }
        }
    }
}

fn adapt(reasoning: &ReasoningRequest, levels: &[Effort], plan: &mut Plan, losses: &mut Losses) {
    let effort = reasoning.effort.filter(|effort| *effort != Effort::None);
    let wanted = effort.unwrap_or_else(|| match reasoning.budget_tokens {
        Some(tokens) => Effort::of_budget(tokens).max(Effort::Low),
        None => Effort::Low,
    });
    // Newer models omit the text of the thinking by default; the caller's encoder omits it on request.
    plan.thinking = Some(Thinking::Adaptive { display: "summarized" });
    let nearest = wanted.nearest(levels);
    if nearest != Some(wanted) && reasoning.effort.is_some() {
        losses.approximated(EFFORT, "The model has other levels of effort: the nearest was sent.");
    }
    plan.effort = nearest.map(Effort::as_str);
}

/// Thinking counts against `max_tokens`, which must exceed the budget: the limit is raised as far as the
/// model allows, then the budget is cut.
fn spend(request: &Request, budget: u64, limit: Option<u64>, plan: &mut Plan, losses: &mut Losses) {
    let asked = budget;
    let mut budget = budget;
    if plan.max_tokens <= budget {
        let raised = plan.max_tokens.saturating_add(budget);
        plan.max_tokens = limit.map_or(raised, |limit| raised.min(limit.max(plan.max_tokens)));
    }
    if budget >= plan.max_tokens {
        // Half is left for the answer.
        budget = (plan.max_tokens / 2).max(LEAST_BUDGET);
    }
    if budget >= plan.max_tokens {
        lose_thinking(request, "max_tokens is too small for any thinking.", losses);
        plan.max_tokens = request.max_tokens.unwrap_or(plan.max_tokens);
        return;
    }
    if request.max_tokens.is_some_and(|tokens| tokens != plan.max_tokens) {
        losses.approximated(Field::MaxTokens, "The limit was raised: it must be above the thinking budget.");
    }
    if budget != asked && request.reasoning.budget_tokens.is_some() {
        losses.approximated(BUDGET, "The budget was lowered: the answer needs a part of the output limit.");
    }
    plan.thinking = Some(Thinking::Enabled { budget_tokens: budget });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_of_claude_are_read_from_names() {
        let cases = [
            ("claude-3-5-haiku-20241022", Family::Haiku, (3, 5)),
            ("claude-3-opus-20240229", Family::Opus, (3, 0)),
            ("claude-3-7-sonnet-latest", Family::Sonnet, (3, 7)),
            ("claude-sonnet-4-20250514", Family::Sonnet, (4, 0)),
            ("claude-sonnet-4-0", Family::Sonnet, (4, 0)),
            ("claude-opus-4-1@20250805", Family::Opus, (4, 1)),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Family::Sonnet, (4, 5)),
            ("anthropic/claude-opus-4.7", Family::Opus, (4, 7)),
            ("claude-opus-4-6-v1", Family::Opus, (4, 6)),
            ("claude-fable-5", Family::Story, (5, 0)),
            ("claude-haiku-5-5", Family::Haiku, (5, 5)),
            ("claude-2.1", Family::Other, (2, 1)),
        ];
        for (name, family, version) in cases {
            assert_eq!(Generation::of(name), Some(Generation { family, version }), "{name}");
        }
        assert_eq!(Generation::of("glm-4.6"), None);
        assert_eq!(Generation::of("claude-next"), None);
    }
}
