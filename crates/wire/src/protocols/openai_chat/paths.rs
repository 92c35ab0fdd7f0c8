//! The names of fields in a chat request, both ways.

use std::borrow::Cow;

use canon::{
    CallField, Field, Message, MessageField, OutputField, PartField, PartKind, Request, Role, ToolField,
};

/// The path of a field in the caller's body. Messages, calls and tools are in the order of the canonical
/// request; only content parts may have others, such as thinking, before them.
pub(super) fn name_of(field: &Field, request: Option<&Request>) -> Cow<'static, str> {
    let written = match *field {
        Field::Part { message, part, of } => {
            part_number(request, message, part).map(|written| match written {
                Some(part) => Field::Part { message, part, of },
                None => Field::of_message(message, MessageField::Content),
            })
        }
        _ => None,
    };
    written.as_ref().unwrap_or(field).name()
}

/// The index of a part in `content`; none within where the content is a single text.
fn part_number(request: Option<&Request>, message: usize, part: usize) -> Option<Option<usize>> {
    let place = request?.messages.get(message)?.parts.get(part)?.place;
    (!place.is_nowhere()).then(|| place.piece_number())
}

/// The field for a path in a request that this format's adapter wrote.
pub(super) fn field_of(path: &str, request: &Request) -> Field {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    if let Some((name, index, behind)) = indexed(head) {
        return match name {
            "messages" => field_of_message(index, behind, rest, request),
            "tools" if index < request.tools.len() => Field::tool(index, tool_field(rest)),
            _ => field_of(name, request),
        };
    }
    match (head, rest) {
        ("", _) => Field::Body,
        ("model", _) => Field::Model,
        ("stream" | "stream_options", _) => Field::Stream,
        ("messages", _) => Field::Messages,
        ("tools", _) => Field::Tools,
        ("tool_choice", _) => Field::ToolChoice,
        ("parallel_tool_calls", _) => Field::ParallelToolCalls,
        ("response_format", "json_schema.schema") => Field::Output(OutputField::Schema),
        ("response_format", "json_schema.description") => Field::Output(OutputField::Description),
        ("response_format", _) => Field::Output(OutputField::Whole),
        ("reasoning_effort", _) | ("reasoning", "effort") => Field::ReasoningEffort,
        ("reasoning", "") if request.reasoning.effort.is_some() => Field::ReasoningEffort,
        ("reasoning", _) => Field::ReasoningBudget,
        ("max_tokens" | "max_completion_tokens", _) => Field::MaxTokens,
        ("temperature", _) => Field::Temperature,
        ("top_p", _) => Field::TopP,
        ("top_k", _) => Field::TopK,
        ("frequency_penalty", _) => Field::FrequencyPenalty,
        ("presence_penalty", _) => Field::PresencePenalty,
        ("seed", _) => Field::Seed,
        ("stop", _) => Field::Stop,
        ("n", _) => Field::N,
        ("logprobs", _) => Field::Logprobs,
        ("top_logprobs", _) => Field::TopLogprobs,
        ("user", _) => Field::User,
        _ => Field::extra(path.to_owned()),
    }
}

/// `name[3]more` as three pieces.
fn indexed(head: &str) -> Option<(&str, usize, &str)> {
    let (name, rest) = head.split_once('[')?;
    let (index, behind) = rest.split_once(']')?;
    Some((name, index.parse().ok()?, behind))
}

fn tool_field(rest: &str) -> ToolField {
    match rest {
        "type" => ToolField::Type,
        "function.strict" => ToolField::Strict,
        "custom.format" => ToolField::Grammar,
        rest if rest.starts_with("function.parameters") => ToolField::Parameters,
        _ => ToolField::Whole,
    }
}

fn field_of_message(index: usize, behind: &str, rest: &str, request: &Request) -> Field {
    let Some(message) = request.messages.get(index) else { return Field::Messages };
    let (head, inner) = rest.split_once('.').unwrap_or((rest, ""));
    match indexed(head) {
        Some(("content", piece, _)) => match (message.role, content_part(message, piece)) {
            (Role::Tool, _) => Field::ResultPart { message: index, part: piece, of: part_field(inner) },
            (_, Some(part)) => Field::Part { message: index, part, of: part_field(inner) },
            (_, None) => Field::message(index),
        },
        Some(("tool_calls", call, _)) => {
            let of = match inner {
                "function.arguments" | "custom.input" => CallField::Arguments,
                "extra_content" => CallField::Proof,
                _ => CallField::Whole,
            };
            Field::call(index, call, of)
        }
        _ => {
            let of = match head {
                "role" => MessageField::Role,
                "name" => MessageField::Name,
                "content" => MessageField::Content,
                "tool_call_id" => MessageField::CallId,
                "reasoning" | "reasoning_content" => MessageField::Thinking,
                "reasoning_details" => MessageField::Proofs,
                _ => MessageField::Whole,
            };
            debug_assert!(behind.is_empty(), "{behind}");
            Field::of_message(index, of)
        }
    }
}

/// The part that was written as this piece of the content: calls and thinking are written elsewhere.
fn content_part(message: &Message, piece: usize) -> Option<usize> {
    let is_content =
        |kind: &PartKind| matches!(kind, PartKind::Text(_) | PartKind::Refusal(_) | PartKind::Media(_));
    let written = message.parts.iter().enumerate().filter(|(_, part)| is_content(&part.kind));
    written.map(|(part, _)| part).nth(piece)
}

fn part_field(inner: &str) -> PartField {
    use canon::MediaKind::{Audio, Document, Image, Video};
    match inner {
        "image_url" | "image_url.url" => PartField::Source(Image),
        "video_url" | "video_url.url" => PartField::Source(Video),
        "input_audio" | "input_audio.format" | "input_audio.data" => PartField::Source(Audio),
        "file" | "file.file_data" | "file.file_id" => PartField::Source(Document),
        "image_url.detail" => PartField::Detail(Image),
        "video_url.detail" => PartField::Detail(Video),
        "file.filename" => PartField::Filename,
        "thought_signature" => PartField::Proof,
        _ => PartField::Whole,
    }
}
