//! An upstream like a provider's: TLS and HTTP/2, with a certificate authority made for this run.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memchr::memmem;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::answers::{Answers, Format};

/// An upstream with TLS.
#[derive(Clone, Debug)]
pub struct Secure {
    pub address: SocketAddr,
    /// The certificate of the authority, in PEM.
    authority: String,
}

impl Secure {
    /// Serves OpenAI's format on a free port of loopback as long as this runtime runs.
    pub async fn start() -> Result<Self> {
        let (acceptor, authority) = certified()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let answers = Arc::new(Answers::of(Format::OpenAi));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(tokio::spawn(serve(stream, acceptor.clone(), answers.clone())));
            }
        });
        Ok(Self { address, authority })
    }

    /// Writes the authority's certificate where the gateway can read it.
    pub fn write_authority(&self, folder: &Path) -> Result<PathBuf> {
        let path = folder.join("authority.pem");
        std::fs::write(&path, &self.authority).context("the authority's certificate")?;
        Ok(path)
    }
}

fn certified() -> Result<(TlsAcceptor, String)> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate()?;
    let authority = params.self_signed(&authority_key)?.pem();
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?
        .signed_by(&key, &Issuer::new(params, authority_key))?;
    let cryptography = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let mut config = rustls::ServerConfig::builder_with_provider(cryptography)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), authority))
}

/// A broken connection is counted by the caller, who misses an answer.
async fn serve(stream: TcpStream, acceptor: TlsAcceptor, answers: Arc<Answers>) {
    let _ = stream.set_nodelay(true);
    let Ok(stream) = acceptor.accept(stream).await else { return };
    let service = service_fn(move |request| answer(request, answers.clone()));
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(
    request: Request<Incoming>,
    answers: Arc<Answers>,
) -> Result<Response<BodyPieces>, hyper::Error> {
    let body = request.collect().await?.to_bytes();
    let stream = memmem::find(&body, b"\"stream\":true").is_some();
    let (kind, pieces) = if stream {
        ("text/event-stream", answers.bodies.clone())
    } else {
        ("application/json", vec![answers.body.clone()])
    };
    let response = Response::builder()
        .header("content-type", kind)
        .header("x-request-id", "req_00112233445566778899aabbccddeeff");
    Ok(response.body(BodyPieces(pieces.into_iter())).unwrap_or_else(|_| Response::new(BodyPieces::default())))
}

/// A body in pieces, each in a frame of its own.
#[derive(Default)]
struct BodyPieces(std::vec::IntoIter<Bytes>);

impl Body for BodyPieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.next().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}
