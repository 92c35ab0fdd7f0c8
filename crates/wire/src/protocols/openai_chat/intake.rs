//! Reads the routing facts of a chat request, in one pass over the raw body.

use std::borrow::Cow;

use bytes::Bytes;
use canon::{Error, Feature, Features, Result};

use crate::Intake;
use crate::intake::{expect, whole};
use crate::json::{Kind, Scanner, Syntax, text_of, word};

/// Reads a request. Errors name the field by its JSON path; values that only the provider can judge are
/// passed on.
pub fn intake(body: &Bytes) -> Result<Intake> {
    let mut intake = Intake::empty(body);
    intake.scan(|intake, scanner, name| Reader { intake }.take_field(scanner, name))?;
    Reader { intake: &mut intake }.check_required()?;
    intake.conversation = intake.text("prompt_cache_key").or_else(|| intake.text("user"));
    intake.service_tier = intake.text("service_tier");
    Ok(intake)
}

struct Reader<'r> {
    intake: &'r mut Intake,
}

impl Reader<'_> {
    fn take_field(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let values = scanner.values();
        match name {
            "messages" => self.take_messages(scanner)?,
            "tools" => self.take_tools(scanner)?,
            _ => self.take_plain(scanner, name)?,
        }
        if matches!(name, "tools" | "functions" | "response_format") {
            self.intake.seen.schema_values += scanner.values() - values;
        }
        Ok(())
    }

    fn take_plain(&mut self, scanner: &mut Scanner<'_>, name: &str) -> Result<()> {
        let kind = scanner.kind()?;
        let range = scanner.value()?;
        if kind == Kind::Null && name != "model" {
            return Ok(());
        }
        let raw = &scanner.json()[range];
        check_field(name, kind, raw)?;
        match name {
            "model" => self.intake.take_model(raw)?,
            "stream" => self.intake.form.stream = raw == b"true",
            "stream_options" => {
                self.intake.seen.stream_usage = has_true(raw, "include_usage");
                self.intake.form.include_usage |= self.intake.seen.stream_usage;
            }
            // The name that OpenRouter's clients use.
            "usage" => self.intake.form.include_usage |= has_true(raw, "include"),
            "reasoning" => self.intake.form.exclude_reasoning = has_true(raw, "exclude"),
            "max_tokens" | "max_completion_tokens" => {
                self.intake.max_output_tokens = whole(raw).and_then(|count| u64::try_from(count).ok());
            }
            "n" if number(raw).is_some_and(|count| count > 1.0) => {
                self.intake.needs.insert(Feature::MultipleChoices)
            }
            "logprobs" if raw != b"false" => self.intake.needs.insert(Feature::Logprobs),
            "response_format" => self.intake.needs = self.intake.needs.union(format_needs(raw)),
            "modalities" => self.intake.needs = self.intake.needs.union(modality_needs(raw)),
            "web_search_options" => self.intake.needs.insert(Feature::WebSearch),
            _ => {}
        }
        Ok(())
    }

    fn take_messages(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        expect(scanner, Kind::Array, || "messages".to_owned())?;
        scanner.array(|scanner, index| {
            self.intake.size.messages = index + 1;
            self.take_message(scanner, index)
        })
    }

    fn take_message(&mut self, scanner: &mut Scanner<'_>, index: usize) -> Result<()> {
        if scanner.kind()? != Kind::Object {
            return Err(Error::invalid(
                format!("messages[{index}]"),
                format!("messages[{index}] must be an object."),
            ));
        }
        let mut message = Message::default();
        scanner.object(|scanner, key| match &*word(scanner.json(), &key) {
            b"role" => {
                message.role = Some(self.take_role(scanner, index)?);
                Ok(())
            }
            b"content" => self.take_content(scanner, index),
            b"tool_calls" => self.take_calls(scanner, index),
            name => {
                self.intake.seen.further_fields = true;
                let is_text = scanner.kind()? == Kind::String;
                message.names_call |= is_text && name == b"tool_call_id";
                message.is_named |= is_text && name == b"name";
                self.intake.take_text(scanner)
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

    fn take_role(&mut self, scanner: &mut Scanner<'_>, index: usize) -> Result<MessageRole> {
        let path = || format!("messages[{index}].role");
        if scanner.kind()? != Kind::String {
            return Err(Error::invalid(path(), format!("messages[{index}].role must be a string.")));
        }
        let role = scanner.string()?;
        match &*word(scanner.json(), &role) {
            b"developer" => {
                self.intake.seen.developer = true;
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
    fn take_calls(&mut self, scanner: &mut Scanner<'_>, message: usize) -> Result<()> {
        if scanner.kind()? != Kind::Array {
            return self.intake.take_text(scanner);
        }
        scanner.array(|scanner, index| {
            let start = scanner.position();
            let is_named = scanner.kind()? == Kind::Object && self.names_tool(scanner)?;
            if !is_named {
                let param = format!("messages[{message}].tool_calls[{index}].function");
                let message = format!("{param} is missing; a call names its function and its arguments.");
                return Err(Error::invalid(param, message));
            }
            self.intake.size.text_bytes += scanner.position() - start;
            Ok(())
        })
    }

    /// Takes a tool or a call; true if it has a `function` or a `custom` object with a name, or is of another
    /// type.
    fn names_tool(&self, scanner: &mut Scanner<'_>) -> Result<bool> {
        let (mut is_named, mut is_other) = (false, false);
        scanner.object(|scanner, key| {
            let kind = scanner.kind()?;
            match (&*word(scanner.json(), &key), kind) {
                (b"function" | b"custom", Kind::Object) => scanner.object(|scanner, key| {
                    is_named |= &*word(scanner.json(), &key) == b"name" && scanner.kind()? == Kind::String;
                    scanner.value().map(drop)
                })?,
                (b"type", Kind::String) => {
                    let kind = scanner.string()?;
                    is_other = !matches!(&*word(scanner.json(), &kind), b"function" | b"custom" | b"");
                }
                _ => {
                    scanner.value()?;
                }
            }
            Ok::<(), Syntax>(())
        })?;
        Ok(is_named || is_other)
    }

    fn take_content(&mut self, scanner: &mut Scanner<'_>, index: usize) -> Result<()> {
        match scanner.kind()? {
            Kind::String => {
                self.intake.size.text_bytes += scanner.string()?.range.len();
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

    fn take_part(&mut self, scanner: &mut Scanner<'_>, message: usize, part: usize) -> Result<()> {
        let path = || format!("messages[{message}].content[{part}]");
        match scanner.kind()? {
            Kind::Object => {}
            // Some servers accept bare strings as parts.
            Kind::String => {
                self.intake.size.text_bytes += scanner.string()?.range.len();
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
        let mut given = PresentFields::default();
        scanner.object(|scanner, key| {
            let found = scanner.kind()?;
            let start = scanner.position();
            match (&*word(scanner.json(), &key), found) {
                (b"type", Kind::String) => {
                    kind = word(scanner.json(), &scanner.string()?);
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
                self.intake.size.text_bytes += length;
                return Ok(());
            }
        };
        self.intake.needs.insert(feature);
        self.intake.size.media_parts += 1;
        Ok(())
    }

    fn take_tools(&mut self, scanner: &mut Scanner<'_>) -> Result<()> {
        if scanner.kind()? == Kind::Null {
            scanner.value()?;
            return Ok(());
        }
        expect(scanner, Kind::Array, || "tools".to_owned())?;
        scanner.array(|scanner, index| {
            if scanner.kind()? != Kind::Object {
                return Err(Error::invalid(
                    format!("tools[{index}]"),
                    format!("tools[{index}] must be an object."),
                ));
            }
            self.intake.seen.tools = true;
            self.intake.needs.insert(Feature::Tools);
            let start = scanner.position();
            if !self.names_tool(scanner)? {
                let param = format!("tools[{index}].function");
                let message = format!(
                    "tools[{index}] has no definition; it needs a type and an object of that name with at least a name."
                );
                return Err(Error::invalid(param, message));
            }
            self.intake.size.text_bytes += scanner.position() - start;
            Ok(())
        })
    }

    fn check_required(&self) -> Result<()> {
        if self.intake.model.is_empty() {
            return Err(Error::invalid(
                "model",
                "The field model is missing; name a model such as \"provider/model\".",
            ));
        }
        if self.intake.field("messages").is_none() {
            return Err(Error::invalid("messages", "The field messages is missing."));
        }
        if self.intake.size.messages == 0 {
            return Err(Error::invalid(
                "messages",
                "The field messages is empty; at least one message is needed.",
            ));
        }
        if self.intake.field("stream_options").is_some_and(|value| value != b"null")
            && !self.intake.form.stream
        {
            return Err(Error::invalid(
                "stream_options",
                "stream_options is only allowed with \"stream\": true.",
            ));
        }
        Ok(())
    }
}

/// The role of a message, as far as other required fields depend on it.
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

/// The content fields that a part has.
#[derive(Default)]
struct PresentFields([bool; 6]);

impl PresentFields {
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

/// The allowed kinds of a field, and the range of a number.
type Allowed = (&'static [Kind], Option<(f64, f64)>);

/// The allowed values of a known field.
fn allowed(name: &str) -> Option<Allowed> {
    Some(match name {
        "model" | "user" | "reasoning_effort" | "service_tier" | "verbosity" | "prompt_cache_key"
        | "safety_identifier" => (&[Kind::String], None),
        "stream" | "parallel_tool_calls" | "store" => (&[Kind::Bool], None),
        // Some providers accept a count here.
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

/// Fields with whole numbers, in any notation.
pub(super) const WHOLE: [&str; 5] = ["max_tokens", "max_completion_tokens", "n", "top_logprobs", "seed"];

fn is_whole(name: &str) -> bool {
    WHOLE.contains(&name)
}

pub(crate) fn check_field(name: &str, kind: Kind, raw: &[u8]) -> Result<()> {
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
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(Error::invalid(path(), format!("{name} must be between {low} and {high}.")))
    }
}

fn number(raw: &[u8]) -> Option<f64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

/// True when the object's field `name` is `true`.
pub(crate) fn has_true(object: &[u8], name: &str) -> bool {
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

    fn read(body: &[u8]) -> Result<Intake> {
        intake(&Bytes::copy_from_slice(body))
    }

    fn refusal(body: &str) -> (String, String) {
        let error = read(body.as_bytes()).expect_err(body);
        assert_eq!(error.status(), 400);
        (error.param_name().unwrap_or_default().into_owned(), error.message.into_owned())
    }

    #[test]
    fn facts_for_routing_are_read() {
        let body = br#"{ "model":"openai/gpt-4o","messages":[{"role":"developer","content":"a\"b"},
            {"role":"user","content":[{"type":"text","text":"hello"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA"}}]}],
            "stream":true,"stream_options":{"include_usage":true},"n":2,"max_tokens":7,"tools":[{"type":"function","function":{"name":"f"}}],
            "response_format":{"type":"json_schema","json_schema":{}},"x_new":{"deep":[1]} }"#;
        let taken = read(body).unwrap();
        assert_eq!(taken.model, "openai/gpt-4o");
        assert!(taken.form.stream && taken.form.include_usage && taken.seen.developer && taken.seen.tools);
        assert_eq!(taken.max_output_tokens, Some(7));
        let needs = [Feature::Tools, Feature::Vision, Feature::JsonSchema, Feature::MultipleChoices];
        assert_eq!(taken.needs, needs.into_iter().collect());
        assert_eq!(taken.field("x_new"), Some(&br#"{"deep":[1]}"#[..]));
        assert_eq!(taken.size.media_parts, 1);
    }

    #[test]
    fn invalid_input_is_refused_with_its_path() {
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
            assert!(read(&body[..end]).is_err(), "{end}");
        }
        assert!(read(body).is_ok());
        assert!(read(b"{\"model\":\"\xff\"}").is_err());
    }
}
