//! Media by URL in a request between equal formats, for providers that only take bytes.

use canon::MediaKind;
use serde_json::{Map, Value};

use super::outline::Outline;
use crate::protocols::media_types::is_web;

/// The messages of a request whose media are to be put in place of their URLs.
#[derive(Debug)]
pub struct MediaUrls {
    messages: Vec<Value>,
    places: Vec<MediaUrl>,
}

/// One URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaUrl {
    /// Index of the message and of the part.
    place: (usize, usize),
    /// The URL.
    pub url: String,
    /// What it should be.
    pub kind: MediaKind,
}

impl MediaUrl {
    /// The place of the part in the request.
    pub fn path(&self) -> String {
        format!("messages[{}].content[{}]", self.place.0, self.place.1)
    }
}

/// Kinds of parts with the field, and the field within it, that holds a URL.
const FIELDS: [(&str, &str, MediaKind); 3] = [
    ("image_url", "url", MediaKind::Image),
    ("video_url", "url", MediaKind::Video),
    ("file", "file_data", MediaKind::Document),
];

impl MediaUrls {
    /// Every web address of media in the messages; none when there is none.
    pub fn of(outline: &Outline<'_>) -> Option<Self> {
        let json = outline.given("messages")?;
        if !FIELDS.iter().any(|(name, ..)| outline.mentions(json, name)) {
            return None;
        }
        let messages: Vec<Value> = serde_json::from_slice(json).ok()?;
        let mut places = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            for (position, part) in message["content"].as_array().into_iter().flatten().enumerate() {
                let url = FIELDS.iter().find_map(|(name, field, kind)| {
                    let url = part[name].as_str().or(part[name][field].as_str())?;
                    is_web(url).then_some((url, *kind))
                });
                if let Some((url, kind)) = url {
                    places.push(MediaUrl { place: (index, position), url: url.to_owned(), kind });
                }
            }
        }
        (!places.is_empty()).then_some(Self { messages, places })
    }

    /// The URLs in order.
    pub fn iter(&self) -> impl Iterator<Item = &MediaUrl> {
        self.places.iter()
    }

    /// The request with data URLs, given as MIME type and base64 in the order of the URLs.
    pub fn replaced(
        mut self,
        outline: &Outline<'_>,
        data: impl Iterator<Item = (String, String)>,
    ) -> Vec<u8> {
        for (url, (mime, data)) in self.places.iter().zip(data) {
            let part = &mut self.messages[url.place.0]["content"][url.place.1];
            let data_url = Value::String(format!("data:{mime};base64,{data}"));
            for (name, field, _) in FIELDS {
                match part.get_mut(name) {
                    Some(Value::Object(object)) => drop(object.insert(field.to_owned(), data_url.clone())),
                    Some(text @ Value::String(_)) => {
                        *text = Value::Object(Map::from_iter([(field.to_owned(), data_url.clone())]));
                    }
                    _ => {}
                }
            }
        }
        let mut edit = outline.edit();
        edit.set("messages", &serde_json::to_vec(&self.messages).unwrap_or_default());
        edit.write(0)
    }
}
