//! Writes a form.

use canon::{Error, Result};

use super::Boundary;

#[derive(Debug)]
pub struct FormWriter {
    /// `--boundary`
    line: String,
    out: Vec<u8>,
    is_broken: bool,
}

impl FormWriter {
    pub fn new(boundary: &Boundary, room: usize) -> Self {
        Self { line: format!("--{}", boundary.as_str()), out: Vec::with_capacity(room), is_broken: false }
    }

    /// A part with these headers.
    pub fn raw(&mut self, head: &[u8], value: &[u8]) {
        self.out.extend_from_slice(self.line.as_bytes());
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(head);
        let end: &[u8] = if head.is_empty() { b"\r\n" } else { b"\r\n\r\n" };
        self.out.extend_from_slice(end);
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A part with these headers and a text of the gateway.
    pub fn replaced(&mut self, head: &[u8], value: &str) {
        self.is_broken |= value.contains(&self.line);
        self.raw(head, value.as_bytes());
    }

    /// A part with a text of the gateway.
    pub fn text(&mut self, name: &str, value: &str) {
        let name = name.replace('"', "%22").replace(['\r', '\n'], " ");
        let head = format!("Content-Disposition: form-data; name=\"{name}\"");
        self.replaced(head.as_bytes(), value);
    }

    /// The form with an incomplete last part.
    pub fn open(mut self) -> Result<Vec<u8>> {
        self.out.truncate(self.out.len().saturating_sub(2));
        self.checked()
    }

    /// The form with its end.
    pub fn finish(mut self) -> Result<Vec<u8>> {
        self.out.extend_from_slice(self.line.as_bytes());
        self.out.extend_from_slice(b"--\r\n");
        self.checked()
    }

    fn checked(self) -> Result<Vec<u8>> {
        if self.is_broken {
            Err(Error::invalid("content-type", "The boundary occurs in a value of the form."))
        } else {
            Ok(self.out)
        }
    }
}
