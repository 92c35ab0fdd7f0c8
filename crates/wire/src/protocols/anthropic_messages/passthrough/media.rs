//! Media by URL in a raw request, for hosts that take only bytes.

use canon::write::push_text;
use canon::{MediaKind, Target};

use crate::json::{Items, Members, room, string};
use crate::protocols::media_slots::{Format, RawSlots, Slot};
use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile};

/// Media sources whose URLs are replaced by bytes.
pub(super) struct Sources;

/// Every URL that this host does not fetch itself; none without one. The API fetches `https`.
pub(super) fn media_urls(intake: &Intake, target: Target<'_>) -> Option<RawSlots<Sources>> {
    let raw = intake.non_null("messages")?;
    if !intake.mentions(raw, "url") {
        return None;
    }
    let text = std::str::from_utf8(raw).ok()?;
    let is_wanted = |url: &str| is_web(url) && (target.quirks.no_media_urls || !url.starts_with("https://"));
    let search = Search { text, is_wanted: &is_wanted };
    let mut slots = Vec::new();
    for (index, message) in Items::of(text).enumerate() {
        let members = Members::of(message);
        let content = members.as_ref().and_then(|members| members.last("content")).unwrap_or_default();
        for (position, block) in Items::of(content).enumerate() {
            search.block(block, &mut |slot, inner| {
                room::push(&mut slots, slot.at(index, position, inner));
            });
        }
    }
    RawSlots::new(intake, text, slots, Sources)
}

struct Search<'a> {
    text: &'a str,
    is_wanted: &'a dyn Fn(&str) -> bool,
}

impl Search<'_> {
    /// Searches a block; results of tools contain blocks themselves.
    fn block(&self, block: &str, found: &mut dyn FnMut(Slot, Option<usize>)) {
        let Some(members) = Members::of(block) else { return };
        let kind = match kind_of(&members).as_deref() {
            Some("tool_result") => {
                let content = members.last("content").unwrap_or_default();
                for (inner, block) in Items::of(content).enumerate() {
                    self.block(block, &mut |slot, _| found(slot, Some(inner)));
                }
                return;
            }
            Some("image") => MediaKind::Image,
            Some("document") => MediaKind::Document,
            _ => return,
        };
        let Some(given) = members.last("source") else { return };
        let Some(source) = Members::of(given).filter(|source| kind_of(source).as_deref() == Some("url"))
        else {
            return;
        };
        let url = source.last("url").filter(|url| string(url).is_some_and(|url| (self.is_wanted)(&url)));
        if let Some(slot) = url.and_then(|url| Slot::new(self.text, given, url, kind)) {
            found(slot, None);
        }
    }
}

fn kind_of<'a>(members: &Members<'a>) -> Option<std::borrow::Cow<'a, str>> {
    string(members.last("type")?)
}

impl Format for Sources {
    fn field<'a>(&self, _intake: &'a Intake) -> Option<&'a str> {
        Some("messages")
    }

    fn path(&self, message: u32, part: u32, inner: Option<u32>) -> String {
        match inner {
            None => format!("messages[{message}].content[{part}]"),
            Some(inner) => format!("messages[{message}].content[{part}].content[{inner}]"),
        }
    }

    fn write(&self, _given: &str, _kind: MediaKind, file: &MediaFile, out: &mut Vec<u8>) {
        out.extend_from_slice(br#"{"type":"base64""#);
        push_text(out, "media_type", &file.mime);
        push_text(out, "data", &file.data);
        out.push(b'}');
    }
}
