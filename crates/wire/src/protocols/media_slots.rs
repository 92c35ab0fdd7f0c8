//! Media by URL in a raw request, for hosts that take only bytes: their positions, and the request with the
//! files inserted. The request is not parsed into values: it is as large as its images.

use std::ops::Range;

use canon::MediaKind;

use crate::json::string;
use crate::{Intake, MediaFile, MediaSlots, MediaUrl};

/// The position of one file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The range of the text that the file replaces.
    given: (u32, u32),
    /// The range of the URL within it, as a JSON string.
    url: (u32, u32),
    kind: MediaKind,
    /// The indexes of message and part, and of the part within a result.
    position: [u32; 3],
}

/// No part within a result.
const WHOLE: u32 = u32::MAX;

impl Slot {
    /// The place of `given`, with `url` in it as a JSON string; both are parts of `text`.
    pub(crate) fn new(text: &str, given: &str, url: &str, kind: MediaKind) -> Option<Self> {
        Some(Self { given: place(text, given)?, url: place(text, url)?, kind, position: [0, 0, WHOLE] })
    }

    /// The same as part of a message.
    pub(crate) fn at(mut self, message: usize, part: usize, inner: Option<usize>) -> Self {
        let number = |at: usize| u32::try_from(at).unwrap_or(WHOLE);
        self.position = [number(message), number(part), inner.map_or(WHOLE, number)];
        self
    }

    /// The indexes of message and part, and of the part within a result.
    fn numbers(&self) -> (u32, u32, Option<u32>) {
        let [message, part, inner] = self.position;
        (message, part, (inner != WHOLE).then_some(inner))
    }
}

/// The range of a part within a text.
fn place(text: &str, part: &str) -> Option<(u32, u32)> {
    let start = (part.as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let end = start + part.len();
    (end <= text.len()).then_some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
}

fn range((start, end): (u32, u32)) -> Range<usize> {
    start as usize..end as usize
}

/// How a format names and writes its media.
pub trait Format: Send {
    /// The field with the slots, as it is spelled in the request.
    fn field<'a>(&self, intake: &'a Intake) -> Option<&'a str>;
    /// The path of a part, from the indexes of message and part, and of the part within a result.
    fn path(&self, message: u32, part: u32, inner: Option<u32>) -> String;
    /// Appends the replacement of a slot's text.
    fn write(&self, given: &str, kind: MediaKind, file: &MediaFile, out: &mut Vec<u8>);
}

/// The slots of one request.
#[derive(Debug)]
pub struct RawSlots<F> {
    slots: Vec<Slot>,
    /// The text with the URLs, for the fetcher.
    text: bytes::Bytes,
    format: F,
}

impl<F: Format> RawSlots<F> {
    /// None without slots. `text` is the value of the field, out of the request's body.
    pub(crate) fn new(intake: &Intake, text: &str, slots: Vec<Slot>, format: F) -> Option<Self> {
        let text = intake.body().slice_ref(text.as_bytes());
        (!slots.is_empty()).then_some(Self { slots, text, format })
    }

    fn part(&self, place: (u32, u32)) -> &str {
        std::str::from_utf8(&self.text[range(place)]).unwrap_or_default()
    }
}

impl<F: Format> MediaSlots for RawSlots<F> {
    fn urls(&self) -> Vec<MediaUrl> {
        let url = |slot: &Slot| {
            let (message, part, inner) = slot.numbers();
            let url = string(self.part(slot.url)).unwrap_or_default().into_owned();
            MediaUrl { path: self.format.path(message, part, inner), url, kind: slot.kind }
        };
        self.slots.iter().map(url).collect()
    }

    fn fill(self: Box<Self>, intake: &Intake, files: Vec<MediaFile>) -> Vec<u8> {
        let more: usize = files.iter().map(|file| file.data.len() + file.mime.len() + AROUND).sum();
        let mut filled = Vec::with_capacity(self.text.len() + more);
        let mut copied = 0;
        for (slot, file) in self.slots.iter().zip(&files) {
            filled.extend_from_slice(&self.text[copied..slot.given.0 as usize]);
            self.format.write(self.part(slot.given), slot.kind, file, &mut filled);
            copied = slot.given.1 as usize;
        }
        filled.extend_from_slice(&self.text[copied..]);
        drop(files);
        let mut edit = intake.edit();
        if let Some(name) = self.format.field(intake) {
            edit.put(name.to_owned(), filled);
        }
        edit.write(0)
    }
}

/// Approximate length of the text around a file.
const AROUND: usize = 64;
