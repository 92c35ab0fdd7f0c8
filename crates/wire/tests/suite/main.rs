//! The integration tests of the wire crate, in one binary: one module per protocol.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod anthropic_messages;
mod azure;
mod bedrock;
mod caching;
mod checks;
mod cohere;
mod damage;
mod gemini;
mod generate;
mod heard;
mod losses_table;
mod media;
mod mutated;
mod ollama;
mod openai_chat;
mod providers;
mod round_trip;
mod structured;

use openai_chat::assert_stream_rules as openai_chat_rules;
