//! Server-sent events, as tolerant as providers require: LF, CRLF or CR line ends, comments, `data:` with or without a
//! space, several data lines, errors as a field of their own, and a last event without its blank line.

use canon::{Error, ErrorKind, Result, Retry};
use memchr::memchr2;

/// Largest event that is held in memory. Images in streams are several megabytes of base64.
pub const EVENT_LIMIT: usize = 64 << 20;

/// Finds events in a stream that arrives in pieces. Each byte is read once.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The bytes of the line that is not complete yet.
    line: Vec<u8>,
    /// The data of the event that is not complete yet; lines joined by `\n`.
    data: Vec<u8>,
    has_data: bool,
    is_joined: bool,
    event: Vec<u8>,
    /// The last line ended with CR at the end of a piece: a following LF belongs to it.
    skip_lf: bool,
    /// The first line, which may begin with a byte order mark, has been read.
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SseEvent<'a> {
    /// The `event:` field; empty when there was none.
    pub event: &'a [u8],
    /// The `data:` lines, joined by line feeds.
    pub data: &'a [u8],
    /// There were several `data:` lines.
    pub is_joined: bool,
}

impl SseParser {
    /// Takes the next bytes and calls `on_event` for each event that they complete.
    pub fn push(
        &mut self,
        mut bytes: &[u8],
        mut on_event: impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        while !bytes.is_empty() {
            if self.skip_lf {
                self.skip_lf = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            let Some(end) = memchr2(b'\n', b'\r', bytes) else {
                self.hold(bytes)?;
                return Ok(());
            };
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if bytes[end] == b'\r' {
                self.skip_lf = true;
            }
            if self.line.is_empty() {
                self.take_line(line, &mut on_event)?;
            } else {
                self.hold(line)?;
                let whole = std::mem::take(&mut self.line);
                self.take_line(&whole, &mut on_event)?;
                self.line = whole;
                self.line.clear();
            }
            bytes = rest;
        }
        Ok(())
    }

    /// Takes the end of the stream: an event without its blank line is complete.
    pub fn finish(&mut self, mut on_event: impl FnMut(SseEvent<'_>) -> Result<()>) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.take_line(&line, &mut on_event)?;
        }
        self.take_line(b"", &mut on_event)
    }

    /// True when the stream ended inside of an event.
    pub fn is_inside_event(&self) -> bool {
        self.has_data || !self.line.is_empty()
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + self.data.len() + bytes.len() > EVENT_LIMIT {
            return Err(too_large());
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn take_line(
        &mut self,
        mut line: &[u8],
        on_event: &mut impl FnMut(SseEvent<'_>) -> Result<()>,
    ) -> Result<()> {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch(on_event);
        }
        let mut data = field(line, b"data");
        // llama-box ends a failed stream with a line `error: {…}`.
        if let Some(value) = field(line, b"error") {
            self.event.clear();
            self.event.extend_from_slice(b"error");
            data = Some(value);
        }
        if let Some(value) = data {
            if self.data.len() + value.len() > EVENT_LIMIT {
                return Err(too_large());
            }
            if self.has_data {
                self.data.push(b'\n');
                self.is_joined = true;
            }
            self.data.extend_from_slice(value);
            self.has_data = true;
        } else if let Some(value) = field(line, b"event") {
            self.event.clear();
            self.event.extend_from_slice(value);
        }
        Ok(())
    }

    fn dispatch(&mut self, on_event: &mut impl FnMut(SseEvent<'_>) -> Result<()>) -> Result<()> {
        let result = if self.has_data {
            on_event(SseEvent { event: &self.event, data: &self.data, is_joined: self.is_joined })
        } else {
            Ok(())
        };
        self.data.clear();
        self.event.clear();
        self.has_data = false;
        self.is_joined = false;
        result
    }
}

fn field<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let value = line.strip_prefix(name)?.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}

fn too_large() -> Error {
    Error::upstream(ErrorKind::Upstream, Retry::Elsewhere, "The provider sent an event that is too large.")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\xef\xbb\xbf: comment\r\nevent: a\r\ndata: one\r\n\r\ndata:two\ndata: three\n\n\ndata\n\nid: 7\rdata: \xc3\xa9\r\rerror: no\n\ndata: last";

    fn events(pieces: impl Iterator<Item = Vec<u8>>) -> Vec<(String, String)> {
        let mut parser = SseParser::default();
        let mut found = Vec::new();
        let mut note = |event: SseEvent<'_>| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            found.push((text(event.event), text(event.data)));
            Ok(())
        };
        for piece in pieces {
            parser.push(&piece, &mut note).unwrap();
        }
        parser.finish(&mut note).unwrap();
        found
    }

    #[test]
    fn every_split_gives_the_same_events() {
        let pair = |event: &str, data: &str| (event.to_owned(), data.to_owned());
        let expected = vec![
            pair("a", "one"),
            pair("", "two\nthree"),
            pair("", "é"),
            pair("error", "no"),
            pair("", "last"),
        ];
        assert_eq!(events(std::iter::once(STREAM.to_vec())), expected);
        assert_eq!(events(STREAM.chunks(1).map(<[u8]>::to_vec)), expected);
        for cut in 1..STREAM.len() {
            let pieces = [STREAM[..cut].to_vec(), STREAM[cut..].to_vec()];
            assert_eq!(events(pieces.into_iter()), expected, "cut at {cut}");
        }
    }
}
