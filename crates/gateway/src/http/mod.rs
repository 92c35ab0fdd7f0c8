//! The door for callers: connections, routes, bodies.

mod body;
mod chat;
pub mod cors;
mod handle;
mod host;
pub(crate) mod models;
mod respond;
pub mod routes;
pub mod server;
mod wishes;

pub use body::ResponseBody;
pub use handle::{Site, handle};
