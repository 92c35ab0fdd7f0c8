//! The `Host` of a request: exactly one, and a valid one (RFC 9112, 3.2). Servers interpret a missing or
//! repeated one differently, which enables request smuggling.

use canon::{Error, ErrorKind};
use http::header::HOST;
use http::{HeaderMap, Version};

/// Checks the `Host` of a request.
pub fn check(version: Version, headers: &HeaderMap) -> Result<(), Error> {
    let mut values = headers.get_all(HOST).iter();
    let problem = match (values.next(), values.next()) {
        // HTTP/1.0 has no such rule, and HTTP/2 uses `:authority`.
        (None, _) if version != Version::HTTP_11 => return Ok(()),
        (None, _) => "The request has no Host header; HTTP/1.1 requires one.",
        (Some(_), Some(_)) => "The request has several Host headers; send one.",
        (Some(value), None) if is_host(value.as_bytes()) => return Ok(()),
        (Some(_), None) => "The Host header is not valid; it must be a host with an optional port.",
    };
    Err(Error::caller(ErrorKind::InvalidRequest, problem).at("host"))
}

/// A name or an address, with an optional port. Marks that RFC 3986 allows in a name but that no host has are
/// refused.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let address = std::str::from_utf8(&rest[..end]).ok();
            if address.is_none_or(|address| address.parse::<std::net::Ipv6Addr>().is_err()) {
                return false;
            }
            (&rest[..end], &rest[end + 1..])
        }
        None => {
            let end = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            value.split_at(end)
        }
    };
    let is_bracketed = value.first() == Some(&b'[');
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let has_host = !host.is_empty() && (is_bracketed || host.iter().all(is_name));
    let has_port = match port {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            digits.iter().all(u8::is_ascii_digit)
                && std::str::from_utf8(digits).is_ok_and(|digits| digits.parse::<u16>().is_ok())
        }
        _ => false,
    };
    has_host && has_port
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(version: Version, hosts: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        check(version, &headers).is_ok()
    }

    #[test]
    fn exactly_one_valid_host_is_accepted() {
        for host in ["a", "gw.example", "g_w-1:4000", "127.0.0.1:80", "[::1]", "[::1]:4000", "a:"] {
            assert!(checked(Version::HTTP_11, &[host]), "{host}");
        }
        for host in [
            "", " ", "a b", "a/b", "user@a", "a,b", "a:b", "a:99999", "[::1", "[::1]x", "[x]", "::1", "a?b",
            "a#b", "http://a", ":80", "a\\b", "a:80:80", "a\tb", "[]",
        ] {
            assert!(!checked(Version::HTTP_11, &[host]), "{host}");
        }
        assert!(!checked(Version::HTTP_11, &[]));
        assert!(!checked(Version::HTTP_11, &["a", "a"]));
        assert!(!checked(Version::HTTP_10, &["a", "b"]));
        assert!(checked(Version::HTTP_10, &[]));
        assert!(checked(Version::HTTP_2, &[]));
    }
}
