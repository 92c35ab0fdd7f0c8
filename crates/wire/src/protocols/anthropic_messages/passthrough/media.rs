//! Media by URL in a raw request, for hosts that only take bytes.

use canon::{MediaKind, Target};
use serde_json::{Value, json};

use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile, MediaSlots, MediaUrl};

/// The messages of a request whose media are to be put in place of their URLs.
#[derive(Debug)]
pub(super) struct MediaUrls {
    messages: Value,
    places: Vec<Place>,
}

/// One URL.
#[derive(Debug)]
struct Place {
    /// Of the block, as a JSON pointer.
    pointer: String,
    url: MediaUrl,
}

impl MediaUrls {
    /// Every address that this host does not fetch itself; none when there is none. The API fetches `https`.
    pub(super) fn of(intake: &Intake, target: Target<'_>) -> Option<Self> {
        let raw = intake.given("messages")?;
        if !intake.mentions(raw, "url") {
            return None;
        }
        let messages: Value = serde_json::from_slice(raw).ok()?;
        let mut places = Vec::new();
        let is_wanted =
            |url: &str| is_web(url) && (target.quirks.no_media_urls || !url.starts_with("https://"));
        for (index, message) in messages.as_array()?.iter().enumerate() {
            let at = (format!("/{index}/content"), format!("messages[{index}].content"));
            find(&message["content"], at, &is_wanted, &mut places);
        }
        (!places.is_empty()).then_some(Self { messages, places })
    }
}

/// Looks through blocks; results of tools hold blocks themselves.
fn find(
    content: &Value,
    (pointer, path): (String, String),
    is_wanted: &impl Fn(&str) -> bool,
    places: &mut Vec<Place>,
) {
    for (index, block) in content.as_array().into_iter().flatten().enumerate() {
        let (pointer, path) = (format!("{pointer}/{index}"), format!("{path}[{index}]"));
        let kind = match block["type"].as_str() {
            Some("image") => MediaKind::Image,
            Some("document") => MediaKind::Document,
            Some("tool_result") => {
                find(
                    &block["content"],
                    (format!("{pointer}/content"), format!("{path}.content")),
                    is_wanted,
                    places,
                );
                continue;
            }
            _ => continue,
        };
        if let (Some("url"), Some(url)) = (block["source"]["type"].as_str(), block["source"]["url"].as_str())
            && is_wanted(url)
        {
            places.push(Place { pointer, url: MediaUrl { path, url: url.to_owned(), kind } });
        }
    }
}

impl MediaSlots for MediaUrls {
    fn urls(&self) -> Vec<MediaUrl> {
        self.places.iter().map(|place| place.url.clone()).collect()
    }

    fn fill(mut self: Box<Self>, intake: &Intake, files: Vec<MediaFile>) -> Vec<u8> {
        for (place, MediaFile { mime, data }) in self.places.iter().zip(files) {
            if let Some(block) = self.messages.pointer_mut(&place.pointer) {
                block["source"] = json!({"type": "base64", "media_type": mime, "data": data});
            }
        }
        let mut edit = intake.edit();
        edit.set("messages", self.messages.to_string().as_bytes());
        edit.write(0)
    }
}
