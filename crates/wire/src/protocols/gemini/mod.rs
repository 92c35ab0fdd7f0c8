//! STUB

mod adapter;
mod dialect;

/// STUB
pub struct Gemini;
