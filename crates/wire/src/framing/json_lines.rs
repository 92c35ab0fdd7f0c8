//! One JSON document a line.
