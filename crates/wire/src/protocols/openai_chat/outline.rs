//! What the gateway has to know of a request before it knows who will serve it, read in one pass over the raw body
//! without copying or unescaping the conversation.

use std::borrow::Cow;

use canon::{Error, Feature, Features, Result};

use super::thoughts::mentions;
use crate::json::{Edit, Index, Kind, Scanner, Syntax, Text, is_utf8, text_of};

/// Most top-level fields that a request may have. OpenAI knows about forty.
const MAX_FIELDS: usize = 256;
/// Longest name of a model, in bytes. It is kept in health, log and records.
const MODEL_LIMIT: usize = 512;

/// The outline of a chat request: everything but the conversation itself.
#[derive(Clone, Debug)]
pub struct Outline<'a> {
    body: &'a [u8],
    fields: Index<'a>,
    has_escaped_name: bool,
    /// The model as the caller addressed it.
    pub model: Cow<'a, str>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// The caller wants a usage chunk.
    pub include_usage: bool,
    /// The caller does not want thinking text (`reasoning: {"exclude": true}`).
    pub exclude_reasoning: bool,
    /// What a provider must be able to do.
    pub needs: Features,
    /// Bytes of text in messages and tools: the basis of a token estimate. Media do not count.
    pub text_bytes: usize,
    /// Pictures, sounds and files in the prompt.
    pub media_parts: usize,
    /// Number of messages.
    pub messages: usize,
    /// The caller's limit of produced tokens.
    pub max_tokens: Option<u64>,
    /// Some message has the `developer` role.
    pub has_developer: bool,
    /// A message has a field that is neither its role nor its content nor its calls.
    pub(super) has_further_fields: bool,
    /// Some tool is given.
    pub has_tools: bool,
    /// They ask for usage: nothing has to be added for that.
    pub(super) stream_options_ask: bool,
    /// Values in tools and in the response format: what a schema takes when it is translated.
    schema_values: usize,
}

/// Most values that schemas may have where they are translated: one takes about 150 bytes then, however short its text.
/// Tools of large agents have some ten thousand.
const MOST_SCHEMA_VALUES: usize = 100_000;

impl From<Syntax> for Error {
    fn from(syntax: Syntax) -> Self {
        Error::caller(
            canon::ErrorKind::InvalidRequest,
            format!("The body is not valid JSON: expected {} at byte {}.", syntax.expected, syntax.at),
        )
    }
}

impl<'a> Outline<'a> {
    /// Reads a request. Errors name the field by its JSON path; what only the provider can judge is left to it.
    pub fn read(body: &'a [u8]) -> Result<Self> {
        if !is_utf8(body)
            && let Err(error) = std::str::from_utf8(body)
        {
            let at = error.valid_up_to();
            return Err(Syntax { at, expected: "UTF-8 text" }.into());
        }
        let mut outline = Self::empty(body);
        let mut scanner = Scanner::strict(body);
        if scanner.kind()? != Kind::Object {
            return Err(Error::invalid("", "The body must be a JSON object."));
        }
        scanner.object(|scanner, key| outline.take_field(scanner, &key))?;
        scanner.end()?;
        if let Some(at) = scanner.lone_surrogate() {
            return Err(Syntax { at, expected: "both halves of a surrogate pair" }.into());
        }
        outline.has_escaped_name = scanner.has_escaped_name();
        outline.check_required()?;
        Ok(outline)
    }

    fn empty(body: &'a [u8]) -> Self {
        Self {
            body,
            fields: Index::new(body, 12),
            has_escaped_name: false,
            model: Cow::Borrowed(""),
            stream: false,
            include_usage: false,
            exclude_reasoning: false,
            needs: Features::NONE,
            text_bytes: 0,
            media_parts: 0,
            messages: 0,
            max_tokens: None,
            has_developer: false,
            has_further_fields: false,
            has_tools: false,
            stream_options_ask: false,
            schema_values: 0,
        }
    }

    /// The raw value of a top-level field.
    pub fn field(&self, name: &str) -> Option<&'a [u8]> {
        self.fields.get(name)
    }

    /// The raw value of a top-level field that is there and not null.
    pub fn given(&self, name: &str) -> Option<&'a [u8]> {
        self.field(name).filter(|value| *value != b"null")
    }

    /// The value of a top-level string field.
    pub fn string(&self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.field(name)?;
        let mut scanner = Scanner::new(raw);
        let text = scanner.string().ok()?;
        text_of(raw, &text)
    }

    /// The value of a top-level field, read as `T`; none if it is absent, null or of another shape.
    pub fn read_as<T: serde::Deserialize<'a>>(&self, name: &str) -> Option<T> {
        serde_json::from_slice(self.given(name)?).ok()
    }

    /// The names of the top-level fields with their raw values.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.fields.iter()
    }

    /// Whether a raw part of the body mentions a name: a cheap look before a close one.
    pub(super) fn mentions(&self, raw: &[u8], name: &str) -> bool {
        self.has_escaped_name || mentions(raw, name)
    }

    /// The value of a top-level field that is a whole number, however it is written.
    pub(super) fn whole(&self, name: &str) -> Option<i64> {
        whole(self.given(name)?)
    }

    /// An error where schemas are larger than what is translated.
    pub(super) fn check_schema_size(&self) -> Result<()> {
        if self.schema_values <= MOST_SCHEMA_VALUES {
            return Ok(());
        }
        let message = format!(
            "The schemas of tools and response_format have {} values; {MOST_SCHEMA_VALUES} can be translated for this provider.",
            self.schema_values
        );
        Err(Error::invalid("tools", message))
    }

    /// An edit of the raw body.
    pub(super) fn edit(&self) -> Edit<'a> {
        self.fields.edit()
    }

    /// A rough count of the prompt's tokens: four bytes a token, and a thousand tokens for each picture or file.
    pub fn estimated_prompt_tokens(&self) -> u64 {
        (self.text_bytes as u64).div_ceil(4) + 4 * self.messages as u64 + 1000 * self.media_parts as u64
    }

    fn take_field(&mut self, scanner: &mut Scanner<'a>, key: &Text) -> Result<()> {
        let name = self.fields.name(key)?;
        if self.fields.len() == MAX_FIELDS {
            return Err(Error::invalid(
                "",
                format!("The request has more than {MAX_FIELDS} top-level fields."),
            ));
        }
        if self.fields.get(&name).is_some() {
            let message = format!("The field {name:?} is given twice.");
            return Err(Error::invalid(name.into_owned(), message));
        }
        let (start, values) = (scanner.position(), scanner.values());
        match name.as_ref() {
            "messages" => self.take_messages(scanner)?,
            "tools" => self.take_tools(scanner)?,
            _ => self.take_plain(scanner, &name)?,
        }
        if matches!(name.as_ref(), "tools" | "functions" | "response_format") {
            self.schema_values += scanner.values() - values;
        }
        let value = start..scanner.position();
        self.fields.push(name, key, value);
        Ok(())
    }

    fn take_plain(&mut self, scanner: &mut Scanner<'a>, name: &str) -> Result<()> {
        let kind = scanner.kind()?;
        let range = scanner.value()?;
        if kind == Kind::Null && name != "model" {
            return Ok(());
        }
        let raw = &self.body[range];
        check_field(name, kind, raw)?;
        match name {
            "model" => {
                let text = Scanner::new(raw).string()?;
                self.model = text_of(raw, &text)
                    .ok_or_else(|| Error::invalid("model", "The model name is not valid Unicode."))?;
                if self.model.len() > MODEL_LIMIT {
                    let message = format!("model has {} bytes; {MODEL_LIMIT} are allowed.", self.model.len());
                    return Err(Error::invalid("model", message));
                }
            }
            "stream" => self.stream = raw == b"true",
            "stream_options" => {
                self.stream_options_ask = has_true(raw, "include_usage");
                self.include_usage |= self.stream_options_ask;
            }
            // In the words of OpenRouter's clients.
            "usage" => self.include_usage |= has_true(raw, "include"),
            "reasoning" => self.exclude_reasoning = has_true(raw, "exclude"),
            "max_tokens" | "max_completion_tokens" => {
                self.max_tokens = whole(raw).and_then(|count| u64::try_from(count).ok());
            }
            "n" if number(raw).is_some_and(|count| count > 1.0) => {
                self.needs.insert(Feature::MultipleChoices)
            }
            "logprobs" if raw != b"false" => self.needs.insert(Feature::Logprobs),
            "response_format" => self.needs = self.needs.union(format_needs(raw)),
            "modalities" => self.needs = self.needs.union(modality_needs(raw)),
            "web_search_options" => self.needs.insert(Feature::WebSearch),
            _ => {}
        }
        Ok(())
    }

    fn take_messages(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        expect(scanner, Kind::Array, "messages")?;
        scanner.array(|scanner, index| {
            self.messages = index + 1;
            self.take_message(scanner, index)
        })
    }

    fn take_message(&mut self, scanner: &mut Scanner<'a>, index: usize) -> Result<()> {
        if scanner.kind()? != Kind::Object {
            return Err(Error::invalid(
                format!("messages[{index}]"),
                format!("messages[{index}] must be an object."),
            ));
        }
        let mut message = Message::default();
        scanner.object(|scanner, key| match &*self.read_name(&key) {
            b"role" => {
                message.role = Some(self.take_role(scanner, index)?);
                Ok(())
            }
            b"content" => self.take_content(scanner, index),
            b"tool_calls" => self.take_calls(scanner, index),
            name => {
                self.has_further_fields = true;
                let is_text = scanner.kind()? == Kind::String;
                message.names_call |= is_text && name == b"tool_call_id";
                message.is_named |= is_text && name == b"name";
                self.take_value(scanner)
            }
        })?;
        let path = |field: &str| format!("messages[{index}].{field}");
        match message.role {
            None => Err(Error::invalid(
                path("role"),
                format!("messages[{index}] has no role; use system, developer, user, assistant or tool."),
            )),
            Some(role) if role.answers_call() && !message.answers(role) => {
                let param = path("tool_call_id");
                let message = format!("{param} is missing; a tool message answers a call by its id.");
                Err(Error::invalid(param, message))
            }
            Some(_) => Ok(()),
        }
    }

    /// What a name says, also one with escapes.
    fn read_name(&self, name: &Text) -> Cow<'a, [u8]> {
        match text_of(self.body, name) {
            Some(Cow::Owned(name)) => Cow::Owned(name.into_bytes()),
            _ => Cow::Borrowed(&self.body[name.range.clone()]),
        }
    }

    /// A value that counts as text.
    fn take_value(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        self.text_bytes += scanner.value()?.len();
        Ok(())
    }

    fn take_role(&mut self, scanner: &mut Scanner<'a>, index: usize) -> Result<MessageRole> {
        let path = || format!("messages[{index}].role");
        if scanner.kind()? != Kind::String {
            return Err(Error::invalid(path(), format!("messages[{index}].role must be a string.")));
        }
        let role = scanner.string()?;
        match &*self.read_name(&role) {
            b"developer" => {
                self.has_developer = true;
                Ok(MessageRole::Speaks)
            }
            b"system" | b"user" | b"assistant" => Ok(MessageRole::Speaks),
            b"tool" => Ok(MessageRole::Tool),
            b"function" => Ok(MessageRole::Function),
            other => {
                let message = format!(
                    "messages[{index}].role {:?} is unknown; use system, developer, user, assistant or tool.",
                    String::from_utf8_lossy(&other[..other.len().min(40)])
                );
                Err(Error::invalid(path(), message))
            }
        }
    }

    /// The calls of an assistant: each names its tool.
    fn take_calls(&mut self, scanner: &mut Scanner<'a>, message: usize) -> Result<()> {
        if scanner.kind()? != Kind::Array {
            return self.take_value(scanner);
        }
        scanner.array(|scanner, index| {
            let start = scanner.position();
            let is_named = scanner.kind()? == Kind::Object && self.names_tool(scanner)?;
            if !is_named {
                let param = format!("messages[{message}].tool_calls[{index}].function");
                let message = format!("{param} is missing; a call names its function and its arguments.");
                return Err(Error::invalid(param, message));
            }
            self.text_bytes += scanner.position() - start;
            Ok(())
        })
    }

    /// Takes a tool or a call; true if it has a `function` or a `custom` object with a name, or is of another type.
    fn names_tool(&self, scanner: &mut Scanner<'a>) -> Result<bool> {
        let (mut is_named, mut is_other) = (false, false);
        scanner.object(|scanner, key| {
            let kind = scanner.kind()?;
            match (&*self.read_name(&key), kind) {
                (b"function" | b"custom", Kind::Object) => scanner.object(|scanner, key| {
                    is_named |= &*self.read_name(&key) == b"name" && scanner.kind()? == Kind::String;
                    scanner.value().map(drop)
                })?,
                (b"type", Kind::String) => {
                    let kind = scanner.string()?;
                    is_other = !matches!(&*self.read_name(&kind), b"function" | b"custom" | b"");
                }
                _ => {
                    scanner.value()?;
                }
            }
            Ok::<(), Syntax>(())
        })?;
        Ok(is_named || is_other)
    }

    fn take_content(&mut self, scanner: &mut Scanner<'a>, index: usize) -> Result<()> {
        match scanner.kind()? {
            Kind::String => {
                self.text_bytes += scanner.string()?.range.len();
                Ok(())
            }
            Kind::Null => Ok(scanner.value().map(drop)?),
            Kind::Array => scanner.array(|scanner, part| self.take_part(scanner, index, part)),
            kind => Err(Error::invalid(
                format!("messages[{index}].content"),
                format!(
                    "messages[{index}].content must be a string or an array of parts, not {}.",
                    kind.name()
                ),
            )),
        }
    }

    fn take_part(&mut self, scanner: &mut Scanner<'a>, message: usize, part: usize) -> Result<()> {
        let path = || format!("messages[{message}].content[{part}]");
        match scanner.kind()? {
            Kind::Object => {}
            // Some servers take bare strings as parts.
            Kind::String => {
                self.text_bytes += scanner.string()?.range.len();
                return Ok(());
            }
            kind => {
                return Err(Error::invalid(
                    path(),
                    format!("{} must be an object, not {}.", path(), kind.name()),
                ));
            }
        }
        let (mut kind, mut length) = (Cow::Borrowed(&b""[..]), 0);
        let mut given = Given::default();
        scanner.object(|scanner, key| {
            let found = scanner.kind()?;
            let start = scanner.position();
            match (&*self.read_name(&key), found) {
                (b"type", Kind::String) => {
                    kind = self.read_name(&scanner.string()?);
                    return Ok(());
                }
                (name, _) => {
                    given.note(name, found);
                    scanner.value()?;
                }
            }
            length += scanner.position() - start;
            Ok::<(), Error>(())
        })?;
        let field = match &*kind {
            b"" => return Err(Error::invalid(path(), format!("{} has no type.", path()))),
            b"text" | b"input_text" | b"output_text" => "text",
            b"refusal" => "refusal",
            b"image_url" => "image_url",
            b"video_url" => "video_url",
            b"input_audio" => "input_audio",
            b"file" => "file",
            _ => "",
        };
        if !field.is_empty() && !given.has(field) {
            let param = format!("{}.{field}", path());
            let message = format!("{param} is missing.");
            return Err(Error::invalid(param, message));
        }
        let feature = match &*kind {
            b"image_url" => Feature::Vision,
            b"input_audio" => Feature::AudioInput,
            b"file" | b"document_url" => Feature::Documents,
            b"video_url" => Feature::Video,
            _ => {
                self.text_bytes += length;
                return Ok(());
            }
        };
        self.needs.insert(feature);
        self.media_parts += 1;
        Ok(())
    }

    fn take_tools(&mut self, scanner: &mut Scanner<'a>) -> Result<()> {
        if scanner.kind()? == Kind::Null {
            scanner.value()?;
            return Ok(());
        }
        expect(scanner, Kind::Array, "tools")?;
        scanner.array(|scanner, index| {
            if scanner.kind()? != Kind::Object {
                return Err(Error::invalid(
                    format!("tools[{index}]"),
                    format!("tools[{index}] must be an object."),
                ));
            }
            self.has_tools = true;
            self.needs.insert(Feature::Tools);
            let start = scanner.position();
            if !self.names_tool(scanner)? {
                let param = format!("tools[{index}].function");
                let message = format!(
                    "tools[{index}] has no definition; it needs a type and an object of that name with at least a name."
                );
                return Err(Error::invalid(param, message));
            }
            self.text_bytes += scanner.position() - start;
            Ok(())
        })
    }

    fn check_required(&self) -> Result<()> {
        if self.model.is_empty() {
            return Err(Error::invalid(
                "model",
                "The field model is missing; name a model such as \"provider/model\".",
            ));
        }
        if self.field("messages").is_none() {
            return Err(Error::invalid("messages", "The field messages is missing."));
        }
        if self.messages == 0 {
            return Err(Error::invalid(
                "messages",
                "The field messages is empty; at least one message is needed.",
            ));
        }
        if self.field("stream_options").is_some_and(|value| value != b"null") && !self.stream {
            return Err(Error::invalid(
                "stream_options",
                "stream_options is only allowed with \"stream\": true.",
            ));
        }
        Ok(())
    }
}

/// Who speaks in a message, as far as it decides what else the message needs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MessageRole {
    Speaks,
    Tool,
    Function,
}

impl MessageRole {
    fn answers_call(self) -> bool {
        self != Self::Speaks
    }
}

#[derive(Default)]
struct Message {
    role: Option<MessageRole>,
    names_call: bool,
    is_named: bool,
}

impl Message {
    /// Legacy `function` messages name the function instead of the call.
    fn answers(&self, role: MessageRole) -> bool {
        self.names_call || self.is_named && role == MessageRole::Function
    }
}

/// Which of the fields that hold a part's content are there.
#[derive(Default)]
struct Given([bool; 6]);

impl Given {
    const NAMES: [&str; 6] = ["text", "refusal", "image_url", "video_url", "input_audio", "file"];

    fn note(&mut self, name: &[u8], kind: Kind) {
        if let Some(at) = Self::NAMES.iter().position(|known| known.as_bytes() == name) {
            self.0[at] = kind != Kind::Null;
        }
    }

    fn has(&self, name: &str) -> bool {
        Self::NAMES.iter().zip(self.0).any(|(known, given)| *known == name && given)
    }
}

fn expect(scanner: &mut Scanner<'_>, kind: Kind, path: &'static str) -> Result<()> {
    let found = scanner.kind()?;
    match found == kind {
        true => Ok(()),
        false => Err(Error::invalid(path, format!("{path} must be {}, not {}.", kind.name(), found.name()))),
    }
}

/// The kinds that a field may have, and the range of a number.
type Allowed = (&'static [Kind], Option<(f64, f64)>);

/// What a known field may be.
fn allowed(name: &str) -> Option<Allowed> {
    Some(match name {
        "model" | "user" | "reasoning_effort" | "service_tier" | "verbosity" | "prompt_cache_key"
        | "safety_identifier" => (&[Kind::String], None),
        "stream" | "parallel_tool_calls" | "store" => (&[Kind::Bool], None),
        // Some providers take a count here.
        "logprobs" => (&[Kind::Bool, Kind::Number], None),
        "stream_options" | "response_format" | "logit_bias" | "metadata" | "audio" | "prediction" => {
            (&[Kind::Object], None)
        }
        "tool_choice" => (&[Kind::String, Kind::Object], None),
        "stop" => (&[Kind::String, Kind::Array], None),
        "modalities" | "functions" => (&[Kind::Array], None),
        "max_tokens" | "max_completion_tokens" => (&[Kind::Number], Some((1.0, 9_007_199_254_740_991.0))),
        "temperature" => (&[Kind::Number], Some((0.0, 2.0))),
        "top_p" => (&[Kind::Number], Some((0.0, 1.0))),
        "presence_penalty" | "frequency_penalty" => (&[Kind::Number], Some((-2.0, 2.0))),
        "n" => (&[Kind::Number], Some((1.0, 128.0))),
        "top_logprobs" => (&[Kind::Number], Some((0.0, 20.0))),
        "seed" => (&[Kind::Number], Some((-9_223_372_036_854_775_808.0, 9_223_372_036_854_775_807.0))),
        _ => return None,
    })
}

/// Fields whose numbers are whole, however they are written.
pub(super) const WHOLE: [&str; 5] = ["max_tokens", "max_completion_tokens", "n", "top_logprobs", "seed"];

fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name)
}

/// A whole number, also one written as `100.0` or `1e2`: JSON has one kind of number.
pub(super) fn whole(raw: &[u8]) -> Option<i64> {
    /// Up to 2^53 every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = std::str::from_utf8(raw).ok()?;
    if let Ok(number) = text.parse::<i64>() {
        return Some(number);
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then_some(number as i64)
}

fn check_field(name: &str, kind: Kind, raw: &[u8]) -> Result<()> {
    let Some((kinds, range)) = allowed(name) else { return Ok(()) };
    let path = || name.to_owned();
    if !kinds.contains(&kind) {
        let wanted: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        return Err(Error::invalid(
            path(),
            format!("{name} must be {}, not {}.", wanted.join(" or "), kind.name()),
        ));
    }
    let Some((low, high)) = range else { return Ok(()) };
    let value = number(raw).unwrap_or(f64::NAN);
    if is_whole(name) && whole(raw).is_none() && (low..=high).contains(&value) {
        return Err(Error::invalid(path(), format!("{name} must be a whole number.")));
    }
    match (low..=high).contains(&value) {
        true => Ok(()),
        false => Err(Error::invalid(path(), format!("{name} must be between {low} and {high}."))),
    }
}

fn number(raw: &[u8]) -> Option<f64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// True when the object's field `name` is `true`.
fn has_true(object: &[u8], name: &str) -> bool {
    let mut found = false;
    let walked: Result<(), Syntax> = Scanner::new(object).object(|scanner, key| {
        let value = scanner.value()?;
        if text_of(object, &key).as_deref() == Some(name) {
            found = &object[value] == b"true";
        }
        Ok(())
    });
    walked.is_ok() && found
}

fn format_needs(raw: &[u8]) -> Features {
    #[derive(serde::Deserialize)]
    struct Format<'a> {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
    }
    match serde_json::from_slice::<Format<'_>>(raw) {
        Ok(format) if format.kind == "json_schema" => Features::NONE.with(Feature::JsonSchema),
        Ok(format) if format.kind == "json_object" => Features::NONE.with(Feature::JsonObject),
        _ => Features::NONE,
    }
}

fn modality_needs(raw: &[u8]) -> Features {
    let names: Vec<Cow<'_, str>> = serde_json::from_slice(raw).unwrap_or_default();
    let feature = |name: &Cow<'_, str>| match name.as_ref() {
        "audio" => Some(Feature::AudioOutput),
        "image" => Some(Feature::ImageOutput),
        _ => None,
    };
    names.iter().filter_map(feature).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (String, String) {
        let error = Outline::read(body.as_bytes()).expect_err(body);
        assert_eq!(error.status(), 400);
        (error.param_name().unwrap_or_default().into_owned(), error.message.into_owned())
    }

    #[test]
    fn reads_what_routing_needs() {
        let body = br#"{ "model":"openai/gpt-4o","messages":[{"role":"developer","content":"a\"b"},
            {"role":"user","content":[{"type":"text","text":"hello"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
            "stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":7,"tools":[{"type":"function","function":{"name":"f"}}],
            "response_format":{"type":"json_schema","json_schema":{}},"x_new":{"deep":[1]} }"#;
        let outline = Outline::read(body).unwrap();
        assert_eq!(outline.model, "openai/gpt-4o");
        assert!(outline.stream && outline.include_usage && outline.has_developer && outline.has_tools);
        assert_eq!(outline.max_tokens, Some(7));
        let needs = [Feature::Tools, Feature::Vision, Feature::JsonSchema, Feature::MultipleChoices];
        assert_eq!(outline.needs, needs.into_iter().collect());
        assert_eq!(outline.field("x_new"), Some(&br#"{"deep":[1]}"#[..]));
        assert_eq!(outline.media_parts, 1);
    }

    #[test]
    fn refuses_bad_input_by_path() {
        let ok = r#""messages":[{"role":"user","content":"x"}]"#;
        let cases = [
            (r#"{"model":"m""#.to_owned(), ""),
            ("[]".to_owned(), ""),
            (format!("{{{ok}}}"), "model"),
            (format!(r#"{{"model":null,{ok}}}"#), "model"),
            (format!(r#"{{"model":5,{ok}}}"#), "model"),
            (r#"{"model":"m"}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":[]}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":"hi"}"#.to_owned(), "messages"),
            (r#"{"model":"m","messages":["hi"]}"#.to_owned(), "messages[0]"),
            (r#"{"model":"m","messages":[{"content":"hi"}]}"#.to_owned(), "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"robot"}]}"#.to_owned(), "messages[0].role"),
            (r#"{"model":"m","messages":[{"role":"user","content":7}]}"#.to_owned(), "messages[0].content"),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[7]}]}"#.to_owned(),
                "messages[0].content[0]",
            ),
            (format!(r#"{{"model":"m",{ok},"temperature":"hot"}}"#), "temperature"),
            (format!(r#"{{"model":"m",{ok},"temperature":9}}"#), "temperature"),
            (format!(r#"{{"model":"m",{ok},"max_tokens":1e400}}"#), "max_tokens"),
            (format!(r#"{{"model":"m",{ok},"max_tokens":1.5}}"#), "max_tokens"),
            (format!(r#"{{"model":"m",{ok},"n":0}}"#), "n"),
            (format!(r#"{{"model":"m",{ok},"tools":{{}}}}"#), "tools"),
            (format!(r#"{{"model":"m",{ok},"tools":["t"]}}"#), "tools[0]"),
            (format!(r#"{{"model":"m",{ok},"model":"n"}}"#), "model"),
            (format!(r#"{{"model":"m",{ok},"m\u006fdel":"n"}}"#), "model"),
            (format!(r#"{{"model":"{}",{ok}}}"#, "m".repeat(513)), "model"),
            (format!(r#"{{"model":"m",{ok},"seed":1e30}}"#), "seed"),
            (format!(r#"{{"model":"m",{ok},"tools":[{{"type":"function"}}]}}"#), "tools[0].function"),
            (format!(r#"{{"model":"m",{ok},"metadata":{{"a":1,"\u0061":2}}}}"#), ""),
            (
                r#"{"model":"m","messages":[{"role":"tool","content":"x"}]}"#.to_owned(),
                "messages[0].tool_call_id",
            ),
            (
                r#"{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"c"}]}]}"#.to_owned(),
                "messages[0].tool_calls[0].function",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#.to_owned(),
                "messages[0].content[0].image_url",
            ),
            (r#"{"model":"m","messages":[{"role":"user","content":"\ud83d"}]}"#.to_owned(), ""),
            (format!(r#"{{"model":"m",{ok},"stream_options":{{}}}}"#), "stream_options"),
        ];
        for (body, param) in cases {
            let (found, message) = refusal(&body);
            assert_eq!(found, param, "{body}");
            assert!(message.len() > 10 && message.ends_with('.'), "{message}");
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_no_panic() {
        let body = br#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"\u00e9\"x"}]}],"n":1}"#;
        for end in 0..body.len() {
            assert!(Outline::read(&body[..end]).is_err(), "{end}");
        }
        assert!(Outline::read(body).is_ok());
        assert!(Outline::read(b"{\"model\":\"\xff\"}").is_err());
    }
}
