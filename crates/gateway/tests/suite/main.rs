//! Tests of the gateway as a whole, in one binary.

mod credentials;
mod token_server;
