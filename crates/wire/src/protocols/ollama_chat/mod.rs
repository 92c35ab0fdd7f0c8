//! Ollama's own chat API (`/api/chat`), only the provider side. Facts: `docs/api.md` of ollama/ollama and
//! recorded traffic.

mod adapter;
mod answer;
mod errors;
mod request;

/// Ollama's own chat API.
pub struct OllamaChat;
