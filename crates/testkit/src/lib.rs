//! Code that tests share.

pub mod corpus;
pub mod notes;
pub mod random;
pub mod redis;
pub mod split;
