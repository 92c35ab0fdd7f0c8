//! What tests share.

pub mod corpus;
pub mod split;
