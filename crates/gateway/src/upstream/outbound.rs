//! Outgoing connections: trusted authorities, client certificates, and proxies.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use canon::Secret;
use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::CertificateResult;

/// The default time limit for opening a connection.
const USUAL_LIMIT: Duration = Duration::from_secs(10);

/// Settings of all outgoing connections from the configuration and the environment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OutboundSettings {
    /// Authorities to trust besides the system's and the built-in ones.
    pub authorities: Vec<CertificateDer<'static>>,
    /// `SSL_CERT_FILE`: replaces the system's authorities.
    pub cert_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: likewise.
    pub cert_dir: Option<PathBuf>,
    pub proxies: Proxies,
}

/// A provider section's settings of connections.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProviderOutbound {
    /// Further authorities to trust.
    pub authorities: Vec<CertificateDer<'static>>,
    /// The client certificate for a server that asks for one.
    pub identity: Option<Arc<Identity>>,
    /// The proxy, or none; from the environment where unset.
    pub proxies: Option<Proxies>,
}

/// A client certificate with its key.
#[derive(PartialEq)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

/// Never the key.
impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("chain", &self.chain.len()).finish_non_exhaustive()
    }
}

impl Identity {
    /// A certificate chain and the key that belongs to it.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, rustls::Error> {
        let identity = Self { chain, key };
        client_config(Arc::new(RootCertStore::empty()), Some(&identity))?;
        Ok(identity)
    }
}

/// The proxies by target. `Debug` shows no password.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    matcher: Option<Arc<Matcher>>,
    /// The source of the matcher.
    source: Option<Secret>,
    /// A proxy that the operator set for a provider is used for loopback addresses as well.
    with_loopback: bool,
}

impl PartialEq for Proxies {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source && self.with_loopback == other.with_loopback
    }
}

impl Proxies {
    /// The proxies of the environment's variables.
    pub fn of_environment(https: &str, http: &str, all: &str, none: &str) -> Self {
        let none = none.to_ascii_lowercase().replace("*.", ".");
        let matcher = Matcher::builder().https(https).http(http).all(all).no(none.as_str()).build();
        let source = Secret::new([https, http, all, &none].join("\n"));
        Self { matcher: Some(Arc::new(matcher)), source: Some(source), with_loopback: false }
    }

    /// One proxy for all targets.
    pub fn always(url: &str) -> Self {
        let matcher = Matcher::builder().all(url).build();
        Self { matcher: Some(Arc::new(matcher)), source: Some(Secret::new(url)), with_loopback: true }
    }

    /// Why a URL is not a valid proxy. The reason never contains the URL, which may contain a password.
    pub fn mistake(url: &str) -> Option<&'static str> {
        let uri: Uri = match url.parse() {
            Ok(uri) => uri,
            Err(_) => {
                return Some("is not a valid URL; write http://host:port, or http://user:password@host:port");
            }
        };
        let has_port = uri.port_u16().is_some();
        match uri.scheme_str() {
            None | Some("http" | "https") if uri.authority().is_some() => None,
            Some("socks5" | "socks5h") if has_port => None,
            Some("socks5" | "socks5h") => Some("needs a port, such as socks5h://host:1080"),
            _ => Some("must begin with http://, https://, socks5:// or socks5h://"),
        }
    }

    /// The proxy for an address; none for a direct connection.
    pub(super) fn lead_to(&self, uri: &Uri) -> Option<Intercept> {
        let matcher = self.matcher.as_ref()?;
        let host = uri.host()?;
        // A remote proxy can reach neither this machine nor the address where a cloud issues its tokens.
        let is_out_of_reach = is_link_local(host) || (!self.with_loopback && is_loopback(host));
        (!is_out_of_reach).then(|| matcher.intercept(uri)).flatten()
    }
}

fn address(host: &str) -> Option<IpAddr> {
    host.trim_matches(['[', ']']).parse().ok()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.');
    address(host).map_or_else(
        || host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
        |address| address.to_canonical().is_loopback(),
    )
}

fn is_link_local(host: &str) -> bool {
    match address(host) {
        Some(IpAddr::V4(address)) => address.is_link_local(),
        Some(IpAddr::V6(address)) => {
            address.is_unicast_link_local() || address.segments()[..2] == [0xfd00, 0xec2]
        }
        None => host.eq_ignore_ascii_case("metadata.google.internal"),
    }
}

/// TLS and proxies of all connections to the outside.
pub struct Outbound {
    roots: Arc<RootCertStore>,
    tls: ClientConfig,
    settings: OutboundSettings,
}

/// Trusts only the built-in authorities, without a proxy.
impl Default for Outbound {
    fn default() -> Self {
        let roots = Arc::new(built_in());
        let tls = plain_config(roots.clone());
        Self { roots, tls, settings: OutboundSettings::default() }
    }
}

impl Outbound {
    /// Trusts the built-in authorities, the system's, and those of the settings.
    pub fn new(settings: OutboundSettings) -> Self {
        let mut roots = built_in();
        let system = match (&settings.cert_file, &settings.cert_dir) {
            (None, None) => system_authorities(),
            (file, folder) => &authorities_in(file.as_deref(), folder.as_deref()),
        };
        let (_, unusable) = roots.add_parsable_certificates(system.iter().cloned());
        if unusable > 0 {
            tracing::debug!(unusable, "authorities of the system cannot be used");
        }
        roots.add_parsable_certificates(settings.authorities.iter().cloned());
        let roots = Arc::new(roots);
        Self { tls: plain_config(roots.clone()), roots, settings }
    }

    pub fn settings(&self) -> &OutboundSettings {
        &self.settings
    }

    /// The route of connections without a provider.
    pub fn route(&self) -> Route {
        Route { limit: USUAL_LIMIT, tls: self.tls.clone(), proxies: self.settings.proxies.clone() }
    }

    /// The route of connections to a provider.
    pub fn provider_route(&self, provider: &ProviderOutbound, limit: Duration) -> Route {
        let proxies = provider.proxies.as_ref().unwrap_or(&self.settings.proxies).clone();
        if provider.authorities.is_empty() && provider.identity.is_none() {
            return Route { limit, tls: self.tls.clone(), proxies };
        }
        let mut roots = RootCertStore::clone(&self.roots);
        roots.add_parsable_certificates(provider.authorities.iter().cloned());
        let roots = Arc::new(roots);
        // `Identity::new` has checked the same.
        let tls = client_config(roots.clone(), provider.identity.as_deref());
        Route { limit, tls: tls.unwrap_or_else(|_| plain_config(roots)), proxies }
    }
}

/// The settings of a connection.
#[derive(Clone)]
pub struct Route {
    /// The longest time to open a connection: name, proxy and TLS included.
    pub limit: Duration,
    /// Trusted authorities and the client certificate.
    pub tls: ClientConfig,
    pub proxies: Proxies,
}

impl Default for Route {
    fn default() -> Self {
        Outbound::default().route()
    }
}

fn built_in() -> RootCertStore {
    RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())
}

/// Read once: they are several hundred files.
fn system_authorities() -> &'static [CertificateDer<'static>] {
    static FOUND: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    FOUND.get_or_init(|| warned(rustls_native_certs::load_native_certs()))
}

fn authorities_in(
    file: Option<&std::path::Path>,
    folder: Option<&std::path::Path>,
) -> Vec<CertificateDer<'static>> {
    warned(rustls_native_certs::load_certs_from_paths(file, folder))
}

fn warned(found: CertificateResult) -> Vec<CertificateDer<'static>> {
    for error in found.errors {
        tracing::warn!(%error, "certificate authorities of the system could not be read");
    }
    found.certs
}

fn client_config(
    roots: Arc<RootCertStore>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let cryptography = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(cryptography)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(identity) => builder.with_client_auth_cert(identity.chain.clone(), identity.key.clone_key()),
    }
}

fn plain_config(roots: Arc<RootCertStore>) -> ClientConfig {
    client_config(roots, None).expect("ring speaks the default versions of TLS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(proxies: &Proxies, uri: &str) -> Option<String> {
        proxies.lead_to(&uri.parse().unwrap()).map(|proxy| proxy.uri().to_string())
    }

    #[test]
    fn the_environments_proxies_are_chosen_by_scheme_and_host() {
        let proxies =
            Proxies::of_environment("http://s:1", "h:2", "http://a:3", "corp.example, *.Lan, 10.0.0.0/8");
        assert_eq!(leads(&proxies, "https://api.example/v1").unwrap(), "http://s:1/");
        assert_eq!(leads(&proxies, "http://api.example/v1").unwrap(), "http://h:2/");
        for direct in [
            "https://llm.corp.example",
            "https://box.lan",
            "https://10.1.2.3",
            "http://127.0.0.1:8000",
            "http://[::1]:8000",
            "http://localhost:11434",
            "http://169.254.169.254/latest",
            "http://metadata.google.internal/",
        ] {
            assert_eq!(leads(&proxies, direct), None, "{direct}");
        }
        let all = Proxies::of_environment("", "", "socks5h://a:3", "");
        assert_eq!(leads(&all, "https://api.example/v1").unwrap(), "socks5h://a:3/");
        assert_eq!(leads(&Proxies::default(), "https://api.example/v1"), None);
    }

    #[test]
    fn a_providers_own_proxy_is_used_for_local_addresses_too() {
        let proxies = Proxies::always("http://user:secret@p:1");
        assert_eq!(leads(&proxies, "http://127.0.0.1:8000/v1").unwrap(), "http://p:1/");
        assert!(!format!("{proxies:?}").contains("secret"), "{proxies:?}");
    }

    #[test]
    fn errors_of_proxies_do_not_repeat_their_urls() {
        for url in ["http://u:p@h:1", "https://h", "h:1", "socks5h://h:1"] {
            assert_eq!(Proxies::mistake(url), None, "{url}");
        }
        for url in ["ftp://secret@h", "http://", "socks5://secret@h", "secret secret", ""] {
            let mistake = Proxies::mistake(url).expect(url);
            assert!(!mistake.contains("secret"), "{mistake}");
        }
    }
}
