//! What routing promises, with a hand-moved clock.

mod attempts;
mod health;
mod plan;
mod properties;
mod support;
