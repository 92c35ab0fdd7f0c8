//! Cuts byte streams into frames: events, lines, binary messages. Any split of the bytes gives the same frames.

pub mod aws_eventstream;
pub mod json_lines;
pub mod sse;
