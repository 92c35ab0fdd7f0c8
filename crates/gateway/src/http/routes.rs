//! Which path is served by what. One line a route.

use std::convert::Infallible;
use std::sync::Arc;

use canon::{Error, ErrorKind};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use super::{ResponseBody, chat, models, respond};
use crate::auth::{Auth, Caller};
use crate::pipeline::Pipeline;
use crate::snapshot::{Current, Snapshot};
use crate::telemetry::Metrics;

/// What the routes need.
pub struct Site {
    /// Serves chat requests.
    pub pipeline: Arc<Pipeline>,
    /// Checks keys.
    pub auth: Arc<Auth>,
    /// Counters.
    pub metrics: Metrics,
    /// For readiness.
    pub store: store::Store,
    /// The configuration in force.
    pub current: Current,
}

impl Site {
    /// Whether there is any key to call with.
    pub fn has_keys(&self) -> bool {
        self.auth.has_keys() || !self.current.get().keys.is_empty()
    }
}

/// Serves one request. All in one function: a further one would hold the request a second time, in every connection.
pub async fn handle(
    site: Arc<Site>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let request_id = request_id(request.headers());
    let header = HeaderValue::try_from(request_id.as_str()).ok();
    let path = request.uri().path().trim_end_matches('/');
    let method = request.method();
    let site = &site;
    let snapshot = site.current.get();
    let mut response = match (path, method) {
        ("/v1/chat/completions" | "/chat/completions", &Method::POST) => {
            match admit(site, &snapshot, request.headers()).await {
                Ok(caller) => chat::chat(site, snapshot, caller, request_id, request).await,
                Err(error) => refuse(site, &error),
            }
        }
        ("/v1/models" | "/models", &Method::GET) => match admit(site, &snapshot, request.headers()).await {
            Ok(_) => respond::json(StatusCode::OK, models::list(&snapshot).to_string()),
            Err(error) => refuse(site, &error),
        },
        (path, &Method::GET) if path.starts_with("/v1/models/") => {
            match admit(site, &snapshot, request.headers()).await {
                Ok(_) => model(site, &snapshot, &path["/v1/models/".len()..]),
                Err(error) => refuse(site, &error),
            }
        }
        ("/v1/routing", &Method::GET) => match admin(site, &snapshot, request.headers()).await {
            Ok(_) => routing(site, &snapshot),
            Err(error) => refuse(site, &error),
        },
        ("/health", &Method::GET | &Method::HEAD) => respond::json(StatusCode::OK, r#"{"status":"ok"}"#),
        ("/ready", &Method::GET | &Method::HEAD) => Box::pin(ready(site)).await,
        ("/metrics", &Method::GET) => respond::text(StatusCode::OK, site.metrics.render()),
        ("", &Method::GET | &Method::HEAD) => {
            respond::json(StatusCode::OK, r#"{"name":"llmgateway","api":"/v1"}"#)
        }
        (path, method) => refuse(site, &unknown_route(path, method)),
    };
    if let Some(header) = header {
        response.headers_mut().insert(respond::REQUEST_ID, header);
    }
    Ok(response)
}

async fn admit(site: &Site, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Caller, Error> {
    site.auth.admit(&snapshot.keys, headers).await
}

async fn admin(site: &Site, snapshot: &Snapshot, headers: &HeaderMap) -> Result<Caller, Error> {
    let caller = admit(site, snapshot, headers).await?;
    match caller.admin {
        true => Ok(caller),
        false => {
            Err(Error::caller(ErrorKind::Permission, "This route needs an admin key (auth.admin_keys)."))
        }
    }
}

fn refuse(site: &Site, error: &Error) -> Response<ResponseBody> {
    site.metrics.refused(error.kind.as_str());
    respond::error(error)
}

fn model(site: &Site, snapshot: &Snapshot, id: &str) -> Response<ResponseBody> {
    let found = snapshot.catalog.model(id).and_then(|model| models::entry(snapshot, model));
    match found {
        Some(entry) => respond::json(StatusCode::OK, entry.to_string()),
        None => refuse(
            site,
            &Error::caller(ErrorKind::ModelNotFound, format!("The model {id:?} is unknown.")).at("model"),
        ),
    }
}

fn routing(site: &Site, snapshot: &Snapshot) -> Response<ResponseBody> {
    let health = snapshot.health.snapshot(site.pipeline.now());
    respond::json(StatusCode::OK, serde_json::to_vec(&health).unwrap_or_default())
}

async fn ready(site: &Site) -> Response<ResponseBody> {
    match site.store.is_ready().await {
        Ok(()) => respond::json(StatusCode::OK, r#"{"status":"ready"}"#),
        Err(_) => {
            respond::error(&Error::gateway(ErrorKind::StoreUnavailable, "The database does not answer."))
        }
    }
}

fn unknown_route(path: &str, method: &Method) -> Error {
    let known = matches!(
        path,
        "/v1/chat/completions"
            | "/chat/completions"
            | "/v1/models"
            | "/models"
            | "/v1/routing"
            | "/health"
            | "/ready"
            | "/metrics"
            | ""
    );
    match known {
        true => Error::caller(ErrorKind::MethodNotAllowed, format!("{path} does not take {method}.")),
        false => Error::caller(
            ErrorKind::NotFound,
            format!("There is no route {method} {path}; chat completions are at POST /v1/chat/completions."),
        ),
    }
}

/// The caller's own id if it is a plain one, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let own = headers.get(respond::REQUEST_ID).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    own.filter(plain).map_or_else(|| format!("req_{}", uuid::Uuid::now_v7().simple()), str::to_owned)
}
