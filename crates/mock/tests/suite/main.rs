//! Calls every endpoint of the mock over a real socket and decodes the answers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod agent;
mod anthropic;
mod bedrock;
mod client;
mod cohere_ollama;
mod faults;
mod gemini;
mod kept;
mod openai;
mod ranking;
mod responses;
