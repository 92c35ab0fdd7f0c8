//! A server on loopback that answers as a test says, counts what it is asked, and can hold its answers back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub method: Method,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl TokenRequest {
    pub fn form(&self) -> BTreeMap<String, String> {
        form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
    }
}

type Answer = dyn Fn(&TokenRequest) -> (u16, String) + Send + Sync;

struct Inner {
    answer: Box<Answer>,
    asked: Mutex<Vec<TokenRequest>>,
    count: watch::Sender<usize>,
    gate: Semaphore,
}

/// The server; it lives as long as the test's runtime.
pub struct TokenServer {
    inner: Arc<Inner>,
    pub url: String,
}

impl TokenServer {
    pub async fn start(answer: impl Fn(&TokenRequest) -> (u16, String) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Arc::new(Inner {
            answer: Box::new(answer),
            asked: Mutex::default(),
            count: watch::Sender::new(0),
            gate: Semaphore::new(1000),
        });
        let serving = inner.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let inner = serving.clone();
                let service = service_fn(move |request| answer_one(inner.clone(), request));
                let io = TokioIo::new(stream);
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
            }
        });
        Self { inner, url }
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<TokenRequest> {
        self.inner.asked.lock().unwrap().clone()
    }

    pub fn host(&self) -> &str {
        self.url.strip_prefix("http://").unwrap()
    }

    /// Holds answers back until [`release`](Self::release).
    pub fn hold(&self) {
        let held = self.inner.gate.forget_permits(1000);
        assert_eq!(held, 1000);
    }

    pub fn release(&self) {
        self.inner.gate.add_permits(1000);
    }

    /// Waits until this many requests have come.
    pub async fn called(&self, times: usize) {
        let mut count = self.inner.count.subscribe();
        let wait = count.wait_for(|count| *count >= times);
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the server was not asked").unwrap();
    }
}

async fn answer_one(
    inner: Arc<Inner>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let asked = TokenRequest {
        method: head.method,
        path: head.uri.path_and_query().map(|path| path.as_str().to_owned()).unwrap_or_default(),
        headers: head.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    };
    inner.asked.lock().unwrap().push(asked.clone());
    inner.count.send_modify(|count| *count += 1);
    drop(inner.gate.acquire().await);
    let (status, body) = (inner.answer)(&asked);
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Full::new(body.into())).unwrap())
}
