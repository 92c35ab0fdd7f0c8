//! Repairs the deviations of OpenAI-like servers without losing other members.
//!
//! Works on JSON values, so that unknown fields survive. Used only for pieces of an answer that are not
//! already valid. Lists are repaired item by item and kept as text.

use std::borrow::Cow;

use canon::{Annotator, Error, ErrorKind, FinishReason, Result, Retry};
use http::{HeaderMap, StatusCode};

use super::usage;
use crate::TakenIds;
use crate::framing::sse::SseEvent;
use crate::json::{Object, Value, push_key, push_string};
use crate::protocols::errors;

/// OpenAI allows `n` up to 128.
const MOST_CHOICES: u64 = 1024;
/// Most fields of chunks without choices that are kept for the last chunk.
const MOST_TRAILING: usize = 1000;
/// Most citations that become annotations, each of which is several times as long.
const MOST_CITATIONS: usize = 1000;

/// The object of a stream's event, unless it is an error.
pub(crate) fn event(event: SseEvent<'_>) -> Result<Object> {
    let object = Object::parse(event.data).ok_or_else(|| broken("a stream event is no JSON object"))?;
    match error_in(&object) {
        Some(error) => Err(error),
        None if event.event == b"error" => Err(bare_error(&object)),
        None => Ok(object),
    }
}

/// The error within an answer with a successful status, if there is one: `{"error": …}` beside or in place of
/// choices, an error object in place of an answer (vLLM's `{"object": "error", "message": …}`), or MiniMax's
/// `base_resp`.
pub(crate) fn error_in(body: &Object) -> Option<Error> {
    let base = body.get("base_resp");
    let status = base.and_then(|base| base["status_code"].as_i64());
    if let (Some(base), Some(status)) = (base, status.filter(|code| *code != 0)) {
        let message = base["status_msg"].as_str().unwrap_or("unknown error");
        return Some(from_code(Some(status.to_string()), None, message));
    }
    match body.get("error").filter(|error| says_error(error)) {
        Some(error) => Some(error_of(error, body)),
        None if is_bare_error(body) => Some(bare_error(body)),
        None => None,
    }
}

/// An error object without the wrapping `error`.
fn bare_error(body: &Object) -> Error {
    let body = Value::Object(body.clone());
    error_of(&body, &Object::new())
}

/// Some servers send an `error` that means no error.
fn says_error(error: &Value) -> bool {
    match error {
        Value::Null => false,
        Value::Bool(failed) => *failed,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => items.iter().any(says_error),
        Value::Object(fields) => fields.values().any(says_error),
        Value::Raw(text) if text.starts_with(['{', '[']) => {
            // An unparsed large value is an error.
            Value::parse_whole(text).is_none_or(|value| match value {
                Value::Raw(numbers) => numbers.contains(|letter: char| ('1'..='9').contains(&letter)),
                value => says_error(&value),
            })
        }
        code => code.as_f64() != Some(0.0),
    }
}

fn is_bare_error(body: &Object) -> bool {
    let is_text = |name: &str| body.get(name).is_some_and(Value::is_string);
    body.get("object").is_some_and(|object| *object == *"error")
        || !body.contains_key("choices") && (is_text("message") || is_text("detail"))
}

fn error_of(error: &Value, body: &Object) -> Error {
    let opened = match error {
        Value::Raw(text) => Value::parse_whole(text),
        _ => None,
    };
    let error = opened.as_ref().unwrap_or(error);
    let beside = |name: &str| body.get(name).unwrap_or(&Value::Null);
    let code = string_of(&error["code"]).or_else(|| string_of(beside("code")));
    let type_name = error["type"].as_str().map(str::to_owned);
    let raw = error["metadata"]["raw"].as_str();
    let words = error.as_str().or(error["message"].as_str()).or(error["detail"].as_str());
    let message = match (words, raw) {
        (Some(message), Some(raw)) if !raw.is_empty() => format!("{message}: {raw}"),
        (Some(message), _) => message.to_owned(),
        (None, _) => error.to_string(),
    };
    let status = error["status_code"].as_u64().or(beside("status_code").as_u64());
    from_code(code.or(status.map(|status| status.to_string())), type_name, &message)
}

/// An error without a status: a numeric code is the status, otherwise the text decides.
fn from_code(code: Option<String>, type_name: Option<String>, message: &str) -> Error {
    let numeric =
        code.as_deref().and_then(|code| code.parse::<u16>().ok()).filter(|code| (400..600).contains(code));
    let status = numeric
        .unwrap_or_else(|| status_of(code.as_deref().unwrap_or(""), type_name.as_deref().unwrap_or("")));
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    errors::upstream_error(status, &HeaderMap::new(), code, type_name, message.to_owned())
}

fn status_of(code: &str, type_name: &str) -> u16 {
    let words = format!("{code} {type_name}").to_lowercase();
    let table = [
        ("quota", 429),
        ("rate_limit", 429),
        ("authentication", 401),
        ("permission", 403),
        ("not_found", 404),
        ("invalid", 400),
        ("bad_request", 400),
        ("context_length", 400),
        ("overload", 503),
        ("unavailable", 503),
        ("timeout", 504),
    ];
    table.iter().find(|(word, _)| words.contains(word)).map_or(502, |(_, status)| *status)
}

fn string_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Raw(number) if value.as_f64().is_some() => Some(number.to_string()),
        _ => None,
    }
}

/// The finish reason for any server's name; none for names of a failure.
pub(crate) fn finish_reason(native: &str) -> Option<FinishReason> {
    Some(match native {
        "length"
        | "max_tokens"
        | "model_length"
        | "model_context_window_exceeded"
        | "MAX_TOKENS"
        | "max_output_tokens" => FinishReason::Length,
        "tool_calls" | "tool_use" | "function_call" | "TOOL_CALL" => FinishReason::ToolCalls,
        "content_filter" | "sensitive" | "refusal" | "SAFETY" | "PROHIBITED_CONTENT" | "RECITATION" => {
            FinishReason::ContentFilter
        }
        "error" | "network_error" | "insufficient_system_resource" | "ERROR" | "TIMEOUT" => return None,
        _ => FinishReason::Stop,
    })
}

/// The provider reports a failure in the choice itself (OpenRouter) or only by its finish reason.
fn failed_finish(native: &str, choice: &Object) -> Error {
    if let Some(error) = choice.get("error").filter(|error| says_error(error)) {
        return error_of(error, &Object::new());
    }
    Error::upstream(
        ErrorKind::Upstream,
        Retry::Elsewhere,
        format!("The provider broke off the answer (finish_reason {native:?})."),
    )
}

/// Repairs a whole completion in place and takes its usage out. `taken` are the ids of the conversation's
/// calls.
pub(crate) fn completion(
    body: &mut Object,
    annotator: Option<&dyn Annotator>,
    taken: &TakenIds,
) -> Result<()> {
    if let Some(error) = error_in(body) {
        return Err(error);
    }
    let count = body.get("choices").and_then(Value::as_array).map_or(0, <[_]>::len);
    if count as u64 > MOST_CHOICES {
        return Err(broken("it has too many choices"));
    }
    if count == 0 {
        return Err(broken("it has no choices"));
    }
    identity(body, "chat.completion", annotator);
    let citations = citations_of(body);
    let Some(Value::Array(choices)) = body.get_mut("choices") else {
        return Err(broken("it has no choices"));
    };
    for (position, choice) in choices.iter_mut().enumerate() {
        let Some(choice) = choice.as_object_mut() else { return Err(broken("a choice is no object")) };
        whole_choice(choice, position, annotator, taken)?;
        if let (Some(Value::Object(message)), Some(citations)) = (choice.get_mut("message"), &citations) {
            message.or_insert("annotations", || citations.clone());
        }
    }
    Ok(())
}

/// An invalid answer: another provider may answer better.
pub(crate) fn broken(what: &str) -> Error {
    Error::upstream(
        ErrorKind::Upstream,
        Retry::Elsewhere,
        format!("The provider's answer is broken: {what}."),
    )
}

/// Sets `object`, and fills `id`, `created` and `model` where they are missing or empty.
fn identity(body: &mut Object, object: &str, annotator: Option<&dyn Annotator>) {
    body.insert("object", object);
    let Some(annotator) = annotator else { return };
    if body.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
        body.insert("id", annotator.answer_id());
    }
    match body.get("created").and_then(Value::as_f64) {
        Some(created) if created > 0.0 => body.insert("created", created as i64),
        _ => body.insert("created", annotator.created()),
    }
    if body.get("model").and_then(Value::as_str).is_none_or(str::is_empty) {
        body.insert("model", annotator.model());
    }
}

fn whole_choice(
    choice: &mut Object,
    position: usize,
    annotator: Option<&dyn Annotator>,
    taken: &TakenIds,
) -> Result<()> {
    match choice.get("index").and_then(Value::as_u64) {
        Some(index) => check_index(index)?,
        None => choice.insert("index", position as u64),
    }
    let mut message = match choice.remove("message").or_else(|| choice.remove("delta")) {
        Some(Value::Object(message)) => message,
        _ => Object::new(),
    };
    message.insert("role", "assistant");
    without_empty_objects(&mut message);
    content_parts(&mut message);
    mirror_reasoning(&mut message);
    message.or_insert("content", || Value::Null);
    let has_calls = whole_calls(&mut message, annotator, taken)?;
    let native = choice.get("finish_reason").and_then(Value::as_str).unwrap_or("").to_owned();
    let legacy = native == "function_call" && message.get("function_call").is_some_and(Value::is_object);
    if !legacy {
        let reason = finish_reason(&native).ok_or_else(|| failed_finish(&native, choice))?;
        choice.insert("finish_reason", with_calls(reason, has_calls).as_str());
    }
    choice.insert("message", Value::Object(message));
    Ok(())
}

/// Encoders keep a list of choices: an absurd index must not become its length.
fn check_index(index: u64) -> Result<()> {
    if index < MOST_CHOICES { Ok(()) } else { Err(broken("a choice has an index out of range")) }
}

/// A call takes precedence over the finish reason `stop`.
pub(crate) fn with_calls(reason: FinishReason, has_calls: bool) -> FinishReason {
    match reason {
        FinishReason::Stop if has_calls => FinishReason::ToolCalls,
        FinishReason::ToolCalls if !has_calls => FinishReason::Stop,
        reason => reason,
    }
}

/// Content as a list of parts (Mistral, Databricks) becomes text and reasoning.
pub(crate) fn content_parts(message: &mut Object) {
    if !message.get("content").is_some_and(Value::is_array) {
        return;
    }
    let Some(parts) = message.remove("content") else { return };
    let (mut text, mut thinking) = (String::new(), String::new());
    for part in parts.items() {
        match part["type"].as_str() {
            Some("thinking") => thinking.push_str(&text_in(&part["thinking"])),
            Some("reasoning") => thinking.push_str(&text_in(&part["summary"])),
            _ => text.push_str(part["text"].as_str().or(part.as_str()).unwrap_or("")),
        }
    }
    if !thinking.is_empty() {
        message.insert("reasoning", thinking);
    }
    message.insert("content", text);
}

/// A string, or the texts of a list of parts.
fn text_in(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        list => list.items().filter_map(|part| part["text"].as_str().map(str::to_owned)).collect(),
    }
}

/// Thinking text is written under both names that clients read.
pub(crate) fn mirror_reasoning(message: &mut Object) {
    let text = |name: &str| message.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let found = text("reasoning_content").or_else(|| text("reasoning")).map(str::to_owned);
    let found = found.or_else(|| details_text(message.get("reasoning_details")?));
    if let Some(text) = found {
        message.insert("reasoning", text.as_str());
        message.insert("reasoning_content", text);
    }
}

fn details_text(details: &Value) -> Option<String> {
    let piece = |detail: Cow<'_, Value>| {
        detail["text"]
            .as_str()
            .or(detail["summary"].as_str())
            .or(detail["thinking"].as_str())
            .map(str::to_owned)
    };
    let text: String = details.items().filter_map(piece).collect();
    (!text.is_empty()).then_some(text)
}

fn whole_calls(message: &mut Object, annotator: Option<&dyn Annotator>, taken: &TakenIds) -> Result<bool> {
    let Some(calls) = message.remove("tool_calls") else { return Ok(false) };
    let length = calls.raw_length();
    let mut repaired = Vec::with_capacity(length + length / 4 + 64);
    repaired.push(b'[');
    let mut taken = taken.clone();
    for call in calls.items().filter(|call| !is_hosted(call)) {
        let is_named = called(&call)["name"].as_str().is_some_and(|name| !name.is_empty());
        match call.into_owned() {
            Value::Object(mut call) if is_named => {
                whole_call(&mut call, annotator, &mut taken);
                if repaired.len() > 1 {
                    repaired.push(b',');
                }
                call.write(&mut repaired);
            }
            _ => return Err(nameless_call()),
        }
    }
    drop(calls);
    let has_calls = repaired.len() > 1;
    if has_calls {
        repaired.push(b']');
        message.insert("tool_calls", Value::raw(repaired));
    }
    Ok(has_calls)
}

/// Some servers (Snowflake) send an empty object for each missing member.
fn without_empty_objects(message: &mut Object) {
    for (name, key) in [("function_call", "name"), ("audio", "id")] {
        if message.get(name).is_some_and(|value| value[key] == *"") {
            message.remove(name);
        }
    }
}

/// True for a call of a custom tool, whose input is free text.
pub(crate) fn is_custom(call: &Value) -> bool {
    call.as_object().is_some_and(is_custom_call)
}

fn is_custom_call(call: &Object) -> bool {
    let is_object = |kind: &str| call.get(kind).is_some_and(Value::is_object);
    let is_named = call.get("custom").is_some_and(|custom| !custom["name"].as_str().unwrap_or("").is_empty());
    is_object("custom") && (is_named || !is_object("function"))
}

/// The called function or custom tool.
pub(crate) fn called(call: &Value) -> &Value {
    &call[if is_custom(call) { "custom" } else { "function" }]
}

/// True for a call that the server runs itself (`{"type": "web_search", …}`): it names no tool of the caller
/// and needs no result.
fn is_hosted(call: &Value) -> bool {
    let kind = call["type"].as_str().unwrap_or("function");
    !matches!(kind, "" | "function" | "custom")
        && !call["function"].is_object()
        && !call["custom"].is_object()
}

fn nameless_call() -> Error {
    broken("a tool call does not name its tool")
}

/// `taken` are the ids of earlier calls: some servers give the calls of one answer the same id.
fn whole_call(call: &mut Object, annotator: Option<&dyn Annotator>, taken: &mut TakenIds) {
    let id = call.get("id").and_then(Value::as_str).unwrap_or_default();
    if id.is_empty() || !taken.insert(id) {
        call.insert("id", annotator.map(Annotator::tool_call_id).unwrap_or_default());
    }
    if is_custom_call(call) {
        if let Some(Value::Object(custom)) = call.get_mut("custom") {
            let input = given_text(custom, true);
            custom.remove("arguments");
            custom.insert("input", input);
        }
        return;
    }
    call.remove("custom");
    call.insert("type", "function");
    if let Some(Value::Object(function)) = call.get_mut("function") {
        let arguments = given_text(function, false);
        function.remove("input");
        let arguments = if arguments.trim().is_empty() { "{}".to_owned() } else { arguments };
        function.insert("arguments", arguments);
    }
}

/// The tool's input, under the member name of this kind of tool or of the other kind.
fn given_text(inner: &Object, custom: bool) -> String {
    let names = if custom { ["input", "arguments"] } else { ["arguments", "input"] };
    names.iter().map(|name| arguments_text(inner.get(name))).find(|text| !text.is_empty()).unwrap_or_default()
}

/// Arguments as text: some servers send an object, or null for none.
pub(crate) fn arguments_text(arguments: Option<&Value>) -> String {
    match arguments {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Top-level citations (`citations`, `search_results`) as annotations of the message; none without any.
fn citations_of(body: &Object) -> Option<Value> {
    let items = |name: &str| body.get(name).into_iter().flat_map(Value::items).take(MOST_CITATIONS);
    let mut found = vec![b'['];
    for result in items("search_results") {
        if let Some(url) = result["url"].as_str() {
            push_annotation(&mut found, url, result["title"].as_str().unwrap_or(url));
        }
    }
    if found.len() == 1 {
        for url in items("citations") {
            if let Some(url) = url.as_str() {
                push_annotation(&mut found, url, url);
            }
        }
    }
    let is_empty = found.len() == 1;
    found.push(b']');
    (!is_empty).then(|| Value::raw(found))
}

fn push_annotation(out: &mut Vec<u8>, url: &str, title: &str) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(
        br#"{"type":"url_citation","url_citation":{"start_index":0,"end_index":0,"title":"#,
    );
    push_string(out, title);
    push_key(out, "url");
    push_string(out, url);
    out.extend_from_slice(b"}}");
}

/// Repairs the chunks of a stream. Finish reasons are held back until the end, so that each choice has
/// exactly one and nothing follows it.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    first: Option<Identity>,
    choices: Vec<Choice>,
    /// The usage object as last reported.
    pub usage: Option<Value>,
    annotated: bool,
    /// The ids of the conversation's calls: agents would take a new call with such an id for the old one.
    taken: TakenIds,
    /// Fields of chunks without choices, for the last chunk.
    pub trailing: Object,
}

/// The members that must be the same in every chunk.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub id: String,
    pub created: i64,
    pub model: String,
}

#[derive(Debug, Default)]
struct Choice {
    index: u64,
    calls: Vec<Call>,
    /// The ids of the calls, as the caller gets them.
    ids: TakenIds,
    /// The call whose name may still continue.
    held: Option<usize>,
    /// The number of named calls, which is the next one's index.
    opened: usize,
    /// It uses the function calls that preceded tool calls.
    legacy: bool,
    /// Thinking came as plain text.
    thought: bool,
    finish: Option<FinishReason>,
    /// The chunk that carried the finish reason, without content.
    last: Option<Object>,
}

#[derive(Debug, Default)]
struct Call {
    native_index: Option<u64>,
    /// The provider's id, by which it may refer to the call again.
    native_id: String,
    /// The id that the caller gets.
    id: String,
    /// The name so far. Some servers (Continue's llama.cpp, Fireworks) send it in pieces: it is held until
    /// the arguments begin.
    name: String,
    /// Its index among the named calls, once the caller has its name.
    position: Option<usize>,
    custom: bool,
    has_arguments: bool,
    /// Arguments that came before the name.
    early: String,
    /// The provider's signatures that came with the name.
    extra: Option<Value>,
}

impl Call {
    /// Takes a piece of the name. A piece with an id or with arguments that contains the name again repeats
    /// it; one that is longer replaces it.
    fn take_name(&mut self, piece: &str, is_labelled: bool) {
        if self.position.is_some() || piece.is_empty() || is_labelled && self.name == piece {
            return;
        }
        if is_labelled && piece.starts_with(&self.name) {
            self.name.clear();
        }
        self.name.push_str(piece);
    }

    /// The first piece that the caller gets.
    fn open(&mut self, index: usize) -> Value {
        self.position = Some(index);
        let text = std::mem::take(&mut self.early);
        let (kind, inner) = self.kind();
        let inner = Object::of([("name", self.name.as_str().into()), (inner, text.into())]);
        let mut opened = Object::of([
            ("index", (index as u64).into()),
            ("id", self.id.as_str().into()),
            ("type", kind.into()),
            (kind, inner.into()),
        ]);
        if let Some(extra) = self.extra.take() {
            opened.insert("extra_content", extra);
        }
        opened.into()
    }

    /// The type, which is also the member name of the called tool, and the member name of its input.
    fn kind(&self) -> (&'static str, &'static str) {
        if self.custom { ("custom", "input") } else { ("function", "arguments") }
    }

    /// A further piece.
    fn more(&self, index: usize, text: &str) -> Option<Value> {
        let (kind, inner) = self.kind();
        let piece = || {
            let inner = Object::of([(inner, text.into())]);
            Object::of([("index", (index as u64).into()), (kind, inner.into())]).into()
        };
        (!text.is_empty()).then(piece)
    }
}

impl Chunks {
    /// Chunks of an answer whose calls must not have these ids.
    pub fn besides(taken: TakenIds) -> Self {
        Self { taken, ..Self::default() }
    }

    /// The identity of the stream, once a chunk came.
    pub fn identity(&self) -> Option<&Identity> {
        self.first.as_ref()
    }

    /// True when the choice has begun and not ended: a plain piece of text needs no repair.
    pub fn is_open(&self, index: u64) -> bool {
        self.choices
            .iter()
            .any(|choice| choice.index == index && choice.finish.is_none() && choice.last.is_none())
    }

    /// The finish reason of the first choice.
    pub fn finish(&self) -> Option<FinishReason> {
        self.choices.iter().min_by_key(|choice| choice.index).and_then(|choice| choice.finish)
    }

    /// True when every choice that began has ended.
    pub fn is_finished(&self) -> bool {
        !self.choices.is_empty() && self.choices.iter().all(|choice| choice.finish.is_some())
    }

    /// Repairs a chunk and appends the caller's output: nothing, or valid chunks.
    pub fn push(
        &mut self,
        mut chunk: Object,
        annotator: Option<&dyn Annotator>,
        out: &mut Vec<Object>,
    ) -> Result<()> {
        self.take_usage(&mut chunk);
        let choices = match chunk.remove("choices") {
            Some(Value::Array(choices)) => choices,
            _ => Vec::new(),
        };
        if choices.is_empty() {
            self.keep(chunk);
            return Ok(());
        }
        self.identify(&mut chunk, annotator);
        let citations = if self.annotated { None } else { citations_of(&chunk) };
        self.annotated |= citations.is_some();
        let mut says_something = false;
        for choice in choices {
            let Value::Object(choice) = choice else { return Err(broken("a choice is no object")) };
            says_something |= self.take_choice(&chunk, choice, (citations.as_ref(), annotator), out)?;
        }
        if !says_something {
            self.keep(chunk);
        }
        Ok(())
    }

    /// Keeps the members of a chunk besides its choices, where the chunk itself is not sent.
    fn keep(&mut self, chunk: Object) {
        const OWN: [&str; 5] = ["id", "object", "created", "model", "error"];
        for (name, value) in chunk {
            if !OWN.contains(&&*name) && !value.is_null() && self.trailing.len() < MOST_TRAILING {
                self.trailing.insert(&name, value);
            }
        }
    }

    /// The last chunks: a finish reason for each choice.
    pub fn finish_chunks(&mut self, annotator: Option<&dyn Annotator>) -> Result<Vec<Object>> {
        let mut out = Vec::new();
        let mut base = Object::new();
        self.identify(&mut base, annotator);
        if self.choices.is_empty() {
            self.choices.push(Choice { ids: self.taken.clone(), ..Choice::default() });
        }
        self.choices.sort_by_key(|choice| choice.index);
        for choice in &mut self.choices {
            choice.close_calls(&base, &mut out)?;
            let reason = choice.finish.unwrap_or(FinishReason::Stop);
            let reason = if choice.legacy { reason } else { with_calls(reason, choice.opened > 0) };
            choice.finish = Some(reason);
            let word = match (choice.legacy, reason) {
                (true, FinishReason::ToolCalls) => "function_call",
                _ => reason.as_str(),
            };
            let mut last = choice.last.take().unwrap_or_else(|| base.clone());
            let mut extras = match last.remove("choices") {
                Some(Value::Object(extras)) => extras,
                _ => Object::new(),
            };
            extras.insert("index", choice.index);
            extras.insert("delta", Object::new());
            extras.insert("finish_reason", word);
            last.insert("choices", Value::Array(vec![extras.into()]));
            out.push(last);
        }
        Ok(out)
    }

    fn take_usage(&mut self, chunk: &mut Object) {
        let in_choice = chunk.get("choices").and_then(|choices| choices[0].get("usage")).cloned();
        let candidates = [
            chunk.remove("usage"),
            in_choice,
            chunk.get("x_groq").and_then(|groq| groq.get("usage")).cloned(),
        ];
        for usage in candidates.into_iter().flatten() {
            if usage::read(usage.to_string().as_bytes(), false).is_some() {
                self.usage = Some(usage);
                return;
            }
        }
    }

    /// Gives every chunk the same id, time and model.
    fn identify(&mut self, chunk: &mut Object, annotator: Option<&dyn Annotator>) {
        identity(chunk, "chat.completion.chunk", annotator);
        let first = self.first.get_or_insert_with(|| Identity {
            id: chunk.get("id").and_then(Value::as_str).unwrap_or("").to_owned(),
            created: chunk.get("created").and_then(Value::as_i64).unwrap_or(0),
            model: chunk.get("model").and_then(Value::as_str).unwrap_or("").to_owned(),
        });
        chunk.insert("id", first.id.as_str());
        chunk.insert("created", first.created);
        chunk.insert("model", first.model.as_str());
    }

    /// False when the caller gets nothing from it.
    fn take_choice(
        &mut self,
        base: &Object,
        mut native: Object,
        (citations, annotator): (Option<&Value>, Option<&dyn Annotator>),
        out: &mut Vec<Object>,
    ) -> Result<bool> {
        let index = native.get("index").and_then(Value::as_u64).unwrap_or(0);
        check_index(index)?;
        let (position, is_new) = match self.choices.iter().position(|choice| choice.index == index) {
            Some(position) => (position, false),
            None => {
                self.choices.push(Choice { index, ids: self.taken.clone(), ..Choice::default() });
                (self.choices.len() - 1, true)
            }
        };
        let choice = &mut self.choices[position];
        let mut delta = match native.remove("delta") {
            Some(Value::Object(delta)) => delta,
            // A whole message instead of a delta: some servers end with one that repeats everything.
            _ if is_new => match native.remove("message") {
                Some(Value::Object(message)) => message,
                _ => Object::new(),
            },
            _ => Object::new(),
        };
        native.remove("message");
        native.remove("usage");
        choice.repair_delta(&mut delta, is_new, annotator);
        if let Some(citations) = citations {
            delta.or_insert("annotations", || citations.clone());
        }
        let finish = native.remove("finish_reason");
        let native_finish = finish.as_ref().and_then(Value::as_str).filter(|reason| !reason.is_empty());
        let has_logprobs = native.get("logprobs").is_some_and(|value| !value.is_null());
        let says_more = has_logprobs || says_something(&delta);
        let goes_on = is_new || says_more || (choice.finish.is_none() && !delta.is_empty());
        if goes_on {
            let mut piece = native.clone();
            piece.insert("index", index);
            piece.insert("delta", Value::Object(delta));
            piece.insert("finish_reason", Value::Null);
            let mut chunk = base.clone();
            chunk.insert("choices", Value::Array(vec![piece.into()]));
            out.push(chunk);
        }
        if let (Some(reason), None) = (native_finish, choice.finish) {
            choice.finish = Some(finish_reason(reason).ok_or_else(|| failed_finish(reason, &native))?);
            native.remove("logprobs");
            let mut last = base.clone();
            last.insert("choices", Value::Object(native));
            choice.last = Some(last);
            return Ok(true);
        }
        Ok(goes_on)
    }
}

/// True when a delta carries content that a caller would miss.
pub(crate) fn says_something(delta: &Object) -> bool {
    delta.iter().any(|(name, value)| match value {
        Value::Null => false,
        Value::String(text) => name != "role" && !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        list if list.is_array() => list.texts().next().is_some(),
        _ => true,
    })
}

impl Choice {
    fn repair_delta(&mut self, delta: &mut Object, is_new: bool, annotator: Option<&dyn Annotator>) {
        delta.remove("role");
        without_empty_objects(delta);
        content_parts(delta);
        let is_plain =
            |name: &str| delta.get(name).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        let thinks = is_plain("reasoning") || is_plain("reasoning_content");
        // Details after the text repeat it, with its proof.
        if thinks || !self.thought {
            mirror_reasoning(delta);
        }
        self.thought |= thinks;
        for name in ["reasoning", "reasoning_content"] {
            if delta.get(name).is_some_and(|value| value.is_null() || *value == *"") {
                delta.remove(name);
            }
        }
        if let Some(calls) = delta.remove("tool_calls") {
            let mut repaired = Vec::new();
            let own = calls.items().filter(|call| !is_hosted(call));
            own.for_each(|call| self.repair_call(&call, annotator, &mut repaired));
            if !repaired.is_empty() {
                delta.insert("tool_calls", Value::Array(repaired));
            }
        }
        self.legacy |= delta.get("function_call").is_some_and(Value::is_object);
        let is_empty = |value: &Value| value.is_null() || *value == *"";
        if !is_new {
            delta.retain(|_, value| !is_empty(value));
        } else {
            delta.insert_first("role", "assistant".into());
        }
    }

    /// Pieces of tool calls with an index that counts from 0, and with id and name only in the first piece of
    /// each.
    fn repair_call(&mut self, call: &Value, annotator: Option<&dyn Annotator>, out: &mut Vec<Value>) {
        let native_index = call["index"].as_u64();
        let id = call["id"].as_str().unwrap_or("");
        let custom = is_custom(call);
        let inner = called(call);
        let name = inner["name"].as_str().unwrap_or("");
        let text = inner.as_object().map(|inner| given_text(inner, custom)).unwrap_or_default();
        let found = self.find_call(native_index, id, name);
        let index = found.unwrap_or_else(|| self.new_call(native_index, id, custom, annotator));
        // Once another call has begun, the name of the one before it is complete.
        if self.held.is_some_and(|held| held < index) {
            self.open_held(out);
        }
        let state = &mut self.calls[index];
        state.has_arguments |= !text.trim().is_empty();
        if let Some(position) = state.position {
            return out.extend(state.more(position, &text));
        }
        state.take_name(name, found.is_none() || !id.is_empty() || !text.is_empty());
        state.early.push_str(&text);
        if let Some(extra) = call.get("extra_content") {
            state.extra = Some(extra.clone());
        }
        let is_complete = !state.early.is_empty();
        if state.name.is_empty() {
            return;
        }
        if self.held.is_some_and(|held| held != index) {
            self.open_held(out);
        }
        self.held = Some(index);
        if is_complete {
            self.open_held(out);
        }
    }

    fn new_call(
        &mut self,
        native_index: Option<u64>,
        native_id: &str,
        custom: bool,
        annotator: Option<&dyn Annotator>,
    ) -> usize {
        let mut id = native_id.to_owned();
        if id.is_empty() || !self.ids.insert(&id) {
            id = annotator.map(Annotator::tool_call_id).unwrap_or_default();
        }
        let native_id = native_id.to_owned();
        self.calls.push(Call { native_index, native_id, id, custom, ..Call::default() });
        self.calls.len() - 1
    }

    fn open_held(&mut self, out: &mut Vec<Value>) {
        if let Some(held) = self.held.take() {
            out.push(self.calls[held].open(self.opened));
            self.opened += 1;
        }
    }

    /// The call of a piece. The index decides. A new id together with a name opens a new call even under a
    /// used index. Without an index, the id or the last call decides.
    fn find_call(&self, native_index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let opens = |call: &Call| {
            !id.is_empty() && !name.is_empty() && !call.native_id.is_empty() && call.native_id != id
        };
        let found = match native_index {
            Some(_) => self.calls.iter().rposition(|call| call.native_index == native_index),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.native_id == id),
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        };
        found.filter(|index| !opens(&self.calls[*index]))
    }

    /// Calls without arguments get an empty object, so that every call's arguments are JSON.
    fn close_calls(&mut self, base: &Object, out: &mut Vec<Object>) -> Result<()> {
        let mut pieces = Vec::new();
        self.open_held(&mut pieces);
        for call in &mut self.calls {
            let Some(index) = call.position else {
                // An empty piece (Snowflake) is not a call.
                if call.early.trim().is_empty() { continue } else { return Err(nameless_call()) }
            };
            if !call.has_arguments && !call.custom {
                call.has_arguments = true;
                pieces.extend(call.more(index, "{}"));
            }
        }
        for piece in pieces {
            let mut chunk = base.clone();
            let delta = Object::of([("tool_calls", Value::Array(vec![piece]))]);
            let choice = Object::of([
                ("index", self.index.into()),
                ("delta", delta.into()),
                ("finish_reason", Value::Null),
            ]);
            chunk.insert("choices", Value::Array(vec![choice.into()]));
            out.push(chunk);
        }
        Ok(())
    }
}
