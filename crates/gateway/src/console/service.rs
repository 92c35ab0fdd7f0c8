//! Passes requests under `/ui` to the dashboard's router.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use console::Console;
use console::gateway::From;
use http::request::Parts;
use http::{Request, Response};
use tower_service::Service;

pub struct ConsoleService {
    router: Router,
    console: Arc<Console>,
}

impl ConsoleService {
    pub(super) fn new(console: Arc<Console>) -> Self {
        Self { router: console::router(console.clone()), console }
    }

    /// Creates a one-time sign-in code, for the printed link.
    pub fn new_code(&self) -> Result<String, store::StoreError> {
        self.console.gate.new_code(self.console.now_ms())
    }

    /// The caller of a playground request, or else the answer to send.
    pub async fn may_ask(&self, head: &Parts) -> Result<String, Response<Body>> {
        self.console.may_ask(head).await
    }

    /// Answers one request.
    pub async fn serve(&self, head: &Parts, peer: Option<IpAddr>, body: Bytes) -> Response<Body> {
        let mut request = Request::new(Body::from(body));
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        *request.version_mut() = head.version;
        if let Some(peer) = peer {
            request.extensions_mut().insert(From(peer));
        }
        match self.router.clone().call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
