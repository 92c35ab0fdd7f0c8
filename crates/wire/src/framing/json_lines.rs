//! One JSON document per line (NDJSON): LF or CRLF line ends, blank lines, a last line without a line end.

use canon::{Error, ErrorKind, Result, Retry};
use memchr::memchr;

/// Longest line that is held in memory.
pub const LINE_LIMIT: usize = 64 << 20;

/// Finds lines in a stream that arrives in pieces. Each byte is read once.
#[derive(Debug, Default)]
pub struct JsonLines {
    /// The bytes of the line that is not complete yet.
    line: Vec<u8>,
}

impl JsonLines {
    /// Takes the next bytes and calls `on_line` for each line that they complete, without its line end.
    pub fn push(&mut self, mut bytes: &[u8], mut on_line: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while let Some(end) = memchr(b'\n', bytes) {
            let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
            if self.line.is_empty() {
                take_line(line, &mut on_line)?;
            } else {
                self.hold(line)?;
                take_line(&self.line, &mut on_line)?;
                self.line.clear();
            }
            bytes = rest;
        }
        self.hold(bytes)
    }

    /// Takes the end of the stream: a last line without a line end is complete.
    pub fn finish(&mut self, mut on_line: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let line = std::mem::take(&mut self.line);
        take_line(&line, &mut on_line)
    }

    fn hold(&mut self, bytes: &[u8]) -> Result<()> {
        if self.line.len() + bytes.len() > LINE_LIMIT {
            return Err(Error::upstream(
                ErrorKind::Upstream,
                Retry::Elsewhere,
                "The provider sent a line that is too long.",
            ));
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

fn take_line(line: &[u8], on_line: &mut impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    match line.trim_ascii() {
        b"" => Ok(()),
        line => on_line(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = JsonLines::default();
        let mut found = Vec::new();
        let mut note = |line: &[u8]| {
            found.push(String::from_utf8(line.to_vec()).unwrap());
            Ok(())
        };
        for piece in pieces {
            parser.push(piece, &mut note).unwrap();
        }
        parser.finish(&mut note).unwrap();
        found
    }

    #[test]
    fn every_split_gives_the_same_lines() {
        let stream = "{\"a\":1}\r\n\n{\"é\":2}\n\r\n{\"last\":3}".as_bytes();
        let expected = ["{\"a\":1}", "{\"é\":2}", "{\"last\":3}"];
        assert_eq!(lines([stream]), expected);
        assert_eq!(lines(stream.chunks(1)), expected);
        for cut in 0..stream.len() {
            assert_eq!(lines([&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
        assert!(lines([]).is_empty());
    }

    #[test]
    fn endless_lines_are_refused() {
        let mut parser = JsonLines::default();
        let piece = vec![b'x'; 1 << 20];
        assert!((0..65).any(|_| parser.push(&piece, |_| Ok(())).is_err()));
    }
}
