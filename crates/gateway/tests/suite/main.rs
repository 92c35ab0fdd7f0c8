//! Tests of the gateway as a whole, in one binary.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod credentials;
mod token_server;
