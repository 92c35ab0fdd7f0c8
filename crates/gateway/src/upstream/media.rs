//! Fetches media that a request names by URL, for providers that only take bytes.
//!
//! The URL is the client's word, so the guard is strict: only http and https, only public addresses (checked on what
//! the name resolves to, and that is what is connected to, for each redirect anew), no credentials, limits of size, time
//! and type.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use canon::{Error, Media, MediaKind, Request, Result, Source};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{Response, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::client::legacy::{self};
use hyper_util::rt::TokioExecutor;

use super::client::root_cause;

/// Largest file that is fetched, in bytes.
const SIZE_LIMIT: usize = 20 << 20;
/// Longest time for one file, redirects included.
const TIME_LIMIT: Duration = Duration::from_secs(20);
/// Most redirects that are followed.
const REDIRECTS: usize = 3;
/// Most files of one request.
const FILES: usize = 20;

/// Fetches media.
#[derive(Clone)]
pub struct MediaFetcher {
    client: legacy::Client<HttpsConnector<HttpConnector<Guard>>, Empty<Bytes>>,
    guard: Guard,
}

/// Resolves names to public addresses only.
#[derive(Clone, Copy, Debug)]
struct Guard {
    /// For tests on loopback.
    allow_private: bool,
}

impl Default for MediaFetcher {
    fn default() -> Self {
        Self::new(false)
    }
}

impl MediaFetcher {
    /// A fetcher. Private addresses are only for tests.
    pub fn new(allow_private: bool) -> Self {
        let guard = Guard { allow_private };
        let mut connector = HttpConnector::new_with_resolver(guard);
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let https = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self {
            client: legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(https),
            guard,
        }
    }

    /// Replaces every URL that `wanted` names by the bytes behind it.
    pub async fn inline(&self, request: &mut Request, wanted: impl Fn(&Media) -> bool) -> Result<()> {
        let mut fetched = 0;
        for (index, message) in request.messages.iter_mut().enumerate() {
            for (part, media) in media_of(message) {
                let Source::Url(url) = &media.source else { continue };
                if !wanted(media) {
                    continue;
                }
                fetched += 1;
                let path = format!("messages[{index}].content[{part}]");
                if fetched > FILES {
                    return Err(Error::invalid(
                        path,
                        format!("The request names more than {FILES} files by URL."),
                    ));
                }
                let (mime, data) = self.fetch(url, media.kind).await.map_err(|reason| {
                    Error::invalid(path.clone(), format!("{path} cannot be used: {reason}"))
                })?;
                media.source = Source::Base64 { mime, data: STANDARD.encode(data) };
            }
        }
        Ok(())
    }

    async fn fetch(&self, url: &str, kind: MediaKind) -> Result<(String, Bytes), String> {
        match tokio::time::timeout(TIME_LIMIT, self.follow(url, kind)).await {
            Ok(result) => result,
            Err(_) => Err(format!("it did not arrive within {} seconds.", TIME_LIMIT.as_secs())),
        }
    }

    async fn follow(&self, url: &str, kind: MediaKind) -> Result<(String, Bytes), String> {
        let mut uri: Uri = url.parse().map_err(|_| "its URL is not valid.".to_owned())?;
        for _ in 0..=REDIRECTS {
            self.guard.check(&uri)?;
            let request = http::Request::get(uri.clone())
                .header(ACCEPT, "image/*, application/pdf, audio/*, video/*, text/plain")
                .body(Empty::new())
                .map_err(|_| "its URL is not valid.".to_owned())?;
            let response =
                self.client.request(request).await.map_err(|error| format!("{}.", root_cause(&error)))?;
            match response.status().as_u16() {
                200 => return take(response, kind).await,
                301 | 302 | 303 | 307 | 308 => uri = next(&uri, &response)?,
                status => return Err(format!("its server answered with status {status}.")),
            }
        }
        Err(format!("its server redirects more than {REDIRECTS} times."))
    }
}

/// The media of a message, with their places.
fn media_of(message: &mut canon::Message) -> impl Iterator<Item = (usize, &mut Media)> {
    message.parts.iter_mut().enumerate().filter_map(|(index, part)| match &mut part.kind {
        canon::PartKind::Media(media) => Some((index, media)),
        _ => None,
    })
}

async fn take(response: Response<Incoming>, kind: MediaKind) -> Result<(String, Bytes), String> {
    let (head, body) = response.into_parts();
    let told = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let collected = Limited::new(body, SIZE_LIMIT).collect().await;
    let data =
        collected.map_err(|_| format!("it is larger than {SIZE_LIMIT} bytes, or broke off."))?.to_bytes();
    let mime = mime_of(&data, &told);
    let fits = match kind {
        MediaKind::Image => mime.starts_with("image/"),
        MediaKind::Audio => mime.starts_with("audio/"),
        MediaKind::Video => mime.starts_with("video/"),
        MediaKind::Document => mime == "application/pdf" || mime.starts_with("text/"),
    };
    match fits {
        true => Ok((mime, data)),
        false => Err(format!("its content is {mime:?}, not {}.", kind_name(kind))),
    }
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "an image",
        MediaKind::Audio => "audio",
        MediaKind::Video => "a video",
        MediaKind::Document => "a PDF or text file",
    }
}

/// The type by the first bytes, which cannot be mistaken, else what the server says.
fn mime_of(data: &[u8], told: &str) -> String {
    let by_content = match data {
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'G', b'I', b'F', b'8', ..] => "image/gif",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => "audio/wav",
        [b'%', b'P', b'D', b'F', ..] => "application/pdf",
        _ => told.split(';').next().unwrap_or("").trim(),
    };
    if by_content.is_empty() {
        "application/octet-stream".to_owned()
    } else {
        by_content.to_ascii_lowercase()
    }
}

/// Where a redirect leads.
fn next(from: &Uri, response: &Response<Incoming>) -> Result<Uri, String> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or("");
    let target = match (location.starts_with("//"), location.starts_with('/')) {
        (true, _) => format!("{}:{location}", from.scheme_str().unwrap_or("https")),
        (false, true) => {
            let authority = from.authority().map_or("", |authority| authority.as_str());
            format!("{}://{authority}{location}", from.scheme_str().unwrap_or("https"))
        }
        (false, false) => location.to_owned(),
    };
    target.parse().map_err(|_| "its server redirects to an address that is not valid.".to_owned())
}

const REFUSED: &str = "its address is not public; the gateway fetches only from public addresses.";

impl Guard {
    /// Checks scheme, credentials and a host that is an address itself; names are checked when they are resolved.
    fn check(self, uri: &Uri) -> Result<(), String> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("only http and https addresses are fetched.".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("its URL holds credentials.".to_owned());
        }
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) if !self.allows(address) => Err(REFUSED.to_owned()),
            _ if host.is_empty() => Err("its URL names no host.".to_owned()),
            _ => Ok(()),
        }
    }

    fn allows(self, address: IpAddr) -> bool {
        self.allow_private || is_public(address)
    }
}

/// Resolving is where the guard stands: the addresses that pass are those that are connected to.
impl tower_service::Service<Name> for Guard {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let guard = *self;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            match found.iter().all(|address| guard.allows(address.ip())) {
                true => Ok(found.into_iter()),
                false => Err(std::io::Error::other("its address is not public")),
            }
        })
    }
}

/// True for addresses of the public internet: no private, loopback, link-local (metadata services), shared, multicast,
/// documentation or reserved ones, also not when an IPv6 address stands for one of them.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 198 && (second == 18 || second == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [.., high, low] = segments;
    let embedded = || Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // IPv4-mapped, IPv4-compatible (with :: and ::1) and NAT64 addresses stand for an IPv4 address.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0, 0, 0, 0, 0, 0, ..] | [0x64, 0xff9b, ..] => {
            segments[..6] != [0; 6] && is_public_v4(embedded())
        }
        // 6to4 holds one in its second and third segment.
        [0x2002, high, low, ..] => is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))),
        // Teredo, documentation.
        [0x2001, 0, ..] | [0x2001, 0xdb8, ..] => false,
        // Global unicast is 2000::/3; the rest is local, multicast or reserved.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        let refused = [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "100.64.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "198.18.0.1",
            "192.0.0.8",
            "240.0.0.1",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::7f00:1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001:db8::1",
            "2001:0:1::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "100::1",
        ];
        for address in refused {
            assert!(!is_public(address.parse().unwrap()), "{address}");
        }
        for address in
            ["8.8.8.8", "93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8", "64:ff9b::808:808"]
        {
            assert!(is_public(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn urls_that_could_lead_inside_are_refused() {
        let guard = Guard { allow_private: false };
        for url in [
            "file:///etc/passwd",
            "ftp://x/y",
            "http://127.0.0.1/",
            "http://[::1]:80/",
            "http://user:pw@example.com/",
            "http://[::ffff:10.0.0.1]/",
        ] {
            let refused = url.parse::<Uri>().map_or(true, |uri| guard.check(&uri).is_err());
            assert!(refused, "{url}");
        }
        assert!(guard.check(&"https://example.com/a.png".parse().unwrap()).is_ok());
    }

    /// Octal, decimal and short forms are names to the URL parser; the resolver turns them into addresses, and those are
    /// checked.
    #[tokio::test]
    async fn odd_spellings_of_loopback_are_refused_when_resolved() {
        use tower_service::Service;
        for host in ["localhost", "2130706433", "0177.0.0.1", "127.1", "0x7f.1"] {
            let mut guard = Guard { allow_private: false };
            let resolved = guard.call(host.parse().unwrap()).await;
            assert!(resolved.is_err(), "{host}: {resolved:?}");
        }
    }

    #[test]
    fn content_outweighs_what_the_server_says() {
        assert_eq!(mime_of(b"\x89PNG\r\n", "text/html"), "image/png");
        assert_eq!(mime_of(b"<html>", "text/html; charset=utf-8"), "text/html");
        assert_eq!(mime_of(b"", ""), "application/octet-stream");
    }
}
