//! Writes Cohere requests.

use std::borrow::Cow;
use std::collections::BTreeMap;

use canon::{
    Effort, Error, Feature, Field, Json, Losses, Media, MediaKind, Message, OutputField, OutputFormat, Part,
    PartKind, Reasoning, ReasoningControl, Request, Result, Role, Source, Target, ToolChoice, ToolField,
    ToolKind, ToolResult,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::json::{FormatOverhead, Output};
use crate::protocols::anthropic_messages::schema::{Rules, fit_for};
use crate::protocols::call_ids::{CallIds, plain_id};
use crate::protocols::function_tools::{
    FunctionTool, call_input, function_tools, json_instruction, note_wrapped,
};
use crate::protocols::unsupported::{
    BUDGET, OF_ANOTHER_FORMAT, Offers, lose_description, lose_failures, lose_hints, lose_marks, lose_proofs,
    lose_thinking, refuse_features,
};
use crate::{DecoderContext, Encoded};

/// Fields of this API that callers may send by their own names.
const NATIVE_FIELDS: [&str; 5] = ["documents", "citation_options", "safety_mode", "strict_tools", "priority"];

/// The largest budget for an effort.
const LARGEST_BUDGET: u64 = 31_000;
/// Largest `k`.
const MOST_CANDIDATES: u64 = 500;

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 31,
    part: 26,
    answer: 0,
    only: 0,
    call: 66,
    result: 17,
    tool: 54,
    joins: false,
};

pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    let logprobs = target.facts.allows(Feature::Logprobs);
    refuse_features(request, Offers { logprobs, ..Offers::default() })?;
    if request.top_logprobs.is_some_and(|count| count > 0) {
        let message =
            "This provider returns only the probabilities of the chosen tokens; do not request alternatives.";
        return Err(Error::unsupported(Field::TopLogprobs, message));
    }
    let mut losses = request.losses.clone();
    let mut decoding = DecoderContext::default();
    let mut output = Output::for_request(request, &AROUND);
    let settings = settings(request, target, &mut decoding, &mut losses, &mut output)?;
    output.members_of(&settings)?;
    Ok(Encoded { body: output.into_bytes(), losses, decoding })
}

/// The body without the messages, each of which is written when it is made: a conversation may have many
/// short ones.
#[derive(Serialize)]
struct Settings<'a> {
    model: &'a str,
    stream: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<FunctionTool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict_tools: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    stop_sequences: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    /// Fields of this API that the caller sent by their own names.
    #[serde(flatten)]
    native: BTreeMap<&'a str, &'a Json>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<Cow<'a, Json>>,
}

#[derive(Default, Serialize)]
struct Turn<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<CallsOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(PartsOf<'a>),
    /// Pictures out of results of tools.
    Shown(Vec<ContentPart<'a>>),
}

/// The parts of a message. Each is made when it is written: there may be many short ones.
struct PartsOf<'a>(&'a [Part]);

impl Serialize for PartsOf<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().filter_map(|part| match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => Some(ContentPart::Text { text }),
            PartKind::Media(media) => Some(image(media)),
            _ => None,
        }))
    }
}

/// The calls of a message, in the same way.
struct CallsOf<'a> {
    ids: &'a CallIds<'a>,
    index: usize,
    message: &'a Message,
}

impl Serialize for CallsOf<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.message.parts.iter().enumerate().filter_map(|(position, part)| {
            let PartKind::ToolCall(call) = &part.kind else { return None };
            let input = call_input(call);
            let function = CallFunction { name: &call.name, arguments: Arguments(input) };
            Some(Call { id: self.ids.id_at((self.index, position)), kind: "function", function })
        }))
    }
}

/// JSON text, as in OpenAI's API.
struct Arguments<'a>(Cow<'a, RawValue>);

impl Serialize for Arguments<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.get())
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ContentPart<'a> {
    Text { text: &'a str },
    ImageUrl { image_url: ImageUrl<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    function: CallFunction<'a>,
}

#[derive(Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    arguments: Arguments<'a>,
}

/// Writes the messages, and returns the rest of the body.
fn settings<'a>(
    request: &'a Request,
    target: Target<'a>,
    decoding: &mut DecoderContext,
    losses: &mut Losses,
    output: &mut Output,
) -> Result<Settings<'a>> {
    lose_marks(request, losses);
    lose_proofs(request, losses);
    lose_failures(request, losses);
    note_wrapped(request, losses);
    let sampling = &request.sampling;
    let tools = function_tools(request, decoding, losses)?;
    let (response_format, instruction) = response_format(request, losses);
    write_turns(request, instruction, losses, output)?;
    let within = |field: Field, value: Option<f64>, low: f64, high: f64, losses: &mut Losses| {
        let value = value?;
        if !(low..=high).contains(&value) {
            losses.approximated(field, format!("The provider's range is {low} to {high}."));
        }
        Some(value.clamp(low, high))
    };
    let settings = Settings {
        model: target.model,
        stream: request.stream,
        tool_choice: tool_choice(request, !tools.is_empty()),
        strict_tools: strict_tools(request, losses),
        tools,
        response_format,
        thinking: thinking(request, target, losses),
        max_tokens: request.max_tokens,
        stop_sequences: &request.stop,
        temperature: within(Field::Temperature, sampling.temperature, 0.0, 1.0, losses),
        p: within(Field::TopP, sampling.top_p, 0.01, 0.99, losses),
        k: top_k(request, losses),
        frequency_penalty: within(Field::FrequencyPenalty, sampling.frequency_penalty, 0.0, 1.0, losses),
        presence_penalty: within(Field::PresencePenalty, sampling.presence_penalty, 0.0, 1.0, losses),
        seed: sampling.seed.filter(|seed| *seed >= 0),
        logprobs: request.logprobs.filter(|wanted| *wanted),
        native: native_fields(request),
    };
    let mut carried = vec!["top_k", "frequency_penalty", "presence_penalty"];
    carried.extend(NATIVE_FIELDS);
    if settings.seed.is_some() {
        carried.push("seed");
    }
    lose_hints(request, &carried, losses);
    Ok(settings)
}

fn top_k(request: &Request, losses: &mut Losses) -> Option<u64> {
    let top_k = request.sampling.top_k?;
    if top_k > MOST_CANDIDATES {
        losses.approximated(Field::TopK, format!("The provider's range ends at {MOST_CANDIDATES}."));
    }
    Some(top_k.min(MOST_CANDIDATES))
}

fn native_fields(request: &Request) -> BTreeMap<&str, &Json> {
    let is_native = |name: &str| NATIVE_FIELDS.contains(&name) && name != "strict_tools";
    let extra = request.extra.iter().map(|(name, value)| (name.as_str(), value));
    extra.filter(|(name, value)| is_native(name) && !value.is_null()).collect()
}

/// Begins the body with the messages, after an instruction of the adapter.
fn write_turns(
    request: &Request,
    instruction: Option<String>,
    losses: &mut Losses,
    output: &mut Output,
) -> Result<()> {
    let ids = CallIds::of(request, plain_id);
    output.push(br#"{"messages":["#);
    if let Some(text) = instruction {
        let content = Some(Content::Text(Cow::Owned(text)));
        output.item(&Turn { role: "system", content, ..Turn::default() })?;
    }
    let mut shown = Vec::new();
    for (index, message) in request.messages.iter().enumerate() {
        // The results of one turn must follow each other.
        if message.role != Role::Tool {
            show(&mut shown, output)?;
        }
        match message.role {
            Role::System | Role::Developer => output.item(&spoken("system", index, message)?)?,
            Role::User => output.item(&spoken("user", index, message)?)?,
            Role::Assistant => output.item(&answered(index, message, &ids, losses))?,
            Role::Tool => {
                for (position, part) in message.parts.iter().enumerate() {
                    if let PartKind::ToolResult(result) = &part.kind {
                        let number = ids.answered((index, position));
                        let id =
                            number.map_or_else(|| plain_id(&result.call_id), |number| ids.id(number).into());
                        output.item(&result_turn(id, result))?;
                        show_later(index, result, &mut shown, losses)?;
                    }
                }
            }
        }
    }
    show(&mut shown, output)?;
    output.push(b"]");
    Ok(())
}

/// Notes what a result holds besides text: it follows the results.
fn show_later<'a>(
    index: usize,
    result: &'a ToolResult,
    shown: &mut Vec<ContentPart<'a>>,
    losses: &mut Losses,
) -> Result<()> {
    for (position, part) in result.content.iter().enumerate() {
        let path = || Field::result_part(index, position);
        match &part.kind {
            PartKind::Text(_) => {}
            PartKind::Media(media) => {
                check_image(media, path)?;
                let reason =
                    "The provider takes only text as the result of a tool: sent after it as a user message.";
                losses.approximated(path(), reason);
                shown.push(image(media));
            }
            _ => return Err(Error::invalid(path(), "Results of tools hold text and media only.")),
        }
    }
    Ok(())
}

/// Writes the pictures out of the results so far as a user message.
fn show(shown: &mut Vec<ContentPart<'_>>, output: &mut Output) -> Result<()> {
    if shown.is_empty() {
        return Ok(());
    }
    let content = Some(Content::Shown(std::mem::take(shown)));
    output.item(&Turn { role: "user", content, ..Turn::default() })
}

fn spoken<'a>(role: &'static str, index: usize, message: &'a Message) -> Result<Turn<'a>> {
    for (position, part) in message.parts.iter().enumerate() {
        let path = || Field::part(index, position);
        match &part.kind {
            PartKind::Text(_) | PartKind::Refusal(_) => {}
            PartKind::Media(media) if role == "user" => check_image(media, path)?,
            _ => {
                return Err(Error::unsupported(path(), "This provider accepts only text here."));
            }
        }
    }
    let content = match &message.parts[..] {
        [] => Content::Text(Cow::Borrowed("")),
        [Part { kind: PartKind::Text(text) | PartKind::Refusal(text), .. }] => {
            Content::Text(Cow::Borrowed(text))
        }
        parts => Content::Parts(PartsOf(parts)),
    };
    Ok(Turn { role, content: Some(content), ..Turn::default() })
}

fn check_image(media: &Media, path: impl Fn() -> Field) -> Result<()> {
    match (media.kind, &media.source) {
        (MediaKind::Image, Source::Url(_) | Source::Base64 { .. }) => Ok(()),
        (MediaKind::Image, Source::FileId(_) | Source::Text(_)) => {
            Err(Error::unsupported(path(), "This provider accepts images only as URLs."))
        }
        _ => Err(Error::unsupported(path(), "This provider accepts only text and images.")),
    }
}

fn image(media: &Media) -> ContentPart<'_> {
    let url = match &media.source {
        Source::Base64 { mime, data } => Cow::Owned(format!("data:{mime};base64,{data}")),
        Source::Url(text) | Source::FileId(text) | Source::Text(text) => Cow::Borrowed(text.as_str()),
    };
    ContentPart::ImageUrl { image_url: ImageUrl { url, detail: media.detail.as_deref() } }
}

/// A turn of the model. Text beside calls is sent as the plan that led to them.
fn answered<'a>(index: usize, message: &'a Message, ids: &'a CallIds<'a>, losses: &mut Losses) -> Turn<'a> {
    let mut text = String::with_capacity(length_of(&message.parts));
    let mut thoughts = String::new();
    let mut calls = None;
    for (position, part) in message.parts.iter().enumerate() {
        match &part.kind {
            PartKind::Text(piece) | PartKind::Refusal(piece) => text.push_str(piece),
            PartKind::Reasoning(reasoning) if is_own(reasoning, part) => {
                thoughts.push_str(&reasoning.text);
            }
            PartKind::Native(_) => losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT),
            PartKind::Reasoning(_) => losses.dropped(
                Field::thinking(index, position),
                "Thinking can be sent back only to the family of models that wrote it.",
            ),
            PartKind::ToolCall(_) => calls = Some(CallsOf { ids, index, message }),
            PartKind::Media(_) | PartKind::ToolResult(_) => losses.dropped(
                Field::part(index, position),
                "The provider does not accept media in assistant messages.",
            ),
        }
    }
    let is_thought = |part: &Part| matches!(part.kind, PartKind::Reasoning(_));
    let thinking = || Field::thinking(index, message.parts.iter().position(is_thought).unwrap_or(0));
    let mut turn = Turn { role: "assistant", ..Turn::default() };
    if calls.is_none() {
        if !thoughts.is_empty() {
            losses.dropped(thinking(), "The provider accepts earlier thinking only with tool calls.");
        }
        turn.content = Some(Content::Text(Cow::Owned(text)));
    } else {
        if !text.is_empty() && !thoughts.is_empty() {
            losses.dropped(
                thinking(),
                "The provider accepts one plan before tool calls: the text was sent as the plan.",
            );
        }
        let plan = if text.is_empty() { thoughts } else { text };
        turn.tool_plan = Some(plan).filter(|plan| !plan.is_empty());
    }
    turn.tool_calls = calls;
    turn
}

/// Whether our decoder made it from one of this provider's plans, whose format has no proof.
fn is_own(reasoning: &Reasoning, part: &Part) -> bool {
    let is_unproven = reasoning.encrypted.is_none() && part.signature.is_none();
    is_unproven && matches!(reasoning.format.as_deref(), None | Some("unknown"))
}

/// The total length of the texts.
fn length_of(parts: &[Part]) -> usize {
    let length = |part: &Part| match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => text.len(),
        _ => 0,
    };
    parts.iter().map(length).sum()
}

/// The texts of a result.
fn result_turn<'a>(id: Cow<'a, str>, result: &ToolResult) -> Turn<'a> {
    let mut text = String::with_capacity(length_of(&result.content));
    for part in &result.content {
        if let PartKind::Text(piece) = &part.kind {
            text.push_str(piece);
        }
    }
    let content = Some(Content::Text(Cow::Owned(text)));
    Turn { role: "tool", content, tool_call_id: Some(id), ..Turn::default() }
}

fn tool_choice(request: &Request, has_tools: bool) -> Option<&'static str> {
    let word = match request.tool_choice.as_ref()? {
        ToolChoice::Auto | ToolChoice::Allowed { required: false, .. } => return None,
        ToolChoice::None => "NONE",
        ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. } => {
            "REQUIRED"
        }
    };
    has_tools.then_some(word)
}

/// `strict_tools` is one switch for all tools.
fn strict_tools(request: &Request, losses: &mut Losses) -> Option<bool> {
    if let Some(asked) = request.extra("strict_tools").and_then(|value| value.read().ok()) {
        return Some(asked);
    }
    let strict = |kind: &ToolKind| matches!(kind, ToolKind::Function { strict: Some(true), .. });
    let count = request.tools.iter().filter(|tool| strict(&tool.kind)).count();
    if count == 0 || count == request.tools.len() {
        return (count > 0).then_some(true);
    }
    for (index, _) in request.tools.iter().enumerate().filter(|(_, tool)| strict(&tool.kind)) {
        losses.dropped(
            Field::tool(index, ToolField::Strict),
            "The provider's strict mode applies to all tools or to none.",
        );
    }
    None
}

/// The keywords that the provider's grammar supports ("Structured Outputs": no composition but `anyOf`, no
/// ranges, no lengths).
const SCHEMA_RULES: Rules = Rules {
    kept: &[
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$ref",
        "$defs",
        "description",
        "title",
        "default",
        "format",
        "pattern",
    ],
    closes: false,
};

/// The JSON mode excludes tools and documents: beside them the format becomes an instruction.
fn response_format<'a>(
    request: &'a Request,
    losses: &mut Losses,
) -> (Option<ResponseFormat<'a>>, Option<String>) {
    let json_schema = match &request.output {
        OutputFormat::Text => return (None, None),
        OutputFormat::JsonObject => None,
        OutputFormat::JsonSchema { schema, .. } => schema.as_ref(),
    };
    lose_description(&request.output, losses);
    if request.tools.is_empty() && request.extra("documents").is_none_or(Json::is_null) {
        let fitted = json_schema.and_then(|schema| fit_for(schema, SCHEMA_RULES));
        if fitted.as_ref().is_some_and(|fitted| fitted.weakened) {
            losses.approximated(
                Field::Output(OutputField::Schema),
                "The provider enforces a part of JSON schema; the rest was moved into descriptions.",
            );
        }
        let json_schema = fitted.map(|fitted| Cow::Owned(fitted.schema)).or(json_schema.map(Cow::Borrowed));
        return (Some(ResponseFormat { kind: "json_object", json_schema }), None);
    }
    losses.emulated(
        Field::Output(OutputField::Whole),
        "The provider does not combine this format with tools: an instruction asks the model for it.",
    );
    (None, json_instruction(&request.output))
}

fn thinking(request: &Request, target: Target<'_>, losses: &mut Losses) -> Option<Value> {
    let reasoning = &request.reasoning;
    if reasoning.is_unset() {
        return None;
    }
    let thinks = match &target.facts.reasoning {
        Some(control) => !matches!(control, ReasoningControl::None | ReasoningControl::Always),
        None => target.model.contains("reasoning"),
    };
    if !thinks {
        let always = matches!(target.facts.reasoning, Some(ReasoningControl::Always));
        if reasoning.is_on() || always {
            lose_thinking(request, "The model does not allow control of its thinking.", losses);
        }
        return None;
    }
    if !reasoning.is_on() {
        return Some(json!({"type": "disabled"}));
    }
    let effort = reasoning.effort.unwrap_or(Effort::Medium);
    let asked = reasoning.budget_tokens.unwrap_or_else(|| effort.budget().min(LARGEST_BUDGET));
    // Thinking counts towards the limit: a quarter is left for the answer.
    let budget = request.max_tokens.map_or(asked, |limit| asked.min(limit - limit / 4)).max(1);
    if reasoning.budget_tokens.is_some_and(|asked| asked != budget) {
        losses.approximated(BUDGET, "The budget was lowered: the answer needs a part of the output limit.");
    }
    Some(json!({"type": "enabled", "token_budget": budget}))
}
