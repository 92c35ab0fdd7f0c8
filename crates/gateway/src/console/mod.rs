//! The gateway as the dashboard sees it, and the routing of its requests.

mod catalog;
mod identity;
mod operations;
mod service;
mod sign_on;

use std::sync::Arc;

use store::Store;

use crate::clock::now_ms;
use crate::identity::Auth;
use crate::metering::Metering;
use crate::oidc::SignOn;
use crate::reload::Reloader;
use crate::snapshot::Current;
pub use service::ConsoleService;

/// The data for the dashboard.
pub struct View {
    /// The configuration in force.
    pub current: Current,
    pub auth: Arc<Auth>,
    pub reloader: Arc<Reloader>,
    /// Sign-in by an identity provider.
    pub sign_on: SignOn,
    /// Requests in flight and the spool.
    pub metering: Metering,
    /// Where the database is, without a password.
    pub database: String,
    /// This process.
    pub node: String,
    /// Callers use TLS.
    pub tls: bool,
    /// The most bytes in the spool.
    pub spool_limit: u64,
    /// The zero of health's clock.
    pub epoch: tokio::time::Instant,
}

/// The dashboard of a gateway.
pub fn service(store: Store, view: View) -> ConsoleService {
    ConsoleService::new(console::Console::new(store, Arc::new(view), now_ms))
}
