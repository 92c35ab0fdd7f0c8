//! The gateway: everything that waits. What decides or translates is in the pure crates beside it.
//!
//! A request goes through these files in order: `http/chat.rs`, `pipeline/mod.rs`, `pipeline/resolve.rs`,
//! `pipeline/attempts.rs`, `pipeline/chat.rs`, `upstream/client.rs`, `pipeline/pump.rs`.

pub mod admission;
pub mod app;
pub mod buffers;
mod calendar;
pub mod cli;
mod coding;
pub mod config;
pub mod descriptors;
pub mod discovery;
pub mod hops;
pub mod http;
pub mod identity;
pub mod memory;
pub mod metering;
pub mod pipeline;
pub mod reload;
pub mod responses;
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
