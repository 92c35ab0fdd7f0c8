//! The names of fields in a Responses request.

use std::borrow::Cow;

use canon::{
    CallField, Field, MediaKind, MessageField, OutputField, Part, PartField, PartKind, Place, Request,
    ToolField,
};

/// The path of a field in the caller's body.
pub(super) fn name_of(field: &Field, request: Option<&Request>) -> Cow<'static, str> {
    if let Some(name) = request.and_then(|request| request.spellings.of(field)) {
        return name.clone();
    }
    match field {
        Field::Messages => "input".into(),
        Field::Message { message, of } => of_message(request, *message, *of),
        Field::Part { message, part, of } => match find(request, *message, |parts| parts.get(*part)) {
            Some(part) => (part_path(part) + part_suffix(*of)).into(),
            None => of_message(request, *message, MessageField::Content),
        },
        Field::ResultPart { message, part, of } => result_part(request, *message, *part, *of),
        Field::ToolCall { message, call, of } => {
            let is_call = |part: &&Part| matches!(part.kind, PartKind::ToolCall(_));
            match find(request, *message, |parts| parts.iter().filter(is_call).nth(*call)) {
                Some(part) => (item_path(part.place) + call_suffix(*of)).into(),
                None => of_message(request, *message, MessageField::Whole),
            }
        }
        Field::Tool { tool, of } => of_tool(request, *tool, *of),
        Field::Output(OutputField::Schema) => "text.format.schema".into(),
        Field::Output(OutputField::Description) => "text.format.description".into(),
        Field::Output(OutputField::Whole) => "text.format".into(),
        Field::ReasoningEffort | Field::ReasoningBudget => "reasoning.effort".into(),
        Field::MaxTokens => "max_output_tokens".into(),
        Field::Logprobs => "include".into(),
        Field::Extra(name) if name == "verbosity" => "text.verbosity".into(),
        Field::Extra(name) if name == "web_search_options" => "tools".into(),
        field => field.name(),
    }
}

fn find<'a>(
    request: Option<&'a Request>,
    message: usize,
    part: impl FnOnce(&'a [Part]) -> Option<&'a Part>,
) -> Option<&'a Part> {
    part(&request?.messages.get(message)?.parts).filter(|part| !part.place.is_nowhere())
}

/// An item of the input; `instructions`, or the input where it is a single text.
fn item_path(place: Place) -> String {
    match place.entry_number() {
        Some(entry) => format!("input[{entry}]"),
        None if place.is_instructions() => "instructions".to_owned(),
        None => "input".to_owned(),
    }
}

/// A part of a message's content, the content where it is a single text, or an item that is a part by itself.
fn part_path(part: &Part) -> String {
    let item = item_path(part.place);
    match (&part.kind, part.place.piece_number()) {
        (
            PartKind::Reasoning(_) | PartKind::Native(_) | PartKind::ToolCall(_) | PartKind::ToolResult(_),
            _,
        ) => item,
        (_, Some(piece)) => format!("{item}.content[{piece}]"),
        _ if part.place.is_instructions() => item,
        _ => format!("{item}.content"),
    }
}

fn of_message(request: Option<&Request>, message: usize, of: MessageField) -> Cow<'static, str> {
    let Some(found) = request.and_then(|request| request.messages.get(message)) else {
        return "input".into();
    };
    // The model's output in one turn is several items.
    let thought = || {
        let is_thought = |part: &&Part| matches!(part.kind, PartKind::Reasoning(_) | PartKind::Native(_));
        found.parts.iter().find(is_thought).map(|part| item_path(part.place))
    };
    let path = item_path(found.place);
    if found.place.entry_number().is_none() {
        return path.into();
    }
    match of {
        MessageField::Whole | MessageField::Failed => path,
        MessageField::Role => path + ".role",
        MessageField::Name => path + ".name",
        MessageField::Content => path + ".content",
        MessageField::CallId => path + ".call_id",
        MessageField::Thinking | MessageField::Proofs => thought().unwrap_or(path),
    }
    .into()
}

fn result_part(request: Option<&Request>, message: usize, part: usize, of: PartField) -> Cow<'static, str> {
    let path = || {
        let found = request?.messages.get(message)?;
        let item = item_path(Some(found.place).filter(|place| !place.is_nowhere())?);
        let PartKind::ToolResult(result) = &found.parts.first()?.kind else { return None };
        Some(match result.content.get(part)?.place.piece_number() {
            Some(piece) => format!("{item}.output[{piece}]{}", part_suffix(of)),
            None => item + ".output",
        })
    };
    path().map_or_else(|| of_message(request, message, MessageField::Whole), Cow::Owned)
}

fn of_tool(request: Option<&Request>, tool: usize, of: ToolField) -> Cow<'static, str> {
    let place = request.and_then(|request| request.tools.get(tool)).map(|tool| tool.place);
    let Some(entry) = place.and_then(Place::entry_number) else { return "tools".into() };
    let path = match place.and_then(Place::piece_number) {
        Some(piece) => format!("tools[{entry}].tools[{piece}]"),
        None => format!("tools[{entry}]"),
    };
    match of {
        ToolField::Whole => path.into(),
        ToolField::Type => (path + ".type").into(),
        ToolField::Parameters => (path + ".parameters").into(),
        ToolField::Strict => (path + ".strict").into(),
        ToolField::Grammar => (path + ".format").into(),
        ToolField::Other(name) => format!("{path}.{name}").into(),
    }
}

fn part_suffix(of: PartField) -> &'static str {
    match of {
        PartField::Source(MediaKind::Image) => ".image_url",
        PartField::Source(MediaKind::Document) => ".file_data",
        PartField::Source(MediaKind::Audio | MediaKind::Video) => "",
        PartField::Detail(_) => ".detail",
        PartField::Filename => ".filename",
        PartField::Proof => ".encrypted_content",
        PartField::Whole | PartField::Thinking => "",
    }
}

fn call_suffix(of: CallField) -> &'static str {
    match of {
        CallField::Arguments => ".arguments",
        CallField::Whole | CallField::Proof => "",
    }
}
