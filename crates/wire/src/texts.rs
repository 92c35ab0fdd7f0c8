//! The texts of a request in any format: found in the raw body, and replaced there.
//!
//! Every string is a text unless it is known to be something else, so that unknown fields are checked too.
//! The exceptions are names of models, roles, types, ids, URLs, media and signatures ([`NO_TEXTS`]), fields
//! that control the answer ([`SETTINGS`]), and in tools and schemas everything but descriptions
//! ([`DESCRIPTIONS`]).

use std::borrow::Cow;
use std::fmt::Write;
use std::ops::Range;

use canon::write::push_string;

use crate::json::{Kind, Scanner, Syntax, text_of};

/// Top-level fields without texts: routing, and settings of the answer.
const SETTINGS: [&str; 84] = [
    "allowed_openai_params",
    "anthropic_beta",
    "audio",
    "background",
    "background_color",
    "best_of",
    "cachedContent",
    "cached_content",
    "cache_control",
    "chunking_strategy",
    "container",
    "context_management",
    "conversation",
    "dimensions",
    "echo",
    "embedding_types",
    "encoding_format",
    "format",
    "frequency_penalty",
    "function_call",
    "include",
    "include_reasoning",
    "inference_geo",
    "input_fidelity",
    "input_type",
    "keep_alive",
    "language",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "max_tool_calls",
    "mcp_servers",
    "metadata",
    "min_p",
    "modalities",
    "model",
    "models",
    "moderation",
    "n",
    "output_compression",
    "output_dimensionality",
    "output_format",
    "parallel_tool_calls",
    "partial_images",
    "plugins",
    "presence_penalty",
    "previous_response_id",
    "prompt_cache_key",
    "prompt_cache_retention",
    "provider",
    "quality",
    "reasoning",
    "reasoning_effort",
    "repetition_penalty",
    "response_modalities",
    "route",
    "routing",
    "safetySettings",
    "safety_identifier",
    "safety_settings",
    "seed",
    "service_tier",
    "size",
    "speed",
    "store",
    "stream",
    "stream_format",
    "stream_options",
    "style",
    "task",
    "temperature",
    "thinking",
    "toolConfig",
    "tool_choice",
    "tool_config",
    "top_k",
    "top_n",
    "top_p",
    "transforms",
    "truncation",
    "usage",
    "user",
];

/// Top-level fields in which only descriptions are texts.
const SCHEMAS: [&str; 8] = [
    "functions",
    "generationConfig",
    "generation_config",
    "options",
    "output_config",
    "response_format",
    "text",
    "tools",
];

/// In tools and schemas: fields with text for the model. Everything below them is a text.
const DESCRIPTIONS: [&str; 9] = [
    "const",
    "default",
    "description",
    "enum",
    "example",
    "examples",
    "instructions",
    "server_description",
    "title",
];

/// Top-level texts that come before the conversation. They are checked first, wherever they are in the body.
const FIRST: [&str; 4] = ["instructions", "system", "systemInstruction", "system_instruction"];

/// In the conversation: names of fields whose values are not texts.
const NO_TEXTS: [&str; 41] = [
    "cache_control",
    "call_id",
    "container_id",
    "data",
    "detail",
    "displayName",
    "encrypted_content",
    "encrypted_index",
    "file_data",
    "file_id",
    "file_uri",
    "file_url",
    "fileUri",
    "format",
    "id",
    "image_url",
    "index",
    "input_audio",
    "language",
    "media_type",
    "mediaResolution",
    "mimeType",
    "mime_type",
    "model",
    "name",
    "phase",
    "role",
    "server_label",
    "server_name",
    "service_tier",
    "signature",
    "status",
    "thoughtSignature",
    "thought_signature",
    "tool_call_id",
    "tool_name",
    "tool_use_id",
    "type",
    "uri",
    "url",
    "video_url",
];

/// Fields below which everything is a text: arguments and results of tools.
const VALUES: [&str; 4] = ["args", "arguments", "input", "response"];

/// A text and its place in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its place in the caller's terms: `messages[0].content`.
    pub path: String,
    /// With its quotes.
    range: Range<usize>,
    /// Its value may itself be JSON.
    is_json: bool,
    /// Texts before the conversation are checked first, so that counters in this order stay the same when a
    /// conversation grows.
    rank: u8,
}

/// The texts of a request's body, which is valid JSON: first those before the conversation.
pub fn of_request(body: &[u8]) -> Vec<Text> {
    let mut walk = Walk { body, path: String::new(), texts: Vec::new(), rank: 0 };
    let mut scanner = Scanner::new(body);
    let walked = scanner.object(|scanner, key| {
        let name = text_of(body, &key).unwrap_or_default();
        let (reads, rank) = match &*name {
            name if SETTINGS.contains(&name) => return scanner.value().map(drop),
            name if FIRST.contains(&name) => (Reads::Texts, 0),
            name if SCHEMAS.contains(&name) => (Reads::Descriptions, 1),
            _ => (Reads::Texts, 2),
        };
        walk.rank = rank;
        walk.below(&name, scanner, reads)
    });
    debug_assert!(walked.is_ok(), "the body was read before");
    walk.texts.sort_by_key(|text| text.rank);
    walk.texts
}

/// Every text of a value, such as the arguments of a call. None where it is not JSON.
pub fn of_value(json: &[u8]) -> Option<Vec<Text>> {
    let mut walk = Walk { body: json, path: String::new(), texts: Vec::new(), rank: 0 };
    let mut scanner = Scanner::new(json);
    walk.value(&mut scanner, Reads::All).ok()?;
    scanner.end().ok()?;
    Some(walk.texts)
}

impl Text {
    /// Its value; none where an escape is not a character.
    pub fn value<'a>(&self, body: &'a [u8]) -> Option<Cow<'a, str>> {
        string(body, self.range.clone())
    }
}

/// The replacement of a text, if any.
pub type Change<E> = Result<Option<String>, E>;

/// The body with the texts that `change` replaces; none where it replaces none. Arguments of calls that are
/// JSON in a string are changed within.
pub fn changed<E>(
    body: &[u8],
    texts: &[Text],
    change: &mut dyn FnMut(&str, &str) -> Change<E>,
) -> Result<Option<Vec<u8>>, E> {
    let mut edits: Vec<(Range<usize>, String)> = Vec::new();
    for text in texts {
        let Some(value) = text.value(body) else { continue };
        let inner = if text.is_json { of_value(value.as_bytes()) } else { None };
        let other = match inner {
            Some(inner) => {
                let mut change = |_: &str, value: &str| change(&text.path, value);
                let other = changed(value.as_bytes(), &inner, &mut change)?;
                other.and_then(|other| String::from_utf8(other).ok())
            }
            None => change(&text.path, &value)?,
        };
        edits.extend(other.map(|other| (text.range.clone(), other)));
    }
    if edits.is_empty() {
        return Ok(None);
    }
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    for (range, text) in edits {
        out.extend_from_slice(&body[at..range.start]);
        push_string(&mut out, &text);
        at = range.end;
    }
    out.extend_from_slice(&body[at..]);
    Ok(Some(out))
}

/// Which strings of a value are texts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reads {
    /// All except those under a name of [`NO_TEXTS`].
    Texts,
    /// Strings below a name of [`DESCRIPTIONS`].
    Descriptions,
    /// Every string.
    All,
}

struct Walk<'a> {
    body: &'a [u8],
    path: String,
    texts: Vec<Text>,
    rank: u8,
}

impl Walk<'_> {
    fn below(&mut self, name: &str, scanner: &mut Scanner<'_>, reads: Reads) -> Result<(), Syntax> {
        let length = self.path.len();
        if length > 0 {
            self.path.push('.');
        }
        self.path.push_str(name);
        self.value(scanner, reads)?;
        self.path.truncate(length);
        Ok(())
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, reads: Reads) -> Result<(), Syntax> {
        match scanner.kind()? {
            Kind::String if reads != Reads::Descriptions => {
                let start = scanner.position();
                scanner.string()?;
                let is_json = self.path.ends_with("arguments");
                let range = start..scanner.position();
                self.texts.push(Text { path: self.path.clone(), range, is_json, rank: self.rank });
                Ok(())
            }
            Kind::Array => scanner.array(|scanner, index| {
                let length = self.path.len();
                let _ = write!(self.path, "[{index}]");
                self.value(scanner, reads)?;
                self.path.truncate(length);
                Ok(())
            }),
            Kind::Object => {
                let mut object = Object { start: scanner.position(), has_text: None };
                let body = self.body;
                scanner.object(|scanner, key| {
                    let name = text_of(body, &key).unwrap_or_default();
                    self.member((&name, &mut object), scanner, reads)
                })
            }
            _ => scanner.value().map(drop),
        }
    }

    /// One member of an object.
    fn member(
        &mut self,
        (name, object): (&str, &mut Object),
        scanner: &mut Scanner<'_>,
        reads: Reads,
    ) -> Result<(), Syntax> {
        let is_nested = scanner.kind()? == Kind::Object;
        let reads = match reads {
            Reads::All => Reads::All,
            // A property of a schema may have this name: its schema is an object.
            Reads::Descriptions
                if DESCRIPTIONS.contains(&name) && (!is_nested || matches!(name, "default" | "const")) =>
            {
                Reads::All
            }
            Reads::Descriptions => Reads::Descriptions,
            // The plain text of a document; other sources have base64 here.
            Reads::Texts if name == "data" && object.has_text(self.body) => Reads::Texts,
            Reads::Texts if NO_TEXTS.contains(&name) => return scanner.value().map(drop),
            Reads::Texts if VALUES.contains(&name) && is_nested => Reads::All,
            Reads::Texts => Reads::Texts,
        };
        self.below(name, scanner, reads)
    }
}

/// An object whose members are being read.
struct Object {
    start: usize,
    /// Whether the object says that its data are a text. Cached, so that an object with many `data` members
    /// is searched once.
    has_text: Option<bool>,
}

impl Object {
    fn has_text(&mut self, body: &[u8]) -> bool {
        let start = self.start;
        *self.has_text.get_or_insert_with(|| {
            let mut is_text = false;
            let json = &body[start..];
            let walked = Scanner::new(json).object(|scanner, key| {
                let is_type = text_of(json, &key).is_some_and(|name| name == "type");
                let value = scanner.value()?;
                is_text |= is_type && string(json, value).as_deref() == Some("text");
                Ok::<(), Syntax>(())
            });
            walked.is_ok() && is_text
        })
    }
}

/// The string at this place; none for another type.
fn string(json: &[u8], range: Range<usize>) -> Option<Cow<'_, str>> {
    let json = &json[range];
    let text = Scanner::new(json).string().ok()?;
    text_of(json, &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(body: &str) -> Vec<String> {
        of_request(body.as_bytes()).into_iter().map(|text| text.path).collect()
    }

    /// An object is searched once, however many `data` members it has.
    #[test]
    fn many_data_members_take_linear_time() {
        let data = r#""data":"x","#.repeat(200_000);
        let body = format!(r#"{{"messages":[{{{data}"type":"other"}},{{{data}"type":"te\u0078t"}}]}}"#);
        assert_eq!(of_request(body.as_bytes()).len(), 200_000);
    }

    #[test]
    fn texts_are_found_in_every_format_and_names_are_not_texts() {
        let chat = r#"{"model":"m","messages":[{"role":"user","name":"n","content":"a"},
            {"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"u"}}]},
            {"role":"assistant","tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"type\":\"c\"}"}}]},
            {"role":"tool","tool_call_id":"1","content":"d"}],
            "tools":[{"type":"function","function":{"name":"f","description":"e","parameters":{"type":"object",
            "properties":{"description":{"type":"string","enum":["g"]}},"required":["description"]}}}],"unheard_of":"h"}"#;
        assert_eq!(
            paths(chat),
            [
                "tools[0].function.description",
                "tools[0].function.parameters.properties.description.enum[0]",
                "messages[0].content",
                "messages[1].content[0].text",
                "messages[2].tool_calls[0].function.arguments",
                "messages[3].content",
                "unheard_of",
            ]
        );
        let messages = r#"{"model":"m","messages":[{"role":"user","content":[
            {"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"}},
            {"type":"image","source":{"type":"base64","media_type":"image/png","data":"b"}},
            {"type":"tool_use","id":"1","name":"f","input":{"type":"c","id":["d"]}},
            {"type":"thinking","thinking":"e","signature":"s"}]}],"system":[{"type":"text","text":"f","cache_control":{"type":"ephemeral"}}],
            "metadata":{"user_id":"u"}}"#;
        assert_eq!(
            paths(messages),
            [
                "system[0].text",
                "messages[0].content[0].source.data",
                "messages[0].content[2].input.type",
                "messages[0].content[2].input.id[0]",
                "messages[0].content[3].thinking",
            ]
        );
        let responses = r#"{"model":"m","input":[{"type":"message","role":"user","content":"a"},
            {"type":"function_call","call_id":"1","name":"f","arguments":"{\"x\":\"b\"}"},
            {"type":"custom_tool_call","call_id":"2","name":"g","input":"c"},
            {"type":"function_call_output","call_id":"1","output":"d"}],"instructions":"e",
            "text":{"format":{"type":"json_schema","name":"n","schema":{"description":"f"}}}}"#;
        assert_eq!(
            paths(responses),
            [
                "instructions",
                "text.format.schema.description",
                "input[0].content",
                "input[1].arguments",
                "input[2].input",
                "input[3].output",
            ]
        );
        let gemini = r#"{"contents":[{"role":"user","parts":[{"text":"a"},{"inlineData":{"mimeType":"image/png","data":"x"}},
            {"functionCall":{"name":"f","args":{"id":"b"}}},{"functionResponse":{"name":"f","response":{"url":"c"}}}]}],
            "systemInstruction":{"parts":[{"text":"d"}]},"generationConfig":{"responseMimeType":"text/plain"}}"#;
        assert_eq!(
            paths(gemini),
            [
                "systemInstruction.parts[0].text",
                "contents[0].parts[0].text",
                "contents[0].parts[2].functionCall.args.id",
                "contents[0].parts[3].functionResponse.response.url",
            ]
        );
        assert_eq!(paths(r#"{"model":"m","input":["a","b"],"user":"u"}"#), ["input[0]", "input[1]"]);
        assert_eq!(
            paths(r#"{"query":"a","documents":["b",{"text":"c"}],"top_n":1}"#),
            ["query", "documents[0]", "documents[1].text"]
        );
    }

    #[test]
    fn only_texts_change_also_inside_of_arguments() {
        let body = r#"{"model":"jo","messages":[ {"role":"user","content":"say \"jo\" \u006ao"},
            {"tool_calls":[{"function":{"name":"jo","arguments":"{\"jo\": \"\\u006ao\", \"n\":1.50}"}}]}],"n":1e2}"#;
        let mut change = |_: &str, text: &str| {
            let other = text.replace("jo", "[N_1]");
            Ok::<_, ()>((other != text).then_some(other))
        };
        let texts = of_request(body.as_bytes());
        let other = changed(body.as_bytes(), &texts, &mut change).unwrap().unwrap();
        let expected = r#"{"model":"jo","messages":[ {"role":"user","content":"say \"[N_1]\" [N_1]"},
            {"tool_calls":[{"function":{"name":"jo","arguments":"{\"jo\": \"[N_1]\", \"n\":1.50}"}}]}],"n":1e2}"#;
        assert_eq!(std::str::from_utf8(&other).unwrap(), expected);
        let none = changed(body.as_bytes(), &texts, &mut |_, _| Ok::<_, ()>(None));
        assert_eq!(none, Ok(None));
    }
}
