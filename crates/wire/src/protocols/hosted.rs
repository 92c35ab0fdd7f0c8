//! Tools that providers run themselves, where several formats have an equivalent one.

use super::offered::Offered;
use crate::json::room;
use canon::{Error, Field, Json, Losses, Request, Result, Tool, ToolChoice, ToolField, ToolKind};
use serde_json::{Map, Value, json};

/// Most of these tools in a request that is translated. An entry may be as short as its name, and all are kept
/// until it is known which of them the provider has. Providers have about a dozen.
const MOST: usize = 256;

/// Why a second tool of the same kind is left out.
pub(super) const REPEATED: &str = "The provider has one tool of this kind: the first one was sent.";

/// Appends a tool to those of a request.
pub(super) fn push(tools: &mut Vec<Tool>, tool: Tool) -> Result<()> {
    let is_hosted = |tool: &Tool| matches!(tool.kind, ToolKind::Native(_));
    if tools.len() >= MOST
        && is_hosted(&tool)
        && tools.iter().filter(|tool| is_hosted(tool)).nth(MOST - 1).is_some()
    {
        let message = format!("`tools` has more than {MOST} tools that providers run.");
        return Err(Error::invalid("tools", message));
    }
    room::push(tools, tool);
    Ok(())
}

/// The name of a dated tool type of Anthropic's (`web_search_20250305`); none for types of other forms.
pub(super) fn dated(kind: &str) -> Option<&str> {
    let (name, date) = kind.rsplit_once('_')?;
    (date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())).then_some(name)
}

/// Anthropic's web search in the form of the Responses API.
pub(super) fn web_search_of_anthropic(entry: &Value, tool: usize, losses: &mut Losses) -> Value {
    let mut search = Map::from_iter([("type".to_owned(), json!("web_search"))]);
    if let Some(domains) = entry.get("allowed_domains").filter(|domains| domains.is_array()) {
        search.insert("filters".to_owned(), json!({ "allowed_domains": domains }));
    }
    if let Some(place) = entry.get("user_location").filter(|place| place.is_object()) {
        search.insert("user_location".to_owned(), place.clone());
    }
    for name in ["max_uses", "blocked_domains"] {
        if entry.get(name).is_some_and(|value| !value.is_null()) {
            losses.dropped(
                Field::tool(tool, ToolField::Other(name)),
                "The provider's web search has no such limit.",
            );
        }
    }
    Value::Object(search)
}

/// True for a web search of the Responses API. Some vendors' tools have the same type, with their settings in
/// a member of that name (Z.ai).
pub(super) fn is_search(raw: &Json) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool<'a> {
        #[serde(rename = "type", borrow)]
        kind: std::borrow::Cow<'a, str>,
        #[serde(default)]
        web_search: Option<serde::de::IgnoredAny>,
    }
    let tool = raw.read::<Tool<'_>>();
    tool.is_ok_and(|tool| {
        tool.kind.starts_with("web_search") && dated(&tool.kind).is_none() && tool.web_search.is_none()
    })
}

/// The function of a provider's tool that several formats have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    WebSearch,
    CodeExecution,
    WebFetch,
}

/// The function of the tool; none where only one format has it.
pub(super) fn task(raw: &Json) -> Option<Task> {
    if is_search(raw) {
        return Some(Task::WebSearch);
    }
    let name = name(raw);
    Some(match dated(&name).unwrap_or(&name) {
        // Without a date, the type is OpenAI's (read above) or that of a vendor's own search, which has
        // another form.
        "web_search" if dated(&name).is_some() => Task::WebSearch,
        "googleSearch" | "google_search" | "googleSearchRetrieval" => Task::WebSearch,
        "codeExecution" | "code_execution" | "code_interpreter" => Task::CodeExecution,
        "urlContext" | "url_context" | "web_fetch" => Task::WebFetch,
        _ => return None,
    })
}

/// The name by which callers know the kind of tool: its type, or for Google its only member.
pub(super) fn name(raw: &Json) -> String {
    let entry = raw.to_value().unwrap_or_default();
    let kind = entry["type"].as_str().map(str::to_owned);
    kind.or_else(|| entry.as_object()?.keys().next().cloned()).unwrap_or_default()
}

/// Whether the tool has a type as OpenAI writes them.
pub(super) fn is_typed(raw: &Json) -> bool {
    raw.to_value().is_ok_and(|entry| entry["type"].as_str().is_some_and(|kind| dated(kind).is_none()))
}

/// The error for a tool that exists only in another format.
pub(super) fn unsupported(raw: &Json, tool: usize) -> Error {
    let message = format!("The provider has no tool of the type {:?}; send a function.", name(raw));
    Error::unsupported(Field::tool(tool, ToolField::Type), message)
}

/// Whether a tool of this type is left out where the provider has none: a web search beside functions, which
/// coding agents offer to every model. The model can answer without it, and the caller gets a loss. A search
/// that is the only tool is refused instead.
pub(super) fn is_left_out(
    request: &Request,
    tool: usize,
    offered: &Offered<'_>,
    losses: &mut Losses,
) -> bool {
    let Some(ToolKind::Native(raw)) = request.tools.get(tool).map(|tool| &tool.kind) else { return false };
    let is_chosen =
        matches!(&request.tool_choice, Some(ToolChoice::Named(name)) if *name == request.tools[tool].name);
    if !offered.has_functions || is_chosen || task(raw) != Some(Task::WebSearch) {
        return false;
    }
    losses.dropped(
        Field::tool(tool, ToolField::Whole),
        "The provider does not combine web search with function tools.",
    );
    true
}

/// Whether an earlier tool does the same: two that become one tool would have the same name. The caller gets a
/// loss.
pub(super) fn is_repeated(request: &Request, tool: usize, losses: &mut Losses) -> bool {
    let task_of = |tool: &Tool| match &tool.kind {
        ToolKind::Native(raw) => task(raw),
        _ => None,
    };
    let Some((own, earlier)) = request.tools.get(..=tool).and_then(<[Tool]>::split_last) else {
        return false;
    };
    let Some(wanted) = task_of(own) else { return false };
    let is_repeated = earlier.iter().any(|other| task_of(other) == Some(wanted));
    if is_repeated {
        losses.dropped(Field::tool(tool, ToolField::Whole), REPEATED);
    }
    is_repeated
}

/// A web search of another format as Anthropic's tool, in the version that most models support.
pub(super) fn search_for_anthropic(raw: &Json, tool: usize, losses: &mut Losses) -> Vec<(String, Json)> {
    let given = raw.to_value().unwrap_or_default();
    let mut members = vec![
        ("type".to_owned(), Json::of("web_search_20250305")),
        ("name".to_owned(), Json::of("web_search")),
    ];
    if let Some(domains) = given["filters"].get("allowed_domains").filter(|domains| domains.is_array()) {
        members.push(("allowed_domains".to_owned(), Json::of(domains)));
    }
    if let Some(Value::Object(place)) = given.get("user_location") {
        let place: Map<String, Value> = place
            .iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        members.push(("user_location".to_owned(), Json::of(&place)));
    }
    for name in ["search_context_size", "external_web_access", "search_content_types"] {
        if given.get(name).is_some_and(|value| !value.is_null() && *value != true) {
            losses.dropped(
                Field::tool(tool, ToolField::Other(name)),
                "The provider's web search has no such setting.",
            );
        }
    }
    members
}

/// A web search of any format as `web_search_options` of chat completions, where the location is one level
/// deeper.
pub(super) fn search_options(raw: &Json, tool: usize, losses: &mut Losses) -> Json {
    let given = raw.to_value().unwrap_or_default();
    let mut options = Map::new();
    if let Some(size) = given.get("search_context_size").filter(|size| !size.is_null()) {
        options.insert("search_context_size".to_owned(), size.clone());
    }
    if let Some(Value::Object(place)) = given.get("user_location") {
        let mut place = place.clone();
        place.shift_remove("type");
        options.insert("user_location".to_owned(), json!({"type": "approximate", "approximate": place}));
    }
    for name in ["filters", "allowed_domains", "blocked_domains", "max_uses"] {
        if given.get(name).is_some_and(|value| !value.is_null()) {
            losses.dropped(
                Field::tool(tool, ToolField::Other(name)),
                "The provider's web search has no such setting.",
            );
        }
    }
    Json::of(&options)
}
