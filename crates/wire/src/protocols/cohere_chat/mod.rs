//! Cohere's own chat API, version 2, only the provider side. Facts: docs.cohere.com/reference/chat and
//! recorded traffic.

mod adapter;
mod answer;
mod errors;
mod request;

/// Cohere v2 chat.
pub struct CohereChat;
