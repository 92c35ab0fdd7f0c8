//! Writes Ollama requests.

use std::borrow::Cow;

use canon::{
    Effort, Error, Field, Json, Losses, Media, MediaKind, Message, OutputFormat, Part, PartKind, Reasoning,
    ReasoningControl, Request, Result, Role, Source, Target, Tool, ToolChoice, ToolField, ToolKind,
};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::json::{FormatOverhead, Kind, Output, Scanner, Syntax, word};
use crate::protocols::call_ids::{CallIds, plain_id};
use crate::protocols::function_tools::{FunctionTool, call_input, function_tools, note_wrapped};
use crate::protocols::unsupported::{
    OF_ANOTHER_FORMAT, Offers, lose_budget, lose_description, lose_details, lose_failures, lose_hints,
    lose_marks, lose_proofs, lose_thinking, refuse_features, requested_field,
};
use crate::{DecoderContext, Encoded};

/// Model options that callers may send at the top level by their own names.
const NATIVE_OPTIONS: [&str; 7] =
    ["num_ctx", "min_p", "repeat_penalty", "repeat_last_n", "typical_p", "num_keep", "num_gpu"];

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead =
    FormatOverhead { message: 31, part: 1, answer: 1, only: 0, call: 48, result: 44, tool: 54, joins: false };

pub(crate) fn request(request: &Request, target: Target<'_>) -> Result<Encoded> {
    refuse_features(request, Offers::default())?;
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
    format: Option<Cow<'a, Json>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    think: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    keep_alive: Option<&'a Json>,
}

#[derive(Default, Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thinking: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_calls: Option<CallsOf<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
}

/// The calls of a message. Each is made when it is written: there may be many.
struct CallsOf<'a> {
    ids: &'a CallIds<'a>,
    index: usize,
    message: &'a Message,
}

impl Serialize for CallsOf<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.message.parts.iter().enumerate().filter_map(|(position, part)| {
            let PartKind::ToolCall(call) = &part.kind else { return None };
            let function = CallFunction { name: &call.name, arguments: call_input(call) };
            Some(Call { id: self.ids.id_at((self.index, position)), function })
        }))
    }
}

#[derive(Serialize)]
struct Call<'a> {
    id: &'a str,
    function: CallFunction<'a>,
}

#[derive(Serialize)]
struct CallFunction<'a> {
    name: &'a str,
    /// An object, unlike OpenAI's JSON text.
    arguments: Cow<'a, RawValue>,
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
    lose_details(request, losses);
    lose_proofs(request, losses);
    lose_failures(request, losses);
    lose_description(&request.output, losses);
    note_wrapped(request, losses);
    write_turns(request, losses, output)?;
    write_options(request, output)?;
    let settings = Settings {
        model: target.model,
        stream: request.stream,
        tools: tools(request, decoding, losses)?,
        format: match &request.output {
            OutputFormat::Text => None,
            OutputFormat::JsonSchema { schema: Some(schema), .. } => Some(Cow::Borrowed(schema)),
            OutputFormat::JsonObject | OutputFormat::JsonSchema { .. } => Some(Cow::Owned(Json::of("json"))),
        },
        think: think(request, target, losses),
        keep_alive: request.extra("keep_alive"),
    };
    let mut carried = vec!["top_k", "frequency_penalty", "presence_penalty", "seed", "options", "keep_alive"];
    carried.extend(NATIVE_OPTIONS);
    lose_hints(request, &carried, losses);
    Ok(settings)
}

/// Begins the body with the messages.
fn write_turns(request: &Request, losses: &mut Losses, output: &mut Output) -> Result<()> {
    let ids = CallIds::of(request, plain_id);
    // Results name their tool, which only the call contains.
    let calls = request.messages.iter().flat_map(Message::tool_calls);
    let calls = Calls { ids, names: calls.map(|call| &*call.name).collect() };
    output.push(br#"{"messages":["#);
    for (index, message) in request.messages.iter().enumerate() {
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        output.item(&turn(role, index, message, &calls, losses)?)?;
    }
    output.push(b"]");
    Ok(())
}

/// The calls of the conversation, by number.
struct Calls<'a> {
    ids: CallIds<'a>,
    names: Vec<&'a str>,
}

fn turn<'a>(
    role: &'static str,
    index: usize,
    message: &'a Message,
    calls: &'a Calls<'a>,
    losses: &mut Losses,
) -> Result<Turn<'a>> {
    let mut turn = Turn { role, content: room_for(&message.parts), ..Turn::default() };
    for (position, part) in message.parts.iter().enumerate() {
        let path = || Field::part(index, position);
        match &part.kind {
            PartKind::Text(text) | PartKind::Refusal(text) => add_text(&mut turn.content, text),
            PartKind::Media(media) => turn.images.push(image(media, path)?),
            PartKind::ToolCall(_) => turn.tool_calls = Some(CallsOf { ids: &calls.ids, index, message }),
            PartKind::ToolResult(result) => {
                let number = calls.ids.answered((index, position));
                let id =
                    number.map_or_else(|| plain_id(&result.call_id), |number| calls.ids.id(number).into());
                turn.tool_call_id = Some(id);
                turn.tool_name = number.and_then(|number| calls.names.get(number).copied());
                turn.content = room_for(&result.content);
                for (position, part) in result.content.iter().enumerate() {
                    let path = || Field::part(index, position);
                    match &part.kind {
                        PartKind::Text(text) => add_text(&mut turn.content, text),
                        PartKind::Media(media) => turn.images.push(image(media, path)?),
                        _ => {
                            return Err(Error::invalid(
                                path(),
                                "A tool result may contain only text and media.",
                            ));
                        }
                    }
                }
            }
            PartKind::Reasoning(reasoning) if is_own(reasoning, part) => {
                turn.thinking.push_str(&reasoning.text);
            }
            PartKind::Reasoning(_) => losses.dropped(
                Field::thinking(index, position),
                "Thinking can be sent back only to the family of models that wrote it.",
            ),
            PartKind::Native(_) => losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT),
        }
    }
    Ok(turn)
}

/// Whether it is of this provider, whose format has no proof.
fn is_own(reasoning: &Reasoning, part: &Part) -> bool {
    let is_unproven = reasoning.encrypted.is_none() && part.signature.is_none();
    is_unproven && matches!(reasoning.format.as_deref(), None | Some("unknown"))
}

/// Empty, with room for the texts as paragraphs.
fn room_for(parts: &[Part]) -> String {
    let length = |part: &Part| match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) => text.len() + 1,
        _ => 0,
    };
    String::with_capacity(parts.iter().map(length).sum())
}

/// Content is one string: parts become paragraphs.
fn add_text(content: &mut String, text: &str) {
    if !content.is_empty() && !text.is_empty() {
        content.push('\n');
    }
    content.push_str(text);
}

fn image(media: &Media, path: impl Fn() -> Field) -> Result<&str> {
    match (&media.kind, &media.source) {
        (MediaKind::Image, Source::Base64 { data, .. }) => Ok(data),
        (MediaKind::Image, _) => Err(Error::unsupported(
            path(),
            "This provider does not fetch images; send the image itself as base64 or in a data URL.",
        )),
        _ => Err(Error::unsupported(path(), "This provider accepts only text and images.")),
    }
}

/// The API has no choice of tools. `none` offers none, and a forced tool is the only one offered.
fn tools<'a>(
    request: &'a Request,
    decoding: &mut DecoderContext,
    losses: &mut Losses,
) -> Result<Vec<FunctionTool<'a>>> {
    if request.tool_choice == Some(ToolChoice::None) {
        return Ok(Vec::new());
    }
    let is_forced = matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named(_) | ToolChoice::Allowed { required: true, .. })
    );
    if is_forced && !request.tools.is_empty() {
        losses.approximated(Field::ToolChoice, "The provider cannot force the model to call a tool.");
    }
    let is_strict = |tool: &Tool| matches!(tool.kind, ToolKind::Function { strict: Some(true), .. });
    for (index, _) in request.tools.iter().enumerate().filter(|(_, tool)| is_strict(tool)) {
        losses.dropped(Field::tool(index, ToolField::Strict), "The provider has no strict tools.");
    }
    function_tools(request, decoding, losses)
}

/// Appends the caller's options, overridden by the request's other fields.
fn write_options(request: &Request, output: &mut Output) -> Result<()> {
    let sampling = &request.sampling;
    let mut own: Vec<(&str, Cow<'_, Json>)> = Vec::new();
    let mut set = |name: &'static str, value: Option<Json>| {
        own.extend(value.map(|value| (name, Cow::Owned(value))));
    };
    set("num_predict", request.max_tokens.map(|tokens| Json::of(&tokens)));
    set("temperature", sampling.temperature.map(|value| Json::of(&value)));
    set("top_p", sampling.top_p.map(|value| Json::of(&value)));
    set("top_k", sampling.top_k.map(|value| Json::of(&value)));
    set("frequency_penalty", sampling.frequency_penalty.map(|value| Json::of(&value)));
    set("presence_penalty", sampling.presence_penalty.map(|value| Json::of(&value)));
    set("seed", sampling.seed.map(|value| Json::of(&value)));
    for name in NATIVE_OPTIONS {
        let value = request.extra(name).filter(|value| !value.is_null());
        own.extend(value.map(|value| (name, Cow::Borrowed(value))));
    }
    let has_stop = !request.stop.is_empty();
    let is_own =
        |name: &[u8]| (has_stop && name == b"stop") || own.iter().any(|(own, _)| own.as_bytes() == name);
    let before = output.len();
    output.raw("options", "{");
    let start = output.len();
    let given = request.extra("options").map_or("{}", Json::as_str).as_bytes();
    let mut scanner = Scanner::new(given);
    if scanner.kind().is_ok_and(|kind| kind == Kind::Object) {
        let walked = scanner.object(|scanner, key| {
            let value = scanner.value()?;
            if !is_own(&word(given, &key)) {
                output.comma();
                output.push(&given[key.range.start - 1..value.end]);
            }
            Ok::<(), Syntax>(())
        });
        debug_assert!(walked.is_ok(), "it was read before");
    }
    for (name, value) in &own {
        output.raw(name, value.as_str());
    }
    if has_stop {
        output.key("stop");
        output.value(&request.stop)?;
    }
    if output.len() == start {
        output.truncate(before)
    } else {
        output.push(b"}")
    }
    Ok(())
}

/// `think` is a level for models with levels (gpt-oss) and a boolean for the others.
fn think(request: &Request, target: Target<'_>, losses: &mut Losses) -> Option<Value> {
    let reasoning = &request.reasoning;
    if reasoning.is_unset() {
        return None;
    }
    let levels: &[Effort] = match &target.facts.reasoning {
        Some(ReasoningControl::None | ReasoningControl::Always) => {
            if reasoning.is_on() || target.facts.reasoning == Some(ReasoningControl::Always) {
                lose_thinking(request, "The model does not allow control of its thinking.", losses);
            }
            return None;
        }
        Some(ReasoningControl::Effort { levels }) => levels,
        _ if target.model.contains("gpt-oss") => &[Effort::Low, Effort::Medium, Effort::High],
        _ => &[],
    };
    lose_budget(request, losses);
    let wanted = match reasoning.effort {
        Some(effort) => effort,
        None if reasoning.is_on() => Effort::Medium,
        None => Effort::None,
    };
    match wanted.nearest(levels) {
        Some(Effort::None) => Some(json!(false)),
        Some(level) => {
            if level != wanted {
                losses.approximated(
                    requested_field(request),
                    "The nearest level that the model accepts was sent.",
                );
            }
            Some(json!(level.as_str()))
        }
        None => Some(json!(wanted != Effort::None)),
    }
}
