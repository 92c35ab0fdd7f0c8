//! Embeddings.

pub mod answer;
pub mod vector;
