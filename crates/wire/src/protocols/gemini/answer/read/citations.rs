//! Sources of an answer as OpenAI's annotations. Google counts in bytes, OpenAI in characters.

use canon::{Event, Json};
use serde_json::json;

use crate::EventSink;
use crate::protocols::gemini::answer::types::{
    Citation, CitationMetadata, GroundingChunk, GroundingMetadata, GroundingSupport, Link, Segment,
};

/// What the answer rests on. Sources come with the last pieces of a stream, so everything waits for the end.
#[derive(Default)]
pub(super) struct Citations {
    text: String,
    queries: u64,
    chunks: Vec<GroundingChunk>,
    supports: Vec<GroundingSupport>,
    quoted: Vec<Citation>,
}

impl Citations {
    /// More of the answer's text.
    pub fn text(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// How many searches were made.
    pub fn searches(&self) -> u64 {
        self.queries
    }

    /// Sources. What comes later replaces what came before.
    pub fn note(&mut self, grounding: Option<GroundingMetadata>, quoted: Option<CitationMetadata>) {
        if let Some(grounding) = grounding {
            self.queries = self.queries.max(grounding.web_search_queries.len() as u64);
            if !grounding.grounding_chunks.is_empty() {
                self.chunks = grounding.grounding_chunks;
            }
            if !grounding.grounding_supports.is_empty() {
                self.supports = grounding.grounding_supports;
            }
        }
        if let Some(quoted) = quoted.filter(|quoted| !quoted.citations.is_empty()) {
            self.quoted = quoted.citations;
        }
    }

    /// One annotation per text and source; sources without a text stand for the whole answer.
    pub fn events(&mut self, choice: u32, events: &mut dyn EventSink) {
        let supports = std::mem::take(&mut self.supports);
        let chunks = std::mem::take(&mut self.chunks);
        if supports.is_empty() && chunks.is_empty() && self.quoted.is_empty() {
            return;
        }
        let mut places = Places::of(&self.text);
        let mut is_used = vec![false; chunks.len()];
        let mut room = room(&chunks, &supports);
        for support in &supports {
            let range = places.range(&support.segment);
            for index in &support.grounding_chunk_indices {
                let Some(link) = chunks.get(*index).and_then(link_of) else { continue };
                is_used[*index] = true;
                room = room.saturating_sub(length(link));
                if room > 0 {
                    events.push(annotation(choice, range, link));
                }
            }
        }
        let whole = places.whole();
        for (chunk, is_used) in chunks.iter().zip(is_used) {
            if let (false, Some(link)) = (is_used, link_of(chunk)) {
                events.push(annotation(choice, whole, link));
            }
        }
        for quoted in std::mem::take(&mut self.quoted) {
            if quoted.uri.is_some() {
                let link = Link { uri: quoted.uri, title: quoted.title };
                let segment =
                    Segment { start_index: quoted.start_index, end_index: quoted.end_index, text: None };
                events.push(annotation(choice, places.range(&segment), &link));
            }
        }
    }
}

/// How much of addresses and titles is repeated at least.
const LEAST_ROOM: usize = 64 << 10;
/// How often they are repeated beyond that, on average.
const REPEATED: usize = 4;

/// How much of addresses and titles the annotations may repeat: one address can be of any length, and be referred to in two
/// bytes.
fn room(chunks: &[GroundingChunk], supports: &[GroundingSupport]) -> usize {
    let links = chunks.iter().filter_map(link_of).map(length).sum::<usize>();
    let references = supports.iter().map(|support| support.grounding_chunk_indices.len()).sum::<usize>();
    LEAST_ROOM + REPEATED * (links + references)
}

fn length(link: &Link) -> usize {
    link.uri.as_ref().map_or(0, String::len) + link.title.as_ref().map_or(0, String::len)
}

/// So many bytes have one count of characters.
const BLOCK: usize = 256;
/// How often the text is looked through, together by all searches.
const PASSES: usize = 8;

/// Where pieces of the text are, in characters.
struct Places<'a> {
    text: &'a str,
    /// How many characters begin before each block.
    counts: Vec<u32>,
    /// Where the last piece ended that was looked for: the next one is usually behind it.
    last: usize,
    /// How many bytes may still be looked through.
    left: usize,
}

impl<'a> Places<'a> {
    fn of(text: &'a str) -> Self {
        let mut counts = Vec::with_capacity(text.len() / BLOCK + 1);
        let mut count = 0;
        for block in text.as_bytes().chunks(BLOCK) {
            counts.push(count);
            count += characters(block);
        }
        Self { text, counts, last: 0, left: PASSES * text.len() }
    }

    /// How many characters begin before a byte.
    fn before(&self, byte: usize) -> usize {
        let block = (byte / BLOCK).min(self.counts.len().saturating_sub(1));
        let known = self.counts.get(block).copied().unwrap_or_default();
        (known + characters(&self.text.as_bytes()[block * BLOCK..byte])) as usize
    }

    fn whole(&self) -> (usize, usize) {
        (0, self.before(self.text.len()))
    }

    /// The range in characters. Where the bytes do not hold the text that they should, the text is looked for.
    fn range(&mut self, segment: &Segment) -> (usize, usize) {
        let (start, end) = (segment.start_index, segment.end_index);
        let at_bytes = self.text.get(start..end);
        let found = match (&segment.text, at_bytes) {
            (None, Some(_)) => Some((start, end)),
            (Some(text), Some(piece)) if piece == text => Some((start, end)),
            (Some(text), _) => self.find(text),
            (None, None) => None,
        };
        match found {
            Some((start, end)) => (self.before(start), self.before(end)),
            None => self.whole(),
        }
    }

    /// Looks behind the last piece, then everywhere.
    fn find(&mut self, piece: &str) -> Option<(usize, usize)> {
        let found = self.find_from(self.last, piece).or_else(|| self.find_from(0, piece))?;
        self.last = found + piece.len();
        Some((found, self.last))
    }

    fn find_from(&mut self, start: usize, piece: &str) -> Option<usize> {
        if self.left == 0 {
            return None;
        }
        let found = self.text[start..].find(piece).map(|found| start + found);
        self.left = self.left.saturating_sub(found.unwrap_or(self.text.len()) - start);
        found
    }
}

fn characters(bytes: &[u8]) -> u32 {
    bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count() as u32
}

fn link_of(chunk: &GroundingChunk) -> Option<&Link> {
    let link = chunk.web.as_ref().or(chunk.retrieved_context.as_ref()).or(chunk.maps.as_ref())?;
    link.uri.as_ref().map(|_| link)
}

fn annotation(choice: u32, (start, end): (usize, usize), link: &Link) -> Event {
    let url = link.uri.as_deref().unwrap_or_default();
    let title = link.title.as_deref().unwrap_or(url);
    let annotation = Json::of(&json!({
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title},
    }));
    Event::Annotation { choice, annotation }
}
