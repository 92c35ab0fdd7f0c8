//! Prevents callers' URLs from reaching addresses that are not public.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::client::legacy::connect::dns::Name;

const REFUSED: &str = "its address is not public; the gateway fetches only from public addresses.";

pub(super) type LookupFuture = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Decides which addresses may be connected to.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) allows: Arc<dyn Fn(IpAddr) -> bool + Send + Sync>,
    pub(super) lookup: Arc<dyn Fn(String) -> LookupFuture + Send + Sync>,
}

impl Default for Guard {
    fn default() -> Self {
        let lookup = |name: String| -> LookupFuture {
            Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.collect()) })
        };
        Self { allows: Arc::new(is_public), lookup: Arc::new(lookup) }
    }
}

impl Guard {
    /// Checks scheme, credentials and a host that is an address itself; names are checked when they are resolved.
    pub(super) fn check(&self, uri: &Uri) -> Result<(), String> {
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err("only http and https addresses are fetched.".to_owned());
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err("its URL holds credentials.".to_owned());
        }
        let host = uri.host().unwrap_or("").trim_matches(['[', ']']);
        match host.parse::<IpAddr>() {
            Ok(address) if !(self.allows)(address) => Err(REFUSED.to_owned()),
            _ if host.is_empty() => Err("its URL names no host.".to_owned()),
            _ => Ok(()),
        }
    }

    /// The addresses of a name, if all of them may be connected to.
    pub(super) async fn resolve(&self, name: String) -> io::Result<Vec<SocketAddr>> {
        let found = (self.lookup)(name).await?;
        // One internal address is enough to refuse all: a name with both kinds is meant to reach the internal
        // one.
        if found.iter().all(|address| (self.allows)(address.ip())) {
            Ok(found)
        } else {
            Err(io::Error::other("its address is not public"))
        }
    }

    /// Whether a proxy may be asked for a host, which it resolves by itself. An address is checked here, and
    /// so is a name that resolves here. A name that does not resolve here is left to the proxy, because
    /// networks with a proxy often do not resolve outside names, unless it is a name of a local network.
    pub(super) async fn check_for_proxy(&self, host: &str) -> io::Result<()> {
        let refused = || io::Error::other("its address is not public");
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return (self.allows)(address).then_some(()).ok_or_else(refused);
        }
        match (self.lookup)(host.to_owned()).await {
            Ok(found) if !found.is_empty() => {
                found.iter().all(|address| (self.allows)(address.ip())).then_some(()).ok_or_else(refused)
            }
            _ => (!is_local_name(host)).then_some(()).ok_or_else(refused),
        }
    }
}

/// Names that are not of the public internet (RFC 6761, RFC 8375, ICANN's `internal`), and names without a dot.
fn is_local_name(host: &str) -> bool {
    const LOCAL: [&str; 10] = [
        "localhost",
        "local",
        "internal",
        "intranet",
        "private",
        "corp",
        "home",
        "lan",
        "home.arpa",
        "onion",
    ];
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    !host.contains('.')
        || LOCAL.iter().any(|end| host.strip_suffix(end).is_some_and(|rest| rest.ends_with('.')))
}

/// The resolver: the system's, and with a guard only for addresses that it allows. Connections use exactly
/// the checked addresses.
#[derive(Clone)]
pub(super) struct Resolver(pub(super) Option<Guard>);

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guard, name) = (self.0.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let found = match guard {
                Some(guard) => guard.resolve(name).await?,
                None => tokio::net::lookup_host((name, 0)).await?.collect(),
            };
            Ok(found.into_iter())
        })
    }
}

/// True for addresses of the public internet: no private, loopback, link-local (metadata services), shared,
/// multicast, documentation or reserved ones, including IPv6 forms of such addresses.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By the IANA registry of special addresses.
fn is_public_v4(address: Ipv4Addr) -> bool {
    // It looks public, and is the host that every virtual machine of Azure asks for its secrets.
    const AZURE_HOST: Ipv4Addr = Ipv4Addr::new(168, 63, 129, 16);
    let [first, second, third, _] = address.octets();
    let special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || address == AZURE_HOST
        || first == 0
        || first >= 240
        || (first == 100 && (64..128).contains(&second))
        || (first == 192 && second == 0 && third == 0)
        || (first == 192 && second == 88 && third == 99)
        || (first == 198 && (second == 18 || second == 19));
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let [.., high, low] = segments;
    let embedded = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match segments {
        // IPv4-mapped and NAT64 addresses contain an IPv4 address; a network's own NAT64 prefix is never
        // public.
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => is_public_v4(embedded(high, low)),
        // 6to4 contains one in its second and third segment.
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // Teredo and other special purposes, documentation.
        [0x2001, 0..=0x1ff, ..] | [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast is 2000::/3; the rest is local, multicast or reserved.
        [first, ..] => (0x2000..0x4000).contains(&first),
    }
}
