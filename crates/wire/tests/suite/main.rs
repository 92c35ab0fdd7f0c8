//! The integration tests of the wire crate, in one binary: one module per protocol.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod anthropic_messages;
mod azure;
mod bedrock;
mod caching;
mod caller_answer;
mod calls;
mod checks;
mod cohere;
mod damage;
mod decoding;
mod dialects;
mod endpoint_answers;
mod facts;
mod gemini;
mod gemini_passthrough;
mod generate;
mod hosted;
mod loops;
mod losses_table;
mod media;
mod missing_parts;
mod multipart;
mod mutated;
mod names;
mod ollama;
mod one_answer;
mod one_reading;
mod openai_chat;
mod openai_completions;
mod openai_responses;
mod providers;
mod quirks;
mod readers;
mod round_trip;
mod spelling;
mod streams_vs_unary;
mod structured;

use openai_chat::assert_stream_rules as openai_chat_rules;
