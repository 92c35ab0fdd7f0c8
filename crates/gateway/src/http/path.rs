//! Paths of requests.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// The path in the spelling of the table. Clients join a base URL and a path, which can double slashes or add
/// one at the end: below `/v1` and `/v1beta` such paths are accepted. Every other path has one spelling,
/// because proxies in front of the gateway have rules for the plain one.
pub fn spelling(path: &str) -> Cow<'_, str> {
    if let Some(model) = path.strip_prefix("/v1beta/").filter(|rest| is_bare_model(rest)) {
        return Cow::Owned(format!("/v1beta/models/{model}"));
    }
    if !path.contains("//") && (path.len() == 1 || !path.ends_with('/')) {
        return Cow::Borrowed(path);
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.first() {
        Some(&("v1" | "v1beta")) => Cow::Owned(format!("/{}", parts.join("/"))),
        _ => Cow::Borrowed(path),
    }
}

/// Whether this is a model and a method: the AI SDK treats a name with a slash as a whole resource, and omits
/// `models/`.
fn is_bare_model(rest: &str) -> bool {
    const METHODS: [&str; 3] = [":generateContent", ":streamGenerateContent", ":countTokens"];
    !rest.starts_with("models/") && METHODS.iter().any(|method| rest.ends_with(method))
}

/// An unescaped part of a path; none when the result is not UTF-8.
pub fn unescape(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_read() {
        assert_eq!(unescape("a%2Fb%3a%C3%A9").as_deref(), Some("a/b:é"));
        assert_eq!(unescape("%ff"), None);
    }
}
