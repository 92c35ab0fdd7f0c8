//! Answers of the Responses API.

pub(super) mod read;
pub(super) mod write;
