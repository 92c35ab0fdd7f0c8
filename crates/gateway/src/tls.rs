//! TLS for callers. The certificate is read again when its files have changed. This is checked when a
//! connection arrives, so a renewed certificate needs neither a restart nor a signal.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::clock;

/// The minimum time between two checks of the files.
const LOOK: Duration = Duration::from_secs(1);

/// The certificate in force.
pub struct Tls {
    files: Files,
    state: Mutex<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate and its chain, as PEM.
    pub cert: PathBuf,
    /// Its private key, as PEM.
    pub key: PathBuf,
}

struct State {
    config: Arc<ServerConfig>,
    /// The files at the last read, valid or not.
    seen: Option<Stamp>,
    looked: Instant,
}

/// The state of the files, which changes when one is written or replaced.
type Stamp = [(SystemTime, u64); 2];

impl Tls {
    pub fn load(files: Files) -> Result<Self, String> {
        let seen = files.stamp();
        let config = files.read()?;
        Ok(Self { files, state: Mutex::new(State { config, seen, looked: clock::now() }) })
    }

    /// The acceptor for the next connection.
    pub fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.elapsed() >= LOOK {
            state.looked = clock::now();
            let stamp = self.files.stamp();
            if stamp != state.seen {
                match self.files.read() {
                    Ok(config) => {
                        tracing::info!("the TLS certificate was read again");
                        state.config = config;
                    }
                    // Between two writes the files may not match: the next change is checked again.
                    Err(message) => tracing::warn!("{message} The one before stays in force."),
                }
                state.seen = stamp;
            }
        }
        TlsAcceptor::from(state.config.clone())
    }
}

impl Files {
    /// None where a file does not exist.
    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        Some([of(&self.cert)?, of(&self.key)?])
    }

    fn read(&self) -> Result<Arc<ServerConfig>, String> {
        let unreadable = |path: &PathBuf, error: rustls::pki_types::pem::Error| {
            format!("The TLS file {} cannot be read: {error}.", path.display())
        };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&self.cert)
            .and_then(Iterator::collect)
            .map_err(|error| unreadable(&self.cert, error))?;
        if chain.is_empty() {
            return Err(format!("The TLS file {} contains no certificate.", self.cert.display()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| unreadable(&self.key, error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| {
                format!("The TLS certificate {} cannot be used with its key: {error}.", self.cert.display())
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}
