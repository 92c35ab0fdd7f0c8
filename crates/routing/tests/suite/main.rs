//! Tests of routing's public interface, with a clock that is set by hand.

mod attempts;
mod health;
mod outages;
mod plan;
mod properties;
mod support;
