//! Addresses that a provider gives in headers: where the next piece of an upload goes, where the state of an operation is. A caller
//! that goes there has no key for them, so they lead through the gateway.

use http::{HeaderMap, HeaderValue};

/// Google's resumable uploads, and operations that take long at Azure.
const ADDRESSES: [&str; 3] = ["x-goog-upload-url", "x-goog-upload-control-url", "operation-location"];

/// Replaces the provider's root by the gateway's address for it. `sent` is the URL that was asked for, and `path` what of it, with the
/// query, is behind the root.
pub fn lead_here(headers: &mut HeaderMap, here: &str, path: &str, sent: impl Fn() -> Option<String>) {
    for name in ADDRESSES {
        let Some(address) = headers.get(name).and_then(|value| value.to_str().ok()) else { continue };
        let Some(sent) = sent() else { continue };
        let Some(root) = sent.find(path).map(|at| &sent[..at]).filter(|root| !root.is_empty()) else {
            continue;
        };
        let rest = address.strip_prefix(root).filter(|rest| rest.starts_with(['/', '?']));
        if let Some(Ok(value)) = rest.map(|rest| HeaderValue::try_from(format!("{here}{rest}"))) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_provider_lead_here() {
        let here = "https://gateway/p/google";
        for (root, given, expected) in [
            (
                "https://g.com",
                "https://g.com/upload/v1beta/files?upload_id=1",
                "https://gateway/p/google/upload/v1beta/files?upload_id=1",
            ),
            ("http://h/g", "http://h/g/upload?a", "https://gateway/p/google/upload?a"),
            // Somewhere else.
            ("https://g.com", "https://g.com.evil/upload", "https://g.com.evil/upload"),
            ("http://h/g", "http://h/other", "http://h/other"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert("x-goog-upload-url", HeaderValue::from_static(given));
            headers.insert("location", HeaderValue::from_static(given));
            lead_here(&mut headers, here, "/upload/v1beta/files", || {
                Some(format!("{root}/upload/v1beta/files?a=b"))
            });
            assert_eq!(headers["x-goog-upload-url"], expected);
            assert_eq!(headers["location"], given);
        }
    }
}
