//! OpenAI's annotations as Google's grounding. OpenAI counts in characters, Google in bytes.

use std::collections::HashMap;

use canon::Json;

use crate::json::{Members, push_count, push_key, push_string, push_text, push_u64, string};

/// Positions are stored for every this many characters.
const BLOCK: usize = 256;
/// How much of the answer's text may be quoted in any case; beyond that, as much as the length of the text
/// and the annotations.
const LEAST_QUOTED: usize = 64 << 10;

/// The sources of the answer.
#[derive(Default)]
pub(super) struct Grounding {
    text: String,
    /// The number of characters in the text.
    count: usize,
    /// The byte positions of every [`BLOCK`]th character.
    places: Vec<usize>,
    /// The number of each source.
    numbers: HashMap<String, usize>,
    /// Sources and their supports, as JSON separated by commas.
    chunks: Vec<u8>,
    supports: Vec<u8>,
    quoted: usize,
}

impl Grounding {
    /// More of the answer's text.
    pub(super) fn text(&mut self, text: &str) {
        let start = self.text.len();
        for (at, _) in text.char_indices() {
            if self.count.is_multiple_of(BLOCK) {
                self.places.push(start + at);
            }
            self.count += 1;
        }
        self.text.push_str(text);
    }

    /// Takes an annotation in OpenAI's format.
    pub(super) fn annotation(&mut self, annotation: &Json) {
        let citation = Members::of(annotation.as_str()).and_then(|members| members.get("url_citation"));
        let Some(citation) = citation.and_then(Members::of) else { return };
        let number = self.number(&citation);
        let byte = |name: &str| {
            let count = citation.get(name).and_then(|count| count.parse().ok()).unwrap_or(0);
            self.byte(count)
        };
        let (start, end) = (byte("start_index"), byte("end_index"));
        self.quoted += end.saturating_sub(start);
        let is_quoted = self.quoted <= LEAST_QUOTED + self.text.len() + self.supports.len();
        let out = &mut self.supports;
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"segment":{"#);
        push_count(out, "startIndex", start as u64);
        push_count(out, "endIndex", end as u64);
        if is_quoted {
            push_text(out, "text", self.text.get(start..end).unwrap_or_default());
        }
        out.extend_from_slice(br#"},"groundingChunkIndices":["#);
        push_u64(out, number as u64);
        out.extend_from_slice(b"]}");
    }

    /// The index of a source, which is written when it is new.
    fn number(&mut self, citation: &Members<'_>) -> usize {
        let mut web = vec![b'{'];
        for (from, to) in [("url", "uri"), ("title", "title")] {
            push_key(&mut web, to);
            match citation.get(from).and_then(string) {
                Some(text) => push_string(&mut web, &text),
                None => web.extend_from_slice(b"null"),
            }
        }
        web.push(b'}');
        let web = String::from_utf8(web).unwrap_or_default();
        let next = self.numbers.len();
        if let Some(known) = self.numbers.get(&web) {
            return *known;
        }
        if next > 0 {
            self.chunks.push(b',');
        }
        self.chunks.extend_from_slice(br#"{"web":"#);
        self.chunks.extend_from_slice(web.as_bytes());
        self.chunks.push(b'}');
        self.numbers.insert(web, next);
        next
    }

    /// The byte position of a character.
    fn byte(&self, count: usize) -> usize {
        let Some(start) = self.places.get(count / BLOCK) else { return self.text.len() };
        let found = self.text[*start..].char_indices().nth(count % BLOCK);
        found.map_or(self.text.len(), |(at, _)| start + at)
    }

    /// Appends the member, if there are sources.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        if self.chunks.is_empty() {
            return;
        }
        push_key(out, "groundingMetadata");
        out.extend_from_slice(br#"{"groundingChunks":["#);
        out.extend_from_slice(&self.chunks);
        out.extend_from_slice(br#"],"groundingSupports":["#);
        out.extend_from_slice(&self.supports);
        out.extend_from_slice(b"]}");
    }
}
