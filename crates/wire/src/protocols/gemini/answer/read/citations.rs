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
        let mut is_used = vec![false; chunks.len()];
        for support in &supports {
            let range = self.range(&support.segment);
            for index in &support.grounding_chunk_indices {
                if let Some(link) = chunks.get(*index).and_then(link_of) {
                    is_used[*index] = true;
                    events.push(annotation(choice, range, link));
                }
            }
        }
        let whole = (0, self.text.chars().count());
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
                events.push(annotation(choice, self.range(&segment), &link));
            }
        }
    }

    /// The range in characters. Where the bytes do not hold the text that they should, the text is looked for.
    fn range(&self, segment: &Segment) -> (usize, usize) {
        let (start, end) = (segment.start_index, segment.end_index);
        let at_bytes = self.text.get(start..end);
        let found = match (&segment.text, at_bytes) {
            (None, Some(_)) => Some((start, end)),
            (Some(text), Some(piece)) if piece == text => Some((start, end)),
            (Some(text), _) => self.text.find(text.as_str()).map(|start| (start, start + text.len())),
            (None, None) => None,
        };
        let Some((start, end)) = found else { return (0, self.text.chars().count()) };
        let before = self.text[..start].chars().count();
        (before, before + self.text[start..end].chars().count())
    }
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
