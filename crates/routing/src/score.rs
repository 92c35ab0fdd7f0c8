//! The score of a candidate.
