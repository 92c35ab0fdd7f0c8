//! Access to providers: the only module that sends to them.

mod address_guard;
pub mod client;
mod connect;
mod connection;
pub mod credentials;
mod failure;
pub mod media;
pub mod outbound;
mod pool;
#[cfg(test)]
pub(crate) mod testing;
pub mod upload;
pub mod waits;

pub use client::Client;
