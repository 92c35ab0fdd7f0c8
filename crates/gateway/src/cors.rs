//! Pages that may call from a browser (`server.cors_origins`): preflight requests are answered, and answers
//! name the allowed origin.

use std::str::FromStr;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};

/// The headers of an answer that a page may read, besides the default ones.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "x-request-id, x-llmgateway-provider, x-llmgateway-model, x-llmgateway-attempts, x-llmgateway-cost-usd, retry-after",
);

/// The origins that may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cors(Vec<Pattern>);

/// One entry of the setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `*`
    Any,
    /// `https://app.example.com`, `null`
    Exactly(String),
    /// `http://localhost:*`: every port of a host, or none.
    AnyPort(String),
    /// `https://*.example.com`: scheme with `://`, and the end of the host with its dot.
    AnySubdomain(String, String),
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim().to_ascii_lowercase();
        if text == "*" {
            return Ok(Self::Any);
        }
        if text == "null" {
            return Ok(Self::Exactly(text));
        }
        let wrong = || {
            format!(
                "{text:?} is not a valid origin; write SCHEME://HOST[:PORT], such as https://app.example.com, http://localhost:* or https://*.example.com"
            )
        };
        let (scheme, host) = text.split_once("://").ok_or_else(wrong)?;
        let is_plain = |host: &str| {
            !host.is_empty()
                && !host.contains(['/', '*', '?', '#', '@', ','])
                && !host.contains(char::is_whitespace)
        };
        let scheme_end = format!("{scheme}://");
        match (host.strip_suffix(":*"), host.strip_prefix('*')) {
            (Some(host), None) if is_plain(host) => Ok(Self::AnyPort(format!("{scheme_end}{host}"))),
            (None, Some(end)) if end.starts_with('.') && is_plain(end) => {
                Ok(Self::AnySubdomain(scheme_end, end.to_owned()))
            }
            (None, None) if is_plain(host) && !scheme.is_empty() => Ok(Self::Exactly(text)),
            _ => Err(wrong()),
        }
    }
}

impl Pattern {
    fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(one) => one == origin,
            Self::AnyPort(start) => origin.strip_prefix(start.as_str()).is_some_and(|rest| {
                rest.is_empty()
                    || rest.strip_prefix(':').is_some_and(|port| {
                        !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit())
                    })
            }),
            Self::AnySubdomain(scheme, end) => origin
                .strip_prefix(scheme.as_str())
                .and_then(|host| host.strip_suffix(end.as_str()))
                .is_some_and(|name| {
                    !name.is_empty()
                        && name
                            .bytes()
                            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
                }),
        }
    }
}

impl Cors {
    /// The origins of the setting.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// The origin of a request, if it may call.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let value = headers.get(ORIGIN)?;
        let origin = value.to_str().ok()?.to_ascii_lowercase();
        self.0.iter().any(|pattern| pattern.allows(&origin)).then(|| value.clone())
    }

    /// Allows the page of `origin` to read an answer.
    pub fn allow(origin: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        answer.append(VARY, HeaderValue::from_static("origin"));
    }

    pub fn is_preflight(headers: &HeaderMap) -> bool {
        headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Answers a preflight request: these methods, and all headers that the page asks for. Keys are headers,
    /// and a page must have one; its requests are checked like any other.
    pub fn allow_preflight(request: &HeaderMap, methods: HeaderValue, answer: &mut HeaderMap) {
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
        answer.append(VARY, HeaderValue::from_static("access-control-request-headers"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(patterns: &[&str], origin: &str) -> bool {
        let cors = Cors::new(patterns.iter().map(|text| text.parse().unwrap()).collect());
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
        cors.origin(&headers).is_some()
    }

    #[test]
    fn only_listed_origins_are_allowed() {
        let listed =
            ["https://app.example.com", "http://localhost:*", "https://*.example.org", "app://obsidian.md"];
        for origin in [
            "https://app.example.com",
            "HTTPS://App.Example.com",
            "http://localhost",
            "http://localhost:5173",
            "https://a.b.example.org",
            "app://obsidian.md",
        ] {
            assert!(allows(&listed, origin), "{origin}");
        }
        for origin in [
            "http://app.example.com",
            "https://app.example.com.evil.test",
            "https://app.example.com:8443",
            "http://localhost.evil.test",
            "http://localhost:5173.evil.test",
            "http://localhost:",
            "https://example.org",
            "https://evilexample.org",
            "https://evil.test/.example.org",
            "null",
        ] {
            assert!(!allows(&listed, origin), "{origin}");
        }
        assert!(allows(&["*"], "https://anything.test"));
        assert!(allows(&["null"], "null"));
        assert!(!allows(&[], "http://localhost"));
    }

    #[test]
    fn an_invalid_origin_is_a_mistake() {
        for text in [
            "",
            "example.com",
            "https://",
            "https://a/b",
            "https://*",
            "https://*a.test",
            "https://a.*",
            "://a",
        ] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }
}
