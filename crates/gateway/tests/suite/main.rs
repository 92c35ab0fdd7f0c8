//! The gateway as a whole: in one process with providers that play what a test tells them.

#![allow(clippy::unwrap_used)]

mod bad_input;
mod conformance;
mod contract;
mod errors;
mod fallback;
mod records;
mod secrets;
mod server;
mod streams;
mod support;
