//! Files by web address in a raw request, for hosts that fetch none for this model.
//!
//! AI Studio takes its own files and YouTube in `fileUri`; other web addresses only for Gemini 3 and later. Vertex fetches them
//! for every model.

use canon::{MediaKind, Target};
use serde_json::{Value, json};

use super::super::model::Generation;
use super::super::request::write::media::{is_read_by_provider, kind_of};
use super::super::request::write::tools::camel_case;
use super::field;
use crate::protocols::media_types::is_web;
use crate::{Intake, MediaFile, MediaSlots, MediaUrl};

/// The turns of a request whose files are to be put in place of their addresses.
#[derive(Debug)]
pub(super) struct FileUris {
    contents: Value,
    places: Vec<Place>,
}

/// One address.
#[derive(Debug)]
struct Place {
    /// Of the part, as a JSON pointer.
    pointer: String,
    /// The name of `fileData` there, in either spelling.
    name: String,
    url: MediaUrl,
}

impl FileUris {
    /// Every address that this host does not fetch itself; none when there is none.
    pub(super) fn of(intake: &Intake, target: Target<'_>) -> Option<Self> {
        if !target.quirks.no_web_file_uris || Generation::of(target.model).at_least(3, 0) {
            return None;
        }
        let (_, raw) = field(intake, "contents")?;
        if !intake.mentions(raw, "fileUri") && !intake.mentions(raw, "file_uri") {
            return None;
        }
        let contents: Value = serde_json::from_slice(raw).ok()?;
        let mut places = Vec::new();
        for (turn, content) in contents.as_array()?.iter().enumerate() {
            for (position, part) in content["parts"].as_array().into_iter().flatten().enumerate() {
                places.extend(place(part, turn, position));
            }
        }
        (!places.is_empty()).then_some(Self { contents, places })
    }
}

/// The address in a part.
fn place(part: &Value, turn: usize, position: usize) -> Option<Place> {
    let member = |object: &Value, wanted: &str| -> Option<(String, Value)> {
        let found = object.as_object()?.iter().find(|(name, _)| camel_case(name) == wanted)?;
        Some((found.0.clone(), found.1.clone()))
    };
    let (name, file) = member(part, "fileData")?;
    let (_, uri) = member(&file, "fileUri")?;
    let url = uri.as_str().filter(|uri| is_web(uri) && !is_read_by_provider(uri))?.to_owned();
    let kind = match member(&file, "mimeType").and_then(|(_, mime)| Some(kind_of(mime.as_str()?))) {
        Some(kind) => kind,
        None => MediaKind::Document,
    };
    let path = format!("contents[{turn}].parts[{position}].fileData.fileUri");
    Some(Place { pointer: format!("/{turn}/parts/{position}"), name, url: MediaUrl { path, url, kind } })
}

impl MediaSlots for FileUris {
    fn urls(&self) -> Vec<MediaUrl> {
        self.places.iter().map(|place| place.url.clone()).collect()
    }

    fn fill(mut self: Box<Self>, intake: &Intake, files: Vec<MediaFile>) -> Vec<u8> {
        for (place, MediaFile { mime, data }) in self.places.iter().zip(files) {
            if let Some(Value::Object(part)) = self.contents.pointer_mut(&place.pointer) {
                part.remove(&place.name);
                part.insert("inlineData".to_owned(), json!({"mimeType": mime, "data": data}));
            }
        }
        let mut edit = intake.edit();
        if let Some((name, _)) = field(intake, "contents") {
            edit.set(name.to_owned(), self.contents.to_string().as_bytes());
        }
        edit.write(0)
    }
}
