//! Settings of outgoing connections from the configuration and the environment: certificates and proxies.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::file::{ProviderSection, ProviderTlsSection, TlsSection};
use super::settings::Check;
use crate::upstream::outbound::{Identity, OutboundSettings, ProviderOutbound, Proxies};

/// The value of `proxy` for a direct connection.
const NO_PROXY: &str = "none";

impl Check<'_> {
    /// The settings of all outgoing connections.
    pub(super) fn outbound(&mut self, section: &TlsSection) -> OutboundSettings {
        OutboundSettings {
            authorities: self.authorities("tls.ca_file", section.ca_file.as_deref()),
            cert_file: self.environment.get("SSL_CERT_FILE").map(PathBuf::from),
            cert_dir: self.environment.get("SSL_CERT_DIR").map(PathBuf::from),
            proxies: self.environment_proxies(),
        }
    }

    /// The settings of connections to a provider.
    pub(super) fn provider_outbound(&mut self, id: &str, section: &ProviderSection) -> ProviderOutbound {
        let none = ProviderTlsSection::default();
        let tls = section.tls.as_ref().unwrap_or(&none);
        let path = format!("providers.{id}");
        ProviderOutbound {
            authorities: self.authorities(&format!("{path}.tls.ca_file"), tls.ca_file.as_deref()),
            identity: self.identity(&format!("{path}.tls"), tls),
            proxies: section.proxy.as_ref().and_then(|proxy| self.proxy(&format!("{path}.proxy"), proxy)),
        }
    }

    /// The variables that curl and most other programs use, in either case.
    fn environment_proxies(&mut self) -> Proxies {
        let environment = self.environment;
        let variable = |name: &str| {
            let lower = name.to_ascii_lowercase();
            environment.get(name).or_else(|| environment.get(&lower)).unwrap_or_default().trim().to_owned()
        };
        let [https, http, all] = ["HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"].map(|name| {
            let url = variable(name);
            match Proxies::mistake(&url) {
                Some(mistake) if !url.is_empty() => {
                    self.mistake(name, format!("the environment variable {mistake}"));
                    String::new()
                }
                _ => url,
            }
        });
        Proxies::of_environment(&https, &http, &all, &variable("NO_PROXY"))
    }

    fn proxy(&mut self, path: &str, text: &str) -> Option<Proxies> {
        let url = self.text(path, text);
        if url.trim().eq_ignore_ascii_case(NO_PROXY) {
            return Some(Proxies::default());
        }
        if let Some(mistake) = Proxies::mistake(url.trim()) {
            self.mistake(path, mistake);
            return None;
        }
        Some(Proxies::always(url.trim()))
    }

    fn authorities(&mut self, path: &str, file: Option<&str>) -> Vec<CertificateDer<'static>> {
        file.map_or_else(Vec::new, |file| self.certificates(path, file))
    }

    fn certificates(&mut self, path: &str, file: &str) -> Vec<CertificateDer<'static>> {
        let file = self.file_name(path, file);
        let read = CertificateDer::pem_file_iter(&file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        match read {
            Ok(certificates) if !certificates.is_empty() => return certificates,
            Ok(_) => self.mistake(path, format!("the file {} contains no PEM certificate", file.display())),
            Err(error) => self.mistake(path, unreadable(&file, &error)),
        }
        Vec::new()
    }

    fn identity(&mut self, path: &str, tls: &ProviderTlsSection) -> Option<Arc<Identity>> {
        let (cert, key) = match (&tls.cert, &tls.key) {
            (None, None) => return None,
            (Some(cert), Some(key)) => (cert, key),
            _ => {
                self.mistake(path, "a client certificate needs both cert and key");
                return None;
            }
        };
        let chain = self.certificates(&format!("{path}.cert"), cert);
        let key_path = format!("{path}.key");
        let file = self.file_name(&key_path, key);
        let key = match PrivateKeyDer::from_pem_file(&file) {
            Ok(key) => key,
            Err(error) => {
                self.mistake(key_path, unreadable(&file, &error));
                return None;
            }
        };
        if chain.is_empty() {
            return None;
        }
        match Identity::new(chain, key) {
            Ok(identity) => Some(Arc::new(identity)),
            Err(error) => {
                self.mistake(path, format!("the client certificate cannot be used: {error}"));
                None
            }
        }
    }

    /// `env:NAME` may name the file; `file:PATH` is the file itself.
    fn file_name(&mut self, path: &str, text: &str) -> PathBuf {
        match text.strip_prefix("file:") {
            Some(file) => PathBuf::from(file),
            None => PathBuf::from(self.text(path, text)),
        }
    }
}

fn unreadable(file: &Path, error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => format!("the file {} cannot be read: {error}", file.display()),
        pem::Error::NoItemsFound => format!("the file {} holds no key in PEM", file.display()),
        other => format!("the file {} is not valid PEM: {other}", file.display()),
    }
}

#[cfg(test)]
mod tests;
