//! Reads a request, and refuses invalid ones with OpenAI's messages.

use super::{opened, wants_compaction};
use crate::brain::{Choice, Json, Prompt, Tool};
use crate::format::{Call, Refusal, has, items, text, unknown_key};
use serde_json::Value;

const KNOWN_KEYS: [&str; 35] = [
    "access_programs",
    "background",
    "background_options",
    "client_metadata",
    "context_management",
    "conversation",
    "image",
    "include",
    "input",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "model",
    "moderation",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "stream",
    "stream_options",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
];

const INCLUDABLE: [&str; 8] = [
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
];

pub fn read(call: &Call) -> Result<Prompt, Refusal> {
    check_options(call)?;
    let body = &call.body;
    let mut prompt = Prompt::new();
    prompt.instruct(text(body, "instructions"));
    read_tools(items(body, "tools"), "tools", None, &mut prompt.tools)?;
    match body.get("input") {
        Some(Value::String(said)) => {
            prompt.begin_user();
            prompt.say(said);
        }
        Some(Value::Array(list)) => {
            Input { list, stored: stores(body), proves: call.proves(), open: Vec::new() }
                .read(&mut prompt)?;
        }
        _ => return Err(missing("input")),
    }
    prompt.choice = read_choice(body, &prompt.tools)?;
    prompt.parallel = body.get("parallel_tool_calls").and_then(Value::as_bool).unwrap_or(true);
    prompt.json = read_json(body.pointer("/text/format"))?;
    prompt.reasoning = thinks(&call.model, body);
    prompt.max_tokens = body.get("max_output_tokens").and_then(Value::as_u64);
    if wants_compaction(call) {
        prompt.tools.clear();
    }
    Ok(prompt)
}

/// Models of these families think by default.
fn reasons(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    ["o1", "o3", "o4", "gpt-5", "gpt-6", "codex", "mock"].iter().any(|family| name.starts_with(family))
}

fn thinks(model: &str, body: &Value) -> bool {
    let effort = body.pointer("/reasoning/effort").and_then(Value::as_str);
    match effort {
        Some("none") => false,
        Some(_) => true,
        None => reasons(model),
    }
}

fn stores(body: &Value) -> bool {
    body.get("store") != Some(&Value::Bool(false))
}

fn missing(name: &str) -> Refusal {
    Refusal::bad(format!("Missing required parameter: '{name}'.")).at(name).code("missing_required_parameter")
}

fn invalid(name: &str, given: &str, allowed: &str) -> Refusal {
    Refusal::bad(format!("Invalid value: '{given}'. Supported values are: {allowed}."))
        .at(name)
        .code("invalid_value")
}

fn unknown(name: String) -> Refusal {
    Refusal::bad(format!("Unknown parameter: '{name}'.")).at(name).code("unknown_parameter")
}

fn check_options(call: &Call) -> Result<(), Refusal> {
    let body = &call.body;
    if call.model.is_empty() {
        return Err(missing("model"));
    }
    if let Some(key) = unknown_key(body, &KNOWN_KEYS) {
        return Err(unknown(key.to_string()));
    }
    let most = body.get("max_output_tokens").and_then(Value::as_u64);
    if let Some(most) = most.filter(|most| *most < 16) {
        return Err(Refusal::bad(format!(
            "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got {most} instead."
        ))
        .at("max_output_tokens")
        .code("integer_below_min_value"));
    }
    if has(body, "previous_response_id") && has(body, "conversation") {
        return Err(Refusal::bad(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
        )
        .code("mutually_exclusive_parameters"));
    }
    if has(body, "previous_response_id") {
        let id = text(body, "previous_response_id");
        return Err(Refusal::bad(format!("Previous response with id '{id}' not found."))
            .at("previous_response_id")
            .code("previous_response_not_found"));
    }
    if let Some(option) =
        body.get("stream_options").and_then(|options| unknown_key(options, &["include_obfuscation"]))
    {
        return Err(unknown(format!("stream_options.{option}")));
    }
    for (index, wish) in items(body, "include").iter().enumerate() {
        let wish = wish.as_str().unwrap_or_default();
        if !INCLUDABLE.contains(&wish) {
            let allowed = INCLUDABLE.map(|name| format!("'{name}'")).join(", ");
            return Err(invalid(&format!("include[{index}]"), wish, &allowed));
        }
    }
    check_sampling(call)
}

fn check_sampling(call: &Call) -> Result<(), Refusal> {
    let (body, model) = (&call.body, call.model.as_str());
    if let Some(key) = body.get("reasoning").and_then(|reasoning| {
        unknown_key(reasoning, &["effort", "summary", "generate_summary", "mode", "context"])
    }) {
        return Err(unknown(format!("reasoning.{key}")));
    }
    let efforts = ["none", "minimal", "low", "medium", "high", "xhigh", "max"];
    if let Some(effort) = body.pointer("/reasoning/effort").and_then(Value::as_str)
        && !efforts.contains(&effort)
    {
        return Err(invalid("reasoning.effort", effort, &efforts.map(|name| format!("'{name}'")).join(", ")));
    }
    let old = ["gpt-4o", "gpt-4.1", "gpt-3.5"].iter().any(|family| model.starts_with(family));
    if old && body.pointer("/reasoning/effort").is_some_and(|effort| !effort.is_null()) {
        return Err(Refusal::bad(
            "Unsupported parameter: 'reasoning.effort' is not supported with this model.",
        )
        .at("reasoning.effort")
        .code("unsupported_parameter"));
    }
    let fixed = ["o1", "o3", "o4", "gpt-5-", "gpt-5"]
        .iter()
        .any(|family| model == *family || model.starts_with(&format!("{family}-")));
    let refused = ["temperature", "top_p"].into_iter().find(|name| fixed && has(body, name));
    match refused {
        Some(name) => {
            Err(Refusal::bad(format!("Unsupported parameter: '{name}' is not supported with this model."))
                .at(name)
                .code("unsupported_parameter"))
        }
        None => Ok(()),
    }
}

/// The items of the conversation, with the calls that wait for their outputs.
struct Input<'a> {
    list: &'a [Value],
    stored: bool,
    proves: bool,
    open: Vec<&'a str>,
}

impl<'a> Input<'a> {
    fn read(mut self, prompt: &mut Prompt) -> Result<(), Refusal> {
        for (index, item) in self.list.iter().enumerate() {
            self.item(index, item, prompt)?;
        }
        match self.open.first() {
            Some(id) => {
                Err(Refusal::bad(format!("No tool output found for function call {id}.")).at("input"))
            }
            None => Ok(()),
        }
    }

    fn item(&mut self, index: usize, item: &'a Value, prompt: &mut Prompt) -> Result<(), Refusal> {
        let place = format!("input[{index}]");
        let kind = match text(item, "type") {
            "" if has(item, "role") => "message",
            kind => kind,
        };
        check_keys(&place, kind, item)?;
        match kind {
            "message" => read_message(&place, item, prompt),
            "function_call" | "custom_tool_call" => self.call(&place, kind, item, prompt),
            "function_call_output" | "custom_tool_call_output" => self.output(kind, item, prompt),
            "reasoning" => self.reasoning(index, item),
            "additional_tools" => {
                read_tools(items(item, "tools"), &format!("{place}.tools"), None, &mut prompt.tools)
            }
            "compaction" if !self.proves => Ok(()),
            "compaction" => match opened(text(item, "encrypted_content")) {
                Some(summary) => {
                    prompt.begin_user();
                    prompt.say(&summary);
                    Ok(())
                }
                None => Err(not_decrypted("compaction", text(item, "id"))),
            },
            "item_reference" => Err(not_found(text(item, "id"), self.stored)),
            _ if HOSTED.contains(&kind) => Ok(()),
            other => Err(invalid(
                &place,
                other,
                "'message', 'function_call', 'function_call_output', 'reasoning', …",
            )),
        }
    }

    fn call(&mut self, place: &str, kind: &str, item: &'a Value, prompt: &mut Prompt) -> Result<(), Refusal> {
        let prefix = if kind == "function_call" { "fc" } else { "ctc" };
        check_id(place, item, prefix)?;
        let input = if kind == "function_call" { "arguments" } else { "input" };
        for name in ["call_id", "name", input] {
            if !item.get(name).is_some_and(Value::is_string) {
                return Err(missing(&format!("{place}.{name}")));
            }
        }
        let id = text(item, "call_id");
        if id.len() > 64 {
            return Err(Refusal::bad(format!(
                "Invalid '{place}.call_id': string too long. Expected a string with maximum length 64, but got a \
                 string with length {} instead.",
                id.len()
            ))
            .at(format!("{place}.call_id"))
            .code("string_above_max_length"));
        }
        check_name(&format!("{place}.name"), text(item, "name"))?;
        prompt.begin_user();
        prompt.count_text(text(item, input));
        self.open.push(id);
        Ok(())
    }

    fn output(&mut self, kind: &str, item: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
        let id = text(item, "call_id");
        let Some(position) = self.open.iter().position(|open| *open == id) else {
            let called = if kind == "function_call_output" { "function call" } else { "custom tool call" };
            return Err(Refusal::bad(format!("No tool call found for {called} output with call_id {id}."))
                .at("input"));
        };
        self.open.remove(position);
        match item.get("output") {
            Some(Value::String(output)) => prompt.result(output),
            Some(Value::Array(parts)) => {
                prompt.result(&parts.iter().map(|part| text(part, "text")).collect::<String>());
            }
            _ => return Err(missing("input.output")),
        }
        Ok(())
    }

    /// Thinking is valid with its original seal, and before the item that it led to.
    fn reasoning(&self, index: usize, item: &Value) -> Result<(), Refusal> {
        let id = text(item, "id");
        check_id(&format!("input[{index}]"), item, "rs")?;
        if !item.get("summary").is_some_and(Value::is_array) {
            return Err(missing(&format!("input[{index}].summary")));
        }
        let encrypted = text(item, "encrypted_content");
        if encrypted.is_empty() && self.proves {
            return Err(not_found(id, self.stored));
        }
        if self.proves && opened(encrypted).is_none() {
            return Err(not_decrypted("reasoning", id));
        }
        let follows = self.list[index + 1..].iter().find(|next| text(next, "type") != "reasoning");
        let led_to = follows.is_some_and(|next| {
            matches!(text(next, "type"), "function_call" | "custom_tool_call")
                || text(next, "role") == "assistant"
        });
        if led_to {
            return Ok(());
        }
        let message =
            format!("Item '{id}' of type 'reasoning' was provided without its required following item.");
        Err(Refusal::bad(message).at("input"))
    }
}

fn not_found(id: &str, stored: bool) -> Refusal {
    let hint = " Items are not persisted when `store` is set to false. Try again with `store` set to true, or remove \
                this item from your input.";
    let hint = if stored { "" } else { hint };
    Refusal::with_status(404, format!("Item with id '{id}' not found.{hint}")).at("input")
}

fn not_decrypted(kind: &str, id: &str) -> Refusal {
    Refusal::bad(format!(
        "The encrypted content for item {id} could not be verified. Reason: Encrypted content of {kind} could not be \
         decrypted or parsed."
    ))
    .code("invalid_encrypted_content")
}

fn check_id(place: &str, item: &Value, prefix: &str) -> Result<(), Refusal> {
    let id = text(item, "id");
    if !has(item, "id") || id.starts_with(prefix) {
        return Ok(());
    }
    Err(Refusal::bad(format!("Invalid '{place}.id': '{id}'. Expected an ID that begins with '{prefix}'."))
        .at(format!("{place}.id"))
        .code("invalid_value"))
}

fn check_name(place: &str, name: &str) -> Result<(), Refusal> {
    let sound = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == '-';
    if !name.is_empty() && name.len() <= 64 && name.chars().all(sound) {
        return Ok(());
    }
    Err(Refusal::bad(format!(
        "Invalid '{place}': string does not match pattern. Expected a string that matches the pattern \
         '^[a-zA-Z0-9_-]+$'."
    ))
    .at(place)
    .code("invalid_value"))
}

/// Items of hosted tools, which are only passed through.
const HOSTED: [&str; 21] = [
    "apply_patch_call",
    "apply_patch_call_output",
    "code_interpreter_call",
    "compaction_trigger",
    "computer_call",
    "computer_call_output",
    "configuration_update",
    "file_search_call",
    "image_generation_call",
    "local_shell_call",
    "local_shell_call_output",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
    "shell_call",
    "shell_call_output",
    "tool_search_call",
    "web_search_call",
];

/// Codex's own provider marks each item so; OpenAI takes it.
const PASSTHROUGH: &str = "internal_chat_message_metadata_passthrough";

/// The fields of the items of a conversation. Items of hosted tools are not checked.
fn check_keys(place: &str, kind: &str, item: &Value) -> Result<(), Refusal> {
    let known: &[&str] = match kind {
        "message" => &["content", "role", "id", "status", "phase"],
        "function_call" => &["arguments", "call_id", "name", "id", "status", "namespace", "async", "caller"],
        "custom_tool_call" => &["input", "call_id", "name", "id", "status", "namespace", "async", "caller"],
        "function_call_output" | "custom_tool_call_output" => {
            &["call_id", "output", "id", "status", "name", "caller"]
        }
        "reasoning" => &["id", "summary", "content", "encrypted_content", "status"],
        "additional_tools" => &["id", "role", "tools"],
        _ => return Ok(()),
    };
    let known: Vec<&str> = known.iter().copied().chain(["type", PASSTHROUGH]).collect();
    match unknown_key(item, &known) {
        Some(key) => Err(unknown(format!("{place}.{key}"))),
        None => Ok(()),
    }
}

fn read_message(place: &str, item: &Value, prompt: &mut Prompt) -> Result<(), Refusal> {
    let role = text(item, "role");
    if !["user", "assistant", "system", "developer"].contains(&role) {
        return Err(invalid(
            &format!("{place}.role"),
            role,
            "'assistant', 'system', 'developer', and 'user'",
        ));
    }
    if role == "assistant" {
        check_id(place, item, "msg")?;
    }
    if role != "system" && role != "developer" {
        prompt.begin_user();
    }
    let mut say = |said: &str| match role {
        "user" => prompt.say(said),
        "assistant" => prompt.count_text(said),
        _ => prompt.instruct(said),
    };
    match item.get("content") {
        Some(Value::String(said)) => say(said),
        Some(Value::Array(parts)) => {
            for (number, part) in parts.iter().enumerate() {
                check_part(&format!("{place}.content[{number}]"), role, part)?;
                if has(part, "text") {
                    say(text(part, "text"));
                }
            }
            parts.iter().for_each(|part| attach(part, prompt));
        }
        _ => return Err(missing(&format!("{place}.content"))),
    }
    Ok(())
}

fn check_part(place: &str, role: &str, part: &Value) -> Result<(), Refusal> {
    let allowed: &[&str] = match role {
        "assistant" => &["output_text", "refusal"],
        _ => &["input_text", "input_image", "input_file", "input_audio"],
    };
    let kind = text(part, "type");
    if !allowed.contains(&kind) {
        let allowed: Vec<String> = allowed.iter().map(|name| format!("'{name}'")).collect();
        return Err(invalid(place, kind, &allowed.join(", ")));
    }
    let image = part.get("image_url");
    if kind == "input_image" && image.is_some_and(Value::is_object) {
        let name = format!("{place}.image_url");
        let message = format!("Invalid type for '{name}': expected an image URL, but got an object instead.");
        return Err(Refusal::bad(message).at(name).code("invalid_type"));
    }
    if kind == "output_text" && !has(part, "text") {
        return Err(missing(&format!("{place}.text")));
    }
    Ok(())
}

fn attach(part: &Value, prompt: &mut Prompt) {
    match text(part, "type") {
        "input_image" if has(part, "image_url") => prompt.attach_url("image", text(part, "image_url")),
        "input_image" => prompt.attach_address("image", text(part, "file_id")),
        "input_file" => {
            let given = ["file_data", "file_url", "file_id"].into_iter().find(|name| has(part, name));
            prompt.attach_url("document", text(part, given.unwrap_or("file_id")));
        }
        _ => {}
    }
}

fn read_tools(
    given: &[Value],
    place: &str,
    namespace: Option<&str>,
    tools: &mut Vec<Tool>,
) -> Result<(), Refusal> {
    for (index, tool) in given.iter().enumerate() {
        let place = format!("{place}[{index}]");
        match text(tool, "type") {
            kind @ ("function" | "custom") => {
                let name = text(tool, "name");
                if name.is_empty() {
                    return Err(missing(&format!("{place}.name")));
                }
                check_name(&format!("{place}.name"), name)?;
                check_tool(&place, kind, tool)?;
                let schema = tool.get("parameters").cloned().unwrap_or_default();
                let namespace = namespace.map(str::to_string);
                // The model does not see tools with deferred loading.
                if tool.get("defer_loading") != Some(&Value::Bool(true)) {
                    tools.push(Tool { namespace, custom: kind == "custom", ..Tool::function(name, schema) });
                }
            }
            "namespace" => {
                read_tools(items(tool, "tools"), &format!("{place}.tools"), Some(text(tool, "name")), tools)?;
            }
            hosted if HOSTED_TOOLS.contains(&hosted) => {}
            other => {
                let allowed = HOSTED_TOOLS.map(|name| format!("'{name}'")).join(", ");
                return Err(invalid(
                    &format!("{place}.type"),
                    other,
                    &format!("'function', 'custom', {allowed}"),
                ));
            }
        }
    }
    Ok(())
}

const HOSTED_TOOLS: [&str; 15] = [
    "apply_patch",
    "code_interpreter",
    "computer",
    "computer_use_preview",
    "file_search",
    "image_generation",
    "local_shell",
    "mcp",
    "programmatic_tool_calling",
    "shell",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
];

fn check_tool(place: &str, kind: &str, tool: &Value) -> Result<(), Refusal> {
    let known: &[&str] = match kind {
        "function" => &[
            "type",
            "name",
            "description",
            "parameters",
            "strict",
            "defer_loading",
            "allowed_callers",
            "output_schema",
            "async",
        ],
        _ => &["type", "name", "description", "format", "defer_loading", "allowed_callers", "async"],
    };
    if let Some(key) = unknown_key(tool, known) {
        return Err(unknown(format!("{place}.{key}")));
    }
    let grammar = tool.get("format").filter(|format| text(format, "type") == "grammar");
    if let Some(name) =
        grammar.and_then(|format| ["syntax", "definition"].into_iter().find(|name| !has(format, name)))
    {
        return Err(missing(&format!("{place}.format.{name}")));
    }
    let parameters = tool.get("parameters").filter(|parameters| !parameters.is_null());
    if parameters.is_some_and(|parameters| parameters.get("type").is_none_or(|kind| kind != "object")) {
        let message = format!(
            "Invalid schema for function '{}': schema must be a JSON Schema of 'type: \"object\"'.",
            text(tool, "name")
        );
        return Err(Refusal::bad(message)
            .at(format!("{place}.parameters"))
            .code("invalid_function_parameters"));
    }
    match parameters.filter(|_| super::is_true(tool, "strict")) {
        Some(parameters) => check_strict(place, text(tool, "name"), parameters),
        None => Ok(()),
    }
}

/// The two rules for strict schemas that clients break.
fn check_strict(place: &str, name: &str, parameters: &Value) -> Result<(), Refusal> {
    let refuse = |why: &str| {
        let message = format!("Invalid schema for function '{name}': In context=(), {why}");
        Err(Refusal::bad(message).at(format!("{place}.parameters")).code("invalid_function_parameters"))
    };
    if parameters.get("additionalProperties") != Some(&Value::Bool(false)) {
        return refuse("'additionalProperties' is required to be supplied and to be false.");
    }
    let required = items(parameters, "required");
    let properties = parameters.get("properties").and_then(Value::as_object);
    let optional =
        properties.into_iter().flatten().any(|(key, _)| !required.iter().any(|name| name == key.as_str()));
    if optional {
        refuse("'required' is required to be supplied and to be an array including every key in properties.")
    } else {
        Ok(())
    }
}

fn read_choice(body: &Value, tools: &[Tool]) -> Result<Choice, Refusal> {
    let named = |choice: &Value| {
        let name = text(choice, "name");
        if tools.iter().any(|tool| tool.name == name) {
            Ok(Choice::Named(name.to_string()))
        } else {
            Err(Refusal::bad(format!("Tool choice 'function' not found in 'tools' parameter: '{name}'."))
                .at("tool_choice"))
        }
    };
    match body.get("tool_choice") {
        None | Some(Value::Null) => Ok(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Choice::Auto),
            "none" => Ok(Choice::Never),
            "required" if tools.is_empty() && items(body, "tools").is_empty() => {
                Err(Refusal::bad("Tool choice 'required' must be specified with 'tools' parameter.")
                    .at("tool_choice"))
            }
            "required" => Ok(Choice::Any),
            other => Err(invalid("tool_choice", other, "'none', 'auto', and 'required'")),
        },
        Some(choice) => match text(choice, "type") {
            "function" | "custom" => named(choice),
            "allowed_tools" if text(choice, "mode") == "required" => Ok(Choice::Any),
            _ => Ok(Choice::Auto),
        },
    }
}

fn read_json(format: Option<&Value>) -> Result<Json, Refusal> {
    let Some(format) = format.filter(|format| !format.is_null()) else { return Ok(Json::No) };
    match text(format, "type") {
        "text" => Ok(Json::No),
        "json_object" => Ok(Json::AnyObject),
        "json_schema" if !has(format, "name") => Err(missing("text.format.name")),
        "json_schema" => match format.get("schema") {
            Some(schema) => Ok(Json::Schema(schema.clone())),
            None => Err(missing("text.format.schema")),
        },
        other => Err(invalid("text.format.type", other, "'json_object', 'json_schema', and 'text'")),
    }
}
