//! Forms with files: `multipart/form-data` (RFC 7578).
//!
//! A [`Form`] is the buffered part of one: all of it, or its fields and the beginning of a file. The rest is
//! not buffered: a [`FormChecker`] checks the bytes while they pass, so that an incomplete form or a late field is
//! detected. A [`FormWriter`] writes a form with the caller's boundary, which by the caller's promise occurs
//! in no value.

mod head;
mod parser;
mod writer;

use std::ops::Range;

use canon::{Error, ErrorKind, Result};

pub use head::PartHead;
use parser::{Event, Parser};
pub use writer::FormWriter;

/// Most parts that a form may have.
const MOST_PARTS: usize = 256;
/// Largest value of a part that is not a file.
const FIELD_LIMIT: usize = 4 << 20;

/// The separator between the parts of a form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// Reads the content type of a form.
    pub fn of(content_type: &str) -> Result<Self> {
        let parameters = head::parameters(content_type);
        let given = parameters.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        let Some((_, boundary)) = given else {
            let message =
                "The content type multipart/form-data names no boundary; let the HTTP client set it.";
            return Err(Error::invalid("content-type", message));
        };
        let fits = |byte: u8| (b' '..=b'~').contains(&byte);
        let is_valid = (1..=70).contains(&boundary.len())
            && boundary.bytes().all(fits)
            && !boundary.ends_with(' ')
            && !boundary.contains('"');
        if !is_valid {
            let message =
                "The boundary of the content type is not valid: it has 1 to 70 printable characters.";
            return Err(Error::invalid("content-type", message));
        }
        Ok(Self(boundary))
    }

    /// The boundary itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The content type of a form with this boundary.
    pub fn content_type(&self) -> String {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if self.0.bytes().all(is_token) {
            format!("multipart/form-data; boundary={}", self.0)
        } else {
            format!("multipart/form-data; boundary=\"{}\"", self.0.replace('\\', "\\\\"))
        }
    }
}

#[derive(Clone, Debug)]
pub struct FormPart {
    /// Its headers.
    pub head: PartHead,
    raw_head: Range<usize>,
    value: Range<usize>,
}

/// The buffered part of a form.
#[derive(Debug)]
pub struct Form {
    boundary: Boundary,
    parser: Parser,
    bytes: Vec<u8>,
    parts: Vec<FormPart>,
    /// The last part is incomplete.
    is_open: bool,
    is_whole: bool,
}

impl Form {
    /// An empty form.
    pub fn new(boundary: Boundary) -> Self {
        let parser = Parser::new(boundary.as_str());
        Self { boundary, parser, bytes: Vec::new(), parts: Vec::new(), is_open: false, is_whole: false }
    }

    /// Takes the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        let (parts, is_open, is_whole) = (&mut self.parts, &mut self.is_open, &mut self.is_whole);
        self.parser.push(bytes, |event| {
            match event {
                Event::Part { head, at, value } => {
                    if parts.len() == MOST_PARTS {
                        let message = format!("The form has more than {MOST_PARTS} parts.");
                        return Err(Error::invalid("", message));
                    }
                    let raw_head = at as usize..at as usize + head.len();
                    let value = value as usize..value as usize;
                    parts.push(FormPart { head: PartHead::read(&head)?, raw_head, value });
                    *is_open = true;
                }
                Event::ValueEnd { at } => {
                    *is_open = false;
                    if let Some(part) = parts.last_mut() {
                        part.value.end = at as usize;
                    }
                }
                Event::End => *is_whole = true,
            }
            Ok(())
        })?;
        if self.is_open
            && let Some(part) = self.parts.last_mut()
        {
            part.value.end = self.bytes.len();
        }
        self.parts.last().map_or(Ok(()), check_field)
    }

    /// The end of the body: an incomplete form is refused.
    pub fn finish(&self) -> Result<()> {
        self.parser.finish()
    }

    /// Its last boundary has arrived.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// The last part is an incomplete file.
    pub fn is_in_file(&self) -> bool {
        self.is_open && self.parts.last().is_some_and(|part| part.head.is_file())
    }

    /// The number of buffered bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has arrived.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The parts, in the caller's order.
    pub fn parts(&self) -> &[FormPart] {
        &self.parts
    }

    /// The value of a part. Of an incomplete file it is the beginning.
    pub fn value(&self, part: &FormPart) -> &[u8] {
        self.bytes.get(part.value.clone()).unwrap_or_default()
    }

    /// The first part of this name that is not a file. `name[]` counts as `name`.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        let is_it = |part: &&FormPart| part.head.plain_name() == name && part.head.file_name.is_none();
        self.parts.iter().find(is_it).map(|part| self.value(part))
    }

    /// The same as text.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(value) = self.field(name) else { return Ok(None) };
        let text = std::str::from_utf8(value);
        text.map(Some).map_err(|_| Error::invalid(name.to_owned(), format!("{name} is not UTF-8 text.")))
    }

    /// The checker of the rest of the form.
    pub fn rest(&self) -> FormChecker {
        FormChecker { parser: self.parser.clone() }
    }

    /// Writes the form again with its boundary, each part as `write` decides. An incomplete form stays
    /// incomplete.
    pub fn rewritten(
        &self,
        mut write: impl FnMut(&FormPart, &[u8], &mut FormWriter) -> Result<()>,
    ) -> Result<Vec<u8>> {
        let mut writer = FormWriter::new(&self.boundary, self.bytes.len() + 256);
        for part in &self.parts {
            write(part, self.value(part), &mut writer)?;
        }
        if self.is_open { writer.open() } else { writer.finish() }
    }

    /// Writes a part unchanged.
    pub fn keep(&self, part: &FormPart, writer: &mut FormWriter) {
        let head = self.bytes.get(part.raw_head.clone()).unwrap_or_default();
        writer.raw(head, self.value(part));
    }

    /// Writes a part with a prefix before its file name.
    pub fn keep_renamed(&self, part: &FormPart, mark: &str, writer: &mut FormWriter) {
        let head = self.bytes.get(part.raw_head.clone()).unwrap_or_default();
        let lower = head.to_ascii_lowercase();
        let begins = |name: &[u8], skipped: fn(&[u8]) -> usize| {
            let start = head::parameter(&lower, name)? + name.len();
            Some(start + skipped(&head[start..]))
        };
        let quoted = |value: &[u8]| usize::from(value.first() == Some(&b'"'));
        let extended = |value: &[u8]| memchr::memmem::find(value, b"''").map_or(0, |at| at + 2);
        let mut places: Vec<usize> =
            [begins(b"filename=", quoted), begins(b"filename*=", extended)].into_iter().flatten().collect();
        places.sort_unstable();
        let mut renamed = head.to_vec();
        // Backwards, so that earlier positions stay valid.
        for place in places.into_iter().rev() {
            renamed.splice(place..place, mark.bytes());
        }
        writer.raw(&renamed, self.value(part));
    }

    /// Writes a part with another value.
    pub fn replace(&self, part: &FormPart, value: &str, writer: &mut FormWriter) {
        let head = self.bytes.get(part.raw_head.clone()).unwrap_or_default();
        writer.replaced(head, value);
    }

    /// The content type, with the boundary.
    pub fn content_type(&self) -> String {
        self.boundary.content_type()
    }
}

fn check_field(part: &FormPart) -> Result<()> {
    if part.head.is_file() || part.value.len() <= FIELD_LIMIT {
        return Ok(());
    }
    let name = part.head.name.clone();
    let message = format!("{name} is larger than {FIELD_LIMIT} bytes and is not a file.");
    Err(Error::caller(ErrorKind::TooLarge, message).at(name))
}

/// Checks the rest of a form while it passes to the provider.
#[derive(Clone, Debug)]
pub struct FormChecker {
    parser: Parser,
}

impl FormChecker {
    /// Fields that select the provider: after a file that is streamed they are too late.
    const LATE: [&'static str; 4] = ["model", "models", "provider", "routing"];

    /// Checks the next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.parser.push(bytes, |event| {
            let Event::Part { head, .. } = event else { return Ok(()) };
            let name = PartHead::read(&head)?.name;
            if Self::LATE.contains(&name.as_str()) {
                let message = format!("{name} comes after a large file; put it before the file.");
                return Err(Error::invalid(name, message));
            }
            Ok(())
        })
    }

    /// The end of the body.
    pub fn finish(&self) -> Result<()> {
        self.parser.finish()
    }
}

fn malformed(message: &'static str) -> Error {
    Error::invalid("", message)
}
