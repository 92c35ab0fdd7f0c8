//! A canonical request in OpenAI's format.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use canon::{
    CacheMark, CallField, Effort, Error, Field, Json, Losses, Media, MediaKind, Message, MessageField,
    OutputField, OutputFormat, Part, PartField, PartKind, Quirks, Reasoning, Request, Result, Role, Source,
    Target, Tool, ToolCall, ToolChoice, ToolField, ToolKind, ToolResult,
};
use serde_json::{Map, Value, json};

use crate::json::{FormatOverhead, Output, ValueHash, room};
use crate::proofs::FOREIGN;
use crate::protocols::Protocol;
use crate::protocols::call_ids::{CallIds, clean};
use crate::protocols::function_tools::{call_input, free_text_schema, is_restricted};
use crate::protocols::hosted::{self, Task, is_left_out};
use crate::protocols::offered::Offered;
use crate::protocols::unsupported::{OF_ANOTHER_FORMAT, is_neutral, refuse_fields};

/// Fields of this format without a place in a canonical request that its providers support.
const COMMON: [&str; 4] = ["audio", "logit_bias", "modalities", "web_search_options"];
/// Further ones, which a provider may not support.
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

/// A written request.
pub(crate) struct WrittenRequest {
    pub body: Bytes,
    /// Fields that OpenAI's format cannot express.
    pub losses: Losses,
    /// Tools that take free text and are sent as functions.
    pub custom_tools: Vec<String>,
}

/// Bytes of JSON around the texts of a conversation, for the size of the output.
const AROUND: FormatOverhead = FormatOverhead {
    message: 31,
    part: 26,
    answer: 26,
    only: 0,
    call: 66,
    result: 17,
    tool: 54,
    joins: false,
};

/// Writes the body.
pub(crate) fn body(request: &Request, target: Target<'_>) -> Result<WrittenRequest> {
    let quirks = target.quirks;
    let ids = CallIds::of(request, if quirks.takes_routing_fields { long_call_id } else { call_id });
    let is_foreign = is_foreign(request);
    let takes = |field: &str| quirks.reasoning_field.as_deref() == Some(field);
    let mut writer = Writer {
        out: Output::for_request(request, &AROUND),
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
    writer.out.push(b"{");
    writer.out.text("model", &request.model);
    writer.messages(request)?;
    writer.tools(request)?;
    writer.settings(request);
    writer.output(&request.output)?;
    writer.extra(request)?;
    let Writer { mut out, body, losses, custom_tools, .. } = writer;
    out.members_of(&body)?;
    Ok(WrittenRequest { body: out.into_bytes(), losses, custom_tools })
}

/// Raw JSON that was never parsed: a number out of range, or half of a surrogate pair, shows only here.
fn checked(json: &Json, field: Field) -> Result<&str> {
    match json.read::<ValueHash>() {
        Ok(_) => Ok(json.as_str()),
        Err(fault) => Err(Error::invalid(field, format!("The value cannot be read: {fault}."))),
    }
}

struct Writer<'a> {
    /// The body, which is still open.
    out: Output,
    /// Its settings.
    body: Map<String, Value>,
    losses: Losses,
    ids: CallIds<'a>,
    quirks: &'a Quirks,
    custom_tools: Vec<String>,
    /// A thinking budget, whose object is a router's, passes or is converted to the model's control.
    takes_budgets: bool,
    /// Thinking of earlier turns is sent. OpenAI and strict servers refuse its fields; callers of this format
    /// know their provider.
    takes_thinking: bool,
    /// The same for the proofs of thinking and of calls.
    takes_proofs: bool,
    /// OpenAI accepts only texts as results of tools.
    takes_media_in_results: bool,
    /// Media of results, to be sent after them.
    shown: Vec<(&'a Part, Option<&'static str>)>,
}

/// The API takes ids of at most 40 characters ("string too long. Expected a string with maximum length 40").
fn call_id(id: &str) -> Cow<'_, str> {
    clean(id, 40, |byte| byte.is_ascii_graphic())
}

/// A router passes on ids of providers that make longer ones.
fn long_call_id(id: &str) -> Cow<'_, str> {
    clean(id, 64, |byte| byte.is_ascii_graphic())
}

impl<'a> Writer<'a> {
    fn messages(&mut self, request: &'a Request) -> Result<()> {
        self.out.key("messages");
        self.out.push(b"[");
        for (index, message) in request.messages.iter().enumerate() {
            if message.role != Role::Tool {
                self.show();
            }
            self.out.comma();
            self.message(index, message)?;
        }
        self.show();
        self.out.push(b"]");
        Ok(())
    }

    /// The media of the results so far, as a user message.
    fn show(&mut self) {
        let shown = std::mem::take(&mut self.shown);
        if shown.is_empty() {
            return;
        }
        self.out.comma();
        self.out.push(br#"{"role":"user","content":["#);
        for (part, mark) in shown {
            self.out.comma();
            write_part(part, mark, &mut self.out);
        }
        self.out.push(b"]}");
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
        self.out.opt_text("user", request.user.as_deref());
        if !request.stop.is_empty() {
            self.out.raw("stop", "[");
            for text in &request.stop {
                self.out.comma();
                self.out.string(text);
            }
            self.out.push(b"]");
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
            self.losses
                .dropped(Field::ReasoningBudget, "The format accepts an effort or a budget, not both.");
        }
        let mut budget = reasoning.budget_tokens.filter(|_| reasoning.effort.is_none());
        if let Some(tokens) = budget.filter(|_| !self.takes_budgets) {
            self.put("reasoning_effort", Effort::of_budget(tokens).min(Effort::Xhigh));
            self.losses
                .approximated(Field::ReasoningBudget, "The format has levels of effort instead of budgets.");
            budget = None;
        }
        // A router removes thinking by itself; elsewhere it is removed from the answer here.
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

    /// Fields without a place in a canonical request. A caller of this format may send any, and the provider
    /// judges them. Of other formats' fields only those pass that this format has by the same name.
    fn extra(&mut self, request: &Request) -> Result<()> {
        let is_foreign = is_foreign(request);
        if is_foreign {
            refuse_fields(request, &[])?;
        }
        for (name, value) in &request.extra {
            if !is_foreign || self.takes(name) {
                let value = checked(value, Field::extra(name.clone()))?;
                if value != "null" {
                    self.body.shift_remove(name);
                    self.out.raw(name, value);
                }
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

    fn tools(&mut self, request: &'a Request) -> Result<()> {
        // Where the provider does not support a choice among several tools, only the allowed ones are sent.
        let offered =
            if self.quirks.takes_custom_tools { Offered::only(None, request) } else { Offered::of(request) };
        let mut is_open = false;
        for (index, tool) in request.tools.iter().enumerate() {
            if !offered.has(&tool.name) {
                continue;
            }
            let before = self.out.len();
            if is_open {
                self.out.push(b",")
            } else {
                self.out.raw("tools", "[")
            }
            if self.tool(index, request, &offered)? { is_open = true } else { self.out.truncate(before) }
        }
        if is_open {
            self.out.push(b"]");
        }
        self.put("parallel_tool_calls", request.parallel_tool_calls);
        if let Some(choice) = &request.tool_choice {
            self.choice(request, choice);
        }
        Ok(())
    }

    /// Appends a tool in this format; false where it has none. Callers of this format name their provider's
    /// own tools; of other formats' hosted tools this one has a web search, which is a separate field.
    fn tool(&mut self, index: usize, request: &Request, offered: &Offered<'_>) -> Result<bool> {
        let tool = &request.tools[index];
        let mark = match &tool.kind {
            ToolKind::Native(raw) if is_foreign(request) => return self.hosted(raw, index, request, offered),
            // A tool of the provider passes whole.
            ToolKind::Native(raw) => {
                self.out.push(checked(raw, Field::tool(index, ToolField::Whole))?.as_bytes());
                return Ok(true);
            }
            _ => self.taken_mark(tool.cache.as_ref()),
        };
        let is_custom = matches!(tool.kind, ToolKind::Custom { .. }) && self.quirks.takes_custom_tools;
        let kind = if is_custom { "custom" } else { "function" };
        self.out.push(b"{");
        self.out.text("type", kind);
        self.out.raw(kind, "{");
        self.out.text("name", &tool.name);
        self.out.opt_text("description", tool.description.as_deref());
        match &tool.kind {
            ToolKind::Function { parameters, strict } => {
                if let Some(schema) = parameters {
                    let field = Field::tool(index, ToolField::Parameters);
                    self.out.raw("parameters", checked(schema, field)?);
                }
                if let Some(strict) = strict {
                    self.out.raw("strict", word(*strict));
                }
            }
            ToolKind::Custom { format } if is_custom => {
                if let Some(format) = format {
                    self.out.raw("format", checked(format, Field::tool(index, ToolField::Grammar))?);
                }
            }
            ToolKind::Custom { format } => self.free_text(index, &tool.name, format.as_ref()),
            ToolKind::Native(_) => {}
        }
        self.out.push(b"}");
        if let Some(mark) = mark {
            self.out.raw("cache_control", mark);
        }
        self.out.push(b"}");
        Ok(true)
    }

    /// A tool that takes free text, as a function.
    fn free_text(&mut self, index: usize, name: &str, format: Option<&Json>) {
        if is_restricted(format) {
            let field = Field::tool(index, ToolField::Grammar);
            self.losses.dropped(field, "The provider does not support grammars.");
        }
        let field = Field::tool(index, ToolField::Whole);
        self.losses.emulated(field, "A tool that takes free text is sent as a function.");
        room::push(&mut self.custom_tools, name.to_owned());
        self.out.raw("parameters", free_text_schema().as_str());
    }

    /// A tool that another format's provider runs.
    fn hosted(&mut self, raw: &Json, index: usize, request: &Request, offered: &Offered<'_>) -> Result<bool> {
        if is_left_out(request, index, offered, &mut self.losses)
            || hosted::is_repeated(request, index, &mut self.losses)
        {
            return Ok(false);
        }
        if hosted::task(raw) != Some(Task::WebSearch) {
            return Err(hosted::unsupported(raw, index));
        }
        let options = hosted::search_options(raw, index, &mut self.losses);
        self.put("web_search_options", options.to_value().unwrap_or_default());
        Ok(false)
    }

    fn choice(&mut self, request: &Request, choice: &ToolChoice) {
        let is_custom = |tool: &&Tool| matches!(tool.kind, ToolKind::Custom { .. });
        let custom: BTreeSet<&str> = if self.quirks.takes_custom_tools {
            request.tools.iter().filter(is_custom).map(|tool| tool.name.as_str()).collect()
        } else {
            BTreeSet::new()
        };
        let named = |name: &str| {
            let kind = if custom.contains(name) { "custom" } else { "function" };
            json!({"type": kind, kind: {"name": name}})
        };
        match choice {
            ToolChoice::Auto => self.put("tool_choice", "auto"),
            ToolChoice::None => self.put("tool_choice", "none"),
            ToolChoice::Required => self.put("tool_choice", "required"),
            ToolChoice::Named(name) => self.put("tool_choice", named(name)),
            ToolChoice::Allowed { names, required } => {
                let mode = if *required { "required" } else { "auto" };
                // All of them: the plain value, which more providers support.
                let allowed: BTreeSet<&str> = names.iter().map(String::as_str).collect();
                let is_all = is_foreign(request)
                    && request.tools.iter().all(|tool| allowed.contains(tool.name.as_str()));
                if is_all || !self.quirks.takes_custom_tools {
                    return self.put("tool_choice", mode);
                }
                self.out.raw("tool_choice", r#"{"type":"allowed_tools","allowed_tools":{"#);
                self.out.text("mode", mode);
                self.out.raw("tools", "[");
                for name in names {
                    self.out.comma();
                    self.out.push(named(name).to_string().as_bytes());
                }
                self.out.push(b"]}}");
            }
        }
    }

    fn output(&mut self, output: &OutputFormat) -> Result<()> {
        match output {
            OutputFormat::Text => {}
            OutputFormat::JsonObject => self.put("response_format", json!({"type": "json_object"})),
            OutputFormat::JsonSchema { name, description, schema, strict } => {
                let out = &mut self.out;
                out.raw("response_format", r#"{"type":"json_schema","json_schema":{"#);
                out.text("name", name);
                out.opt_text("description", description.as_deref());
                if let Some(schema) = schema {
                    out.raw("schema", checked(schema, Field::Output(OutputField::Schema))?);
                }
                if let Some(strict) = strict {
                    out.raw("strict", word(*strict));
                }
                out.push(b"}}");
            }
        }
        Ok(())
    }

    fn message(&mut self, index: usize, message: &'a Message) -> Result<()> {
        self.out.push(b"{");
        self.out.text("role", role(message.role));
        self.out.opt_text("name", message.name.as_deref());
        match (message.role, message.parts.first().map(|part| &part.kind)) {
            (Role::Tool, Some(PartKind::ToolResult(result))) => self.result(index, message, result)?,
            _ => self.turn(index, message)?,
        }
        self.out.push(b"}");
        Ok(())
    }

    /// The result of a tool. Media follow it where it can contain only texts.
    fn result(&mut self, index: usize, message: &'a Message, result: &'a ToolResult) -> Result<()> {
        match self.ids.answered((index, 0)) {
            Some(number) => self.out.text("tool_call_id", self.ids.id(number)),
            None => self.out.text("tool_call_id", &call_id(&result.call_id)),
        }
        let cache = message.parts[0].cache.as_ref();
        if !self.content(|part| Field::result_part(index, part), &result.content, cache)? {
            self.out.text("content", "");
            if let Some(mark) = self.taken_mark(cache) {
                self.out.raw("cache_control", mark);
            }
        }
        if result.is_error {
            self.losses.dropped(
                Field::of_message(index, MessageField::Failed),
                "The format cannot mark a failed tool.",
            );
        }
        Ok(())
    }

    fn turn(&mut self, index: usize, message: &'a Message) -> Result<()> {
        let is_assistant = message.role == Role::Assistant;
        if !self.content(|part| Field::part(index, part), &message.parts, None)? {
            self.out.raw("content", if is_assistant { "null" } else { "\"\"" });
        }
        let mut count = 0;
        for (position, part) in message.parts.iter().enumerate() {
            let PartKind::ToolCall(call) = &part.kind else { continue };
            match count {
                0 => self.out.raw("tool_calls", "["),
                _ => self.out.push(b","),
            }
            self.call(call, (index, position));
            if let Some(signature) = &part.signature {
                if self.takes_proofs {
                    self.out.raw("extra_content", r#"{"google":{"#);
                    self.out.text("thought_signature", signature);
                    self.out.push(b"}}");
                } else {
                    self.losses.dropped(Field::call(index, count, CallField::Proof), FOREIGN)
                }
            }
            self.out.push(b"}");
            count += 1;
        }
        if count > 0 {
            self.out.push(b"]");
        }
        if is_assistant {
            self.thinking(index, message)?;
        }
        Ok(())
    }

    /// A call of the history, without its closing brace. A free-text tool is a function with one field where
    /// the provider supports no others.
    fn call(&mut self, call: &ToolCall, place: (usize, usize)) {
        let (kind, input) = if call.custom && self.quirks.takes_custom_tools {
            ("custom", "input")
        } else {
            ("function", "arguments")
        };
        let out = &mut self.out;
        out.push(b"{");
        out.text("id", self.ids.id_at(place));
        out.text("type", kind);
        out.raw(kind, "{");
        out.text("name", &call.name);
        if call.custom && kind == "function" {
            out.text(input, call_input(call).get())
        } else {
            out.text(input, &call.arguments)
        }
        out.push(b"}");
    }

    /// Appends the content: a string for a single plain text, else a list of parts. False when there is none.
    fn content(
        &mut self,
        field: impl Fn(usize) -> Field,
        parts: &'a [Part],
        cache: Option<&CacheMark>,
    ) -> Result<bool> {
        let is_result = matches!(field(0), Field::ResultPart { .. });
        let apart = is_result && !self.takes_media_in_results;
        let is_here = |part: &&Part| is_content(part) && !(apart && is_media(part));
        let count = parts.iter().filter(is_here).count();
        let last = parts.iter().rposition(|part| is_here(&part)).filter(|_| cache.is_some());
        let (mut is_open, mut is_text) = (false, false);
        for (position, part) in parts.iter().enumerate() {
            if apart && is_media(part) {
                self.show_later(field(position), part)?;
                continue;
            }
            if !is_content(part) {
                if part.cache.is_some() {
                    self.losses.dropped(Field::CacheMark, "The format accepts cache marks only on content.");
                }
                continue;
            }
            self.note_part(field(position), part)?;
            let mark = self.taken_mark(part.cache.as_ref());
            let mark = self.taken_mark(cache.filter(|_| last == Some(position))).or(mark);
            if let (1, None, Some(text)) = (count, mark, plain_text(part)) {
                self.out.text("content", text);
                is_text = true;
                continue;
            }
            if is_open {
                self.out.push(b",")
            } else {
                self.out.raw("content", "[")
            }
            is_open = true;
            write_part(part, mark, &mut self.out);
        }
        if is_open {
            self.out.push(b"]");
        }
        Ok(is_open || is_text)
    }

    fn show_later(&mut self, field: Field, part: &'a Part) -> Result<()> {
        self.note_part(field.clone(), part)?;
        let mark = self.taken_mark(part.cache.as_ref());
        self.shown.push((part, mark));
        let reason =
            "The format accepts only text as a tool result: the content was sent after it as a user message.";
        self.losses.approximated(field, reason);
        Ok(())
    }

    /// Reports the members of a content part that the format cannot express.
    fn note_part(&mut self, field: Field, part: &Part) -> Result<()> {
        if part.signature.is_some() && matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_)) {
            let proof = field.clone().with(PartField::Proof);
            self.losses
                .dropped(proof, "The format accepts signatures only with thinking and with tool calls.");
        }
        let PartKind::Media(media) = &part.kind else { return Ok(()) };
        match (media.kind, &media.source) {
            (_, Source::Text(_)) => {
                self.losses.approximated(field, "The format does not accept text files: sent as plain text.")
            }
            (MediaKind::Audio, Source::Url(_)) => {
                let message = "The provider accepts audio only as base64, not as a URL.";
                return Err(Error::unsupported(field, message));
            }
            _ => {}
        }
        Ok(())
    }

    /// The cache mark, if the provider takes it. OpenAI itself refuses unknown fields.
    fn taken_mark(&mut self, mark: Option<&CacheMark>) -> Option<&'static str> {
        let mark = mark?;
        if !self.quirks.takes_cache_marks {
            self.losses.dropped(Field::CacheMark, "The provider itself decides what it caches.");
            return None;
        }
        Some(cache_control(mark))
    }

    /// Appends thinking as text, and as blocks where text is not enough: with proofs, or several blocks.
    fn thinking(&mut self, index: usize, message: &Message) -> Result<()> {
        for (position, part) in message.parts.iter().enumerate() {
            if matches!(part.kind, PartKind::Native(_)) {
                self.losses.dropped(Field::thinking(index, position), OF_ANOTHER_FORMAT);
            }
        }
        let blocks = || message.parts.iter().filter_map(block);
        if !self.takes_thinking {
            if blocks().next().is_some() {
                let reason = "The provider does not accept thinking of earlier turns.";
                self.losses.dropped(Field::of_message(index, MessageField::Thinking), reason);
            }
            return Ok(());
        }
        if blocks().any(|(thought, _)| !thought.text.is_empty()) {
            self.out.raw("reasoning_content", "\"");
            blocks().for_each(|(thought, _)| self.out.escaped(&thought.text));
            self.out.push(b"\"");
        }
        let is_proven =
            |(thought, part): (&Reasoning, &Part)| thought.encrypted.is_some() || part.signature.is_some();
        if blocks().nth(1).is_some() || blocks().any(is_proven) {
            self.out.raw("reasoning_details", "[");
            for (index, (_, part)) in blocks().enumerate() {
                self.out.item(&detail(index, part))?;
            }
            self.out.push(b"]");
        }
        Ok(())
    }
}

/// A block of thinking that the format supports.
fn block(part: &Part) -> Option<(&Reasoning, &Part)> {
    match &part.kind {
        PartKind::Reasoning(thought) => Some((thought, part)),
        _ => None,
    }
}

/// A part that belongs to the content of a message.
fn is_content(part: &Part) -> bool {
    matches!(part.kind, PartKind::Text(_) | PartKind::Refusal(_) | PartKind::Media(_))
}

/// Media that are not sent as text.
fn is_media(part: &Part) -> bool {
    matches!(&part.kind, PartKind::Media(media) if !matches!(media.source, Source::Text(_)))
}

/// The text of a part with only text.
fn plain_text(part: &Part) -> Option<&str> {
    match &part.kind {
        PartKind::Text(text) => Some(text),
        PartKind::Media(media) => match &media.source {
            Source::Text(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// Appends a part of a content. The mark is JSON.
fn write_part(part: &Part, mark: Option<&str>, out: &mut Output) {
    out.push(b"{");
    match (&part.kind, plain_text(part)) {
        (_, Some(text)) => {
            out.raw("type", "\"text\"");
            out.text("text", text);
        }
        (PartKind::Refusal(text), _) => {
            out.raw("type", "\"refusal\"");
            out.text("refusal", text);
        }
        (PartKind::Media(media), _) => write_media(media, out),
        _ => {}
    }
    if let Some(mark) = mark {
        out.raw("cache_control", mark);
    }
    out.push(b"}");
}

/// Whether the caller uses another format.
fn is_foreign(request: &Request) -> bool {
    !request.format.is_empty() && request.format != Protocol::OpenaiChat.as_str()
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

/// A cache mark, as JSON.
fn cache_control(mark: &CacheMark) -> &'static str {
    match mark.ttl_seconds {
        Some(3600) => r#"{"type":"ephemeral","ttl":"1h"}"#,
        Some(_) => r#"{"type":"ephemeral","ttl":"5m"}"#,
        None => r#"{"type":"ephemeral"}"#,
    }
}

fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

/// Appends the members of a media part that is not text.
fn write_media(media: &Media, out: &mut Output) {
    let (kind, url, named) = match (media.kind, &media.source) {
        (_, Source::FileId(_)) => ("file", "file_id", ("filename", &media.filename)),
        (MediaKind::Image, _) => ("image_url", "url", ("detail", &media.detail)),
        (MediaKind::Video, _) => ("video_url", "url", ("detail", &media.detail)),
        (MediaKind::Document, _) => ("file", "file_data", ("filename", &media.filename)),
        (MediaKind::Audio, _) => ("input_audio", "data", ("", &None)),
    };
    out.text("type", kind);
    out.raw(kind, "{");
    match (media.kind, &media.source) {
        (MediaKind::Audio, Source::Base64 { mime, data }) => {
            out.text(url, data);
            out.text("format", sound_format(mime));
        }
        (_, Source::Base64 { mime, data }) => {
            out.raw(url, "\"data:");
            out.escaped(mime);
            out.push(b";base64,");
            out.escaped(data);
            out.push(b"\"");
        }
        (_, Source::Url(text) | Source::FileId(text) | Source::Text(text)) => out.text(url, text),
    }
    out.opt_text(named.0, named.1.as_deref());
    out.push(b"}");
}

/// OpenAI itself takes only WAV and MP3; other providers take more formats.
fn sound_format(mime: &str) -> &str {
    match mime.strip_prefix("audio/").unwrap_or(mime) {
        "wav" | "wave" | "x-wav" | "vnd.wave" => "wav",
        "mp3" | "mpeg" | "mpeg3" | "x-mp3" => "mp3",
        format => format,
    }
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
