//! OpenAI's annotations as Google's grounding. OpenAI counts in characters, Google in bytes.

use std::collections::HashMap;

use canon::Json;

use crate::json::{Members, make_room, push_count, push_key, push_string, push_text, push_u64, string};

/// Positions are stored for every this many characters.
const BLOCK: usize = 256;
/// How much of the answer's text may be quoted in any case; beyond that, as much as the length of the text
/// and the annotations.
const LEAST_QUOTED: usize = 64 << 10;
/// Approximate length of the text around a source, a support, or all of them.
const AROUND: usize = 96;

/// The sources of the answer, and its text, which they quote.
#[derive(Default)]
pub(super) struct Grounding {
    text: String,
    cited: Option<Box<Cited>>,
}

#[derive(Default)]
struct Cited {
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
        if let Some(cited) = &mut self.cited {
            cited.note(self.text.len(), text);
        }
        self.text.push_str(text);
    }

    /// Takes an annotation in OpenAI's format.
    pub(super) fn annotation(&mut self, annotation: &Json) {
        let citation = Members::of(annotation.as_str()).and_then(|members| members.get("url_citation"));
        let Some(citation) = citation.and_then(Members::of) else { return };
        let cited = self.cited.get_or_insert_with(|| {
            let mut cited = Cited::default();
            cited.note(0, &self.text);
            Box::new(cited)
        });
        cited.add(&citation, &self.text);
    }

    /// Approximate length of the output.
    pub(super) fn room(&self) -> usize {
        self.cited.as_ref().map_or(0, |cited| AROUND + cited.chunks.len() + cited.supports.len())
    }

    /// Appends the member, if there are sources.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        let Some(cited) = self.cited else { return };
        push_key(out, "groundingMetadata");
        out.extend_from_slice(br#"{"groundingChunks":["#);
        out.extend_from_slice(&cited.chunks);
        out.extend_from_slice(br#"],"groundingSupports":["#);
        out.extend_from_slice(&cited.supports);
        out.extend_from_slice(b"]}");
    }
}

impl Cited {
    /// More of the text, which begins at this byte.
    fn note(&mut self, start: usize, text: &str) {
        for (at, _) in text.char_indices() {
            if self.count.is_multiple_of(BLOCK) {
                self.places.push(start + at);
            }
            self.count += 1;
        }
    }

    fn add(&mut self, citation: &Members<'_>, text: &str) {
        let number = self.number(citation);
        let byte = |name: &str| {
            let count = citation.get(name).and_then(|count| count.parse().ok()).unwrap_or(0);
            self.byte(count, text)
        };
        let (start, end) = (byte("start_index"), byte("end_index"));
        self.quoted += end.saturating_sub(start);
        let is_quoted = self.quoted <= LEAST_QUOTED + text.len() + self.supports.len();
        let quoted = text.get(start..end).filter(|_| is_quoted).unwrap_or_default();
        let out = &mut self.supports;
        make_room(out, quoted.len() + AROUND);
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(br#"{"segment":{"#);
        push_count(out, "startIndex", start as u64);
        push_count(out, "endIndex", end as u64);
        if is_quoted {
            push_text(out, "text", quoted);
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
        make_room(&mut self.chunks, web.len() + AROUND);
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
    fn byte(&self, count: usize, text: &str) -> usize {
        let Some(start) = self.places.get(count / BLOCK) else { return text.len() };
        let found = text[*start..].char_indices().nth(count % BLOCK);
        found.map_or(text.len(), |(at, _)| start + at)
    }
}
