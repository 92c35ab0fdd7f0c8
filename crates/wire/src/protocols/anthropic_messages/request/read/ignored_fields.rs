//! The fields of a caller's request without a place in a canonical one. They are found by name, in a separate
//! pass over a valid request.

use std::borrow::Cow;

use canon::Losses;

use crate::json::{Items, Members, is_text, string};

/// The known fields of each kind of block. Blocks of other kinds pass whole.
const BLOCKS: [(&str, &[&str]); 11] = [
    ("text", &["type", "cache_control", "text"]),
    ("image", &["type", "cache_control", "source"]),
    ("document", &["type", "cache_control", "source", "title", "context"]),
    ("container_upload", &["type", "cache_control", "file_id"]),
    ("search_result", &["type", "cache_control", "title", "source", "content"]),
    ("tool_reference", &["type", "cache_control", "tool_name"]),
    ("tool_addition", &["type", "cache_control", "tool"]),
    ("tool_use", &["type", "cache_control", "id", "name", "input"]),
    ("tool_result", &["type", "cache_control", "tool_use_id", "content", "is_error"]),
    ("thinking", &["type", "cache_control", "thinking", "signature"]),
    ("redacted_thinking", &["type", "cache_control", "data"]),
];
/// Blocks whose text is passed to the model.
const PASSED_AS_TEXT: [&str; 3] = ["search_result", "tool_reference", "tool_addition"];
const NO_PLACE: &str = "Only the provider's own format has such a field.";

/// The losses of reading this body.
pub(super) fn losses(body: &str) -> Losses {
    let mut losses = Losses::new();
    let Some(body) = Members::of(body) else { return losses };
    let of = |name: &str| body.last(name).unwrap_or_default();
    blocks(of("system"), "system", &mut losses);
    for (index, message) in Items::of(of("messages")).enumerate() {
        let path = format!("messages[{index}]");
        let Some(message) = Members::of(message) else { continue };
        others(&message, &["role", "content"], &path, &mut losses);
        blocks(message.last("content").unwrap_or_default(), &format!("{path}.content"), &mut losses);
    }
    for (index, tool) in Items::of(of("tools")).enumerate() {
        let Some(tool) = Members::of(tool) else { continue };
        if matches!(word(&tool, "type").as_deref(), None | Some("custom")) {
            let known = ["type", "name", "description", "input_schema", "strict", "cache_control"];
            others(&tool, &known, &format!("tools[{index}]"), &mut losses);
        }
    }
    let choice = ["type", "name", "disable_parallel_tool_use"];
    others_of(of("tool_choice"), &choice, "tool_choice", &mut losses);
    thinking(&body, &mut losses);
    losses
}

fn thinking(body: &Members<'_>, losses: &mut Losses) {
    let config = body.last("output_config").and_then(Members::of);
    let of_config = |name: &str| config.as_ref().and_then(|config| config.last(name)).unwrap_or_default();
    let thinking = body.last("thinking").unwrap_or_default();
    others_of(thinking, &["type", "budget_tokens", "display"], "thinking", losses);
    let older = body.last("output_format").unwrap_or_default();
    for (format, path) in [(of_config("format"), "output_config.format"), (older, "output_format")] {
        others_of(format, &["type", "schema"], path, losses);
    }
    let thinking = Members::of(thinking);
    let kind = thinking.as_ref().and_then(|thinking| word(thinking, "type")).unwrap_or_default();
    if kind == "between_tools" {
        losses.approximated("thinking", "Treated as a request without thinking.");
    }
    if matches!(&*kind, "disabled" | "between_tools") && !matches!(of_config("effort"), "" | "null") {
        losses.dropped("output_config.effort", "An effort has no effect without thinking.");
    }
}

/// A member that is a string.
fn word<'a>(object: &Members<'a>, name: &str) -> Option<Cow<'a, str>> {
    object.last(name).and_then(string)
}

fn blocks(content: &str, path: &str, losses: &mut Losses) {
    for (index, block) in Items::of(content).enumerate() {
        let Some(block) = Members::of(block) else { continue };
        let kind = word(&block, "type").unwrap_or_default();
        let Some((_, known)) = BLOCKS.iter().find(|(name, _)| *name == kind) else { continue };
        let path = format!("{path}[{index}]");
        others(&block, known, &path, losses);
        if PASSED_AS_TEXT.contains(&&*kind) {
            losses.approximated(path.clone(), "Sent as text.");
        }
        if kind == "document" {
            document(&block, &path, losses);
        }
        if kind == "tool_result" {
            blocks(block.last("content").unwrap_or_default(), &format!("{path}.content"), losses);
        }
    }
}

fn document(block: &Members<'_>, path: &str, losses: &mut Losses) {
    if block.last("context").is_some_and(|context| context != "null") {
        losses.approximated(format!("{path}.context"), "Sent as text before the document.");
    }
    let source = block.last("source").and_then(Members::of);
    if source.is_some_and(|source| word(&source, "type").as_deref() == Some("content")) {
        losses.approximated(format!("{path}.source"), "The pieces were joined into one text.");
    }
}

fn others_of(object: &str, known: &[&str], path: &str, losses: &mut Losses) {
    if let Some(object) = Members::of(object) {
        others(&object, known, path, losses);
    }
}

/// Reports unknown fields with a meaning.
fn others(object: &Members<'_>, known: &[&str], path: &str, losses: &mut Losses) {
    for (name, value) in object.iter() {
        if !known.contains(&&*name) && !says_nothing(&name, value) {
            losses.dropped(format!("{path}.{name}"), NO_PLACE);
        }
    }
}

/// True for members of answers without meaning, which callers return.
fn says_nothing(name: &str, value: &str) -> bool {
    let last = |member: &str| Members::of(value).and_then(|value| value.last(member));
    value == "null"
        || Items::of(value).next().is_none() && value.starts_with('[')
        || name == "citations" && last("enabled") == Some("false")
        || name == "caller" && last("type").is_some_and(|kind| is_text(kind, "direct"))
}
