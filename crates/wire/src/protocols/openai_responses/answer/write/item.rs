//! The items of an output while they are written.

use canon::Json;
use serde_json::{Map, Value, json};

use super::super::super::REASONING_FORMAT;
use super::super::super::request::read::CallForm;
use crate::json::{Extent, push_key, push_string, push_u64};
use crate::protocols::envelope::{self, Proof};

/// Events to be sent: their names, and their members behind type and number.
pub(super) type Events = Vec<(&'static str, Vec<u8>)>;

/// How the caller calls a tool.
pub(super) struct Caller {
    pub namespace: Option<String>,
    pub name: String,
    pub form: CallForm,
}

/// An item in progress.
pub(super) enum Open {
    Message(MessageItem),
    Reasoning(ReasoningItem),
    Call(CallItem),
    Picture(PictureItem),
}

impl Open {
    pub fn index(&self) -> u64 {
        match self {
            Self::Message(item) => item.place.index,
            Self::Reasoning(item) => item.place.index,
            Self::Call(item) => item.place.index,
            Self::Picture(item) => item.place.index,
        }
    }

    /// The events before `output_item.done`.
    pub fn last_events(&self) -> Events {
        let mut events = Vec::new();
        match self {
            Self::Message(item) => item.close_part(&mut events),
            Self::Reasoning(item) => item.close_summary(&mut events),
            Self::Call(item) => item.close_arguments(&mut events),
            Self::Picture(item) => {
                events.push(("response.image_generation_call.completed", item.place.members()))
            }
        }
        events
    }

    /// The finished item.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Message(item) => item.write(out),
            Self::Reasoning(item) => item.write(out),
            Self::Call(item) => item.write(out),
            Self::Picture(item) => item.write(out),
        }
    }
}

/// Which item it is.
pub(super) struct Place {
    index: u64,
    id: String,
}

impl Place {
    /// `item_id` and `output_index`, as every event of an item has them.
    fn members(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(96);
        push_key_text(&mut out, "item_id", &self.id);
        push_key(&mut out, "output_index");
        push_u64(&mut out, self.index);
        out
    }

    /// Members with the number of a part.
    fn part(&self, name: &str, number: usize) -> Vec<u8> {
        let mut out = self.members();
        push_key(&mut out, name);
        push_u64(&mut out, number as u64);
        out
    }

    fn open(&self, kind: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"id\":");
        push_string(out, &self.id);
        push_key_text(out, "type", kind);
    }
}

fn push_key_text(out: &mut Vec<u8>, key: &str, text: &str) {
    push_key(out, key);
    push_string(out, text);
}

// ---------------------------------------------------------------------------------------------- messages

/// What the model says.
pub(super) struct MessageItem {
    place: Place,
    /// Finished parts as JSON.
    parts: Vec<Vec<u8>>,
    /// The part in progress: a text or a refusal.
    current: Option<(String, bool)>,
    annotations: Vec<Value>,
    /// Of the part in progress.
    pub logprobs: Vec<Value>,
}

impl MessageItem {
    pub fn new(index: u64, id: String) -> Self {
        let place = Place { index, id };
        Self { place, parts: Vec::new(), current: None, annotations: Vec::new(), logprobs: Vec::new() }
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.place.open("message", out);
        out.extend_from_slice(b",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}");
    }

    pub fn say(&mut self, text: &str, is_refusal: bool, events: &mut Events) {
        if self.current.as_ref().is_some_and(|(_, refuses)| *refuses != is_refusal) {
            self.close_part(events);
            self.end_part();
        }
        self.open_part(is_refusal, events);
        let mut members = self.place.part("content_index", self.parts.len());
        push_key_text(&mut members, "delta", text);
        if is_refusal {
            events.push(("response.refusal.delta", members));
        } else {
            members.extend_from_slice(b",\"logprobs\":[]");
            events.push(("response.output_text.delta", members));
        }
        if let Some((said, _)) = &mut self.current {
            said.push_str(text);
        }
    }

    fn open_part(&mut self, is_refusal: bool, events: &mut Events) {
        if self.current.is_some() {
            return;
        }
        self.current = Some((String::new(), is_refusal));
        let mut members = self.place.part("content_index", self.parts.len());
        push_key(&mut members, "part");
        self.write_part(&mut members);
        events.push(("response.content_part.added", members));
    }

    pub fn annotate(&mut self, annotation: Value, events: &mut Events) {
        self.open_part(false, events);
        let mut members = self.place.part("content_index", self.parts.len());
        push_key(&mut members, "annotation_index");
        push_u64(&mut members, self.annotations.len() as u64);
        push_key(&mut members, "annotation");
        members.extend_from_slice(annotation.to_string().as_bytes());
        events.push(("response.output_text.annotation.added", members));
        self.annotations.push(annotation);
    }

    fn write_part(&self, out: &mut Vec<u8>) {
        let Some((text, is_refusal)) = &self.current else { return out.extend_from_slice(b"null") };
        if *is_refusal {
            out.extend_from_slice(b"{\"type\":\"refusal\",\"refusal\":");
            push_string(out, text);
            return out.push(b'}');
        }
        out.extend_from_slice(b"{\"type\":\"output_text\",\"text\":");
        push_string(out, text);
        push_values(out, "annotations", &self.annotations);
        push_values(out, "logprobs", &self.logprobs);
        out.push(b'}');
    }

    fn close_part(&self, events: &mut Events) {
        let Some((text, is_refusal)) = &self.current else { return };
        let mut members = self.place.part("content_index", self.parts.len());
        if *is_refusal {
            push_key_text(&mut members, "refusal", text);
            events.push(("response.refusal.done", members));
        } else {
            push_key_text(&mut members, "text", text);
            push_values(&mut members, "logprobs", &self.logprobs);
            events.push(("response.output_text.done", members));
        }
        let mut members = self.place.part("content_index", self.parts.len());
        push_key(&mut members, "part");
        self.write_part(&mut members);
        events.push(("response.content_part.done", members));
    }

    fn end_part(&mut self) {
        let mut part = Vec::new();
        self.write_part(&mut part);
        self.parts.push(part);
        self.current = None;
        self.annotations.clear();
        self.logprobs.clear();
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.place.open("message", out);
        out.extend_from_slice(b",\"status\":\"completed\",\"role\":\"assistant\",\"content\":[");
        for (position, part) in self.parts.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            out.extend_from_slice(part);
        }
        if self.current.is_some() {
            if !self.parts.is_empty() {
                out.push(b',');
            }
            self.write_part(out);
        }
        out.extend_from_slice(b"]}");
    }
}

fn push_values(out: &mut Vec<u8>, name: &str, values: &[Value]) {
    push_key(out, name);
    out.push(b'[');
    for (position, value) in values.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.extend_from_slice(value.to_string().as_bytes());
    }
    out.push(b']');
}

/// A citation, flat as this format has it.
pub(super) fn flat_annotation(annotation: &Json) -> Option<Value> {
    let value = annotation.to_value().ok()?;
    let cited = value.get("url_citation")?;
    Some(json!({
        "type": "url_citation",
        "url": cited.get("url")?.as_str()?,
        "title": cited["title"].as_str().unwrap_or_default(),
        "start_index": cited["start_index"].as_u64().unwrap_or(0),
        "end_index": cited["end_index"].as_u64().unwrap_or(0),
    }))
}

/// The tokens of chat's log probabilities.
pub(super) fn tokens(logprobs: &Json) -> Option<Vec<Value>> {
    let value = logprobs.to_value().ok()?;
    let tokens = value.get("content")?.as_array()?.iter().map(|token| {
        let bytes = |token: &Value| match &token["bytes"] {
            Value::Array(bytes) => Value::Array(bytes.clone()),
            _ => json!([]),
        };
        let top = token["top_logprobs"].as_array().into_iter().flatten();
        let top: Vec<Value> = top
            .map(|one| json!({"token": one["token"], "bytes": bytes(one), "logprob": one["logprob"]}))
            .collect();
        json!({"token": token["token"], "bytes": bytes(token), "logprob": token["logprob"], "top_logprobs": top})
    });
    Some(tokens.collect())
}

// ---------------------------------------------------------------------------------------------- thinking

/// What the model thinks, and what proves it.
pub(super) struct ReasoningItem {
    place: Place,
    pub block: Option<u32>,
    text: Option<String>,
    signature: Option<(String, &'static str)>,
    encrypted: Option<(String, &'static str)>,
    /// An envelope that is ready.
    pub sealed: Option<String>,
}

impl ReasoningItem {
    pub fn new(index: u64, id: String, block: Option<u32>) -> Self {
        let place = Place { index, id };
        Self { place, block, text: None, signature: None, encrypted: None, sealed: None }
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.place.open("reasoning", out);
        out.extend_from_slice(b",\"summary\":[]}");
    }

    pub fn think(&mut self, text: &str, events: &mut Events) {
        if text.is_empty() {
            return;
        }
        if self.text.is_none() {
            let mut members = self.place.part("summary_index", 0);
            members.extend_from_slice(b",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
            events.push(("response.reasoning_summary_part.added", members));
        }
        self.text.get_or_insert_default().push_str(text);
        let mut members = self.place.part("summary_index", 0);
        push_key_text(&mut members, "delta", text);
        events.push(("response.reasoning_summary_text.delta", members));
    }

    pub fn sign(&mut self, proof: &str, format: &'static str) {
        self.signature.get_or_insert_with(|| (String::new(), format)).0.push_str(proof);
    }

    pub fn encrypt(&mut self, data: &str, format: &'static str) {
        self.encrypted.get_or_insert_with(|| (String::new(), format)).0.push_str(data);
    }

    fn close_summary(&self, events: &mut Events) {
        let Some(text) = &self.text else { return };
        let mut members = self.place.part("summary_index", 0);
        push_key_text(&mut members, "text", text);
        events.push(("response.reasoning_summary_text.done", members));
        let mut members = self.place.part("summary_index", 0);
        push_key(&mut members, "part");
        write_summary(text, &mut members);
        events.push(("response.reasoning_summary_part.done", members));
    }

    /// The family's own proof as it is, others in an envelope.
    fn encrypted_content(&self) -> Option<String> {
        if self.sealed.is_some() {
            return self.sealed.clone();
        }
        if let Some((data, format)) = &self.encrypted {
            return Some(match *format {
                REASONING_FORMAT => data.clone(),
                format => envelope::seal(&Proof::Encrypted { format: format.to_owned(), data: data.clone() }),
            });
        }
        let (signature, format) = self.signature.as_ref()?;
        let text = envelope::mark(self.text.as_deref().unwrap_or_default());
        Some(envelope::seal(&Proof::Signature {
            format: (*format).to_owned(),
            signature: signature.clone(),
            text,
        }))
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.place.open("reasoning", out);
        out.extend_from_slice(b",\"summary\":[");
        if let Some(text) = &self.text {
            write_summary(text, out);
        }
        out.push(b']');
        if let Some(data) = self.encrypted_content() {
            push_key_text(out, "encrypted_content", &data);
        }
        out.push(b'}');
    }
}

fn write_summary(text: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"type\":\"summary_text\",\"text\":");
    push_string(out, text);
    out.push(b'}');
}

// ---------------------------------------------------------------------------------------------- calls

/// A call of a tool.
pub(super) struct CallItem {
    /// Its number among the calls.
    pub number: u32,
    place: Place,
    call_id: String,
    caller: Caller,
    arguments: String,
    extent: Extent,
}

impl CallItem {
    /// What ids of such items begin with.
    pub fn prefix(form: CallForm) -> &'static str {
        match form {
            CallForm::Function => "fc",
            CallForm::Custom => "ctc",
            CallForm::LocalShell => "lsh",
            CallForm::Shell => "sh",
            CallForm::ApplyPatch => "apc",
            CallForm::ToolSearch => "tsc",
        }
    }

    pub fn new(number: u32, index: u64, id: String, call_id: String, caller: Caller) -> Self {
        let place = Place { index, id };
        Self { number, place, call_id, caller, arguments: String::new(), extent: Extent::default() }
    }

    /// Others come as a whole: their arguments are no text in this format.
    pub fn is_streamed(&self) -> bool {
        matches!(self.caller.form, CallForm::Function | CallForm::Custom)
    }

    /// The arguments are a complete JSON value. Free text ends with the answer only.
    pub fn is_complete(&self) -> bool {
        self.caller.form != CallForm::Custom && self.extent.is_complete()
    }

    pub fn push(&mut self, fragment: &str, events: &mut Events) {
        self.arguments.push_str(fragment);
        if self.caller.form != CallForm::Custom {
            self.extent.push(fragment);
        }
        let name = match self.caller.form {
            CallForm::Function => "response.function_call_arguments.delta",
            CallForm::Custom => "response.custom_tool_call_input.delta",
            _ => return,
        };
        let mut members = self.place.members();
        push_key_text(&mut members, "delta", fragment);
        events.push((name, members));
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.write_call("in_progress", "", out);
    }

    fn close_arguments(&self, events: &mut Events) {
        let mut members = self.place.members();
        match self.caller.form {
            CallForm::Function => {
                push_key_text(&mut members, "arguments", self.whole());
                push_key_text(&mut members, "name", &self.caller.name);
                events.push(("response.function_call_arguments.done", members));
            }
            CallForm::Custom => {
                push_key_text(&mut members, "input", &self.arguments);
                events.push(("response.custom_tool_call_input.done", members));
            }
            _ => {
                let mut item = Vec::new();
                self.write(&mut item);
                let mut members = Vec::new();
                push_key(&mut members, "output_index");
                push_u64(&mut members, self.place.index);
                push_key(&mut members, "item");
                members.extend_from_slice(&item);
                events.push(("response.output_item.added", members));
            }
        }
    }

    /// Arguments of functions are JSON, also where the model wrote none.
    fn whole(&self) -> &str {
        if self.arguments.trim().is_empty() { "{}" } else { &self.arguments }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self.caller.form {
            CallForm::Function => self.write_call("completed", self.whole(), out),
            CallForm::Custom => self.write_call("completed", &self.arguments, out),
            form => self.write_machine_call(form, out),
        }
    }

    fn write_call(&self, status: &str, arguments: &str, out: &mut Vec<u8>) {
        let (kind, member) = match self.caller.form {
            CallForm::Custom => ("custom_tool_call", "input"),
            _ => ("function_call", "arguments"),
        };
        self.place.open(kind, out);
        push_key_text(out, "status", status);
        push_key_text(out, "call_id", &self.call_id);
        push_key_text(out, "name", &self.caller.name);
        if let Some(namespace) = &self.caller.namespace {
            push_key_text(out, "namespace", namespace);
        }
        push_key_text(out, member, arguments);
        out.push(b'}');
    }

    /// A call of a tool that the caller's machine runs.
    fn write_machine_call(&self, form: CallForm, out: &mut Vec<u8>) {
        let given: Map<String, Value> = serde_json::from_str(self.whole()).unwrap_or_default();
        let (kind, member, value) = match form {
            CallForm::LocalShell => ("local_shell_call", "action", local_shell_action(given)),
            CallForm::Shell => ("shell_call", "action", shell_action(given)),
            CallForm::ApplyPatch => ("apply_patch_call", "operation", operation(given)),
            _ => ("tool_search_call", "arguments", Value::Object(given)),
        };
        self.place.open(kind, out);
        out.extend_from_slice(b",\"status\":\"completed\"");
        push_key_text(out, "call_id", &self.call_id);
        if form == CallForm::ToolSearch {
            push_key_text(out, "execution", "client");
        }
        push_key(out, member);
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(b'}');
    }
}

fn local_shell_action(given: Map<String, Value>) -> Value {
    let command = match given.get("command") {
        // Models like to write one line.
        Some(Value::String(line)) => json!(["bash", "-lc", line]),
        Some(command @ Value::Array(_)) => command.clone(),
        _ => json!([]),
    };
    let mut action =
        json!({"type": "exec", "command": command, "env": given.get("env").cloned().unwrap_or(json!({}))});
    for name in ["timeout_ms", "working_directory", "user"] {
        if let Some(value) = given.get(name) {
            action[name] = value.clone();
        }
    }
    action
}

fn shell_action(given: Map<String, Value>) -> Value {
    let commands = match given.get("commands") {
        Some(Value::String(line)) => json!([line]),
        Some(commands @ Value::Array(_)) => commands.clone(),
        _ => json!([]),
    };
    let member = |name: &str| given.get(name).cloned().unwrap_or(Value::Null);
    json!({"commands": commands, "timeout_ms": member("timeout_ms"), "max_output_length": member("max_output_length")})
}

fn operation(given: Map<String, Value>) -> Value {
    let text = |name: &str| given.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kind = text("type");
    match kind.as_str() {
        "delete_file" => json!({"type": kind, "path": text("path")}),
        _ => json!({"type": kind, "path": text("path"), "diff": text("diff")}),
    }
}

// ---------------------------------------------------------------------------------------------- pictures

/// A picture that the model made.
pub(super) struct PictureItem {
    place: Place,
    format: String,
    data: String,
}

impl PictureItem {
    pub fn new(index: u64, id: String, mime: &str, data: String) -> Self {
        let format = mime.strip_prefix("image/").unwrap_or("png").to_owned();
        Self { place: Place { index, id }, format, data }
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.place.open("image_generation_call", out);
        out.extend_from_slice(b",\"status\":\"in_progress\",\"result\":null}");
    }

    fn write(&self, out: &mut Vec<u8>) {
        self.place.open("image_generation_call", out);
        out.extend_from_slice(b",\"status\":\"completed\"");
        push_key_text(out, "output_format", &self.format);
        push_key_text(out, "result", &self.data);
        out.push(b'}');
    }
}
