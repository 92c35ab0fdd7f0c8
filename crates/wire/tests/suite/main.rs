//! The integration tests of the wire crate, in one binary: one module per protocol.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod anthropic_messages;
mod azure;
mod bedrock;
mod cohere;
mod damage;
mod gemini;
mod heard;
mod losses_table;
mod ollama;
mod openai_chat;
mod providers;
