//! The integration tests of the wire crate, in one binary: one module per protocol.

mod bedrock;
mod gemini;
mod heard;
