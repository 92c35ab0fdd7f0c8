//! Requests of this format.

pub(crate) mod types;
pub(crate) mod write;
