//! The conversation of a caller's request: strict where a wrong type would change the meaning, tolerant of
//! nulls and unknown fields.

use std::fmt;

use canon::Json;
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::json::{Items, string};

/// A message. Lists stay text: their items are read one by one, because together they would take many times
/// their text.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    pub role: String,
    #[serde(default, borrow)]
    pub content: Content<'a>,
    pub name: Option<String>,
    #[serde(default, borrow)]
    pub tool_calls: List<'a>,
    pub function_call: Option<Function>,
    pub tool_call_id: Option<String>,
    pub refusal: Option<String>,
    pub reasoning: Option<String>,
    pub reasoning_content: Option<String>,
    #[serde(default, borrow)]
    pub reasoning_details: List<'a>,
    pub cache_control: Option<CacheControl>,
}

/// A string, a list of parts, or nothing.
#[derive(Debug, Default)]
pub(super) enum Content<'a> {
    #[default]
    None,
    Text(String),
    Parts(List<'a>),
}

impl<'de: 'a, 'a> Deserialize<'de> for Content<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'[') => Ok(Self::Parts(List(text))),
            Some(b'"') => match string(text) {
                Some(text) => Ok(Self::Text(text.into_owned())),
                None => serde_json::from_str(text).map(Self::Text).map_err(de::Error::custom),
            },
            Some(b'n') => Ok(Self::None),
            _ => Err(de::Error::invalid_type(found(text), &"a string or a list of parts")),
        }
    }
}

/// The items of a list as text; none of `null`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct List<'a>(&'a str);

impl<'a> List<'a> {
    pub fn items(self) -> Items<'a> {
        Items::of(self.0)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for List<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <&RawValue>::deserialize(deserializer)?.get();
        match text.as_bytes().first() {
            Some(b'[') => Ok(Self(text)),
            Some(b'n') => Ok(Self::default()),
            _ => Err(de::Error::invalid_type(found(text), &"a sequence")),
        }
    }
}

/// The type of an unexpected value, in serde's terms.
fn found(json: &str) -> Unexpected<'_> {
    match json.as_bytes().first() {
        Some(b'{') => Unexpected::Map,
        Some(b'[') => Unexpected::Seq,
        Some(b'"') => Unexpected::Str(json.trim_matches('"')),
        Some(b't') => Unexpected::Bool(true),
        Some(b'f') => Unexpected::Bool(false),
        Some(b'n') => Unexpected::Unit,
        _ => match (json.parse(), json.parse()) {
            (Ok(whole), _) => Unexpected::Unsigned(whole),
            (_, Ok(whole)) => Unexpected::Signed(whole),
            _ => Unexpected::Float(json.parse().unwrap_or_default()),
        },
    }
}

/// A content part.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    #[serde(rename = "type")]
    pub kind: String,
    pub text: Option<String>,
    pub refusal: Option<String>,
    pub image_url: Option<Url>,
    pub video_url: Option<Url>,
    pub input_audio: Option<InputAudio>,
    pub file: Option<File>,
    pub cache_control: Option<CacheControl>,
}

/// `{"url": …}`, or a bare URL as some servers accept it.
#[derive(Debug)]
pub(super) struct Url {
    pub url: String,
    pub detail: Option<String>,
}

impl<'de> Deserialize<'de> for Url {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UrlVisitor;
        impl<'de> Visitor<'de> for UrlVisitor {
            type Value = Url;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a url")
            }
            fn visit_str<E: de::Error>(self, url: &str) -> Result<Url, E> {
                Ok(Url { url: url.to_owned(), detail: None })
            }
            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Url, A::Error> {
                #[derive(Deserialize)]
                struct Plain {
                    url: String,
                    detail: Option<String>,
                }
                let plain = Plain::deserialize(de::value::MapAccessDeserializer::new(map))?;
                Ok(Url { url: plain.url, detail: plain.detail })
            }
        }
        deserializer.deserialize_any(UrlVisitor)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct InputAudio {
    pub data: String,
    pub format: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub file_data: Option<String>,
    pub filename: Option<String>,
    pub file_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CacheControl {
    pub ttl: Option<String>,
}

/// A call that the model made.
#[derive(Debug, Deserialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub id: String,
    pub function: Option<Function>,
    pub custom: Option<Custom>,
    pub extra_content: Option<ExtraContent>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Function {
    pub name: String,
    pub arguments: Option<Json>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Custom {
    pub name: String,
    #[serde(default)]
    pub input: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ExtraContent {
    pub google: Option<GoogleExtra>,
}

#[derive(Debug, Deserialize)]
pub(super) struct GoogleExtra {
    pub thought_signature: Option<String>,
}

/// A block of thinking that the caller returns.
#[derive(Debug, Deserialize)]
pub(super) struct ReasoningDetail {
    pub text: Option<String>,
    pub summary: Option<String>,
    pub signature: Option<String>,
    pub data: Option<String>,
    pub format: Option<String>,
    pub id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tool {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub function: Option<FunctionTool>,
    pub custom: Option<CustomTool>,
    pub cache_control: Option<CacheControl>,
}

#[derive(Debug, Deserialize)]
pub(super) struct FunctionTool {
    pub name: String,
    pub description: Option<String>,
    pub parameters: Option<Json>,
    pub strict: Option<bool>,
}

#[derive(Debug, Deserialize)]
pub(super) struct CustomTool {
    pub name: String,
    pub description: Option<String>,
    pub format: Option<Json>,
}

/// A tool choice that is an object.
#[derive(Debug, Deserialize)]
pub(super) struct NamedChoice {
    #[serde(rename = "type", default)]
    pub kind: String,
    pub function: Option<Name>,
    pub custom: Option<Name>,
    pub allowed_tools: Option<AllowedTools>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Name {
    pub name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct AllowedTools {
    #[serde(default)]
    pub mode: String,
    #[serde(default)]
    pub tools: Vec<NamedChoice>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    pub kind: String,
    pub json_schema: Option<JsonSchema>,
}

#[derive(Debug, Deserialize)]
pub(super) struct JsonSchema {
    #[serde(default)]
    pub name: String,
    pub description: Option<String>,
    pub schema: Option<Json>,
    pub strict: Option<bool>,
}

/// `reasoning`, as OpenRouter's clients send it.
#[derive(Debug, Default, Deserialize)]
pub(super) struct ReasoningObject {
    pub effort: Option<String>,
    #[serde(default, deserialize_with = "whole")]
    pub max_tokens: Option<u64>,
    pub exclude: Option<bool>,
    pub enabled: Option<bool>,
}

/// A whole number, in any notation.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(raw) = Option::<Json>::deserialize(deserializer)?.filter(|raw| !raw.is_null()) else {
        return Ok(None);
    };
    let number = crate::intake::whole(raw.as_str().as_bytes()).and_then(|number| u64::try_from(number).ok());
    number.map(Some).ok_or_else(|| de::Error::custom("it must be a whole number"))
}
