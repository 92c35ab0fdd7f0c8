//! URL schemes, media types and `data:` URLs. All of their tokens are case-insensitive (RFC 3986 3.1, RFC
//! 2045 5.1, RFC 2397): dialects convert them to lower case, so that adapters can compare them directly.

/// The text after the scheme, if the URL has this scheme.
pub(super) fn after_scheme<'a>(url: &'a str, scheme: &str) -> Option<&'a str> {
    let (given, rest) = url.split_once(':')?;
    given.trim_start().eq_ignore_ascii_case(scheme).then_some(rest)
}

/// True for an address on the web.
pub(super) fn is_web(url: &str) -> bool {
    let rest = after_scheme(url, "https").or_else(|| after_scheme(url, "http"));
    rest.and_then(|rest| rest.strip_prefix("//")).is_some_and(|rest| !rest.is_empty())
}

/// The URL with its scheme in lower case.
pub(super) fn with_plain_scheme(url: &str) -> String {
    let url = url.trim();
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
        None => url.to_owned(),
    }
}

/// A `data:` URL in its parts.
pub(crate) struct DataUrl<'a> {
    /// The media type in lower case, without parameters; empty when none is given.
    pub mime: String,
    /// The data are base64.
    pub is_base64: bool,
    /// The text after the comma.
    pub data: &'a str,
}

/// Reads a `data:` URL: `Some(None)` is one without data.
pub(crate) fn data_url(url: &str) -> Option<Option<DataUrl<'_>>> {
    let rest = after_scheme(url, "data")?;
    Some(rest.split_once(',').map(|(head, data)| {
        let parameters = head.split(';').skip(1);
        let is_base64 = parameters.last().is_some_and(|last| last.trim().eq_ignore_ascii_case("base64"));
        DataUrl { mime: media_type(head), is_base64, data }
    }))
}

/// A media type in lower case, without parameters such as `charset`.
pub(super) fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The media type of a document by the extension of its name.
pub(super) fn document_type(filename: &str) -> Option<&'static str> {
    let ending = filename.rsplit_once('.')?.1.to_ascii_lowercase();
    DOCUMENTS.iter().find(|(known, _)| *known == ending).map(|(_, mime)| *mime)
}

const DOCUMENTS: &[(&str, &str)] = &[
    ("pdf", "application/pdf"),
    ("txt", "text/plain"),
    ("md", "text/markdown"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("xml", "text/xml"),
    ("css", "text/css"),
    ("json", "application/json"),
    ("rtf", "application/rtf"),
    ("doc", "application/msword"),
    ("docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
    ("xls", "application/vnd.ms-excel"),
    ("xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_compared_in_any_case() {
        for url in [
            "data:image/png;base64,iVBOR",
            "DATA:image/PNG;base64,iVBOR",
            "Data:Image/Png;BASE64,iVBOR",
            "data:image/png;charset=UTF-8;Base64,iVBOR",
            "data: image/png ; base64 ,iVBOR",
        ] {
            let found = data_url(url).unwrap().unwrap();
            assert_eq!(
                (found.mime.as_str(), found.is_base64, found.data),
                ("image/png", true, "iVBOR"),
                "{url}"
            );
        }
        assert!(!data_url("data:text/plain,base64").unwrap().unwrap().is_base64);
        assert!(data_url("data:image/png;base64").unwrap().is_none());
        assert!(data_url("https://x.test/a,b").is_none());
        assert!(
            is_web("HTTPS://x.test") && is_web("http://x.test") && !is_web("https:") && !is_web("ftp://x")
        );
        assert_eq!(with_plain_scheme(" HTTPS://X.test/A "), "https://X.test/A");
        assert_eq!(media_type("Text/CSV; charset=utf-8"), "text/csv");
        assert_eq!(document_type("a.b.XLSX").unwrap().len(), 65);
    }
}
