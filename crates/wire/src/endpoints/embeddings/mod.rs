//! Embeddings.

pub mod vector;
