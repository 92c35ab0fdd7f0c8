//! Towards callers that speak `generateContent`: their request as a canonical one.
//!
//! Model and method stand in the URL. A body may name a model as well (`models/…`), as batches do.

use std::collections::VecDeque;

use canon::{
    Effort, Error, Field, Json, Losses, Media, MediaKind, Message, OutputField, OutputFormat, Part, PartKind,
    Place, Reasoning, Request, Result, Role, Source, Tool, ToolCall, ToolChoice, ToolField, ToolKind,
    ToolResult,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::super::REASONING_FORMAT;
use super::write::media::{guessed_mime, kind_of};
use super::write::tools::camel_case;
use crate::protocols::Protocol;
use crate::protocols::media_types::media_type;

/// Reads a body. Model and form are told by the URL.
pub(crate) fn decode(body: &[u8]) -> Result<Request> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Error::invalid("body", format!("The body is not valid JSON: {error}.")))?;
    let mut fields = object(value, "body")?;
    let mut request = Request { format: Protocol::Gemini.as_str(), ..Request::default() };
    if let Some(model) = fields.take_as::<String>("model")? {
        request.model = model.strip_prefix("models/").unwrap_or(&model).to_owned();
    }
    if let Some(instruction) = fields.take("systemInstruction") {
        instructions(instruction, &mut request.messages)?;
    }
    if !fields.map.contains_key("contents") {
        return Err(Error::invalid(
            "contents",
            "`contents` is missing: it holds the turns of the conversation.",
        ));
    }
    let mut history = History { losses: Losses::new(), ..History::default() };
    history.read(fields.take_list("contents")?, &mut request.messages)?;
    request.losses = history.losses;
    for (index, entry) in fields.take_list("tools")?.into_iter().enumerate() {
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
    request.extra.extend(fields.rest());
    Ok(request)
}

/// The fields of an object, taken one by one. Names may be written in camel case or with underscores.
struct Fields {
    path: String,
    map: Map<String, Value>,
}

fn object(value: Value, path: &str) -> Result<Fields> {
    match value {
        Value::Object(given) => {
            let path = if path == "body" { String::new() } else { format!("{path}.") };
            let mut map = Map::with_capacity(given.len());
            for (name, value) in given {
                if map.insert(camel_case(&name), value).is_some() {
                    let message = format!("`{name}` is given twice, in two spellings.");
                    return Err(Error::invalid(format!("{path}{name}"), message));
                }
            }
            Ok(Fields { path, map })
        }
        _ => Err(Error::invalid(path.to_owned(), format!("`{path}` must be a JSON object."))),
    }
}

impl Fields {
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.shift_remove(name).filter(|value| !value.is_null())
    }

    fn take_as<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let path = format!("{}{name}", self.path);
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Error::invalid(path.clone(), format!("`{path}` has a wrong type: {error}.")))
    }

    fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// A list. The service takes one object in place of a list of one, and its documentation makes use of it.
    fn take_list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => Ok(list),
            Some(one @ Value::Object(_)) => Ok(vec![one]),
            Some(_) => {
                let path = format!("{}{name}", self.path);
                let message = format!("`{path}` must be a list.");
                Err(Error::invalid(path, message))
            }
        }
    }

    /// Reports what nobody took.
    fn lose_rest(self, losses: &mut Losses) {
        for (name, _) in self.map.into_iter().filter(|(_, value)| !value.is_null()) {
            losses
                .dropped(format!("{}{name}", self.path), "Only the provider's own format has such a field.");
        }
    }

    fn rest(self) -> impl Iterator<Item = (String, Json)> {
        self.map.into_iter().map(|(name, value)| (name, Json::of(&value)))
    }
}

/// Instructions are a content, a list of parts, or in SDKs' short form a text.
fn instructions(value: Value, messages: &mut Vec<Message>) -> Result<()> {
    let path = "systemInstruction";
    let parts = match value {
        Value::String(text) => vec![Part::text(text).at(Place::INSTRUCTIONS)],
        value => {
            let mut fields = object(value, path)?;
            let parts = fields.take_list("parts")?;
            let texts = parts.into_iter().enumerate().map(|(index, part)| {
                let path = format!("{path}.parts[{index}]");
                let text = object(part, &path)?.take_as::<String>("text")?;
                let text = text.ok_or_else(|| Error::invalid(path, "Instructions must be texts."))?;
                Ok(Part::text(text).at(Place::INSTRUCTIONS.piece(index)))
            });
            texts.collect::<Result<Vec<_>>>()?
        }
    };
    if !parts.is_empty() {
        messages.push(Message::new(Role::System, parts).at(Place::INSTRUCTIONS));
    }
    Ok(())
}

/// Reads turns. Calls and their results are often without ids: they are matched by name and order.
#[derive(Default)]
struct History {
    losses: Losses,
    /// Calls of the last model turn that have no result yet: name and id.
    waiting: VecDeque<(String, String)>,
}

impl History {
    fn read(&mut self, contents: Vec<Value>, messages: &mut Vec<Message>) -> Result<()> {
        for (index, content) in contents.into_iter().enumerate() {
            let path = format!("contents[{index}]");
            let mut fields = object(content, &path)?;
            let role = fields.take_as::<String>("role")?;
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

    fn model(&mut self, turn: usize, given: Vec<Value>, messages: &mut Vec<Message>) -> Result<()> {
        self.waiting.clear();
        let mut parts = Vec::with_capacity(given.len());
        for (index, part) in given.into_iter().enumerate() {
            let path = format!("contents[{turn}].parts[{index}]");
            let mut fields = object(part, &path)?;
            let signature = fields.take_as::<String>("thoughtSignature")?;
            let is_thought = fields.take_as::<bool>("thought")?.unwrap_or(false);
            let place = Place::entry(turn).piece(index);
            if let Some(kind) = self.model_part((turn, index), &path, is_thought, &mut fields)? {
                parts.push(Part { signature, place, ..Part::new(kind) });
            } else if signature.is_some() {
                // Google itself puts a proof that belongs to no words on an empty thought.
                let format = Some(REASONING_FORMAT.to_owned());
                let thought = PartKind::from(Reasoning { format, ..Reasoning::default() });
                parts.push(Part { signature, place, ..Part::new(thought) });
            }
            fields.lose_rest(&mut self.losses);
        }
        messages.push(Message::new(Role::Assistant, parts).at(Place::entry(turn)));
        Ok(())
    }

    fn model_part(
        &mut self,
        (turn, index): (usize, usize),
        path: &str,
        is_thought: bool,
        fields: &mut Fields,
    ) -> Result<Option<PartKind>> {
        if let Some(call) = fields.take("functionCall") {
            let mut call = object(call, &format!("{path}.functionCall"))?;
            let name = required(call.take_as::<String>("name")?, path, "functionCall.name")?;
            let id = call.take_as::<String>("id")?.filter(|id| !id.is_empty());
            let id = id.unwrap_or_else(|| format!("call_{turn}_{index}"));
            let arguments = call.take("args").map_or_else(|| "{}".to_owned(), |args| args.to_string());
            call.lose_rest(&mut self.losses);
            self.waiting.push_back((name.clone(), id.clone()));
            return Ok(Some(ToolCall { id, name, arguments, custom: false }.into()));
        }
        if let Some(text) = fields.take_as::<String>("text")? {
            if is_thought {
                let format = Some(REASONING_FORMAT.to_owned());
                let reasoning = Reasoning { text, format, ..Reasoning::default() };
                return Ok(Some(reasoning.into()));
            }
            return Ok(Some(PartKind::Text(text)));
        }
        if let Some(code) = fields.take("executableCode") {
            self.told_as_text(path, "executableCode");
            let code = code["code"].as_str().unwrap_or_default();
            return Ok(Some(PartKind::Text(format!("\n```\n{code}\n```\n"))));
        }
        if let Some(result) = fields.take("codeExecutionResult") {
            self.told_as_text(path, "codeExecutionResult");
            let output = result["output"].as_str().unwrap_or_default();
            return Ok(Some(PartKind::Text(format!("\n```\n{output}\n```\n"))));
        }
        media(path, fields, &mut self.losses).map(|media| media.map(PartKind::from))
    }

    fn told_as_text(&mut self, path: &str, name: &str) {
        self.losses.approximated(format!("{path}.{name}"), "Told as text, in a code block.");
    }

    /// Results come first, whatever else the user says follows them.
    fn user(&mut self, turn: usize, given: Vec<Value>, messages: &mut Vec<Message>) -> Result<()> {
        let mut parts = Vec::new();
        let mut has_results = false;
        for (index, part) in given.into_iter().enumerate() {
            let path = format!("contents[{turn}].parts[{index}]");
            let mut fields = object(part, &path)?;
            let place = Place::entry(turn).piece(index);
            if let Some(response) = fields.take("functionResponse") {
                has_results = true;
                let result = Part::new(PartKind::from(self.result(&path, response)?)).at(place);
                messages.push(Message::new(Role::Tool, vec![result]).at(Place::entry(turn)));
            } else if let Some(text) = fields.take_as::<String>("text")? {
                parts.push(Part::text(text).at(place));
            } else if let Some(media) = media(&path, &mut fields, &mut self.losses)? {
                parts.push(Part::new(PartKind::from(media)).at(place));
            }
            fields.lose_rest(&mut self.losses);
        }
        if !parts.is_empty() || !has_results {
            messages.push(Message::new(Role::User, parts).at(Place::entry(turn)));
        }
        Ok(())
    }

    fn result(&mut self, path: &str, response: Value) -> Result<ToolResult> {
        let mut fields = object(response, &format!("{path}.functionResponse"))?;
        let name = fields.take_as::<String>("name")?.unwrap_or_default();
        let id = fields.take_as::<String>("id")?.filter(|id| !id.is_empty());
        let position = self.waiting.iter().position(|(waiting_name, waiting_id)| match &id {
            Some(id) => waiting_id == id,
            None => *waiting_name == name,
        });
        let call = position.and_then(|position| self.waiting.remove(position));
        let call_id = id.or(call.map(|(_, id)| id)).ok_or_else(|| {
            let message = format!("The response does not answer a call of \"{name}\" in the turn before it.");
            Error::invalid(format!("{path}.functionResponse"), message)
        })?;
        let (text, is_error) = result_text(fields.take("response"));
        let mut content = vec![Part::text(text)];
        for (index, part) in fields.take_list("parts")?.into_iter().enumerate() {
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

/// `{"output": …}` and `{"error": …}` are what they wrap; anything else is the result itself.
fn result_text(response: Option<Value>) -> (String, bool) {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    match response {
        Some(Value::Object(mut map)) if map.len() == 1 => {
            if let Some(output) = map.shift_remove("output") {
                return (text(output), false);
            }
            match map.shift_remove("error") {
                Some(error) => (text(error), true),
                None => (Value::Object(map).to_string(), false),
            }
        }
        Some(other) => (text(other), false),
        None => (String::new(), false),
    }
}

fn media(path: &str, fields: &mut Fields, losses: &mut Losses) -> Result<Option<Media>> {
    let plain = |kind, source| Media { kind, source, filename: None, detail: None };
    if let Some(blob) = fields.take("inlineData") {
        let mut blob = object(blob, &format!("{path}.inlineData"))?;
        let mime = media_type(&required(blob.take_as::<String>("mimeType")?, path, "inlineData.mimeType")?);
        let data = required(blob.take_as::<String>("data")?, path, "inlineData.data")?;
        let kind = kind_of(&mime);
        let filename = blob.take_as::<String>("displayName")?;
        blob.lose_rest(losses);
        return Ok(Some(Media {
            filename,
            ..plain(kind, Source::Base64 { mime, data: standard_base64(data) })
        }));
    }
    if let Some(file) = fields.take("fileData") {
        let mut file = object(file, &format!("{path}.fileData"))?;
        let uri = required(file.take_as::<String>("fileUri")?, path, "fileData.fileUri")?;
        let mime = file.take_as::<String>("mimeType")?;
        let usual = if uri.contains("youtu") { MediaKind::Video } else { MediaKind::Document };
        let kind = mime.as_deref().map_or(usual, kind_of);
        // An address has no type of its own here: it is guessed again from the name.
        if mime.as_deref().is_some_and(|mime| mime != guessed_mime(kind, &uri)) {
            let reason = "The type of what is behind an address is guessed from its name.";
            losses.dropped(format!("{path}.fileData.mimeType"), reason);
        }
        let filename = file.take_as::<String>("displayName")?;
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

/// An entry may hold functions and, beside them, tools that the provider runs.
fn tool_entry(index: usize, entry: Value, request: &mut Request) -> Result<()> {
    let Request { tools, losses, spellings, .. } = request;
    let mut fields = object(entry, &format!("tools[{index}]"))?;
    let functions = fields.take_list("functionDeclarations")?;
    for (position, function) in functions.into_iter().enumerate() {
        let path = format!("tools[{index}].functionDeclarations[{position}]");
        let mut function = object(function, &path)?;
        let name = required(function.take_as::<String>("name")?, &path, "name")?;
        let description = function.take_as::<String>("description")?;
        if function.has("parametersJsonSchema") {
            let field = Field::tool(tools.len(), ToolField::Parameters);
            spellings.note(field, format!("{path}.parametersJsonSchema"));
        }
        let parameters = function.take("parametersJsonSchema").or_else(|| {
            let mut schema = function.take("parameters")?;
            json_schema(&mut schema);
            Some(schema)
        });
        function.lose_rest(losses);
        let kind = ToolKind::Function { parameters: parameters.as_ref().map(Json::of), strict: None };
        let place = Place::entry(index).piece(position);
        tools.push(Tool { name, description, kind, cache: None, place });
    }
    // Libraries write the kinds of tools that are not meant as null.
    for (name, value) in fields.map.into_iter().filter(|(_, value)| !value.is_null()) {
        let entry = Json::of(&Map::from_iter([(name.clone(), value)]));
        let (kind, place) = (ToolKind::Native(entry), Place::entry(index));
        tools.push(Tool { name, description: None, kind, cache: None, place });
    }
    Ok(())
}

/// Google's older schemas are OpenAPI's: types in capitals, `nullable`.
fn json_schema(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    let nullable = map.shift_remove("nullable") == Some(Value::Bool(true));
    if let Some(Value::String(kind)) = map.get_mut("type") {
        *kind = kind.to_ascii_lowercase();
        if nullable {
            let kinds = Value::Array(vec![Value::String(kind.clone()), Value::String("null".to_owned())]);
            map.insert("type".to_owned(), kinds);
        }
    }
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "defs" | "$defs", Value::Object(schemas)) => {
                schemas.values_mut().for_each(json_schema);
            }
            ("anyOf" | "prefixItems", Value::Array(schemas)) => schemas.iter_mut().for_each(json_schema),
            ("items" | "additionalProperties", schema) => json_schema(schema),
            _ => {}
        }
    }
}

fn tool_choice(mut config: Fields, losses: &mut Losses) -> Result<Option<ToolChoice>> {
    let calling = config.take("functionCallingConfig");
    // Whether it is sent depends on the tools, which tell it themselves.
    config.take("includeServerSideToolInvocations");
    config.lose_rest(losses);
    let Some(calling) = calling else { return Ok(None) };
    let mut calling = object(calling, "toolConfig.functionCallingConfig")?;
    let mut names = calling.take_as::<Vec<String>>("allowedFunctionNames")?.unwrap_or_default();
    let mode = calling.take_as::<String>("mode")?.unwrap_or_default().to_ascii_uppercase();
    calling.lose_rest(losses);
    if mode == "VALIDATED" {
        let reason = "Arguments that are checked without being asked for are Google's own: sent as AUTO.";
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

fn generation_config(mut config: Fields, request: &mut Request) -> Result<()> {
    let sampling = &mut request.sampling;
    sampling.temperature = config.take_as("temperature")?;
    sampling.top_p = config.take_as("topP")?;
    sampling.top_k = config.take_as::<f64>("topK")?.map(|top_k| top_k as u64);
    sampling.presence_penalty = config.take_as("presencePenalty")?;
    sampling.frequency_penalty = config.take_as("frequencyPenalty")?;
    sampling.seed = config.take_as("seed")?;
    request.max_tokens = config.take_as("maxOutputTokens")?;
    request.n = config.take_as("candidateCount")?;
    request.stop = config.take_as("stopSequences")?.unwrap_or_default();
    request.logprobs = config.take_as("responseLogprobs")?;
    request.top_logprobs = config.take_as("logprobs")?;
    thinking(&mut config, request)?;
    if config.has("responseJsonSchema") {
        for of in [OutputField::Whole, OutputField::Schema] {
            request.spellings.note(Field::Output(of), "generationConfig.responseJsonSchema");
        }
    }
    request.output = output_format(&mut config, &mut request.losses)?;
    let modalities = config.take_as::<Vec<String>>("responseModalities")?.unwrap_or_default();
    if modalities.iter().any(|modality| !modality.eq_ignore_ascii_case("text")) {
        let names: Vec<_> = modalities.iter().map(|modality| modality.to_ascii_lowercase()).collect();
        request.extra.push(("modalities".to_owned(), Json::of(&names)));
    }
    for (name, value) in config.rest() {
        request.spellings.note(Field::extra(name.clone()), format!("generationConfig.{name}"));
        request.extra.push((name, value));
    }
    Ok(())
}

/// Google shows thoughts only when asked to.
fn thinking(config: &mut Fields, request: &mut Request) -> Result<()> {
    const PATH: &str = "generationConfig.thinkingConfig";
    request.reasoning.exclude = true;
    let Some(thinking) = config.take("thinkingConfig") else { return Ok(()) };
    let mut thinking = object(thinking, PATH)?;
    request.reasoning.exclude = thinking.take_as::<bool>("includeThoughts")? != Some(true);
    if let Some(level) = thinking.take_as::<String>("thinkingLevel")? {
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
    match thinking.take_as::<i64>("thinkingBudget")? {
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

fn output_format(config: &mut Fields, losses: &mut Losses) -> Result<OutputFormat> {
    let mime = config.take_as::<String>("responseMimeType")?.unwrap_or_default();
    let schema = config.take("responseJsonSchema").or_else(|| {
        let mut schema = config.take("responseSchema")?;
        json_schema(&mut schema);
        Some(schema)
    });
    if schema.is_some() && matches!(mime.as_str(), "" | "text/plain") {
        losses.dropped("generationConfig.responseSchema", "A schema is of use to answers in JSON only.");
    }
    if mime == "text/x.enum" {
        let reason = "Asked for as JSON: one of the words, in quotes.";
        losses.approximated("generationConfig.responseMimeType", reason);
    }
    Ok(match (mime.as_str(), schema) {
        ("application/json" | "text/x.enum", Some(schema)) => OutputFormat::JsonSchema {
            name: "response".to_owned(),
            description: None,
            schema: Some(Json::of(&schema)),
            strict: None,
        },
        ("application/json", None) => OutputFormat::JsonObject,
        ("" | "text/plain", _) => OutputFormat::Text,
        (other, _) => {
            let message = format!("The answer cannot be had as \"{other}\".");
            return Err(Error::unsupported("generationConfig.responseMimeType", message));
        }
    })
}
