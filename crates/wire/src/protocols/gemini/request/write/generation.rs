//! `generationConfig`: sampling, limits, the form of the answer.

use canon::{Error, Feature, Field, Json, Losses, OutputField, OutputFormat, Request, Result, Target};
use serde::Serialize;

use super::schema::sanitise;
use super::thinking::{ThinkingConfig, thinking_config};
use crate::protocols::gemini::model::Generation;
use crate::protocols::unsupported::lose_description;

/// Most stop texts that the API takes.
const STOP_LIMIT: usize = 5;
/// Most answers that the API gives.
const CHOICE_LIMIT: u32 = 8;
const JSON_MIME: &str = "application/json";

/// `generationConfig`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct GenerationConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_output_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_modalities: Option<Vec<&'static str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_config: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    media_resolution: Option<&'a Json>,
    #[serde(skip)]
    is_set: bool,
}

impl GenerationConfig<'_> {
    pub fn is_empty(&self) -> bool {
        !self.is_set
    }
}

/// Translates the settings of the answer. The second value is an instruction that replaces a response format,
/// where the model cannot have both tools and a format.
pub(crate) fn generation_config<'a>(
    request: &'a Request,
    target: Target<'_>,
    has_functions: bool,
    losses: &mut Losses,
) -> Result<(GenerationConfig<'a>, Option<String>)> {
    let mut config = GenerationConfig::default();
    sampling(request, target, &mut config, losses);
    choices(request, target, &mut config)?;
    config.stop_sequences = stops(request, target, losses);
    config.response_modalities = modalities(request, target)?;
    config.thinking_config = thinking_config(request, target, losses);
    config.image_config = extra(request, "imageConfig", "image_config");
    config.media_resolution = extra(request, "mediaResolution", "media_resolution");
    let instruction = output_format(request, target, has_functions, &mut config, losses);
    config.is_set = config.response_json_schema.is_some()
        || serde_json::to_string(&config).is_ok_and(|written| written != "{}");
    Ok((config, instruction))
}

/// A field by Google's name, in either of its two spellings.
pub(crate) fn extra<'a>(request: &'a Request, camel: &str, snake: &str) -> Option<&'a Json> {
    request.extra(camel).or_else(|| request.extra(snake)).filter(|value| !value.is_null())
}

fn refuses(target: Target<'_>, field: &str) -> bool {
    target.facts.rejects(field) || target.quirks.drop.iter().any(|name| name == field)
}

/// The value, unless the model refuses the field.
fn accepted<T>(value: Option<T>, field: Field, target: Target<'_>, losses: &mut Losses) -> Option<T> {
    let value = value?;
    if refuses(target, &field.name()) {
        losses.dropped(field, "The model refuses this field.");
        return None;
    }
    Some(value)
}

fn sampling<'a>(
    request: &'a Request,
    target: Target<'_>,
    config: &mut GenerationConfig<'a>,
    losses: &mut Losses,
) {
    let given = &request.sampling;
    config.temperature = accepted(given.temperature, Field::Temperature, target, losses);
    config.top_p = accepted(given.top_p, Field::TopP, target, losses);
    config.top_k = accepted(given.top_k, Field::TopK, target, losses);
    config.max_output_tokens = request.max_tokens;
    let presence = accepted(given.presence_penalty, Field::PresencePenalty, target, losses);
    config.presence_penalty = penalty(presence, Field::PresencePenalty, losses);
    let frequency = accepted(given.frequency_penalty, Field::FrequencyPenalty, target, losses);
    config.frequency_penalty = penalty(frequency, Field::FrequencyPenalty, losses);
    config.seed = accepted(given.seed, Field::Seed, target, losses).filter(|seed| {
        let fits = i32::try_from(*seed).is_ok();
        if !fits {
            losses.dropped(Field::Seed, "The provider accepts only seeds of 32 bits.");
        }
        fits
    });
}

/// The range excludes 2.
fn penalty(value: Option<f64>, field: Field, losses: &mut Losses) -> Option<f64> {
    let value = value?;
    if value >= 2.0 {
        losses.approximated(field, "The provider accepts only penalties below 2.");
        return Some(1.99);
    }
    Some(value)
}

fn choices(request: &Request, target: Target<'_>, config: &mut GenerationConfig<'_>) -> Result<()> {
    if let Some(n) = request.n.filter(|n| *n > 1) {
        if !target.facts.allows(Feature::MultipleChoices) || n > CHOICE_LIMIT {
            let message =
                format!("This model does not give {n} answers at once: ask for one, or ask several times.");
            return Err(Error::unsupported(Field::N, message));
        }
        config.candidate_count = Some(n);
    }
    let top = request.top_logprobs.filter(|count| *count > 0);
    if request.logprobs == Some(true) || top.is_some() {
        if !target.facts.allows(Feature::Logprobs) {
            return Err(Error::unsupported(Field::Logprobs, "This model returns no log probabilities."));
        }
        config.response_logprobs = Some(true);
        config.logprobs = top;
    }
    Ok(())
}

fn stops<'a>(request: &'a Request, target: Target<'_>, losses: &mut Losses) -> Vec<&'a str> {
    let stops = request.stop.iter().map(String::as_str).filter(|stop| !stop.is_empty());
    let mut stops: Vec<_> = stops.take(STOP_LIMIT + 1).collect();
    if stops.is_empty() {
        return stops;
    }
    if refuses(target, "stop") {
        losses.dropped(Field::Stop, "The model refuses this field.");
        return Vec::new();
    }
    if stops.len() > STOP_LIMIT {
        losses.approximated(Field::Stop, "The provider accepts 5 stop texts: the others were not sent.");
        stops.truncate(STOP_LIMIT);
    }
    stops
}

fn modalities(request: &Request, target: Target<'_>) -> Result<Option<Vec<&'static str>>> {
    const FIELD: &str = "modalities";
    let Some(asked) = request.extra(FIELD).filter(|value| !value.is_null()) else { return Ok(None) };
    let asked: Vec<String> = asked.read().map_err(|_| {
        Error::invalid(Field::extra(FIELD), "This must be a list of \"text\", \"image\" and \"audio\".")
    })?;
    let mut found = Vec::new();
    for modality in &asked {
        match modality.to_ascii_lowercase().as_str() {
            "text" => found.push("TEXT"),
            "image" if target.facts.allows(Feature::ImageOutput) => found.push("IMAGE"),
            other => {
                let message = format!("This model does not answer with \"{other}\" here.");
                return Err(Error::unsupported(Field::extra(FIELD), message));
            }
        }
    }
    Ok((found.contains(&"IMAGE")).then_some(found))
}

fn output_format(
    request: &Request,
    target: Target<'_>,
    has_functions: bool,
    config: &mut GenerationConfig<'_>,
    losses: &mut Losses,
) -> Option<String> {
    lose_description(&request.output, losses);
    let schema = match &request.output {
        OutputFormat::Text => return None,
        OutputFormat::JsonObject => None,
        OutputFormat::JsonSchema { schema, .. } => schema.as_ref().filter(|schema| !schema.is_null()),
    };
    // "Function calling with a response mime type: 'application/json' is unsupported" before Gemini 3.
    if has_functions && !Generation::of(target.model).at_least(3, 0) {
        let reason =
            "This model does not combine tools with a response format: an instruction asks the model for it.";
        losses.emulated(Field::Output(OutputField::Whole), reason);
        return Some(instruction(schema));
    }
    config.response_mime_type = Some(JSON_MIME);
    let sanitised = schema.and_then(sanitise)?;
    if let Some(reason) = sanitised.reason() {
        losses.approximated(Field::Output(OutputField::Schema), reason);
    }
    config.response_json_schema = Some(sanitised.schema);
    None
}

fn instruction(schema: Option<&Json>) -> String {
    let rule = "Whenever you answer in place of calling a function, answer only with one JSON object, without Markdown fences or any other text";
    match schema {
        Some(schema) => format!("{rule}. It must fit this JSON schema:\n{}", schema.as_str()),
        None => format!("{rule}."),
    }
}
