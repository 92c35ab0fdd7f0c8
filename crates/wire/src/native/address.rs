//! URLs in a provider's response headers, such as the next piece of an upload or the state of an operation.
//! The caller has no key for the provider, so these URLs are rewritten to lead through the gateway.

use http::{HeaderMap, HeaderValue};

/// Google's resumable uploads, and Azure's long-running operations.
const ADDRESSES: [&str; 3] = ["x-goog-upload-url", "x-goog-upload-control-url", "operation-location"];

/// Replaces the provider's root by the gateway's address for it. `sent` is the requested URL, and `path` is
/// its part after the root, with the query.
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
    fn urls_of_the_provider_lead_through_the_gateway() {
        let here = "https://gateway/p/google";
        for (root, given, expected) in [
            (
                "https://g.com",
                "https://g.com/upload/v1beta/files?upload_id=1",
                "https://gateway/p/google/upload/v1beta/files?upload_id=1",
            ),
            ("http://h/g", "http://h/g/upload?a", "https://gateway/p/google/upload?a"),
            // Another host.
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
