//! Sources of an answer as OpenAI's annotations. Google counts in bytes, OpenAI in characters.

use canon::{Event, Json};
use serde_json::json;

use crate::EventSink;
use crate::json::{List, room};
use crate::protocols::gemini::answer::types::{
    Citation, CitationMetadata, GroundingChunk, GroundingMetadata, GroundingSupport, Link, Segment,
};

/// The sources of the answer. They arrive with the last pieces of a stream, so the annotations wait for the
/// end.
#[derive(Default)]
pub(super) struct Citations {
    text: String,
    queries: u64,
    /// Sources, some of them without a URL.
    chunks: Vec<Option<Source>>,
    /// The supports of each source, and quoted sources, both as raw JSON lists.
    supports: Box<str>,
    quoted: Box<str>,
}

/// The location of a source.
struct Source {
    url: Box<str>,
    title: Option<Box<str>>,
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

    /// Takes sources. Later ones replace earlier ones.
    pub fn note(
        &mut self,
        grounding: Option<GroundingMetadata<'_>>,
        quoted: Option<CitationMetadata<'_>>,
    ) -> serde_json::Result<()> {
        if let Some(grounding) = grounding {
            self.queries = self.queries.max(grounding.web_search_queries.iter().count() as u64);
            if !grounding.grounding_chunks.is_empty() {
                self.chunks = sources(grounding.grounding_chunks)?;
            }
            if !grounding.grounding_supports.is_empty() {
                grounding.grounding_supports.iter().try_for_each(|support| support.map(drop))?;
                self.supports = grounding.grounding_supports.as_str().into();
            }
        }
        if let Some(quoted) = quoted.filter(|quoted| !quoted.citations.is_empty()) {
            quoted.citations.iter().try_for_each(|citation| citation.map(drop))?;
            self.quoted = quoted.citations.as_str().into();
        }
        Ok(())
    }

    /// One annotation per text and source; sources without a text apply to the whole answer.
    pub fn events(&mut self, choice: u32, events: &mut dyn EventSink) {
        let emptied = Self { queries: self.queries, ..Self::default() };
        let Self { text, chunks, supports, quoted, .. } = std::mem::replace(self, emptied);
        if supports.is_empty() && chunks.is_empty() && quoted.is_empty() {
            return;
        }
        let mut places = CharacterPositions::of(&text);
        let mut is_used = vec![false; chunks.len()];
        let mut room = room(&chunks, &supports);
        for support in List::<GroundingSupport<'_>>::of(&supports).iter().flatten() {
            let range = places.range(&support.segment);
            for index in support.grounding_chunk_indices.iter().flatten() {
                let Some(Some(source)) = chunks.get(index) else { continue };
                is_used[index] = true;
                room = room.saturating_sub(source.length());
                if room > 0 {
                    events.push(annotation(choice, range, source));
                }
            }
        }
        let whole = places.whole();
        for (source, is_used) in chunks.iter().zip(is_used) {
            if let (false, Some(source)) = (is_used, source) {
                events.push(annotation(choice, whole, source));
            }
        }
        for quoted in List::<Citation>::of(&quoted).iter().flatten() {
            let Citation { start_index, end_index, uri, title } = quoted;
            if let Some(source) = Source::of(Link { uri, title }) {
                let range = places.range(&Segment { start_index, end_index, text: None });
                events.push(annotation(choice, range, &source));
            }
        }
    }
}

impl Source {
    fn of(link: Link) -> Option<Self> {
        Some(Self { url: link.uri?.into(), title: link.title.map(Into::into) })
    }

    fn length(&self) -> usize {
        self.url.len() + self.title.as_ref().map_or(0, |title| title.len())
    }
}

fn sources(chunks: List<'_, GroundingChunk>) -> serde_json::Result<Vec<Option<Source>>> {
    let mut sources = Vec::new();
    for chunk in chunks.iter() {
        let GroundingChunk { web, retrieved_context, maps } = chunk?;
        room::push(&mut sources, web.or(retrieved_context).or(maps).and_then(Source::of));
    }
    Ok(sources)
}

/// How much of URLs and titles may be repeated in any case.
const LEAST_ROOM: usize = 64 << 10;
/// How often they may be repeated beyond that, on average.
const REPEATED: usize = 4;

/// The limit for repeated URLs and titles: a URL can have any length, and a reference to it takes two bytes.
fn room(chunks: &[Option<Source>], supports: &str) -> usize {
    let links = chunks.iter().flatten().map(Source::length).sum::<usize>();
    let supports = List::<GroundingSupport<'_>>::of(supports);
    let references = supports
        .iter()
        .flatten()
        .map(|support| support.grounding_chunk_indices.iter().count())
        .sum::<usize>();
    LEAST_ROOM + REPEATED * (links + references)
}

/// This many bytes share one count of characters.
const BLOCK: usize = 256;
/// How often the text is searched, by all searches together.
const PASSES: usize = 8;

/// Positions of pieces of the text, in characters.
struct CharacterPositions<'a> {
    text: &'a str,
    /// The number of characters before each block.
    counts: Vec<u32>,
    /// The end of the last piece that was found: the next one usually follows.
    last: usize,
    /// How many bytes may still be searched.
    left: usize,
}

impl<'a> CharacterPositions<'a> {
    fn of(text: &'a str) -> Self {
        let mut counts = Vec::with_capacity(text.len() / BLOCK + 1);
        let mut count = 0;
        for block in text.as_bytes().chunks(BLOCK) {
            counts.push(count);
            count += characters(block);
        }
        Self { text, counts, last: 0, left: PASSES * text.len() }
    }

    /// The number of characters before a byte.
    fn before(&self, byte: usize) -> usize {
        let block = (byte / BLOCK).min(self.counts.len().saturating_sub(1));
        let known = self.counts.get(block).copied().unwrap_or_default();
        (known + characters(&self.text.as_bytes()[block * BLOCK..byte])) as usize
    }

    fn whole(&self) -> (usize, usize) {
        (0, self.before(self.text.len()))
    }

    /// The range in characters. Where the bytes do not contain the expected text, it is searched for.
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

    /// Searches after the last piece, then everywhere.
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

fn annotation(choice: u32, (start, end): (usize, usize), source: &Source) -> Event {
    let Source { url, title } = source;
    let title = title.as_ref().unwrap_or(url);
    let annotation = Json::of(&json!({
        "type": "url_citation",
        "url_citation": {"start_index": start, "end_index": end, "url": url, "title": title},
    }));
    Event::Annotation { choice, annotation }
}
