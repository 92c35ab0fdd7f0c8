//! A proxy with only the input and output of the gateway, with the same HTTP library: the lower bound of the
//! gateway's cost.

use std::convert::Infallible;
use std::io::Read;
use std::net::SocketAddr;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

/// How much of the bodies it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReadDepth {
    /// Not at all.
    Nothing,
    /// Reads the request's `model` and `stream`.
    Model,
    /// Parses the request and a whole answer into values and serialises them again.
    Values,
}

#[derive(clap::Args)]
pub struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// Where to send.
    #[arg(long)]
    upstream: SocketAddr,
    /// How much of the bodies to read.
    #[arg(long, value_enum, default_value = "nothing")]
    look: ReadDepth,
}

type Upstream = Client<HttpConnector, Full<Bytes>>;
type Answer = Response<Either<Full<Bytes>, Incoming>>;

#[derive(Deserialize)]
struct Outline<'a> {
    model: &'a str,
    stream: Option<bool>,
}

/// Serves until standard input ends, which happens when the parent process ends.
pub async fn run(arguments: &Arguments) -> Result<String> {
    let listener = TcpListener::bind(arguments.listen).await?;
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        drop(std::io::stdin().read_to_end(&mut Vec::new()));
        // The receiver is gone if serving has failed.
        ended.send(()).ok();
    });
    tokio::select! {
        result = serve(listener, arguments.upstream, arguments.look) => result.map(|never| match never {}),
        _ = end => Ok("standard input has ended".to_owned()),
    }
}

/// Proxies every connection.
pub async fn serve(listener: TcpListener, upstream: SocketAddr, look: ReadDepth) -> Result<Infallible> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Upstream =
        Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(stream, client.clone(), upstream, look));
    }
}

async fn connection(stream: TcpStream, client: Upstream, upstream: SocketAddr, look: ReadDepth) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let service = service_fn(move |request| {
        let client = client.clone();
        async move {
            let answer = proxy(request, &client, upstream, look).await;
            Ok::<_, Infallible>(answer.unwrap_or_else(|error| failed(&error)))
        }
    });
    // A caller that hangs up misses its answer and counts it.
    drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
}

async fn proxy(
    request: Request<Incoming>,
    client: &Upstream,
    upstream: SocketAddr,
    look: ReadDepth,
) -> Result<Answer> {
    let (head, body) = request.into_parts();
    let mut body = body.collect().await?.to_bytes();
    let mut rewrite = false;
    match look {
        ReadDepth::Nothing => {}
        ReadDepth::Model => {
            let outline: Outline = serde_json::from_slice(&body)?;
            anyhow::ensure!(!outline.model.is_empty() || outline.stream == Some(true), "no model");
        }
        ReadDepth::Values => {
            let value: Value = serde_json::from_slice(&body)?;
            rewrite = value["stream"] != true;
            body = serde_json::to_vec(&value)?.into();
        }
    }
    let request = Request::post(format!("http://{upstream}{}", head.uri.path()))
        .header(CONTENT_TYPE, "application/json")
        .header(AUTHORIZATION, "Bearer up")
        .body(Full::new(body))?;
    let (mut head, body) = client.request(request).await?.into_parts();
    head.headers.remove(TRANSFER_ENCODING);
    if rewrite {
        let value: Value = serde_json::from_slice(&body.collect().await?.to_bytes())?;
        head.headers.remove(CONTENT_LENGTH);
        return Ok(Response::from_parts(head, Either::Left(Full::new(serde_json::to_vec(&value)?.into()))));
    }
    Ok(Response::from_parts(head, Either::Right(body)))
}

fn failed(error: &anyhow::Error) -> Answer {
    let mut answer = Response::new(Either::Left(Full::new(format!("{error:#}").into())));
    *answer.status_mut() = StatusCode::BAD_GATEWAY;
    answer
}
