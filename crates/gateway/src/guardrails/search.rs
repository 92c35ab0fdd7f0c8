//! The matches of several rules in one text, in order.

use std::ops::Range;

use crate::config::guardrail::{Finder, Matcher};

/// A search in one text.
pub struct Search<'a> {
    text: &'a str,
    lanes: Vec<FinderCursor<'a>>,
}

/// One finder with its next match: each part of a text is searched once, however many matches other finders
/// have.
struct FinderCursor<'a> {
    rule: usize,
    finder: &'a Finder,
    next: Next,
}

enum Next {
    Unknown,
    At(Range<usize>),
    None,
}

impl<'a> Search<'a> {
    pub fn new(text: &'a str, rules: impl Iterator<Item = (usize, &'a Matcher)>) -> Self {
        let lane = |(rule, finder)| FinderCursor { rule, finder, next: Next::Unknown };
        let finders =
            rules.flat_map(|(rule, matcher)| matcher.finders.iter().map(move |finder| (rule, finder)));
        Self { text, lanes: finders.map(lane).collect() }
    }

    /// The first match at or after `from`, with its rule: of simultaneous ones that of the first rule.
    pub fn first(&mut self, from: usize) -> Option<(usize, Range<usize>)> {
        let mut best: Option<(usize, Range<usize>)> = None;
        for lane in &mut self.lanes {
            let is_old = match &lane.next {
                Next::Unknown => true,
                Next::At(range) => range.start < from,
                Next::None => false,
            };
            if is_old {
                lane.next = lane.finder.find_at(self.text, from).map_or(Next::None, Next::At);
            }
            if let Next::At(range) = &lane.next
                && best.as_ref().is_none_or(|(_, best)| range.start < best.start)
            {
                best = Some((lane.rule, range.clone()));
            }
        }
        best
    }
}
