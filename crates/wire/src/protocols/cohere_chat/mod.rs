//! STUB

mod adapter;

/// STUB
pub struct CohereChat;
