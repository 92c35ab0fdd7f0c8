//! The caller's tools.
//!
//! They stand in three places: in `tools`, in the input as `additional_tools`, and in the results of a search for tools;
//! and they may stand in namespaces. A model of another format sees one flat list of functions and free-text tools. Tools
//! that the caller's machine runs (`shell`, `apply_patch` …) are functions there, whose calls become items of their own
//! kind again on the way back.

use std::collections::{BTreeMap, BTreeSet};

use canon::{Error, Json, Losses, Place, Request, Result, Tool, ToolChoice, ToolKind};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::protocols::fields::Fields;
use crate::protocols::hosted;

/// As what a call goes back to the caller.
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
    /// The type of the tool; that of its calls and results begins with it.
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

/// How a tool is called by the caller.
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
    /// By the flat name.
    names: BTreeMap<String, CallerName>,
    losses: Losses,
}

/// A tool as it is found.
struct Found<'a> {
    namespace: Option<String>,
    fields: Fields<'a>,
    raw: &'a RawValue,
    place: Place,
}

impl CallerTools {
    /// Reads the tools of a request.
    pub(in super::super::super) fn read(body: &Fields<'_>) -> Result<Self> {
        let mut found = Vec::new();
        for (index, raw) in body.opt_list("tools")?.unwrap_or_default().into_iter().enumerate() {
            gather(raw, format!("tools[{index}]"), Place::entry(index), &mut found)?;
        }
        for (raw, path) in in_input(body)? {
            gather(raw, path, Place::NOWHERE, &mut found)?;
        }
        let mut tools = Self::default();
        let mut count: BTreeMap<String, usize> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        for tool in &found {
            let name = own_name(&tool.fields)?;
            // A search for tools finds the same tool again in later turns.
            if seen.insert((tool.namespace.clone(), name.clone())) {
                *count.entry(name).or_default() += 1;
            }
        }
        for tool in found {
            let name = own_name(&tool.fields)?;
            let flat = match &tool.namespace {
                Some(namespace) if count.get(&name).is_some_and(|count| *count > 1) => {
                    format!("{namespace}__{name}")
                }
                _ => name.clone(),
            };
            tools.take(tool, name, flat)?;
        }
        Ok(tools)
    }

    fn take(&mut self, found: Found<'_>, name: String, flat: String) -> Result<()> {
        let Found { namespace, fields, raw, place } = found;
        let kind = fields.opt_text("type")?.unwrap_or_else(|| "function".to_owned());
        let description = fields.opt_text("description")?;
        let form = match kind.as_str() {
            "function" => CallForm::Function,
            "custom" => CallForm::Custom,
            "shell" if !is_local(&fields)? => return self.native(kind, raw, place),
            "tool_search" if fields.opt_text("execution")?.as_deref() != Some("client") => {
                self.losses.emulated(
                    fields.path("type"),
                    "All tools are given at once in place of a search for them.",
                );
                return Ok(());
            }
            kind => match CallForm::of_tool(kind) {
                Some(form) => form,
                None => return self.native(kind.to_owned(), raw, place),
            },
        };
        if self.names.contains_key(&flat) {
            return Ok(());
        }
        let kind = match form {
            CallForm::Function => {
                unread(&fields, &mut self.losses);
                ToolKind::Function {
                    parameters: fields.opt_json("parameters"),
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
        self.tools.push(Tool {
            name: flat.clone(),
            description: description.or(usual),
            kind,
            cache: None,
            place,
        });
        self.names.insert(flat, CallerName { namespace, name, form });
        Ok(())
    }

    /// A tool that the provider runs.
    fn native(&mut self, name: String, raw: &RawValue, place: Place) -> Result<()> {
        self.tools.push(Tool {
            name,
            description: None,
            kind: ToolKind::Native(Json::from(raw)),
            cache: None,
            place,
        });
        Ok(())
    }

    /// The flat name of a tool that was called in the history.
    pub(super) fn flat(&self, namespace: Option<&str>, name: String) -> String {
        let prefixed = namespace.map(|namespace| format!("{namespace}__{name}"));
        match prefixed.filter(|flat| self.names.contains_key(flat)) {
            Some(flat) => flat,
            None => name,
        }
    }

    /// How the caller calls the tool of this flat name.
    pub(in super::super::super) fn caller_name(&self, flat: &str) -> Option<&CallerName> {
        self.names.get(flat)
    }

    pub(super) fn into_request(self, request: &mut Request) {
        request.tools = self.tools;
        request.losses.extend(self.losses);
        // A search that is asked for by itself is a wish of its own in other formats.
        if request
            .tools
            .iter()
            .all(|tool| matches!(&tool.kind, ToolKind::Native(raw) if hosted::is_search(raw)))
            && let Some(Tool { kind: ToolKind::Native(raw), .. }) = request.tools.first()
        {
            request
                .extra
                .push(("web_search_options".to_owned(), hosted::search_options(raw, 0, &mut request.losses)));
            request.tools.clear();
        }
    }
}

/// Fields of a function that other formats have no use for.
fn unread(fields: &Fields<'_>, losses: &mut Losses) {
    for name in ["allowed_callers", "output_schema", "async"] {
        if fields.raw(name).is_some_and(|raw| !matches!(raw.get(), "[]" | "false" | "[\"direct\"]")) {
            losses.dropped(fields.path(name), "Only providers of the Responses API have such a field.");
        }
    }
    if fields.raw("defer_loading").is_some_and(|raw| raw.get() == "true") {
        losses.emulated(
            fields.path("defer_loading"),
            "All tools are given at once in place of a search for them.",
        );
    }
}

/// Opens namespaces.
fn gather<'a>(raw: &'a RawValue, path: String, place: Place, found: &mut Vec<Found<'a>>) -> Result<()> {
    let fields = Fields::parse(raw, path)?;
    if fields.opt_text("type")?.as_deref() != Some("namespace") {
        found.push(Found { namespace: None, fields, raw, place });
        return Ok(());
    }
    let name = fields.text("name")?;
    for (index, raw) in fields.opt_list("tools")?.unwrap_or_default().into_iter().enumerate() {
        let path = format!("{}[{index}]", fields.path("tools"));
        found.push(Found {
            namespace: Some(name.clone()),
            fields: Fields::parse(raw, path)?,
            raw,
            place: place.piece(index),
        });
    }
    Ok(())
}

/// Tools that stand in the input.
fn in_input<'a>(body: &Fields<'a>) -> Result<Vec<(&'a RawValue, String)>> {
    let Some(raw) = body.raw("input").filter(|raw| raw.get().starts_with('[')) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let items: Vec<&'a RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| body.wrong("input", "must be a list."))?;
    for (index, raw) in items.into_iter().enumerate() {
        // A cheap look first: most items hold no tools.
        if !raw.get().contains("\"additional_tools\"") && !raw.get().contains("\"tool_search_output\"") {
            continue;
        }
        let item = Fields::parse(raw, format!("input[{index}]"))?;
        if !matches!(item.opt_text("type")?.as_deref(), Some("additional_tools" | "tool_search_output")) {
            continue;
        }
        for (position, tool) in item.opt_list("tools")?.unwrap_or_default().into_iter().enumerate() {
            found.push((tool, format!("input[{index}].tools[{position}]")));
        }
    }
    Ok(found)
}

/// The name of a tool; types that have none are called after the type.
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

/// A grammar as chat completions have it: one level deeper.
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
    if raw.get().starts_with('"') {
        return Ok(Some(match serde_json::from_str::<String>(raw.get()).as_deref() {
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
            let mut names = Vec::new();
            for (index, raw) in choice.opt_list("tools")?.unwrap_or_default().into_iter().enumerate() {
                let tool = Fields::parse(raw, format!("tool_choice.tools[{index}]"))?;
                names.push(chosen(&tool, request)?);
            }
            ToolChoice::Allowed { names, required: choice.opt_text("mode")?.as_deref() == Some("required") }
        }
        // The wish for a search is the choice of it.
        _ if kind.starts_with("web_search") && request.tools.is_empty() => return Ok(None),
        _ => ToolChoice::Named(chosen(&choice, request)?),
    }))
}

/// The tool that a choice means, by name or by type.
fn chosen(choice: &Fields<'_>, request: &Request) -> Result<String> {
    let kind = choice.text("type")?;
    let name = match kind.as_str() {
        "function" | "custom" => choice.text("name")?,
        _ => kind,
    };
    if request.tools.iter().any(|tool| tool.name == name) {
        return Ok(name);
    }
    let message = format!("{} names no tool of this request: {name:?}.", choice.path("name"));
    Err(Error::invalid(choice.path("name"), message))
}
