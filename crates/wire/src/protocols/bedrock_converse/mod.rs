//! STUB

mod adapter;

/// STUB
pub struct BedrockConverse;
