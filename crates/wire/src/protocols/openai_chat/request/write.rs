//! A canonical request as OpenAI takes it.

use std::borrow::Cow;

use canon::{
    CacheMark, CallField, Effort, Error, Field, Json, Losses, Media, MediaKind, Message, MessageField,
    OutputField, OutputFormat, Part, PartField, PartKind, Quirks, Reasoning, Request, Result, Role, Source,
    Target, Tool, ToolChoice, ToolField, ToolKind,
};
use serde_json::{Map, Value, json};

use crate::proofs::FOREIGN;
use crate::protocols::Protocol;
use crate::protocols::call_ids::{CallIds, clean};
use crate::protocols::function_tools::{call_input, free_text_schema, is_restricted};
use crate::protocols::hosted::{self, Task, is_left_out};
use crate::protocols::unsupported::{is_neutral, refuse_fields};

/// Fields of this format that have no place in a canonical request, and that its providers know.
const COMMON: [&str; 4] = ["audio", "logit_bias", "modalities", "web_search_options"];
/// Further ones, which a provider may not know.
const HINTS: [&str; 10] = [
    "metadata",
    "moderation",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "verbosity",
];

/// A request as it is written.
pub(crate) struct Written {
    pub body: Vec<u8>,
    /// What OpenAI's format cannot say.
    pub losses: Losses,
    /// Tools that take free text and are sent as functions.
    pub custom_tools: Vec<String>,
}

/// Writes the body.
pub(crate) fn body(request: &Request, target: Target<'_>) -> Result<Written> {
    let quirks = target.quirks;
    let ids = CallIds::of(request, if quirks.takes_routing_fields { long_call_id } else { call_id });
    let is_foreign = is_foreign(request);
    let takes = |field: &str| quirks.reasoning_field.as_deref() == Some(field);
    let mut writer = Writer {
        body: Map::new(),
        losses: request.losses.clone(),
        ids,
        quirks,
        custom_tools: Vec::new(),
        takes_budgets: !is_foreign || quirks.takes_routing_fields || target.facts.reasoning.is_some(),
        takes_thinking: !is_foreign || quirks.reasoning_field.is_some(),
        takes_proofs: !is_foreign || takes("reasoning_details"),
        takes_media_in_results: !is_foreign,
        shown: Vec::new(),
    };
    writer.put("model", &request.model);
    let mut messages = Vec::with_capacity(request.messages.len());
    for (index, message) in request.messages.iter().enumerate() {
        if message.role != Role::Tool {
            messages.extend(writer.shown());
        }
        messages.push(writer.message(index, message)?);
    }
    messages.extend(writer.shown());
    writer.put("messages", messages);
    writer.settings(request);
    writer.tools(request)?;
    writer.output(&request.output)?;
    writer.extra(request)?;
    let body = serde_json::to_vec(&writer.body).unwrap_or_default();
    Ok(Written { body, losses: writer.losses, custom_tools: writer.custom_tools })
}

/// Raw JSON that was never parsed: a number out of range, or half of a surrogate pair, shows only here.
fn read(json: &Json, field: Field) -> Result<Value> {
    json.to_value().map_err(|fault| Error::invalid(field, format!("The value cannot be read: {fault}.")))
}

struct Writer<'a> {
    body: Map<String, Value>,
    losses: Losses,
    ids: CallIds<'a>,
    quirks: &'a Quirks,
    custom_tools: Vec<String>,
    /// A budget of thinking, whose object is a router's, passes or is turned into what the model takes.
    takes_budgets: bool,
    /// Thinking of earlier turns goes back. OpenAI and strict servers refuse its fields; callers of this format know their
    /// provider.
    takes_thinking: bool,
    /// So do the proofs of it, and those of calls.
    takes_proofs: bool,
    /// OpenAI takes texts only as results of tools.
    takes_media_in_results: bool,
    /// Media of results, to be shown behind them.
    shown: Vec<Value>,
}

/// The API takes ids of at most 40 characters ("string too long. Expected a string with maximum length 40").
fn call_id(id: &str) -> Cow<'_, str> {
    clean(id, 40, |byte| byte.is_ascii_graphic())
}

/// A router passes ids of providers on that make longer ones.
fn long_call_id(id: &str) -> Cow<'_, str> {
    clean(id, 64, |byte| byte.is_ascii_graphic())
}

impl Writer<'_> {
    /// The media of the results so far, as the user's words.
    fn shown(&mut self) -> Option<Value> {
        let parts = std::mem::take(&mut self.shown);
        (!parts.is_empty()).then(|| json!({"role": "user", "content": parts}))
    }

    fn put(&mut self, name: &str, value: impl serde::Serialize) {
        if let Ok(value) = serde_json::to_value(value)
            && !value.is_null()
        {
            self.body.insert(name.to_owned(), value);
        }
    }

    fn settings(&mut self, request: &Request) {
        let sampling = &request.sampling;
        self.put("max_tokens", request.max_tokens);
        self.put("temperature", sampling.temperature);
        self.put("top_p", sampling.top_p);
        self.put("top_k", sampling.top_k);
        self.put("frequency_penalty", sampling.frequency_penalty);
        self.put("presence_penalty", sampling.presence_penalty);
        self.put("seed", sampling.seed);
        self.put("n", request.n);
        self.put("logprobs", request.logprobs);
        self.put("top_logprobs", request.top_logprobs);
        self.put("user", &request.user);
        if !request.stop.is_empty() {
            self.put("stop", &request.stop);
        }
        if request.stream {
            self.put("stream", true);
            if request.include_usage {
                self.put("stream_options", json!({"include_usage": true}));
            }
        }
        self.reasoning(request);
    }

    fn reasoning(&mut self, request: &Request) {
        let reasoning = &request.reasoning;
        self.put("reasoning_effort", reasoning.effort);
        if reasoning.effort.is_some() && reasoning.budget_tokens.is_some() {
            self.losses.dropped(Field::ReasoningBudget, "The format takes an effort or a budget, not both.");
        }
        let mut budget = reasoning.budget_tokens.filter(|_| reasoning.effort.is_none());
        if let Some(tokens) = budget.filter(|_| !self.takes_budgets) {
            self.put("reasoning_effort", Effort::of_budget(tokens));
            self.losses.approximated(Field::ReasoningBudget, "The format has efforts in place of budgets.");
            budget = None;
        }
        // A router leaves thinking out by itself; elsewhere it is left out of the answer here.
        let excludes = reasoning.exclude && self.quirks.takes_routing_fields;
        if budget.is_some() || excludes {
            let mut object = Map::new();
            if let Some(budget) = budget {
                object.insert("max_tokens".to_owned(), budget.into());
            }
            if excludes {
                object.insert("exclude".to_owned(), true.into());
            }
            self.put("reasoning", object);
        }
    }

    /// Fields without a place in a canonical request. A caller of this format may send any: the provider judges them. Of other
    /// formats' fields only those pass that this one has by the same name.
    fn extra(&mut self, request: &Request) -> Result<()> {
        let is_foreign = is_foreign(request);
        if is_foreign {
            refuse_fields(request, &[])?;
        }
        for (name, value) in &request.extra {
            if !is_foreign || self.takes(name) {
                self.put(name, read(value, Field::extra(name.clone()))?);
            } else if !is_neutral(name, value.as_str()) {
                self.losses.dropped(Field::extra(name.clone()), "The provider has no such parameter.");
            }
        }
        Ok(())
    }

    /// Whether the provider takes this field from a caller of another format.
    fn takes(&self, name: &str) -> bool {
        let taken = &self.quirks.takes_fields;
        COMMON.contains(&name)
            || HINTS.contains(&name) && taken.iter().any(|field| field == "*" || field == name)
    }

    /// A tool as this format has it. Of those that providers run, callers of this format name their provider's own; of other
    /// formats' this one has a web search, which is a field of its own.
    fn tool(&mut self, index: usize, request: &Request) -> Result<Option<Value>> {
        let given = &request.tools[index];
        let raw = match &given.kind {
            ToolKind::Native(raw) if is_foreign(request) => raw,
            ToolKind::Custom { format } if !self.quirks.takes_custom_tools => {
                if is_restricted(format.as_ref()) {
                    let field = Field::tool(index, ToolField::Grammar);
                    self.losses.dropped(field, "The provider knows no grammars.");
                }
                let field = Field::tool(index, ToolField::Whole);
                self.losses.emulated(field, "A tool that takes free text is sent as a function.");
                self.custom_tools.push(given.name.clone());
                let kind = ToolKind::Function { parameters: Some(free_text_schema()), strict: None };
                return tool((index, &Tool { kind, cache: None, ..given.clone() })).map(Some);
            }
            _ => return tool((index, given)).map(Some),
        };
        if is_left_out(request, index, &mut self.losses) {
            return Ok(None);
        }
        if hosted::task(raw) != Some(Task::WebSearch) {
            return Err(hosted::unsupported(raw, index));
        }
        let options = hosted::search_options(raw, index, &mut self.losses);
        self.put("web_search_options", options.to_value().unwrap_or_default());
        Ok(None)
    }

    fn tools(&mut self, request: &Request) -> Result<()> {
        if !request.tools.is_empty() {
            let mut tools = Vec::with_capacity(request.tools.len());
            for (index, given) in request.tools.iter().enumerate() {
                if !self.is_offered(request, &given.name) {
                    continue;
                }
                if let Some(mut value) = self.tool(index, request)? {
                    // A tool of the provider's own passes whole.
                    if let Some(mark) = given.cache.as_ref().filter(|_| !is_native(given)) {
                        self.mark(&mut value, mark);
                    }
                    tools.push(value);
                }
            }
            if !tools.is_empty() {
                self.put("tools", tools);
            }
        }
        self.put("parallel_tool_calls", request.parallel_tool_calls);
        if let Some(choice) = &request.tool_choice {
            self.put("tool_choice", self.choice(request, choice));
        }
        Ok(())
    }

    /// Whether the tool is sent: where the provider knows no choice among several, only those that may be called are.
    fn is_offered(&self, request: &Request, name: &str) -> bool {
        match &request.tool_choice {
            Some(ToolChoice::Allowed { names, .. }) if !self.quirks.takes_custom_tools => {
                names.iter().any(|allowed| allowed == name)
            }
            _ => true,
        }
    }

    fn choice(&self, request: &Request, choice: &ToolChoice) -> Value {
        let is_custom = |name: &str| {
            let mut tools = request.tools.iter().filter(|tool| tool.name == name);
            self.quirks.takes_custom_tools && tools.any(|tool| matches!(tool.kind, ToolKind::Custom { .. }))
        };
        let named = |name: &str| {
            let kind = if is_custom(name) { "custom" } else { "function" };
            json!({"type": kind, kind: {"name": name}})
        };
        match choice {
            ToolChoice::Auto => json!("auto"),
            ToolChoice::None => json!("none"),
            ToolChoice::Required => json!("required"),
            ToolChoice::Named(name) => named(name),
            ToolChoice::Allowed { names, required } => {
                let mode = if *required { "required" } else { "auto" };
                // All of them: the plain word, which more providers know.
                let is_all =
                    is_foreign(request) && request.tools.iter().all(|tool| names.contains(&tool.name));
                if is_all || !self.quirks.takes_custom_tools {
                    return json!(mode);
                }
                let tools: Vec<_> = names.iter().map(|name| named(name)).collect();
                json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": tools}})
            }
        }
    }

    fn output(&mut self, output: &OutputFormat) -> Result<()> {
        match output {
            OutputFormat::Text => {}
            OutputFormat::JsonObject => self.put("response_format", json!({"type": "json_object"})),
            OutputFormat::JsonSchema { name, description, schema, strict } => {
                let mut inner = Map::new();
                insert(&mut inner, "name", name);
                insert(&mut inner, "description", description);
                if let Some(schema) = schema {
                    insert(&mut inner, "schema", read(schema, Field::Output(OutputField::Schema))?);
                }
                insert(&mut inner, "strict", strict);
                self.put("response_format", json!({"type": "json_schema", "json_schema": inner}));
            }
        }
        Ok(())
    }

    fn message(&mut self, index: usize, message: &Message) -> Result<Value> {
        let mut object = Map::new();
        insert(&mut object, "role", role(message.role));
        insert(&mut object, "name", &message.name);
        if let (Role::Tool, Some(PartKind::ToolResult(result))) =
            (message.role, message.parts.first().map(|part| &part.kind))
        {
            let number = self.ids.answered((index, 0));
            let id = number.map_or_else(|| call_id(&result.call_id), |number| self.ids.kept_id(number));
            insert(&mut object, "tool_call_id", id);
            let content = self.result_content(index, &result.content, message.parts[0].cache.as_ref())?;
            if let (None, Some(mark)) = (&content, &message.parts[0].cache) {
                self.mark_object(&mut object, mark);
            }
            object.insert("content".to_owned(), content.unwrap_or_else(|| "".into()));
            if result.is_error {
                self.losses.dropped(
                    Field::of_message(index, MessageField::Failed),
                    "The format cannot mark a failed tool.",
                );
            }
            return Ok(Value::Object(object));
        }
        let content = self.content(|part| Field::part(index, part), &message.parts, None)?;
        object.insert("content".to_owned(), content.unwrap_or(Value::Null));
        let calls = message.parts.iter().enumerate();
        let takes = self.quirks.takes_custom_tools;
        let calls = calls.filter_map(|(position, part)| call(part, self.ids.id_at((index, position)), takes));
        let mut calls: Vec<Value> = calls.collect();
        if !self.takes_proofs {
            self.without_proofs(index, &mut calls);
        }
        if !calls.is_empty() {
            insert(&mut object, "tool_calls", calls);
        }
        if message.role == Role::Assistant {
            self.reasoning_fields(index, message, &mut object);
        } else if object["content"].is_null() {
            object.insert("content".to_owned(), "".into());
        }
        Ok(Value::Object(object))
    }

    fn without_proofs(&mut self, index: usize, calls: &mut [Value]) {
        for (position, call) in calls.iter_mut().enumerate() {
            if call.as_object_mut().is_some_and(|call| call.remove("extra_content").is_some()) {
                self.losses.dropped(Field::call(index, position, CallField::Proof), FOREIGN);
            }
        }
    }

    /// The content of a tool's result. Media are shown behind it where it takes texts only.
    fn result_content(
        &mut self,
        index: usize,
        parts: &[Part],
        cache: Option<&CacheMark>,
    ) -> Result<Option<Value>> {
        let field = |part| Field::result_part(index, part);
        let is_shown = |part: &Part| {
            let PartKind::Media(media) = &part.kind else { return false };
            !self.takes_media_in_results && !matches!(media.source, Source::Text(_))
        };
        if !parts.iter().any(is_shown) {
            return self.content(field, parts, cache);
        }
        let apart: Vec<bool> = parts.iter().map(is_shown).collect();
        let mut texts = Vec::new();
        for (position, part) in parts.iter().enumerate() {
            if apart[position] {
                let shown = self.part(field(position), part)?;
                self.shown.extend(shown);
                let reason =
                    "The format takes texts only as results of tools: sent behind them as the user's.";
                self.losses.approximated(field(position), reason);
            } else {
                texts.push(part.clone());
            }
        }
        self.content(field, &texts, cache)
    }

    /// A string for a single plain text, else a list of parts; none when there is nothing to say.
    fn content(
        &mut self,
        field: impl Fn(usize) -> Field,
        parts: &[Part],
        cache: Option<&CacheMark>,
    ) -> Result<Option<Value>> {
        let mut written = Vec::with_capacity(parts.len());
        for (position, part) in parts.iter().enumerate() {
            written.extend(self.part(field(position), part)?);
        }
        if let (Some(mark), Some(last)) = (cache, written.last_mut()) {
            self.mark(last, mark);
        }
        Ok(match &mut written[..] {
            [] => None,
            [only] if only["type"] == "text" && only.get("cache_control").is_none() => {
                Some(only["text"].take())
            }
            _ => Some(Value::Array(written)),
        })
    }

    /// Thinking as text, and as blocks where text alone does not say it: with proofs, or more than one.
    fn reasoning_fields(&mut self, index: usize, message: &Message, object: &mut Map<String, Value>) {
        let mut blocks: Vec<(&Reasoning, &Part)> = Vec::new();
        for (position, part) in message.parts.iter().enumerate() {
            match &part.kind {
                PartKind::Reasoning(thought) if thought.extra.is_some() => self.losses.dropped(
                    Field::thinking(index, position),
                    "A block that only the provider's own format knows.",
                ),
                PartKind::Reasoning(reasoning) => blocks.push((reasoning, part)),
                _ => {}
            }
        }
        let proven = |(reasoning, part): &(&Reasoning, &Part)| {
            reasoning.encrypted.is_some() || part.signature.is_some()
        };
        if !self.takes_thinking {
            if !blocks.is_empty() {
                let reason = "The provider takes no thinking of earlier turns.";
                self.losses.dropped(Field::of_message(index, MessageField::Thinking), reason);
            }
            return;
        }
        let text: String = blocks.iter().map(|(reasoning, _)| reasoning.text.as_str()).collect();
        if !text.is_empty() {
            insert(object, "reasoning_content", text);
        }
        if blocks.len() > 1 || blocks.iter().any(proven) {
            let details = blocks.iter().enumerate().map(|(index, (_, part))| detail(index, part));
            insert(object, "reasoning_details", details.collect::<Vec<_>>());
        }
    }

    /// A content part; none for what has a place of its own in the message.
    fn part(&mut self, field: Field, part: &Part) -> Result<Option<Value>> {
        if part.signature.is_some() && matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_)) {
            let proof = field.clone().with(PartField::Proof);
            self.losses.dropped(proof, "The format takes proofs with thinking and with calls only.");
        }
        if matches!(&part.kind, PartKind::Media(media) if matches!(media.source, Source::Text(_))) {
            self.losses.approximated(field.clone(), "The format takes no text files: sent as plain text.");
        }
        let mut value = match &part.kind {
            PartKind::Text(text) => json!({"type": "text", "text": text}),
            PartKind::Refusal(text) => json!({"type": "refusal", "refusal": text}),
            PartKind::Media(found) => media(found).ok_or_else(|| {
                let message = "The provider takes sound as base64 only, not by its address.";
                Error::unsupported(field, message)
            })?,
            PartKind::ToolCall(_) | PartKind::ToolResult(_) | PartKind::Reasoning(_) => {
                if part.cache.is_some() {
                    self.losses.dropped(Field::CacheMark, "The format takes cache marks on content only.");
                }
                return Ok(None);
            }
        };
        if let Some(mark) = &part.cache {
            self.mark(&mut value, mark);
        }
        Ok(Some(value))
    }

    fn mark(&mut self, value: &mut Value, mark: &CacheMark) {
        if let Value::Object(object) = value {
            self.mark_object(object, mark);
        }
    }

    /// OpenAI itself refuses a field that it does not know.
    fn mark_object(&mut self, object: &mut Map<String, Value>, mark: &CacheMark) {
        match self.quirks.takes_cache_marks {
            true => drop(object.insert("cache_control".to_owned(), cache_control(mark))),
            false => self.losses.dropped(Field::CacheMark, "The provider decides itself what it caches."),
        }
    }
}

/// Whether the caller speaks another format.
fn is_foreign(request: &Request) -> bool {
    !request.format.is_empty() && request.format != Protocol::OpenaiChat.as_str()
}

fn is_native(tool: &Tool) -> bool {
    matches!(tool.kind, ToolKind::Native(_))
}

fn insert(object: &mut Map<String, Value>, name: &str, value: impl serde::Serialize) {
    if let Ok(value) = serde_json::to_value(value)
        && !value.is_null()
    {
        object.insert(name.to_owned(), value);
    }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User => "user",
        Role::Assistant => "assistant",
        Role::Tool => "tool",
    }
}

fn cache_control(mark: &CacheMark) -> Value {
    match mark.ttl_seconds {
        Some(3600) => json!({"type": "ephemeral", "ttl": "1h"}),
        Some(_) => json!({"type": "ephemeral", "ttl": "5m"}),
        None => json!({"type": "ephemeral"}),
    }
}

fn media(media: &Media) -> Option<Value> {
    let url = match &media.source {
        Source::Url(url) => url.clone(),
        Source::Base64 { mime, data } => format!("data:{mime};base64,{data}"),
        Source::Text(text) => return Some(json!({"type": "text", "text": text})),
        Source::FileId(id) => {
            let mut file = Map::new();
            insert(&mut file, "file_id", id);
            insert(&mut file, "filename", &media.filename);
            return Some(json!({"type": "file", "file": file}));
        }
    };
    Some(match media.kind {
        MediaKind::Image => {
            let mut image = Map::new();
            insert(&mut image, "url", url);
            insert(&mut image, "detail", &media.detail);
            json!({"type": "image_url", "image_url": image})
        }
        MediaKind::Audio => {
            let Source::Base64 { mime, data } = &media.source else { return None };
            let format = match mime.strip_prefix("audio/").unwrap_or(mime) {
                "wav" | "wave" | "x-wav" | "vnd.wave" => "wav",
                "mp3" | "mpeg" | "mpeg3" | "x-mp3" => "mp3",
                // OpenAI itself takes only those two; others take more.
                format => format,
            };
            json!({"type": "input_audio", "input_audio": {"data": data, "format": format}})
        }
        MediaKind::Document => {
            let mut file = Map::new();
            insert(&mut file, "file_data", url);
            insert(&mut file, "filename", &media.filename);
            json!({"type": "file", "file": file})
        }
        MediaKind::Video => {
            let mut video = Map::new();
            insert(&mut video, "url", url);
            insert(&mut video, "detail", &media.detail);
            json!({"type": "video_url", "video_url": video})
        }
    })
}

/// A call of the history. A tool that takes free text is a function with one field where the provider knows no others.
fn call(part: &Part, id: &str, takes_custom_tools: bool) -> Option<Value> {
    let PartKind::ToolCall(call) = &part.kind else { return None };
    let function = |arguments: &str| json!({"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}});
    let mut value = match (call.custom, takes_custom_tools) {
        (true, true) => {
            json!({"id": id, "type": "custom", "custom": {"name": call.name, "input": call.arguments}})
        }
        (true, false) => function(call_input(call).get()),
        (false, _) => function(&call.arguments),
    };
    if let Some(signature) = &part.signature {
        value["extra_content"] = json!({"google": {"thought_signature": signature}});
    }
    Some(value)
}

/// A block of thinking as an entry of `reasoning_details`.
pub(crate) fn detail(index: usize, part: &Part) -> Value {
    let mut detail = Map::new();
    let PartKind::Reasoning(reasoning) = &part.kind else { return Value::Null };
    match &reasoning.encrypted {
        Some(data) => {
            insert(&mut detail, "type", "reasoning.encrypted");
            insert(&mut detail, "data", data);
        }
        None => {
            insert(&mut detail, "type", "reasoning.text");
            insert(&mut detail, "text", &reasoning.text);
        }
    }
    insert(&mut detail, "signature", &part.signature);
    insert(&mut detail, "format", &reasoning.format);
    insert(&mut detail, "id", &reasoning.id);
    insert(&mut detail, "index", index);
    Value::Object(detail)
}

fn tool((index, tool): (usize, &Tool)) -> Result<Value> {
    let mut inner = Map::new();
    insert(&mut inner, "name", &tool.name);
    insert(&mut inner, "description", &tool.description);
    let value = match &tool.kind {
        ToolKind::Function { parameters, strict } => {
            if let Some(schema) = parameters {
                insert(&mut inner, "parameters", read(schema, Field::tool(index, ToolField::Parameters))?);
            }
            insert(&mut inner, "strict", strict);
            json!({"type": "function", "function": inner})
        }
        ToolKind::Custom { format } => {
            if let Some(format) = format {
                insert(&mut inner, "format", read(format, Field::tool(index, ToolField::Grammar))?);
            }
            json!({"type": "custom", "custom": inner})
        }
        ToolKind::Native(raw) => return read(raw, Field::tool(index, ToolField::Whole)),
    };
    Ok(value)
}
