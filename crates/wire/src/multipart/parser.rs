//! Finds the parts of a form in bytes that arrive in pieces.

use std::sync::Arc;

use canon::Result;
use memchr::memmem::Finder;

use super::malformed;

/// Longest head of a part.
const HEAD_LIMIT: usize = 16 << 10;
/// The limit of bytes before the first boundary, and of white space after a boundary.
const PREAMBLE_LIMIT: usize = 64 << 10;
const PADDING_LIMIT: usize = 64;
/// The form is read as if a line end preceded it, so that its first boundary is like the others.
const LINE_END: &[u8] = b"\r\n";

/// A found item. Positions count from the beginning of the form.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A part begins.
    Part {
        /// Its headers, without the last line end.
        head: Vec<u8>,
        /// The position of its headers.
        at: u64,
        /// The position of its value.
        value: u64,
    },
    /// The value of a part ends.
    ValueEnd {
        /// The position.
        at: u64,
    },
    /// The last boundary.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Preamble,
    Head,
    Value,
    Epilogue,
}

#[derive(Clone, Debug)]
pub struct Parser {
    delimiter: Arc<Finder<'static>>,
    state: State,
    /// Undecided bytes: a head, or a possible beginning of a boundary.
    buffer: Vec<u8>,
    /// The position of the last part's value.
    value: u64,
    /// How many bytes of the form, and of the line end before it, have left the buffer.
    gone: u64,
}

/// Whether a possible boundary is one.
enum BoundaryCheck {
    /// It is one, with this length.
    Next(usize),
    Last,
    Unclear,
    None,
}

enum Scan {
    Delimiter {
        at: usize,
        end: usize,
        is_last: bool,
    },
    /// There is none before this position.
    Nothing {
        keep: usize,
    },
}

impl Parser {
    pub fn new(boundary: &str) -> Self {
        let delimiter = [LINE_END, b"--", boundary.as_bytes()].concat();
        Self {
            delimiter: Arc::new(Finder::new(&delimiter).into_owned()),
            state: State::Preamble,
            buffer: LINE_END.to_vec(),
            value: 0,
            gone: 0,
        }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8], mut on_event: impl FnMut(Event) -> Result<()>) -> Result<()> {
        if self.state == State::Epilogue {
            return Ok(());
        }
        self.buffer.extend_from_slice(bytes);
        while self.step(&mut on_event)? {}
        Ok(())
    }

    /// The form must be complete.
    pub fn finish(&self) -> Result<()> {
        match self.state {
            State::Epilogue => Ok(()),
            State::Preamble => Err(malformed(
                "The body has no part: it is empty, or the boundary of the content type is another one.",
            )),
            _ => Err(malformed("The form ends before its last boundary.")),
        }
    }

    /// One step; false where more bytes are needed.
    fn step(&mut self, on_event: &mut impl FnMut(Event) -> Result<()>) -> Result<bool> {
        match self.state {
            State::Epilogue => {
                self.buffer.clear();
                Ok(false)
            }
            State::Head => self.head(on_event),
            State::Preamble | State::Value => match self.delimiter() {
                Scan::Nothing { keep } => {
                    self.forget(keep);
                    if self.state == State::Preamble && self.gone > PREAMBLE_LIMIT as u64 {
                        let message = "The form does not begin with the boundary of the content type.";
                        return Err(malformed(message));
                    }
                    Ok(false)
                }
                Scan::Delimiter { at, end, is_last } => {
                    if self.state == State::Value {
                        on_event(Event::ValueEnd { at: self.place(at).max(self.value) })?;
                    }
                    self.forget(end);
                    self.state = if is_last { State::Epilogue } else { State::Head };
                    if is_last {
                        on_event(Event::End)?;
                    }
                    Ok(true)
                }
            },
        }
    }

    fn head(&mut self, on_event: &mut impl FnMut(Event) -> Result<()>) -> Result<bool> {
        let (length, end) = if self.buffer.starts_with(LINE_END) {
            (0, LINE_END.len())
        } else {
            let searched = &self.buffer[..self.buffer.len().min(HEAD_LIMIT)];
            match memchr::memmem::find(searched, b"\r\n\r\n") {
                Some(at) => (at, at + 4),
                None if self.buffer.len() >= HEAD_LIMIT => {
                    return Err(malformed("The headers of a part are longer than 16384 bytes."));
                }
                None => return Ok(false),
            }
        };
        let head = self.buffer[..length].to_vec();
        let (at, value) = (self.place(0), self.place(end));
        // An empty value without a line end of its own shares that of the head: `\r\n\r\n--boundary`.
        self.forget(end - LINE_END.len());
        self.value = value;
        on_event(Event::Part { head, at, value })?;
        self.state = State::Value;
        Ok(true)
    }

    fn delimiter(&self) -> Scan {
        let length = self.delimiter.needle().len();
        let mut from = 0;
        while let Some(found) = self.delimiter.find(&self.buffer[from..]) {
            let at = from + found;
            match ending(&self.buffer[at + length..]) {
                BoundaryCheck::Next(more) => {
                    return Scan::Delimiter { at, end: at + length + more, is_last: false };
                }
                BoundaryCheck::Last => return Scan::Delimiter { at, end: at + length + 2, is_last: true },
                BoundaryCheck::Unclear => return Scan::Nothing { keep: at },
                BoundaryCheck::None => from = at + 1,
            }
        }
        Scan::Nothing { keep: from.max(self.buffer.len().saturating_sub(length - 1)) }
    }

    fn place(&self, at: usize) -> u64 {
        (self.gone + at as u64).saturating_sub(LINE_END.len() as u64)
    }

    fn forget(&mut self, length: usize) {
        self.buffer.drain(..length);
        self.gone += length as u64;
    }
}

/// The text after a boundary: a line end, or two hyphens after the last one. Any other text makes it part of
/// a value.
fn ending(rest: &[u8]) -> BoundaryCheck {
    let padding = rest.iter().take(PADDING_LIMIT).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[padding..] {
        [b'-', b'-', ..] if padding == 0 => BoundaryCheck::Last,
        [b'\r', b'\n', ..] => BoundaryCheck::Next(padding + LINE_END.len()),
        [] if padding < PADDING_LIMIT => BoundaryCheck::Unclear,
        [b'\r'] => BoundaryCheck::Unclear,
        [b'-'] if padding == 0 => BoundaryCheck::Unclear,
        _ => BoundaryCheck::None,
    }
}
