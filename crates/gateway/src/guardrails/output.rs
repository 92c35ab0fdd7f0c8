//! Answers: the events of a stream and of a whole answer are checked the same way.
//!
//! The end of each text is held back for the maximum length of a match, so that the matches do not depend on
//! how the text is split. The arguments of a call are checked when they are complete, within their JSON.
//! After that other servers are asked, if a rule says so: about the whole of a whole answer, and in a stream
//! about each [`ASKED_BYTES`], with the end of the previous question as context. Finally the placeholders of
//! the request are replaced by their originals.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use canon::{Error, ErrorKind, Event, Json, ReasoningDetail, Result};
use memchr::memchr;
use wire::{EventFilter, EventSink, texts};

use super::search::Search;
use super::{Direction, Guard};

/// This much of a stream is collected before a server is asked about it.
const ASKED_BYTES: usize = 2048;
/// This much of the previous question is repeated as context.
const CONTEXT_BYTES: usize = 256;
/// Most bytes of events that are held back. Models' answers are far shorter.
const MOST_HELD: usize = 16 << 20;

/// A text of an answer that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Text,
    Refusal,
    Reasoning(u32, &'static str),
}

type Key = (u32, Kind);

/// A text in progress.
#[derive(Default)]
struct Channel {
    /// Undecided text, after a little decided text: the surrounding characters decide whether a word begins.
    text: String,
    /// Text from here on has not been passed on.
    given: usize,
    /// Text from here on has not been checked by the refusing rules.
    passed: usize,
}

#[derive(Default)]
struct Call {
    text: String,
    is_free_text: bool,
}

/// An item that the rules have let through.
enum Item {
    Piece(Key, String),
    /// The text ends.
    End(Key),
    Arguments {
        choice: u32,
        index: u32,
        text: String,
        is_free_text: bool,
    },
    Event(Event),
}

/// A question to a server.
struct PendingCheck {
    word: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
    /// The number of held items that the question covers.
    items: usize,
}

pub struct OutputFilter {
    guard: Arc<Guard>,
    /// This many of a text's last bytes are held back.
    window: usize,
    has_rules: bool,
    has_checks: bool,
    channels: BTreeMap<Key, Channel>,
    calls: BTreeMap<(u32, u32), Call>,
    /// The end of a text that may become a placeholder.
    opened: BTreeMap<Key, String>,
    /// Items that wait for a server's answer.
    held: Vec<Item>,
    held_bytes: usize,
    /// The texts that no server was asked about yet.
    unasked: String,
    /// The end of the previous question.
    context: String,
    asking: Option<PendingCheck>,
    is_ended: bool,
}

impl Guard {
    /// The filter of the answer; none without rules for answers.
    pub fn filter(self: &Arc<Self>) -> Option<Box<dyn EventFilter>> {
        let way = Direction::Output;
        let window = self.finding(way).map(|(_, matcher)| matcher.window).max();
        let has_checks = self.asking(way).next().is_some();
        if window.is_none() && !has_checks && self.state().placeholders.is_empty() {
            return None;
        }
        Some(Box::new(OutputFilter {
            guard: self.clone(),
            window: window.unwrap_or(0),
            has_rules: window.is_some(),
            has_checks,
            channels: BTreeMap::new(),
            calls: BTreeMap::new(),
            opened: BTreeMap::new(),
            held: Vec::new(),
            held_bytes: 0,
            unasked: String::new(),
            context: String::new(),
            asking: None,
            is_ended: false,
        }))
    }
}

impl EventFilter for OutputFilter {
    fn push(&mut self, event: Event, events: &mut dyn EventSink) -> Result<()> {
        match event {
            Event::Text { choice, text } => self.piece((choice, Kind::Text), text, events),
            Event::Refusal { choice, text } => self.piece((choice, Kind::Refusal), text, events),
            Event::Reasoning { choice, block, detail: ReasoningDetail::Text(text), format } => {
                self.piece((choice, Kind::Reasoning(block, format)), text, events)
            }
            Event::ToolCallArguments { choice, index, fragment } => {
                self.held_bytes += fragment.len();
                self.calls.entry((choice, index)).or_default().text.push_str(&fragment);
                self.check_room()
            }
            Event::ToolCallStart { choice, index, custom, .. } => {
                self.end_texts(choice, None, events)?;
                self.end_calls(choice, events)?;
                self.calls.insert((choice, index), Call { text: String::new(), is_free_text: custom });
                self.put(Item::Event(event), events)
            }
            Event::Reasoning { choice, .. } | Event::Image { choice, .. } => {
                self.end_texts(choice, None, events)?;
                self.put(Item::Event(event), events)
            }
            Event::Finish { choice, .. } => {
                self.end_texts(choice, None, events)?;
                self.end_calls(choice, events)?;
                self.put(Item::Event(event), events)
            }
            Event::Annotation { choice, annotation } => {
                let annotation = self.annotation(annotation)?;
                self.put(Item::Event(Event::Annotation { choice, annotation }), events)
            }
            // They repeat the text piece by piece.
            Event::Logprobs { .. } if self.has_rules || self.has_checks => Ok(()),
            other => self.put(Item::Event(other), events),
        }
    }

    fn finish(&mut self, events: &mut dyn EventSink) -> Result<()> {
        let choices: Vec<u32> =
            self.channels.keys().map(|key| key.0).chain(self.calls.keys().map(|key| key.0)).collect();
        for choice in choices {
            self.end_texts(choice, None, events)?;
            self.end_calls(choice, events)?;
        }
        self.is_ended = true;
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>, events: &mut dyn EventSink) -> Poll<Result<()>> {
        loop {
            if let Some(asking) = &mut self.asking {
                let word = ready!(asking.word.as_mut().poll(cx));
                let items = asking.items;
                self.asking = None;
                word?;
                self.release(items, events);
            }
            let is_due = self.unasked.len() >= ASKED_BYTES || self.is_ended && !self.unasked.is_empty();
            if !is_due {
                break;
            }
            self.ask();
        }
        if self.unasked.is_empty() {
            self.release(self.held.len(), events);
        }
        Poll::Ready(Ok(()))
    }
}

impl OutputFilter {
    /// Takes a piece of a text. It ends another text of the same choice.
    fn piece(&mut self, key: Key, piece: String, events: &mut dyn EventSink) -> Result<()> {
        self.end_texts(key.0, Some(key), events)?;
        if !self.has_rules {
            self.channels.entry(key).or_default();
            return self.put(Item::Piece(key, piece), events);
        }
        let mut channel = self.channels.remove(&key).unwrap_or_default();
        channel.text.push_str(&piece);
        let passed = self.passed(&mut channel, false);
        self.channels.insert(key, channel);
        match passed? {
            text if text.is_empty() => Ok(()),
            text => self.put(Item::Piece(key, text), events),
        }
    }

    /// Ends all texts of a choice but one.
    fn end_texts(&mut self, choice: u32, but: Option<Key>, events: &mut dyn EventSink) -> Result<()> {
        let open = |key: &Key| key.0 == choice && Some(*key) != but;
        while let Some(key) = self.channels.keys().copied().find(open) {
            let mut channel = self.channels.remove(&key).unwrap_or_default();
            if self.has_rules {
                let rest = self.passed(&mut channel, true)?;
                if !rest.is_empty() {
                    self.put(Item::Piece(key, rest), events)?;
                }
            }
            self.put(Item::End(key), events)?;
        }
        Ok(())
    }

    fn end_calls(&mut self, choice: u32, events: &mut dyn EventSink) -> Result<()> {
        while let Some(key) = self.calls.keys().copied().find(|key| key.0 == choice) {
            let Call { text, is_free_text } = self.calls.remove(&key).unwrap_or_default();
            self.held_bytes = self.held_bytes.saturating_sub(text.len());
            if text.is_empty() {
                continue;
            }
            let text = self.in_json(text, is_free_text, |filter, text| filter.of_whole(text))?;
            self.put(Item::Arguments { choice, index: key.1, text, is_free_text }, events)?;
        }
        Ok(())
    }

    /// The decided part of a text in progress.
    fn passed(&self, channel: &mut Channel, is_end: bool) -> Result<String> {
        let Channel { text, given, passed, .. } = channel;
        // A match that begins before this is completely available.
        let settled = if is_end {
            text.len()
        } else {
            text.floor_char_boundary(text.len().saturating_sub(self.window))
        };
        let mut out = String::new();
        if settled > *passed {
            let mut search = Search::new(text, self.guard.denying(Direction::Output));
            if let Some((rule, range)) = search.first(*passed)
                && range.start < settled
            {
                return Err(self.guard.denied(rule, Direction::Output, None));
            }
            *passed = settled;
        }
        if settled > *given {
            let mut search = Search::new(text, self.guard.redacting(Direction::Output));
            while let Some((rule, range)) = search.first(*given)
                && range.start < settled
            {
                out.push_str(&text[*given..range.start]);
                // A placeholder that the provider wrote itself has no original.
                out.push_str(&format!("[{}]", self.guard.placeholder_name(rule)));
                self.guard.did(rule, Direction::Output, "redacted", 1);
                *given = range.end;
            }
            if settled > *given {
                out.push_str(&text[*given..settled]);
                *given = settled;
            }
        }
        let kept = text.floor_char_boundary(given.min(passed).saturating_sub(1));
        text.drain(..kept);
        *given -= kept;
        *passed -= kept;
        Ok(out)
    }

    fn of_whole(&self, text: &str) -> Result<Option<String>> {
        if !self.has_rules {
            return Ok(None);
        }
        let mut channel = Channel { text: text.to_owned(), ..Channel::default() };
        let other = self.passed(&mut channel, true)?;
        Ok((other != text).then_some(other))
    }

    /// Changes texts within a JSON text, or the text itself if it is not JSON.
    fn in_json(
        &self,
        text: String,
        is_free_text: bool,
        change: impl Fn(&Self, &str) -> Result<Option<String>>,
    ) -> Result<String> {
        let found = if is_free_text { None } else { texts::of_value(text.as_bytes()) };
        let other = match found {
            None => change(self, &text)?,
            Some(found) => texts::changed(text.as_bytes(), &found, &mut |_, text| change(self, text))?
                .and_then(|other| String::from_utf8(other).ok()),
        };
        Ok(other.unwrap_or(text))
    }

    /// A citation with its texts checked and its placeholders replaced by their originals.
    fn annotation(&self, annotation: Json) -> Result<Json> {
        let text = annotation.as_str().to_owned();
        let other = self.in_json(text.clone(), false, |filter, text| {
            let passed = filter.of_whole(text)?;
            let restored = filter.restored(passed.as_deref().unwrap_or(text));
            Ok(restored.or(passed))
        })?;
        if other == text {
            Ok(annotation)
        } else {
            Ok(serde_json::from_str::<serde_json::Value>(&other).map_or(annotation, |value| Json::of(&value)))
        }
    }

    /// Passes an item on, or holds it until a server was asked.
    fn put(&mut self, item: Item, events: &mut dyn EventSink) -> Result<()> {
        if !self.has_checks {
            self.give(item, events);
            return Ok(());
        }
        let text = match &item {
            Item::Piece(_, text) | Item::Arguments { text, .. } => text.as_str(),
            Item::End(_) | Item::Event(_) => "",
        };
        self.unasked.push_str(text);
        self.held_bytes += text.len();
        self.held.push(item);
        self.check_room()
    }

    fn check_room(&self) -> Result<()> {
        if self.held_bytes > MOST_HELD {
            Err(Error::gateway(
                ErrorKind::Unavailable,
                format!("A guardrail would have to check more than {MOST_HELD} bytes of the answer at once."),
            ))
        } else {
            Ok(())
        }
    }

    /// Asks about the texts that no server was asked about.
    fn ask(&mut self) {
        let text = format!("{}{}", self.context, std::mem::take(&mut self.unasked));
        // The context of the next question: a match may be split between the two.
        let start = text.floor_char_boundary(text.len().saturating_sub(CONTEXT_BYTES));
        text[start..].clone_into(&mut self.context);
        let guard = self.guard.clone();
        let word = Box::pin(async move { guard.ask(Direction::Output, vec![text]).await });
        self.asking = Some(PendingCheck { word, items: self.held.len() });
    }

    fn release(&mut self, items: usize, events: &mut dyn EventSink) {
        let rest = self.held.split_off(items);
        for item in std::mem::replace(&mut self.held, rest) {
            if let Item::Piece(_, text) | Item::Arguments { text, .. } = &item {
                self.held_bytes = self.held_bytes.saturating_sub(text.len());
            }
            self.give(item, events);
        }
    }

    /// Passes an item to the caller, with its placeholders replaced by their originals.
    fn give(&mut self, item: Item, events: &mut dyn EventSink) {
        match item {
            Item::Event(event) => events.push(event),
            Item::Piece(key, text) => {
                let text = self.opened.remove(&key).unwrap_or_default() + &text;
                let (text, opened) = self.restored_piece(text);
                if !opened.is_empty() {
                    self.opened.insert(key, opened);
                }
                if !text.is_empty() {
                    events.push(event_of(key, text));
                }
            }
            Item::End(key) => {
                if let Some(text) = self.opened.remove(&key) {
                    events.push(event_of(key, text));
                }
            }
            Item::Arguments { choice, index, text, is_free_text } => {
                let restored = self.in_json(text, is_free_text, |filter, text| Ok(filter.restored(text)));
                let fragment = restored.unwrap_or_default();
                events.push(Event::ToolCallArguments { choice, index, fragment });
            }
        }
    }

    /// A whole text with its placeholders replaced by their originals; none without placeholders.
    fn restored(&self, text: &str) -> Option<String> {
        if !text.contains('[') {
            return None;
        }
        let (other, rest) = self.restored_piece(text.to_owned());
        let other = other + &rest;
        (other != text).then_some(other)
    }

    /// A piece of a text with its placeholders replaced, and the end that may become one.
    fn restored_piece(&self, text: String) -> (String, String) {
        let state = self.guard.state();
        let longest = state.longest;
        if longest == 0 {
            return (text, String::new());
        }
        let (mut out, mut at) = (String::with_capacity(text.len()), 0);
        while let Some(start) = memchr(b'[', &text.as_bytes()[at..]).map(|found| at + found) {
            out.push_str(&text[at..start]);
            let rest = &text[start..];
            let inner =
                rest.bytes().skip(1).take(longest).take_while(|byte| is_of_placeholder(*byte)).count();
            match rest.as_bytes().get(1 + inner) {
                None => return (out, rest.to_owned()),
                Some(b']') if let Some(value) = state.placeholders.get(&rest[..inner + 2]) => {
                    out.push_str(value);
                    at = start + inner + 2;
                }
                Some(_) => {
                    out.push('[');
                    at = start + 1;
                }
            }
        }
        out.push_str(&text[at..]);
        (out, String::new())
    }
}

fn is_of_placeholder(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_'
}

fn event_of((choice, kind): Key, text: String) -> Event {
    match kind {
        Kind::Text => Event::Text { choice, text },
        Kind::Refusal => Event::Refusal { choice, text },
        Kind::Reasoning(block, format) => {
            Event::Reasoning { choice, block, detail: ReasoningDetail::Text(text), format }
        }
    }
}
