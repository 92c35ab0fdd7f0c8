//! Reads a caller's request.

mod items;
mod tools;

use canon::{
    Effort, Error, ErrorKind, Json, Message, OutputFormat, Part, Place, ReasoningRequest, Request, Result,
    Role, Sampling,
};

pub(in super::super) use tools::{CallForm, CallerTools};

use crate::json::is_text;
use crate::protocols::Protocol;
use crate::protocols::fields::Fields;

/// Fields with a counterpart in a canonical request.
const KNOWN: [&str; 17] = [
    "model",
    "input",
    "instructions",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_logprobs",
    "reasoning",
    "text",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "stream",
    "user",
    "include",
    "stream_options",
    "background",
];
/// Fields that chat completions have as well: they keep their names.
const SAME: [&str; 6] = [
    "metadata",
    "service_tier",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "moderation",
];
/// Fields that the gateway itself serves, or that have no effect.
const OURS: [&str; 3] = ["store", "previous_response_id", "conversation"];
/// Content that every answer has, or that its reader does not need.
const SERVED: [&str; 2] = ["reasoning.encrypted_content", "message.output_text.logprobs"];

/// Reads a whole request. References to stored answers were resolved before.
pub(in super::super) fn request(body: &[u8]) -> Result<Request> {
    let malformed = |_| Error::caller(ErrorKind::InvalidRequest, "The body is not valid JSON.");
    let body = std::str::from_utf8(body).map_err(malformed)?;
    let fields = Fields::parse(body, String::new())?;
    refuse(&fields)?;
    let mut request = Request {
        format: Protocol::OpenaiResponses.as_str(),
        model: fields.text("model")?,
        max_tokens: fields.opt_count("max_output_tokens")?,
        stream: fields.opt_flag("stream")?.unwrap_or(false),
        parallel_tool_calls: fields.opt_flag("parallel_tool_calls")?,
        user: fields.opt_text("user")?,
        sampling: Sampling {
            temperature: fields.opt_number("temperature")?,
            top_p: fields.opt_number("top_p")?,
            ..Sampling::default()
        },
        // Usage is always in the last event.
        include_usage: true,
        ..Request::default()
    };
    logprobs(&fields, &mut request)?;
    instructions(&fields, &mut request)?;
    let tools = CallerTools::read(&fields)?;
    items::input(&fields, &tools, &mut request)?;
    tools.into_request(&mut request);
    request.tool_choice = tools::choice(&fields, &request)?;
    reasoning(&fields, &mut request)?;
    text(&fields, &mut request)?;
    rest(fields, &mut request);
    Ok(request)
}

/// Refuses requests that neither a provider of another format nor the gateway can serve.
fn refuse(fields: &Fields<'_>) -> Result<()> {
    for name in ["prompt", "background_options"] {
        if fields.raw(name).is_some() {
            let message = format!("{name} is served by OpenAI only, and by providers of its Responses API.");
            return Err(Error::unsupported(name, message));
        }
    }
    // A stored conversation was inserted before.
    if fields.raw("conversation").is_some() {
        let message = "Nothing is stored here; send the whole conversation as input.";
        return Err(Error::invalid("conversation", message));
    }
    if fields.raw("previous_response_id").is_some() {
        let message = "Nothing is stored here; send the whole conversation as input.";
        return Err(Error::invalid("previous_response_id", message));
    }
    Ok(())
}

fn logprobs(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let top = fields.opt_count("top_logprobs")?.and_then(|count| u32::try_from(count).ok());
    request.top_logprobs = top.filter(|count| *count > 0);
    let mut asked = request.top_logprobs.is_some();
    for what in fields.opt_texts("include")?.unwrap_or_default() {
        asked |= what == "message.output_text.logprobs";
        if !SERVED.contains(&what.as_str()) {
            request.losses.dropped(
                "include",
                "Only providers of the Responses API return more than the answer itself.",
            );
        }
    }
    request.logprobs = asked.then_some(true);
    Ok(())
}

fn instructions(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let Some(raw) = fields.raw("instructions") else { return Ok(()) };
    let Ok(text) = serde_json::from_str::<String>(raw) else {
        return Err(fields.wrong("instructions", "must be a string."));
    };
    if !text.is_empty() {
        request.messages.push(
            Message::new(Role::System, vec![Part::text(text).at(Place::INSTRUCTIONS)])
                .at(Place::INSTRUCTIONS),
        );
    }
    Ok(())
}

fn reasoning(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let Some(object) = fields.opt_fields("reasoning")? else { return Ok(()) };
    let effort = match object.opt_text("effort")? {
        None => None,
        Some(name) => Some(Effort::parse(&name).ok_or_else(|| {
            object.wrong("effort", "must be none, minimal, low, medium, high, xhigh or max.")
        })?),
    };
    let summary = object.opt_text("summary")?.or(object.opt_text("generate_summary")?);
    request.reasoning = ReasoningRequest { effort, summary, ..ReasoningRequest::default() };
    for (name, value) in object.into_members(&["effort", "summary", "generate_summary"]) {
        // The default.
        let says_nothing =
            value.is_null() || ["auto", "standard"].iter().any(|word| is_text(value.as_str(), word));
        if !says_nothing {
            lose(format!("reasoning.{name}"), request);
        }
    }
    Ok(())
}

/// `text` contains the format and the verbosity.
fn text(fields: &Fields<'_>, request: &mut Request) -> Result<()> {
    let Some(object) = fields.opt_fields("text")? else { return Ok(()) };
    if let Some(verbosity) = object.opt_json("verbosity") {
        request.extra.push(("verbosity".to_owned(), verbosity));
    }
    if let Some(format) = object.opt_fields("format")? {
        request.output = match format.text("type")?.as_str() {
            "text" => OutputFormat::Text,
            "json_object" => OutputFormat::JsonObject,
            "json_schema" => OutputFormat::JsonSchema {
                name: format.text("name")?,
                description: format.opt_text("description")?,
                schema: format.opt_json("schema"),
                strict: format.opt_flag("strict")?,
            },
            _ => return Err(format.wrong("type", "must be text, json_object or json_schema.")),
        };
    }
    for (name, value) in object.into_members(&["format", "verbosity"]) {
        if !value.is_null() {
            lose(format!("text.{name}"), request);
        }
    }
    Ok(())
}

/// All other fields: by name where other formats have them too, else a loss.
fn rest(fields: Fields<'_>, request: &mut Request) {
    for (name, value) in fields.into_members(&[&KNOWN[..], &OURS].concat()) {
        if value.is_null() {
            continue;
        }
        if SAME.contains(&name.as_str()) {
            request.extra.push((name, value));
        } else if !is_idle(&name, &value) {
            lose(name, request);
        }
    }
}

/// Fields that state the default, or that the gateway handles itself.
fn is_idle(name: &str, value: &Json) -> bool {
    (name == "truncation" && is_text(value.as_str(), "disabled")) || crate::ROUTING_FIELDS.contains(&name)
}

fn lose(field: String, request: &mut Request) {
    request.losses.dropped(field, "Only providers of the Responses API have such a field.");
}
