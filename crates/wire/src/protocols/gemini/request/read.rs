//! Reads callers' `generateContent` requests as canonical ones.
//!
//! Model and method are in the URL. A body may name a model as well (`models/…`), as batches do.

mod waiting;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::iter::Chain;

use canon::{
    Effort, Error, Field, Json, Losses, Media, MediaKind, Message, OutputField, OutputFormat, Part, PartKind,
    Place, Reasoning, Request, Result, Role, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use serde::de::DeserializeOwned;

use super::super::REASONING_FORMAT;
use super::write::media::{guessed_mime, kind_of};
use super::write::tools::camel_case;
use crate::intake::whole;
use crate::json::{Items, Members, push_array, push_compact, push_string, room, string};
use crate::protocols::Protocol;
use crate::protocols::envelope;
use crate::protocols::fields::{MOST_TEXTS, object as members_object, texts_of};
use crate::protocols::hosted;
use crate::protocols::media_types::media_type;
use waiting::UnansweredCalls;

/// Most unknown settings: each is kept with its name.
const MOST_SETTINGS: usize = 256;

/// Reads a body. Model and form come from the URL.
pub(crate) fn decode(body: &[u8]) -> Result<Request> {
    let body = std::str::from_utf8(body)
        .map_err(|error| Error::invalid("body", format!("The body is not valid JSON: {error}.")))?;
    let mut fields = object(body, "body")?;
    let mut request = Request { format: Protocol::Gemini.as_str(), ..Request::default() };
    if let Some(model) = fields.take_text("model")? {
        request.model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    }
    let instruction = fields.take("systemInstruction");
    let has_contents = fields.has("contents");
    let contents = fields.take_list("contents")?;
    if !has_contents || contents.clone().next().is_none() {
        let message = "`contents` is missing or empty: it holds the turns of the conversation.";
        return Err(Error::invalid("contents", message));
    }
    request.messages.reserve_exact(usize::from(instruction.is_some()) + contents.clone().count());
    if let Some(instruction) = instruction {
        instructions(instruction, &mut request.messages)?;
    }
    let mut history = TurnReader::default();
    history.read(contents, &mut request.messages)?;
    request.losses = history.losses;
    let entries = fields.take_list("tools")?;
    // Each has at least one tool: all functions, or one that the provider runs.
    request.tools.reserve_exact(entries.clone().count());
    for (index, entry) in entries.enumerate() {
        tool_entry(index, entry, &mut request)?;
    }
    if let Some(config) = fields.take("toolConfig") {
        request.tool_choice = tool_choice(object(config, "toolConfig")?, &mut request.losses)?;
    }
    if let Some(config) = fields.take("generationConfig") {
        generation_config(object(config, "generationConfig")?, &mut request)?;
    } else {
        request.reasoning.exclude = true;
    }
    request.extra.extend(fields.rest().map(|(name, value)| (name.into_owned(), Json::copy_of(value))));
    Ok(request)
}

/// The fields of an object, taken one by one. Names may be in camel case or with underscores.
struct Fields<'a> {
    path: String,
    members: Members<'a>,
    /// The indexes of the taken fields, which are few.
    taken: Vec<usize>,
}

/// A list, or one object in its place.
type List<'a> = Chain<std::option::IntoIter<&'a str>, Items<'a>>;

fn object<'a>(json: &'a str, path: &str) -> Result<Fields<'a>> {
    let Some(members) = Members::of(json) else {
        return Err(Error::invalid(path.to_owned(), format!("`{path}` must be a JSON object.")));
    };
    let path = if path == "body" { String::new() } else { format!("{path}.") };
    if let Some(name) = in_two_spellings(&members) {
        let message = format!("`{name}` is given twice, in two spellings.");
        return Err(Error::invalid(format!("{path}{name}"), message));
    }
    Ok(Fields { path, members, taken: Vec::new() })
}

/// A name that an object has in both spellings.
fn in_two_spellings<'a>(members: &Members<'a>) -> Option<Cow<'a, str>> {
    if !members.iter().any(|(name, _)| name.contains('_')) {
        return None;
    }
    let state = RandomState::new();
    let mut seen = HashSet::new();
    members.iter().map(|(name, _)| name).find(|name| !seen.insert(state.hash_one(&*in_camel_case(name))))
}

fn in_camel_case(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(camel_case(name)) } else { Cow::Borrowed(name) }
}

impl<'a> Fields<'a> {
    fn find(&self, name: &str) -> Option<(usize, &'a str)> {
        let found = self.members.iter().position(|(own, _)| in_camel_case(&own) == name)?;
        Some((found, self.members.at(found).1)).filter(|_| !self.taken.contains(&found))
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let (place, value) = self.find(name)?;
        self.taken.push(place);
        Some(value).filter(|value| *value != "null")
    }

    fn take_as<T: DeserializeOwned>(&mut self, name: &str, kind: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        serde_json::from_str(value).map(Some).map_err(|_| self.wrong(name, &format!("it must be {kind}")))
    }

    fn take_flag(&mut self, name: &str) -> Result<Option<bool>> {
        self.take_as(name, "true or false")
    }

    fn take_number(&mut self, name: &str) -> Result<Option<f64>> {
        self.take_as(name, "a number")
    }

    fn take_whole<T: TryFrom<i64>>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = whole(value.as_bytes()).and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "it must be a whole number in the field's range"))
    }

    fn take_text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        match string(value) {
            Some(text) => Ok(Some(text.into_owned())),
            None => Err(self.wrong(name, "it must be a string")),
        }
    }

    fn take_texts(&mut self, name: &str) -> Result<Vec<String>> {
        let Some(value) = self.take(name) else { return Ok(Vec::new()) };
        let items = Items::of(value);
        if !value.starts_with('[') {
            return Err(self.wrong(name, "it must be a list"));
        }
        if items.clone().nth(MOST_TEXTS).is_some() {
            return Err(self.wrong(name, &format!("it has more than {MOST_TEXTS} entries")));
        }
        texts_of(items).ok_or_else(|| self.wrong(name, "it must hold strings"))
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        let path = format!("{}{name}", self.path);
        let message = format!("`{path}` has a wrong type: {what}.");
        Error::invalid(path, message)
    }

    fn has(&self, name: &str) -> bool {
        self.find(name).is_some_and(|(_, value)| value != "null")
    }

    /// A list. The service accepts a single object in its place, and its documentation uses that.
    fn take_list(&mut self, name: &str) -> Result<List<'a>> {
        let value = self.take(name);
        match value.and_then(|value| value.bytes().next()) {
            None | Some(b'[') => Ok(None.into_iter().chain(Items::of(value.unwrap_or_default()))),
            Some(b'{') => Ok(value.into_iter().chain(Items::of(""))),
            Some(_) => {
                let path = format!("{}{name}", self.path);
                let message = format!("`{path}` must be a list.");
                Err(Error::invalid(path, message))
            }
        }
    }

    /// Reports the fields that were not taken.
    fn lose_rest(self, losses: &mut Losses) {
        for (name, _) in self.rest().filter(|(_, value)| *value != "null") {
            losses
                .dropped(format!("{}{name}", self.path), "Only the provider's own format has such a field.");
        }
    }

    fn rest(&self) -> impl Iterator<Item = (Cow<'a, str>, &'a str)> {
        let rest = self.members.iter().enumerate().filter(|(place, _)| !self.taken.contains(place));
        rest.map(
            |(_, (name, value))| {
                if name.contains('_') { (Cow::Owned(camel_case(&name)), value) } else { (name, value) }
            },
        )
    }
}

/// Instructions are a content, a list of parts, or in the SDKs' short form a text.
fn instructions(value: &str, messages: &mut Vec<Message>) -> Result<()> {
    let path = "systemInstruction";
    let parts = match string(value) {
        Some(text) => vec![Part::text(text).at(Place::INSTRUCTIONS)],
        None => {
            let given = object(value, path)?.take_list("parts")?;
            let mut parts = Vec::with_capacity(given.clone().count());
            for (index, part) in given.enumerate() {
                let path = format!("{path}.parts[{index}]");
                let text = object(part, &path)?.take_text("text")?;
                let text = text.ok_or_else(|| Error::invalid(path, "Instructions must be texts."))?;
                parts.push(Part::text(text).at(Place::INSTRUCTIONS.piece(index)));
            }
            parts
        }
    };
    if !parts.is_empty() {
        messages.push(Message::new(Role::System, parts).at(Place::INSTRUCTIONS));
    }
    Ok(())
}

/// Reads turns. Calls and their results often have no ids: they are matched by name and order.
#[derive(Default)]
struct TurnReader {
    losses: Losses,
    /// Calls of the last model turn without a result.
    waiting: UnansweredCalls,
}

impl TurnReader {
    fn read(&mut self, contents: List<'_>, messages: &mut Vec<Message>) -> Result<()> {
        for (index, content) in contents.enumerate() {
            let path = format!("contents[{index}]");
            let mut fields = object(content, &path)?;
            let role = fields.take_text("role")?;
            let parts = fields.take_list("parts")?;
            match role.as_deref() {
                Some("model") => self.model(index, parts, messages)?,
                None | Some("user" | "function" | "tool") => self.user(index, parts, messages)?,
                Some(_) => {
                    let message = "The role must be \"user\" or \"model\".";
                    return Err(Error::invalid(format!("{path}.role"), message));
                }
            }
            fields.lose_rest(&mut self.losses);
        }
        Ok(())
    }

    fn model(&mut self, turn: usize, given: List<'_>, messages: &mut Vec<Message>) -> Result<()> {
        let mut parts = Vec::with_capacity(given.clone().count());
        for (index, part) in given.enumerate() {
            let path = format!("contents[{turn}].parts[{index}]");
            let mut fields = object(part, &path)?;
            let mut signature = fields.take_text("thoughtSignature")?;
            if let Some(sealed) = signature.take_if(|signature| envelope::holds_thoughts(signature)) {
                self.unseal((&path, Place::entry(turn).piece(index)), &sealed, &mut parts);
            }
            let is_thought = fields.take_flag("thought")?.unwrap_or(false);
            let place = Place::entry(turn).piece(index);
            if let Some(kind) = self.model_part((turn, index), &path, is_thought, &mut fields)? {
                parts.push(Part { signature: signature.map(Into::into), place, ..Part::new(kind) });
            } else if signature.is_some() {
                // Google itself puts a proof without text on an empty thought.
                let format = Some(REASONING_FORMAT.to_owned());
                let thought = PartKind::from(Reasoning { format, ..Reasoning::default() });
                parts.push(Part { signature: signature.map(Into::into), place, ..Part::new(thought) });
            }
            fields.lose_rest(&mut self.losses);
        }
        self.waiting = UnansweredCalls::of(messages.len(), &parts);
        room::push(messages, Message::new(Role::Assistant, parts).at(Place::entry(turn)));
        Ok(())
    }

    /// Thinking of another family of models, which its call brings back. It replaces the client's own copy.
    fn unseal(&mut self, (path, place): (&str, Place), sealed: &str, parts: &mut Vec<Part>) {
        let Some(thoughts) = envelope::open_thoughts(sealed) else {
            let reason = "The signature was wrapped by the gateway and is damaged.";
            return self.losses.dropped(format!("{path}.thoughtSignature"), reason);
        };
        let after_calls = parts.iter().rposition(|part| matches!(part.kind, PartKind::ToolCall(_)));
        let start = after_calls.map_or(0, |call| call + 1);
        let is_bare = |part: &Part| part.signature.is_none() && matches!(part.kind, PartKind::Reasoning(_));
        let first = parts[start..].iter().position(is_bare).map_or(start, |bare| start + bare);
        let rest: Vec<Part> = parts.drain(first..).filter(|part| !is_bare(part)).collect();
        parts.extend(thoughts.into_iter().map(|thought| thought.into_part().at(place)));
        parts.extend(rest);
    }

    fn model_part(
        &mut self,
        (turn, index): (usize, usize),
        path: &str,
        is_thought: bool,
        fields: &mut Fields<'_>,
    ) -> Result<Option<PartKind>> {
        if let Some(call) = fields.take("functionCall") {
            let mut call = object(call, &format!("{path}.functionCall"))?;
            let name = required(call.take_text("name")?, path, "functionCall.name")?;
            let id = call.take_text("id")?.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| format!("call_{turn}_{index}"));
            let arguments = call.take("args").map_or_else(|| "{}".to_owned(), compact);
            call.lose_rest(&mut self.losses);
            let (id, name, arguments) = (id.into(), name.into(), arguments.into());
            return Ok(Some(ToolCall { id, name, arguments, custom: false }.into()));
        }
        if let Some(text) = fields.take_text("text")? {
            if is_thought {
                let format = Some(REASONING_FORMAT.to_owned());
                let reasoning = Reasoning { text, format, ..Reasoning::default() };
                return Ok(Some(reasoning.into()));
            }
            return Ok(Some(PartKind::Text(text.into())));
        }
        if let Some(code) = fields.take("executableCode") {
            self.report_text_form(path, "executableCode");
            let code = text_in(code, "code");
            return Ok(Some(PartKind::Text(format!("\n```\n{code}\n```\n").into())));
        }
        if let Some(result) = fields.take("codeExecutionResult") {
            self.report_text_form(path, "codeExecutionResult");
            let output = text_in(result, "output");
            return Ok(Some(PartKind::Text(format!("\n```\n{output}\n```\n").into())));
        }
        media(path, fields, &mut self.losses).map(|media| media.map(PartKind::from))
    }

    fn report_text_form(&mut self, path: &str, name: &str) {
        self.losses.approximated(format!("{path}.{name}"), "Sent as text in a code block.");
    }

    /// Results come first, then the rest of the user's message.
    fn user(&mut self, turn: usize, given: List<'_>, messages: &mut Vec<Message>) -> Result<()> {
        let is_result = |part: &str| part.contains("functionResponse") || part.contains("function_response");
        let mut parts = Vec::with_capacity(given.clone().filter(|part| !is_result(part)).count());
        let mut has_results = false;
        for (index, part) in given.enumerate() {
            let path = format!("contents[{turn}].parts[{index}]");
            let mut fields = object(part, &path)?;
            let place = Place::entry(turn).piece(index);
            if let Some(response) = fields.take("functionResponse") {
                has_results = true;
                let result = Part::new(PartKind::from(self.result(&path, response, messages)?)).at(place);
                room::push(messages, Message::new(Role::Tool, vec![result]).at(Place::entry(turn)));
            } else if let Some(text) = fields.take_text("text")? {
                room::push(&mut parts, Part::text(text).at(place));
            } else if let Some(media) = media(&path, &mut fields, &mut self.losses)? {
                room::push(&mut parts, Part::new(PartKind::from(media)).at(place));
            }
            fields.lose_rest(&mut self.losses);
        }
        if !parts.is_empty() || !has_results {
            room::push(messages, Message::new(Role::User, parts).at(Place::entry(turn)));
        }
        Ok(())
    }

    fn result(&mut self, path: &str, response: &str, messages: &[Message]) -> Result<ToolResult> {
        let mut fields = object(response, &format!("{path}.functionResponse"))?;
        let name = fields.take_text("name")?.unwrap_or_default();
        let id = fields.take_text("id")?.filter(|id| !id.is_empty());
        let call = self.waiting.take(id.as_deref(), &name, messages);
        let call_id = id.map(Box::from).or(call.map(|call| call.id.clone())).ok_or_else(|| {
            let message = format!("The response does not answer a call of \"{name}\" in the turn before it.");
            Error::invalid(format!("{path}.functionResponse"), message)
        })?;
        let (text, is_error) = result_text(fields.take("response"));
        let mut content = vec![Part::text(text)];
        for (index, part) in fields.take_list("parts")?.enumerate() {
            let path = format!("{path}.functionResponse.parts[{index}]");
            let mut part = object(part, &path)?;
            let found = media(&path, &mut part, &mut self.losses)?;
            let place = Place::NOWHERE.piece(index);
            content.extend(found.map(|media| Part::new(PartKind::from(media)).at(place)));
            part.lose_rest(&mut self.losses);
        }
        fields.lose_rest(&mut self.losses);
        Ok(ToolResult { call_id, content, is_error })
    }
}

fn required<T>(value: Option<T>, path: &str, name: &str) -> Result<T> {
    value.ok_or_else(|| Error::invalid(format!("{path}.{name}"), format!("`{name}` is missing.")))
}

/// `{"output": …}` and `{"error": …}` are unwrapped; any other value is the result itself.
fn result_text(response: Option<&str>) -> (String, bool) {
    let text = |value: &str| string(value).map_or_else(|| compact(value), Cow::into_owned);
    let Some(response) = response else { return (String::new(), false) };
    let only = Members::of(response).filter(|members| members.len() == 1).map(|members| members.at(0));
    match only.as_ref().map(|(name, value)| (&**name, *value)) {
        Some(("output", output)) => (text(output), false),
        Some(("error", error)) => (text(error), true),
        _ => (text(response), false),
    }
}

/// The text of a value without white space between its tokens.
fn compact(json: &str) -> String {
    let mut out = Vec::with_capacity(json.len());
    push_compact(&mut out, json);
    String::from_utf8(out).unwrap_or_default()
}

/// A text in an object; empty where there is none.
fn text_in<'a>(json: &'a str, name: &str) -> Cow<'a, str> {
    Members::of(json).and_then(|members| members.last(name)).and_then(string).unwrap_or_default()
}

fn media(path: &str, fields: &mut Fields<'_>, losses: &mut Losses) -> Result<Option<Media>> {
    let plain = |kind, source| Media { kind, source, filename: None, detail: None };
    if let Some(blob) = fields.take("inlineData") {
        let mut blob = object(blob, &format!("{path}.inlineData"))?;
        let mime = media_type(&required(blob.take_text("mimeType")?, path, "inlineData.mimeType")?);
        let data = required(blob.take_text("data")?, path, "inlineData.data")?;
        let kind = kind_of(&mime);
        let filename = blob.take_text("displayName")?;
        blob.lose_rest(losses);
        return Ok(Some(Media {
            filename,
            ..plain(kind, Source::Base64 { mime, data: standard_base64(data) })
        }));
    }
    if let Some(file) = fields.take("fileData") {
        let mut file = object(file, &format!("{path}.fileData"))?;
        let uri = required(file.take_text("fileUri")?, path, "fileData.fileUri")?;
        let mime = file.take_text("mimeType")?;
        let usual = if uri.contains("youtu") { MediaKind::Video } else { MediaKind::Document };
        let kind = mime.as_deref().map_or(usual, kind_of);
        // A URL has no type of its own here: the type is guessed again from the name.
        if mime.as_deref().is_some_and(|mime| mime != guessed_mime(kind, &uri)) {
            let reason = "The media type of a URL is guessed from its file name.";
            losses.dropped(format!("{path}.fileData.mimeType"), reason);
        }
        let filename = file.take_text("displayName")?;
        file.lose_rest(losses);
        return Ok(Some(Media { filename, ..plain(kind, Source::Url(uri)) }));
    }
    Ok(None)
}

/// Google's own SDK writes base64 with the alphabet for URLs.
fn standard_base64(data: String) -> String {
    if !data.contains(['-', '_']) && data.len().is_multiple_of(4) {
        return data;
    }
    let mut standard = data.replace('-', "+").replace('_', "/");
    while !standard.len().is_multiple_of(4) {
        standard.push('=');
    }
    standard
}

/// An entry may contain functions and, besides them, tools that the provider runs.
fn tool_entry(index: usize, entry: &str, request: &mut Request) -> Result<()> {
    let Request { tools, losses, spellings, .. } = request;
    let mut fields = object(entry, &format!("tools[{index}]"))?;
    let functions = fields.take_list("functionDeclarations")?;
    let count = functions.clone().count();
    if count > tools.capacity() - tools.len() {
        tools.reserve_exact(count);
    }
    for (position, function) in functions.enumerate() {
        let path = format!("tools[{index}].functionDeclarations[{position}]");
        let mut function = object(function, &path)?;
        let name = required(function.take_text("name")?, &path, "name")?;
        let description = function.take_text("description")?;
        if function.has("parametersJsonSchema") {
            spellings.note_parameters(tools.len());
        }
        for name in ["parametersJsonSchema", "parameters"] {
            if function.find(name).is_some_and(|(_, value)| !value.starts_with('{') && value != "null") {
                let message = format!("`{path}.{name}` must be a JSON schema, an object.");
                return Err(Error::invalid(format!("{path}.{name}"), message));
            }
        }
        let parameters = function.take("parametersJsonSchema").map(Json::copy_of);
        let parameters = parameters.or_else(|| function.take("parameters").map(json_schema));
        function.lose_rest(losses);
        let kind = ToolKind::Function { parameters, strict: None };
        let place = Place::entry(index).piece(position);
        room::push(tools, Tool { name, description, kind, cache: None, place });
    }
    // Libraries write unused kinds of tools as null.
    for (name, value) in fields.rest().filter(|(_, value)| *value != "null") {
        let kind = ToolKind::Native(members_object(std::iter::once((name.clone(), value))));
        let (name, place) = (name.into_owned(), Place::entry(index));
        hosted::push(tools, Tool { name, description: None, kind, cache: None, place })?;
    }
    Ok(())
}

/// Google's older schemas are OpenAPI's: types in capitals, `nullable`.
fn json_schema(schema: &str) -> Json {
    let mut out = Vec::with_capacity(schema.len());
    push_json_schema(schema, &mut out);
    Json::copy_of(&String::from_utf8(out).unwrap_or_default())
}

fn push_json_schema(schema: &str, out: &mut Vec<u8>) {
    let Some(members) = Members::of(schema) else { return push_compact(out, schema) };
    let nullable = members.last("nullable") == Some("true");
    out.push(b'{');
    for (name, value) in members.iter().filter(|(name, _)| name != "nullable") {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        push_string(out, &name);
        out.push(b':');
        match &*name {
            "type" => push_type(value, nullable, out),
            "properties" | "defs" | "$defs" => match Members::of(value) {
                Some(schemas) => push_schemas(&schemas, out),
                None => push_compact(out, value),
            },
            "anyOf" | "prefixItems" if value.starts_with('[') => {
                push_array(out, Items::of(value), push_json_schema);
            }
            "items" | "additionalProperties" => push_json_schema(value, out),
            _ => push_compact(out, value),
        }
    }
    out.push(b'}');
}

fn push_schemas(schemas: &Members<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (name, schema)) in schemas.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        push_string(out, &name);
        out.push(b':');
        push_json_schema(schema, out);
    }
    out.push(b'}');
}

fn push_type(kind: &str, nullable: bool, out: &mut Vec<u8>) {
    let Some(kind) = string(kind) else { return push_compact(out, kind) };
    let kind = kind.to_ascii_lowercase();
    if nullable {
        push_array(out, [&*kind, "null"], |kind, out| push_string(out, kind))
    } else {
        push_string(out, &kind)
    }
}

fn tool_choice(mut config: Fields<'_>, losses: &mut Losses) -> Result<Option<ToolChoice>> {
    let calling = config.take("functionCallingConfig");
    // Whether it is sent depends on the tools.
    config.take("includeServerSideToolInvocations");
    config.lose_rest(losses);
    let Some(calling) = calling else { return Ok(None) };
    let mut calling = object(calling, "toolConfig.functionCallingConfig")?;
    let mut names = calling.take_texts("allowedFunctionNames")?;
    let mode = calling.take_text("mode")?.unwrap_or_default().to_ascii_uppercase();
    calling.lose_rest(losses);
    if mode == "VALIDATED" {
        let reason = "Only Google has the mode VALIDATED: AUTO was sent.";
        losses.approximated("toolConfig.functionCallingConfig.mode", reason);
    }
    Ok(match mode.as_str() {
        "NONE" => Some(ToolChoice::None),
        "ANY" if names.is_empty() => Some(ToolChoice::Required),
        "ANY" if names.len() == 1 => names.pop().map(ToolChoice::Named),
        "ANY" => Some(ToolChoice::Allowed { names, required: true }),
        "AUTO" | "VALIDATED" if names.is_empty() => Some(ToolChoice::Auto),
        "AUTO" | "VALIDATED" => Some(ToolChoice::Allowed { names, required: false }),
        "" | "MODE_UNSPECIFIED" => None,
        _ => {
            let path = "toolConfig.functionCallingConfig.mode";
            return Err(Error::invalid(path, "The mode must be AUTO, ANY, NONE or VALIDATED."));
        }
    })
}

fn generation_config(mut config: Fields<'_>, request: &mut Request) -> Result<()> {
    let sampling = &mut request.sampling;
    sampling.temperature = config.take_number("temperature")?;
    sampling.top_p = config.take_number("topP")?;
    sampling.top_k = config.take_number("topK")?.map(|top_k| top_k as u64);
    sampling.presence_penalty = config.take_number("presencePenalty")?;
    sampling.frequency_penalty = config.take_number("frequencyPenalty")?;
    sampling.seed = config.take_whole("seed")?;
    request.max_tokens = config.take_whole("maxOutputTokens")?;
    request.n = config.take_whole("candidateCount")?;
    request.stop = config.take_texts("stopSequences")?;
    request.logprobs = config.take_flag("responseLogprobs")?;
    request.top_logprobs = config.take_whole("logprobs")?;
    thinking(&mut config, request)?;
    if config.has("responseJsonSchema") {
        for of in [OutputField::Whole, OutputField::Schema] {
            request.spellings.note(Field::Output(of), "generationConfig.responseJsonSchema");
        }
    }
    request.output = output_format(&mut config, &mut request.losses)?;
    let modalities = config.take_texts("responseModalities")?;
    if modalities.iter().any(|modality| !modality.eq_ignore_ascii_case("text")) {
        let names: Vec<_> = modalities.iter().map(|modality| modality.to_ascii_lowercase()).collect();
        request.extra.push(("modalities".to_owned(), Json::of(&names)));
    }
    if config.rest().nth(MOST_SETTINGS).is_some() {
        let message = format!("generationConfig has more than {MOST_SETTINGS} unknown settings.");
        return Err(Error::invalid("generationConfig", message));
    }
    for (name, value) in config.rest() {
        request.spellings.note(Field::extra(name.clone().into_owned()), format!("generationConfig.{name}"));
        request.extra.push((name.into_owned(), Json::copy_of(value)));
    }
    Ok(())
}

/// Google returns thoughts only on request.
fn thinking(config: &mut Fields<'_>, request: &mut Request) -> Result<()> {
    const PATH: &str = "generationConfig.thinkingConfig";
    request.reasoning.exclude = true;
    let Some(thinking) = config.take("thinkingConfig") else { return Ok(()) };
    let mut thinking = object(thinking, PATH)?;
    request.reasoning.exclude = thinking.take_flag("includeThoughts")? != Some(true);
    if let Some(level) = thinking.take_text("thinkingLevel")? {
        let level = level.to_ascii_lowercase();
        if level != "thinking_level_unspecified" {
            let effort = Effort::parse(&level).ok_or_else(|| {
                Error::invalid(
                    format!("{PATH}.thinkingLevel"),
                    "The level must be minimal, low, medium or high.",
                )
            })?;
            request.reasoning.effort = Some(effort);
        }
    }
    // -1 leaves it to the model.
    match thinking.take_whole::<i64>("thinkingBudget")? {
        Some(0) => {
            request.reasoning.effort = Some(Effort::None);
            request.spellings.note(Field::ReasoningEffort, format!("{PATH}.thinkingBudget"));
        }
        Some(budget) => request.reasoning.budget_tokens = u64::try_from(budget).ok(),
        None => {}
    }
    thinking.lose_rest(&mut request.losses);
    Ok(())
}

fn output_format(config: &mut Fields<'_>, losses: &mut Losses) -> Result<OutputFormat> {
    let mime = config.take_text("responseMimeType")?.unwrap_or_default();
    let schema = config.take("responseJsonSchema").map(Json::copy_of);
    let schema = schema.or_else(|| config.take("responseSchema").map(json_schema));
    if schema.is_some() && matches!(mime.as_str(), "" | "text/plain") {
        losses.dropped("generationConfig.responseSchema", "A schema applies only to answers in JSON.");
    }
    if mime == "text/x.enum" {
        let reason = "The answer is requested as JSON: one of the values, in quotes.";
        losses.approximated("generationConfig.responseMimeType", reason);
    }
    Ok(match (mime.as_str(), schema) {
        ("application/json" | "text/x.enum", Some(schema)) => OutputFormat::JsonSchema {
            name: "response".to_owned(),
            description: None,
            schema: Some(schema),
            strict: None,
        },
        ("application/json", None) => OutputFormat::JsonObject,
        ("" | "text/plain", _) => OutputFormat::Text,
        (other, _) => {
            let message = format!("The response type \"{other}\" is not supported.");
            return Err(Error::unsupported("generationConfig.responseMimeType", message));
        }
    })
}
