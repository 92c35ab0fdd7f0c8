//! TLS and HTTP/2 for callers.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{
    KEY, TestGateway, Upstream, advance_seconds, answer, question, settle, with_held_clock,
};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tls").join(name)
}

/// A connection of a client that trusts this certificate alone.
async fn connect(address: SocketAddr, trusted: &str, alpn: &str) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file(trusted)).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

fn chat() -> Request<Full<Bytes>> {
    Request::post("https://localhost/v1/chat/completions")
        .header("authorization", format!("Bearer {KEY}"))
        .header("content-type", "application/json")
        .header("host", "localhost")
        .body(Full::from(question("one/any").to_string()))
        .unwrap()
}

async fn over_h2<I>(io: I, requests: Vec<Request<Full<Bytes>>>) -> Vec<Response<Bytes>>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let mut answers = Vec::new();
    for request in requests {
        let (head, body) = sender.send_request(request).await.unwrap().into_parts();
        answers.push(Response::from_parts(head, body.collect().await.unwrap().to_bytes()));
    }
    answers
}

async fn over_h1<I>(io: I, request: Request<Full<Bytes>>) -> Response<Bytes>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io)).await.unwrap();
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await.unwrap().into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

async fn gateway(server: &str) -> (TestGateway, Upstream) {
    let upstream = Upstream::playing(vec![answer("Hello.")]).await;
    let config = format!("{server}\n{}", upstream.provider("one", "openai-chat"));
    (TestGateway::start(&config).await, upstream)
}

fn with_certificate(cert: &Path, key: &Path) -> String {
    format!("[server.tls]\ncert = {cert:?}\nkey = {key:?}\n")
}

#[tokio::test]
async fn callers_may_speak_tls_with_either_version() {
    let (gateway, _upstream) = gateway(&with_certificate(&file("one.pem"), &file("one.key"))).await;
    let stream = connect(gateway.address, "one.pem", "http/1.1").await.unwrap();
    let reply = over_h1(stream, chat()).await;
    assert_eq!((reply.status().as_u16(), reply.version()), (200, Version::HTTP_11));
    let stream = connect(gateway.address, "one.pem", "h2").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let wrong =
        Request::post("https://localhost/v1/chat/completions").body(Full::from(vec![b'x'; 1 << 20])).unwrap();
    let head = Request::head("https://localhost/health").body(Full::default()).unwrap();
    let replies = over_h2(stream, vec![chat(), wrong, head, chat()]).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status().as_u16()).collect();
    assert_eq!(statuses, [200, 401, 200, 200]);
    assert_eq!(replies[2].headers()["content-length"], "15");
    assert!(replies[2].body().is_empty());
    assert!(connect(gateway.address, "two.pem", "h2").await.is_err(), "another certificate");
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    with_held_clock(async {
        let folder = tempfile::tempdir().unwrap();
        let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let put = |name: &str| {
            // A further line changes the length, for file systems with coarse timestamps.
            let text = std::fs::read_to_string(file(&format!("{name}.pem"))).unwrap();
            std::fs::write(&cert, format!("{text}\n# {name}\n")).unwrap();
            std::fs::copy(file(&format!("{name}.key")), &key).unwrap();
        };
        put("one");
        let (gateway, _upstream) = gateway(&with_certificate(&cert, &key)).await;
        connect(gateway.address, "one.pem", "h2").await.unwrap();
        put("two");
        advance_seconds(2).await;
        connect(gateway.address, "two.pem", "h2").await.unwrap();
        // An unreadable certificate changes nothing.
        std::fs::write(&cert, "no certificate").unwrap();
        advance_seconds(2).await;
        connect(gateway.address, "two.pem", "h2").await.unwrap();
        put("one");
        advance_seconds(2).await;
        connect(gateway.address, "one.pem", "h2").await.unwrap();
        settle().await;
    })
    .await;
}

#[tokio::test]
async fn http2_without_tls_is_a_setting() {
    let (gateway, _upstream) = gateway("[server]\nh2c = true").await;
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let replies = over_h2(stream, vec![chat(), chat()]).await;
    assert!(replies.iter().all(|reply| reply.status() == 200 && reply.version() == Version::HTTP_2));
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    assert_eq!(over_h1(stream, chat()).await.status(), 200);
}
