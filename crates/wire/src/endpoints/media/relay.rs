//! Answers that are relayed as they arrive: audio unchanged, and events whose counts are read.

use bytes::Bytes;
use canon::{Error, ErrorKind, Progress, Result, Retry};

use super::condense::Condenser;
use super::meter::{EventEffect, Meter};
use crate::protocols::openai_chat::OpenaiChat;
use crate::{AnswerForm, Dialect, Transcoder};

/// An event with more short content than this is not read.
const LONGEST_EVENT: usize = 256 << 10;

/// Passes an answer on.
pub struct Relay {
    events: Option<Events>,
    meter: Meter,
    progress: Progress,
    /// The provider's error message was passed on.
    has_failed: bool,
}

/// Reads an event; the result is the provider's error.
fn read(meter: &Meter, event: &[u8], progress: &mut Progress) -> Option<Error> {
    if event == b"[DONE]" {
        progress.finished = true;
        return None;
    }
    match meter.event(event, progress) {
        EventEffect::Failed(error) => return Some(error),
        EventEffect::Last => (progress.content_started, progress.finished) = (true, true),
        EventEffect::More => progress.content_started = true,
    }
    None
}

impl Relay {
    pub fn of_events(meter: Meter) -> Self {
        Self::new(meter, Some(Events::default()))
    }

    pub fn of_bytes(meter: Meter) -> Self {
        Self::new(meter, None)
    }

    fn new(meter: Meter, events: Option<Events>) -> Self {
        let mut progress = Progress::default();
        meter.start(&mut progress);
        Self { events, meter, progress, has_failed: false }
    }

    fn fails_by(&mut self, failure: Option<Error>) -> Result<()> {
        self.has_failed |= failure.is_some();
        failure.map_or(Ok(()), Err)
    }
}

impl Transcoder for Relay {
    fn push(&mut self, bytes: &Bytes, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(bytes);
        let Some(events) = &mut self.events else {
            self.progress.content_started |= !bytes.is_empty();
            return Ok(());
        };
        let (meter, progress) = (&self.meter, &mut self.progress);
        let mut failure = None;
        events.push(bytes, |event| failure = failure.take().or_else(|| read(meter, event, progress)));
        self.fails_by(failure)
    }

    fn finish(&mut self, out: &mut Vec<u8>) -> Result<()> {
        if let Some(events) = self.events.as_mut().filter(|events| events.is_open()) {
            // Readers drop an event that no empty line ends.
            out.extend_from_slice(b"\n\n");
            let (meter, progress) = (&self.meter, &mut self.progress);
            let mut failure = None;
            events.end(&mut |event: &[u8]| failure = read(meter, event, progress));
            self.fails_by(failure)?;
        }
        match &self.events {
            Some(_) if !self.progress.finished => {
                Err(failed("The provider's stream ended before the answer was complete."))
            }
            None if !self.progress.content_started => Err(failed("The provider's answer is empty.")),
            _ => {
                self.progress.finished = true;
                Ok(())
            }
        }
    }

    fn fail(&mut self, error: &Error, out: &mut Vec<u8>) {
        if let Some(events) = self.events.as_ref().filter(|_| !self.has_failed) {
            if events.is_open() {
                out.extend_from_slice(b"\n\n");
            }
            out.extend_from_slice(&OpenaiChat.error_event(&AnswerForm::default(), error, None));
        }
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }
}

fn failed(message: &'static str) -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Again, message)
}

/// Finds the data of events in a stream, without its long strings.
#[derive(Default)]
struct Events {
    line: Line,
    /// The last byte was a CR that ended a line. An LF after it belongs to the same end.
    is_behind_cr: bool,
    condenser: Condenser,
    data: Vec<u8>,
}

/// The next part of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// The name of a field, with this many matching bytes of `data:`.
    Name(usize),
    /// The value of `data`.
    Data,
    /// Any other field.
    Other,
}

impl Default for Line {
    fn default() -> Self {
        Self::Name(0)
    }
}

impl Events {
    const NAME: &'static [u8] = b"data:";

    fn push(&mut self, mut bytes: &[u8], mut on_event: impl FnMut(&[u8])) {
        while let Some(&byte) = bytes.first() {
            if std::mem::take(&mut self.is_behind_cr) && byte == b'\n' {
                bytes = &bytes[1..];
                continue;
            }
            if let Line::Name(seen) = self.line {
                bytes = &bytes[1..];
                self.line = match byte {
                    b'\n' | b'\r' => {
                        if seen == 0 {
                            self.end(&mut on_event);
                        }
                        self.is_behind_cr = byte == b'\r';
                        Line::Name(0)
                    }
                    byte if Self::NAME.get(seen) != Some(&byte) => Line::Other,
                    _ if seen + 1 == Self::NAME.len() => Line::Data,
                    _ => Line::Name(seen + 1),
                };
                continue;
            }
            let end = memchr::memchr2(b'\n', b'\r', bytes);
            let text = &bytes[..end.unwrap_or(bytes.len())];
            if self.line == Line::Data && self.data.len() < LONGEST_EVENT {
                self.condenser.push(text, &mut self.data);
            }
            if let Some(at) = end {
                self.is_behind_cr = bytes[at] == b'\r';
                self.line = Line::Name(0);
            }
            bytes = &bytes[end.map_or(bytes.len(), |at| at + 1)..];
        }
    }

    /// Whether an event has begun and not ended.
    fn is_open(&self) -> bool {
        self.line != Line::default() || !self.data.is_empty()
    }

    fn end(&mut self, on_event: &mut impl FnMut(&[u8])) {
        if !self.data.trim_ascii().is_empty() {
            on_event(self.data.trim_ascii());
        }
        *self = Self { data: std::mem::take(&mut self.data), ..Self::default() };
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_lf_or_cr_or_both() {
        for end in ["\n", "\r", "\r\n"] {
            let text = [": note", "event: a", "data: {\"b\":1}", "", "data: [DONE]", "", ""].join(end);
            for size in [1, 3, text.len()] {
                let (mut events, mut found) = (Events::default(), Vec::new());
                for piece in text.as_bytes().chunks(size) {
                    events.push(piece, |event| found.push(String::from_utf8_lossy(event).into_owned()));
                }
                assert_eq!(found, ["{\"b\":1}", "[DONE]"], "{end:?} in pieces of {size}");
                assert!(!events.is_open(), "{end:?}");
            }
        }
    }
}
