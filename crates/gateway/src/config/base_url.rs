//! Validation of a provider's base URL. No message repeats the URL: it may contain a password.

use std::net::{IpAddr, SocketAddr};

use http::Uri;

/// Why a text is not a valid base URL, and what to do.
pub fn mistake(url: &str) -> Option<&'static str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return Some("must begin with http:// or https://") };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.contains('@') {
        return Some(
            "must not hold a user or password; send them as a header, such as \
             headers = { authorization = \"env:NAME\" } with \"Basic …\" in that variable",
        );
    }
    if rest.contains(['?', '#']) {
        return Some("must not hold a query or a fragment (? or #)");
    }
    let is_valid = url.is_ascii() && url.parse::<Uri>().is_ok_and(|uri| has_host_and_good_port(&uri));
    (!is_valid).then_some("is not a valid URL")
}

fn has_host_and_good_port(uri: &Uri) -> bool {
    let Some(authority) = uri.authority() else { return false };
    let host = authority.host();
    let port = authority.as_str().strip_prefix(host).unwrap_or_default();
    !host.is_empty() && (port.is_empty() || authority.port_u16().is_some())
}

/// True for the address that the gateway itself listens on: a call there would return as another request. A
/// name that resolves to it is detected by the hop header of the requests.
pub fn leads_to(url: &str, listen: SocketAddr) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    let usual = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    if listen.port() == 0 || uri.port_u16().unwrap_or(usual) != listen.port() {
        return false;
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    match host.parse::<IpAddr>().map(|host| host.to_canonical()) {
        Ok(host) if host == listen.ip().to_canonical() => true,
        // A listener on all addresses includes those of this machine, of which the loopback ones are known.
        Ok(host) => is_here(host) && (is_here(listen.ip()) || listen.ip().is_unspecified()),
        Err(_) => host.eq_ignore_ascii_case("localhost") && (is_here(listen.ip())),
    }
}

/// Connecting to the unspecified address reaches this machine as well.
fn is_here(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_base_url_is_reported_without_repeating_it() {
        let good = [
            "http://h",
            "https://h.test/v1",
            "http://[::1]:8000/v1",
            "http://10.0.0.5:8000/a/b",
            "http://h:1",
        ];
        for url in good {
            assert_eq!(mistake(url), None, "{url}");
        }
        let bad = [
            "h.test/v1",
            "localhost:8000",
            "ftp://h",
            "",
            "//h",
            "HTTP//h",
            "http://user:canary@h/v1",
            "http://user@h",
            "https://h/v1?api-version=1",
            "https://h/v1#x",
            "https://h/v1 x",
            "http://",
            "http:///v1",
            "http://h:port/",
            "https://h\u{e9}st/v1",
        ];
        for url in bad {
            let message = mistake(url).unwrap_or_else(|| panic!("{url}"));
            assert!(!message.contains("canary"));
        }
    }

    #[test]
    fn the_gateways_own_address_is_recognised() {
        let here: SocketAddr = "127.0.0.1:4000".parse().unwrap();
        let all: SocketAddr = "0.0.0.0:4000".parse().unwrap();
        let six: SocketAddr = "[::]:4000".parse().unwrap();
        let lan: SocketAddr = "10.0.0.7:4000".parse().unwrap();
        for url in [
            "http://127.0.0.1:4000/v1",
            "http://localhost:4000",
            "http://[::1]:4000/v1",
            "http://0.0.0.0:4000",
        ] {
            for listen in [here, all, six] {
                assert!(leads_to(url, listen), "{url} {listen}");
            }
            assert!(!leads_to(url, lan), "{url}");
            assert!(!leads_to(url, "127.0.0.1:0".parse().unwrap()), "{url}");
        }
        assert!(leads_to("http://10.0.0.7:4000/v1", lan));
        for url in [
            "http://127.0.0.1:4001/v1",
            "http://127.0.0.1",
            "https://api.test:4000/v1",
            "http://10.0.0.8:4000",
        ] {
            assert!(!leads_to(url, here), "{url}");
        }
        assert!(leads_to("http://127.0.0.1/v1", "127.0.0.1:80".parse().unwrap()));
    }
}
