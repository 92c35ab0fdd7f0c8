//! The caller's tools.
//!
//! They occur in three places: in `tools`, in the input as `additional_tools`, and in the results of a tool
//! search; and they may be in namespaces. A model of another format gets one flat list of functions and
//! free-text tools. Tools that the caller's machine runs (`shell`, `apply_patch` …) are functions there;
//! their calls become items of the original kind in the answer.

use std::collections::{BTreeMap, BTreeSet};

use canon::{Error, Field, Json, Losses, Place, Request, Result, Tool, ToolChoice, ToolField, ToolKind};
use serde_json::{Value, json};

use crate::json::{Items, may_say, room};
use crate::protocols::fields::Fields;
use crate::protocols::hosted;

/// The kind of item for a call in the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super::super) enum CallForm {
    #[default]
    Function,
    Custom,
    LocalShell,
    Shell,
    ApplyPatch,
    ToolSearch,
}

impl CallForm {
    /// The type of the tool; the types of its calls and results begin with it.
    pub(in super::super::super) fn of_tool(kind: &str) -> Option<Self> {
        Some(match kind {
            "local_shell" => Self::LocalShell,
            "shell" => Self::Shell,
            "apply_patch" => Self::ApplyPatch,
            "tool_search" => Self::ToolSearch,
            _ => return None,
        })
    }

    fn description(self) -> &'static str {
        match self {
            Self::LocalShell => "Runs a command on the user's machine and returns its output.",
            Self::Shell => {
                "Runs shell commands on the user's machine, one after the other, and returns their outputs."
            }
            Self::ApplyPatch => {
                "Creates, changes or deletes one file. `diff` is a V4A diff: lines that begin with +, - or a space, in \
                 hunks that begin with @@; for a new file all lines begin with +."
            }
            Self::ToolSearch => "Searches for further tools.",
            Self::Function | Self::Custom => "",
        }
    }

    fn schema(self) -> Value {
        let text = || json!({"type": "string"});
        match self {
            Self::LocalShell => json!({"type": "object", "required": ["command"], "properties": {
                "command": {"type": "array", "items": text(), "description": "The program and its arguments."},
                "working_directory": text(), "timeout_ms": {"type": "integer"}}}),
            Self::Shell => json!({"type": "object", "required": ["commands"], "properties": {
                "commands": {"type": "array", "items": text()}, "timeout_ms": {"type": "integer"},
                "max_output_length": {"type": "integer"}}}),
            Self::ApplyPatch => json!({"type": "object", "required": ["type", "path"], "properties": {
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": text(), "diff": text()}}),
            Self::ToolSearch => json!({"type": "object", "properties": {"query": text()}}),
            Self::Function | Self::Custom => json!({"type": "object", "properties": {}}),
        }
    }
}

/// The caller's name of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super::super) struct CallerName {
    pub namespace: Option<String>,
    pub name: String,
    pub form: CallForm,
}

/// The caller's tools, flat.
#[derive(Debug, Default)]
pub(in super::super::super) struct CallerTools {
    tools: Vec<Tool>,
    /// By flat name: all except functions with exactly that name.
    names: BTreeMap<String, CallerName>,
    losses: Losses,
    /// The flat names during reading.
    known: BTreeSet<Box<str>>,
}

/// A tool as it is found.
struct ToolItem<'a> {
    namespace: Option<String>,
    fields: Fields<'a>,
    raw: &'a str,
    place: Place,
}

impl CallerTools {
    /// Reads the tools of a request.
    pub(in super::super::super) fn read(body: &Fields<'_>) -> Result<Self> {
        let ambiguous = ambiguous_names(body)?;
        let given = body.opt_list("tools").ok().flatten().map_or(0, Iterator::count);
        let mut tools = Self { tools: Vec::with_capacity(given), ..Self::default() };
        each_tool(body, &mut |tool| {
            let name = own_name(&tool.fields)?;
            let flat = match &tool.namespace {
                Some(namespace) if ambiguous.contains(&name) => format!("{namespace}__{name}"),
                _ => name.clone(),
            };
            tools.take(tool, name, flat)
        })?;
        tools.known = BTreeSet::new();
        Ok(tools)
    }

    fn take(&mut self, found: ToolItem<'_>, name: String, flat: String) -> Result<()> {
        let ToolItem { namespace, fields, raw, place } = found;
        let kind = fields.opt_text("type")?.unwrap_or_else(|| "function".to_owned());
        let description = fields.opt_text("description")?;
        let form = match kind.as_str() {
            "function" => CallForm::Function,
            "custom" => CallForm::Custom,
            "shell" if !is_local(&fields)? => return self.native(kind, raw, place),
            "tool_search" if fields.opt_text("execution")?.as_deref() != Some("client") => {
                self.losses.emulated(
                    fields.path("type"),
                    "All tools were sent at once: there is no search for tools.",
                );
                return Ok(());
            }
            kind => match CallForm::of_tool(kind) {
                Some(form) => form,
                None => return self.native(kind.to_owned(), raw, place),
            },
        };
        if !self.known.insert(flat.clone().into_boxed_str()) {
            return Ok(());
        }
        let kind = match form {
            CallForm::Function => {
                unread(&fields, &mut self.losses);
                ToolKind::Function {
                    parameters: fields.opt_schema("parameters")?,
                    strict: fields.opt_flag("strict")?,
                }
            }
            CallForm::Custom => {
                ToolKind::Custom { format: fields.opt_json("format").map(|format| nested_format(&format)) }
            }
            form => {
                let parameters = fields.opt_json("parameters").unwrap_or_else(|| Json::of(&form.schema()));
                ToolKind::Function { parameters: Some(parameters), strict: None }
            }
        };
        let usual = Some(form.description()).filter(|text| !text.is_empty()).map(str::to_owned);
        let description = description.or(usual);
        room::push(&mut self.tools, Tool { name: flat.clone(), description, kind, cache: None, place });
        if namespace.is_some() || form != CallForm::Function {
            self.names.insert(flat, CallerName { namespace, name, form });
        }
        Ok(())
    }

    /// A tool that the provider runs.
    fn native(&mut self, name: String, raw: &str, place: Place) -> Result<()> {
        let kind = ToolKind::Native(Json::copy_of(raw));
        hosted::push(&mut self.tools, Tool { name, description: None, kind, cache: None, place })
    }

    /// The flat name of a tool that was called in the history.
    pub(super) fn flat(&self, namespace: Option<&str>, name: String) -> String {
        let prefixed = namespace.map(|namespace| format!("{namespace}__{name}"));
        match prefixed.filter(|flat| self.names.contains_key(flat)) {
            Some(flat) => flat,
            None => name,
        }
    }

    /// The caller's name for a flat name; none where it is a function with that name.
    pub(in super::super::super) fn caller_name(&self, flat: &str) -> Option<&CallerName> {
        self.names.get(flat)
    }

    pub(super) fn into_request(self, request: &mut Request) {
        request.tools = self.tools;
        request.losses.extend(self.losses);
        // A search that is the only tool is a separate field in other formats.
        if request
            .tools
            .iter()
            .all(|tool| matches!(&tool.kind, ToolKind::Native(raw) if hosted::is_search(raw)))
            && let Some(Tool { kind: ToolKind::Native(raw), .. }) = request.tools.first()
        {
            request
                .extra
                .push(("web_search_options".to_owned(), hosted::search_options(raw, 0, &mut request.losses)));
            for index in 1..request.tools.len() {
                request.losses.dropped(Field::tool(index, ToolField::Whole), hosted::REPEATED);
            }
            request.tools.clear();
        }
    }
}

/// Fields of a function that other formats do not use.
fn unread(fields: &Fields<'_>, losses: &mut Losses) {
    for name in ["allowed_callers", "output_schema", "async"] {
        if fields.raw(name).is_some_and(|raw| !matches!(raw, "[]" | "false" | "[\"direct\"]")) {
            losses.dropped(fields.path(name), "Only providers of the Responses API have such a field.");
        }
    }
    if fields.raw("defer_loading").is_some_and(|raw| raw == "true") {
        losses.emulated(
            fields.path("defer_loading"),
            "All tools were sent at once: there is no search for tools.",
        );
    }
}

/// Calls back for every tool, with namespaces opened.
fn each_tool<'a>(body: &Fields<'a>, on_tool: &mut dyn FnMut(ToolItem<'a>) -> Result<()>) -> Result<()> {
    for (index, raw) in body.list("tools")?.enumerate() {
        open(raw, format!("tools[{index}]"), Place::entry(index), on_tool)?;
    }
    for (index, raw) in in_input(body).enumerate() {
        // A cheap check first: most items contain no tools.
        if !["additional_tools", "tool_search_output"].iter().any(|kind| may_say(raw.as_bytes(), kind)) {
            continue;
        }
        let item = Fields::parse(raw, format!("input[{index}]"))?;
        if !matches!(item.word("type")?.as_deref(), Some("additional_tools" | "tool_search_output")) {
            continue;
        }
        for (position, raw) in item.list("tools")?.enumerate() {
            open(raw, format!("input[{index}].tools[{position}]"), Place::NOWHERE, on_tool)?;
        }
    }
    Ok(())
}

/// The items of the input; none for a text.
fn in_input<'a>(body: &Fields<'a>) -> Items<'a> {
    Items::of(body.raw("input").unwrap_or_default())
}

fn open<'a>(
    raw: &'a str,
    path: String,
    place: Place,
    on_tool: &mut dyn FnMut(ToolItem<'a>) -> Result<()>,
) -> Result<()> {
    let fields = Fields::parse(raw, path)?;
    if fields.word("type")?.as_deref() != Some("namespace") {
        return on_tool(ToolItem { namespace: None, fields, raw, place });
    }
    let name = fields.text("name")?;
    for (index, raw) in fields.list("tools")?.enumerate() {
        let path = format!("{}[{index}]", fields.path("tools"));
        let (inner, place) = (Fields::parse(raw, path)?, place.piece(index));
        on_tool(ToolItem { namespace: Some(name.clone()), fields: inner, raw, place })?;
    }
    Ok(())
}

/// Names that tools of different namespaces share.
fn ambiguous_names(body: &Fields<'_>) -> Result<BTreeSet<String>> {
    let (mut seen, mut count) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
    let has_namespaces = [body.raw("tools"), body.raw("input")].into_iter().flatten();
    // A name with escapes could be that one.
    if !has_namespaces.into_iter().any(|raw| raw.contains("\"namespace\"") || raw.contains("\\u")) {
        return Ok(BTreeSet::new());
    }
    each_tool(body, &mut |tool| {
        let name = own_name(&tool.fields)?;
        // A tool search finds the same tool again in later turns.
        if seen.insert((tool.namespace, name.clone())) {
            *count.entry(name).or_default() += 1;
        }
        Ok(())
    })?;
    Ok(count.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name).collect())
}

/// The name of a tool; a tool without one is named after its type.
fn own_name(fields: &Fields<'_>) -> Result<String> {
    let kind = fields.opt_text("type")?.unwrap_or_else(|| "function".to_owned());
    match kind.as_str() {
        "function" | "custom" => fields.text("name"),
        _ => Ok(kind),
    }
}

/// A shell without an environment, or with the caller's own machine as one.
fn is_local(fields: &Fields<'_>) -> Result<bool> {
    let Some(environment) = fields.opt_fields("environment")? else { return Ok(true) };
    Ok(environment.opt_text("type")?.as_deref() == Some("local"))
}

/// A grammar in the form of chat completions: one level deeper.
fn nested_format(format: &Json) -> Json {
    match format.to_value() {
        Ok(Value::Object(mut members)) if members.get("type").is_some_and(|kind| kind == "grammar") => {
            members.shift_remove("type");
            Json::of(&json!({"type": "grammar", "grammar": members}))
        }
        _ => format.clone(),
    }
}

/// Which tool to call.
pub(super) fn choice(body: &Fields<'_>, request: &Request) -> Result<Option<ToolChoice>> {
    let Some(raw) = body.raw("tool_choice") else { return Ok(None) };
    let wrong = || body.wrong("tool_choice", "must be auto, none, required or an object.");
    if raw.starts_with('"') {
        return Ok(Some(match serde_json::from_str::<String>(raw).as_deref() {
            Ok("auto") => ToolChoice::Auto,
            Ok("none") => ToolChoice::None,
            Ok("required") => ToolChoice::Required,
            _ => return Err(wrong()),
        }));
    }
    let choice = Fields::parse(raw, "tool_choice".to_owned()).map_err(|_| wrong())?;
    let kind = choice.text("type")?;
    Ok(Some(match kind.as_str() {
        "allowed_tools" => {
            let known: BTreeSet<&str> = request.tools.iter().map(|tool| tool.name.as_str()).collect();
            let mut names = Vec::new();
            for (index, raw) in choice.list("tools")?.enumerate() {
                let tool = Fields::parse(raw, format!("tool_choice.tools[{index}]"))?;
                room::push(&mut names, chosen(&tool, |name| known.contains(name))?);
            }
            ToolChoice::Allowed { names, required: choice.opt_text("mode")?.as_deref() == Some("required") }
        }
        // The request for a search is its choice.
        _ if kind.starts_with("web_search") && request.tools.is_empty() => return Ok(None),
        _ => {
            let is_known = |name: &str| request.tools.iter().any(|tool| tool.name == name);
            ToolChoice::Named(chosen(&choice, is_known)?)
        }
    }))
}

/// The tool of a choice, by name or by type.
fn chosen(choice: &Fields<'_>, is_known: impl Fn(&str) -> bool) -> Result<String> {
    let kind = choice.text("type")?;
    let name = match kind.as_str() {
        "function" | "custom" => choice.text("name")?,
        _ => kind,
    };
    if is_known(&name) {
        return Ok(name);
    }
    let message = format!("{} names no tool of this request: {name:?}.", choice.path("name"));
    Err(Error::invalid(choice.path("name"), message))
}
