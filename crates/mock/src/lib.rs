//! Emulates every provider's native API on loopback: `llmgateway mock`, the `demo` provider, tests and users' CI.
//!
//! A request is read by the format of its endpoint into a `brain::Prompt`, answered by the brain with rules that
//! depend on nothing but the request, and written back in the provider's own format, framing and error shapes.
//! A model named `fault-…` makes the mock misbehave. `docs/mock.md` lists paths, rules and faults.

mod agent;
mod anthropic;
mod batches;
mod bedrock;
mod body;
mod brain;
mod cohere;
mod endpoints;
mod example;
mod faults;
mod file_routes;
mod files;
mod form;
mod format;
mod gemini;
mod journal;
mod media;
mod models;
mod ollama;
mod openai_chat;
mod openai_completions;
mod openai_responses;
mod persona;
mod proof;
mod realtime;
mod routes;
mod server;
mod stored_files;
mod times;

pub use journal::JournalEntry;
pub use server::{Flavour, Mock, Options, start};
