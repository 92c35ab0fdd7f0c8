//! The names of fields in a Messages request.

use std::borrow::Cow;

use canon::{
    CallField, Field, MessageField, OutputField, Part, PartField, PartKind, Place, Request, ToolField,
};

use super::types::CONTAINER_UPLOAD;

/// The path of a field in the caller's body.
pub(super) fn name_of(field: &Field, request: Option<&Request>) -> Cow<'static, str> {
    if let Some(name) = request.and_then(|request| request.spellings.of(field)) {
        return name.clone();
    }
    match field {
        Field::Message { message, of } => of_message(request, *message, *of),
        Field::Part { message, part, of } => {
            let part = || request?.messages.get(*message)?.parts.get(*part);
            let path = part().and_then(|part| Some(block_path(part.place)? + part_suffix(part, *of)));
            path.map_or_else(|| of_message(request, *message, MessageField::Content), Cow::Owned)
        }
        Field::ResultPart { message, part, of } => result_part(request, *message, *part, *of),
        Field::ToolCall { message, call, of } => match call_path(request, *message, *call) {
            Some(path) => (path + call_suffix(*of)).into(),
            None => of_message(request, *message, MessageField::Content),
        },
        Field::Tool { tool, of } => {
            let place = request.and_then(|request| request.tools.get(*tool)).map(|tool| tool.place);
            match place.and_then(Place::entry_number) {
                Some(entry) => match of {
                    ToolField::Other(name) => format!("tools[{entry}].{name}").into(),
                    of => format!("tools[{entry}]{}", tool_suffix(*of)).into(),
                },
                None => "tools".into(),
            }
        }
        Field::ParallelToolCalls => "tool_choice.disable_parallel_tool_use".into(),
        Field::Output(OutputField::Schema) => "output_config.format.schema".into(),
        Field::Output(_) => "output_config.format".into(),
        Field::ReasoningEffort => "output_config.effort".into(),
        Field::ReasoningBudget => "thinking.budget_tokens".into(),
        Field::Stop => "stop_sequences".into(),
        Field::User => "metadata.user_id".into(),
        // A search is a tool in this format.
        Field::Extra(name)
            if name == "web_search_options"
                && request.is_none_or(|request| request.extra(name).is_none()) =>
        {
            "tools".into()
        }
        field => field.name(),
    }
}

fn place_of(request: Option<&Request>, message: usize) -> Place {
    request.and_then(|request| request.messages.get(message)).map_or(Place::NOWHERE, |message| message.place)
}

/// `system`, or a message. One message may have become several: results of tools are separate messages.
fn message_path(place: Place) -> Option<String> {
    match place.entry_number() {
        Some(entry) => Some(format!("messages[{entry}]")),
        None => place.is_instructions().then(|| "system".to_owned()),
    }
}

/// A block, or the content where it is a single text.
fn block_path(place: Place) -> Option<String> {
    let message = message_path(place)?;
    Some(match (place.is_instructions(), place.piece_number()) {
        (true, None) => message,
        (true, Some(block)) => format!("{message}[{block}]"),
        (false, None) => format!("{message}.content"),
        (false, Some(block)) => format!("{message}.content[{block}]"),
    })
}

fn of_message(request: Option<&Request>, message: usize, of: MessageField) -> Cow<'static, str> {
    let place = place_of(request, message);
    let Some(path) = message_path(place) else { return "messages".into() };
    let result = || {
        let parts = &request?.messages.get(message)?.parts;
        let is_result = |kind: &PartKind| matches!(kind, PartKind::ToolResult(_));
        block_path(parts.iter().find(|part| is_result(&part.kind))?.place)
    };
    match of {
        MessageField::CallId => result().map_or(path, |path| path + ".tool_use_id"),
        MessageField::Failed => result().map_or(path, |path| path + ".is_error"),
        MessageField::Role if !place.is_instructions() => path + ".role",
        MessageField::Content | MessageField::Thinking | MessageField::Proofs if !place.is_instructions() => {
            path + ".content"
        }
        _ => result().unwrap_or(path),
    }
    .into()
}

fn call_path(request: Option<&Request>, message: usize, call: usize) -> Option<String> {
    let parts = &request?.messages.get(message)?.parts;
    let mut calls = parts.iter().filter(|part| matches!(part.kind, PartKind::ToolCall(_)));
    block_path(calls.nth(call)?.place)
}

fn result_part(request: Option<&Request>, message: usize, part: usize, of: PartField) -> Cow<'static, str> {
    let path = || {
        let outer = request?.messages.get(message)?.parts.first()?;
        let PartKind::ToolResult(result) = &outer.kind else { return None };
        let path = block_path(outer.place)?;
        let part = result.content.get(part)?;
        Some(match part.place.piece_number() {
            Some(block) => format!("{path}.content[{block}]{}", part_suffix(part, of)),
            None => path + ".content",
        })
    };
    path().map_or_else(|| of_message(request, message, MessageField::Content), Cow::Owned)
}

fn part_suffix(part: &Part, of: PartField) -> &'static str {
    let is_upload =
        matches!(&part.kind, PartKind::Media(media) if media.detail.as_deref() == Some(CONTAINER_UPLOAD));
    match of {
        PartField::Source(_) if is_upload => ".file_id",
        PartField::Source(_) => ".source",
        PartField::Filename => ".title",
        PartField::Proof => ".signature",
        PartField::Whole | PartField::Thinking | PartField::Detail(_) => "",
    }
}

fn call_suffix(of: CallField) -> &'static str {
    match of {
        CallField::Arguments => ".input",
        CallField::Whole | CallField::Proof => "",
    }
}

fn tool_suffix(of: ToolField) -> &'static str {
    match of {
        ToolField::Type => ".type",
        ToolField::Parameters => ".input_schema",
        ToolField::Strict => ".strict",
        ToolField::Whole | ToolField::Grammar | ToolField::Other(_) => "",
    }
}
