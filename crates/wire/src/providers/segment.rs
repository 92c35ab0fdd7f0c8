//! Text as one segment of a URL's path. A caller's model name must never reach another path.

use canon::{Error, Result};

/// A model as one segment of a path.
///
/// A name with a dot segment is refused and not encoded: `%2E%2E` still means `..` to URL parsers (WHATWG
/// URL, "double-dot URL path segment"), and servers that decode `%2F` find segments within a name.
pub(super) fn model_segment(model: &str) -> Result<String> {
    if model.is_empty() || has_dot_segment(model) {
        return Err(Error::invalid("model", format!("{model:?} is not the id of a model of this provider.")));
    }
    Ok(escape_segment(model))
}

/// Percent-encodes characters that are not allowed in a path segment.
pub(super) fn escape_segment(segment: &str) -> String {
    let mut escaped = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'@' => {
                escaped.push(byte as char)
            }
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// True when a part between slashes is `.` or `..`, also after any number of percent-decodings.
pub(super) fn has_dot_segment(text: &str) -> bool {
    let mut text = text.to_ascii_lowercase();
    // Each pass removes two bytes for each escape that it decodes, so this ends.
    while ["%25", "%2e", "%2f", "%5c"].iter().any(|escape| text.contains(escape)) {
        text = text.replace("%25", "%").replace("%2e", ".").replace("%2f", "/").replace("%5c", "\\");
    }
    // Parameters of a segment (`..;a=b`) are dropped by some servers before they resolve dots.
    text.split(['/', '\\', '?', '#']).any(|segment| matches!(segment.split(';').next(), Some("." | "..")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_segments_are_refused_in_every_spelling() {
        for model in [
            "",
            ".",
            "..",
            "a/..",
            "../a",
            "a/../b",
            "./a",
            "%2e%2e",
            "%2E.",
            ".%2e",
            "%252e%252e",
            "..%2fa",
            "a%2f..%5cb",
            "..\\a",
            "a/..;x=1/b",
            "..?a",
            "..#a",
            "%25%32%65%2e/..",
        ] {
            let error = model_segment(model).unwrap_err();
            assert_eq!(
                (error.kind.status().as_u16(), error.param_name().as_deref()),
                (400, Some("model")),
                "{model}"
            );
        }
    }

    #[test]
    fn other_names_stay_one_segment() {
        for (model, segment) in [
            ("gpt-4.1", "gpt-4.1"),
            ("anthropic.claude-v2:1", "anthropic.claude-v2%3A1"),
            ("...", "..."),
            ("a..b", "a..b"),
            ("meta/llama?x=1#y z", "meta%2Fllama%3Fx%3D1%23y%20z"),
            ("100%", "100%25"),
            ("é", "%C3%A9"),
        ] {
            assert_eq!(model_segment(model).unwrap(), segment);
        }
    }
}
