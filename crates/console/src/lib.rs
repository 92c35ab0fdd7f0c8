//! The dashboard under `/ui`: pages drawn by the server, sign-in, assets; all of it in the binary.
//!
//! Every page is one file of [`pages`], every part that pages share one of [`components`]. The console uses
//! the database and the gateway's interface ([`gateway`]). The only requests to models that pass through it
//! are those of the playground.

mod assets;
pub mod auth;
pub mod components;
mod fields;
pub mod gateway;
mod pages;
mod policy;
mod security;
mod session;
mod sign_on;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts};
use axum::response::{IntoResponse, Redirect};
use axum::routing::{get, post};
use store::Store;

use auth::Gate;
use gateway::Gateway;
use session::Session;

pub const BODY_LIMIT: usize = 256 << 10;

/// What pages need.
pub struct Console {
    pub store: Store,
    /// What is not in the database.
    pub gateway: Arc<dyn Gateway>,
    /// Counts wrong keys.
    pub gate: Gate,
    /// The clock: milliseconds since 1970.
    pub clock: fn() -> i64,
}

impl Console {
    /// A dashboard over this database and gateway.
    pub fn new(store: Store, gateway: Arc<dyn Gateway>, clock: fn() -> i64) -> Arc<Self> {
        Arc::new(Self { store, gateway, gate: Gate::default(), clock })
    }

    /// Now, in milliseconds since 1970.
    pub fn now_ms(&self) -> i64 {
        (self.clock)()
    }
}

impl Console {
    /// The caller of a playground request: an administrator, by a script of our own page. Otherwise the answer
    /// to send.
    pub async fn may_ask(
        self: &Arc<Self>,
        head: &http::request::Parts,
    ) -> Result<String, axum::response::Response> {
        let mut parts = head.clone();
        let session = <Session as FromRequestParts<Arc<Self>>>::from_request_parts(&mut parts, self).await?;
        let token = head.headers.get("x-form-token").and_then(|token| token.to_str().ok());
        session.check_token(token.unwrap_or_default())?;
        if session.is_admin() && !security::is_foreign(&head.headers, &head.uri) {
            Ok(session.row.name)
        } else {
            Err((
                http::StatusCode::FORBIDDEN,
                "Only an administrator may send requests from the playground.\n",
            )
                .into_response())
        }
    }
}

/// The routes under `/ui`.
pub fn router(console: Arc<Console>) -> Router {
    use pages::{
        audit, find, models, overview, playground, project, projects, request, requests, routing, settings,
    };
    let pages = Router::new()
        .route("/", get(overview::page))
        .route("/requests", get(requests::page))
        .route("/requests/live", get(requests::live))
        .route("/requests/rows", get(requests::rows))
        .route("/requests/{id}", get(request::page))
        .route("/models", get(models::page))
        .route("/playground", get(playground::page))
        .route("/routing", get(routing::page))
        .route("/routing/explain", post(routing::explain))
        .route("/routing/suspend", post(routing::suspend))
        .route("/login", get(auth::form).post(auth::sign_in))
        .route("/logout", post(auth::sign_out))
        .route("/oidc/start", get(sign_on::start))
        .route("/oidc/callback", get(sign_on::callback))
        .route("/settings", get(settings::page))
        .route("/settings/reload", post(settings::reload))
        .route("/settings/sessions/end", post(auth::end))
        .route("/audit", get(audit::page))
        .route("/projects", get(projects::page).post(projects::create))
        .route("/projects/{id}", get(project::page).post(project::change))
        .route("/projects/{id}/keys", post(project::create_key))
        .route("/keys/{id}", get(project::key_page))
        .route("/keys/{id}/{what}", post(project::change_key))
        .route("/find", get(find::find))
        .route("/assets/{hash}/{name}", get(assets::serve))
        .fallback(pages::not_found);
    Router::new()
        .nest("/ui", pages)
        .route("/ui/", get(|| async { Redirect::permanent("/ui") }))
        .layer(axum::middleware::from_fn(security::guard))
        .layer(DefaultBodyLimit::max(BODY_LIMIT))
        .with_state(console)
}
