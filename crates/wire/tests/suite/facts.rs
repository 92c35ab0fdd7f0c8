//! The content of a request as a flat list of facts, and the comparison of the facts before and after a
//! translation.
//!
//! Two requests with the same meaning give the same facts: ids of calls become numbers, system and developer
//! messages are both instructions, and tools that the choice excludes are omitted.

use std::collections::BTreeMap;

use base64::Engine;
use canon::{
    CacheMark, Effort, Json, LossAction, Losses, Media, MediaKind, Message, OutputFormat, Part, PartKind,
    Reasoning, Request, Role, Source, Tool, ToolCall, ToolChoice, ToolKind, ToolResult,
};
use serde_json::{Value, json};

/// One fact of a request, and the field by which a loss would name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    pub field: String,
    pub what: String,
    /// The fact has no effect here, such as a mark on a tool that must not be called: it may be lost without
    /// a report.
    pub is_idle: bool,
    /// The fact is a picture in the result of a tool. Outside of the result it is the same fact.
    pub in_result: bool,
}

/// How a format writes a request where several ways have the same meaning.
#[derive(Clone, Copy, Default)]
pub struct FormatTraits {
    /// Texts of one message are joined with this separator.
    pub joins: Option<&'static str>,
    /// As `joins`, for the model's messages only.
    pub joins_answers: Option<&'static str>,
    /// Effort is a level rather than a number of tokens.
    pub efforts: bool,
    /// The order of pictures and texts is not kept.
    pub media_apart: bool,
    /// Free-text tools are tools of their own kind.
    pub custom_calls: bool,
}

/// The facts of a request.
pub fn facts(request: &Request, manner: FormatTraits) -> Vec<Fact> {
    let mut list = List { manner, facts: Vec::new(), calls: BTreeMap::new() };
    let leading = request.messages.iter().take_while(|message| message.role.is_instruction()).count();
    for (index, message) in request.messages.iter().enumerate() {
        list.message(index, message, index >= leading);
    }
    list.tools(request);
    list.settings(request);
    list.thinking(request);
    list.output(&request.output);
    list.extra(request);
    list.facts
}

struct List {
    manner: FormatTraits,
    facts: Vec<Fact>,
    /// Numbers of calls by id.
    calls: BTreeMap<Box<str>, usize>,
}

impl List {
    fn add(&mut self, field: impl Into<String>, what: impl Into<String>) {
        self.facts.push(Fact { field: field.into(), what: what.into(), is_idle: false, in_result: false });
    }

    /// Marks the facts that were added since as having no effect.
    fn idle_since(&mut self, length: usize) {
        self.facts[length..].iter_mut().for_each(|fact| fact.is_idle = true);
    }

    fn message(&mut self, index: usize, message: &Message, is_late: bool) {
        let role = match message.role {
            Role::System | Role::Developer if is_late => "system says later",
            Role::System | Role::Developer => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        if message.name.is_some() {
            self.add(format!("messages[{index}].name"), format!("{role} is called {:?}", message.name));
        }
        let glue = match message.role {
            Role::Assistant => self.manner.joins_answers.or(self.manner.joins),
            _ => self.manner.joins,
        };
        let parts = joined(&message.parts, glue);
        let mut calls = 0;
        for (position, part) in parts.iter().enumerate() {
            let path = format!("messages[{index}].content[{position}]");
            match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) if text.trim().is_empty() => {}
                PartKind::Text(text) | PartKind::Refusal(text) => {
                    let field = if message.role.is_instruction() {
                        format!("messages[{index}].role")
                    } else {
                        path.clone()
                    };
                    self.add(field, format!("{role} says {text:?}"));
                }
                PartKind::Media(media) => self.media(&path, role, media),
                PartKind::Reasoning(thought) => {
                    self.thought(&format!("messages[{index}].reasoning"), thought, part.signature.as_deref());
                }
                PartKind::Native(block) => {
                    self.add(format!("messages[{index}].reasoning"), format!("block {}", block.as_str()));
                }
                PartKind::ToolCall(call) => {
                    self.call(
                        &format!("messages[{index}].tool_calls[{calls}]"),
                        call,
                        part.signature.as_deref(),
                    );
                    calls += 1;
                }
                PartKind::ToolResult(result) => self.result(index, result),
            }
        }
        for (position, part) in message.parts.iter().enumerate() {
            if let (Some(proof), PartKind::Text(_)) = (&part.signature, &part.kind) {
                let field = format!("messages[{index}].content[{position}].thought_signature");
                self.add(field, format!("proof {proof:?}"));
            }
            self.cache(part);
        }
    }

    fn media(&mut self, path: &str, role: &str, media: &Media) {
        let field = match media.kind {
            MediaKind::Image => "image_url",
            MediaKind::Audio => "input_audio",
            MediaKind::Document => "file",
            MediaKind::Video => "video_url",
        };
        // A picture of a tool's result may be outside of the result.
        let role = if role == "assistant" { "assistant" } else { "caller" };
        self.add(path, format!("{role} shows {}", shown(media)));
        if let Some(detail) = media.detail.as_ref().filter(|detail| *detail != "auto") {
            self.add(format!("{path}.{field}.detail"), format!("seen in detail {detail}"));
        }
        if let Some(name) = &media.filename {
            let stem = name.rsplit_once('.').map_or(name.as_str(), |(stem, _)| stem);
            self.add(format!("{path}.file.filename"), format!("a file called {stem}"));
        }
    }

    fn thought(&mut self, field: &str, thought: &Reasoning, signature: Option<&str>) {
        if !thought.text.is_empty() {
            self.add(field, format!("thinks {:?}", thought.text));
        }
        if let Some(hidden) = &thought.encrypted {
            self.add(field, format!("thinks hidden {hidden:?}"));
        }
        if let Some(proof) = signature {
            self.add(field, format!("proof {proof:?}"));
        }
    }

    fn call(&mut self, path: &str, call: &ToolCall, signature: Option<&str>) {
        let number = self.calls.len();
        self.calls.insert(call.id.clone(), number);
        let arguments = match serde_json::from_str::<Value>(&call.arguments) {
            _ if call.custom && self.manner.custom_calls => json!(call.arguments),
            _ if call.custom => json!({"input": call.arguments}),
            Ok(object @ Value::Object(_)) => object,
            _ if call.arguments.trim().is_empty() => json!({}),
            _ => json!(call.arguments),
        };
        self.add(path, format!("call {number} of {}", call.name));
        self.add(format!("{path}.function.arguments"), format!("call {number} with {arguments}"));
        if let Some(proof) = signature {
            self.add(format!("{path}.extra_content"), format!("proof {proof:?}"));
        }
    }

    fn result(&mut self, index: usize, result: &ToolResult) {
        let number = self.calls.get(&result.call_id).copied();
        let mut text = String::new();
        for (position, part) in result.content.iter().enumerate() {
            match &part.kind {
                PartKind::Text(piece) => text.push_str(piece),
                PartKind::Media(media) => {
                    let before = self.facts.len();
                    self.media(&format!("messages[{index}].content[{position}]"), "tool", media);
                    self.facts[before..].iter_mut().for_each(|fact| fact.in_result = true);
                }
                other => panic!("a result of {other:?}"),
            }
        }
        // White space is ignored: some formats join the texts with line breaks, some without. Also ignored is
        // whether an object was written as text.
        let text: String = text.split_whitespace().collect();
        self.add(format!("messages[{index}].content"), format!("call {number:?} gives {text:?}"));
        if result.is_error {
            self.add(format!("messages[{index}].is_error"), format!("call {number:?} failed"));
        }
    }

    fn cache(&mut self, part: &Part) {
        if let Some(mark) = &part.cache {
            let until = match &part.kind {
                PartKind::Text(text) | PartKind::Refusal(text) => format!("{text:?}"),
                // A text file may be sent as plain text.
                PartKind::Media(media) => shown(media).trim_start_matches("a text file ").to_owned(),
                PartKind::ToolCall(call) => format!("call {:?}", self.calls.get(&call.id)),
                PartKind::ToolResult(result) => format!("result {:?}", self.calls.get(&result.call_id)),
                PartKind::Reasoning(_) | PartKind::Native(_) => "thinking".to_owned(),
            };
            self.mark(mark, &until);
        }
    }

    fn mark(&mut self, mark: &CacheMark, until: &str) {
        // Five minutes is the default.
        let seconds = mark.ttl_seconds.unwrap_or(300);
        self.add("cache_control", format!("cached for {seconds} s up to {until}"));
    }

    fn tools(&mut self, request: &Request) {
        let mut callable = 0;
        for (index, tool) in request.tools.iter().enumerate() {
            let before = self.facts.len();
            self.tool(&format!("tools[{index}]"), tool);
            if is_offered(request, tool) {
                callable += usize::from(!matches!(tool.kind, ToolKind::Native(_)))
            } else {
                self.idle_since(before)
            }
        }
        let must = match &request.tool_choice {
            Some(ToolChoice::Required | ToolChoice::Named(_)) => true,
            Some(ToolChoice::Allowed { required, .. }) => *required,
            _ => false,
        };
        if callable == 0 {
            self.add(if request.tools.is_empty() { "tools" } else { "tool_choice" }, "no call");
        }
        if must && callable > 0 {
            self.add("tool_choice", "a call is required");
        }
        if request.parallel_tool_calls == Some(false) {
            let before = self.facts.len();
            self.add("parallel_tool_calls", "one call at a time");
            if callable == 0 {
                self.idle_since(before);
            }
        }
    }

    fn tool(&mut self, path: &str, tool: &Tool) {
        let name = &tool.name;
        match &tool.kind {
            ToolKind::Function { parameters, strict } => {
                self.add(path, format!("function {name}"));
                let schema = parameters.as_ref().and_then(|schema| schema.to_value().ok());
                if let Some(schema) =
                    schema.filter(|schema| *schema != json!({"type": "object", "properties": {}}))
                {
                    self.add(
                        format!("{path}.function.parameters"),
                        format!("{name} takes {}", sorted(&schema)),
                    );
                }
                if *strict == Some(true) {
                    self.add(format!("{path}.function.strict"), format!("{name} is strict"));
                }
            }
            ToolKind::Custom { format } => {
                self.add(path, format!("free-text tool {name}"));
                if let Some(format) = format.as_ref().and_then(|format| format.to_value().ok())
                    && format["type"] != "text"
                {
                    self.add(format!("{path}.custom.format"), format!("{name} writes {format}"));
                }
            }
            ToolKind::Native(entry) => self.native(path, entry),
        }
        if let Some(description) = &tool.description {
            self.add(format!("{path}.description"), format!("{name} does {:?}", described(description)));
        }
        if let Some(mark) = &tool.cache {
            self.mark(mark, &format!("tool {name}"));
        }
    }

    fn native(&mut self, path: &str, entry: &Json) {
        let entry = entry.to_value().unwrap();
        let fields = entry.as_object().unwrap();
        let is_search = entry["type"] == "web_search" || fields.contains_key("googleSearch");
        self.add(path, if is_search { "a web search".to_owned() } else { format!("tool {entry}") });
        if fields.contains_key("web_search") {
            self.add(path, format!("a web search with {}", entry["web_search"]));
        }
    }

    fn settings(&mut self, request: &Request) {
        let sampling = &request.sampling;
        let numbers = [
            ("temperature", sampling.temperature),
            ("top_p", sampling.top_p),
            ("top_k", sampling.top_k.map(|number| number as f64)),
            ("frequency_penalty", sampling.frequency_penalty.filter(|penalty| *penalty != 0.0)),
            ("presence_penalty", sampling.presence_penalty.filter(|penalty| *penalty != 0.0)),
            ("seed", sampling.seed.map(|number| number as f64)),
            ("max_tokens", request.max_tokens.map(|number| number as f64)),
            ("n", request.n.filter(|count| *count > 1).map(f64::from)),
            ("top_logprobs", request.top_logprobs.filter(|count| *count > 0).map(f64::from)),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                self.add(name, format!("{name} {number}"));
            }
        }
        if request.logprobs == Some(true) || request.top_logprobs.is_some_and(|count| count > 0) {
            self.add("logprobs", "log probabilities");
        }
        for stop in &request.stop {
            self.add("stop", format!("stop at {stop:?}"));
        }
    }

    fn thinking(&mut self, request: &Request) {
        let wish = &request.reasoning;
        let field = if wish.effort.is_some() { "reasoning_effort" } else { "reasoning.max_tokens" };
        if wish.is_on() {
            match wish.effort.filter(|_| self.manner.efforts) {
                Some(effort) => self.add(field, format!("think {}", effort.as_str())),
                None => self.add(field, "think"),
            }
        } else if !wish.is_unset() {
            self.add(field, "do not think");
        }
        if let Some(budget) = wish.budget_tokens.filter(|budget| *budget > 0) {
            self.add("reasoning.max_tokens", format!("think {budget} tokens"));
        }
    }

    fn output(&mut self, output: &OutputFormat) {
        match output {
            OutputFormat::Text => {}
            OutputFormat::JsonObject | OutputFormat::JsonSchema { schema: None, .. } => {
                self.add("response_format", "a JSON object");
            }
            OutputFormat::JsonSchema { schema: Some(schema), .. } => {
                let schema = sorted(&schema.to_value().unwrap());
                self.add("response_format.json_schema.schema", format!("JSON of {schema}"));
            }
        }
        if let OutputFormat::JsonSchema { description: Some(text), .. } = output {
            self.add("response_format.json_schema.description", format!("JSON that is {text:?}"));
        }
    }

    fn extra(&mut self, request: &Request) {
        let own = |name: &str| request.extra(name).and_then(|value| value.read::<String>().ok());
        if let Some(user) = &request.user {
            self.add("user", format!("the user is {user:?}"));
        }
        for (name, value) in &request.extra {
            let value = value.to_value().unwrap();
            match name.as_str() {
                _ if value == json!({}) || value == json!([]) => {}
                "store" if value == json!(false) => {}
                "verbosity" if value == json!("medium") => {}
                "modalities" if value == json!(["text"]) => {}
                "service_tier"
                    if matches!(own(name).as_deref(), Some("auto" | "default" | "standard_only")) => {}
                "safety_identifier" => {
                    self.add(name, format!("the user is {:?}", own(name).unwrap_or_default()))
                }
                "metadata" if value.get("user_id").is_some() => {
                    self.add(name, format!("the user is {}", value["user_id"]));
                }
                _ => self.add(name, format!("{name} is {}", sorted(&value))),
            }
        }
    }
}

/// True when the model may call the tool.
fn is_offered(request: &Request, tool: &Tool) -> bool {
    match &request.tool_choice {
        Some(ToolChoice::None) => false,
        Some(ToolChoice::Named(name)) => *name == tool.name,
        Some(ToolChoice::Allowed { names, .. }) => names.contains(&tool.name),
        _ => true,
    }
}

/// The parts, with neighbouring texts joined where a format has one text only.
fn joined(parts: &[Part], glue: Option<&str>) -> Vec<Part> {
    let Some(glue) = glue else { return parts.to_vec() };
    let words = |part: &Part| match &part.kind {
        PartKind::Text(text) | PartKind::Refusal(text) if !text.trim().is_empty() => Some(text.clone()),
        _ => None,
    };
    let whole = parts.iter().filter_map(words).collect::<Vec<_>>().join(glue);
    let mut whole = Some(whole);
    // The first text becomes the joined one; the others become empty, so that later parts keep their
    // positions.
    let joined = |part: &Part| match words(part) {
        Some(_) => Part::text(whole.take().unwrap_or_default()),
        None => part.clone(),
    };
    parts.iter().map(joined).collect()
}

fn shown(media: &Media) -> String {
    let short = |mime: &str| {
        let ending = mime.rsplit('/').next().unwrap_or_default();
        match ending {
            "mpeg" if mime.starts_with("audio") => "mp3".to_owned(),
            "jpg" => "jpeg".to_owned(),
            ending => ending.to_owned(),
        }
    };
    match &media.source {
        Source::Url(url) => format!("{:?} at {url}", media.kind),
        // Several formats have no kinds of uploaded files.
        Source::FileId(id) => format!("file {id}"),
        Source::Text(text) => format!("a text file {text:?}"),
        Source::Base64 { mime, data } if matches!(mime.as_str(), "text/plain" | "document/txt") => {
            let bytes = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            format!("a text file {:?}", String::from_utf8(bytes).unwrap())
        }
        Source::Base64 { mime, data } => format!("{:?} {} {data}", media.kind, short(mime)),
    }
}

/// Constraints that moved from a schema into the description are reported as the schema's loss.
fn described(description: &str) -> &str {
    let end = [
        "\nThe input also has to fit: ",
        "\n\nThe input must also fit ",
        "\nThe text in `input` has this format: ",
    ];
    end.iter().fold(description, |text, end| text.split(end).next().unwrap_or_default()).trim()
}

/// JSON with its members in order, and numbers by their value.
pub fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().collect();
            let members: Vec<_> =
                members.into_iter().map(|(name, value)| format!("{name:?}:{}", sorted(value))).collect();
            format!("{{{}}}", members.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// The facts of the first list that the second does not have; each counts as often as it occurs. Of several
/// equal facts, those that may be missing are chosen.
fn missing<'a>(from: &'a [Fact], within: &[Fact], may_miss: impl Fn(&Fact) -> bool) -> Vec<&'a Fact> {
    let mut left: Vec<&str> = within.iter().map(|fact| fact.what.as_str()).collect();
    let mut facts: Vec<&Fact> = from.iter().collect();
    facts.sort_by_key(|fact| may_miss(fact));
    facts.retain(|fact| match left.iter().position(|what| *what == fact.what) {
        Some(at) => {
            left.swap_remove(at);
            false
        }
        None => true,
    });
    facts
}

/// True when a loss of this name reports the fact.
fn covers(loss: &str, fact: &Fact) -> bool {
    let within = |outer: &str, inner: &str| {
        inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
    };
    // The text of a result is one fact made of several parts.
    let is_text_of_result = fact.what.starts_with("call ") && fact.what.contains(" gives ");
    within(loss, &fact.field) || is_text_of_result && within(&fact.field, loss)
}

fn root(field: &str) -> &str {
    let root = field.split(['.', '[']).next().unwrap_or(field);
    if root == "reasoning_effort" { "reasoning" } else { root }
}

/// Every difference is reported by a loss, and every loss reports a difference.
pub fn compare(asked: &[Fact], got: &[Fact], losses: &Losses, manner: FormatTraits) -> Result<(), String> {
    let is_told = |fact: &Fact| losses.iter().any(|loss| covers(&loss.field.name(), fact));
    let (gone, new) =
        (missing(asked, got, |fact| fact.is_idle || is_told(fact)), missing(got, asked, |_| false));
    for fact in gone.iter().filter(|fact| !fact.is_idle) {
        if !is_told(fact) {
            return Err(format!("lost in silence: {fact:?}"));
        }
    }
    // The documented stand-in for a signature has no content; in the current turn, where it matters, it is reported.
    let is_stand_in = |fact: &Fact| fact.what.contains("skip_thought_signature_validator");
    for fact in new.iter().filter(|fact| !fact.is_idle && !is_stand_in(fact)) {
        let explains =
            |field: &str| [root(&fact.field), "response_format", "messages"].contains(&root(field));
        if !losses.iter().any(|loss| loss.action != LossAction::Dropped && explains(&loss.field.name())) {
            return Err(format!("nobody asked for: {fact:?}"));
        }
    }
    for loss in losses.iter() {
        let changed = gone.iter().any(|fact| covers(&loss.field.name(), fact));
        let added = loss.action != LossAction::Dropped
            && new.iter().any(|fact| root(&fact.field) == root(&loss.field.name()));
        let is_outside = |fact: &Fact| got.iter().any(|it| it.what == fact.what && !it.in_result);
        let moved =
            asked.iter().any(|fact| fact.in_result && covers(&loss.field.name(), fact) && is_outside(fact));
        if !changed && !added && !moved {
            return Err(format!("reported and not lost: {loss:?}"));
        }
    }
    in_order(asked, got, manner)
}

/// The beginnings of facts whose order in the conversation matters.
const TOLD: [&str; 4] = ["system says", "user says", "assistant says", "assistant shows"];

/// Texts and calls are in the same order. Results follow their calls, wherever the caller put them.
fn in_order(asked: &[Fact], got: &[Fact], manner: FormatTraits) -> Result<(), String> {
    let told = |facts: &[Fact], other: &[Fact]| -> Vec<String> {
        let is_told = |fact: &&Fact| {
            let words = if manner.media_apart { &TOLD[..3] } else { &TOLD[..] };
            let is_call = fact.what.starts_with("call ") && fact.what.contains(" of ");
            words.iter().any(|word| fact.what.starts_with(word)) || is_call
        };
        let known = |fact: &&Fact| other.iter().any(|known| known.what == fact.what);
        facts.iter().filter(is_told).filter(known).map(|fact| fact.what.clone()).collect()
    };
    let (asked, got) = (told(asked, got), told(got, asked));
    let same = asked.len() != got.len() || asked == got;
    if same { Ok(()) } else { Err(format!("in another order: {asked:?} became {got:?}")) }
}

/// Effort and budget replace each other: if only the other one was requested, only whether the model thinks
/// is compared.
pub fn normalized(asked: &Request, mut got: Request) -> Request {
    if asked.reasoning.effort.is_some() && asked.reasoning.budget_tokens.is_none() {
        let wish = &mut got.reasoning;
        if wish.effort.is_none() && wish.budget_tokens.is_some() {
            wish.effort = Some(if wish.is_on() { Effort::High } else { Effort::None });
            wish.budget_tokens = None;
        }
    }
    got
}
