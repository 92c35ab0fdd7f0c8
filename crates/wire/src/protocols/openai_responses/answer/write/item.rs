//! The items of an output while they are written.

use std::borrow::Cow;

use canon::Json;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::super::REASONING_FORMAT;
use super::super::super::request::read::CallForm;
use crate::json::{Extent, List, append, push_key, push_string, push_u64};
use crate::protocols::envelope::{self, Proof};

pub(super) const EVENT_END: &[u8] = b"}\n\n";

/// The target of a stream's events; none for a whole answer.
pub(super) struct Events<'a> {
    /// The number of the next event; none for a whole answer.
    pub next: Option<&'a mut u64>,
    pub out: &'a mut Vec<u8>,
}

impl Events<'_> {
    /// Writes an event; `members` appends its members after type and number.
    pub fn send(&mut self, name: &str, members: impl FnOnce(&mut Vec<u8>)) {
        if let Some(next) = &mut self.next {
            start_event(name, next, self.out);
            members(self.out);
            self.out.extend_from_slice(EVENT_END);
        }
    }
}

/// Begins an event, which stays open for its members.
pub(super) fn start_event(name: &str, next: &mut u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\ndata: {\"type\":\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\",\"sequence_number\":");
    push_u64(out, *next);
    *next += 1;
}

/// The caller's name of a tool.
pub(super) struct Caller {
    pub namespace: Option<String>,
    pub name: String,
    pub form: CallForm,
}

/// An item in progress.
pub(super) enum ItemInProgress {
    Message(MessageItem),
    Reasoning(ReasoningItem),
    Call(CallItem),
    Picture(PictureItem),
}

impl ItemInProgress {
    pub fn index(&self) -> u64 {
        match self {
            Self::Message(item) => item.place.index,
            Self::Reasoning(item) => item.place.index,
            Self::Call(item) => item.place.index,
            Self::Picture(item) => item.place.index,
        }
    }

    /// Sends the events before `output_item.done`.
    pub fn send_last(&self, events: &mut Events<'_>) {
        match self {
            Self::Message(item) => item.close_part(events),
            Self::Reasoning(item) => item.close_summary(events),
            Self::Call(item) => item.close_arguments(events),
            Self::Picture(item) => {
                events.send("response.image_generation_call.completed", |out| item.place.members(out));
            }
        }
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
pub(super) struct ItemPosition {
    index: u64,
    id: String,
}

impl ItemPosition {
    /// `item_id` and `output_index`, which every event of an item has.
    fn members(&self, out: &mut Vec<u8>) {
        push_key_text(out, "item_id", &self.id);
        push_key(out, "output_index");
        push_u64(out, self.index);
    }

    /// Members with the index of a part.
    fn part(&self, name: &str, number: usize, out: &mut Vec<u8>) {
        self.members(out);
        push_key(out, name);
        push_u64(out, number as u64);
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

/// A message of the model.
pub(super) struct MessageItem {
    place: ItemPosition,
    /// Finished parts as JSON.
    parts: Vec<Vec<u8>>,
    /// The part in progress: a text or a refusal.
    current: Option<(String, bool)>,
    /// For the current part, as JSON.
    annotations: Values,
    pub logprobs: Values,
}

/// Items of a list as they are written.
#[derive(Default)]
pub(super) struct Values {
    json: Vec<u8>,
    count: u64,
}

impl Values {
    /// Appends an item.
    pub fn push(&mut self, item: &[u8]) {
        if self.count > 0 {
            append(&mut self.json, b",");
        }
        append(&mut self.json, item);
        self.count += 1;
    }

    fn write(&self, name: &str, out: &mut Vec<u8>) {
        push_key(out, name);
        out.push(b'[');
        append(out, &self.json);
        out.push(b']');
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl MessageItem {
    pub fn new(index: u64, id: String) -> Self {
        let place = ItemPosition { index, id };
        let (annotations, logprobs) = Default::default();
        Self { place, parts: Vec::new(), current: None, annotations, logprobs }
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.place.open("message", out);
        out.extend_from_slice(b",\"status\":\"in_progress\",\"role\":\"assistant\",\"content\":[]}");
    }

    pub fn say(&mut self, text: &str, is_refusal: bool, events: &mut Events<'_>) {
        if self.current.as_ref().is_some_and(|(_, refuses)| *refuses != is_refusal) {
            self.close_part(events);
            self.end_part();
        }
        self.open_part(is_refusal, events);
        let name = if is_refusal { "response.refusal.delta" } else { "response.output_text.delta" };
        events.send(name, |out| {
            self.part(out);
            push_key_text(out, "delta", text);
            if !is_refusal {
                out.extend_from_slice(b",\"logprobs\":[]");
            }
        });
        if let Some((said, _)) = &mut self.current {
            said.push_str(text);
        }
    }

    /// The members of the current part.
    fn part(&self, out: &mut Vec<u8>) {
        self.place.part("content_index", self.parts.len(), out);
    }

    fn open_part(&mut self, is_refusal: bool, events: &mut Events<'_>) {
        if self.current.is_some() {
            return;
        }
        self.current = Some((String::new(), is_refusal));
        events.send("response.content_part.added", |out| {
            self.part(out);
            push_key(out, "part");
            self.write_part(out);
        });
    }

    /// Takes a citation as JSON.
    pub fn annotate(&mut self, annotation: &[u8], events: &mut Events<'_>) {
        self.open_part(false, events);
        events.send("response.output_text.annotation.added", |out| {
            self.part(out);
            push_key(out, "annotation_index");
            push_u64(out, self.annotations.count);
            push_key(out, "annotation");
            out.extend_from_slice(annotation);
        });
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
        self.annotations.write("annotations", out);
        self.logprobs.write("logprobs", out);
        out.push(b'}');
    }

    fn close_part(&self, events: &mut Events<'_>) {
        let Some((text, is_refusal)) = &self.current else { return };
        let name = if *is_refusal { "response.refusal.done" } else { "response.output_text.done" };
        events.send(name, |out| {
            self.part(out);
            push_key_text(out, if *is_refusal { "refusal" } else { "text" }, text);
            if !is_refusal {
                self.logprobs.write("logprobs", out);
            }
        });
        events.send("response.content_part.done", |out| {
            self.part(out);
            push_key(out, "part");
            self.write_part(out);
        });
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

/// Appends a citation in this format's flat form.
pub(super) fn flat_annotation(annotation: &Json) -> Option<Vec<u8>> {
    #[derive(Deserialize)]
    struct Annotation<'a> {
        #[serde(borrow)]
        url_citation: Cited<'a>,
    }
    #[derive(Deserialize)]
    struct Cited<'a> {
        #[serde(borrow)]
        url: Cow<'a, str>,
        #[serde(borrow, default)]
        title: Option<&'a RawValue>,
        #[serde(borrow, default)]
        start_index: Option<&'a RawValue>,
        #[serde(borrow, default)]
        end_index: Option<&'a RawValue>,
    }
    let Annotation { url_citation: cited } = annotation.read().ok()?;
    let title = cited.title.and_then(|title| crate::json::string(title.get())).unwrap_or_default();
    let place = |place: Option<&RawValue>| place.and_then(|place| place.get().parse().ok()).unwrap_or(0);
    let mut out = br#"{"type":"url_citation""#.to_vec();
    push_key_text(&mut out, "url", &cited.url);
    push_key_text(&mut out, "title", &title);
    push_key(&mut out, "start_index");
    push_u64(&mut out, place(cited.start_index));
    push_key(&mut out, "end_index");
    push_u64(&mut out, place(cited.end_index));
    out.push(b'}');
    Some(out)
}

/// A token of chat's log probabilities.
#[derive(Deserialize)]
struct Token<'a> {
    #[serde(borrow, default)]
    token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    bytes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    logprob: Option<&'a RawValue>,
    #[serde(borrow, default)]
    top_logprobs: List<'a, Token<'a>>,
}

impl Token<'_> {
    /// The token as an object that is left open.
    fn write(&self, out: &mut Vec<u8>) {
        fn or<'a>(value: Option<&'a RawValue>, usual: &'a str) -> &'a str {
            value.map_or(usual, RawValue::get)
        }
        let bytes = self.bytes.filter(|bytes| bytes.get().starts_with('['));
        let members = [
            ("token", or(self.token, "null")),
            ("bytes", or(bytes, "[]")),
            ("logprob", or(self.logprob, "null")),
        ];
        out.push(b'{');
        for (name, value) in members {
            push_key(out, name);
            out.extend_from_slice(value.as_bytes());
        }
    }
}

/// Chat's log probabilities.
#[derive(Deserialize)]
pub(super) struct Tokens<'a> {
    #[serde(borrow)]
    content: List<'a, Token<'a>>,
}

impl<'a> Tokens<'a> {
    /// None without tokens.
    pub fn of(logprobs: &'a Json) -> Option<Self> {
        logprobs.read().ok().filter(|tokens: &Self| !tokens.content.as_str().is_empty())
    }
}

/// Adds the tokens of chat's log probabilities to a list.
pub(super) fn add_tokens(tokens: &Tokens<'_>, list: &mut Values) {
    let mut written = Vec::new();
    for token in tokens.content.iter().flatten() {
        written.clear();
        token.write(&mut written);
        push_key(&mut written, "top_logprobs");
        written.push(b'[');
        for (position, top) in token.top_logprobs.iter().flatten().enumerate() {
            if position > 0 {
                written.push(b',');
            }
            top.write(&mut written);
            written.push(b'}');
        }
        written.extend_from_slice(b"]}");
        list.push(&written);
    }
}

// ---------------------------------------------------------------------------------------------- thinking

/// The model's thinking and its proof.
pub(super) struct ReasoningItem {
    place: ItemPosition,
    pub block: Option<u32>,
    text: Option<String>,
    signature: Option<(String, &'static str)>,
    encrypted: Option<(String, &'static str)>,
    /// A complete envelope.
    pub sealed: Option<String>,
}

impl ReasoningItem {
    pub fn new(index: u64, id: String, block: Option<u32>) -> Self {
        let place = ItemPosition { index, id };
        Self { place, block, text: None, signature: None, encrypted: None, sealed: None }
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.place.open("reasoning", out);
        out.extend_from_slice(b",\"summary\":[]}");
    }

    pub fn think(&mut self, text: &str, events: &mut Events<'_>) {
        if text.is_empty() {
            return;
        }
        if self.text.is_none() {
            events.send("response.reasoning_summary_part.added", |out| {
                self.part(out);
                out.extend_from_slice(b",\"part\":{\"type\":\"summary_text\",\"text\":\"\"}");
            });
        }
        self.text.get_or_insert_default().push_str(text);
        events.send("response.reasoning_summary_text.delta", |out| {
            self.part(out);
            push_key_text(out, "delta", text);
        });
    }

    /// The members of the single part.
    fn part(&self, out: &mut Vec<u8>) {
        self.place.part("summary_index", 0, out);
    }

    pub fn sign(&mut self, proof: &str, format: &'static str) {
        self.signature.get_or_insert_with(|| (String::new(), format)).0.push_str(proof);
    }

    pub fn encrypt(&mut self, data: &str, format: &'static str) {
        self.encrypted.get_or_insert_with(|| (String::new(), format)).0.push_str(data);
    }

    fn close_summary(&self, events: &mut Events<'_>) {
        let Some(text) = &self.text else { return };
        events.send("response.reasoning_summary_text.done", |out| {
            self.part(out);
            push_key_text(out, "text", text);
        });
        events.send("response.reasoning_summary_part.done", |out| {
            self.part(out);
            push_key(out, "part");
            write_summary(text, out);
        });
    }

    /// The family's own proof unchanged, others in an envelope.
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
    place: ItemPosition,
    call_id: String,
    caller: Caller,
    arguments: String,
    extent: Extent,
}

impl CallItem {
    /// The id prefix of such items.
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
        let place = ItemPosition { index, id };
        Self { number, place, call_id, caller, arguments: String::new(), extent: Extent::default() }
    }

    /// Others are sent whole: their arguments are not text in this format.
    pub fn is_streamed(&self) -> bool {
        matches!(self.caller.form, CallForm::Function | CallForm::Custom)
    }

    /// The arguments are a complete JSON value. Free text ends only with the answer.
    pub fn is_complete(&self) -> bool {
        self.caller.form != CallForm::Custom && self.extent.is_complete()
    }

    pub fn push(&mut self, fragment: &str, events: &mut Events<'_>) {
        self.arguments.push_str(fragment);
        if self.caller.form != CallForm::Custom {
            self.extent.push(fragment);
        }
        let name = match self.caller.form {
            CallForm::Function => "response.function_call_arguments.delta",
            CallForm::Custom => "response.custom_tool_call_input.delta",
            _ => return,
        };
        events.send(name, |out| {
            self.place.members(out);
            push_key_text(out, "delta", fragment);
        });
    }

    pub fn write_start(&self, out: &mut Vec<u8>) {
        self.write_call("in_progress", "", out);
    }

    fn close_arguments(&self, events: &mut Events<'_>) {
        match self.caller.form {
            CallForm::Function => events.send("response.function_call_arguments.done", |out| {
                self.place.members(out);
                push_key_text(out, "arguments", self.whole());
                push_key_text(out, "name", &self.caller.name);
            }),
            CallForm::Custom => events.send("response.custom_tool_call_input.done", |out| {
                self.place.members(out);
                push_key_text(out, "input", &self.arguments);
            }),
            _ => events.send("response.output_item.added", |out| {
                push_key(out, "output_index");
                push_u64(out, self.place.index);
                push_key(out, "item");
                self.write(out);
            }),
        }
    }

    /// Arguments of functions are JSON, even when the model wrote none.
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
        // Models tend to write a single line.
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

/// An image that the model made.
pub(super) struct PictureItem {
    place: ItemPosition,
    format: String,
    data: String,
}

impl PictureItem {
    pub fn new(index: u64, id: String, mime: &str, data: String) -> Self {
        let format = mime.strip_prefix("image/").unwrap_or("png").to_owned();
        Self { place: ItemPosition { index, id }, format, data }
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
