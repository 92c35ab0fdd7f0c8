//! The names of fields in a `generateContent` request.

use std::borrow::Cow;

use canon::{
    CallField, Field, MessageField, OutputField, OutputFormat, Part, PartField, PartKind, Place, Request,
    ToolField,
};

/// The path of a field in the caller's body.
pub(super) fn name_of(field: &Field, request: Option<&Request>) -> Cow<'static, str> {
    if let Some(name) = request.and_then(|request| request.spellings.of(field)) {
        return name.clone();
    }
    match field {
        Field::Messages => "contents".into(),
        Field::Message { message, of } => of_message(request, *message, *of),
        Field::Part { message, part, of } => {
            let part = || request?.messages.get(*message)?.parts.get(*part);
            let path = part().and_then(|part| Some(part_path(part.place)? + part_suffix(*of)));
            path.map_or_else(|| of_message(request, *message, MessageField::Whole), Cow::Owned)
        }
        Field::ResultPart { message, part, of } => result_part(request, *message, *part, *of),
        Field::ToolCall { message, call, of } => match call_path(request, *message, *call) {
            Some(path) => (path + call_suffix(*of)).into(),
            None => of_message(request, *message, MessageField::Whole),
        },
        Field::Tool { tool, of } => {
            let place = request.and_then(|request| request.tools.get(*tool)).map(|tool| tool.place);
            let other = request.is_some_and(|request| request.spellings.has_parameters(*tool));
            tool_path(place.unwrap_or_default(), *of, other)
        }
        Field::ToolChoice => "toolConfig.functionCallingConfig".into(),
        Field::Output(of) => output(request, *of),
        Field::ReasoningEffort => "generationConfig.thinkingConfig.thinkingLevel".into(),
        Field::ReasoningBudget => "generationConfig.thinkingConfig.thinkingBudget".into(),
        Field::MaxTokens => "generationConfig.maxOutputTokens".into(),
        Field::Temperature => "generationConfig.temperature".into(),
        Field::TopP => "generationConfig.topP".into(),
        Field::TopK => "generationConfig.topK".into(),
        Field::FrequencyPenalty => "generationConfig.frequencyPenalty".into(),
        Field::PresencePenalty => "generationConfig.presencePenalty".into(),
        Field::Seed => "generationConfig.seed".into(),
        Field::Stop => "generationConfig.stopSequences".into(),
        Field::N => "generationConfig.candidateCount".into(),
        // A number of alternatives alone also requests them.
        Field::Logprobs if request.is_some_and(|request| request.logprobs != Some(true)) => {
            "generationConfig.logprobs".into()
        }
        Field::Logprobs => "generationConfig.responseLogprobs".into(),
        Field::TopLogprobs => "generationConfig.logprobs".into(),
        Field::Extra(name) if name == "modalities" => "generationConfig.responseModalities".into(),
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

/// Only a schema and the type of the answer exist here; no other field defines its form.
fn output(request: Option<&Request>, of: OutputField) -> Cow<'static, str> {
    let has_schema = request.is_some_and(|request| matches!(request.output, OutputFormat::JsonSchema { .. }));
    match (of, has_schema) {
        (OutputField::Schema, _) | (_, true) => "generationConfig.responseSchema".into(),
        _ => "generationConfig.responseMimeType".into(),
    }
}

/// `systemInstruction`, or a turn. One turn may have become several messages: results of tools are separate
/// messages.
fn turn_path(place: Place) -> Option<String> {
    match place.entry_number() {
        Some(entry) => Some(format!("contents[{entry}]")),
        None => place.is_instructions().then(|| "systemInstruction".to_owned()),
    }
}

fn part_path(place: Place) -> Option<String> {
    let turn = turn_path(place)?;
    Some(match place.piece_number() {
        Some(part) => format!("{turn}.parts[{part}]"),
        None => turn,
    })
}

fn result_of(request: Option<&Request>, message: usize) -> Option<&Part> {
    let parts = &request?.messages.get(message)?.parts;
    parts.iter().find(|part| matches!(part.kind, PartKind::ToolResult(_)))
}

fn of_message(request: Option<&Request>, message: usize, of: MessageField) -> Cow<'static, str> {
    let place = request.and_then(|request| request.messages.get(message)).map(|message| message.place);
    let place = place.unwrap_or_default();
    let Some(path) = turn_path(place) else { return "contents".into() };
    if let Some(result) = result_of(request, message).and_then(|result| part_path(result.place)) {
        let result = result + ".functionResponse";
        return match of {
            MessageField::Failed => result + ".response",
            _ => result,
        }
        .into();
    }
    match of {
        MessageField::Role if !place.is_instructions() => path + ".role",
        MessageField::Content | MessageField::Thinking | MessageField::Proofs => path + ".parts",
        _ => path,
    }
    .into()
}

fn call_path(request: Option<&Request>, message: usize, call: usize) -> Option<String> {
    let parts = &request?.messages.get(message)?.parts;
    let mut calls = parts.iter().filter(|part| matches!(part.kind, PartKind::ToolCall(_)));
    part_path(calls.nth(call)?.place)
}

fn result_part(request: Option<&Request>, message: usize, part: usize, of: PartField) -> Cow<'static, str> {
    let path = || {
        let outer = result_of(request, message)?;
        let PartKind::ToolResult(result) = &outer.kind else { return None };
        let part = result.content.get(part)?;
        let path = part_path(outer.place)? + ".functionResponse";
        Some(match part.place.piece_number() {
            Some(number) => format!("{path}.parts[{number}]{}", part_suffix(of)),
            None => path + ".response",
        })
    };
    path().map_or_else(|| of_message(request, message, MessageField::Content), Cow::Owned)
}

/// The member with the media is not named: a URL may have been replaced by its file.
fn part_suffix(of: PartField) -> &'static str {
    match of {
        PartField::Proof => ".thoughtSignature",
        PartField::Whole
        | PartField::Thinking
        | PartField::Source(_)
        | PartField::Detail(_)
        | PartField::Filename => "",
    }
}

fn call_suffix(of: CallField) -> &'static str {
    match of {
        CallField::Whole => ".functionCall",
        CallField::Arguments => ".functionCall.args",
        CallField::Proof => ".thoughtSignature",
    }
}

/// `has_other` where the parameters are under the newer of their two names.
fn tool_path(place: Place, of: ToolField, has_other: bool) -> Cow<'static, str> {
    let Some(entry) = place.entry_number() else { return "tools".into() };
    let Some(function) = place.piece_number() else { return format!("tools[{entry}]").into() };
    let suffix = match (of, has_other) {
        (ToolField::Parameters, true) => ".parametersJsonSchema",
        (ToolField::Parameters, false) => ".parameters",
        _ => "",
    };
    format!("tools[{entry}].functionDeclarations[{function}]{suffix}").into()
}
