//! What of a caller's request has no place in a canonical one. It is found by name, in a pass of its own over a request
//! that was understood.

use canon::Losses;
use serde_json::Value;

/// The fields that are read of each kind of block. Blocks of other kinds pass whole.
const BLOCKS: [(&str, &[&str]); 11] = [
    ("text", &["text"]),
    ("image", &["source"]),
    ("document", &["source", "title", "context"]),
    ("container_upload", &["file_id"]),
    ("search_result", &["title", "source", "content"]),
    ("tool_reference", &["tool_name"]),
    ("tool_addition", &["tool"]),
    ("tool_use", &["id", "name", "input"]),
    ("tool_result", &["tool_use_id", "content", "is_error"]),
    ("thinking", &["thinking", "signature"]),
    ("redacted_thinking", &["data"]),
];
/// Blocks that the model gets as the words in them.
const TOLD_AS_TEXT: [&str; 3] = ["search_result", "tool_reference", "tool_addition"];
const NO_PLACE: &str = "Only the provider's own format has such a field.";

/// The losses of reading this body.
pub(super) fn losses(body: &[u8]) -> Losses {
    let mut losses = Losses::new();
    let Ok(body) = serde_json::from_slice::<Value>(body) else { return losses };
    blocks(&body["system"], "system", &mut losses);
    for (index, message) in list(&body["messages"]).enumerate() {
        let path = format!("messages[{index}]");
        others(message, &["role", "content"], &path, &mut losses);
        blocks(&message["content"], &format!("{path}.content"), &mut losses);
    }
    for (index, tool) in list(&body["tools"]).enumerate() {
        let is_function = matches!(tool["type"].as_str(), None | Some("custom"));
        if is_function {
            let known = ["type", "name", "description", "input_schema", "strict", "cache_control"];
            others(tool, &known, &format!("tools[{index}]"), &mut losses);
        }
    }
    let choice = ["type", "name", "disable_parallel_tool_use"];
    others(&body["tool_choice"], &choice, "tool_choice", &mut losses);
    thinking(&body, &mut losses);
    losses
}

fn thinking(body: &Value, losses: &mut Losses) {
    let (thinking, config) = (&body["thinking"], &body["output_config"]);
    others(thinking, &["type", "budget_tokens", "display"], "thinking", losses);
    for (format, path) in
        [(&config["format"], "output_config.format"), (&body["output_format"], "output_format")]
    {
        others(format, &["type", "schema"], path, losses);
    }
    let kind = thinking["type"].as_str().unwrap_or_default();
    if kind == "between_tools" {
        losses.approximated("thinking", "Read as a wish not to think.");
    }
    if matches!(kind, "disabled" | "between_tools") && !config["effort"].is_null() {
        losses.dropped("output_config.effort", "Without thinking there is no effort to choose.");
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn blocks(content: &Value, path: &str, losses: &mut Losses) {
    for (index, block) in list(content).enumerate() {
        let path = format!("{path}[{index}]");
        let kind = block["type"].as_str().unwrap_or_default();
        let Some((_, known)) = BLOCKS.iter().find(|(name, _)| *name == kind) else { continue };
        others(block, &[known, &["type", "cache_control"][..]].concat(), &path, losses);
        if TOLD_AS_TEXT.contains(&kind) {
            losses.approximated(path.clone(), "Told as text.");
        }
        if kind == "document" {
            document(block, &path, losses);
        }
        if kind == "tool_result" {
            blocks(&block["content"], &format!("{path}.content"), losses);
        }
    }
}

fn document(block: &Value, path: &str, losses: &mut Losses) {
    if !block["context"].is_null() {
        losses.approximated(format!("{path}.context"), "Told as text in front of the document.");
    }
    if block["source"]["type"] == "content" {
        losses.approximated(format!("{path}.source"), "Its pieces were joined to one text.");
    }
}

/// Reports the fields that are not among the known ones and say something.
fn others(object: &Value, known: &[&str], path: &str, losses: &mut Losses) {
    for (name, value) in object.as_object().into_iter().flatten() {
        if !known.contains(&name.as_str()) && !says_nothing(name, value) {
            losses.dropped(format!("{path}.{name}"), NO_PLACE);
        }
    }
}

/// True for what answers carry without meaning, and callers send back.
fn says_nothing(name: &str, value: &Value) -> bool {
    let is_empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    is_empty
        || name == "citations" && value["enabled"] == false
        || name == "caller" && value["type"] == "direct"
}
