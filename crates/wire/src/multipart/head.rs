//! The headers of a part.

use canon::{Error, Result};

use super::malformed;

/// The facts in a part's headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartHead {
    /// The name of the field.
    pub name: String,
    /// The file name, if any.
    pub file_name: Option<String>,
    /// The content type, if any.
    pub content_type: Option<String>,
}

impl PartHead {
    /// Fields that are files even without a file name.
    const FILES: [&'static str; 5] = ["file", "image", "image[]", "mask", "markup"];

    /// Reads headers.
    pub fn read(raw: &[u8]) -> Result<Self> {
        let text = String::from_utf8_lossy(raw);
        let (mut head, mut has_disposition) = (Self::default(), false);
        for line in text.split("\r\n") {
            let Some((name, value)) = line.split_once(':') else { continue };
            match name.trim().to_ascii_lowercase().as_str() {
                "content-disposition" => {
                    has_disposition = true;
                    for (name, value) in parameters(value) {
                        match name.to_ascii_lowercase().as_str() {
                            "name" => head.name = value,
                            "filename" => head.file_name = Some(value),
                            _ => {}
                        }
                    }
                }
                "content-type" => {
                    head.content_type = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
                }
                _ => {}
            }
        }
        match (has_disposition, head.name.is_empty()) {
            (false, _) => Err(malformed("A part of the form has no Content-Disposition header.")),
            (true, true) => Err(malformed("A part of the form has no name.")),
            (true, false) if head.name.len() > 256 => {
                Err(Error::invalid("", "The name of a part is longer than 256 bytes."))
            }
            (true, false) => Ok(head),
        }
    }

    /// Whether it is a file.
    pub fn is_file(&self) -> bool {
        self.file_name.is_some() || Self::FILES.contains(&self.name.as_str())
    }

    /// The name without list brackets: `include[]` and `include[0]` are `include`.
    pub fn plain_name(&self) -> &str {
        match self.name.split_once('[') {
            Some((name, index)) if index.strip_suffix(']').is_some_and(is_index) => name,
            _ => &self.name,
        }
    }
}

fn is_index(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The parameters of a header's value: `form-data; name="file"; filename="a.mp3"`.
pub fn parameters(value: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = value.split_once(';').map_or("", |(_, rest)| rest);
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', '\t', ';']).to_owned();
        let after = after.trim_start();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => unquoted(quoted),
            None => {
                let end = after.find(';').unwrap_or(after.len());
                (after[..end].trim().to_owned(), &after[end..])
            }
        };
        found.push((name, value));
        rest = next;
    }
    found
}

/// The position of a parameter with this name and sign, within the bytes of lowercase headers. Quoted text is
/// skipped: a file name may contain the parameter's name.
pub fn parameter(headers: &[u8], name: &[u8]) -> Option<usize> {
    let mut is_quoted = false;
    let mut found = None;
    let mut at = memchr::memmem::find(headers, b"content-disposition")?;
    while let Some(byte) = headers.get(at) {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted && matches!(headers.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            b'\r' | b'\n' if !is_quoted => break,
            b';' | b' ' | b'\t' if !is_quoted && headers[at + 1..].starts_with(name) => found = Some(at + 1),
            _ => {}
        }
        at += 1;
    }
    found
}

/// A quoted text and the rest. A backslash escapes quotes and itself; before any other character it is
/// literal, as in file names.
fn unquoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(&(_, next @ ('"' | '\\')))) => {
                value.push(next);
                characters.next();
            }
            ('"', _) => return (value, &text[at + 1..]),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_found_only_in_its_header_and_outside_of_quotes() {
        fn found(headers: &str) -> Option<&str> {
            parameter(headers.as_bytes(), b"filename=").map(|at| &headers[at..])
        }
        let plain = "content-disposition: form-data; name=\"file\"; filename=\"a\"\r\ncontent-type: x; filename=\"b\"";
        assert_eq!(found(plain).map(|rest| &rest[..12]), Some("filename=\"a\""));
        let hidden = "content-type: t\r\ncontent-disposition: form-data;filename=\"my; filename=\\\"x\\\" filename=y\"; name=f";
        assert!(found(hidden).unwrap().starts_with("filename=\"my; "));
        assert_eq!(found("content-disposition: form-data; xfilename=a; name=\" filename=\""), None);
        assert_eq!(found("content-type: x; filename=a"), None);
    }
}
