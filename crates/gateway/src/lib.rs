//! The gateway: all code that waits. Decisions and translations are in the pure crates beside it.
//!
//! A request goes through these files in order: `http/chat.rs`, `pipeline/mod.rs`, `pipeline/resolve.rs`,
//! `pipeline/attempts.rs`, `pipeline/chat.rs`, `upstream/client.rs`, `pipeline/pump.rs`.

#![cfg_attr(test, allow(clippy::disallowed_methods, reason = "tests read clocks, to compare"))]

pub mod admission;
pub mod app;
pub mod bodies;
pub mod bounded;
pub mod buffers;
pub mod cache;
pub mod cli;
pub mod clock;
mod cluster;
pub mod config;
pub mod console;
mod content_coding;
pub mod cors;
mod demo;
pub mod descriptors;
pub mod discovery;
pub mod env;
mod expiry;
pub mod guardrails;
pub mod hops;
pub mod http;
pub mod identity;
pub mod incoming;
pub mod lifecycle;
pub mod memory;
pub mod metering;
mod nodes;
mod oidc;
pub mod pipeline;
pub mod reload;
pub mod report;
pub mod responses;
mod retention;
mod sealed_ids;
pub mod snapshot;
pub mod suspensions;
pub mod telemetry;
pub mod tls;
pub mod upstream;
pub mod webhooks;
