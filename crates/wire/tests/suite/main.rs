//! The integration tests of the wire crate, in one binary: one module per protocol.

mod anthropic_messages;
mod bedrock;
mod gemini;
mod heard;
