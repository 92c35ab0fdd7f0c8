//! What tests share.

pub mod corpus;
pub mod random;
pub mod split;
