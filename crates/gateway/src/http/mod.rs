//! The door for callers: connections, routes, bodies.

mod body;
mod chat;
mod models;
mod respond;
mod routes;
pub mod server;

pub use body::ResponseBody;
pub use routes::{Site, handle};
