//! Endpoints without a conversation: one request, one document as the answer, no events.

pub mod embeddings;
