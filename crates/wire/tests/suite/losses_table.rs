//! `docs/losses.md`: the fate of each field of an OpenAI chat request at a provider of each wire format,
//! found by translating a small request with and without the field. `UPDATE_DOCS=1 cargo test -p wire losses`
//! rewrites the page.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::checks::chat_intake;
use bytes::Bytes;
use canon::{
    CallField, Effort, Error, Feature, Features, Field, LossAction, MediaKind, MessageField, ModelFacts,
    OutputField, PartField, PartKind, Quirks, ReasoningControl, Source, Target, ToolField,
};
use serde_json::{Value, json};
use wire::protocols::openai_chat::{OpenaiChat, forward};
use wire::{Addressed, Dialect, Encoded, Exchange, MediaFile, Protocol, adapter};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/losses.md");

/// One field: its group, its name, a request with it and the same request without it.
struct Row {
    group: &'static str,
    name: &'static str,
    with: Value,
    without: Value,
}

/// A typical model of a wire format.
struct Column {
    title: &'static str,
    protocol: Protocol,
    model: &'static str,
    facts: ModelFacts,
}

/// The fate of a field.
#[derive(Clone, Debug, PartialEq)]
enum Fate {
    /// It reaches the provider with the same meaning.
    Exact,
    /// It is not in the provider's body: the gateway serves it itself, or it is in the URL.
    Gateway,
    /// The worst of its losses, and why.
    Lost(LossAction, String),
    /// An error, and its message.
    Refused(String),
    /// Nothing reaches the provider and nothing was reported: a bug.
    Silent,
}

impl Fate {
    fn word(&self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Gateway => "gateway",
            Self::Lost(action, _) => action.as_str(),
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Lost(_, reason) | Self::Refused(reason) => Some(reason),
            _ => None,
        }
    }
}

/// Fields that change nothing in a provider's body and are nevertheless served.
const SERVED_BY_THE_GATEWAY: [&str; 4] =
    ["stream", "stream_options.include_usage", "reasoning.exclude", "provider, models, routing"];

fn columns() -> Vec<Column> {
    let budget = |min, max| Some(ReasoningControl::Budget { min, max, can_disable: true });
    let effort =
        || Some(ReasoningControl::Effort { levels: vec![Effort::Low, Effort::Medium, Effort::High] });
    let toggle = || Some(ReasoningControl::Toggle { can_disable: true, levels: Vec::new() });
    let column = |title, protocol, model, reasoning| {
        // The table shows what the format can carry, not what one model lacks.
        let features = Some(Features::all());
        Column { title, protocol, model, facts: ModelFacts { reasoning, features, ..ModelFacts::default() } }
    };
    vec![
        column("openai-chat", Protocol::OpenaiChat, "gpt-5", effort()),
        column("openai-responses", Protocol::OpenaiResponses, "gpt-5", effort()),
        column(
            "anthropic-messages",
            Protocol::AnthropicMessages,
            "claude-sonnet-4-5-20250929",
            budget(1024, 63_999),
        ),
        column("gemini", Protocol::Gemini, "gemini-2.5-flash", budget(0, 24_576)),
        column(
            "bedrock-converse, Claude",
            Protocol::BedrockConverse,
            "anthropic.claude-sonnet-4-5-20250929-v1:0",
            budget(1024, 63_999),
        ),
        nova(),
        column("cohere-chat", Protocol::CohereChat, "command-a-reasoning-08-2025", budget(1, 31_999)),
        column("ollama-chat", Protocol::OllamaChat, "qwen3", toggle()),
    ]
}

/// The same format with models that have far fewer features than Claude.
fn nova() -> Column {
    let features = [Feature::Tools, Feature::Vision, Feature::Documents, Feature::Video, Feature::Streaming];
    let facts = ModelFacts {
        features: Some(features.into_iter().collect()),
        reasoning: Some(ReasoningControl::None),
        ..ModelFacts::default()
    };
    let (protocol, model) = (Protocol::BedrockConverse, "amazon.nova-pro-v1:0");
    Column { title: "bedrock-converse, Nova", protocol, model, facts }
}

fn message(parts: Value) -> Value {
    json!([{"role": "user", "content": parts}])
}

fn text() -> Value {
    json!({"type": "text", "text": "What is this?"})
}

fn tool() -> Value {
    json!({"type": "function", "function": {"name": "look_up", "description": "Looks up.", "parameters":
        {"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"], "additionalProperties": false}}})
}

fn schema_format() -> Value {
    json!({"type": "json_schema", "json_schema": {"name": "answer", "strict": true, "schema":
        {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": false}}})
}

/// The body of a small request with further fields.
fn body(fields: &Value) -> Value {
    let mut body =
        json!({"model": "m", "messages": [{"role": "user", "content": "What is the capital of France?"}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

fn rows() -> Vec<Row> {
    let mut rows = message_rows();
    rows.extend(tool_rows());
    rows.extend(answer_rows());
    rows.extend(hint_rows());
    rows
}

fn row(group: &'static str, name: &'static str, with: Value, without: Value) -> Row {
    Row { group, name, with: body(&with), without: body(&without) }
}

fn message_rows() -> Vec<Row> {
    let plain = json!({"messages": message(json!([text()]))});
    let part = |name, part: Value| {
        row("Messages", name, json!({"messages": message(json!([text(), part]))}), plain.clone())
    };
    let pdf = "data:application/pdf;base64,JVBERi0=";
    let png = "data:image/png;base64,iVBORw0KGgo=";
    let said = |role: &str| json!({"messages": [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hello"}]});
    let hello = json!({"messages": [{"role": "user", "content": "Hello"}]});
    vec![
        row("Messages", "role system", said("system"), hello.clone()),
        row("Messages", "role developer", said("developer"), hello.clone()),
        row(
            "Messages",
            "messages[].name",
            json!({"messages": [{"role": "user", "name": "ann", "content": "Hello"}]}),
            hello,
        ),
        part("image, inline", json!({"type": "image_url", "image_url": {"url": png}})),
        part("image by URL", json!({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}})),
        row(
            "Messages",
            "image_url.detail",
            json!({"messages": message(json!([text(), {"type": "image_url", "image_url": {"url": png, "detail": "low"}}]))}),
            json!({"messages": message(json!([text(), {"type": "image_url", "image_url": {"url": png}}]))}),
        ),
        part(
            "input_audio",
            json!({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
        ),
        part("file, inline PDF", json!({"type": "file", "file": {"file_data": pdf}})),
        row(
            "Messages",
            "file.filename",
            json!({"messages": message(json!([text(), {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf}}]))}),
            json!({"messages": message(json!([text(), {"type": "file", "file": {"file_data": pdf}}]))}),
        ),
        part("file by file_id", json!({"type": "file", "file": {"file_id": "file-1"}})),
        row(
            "Messages",
            "cache_control",
            json!({"messages": message(json!([{"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}}]))}),
            plain.clone(),
        ),
        row(
            "Messages",
            "assistant refusal",
            history(json!({"refusal": "No."})),
            history(json!({"content": ""})),
        ),
        row("Messages", "assistant tool_calls and their results", tool_history(), json!({"tools": [tool()]})),
    ]
}

fn history(said: Value) -> Value {
    let mut answer = json!({"role": "assistant"});
    for (name, value) in said.as_object().into_iter().flatten() {
        answer[name] = value.clone();
    }
    json!({"messages": [{"role": "user", "content": "Hello"}, answer, {"role": "user", "content": "Why?"}]})
}

fn tool_history() -> Value {
    let call = json!({"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": "{\"word\":\"a\"}"}});
    json!({"tools": [tool()], "messages": [
        {"role": "user", "content": "Look up a."},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "a letter"},
    ]})
}

fn tool_rows() -> Vec<Row> {
    let with_tool = |name: &'static str, field: &str, value: Value| {
        let mut fields = json!({"tools": [tool()]});
        fields[field] = value;
        row("Tools", name, fields, json!({"tools": [tool()]}))
    };
    let mut strict = tool();
    strict["function"]["strict"] = json!(true);
    let mut other = tool();
    other["function"]["name"] = json!("look_down");
    vec![
        row("Tools", "tools, function", json!({"tools": [tool()]}), json!({})),
        row("Tools", "function.strict", json!({"tools": [strict]}), json!({"tools": [tool()]})),
        row(
            "Tools",
            "tools, custom",
            json!({"tools": [{"type": "custom", "custom": {"name": "shell", "description": "Runs."}}]}),
            json!({}),
        ),
        with_tool("tool_choice none", "tool_choice", json!("none")),
        with_tool("tool_choice required", "tool_choice", json!("required")),
        with_tool(
            "tool_choice, named",
            "tool_choice",
            json!({"type": "function", "function": {"name": "look_up"}}),
        ),
        row(
            "Tools",
            "tool_choice, allowed_tools",
            json!({"tools": [tool(), other], "tool_choice": {"type": "allowed_tools", "allowed_tools":
                {"mode": "auto", "tools": [{"type": "function", "function": {"name": "look_up"}}]}}}),
            json!({"tools": [tool(), other]}),
        ),
        with_tool("parallel_tool_calls false", "parallel_tool_calls", json!(false)),
        row("Tools", "web_search_options", json!({"web_search_options": {}}), json!({})),
    ]
}

fn answer_rows() -> Vec<Row> {
    let plain = |name, fields: Value| row("Answer", name, fields, json!({}));
    vec![
        plain("response_format json_object", json!({"response_format": {"type": "json_object"}})),
        plain("response_format json_schema", json!({"response_format": schema_format()})),
        row(
            "Answer",
            "json_schema together with tools",
            json!({"tools": [tool()], "response_format": schema_format()}),
            json!({"tools": [tool()]}),
        ),
        plain("stream", json!({"stream": true})),
        row(
            "Answer",
            "stream_options.include_usage",
            json!({"stream": true, "stream_options": {"include_usage": true}}),
            json!({"stream": true}),
        ),
        plain("n above 1", json!({"n": 2})),
        plain("logprobs", json!({"logprobs": true})),
        row(
            "Answer",
            "top_logprobs",
            json!({"logprobs": true, "top_logprobs": 2}),
            json!({"logprobs": true}),
        ),
        plain(
            "modalities with audio",
            json!({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        ),
        plain("max_tokens", json!({"max_tokens": 100})),
        plain("max_completion_tokens", json!({"max_completion_tokens": 100})),
        plain("stop", json!({"stop": ["END"]})),
        plain("reasoning_effort", json!({"reasoning_effort": "low"})),
        plain("reasoning.max_tokens", json!({"reasoning": {"max_tokens": 2000}})),
        row(
            "Answer",
            "reasoning.exclude",
            json!({"reasoning": {"effort": "low", "exclude": true}}),
            json!({"reasoning": {"effort": "low"}}),
        ),
        plain("verbosity", json!({"verbosity": "low"})),
        plain("prediction", json!({"prediction": {"type": "content", "content": "Paris"}})),
    ]
}

fn hint_rows() -> Vec<Row> {
    let plain = |name, fields: Value| row("Hints", name, fields, json!({}));
    vec![
        plain("temperature", json!({"temperature": 0.5})),
        plain("temperature above 1", json!({"temperature": 1.5})),
        plain("top_p", json!({"top_p": 0.5})),
        plain("top_k", json!({"top_k": 10})),
        plain("frequency_penalty", json!({"frequency_penalty": 0.5})),
        plain("presence_penalty", json!({"presence_penalty": 0.5})),
        plain("seed", json!({"seed": 7})),
        plain("logit_bias", json!({"logit_bias": {"50256": -100}})),
        plain("user", json!({"user": "ann"})),
        plain("safety_identifier", json!({"safety_identifier": "ann"})),
        plain("metadata", json!({"metadata": {"team": "a"}})),
        plain("store", json!({"store": true})),
        plain("service_tier", json!({"service_tier": "flex"})),
        plain("prompt_cache_key", json!({"prompt_cache_key": "a"})),
        plain("prompt_cache_retention", json!({"prompt_cache_retention": "24h"})),
        plain(
            "provider, models, routing",
            json!({"provider": {"sort": "price"}, "models": ["n"], "routing": "price"}),
        ),
        plain("a field that nobody knows", json!({"example_field": 1})),
    ]
}

/// The request as it is sent, and whether the gateway fetched something for it.
fn encode(column: &Column, body: &Value) -> Result<(Encoded, bool), Error> {
    // As OpenAI itself.
    let quirks = Quirks { takes_custom_tools: true, takes_fields: vec!["*".to_owned()], ..Quirks::default() };
    let target = Target { model: column.model, facts: &column.facts, quirks: &quirks };
    let bytes = serde_json::to_vec(body).unwrap();
    match column.protocol {
        Protocol::OpenaiChat => Ok((forward(&chat_intake(&bytes)?, target)?, false)),
        protocol => {
            let adapter = adapter(protocol);
            let mut request = OpenaiChat.decode_request(&bytes)?;
            let mut fetched = false;
            for part in request.messages.iter_mut().flat_map(|message| &mut message.parts) {
                let PartKind::Media(media) = &mut part.kind else { continue };
                // The gateway fetches media before it translates.
                if matches!(media.source, Source::Url(_)) && adapter.wants_bytes(media, target) {
                    media.source = Source::Base64 { mime: "image/png".into(), data: "iVBORw0KGgo=".into() };
                    fetched = true;
                }
            }
            Ok((adapter.encode_request(&request, target)?, fetched))
        }
    }
}

fn fate(column: &Column, row: &Row) -> Fate {
    fate_of(row.name, encode(column, &row.with), || encode(column, &row.without))
}

/// The fate of the part of a request that the other request lacks.
fn fate_of(
    name: &str,
    with: Result<(Encoded, bool), Error>,
    without: impl FnOnce() -> Result<(Encoded, bool), Error>,
) -> Fate {
    let (with, is_fetched) = match with {
        Ok(found) => found,
        Err(error) => return Fate::Refused(error.message.into_owned()),
    };
    let without = without().ok().map(|(encoded, _)| encoded);
    let before = without.as_ref().map(|encoded| &encoded.losses);
    let new =
        with.losses.iter().filter(|loss| before.is_none_or(|before| !before.iter().any(|old| old == *loss)));
    let severity = |action: LossAction| match action {
        LossAction::Emulated => 0,
        LossAction::Approximated => 1,
        LossAction::Dropped => 2,
    };
    if let Some(worst) = new.max_by_key(|loss| severity(loss.action)) {
        return Fate::Lost(worst.action, worst.reason.to_string());
    }
    let is_wrapped = !with.decoding.custom_tools.is_empty() || with.decoding.json_tool.is_some();
    let was_wrapped = without.as_ref().is_some_and(|without| without.decoding.json_tool.is_some());
    if is_wrapped && !was_wrapped {
        return Fate::Silent;
    }
    let changes_nothing = without.is_some_and(|without| without.body == with.body);
    if changes_nothing {
        return if SERVED_BY_THE_GATEWAY.contains(&name) { Fate::Gateway } else { Fate::Silent };
    }
    if is_fetched { Fate::Gateway } else { Fate::Exact }
}

// ---------------------------------------------------------------------------------------------- callers'
// names

/// Formats of callers beside chat, by the column of the same format.
const CALLERS: [(&str, &str); 3] =
    [("Messages", "anthropic-messages"), ("Gemini", "gemini"), ("Responses", "openai-responses")];

/// The field of the request that a row is about.
fn field(row: &Row) -> Option<Field> {
    let part = |of| Field::Part { message: 0, part: 1, of };
    Some(match row.name {
        "role system" | "role developer" => Field::message(0),
        "messages[].name" => Field::of_message(0, MessageField::Name),
        "image, inline" | "image by URL" => part(PartField::Source(MediaKind::Image)),
        "image_url.detail" => part(PartField::Detail(MediaKind::Image)),
        "input_audio" => part(PartField::Source(MediaKind::Audio)),
        "file, inline PDF" | "file by file_id" => part(PartField::Source(MediaKind::Document)),
        "file.filename" => part(PartField::Filename),
        "cache_control" => Field::CacheMark,
        "assistant refusal" => Field::part(1, 0),
        "assistant tool_calls and their results" => Field::call(1, 0, CallField::Whole),
        "tools, function" | "tools, custom" => Field::tool(0, ToolField::Whole),
        "function.strict" => Field::tool(0, ToolField::Strict),
        "parallel_tool_calls false" => Field::ParallelToolCalls,
        "response_format json_object" => Field::Output(OutputField::Whole),
        "response_format json_schema" => Field::Output(OutputField::Schema),
        "stream" => Field::Stream,
        "n above 1" => Field::N,
        "logprobs" => Field::Logprobs,
        "top_logprobs" => Field::TopLogprobs,
        "max_tokens" | "max_completion_tokens" => Field::MaxTokens,
        "stop" => Field::Stop,
        "reasoning_effort" => Field::ReasoningEffort,
        "reasoning.max_tokens" => Field::ReasoningBudget,
        "temperature" => Field::Temperature,
        "top_p" => Field::TopP,
        "top_k" => Field::TopK,
        "frequency_penalty" => Field::FrequencyPenalty,
        "presence_penalty" => Field::PresencePenalty,
        "seed" => Field::Seed,
        "user" => Field::User,
        name if name.starts_with("tool_choice") => Field::ToolChoice,
        name if row.with.get(name).is_some() => Field::extra(name),
        _ => return None,
    })
}

/// The name of a row's field in another format of callers, taken from the request that the format's own
/// adapter writes. None where the format cannot express it.
fn name_there(column: &Column, row: &Row) -> Option<String> {
    let field = field(row)?;
    if !matches!(fate(column, row), Fate::Exact | Fate::Gateway) {
        return None;
    }
    let (encoded, _) = encode(column, &row.with).ok()?;
    let caller = wire::dialect(column.protocol)?;
    let request = caller.decode_request(&encoded.body).ok()?;
    let name = caller.name_of(&field, Some(&request)).into_owned();
    let body: Value = serde_json::from_slice(&encoded.body).ok()?;
    let head = name.split(['.', '[']).next()?;
    // Marks have one name wherever they are.
    (field == Field::CacheMark || body.get(head).is_some()).then_some(name)
}

/// A request of another format's caller as it is sent: forwarded or translated as the gateway does it.
fn encode_from(caller: &Column, column: &Column, body: &Bytes) -> Result<(Encoded, bool), Error> {
    let quirks = Quirks { takes_custom_tools: true, takes_fields: vec!["*".to_owned()], ..Quirks::default() };
    let dialect = wire::dialect(caller.protocol).unwrap();
    let intake = dialect.intake(Addressed { rest: "m:generateContent", query: "" }, body)?;
    let target = Target { model: column.model, facts: &column.facts, quirks: &quirks };
    let exchange = Exchange { dialect, intake: &intake, upstream: column.protocol, target, memory: None };
    let mut draft = exchange.draft(false)?;
    let files: Vec<MediaFile> = draft
        .media()
        .iter()
        .map(|_| MediaFile { mime: "image/png".to_owned(), data: "iVBORw0KGgo=".to_owned() })
        .collect();
    let is_fetched = !files.is_empty();
    if is_fetched {
        draft.fill(files);
    }
    let written = draft.write()?;
    Ok((Encoded { body: written.body, losses: written.losses, decoding: written.decoding }, is_fetched))
}

/// The fate of a row's field when a caller of this column's format sends the request that the format's own
/// adapter writes. None where the format cannot express it.
fn fates_from(caller: &Column, columns: &[Column], row: &Row) -> Option<Vec<Fate>> {
    let (with, _) = encode(caller, &row.with).ok()?;
    let (without, _) = encode(caller, &row.without).ok()?;
    let is_kept = caller.protocol == Protocol::OpenaiResponses && row.name == "store";
    let fate = |column: &Column| {
        let with = encode_from(caller, column, &with.body);
        // The additions of the format's own adapter are in both requests, and so are their losses.
        let field = field(row).map(|field| field.name());
        let lost = with.as_ref().ok().and_then(|(encoded, _)| {
            encoded.losses.iter().find(|loss| Some(loss.field.name()) == field).cloned()
        });
        let found = fate_of(row.name, with, || encode_from(caller, column, &without.body));
        match (found, lost) {
            // The gateway keeps answers unless the request declines it.
            (Fate::Silent, _) if is_kept => Fate::Gateway,
            (Fate::Silent, Some(loss)) => Fate::Lost(loss.action, loss.reason.to_string()),
            (found, _) => found,
        }
    };
    Some(columns.iter().map(fate).collect())
}

/// One table for each format of callers beside chat.
fn tables_of_callers(columns: &[Column], rows: &[(Row, Vec<Fate>)]) -> String {
    let mut text = String::new();
    let mut silent = Vec::new();
    for (caller, title) in CALLERS {
        let from = columns.iter().find(|column| column.title == title).unwrap();
        write!(text, "\n| {caller} |").unwrap();
        columns.iter().for_each(|column| write!(text, " {} |", column.title).unwrap());
        writeln!(text, "\n|---|{}", "---|".repeat(columns.len())).unwrap();
        for (row, _) in rows {
            let Some(name) = name_there(from, row) else { continue };
            let Some(fates) = fates_from(from, columns, row) else { continue };
            let lost = columns.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Silent);
            silent.extend(lost.map(|(column, _)| format!("{caller}: {} by {}", row.name, column.title)));
            write!(text, "| {}: `{name}` |", row.name).unwrap();
            fates.iter().for_each(|fate| write!(text, " {} |", fate.word()).unwrap());
            text.push('\n');
        }
    }
    assert!(silent.is_empty(), "lost in silence: {silent:#?}");
    text
}

/// The fields of chat under their names in the other formats.
fn names(columns: &[Column], rows: &[(Row, Vec<Fate>)]) -> String {
    let column = |title: &str| columns.iter().find(|column| column.title == title).unwrap();
    let mut text = String::from("| chat |");
    CALLERS.iter().for_each(|(caller, _)| write!(text, " {caller} |").unwrap());
    writeln!(text, "\n|---|{}", "---|".repeat(CALLERS.len())).unwrap();
    for (row, _) in rows {
        let names = CALLERS.map(|(_, title)| name_there(column(title), row));
        if names.iter().all(Option::is_none) {
            continue;
        }
        write!(text, "| {} |", row.name).unwrap();
        for name in names {
            write!(text, " {} |", name.map_or_else(|| "–".to_owned(), |name| format!("`{name}`"))).unwrap();
        }
        text.push('\n');
    }
    text
}

fn table(columns: &[Column], rows: &[(Row, Vec<Fate>)], group: &str) -> String {
    let mut text = format!("| {group} |");
    columns.iter().for_each(|column| write!(text, " {} |", column.title).unwrap());
    writeln!(text, "\n|---|{}", "---|".repeat(columns.len())).unwrap();
    for (row, fates) in rows.iter().filter(|(row, _)| row.group == group) {
        write!(text, "| {} |", row.name).unwrap();
        fates.iter().for_each(|fate| write!(text, " {} |", fate.word()).unwrap());
        text.push('\n');
    }
    text
}

fn reasons(columns: &[Column], rows: &[(Row, Vec<Fate>)]) -> String {
    let mut text = String::new();
    for (row, fates) in rows {
        let mut by_reason: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for (column, fate) in columns.iter().zip(fates) {
            if let Some(reason) = fate.reason() {
                by_reason.entry((fate.word(), reason)).or_default().push(column.title);
            }
        }
        for ((word, reason), titles) in by_reason {
            writeln!(text, "| {} | {word} | {reason} | {} |", row.name, titles.join("; ")).unwrap();
        }
    }
    text
}

fn page() -> String {
    let columns = columns();
    let fates = |row: &Row| -> Vec<Fate> { columns.iter().map(|column| fate(column, row)).collect() };
    let rows: Vec<(Row, Vec<Fate>)> = rows()
        .into_iter()
        .map(|row| {
            let fates = fates(&row);
            (row, fates)
        })
        .collect();
    let silent: Vec<String> = rows
        .iter()
        .flat_map(|(row, fates)| columns.iter().zip(fates).map(move |(column, fate)| (row, column, fate)))
        .filter(|(_, _, fate)| **fate == Fate::Silent)
        .map(|(row, column, _)| format!("{} by {}", row.name, column.title))
        .collect();
    assert!(silent.is_empty(), "lost in silence: {silent:#?}");
    let mut text = String::from(INTRODUCTION);
    for column in &columns {
        writeln!(text, "| {} | `{}` |", column.title, column.model).unwrap();
    }
    for group in ["Messages", "Tools", "Answer", "Hints"] {
        write!(text, "\n{}", table(&columns, &rows, group)).unwrap();
    }
    write!(text, "{CALLERS_TABLES}{}", tables_of_callers(&columns, &rows)).unwrap();
    write!(text, "{NAMES}{}", names(&columns, &rows)).unwrap();
    write!(
        text,
        "\n## Why\n\n| field | what | reason | where |\n|---|---|---|---|\n{}",
        reasons(&columns, &rows)
    )
    .unwrap();
    text
}

const INTRODUCTION: &str = "# What a translation loses

<!-- Written by `UPDATE_DOCS=1 cargo test -p wire losses`; a test compares it. -->

How a provider of each wire format receives each field of an OpenAI chat request; [strict.md](strict.md) describes losses. The test
that writes the tables translates a small request with and without the field. It fails if a field changes nothing and is not reported.

| term | meaning | reported as a loss |
|---|---|---|
| exact | it reaches the provider and means the same there | no |
| gateway | the gateway serves it itself (the content of a URL is fetched and sent inline), or it is in the URL | no |
| emulated | achieved by other means | yes |
| approximated | sent as the nearest equivalent | yes |
| dropped | not sent | yes |
| refused | an error, `unsupported_feature`: without it, the request would mean something else | – |

The column openai-chat is a forwarded request: the provider decides about its fields. The model of each column is assumed to have
every feature of its format (Nova: the features in the catalog) and no quirks. The quirks of single providers are in
[providers.md](providers.md).

| column | translated for |
|---|---|
";

const CALLERS_TABLES: &str = "
## Callers of other formats

The same for callers of Messages, Gemini and Responses, as far as their format can say it: chat's name of the thing, and its path in
the body that the caller sends. The column of the caller's own format is a forwarded request.
";

const NAMES: &str = "
## Names of fields in other formats

Losses and errors of callers of Messages, Gemini and Responses have the path in the body that these callers sent. The table has the
path of each field in a small request of the format; – if the format has no such field. Callers of legacy completions get the names of
chat, with `prompt` for the conversation and `logprobs` for both fields of that.

";

#[test]
#[allow(clippy::disallowed_methods, reason = "a switch of this test, not of the gateway")]
fn losses_page_is_what_the_adapters_do() {
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page,
        "docs/losses.md is out of date; UPDATE_DOCS=1 cargo test -p wire losses rewrites it"
    );
}
