//! STUB

mod adapter;

/// STUB
pub struct OllamaChat;
