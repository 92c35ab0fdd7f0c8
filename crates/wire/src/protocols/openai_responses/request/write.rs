//! Writes a request for a provider.

mod input;
mod tools;

use canon::{Effort, Field, Json, Losses, OutputFormat, ReasoningControl, Request, Result, Target};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::super::REASONING_FORMAT;
use crate::json::{FormatOverhead, Output};
use crate::protocols::anthropic_messages::tools::NAMES;
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::{self, Offers};
use crate::{DecoderContext, Encoded};

/// The API accepts no smaller limit (400 `integer_below_min_value`).
const LEAST_OUTPUT: u64 = 16;

/// Top-level fields with other names and the same meaning.
const SAME: [&str; 9] = [
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
    "moderation",
    "truncation",
    "max_tool_calls",
];
/// Fields that are carried elsewhere, or whose loss is reported where they are handled.
const CARRIED: [&str; 6] =
    ["user", "parallel_tool_calls", "verbosity", "store", "modalities", "web_search_options"];

/// The body without its input. Unset fields are omitted: the provider has its own defaults.
#[derive(Serialize)]
struct Settings<'a> {
    model: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(flatten)]
    settings: Map<String, Value>,
    #[serde(flatten)]
    raw: RawFields<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
}

/// The form of the answer.
#[derive(Default, Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a Json>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<&'a Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

/// Fields that pass unchanged.
struct RawFields<'a>(Vec<(&'a str, &'a Json)>);

impl Serialize for RawFields<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 44,
    part: 33,
    answer: 33,
    only: 2,
    call: 64,
    result: 13,
    tool: 44,
    joins: false,
};

/// Translates a request.
pub(in super::super) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse(request)?;
    let mut losses = request.losses.clone();
    unsupported::lose_proofs(request, &mut losses);
    unsupported::lose_marks(request, &mut losses);
    unsupported::lose_failures(request, &mut losses);
    let names = Names::of(request, NAMES);
    let mut output = Output::for_request(request, &AROUND);
    input::input(request, target, &names, &mut losses, &mut output)?;
    tools::tools(request, &names, &mut losses, &mut output)?;
    let mut writer = Writer { request, target, settings: Map::new(), user: request.user.as_deref(), losses };
    writer.sampling();
    let text = writer.text();
    writer.answer_form();
    writer.reasoning();
    writer.limits();
    if let Some(choice) = tools::choice(request, &names) {
        writer.put("tool_choice", choice);
    }
    writer.put("parallel_tool_calls", request.parallel_tool_calls);
    let raw = writer.fields();
    writer.refused_fields();
    let Writer { settings, user, losses, .. } = writer;
    output.members_of(&Settings { model: target.model, text, settings, raw: RawFields(raw), user })?;
    let decoding = DecoderContext { tool_names: names.into_originals(), ..DecoderContext::default() };
    Ok(Encoded { body: output.into_bytes(), losses, decoding })
}

/// Refuses features that this format lacks. Log probabilities and a web search exist.
fn refuse(request: &Request) -> Result<()> {
    unsupported::refuse_features(request, Offers { logprobs: true, web_search: true, fields: &[] })
}

struct Writer<'a> {
    request: &'a Request,
    target: Target<'a>,
    settings: Map<String, Value>,
    user: Option<&'a str>,
    losses: Losses,
}

impl<'a> Writer<'a> {
    fn put(&mut self, name: &str, value: impl Serialize) {
        if let Ok(value) = serde_json::to_value(value)
            && !value.is_null()
        {
            self.settings.insert(name.to_owned(), value);
        }
    }

    fn sampling(&mut self) {
        let request = self.request;
        self.put("temperature", request.sampling.temperature);
        self.put("top_p", request.sampling.top_p);
        if !request.stop.is_empty() {
            self.losses.dropped(Field::Stop, "The Responses API has no stop texts.");
        }
        if request.logprobs == Some(true) || request.top_logprobs.is_some_and(|count| count > 0) {
            self.put("top_logprobs", request.top_logprobs);
            self.include("message.output_text.logprobs");
        }
    }

    fn include(&mut self, what: &str) {
        let list = self.settings.entry("include").or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(what.into());
        }
    }

    /// `text` contains the format and the verbosity. The schema stays text.
    fn text(&mut self) -> Option<Text<'a>> {
        let request = self.request;
        let format = match &request.output {
            OutputFormat::Text => None,
            OutputFormat::JsonObject | OutputFormat::JsonSchema { schema: None, .. } => {
                unsupported::lose_description(&request.output, &mut self.losses);
                Some(Format {
                    kind: "json_object",
                    name: None,
                    schema: None,
                    description: None,
                    strict: None,
                })
            }
            OutputFormat::JsonSchema { name, description, schema: Some(schema), strict } => Some(Format {
                kind: "json_schema",
                name: Some(name),
                schema: Some(schema),
                description: description.as_deref(),
                strict: *strict,
            }),
        };
        let text = Text { format, verbosity: request.extra("verbosity") };
        (text.format.is_some() || text.verbosity.is_some()).then_some(text)
    }

    fn answer_form(&mut self) {
        let request = self.request;
        if request.stream {
            self.put("stream", true);
        }
        // By default the API stores each answer for 30 days.
        let stores = request.extra("store").is_some_and(|store| store.as_str() == "true");
        self.put("store", stores);
    }

    fn reasoning(&mut self) {
        let mut reasoning = Map::new();
        if let Some(effort) = self.effort() {
            reasoning.insert("effort".to_owned(), effort.as_str().into());
        }
        if let Some(summary) = &self.request.reasoning.summary {
            reasoning.insert("summary".to_owned(), json!(summary));
        }
        if !reasoning.is_empty() {
            self.put("reasoning", reasoning);
        }
        if self.thinks() {
            self.include("reasoning.encrypted_content");
        }
    }

    /// Models that do not think refuse to encrypt their thinking ("Encrypted content is not supported with
    /// this model").
    fn thinks(&self) -> bool {
        match &self.target.facts.reasoning {
            Some(control) => *control != ReasoningControl::None,
            None => self.request.reasoning.is_on() || has_proofs(self.request),
        }
    }

    fn effort(&mut self) -> Option<Effort> {
        let reasoning = &self.request.reasoning;
        let asked = reasoning.effort.or(reasoning.budget_tokens.map(Effort::of_budget))?;
        let reason = match &self.target.facts.reasoning {
            Some(ReasoningControl::None) if asked == Effort::None => return None,
            Some(ReasoningControl::None) => "The model does not think.",
            Some(ReasoningControl::Always) => "The model does not allow control of its thinking.",
            control => {
                let given = match control {
                    Some(ReasoningControl::Effort { levels } | ReasoningControl::Object { levels })
                        if !levels.is_empty() =>
                    {
                        asked.nearest(levels)?
                    }
                    _ => asked,
                };
                unsupported::lose_budget(self.request, &mut self.losses);
                if given != asked && reasoning.effort.is_some() {
                    self.losses.approximated(
                        Field::ReasoningEffort,
                        "The model has other levels of effort: the nearest was sent.",
                    );
                } else if reasoning.effort.is_none()
                    && reasoning.budget_tokens == Some(0)
                    && given != Effort::None
                {
                    self.losses
                        .approximated(Field::ReasoningBudget, "The model's thinking cannot be switched off.");
                }
                return Some(given);
            }
        };
        unsupported::lose_thinking(self.request, reason, &mut self.losses);
        None
    }

    fn limits(&mut self) {
        let Some(limit) = self.request.max_tokens else { return };
        if limit < LEAST_OUTPUT {
            self.losses
                .approximated(Field::MaxTokens, "The Responses API does not accept a limit below 16 tokens.");
        }
        self.put("max_output_tokens", limit.max(LEAST_OUTPUT));
    }

    /// Fields that pass unchanged; all others are reported.
    fn fields(&mut self) -> Vec<(&'a str, &'a Json)> {
        let known = [&SAME[..], &CARRIED].concat();
        unsupported::lose_hints(self.request, &known, &mut self.losses);
        let dropped = |name: &str| self.target.quirks.drop.iter().any(|dropped| dropped == name);
        let same =
            self.request.extra.iter().filter(|(name, _)| SAME.contains(&name.as_str()) && !dropped(name));
        same.map(|(name, value)| (name.as_str(), value)).collect()
    }

    /// Fields that this provider or model refuses. The lists have the names of chat completions.
    fn refused_fields(&mut self) {
        let (facts, quirks) = (self.target.facts, self.target.quirks);
        let effort = self.settings.get("reasoning").and_then(|reasoning| reasoning["effort"].as_str());
        let thinks = effort.map_or(facts.thinks_by_default, |effort| effort != "none");
        let while_thinking: &[String] = if thinks { &facts.rejects_thinking } else { &[] };
        for name in quirks.drop.iter().chain(&facts.rejects).chain(while_thinking) {
            let here = match name.as_str() {
                "max_tokens" | "max_completion_tokens" => "max_output_tokens",
                "reasoning_effort" => "reasoning",
                name => name,
            };
            let is_extra = SAME.contains(&name.as_str())
                && self.request.extra(name).is_some_and(|value| !value.is_null());
            let is_user = here == "user" && self.user.take().is_some();
            if self.settings.shift_remove(here).is_some() || is_extra || is_user {
                self.losses
                    .dropped(field_of(name), "The provider or the model does not accept this parameter.");
            }
        }
    }
}

/// The field for a quirk's or a model fact's name in chat completions.
fn field_of(name: &str) -> Field {
    match name {
        "temperature" => Field::Temperature,
        "top_p" => Field::TopP,
        "top_logprobs" => Field::TopLogprobs,
        "max_tokens" | "max_completion_tokens" => Field::MaxTokens,
        "reasoning_effort" => Field::ReasoningEffort,
        "parallel_tool_calls" => Field::ParallelToolCalls,
        "tool_choice" => Field::ToolChoice,
        "user" => Field::User,
        name => Field::extra(name.to_owned()),
    }
}

fn has_proofs(request: &Request) -> bool {
    let parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.into_iter().any(|part| match &part.kind {
        canon::PartKind::Reasoning(thought) => {
            thought.encrypted.is_some()
                && thought.format.as_deref().is_none_or(|format| format == REASONING_FORMAT)
        }
        _ => false,
    })
}
