//! The door to providers: the only place that sends to one.

pub mod client;
mod connection;
pub mod credentials;
pub mod media;

pub use client::Client;
