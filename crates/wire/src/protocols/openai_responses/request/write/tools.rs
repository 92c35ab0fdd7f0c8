//! Tools, the choice among them, and their names.

use std::borrow::Cow;

use canon::{Json, Losses, Request, Result, ToolChoice, ToolKind};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::json::Output;
use crate::protocols::Protocol;
use crate::protocols::hosted::{self, Task};
use crate::protocols::tool_names::Names;

/// A tool on the wire.
#[derive(Serialize)]
#[serde(untagged)]
enum Tool<'a> {
    Function {
        #[serde(rename = "type")]
        kind: &'static str,
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        parameters: Cow<'a, Json>,
        /// The API treats an absent value as true where it can.
        strict: bool,
    },
    Custom {
        #[serde(rename = "type")]
        kind: &'static str,
        name: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        format: Option<Value>,
    },
    Raw(&'a Json),
    Hosted(Value),
}

/// Appends the tools of a request, where there are any.
pub(super) fn tools(
    request: &Request,
    names: &Names<'_>,
    losses: &mut Losses,
    output: &mut Output,
) -> Result<()> {
    let searches = request.extra("web_search_options").filter(|options| !options.is_null());
    if request.tools.is_empty() && searches.is_none() {
        return Ok(());
    }
    output.raw("tools", "[");
    for (index, tool) in request.tools.iter().enumerate() {
        if matches!(&tool.kind, ToolKind::Native(raw) if !is_own(raw, request))
            && hosted::is_repeated(request, index, losses)
        {
            continue;
        }
        let description = tool.description.as_deref();
        output.item(&match &tool.kind {
            ToolKind::Function { parameters, strict } => Tool::Function {
                kind: "function",
                name: names.wire(&tool.name).into(),
                description,
                parameters: schema(parameters.as_ref()),
                strict: strict.unwrap_or(false),
            },
            ToolKind::Custom { format } => Tool::Custom {
                kind: "custom",
                name: names.wire(&tool.name).into(),
                description,
                format: format.as_ref().and_then(flat_format),
            },
            ToolKind::Native(raw) => native(raw, index, request, losses)?,
        })?;
    }
    if let Some(options) = searches {
        output.item(&Tool::Hosted(web_search(options)))?;
    }
    output.push(b"]");
    Ok(())
}

fn schema(parameters: Option<&Json>) -> Cow<'_, Json> {
    match parameters {
        Some(schema) if !schema.is_null() => Cow::Borrowed(schema),
        _ => Cow::Owned(Json::of(&json!({"type": "object", "properties": {}}))),
    }
}

/// A grammar in this API's form, from that of chat completions, which has it one level deeper.
fn flat_format(format: &Json) -> Option<Value> {
    let mut format = format.to_value().ok().filter(|format| !format.is_null())?;
    if let Some(Value::Object(grammar)) =
        format.as_object_mut().and_then(|format| format.shift_remove("grammar"))
    {
        format.as_object_mut()?.extend(grammar);
    }
    Some(format)
}

fn is_own(raw: &Json, request: &Request) -> bool {
    takes_types_of(request.format) && hosted::is_typed(raw)
}

/// A tool of another type. This API's own pass unchanged; equivalent ones of other formats are translated.
fn native<'a>(raw: &'a Json, index: usize, request: &Request, losses: &mut Losses) -> Result<Tool<'a>> {
    match hosted::task(raw) {
        _ if is_own(raw, request) => Ok(Tool::Raw(raw)),
        Some(Task::WebSearch) => {
            let entry = raw.to_value().unwrap_or_default();
            Ok(Tool::Hosted(hosted::web_search_of_anthropic(&entry, index, losses)))
        }
        Some(Task::CodeExecution) => Ok(Tool::Hosted(code_interpreter())),
        Some(Task::WebFetch) | None => Err(hosted::unsupported(raw, index)),
    }
}

/// Whether that format's callers use this API's tool types. Chat completions use OpenAI's.
fn takes_types_of(format: &str) -> bool {
    format.is_empty()
        || [Protocol::OpenaiResponses, Protocol::OpenaiChat]
            .iter()
            .any(|protocol| protocol.as_str() == format)
}

fn code_interpreter() -> Value {
    json!({"type": "code_interpreter", "container": {"type": "auto"}})
}

/// Chat's `web_search_options` as a tool. The place is one level deeper there.
fn web_search(options: &Json) -> Value {
    let mut tool = Map::from_iter([("type".to_owned(), json!("web_search"))]);
    let options = options.to_value().unwrap_or_default();
    if let Some(size) = options.get("search_context_size").filter(|size| !size.is_null()) {
        tool.insert("search_context_size".to_owned(), size.clone());
    }
    if let Some(Value::Object(place)) = options["user_location"].get("approximate") {
        let mut location = Map::from_iter([("type".to_owned(), json!("approximate"))]);
        location.extend(place.clone());
        tool.insert("user_location".to_owned(), Value::Object(location));
    }
    Value::Object(tool)
}

/// The choice on the wire; none for the default.
pub(super) fn choice(request: &Request, names: &Names<'_>) -> Option<Value> {
    let named = |name: &str| {
        let tool = request.tools.iter().find(|tool| tool.name == name);
        match tool.map(|tool| &tool.kind) {
            Some(ToolKind::Custom { .. }) => json!({"type": "custom", "name": names.wire(name)}),
            Some(ToolKind::Native(raw)) => json!({"type": raw.to_value().unwrap_or_default()["type"]}),
            _ => json!({"type": "function", "name": names.wire(name)}),
        }
    };
    Some(match request.tool_choice.as_ref()? {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => named(name),
        ToolChoice::Allowed { names: allowed, required } => json!({
            "type": "allowed_tools",
            "mode": if *required { "required" } else { "auto" },
            "tools": allowed.iter().map(|name| named(name)).collect::<Vec<_>>(),
        }),
    })
}
