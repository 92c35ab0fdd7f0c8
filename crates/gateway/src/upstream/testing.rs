//! Servers with TLS, HTTP/1 or HTTP/2, and proxies, for tests.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::outbound::{Outbound, OutboundSettings, Route};

/// A private authority that no other party trusts.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for this machine, valid for servers and clients.
    pub(crate) fn issue(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let names = ["localhost", "127.0.0.1", "provider.test"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
    }

    /// A route to servers of this authority.
    pub(crate) fn route(&self) -> Route {
        let authorities = vec![self.certificate.clone()];
        Outbound::new(OutboundSettings { authorities, ..OutboundSettings::default() }).route()
    }

    pub(crate) fn acceptor(&self, protocol: &str, wants_certificate: bool) -> TlsAcceptor {
        let cryptography = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(cryptography.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_certificate {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), cryptography);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = self.issue();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// DER as text.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

pub(crate) struct TlsServer {
    pub(crate) address: SocketAddr,
    pub(crate) connections: Arc<AtomicUsize>,
}

impl TlsServer {
    pub(crate) async fn start<F, R>(acceptor: TlsAcceptor, most_streams: u32, answer: F) -> Self
    where
        F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
        R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, answer) = (acceptor.clone(), answer.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(socket).await else { return };
                    let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let service = service_fn(move |request| {
                        let answer = answer.clone();
                        async move { Ok::<_, hyper::Error>(answer(request).await) }
                    });
                    let io = TokioIo::new(stream);
                    let _ = if is_http2 {
                        let mut server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        server.max_concurrent_streams(most_streams).serve_connection(io, service).await
                    } else {
                        hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                    };
                });
            }
        });
        Self { address, connections }
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}/v1", self.address.port())
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A proxy on loopback that sends every request to one address, whatever its target. Returns its address and
/// the received heads.
pub(crate) async fn proxy(
    to: SocketAddr,
    acceptor: Option<TlsAcceptor>,
) -> (SocketAddr, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heads: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let seen = heads.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (seen, acceptor) = (seen.clone(), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => lead(socket, to, &seen).await,
                    Some(acceptor) => lead(acceptor.accept(socket).await.unwrap(), to, &seen).await,
                }
            });
        }
    });
    (address, heads)
}

async fn lead(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    to: SocketAddr,
    seen: &std::sync::Mutex<Vec<String>>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
        // The bytes after the head of a forwarded request are its body.
        if head.windows(4).any(|end| end == b"\r\n\r\n") {
            break;
        }
    }
    let text = String::from_utf8_lossy(&head).into_owned();
    let is_tunnel = text.starts_with("CONNECT ");
    let is_refused = text.contains("Basic d3JvbmcgOg==") || text.starts_with("CONNECT refused.test");
    seen.lock().unwrap().push(text);
    if is_refused {
        let _ = socket.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
        return;
    }
    let mut upstream = TcpStream::connect(to).await.unwrap();
    if is_tunnel {
        socket.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap()
    } else {
        upstream.write_all(&head).await.unwrap()
    }
    let _ = tokio::io::copy_bidirectional(&mut socket, &mut upstream).await;
}
