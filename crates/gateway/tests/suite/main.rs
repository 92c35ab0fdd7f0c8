//! The gateway as a whole, in one binary: in one process with providers that play what a test tells them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]
#![expect(clippy::disallowed_methods, reason = "tests read clocks, to compare")]

mod admin;
mod agree;
mod bad_dialects;
mod bad_input;
mod bodies;
mod cluster;
mod commands;
mod completions;
mod conformance;
mod console;
mod continuity;
mod contract;
mod conversations;
mod counting;
mod credentials;
mod embeddings;
mod errors;
mod fallback;
mod gemini_dialect;
mod governance;
mod health;
mod media;
mod messages;
mod models;
mod money;
mod passthrough;
mod ranking;
mod records;
mod reload;
mod response_cache;
mod routes;
mod secrets;
mod server;
mod snapshot;
mod stored_responses;
mod streams;
mod support;
mod thinking;
mod tls;
mod token_server;
mod trouble;
mod uploads;
mod upstream_http;
mod waiting;
