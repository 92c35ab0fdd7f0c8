//! Answers of this format.

pub(crate) mod read;
pub(crate) mod types;
pub(crate) mod write;
