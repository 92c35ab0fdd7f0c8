//! Writes a request for a provider.

pub(crate) mod schema;
pub(crate) mod thinking;
pub(crate) mod tools;
mod turns;

use std::borrow::Cow;

use canon::{
    Error, Feature, Field, Json, Losses, OutputField, OutputFormat, Request, Result, Target,
    ToolChoice as Choice,
};
use serde_json::Number;

use super::super::types::{
    Block, Body, CacheControl, ClientTool, Content, Metadata, OutputConfig, OutputSchema, Tool, ToolChoice,
};
use crate::json::{FormatOverhead, Output};
use crate::protocols::cache_marks::{MARK_LIMIT, TOO_MANY_MARKS, kept_marks};
use crate::protocols::fields::Fields;
use crate::protocols::stop_texts::StopTexts;
use crate::protocols::tool_names::Names;
use crate::protocols::unsupported::{self, Offers};
use crate::{DecoderContext, Encoded};
use schema::{Enforced, Unfit};
use thinking::{Generation, Plan};
use tools::NAMES;
use turns::{Conversation, TurnInputs, text_block};

/// Top-level fields of this protocol, which pass unchanged.
const OWN_FIELDS: [&str; 9] = [
    "cache_control",
    "container",
    "context_management",
    "mcp_servers",
    "inference_geo",
    "speed",
    "fallbacks",
    "diagnostics",
    "user_profile_id",
];
/// Fields with other names that are carried, or whose loss is reported where they are handled.
const CARRIED: [&str; 10] = [
    "top_k",
    "user",
    "parallel_tool_calls",
    "thinking",
    "output_config",
    "modalities",
    "service_tier",
    "safety_identifier",
    "metadata",
    "web_search_options",
];
/// The API's limit for the length of `user_id`.
const USER_LIMIT: usize = 512;

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 31,
    part: 26,
    answer: 26,
    only: 0,
    call: 49,
    result: 54,
    tool: 28,
    joins: true,
};

/// Translates a request. See the module of each part for its rules.
pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse(request)?;
    let mut losses = request.losses.clone();
    unsupported::lose_proofs(request, &mut losses);
    let mut decoding = DecoderContext::default();
    let names = Names::of(request, NAMES);
    let mut thinking_losses = Losses::new();
    let mut plan = thinking::plan(request, target, &mut thinking_losses);
    let schemas = takes_schemas(target);
    let mut enforced = schemas.then(Enforced::default);
    let form = form(request, enforced.as_mut(), &mut losses)?;
    let mut output = Output::for_request(request, &AROUND);
    let talk = TurnInputs { request, model: target.model, thinking: plan.is_on(), names: &names };
    let Conversation { mut system, marks, thoughtless } = talk.write(0, &mut losses, &mut output)?;
    if thoughtless && plan.has_budget() {
        thinking_losses = plan.give_up(request);
    }
    losses.extend(thinking_losses);
    let mut tools = tools::tools(request, &names, enforced.as_mut(), &mut decoding, &mut losses)?;
    let forced = takes_forced_tools(target, &plan);
    let mut choice = tools::choice(request, &names, !tools.is_empty(), forced, &mut losses)?;
    let mut format = None;
    match form {
        Form::Text => {}
        Form::Native(output) => format = Some(output),
        Form::Instruction(instruction) => system.push(text_block(Cow::Owned(instruction), None)),
        Form::Tool { schema, description } => {
            let tool = json_tool(request, &names, schema, description);
            // Tools that must not be called are not offered beside the tool for the answer.
            if choice == Some(ToolChoice::None) && !request.tools.is_empty() {
                tools.clear();
            }
            choice = Some(json_choice(choice, &tool, tools.is_empty() || request.tools.is_empty(), forced));
            if !forced {
                let hint = format!("Give the final answer by calling the tool `{}`.", tool.name);
                system.push(text_block(Cow::Owned(hint), None));
            }
            decoding.json_tool = Some(tool.name.clone().into_owned());
            tools.push(Tool::Client(tool));
        }
    }
    let mut body = Body {
        model: target.model,
        max_tokens: plan.max_tokens,
        stream: request.stream,
        tools,
        tool_choice: choice,
        thinking: plan.thinking,
        ..Body::default()
    };
    if !system.is_empty() {
        body.system = Some(turns::plain(system));
    }
    sampling(request, target, &plan, &mut body, &mut losses);
    extras(request, target, &mut body, &mut losses);
    output_config(request, &plan, format, &mut body);
    let surplus = limit_marks(&mut body, marks, &mut losses);
    if surplus > 0 {
        output.truncate(0);
        talk.write(surplus, &mut losses, &mut output)?;
    }
    output.members_of(&body)?;
    drop(body);
    decoding.tool_names = names.into_originals();
    Ok(Encoded { body: output.into_bytes(), losses, decoding })
}

/// Features that this protocol lacks. A web search exists, as a tool.
fn refuse(request: &Request) -> Result<()> {
    let offers = Offers { web_search: true, fields: &["mcp_servers", "container"], ..Offers::default() };
    unsupported::refuse_features(request, offers)
}

pub(crate) fn takes_schemas(target: Target<'_>) -> bool {
    let by_name = || Generation::of(target.model).is_none_or(Generation::has_output_schema);
    let known = target.facts.features.map(|features| features.has(Feature::JsonSchema));
    !target.quirks.no_json_schema && known.unwrap_or_else(by_name)
}

/// A forced call and a thinking budget exclude each other; with adaptive thinking it works (recorded: opus 4.6).
fn takes_forced_tools(target: Target<'_>, plan: &Plan) -> bool {
    !plan.has_budget()
        && !target.quirks.no_forced_tool_choice
        && !target.facts.rejects("tool_choice")
        && !Generation::of(target.model).is_some_and(Generation::refuses_forced_tools)
}

/// How the form of the answer is achieved.
enum Form {
    Text,
    Native(OutputSchema),
    Instruction(String),
    /// By a tool whose input is the answer.
    Tool {
        schema: Json,
        description: Option<String>,
    },
}

fn form(request: &Request, enforced: Option<&mut Enforced>, losses: &mut Losses) -> Result<Form> {
    let instruct = |losses: &mut Losses, schema: Option<&Json>, reason: &'static str| {
        losses.emulated(Field::Output(OutputField::Whole), reason);
        let what = if schema.is_some() { "value" } else { "object" };
        let mut text =
            format!("Answer with one valid JSON {what} and nothing else: no explanation, no code fence.");
        if let Some(schema) = schema {
            text.push_str("\nIt has to fit this JSON schema: ");
            text.push_str(schema.as_str());
        }
        Ok(Form::Instruction(text))
    };
    const NO_MODE: &str = "The provider has no JSON mode: an instruction asks the model for JSON.";
    let (name, description, schema) = match &request.output {
        OutputFormat::Text => return Ok(Form::Text),
        OutputFormat::JsonObject => return instruct(losses, None, NO_MODE),
        OutputFormat::JsonSchema { schema: None, .. } => return instruct(losses, None, NO_MODE),
        OutputFormat::JsonSchema { name, description, schema: Some(schema), .. } => {
            (name, description, schema)
        }
    };
    let (fitted, reason) = match enforced.map(|enforced| enforced.answer(schema)) {
        Some(Ok(fitted)) => (Some(fitted), NO_MODE),
        Some(Err(Unfit::NotAnObject)) => {
            return Err(Error::invalid(
                Field::Output(OutputField::Schema),
                "The schema must be a JSON object.",
            ));
        }
        Some(Err(unfit)) => (None, unfit.reason()),
        None => (None, NO_MODE),
    };
    let Some(fitted) = fitted else {
        // The tool for the answer would compete with a required call.
        if !schema::is_object(schema) || is_call_required(request) {
            return instruct(losses, Some(schema), reason);
        }
        let reason =
            if reason == NO_MODE { "The model has no JSON mode: it answers through a tool." } else { reason };
        losses.emulated(Field::Output(OutputField::Whole), reason);
        let description = description.clone().or_else(|| Some(format!("The final answer: {name}.")));
        return Ok(Form::Tool { schema: schema.clone(), description });
    };
    if fitted.weakened {
        losses.approximated(
            Field::Output(OutputField::Schema),
            "The provider enforces a part of JSON schema; the rest was moved into descriptions.",
        );
    }
    if description.is_some() {
        losses.dropped(Field::Output(OutputField::Description), "The provider accepts only the schema.");
    }
    Ok(Form::Native(OutputSchema { kind: "json_schema", schema: fitted.schema }))
}

fn is_call_required(request: &Request) -> bool {
    match &request.tool_choice {
        Some(Choice::Required | Choice::Named(_)) => true,
        Some(Choice::Allowed { required, .. }) => *required,
        _ => false,
    }
}

/// The tool for the answer, with a name that no other tool has.
fn json_tool<'a>(
    request: &Request,
    names: &Names<'_>,
    schema: Json,
    description: Option<String>,
) -> ClientTool<'a> {
    let mut name = "json_response".to_owned();
    let taken: Vec<_> = request.tools.iter().map(|tool| names.wire(&tool.name)).collect();
    while taken.contains(&name.as_str()) {
        name.push('_');
    }
    ClientTool {
        name: Cow::Owned(name),
        description: description.map(Cow::Owned),
        input_schema: schema::tool_input(Some(&schema)).0,
        strict: false,
        cache_control: None,
    }
}

/// The answer must now be a tool call: of this tool, or of one of the caller's tools.
fn json_choice(choice: Option<ToolChoice>, tool: &ClientTool<'_>, alone: bool, forced: bool) -> ToolChoice {
    let disable_parallel_tool_use =
        matches!(choice, Some(ToolChoice::Auto { disable_parallel_tool_use: true }));
    match (forced, alone) {
        (false, _) => ToolChoice::Auto { disable_parallel_tool_use },
        (true, false) => ToolChoice::Any { disable_parallel_tool_use },
        (true, true) => {
            let name = tool.name.clone().into_owned();
            ToolChoice::Tool { name, disable_parallel_tool_use: false }
        }
    }
}

/// A number as JSON writes it.
fn number(value: f64) -> Option<Number> {
    if value.fract() == 0.0 && value.abs() < 1e9 {
        Some(Number::from(value as i64))
    } else {
        Number::from_f64(value)
    }
}

fn sampling<'a>(
    request: &'a Request,
    target: Target<'_>,
    plan: &Plan,
    body: &mut Body<'a>,
    losses: &mut Losses,
) {
    let generation = Generation::of(target.model);
    let refused = generation.is_some_and(Generation::refuses_sampling);
    let gone = |field| refused || target.facts.rejects(field);
    let sampling = &request.sampling;
    if let Some(temperature) = sampling.temperature {
        if temperature == 1.0 && (gone("temperature") || plan.is_on()) {
            // A temperature of one is the default.
        } else if gone("temperature") {
            losses.dropped(Field::Temperature, "The model does not accept sampling parameters.");
        } else if plan.is_on() {
            losses.dropped(Field::Temperature, "A model that thinks does not accept a temperature.");
        } else {
            if temperature > 1.0 {
                losses.approximated(Field::Temperature, "The provider's range ends at 1.");
            }
            body.temperature = number(temperature.clamp(0.0, 1.0));
        }
    }
    if let Some(top_p) = sampling.top_p {
        // Only hosts of this vendor's models refuse both; generations are known only for these models.
        let both = body.temperature.is_some() && generation.is_some_and(Generation::refuses_both_samplings);
        if gone("top_p") {
            losses.dropped(Field::TopP, "The model does not accept sampling parameters.");
        } else if both {
            losses.dropped(Field::TopP, "The model accepts either a temperature or top-p.");
        } else if plan.is_on() && top_p < 0.95 {
            losses.dropped(Field::TopP, "A model that thinks does not accept a top-p below 0.95.");
        } else {
            body.top_p = number(top_p);
        }
    }
    if let Some(top_k) = sampling.top_k {
        if gone("top_k") || plan.is_on() {
            losses.dropped(Field::TopK, "The model does not accept a top-k here.")
        } else {
            body.top_k = Some(top_k)
        }
    }
    stops(request, target, body, losses);
}

fn stops<'a>(request: &'a Request, target: Target<'_>, body: &mut Body<'a>, losses: &mut Losses) {
    if request.stop.is_empty() {
        return;
    }
    if target.facts.rejects("stop") {
        losses.dropped(Field::Stop, "The model does not accept stop texts.");
        return;
    }
    body.stop_sequences = StopTexts(&request.stop);
    if request.stop.iter().any(|stop| stop.trim().is_empty()) {
        losses.dropped(Field::Stop, "The provider does not accept stop texts of white space alone.");
    }
}

/// The user and every further field: carried where there is a counterpart, otherwise lost.
fn extras<'a>(request: &'a Request, target: Target<'_>, body: &mut Body<'a>, losses: &mut Losses) {
    let mut user = request.user.as_deref().map(Cow::Borrowed);
    for (name, value) in request.extra.iter().filter(|(_, value)| !value.is_null()) {
        if target.facts.rejects(name) {
            losses.dropped(Field::extra(name.clone()), "The model refuses this parameter.");
            continue;
        }
        match name.as_str() {
            "service_tier" => body.service_tier = service_tier(value, losses),
            "safety_identifier" if user.is_none() => user = value.read::<String>().ok().map(Cow::Owned),
            "metadata" => metadata(value, &mut user, losses),
            name if OWN_FIELDS.contains(&name) => body.own.push((name, value)),
            "safety_identifier" => {
                losses.dropped(Field::extra("safety_identifier"), "The provider accepts one user id.")
            }
            // Read elsewhere, or lost.
            _ => {}
        }
    }
    unsupported::lose_hints(request, &[&CARRIED[..], &OWN_FIELDS[..]].concat(), losses);
    let Some(user_id) = user else { return };
    // The API refuses anything that looks like an e-mail address: it wants no personal data.
    if user_id.contains('@') || user_id.len() > USER_LIMIT || target.facts.rejects("user") {
        losses.dropped(Field::User, "The provider accepts only a short opaque id.");
    } else if !user_id.is_empty() {
        body.metadata = Some(Metadata { user_id });
    }
}

fn service_tier(value: &Json, losses: &mut Losses) -> Option<&'static str> {
    match value.read::<String>().as_deref() {
        Ok("auto") => Some("auto"),
        Ok("default" | "standard_only") => Some("standard_only"),
        Ok("priority") => {
            losses.approximated(Field::extra("service_tier"), "Priority is used where the account has it.");
            Some("auto")
        }
        _ => {
            losses.dropped(Field::extra("service_tier"), "The provider has no such tier.");
            None
        }
    }
}

/// `metadata.user_id` is the user; the provider stores no other labels.
fn metadata(value: &Json, user: &mut Option<Cow<'_, str>>, losses: &mut Losses) {
    let Ok(fields) = Fields::parse(value.as_str(), "metadata".to_owned()) else {
        losses.dropped(Field::extra("metadata"), "The value is not an object.");
        return;
    };
    let id = fields.opt_text("user_id").ok().flatten();
    match (id, user.as_ref()) {
        (Some(id), None) => *user = Some(Cow::Owned(id)),
        (Some(id), Some(user)) if id != *user => {
            losses.dropped(Field::extra("metadata"), "The provider accepts one user id.");
        }
        _ => {}
    }
    if fields.others(&["user_id"]).next().is_some() {
        losses.dropped(Field::extra("metadata"), "The provider stores no labels.");
    }
}

/// The format of the answer, the effort, and the members that a caller of this protocol put beside them.
fn output_config(request: &Request, plan: &Plan, format: Option<OutputSchema>, body: &mut Body<'_>) {
    let own = request
        .extra("output_config")
        .and_then(|config| Fields::parse(config.as_str(), String::new()).ok())
        .map(|fields| fields.into_members(&["effort", "format"]))
        .unwrap_or_default();
    let config = OutputConfig { effort: plan.effort, format, own };
    if config.effort.is_some() || config.format.is_some() || !config.own.is_empty() {
        body.output_config = Some(config);
    }
}

/// Keeps as many cache marks as the API accepts, and returns how many of the first marks in the turns have to
/// be left out.
fn limit_marks(body: &mut Body<'_>, in_turns: usize, losses: &mut Losses) -> usize {
    let automatic = body.own.iter().any(|(name, _)| *name == "cache_control");
    let mut groups: [Vec<&mut Option<CacheControl>>; 2] = Default::default();
    groups[0].extend(body.tools.iter_mut().map(Tool::cache_mark).filter(|mark| mark.is_some()));
    if let Some(Content::Blocks(blocks)) = &mut body.system {
        groups[1].extend(blocks.iter_mut().filter_map(Block::cache_mark).filter(|mark| mark.is_some()));
    }
    let counts = [groups[0].len(), groups[1].len(), in_turns];
    let kept = kept_marks(counts, if automatic { MARK_LIMIT - 1 } else { MARK_LIMIT });
    if kept != counts {
        losses.dropped(Field::CacheMark, TOO_MANY_MARKS);
    }
    for (group, kept) in groups.into_iter().zip(kept) {
        let surplus = group.len() - kept;
        group.into_iter().take(surplus).for_each(|mark| *mark = None);
    }
    in_turns - kept[2]
}
