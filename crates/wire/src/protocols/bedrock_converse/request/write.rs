//! Writes Converse requests.

mod family;
mod media;
pub(crate) mod messages;
mod thinking;
mod tools;

use std::collections::BTreeMap;

use canon::{Feature, Field, Json, Losses, ModelFacts, PartKind, Request, Result, Role, Target};
use serde_json::{Map, Value, json};

use super::types::*;
use crate::json::{FormatOverhead, Members, Output};
use crate::protocols::anthropic_messages::schema::Enforced;
use crate::protocols::anthropic_messages::tools::NAMES;
use crate::protocols::cache_marks::{MARK_LIMIT, TOO_MANY_MARKS, kept_marks};
use crate::protocols::function_tools::note_wrapped;
use crate::protocols::stop_texts::StopTexts;
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::{Offers, lose_details, lose_hints, lose_proofs, refuse_features};
use crate::{DecoderContext, Encoded};
use family::Family;
use messages::MessageInputs;
use thinking::Thinking;
use tools::ToolWriter;

/// Fields of this API that callers may send by their own names.
const NATIVE_FIELDS: [&str; 6] = [
    "guardrailConfig",
    "performanceConfig",
    "additionalModelResponseFieldPaths",
    "promptVariables",
    "requestMetadata",
    "serviceTier",
];

/// Fields of Claude's own API that callers may send.
const CLAUDE_FIELDS: [&str; 3] = ["thinking", "output_config", "anthropic_beta"];

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 31,
    part: 12,
    answer: 12,
    only: 12,
    call: 50,
    result: 56,
    tool: 48,
    joins: true,
};

pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse_features(request, Offers::default())?;
    let mut losses = request.losses.clone();
    let mut decoding = DecoderContext::default();
    let mut output = Output::for_request(request, &AROUND);
    let settings = settings(request, target, &mut decoding, &mut losses, &mut output)?;
    output.members_of(&settings)?;
    Ok(Encoded { body: output.into_bytes(), losses, decoding })
}

/// Writes messages and instructions, and returns the rest of the body.
fn settings<'a>(
    request: &'a Request,
    target: Target<'_>,
    decoding: &mut DecoderContext,
    losses: &mut Losses,
    output: &mut Output,
) -> Result<Settings<'a>> {
    let (family, facts) = (Family::of(target.model), target.facts);
    let takes_cache_points = family.takes_cache_points() && facts.allows(Feature::PromptCache);
    let thinking = thinking::decide(request, family, facts, obstacle(request, family, facts), losses);
    let mut enforced = Enforced::default();
    let form = tools::form(request, family, facts, &mut enforced, losses)?;
    let names = Names::of(request, NAMES);
    let mut writer = ToolWriter {
        request,
        family,
        facts,
        has_budget: thinking.has_budget,
        takes_cache_points,
        enforced: &mut enforced,
        names: &names,
        losses,
    };
    let mut tool_config = writer.write(form.json_tool, decoding)?;
    let no_prefill = thinking.is_on || family.refuses_prefill();
    lose_details(request, losses);
    lose_proofs(request, losses);
    note_wrapped(request, losses);
    let instruction = form.instruction.as_deref();
    let talk = MessageInputs { request, family, facts, takes_cache_points, no_prefill, instruction };
    let mut points = talk.write([0; 3], &names, losses, output)?;
    points[0] = points_of(tool_config.as_ref());
    let kept = kept_marks(points, MARK_LIMIT);
    if kept != points {
        losses.dropped(Field::CacheMark, TOO_MANY_MARKS);
        let skipped = [0, 1, 2].map(|group| points[group] - kept[group]);
        output.truncate(0);
        talk.write(skipped, &names, losses, output)?;
        drop_points(tool_config.as_mut(), skipped[0]);
    }
    let mut fields = thinking.fields.clone();
    let inference_config = inference_config(request, family, facts, &thinking, losses);
    let refuses_top_k = facts.rejects("top_k") || family.refuses_sampling() || thinking.is_on;
    top_k(request, (family, refuses_top_k), &mut fields, losses);
    let native = native_fields(request, family, &mut fields, losses);
    decoding.tool_names = names.into_originals();
    Ok(Settings {
        inference_config,
        tool_config,
        output_config: form.output_config,
        additional_model_request_fields: fields,
        native,
    })
}

/// Why a model with a thinking budget cannot think with the rest of this request.
fn obstacle(request: &Request, family: Family, facts: &ModelFacts) -> Option<&'static str> {
    if !family.is_claude() || !thinking::takes_budget(family, facts) {
        return None;
    }
    if tools::is_call_forced(request) {
        return Some("The model cannot think when it is forced to call a tool.");
    }
    is_last_call_unproven(request)
        .then_some("The last tool calls came without the thinking that led to them.")
}

/// With a thinking budget, Claude requires the turn whose calls are being answered to begin with its signed
/// thinking.
fn is_last_call_unproven(request: &Request) -> bool {
    // The user's message may follow the results within the same turn.
    let latest = request.messages.iter().rev().take_while(|message| message.role != Role::Assistant);
    let is_answered = latest.into_iter().any(|message| message.role == Role::Tool);
    let last = request.messages.iter().rev().find(|message| message.role == Role::Assistant);
    let is_proof = |part: &canon::Part| match &part.kind {
        PartKind::Reasoning(reasoning) => {
            let is_ours = reasoning.format.as_deref() == Some(messages::CLAUDE_FORMAT);
            is_ours && (part.signature.is_some() || reasoning.encrypted.is_some())
        }
        _ => false,
    };
    is_answered
        && last.is_some_and(|message| {
            message.tool_calls().next().is_some() && !message.parts.iter().any(is_proof)
        })
}

fn inference_config<'a>(
    request: &'a Request,
    family: Family,
    facts: &ModelFacts,
    thinking: &Thinking,
    losses: &mut Losses,
) -> InferenceConfig<'a> {
    let sampling = &request.sampling;
    let mut config = InferenceConfig {
        max_tokens: thinking.max_tokens.or(request.max_tokens).or_else(|| usual_limit(facts)),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        stop_sequences: stop_sequences(request, facts, losses),
    };
    let refused =
        |field: &str| facts.rejects(field) || family.refuses_sampling() || thinking.no_inference_config;
    if let Some(temperature) = config.temperature
        && (refused("temperature") || thinking.is_on)
    {
        config.temperature = None;
        // A temperature of one is Claude's default.
        if !(family.is_claude() && temperature == 1.0) {
            losses.dropped(Field::Temperature, refusal(thinking));
        }
    }
    // While it thinks, Claude accepts only a top_p from 0.95 to 1.
    let is_too_low = |top_p: f64| thinking.is_on && top_p < 0.95;
    if config.top_p.is_some_and(|top_p| refused("top_p") || is_too_low(top_p)) {
        config.top_p = None;
        losses.dropped(Field::TopP, refusal(thinking));
    }
    if config.temperature.is_some_and(|temperature| temperature > 1.0) {
        config.temperature = Some(1.0);
        losses.approximated(Field::Temperature, "The provider's range ends at 1.");
    }
    if config.temperature.is_some() && config.top_p.is_some() && family.takes_one_of_temperature_and_top_p() {
        config.top_p = None;
        losses.dropped(Field::TopP, "The model accepts either a temperature or top-p.");
    }
    if thinking.no_inference_config && config.max_tokens.take().is_some() && request.max_tokens.is_some() {
        losses
            .dropped(Field::MaxTokens, "The model does not accept a limit at its highest level of thinking.");
    }
    config
}

fn refusal(thinking: &Thinking) -> &'static str {
    if thinking.is_on || thinking.no_inference_config {
        "The model does not accept this parameter while it thinks."
    } else {
        "The model does not accept this parameter."
    }
}

/// Without a limit, some families stop after 512 tokens. Half of the context is reserved for the prompt.
fn usual_limit(facts: &ModelFacts) -> Option<u64> {
    let most = facts.max_output_tokens?;
    Some(facts.context_tokens.map_or(most, |context| most.min(context / 2)).max(1))
}

fn stop_sequences<'a>(request: &'a Request, facts: &ModelFacts, losses: &mut Losses) -> StopTexts<'a> {
    if facts.rejects("stop") && !request.stop.is_empty() {
        losses.dropped(Field::Stop, "The model does not accept this parameter.");
        return StopTexts::default();
    }
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        losses.dropped(Field::Stop, "The provider refuses stop texts of white space.");
    }
    StopTexts(&request.stop)
}

/// Converse has no such field; the APIs of some families do.
fn top_k(
    request: &Request,
    (family, is_refused): (Family, bool),
    fields: &mut Map<String, Value>,
    losses: &mut Losses,
) {
    let Some(top_k) = request.sampling.top_k else { return };
    let (name, value) = match family {
        _ if is_refused => return losses.dropped(Field::TopK, "The model does not accept this parameter."),
        Family::Claude(..) | Family::Mistral { .. } => ("top_k", json!(top_k)),
        Family::Cohere => ("k", json!(top_k)),
        Family::Nova { .. } => ("inferenceConfig", json!({"topK": top_k})),
        _ => return losses.dropped(Field::TopK, "The model has no such parameter."),
    };
    fields.insert(name.to_owned(), value);
}

/// Fields with this API's names pass; OpenAI's further fields pass where there is a counterpart.
fn native_fields<'a>(
    request: &'a Request,
    family: Family,
    fields: &mut Map<String, Value>,
    losses: &mut Losses,
) -> BTreeMap<&'a str, Json> {
    let mut carried = vec!["top_k", "additionalModelRequestFields"];
    carried.extend(NATIVE_FIELDS);
    let mut native = BTreeMap::new();
    for (name, value) in &request.extra {
        if NATIVE_FIELDS.contains(&name.as_str()) && !value.is_null() {
            native.insert(name.as_str(), value.clone());
        }
    }
    if family.is_claude() {
        for name in CLAUDE_FIELDS {
            if let Some(Ok(value)) = request.extra(name).filter(|value| !value.is_null()).map(Json::to_value)
            {
                carried.push(name);
                fields.entry(name).or_insert(value);
            }
        }
    }
    if let Some(Ok(Value::Object(more))) = request.extra("additionalModelRequestFields").map(Json::to_value) {
        fields.extend(more);
    }
    if let Some(tier) = request.extra("service_tier").and_then(service_tier) {
        carried.push("service_tier");
        native.entry("serviceTier").or_insert(tier);
    }
    if let Some(metadata) = request.extra("metadata").filter(|metadata| is_loggable(metadata)) {
        carried.push("metadata");
        native.entry("requestMetadata").or_insert_with(|| metadata.clone());
    }
    lose_hints(request, &carried, losses);
    native
}

fn service_tier(tier: &Json) -> Option<Json> {
    let name: String = tier.read().ok()?;
    matches!(name.as_str(), "priority" | "flex").then(|| Json::of(&json!({"type": name})))
}

/// `requestMetadata`: at most 16 pairs of at most 256 plain characters each.
fn is_loggable(metadata: &Json) -> bool {
    let is_plain = |text: &str| {
        text.len() <= 256
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" :_@$#=/+,-.".contains(&byte))
    };
    let has_few = Members::of(metadata.as_str()).is_some_and(|members| (1..=16).contains(&members.len()));
    has_few
        && metadata.read::<BTreeMap<String, String>>().is_ok_and(|pairs| {
            pairs.iter().all(|(name, value)| !name.is_empty() && is_plain(name) && is_plain(value))
        })
}

fn is_point(entry: &ToolEntry<'_>) -> bool {
    matches!(entry, ToolEntry::CachePoint(_))
}

/// How many cache points the tools have.
fn points_of(tools: Option<&ToolConfig<'_>>) -> usize {
    tools.map_or(0, |config| config.tools.iter().filter(|entry| is_point(entry)).count())
}

/// Removes the first `surplus` cache points.
fn drop_points(tools: Option<&mut ToolConfig<'_>>, mut surplus: usize) {
    let Some(config) = tools else { return };
    config.tools.retain(|entry| {
        let dropped = is_point(entry) && surplus > 0;
        surplus -= usize::from(dropped);
        !dropped
    });
}
