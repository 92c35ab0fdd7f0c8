//! Tools and the choice among them.

use std::borrow::Cow;

use canon::{
    Error, Feature, Field, Json, Losses, OutputFormat, Request, Result, Target, Tool, ToolChoice, ToolField,
    ToolKind,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::schema::{is_empty_object, sanitise, typed};
use crate::json::Output;
use crate::protocols::function_tools::is_restricted;
use crate::protocols::gemini::model::Generation;
use crate::protocols::hosted::{self, Task, is_left_out};
use crate::protocols::offered::Offered;
use crate::protocols::tool_names::Names;

/// One function.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Declaration<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters_json_schema: Option<Json>,
}

/// `toolConfig`.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ToolConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    function_calling_config: Option<CallingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    include_server_side_tool_invocations: Option<bool>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct CallingConfig {
    mode: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allowed_function_names: Vec<String>,
}

impl CallingConfig {
    /// Whether the mode checks arguments against the schema.
    fn checks_arguments(&self) -> bool {
        matches!(self.mode, "VALIDATED" | "ANY")
    }
}

/// The facts about the written tools.
#[derive(Debug, Default)]
pub(crate) struct Tools {
    pub config: Option<ToolConfig>,
    pub has_functions: bool,
    /// The names, on the wire, of tools that take free text.
    pub custom: Vec<String>,
}

/// Fields of a `tools` entry that name the provider's own tools.
const BUILTINS: [&str; 11] = [
    "googleSearch",
    "googleSearchRetrieval",
    "enterpriseWebSearch",
    "googleMaps",
    "urlContext",
    "codeExecution",
    "computerUse",
    "fileSearch",
    "retrieval",
    "parallelAiSearch",
    "exaAiSearch",
];

/// The web search among them.
const SEARCH: &str = "googleSearch";

/// Only some of Google's services accept this field. A provider's `drop` list can name it.
const SERVER_SIDE: &str = "includeServerSideToolInvocations";

/// Appends the tools, one at a time, and translates the choice among them.
pub(super) fn tools(
    request: &Request,
    target: Target<'_>,
    names: &Names<'_>,
    losses: &mut Losses,
    out: &mut Output,
) -> Result<Tools> {
    let before = out.len();
    out.raw("tools", "[");
    let mut found = functions(request, target, names, losses, out)?;
    let has_builtins = builtins(request, target, found.has_functions, losses, out)?;
    if !found.has_functions && !has_builtins {
        out.truncate(before);
        return Ok(found);
    }
    out.push(b"]");
    if !found.has_functions {
        return Ok(found);
    }
    let generation = Generation::of(target.model);
    if has_builtins && !generation.at_least(3, 0) {
        return Err(Error::unsupported(
            Field::Tools,
            "This model cannot use the provider's own tools together with functions: send one kind only.",
        ));
    }
    let calling = calling_config(request, generation, names);
    if !calling.as_ref().is_some_and(CallingConfig::checks_arguments) {
        lose_strictness(request, losses);
    }
    let takes_both = has_builtins && !target.quirks.drop.iter().any(|name| name == SERVER_SIDE);
    let config = ToolConfig {
        function_calling_config: calling,
        include_server_side_tool_invocations: takes_both.then_some(true),
    };
    let is_empty =
        config.function_calling_config.is_none() && config.include_server_side_tool_invocations.is_none();
    found.config = (!is_empty).then_some(config);
    if request.parallel_tool_calls == Some(false) {
        losses.dropped(Field::ParallelToolCalls, "The provider cannot be limited to one tool call per turn.");
    }
    Ok(found)
}

/// Appends the caller's functions, which form one entry.
fn functions(
    request: &Request,
    target: Target<'_>,
    names: &Names<'_>,
    losses: &mut Losses,
    out: &mut Output,
) -> Result<Tools> {
    let mut found = Tools::default();
    let is_silenced = silenced(request, target);
    let offered = Offered::only(only_these(request), request);
    for (index, tool) in request.tools.iter().enumerate() {
        if tool.cache.is_some() {
            losses.dropped(Field::CacheMark, "The provider itself decides what it caches.");
        }
        if matches!(tool.kind, ToolKind::Native(_)) || is_silenced || !offered.has(&tool.name) {
            continue;
        }
        let is_first = !std::mem::replace(&mut found.has_functions, true);
        out.push(if is_first { br#"{"functionDeclarations":["# } else { b"," });
        out.value(&declaration(index, tool, names, losses, &mut found.custom))?;
    }
    if found.has_functions {
        out.push(b"]}");
    }
    Ok(found)
}

/// Appends the tools that the provider runs. False if there are none.
fn builtins(
    request: &Request,
    target: Target<'_>,
    with_functions: bool,
    losses: &mut Losses,
    out: &mut Output,
) -> Result<bool> {
    // Older models use functions or their provider's own tools, not both.
    let takes_both = Generation::of(target.model).at_least(3, 0);
    let offered = Offered::only(only_these(request), request);
    let (mut has_any, mut has_search) = (false, false);
    for (index, tool) in request.tools.iter().enumerate() {
        let ToolKind::Native(raw) = &tool.kind else { continue };
        if !takes_both && is_left_out(request, index, &offered, losses) {
            continue;
        }
        if hosted::is_repeated(request, index, losses) {
            continue;
        }
        let entry = builtin(index, raw, losses)?;
        has_any = true;
        has_search |= entry.get(SEARCH).is_some();
        out.comma();
        out.value(&entry)?;
    }
    if is_search_asked(request, target, with_functions, losses)? && !has_search {
        has_any = true;
        out.comma();
        out.value(&json!({SEARCH: {}}))?;
    }
    Ok(has_any)
}

/// Functions that must not be called may be omitted: older models can then have the response format, which
/// they refuse together with functions.
fn silenced(request: &Request, target: Target<'_>) -> bool {
    request.tool_choice == Some(ToolChoice::None)
        && request.output != OutputFormat::Text
        && !Generation::of(target.model).at_least(3, 0)
}

/// Without a mode that checks arguments, `strict` is lost.
fn lose_strictness(request: &Request, losses: &mut Losses) {
    let offered = Offered::only(only_these(request), request);
    for (index, tool) in request.tools.iter().enumerate().filter(|(_, tool)| is_strict(tool)) {
        // Tools that must not be called need no `strict`.
        if request.tool_choice != Some(ToolChoice::None) && offered.has(&tool.name) {
            let field = Field::tool(index, ToolField::Strict);
            losses.dropped(field, "The model's arguments are not checked against the schema.");
        }
    }
}

fn is_strict(tool: &Tool) -> bool {
    matches!(tool.kind, ToolKind::Function { strict: Some(true), .. })
}

/// With a free choice among some of the tools only those are declared: the API restricts by name only where a
/// call is required.
fn only_these(request: &Request) -> Option<&[String]> {
    match &request.tool_choice {
        Some(ToolChoice::Allowed { names, required: false }) => Some(names),
        _ => None,
    }
}

fn declaration<'a>(
    index: usize,
    tool: &'a Tool,
    names: &'a Names<'_>,
    losses: &mut Losses,
    custom: &mut Vec<String>,
) -> Declaration<'a> {
    let name = names.wire(&tool.name);
    let parameters_json_schema = match &tool.kind {
        ToolKind::Function { parameters, .. } => {
            parameters.as_ref().and_then(|schema| parameters_of(index, schema, losses))
        }
        ToolKind::Custom { format } => {
            custom.push(tool.name.clone());
            losses.emulated(
                Field::tool(index, ToolField::Whole),
                "A tool that takes free text is sent as a function.",
            );
            if is_restricted(format.as_ref()) {
                let reason = "The provider does not restrict free text by a grammar.";
                losses.dropped(Field::tool(index, ToolField::Grammar), reason);
            }
            Some(Json::of(
                &json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}),
            ))
        }
        ToolKind::Native(_) => None,
    };
    Declaration { name: name.into(), description: tool.description.as_deref(), parameters_json_schema }
}

fn parameters_of(index: usize, schema: &Json, losses: &mut Losses) -> Option<Json> {
    let field = || Field::tool(index, ToolField::Parameters);
    if schema.is_null() {
        return None;
    }
    let Some(sanitised) = sanitise(schema) else {
        losses.dropped(field(), "The schema is not a JSON object.");
        return None;
    };
    if let Some(reason) = sanitised.reason() {
        losses.approximated(field(), reason);
    }
    (!is_empty_object(&sanitised.schema)).then(|| typed(sanitised.schema))
}

/// A tool of the provider: by Google's name, or by other APIs' names for the same.
fn builtin(index: usize, raw: &Json, losses: &mut Losses) -> Result<Value> {
    let Ok(Value::Object(entry)) = raw.to_value() else { return Err(hosted::unsupported(raw, index)) };
    for (key, value) in &entry {
        if let Some(name) = BUILTINS.iter().find(|name| same_name(name, key)) {
            return Ok(json!({*name: value}));
        }
    }
    let name = match hosted::task(raw) {
        Some(Task::WebSearch) => "googleSearch",
        Some(Task::CodeExecution) => "codeExecution",
        Some(Task::WebFetch) => "urlContext",
        None => return Err(hosted::unsupported(raw, index)),
    };
    if entry
        .iter()
        .any(|(key, value)| !matches!(key.as_str(), "type" | "name" | "cache_control") && !value.is_null())
    {
        let reason = "The provider's tool of this kind has no such settings.";
        losses.approximated(Field::tool(index, ToolField::Whole), reason);
    }
    Ok(json!({name: {}}))
}

/// Names may be in camel case or with underscores.
fn same_name(camel: &str, given: &str) -> bool {
    camel == given || camel == camel_case(given)
}

/// `google_search` → `googleSearch`.
pub(crate) fn camel_case(name: &str) -> String {
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// Whether another format's field requests a web search.
fn is_search_asked(
    request: &Request,
    target: Target<'_>,
    with_functions: bool,
    losses: &mut Losses,
) -> Result<bool> {
    const FIELD: &str = "web_search_options";
    let Some(options) = request.extra(FIELD).filter(|options| !options.is_null()) else { return Ok(false) };
    if !target.facts.allows(Feature::WebSearch) {
        return Err(Error::unsupported(Field::extra(FIELD), "This model cannot search the web."));
    }
    if with_functions && !Generation::of(target.model).at_least(3, 0) {
        let message = "This model cannot search the web when functions are given as well.";
        return Err(Error::unsupported(Field::extra(FIELD), message));
    }
    if options.to_value().is_ok_and(|options| options.as_object().is_some_and(|options| !options.is_empty()))
    {
        losses.approximated(Field::extra(FIELD), "The provider searches without these settings.");
    }
    Ok(true)
}

fn calling_config(request: &Request, generation: Generation, names: &Names<'_>) -> Option<CallingConfig> {
    // Checked arguments are the meaning of `strict`; 2.5 and later support them.
    let free =
        if request.tools.iter().any(is_strict) && generation.at_least(2, 5) { "VALIDATED" } else { "AUTO" };
    let choice = match &request.tool_choice {
        None if free == "AUTO" => return None,
        None => &ToolChoice::Auto,
        Some(choice) => choice,
    };
    let (mode, allowed) = match choice {
        ToolChoice::Auto => (free, &[][..]),
        ToolChoice::None => ("NONE", &[][..]),
        ToolChoice::Required => ("ANY", &[][..]),
        ToolChoice::Named(name) => ("ANY", std::slice::from_ref(name)),
        ToolChoice::Allowed { names, required: true } => ("ANY", names.as_slice()),
        ToolChoice::Allowed { required: false, .. } => (free, &[][..]),
    };
    let allowed_function_names = allowed.iter().map(|name| names.wire(name).to_owned()).collect();
    Some(CallingConfig { mode, allowed_function_names })
}
