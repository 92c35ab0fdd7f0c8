//! Tools, the choice among them, and their names.

use std::borrow::Cow;
use std::collections::BTreeSet;

use canon::{Error, Field, Json, Losses, Request, Result, ToolChoice as Choice, ToolField, ToolKind};
use serde_json::json;
use serde_json::value::RawValue;

use super::schema::{self, Enforced, Unfit};
use crate::DecoderContext;
use crate::protocols::anthropic_messages::types::{CacheControl, ClientTool, Tool, ToolChoice};
use crate::protocols::hosted::Task;
use crate::protocols::offered::Offered;
use crate::protocols::tool_names::{NameRule, Names};
use crate::protocols::{call_ids, hosted};

/// Longest name that every host of this protocol accepts.
const NAME_LIMIT: usize = 64;
/// Longest call id that every host of this protocol accepts.
const ID_LIMIT: usize = 64;

/// The names that all hosts of Claude accept, and OpenAI's Responses API.
pub(crate) const NAMES: NameRule =
    NameRule { is_valid: is_valid_name, plain: plain_name, longest: NAME_LIMIT };

/// The names of the tools that were called in the history, each once.
fn called_names(request: &Request) -> BTreeSet<&str> {
    request.messages.iter().flat_map(|message| message.tool_calls()).map(|call| &*call.name).collect()
}

fn is_valid_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(is_id_byte)
}

pub(crate) fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn plain_name(name: &str) -> String {
    let plain = |byte: u8| if is_id_byte(byte) { char::from(byte) } else { '_' };
    let plain: String = name.bytes().take(NAME_LIMIT - 4).map(plain).collect();
    if plain.is_empty() { "tool".to_owned() } else { plain }
}

/// A tool-call id in the alphabet of the API: `^[a-zA-Z0-9_-]+$`, within the 64 characters of its hosts.
pub(crate) fn wire_id(id: &str) -> Cow<'_, str> {
    call_ids::clean(id, ID_LIMIT, is_id_byte)
}

/// The tools of a request that the choice allows.
pub(super) fn tools<'a>(
    request: &'a Request,
    names: &'a Names<'_>,
    mut enforced: Option<&mut Enforced>,
    decoding: &mut DecoderContext,
    losses: &mut Losses,
) -> Result<Vec<Tool<'a>>> {
    let offered = Offered::of(request);
    let mut tools = Vec::with_capacity(request.tools.len());
    for (index, tool) in request.tools.iter().enumerate() {
        if !offered.has(&tool.name) {
            continue;
        }
        let wire = match &tool.kind {
            ToolKind::Function { parameters, strict } => {
                let enforced = enforced.as_deref_mut().filter(|_| *strict == Some(true));
                let tool = function((index, tool), parameters.as_ref(), enforced, names, losses);
                if strict.unwrap_or(false) && !tool.strict {
                    // The reason was reported where it was found.
                    losses.dropped(Field::tool(index, ToolField::Strict), Unfit::Changed.reason());
                }
                Tool::Client(tool)
            }
            ToolKind::Custom { format } => {
                decoding.custom_tools.push(tool.name.clone());
                losses.emulated(
                    Field::tool(index, ToolField::Whole),
                    "A tool that takes free text is sent as a function.",
                );
                Tool::Client(custom(tool, format.as_ref(), names))
            }
            ToolKind::Native(raw) => match native(raw, tool.cache.as_ref().map(CacheControl::from)) {
                Some(own) => own,
                None if hosted::is_repeated(request, index, losses) => continue,
                None if hosted::task(raw) == Some(Task::WebSearch) => Tool::Server {
                    members: hosted::search_for_anthropic(raw, index, losses),
                    cache_control: None,
                },
                None => return Err(hosted::unsupported(raw, index)),
            },
        };
        tools.push(wire);
    }
    if let Some(options) = search_options(request) {
        tools.push(web_search(options, losses)?);
    }
    if tools.is_empty() {
        tools = history_tools(request, names, losses);
    }
    Ok(tools)
}

fn search_options(request: &Request) -> Option<&Json> {
    request.extra("web_search_options").filter(|options| !options.is_null())
}

/// OpenAI's option becomes the provider's own tool, in the version that most models support.
fn web_search<'a>(options: &Json, losses: &mut Losses) -> Result<Tool<'a>> {
    let options = crate::protocols::fields::Fields::parse(options.as_str(), "web_search_options".to_owned())?;
    let mut members = vec![
        ("type".to_owned(), Json::of("web_search_20250305")),
        ("name".to_owned(), Json::of("web_search")),
    ];
    if options.raw("search_context_size").is_some() {
        losses.dropped(
            Field::extra("web_search_options.search_context_size"),
            "The provider itself decides how much of the results it reads.",
        );
    }
    if let Some(location) =
        options.opt_fields("user_location")?.map(|at| at.opt_fields("approximate")).transpose()?
    {
        let place = location.map(|place| place.into_members(&["type"])).unwrap_or_default();
        let mut all: serde_json::Map<String, serde_json::Value> =
            [("type".to_owned(), json!("approximate"))].into_iter().collect();
        all.extend(place.into_iter().filter_map(|(name, value)| Some((name, value.to_value().ok()?))));
        members.push(("user_location".to_owned(), Json::of(&all)));
    }
    Ok(Tool::Server { members, cache_control: None })
}

/// A function tool. `enforced` is given for strict ones.
fn function<'a>(
    (index, tool): (usize, &'a canon::Tool),
    parameters: Option<&Json>,
    enforced: Option<&mut Enforced>,
    names: &'a Names<'_>,
    losses: &mut Losses,
) -> ClientTool<'a> {
    let (input_schema, gone) = schema::tool_input(parameters);
    let mut description = tool.description.as_deref().map(Cow::Borrowed);
    let mut strict = false;
    if let (Some(enforced), None) = (enforced, &gone) {
        match enforced.tool(&input_schema) {
            Ok(()) => strict = true,
            Err(unfit) => losses.dropped(Field::tool(index, ToolField::Strict), unfit.reason()),
        }
    }
    if let Some(gone) = gone {
        losses.approximated(
            Field::tool(index, ToolField::Parameters),
            "The model does not accept alternatives at the top of a schema: they were moved into the description.",
        );
        let text =
            format!("{}\nThe input also has to fit: {gone}", tool.description.as_deref().unwrap_or_default());
        description = Some(Cow::Owned(text.trim_start().to_owned()));
    }
    let cache_control = tool.cache.as_ref().map(CacheControl::from);
    let description = description.filter(|text| !text.is_empty());
    ClientTool {
        name: Cow::Borrowed(names.wire(&tool.name)),
        description,
        input_schema,
        strict,
        cache_control,
    }
}

fn custom<'a>(tool: &'a canon::Tool, format: Option<&Json>, names: &'a Names<'_>) -> ClientTool<'a> {
    let description = match format {
        None => tool.description.as_deref().map(Cow::Borrowed),
        Some(format) => {
            let text = tool.description.as_deref().unwrap_or_default();
            Some(Cow::Owned(format!("{text}\nThe text in `input` has this format: {}", format.as_str())))
        }
    };
    let input = json!({
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": false
    });
    ClientTool {
        name: Cow::Borrowed(names.wire(&tool.name)),
        description,
        input_schema: Json::of(&input),
        strict: false,
        cache_control: tool.cache.as_ref().map(CacheControl::from),
    }
}

/// A tool that the provider itself runs; none where it has no such tool. Tools are versioned by date:
/// `web_search_20250305`.
fn native<'a>(raw: &Json, cache: Option<CacheControl>) -> Option<Tool<'a>> {
    let members = crate::protocols::fields::Fields::parse(raw.as_str(), String::new()).ok()?;
    let kind = members.opt_text("type").ok()?.unwrap_or_default();
    let dated = kind.rsplit_once('_').is_some_and(|(name, date)| {
        !name.is_empty() && date.len() == 8 && date.bytes().all(|byte| byte.is_ascii_digit())
    });
    if !dated && kind != "mcp_toolset" {
        return None;
    }
    let cache_control = match cache {
        Some(mark) => Some(mark),
        None => members.cache_mark().ok()?.as_ref().map(CacheControl::from),
    };
    let members = members.into_members(&["cache_control"]);
    Some(Tool::Server { members, cache_control })
}

/// Some hosts refuse a history with tool calls without tools: the called names are declared.
fn history_tools<'a>(request: &'a Request, names: &'a Names<'_>, losses: &mut Losses) -> Vec<Tool<'a>> {
    let called = called_names(request);
    if !called.is_empty() {
        losses.approximated(
            Field::Tools,
            "The called tools of the history were declared, as the provider requires.",
        );
    }
    let declare = |name: &'a str| ClientTool {
        name: Cow::Borrowed(names.wire(name)),
        description: None,
        input_schema: schema::tool_input(None).0,
        strict: false,
        cache_control: None,
    };
    called.into_iter().map(|name| Tool::Client(declare(name))).collect()
}

/// Which tool to call. `forced`: the model accepts a forced choice here.
pub(super) fn choice(
    request: &Request,
    names: &Names<'_>,
    has_tools: bool,
    forced: bool,
    losses: &mut Losses,
) -> Result<Option<ToolChoice>> {
    let disable_parallel_tool_use = request.parallel_tool_calls == Some(false);
    check_choice(request)?;
    if !has_tools {
        return Ok(None);
    }
    if request.tools.is_empty() && search_options(request).is_none() {
        // Declared only for the history: the caller expects no call.
        return Ok(Some(ToolChoice::None));
    }
    let choice = match request.tool_choice.as_ref() {
        None if disable_parallel_tool_use => ToolChoice::Auto { disable_parallel_tool_use },
        None => return Ok(None),
        Some(Choice::Auto | Choice::Allowed { required: false, .. }) => {
            ToolChoice::Auto { disable_parallel_tool_use }
        }
        Some(Choice::None) => ToolChoice::None,
        Some(_) if !forced => {
            losses.approximated(
                Field::ToolChoice,
                "The model does not accept a forced tool call here: sent as auto.",
            );
            ToolChoice::Auto { disable_parallel_tool_use }
        }
        Some(Choice::Required | Choice::Allowed { required: true, .. }) => {
            ToolChoice::Any { disable_parallel_tool_use }
        }
        Some(Choice::Named(name)) => {
            ToolChoice::Tool { name: names.wire(name).to_owned(), disable_parallel_tool_use }
        }
    };
    Ok(Some(choice))
}

/// A choice must name one of the tools.
fn check_choice(request: &Request) -> Result<()> {
    let given = |name: &String| request.tools.iter().any(|tool| tool.name == *name);
    let message = match request.tool_choice.as_ref() {
        Some(Choice::Required) if request.tools.is_empty() => {
            "A tool call is required, but there are no tools."
        }
        Some(Choice::Named(name)) if !given(name) => "The chosen tool is not among the tools.",
        Some(Choice::Allowed { names, .. }) if !names.iter().any(given) => {
            "None of the allowed tools is among the tools."
        }
        _ => return Ok(()),
    };
    Err(Error::invalid(Field::ToolChoice, message))
}

/// A call's arguments as a raw JSON object. Numbers and order stay unchanged. Other values are wrapped into
/// an object, and `wrapped` is then true.
pub(crate) fn input<'a>(call: &'a canon::ToolCall, wrapped: &mut bool) -> Cow<'a, RawValue> {
    let owned = |json: Json| {
        let raw: &RawValue = json.as_raw();
        Cow::Owned(raw.to_owned())
    };
    if call.custom {
        return owned(Json::of(&json!({ "input": call.arguments })));
    }
    let text = call.arguments.trim();
    if text.is_empty() {
        return owned(Json::of(&json!({})));
    }
    if text.starts_with('{')
        && let Ok(raw) = serde_json::from_str::<&RawValue>(text)
    {
        return Cow::Borrowed(raw);
    }
    *wrapped = true;
    owned(Json::of(&json!({ "arguments": call.arguments })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_ids_stay_different() {
        assert_eq!(wire_id("toolu_01-A"), "toolu_01-A");
        assert!(wire_id("call:1").starts_with("call1_"));
        assert!(wire_id(&"é/ü|".repeat(99)).len() <= ID_LIMIT);
        assert_ne!(wire_id("call:1"), wire_id("call.1"));
        assert!(wire_id("é/ü|").bytes().all(is_id_byte));
    }

    #[test]
    fn long_and_invalid_names_are_mapped_and_restored() {
        let tool = |name: &str| canon::Tool {
            name: name.to_owned(),
            description: None,
            kind: ToolKind::Function { parameters: None, strict: None },
            cache: None,
            place: canon::Place::NOWHERE,
        };
        let long = "n".repeat(80);
        let request = Request {
            tools: vec![tool("a.b"), tool("a_b"), tool("a/b"), tool("fine"), tool(&long)],
            ..Request::default()
        };
        let names = Names::of(&request, NAMES);
        assert_eq!(names.wire("fine"), "fine");
        let mapped = ["a.b", "a_b", "a/b", &long].map(|name| names.wire(name).to_owned());
        assert!(mapped.iter().all(|name| is_valid_name(name)));
        assert_eq!(mapped.iter().collect::<BTreeSet<_>>().len(), mapped.len());
        let originals = names.into_originals();
        let restored = mapped.each_ref().map(|name| originals.get(name));
        assert_eq!(restored, [Some("a.b"), None, Some("a/b"), Some(&*long)]);
    }
}
