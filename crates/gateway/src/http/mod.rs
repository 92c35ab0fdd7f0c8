//! HTTP for callers: connections, routes, bodies.

mod admin;
mod body;
mod chat;
mod connections;
mod conversations;
pub(crate) mod files_and_batches;
mod handle;
mod host;
mod models;
mod native;
pub mod openapi;
mod options;
mod path;
mod request_body;
mod respond;
pub mod routes;
pub mod server;
mod serving;
mod socket;
mod stored_answers;
mod upload;

pub use body::ResponseBody;
pub use handle::{Api, ListenerRole, handle};
pub use serving::Times;
