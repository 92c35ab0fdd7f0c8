//! Fields of OpenAI's API that other vendors' formats lack: features are refused, hints are reported.

use canon::{
    CallField, Error, Field, Json, Losses, MediaKind, MessageField, OutputField, OutputFormat, Part,
    PartField, PartKind, Request, Result,
};

use crate::json::{is_text, string};

/// The caller's names for the amount of thinking.
pub(super) const EFFORT: Field = Field::ReasoningEffort;
pub(super) const BUDGET: Field = Field::ReasoningBudget;

/// Why a [`PartKind::Native`] of another format is dropped.
pub(super) const OF_ANOTHER_FORMAT: &str = "The block exists only in another format.";

/// The optional features of a format.
#[derive(Clone, Copy, Default)]
pub(super) struct Offers<'a> {
    pub logprobs: bool,
    pub web_search: bool,
    /// Names of [`FEATURES`] that are fields of this format.
    pub fields: &'a [&'a str],
}

/// Fields of one format that are more than hints: without them a different request would be answered.
const FEATURES: [(&str, &str); 4] = [
    ("mcp_servers", "This provider calls no MCP servers."),
    ("container", "This provider has no containers."),
    ("cachedContent", "This provider does not know the cached content, which is a part of the prompt."),
    ("cached_content", "This provider does not know the cached content, which is a part of the prompt."),
];

/// Refuses other formats' features that this format lacks.
pub(super) fn refuse_fields(request: &Request, offered: &[&str]) -> Result<()> {
    let is_empty = |value: &Json| matches!(value.as_str(), "null" | "[]" | "{}" | "\"\"");
    for (name, reason) in FEATURES {
        let asked = request.extra(name).is_some_and(|value| !is_empty(value));
        if asked && !offered.contains(&name) {
            return Err(Error::unsupported(Field::extra(name), reason));
        }
    }
    Ok(())
}

/// Refuses the features that no answer of this format can have.
pub(super) fn refuse_features(request: &Request, offers: Offers<'_>) -> Result<()> {
    refuse_fields(request, offers.fields)?;
    if request.n.is_some_and(|count| count > 1) {
        return Err(Error::unsupported(Field::N, "This provider gives one answer per request; ask for one."));
    }
    let wants_logprobs =
        request.logprobs == Some(true) || request.top_logprobs.is_some_and(|count| count > 0);
    if wants_logprobs && !offers.logprobs {
        return Err(Error::unsupported(Field::Logprobs, "This provider returns no log probabilities."));
    }
    if !offers.web_search && request.extra("web_search_options").is_some_and(|value| !value.is_null()) {
        return Err(Error::unsupported(
            Field::extra("web_search_options"),
            "This provider offers no web search through its API.",
        ));
    }
    let modalities: Vec<String> =
        request.extra("modalities").and_then(|value| value.read().ok()).unwrap_or_default();
    if modalities.iter().any(|modality| modality != "text") {
        return Err(Error::unsupported(Field::extra("modalities"), "This provider answers with text only."));
    }
    Ok(())
}

/// Reports the hints without a field in this format. `carried` are those that the caller of this function
/// handles.
pub(super) fn lose_hints(request: &Request, carried: &[&str], losses: &mut Losses) {
    const REASON: &str = "The provider has no such parameter.";
    let sampling = &request.sampling;
    let typed = [
        (Field::TopK, sampling.top_k.is_some()),
        (Field::FrequencyPenalty, sampling.frequency_penalty.is_some_and(|value| value != 0.0)),
        (Field::PresencePenalty, sampling.presence_penalty.is_some_and(|value| value != 0.0)),
        (Field::Seed, sampling.seed.is_some()),
        (Field::User, request.user.is_some()),
        (Field::ParallelToolCalls, request.parallel_tool_calls == Some(false)),
    ];
    for (field, present) in typed {
        if present && !carried.contains(&&*field.name()) {
            losses.dropped(field, REASON);
        }
    }
    for (name, value) in &request.extra {
        if !carried.contains(&name.as_str()) && !is_neutral(name, value.as_str()) {
            losses.dropped(Field::extra(name.clone()), REASON);
        }
    }
}

/// Reports the names of participants and the cache marks, for formats that have neither.
pub(super) fn lose_marks(request: &Request, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        if message.name.is_some() {
            losses.dropped(
                Field::of_message(index, MessageField::Name),
                "The provider has no names of participants.",
            );
        }
        let is_marked = message.parts.iter().any(|part| match &part.kind {
            PartKind::ToolResult(result) => {
                part.cache.is_some() || result.content.iter().any(|part| part.cache.is_some())
            }
            _ => part.cache.is_some(),
        });
        if is_marked {
            losses.dropped(Field::CacheMark, "The provider itself decides what it caches.");
        }
    }
    if request.tools.iter().any(|tool| tool.cache.is_some()) {
        losses.dropped(Field::CacheMark, "The provider itself decides what it caches.");
    }
}

/// Reports the requested resolutions of images, for formats without such a field.
pub(super) fn lose_details(request: &Request, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        for part in &message.parts {
            if let PartKind::ToolResult(result) = &part.kind {
                lose_details_of(|part| Field::result_part(index, part), &result.content, losses);
            }
        }
        lose_details_of(|part| Field::part(index, part), &message.parts, losses);
    }
}

fn lose_details_of(field: impl Fn(usize) -> Field, parts: &[Part], losses: &mut Losses) {
    for (position, part) in parts.iter().enumerate() {
        let PartKind::Media(media) = &part.kind else { continue };
        if media.detail.as_deref().is_some_and(|detail| detail != "auto") {
            let kind = if media.kind == MediaKind::Video { MediaKind::Video } else { MediaKind::Image };
            let detail = field(position).with(PartField::Detail(kind));
            losses.dropped(detail, "The provider chooses the resolution.");
        }
    }
}

/// Reports the proofs that a provider attached to texts and calls, for formats without proofs there: they are
/// invalid for other providers.
pub(super) fn lose_proofs(request: &Request, losses: &mut Losses) {
    const REASON: &str = "Only the provider that issued this signature accepts it.";
    for (index, message) in request.messages.iter().enumerate() {
        let mut calls = 0;
        for (position, part) in message.parts.iter().enumerate() {
            let is_signed = part.signature.is_some();
            match &part.kind {
                PartKind::ToolCall(_) => {
                    if is_signed {
                        losses.dropped(Field::call(index, calls, CallField::Proof), REASON);
                    }
                    calls += 1;
                }
                PartKind::Text(_) | PartKind::Refusal(_) if is_signed => {
                    losses.dropped(Field::part(index, position).with(PartField::Proof), REASON);
                }
                _ => {}
            }
        }
    }
}

/// Reports the failed tools, for formats that cannot express failures.
pub(super) fn lose_failures(request: &Request, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        let is_failed = |part: &Part| matches!(&part.kind, PartKind::ToolResult(result) if result.is_error);
        if message.parts.iter().any(is_failed) {
            losses.dropped(
                Field::of_message(index, MessageField::Failed),
                "The provider has no field for the failure of a tool.",
            );
        }
    }
}

/// Reports the description of the answer's form, for formats that take only its schema.
pub(super) fn lose_description(output: &OutputFormat, losses: &mut Losses) {
    if matches!(output, OutputFormat::JsonSchema { description: Some(_), .. }) {
        losses.dropped(Field::Output(OutputField::Description), "The provider accepts only the schema.");
    }
}

/// Reports that the request for thinking is not served, by the names that the caller used.
pub(super) fn lose_thinking(request: &Request, reason: &'static str, losses: &mut Losses) {
    let reasoning = &request.reasoning;
    if reasoning.effort.is_some() {
        losses.dropped(EFFORT, reason);
    }
    if reasoning.budget_tokens.is_some() {
        losses.dropped(BUDGET, reason);
    }
}

/// Reports a number of tokens for a model with effort levels: it is converted to a level, or replaced by the
/// level that the caller also sent.
pub(super) fn lose_budget(request: &Request, losses: &mut Losses) {
    let reasoning = &request.reasoning;
    match (reasoning.effort, reasoning.budget_tokens) {
        (_, None) | (_, Some(0)) => {}
        (None, Some(_)) => {
            losses.approximated(BUDGET, "The model accepts a level instead of a number of tokens.")
        }
        (Some(_), Some(_)) => {
            losses.dropped(BUDGET, "The model accepts a level, and the request also has one.")
        }
    }
}

/// The field with which the caller requested thinking.
pub(super) fn requested_field(request: &Request) -> Field {
    if request.reasoning.effort.is_some() { EFFORT } else { BUDGET }
}

/// True when omitting the field means the same.
pub(super) fn is_neutral(name: &str, value: &str) -> bool {
    let value = value.trim();
    let is_empty = |list: char, end: char| {
        value
            .strip_prefix(list)
            .and_then(|value| value.strip_suffix(end))
            .is_some_and(|inner| inner.trim().is_empty())
    };
    if value == "null" || is_empty('{', '}') || is_empty('[', ']') {
        return true;
    }
    match name {
        "store" => value == "false",
        "service_tier" => matches!(string(value).as_deref(), Some("auto" | "default")),
        "verbosity" => is_text(value, "medium"),
        "modalities" | "web_search_options" => true,
        _ => false,
    }
}
