//! Answers of this format.

pub(crate) mod read;
