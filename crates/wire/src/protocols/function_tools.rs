//! Function tools in OpenAI's form, which several vendors adopted, and replacements for features that a
//! vendor lacks.

use std::borrow::Cow;

use canon::{
    CallField, Field, Json, Losses, OutputFormat, Request, Result, ToolCall, ToolChoice, ToolField, ToolKind,
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::hosted::{self, is_left_out};
use super::offered::Offered;
use crate::DecoderContext;
use crate::json::room;

/// One tool in OpenAI's shape.
#[derive(Debug, Serialize)]
pub(super) struct FunctionTool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Debug, Serialize)]
struct Function<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    parameters: Cow<'a, Json>,
}

/// The tools that the choice allows, as functions; tools of other types are refused.
pub(super) fn function_tools<'a>(
    request: &'a Request,
    decoding: &mut DecoderContext,
    losses: &mut Losses,
) -> Result<Vec<FunctionTool<'a>>> {
    let mut tools = Vec::new();
    let offered = match &request.tool_choice {
        Some(ToolChoice::Named(only)) => Offered::only(Some(std::slice::from_ref(only)), request),
        _ => Offered::of(request),
    };
    for (index, tool) in request.tools.iter().enumerate() {
        if !offered.has(&tool.name) || is_left_out(request, index, &offered, losses) {
            continue;
        }
        let parameters = match &tool.kind {
            ToolKind::Function { parameters: Some(schema), .. } if !schema.is_null() => Cow::Borrowed(schema),
            ToolKind::Function { .. } => Cow::Owned(Json::of(&json!({"type": "object", "properties": {}}))),
            ToolKind::Custom { format } => {
                if is_restricted(format.as_ref()) {
                    losses.dropped(
                        Field::tool(index, ToolField::Grammar),
                        "The provider does not support grammars.",
                    );
                }
                losses.emulated(
                    Field::tool(index, ToolField::Whole),
                    "A tool that takes free text is sent as a function.",
                );
                decoding.custom_tools.push(tool.name.clone());
                Cow::Owned(free_text_schema())
            }
            ToolKind::Native(raw) => return Err(hosted::unsupported(raw, index)),
        };
        let description = tool.description.as_deref().filter(|text| !text.is_empty());
        let function = Function { name: &tool.name, description, parameters };
        room::push(&mut tools, FunctionTool { kind: "function", function });
    }
    Ok(tools)
}

/// True when a grammar is requested; `{"type":"text"}` is none.
pub(super) fn is_restricted(format: Option<&Json>) -> bool {
    let is_free =
        |format: &Json| format.is_null() || format.to_value().is_ok_and(|format| format["type"] == "text");
    format.is_some_and(|format| !is_free(format))
}

/// The input of a tool that takes free text, wrapped as a function's.
pub(super) fn free_text_schema() -> Json {
    Json::of(&json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}))
}

/// The text within `{"input": "…"}`; any other form is passed unchanged.
pub(super) fn unwrap_free_text(wrapped: String) -> String {
    #[derive(Deserialize)]
    struct Wrapped {
        input: String,
    }
    match serde_json::from_str::<Wrapped>(&wrapped) {
        Ok(inner) => inner.input,
        Err(_) => wrapped,
    }
}

/// The arguments of a call where they are an object; free text and invalid JSON wrapped into one.
pub(super) fn call_input(call: &ToolCall) -> Cow<'_, RawValue> {
    if !call.custom
        && let Some(raw) = as_object(&call.arguments)
    {
        return Cow::Borrowed(raw);
    }
    let wrapped = if call.arguments.trim().is_empty() && !call.custom {
        RawValue::from_string("{}".to_owned())
    } else {
        serde_json::value::to_raw_value(&json!({"input": call.arguments}))
    };
    wrapped.map_or(Cow::Borrowed(RawValue::NULL), Cow::Owned)
}

/// Reports the calls whose arguments [`call_input`] wraps into an object.
pub(super) fn note_wrapped(request: &Request, losses: &mut Losses) {
    for (index, message) in request.messages.iter().enumerate() {
        for (position, call) in message.tool_calls().enumerate() {
            let is_kept = call.custom || call.arguments.trim().is_empty();
            if !is_kept && as_object(&call.arguments).is_none() {
                let field = Field::call(index, position, CallField::Arguments);
                losses.approximated(field, "The arguments are not a JSON object: they were wrapped in one.");
            }
        }
    }
}

fn as_object(arguments: &str) -> Option<&RawValue> {
    let text = arguments.trim();
    text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
}

/// The instruction that replaces a JSON mode; none for free text.
pub(super) fn json_instruction(output: &OutputFormat) -> Option<String> {
    const ONLY_JSON: &str =
        "Answer with one JSON object and nothing else: no words before or after it, and no code fences.";
    match output {
        OutputFormat::Text => None,
        OutputFormat::JsonSchema { schema: Some(schema), .. } => {
            Some(format!("{ONLY_JSON} It must fit this JSON schema: {}", schema.as_str()))
        }
        OutputFormat::JsonObject | OutputFormat::JsonSchema { .. } => Some(ONLY_JSON.to_owned()),
    }
}
