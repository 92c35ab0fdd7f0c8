//! What of a caller's messages and tools has no place in a canonical request: found by name, in one pass over the text of
//! each.

use std::fmt;

use canon::Losses;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Which object is looked at.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A message.
    Message,
    /// A tool.
    Tool,
    Part,
    Function,
}

impl Shape {
    /// The fields that are read.
    fn knows(self, name: &str) -> bool {
        let known: &[&str] = match self {
            Self::Message => &[
                "role",
                "content",
                "name",
                "tool_calls",
                "function_call",
                "tool_call_id",
                "refusal",
                "reasoning",
                "reasoning_content",
                "reasoning_details",
                "cache_control",
            ],
            Self::Part => {
                &["type", "text", "refusal", "image_url", "video_url", "input_audio", "file", "cache_control"]
            }
            Self::Tool => &["type", "function", "custom", "cache_control"],
            Self::Function => &["name", "description", "parameters", "strict"],
        };
        known.contains(&name)
    }

    /// True unless the object passes whole, as tools do that are neither functions nor of free text.
    pub(super) fn is_read(self, raw: &RawValue) -> bool {
        #[derive(serde::Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow)]
            kind: Option<std::borrow::Cow<'a, str>>,
        }
        let kind = |raw: &RawValue| {
            serde_json::from_str::<Kind<'_>>(raw.get()).ok()?.kind.map(|kind| kind.into_owned())
        };
        match self {
            Self::Tool => matches!(kind(raw).as_deref(), None | Some("" | "function" | "custom")),
            _ => true,
        }
    }

    /// What is inside of a field.
    fn inside(self, name: &str) -> Option<Self> {
        match (self, name) {
            (Self::Message, "content") => Some(Self::Part),
            (Self::Tool, "function") => Some(Self::Function),
            _ => None,
        }
    }
}

/// Reports the fields of an object that nobody reads.
pub(super) fn note(raw: &RawValue, shape: Shape, path: String, losses: &mut Losses) {
    let mut deserializer = serde_json::Deserializer::from_str(raw.get());
    // The object was understood before: nothing is left to complain about.
    let _ = Walk { shape, path, losses }.deserialize(&mut deserializer);
}

struct Walk<'a> {
    shape: Shape,
    path: String,
    losses: &'a mut Losses,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, a list of objects, or text")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            if let Some(shape) = self.shape.inside(&name) {
                let path = format!("{}.{name}", self.path);
                map.next_value_seed(Walk { shape, path, losses: self.losses })?;
            } else if self.shape.knows(&name) {
                map.next_value::<IgnoredAny>()?;
            } else {
                let value: &RawValue = map.next_value()?;
                if !matches!(value.get(), "null" | "[]" | "{}" | "\"\"") {
                    let reason = "Only the provider's own format has such a field.";
                    self.losses.dropped(format!("{}.{name}", self.path), reason);
                }
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut index = 0;
        loop {
            let path = format!("{}[{index}]", self.path);
            let walk = Walk { shape: self.shape, path, losses: &mut *self.losses };
            if items.next_element_seed(walk)?.is_none() {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_str<E>(self, _text: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}
