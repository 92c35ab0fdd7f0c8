//! Media by URL in a request between equal formats, for providers that take only bytes.

use std::borrow::Cow;

use canon::MediaKind;

use crate::json::{Edit, Items, Members, push_key, push_string, room, string};
use crate::protocols::media_slots::{Format, RawSlots, Slot};
use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile};

/// The parts of a request whose media URLs are replaced.
pub type MediaUrls = RawSlots<Parts>;

/// The parts of chat's messages.
#[derive(Debug)]
pub struct Parts;

/// Kinds of parts with the field, and the field within it, that holds a URL.
const FIELDS: [(&str, &str, MediaKind); 3] = [
    ("image_url", "url", MediaKind::Image),
    ("video_url", "url", MediaKind::Video),
    ("file", "file_data", MediaKind::Document),
];

impl MediaUrls {
    /// Every web URL of media in the messages; none without one.
    pub fn of(intake: &Intake) -> Option<Self> {
        let json = intake.non_null("messages")?;
        if !FIELDS.iter().any(|(name, ..)| intake.mentions(json, name)) {
            return None;
        }
        let text = std::str::from_utf8(json).ok()?;
        let mut slots = Vec::new();
        for (index, message) in Items::of(text).enumerate() {
            let members = Members::of(message);
            let content = members.as_ref().and_then(|members| members.last("content")).unwrap_or_default();
            for (position, part) in Items::of(content).enumerate() {
                if let Some(slot) = slot(text, part) {
                    room::push(&mut slots, slot.at(index, position, None));
                }
            }
        }
        Self::new(intake, text, slots, Parts)
    }
}

fn slot(text: &str, part: &str) -> Option<Slot> {
    let members = Members::of(part)?;
    FIELDS.iter().find_map(|(name, field, kind)| {
        let given = members.last(name)?;
        let url = if given.starts_with('"') { given } else { Members::of(given)?.last(field)? };
        string(url).filter(|url| is_web(url)).and_then(|_| Slot::new(text, given, url, *kind))
    })
}

impl Format for Parts {
    fn field<'a>(&self, _intake: &'a Intake) -> Option<&'a str> {
        Some("messages")
    }

    fn path(&self, message: u32, part: u32, _inner: Option<u32>) -> String {
        format!("messages[{message}].content[{part}]")
    }

    fn write(&self, given: &str, kind: MediaKind, file: &MediaFile, out: &mut Vec<u8>) {
        let field = FIELDS.iter().find(|(.., known)| *known == kind).map_or("url", |(_, field, _)| field);
        let url = format!("data:{};base64,{}", file.mime, file.data);
        if let Ok(mut edit) = Edit::of(given.as_bytes()) {
            let mut value = Vec::with_capacity(url.len() + 2);
            push_string(&mut value, &url);
            edit.put(Cow::Borrowed(field), value);
            return out.append(&mut edit.write(0));
        }
        out.push(b'{');
        push_key(out, field);
        push_string(out, &url);
        out.push(b'}');
    }
}
