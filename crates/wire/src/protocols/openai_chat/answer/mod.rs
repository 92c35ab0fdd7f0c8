//! Answers of this format.

pub(crate) mod normalise;
pub(crate) mod read;
pub(crate) mod usage;
pub(crate) mod write;
