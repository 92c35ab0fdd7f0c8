//! The conversation of a request as callers write it: strict where a wrong type would change the meaning, tolerant of
//! nulls and unknown fields.

use std::fmt;

use canon::Json;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// A message.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    pub role: String,
    #[serde(default)]
    pub content: Content,
    pub name: Option<String>,
    pub tool_calls: Option<Vec<ToolCall>>,
    pub function_call: Option<Function>,
    pub tool_call_id: Option<String>,
    pub refusal: Option<String>,
    pub reasoning: Option<String>,
    pub reasoning_content: Option<String>,
    pub reasoning_details: Option<Vec<ReasoningDetail>>,
    pub cache_control: Option<CacheControl>,
}

/// A string, a list of parts, or nothing.
#[derive(Debug, Default)]
pub(super) enum Content {
    #[default]
    None,
    Text(String),
    Parts(Vec<Part>),
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ContentVisitor;
        impl<'de> Visitor<'de> for ContentVisitor {
            type Value = Content;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of parts")
            }
            fn visit_unit<E: de::Error>(self) -> Result<Content, E> {
                Ok(Content::None)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Content, E> {
                Ok(Content::Text(text.to_owned()))
            }
            fn visit_string<E: de::Error>(self, text: String) -> Result<Content, E> {
                Ok(Content::Text(text))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Content, A::Error> {
                let mut parts = Vec::new();
                while let Some(part) = items.next_element()? {
                    parts.push(part);
                }
                Ok(Content::Parts(parts))
            }
        }
        deserializer.deserialize_any(ContentVisitor)
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

/// `{"url": …}`, or the URL alone as some servers take it.
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

/// A block of thinking that the caller sends back.
#[derive(Debug, Deserialize)]
pub(super) struct ReasoningDetail {
    pub text: Option<String>,
    pub summary: Option<String>,
    pub signature: Option<String>,
    pub data: Option<String>,
    pub format: Option<String>,
    pub id: Option<String>,
}

/// A tool.
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

/// A tool choice that is no word.
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

/// `response_format`.
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

/// A whole number, however it is written.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let Some(raw) = Option::<Json>::deserialize(deserializer)?.filter(|raw| !raw.is_null()) else {
        return Ok(None);
    };
    let number = crate::intake::whole(raw.as_str().as_bytes()).and_then(|number| u64::try_from(number).ok());
    number.map(Some).ok_or_else(|| de::Error::custom("it must be a whole number"))
}
