//! Media by URL in a request between equal formats, for providers that only take bytes.

use canon::MediaKind;
use serde_json::{Map, Value};

use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile, MediaSlots, MediaUrl};

/// The messages of a request whose media are to be put in place of their URLs.
#[derive(Debug)]
pub struct MediaUrls {
    messages: Vec<Value>,
    places: Vec<Place>,
}

/// One URL.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    message: usize,
    part: usize,
    url: String,
    kind: MediaKind,
}

/// Kinds of parts with the field, and the field within it, that holds a URL.
const FIELDS: [(&str, &str, MediaKind); 3] = [
    ("image_url", "url", MediaKind::Image),
    ("video_url", "url", MediaKind::Video),
    ("file", "file_data", MediaKind::Document),
];

impl MediaUrls {
    /// Every web address of media in the messages; none when there is none.
    pub fn of(intake: &Intake) -> Option<Self> {
        let json = intake.given("messages")?;
        if !FIELDS.iter().any(|(name, ..)| intake.mentions(json, name)) {
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
                    places.push(Place { message: index, part: position, url: url.to_owned(), kind });
                }
            }
        }
        (!places.is_empty()).then_some(Self { messages, places })
    }
}

impl MediaSlots for MediaUrls {
    fn urls(&self) -> Vec<MediaUrl> {
        let url = |place: &Place| MediaUrl {
            path: format!("messages[{}].content[{}]", place.message, place.part),
            url: place.url.clone(),
            kind: place.kind,
        };
        self.places.iter().map(url).collect()
    }

    fn fill(mut self: Box<Self>, intake: &Intake, files: Vec<MediaFile>) -> Vec<u8> {
        for (place, MediaFile { mime, data }) in self.places.iter().zip(files) {
            let part = &mut self.messages[place.message]["content"][place.part];
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
        let mut edit = intake.edit();
        edit.set("messages", &serde_json::to_vec(&self.messages).unwrap_or_default());
        edit.write(0)
    }
}
