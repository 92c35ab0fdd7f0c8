//! Files by web URL in a raw request, for hosts that do not fetch them for this model.
//!
//! AI Studio accepts its own files and YouTube in `fileUri`; other web URLs only for Gemini 3 and later.
//! Vertex fetches them for every model.

use canon::write::{push_key, push_text};
use canon::{MediaKind, Target};

use super::super::model::Generation;
use super::super::request::write::media::{is_read_by_provider, kind_of};
use super::super::request::write::tools::camel_case;
use super::field;
use crate::json::{Edit, Items, Members, room, string};
use crate::protocols::media_slots::{Format, RawSlots, Slot};
use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile};

/// Parts whose URL is replaced by the file.
pub(super) struct FileParts;

/// Every URL that this host does not fetch itself; none without one.
pub(super) fn file_uris(intake: &Intake, target: Target<'_>) -> Option<RawSlots<FileParts>> {
    if !target.quirks.no_web_file_uris || Generation::of(target.model).at_least(3, 0) {
        return None;
    }
    let (_, raw) = field(intake, "contents")?;
    if !intake.mentions(raw, "fileUri") && !intake.mentions(raw, "file_uri") {
        return None;
    }
    let text = std::str::from_utf8(raw).ok()?;
    let mut slots = Vec::new();
    for (index, turn) in Items::of(text).enumerate() {
        let members = Members::of(turn);
        let parts = members.as_ref().and_then(|members| members.last("parts")).unwrap_or_default();
        for (position, part) in Items::of(parts).enumerate() {
            if let Some(slot) = slot(text, part) {
                room::push(&mut slots, slot.at(index, position, None));
            }
        }
    }
    RawSlots::new(intake, text, slots, FileParts)
}

/// A member by its camel-case name, in either spelling.
fn member<'a>(members: &Members<'a>, wanted: &str) -> Option<&'a str> {
    members.iter().find(|(name, _)| camel_case(name) == wanted).map(|(_, value)| value)
}

/// The address in a part.
fn slot(text: &str, part: &str) -> Option<Slot> {
    let file = Members::of(member(&Members::of(part)?, "fileData")?)?;
    let url = member(&file, "fileUri")?;
    let is_wanted = |uri: &str| is_web(uri) && !is_read_by_provider(uri);
    string(url).filter(|url| is_wanted(url))?;
    let mime = member(&file, "mimeType").and_then(string);
    let kind = mime.map_or(MediaKind::Document, |mime| kind_of(&mime));
    Slot::new(text, part, url, kind)
}

impl Format for FileParts {
    fn field<'a>(&self, intake: &'a Intake) -> Option<&'a str> {
        field(intake, "contents").map(|(name, _)| name)
    }

    fn path(&self, message: u32, part: u32, _inner: Option<u32>) -> String {
        format!("contents[{message}].parts[{part}].fileData.fileUri")
    }

    /// The part with the file in place of its URL. Its other members stay.
    fn write(&self, given: &str, _kind: MediaKind, file: &MediaFile, out: &mut Vec<u8>) {
        let members = Members::of(given);
        let name = members.iter().flat_map(Members::iter).find(|(name, _)| camel_case(name) == "fileData");
        let Ok(mut rest) = Edit::of(given.as_bytes()) else { return out.extend_from_slice(given.as_bytes()) };
        if let Some((name, _)) = name {
            rest.remove(&name);
        }
        out.append(&mut rest.write(0));
        out.pop();
        push_key(out, "inlineData");
        out.push(b'{');
        push_text(out, "mimeType", &file.mime);
        push_text(out, "data", &file.data);
        out.extend_from_slice(b"}}");
    }
}
